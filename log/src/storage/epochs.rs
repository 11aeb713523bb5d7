//! Which leader epoch begins where: `leader-epoch-checkpoint`.
//!
//! Invariant: epochs and start offsets both strictly increase, and every epoch in the log above
//! the log start has its entry. Reads hold a batch's epoch, which its CRC does not cover, against
//! it.

use std::path::PathBuf;

use super::checkpoint::{read_epochs, write_epochs};
use super::error::{StorageError, StorageResult};
use super::types::EpochEndOffset;

#[derive(Debug)]
pub(crate) struct EpochCache {
    path: PathBuf,
    /// Epoch and start offset.
    entries: Vec<(i32, i64)>,
    /// The file is behind the entries, or not fsynced.
    unsynced: bool,
}

impl EpochCache {
    pub(crate) fn empty(path: PathBuf) -> Self {
        Self {
            path,
            entries: Vec::new(),
            unsynced: false,
        }
    }

    /// `None` when there is no file: the caller makes the epochs anew from the batches. So it may
    /// with a file that makes no sense ([`StorageError::BadFile`]), as far as those tell.
    pub(crate) fn load(path: PathBuf) -> StorageResult<Option<Self>> {
        let Some(entries) = read_epochs(&path)? else {
            return Ok(None);
        };
        let ordered = entries
            .iter()
            .zip(entries.iter().skip(1))
            .all(|(a, b)| a.0 < b.0 && a.1 < b.1);
        if !ordered {
            return Err(StorageError::BadFile {
                path,
                reason: "its epochs and offsets do not grow".to_owned(),
            });
        }
        Ok(Some(Self {
            path,
            entries,
            unsynced: false,
        }))
    }

    /// A batch of `epoch` begins at `offset`. Says whether that is news, which must be saved.
    pub(crate) fn assign(&mut self, epoch: i32, offset: i64) -> bool {
        if epoch < 0 || self.latest().is_some_and(|latest| epoch <= latest) {
            return false;
        }
        // An epoch without a record of its own leaves no trace.
        while self.entries.last().is_some_and(|last| last.1 >= offset) {
            self.entries.pop();
        }
        self.entries.push((epoch, offset));
        self.unsynced = true;
        true
    }

    pub(crate) fn latest(&self) -> Option<i32> {
        self.entries.last().map(|entry| entry.0)
    }

    /// The epoch of the record at an offset.
    pub(crate) fn epoch_at(&self, offset: i64) -> Option<i32> {
        let after = self.entries.partition_point(|entry| entry.1 <= offset);
        self.entries.get(after.checked_sub(1)?).map(|entry| entry.0)
    }

    /// Where an epoch ends, as `OffsetForLeaderEpoch` asks.
    pub(crate) fn end_offset(&self, epoch: i32, log_end_offset: i64) -> EpochEndOffset {
        let none = EpochEndOffset::UNKNOWN;
        let Some(latest) = self.latest() else {
            return none;
        };
        if epoch < 0 || epoch > latest {
            return none;
        }
        let after = self.entries.partition_point(|entry| entry.0 <= epoch);
        let end_offset = self
            .entries
            .get(after)
            .map_or(log_end_offset, |next| next.1);
        match after.checked_sub(1).and_then(|at| self.entries.get(at)) {
            Some(entry) => EpochEndOffset {
                leader_epoch: entry.0,
                end_offset,
            },
            // Older than all that is known: it ends where the first known one begins.
            None => EpochEndOffset {
                leader_epoch: epoch,
                end_offset,
            },
        }
    }

    /// The log now ends at `offset`.
    pub(crate) fn truncate_from_end(&mut self, offset: i64) {
        let before = self.entries.len();
        self.entries.retain(|entry| entry.1 < offset);
        self.unsynced |= self.entries.len() != before;
    }

    /// The log now starts at `offset`.
    pub(crate) fn truncate_from_start(&mut self, offset: i64) {
        let after = self.entries.partition_point(|entry| entry.1 <= offset);
        if let Some(covering) = after.checked_sub(1) {
            self.entries.drain(..covering);
            if let Some(first) = self.entries.first_mut()
                && first.1 < offset
            {
                first.1 = offset;
                self.unsynced = true;
            }
        }
    }

    pub(crate) fn clear(&mut self) {
        self.unsynced |= !self.entries.is_empty();
        self.entries.clear();
    }

    /// Writes the file. Not durable: after a crash the batches past the recovery point tell again.
    pub(crate) fn save(&self) -> StorageResult<()> {
        write_epochs(&self.path, &self.entries, false)
    }

    /// Writes the file and has it on disk.
    pub(crate) fn sync(&mut self) -> StorageResult<()> {
        if self.unsynced {
            write_epochs(&self.path, &self.entries, true)?;
            self.unsynced = false;
        }
        Ok(())
    }

    #[cfg(test)]
    pub(crate) fn entries(&self) -> &[(i32, i64)] {
        &self.entries
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cache() -> EpochCache {
        let mut cache = EpochCache::empty("none".into());
        assert!(cache.assign(0, 0));
        assert!(cache.assign(2, 10));
        assert!(cache.assign(5, 30));
        assert!(!cache.assign(5, 40));
        assert!(!cache.assign(4, 50));
        cache
    }

    #[test]
    fn ends_of_epochs() {
        let cache = cache();
        let end = |epoch| {
            let end = cache.end_offset(epoch, 100);
            (end.leader_epoch, end.end_offset)
        };
        assert_eq!(end(0), (0, 10));
        assert_eq!(end(1), (0, 10));
        assert_eq!(end(2), (2, 30));
        assert_eq!(end(4), (2, 30));
        assert_eq!(end(5), (5, 100));
        assert_eq!(end(6), (-1, -1));
        assert_eq!(end(-1), (-1, -1));
        assert_eq!(cache.epoch_at(9), Some(0));
        assert_eq!(cache.epoch_at(10), Some(2));
        assert_eq!(cache.epoch_at(1000), Some(5));
    }

    #[test]
    fn truncation_at_both_ends() {
        let mut cache = cache();
        cache.truncate_from_end(30);
        assert_eq!(cache.entries(), [(0, 0), (2, 10)]);
        cache.truncate_from_start(15);
        assert_eq!(cache.entries(), [(2, 15)]);
        assert_eq!(
            cache.end_offset(1, 20),
            EpochEndOffset {
                leader_epoch: 1,
                end_offset: 15
            }
        );
        assert!(cache.assign(7, 15));
        assert_eq!(cache.entries(), [(7, 15)]);
    }
}
