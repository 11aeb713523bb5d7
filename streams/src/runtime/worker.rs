//! A worker: one member of a job's group, on one stream thread.
//!
//! It polls, hands records to its tasks, lets them work by turns, sends what they put
//! out, and commits. All its tasks commit together. A rebalance is a value that `poll`
//! returns: what is revoked is committed and closed before the group goes on.

use super::assignor::TaskAssignor;
use super::commit::{Committed, of_task, purge};
use super::job::{Counts, Job};
use super::outlet::Outlet;
use super::setbacks::{Next, Setbacks};
use crate::StreamsError;
use crate::task::{InputBlock, InputRecord, Output, Progress, Task, TaskId, TaskOptions};
use crate::topology::OffsetReset;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};
use thalweg_log::client::{
    Consumer, OffsetSpec, PartitionRecords, Polled, RecordRef, TopicPartition,
};
use thalweg_state::{StateError, StoreId, TaskState};

/// How many records a task may take before the next one has its turn.
const BUDGET: usize = 2_000;
/// How long a worker waits for records before it looks at the clock, if the clock matters.
const CLOCK_WAIT: Duration = Duration::from_millis(50);
/// And how long, if it does not.
const IDLE_WAIT: Duration = Duration::from_secs(1);

/// One member of a job's group.
pub(crate) struct Worker {
    pub(crate) job: Arc<Job>,
    pub(crate) index: usize,
    pub(crate) consumer: Consumer,
    /// Reads changelogs, outside of the group.
    pub(crate) restorer: Consumer,
    pub(crate) outlet: Outlet,
    pub(crate) assignor: Arc<TaskAssignor>,
    pub(crate) tasks: BTreeMap<TaskId, Task>,
    pub(crate) last_commit: Instant,
    pub(crate) last_purge: Instant,
    paused: BTreeSet<TopicPartition>,
    /// Whether the last turn left work that need not wait for records.
    busy: bool,
    /// What the tasks counted, as told to the job already.
    counted: BTreeMap<TaskId, Counts>,
    /// How often it has gone back since it last committed.
    pub(crate) setbacks: Setbacks,
    /// The leader epochs of what was read last.
    pub(crate) read_epochs: BTreeMap<TopicPartition, i32>,
}

impl Worker {
    pub(crate) fn new(
        job: Arc<Job>,
        index: usize,
        consumer: Consumer,
        restorer: Consumer,
        outlet: Outlet,
        assignor: Arc<TaskAssignor>,
    ) -> Self {
        Self {
            job,
            index,
            consumer,
            restorer,
            outlet,
            assignor,
            tasks: BTreeMap::new(),
            last_commit: Instant::now(),
            last_purge: Instant::now(),
            paused: BTreeSet::new(),
            busy: false,
            counted: BTreeMap::new(),
            setbacks: Setbacks::default(),
            read_epochs: BTreeMap::new(),
        }
    }

    pub(crate) fn now(&self) -> i64 {
        self.job.now()
    }

    /// Works until the job ends. The consumer has subscribed already.
    pub(crate) async fn run(mut self) -> Result<(), StreamsError> {
        // First of all: what an earlier life has left open holds back whoever reads
        // committed records, this worker included.
        let mut turned = self.outlet.begin().await;
        let mut status = self.job.watch();
        loop {
            match turned {
                Ok(()) => {}
                // A restore that a close has cut short is no failure.
                Err(StreamsError::NotRunning { .. }) if self.job.is_stopping() => {}
                Err(error @ StreamsError::Transaction { .. }) => {
                    turned = self.roll_back(error).await;
                    continue;
                }
                Err(error) => return Err(error),
            }
            if self.job.is_stopping() {
                return self.shut_down().await;
            }
            let timeout = self.wait();
            let polled = tokio::select! {
                biased;
                _ = status.wait_for(|state| state.has_ended()) => { turned = Ok(()); continue },
                polled = self.consumer.poll(timeout) => polled,
            };
            turned = match polled {
                Ok(polled) => self.turn(polled).await,
                Err(error) if error.is_retriable() => {
                    tracing::warn!(%error, "polling; trying again");
                    tokio::time::sleep(CLOCK_WAIT).await;
                    Ok(())
                }
                Err(error) => Err(StreamsError::log("reading input", error)),
            };
            tokio::task::yield_now().await;
        }
    }

    /// Takes what the group or the log has to say, gives every task a turn, and commits if
    /// that is due.
    async fn turn(&mut self, polled: Polled) -> Result<(), StreamsError> {
        let mut got = false;
        match polled {
            Polled::Records(list) => {
                got = !list.is_empty();
                self.add(list);
            }
            Polled::Assigned(_) => self.assigned().await?,
            Polled::Revoking(partitions) => self.revoking(&partitions).await?,
            Polled::Lost(partitions) => self.lost(&partitions).await?,
        }
        let worked = self.process().await?;
        self.busy = worked || got;
        if self.commit_is_due() {
            self.commit_or_drop().await?;
        }
        Ok(())
    }

    /// Commits; a worker that its group has thrown out gives up its tasks.
    async fn commit_or_drop(&mut self) -> Result<Committed, StreamsError> {
        let committed = self.commit().await?;
        if committed == Committed::Fenced {
            self.job.worker_is_running(self.index, false);
            self.drop_all_tasks();
        }
        Ok(committed)
    }

    /// The open transaction was not committed: what was done since the last commit is
    /// forgotten, by the log as by the tasks, and done again. Nodes are built anew, and
    /// stores get what was committed after all, if the answer was lost. When that has gone on
    /// for too long, the job fails with the reason.
    async fn roll_back(&mut self, error: StreamsError) -> Result<(), StreamsError> {
        let config = &self.job.config;
        let (timeout, attempt) = (config.task_timeout, config.transaction_timeout);
        let pause = match self.setbacks.another(timeout, attempt, Instant::now()) {
            Next::Again(pause) => pause,
            Next::Over(attempts, lasted) => {
                return Err(StreamsError::Stalled {
                    attempts,
                    lasted,
                    cause: Box::new(error),
                });
            }
        };
        let job = &config.application_id;
        tracing::warn!(%job, %error, ?pause, "going back to the last commit");
        self.job.worker_is_running(self.index, false);
        self.drop_all_tasks();
        let mut status = self.job.watch();
        let ended = status.wait_for(|state| state.has_ended());
        // Who closes the job does not wait for it.
        let _ = tokio::time::timeout(pause, ended).await;
        self.outlet.renew().await?;
        if self.job.is_stopping() {
            return Ok(());
        }
        self.assigned().await
    }

    /// How long `poll` may wait.
    fn wait(&self) -> Duration {
        if self.busy {
            return Duration::ZERO;
        }
        // A commit of drained input that came too soon after the last one.
        let config = &self.job.config;
        if self.tasks.values().any(Task::needs_commit) {
            let due = config.min_commit_interval;
            return due
                .saturating_sub(self.last_commit.elapsed())
                .min(IDLE_WAIT);
        }
        if self.tasks.values().any(Task::wants_clock) {
            return CLOCK_WAIT;
        }
        IDLE_WAIT
    }

    fn commit_is_due(&self) -> bool {
        let config = &self.job.config;
        let since = self.last_commit.elapsed();
        let cached: usize = self.tasks.values().map(|t| t.state().cached_bytes()).sum();
        if since >= config.commit_interval || cached >= config.cache_max_bytes {
            return true;
        }
        !self.busy && since >= config.min_commit_interval
    }

    /// Hands fetched records to their tasks.
    fn add(&mut self, list: Vec<PartitionRecords>) {
        for records in list {
            let partition = records.topic_partition.clone();
            let Some((sub_topology, source)) = self.job.sources.get(&partition.topic).copied()
            else {
                continue;
            };
            let id = TaskId {
                sub_topology,
                partition: partition.partition,
            };
            let Some(task) = self.tasks.get_mut(&id) else {
                continue;
            };
            if let Some(epoch) = records.leader_epoch {
                self.read_epochs.insert(partition.clone(), epoch);
            }
            // Who reads committed records gets nothing behind an open transaction.
            let end = match self.job.config.exactly_once() {
                true => records.last_stable_offset,
                false => records.high_watermark,
            };
            let caught_up = records.next_offset >= end;
            let (next, bytes) = (records.next_offset, records.bytes());
            let topic = Arc::clone(&partition.topic);
            let blocks = records.into_iter().map(move |record| {
                let record = record.map_err(|e| {
                    StreamsError::log(format!("reading {topic}-{}", id.partition), e)
                })?;
                Ok(InputRecord {
                    topic: Arc::clone(&topic),
                    partition: id.partition,
                    offset: record.offset,
                    timestamp: record.timestamp,
                    key: record.key,
                    value: record.value,
                    headers: record.headers,
                })
            });
            task.add_block(source, InputBlock::new(blocks, next, bytes));
            task.set_caught_up(source, caught_up);
            let limit = self.job.config.buffered_bytes_per_partition;
            if task.buffered_bytes(source) > limit
                && self
                    .consumer
                    .pause(std::slice::from_ref(&partition))
                    .is_ok()
            {
                self.paused.insert(partition);
            }
        }
    }

    /// Gives every task a turn. Returns whether there is more to do at once.
    async fn process(&mut self) -> Result<bool, StreamsError> {
        let now = self.now();
        let mut more = false;
        let ids: Vec<TaskId> = self.tasks.keys().copied().collect();
        for id in ids {
            let Some(task) = self.tasks.get_mut(&id) else {
                continue;
            };
            let taken = task.process(BUDGET, now).map_err(|e| of_task(id, e))?;
            let progress = task.advance(now).map_err(|e| of_task(id, e))?;
            more |= taken > 0 || progress == Progress::More;
            let outputs = task.take_outputs();
            self.count(id);
            self.send(outputs).await?;
        }
        self.resume();
        Ok(more)
    }

    /// Tells the job what a task has counted since it was told last.
    pub(crate) fn count(&mut self, id: TaskId) {
        let Some(task) = self.tasks.get(&id) else {
            return;
        };
        let counts = Counts {
            processed: task.processed(),
            late: task.late_records(),
            skipped: task.skipped_records(),
        };
        let counted = self.counted.entry(id).or_default();
        self.job.count(&counts, counted);
        *counted = counts;
    }

    /// Goes on fetching for partitions whose buffer has emptied.
    fn resume(&mut self) {
        let limit = self.job.config.buffered_bytes_per_partition / 2;
        let (tasks, sources, consumer) = (&self.tasks, &self.job.sources, &mut self.consumer);
        self.paused.retain(|partition| {
            let buffered = sources
                .get(&partition.topic)
                .and_then(|(sub_topology, source)| {
                    let id = TaskId {
                        sub_topology: *sub_topology,
                        partition: partition.partition,
                    };
                    Some(tasks.get(&id)?.buffered_bytes(*source))
                });
            match buffered {
                Some(bytes) if bytes > limit => true,
                // An error means that it is not assigned any more.
                _ => {
                    let _ = consumer.resume(std::slice::from_ref(partition));
                    false
                }
            }
        });
    }

    /// Hands outputs to the producer.
    pub(crate) async fn send(&mut self, outputs: Vec<Output>) -> Result<(), StreamsError> {
        for output in outputs {
            let topic = self.outlet.topic(&output.topic).await?;
            let record = RecordRef {
                partition: output.partition,
                timestamp: output.timestamp,
                key: output.key.as_deref(),
                value: output.value.as_deref(),
                headers: &output.headers,
            };
            self.outlet.enqueue(&topic, record).await?;
        }
        Ok(())
    }

    /// Takes over new tasks: opens and restores their stores, sets positions and times.
    async fn assigned(&mut self) -> Result<(), StreamsError> {
        self.job.worker_is_running(self.index, false);
        // All that is assigned, not only what is new: tasks may have been dropped meanwhile.
        let mut ids = self.assignor.tasks(&self.consumer.assignment());
        ids.retain(|id| !self.tasks.contains_key(id));
        let mut wanted: Vec<TopicPartition> = Vec::new();
        for id in &ids {
            wanted.extend(self.assignor.partitions(*id));
        }
        let committed = match wanted.is_empty() {
            true => BTreeMap::new(),
            false => self
                .consumer
                .committed(&wanted)
                .await
                .map_err(|e| StreamsError::log("looking up committed offsets", e))?,
        };
        let isolation = self.job.config.isolation();
        let starts = self.offsets(&wanted, OffsetSpec::Earliest, isolation);
        let starts = starts.await?;
        let ends = self.offsets(&wanted, OffsetSpec::Latest, isolation).await?;

        let mut tasks = BTreeMap::new();
        let mut positions = BTreeMap::new();
        for id in ids {
            let state = self.open(id).await.map_err(|e| of_task(id, e))?;
            let options = TaskOptions {
                max_task_idle: self.job.config.max_task_idle,
                max_cached_bytes: self.job.config.cache_max_bytes,
                ..TaskOptions::default()
            };
            let mut task =
                Task::new(id, &self.job.plan, state, &options).map_err(|e| of_task(id, e))?;
            let sub = self.job.plan.sub_topology(id.sub_topology)?;
            for (index, source) in sub.sources.iter().enumerate() {
                let partition = TopicPartition::new(Arc::clone(&source.topic), id.partition);
                let start = starts.get(&partition).copied().unwrap_or(0);
                let end = ends.get(&partition).copied().unwrap_or(0);
                let begin = match source.reset {
                    OffsetReset::Earliest => start,
                    OffsetReset::Latest => end,
                };
                let offset = match committed.get(&partition) {
                    Some(committed) => {
                        task.restore_time(index, &committed.metadata)
                            .map_err(|e| of_task(id, e))?;
                        // What has been deleted meanwhile will never come, and is not
                        // to be waited for.
                        committed.offset.max(start)
                    }
                    None => begin,
                };
                if id.partition < source.partitions {
                    let begins = !committed.contains_key(&partition);
                    match source.reset {
                        // The end of now is not that of the next start.
                        OffsetReset::Latest if begins => task.begin(index, offset),
                        _ => task.seek(index, offset),
                    }
                    task.set_caught_up(index, offset >= end);
                    self.consumer
                        .seek(&partition, offset)
                        .map_err(|e| StreamsError::log(format!("reading {partition}"), e))?;
                    positions.insert(partition, offset);
                }
            }
            tasks.insert(id, task);
        }
        self.restore(&mut tasks, &positions).await?;
        let now = self.now();
        let new: Vec<TaskId> = tasks.keys().copied().collect();
        for (id, mut task) in tasks {
            task.init(now).map_err(|e| of_task(id, e))?;
            let readers = (0..task.state().specs().count())
                .map(|index| task.state().reader(StoreId(index)))
                .collect::<Result<_, _>>()?;
            self.job.publish(id, readers);
            tracing::debug!(task = %id, "running");
            self.tasks.insert(id, task);
        }
        // What nodes say before any input (the one row of an aggregate without groups) is
        // committed before anybody may take the job for caught up.
        for id in new {
            while let Some(task) = self.tasks.get_mut(&id) {
                let progress = task.flush(now).map_err(|e| of_task(id, e))?;
                let outputs = task.take_outputs();
                self.send(outputs).await?;
                if progress == Progress::Done {
                    break;
                }
            }
        }
        if self.tasks.values().any(Task::needs_commit)
            && self.commit_or_drop().await? == Committed::Fenced
        {
            return Ok(());
        }
        self.job.committed(positions);
        self.job.worker_is_running(self.index, true);
        self.busy = true;
        Ok(())
    }

    /// Opens a task's stores. A directory that another thread is just closing is waited
    /// for; a damaged one is emptied, as the changelogs have everything.
    async fn open(&self, id: TaskId) -> Result<TaskState, StreamsError> {
        let dir = self.job.state_dir.task_dir(id);
        let stores = &self.job.plan.sub_topology(id.sub_topology)?.stores;
        let mut attempts = 0;
        loop {
            match TaskState::open(&dir, &self.job.state_runtime, stores) {
                Ok(state) => return Ok(state),
                Err(StateError::Locked { .. }) if attempts < 100 => {
                    attempts += 1;
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                Err(error @ StateError::Corrupted { .. }) if attempts == 0 => {
                    attempts = 100;
                    tracing::warn!(task = %id, %error, "rebuilding from the changelogs");
                    std::fs::remove_dir_all(&dir).map_err(|e| StateError::Open {
                        dir: dir.clone(),
                        reason: e.to_string(),
                    })?;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Commits and closes the tasks of partitions that are about to go.
    async fn revoking(&mut self, partitions: &[TopicPartition]) -> Result<(), StreamsError> {
        self.job.worker_is_running(self.index, false);
        let ids: Vec<TaskId> = self.assignor.tasks(partitions).into_iter().collect();
        self.commit_or_drop().await?;
        self.close_tasks(&ids)?;
        self.job.gone(partitions);
        Ok(())
    }

    /// Drops the tasks of partitions that others have already.
    async fn lost(&mut self, partitions: &[TopicPartition]) -> Result<(), StreamsError> {
        self.job.worker_is_running(self.index, false);
        let ids: Vec<TaskId> = self.assignor.tasks(partitions).into_iter().collect();
        self.drop_tasks(&ids);
        self.job.gone(partitions);
        if self.outlet.is_open() {
            // What the lost tasks have sent must not be committed with the others'.
            self.outlet.abort().await?;
            if !self.tasks.is_empty() {
                self.drop_all_tasks();
                self.assigned().await?;
            }
        }
        Ok(())
    }

    /// Closes committed tasks.
    fn close_tasks(&mut self, ids: &[TaskId]) -> Result<(), StreamsError> {
        for id in ids {
            self.job.withdraw(*id);
            self.counted.remove(id);
            if let Some(mut task) = self.tasks.remove(id) {
                task.close().map_err(|e| of_task(*id, e))?;
                task.into_state()
                    .close()
                    .map_err(|e| of_task(*id, e.into()))?;
            }
        }
        Ok(())
    }

    /// Drops tasks with what they have not committed.
    fn drop_tasks(&mut self, ids: &[TaskId]) {
        for id in ids {
            self.job.withdraw(*id);
            self.counted.remove(id);
            self.tasks.remove(id);
        }
    }

    fn drop_all_tasks(&mut self) {
        let all: Vec<_> = self.tasks.keys().copied().collect();
        self.drop_tasks(&all);
    }

    /// The end: commits and closes everything. Of a job that has failed nothing more is
    /// committed than what was.
    async fn shut_down(mut self) -> Result<(), StreamsError> {
        let ids: Vec<TaskId> = self.tasks.keys().copied().collect();
        if self.job.reason().is_some() {
            self.drop_tasks(&ids);
        } else {
            // What is buffered but not begun is read again by the next start.
            match self.commit_or_drop().await {
                // Nothing is lost by it: the next start does it again.
                Err(error @ StreamsError::Transaction { .. }) => {
                    tracing::warn!(%error, "closing at the last commit");
                    self.drop_tasks(&ids);
                }
                committed => {
                    committed?;
                }
            }
            let done = self.purgeable();
            self.close_tasks(&ids)?;
            purge(&self.job.client.admin(), done).await;
        }
        self.outlet.close().await?;
        let _ = self.restorer.close().await;
        self.consumer
            .close()
            .await
            .map_err(|e| StreamsError::log("leaving the job's group", e))?;
        // A static member would keep its tasks until its session ends. Who closes a job
        // means that others may have them.
        let admin = self.job.client.admin();
        let instance = self.job.instance_id(self.index);
        let group = &self.job.config.application_id;
        if let Err(error) = admin.remove_members(group, &[instance]).await {
            tracing::debug!(%error, "the member stays in its group until its session ends");
        }
        Ok(())
    }
}
