//! Coordinators that come up again: with all they knew, or not at all.

use std::path::{Path, PathBuf};

use thalweg_log::wire::messages::*;
use thalweg_log::wire::{ErrorCode, Str};

use crate::bench::*;

const SETTINGS: [(&str, &str); 2] = [
    ("offsets.topic.num.partitions", "2"),
    ("transaction.state.log.num.partitions", "2"),
];

/// Their hashes are even and odd: they live in the partitions 0 and 1.
const EVEN: &str = "h";
const ODD: &str = "g";

fn segment(dir: &Path, partition: &str) -> PathBuf {
    dir.join(partition).join("00000000000000000000.log")
}

/// Flips a bit in the records of the first batch; a second time it is as it was.
fn flip(dir: &Path, partition: &str) {
    let file = segment(dir, partition);
    let mut bytes = std::fs::read(&file).unwrap();
    bytes[70] ^= 4;
    std::fs::write(&file, bytes).unwrap();
}

impl Bench {
    async fn find(&self, key_type: i8, keys: &[&str]) {
        let find = FindCoordinatorRequest {
            key_type,
            coordinator_keys: keys.iter().map(|k| Str::from(*k)).collect(),
            ..Default::default()
        };
        let found = self.ask(find).await.coordinators;
        assert!(found.iter().all(|c| c.error_code == 0), "{found:?}");
    }

    async fn commit(&self, group: &str, offset: i64) -> ErrorCode {
        let commit = OffsetCommitRequest {
            group_id: Str::from(group),
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
        let answer = self.ask_at(commit, 9).await;
        code(answer.topics[0].partitions[0].error_code)
    }

    /// The committed offsets of a group, and whether there is an error.
    async fn offsets_of(&self, group: &str) -> (ErrorCode, Vec<i64>) {
        let fetch = OffsetFetchRequest {
            groups: vec![OffsetFetchRequestGroup {
                group_id: Str::from(group),
                topics: None,
                ..Default::default()
            }],
            ..Default::default()
        };
        let found = self.ask_at(fetch, 9).await.groups.remove(0);
        let partitions = found.topics.iter().flat_map(|t| &t.partitions);
        let offsets = partitions.map(|p| p.committed_offset).collect();
        (code(found.error_code), offsets)
    }

    async fn listed(&self) -> Vec<String> {
        let groups = self.ask(ListGroupsRequest::default()).await.groups;
        groups.iter().map(|g| g.group_id.to_string()).collect()
    }

    async fn static_beat(
        &self,
        member: &str,
        epoch: i32,
        owned: Option<Vec<ConsumerGroupHeartbeatRequestTopicPartitions>>,
    ) -> ConsumerGroupHeartbeatResponse {
        let joins = epoch == 0;
        self.ask(ConsumerGroupHeartbeatRequest {
            group_id: Str::from("g"),
            member_id: Str::from(member),
            member_epoch: epoch,
            instance_id: Some(Str::from("i")),
            rebalance_timeout_ms: if joins { 10_000 } else { -1 },
            subscribed_topic_names: joins.then(|| vec![Str::from("t")]),
            topic_partitions: if joins { Some(vec![]) } else { owned },
            ..Default::default()
        })
        .await
    }
}

#[tokio::test]
async fn groups_whose_offsets_cannot_be_read_are_not_served() {
    let mut bench = Bench::start(&SETTINGS).await;
    bench.create("t", 1, &[]).await;
    bench.find(0, &[EVEN, ODD]).await;
    for group in [EVEN, ODD] {
        assert_eq!(bench.commit(group, 5).await, ErrorCode::None);
    }
    bench.broker.shutdown().await;
    flip(bench.dir.path(), "__consumer_offsets-1");
    bench.broker = Bench::open(bench.dir.path(), &SETTINGS).await;
    // Where the coordinator is is known; it does not serve, rather than forget the offsets.
    bench.find(0, &[EVEN, ODD]).await;
    let refused = ErrorCode::NotCoordinator;
    assert_eq!(bench.offsets_of(ODD).await, (refused, vec![]));
    assert_eq!(bench.commit(ODD, 6).await, refused);
    let join = JoinGroupRequest {
        group_id: Str::from(ODD),
        session_timeout_ms: 10_000,
        protocol_type: Str::from("consumer"),
        protocols: vec![JoinGroupRequestProtocol {
            name: Str::from("range"),
            ..Default::default()
        }],
        ..Default::default()
    };
    assert_eq!(code(bench.ask(join).await.error_code), refused);
    let joined = bench.static_beat("m", 0, None).await;
    assert_eq!(code(joined.error_code), refused);
    let describe = DescribeGroupsRequest {
        groups: vec![Str::from(ODD)],
        ..Default::default()
    };
    let described = bench.ask(describe).await.groups.remove(0);
    assert_eq!(code(described.error_code), refused);
    let delete = DeleteGroupsRequest {
        groups_names: vec![Str::from(ODD)],
        ..Default::default()
    };
    let deleted = bench.ask(delete).await.results.remove(0);
    assert_eq!(code(deleted.error_code), refused);
    // The others are served.
    assert_eq!(bench.offsets_of(EVEN).await, (ErrorCode::None, vec![5]));
    assert_eq!(bench.commit(EVEN, 7).await, ErrorCode::None);
    assert_eq!(bench.listed().await, [EVEN]);
    // From a backup it comes back whole.
    bench.broker.shutdown().await;
    flip(bench.dir.path(), "__consumer_offsets-1");
    bench.broker = Bench::open(bench.dir.path(), &SETTINGS).await;
    assert_eq!(bench.offsets_of(ODD).await, (ErrorCode::None, vec![5]));
    assert_eq!(bench.offsets_of(EVEN).await, (ErrorCode::None, vec![7]));
    // Without its folder it begins anew.
    bench.broker.shutdown().await;
    std::fs::remove_dir_all(bench.dir.path().join("__consumer_offsets-1")).unwrap();
    bench.broker = Bench::open(bench.dir.path(), &SETTINGS).await;
    assert_eq!(bench.offsets_of(ODD).await, (ErrorCode::None, vec![]));
    assert_eq!(bench.commit(ODD, 1).await, ErrorCode::None);
    assert_eq!(bench.offsets_of(EVEN).await, (ErrorCode::None, vec![7]));
}

#[tokio::test]
async fn transactions_whose_state_cannot_be_read_are_not_served() {
    let mut bench = Bench::start(&SETTINGS).await;
    bench.find(1, &[EVEN, ODD]).await;
    let init = |id: &str| InitProducerIdRequest {
        transactional_id: Some(Str::from(id)),
        transaction_timeout_ms: 60_000,
        ..Default::default()
    };
    let odd = bench.ask(init(ODD)).await;
    let even = bench.ask(init(EVEN)).await;
    assert_eq!((odd.error_code, even.error_code), (0, 0));
    bench.broker.shutdown().await;
    flip(bench.dir.path(), "__transaction_state-1");
    bench.broker = Bench::open(bench.dir.path(), &SETTINGS).await;
    let refused = bench.ask(init(ODD)).await;
    assert_eq!(code(refused.error_code), ErrorCode::NotCoordinator);
    let describe = DescribeTransactionsRequest {
        transactional_ids: vec![Str::from(ODD)],
        ..Default::default()
    };
    let described = bench.ask(describe).await.transaction_states.remove(0);
    assert_eq!(code(described.error_code), ErrorCode::NotCoordinator);
    // Half a list would make whoever looks for hanging transactions end those that are not in it.
    let listed = bench.ask(ListTransactionsRequest::default()).await;
    assert_eq!(code(listed.error_code), ErrorCode::CoordinatorNotAvailable);
    assert!(listed.transaction_states.is_empty());
    let again = bench.ask(init(EVEN)).await;
    assert_eq!((again.error_code, again.producer_epoch), (0, 1));
    bench.broker.shutdown().await;
    flip(bench.dir.path(), "__transaction_state-1");
    bench.broker = Bench::open(bench.dir.path(), &SETTINGS).await;
    let again = bench.ask(init(ODD)).await;
    assert_eq!(
        (again.producer_id, again.producer_epoch),
        (odd.producer_id, 1),
        "it is known"
    );
    let listed = bench.ask(ListTransactionsRequest::default()).await;
    assert_eq!(listed.transaction_states.len(), 2);
}

#[tokio::test]
async fn a_static_member_that_left_for_a_while_takes_its_place_at_once() {
    for restart in [false, true] {
        let mut bench = Bench::start(&SETTINGS).await;
        bench.create("t", 3, &[]).await;
        bench.find(0, &["g"]).await;
        let joined = bench.static_beat("one", 0, None).await;
        assert_eq!((joined.error_code, joined.member_epoch), (0, 1));
        let all = joined.assignment.unwrap().topic_partitions;
        assert_eq!(all[0].partitions, [0, 1, 2]);
        let left = bench.static_beat("one", -2, None).await;
        assert_eq!((left.error_code, left.member_epoch), (0, -2));
        if restart {
            bench.restart(&SETTINGS).await;
        }
        // Nobody has noticed anything: no new epoch, and everything back at once.
        let back = bench.static_beat("two", 0, None).await;
        assert_eq!((back.error_code, back.member_epoch), (0, 1));
        assert_eq!(back.assignment.unwrap().topic_partitions, all);
        let former = bench.static_beat("one", 1, None).await;
        assert_eq!(code(former.error_code), ErrorCode::FencedInstanceId);
    }
}

#[tokio::test]
async fn a_static_member_that_was_killed_keeps_its_place_until_its_session_ends() {
    let mut settings = SETTINGS.to_vec();
    settings.extend([
        ("group.consumer.session.timeout.ms", "2000"),
        ("group.consumer.min.session.timeout.ms", "2000"),
        ("group.consumer.heartbeat.interval.ms", "100"),
        ("group.consumer.min.heartbeat.interval.ms", "100"),
    ]);
    let mut bench = Bench::start(&settings).await;
    bench.create("t", 3, &[]).await;
    bench.find(0, &["g"]).await;
    let joined = bench.static_beat("one", 0, None).await;
    assert_eq!(joined.error_code, 0);
    for restart in [false, true] {
        if restart {
            bench.restart(&settings).await;
        }
        let refused = bench.static_beat("two", 0, None).await;
        assert_eq!(code(refused.error_code), ErrorCode::UnreleasedInstanceId);
        let message = refused.error_message.unwrap();
        assert!(message.contains("owned by one member"), "{message}");
    }
    // It asks until the session is over; the group has noticed then.
    let back = loop {
        let answer = bench.static_beat("two", 0, None).await;
        if answer.error_code == 0 {
            break answer;
        }
        assert_eq!(code(answer.error_code), ErrorCode::UnreleasedInstanceId);
        tokio::task::yield_now().await;
    };
    assert!(back.member_epoch > 1, "{back:?}");
    let partitions = back.assignment.unwrap().topic_partitions;
    assert_eq!(partitions[0].partitions, [0, 1, 2]);
}

#[tokio::test]
async fn a_topic_that_is_made_again_begins_without_offsets() {
    let mut bench = Bench::start(&SETTINGS).await;
    bench.create("t", 1, &[]).await;
    bench.find(0, &[EVEN]).await;
    assert_eq!(bench.commit(EVEN, 5).await, ErrorCode::None);
    let delete = DeleteTopicsRequest {
        topics: vec![DeleteTopicState {
            name: Some(Str::from("t")),
            ..Default::default()
        }],
        timeout_ms: 10_000,
        ..Default::default()
    };
    let deleted = bench.ask(delete).await.responses.remove(0);
    assert_eq!(deleted.error_code, 0);
    bench.create("t", 1, &[]).await;
    assert_eq!(bench.offsets_of(EVEN).await, (ErrorCode::None, vec![]));
    assert_eq!(bench.commit(EVEN, 2).await, ErrorCode::None);
    for _ in 0..2 {
        assert_eq!(bench.offsets_of(EVEN).await, (ErrorCode::None, vec![2]));
        bench.restart(&SETTINGS).await;
    }
}
