//! What can go wrong with a store, and the way out.

use std::path::PathBuf;

/// An error of a state store.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StateError {
    /// Another process, or another task of this one, holds the directory.
    #[error(
        "the state directory {} is in use by another process: stop it, or give this one a `state.dir` of its own",
        dir.display()
    )]
    Locked {
        /// The task's state directory.
        dir: PathBuf,
    },
    /// The directory cannot be read or written.
    #[error("cannot open the state directory {}: {reason}", dir.display())]
    Open {
        /// The task's state directory.
        dir: PathBuf,
        /// What the operating system or RocksDB said.
        reason: String,
    },
    /// The files do not form a database; the changelogs still have everything.
    #[error(
        "the state in {} is damaged ({reason}): remove the directory and it is rebuilt from the changelogs",
        dir.display()
    )]
    Corrupted {
        /// The task's state directory.
        dir: PathBuf,
        /// What RocksDB said.
        reason: String,
    },
    /// The files were written by a newer release.
    #[error(
        "store `{store}` has a format of version {version}, and this release reads up to {supported}: use the newer release, or remove the directory and it is rebuilt from the changelogs"
    )]
    Version {
        /// The store's name.
        store: String,
        /// The version found.
        version: u8,
        /// The newest version known.
        supported: u8,
    },
    /// A read or write of RocksDB failed.
    #[error("store `{store}`: {reason}")]
    Io {
        /// The store's name.
        store: String,
        /// What RocksDB said.
        reason: String,
    },
    /// A [`StoreId`](crate::StoreId) that is not of this task.
    #[error("the task has no store number {index} (it has {count})")]
    UnknownStore {
        /// The index asked for.
        index: usize,
        /// How many stores there are.
        count: usize,
    },
    /// The task has been closed, or has moved to another process.
    #[error("store `{store}` is closed: its task has moved or ended; ask again")]
    Closed {
        /// The store's name.
        store: String,
    },
    /// A key of a window store that is too short to hold a window start.
    #[error("store `{store}` holds a key of {len} bytes that is not a window key")]
    BadKey {
        /// The store's name.
        store: String,
        /// The key's length.
        len: usize,
    },
}
