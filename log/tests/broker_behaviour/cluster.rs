//! What the APIs of the cluster answer when there is one broker: elections, reassignments, the quorum, features.

use thalweg_log::wire::ErrorCode::{self, *};
use thalweg_log::wire::messages::*;
use thalweg_log::wire::{ApiKey, ApiMessage, Str};
use uuid::Uuid;

use crate::bench::*;

#[tokio::test]
async fn sasl_makes_no_sense_without_authentication() {
    let bench = Bench::start(&[]).await;
    let handshake = SaslHandshakeRequest {
        mechanism: "PLAIN".into(),
        ..Default::default()
    };
    for answer in bench.ask_in_all(handshake).await {
        assert_eq!(code(answer.error_code), IllegalSaslState);
        assert!(answer.mechanisms.is_empty());
    }
    for answer in bench.ask_in_all(SaslAuthenticateRequest::default()).await {
        assert_eq!(code(answer.error_code), IllegalSaslState);
        assert!(answer.error_message.is_some_and(|text| !text.is_empty()));
    }
}

#[tokio::test]
async fn no_election_is_needed() {
    let bench = Bench::start(&[]).await;
    bench.create("t", 2, &[]).await;
    let some = |kind| ElectLeadersRequest {
        election_type: kind,
        topic_partitions: Some(vec![
            ElectLeadersTopicPartitions {
                topic: "t".into(),
                partitions: vec![1, 2, -1],
                ..Default::default()
            },
            ElectLeadersTopicPartitions {
                topic: "missing".into(),
                partitions: vec![0],
                ..Default::default()
            },
        ]),
        ..Default::default()
    };
    for kind in [0, 1] {
        for answer in bench.ask_in_all(some(kind)).await {
            assert_eq!(code(answer.error_code), None);
            let found: Vec<_> = answer
                .replica_election_results
                .iter()
                .flat_map(|topic| {
                    let name = topic.topic.to_string();
                    topic
                        .partition_result
                        .iter()
                        .map(move |p| (name.clone(), p.partition_id, code(p.error_code)))
                })
                .collect();
            assert_eq!(
                found,
                [
                    ("t".to_owned(), 1, ElectionNotNeeded),
                    ("t".to_owned(), 2, UnknownTopicOrPartition),
                    ("t".to_owned(), -1, UnknownTopicOrPartition),
                    ("missing".to_owned(), 0, UnknownTopicOrPartition),
                ]
            );
        }
    }
    let all = ElectLeadersRequest {
        topic_partitions: Option::None,
        ..Default::default()
    };
    for answer in bench.ask_in_all(all).await {
        let results = answer.replica_election_results;
        assert!(results.iter().any(|topic| topic.topic == "t"));
        assert!(
            results
                .iter()
                .all(|topic| topic.partition_result.is_empty())
        );
    }
    let answer = bench.ask(some(7)).await;
    assert_eq!(code(answer.error_code), InvalidRequest);
    let first = &answer.replica_election_results[0].partition_result[0];
    assert_eq!(code(first.error_code), InvalidRequest);
}

#[tokio::test]
async fn a_reassignment_to_the_same_broker_is_done_at_once() {
    let bench = Bench::start(&[]).await;
    bench.create("t", 1, &[]).await;
    let id = bench.broker.node_id();
    let cases: [(&str, i32, Option<Vec<i32>>, ErrorCode); 7] = [
        ("t", 0, Some(vec![id]), None),
        ("t", 0, Some(vec![]), InvalidReplicaAssignment),
        ("t", 0, Some(vec![id, id]), InvalidReplicaAssignment),
        ("t", 0, Some(vec![id + 1]), InvalidReplicaAssignment),
        ("t", 0, Option::None, NoReassignmentInProgress),
        ("t", 1, Some(vec![id]), UnknownTopicOrPartition),
        ("missing", 0, Option::None, UnknownTopicOrPartition),
    ];
    for (topic, partition_index, replicas, expected) in cases {
        let request = AlterPartitionReassignmentsRequest {
            topics: vec![ReassignableTopic {
                name: topic.into(),
                partitions: vec![ReassignablePartition {
                    partition_index,
                    replicas,
                    ..Default::default()
                }],
                ..Default::default()
            }],
            ..Default::default()
        };
        for answer in bench.ask_in_all(request).await {
            assert_eq!(code(answer.error_code), None);
            assert_eq!(answer.responses[0].name, topic);
            let partition = &answer.responses[0].partitions[0];
            assert_eq!(code(partition.error_code), expected, "{partition:?}");
            assert_eq!(partition.error_message.is_some(), expected != None);
        }
    }
    let all = ListPartitionReassignmentsRequest::default();
    for answer in bench.ask_in_all(all).await {
        assert_eq!((code(answer.error_code), answer.topics), (None, vec![]));
    }
}

#[tokio::test]
async fn the_quorum_has_one_voter() {
    let bench = Bench::start(&[]).await;
    bench.broker.listen("127.0.0.1:0").await.unwrap();
    let ask = |topic: &str, index| DescribeQuorumRequest {
        topics: vec![DescribeQuorumRequestTopic {
            topic_name: topic.into(),
            partitions: vec![DescribeQuorumRequestPartition {
                partition_index: index,
                ..Default::default()
            }],
            ..Default::default()
        }],
        ..Default::default()
    };
    let answers = bench.ask_in_all(ask("__cluster_metadata", 0)).await;
    for (version, answer) in answers.iter().enumerate() {
        assert_eq!(code(answer.error_code), None);
        let partition = &answer.topics[0].partitions[0];
        assert_eq!(code(partition.error_code), None);
        assert_eq!(partition.leader_id, bench.broker.node_id());
        assert!(partition.leader_epoch > 0 && partition.high_watermark > 0);
        assert_eq!(partition.current_voters.len(), 1);
        let voter = &partition.current_voters[0];
        assert_eq!(voter.log_end_offset, partition.high_watermark);
        assert!(voter.last_caught_up_timestamp > 0);
        assert_eq!(answer.nodes.len(), usize::from(version >= 2));
    }
    assert_eq!(answers[2].nodes[0].listeners[0].name, "PLAINTEXT");
    for wrong in [ask("__cluster_metadata", 1), ask("t", 0)] {
        for answer in bench.ask_in_all(wrong).await {
            let partition = &answer.topics[0].partitions[0];
            assert_eq!(code(partition.error_code), UnknownTopicOrPartition);
        }
    }
}

#[tokio::test]
async fn the_voters_are_fixed() {
    let bench = Bench::start(&[]).await;
    let add = AddRaftVoterRequest {
        cluster_id: Some(bench.broker.cluster_id().into()),
        voter_id: 9,
        voter_directory_id: Uuid::from_u128(9),
        listeners: vec![AddRaftVoterListener {
            name: "CONTROLLER".into(),
            host: "localhost".into(),
            port: 9093,
            ..Default::default()
        }],
        ..Default::default()
    };
    let elsewhere = AddRaftVoterRequest {
        cluster_id: Some("elsewhere".into()),
        ..add.clone()
    };
    let nobody = AddRaftVoterRequest {
        voter_directory_id: Uuid::nil(),
        ..add.clone()
    };
    for (request, expected) in [
        (add, UnsupportedVersion),
        (elsewhere, InconsistentClusterId),
        (nobody, InvalidRequest),
    ] {
        for answer in bench.ask_in_all(request).await {
            assert_eq!(code(answer.error_code), expected);
        }
    }
    let remove = RemoveRaftVoterRequest {
        cluster_id: Option::None,
        voter_id: bench.broker.node_id(),
        voter_directory_id: Uuid::from_u128(9),
        ..Default::default()
    };
    let answer = bench.ask(remove).await;
    assert_eq!(code(answer.error_code), UnsupportedVersion);
}

async fn features(bench: &Bench) -> String {
    let request = ApiVersionsRequest {
        client_software_name: "test".into(),
        client_software_version: "1.0".into(),
        ..Default::default()
    };
    let answer = bench.ask(request).await;
    let finalized: Vec<_> = answer
        .finalized_features
        .iter()
        .map(|f| format!("{}={}", f.name, f.max_version_level))
        .collect();
    finalized.join(" ")
}

#[tokio::test]
async fn features_go_down_and_up_and_are_kept() {
    let mut bench = Bench::start(&[]).await;
    let all = "group.version=1 metadata.version=30 transaction.version=2";
    assert_eq!(features(&bench).await, all);
    let request = |validate_only, updates: &[(&str, i16, i8)]| UpdateFeaturesRequest {
        feature_updates: updates
            .iter()
            .map(|(name, level, kind)| FeatureUpdateKey {
                feature: Str::from(*name),
                max_version_level: *level,
                upgrade_type: *kind,
                ..Default::default()
            })
            .collect(),
        validate_only,
        ..Default::default()
    };
    let (up, safe, unsafe_) = (1, 2, 3);
    for refused in [
        [("transaction.version", 1, up)],
        [("transaction.version", 3, up)],
        [("transaction.version", -1, safe)],
        [("transaction.version", 2, 9)],
        [("metadata.version", 29, safe)],
        [("metadata.version", 29, unsafe_)],
        [("metadata.version", 31, up)],
        [("no.version", 1, up)],
    ] {
        let answer = bench.ask(request(false, &refused)).await;
        let found = code(answer.error_code);
        assert_eq!(found, InvalidUpdateVersion, "{refused:?}");
        assert!(answer.error_message.is_some_and(|text| !text.is_empty()));
    }
    // One that is refused refuses all.
    let both = [("group.version", 0, safe), ("no.version", 1, up)];
    bench.ask(request(false, &both)).await;
    let down = [
        ("group.version", 0, safe),
        ("transaction.version", 1, unsafe_),
    ];
    let answer = bench.ask(request(true, &down)).await;
    assert_eq!(code(answer.error_code), None);
    assert_eq!(features(&bench).await, all);
    let answer = bench.ask(request(false, &down)).await;
    assert_eq!(
        (code(answer.error_code), answer.error_message),
        (None, Option::None)
    );
    let less = "metadata.version=30 transaction.version=1";
    assert_eq!(features(&bench).await, less);
    bench.restart(&[]).await;
    assert_eq!(features(&bench).await, less);
    let back = [("group.version", 1, up), ("transaction.version", 2, up)];
    for (version, answer) in bench
        .ask_in_all(request(false, &back))
        .await
        .iter()
        .enumerate()
    {
        assert_eq!(code(answer.error_code), None);
        let results = if version < 2 { 2 } else { 0 };
        assert_eq!(answer.results.len(), results);
    }
    assert_eq!(features(&bench).await, all);
}

#[tokio::test]
async fn software_names_are_checked() {
    let bench = Bench::start(&[]).await;
    for (name, fits) in [
        ("a", true),
        ("a-b.c", true),
        ("", false),
        ("-a", false),
        ("a b", false),
    ] {
        let request = ApiVersionsRequest {
            client_software_name: name.into(),
            client_software_version: "1".into(),
            ..Default::default()
        };
        for (version, answer) in bench.ask_in_all(request).await.iter().enumerate() {
            let expected = if fits || version < 3 {
                None
            } else {
                InvalidRequest
            };
            assert_eq!(code(answer.error_code), expected, "{name} {version}");
            assert_eq!(answer.api_keys.is_empty(), expected != None);
        }
    }
}

#[tokio::test]
async fn a_broker_that_runs_comes_back_in_a_new_epoch() {
    let bench = Bench::start(&[]).await;
    bench.create("t", 1, &[]).await;
    let epoch = async || {
        let all = MetadataRequest {
            topics: Option::None,
            ..Default::default()
        };
        let answer = bench.ask(all).await;
        assert_eq!(answer.brokers.len(), 1);
        let partition = &answer.topics[0].partitions[0];
        assert_eq!(partition.leader_id, bench.broker.node_id());
        partition.leader_epoch
    };
    let before = epoch().await;
    let unregister = |broker_id| UnregisterBrokerRequest {
        broker_id,
        ..Default::default()
    };
    let answer = bench.ask(unregister(bench.broker.node_id())).await;
    assert_eq!(code(answer.error_code), None);
    assert!(epoch().await > before);
    assert_eq!(
        code(bench.produce("t", -1, batch(&["v"])).await.error_code),
        None
    );
    let answer = bench.ask(unregister(77)).await;
    assert_eq!(code(answer.error_code), BrokerIdNotRegistered);
}

#[tokio::test]
async fn resources_with_a_configuration_are_listed() {
    let bench = Bench::start(&[]).await;
    bench.create("t", 1, &[]).await;
    let ask = |types: &[i8]| ListConfigResourcesRequest {
        resource_types: types.to_vec(),
        ..Default::default()
    };
    let id = bench.broker.node_id().to_string();
    let listed = async |types: &[i8]| {
        let answer = bench.ask(ask(types)).await;
        assert_eq!(code(answer.error_code), None);
        let mut found: Vec<_> = answer
            .config_resources
            .iter()
            .map(|r| (r.resource_type, r.resource_name.to_string()))
            .collect();
        found.sort();
        found
    };
    let (topic, broker, logger) = ((2, "t".to_owned()), (4, id.clone()), (8, id));
    assert_eq!(listed(&[2]).await, std::slice::from_ref(&topic));
    assert_eq!(listed(&[4]).await, std::slice::from_ref(&broker));
    assert_eq!(listed(&[16, 32]).await, []);
    assert_eq!(listed(&[]).await, [topic, broker, logger]);
    assert_eq!(
        code(bench.ask(ask(&[3])).await.error_code),
        UnsupportedVersion
    );
    let metrics = bench.ask_at(ask(&[]), 0).await;
    assert_eq!(
        (code(metrics.error_code), metrics.config_resources),
        (None, vec![])
    );
    assert_eq!(ListConfigResourcesRequest::API, ApiKey::ListConfigResources);
}

/// Without a host, the broker is reached over both versions of IP, and its clients have one address in each.
#[tokio::test]
async fn an_empty_host_is_every_interface() {
    let bench = Bench::start(&[("max.connections.per.ip", "1")]).await;
    let bound = bench.broker.listen("PLAINTEXT://:0").await.unwrap();
    assert!(bound.ip().is_unspecified());
    let address = format!("127.0.0.1:{}", bound.port());
    let long = std::time::Duration::from_secs(30);
    let connect = async || {
        let options = thalweg_log::net::ConnectionOptions::default();
        let connection = thalweg_log::net::ClientConnection::connect(&address, options).await;
        connection.unwrap()
    };
    let first = connect().await;
    let answer = first.call(MetadataRequest::default(), 12, long).await;
    assert_eq!(answer.unwrap().brokers[0].port, i32::from(bound.port()));
    let second = connect().await;
    let refused = second.call(MetadataRequest::default(), 12, long).await;
    assert!(refused.unwrap_err().is_disconnect());
}
