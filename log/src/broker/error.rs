//! Why a broker could not start or listen.

use crate::config::ConfigError;
use crate::controller::QuorumError;
use crate::storage::StorageError;

/// Why a broker could not start, listen or stop.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BrokerError {
    /// The configuration is not understood.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The data folder cannot be used: in use, not writable, of another node, corrupt.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The metadata log cannot be used.
    #[error(transparent)]
    Quorum(#[from] QuorumError),
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {reason}")]
    Listen {
        /// The address.
        address: String,
        /// What the system said, and what to do.
        reason: String,
    },
    /// The broker's threads could not be started.
    #[error("the broker's threads could not be started: {0}")]
    Runtime(std::io::Error),
    /// The broker is shut down.
    #[error("the broker is shut down")]
    ShutDown,
}
