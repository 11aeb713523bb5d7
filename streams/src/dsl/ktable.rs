//! Tables and their operators.

use std::collections::BTreeSet;
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::draft::{Draft, Role};
use super::grouped_table::KGroupedTable;
use super::kstream::KStream;
use super::options::Grouped;
use crate::serdes::{Nullable, SharedSerde};
use crate::typed::graph::{Build, BuildPort, NodeId, erase};
use crate::typed::{
    Change, FilterGetter, GetterFactory, MapGetter, Port, RowSerdes, TableFilter, TableMapValues,
    TableStore, TableTableJoin, ToStream, Updates, WantsOld,
};

/// A table: the newest row of each key. Its updates flow through the topology with the
/// row before and after.
pub struct KTable<K, V> {
    pub(crate) draft: Draft,
    pub(crate) node: NodeId,
    pub(crate) key: Option<SharedSerde<K>>,
    pub(crate) value: Option<SharedSerde<V>>,
    /// Reads single rows, for joins.
    pub(crate) getter: GetterFactory<K, V>,
    /// The stores that `getter` reads.
    pub(crate) stores: Vec<String>,
    pub(crate) sources: BTreeSet<NodeId>,
    /// Set when someone below wants to see old rows: here and in every table above.
    pub(crate) wants_old: Vec<WantsOld>,
}

/// Where a table comes from.
pub(crate) struct Origin {
    pub(crate) node: NodeId,
    pub(crate) sources: BTreeSet<NodeId>,
    pub(crate) wants_old: Vec<WantsOld>,
}

impl<K, V> Clone for KTable<K, V> {
    fn clone(&self) -> Self {
        Self {
            draft: self.draft.clone(),
            node: self.node,
            key: self.key.clone(),
            value: self.value.clone(),
            getter: self.getter.clone(),
            stores: self.stores.clone(),
            sources: self.sources.clone(),
            wants_old: self.wants_old.clone(),
        }
    }
}

impl<K, V> std::fmt::Debug for KTable<K, V> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KTable")
            .field("node", &self.node)
            .field("stores", &self.stores)
            .finish_non_exhaustive()
    }
}

impl<K: 'static, V: 'static> KTable<K, V> {
    /// A table whose rows lie in a key-value store.
    pub(crate) fn stored(draft: &Draft, origin: Origin, rows: RowSerdes<K, V>) -> Self {
        let serdes = (Some(rows.key.clone()), Some(rows.value.clone()));
        let stores = vec![rows.store.clone()];
        let getter: GetterFactory<K, V> = Arc::new(move || Box::new(TableStore::new(&rows)));
        Self::new(draft, origin, serdes, getter, stores)
    }

    pub(crate) fn new(
        draft: &Draft,
        origin: Origin,
        (key, value): (Option<SharedSerde<K>>, Option<SharedSerde<V>>),
        getter: GetterFactory<K, V>,
        stores: Vec<String>,
    ) -> Self {
        Self {
            draft: draft.clone(),
            node: origin.node,
            key,
            value,
            getter,
            stores,
            sources: origin.sources,
            wants_old: origin.wants_old,
        }
    }

    /// The table's node below a new one.
    fn origin(&self, node: NodeId) -> Origin {
        Origin {
            node,
            sources: self.sources.clone(),
            wants_old: self.wants_old.clone(),
        }
    }

    /// From now on the table and all above it tell old rows along with new ones.
    pub(crate) fn want_old(&self) {
        for wants in &self.wants_old {
            wants.store(true, Ordering::Relaxed);
        }
    }

    /// Renames the processor declared last, in descriptions and errors.
    #[must_use]
    pub fn named(self, name: impl Into<String>) -> Self {
        self.draft.rename(self.node, name.into());
        self
    }

    /// The name of the store that holds the table's rows, if it has one of its own.
    pub fn queryable_store_name(&self) -> Option<&str> {
        match self.stores.as_slice() {
            [store] => Some(store),
            _ => None,
        }
    }

    /// Keeps the rows that `predicate` holds for. A row that no longer holds is deleted.
    pub fn filter<F>(&self, predicate: F) -> KTable<K, V>
    where
        V: Clone,
        F: Fn(&K, &V) -> bool + Send + Sync + 'static,
    {
        self.want_old();
        let f = Arc::new(predicate);
        let name = self.draft.name("KTABLE-FILTER-");
        let build_f = f.clone();
        let node =
            self.draft
                .processor::<K, Change<V>, _>(name, self.node, vec![], move |id, a| {
                    Ok(TableFilter {
                        f: build_f.clone(),
                        out: a.outputs(id)?,
                        key: PhantomData,
                    })
                });
        let inner = self.getter.clone();
        let getter: GetterFactory<K, V> = Arc::new(move || {
            Box::new(FilterGetter {
                f: f.clone(),
                inner: inner(),
            })
        });
        let serdes = (self.key.clone(), self.value.clone());
        KTable::new(
            &self.draft,
            self.origin(node),
            serdes,
            getter,
            self.stores.clone(),
        )
    }

    /// Keeps the rows that `predicate` does not hold for.
    pub fn filter_not<F>(&self, predicate: F) -> KTable<K, V>
    where
        V: Clone,
        F: Fn(&K, &V) -> bool + Send + Sync + 'static,
    {
        self.filter(move |key, value| !predicate(key, value))
    }

    /// Makes a new row of each row.
    pub fn map_values<VO: 'static, F>(&self, f: F) -> KTable<K, VO>
    where
        F: Fn(&V) -> VO + Send + Sync + 'static,
    {
        self.map_values_with_key(move |_, value| f(value))
    }

    /// Makes a new row of each row, with a look at its key.
    pub fn map_values_with_key<VO: 'static, F>(&self, f: F) -> KTable<K, VO>
    where
        F: Fn(&K, &V) -> VO + Send + Sync + 'static,
    {
        let f = Arc::new(f);
        let name = self.draft.name("KTABLE-MAPVALUES-");
        let build_f = f.clone();
        let node =
            self.draft
                .processor::<K, Change<V>, _>(name, self.node, vec![], move |id, a| {
                    Ok(TableMapValues {
                        f: build_f.clone(),
                        out: a.outputs(id)?,
                        input: PhantomData,
                    })
                });
        let inner = self.getter.clone();
        let getter: GetterFactory<K, VO> = Arc::new(move || {
            Box::new(MapGetter {
                f: f.clone(),
                inner: inner(),
            })
        });
        let serdes = (self.key.clone(), None);
        KTable::new(
            &self.draft,
            self.origin(node),
            serdes,
            getter,
            self.stores.clone(),
        )
    }

    /// The table's updates as a stream: the new rows, a delete as `None`.
    pub fn to_stream(&self) -> KStream<K, Option<V>> {
        let name = self.draft.name("KTABLE-TOSTREAM-");
        let node = self
            .draft
            .processor::<K, Change<V>, _>(name, self.node, vec![], |id, a| {
                Ok(ToStream {
                    out: a.outputs(id)?,
                })
            });
        let value = self
            .value
            .clone()
            .map(|serde| Arc::new(Nullable(serde)) as SharedSerde<Option<V>>);
        self.stream(node, value)
    }

    /// The table's new rows as a stream, deletes left out: for tables that have none, such
    /// as counts, or where they do not matter.
    pub fn updates(&self) -> KStream<K, V> {
        let name = self.draft.name("KTABLE-TOSTREAM-");
        let node = self
            .draft
            .processor::<K, Change<V>, _>(name, self.node, vec![], |id, a| {
                Ok(Updates {
                    out: a.outputs(id)?,
                })
            });
        self.stream(node, self.value.clone())
    }

    fn stream<VO>(&self, node: NodeId, value: Option<SharedSerde<VO>>) -> KStream<K, VO> {
        KStream {
            draft: self.draft.clone(),
            node,
            key: self.key.clone(),
            value,
            rekeyed: false,
            sources: self.sources.clone(),
        }
    }

    /// Groups the rows by a new key, with a new value. An update takes the old value away
    /// from its group and adds the new value to its own.
    pub fn group_by<KO, VO, F>(&self, f: F, grouped: Grouped<KO, VO>) -> KGroupedTable<KO, VO>
    where
        KO: PartialEq + 'static,
        VO: 'static,
        F: Fn(&K, &V) -> (KO, VO) + Send + Sync + 'static,
    {
        self.want_old();
        KGroupedTable::select(self, f, grouped)
    }

    /// Joins two tables row by row: a row where both have one.
    pub fn join<V2: 'static, VO: 'static, F>(
        &self,
        other: &KTable<K, V2>,
        joiner: F,
    ) -> KTable<K, VO>
    where
        F: Fn(&V, &V2) -> VO + Send + Sync + 'static,
    {
        self.table_join(other, move |left, right| match (left, right) {
            (Some(left), Some(right)) => Some(joiner(left, right)),
            _ => None,
        })
    }

    /// Joins two tables row by row: a row for each row of this one.
    pub fn left_join<V2: 'static, VO: 'static, F>(
        &self,
        other: &KTable<K, V2>,
        joiner: F,
    ) -> KTable<K, VO>
    where
        F: Fn(&V, Option<&V2>) -> VO + Send + Sync + 'static,
    {
        self.table_join(other, move |left, right| {
            left.map(|left| joiner(left, right))
        })
    }

    /// Joins two tables row by row: a row where either has one.
    pub fn outer_join<V2: 'static, VO: 'static, F>(
        &self,
        other: &KTable<K, V2>,
        joiner: F,
    ) -> KTable<K, VO>
    where
        F: Fn(Option<&V>, Option<&V2>) -> VO + Send + Sync + 'static,
    {
        self.table_join(other, move |left, right| match (left, right) {
            (None, None) => None,
            (left, right) => Some(joiner(left, right)),
        })
    }

    /// Kafka Streams has three processors here, one a side and one that merges; this is
    /// one node, under the name of the last.
    fn table_join<V2: 'static, VO: 'static, F>(&self, other: &KTable<K, V2>, f: F) -> KTable<K, VO>
    where
        F: Fn(Option<&V>, Option<&V2>) -> Option<VO> + Send + Sync + 'static,
    {
        self.want_old();
        other.want_old();
        let _this = self.draft.name("KTABLE-JOINTHIS-");
        let _other = self.draft.name("KTABLE-JOINOTHER-");
        let name = self.draft.name("KTABLE-MERGE-");
        let f = Arc::new(f);
        let mut stores = self.stores.clone();
        stores.extend(other.stores.iter().cloned());
        let (left, right) = (self.getter.clone(), other.getter.clone());
        let build_f = f.clone();
        let node = self.draft.add(
            name,
            Role::Processor,
            &[self.node, other.node],
            stores.clone(),
            move |id| {
                let ports: Vec<BuildPort> = vec![
                    Arc::new(|slot| {
                        erase::<K, Change<V>>(Box::new(Port {
                            slot,
                            enter: TableTableJoin::<K, V, V2, VO, F>::left,
                        }))
                    }),
                    Arc::new(|slot| {
                        erase::<K, Change<V2>>(Box::new(Port {
                            slot,
                            enter: TableTableJoin::<K, V, V2, VO, F>::right,
                        }))
                    }),
                ];
                Build::Slot {
                    node: Arc::new(move |a| {
                        Ok(Box::new(TableTableJoin {
                            f: build_f.clone(),
                            left: left(),
                            right: right(),
                            out: a.outputs::<K, Change<VO>>(id)?,
                        }))
                    }),
                    ports,
                }
            },
        );
        let mut sources = self.sources.clone();
        sources.extend(&other.sources);
        self.draft.copartition(sources.clone());
        let (left, right) = (self.getter.clone(), other.getter.clone());
        let getter: GetterFactory<K, VO> = Arc::new(move || {
            Box::new(crate::typed::JoinGetter {
                f: f.clone(),
                left: left(),
                right: right(),
            })
        });
        let mut wants_old = self.wants_old.clone();
        wants_old.extend(other.wants_old.iter().cloned());
        let origin = Origin {
            node,
            sources,
            wants_old,
        };
        let key = self.key.clone().or(other.key.clone());
        KTable::new(&self.draft, origin, (key, None), getter, stores)
    }
}
