//! What can go wrong in a streams program: where, what, and the way out.

use crate::task::TaskId;
use thalweg_state::StateError;

/// The cause of an error in the words of the code that failed.
pub type Cause = Box<dyn std::error::Error + Send + Sync + 'static>;

/// An error of a topology, a task, or the runtime that drives it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StreamsError {
    /// The topology contradicts itself or the topics it names.
    #[error("the topology is not valid: {0}")]
    Topology(String),
    /// A setting is wrong.
    #[error("configuration: {0}")]
    Config(String),
    /// A record's bytes do not form a key or value of the declared type.
    #[error("cannot read the {part} of {topic}-{partition} at offset {offset}: {cause}")]
    Deserialize {
        /// `key`, `value` or `header`.
        part: &'static str,
        /// The topic.
        topic: String,
        /// The partition.
        partition: i32,
        /// The record's offset.
        offset: i64,
        /// What the serde said.
        cause: Cause,
    },
    /// A key or value cannot be written.
    #[error("cannot write the {part} of a record for `{topic}`: {cause}")]
    Serialize {
        /// `key` or `value`.
        part: &'static str,
        /// The topic or store it was meant for.
        topic: String,
        /// What the serde said.
        cause: Cause,
    },
    /// A node failed.
    #[error("node `{node}`: {cause}")]
    Node {
        /// The node's name.
        node: String,
        /// What it said.
        cause: Cause,
    },
    /// A store failed.
    #[error(transparent)]
    State(#[from] StateError),
    /// A name that no store of the sub-topology has.
    #[error("there is no store `{name}` here (there are: {known})")]
    UnknownStore {
        /// The name asked for.
        name: String,
        /// The names there are.
        known: String,
    },
    /// The log or its client failed.
    #[error("{during}: {cause}")]
    Log {
        /// What was being done.
        during: String,
        /// What the client said.
        cause: Cause,
    },
    /// The open transaction cannot be committed: the worker goes back to its last commit.
    #[error("{during}: {cause}; the transaction is aborted and its work done again")]
    Transaction {
        /// What was being done.
        during: String,
        /// What the client said.
        cause: Cause,
    },
    /// Nothing has been committed for `task.timeout.ms`: each time, the transaction had to be
    /// aborted and the work done again.
    #[error(
        "nothing was committed for {} ms, in {attempts} attempts; `task.timeout.ms` is how long that may go on. The last reason: {cause}", lasted.as_millis()
    )]
    Stalled {
        /// How often the worker went back to its last commit.
        attempts: u32,
        /// Since the first time.
        lasted: std::time::Duration,
        /// Why it did the last time.
        cause: Box<StreamsError>,
    },
    /// A task failed, and its job with it.
    #[error("task {task} failed: {cause}")]
    Task {
        /// The task.
        task: TaskId,
        /// Why.
        cause: Box<StreamsError>,
    },
    /// A node panicked; its job has failed, and nothing else.
    #[error("a node panicked: {0}")]
    Panic(String),
    /// Stored bytes of the runtime itself do not decode.
    #[error("cannot read {what}: {reason}")]
    Format {
        /// What was being read.
        what: &'static str,
        /// Why it does not decode.
        reason: String,
    },
    /// The job has been closed or has failed.
    #[error("the job `{application_id}` is {state}{}", reason.as_ref().map(|r| format!(": {r}")).unwrap_or_default())]
    NotRunning {
        /// The job.
        application_id: String,
        /// Its state.
        state: String,
        /// Why, if it failed.
        reason: Option<String>,
    },
}

impl StreamsError {
    /// An error of the node `node`.
    pub fn node(node: impl Into<String>, cause: impl Into<Cause>) -> Self {
        Self::Node {
            node: node.into(),
            cause: cause.into(),
        }
    }

    /// An error of the log while doing `during`.
    pub fn log(during: impl Into<String>, cause: impl Into<Cause>) -> Self {
        Self::Log {
            during: during.into(),
            cause: cause.into(),
        }
    }
}
