//! Single rules of compaction, one after the other; `tests/storage_compaction_model.rs` has them all
//! at once.

use std::path::Path;
use std::sync::Arc;

use super::super::*;
use crate::record::{BatchBuilder, Compression, RecordBatch, batches};

const ID: uuid::Uuid = uuid::Uuid::from_u128(1);

fn open(dir: &Path, change: impl FnOnce(&mut LogManagerConfig)) -> LogManager {
    let mut options = LogManagerConfig::new(dir, 1);
    change(&mut options);
    LogManager::open(options, 0).unwrap()
}

fn log(manager: &LogManager, partition: i32, overrides: &[(&str, &str)]) -> Arc<PartitionLog> {
    let config = LogConfig::default()
        .with([
            ("cleanup.policy", "compact"),
            ("segment.bytes", "1000"),
            ("index.interval.bytes", "100"),
            ("min.cleanable.dirty.ratio", "0"),
            ("delete.retention.ms", "1000"),
        ])
        .and_then(|config| config.with(overrides.iter().copied()))
        .unwrap();
    let log = manager
        .get_or_create("t", partition, ID, config.clone(), 0)
        .unwrap();
    log.update_config(config);
    log
}

fn put(log: &PartitionLog, codec: Compression, now: i64, records: &[(&str, Option<&str>)]) {
    let mut builder = BatchBuilder::new(codec);
    for (key, value) in records {
        builder
            .append(now, Some(key.as_bytes()), value.map(str::as_bytes), &[])
            .unwrap();
    }
    let bytes = builder.build().unwrap();
    log.append(bytes, 0, AppendOrigin::Client, now).unwrap();
}

/// Has what was appended so far in sealed segments.
fn fill(log: &PartitionLog, now: i64) {
    let filler = "f".repeat(300);
    let segments = log.segment_count();
    while log.segment_count() == segments {
        put(log, Compression::None, now, &[("filler", Some(&filler))]);
    }
}

fn all(log: &PartitionLog) -> Vec<RecordBatch> {
    let (mut found, mut offset) = (Vec::new(), log.log_start_offset());
    while offset < log.log_end_offset() {
        let data = log
            .read(offset, 1 << 20, true, FetchIsolation::LogEnd)
            .unwrap();
        found.extend(batches(data.records).map(Result::unwrap));
        offset = data.next_offset;
    }
    found
}

fn with_key(log: &PartitionLog, key: &str) -> Vec<(RecordBatch, crate::record::Record)> {
    let mut found = Vec::new();
    for batch in all(log) {
        for record in batch.records().unwrap().map(Result::unwrap) {
            if record.key.as_deref() == Some(key.as_bytes()) {
                found.push((batch.clone(), record));
            }
        }
    }
    found
}

#[test]
fn a_tombstone_stays_until_its_horizon_which_the_batch_carries() {
    let dir = tempfile::tempdir().unwrap();
    let manager = open(dir.path(), |_| ());
    let log = log(&manager, 0, &[]);
    put(
        &log,
        Compression::Zstd,
        10,
        &[("a", Some("1")), ("b", Some("2"))],
    );
    put(
        &log,
        Compression::Zstd,
        20,
        &[("a", None), ("c", Some("3"))],
    );
    fill(&log, 30);
    let done = manager.compact_dirtiest(5000).unwrap();
    assert_eq!(done.stats.first_dirty, 0);
    assert!(done.stats.records_kept < done.stats.records_read);
    let found = with_key(&log, "a");
    let [(batch, record)] = found.as_slice() else {
        panic!("{found:?}");
    };
    assert_eq!((record.offset, record.timestamp), (2, 20));
    assert_eq!(batch.delete_horizon(), Some(6000));
    assert_eq!(batch.compression(), Compression::Zstd, "the codec stays");
    // The batch that lost a record has its offsets and its codec.
    let (batch, record) = with_key(&log, "b").remove(0);
    assert_eq!((record.offset, record.timestamp), (1, 10));
    assert_eq!((batch.base_offset, batch.last_offset()), (0, 1));
    assert_eq!(batch.compression(), Compression::Zstd);
    for (now, left) in [(5999, 1), (6000, 0)] {
        fill(&log, 40);
        manager.compact_dirtiest(now).unwrap();
        assert_eq!(with_key(&log, "a").len(), left, "at {now}");
    }
    assert_eq!(with_key(&log, "c").len(), 1);
}

#[test]
fn nothing_at_or_above_the_last_stable_offset_is_touched() {
    let dir = tempfile::tempdir().unwrap();
    let manager = open(dir.path(), |_| ());
    let log = log(&manager, 0, &[]);
    put(&log, Compression::None, 1, &[("a", Some("1"))]);
    fill(&log, 1);
    let mut builder = BatchBuilder::new(Compression::None);
    builder.producer(9, 0, 0).transactional(true);
    builder.append(1, Some(b"a"), Some(b"2"), &[]).unwrap();
    let bytes = builder.build().unwrap();
    let origin = AppendOrigin::Client;
    log.append_verified(bytes, 0, origin, 1, Verification::Off)
        .unwrap();
    fill(&log, 1);
    fill(&log, 1);
    let stable = log.last_stable_offset();
    let done = manager.compact_dirtiest(10).unwrap();
    assert!(done.stats.clean_to <= stable);
    assert_eq!(with_key(&log, "a").len(), 2);
    let marker = Marker {
        producer_id: 9,
        producer_epoch: 0,
        coordinator_epoch: 0,
        outcome: TxnOutcome::Abort,
    };
    log.append_marker(marker, 1, 0, 1).unwrap();
    fill(&log, 1);
    manager.compact_dirtiest(10).unwrap();
    let left = with_key(&log, "a");
    assert_eq!(left.len(), 1);
    assert_eq!(left[0].1.value.as_deref(), Some(&b"1"[..]));
    // Its batch is the last of a producer, and the marker ends what that batch began.
    let mine = |batch: &&RecordBatch| batch.producer_id == 9;
    let kept: Vec<_> = all(&log)
        .iter()
        .filter(mine)
        .map(|batch| (batch.is_control(), batch.records_count))
        .collect();
    assert_eq!(kept, [(false, 0), (true, 1)]);
}

#[test]
fn a_map_that_is_too_small_takes_several_rounds() {
    let dir = tempfile::tempdir().unwrap();
    let manager = open(dir.path(), |options| {
        options.cleaner.dedupe_buffer_size = 24 * 32;
    });
    let log = log(&manager, 0, &[("delete.retention.ms", "0")]);
    for round in 0..3 {
        for n in 0..100 {
            let (key, value) = (format!("key{n}"), format!("value{round}"));
            put(&log, Compression::None, 1, &[(&key, Some(&value))]);
        }
    }
    fill(&log, 1);
    let mut rounds = 0;
    while manager.compact_dirtiest(10).is_some() {
        rounds += 1;
    }
    assert!(rounds > 5, "{rounds}");
    for n in 0..100 {
        let left = with_key(&log, &format!("key{n}"));
        assert_eq!(left.len(), 1, "key{n}");
        assert_eq!(left[0].1.value.as_deref(), Some(&b"value2"[..]));
    }
}

#[test]
fn lags_hold_compaction_back_and_hurry_it() {
    let dir = tempfile::tempdir().unwrap();
    let manager = open(dir.path(), |_| ());
    let slow = log(&manager, 0, &[("min.compaction.lag.ms", "100")]);
    put(&slow, Compression::None, 1000, &[("a", Some("1"))]);
    fill(&slow, 1000);
    assert!(manager.compact_dirtiest(1050).is_none());
    assert!(manager.compact_dirtiest(1101).is_some());
    let hurried = log(
        &manager,
        1,
        &[
            ("min.cleanable.dirty.ratio", "1"),
            ("max.compaction.lag.ms", "500"),
        ],
    );
    put(&hurried, Compression::None, 1000, &[("a", Some("1"))]);
    manager.tick(1000).unwrap();
    // Nobody appends any more; the segment is rolled all the same.
    hurried.roll_when_idle(1400).unwrap();
    assert_eq!(hurried.segment_count(), 2);
    assert!(manager.compact_dirtiest(1400).is_none());
    assert_eq!(manager.compact_dirtiest(1501).unwrap().partition, 1);
}

#[test]
fn damage_is_not_copied_and_others_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let manager = open(dir.path(), |_| ());
    let logs = [log(&manager, 0, &[]), log(&manager, 1, &[])];
    for log in &logs {
        put(log, Compression::None, 1, &[("a", Some("1"))]);
        put(log, Compression::None, 1, &[("a", Some("2"))]);
        fill(log, 1);
    }
    let file = logs[0].folder().join("00000000000000000000.log");
    let mut bytes = std::fs::read(&file).unwrap();
    // The base offset of the first batch, which no CRC covers.
    bytes[7] = 1;
    std::fs::write(&file, &bytes).unwrap();
    let mut compacted = Vec::new();
    for _ in 0..3 {
        compacted.extend(manager.compact_dirtiest(10).map(|done| done.partition));
    }
    assert_eq!(compacted, [1]);
    let marked = manager.uncleanable();
    assert_eq!(marked.len(), 1);
    assert!(marked[0].2.contains("offset"), "{}", marked[0].2);
    assert_eq!(std::fs::read(&file).unwrap(), bytes, "left as it is");
    // The name can be used again.
    manager.delete("t", 0).unwrap();
    assert_eq!(manager.uncleanable(), []);
}

#[test]
fn every_bit_of_a_compacted_log_counts() {
    let dir = tempfile::tempdir().unwrap();
    let manager = open(dir.path(), |_| ());
    let first = log(&manager, 0, &[]);
    for n in 0..6 {
        let key = format!("key{}", n % 2);
        put(
            &first,
            Compression::None,
            1,
            &[(&key, Some("value")), ("x", Some("y"))],
        );
    }
    put(&first, Compression::None, 1, &[("key9", Some("value"))]);
    fill(&first, 1);
    manager.compact_dirtiest(10).unwrap();
    let expected: Vec<_> = all(&first).iter().map(|b| b.bytes().clone()).collect();
    manager.close().unwrap();
    drop((manager, first));
    let base = dir.path().join("t-0/00000000000000000000");
    for kind in ["log", "gaps"] {
        let file = base.with_extension(kind);
        let sound = std::fs::read(&file).unwrap();
        for at in 0..sound.len() {
            let mut damaged = sound.clone();
            damaged[at] ^= 1 << (at % 8);
            std::fs::write(&file, &damaged).unwrap();
            let manager = open(dir.path(), |_| ());
            if manager.failed().is_empty() {
                let log = log(&manager, 0, &[]);
                let mut offset = 0;
                // What is served before the damage is as it was.
                let told = loop {
                    match log.read(offset, 1 << 20, true, FetchIsolation::LogEnd) {
                        Err(_) => break true,
                        Ok(data) if data.records.is_empty() => break false,
                        Ok(data) => {
                            for batch in batches(data.records) {
                                let batch = batch.unwrap();
                                assert!(expected.contains(batch.bytes()), "{kind} byte {at}");
                            }
                            offset = data.next_offset;
                        }
                    }
                };
                assert!(told, "{kind} byte {at} was not noticed");
            }
            drop(manager);
            std::fs::write(&file, &sound).unwrap();
            // The crash that this was to the next open does not matter.
        }
    }
}

#[test]
fn readers_go_on_while_segments_are_swapped() {
    let dir = tempfile::tempdir().unwrap();
    let manager = open(dir.path(), |_| ());
    let log = log(&manager, 0, &[]);
    for n in 0..200 {
        let key = format!("key{}", n % 10);
        put(&log, Compression::None, 1, &[(&key, Some(&n.to_string()))]);
    }
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let readers: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                        let mut last = std::collections::BTreeMap::new();
                        for batch in all(&log) {
                            batch.verify().unwrap();
                            for record in batch.records().unwrap().map(Result::unwrap) {
                                last.insert(record.key, record.value);
                            }
                        }
                        assert_eq!(last.len(), 10);
                    }
                })
            })
            .collect();
        for n in 200..600 {
            let key = format!("key{}", n % 10);
            put(&log, Compression::None, 1, &[(&key, Some(&n.to_string()))]);
            if n % 10 == 0 {
                manager.compact_dirtiest(10);
            }
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        for reader in readers {
            reader.join().unwrap();
        }
    });
    assert!(all(&log).len() < 100);
}
