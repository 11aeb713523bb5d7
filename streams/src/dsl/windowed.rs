//! Streams grouped by key and window, and their aggregations.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use thalweg_state::{Changelog, StoreKind, StoreSpec};

use super::grouped::{Aggregation, KGroupedStream, counted, reduced};
use super::ktable::{KTable, Origin};
use super::options::Materialized;
use crate::serdes::{SharedSerde, WindowedSerde};
use crate::typed::{
    Emit, GetterFactory, TimeWindows, WantsOld, Windowed, WindowedAggregate, WindowedPlan,
    WindowedStore,
};

/// When a windowed aggregation tells of its rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum EmitStrategy {
    /// Every update at once (or once a commit, if the table is materialized so).
    #[default]
    OnWindowUpdate,
    /// Once, when the watermark has reached the window's end plus grace.
    OnWindowClose,
}

/// A stream grouped by key and window.
pub struct TimeWindowedKStream<K, V> {
    grouped: KGroupedStream<K, V>,
    windows: TimeWindows,
    strategy: EmitStrategy,
}

impl<K, V> std::fmt::Debug for TimeWindowedKStream<K, V> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TimeWindowedKStream")
            .field("windows", &self.windows)
            .finish_non_exhaustive()
    }
}

impl<K, V> TimeWindowedKStream<K, V> {
    pub(crate) fn new(grouped: KGroupedStream<K, V>, windows: TimeWindows) -> Self {
        Self {
            grouped,
            windows,
            strategy: EmitStrategy::OnWindowUpdate,
        }
    }
}

impl<K: Clone + 'static, V: 'static> TimeWindowedKStream<K, V> {
    /// Chooses when results are told.
    #[must_use]
    pub fn emit_strategy(mut self, strategy: EmitStrategy) -> Self {
        self.strategy = strategy;
        self
    }

    /// How many records each key has in each window.
    pub fn count(&self, materialized: Materialized<K, i64>) -> KTable<Windowed<K>, i64> {
        let materialized = counted(materialized);
        self.fold(
            "KSTREAM-AGGREGATE-",
            "count()",
            materialized,
            |_, _, row| row.unwrap_or(0) + 1,
        )
    }

    /// Folds the values of each key and window into one; the first is taken as it is.
    pub fn reduce<F>(&self, reducer: F, materialized: Materialized<K, V>) -> KTable<Windowed<K>, V>
    where
        V: Clone,
        F: Fn(V, &V) -> V + Send + Sync + 'static,
    {
        let materialized = reduced(materialized, self.grouped.stream.value.as_ref());
        self.fold(
            "KSTREAM-REDUCE-",
            "reduce()",
            materialized,
            move |_, value, row| match row {
                Some(row) => reducer(row, value),
                None => value.clone(),
            },
        )
    }

    /// Folds the records of each key and window into a row that begins with `init`.
    pub fn aggregate<A: 'static, Init, F>(
        &self,
        init: Init,
        aggregator: F,
        materialized: Materialized<K, A>,
    ) -> KTable<Windowed<K>, A>
    where
        Init: Fn() -> A + Send + Sync + 'static,
        F: Fn(&K, &V, A) -> A + Send + Sync + 'static,
    {
        self.fold(
            "KSTREAM-AGGREGATE-",
            "aggregate()",
            materialized,
            move |key, value, row| aggregator(key, value, row.unwrap_or_else(&init)),
        )
    }

    fn fold<A: 'static, F>(
        &self,
        prefix: &str,
        operator: &str,
        materialized: Materialized<K, A>,
        f: F,
    ) -> KTable<Windowed<K>, A>
    where
        F: Fn(&K, &V, Option<A>) -> A + Send + Sync + 'static,
    {
        let Aggregation { stream, name, rows } =
            self.grouped.begin(prefix, operator, &materialized);
        let draft = &stream.draft;
        let retention_ms = self.retention_ms(operator, &materialized);
        let retention = Duration::from_millis(u64::try_from(retention_ms).unwrap_or(0));
        draft.window_store(&rows.store, retention, &materialized);
        let on_close = self.strategy == EmitStrategy::OnWindowClose;
        let mut stores = vec![rows.store.clone()];
        let closed_store = on_close.then(|| format!("{}-closed", rows.store));
        if let Some(name) = &closed_store {
            stores.push(name.clone());
            draft.store(StoreSpec {
                name: name.clone(),
                kind: StoreKind::KeyValue { scanned: false },
                backend: materialized.backend,
                changelog: if materialized.logging {
                    Changelog::Internal
                } else {
                    Changelog::None
                },
            });
        }
        let wants_old: WantsOld = Arc::new(AtomicBool::new(false));
        let plan = WindowedPlan {
            windows: self.windows,
            retention_ms,
            rows: rows.clone(),
            value_serde: stream.value.clone(),
            wants_old: wants_old.clone(),
            emit: if on_close {
                Emit::OnWindowClose
            } else {
                materialized.emit
            },
            closed_store,
        };
        let f = Arc::new(f);
        let node = draft.processor::<K, V, _>(name, stream.node, stores, move |id, a| {
            Ok(WindowedAggregate::new(f.clone(), &plan, a.outputs(id)?))
        });
        let key: SharedSerde<Windowed<K>> = Arc::new(WindowedSerde::of_millis(
            rows.key.clone(),
            self.windows.size_ms(),
        ));
        let getter_rows = rows.clone();
        let getter: GetterFactory<Windowed<K>, A> =
            Arc::new(move || Box::new(WindowedStore::new(&getter_rows)));
        KTable::new(
            draft,
            Origin {
                node,
                sources: stream.sources.clone(),
                wants_old: vec![wants_old],
            },
            (Some(key), Some(rows.value)),
            getter,
            vec![rows.store],
        )
    }

    /// How long a window's rows are kept: at least until it closes.
    fn retention_ms<A>(&self, operator: &str, materialized: &Materialized<K, A>) -> i64 {
        let span = self.windows.span_ms();
        match materialized.retention {
            Some(retention) => {
                let asked = i64::try_from(retention.as_millis()).unwrap_or(i64::MAX);
                if asked < span {
                    self.grouped.stream.draft.problem(format!(
                        "{operator} keeps windows for {asked} ms but needs them for size plus grace, {span} ms: raise Materialized::retention"
                    ));
                }
                asked.max(span)
            }
            None => span,
        }
    }
}
