//! Byte-level state stores of Thalweg: key-value and window stores on RocksDB behind a
//! task-private write-back cache, with changelogs and restore.

mod error;
mod position;
mod range;
mod spec;
mod task_state;
pub mod window;

pub use error::StateError;
pub use position::StorePosition;
pub use range::{KeyRange, prefix_end};
pub use spec::{Backend, Changelog, StoreKind, StoreSpec};
pub use task_state::{
    Cursor, StateRuntime, StoreId, TaskState, WindowCursor, WindowEntry, WindowStore,
};
