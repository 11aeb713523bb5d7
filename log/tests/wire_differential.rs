//! Our codec against the `kafka-protocol` crate's, for every message and every version that both know.
//!
//! Random messages are made as bytes from the schema. Both codecs decode them, must show the same fields with
//! the same values, and must encode them to the same bytes; encoded in another version, both must refuse or
//! give the same bytes. `kafka-protocol` 0.18 lacks ListOffsets 11, OffsetCommit request 10 and OffsetFetch
//! request 10, WriteTxnMarkers 2, DescribeLogDirs 5 and AddRaftVoter 1; these are covered by our own round trip, as are all others once more.

mod wire_support;

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages as theirs;
use kafka_protocol::protocol::{Decodable, Encodable, Message as TheirMessage};
use thalweg_log::wire::{ApiKey, Message, Problem, RequestHeader, WireError, messages as ours};
use wire_support::Writer;

const ROUNDS: u64 = 12;

fn ours_to_bytes<M: Message>(message: &M, version: i16) -> Result<Bytes, WireError> {
    let mut bytes = BytesMut::new();
    Message::encode(message, &mut bytes, version)?;
    Ok(bytes.freeze())
}

fn theirs_to_bytes<M: Encodable>(message: &M, version: i16) -> Option<Bytes> {
    let mut bytes = BytesMut::new();
    message.encode(&mut bytes, version).ok()?;
    Some(bytes.freeze())
}

/// Kafka and we refuse to write null where the version has none, and to drop a tagged field that is not
/// ignorable; the other writes and drops.
fn stricter_than_theirs(error: &WireError) -> bool {
    match error.problem {
        Problem::Null(_) => true,
        Problem::NotInVersion(_) => {
            ["replica_state", "diverging_epoch", "snapshot_id"].contains(&error.field)
        }
        _ => false,
    }
}

/// Structs that are named alike in several of Kafka's messages have names of their own in ours.
const RENAMED: &[(&str, &str)] = &[
    ("ProduceNodeEndpoint", "NodeEndpoint"),
    ("FetchNodeEndpoint", "NodeEndpoint"),
    ("ProduceLeaderIdAndEpoch", "LeaderIdAndEpoch"),
    ("FetchLeaderIdAndEpoch", "LeaderIdAndEpoch"),
    ("ConsumerProtocolTopicPartition", "TopicPartition"),
    ("RequestCursor", "Cursor"),
    ("ResponseCursor", "Cursor"),
    ("LeaderEpochEndOffset", "EpochEndOffset"),
    ("AlterConfigsRequestResource", "AlterConfigsResource"),
    ("AlterConfigsRequestConfig", "AlterableConfig"),
    (
        "AlterConfigsResponseResource",
        "AlterConfigsResourceResponse",
    ),
    ("ElectLeadersTopicPartitions", "TopicPartitions"),
    ("ElectLeadersPartitionResult", "PartitionResult"),
    ("DescribeClientQuotasEntry", "EntryData"),
    ("DescribeClientQuotasEntity", "EntityData"),
    ("DescribeClientQuotasValue", "ValueData"),
    ("DescribeClientQuotasComponent", "ComponentData"),
    ("AlterClientQuotasEntry", "EntryData"),
    ("AlterClientQuotasEntity", "EntityData"),
    ("AlterClientQuotasOp", "OpData"),
    ("AlterClientQuotasEntryResult", "EntryData"),
    ("AlterClientQuotasEntityResult", "EntityData"),
    ("DescribeQuorumRequestTopic", "TopicData"),
    ("DescribeQuorumRequestPartition", "PartitionData"),
    ("DescribeQuorumTopic", "TopicData"),
    ("DescribeQuorumPartition", "PartitionData"),
    ("DescribeQuorumNode", "Node"),
    ("DescribeQuorumListener", "Listener"),
    ("DescribeQuorumReplicaState", "ReplicaState"),
    ("AddRaftVoterListener", "Listener"),
    ("DescribeProducersRequestTopic", "TopicRequest"),
    ("DescribeProducersTopic", "TopicResponse"),
    ("DescribeProducersPartition", "PartitionResponse"),
    ("DescribedTransaction", "TransactionState"),
    ("DescribedTransactionTopic", "TopicData"),
    ("ListedTransaction", "TransactionState"),
    (
        "ConsumerGroupHeartbeatRequestTopicPartitions",
        "TopicPartitions",
    ),
    ("ConsumerGroupHeartbeatTopicPartitions", "TopicPartitions"),
    ("ConsumerGroupHeartbeatAssignment", "Assignment"),
    ("ConsumerGroupDescribeTopicPartitions", "TopicPartitions"),
    ("ConsumerGroupDescribeAssignment", "Assignment"),
    ("ConsumerGroupDescribedGroup", "DescribedGroup"),
    ("ConsumerGroupDescribeMember", "Member"),
];

/// A debug print without what the two spell differently: wrapper types, prefixes of structs, and the fields
/// of versions that only one of them knows.
fn plain(print: String, unknown_to_one: &[&str]) -> String {
    let mut print = print
        .replace(['(', ')'], "")
        .replace(", unknown_tagged_fields: {}", "");
    for wrapper in [
        "TopicName",
        "BrokerId",
        "GroupId",
        "TransactionalId",
        "ProducerId",
    ] {
        print = print.replace(wrapper, "");
    }
    for (ours, theirs) in RENAMED {
        print = print.replace(&format!("{ours} {{"), &format!("{theirs} {{"));
    }
    print = print.replace("match_name: ", "_match: ");
    for field in unknown_to_one {
        print = print
            .replace(&format!("{field}, "), "")
            .replace(&format!(", {field}"), "");
    }
    print
}

fn compare<O, T>(unknown_to_one: &[&str])
where
    O: Message + std::fmt::Debug + PartialEq,
    T: TheirMessage + Encodable + Decodable + std::fmt::Debug + Default,
{
    let name = O::NAME;
    let min = O::VERSIONS.min;
    let both = O::VERSIONS.max.min(T::VERSIONS.max);
    assert!(T::VERSIONS.min <= min, "{name}");
    assert_eq!(
        plain(format!("{:?}", O::default()), unknown_to_one),
        plain(format!("{:?}", T::default()), unknown_to_one),
        "{name}: defaults"
    );
    for version in min..=O::VERSIONS.max {
        for round in 0..ROUNDS {
            let bytes = Bytes::from(Writer::new(O::VERSIONS, version, round).message(O::KIND));
            let message = O::decode_all(bytes.clone(), version)
                .unwrap_or_else(|error| panic!("{name} {version}: {error}"));
            assert_eq!(
                ours_to_bytes(&message, version).as_ref(),
                Ok(&bytes),
                "{name} {version}: {message:?}"
            );
            if version > both {
                continue;
            }
            let mut input = bytes.clone();
            let other = T::decode(&mut input, version)
                .unwrap_or_else(|error| panic!("{name} {version}: {error}: {message:?}"));
            assert!(input.is_empty(), "{name} {version}");
            assert_eq!(
                plain(format!("{message:?}"), unknown_to_one),
                plain(format!("{other:?}"), unknown_to_one),
                "{name} {version}"
            );
            assert_eq!(
                theirs_to_bytes(&other, version),
                Some(bytes),
                "{name} {version}: {other:?}"
            );
        }
    }
    // In a version that lacks some of the fields: they are dropped, or refused, as they are ignorable or not.
    for from in min..=both {
        for to in (min..=both).filter(|to| *to != from) {
            for round in 0..3 {
                let mut writer = Writer::new(O::VERSIONS, from, round);
                writer.unknown_tags = false;
                writer.longest_array = 1;
                let bytes = Bytes::from(writer.message(O::KIND));
                let message = O::decode_all(bytes.clone(), from).unwrap();
                let other = T::decode(&mut bytes.clone(), from).unwrap();
                let encoded = ours_to_bytes(&message, to);
                if encoded.as_ref().is_err_and(stricter_than_theirs) {
                    continue;
                }
                let theirs = theirs_to_bytes(&other, to);
                let hints = ["DescribeGroupsResponse", "ListOffsetsResponse"];
                if theirs.is_none() && hints.contains(&name) {
                    // We drop a hint where the version has no place for it.
                    continue;
                }
                assert_eq!(
                    encoded.ok(),
                    theirs,
                    "{name} from {from} to {to}: {message:?}"
                );
            }
        }
    }
}

macro_rules! compare {
    ($($test:ident: $request:ident $([$($no_request:literal)*])? $response:ident $([$($no_response:literal)*])?;)*) => {$(
        #[test]
        fn $test() {
            compare::<ours::$request, theirs::$request>(&[$($($no_request),*)?]);
            compare::<ours::$response, theirs::$response>(&[$($($no_response),*)?]);
        }
    )*

        #[test]
        fn every_api_is_compared() {
            let apis = [$(<ours::$request as thalweg_log::wire::ApiMessage>::API),*];
            assert_eq!(apis.as_slice(), ApiKey::ALL);
        }
    };
}

compare! {
    produce: ProduceRequest ProduceResponse;
    fetch: FetchRequest FetchResponse;
    list_offsets: ListOffsetsRequest ListOffsetsResponse;
    metadata: MetadataRequest MetadataResponse;
    offset_commit: OffsetCommitRequest ["topic_id: 00000000-0000-0000-0000-000000000000"] OffsetCommitResponse;
    offset_fetch: OffsetFetchRequest ["topic_id: 00000000-0000-0000-0000-000000000000"] OffsetFetchResponse;
    find_coordinator: FindCoordinatorRequest FindCoordinatorResponse;
    join_group: JoinGroupRequest JoinGroupResponse;
    heartbeat: HeartbeatRequest HeartbeatResponse;
    leave_group: LeaveGroupRequest LeaveGroupResponse;
    sync_group: SyncGroupRequest SyncGroupResponse;
    describe_groups: DescribeGroupsRequest DescribeGroupsResponse;
    list_groups: ListGroupsRequest ListGroupsResponse;
    sasl_handshake: SaslHandshakeRequest SaslHandshakeResponse;
    api_versions: ApiVersionsRequest ApiVersionsResponse;
    create_topics: CreateTopicsRequest CreateTopicsResponse;
    delete_topics: DeleteTopicsRequest DeleteTopicsResponse;
    delete_records: DeleteRecordsRequest DeleteRecordsResponse;
    init_producer_id: InitProducerIdRequest ["enable_2_pc: false" "keep_prepared_txn: false"] InitProducerIdResponse ["ongoing_txn_producer_id: -1" "ongoing_txn_producer_epoch: -1"];
    offset_for_leader_epoch: OffsetForLeaderEpochRequest OffsetForLeaderEpochResponse;
    add_partitions_to_txn: AddPartitionsToTxnRequest AddPartitionsToTxnResponse;
    add_offsets_to_txn: AddOffsetsToTxnRequest AddOffsetsToTxnResponse;
    end_txn: EndTxnRequest EndTxnResponse;
    write_txn_markers: WriteTxnMarkersRequest ["transaction_version: 0"] WriteTxnMarkersResponse;
    txn_offset_commit: TxnOffsetCommitRequest TxnOffsetCommitResponse;
    describe_configs: DescribeConfigsRequest DescribeConfigsResponse;
    alter_configs: AlterConfigsRequest AlterConfigsResponse;
    alter_replica_log_dirs: AlterReplicaLogDirsRequest AlterReplicaLogDirsResponse;
    describe_log_dirs: DescribeLogDirsRequest DescribeLogDirsResponse ["is_cordoned: false"];
    sasl_authenticate: SaslAuthenticateRequest SaslAuthenticateResponse;
    create_partitions: CreatePartitionsRequest CreatePartitionsResponse;
    delete_groups: DeleteGroupsRequest DeleteGroupsResponse;
    elect_leaders: ElectLeadersRequest ElectLeadersResponse;
    incremental_alter_configs: IncrementalAlterConfigsRequest IncrementalAlterConfigsResponse;
    alter_partition_reassignments: AlterPartitionReassignmentsRequest AlterPartitionReassignmentsResponse;
    list_partition_reassignments: ListPartitionReassignmentsRequest ListPartitionReassignmentsResponse;
    offset_delete: OffsetDeleteRequest OffsetDeleteResponse;
    describe_client_quotas: DescribeClientQuotasRequest DescribeClientQuotasResponse;
    alter_client_quotas: AlterClientQuotasRequest AlterClientQuotasResponse;
    describe_user_scram_credentials: DescribeUserScramCredentialsRequest DescribeUserScramCredentialsResponse;
    describe_quorum: DescribeQuorumRequest DescribeQuorumResponse;
    update_features: UpdateFeaturesRequest UpdateFeaturesResponse;
    describe_cluster: DescribeClusterRequest DescribeClusterResponse;
    describe_producers: DescribeProducersRequest DescribeProducersResponse;
    unregister_broker: UnregisterBrokerRequest UnregisterBrokerResponse;
    describe_transactions: DescribeTransactionsRequest DescribeTransactionsResponse;
    list_transactions: ListTransactionsRequest ListTransactionsResponse;
    consumer_group_heartbeat: ConsumerGroupHeartbeatRequest ConsumerGroupHeartbeatResponse;
    consumer_group_describe: ConsumerGroupDescribeRequest ConsumerGroupDescribeResponse;
    list_config_resources: ListConfigResourcesRequest ListConfigResourcesResponse;
    describe_topic_partitions: DescribeTopicPartitionsRequest DescribeTopicPartitionsResponse;
    add_raft_voter: AddRaftVoterRequest ["ack_when_committed: true"] AddRaftVoterResponse;
    remove_raft_voter: RemoveRaftVoterRequest RemoveRaftVoterResponse;
}

#[test]
fn end_of_transaction_marker() {
    compare::<ours::EndTxnMarker, theirs::EndTxnMarker>(&[]);
}

/// The other prefixes the two with the version inside its codec, or not at all; the bytes of the body agree.
#[test]
fn consumer_protocol() {
    const NO: &[&str] = &[];
    compare::<ours::ConsumerProtocolSubscription, theirs::ConsumerProtocolSubscription>(NO);
    compare::<ours::ConsumerProtocolAssignment, theirs::ConsumerProtocolAssignment>(NO);
}

#[test]
fn request_headers() {
    for (api, version) in [
        (ApiKey::Produce, 3),
        (ApiKey::Produce, 13),
        (ApiKey::ApiVersions, 3),
        (ApiKey::OffsetDelete, 0),
    ] {
        for client_id in [None, Some("Kunde".into())] {
            let header = RequestHeader::new(api, version, -7, client_id);
            let mut encoder = thalweg_log::wire::codec::Encoder::contiguous(
                BytesMut::new(),
                thalweg_log::wire::codec::Version {
                    number: 0,
                    flexible: false,
                },
            );
            header.encode(&mut encoder).unwrap();
            let mut bytes = encoder.into_buffer().freeze();
            let (again, rest) = RequestHeader::decode(bytes.clone()).unwrap();
            assert_eq!((again, rest), (header.clone(), Bytes::new()));
            let other =
                theirs::RequestHeader::decode(&mut bytes, api.request_header_version(version))
                    .unwrap();
            assert_eq!(other.request_api_key, api.key());
            assert_eq!(other.request_api_version, version);
            assert_eq!(other.correlation_id, -7);
            assert_eq!(other.client_id.as_deref(), header.client_id.as_deref());
        }
    }
}

/// The header versions of the two catalogues agree.
#[test]
fn header_versions() {
    for api in ApiKey::ALL {
        let other = theirs::ApiKey::try_from(api.key()).unwrap();
        let versions = api.versions();
        for version in versions.min..=versions.max {
            assert_eq!(
                api.request_header_version(version),
                other.request_header_version(version),
                "{api:?} {version}"
            );
            assert_eq!(
                api.response_header_version(version),
                other.response_header_version(version),
                "{api:?} {version}"
            );
        }
    }
}
