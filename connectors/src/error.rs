//! What can go wrong in a connector, with the place and the way out.

use std::path::PathBuf;

use thalweg_log::client::ClientError;
use thalweg_schema::FormatError;

/// A connector could not be made, or stopped.
#[derive(Debug, thiserror::Error)]
pub enum ConnectorError {
    /// No connector of this name.
    #[error("unknown connector {name:?}{hint}; known are {known}")]
    UnknownConnector {
        /// What was asked for.
        name: String,
        /// The nearest known name, as a question, or nothing.
        hint: String,
        /// All that are known.
        known: &'static str,
    },
    /// The connector has no such option.
    #[error("connector {connector} has no option {option:?}{hint}")]
    UnknownOption {
        /// The connector.
        connector: &'static str,
        /// The option asked for.
        option: String,
        /// The nearest known option, as a question, or nothing.
        hint: String,
    },
    /// An option is missing or has a value it cannot take.
    #[error("connector {connector}, option {option}: {what}")]
    BadOption {
        /// The connector.
        connector: &'static str,
        /// The option.
        option: &'static str,
        /// What is wrong, and what would be right.
        what: String,
    },
    /// The format cannot carry the columns.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// The operating system refused.
    #[error("cannot {what} {path}: {source}")]
    Io {
        /// What was tried: "open", "read" …
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// A record is not what the source declares, and the source is told to stop at such.
    #[error("{place}: {what}. Mend it, or set on_error = 'skip' to pass over such records")]
    Malformed {
        /// File and line.
        place: String,
        /// What is wrong with the record.
        what: String,
    },
    /// The file does not fit what the source declares or remembers.
    #[error("{path}: {what}")]
    File {
        /// The file.
        path: PathBuf,
        /// What does not fit, and the way out.
        what: String,
    },
    /// The log refused.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The connector's own task ended before its work did.
    #[error("the task of connector {name} ended: {what}")]
    Task {
        /// The connector's name.
        name: String,
        /// Why.
        what: String,
    },
}

impl ConnectorError {
    /// Whether trying again later may succeed without anyone mending something.
    pub fn is_retriable(&self) -> bool {
        match self {
            Self::Io { .. } => true,
            Self::Client(error) => error.is_retriable(),
            _ => false,
        }
    }
}
