//! A cluster in memory for tests, with faults from a seed.
//!
//! It keeps what a broker must keep of idempotence (the last five batches of a producer,
//! epochs, gaps refused), so that a test can look at the logs afterwards. A request is
//! lost before or after it was carried out, or refused, with a given chance.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::sync::Notify;
use uuid::Uuid;

use super::transport::{Call, Reply, Transport};
use super::{Client, ClientConfig, ClientError, Destination};
use crate::record::{RecordBatch, batches};
use crate::wire::messages::*;
use crate::wire::{ErrorCode, Request, Response, Str, catalogue};

/// What goes wrong, each in so many of a thousand requests.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Faults {
    pub(crate) lose_request: u32,
    pub(crate) lose_answer: u32,
    pub(crate) refuse: u32,
    /// The broker forgets a producer.
    pub(crate) forget_producer: u32,
}

pub(crate) struct FakeCluster {
    state: Mutex<State>,
    appended: Arc<Notify>,
    /// The highest version that the cluster knows, by API key.
    pub(crate) max_versions: HashMap<i16, i16>,
}

struct State {
    random: StdRng,
    faults: Faults,
    topics: BTreeMap<String, Topic>,
    next_producer_id: i64,
    /// The largest batch that is taken.
    max_message_bytes: usize,
    /// Requests by API name.
    counts: BTreeMap<&'static str, usize>,
}

struct Topic {
    id: Uuid,
    partitions: Vec<Log>,
}

#[derive(Default)]
struct Log {
    batches: Vec<RecordBatch>,
    end: i64,
    producers: HashMap<i64, ProducerState>,
    forgotten: HashSet<i64>,
}

struct ProducerState {
    epoch: i16,
    /// First and last sequence and base offset.
    last: VecDeque<(i32, i32, i64)>,
}

impl FakeCluster {
    pub(crate) fn new(seed: u64, faults: Faults, topics: &[(&str, usize)]) -> Arc<Self> {
        let topics = topics
            .iter()
            .map(|(name, partitions)| {
                let topic = Topic {
                    id: Uuid::from_u128(u128::from(name.len() as u64) + 77),
                    partitions: (0..*partitions).map(|_| Log::default()).collect(),
                };
                ((*name).to_owned(), topic)
            })
            .collect();
        Arc::new(Self {
            state: Mutex::new(State {
                random: StdRng::seed_from_u64(seed),
                faults,
                topics,
                next_producer_id: 1000,
                max_message_bytes: usize::MAX,
                counts: BTreeMap::new(),
            }),
            appended: Arc::new(Notify::new()),
            max_versions: HashMap::new(),
        })
    }

    pub(crate) fn set_faults(&self, faults: Faults) {
        self.state.lock().faults = faults;
    }

    pub(crate) fn set_max_message_bytes(&self, limit: usize) {
        self.state.lock().max_message_bytes = limit;
    }

    pub(crate) fn count(&self, api: &str) -> usize {
        self.state.lock().counts.get(api).copied().unwrap_or(0)
    }

    /// The values in a partition's log, in order.
    pub(crate) fn values(&self, topic: &str, partition: usize) -> Vec<String> {
        let state = self.state.lock();
        let mut values = Vec::new();
        let mut next = 0;
        for batch in &state.topics[topic].partitions[partition].batches {
            batch.verify().unwrap();
            for record in batch.records().unwrap() {
                let record = record.unwrap();
                assert_eq!(record.offset, next, "offsets without gaps");
                next += 1;
                values.push(String::from_utf8(record.value.unwrap().to_vec()).unwrap());
            }
        }
        values
    }
}

impl State {
    fn chance(&mut self, of_thousand: u32) -> bool {
        self.random.random_range(0..1000) < of_thousand
    }

    fn log(&mut self, name: &str, id: Uuid, partition: i32) -> Option<&mut Log> {
        let topic = self
            .topics
            .iter_mut()
            .find(|(n, t)| n.as_str() == name || (name.is_empty() && t.id == id))?
            .1;
        topic.partitions.get_mut(usize::try_from(partition).ok()?)
    }

    fn metadata(&self, request: &MetadataRequest, version: i16) -> MetadataResponse {
        let wanted: Vec<String> = match &request.topics {
            None => self.topics.keys().cloned().collect(),
            Some(topics) => topics
                .iter()
                .map(|t| t.name.as_ref().unwrap().to_string())
                .collect(),
        };
        MetadataResponse {
            brokers: vec![MetadataResponseBroker {
                node_id: 1,
                host: Str::from("nowhere"),
                port: 1,
                ..Default::default()
            }],
            controller_id: 1,
            topics: wanted
                .iter()
                .map(|name| match self.topics.get(name) {
                    None => MetadataResponseTopic {
                        error_code: ErrorCode::UnknownTopicOrPartition.code(),
                        name: Some(Str::from(name)),
                        ..Default::default()
                    },
                    Some(topic) => MetadataResponseTopic {
                        name: Some(Str::from(name)),
                        topic_id: if version >= 10 { topic.id } else { Uuid::nil() },
                        partitions: (0i32..)
                            .zip(&topic.partitions)
                            .map(|(index, _)| MetadataResponsePartition {
                                partition_index: index,
                                leader_id: 1,
                                leader_epoch: 0,
                                ..Default::default()
                            })
                            .collect(),
                        ..Default::default()
                    },
                })
                .collect(),
            ..Default::default()
        }
    }

    fn produce(&mut self, request: &ProduceRequest, version: i16) -> ProduceResponse {
        let mut responses = Vec::new();
        for topic in &request.topic_data {
            let mut partitions = Vec::new();
            for data in &topic.partition_data {
                let name = if version >= 13 { "" } else { &*topic.name };
                let forget = self.faults.forget_producer;
                let forget = self.chance(forget);
                let limit = self.max_message_bytes;
                let log = self.log(name, topic.topic_id, data.index).unwrap();
                let bytes = data.records.clone().unwrap();
                let (code, base_offset) = match bytes.len() > limit {
                    true => (ErrorCode::MessageTooLarge, -1),
                    false => log.append(bytes, forget),
                };
                partitions.push(PartitionProduceResponse {
                    index: data.index,
                    error_code: code.code(),
                    base_offset,
                    ..Default::default()
                });
            }
            responses.push(TopicProduceResponse {
                name: if version >= 13 {
                    Str::from("")
                } else {
                    topic.name.clone()
                },
                topic_id: topic.topic_id,
                partition_responses: partitions,
                ..Default::default()
            });
        }
        ProduceResponse {
            responses,
            ..Default::default()
        }
    }

    fn fetch(&mut self, request: &FetchRequest, version: i16) -> (FetchResponse, bool) {
        let mut any = false;
        let mut responses = Vec::new();
        for topic in &request.topics {
            let mut partitions = Vec::new();
            for wanted in &topic.partitions {
                let name = if version >= 13 { "" } else { &*topic.topic };
                let log = self.log(name, topic.topic_id, wanted.partition).unwrap();
                let mut data = PartitionData {
                    partition_index: wanted.partition,
                    high_watermark: log.end,
                    ..Default::default()
                };
                if wanted.fetch_offset > log.end {
                    data.error_code = ErrorCode::OffsetOutOfRange.code();
                    any = true;
                } else {
                    let mut bytes = Vec::new();
                    for batch in &log.batches {
                        let fits = bytes.is_empty()
                            || bytes.len() + batch.bytes().len()
                                <= usize::try_from(wanted.partition_max_bytes).unwrap();
                        if batch.last_offset() >= wanted.fetch_offset && fits {
                            bytes.extend_from_slice(batch.bytes());
                        }
                    }
                    any |= !bytes.is_empty();
                    data.records = Some(Bytes::from(bytes));
                }
                partitions.push(data);
            }
            responses.push(FetchableTopicResponse {
                topic: if version >= 13 {
                    Str::from("")
                } else {
                    topic.topic.clone()
                },
                topic_id: topic.topic_id,
                partitions,
                ..Default::default()
            });
        }
        let response = FetchResponse {
            responses,
            ..Default::default()
        };
        (response, any)
    }

    fn list_offsets(&mut self, request: &ListOffsetsRequest) -> ListOffsetsResponse {
        let topics = request
            .topics
            .iter()
            .map(|topic| ListOffsetsTopicResponse {
                name: topic.name.clone(),
                partitions: topic
                    .partitions
                    .iter()
                    .map(|p| {
                        let log = self.log(&topic.name, Uuid::nil(), p.partition_index);
                        let log = log.unwrap();
                        ListOffsetsPartitionResponse {
                            partition_index: p.partition_index,
                            offset: if p.timestamp == -2 { 0 } else { log.end },
                            ..Default::default()
                        }
                    })
                    .collect(),
                ..Default::default()
            })
            .collect();
        ListOffsetsResponse {
            topics,
            ..Default::default()
        }
    }
}

impl Log {
    fn append(&mut self, bytes: Bytes, forget: bool) -> (ErrorCode, i64) {
        let mut list = batches(bytes);
        let batch = list.next().unwrap().unwrap();
        assert!(list.next().is_none(), "one batch a partition");
        batch.verify().unwrap();
        if batch.producer_id >= 0 {
            let (first, last) = (batch.base_sequence, batch.last_sequence());
            // As brokers did before Kafka 2.5: who is forgotten begins at 0.
            if forget && self.producers.remove(&batch.producer_id).is_some() {
                self.forgotten.insert(batch.producer_id);
            }
            if self.forgotten.contains(&batch.producer_id) {
                if first != 0 {
                    return (ErrorCode::UnknownProducerId, -1);
                }
                self.forgotten.remove(&batch.producer_id);
            }
            let known = self.producers.entry(batch.producer_id).or_insert_with(|| {
                // An unknown producer may start anywhere.
                ProducerState {
                    epoch: batch.producer_epoch,
                    last: VecDeque::from([(0, first - 1, -1)]),
                }
            });
            if batch.producer_epoch < known.epoch {
                return (ErrorCode::InvalidProducerEpoch, -1);
            }
            if batch.producer_epoch > known.epoch {
                if first != 0 {
                    return (ErrorCode::OutOfOrderSequenceNumber, -1);
                }
                known.epoch = batch.producer_epoch;
                known.last.clear();
            } else if let Some((_, _, offset)) = known
                .last
                .iter()
                .find(|(f, l, o)| *f == first && *l == last && *o >= 0)
            {
                return (ErrorCode::None, *offset);
            } else if known.last.back().is_some_and(|(_, l, _)| l + 1 != first) {
                return (ErrorCode::OutOfOrderSequenceNumber, -1);
            }
            known.last.push_back((first, last, self.end));
            if known.last.len() > 5 {
                known.last.pop_front();
            }
        }
        let base = self.end;
        let batch = batch.with_base_offset(base, 0);
        self.end = batch.next_offset();
        self.batches.push(batch);
        (ErrorCode::None, base)
    }
}

/// Clients hold the cluster by this.
pub(crate) struct FakeTransport(pub(crate) Arc<FakeCluster>);

impl Transport for FakeTransport {
    fn call(&self, call: Call) -> BoxFuture<'static, Result<Reply, ClientError>> {
        let lost = || ClientError::Connection {
            to: "fake".into(),
            reason: "lost".into(),
        };
        let cluster = self.0.clone();
        let api = call.request.api();
        let max = self.0.max_versions.get(&api.key()).copied();
        let max = max.unwrap_or(i16::MAX).min(call.max_version);
        let version = catalogue::common_version(api, call.min_version, max).unwrap();
        if let Destination::Broker(id) = call.destination {
            assert_eq!(id, 1);
        }
        let mut state = self.0.state.lock();
        *state.counts.entry(api.name()).or_default() += 1;
        let faults = state.faults;
        if state.chance(faults.lose_request) {
            return async move { Err(lost()) }.boxed();
        }
        if let Request::Produce(request) = &call.request
            && state.chance(faults.refuse)
        {
            let mut response = ProduceResponse::default();
            for topic in &request.topic_data {
                response.responses.push(TopicProduceResponse {
                    name: topic.name.clone(),
                    topic_id: topic.topic_id,
                    partition_responses: topic
                        .partition_data
                        .iter()
                        .map(|p| PartitionProduceResponse {
                            index: p.index,
                            error_code: ErrorCode::NotLeaderOrFollower.code(),
                            ..Default::default()
                        })
                        .collect(),
                    ..Default::default()
                });
            }
            let response = Response::Produce(response);
            return async move { Ok(Reply { response, version }) }.boxed();
        }
        if let Request::Fetch(request) = call.request {
            drop(state);
            let wait = Duration::from_millis(request.max_wait_ms.unsigned_abs().into());
            return async move {
                let end = tokio::time::Instant::now() + wait;
                loop {
                    let appended = cluster.appended.notified();
                    tokio::pin!(appended);
                    appended.as_mut().enable();
                    let (response, any) = cluster.state.lock().fetch(&request, version);
                    if any || tokio::time::timeout_at(end, appended).await.is_err() {
                        let response = Response::Fetch(response);
                        return Ok(Reply { response, version });
                    }
                }
            }
            .boxed();
        }
        let response = match &call.request {
            Request::Metadata(request) => Response::Metadata(state.metadata(request, version)),
            Request::Produce(request) => Response::Produce(state.produce(request, version)),
            Request::ListOffsets(request) => Response::ListOffsets(state.list_offsets(request)),
            Request::InitProducerId(_) => {
                state.next_producer_id += 1;
                Response::InitProducerId(InitProducerIdResponse {
                    producer_id: state.next_producer_id,
                    producer_epoch: 0,
                    ..Default::default()
                })
            }
            other => panic!("{:?} is not faked", other.api()),
        };
        cluster.appended.notify_waiters();
        let lose = state.chance(faults.lose_answer);
        let yields = state.random.random_range(0..20);
        async move {
            // Answers come in any order.
            for _ in 0..yields {
                tokio::task::yield_now().await;
            }
            if lose {
                return Err(lost());
            }
            Ok(Reply { response, version })
        }
        .boxed()
    }

    fn describe(&self) -> String {
        "fake".to_owned()
    }
}

/// A client of the cluster that tries again at once.
pub(crate) fn client(cluster: &Arc<FakeCluster>) -> Client {
    let config = ClientConfig {
        retry_backoff_ms: Duration::from_millis(1),
        retry_backoff_max_ms: Duration::from_millis(3),
        ..ClientConfig::default()
    };
    Client::with_transport(Arc::new(FakeTransport(cluster.clone())), config)
}
