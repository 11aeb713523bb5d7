//! The commit, in order.
//!
//! Exactly-once:
//! 1. Runs have ended; nodes are flushed into caches and outputs.
//! 2. Dirty entries, sorted, go to the changelogs, beside the outputs and watermarks that are
//!    on their way already.
//! 3. Input offsets and times are added, in the name of the group's member.
//! 4. The transaction ends.
//! 5. The dirty entries go to RocksDB with the store positions, one batch a task.
//! 6. Repartition records below the committed offsets are deleted, from time to time.
//!
//! A crash between any two steps loses nothing and doubles nothing: before step 4 nothing of
//! it was ever visible, and the input is read again from the last commit; behind it, the
//! stores replay from the changelogs what step 5 has not kept. Until the outcome of step 4
//! is known the caches are neither applied nor dropped. A transaction that was not committed
//! takes the worker back: see [`Worker::roll_back`].
//!
//! At-least-once is the same without the transaction: step 3 commits the offsets, and step 4
//! is not there. What step 2 has sent before a crash is sent again. It then has an order of
//! its own, each part acknowledged before the next: outputs, the topics of views, the other
//! changelogs. A node tells from its state what it has put out already: were the state in its
//! changelog and the output not in its topic, the replay would find nothing new to say.

use super::outlet::{Ended, is_fenced_member};
use super::worker::Worker;
use crate::StreamsError;
use crate::task::{Progress, TaskId};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;
use thalweg_log::client::{
    Admin, Delivery, OffsetAndMetadata, ProducerRecord, RecordRef, TopicPartition,
};
use thalweg_state::{Changelog, StoreId, StorePosition};

/// A step of a commit that has been done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CommitStep {
    /// Nodes are flushed; nothing has been sent that was not sent before.
    Flushed,
    /// Outputs and watermarks are in the log, changelogs are not. At-least-once only.
    OutputsSent,
    /// Outputs, watermarks and changelogs are in the log; under exactly-once nobody who reads
    /// committed records sees them.
    Sent,
    /// Input offsets and times have joined the transaction. Exactly-once only.
    OffsetsAdded,
    /// Input offsets and times are committed, and with them, under exactly-once, all the rest.
    OffsetsCommitted,
    /// The stores hold everything.
    Applied,
}

/// Is told of every step of every commit of a job, on the stream thread. An error from
/// it fails the job there, with nothing closed: what a crash at that moment would leave.
pub trait CommitObserver: Send + Sync + std::fmt::Debug {
    /// `step` is done.
    fn after(&self, step: CommitStep) -> Result<(), StreamsError>;
}

/// What a commit came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Committed {
    /// Everything is committed and applied.
    Yes,
    /// The group has gone on without this member: its tasks must be dropped, and what they
    /// had not committed is read again by whoever has them now.
    Fenced,
}

impl Worker {
    /// Commits every task that has something to commit.
    pub(crate) async fn commit(&mut self) -> Result<Committed, StreamsError> {
        self.last_commit = Instant::now();
        let now = self.now();
        let mut ids: Vec<TaskId> = Vec::new();
        for (id, task) in &mut self.tasks {
            let _ = task.advance(now).map_err(|e| of_task(*id, e))?;
            if task.needs_commit() {
                ids.push(*id);
            }
        }
        if ids.is_empty() {
            return Ok(Committed::Yes);
        }
        for id in &ids {
            while let Some(task) = self.tasks.get_mut(id) {
                let progress = task.flush(now).map_err(|e| of_task(*id, e))?;
                let outputs = task.take_outputs();
                self.send(outputs).await?;
                if progress == Progress::Done {
                    break;
                }
            }
        }
        self.observe(CommitStep::Flushed)?;

        let exactly_once = self.job.config.exactly_once();
        if !exactly_once {
            self.outlet.acknowledged().await?;
            self.observe(CommitStep::OutputsSent)?;
        }
        let ends = self.send_changelogs(&ids).await?;
        self.outlet.acknowledged().await?;
        let mut positions: BTreeMap<TaskId, Vec<(StoreId, StorePosition)>> = BTreeMap::new();
        for (id, store, changelog, delivery) in ends {
            let offset = self.outlet.delivered(delivery).await? + 1;
            // Only now: a leader that has changed meanwhile is known by its answer.
            let mut position = self.store_position(&changelog, id.partition).await?;
            position.offset = offset;
            positions.entry(id).or_default().push((store, position));
        }
        self.observe(CommitStep::Sent)?;

        let offsets = self.offsets_to_commit(&ids);
        let committed: Vec<_> = offsets.iter().map(|(p, o)| (p.clone(), o.offset)).collect();
        let ended = match exactly_once {
            true => self.end_transaction(offsets).await?,
            false => self.commit_offsets(offsets).await?,
        };
        if ended == Ended::Fenced {
            return Ok(Committed::Fenced);
        }
        self.observe(CommitStep::OffsetsCommitted)?;

        let read: BTreeMap<&TopicPartition, i64> =
            committed.iter().map(|(p, offset)| (p, *offset)).collect();
        for id in &ids {
            let mut of_this = positions.remove(id).unwrap_or_default();
            self.positions_of_source_tables(*id, &read, &mut of_this)?;
            if let Some(task) = self.tasks.get_mut(id) {
                task.state_mut()
                    .apply(&of_this)
                    .map_err(|e| of_task(*id, e.into()))?;
                task.committed();
            }
        }
        self.observe(CommitStep::Applied)?;
        // Nodes may have counted while they were flushed: who sees the positions sees that too.
        for id in &ids {
            self.count(*id);
        }
        self.job.committed(committed);
        self.setbacks.forget();
        self.purge_if_due();
        Ok(Committed::Yes)
    }

    fn offsets_to_commit(&self, ids: &[TaskId]) -> BTreeMap<TopicPartition, OffsetAndMetadata> {
        let tasks = ids.iter().filter_map(|id| self.tasks.get(id));
        tasks
            .flat_map(|task| task.positions())
            .map(|source| {
                let offset = OffsetAndMetadata {
                    metadata: source.metadata,
                    ..OffsetAndMetadata::new(source.offset)
                };
                (TopicPartition::new(source.topic, source.partition), offset)
            })
            .collect()
    }

    /// Steps 3 and 4 of exactly-once.
    async fn end_transaction(
        &mut self,
        offsets: BTreeMap<TopicPartition, OffsetAndMetadata>,
    ) -> Result<Ended, StreamsError> {
        let group = self
            .consumer
            .group_metadata()
            .map_err(|e| StreamsError::log("committing offsets", e))?;
        if self.outlet.add_offsets(offsets, &group).await? == Ended::Fenced {
            return Ok(Ended::Fenced);
        }
        self.observe(CommitStep::OffsetsAdded)?;
        self.outlet.commit().await?;
        Ok(Ended::Committed)
    }

    /// Step 3 of at-least-once.
    async fn commit_offsets(
        &mut self,
        offsets: BTreeMap<TopicPartition, OffsetAndMetadata>,
    ) -> Result<Ended, StreamsError> {
        match self.consumer.commit(offsets).await {
            Ok(()) => Ok(Ended::Committed),
            Err(error) if is_fenced_member(&error) => {
                tracing::warn!(%error, "the group has gone on without this thread");
                Ok(Ended::Fenced)
            }
            Err(error) => Err(StreamsError::log("committing offsets", error)),
        }
    }

    fn observe(&self, step: CommitStep) -> Result<(), StreamsError> {
        match &self.job.config.commit_observer {
            Some(observer) => observer.after(step),
            None => Ok(()),
        }
    }

    /// Sends the dirty entries of the tasks to the changelogs. Returns, for each changelog
    /// that got any, its topic and the delivery of the last of them: they tell the store's
    /// position.
    ///
    /// A changelog that is a topic of its own name, such as a view's, is an output too; outside
    /// of a transaction it goes ahead of the others. These go together, those further down
    /// first: a node may have several stores, and the less time passes between them the better.
    async fn send_changelogs(
        &mut self,
        ids: &[TaskId],
    ) -> Result<Vec<(TaskId, StoreId, Arc<str>, Delivery)>, StreamsError> {
        let mut ends = Vec::new();
        for internal in [false, true] {
            let before = ends.len();
            for id in ids {
                let stores = &self.job.plan.sub_topology(id.sub_topology)?.stores;
                let these: Vec<_> = (0..stores.len())
                    .rev()
                    .filter(|index| {
                        let changelog = stores.get(*index).map(|store| &store.changelog);
                        (changelog == Some(&Changelog::Internal)) == internal
                    })
                    .map(StoreId)
                    .collect();
                for store in these {
                    ends.extend(self.send_changelog(*id, store).await?);
                }
            }
            if ends.len() > before && !internal && !self.job.config.exactly_once() {
                self.outlet.acknowledged().await?;
            }
        }
        Ok(ends)
    }

    /// Hands the dirty entries of a store to the producer.
    async fn send_changelog(
        &mut self,
        id: TaskId,
        store: StoreId,
    ) -> Result<Option<(TaskId, StoreId, Arc<str>, Delivery)>, StreamsError> {
        let now = self.now();
        let changelogs = &self.job.plan.sub_topology(id.sub_topology)?.changelogs;
        let changelog = changelogs.get(store.0).cloned().flatten();
        let Some(changelog) = changelog.filter(|c| c.written) else {
            return Ok(None);
        };
        let Some(task) = self.tasks.get_mut(&id) else {
            return Ok(None);
        };
        let entries = task.state_mut().dirty_entries(store)?;
        let Some(((last_key, last_value), rest)) = entries.split_last() else {
            return Ok(None);
        };
        let topic = self.outlet.topic(&changelog.topic).await?;
        for (key, value) in rest {
            let record = RecordRef {
                partition: Some(id.partition),
                // By the wall clock: the broker's retention counts from it.
                timestamp: now,
                key: Some(key),
                value: value.as_deref(),
                headers: &[],
            };
            self.outlet.enqueue(&topic, record).await?;
        }
        let last = ProducerRecord {
            partition: Some(id.partition),
            key: Some(last_key.clone()),
            value: last_value.clone(),
            timestamp: Some(now),
            ..ProducerRecord::new(changelog.topic.clone())
        };
        let delivery = self.outlet.send(last).await?;
        Ok(Some((id, store, changelog.topic, delivery)))
    }

    /// A position in a changelog, but for the offset.
    pub(crate) async fn store_position(
        &self,
        topic: &str,
        partition: i32,
    ) -> Result<StorePosition, StreamsError> {
        let info = self
            .job
            .client
            .topic(topic)
            .await
            .map_err(|e| StreamsError::log(format!("looking up `{topic}`"), e))?;
        Ok(StorePosition {
            // As it was when the job started: what a client has cached may be older.
            topic_id: self.job.topic_id(topic),
            leader_epoch: info.partition(partition).map_or(-1, |p| p.leader_epoch),
            offset: 0,
            wall_time: self.now(),
        })
    }

    /// Stores that are filled from their source topic stand where the source does.
    fn positions_of_source_tables(
        &self,
        id: TaskId,
        read: &BTreeMap<&TopicPartition, i64>,
        positions: &mut Vec<(StoreId, StorePosition)>,
    ) -> Result<(), StreamsError> {
        let changelogs = &self.job.plan.sub_topology(id.sub_topology)?.changelogs;
        for (index, changelog) in changelogs.iter().enumerate() {
            let Some(changelog) = changelog.as_ref().filter(|c| !c.written) else {
                continue;
            };
            let partition = TopicPartition::new(changelog.topic.clone(), id.partition);
            if let Some(offset) = read.get(&partition) {
                let position = StorePosition {
                    topic_id: self.job.topic_id(&changelog.topic),
                    // That of the last record fetched: it may lie further on, which makes the
                    // comparison at a restore no less sure.
                    leader_epoch: self.read_epochs.get(&partition).copied().unwrap_or(-1),
                    offset: *offset,
                    wall_time: self.now(),
                };
                positions.push((StoreId(index), position));
            }
        }
        Ok(())
    }

    /// Step 6, from time to time: what has been processed is deleted from the repartition
    /// topics. Nothing depends on it but disk space, so nobody waits for it.
    fn purge_if_due(&mut self) {
        if self.last_purge.elapsed() >= self.job.config.repartition_purge_interval {
            self.last_purge = Instant::now();
            let admin = self.job.client.admin();
            let before = self.purgeable();
            tokio::task::spawn_local(async move { purge(&admin, before).await });
        }
    }

    /// The committed positions in repartition topics.
    pub(crate) fn purgeable(&self) -> BTreeMap<TopicPartition, i64> {
        let mut before = BTreeMap::new();
        for id in self.tasks.keys() {
            let Ok(sub) = self.job.plan.sub_topology(id.sub_topology) else {
                continue;
            };
            for source in sub.sources.iter().filter(|s| s.writers.is_some()) {
                let partition = TopicPartition::new(source.topic.clone(), id.partition);
                if let Some(offset) = self.job.position(&partition).filter(|offset| *offset > 0) {
                    before.insert(partition, offset);
                }
            }
        }
        before
    }
}

/// Deletes repartition records below these offsets.
pub(crate) async fn purge(admin: &Admin, before: BTreeMap<TopicPartition, i64>) {
    if before.is_empty() {
        return;
    }
    match admin.delete_records(before).await {
        Ok(answers) => {
            for (partition, error) in answers
                .iter()
                .filter_map(|(p, a)| Some((p, a.as_ref().err()?)))
            {
                tracing::debug!(%partition, %error, "repartition records were not deleted yet");
            }
        }
        Err(error) => tracing::debug!(%error, "repartition records were not deleted yet"),
    }
}

/// Says which task failed.
pub(crate) fn of_task(task: TaskId, error: StreamsError) -> StreamsError {
    StreamsError::Task {
        task,
        cause: Box::new(error),
    }
}
