//! The view of a window store: values by key and window start.

use crate::cursor::WindowCursor;
use crate::window::encode_start;
use crate::{KeyRange, StateError, StoreId, TaskState};
use bytes::Bytes;
use std::ops::Bound;

/// A window store: values by key and window start.
#[derive(Debug)]
pub struct WindowStore<'a> {
    pub(crate) state: &'a mut TaskState,
    pub(crate) store: StoreId,
}

impl WindowStore<'_> {
    /// Does something with the stored key of `key` in the window that starts at `start`.
    fn with_key<T>(
        &mut self,
        key: &[u8],
        start: i64,
        act: impl FnOnce(&mut TaskState, StoreId, &[u8]) -> T,
    ) -> T {
        let mut stored = std::mem::take(&mut self.state.scratch);
        stored.clear();
        stored.extend_from_slice(&encode_start(start));
        stored.extend_from_slice(key);
        let done = act(self.state, self.store, &stored);
        self.state.scratch = stored;
        done
    }

    /// Sets the value of `key` in the window that starts at `start`.
    pub fn put(&mut self, key: &[u8], start: i64, value: &[u8]) -> Result<(), StateError> {
        self.with_key(key, start, |state, store, key| state.put(store, key, value))
    }

    /// Removes `key` from the window that starts at `start`.
    pub fn delete(&mut self, key: &[u8], start: i64) -> Result<(), StateError> {
        self.with_key(key, start, |state, store, key| state.delete(store, key))
    }

    /// The value of `key` in the window that starts at `start`.
    pub fn fetch(&mut self, key: &[u8], start: i64) -> Result<Option<Bytes>, StateError> {
        self.with_key(key, start, |state, store, key| state.get(store, key))
    }

    /// The windows of `key` that start in `from..=to`, by time. Keys are laid out
    /// time-first: where the starts are known, [`fetch`](Self::fetch) each of them.
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
        let range = starts(from, to);
        Ok(WindowCursor {
            cursor: self.state.scan(self.store, range)?,
            key: None,
        })
    }

    /// Drops every window that starts before `start`, as one range. Nothing is sent to the
    /// changelog: its retention drops them there.
    pub fn expire_before(&mut self, start: i64) -> Result<(), StateError> {
        let end = Bytes::copy_from_slice(&encode_start(start));
        self.state.expire(self.store, end)
    }
}

/// The stored keys of the windows that start in `from..=to`.
pub(crate) fn starts(from: i64, to: i64) -> KeyRange {
    let mut range = KeyRange::prefix(Bytes::copy_from_slice(&encode_start(to)));
    range.from = Bound::Included(Bytes::copy_from_slice(&encode_start(from)));
    range
}
