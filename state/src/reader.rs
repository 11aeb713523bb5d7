//! Committed state for other threads.
//!
//! A reader sees what the last commit left, never a write of a running transaction. It
//! does not keep a closed task's database open: it says so instead.

use crate::cursor::{CommittedCursor, WindowEntry};
use crate::window::{split_window_key, window_key};
use crate::window_store::starts;
use crate::{KeyRange, StateError, rocks};
use bytes::Bytes;
use parking_lot::RwLock;
use rocksdb::DB;
use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

/// The committed entries of a store in memory; a commit swaps or changes them as a whole.
pub(crate) type Published = Arc<RwLock<Arc<BTreeMap<Bytes, Bytes>>>>;

#[derive(Debug, Clone)]
pub(crate) enum Source {
    Rocks(Weak<DB>),
    Memory(Weak<RwLock<Arc<BTreeMap<Bytes, Bytes>>>>),
}

/// Reads the committed entries of one store from any thread.
#[derive(Debug, Clone)]
pub struct CommittedReader {
    pub(crate) store: Arc<str>,
    pub(crate) source: Source,
}

impl CommittedReader {
    /// The store's name.
    pub fn store(&self) -> &str {
        &self.store
    }

    fn closed(&self) -> StateError {
        StateError::Closed {
            store: self.store.to_string(),
        }
    }

    /// The committed value of `key`.
    pub fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StateError> {
        match &self.source {
            Source::Rocks(db) => {
                let db = db.upgrade().ok_or_else(|| self.closed())?;
                rocks::get(&db, &self.store, key)
            }
            Source::Memory(map) => {
                let map = map.upgrade().ok_or_else(|| self.closed())?;
                let value = map.read().get(key).cloned();
                Ok(value)
            }
        }
    }

    /// The committed entries of a range, as of one commit.
    pub fn scan(&self, range: KeyRange) -> Result<CommittedScan, StateError> {
        let cursor = match &self.source {
            Source::Rocks(db) => {
                let db = db.upgrade().ok_or_else(|| self.closed())?;
                CommittedCursor::rocks(&db, &self.store, &range)?
            }
            Source::Memory(map) => {
                let map = map.upgrade().ok_or_else(|| self.closed())?;
                let map = Arc::clone(&map.read());
                CommittedCursor::memory(map, &range)
            }
        };
        Ok(CommittedScan { cursor })
    }

    /// The committed value of `key` in the window that starts at `start`.
    pub fn fetch(&self, key: &[u8], start: i64) -> Result<Option<Bytes>, StateError> {
        self.get(&window_key(key, start))
    }

    /// The committed entries of the windows that start in `from..=to`, by time.
    pub fn windows(
        &self,
        from: i64,
        to: i64,
    ) -> Result<impl Iterator<Item = Result<WindowEntry, StateError>> + use<>, StateError> {
        let store = Arc::clone(&self.store);
        Ok(self.scan(starts(from, to))?.map(move |entry| {
            let (stored, value) = entry?;
            let (start, key) = split_window_key(&stored).ok_or_else(|| StateError::BadKey {
                store: store.to_string(),
                len: stored.len(),
            })?;
            Ok(WindowEntry { start, key, value })
        }))
    }
}

/// The committed entries of a range. Holds the database open: drop it soon.
#[derive(Debug)]
pub struct CommittedScan {
    cursor: CommittedCursor,
}

impl Iterator for CommittedScan {
    type Item = Result<(Bytes, Bytes), StateError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.cursor.next().transpose()
    }
}
