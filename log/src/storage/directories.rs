//! Several log directories: what lies where, moving a log from one to another, and knowing what lies
//! in one that cannot be opened.
//!
//! Invariant: a partition has one folder that counts. A move copies it into `…-future` in the other
//! directory while the log goes on, then closes the log, copies the rest, marks the copy complete,
//! and only then takes the old folder away and gives the new one its name. After a crash a copy
//! counts only when it is complete and the old folder is gone.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::SystemTime;

use uuid::Uuid;

use super::dir::LogDir;
use super::error::{StorageError, StorageResult};
use super::faults::{Point, point};
use super::files::{
    DELETE_DIR_SUFFIX, create_empty, parse_partition_dir, remove_if_there, rename, sync_dir,
    sync_file, write_atomically,
};
use super::manager::{LogManager, folders};
use super::partition::{OpenLog, PartitionLog};

const FUTURE_DIR_SUFFIX: &str = "-future";
/// In a `…-future` folder: nothing is missing in it.
pub(super) const COMPLETE: &str = "move-complete";
/// In the first directory, where there are several: which partition lies in which.
const PLACEMENT: &str = "log-dir-placement.json";

type Key = (String, i32);

/// A log directory and what lies in it.
#[derive(Debug, Clone)]
pub struct LogDirStatus {
    /// The directory.
    pub path: PathBuf,
    /// Why it is offline, when it is.
    pub offline: Option<String>,
    /// Its logs.
    pub logs: Vec<LogDirEntry>,
    /// The size of its file system, -1 when that is not known.
    pub total_bytes: i64,
    /// What is free there, -1 when that is not known.
    pub usable_bytes: i64,
}

/// A log in a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogDirEntry {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// Bytes of batches.
    pub size: i64,
    /// How far a copy is behind the log it is made from.
    pub offset_lag: i64,
    /// It is such a copy.
    pub is_future: bool,
}

/// Why a log is not moved.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MoveError {
    /// No such directory is configured (`LOG_DIR_NOT_FOUND`).
    #[error("{0} is none of the log directories: name one of log.dirs")]
    UnknownDir(PathBuf),
    /// There is no such log here (`REPLICA_NOT_AVAILABLE`).
    #[error("{topic}-{partition} is not on this node")]
    UnknownLog {
        /// The topic.
        topic: String,
        /// The partition.
        partition: i32,
    },
    /// It failed (`KAFKA_STORAGE_ERROR`).
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// A copy that is being made.
#[derive(Debug)]
pub(super) struct FutureLog {
    dir: Arc<LogDir>,
    size: AtomicI64,
    end_offset: AtomicI64,
}

impl LogManager {
    /// Every log directory, online or not, and what lies in it.
    pub fn log_dirs(&self) -> Vec<LogDirStatus> {
        let futures = self.futures.lock();
        let logs = self.logs();
        self.dirs()
            .iter()
            .map(|dir| {
                let offline = dir.check().err().map(|error| error.to_string());
                let (total_bytes, usable_bytes) = match &offline {
                    None => space(dir.path()),
                    Some(_) => (-1, -1),
                };
                let here = logs.iter().filter(|log| Arc::ptr_eq(log.dir(), dir));
                let mut entries: Vec<_> = here
                    .map(|log| LogDirEntry {
                        topic: log.topic().to_owned(),
                        partition: log.partition(),
                        size: i64::try_from(log.size()).unwrap_or(i64::MAX),
                        offset_lag: 0,
                        is_future: false,
                    })
                    .collect();
                for (key, future) in futures.iter().filter(|(_, f)| Arc::ptr_eq(&f.dir, dir)) {
                    let end = self
                        .get(&key.0, key.1)
                        .map_or(0, |log| log.log_end_offset());
                    entries.push(LogDirEntry {
                        topic: key.0.clone(),
                        partition: key.1,
                        size: future.size.load(Ordering::Relaxed),
                        offset_lag: (end - future.end_offset.load(Ordering::Relaxed)).max(0),
                        is_future: true,
                    });
                }
                LogDirStatus {
                    path: dir.path().to_path_buf(),
                    offline,
                    logs: entries,
                    total_bytes,
                    usable_bytes,
                }
            })
            .collect()
    }

    /// Whether a log can be moved to a directory; `false` when it is there already.
    pub fn can_move(&self, topic: &str, partition: i32, to: &Path) -> Result<bool, MoveError> {
        let dir = self.dir_at(to)?;
        dir.check()?;
        let log = self.log_to_move(topic, partition)?;
        Ok(!Arc::ptr_eq(log.dir(), dir))
    }

    fn dir_at(&self, path: &Path) -> Result<&Arc<LogDir>, MoveError> {
        let same = |dir: &&Arc<LogDir>| {
            dir.path() == path || dir.path().canonicalize().is_ok_and(|real| real == path)
        };
        let found = self.dirs().iter().find(same);
        found.ok_or_else(|| MoveError::UnknownDir(path.to_path_buf()))
    }

    fn log_to_move(&self, topic: &str, partition: i32) -> Result<Arc<PartitionLog>, MoveError> {
        self.get(topic, partition)
            .ok_or_else(|| MoveError::UnknownLog {
                topic: topic.to_owned(),
                partition,
            })
    }

    /// Moves a log to another directory. It goes on until its last bytes are copied, then it is
    /// closed (`NOT_LEADER_OR_FOLLOWER`) and the log returned takes its place; after an error, the
    /// one that [`get`](Self::get) returns. Blocks for as long as the copy takes.
    pub fn move_log(
        &self,
        topic: &str,
        partition: i32,
        to: &Path,
        now: i64,
    ) -> Result<Arc<PartitionLog>, MoveError> {
        let dir = Arc::clone(self.dir_at(to)?);
        dir.check()?;
        let log = self.log_to_move(topic, partition)?;
        if Arc::ptr_eq(log.dir(), &dir) {
            return Ok(log);
        }
        let key = (topic.to_owned(), partition);
        {
            let mut futures = self.futures.lock();
            if futures.contains_key(&key) {
                return Err(StorageError::BadFile {
                    path: log.folder().to_path_buf(),
                    reason: "it is being moved already".to_owned(),
                }
                .into());
            }
            let future = FutureLog {
                dir: Arc::clone(&dir),
                size: AtomicI64::new(0),
                end_offset: AtomicI64::new(log.log_start_offset()),
            };
            futures.insert(key.clone(), Arc::new(future));
        }
        let future = dir.path().join(format!(
            "{topic}-{partition}.{}{FUTURE_DIR_SUFFIX}",
            Uuid::new_v4().simple()
        ));
        let moved = self.copy_and_swap(&log, &dir, &future, &key, now);
        self.futures.lock().remove(&key);
        // Once the old folder has lost its name, the copy is what the next start goes on with.
        if moved.is_err() && log.folder().exists() {
            let _ = fs::remove_dir_all(&future);
        }
        Ok(moved?)
    }

    fn copy_and_swap(
        &self,
        log: &Arc<PartitionLog>,
        dir: &Arc<LogDir>,
        future: &Path,
        key: &Key,
        now: i64,
    ) -> StorageResult<Arc<PartitionLog>> {
        // Segments must not be swapped under the copy.
        let cleaning = log.lock_cleaning();
        fs::create_dir_all(future).map_err(|e| StorageError::io("create", future, e))?;
        let mut copied = BTreeMap::new();
        let progress = self.futures.lock().get(key).cloned();
        for (segment, next) in log.sealed_segments(i64::MAX) {
            log.check_alive()?;
            let Some(name) = segment.path().file_name().map(|name| name.to_owned()) else {
                continue;
            };
            if let Some(stamp) = copy(segment.path(), &future.join(&name))? {
                copied.insert(name, stamp);
            }
            if let Some(progress) = &progress {
                let size = i64::try_from(segment.size()).unwrap_or(i64::MAX);
                progress.size.fetch_add(size, Ordering::Relaxed);
                progress.end_offset.store(next, Ordering::Relaxed);
            }
        }
        drop(cleaning);
        let _changing = self.lock_changing();
        // From here on nothing is appended: who tries is told to look again.
        let config = log.config();
        log.close()?;
        let source = log.folder();
        let doomed = doomed_name(source, &key.0, key.1);
        let ready = copy_rest(source, future, &copied)
            .and_then(|()| create_empty(&future.join(COMPLETE)))
            .and_then(|()| sync_file(&future.join(COMPLETE)))
            .and_then(|()| sync_dir(dir.path()))
            .and_then(|()| {
                let (flushed, start) = (log.flushed_offset(), log.log_start_offset());
                dir.adopt(&key.0, key.1, flushed, start)
            })
            .and_then(|()| rename(source, &doomed));
        if let Err(error) = ready {
            // The old folder is what counts still: it goes on there.
            let open = OpenLog {
                topic: key.0.clone(),
                partition: key.1,
                folder: source.to_path_buf(),
                config: config.as_ref().clone(),
                clean: true,
            };
            let again = PartitionLog::open(log.dir(), open, now)?;
            self.replace_log(key, &again);
            return Err(error);
        }
        let folder = dir.path().join(format!("{}-{}", key.0, key.1));
        // The old folder's going must not be on disk later than the new one's coming.
        let placed = source
            .parent()
            .map_or(Ok(()), sync_dir)
            .and_then(|()| rename(future, &folder))
            .and_then(|()| sync_dir(dir.path()))
            .and_then(|()| remove_if_there(&folder.join(COMPLETE)));
        let opened = placed.and_then(|()| {
            let open = OpenLog {
                topic: key.0.clone(),
                partition: key.1,
                folder: folder.clone(),
                config: config.as_ref().clone(),
                clean: true,
            };
            PartitionLog::open(dir, open, now)
        });
        match opened {
            Ok(moved) => {
                self.replace_log(key, &moved);
                self.save_placement();
                if let Err(error) = log.dir().forget(&key.0, key.1) {
                    tracing::warn!(%error, "the checkpoints still name a log that was moved");
                }
                if let Err(error) = fs::remove_dir_all(&doomed) {
                    tracing::warn!(folder = %doomed.display(), %error,
                        "the old folder of a log that was moved could not be removed");
                }
                tracing::info!(topic = key.0, partition = key.1, to = %dir.path().display(),
                    "moved a log to another directory");
                Ok(moved)
            }
            Err(error) => {
                dir.fail(&error);
                Err(error)
            }
        }
    }

    /// Writes down which partition lies where, for a start without one of the directories.
    pub(super) fn save_placement(&self) {
        let Some(first) = self.dirs().first().filter(|_| self.dirs().len() > 1) else {
            return;
        };
        let mut placed = self.placed_offline();
        for log in self.logs() {
            let name = format!("{}-{}", log.topic(), log.partition());
            placed.insert(name, log.dir().path().display().to_string());
        }
        let sum = placement_sum(&placed);
        let text =
            serde_json::json!({ "version": 1, "partitions": placed, "crc32c": sum }).to_string();
        if let Err(error) = write_atomically(&first.path().join(PLACEMENT), text.as_bytes(), true) {
            tracing::warn!(%error, "which partition lies where could not be written down");
        }
    }
}

fn placement_sum(partitions: &BTreeMap<String, String>) -> u32 {
    partitions.iter().fold(0, |sum, (name, path)| {
        let sum = crc32c::crc32c_append(sum, name.as_bytes());
        crc32c::crc32c_append(sum, path.as_bytes())
    })
}

/// The partitions that were in a directory when it was last seen, by the directory.
pub(super) fn placement(first: &Path) -> BTreeMap<String, PathBuf> {
    #[derive(serde::Deserialize)]
    struct Placement {
        version: u32,
        partitions: BTreeMap<String, String>,
        crc32c: u32,
    }
    let path = first.join(PLACEMENT);
    let Ok(text) = fs::read_to_string(&path) else {
        return BTreeMap::new();
    };
    match serde_json::from_str::<Placement>(&text) {
        Ok(found) if found.version == 1 && found.crc32c == placement_sum(&found.partitions) => {
            found
                .partitions
                .into_iter()
                .map(|(name, path)| (name, PathBuf::from(path)))
                .collect()
        }
        _ => {
            tracing::warn!(file = %path.display(), "which partition lies where cannot be read");
            BTreeMap::new()
        }
    }
}

/// After a crash: a complete copy whose original is gone gets its name, all others go.
pub(super) fn finish_moves(dirs: &[Arc<LogDir>]) -> StorageResult<()> {
    let online = || dirs.iter().filter(|dir| dir.check().is_ok());
    for dir in online() {
        for (name, path) in folders(dir.path())? {
            let Some(stem) = name.strip_suffix(FUTURE_DIR_SUFFIX) else {
                continue;
            };
            let log = stem.rsplit_once('.').map_or(stem, |(log, _)| log);
            let known = parse_partition_dir(log).is_some();
            let original = online().any(|dir| dir.path().join(log).is_dir());
            if known && !original && path.join(COMPLETE).exists() {
                let folder = dir.path().join(log);
                rename(&path, &folder)?;
                sync_dir(dir.path())?;
                remove_if_there(&folder.join(COMPLETE))?;
            } else {
                fs::remove_dir_all(&path).map_err(|e| StorageError::io("delete", &path, e))?;
            }
        }
    }
    Ok(())
}

fn doomed_name(folder: &Path, topic: &str, partition: i32) -> PathBuf {
    let suffix = format!(
        "-{partition}.{}{DELETE_DIR_SUFFIX}",
        Uuid::new_v4().simple()
    );
    let stem = topic
        .get(..topic.len().min(255 - suffix.len()))
        .unwrap_or(topic);
    folder.with_file_name(format!("{stem}{suffix}"))
}

/// What a file looked like when it was copied.
type Stamp = (u64, Option<SystemTime>);

fn stamp(path: &Path) -> Option<Stamp> {
    let meta = fs::metadata(path).ok()?;
    Some((meta.len(), meta.modified().ok()))
}

/// Copies a file and has it on disk; `None` when it is gone.
fn copy(from: &Path, to: &Path) -> StorageResult<Option<Stamp>> {
    let stamp = stamp(from);
    match point(Point::Write).and_then(|()| fs::copy(from, to)) {
        Ok(_) => {}
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            return remove_if_there(to).map(|()| None);
        }
        Err(e) => return Err(StorageError::io("copy", from, e)),
    }
    let file = fs::File::options()
        .write(true)
        .open(to)
        .map_err(|e| StorageError::io("open", to, e))?;
    if let Some((_, Some(modified))) = stamp {
        let _ = file.set_modified(modified);
    }
    point(Point::Sync)
        .and_then(|()| file.sync_all())
        .map_err(|e| StorageError::io("sync", to, e))?;
    Ok(stamp)
}

/// Copies what is not copied yet, or has changed since, and removes what is gone.
fn copy_rest(
    source: &Path,
    future: &Path,
    copied: &BTreeMap<std::ffi::OsString, Stamp>,
) -> StorageResult<()> {
    let mut names = std::collections::BTreeSet::new();
    let list = |folder: &Path| {
        fs::read_dir(folder)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .map_err(|e| StorageError::io("list", folder, e))
    };
    for entry in list(source)? {
        let (name, path) = (entry.file_name(), entry.path());
        if path.extension().is_some_and(|e| e == "deleted") {
            continue;
        }
        if copied.get(&name).copied() != stamp(&path) || !copied.contains_key(&name) {
            copy(&path, &future.join(&name))?;
        }
        names.insert(name);
    }
    for entry in list(future)? {
        if !names.contains(&entry.file_name()) {
            remove_if_there(&entry.path())?;
        }
    }
    sync_dir(future)
}

/// The size of a file system, and what is free of it for us.
fn space(path: &Path) -> (i64, i64) {
    match rustix::fs::statvfs(path) {
        Ok(stat) => {
            let bytes = |blocks: u64| {
                i64::try_from(blocks.saturating_mul(stat.f_frsize)).unwrap_or(i64::MAX)
            };
            (bytes(stat.f_blocks), bytes(stat.f_bavail))
        }
        Err(_) => (-1, -1),
    }
}
