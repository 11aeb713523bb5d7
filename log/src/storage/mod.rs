//! Segments, their indexes, the partition log, recovery and retention.
//!
//! A data folder looks like Kafka's, file by file:
//!
//! ```text
//! data/
//!   .lock                              one process at a time
//!   .kafka_cleanshutdown               the last shutdown was clean: nothing to recover
//!   meta.properties                    whose folder it is
//!   recovery-point-offset-checkpoint   below these offsets everything was fsynced
//!   log-start-offset-checkpoint        the first offsets that may be read
//!   orders-0/
//!     00000000000000000000.log         record batches, byte for byte as on the wire
//!     00000000000000000000.index       sparse: offset to position
//!     00000000000000000000.timeindex   sparse: timestamp to offset
//!     00000000000000000000.txnindex    the aborted transactions, where there are any
//!     00000000000000000000.gaps        which offsets compaction has taken out (ours; Kafka passes it over)
//!     00000000000000004711.snapshot    what is known of idempotent producers at that offset
//!     leader-epoch-checkpoint          which leader epoch begins where
//!     partition.metadata               the topic's id
//! ```
//!
//! # What is safe when
//!
//! An acknowledged record is in the page cache: it survives the crash of the process at any moment.
//! It survives a power cut once it is fsynced: with `flush.messages=1` before it is acknowledged
//! or read by anyone (one group commit is shared by all partitions of a folder), else after
//! `flush.ms`, when its segment is full, or at a clean shutdown.
//!
//! Damage is detected and reported with topic, partition, offset and file, and never served: see
//! [`PartitionLog::read`].
//!
//! Nothing here reads a clock: what needs the time is given it, in milliseconds since the epoch.

mod checkpoint;
mod cleaner;
mod config;
#[cfg(test)]
mod crash_points;
mod dir;
mod directories;
mod epochs;
mod error;
mod faults;
mod files;
mod gaps;
mod import;
mod index;
mod manager;
mod marker;
mod open_files;
mod partition;
mod producers;
mod properties;
mod scan;
mod segment;
mod setting;
mod topic_keys;
mod trusted;
mod txn_index;
mod types;

pub use cleaner::{CleanerConfig, Compaction, CompactionStats};
pub use config::{LogConfig, LogConfigError};
pub use directories::{LogDirEntry, LogDirStatus, MoveError};
pub use error::{AppendError, RejectedRecord, StorageError, StorageResult};
pub use import::{ImportError, ImportPlan, ImportedPartition};
pub use manager::{LogManager, LogManagerConfig};
pub use marker::{Marker, TxnOutcome};
pub use partition::{Located, PartitionLog};
pub use producers::{OngoingTransaction, ProducerSnapshot, Verification, VerificationGuard};
pub use setting::{ConfigType, Valid};
pub use topic_keys::ConfigKey;
pub use txn_index::AbortedTxn;
pub use types::{
    AppendInfo, AppendOrigin, EpochEndOffset, FetchData, FetchIsolation, LogPosition, LogState,
    TimestampOffset,
};

/// The rules for producers without a log, for simulations of those who write to it.
#[cfg(test)]
pub(crate) mod simulated {
    pub(crate) use super::producers::{Producers, Undecided};
}
