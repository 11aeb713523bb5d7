//! The partitions of this broker, made to agree with the metadata.
//!
//! Invariant: the registry only holds partitions whose log is open and whose topic id is that of
//! the metadata it was reconciled with; the index it says it has applied is reconciled on disk.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};
use tokio::sync::watch;
use uuid::Uuid;

use super::partition::Partition;
use crate::config::{Settings, topic_config};
use crate::controller::{AppliedImage, ConfigScope, TopicImage};
use crate::storage::{LogConfig, LogManager, PartitionLog, StorageError};
use crate::wire::ErrorCode;

/// The topic of the metadata log, which is no topic of the metadata.
pub(crate) const METADATA_TOPIC: &str = "__cluster_metadata";

/// The topic of committed offsets and group metadata.
pub(crate) const OFFSETS_TOPIC: &str = "__consumer_offsets";

/// The topic of the states of transactions.
pub(crate) const TRANSACTIONS_TOPIC: &str = "__transaction_state";

/// A topic's partitions on this broker.
#[derive(Debug, Clone)]
pub(crate) struct TopicReplicas {
    /// The topic in the metadata.
    pub(crate) image: Arc<TopicImage>,
    /// Its overrides.
    pub(crate) overrides: Option<Arc<BTreeMap<String, String>>>,
    /// The partitions, by number; a partition whose log failed is `None`.
    pub(crate) partitions: Vec<Option<Arc<Partition>>>,
}

impl TopicReplicas {
    /// A partition, or what a client is told instead.
    pub(crate) fn partition(&self, index: i32) -> Result<&Arc<Partition>, ErrorCode> {
        let slot = usize::try_from(index)
            .ok()
            .and_then(|i| self.partitions.get(i));
        match slot {
            Some(Some(partition)) if !partition.is_deleted() => Ok(partition),
            Some(None) => Err(ErrorCode::KafkaStorageError),
            _ => Err(ErrorCode::UnknownTopicOrPartition),
        }
    }
}

/// What this broker holds, at one index of the metadata log.
#[derive(Debug, Default, Clone)]
pub(crate) struct Registry {
    by_name: HashMap<Arc<str>, Arc<TopicReplicas>>,
    by_id: HashMap<Uuid, Arc<TopicReplicas>>,
    settings: Option<Arc<Settings>>,
}

impl Registry {
    pub(crate) fn topic(&self, name: &str) -> Option<&Arc<TopicReplicas>> {
        self.by_name.get(name)
    }

    pub(crate) fn topic_by_id(&self, id: Uuid) -> Option<&Arc<TopicReplicas>> {
        self.by_id.get(&id)
    }

    /// A partition by topic name.
    pub(crate) fn partition(&self, topic: &str, index: i32) -> Result<Arc<Partition>, ErrorCode> {
        let topic = self
            .topic(topic)
            .ok_or(ErrorCode::UnknownTopicOrPartition)?;
        topic.partition(index).map(Arc::clone)
    }

    /// A topic by id where the client gave one, else by name.
    pub(crate) fn lookup(&self, name: &str, id: Uuid) -> Result<&Arc<TopicReplicas>, ErrorCode> {
        if id.is_nil() {
            self.topic(name).ok_or(ErrorCode::UnknownTopicOrPartition)
        } else {
            self.topic_by_id(id).ok_or(ErrorCode::UnknownTopicId)
        }
    }
}

/// Keeps the registry in step with the metadata.
#[derive(Debug)]
pub(crate) struct Replicas {
    logs: Arc<LogManager>,
    node_id: i32,
    registry: RwLock<Arc<Registry>>,
    reconciling: Mutex<()>,
    applied: watch::Sender<u64>,
}

impl Replicas {
    pub(crate) fn new(logs: Arc<LogManager>, node_id: i32) -> Self {
        Self {
            logs,
            node_id,
            registry: RwLock::default(),
            reconciling: Mutex::new(()),
            applied: watch::Sender::new(0),
        }
    }

    /// What this broker holds now.
    pub(crate) fn registry(&self) -> Arc<Registry> {
        Arc::clone(&self.registry.read())
    }

    /// Returns once metadata up to `end` is reconciled.
    pub(crate) async fn wait_applied(&self, end: u64) {
        let mut applied = self.applied.subscribe();
        // An error means that the broker is gone; its answer is of no use then.
        let _ = applied.wait_for(|at| *at >= end).await;
    }

    /// Says that everything up to `end` is reconciled.
    pub(crate) fn publish_applied(&self, end: u64) {
        self.applied.send_if_modified(|at| {
            let newer = end > *at;
            *at = end.max(*at);
            newer
        });
    }

    /// Opens, creates, updates and deletes logs as the metadata say. Blocks on the disk.
    pub(crate) fn reconcile(&self, to: &AppliedImage, settings: &Arc<Settings>, now: i64) {
        let _one_at_a_time = self.reconciling.lock();
        if to.end < *self.applied.borrow() {
            return;
        }
        let old = self.registry();
        for topic in old.by_id.values() {
            if to.image.topic_by_id(topic.image.id).is_none() {
                self.delete(topic);
            }
        }
        let mut new = Registry {
            settings: Some(Arc::clone(settings)),
            ..Registry::default()
        };
        // Topics take the broker's settings where they have none of their own.
        let same_settings = old
            .settings
            .as_ref()
            .is_some_and(|s| Arc::ptr_eq(s, settings));
        for topic in to.image.topics() {
            let overrides = to.image.configs(ConfigScope::Topic, &topic.name);
            let replicas = match old.topic_by_id(topic.id) {
                Some(same)
                    if same_settings
                        && Arc::ptr_eq(&same.image, topic)
                        && same.overrides.as_ref().map(Arc::as_ptr)
                            == overrides.map(Arc::as_ptr) =>
                {
                    Arc::clone(same)
                }
                before => Arc::new(self.open(topic, overrides, before, settings, now)),
            };
            new.by_name
                .insert(Arc::clone(&topic.name), Arc::clone(&replicas));
            new.by_id.insert(topic.id, replicas);
        }
        *self.registry.write() = Arc::new(new);
    }

    /// A partition's log lies in another directory now. Who waits for the old one looks again.
    pub(crate) fn moved(&self, topic: &str, index: i32, log: Arc<PartitionLog>) {
        let _one_at_a_time = self.reconciling.lock();
        let old = self.registry();
        let Some(replicas) = old.topic(topic) else {
            return;
        };
        let slot = usize::try_from(index).ok();
        let Some(before) = slot.and_then(|at| replicas.partitions.get(at)?.clone()) else {
            return;
        };
        if Arc::ptr_eq(&before.log, &log) {
            return;
        }
        let epoch = before.leader_epoch();
        let partition = Partition::new(Arc::clone(&before.topic), index, log, epoch);
        let mut replicas = TopicReplicas::clone(replicas);
        if let Some(at) = slot.and_then(|at| replicas.partitions.get_mut(at)) {
            *at = Some(Arc::new(partition));
        }
        let replicas = Arc::new(replicas);
        let mut new = Registry::clone(&old);
        new.by_id.insert(replicas.image.id, Arc::clone(&replicas));
        new.by_name
            .insert(Arc::clone(&replicas.image.name), replicas);
        *self.registry.write() = Arc::new(new);
        before.set_deleted();
    }

    fn delete(&self, topic: &TopicReplicas) {
        for partition in topic.partitions.iter().flatten() {
            partition.set_deleted();
            if let Err(e) = self.logs.delete(&partition.topic, partition.index) {
                tracing::error!(
                    topic = %partition.topic, partition = partition.index, error = %e,
                    "the log of a deleted topic could not be removed"
                );
            }
        }
    }

    fn open(
        &self,
        topic: &Arc<TopicImage>,
        overrides: Option<&Arc<BTreeMap<String, String>>>,
        before: Option<&Arc<TopicReplicas>>,
        settings: &Settings,
        now: i64,
    ) -> TopicReplicas {
        let config = topic_config(settings, overrides.map(|o| &**o)).unwrap_or_else(|e| {
            tracing::error!(topic = %topic.name, error = %e, "stored topic config is ignored");
            settings.topic_defaults.clone()
        });
        let partitions = topic
            .partitions
            .iter()
            .enumerate()
            .map(|(i, image)| {
                let index = i32::try_from(i).ok()?;
                if !image.replicas.contains(&self.node_id) {
                    return None;
                }
                let known = before
                    .and_then(|b| b.partitions.get(i))
                    .and_then(Option::as_ref);
                if let Some(partition) = known {
                    partition.log.update_config(config.clone());
                    partition.set_leader_epoch(image.leader_epoch);
                    return Some(Arc::clone(partition));
                }
                match self.open_log(topic, index, &config, now) {
                    Ok(log) => Some(Arc::new(Partition::new(
                        Arc::clone(&topic.name),
                        index,
                        log,
                        image.leader_epoch,
                    ))),
                    Err(e) => {
                        tracing::error!(
                            topic = %topic.name, partition = index, error = %e,
                            "the partition is offline"
                        );
                        None
                    }
                }
            })
            .collect();
        TopicReplicas {
            image: Arc::clone(topic),
            overrides: overrides.cloned(),
            partitions,
        }
    }

    fn open_log(
        &self,
        topic: &TopicImage,
        index: i32,
        config: &LogConfig,
        now: i64,
    ) -> Result<Arc<PartitionLog>, StorageError> {
        let open = || {
            self.logs
                .get_or_create(&topic.name, index, topic.id, config.clone(), now)
        };
        let log = match open() {
            // A crash came between the deletion in the metadata and that of the folder.
            Err(StorageError::TopicIdMismatch { .. }) => {
                self.logs.delete(&topic.name, index)?;
                open()?
            }
            other => other?,
        };
        log.update_config(config.clone());
        Ok(log)
    }
}
