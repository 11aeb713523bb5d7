//! Every API of the broker in every version it advertises, over TCP: a request that makes sense gets an answer
//! that can be written and read in that version, without an error.
//!
//! An answer that sets what its version lacks cannot be encoded and costs the client its connection; here it
//! fails the test.

use std::time::Duration;

use bytes::Bytes;
use thalweg_log::broker::{Broker, BrokerConfig};
use thalweg_log::net::{ClientConnection, ConnectionOptions, NetError};
use thalweg_log::record::{BatchBuilder, Compression, batches};
use thalweg_log::wire::messages::*;
use thalweg_log::wire::{ApiKey, ApiMessage, ApiRequest, ErrorCode, Str};
use uuid::Uuid;

const LONG: Duration = Duration::from_secs(30);

struct Session {
    broker: Broker,
    connection: ClientConnection,
    topic_id: Uuid,
    _dir: tempfile::TempDir,
}

impl Session {
    async fn start() -> Session {
        let dir = tempfile::tempdir().unwrap();
        let config = BrokerConfig::new(dir.path())
            .set("group.initial.rebalance.delay.ms", "0")
            .set("delete.topic.enable", "true");
        let broker = Broker::start(config).await.unwrap();
        let address = broker.listen("127.0.0.1:0").await.unwrap().to_string();
        let options = ConnectionOptions::default();
        let connection = ClientConnection::connect(&address, options).await.unwrap();
        let mut session = Session {
            broker,
            connection,
            topic_id: Uuid::nil(),
            _dir: dir,
        };
        session.topic_id = session.create("t", 7).await;
        session
    }

    async fn call<Q: ApiRequest>(&self, request: Q, version: i16) -> Q::Response
    where
        Q::Response: std::fmt::Debug,
    {
        let result: Result<Q::Response, NetError> =
            self.connection.call(request, version, LONG).await;
        result.unwrap_or_else(|error| panic!("{:?} {version}: {error}", Q::API))
    }

    async fn create(&self, name: &str, version: i16) -> Uuid {
        let request = CreateTopicsRequest {
            topics: vec![CreatableTopic {
                name: name.into(),
                num_partitions: 2,
                replication_factor: 1,
                configs: vec![CreatableTopicConfig {
                    name: "retention.ms".into(),
                    value: Some("-1".into()),
                    ..Default::default()
                }],
                ..Default::default()
            }],
            ..Default::default()
        };
        let response = self.call(request, version).await;
        let topic = &response.topics[0];
        none(topic.error_code, ApiKey::CreateTopics, version);
        topic.topic_id
    }

    async fn produce(&self, version: i16) {
        let mut batch = BatchBuilder::new(Compression::None);
        batch.append(1_000, Some(b"k"), Some(b"v"), &[]).unwrap();
        let request = ProduceRequest {
            acks: -1,
            timeout_ms: 1_000,
            topic_data: vec![TopicProduceData {
                name: "t".into(),
                topic_id: self.topic_id,
                partition_data: vec![PartitionProduceData {
                    index: 0,
                    records: Some(batch.build().unwrap()),
                    ..Default::default()
                }],
                ..Default::default()
            }],
            ..Default::default()
        };
        let response = self.call(request, version).await;
        let topic = &response.responses[0];
        let expected = if version >= 13 { "" } else { "t" };
        assert_eq!(topic.name, expected, "{version}");
        none(
            topic.partition_responses[0].error_code,
            ApiKey::Produce,
            version,
        );
    }
}

const FINALIZED: &str = "group.version=1 metadata.version=30 transaction.version=2";

fn none(code: i16, api: ApiKey, version: i16) {
    assert_eq!(
        ErrorCode::from(code),
        ErrorCode::None,
        "{api:?} in version {version}"
    );
}

fn versions<Q: ApiMessage>() -> impl Iterator<Item = i16> {
    let versions = Q::API.versions();
    versions.min..=versions.max
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn topics() {
    let session = Session::start().await;
    for version in versions::<ApiVersionsRequest>() {
        let request = ApiVersionsRequest {
            client_software_name: "test".into(),
            client_software_version: "1".into(),
            ..Default::default()
        };
        let response = session.call(request, version).await;
        none(response.error_code, ApiKey::ApiVersions, version);
        assert!(response.api_keys.is_sorted_by_key(|api| api.api_key));
        let features = |found: Vec<String>| found.join(" ");
        let finalized = features(
            response
                .finalized_features
                .iter()
                .map(|f| format!("{}={}", f.name, f.max_version_level))
                .collect(),
        );
        let supported = features(
            response
                .supported_features
                .iter()
                .map(|f| format!("{}={}-{}", f.name, f.min_version, f.max_version))
                .collect(),
        );
        let (expected, able) = match version {
            0..=2 => ("", ""),
            // Old clients cannot read a minimum of 0.
            3 => (FINALIZED, "metadata.version=7-30"),
            _ => (
                FINALIZED,
                "group.version=0-1 metadata.version=7-30 transaction.version=0-2",
            ),
        };
        assert_eq!((finalized.as_str(), supported.as_str()), (expected, able));
        assert_eq!(response.finalized_features_epoch >= 0, version >= 3);
    }
    for version in versions::<CreateTopicsRequest>() {
        session.create(&format!("created-{version}"), version).await;
    }
    for version in versions::<MetadataRequest>() {
        let all = session.call(
            MetadataRequest {
                // All topics: null, but an empty list in version 0.
                topics: (version == 0).then(Vec::new),
                ..Default::default()
            },
            version,
        );
        assert!(!all.await.brokers.is_empty());
        let named = MetadataRequest {
            topics: Some(
                ["t", "missing"]
                    .map(|name| MetadataRequestTopic {
                        name: Some(name.into()),
                        ..Default::default()
                    })
                    .to_vec(),
            ),
            allow_auto_topic_creation: version < 4,
            ..Default::default()
        };
        let response = session.call(named, version).await;
        assert_eq!(response.topics.len(), 2);
        none(response.topics[0].error_code, ApiKey::Metadata, version);
        if version >= 12 {
            let by_id = MetadataRequest {
                topics: Some(
                    [session.topic_id, Uuid::from_u128(1)]
                        .map(|topic_id| MetadataRequestTopic {
                            topic_id,
                            name: None,
                            ..Default::default()
                        })
                        .to_vec(),
                ),
                ..Default::default()
            };
            let response = session.call(by_id, version).await;
            assert_eq!(response.topics[0].name.as_deref(), Some("t"));
            let missing = ErrorCode::from(response.topics[1].error_code);
            assert_eq!(missing, ErrorCode::UnknownTopicId);
        }
    }
    for version in versions::<DescribeTopicPartitionsRequest>() {
        let request = DescribeTopicPartitionsRequest {
            topics: vec![TopicRequest {
                name: "t".into(),
                ..Default::default()
            }],
            ..Default::default()
        };
        let response = session.call(request, version).await;
        let api = ApiKey::DescribeTopicPartitions;
        none(response.topics[0].error_code, api, version);
    }
    for version in versions::<DescribeClusterRequest>() {
        let request = DescribeClusterRequest::default();
        let response = session.call(request, version).await;
        none(response.error_code, ApiKey::DescribeCluster, version);
    }
    for version in versions::<CreatePartitionsRequest>() {
        let request = CreatePartitionsRequest {
            topics: vec![CreatePartitionsTopic {
                name: "created-7".into(),
                count: 3 + i32::from(version),
                assignments: None,
                ..Default::default()
            }],
            timeout_ms: 1_000,
            ..Default::default()
        };
        let response = session.call(request, version).await;
        none(
            response.results[0].error_code,
            ApiKey::CreatePartitions,
            version,
        );
    }
    for version in versions::<DescribeConfigsRequest>() {
        for (resource_type, name) in [(2, "t"), (4, "")] {
            let name = match resource_type {
                4 => session.broker.node_id().to_string(),
                _ => name.to_owned(),
            };
            let request = DescribeConfigsRequest {
                resources: vec![DescribeConfigsResource {
                    resource_type,
                    resource_name: name.into(),
                    configuration_keys: None,
                    ..Default::default()
                }],
                include_synonyms: true,
                include_documentation: version >= 3,
                ..Default::default()
            };
            let response = session.call(request, version).await;
            let result = &response.results[0];
            none(result.error_code, ApiKey::DescribeConfigs, version);
            assert!(!result.configs.is_empty());
        }
    }
    for version in versions::<IncrementalAlterConfigsRequest>() {
        let request = IncrementalAlterConfigsRequest {
            resources: vec![AlterConfigsResource {
                resource_type: 2,
                resource_name: "t".into(),
                configs: vec![AlterableConfig {
                    name: "retention.bytes".into(),
                    value: Some("1000000".into()),
                    ..Default::default()
                }],
                ..Default::default()
            }],
            ..Default::default()
        };
        let response = session.call(request, version).await;
        let api = ApiKey::IncrementalAlterConfigs;
        none(response.responses[0].error_code, api, version);
    }
    for version in versions::<DeleteTopicsRequest>() {
        let name = Str::from(format!("created-{}", version + 1));
        let mut request = DeleteTopicsRequest {
            timeout_ms: 1_000,
            ..Default::default()
        };
        if version >= 6 {
            request.topics = vec![DeleteTopicState {
                name: Some(name),
                ..Default::default()
            }];
        } else {
            request.topic_names = vec![name];
        }
        let response = session.call(request, version).await;
        none(
            response.responses[0].error_code,
            ApiKey::DeleteTopics,
            version,
        );
    }
    session.broker.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records() {
    let session = Session::start().await;
    let mut produced = 0;
    for version in versions::<ProduceRequest>() {
        session.produce(version).await;
        produced += 1;
    }
    for version in versions::<FetchRequest>() {
        let request = FetchRequest {
            max_wait_ms: 1_000,
            min_bytes: 1,
            topics: vec![FetchTopic {
                topic: "t".into(),
                topic_id: session.topic_id,
                partitions: vec![FetchPartition {
                    partition: 0,
                    partition_max_bytes: 1 << 20,
                    ..Default::default()
                }],
                ..Default::default()
            }],
            ..Default::default()
        };
        let response = session.call(request, version).await;
        none(response.error_code, ApiKey::Fetch, version);
        let partition = &response.responses[0].partitions[0];
        none(partition.error_code, ApiKey::Fetch, version);
        assert_eq!(partition.high_watermark, produced);
        let records: Bytes = partition.records.clone().unwrap();
        assert_eq!(batches(records).count() as i64, produced, "{version}");
    }
    for version in versions::<ListOffsetsRequest>() {
        for (timestamp, offset) in [(-1, produced), (-2, 0), (0, 0)] {
            let request = ListOffsetsRequest {
                replica_id: -1,
                topics: vec![ListOffsetsTopic {
                    name: "t".into(),
                    partitions: vec![ListOffsetsPartition {
                        timestamp,
                        ..Default::default()
                    }],
                    ..Default::default()
                }],
                ..Default::default()
            };
            let response = session.call(request, version).await;
            let partition = &response.topics[0].partitions[0];
            none(partition.error_code, ApiKey::ListOffsets, version);
            assert_eq!(partition.offset, offset, "{timestamp} in {version}");
        }
    }
    for version in versions::<InitProducerIdRequest>() {
        let request = InitProducerIdRequest {
            transactional_id: None,
            transaction_timeout_ms: 60_000,
            ..Default::default()
        };
        let response = session.call(request, version).await;
        none(response.error_code, ApiKey::InitProducerId, version);
        assert!(response.producer_id >= 0);
    }
    for version in versions::<DeleteRecordsRequest>() {
        let request = DeleteRecordsRequest {
            topics: vec![DeleteRecordsTopic {
                name: "t".into(),
                partitions: vec![DeleteRecordsPartition {
                    partition_index: 0,
                    offset: 1 + i64::from(version),
                    ..Default::default()
                }],
                ..Default::default()
            }],
            timeout_ms: 1_000,
            ..Default::default()
        };
        let response = session.call(request, version).await;
        let partition = &response.topics[0].partitions[0];
        none(partition.error_code, ApiKey::DeleteRecords, version);
        assert_eq!(partition.low_watermark, 1 + i64::from(version));
    }
    session.broker.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn groups() {
    let session = Session::start().await;
    for version in versions::<FindCoordinatorRequest>() {
        let mut request = FindCoordinatorRequest::default();
        if version >= 4 {
            request.coordinator_keys = vec!["g".into()];
        } else {
            request.key = "g".into();
        }
        let response = session.call(request, version).await;
        let code = match response.coordinators.first() {
            Some(coordinator) => coordinator.error_code,
            None => response.error_code,
        };
        none(code, ApiKey::FindCoordinator, version);
        assert_eq!(response.coordinators.len(), usize::from(version >= 4));
    }
    for version in versions::<JoinGroupRequest>() {
        let group = Str::from(format!("joined-{version}"));
        let mut join = JoinGroupRequest {
            group_id: group.clone(),
            session_timeout_ms: 30_000,
            rebalance_timeout_ms: if version == 0 { -1 } else { 30_000 },
            protocol_type: "consumer".into(),
            protocols: vec![JoinGroupRequestProtocol {
                name: "range".into(),
                ..Default::default()
            }],
            ..Default::default()
        };
        let mut response = session.call(join.clone(), version).await;
        if version >= 4 {
            let code = ErrorCode::from(response.error_code);
            assert_eq!(code, ErrorCode::MemberIdRequired, "{version}");
            join.member_id = response.member_id;
            response = session.call(join, version).await;
        }
        none(response.error_code, ApiKey::JoinGroup, version);
        assert_eq!(response.protocol_name.as_deref(), Some("range"));
        assert_eq!(response.members.len(), 1, "the leader gets the members");
        let (member, generation) = (response.member_id, response.generation_id);

        let version = version.min(ApiKey::SyncGroup.versions().max);
        let sync = SyncGroupRequest {
            group_id: group.clone(),
            generation_id: generation,
            member_id: member.clone(),
            protocol_type: (version >= 5).then(|| "consumer".into()),
            protocol_name: (version >= 5).then(|| "range".into()),
            assignments: vec![SyncGroupRequestAssignment {
                member_id: member.clone(),
                assignment: Bytes::from_static(b"mine"),
                ..Default::default()
            }],
            ..Default::default()
        };
        let response = session.call(sync, version).await;
        none(response.error_code, ApiKey::SyncGroup, version);
        assert_eq!(&response.assignment[..], b"mine");

        let version = version.min(ApiKey::Heartbeat.versions().max);
        let beat = HeartbeatRequest {
            group_id: group.clone(),
            generation_id: generation,
            member_id: member.clone(),
            ..Default::default()
        };
        let response = session.call(beat, version).await;
        none(response.error_code, ApiKey::Heartbeat, version);
    }
    for version in versions::<DescribeGroupsRequest>() {
        let request = DescribeGroupsRequest {
            groups: vec!["joined-9".into(), "missing".into()],
            ..Default::default()
        };
        let response = session.call(request, version).await;
        none(
            response.groups[0].error_code,
            ApiKey::DescribeGroups,
            version,
        );
        assert_eq!(response.groups[0].group_state, "Stable");
        assert_eq!(response.groups[0].members.len(), 1);
        assert_eq!(response.groups[1].group_state, "Dead");
    }
    for version in versions::<ListGroupsRequest>() {
        let response = session.call(ListGroupsRequest::default(), version).await;
        none(response.error_code, ApiKey::ListGroups, version);
        assert_eq!(response.groups.len(), 10);
    }
    for version in versions::<LeaveGroupRequest>() {
        let group = Str::from(format!("joined-{version}"));
        let described = DescribeGroupsRequest {
            groups: vec![group.clone()],
            ..Default::default()
        };
        let described = session.call(described, 5).await;
        let member_id = described.groups[0].members[0].member_id.clone();
        let mut request = LeaveGroupRequest {
            group_id: group,
            ..Default::default()
        };
        if version >= 3 {
            request.members = vec![MemberIdentity {
                member_id,
                ..Default::default()
            }];
        } else {
            request.member_id = member_id;
        }
        let response = session.call(request, version).await;
        none(response.error_code, ApiKey::LeaveGroup, version);
        for member in &response.members {
            none(member.error_code, ApiKey::LeaveGroup, version);
        }
    }
    session.broker.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn offsets() {
    let session = Session::start().await;
    // As every client does first; it makes `__consumer_offsets`.
    let find = FindCoordinatorRequest {
        coordinator_keys: vec!["g".into()],
        ..Default::default()
    };
    let found = session.call(find, 6).await;
    none(found.coordinators[0].error_code, ApiKey::FindCoordinator, 6);
    for version in versions::<OffsetCommitRequest>() {
        let request = OffsetCommitRequest {
            group_id: "g".into(),
            topics: vec![OffsetCommitRequestTopic {
                name: "t".into(),
                topic_id: session.topic_id,
                partitions: vec![OffsetCommitRequestPartition {
                    partition_index: 0,
                    committed_offset: i64::from(version),
                    committed_metadata: Some("note".into()),
                    ..Default::default()
                }],
                ..Default::default()
            }],
            ..Default::default()
        };
        let response = session.call(request, version).await;
        let partition = &response.topics[0].partitions[0];
        none(partition.error_code, ApiKey::OffsetCommit, version);
    }
    let newest = i64::from(ApiKey::OffsetCommit.versions().max);
    for version in versions::<OffsetFetchRequest>() {
        for all in [false, true] {
            if all && version < 2 {
                continue;
            }
            let mut request = OffsetFetchRequest::default();
            if version >= 8 {
                let topics = vec![OffsetFetchRequestTopics {
                    name: "t".into(),
                    topic_id: session.topic_id,
                    partition_indexes: vec![0],
                    ..Default::default()
                }];
                request.groups = vec![OffsetFetchRequestGroup {
                    group_id: "g".into(),
                    topics: (!all).then_some(topics),
                    ..Default::default()
                }];
            } else {
                let topics = vec![OffsetFetchRequestTopic {
                    name: "t".into(),
                    partition_indexes: vec![0],
                    ..Default::default()
                }];
                request.group_id = "g".into();
                request.topics = (!all).then_some(topics);
            }
            let response = session.call(request, version).await;
            none(response.error_code, ApiKey::OffsetFetch, version);
            let (code, offset, metadata) = match response.groups.first() {
                Some(group) => {
                    none(group.error_code, ApiKey::OffsetFetch, version);
                    let found = &group.topics[0].partitions[0];
                    (
                        found.error_code,
                        found.committed_offset,
                        found.metadata.clone(),
                    )
                }
                None => {
                    let found = &response.topics[0].partitions[0];
                    (
                        found.error_code,
                        found.committed_offset,
                        found.metadata.clone(),
                    )
                }
            };
            none(code, ApiKey::OffsetFetch, version);
            assert_eq!(offset, newest, "{version}");
            assert_eq!(metadata.as_deref(), Some("note"), "{version}");
        }
    }
    for version in versions::<OffsetDeleteRequest>() {
        let request = OffsetDeleteRequest {
            group_id: "g".into(),
            topics: vec![OffsetDeleteRequestTopic {
                name: "t".into(),
                partitions: vec![OffsetDeleteRequestPartition {
                    partition_index: 0,
                    ..Default::default()
                }],
                ..Default::default()
            }],
            ..Default::default()
        };
        let response = session.call(request, version).await;
        none(response.error_code, ApiKey::OffsetDelete, version);
        let partition = &response.topics[0].partitions[0];
        none(partition.error_code, ApiKey::OffsetDelete, version);
    }
    for version in versions::<DeleteGroupsRequest>() {
        let group = Str::from(format!("deleted-{version}"));
        let commit = OffsetCommitRequest {
            group_id: group.clone(),
            topics: vec![OffsetCommitRequestTopic {
                name: "t".into(),
                partitions: vec![Default::default()],
                ..Default::default()
            }],
            ..Default::default()
        };
        session.call(commit, 9).await;
        let request = DeleteGroupsRequest {
            groups_names: vec![group],
            ..Default::default()
        };
        let response = session.call(request, version).await;
        none(
            response.results[0].error_code,
            ApiKey::DeleteGroups,
            version,
        );
    }
    session.broker.shutdown().await;
}
