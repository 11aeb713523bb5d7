//! The aborted transactions of a segment (`.txnindex`), for readers that must not see them.
//!
//! Invariant: a segment's index has an entry for each transaction with records whose abort marker
//! lies in the segment, in the order of the markers. The file is there only when there are any;
//! its entries are Kafka's, 34 bytes each: version, producer id, first offset, offset of the
//! marker, last stable offset at the time.
//!
//! Kafka's format has no checksum, and a damaged index would show records that nobody may see. So
//! a CRC-32C follows the last entry, in fewer bytes than an entry has: Kafka, which reads whole
//! entries, passes it over. An index without one (Kafka's own) is held against the log before it is
//! first used, and one whose checksum does not hold is made anew from the log.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::{Mutex, MutexGuard};

use super::error::{StorageError, StorageResult};
use super::files::{remove_if_there, write_atomically};
use super::index::{Entry, Index};
use super::open_files::OpenFiles;

const VERSION: i16 = 0;
const CHECK_MAGIC: [u8; 4] = *b"TWck";
const CHECK_SIZE: usize = 8;

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
    /// It was made from the log, or held against it.
    checked: AtomicBool,
    /// Held while that is done.
    checking: Mutex<()>,
}

impl TxnIndex {
    /// Of a new segment: without entries, in memory.
    pub(crate) fn empty(files: &Arc<OpenFiles>, path: PathBuf) -> Self {
        Self {
            index: Index::empty(files, path),
            empty: AtomicBool::new(true),
            checked: AtomicBool::new(true),
            checking: Mutex::new(()),
        }
    }

    /// Of a sealed segment.
    pub(crate) fn sealed(files: &Arc<OpenFiles>, path: PathBuf) -> Self {
        let there = path.exists();
        Self {
            index: Index::sealed(files, path),
            empty: AtomicBool::new(!there),
            checked: AtomicBool::new(!there),
            checking: Mutex::new(()),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        self.index.path()
    }

    fn is_empty(&self) -> bool {
        self.empty.load(Ordering::Acquire)
    }

    /// Whether what it says is known to be what the log says.
    pub(crate) fn is_checked(&self) -> bool {
        self.checked.load(Ordering::Acquire)
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, ()> {
        self.checking.lock()
    }

    pub(crate) fn set_checked(&self) {
        self.checked.store(true, Ordering::Release);
    }

    /// Adds a transaction whose abort marker is in the segment. The index must be in memory.
    pub(crate) fn push(&self, aborted: AbortedTxn) {
        self.index.push(aborted);
        self.empty.store(false, Ordering::Release);
    }

    /// Every entry. An index that cannot be read whole, whose checksum does not hold or whose
    /// entries make no sense is an error.
    pub(crate) fn all(&self) -> StorageResult<Vec<AbortedTxn>> {
        if self.is_empty() {
            return Ok(Vec::new());
        }
        if let Some(entries) = self.index.in_memory() {
            return Ok(entries);
        }
        let path = self.path();
        let bytes = std::fs::read(path).map_err(|e| StorageError::io("read", path, e))?;
        let (entries, summed) = parse(&bytes).map_err(|reason| StorageError::BadFile {
            path: path.to_path_buf(),
            reason: reason.to_owned(),
        })?;
        if summed {
            self.set_checked();
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
        let Some(entries) = self.index.in_memory() else {
            return Ok(());
        };
        let mut bytes = Vec::with_capacity(entries.len() * AbortedTxn::SIZE + CHECK_SIZE);
        for entry in entries {
            entry.encode(&mut bytes);
        }
        let sum = crc32c::crc32c(&bytes);
        bytes.extend_from_slice(&CHECK_MAGIC);
        bytes.extend_from_slice(&sum.to_be_bytes());
        write_atomically(self.path(), &bytes, false)
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

/// The entries of a file, and whether a checksum vouches for them.
fn parse(bytes: &[u8]) -> Result<(Vec<AbortedTxn>, bool), &'static str> {
    let tail = bytes.len() % AbortedTxn::SIZE;
    let (body, tail) = bytes.split_at(bytes.len() - tail);
    let summed = match tail.split_first_chunk::<4>() {
        None if tail.is_empty() => false,
        Some((&CHECK_MAGIC, sum)) if *sum == crc32c::crc32c(body).to_be_bytes() => true,
        _ => return Err("its checksum does not match"),
    };
    let entries: Option<Vec<_>> = body
        .chunks(AbortedTxn::SIZE)
        .map(AbortedTxn::decode)
        .collect();
    let entries = entries.ok_or("it has an entry of another version")?;
    let ordered = entries
        .windows(2)
        .all(|pair| matches!(pair, [a, b] if a.last_offset < b.last_offset));
    if !ordered {
        return Err("its entries are not in the order of their offsets");
    }
    Ok((entries, summed))
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
        let index = TxnIndex::empty(&OpenFiles::of_the_process(), path.clone());
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
        check(&TxnIndex::sealed(
            &OpenFiles::of_the_process(),
            path.clone(),
        ));
        let bytes = std::fs::read(&path).unwrap();
        assert_eq!(bytes.len(), 3 * 34 + 8);
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
        let index = TxnIndex::empty(&OpenFiles::of_the_process(), path.clone());
        index.push(aborted(10, 15, 5));
        index.push(aborted(5, 20, 21));
        index.save().unwrap();
        let bytes = std::fs::read(&path).unwrap();
        let read = |bytes: &[u8]| {
            std::fs::write(&path, bytes).unwrap();
            let index = TxnIndex::sealed(&OpenFiles::of_the_process(), path.clone());
            index.all().map(|all| (all.len(), index.is_checked()))
        };
        assert_eq!(read(&bytes).unwrap(), (2, true));
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1;
            read(&damaged).unwrap_err();
        }
        for len in (0..bytes.len()).filter(|len| len % 34 != 0) {
            read(&bytes[..len]).unwrap_err();
        }
        // As Kafka writes it: to be held against the log.
        assert_eq!(read(&bytes[..68]).unwrap(), (2, false));
        let mut later = bytes[..68].to_vec();
        later[35] = 1;
        read(&later).unwrap_err();
        let swapped = [&bytes[34..68], &bytes[..34]].concat();
        read(&swapped).unwrap_err();
    }
}
