//! A broker to ask, and requests to ask it with.

use std::time::Duration;

use bytes::Bytes;
use thalweg_log::broker::{Broker, BrokerConfig};
use thalweg_log::client::{Call, Destination, Transport};
use thalweg_log::record::{BatchBuilder, Compression, batches};
use thalweg_log::wire::messages::*;
use thalweg_log::wire::{ApiRequest, ErrorCode, Response, Str};

pub(crate) struct Bench {
    pub(crate) broker: Broker,
    pub(crate) dir: tempfile::TempDir,
}

impl Bench {
    pub(crate) async fn start(settings: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let broker = Self::open(dir.path(), settings).await;
        Self { broker, dir }
    }

    pub(crate) async fn open(dir: &std::path::Path, settings: &[(&str, &str)]) -> Broker {
        let config = settings
            .iter()
            .fold(BrokerConfig::new(dir), |c, (k, v)| c.set(*k, *v));
        Broker::start(config).await.unwrap()
    }

    pub(crate) async fn restart(&mut self, settings: &[(&str, &str)]) {
        self.broker.shutdown().await;
        self.broker = Self::open(self.dir.path(), settings).await;
    }

    pub(crate) async fn ask<Q: ApiRequest>(&self, request: Q) -> Q::Response {
        self.ask_at(request, i16::MAX).await
    }

    pub(crate) async fn ask_at<Q: ApiRequest>(&self, request: Q, version: i16) -> Q::Response {
        let call = Call::new(
            Destination::Any,
            request.into_request(),
            Duration::from_secs(30),
        );
        let reply = self
            .broker
            .transport()
            .call(call.at_most(version))
            .await
            .unwrap();
        Q::response_of(reply.response).unwrap()
    }

    /// Asks in every version of the API, lowest first. Each answer can be written in its version.
    pub(crate) async fn ask_in_all<Q>(&self, request: Q) -> Vec<Q::Response>
    where
        Q: ApiRequest + Clone,
        Q::Response: Clone + Into<Response>,
    {
        let versions = Q::API.versions();
        let mut answers = Vec::new();
        for version in versions.min..=versions.max {
            let answer = self.ask_at(request.clone(), version).await;
            let written: Response = answer.clone().into();
            let mut bytes = bytes::BytesMut::new();
            written.encode(&mut bytes, version).unwrap();
            answers.push(answer);
        }
        answers
    }

    pub(crate) async fn create(
        &self,
        name: &str,
        partitions: i32,
        configs: &[(&str, &str)],
    ) -> CreatableTopicResult {
        let request = CreateTopicsRequest {
            topics: vec![topic(name, partitions, configs)],
            ..Default::default()
        };
        self.ask(request).await.topics.remove(0)
    }

    pub(crate) async fn produce(
        &self,
        topic: &str,
        acks: i16,
        batch: Bytes,
    ) -> PartitionProduceResponse {
        let request = produce(topic, acks, batch);
        // Version 12 still goes by name.
        self.ask_at(request, 12).await.responses[0].partition_responses[0].clone()
    }

    pub(crate) async fn fetch(
        &self,
        topic: &str,
        offset: i64,
        min_bytes: i32,
        max_wait_ms: i32,
    ) -> PartitionData {
        let request = fetch(topic, offset, min_bytes, max_wait_ms);
        self.ask_at(request, 12).await.responses[0].partitions[0].clone()
    }

    pub(crate) async fn names(&self) -> Vec<String> {
        let all = MetadataRequest {
            topics: None,
            ..Default::default()
        };
        let topics = self.ask(all).await.topics;
        topics
            .into_iter()
            .map(|t| t.name.unwrap().to_string())
            .collect()
    }
}

pub(crate) fn topic(name: &str, partitions: i32, configs: &[(&str, &str)]) -> CreatableTopic {
    CreatableTopic {
        name: Str::from(name),
        num_partitions: partitions,
        replication_factor: -1,
        configs: configs
            .iter()
            .map(|(k, v)| CreatableTopicConfig {
                name: Str::from(*k),
                value: Some(Str::from(*v)),
                ..Default::default()
            })
            .collect(),
        ..Default::default()
    }
}

pub(crate) fn batch(values: &[&str]) -> Bytes {
    let mut batch = BatchBuilder::new(Compression::None);
    for value in values {
        batch
            .append(1_700_000_000_000, Some(b"k"), Some(value.as_bytes()), &[])
            .unwrap();
    }
    batch.build().unwrap()
}

pub(crate) fn produce(topic: &str, acks: i16, records: Bytes) -> ProduceRequest {
    ProduceRequest {
        acks,
        timeout_ms: 10_000,
        topic_data: vec![TopicProduceData {
            name: Str::from(topic),
            partition_data: vec![PartitionProduceData {
                records: Some(records),
                ..Default::default()
            }],
            ..Default::default()
        }],
        ..Default::default()
    }
}

pub(crate) fn fetch(
    topic: &str,
    fetch_offset: i64,
    min_bytes: i32,
    max_wait_ms: i32,
) -> FetchRequest {
    FetchRequest {
        min_bytes,
        max_wait_ms,
        topics: vec![FetchTopic {
            topic: Str::from(topic),
            partitions: vec![FetchPartition {
                fetch_offset,
                partition_max_bytes: 1 << 20,
                ..Default::default()
            }],
            ..Default::default()
        }],
        ..Default::default()
    }
}

pub(crate) fn values(data: &PartitionData) -> Vec<String> {
    batches(data.records.clone().unwrap())
        .flat_map(|b| b.unwrap().records().unwrap().collect::<Vec<_>>())
        .map(|r| String::from_utf8(r.unwrap().value.unwrap().to_vec()).unwrap())
        .collect()
}

pub(crate) fn code(code: i16) -> ErrorCode {
    ErrorCode::from_code(code)
}
