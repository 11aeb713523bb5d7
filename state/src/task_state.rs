//! The stores of one task.
//!
//! Committed entries change only in [`TaskState::apply`]; until then every write lives in
//! a cache that the task alone sees, and that [`TaskState::discard`] forgets.

use crate::window::{encode_start, split_window_key, window_key};
use crate::{KeyRange, StateError, StorePosition, StoreSpec};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::path::Path;

/// A store of a task: its index in the list of specs the state was opened with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StoreId(pub usize);

/// What the stores of a process share.
#[derive(Debug, Clone, Default)]
pub struct StateRuntime {}

#[derive(Debug)]
struct Store {
    spec: StoreSpec,
    committed: BTreeMap<Bytes, Bytes>,
    dirty: BTreeMap<Bytes, Option<Bytes>>,
    cached: usize,
    position: Option<StorePosition>,
}

/// The stores of one task.
#[derive(Debug)]
pub struct TaskState {
    stores: Vec<Store>,
}

impl TaskState {
    /// Opens the stores of a task in `dir`.
    pub fn open(
        _dir: &Path,
        _runtime: &StateRuntime,
        specs: &[StoreSpec],
    ) -> Result<Self, StateError> {
        Ok(Self::in_memory(specs))
    }

    /// Opens every store in memory, whatever its backend.
    pub fn in_memory(specs: &[StoreSpec]) -> Self {
        let stores = specs.iter().map(|spec| Store {
            spec: spec.clone(),
            committed: BTreeMap::new(),
            dirty: BTreeMap::new(),
            cached: 0,
            position: None,
        });
        Self {
            stores: stores.collect(),
        }
    }

    /// The store of that name.
    pub fn store_id(&self, name: &str) -> Option<StoreId> {
        self.stores
            .iter()
            .position(|s| s.spec.name == name)
            .map(StoreId)
    }

    /// All stores, in the order of their ids.
    pub fn specs(&self) -> impl Iterator<Item = &StoreSpec> {
        self.stores.iter().map(|s| &s.spec)
    }

    fn store(&self, id: StoreId) -> Result<&Store, StateError> {
        let count = self.stores.len();
        self.stores
            .get(id.0)
            .ok_or(StateError::UnknownStore { index: id.0, count })
    }

    fn store_mut(&mut self, id: StoreId) -> Result<&mut Store, StateError> {
        let count = self.stores.len();
        self.stores
            .get_mut(id.0)
            .ok_or(StateError::UnknownStore { index: id.0, count })
    }

    /// The value of `key`, as the task last wrote it.
    pub fn get(&mut self, store: StoreId, key: &[u8]) -> Result<Option<Bytes>, StateError> {
        let store = self.store(store)?;
        Ok(match store.dirty.get(key) {
            Some(written) => written.clone(),
            None => store.committed.get(key).cloned(),
        })
    }

    /// Sets the value of `key`.
    pub fn put(&mut self, store: StoreId, key: &[u8], value: &[u8]) -> Result<(), StateError> {
        self.write(store, key, Some(Bytes::copy_from_slice(value)))
    }

    /// Removes `key`.
    pub fn delete(&mut self, store: StoreId, key: &[u8]) -> Result<(), StateError> {
        self.write(store, key, None)
    }

    fn write(
        &mut self,
        store: StoreId,
        key: &[u8],
        value: Option<Bytes>,
    ) -> Result<(), StateError> {
        let store = self.store_mut(store)?;
        store.cached += key.len() + value.as_ref().map_or(0, Bytes::len) + 64;
        store.dirty.insert(Bytes::copy_from_slice(key), value);
        Ok(())
    }

    /// A cursor over `range`, on the store as it is now: later writes do not show.
    pub fn scan(&mut self, store: StoreId, range: KeyRange) -> Result<Cursor, StateError> {
        let store = self.store(store)?;
        let mut entries = store.committed.clone();
        for (key, value) in &store.dirty {
            match value {
                Some(value) => entries.insert(key.clone(), value.clone()),
                None => entries.remove(key),
            };
        }
        entries.retain(|key, _| range.contains(key));
        Ok(Cursor {
            entries: entries.into_iter(),
        })
    }

    /// Whether anything waits for [`apply`](Self::apply).
    pub fn is_dirty(&self) -> bool {
        self.stores.iter().any(|s| !s.dirty.is_empty())
    }

    /// What was written since the last commit, sorted by key; `None` is a delete.
    pub fn dirty_entries(
        &mut self,
        store: StoreId,
    ) -> Result<Vec<(Bytes, Option<Bytes>)>, StateError> {
        let store = self.store(store)?;
        Ok(store
            .dirty
            .iter()
            .map(|(k, v)| (k.clone(), v.clone()))
            .collect())
    }

    /// Step 5 of the commit: makes every write durable, together with the position of
    /// each store in its changelog.
    pub fn apply(&mut self, positions: &[(StoreId, StorePosition)]) -> Result<(), StateError> {
        for store in &mut self.stores {
            for (key, value) in std::mem::take(&mut store.dirty) {
                match value {
                    Some(value) => store.committed.insert(key, value),
                    None => store.committed.remove(&key),
                };
            }
            store.cached = 0;
        }
        for (id, position) in positions {
            self.store_mut(*id)?.position = Some(*position);
        }
        Ok(())
    }

    /// Forgets every write since the last commit.
    pub fn discard(&mut self) {
        for store in &mut self.stores {
            store.dirty.clear();
            store.cached = 0;
        }
    }

    /// How far into its changelog a store reaches; `None` for a new store.
    pub fn position(&self, store: StoreId) -> Result<Option<StorePosition>, StateError> {
        Ok(self.store(store)?.position)
    }

    /// Takes changelog records into the committed store, bypassing the cache, together
    /// with the position behind the last of them.
    pub fn restore(
        &mut self,
        store: StoreId,
        entries: impl IntoIterator<Item = (Bytes, Option<Bytes>)>,
        position: StorePosition,
    ) -> Result<(), StateError> {
        let store = self.store_mut(store)?;
        for (key, value) in entries {
            match value {
                Some(value) => store.committed.insert(key, value),
                None => store.committed.remove(&key),
            };
        }
        store.position = Some(position);
        Ok(())
    }

    /// The bytes that uncommitted and cached entries take, roughly.
    pub fn cached_bytes(&self) -> usize {
        self.stores.iter().map(|s| s.cached).sum()
    }

    /// The view of a window store.
    pub fn window(&mut self, store: StoreId) -> WindowStore<'_> {
        WindowStore { state: self, store }
    }
}

/// An owned cursor over a range of a store.
#[derive(Debug)]
pub struct Cursor {
    entries: std::collections::btree_map::IntoIter<Bytes, Bytes>,
}

impl Cursor {
    /// The next entry in key order.
    pub fn next(&mut self, _state: &mut TaskState) -> Result<Option<(Bytes, Bytes)>, StateError> {
        Ok(self.entries.next())
    }
}

/// A window store: values by key and window start.
#[derive(Debug)]
pub struct WindowStore<'a> {
    state: &'a mut TaskState,
    store: StoreId,
}

impl WindowStore<'_> {
    /// Sets the value of `key` in the window that starts at `start`.
    pub fn put(&mut self, key: &[u8], start: i64, value: &[u8]) -> Result<(), StateError> {
        let key = window_key(key, start);
        self.state.put(self.store, &key, value)
    }

    /// Removes `key` from the window that starts at `start`.
    pub fn delete(&mut self, key: &[u8], start: i64) -> Result<(), StateError> {
        let key = window_key(key, start);
        self.state.delete(self.store, &key)
    }

    /// The value of `key` in the window that starts at `start`.
    pub fn fetch(&mut self, key: &[u8], start: i64) -> Result<Option<Bytes>, StateError> {
        let key = window_key(key, start);
        self.state.get(self.store, &key)
    }

    /// The windows of `key` that start in `from..=to`, by time.
    pub fn fetch_range(
        &mut self,
        key: &[u8],
        from: i64,
        to: i64,
    ) -> Result<WindowCursor, StateError> {
        let mut cursor = self.all(from, to)?;
        cursor.key = Some(Bytes::copy_from_slice(key));
        Ok(cursor)
    }

    /// Every key of every window that starts in `from..=to`, by time, then by key.
    pub fn all(&mut self, from: i64, to: i64) -> Result<WindowCursor, StateError> {
        let mut range = KeyRange::prefix(Bytes::copy_from_slice(&encode_start(to)));
        range.from = std::ops::Bound::Included(Bytes::copy_from_slice(&encode_start(from)));
        Ok(WindowCursor {
            cursor: self.state.scan(self.store, range)?,
            key: None,
        })
    }

    /// Drops every window that starts before `start`. Nothing is sent to the changelog:
    /// its retention drops them there.
    pub fn expire_before(&mut self, start: i64) -> Result<(), StateError> {
        let end = encode_start(start);
        let store = self.state.store_mut(self.store)?;
        store.committed.retain(|k, _| k.as_ref() >= &end[..]);
        store.dirty.retain(|k, _| k.as_ref() >= &end[..]);
        Ok(())
    }
}

/// An owned cursor over windows.
#[derive(Debug)]
pub struct WindowCursor {
    cursor: Cursor,
    key: Option<Bytes>,
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

impl WindowCursor {
    /// The next entry.
    pub fn next(&mut self, state: &mut TaskState) -> Result<Option<WindowEntry>, StateError> {
        while let Some((stored, value)) = self.cursor.next(state)? {
            let (start, key) = split_window_key(&stored).ok_or_else(|| StateError::BadKey {
                store: String::new(),
                len: stored.len(),
            })?;
            if self.key.as_ref().is_none_or(|wanted| *wanted == key) {
                return Ok(Some(WindowEntry { start, key, value }));
            }
        }
        Ok(None)
    }
}
