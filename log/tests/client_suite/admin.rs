//! Administration.

use std::collections::BTreeMap;
use std::time::Duration;

use thalweg_log::client::{
    AbortTransaction, AlterConfig, ClientQuotaAlteration, ClientQuotaFilter, ClientQuotaMatch,
    ConfigResource, ConsumerConfig, ElectionType, FeatureUpdate, GroupProtocol, IsolationLevel,
    ListGroupsOptions, ListTransactionsOptions, MembersToRemove, NewTopic, OffsetAndMetadata,
    OffsetSpec, ProducerConfig, ProducerRecord, TopicPartitionReplica, UpgradeType,
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

pub(crate) async fn groups_of_both_protocols_have_one_view(cluster: &Cluster) {
    let client = cluster.with_topic("t", 2).await;
    let admin = client.admin();
    let mut classic = client
        .consumer(ConsumerConfig {
            group_instance_id: Some("one".into()),
            ..quick_group("old")
        })
        .unwrap();
    classic.subscribe(&["t"]).unwrap();
    let mut modern = client
        .consumer(ConsumerConfig {
            group_protocol: GroupProtocol::Consumer,
            client_rack: Some("r".into()),
            ..quick_group("new")
        })
        .unwrap();
    modern.subscribe(&["t"]).unwrap();
    poll_all(
        &mut [&mut classic, &mut modern],
        |_, _| {},
        |m| sizes(m) == [2, 2],
    )
    .await;
    let described = admin
        .describe_consumer_groups(&["old", "new", "none"])
        .await
        .unwrap();
    let both = [tp("t", 0), tp("t", 1)];
    let old = described["old"].as_ref().unwrap();
    assert_eq!((&*old.group_type, &*old.state), ("classic", "Stable"));
    assert_eq!(old.members[0].partitions, both);
    assert_eq!(old.members[0].group_instance_id.as_deref(), Some("one"));
    assert_eq!(old.members[0].subscribed_topics, ["t"]);
    assert_eq!((old.group_epoch, old.members[0].member_epoch), (None, None));
    let new = described["new"].as_ref().unwrap();
    assert_eq!(
        (&*new.group_type, &*new.protocol_type),
        ("consumer", "consumer")
    );
    assert_eq!(new.members[0].partitions, both);
    assert_eq!(new.members[0].target_partitions.as_deref(), Some(&both[..]));
    assert_eq!(new.members[0].rack_id.as_deref(), Some("r"));
    assert_eq!(
        new.members[0].member_epoch,
        Some(modern.group_metadata().unwrap().generation_id)
    );
    assert!(new.group_epoch.unwrap() > 0);
    let none = described["none"].as_ref().unwrap();
    assert_eq!((&*none.state, none.members.len()), ("Dead", 0));
    assert!(none.is_simple());
    let by_classic = admin.describe_classic_groups(&["new"]).await.unwrap();
    assert_eq!(by_classic["new"].as_ref().unwrap().state, "Dead");
    let listed = async |options: ListGroupsOptions| -> Vec<String> {
        let listed = admin.list_groups_with(&options).await.unwrap();
        listed.into_iter().map(|g| g.group_id).collect()
    };
    let types = |name: &str| ListGroupsOptions {
        types: vec![name.to_owned()],
        ..ListGroupsOptions::default()
    };
    assert_eq!(listed(types("consumer")).await, ["new"]);
    assert_eq!(listed(types("classic")).await, ["old"]);
    let states = |name: &str| ListGroupsOptions {
        states: vec![name.to_owned()],
        ..ListGroupsOptions::default()
    };
    assert_eq!(listed(states("Stable")).await, ["new", "old"]);
    assert!(listed(states("Empty")).await.is_empty());

    // Offsets, and what stands in the way of their end.
    let at = BTreeMap::from([(tp("t", 0), OffsetAndMetadata::new(0))]);
    modern.commit(at).await.unwrap();
    let refused = admin
        .delete_consumer_group_offsets("new", &[tp("t", 0)])
        .await
        .unwrap();
    let refused = refused[&tp("t", 0)].as_ref().unwrap_err();
    assert_eq!(refused.code(), Some(ErrorCode::GroupSubscribedToTopic));
    let unknown = MembersToRemove::Instances(vec!["nobody".into()]);
    let unknown = admin
        .remove_members_from_consumer_group("old", &unknown)
        .await
        .unwrap();
    let unknown = unknown["nobody"].as_ref().unwrap_err();
    assert_eq!(unknown.code(), Some(ErrorCode::UnknownMemberId));
    let removed = admin
        .remove_members_from_consumer_group("old", &MembersToRemove::All)
        .await
        .unwrap();
    // It joins anew as soon as it hears of that.
    assert!(removed["one"].is_ok());
    modern.close().await.unwrap();
    admin
        .delete_consumer_group_offsets("new", &[tp("t", 0)])
        .await
        .unwrap()[&tp("t", 0)]
        .as_ref()
        .unwrap();
    let left = admin
        .list_consumer_group_offsets("new", None, true)
        .await
        .unwrap();
    assert!(left.is_empty());
}

pub(crate) async fn topics_are_described_page_by_page_and_deleted_by_id(cluster: &Cluster) {
    let client = cluster.with_topic("a", 5).await;
    let admin = client.admin();
    admin
        .create_topic(NewTopic::new("b").partitions(2))
        .await
        .unwrap();
    let would = admin
        .validate_topics(vec![NewTopic::new("c").partitions(3)])
        .await
        .unwrap();
    assert_eq!(would["c"].as_ref().unwrap().partitions, 3);
    admin
        .create_partitions_with("b", 3, None, true)
        .await
        .unwrap();
    let described = admin
        .describe_topics_paged(&["b", "a", "c"], 2)
        .await
        .unwrap();
    let of = |name: &str| described[name].as_ref().unwrap();
    let numbers =
        |name: &str| -> Vec<i32> { of(name).partitions.iter().map(|p| p.partition).collect() };
    assert_eq!(numbers("a"), [0, 1, 2, 3, 4]);
    assert_eq!(numbers("b"), [0, 1]);
    let unknown = described["c"].as_ref().unwrap_err();
    assert_eq!(unknown.code(), Some(ErrorCode::UnknownTopicOrPartition));
    let id = of("b").id;
    admin.delete_topics_by_id(&[id]).await.unwrap()[&id]
        .as_ref()
        .unwrap();
    let again = admin.delete_topics_by_id(&[id]).await.unwrap();
    assert_eq!(
        again[&id].as_ref().unwrap_err().code(),
        Some(ErrorCode::UnknownTopicId)
    );
    fill(&client, "a", 0, 0..3).await;
    let wanted = BTreeMap::from([
        (tp("a", 0), OffsetSpec::MaxTimestamp),
        (tp("a", 1), OffsetSpec::EarliestLocal),
    ]);
    let found = admin
        .list_offsets(wanted, IsolationLevel::ReadUncommitted)
        .await
        .unwrap();
    assert_eq!(found[&tp("a", 1)].unwrap().offset, 0);
    assert!(found[&tp("a", 0)].unwrap().timestamp > 0);
    let records = admin
        .delete_records(BTreeMap::from([(tp("a", 0), 2), (tp("a", 9), 0)]))
        .await
        .unwrap();
    assert_eq!(*records[&tp("a", 0)].as_ref().unwrap(), 2);
    assert!(records[&tp("a", 9)].is_err());
}

pub(crate) async fn log_directories_are_described(cluster: &Cluster) {
    let client = cluster.with_topic("t", 2).await;
    let admin = client.admin();
    fill(&client, "t", 1, 0..5).await;
    let node = admin.describe_cluster().await.unwrap().nodes[0].id;
    let dirs = admin.describe_log_dirs(&[node], None).await.unwrap();
    let dirs = dirs[&node].as_ref().unwrap();
    let (path, dir) = dirs.first_key_value().unwrap();
    let dir = dir.as_ref().unwrap();
    assert!(dir.replicas[&tp("t", 1)].size > dir.replicas[&tp("t", 0)].size);
    assert!(!dir.replicas[&tp("t", 1)].is_future);
    let only = admin
        .describe_log_dirs(&[node], Some(&[tp("t", 0)]))
        .await
        .unwrap();
    let only = only[&node].as_ref().unwrap()[path].as_ref().unwrap();
    assert_eq!(only.replicas.keys().collect::<Vec<_>>(), [&tp("t", 0)]);
    let replica = |partition| TopicPartitionReplica {
        topic_partition: tp("t", partition),
        broker_id: node,
    };
    // Where it is already, and where nothing is.
    let moves = BTreeMap::from([
        (replica(0), path.clone()),
        (replica(1), "/no/such".to_owned()),
    ]);
    let moved = admin.alter_replica_log_dirs(&moves).await.unwrap();
    moved[&replica(0)].as_ref().unwrap();
    let wrong = moved[&replica(1)].as_ref().unwrap_err();
    assert_eq!(wrong.code(), Some(ErrorCode::LogDirNotFound));
}

pub(crate) async fn the_cluster_its_quorum_and_features_are_described(cluster: &Cluster) {
    let client = cluster.client().await;
    let admin = client.admin();
    let described = admin.describe_cluster_with(true).await.unwrap();
    assert_eq!((described.nodes.len(), described.fenced.len()), (1, 0));
    let quorum = admin.describe_metadata_quorum().await.unwrap();
    assert_eq!(quorum.voters.len(), 1);
    assert_eq!(quorum.leader_id, quorum.voters[0].replica_id);
    assert!(quorum.voters[0].log_end_offset > 0);
    let features = admin.describe_features().await.unwrap();
    assert_eq!(features.finalized["transaction.version"], 2);
    assert_eq!(features.finalized["group.version"], 1);
    assert!(features.supported["transaction.version"].1 >= 2);
    let to = |max_version_level| {
        let update = FeatureUpdate {
            max_version_level,
            upgrade_type: UpgradeType::Upgrade,
        };
        BTreeMap::from([("transaction.version".to_owned(), update)])
    };
    let refused = admin.update_features(&to(99), true).await.unwrap();
    assert!(refused["transaction.version"].is_err());
    assert!(admin.unregister_broker(77).await.is_err());
}

pub(crate) async fn quotas_are_told_and_changed(cluster: &Cluster) {
    let client = cluster.client().await;
    let admin = client.admin();
    let entity = BTreeMap::from([("client-id".to_owned(), Some("x".to_owned()))]);
    let alteration = |value| ClientQuotaAlteration {
        entity: entity.clone(),
        ops: BTreeMap::from([("producer_byte_rate".to_owned(), value)]),
    };
    let filter = ClientQuotaFilter {
        components: BTreeMap::from([("client-id".to_owned(), ClientQuotaMatch::Exact("x".into()))]),
        strict: true,
    };
    let rate = async || {
        let all = admin.describe_client_quotas(&filter).await.unwrap();
        all.get(&entity)
            .and_then(|values| values.get("producer_byte_rate").copied())
    };
    admin
        .alter_client_quotas(&[alteration(Some(5.0))], true)
        .await
        .unwrap()[&entity]
        .as_ref()
        .unwrap();
    assert_eq!(rate().await, None);
    admin
        .alter_client_quotas(&[alteration(Some(1e6))], false)
        .await
        .unwrap()[&entity]
        .as_ref()
        .unwrap();
    // The answer comes when the controller has decided; brokers follow.
    while rate().await != Some(1e6) {}
    admin
        .alter_client_quotas(&[alteration(None)], false)
        .await
        .unwrap()[&entity]
        .as_ref()
        .unwrap();
    while rate().await.is_some() {}
    let mut wrong = alteration(Some(1.0));
    wrong.ops = BTreeMap::from([("no_such_rate".to_owned(), Some(1.0))]);
    let wrong = admin.alter_client_quotas(&[wrong], false).await.unwrap();
    assert!(wrong[&entity].is_err());
}

pub(crate) async fn leaders_and_reassignments_are_asked_for(cluster: &Cluster) {
    let client = cluster.with_topic("t", 2).await;
    let admin = client.admin();
    let elected = admin
        .elect_leaders(ElectionType::Preferred, Some(&[tp("t", 0), tp("none", 0)]))
        .await
        .unwrap();
    let needless = elected[&tp("t", 0)].as_ref().unwrap_err();
    assert_eq!(needless.code(), Some(ErrorCode::ElectionNotNeeded));
    let unknown = elected[&tp("none", 0)].as_ref().unwrap_err();
    assert_eq!(unknown.code(), Some(ErrorCode::UnknownTopicOrPartition));
    let all = admin
        .elect_leaders(ElectionType::Preferred, None)
        .await
        .unwrap();
    assert!(all.values().all(Result::is_ok), "{all:?}");
    assert!(
        admin
            .list_partition_reassignments(None)
            .await
            .unwrap()
            .is_empty()
    );
    let wrong = BTreeMap::from([(tp("t", 0), Some(vec![99])), (tp("t", 1), None)]);
    let refused = admin.alter_partition_reassignments(&wrong).await.unwrap();
    let code = |partition| refused[&tp("t", partition)].as_ref().unwrap_err().code();
    assert_eq!(code(0), Some(ErrorCode::InvalidReplicaAssignment));
    assert_eq!(code(1), Some(ErrorCode::NoReassignmentInProgress));
}

fn transactional(id: &str) -> ProducerConfig {
    ProducerConfig {
        transactional_id: Some(id.to_owned()),
        ..ProducerConfig::default()
    }
}

pub(crate) async fn transactions_are_listed_described_and_fenced(cluster: &Cluster) {
    let client = cluster.with_topic("t", 2).await;
    let admin = client.admin();
    let producer = client.producer(transactional("admin-x")).unwrap();
    producer.init_transactions().await.unwrap();
    producer.begin_transaction().unwrap();
    let record = ProducerRecord::new("t").partition(1).value("x");
    drop(producer.send(record.clone()).await.unwrap());
    producer.flush().await.unwrap();
    let described = admin
        .describe_transactions(&["admin-x", "admin-none"])
        .await
        .unwrap();
    let of = described["admin-x"].as_ref().unwrap();
    assert_eq!(
        (&*of.state, &of.topic_partitions[..]),
        ("Ongoing", &[tp("t", 1)][..])
    );
    assert_eq!(of.transaction_timeout_ms, 60_000);
    assert!(of.transaction_start_time_ms.unwrap() > 0);
    let none = described["admin-none"].as_ref().unwrap_err();
    assert_eq!(none.code(), Some(ErrorCode::TransactionalIdNotFound));
    let options = ListTransactionsOptions {
        states: vec!["Ongoing".into()],
        producer_ids: vec![of.producer_id],
        transactional_id_pattern: Some("admin-.".into()),
        ..ListTransactionsOptions::default()
    };
    let listed = admin.list_transactions(&options).await.unwrap();
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0].transactional_id, "admin-x");
    let wrong = ListTransactionsOptions {
        states: vec!["Going".into()],
        ..ListTransactionsOptions::default()
    };
    let wrong = admin.list_transactions(&wrong).await.unwrap_err();
    assert!(wrong.to_string().contains("`Going`"), "{wrong}");
    let producers = admin.describe_producers(&[tp("t", 1)], None).await.unwrap();
    let state = &producers[&tp("t", 1)].as_ref().unwrap()[0];
    assert_eq!(state.producer_id, of.producer_id);
    assert_eq!(state.current_transaction_start_offset, Some(0));
    let fenced = admin.fence_producers(&["admin-x"]).await.unwrap();
    assert_eq!(
        fenced["admin-x"].as_ref().unwrap().producer_id,
        of.producer_id
    );
    let error = producer.commit_transaction().await.unwrap_err();
    assert!(error.is_fenced(), "{error}");
}

pub(crate) async fn a_hanging_transaction_is_aborted(cluster: &Cluster) {
    let client = cluster.with_topic("t", 1).await;
    let admin = client.admin();
    let producer = client.producer(transactional("admin-h")).unwrap();
    producer.init_transactions().await.unwrap();
    producer.begin_transaction().unwrap();
    drop(
        producer
            .send(ProducerRecord::new("t").value("x"))
            .await
            .unwrap(),
    );
    producer.flush().await.unwrap();
    let producers = admin
        .describe_producers(&[tp("t", 0)], Some(1))
        .await
        .unwrap();
    let state = producers[&tp("t", 0)].as_ref().unwrap()[0].clone();
    // As if the coordinator knew nothing of it.
    admin
        .abort_transaction(&AbortTransaction {
            topic_partition: tp("t", 0),
            producer_id: state.producer_id,
            producer_epoch: i16::try_from(state.producer_epoch).unwrap() + 1,
            coordinator_epoch: 1_000,
        })
        .await
        .unwrap();
    let end = tokio::time::Instant::now() + Duration::from_secs(20);
    loop {
        let producers = admin.describe_producers(&[tp("t", 0)], None).await.unwrap();
        let state = &producers[&tp("t", 0)].as_ref().unwrap()[0];
        if state.current_transaction_start_offset.is_none() {
            break;
        }
        assert!(tokio::time::Instant::now() < end, "{state:?}");
    }
}
