//! Interactive queries: committed state of all local tasks as one store.

use crate::StreamsError;
use crate::task::TaskId;
use bytes::Bytes;
use std::collections::BTreeMap;
use thalweg_state::{CommittedReader, KeyRange, WindowEntry};

/// A store over all tasks of a job in this process: what the last commits left.
///
/// Each task's part is consistent; different tasks have committed at different moments.
#[derive(Debug, Clone)]
pub struct ReadOnlyStore {
    pub(crate) readers: BTreeMap<TaskId, CommittedReader>,
}

impl ReadOnlyStore {
    /// The tasks whose state is here.
    pub fn tasks(&self) -> impl Iterator<Item = TaskId> + '_ {
        self.readers.keys().copied()
    }

    /// One task's part.
    pub fn task(&self, task: TaskId) -> Option<&CommittedReader> {
        self.readers.get(&task)
    }

    /// The value of `key`, in whichever task has it.
    pub fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StreamsError> {
        for reader in self.readers.values() {
            if let Some(value) = reader.get(key)? {
                return Ok(Some(value));
            }
        }
        Ok(None)
    }

    /// The value of `key` in the window that starts at `start`.
    pub fn fetch(&self, key: &[u8], start: i64) -> Result<Option<Bytes>, StreamsError> {
        for reader in self.readers.values() {
            if let Some(value) = reader.fetch(key, start)? {
                return Ok(Some(value));
            }
        }
        Ok(None)
    }

    /// The entries of a range, task by task; within a task in key order.
    pub fn scan(
        &self,
        range: KeyRange,
    ) -> impl Iterator<Item = Result<(Bytes, Bytes), StreamsError>> + '_ {
        self.readers.values().flat_map(move |reader| {
            let (scan, error) = match reader.scan(range.clone()) {
                Ok(scan) => (Some(scan), None),
                Err(error) => (None, Some(Err(error))),
            };
            let entries = scan.into_iter().flatten().chain(error);
            entries.map(|entry| entry.map_err(StreamsError::from))
        })
    }

    /// The entries of all windows that start in `from..=to`, task by task; within a task
    /// by time.
    pub fn windows(
        &self,
        from: i64,
        to: i64,
    ) -> impl Iterator<Item = Result<WindowEntry, StreamsError>> + '_ {
        self.readers.values().flat_map(move |reader| {
            let (scan, error) = match reader.windows(from, to) {
                Ok(scan) => (Some(scan), None),
                Err(error) => (None, Some(Err(error))),
            };
            let entries = scan.into_iter().flatten().chain(error);
            entries.map(|entry| entry.map_err(StreamsError::from))
        })
    }
}
