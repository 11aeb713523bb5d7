//! What groups leave on the disk.

use std::time::{Duration, Instant};

use thalweg_log::client::{Call, Destination, Transport};
use thalweg_log::wire::messages::*;
use thalweg_log::wire::{ApiRequest, ErrorCode, Str};

use crate::bench::*;

/// Bytes of the segments of a partition.
fn size(bench: &Bench, partition: &str) -> u64 {
    let files = std::fs::read_dir(bench.dir.path().join(partition)).unwrap();
    let log = |path: &std::path::Path| path.extension().is_some_and(|e| e == "log");
    files
        .filter_map(Result::ok)
        .filter(|f| log(&f.path()))
        .filter_map(|f| f.metadata().ok())
        .map(|m| m.len())
        .sum()
}

#[tokio::test]
async fn the_log_of_offsets_is_compacted() {
    let settings = [
        ("offsets.topic.num.partitions", "1"),
        ("offsets.topic.segment.bytes", "65536"),
        ("log.cleaner.backoff.ms", "20"),
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
    let mut written = 0;
    let mut offset = 0;
    while written < 1 << 20 {
        offset += 1;
        written += 4096;
        let answer = bench.ask_at(commit(offset), 9).await;
        assert_eq!(answer.topics[0].partitions[0].error_code, 0);
    }
    let fetch = OffsetFetchRequest {
        group_id: Str::from("g"),
        topics: None,
        ..Default::default()
    };
    let deadline = Instant::now() + Duration::from_secs(60);
    while size(&bench, "__consumer_offsets-0") > written / 2 {
        assert!(
            Instant::now() < deadline,
            "the log was never compacted: of {written} bytes it has {}",
            size(&bench, "__consumer_offsets-0")
        );
        bench.ask_at(fetch.clone(), 7).await;
    }
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
async fn a_member_of_the_consumer_protocol_goes_on_after_a_restart() {
    let settings = [("offsets.topic.num.partitions", "2")];
    let mut bench = Bench::start(&settings).await;
    bench.create("t", 3, &[]).await;
    let find = FindCoordinatorRequest {
        coordinator_keys: vec![Str::from("g")],
        ..Default::default()
    };
    assert_eq!(bench.ask(find).await.coordinators[0].error_code, 0);
    let join = ConsumerGroupHeartbeatRequest {
        group_id: Str::from("g"),
        member_id: Str::from("m"),
        rebalance_timeout_ms: 10_000,
        subscribed_topic_names: Some(vec![]),
        subscribed_topic_regex: Some(Str::from("t+")),
        topic_partitions: Some(vec![]),
        ..Default::default()
    };
    let joined = bench.ask(join).await;
    assert_eq!((joined.error_code, joined.member_epoch), (0, 1));
    let given = joined.assignment.unwrap().topic_partitions;
    assert_eq!(given[0].partitions, [0, 1, 2]);
    bench.restart(&settings).await;
    let alive = ConsumerGroupHeartbeatRequest {
        group_id: Str::from("g"),
        member_id: Str::from("m"),
        member_epoch: 1,
        rebalance_timeout_ms: -1,
        ..Default::default()
    };
    let told = bench.ask(alive).await;
    assert_eq!((told.error_code, told.member_epoch), (0, 1));
    assert!(told.assignment.is_none());
    let describe = ConsumerGroupDescribeRequest {
        group_ids: vec![Str::from("g"), Str::from("none")],
        ..Default::default()
    };
    let described = bench.ask(describe).await;
    let group = &described.groups[0];
    assert_eq!(
        (
            group.group_state.as_str(),
            group.group_epoch,
            group.assignment_epoch
        ),
        ("Stable", 1, 1)
    );
    let member = &group.members[0];
    assert_eq!(member.subscribed_topic_regex.as_deref(), Some("t+"));
    assert_eq!(member.assignment, member.target_assignment);
    assert_eq!(member.assignment.topic_partitions[0].topic_name, "t");
    let missing = &described.groups[1];
    assert_eq!(missing.error_code, ErrorCode::GroupIdNotFound.code());
    // What is described as a classic group is none.
    let classic = DescribeGroupsRequest {
        groups: vec![Str::from("g")],
        ..Default::default()
    };
    let found = bench.ask(classic).await;
    assert_eq!(
        found.groups[0].error_code,
        ErrorCode::GroupIdNotFound.code()
    );
    let list = ListGroupsRequest {
        types_filter: vec![Str::from("consumer")],
        states_filter: vec![Str::from("stable")],
        ..Default::default()
    };
    let listed = bench.ask(list).await.groups;
    assert_eq!(
        (listed[0].group_id.as_str(), listed[0].group_type.as_str()),
        ("g", "consumer")
    );
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
