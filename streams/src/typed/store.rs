//! Typed views of the task's byte stores.
//!
//! The stores of tables hold, before the value, the timestamp of its last update (eight
//! bytes, big-endian), as Kafka Streams' timestamped stores do. The stores of a user's
//! own processors hold plain values.

use std::fmt;

use bytes::Bytes;
use thalweg_state::{KeyRange, StoreId, StoreSpec};

use super::{NodeContext, TableGetter, Windowed};
use crate::StreamsError;
use crate::serdes::{SerdeError, SharedSerde};
use crate::task::TaskContext;

/// The bytes a stored timestamp takes before the value.
pub(crate) const TIMESTAMP_LEN: usize = 8;

/// Splits a stored value into its timestamp and the value's bytes.
pub(crate) fn split_timestamped(store: &str, stored: &Bytes) -> Result<(i64, Bytes), StreamsError> {
    match stored.split_first_chunk::<TIMESTAMP_LEN>() {
        Some((timestamp, _)) => Ok((
            i64::from_be_bytes(*timestamp),
            stored.slice(TIMESTAMP_LEN..),
        )),
        None => Err(StreamsError::Format {
            what: "a row of a store",
            reason: format!(
                "{} bytes in `{store}` are too short for a timestamped value",
                stored.len()
            ),
        }),
    }
}

/// A store by name, found in the task when it is first used.
#[derive(Debug, Clone)]
pub(crate) struct StoreHandle {
    name: String,
    id: Option<StoreId>,
}

impl StoreHandle {
    pub(crate) fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            id: None,
        }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn id(&mut self, task: &TaskContext<'_>) -> Result<StoreId, StreamsError> {
        match self.id {
            Some(id) => Ok(id),
            None => {
                let id = task.store(&self.name)?;
                self.id = Some(id);
                Ok(id)
            }
        }
    }

    pub(crate) fn failed(&self, error: &SerdeError) -> StreamsError {
        StreamsError::Format {
            what: "a row of a store",
            reason: format!("`{}`: {error}", self.name),
        }
    }
}

/// How a table's rows lie in a store.
pub(crate) struct RowSerdes<K, V> {
    pub(crate) store: String,
    pub(crate) key: SharedSerde<K>,
    pub(crate) value: SharedSerde<V>,
}

impl<K, V> Clone for RowSerdes<K, V> {
    fn clone(&self) -> Self {
        Self {
            store: self.store.clone(),
            key: self.key.clone(),
            value: self.value.clone(),
        }
    }
}

/// The rows of a table: a value and the time of its last update by key. A row is found
/// first and then written or left alone, so that its key is serialized once.
pub(crate) struct TableStore<K, V> {
    handle: StoreHandle,
    key: SharedSerde<K>,
    value: SharedSerde<V>,
    key_bytes: Vec<u8>,
    value_bytes: Vec<u8>,
}

impl<K, V> TableStore<K, V> {
    pub(crate) fn new(rows: &RowSerdes<K, V>) -> Self {
        Self {
            handle: StoreHandle::new(rows.store.clone()),
            key: rows.key.clone(),
            value: rows.value.clone(),
            key_bytes: Vec::new(),
            value_bytes: Vec::new(),
        }
    }

    /// Whether `key` has no place in a table.
    pub(crate) fn is_null_key(&self, key: &K) -> bool {
        self.key.is_null(key)
    }

    /// Whether `value` deletes.
    pub(crate) fn is_null_value(&self, value: &V) -> bool {
        self.value.is_null(value)
    }

    /// Stays on the row of `key` for [`write`](Self::write) without reading it.
    pub(crate) fn seek(&mut self, key: &K) -> Result<(), StreamsError> {
        self.key_bytes.clear();
        self.key
            .serialize(key, &mut self.key_bytes)
            .map_err(|error| self.handle.failed(&error))
    }

    /// Finds the row of `key`, undecoded, and stays on it for [`write`](Self::write).
    pub(crate) fn find_bytes(
        &mut self,
        key: &K,
        cx: &mut NodeContext<'_, '_>,
    ) -> Result<Option<Bytes>, StreamsError> {
        self.seek(key)?;
        let id = self.handle.id(cx.task)?;
        Ok(cx.task.state().get(id, &self.key_bytes)?)
    }

    /// Finds the row of `key` and stays on it for [`write`](Self::write).
    pub(crate) fn find(
        &mut self,
        key: &K,
        cx: &mut NodeContext<'_, '_>,
    ) -> Result<Option<(V, i64)>, StreamsError> {
        match self.find_bytes(key, cx)? {
            Some(stored) => self.decode(&stored).map(Some),
            None => Ok(None),
        }
    }

    pub(crate) fn decode(&self, stored: &Bytes) -> Result<(V, i64), StreamsError> {
        let (timestamp, value) = split_timestamped(self.handle.name(), stored)?;
        let value = self
            .value
            .deserialize(&value)
            .map_err(|error| self.handle.failed(&error))?;
        Ok((value, timestamp))
    }

    pub(crate) fn decode_key(&self, key: &Bytes) -> Result<K, StreamsError> {
        self.key
            .deserialize(key)
            .map_err(|error| self.handle.failed(&error))
    }

    /// The bytes of the key last sought.
    pub(crate) fn key_bytes(&self) -> Bytes {
        Bytes::copy_from_slice(&self.key_bytes)
    }

    /// Writes the row last found; `None` deletes it.
    pub(crate) fn write(
        &mut self,
        value: Option<&V>,
        timestamp: i64,
        cx: &mut NodeContext<'_, '_>,
    ) -> Result<(), StreamsError> {
        let id = self.handle.id(cx.task)?;
        match value {
            Some(value) => {
                self.value_bytes.clear();
                self.value_bytes.extend_from_slice(&timestamp.to_be_bytes());
                self.value
                    .serialize(value, &mut self.value_bytes)
                    .map_err(|error| self.handle.failed(&error))?;
                cx.task
                    .state()
                    .put(id, &self.key_bytes, &self.value_bytes)?;
            }
            None => cx.task.state().delete(id, &self.key_bytes)?,
        }
        Ok(())
    }
}

/// The rows of a windowed table: a value and the time of its last update by key and
/// window start.
pub(crate) struct WindowedStore<K, V> {
    handle: StoreHandle,
    key: SharedSerde<K>,
    value: SharedSerde<V>,
    key_bytes: Vec<u8>,
    value_bytes: Vec<u8>,
}

impl<K, V> WindowedStore<K, V> {
    pub(crate) fn new(rows: &RowSerdes<K, V>) -> Self {
        Self {
            handle: StoreHandle::new(rows.store.clone()),
            key: rows.key.clone(),
            value: rows.value.clone(),
            key_bytes: Vec::new(),
            value_bytes: Vec::new(),
        }
    }

    pub(crate) fn is_null_key(&self, key: &K) -> bool {
        self.key.is_null(key)
    }

    /// Stays on `key` for [`find`](Self::find) and [`write`](Self::write).
    pub(crate) fn seek(&mut self, key: &K) -> Result<(), StreamsError> {
        self.key_bytes.clear();
        self.key
            .serialize(key, &mut self.key_bytes)
            .map_err(|error| self.handle.failed(&error))
    }

    /// The row of the key in the window that starts at `start`, undecoded.
    pub(crate) fn find_bytes(
        &mut self,
        start: i64,
        cx: &mut NodeContext<'_, '_>,
    ) -> Result<Option<Bytes>, StreamsError> {
        let id = self.handle.id(cx.task)?;
        Ok(cx.task.state().window(id).fetch(&self.key_bytes, start)?)
    }

    /// The bytes of the key last sought.
    pub(crate) fn key_bytes(&self) -> Bytes {
        Bytes::copy_from_slice(&self.key_bytes)
    }

    pub(crate) fn decode(&self, stored: &Bytes) -> Result<(V, i64), StreamsError> {
        let (timestamp, value) = split_timestamped(self.handle.name(), stored)?;
        let value = self
            .value
            .deserialize(&value)
            .map_err(|error| self.handle.failed(&error))?;
        Ok((value, timestamp))
    }

    pub(crate) fn decode_key(&self, key: &Bytes) -> Result<K, StreamsError> {
        self.key
            .deserialize(key)
            .map_err(|error| self.handle.failed(&error))
    }

    /// Writes the row of the key in the window that starts at `start`.
    pub(crate) fn write(
        &mut self,
        start: i64,
        value: &V,
        timestamp: i64,
        cx: &mut NodeContext<'_, '_>,
    ) -> Result<(), StreamsError> {
        let id = self.handle.id(cx.task)?;
        self.value_bytes.clear();
        self.value_bytes.extend_from_slice(&timestamp.to_be_bytes());
        self.value
            .serialize(value, &mut self.value_bytes)
            .map_err(|error| self.handle.failed(&error))?;
        cx.task
            .state()
            .window(id)
            .put(&self.key_bytes, start, &self.value_bytes)?;
        Ok(())
    }

    /// Drops the windows that start before `start`.
    pub(crate) fn expire_before(
        &mut self,
        start: i64,
        cx: &mut NodeContext<'_, '_>,
    ) -> Result<(), StreamsError> {
        let id = self.handle.id(cx.task)?;
        cx.task.state().window(id).expire_before(start)?;
        Ok(())
    }

    /// All rows of the windows that start in `from..=to`, by window.
    pub(crate) fn scan(
        &mut self,
        from: i64,
        to: i64,
        cx: &mut NodeContext<'_, '_>,
    ) -> Result<thalweg_state::WindowCursor, StreamsError> {
        let id = self.handle.id(cx.task)?;
        Ok(cx.task.state().window(id).all(from, to)?)
    }
}

impl<K, V> TableGetter<Windowed<K>, V> for WindowedStore<K, V> {
    fn get(
        &mut self,
        key: &Windowed<K>,
        cx: &mut NodeContext<'_, '_>,
    ) -> Result<Option<(V, i64)>, StreamsError> {
        self.seek(&key.key)?;
        match self.find_bytes(key.window.start, cx)? {
            Some(stored) => self.decode(&stored).map(Some),
            None => Ok(None),
        }
    }

    fn is_null_key(&self, key: &Windowed<K>) -> bool {
        self.key.is_null(&key.key)
    }
}

/// A store of a topology that processors name when they are attached
/// ([`StreamsBuilder::key_value_store`](crate::StreamsBuilder::key_value_store)).
/// It is plain data; a processor [opens](Self::open) it to read and write.
pub struct StoreRef<K, V> {
    pub(crate) spec: StoreSpec,
    pub(crate) key: SharedSerde<K>,
    pub(crate) value: SharedSerde<V>,
}

impl<K, V> Clone for StoreRef<K, V> {
    fn clone(&self) -> Self {
        Self {
            spec: self.spec.clone(),
            key: self.key.clone(),
            value: self.value.clone(),
        }
    }
}

impl<K, V> fmt::Debug for StoreRef<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoreRef")
            .field("spec", &self.spec)
            .finish_non_exhaustive()
    }
}

impl<K, V> StoreRef<K, V> {
    /// The store's name.
    pub fn name(&self) -> &str {
        &self.spec.name
    }

    /// The store as a processor of a task uses it.
    pub fn open(&self) -> KeyValueStore<K, V> {
        KeyValueStore {
            handle: StoreHandle::new(self.spec.name.clone()),
            key: self.key.clone(),
            value: self.value.clone(),
            key_bytes: Vec::new(),
            value_bytes: Vec::new(),
        }
    }
}

/// Gives a store its task's state: every context a processor sees.
pub trait StoreAccess {
    /// The task's context.
    #[doc(hidden)]
    fn task_context(&mut self) -> &mut dyn StoreTask;
}

/// The part of a task's context that stores need, whatever its lifetime.
#[doc(hidden)]
pub trait StoreTask {
    fn state(&mut self) -> &mut thalweg_state::TaskState;
    fn store(&self, name: &str) -> Result<StoreId, StreamsError>;
}

impl StoreTask for TaskContext<'_> {
    fn state(&mut self) -> &mut thalweg_state::TaskState {
        TaskContext::state(self)
    }

    fn store(&self, name: &str) -> Result<StoreId, StreamsError> {
        TaskContext::store(self, name)
    }
}

impl StoreAccess for NodeContext<'_, '_> {
    fn task_context(&mut self) -> &mut dyn StoreTask {
        self.task
    }
}

/// A key-value store of a processor. What it holds is backed by a changelog and commits
/// with the task's input.
pub struct KeyValueStore<K, V> {
    handle: StoreHandle,
    key: SharedSerde<K>,
    value: SharedSerde<V>,
    key_bytes: Vec<u8>,
    value_bytes: Vec<u8>,
}

impl<K, V> fmt::Debug for KeyValueStore<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyValueStore")
            .field("name", &self.handle.name())
            .finish_non_exhaustive()
    }
}

impl<K, V> KeyValueStore<K, V> {
    fn place(&mut self, key: &K, task: &dyn StoreTask) -> Result<StoreId, StreamsError> {
        self.key_bytes.clear();
        self.key
            .serialize(key, &mut self.key_bytes)
            .map_err(|error| self.handle.failed(&error))?;
        self.id(task)
    }

    fn id(&mut self, task: &dyn StoreTask) -> Result<StoreId, StreamsError> {
        match self.handle.id {
            Some(id) => Ok(id),
            None => {
                let id = task.store(&self.handle.name)?;
                self.handle.id = Some(id);
                Ok(id)
            }
        }
    }

    /// The value of `key`.
    pub fn get(&mut self, key: &K, cx: &mut impl StoreAccess) -> Result<Option<V>, StreamsError> {
        let task = cx.task_context();
        let id = self.place(key, task)?;
        match task.state().get(id, &self.key_bytes)? {
            Some(bytes) => self
                .value
                .deserialize(&bytes)
                .map(Some)
                .map_err(|error| self.handle.failed(&error)),
            None => Ok(None),
        }
    }

    /// Sets the value of `key`.
    pub fn put(
        &mut self,
        key: &K,
        value: &V,
        cx: &mut impl StoreAccess,
    ) -> Result<(), StreamsError> {
        let task = cx.task_context();
        let id = self.place(key, task)?;
        self.value_bytes.clear();
        self.value
            .serialize(value, &mut self.value_bytes)
            .map_err(|error| self.handle.failed(&error))?;
        task.state().put(id, &self.key_bytes, &self.value_bytes)?;
        Ok(())
    }

    /// Removes `key`.
    pub fn delete(&mut self, key: &K, cx: &mut impl StoreAccess) -> Result<(), StreamsError> {
        let task = cx.task_context();
        let id = self.place(key, task)?;
        task.state().delete(id, &self.key_bytes)?;
        Ok(())
    }

    /// Every entry, in the order of the keys' bytes, as the store is now.
    pub fn all(&mut self, cx: &mut impl StoreAccess) -> Result<Vec<(K, V)>, StreamsError> {
        let task = cx.task_context();
        let id = self.id(task)?;
        let mut cursor = task.state().scan(id, KeyRange::all())?;
        let mut entries = Vec::new();
        while let Some((key, value)) = cursor.next(task.state())? {
            let key = self.key.deserialize(&key);
            let value = self.value.deserialize(&value);
            match (key, value) {
                (Ok(key), Ok(value)) => entries.push((key, value)),
                (Err(error), _) | (_, Err(error)) => return Err(self.handle.failed(&error)),
            }
        }
        Ok(entries)
    }
}
