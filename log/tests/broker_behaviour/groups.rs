//! What groups leave on the disk.

use std::time::{Duration, Instant};

use thalweg_log::client::{Call, Destination, Transport};
use thalweg_log::wire::messages::*;
use thalweg_log::wire::{ApiRequest, Str};

use crate::bench::*;

#[tokio::test]
async fn the_log_of_offsets_stays_short() {
    let settings = [
        ("offsets.topic.num.partitions", "1"),
        ("offsets.retention.check.interval.ms", "20"),
    ];
    let mut bench = Bench::start(&settings).await;
    bench.create("t", 1, &[]).await;
    let find = FindCoordinatorRequest {
        coordinator_keys: vec![Str::from("g")],
        ..Default::default()
    };
    assert_eq!(bench.ask(find).await.coordinators[0].error_code, 0);
    // Each commit writes a few kilobytes, though only the last one counts.
    let note = Str::from("x".repeat(4096));
    let commit = |offset: i64| OffsetCommitRequest {
        group_id: Str::from("g"),
        topics: vec![OffsetCommitRequestTopic {
            name: Str::from("t"),
            partitions: vec![OffsetCommitRequestPartition {
                committed_offset: offset,
                committed_metadata: Some(note.clone()),
                ..Default::default()
            }],
            ..Default::default()
        }],
        ..Default::default()
    };
    let earliest = ListOffsetsRequest {
        replica_id: -1,
        topics: vec![ListOffsetsTopic {
            name: Str::from("__consumer_offsets"),
            partitions: vec![ListOffsetsPartition {
                timestamp: -2,
                ..Default::default()
            }],
            ..Default::default()
        }],
        ..Default::default()
    };
    let deadline = Instant::now() + Duration::from_secs(40);
    let mut offset = 0;
    while bench.ask(earliest.clone()).await.topics[0].partitions[0].offset == 0 {
        for _ in 0..200 {
            offset += 1;
            let answer = bench.ask_at(commit(offset), 9).await;
            assert_eq!(answer.topics[0].partitions[0].error_code, 0);
        }
        assert!(Instant::now() < deadline, "the log was never shortened");
    }
    assert!(offset > 3_000, "not before it is worth it");
    let fetch = OffsetFetchRequest {
        group_id: Str::from("g"),
        topics: None,
        ..Default::default()
    };
    for _ in 0..2 {
        let found = bench.ask_at(fetch.clone(), 7).await;
        let partition = &found.topics[0].partitions[0];
        assert_eq!(
            (partition.committed_offset, partition.metadata.as_ref()),
            (offset, Some(&note))
        );
        bench.restart(&settings).await;
    }
}

#[tokio::test]
async fn groups_work_where_every_commit_waits_for_the_disk() {
    let settings = [
        ("log.flush.interval.messages", "1"),
        ("offsets.topic.num.partitions", "1"),
    ];
    let mut bench = Bench::start(&settings).await;
    bench.create("t", 1, &[]).await;
    let find = FindCoordinatorRequest {
        coordinator_keys: vec![Str::from("g")],
        ..Default::default()
    };
    bench.ask(find).await;
    let transport = bench.broker.transport();
    let commits: Vec<_> = (1..=50)
        .map(|offset| {
            let request = OffsetCommitRequest {
                group_id: Str::from("g"),
                topics: vec![OffsetCommitRequestTopic {
                    name: Str::from("t"),
                    partitions: vec![OffsetCommitRequestPartition {
                        committed_offset: offset,
                        ..Default::default()
                    }],
                    ..Default::default()
                }],
                ..Default::default()
            };
            let call = Call::new(
                Destination::Any,
                request.into_request(),
                Duration::from_secs(30),
            );
            transport.call(call.at_most(9))
        })
        .collect();
    for commit in commits {
        let answer = OffsetCommitRequest::response_of(commit.await.unwrap().response).unwrap();
        assert_eq!(answer.topics[0].partitions[0].error_code, 0);
    }
    let fetch = OffsetFetchRequest {
        group_id: Str::from("g"),
        topics: None,
        ..Default::default()
    };
    for _ in 0..2 {
        let found = bench.ask_at(fetch.clone(), 7).await;
        assert_eq!(
            found.topics[0].partitions[0].committed_offset, 50,
            "the last one counts"
        );
        bench.restart(&settings).await;
    }
}
