//! A bit that flips in any file of a data folder is reported, or what it spoilt is made anew: nothing
//! that the folder answers afterwards differs from what it answered before.
//!
//! The folder has every kind of file: segments with transactions, some compacted, their indexes, gaps,
//! snapshots, epochs, all checkpoints, the owner's mark and that of a clean stop.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use thalweg_log::storage::{
    AbortedTxn, EpochEndOffset, FetchIsolation, LogConfig, LogManager, LogManagerConfig,
    ProducerSnapshot,
};

mod storage_support;
use storage_support::{TOPIC_ID, config, history, scratch};

/// Flips in a larger file; in a small one every third byte gets one.
const SAMPLES: usize = 12;

fn settings(topic: &str) -> LogConfig {
    let mut pairs = vec![
        ("segment.bytes", "900"),
        ("index.interval.bytes", "200"),
        ("file.delete.delay.ms", "0"),
    ];
    if topic == "compacted" {
        pairs.push(("cleanup.policy", "compact"));
        pairs.push(("min.cleanable.dirty.ratio", "0"));
    }
    config(&pairs)
}

const TOPICS: [&str; 2] = ["plain", "compacted"];

fn try_open(dir: &Path) -> Option<LogManager> {
    let mut options = LogManagerConfig::new(dir, 1);
    options.cluster_id = None;
    options.recovery_threads = 1;
    for topic in TOPICS {
        options.topics.insert(topic.to_owned(), settings(topic));
    }
    LogManager::open(options, 0).ok()
}

fn write(dir: &Path) {
    let manager = try_open(dir).unwrap();
    for topic in TOPICS {
        let log = manager
            .get_or_create(topic, 0, TOPIC_ID, settings(topic), 0)
            .unwrap();
        history(&log);
        assert!(log.segment_count() >= 4);
    }
    manager.compact_dirtiest(5000).unwrap();
    manager.get("plain", 0).unwrap().delete_records(5).unwrap();
    manager.close().unwrap();
}

/// What was answered; an error is no answer.
#[derive(Debug, PartialEq)]
enum Answer {
    Offsets(i64, i64, i64, i64),
    Epoch(EpochEndOffset),
    Producers(Vec<ProducerSnapshot>),
    Records(Bytes, i64, Vec<AbortedTxn>),
    Timestamp(Option<(i64, i64)>),
    Cluster(String),
}

impl Answer {
    /// Whether it is what it was before; a read may end before the damage.
    fn is_right(&self, expected: &Self) -> bool {
        match (self, expected) {
            (Self::Records(found, _, aborted), Self::Records(all, _, all_aborted)) => {
                !found.is_empty()
                    && all.starts_with(found)
                    && aborted.iter().all(|txn| all_aborted.contains(txn))
            }
            _ => self == expected,
        }
    }
}

type Answers = BTreeMap<String, Answer>;

fn ask(dir: &Path) -> Answers {
    let mut answers = Answers::new();
    let Some(manager) = try_open(dir) else {
        return answers;
    };
    let cluster = Answer::Cluster(manager.cluster_id().to_owned());
    answers.insert("cluster".to_owned(), cluster);
    for topic in TOPICS {
        // Of another id, or damaged: refused.
        let Ok(log) = manager.get_or_create(topic, 0, TOPIC_ID, settings(topic), 0) else {
            continue;
        };
        let mut add = |what: String, answer| {
            answers.insert(format!("{topic}: {what}"), answer);
        };
        let at = log.position();
        let (start, end) = (at.log_start_offset, at.log_end_offset);
        let offsets = Answer::Offsets(start, at.last_stable_offset, at.high_watermark, end);
        add("offsets".to_owned(), offsets);
        for epoch in 0..8 {
            let found = log.end_offset_for_epoch(epoch);
            add(format!("epoch {epoch}"), Answer::Epoch(found));
        }
        let mut producers = log.producers();
        if topic == "compacted" {
            // Their markers may be gone, and what only those said.
            for producer in &mut producers {
                (producer.coordinator_epoch, producer.last_timestamp) = (0, 0);
            }
        }
        add("producers".to_owned(), Answer::Producers(producers));
        use FetchIsolation::{LogEnd, TxnCommitted};
        for (isolation, limit) in [(LogEnd, end), (TxnCommitted, at.last_stable_offset)] {
            for offset in (start..limit).step_by(2) {
                if let Ok(data) = log.read(offset, 400, true, isolation) {
                    let read = Answer::Records(data.records, data.next_offset, data.aborted);
                    add(format!("{isolation:?} from {offset}"), read);
                }
            }
        }
        for timestamp in (990..1100).step_by(11) {
            if let Ok(found) = log.offset_for_timestamp_within(timestamp, LogEnd) {
                let found = found.map(|found| (found.timestamp, found.offset));
                add(format!("time {timestamp}"), Answer::Timestamp(found));
            }
        }
    }
    answers
}

fn files(dir: &Path, found: &mut Vec<(PathBuf, Vec<u8>)>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, found);
        } else {
            let bytes = fs::read(&path).unwrap();
            found.push((path, bytes));
        }
    }
}

fn restore(dir: &Path, saved: &[(PathBuf, Vec<u8>)]) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            fs::remove_dir_all(path).unwrap();
        } else {
            fs::remove_file(path).unwrap();
        }
    }
    for (path, bytes) in saved {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
}

#[test]
fn a_flipped_bit_anywhere_changes_no_answer() {
    let dir = scratch();
    write(dir.path());
    let mut saved = Vec::new();
    files(dir.path(), &mut saved);
    saved.sort();
    let kinds = [
        ".log",
        ".index",
        ".timeindex",
        ".txnindex",
        ".snapshot",
        ".gaps",
        "leader-epoch-checkpoint",
        "partition.metadata",
        "recovery-point-offset-checkpoint",
        "log-start-offset-checkpoint",
        "cleaner-offset-checkpoint",
        "meta.properties",
        ".kafka_cleanshutdown",
    ];
    for kind in kinds {
        let there = |(path, _): &(PathBuf, _)| path.to_str().unwrap().ends_with(kind);
        assert!(saved.iter().any(there), "there is no {kind}");
    }
    let expected = ask(dir.path());
    assert!(expected.len() > 100, "{}", expected.len());
    let marker = dir.path().join(".kafka_cleanshutdown");
    let mut answered = 0;
    for (nth, (path, bytes)) in saved.iter().enumerate() {
        let name = path.strip_prefix(dir.path()).unwrap().display();
        let step = match bytes.len() {
            0..150 => 3,
            len => len.div_ceil(SAMPLES),
        };
        for at in (nth % step..bytes.len()).step_by(step) {
            let clean = (at / step + nth) % 2 == 0;
            restore(dir.path(), &saved);
            let mut damaged = bytes.clone();
            damaged[at] ^= 1 << ((at + nth) % 8);
            fs::write(path, &damaged).unwrap();
            if !clean {
                fs::remove_file(&marker).unwrap();
            }
            let answers = ask(dir.path());
            answered += answers.len();
            for (what, answer) in answers {
                assert!(
                    answer.is_right(&expected[&what]),
                    "{what}, after byte {at} of {name} was flipped (clean stop: {clean}):\n\
                     {answer:?}, not\n{:?}",
                    expected[&what]
                );
            }
        }
    }
    assert!(answered > 5_000, "{answered}");
}
