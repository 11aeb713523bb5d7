//! Where a topology begins.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use thalweg_state::{Backend, Changelog, StoreKind, StoreSpec};

use super::draft::{Draft, Role};
use super::ktable::Origin;
use super::options::{Consumed, Materialized};
use super::{KStream, KTable};
use crate::StreamsError;
use crate::serdes::Serde;
use crate::topology::{TopicRef, Topology};
use crate::typed::graph::Build;
use crate::typed::{EventTime, RowSerdes, Source, StoreRef, TableSource, TableWriter, WantsOld};

/// Declares a topology. See the [module documentation](crate::dsl) for an example.
#[derive(Clone, Default)]
pub struct StreamsBuilder {
    draft: Draft,
}

impl std::fmt::Debug for StreamsBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StreamsBuilder").finish_non_exhaustive()
    }
}

impl StreamsBuilder {
    /// An empty topology.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The stream of the records of `topic`. A topic may be read more than once, also as
    /// a table: its records then reach one reader after the other, in the order in which
    /// they were declared.
    pub fn stream<K: 'static, V: 'static>(
        &self,
        topic: impl Into<String>,
        consumed: Consumed<K, V>,
    ) -> KStream<K, V> {
        let topic = topic.into();
        let operator = format!("stream(\"{topic}\")");
        let name = consumed
            .name
            .clone()
            .unwrap_or_else(|| self.draft.name("KSTREAM-SOURCE-"));
        let key = self.draft.required(
            consumed.serdes.key_or(None),
            "key",
            &operator,
            "Consumed::with",
        );
        let value = self.draft.required(
            consumed.serdes.value_or(None),
            "value",
            &operator,
            "Consumed::with",
        );
        source(
            &self.draft,
            name,
            TopicRef::External(topic),
            consumed,
            (key, value),
        )
    }

    /// The table of the records of `topic`: the newest record of a key is its row, a null
    /// value deletes it. The rows are kept in a store, under the name that `materialized`
    /// gives or a generated one.
    pub fn table<K: 'static, V: 'static>(
        &self,
        topic: impl Into<String>,
        consumed: Consumed<K, V>,
        materialized: Materialized<K, V>,
    ) -> KTable<K, V> {
        let topic = topic.into();
        let operator = format!("table(\"{topic}\")");
        let store = materialized
            .store
            .clone()
            .unwrap_or_else(|| self.draft.name(&format!("{topic}-STATE-STORE-")));
        let name = consumed
            .name
            .clone()
            .unwrap_or_else(|| self.draft.name("KSTREAM-SOURCE-"));
        let table_name = match &consumed.name {
            Some(name) => format!("{name}-table-source"),
            None => self.draft.name("KTABLE-SOURCE-"),
        };
        let key = self.draft.required(
            consumed.serdes.key_or(materialized.serdes.key.as_ref()),
            "key",
            &operator,
            "Consumed::with",
        );
        let value = self.draft.required(
            consumed.serdes.value_or(materialized.serdes.value.as_ref()),
            "value",
            &operator,
            "Consumed::with",
        );
        let rows = RowSerdes {
            store: store.clone(),
            key: materialized.serdes.key.clone().unwrap_or(key.clone()),
            value: materialized.serdes.value.clone().unwrap_or(value.clone()),
        };
        self.draft.table_store(&store, &materialized);
        let wants_old: WantsOld = Arc::new(AtomicBool::new(false));
        let (build_rows, build_wants) = (rows.clone(), wants_old.clone());
        let on_bad_record = consumed.on_bad_record;
        let role = Role::Source {
            topic: TopicRef::External(topic),
            reset: consumed.reset,
            idle_timeout: consumed.idle_timeout.or(Some(Duration::ZERO)),
            extracted: consumed.timestamp.is_some(),
        };
        let extractor = consumed.timestamp.clone();
        let source_name = name.clone();
        let node = self.draft.add(name, role, &[], vec![store.clone()], |id| {
            Build::Source(Arc::new(move |assembly| {
                Ok(Box::new(TableSource {
                    name: source_name.clone(),
                    key: key.clone(),
                    value: value.clone(),
                    on_bad_record,
                    time: EventTime {
                        extractor: extractor.clone(),
                        told_for: assembly.tells_time(id)?,
                    },
                    writer: TableWriter::new(&build_rows, &build_wants, assembly.outputs(id)?),
                }))
            }))
        });
        self.draft.also(node, table_name);
        KTable::stored(
            &self.draft,
            Origin {
                node,
                sources: [node].into(),
                wants_old: vec![wants_old],
            },
            rows,
        )
    }

    /// Declares a key-value store for [`KStream::process`]: in RocksDB, with a changelog.
    pub fn key_value_store<K, V>(
        &self,
        name: impl Into<String>,
        key: impl Serde<K> + 'static,
        value: impl Serde<V> + 'static,
    ) -> StoreRef<K, V> {
        let spec = StoreSpec {
            name: name.into(),
            kind: StoreKind::KeyValue { scanned: true },
            backend: Backend::RocksDb,
            changelog: Changelog::Internal,
        };
        self.draft.store(spec.clone());
        StoreRef {
            spec,
            key: Arc::new(key),
            value: Arc::new(value),
        }
    }

    /// Checks what was declared and makes a topology of it.
    pub fn build(&self) -> Result<Topology, StreamsError> {
        self.draft.with(|draft| super::lower::lower(draft))
    }
}

/// Declares a source of a stream: of a topic of the user's or of a repartition topic.
pub(crate) fn source<K: 'static, V: 'static>(
    draft: &Draft,
    name: String,
    topic: TopicRef,
    consumed: Consumed<K, V>,
    (key, value): (crate::serdes::SharedSerde<K>, crate::serdes::SharedSerde<V>),
) -> KStream<K, V> {
    let role = Role::Source {
        topic,
        reset: consumed.reset,
        idle_timeout: consumed.idle_timeout,
        extracted: consumed.timestamp.is_some(),
    };
    let extractor = consumed.timestamp.clone();
    let (build_key, build_value) = (key.clone(), value.clone());
    let on_bad_record = consumed.on_bad_record;
    let source_name = name.clone();
    let node = draft.add(name, role, &[], Vec::new(), |id| {
        Build::Source(Arc::new(move |assembly| {
            Ok(Box::new(Source {
                name: source_name.clone(),
                key: build_key.clone(),
                value: build_value.clone(),
                on_bad_record,
                time: EventTime {
                    extractor: extractor.clone(),
                    told_for: assembly.tells_time(id)?,
                },
                out: assembly.outputs(id)?,
            }))
        }))
    });
    KStream {
        draft: draft.clone(),
        node,
        key: Some(key),
        value: Some(value),
        rekeyed: false,
        sources: [node].into(),
    }
}
