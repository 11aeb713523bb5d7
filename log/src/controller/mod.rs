//! The controller: what the cluster is, decided by a quorum, in one replicated log.
//!
//! [`MetadataImage`] is the state machine: plain data and a deterministic
//! [`apply`](MetadataImage::apply), with no I/O and no clock. A [`Quorum`] orders [`Command`]s,
//! makes them durable and folds them into the image; the one implementation runs openraft on the
//! partition `__cluster_metadata-0` of our own storage. A single node is a quorum of one and takes
//! the same path.

mod codec;
mod command;
mod features;
mod image;
mod quorum;
mod quotas;
mod raft;

pub use codec::DecodeError;
pub use command::{COMMAND_VERSION, Command, ConfigChange, ConfigScope, Endpoint};
pub use features::{
    GROUP_VERSION, METADATA_VERSION, SUPPORTED_FEATURES, SupportedFeature, TRANSACTION_VERSION,
    initial_features, supported_feature,
};
pub use image::{BrokerImage, MetadataImage, Outcome, PartitionImage, Refusal, TopicImage};
pub use quorum::{AppliedImage, Quorum, QuorumError};
pub use quotas::{QuotaChange, QuotaEntity, QuotaValue, Quotas};
pub use raft::{RaftQuorum, RaftQuorumConfig, describe_metadata_record};
