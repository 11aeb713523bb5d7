//! What goes into the coordinator and what comes out of it.

use std::collections::BTreeSet;

use super::records::TransactionRecord;
use crate::wire::{ErrorCode, Str};

/// The coordinator's settings; the names are those of the broker's configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransactionConfig {
    /// `transaction.max.timeout.ms`
    pub max_timeout_ms: i32,
    /// `transactional.id.expiration.ms`
    pub id_expiration_ms: i64,
    /// `transaction.abort.timed.out.transaction.cleanup.interval.ms`
    pub abort_timed_out_interval_ms: i64,
    /// `transaction.remove.expired.transaction.cleanup.interval.ms`
    pub remove_expired_interval_ms: i64,
    /// How long to wait before what failed (a marker, the record that completes a transaction) is
    /// tried again.
    pub retry_backoff_ms: i64,
}

impl Default for TransactionConfig {
    fn default() -> Self {
        Self {
            max_timeout_ms: 900_000,
            id_expiration_ms: 7 * 24 * 3_600_000,
            abort_timed_out_interval_ms: 10_000,
            remove_expired_interval_ms: 3_600_000,
            retry_backoff_ms: 100,
        }
    }
}

/// Names a request, so that its answer finds its way back. Chosen by the caller, never reused.
pub type Token = u64;

/// Names a write to `__transaction_state`.
pub type WriteId = u64;

/// Names a round of markers.
pub type MarkersId = u64;

/// Names a wish for a producer id.
pub type AllocationId = u64;

/// A topic partition.
pub type TopicPartition = (Str, i32);

/// The state of a transactional id, by Kafka's names and numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TransactionState {
    /// There is a producer, but it has no transaction yet.
    Empty,
    /// A transaction has begun.
    Ongoing,
    /// The transaction will be committed, whatever happens: its markers are being written.
    PrepareCommit,
    /// The transaction will be aborted, whatever happens: its markers are being written.
    PrepareAbort,
    /// The last transaction was committed.
    CompleteCommit,
    /// The last transaction was aborted.
    CompleteAbort,
    /// The transactional id has expired and is about to be forgotten.
    Dead,
    /// An older producer is being fenced. Kept for its name and number: here fencing and the
    /// beginning of the abort are one step.
    PrepareEpochFence,
}

impl TransactionState {
    /// Every state.
    pub const ALL: [Self; 8] = [
        Self::Empty,
        Self::Ongoing,
        Self::PrepareCommit,
        Self::PrepareAbort,
        Self::CompleteCommit,
        Self::CompleteAbort,
        Self::Dead,
        Self::PrepareEpochFence,
    ];

    /// The number that stands in the log.
    pub fn id(self) -> i8 {
        match self {
            Self::Empty => 0,
            Self::Ongoing => 1,
            Self::PrepareCommit => 2,
            Self::PrepareAbort => 3,
            Self::CompleteCommit => 4,
            Self::CompleteAbort => 5,
            Self::Dead => 6,
            Self::PrepareEpochFence => 7,
        }
    }

    /// The state with this number.
    pub fn from_id(id: i8) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.id() == id)
    }

    /// Kafka's name of the state.
    pub fn name(self) -> &'static str {
        match self {
            Self::Empty => "Empty",
            Self::Ongoing => "Ongoing",
            Self::PrepareCommit => "PrepareCommit",
            Self::PrepareAbort => "PrepareAbort",
            Self::CompleteCommit => "CompleteCommit",
            Self::CompleteAbort => "CompleteAbort",
            Self::Dead => "Dead",
            Self::PrepareEpochFence => "PrepareEpochFence",
        }
    }

    /// The state with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.name() == name)
    }

    /// Whether the outcome is decided and its markers are on their way.
    pub fn is_prepared(self) -> bool {
        matches!(self, Self::PrepareCommit | Self::PrepareAbort)
    }

    /// Whether nothing is open, so that the transactional id may expire.
    pub fn is_idle(self) -> bool {
        matches!(
            self,
            Self::Empty | Self::CompleteCommit | Self::CompleteAbort
        )
    }
}

/// A producer asks for its id and a new epoch, which fences all older ones.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Init {
    /// Transactional id.
    pub transactional_id: Str,
    /// How long a transaction may take.
    pub timeout_ms: i32,
    /// The producer id and epoch that the producer believes to be current (KIP-360).
    pub expected: Option<(i64, i16)>,
}

/// A producer adds partitions to its transaction, which begins with the first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AddPartitions {
    /// Transactional id.
    pub transactional_id: Str,
    /// The producer's id.
    pub producer_id: i64,
    /// The producer's epoch.
    pub producer_epoch: i16,
    /// The partitions.
    pub partitions: BTreeSet<TopicPartition>,
    /// The version of transactions that the client speaks: 2 with KIP-890, else 0.
    pub version: i16,
}

/// A producer ends its transaction.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct End {
    /// Transactional id.
    pub transactional_id: Str,
    /// The producer's id.
    pub producer_id: i64,
    /// The producer's epoch.
    pub producer_epoch: i16,
    /// Commit, or abort.
    pub commit: bool,
    /// The version of transactions that the client speaks: 2 with KIP-890, else 0.
    pub version: i16,
}

/// What happens to the coordinator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Everything in the log was handed to [`Coordinator::load`](super::Coordinator::load): what
    /// was decided is now carried out.
    Loaded,
    /// InitProducerId.
    Init(Token, Init),
    /// AddPartitionsToTxn and its likes.
    AddPartitions(Token, AddPartitions),
    /// EndTxn.
    End(Token, End),
    /// A write was made (`Ok`), or could not be made.
    Persisted(WriteId, Result<(), ErrorCode>),
    /// A round of markers is over: how it went for each partition. A partition that is gone for
    /// good counts as done; one that is missing from the answer is tried again.
    Marked(MarkersId, Vec<(TopicPartition, ErrorCode)>),
    /// A new producer id, or none.
    Allocated(AllocationId, Result<i64, ErrorCode>),
    /// Time has passed.
    Tick,
}

/// An answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reply {
    /// To [`Event::Init`]: producer id and epoch.
    Initialized(Result<(i64, i16), ErrorCode>),
    /// To [`Event::AddPartitions`].
    Added(ErrorCode),
    /// To [`Event::End`]: the producer id and epoch of the next transaction; -1 before
    /// transactions v2.
    Ended(Result<(i64, i16), ErrorCode>),
}

impl Reply {
    /// What went wrong, if anything.
    pub fn error(&self) -> ErrorCode {
        match self {
            Self::Added(code) => *code,
            Self::Initialized(Ok(_)) | Self::Ended(Ok(_)) => ErrorCode::None,
            Self::Initialized(Err(code)) | Self::Ended(Err(code)) => *code,
        }
    }
}

/// The markers that end a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Markers {
    /// The producer.
    pub producer_id: i64,
    /// Its epoch; with transactions v2 one above that of the records.
    pub producer_epoch: i16,
    /// The coordinator's epoch.
    pub coordinator_epoch: i32,
    /// Commit, or abort.
    pub commit: bool,
    /// The version of transactions it was ended with, which says how the epoch is checked.
    pub version: i16,
    /// Where they go.
    pub partitions: Vec<TopicPartition>,
}

/// What the coordinator wants done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Answer a request.
    Reply(Token, Reply),
    /// Append records to `__transaction_state`, all or none, in the order of the actions, and tell
    /// with [`Event::Persisted`].
    Persist(WriteId, Vec<TransactionRecord>),
    /// Write markers and tell with [`Event::Marked`].
    WriteMarkers(MarkersId, Markers),
    /// Get a producer id and tell with [`Event::Allocated`].
    AllocateProducerId(AllocationId),
    /// A transactional id is no longer between two states: who was told `CONCURRENT_TRANSACTIONS`
    /// may try again.
    Settled(Str),
}
