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

mod api_versions;
mod consumer_protocol;
mod create_partitions;
mod create_topics;
mod delete_groups;
mod delete_records;
mod delete_topics;
mod describe_cluster;
mod describe_configs;
mod describe_groups;
mod describe_topic_partitions;
mod fetch;
mod find_coordinator;
mod group_records;
mod heartbeat;
mod incremental_alter_configs;
mod init_producer_id;
mod join_group;
mod leave_group;
mod list_groups;
mod list_offsets;
mod metadata;
mod offset_commit;
mod offset_delete;
mod offset_fetch;
mod produce;
mod sync_group;

pub use api_versions::*;
pub use consumer_protocol::*;
pub use create_partitions::*;
pub use create_topics::*;
pub use delete_groups::*;
pub use delete_records::*;
pub use delete_topics::*;
pub use describe_cluster::*;
pub use describe_configs::*;
pub use describe_groups::*;
pub use describe_topic_partitions::*;
pub use fetch::*;
pub use find_coordinator::*;
pub use group_records::*;
pub use heartbeat::*;
pub use incremental_alter_configs::*;
pub use init_producer_id::*;
pub use join_group::*;
pub use leave_group::*;
pub use list_groups::*;
pub use list_offsets::*;
pub use metadata::*;
pub use offset_commit::*;
pub use offset_delete::*;
pub use offset_fetch::*;
pub use produce::*;
pub use sync_group::*;
