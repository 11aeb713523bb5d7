//! A flipped byte is never served: wherever it is, a read returns what was written or an error that
//! says where.

use std::fs;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use proptest::prelude::*;
use thalweg_log::record::{BatchBuilder, Compression, batches};
use thalweg_log::storage::{
    AppendOrigin, FetchIsolation, LogConfig, LogManager, LogManagerConfig, PartitionLog,
    StorageError,
};

const TOPIC_ID: uuid::Uuid = uuid::Uuid::from_u128(7);
const BATCHES: i64 = 24;

fn config(more: &[(&str, &str)]) -> LogConfig {
    LogConfig::default()
        .with([("segment.bytes", "1500"), ("index.interval.bytes", "300")])
        .and_then(|config| config.with(more.iter().copied()))
        .unwrap()
}

fn open(dir: &Path, more: &[(&str, &str)]) -> LogManager {
    let mut options = LogManagerConfig::new(dir, 1);
    options.defaults = config(more);
    LogManager::open(options, 0).unwrap()
}

/// Three segments of batches of two records each, in two epochs.
fn fill(dir: &Path, more: &[(&str, &str)]) -> LogManager {
    let manager = open(dir, more);
    let log = manager
        .get_or_create("t", 0, TOPIC_ID, config(more), 0)
        .unwrap();
    for n in 0..BATCHES {
        let mut builder = BatchBuilder::new(Compression::None);
        for m in 0..2 {
            builder
                .append(
                    n * 2 + m,
                    Some(b"key"),
                    Some(value(n * 2 + m).as_bytes()),
                    &[],
                )
                .unwrap();
        }
        let epoch = i32::from(n >= 10);
        log.append(builder.build().unwrap(), epoch, AppendOrigin::Client, 0)
            .unwrap();
    }
    assert!(log.segment_count() >= 3);
    manager
}

fn value(offset: i64) -> String {
    format!("the value of the record at offset {offset}")
}

fn log_files(dir: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> = fs::read_dir(dir.join("t-0"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "log"))
        .collect();
    files.sort();
    files
}

/// Reads from every offset. Returns the error if there was one; panics at a wrong record.
fn read_all(log: &PartitionLog) -> Option<StorageError> {
    let mut error = None;
    for offset in log.log_start_offset()..log.log_end_offset() {
        match log.read(offset, 700, true, FetchIsolation::HighWatermark) {
            Ok(data) => {
                let mut expected = offset - offset % 2;
                for batch in batches(data.records) {
                    let batch = batch.unwrap();
                    assert_eq!(batch.partition_leader_epoch, i32::from(expected >= 20));
                    for record in batch.records().unwrap() {
                        let record = record.unwrap();
                        assert_eq!(record.offset, expected);
                        assert_eq!(record.timestamp, expected);
                        assert_eq!(record.value, Some(Bytes::from(value(expected))));
                        expected += 1;
                    }
                }
                assert_eq!(data.next_offset, expected);
                assert!(expected > offset);
            }
            Err(e) => {
                assert!(matches!(e, StorageError::Corrupt { .. }), "{e}");
                error = Some(e);
            }
        }
    }
    error
}

fn scratch() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() {
        tempfile::tempdir_in(memory)
    } else {
        tempfile::tempdir()
    }
    .unwrap()
}

#[test]
fn a_flipped_byte_under_a_running_log_is_never_served() {
    let dir = scratch();
    let manager = fill(dir.path(), &[]);
    let log = manager.get("t", 0).unwrap();
    assert!(read_all(&log).is_none());
    for file in log_files(dir.path()) {
        let bytes = fs::read(&file).unwrap();
        // Every byte of the first header, and a sample of the others.
        for at in (0..61).chain((61..bytes.len()).step_by(13)) {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1 << (at % 8);
            // In place: the log has the file open.
            fs::write(&file, &damaged).unwrap();
            let error = read_all(&log).unwrap_or_else(|| panic!("{} byte {at}", file.display()));
            let text = error.to_string();
            assert!(
                text.contains("t-0") && text.contains(file.to_str().unwrap()),
                "{text}"
            );
        }
        fs::write(&file, &bytes).unwrap();
    }
    assert!(read_all(&log).is_none());
}

#[test]
fn a_flipped_byte_in_a_closed_log_is_never_served() {
    let dir = scratch();
    fill(dir.path(), &[]).close().unwrap();
    let saved = save(dir.path());
    for file in log_files(dir.path()) {
        let len = fs::metadata(&file).unwrap().len() as usize;
        for at in (0..61).step_by(3).chain((61..len).step_by(97)) {
            restore(dir.path(), &saved);
            let mut bytes = fs::read(&file).unwrap();
            bytes[at] ^= 0x10;
            fs::write(&file, &bytes).unwrap();
            let manager = open(dir.path(), &[]);
            match manager.get("t", 0) {
                Some(log) => {
                    assert_eq!(
                        log.log_end_offset(),
                        BATCHES * 2,
                        "byte {at}: records are lost"
                    );
                    assert!(read_all(&log).is_some(), "{} byte {at}", file.display());
                }
                None => {
                    let failed = manager.failed();
                    assert!(matches!(*failed[0].2, StorageError::Corrupt { .. }));
                }
            }
        }
    }
}

#[test]
fn a_damaged_index_costs_time_but_no_record() {
    let dir = scratch();
    fill(dir.path(), &[]).close().unwrap();
    let saved = save(dir.path());
    let indexes: Vec<_> = saved
        .iter()
        .map(|(path, bytes)| (path.clone(), bytes.len()))
        .filter(|(path, _)| path.to_str().unwrap().ends_with(".index"))
        .collect();
    assert!(indexes.len() >= 3);
    for (file, len) in indexes {
        for at in 0..len {
            restore(dir.path(), &saved);
            let mut bytes = fs::read(&file).unwrap();
            bytes[at] ^= 0x41;
            fs::write(&file, &bytes).unwrap();
            let manager = open(dir.path(), &[]);
            if let Some(log) = manager.get("t", 0) {
                assert!(read_all(&log).is_none(), "{} byte {at}", file.display());
            }
        }
        restore(dir.path(), &saved);
        fs::remove_file(&file).unwrap();
        let manager = open(dir.path(), &[]);
        assert!(read_all(&manager.get("t", 0).unwrap()).is_none());
    }
}

#[test]
fn a_damaged_time_index_neither_hides_nor_deletes_records() {
    let dir = scratch();
    fill(dir.path(), &[]).close().unwrap();
    let saved = save(dir.path());
    let files = saved
        .iter()
        .filter(|(path, _)| path.extension().is_some_and(|e| e == "timeindex"));
    for (file, bytes) in files {
        for at in 0..bytes.len() {
            restore(dir.path(), &saved);
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x11;
            fs::write(file, &damaged).unwrap();
            // Nothing is as old as the damaged index may say.
            let manager = open(dir.path(), &[("retention.ms", "1000")]);
            let log = manager.get("t", 0).unwrap();
            assert_eq!(
                log.apply_retention(1000).unwrap(),
                0,
                "{} byte {at}",
                file.display()
            );
            for timestamp in 0..BATCHES * 2 {
                let found = log.offset_for_timestamp(timestamp).unwrap().unwrap();
                assert_eq!(found.offset, timestamp, "{} byte {at}", file.display());
            }
            assert_eq!(
                log.max_timestamp().unwrap().unwrap().offset,
                BATCHES * 2 - 1
            );
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(120) })]

    /// Any file cut short or overwritten anywhere, after a clean shutdown or a crash.
    #[test]
    fn whatever_happens_to_a_file_no_wrong_record_is_served(
        which: prop::sample::Index,
        at: prop::sample::Index,
        garbage in prop::option::of(prop::collection::vec(any::<u8>(), 1..100)),
        clean: bool,
    ) {
        let dir = scratch();
        let manager = fill(dir.path(), &[]);
        if clean {
            manager.close().unwrap();
        } else {
            manager.get("t", 0).unwrap().flush().unwrap();
            manager.checkpoint().unwrap();
        }
        drop(manager);
        let mut saved = save(dir.path());
        saved.sort();
        let (path, mut bytes) = saved.swap_remove(which.index(saved.len()));
        let at = at.index(bytes.len() + 1);
        match garbage {
            None => bytes.truncate(at),
            Some(garbage) => {
                bytes.resize(bytes.len().max(at + garbage.len()), 0);
                bytes[at..at + garbage.len()].copy_from_slice(&garbage);
            }
        }
        fs::write(&path, bytes).unwrap();
        let mut options = LogManagerConfig::new(dir.path(), 1);
        options.defaults = config(&[]);
        if let Ok(manager) = LogManager::open(options, 0) {
            if let Some(log) = manager.get("t", 0) {
                // The log may end later (garbage that looks like records does not exist), but
                // never earlier than what was fsynced.
                prop_assert_eq!(log.log_end_offset(), BATCHES * 2);
                read_all(&log);
            } else {
                prop_assert_eq!(manager.failed().len(), 1);
            }
        }
    }
}

#[test]
fn a_missing_segment_is_noticed() {
    let dir = scratch();
    fill(dir.path(), &[]).close().unwrap();
    fs::remove_file(&log_files(dir.path())[1]).unwrap();
    let manager = open(dir.path(), &[]);
    let error = read_all(&manager.get("t", 0).unwrap()).unwrap();
    assert!(error.to_string().contains("ends at offset"), "{error}");
}

#[test]
fn after_a_crash_fsynced_records_are_not_cut_off() {
    let dir = scratch();
    let manager = fill(dir.path(), &[]);
    let log = manager.get("t", 0).unwrap();
    log.flush().unwrap();
    manager.checkpoint().unwrap();
    let files = log_files(dir.path());
    drop((manager, log));
    let saved = save(dir.path());
    let last = files.last().unwrap();
    let bytes = fs::read(last).unwrap();
    for at in (0..bytes.len()).step_by(7) {
        restore(dir.path(), &saved);
        let mut damaged = bytes.clone();
        damaged[at] ^= 4;
        fs::write(last, damaged).unwrap();
        let manager = open(dir.path(), &[]);
        if let Some(log) = manager.get("t", 0) {
            assert_eq!(log.log_end_offset(), BATCHES * 2, "byte {at}");
            // The epoch of the last batches is news only the batches know, until it is fsynced.
            assert!(read_all(&log).is_some(), "byte {at}");
        }
    }
}

fn save(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut saved = Vec::new();
    for folder in [dir.to_path_buf(), dir.join("t-0")] {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_file() {
                saved.push((path.clone(), fs::read(path).unwrap()));
            }
        }
    }
    saved
}

fn restore(dir: &Path, saved: &[(PathBuf, Vec<u8>)]) {
    for entry in fs::read_dir(dir.join("t-0")).unwrap() {
        fs::remove_file(entry.unwrap().path()).unwrap();
    }
    for (path, bytes) in saved {
        fs::write(path, bytes).unwrap();
    }
}
