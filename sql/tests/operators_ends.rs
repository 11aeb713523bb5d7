//! What sinks and views write for inserts, updates, changes of the key, and deletes.

use arrow::datatypes::DataType;
use bytes::Bytes;
use std::sync::Arc;
use thalweg_schema::Format;
use thalweg_sql::operators::{Materialize, Sink, nullable_schema};
use thalweg_sql::plan::{ColumnSpec, MaterializeOp, RowFormat, SinkOp, SinkStyle};
use thalweg_state::{Changelog, StoreSpec};
use thalweg_streams::StreamsError;
use thalweg_streams::columnar::{GraphBuilder, OnMalformed, RowSourceConfig, TableSource};
use thalweg_streams::task::{ProgramFactory, TaskId, TaskProgram};
use thalweg_streams::test_driver::{RawRecord, TopologyTestDriver};
use thalweg_streams::topology::{
    InputOrder, OffsetReset, SinkSpec, SourceSpec, SubTopology, TopicRef, Topology,
};

fn columns() -> Vec<ColumnSpec> {
    vec![
        ColumnSpec::new("name", DataType::Utf8),
        ColumnSpec::new("n", DataType::Int64),
    ]
}

/// A table whose changes go into a view by name and into a sink.
struct Factory {
    format: RowFormat,
    style: SinkStyle,
}

impl ProgramFactory for Factory {
    fn create(&self, _task: TaskId) -> Result<Box<dyn TaskProgram>, StreamsError> {
        let columns = columns();
        let config = RowSourceConfig {
            source: 0,
            decoder: Format::Json
                .decoder(&nullable_schema(&columns), None)
                .unwrap(),
            output: vec![0, 1],
            event_time: None,
            on_malformed: OnMalformed::Fail,
        };
        let mut graph = GraphBuilder::new();
        let at = graph.source("table", Box::new(TableSource::new(config, "raw")?));
        let op = MaterializeOp {
            view: "view".into(),
            key: vec![0],
            store: 1,
        };
        let view = Materialize::new("view", op, &columns, "view")?;
        graph.node("view", Box::new(view), &[at.into()])?;
        let op = SinkOp {
            sink: "out".into(),
            topic: "out".into(),
            format: self.format.clone(),
            style: self.style,
            key: vec![0],
            value: vec![1, 0],
            timestamp: None,
        };
        let sink = Sink::new("sink", op, &columns, 0)?;
        graph.node("sink", Box::new(sink), &[at.into()])?;
        Ok(Box::new(graph.build()))
    }
}

fn driver(format: RowFormat, style: SinkStyle) -> TopologyTestDriver {
    let own = |topic: &str, written| Changelog::Topic {
        name: topic.to_owned(),
        written,
    };
    let store = |name: &str, changelog| StoreSpec {
        changelog,
        ..StoreSpec::key_value(name)
    };
    let sub = SubTopology {
        id: 0,
        sources: vec![SourceSpec {
            name: "table".to_owned(),
            topic: TopicRef::External("in".to_owned()),
            order: InputOrder::Free,
            idle_timeout: None,
            reset: OffsetReset::Earliest,
        }],
        sinks: vec![SinkSpec {
            name: "out".to_owned(),
            topic: TopicRef::External("out".to_owned()),
        }],
        stores: vec![
            store("raw", own("in", false)),
            store("view", own("view", true)),
        ],
        copartitioned: Vec::new(),
        description: Vec::new(),
        factory: Arc::new(Factory { format, style }),
    };
    TopologyTestDriver::new(Topology {
        sub_topologies: vec![sub],
    })
    .unwrap()
}

fn pipe(driver: &TopologyTestDriver, key: &str, value: Option<&str>) -> Result<(), StreamsError> {
    let bytes = |text: &str| Bytes::copy_from_slice(text.as_bytes());
    let record = RawRecord {
        key: Some(bytes(key)),
        value: value.map(bytes),
        ..RawRecord::default()
    };
    driver.pipe_raw("in", None, record)
}

fn read(driver: &TopologyTestDriver, topic: &str) -> Vec<String> {
    let text = |bytes: Option<Bytes>| {
        bytes.map_or("-".to_owned(), |b| {
            String::from_utf8_lossy(&b).replace(['\0', '\u{1}'], "")
        })
    };
    let records = driver.read_raw(topic).into_iter();
    records
        .map(|r| format!("{} = {}", text(r.key), text(r.value)))
        .collect()
}

#[test]
fn an_upsert_sink_writes_the_newest_row_under_its_key() {
    let driver = driver(RowFormat::Json, SinkStyle::Upsert);
    pipe(&driver, "a", Some(r#"{"name":"x","n":1}"#)).unwrap();
    pipe(&driver, "a", Some(r#"{"name":"x","n":2}"#)).unwrap();
    pipe(&driver, "a", Some(r#"{"name":"y","n":3}"#)).unwrap();
    pipe(&driver, "a", None).unwrap();
    assert_eq!(
        read(&driver, "out"),
        [
            r#"{"name":"x"} = {"n":1,"name":"x"}"#,
            r#"{"name":"x"} = {"n":2,"name":"x"}"#,
            r#"{"name":"x"} = -"#,
            r#"{"name":"y"} = {"n":3,"name":"y"}"#,
            r#"{"name":"y"} = -"#,
        ]
    );
    // The view the same, with the key in memcomparable bytes; a commit sends it sorted.
    assert_eq!(
        read(&driver, "view"),
        [
            r#"x = {"name":"x","n":1}"#,
            r#"x = {"name":"x","n":2}"#,
            "x = -",
            r#"y = {"name":"y","n":3}"#,
            "y = -",
        ]
    );
    assert!(driver.store_entries("view").unwrap().is_empty());
}

#[test]
fn csv_is_written_too() {
    let format = RowFormat::Csv {
        delimiter: ';',
        null: None,
    };
    let driver = driver(format, SinkStyle::Upsert);
    pipe(&driver, "a", Some(r#"{"name":"x;y","n":1}"#)).unwrap();
    assert_eq!(read(&driver, "out"), [r#""x;y" = 1;"x;y""#]);
}

#[test]
fn a_plain_sink_refuses_what_takes_rows_back() {
    let driver = driver(RowFormat::Json, SinkStyle::Plain);
    pipe(&driver, "a", Some(r#"{"name":"x","n":1}"#)).unwrap();
    let error = pipe(&driver, "a", None).unwrap_err().to_string();
    assert!(
        error.contains("`sink`") && error.contains("fault of the plan"),
        "{error}"
    );
}
