//! What a store is, before it is opened: its name, shape, backend and changelog.
//!
//! A [`StoreSpec`] is plain data, so that a topology can be described, compared
//! and printed without opening anything.

use std::time::Duration;

/// How the keys of a store are laid out and read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreKind {
    /// Bytes to bytes, the newest value of a key wins.
    KeyValue {
        /// Whether the store is range-scanned. A store that is only point-read
        /// keeps its write-back cache in a hash map, a scanned one in a tree.
        scanned: bool,
    },
    /// Values by key and window start, kept for `retention` behind stream time.
    /// Keys are laid out time-first, so that expiry drops a range.
    Window {
        /// How long a window is kept after its start, counted in stream time.
        retention: Duration,
    },
}

/// Where a store keeps its committed entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Backend {
    /// A column family of the task's RocksDB database.
    #[default]
    RocksDb,
    /// A map in memory, restored from the changelog at each start.
    InMemory,
}

/// Which topic backs a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Changelog {
    /// No topic: what is lost stays lost.
    None,
    /// The internal topic `<application.id>-<store>-changelog`.
    Internal,
    /// A topic of its own name, such as the compacted topic of a materialized view
    /// or the source topic of a table.
    Topic {
        /// The topic's full name.
        name: String,
        /// Whether the store writes the topic (a view) or only reads it back (a source table).
        written: bool,
    },
}

/// One store of a sub-topology.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreSpec {
    /// Unique within the topology.
    pub name: String,
    /// Layout and access.
    pub kind: StoreKind,
    /// Where committed entries live.
    pub backend: Backend,
    /// What backs the store.
    pub changelog: Changelog,
}

impl StoreSpec {
    /// A RocksDB key-value store that is only point-read, with an internal changelog.
    pub fn key_value(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            kind: StoreKind::KeyValue { scanned: false },
            backend: Backend::RocksDb,
            changelog: Changelog::Internal,
        }
    }

    /// A RocksDB window store with an internal changelog.
    pub fn window(name: impl Into<String>, retention: Duration) -> Self {
        Self {
            name: name.into(),
            kind: StoreKind::Window { retention },
            backend: Backend::RocksDb,
            changelog: Changelog::Internal,
        }
    }
}
