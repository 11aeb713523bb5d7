//! Runs the group coordinators: one for each partition of `__consumer_offsets`.
//!
//! Invariant: what the coordinators know of topics and settings is never newer than the partitions of
//! this broker.

mod admin;
mod classic;
mod consumer;
mod offsets;
mod shard;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use uuid::Uuid;

use self::shard::Shard;
use super::core::{Core, now};
use super::replicas::OFFSETS_TOPIC;
use super::shards::{Shards, Table};
use super::topics::{self, NewTopic, Refused};
use crate::config::{GroupSettings, Settings, group_settings};
use crate::controller::{ConfigScope, MetadataImage, TopicImage};
use crate::group::{
    Assignor, ConsumerGroupConfig, Coordinator, Event, GroupConfig, GroupOverrides, Reply, Topics,
};
use crate::wire::{ErrorCode, Str};

/// The group coordinators of this broker.
#[derive(Debug)]
pub(crate) struct Groups {
    pub(super) shards: Shards<Coordinator>,
    /// What the coordinators know of the metadata.
    known: Mutex<Known>,
}

/// What the coordinators know of the metadata.
#[derive(Debug, Default, Clone, PartialEq)]
struct Known {
    topics: Arc<Topics>,
    config: Arc<GroupConfig>,
    overrides: Arc<BTreeMap<Str, GroupOverrides>>,
}

impl Known {
    fn new(settings: &Settings, image: &MetadataImage) -> Self {
        let partitions = |t: &TopicImage| i32::try_from(t.partitions.len()).unwrap_or(i32::MAX);
        let topics = image
            .topics()
            .map(|t| (Str::from(&t.name), t.id, partitions(t)));
        let overrides = image.config_resources(ConfigScope::Group).filter_map(|id| {
            let own = image.configs(ConfigScope::Group, id).map(|own| &**own);
            match group_settings(settings, own) {
                Ok(own) => Some((Str::from(id), overrides(&own))),
                Err(e) => {
                    tracing::error!(group = id, error = %e, "stored group settings are ignored");
                    None
                }
            }
        });
        Self {
            topics: Arc::new(Topics::new(topics)),
            config: Arc::new(config(settings)),
            overrides: Arc::new(overrides.collect()),
        }
    }
}

fn overrides(own: &GroupSettings) -> GroupOverrides {
    GroupOverrides {
        session_timeout_ms: Some(own.session_timeout_ms),
        heartbeat_interval_ms: Some(own.heartbeat_interval_ms),
        assignment_interval_ms: Some(own.assignment_interval_ms),
    }
}

fn config(settings: &Settings) -> GroupConfig {
    let size = |n: i32| usize::try_from(n).unwrap_or(usize::MAX);
    let consumer = &settings.group_consumer;
    let policy = consumer.migration_policy.as_str();
    GroupConfig {
        initial_rebalance_delay_ms: i64::from(settings.group_initial_rebalance_delay_ms),
        min_session_timeout_ms: settings.group_min_session_timeout_ms,
        max_session_timeout_ms: settings.group_max_session_timeout_ms,
        max_size: size(settings.group_max_size),
        offset_metadata_max_bytes: size(settings.offset_metadata_max_bytes),
        offsets_retention_ms: i64::from(settings.offsets_retention_minutes).saturating_mul(60_000),
        retention_check_interval_ms: settings.offsets_retention_check_interval_ms,
        consumer: ConsumerGroupConfig {
            session_timeout_ms: consumer.session_timeout_ms,
            heartbeat_interval_ms: consumer.heartbeat_interval_ms,
            assignment_interval_ms: consumer.assignment_interval_ms,
            max_size: size(consumer.max_size),
            assignors: consumer
                .assignors
                .iter()
                .filter_map(|name| Assignor::named(name))
                .collect(),
            upgrade: matches!(policy, "upgrade" | "bidirectional"),
            downgrade: matches!(policy, "downgrade" | "bidirectional"),
            regex_refresh_interval_ms: i64::from(consumer.regex_refresh_interval_ms),
        },
    }
}

impl Groups {
    pub(crate) fn new() -> Self {
        Self {
            shards: Shards::new(),
            known: Mutex::default(),
        }
    }

    /// Creates `__consumer_offsets` if there is none yet.
    pub(crate) async fn ensure_topic(&self, core: &Core) -> Result<(), Refused> {
        if self.shards.is_loaded() {
            return Ok(());
        }
        let own = |key: &str, value: String| (key.to_owned(), Some(value));
        let topic = NewTopic {
            name: OFFSETS_TOPIC.to_owned(),
            partitions: core.settings.offsets_topic_partitions,
            replication_factor: core.settings.offsets_topic_replication_factor,
            configs: vec![
                own("cleanup.policy", "compact".to_owned()),
                own("compression.type", "producer".to_owned()),
                own(
                    "segment.bytes",
                    core.settings.offsets_topic_segment_bytes.to_string(),
                ),
            ],
            ..NewTopic::default()
        };
        topics::create_if_missing(core, topic).await
    }

    /// New metadata are applied: loads the coordinators once their topic is there, tells them of
    /// topics and settings that changed, and has them forget the offsets of deleted topics. Blocks
    /// on the disk.
    pub(crate) fn metadata_changed(&self, core: &Arc<Core>, image: &MetadataImage) {
        let known = Known::new(&core.live(), image);
        let new = |_: &_| {
            let mut coordinator = Coordinator::new(GroupConfig::clone(&known.config));
            let (config, own) = (Arc::clone(&known.config), Arc::clone(&known.overrides));
            coordinator.step(Event::Configure(config, own), now());
            coordinator
        };
        let loaded = self.shards.load(core, new);
        let before = std::mem::replace(&mut *self.known.lock(), known.clone());
        let loaded_now = loaded.is_some();
        let shards = loaded.unwrap_or_else(|| self.shards.table());
        let gone: BTreeSet<(Str, Uuid)> = if loaded_now {
            // Deleted just before a crash: their offsets may still be there.
            let all = shards.iter().flat_map(|s| s.with(Coordinator::topics));
            all.filter(|(topic, id)| match known.topics.get(topic) {
                None => true,
                Some((now, _)) => !id.is_nil() && *id != now,
            })
            .collect()
        } else {
            let all = before.topics.names().filter_map(|name| {
                let id = |topics: &Topics| topics.get(name).map(|(id, _)| id);
                let was = id(&before.topics).filter(|was| id(&known.topics) != Some(*was))?;
                Some([(name.clone(), was), (name.clone(), Uuid::nil())])
            });
            all.flatten().collect()
        };
        for shard in shards.iter() {
            if loaded_now || known.topics != before.topics {
                shard.step(core, Event::Topics(Arc::clone(&known.topics)));
            }
            if loaded_now || known.config != before.config || known.overrides != before.overrides {
                let (config, own) = (Arc::clone(&known.config), Arc::clone(&known.overrides));
                shard.step(core, Event::Configure(config, own));
            }
            if !gone.is_empty() {
                shard.step(core, Event::TopicsDeleted(gone.clone()));
            }
        }
        if loaded_now {
            self.shards.publish(shards);
        }
    }

    /// The topics that the coordinators know of.
    fn topics(&self) -> Arc<Topics> {
        Arc::clone(&self.known.lock().topics)
    }

    /// The partition of `__consumer_offsets` where a group lives.
    pub(crate) fn partition_of(&self, group: &str) -> Result<i32, ErrorCode> {
        self.shards.partition_of(group)
    }

    /// The coordinator of a group.
    fn shard(&self, group: &str) -> Result<Arc<Shard>, ErrorCode> {
        self.shards.of(group)
    }

    /// Steps an event of a request at the group's coordinator and waits for the answer.
    async fn ask(
        &self,
        core: &Arc<Core>,
        group: &str,
        event: impl FnOnce(u64) -> Event,
    ) -> Result<Reply, ErrorCode> {
        let answer = self.shard(group)?.ask(core, event);
        answer.await.map_err(|_| ErrorCode::NotCoordinator)
    }

    /// A transaction's marker is in a partition of `__consumer_offsets`, below `end_offset`.
    pub(crate) fn transaction_ended(
        &self,
        core: &Arc<Core>,
        partition: i32,
        producer_id: i64,
        committed: bool,
    ) {
        if let Some(shard) = self.shards.at(partition) {
            let event = Event::TransactionEnded {
                producer_id,
                committed,
            };
            shard.step(core, event);
        }
    }

    /// The coordinators that serve.
    fn all_shards(&self) -> Table<Coordinator> {
        self.shards.table()
    }
}

/// A copy that does not hold on to the request's frame.
fn own(bytes: &Bytes) -> Bytes {
    Bytes::copy_from_slice(bytes)
}

fn own_opt(text: Option<Str>) -> Option<Str> {
    text.map(|t| t.detach())
}
