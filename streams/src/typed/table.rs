//! Tables from topics and streams, and the operators of a table that keep its keys.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::{
    Change, EventTime, Meta, Node, NodeContext, OnBadRecord, Outputs, RowSerdes, SourceNode, Step,
    TableStore, WantsOld, bad_record, meta_of,
};
use crate::StreamsError;
use crate::serdes::SharedSerde;
use crate::task::{InputRecord, Progress};

/// Reads single rows of a table: from its store, or through the operators between a
/// store and the table.
pub(crate) trait TableGetter<K, V> {
    /// The row of `key` and the time of its last update.
    fn get(
        &mut self,
        key: &K,
        cx: &mut NodeContext<'_, '_>,
    ) -> Result<Option<(V, i64)>, StreamsError>;

    /// Whether `key` has no place in a table.
    fn is_null_key(&self, key: &K) -> bool;
}

/// Makes a getter on the stream thread that will use it.
pub(crate) type GetterFactory<K, V> = Arc<dyn Fn() -> Box<dyn TableGetter<K, V>> + Send + Sync>;

impl<K, V> TableGetter<K, V> for TableStore<K, V> {
    fn get(
        &mut self,
        key: &K,
        cx: &mut NodeContext<'_, '_>,
    ) -> Result<Option<(V, i64)>, StreamsError> {
        self.find(key, cx)
    }

    fn is_null_key(&self, key: &K) -> bool {
        TableStore::is_null_key(self, key)
    }
}

/// Rows as a predicate leaves them.
pub(crate) struct FilterGetter<K, V, F> {
    pub(crate) f: Arc<F>,
    pub(crate) inner: Box<dyn TableGetter<K, V>>,
}

impl<K, V, F: Fn(&K, &V) -> bool> TableGetter<K, V> for FilterGetter<K, V, F> {
    fn get(
        &mut self,
        key: &K,
        cx: &mut NodeContext<'_, '_>,
    ) -> Result<Option<(V, i64)>, StreamsError> {
        let row = self.inner.get(key, cx)?;
        Ok(row.filter(|(value, _)| (self.f)(key, value)))
    }

    fn is_null_key(&self, key: &K) -> bool {
        self.inner.is_null_key(key)
    }
}

/// Rows as a function makes them.
pub(crate) struct MapGetter<K, V, F> {
    pub(crate) f: Arc<F>,
    pub(crate) inner: Box<dyn TableGetter<K, V>>,
}

impl<K, V, VO, F: Fn(&K, &V) -> VO> TableGetter<K, VO> for MapGetter<K, V, F> {
    fn get(
        &mut self,
        key: &K,
        cx: &mut NodeContext<'_, '_>,
    ) -> Result<Option<(VO, i64)>, StreamsError> {
        let row = self.inner.get(key, cx)?;
        Ok(row.map(|(value, at)| ((self.f)(key, &value), at)))
    }

    fn is_null_key(&self, key: &K) -> bool {
        self.inner.is_null_key(key)
    }
}

/// A row that is written and told of: the end of every way into a table's store.
pub(crate) struct TableWriter<K, V> {
    store: TableStore<K, V>,
    wants_old: bool,
    out: Outputs<K, Change<V>>,
}

impl<K, V> TableWriter<K, V> {
    pub(crate) fn new(
        rows: &RowSerdes<K, V>,
        wants_old: &WantsOld,
        out: Outputs<K, Change<V>>,
    ) -> Self {
        Self {
            store: TableStore::new(rows),
            wants_old: wants_old.load(Ordering::Relaxed),
            out,
        }
    }

    fn update(
        &mut self,
        key: &K,
        new: Option<V>,
        meta: &Meta<'_>,
        cx: &mut NodeContext<'_, '_>,
    ) -> Result<(), StreamsError> {
        let old = if self.wants_old {
            self.store.find(key, cx)?.map(|(value, _)| value)
        } else {
            self.store.seek(key)?;
            None
        };
        self.store.write(new.as_ref(), meta.timestamp, cx)?;
        self.out.forward(key, &Change { old, new }, meta, cx)
    }
}

/// The source of a table: the newest record of a key is its row, a null value deletes
/// it. A record without a key is skipped and counted.
pub(crate) struct TableSource<K, V> {
    pub(crate) name: String,
    pub(crate) key: SharedSerde<K>,
    pub(crate) value: SharedSerde<V>,
    pub(crate) on_bad_record: OnBadRecord,
    /// Extracts from rows; a tombstone keeps its record's own timestamp.
    pub(crate) time: EventTime<K, V>,
    pub(crate) writer: TableWriter<K, V>,
}

impl<K, V> SourceNode for TableSource<K, V> {
    fn record(
        &mut self,
        record: &InputRecord,
        cx: &mut NodeContext<'_, '_>,
    ) -> Result<(), StreamsError> {
        let policy = self.on_bad_record;
        let Some(key) = &record.key else {
            cx.task.skipped_record(1);
            return Ok(());
        };
        let key = match self.key.deserialize(key) {
            Ok(key) => key,
            Err(error) => return bad_record(&self.name, "key", error, policy, record, cx),
        };
        let value = match record.value.as_ref().map(|v| self.value.deserialize(v)) {
            None => None,
            Some(Ok(value)) => Some(value),
            Some(Err(error)) => {
                return bad_record(&self.name, "value", error, policy, record, cx);
            }
        };
        let meta = match &value {
            Some(value) => {
                let at = self.time.of(&key, value, record, cx);
                meta_of(record).with_timestamp(at)
            }
            None => meta_of(record),
        };
        self.writer.update(&key, value, &meta, cx)
    }

    fn step(&mut self, step: Step, cx: &mut NodeContext<'_, '_>) -> Result<Progress, StreamsError> {
        self.writer.out.step(step, cx)
    }
}

/// Makes a table of a stream. `row` tells the row from a value, `None` being a delete.
pub(crate) struct ToTable<K, V, VS, F> {
    row: F,
    writer: TableWriter<K, V>,
    input: std::marker::PhantomData<fn(&VS)>,
}

impl<K, V, VS, F> ToTable<K, V, VS, F> {
    pub(crate) fn new(row: F, writer: TableWriter<K, V>) -> Self {
        Self {
            row,
            writer,
            input: std::marker::PhantomData,
        }
    }
}

impl<K, V, VS, F: Fn(&VS) -> Option<V>> Node<K, VS> for ToTable<K, V, VS, F> {
    fn process(
        &mut self,
        key: &K,
        value: &VS,
        meta: &Meta<'_>,
        cx: &mut NodeContext<'_, '_>,
    ) -> Result<(), StreamsError> {
        if self.writer.store.is_null_key(key) {
            cx.task.skipped_record(1);
            return Ok(());
        }
        let row = (self.row)(value).filter(|row| !self.writer.store.is_null_value(row));
        self.writer.update(key, row, meta, cx)
    }

    fn step(&mut self, step: Step, cx: &mut NodeContext<'_, '_>) -> Result<Progress, StreamsError> {
        self.writer.out.step(step, cx)
    }
}

/// Keeps the rows that the predicate holds for. A row that was not there before and is
/// not there now is not told of, so that no delete is emitted for what was never emitted.
pub(crate) struct TableFilter<K, V, F> {
    pub(crate) f: Arc<F>,
    pub(crate) out: Outputs<K, Change<V>>,
    pub(crate) key: std::marker::PhantomData<fn(&K)>,
}

impl<K, V: Clone, F: Fn(&K, &V) -> bool> Node<K, Change<V>> for TableFilter<K, V, F> {
    fn process(
        &mut self,
        key: &K,
        value: &Change<V>,
        meta: &Meta<'_>,
        cx: &mut NodeContext<'_, '_>,
    ) -> Result<(), StreamsError> {
        let kept = |row: &Option<V>| row.as_ref().filter(|row| (self.f)(key, row)).cloned();
        let change = Change {
            old: kept(&value.old),
            new: kept(&value.new),
        };
        if change.old.is_none() && change.new.is_none() {
            return Ok(());
        }
        self.out.forward(key, &change, meta, cx)
    }

    fn step(&mut self, step: Step, cx: &mut NodeContext<'_, '_>) -> Result<Progress, StreamsError> {
        self.out.step(step, cx)
    }
}

/// Makes new rows of rows.
pub(crate) struct TableMapValues<K, V, VO, F> {
    pub(crate) f: Arc<F>,
    pub(crate) out: Outputs<K, Change<VO>>,
    pub(crate) input: std::marker::PhantomData<fn(&K, &V)>,
}

impl<K, V, VO, F: Fn(&K, &V) -> VO> Node<K, Change<V>> for TableMapValues<K, V, VO, F> {
    fn process(
        &mut self,
        key: &K,
        value: &Change<V>,
        meta: &Meta<'_>,
        cx: &mut NodeContext<'_, '_>,
    ) -> Result<(), StreamsError> {
        let mapped = |row: &Option<V>| row.as_ref().map(|row| (self.f)(key, row));
        let change = Change {
            old: mapped(&value.old),
            new: mapped(&value.new),
        };
        self.out.forward(key, &change, meta, cx)
    }

    fn step(&mut self, step: Step, cx: &mut NodeContext<'_, '_>) -> Result<Progress, StreamsError> {
        self.out.step(step, cx)
    }
}

/// Makes a stream of a table's updates: the new rows, deletes as `None`.
pub(crate) struct ToStream<K, V> {
    pub(crate) out: Outputs<K, Option<V>>,
}

impl<K, V> Node<K, Change<V>> for ToStream<K, V> {
    fn process(
        &mut self,
        key: &K,
        value: &Change<V>,
        meta: &Meta<'_>,
        cx: &mut NodeContext<'_, '_>,
    ) -> Result<(), StreamsError> {
        self.out.forward(key, &value.new, meta, cx)
    }

    fn step(&mut self, step: Step, cx: &mut NodeContext<'_, '_>) -> Result<Progress, StreamsError> {
        self.out.step(step, cx)
    }
}

/// Makes a stream of a table's new rows and leaves deletes out.
pub(crate) struct Updates<K, V> {
    pub(crate) out: Outputs<K, V>,
}

impl<K, V> Node<K, Change<V>> for Updates<K, V> {
    fn process(
        &mut self,
        key: &K,
        value: &Change<V>,
        meta: &Meta<'_>,
        cx: &mut NodeContext<'_, '_>,
    ) -> Result<(), StreamsError> {
        match &value.new {
            Some(new) => self.out.forward(key, new, meta, cx),
            None => Ok(()),
        }
    }

    fn step(&mut self, step: Step, cx: &mut NodeContext<'_, '_>) -> Result<Progress, StreamsError> {
        self.out.step(step, cx)
    }
}

/// Sends a table's changes to new groups: the old value leaves its group, the new one
/// enters its own. Within one group both travel together, so that the group is never
/// seen without the row; between two, the leaving goes first.
pub(crate) struct Regroup<K, V, KO, VO, F> {
    f: Arc<F>,
    out: Outputs<KO, Change<VO>>,
    input: std::marker::PhantomData<fn(&K, &V)>,
}

impl<K, V, KO, VO, F> Regroup<K, V, KO, VO, F> {
    pub(crate) fn new(f: Arc<F>, out: Outputs<KO, Change<VO>>) -> Self {
        Self {
            f,
            out,
            input: std::marker::PhantomData,
        }
    }
}

impl<K, V, KO, VO, F> Node<K, Change<V>> for Regroup<K, V, KO, VO, F>
where
    KO: PartialEq,
    F: Fn(&K, &V) -> (KO, VO),
{
    fn process(
        &mut self,
        key: &K,
        value: &Change<V>,
        meta: &Meta<'_>,
        cx: &mut NodeContext<'_, '_>,
    ) -> Result<(), StreamsError> {
        let old = value.old.as_ref().map(|old| (self.f)(key, old));
        let new = value.new.as_ref().map(|new| (self.f)(key, new));
        match (old, new) {
            (Some((old_key, old)), Some((new_key, new))) if old_key == new_key => {
                let change = Change {
                    old: Some(old),
                    new: Some(new),
                };
                self.out.forward(&new_key, &change, meta, cx)
            }
            (old, new) => {
                if let Some((key, old)) = old {
                    let change = Change {
                        old: Some(old),
                        new: None,
                    };
                    self.out.forward(&key, &change, meta, cx)?;
                }
                if let Some((key, new)) = new {
                    let change = Change {
                        old: None,
                        new: Some(new),
                    };
                    self.out.forward(&key, &change, meta, cx)?;
                }
                Ok(())
            }
        }
    }

    fn step(&mut self, step: Step, cx: &mut NodeContext<'_, '_>) -> Result<Progress, StreamsError> {
        self.out.step(step, cx)
    }
}
