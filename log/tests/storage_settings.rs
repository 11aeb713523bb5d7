//! Settings of a topic's log that are seen in its folder: `preallocate`, `file.delete.delay.ms`, and
//! what retention takes.

use std::fs;
use std::path::Path;

use thalweg_log::record::batches;
use thalweg_log::storage::{AppendOrigin, FetchIsolation, PartitionLog};

mod storage_support;
use storage_support::{batch, config, files, log_of, open, put, scratch};

fn offsets(log: &PartitionLog) -> Vec<i64> {
    let (mut found, mut offset) = (Vec::new(), log.log_start_offset());
    while offset < log.log_end_offset() {
        let data = log
            .read(offset, 1 << 20, true, FetchIsolation::LogEnd)
            .unwrap();
        for batch in batches(data.records) {
            found.extend(batch.unwrap().records().unwrap().map(|r| r.unwrap().offset));
        }
        assert!(data.next_offset > offset);
        offset = data.next_offset;
    }
    found
}

fn sizes(dir: &Path) -> Vec<u64> {
    files(dir, ".log")
        .iter()
        .map(|path| fs::metadata(path).unwrap().len())
        .collect()
}

const PREALLOCATED: &[(&str, &str)] = &[
    ("preallocate", "true"),
    ("segment.bytes", "100000"),
    ("index.interval.bytes", "500"),
];

fn fill(log: &PartitionLog, count: usize) {
    let value = "v".repeat(1000);
    for n in 0..count {
        put(log, n as i64, "key", &value);
    }
}

#[test]
fn a_preallocated_segment_has_its_size_from_the_start_and_is_cut_when_it_is_full() {
    let dir = scratch();
    let config = config(PREALLOCATED);
    let manager = open(dir.path(), &config);
    let log = log_of(&manager, &config);
    assert_eq!(sizes(dir.path()), [100_000]);
    fill(&log, 150);
    assert_eq!(log.segment_count(), 2);
    let found = sizes(dir.path());
    assert!(found[0] < 100_000, "{found:?}");
    assert_eq!(found[1], 100_000);
    let written = log.size();
    assert_eq!(offsets(&log), (0..150).collect::<Vec<_>>());
    manager.close().unwrap();
    drop((manager, log));
    assert_eq!(sizes(dir.path()).iter().sum::<u64>(), written);

    // The active one of a clean stop is as it is, the next begins whole again.
    let manager = open(dir.path(), &config);
    let log = manager.get("t", 0).unwrap();
    fill(&log, 90);
    assert_eq!(sizes(dir.path())[2], 100_000);
    log.truncate_to(160).unwrap();
    assert_eq!(log.size(), sizes(dir.path()).iter().sum::<u64>());
    log.truncate_fully_and_start_at(500).unwrap();
    assert_eq!(sizes(dir.path()), [100_000]);
    fill(&log, 1);
    assert_eq!(offsets(&log), [500]);
}

#[test]
fn a_crash_loses_nothing_of_a_preallocated_log() {
    let dir = scratch();
    let config = config(PREALLOCATED);
    for flush in [false, true] {
        let manager = open(dir.path(), &config);
        let log = log_of(&manager, &config);
        fill(&log, 150);
        let end = log.log_end_offset();
        let expected = offsets(&log);
        if flush {
            log.flush().unwrap();
            manager.checkpoint().unwrap();
        }
        drop((manager, log));
        assert_eq!(sizes(dir.path()).last(), Some(&100_000));
        let manager = open(dir.path(), &config);
        let log = manager.get("t", 0).unwrap();
        assert_eq!(log.log_end_offset(), end, "flushed: {flush}");
        assert_eq!(log.size(), sizes(dir.path()).iter().sum::<u64>());
        // What is appended after the cut is handed out as it lies there.
        fill(&log, 3);
        let isolation = FetchIsolation::HighWatermark;
        assert!(log.locate(end, 1000, true, 1, isolation).is_some());
        assert_eq!(offsets(&log)[..expected.len()], expected);
    }
}

#[test]
fn a_crash_before_a_full_segment_was_cut_takes_nothing_after_it() {
    let dir = scratch();
    let config = config(PREALLOCATED);
    let manager = open(dir.path(), &config);
    let log = log_of(&manager, &config);
    fill(&log, 250);
    drop((manager, log));
    for (suffix, size) in [(".log", Some(100_000)), (".index", None)] {
        let first = files(dir.path(), suffix).into_iter().next().unwrap();
        match size {
            Some(size) => fs::File::options()
                .write(true)
                .open(first)
                .unwrap()
                .set_len(size)
                .unwrap(),
            None => fs::remove_file(first).unwrap(),
        }
    }
    let manager = open(dir.path(), &config);
    let log = manager.get("t", 0).unwrap();
    assert_eq!(offsets(&log), (0..250).collect::<Vec<_>>());
    assert!(sizes(dir.path())[0] < 100_000);
}

#[test]
fn deleted_files_stay_for_their_delay() {
    let dir = scratch();
    let config = config(&[("segment.bytes", "200"), ("file.delete.delay.ms", "500")]);
    let manager = open(dir.path(), &config);
    let log = log_of(&manager, &config);
    for n in 0..20 {
        put(&log, n, "key", "some value");
    }
    assert!(log.delete_records(10).unwrap() == 10);
    let kept = files(dir.path(), ".log").len();
    assert_eq!(kept, log.segment_count());
    let deleted = files(dir.path(), ".deleted");
    for suffix in [".log.deleted", ".index.deleted", ".timeindex.deleted"] {
        assert!(
            !files(dir.path(), suffix).is_empty(),
            "{suffix}: {deleted:?}"
        );
    }
    manager.tick(1000).unwrap();
    manager.tick(1499).unwrap();
    assert_eq!(files(dir.path(), ".deleted"), deleted);
    manager.tick(1500).unwrap();
    assert!(files(dir.path(), ".deleted").is_empty());

    // A crash leaves them to the next start.
    log.delete_records(15).unwrap();
    manager.checkpoint().unwrap();
    assert!(!files(dir.path(), ".deleted").is_empty());
    drop((manager, log));
    let manager = open(dir.path(), &config);
    let log = manager.get("t", 0).unwrap();
    assert!(files(dir.path(), ".deleted").is_empty());
    assert_eq!(offsets(&log), (15..20).collect::<Vec<_>>());

    // A topic's folder, too.
    let doomed = || {
        fs::read_dir(dir.path())
            .unwrap()
            .filter(|entry| {
                let name = entry.as_ref().unwrap().file_name();
                name.to_str().unwrap().ends_with("-delete")
            })
            .count()
    };
    manager.delete("t", 0).unwrap();
    assert!(!dir.path().join("t-0").exists());
    assert_eq!(doomed(), 1);
    log_of(&manager, &config);
    manager.tick(2000).unwrap();
    assert_eq!(doomed(), 1);
    manager.tick(2500).unwrap();
    assert_eq!(doomed(), 0);
    manager.delete("t", 0).unwrap();
    manager.close().unwrap();
    assert_eq!(doomed(), 0);
}

#[test]
fn without_a_delay_files_go_at_once() {
    let dir = scratch();
    let config = config(&[("segment.bytes", "200"), ("file.delete.delay.ms", "0")]);
    let manager = open(dir.path(), &config);
    let log = log_of(&manager, &config);
    for n in 0..20 {
        put(&log, n, "key", "some value");
    }
    log.delete_records(10).unwrap();
    assert!(files(dir.path(), ".deleted").is_empty());
    assert_eq!(files(dir.path(), ".log").len(), log.segment_count());
}

#[test]
fn a_segment_that_compaction_emptied_does_not_stop_retention() {
    let dir = scratch();
    let config = config(&[
        ("cleanup.policy", "compact,delete"),
        ("segment.bytes", "400"),
        ("min.cleanable.dirty.ratio", "0"),
        ("retention.ms", "1000"),
    ]);
    let manager = open(dir.path(), &config);
    let log = log_of(&manager, &config);
    let large = "x".repeat(250);
    // Each fills a segment; what the first segments hold is superseded.
    for key in ["a", "a", "a", "b", "c", "d", "e"] {
        let bytes = batch(100, &[(Some(key), Some(&large))]);
        log.append(bytes, 0, AppendOrigin::Client, 100).unwrap();
    }
    manager.compact_dirtiest(200).unwrap();
    assert!(log.segment_count() > 3, "{}", log.segment_count());
    assert!(sizes(dir.path()).contains(&0), "one is empty");
    // The time of an empty segment is that of its file.
    let old = std::time::UNIX_EPOCH + std::time::Duration::from_millis(100);
    for path in files(dir.path(), ".log") {
        let file = fs::File::options().write(true).open(path).unwrap();
        file.set_modified(old).unwrap();
    }
    log.apply_retention(5000).unwrap();
    assert_eq!(log.log_start_offset(), log.log_end_offset());
    assert_eq!(log.segment_count(), 1);
}
