//! From a file through a topic into a file, with crashes on the way: each record once and,
//! within a partition, in order.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::{DataType, Field, Schema};
use thalweg_connectors::{
    ConnectorState, FileSink, FileSinkConfig, FileSource, FileSourceConfig, SinkTask, SourceTask,
    run_sink, run_source,
};
use thalweg_log::broker::{Broker, BrokerConfig};
use thalweg_log::client::{Client, ClientConfig, NewTopic};
use thalweg_schema::{CsvOptions, Format};
use tokio::runtime::Runtime;

const RECORDS: usize = 30_000;
const TOPIC: &str = "clicks";

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
}

fn client(broker: &Broker) -> Client {
    Client::with_transport(broker.transport(), ClientConfig::default())
}

fn source(path: &Path) -> SourceTask {
    let schema = Arc::new(Schema::new(vec![
        Field::new("item", DataType::Utf8, true),
        Field::new("number", DataType::Int64, true),
    ]));
    let mut config = FileSourceConfig::new(path, Format::Csv(CsvOptions::default()), schema);
    config.key = Some(0);
    SourceTask {
        name: "clicks-from-file".to_owned(),
        topic: TOPIC.to_owned(),
        connector: Box::new(FileSource::new(config)),
    }
}

fn sink(path: &Path) -> SinkTask {
    SinkTask {
        name: "clicks-to-file".to_owned(),
        topic: TOPIC.to_owned(),
        connector: Box::new(FileSink::new(FileSinkConfig {
            path: path.to_owned(),
        })),
    }
}

#[test]
fn each_record_arrives_once_and_in_order_through_crashes() {
    let folder = tempfile::tempdir().unwrap();
    let input = folder.path().join("clicks.csv");
    let output = folder.path().join("out.csv");
    let mut text = String::from("item,number\n");
    for number in 0..RECORDS {
        writeln!(text, "item-{},{number}", number % 50).unwrap();
    }
    std::fs::write(&input, text).unwrap();

    let main = runtime();
    let broker = main
        .block_on(Broker::start(BrokerConfig::new(folder.path().join("log"))))
        .unwrap();
    main.block_on(
        client(&broker)
            .admin()
            .create_topic(NewTopic::new(TOPIC).partitions(3)),
    )
    .unwrap();

    // A runtime that is shut down drops its tasks wherever they are, as a crash does. What it
    // has begun with a file is waited for: a process that has crashed writes no more either.
    for crash_after in [1, 9_000, 20_000] {
        let life = runtime();
        life.block_on(async {
            let running = run_source(client(&broker), source(&input));
            let sinking = run_sink(client(&broker), sink(&output));
            let mut status = running.watch();
            let seen = status.wait_for(|s| s.records >= crash_after || s.state.is_final());
            drop(seen.await.unwrap());
            // Neither is told to stop: the crash comes first.
            std::mem::forget((running, sinking));
        });
        life.shutdown_timeout(Duration::from_secs(30));
    }

    main.block_on(async {
        let running = run_source(client(&broker), source(&input));
        assert_eq!(running.settled().await.state, ConnectorState::Finished);
        let sinking = run_sink(client(&broker), sink(&output));
        let mut status = sinking.watch();
        // Idle behind everything that the topic holds.
        while read(&output).len() < RECORDS {
            assert!(!sinking.status().state.is_final(), "{:?}", sinking.status());
            status.changed().await.unwrap();
        }
        sinking.stop().await.unwrap();
        broker.shutdown().await;
    });

    let mut numbers = read(&output);
    let mut by_item: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for (item, number) in &numbers {
        by_item.entry(item.clone()).or_default().push(*number);
    }
    for (item, numbers) in &by_item {
        assert!(numbers.is_sorted(), "{item} is out of order");
    }
    numbers.sort_by_key(|(_, number)| *number);
    let numbers: Vec<usize> = numbers.into_iter().map(|(_, number)| number).collect();
    assert_eq!(numbers, (0..RECORDS).collect::<Vec<_>>());
}

/// The whole lines of the output so far.
fn read(path: &Path) -> Vec<(String, usize)> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.split_inclusive('\n')
        .filter_map(|line| line.strip_suffix('\n')?.split_once(','))
        .map(|(item, number)| (item.to_owned(), number.parse().unwrap()))
        .collect()
}

#[test]
fn a_malformed_record_ends_the_source_and_says_where() {
    let folder = tempfile::tempdir().unwrap();
    let input = folder.path().join("clicks.csv");
    std::fs::write(&input, "item,number\na,1\nb,two\n").unwrap();
    let main = runtime();
    main.block_on(async {
        let broker = Broker::start(BrokerConfig::new(folder.path().join("log")))
            .await
            .unwrap();
        let client = client(&broker);
        client
            .admin()
            .create_topic(NewTopic::new(TOPIC).partitions(1))
            .await
            .unwrap();
        let running = run_source(client, source(&input));
        let settled = tokio::time::timeout(Duration::from_secs(60), running.settled())
            .await
            .unwrap();
        assert_eq!(settled.state, ConnectorState::Failed);
        assert_eq!(settled.records, 1, "what came before the fault is written");
        let error = settled.last_error.unwrap();
        assert!(error.contains("clicks.csv, line 3"), "{error}");
        broker.shutdown().await;
    });
}
