//! How many files of sealed segments are open at once.
//!
//! A partition keeps its active segment open; the others are opened when somebody reads them, and
//! closed again, the least recently used first, when there are more than the limit allows. The limit
//! comes from the process' own (`RLIMIT_NOFILE`), half of which is left to connections and stores.
//!
//! Invariants:
//! - Who was given a file keeps it for as long as needed, whatever becomes of it here.
//! - A file that is held stays open: that of an active segment; one that was written and not
//!   fsynced since, for the kernel tells of a write that failed only to whom has the file open; and
//!   one whose name is gone or another's.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};

use parking_lot::{Mutex, RwLock};
use rustix::io::Errno;
use rustix::process::{Resource, getrlimit};

use super::error::{StorageError, StorageResult};

/// May be closed.
const IDLE: u8 = 0;
/// Stays open until it is released.
const HELD: u8 = 1;
/// Stays open for good.
const KEPT: u8 = 2;

/// What a process may open where the system sets no limit.
const UNLIMITED: u64 = 1 << 17;

static SHARED: LazyLock<Arc<OpenFiles>> = LazyLock::new(|| {
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(UNLIMITED);
    let half = usize::try_from(limit.min(UNLIMITED) / 2).unwrap_or(usize::MAX);
    Arc::new(OpenFiles::new(half))
});

/// The files that are open, of all logs that share the limit.
#[derive(Debug)]
pub(crate) struct OpenFiles {
    limit: usize,
    /// Grows with every use, to tell which was last.
    clock: AtomicU64,
    /// How many are held.
    held: AtomicUsize,
    /// Those that may be closed; and some that are closed or held by now.
    idle: Mutex<Vec<Arc<Shared>>>,
}

#[derive(Debug, Default)]
struct Shared {
    file: RwLock<Option<Arc<File>>>,
    used: AtomicU64,
    state: AtomicU8,
}

impl OpenFiles {
    /// At most `limit` files, as long as not more than that are held.
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            limit,
            clock: AtomicU64::new(1),
            held: AtomicUsize::new(0),
            idle: Mutex::default(),
        }
    }

    /// That of the process.
    pub(crate) fn of_the_process() -> Arc<Self> {
        Arc::clone(&SHARED)
    }

    fn now(&self) -> u64 {
        self.clock.fetch_add(1, Ordering::Relaxed)
    }

    /// How many may be open that are not held: what the held ones leave, but not nothing.
    fn room(&self) -> usize {
        let left = self.limit.saturating_sub(self.held.load(Ordering::Relaxed));
        left.max(self.limit / 4).max(1)
    }

    fn admit(&self, shared: &Arc<Shared>) {
        let mut idle = self.idle.lock();
        idle.push(Arc::clone(shared));
        let room = self.room();
        if idle.len() > room {
            close_oldest(&mut idle, room);
        }
    }

    /// Other files of the process have used its limit up: closes half of what may be closed.
    fn make_room(&self) {
        let mut idle = self.idle.lock();
        let room = idle.len() / 2;
        close_oldest(&mut idle, room);
    }

    #[cfg(test)]
    pub(crate) fn open_and_held(&self) -> (usize, usize) {
        let mut idle = self.idle.lock();
        idle.retain(|shared| shared.is_idle());
        (idle.len(), self.held.load(Ordering::Relaxed))
    }
}

impl Shared {
    fn may_close(&self) -> bool {
        self.state.load(Ordering::Acquire) == IDLE
    }

    fn is_idle(&self) -> bool {
        self.may_close() && self.file.read().is_some()
    }
}

/// Closes files until there is `room`, and an eighth of it more, so that the search for the oldest
/// is not made for each.
fn close_oldest(idle: &mut Vec<Arc<Shared>>, room: usize) {
    idle.retain(|shared| shared.is_idle());
    if idle.len() <= room {
        return;
    }
    let excess = idle.len() - (room - room / 8);
    if excess < idle.len() {
        idle.select_nth_unstable_by_key(excess, |shared| shared.used.load(Ordering::Relaxed));
    }
    for shared in idle.drain(..excess) {
        let mut file = shared.file.write();
        // Somebody may have come to hold it since.
        if shared.may_close() {
            *file = None;
        }
    }
}

/// A file that is opened when it is needed.
#[derive(Debug)]
pub(crate) struct SegmentFile {
    path: PathBuf,
    writable: bool,
    files: Arc<OpenFiles>,
    shared: Arc<Shared>,
}

impl SegmentFile {
    /// A file that is there, to be read.
    pub(crate) fn readable(files: &Arc<OpenFiles>, path: PathBuf) -> Self {
        Self {
            path,
            writable: false,
            files: Arc::clone(files),
            shared: Arc::default(),
        }
    }

    /// A file that is there, to be read and written.
    pub(crate) fn writable(files: &Arc<OpenFiles>, path: PathBuf) -> Self {
        let mut file = Self::readable(files, path);
        file.writable = true;
        file
    }

    /// A file that was just made; it is held.
    pub(crate) fn created(files: &Arc<OpenFiles>, path: PathBuf, file: File) -> Self {
        files.held.fetch_add(1, Ordering::Relaxed);
        Self {
            path,
            writable: true,
            files: Arc::clone(files),
            shared: Arc::new(Shared {
                file: RwLock::new(Some(Arc::new(file))),
                used: AtomicU64::new(0),
                state: AtomicU8::new(HELD),
            }),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The file, open for as long as the caller has it.
    pub(crate) fn get(&self) -> StorageResult<Arc<File>> {
        let shared = &self.shared;
        let idle = shared.may_close();
        if idle {
            shared.used.store(self.files.now(), Ordering::Relaxed);
        }
        if let Some(file) = &*shared.file.read() {
            return Ok(Arc::clone(file));
        }
        let file = {
            let mut slot = shared.file.write();
            if let Some(file) = &*slot {
                return Ok(Arc::clone(file));
            }
            let opened = self
                .open()
                .map_err(|e| StorageError::io("open", &self.path, e))?;
            let file = Arc::new(opened);
            *slot = Some(Arc::clone(&file));
            file
        };
        if idle {
            self.files.admit(shared);
        }
        Ok(file)
    }

    fn open(&self) -> io::Result<File> {
        let open = || {
            OpenOptions::new()
                .read(true)
                .write(self.writable)
                .open(&self.path)
        };
        let full = [Errno::MFILE, Errno::NFILE].map(|errno| Some(errno.raw_os_error()));
        match open() {
            Err(e) if full.contains(&e.raw_os_error()) => {
                self.files.make_room();
                open()
            }
            opened => opened,
        }
    }

    /// Opens the file and has it open until it is [released](Self::release).
    pub(crate) fn hold(&self) -> StorageResult<()> {
        self.stay_open(HELD)
    }

    /// Opens the file and has it open for good: its name is about to go, or to be another's.
    pub(crate) fn keep(&self) -> StorageResult<()> {
        self.stay_open(KEPT)
    }

    fn stay_open(&self, state: u8) -> StorageResult<()> {
        let before = self.shared.state.fetch_max(state, Ordering::AcqRel);
        if before == IDLE {
            self.files.held.fetch_add(1, Ordering::Relaxed);
        }
        let opened = self.get().map(drop);
        if opened.is_err() && before == IDLE {
            self.release();
        }
        opened
    }

    /// Another file has its name now: that is opened the next time.
    pub(crate) fn forget(&self) {
        *self.shared.file.write() = None;
    }

    /// The file may be closed when others are needed more, unless it is [kept](Self::keep).
    pub(crate) fn release(&self) {
        let state = &self.shared.state;
        let released = state.compare_exchange(HELD, IDLE, Ordering::AcqRel, Ordering::Relaxed);
        if released.is_ok() {
            self.files.held.fetch_sub(1, Ordering::Relaxed);
            self.shared.used.store(self.files.now(), Ordering::Relaxed);
            let open = self.shared.file.read().is_some();
            if open {
                self.files.admit(&self.shared);
            }
        }
    }
}

impl Drop for SegmentFile {
    fn drop(&mut self) {
        if self.shared.state.swap(IDLE, Ordering::AcqRel) != IDLE {
            self.files.held.fetch_sub(1, Ordering::Relaxed);
        }
        *self.shared.file.write() = None;
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use super::*;

    fn make(dir: &Path, files: &Arc<OpenFiles>, count: u8) -> Vec<SegmentFile> {
        (0..count)
            .map(|n| {
                let path = dir.join(n.to_string());
                std::fs::write(&path, [n]).unwrap();
                SegmentFile::readable(files, path)
            })
            .collect()
    }

    fn byte(file: &File) -> u8 {
        let mut byte = [0];
        file.read_exact_at(&mut byte, 0).unwrap();
        byte[0]
    }

    fn is_open(file: &SegmentFile) -> bool {
        file.shared.file.read().is_some()
    }

    #[test]
    fn the_least_recently_used_are_closed_and_opened_again() {
        let dir = tempfile::tempdir().unwrap();
        let files = Arc::new(OpenFiles::new(8));
        let all = make(dir.path(), &files, 20);
        for (n, file) in (0..).zip(&all) {
            assert_eq!(byte(&file.get().unwrap()), n);
            all[0].get().unwrap();
            assert!(files.open_and_held().0 <= 8);
        }
        assert!(is_open(&all[0]), "it was used all the time");
        assert!(!is_open(&all[1]));
        assert!(is_open(&all[19]));
        assert_eq!(byte(&all[1].get().unwrap()), 1);
    }

    #[test]
    fn what_is_held_or_in_use_stays_open_without_its_name() {
        let dir = tempfile::tempdir().unwrap();
        let files = Arc::new(OpenFiles::new(4));
        let all = make(dir.path(), &files, 12);
        let in_use = all[0].get().unwrap();
        for file in &all[1..4] {
            file.hold().unwrap();
        }
        for n in 0..4 {
            std::fs::remove_file(dir.path().join(n.to_string())).unwrap();
        }
        for file in &all[4..] {
            file.get().unwrap();
        }
        assert_eq!(files.open_and_held(), (1, 3), "as many as the limit");
        assert!(!is_open(&all[0]));
        assert_eq!(byte(&in_use), 0);
        assert_eq!(byte(&all[3].get().unwrap()), 3);
        all[2].keep().unwrap();
        all[2].release();
        all[3].release();
        all[11].get().unwrap();
        all[10].get().unwrap();
        assert_eq!(files.open_and_held(), (2, 2));
        all[9].get().unwrap();
        all[8].get().unwrap();
        let error = all[3].get().unwrap_err();
        assert!(matches!(error, StorageError::Io { action: "open", .. }));
        assert!(all[0].hold().is_err());
        drop(all);
        assert_eq!(files.open_and_held(), (0, 0));
    }
}
