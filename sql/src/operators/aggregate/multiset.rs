//! The values of a group with their multiplicity, in a store of their own: what DISTINCT
//! and retractable MIN and MAX need beyond their result.
//!
//! The key is the group's key followed by the value as memcomparable bytes, so that the
//! values of a group lie together in order; the entry is the multiplicity. It may go
//! below zero when a row is taken back before it came; only zero removes the entry.

use super::codec::{Input, put_int};
use crate::operators::OperatorError;
use bytes::Bytes;
use thalweg_state::{KeyRange, StoreId, TaskState};

/// The multiset of one aggregate call.
pub(super) struct Multiset {
    store: StoreId,
    key: Vec<u8>,
    entry: Vec<u8>,
}

/// The multiplicity of a value before and after a change.
pub(super) struct Change {
    pub(super) before: i64,
    pub(super) after: i64,
}

impl Multiset {
    pub(super) fn new(store: StoreId) -> Self {
        Self {
            store,
            key: Vec::new(),
            entry: Vec::new(),
        }
    }

    /// Adds `sign` to the multiplicity of `value` in `group`.
    pub(super) fn add(
        &mut self,
        state: &mut TaskState,
        group: &[u8],
        value: &[u8],
        sign: i64,
    ) -> Result<Change, OperatorError> {
        self.key.clear();
        self.key.extend_from_slice(group);
        self.key.extend_from_slice(value);
        let before = match state.get(self.store, &self.key)? {
            Some(entry) => multiplicity(&entry)?,
            None => 0,
        };
        let after = before + sign;
        if after == 0 {
            state.delete(self.store, &self.key)?;
        } else {
            self.entry.clear();
            put_int(i128::from(after), &mut self.entry);
            state.put(self.store, &self.key, &self.entry)?;
        }
        Ok(Change { before, after })
    }

    /// The least value of `group` that is there.
    pub(super) fn least(
        &self,
        state: &mut TaskState,
        group: &[u8],
    ) -> Result<Option<Bytes>, OperatorError> {
        let mut cursor = state.scan(self.store, KeyRange::prefix(Bytes::copy_from_slice(group)))?;
        while let Some((key, entry)) = cursor.next(state)? {
            if multiplicity(&entry)? > 0 {
                return Ok(Some(key.slice(group.len().min(key.len())..)));
            }
        }
        Ok(None)
    }
}

fn multiplicity(entry: &[u8]) -> Result<i64, OperatorError> {
    Input(entry).int64()
}
