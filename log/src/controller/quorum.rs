//! What the broker asks of the controller quorum, whatever consensus is behind it.

use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::watch;

use super::command::Command;
use super::image::{MetadataImage, Outcome};

/// The metadata at one index of the metadata log.
#[derive(Debug, Clone, Default)]
pub struct AppliedImage {
    /// The first index that is *not* applied yet (Kafka's metadata end offset).
    pub end: u64,
    /// The metadata.
    pub image: Arc<MetadataImage>,
}

/// Why a command could not be decided.
#[derive(Debug, Clone, thiserror::Error)]
pub enum QuorumError {
    /// This node is not the leader of the metadata quorum.
    #[error("this node does not lead the metadata quorum (leader: {leader:?})")]
    NotLeader {
        /// The leader, where known.
        leader: Option<i32>,
    },
    /// The quorum stopped: it was shut down, or its log failed.
    #[error("the metadata quorum has stopped: {0}")]
    Stopped(String),
    /// The quorum's files cannot be used.
    #[error("the metadata log cannot be used: {0}")]
    Storage(String),
}

/// A replicated, ordered, durable log of [`Command`]s and the image they fold to.
///
/// [`propose`](Quorum::propose) returns when the command is committed *and* applied here, so that a
/// following [`image`](Quorum::image) contains it.
#[async_trait]
pub trait Quorum: Send + Sync + 'static {
    /// Appends a command, waits until it is committed and applied, and returns the first index
    /// after it, with what it came to.
    async fn propose(&self, command: Command) -> Result<(u64, Outcome), QuorumError>;

    /// The newest applied metadata.
    fn image(&self) -> AppliedImage;

    /// Follows the applied metadata.
    fn watch(&self) -> watch::Receiver<AppliedImage>;

    /// The node that leads the quorum, as far as known here.
    fn leader(&self) -> Option<i32>;

    /// Stops taking part; what was acknowledged is durable.
    async fn shutdown(&self);
}
