//! A foreign client against our frames and messages: librdkafka asks for versions and metadata, produces and
//! fetches, in the highest versions that it knows. The handler here is a broker of two answers deep; what is
//! under test is that both sides read each other's bytes.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Message as _;
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use thalweg_log::net::{Handler, Limits, serve};
use thalweg_log::wire::messages::*;
use thalweg_log::wire::{ApiKey, Request, RequestHeader, Response, catalogue};
use tokio::net::TcpListener;

const LONG: Duration = Duration::from_secs(30);

/// One broker with one topic of one partition, which holds what was produced last.
struct Tiny {
    address: SocketAddr,
    stored: Mutex<Bytes>,
    seen: Mutex<Vec<(ApiKey, i16)>>,
}

impl Tiny {
    fn metadata(&self) -> MetadataResponse {
        MetadataResponse {
            brokers: vec![MetadataResponseBroker {
                node_id: 1,
                host: self.address.ip().to_string().into(),
                port: i32::from(self.address.port()),
                ..Default::default()
            }],
            cluster_id: Some("tiny".into()),
            controller_id: 1,
            topics: vec![MetadataResponseTopic {
                name: Some("orders".into()),
                topic_id: uuid::Uuid::from_u128(7),
                partitions: vec![MetadataResponsePartition {
                    leader_id: 1,
                    leader_epoch: 0,
                    replica_nodes: vec![1],
                    isr_nodes: vec![1],
                    ..Default::default()
                }],
                ..Default::default()
            }],
            ..Default::default()
        }
    }

    fn produce(&self, request: ProduceRequest) -> ProduceResponse {
        let responses = request
            .topic_data
            .into_iter()
            .map(|topic| TopicProduceResponse {
                name: topic.name,
                topic_id: topic.topic_id,
                partition_responses: topic
                    .partition_data
                    .into_iter()
                    .map(|partition| {
                        *self.stored.lock() = partition.records.unwrap_or_default();
                        PartitionProduceResponse {
                            index: partition.index,
                            log_start_offset: 0,
                            ..Default::default()
                        }
                    })
                    .collect(),
                ..Default::default()
            })
            .collect();
        ProduceResponse {
            responses,
            ..Default::default()
        }
    }

    fn fetch(&self, request: FetchRequest) -> FetchResponse {
        let responses = request
            .topics
            .into_iter()
            .map(|topic| FetchableTopicResponse {
                topic: topic.topic,
                topic_id: topic.topic_id,
                partitions: topic
                    .partitions
                    .into_iter()
                    .map(|partition| PartitionData {
                        partition_index: partition.partition,
                        high_watermark: 1,
                        last_stable_offset: 1,
                        log_start_offset: 0,
                        records: Some(match partition.fetch_offset {
                            0 => self.stored.lock().clone(),
                            _ => Bytes::new(),
                        }),
                        ..Default::default()
                    })
                    .collect(),
                ..Default::default()
            })
            .collect();
        FetchResponse {
            responses,
            ..Default::default()
        }
    }
}

#[async_trait]
impl Handler for Tiny {
    async fn handle(
        &self,
        header: &RequestHeader,
        request: Request,
        _peer: SocketAddr,
    ) -> Option<Response> {
        self.seen.lock().push((header.api, header.version));
        Some(match request {
            Request::ApiVersions(_) => ApiVersionsResponse {
                api_keys: catalogue::advertised(|_| true),
                ..Default::default()
            }
            .into(),
            Request::Metadata(_) => self.metadata().into(),
            Request::Produce(request) => self.produce(request).into(),
            Request::Fetch(request) => self.fetch(request).into(),
            Request::FindCoordinator(_) => FindCoordinatorResponse {
                node_id: 1,
                host: self.address.ip().to_string().into(),
                port: i32::from(self.address.port()),
                ..Default::default()
            }
            .into(),
            other => panic!("librdkafka asked for {other:?}"),
        })
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn librdkafka_understands_us_and_we_it() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let handler = Arc::new(Tiny {
        address,
        stored: Mutex::default(),
        seen: Mutex::default(),
    });
    let serving = serve(
        listener,
        Arc::clone(&handler),
        Limits::default(),
        std::future::pending(),
    );
    let serving = tokio::spawn(serving);

    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", address.to_string());
    config.set("group.id", "g");
    config.set("enable.auto.commit", "false");
    let producer: FutureProducer = config.create().unwrap();
    let record = FutureRecord::to("orders").key("k").payload("v");
    let delivery = producer.send(record, LONG).await.unwrap();
    assert_eq!((delivery.partition, delivery.offset), (0, 0));

    let read = tokio::task::spawn_blocking(move || {
        let consumer: BaseConsumer = config.create().unwrap();
        let metadata = consumer.fetch_metadata(None, LONG).unwrap();
        assert_eq!(metadata.topics()[0].name(), "orders");
        let mut partitions = TopicPartitionList::new();
        partitions
            .add_partition_offset("orders", 0, Offset::Offset(0))
            .unwrap();
        consumer.assign(&partitions).unwrap();
        let message = consumer.poll(LONG).unwrap().unwrap();
        (
            message.key().map(<[u8]>::to_vec),
            message.payload().map(<[u8]>::to_vec),
        )
    });
    assert_eq!(
        read.await.unwrap(),
        (Some(b"k".to_vec()), Some(b"v".to_vec()))
    );

    let highest = |api| {
        let seen = handler.seen.lock();
        let versions = seen.iter().filter(|(key, _)| *key == api);
        versions.map(|(_, version)| *version).max()
    };
    assert!(highest(ApiKey::ApiVersions) >= Some(3));
    assert!(highest(ApiKey::Metadata) >= Some(9));
    assert!(highest(ApiKey::Produce) >= Some(7));
    assert!(highest(ApiKey::Fetch) >= Some(11));
    serving.abort();
}
