//! What can go wrong with a connection.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use crate::wire::{ApiKey, WireError};

/// Why a connection failed or was closed.
///
/// It can be cloned, because one broken connection fails every request in flight on it.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum NetError {
    /// The operating system reported an error.
    #[error("{doing}: {source}")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// The error.
        source: Arc<io::Error>,
    },
    /// The other side closed the connection.
    #[error("the other side closed the connection")]
    Disconnected,
    /// The other side closed the connection in the middle of a frame.
    #[error("the other side closed the connection {missing} bytes before the end of a frame")]
    Truncated {
        /// Bytes that were still to come.
        missing: usize,
    },
    /// A frame claims a negative length: the other side does not speak this protocol.
    #[error(
        "a frame claims the length {0}; is the other side a Kafka client or broker without TLS?"
    )]
    NegativeLength(i32),
    /// A frame is longer than the limit.
    #[error("a frame of {length} bytes is longer than the limit of {limit} bytes ({setting})")]
    TooLong {
        /// The frame's length.
        length: usize,
        /// The limit.
        limit: usize,
        /// The configuration key that sets the limit.
        setting: &'static str,
    },
    /// The bytes of a frame are not the message they should be.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// A response carries a correlation id that no request in flight has.
    #[error("a response carries the correlation id {0}, which no request in flight has")]
    UnknownCorrelationId(i32),
    /// No answer in time. The connection is closed, because its answers come in order.
    #[error("no answer to {api:?} within {timeout:?}; the connection was closed")]
    TimedOut {
        /// The API that was asked.
        api: ApiKey,
        /// How long the caller was ready to wait.
        timeout: Duration,
    },
    /// The connection could not be made in time.
    #[error("could not connect to {address} within {timeout:?}")]
    ConnectTimedOut {
        /// Where to.
        address: String,
        /// How long it was tried.
        timeout: Duration,
    },
    /// The other side does not take what is written to it.
    #[error("the other side has not read its response for {waited:?} (connections.max.idle.ms)")]
    NotReading {
        /// How long it was tried.
        waited: Duration,
    },
    /// This side closed the connection.
    #[error("the connection was closed")]
    Closed,
}

impl NetError {
    pub(crate) fn io(doing: &'static str) -> impl FnOnce(io::Error) -> NetError {
        move |source| NetError::Io {
            doing,
            source: Arc::new(source),
        }
    }

    /// Whether the other side merely went away, which is no reason to complain.
    pub fn is_disconnect(&self) -> bool {
        match self {
            NetError::Disconnected | NetError::Truncated { .. } | NetError::Closed => true,
            NetError::Io { source, .. } => matches!(
                source.kind(),
                io::ErrorKind::ConnectionReset
                    | io::ErrorKind::BrokenPipe
                    | io::ErrorKind::ConnectionAborted
                    | io::ErrorKind::UnexpectedEof
            ),
            _ => false,
        }
    }
}
