//! All logs of a data folder: opened together, in parallel; ticked together; closed together.
//!
//! Invariant: the clean-shutdown marker is on disk only while no log is open. It is written after
//! everything else at a close, and removed before anything else at an open.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use dashmap::DashMap;
use parking_lot::{Mutex, MutexGuard};
use uuid::Uuid;

use super::checkpoint::OffsetMap;
use super::cleaner::{Cleaner, CleanerConfig, Compaction};
use super::config::LogConfig;
use super::dir::LogDir;
use super::directories::{FutureLog, finish_moves, placement};
use super::error::{StorageError, StorageResult};
use super::faults::{Point, point};
use super::files::{
    CLEAN_SHUTDOWN, DELETE_DIR_SUFFIX, is_legal_topic, parse_partition_dir, remove_if_there,
    rename, sync_dir, uuid_to_text, write_atomically,
};
use super::import::ImportError;
use super::open_files::OpenFiles;
use super::partition::{OpenLog, PartitionLog};
use super::properties::{MetaProperties, read_topic_id, write_topic_id};

/// What a [`LogManager`] is opened with.
#[derive(Debug, Clone)]
pub struct LogManagerConfig {
    /// The log directories (`log.dirs`); created when missing.
    pub dirs: Vec<PathBuf>,
    /// The cluster's id, written to `meta.properties` of a new folder; `None` takes what is there,
    /// or makes one up.
    pub cluster_id: Option<String>,
    /// The node's id; must be that of `meta.properties`.
    pub node_id: i32,
    /// The settings of topics (the broker's defaults).
    pub defaults: LogConfig,
    /// Settings of single topics that must hold from the start (internal topics). All others are
    /// set with [`PartitionLog::update_config`] when the metadata is there.
    pub topics: BTreeMap<String, LogConfig>,
    /// `producer.id.expiration.ms`: how long the state of an idle producer is kept.
    pub producer_id_expiration_ms: i64,
    /// `log.retention.check.interval.ms`: how often retention is looked after.
    pub retention_check_interval_ms: i64,
    /// `log.flush.offset.checkpoint.interval.ms`: how often the recovery points are written.
    pub checkpoint_interval_ms: i64,
    /// `log.flush.start.offset.checkpoint.interval.ms`: how often the log start offsets are written.
    pub start_checkpoint_interval_ms: i64,
    /// `num.recovery.threads.per.data.dir`: how many logs of each directory are opened, and closed,
    /// at once.
    pub recovery_threads: usize,
    /// How topics are compacted.
    pub cleaner: CleanerConfig,
    /// How many files of segments may be open at once, beside the active ones; `None` takes half of
    /// what the process may open, together with all others in it.
    pub max_open_files: Option<usize>,
}

impl LogManagerConfig {
    /// One folder, and Kafka's defaults.
    pub fn new(dir: impl Into<PathBuf>, node_id: i32) -> Self {
        Self {
            dirs: vec![dir.into()],
            cluster_id: None,
            node_id,
            defaults: LogConfig::default(),
            topics: BTreeMap::new(),
            producer_id_expiration_ms: 86_400_000,
            retention_check_interval_ms: 300_000,
            checkpoint_interval_ms: 60_000,
            start_checkpoint_interval_ms: 60_000,
            recovery_threads: std::thread::available_parallelism().map_or(2, usize::from),
            cleaner: CleanerConfig::default(),
            max_open_files: None,
        }
    }

    fn config_of(&self, topic: &str) -> LogConfig {
        self.topics.get(topic).unwrap_or(&self.defaults).clone()
    }
}

type Key = (String, i32);

/// All logs of a data folder: blocking, shared as `Arc<LogManager>`.
///
/// ```
/// use bytes::Bytes;
/// use thalweg_log::record::{BatchBuilder, Compression, batches};
/// use thalweg_log::storage::{AppendOrigin, FetchIsolation, LogConfig, LogManager, LogManagerConfig};
///
/// let dir = tempfile::tempdir().unwrap();
/// let now = 1_700_000_000_000;
/// let manager = LogManager::open(LogManagerConfig::new(dir.path(), 1), now).unwrap();
/// let log = manager
///     .get_or_create("orders", 0, uuid::Uuid::new_v4(), LogConfig::default(), now)
///     .unwrap();
///
/// let mut batch = BatchBuilder::new(Compression::None);
/// batch.append(now, None, Some(b"hello"), &[]).unwrap();
/// let info = log.append(batch.build().unwrap(), 0, AppendOrigin::Client, now).unwrap();
/// assert_eq!((info.first_offset, log.log_end_offset()), (0, 1));
///
/// let data = log.read(0, 1 << 20, true, FetchIsolation::HighWatermark).unwrap();
/// assert_eq!(batches(data.records).count(), 1);
/// manager.close().unwrap();
/// ```
#[derive(Debug)]
pub struct LogManager {
    config: LogManagerConfig,
    cluster_id: String,
    dirs: Vec<Arc<LogDir>>,
    logs: DashMap<Key, Arc<PartitionLog>>,
    failed: Mutex<BTreeMap<Key, Arc<StorageError>>>,
    cleaner: Arc<Cleaner>,
    pub(super) futures: Mutex<BTreeMap<Key, Arc<FutureLog>>>,
    /// One creates or deletes at a time.
    changing: Mutex<()>,
    closed: AtomicBool,
    last_retention: AtomicI64,
    last_checkpoint: AtomicI64,
    last_starts: AtomicI64,
    producer_expiration: AtomicI64,
}

/// Writes what an imported log is made of into its folder.
type CopyInto<'a> = dyn Fn(&Arc<LogDir>, &Path) -> Result<(), ImportError> + 'a;

/// A log that was found in a folder.
struct FoundLog {
    dir: Arc<LogDir>,
    open: OpenLog,
}

impl LogManager {
    /// Locks the folder(s) and opens every log in them, in parallel; after a crash, recovers them.
    ///
    /// A log that is damaged does not keep the others from serving: see [`failed`](Self::failed).
    pub fn open(config: LogManagerConfig, now: i64) -> StorageResult<Self> {
        let files = match config.max_open_files {
            Some(limit) => Arc::new(OpenFiles::new(limit)),
            None => OpenFiles::of_the_process(),
        };
        let mut dirs = Vec::with_capacity(config.dirs.len());
        for path in &config.dirs {
            dirs.push(Arc::new(match LogDir::open(path, &files) {
                Ok(dir) => dir,
                // Of several, one may be broken; not the first, which has the metadata.
                Err(error) if !dirs.is_empty() && !matches!(error, StorageError::InUse { .. }) => {
                    LogDir::broken(path, &files, &error)
                }
                Err(error) => return Err(error),
            }));
        }
        let cluster_id = claim(&dirs, &config)?;
        finish_moves(&dirs)?;
        let mut found = Vec::new();
        for dir in dirs.iter().filter(|dir| dir.check().is_ok()) {
            find_logs(dir, &config, &mut found)?;
        }
        let failed = missing_logs(&dirs, &mut found);
        let expiration = config.producer_id_expiration_ms;
        let manager = Self {
            cleaner: Arc::new(Cleaner::new(config.cleaner.clone())),
            config,
            cluster_id,
            dirs,
            logs: DashMap::new(),
            failed: Mutex::new(failed),
            futures: Mutex::default(),
            changing: Mutex::new(()),
            closed: AtomicBool::new(false),
            last_retention: AtomicI64::new(now),
            last_checkpoint: AtomicI64::new(now),
            last_starts: AtomicI64::new(now),
            producer_expiration: AtomicI64::new(expiration),
        };
        let dir_of = |found: &FoundLog| Arc::as_ptr(&found.dir);
        in_parallel(
            found,
            dir_of,
            manager.config.recovery_threads,
            |FoundLog { dir, open }| manager.open_log(&dir, open, now),
        );
        manager.save_placement();
        Ok(manager)
    }

    pub(super) fn dirs(&self) -> &[Arc<LogDir>] {
        &self.dirs
    }

    pub(super) fn lock_changing(&self) -> MutexGuard<'_, ()> {
        self.changing.lock()
    }

    /// A log was moved: this is it now.
    pub(super) fn replace_log(&self, key: &Key, log: &Arc<PartitionLog>) {
        self.logs.insert(key.clone(), Arc::clone(log));
    }

    /// The partitions in directories that are offline, and which.
    pub(super) fn placed_offline(&self) -> BTreeMap<String, String> {
        let failed = self.failed.lock();
        let offline = failed.iter().filter_map(|(key, error)| match &**error {
            StorageError::Offline { path, .. } => {
                Some((format!("{}-{}", key.0, key.1), path.display().to_string()))
            }
            _ => None,
        });
        offline.collect()
    }

    fn open_log(&self, dir: &Arc<LogDir>, open: OpenLog, now: i64) {
        let key = (open.topic.clone(), open.partition);
        match PartitionLog::open(dir, open, now) {
            Ok(log) => {
                self.logs.insert(key, log);
            }
            Err(error) => {
                tracing::error!(topic = key.0, partition = key.1, %error, "the log cannot be opened");
                self.failed.lock().insert(key, Arc::new(error));
            }
        }
    }

    /// The cluster's id in `meta.properties`.
    pub fn cluster_id(&self) -> &str {
        &self.cluster_id
    }

    /// The log of a partition.
    pub fn get(&self, topic: &str, partition: i32) -> Option<Arc<PartitionLog>> {
        self.logs
            .get(&(topic.to_owned(), partition))
            .map(|log| Arc::clone(&log))
    }

    /// The log of a partition, created when missing. The topic id must be the one it has.
    pub fn get_or_create(
        &self,
        topic: &str,
        partition: i32,
        topic_id: Uuid,
        config: LogConfig,
        now: i64,
    ) -> StorageResult<Arc<PartitionLog>> {
        if !is_legal_topic(topic) || partition < 0 {
            return Err(StorageError::IllegalTopicName(topic.to_owned()));
        }
        let _changing = self.changing.lock();
        if let Some(log) = self.get(topic, partition) {
            return match log.topic_id() {
                found if found == topic_id => Ok(log),
                found if found.is_nil() => {
                    log.adopt_topic_id(topic_id)?;
                    Ok(log)
                }
                found => Err(StorageError::TopicIdMismatch {
                    topic: topic.to_owned(),
                    partition,
                    found,
                    expected: topic_id,
                }),
            };
        }
        if self.closed.load(Ordering::Acquire) {
            return Err(StorageError::Closed {
                topic: topic.to_owned(),
                partition,
            });
        }
        if let Some(error) = self.failed.lock().get(&(topic.to_owned(), partition)) {
            return Err(StorageError::Failed {
                topic: topic.to_owned(),
                partition,
                source: Arc::clone(error),
            });
        }
        let dir = self.emptiest_dir()?;
        dir.check()?;
        dir.forget(topic, partition)?;
        let folder = dir.path().join(format!("{topic}-{partition}"));
        point(Point::Create)
            .and_then(|()| fs::create_dir_all(&folder))
            .map_err(|e| StorageError::io("create", &folder, e))?;
        if read_topic_id(&folder)?.is_none() {
            write_topic_id(&folder, topic_id)?;
        }
        // Nothing is fsynced for a log without records: the first flush does that.
        let open = OpenLog {
            topic: topic.to_owned(),
            partition,
            folder,
            config,
            clean: false,
        };
        let log = PartitionLog::open(dir, open, now)?;
        self.logs
            .insert((topic.to_owned(), partition), Arc::clone(&log));
        self.save_placement();
        Ok(log)
    }

    /// Makes a log of what `copy` writes into its folder, in the directory with the fewest. The
    /// folder gets its name once everything is in it.
    pub(super) fn install(
        &self,
        topic: &str,
        partition: i32,
        config: &LogConfig,
        log_start: i64,
        now: i64,
        copy: &CopyInto<'_>,
    ) -> Result<Arc<PartitionLog>, ImportError> {
        let _changing = self.changing.lock();
        let dir = self.emptiest_dir()?;
        dir.check()?;
        let name = format!("{topic}-{partition}");
        let folder = dir.path().join(&name);
        if folder.exists() {
            return Err(ImportError::Exists {
                topic: topic.to_owned(),
                partition,
            });
        }
        // By this ending the next open removes it, if this is not the end of it.
        let making = dir.path().join(format!(
            "{partition}.{}{DELETE_DIR_SUFFIX}",
            Uuid::new_v4().simple()
        ));
        fs::create_dir_all(&making).map_err(|e| StorageError::io("create", &making, e))?;
        let made = copy(dir, &making).and_then(|()| {
            dir.adopt(topic, partition, 0, log_start)?;
            rename(&making, &folder)?;
            sync_dir(dir.path())?;
            let open = OpenLog {
                topic: topic.to_owned(),
                partition,
                folder: folder.clone(),
                config: config.clone(),
                clean: false,
            };
            let log = PartitionLog::open(dir, open, now)?;
            log.flush()?;
            Ok(log)
        });
        match made {
            Ok(log) => {
                self.logs
                    .insert((topic.to_owned(), partition), Arc::clone(&log));
                self.save_placement();
                Ok(log)
            }
            Err(error) => {
                for left in [&making, &folder] {
                    let _ = fs::remove_dir_all(left);
                }
                Err(error)
            }
        }
    }

    fn emptiest_dir(&self) -> StorageResult<&Arc<LogDir>> {
        let count = |dir: &Arc<LogDir>| {
            self.logs
                .iter()
                .filter(|log| Arc::ptr_eq(log.value().dir(), dir))
                .count()
        };
        let online = self.dirs.iter().filter(|dir| dir.check().is_ok());
        match online.min_by_key(|dir| count(dir)) {
            Some(dir) => Ok(dir),
            None => match self.dirs.first() {
                Some(dir) => dir.check().map(|()| dir),
                None => Err(StorageError::BadFile {
                    path: PathBuf::new(),
                    reason: "no log directory is configured".to_owned(),
                }),
            },
        }
    }

    /// Deletes a partition: its folder is renamed to `…-delete`, and removed after
    /// `file.delete.delay.ms`; after a crash in between, the next open removes it. One that is not
    /// there is fine.
    pub fn delete(&self, topic: &str, partition: i32) -> StorageResult<()> {
        let _changing = self.changing.lock();
        let key = (topic.to_owned(), partition);
        let failed = self.failed.lock().remove(&key).is_some();
        let mut delay = self.config.defaults.file_delete_delay_ms;
        let (dir, folder) = match self.logs.remove(&key) {
            Some((_, log)) => {
                log.shut();
                delay = log.config().file_delete_delay_ms;
                // A compaction under way sees that the log is closed.
                drop(log.lock_cleaning());
                self.cleaner.forget(topic, partition);
                (Arc::clone(log.dir()), log.folder().to_path_buf())
            }
            None if failed => {
                let name = format!("{topic}-{partition}");
                let held = self.dirs.iter().find(|dir| dir.path().join(&name).is_dir());
                let Some(dir) = held else { return Ok(()) };
                (Arc::clone(dir), dir.path().join(name))
            }
            None => return Ok(()),
        };
        // A name has at most 255 bytes.
        let suffix = format!(
            "-{partition}.{}{DELETE_DIR_SUFFIX}",
            Uuid::new_v4().simple()
        );
        let stem = topic
            .get(..topic.len().min(255 - suffix.len()))
            .unwrap_or(topic);
        let doomed = dir.path().join(format!("{stem}{suffix}"));
        point(Point::Rename)
            .and_then(|()| fs::rename(&folder, &doomed))
            .map_err(|e| StorageError::io("delete", &folder, e))?;
        dir.remove_later(doomed, delay)
    }

    /// Every log.
    pub fn logs(&self) -> Vec<Arc<PartitionLog>> {
        self.logs
            .iter()
            .map(|log| Arc::clone(log.value()))
            .collect()
    }

    /// Partitions whose log could not be opened, and why; all others serve.
    pub fn failed(&self) -> Vec<(String, i32, Arc<StorageError>)> {
        let failed = self.failed.lock();
        failed
            .iter()
            .map(|(key, error)| (key.0.clone(), key.1, Arc::clone(error)))
            .collect()
    }

    /// Background duties; call about every second: flush by `flush.ms`, retention, expiry of
    /// producers, checkpoints. Goes on with the other logs where one fails, and returns the first
    /// error.
    pub fn tick(&self, now: i64) -> StorageResult<()> {
        let due = |last: &AtomicI64, interval: i64| {
            let due = now.saturating_sub(last.load(Ordering::Relaxed)) >= interval;
            if due {
                last.store(now, Ordering::Relaxed);
            }
            due
        };
        let retention = due(
            &self.last_retention,
            self.config.retention_check_interval_ms,
        );
        let checkpoint = due(&self.last_checkpoint, self.config.checkpoint_interval_ms);
        let starts = due(&self.last_starts, self.config.start_checkpoint_interval_ms);
        let mut result = Ok(());
        for log in self.logs() {
            let mut done = log.flush_if_due(now);
            if retention {
                done = done.and_then(|()| log.apply_retention(now).map(drop));
                done = done.and_then(|()| log.roll_when_idle(now));
                log.expire_producers(now, self.producer_expiration.load(Ordering::Relaxed));
            }
            // One that was deleted meanwhile has nothing to tell.
            if !matches!(done, Err(StorageError::Closed { .. })) {
                result = result.and(done);
            }
        }
        if checkpoint {
            result = result.and(self.write_recovery_points());
        }
        if starts {
            result = result.and(self.write_log_starts());
        }
        for dir in self.dirs.iter().filter(|dir| dir.check().is_ok()) {
            dir.remove_due(Some(now));
        }
        result
    }

    /// Starts the threads that compact logs, where `log.cleaner.enable` says so. `clock` tells the
    /// time in milliseconds since the epoch.
    pub fn start_cleaner(self: &Arc<Self>, clock: fn() -> i64) {
        Cleaner::start(self, clock);
    }

    /// Has the cleaner take other settings.
    pub fn reconfigure_cleaner(self: &Arc<Self>, config: CleanerConfig) {
        Cleaner::reconfigure(self, config);
    }

    /// Takes another `producer.id.expiration.ms`.
    pub fn set_producer_id_expiration(&self, expiration_ms: i64) {
        self.producer_expiration
            .store(expiration_ms, Ordering::Relaxed);
    }

    /// Compacts the log with the largest dirty share, where that is due: what the cleaner's threads
    /// do over and over. `None` when there is none, or when it could not be.
    pub fn compact_dirtiest(&self, now: i64) -> Option<Compaction> {
        self.cleaner.clean_dirtiest(self, now, false)
    }

    /// Logs that cannot be compacted, and why; they stay as they are.
    pub fn uncleanable(&self) -> Vec<(String, i32, String)> {
        self.cleaner.uncleanable()
    }

    pub(crate) fn cleaner(&self) -> &Arc<Cleaner> {
        &self.cleaner
    }

    /// Writes the recovery points and log start offsets.
    pub fn checkpoint(&self) -> StorageResult<()> {
        let recovery = self.write_recovery_points();
        recovery.and(self.write_log_starts())
    }

    fn write_recovery_points(&self) -> StorageResult<()> {
        self.write_offsets(
            PartitionLog::recovery_point,
            |dir, key| dir.recovery_point(&key.0, key.1),
            LogDir::write_recovery_points,
        )
    }

    fn write_log_starts(&self) -> StorageResult<()> {
        self.write_offsets(
            PartitionLog::log_start_offset,
            |dir, key| dir.checkpointed_log_start(&key.0, key.1),
            LogDir::write_log_starts,
        )
    }

    /// Writes an offset of every log, directory by directory; of logs that could not be opened,
    /// what was written before.
    fn write_offsets(
        &self,
        of: impl Fn(&PartitionLog) -> i64,
        before: impl Fn(&LogDir, &Key) -> Option<i64>,
        write: impl Fn(&LogDir, OffsetMap) -> StorageResult<()>,
    ) -> StorageResult<()> {
        let mut result = Ok(());
        // One that is offline has told so.
        for dir in self.dirs.iter().filter(|dir| dir.check().is_ok()) {
            let mut offsets = OffsetMap::new();
            for log in self.logs.iter().filter(|log| Arc::ptr_eq(log.dir(), dir)) {
                offsets.insert(log.key().clone(), of(&log));
            }
            for (key, _) in self.failed.lock().iter() {
                if let Some(offset) = before(dir, key) {
                    offsets.insert(key.clone(), offset);
                }
            }
            result = result.and(write(dir, offsets));
        }
        result
    }

    /// Flushes and closes every log, writes the checkpoints and the clean-shutdown marker, and
    /// gives the lock back. Dropping without it is as a crash: the next open recovers.
    pub fn close(&self) -> StorageResult<()> {
        self.cleaner.stop();
        let _changing = self.changing.lock();
        if self.closed.swap(true, Ordering::AcqRel) {
            return Ok(());
        }
        let errors = Mutex::new(Vec::new());
        let dir_of = |log: &Arc<PartitionLog>| Arc::as_ptr(log.dir());
        in_parallel(self.logs(), dir_of, self.config.recovery_threads, |log| {
            if let Err(error) = log.close() {
                errors.lock().push(error);
            }
        });
        let mut result = errors.into_inner().into_iter().next().map_or(Ok(()), Err);
        let written = self.checkpoint();
        for dir in self.dirs.iter().filter(|dir| dir.check().is_ok()) {
            dir.remove_due(None);
        }
        // An offline directory says nothing about the others.
        let others = |result: &StorageResult<()>| {
            matches!(result, Ok(()) | Err(StorageError::Offline { .. }))
        };
        if others(&result) && others(&written) {
            for dir in self.dirs.iter().filter(|dir| dir.check().is_ok()) {
                let marker = dir.path().join(CLEAN_SHUTDOWN);
                let text = b"{\"version\":0,\"brokerEpoch\":-1}";
                result = result.and(write_atomically(&marker, text, true));
            }
        }
        result = result.and(written);
        self.dirs.iter().for_each(|dir| dir.unlock());
        result
    }
}

impl Drop for LogManager {
    fn drop(&mut self) {
        if !self.closed.swap(true, Ordering::AcqRel) {
            // Who still holds a log must not write to a folder that another may have locked.
            self.logs.iter().for_each(|log| log.shut());
            self.dirs.iter().for_each(|dir| dir.unlock());
        }
    }
}

/// Does the work, so many pieces of each directory at once.
fn in_parallel<T: Send>(
    all: Vec<T>,
    dir_of: impl Fn(&T) -> *const LogDir,
    threads: usize,
    work: impl Fn(T) + Sync,
) {
    let mut queues = BTreeMap::<_, Vec<T>>::new();
    for piece in all {
        queues.entry(dir_of(&piece)).or_default().push(piece);
    }
    let queues: Vec<_> = queues.into_values().map(Mutex::new).collect();
    let work = &work;
    std::thread::scope(|scope| {
        for queue in &queues {
            let threads = threads.max(1).min(queue.lock().len());
            for _ in 0..threads {
                scope.spawn(move || {
                    loop {
                        let Some(piece) = queue.lock().pop() else {
                            break;
                        };
                        work(piece);
                    }
                });
            }
        }
    });
}

/// Checks that the folders are this node's; marks new ones. Returns the cluster's id.
fn claim(dirs: &[Arc<LogDir>], config: &LogManagerConfig) -> StorageResult<String> {
    let mut found = Vec::with_capacity(dirs.len());
    let dirs: Vec<_> = dirs.iter().filter(|dir| dir.check().is_ok()).collect();
    for dir in &dirs {
        found.push(MetaProperties::read(dir.path())?);
    }
    let known = found
        .iter()
        .flatten()
        .next()
        .map(|meta| meta.cluster_id.clone());
    let cluster_id = config
        .cluster_id
        .clone()
        .or(known)
        .unwrap_or_else(|| uuid_to_text(Uuid::new_v4()));
    for (dir, meta) in dirs.into_iter().zip(found) {
        match meta {
            Some(meta) if meta.cluster_id == cluster_id && meta.node_id == config.node_id => {}
            Some(meta) => {
                return Err(StorageError::WrongOwner {
                    path: dir.path().to_path_buf(),
                    found: format!("node {} of cluster {}", meta.node_id, meta.cluster_id),
                    expected: format!("node {} of cluster {cluster_id}", config.node_id),
                });
            }
            None => MetaProperties {
                cluster_id: cluster_id.clone(),
                node_id: config.node_id,
                directory_id: Uuid::new_v4(),
            }
            .write(dir.path())
            .map_err(|error| match error {
                StorageError::Io { source, .. } => StorageError::NotWritable {
                    path: dir.path().to_path_buf(),
                    source,
                },
                other => other,
            })?,
        }
    }
    Ok(cluster_id)
}

/// The logs in a folder; finishes what a deletion left, and takes the clean-shutdown marker.
fn find_logs(
    dir: &Arc<LogDir>,
    config: &LogManagerConfig,
    found: &mut Vec<FoundLog>,
) -> StorageResult<()> {
    let marker = dir.path().join(CLEAN_SHUTDOWN);
    let clean = marker.exists();
    if clean {
        remove_if_there(&marker)?;
        sync_dir(dir.path())?;
    }
    for (name, path) in folders(dir.path())? {
        if name.ends_with(DELETE_DIR_SUFFIX) {
            fs::remove_dir_all(&path).map_err(|e| StorageError::io("delete", &path, e))?;
        } else if let Some((topic, partition)) = parse_partition_dir(&name) {
            found.push(FoundLog {
                dir: Arc::clone(dir),
                open: OpenLog {
                    topic: topic.to_owned(),
                    partition,
                    folder: path,
                    config: config.config_of(topic),
                    clean,
                },
            });
        }
    }
    Ok(())
}

/// What is known to lie in directories that are offline, and logs that lie in two places: none of
/// those may be made anew as an empty one.
fn missing_logs(
    dirs: &[Arc<LogDir>],
    found: &mut Vec<FoundLog>,
) -> BTreeMap<Key, Arc<StorageError>> {
    let mut failed = BTreeMap::new();
    if let Some(first) = dirs.first() {
        for (name, path) in placement(first.path()) {
            let offline = dirs
                .iter()
                .find(|dir| dir.path() == path)
                .and_then(|dir| dir.check().err());
            if let (Some(error), Some((topic, partition))) = (offline, parse_partition_dir(&name)) {
                failed.insert((topic.to_owned(), partition), Arc::new(error));
            }
        }
    }
    let key = |log: &FoundLog| (log.open.topic.clone(), log.open.partition);
    let mut seen = BTreeMap::<Key, PathBuf>::new();
    for log in found.iter() {
        if let Some(other) = seen.insert(key(log), log.open.folder.clone()) {
            let error = StorageError::BadFile {
                path: log.open.folder.clone(),
                reason: format!(
                    "{} is the same partition: remove one of them",
                    other.display()
                ),
            };
            failed.insert(key(log), Arc::new(error));
        }
    }
    found.retain(|log| !failed.contains_key(&key(log)));
    failed
}

pub(super) fn folders(path: &Path) -> StorageResult<Vec<(String, PathBuf)>> {
    let error = |e| StorageError::io("list", path, e);
    let mut folders = Vec::new();
    for entry in fs::read_dir(path).map_err(error)? {
        let entry = entry.map_err(error)?;
        if entry.file_type().map_err(error)?.is_dir()
            && let Some(name) = entry.file_name().to_str()
        {
            folders.push((name.to_owned(), entry.path()));
        }
    }
    Ok(folders)
}
