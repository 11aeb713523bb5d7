//! A small query, run as a stream in the test driver and as a batch in DataFusion.

#![allow(missing_docs, reason = "test support")]

mod batch;
mod events;

pub(crate) use events::{Action, Event, Query, Window};

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{DataType, Int32Type, Int64Type, Schema, TimestampMillisecondType};
use bytes::Bytes;
use events::{batch, columns, timestamp};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;
use thalweg_schema::{Format, RowDecoder};
use thalweg_sql::operators::{
    FilterProject, GroupAggregate, Hop, Materialize, PartialAggregate, Sink, ViewRowDecoder,
    ViewRowEncoder, nullable_schema, view_key_codec,
};
use thalweg_sql::plan::{
    AggregateCall, AggregateFunction, ColumnSpec, GroupAggregateOp, HopOp, MaterializeOp,
    PartialAggregateOp, RowFormat, ScalarExpr, SinkOp, SinkStyle, WindowKey,
};
use thalweg_state::{Backend, Changelog, StoreKind, StoreSpec};
use thalweg_streams::StreamsError;
use thalweg_streams::columnar::{
    DEFAULT_MAX_RECORD_BYTES, EventTime, ExchangeSink, ExchangeSource, GraphBuilder, Metadata,
    NodeId, OnMalformed, Port, RowSource, RowSourceConfig, TableSource,
};
use thalweg_streams::task::{ProgramFactory, TaskId, TaskProgram};
use thalweg_streams::test_driver::{RawRecord, TestDriverOptions, TopologyTestDriver};
use thalweg_streams::topology::{
    InputOrder, OffsetReset, SinkSpec, SourceSpec, SubTopology, TopicRef, Topology,
};

/// The calls of a query over `input`, stores numbered from `store`.
fn calls(
    query: &Query,
    input: &[ColumnSpec],
    append_only: bool,
    store: &mut u32,
) -> Vec<AggregateCall> {
    let find = |name: &str| input.iter().position(|c| c.name == name).unwrap();
    query
        .aggregates
        .iter()
        .map(|(name, text)| {
            let (text, filter) = match text.split_once(" FILTER (WHERE ") {
                Some((text, filter)) => (text, Some(find(filter.trim_end_matches(')')))),
                None => (text.as_str(), None),
            };
            let (function, argument) = text.split_once('(').unwrap();
            let argument = argument.trim_end_matches(')');
            let (distinct, argument) = match argument.strip_prefix("DISTINCT ") {
                Some(argument) => (true, argument),
                None => (false, argument),
            };
            let argument = (argument != "*").then(|| find(argument));
            let data_type = argument.map(|a| input[a].data_type.clone());
            let function = match function {
                "COUNT" => AggregateFunction::Count,
                "SUM" => AggregateFunction::Sum,
                "AVG" => AggregateFunction::Avg,
                "MIN" => AggregateFunction::Min,
                _ => AggregateFunction::Max,
            };
            let output = match (function, data_type) {
                (AggregateFunction::Count, _) | (_, None) => DataType::Int64,
                (AggregateFunction::Sum, Some(DataType::Decimal128(p, s))) => {
                    DataType::Decimal128((p + 10).min(38), s)
                }
                (AggregateFunction::Avg, Some(DataType::Decimal128(p, s))) => {
                    DataType::Decimal128((p + 4).min(38), (s + 4).min(38))
                }
                (AggregateFunction::Avg, _) => DataType::Float64,
                (_, Some(data_type)) => data_type,
            };
            let best = matches!(function, AggregateFunction::Min | AggregateFunction::Max);
            let own_store = (distinct && !best) || (best && !append_only);
            AggregateCall {
                function,
                argument,
                distinct,
                filter,
                output: ColumnSpec::new(name, output),
                store: own_store.then(|| {
                    *store += 1;
                    *store
                }),
            }
        })
        .collect()
}

/// What a query puts out.
fn results(query: &Query, input: &[ColumnSpec], calls: &[AggregateCall]) -> Vec<ColumnSpec> {
    let key = |name: &String| input.iter().find(|c| c.name == *name).unwrap().clone();
    query
        .keys
        .iter()
        .map(key)
        .chain(calls.iter().map(|c| c.output.clone()))
        .collect()
}

type Build = dyn Fn() -> Result<Box<dyn TaskProgram>, StreamsError> + Send + Sync;

struct Factory(Box<Build>);

impl ProgramFactory for Factory {
    fn create(&self, _task: TaskId) -> Result<Box<dyn TaskProgram>, StreamsError> {
        (self.0)()
    }
}

/// A query over events, perhaps another over its results.
#[derive(Debug, Clone)]
pub(crate) struct Pipeline {
    first: Query,
    second: Option<Query>,
    having: Option<String>,
    window: Option<Window>,
    partial: bool,
    alone: bool,
    through_view: bool,
}

/// What a run of the stream came to.
pub(crate) struct Outcome {
    /// The rows of the view, by column.
    pub(crate) rows: RecordBatch,
    /// How many rows were late.
    pub(crate) late: u64,
    /// Events that were taken, with the windows in which they were in time.
    taken: Vec<(Event, Option<i64>)>,
}

struct Fragment {
    graph: GraphBuilder,
    at: NodeId,
}

impl Pipeline {
    pub(crate) fn new(first: Query) -> Self {
        Self {
            first,
            second: None,
            having: None,
            window: None,
            partial: false,
            alone: false,
            through_view: false,
        }
    }

    pub(crate) fn then(mut self, second: Query) -> Self {
        self.second = Some(second);
        self
    }

    pub(crate) fn having(mut self, predicate: &str) -> Self {
        self.having = Some(predicate.to_owned());
        self
    }

    pub(crate) fn window(mut self, window: Window) -> Self {
        self.window = Some(window);
        self
    }

    /// Aggregates partially ahead of the exchange.
    pub(crate) fn partial(mut self) -> Self {
        self.partial = true;
        self
    }

    /// Without an exchange, over one partition.
    pub(crate) fn alone(mut self) -> Self {
        self.alone = true;
        self
    }

    /// Keeps the first results in a view that the second query reads.
    pub(crate) fn through_view(mut self) -> Self {
        self.through_view = true;
        self
    }

    fn input(&self) -> Vec<ColumnSpec> {
        let mut input = columns();
        input.push(ColumnSpec::new("_partition", DataType::Int32));
        input.push(ColumnSpec::new("_offset", DataType::Int64));
        if self.window.is_some() {
            input.push(ColumnSpec::new("w", timestamp()));
        }
        input
    }

    fn positions(names: &[String], columns: &[ColumnSpec]) -> Vec<usize> {
        names
            .iter()
            .map(|n| columns.iter().position(|c| c.name == *n).unwrap())
            .collect()
    }

    /// The source of events, its windows, and the partial aggregate.
    fn source(&self) -> Result<Fragment, StreamsError> {
        let schema = nullable_schema(&columns());
        let config = RowSourceConfig {
            source: 0,
            decoder: Format::Json.decoder(&schema, None).unwrap(),
            output: (0..schema.fields().len()).collect(),
            event_time: self.window.map(|w| EventTime {
                column: 0,
                delay_ms: w.delay_ms,
            }),
            on_malformed: OnMalformed::Fail,
        };
        let mut graph = GraphBuilder::new();
        let source = RowSource::new(config, vec![Metadata::Partition, Metadata::Offset])?;
        let mut at = graph.source("events", Box::new(source));
        if let Some(window) = self.window {
            let input = self.input();
            let op = HopOp {
                time: 0,
                slide_ms: window.slide_ms,
                size_ms: window.size_ms,
            };
            let schema = nullable_schema(&input[..input.len() - 1]);
            let hop = Hop::new("hop", op, schema, &input)?;
            at = graph.node("hop", Box::new(hop), &[at.into()])?;
        }
        Ok(Fragment { graph, at })
    }

    fn aggregate(&self, op_keys: Vec<usize>, partial: bool) -> (GroupAggregateOp, Vec<ColumnSpec>) {
        let input = self.input();
        let mut store = 1;
        let calls = calls(&self.first, &input, true, &mut store);
        let columns = results(&self.first, &input, &calls);
        let window = self.window.and_then(|w| {
            Some(WindowKey {
                key: self.first.keys.iter().position(|k| k == "w")?,
                until_end_ms: w.size_ms,
                size_ms: w.size_ms,
                grace_ms: w.grace_ms,
            })
        });
        let op = GroupAggregateOp {
            keys: op_keys,
            calls,
            store: 1,
            window,
            partial_input: partial,
            append_only_input: true,
        };
        (op, columns)
    }

    fn stores(op: &GroupAggregateOp, prefix: &str) -> (Vec<StoreSpec>, HashMap<u32, String>) {
        let ids: Vec<u32> = std::iter::once(op.store)
            .chain(op.calls.iter().filter_map(|c| c.store))
            .collect();
        let names: HashMap<_, _> = ids
            .iter()
            .map(|id| (*id, format!("{prefix}-{id}")))
            .collect();
        let specs = ids.iter().map(|id| match &op.window {
            Some(_) => StoreSpec::window(&names[id], Duration::from_secs(3600)),
            None => StoreSpec {
                kind: StoreKind::KeyValue { scanned: true },
                ..StoreSpec::key_value(&names[id])
            },
        });
        (specs.collect(), names)
    }

    fn partial_columns(&self) -> Vec<ColumnSpec> {
        let (op, columns) = self.aggregate(Vec::new(), false);
        let keys = self.first.keys.len();
        let mut partial = columns[..keys].to_vec();
        partial.extend(
            op.calls
                .iter()
                .map(|c| ColumnSpec::new(&c.output.name, DataType::Binary)),
        );
        partial
    }

    /// What the first exchange carries, and its key.
    fn exchanged(&self) -> (Vec<ColumnSpec>, Vec<usize>) {
        if self.partial {
            (self.partial_columns(), (0..self.first.keys.len()).collect())
        } else {
            let input = self.input();
            let keys = Self::positions(&self.first.keys, &input);
            (input, keys)
        }
    }

    fn topology(&self) -> Topology {
        let mut subs = Vec::new();
        let view_columns = self.view_columns();
        let view_keys: Vec<usize> = (0..self.last().keys.len()).collect();
        let view_store = |name: &str| StoreSpec {
            name: name.to_owned(),
            kind: StoreKind::KeyValue { scanned: true },
            backend: Backend::RocksDb,
            changelog: Changelog::Topic {
                name: name.to_owned(),
                written: true,
            },
        };
        if !self.alone {
            let me = self.clone();
            subs.push(SubTopology {
                id: 0,
                sources: vec![source("events", TopicRef::External("events".into()))],
                sinks: vec![sink(
                    "to-groups",
                    repartition("groups", self.first.keys.is_empty()),
                )],
                stores: Vec::new(),
                copartitioned: Vec::new(),
                description: Vec::new(),
                factory: Arc::new(Factory(Box::new(move || {
                    let Fragment { mut graph, mut at } = me.source()?;
                    let input = me.input();
                    if me.partial {
                        let keys = Pipeline::positions(&me.first.keys, &input);
                        let (op, _) = me.aggregate(keys.clone(), false);
                        let op = PartialAggregateOp {
                            keys,
                            calls: op.calls,
                        };
                        let node = PartialAggregate::new(
                            "partial",
                            op,
                            nullable_schema(&input),
                            &me.partial_columns(),
                        )?;
                        at = graph.node("partial", Box::new(node), &[at.into()])?;
                    }
                    let (columns, keys) = me.exchanged();
                    let schema = nullable_schema(&columns);
                    // Small records, so that chunks are split.
                    let node = ExchangeSink::new("to-groups", 0, schema, keys, 3000)?;
                    graph.node("to-groups", Box::new(node), &[at.into()])?;
                    Ok(Box::new(graph.build()))
                }))),
            });
        }
        // The first aggregate.
        let (op, results) = {
            let (columns, keys) = self.exchanged();
            let keys = if self.partial {
                (0..keys.len()).collect()
            } else {
                keys
            };
            let _ = columns;
            self.aggregate(keys, self.partial)
        };
        let (mut stores, names) = Self::stores(&op, "first");
        let last = self.second.is_none();
        let mut sinks = vec![sink("late", TopicRef::External("late".into()))];
        if last {
            stores.push(view_store("view"));
        } else if self.through_view {
            stores.push(view_store("between"));
        } else {
            let one = self.second.as_ref().is_some_and(|s| s.keys.is_empty());
            sinks.push(sink("to-second", repartition("second", one)));
        }
        let me = self.clone();
        let first_results = results.clone();
        let columns = view_columns.clone();
        let keys = view_keys.clone();
        subs.push(SubTopology {
            id: 1,
            sources: vec![if self.alone {
                source("events", TopicRef::External("events".into()))
            } else {
                source("groups", repartition("groups", self.first.keys.is_empty()))
            }],
            sinks,
            stores,
            copartitioned: Vec::new(),
            description: Vec::new(),
            factory: Arc::new(Factory(Box::new(move || {
                let results = &first_results;
                let (exchanged, _) = me.exchanged();
                let Fragment { mut graph, at } = if me.alone {
                    me.source()?
                } else {
                    let mut graph = GraphBuilder::new();
                    let source = ExchangeSource::new(nullable_schema(&exchanged));
                    let at = graph.source("groups", Box::new(source));
                    Fragment { graph, at }
                };
                let node = GroupAggregate::new(
                    "first",
                    op.clone(),
                    nullable_schema(&exchanged),
                    results,
                    names.clone(),
                )?;
                let mut at = graph.node("first", Box::new(node), &[at.into()])?;
                let late = Port {
                    node: at,
                    output: 1,
                };
                let late_op = SinkOp {
                    sink: "late".into(),
                    topic: "late".into(),
                    format: RowFormat::Json,
                    style: SinkStyle::Plain,
                    key: Vec::new(),
                    value: (0..exchanged.len()).collect(),
                    timestamp: None,
                };
                let node = Sink::new("late", late_op, &exchanged, 0)?;
                graph.node("late", Box::new(node), &[late])?;
                if me.having.is_some() {
                    // n % 2 = 1
                    let n = results.iter().position(|c| c.name == "n").unwrap();
                    let number = |n: i64| {
                        let scalar = datafusion::common::ScalarValue::Int64(Some(n));
                        Box::new(ScalarExpr::Literal(
                            thalweg_sql::plan::Literal::from_scalar(&scalar).unwrap(),
                        ))
                    };
                    let binary = |op: &str, left, right| ScalarExpr::Binary {
                        op: op.into(),
                        left,
                        right,
                    };
                    let rest = binary("%", Box::new(ScalarExpr::Column(n)), number(2));
                    let predicate = binary("=", Box::new(rest), number(1));
                    let node = FilterProject::filter("having", &predicate, results)?;
                    at = graph.node("having", Box::new(node), &[at.into()])?;
                }
                match &me.second {
                    Some(_) if me.through_view => {
                        let key = (0..me.first.keys.len()).collect();
                        let op = MaterializeOp {
                            view: "between".into(),
                            key,
                            store: 90,
                        };
                        let node = Materialize::new("between", op, results, "between")?;
                        graph.node("between", Box::new(node), &[at.into()])?;
                    }
                    Some(second) => {
                        let keys = Pipeline::positions(&second.keys, results);
                        let schema = nullable_schema(results);
                        let node = ExchangeSink::new(
                            "to-second",
                            1,
                            schema,
                            keys,
                            DEFAULT_MAX_RECORD_BYTES,
                        )?;
                        graph.node("to-second", Box::new(node), &[at.into()])?;
                    }
                    None => {
                        let op = MaterializeOp {
                            view: "view".into(),
                            key: keys.clone(),
                            store: 99,
                        };
                        let node = Materialize::new("view", op, &columns, "view")?;
                        graph.node("view", Box::new(node), &[at.into()])?;
                    }
                }
                Ok(Box::new(graph.build()))
            }))),
        });
        let Some(second) = self.second.clone() else {
            return Topology {
                sub_topologies: subs,
            };
        };
        if self.through_view {
            // The view's topic, read back as a table and sent on by the key of the second.
            let between = results.clone();
            let keys = Self::positions(&second.keys, &between);
            subs.push(SubTopology {
                id: 2,
                sources: vec![source("between", TopicRef::External("between".into()))],
                sinks: vec![sink(
                    "to-second",
                    repartition("second", second.keys.is_empty()),
                )],
                stores: vec![StoreSpec {
                    changelog: Changelog::Topic {
                        name: "between".into(),
                        written: false,
                    },
                    ..view_store("raw")
                }],
                copartitioned: Vec::new(),
                description: Vec::new(),
                factory: Arc::new(Factory(Box::new(move || {
                    let schema = nullable_schema(&between);
                    let config = RowSourceConfig {
                        source: 0,
                        decoder: Box::new(ViewRowDecoder::new(&schema, None).unwrap()),
                        output: (0..between.len()).collect(),
                        event_time: None,
                        on_malformed: OnMalformed::Fail,
                    };
                    let mut graph = GraphBuilder::new();
                    let at = graph.source("between", Box::new(TableSource::new(config, "raw")?));
                    let node = ExchangeSink::new("to-second", 0, schema, keys.clone(), 100_000)?;
                    graph.node("to-second", Box::new(node), &[at.into()])?;
                    Ok(Box::new(graph.build()))
                }))),
            });
        }
        let mut store = 1;
        let second_op = GroupAggregateOp {
            keys: Self::positions(&second.keys, &results),
            calls: calls(&second, &results, false, &mut store),
            store: 1,
            window: None,
            partial_input: false,
            append_only_input: false,
        };
        let (mut stores, names) = Self::stores(&second_op, "second");
        stores.push(view_store("view"));
        subs.push(SubTopology {
            id: 3,
            sources: vec![source(
                "second",
                repartition("second", second.keys.is_empty()),
            )],
            sinks: Vec::new(),
            stores,
            copartitioned: Vec::new(),
            description: Vec::new(),
            factory: Arc::new(Factory(Box::new(move || {
                let mut graph = GraphBuilder::new();
                let schema = nullable_schema(&results);
                let at = graph.source("second", Box::new(ExchangeSource::new(schema.clone())));
                let node = GroupAggregate::new(
                    "second",
                    second_op.clone(),
                    schema,
                    &view_columns,
                    names.clone(),
                )?;
                let at = graph.node("second", Box::new(node), &[at.into()])?;
                let op = MaterializeOp {
                    view: "view".into(),
                    key: view_keys.clone(),
                    store: 99,
                };
                let node = Materialize::new("view", op, &view_columns, "view")?;
                graph.node("view", Box::new(node), &[at.into()])?;
                Ok(Box::new(graph.build()))
            }))),
        });
        Topology {
            sub_topologies: subs,
        }
    }

    fn last(&self) -> &Query {
        self.second.as_ref().unwrap_or(&self.first)
    }

    fn view_columns(&self) -> Vec<ColumnSpec> {
        let (_, first) = self.aggregate(Vec::new(), false);
        match &self.second {
            None => first,
            Some(second) => {
                let calls = calls(second, &first, false, &mut 1);
                results(second, &first, &calls)
            }
        }
    }

    /// Runs the stream.
    pub(crate) fn stream(&self, actions: &[Action], seed: u64) -> Outcome {
        let partitions = if self.alone { 1 } else { 3 };
        let options = TestDriverOptions::new()
            .default_partitions(partitions)
            .seed(seed);
        let driver = TopologyTestDriver::with_options(self.topology(), options).unwrap();
        driver.auto_commit(false);
        let schema = nullable_schema(&columns());
        let encoder = ViewRowEncoder::new(&schema).unwrap();
        let mut events: BTreeMap<(i32, i64), Event> = BTreeMap::new();
        let mut offsets = [0i64; 3];
        for action in actions {
            match action {
                Action::Event(event) => {
                    let partition = event.partition % partitions;
                    let mut value = Vec::new();
                    let batch = batch(&[event], None);
                    encoder.rows(batch.columns()).unwrap().put(0, &mut value);
                    let record = RawRecord {
                        value: Some(Bytes::from(value)),
                        timestamp: 0,
                        ..RawRecord::default()
                    };
                    driver.pipe_raw("events", Some(partition), record).unwrap();
                    let offset = &mut offsets[partition as usize];
                    events.insert((partition, *offset), event.clone());
                    *offset += 1;
                }
                Action::Run => driver.run().unwrap(),
                Action::Restart => driver.restart().unwrap(),
                Action::Crash => driver.crash().unwrap(),
            }
        }
        driver.run().unwrap();
        driver.commit().unwrap();

        // The late ones, by the record and the window they came too late for.
        let (exchanged, _) = self.exchanged();
        let late_schema = nullable_schema(&exchanged);
        let late: Vec<Bytes> = driver
            .read_raw("late")
            .into_iter()
            .filter_map(|r| r.value)
            .collect();
        let late_rows = decode(&late_schema, &late);
        assert_eq!(driver.late_records(), late_rows.num_rows() as u64);
        let late: HashSet<(i32, i64, i64)> = (0..late_rows.num_rows())
            .map(|row| {
                let column = |name: &str| late_rows.column_by_name(name).unwrap();
                (
                    column("_partition").as_primitive::<Int32Type>().value(row),
                    column("_offset").as_primitive::<Int64Type>().value(row),
                    column("w")
                        .as_primitive::<TimestampMillisecondType>()
                        .value(row),
                )
            })
            .collect();
        let mut taken = Vec::new();
        for ((partition, offset), event) in events {
            let Some(window) = self.window else {
                taken.push((event, None));
                continue;
            };
            // Every window, one after the other: slow and plain.
            let time = event.ts.unwrap();
            let mut start =
                (time - 10 * window.size_ms).div_euclid(window.slide_ms) * window.slide_ms;
            while start <= time {
                if time < start + window.size_ms && !late.contains(&(partition, offset, start)) {
                    taken.push((event.clone(), Some(start)));
                }
                start += window.slide_ms;
            }
        }

        // The fold of the topic is what the store holds.
        let mut folded: BTreeMap<Bytes, Bytes> = BTreeMap::new();
        for record in driver.read_raw("view") {
            match record.value {
                Some(value) => folded.insert(record.key.unwrap(), value),
                None => folded.remove(&record.key.unwrap()),
            };
        }
        let stored: BTreeMap<_, _> = driver.store_entries("view").unwrap().into_iter().collect();
        assert_eq!(folded, stored);
        let columns = self.view_columns();
        let values: Vec<Bytes> = stored.values().cloned().collect();
        let rows = decode(&nullable_schema(&columns), &values);
        // And each row lies under its own key.
        let keys: Vec<usize> = (0..self.last().keys.len()).collect();
        let codec = view_key_codec(&columns, &keys).unwrap();
        let key_columns = codec.decode(stored.keys().map(|k| k.as_ref())).unwrap();
        assert_eq!(key_columns, rows.columns()[..keys.len()]);
        Outcome {
            rows,
            late: late.len() as u64,
            taken,
        }
    }
}

fn source(name: &str, topic: TopicRef) -> SourceSpec {
    SourceSpec {
        name: name.to_owned(),
        topic,
        order: InputOrder::Free,
        idle_timeout: None,
        reset: OffsetReset::Earliest,
    }
}

fn sink(name: &str, topic: TopicRef) -> SinkSpec {
    SinkSpec {
        name: name.to_owned(),
        topic,
    }
}

fn repartition(name: &str, one: bool) -> TopicRef {
    TopicRef::Repartition {
        name: name.to_owned(),
        partitions: Some(if one { 1 } else { 3 }),
    }
}

fn decode(schema: &Arc<Schema>, values: &[Bytes]) -> RecordBatch {
    let values: Vec<&[u8]> = values.iter().map(|v| v.as_ref()).collect();
    let decoded = ViewRowDecoder::new(schema, None).unwrap().decode(&values);
    assert!(decoded.errors.is_empty(), "{:?}", decoded.errors);
    decoded.batch
}
