//! Streams and their operators.

use std::collections::BTreeSet;
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use super::draft::{Draft, Role, node_build};
use super::grouped::KGroupedStream;
use super::ktable::{KTable, Origin};
use super::options::{Consumed, Grouped, Joined, Materialized, Produced, Repartitioned, Serdes};
use crate::StreamsError;
use crate::serdes::SharedSerde;
use crate::topology::TopicRef;
use crate::typed::graph::{Build, BuildPort, NodeId, erase};
use crate::typed::{
    AsKey, Branch, Filter, FlatMap, FlatMapValues, Map, MapValues, Outputs, PassThrough, Peek,
    Port, Predicate, Processor, ProcessorNode, RowSerdes, SelectKey, Sink, StreamTableJoin,
    TableWriter, ToTable, WantsOld,
};

/// A stream of records: each stands for itself and none replaces another.
///
/// Operators take `&self` and return new streams, so a stream can be used more than once;
/// each record then goes to the operators in the order in which they were applied.
pub struct KStream<K, V> {
    pub(crate) draft: Draft,
    pub(crate) node: NodeId,
    pub(crate) key: Option<SharedSerde<K>>,
    pub(crate) value: Option<SharedSerde<V>>,
    /// Whether the key may have changed since the records were last partitioned by it.
    pub(crate) rekeyed: bool,
    /// The sources that the stream's records come from.
    pub(crate) sources: BTreeSet<NodeId>,
}

impl<K, V> Clone for KStream<K, V> {
    fn clone(&self) -> Self {
        Self {
            draft: self.draft.clone(),
            node: self.node,
            key: self.key.clone(),
            value: self.value.clone(),
            rekeyed: self.rekeyed,
            sources: self.sources.clone(),
        }
    }
}

impl<K, V> std::fmt::Debug for KStream<K, V> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KStream")
            .field("node", &self.node)
            .field("rekeyed", &self.rekeyed)
            .finish_non_exhaustive()
    }
}

impl<K: 'static, V: 'static> KStream<K, V> {
    /// The stream behind a new node.
    fn next<KO, VO>(
        &self,
        node: NodeId,
        key: Option<SharedSerde<KO>>,
        value: Option<SharedSerde<VO>>,
        rekeyed: bool,
    ) -> KStream<KO, VO> {
        KStream {
            draft: self.draft.clone(),
            node,
            key,
            value,
            rekeyed,
            sources: self.sources.clone(),
        }
    }

    /// Renames the processor declared last, in descriptions and errors.
    #[must_use]
    pub fn named(self, name: impl Into<String>) -> Self {
        self.draft.rename(self.node, name.into());
        self
    }

    /// Keeps the records that `predicate` holds for.
    pub fn filter<F>(&self, predicate: F) -> KStream<K, V>
    where
        F: Fn(&K, &V) -> bool + Send + Sync + 'static,
    {
        let f = Arc::new(predicate);
        let name = self.draft.name("KSTREAM-FILTER-");
        let node = self
            .draft
            .processor::<K, V, _>(name, self.node, vec![], move |id, a| {
                Ok(Filter::new(f.clone(), a.outputs(id)?))
            });
        self.next(node, self.key.clone(), self.value.clone(), self.rekeyed)
    }

    /// Keeps the records that `predicate` does not hold for.
    pub fn filter_not<F>(&self, predicate: F) -> KStream<K, V>
    where
        F: Fn(&K, &V) -> bool + Send + Sync + 'static,
    {
        self.filter(move |key, value| !predicate(key, value))
    }

    /// Makes one new record of each. The key may change, so that a grouping or join that
    /// follows repartitions the stream.
    pub fn map<KO: 'static, VO: 'static, F>(&self, f: F) -> KStream<KO, VO>
    where
        F: Fn(&K, &V) -> (KO, VO) + Send + Sync + 'static,
    {
        let f = Arc::new(f);
        let name = self.draft.name("KSTREAM-MAP-");
        let node = self
            .draft
            .processor::<K, V, _>(name, self.node, vec![], move |id, a| {
                Ok(Map::new(f.clone(), a.outputs(id)?))
            });
        self.next(node, None, None, true)
    }

    /// Makes a new value of each record's.
    pub fn map_values<VO: 'static, F>(&self, f: F) -> KStream<K, VO>
    where
        F: Fn(&V) -> VO + Send + Sync + 'static,
    {
        self.map_values_with_key(move |_, value| f(value))
    }

    /// Makes a new value of each record's, with a look at its key.
    pub fn map_values_with_key<VO: 'static, F>(&self, f: F) -> KStream<K, VO>
    where
        F: Fn(&K, &V) -> VO + Send + Sync + 'static,
    {
        let f = Arc::new(f);
        let name = self.draft.name("KSTREAM-MAPVALUES-");
        let node = self
            .draft
            .processor::<K, V, _>(name, self.node, vec![], move |id, a| {
                Ok(MapValues::new(f.clone(), a.outputs(id)?))
            });
        self.next(node, self.key.clone(), None, self.rekeyed)
    }

    /// Makes any number of new records of each; the key may change.
    pub fn flat_map<KO: 'static, VO: 'static, I, F>(&self, f: F) -> KStream<KO, VO>
    where
        I: IntoIterator<Item = (KO, VO)> + 'static,
        F: Fn(&K, &V) -> I + Send + Sync + 'static,
    {
        let f = Arc::new(f);
        let name = self.draft.name("KSTREAM-FLATMAP-");
        let node = self
            .draft
            .processor::<K, V, _>(name, self.node, vec![], move |id, a| {
                Ok(FlatMap::new(f.clone(), a.outputs(id)?))
            });
        self.next(node, None, None, true)
    }

    /// Makes any number of new values of each record's.
    pub fn flat_map_values<VO: 'static, I, F>(&self, f: F) -> KStream<K, VO>
    where
        I: IntoIterator<Item = VO> + 'static,
        F: Fn(&V) -> I + Send + Sync + 'static,
    {
        let f = Arc::new(move |_: &K, value: &V| f(value));
        let name = self.draft.name("KSTREAM-FLATMAPVALUES-");
        let node = self
            .draft
            .processor::<K, V, _>(name, self.node, vec![], move |id, a| {
                Ok(FlatMapValues::new(f.clone(), a.outputs(id)?))
            });
        self.next(node, self.key.clone(), None, self.rekeyed)
    }

    /// Gives each record a new key.
    pub fn select_key<KO: 'static, F>(&self, f: F) -> KStream<KO, V>
    where
        F: Fn(&K, &V) -> KO + Send + Sync + 'static,
    {
        let f = Arc::new(f);
        let name = self.draft.name("KSTREAM-KEY-SELECT-");
        let node = self
            .draft
            .processor::<K, V, _>(name, self.node, vec![], move |id, a| {
                Ok(SelectKey::new(f.clone(), a.outputs(id)?))
            });
        self.next(node, None, self.value.clone(), true)
    }

    /// Looks at each record as it passes.
    pub fn peek<F>(&self, f: F) -> KStream<K, V>
    where
        F: Fn(&K, &V) + Send + Sync + 'static,
    {
        let node = self.look("KSTREAM-PEEK-", f);
        self.next(node, self.key.clone(), self.value.clone(), self.rekeyed)
    }

    /// Does something for each record; the end of the stream.
    pub fn for_each<F>(&self, f: F)
    where
        F: Fn(&K, &V) + Send + Sync + 'static,
    {
        self.look("KSTREAM-FOREACH-", f);
    }

    fn look<F>(&self, prefix: &str, f: F) -> NodeId
    where
        F: Fn(&K, &V) + Send + Sync + 'static,
    {
        let f = Arc::new(f);
        let name = self.draft.name(prefix);
        self.draft
            .processor::<K, V, _>(name, self.node, vec![], move |id, a| {
                Ok(Peek::new(f.clone(), a.outputs(id)?))
            })
    }

    /// The records of both streams, each stream's in its own order.
    pub fn merge(&self, other: &KStream<K, V>) -> KStream<K, V> {
        let name = self.draft.name("KSTREAM-MERGE-");
        let node = self.draft.add(
            name,
            Role::Processor,
            &[self.node, other.node],
            vec![],
            |id| {
                let port: BuildPort = Arc::new(|slot| {
                    erase::<K, V>(Box::new(Port {
                        slot,
                        enter: Outputs::<K, V>::forward,
                    }))
                });
                Build::Slot {
                    node: Arc::new(move |a| Ok(Box::new(a.outputs::<K, V>(id)?))),
                    ports: vec![port.clone(), port],
                }
            },
        );
        let mut merged = self.next(
            node,
            self.key.clone(),
            self.value.clone(),
            self.rekeyed || other.rekeyed,
        );
        merged.sources.extend(&other.sources);
        merged
    }

    /// Sends each record down the first branch whose predicate holds; a record that no
    /// branch wants is dropped. The streams come back in the order of the branches.
    pub fn split(&self, branches: Vec<Branched<K, V>>) -> Vec<KStream<K, V>> {
        let name = self.draft.name("KSTREAM-BRANCH-");
        let predicates: Vec<_> = branches.iter().map(|b| b.predicate.clone()).collect();
        let branch =
            self.draft
                .processor::<K, V, _>(name.clone(), self.node, vec![], move |id, a| {
                    Ok(Branch {
                        predicates: predicates.clone(),
                        out: a.outputs(id)?,
                    })
                });
        let child = |(number, branched): (usize, Branched<K, V>)| {
            let suffix = branched.name.unwrap_or_else(|| (number + 1).to_string());
            let name = format!("{name}-{suffix}");
            let node = self
                .draft
                .processor::<K, V, _>(name, branch, vec![], |id, a| {
                    Ok(PassThrough::<K, V> {
                        out: a.outputs(id)?,
                    })
                });
            self.next(node, self.key.clone(), self.value.clone(), self.rekeyed)
        };
        branches.into_iter().enumerate().map(child).collect()
    }

    /// Writes the stream to a topic, which must be there.
    pub fn to(&self, topic: impl Into<String>, produced: Produced<K, V>) {
        let topic = topic.into();
        let operator = format!("to(\"{topic}\")");
        let name = produced
            .name
            .clone()
            .unwrap_or_else(|| self.draft.name("KSTREAM-SINK-"));
        let key = self.draft.required(
            produced.serdes.key_or(self.key.as_ref()),
            "key",
            &operator,
            "Produced::with",
        );
        let value = self.draft.required(
            produced.serdes.value_or(self.value.as_ref()),
            "value",
            &operator,
            "Produced::with",
        );
        let partitioner = produced.partitioner;
        let role = Role::Sink {
            topic: TopicRef::External(topic.clone()),
        };
        self.draft.add(name, role, &[self.node], vec![], |id| {
            node_build::<K, V, _>(move |a| {
                Ok(Sink {
                    topic: topic.clone(),
                    index: a.sink(id)?,
                    key: key.clone(),
                    value: value.clone(),
                    partitioner: partitioner.clone(),
                    needs_key: false,
                })
            })
        });
    }

    /// Writes the stream to an internal topic and reads it back, partitioned by its key.
    pub fn repartition(&self, repartitioned: Repartitioned<K, V>) -> KStream<K, V> {
        let name = repartitioned
            .name
            .clone()
            .unwrap_or_else(|| self.draft.name("KSTREAM-REPARTITION-"));
        let serdes = Serdes {
            key: repartitioned.serdes.key_or(self.key.as_ref()),
            key_fallback: None,
            value: repartitioned.serdes.value_or(self.value.as_ref()),
        };
        self.through(
            name,
            repartitioned.partitions,
            &serdes,
            "repartition()",
            "Repartitioned::with",
            false,
        )
    }

    /// The way through a repartition topic. Kafka Streams numbers the sink before the
    /// filter and the filter before the source.
    pub(crate) fn through(
        &self,
        topic: String,
        partitions: Option<i32>,
        serdes: &Serdes<K, V>,
        operator: &str,
        hint: &str,
        needs_key: bool,
    ) -> KStream<K, V> {
        if let Some(source) = self.draft.repartitioned(&topic, self.node, needs_key) {
            return KStream {
                draft: self.draft.clone(),
                node: source,
                key: serdes.key_or(self.key.as_ref()),
                value: serdes.value_or(self.value.as_ref()),
                rekeyed: false,
                sources: [source].into(),
            };
        }
        let name = topic.clone();
        let sink_name = self.draft.name("KSTREAM-SINK-");
        let filter_name = self.draft.name("KSTREAM-FILTER-");
        let source_name = self.draft.name("KSTREAM-SOURCE-");
        let key = serdes.key_or(self.key.as_ref());
        let key = self.draft.required(key, "key", operator, hint);
        let value = serdes.value_or(self.value.as_ref());
        let value = self.draft.required(value, "value", operator, hint);
        let reference = TopicRef::Repartition {
            name: topic.clone(),
            partitions,
        };
        let role = Role::Sink {
            topic: reference.clone(),
        };
        let (sink_key, sink_value) = (key.clone(), value.clone());
        let sink = self.draft.add(sink_name, role, &[self.node], vec![], |id| {
            node_build::<K, V, _>(move |a| {
                Ok(Sink {
                    topic: topic.clone(),
                    index: a.sink(id)?,
                    key: sink_key.clone(),
                    value: sink_value.clone(),
                    partitioner: None,
                    needs_key,
                })
            })
        });
        if needs_key {
            self.draft.also(sink, filter_name);
        }
        let stream = super::builder::source(
            &self.draft,
            source_name,
            reference,
            Consumed::new(),
            (key, value),
        );
        self.draft
            .add_repartition(name, self.node, needs_key, stream.node);
        stream
    }

    /// Groups the records by the key they have.
    pub fn group_by_key(&self, grouped: Grouped<K, V>) -> KGroupedStream<K, V> {
        let key = grouped.serdes.key_or(self.key.as_ref());
        let value = grouped.serdes.value_or(self.value.as_ref());
        let mut stream = self.clone();
        stream.key = key;
        stream.value = value;
        KGroupedStream::new(stream, grouped.name, grouped.partitions)
    }

    /// Groups the records by a new key. Records whose new key is null are skipped and
    /// counted.
    pub fn group_by<KO: 'static, F>(&self, f: F, grouped: Grouped<KO, V>) -> KGroupedStream<KO, V>
    where
        F: Fn(&K, &V) -> KO + Send + Sync + 'static,
    {
        self.select_key(f).group_by_key(grouped)
    }

    /// Joins each record with the row that `table` has for its key at that moment; without
    /// such a row nothing comes of it. A record without a key is skipped and counted.
    ///
    /// Stream and table must be partitioned alike. If the stream's key may have changed,
    /// it is repartitioned to the table's partitions by itself.
    pub fn join<KT: 'static, VT: 'static, VO: 'static, F>(
        &self,
        table: &KTable<KT, VT>,
        joiner: F,
        joined: Joined<K, V>,
    ) -> KStream<K, VO>
    where
        K: AsKey<KT>,
        F: Fn(&V, &VT) -> VO + Send + Sync + 'static,
    {
        let f = move |value: &V, row: Option<&VT>| row.map(|row| joiner(value, row));
        self.table_join("KSTREAM-JOIN-", table, f, joined, false)
    }

    /// As [`join`](Self::join), but a record that finds no row, or has no key, is joined
    /// with `None`.
    pub fn left_join<KT: 'static, VT: 'static, VO: 'static, F>(
        &self,
        table: &KTable<KT, VT>,
        joiner: F,
        joined: Joined<K, V>,
    ) -> KStream<K, VO>
    where
        K: AsKey<KT>,
        F: Fn(&V, Option<&VT>) -> VO + Send + Sync + 'static,
    {
        let f = move |value: &V, row: Option<&VT>| Some(joiner(value, row));
        self.table_join("KSTREAM-LEFTJOIN-", table, f, joined, true)
    }

    fn table_join<KT: 'static, VT: 'static, VO: 'static, F>(
        &self,
        prefix: &str,
        table: &KTable<KT, VT>,
        f: F,
        joined: Joined<K, V>,
        left: bool,
    ) -> KStream<K, VO>
    where
        K: AsKey<KT>,
        F: Fn(&V, Option<&VT>) -> Option<VO> + Send + Sync + 'static,
    {
        let serdes = Serdes {
            key: joined.serdes.key_or(self.key.as_ref()),
            key_fallback: None,
            value: joined.serdes.value_or(self.value.as_ref()),
        };
        let stream = if self.rekeyed {
            let topic = joined
                .name
                .clone()
                .unwrap_or_else(|| self.draft.node_name(self.node));
            let operator = "a join of a stream whose key may have changed";
            // Inner and left joins may share the topic, so records without a key go along.
            self.through(topic, None, &serdes, operator, "Joined::with", false)
        } else {
            self.clone()
        };
        let name = self.draft.name(prefix);
        let f = Arc::new(f);
        let (getter, value_serde) = (table.getter.clone(), serdes.value.clone());
        let node = self.draft.processor::<K, V, _>(
            name,
            stream.node,
            table.stores.clone(),
            move |id, a| {
                Ok(StreamTableJoin {
                    f: f.clone(),
                    table: getter(),
                    value_serde: value_serde.clone(),
                    left,
                    out: a.outputs(id)?,
                    input: PhantomData,
                })
            },
        );
        let mut sources = stream.sources.clone();
        sources.extend(&table.sources);
        self.draft.copartition(sources.clone());
        KStream {
            draft: self.draft.clone(),
            node,
            key: serdes.key,
            value: None,
            rekeyed: false,
            sources,
        }
    }

    /// Makes a table of the stream: each record is the new row of its key. A record
    /// without a key is skipped and counted.
    pub fn to_table(&self, materialized: Materialized<K, V>) -> KTable<K, V>
    where
        V: Clone,
    {
        let value = materialized.serdes.value_or(self.value.as_ref());
        self.table_of(materialized, value, self.value.clone(), |value: &V| {
            Some(value.clone())
        })
    }

    /// `row` makes a row, or a delete, of a value of the stream.
    pub(crate) fn table_of<VT: 'static, F>(
        &self,
        materialized: Materialized<K, VT>,
        value: Option<SharedSerde<VT>>,
        stream_value: Option<SharedSerde<V>>,
        row: F,
    ) -> KTable<K, VT>
    where
        F: Fn(&V) -> Option<VT> + Clone + Send + Sync + 'static,
    {
        let operator = "to_table()";
        let key = materialized.serdes.key_or(self.key.as_ref());
        let key = self
            .draft
            .required(key, "key", operator, "Materialized::with");
        let value = self
            .draft
            .required(value, "value", operator, "Materialized::with");
        let store = materialized
            .store
            .clone()
            .unwrap_or_else(|| self.draft.name("KSTREAM-TOTABLE-STATE-STORE-"));
        let name = self.draft.name("KSTREAM-TOTABLE-");
        self.draft.table_store(&store, &materialized);
        let stream = if self.rekeyed {
            let serdes = Serdes {
                key: Some(key.clone()),
                key_fallback: None,
                value: stream_value,
            };
            self.through(
                store.clone(),
                None,
                &serdes,
                operator,
                "Repartitioned::with",
                true,
            )
        } else {
            self.draft.copartition(self.sources.clone());
            self.clone()
        };
        let rows = RowSerdes {
            store: store.clone(),
            key,
            value,
        };
        let wants_old: WantsOld = Arc::new(AtomicBool::new(false));
        let (build_rows, build_wants) = (rows.clone(), wants_old.clone());
        let node = self
            .draft
            .processor::<K, V, _>(name, stream.node, vec![store], move |id, a| {
                let writer = TableWriter::new(&build_rows, &build_wants, a.outputs(id)?);
                Ok(ToTable::new(row.clone(), writer))
            });
        KTable::stored(
            &self.draft,
            Origin {
                node,
                sources: stream.sources,
                wants_old: vec![wants_old],
            },
            rows,
        )
    }

    /// Hands the stream to a processor of one's own. `supplier` makes one for each task, on
    /// its stream thread; `stores` are the ones it opens.
    ///
    /// The processor may forward other keys, so that a grouping or join that follows
    /// repartitions the stream.
    pub fn process<KO: 'static, VO: 'static, P, F>(
        &self,
        supplier: F,
        stores: &[&str],
    ) -> KStream<KO, VO>
    where
        P: Processor<K, V, KO, VO> + 'static,
        F: Fn() -> P + Send + Sync + 'static,
    {
        let name = self.draft.name("KSTREAM-PROCESSOR-");
        self.draft.with(|draft| {
            for store in stores.iter().filter(|s| !draft.stores.contains_key(**s)) {
                draft.problems.push(format!(
                    "the processor {name} names a store `{store}` that does not exist: declare it with StreamsBuilder::key_value_store"
                ));
            }
        });
        let stores = stores.iter().map(|store| (*store).to_owned()).collect();
        let node = self
            .draft
            .processor::<K, V, _>(name, self.node, stores, move |id, a| {
                let out: Outputs<KO, VO> = a.outputs(id)?;
                Ok::<_, StreamsError>(ProcessorNode::new(supplier(), out))
            });
        self.next(node, None, None, true)
    }
}

impl<K: 'static, V: Clone + 'static> KStream<K, Option<V>> {
    /// Makes a table of a stream with tombstones: `None` deletes the row of its key.
    pub fn to_table_with_tombstones(&self, materialized: Materialized<K, V>) -> KTable<K, V> {
        let value = materialized.serdes.value.clone();
        self.table_of(materialized, value, self.value.clone(), Option::clone)
    }
}

/// One branch of a [split](KStream::split).
pub struct Branched<K, V> {
    name: Option<String>,
    predicate: Predicate<K, V>,
}

impl<K, V> std::fmt::Debug for Branched<K, V> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Branched")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl<K, V> Branched<K, V> {
    /// The branch of the records that `predicate` holds for.
    pub fn when(predicate: impl Fn(&K, &V) -> bool + Send + Sync + 'static) -> Self {
        Self {
            name: None,
            predicate: Arc::new(predicate),
        }
    }

    /// The branch of all records that no branch before it took.
    pub fn otherwise() -> Self {
        Self::when(|_, _| true)
    }

    /// Names the branch.
    #[must_use]
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }
}
