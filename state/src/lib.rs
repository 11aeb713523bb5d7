//! Byte-level state stores of Thalweg: key-value and window stores on RocksDB behind a
//! task-private write-back cache, with changelogs and restore.

mod spec;

pub use spec::{Backend, Changelog, StoreKind, StoreSpec};
