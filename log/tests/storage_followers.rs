//! A follower's copy of a log with gaps lists them as the leader's does: it reads the same, after a
//! crash too, and a base offset that is damaged is found.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use thalweg_log::record::batches;
use thalweg_log::storage::{FetchIsolation, LogConfig, LogManager, PartitionLog, StorageError};

mod storage_support;
use storage_support::{config, files, log_of, open, put, scratch};

const COMPACT: &[(&str, &str)] = &[
    ("cleanup.policy", "compact"),
    ("segment.bytes", "600"),
    ("index.interval.bytes", "300"),
    ("min.cleanable.dirty.ratio", "0"),
];
const PLAIN: &[(&str, &str)] = &[("segment.bytes", "900"), ("index.interval.bytes", "300")];

/// Every batch as it lies there.
fn all(log: &PartitionLog) -> Result<Vec<Bytes>, StorageError> {
    let (mut found, mut offset) = (Vec::new(), log.log_start_offset());
    while offset < log.log_end_offset() {
        let data = log.read(offset, 500, true, FetchIsolation::LogEnd)?;
        found.extend(batches(data.records).map(|batch| batch.unwrap().bytes().clone()));
        assert!(data.next_offset > offset);
        offset = data.next_offset;
    }
    Ok(found)
}

/// A log that compaction has left gaps in, of every size, at every place.
fn leader(dir: &Path) -> (LogManager, Arc<PartitionLog>) {
    let config = config(COMPACT);
    let manager = open(dir, &config);
    let log = log_of(&manager, &config);
    for n in 0..120 {
        let key = match n % 10 {
            0 => format!("once {n}"),
            m if m < 4 => "often".to_owned(),
            m => format!("again {m}"),
        };
        put(&log, n, &key, &format!("value {n}"));
    }
    manager.compact_dirtiest(1000).unwrap();
    (manager, log)
}

/// Copies everything from the follower's end on, as fetches of a few batches.
fn copy(leader: &PartitionLog, follower: &PartitionLog, fetches: usize) {
    for _ in 0..fetches {
        let from = follower.log_end_offset();
        let data = leader
            .read(from, 300, true, FetchIsolation::LogEnd)
            .unwrap();
        if !data.records.is_empty() {
            follower.append_as_follower(data.records, 0).unwrap();
        }
    }
}

fn follower(dir: &Path, config: &LogConfig) -> (LogManager, Arc<PartitionLog>) {
    let manager = open(dir, config);
    let log = log_of(&manager, config);
    (manager, log)
}

#[test]
fn the_copy_reads_as_the_log_does_whatever_happens_between() {
    let dirs = (scratch(), scratch());
    let (_manager, leader) = leader(dirs.0.path());
    let expected = all(&leader).unwrap();
    assert!(expected.len() < 60, "compaction left {}", expected.len());
    for settings in [COMPACT, PLAIN] {
        let dir = scratch();
        let config = config(settings);
        for step in 0..40 {
            let (manager, log) = follower(dir.path(), &config);
            copy(&leader, &log, 2);
            assert_eq!(all(&log).unwrap(), expected[..all(&log).unwrap().len()]);
            let end = log.log_end_offset();
            match step % 4 {
                // Killed with nothing, something, or everything flushed.
                0 => {}
                1 => {
                    log.flush().unwrap();
                    copy(&leader, &log, 1);
                    manager.checkpoint().unwrap();
                }
                2 => {
                    log.flush().unwrap();
                    manager.checkpoint().unwrap();
                }
                _ => manager.close().unwrap(),
            }
            let end = end.max(log.log_end_offset());
            drop((manager, log));
            let (_manager, log) = follower(dir.path(), &config);
            assert_eq!(log.log_end_offset(), end, "step {step}");
        }
        let (manager, log) = follower(dir.path(), &config);
        copy(&leader, &log, 100);
        assert_eq!(log.log_end_offset(), leader.log_end_offset());
        assert_eq!(all(&log).unwrap(), expected);
        assert!(!files(dir.path(), ".gaps").is_empty());
        // It becomes the leader, and its topic another policy.
        log.update_config(self::config(PLAIN));
        put(&log, 500, "more", "of it");
        let more = all(&log).unwrap();
        assert_eq!(more[..expected.len()], expected);
        manager.close().unwrap();
        drop((manager, log));
        let (_manager, log) = follower(dir.path(), &self::config(PLAIN));
        assert_eq!(all(&log).unwrap(), more);
    }
}

#[test]
fn a_damaged_base_offset_of_a_copy_is_found() {
    let dirs = (scratch(), scratch());
    let (_manager, leader) = leader(dirs.0.path());
    let expected = all(&leader).unwrap();
    let config = config(COMPACT);
    let (manager, log) = follower(dirs.1.path(), &config);
    copy(&leader, &log, 1000);
    let mut damages = 0;
    for path in files(dirs.1.path(), ".log") {
        let bytes = fs::read(&path).unwrap();
        let mut position = 0;
        for batch in batches(Bytes::from(bytes.clone())) {
            let batch = batch.unwrap();
            for flip in [1, 2, 4] {
                let mut damaged = bytes.clone();
                damaged[position + 7] ^= flip;
                fs::write(&path, &damaged).unwrap();
                let read = all(&log);
                assert!(read.is_err(), "{} at {}", path.display(), batch.base_offset);
                damages += 1;
            }
            position += batch.size();
        }
        fs::write(&path, &bytes).unwrap();
    }
    assert!(damages > 30, "{damages}");
    assert_eq!(all(&log).unwrap(), expected);
    manager.close().unwrap();
}

#[test]
fn a_list_that_was_not_on_disk_yet_is_made_anew_after_a_power_cut() {
    let dirs = (scratch(), scratch());
    let (_manager, leader) = leader(dirs.0.path());
    let expected = all(&leader).unwrap();
    let config = config(COMPACT);
    let (manager, log) = follower(dirs.1.path(), &config);
    copy(&leader, &log, 1000);
    drop((manager, log));
    for path in files(dirs.1.path(), ".gaps") {
        fs::write(path, []).unwrap();
    }
    let (manager, log) = follower(dirs.1.path(), &config);
    assert_eq!(all(&log).unwrap(), expected);
    log.flush().unwrap();
    manager.close().unwrap();
    drop((manager, log));
    // From then on it counts.
    let first = files(dirs.1.path(), ".gaps").into_iter().next().unwrap();
    fs::write(first, []).unwrap();
    let (_manager, log) = follower(dirs.1.path(), &config);
    assert!(matches!(all(&log), Err(StorageError::BadFile { .. })));
}
