//! The stores of one task.
//!
//! Committed entries change only in [`TaskState::apply`] and [`TaskState::restore`]; until
//! then every write lives in a cache that the task alone sees and that
//! [`TaskState::discard`] forgets. So what is on disk is never ahead of what has
//! been committed.

use crate::cache::{Cached, WriteCache};
use crate::cursor::{CommittedCursor, Cursor};
use crate::reader::{CommittedReader, Published, Source};
use crate::rocks::Rocks;
use crate::runtime::Ticket;
use crate::window_store::WindowStore;
use crate::{Backend, KeyRange, StateError, StateRuntime, StorePosition, StoreSpec};
use bytes::Bytes;
use std::path::Path;
use std::sync::Arc;

/// A store of a task: its index in the list of specs the state was opened with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StoreId(pub usize);

/// The committed entries of a store in memory.
#[derive(Debug, Default)]
struct Memory {
    published: Published,
    position: Option<StorePosition>,
    expired: Option<Bytes>,
}

#[derive(Debug)]
struct Store {
    cache: WriteCache,
    /// `None`: the store lives in the task's database.
    memory: Option<Memory>,
}

/// The stores of one task.
#[derive(Debug)]
pub struct TaskState {
    specs: Vec<StoreSpec>,
    stores: Vec<Store>,
    rocks: Option<Rocks>,
    ticket: Option<Ticket>,
    /// Where window keys are put together, so that a look-up allocates nothing.
    pub(crate) scratch: Vec<u8>,
}

impl TaskState {
    /// Opens the stores of a task in `dir`. Without a store on RocksDB nothing is made there.
    pub fn open(
        dir: &Path,
        runtime: &StateRuntime,
        specs: &[StoreSpec],
    ) -> Result<Self, StateError> {
        let on_disk = specs.iter().any(|s| s.backend == Backend::RocksDb);
        let rocks = match on_disk {
            true => Some(Rocks::open(dir, runtime, specs)?),
            false => None,
        };
        let mut state = Self::with(specs, |spec| spec.backend == Backend::InMemory);
        state.rocks = rocks;
        state.ticket = Some(runtime.join());
        Ok(state)
    }

    /// Opens every store in memory, whatever its backend.
    pub fn in_memory(specs: &[StoreSpec]) -> Self {
        Self::with(specs, |_| true)
    }

    fn with(specs: &[StoreSpec], in_memory: impl Fn(&StoreSpec) -> bool) -> Self {
        let stores = specs.iter().map(|spec| Store {
            cache: WriteCache::new(&spec.kind),
            memory: in_memory(spec).then(Memory::default),
        });
        Self {
            specs: specs.to_vec(),
            stores: stores.collect(),
            rocks: None,
            ticket: None,
            scratch: Vec::new(),
        }
    }

    /// The store of that name.
    pub fn store_id(&self, name: &str) -> Option<StoreId> {
        self.specs.iter().position(|s| s.name == name).map(StoreId)
    }

    /// All stores, in the order of their ids.
    pub fn specs(&self) -> impl Iterator<Item = &StoreSpec> {
        self.specs.iter()
    }

    fn unknown(&self, id: StoreId) -> StateError {
        StateError::UnknownStore {
            index: id.0,
            count: self.stores.len(),
        }
    }

    fn store(&self, id: StoreId) -> Result<&Store, StateError> {
        self.stores.get(id.0).ok_or_else(|| self.unknown(id))
    }

    fn store_mut(&mut self, id: StoreId) -> Result<&mut Store, StateError> {
        let error = self.unknown(id);
        self.stores.get_mut(id.0).ok_or(error)
    }

    pub(crate) fn cache(&self, id: StoreId) -> Result<&WriteCache, StateError> {
        Ok(&self.store(id)?.cache)
    }

    /// The spec of a store.
    pub fn spec(&self, id: StoreId) -> Result<&StoreSpec, StateError> {
        self.specs.get(id.0).ok_or_else(|| self.unknown(id))
    }

    fn rocks(&self, id: StoreId) -> Result<(&Rocks, &str), StateError> {
        let name = self.spec(id)?.name.as_str();
        let rocks = self.rocks.as_ref().ok_or_else(|| StateError::Closed {
            store: name.to_owned(),
        })?;
        Ok((rocks, name))
    }

    /// The value of `key`, as the task last wrote it.
    pub fn get(&mut self, store: StoreId, key: &[u8]) -> Result<Option<Bytes>, StateError> {
        let this = self.store(store)?;
        match (this.cache.get(key), &this.memory) {
            (Cached::Known(value), _) => Ok(value),
            (Cached::Unknown, Some(memory)) => Ok(memory.published.read().get(key).cloned()),
            (Cached::Unknown, None) => {
                let (rocks, name) = self.rocks(store)?;
                rocks.get(name, key)
            }
        }
    }

    /// Sets the value of `key`.
    pub fn put(&mut self, store: StoreId, key: &[u8], value: &[u8]) -> Result<(), StateError> {
        self.put_bytes(store, key, Bytes::copy_from_slice(value))
    }

    /// Sets the value of `key`, keeping `value` as it is.
    pub fn put_bytes(
        &mut self,
        store: StoreId,
        key: &[u8],
        value: Bytes,
    ) -> Result<(), StateError> {
        self.store_mut(store)?.cache.write(key, Some(value));
        Ok(())
    }

    /// Removes `key`.
    pub fn delete(&mut self, store: StoreId, key: &[u8]) -> Result<(), StateError> {
        self.store_mut(store)?.cache.write(key, None);
        Ok(())
    }

    pub(crate) fn expire(&mut self, store: StoreId, end: Bytes) -> Result<(), StateError> {
        self.store_mut(store)?.cache.expire(end);
        Ok(())
    }

    /// A cursor over `range`, on the store as it is now: later writes do not show.
    pub fn scan(&mut self, store: StoreId, range: KeyRange) -> Result<Cursor, StateError> {
        let this = self.store(store)?;
        let expired = this.cache.expired().cloned();
        let committed = match &this.memory {
            Some(memory) => {
                let map = Arc::clone(&memory.published.read());
                CommittedCursor::memory(map, &range)
            }
            None => {
                // What is expired need not be read.
                let mut rest = range.clone();
                if let Some(end) = &expired
                    && !matches!(&rest.from, std::ops::Bound::Included(from) if from >= end)
                {
                    rest.from = std::ops::Bound::Included(end.clone());
                }
                let (rocks, name) = self.rocks(store)?;
                CommittedCursor::rocks(rocks.db(), name, &rest)?
            }
        };
        let overlay = self.store_mut(store)?.cache.open(&range);
        Ok(Cursor {
            store,
            range,
            overlay,
            expired,
            committed,
            next_cached: None,
            next_committed: None,
            started: false,
        })
    }

    /// Whether anything waits for [`apply`](Self::apply).
    pub fn is_dirty(&self) -> bool {
        self.stores.iter().any(|s| s.cache.is_dirty())
    }

    /// What was written since the last commit, sorted by key; `None` is a delete.
    pub fn dirty_entries(
        &mut self,
        store: StoreId,
    ) -> Result<Vec<(Bytes, Option<Bytes>)>, StateError> {
        Ok(self.store_mut(store)?.cache.sorted_dirty())
    }

    /// Step 5 of the commit: makes every write part of the committed stores, together with
    /// the position of each store in its changelog, as one.
    pub fn apply(&mut self, positions: &[(StoreId, StorePosition)]) -> Result<(), StateError> {
        let mut batch = self.rocks.as_ref().map(Rocks::batch);
        for (spec, store) in self.specs.iter().zip(&mut self.stores) {
            let entries = store.cache.sorted_dirty();
            match (&mut store.memory, &mut batch) {
                (Some(memory), _) => {
                    let end = store.cache.expired().cloned();
                    memory.apply(entries, end);
                }
                (None, Some(batch)) => {
                    if let Some(end) = store.cache.expired() {
                        batch.expire(&spec.name, end)?;
                    }
                    batch.entries(&spec.name, &entries)?;
                }
                (None, None) => {}
            }
        }
        for (id, position) in positions {
            let spec = self.specs.get(id.0).ok_or(StateError::UnknownStore {
                index: id.0,
                count: self.specs.len(),
            })?;
            let memory = self.stores.get_mut(id.0).and_then(|s| s.memory.as_mut());
            match (memory, &mut batch) {
                (Some(memory), _) => memory.position = Some(*position),
                (None, Some(batch)) => batch.position(&spec.name, position)?,
                (None, None) => {}
            }
        }
        if let Some(batch) = batch {
            batch.write()?;
        }
        let limit = self.ticket.as_ref().map_or(0, Ticket::clean_limit);
        for store in &mut self.stores {
            store.cache.settle(limit);
        }
        Ok(())
    }

    /// Forgets every write since the last commit.
    pub fn discard(&mut self) {
        for store in &mut self.stores {
            store.cache.clear();
        }
    }

    /// How far into its changelog a store reaches; `None` for a new store.
    pub fn position(&self, store: StoreId) -> Result<Option<StorePosition>, StateError> {
        match &self.store(store)?.memory {
            Some(memory) => Ok(memory.position),
            None => {
                let (rocks, name) = self.rocks(store)?;
                rocks.position(name)
            }
        }
    }

    /// Takes changelog records into the committed store, bypassing the cache, together
    /// with the position behind the last of them. Windows that had expired stay so.
    pub fn restore(
        &mut self,
        store: StoreId,
        entries: impl IntoIterator<Item = (Bytes, Option<Bytes>)>,
        position: StorePosition,
    ) -> Result<(), StateError> {
        let mut entries: Vec<_> = entries.into_iter().collect();
        // Sorted is what RocksDB takes fastest; of each key the newest counts.
        entries.sort_by(|a, b| a.0.cmp(&b.0));
        entries.reverse();
        entries.dedup_by(|later, newest| later.0 == newest.0);
        entries.reverse();
        let this = self.store_mut(store)?;
        this.cache.clear();
        if let Some(memory) = &mut this.memory {
            if let Some(end) = &memory.expired {
                entries.retain(|(key, _)| key >= end);
            }
            memory.apply(entries, None);
            memory.position = Some(position);
            return Ok(());
        }
        let (rocks, name) = self.rocks(store)?;
        if let Some(end) = rocks.expired(name)? {
            entries.retain(|(key, _)| *key >= end);
        }
        let mut batch = rocks.batch();
        batch.entries(name, &entries)?;
        batch.position(name, &position)?;
        batch.write()
    }

    /// Empties a store and forgets its position, to be restored from the beginning.
    pub fn wipe(&mut self, store: StoreId) -> Result<(), StateError> {
        let this = self.store_mut(store)?;
        this.cache.clear();
        if let Some(memory) = &mut this.memory {
            *memory.published.write() = Arc::default();
            memory.position = None;
            memory.expired = None;
            return Ok(());
        }
        let (rocks, name) = self.rocks(store)?;
        rocks.wipe(name)
    }

    /// The bytes that uncommitted entries take, roughly.
    pub fn cached_bytes(&self) -> usize {
        self.stores.iter().map(|s| s.cache.dirty_bytes()).sum()
    }

    /// The view of a window store.
    pub fn window(&mut self, store: StoreId) -> WindowStore<'_> {
        WindowStore { state: self, store }
    }

    /// Reads the committed entries of a store from other threads.
    pub fn reader(&self, store: StoreId) -> Result<CommittedReader, StateError> {
        let name: Arc<str> = self.spec(store)?.name.as_str().into();
        let source = match &self.store(store)?.memory {
            Some(memory) => Source::Memory(Arc::downgrade(&memory.published)),
            None => Source::Rocks(Arc::downgrade(self.rocks(store)?.0.db())),
        };
        Ok(CommittedReader {
            store: name,
            source,
        })
    }

    /// Closes the stores with everything committed on disk, so that the next start has
    /// nothing to replay. Uncommitted writes are forgotten. Without this call, as after a
    /// crash, the stores fall back to an earlier commit and their positions with them.
    pub fn close(self) -> Result<(), StateError> {
        match &self.rocks {
            Some(rocks) => rocks.flush(&self.specs),
            None => Ok(()),
        }
    }
}

impl Memory {
    fn apply(&mut self, entries: Vec<(Bytes, Option<Bytes>)>, expired: Option<Bytes>) {
        if entries.is_empty() && expired.is_none() {
            return;
        }
        let mut published = self.published.write();
        let map = Arc::make_mut(&mut published);
        if let Some(end) = expired {
            *map = map.split_off(&end);
            self.expired = self.expired.take().max(Some(end));
        }
        for (key, value) in entries {
            match value {
                Some(value) => map.insert(key, value),
                None => map.remove(&key),
            };
        }
    }
}
