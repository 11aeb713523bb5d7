//! Regrouped tables and their aggregations.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use super::grouped::{counted, reduced};
use super::kstream::KStream;
use super::ktable::{KTable, Origin};
use super::options::{Grouped, Materialized, Serdes};
use crate::serdes::{ChangeSerde, SharedSerde};
use crate::typed::{Change, Regroup, RowSerdes, TableAggregate, WantsOld};

/// A table whose rows are grouped by a new key. Its aggregations add what comes into a
/// group and subtract what leaves it.
pub struct KGroupedTable<K, V> {
    /// The changes by the new key, ahead of the repartition topic.
    changes: KStream<K, Change<V>>,
    value: Option<SharedSerde<V>>,
    name: Option<String>,
    partitions: Option<i32>,
}

impl<K, V> std::fmt::Debug for KGroupedTable<K, V> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KGroupedTable").finish_non_exhaustive()
    }
}

impl<K: 'static, V: 'static> KGroupedTable<K, V> {
    pub(crate) fn select<KT: 'static, VT: 'static, F>(
        table: &KTable<KT, VT>,
        f: F,
        grouped: Grouped<K, V>,
    ) -> Self
    where
        K: PartialEq,
        F: Fn(&KT, &VT) -> (K, V) + Send + Sync + 'static,
    {
        let draft = &table.draft;
        let f = Arc::new(f);
        let name = draft.name("KTABLE-SELECT-");
        let node = draft.processor::<KT, Change<VT>, _>(name, table.node, vec![], move |id, a| {
            Ok(Regroup::new(f.clone(), a.outputs(id)?))
        });
        let key = grouped.serdes.key_or(None);
        let value = grouped.serdes.value_or(None);
        Self {
            changes: KStream {
                draft: draft.clone(),
                node,
                key,
                value: None,
                rekeyed: true,
                sources: table.sources.clone(),
            },
            value,
            name: grouped.name,
            partitions: grouped.partitions,
        }
    }

    /// How many rows each group has.
    pub fn count(&self, materialized: Materialized<K, i64>) -> KTable<K, i64> {
        self.fold(
            "KTABLE-AGGREGATE-",
            "count()",
            counted(materialized),
            || 0,
            |_, _, count| count + 1,
            |_, _, count| count - 1,
        )
    }

    /// Folds each group's values into one with `adder`; `subtractor` takes one out again.
    pub fn reduce<Add, Sub>(
        &self,
        adder: Add,
        subtractor: Sub,
        materialized: Materialized<K, V>,
    ) -> KTable<K, V>
    where
        V: Default,
        Add: Fn(V, &V) -> V + Send + Sync + 'static,
        Sub: Fn(V, &V) -> V + Send + Sync + 'static,
    {
        self.fold(
            "KTABLE-REDUCE-",
            "reduce()",
            reduced(materialized, self.value.as_ref()),
            V::default,
            move |_, value, row| adder(row, value),
            move |_, value, row| subtractor(row, value),
        )
    }

    /// Folds each group's rows into one that begins with `init`: `adder` puts a row in,
    /// `subtractor` takes one out.
    pub fn aggregate<A: 'static, Init, Add, Sub>(
        &self,
        init: Init,
        adder: Add,
        subtractor: Sub,
        materialized: Materialized<K, A>,
    ) -> KTable<K, A>
    where
        Init: Fn() -> A + Send + Sync + 'static,
        Add: Fn(&K, &V, A) -> A + Send + Sync + 'static,
        Sub: Fn(&K, &V, A) -> A + Send + Sync + 'static,
    {
        self.fold(
            "KTABLE-AGGREGATE-",
            "aggregate()",
            materialized,
            init,
            adder,
            subtractor,
        )
    }

    fn fold<A: 'static, Init, Add, Sub>(
        &self,
        prefix: &str,
        operator: &str,
        materialized: Materialized<K, A>,
        init: Init,
        adder: Add,
        subtractor: Sub,
    ) -> KTable<K, A>
    where
        Init: Fn() -> A + Send + Sync + 'static,
        Add: Fn(&K, &V, A) -> A + Send + Sync + 'static,
        Sub: Fn(&K, &V, A) -> A + Send + Sync + 'static,
    {
        let draft = &self.changes.draft;
        let store = materialized
            .store
            .clone()
            .unwrap_or_else(|| draft.name(&format!("{prefix}STATE-STORE-")));
        let name = draft.name(prefix);
        let hint = "Grouped::with";
        let key = materialized
            .serdes
            .key
            .clone()
            .or(self.changes.key.clone())
            .or(materialized.serdes.key_fallback.clone());
        let key = draft.required(key, "key", operator, hint);
        let input = draft.required(self.value.clone(), "value", operator, hint);
        let value = draft.required(
            materialized.serdes.value.clone(),
            "row",
            operator,
            "Materialized::with",
        );
        let topic = self.name.clone().unwrap_or_else(|| store.clone());
        let serdes = Serdes {
            key: Some(key.clone()),
            key_fallback: None,
            value: Some(Arc::new(ChangeSerde::new(input)) as SharedSerde<Change<V>>),
        };
        let stream = self
            .changes
            .through(topic, self.partitions, &serdes, operator, hint, true);
        draft.table_store(&store, &materialized);
        let rows = RowSerdes {
            store: store.clone(),
            key,
            value,
        };
        let wants_old: WantsOld = Arc::new(AtomicBool::new(false));
        let (build_rows, build_wants) = (rows.clone(), wants_old.clone());
        let emit = materialized.emit;
        let functions = (Arc::new(init), Arc::new(adder), Arc::new(subtractor));
        let node =
            draft.processor::<K, Change<V>, _>(name, stream.node, vec![store], move |id, a| {
                Ok(TableAggregate::new(
                    functions.clone(),
                    &build_rows,
                    &build_wants,
                    emit,
                    a.outputs(id)?,
                ))
            });
        KTable::stored(
            draft,
            Origin {
                node,
                sources: stream.sources,
                wants_old: vec![wants_old],
            },
            rows,
        )
    }
}
