//! Owned cursors over a range of a store.
//!
//! A cursor merges the cache with the committed entries, both as they were when it was
//! opened: writes, commits and expiry in the meantime do not show. It borrows nothing, so
//! that a node can keep it while it yields.

use crate::cache::Overlay;
use crate::owned_iter::OwnedIter;
use crate::rocks::io;
use crate::window::split_window_key;
use crate::{KeyRange, StateError, StoreId, TaskState};
use bytes::Bytes;
use parking_lot::Mutex;
use rocksdb::{DB, ReadOptions};
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

/// The committed entries of a range, as they were when it was opened.
#[derive(Debug)]
pub(crate) enum CommittedCursor {
    Rocks {
        store: String,
        iter: OwnedIter,
        range: KeyRange,
    },
    Memory {
        map: Arc<BTreeMap<Bytes, Bytes>>,
        range: KeyRange,
    },
}

impl CommittedCursor {
    pub(crate) fn rocks(db: &Arc<DB>, store: &str, range: &KeyRange) -> Result<Self, StateError> {
        let mut options = ReadOptions::default();
        match &range.to {
            Bound::Excluded(to) => options.set_iterate_upper_bound(to.to_vec()),
            // The first key behind `to` is `to` and a zero byte.
            Bound::Included(to) => {
                let mut end = to.to_vec();
                end.push(0);
                options.set_iterate_upper_bound(end);
            }
            Bound::Unbounded => {}
        }
        let mut iter = OwnedIter::open(db, store, options).ok_or_else(|| StateError::Closed {
            store: store.to_owned(),
        })?;
        match &range.from {
            Bound::Included(from) => iter.seek(from),
            Bound::Excluded(from) => {
                let mut from = from.to_vec();
                from.push(0);
                iter.seek(&from);
            }
            Bound::Unbounded => iter.seek_to_first(),
        }
        Ok(Self::Rocks {
            store: store.to_owned(),
            iter,
            range: range.clone(),
        })
    }

    pub(crate) fn memory(map: Arc<BTreeMap<Bytes, Bytes>>, range: &KeyRange) -> Self {
        Self::Memory {
            map,
            range: range.clone(),
        }
    }

    pub(crate) fn next(&mut self) -> Result<Option<(Bytes, Bytes)>, StateError> {
        match self {
            Self::Rocks { store, iter, range } => {
                let entry = match iter.item() {
                    Some((key, value)) if range.below_end(key) => {
                        (Bytes::copy_from_slice(key), Bytes::copy_from_slice(value))
                    }
                    Some(_) => return Ok(None),
                    None => {
                        iter.status().map_err(|e| io(store, &e))?;
                        return Ok(None);
                    }
                };
                iter.next();
                Ok(Some(entry))
            }
            Self::Memory { map, range } => {
                if range.is_empty() {
                    return Ok(None);
                }
                let bounds = (range.from.clone(), range.to.clone());
                let Some((key, value)) = map.range(bounds).next() else {
                    return Ok(None);
                };
                let entry = (key.clone(), value.clone());
                range.from = Bound::Excluded(key.clone());
                Ok(Some(entry))
            }
        }
    }
}

/// An owned cursor over a range of a store.
#[derive(Debug)]
pub struct Cursor {
    pub(crate) store: StoreId,
    pub(crate) range: KeyRange,
    pub(crate) overlay: Arc<Mutex<Overlay>>,
    /// Committed keys below this were expired when the cursor was opened.
    pub(crate) expired: Option<Bytes>,
    pub(crate) committed: CommittedCursor,
    pub(crate) next_cached: Option<(Bytes, Option<Bytes>)>,
    pub(crate) next_committed: Option<(Bytes, Bytes)>,
    pub(crate) started: bool,
}

impl Cursor {
    /// The next entry in key order; `state` is the one that opened the cursor.
    pub fn next(&mut self, state: &mut TaskState) -> Result<Option<(Bytes, Bytes)>, StateError> {
        if !self.started {
            self.started = true;
            self.read_cached(state)?;
            self.read_committed()?;
        }
        loop {
            let cached_first = match (&self.next_cached, &self.next_committed) {
                (None, None) => return Ok(None),
                (Some(_), None) => true,
                (None, Some(_)) => false,
                (Some((cached, _)), Some((committed, _))) => {
                    if cached == committed {
                        // The cache knows better.
                        self.read_committed()?;
                        continue;
                    }
                    cached < committed
                }
            };
            if !cached_first {
                let entry = self.next_committed.take();
                self.read_committed()?;
                return Ok(entry);
            }
            let entry = self.next_cached.take();
            self.read_cached(state)?;
            if let Some((key, Some(value))) = entry {
                return Ok(Some((key, value)));
            }
        }
    }

    fn read_cached(&mut self, state: &TaskState) -> Result<(), StateError> {
        let cache = state.cache(self.store)?;
        self.next_cached = cache.next(&self.range, &mut self.overlay.lock());
        Ok(())
    }

    fn read_committed(&mut self) -> Result<(), StateError> {
        self.next_committed = loop {
            let entry = self.committed.next()?;
            match (&entry, &self.expired) {
                (Some((key, _)), Some(end)) if key < end => {}
                _ => break entry,
            }
        };
        Ok(())
    }
}

/// An entry of a window store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WindowEntry {
    /// When the window starts.
    pub start: i64,
    /// The key within it.
    pub key: Bytes,
    /// The value.
    pub value: Bytes,
}

/// An owned cursor over windows.
#[derive(Debug)]
pub struct WindowCursor {
    pub(crate) cursor: Cursor,
    pub(crate) key: Option<Bytes>,
}

impl WindowCursor {
    /// The next entry, by time, then by key.
    pub fn next(&mut self, state: &mut TaskState) -> Result<Option<WindowEntry>, StateError> {
        while let Some((stored, value)) = self.cursor.next(state)? {
            let Some((start, key)) = split_window_key(&stored) else {
                let store = state.spec(self.cursor.store)?.name.clone();
                let len = stored.len();
                return Err(StateError::BadKey { store, len });
            };
            if self.key.as_ref().is_none_or(|wanted| *wanted == key) {
                return Ok(Some(WindowEntry { start, key, value }));
            }
        }
        Ok(None)
    }
}
