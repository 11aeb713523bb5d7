//! Byte-level state stores of Thalweg: key-value and window stores on RocksDB behind a
//! task-private write-back cache, with changelogs and restore.
//!
//! ```
//! use thalweg_state::{KeyRange, StateRuntime, StoreId, StoreSpec, TaskState};
//!
//! let dir = tempfile::tempdir().unwrap();
//! let specs = [StoreSpec::key_value("counts")];
//! let mut state = TaskState::open(dir.path(), &StateRuntime::default(), &specs)?;
//! let counts = state.store_id("counts").unwrap();
//!
//! state.put(counts, b"a", b"1")?;
//! assert_eq!(state.get(counts, b"a")?.as_deref(), Some(&b"1"[..]));
//!
//! // Other threads see what has been committed.
//! let reader = state.reader(counts)?;
//! assert_eq!(reader.get(b"a")?, None);
//! state.apply(&[])?;
//! assert_eq!(reader.get(b"a")?.as_deref(), Some(&b"1"[..]));
//! state.close()?;
//! # Ok::<(), thalweg_state::StateError>(())
//! ```

#![cfg_attr(
    not(test),
    warn(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)
)]

mod cache;
mod cursor;
mod error;
mod index;
mod owned_iter;
mod position;
mod range;
mod reader;
mod rocks;
mod runtime;
mod spec;
mod task_state;
pub mod window;
mod window_store;

pub use cursor::{Cursor, WindowCursor, WindowEntry};
pub use error::StateError;
pub use position::StorePosition;
pub use range::{KeyRange, prefix_end};
pub use reader::{CommittedReader, CommittedScan};
pub use runtime::{StateOptions, StateRuntime};
pub use spec::{Backend, Changelog, StoreKind, StoreSpec};
pub use task_state::{StoreId, TaskState};
pub use window_store::WindowStore;
