//! What takes a look inside, or a failing disk.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use uuid::Uuid;

use super::super::config::LogConfig;
use super::super::error::{AppendError, StorageError};
use super::super::manager::{LogManager, LogManagerConfig};
use super::super::types::{AppendOrigin, FetchIsolation, LogState};
use super::PartitionLog;
use crate::record::{BatchBuilder, Compression, Header, RecordBatch, RecordError, batches};

const ID: Uuid = Uuid::from_u128(1);

fn open(dir: &Path) -> LogManager {
    LogManager::open(LogManagerConfig::new(dir, 1), 0).unwrap()
}

fn log(manager: &LogManager, overrides: &[(&str, &str)]) -> Arc<PartitionLog> {
    let config = LogConfig::default()
        .with(overrides.iter().copied())
        .unwrap();
    let log = manager
        .get_or_create("t", 0, ID, config.clone(), 0)
        .unwrap();
    log.update_config(config);
    log
}

fn batch(count: usize) -> Bytes {
    batch_with(count, |b| b)
}

fn batch_with(count: usize, change: impl FnOnce(&mut BatchBuilder) -> &mut BatchBuilder) -> Bytes {
    let mut builder = BatchBuilder::new(Compression::None);
    change(&mut builder);
    for n in 0..count {
        builder
            .append(1000 + n as i64, Some(b"key"), Some(b"value"), &[])
            .unwrap();
    }
    builder.build().unwrap()
}

fn append(log: &PartitionLog, bytes: Bytes) -> i64 {
    log.append(bytes, 0, AppendOrigin::Client, 1000)
        .unwrap()
        .first_offset
}

fn refused(log: &PartitionLog, bytes: Bytes) -> AppendError {
    let before = (log.log_end_offset(), log.size());
    let error = log
        .append(bytes, 0, AppendOrigin::Client, 1000)
        .unwrap_err();
    assert_eq!((log.log_end_offset(), log.size()), before);
    error
}

#[test]
fn a_full_disk_takes_nothing_and_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let manager = open(dir.path());
    let log = log(&manager, &[]);
    append(&log, batch(2));
    for room in [0, 1, 30, 61, 70] {
        *log.dir().faults.disk_full_after.lock() = Some(room);
        let error = refused(&log, batch(2));
        assert!(
            matches!(error, AppendError::Storage(StorageError::DiskFull { .. })),
            "{error}"
        );
    }
    assert_eq!(append(&log, batch(2)), 2);
    let file = log.folder().join("00000000000000000000.log");
    assert_eq!(
        std::fs::metadata(file).unwrap().len(),
        2 * batch(2).len() as u64
    );
    let data = log.read(0, 1 << 20, true, FetchIsolation::LogEnd).unwrap();
    assert_eq!(data.next_offset, 4);
}

#[test]
fn a_failed_fsync_takes_the_folder_offline_for_good() {
    let dir = tempfile::tempdir().unwrap();
    let manager = open(dir.path());
    let log = log(&manager, &[]);
    let other = manager
        .get_or_create("t", 1, ID, LogConfig::default(), 0)
        .unwrap();
    append(&log, batch(1));
    log.dir().faults.sync_fails.store(true, Ordering::Relaxed);
    let watch = log.watch();
    assert!(matches!(log.flush(), Err(StorageError::Io { .. })));
    assert_eq!(watch.borrow().state, LogState::Offline);
    // The disk would work again: nobody asks it.
    for log in [&log, &other] {
        assert!(matches!(
            log.flush_through(i64::MAX - 1),
            Err(StorageError::Offline { .. })
        ));
        let error = refused(log, batch(1));
        assert!(
            matches!(error, AppendError::Storage(StorageError::Offline { .. })),
            "{error}"
        );
        log.read(0, 1, true, FetchIsolation::LogEnd).unwrap_err();
        assert_eq!(log.position().state, LogState::Offline);
    }
    assert_eq!(log.flushed_offset(), 0);
    assert!(manager.close().is_err());
    assert!(!dir.path().join(".kafka_cleanshutdown").exists());
}

#[test]
fn nobody_reads_what_is_not_on_disk_where_that_is_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let manager = open(dir.path());
    let log = log(&manager, &[("flush.messages", "1")]);
    // The group commit finds this log's flush lock taken.
    let guard = log.flushing.lock();
    append(&log, batch(3));
    assert_eq!((log.log_end_offset(), log.high_watermark()), (3, 0));
    let read = |isolation| log.read(0, 1 << 20, true, isolation).unwrap().next_offset;
    assert_eq!(read(FetchIsolation::HighWatermark), 0);
    assert_eq!(read(FetchIsolation::LogEnd), 3);
    drop(guard);
    // The watch tells when the group commit came by.
    let mut watch = log.watch();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    runtime
        .block_on(watch.wait_for(|position| position.high_watermark == 3))
        .unwrap();
    assert_eq!(read(FetchIsolation::TxnCommitted), 3);
    assert_eq!(log.flushed_offset(), 3);
}

#[test]
fn a_group_commit_serves_many_logs() {
    let dir = tempfile::tempdir().unwrap();
    let manager = open(dir.path());
    let config = LogConfig::default()
        .with([("flush.messages", "1")])
        .unwrap();
    let logs: Vec<_> = (0..20)
        .map(|n| {
            manager
                .get_or_create("t", n, ID, config.clone(), 0)
                .unwrap()
        })
        .collect();
    std::thread::scope(|scope| {
        for log in &logs {
            scope.spawn(move || {
                for _ in 0..5 {
                    append(log, batch(1));
                }
            });
        }
    });
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    for log in &logs {
        let mut watch = log.watch();
        runtime
            .block_on(watch.wait_for(|position| position.high_watermark == 5))
            .unwrap();
    }
}

#[test]
fn what_is_not_a_valid_batch_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let manager = open(dir.path());
    let log = log(
        &manager,
        &[("max.message.bytes", "500"), ("segment.bytes", "2000")],
    );
    let flipped = {
        let mut bytes = batch(1).to_vec();
        *bytes.last_mut().unwrap() ^= 1;
        Bytes::from(bytes)
    };
    let twice = [batch(1), batch(1)].concat().into();
    let is_invalid = |error: AppendError| matches!(error, AppendError::InvalidRecord(_));
    assert!(matches!(
        refused(&log, flipped),
        AppendError::Record(RecordError::Crc { .. })
    ));
    assert!(matches!(
        refused(&log, Bytes::new()),
        AppendError::Record(RecordError::Empty)
    ));
    assert!(matches!(
        refused(&log, batch(1).slice(..70)),
        AppendError::Record(RecordError::Truncated { .. })
    ));
    assert!(is_invalid(refused(&log, twice)));
    assert!(is_invalid(refused(
        &log,
        batch_with(1, |b| b.control(true))
    )));
    assert!(is_invalid(refused(
        &log,
        batch_with(1, |b| b.base_offset(3))
    )));
    assert!(is_invalid(refused(
        &log,
        batch_with(1, |b| b.producer(1, 0, -1))
    )));
    assert!(matches!(
        refused(
            &log,
            batch_with(1, |b| b.transactional(true).producer(1, 0, 0))
        ),
        AppendError::TransactionNotVerified { .. }
    ));
    assert!(matches!(
        refused(&log, batch(50)),
        AppendError::MessageTooLarge { limit: 500, .. }
    ));
    let late = log
        .append(batch(1), 0, AppendOrigin::Client, 1000 - 3_600_001)
        .unwrap_err();
    assert!(matches!(late, AppendError::InvalidTimestamps(_)));
    let many = std::iter::repeat_n(batch(10), 20)
        .collect::<Vec<_>>()
        .concat();
    let error = log
        .append(many.into(), 0, AppendOrigin::Coordinator, 1000)
        .unwrap_err();
    assert!(matches!(error, AppendError::RecordListTooLarge { .. }));
    assert_eq!(log.log_end_offset(), 0);
}

#[test]
fn compacted_topics_take_only_keyed_records() {
    let dir = tempfile::tempdir().unwrap();
    let manager = open(dir.path());
    let log = log(&manager, &[("cleanup.policy", "compact")]);
    append(&log, batch(1));
    let mut builder = BatchBuilder::new(Compression::Zstd);
    builder.append(0, Some(b"k"), None, &[]).unwrap();
    builder.append(0, None, Some(b"v"), &[]).unwrap();
    assert!(matches!(
        refused(&log, builder.build().unwrap()),
        AppendError::InvalidRecords(_)
    ));
}

#[test]
fn the_brokers_clock_stamps_where_asked() {
    let dir = tempfile::tempdir().unwrap();
    let manager = open(dir.path());
    let log = log(&manager, &[("message.timestamp.type", "LogAppendTime")]);
    let info = log.append(batch(3), 4, AppendOrigin::Client, 777).unwrap();
    assert_eq!((info.log_append_time, info.max_timestamp), (777, 777));
    let data = log
        .read(1, 1 << 20, true, FetchIsolation::HighWatermark)
        .unwrap();
    let batch = RecordBatch::checked(data.records).unwrap();
    assert_eq!(batch.partition_leader_epoch, 4);
    let times: Vec<_> = batch
        .records()
        .unwrap()
        .map(|r| r.unwrap().timestamp)
        .collect();
    assert_eq!(times, [777; 3]);
}

#[test]
fn batches_are_stored_with_the_topics_codec() {
    let dir = tempfile::tempdir().unwrap();
    let manager = open(dir.path());
    let log = log(&manager, &[("compression.type", "lz4")]);
    let mut builder = BatchBuilder::new(Compression::Gzip);
    builder.producer(7, 1, 5);
    let headers = [Header::new("h", Some("1")), Header::new("h", None::<Bytes>)];
    builder.append(5, Some(b"k"), None, &headers).unwrap();
    builder.append(3, None, Some(b"v"), &[]).unwrap();
    let sent = RecordBatch::checked(builder.build().unwrap()).unwrap();
    append(&log, batch(4));
    append(&log, sent.bytes().clone());
    append(&log, sent.bytes().clone());
    assert_eq!(log.log_end_offset(), 6);
    let data = log
        .read(4, 1 << 20, true, FetchIsolation::HighWatermark)
        .unwrap();
    let stored = RecordBatch::checked(data.records).unwrap();
    assert_eq!(stored.compression(), Compression::Lz4);
    assert_eq!(
        (
            stored.producer_id,
            stored.producer_epoch,
            stored.base_sequence
        ),
        (7, 1, 5)
    );
    let records = |batch: &RecordBatch| -> Vec<_> {
        let records = batch.records().unwrap().map(Result::unwrap);
        records
            .map(|r| {
                (
                    r.offset - batch.base_offset,
                    r.timestamp,
                    r.key,
                    r.value,
                    r.headers,
                )
            })
            .collect()
    };
    assert_eq!(records(&stored), records(&sent));
}

#[test]
fn a_producer_is_known_again_after_a_restart() {
    for clean in [true, false] {
        let dir = tempfile::tempdir().unwrap();
        let manager = open(dir.path());
        let log1 = log(&manager, &[("segment.bytes", "200")]);
        let produce = |log: &PartitionLog, sequence, epoch| {
            let bytes = batch_with(2, |b| b.producer(9, epoch, sequence));
            log.append(bytes, 0, AppendOrigin::Client, 1000)
        };
        for n in 0..8 {
            assert_eq!(
                produce(&log1, n * 2, 3).unwrap().first_offset,
                i64::from(n) * 2
            );
        }
        assert!(log1.segment_count() > 3);
        if clean {
            manager.close().unwrap();
        }
        drop((manager, log1));
        let manager = open(dir.path());
        let log = log(&manager, &[]);
        for n in 3..8 {
            let info = produce(&log, n * 2, 3).unwrap();
            assert!(info.duplicate, "clean {clean}, batch {n}");
            assert_eq!(info.first_offset, i64::from(n) * 2);
        }
        assert!(matches!(
            produce(&log, 20, 3),
            Err(AppendError::OutOfOrderSequence { .. })
        ));
        assert!(matches!(
            produce(&log, 16, 2),
            Err(AppendError::InvalidProducerEpoch { .. })
        ));
        assert_eq!(produce(&log, 16, 3).unwrap().first_offset, 16);
    }
}

#[test]
fn epochs_fence_and_followers_go_on_where_the_log_ends() {
    let dir = tempfile::tempdir().unwrap();
    let manager = open(dir.path());
    let log = log(&manager, &[]);
    log.append(batch(2), 3, AppendOrigin::Client, 1000).unwrap();
    let error = log
        .append(batch(2), 2, AppendOrigin::Client, 1000)
        .unwrap_err();
    assert!(matches!(
        error,
        AppendError::FencedLeaderEpoch {
            epoch: 2,
            current: 3
        }
    ));
    let at = |offset, epoch| batch_with(2, |b| b.base_offset(offset).partition_leader_epoch(epoch));
    let error = log.append_as_follower(at(1, 5), 0).unwrap_err();
    assert!(matches!(
        error,
        AppendError::OffsetGap {
            base_offset: 1,
            log_end_offset: 2
        }
    ));
    log.append_as_follower([at(2, 3), at(4, 5)].concat().into(), 0)
        .unwrap();
    assert_eq!(log.log_end_offset(), 6);
    assert_eq!(log.end_offset_for_epoch(4).end_offset, 4);
    assert_eq!(log.end_offset_for_epoch(5).end_offset, 6);
    let data = log.read(0, 1 << 20, true, FetchIsolation::LogEnd).unwrap();
    let epochs: Vec<_> = batches(data.records)
        .map(|b| b.unwrap().partition_leader_epoch)
        .collect();
    assert_eq!(epochs, [3, 3, 5]);
}

#[test]
fn retention_deletes_the_active_segment_too_when_all_is_old() {
    let dir = tempfile::tempdir().unwrap();
    let manager = open(dir.path());
    let log = log(&manager, &[("retention.ms", "500")]);
    append(&log, batch(3));
    assert_eq!(log.apply_retention(1502).unwrap(), 0);
    assert_eq!(log.apply_retention(1503).unwrap(), 1);
    assert_eq!(
        (log.log_start_offset(), log.log_end_offset(), log.size()),
        (3, 3, 0)
    );
    assert!(!log.folder().join("00000000000000000000.log").exists());
    assert_eq!(append(&log, batch(1)), 3);
    // A compacted topic keeps everything.
    log.update_config(
        LogConfig::default()
            .with([("cleanup.policy", "compact"), ("retention.ms", "1")])
            .unwrap(),
    );
    assert_eq!(log.apply_retention(i64::MAX).unwrap(), 0);
}

#[test]
fn flush_ms_and_the_checkpoint_follow_the_tick() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = LogManagerConfig::new(dir.path(), 1);
    config.checkpoint_interval_ms = 0;
    let manager = LogManager::open(config, 0).unwrap();
    let log = log(&manager, &[("flush.ms", "100")]);
    append(&log, batch(1));
    manager.tick(99).unwrap();
    assert_eq!(log.flushed_offset(), 0);
    manager.tick(100).unwrap();
    assert_eq!(log.flushed_offset(), 1);
    let text =
        std::fs::read_to_string(dir.path().join("recovery-point-offset-checkpoint")).unwrap();
    assert!(text.starts_with("0\n1\nt 0 1 "), "{text}");
}

#[test]
fn a_deleted_topic_may_come_again_with_another_id() {
    let dir = tempfile::tempdir().unwrap();
    let manager = open(dir.path());
    let log1 = log(&manager, &[]);
    append(&log1, batch(1));
    let other = Uuid::from_u128(2);
    let error = manager
        .get_or_create("t", 0, other, LogConfig::default(), 0)
        .unwrap_err();
    assert!(
        matches!(error, StorageError::TopicIdMismatch { .. }),
        "{error}"
    );
    manager.delete("t", 0).unwrap();
    assert!(matches!(
        refused(&log1, batch(1)),
        AppendError::Storage(StorageError::Closed { .. })
    ));
    let log2 = manager
        .get_or_create("t", 0, other, LogConfig::default(), 0)
        .unwrap();
    assert_eq!(log2.log_end_offset(), 0);
    // What a crash left half deleted goes at the next open.
    std::fs::create_dir(dir.path().join("x-0.abc-delete")).unwrap();
    drop((manager, log1, log2));
    let manager = open(dir.path());
    assert!(!dir.path().join("x-0.abc-delete").exists());
    assert_eq!(manager.get("t", 0).unwrap().topic_id(), other);
    for bad in ["", "a/b", "..", &"x".repeat(250)] {
        manager
            .get_or_create(bad, 0, ID, LogConfig::default(), 0)
            .unwrap_err();
    }
    let long = "x".repeat(249);
    manager
        .get_or_create(&long, 0, ID, LogConfig::default(), 0)
        .unwrap();
    manager.delete(&long, 0).unwrap();
}

#[test]
fn a_recreated_topic_is_not_taken_for_the_deleted_one_after_a_crash() {
    let dir = tempfile::tempdir().unwrap();
    let manager = open(dir.path());
    let log1 = log(&manager, &[]);
    append(&log1, batch(50));
    log1.delete_records(40).unwrap();
    log1.flush().unwrap();
    manager.checkpoint().unwrap();
    manager.delete("t", 0).unwrap();
    let log2 = manager
        .get_or_create("t", 0, Uuid::from_u128(2), LogConfig::default(), 0)
        .unwrap();
    append(&log2, batch(3));
    drop((manager, log1, log2));
    let log = open(dir.path()).get("t", 0).unwrap();
    assert_eq!((log.log_start_offset(), log.log_end_offset()), (0, 3));
}

#[test]
fn a_folder_of_another_node_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let cluster = open(dir.path()).cluster_id().to_owned();
    assert_eq!(open(dir.path()).cluster_id(), cluster);
    let error = LogManager::open(LogManagerConfig::new(dir.path(), 2), 0).unwrap_err();
    assert!(matches!(error, StorageError::WrongOwner { .. }), "{error}");
    let mut config = LogManagerConfig::new(dir.path(), 1);
    config.cluster_id = Some("another".into());
    assert!(LogManager::open(config, 0).is_err());
}

#[test]
fn one_damaged_log_leaves_the_others_serving() {
    let dir = tempfile::tempdir().unwrap();
    let manager = open(dir.path());
    let log1 = log(&manager, &[]);
    let log2 = manager
        .get_or_create("u", 0, ID, LogConfig::default(), 0)
        .unwrap();
    append(&log1, batch(1));
    append(&log2, batch(1));
    manager.close().unwrap();
    let file = log1.folder().join("00000000000000000000.log");
    drop((manager, log1, log2));
    let mut bytes = std::fs::read(&file).unwrap();
    bytes[8] = 0x7f;
    std::fs::write(&file, bytes).unwrap();
    for _ in 0..2 {
        let manager = open(dir.path());
        let failed = manager.failed();
        assert_eq!((failed.len(), failed[0].0.as_str()), (1, "t"));
        assert!(matches!(
            *failed[0].2,
            StorageError::Corrupt { offset: 0, .. }
        ));
        let error = manager
            .get_or_create("t", 0, ID, LogConfig::default(), 0)
            .unwrap_err();
        assert!(error.to_string().contains("corrupt"), "{error}");
        assert!(append(&manager.get("u", 0).unwrap(), batch(1)) > 0);
    }
}
