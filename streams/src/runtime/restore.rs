//! Bringing stores up to what has been committed.
//!
//! A store on disk replays only the tail of its changelog past its position. It is
//! rebuilt from the beginning only when its position tells nothing: another topic of
//! that name, an offset outside the log, a log that was truncated below it and has grown
//! again (its leader epoch ends before the offset), or a position so old that tombstones
//! behind it may have been compacted away.

use super::commit::of_task;
use super::job::Job;
use super::worker::Worker;
use crate::StreamsError;
use crate::task::{Task, TaskId};
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use thalweg_log::client::{
    ClientError, EpochEndOffset, IsolationLevel, OffsetSpec, Polled, TopicPartition,
};
use thalweg_state::{StoreId, StorePosition};

/// Kafka's default of `delete.retention.ms`: how long a compacted topic keeps tombstones.
const TOMBSTONE_RETENTION: i64 = 24 * 60 * 60 * 1000;

/// A store's entries are handed over in pieces of about so many bytes.
const PIECE: usize = 8 << 20;

/// A store to bring up to date.
#[derive(Debug)]
struct Restoring {
    task: TaskId,
    store: StoreId,
    position: StorePosition,
    end: i64,
    pending: Vec<(Bytes, Option<Bytes>)>,
    pending_bytes: usize,
}

impl Worker {
    /// Restores the stores of new tasks. `committed` are their input offsets: a store
    /// that is filled from its source topic goes up to there and not further.
    pub(crate) async fn restore(
        &mut self,
        tasks: &mut BTreeMap<TaskId, Task>,
        committed: &BTreeMap<TopicPartition, i64>,
    ) -> Result<(), StreamsError> {
        let mut work: BTreeMap<TopicPartition, Restoring> = BTreeMap::new();
        for (id, task) in tasks.iter() {
            let changelogs = &self.job.plan.sub_topology(id.sub_topology)?.changelogs;
            for (index, changelog) in changelogs.iter().enumerate() {
                let Some(changelog) = changelog else {
                    continue;
                };
                let partition = TopicPartition::new(changelog.topic.clone(), id.partition);
                // Where the changelog is a source, only what was taken belongs in the store.
                let limit = committed.get(&partition).filter(|_| !changelog.written);
                let mut position = self.store_position(&changelog.topic, id.partition).await?;
                position.offset = -1;
                position.leader_epoch = -1;
                let store = StoreId(index);
                let stored = task
                    .state()
                    .position(store)
                    .map_err(|e| of_task(*id, e.into()))?;
                if let Some(stored) = stored.filter(|s| s.topic_id == position.topic_id) {
                    position.offset = stored.offset;
                    position.leader_epoch = stored.leader_epoch;
                    position.wall_time = stored.wall_time;
                }
                let restoring = Restoring {
                    task: *id,
                    store,
                    position,
                    end: limit.copied().unwrap_or(i64::MAX),
                    pending: Vec::new(),
                    pending_bytes: 0,
                };
                work.insert(partition, restoring);
            }
        }
        self.bound(tasks, &mut work).await?;
        work.retain(|_, restoring| restoring.position.offset < restoring.end);
        if work.is_empty() {
            return Ok(());
        }
        tracing::info!(stores = work.len(), "restoring");
        self.restorer
            .assign(work.keys().cloned().collect())
            .map_err(|e| StreamsError::log("reading changelogs", e))?;
        for (partition, restoring) in &work {
            self.restorer
                .seek(partition, restoring.position.offset)
                .map_err(|e| StreamsError::log(format!("reading {partition}"), e))?;
        }
        let result = self.replay(tasks, &mut work).await;
        let _ = self.restorer.assign(Vec::new());
        result
    }

    /// Finds where each store's replay begins and ends, and empties stores that must be
    /// rebuilt.
    async fn bound(
        &mut self,
        tasks: &mut BTreeMap<TaskId, Task>,
        work: &mut BTreeMap<TopicPartition, Restoring>,
    ) -> Result<(), StreamsError> {
        // Up to the end of the log, open transactions included: the marker of one that has
        // been committed may still be on its way to this partition. The read waits for it.
        let isolation = IsolationLevel::ReadUncommitted;
        let starts = self.offsets(work.keys(), OffsetSpec::Earliest, isolation);
        let starts = starts.await?;
        let ends = self.offsets(work.keys(), OffsetSpec::Latest, isolation);
        let ends = ends.await?;
        let truncated = self.truncated(work).await?;
        let now = self.now();
        for (partition, restoring) in work {
            let start = starts.get(partition).copied().unwrap_or(0);
            let log_end = ends.get(partition).copied().unwrap_or(0);
            restoring.end = restoring.end.min(log_end);
            let position = &mut restoring.position;
            let fresh = position.offset < 0;
            // Also where the end is what has been taken of a source: entries beyond it would
            // be taken for what the records on the way there replace.
            let outside = position.offset < start || position.offset > restoring.end;
            let old = position.offset < restoring.end
                && now.saturating_sub(position.wall_time) > TOMBSTONE_RETENTION;
            let truncated = truncated.contains(partition);
            if fresh || outside || old || truncated {
                if !fresh {
                    tracing::warn!(
                        %partition, offset = position.offset, start, end = restoring.end, truncated,
                        "a store is rebuilt from its changelog"
                    );
                }
                if let Some(task) = tasks.get_mut(&restoring.task) {
                    task.state_mut().wipe(restoring.store)?;
                }
                position.offset = start;
                position.leader_epoch = -1;
            }
        }
        Ok(())
    }

    /// The changelogs that were truncated below their stores' positions: the epoch of what
    /// the store holds ends before the position, or is not in the log at all.
    async fn truncated(
        &self,
        work: &BTreeMap<TopicPartition, Restoring>,
    ) -> Result<BTreeSet<TopicPartition>, StreamsError> {
        let epochs: BTreeMap<_, _> = work
            .iter()
            .map(|(partition, restoring)| (partition, &restoring.position))
            .filter(|(_, position)| position.offset > 0 && position.leader_epoch >= 0)
            .map(|(partition, position)| (partition.clone(), position.leader_epoch))
            .collect();
        if epochs.is_empty() {
            return Ok(BTreeSet::new());
        }
        let ends = match self.restorer.offsets_for_leader_epoch(epochs).await {
            Ok(ends) => ends,
            // A broker that cannot tell: then only the offsets count.
            Err(ClientError::Unsupported { .. }) => BTreeMap::new(),
            Err(error) => return Err(StreamsError::log("looking up leader epochs", error)),
        };
        let beyond = |partition: &TopicPartition, end: Option<EpochEndOffset>| {
            let position = work.get(partition).map_or(0, |r| r.position.offset);
            end.is_none_or(|end| end.end_offset < position)
        };
        Ok(ends
            .into_iter()
            .filter(|(partition, end)| beyond(partition, *end))
            .map(|(partition, _)| partition)
            .collect())
    }

    async fn replay(
        &mut self,
        tasks: &mut BTreeMap<TaskId, Task>,
        work: &mut BTreeMap<TopicPartition, Restoring>,
    ) -> Result<(), StreamsError> {
        let mut open: BTreeSet<TopicPartition> = work.keys().cloned().collect();
        while !open.is_empty() {
            if self.job.is_stopping() {
                return Err(self.job.not_running());
            }
            let polled = self
                .restorer
                .poll(Duration::from_millis(100))
                .await
                .map_err(|e| StreamsError::log("reading changelogs", e))?;
            let Polled::Records(list) = polled else {
                continue;
            };
            if list.is_empty() {
                // The end of a log may hold nothing that a reader gets to see.
                for partition in open.clone() {
                    let at = self
                        .restorer
                        .position(&partition)
                        .await
                        .map_err(|e| StreamsError::log(format!("reading {partition}"), e))?;
                    if let Some(restoring) = work.get_mut(&partition)
                        && self.job.restored(tasks, restoring, at)?
                    {
                        open.remove(&partition);
                    }
                }
            }
            for records in list {
                let partition = records.topic_partition.clone();
                let Some(restoring) = work.get_mut(&partition) else {
                    continue;
                };
                let next = records.next_offset;
                if let Some(epoch) = records.leader_epoch {
                    restoring.position.leader_epoch = epoch;
                }
                for record in records {
                    let record =
                        record.map_err(|e| StreamsError::log(format!("reading {partition}"), e))?;
                    if record.offset >= restoring.end {
                        break;
                    }
                    // A changelog record without a key says nothing.
                    if let Some(key) = record.key {
                        restoring.pending_bytes +=
                            64 + key.len() + record.value.as_ref().map_or(0, Bytes::len);
                        restoring.pending.push((key, record.value));
                    }
                }
                if self.job.restored(tasks, restoring, next)? {
                    open.remove(&partition);
                    self.restorer
                        .pause(std::slice::from_ref(&partition))
                        .map_err(|e| StreamsError::log("reading changelogs", e))?;
                }
            }
        }
        Ok(())
    }

    /// Looks up an offset of each partition.
    pub(crate) async fn offsets<'a>(
        &self,
        partitions: impl IntoIterator<Item = &'a TopicPartition>,
        spec: OffsetSpec,
        isolation: IsolationLevel,
    ) -> Result<BTreeMap<TopicPartition, i64>, StreamsError> {
        let wanted: BTreeMap<_, _> = partitions.into_iter().map(|p| (p.clone(), spec)).collect();
        if wanted.is_empty() {
            return Ok(BTreeMap::new());
        }
        let found = self
            .job
            .client
            .admin()
            .list_offsets(wanted, isolation)
            .await
            .map_err(|e| StreamsError::log("looking up offsets", e))?;
        Ok(found
            .into_iter()
            .filter_map(|(partition, offset)| Some((partition, offset?.offset)))
            .collect())
    }
}

impl Job {
    /// A changelog has been read up to `offset`: hands over what has come together, if it is
    /// enough or all. Returns whether it is all.
    fn restored(
        &self,
        tasks: &mut BTreeMap<TaskId, Task>,
        restoring: &mut Restoring,
        offset: i64,
    ) -> Result<bool, StreamsError> {
        restoring.position.offset = offset.min(restoring.end);
        let done = restoring.position.offset >= restoring.end;
        if (done || restoring.pending_bytes >= PIECE)
            && let Some(task) = tasks.get_mut(&restoring.task)
        {
            restoring.position.wall_time = self.now();
            restoring.pending_bytes = 0;
            let entries = std::mem::take(&mut restoring.pending);
            task.state_mut()
                .restore(restoring.store, entries, restoring.position)
                .map_err(|e| of_task(restoring.task, e.into()))?;
        }
        Ok(done)
    }
}
