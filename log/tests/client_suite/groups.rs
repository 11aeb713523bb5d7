//! Consumer groups.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::Mutex;
use thalweg_log::client::{
    Assignment, Call, ClientConfig, ClientError, Consumer, ConsumerConfig, Destination,
    GroupMember, GroupMetadata, NewTopic, OffsetAndMetadata, PartitionAssignor, PartitionCounts,
    Polled, TopicPartition,
};
use thalweg_log::wire::messages::{JoinGroupRequest, JoinGroupRequestProtocol};
use thalweg_log::wire::{ErrorCode, Response};

use super::support::{Cluster, How, LONG, fill, poll_all, quick_group, read, sizes, text, tp};

async fn assigned(consumer: &mut Consumer) -> Vec<TopicPartition> {
    let end = Instant::now() + LONG;
    while Instant::now() < end {
        if let Polled::Assigned(partitions) = consumer.poll(Duration::from_secs(1)).await.unwrap() {
            return partitions;
        }
    }
    panic!("nothing was assigned");
}

pub(crate) async fn members_share_partitions_and_go_on_where_others_stopped(cluster: &Cluster) {
    let client = cluster.with_topic("t", 4).await;
    for p in 0..4 {
        fill(&client, "t", p, 0..10).await;
    }
    let mut first = client.consumer(quick_group("g")).unwrap();
    first.subscribe(&["t"]).unwrap();
    assert_eq!(assigned(&mut first).await.len(), 4);
    assert_eq!(read(&mut first, 40).await.len(), 40);
    let mut second = client.consumer(quick_group("g")).unwrap();
    second.subscribe(&["t"]).unwrap();
    let mut revoked = Vec::new();
    let mut committed = false;
    // The owner commits when its partitions go, and only then the rebalance goes on.
    let end = Instant::now() + LONG;
    while sizes(&[&mut first, &mut second]) != [2, 2] {
        assert!(Instant::now() < end);
        match first.poll(Duration::from_millis(10)).await.unwrap() {
            Polled::Revoking(partitions) => {
                assert_eq!(first.assignment().len(), 4, "still assigned");
                first.commit_positions().await.unwrap();
                committed = true;
                revoked = partitions;
            }
            Polled::Records(records) => assert!(records.is_empty()),
            Polled::Assigned(_) => assert!(committed),
            Polled::Lost(lost) => panic!("{lost:?}"),
        }
        let polled = second.poll(Duration::from_millis(10)).await.unwrap();
        assert!(matches!(polled, Polled::Assigned(_) | Polled::Records(_)));
    }
    assert_eq!(revoked.len(), 4);
    let both: BTreeSet<TopicPartition> = first
        .assignment()
        .union(&second.assignment())
        .cloned()
        .collect();
    assert_eq!(both.len(), 4);
    // Nothing is read twice: the second goes on at what the first has committed.
    for p in 0..4 {
        fill(&client, "t", p, 10..15).await;
    }
    let theirs = read(&mut second, 10).await;
    assert!(theirs.iter().all(|(_, r)| r.offset >= 10));
    assert_eq!(read(&mut first, 10).await.len(), 10);
    // Who closes leaves at once, not after its session.
    second.commit_positions().await.unwrap();
    second.close().await.unwrap();
    poll_all(&mut [&mut first], |_, _| {}, |m| sizes(m) == [4]).await;
    first.close().await.unwrap();
}

pub(crate) async fn cooperative_members_keep_what_they_keep(cluster: &Cluster) {
    let client = cluster.with_topic("t", 6).await;
    let config = || ConsumerConfig {
        partition_assignment_strategy: vec!["cooperative-sticky".into()],
        ..quick_group("g")
    };
    let mut first = client.consumer(config()).unwrap();
    first.subscribe(&["t"]).unwrap();
    assert_eq!(assigned(&mut first).await.len(), 6);
    let mut second = client.consumer(config()).unwrap();
    second.subscribe(&["t"]).unwrap();
    let mut revoked = Vec::new();
    let mut given = Vec::new();
    poll_all(
        &mut [&mut first, &mut second],
        |who, polled| match (who, polled) {
            (0, Polled::Revoking(partitions)) => revoked.extend(partitions.clone()),
            (1, Polled::Assigned(partitions)) => given.extend(partitions.clone()),
            (_, Polled::Lost(lost)) => panic!("{lost:?}"),
            _ => {}
        },
        |members| sizes(members) == [3, 3],
    )
    .await;
    assert_eq!(revoked.len(), 3, "only what moves is given up");
    assert_eq!(
        revoked.into_iter().collect::<BTreeSet<_>>(),
        given.into_iter().collect()
    );
    let kept = first.assignment();
    let mut third = client.consumer(config()).unwrap();
    third.subscribe(&["t"]).unwrap();
    poll_all(
        &mut [&mut first, &mut second, &mut third],
        |_, _| {},
        |members| sizes(members) == [2, 2, 2],
    )
    .await;
    assert!(first.assignment().is_subset(&kept));
    // And reading goes on with all of them.
    for p in 0..6 {
        fill(&client, "t", p, 0..3).await;
    }
    for member in [&mut first, &mut second, &mut third] {
        assert_eq!(read(member, 6).await.len(), 6);
    }
}

pub(crate) async fn sticky_members_keep_what_they_had(cluster: &Cluster) {
    let client = cluster.with_topic("t", 6).await;
    let config = || ConsumerConfig {
        partition_assignment_strategy: vec!["sticky".into()],
        ..quick_group("g")
    };
    let mut first = client.consumer(config()).unwrap();
    first.subscribe(&["t"]).unwrap();
    assert_eq!(assigned(&mut first).await.len(), 6);
    let mut second = client.consumer(config()).unwrap();
    second.subscribe(&["t"]).unwrap();
    let nothing = |_: usize, _: &Polled| {};
    let mut both = [&mut first, &mut second];
    poll_all(&mut both, nothing, |m| sizes(m) == [3, 3]).await;
    let had = [first.assignment(), second.assignment()];
    let mut third = client.consumer(config()).unwrap();
    third.subscribe(&["t"]).unwrap();
    let mut all = [&mut first, &mut second, &mut third];
    poll_all(&mut all, nothing, |m| sizes(m) == [2, 2, 2]).await;
    // All was given up in between, and each got back what it may keep.
    assert!(first.assignment().is_subset(&had[0]));
    assert!(second.assignment().is_subset(&had[1]));
}

pub(crate) async fn a_member_of_an_old_generation_comes_back_as_itself(cluster: &Cluster) {
    let client = cluster.with_topic("t", 2).await;
    let mut consumer = client
        .consumer(ConsumerConfig {
            // Nobody has the time to wait until it ends.
            session_timeout_ms: 2 * LONG,
            ..quick_group("g")
        })
        .unwrap();
    consumer.subscribe(&["t"]).unwrap();
    assigned(&mut consumer).await;
    let before = consumer.group_metadata().unwrap();
    // The group goes on to its next generation without it, by a request in its name.
    let topics = [0, 1, 0, 0, 0, 1, 0, 1, b't', 255, 255, 255, 255, 0, 0, 0, 0];
    let request = JoinGroupRequest {
        group_id: "g".into(),
        session_timeout_ms: 60_000,
        rebalance_timeout_ms: 60_000,
        member_id: before.member_id.as_str().into(),
        protocol_type: "consumer".into(),
        protocols: vec![JoinGroupRequestProtocol {
            name: "range".into(),
            metadata: Bytes::copy_from_slice(&topics),
            ..JoinGroupRequestProtocol::default()
        }],
        ..JoinGroupRequest::default()
    };
    let transport = cluster.transport(&ClientConfig::default()).await;
    let call = Call::new(Destination::Any, request, LONG);
    let Response::JoinGroup(joined) = transport.call(call).await.unwrap().response else {
        panic!("another answer")
    };
    assert!(joined.generation_id > before.generation_id, "{joined:?}");
    let end = Instant::now() + LONG;
    let (mut lost, mut back) = (false, false);
    while !back {
        assert!(Instant::now() < end, "lost: {lost}");
        match consumer.poll(Duration::from_millis(50)).await.unwrap() {
            Polled::Lost(partitions) => lost = partitions.len() == 2,
            Polled::Assigned(partitions) => back = partitions.len() == 2,
            _ => {}
        }
    }
    assert!(lost);
    let after = consumer.group_metadata().unwrap();
    assert_eq!(after.member_id, before.member_id);
    assert!(after.generation_id > joined.generation_id);
    consumer.close().await.unwrap();
}

pub(crate) async fn a_static_member_takes_its_partitions_back(cluster: &Cluster) {
    let client = cluster.with_topic("t", 2).await;
    let config = |instance: &str| ConsumerConfig {
        group_instance_id: Some(instance.into()),
        session_timeout_ms: Duration::from_secs(60),
        ..quick_group("g")
    };
    let mut first = client.consumer(config("one")).unwrap();
    first.subscribe(&["t"]).unwrap();
    let mut second = client.consumer(config("two")).unwrap();
    second.subscribe(&["t"]).unwrap();
    poll_all(
        &mut [&mut first, &mut second],
        |_, _| {},
        |m| sizes(m) == [1, 1],
    )
    .await;
    let had = second.assignment();
    // As after a kill: nobody says goodbye, and nobody waits for the session to end.
    drop(second);
    let begun = Instant::now();
    let mut second = client.consumer(config("two")).unwrap();
    second.subscribe(&["t"]).unwrap();
    let mut disturbed = false;
    poll_all(
        &mut [&mut second, &mut first],
        |who, polled| disturbed |= who == 1 && matches!(polled, Polled::Revoking(_)),
        |members| sizes(members)[0] == 1,
    )
    .await;
    assert_eq!(second.assignment(), had);
    // The same with the group's leader.
    let had = first.assignment();
    drop(first);
    let mut first = client.consumer(config("one")).unwrap();
    first.subscribe(&["t"]).unwrap();
    poll_all(
        &mut [&mut first, &mut second],
        |who, polled| disturbed |= who == 1 && matches!(polled, Polled::Revoking(_)),
        |members| sizes(members)[0] == 1,
    )
    .await;
    assert_eq!(first.assignment(), had);
    assert!(begun.elapsed() < Duration::from_secs(20));
    assert!(!disturbed, "the other member notices nothing");
    // It still watches the topics as the leader does.
    client.admin().create_partitions("t", 6).await.unwrap();
    // Told to all who share the client, once the broker that is asked has heard of it.
    let end = Instant::now() + LONG;
    loop {
        let described = client.admin().describe_topics(&["t"]).await.unwrap();
        if described["t"].as_ref().unwrap().partition_count() == 6 {
            break;
        }
        assert!(Instant::now() < end, "{described:?}");
    }
    poll_all(
        &mut [&mut first, &mut second],
        |_, _| {},
        |m| sizes(m) == [3, 3],
    )
    .await;
}

/// Members come and go while records are written; who commits when it must reads nothing
/// twice and misses nothing.
pub(crate) async fn members_that_come_and_go_read_each_record_once(cluster: &Cluster) {
    let client = cluster.client().await;
    for strategy in ["range", "roundrobin", "cooperative-sticky"] {
        let topic = NewTopic::new(strategy).partitions(5);
        client.admin().create_topic(topic).await.unwrap();
        let config = || ConsumerConfig {
            partition_assignment_strategy: vec![strategy.into()],
            ..quick_group(strategy)
        };
        let mut members: Vec<Consumer> = Vec::new();
        let mut seen: BTreeSet<(i32, i64)> = BTreeSet::new();
        let mut written = 0;
        // How many members there are in each phase.
        for (phase, count) in [1, 3, 2, 4, 1].into_iter().enumerate() {
            while members.len() > count {
                let leaving = members.remove(phase % members.len());
                leaving.commit_positions().await.unwrap();
                leaving.close().await.unwrap();
            }
            while members.len() < count {
                let mut member = client.consumer(config()).unwrap();
                member.subscribe(&[strategy]).unwrap();
                members.push(member);
            }
            for p in 0..5 {
                fill(&client, strategy, p, 0..20).await;
            }
            written += 100;
            let end = Instant::now() + LONG;
            while seen.len() < written {
                assert!(
                    Instant::now() < end,
                    "{} of {written}, {strategy}",
                    seen.len()
                );
                for member in &mut members {
                    match member.poll(Duration::from_millis(5)).await.unwrap() {
                        Polled::Revoking(_) => member.commit_positions().await.unwrap(),
                        Polled::Lost(lost) => panic!("{lost:?}"),
                        Polled::Assigned(_) => {}
                        Polled::Records(records) => {
                            for partition in records {
                                let p = partition.topic_partition.partition;
                                for record in partition {
                                    let offset = record.unwrap().offset;
                                    assert!(seen.insert((p, offset)), "{p} {offset} twice");
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

pub(crate) async fn a_second_owner_of_an_instance_id_fences_the_first(cluster: &Cluster) {
    let client = cluster.with_topic("t", 1).await;
    let config = || ConsumerConfig {
        group_instance_id: Some("same".into()),
        ..quick_group("g")
    };
    let mut first = client.consumer(config()).unwrap();
    first.subscribe(&["t"]).unwrap();
    assert_eq!(assigned(&mut first).await.len(), 1);
    let mut second = client.consumer(config()).unwrap();
    second.subscribe(&["t"]).unwrap();
    assert_eq!(assigned(&mut second).await.len(), 1);
    let end = Instant::now() + LONG;
    let mut lost = false;
    let error = loop {
        assert!(Instant::now() < end);
        match first.poll(Duration::from_millis(50)).await {
            Ok(Polled::Lost(partitions)) => lost = partitions.len() == 1,
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert!(lost);
    assert_eq!(error.code(), Some(ErrorCode::FencedInstanceId));
    assert!(error.to_string().contains("group.instance.id"), "{error}");
    assert!(first.assignment().is_empty());
}

/// Gives everything to the member with the largest weight, which it tells in its user data.
#[derive(Debug)]
struct Heaviest {
    weight: u8,
    told: Mutex<Vec<Option<Bytes>>>,
}

impl PartitionAssignor for Heaviest {
    fn name(&self) -> &str {
        "heaviest"
    }

    fn user_data(&self, topics: &[String]) -> Option<Bytes> {
        assert_eq!(topics, ["t"]);
        Some(Bytes::copy_from_slice(&[self.weight]))
    }

    fn assign(
        &self,
        partitions: &PartitionCounts,
        members: &[GroupMember],
    ) -> Result<BTreeMap<String, Assignment>, ClientError> {
        let weight = |m: &GroupMember| m.user_data.as_ref().and_then(|d| d.first().copied());
        let heaviest = members.iter().max_by_key(|m| weight(m)).unwrap();
        let all = partitions
            .iter()
            .flat_map(|(topic, count)| (0..*count).map(|p| TopicPartition::new(topic.clone(), p)))
            .collect();
        let assignment = Assignment {
            partitions: all,
            user_data: Some(Bytes::from_static(b"all of it")),
        };
        Ok(BTreeMap::from([(heaviest.member_id.clone(), assignment)]))
    }

    fn on_assignment(&self, assignment: &Assignment, group: &GroupMetadata) {
        assert_eq!(group.group_id, "g");
        self.told.lock().push(assignment.user_data.clone());
    }
}

pub(crate) async fn an_assignor_of_ones_own_has_its_say(cluster: &Cluster) {
    let client = cluster.with_topic("t", 3).await;
    let heaviest = |weight| {
        Arc::new(Heaviest {
            weight,
            told: Mutex::default(),
        })
    };
    let config = |assignor: &Arc<Heaviest>| ConsumerConfig {
        assignors: vec![assignor.clone()],
        partition_assignment_strategy: Vec::new(),
        ..quick_group("g")
    };
    let (light, heavy) = (heaviest(1), heaviest(9));
    let mut first = client.consumer(config(&light)).unwrap();
    first.subscribe(&["t"]).unwrap();
    assert_eq!(assigned(&mut first).await.len(), 3);
    let mut second = client.consumer(config(&heavy)).unwrap();
    second.subscribe(&["t"]).unwrap();
    poll_all(
        &mut [&mut first, &mut second],
        |_, _| {},
        |m| sizes(m) == [0, 3],
    )
    .await;
    assert_eq!(
        heavy.told.lock().last().unwrap().as_deref(),
        Some(&b"all of it"[..])
    );
}

pub(crate) async fn a_subscribed_topic_may_come_later_and_grow(cluster: &Cluster) {
    let client = cluster.client().await;
    let config = ConsumerConfig {
        allow_auto_create_topics: false,
        ..quick_group("g")
    };
    let mut consumer = client.consumer(config).unwrap();
    consumer.subscribe(&["later"]).unwrap();
    assert!(assigned(&mut consumer).await.is_empty());
    let admin = client.admin();
    admin
        .create_topic(NewTopic::new("later").partitions(1))
        .await
        .unwrap();
    poll_all(&mut [&mut consumer], |_, _| {}, |m| sizes(m) == [1]).await;
    admin.create_partitions("later", 3).await.unwrap();
    // The leader looks when its metadata are old or somebody has looked.
    admin.describe_topics(&["later"]).await.unwrap();
    poll_all(&mut [&mut consumer], |_, _| {}, |m| sizes(m) == [3]).await;
}

pub(crate) async fn positions_are_committed_automatically_and_by_hand(cluster: &Cluster) {
    let client = cluster.with_topic("t", 1).await;
    let p = tp("t", 0);
    fill(&client, "t", 0, 0..30).await;
    let config = ConsumerConfig {
        enable_auto_commit: true,
        ..quick_group("auto")
    };
    let mut consumer = client.consumer(config.clone()).unwrap();
    consumer.subscribe(&["t"]).unwrap();
    assert_eq!(read(&mut consumer, 30).await.len(), 30);
    consumer.close().await.unwrap();
    let mut consumer = client.consumer(config).unwrap();
    consumer.subscribe(&["t"]).unwrap();
    fill(&client, "t", 0, 30..31).await;
    assert_eq!(text(&read(&mut consumer, 1).await[0].1), "30");

    // By hand, with metadata, outside of group management.
    let mut consumer = client.consumer(quick_group("hand")).unwrap();
    consumer.assign(vec![p.clone()]).unwrap();
    let offset = OffsetAndMetadata {
        offset: 12,
        leader_epoch: Some(0),
        metadata: "half way".into(),
    };
    consumer
        .commit(BTreeMap::from([(p.clone(), offset.clone())]))
        .await
        .unwrap();
    let committed = consumer.committed(&[p.clone(), tp("t", 0)]).await.unwrap();
    assert_eq!(committed[&p].offset, 12);
    assert_eq!(committed[&p].metadata, "half way");
    assert_eq!(consumer.position(&p).await.unwrap(), 12);
    assert_eq!(read(&mut consumer, 1).await[0].1.offset, 12);
    // What is not committed is absent.
    let other = client.consumer(quick_group("other")).unwrap();
    assert!(other.committed(&[p]).await.unwrap().is_empty());
}

pub(crate) async fn a_dropped_consumer_leaves_its_group(cluster: &Cluster) {
    let client = cluster.with_topic("t", 2).await;
    let config = || ConsumerConfig {
        session_timeout_ms: Duration::from_secs(60),
        ..quick_group("g")
    };
    let mut first = client.consumer(config()).unwrap();
    first.subscribe(&["t"]).unwrap();
    let mut second = client.consumer(config()).unwrap();
    second.subscribe(&["t"]).unwrap();
    poll_all(
        &mut [&mut first, &mut second],
        |_, _| {},
        |m| sizes(m) == [1, 1],
    )
    .await;
    drop(second);
    let begun = Instant::now();
    poll_all(&mut [&mut first], |_, _| {}, |m| sizes(m) == [2]).await;
    assert!(begun.elapsed() < Duration::from_secs(20));
    // A new subscription replaces the old one.
    let topic = NewTopic::new("u").partitions(3);
    client.admin().create_topic(topic).await.unwrap();
    first.subscribe(&["u"]).unwrap();
    poll_all(&mut [&mut first], |_, _| {}, |m| sizes(m) == [3]).await;
    assert!(first.assignment().iter().all(|p| &*p.topic == "u"));
    first.unsubscribe();
    assert!(first.assignment().is_empty());
}

pub(crate) async fn who_stays_away_loses_its_partitions_and_may_come_back(cluster: &Cluster) {
    let client = cluster.with_topic("t", 2).await;
    let away = ConsumerConfig {
        max_poll_interval_ms: Duration::from_millis(150),
        ..quick_group("g")
    };
    let mut away = client.consumer(away).unwrap();
    away.subscribe(&["t"]).unwrap();
    assert_eq!(assigned(&mut away).await.len(), 2);
    let mut present = client.consumer(quick_group("g")).unwrap();
    present.subscribe(&["t"]).unwrap();
    poll_all(&mut [&mut present], |_, _| {}, |m| sizes(m) == [2]).await;
    // Nothing that it still holds can be committed; it is told, and joins anew.
    let offset = BTreeMap::from([(tp("t", 0), OffsetAndMetadata::new(0))]);
    let error = away.commit(offset).await.unwrap_err();
    assert!(
        error.to_string().contains("max.poll.interval.ms"),
        "{error}"
    );
    let mut lost = BTreeSet::new();
    poll_all(
        &mut [&mut away, &mut present],
        |who, polled| match polled {
            Polled::Lost(partitions) if who == 0 => lost.extend(partitions.clone()),
            _ => {}
        },
        |members| sizes(members) == [1, 1],
    )
    .await;
    assert_eq!(lost.len(), 2);
}

pub(crate) async fn a_group_survives_a_restart_of_the_broker(cluster: &Cluster) {
    if cluster.how == How::InProcess {
        // The transport goes with its broker.
        return;
    }
    let client = cluster.with_topic("t", 2).await;
    let mut first = client.consumer(quick_group("g")).unwrap();
    let mut second = client.consumer(quick_group("g")).unwrap();
    first.subscribe(&["t"]).unwrap();
    second.subscribe(&["t"]).unwrap();
    let mut seen = BTreeSet::new();
    for round in 1..=3 {
        for p in 0..2 {
            fill(&client, "t", p, 0..10).await;
        }
        let end = Instant::now() + LONG;
        while seen.len() < round * 20 {
            assert!(Instant::now() < end, "{} in round {round}", seen.len());
            for member in [&mut first, &mut second] {
                if let Polled::Records(records) =
                    member.poll(Duration::from_millis(10)).await.unwrap()
                {
                    for records in records {
                        let p = records.topic_partition.partition;
                        seen.extend(records.into_iter().map(|r| (p, r.unwrap().offset)));
                    }
                }
            }
        }
        // Not every commit need succeed: a member may have lost its partitions.
        let _ = first.commit_positions().await;
        let _ = second.commit_positions().await;
        cluster.restart().await;
    }
    poll_all(
        &mut [&mut first, &mut second],
        |_, _| {},
        |m| sizes(m) == [1, 1],
    )
    .await;
}

pub(crate) async fn a_static_member_is_back_at_once_after_a_restart_of_everything(
    cluster: &Cluster,
) {
    let client = cluster.with_topic("t", 3).await;
    let config = || ConsumerConfig {
        group_instance_id: Some("embedded".into()),
        session_timeout_ms: Duration::from_secs(60),
        ..quick_group("job")
    };
    for p in 0..3 {
        fill(&client, "t", p, 0..10).await;
    }
    let mut consumer = client.consumer(config()).unwrap();
    consumer.subscribe(&["t"]).unwrap();
    assert_eq!(read(&mut consumer, 30).await.len(), 30);
    consumer.commit_positions().await.unwrap();
    drop(consumer);
    drop(client);
    cluster.restart().await;
    let client = cluster.client().await;
    fill(&client, "t", 1, 10..12).await;
    let begun = Instant::now();
    let mut consumer = client.consumer(config()).unwrap();
    consumer.subscribe(&["t"]).unwrap();
    let got = read(&mut consumer, 2).await;
    assert_eq!(text(&got[0].1), "10");
    assert!(begun.elapsed() < Duration::from_secs(10), "{begun:?}");
    assert_eq!(consumer.assignment().len(), 3);
}
