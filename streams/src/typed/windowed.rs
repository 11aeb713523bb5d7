//! Windowed aggregations: a table of one row for each key and window.
//!
//! Lateness is measured against the task's watermark, the minimum over its inputs and
//! over all upstream tasks, and not against the largest timestamp seen: a partition that
//! runs ahead makes nothing late. A record is late for a window whose end plus grace the
//! watermark has reached; it is dropped and counted once for each such window.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::{BufMut, Bytes};
use thalweg_state::WindowCursor;

use super::{
    Change, Deferred, Emit, Meta, Node, NodeContext, Outputs, ROWS_PER_TURN, RowSerdes, Step,
    StoreHandle, TimeWindows, WantsOld, Window, Windowed, WindowedStore,
};
use crate::StreamsError;
use crate::serdes::SharedSerde;
use crate::task::Progress;

/// Folds the records of a key in a window into one row, as
/// [`Aggregate`](super::Aggregate) does without windows.
pub(crate) struct WindowedAggregate<K, V, A, F> {
    f: Arc<F>,
    windows: TimeWindows,
    retention_ms: i64,
    store: WindowedStore<K, A>,
    value_serde: Option<SharedSerde<V>>,
    wants_old: bool,
    emit: Emit,
    deferred: Deferred<(i64, Bytes), A>,
    closing: Option<Closing>,
    /// Windows that start before this have been dropped.
    expired: i64,
    out: Outputs<Windowed<K>, Change<A>>,
}

/// What a windowed aggregation is made of, besides its types.
pub(crate) struct WindowedPlan<K, V, A> {
    pub(crate) windows: TimeWindows,
    pub(crate) retention_ms: i64,
    pub(crate) rows: RowSerdes<K, A>,
    pub(crate) value_serde: Option<SharedSerde<V>>,
    pub(crate) wants_old: WantsOld,
    pub(crate) emit: Emit,
    /// Where the progress of window closes is kept, if final results are asked for.
    pub(crate) closed_store: Option<String>,
}

/// The progress of emitting final results. It is kept in a store, so that after a
/// restart no row is emitted again.
struct Closing {
    store: StoreHandle,
    /// Window start and key of the first row that may not have been emitted: every row
    /// below has been.
    next: (i64, Bytes),
    scan: Option<WindowCursor>,
    /// The start of the last window that the scan covers.
    scanned_to: i64,
}

impl Closing {
    /// The one key of the progress store.
    const KEY: &'static [u8] = b"closed";

    fn load(&mut self, cx: &mut NodeContext<'_, '_>) -> Result<(), StreamsError> {
        let id = self.store.id(cx.task)?;
        if let Some(stored) = cx.task.state().get(id, Self::KEY)?
            && let Some((start, _)) = stored.split_first_chunk::<8>()
        {
            self.next = (i64::from_be_bytes(*start), stored.slice(8..));
        }
        Ok(())
    }

    fn save(&mut self, cx: &mut NodeContext<'_, '_>) -> Result<(), StreamsError> {
        let (start, key) = &self.next;
        let mut value = Vec::with_capacity(8 + key.len());
        value.put_i64(*start);
        value.extend_from_slice(key);
        let id = self.store.id(cx.task)?;
        cx.task.state().put(id, Self::KEY, &value)?;
        Ok(())
    }
}

impl<K, V, A, F> WindowedAggregate<K, V, A, F> {
    pub(crate) fn new(
        f: Arc<F>,
        plan: &WindowedPlan<K, V, A>,
        out: Outputs<Windowed<K>, Change<A>>,
    ) -> Self {
        Self {
            f,
            windows: plan.windows,
            retention_ms: plan.retention_ms,
            store: WindowedStore::new(&plan.rows),
            value_serde: plan.value_serde.clone(),
            wants_old: plan.wants_old.load(Ordering::Relaxed),
            emit: plan.emit,
            deferred: Deferred::default(),
            closing: plan.closed_store.as_ref().map(|store| Closing {
                store: StoreHandle::new(store.clone()),
                next: (0, Bytes::new()),
                scan: None,
                scanned_to: 0,
            }),
            expired: 0,
            out,
        }
    }

    fn window(&self, start: i64) -> Window {
        Window {
            start,
            end: start.saturating_add(self.windows.size_ms()),
        }
    }

    /// Emits the rows that were held back for the commit, some at a time.
    fn emit_deferred(&mut self, cx: &mut NodeContext<'_, '_>) -> Result<Progress, StreamsError> {
        for _ in 0..ROWS_PER_TURN {
            let Some(((start, key_bytes), old)) = self.deferred.pop() else {
                return Ok(Progress::Done);
            };
            let key = self.store.decode_key(&key_bytes)?;
            self.store.seek(&key)?;
            let Some(stored) = self.store.find_bytes(start, cx)? else {
                continue;
            };
            let (new, timestamp) = self.store.decode(&stored)?;
            let key = Windowed {
                key,
                window: self.window(start),
            };
            let change = Change {
                old,
                new: Some(new),
            };
            self.out.forward(&key, &change, &Meta::at(timestamp), cx)?;
        }
        Ok(if self.deferred.is_empty() {
            Progress::Done
        } else {
            Progress::More
        })
    }

    /// Emits the final rows of windows that the watermark has closed, some at a time.
    fn emit_closed(&mut self, cx: &mut NodeContext<'_, '_>) -> Result<Progress, StreamsError> {
        let Some(closing) = &mut self.closing else {
            return Ok(Progress::Done);
        };
        let watermark = cx.task.watermark();
        if watermark == i64::MIN {
            return Ok(Progress::Done);
        }
        if closing.scan.is_none() {
            // The last window that is closed: starts are multiples of the advance.
            let newest = watermark.saturating_sub(self.windows.span_ms());
            let advance = self.windows.advance_ms().max(1);
            let newest = newest.div_euclid(advance).saturating_mul(advance);
            if newest < closing.next.0 {
                return Ok(Progress::Done);
            }
            closing.scan = Some(self.store.scan(closing.next.0, newest, cx)?);
            closing.scanned_to = newest;
        }
        let Some(cursor) = &mut closing.scan else {
            return Ok(Progress::Done);
        };
        for _ in 0..ROWS_PER_TURN {
            let Some(entry) = cursor.next(cx.task.state())? else {
                closing.next = (closing.scanned_to.saturating_add(1), Bytes::new());
                closing.scan = None;
                closing.save(cx)?;
                return Ok(Progress::Done);
            };
            let place = (entry.start, entry.key);
            if place < closing.next {
                continue;
            }
            let (new, timestamp) = self.store.decode(&entry.value)?;
            let key = Windowed {
                key: self.store.decode_key(&place.1)?,
                window: Window {
                    start: place.0,
                    end: place.0.saturating_add(self.windows.size_ms()),
                },
            };
            let change = Change {
                old: None,
                new: Some(new),
            };
            self.out.forward(&key, &change, &Meta::at(timestamp), cx)?;
            let mut behind = place.1.to_vec();
            behind.push(0);
            closing.next = (place.0, behind.into());
        }
        closing.save(cx)?;
        Ok(Progress::More)
    }

    /// Drops windows behind the retention, in strides as long as Kafka Streams' segments,
    /// because each leaves a mark in the store. What is still to be told stays.
    fn expire(&mut self, cx: &mut NodeContext<'_, '_>) -> Result<(), StreamsError> {
        let watermark = cx.task.watermark();
        if watermark == i64::MIN || !self.deferred.is_empty() {
            return Ok(());
        }
        let mut before = watermark.saturating_sub(self.retention_ms);
        if let Some(closing) = &self.closing {
            // A commit may come in the middle of a close: after a crash, what is left of
            // the close is told from the store.
            before = before.min(closing.next.0);
        }
        let stride = (self.retention_ms / 2).max(MIN_EXPIRY_STRIDE_MS);
        if before >= self.expired.saturating_add(stride) {
            self.store.expire_before(before, cx)?;
            self.expired = before;
        }
        Ok(())
    }
}

/// The least distance in time between two expiries.
const MIN_EXPIRY_STRIDE_MS: i64 = 60_000;

impl<K: Clone, V, A, F> Node<K, V> for WindowedAggregate<K, V, A, F>
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
        // There are no windows before 1970.
        if null_value || self.store.is_null_key(key) || meta.timestamp < 0 {
            cx.task.skipped_record(1);
            return Ok(());
        }
        let watermark = cx.task.watermark();
        self.store.seek(key)?;
        for window in self.windows.windows_for(meta.timestamp) {
            if self.windows.is_closed(&window, watermark) {
                cx.task.late_record(1);
                continue;
            }
            let found = self.store.find_bytes(window.start, cx)?;
            let (row, timestamp) = match &found {
                Some(stored) => {
                    let (row, at) = self.store.decode(stored)?;
                    (Some(row), meta.timestamp.max(at))
                }
                None => (None, meta.timestamp),
            };
            let new = (self.f)(key, value, row);
            self.store.write(window.start, &new, timestamp, cx)?;
            if self.emit == Emit::OnWindowClose {
                continue;
            }
            let old = match &found {
                Some(stored) if self.wants_old => Some(self.store.decode(stored)?.0),
                _ => None,
            };
            if self.emit == Emit::OnCommit {
                let place = (window.start, self.store.key_bytes());
                self.deferred.note(place, old);
                continue;
            }
            let change = Change {
                old,
                new: Some(new),
            };
            let key = Windowed {
                key: key.clone(),
                window,
            };
            self.out
                .forward(&key, &change, &meta.with_timestamp(timestamp), cx)?;
        }
        Ok(())
    }

    fn step(&mut self, step: Step, cx: &mut NodeContext<'_, '_>) -> Result<Progress, StreamsError> {
        match step {
            Step::Init => {
                if self.emit == Emit::OnCommit {
                    cx.task.hold_outputs_until_flush();
                }
                if let Some(closing) = &mut self.closing {
                    closing.load(cx)?;
                }
            }
            Step::Advance => {
                if self.emit_closed(cx)? == Progress::More {
                    return Ok(Progress::More);
                }
                self.expire(cx)?;
            }
            Step::Flush => {
                if self.emit_deferred(cx)? == Progress::More {
                    return Ok(Progress::More);
                }
                self.expire(cx)?;
            }
            Step::Close => {}
        }
        self.out.step(step, cx)
    }
}
