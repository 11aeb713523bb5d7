//! The controller: what the cluster is, decided by a quorum, in one replicated log.
//!
//! [`MetadataImage`] is the state machine: plain data and a deterministic
//! [`apply`](MetadataImage::apply), with no I/O and no clock. A [`Quorum`] orders [`Command`]s,
//! makes them durable and folds them into the image; the one implementation runs openraft on the
//! partition `__cluster_metadata-0` of our own storage. A single node is a quorum of one and takes
//! the same path.

mod codec;
mod command;
mod image;
mod quorum;
mod raft;

pub use codec::DecodeError;
pub use command::{COMMAND_VERSION, Command, ConfigChange, ConfigScope, Endpoint};
pub use image::{BrokerImage, MetadataImage, Outcome, PartitionImage, Refusal, TopicImage};
pub use quorum::{AppliedImage, Quorum, QuorumError};
pub use raft::{RaftQuorum, RaftQuorumConfig};
