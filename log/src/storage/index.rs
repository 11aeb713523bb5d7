//! The sparse indexes of a segment: offset to position, and timestamp to offset.
//!
//! Entries are as Kafka writes them: 8 bytes (offset relative to the segment, position) and 12
//! bytes (timestamp, relative offset). The index of the active segment is in memory, and written
//! when the segment is sealed or closed: after a crash it is rebuilt from the batches anyway. That
//! of a sealed segment is searched in its file. An index only ever gives a place to start looking;
//! who reads from there checks that the batch is the one the entry means.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use parking_lot::RwLock;

use super::error::{StorageError, StorageResult};
use super::faults::{Point, point};
use super::files::write_atomically;
use super::open_files::{OpenFiles, SegmentFile};

/// An entry of fixed size.
pub(crate) trait Entry: Copy + Send + Sync + 'static {
    const SIZE: usize;
    fn encode(self, out: &mut Vec<u8>);
    fn decode(bytes: &[u8]) -> Option<Self>;
}

/// The largest entry there is: that of an aborted transaction.
const LARGEST_ENTRY: usize = 34;

/// The batch whose last offset is `base + relative_offset` begins at `position`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct OffsetEntry {
    pub(crate) relative_offset: u32,
    pub(crate) position: u32,
}

impl Entry for OffsetEntry {
    const SIZE: usize = 8;

    fn encode(self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.relative_offset.to_be_bytes());
        out.extend_from_slice(&self.position.to_be_bytes());
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (offset, rest) = bytes.split_first_chunk::<4>()?;
        Some(Self {
            relative_offset: u32::from_be_bytes(*offset),
            position: u32::from_be_bytes(*rest.first_chunk::<4>()?),
        })
    }
}

/// Up to the batch that ends with `base + relative_offset`, no timestamp is larger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TimeEntry {
    pub(crate) timestamp: i64,
    pub(crate) relative_offset: u32,
}

impl Entry for TimeEntry {
    const SIZE: usize = 12;

    fn encode(self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.timestamp.to_be_bytes());
        out.extend_from_slice(&self.relative_offset.to_be_bytes());
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (timestamp, rest) = bytes.split_first_chunk::<8>()?;
        Some(Self {
            timestamp: i64::from_be_bytes(*timestamp),
            relative_offset: u32::from_be_bytes(*rest.first_chunk::<4>()?),
        })
    }
}

#[derive(Debug)]
enum State<E> {
    /// Being written, or just read.
    Memory(Vec<E>),
    /// Searched in the file, whose size is looked at when it is first needed.
    Sealed(OnceLock<usize>),
}

#[derive(Debug)]
pub(crate) struct Index<E> {
    file: SegmentFile,
    state: RwLock<State<E>>,
}

impl<E: Entry> Index<E> {
    /// An index without entries, in memory.
    pub(crate) fn empty(files: &Arc<OpenFiles>, path: PathBuf) -> Self {
        Self {
            file: SegmentFile::readable(files, path),
            state: RwLock::new(State::Memory(Vec::new())),
        }
    }

    /// The index of a sealed segment.
    pub(crate) fn sealed(files: &Arc<OpenFiles>, path: PathBuf) -> Self {
        Self {
            file: SegmentFile::readable(files, path),
            state: RwLock::new(State::Sealed(OnceLock::new())),
        }
    }

    /// Reads the whole index into memory; `false` when there is none or its size is wrong.
    pub(crate) fn load(&self) -> bool {
        let Ok(bytes) = std::fs::read(self.path()) else {
            return false;
        };
        if bytes.len() % E::SIZE != 0 {
            return false;
        }
        self.replace(bytes.chunks_exact(E::SIZE).filter_map(E::decode).collect());
        true
    }

    pub(crate) fn path(&self) -> &Path {
        self.file.path()
    }

    pub(crate) fn push(&self, entry: E) {
        if let State::Memory(entries) = &mut *self.state.write() {
            entries.push(entry);
        }
    }

    /// The size of the index, in bytes.
    pub(crate) fn size(&self) -> StorageResult<usize> {
        Ok(self.with(|len, _| Ok(len))? * E::SIZE)
    }

    pub(crate) fn last(&self) -> StorageResult<Option<E>> {
        self.with(|len, get| len.checked_sub(1).map(get).transpose())
    }

    /// The last entry for which `before` holds; it must hold for a first part of the entries.
    pub(crate) fn last_where(&self, before: impl Fn(&E) -> bool) -> StorageResult<Option<E>> {
        self.with(|len, get| {
            let (mut low, mut high) = (0, len);
            let mut found = None;
            while low < high {
                let middle = low + (high - low) / 2;
                let entry = get(middle)?;
                if before(&entry) {
                    found = Some(entry);
                    low = middle + 1;
                } else {
                    high = middle;
                }
            }
            Ok(found)
        })
    }

    /// Shows the entries after the first part for which `before` holds, until `each` says no.
    pub(crate) fn each_from(
        &self,
        before: impl Fn(&E) -> bool,
        mut each: impl FnMut(E) -> bool,
    ) -> StorageResult<()> {
        self.with(|len, get| {
            let (mut low, mut high) = (0, len);
            while low < high {
                let middle = low + (high - low) / 2;
                if before(&get(middle)?) {
                    low = middle + 1;
                } else {
                    high = middle;
                }
            }
            while low < len && each(get(low)?) {
                low += 1;
            }
            Ok(())
        })
    }

    /// Every entry, when the index is in memory.
    pub(crate) fn in_memory(&self) -> Option<Vec<E>> {
        match &*self.state.read() {
            State::Memory(entries) => Some(entries.clone()),
            State::Sealed(_) => None,
        }
    }

    fn with<T>(
        &self,
        mut read: impl FnMut(usize, &dyn Fn(usize) -> StorageResult<E>) -> StorageResult<T>,
    ) -> StorageResult<T> {
        let error = |e| StorageError::io("read", self.path(), e);
        match &*self.state.read() {
            State::Memory(entries) => read(entries.len(), &|at| {
                entries
                    .get(at)
                    .copied()
                    .ok_or_else(|| error(std::io::ErrorKind::UnexpectedEof.into()))
            }),
            State::Sealed(known) => {
                let file = self.file.get()?;
                let len = match known.get() {
                    Some(len) => *len,
                    None => {
                        let bytes = file.metadata().map_err(error)?.len();
                        *known.get_or_init(|| bytes as usize / E::SIZE)
                    }
                };
                read(len, &|at| {
                    let mut bytes = [0; LARGEST_ENTRY];
                    let bytes = bytes.get_mut(..E::SIZE).unwrap_or_default();
                    file.read_exact_at(bytes, (at * E::SIZE) as u64)
                        .map_err(error)?;
                    E::decode(bytes).ok_or_else(|| error(std::io::ErrorKind::UnexpectedEof.into()))
                })
            }
        }
    }

    /// Takes other entries for those there are.
    pub(crate) fn replace(&self, entries: Vec<E>) {
        *self.state.write() = State::Memory(entries);
    }

    /// Writes what is in memory to the file.
    pub(crate) fn save(&self) -> StorageResult<()> {
        let State::Memory(entries) = &*self.state.read() else {
            return Ok(());
        };
        let mut bytes = Vec::with_capacity(entries.len() * E::SIZE);
        for entry in entries {
            entry.encode(&mut bytes);
        }
        write_atomically(self.path(), &bytes, false)
    }

    /// After [`save`](Self::save): the file is searched from now on.
    pub(crate) fn seal(&self) {
        let mut state = self.state.write();
        if matches!(*state, State::Memory(_)) {
            // The file is another than that which was read before.
            self.file.forget();
            *state = State::Sealed(OnceLock::new());
        }
    }

    /// Has the file on disk, when there is one.
    pub(crate) fn sync(&self) -> StorageResult<()> {
        if matches!(*self.state.read(), State::Sealed(_)) {
            match File::open(self.path()) {
                Ok(file) => {
                    point(Point::Sync)
                        .and_then(|()| file.sync_all())
                        .map_err(|e| StorageError::io("sync", self.path(), e))?;
                }
                // Retention has just deleted the segment.
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
                Err(e) => return Err(StorageError::io("open", self.path(), e)),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(n: u32) -> OffsetEntry {
        OffsetEntry {
            relative_offset: n * 10,
            position: n * 100,
        }
    }

    #[test]
    fn memory_and_file_answer_alike() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("00000000000000000000.index");
        let files = OpenFiles::of_the_process();
        let index = Index::empty(&files, path.clone());
        assert_eq!(index.last().unwrap(), None);
        (1..=5).for_each(|n| index.push(entry(n)));
        let check = |index: &Index<OffsetEntry>| {
            let find = |offset| index.last_where(|e| e.relative_offset <= offset).unwrap();
            assert_eq!(find(9), None);
            assert_eq!(find(10), Some(entry(1)));
            assert_eq!(find(39), Some(entry(3)));
            assert_eq!(find(1000), Some(entry(5)));
            assert_eq!(index.last().unwrap(), Some(entry(5)));
            assert_eq!(index.size().unwrap(), 40);
        };
        check(&index);
        index.save().unwrap();
        index.seal();
        check(&index);
        assert_eq!(
            std::fs::read(&path).unwrap()[..8],
            [0, 0, 0, 10, 0, 0, 0, 100]
        );
        let loaded = Index::sealed(&files, path.clone());
        assert!(loaded.load());
        check(&loaded);
        index.replace(vec![entry(1), entry(9)]);
        assert_eq!(index.size().unwrap(), 16);
        index.save().unwrap();
        index.seal();
        assert_eq!(index.last().unwrap(), Some(entry(9)), "not the old file");
        assert_eq!(
            Index::sealed(&files, path.clone()).last().unwrap(),
            Some(entry(9))
        );
        std::fs::write(&path, [0; 9]).unwrap();
        assert!(!Index::<OffsetEntry>::sealed(&files, path).load());
    }

    #[test]
    fn time_entries_are_kafkas() {
        let mut bytes = Vec::new();
        let entry = TimeEntry {
            timestamp: -2,
            relative_offset: 258,
        };
        entry.encode(&mut bytes);
        assert_eq!(bytes, [255, 255, 255, 255, 255, 255, 255, 254, 0, 0, 1, 2]);
        assert_eq!(TimeEntry::decode(&bytes), Some(entry));
    }
}
