//! Graphs in the test driver: what sources put out, and what nodes are told when.

use super::*;
use crate::StreamsError;
use crate::task::{ProgramFactory, Progress, TaskContext, TaskId, TaskProgram};
use crate::test_driver::{RawRecord, TestDriverOptions, TopologyTestDriver};
use crate::topology::{
    InputOrder, OffsetReset, SinkSpec, SourceSpec, SubTopology, TopicRef, Topology,
};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use arrow::util::display::array_value_to_string;
use bytes::Bytes;
use std::sync::{Arc, Mutex};
use thalweg_schema::Format;
use thalweg_state::{Changelog, StoreSpec};

type Log = Arc<Mutex<Vec<String>>>;

/// Writes down what it is handed.
struct Probe {
    schema: SchemaRef,
    log: Log,
}

impl Probe {
    fn say(&self, line: String) {
        self.log.lock().unwrap().push(line);
    }
}

impl ColumnarNode for Probe {
    fn inputs(&self) -> Vec<SchemaRef> {
        vec![self.schema.clone()]
    }

    fn outputs(&self) -> Vec<SchemaRef> {
        Vec::new()
    }

    fn process(
        &mut self,
        _port: usize,
        chunk: Chunk,
        _cx: &mut TaskContext<'_>,
        _out: &mut Outputs,
    ) -> Result<(), StreamsError> {
        for row in 0..chunk.num_rows() {
            let sign = match chunk.op(row) {
                RowOp::Insert => "+",
                RowOp::Delete => "-",
                RowOp::UpdateBefore => "<",
                RowOp::UpdateAfter => ">",
            };
            let text = |c: &arrow::array::ArrayRef| array_value_to_string(c, row).unwrap();
            let values: Vec<_> = chunk.batch().columns().iter().map(text).collect();
            self.say(format!("{sign} {}", values.join(" ")));
        }
        self.say(format!("chunk of {}", chunk.num_rows()));
        Ok(())
    }

    fn on_watermark(
        &mut self,
        watermark: i64,
        _cx: &mut TaskContext<'_>,
        _out: &mut Outputs,
    ) -> Result<Progress, StreamsError> {
        self.say(format!("watermark {watermark}"));
        Ok(Progress::Done)
    }
}

struct Factory<F>(F);

impl<F> ProgramFactory for Factory<F>
where
    F: Fn() -> Result<GraphBuilder, StreamsError> + Send + Sync,
{
    fn create(&self, _task: TaskId) -> Result<Box<dyn TaskProgram>, StreamsError> {
        Ok(Box::new((self.0)()?.build()))
    }
}

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("v", DataType::Int64, true),
        Field::new("ts", DataType::Timestamp(TimeUnit::Millisecond, None), true),
    ]))
}

fn config(on_malformed: OnMalformed, timed: bool) -> RowSourceConfig {
    RowSourceConfig {
        source: 0,
        decoder: Format::Json.decoder(&schema(), None).unwrap(),
        output: vec![0],
        event_time: timed.then_some(EventTime {
            column: 1,
            delay_ms: 10,
        }),
        on_malformed,
    }
}

fn source(topic: TopicRef) -> SourceSpec {
    SourceSpec {
        name: "source".to_owned(),
        topic,
        order: InputOrder::Free,
        idle_timeout: None,
        reset: OffsetReset::Earliest,
    }
}

fn sub(
    id: u32,
    topic: TopicRef,
    sinks: Vec<SinkSpec>,
    stores: Vec<StoreSpec>,
    build: impl Fn() -> Result<GraphBuilder, StreamsError> + Send + Sync + 'static,
) -> SubTopology {
    SubTopology {
        id,
        sources: vec![source(topic)],
        sinks,
        stores,
        copartitioned: Vec::new(),
        description: Vec::new(),
        factory: Arc::new(Factory(build)),
    }
}

fn driver(subs: Vec<SubTopology>, partitions: i32) -> TopologyTestDriver {
    let options = TestDriverOptions::new().default_partitions(partitions);
    let driver = TopologyTestDriver::with_options(
        Topology {
            sub_topologies: subs,
        },
        options,
    )
    .unwrap();
    driver.auto_commit(false);
    driver
}

fn pipe(driver: &TopologyTestDriver, partition: i32, key: Option<&str>, value: Option<&str>) {
    let bytes = |text: &str| Bytes::copy_from_slice(text.as_bytes());
    let record = RawRecord {
        key: key.map(bytes),
        value: value.map(bytes),
        ..RawRecord::default()
    };
    driver.pipe_raw("in", Some(partition), record).unwrap();
}

fn take(log: &Log) -> Vec<String> {
    std::mem::take(&mut log.lock().unwrap())
}

fn rows(on_malformed: OnMalformed, log: &Log) -> TopologyTestDriver {
    let log = Arc::clone(log);
    let build = move || {
        let mut graph = GraphBuilder::new();
        let metadata = vec![Metadata::Partition, Metadata::Offset];
        let source = RowSource::new(config(on_malformed.clone(), true), metadata)?;
        let schema = source.output();
        let at = graph.source("rows", Box::new(source));
        let probe = Probe {
            schema,
            log: Arc::clone(&log),
        };
        graph.node("probe", Box::new(probe), &[at.into()])?;
        Ok(graph)
    };
    let topic = TopicRef::External("in".to_owned());
    driver(vec![sub(0, topic, Vec::new(), Vec::new(), build)], 1)
}

#[test]
fn rows_come_before_the_watermark_they_raise() {
    let log = Log::default();
    let driver = rows(OnMalformed::Fail, &log);
    pipe(&driver, 0, None, Some(r#"{"v":1,"ts":100}"#));
    pipe(&driver, 0, None, Some(r#"{"v":2,"ts":50}"#));
    driver.run().unwrap();
    // Few rows wait for more, until a watermark or a commit is due.
    assert_eq!(
        take(&log),
        ["+ 1 0 0", "+ 2 0 1", "chunk of 2", "watermark 90"]
    );
    pipe(&driver, 0, None, Some(r#"{"v":3,"ts":null}"#));
    driver.run().unwrap();
    assert!(take(&log).is_empty());
    driver.commit().unwrap();
    assert_eq!(take(&log), ["+ 3 0 2", "chunk of 1"]);
    // An older time does not let it fall.
    pipe(&driver, 0, None, Some(r#"{"v":4,"ts":60}"#));
    driver.commit().unwrap();
    assert_eq!(take(&log), ["+ 4 0 3", "chunk of 1"]);
}

#[test]
fn a_malformed_record_is_skipped_or_fails_with_its_place() {
    let log = Log::default();
    let count = Arc::default();
    let driver = rows(OnMalformed::Skip(Arc::clone(&count)), &log);
    let values = [
        Some(r#"{"v":1}"#),
        Some("{"),
        None,
        Some(r#"{"v":"x"}"#),
        Some(r#"{"v":2}"#),
    ];
    values.iter().for_each(|v| pipe(&driver, 0, None, *v));
    driver.commit().unwrap();
    // The offset is that of the record, not of the row.
    assert_eq!(take(&log), ["+ 1 0 0", "+ 2 0 4", "chunk of 2"]);
    assert_eq!(count.load(std::sync::atomic::Ordering::Relaxed), 2);
    assert_eq!(driver.skipped_records(), 2);

    let driver = rows(OnMalformed::Fail, &log);
    values.iter().for_each(|v| pipe(&driver, 0, None, *v));
    let error = driver.commit().unwrap_err().to_string();
    assert!(error.contains("in-0 at offset 1"), "{error}");
}

#[test]
fn a_table_puts_out_what_changes() {
    let log = Log::default();
    let probe_log = Arc::clone(&log);
    let build = move || {
        let mut graph = GraphBuilder::new();
        let source = TableSource::new(config(OnMalformed::Skip(Arc::default()), false), "raw")?;
        let schema = source.output();
        let at = graph.source("table", Box::new(source));
        let probe = Probe {
            schema,
            log: Arc::clone(&probe_log),
        };
        graph.node("probe", Box::new(probe), &[at.into()])?;
        Ok(graph)
    };
    let store = StoreSpec {
        changelog: Changelog::Topic {
            name: "in".to_owned(),
            written: false,
        },
        ..StoreSpec::key_value("raw")
    };
    let topic = TopicRef::External("in".to_owned());
    let driver = driver(vec![sub(0, topic, Vec::new(), vec![store], build)], 1);
    pipe(&driver, 0, Some("a"), Some(r#"{"v":1}"#));
    pipe(&driver, 0, Some("b"), Some(r#"{"v":2}"#));
    pipe(&driver, 0, Some("a"), Some(r#"{"v":3}"#));
    pipe(&driver, 0, Some("b"), Some(r#"{"v":2}"#)); // the same again
    pipe(&driver, 0, Some("c"), None); // was never there
    pipe(&driver, 0, None, Some(r#"{"v":9}"#)); // no key
    driver.commit().unwrap();
    assert_eq!(take(&log), ["+ 1", "+ 2", "< 1", "> 3", "chunk of 4"]);
    driver.restart().unwrap();
    pipe(&driver, 0, Some("a"), Some("oops")); // stands for no row
    pipe(&driver, 0, Some("b"), Some(r#"{"v":5}"#));
    pipe(&driver, 0, Some("b"), None);
    driver.commit().unwrap();
    assert_eq!(take(&log), ["- 3", "< 2", "> 5", "- 5", "chunk of 4"]);
    driver.restart().unwrap();
    pipe(&driver, 0, Some("a"), Some(r#"{"v":4}"#));
    driver.commit().unwrap();
    assert_eq!(take(&log), ["+ 4", "chunk of 1"]);
    assert_eq!(driver.skipped_records(), 2);
}

#[test]
fn an_exchange_brings_equal_keys_together_and_takes_the_least_watermark_along() {
    let log = Log::default();
    let probe_log = Arc::clone(&log);
    let repartition = || TopicRef::Repartition {
        name: "by-v".to_owned(),
        partitions: Some(2),
    };
    let there = move || {
        let mut graph = GraphBuilder::new();
        let source = RowSource::new(config(OnMalformed::Fail, true), vec![Metadata::Partition])?;
        let schema = source.output();
        let at = graph.source("rows", Box::new(source));
        let sink = ExchangeSink::new("exchange", 0, schema, vec![0], 600)?;
        graph.node("exchange", Box::new(sink), &[at.into()])?;
        Ok(graph)
    };
    let here = move || {
        let mut graph = GraphBuilder::new();
        let fields = vec![
            Field::new("v", DataType::Int64, true),
            Field::new("_partition", DataType::Int32, false),
        ];
        let source = ExchangeSource::new(Arc::new(Schema::new(fields)));
        let schema = source.output();
        let at = graph.source("exchange", Box::new(source));
        let probe = Probe {
            schema,
            log: Arc::clone(&probe_log),
        };
        graph.node("probe", Box::new(probe), &[at.into()])?;
        Ok(graph)
    };
    let sink = SinkSpec {
        name: "exchange".to_owned(),
        topic: repartition(),
    };
    let subs = vec![
        sub(
            0,
            TopicRef::External("in".to_owned()),
            vec![sink],
            Vec::new(),
            there,
        ),
        sub(1, repartition(), Vec::new(), Vec::new(), here),
    ];
    let driver = driver(subs, 2);
    for v in 0..200 {
        pipe(
            &driver,
            v % 2,
            None,
            Some(&format!(r#"{{"v":{},"ts":{}}}"#, v / 4, 1000 + v)),
        );
    }
    driver.commit().unwrap();
    let lines = take(&log);
    let rows: Vec<_> = lines.iter().filter(|l| l.starts_with('+')).collect();
    assert_eq!(rows.len(), 200);
    // Both tasks hear of the slower of the two partitions: 1198 - 10.
    let told: Vec<_> = lines
        .iter()
        .filter(|l| l.starts_with("watermark"))
        .collect();
    assert!(
        told.iter().all(|l| *l <= &"watermark 1188".to_owned()),
        "{told:?}"
    );
    assert_eq!(
        told.iter().filter(|l| **l == "watermark 1188").count(),
        2,
        "{told:?}"
    );
    // Equal keys come out in one stretch of chunks, as the tasks run one after the other.
    let task_of = |line: &String| {
        let v: usize = line.split(' ').nth(1).unwrap().parse().unwrap();
        let mut key = vec![1];
        key.extend_from_slice(&((v as i64) ^ i64::MIN).to_be_bytes());
        crate::task::partition_for_key(&key, 2)
    };
    let first: Vec<_> = rows.iter().take_while(|r| task_of(r) == 0).collect();
    assert!(!first.is_empty() && first.len() < 200);
    assert!(rows.iter().skip(first.len()).all(|r| task_of(r) == 1));
}

#[test]
fn what_does_not_fit_together_is_refused() {
    let mut graph = GraphBuilder::new();
    let source = RowSource::new(config(OnMalformed::Fail, false), Vec::new()).unwrap();
    let at = graph.source("rows", Box::new(source));
    let probe = || {
        Box::new(Probe {
            schema: schema(),
            log: Log::default(),
        })
    };
    let error = graph
        .node("probe", probe(), &[at.into()])
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("`probe` wants (v Int64, ts Timestamp"),
        "{error}"
    );
    let error = graph.node("probe", probe(), &[]).unwrap_err().to_string();
    assert!(error.contains("reads 1 inputs but is given 0"), "{error}");
    let none = Port {
        node: at,
        output: 1,
    };
    assert!(graph.node("probe", probe(), &[none]).is_err());
    let wrong = RowSourceConfig {
        event_time: Some(EventTime {
            column: 0,
            delay_ms: 0,
        }),
        ..config(OnMalformed::Fail, false)
    };
    let error = RowSource::new(wrong, Vec::new()).err().unwrap().to_string();
    assert!(
        error.contains("must be a TIMESTAMP column, not `v` of type Int64"),
        "{error}"
    );
}
