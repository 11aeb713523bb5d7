//! What the threads of a job and its handle share: state, progress, stores.
//!
//! Whatever a worker tells here is committed already.

use super::config::StreamsConfig;
use super::state_dir::StateDir;
use crate::StreamsError;
use crate::task::TaskId;
use crate::topology::Plan;
use parking_lot::Mutex;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use thalweg_log::client::{Client, TopicPartition};
use thalweg_state::{CommittedReader, StateRuntime};
use tokio::sync::watch;
use uuid::Uuid;

/// The state of a job, under Kafka Streams' names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JobState {
    /// Made, not yet in its group.
    Created,
    /// Tasks are being taken over or given up, stores are being restored.
    Rebalancing,
    /// Every thread has its tasks.
    Running,
    /// Being closed.
    PendingShutdown,
    /// Closed.
    NotRunning,
    /// A task has failed, and the others are being closed.
    PendingError,
    /// A task has failed, and everything is closed.
    Error,
}

impl std::fmt::Display for JobState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Created => "CREATED",
            Self::Rebalancing => "REBALANCING",
            Self::Running => "RUNNING",
            Self::PendingShutdown => "PENDING_SHUTDOWN",
            Self::NotRunning => "NOT_RUNNING",
            Self::PendingError => "PENDING_ERROR",
            Self::Error => "ERROR",
        })
    }
}

impl JobState {
    /// Whether the job will never run again.
    pub fn has_ended(self) -> bool {
        !matches!(self, Self::Created | Self::Rebalancing | Self::Running)
    }
}

/// What a job's threads have in common.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) config: StreamsConfig,
    pub(crate) plan: Plan,
    /// The ids of the topics behind stores.
    pub(crate) topic_ids: HashMap<Arc<str>, Uuid>,
    pub(crate) client: Client,
    pub(crate) state_dir: StateDir,
    pub(crate) state_runtime: StateRuntime,
    /// Which sub-topology and source reads a topic.
    pub(crate) sources: HashMap<Arc<str>, (u32, usize)>,
    status: watch::Sender<JobState>,
    reason: Mutex<Option<Arc<StreamsError>>>,
    /// Whether each worker has its tasks; removed when it ends.
    workers: Mutex<BTreeMap<usize, bool>>,
    /// The committed position of each partition that this process reads.
    positions: Mutex<BTreeMap<TopicPartition, i64>>,
    /// Counts changes of the positions.
    progress: watch::Sender<u64>,
    stores: Mutex<HashMap<String, BTreeMap<TaskId, CommittedReader>>>,
    pub(crate) late_records: AtomicU64,
    pub(crate) skipped_records: AtomicU64,
    pub(crate) processed_records: AtomicU64,
}

impl Job {
    pub(crate) fn new(
        config: StreamsConfig,
        plan: Plan,
        topic_ids: HashMap<Arc<str>, Uuid>,
        client: Client,
        state_dir: StateDir,
        workers: usize,
    ) -> Self {
        let sources = plan.source_topics();
        let state_runtime = config
            .state
            .clone()
            .unwrap_or_else(StateRuntime::of_process);
        Self {
            config,
            plan,
            topic_ids,
            client,
            state_dir,
            state_runtime,
            sources,
            status: watch::Sender::new(JobState::Created),
            reason: Mutex::new(None),
            workers: Mutex::new((0..workers).map(|worker| (worker, false)).collect()),
            positions: Mutex::default(),
            progress: watch::Sender::new(0),
            stores: Mutex::default(),
            late_records: AtomicU64::new(0),
            skipped_records: AtomicU64::new(0),
            processed_records: AtomicU64::new(0),
        }
    }

    /// The wall clock in milliseconds.
    pub(crate) fn now(&self) -> i64 {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        since.map_or(0, |since| {
            i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
        })
    }

    /// The id of a topic of the job; nil if the broker does not tell.
    pub(crate) fn topic_id(&self, topic: &str) -> Uuid {
        self.topic_ids.get(topic).copied().unwrap_or_default()
    }

    pub(crate) fn state(&self) -> JobState {
        *self.status.borrow()
    }

    /// The `group.instance.id` of a worker: it outlives the process.
    pub(crate) fn instance_id(&self, worker: usize) -> String {
        format!("{}-{worker}", self.state_dir.process_id())
    }

    /// The `transactional.id` of a worker: the same over restarts, so that a new life aborts
    /// at once what the last one has left open.
    pub(crate) fn transactional_id(&self, worker: usize) -> String {
        self.transactional_id_of(&self.instance_id(worker))
    }

    /// The `transactional.id` that goes with a `group.instance.id`.
    pub(crate) fn transactional_id_of(&self, instance: &str) -> String {
        format!("{}-{instance}", self.config.application_id)
    }

    /// How many workers have not ended.
    pub(crate) fn worker_count(&self) -> usize {
        self.workers.lock().len()
    }

    pub(crate) fn watch(&self) -> watch::Receiver<JobState> {
        self.status.subscribe()
    }

    /// Why the job failed.
    pub(crate) fn reason(&self) -> Option<Arc<StreamsError>> {
        self.reason.lock().clone()
    }

    /// Whether workers shall end.
    pub(crate) fn is_stopping(&self) -> bool {
        self.state().has_ended()
    }

    /// The error for what asks something of a job that has ended.
    pub(crate) fn not_running(&self) -> StreamsError {
        StreamsError::NotRunning {
            application_id: self.config.application_id.clone(),
            state: self.state().to_string(),
            reason: self.reason().map(|reason| reason.to_string()),
        }
    }

    /// A worker has its tasks, or is about to change them.
    pub(crate) fn worker_is_running(&self, worker: usize, running: bool) {
        let mut workers = self.workers.lock();
        workers.insert(worker, running);
        let all = workers.values().all(|running| *running);
        self.status.send_if_modified(|state| {
            let next = match all {
                true => JobState::Running,
                false => JobState::Rebalancing,
            };
            let change = !state.has_ended() && *state != next;
            if change {
                *state = next;
            }
            change
        });
    }

    /// Asks the workers to end.
    pub(crate) fn stop(&self) {
        self.status.send_if_modified(|state| {
            let change = !state.has_ended();
            if change {
                *state = JobState::PendingShutdown;
            }
            change
        });
    }

    /// A worker has failed: the first reason is kept, and the others are asked to end.
    pub(crate) fn fail(&self, error: StreamsError) {
        tracing::error!(job = %self.config.application_id, %error, "the job has failed");
        self.reason.lock().get_or_insert_with(|| Arc::new(error));
        self.status.send_if_modified(|state| {
            let change = !matches!(state, JobState::Error | JobState::PendingError);
            if change {
                *state = JobState::PendingError;
            }
            change
        });
    }

    /// A worker has ended.
    pub(crate) fn worker_ended(&self, worker: usize) {
        let mut workers = self.workers.lock();
        workers.remove(&worker);
        if workers.is_empty() {
            self.state_dir.release();
            self.status.send_modify(|state| {
                *state = match state {
                    JobState::PendingError | JobState::Error => JobState::Error,
                    _ => JobState::NotRunning,
                };
            });
        }
    }

    /// These positions have been committed, and everything before them is in the stores.
    pub(crate) fn committed(&self, positions: impl IntoIterator<Item = (TopicPartition, i64)>) {
        self.positions.lock().extend(positions);
        self.progress.send_modify(|count| *count += 1);
    }

    /// These partitions are read elsewhere from now on.
    pub(crate) fn gone(&self, partitions: &[TopicPartition]) {
        let mut positions = self.positions.lock();
        for partition in partitions {
            positions.remove(partition);
        }
        self.progress.send_modify(|count| *count += 1);
    }

    pub(crate) fn positions(&self) -> BTreeMap<TopicPartition, i64> {
        self.positions.lock().clone()
    }

    pub(crate) fn position(&self, partition: &TopicPartition) -> Option<i64> {
        self.positions.lock().get(partition).copied()
    }

    pub(crate) fn watch_progress(&self) -> watch::Receiver<u64> {
        self.progress.subscribe()
    }

    /// A task has opened and restored its stores.
    pub(crate) fn publish(&self, task: TaskId, readers: Vec<CommittedReader>) {
        let mut stores = self.stores.lock();
        for reader in readers {
            let store = stores.entry(reader.store().to_owned()).or_default();
            store.insert(task, reader);
        }
    }

    /// A task is about to close its stores.
    pub(crate) fn withdraw(&self, task: TaskId) {
        for readers in self.stores.lock().values_mut() {
            readers.remove(&task);
        }
    }

    pub(crate) fn readers(&self, store: &str) -> BTreeMap<TaskId, CommittedReader> {
        self.stores.lock().get(store).cloned().unwrap_or_default()
    }

    /// Adds what a task has counted since it had counted `before`.
    pub(crate) fn count(&self, now: &Counts, before: &Counts) {
        let add = |total: &AtomicU64, now: u64, before: u64| {
            total.fetch_add(now.saturating_sub(before), Ordering::Relaxed);
        };
        add(&self.processed_records, now.processed, before.processed);
        add(&self.late_records, now.late, before.late);
        add(&self.skipped_records, now.skipped, before.skipped);
    }
}

/// What a task has counted.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Counts {
    pub(crate) processed: u64,
    pub(crate) late: u64,
    pub(crate) skipped: u64,
}
