//! Joins: a stream with a table, and a table with a table.
//!
//! Both sides lie in one task, so their topics are co-partitioned; the topology sees to
//! it. The stream side of a stream-table join reads the table as it is at that moment,
//! and a table update triggers nothing.

use std::marker::PhantomData;
use std::sync::Arc;

use super::{Change, Meta, Node, NodeContext, Outputs, SlotNode, Step, TableGetter};
use crate::StreamsError;
use crate::serdes::SharedSerde;
use crate::task::Progress;

/// A stream's key as the key of a table: the same type, or an option of it, of which
/// `None` matches no row.
pub trait AsKey<K> {
    /// The table's key, if there is one.
    fn as_key(&self) -> Option<&K>;
}

impl<K> AsKey<K> for K {
    fn as_key(&self) -> Option<&K> {
        Some(self)
    }
}

impl<K> AsKey<K> for Option<K> {
    fn as_key(&self) -> Option<&K> {
        self.as_ref()
    }
}

/// Joins each record of a stream with the row that a table has for its key. `f` makes
/// the result, or nothing where the join has none.
pub(crate) struct StreamTableJoin<KS, V, K, VT, VO, F> {
    pub(crate) f: Arc<F>,
    pub(crate) table: Box<dyn TableGetter<K, VT>>,
    pub(crate) value_serde: Option<SharedSerde<V>>,
    /// Whether a record without a key is joined with nothing (left) or skipped (inner).
    pub(crate) left: bool,
    pub(crate) out: Outputs<KS, VO>,
    pub(crate) input: PhantomData<fn(&V)>,
}

impl<KS, V, K, VT, VO, F> Node<KS, V> for StreamTableJoin<KS, V, K, VT, VO, F>
where
    KS: AsKey<K>,
    F: Fn(&V, Option<&VT>) -> Option<VO>,
{
    fn process(
        &mut self,
        key: &KS,
        value: &V,
        meta: &Meta<'_>,
        cx: &mut NodeContext<'_, '_>,
    ) -> Result<(), StreamsError> {
        let table_key = key.as_key().filter(|key| !self.table.is_null_key(key));
        let null_value = self
            .value_serde
            .as_ref()
            .is_some_and(|serde| serde.is_null(value));
        if null_value || (table_key.is_none() && !self.left) {
            cx.task.skipped_record(1);
            return Ok(());
        }
        let row = match table_key {
            Some(key) => self.table.get(key, cx)?.map(|(row, _)| row),
            None => None,
        };
        match (self.f)(value, row.as_ref()) {
            Some(joined) => self.out.forward(key, &joined, meta, cx),
            None => Ok(()),
        }
    }

    fn step(&mut self, step: Step, cx: &mut NodeContext<'_, '_>) -> Result<Progress, StreamsError> {
        self.out.step(step, cx)
    }
}

/// Joins two tables row by row. It has two parents and lives in the arena; each side
/// enters through its own port and reads the other side's row. `f` makes the joined row,
/// or nothing where the join has none.
pub(crate) struct TableTableJoin<K, V1, V2, VO, F> {
    pub(crate) f: Arc<F>,
    pub(crate) left: Box<dyn TableGetter<K, V1>>,
    pub(crate) right: Box<dyn TableGetter<K, V2>>,
    pub(crate) out: Outputs<K, Change<VO>>,
}

impl<K, V1, V2, VO, F> TableTableJoin<K, V1, V2, VO, F>
where
    F: Fn(Option<&V1>, Option<&V2>) -> Option<VO>,
{
    /// An update of the left table. Records without a key never get here: tables have none.
    pub(crate) fn left(
        &mut self,
        key: &K,
        value: &Change<V1>,
        meta: &Meta<'_>,
        cx: &mut NodeContext<'_, '_>,
    ) -> Result<(), StreamsError> {
        let other = self.right.get(key, cx)?;
        let at = other.as_ref().map_or(i64::MIN, |(_, at)| *at);
        let row = other.as_ref().map(|(row, _)| row);
        let change = Change {
            old: (self.f)(value.old.as_ref(), row),
            new: (self.f)(value.new.as_ref(), row),
        };
        self.emit(key, change, meta, at, cx)
    }

    /// An update of the right table.
    pub(crate) fn right(
        &mut self,
        key: &K,
        value: &Change<V2>,
        meta: &Meta<'_>,
        cx: &mut NodeContext<'_, '_>,
    ) -> Result<(), StreamsError> {
        let other = self.left.get(key, cx)?;
        let at = other.as_ref().map_or(i64::MIN, |(_, at)| *at);
        let row = other.as_ref().map(|(row, _)| row);
        let change = Change {
            old: (self.f)(row, value.old.as_ref()),
            new: (self.f)(row, value.new.as_ref()),
        };
        self.emit(key, change, meta, at, cx)
    }

    /// Tells of an update, unless the joined row neither was nor is there. Its time is
    /// the later one of the two rows'.
    fn emit(
        &mut self,
        key: &K,
        change: Change<VO>,
        meta: &Meta<'_>,
        other: i64,
        cx: &mut NodeContext<'_, '_>,
    ) -> Result<(), StreamsError> {
        if change.old.is_none() && change.new.is_none() {
            return Ok(());
        }
        let meta = meta.with_timestamp(meta.timestamp.max(other));
        self.out.forward(key, &change, &meta, cx)
    }
}

impl<K, V1, V2, VO, F> SlotNode for TableTableJoin<K, V1, V2, VO, F>
where
    K: 'static,
    V1: 'static,
    V2: 'static,
    VO: 'static,
    F: 'static,
{
    fn step(&mut self, step: Step, cx: &mut NodeContext<'_, '_>) -> Result<Progress, StreamsError> {
        self.out.step(step, cx)
    }
}

/// Rows as a join of two tables makes them.
pub(crate) struct JoinGetter<K, V1, V2, F> {
    pub(crate) f: Arc<F>,
    pub(crate) left: Box<dyn TableGetter<K, V1>>,
    pub(crate) right: Box<dyn TableGetter<K, V2>>,
}

impl<K, V1, V2, VO, F> TableGetter<K, VO> for JoinGetter<K, V1, V2, F>
where
    F: Fn(Option<&V1>, Option<&V2>) -> Option<VO>,
{
    fn get(
        &mut self,
        key: &K,
        cx: &mut NodeContext<'_, '_>,
    ) -> Result<Option<(VO, i64)>, StreamsError> {
        let left = self.left.get(key, cx)?;
        let right = self.right.get(key, cx)?;
        let at = left
            .as_ref()
            .map(|(_, at)| *at)
            .max(right.as_ref().map(|(_, at)| *at));
        let row = (self.f)(
            left.as_ref().map(|(row, _)| row),
            right.as_ref().map(|(row, _)| row),
        );
        Ok(row.zip(at))
    }

    fn is_null_key(&self, key: &K) -> bool {
        self.left.is_null_key(key)
    }
}
