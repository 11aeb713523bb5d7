//! Consumer groups and their offsets: the classic group protocol, as a sans-IO state machine.
//!
//! [`Coordinator::step`] takes an [`Event`] and the time and returns [`Action`]s: answers to give
//! and records to write to `__consumer_offsets`. It has no clock, no socket and no randomness of
//! its own, so that the broker and a seeded simulation drive the same code.

mod classic;
mod coordinator;
mod groups;
mod offsets;
mod records;
mod types;

#[cfg(test)]
mod tests;

pub use coordinator::Coordinator;
pub use records::{GroupRecord, GroupRecordError, StoredGroup, StoredMember};
pub use types::{
    Action, Commit, CommittedOffset, Event, GroupConfig, GroupDescription, GroupState, Heartbeat,
    Join, Joined, Leaver, MemberDescription, Producer, Reply, Sync, Synced, Token, TopicPartition,
    WriteId,
};
