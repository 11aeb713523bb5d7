//! Grouped streams and their aggregations.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use super::kstream::KStream;
use super::ktable::{KTable, Origin};
use super::options::{Materialized, Serdes};
use super::windowed::TimeWindowedKStream;
use crate::serdes::{I64Serde, SharedSerde};
use crate::typed::{Aggregate, RowSerdes, TimeWindows, WantsOld};

/// A stream whose records are grouped by key. Records whose key or value is null are
/// skipped by every aggregation and counted.
pub struct KGroupedStream<K, V> {
    pub(crate) stream: KStream<K, V>,
    pub(crate) name: Option<String>,
    pub(crate) partitions: Option<i32>,
}

impl<K, V> std::fmt::Debug for KGroupedStream<K, V> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KGroupedStream")
            .field("stream", &self.stream)
            .finish_non_exhaustive()
    }
}

/// An aggregation's names, its input, and the serdes of its rows.
pub(crate) struct Aggregation<K, V, A> {
    pub(crate) stream: KStream<K, V>,
    pub(crate) name: String,
    pub(crate) rows: RowSerdes<K, A>,
}

impl<K: 'static, V: 'static> KGroupedStream<K, V> {
    pub(crate) fn new(
        stream: KStream<K, V>,
        name: Option<String>,
        partitions: Option<i32>,
    ) -> Self {
        Self {
            stream,
            name,
            partitions,
        }
    }

    /// Groups by windows of time as well.
    pub fn windowed_by(&self, windows: TimeWindows) -> TimeWindowedKStream<K, V> {
        if let Err(error) = windows.check() {
            self.stream.draft.problem(error.to_string());
        }
        TimeWindowedKStream::new(
            KGroupedStream::new(self.stream.clone(), self.name.clone(), self.partitions),
            windows,
        )
    }

    /// How many records each key has.
    pub fn count(&self, materialized: Materialized<K, i64>) -> KTable<K, i64> {
        let materialized = counted(materialized);
        self.fold(
            "KSTREAM-AGGREGATE-",
            "count()",
            materialized,
            |_, _, row| row.unwrap_or(0) + 1,
        )
    }

    /// Folds each key's values into one; the first is taken as it is.
    pub fn reduce<F>(&self, reducer: F, materialized: Materialized<K, V>) -> KTable<K, V>
    where
        V: Clone,
        F: Fn(V, &V) -> V + Send + Sync + 'static,
    {
        let materialized = reduced(materialized, self.stream.value.as_ref());
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

    /// Folds each key's records into a row that begins with `init`.
    pub fn aggregate<A: 'static, Init, F>(
        &self,
        init: Init,
        aggregator: F,
        materialized: Materialized<K, A>,
    ) -> KTable<K, A>
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

    /// What every aggregation begins with: names in Kafka Streams' order, serdes, and the
    /// way through a repartition topic where the key may have changed.
    pub(crate) fn begin<A: 'static>(
        &self,
        prefix: &str,
        operator: &str,
        materialized: &Materialized<K, A>,
    ) -> Aggregation<K, V, A> {
        let draft = &self.stream.draft;
        let store = materialized
            .store
            .clone()
            .unwrap_or_else(|| draft.name(&format!("{prefix}STATE-STORE-")));
        let name = draft.name(prefix);
        let key = materialized
            .serdes
            .key
            .clone()
            .or(self.stream.key.clone())
            .or(materialized.serdes.key_fallback.clone());
        let key = draft.required(key, "key", operator, "Grouped::with or Materialized::with");
        let value = draft.required(
            materialized.serdes.value.clone(),
            "value",
            operator,
            "Materialized::with",
        );
        let stream = if self.stream.rekeyed {
            let topic = self.name.clone().unwrap_or_else(|| store.clone());
            let serdes = Serdes {
                key: self.stream.key.clone().or(Some(key.clone())),
                key_fallback: None,
                value: self.stream.value.clone(),
            };
            let operator = format!("the repartitioning before {operator}");
            self.stream.through(
                topic,
                self.partitions,
                &serdes,
                &operator,
                "Grouped::with",
                true,
            )
        } else {
            // Merged topics hold a key's records in one task only if partitioned alike.
            draft.copartition(self.stream.sources.clone());
            self.stream.clone()
        };
        Aggregation {
            stream,
            name,
            rows: RowSerdes { store, key, value },
        }
    }

    fn fold<A: 'static, F>(
        &self,
        prefix: &str,
        operator: &str,
        materialized: Materialized<K, A>,
        f: F,
    ) -> KTable<K, A>
    where
        F: Fn(&K, &V, Option<A>) -> A + Send + Sync + 'static,
    {
        let Aggregation { stream, name, rows } = self.begin(prefix, operator, &materialized);
        let draft = &stream.draft;
        draft.table_store(&rows.store, &materialized);
        let wants_old: WantsOld = Arc::new(AtomicBool::new(false));
        let (build_rows, build_wants) = (rows.clone(), wants_old.clone());
        let (value_serde, emit) = (stream.value.clone(), materialized.emit);
        let f = Arc::new(f);
        let node = draft.processor::<K, V, _>(
            name,
            stream.node,
            vec![rows.store.clone()],
            move |id, a| {
                Ok(Aggregate::new(
                    f.clone(),
                    &build_rows,
                    value_serde.clone(),
                    &build_wants,
                    emit,
                    a.outputs(id)?,
                ))
            },
        );
        KTable::stored(
            draft,
            Origin {
                node,
                sources: stream.sources.clone(),
                wants_old: vec![wants_old],
            },
            rows,
        )
    }
}

/// A count's rows are Kafka's Longs unless a serde is given.
pub(crate) fn counted<K>(mut materialized: Materialized<K, i64>) -> Materialized<K, i64> {
    materialized
        .serdes
        .value
        .get_or_insert_with(|| Arc::new(I64Serde));
    materialized
}

/// A reduction's rows are written as the stream's values are unless a serde is given.
pub(crate) fn reduced<K, V>(
    mut materialized: Materialized<K, V>,
    value: Option<&SharedSerde<V>>,
) -> Materialized<K, V> {
    materialized.serdes.value = materialized.serdes.value_or(value);
    materialized
}
