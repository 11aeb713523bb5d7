//! Consumer groups and their offsets: the classic group protocol and the consumer protocol of
//! KIP-848, as a sans-IO state machine.
//!
//! [`Coordinator::step`] takes an [`Event`] and the time and returns [`Action`]s: answers to give
//! and records to write to `__consumer_offsets`. It has no clock, no socket and no randomness of
//! its own, so that the broker and a seeded simulation drive the same code.

mod classic;
mod consumer;
mod coordinator;
mod groups;
mod offsets;
mod records;
mod topics;
mod types;

#[cfg(test)]
mod tests;

pub use consumer::{Assignor, ConsumerRecord, Partitions};
pub use coordinator::Coordinator;
pub use records::{GroupRecord, GroupRecordError, StoredGroup, StoredMember};
pub use topics::Topics;
pub use types::{
    Action, Commit, CommittedOffset, ConsumerBeat, ConsumerGroupConfig, ConsumerGroupDescription,
    ConsumerGroupState, ConsumerHeartbeat, ConsumerMemberDescription, Event, GroupConfig,
    GroupDescription, GroupListing, GroupOverrides, GroupState, GroupType, Heartbeat, Join, Joined,
    Leaver, MemberDescription, Producer, Refused, Reply, Sync, Synced, Token, TopicPartition,
    WriteId,
};
