//! Fetch requests to the leaders, one on its way to each broker.
//!
//! Each broker has a fetch session: a request names only what has changed since the last.
//! The next request to a broker goes out as soon as what its last answer brought has been
//! returned by `poll`, so that the broker reads while the owner works. When reading ends, so
//! do the sessions: a broker has room for so many.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::FutureExt;
use futures::future::{BoxFuture, join_all};
use futures::stream::{FuturesUnordered, StreamExt};

use super::config::{AutoOffsetReset, ConsumerConfig};
use super::partitions::{Fetched, Partition, Partitions, Start};
use super::session::{Session, Wanted};
use super::validation::{Doubt, Verdict, Verdicts};
use crate::client::core::{Core, after, millis, response_of};
use crate::client::metadata::Cluster;
use crate::client::transport::{Call, Destination, Lane, Reply};
use crate::client::{ClientError, OffsetSpec, TopicPartition};
use crate::wire::messages::{
    FetchPartition, FetchRequest, FetchTopic, ForgottenTopic, PartitionData,
};
use crate::wire::{ErrorCode, Str};

/// The epoch that ends a session.
const FINAL_EPOCH: i32 = -1;
/// How long the end of a session may take.
const GOODBYE: Duration = Duration::from_secs(1);

pub(super) struct Fetcher {
    core: Arc<Core>,
    lane: Lane,
    /// Brokers with a request on its way.
    busy: HashSet<i32>,
    answers: FuturesUnordered<BoxFuture<'static, Answer>>,
    sessions: HashMap<i32, Session>,
    /// Topics whose metadata are stale.
    pub(super) stale: HashSet<Arc<str>>,
    /// Positions that must be looked for in the logs of new leaders.
    pub(super) doubts: Vec<Doubt>,
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
            sessions: HashMap::new(),
            stale: HashSet::new(),
            doubts: Vec::new(),
        }
    }

    /// Asks every broker that is not busy for what its partitions want.
    pub(super) fn send(&mut self, partitions: &mut Partitions, config: &ConsumerConfig) {
        let now = Instant::now();
        let cluster = self.core.metadata.snapshot();
        let mut by_broker: BTreeMap<i32, BTreeMap<TopicPartition, Wanted>> = BTreeMap::new();
        self.doubts.clear();
        for (partition, state) in partitions.iter_mut() {
            let Some(position) = state.wants_fetch(now) else {
                continue;
            };
            let Some((leader, leader_epoch)) =
                cluster.leader(&partition.topic, partition.partition)
            else {
                self.stale.insert(partition.topic.clone());
                continue;
            };
            if let Some(read_epoch) = state.doubtful(leader_epoch) {
                self.doubts.push(Doubt {
                    partition: partition.clone(),
                    position,
                    read_epoch,
                    leader,
                    leader_epoch,
                });
                continue;
            }
            let broker = preferred(state, &cluster, now).unwrap_or(leader);
            if self.busy.contains(&broker) {
                continue;
            }
            let topic = cluster.topic(&partition.topic);
            let wanted = Wanted {
                topic_id: topic.map(|t| t.id).unwrap_or_default(),
                offset: position.offset,
                leader_epoch,
            };
            by_broker
                .entry(broker)
                .or_default()
                .insert(partition.clone(), wanted);
        }
        for (broker, wanted) in by_broker {
            let asked = wanted
                .iter()
                .map(|(partition, wanted)| (partition.clone(), wanted.offset))
                .collect();
            let call = self.call(broker, wanted, config);
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
        &mut self,
        broker: i32,
        wanted: BTreeMap<TopicPartition, Wanted>,
        config: &ConsumerConfig,
    ) -> Call {
        let by_id = wanted.values().all(|wanted| !wanted.topic_id.is_nil());
        let session = self.sessions.entry(broker).or_default();
        let session = session.request(wanted, by_id);
        let topics = session
            .named
            .chunk_by(|a, b| a.0.topic == b.0.topic)
            .filter_map(|chunk| {
                let (first, wanted) = chunk.first()?;
                Some(FetchTopic {
                    topic: Str::from(&*first.topic),
                    topic_id: wanted.topic_id,
                    partitions: chunk
                        .iter()
                        .map(|(partition, wanted)| FetchPartition {
                            partition: partition.partition,
                            current_leader_epoch: wanted.leader_epoch,
                            fetch_offset: wanted.offset,
                            partition_max_bytes: config.max_partition_fetch_bytes,
                            ..FetchPartition::default()
                        })
                        .collect(),
                    ..FetchTopic::default()
                })
            })
            .collect();
        let forgotten = session
            .forgotten
            .chunk_by(|a, b| a.0.topic == b.0.topic && a.1 == b.1)
            .filter_map(|chunk| {
                let (first, topic_id) = chunk.first()?;
                Some(ForgottenTopic {
                    topic: Str::from(&*first.topic),
                    topic_id: *topic_id,
                    partitions: chunk.iter().map(|(p, _)| p.partition).collect(),
                    ..ForgottenTopic::default()
                })
            })
            .collect();
        let request = FetchRequest {
            max_wait_ms: millis(config.fetch_max_wait_ms),
            min_bytes: config.fetch_min_bytes,
            max_bytes: config.fetch_max_bytes,
            isolation_level: config.isolation_level.code(),
            session_id: session.session_id,
            session_epoch: session.session_epoch,
            topics,
            forgotten_topics_data: forgotten,
            rack_id: config
                .client_rack
                .as_ref()
                .map(Str::from)
                .unwrap_or_default(),
            ..FetchRequest::default()
        };
        let timeout = self
            .core
            .config
            .request_timeout_ms
            .saturating_add(config.fetch_max_wait_ms);
        let call = Call::new(Destination::Broker(broker), request, timeout).lane(self.lane);
        // From version 13 on, topics have ids only.
        if by_id { call } else { call.at_most(12) }
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
        let session = self.sessions.entry(answer.broker).or_default();
        let response = match response {
            Ok(response) => {
                session.answered(response.session_id);
                response
            }
            Err(error) => {
                session.failed(error.code());
                if let Some(
                    ErrorCode::FetchSessionIdNotFound | ErrorCode::InvalidFetchSessionEpoch,
                ) = error.code()
                {
                    // The next request begins a new session at once.
                    tracing::debug!(%error, "a fetch session has ended");
                    return Ok(());
                }
                for partition in answer.asked.keys() {
                    self.stale.insert(partition.topic.clone());
                    if let Some(state) = partitions.get_mut(partition) {
                        state.not_before = Some(backoff);
                        state.preferred = None;
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
                if data.preferred_read_replica >= 0 {
                    let until = after(self.core.config.metadata_max_age_ms);
                    state.preferred = Some((data.preferred_read_replica, until));
                }
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
            // A follower may not have it yet, or have it no longer: the leader decides.
            ErrorCode::OffsetOutOfRange if state.preferred.take().is_some() => Ok(()),
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
                state.preferred = None;
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

    /// Nothing is fetched any more: the brokers forget the sessions. What cannot be reached
    /// now forgets them by itself, in time.
    pub(super) fn end_sessions(&mut self) -> impl Future<Output = ()> + Send + use<> {
        let timeout = self.core.config.request_timeout_ms.min(GOODBYE);
        let asked: Vec<_> = std::mem::take(&mut self.sessions)
            .into_iter()
            .filter_map(|(broker, session)| Some((broker, session.id()?)))
            .map(|(broker, session_id)| {
                let request = FetchRequest {
                    session_id,
                    session_epoch: FINAL_EPOCH,
                    ..FetchRequest::default()
                };
                // Not behind a fetch that still waits for records.
                let call = Call::new(Destination::Broker(broker), request, timeout);
                self.core.transport.call(call.at_least(7))
            })
            .collect();
        async move {
            for answer in join_all(asked).await {
                if let Err(error) = answer {
                    tracing::debug!(%error, "a fetch session is left to the broker");
                }
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
        // The requests are on their way when it returns; nobody waits for the answers.
        drop(self.end_sessions());
        self.core.transport.close_lane(self.lane);
    }
}

/// The follower to read from, as long as it is there.
fn preferred(state: &mut Partition, cluster: &Cluster, now: Instant) -> Option<i32> {
    let (broker, until) = state.preferred?;
    if until <= now || !cluster.nodes.contains_key(&broker) {
        state.preferred = None;
        return None;
    }
    Some(broker)
}

/// Takes in what the leaders say about positions in doubt.
pub(super) fn take_verdicts(
    verdicts: Verdicts,
    partitions: &mut Partitions,
    stale: &mut HashSet<Arc<str>>,
    reset: AutoOffsetReset,
    backoff: Instant,
) -> Result<(), ClientError> {
    let mut result = Ok(());
    for (doubt, verdict) in verdicts {
        let Some(state) = partitions.get_mut(&doubt.partition) else {
            continue;
        };
        if state.position() != Some(doubt.position) {
            continue;
        }
        match verdict {
            Ok(Verdict::Valid) => state.valid_in = doubt.leader_epoch,
            Ok(Verdict::Diverges(end)) => {
                let partition = &doubt.partition;
                tracing::warn!(%partition, offset = doubt.position.offset, diverges_at = end, "the log was truncated below the position");
                match (reset_spec(reset), end) {
                    (Some(_), Some(end)) => {
                        state.restart(Start::At(super::partitions::Position {
                            offset: end,
                            epoch: None,
                        }));
                    }
                    (Some(spec), None) => state.restart(Start::Spec(spec)),
                    (None, divergent) => {
                        state.not_before = Some(backoff);
                        result = result.and(Err(ClientError::LogTruncation {
                            partition: partition.clone(),
                            offset: doubt.position.offset,
                            divergent,
                        }));
                    }
                }
            }
            Err(error) => {
                state.not_before = Some(backoff);
                stale.insert(doubt.partition.topic.clone());
                if !error.is_retriable() && !error.code().is_some_and(|c| c.is_stale_metadata()) {
                    result = result.and(Err(error));
                } else {
                    tracing::debug!(%error, "a position could not be validated");
                }
            }
        }
    }
    result
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
