//! Several log directories: placement, one that fails, and moving a log between them.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use thalweg_log::record::{BatchBuilder, Compression, batches};
use thalweg_log::storage::{
    AppendError, AppendOrigin, FetchIsolation, LogConfig, LogManager, LogManagerConfig, LogState,
    MoveError, PartitionLog, StorageError,
};

const ID: uuid::Uuid = uuid::Uuid::from_u128(5);

fn config() -> LogConfig {
    LogConfig::default()
        .with([("segment.bytes", "2000")])
        .unwrap()
}

fn open(dir: &Path, names: &[&str]) -> Result<LogManager, StorageError> {
    let mut options = LogManagerConfig::new(dir.join(names[0]), 1);
    options.dirs = names.iter().map(|name| dir.join(name)).collect();
    LogManager::open(options, 0)
}

fn log(manager: &LogManager, partition: i32) -> Arc<PartitionLog> {
    let log = manager
        .get_or_create("t", partition, ID, config(), 0)
        .unwrap();
    log.update_config(config());
    log
}

fn append(log: &PartitionLog, values: std::ops::Range<usize>) -> Result<(), AppendError> {
    for n in values {
        let mut builder = BatchBuilder::new(Compression::None);
        let value = format!("value {n:>60}");
        builder
            .append(1, None, Some(value.as_bytes()), &[])
            .unwrap();
        log.append(builder.build().unwrap(), 0, AppendOrigin::Client, 1)?;
    }
    Ok(())
}

fn values(log: &PartitionLog) -> Vec<Bytes> {
    let mut found = Vec::new();
    let mut offset = log.log_start_offset();
    while offset < log.log_end_offset() {
        let data = log
            .read(offset, 1 << 20, true, FetchIsolation::LogEnd)
            .unwrap();
        for batch in batches(data.records) {
            let records = batch.unwrap().records().unwrap();
            found.extend(records.map(|r| r.unwrap().value.unwrap()));
        }
        offset = data.next_offset;
    }
    found
}

#[test]
fn logs_spread_and_are_found_again() {
    let dir = tempfile::tempdir().unwrap();
    let manager = open(dir.path(), &["a", "b", "c"]).unwrap();
    for partition in 0..6 {
        append(&log(&manager, partition), 0..3).unwrap();
    }
    let status = manager.log_dirs();
    assert_eq!(
        status.iter().map(|dir| dir.logs.len()).collect::<Vec<_>>(),
        [2, 2, 2]
    );
    assert!(status.iter().all(|dir| dir.offline.is_none()
        && dir.total_bytes >= dir.usable_bytes
        && dir.usable_bytes > 0));
    manager.close().unwrap();
    drop(manager);
    for name in ["a", "b", "c"] {
        assert!(dir.path().join(name).join("meta.properties").is_file());
        assert!(dir.path().join(name).join(".kafka_cleanshutdown").is_file());
    }
    let manager = open(dir.path(), &["c", "a", "b"]).unwrap();
    for partition in 0..6 {
        assert_eq!(values(&log(&manager, partition)).len(), 3);
    }
}

#[test]
fn a_log_moves_and_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let manager = open(dir.path(), &["a", "b"]).unwrap();
    let before = log(&manager, 0);
    append(&before, 0..100).unwrap();
    before.delete_records(7).unwrap();
    let expected = values(&before);
    let (from, to) = (dir.path().join("a"), dir.path().join("b"));
    assert!(before.folder().starts_with(&from));
    assert!(manager.can_move("t", 0, &to).unwrap());
    assert!(!manager.can_move("t", 0, &from).unwrap());
    assert!(matches!(
        manager.can_move("t", 0, Path::new("/nowhere")),
        Err(MoveError::UnknownDir(_))
    ));
    assert!(matches!(
        manager.can_move("t", 9, &to),
        Err(MoveError::UnknownLog { .. })
    ));
    let moved = manager.move_log("t", 0, &to, 0).unwrap();
    assert!(moved.folder().starts_with(&to));
    assert!(!from.join("t-0").exists());
    assert_eq!(before.position().state, LogState::Closed);
    append(&before, 0..1).unwrap_err();
    assert_eq!(values(&moved), expected);
    assert_eq!(moved.log_start_offset(), 7);
    append(&moved, 100..120).unwrap();
    // As after a crash.
    drop(manager);
    let manager = open(dir.path(), &["a", "b"]).unwrap();
    let found = manager.get("t", 0).unwrap();
    assert_eq!(values(&found).len(), 113);
    assert!(found.folder().starts_with(&to));
}

#[test]
fn a_copy_counts_when_it_is_complete_and_alone() {
    let dir = tempfile::tempdir().unwrap();
    let manager = open(dir.path(), &["a", "b"]).unwrap();
    append(&log(&manager, 0), 0..10).unwrap();
    manager.close().unwrap();
    drop(manager);
    let original = dir.path().join("a/t-0");
    let copy = dir.path().join("b/t-0.0123456789abcdef-future");
    let copy_of = |to: &Path| {
        std::fs::create_dir_all(to).unwrap();
        for entry in std::fs::read_dir(&original).unwrap() {
            let entry = entry.unwrap();
            std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    };
    // Beside the original it is of no use, complete or not.
    copy_of(&copy);
    std::fs::write(copy.join("move-complete"), "").unwrap();
    let manager = open(dir.path(), &["a", "b"]).unwrap();
    assert!(
        manager
            .get("t", 0)
            .unwrap()
            .folder()
            .starts_with(dir.path().join("a"))
    );
    assert!(!copy.exists());
    manager.close().unwrap();
    drop(manager);
    // A complete one takes the place of an original that is gone.
    copy_of(&copy);
    std::fs::write(copy.join("move-complete"), "").unwrap();
    std::fs::remove_dir_all(&original).unwrap();
    std::fs::remove_file(dir.path().join("a/recovery-point-offset-checkpoint")).unwrap();
    let manager = open(dir.path(), &["a", "b"]).unwrap();
    assert_eq!(values(&manager.get("t", 0).unwrap()).len(), 10);
    assert!(dir.path().join("b/t-0").is_dir());
    assert!(!dir.path().join("b/t-0/move-complete").exists());
}

#[test]
fn a_directory_that_is_gone_keeps_its_logs_offline_and_no_others() {
    let dir = tempfile::tempdir().unwrap();
    let manager = open(dir.path(), &["a", "b"]).unwrap();
    for partition in 0..4 {
        append(&log(&manager, partition), 0..3).unwrap();
    }
    manager.close().unwrap();
    drop(manager);
    // The disk is not mounted: a file where the folder was.
    let (b, away) = (dir.path().join("b"), dir.path().join("away"));
    std::fs::rename(&b, &away).unwrap();
    std::fs::write(&b, "").unwrap();
    let manager = open(dir.path(), &["a", "b"]).unwrap();
    let mut served = 0;
    for partition in 0..4 {
        match manager.get_or_create("t", partition, ID, config(), 0) {
            Ok(log) => {
                assert_eq!(values(&log).len(), 3);
                served += 1;
            }
            Err(StorageError::Failed { source, .. }) => {
                assert!(matches!(*source, StorageError::Offline { .. }), "{source}");
            }
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!(served, 2);
    assert!(manager.log_dirs()[1].offline.is_some());
    // New ones go where there is a place.
    append(&log(&manager, 4), 0..3).unwrap();
    manager.close().unwrap();
    drop(manager);
    std::fs::remove_file(&b).unwrap();
    std::fs::rename(&away, &b).unwrap();
    let manager = open(dir.path(), &["a", "b"]).unwrap();
    for partition in 0..5 {
        assert_eq!(values(&log(&manager, partition)).len(), 3);
    }
    // Without the first there is no start: it has the metadata.
    manager.close().unwrap();
    drop(manager);
    std::fs::rename(dir.path().join("a"), &away).unwrap();
    std::fs::write(dir.path().join("a"), "").unwrap();
    assert!(open(dir.path(), &["a", "b"]).is_err());
}

#[test]
fn a_partition_in_two_directories_is_not_served() {
    let dir = tempfile::tempdir().unwrap();
    let manager = open(dir.path(), &["a", "b"]).unwrap();
    append(&log(&manager, 0), 0..3).unwrap();
    manager.close().unwrap();
    drop(manager);
    std::fs::create_dir_all(dir.path().join("b/t-0")).unwrap();
    let manager = open(dir.path(), &["a", "b"]).unwrap();
    let failed = manager.failed();
    assert_eq!(failed.len(), 1);
    assert!(
        failed[0].2.to_string().contains("same partition"),
        "{}",
        failed[0].2
    );
}
