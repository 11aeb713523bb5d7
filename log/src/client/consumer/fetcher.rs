//! Fetch requests to the leaders, one on its way to each broker.
//!
//! The next request to a broker goes out as soon as what its last answer brought has been
//! returned by `poll`, so that the broker reads while the owner works.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::FutureExt;
use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt};

use super::config::{AutoOffsetReset, ConsumerConfig};
use super::partitions::{Fetched, Partitions, Position, Start};
use crate::client::core::{Core, millis, response_of};
use crate::client::metadata::Cluster;
use crate::client::transport::{Call, Destination, Lane, Reply};
use crate::client::{ClientError, OffsetSpec, TopicPartition};
use crate::wire::messages::{FetchPartition, FetchRequest, FetchTopic, PartitionData};
use crate::wire::{ErrorCode, Str};

pub(super) struct Fetcher {
    core: Arc<Core>,
    lane: Lane,
    /// Brokers with a request on its way.
    busy: HashSet<i32>,
    answers: FuturesUnordered<BoxFuture<'static, Answer>>,
    /// Topics whose metadata are stale.
    pub(super) stale: HashSet<Arc<str>>,
}

impl std::fmt::Debug for Fetcher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Fetcher")
            .field("busy", &self.busy)
            .finish_non_exhaustive()
    }
}

/// What was asked for, and the answer.
pub(super) struct Answer {
    broker: i32,
    asked: HashMap<TopicPartition, i64>,
    reply: Result<Reply, ClientError>,
}

impl Fetcher {
    pub(super) fn new(core: Arc<Core>) -> Self {
        Self {
            core,
            lane: Lane::fresh(),
            busy: HashSet::new(),
            answers: FuturesUnordered::new(),
            stale: HashSet::new(),
        }
    }

    /// Asks every broker that is not busy for what its partitions want.
    pub(super) fn send(&mut self, partitions: &Partitions, config: &ConsumerConfig) {
        let now = Instant::now();
        let cluster = self.core.metadata.snapshot();
        let mut by_leader: BTreeMap<i32, Vec<(&TopicPartition, Position, i32)>> = BTreeMap::new();
        for (partition, state) in partitions.iter() {
            let Some(position) = state.wants_fetch(now) else {
                continue;
            };
            match cluster.leader(&partition.topic, partition.partition) {
                Some((leader, epoch)) if !self.busy.contains(&leader) => by_leader
                    .entry(leader)
                    .or_default()
                    .push((partition, position, epoch)),
                Some(_) => {}
                None => {
                    self.stale.insert(partition.topic.clone());
                }
            }
        }
        for (broker, wanted) in by_leader {
            let call = self.call(&cluster, broker, &wanted, config);
            let asked = wanted
                .iter()
                .map(|(partition, position, _)| ((*partition).clone(), position.offset))
                .collect();
            let reply = self.core.transport.call(call);
            self.busy.insert(broker);
            self.answers.push(
                reply
                    .map(move |reply| Answer {
                        broker,
                        asked,
                        reply,
                    })
                    .boxed(),
            );
        }
    }

    fn call(
        &self,
        cluster: &Cluster,
        broker: i32,
        wanted: &[(&TopicPartition, Position, i32)],
        config: &ConsumerConfig,
    ) -> Call {
        let mut without_id = false;
        let topics = wanted
            .chunk_by(|a, b| a.0.topic == b.0.topic)
            .filter_map(|chunk| {
                let name = &chunk.first()?.0.topic;
                let topic_id = cluster.topic(name).map(|t| t.id).unwrap_or_default();
                without_id |= topic_id.is_nil();
                Some(FetchTopic {
                    topic: Str::from(&**name),
                    topic_id,
                    partitions: chunk
                        .iter()
                        .map(|(partition, position, epoch)| FetchPartition {
                            partition: partition.partition,
                            current_leader_epoch: *epoch,
                            fetch_offset: position.offset,
                            partition_max_bytes: config.max_partition_fetch_bytes,
                            ..FetchPartition::default()
                        })
                        .collect(),
                    ..FetchTopic::default()
                })
            })
            .collect();
        let request = FetchRequest {
            max_wait_ms: millis(config.fetch_max_wait_ms),
            min_bytes: config.fetch_min_bytes,
            max_bytes: config.fetch_max_bytes,
            isolation_level: config.isolation_level.code(),
            topics,
            ..FetchRequest::default()
        };
        let timeout = self
            .core
            .config
            .request_timeout_ms
            .saturating_add(config.fetch_max_wait_ms);
        let call = Call::new(Destination::Broker(broker), request, timeout).lane(self.lane);
        // From version 13 on, topics have ids only.
        if without_id { call.at_most(12) } else { call }
    }

    /// Waits for the next answer; forever, if nothing was asked. May be dropped.
    pub(super) async fn next(&mut self) -> Answer {
        match self.answers.next().await {
            Some(answer) => answer,
            None => std::future::pending().await,
        }
    }

    /// The next answer, if it is there.
    pub(super) fn try_next(&mut self) -> Option<Answer> {
        self.answers.next().now_or_never().flatten()
    }

    /// Hands an answer's records to the partitions that still want them.
    pub(super) fn take_in(
        &mut self,
        answer: Answer,
        partitions: &mut Partitions,
        config: &ConsumerConfig,
    ) -> Result<(), ClientError> {
        self.busy.remove(&answer.broker);
        let backoff = Instant::now() + self.core.config.retry_backoff_ms;
        let response = answer
            .reply
            .and_then(response_of::<FetchRequest>)
            .and_then(|response| match ErrorCode::from(response.error_code) {
                ErrorCode::None => Ok(response),
                code => Err(ClientError::broker(
                    code,
                    format!("fetch from broker {}", answer.broker),
                )),
            });
        let response = match response {
            Ok(response) => response,
            Err(error) => {
                for partition in answer.asked.keys() {
                    self.stale.insert(partition.topic.clone());
                    if let Some(state) = partitions.get_mut(partition) {
                        state.not_before = Some(backoff);
                    }
                }
                tracing::debug!(%error, "a fetch failed");
                return if error.is_retriable() {
                    Ok(())
                } else {
                    Err(error)
                };
            }
        };
        let cluster = self.core.metadata.snapshot();
        let mut result = Ok(());
        for topic in response.responses {
            let name: Arc<str> = if topic.topic.is_empty() {
                match cluster.name_of(&topic.topic_id) {
                    Some(name) => name.clone(),
                    None => continue,
                }
            } else {
                Arc::from(&*topic.topic)
            };
            for data in topic.partitions {
                let partition = TopicPartition::new(name.clone(), data.partition_index);
                let Some(from) = answer.asked.get(&partition) else {
                    continue;
                };
                if let Err(error) =
                    self.take_partition(&partition, *from, data, partitions, config, backoff)
                {
                    result = result.and(Err(error));
                }
            }
        }
        result
    }

    fn take_partition(
        &mut self,
        partition: &TopicPartition,
        from: i64,
        data: PartitionData,
        partitions: &mut Partitions,
        config: &ConsumerConfig,
        backoff: Instant,
    ) -> Result<(), ClientError> {
        let Some(state) = partitions.get_mut(partition) else {
            return Ok(());
        };
        // Sought or looked up anew in the meantime.
        if state.position().is_none_or(|p| p.offset != from) || state.fetched.is_some() {
            return Ok(());
        }
        match ErrorCode::from(data.error_code) {
            ErrorCode::None => {
                state.high_watermark = data.high_watermark;
                state.last_stable_offset = data.last_stable_offset;
                state.log_start_offset = data.log_start_offset;
                let bytes = data.records.unwrap_or_default();
                if !bytes.is_empty() {
                    state.fetched = Some(Fetched {
                        from,
                        bytes,
                        aborted: data
                            .aborted_transactions
                            .unwrap_or_default()
                            .iter()
                            .map(|a| (a.producer_id, a.first_offset))
                            .collect(),
                    });
                }
                Ok(())
            }
            ErrorCode::OffsetOutOfRange => match reset_spec(config.auto_offset_reset) {
                Some(spec) => {
                    tracing::warn!(%partition, offset = from, "the position is outside the log; resetting it");
                    state.restart(Start::Spec(spec));
                    Ok(())
                }
                None => {
                    state.not_before = Some(backoff);
                    Err(ClientError::OffsetOutOfRange {
                        partition: partition.clone(),
                        offset: from,
                    })
                }
            },
            code => {
                state.not_before = Some(backoff);
                let stale = code.is_stale_metadata()
                    || matches!(
                        code,
                        ErrorCode::UnknownLeaderEpoch
                            | ErrorCode::OffsetNotAvailable
                            | ErrorCode::FetchSessionTopicIdError
                    );
                if stale {
                    self.stale.insert(partition.topic.clone());
                }
                if stale || code.is_retriable() {
                    tracing::debug!(%partition, ?code, "a fetch was refused");
                    return Ok(());
                }
                Err(ClientError::broker(
                    code,
                    format!("fetch {partition} from offset {from}"),
                ))
            }
        }
    }

    /// When the earliest pause of a partition ends.
    pub(super) fn next_retry(&self, partitions: &Partitions) -> Option<Instant> {
        let now = Instant::now();
        partitions
            .iter()
            .filter_map(|(_, state)| state.not_before)
            .filter(|t| *t > now)
            .min()
    }
}

impl Drop for Fetcher {
    fn drop(&mut self) {
        self.core.transport.close_lane(self.lane);
    }
}

/// Where `auto.offset.reset` begins.
pub(super) fn reset_spec(reset: AutoOffsetReset) -> Option<OffsetSpec> {
    match reset {
        AutoOffsetReset::Earliest => Some(OffsetSpec::Earliest),
        AutoOffsetReset::Latest => Some(OffsetSpec::Latest),
        AutoOffsetReset::None => None,
    }
}

/// How long the consumer waits before it looks for new metadata again.
pub(super) const METADATA_PAUSE: Duration = Duration::from_millis(100);
