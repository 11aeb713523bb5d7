//! A segment: a file of batches and its indexes.
//!
//! Invariant: `size` is published after the bytes are written, and only whole batches lie below
//! it; what an append left behind when it failed is cut off again. Readers never look past `size`.

use std::fs::{self, File, OpenOptions};
use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::SystemTime;

use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use rustix::fs::{FallocateFlags, SeekFrom};
use rustix::io::Errno;

use crate::record::{BatchHeader, NO_TIMESTAMP};

use super::dir::LogDir;
use super::error::{StorageError, StorageResult};
use super::faults::{Point, point};
use super::files::{
    GAPS_SUFFIX, INDEX_SUFFIX, LOG_SUFFIX, TIME_INDEX_SUFFIX, TXN_INDEX_SUFFIX, deleted_name,
    offset_file, remove_if_there, sync_dir,
};
use super::gaps::{Gaps, Holes};
use super::index::{Index, OffsetEntry, TimeEntry};
use super::open_files::SegmentFile;
use super::scan::{ScanError, Scanner};
use super::trusted::Trusted;
use super::txn_index::TxnIndex;

mod recover;

/// How much is looked at at a time for whether it is zero.
const ZEROS: usize = 1 << 20;

/// The timestamps of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamps {
    /// The largest timestamp of the first batch, by whose age the segment rolls.
    pub(crate) first: i64,
    /// The largest timestamp.
    pub(crate) max: i64,
    /// The last offset of the first batch that has it.
    pub(crate) max_offset: i64,
    /// They are known to be those of the batches: nothing damaged had a say.
    pub(crate) sound: bool,
}

impl Stamps {
    const NONE: Self = Self {
        first: NO_TIMESTAMP,
        max: NO_TIMESTAMP,
        max_offset: -1,
        sound: true,
    };

    fn add(&mut self, header: &BatchHeader, is_first: bool) {
        if is_first {
            self.first = header.max_timestamp;
        }
        if header.max_timestamp > self.max {
            self.max = header.max_timestamp;
            self.max_offset = header.last_offset();
        }
    }
}

/// What the writer of the active segment keeps.
#[derive(Debug)]
struct Tail {
    /// `None` in a sealed segment whose time index has not been read yet.
    stamps: Option<Stamps>,
    bytes_since_index: u64,
}

#[derive(Debug)]
pub(crate) struct Segment {
    base_offset: i64,
    path: PathBuf,
    dir: Arc<LogDir>,
    file: SegmentFile,
    /// Nothing more is appended, and the indexes are in their files.
    sealed: AtomicBool,
    /// The file is larger than what is in it.
    preallocated: AtomicBool,
    size: AtomicU64,
    offsets: Index<OffsetEntry>,
    times: Index<TimeEntry>,
    aborted: TxnIndex,
    tail: Mutex<Tail>,
    trusted: Trusted,
    /// Which offsets are missing; read when it is first needed.
    gaps: RwLock<Option<Option<Arc<Gaps>>>>,
    /// The list in memory is ahead of the file.
    gaps_unsaved: AtomicBool,
    created_at: i64,
    /// The names are on disk: the folder has been fsynced since the files were made.
    name_synced: AtomicBool,
}

impl Segment {
    /// A new, empty segment.
    pub(crate) fn create(
        dir: &Arc<LogDir>,
        folder: &Path,
        base_offset: i64,
        now: i64,
    ) -> StorageResult<Self> {
        Self::create_as(dir, folder, base_offset, "", now)
    }

    /// A new, empty segment whose files' names end with `suffix` yet: nobody takes it for one.
    pub(crate) fn create_as(
        dir: &Arc<LogDir>,
        folder: &Path,
        base_offset: i64,
        suffix: &str,
        now: i64,
    ) -> StorageResult<Self> {
        let name = |kind: &str| offset_file(folder, base_offset, &format!("{kind}{suffix}"));
        let path = name(LOG_SUFFIX);
        point(Point::Create).map_err(|e| StorageError::io("create", &path, e))?;
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(&path)
            .map_err(|e| StorageError::io("create", &path, e))?;
        let segment = Self {
            base_offset,
            dir: Arc::clone(dir),
            file: SegmentFile::created(dir.files(), path.clone(), file),
            sealed: AtomicBool::new(false),
            preallocated: AtomicBool::new(false),
            trusted: Trusted::beyond(0),
            size: AtomicU64::new(0),
            offsets: Index::empty(dir.files(), name(INDEX_SUFFIX)),
            times: Index::empty(dir.files(), name(TIME_INDEX_SUFFIX)),
            aborted: TxnIndex::empty(dir.files(), name(TXN_INDEX_SUFFIX)),
            path,
            gaps: RwLock::new(Some(None)),
            gaps_unsaved: AtomicBool::new(false),
            tail: Mutex::new(Tail {
                stamps: Some(Stamps::NONE),
                bytes_since_index: 0,
            }),
            created_at: now,
            name_synced: AtomicBool::new(false),
        };
        remove_if_there(segment.offsets.path())?;
        remove_if_there(segment.times.path())?;
        remove_if_there(&name(GAPS_SUFFIX))?;
        remove_if_there(segment.aborted.path())?;
        Ok(segment)
    }

    /// A segment that is on disk, taken for sealed: its indexes are searched in their files.
    pub(crate) fn open(
        dir: &Arc<LogDir>,
        folder: &Path,
        base_offset: i64,
        now: i64,
    ) -> StorageResult<Self> {
        let path = offset_file(folder, base_offset, LOG_SUFFIX);
        let meta = fs::metadata(&path).map_err(|e| StorageError::io("open", &path, e))?;
        Ok(Self {
            base_offset,
            dir: Arc::clone(dir),
            file: SegmentFile::writable(dir.files(), path.clone()),
            sealed: AtomicBool::new(true),
            preallocated: AtomicBool::new(false),
            trusted: Trusted::beyond(meta.len()),
            size: AtomicU64::new(meta.len()),
            offsets: Index::sealed(dir.files(), offset_file(folder, base_offset, INDEX_SUFFIX)),
            times: Index::sealed(
                dir.files(),
                offset_file(folder, base_offset, TIME_INDEX_SUFFIX),
            ),
            aborted: TxnIndex::sealed(
                dir.files(),
                offset_file(folder, base_offset, TXN_INDEX_SUFFIX),
            ),
            path,
            gaps: RwLock::new(None),
            gaps_unsaved: AtomicBool::new(false),
            tail: Mutex::new(Tail {
                stamps: None,
                bytes_since_index: 0,
            }),
            created_at: now,
            name_synced: AtomicBool::new(true),
        })
    }

    pub(crate) fn base_offset(&self) -> i64 {
        self.base_offset
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn size(&self) -> u64 {
        self.size.load(Ordering::Acquire)
    }

    /// The transactions whose abort marker is in the segment.
    pub(crate) fn aborted(&self) -> &TxnIndex {
        &self.aborted
    }

    pub(crate) fn created_at(&self) -> i64 {
        self.created_at
    }

    fn gaps_path(&self) -> PathBuf {
        self.path.with_extension("gaps")
    }

    /// Which offsets are missing in this segment; `None` when none are.
    pub(crate) fn gaps(&self) -> StorageResult<Option<Arc<Gaps>>> {
        if let Some(known) = self.gaps.read().as_ref() {
            return Ok(known.clone());
        }
        let mut gaps = self.gaps.write();
        if let Some(known) = gaps.as_ref() {
            return Ok(known.clone());
        }
        let read = Gaps::load(&self.gaps_path(), self.base_offset)?.map(Arc::new);
        *gaps = Some(read.clone());
        Ok(read)
    }

    /// What offsets may be missing.
    pub(crate) fn holes(&self) -> StorageResult<Holes> {
        self.gaps().map(Holes::listed)
    }

    /// Before batches are appended where `next` would be next: when they leave offsets out, the
    /// segment has a list of its gaps from then on.
    pub(crate) fn expect_gaps(
        &self,
        mut next: i64,
        batches: &[(BatchHeader, Bytes)],
    ) -> StorageResult<()> {
        let end = next;
        let whole = batches.iter().all(|(header, _)| {
            let follows = header.base_offset == next;
            next = header.next_offset();
            follows
        });
        if whole || self.gaps()?.is_some() {
            return Ok(());
        }
        let mut gaps = Gaps::new(self.base_offset);
        gaps.push(self.base_offset, end);
        // For recovery this says that there may be more than it names; it is complete with the next
        // flush.
        gaps.save_unsynced(&self.gaps_path())?;
        self.set_gaps(gaps);
        Ok(())
    }

    /// The segment has these gaps; its list is written with the next flush.
    pub(crate) fn set_gaps(&self, gaps: Gaps) {
        *self.gaps.write() = Some(Some(Arc::new(gaps)));
        self.gaps_unsaved.store(true, Ordering::Release);
    }

    /// The list that there is cannot be used: without one there are no gaps.
    pub(crate) fn drop_gaps(&self) -> StorageResult<()> {
        *self.gaps.write() = Some(None);
        remove_if_there(&self.gaps_path())
    }

    /// Batches were appended: where there is a list of gaps, it goes on.
    fn note_gaps(&self, batches: &[(BatchHeader, Bytes)]) {
        if matches!(*self.gaps.read(), Some(None)) {
            return;
        }
        if let Some(Some(gaps)) = &mut *self.gaps.write() {
            let gaps = Arc::make_mut(gaps);
            for (header, _) in batches {
                gaps.push(header.base_offset, header.next_offset());
            }
            self.gaps_unsaved.store(true, Ordering::Release);
        }
    }

    /// Which of its bytes may be handed out unread.
    pub(crate) fn trusted(&self) -> &Trusted {
        &self.trusted
    }

    /// The file, for who reads it on his own.
    pub(crate) fn shared_file(&self) -> StorageResult<Arc<File>> {
        self.file()
    }

    /// The last position at or before this one where the index knows that a batch begins.
    pub(crate) fn indexed_before(&self, position: u64) -> Option<u64> {
        let found = self
            .offsets
            .last_where(|entry| u64::from(entry.position) <= position);
        found.ok().flatten().map(|entry| u64::from(entry.position))
    }

    fn file(&self) -> StorageResult<Arc<File>> {
        self.file.get()
    }

    /// Whether the indexes have reached a size, or could not name an offset any more.
    pub(crate) fn is_full_for(&self, last_offset: i64, index_bytes: usize) -> StorageResult<bool> {
        Ok(last_offset - self.base_offset > i64::from(i32::MAX)
            || self.offsets.size()? + OffsetEntry::SIZE_BYTES > index_bytes
            || self.times.size()? + TimeEntry::SIZE_BYTES > index_bytes)
    }

    /// Appends batches: for each its header as it is to be, and the bytes after the header.
    pub(crate) fn append(
        &self,
        batches: &[(BatchHeader, Bytes)],
        index_interval: u64,
    ) -> StorageResult<()> {
        let heads: Vec<_> = batches.iter().map(|(header, _)| header.encode()).collect();
        let mut slices = Vec::with_capacity(batches.len() * 2);
        for (head, (_, body)) in heads.iter().zip(batches) {
            slices.push(IoSlice::new(head));
            slices.push(IoSlice::new(body));
        }
        let start = self.size();
        let written = match self.write_all(&mut slices, start) {
            Ok(written) => written,
            Err(e) => {
                let error = StorageError::io("append to", &self.path, e);
                // Take the part back. If not even that works, or the disk is not merely full, the
                // file is not to be trusted with more.
                let undone = self.file().map(|file| file.set_len(start));
                if !matches!(undone, Ok(Ok(()))) || !matches!(error, StorageError::DiskFull { .. })
                {
                    self.dir.fail(&error);
                }
                return Err(error);
            }
        };
        {
            let mut tail = self.tail.lock();
            let Tail {
                stamps,
                bytes_since_index,
            } = &mut *tail;
            let mut position = start;
            for (header, _) in batches {
                let stamps = stamps.get_or_insert(Stamps::NONE);
                if *bytes_since_index > index_interval {
                    self.index(header, position, stamps);
                    *bytes_since_index = 0;
                }
                stamps.add(header, position == 0);
                position += header.size() as u64;
                *bytes_since_index += header.size() as u64;
            }
        }
        self.note_gaps(batches);
        self.size.store(start + written, Ordering::Release);
        Ok(())
    }

    fn index(&self, header: &BatchHeader, position: u64, stamps: &Stamps) {
        self.offsets.push(OffsetEntry {
            relative_offset: self.relative(header.last_offset()),
            position: u32::try_from(position).unwrap_or(u32::MAX),
        });
        self.index_time(stamps);
    }

    fn index_time(&self, stamps: &Stamps) {
        if stamps.max > NO_TIMESTAMP
            && !matches!(self.times.last(), Ok(Some(last)) if last.timestamp >= stamps.max)
        {
            self.times.push(TimeEntry {
                timestamp: stamps.max,
                relative_offset: self.relative(stamps.max_offset),
            });
        }
    }

    fn relative(&self, offset: i64) -> u32 {
        u32::try_from(offset - self.base_offset).unwrap_or(u32::MAX)
    }

    fn write_all(&self, slices: &mut [IoSlice<'_>], at: u64) -> io::Result<u64> {
        let file = self.file().map_err(|e| io::Error::other(e.to_string()))?;
        #[cfg(test)]
        if let Some(room) = self.dir.faults.disk_full_after.lock().take() {
            let all: Vec<u8> = slices.iter().flat_map(|slice| slice.to_vec()).collect();
            std::os::unix::fs::FileExt::write_all_at(&*file, &all[..room.min(all.len())], at)?;
            return Err(io::ErrorKind::StorageFull.into());
        }
        #[cfg(test)]
        if super::faults::torn() {
            let all: Vec<u8> = slices.iter().flat_map(|slice| slice.to_vec()).collect();
            let half = all.get(..all.len() / 2).unwrap_or_default();
            let _ = std::os::unix::fs::FileExt::write_all_at(&*file, half, at);
            std::process::abort();
        }
        point(Point::Write)?;
        let mut rest = slices;
        let mut written = 0u64;
        while !rest.is_empty() {
            // The kernel takes at most 1024 slices a call.
            let some = rest.get(..rest.len().min(1024)).unwrap_or_default();
            match rustix::io::pwritev(&file, some, at + written) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(n) => {
                    written += n as u64;
                    IoSlice::advance_slices(&mut rest, n);
                }
                Err(rustix::io::Errno::INTR) => {}
                Err(e) => return Err(e.into()),
            }
        }
        Ok(written)
    }

    /// Reads bytes below `size`; fewer only when the file is shorter than it should be.
    pub(crate) fn read_at(&self, position: u64, len: usize) -> StorageResult<Bytes> {
        let file = self.file()?;
        let mut bytes = Vec::with_capacity(len.max(1));
        while bytes.len() < len {
            let at = position + bytes.len() as u64;
            match rustix::io::pread(&file, rustix::buffer::spare_capacity(&mut bytes), at) {
                Ok(0) => break,
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(e) => return Err(StorageError::io("read", &self.path, e.into())),
            }
        }
        // The allocator may have given more room than was asked for.
        bytes.truncate(len);
        Ok(bytes.into())
    }

    /// Where to start looking for the batch that contains `offset`, and, when an index entry says
    /// so, the last offset of the batch there.
    pub(crate) fn lookup(&self, offset: i64) -> (u64, Option<i64>) {
        if offset < self.base_offset {
            return (0, None);
        }
        let relative = self.relative(offset);
        match self
            .offsets
            .last_where(|entry| entry.relative_offset <= relative)
        {
            Ok(Some(entry)) if u64::from(entry.position) < self.size() => (
                u64::from(entry.position),
                Some(self.base_offset + i64::from(entry.relative_offset)),
            ),
            // An index that cannot be read only makes the search longer.
            _ => (0, None),
        }
    }

    /// The offset up to which every timestamp is smaller.
    pub(crate) fn last_offset_before_time(&self, timestamp: i64) -> Option<i64> {
        let found = self
            .times
            .last_where(|entry| entry.timestamp < timestamp)
            .ok()
            .flatten()?;
        self.is_sound(&found)
            .then_some(self.base_offset + i64::from(found.relative_offset))
    }

    /// Whether the batch that an entry of the time index means says the same. Retention goes by
    /// the timestamps: a damaged index must not delete anything before its time.
    fn is_sound(&self, entry: &TimeEntry) -> bool {
        let offset = self.base_offset + i64::from(entry.relative_offset);
        let mut scanner = Scanner::new(self, self.lookup(offset).0, self.size());
        while let Ok(Some((_, header))) = scanner.next_header() {
            if header.last_offset() >= offset {
                return header.base_offset <= offset && header.max_timestamp == entry.timestamp;
            }
        }
        false
    }

    /// The segment's timestamps, from the time index when it is sealed; from all batches, each
    /// checked, when that is gone.
    pub(crate) fn stamps(&self) -> StorageResult<Stamps> {
        if let Some(stamps) = self.tail.lock().stamps {
            return Ok(stamps);
        }
        let mut scanner = Scanner::new(self, 0, self.size());
        let mut stamps = Stamps::NONE;
        if let Ok(Some((_, header))) = scanner.next_header() {
            stamps.add(&header, true);
            match self.times.last() {
                Ok(Some(last)) if self.is_sound(&last) => {
                    stamps.max = last.timestamp;
                    stamps.max_offset = self.base_offset + i64::from(last.relative_offset);
                }
                _ => {
                    scanner = Scanner::new(self, 0, self.size());
                    stamps.sound = loop {
                        match scanner.next_batch() {
                            Ok(Some((_, batch))) => stamps.add(&batch, false),
                            Ok(None) => break true,
                            Err(ScanError::Damaged { .. }) => break false,
                            Err(ScanError::Storage(error)) => return Err(error),
                        }
                    };
                }
            }
        } else {
            stamps.sound = self.size() == 0;
        }
        self.tail.lock().stamps = Some(stamps);
        Ok(stamps)
    }

    /// When the file was last written, by the file system.
    pub(crate) fn modified(&self) -> Option<SystemTime> {
        fs::metadata(&self.path).ok()?.modified().ok()
    }

    /// Has the file look as if it was last written then.
    pub(crate) fn set_modified(&self, time: SystemTime) -> StorageResult<()> {
        self.file()?
            .set_modified(time)
            .map_err(|e| StorageError::io("set the time of", &self.path, e))
    }

    /// The sizes of the offset and the time index, as far as they are known.
    pub(crate) fn index_sizes(&self) -> (u64, u64) {
        let size = |size: StorageResult<usize>| size.map_or(0, |size| size as u64);
        (size(self.offsets.size()), size(self.times.size()))
    }

    /// The files are about to be replaced by others of the same names: who has this segment reads
    /// on in those it has open, without indexes.
    pub(crate) fn retire(&self) -> StorageResult<()> {
        self.file.keep()?;
        self.gaps()?;
        self.stamps()?;
        self.aborted.replace(self.aborted.all()?);
        self.offsets.replace(Vec::new());
        self.times.replace(Vec::new());
        Ok(())
    }

    /// When the file was last written, for records without a timestamp.
    pub(crate) fn modified_at(&self) -> Option<i64> {
        let modified = self.modified()?;
        let since = modified.duration_since(std::time::UNIX_EPOCH).ok()?;
        i64::try_from(since.as_millis()).ok()
    }

    /// Cuts the file off at a batch's beginning, which makes `end` the segment's next offset.
    pub(crate) fn truncate(&self, position: u64, end: i64) -> StorageResult<()> {
        if let Some(gaps) = self.gaps()?
            && gaps.end_offset() > end
        {
            let mut gaps = Gaps::clone(&gaps);
            gaps.truncate(end);
            gaps.save(&self.gaps_path())?;
            *self.gaps.write() = Some(Some(Arc::new(gaps)));
        }
        self.size
            .store(position.min(self.size()), Ordering::Release);
        self.trusted.cut(position);
        let file = self.file()?;
        point(Point::Truncate)
            .and_then(|()| file.set_len(position))
            .map_err(|e| StorageError::io("truncate", &self.path, e))
    }

    /// Nothing more will be appended: the indexes go to their files.
    pub(crate) fn seal(&self) -> StorageResult<()> {
        // Before the indexes: where those are, recovery takes the segment for whole.
        self.trim()?;
        self.save_indexes()?;
        self.offsets.seal();
        self.times.seal();
        self.aborted.seal();
        self.sealed.store(true, Ordering::Release);
        Ok(())
    }

    /// Writes the indexes of a segment that may be appended to again after the next open.
    pub(crate) fn save_indexes(&self) -> StorageResult<()> {
        self.close_time_index();
        // Before the others: where those are, recovery takes the segment for whole.
        self.aborted.save()?;
        self.offsets.save()?;
        self.times.save()
    }

    fn close_time_index(&self) {
        if let Some(stamps) = self.tail.lock().stamps {
            self.index_time(&stamps);
        }
    }

    /// It will be appended to: its file stays open.
    pub(crate) fn activate(&self) -> StorageResult<()> {
        self.sealed.store(false, Ordering::Release);
        self.file.hold()
    }

    /// fsyncs everything of the segment.
    pub(crate) fn sync(&self) -> StorageResult<()> {
        #[cfg(test)]
        if self.dir.faults.sync_fails.swap(false, Ordering::Relaxed) {
            return Err(StorageError::io(
                "sync",
                &self.path,
                io::Error::other("injected"),
            ));
        }
        // Before: of one that is sealed meanwhile the indexes may come after this.
        let sealed = self.sealed.load(Ordering::Acquire);
        // Before the batches: below a recovery point the list is complete.
        if self.gaps_unsaved.swap(false, Ordering::AcqRel)
            && let Some(gaps) = self.gaps()?
        {
            gaps.save(&self.gaps_path())?;
        }
        let file = self.file()?;
        point(Point::Sync)
            .and_then(|()| file.sync_data())
            .map_err(|e| StorageError::io("sync", &self.path, e))?;
        self.offsets.sync()?;
        self.times.sync()?;
        self.aborted.sync()?;
        if !self.name_synced.load(Ordering::Relaxed) {
            // The segment's name, and that of its folder.
            if let Some(folder) = self.path.parent() {
                sync_dir(folder)?;
                sync_dir(self.dir.path())?;
            }
            self.name_synced.store(true, Ordering::Relaxed);
        }
        if sealed {
            self.file.release();
        }
        Ok(())
    }

    /// Deletes the files, `delay_ms` from now. Who has this segment reads on. The log's loses its
    /// name first, so that a crash in between leaves nothing that looks like a segment.
    pub(crate) fn delete(&self, delay_ms: i64) -> StorageResult<()> {
        let deleted = deleted_name(&self.path);
        // Readers that come late find the file open.
        let _ = self.file.keep();
        point(Point::Rename)
            .and_then(|()| fs::rename(&self.path, &deleted))
            .map_err(|e| StorageError::io("delete", &self.path, e))?;
        self.dir.delete_file(self.offsets.path(), delay_ms)?;
        self.dir.delete_file(self.times.path(), delay_ms)?;
        self.dir.delete_file(&self.gaps_path(), delay_ms)?;
        self.dir.delete_file(self.aborted.path(), delay_ms)?;
        self.dir.remove_later(deleted, delay_ms)
    }

    /// Gives the file the size that the segment may grow to (`preallocate`): the disk will not be
    /// full before it is, and a flush need not write the file's size.
    pub(crate) fn preallocate(&self, bytes: u64) -> StorageResult<()> {
        let file = self.file()?;
        let error = |e: io::Error| StorageError::io("preallocate", &self.path, e);
        point(Point::Write).map_err(error)?;
        match rustix::fs::fallocate(&*file, FallocateFlags::empty(), 0, bytes) {
            Ok(()) => {}
            // A file system that cannot: the size alone, as Kafka does.
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => file.set_len(bytes).map_err(error)?,
            Err(e) => return Err(error(e.into())),
        }
        self.preallocated.store(true, Ordering::Release);
        Ok(())
    }

    /// Cuts off what was preallocated and not used. Says whether there was any.
    pub(crate) fn trim(&self) -> StorageResult<bool> {
        if !self.preallocated.load(Ordering::Acquire) {
            return Ok(false);
        }
        let file = self.file()?;
        point(Point::Truncate)
            .and_then(|()| file.set_len(self.size()))
            .map_err(|e| StorageError::io("truncate", &self.path, e))?;
        self.preallocated.store(false, Ordering::Release);
        Ok(true)
    }

    /// Whether there is nothing but zeros from a position on: what a crash leaves of a file that was
    /// preallocated.
    pub(crate) fn is_zero_from(&self, mut position: u64) -> StorageResult<bool> {
        let file = self.file()?;
        while position < self.size() {
            // What was never written need not be read.
            position = match rustix::fs::seek(&*file, SeekFrom::Data(position)) {
                Ok(data) => data,
                Err(Errno::NXIO) => return Ok(true),
                Err(_) => position,
            };
            let bytes = self.read_at(position, ZEROS)?;
            if bytes.iter().any(|byte| *byte != 0) {
                return Ok(false);
            }
            position += ZEROS as u64;
        }
        Ok(true)
    }
}

impl OffsetEntry {
    const SIZE_BYTES: usize = <Self as super::index::Entry>::SIZE;
}

impl TimeEntry {
    const SIZE_BYTES: usize = <Self as super::index::Entry>::SIZE;
}
