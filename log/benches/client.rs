//! What a record costs in the client: into batches and out, without a disk or a network.
//!
//! The transport answers every produce request at once and keeps nothing, so this is the
//! producer alone; `produce and consume` adds the broker in process, on a folder in memory
//! if `/dev/shm` is there.

use std::hint::black_box;
use std::sync::Arc;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use futures::FutureExt;
use futures::future::BoxFuture;
use thalweg_log::broker::{Broker, BrokerConfig};
use thalweg_log::client::{
    AutoOffsetReset, Call, Client, ClientConfig, ClientError, ConsumerConfig, NewTopic, Producer,
    ProducerConfig, ProducerTopic, RecordRef, Reply, TopicPartition, Transport,
};
use thalweg_log::wire::messages::{
    InitProducerIdResponse, MetadataResponse, MetadataResponseBroker, MetadataResponsePartition,
    MetadataResponseTopic, PartitionProduceResponse, ProduceResponse, TopicProduceResponse,
};
use thalweg_log::wire::{Request, Response};
use tokio::runtime::{Builder, Runtime};
use uuid::Uuid;

const RECORDS: u64 = 200_000;
const PARTITIONS: i32 = 6;

/// Says yes to everything.
struct Yes;

impl Transport for Yes {
    fn call(&self, call: Call) -> BoxFuture<'static, Result<Reply, ClientError>> {
        let id = Uuid::from_u128(1);
        let response = match call.request {
            Request::Metadata(_) => Response::Metadata(MetadataResponse {
                brokers: vec![MetadataResponseBroker {
                    node_id: 1,
                    ..Default::default()
                }],
                topics: vec![MetadataResponseTopic {
                    name: Some("t".into()),
                    topic_id: id,
                    partitions: (0..PARTITIONS)
                        .map(|partition_index| MetadataResponsePartition {
                            partition_index,
                            leader_id: 1,
                            ..Default::default()
                        })
                        .collect(),
                    ..Default::default()
                }],
                ..Default::default()
            }),
            Request::InitProducerId(_) => Response::InitProducerId(InitProducerIdResponse {
                producer_id: 1,
                ..Default::default()
            }),
            Request::Produce(request) => Response::Produce(ProduceResponse {
                responses: request
                    .topic_data
                    .into_iter()
                    .map(|topic| TopicProduceResponse {
                        topic_id: topic.topic_id,
                        partition_responses: topic
                            .partition_data
                            .into_iter()
                            .map(|p| PartitionProduceResponse {
                                index: p.index,
                                ..Default::default()
                            })
                            .collect(),
                        ..Default::default()
                    })
                    .collect(),
                ..Default::default()
            }),
            other => panic!("{:?}", other.api()),
        };
        std::future::ready(Ok(Reply {
            response,
            version: 13,
        }))
        .boxed()
    }

    fn describe(&self) -> String {
        "yes".to_owned()
    }
}

fn runtime() -> Runtime {
    Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap()
}

fn config() -> ProducerConfig {
    ProducerConfig {
        batch_size: 65_536,
        ..ProducerConfig::default()
    }
}

fn enqueue(runtime: &Runtime, producer: &Producer, topic: &ProducerTopic) {
    let value = [7; 92];
    for n in 0..RECORDS {
        let key = n.to_be_bytes();
        let record = RecordRef {
            partition: None,
            timestamp: 1_700_000_000_000,
            key: Some(&key),
            value: Some(&value),
            headers: &[],
        };
        while producer.enqueue(topic, record).is_err() {
            runtime.block_on(producer.room(1 << 20)).unwrap();
        }
    }
    runtime.block_on(producer.flush()).unwrap();
}

fn producer_alone(c: &mut Criterion) {
    let runtime = runtime();
    let client = {
        let _context = runtime.enter();
        Client::with_transport(Arc::new(Yes), ClientConfig::default())
    };
    let producer = {
        let _context = runtime.enter();
        client.producer(config()).unwrap()
    };
    let topic = runtime.block_on(producer.topic("t")).unwrap();
    let mut group = c.benchmark_group("client");
    group
        .sample_size(10)
        .throughput(Throughput::Elements(RECORDS));
    group.bench_function("enqueue 100 bytes, no broker", |b| {
        b.iter(|| enqueue(&runtime, &producer, &topic));
    });
    group.finish();
}

fn produce_and_consume(c: &mut Criterion) {
    let runtime = runtime();
    let memory = std::path::Path::new("/dev/shm");
    let folder = if memory.is_dir() {
        tempfile::tempdir_in(memory).unwrap()
    } else {
        tempfile::tempdir().unwrap()
    };
    let broker = runtime
        .block_on(Broker::start(BrokerConfig::new(folder.path())))
        .unwrap();
    let _context = runtime.enter();
    let client = Client::with_transport(broker.transport(), ClientConfig::default());
    let topic = NewTopic::new("t").partitions(PARTITIONS);
    runtime
        .block_on(client.admin().create_topic(topic))
        .unwrap();
    let producer = client.producer(config()).unwrap();
    let topic = runtime.block_on(producer.topic("t")).unwrap();
    let mut consumer = client
        .consumer(ConsumerConfig {
            auto_offset_reset: AutoOffsetReset::Earliest,
            ..ConsumerConfig::default()
        })
        .unwrap();
    let partitions = (0..PARTITIONS).map(|p| TopicPartition::new("t", p));
    consumer.assign(partitions.collect()).unwrap();
    let mut group = c.benchmark_group("client");
    group
        .sample_size(10)
        .throughput(Throughput::Elements(RECORDS));
    group.bench_function("produce 100 bytes, broker in process", |b| {
        b.iter(|| enqueue(&runtime, &producer, &topic));
    });
    group.bench_function("consume 100 bytes, broker in process", |b| {
        b.iter(|| {
            let first: Vec<TopicPartition> = consumer.assignment().into_iter().collect();
            for partition in &first {
                consumer.seek(partition, 0).unwrap();
            }
            let mut left = RECORDS;
            while left > 0 {
                let polled = consumer.poll_records(std::time::Duration::from_secs(1));
                for records in runtime.block_on(polled).unwrap() {
                    for record in records {
                        black_box(record.unwrap());
                        left = left.saturating_sub(1);
                    }
                }
            }
        });
    });
    group.finish();
    runtime.block_on(broker.shutdown());
}

criterion_group!(benches, producer_alone, produce_and_consume);
criterion_main!(benches);
