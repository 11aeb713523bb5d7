//! Transactions where a test has to look inside, or to damage a file.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use uuid::Uuid;

use super::super::config::LogConfig;
use super::super::error::AppendError;
use super::super::manager::{LogManager, LogManagerConfig};
use super::super::marker::{Marker, TxnOutcome};
use super::super::producers::Verification;
use super::super::txn_index::AbortedTxn;
use super::super::types::{AppendInfo, AppendOrigin, FetchIsolation};
use super::{PartitionLog, state};
use crate::record::{BatchBuilder, Compression};

fn open(dir: &Path, overrides: &[(&str, &str)]) -> (LogManager, Arc<PartitionLog>) {
    let config = LogConfig::default()
        .with(overrides.iter().copied())
        .unwrap();
    let mut options = LogManagerConfig::new(dir, 1);
    options.defaults = config.clone();
    let manager = LogManager::open(options, 0).unwrap();
    let id = Uuid::from_u128(1);
    let log = manager.get_or_create("t", 0, id, config, 0).unwrap();
    (manager, log)
}

fn batch(producer: i64, epoch: i16, sequence: i32, transactional: bool) -> Bytes {
    let mut builder = BatchBuilder::new(Compression::None);
    builder
        .producer(producer, epoch, sequence)
        .transactional(transactional);
    builder.append(1000, None, Some(b"value"), &[]).unwrap();
    builder.build().unwrap()
}

fn append(
    log: &PartitionLog,
    producer: i64,
    epoch: i16,
    sequence: i32,
) -> Result<AppendInfo, AppendError> {
    let records = batch(producer, epoch, sequence, true);
    log.append_verified(records, 0, AppendOrigin::Client, 1000, Verification::Off)
}

fn end(log: &PartitionLog, producer: i64, outcome: TxnOutcome) -> i64 {
    let marker = Marker {
        producer_id: producer,
        producer_epoch: 0,
        coordinator_epoch: 0,
        outcome,
    };
    log.append_marker(marker, 1, 0, 1000).unwrap().first_offset
}

fn transaction(log: &PartitionLog, producer: i64, sequence: i32, outcome: TxnOutcome) -> i64 {
    append(log, producer, 0, sequence).unwrap();
    end(log, producer, outcome)
}

fn txn_index(log: &PartitionLog, base: i64) -> PathBuf {
    log.folder().join(format!("{base:020}.txnindex"))
}

#[test]
fn a_transaction_is_undecided_until_its_marker_is_below_the_high_watermark() {
    let dir = tempfile::tempdir().unwrap();
    let (_manager, log) = open(dir.path(), &[("flush.messages", "1")]);
    append(&log, 7, 0, 0).unwrap();
    log.flush().unwrap();
    {
        let _no_flush = log.flushing.lock();
        end(&log, 7, TxnOutcome::Commit);
        let position = log.position();
        assert_eq!((position.high_watermark, position.log_end_offset), (1, 2));
        assert_eq!(position.last_stable_offset, 0, "the end is not on disk yet");
        assert!(log.transaction_state(7, 0).is_none());
    }
    log.flush().unwrap();
    assert_eq!(log.last_stable_offset(), 2);
}

#[test]
fn a_guard_is_worthless_once_a_marker_came() {
    let dir = tempfile::tempdir().unwrap();
    let (_manager, log) = open(dir.path(), &[]);
    let start = || log.start_verification(7, 0, 0, false, 0).unwrap();
    let append = |guard| {
        let required = Verification::Required(guard);
        let records = batch(7, 0, 0, true);
        log.append_verified(records, 0, AppendOrigin::Client, 0, required)
    };
    let guard = start();
    end(&log, 7, TxnOutcome::Abort);
    for guard in [None, guard] {
        let error = append(guard).unwrap_err();
        assert!(
            matches!(error, AppendError::TransactionNotVerified { .. }),
            "{error}"
        );
    }
    append(start()).unwrap();
    assert_eq!(start(), None, "it is ongoing");
    let ongoing = log.transaction_state(7, 0).unwrap();
    assert_eq!((ongoing.first_offset, ongoing.producer_epoch), (1, 0));
    assert!(log.transaction_state(7, 1).is_none());
    let error = log.start_verification(7, -1, 0, false, 0).unwrap_err();
    assert!(matches!(error, AppendError::InvalidProducerEpoch { .. }));
    // Once more, and what is not of the transaction.
    assert!(append(None).unwrap().duplicate);
    let plain = log.append(batch(7, 0, 1, false), 0, AppendOrigin::Client, 0);
    assert!(matches!(
        plain.unwrap_err(),
        AppendError::TransactionOngoing { .. }
    ));
}

#[test]
fn markers_are_fenced() {
    let dir = tempfile::tempdir().unwrap();
    let (_manager, log) = open(dir.path(), &[]);
    let marker = |epoch, coordinator_epoch, version| {
        let marker = Marker {
            producer_id: 7,
            producer_epoch: epoch,
            coordinator_epoch,
            outcome: TxnOutcome::Abort,
        };
        log.append_marker(marker, version, 0, 0)
    };
    append(&log, 7, 3, 0).unwrap();
    let epoch = |result: Result<AppendInfo, AppendError>| {
        matches!(result, Err(AppendError::InvalidProducerEpoch { .. }))
    };
    assert!(epoch(marker(2, 0, 1)), "a zombie's");
    assert!(epoch(marker(3, 0, 2)), "with version 2 the epoch is bumped");
    assert_eq!(log.last_stable_offset(), 0);
    marker(4, 5, 2).unwrap();
    assert_eq!(log.last_stable_offset(), 2);
    // Once more: it changes nothing.
    marker(4, 5, 2).unwrap();
    let fenced = marker(4, 4, 2);
    assert!(matches!(
        fenced,
        Err(AppendError::CoordinatorFenced { current: 5, .. })
    ));
    // The new epoch begins at 0.
    let late = append(&log, 7, 3, 1).unwrap_err();
    assert!(matches!(late, AppendError::InvalidProducerEpoch { .. }));
    let gap = append(&log, 7, 4, 1).unwrap_err();
    assert!(matches!(gap, AppendError::OutOfOrderSequence { .. }));
    append(&log, 7, 4, 0).unwrap();
    // An epoch that is used up ends with itself.
    append(&log, 8, i16::MAX, 0).unwrap();
    let last = Marker {
        producer_id: 8,
        producer_epoch: i16::MAX,
        coordinator_epoch: 0,
        outcome: TxnOutcome::Commit,
    };
    log.append_marker(last, 2, 0, 0).unwrap();
    let nobody = Marker {
        producer_id: -1,
        ..last
    };
    log.append_marker(nobody, 2, 0, 0).unwrap_err();
}

/// A log of three segments whose first two have aborted transactions, one across them.
fn aborted_in_segments(log: &PartitionLog) -> Vec<AbortedTxn> {
    append(log, 9, 0, 0).unwrap();
    for n in 0..12 {
        let outcome = if n % 3 == 0 {
            TxnOutcome::Commit
        } else {
            TxnOutcome::Abort
        };
        transaction(log, 7, n, outcome);
    }
    end(log, 9, TxnOutcome::Abort);
    for n in 12..18 {
        transaction(log, 7, n, TxnOutcome::Commit);
    }
    assert!(log.segment_count() > 2);
    let aborted = log
        .aborted_transactions(0, log.last_stable_offset())
        .unwrap();
    assert_eq!(aborted.len(), 9);
    aborted
}

const SMALL: &[(&str, &str)] = &[("segment.bytes", "1400"), ("index.interval.bytes", "100")];

#[test]
fn a_damaged_index_of_aborted_transactions_is_made_anew() {
    let dir = tempfile::tempdir().unwrap();
    let (manager, log) = open(dir.path(), SMALL);
    let aborted = aborted_in_segments(&log);
    let path = txn_index(&log, 0);
    manager.close().unwrap();
    drop((manager, log));
    let bytes = std::fs::read(&path).unwrap();
    let check = |damaged: &[u8], what: &str| {
        std::fs::write(&path, damaged).unwrap();
        let (manager, log) = open(dir.path(), SMALL);
        let to = log.last_stable_offset();
        assert_eq!(log.aborted_transactions(0, to).unwrap(), aborted, "{what}");
        let read = log.read(0, 1 << 20, true, FetchIsolation::TxnCommitted);
        assert!(!read.unwrap().aborted.is_empty());
        manager.close().unwrap();
    };
    for at in (0..bytes.len()).step_by(3) {
        let mut damaged = bytes.clone();
        damaged[at] ^= 2;
        check(&damaged, &format!("byte {at}"));
    }
    check(&bytes[..40], "cut within an entry");
    // Kafka's own, which has no checksum.
    let entries = bytes.len() / 34 * 34;
    check(&bytes[..entries], "without a checksum");
    for at in [9, 25, 33] {
        let mut damaged = bytes[..entries].to_vec();
        damaged[at] ^= 64;
        check(&damaged, &format!("byte {at}, without a checksum"));
    }
}

#[test]
fn recovery_makes_the_indexes_of_aborted_transactions() {
    let dir = tempfile::tempdir().unwrap();
    let (manager, log) = open(dir.path(), SMALL);
    let aborted = aborted_in_segments(&log);
    log.flush().unwrap();
    manager.checkpoint().unwrap();
    let folder = log.folder().to_path_buf();
    drop((manager, log));
    // Also those of segments that were fsynced as a whole.
    for name in ["index", "txnindex"] {
        std::fs::remove_file(folder.join(format!("{:020}.{name}", 0))).unwrap();
    }
    let (manager, log) = open(dir.path(), SMALL);
    let to = log.last_stable_offset();
    assert_eq!(log.aborted_transactions(0, to).unwrap(), aborted);
    assert!(txn_index(&log, 0).exists());
    // A clean close leaves one snapshot between the segments, and the next open takes it away.
    for _ in 0..3 {
        transaction(&log, 11, 0, TxnOutcome::Commit);
    }
    manager.close().unwrap();
    drop((manager, log));
    let (_manager, log) = open(dir.path(), SMALL);
    let snapshots = state::snapshots(log.folder()).unwrap();
    let segments: Vec<_> = log.segments.read().keys().copied().collect();
    let strays: Vec<_> = snapshots.iter().filter(|s| !segments.contains(s)).collect();
    assert!(strays.len() <= 1, "{strays:?}");
}

#[test]
fn deleting_and_truncating_take_the_indexes_along() {
    let dir = tempfile::tempdir().unwrap();
    let (_manager, log) = open(dir.path(), SMALL);
    let aborted = aborted_in_segments(&log);
    let second = *log.segments.read().keys().nth(1).unwrap();
    let (first, next) = (txn_index(&log, 0), txn_index(&log, second));
    assert!(first.exists());
    log.delete_records(second).unwrap();
    assert!(!first.exists() && next.exists());
    let left: Vec<_> = aborted
        .iter()
        .filter(|a| a.last_offset >= second)
        .copied()
        .collect();
    let to = log.last_stable_offset();
    assert_eq!(log.aborted_transactions(second, to).unwrap(), left);
    // Without its marker the long transaction is undecided again.
    let long = aborted.iter().find(|a| a.producer_id == 9).unwrap();
    log.truncate_to(long.last_offset).unwrap();
    assert_eq!(log.last_stable_offset(), second);
    assert!(log.transaction_state(9, 0).is_some());
    assert_eq!(end(&log, 9, TxnOutcome::Commit), long.last_offset);
    assert_eq!(log.last_stable_offset(), log.log_end_offset());
    let found = log
        .aborted_transactions(second, log.log_end_offset())
        .unwrap();
    assert!(found.iter().all(|a| a.producer_id == 7) && !found.is_empty());
}

#[test]
fn a_damaged_snapshot_is_passed_over() {
    let dir = tempfile::tempdir().unwrap();
    let (manager, log) = open(dir.path(), SMALL);
    aborted_in_segments(&log);
    append(&log, 12, 0, 0).unwrap();
    let (producers, stable) = (log.producers(), log.last_stable_offset());
    manager.close().unwrap();
    drop((manager, log));
    let folder = dir.path().join("t-0");
    for offset in state::snapshots(&folder).unwrap().into_iter().rev() {
        let path = folder.join(format!("{offset:020}.snapshot"));
        let mut bytes = std::fs::read(&path).unwrap();
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        std::fs::write(&path, bytes).unwrap();
        let (manager, log) = open(dir.path(), SMALL);
        assert_eq!(log.producers(), producers);
        assert_eq!(log.last_stable_offset(), stable);
        // Not closed: that would write a good one.
        drop((manager, log));
    }
}

#[test]
fn a_producer_in_a_transaction_does_not_expire() {
    let dir = tempfile::tempdir().unwrap();
    let (_manager, log) = open(dir.path(), &[]);
    append(&log, 7, 0, 0).unwrap();
    transaction(&log, 8, 0, TxnOutcome::Commit);
    log.expire_producers(1_000_000, 1000);
    let ids: Vec<_> = log.producers().iter().map(|p| p.producer_id).collect();
    assert_eq!(ids, [7]);
    // Unknown again: it may start anywhere.
    append(&log, 8, 0, 55).unwrap();
    end(&log, 7, TxnOutcome::Commit);
    log.expire_producers(1_000_000, 1000);
    assert_eq!(log.producers().len(), 1);
}
