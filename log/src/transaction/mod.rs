//! The transaction coordinator, as a sans-IO state machine.
//!
//! [`Coordinator::step`] takes an [`Event`] and the time and returns [`Action`]s: answers to give,
//! records to write to `__transaction_state`, markers to write to the partitions of a transaction.
//! It has no clock, no socket and no randomness of its own, so that the broker and a seeded
//! simulation drive the same code.

mod coordinator;
mod end;
mod init;
mod metadata;
mod partitions;
mod records;
mod types;

#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;

pub use coordinator::Coordinator;
pub use metadata::TransactionMetadata;
pub use records::{TransactionRecord, TransactionRecordError};
pub use types::{
    Action, AddPartitions, AllocationId, End, Event, Init, Markers, MarkersId, Reply, Token,
    TopicPartition, TransactionConfig, TransactionState, WriteId,
};
