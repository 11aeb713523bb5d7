//! From a stored plan to a topology of columnar graphs. Nothing is decided here: what the
//! plan says is built, so that a restart gives every operator the state it left.

use crate::operators::{
    FilterProject, GroupAggregate, Hop, Materialize, PartialAggregate, Sink, ViewRowDecoder,
    nullable_schema,
};
use crate::plan::{
    ColumnSpec, Fragment, OnBadRecord, Operator, OperatorKind, RowFormat, StreamPlan, WatermarkDesc,
};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;
use thalweg_schema::{CsvOptions, Format, RowDecoder};
use thalweg_state::{Backend, Changelog, StoreKind, StoreSpec};
use thalweg_streams::StreamsError;
use thalweg_streams::columnar::{
    Chunk, ColumnarNode, DEFAULT_MAX_RECORD_BYTES, EventTime, ExchangeSink, ExchangeSource,
    GraphBuilder, Metadata, NodeId, OnMalformed, Outputs, Port, RowSource, RowSourceConfig,
    TableSource,
};
use thalweg_streams::task::{ProgramFactory, TaskContext, TaskId, TaskProgram};
use thalweg_streams::topology::{
    InputOrder, NodeDescription, OffsetReset, SinkSpec, SourceSpec, SubTopology, TopicRef, Topology,
};

/// Takes the chunks of a push query; called on the thread of its task.
pub trait ChunkReceiver: Send + Sync {
    /// Takes one chunk. An error stops the job.
    fn receive(&self, chunk: Chunk) -> Result<(), StreamsError>;
}

/// What a plan is lowered for.
#[derive(Clone, Default)]
pub struct LowerOptions {
    /// Stores in memory and without changelogs: an ad-hoc query leaves nothing behind.
    pub ephemeral: bool,
    /// Where the chunks of [`OperatorKind::Push`] go.
    pub receiver: Option<Arc<dyn ChunkReceiver>>,
    /// Counts the records that sources left out as malformed.
    pub skipped: Arc<AtomicU64>,
}

impl std::fmt::Debug for LowerOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LowerOptions")
            .field("ephemeral", &self.ephemeral)
            .finish_non_exhaustive()
    }
}

/// A decoder of the columns `projection` of `columns`.
pub fn decoder(
    format: &RowFormat,
    columns: &[ColumnSpec],
    projection: &[usize],
) -> Result<Box<dyn RowDecoder>, StreamsError> {
    let schema = nullable_schema(columns);
    let format = match format {
        RowFormat::View => {
            let decoder = ViewRowDecoder::new(&schema, Some(projection))
                .map_err(|error| StreamsError::node("source", error))?;
            return Ok(Box::new(decoder));
        }
        RowFormat::Json => Format::Json,
        RowFormat::Csv { delimiter, .. } => Format::Csv(CsvOptions {
            delimiter: u8::try_from(*delimiter).unwrap_or(b','),
            ..CsvOptions::default()
        }),
    };
    format
        .decoder(&schema, Some(projection))
        .map_err(|error| StreamsError::node("source", error))
}

/// The topology of a plan.
pub fn lower(plan: &StreamPlan, options: &LowerOptions) -> Result<Topology, StreamsError> {
    let mut sub_topologies = Vec::new();
    for fragment in &plan.fragments {
        let factory = FragmentFactory {
            fragment: Arc::new(fragment.clone()),
            options: options.clone(),
        };
        // What cannot be built is told now, not on a stream thread.
        factory.build()?;
        let windowed = window_stores(fragment);
        sub_topologies.push(SubTopology {
            id: fragment.id,
            sources: fragment.operators.iter().filter_map(source_spec).collect(),
            sinks: fragment.operators.iter().filter_map(sink_spec).collect(),
            stores: fragment
                .stores
                .iter()
                .map(|store| StoreSpec {
                    name: store.name.clone(),
                    kind: match windowed.get(&store.id) {
                        Some(retention) => StoreKind::Window {
                            retention: *retention,
                        },
                        None => StoreKind::KeyValue {
                            scanned: store.scanned,
                        },
                    },
                    backend: if options.ephemeral {
                        Backend::InMemory
                    } else {
                        Backend::RocksDb
                    },
                    changelog: match &store.topic {
                        _ if options.ephemeral => Changelog::None,
                        None => Changelog::Internal,
                        Some(topic) => Changelog::Topic {
                            name: topic.name.clone(),
                            written: topic.written,
                        },
                    },
                })
                .collect(),
            copartitioned: Vec::new(),
            factory: Arc::new(factory),
            description: describe(fragment),
        });
    }
    Ok(Topology { sub_topologies })
}

/// The stores whose entries lie under the end of their window, and how long these are kept:
/// expiry drops them here, and retention in the changelog.
fn window_stores(fragment: &Fragment) -> HashMap<u32, Duration> {
    let mut stores = HashMap::new();
    for operator in &fragment.operators {
        let OperatorKind::GroupAggregate(aggregate) = &operator.kind else {
            continue;
        };
        let Some(window) = &aggregate.window else {
            continue;
        };
        let retention = window.size_ms.saturating_add(window.grace_ms);
        let retention = Duration::from_millis(u64::try_from(retention).unwrap_or(0));
        let calls = aggregate.calls.iter().filter_map(|call| call.store);
        for store in calls.chain([aggregate.store]) {
            stores.insert(store, retention);
        }
    }
    stores
}

fn operator_name(operator: &Operator) -> String {
    let kind = match &operator.kind {
        OperatorKind::Source(_) => "source",
        OperatorKind::TableSource(_) => "table-source",
        OperatorKind::ExchangeSource { .. } => "exchange-source",
        OperatorKind::Filter { .. } => "filter",
        OperatorKind::Project { .. } => "project",
        OperatorKind::Hop(_) => "hop",
        OperatorKind::PartialAggregate(_) => "partial-aggregate",
        OperatorKind::GroupAggregate(_) => "group-aggregate",
        OperatorKind::ExchangeSink { .. } => "exchange-sink",
        OperatorKind::Materialize(_) => "materialize",
        OperatorKind::Sink(_) => "sink",
        OperatorKind::Push => "push",
    };
    format!("{kind}-{}", operator.id)
}

fn source_spec(operator: &Operator) -> Option<SourceSpec> {
    let idle = |watermark: &Option<WatermarkDesc>| {
        let ms = watermark.as_ref()?.idle_timeout_ms?;
        Some(Duration::from_millis(u64::try_from(ms).ok()?))
    };
    let (topic, idle_timeout) = match &operator.kind {
        OperatorKind::Source(source) => (
            TopicRef::External(source.topic.clone()),
            idle(&source.watermark),
        ),
        OperatorKind::TableSource(source) => (
            TopicRef::External(source.topic.clone()),
            idle(&source.watermark),
        ),
        OperatorKind::ExchangeSource { exchange } => (
            TopicRef::Repartition {
                name: exchange.name.clone(),
                partitions: exchange.partitions,
            },
            None,
        ),
        _ => return None,
    };
    Some(SourceSpec {
        name: operator_name(operator),
        topic,
        order: InputOrder::Free,
        idle_timeout,
        reset: OffsetReset::Earliest,
    })
}

fn sink_spec(operator: &Operator) -> Option<SinkSpec> {
    let topic = match &operator.kind {
        OperatorKind::ExchangeSink { exchange } => TopicRef::Repartition {
            name: exchange.name.clone(),
            partitions: exchange.partitions,
        },
        OperatorKind::Sink(sink) => TopicRef::External(sink.topic.clone()),
        _ => return None,
    };
    Some(SinkSpec {
        name: operator_name(operator),
        topic,
    })
}

fn describe(fragment: &Fragment) -> Vec<NodeDescription> {
    fragment
        .operators
        .iter()
        .map(|operator| {
            let (kind, detail) = match &operator.kind {
                OperatorKind::Source(source) => ("Source", vec![source.topic.clone()]),
                OperatorKind::TableSource(source) => ("Source", vec![source.topic.clone()]),
                OperatorKind::ExchangeSource { exchange } => {
                    ("Source", vec![exchange.name.clone()])
                }
                OperatorKind::ExchangeSink { exchange } => ("Sink", vec![exchange.name.clone()]),
                OperatorKind::Sink(sink) => ("Sink", vec![sink.topic.clone()]),
                _ => ("Processor", Vec::new()),
            };
            NodeDescription {
                kind: kind.into(),
                name: operator_name(operator),
                detail,
                successors: fragment
                    .operators
                    .iter()
                    .filter(|reader| reader.inputs.contains(&operator.id))
                    .map(operator_name)
                    .collect(),
            }
        })
        .collect()
}

struct FragmentFactory {
    fragment: Arc<Fragment>,
    options: LowerOptions,
}

impl ProgramFactory for FragmentFactory {
    fn create(&self, _task: TaskId) -> Result<Box<dyn TaskProgram>, StreamsError> {
        Ok(Box::new(self.build()?.build()))
    }
}

impl FragmentFactory {
    fn build(&self) -> Result<GraphBuilder, StreamsError> {
        let fragment = &self.fragment;
        let mut graph = GraphBuilder::new();
        let mut built: HashMap<u32, (NodeId, &[ColumnSpec])> = HashMap::new();
        let mut sources = 0;
        let mut sinks = 0;
        for operator in &fragment.operators {
            let name = operator_name(operator);
            let input = operator
                .inputs
                .first()
                .and_then(|id| built.get(id))
                .copied();
            let node = if operator.inputs.is_empty() {
                let index = sources;
                sources += 1;
                self.source(&mut graph, &name, operator, index)?
            } else {
                let Some((from, columns)) = input else {
                    return Err(StreamsError::Topology(format!(
                        "the plan's operator {} reads one that there is not",
                        operator.id
                    )));
                };
                let node = self.node(&name, operator, columns, sinks)?;
                if sink_spec(operator).is_some() {
                    sinks += 1;
                }
                graph.node(&name, node, &[Port::from(from)])?
            };
            built.insert(operator.id, (node, operator.columns.as_slice()));
        }
        Ok(graph)
    }

    fn store(&self, id: u32) -> Result<String, StreamsError> {
        self.fragment
            .stores
            .iter()
            .find(|store| store.id == id)
            .map(|store| store.name.clone())
            .ok_or_else(|| {
                StreamsError::Topology(format!("the plan names the store {id}, which it lacks"))
            })
    }

    fn on_malformed(&self, on_error: OnBadRecord) -> OnMalformed {
        match on_error {
            OnBadRecord::Fail => OnMalformed::Fail,
            OnBadRecord::Skip => OnMalformed::Skip(Arc::clone(&self.options.skipped)),
        }
    }

    fn row_source(
        &self,
        index: usize,
        format: &RowFormat,
        columns: &[ColumnSpec],
        projection: &[usize],
        watermark: Option<&WatermarkDesc>,
        on_error: OnBadRecord,
    ) -> Result<RowSourceConfig, StreamsError> {
        let mut decoded = projection.to_vec();
        let event_time = watermark.map(|watermark| {
            let column = decoded
                .iter()
                .position(|index| *index == watermark.column)
                .unwrap_or_else(|| {
                    decoded.push(watermark.column);
                    decoded.len() - 1
                });
            EventTime {
                column,
                delay_ms: watermark.delay_ms,
            }
        });
        Ok(RowSourceConfig {
            source: index,
            decoder: decoder(format, columns, &decoded)?,
            output: (0..projection.len()).collect(),
            event_time,
            on_malformed: self.on_malformed(on_error),
        })
    }

    fn source(
        &self,
        graph: &mut GraphBuilder,
        name: &str,
        operator: &Operator,
        index: usize,
    ) -> Result<NodeId, StreamsError> {
        Ok(match &operator.kind {
            OperatorKind::Source(source) => {
                let config = self.row_source(
                    index,
                    &source.format,
                    &source.columns,
                    &source.projection,
                    source.watermark.as_ref(),
                    source.on_error,
                )?;
                let metadata = vec![Metadata::Partition, Metadata::Offset];
                graph.source(name, Box::new(RowSource::new(config, metadata)?))
            }
            OperatorKind::TableSource(source) => {
                let config = self.row_source(
                    index,
                    &source.format,
                    &source.columns,
                    &source.projection,
                    source.watermark.as_ref(),
                    source.on_error,
                )?;
                let store = self.store(source.store)?;
                graph.source(name, Box::new(TableSource::new(config, &store)?))
            }
            OperatorKind::ExchangeSource { .. } => graph.source(
                name,
                Box::new(ExchangeSource::new(nullable_schema(&operator.columns))),
            ),
            _ => {
                return Err(StreamsError::Topology(format!(
                    "the plan's operator {} has no input",
                    operator.id
                )));
            }
        })
    }

    fn node(
        &self,
        name: &str,
        operator: &Operator,
        input: &[ColumnSpec],
        sink: usize,
    ) -> Result<Box<dyn ColumnarNode>, StreamsError> {
        let columns = operator.columns.as_slice();
        let schema = || nullable_schema(input);
        Ok(match &operator.kind {
            OperatorKind::Filter { predicate } => {
                Box::new(FilterProject::filter(name, predicate, input)?)
            }
            OperatorKind::Project { exprs } => {
                Box::new(FilterProject::project(name, exprs, input, columns)?)
            }
            OperatorKind::Hop(hop) => Box::new(Hop::new(name, hop.clone(), schema(), columns)?),
            OperatorKind::PartialAggregate(partial) => Box::new(PartialAggregate::new(
                name,
                partial.clone(),
                schema(),
                columns,
            )?),
            OperatorKind::GroupAggregate(aggregate) => {
                let stores = self
                    .fragment
                    .stores
                    .iter()
                    .map(|store| (store.id, store.name.clone()))
                    .collect();
                Box::new(GroupAggregate::new(
                    name,
                    aggregate.clone(),
                    schema(),
                    columns,
                    stores,
                )?)
            }
            OperatorKind::ExchangeSink { exchange } => Box::new(ExchangeSink::new(
                name,
                sink,
                schema(),
                exchange.keys.clone(),
                DEFAULT_MAX_RECORD_BYTES,
            )?),
            OperatorKind::Materialize(view) => Box::new(Materialize::new(
                name,
                view.clone(),
                input,
                &self.store(view.store)?,
            )?),
            OperatorKind::Sink(sink_op) => Box::new(Sink::new(name, sink_op.clone(), input, sink)?),
            OperatorKind::Push => {
                let receiver = self.options.receiver.clone().ok_or_else(|| {
                    StreamsError::Topology("a push query needs somebody to push to".into())
                })?;
                Box::new(Push {
                    input: schema(),
                    receiver,
                })
            }
            OperatorKind::Source(_)
            | OperatorKind::TableSource(_)
            | OperatorKind::ExchangeSource { .. } => {
                return Err(StreamsError::Topology(format!(
                    "the plan's operator {} is a source and has an input",
                    operator.id
                )));
            }
        })
    }
}

/// Hands chunks to a client as they come.
struct Push {
    input: arrow::datatypes::SchemaRef,
    receiver: Arc<dyn ChunkReceiver>,
}

impl ColumnarNode for Push {
    fn inputs(&self) -> Vec<arrow::datatypes::SchemaRef> {
        vec![Arc::clone(&self.input)]
    }

    fn outputs(&self) -> Vec<arrow::datatypes::SchemaRef> {
        Vec::new()
    }

    fn process(
        &mut self,
        _port: usize,
        chunk: Chunk,
        _cx: &mut TaskContext<'_>,
        _out: &mut Outputs,
    ) -> Result<(), StreamsError> {
        self.receiver.receive(chunk)
    }
}
