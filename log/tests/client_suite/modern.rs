//! Groups of the consumer protocol (KIP-848), in which the coordinator decides.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use thalweg_log::client::{
    Consumer, ConsumerConfig, GroupProtocol, NewTopic, OffsetAndMetadata, Polled, TopicPartition,
};
use thalweg_log::wire::ErrorCode;

use super::support::{Cluster, LONG, fill, poll_all, quick_group, read, sizes, text, tp};

fn modern(group: &str) -> ConsumerConfig {
    ConsumerConfig {
        group_protocol: GroupProtocol::Consumer,
        ..quick_group(group)
    }
}

fn union(members: &[&Consumer]) -> BTreeSet<TopicPartition> {
    members.iter().flat_map(|m| m.assignment()).collect()
}

pub(crate) async fn members_move_one_by_one(cluster: &Cluster) {
    let client = cluster.with_topic("t", 4).await;
    for p in 0..4 {
        fill(&client, "t", p, 0..5).await;
    }
    let mut first = client.consumer(modern("g")).unwrap();
    first.subscribe(&["t"]).unwrap();
    poll_all(&mut [&mut first], |_, _| {}, |m| sizes(m) == [4]).await;
    read(&mut first, 20).await;
    let member = first.group_metadata().unwrap();
    assert!(!member.member_id.is_empty() && member.generation_id > 0);
    let mut second = client.consumer(modern("g")).unwrap();
    second.subscribe(&["t"]).unwrap();
    let mut revoked: Vec<TopicPartition> = Vec::new();
    let end = Instant::now() + LONG;
    while sizes(&[&mut first, &mut second]) != [2, 2] {
        assert!(
            Instant::now() < end,
            "{:?}",
            (first.assignment(), second.assignment())
        );
        match first.poll(Duration::from_millis(10)).await.unwrap() {
            Polled::Revoking(partitions) => {
                assert_eq!(first.assignment().len(), 4, "still assigned");
                first.commit_positions().await.unwrap();
                revoked.extend(partitions);
            }
            Polled::Lost(lost) => panic!("{lost:?}"),
            Polled::Records(_) | Polled::Assigned(_) => {}
        }
        second.poll(Duration::from_millis(10)).await.unwrap();
    }
    // Only what moves was given up, and it moved.
    assert_eq!(
        revoked.iter().cloned().collect::<BTreeSet<_>>(),
        second.assignment()
    );
    assert_eq!(union(&[&first, &second]).len(), 4);
    for p in 0..4 {
        fill(&client, "t", p, 5..8).await;
    }
    let theirs = read(&mut second, 6).await;
    assert!(theirs.iter().all(|(_, r)| r.offset >= 5), "nothing twice");
    read(&mut first, 6).await;
    second.commit_positions().await.unwrap();
    second.close().await.unwrap();
    poll_all(&mut [&mut first], |_, _| {}, |m| sizes(m) == [4]).await;
    // The epoch of a commit is that of the member, and moves with it.
    first.commit_positions().await.unwrap();
    first.close().await.unwrap();
}

pub(crate) async fn a_pattern_takes_in_topics_that_come_later(cluster: &Cluster) {
    let client = cluster.with_topic("in-a", 1).await;
    let admin = client.admin();
    admin
        .create_topic(NewTopic::new("other").partitions(1))
        .await
        .unwrap();
    let mut consumer = client.consumer(modern("g")).unwrap();
    consumer.subscribe_pattern("in-.*").unwrap();
    poll_all(&mut [&mut consumer], |_, _| {}, |m| sizes(m) == [1]).await;
    admin
        .create_topic(NewTopic::new("in-b").partitions(2))
        .await
        .unwrap();
    // And so does a member that comes later.
    let mut late = client.consumer(modern("g")).unwrap();
    late.subscribe_pattern("in-.*").unwrap();
    poll_all(
        &mut [&mut consumer, &mut late],
        |_, _| {},
        |m| m.iter().map(|m| m.assignment().len()).sum::<usize>() == 3,
    )
    .await;
    let all = union(&[&consumer, &late]);
    assert_eq!(
        all,
        BTreeSet::from([tp("in-a", 0), tp("in-b", 0), tp("in-b", 1)])
    );
    late.close().await.unwrap();
    // Another subscription takes the place of the pattern.
    consumer.subscribe(&["other"]).unwrap();
    poll_all(
        &mut [&mut consumer],
        |_, _| {},
        |m| m[0].assignment() == BTreeSet::from([tp("other", 0)]),
    )
    .await;
}

pub(crate) async fn a_static_member_comes_back_to_what_it_had(cluster: &Cluster) {
    let client = cluster.with_topic("t", 4).await;
    let config = |instance: &str| ConsumerConfig {
        group_instance_id: Some(instance.into()),
        ..modern("g")
    };
    let mut first = client.consumer(config("one")).unwrap();
    first.subscribe(&["t"]).unwrap();
    let mut second = client.consumer(config("two")).unwrap();
    second.subscribe(&["t"]).unwrap();
    poll_all(
        &mut [&mut first, &mut second],
        |_, _| {},
        |m| sizes(m) == [2, 2],
    )
    .await;
    let had = second.assignment();
    second.close().await.unwrap();
    let mut again = client.consumer(config("two")).unwrap();
    again.subscribe(&["t"]).unwrap();
    poll_all(
        &mut [&mut first, &mut again],
        |who, polled| {
            let moved = matches!(polled, Polled::Revoking(_) | Polled::Lost(_));
            assert!(who != 0 || !moved, "{polled:?}");
        },
        |m| sizes(m) == [2, 2],
    )
    .await;
    assert_eq!(again.assignment(), had);
}

pub(crate) async fn the_coordinator_assigns_as_the_member_asks(cluster: &Cluster) {
    let client = cluster.with_topic("t", 2).await;
    for assignor in ["range", "uniform"] {
        let mut consumer = client
            .consumer(ConsumerConfig {
                group_remote_assignor: Some(assignor.into()),
                ..modern(assignor)
            })
            .unwrap();
        consumer.subscribe(&["t"]).unwrap();
        poll_all(&mut [&mut consumer], |_, _| {}, |m| sizes(m) == [2]).await;
    }
    let mut wrong = client
        .consumer(ConsumerConfig {
            group_remote_assignor: Some("nobody".into()),
            ..modern("wrong")
        })
        .unwrap();
    wrong.subscribe(&["t"]).unwrap();
    let error = loop {
        if let Err(error) = wrong.poll(LONG).await {
            break error;
        }
    };
    assert_eq!(
        error.code(),
        Some(ErrorCode::UnsupportedAssignor),
        "{error}"
    );
}

pub(crate) async fn who_stays_away_loses_everything_and_comes_back(cluster: &Cluster) {
    let client = cluster.with_topic("t", 2).await;
    fill(&client, "t", 0, 0..3).await;
    let mut consumer = client
        .consumer(ConsumerConfig {
            max_poll_interval_ms: Duration::from_millis(400),
            ..modern("g")
        })
        .unwrap();
    consumer.subscribe(&["t"]).unwrap();
    read(&mut consumer, 3).await;
    let mut other = client.consumer(modern("g")).unwrap();
    other.subscribe(&["t"]).unwrap();
    // Nobody polls the first, so that the second gets all.
    poll_all(&mut [&mut other], |_, _| {}, |m| sizes(m) == [2]).await;
    let at = [(tp("t", 0), OffsetAndMetadata::new(1))].into();
    assert!(consumer.commit(at).await.is_err());
    let mut lost = Vec::new();
    poll_all(
        &mut [&mut consumer, &mut other],
        |who, polled| {
            if let (0, Polled::Lost(partitions)) = (who, polled) {
                lost.extend(partitions.clone());
            }
        },
        |m| sizes(m) == [1, 1],
    )
    .await;
    assert!(!lost.is_empty());
    fill(&client, "t", 0, 3..5).await;
    fill(&client, "t", 1, 0..2).await;
    let got = read(&mut consumer, 2).await;
    assert!(!text(&got[0].1).is_empty());
}

pub(crate) async fn a_classic_member_may_subscribe_to_a_pattern(cluster: &Cluster) {
    let client = cluster.with_topic("in-a", 1).await;
    let admin = client.admin();
    admin
        .create_topic(NewTopic::new("other").partitions(1))
        .await
        .unwrap();
    let client = cluster
        .client_with(thalweg_log::client::ClientConfig {
            // How soon new topics are seen.
            metadata_max_age_ms: Duration::from_millis(100),
            ..Default::default()
        })
        .await;
    let mut consumer = client.consumer(quick_group("g")).unwrap();
    assert!(consumer.subscribe_pattern("in-(").is_err());
    consumer.subscribe_pattern("in-.*").unwrap();
    poll_all(&mut [&mut consumer], |_, _| {}, |m| sizes(m) == [1]).await;
    admin
        .create_topic(NewTopic::new("in-b").partitions(2))
        .await
        .unwrap();
    poll_all(&mut [&mut consumer], |_, _| {}, |m| sizes(m) == [3]).await;
}
