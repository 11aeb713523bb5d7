//! What the tests of storage share: a scratch folder in memory, a log, and batches for it.

#![allow(dead_code, reason = "not every test uses all of it")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use thalweg_log::record::{BatchBuilder, Compression};
use thalweg_log::storage::{
    AppendInfo, AppendOrigin, LogConfig, LogManager, LogManagerConfig, PartitionLog,
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
