//! The Raft log, kept in the partition `__cluster_metadata-0`.
//!
//! Invariant: one entry is one record, its index is the record's offset and its term is the leader
//! epoch of the batch that holds it. openraft is told that entries are persisted only after the
//! fsync that covers them, and the vote is on disk before it is answered.

use std::fmt::Debug;
use std::ops::{Bound, RangeBounds};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use openraft::storage::{LogFlushed, RaftLogStorage};
use openraft::{
    AnyError, Entry, LogId, LogState, OptionalSend, RaftLogReader, StorageError, StorageIOError,
    Vote,
};
use parking_lot::Mutex;

use super::files::QuorumState;
use super::types::{NodeId, TypeConfig, decode_entry, encode_entry};
use crate::record::{BatchBuilder, Compression, batches};
use crate::storage::{AppendOrigin, FetchIsolation, PartitionLog};

/// Bytes read at once when entries are read back.
const READ_BYTES: usize = 1 << 20;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The log store that openraft drives; clones share the log.
#[derive(Debug, Clone)]
pub(crate) struct RaftLog {
    log: Arc<PartitionLog>,
    dir: PathBuf,
    state: Arc<Mutex<QuorumState>>,
}

impl RaftLog {
    /// Opens the store over the partition's log; `dir` is the folder of the small files.
    pub(crate) fn open(log: Arc<PartitionLog>, dir: &Path) -> Result<Self, BoxError> {
        let state = QuorumState::load(dir)?;
        if let Some(purged) = state.purged {
            let keep = offset(purged.index)?.saturating_add(1);
            if log.log_end_offset() < keep {
                log.truncate_fully_and_start_at(keep)?;
            } else if log.log_start_offset() < keep {
                log.delete_records(keep)?;
            }
        }
        Ok(Self {
            log,
            dir: dir.to_owned(),
            state: Arc::new(Mutex::new(state)),
        })
    }

    fn append_blocking(&self, entries: &[Entry<TypeConfig>]) -> Result<(), BoxError> {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let now = i64::try_from(now.as_millis()).unwrap_or(i64::MAX);
        for run in entries.chunk_by(|a, b| a.log_id.leader_id == b.log_id.leader_id) {
            let Some(first) = run.first() else { continue };
            let expected = offset(first.log_id.index)?;
            let end = self.log.log_end_offset();
            if end != expected {
                return Err(format!(
                    "entry {expected} does not follow the metadata log, which ends at {end}"
                )
                .into());
            }
            let mut batch = BatchBuilder::new(Compression::None);
            for entry in run {
                batch.append(now, None, Some(&encode_entry(entry)), &[])?;
            }
            let term = i32::try_from(first.log_id.leader_id.term)?;
            self.log
                .append(batch.build()?, term, AppendOrigin::Coordinator, now)?;
        }
        self.log.flush()?;
        Ok(())
    }

    fn read_blocking(&self, start: u64, stop: u64) -> Result<Vec<Entry<TypeConfig>>, BoxError> {
        let mut entries = Vec::new();
        let mut next = offset(start)?.max(self.log.log_start_offset());
        let stop = i64::try_from(stop)
            .unwrap_or(i64::MAX)
            .min(self.log.log_end_offset());
        while next < stop {
            let data = self
                .log
                .read(next, READ_BYTES, true, FetchIsolation::LogEnd)?;
            if data.records.is_empty() {
                break;
            }
            for batch in batches(data.records) {
                let batch = batch?;
                let term = u64::try_from(batch.header().partition_leader_epoch)?;
                for record in batch.records()? {
                    let record = record?;
                    if record.offset < next || record.offset >= stop {
                        continue;
                    }
                    let value = record.value.unwrap_or_else(Bytes::new);
                    entries.push(decode_entry(term, u64::try_from(record.offset)?, value)?);
                }
            }
            next = data.next_offset.max(next.saturating_add(1));
        }
        Ok(entries)
    }

    fn last_log_id(&self) -> Result<Option<LogId<NodeId>>, BoxError> {
        let end = self.log.log_end_offset();
        if end <= self.log.log_start_offset() {
            return Ok(None);
        }
        let last = end.saturating_sub(1);
        let entry = self
            .read_blocking(u64::try_from(last)?, u64::try_from(end)?)?
            .pop();
        Ok(entry.map(|e| e.log_id))
    }

    fn save(&self, change: impl FnOnce(&mut QuorumState)) -> Result<(), BoxError> {
        let mut state = self.state.lock();
        let mut new = state.clone();
        change(&mut new);
        new.save(&self.dir)?;
        *state = new;
        Ok(())
    }

    /// Runs disk work off the reactor.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Self) -> Result<T, BoxError> + Send + 'static,
    ) -> Result<T, AnyError> {
        let this = self.clone();
        match tokio::task::spawn_blocking(move || work(&this)).await {
            Ok(Ok(done)) => Ok(done),
            Ok(Err(e)) => Err(AnyError::error(e.to_string())),
            Err(e) => Err(AnyError::new(&e)),
        }
    }
}

fn offset(index: u64) -> Result<i64, BoxError> {
    Ok(i64::try_from(index)?)
}

impl RaftLogReader<TypeConfig> for RaftLog {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<Entry<TypeConfig>>, StorageError<NodeId>> {
        let start = match range.start_bound() {
            Bound::Included(i) => *i,
            Bound::Excluded(i) => i.saturating_add(1),
            Bound::Unbounded => 0,
        };
        let stop = match range.end_bound() {
            Bound::Included(i) => i.saturating_add(1),
            Bound::Excluded(i) => *i,
            Bound::Unbounded => u64::MAX,
        };
        self.blocking(move |log| log.read_blocking(start, stop))
            .await
            .map_err(|e| StorageIOError::read_logs(e).into())
    }
}

impl RaftLogStorage<TypeConfig> for RaftLog {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<TypeConfig>, StorageError<NodeId>> {
        let last_purged_log_id = self.state.lock().purged;
        let last = self
            .blocking(Self::last_log_id)
            .await
            .map_err(|e| StorageError::from(StorageIOError::read_logs(e)))?;
        Ok(LogState {
            last_purged_log_id,
            last_log_id: last.or(last_purged_log_id),
        })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote<NodeId>) -> Result<(), StorageError<NodeId>> {
        let vote = *vote;
        self.blocking(move |log| log.save(|s| s.vote = Some(vote)))
            .await
            .map_err(|e| StorageIOError::write_vote(e).into())
    }

    async fn read_vote(&mut self) -> Result<Option<Vote<NodeId>>, StorageError<NodeId>> {
        Ok(self.state.lock().vote)
    }

    async fn append<I>(
        &mut self,
        entries: I,
        callback: LogFlushed<TypeConfig>,
    ) -> Result<(), StorageError<NodeId>>
    where
        I: IntoIterator<Item = Entry<TypeConfig>> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let entries: Vec<_> = entries.into_iter().collect();
        match self
            .blocking(move |log| log.append_blocking(&entries))
            .await
        {
            Ok(()) => {
                callback.log_io_completed(Ok(()));
                Ok(())
            }
            Err(e) => {
                callback.log_io_completed(Err(std::io::Error::other(e.to_string())));
                Err(StorageIOError::write_logs(e).into())
            }
        }
    }

    async fn truncate(&mut self, from: LogId<NodeId>) -> Result<(), StorageError<NodeId>> {
        self.blocking(move |log| {
            log.log.truncate_to(offset(from.index)?)?;
            Ok(log.log.flush()?)
        })
        .await
        .map_err(|e| StorageIOError::write_logs(e).into())
    }

    async fn purge(&mut self, upto: LogId<NodeId>) -> Result<(), StorageError<NodeId>> {
        self.blocking(move |log| {
            // The file first: a crash in between leaves entries to delete, never a hole.
            log.save(|s| s.purged = s.purged.max(Some(upto)))?;
            let keep = offset(upto.index)?.saturating_add(1);
            if log.log.log_end_offset() < keep {
                log.log.truncate_fully_and_start_at(keep)?;
            } else {
                log.log.delete_records(keep)?;
            }
            Ok(())
        })
        .await
        .map_err(|e| StorageIOError::write_logs(e).into())
    }
}
