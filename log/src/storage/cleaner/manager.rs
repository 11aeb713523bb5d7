//! Which log is compacted next, by whom, and what becomes of one that cannot be.
//!
//! Invariant: a log is cleaned by one thread at a time. One that is damaged is marked and reported,
//! and left alone until its topic is made anew or the process starts again; the others go on.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex, RwLock};

use super::super::error::StorageError;
use super::super::manager::LogManager;
use super::super::partition::{Cleanable, PartitionLog};
use super::clean::{CompactionStats, Run, Stopped};

/// The settings of the cleaner (`log.cleaner.*`).
#[derive(Debug, Clone, PartialEq)]
pub struct CleanerConfig {
    /// `log.cleaner.enable`: without, compacted topics grow for ever.
    pub enable: bool,
    /// `log.cleaner.threads`: how many logs are cleaned at once.
    pub threads: usize,
    /// `log.cleaner.dedupe.buffer.size`: the most memory the maps of all threads take.
    pub dedupe_buffer_size: usize,
    /// `log.cleaner.io.buffer.load.factor`: how full a map may get.
    pub load_factor: f64,
    /// `log.cleaner.io.buffer.size`: the most memory for reading and writing, of all threads.
    pub io_buffer_size: usize,
    /// `log.cleaner.io.max.bytes.per.second`: reading and writing together, of all threads.
    pub io_max_bytes_per_second: f64,
    /// `log.cleaner.backoff.ms`: how long to wait when there is nothing to clean.
    pub backoff_ms: u64,
}

impl Default for CleanerConfig {
    fn default() -> Self {
        Self {
            enable: true,
            threads: 1,
            dedupe_buffer_size: 128 << 20,
            load_factor: 0.9,
            io_buffer_size: 512 << 10,
            io_max_bytes_per_second: f64::MAX,
            backoff_ms: 15_000,
        }
    }
}

/// A log that was compacted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compaction {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// What was done.
    pub stats: CompactionStats,
}

type Key = (String, i32);

#[derive(Debug, Default)]
struct State {
    busy: BTreeSet<Key>,
    uncleanable: BTreeMap<Key, String>,
}

/// The cleaner of a [`LogManager`].
#[derive(Debug)]
pub(crate) struct Cleaner {
    config: RwLock<CleanerConfig>,
    state: Mutex<State>,
    stopping: AtomicBool,
    wake: Condvar,
    threads: Mutex<Vec<CleanerThread>>,
    /// What tells the time, once the threads were started.
    clock: OnceLock<fn() -> i64>,
}

#[derive(Debug)]
struct CleanerThread {
    /// It ends once it has done what it is at.
    leave: Arc<AtomicBool>,
    handle: std::thread::JoinHandle<()>,
}

impl Cleaner {
    pub(crate) fn new(config: CleanerConfig) -> Self {
        Self {
            config: RwLock::new(config),
            state: Mutex::default(),
            stopping: AtomicBool::new(false),
            wake: Condvar::new(),
            threads: Mutex::default(),
            clock: OnceLock::new(),
        }
    }

    fn config(&self) -> CleanerConfig {
        self.config.read().clone()
    }

    /// Takes other settings from the next compaction on, and as many threads as they say.
    pub(crate) fn reconfigure(manager: &Arc<LogManager>, config: CleanerConfig) {
        let cleaner = manager.cleaner();
        *cleaner.config.write() = config;
        if let Some(clock) = cleaner.clock.get() {
            Self::start(manager, *clock);
        }
        let _state = cleaner.state.lock();
        cleaner.wake.notify_all();
    }

    /// The logs that cannot be compacted, and why.
    pub(crate) fn uncleanable(&self) -> Vec<(String, i32, String)> {
        let state = self.state.lock();
        state
            .uncleanable
            .iter()
            .map(|(key, reason)| (key.0.clone(), key.1, reason.clone()))
            .collect()
    }

    /// Forgets what is known of a log that was deleted.
    pub(crate) fn forget(&self, topic: &str, partition: i32) {
        let mut state = self.state.lock();
        state.uncleanable.remove(&(topic.to_owned(), partition));
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    /// Has as many threads as the settings say. `clock` tells the time in milliseconds since the
    /// epoch.
    pub(crate) fn start(manager: &Arc<LogManager>, clock: fn() -> i64) {
        let cleaner = manager.cleaner();
        let config = cleaner.config();
        cleaner.clock.get_or_init(|| clock);
        let wanted = if config.enable { config.threads } else { 0 };
        let mut threads = cleaner.threads.lock();
        threads.retain(|thread| !thread.handle.is_finished());
        let mut staying = 0;
        for thread in threads.iter() {
            if staying == wanted {
                thread.leave.store(true, Ordering::Release);
            }
            staying += usize::from(!thread.leave.load(Ordering::Acquire));
        }
        for n in staying..wanted {
            if cleaner.is_stopping() {
                break;
            }
            let (weak, shared) = (Arc::downgrade(manager), Arc::clone(cleaner));
            let leave = Arc::new(AtomicBool::new(false));
            let leaving = Arc::clone(&leave);
            let spawned = std::thread::Builder::new()
                .name(format!("log-cleaner-{n}"))
                .spawn(move || {
                    while !shared.is_stopping() && !leaving.load(Ordering::Acquire) {
                        let Some(manager) = weak.upgrade() else { break };
                        let done = shared.clean_dirtiest(&manager, clock(), true);
                        drop(manager);
                        if done.is_none() {
                            shared.rest();
                        }
                    }
                });
            match spawned {
                Ok(handle) => threads.push(CleanerThread { leave, handle }),
                Err(error) => tracing::error!(%error, "a log cleaner thread could not be started"),
            }
        }
    }

    fn rest(&self) {
        let backoff = Duration::from_millis(self.config().backoff_ms.max(1));
        let mut state = self.state.lock();
        if !self.is_stopping() {
            self.wake.wait_for(&mut state, backoff);
        }
    }

    /// Stops the threads and waits for them.
    pub(crate) fn stop(&self) {
        {
            let _state = self.state.lock();
            self.stopping.store(true, Ordering::Release);
        }
        self.wake.notify_all();
        let me = std::thread::current().id();
        for thread in std::mem::take(&mut *self.threads.lock()) {
            if thread.handle.thread().id() != me {
                let _ = thread.handle.join();
            }
        }
    }

    /// Compacts the log with the largest dirty share, where that is due; `None` when there is none.
    pub(crate) fn clean_dirtiest(
        &self,
        manager: &LogManager,
        now: i64,
        paced: bool,
    ) -> Option<Compaction> {
        let (log, cleanable) = self.pick(manager, now)?;
        let key = (log.topic().to_owned(), log.partition());
        let result = self.clean(&log, cleanable, now, paced);
        let compaction = self.finish(&key, &log, result);
        self.state.lock().busy.remove(&key);
        compaction
    }

    /// Takes the dirtiest log that nobody cleans.
    fn pick(&self, manager: &LogManager, now: i64) -> Option<(Arc<PartitionLog>, Cleanable)> {
        let mut best: Option<(Arc<PartitionLog>, Cleanable)> = None;
        let mut state = self.state.lock();
        for log in manager.logs() {
            let config = log.config();
            let key = (log.topic().to_owned(), log.partition());
            if !config.cleanup_compact
                || state.busy.contains(&key)
                || state.uncleanable.contains_key(&key)
            {
                continue;
            }
            let checkpoint = log.dir().cleaner_point(log.topic(), log.partition());
            let cleanable = match log.cleanable(checkpoint, now) {
                Ok(cleanable) => cleanable,
                Err(error @ (StorageError::BadFile { .. } | StorageError::Corrupt { .. })) => {
                    mark(&mut state, &key, &error);
                    continue;
                }
                // Closed, or its directory is offline.
                Err(_) => continue,
            };
            let due = cleanable.dirty_bytes > 0
                && (cleanable.overdue || cleanable.ratio() > config.min_cleanable_dirty_ratio);
            if due
                && best
                    .as_ref()
                    .is_none_or(|(_, b)| cleanable.ratio() > b.ratio())
            {
                best = Some((log, cleanable));
            }
        }
        let (log, _) = best.as_ref()?;
        state.busy.insert((log.topic().to_owned(), log.partition()));
        best
    }

    fn clean(
        &self,
        log: &PartitionLog,
        cleanable: Cleanable,
        now: i64,
        paced: bool,
    ) -> Result<CompactionStats, Stopped> {
        let _cleaning = log.lock_cleaning();
        let config = self.config();
        let threads = config.threads.max(1);
        let began = Instant::now();
        let moved = std::cell::Cell::new(0u64);
        let allowed = config.io_max_bytes_per_second / threads as f64;
        Run {
            log,
            cleanable,
            map_bytes: config.dedupe_buffer_size / threads,
            load_factor: config.load_factor,
            io_bytes: (config.io_buffer_size / threads / 2).max(4096),
            now,
            stop: &|| self.is_stopping(),
            pace: &|bytes| {
                if !paced || allowed > 1e15 {
                    return;
                }
                moved.set(moved.get() + bytes);
                let due = Duration::from_secs_f64((moved.get() as f64 / allowed.max(1.0)).min(1e6));
                let ahead = due.saturating_sub(began.elapsed());
                if ahead > Duration::from_millis(10) {
                    let mut state = self.state.lock();
                    if !self.is_stopping() {
                        self.wake
                            .wait_for(&mut state, ahead.min(Duration::from_secs(1)));
                    }
                }
            },
        }
        .run()
    }

    fn finish(
        &self,
        key: &Key,
        log: &PartitionLog,
        result: Result<CompactionStats, Stopped>,
    ) -> Option<Compaction> {
        match result {
            Ok(stats) => {
                let saved = log.dir().set_cleaner_point(&key.0, key.1, stats.clean_to);
                if let Err(error) = saved {
                    // The segments say it too.
                    tracing::warn!(%error, "the cleaner's checkpoint could not be written");
                }
                tracing::info!(
                    topic = key.0,
                    partition = key.1,
                    from = stats.first_dirty,
                    to = stats.clean_to,
                    keys = stats.keys,
                    bytes_read = stats.bytes_read,
                    bytes_written = stats.bytes_written,
                    records_read = stats.records_read,
                    records_kept = stats.records_kept,
                    segments_before = stats.segments_before,
                    segments_after = stats.segments_after,
                    "compacted a log"
                );
                if stats.records_without_key > 0 {
                    tracing::warn!(
                        topic = key.0,
                        partition = key.1,
                        records = stats.records_without_key,
                        "records without a key cannot stay in a compacted topic and were removed"
                    );
                }
                Some(Compaction {
                    topic: key.0.clone(),
                    partition: key.1,
                    stats,
                })
            }
            Err(Stopped::Aborted) => None,
            // The disk, which all logs of the directory share: it may have room again later.
            Err(Stopped::Failed(error @ StorageError::DiskFull { .. })) => {
                tracing::warn!(topic = key.0, partition = key.1, %error,
                    "no room to compact a log; it stays as it is");
                None
            }
            Err(Stopped::Failed(StorageError::Offline { .. })) => None,
            Err(Stopped::Failed(error)) => {
                if log.check_alive().is_err() {
                    return None;
                }
                // An fsync or a write failed: the directory is not to be trusted with more.
                if matches!(error, StorageError::Io { .. }) {
                    log.dir().fail(&error);
                } else {
                    mark(&mut self.state.lock(), key, &error);
                }
                None
            }
        }
    }
}

fn mark(state: &mut State, key: &Key, error: &StorageError) {
    tracing::error!(topic = key.0, partition = key.1, %error,
        "the log cannot be compacted and is left as it is; the others go on");
    state.uncleanable.insert(key.clone(), error.to_string());
}
