//! The two brokers, asked the same.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use bytes::Bytes;
use thalweg_log::net::{ClientConnection, ConnectionOptions};
use thalweg_log::record::{BatchBuilder, Compression};
use thalweg_log::wire::messages::*;
use thalweg_log::wire::{ApiRequest, Response};
use uuid::Uuid;

use crate::differences::Differences;
use crate::normal::lines;

const PATIENCE: Duration = Duration::from_secs(30);

/// How long what a broker does after its answer may take to be seen.
const SETTLED: Duration = Duration::from_secs(4);

/// Answers that ask to be asked again: coordinators that load or move, transactions that are being ended.
const TRANSIENT: &[i16] = &[14, 15, 16, 51];

/// One broker.
pub(crate) struct Side {
    pub(crate) address: String,
    connection: ClientConnection,
    topics: HashMap<String, Uuid>,
    producers: HashMap<String, (i64, i16)>,
    members: HashMap<String, String>,
}

impl Side {
    pub(crate) async fn connect(address: &str) -> Self {
        Self {
            address: address.to_owned(),
            connection: connect(address).await,
            topics: HashMap::new(),
            producers: HashMap::new(),
            members: HashMap::new(),
        }
    }

    /// The id of a topic; a random one for a topic that was not waited for.
    pub(crate) fn topic(&self, name: &str) -> Uuid {
        self.topics
            .get(name)
            .copied()
            .unwrap_or(Uuid::from_u128(99))
    }

    /// Producer id and epoch, by the name that they were kept under.
    pub(crate) fn producer(&self, name: &str) -> (i64, i16) {
        self.producers.get(name).copied().unwrap_or((-1, -1))
    }

    /// Member id, by the name that it was kept under.
    pub(crate) fn member(&self, name: &str) -> String {
        self.members.get(name).cloned().unwrap_or_default()
    }

    pub(crate) fn keep_producer(&mut self, name: &str, id: i64, epoch: i16) {
        self.producers.insert(name.to_owned(), (id, epoch));
    }

    pub(crate) fn keep_member(&mut self, name: &str, id: &str) {
        self.members.insert(name.to_owned(), id.to_owned());
    }

    async fn ask<Q: ApiRequest>(
        &mut self,
        request: Q,
        version: i16,
    ) -> Result<Q::Response, String> {
        let answer = self.connection.call(request, version, PATIENCE).await;
        if self.connection.is_closed() {
            self.connection = connect(&self.address).await;
        }
        answer.map_err(|e| e.to_string())
    }
}

async fn connect(address: &str) -> ClientConnection {
    ClientConnection::connect(address, ConnectionOptions::default())
        .await
        .unwrap()
}

/// Both brokers, and how often they have answered alike.
pub(crate) struct Pair {
    pub(crate) kafka: Side,
    pub(crate) ours: Side,
    pub(crate) differences: Differences,
    pub(crate) failures: Vec<String>,
    pub(crate) compared: BTreeMap<&'static str, usize>,
    /// What was asked, where a round wants to tell of it.
    pub(crate) trace: Option<Vec<String>>,
    /// Lists of all groups or transactions are held to those whose names begin so.
    pub(crate) own: String,
}

impl Pair {
    pub(crate) async fn new(kafka: &str, ours: &str) -> Self {
        Self {
            kafka: Side::connect(kafka).await,
            ours: Side::connect(ours).await,
            differences: Differences::read(),
            failures: Vec::new(),
            compared: BTreeMap::new(),
            trace: None,
            own: String::new(),
        }
    }

    /// Asks both in one version; the answers are compared and returned, Kafka's first.
    pub(crate) async fn ask<Q>(
        &mut self,
        step: &str,
        version: i16,
        build: impl Fn(&Side) -> Q,
    ) -> Option<(Q::Response, Q::Response)>
    where
        Q: ApiRequest + std::fmt::Debug,
        Q::Response: Clone + Into<Response> + std::fmt::Debug,
    {
        self.compare(step, version, build, &[], Duration::ZERO)
            .await
    }

    /// The same of what changes nothing: asked again for a while if the answers differ, for what a broker does
    /// after its answer takes its time.
    pub(crate) async fn read<Q>(&mut self, step: &str, version: i16, build: impl Fn(&Side) -> Q)
    where
        Q: ApiRequest + std::fmt::Debug,
        Q::Response: Clone + Into<Response> + std::fmt::Debug,
    {
        self.compare(step, version, build, TRANSIENT, SETTLED).await;
    }

    /// Asks both and compares nothing.
    pub(crate) async fn raw<Q: ApiRequest>(
        &mut self,
        build: impl Fn(&Side) -> Q,
        version: i16,
    ) -> [Option<Q::Response>; 2] {
        let kafka = self.kafka.ask(build(&self.kafka), version).await.ok();
        let ours = self.ours.ask(build(&self.ours), version).await.ok();
        [kafka, ours]
    }

    /// The same, asking again while a broker says that it is not ready.
    pub(crate) async fn patient<Q>(
        &mut self,
        step: &str,
        version: i16,
        build: impl Fn(&Side) -> Q,
    ) -> Option<(Q::Response, Q::Response)>
    where
        Q: ApiRequest + std::fmt::Debug,
        Q::Response: Clone + Into<Response> + std::fmt::Debug,
    {
        self.compare(step, version, build, TRANSIENT, Duration::ZERO)
            .await
    }

    /// The same in every version of the API, lowest first.
    pub(crate) async fn all<Q>(&mut self, step: &str, build: impl Fn(&Side, i16) -> Q)
    where
        Q: ApiRequest + std::fmt::Debug,
        Q::Response: Clone + Into<Response> + std::fmt::Debug,
    {
        let versions = Q::API.versions();
        for version in versions.min..=versions.max {
            self.patient(step, version, |side| build(side, version))
                .await;
        }
    }

    async fn compare<Q>(
        &mut self,
        step: &str,
        version: i16,
        build: impl Fn(&Side) -> Q,
        again: &[i16],
        settled: Duration,
    ) -> Option<(Q::Response, Q::Response)>
    where
        Q: ApiRequest + std::fmt::Debug,
        Q::Response: Clone + Into<Response> + std::fmt::Debug,
    {
        *self.compared.entry(Q::API.name()).or_default() += 1;
        let began = Instant::now();
        let step = format!("{} v{version}: {step}", Q::API.name());
        loop {
            let mut answers = Vec::new();
            for side in [&mut self.kafka, &mut self.ours] {
                answers.push(patiently(side, version, &build, again).await);
            }
            let (ours, kafka) = (answers.pop()?, answers.pop()?);
            let shown = |answer: &Result<Q::Response, String>| match answer {
                Ok(answer) => lines(answer.clone().into(), &self.own),
                Err(_) => vec!["no answer".to_owned()],
            };
            let (left, right) = (shown(&kafka), shown(&ours));
            let unexplained = self.differences.unexplained(&step, &left, &right);
            if unexplained.is_some() && began.elapsed() < settled {
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
            if let Some(trace) = &mut self.trace {
                trace.push(told(&step, &build(&self.kafka), &kafka));
            }
            if let Some(unexplained) = unexplained {
                let reason = ours.as_ref().err().map(|e| format!(" ({e})"));
                self.failures.push(format!(
                    "{step}{}\n{unexplained}",
                    reason.unwrap_or_default()
                ));
            }
            return Some((kafka.ok()?, ours.ok()?));
        }
    }

    /// Waits until both know a topic, and remembers its id.
    pub(crate) async fn settle(&mut self, topic: &str) {
        for side in [&mut self.kafka, &mut self.ours] {
            until(&format!("{topic} is there"), async || {
                let Some(found) = metadata(side, topic).await else {
                    return false;
                };
                let whole = found.error_code == 0
                    && !found.partitions.is_empty()
                    && found.partitions.iter().all(|p| p.error_code == 0);
                // The metadata may be there before the partitions are.
                if whole && leads(side, topic, found.partitions.len()).await {
                    side.topics.insert(topic.to_owned(), found.topic_id);
                    return true;
                }
                false
            })
            .await;
        }
    }

    /// Waits until neither knows a topic.
    pub(crate) async fn gone(&mut self, topic: &str) {
        for side in [&mut self.kafka, &mut self.ours] {
            until(&format!("{topic} is gone"), async || {
                let found = metadata(side, topic).await;
                found.is_some_and(|t| t.error_code == 3)
            })
            .await;
            side.topics.remove(topic);
        }
    }

    /// Waits until both lead so many partitions of a topic.
    pub(crate) async fn grown(&mut self, topic: &str, partitions: usize) {
        for side in [&mut self.kafka, &mut self.ours] {
            until(&format!("{topic} has grown"), async || {
                let found = metadata(side, topic).await;
                found.is_some_and(|t| t.partitions.len() == partitions)
                    && leads(side, topic, partitions).await
            })
            .await;
        }
    }

    /// Creates a topic and waits for it.
    pub(crate) async fn create(&mut self, name: &str, partitions: i32, configs: &[(&str, &str)]) {
        self.ask("create", 7, |_| CreateTopicsRequest {
            topics: vec![topic(name, partitions, configs)],
            timeout_ms: 10_000,
            ..CreateTopicsRequest::default()
        })
        .await;
        self.settle(name).await;
    }
}

/// One side's answer, asked for again while it says that it is not ready.
async fn patiently<Q: ApiRequest>(
    side: &mut Side,
    version: i16,
    build: &impl Fn(&Side) -> Q,
    again: &[i16],
) -> Result<Q::Response, String>
where
    Q::Response: std::fmt::Debug,
{
    let end = Instant::now() + PATIENCE;
    loop {
        let answer = side.ask(build(side), version).await;
        let busy = answer.as_ref().is_ok_and(|answer| {
            let text = format!("{answer:?}");
            again
                .iter()
                .any(|code| text.contains(&format!("error_code: {code},")))
        });
        if !busy || Instant::now() > end {
            return answer;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A line for the trace: the request but for its empty fields, and the errors of Kafka's answer.
fn told<Q: std::fmt::Debug, A: std::fmt::Debug>(
    step: &str,
    request: &Q,
    answer: &Result<A, String>,
) -> String {
    let answer = match answer {
        Ok(answer) => format!("{answer:?}"),
        Err(error) => format!("no answer: {error}"),
    };
    let errors: Vec<&str> = answer
        .split("error_code: ")
        .skip(1)
        .filter_map(|rest| rest.split([',', ' ']).next())
        .collect();
    let short: String = format!("{request:?}")
        .replace(", unknown_tagged_fields: {}", "")
        .chars()
        .take(900)
        .collect();
    format!("{step} {short} -> {errors:?}")
}

async fn until(what: &str, mut done: impl AsyncFnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !done().await {
        assert!(Instant::now() < end, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// What a side's metadata say of a topic.
async fn metadata(side: &mut Side, topic: &str) -> Option<MetadataResponseTopic> {
    let request = MetadataRequest {
        topics: Some(vec![MetadataRequestTopic {
            name: Some(topic.into()),
            ..MetadataRequestTopic::default()
        }]),
        ..MetadataRequest::default()
    };
    side.ask(request, 12).await.ok()?.topics.into_iter().next()
}

/// Whether the broker answers for every partition of a topic.
async fn leads(side: &mut Side, topic: &str, partitions: usize) -> bool {
    let request = ListOffsetsRequest {
        replica_id: -1,
        topics: vec![ListOffsetsTopic {
            name: topic.into(),
            partitions: (0..partitions)
                .map(|partition| ListOffsetsPartition {
                    partition_index: partition as i32,
                    timestamp: -1,
                    ..ListOffsetsPartition::default()
                })
                .collect(),
            ..ListOffsetsTopic::default()
        }],
        ..ListOffsetsRequest::default()
    };
    let answer = side.ask(request, 5).await.unwrap();
    let mut partitions = answer.topics.iter().flat_map(|t| &t.partitions);
    partitions.all(|p| p.error_code == 0)
}

/// A topic to create.
pub(crate) fn topic(name: &str, partitions: i32, configs: &[(&str, &str)]) -> CreatableTopic {
    CreatableTopic {
        name: name.into(),
        num_partitions: partitions,
        replication_factor: 1,
        configs: configs
            .iter()
            .map(|(key, value)| CreatableTopicConfig {
                name: (*key).into(),
                value: Some((*value).into()),
                ..CreatableTopicConfig::default()
            })
            .collect(),
        ..CreatableTopic::default()
    }
}

/// What a batch says of its producer: id, epoch, base sequence, whether it is of a transaction.
pub(crate) type Producer = (i64, i16, i32, bool);

/// A batch of so many records.
pub(crate) fn batch(count: usize, compression: Compression, producer: Option<Producer>) -> Bytes {
    let mut builder = BatchBuilder::new(compression);
    if let Some((id, epoch, sequence, transactional)) = producer {
        builder.producer(id, epoch, sequence);
        builder.transactional(transactional);
    }
    for n in 0..count {
        let key = format!("key {n}");
        let value = format!("value {n}");
        builder
            .append(
                1_700_000_000_000 + n as i64 * 1000,
                Some(key.as_bytes()),
                Some(value.as_bytes()),
                &[],
            )
            .unwrap();
    }
    builder.build().unwrap()
}
