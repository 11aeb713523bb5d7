//! The aborted transactions of a segment (`.txnindex`), for readers that must not see them.
//!
//! Invariant: a segment's index has an entry for each transaction with records whose abort marker
//! lies in the segment, in the order of the markers. The file is there only when there are any;
//! its entries are Kafka's, 34 bytes each: version, producer id, first offset, offset of the
//! marker, last stable offset at the time.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use super::error::{StorageError, StorageResult};
use super::files::remove_if_there;
use super::index::{Entry, Index};

const VERSION: i16 = 0;

/// A transaction that was aborted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AbortedTxn {
    /// Whose it was.
    pub producer_id: i64,
    /// The offset of its first record.
    pub first_offset: i64,
    /// The offset of its abort marker.
    pub last_offset: i64,
    /// The last stable offset once it had ended: every transaction that ends later begins there
    /// or above.
    pub last_stable_offset: i64,
}

impl Entry for AbortedTxn {
    const SIZE: usize = 34;

    fn encode(self, out: &mut Vec<u8>) {
        out.extend_from_slice(&VERSION.to_be_bytes());
        for field in [
            self.producer_id,
            self.first_offset,
            self.last_offset,
            self.last_stable_offset,
        ] {
            out.extend_from_slice(&field.to_be_bytes());
        }
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (version, mut rest) = bytes.split_first_chunk::<2>()?;
        if i16::from_be_bytes(*version) != VERSION {
            return None;
        }
        let mut field = || {
            let (field, after) = rest.split_first_chunk::<8>()?;
            rest = after;
            Some(i64::from_be_bytes(*field))
        };
        Some(Self {
            producer_id: field()?,
            first_offset: field()?,
            last_offset: field()?,
            last_stable_offset: field()?,
        })
    }
}

/// The index of one segment.
#[derive(Debug)]
pub(crate) struct TxnIndex {
    index: Index<AbortedTxn>,
    /// There is nothing in it, and no file: readers pass by.
    empty: AtomicBool,
}

impl TxnIndex {
    /// Of a new segment: without entries, in memory.
    pub(crate) fn empty(path: PathBuf) -> Self {
        Self {
            index: Index::empty(path),
            empty: AtomicBool::new(true),
        }
    }

    /// Of a sealed segment.
    pub(crate) fn sealed(path: PathBuf) -> Self {
        let empty = AtomicBool::new(!path.exists());
        Self {
            index: Index::sealed(path),
            empty,
        }
    }

    pub(crate) fn path(&self) -> &Path {
        self.index.path()
    }

    fn is_empty(&self) -> bool {
        self.empty.load(Ordering::Acquire)
    }

    /// Adds a transaction whose abort marker is in the segment. The index must be in memory.
    pub(crate) fn push(&self, aborted: AbortedTxn) {
        self.index.push(aborted);
        self.empty.store(false, Ordering::Release);
    }

    /// Every entry. An index that cannot be read whole, or whose entries make no sense, is an
    /// error.
    pub(crate) fn all(&self) -> StorageResult<Vec<AbortedTxn>> {
        if self.is_empty() {
            return Ok(Vec::new());
        }
        let entries = self.index.all()?;
        let ordered = entries
            .windows(2)
            .all(|pair| matches!(pair, [a, b] if a.last_offset < b.last_offset));
        if !ordered || entries.iter().any(|e| e.first_offset > e.last_offset) {
            return Err(StorageError::BadFile {
                path: self.path().to_path_buf(),
                reason: "its entries are not in the order of their offsets".to_owned(),
            });
        }
        Ok(entries)
    }

    /// Takes other entries for those there are, in memory.
    pub(crate) fn replace(&self, entries: Vec<AbortedTxn>) {
        self.empty.store(entries.is_empty(), Ordering::Release);
        self.index.replace(entries);
    }

    /// Forgets the transactions whose marker lies at or above an offset; in memory from then on.
    pub(crate) fn truncate(&self, offset: i64) -> StorageResult<()> {
        let mut entries = self.all()?;
        entries.retain(|aborted| aborted.last_offset < offset);
        self.replace(entries);
        Ok(())
    }

    /// Adds the aborted transactions that overlap with what lies from `from` to before `to`.
    /// `true` when no later segment can have any more.
    pub(crate) fn collect(
        &self,
        from: i64,
        to: i64,
        found: &mut Vec<AbortedTxn>,
    ) -> StorageResult<bool> {
        if self.is_empty() {
            return Ok(false);
        }
        let mut complete = false;
        self.index.each_from(
            |aborted| aborted.last_offset < from,
            |aborted| {
                if aborted.last_offset >= from && aborted.first_offset < to {
                    found.push(aborted);
                }
                complete = aborted.last_stable_offset >= to;
                !complete
            },
        )?;
        Ok(complete)
    }

    /// Writes what is in memory to the file, or removes the file when there is nothing.
    pub(crate) fn save(&self) -> StorageResult<()> {
        if self.is_empty() {
            return remove_if_there(self.path());
        }
        self.index.save()
    }

    /// After [`save`](Self::save): the file is searched from now on.
    pub(crate) fn seal(&self) {
        self.index.seal();
    }

    /// Has the file on disk, when there is one.
    pub(crate) fn sync(&self) -> StorageResult<()> {
        if self.is_empty() {
            return Ok(());
        }
        self.index.sync()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn aborted(first_offset: i64, last_offset: i64, last_stable_offset: i64) -> AbortedTxn {
        AbortedTxn {
            producer_id: 9,
            first_offset,
            last_offset,
            last_stable_offset,
        }
    }

    fn found(index: &TxnIndex, from: i64, to: i64) -> (Vec<i64>, bool) {
        let mut found = Vec::new();
        let complete = index.collect(from, to, &mut found).unwrap();
        (found.iter().map(|a| a.first_offset).collect(), complete)
    }

    #[test]
    fn overlapping_transactions_are_found_in_memory_and_in_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("00000000000000000000.txnindex");
        let index = TxnIndex::empty(path.clone());
        assert_eq!(found(&index, 0, 100), (vec![], false));
        index.save().unwrap();
        assert!(!path.exists(), "nothing, no file");
        // The second began first and ended last.
        index.push(aborted(10, 15, 5));
        index.push(aborted(5, 20, 21));
        index.push(aborted(30, 35, 36));
        let check = |index: &TxnIndex| {
            assert_eq!(found(index, 0, 5), (vec![], true));
            assert_eq!(found(index, 0, 6), (vec![5], true));
            assert_eq!(found(index, 12, 13), (vec![10, 5], true));
            assert_eq!(found(index, 16, 21), (vec![5], true));
            assert_eq!(found(index, 21, 31), (vec![30], true));
            assert_eq!(found(index, 36, 40), (vec![], false));
        };
        check(&index);
        index.save().unwrap();
        index.seal();
        check(&index);
        check(&TxnIndex::sealed(path.clone()));
        let bytes = std::fs::read(&path).unwrap();
        assert_eq!(bytes.len(), 3 * 34);
        assert_eq!(
            bytes.get(..18).unwrap(),
            [0, 0, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 10]
        );
        index.truncate(35).unwrap();
        assert_eq!(index.all().unwrap().len(), 2);
        index.truncate(15).unwrap();
        index.save().unwrap();
        assert!(!path.exists());
    }

    #[test]
    fn damage_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("00000000000000000000.txnindex");
        let index = TxnIndex::empty(path.clone());
        index.push(aborted(10, 15, 5));
        index.push(aborted(5, 20, 21));
        index.save().unwrap();
        let bytes = std::fs::read(&path).unwrap();
        let read = |change: &dyn Fn(&mut Vec<u8>)| {
            let mut bytes = bytes.clone();
            change(&mut bytes);
            std::fs::write(&path, bytes).unwrap();
            TxnIndex::sealed(path.clone()).all()
        };
        assert_eq!(read(&|_| ()).unwrap().len(), 2);
        read(&|b| b[1] = 1).unwrap_err();
        read(&|b| b[20] = 1).unwrap_err();
        read(&|b| b.truncate(40)).unwrap_err();
    }
}
