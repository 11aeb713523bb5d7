//! Thousands of segments are read with few open files, and what is being read stays open whatever
//! becomes of its segment.

use std::os::unix::fs::FileExt;
use std::path::Path;

use thalweg_log::record::batches;
use thalweg_log::storage::{FetchIsolation, Located, PartitionLog};

mod storage_support;
use storage_support::{config, files, log_of, open, open_with, put, scratch};

const SEGMENTS: i64 = 2000;
const LIMIT: usize = 24;
const ALL: FetchIsolation = FetchIsolation::HighWatermark;

/// How many files below a folder this process has open.
fn open_below(dir: &Path) -> usize {
    std::fs::read_dir("/proc/self/fd")
        .unwrap()
        .filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok())
        .filter(|target| target.starts_with(dir))
        .count()
}

fn value(offset: i64) -> String {
    format!("the value at {offset}")
}

/// One batch a segment; indexed, so that all three files of a segment are read.
fn settings() -> thalweg_log::storage::LogConfig {
    config(&[
        ("segment.bytes", "200"),
        ("index.interval.bytes", "0"),
        ("file.delete.delay.ms", "1000"),
    ])
}

fn fill(log: &PartitionLog, count: i64) {
    for offset in log.log_end_offset()..log.log_end_offset() + count {
        for part in ["a", "b"] {
            put(log, offset, part, &value(offset));
        }
        if offset % 50 == 0 {
            // What was not fsynced stays open.
            log.flush().unwrap();
        }
    }
    log.flush().unwrap();
}

fn read(log: &PartitionLog, offset: i64) {
    let data = log.read(offset, 1, true, ALL).unwrap();
    let batch = batches(data.records).next().unwrap().unwrap();
    let record = batch.records().unwrap().next().unwrap().unwrap();
    assert_eq!(record.offset, offset);
    assert!(record.value.unwrap().starts_with(b"the value at "));
}

#[test]
fn two_thousand_segments_are_read_with_few_files() {
    let dir = scratch();
    let manager = open_with(dir.path(), &settings(), |options| {
        options.max_open_files = Some(LIMIT);
    });
    let log = log_of(&manager, &settings());
    fill(&log, SEGMENTS);
    assert!(
        log.segment_count() >= SEGMENTS as usize,
        "{}",
        log.segment_count()
    );
    // The lock, and the active segment's, which counts in the limit.
    let most = LIMIT + 1;
    assert!(open_below(dir.path()) <= most, "{}", open_below(dir.path()));
    let end = log.log_end_offset();
    for offset in (0..end).chain((0..end).rev().step_by(7)) {
        read(&log, offset);
        if offset % 100 == 0 {
            let found = log.offset_for_timestamp(offset / 2).unwrap();
            assert!(found.is_some());
            let open = open_below(dir.path());
            assert!(open <= most, "{open} files after {offset}");
        }
    }
    manager.close().unwrap();
    drop((manager, log));
    assert_eq!(open_below(dir.path()), 0);

    for clean in [true, false] {
        let manager = open_with(dir.path(), &settings(), |options| {
            options.max_open_files = Some(LIMIT);
        });
        let log = manager.get("t", 0).unwrap();
        assert_eq!(log.log_end_offset(), end);
        assert!(open_below(dir.path()) <= most, "clean: {clean}");
        for offset in (0..end).step_by(13) {
            read(&log, offset);
        }
        assert!(open_below(dir.path()) <= most, "clean: {clean}");
        // The second time it opens after a crash.
    }
}

/// The bytes that were located, and whether they are the batch of an offset.
fn sent(located: &Located) -> i64 {
    let mut bytes = vec![0; located.len];
    located
        .file
        .read_exact_at(&mut bytes, located.position)
        .unwrap();
    let batch = batches(bytes.into()).next().unwrap().unwrap();
    batch.verify().unwrap();
    batch.base_offset
}

#[test]
fn a_range_that_is_being_sent_outlives_its_segment() {
    let dir = scratch();
    let manager = open_with(dir.path(), &settings(), |options| {
        options.max_open_files = Some(2);
    });
    let log = log_of(&manager, &settings());
    fill(&log, 60);
    let end = log.log_end_offset();
    let ranges: Vec<_> = (0..end)
        .step_by(2)
        .map(|offset| (offset, log.locate(offset, 1, true, 1, ALL).unwrap()))
        .collect();
    let check = || {
        for (offset, located) in &ranges {
            assert_eq!(sent(located), *offset);
        }
    };
    check();
    log.delete_records(end - 10).unwrap();
    check();
    assert!(!files(dir.path(), ".log.deleted").is_empty());
    manager.tick(0).unwrap();
    manager.tick(1000).unwrap();
    assert!(files(dir.path(), ".deleted").is_empty());
    check();
    for offset in end - 10..end {
        read(&log, offset);
    }
    log.truncate_to(end - 5).unwrap();
    check();
    manager.delete("t", 0).unwrap();
    check();
    drop((manager, log));
    check();
}

#[test]
fn a_compacted_segment_is_sent_on_from_its_old_file() {
    let dir = scratch();
    let settings = config(&[
        ("cleanup.policy", "compact"),
        ("segment.bytes", "400"),
        ("min.cleanable.dirty.ratio", "0"),
    ]);
    let manager = open_with(dir.path(), &settings, |options| {
        options.max_open_files = Some(1);
    });
    let log = log_of(&manager, &settings);
    fill(&log, 60);
    let ranges: Vec<_> = (0..50)
        .map(|offset| (offset, log.locate(offset, 1, true, 1, ALL).unwrap()))
        .collect();
    let before = log.size();
    manager.compact_dirtiest(100).unwrap();
    assert!(log.size() < before);
    assert!(!files(dir.path(), ".log.deleted").is_empty());
    for (offset, located) in &ranges {
        assert_eq!(sent(located), *offset);
    }
    // What is read now comes from the new files, by the same names.
    let data = log.read(0, 1 << 20, true, ALL).unwrap();
    assert!(data.next_offset > 50);
    manager.close().unwrap();
    assert!(
        files(dir.path(), ".deleted").is_empty(),
        "a clean stop tidies"
    );
}

#[test]
fn without_a_bound_the_process_sets_one() {
    let dir = scratch();
    let manager = open(dir.path(), &settings());
    let log = log_of(&manager, &settings());
    fill(&log, 20);
    (0..log.log_end_offset()).for_each(|offset| read(&log, offset));
}
