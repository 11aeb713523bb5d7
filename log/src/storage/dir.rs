//! A log directory: its lock, its health, its checkpoints and its group commit.
//!
//! Invariant: after a failed write or fsync nothing in the directory is acknowledged any more. An
//! fsync is never tried again: the kernel may have dropped the pages, and a second one that
//! succeeds would say nothing about them.

use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;

use super::checkpoint::{OffsetMap, read_offsets, write_offsets};
use super::error::{StorageError, StorageResult};
use super::faults::{Point, point};
use super::files::{
    CLEANER_CHECKPOINT, LOCK, LOG_START_CHECKPOINT, RECOVERY_POINT_CHECKPOINT, deleted_name,
    remove_if_there, rename_if_there,
};
use super::open_files::OpenFiles;

/// Something that can be flushed by the group commit.
pub(crate) trait Flush: Send + Sync + 'static {
    /// Flushes; errors are the flushed one's to tell.
    fn flush_in_group(&self);
}

type Work = Arc<dyn Flush>;

/// How many files are fsynced at once: the file system puts them into one journal commit.
const PARALLEL_FLUSHES: usize = 8;

pub(crate) struct LogDir {
    path: PathBuf,
    offline: OnceLock<String>,
    lock: Mutex<Option<File>>,
    files: Arc<OpenFiles>,
    recovery_points: Mutex<OffsetMap>,
    log_starts: Mutex<OffsetMap>,
    cleaner_points: Mutex<OffsetMap>,
    committer: Mutex<Option<mpsc::Sender<Work>>>,
    doomed: Mutex<Vec<Doomed>>,
    #[cfg(test)]
    pub(crate) faults: Faults,
}

/// A file or folder without a name that counts, which is to be removed.
#[derive(Debug)]
struct Doomed {
    path: PathBuf,
    delay_ms: i64,
    /// When, once a clock has been seen.
    due: Option<i64>,
}

/// Failures that a test asks for.
#[cfg(test)]
#[derive(Debug, Default)]
pub(crate) struct Faults {
    /// The next write stops after so many bytes, for want of space.
    pub(crate) disk_full_after: Mutex<Option<usize>>,
    /// The next fsync fails.
    pub(crate) sync_fails: std::sync::atomic::AtomicBool,
}

impl std::fmt::Debug for LogDir {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LogDir")
            .field("path", &self.path)
            .field("offline", &self.offline)
            .finish()
    }
}

impl LogDir {
    /// Makes the folder when it is missing, and locks it.
    pub(crate) fn open(path: &Path, files: &Arc<OpenFiles>) -> StorageResult<Self> {
        let refused = |source| StorageError::NotWritable {
            path: path.to_path_buf(),
            source,
        };
        fs::create_dir_all(path).map_err(refused)?;
        let lock = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path.join(LOCK))
            .map_err(refused)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => {
                return Err(StorageError::InUse {
                    path: path.to_path_buf(),
                });
            }
            Err(fs::TryLockError::Error(e)) => return Err(refused(e)),
        }
        Ok(Self {
            path: path.to_path_buf(),
            offline: OnceLock::new(),
            lock: Mutex::new(Some(lock)),
            files: Arc::clone(files),
            recovery_points: Mutex::new(or_none(path, RECOVERY_POINT_CHECKPOINT)),
            log_starts: Mutex::new(log_starts(path)?),
            cleaner_points: Mutex::new(or_none(path, CLEANER_CHECKPOINT)),
            committer: Mutex::new(None),
            doomed: Mutex::default(),
            #[cfg(test)]
            faults: Faults::default(),
        })
    }

    /// A directory that cannot be opened: offline from the start.
    pub(crate) fn broken(path: &Path, files: &Arc<OpenFiles>, error: &StorageError) -> Self {
        let dir = Self {
            path: path.to_path_buf(),
            offline: OnceLock::new(),
            lock: Mutex::new(None),
            files: Arc::clone(files),
            recovery_points: Mutex::default(),
            log_starts: Mutex::default(),
            cleaner_points: Mutex::default(),
            committer: Mutex::new(None),
            doomed: Mutex::default(),
            #[cfg(test)]
            faults: Faults::default(),
        };
        dir.fail(error);
        dir
    }

    /// A log comes from another directory, closed and with everything on disk.
    pub(crate) fn adopt(
        &self,
        topic: &str,
        partition: i32,
        recovery_point: i64,
        log_start: i64,
    ) -> StorageResult<()> {
        self.forget(topic, partition)?;
        {
            let mut held = self.recovery_points.lock();
            held.insert((topic.to_owned(), partition), recovery_point);
            write_offsets(&self.path.join(RECOVERY_POINT_CHECKPOINT), &held)?;
        }
        self.set_log_start(topic, partition, log_start)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// How the files of its segments are kept open.
    pub(crate) fn files(&self) -> &Arc<OpenFiles> {
        &self.files
    }

    /// Takes a file's name away and removes it `delay_ms` from now (`file.delete.delay.ms`). One
    /// that is not there is fine.
    pub(crate) fn delete_file(&self, path: &Path, delay_ms: i64) -> StorageResult<()> {
        if delay_ms <= 0 {
            return remove_if_there(path);
        }
        let deleted = deleted_name(path);
        if rename_if_there(path, &deleted)? {
            self.remove_later(deleted, delay_ms)?;
        }
        Ok(())
    }

    /// Removes a file or folder whose name does not count any more, `delay_ms` from the next
    /// [`remove_due`](Self::remove_due). A crash before then leaves it to the next open.
    pub(crate) fn remove_later(&self, path: PathBuf, delay_ms: i64) -> StorageResult<()> {
        if delay_ms <= 0 {
            return remove_all(&path);
        }
        self.doomed.lock().push(Doomed {
            path,
            delay_ms,
            due: None,
        });
        Ok(())
    }

    /// Removes what is due at `now`; without a time, everything.
    pub(crate) fn remove_due(&self, now: Option<i64>) {
        let mut due = Vec::new();
        self.doomed.lock().retain_mut(|doomed| {
            let wait = now.is_some_and(|now| {
                let at = now.saturating_add(doomed.delay_ms);
                *doomed.due.get_or_insert(at) > now
            });
            if !wait {
                due.push(std::mem::take(&mut doomed.path));
            }
            wait
        });
        for path in due {
            if let Err(error) = remove_all(&path) {
                tracing::warn!(%error, "what was deleted could not be removed; the next start will");
            }
        }
    }

    /// Gives the lock back; another process may open the folder.
    pub(crate) fn unlock(&self) {
        *self.committer.lock() = None;
        *self.lock.lock() = None;
    }

    /// An error when the directory is offline.
    pub(crate) fn check(&self) -> StorageResult<()> {
        match self.offline.get() {
            None => Ok(()),
            Some(reason) => Err(StorageError::Offline {
                path: self.path.clone(),
                reason: reason.clone(),
            }),
        }
    }

    /// Takes the directory offline.
    pub(crate) fn fail(&self, error: &StorageError) {
        if self.offline.set(error.to_string()).is_ok() {
            tracing::error!(dir = %self.path.display(), %error, "log directory goes offline");
        }
    }

    pub(crate) fn recovery_point(&self, topic: &str, partition: i32) -> Option<i64> {
        self.recovery_points
            .lock()
            .get(&(topic.to_owned(), partition))
            .copied()
    }

    pub(crate) fn checkpointed_log_start(&self, topic: &str, partition: i32) -> Option<i64> {
        self.log_starts
            .lock()
            .get(&(topic.to_owned(), partition))
            .copied()
    }

    /// Writes the recovery points, where they changed.
    pub(crate) fn write_recovery_points(&self, points: OffsetMap) -> StorageResult<()> {
        self.check()?;
        self.replace(&self.recovery_points, points, RECOVERY_POINT_CHECKPOINT)
    }

    /// Writes the log start offsets, where they changed.
    pub(crate) fn write_log_starts(&self, starts: OffsetMap) -> StorageResult<()> {
        self.check()?;
        self.replace(&self.log_starts, starts, LOG_START_CHECKPOINT)
    }

    fn replace(&self, held: &Mutex<OffsetMap>, new: OffsetMap, file: &str) -> StorageResult<()> {
        let mut held = held.lock();
        if *held != new {
            write_offsets(&self.path.join(file), &new)?;
            *held = new;
        }
        Ok(())
    }

    /// Before a log is cut off: nothing at or above `offset` counts as recovered any more, for
    /// recovery takes damage below the recovery point for corruption and not for a torn tail.
    pub(crate) fn lower_recovery_point(
        &self,
        topic: &str,
        partition: i32,
        offset: i64,
    ) -> StorageResult<()> {
        let mut held = self.recovery_points.lock();
        if let Some(point) = held.get_mut(&(topic.to_owned(), partition))
            && *point > offset
        {
            *point = offset;
            write_offsets(&self.path.join(RECOVERY_POINT_CHECKPOINT), &held)?;
        }
        Ok(())
    }

    /// Where the part of a log begins that was never compacted.
    pub(crate) fn cleaner_point(&self, topic: &str, partition: i32) -> Option<i64> {
        self.cleaner_points
            .lock()
            .get(&(topic.to_owned(), partition))
            .copied()
    }

    /// A log was compacted up to `offset`.
    pub(crate) fn set_cleaner_point(
        &self,
        topic: &str,
        partition: i32,
        offset: i64,
    ) -> StorageResult<()> {
        self.check()?;
        let mut held = self.cleaner_points.lock();
        held.insert((topic.to_owned(), partition), offset);
        write_offsets(&self.path.join(CLEANER_CHECKPOINT), &held)
    }

    /// Has the log start offset on disk.
    pub(crate) fn set_log_start(
        &self,
        topic: &str,
        partition: i32,
        offset: i64,
    ) -> StorageResult<()> {
        let mut held = self.log_starts.lock();
        held.insert((topic.to_owned(), partition), offset);
        write_offsets(&self.path.join(LOG_START_CHECKPOINT), &held)
    }

    /// Before a log is made: what the checkpoints say of one that was deleted and had its name
    /// must not be taken for the new one's.
    pub(crate) fn forget(&self, topic: &str, partition: i32) -> StorageResult<()> {
        let key = (topic.to_owned(), partition);
        for (held, file) in [
            (&self.recovery_points, RECOVERY_POINT_CHECKPOINT),
            (&self.log_starts, LOG_START_CHECKPOINT),
            (&self.cleaner_points, CLEANER_CHECKPOINT),
        ] {
            let mut held = held.lock();
            if held.remove(&key).is_some() {
                write_offsets(&self.path.join(file), &held)?;
            }
        }
        Ok(())
    }

    /// Has a log flushed with the next group commit, of which there is one at a time: what is
    /// asked for while it runs shares the one after it.
    pub(crate) fn flush_soon(&self, work: Work) {
        let mut committer = self.committer.lock();
        let work = match committer.as_ref() {
            Some(sender) => match sender.send(work) {
                Ok(()) => return,
                Err(mpsc::SendError(work)) => work,
            },
            None => work,
        };
        let (sender, receiver) = mpsc::channel();
        let name = "log-flush".to_owned();
        match std::thread::Builder::new()
            .name(name)
            .spawn(move || commit_groups(&receiver))
        {
            Ok(_) => {
                let _ = sender.send(work);
                *committer = Some(sender);
            }
            // Without a thread the caller does the work.
            Err(_) => {
                drop(committer);
                work.flush_in_group();
            }
        }
    }
}

/// Removes a file, or a folder with all that is in it.
fn remove_all(path: &Path) -> StorageResult<()> {
    if !path.is_dir() {
        return remove_if_there(path);
    }
    point(Point::Unlink)
        .and_then(|()| fs::remove_dir_all(path))
        .map_err(|e| StorageError::io("delete", path, e))
}

/// What a checkpoint says that only saves work: without the recovery points every log is read whole
/// after a crash; what the cleaner's says the segments say too.
fn or_none(path: &Path, name: &str) -> OffsetMap {
    read_offsets(&path.join(name)).unwrap_or_else(|error| {
        tracing::warn!(%error, "a damaged checkpoint is not used");
        OffsetMap::new()
    })
}

/// Where the logs begin. Nothing else says which records were deleted.
fn log_starts(path: &Path) -> StorageResult<OffsetMap> {
    read_offsets(&path.join(LOG_START_CHECKPOINT)).map_err(|error| match error {
        StorageError::BadFile { path, reason } => StorageError::BadFile {
            path,
            reason: format!(
                "{reason}; put a good copy in its place, or remove it: then records that were \
                 deleted may come back, as far as their segments are there"
            ),
        },
        other => other,
    })
}

fn commit_groups(receiver: &mpsc::Receiver<Work>) {
    while let Ok(first) = receiver.recv() {
        let mut group = vec![first];
        group.extend(receiver.try_iter());
        if let [one] = group.as_slice() {
            one.flush_in_group();
            continue;
        }
        let queue = Mutex::new(group.into_iter());
        std::thread::scope(|scope| {
            for _ in 0..PARALLEL_FLUSHES.min(queue.lock().len()) {
                scope.spawn(|| {
                    loop {
                        let Some(work) = queue.lock().next() else {
                            break;
                        };
                        work.flush_in_group();
                    }
                });
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(path: &Path) -> StorageResult<LogDir> {
        LogDir::open(path, &OpenFiles::of_the_process())
    }

    #[test]
    fn a_folder_has_one_user() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("new/data");
        let first = open(&path).unwrap();
        let error = open(&path).unwrap_err();
        assert!(matches!(error, StorageError::InUse { .. }), "{error}");
        first.unlock();
        open(&path).unwrap();
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        fs::write(&file, "").unwrap();
        let error = open(&file.join("data")).unwrap_err();
        assert!(matches!(error, StorageError::NotWritable { .. }), "{error}");
    }

    #[test]
    fn what_is_deleted_stays_for_its_delay_under_another_name() {
        let folder = tempfile::tempdir().unwrap();
        let dir = open(folder.path()).unwrap();
        let left = || {
            let mut names: Vec<_> = fs::read_dir(folder.path())
                .unwrap()
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .filter(|name| name != LOCK)
                .collect();
            names.sort();
            names
        };
        for (name, delay) in [("a", 0), ("b", 100), ("c", 1000)] {
            fs::write(folder.path().join(name), "x").unwrap();
            dir.delete_file(&folder.path().join(name), delay).unwrap();
            dir.delete_file(&folder.path().join("none"), delay).unwrap();
        }
        let doomed = folder.path().join("t-0.x-delete");
        fs::create_dir(&doomed).unwrap();
        fs::write(doomed.join("f"), "x").unwrap();
        dir.remove_later(doomed, 100).unwrap();
        assert_eq!(left(), ["b.deleted", "c.deleted", "t-0.x-delete"]);
        dir.remove_due(Some(5000));
        dir.remove_due(Some(5099));
        assert_eq!(left().len(), 3);
        dir.remove_due(Some(5100));
        assert_eq!(left(), ["c.deleted"]);
        dir.remove_due(None);
        assert!(left().is_empty());
    }

    #[test]
    fn the_first_failure_stays() {
        let dir = tempfile::tempdir().unwrap();
        let dir = open(dir.path()).unwrap();
        dir.check().unwrap();
        dir.fail(&StorageError::DiskFull {
            path: "first".into(),
        });
        dir.fail(&StorageError::DiskFull {
            path: "second".into(),
        });
        assert!(dir.check().unwrap_err().to_string().contains("first"));
    }
}
