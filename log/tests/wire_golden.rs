//! Bytes that Kafka 4.3 itself writes, for the messages that the `kafka-protocol` crate lacks: the records of the
//! coordinators, and the versions that are newer than the crate.

use bytes::{Bytes, BytesMut};
use thalweg_log::wire::Message;
use thalweg_log::wire::messages::*;
use uuid::Uuid;

const TOPIC: Uuid = Uuid::from_u128(1 << 64 | 2);

fn bytes(hex: &str) -> Bytes {
    (0..hex.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap())
        .collect()
}

#[track_caller]
fn is<M: Message + PartialEq + std::fmt::Debug>(message: M, version: i16, hex: &str) {
    let expected = bytes(hex);
    let mut encoded = BytesMut::new();
    Message::encode(&message, &mut encoded, version).unwrap();
    assert_eq!(encoded, expected, "{message:?}");
    assert_eq!(M::decode_all(expected, version), Ok(message));
}

#[test]
fn transaction_log() {
    is(
        TransactionLogValue {
            producer_id: 5,
            previous_producer_id: 4,
            next_producer_id: 6,
            producer_epoch: 7,
            next_producer_epoch: 8,
            transaction_timeout_ms: 9,
            transaction_status: 3,
            transaction_partitions: Some(vec![TransactionLogPartitions {
                topic: "t".into(),
                partition_ids: vec![1, 2],
                ..Default::default()
            }]),
            transaction_last_update_timestamp_ms: 10,
            transaction_start_timestamp_ms: 11,
            client_transaction_version: 2,
            ..Default::default()
        },
        1,
        "00000000000000050007000000090302027403000000010000000200000000000000000a000000000000000b\
         0400080000000000000004010800000000000000060202000203020008",
    );
    is(
        TransactionLogValue {
            transaction_partitions: None,
            ..Default::default()
        },
        0,
        "000000000000000000000000000000ffffffff00000000000000000000000000000000",
    );
}

#[test]
fn consumer_groups() {
    is(
        ConsumerGroupMetadataValue {
            epoch: 3,
            metadata_hash: 77,
            ..Default::default()
        },
        0,
        "00000003010008000000000000004d",
    );
    is(
        ConsumerGroupMemberMetadataValue {
            instance_id: None,
            rack_id: Some("r".into()),
            client_id: "c".into(),
            client_host: "h".into(),
            subscribed_topic_names: vec!["t".into()],
            subscribed_topic_regex: Some("x.*".into()),
            rebalance_timeout_ms: 5,
            server_assignor: None,
            classic_member_metadata: Some(ClassicMemberMetadata {
                session_timeout_ms: 6,
                supported_protocols: vec![ClassicProtocol {
                    name: "range".into(),
                    metadata: Bytes::from_static(&[1, 2]),
                    ..Default::default()
                }],
                ..Default::default()
            }),
            ..Default::default()
        },
        0,
        "0002720263026802027404782e2a00000005000100110100000006020672616e67650301020000",
    );
    is(
        ConsumerGroupTargetAssignmentMetadataValue {
            assignment_epoch: 4,
            assignment_timestamp: 99,
            ..Default::default()
        },
        0,
        "000000040100080000000000000063",
    );
    is(
        ConsumerGroupTargetAssignmentMemberValue {
            topic_partitions: vec![TargetAssignmentTopicPartition {
                topic_id: TOPIC,
                partitions: vec![0, 1],
                ..Default::default()
            }],
            ..Default::default()
        },
        0,
        "02000000000000000100000000000000020300000000000000010000",
    );
    is(
        ConsumerGroupCurrentMemberAssignmentValue {
            member_epoch: 4,
            previous_member_epoch: 3,
            state: 1,
            assigned_partitions: vec![CurrentAssignmentTopicPartitions {
                topic_id: TOPIC,
                partitions: vec![0, 1],
                assignment_epochs: Some(vec![2, 3]),
                ..Default::default()
            }],
            ..Default::default()
        },
        0,
        "00000004000000030102000000000000000100000000000000020300000000000000010100090300000002\
         000000030100",
    );
    is(
        ConsumerGroupRegularExpressionValue {
            topics: vec!["t".into()],
            version: 2,
            timestamp: 3,
            ..Default::default()
        },
        0,
        "0202740000000000000002000000000000000300",
    );
    is(
        ConsumerGroupPartitionMetadataValue {
            topics: vec![ConsumerGroupTopicMetadata {
                topic_id: TOPIC,
                topic_name: "t".into(),
                num_partitions: 2,
                partition_metadata: vec![ConsumerGroupTopicPartitionMetadata {
                    partition: 1,
                    racks: vec!["r".into()],
                    ..Default::default()
                }],
                ..Default::default()
            }],
            ..Default::default()
        },
        0,
        "02000000000000000100000000000000020274000000020200000001020272000000",
    );
}

/// The version of a key says what the record is.
#[test]
fn keys_of_consumer_groups() {
    let key = ConsumerGroupMemberMetadataKey {
        group_id: "g".into(),
        member_id: "m".into(),
        ..Default::default()
    };
    let written = key.to_versioned(5).unwrap();
    assert_eq!(&written[..], b"\0\x05\0\x01g\0\x01m");
    assert_eq!(
        ConsumerGroupMemberMetadataKey::from_versioned(written.clone()),
        Ok(key)
    );
    assert!(ConsumerGroupTargetAssignmentMemberKey::from_versioned(written).is_err());
    let key = ConsumerGroupRegularExpressionKey::default();
    assert_eq!(&key.to_versioned(16).unwrap()[..], b"\0\x10\0\0\0\0");
}

#[test]
fn versions_newer_than_the_crate() {
    is(
        WriteTxnMarkersRequest {
            markers: vec![WritableTxnMarker {
                producer_id: 1,
                producer_epoch: 2,
                transaction_result: true,
                coordinator_epoch: 3,
                transaction_version: 2,
                ..Default::default()
            }],
            ..Default::default()
        },
        2,
        "0200000000000000010002010100000003020000",
    );
    is(
        DescribeLogDirsResponse {
            results: vec![DescribeLogDirsResult {
                log_dir: "/d".into(),
                total_bytes: 5,
                usable_bytes: 6,
                is_cordoned: true,
                ..Default::default()
            }],
            ..Default::default()
        },
        5,
        "000000000000020000032f640100000000000000050000000000000006010000",
    );
    is(
        AddRaftVoterRequest {
            cluster_id: Some("c".into()),
            timeout_ms: 1,
            voter_id: 2,
            voter_directory_id: TOPIC,
            listeners: vec![AddRaftVoterListener {
                name: "L".into(),
                host: "h".into(),
                port: 65_535,
                ..Default::default()
            }],
            ack_when_committed: false,
            ..Default::default()
        },
        1,
        "026300000001000000020000000000000001000000000000000202024c0268ffff000000",
    );
}
