//! What the tests of storage share: a scratch folder in memory, a log, and batches for it.

#![allow(dead_code, reason = "not every test uses all of it")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use thalweg_log::record::{BatchBuilder, Compression};
use thalweg_log::storage::{
    AppendInfo, AppendOrigin, LogConfig, LogManager, LogManagerConfig, Marker, PartitionLog,
    TxnOutcome, Verification,
};

/// The id of the one topic, `t`.
pub(crate) const TOPIC_ID: uuid::Uuid = uuid::Uuid::from_u128(7);

/// A folder that is gone after the test; in memory where there is some.
pub(crate) fn scratch() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() {
        tempfile::tempdir_in(memory)
    } else {
        tempfile::tempdir()
    }
    .unwrap()
}

/// Settings on top of Kafka's defaults.
pub(crate) fn config(pairs: &[(&str, &str)]) -> LogConfig {
    LogConfig::default().with(pairs.iter().copied()).unwrap()
}

/// Opens a folder; nothing is done in the background but what a tick does.
pub(crate) fn open(dir: &Path, config: &LogConfig) -> LogManager {
    open_with(dir, config, |_| ())
}

/// As [`open`], with other options.
pub(crate) fn open_with(
    dir: &Path,
    config: &LogConfig,
    options: impl FnOnce(&mut LogManagerConfig),
) -> LogManager {
    let mut opened = LogManagerConfig::new(dir, 1);
    opened.recovery_threads = 1;
    opened.defaults = config.clone();
    opened.checkpoint_interval_ms = 0;
    opened.retention_check_interval_ms = i64::MAX;
    options(&mut opened);
    let manager = LogManager::open(opened, 0).unwrap();
    assert!(manager.failed().is_empty(), "{:?}", manager.failed());
    manager
}

/// Partition 0 of the topic.
pub(crate) fn log_of(manager: &LogManager, config: &LogConfig) -> Arc<PartitionLog> {
    manager
        .get_or_create("t", 0, TOPIC_ID, config.clone(), 0)
        .unwrap()
}

/// A batch of records with these keys and values, of one timestamp.
pub(crate) fn batch(timestamp: i64, records: &[(Option<&str>, Option<&str>)]) -> Bytes {
    let mut builder = BatchBuilder::new(Compression::None);
    for (key, value) in records {
        let (key, value) = (key.map(str::as_bytes), value.map(str::as_bytes));
        builder.append(timestamp, key, value, &[]).unwrap();
    }
    builder.build().unwrap()
}

/// Appends a batch of one record.
pub(crate) fn put(log: &PartitionLog, timestamp: i64, key: &str, value: &str) -> AppendInfo {
    let bytes = batch(timestamp, &[(Some(key), Some(value))]);
    log.append(bytes, 0, AppendOrigin::Client, timestamp)
        .unwrap()
}

/// The files of the one log whose names end so.
pub(crate) fn files(dir: &Path, suffix: &str) -> BTreeSet<PathBuf> {
    std::fs::read_dir(dir.join("t-0"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.to_str().unwrap().ends_with(suffix))
        .collect()
}

/// The base offset of the last segment, its file and the size of that.
pub(crate) fn last_segment(dir: &Path) -> (i64, PathBuf, u64) {
    let last = files(dir, ".log").into_iter().next_back().unwrap();
    let base = last.file_stem().unwrap().to_str().unwrap().parse().unwrap();
    let len = std::fs::metadata(&last).unwrap().len();
    (base, last, len)
}

/// Cuts a file off, as a power cut may.
pub(crate) fn cut_file(path: &Path, len: u64) {
    let file = std::fs::File::options().write(true).open(path).unwrap();
    file.set_len(len).unwrap();
}

fn put_as(log: &PartitionLog, epoch: i32, producer: Option<(i64, i32, bool)>, keys: &[&str]) {
    let mut builder = BatchBuilder::new(Compression::None);
    if let Some((id, sequence, transactional)) = producer {
        builder
            .producer(id, 0, sequence)
            .transactional(transactional);
    }
    let now = 1000 + log.log_end_offset();
    for key in keys {
        let value = format!("{key} at {now}");
        builder
            .append(now, Some(key.as_bytes()), Some(value.as_bytes()), &[])
            .unwrap();
    }
    let (bytes, origin) = (builder.build().unwrap(), AppendOrigin::Client);
    log.append_verified(bytes, epoch, origin, now, Verification::Off)
        .unwrap();
}

fn end_txn(log: &PartitionLog, epoch: i32, producer_id: i64, outcome: TxnOutcome) {
    let marker = Marker {
        producer_id,
        producer_epoch: 0,
        coordinator_epoch: 3,
        outcome,
    };
    log.append_marker(marker, 1, epoch, 1000 + log.log_end_offset())
        .unwrap();
}

/// Appends records of producers of every kind, in three epochs: plain, idempotent, committed, aborted,
/// and of a transaction that stays open.
pub(crate) fn history(log: &PartitionLog) {
    let mut sequences = BTreeMap::<i64, i32>::new();
    let mut next = |id: i64, count: i32| {
        let sequence = sequences.entry(id).or_default();
        *sequence += count;
        *sequence - count
    };
    for round in 0..6 {
        let epoch = [0, 0, 2, 2, 5, 5][round];
        put_as(log, epoch, None, &["a", "b"]);
        put_as(log, epoch, Some((1, next(1, 1), false)), &["c"]);
        put_as(log, epoch, Some((2, next(2, 2), true)), &["d", "e"]);
        put_as(log, epoch, Some((3, next(3, 1), true)), &["f"]);
        end_txn(log, epoch, 3, TxnOutcome::Abort);
        put_as(log, epoch, Some((3, next(3, 2), true)), &["g", "a"]);
        end_txn(log, epoch, 2, TxnOutcome::Commit);
        put_as(log, epoch, None, &["b"]);
        end_txn(log, epoch, 3, TxnOutcome::Abort);
    }
    put_as(log, 5, Some((4, 0, true)), &["open"]);
    put_as(log, 5, None, &["a"]);
}
