//! Typed views of a running job's stores: interactive queries in the table's own types.
//!
//! They see what the last commits left, from any thread, and never the task's cache.

use thalweg_state::KeyRange;

use super::split_timestamped;
use crate::StreamsError;
use crate::runtime::ReadOnlyStore;
use crate::serdes::{Serde, SerdeError, SharedSerde};

/// The rows of a table in a store, as committed.
pub struct ReadOnlyTable<K, V> {
    store: ReadOnlyStore,
    key: SharedSerde<K>,
    value: SharedSerde<V>,
}

impl<K, V> std::fmt::Debug for ReadOnlyTable<K, V> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ReadOnlyTable")
            .field("store", &self.store)
            .finish_non_exhaustive()
    }
}

/// A row of a table and the time of its last update.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row<K, V> {
    /// The key.
    pub key: K,
    /// The value.
    pub value: V,
    /// When it was last updated, in event time.
    pub timestamp: i64,
}

fn failed(error: &SerdeError) -> StreamsError {
    StreamsError::Format {
        what: "a row of a store",
        reason: error.to_string(),
    }
}

impl<K, V> ReadOnlyTable<K, V> {
    /// The table whose rows lie in `store`
    /// ([`Streams::store`](crate::Streams::store)) and were written with these serdes.
    pub fn new(
        store: ReadOnlyStore,
        key: impl Serde<K> + 'static,
        value: impl Serde<V> + 'static,
    ) -> Self {
        Self {
            store,
            key: std::sync::Arc::new(key),
            value: std::sync::Arc::new(value),
        }
    }

    fn value(&self, stored: &bytes::Bytes) -> Result<(V, i64), StreamsError> {
        let (timestamp, bytes) = split_timestamped("table", stored)?;
        let value = self.value.deserialize(&bytes).map_err(|e| failed(&e))?;
        Ok((value, timestamp))
    }

    fn key_bytes(&self, key: &K) -> Result<Vec<u8>, StreamsError> {
        let mut bytes = Vec::new();
        self.key
            .serialize(key, &mut bytes)
            .map_err(|e| failed(&e))?;
        Ok(bytes)
    }

    /// The row of a key.
    pub fn get(&self, key: &K) -> Result<Option<(V, i64)>, StreamsError> {
        let stored = self.store.get(&self.key_bytes(key)?)?;
        stored.map(|stored| self.value(&stored)).transpose()
    }

    /// The row of a key in the window that starts at `start`, in a windowed table.
    pub fn fetch(&self, key: &K, start: i64) -> Result<Option<(V, i64)>, StreamsError> {
        let stored = self.store.fetch(&self.key_bytes(key)?, start)?;
        stored.map(|stored| self.value(&stored)).transpose()
    }

    /// Every row, task by task, in the order of the keys' bytes.
    pub fn all(&self) -> impl Iterator<Item = Result<Row<K, V>, StreamsError>> + '_ {
        self.store.scan(KeyRange::all()).map(|entry| {
            let (key, stored) = entry?;
            let (value, timestamp) = self.value(&stored)?;
            Ok(Row {
                key: self.key.deserialize(&key).map_err(|e| failed(&e))?,
                value,
                timestamp,
            })
        })
    }

    /// Every row of the windows that start in `from..=to`, with the window's start, in a
    /// windowed table: task by task, by time.
    pub fn windows(
        &self,
        from: i64,
        to: i64,
    ) -> impl Iterator<Item = Result<(i64, Row<K, V>), StreamsError>> + '_ {
        self.store.windows(from, to).map(|entry| {
            let entry = entry?;
            let (value, timestamp) = self.value(&entry.value)?;
            let row = Row {
                key: self.key.deserialize(&entry.key).map_err(|e| failed(&e))?,
                value,
                timestamp,
            };
            Ok((entry.start, row))
        })
    }
}
