//! Administration.

use std::collections::BTreeMap;

use thalweg_log::client::{
    AlterConfig, ConfigResource, NewTopic, OffsetAndMetadata, ProducerConfig, ProducerRecord,
};
use thalweg_log::wire::ErrorCode;

use super::support::{Cluster, fill, poll_all, quick_group, sizes, tp};

pub(crate) async fn topics_live_and_die(cluster: &Cluster) {
    let client = cluster.client().await;
    let admin = client.admin();
    let created = admin
        .create_topic(NewTopic::new("a").partitions(3))
        .await
        .unwrap();
    assert_eq!((created.partitions, created.replication_factor), (3, 1));
    assert!(!created.id.is_nil());
    let again = admin.create_topic(NewTopic::new("a")).await.unwrap_err();
    assert_eq!(again.code(), Some(ErrorCode::TopicAlreadyExists));
    let wrong = admin
        .create_topic(NewTopic::new("no/such name"))
        .await
        .unwrap_err();
    assert_eq!(wrong.code(), Some(ErrorCode::InvalidTopicException));
    let wrong = NewTopic::new("b").config("retention.m", "1");
    let wrong = admin.create_topic(wrong).await.unwrap_err();
    assert_eq!(wrong.code(), Some(ErrorCode::InvalidConfig));

    let names: Vec<String> = admin
        .list_topics()
        .await
        .unwrap()
        .into_iter()
        .filter(|t| !t.internal)
        .map(|t| t.name)
        .collect();
    assert_eq!(names, ["a"]);
    let described = admin.describe_topics(&["a", "none"]).await.unwrap();
    let a = described["a"].as_ref().unwrap();
    assert_eq!(a.partition_count(), 3);
    assert_eq!(a.id, created.id);
    assert!(a.partitions.iter().all(|p| p.leader.is_some()));
    let none = described["none"].as_ref().unwrap_err();
    assert_eq!(none.code(), Some(ErrorCode::UnknownTopicOrPartition));

    admin.create_partitions("a", 5).await.unwrap();
    let fewer = admin.create_partitions("a", 2).await.unwrap_err();
    assert_eq!(fewer.code(), Some(ErrorCode::InvalidPartitions));
    // A producer that knew three finds the fifth.
    let producer = client.producer(ProducerConfig::default()).unwrap();
    let record = ProducerRecord::new("a").partition(4).value("x");
    let delivery = producer.send(record).await.unwrap();
    assert_eq!(delivery.await.unwrap().offset, 0);

    admin.delete_topic("a").await.unwrap();
    let gone = admin.delete_topic("a").await.unwrap_err();
    assert_eq!(gone.code(), Some(ErrorCode::UnknownTopicOrPartition));
    // The same name is another topic.
    let anew = admin
        .create_topic(NewTopic::new("a").partitions(1))
        .await
        .unwrap();
    assert_ne!(anew.id, created.id);
    let described = admin.describe_cluster().await.unwrap();
    assert_eq!(described.nodes.len(), 1);
    assert_eq!(described.controller, Some(described.nodes[0].id));
    assert!(!described.cluster_id.is_empty());
}

pub(crate) async fn configurations_are_told_and_changed(cluster: &Cluster) {
    let client = cluster.client().await;
    let admin = client.admin();
    admin
        .create_topic(NewTopic::new("t").config("cleanup.policy", "compact"))
        .await
        .unwrap();
    let topic = ConfigResource::Topic("t".into());
    let value = |key: &'static str| {
        let (admin, topic) = (admin.clone(), topic.clone());
        async move {
            let all = admin
                .describe_configs(std::slice::from_ref(&topic))
                .await
                .unwrap();
            let entries = all[&topic].as_ref().unwrap();
            let entry = entries.iter().find(|e| e.name == key).unwrap();
            (entry.value.clone().unwrap(), entry.is_default)
        }
    };
    assert_eq!(value("cleanup.policy").await, ("compact".into(), false));
    assert!(value("retention.ms").await.1);
    let changes = [
        AlterConfig::Set("retention.ms".into(), "1234".into()),
        AlterConfig::Delete("cleanup.policy".into()),
    ];
    admin.alter_configs(&topic, &changes).await.unwrap();
    assert_eq!(value("retention.ms").await, ("1234".into(), false));
    assert_eq!(value("cleanup.policy").await, ("delete".into(), true));
    let wrong = [AlterConfig::Set("retention.ms".into(), "soon".into())];
    let wrong = admin.alter_configs(&topic, &wrong).await.unwrap_err();
    assert_eq!(wrong.code(), Some(ErrorCode::InvalidConfig));
}

pub(crate) async fn groups_are_listed_described_and_deleted(cluster: &Cluster) {
    let client = cluster.with_topic("t", 2).await;
    let admin = client.admin();
    fill(&client, "t", 0, 0..10).await;
    let mut consumer = client.consumer(quick_group("g")).unwrap();
    consumer.subscribe(&["t"]).unwrap();
    poll_all(&mut [&mut consumer], |_, _| {}, |m| sizes(m) == [2]).await;
    let listed = admin.list_groups().await.unwrap();
    assert_eq!(listed.len(), 1);
    assert_eq!(
        (&*listed[0].group_id, &*listed[0].protocol_type),
        ("g", "consumer")
    );
    let described = admin.describe_group("g").await.unwrap();
    assert_eq!(described.state, "Stable");
    assert_eq!(described.assignor, "range");
    assert_eq!(described.members.len(), 1);
    assert_eq!(described.members[0].partitions, [tp("t", 0), tp("t", 1)]);
    let offsets = BTreeMap::from([(tp("t", 0), OffsetAndMetadata::new(4))]);
    consumer.commit(offsets.clone()).await.unwrap();
    assert_eq!(
        admin.group_offsets("g", None).await.unwrap()[&tp("t", 0)].offset,
        4
    );
    // Members are in the way.
    let busy = admin.delete_groups(&["g"]).await.unwrap();
    let busy = busy["g"].as_ref().unwrap_err();
    assert_eq!(busy.code(), Some(ErrorCode::NonEmptyGroup));
    assert!(admin.alter_group_offsets("g", &offsets).await.is_err());
    consumer.close().await.unwrap();
    let offsets = BTreeMap::from([(tp("t", 0), OffsetAndMetadata::new(7))]);
    admin.alter_group_offsets("g", &offsets).await.unwrap();
    let found = admin
        .group_offsets("g", Some(&[tp("t", 0), tp("t", 1)]))
        .await
        .unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!(found[&tp("t", 0)].offset, 7);
    admin.delete_groups(&["g"]).await.unwrap()["g"]
        .as_ref()
        .unwrap();
    assert!(admin.group_offsets("g", None).await.unwrap().is_empty());
}
