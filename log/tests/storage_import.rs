//! Topics that Apache Kafka 4.3.0 wrote (`golden/kafka-4.3`) are taken over and read.
//!
//! Each of the two topics was written with every codec in turn: six records with headers of which
//! the last is a tombstone, a transaction of three that was committed, and one that was aborted;
//! segments roll by time. `kafka-compacted` was compacted by Kafka's cleaner.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use thalweg_log::broker::{Broker, BrokerConfig, ImportTopicError};
use thalweg_log::record::{Record, batches};
use thalweg_log::storage::{
    FetchIsolation, ImportError, ImportPlan, LogConfig, LogManager, LogManagerConfig, PartitionLog,
};

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/kafka-4.3")
}

/// What a reader of committed records is shown.
fn committed(log: &PartitionLog) -> Vec<Record> {
    let (mut found, mut offset) = (Vec::new(), log.log_start_offset());
    loop {
        let data = log
            .read(offset, 500, true, FetchIsolation::TxnCommitted)
            .unwrap();
        if data.records.is_empty() {
            return found;
        }
        for batch in batches(data.records.clone()) {
            let batch = batch.unwrap();
            let aborted = data.aborted.iter().any(|txn| {
                txn.producer_id == batch.producer_id
                    && txn.first_offset <= batch.base_offset
                    && txn.last_offset > batch.last_offset()
            });
            let undone = batch.is_transactional() && aborted;
            if !batch.is_control() && !undone {
                found.extend(batch.records().unwrap().map(Result::unwrap));
            }
        }
        offset = data.next_offset;
    }
}

fn by_key(records: &[Record]) -> BTreeMap<String, String> {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let mut found = BTreeMap::new();
    for record in records {
        let key = text(record.key.as_ref().unwrap());
        match &record.value {
            Some(value) => drop(found.insert(key, text(value))),
            None => drop(found.remove(&key)),
        }
    }
    found
}

fn import(manager: &LogManager, topic: &str) -> (ImportPlan, std::sync::Arc<PartitionLog>) {
    let plan = ImportPlan::read(&golden(), Some(topic)).unwrap();
    let config = LogConfig::default()
        .with([("retention.ms", "-1"), ("cleanup.policy", "compact")])
        .unwrap();
    let id = plan.topic_id.unwrap();
    let logs = plan.run(manager, topic, id, &config, 0).unwrap();
    (plan, std::sync::Arc::clone(&logs[0]))
}

#[test]
fn a_topic_is_read_as_kafka_wrote_it() {
    let dir = tempfile::tempdir().unwrap();
    let manager = LogManager::open(LogManagerConfig::new(dir.path(), 1), 0).unwrap();
    let (plan, log) = import(&manager, "kafka-plain");
    assert!(!plan.partitions[0].compacted);
    assert!(log.segment_count() >= 5);
    let records = committed(&log);
    assert_eq!(records.len(), 5 * 9);
    let text = |n: usize| String::from_utf8(records[n].value.clone().unwrap().to_vec()).unwrap();
    for (at, codec) in ["none", "gzip", "snappy", "lz4", "zstd"].iter().enumerate() {
        let (first, made) = (at * 9, at * 10);
        // The tombstone has a number too, and so has the aborted record.
        assert_eq!(text(first), format!("{codec} value {}", at * 9));
        assert!(records[first + 5].value.is_none());
        assert_eq!(&*records[first].headers[0].key, b"h");
        assert!(text(first + 6).starts_with("committed"), "{made}");
    }
    // Everything is found again after a crash, and by another process.
    drop(manager);
    let manager = LogManager::open(LogManagerConfig::new(dir.path(), 1), 0).unwrap();
    assert!(manager.failed().is_empty(), "{:?}", manager.failed());
    let log = manager.get("kafka-plain", 0).unwrap();
    assert_eq!(committed(&log), records);
    assert_eq!(log.log_end_offset(), plan.partitions[0].log_end_offset);
    assert_eq!(log.topic_id(), plan.topic_id.unwrap());
}

#[test]
fn gaps_of_kafkas_compaction_are_known_and_compacted_further() {
    let dir = tempfile::tempdir().unwrap();
    let manager = LogManager::open(LogManagerConfig::new(dir.path(), 1), 0).unwrap();
    let (plan, log) = import(&manager, "kafka-compacted");
    assert!(plan.partitions[0].compacted);
    let expected = by_key(&committed(&log));
    assert_eq!(expected.len(), 6);
    let now = 1_800_000_000_000;
    while manager.compact_dirtiest(now).is_some() {}
    assert_eq!(manager.uncleanable(), []);
    assert_eq!(by_key(&committed(&log)), expected);
    // Opened with the settings of a topic that is not compacted.
    manager.close().unwrap();
    drop(manager);
    let manager = LogManager::open(LogManagerConfig::new(dir.path(), 1), 0).unwrap();
    assert!(manager.failed().is_empty(), "{:?}", manager.failed());
    let log = manager.get("kafka-compacted", 0).unwrap();
    assert_eq!(by_key(&committed(&log)), expected);
}

#[test]
fn what_cannot_be_taken_over_is_told_and_nothing_is_left() {
    let scratch = tempfile::tempdir().unwrap();
    let copy = |change: &dyn Fn(&Path)| {
        let folder = scratch.path().join("kafka-plain-0");
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir(&folder).unwrap();
        for entry in std::fs::read_dir(golden().join("kafka-plain-0")).unwrap() {
            let entry = entry.unwrap();
            std::fs::copy(entry.path(), folder.join(entry.file_name())).unwrap();
        }
        change(&folder);
        ImportPlan::read(&folder, None)
    };
    let first = "00000000000000000000.log";
    let plan = copy(&|_| ()).unwrap();
    assert_eq!(
        (plan.topic.as_str(), plan.partitions.len()),
        ("kafka-plain", 1)
    );
    let damaged = copy(&|folder| {
        let mut bytes = std::fs::read(folder.join(first)).unwrap();
        bytes[100] ^= 1;
        std::fs::write(folder.join(first), bytes).unwrap();
    });
    assert!(
        matches!(damaged, Err(ImportError::Damaged { .. })),
        "{damaged:?}"
    );
    let torn = copy(&|folder| {
        let bytes = std::fs::read(folder.join(first)).unwrap();
        std::fs::write(folder.join(first), &bytes[..bytes.len() - 1]).unwrap();
    });
    assert!(matches!(torn, Err(ImportError::Damaged { .. })), "{torn:?}");
    for magic in [0, 1] {
        let old = copy(&|folder| {
            let mut bytes = std::fs::read(folder.join(first)).unwrap();
            bytes[16] = magic;
            std::fs::write(folder.join(first), bytes).unwrap();
        });
        let error = old.unwrap_err();
        assert!(matches!(error, ImportError::OldFormat { .. }), "{error}");
        assert!(error.to_string().contains("0.11"), "{error}");
    }
    let swap = copy(&|folder| {
        std::fs::write(folder.join(format!("{first}.swap")), "").unwrap();
    });
    assert!(matches!(swap, Err(ImportError::NotClosed(_))), "{swap:?}");
    assert!(matches!(
        ImportPlan::read(&golden(), Some("nothing")),
        Err(ImportError::NothingFound { .. })
    ));
    assert!(matches!(
        ImportPlan::read(&golden(), None),
        Err(ImportError::SeveralTopics { .. })
    ));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_takes_a_topic_over_and_serves_it() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(BrokerConfig::new(dir.path())).await.unwrap();
    let source = golden();
    let done = broker
        .import_topic(
            &source,
            Some("kafka-plain"),
            Some("mine"),
            vec![("retention.ms".into(), "-1".into())],
        )
        .await
        .unwrap();
    assert_eq!(done.topic, "mine");
    assert_eq!(Some(done.topic_id), done.plan.topic_id);
    let again = broker
        .import_topic(&source, Some("kafka-plain"), Some("mine"), vec![])
        .await;
    assert!(
        matches!(again, Err(ImportTopicError::Exists(_))),
        "{again:?}"
    );
    broker.shutdown().await;
    drop(broker);
    let broker = Broker::start(BrokerConfig::new(dir.path())).await.unwrap();
    broker.shutdown().await;
    drop(broker);
    let manager = LogManager::open(LogManagerConfig::new(dir.path(), 1), 0).unwrap();
    let log = manager.get("mine", 0).unwrap();
    assert_eq!(committed(&log).len(), 45);
}
