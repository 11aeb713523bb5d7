//! Log compaction: of each key the last record stays.
//!
//! A run takes the dirtiest log, remembers the last offset of each key of its dirty part
//! (`offset_map`), and writes the segments anew without what is superseded (`retain`), with
//! transactions seen to (`transactions`). New segments replace the old ones whole or not at all
//! (`swap`). Where the dirty part begins stands in `cleaner-offset-checkpoint` of each log
//! directory and, beside it, in the segments themselves.
//!
//! Invariants:
//! - Nothing at or above the last stable offset and nothing of the active segment is touched.
//! - Who reads a compacted log from its beginning sees the last record of every key; the tombstone
//!   of a key for `delete.retention.ms` at least after it was first compacted.
//! - Offsets never change, and none is given twice.

mod clean;
mod manager;
mod offset_map;
mod retain;
pub(crate) mod swap;
mod transactions;

pub use clean::CompactionStats;
pub(crate) use manager::Cleaner;
pub use manager::{CleanerConfig, Compaction};
pub(crate) use retain::LastRecord;

#[cfg(test)]
mod tests;
