//! The messages of each API, one file an API, named as Kafka names them.
//!
//! A struct's fields follow the wire. Their defaults are Kafka's; note that a nullable field without a
//! declared default starts *empty* (`Some("")`), not null. What the documentation of a field says of versions
//! is what the codec does: a field that the version in use lacks must hold its default, or is dropped silently
//! if it is `ignorable`.
//!
//! A few fields are ignorable here and not in Kafka, because they are hints that a handler can give without
//! looking at the version: `current_leader` and `node_endpoints` of Produce and Fetch responses, `leader_epoch`
//! of ListOffsets responses, `error_message` of DescribeGroups responses. The bytes are the same.

mod add_offsets_to_txn;
mod add_partitions_to_txn;
mod add_raft_voter;
mod alter_client_quotas;
mod alter_configs;
mod alter_partition_reassignments;
mod alter_replica_log_dirs;
mod api_versions;
mod consumer_group_describe;
mod consumer_group_heartbeat;
mod consumer_group_records;
mod consumer_protocol;
mod create_partitions;
mod create_topics;
mod delete_groups;
mod delete_records;
mod delete_topics;
mod describe_client_quotas;
mod describe_cluster;
mod describe_configs;
mod describe_groups;
mod describe_log_dirs;
mod describe_producers;
mod describe_quorum;
mod describe_topic_partitions;
mod describe_transactions;
mod describe_user_scram_credentials;
mod elect_leaders;
mod end_txn;
mod fetch;
mod find_coordinator;
mod group_records;
mod heartbeat;
mod incremental_alter_configs;
mod init_producer_id;
mod join_group;
mod leave_group;
mod list_config_resources;
mod list_groups;
mod list_offsets;
mod list_partition_reassignments;
mod list_transactions;
mod metadata;
mod offset_commit;
mod offset_delete;
mod offset_fetch;
mod offset_for_leader_epoch;
mod produce;
mod remove_raft_voter;
mod sasl_authenticate;
mod sasl_handshake;
mod sync_group;
mod transaction_records;
mod txn_offset_commit;
mod unregister_broker;
mod update_features;
mod write_txn_markers;

pub use add_offsets_to_txn::*;
pub use add_partitions_to_txn::*;
pub use add_raft_voter::*;
pub use alter_client_quotas::*;
pub use alter_configs::*;
pub use alter_partition_reassignments::*;
pub use alter_replica_log_dirs::*;
pub use api_versions::*;
pub use consumer_group_describe::*;
pub use consumer_group_heartbeat::*;
pub use consumer_group_records::*;
pub use consumer_protocol::*;
pub use create_partitions::*;
pub use create_topics::*;
pub use delete_groups::*;
pub use delete_records::*;
pub use delete_topics::*;
pub use describe_client_quotas::*;
pub use describe_cluster::*;
pub use describe_configs::*;
pub use describe_groups::*;
pub use describe_log_dirs::*;
pub use describe_producers::*;
pub use describe_quorum::*;
pub use describe_topic_partitions::*;
pub use describe_transactions::*;
pub use describe_user_scram_credentials::*;
pub use elect_leaders::*;
pub use end_txn::*;
pub use fetch::*;
pub use find_coordinator::*;
pub use group_records::*;
pub use heartbeat::*;
pub use incremental_alter_configs::*;
pub use init_producer_id::*;
pub use join_group::*;
pub use leave_group::*;
pub use list_config_resources::*;
pub use list_groups::*;
pub use list_offsets::*;
pub use list_partition_reassignments::*;
pub use list_transactions::*;
pub use metadata::*;
pub use offset_commit::*;
pub use offset_delete::*;
pub use offset_fetch::*;
pub use offset_for_leader_epoch::*;
pub use produce::*;
pub use remove_raft_voter::*;
pub use sasl_authenticate::*;
pub use sasl_handshake::*;
pub use sync_group::*;
pub use transaction_records::*;
pub use txn_offset_commit::*;
pub use unregister_broker::*;
pub use update_features::*;
pub use write_txn_markers::*;
