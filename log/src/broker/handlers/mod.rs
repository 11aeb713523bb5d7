//! Requests to answers, one file an API.

pub(super) mod add_offsets_to_txn;
pub(super) mod add_partitions_to_txn;
pub(super) mod alter_configs;
pub(super) mod alter_replica_log_dirs;
pub(super) mod api_versions;
pub(super) mod client_quotas;
pub(super) mod create_partitions;
pub(super) mod create_topics;
pub(super) mod delete_records;
pub(super) mod delete_topics;
pub(super) mod describe_cluster;
pub(super) mod describe_configs;
pub(super) mod describe_log_dirs;
pub(super) mod describe_producers;
pub(super) mod describe_quorum;
pub(super) mod describe_topic_partitions;
pub(super) mod describe_transactions;
pub(super) mod describe_user_scram_credentials;
pub(super) mod elect_leaders;
pub(super) mod end_txn;
pub(super) mod fetch;
pub(super) mod find_coordinator;
pub(super) mod incremental_alter_configs;
pub(super) mod init_producer_id;
pub(super) mod list_config_resources;
pub(super) mod list_offsets;
pub(super) mod list_transactions;
pub(super) mod metadata;
pub(super) mod offset_for_leader_epoch;
pub(super) mod partition_reassignments;
pub(super) mod produce;
pub(crate) mod produce_shape;
pub(super) mod raft_voters;
pub(super) mod sasl;
pub(super) mod unregister_broker;
pub(super) mod update_features;
pub(super) mod write_txn_markers;

use std::sync::Arc;

use super::core::{Context, Core};
use crate::net::Answer;
use crate::wire::{ApiKey, ErrorCode, Request, Response};

/// The same for a request that came over a connection: records may stay in their files.
pub(super) async fn answer(core: &Arc<Core>, cx: &Context, request: Request) -> Option<Answer> {
    match request {
        Request::Fetch(r) => {
            let (response, files) = fetch::answer(core, cx, r).await;
            let response = response.into();
            Some(Answer { response, files })
        }
        request => handle(core, cx, request).await.map(Answer::from),
    }
}

/// The APIs that this broker handles, each with its answer: what stands here is what it advertises.
macro_rules! handlers {
    ($core:ident, $cx:ident; $(Request::$api:ident($request:pat) => $answer:expr,)*) => {
        /// Whether the broker handles an API; it advertises exactly those.
        pub(super) const fn handles(api: ApiKey) -> bool {
            matches!(api, $(ApiKey::$api)|*)
        }

        /// Answers a request, or gives `None` if it is of an API that the broker does not [handle](handles).
        /// Whatever has an effect before the first wait has it before this returns `Pending` for the first
        /// time, so that requests polled one after the other take effect in order.
        pub(super) async fn handle(
            $core: &Arc<Core>,
            $cx: &Context,
            request: Request,
        ) -> Option<Response> {
            let response = match request {
                $(Request::$api($request) => $answer,)*
                #[allow(unreachable_patterns, reason = "there may be none that is not handled")]
                _ => return None,
            };
            Some(response)
        }
    };
}

handlers! {
    core, cx;
    Request::Produce(r) => produce::handle(core, cx, r).await.into(),
    Request::Fetch(r) => fetch::handle(core, cx, r).await.into(),
    Request::ListOffsets(r) => list_offsets::handle(core, cx, r).await.into(),
    Request::Metadata(r) => metadata::handle(core, cx, r).await.into(),
    Request::ApiVersions(r) => api_versions::handle(core, cx, &r).into(),
    Request::CreateTopics(r) => create_topics::handle(core, cx, r).await.into(),
    Request::DeleteTopics(r) => delete_topics::handle(core, cx, r).await.into(),
    Request::DeleteRecords(r) => delete_records::handle(core, r).await.into(),
    Request::InitProducerId(r) => init_producer_id::handle(core, cx, r).await.into(),
    Request::AddPartitionsToTxn(r) => add_partitions_to_txn::handle(core, cx, r).await.into(),
    Request::AddOffsetsToTxn(r) => add_offsets_to_txn::handle(core, cx, r).await.into(),
    Request::EndTxn(r) => end_txn::handle(core, cx, r).await.into(),
    Request::WriteTxnMarkers(r) => write_txn_markers::handle(core, r).await.into(),
    Request::DescribeTransactions(r) => describe_transactions::handle(core, r).into(),
    Request::ListTransactions(r) => list_transactions::handle(core, r).into(),
    Request::DescribeConfigs(r) => describe_configs::handle(core, &r).into(),
    Request::AlterReplicaLogDirs(r) => alter_replica_log_dirs::handle(core, r).into(),
    Request::DescribeLogDirs(r) => describe_log_dirs::handle(core, r).await.into(),
    Request::CreatePartitions(r) => create_partitions::handle(core, cx, r).await.into(),
    Request::IncrementalAlterConfigs(r) => incremental_alter_configs::handle(core, r).await.into(),
    Request::DescribeProducers(r) => describe_producers::handle(core, r).into(),
    Request::OffsetForLeaderEpoch(r) => offset_for_leader_epoch::handle(core, r).into(),
    Request::AlterConfigs(r) => alter_configs::handle(core, r).await.into(),
    Request::ListConfigResources(r) => list_config_resources::handle(core, cx, &r).into(),
    Request::DescribeCluster(r) => describe_cluster::handle(core, cx, &r).into(),
    Request::DescribeTopicPartitions(r) => describe_topic_partitions::handle(core, &r).into(),
    Request::FindCoordinator(r) => find_coordinator::handle(core, cx, r).await.into(),
    Request::OffsetCommit(r) => core.groups.offset_commit(core, cx, r).await.into(),
    Request::TxnOffsetCommit(r) => core.groups.txn_offset_commit(core, cx, r).await.into(),
    Request::OffsetFetch(r) => core.groups.offset_fetch(core, cx, r).into(),
    Request::JoinGroup(r) => core.groups.join(core, cx, r).await.into(),
    Request::SyncGroup(r) => core.groups.sync(core, r).await.into(),
    Request::Heartbeat(r) => core.groups.heartbeat(core, r).await.into(),
    Request::LeaveGroup(r) => core.groups.leave(core, cx, r).await.into(),
    Request::ConsumerGroupHeartbeat(r) => core.groups.consumer_heartbeat(core, cx, r).await.into(),
    Request::ConsumerGroupDescribe(r) => core.groups.consumer_describe(&r).into(),
    Request::DescribeGroups(r) => core.groups.describe(cx, &r).into(),
    Request::ListGroups(r) => core.groups.list(&r).into(),
    Request::DeleteGroups(r) => core.groups.delete(core, r).await.into(),
    Request::OffsetDelete(r) => core.groups.offset_delete(core, r).await.into(),
    Request::SaslHandshake(_) => sasl::handshake().into(),
    Request::SaslAuthenticate(_) => sasl::authenticate().into(),
    Request::ElectLeaders(r) => elect_leaders::handle(core, r).into(),
    Request::AlterPartitionReassignments(r) => partition_reassignments::alter(core, r).into(),
    Request::ListPartitionReassignments(_) => partition_reassignments::list().into(),
    Request::DescribeClientQuotas(r) => client_quotas::describe(core, &r).into(),
    Request::AlterClientQuotas(r) => client_quotas::alter(core, r).await.into(),
    Request::DescribeUserScramCredentials(r) => describe_user_scram_credentials::handle(r).into(),
    Request::DescribeQuorum(r) => describe_quorum::handle(core, cx.version, &r).into(),
    Request::UpdateFeatures(r) => update_features::handle(core, cx.version, r).await.into(),
    Request::UnregisterBroker(r) => unregister_broker::handle(core, r).await.into(),
    Request::AddRaftVoter(r) => raft_voters::add(core, &r).into(),
    Request::RemoveRaftVoter(r) => raft_voters::remove(core, &r).into(),
}

/// `PRODUCER_FENCED` in the words of a client that does not know it.
fn fenced(code: ErrorCode, knows: bool) -> ErrorCode {
    match code {
        ErrorCode::ProducerFenced if !knows => ErrorCode::InvalidProducerEpoch,
        code => code,
    }
}
