//! The consumer group protocol (KIP-848): the coordinator assigns, and members follow by heartbeats.
//!
//! A group has an epoch, which grows with everything that asks for a new assignment: members that
//! come, go or change what they subscribe to, and topics that change. The target assignment is
//! computed for an epoch. Each member is led to it on its own, by its heartbeats: first it gives up
//! what it shall not keep, then it gets what others have given up.
//!
//! - [`group`]: the data of a group, and which of it the log does not have yet
//! - [`member`]: the data of a member
//! - [`heartbeat`]: joining, staying, leaving
//! - [`subscription`]: what members subscribe to, by name and by regular expression
//! - [`target`]: epochs and the target assignment
//! - [`reconcile`]: a member's way to the target assignment
//! - [`fence`]: members that leave or are thrown out
//! - [`classic_member`]: members that speak the classic protocol
//! - [`migrate`]: classic groups that become groups of this protocol, and back
//! - [`records`]: how it is all kept in the log
//! - [`assignor`]: who shall have what

mod assignor;
mod classic_member;
mod fence;
mod group;
mod heartbeat;
mod member;
mod migrate;
mod reconcile;
mod records;
mod subscription;
mod target;

#[cfg(test)]
mod tests;

pub use assignor::{Assignor, Partitions};
pub(in crate::group) use classic_member::{heartbeat, join, leave, sync};
pub(in crate::group) use fence::tick;
pub(in crate::group) use group::{ConsumerGroup, Key};
pub(in crate::group) use heartbeat::on_heartbeat;
pub(in crate::group) use migrate::{not_converted, take_back_empty};
pub use records::ConsumerRecord;
