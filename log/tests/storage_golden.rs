//! What an earlier release wrote is read, and written again the same.
//!
//! `tests/golden/data-v1` is a data folder as it was left by a clean shutdown. To write one anew,
//! for a new version of the format beside the old: `GOLDEN=write cargo test --test storage_golden`.

use std::fs;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use thalweg_log::record::{BatchBuilder, Compression, Header, batches};
use thalweg_log::storage::{
    AppendError, AppendOrigin, FetchIsolation, LogConfig, LogManager, LogManagerConfig,
};

const TOPIC_ID: uuid::Uuid = uuid::Uuid::from_u128(0x1234);
const RECORDS: i64 = 3;

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/data-v1")
}

fn open(dir: &Path) -> LogManager {
    let mut options = LogManagerConfig::new(dir, 1);
    options.cluster_id = Some("golden-cluster".to_owned());
    LogManager::open(options, 0).unwrap()
}

fn headers(n: i64) -> Vec<Header> {
    match n % 3 {
        0 => vec![],
        1 => vec![
            Header::new("trace", Some("1")),
            Header::new("trace", Some("2")),
        ],
        _ => vec![
            Header::new("none", None::<Bytes>),
            Header::new("empty", Some("")),
        ],
    }
}

fn key(n: i64) -> Option<Vec<u8>> {
    (n % 4 != 0).then(|| format!("key-{n}").into_bytes())
}

fn value(n: i64) -> Option<Vec<u8>> {
    (n % 5 != 0).then(|| format!("the value of record {n} ").repeat(3).into_bytes())
}

fn timestamp(n: i64) -> i64 {
    1_700_000_000_000 + (n * 37) % 1000
}

/// Two batches as they are, in one segment; one of each codec in the next.
fn codecs() -> impl Iterator<Item = Compression> {
    [Compression::None; 2].into_iter().chain(Compression::ALL)
}

fn batch(number: i64, compression: Compression) -> Bytes {
    let mut builder = BatchBuilder::new(compression);
    builder.producer(4711, 2, (number * RECORDS) as i32);
    for n in number * RECORDS..(number + 1) * RECORDS {
        builder
            .append(
                timestamp(n),
                key(n).as_deref(),
                value(n).as_deref(),
                &headers(n),
            )
            .unwrap();
    }
    builder.build().unwrap()
}

fn write(dir: &Path) {
    let manager = open(dir);
    let config = LogConfig::default()
        .with([("index.interval.bytes", "100")])
        .unwrap();
    let log = manager
        .get_or_create("golden", 3, TOPIC_ID, config.clone(), 0)
        .unwrap();
    for (number, compression) in (0..).zip(codecs()) {
        if number == 2 {
            let small = config.clone().with([("segment.bytes", "700")]).unwrap();
            log.update_config(small);
        }
        let epoch = if number < 4 { 1 } else { 6 };
        log.append(
            batch(number, compression),
            epoch,
            AppendOrigin::Client,
            timestamp(0),
        )
        .unwrap();
        log.update_config(config.clone());
    }
    assert_eq!(log.segment_count(), 2);
    log.delete_records(1).unwrap();
    manager.close().unwrap();
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

fn check(dir: &Path) {
    let manager = open(dir);
    let log = manager.get("golden", 3).unwrap();
    assert_eq!(log.topic_id(), TOPIC_ID);
    let end = codecs().count() as i64 * RECORDS;
    assert_eq!((log.log_start_offset(), log.log_end_offset()), (1, end));
    assert_eq!(log.end_offset_for_epoch(1).end_offset, 4 * RECORDS);
    assert_eq!(log.latest_epoch(), Some(6));
    let mut n = 0;
    while n < end {
        let data = log
            .read(n.max(1), 1 << 20, true, FetchIsolation::HighWatermark)
            .unwrap();
        for batch in batches(data.records) {
            for record in batch.unwrap().records().unwrap() {
                let record = record.unwrap();
                assert_eq!((record.offset, record.timestamp), (n, timestamp(n)));
                assert_eq!(record.key.as_deref(), key(n).as_deref());
                assert_eq!(record.value.as_deref(), value(n).as_deref());
                assert_eq!(record.headers, headers(n));
                n += 1;
            }
        }
    }
    let found = log.offset_for_timestamp(timestamp(4)).unwrap().unwrap();
    assert_eq!((found.offset, found.leader_epoch), (4, 1));
    // The producer is known.
    let last = codecs().count() as i64 - 1;
    let retry = log.append(
        batch(last, Compression::Zstd),
        6,
        AppendOrigin::Client,
        timestamp(0),
    );
    assert!(retry.unwrap().duplicate);
    let gap = log.append(
        batch(last + 2, Compression::None),
        6,
        AppendOrigin::Client,
        timestamp(0),
    );
    assert!(matches!(gap, Err(AppendError::OutOfOrderSequence { .. })));
}

#[test]
fn the_golden_folder_is_read_clean_and_after_a_crash() {
    if std::env::var("GOLDEN").is_ok_and(|what| what == "write") {
        let _ = fs::remove_dir_all(golden());
        write(&golden());
        fs::remove_file(golden().join(".lock")).unwrap();
    }
    for clean in [true, false] {
        let dir = tempfile::tempdir().unwrap();
        copy(&golden(), dir.path());
        let marker = dir.path().join(".kafka_cleanshutdown");
        if !clean {
            fs::remove_file(marker).unwrap();
            fs::remove_file(dir.path().join("recovery-point-offset-checkpoint")).unwrap();
            fs::remove_file(dir.path().join("golden-3/00000000000000000006.index")).unwrap();
            fs::remove_file(dir.path().join("golden-3/leader-epoch-checkpoint")).unwrap();
        }
        check(dir.path());
    }
}

#[test]
fn the_same_is_written_today() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path());
    let names = |folder: PathBuf| {
        let mut names: Vec<_> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        names.sort();
        names
    };
    assert_eq!(
        names(dir.path().join("golden-3")),
        names(golden().join("golden-3"))
    );
    // Codecs may get better at compressing; all else stays byte for byte.
    for file in [
        "golden-3/00000000000000000000.log",
        "golden-3/00000000000000000000.index",
        "golden-3/00000000000000000000.timeindex",
        "golden-3/00000000000000000006.snapshot",
        "golden-3/leader-epoch-checkpoint",
        "golden-3/partition.metadata",
        "recovery-point-offset-checkpoint",
        "log-start-offset-checkpoint",
        ".kafka_cleanshutdown",
    ] {
        assert_eq!(
            fs::read(dir.path().join(file)).unwrap(),
            fs::read(golden().join(file)).unwrap(),
            "{file}"
        );
    }
}
