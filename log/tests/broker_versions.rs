//! Every API in every version that is advertised gets an answer over TCP that decodes in that
//! version: nothing is set that the version lacks, nobody is disconnected.

use std::time::Duration;

use thalweg_log::broker::{Broker, BrokerConfig};
use thalweg_log::net::{ClientConnection, ConnectionOptions};
use thalweg_log::wire::messages::*;
use thalweg_log::wire::{ApiKey, Request, Response, Str};
use uuid::Uuid;

const TOPIC: &str = "t";

/// A request that makes the broker fill in as much as it can, within the version.
fn request(api: ApiKey, version: i16, id: Uuid) -> Request {
    let t = || Str::from(TOPIC);
    let g = || Str::from("g");
    match api {
        ApiKey::Produce => ProduceRequest {
            acks: -1,
            timeout_ms: 1000,
            topic_data: vec![TopicProduceData {
                name: t(),
                topic_id: if version >= 13 { id } else { Uuid::nil() },
                partition_data: vec![
                    PartitionProduceData {
                        index: 0,
                        records: Some(batch()),
                        ..Default::default()
                    },
                    PartitionProduceData {
                        index: 99,
                        records: Some(batch()),
                        ..Default::default()
                    },
                ],
                ..Default::default()
            }],
            ..Default::default()
        }
        .into(),
        ApiKey::Fetch => FetchRequest {
            min_bytes: 1,
            isolation_level: 1,
            topics: vec![FetchTopic {
                topic: t(),
                topic_id: if version >= 13 { id } else { Uuid::nil() },
                partitions: [0, 99]
                    .map(|partition| FetchPartition {
                        partition,
                        partition_max_bytes: 1 << 20,
                        ..Default::default()
                    })
                    .to_vec(),
                ..Default::default()
            }],
            ..Default::default()
        }
        .into(),
        ApiKey::ListOffsets => ListOffsetsRequest {
            replica_id: -1,
            topics: vec![ListOffsetsTopic {
                name: t(),
                partitions: [-1, -2, 0]
                    .map(|timestamp| ListOffsetsPartition {
                        timestamp,
                        ..Default::default()
                    })
                    .to_vec(),
                ..Default::default()
            }],
            ..Default::default()
        }
        .into(),
        ApiKey::Metadata => MetadataRequest {
            topics: Some(vec![
                MetadataRequestTopic {
                    name: Some(t()),
                    ..Default::default()
                },
                MetadataRequestTopic {
                    name: Some(Str::from("not there")),
                    ..Default::default()
                },
            ]),
            ..Default::default()
        }
        .into(),
        ApiKey::OffsetCommit => OffsetCommitRequest {
            group_id: Str::from("simple"),
            topics: vec![OffsetCommitRequestTopic {
                name: t(),
                topic_id: if version >= 10 { id } else { Uuid::nil() },
                partitions: vec![OffsetCommitRequestPartition {
                    committed_offset: i64::from(version),
                    committed_metadata: Some(Str::from("note")),
                    ..Default::default()
                }],
                ..Default::default()
            }],
            ..Default::default()
        }
        .into(),
        ApiKey::OffsetFetch if version >= 8 => OffsetFetchRequest {
            groups: vec![
                OffsetFetchRequestGroup {
                    group_id: Str::from("simple"),
                    topics: None,
                    ..Default::default()
                },
                OffsetFetchRequestGroup {
                    group_id: Str::from("simple"),
                    topics: Some(vec![OffsetFetchRequestTopics {
                        name: t(),
                        topic_id: id,
                        partition_indexes: vec![0, 1],
                        ..Default::default()
                    }]),
                    ..Default::default()
                },
            ],
            ..Default::default()
        }
        .into(),
        ApiKey::OffsetFetch => OffsetFetchRequest {
            group_id: Str::from("simple"),
            topics: Some(vec![OffsetFetchRequestTopic {
                name: t(),
                partition_indexes: vec![0, 1],
                ..Default::default()
            }]),
            ..Default::default()
        }
        .into(),
        ApiKey::FindCoordinator if version >= 4 => FindCoordinatorRequest {
            coordinator_keys: vec![g()],
            ..Default::default()
        }
        .into(),
        ApiKey::FindCoordinator => FindCoordinatorRequest {
            key: g(),
            ..Default::default()
        }
        .into(),
        ApiKey::JoinGroup => JoinGroupRequest {
            group_id: Str::from(format!("join-{version}")),
            session_timeout_ms: 10_000,
            protocol_type: Str::from("consumer"),
            protocols: vec![JoinGroupRequestProtocol {
                name: Str::from("range"),
                ..Default::default()
            }],
            ..Default::default()
        }
        .into(),
        ApiKey::SyncGroup => SyncGroupRequest {
            group_id: g(),
            ..Default::default()
        }
        .into(),
        ApiKey::Heartbeat => HeartbeatRequest {
            group_id: g(),
            ..Default::default()
        }
        .into(),
        ApiKey::LeaveGroup if version >= 3 => LeaveGroupRequest {
            group_id: g(),
            members: vec![MemberIdentity {
                member_id: Str::from("m"),
                ..Default::default()
            }],
            ..Default::default()
        }
        .into(),
        ApiKey::LeaveGroup => LeaveGroupRequest {
            group_id: g(),
            member_id: Str::from("m"),
            ..Default::default()
        }
        .into(),
        ApiKey::DescribeGroups => DescribeGroupsRequest {
            groups: vec![Str::from("simple"), Str::from("not there")],
            ..Default::default()
        }
        .into(),
        ApiKey::ListGroups => ListGroupsRequest::default().into(),
        ApiKey::ApiVersions => ApiVersionsRequest {
            client_software_name: Str::from("test"),
            client_software_version: Str::from("1"),
            ..Default::default()
        }
        .into(),
        ApiKey::CreateTopics => CreateTopicsRequest {
            topics: vec![
                CreatableTopic {
                    name: Str::from(format!("new-{version}")),
                    num_partitions: 1,
                    replication_factor: 1,
                    ..Default::default()
                },
                CreatableTopic {
                    name: t(),
                    num_partitions: 1,
                    replication_factor: 1,
                    ..Default::default()
                },
            ],
            ..Default::default()
        }
        .into(),
        ApiKey::DeleteTopics if version >= 6 => DeleteTopicsRequest {
            topics: vec![
                DeleteTopicState {
                    topic_id: Uuid::from_u128(9),
                    ..Default::default()
                },
                DeleteTopicState {
                    name: Some(Str::from("new-2")),
                    ..Default::default()
                },
            ],
            ..Default::default()
        }
        .into(),
        ApiKey::DeleteTopics => DeleteTopicsRequest {
            topic_names: vec![Str::from(format!("new-{}", version + 2)), Str::from("none")],
            ..Default::default()
        }
        .into(),
        ApiKey::DeleteRecords => DeleteRecordsRequest {
            topics: vec![DeleteRecordsTopic {
                name: t(),
                partitions: vec![DeleteRecordsPartition {
                    offset: -1,
                    ..Default::default()
                }],
                ..Default::default()
            }],
            ..Default::default()
        }
        .into(),
        ApiKey::InitProducerId => InitProducerIdRequest {
            transactional_id: None,
            ..Default::default()
        }
        .into(),
        ApiKey::DescribeConfigs => DescribeConfigsRequest {
            resources: [(2, TOPIC), (4, "1"), (2, "none")]
                .map(|(resource_type, name)| DescribeConfigsResource {
                    resource_type,
                    resource_name: Str::from(name),
                    configuration_keys: None,
                    ..Default::default()
                })
                .to_vec(),
            include_synonyms: true,
            include_documentation: version >= 3,
            ..Default::default()
        }
        .into(),
        ApiKey::CreatePartitions => CreatePartitionsRequest {
            topics: vec![CreatePartitionsTopic {
                name: t(),
                count: 5,
                assignments: None,
                ..Default::default()
            }],
            validate_only: true,
            ..Default::default()
        }
        .into(),
        ApiKey::DeleteGroups => DeleteGroupsRequest {
            groups_names: vec![Str::from("none")],
            ..Default::default()
        }
        .into(),
        ApiKey::IncrementalAlterConfigs => IncrementalAlterConfigsRequest {
            resources: vec![AlterConfigsResource {
                resource_type: 2,
                resource_name: t(),
                configs: vec![AlterableConfig {
                    name: Str::from("retention.ms"),
                    value: Some(Str::from("99")),
                    ..Default::default()
                }],
                ..Default::default()
            }],
            ..Default::default()
        }
        .into(),
        ApiKey::OffsetDelete => OffsetDeleteRequest {
            group_id: Str::from("simple"),
            topics: vec![OffsetDeleteRequestTopic {
                name: t(),
                partitions: vec![OffsetDeleteRequestPartition {
                    partition_index: 1,
                    ..Default::default()
                }],
                ..Default::default()
            }],
            ..Default::default()
        }
        .into(),
        ApiKey::DescribeCluster => DescribeClusterRequest::default().into(),
        ApiKey::DescribeTopicPartitions => DescribeTopicPartitionsRequest::default().into(),
        other => panic!("no request for {other:?}: add one"),
    }
}

fn batch() -> bytes::Bytes {
    use thalweg_log::record::{BatchBuilder, Compression};
    let mut batch = BatchBuilder::new(Compression::None);
    batch
        .append(1_700_000_000_000, Some(b"k"), Some(b"v"), &[])
        .unwrap();
    batch.build().unwrap()
}

#[tokio::test]
async fn every_version_of_every_api_is_answered() {
    let dir = tempfile::tempdir().unwrap();
    let broker =
        Broker::start(BrokerConfig::new(dir.path()).set("auto.create.topics.enable", "false"))
            .await
            .unwrap();
    let address = broker.listen("127.0.0.1:0").await.unwrap();
    let options = ConnectionOptions::default();
    let connection = ClientConnection::connect(&address.to_string(), options)
        .await
        .unwrap();
    let create = CreateTopicsRequest {
        topics: vec![CreatableTopic {
            name: Str::from(TOPIC),
            num_partitions: 2,
            replication_factor: -1,
            ..Default::default()
        }],
        ..Default::default()
    };
    let created = connection.ask(7, create.into()).await;
    let Response::CreateTopics(created) = created else {
        panic!("{created:?}")
    };
    let id = created.topics[0].topic_id;
    connection
        .ask(
            6,
            FindCoordinatorRequest {
                coordinator_keys: vec![Str::from("g")],
                ..Default::default()
            }
            .into(),
        )
        .await;
    for api in ApiKey::ALL {
        let versions = api.versions();
        for version in versions.min..=versions.max {
            let response = connection.ask(version, request(*api, version, id)).await;
            check(&response, version);
        }
    }
    broker.shutdown().await;
}

/// A few answers are known; all others only have to come.
fn check(response: &Response, version: i16) {
    match response {
        Response::Produce(r) => {
            let codes: Vec<_> = r.responses[0]
                .partition_responses
                .iter()
                .map(|p| p.error_code)
                .collect();
            assert_eq!(codes, [0, 3], "v{version}");
        }
        Response::Fetch(r) => {
            let partitions = &r.responses[0].partitions;
            assert!(
                !partitions[0].records.as_ref().unwrap().is_empty(),
                "v{version}"
            );
            assert_eq!(partitions[1].error_code, 3, "v{version}");
            assert_eq!(
                partitions[1].records.as_deref(),
                Some(&b""[..]),
                "never null"
            );
        }
        Response::OffsetFetch(r) if version >= 8 => {
            for group in &r.groups {
                assert_eq!(
                    group.topics[0].partitions[0].committed_offset, 10,
                    "v{version}"
                );
                assert_eq!(
                    group.topics[0].partitions[0].metadata.as_deref(),
                    Some("note")
                );
            }
        }
        Response::OffsetFetch(r) => {
            let offsets: Vec<_> = r.topics[0]
                .partitions
                .iter()
                .map(|p| p.committed_offset)
                .collect();
            assert_eq!(offsets, [10, -1], "v{version}");
        }
        Response::CreateTopics(r) => {
            let codes: Vec<_> = r.topics.iter().map(|t| t.error_code).collect();
            assert_eq!(codes, [0, 36], "v{version}");
        }
        Response::FindCoordinator(r) => {
            let found = r
                .coordinators
                .first()
                .map_or((r.node_id, r.port), |c| (c.node_id, c.port));
            assert_eq!(found.0, 1);
            assert_ne!(found.1, 0);
        }
        Response::InitProducerId(r) => assert_eq!(r.error_code, 0),
        Response::DescribeConfigs(r) => {
            assert!(r.results[0].configs.len() > 20 && r.results[1].configs.len() > 20);
            assert_eq!(r.results[2].error_code, 3);
        }
        _ => {}
    }
}

trait Ask {
    async fn ask(&self, version: i16, request: Request) -> Response;
}

impl Ask for ClientConnection {
    async fn ask(&self, version: i16, request: Request) -> Response {
        let api = request.api();
        match self.send(request, version, Duration::from_secs(20)).await {
            Ok(response) => response,
            Err(e) => panic!("{api:?} v{version}: {e}"),
        }
    }
}
