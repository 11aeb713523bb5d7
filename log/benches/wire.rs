//! What encoding and decoding cost: ours beside the `kafka-protocol` crate's, on the same bytes.

#![allow(missing_docs, reason = "criterion's macros write public functions")]

use std::hint::black_box;

use bytes::{Bytes, BytesMut};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use kafka_protocol::messages as theirs;
use kafka_protocol::protocol::{Decodable, Encodable};
use thalweg_log::net::request_frame;
use thalweg_log::wire::messages::*;
use thalweg_log::wire::{ApiKey, Message, RequestHeader};

fn metadata() -> MetadataResponse {
    let partitions: Vec<_> = (0..12)
        .map(|partition_index| MetadataResponsePartition {
            partition_index,
            leader_id: 1,
            leader_epoch: 3,
            replica_nodes: vec![1, 2, 3],
            isr_nodes: vec![1, 2, 3],
            ..Default::default()
        })
        .collect();
    MetadataResponse {
        topics: (0..100u128)
            .map(|number| MetadataResponseTopic {
                name: Some(format!("ad-impressions-{number}").into()),
                topic_id: uuid::Uuid::from_u128(number + 1),
                partitions: partitions.clone(),
                ..Default::default()
            })
            .collect(),
        ..Default::default()
    }
}

fn produce() -> ProduceRequest {
    ProduceRequest {
        acks: -1,
        topic_data: vec![TopicProduceData {
            name: "ad-impressions".into(),
            partition_data: (0..12)
                .map(|index| PartitionProduceData {
                    index,
                    records: Some(Bytes::from(vec![7; 16 * 1024])),
                    ..Default::default()
                })
                .collect(),
            ..Default::default()
        }],
        ..Default::default()
    }
}

fn compare<O, T>(criterion: &mut Criterion, message: &O, version: i16)
where
    O: Message,
    T: Encodable + Decodable,
{
    let mut bytes = BytesMut::new();
    Message::encode(message, &mut bytes, version).expect("encodes");
    let bytes = bytes.freeze();
    let other = T::decode(&mut bytes.clone(), version).expect("decodes");
    let mut group = criterion.benchmark_group(format!("{} {version}", O::NAME));
    group.throughput(Throughput::Bytes(bytes.len() as u64));
    group.bench_function(BenchmarkId::new("decode", "thalweg"), |bencher| {
        bencher.iter(|| O::decode_all(black_box(bytes.clone()), version));
    });
    group.bench_function(BenchmarkId::new("decode", "kafka-protocol"), |bencher| {
        bencher.iter(|| T::decode(&mut black_box(bytes.clone()), version));
    });
    let mut buffer = BytesMut::with_capacity(bytes.len());
    group.bench_function(BenchmarkId::new("encode", "thalweg"), |bencher| {
        bencher.iter(|| {
            buffer.clear();
            Message::encode(black_box(message), &mut buffer, version)
        });
    });
    group.bench_function(BenchmarkId::new("encode", "kafka-protocol"), |bencher| {
        bencher.iter(|| {
            buffer.clear();
            black_box(&other).encode(&mut buffer, version)
        });
    });
    group.finish();
}

fn codec(criterion: &mut Criterion) {
    compare::<MetadataResponse, theirs::MetadataResponse>(criterion, &metadata(), 12);
    compare::<ProduceRequest, theirs::ProduceRequest>(criterion, &produce(), 9);
}

/// A whole frame as it goes to the socket: the records are not copied.
fn frame(criterion: &mut Criterion) {
    let header = RequestHeader::new(ApiKey::Produce, 9, 1, Some("bench".into()));
    let request = produce().into();
    criterion.bench_function("frame of a produce request, vectored", |bencher| {
        bencher.iter(|| request_frame(black_box(&header), black_box(&request)));
    });
}

criterion_group!(benches, codec, frame);
criterion_main!(benches);
