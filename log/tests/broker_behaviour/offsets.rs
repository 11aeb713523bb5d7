//! Where logs begin and end, by time, by epoch and by what is decided; and who wrote to them.

use bytes::Bytes;
use thalweg_log::record::{BatchBuilder, Compression};
use thalweg_log::wire::messages::*;
use thalweg_log::wire::{ErrorCode, Str};

use crate::bench::*;

fn ask(timestamp: i64, isolation_level: i8, epoch: i32) -> ListOffsetsRequest {
    ListOffsetsRequest {
        replica_id: -1,
        isolation_level,
        topics: vec![ListOffsetsTopic {
            name: Str::from("t"),
            partitions: vec![ListOffsetsPartition {
                current_leader_epoch: epoch,
                timestamp,
                ..Default::default()
            }],
            ..Default::default()
        }],
        ..Default::default()
    }
}

async fn list(bench: &Bench, request: ListOffsetsRequest, version: i16) -> (ErrorCode, i64, i64) {
    let answer = bench.ask_at(request, version).await;
    let found = &answer.topics[0].partitions[0];
    (code(found.error_code), found.offset, found.timestamp)
}

fn stamped(timestamps: &[i64]) -> Bytes {
    let mut batch = BatchBuilder::new(Compression::None);
    for timestamp in timestamps {
        batch.append(*timestamp, None, Some(b"v"), &[]).unwrap();
    }
    batch.build().unwrap()
}

#[tokio::test]
async fn every_special_timestamp_is_answered_at_the_versions_that_know_it() {
    let bench = Bench::start(&[]).await;
    bench.create("t", 1, &[]).await;
    // Of an empty log.
    for (timestamp, offset) in [(-1, 0), (-2, 0), (-3, -1), (-4, 0), (-5, -1), (-6, -1)] {
        assert_eq!(
            list(&bench, ask(timestamp, 0, -1), 11).await,
            (ErrorCode::None, offset, -1)
        );
    }
    bench.produce("t", -1, stamped(&[10, 30, 20])).await;
    bench.produce("t", -1, stamped(&[25])).await;
    let expected = [
        (-1, 1, (4, -1)),
        (-2, 1, (0, -1)),
        (-3, 7, (1, 30)),
        (-4, 8, (0, -1)),
        (-5, 9, (-1, -1)),
        (-6, 11, (-1, -1)),
        (15, 1, (1, 30)),
        (30, 1, (1, 30)),
        (31, 1, (-1, -1)),
    ];
    for (timestamp, since, (offset, at)) in expected {
        for version in 1..=11 {
            let found = list(&bench, ask(timestamp, 0, -1), version).await;
            let expected = if version >= since {
                (ErrorCode::None, offset, at)
            } else {
                (ErrorCode::UnsupportedVersion, -1, -1)
            };
            assert_eq!(found, expected, "{timestamp} at version {version}");
        }
    }
    let unknown = list(&bench, ask(-7, 0, -1), 11).await;
    assert_eq!(unknown.0, ErrorCode::UnsupportedVersion);
}

#[tokio::test]
async fn epochs_are_fenced_and_a_partition_is_asked_for_once() {
    let mut bench = Bench::start(&[]).await;
    bench.create("t", 1, &[]).await;
    bench.produce("t", -1, stamped(&[1])).await;
    bench.restart(&[]).await;
    let latest = bench.ask(ask(-1, 0, -1)).await;
    let epoch = latest.topics[0].partitions[0].leader_epoch;
    assert!(epoch > 0, "a registration of the broker is a new epoch");
    let fenced = [
        (epoch - 1, ErrorCode::FencedLeaderEpoch),
        (epoch, ErrorCode::None),
        (epoch + 1, ErrorCode::UnknownLeaderEpoch),
    ];
    for (known, expected) in fenced {
        assert_eq!(list(&bench, ask(-1, 0, known), 11).await.0, expected);
        let request = OffsetForLeaderEpochRequest {
            replica_id: -1,
            topics: vec![OffsetForLeaderTopic {
                topic: Str::from("t"),
                partitions: vec![OffsetForLeaderPartition {
                    current_leader_epoch: known,
                    leader_epoch: 0,
                    ..Default::default()
                }],
                ..Default::default()
            }],
            ..Default::default()
        };
        let answer = bench.ask(request).await;
        let end = &answer.topics[0].partitions[0];
        assert_eq!(code(end.error_code), expected);
    }
    let mut twice = ask(-1, 0, -1);
    let again = twice.topics[0].partitions[0].clone();
    twice.topics[0].partitions.push(again);
    let answer = bench.ask(twice).await;
    for found in &answer.topics[0].partitions {
        assert_eq!(code(found.error_code), ErrorCode::InvalidRequest);
    }
}

#[tokio::test]
async fn leader_epochs_end_where_the_next_began() {
    let mut bench = Bench::start(&[]).await;
    bench.create("t", 1, &[]).await;
    bench.produce("t", -1, stamped(&[1, 2])).await;
    bench.restart(&[]).await;
    let latest = bench.ask(ask(-1, 0, -1)).await;
    let epoch = latest.topics[0].partitions[0].leader_epoch;
    let end = async |bench: &Bench, leader_epoch: i32, partition: i32| {
        let request = OffsetForLeaderEpochRequest {
            replica_id: -1,
            topics: vec![OffsetForLeaderTopic {
                topic: Str::from("t"),
                partitions: vec![OffsetForLeaderPartition {
                    partition,
                    leader_epoch,
                    ..Default::default()
                }],
                ..Default::default()
            }],
            ..Default::default()
        };
        let answer = bench.ask(request).await;
        let end = answer.topics[0].partitions[0].clone();
        (code(end.error_code), end.leader_epoch, end.end_offset)
    };
    let none = ErrorCode::None;
    // Before anything is appended in the new epoch, and after.
    for log_end in [2, 3] {
        assert_eq!(end(&bench, 0, 0).await, (none, 0, 2));
        assert_eq!(end(&bench, epoch, 0).await, (none, epoch, log_end));
        assert_eq!(end(&bench, epoch + 1, 0).await, (none, -1, -1));
        assert_eq!(end(&bench, -1, 0).await, (none, -1, -1));
        bench.produce("t", -1, stamped(&[3])).await;
    }
    let unknown = ErrorCode::UnknownTopicOrPartition;
    assert_eq!(end(&bench, 0, 9).await, (unknown, -1, -1));
}

#[tokio::test]
async fn producers_are_described() {
    let bench = Bench::start(&[]).await;
    bench.create("t", 1, &[]).await;
    let mut batch = BatchBuilder::new(Compression::None);
    batch.producer(77, 3, 5);
    for _ in 0..4 {
        batch.append(123, None, None, &[]).unwrap();
    }
    bench.produce("t", -1, batch.build().unwrap()).await;
    let topic = |name: &str, partition_indexes: &[i32]| DescribeProducersRequestTopic {
        name: Str::from(name),
        partition_indexes: partition_indexes.to_vec(),
        ..Default::default()
    };
    let request = DescribeProducersRequest {
        topics: vec![
            topic("t", &[0, 1]),
            topic("nope", &[0]),
            topic("not/legal", &[0]),
        ],
        ..Default::default()
    };
    let answer = bench.ask(request).await;
    let codes: Vec<_> = answer
        .topics
        .iter()
        .flat_map(|t| &t.partitions)
        .map(|p| code(p.error_code))
        .collect();
    assert_eq!(
        codes,
        [
            ErrorCode::None,
            ErrorCode::UnknownTopicOrPartition,
            ErrorCode::UnknownTopicOrPartition,
            ErrorCode::InvalidTopicException
        ]
    );
    let [producer] = &answer.topics[0].partitions[0].active_producers[..] else {
        panic!("one producer")
    };
    assert_eq!(
        (
            producer.producer_id,
            producer.producer_epoch,
            producer.last_sequence,
            producer.last_timestamp,
            producer.coordinator_epoch,
            producer.current_txn_start_offset
        ),
        (77, 3, 8, 123, -1, -1)
    );
}
