//! Aggregations without a window: a table of one row a key.

use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;

use super::{Change, Meta, Node, NodeContext, Outputs, RowSerdes, Step, TableStore};
use crate::StreamsError;
use crate::serdes::SharedSerde;
use crate::task::Progress;

/// Whether anyone below a table asks for the old value of an update. It is set while the
/// topology is declared and read when the nodes are built, so that a table whose old
/// values nobody looks at does not read them.
pub(crate) type WantsOld = Arc<AtomicBool>;

/// How many rows a flush or a window close emits before it yields.
pub(crate) const ROWS_PER_TURN: usize = 1024;

/// When an aggregation tells of its updates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Emit {
    /// Every update, at once.
    #[default]
    EachUpdate,
    /// The last state of each changed row, ahead of each commit.
    OnCommit,
    /// The final state of each row of a window, when the window closes.
    OnWindowClose,
}

/// Rows whose updates wait for the commit: by key, the value they had at the last one.
/// What they are now is in the store.
pub(crate) struct Deferred<P, A> {
    rows: BTreeMap<P, Option<A>>,
}

impl<P, A> Default for Deferred<P, A> {
    fn default() -> Self {
        Self {
            rows: BTreeMap::new(),
        }
    }
}

impl<P: Ord, A> Deferred<P, A> {
    /// Notes an update; only the first old value since the last commit counts.
    pub(crate) fn note(&mut self, place: P, old: Option<A>) {
        self.rows.entry(place).or_insert(old);
    }

    pub(crate) fn pop(&mut self) -> Option<(P, Option<A>)> {
        self.rows.pop_first()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }
}

/// Folds the records of a key into one row: `f` makes the new row of the record and the
/// old row. A record whose key or value is null is skipped and counted.
pub(crate) struct Aggregate<K, V, A, F> {
    pub(crate) f: Arc<F>,
    pub(crate) store: TableStore<K, A>,
    /// Tells a null value, where the stream's values have one.
    pub(crate) value_serde: Option<SharedSerde<V>>,
    pub(crate) wants_old: bool,
    pub(crate) emit: Emit,
    pub(crate) deferred: Deferred<Bytes, A>,
    pub(crate) out: Outputs<K, Change<A>>,
}

impl<K, V, A, F> Aggregate<K, V, A, F> {
    pub(crate) fn new(
        f: Arc<F>,
        rows: &RowSerdes<K, A>,
        value_serde: Option<SharedSerde<V>>,
        wants_old: &WantsOld,
        emit: Emit,
        out: Outputs<K, Change<A>>,
    ) -> Self {
        Self {
            f,
            store: TableStore::new(rows),
            value_serde,
            wants_old: wants_old.load(Ordering::Relaxed),
            emit,
            deferred: Deferred::default(),
            out,
        }
    }
}

/// Emits the rows that were held back, some at a time.
fn emit_deferred<K, A>(
    deferred: &mut Deferred<Bytes, A>,
    store: &mut TableStore<K, A>,
    out: &mut Outputs<K, Change<A>>,
    cx: &mut NodeContext<'_, '_>,
) -> Result<Progress, StreamsError> {
    for _ in 0..ROWS_PER_TURN {
        let Some((key_bytes, old)) = deferred.pop() else {
            return Ok(Progress::Done);
        };
        let key = store.decode_key(&key_bytes)?;
        let found = store.find(&key, cx)?;
        let timestamp = found.as_ref().map_or(cx.task.stream_time(), |(_, at)| *at);
        let new = found.map(|(value, _)| value);
        out.forward(&key, &Change { old, new }, &Meta::at(timestamp), cx)?;
    }
    Ok(if deferred.is_empty() {
        Progress::Done
    } else {
        Progress::More
    })
}

impl<K, V, A, F> Node<K, V> for Aggregate<K, V, A, F>
where
    F: Fn(&K, &V, Option<A>) -> A,
{
    fn process(
        &mut self,
        key: &K,
        value: &V,
        meta: &Meta<'_>,
        cx: &mut NodeContext<'_, '_>,
    ) -> Result<(), StreamsError> {
        let null_value = self
            .value_serde
            .as_ref()
            .is_some_and(|serde| serde.is_null(value));
        if null_value || self.store.is_null_key(key) {
            cx.task.skipped_record(1);
            return Ok(());
        }
        let found = self.store.find_bytes(key, cx)?;
        let (row, timestamp) = match &found {
            Some(stored) => {
                let (row, at) = self.store.decode(stored)?;
                (Some(row), meta.timestamp.max(at))
            }
            None => (None, meta.timestamp),
        };
        let new = (self.f)(key, value, row);
        self.store.write(Some(&new), timestamp, cx)?;
        // The fold has used the old row up; whoever wants to see it gets it read anew.
        let old = match &found {
            Some(stored) if self.wants_old => Some(self.store.decode(stored)?.0),
            _ => None,
        };
        if self.emit == Emit::OnCommit {
            self.deferred.note(self.store.key_bytes(), old);
            return Ok(());
        }
        let change = Change {
            old,
            new: Some(new),
        };
        self.out
            .forward(key, &change, &meta.with_timestamp(timestamp), cx)
    }

    fn step(&mut self, step: Step, cx: &mut NodeContext<'_, '_>) -> Result<Progress, StreamsError> {
        if step == Step::Init && self.emit == Emit::OnCommit {
            cx.task.hold_outputs_until_flush();
        }
        if step == Step::Flush
            && emit_deferred(&mut self.deferred, &mut self.store, &mut self.out, cx)?
                == Progress::More
        {
            return Ok(Progress::More);
        }
        self.out.step(step, cx)
    }
}

/// Folds the updates of a regrouped table: the old value is subtracted from a key's row,
/// then the new value is added.
pub(crate) struct TableAggregate<K, V, A, Init, Add, Sub> {
    pub(crate) init: Arc<Init>,
    pub(crate) add: Arc<Add>,
    pub(crate) subtract: Arc<Sub>,
    store: TableStore<K, A>,
    wants_old: bool,
    emit: Emit,
    deferred: Deferred<Bytes, A>,
    out: Outputs<K, Change<A>>,
    input: PhantomData<fn(&V)>,
}

impl<K, V, A, Init, Add, Sub> TableAggregate<K, V, A, Init, Add, Sub> {
    pub(crate) fn new(
        (init, add, subtract): (Arc<Init>, Arc<Add>, Arc<Sub>),
        rows: &RowSerdes<K, A>,
        wants_old: &WantsOld,
        emit: Emit,
        out: Outputs<K, Change<A>>,
    ) -> Self {
        Self {
            init,
            add,
            subtract,
            store: TableStore::new(rows),
            wants_old: wants_old.load(Ordering::Relaxed),
            emit,
            deferred: Deferred::default(),
            out,
            input: PhantomData,
        }
    }
}

impl<K, V, A, Init, Add, Sub> Node<K, Change<V>> for TableAggregate<K, V, A, Init, Add, Sub>
where
    Init: Fn() -> A,
    Add: Fn(&K, &V, A) -> A,
    Sub: Fn(&K, &V, A) -> A,
{
    fn process(
        &mut self,
        key: &K,
        value: &Change<V>,
        meta: &Meta<'_>,
        cx: &mut NodeContext<'_, '_>,
    ) -> Result<(), StreamsError> {
        if self.store.is_null_key(key) {
            cx.task.skipped_record(1);
            return Ok(());
        }
        let found = self.store.find_bytes(key, cx)?;
        let (row, timestamp) = match &found {
            Some(stored) => {
                let (row, at) = self.store.decode(stored)?;
                (Some(row), meta.timestamp.max(at))
            }
            None => (None, meta.timestamp),
        };
        let row = match (row, &value.old) {
            (Some(row), Some(old)) => Some((self.subtract)(key, old, row)),
            (row, _) => row,
        };
        let new = match &value.new {
            Some(new) => {
                let row = row.unwrap_or_else(|| (self.init)());
                Some((self.add)(key, new, row))
            }
            None => row,
        };
        self.store.write(new.as_ref(), timestamp, cx)?;
        let old = match &found {
            Some(stored) if self.wants_old => Some(self.store.decode(stored)?.0),
            _ => None,
        };
        if self.emit == Emit::OnCommit {
            self.deferred.note(self.store.key_bytes(), old);
            return Ok(());
        }
        self.out.forward(
            key,
            &Change { old, new },
            &meta.with_timestamp(timestamp),
            cx,
        )
    }

    fn step(&mut self, step: Step, cx: &mut NodeContext<'_, '_>) -> Result<Progress, StreamsError> {
        if step == Step::Init && self.emit == Emit::OnCommit {
            cx.task.hold_outputs_until_flush();
        }
        if step == Step::Flush
            && emit_deferred(&mut self.deferred, &mut self.store, &mut self.out, cx)?
                == Progress::More
        {
            return Ok(Progress::More);
        }
        self.out.step(step, cx)
    }
}
