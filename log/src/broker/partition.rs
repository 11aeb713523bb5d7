//! A partition as the broker leads it: its log, its leader epoch, and who waits for its records.
//!
//! Invariant: a fetch that registers and then finds nothing new is woken by every append that
//! becomes visible to it after its registration, once enough bytes for it have come together.
//! Waiters of other partitions sleep on. What is visible to a reader of committed records ends with
//! the last stable offset: records of an ongoing transaction wake it only when the transaction
//! ends, and then it looks for itself how much that is.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicI64, AtomicU64, Ordering, fence};

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::storage::{AppendInfo, EpochEndOffset, FetchIsolation, LogPosition, PartitionLog};
use crate::wire::ErrorCode;

/// A partition that this broker leads.
#[derive(Debug)]
pub(crate) struct Partition {
    /// Topic name.
    pub(crate) topic: Arc<str>,
    /// Partition number.
    pub(crate) index: i32,
    /// Its log.
    pub(crate) log: Arc<PartitionLog>,
    leader_epoch: AtomicI32,
    /// Where the log ended when the epoch began.
    epoch_start: AtomicI64,
    has_waiters: AtomicBool,
    waiters: Mutex<HashMap<u64, Arc<FetchWaiter>>>,
    /// The last stable offset when a transaction last ended.
    stable: AtomicI64,
    deleted: AtomicBool,
}

impl Partition {
    pub(crate) fn new(
        topic: Arc<str>,
        index: i32,
        log: Arc<PartitionLog>,
        leader_epoch: i32,
    ) -> Self {
        let epoch_start = AtomicI64::new(log.log_end_offset());
        Self {
            topic,
            index,
            log,
            leader_epoch: AtomicI32::new(leader_epoch),
            epoch_start,
            has_waiters: AtomicBool::new(false),
            waiters: Mutex::default(),
            stable: AtomicI64::new(-1),
            deleted: AtomicBool::new(false),
        }
    }

    /// The epoch under which this broker leads.
    pub(crate) fn leader_epoch(&self) -> i32 {
        self.leader_epoch.load(Ordering::Acquire)
    }

    /// A new leadership; epochs only grow.
    pub(crate) fn set_leader_epoch(&self, epoch: i32) {
        if epoch > self.leader_epoch() {
            // First, so that who sees the new epoch sees where it begins.
            self.epoch_start
                .store(self.log.log_end_offset(), Ordering::Release);
            self.leader_epoch.fetch_max(epoch, Ordering::AcqRel);
        }
    }

    /// Where the log ended when this leadership began: clients may have seen all below.
    pub(crate) fn epoch_start_offset(&self) -> i64 {
        self.epoch_start.load(Ordering::Acquire)
    }

    /// The leader epoch of the first offset that may be read, -1 when it is not known. An empty
    /// log begins with whatever its leader appends.
    pub(crate) fn epoch_of_start(&self, position: &LogPosition) -> i32 {
        if position.log_start_offset == position.log_end_offset {
            return self.leader_epoch();
        }
        let epoch = self.log.epoch_for_offset(position.log_start_offset);
        epoch.unwrap_or(-1)
    }

    /// Where a leader epoch ends. The present one lasts, also before anything is appended in it;
    /// of one that is yet to come nothing is known.
    pub(crate) fn end_offset_for_epoch(&self, epoch: i32) -> EpochEndOffset {
        let leader_epoch = self.leader_epoch();
        if epoch == leader_epoch {
            return EpochEndOffset {
                leader_epoch,
                end_offset: self.log.log_end_offset(),
            };
        }
        if epoch < 0 || epoch > leader_epoch {
            return EpochEndOffset::UNKNOWN;
        }
        match self.log.latest_epoch() {
            // Nothing has been appended since: it ended where the present one begins.
            Some(latest) if epoch >= latest => EpochEndOffset {
                leader_epoch: latest,
                end_offset: self.epoch_start_offset(),
            },
            Some(_) => self.log.end_offset_for_epoch(epoch),
            None => EpochEndOffset {
                leader_epoch: epoch,
                end_offset: self.epoch_start_offset(),
            },
        }
    }

    /// Checks the leader epoch that a client knows against ours; -1 knows none.
    pub(crate) fn check_epoch(&self, known: i32) -> Result<(), ErrorCode> {
        let ours = self.leader_epoch();
        if known < 0 || known == ours {
            Ok(())
        } else if known < ours {
            Err(ErrorCode::FencedLeaderEpoch)
        } else {
            Err(ErrorCode::UnknownLeaderEpoch)
        }
    }

    /// The topic was deleted: whoever waits finds out now.
    pub(crate) fn set_deleted(&self) {
        self.deleted.store(true, Ordering::Release);
        self.wake(i64::MAX, i64::MAX);
    }

    /// Whether the topic was deleted.
    pub(crate) fn is_deleted(&self) -> bool {
        self.deleted.load(Ordering::Acquire)
    }

    /// What was appended has come below the high watermark: wakes whom it concerns.
    pub(crate) fn appended(&self, info: &AppendInfo) {
        let bytes = i64::try_from(info.size).unwrap_or(i64::MAX);
        let stable = self.log.last_stable_offset();
        let committed = if info.marker {
            // With it everything may be visible that its transaction has held back.
            let moved = self.stable.fetch_max(stable, Ordering::AcqRel) < stable;
            if moved { i64::MAX } else { 0 }
        } else if stable > info.last_offset {
            bytes
        } else {
            0
        };
        self.wake(bytes, committed);
    }

    /// So many bytes more became visible to readers, and to those of committed records.
    fn wake(&self, bytes: i64, committed: i64) {
        // With the fence in `Waiting::register`: either the waiter is seen here, or what was
        // appended is seen there.
        fence(Ordering::SeqCst);
        if !self.has_waiters.load(Ordering::SeqCst) {
            return;
        }
        let mut waiters = self.waiters.lock();
        waiters.retain(|_, waiter| {
            let bytes = if waiter.committed { committed } else { bytes };
            bytes == 0 || !waiter.arrived(bytes)
        });
        self.has_waiters
            .store(!waiters.is_empty(), Ordering::SeqCst);
    }

    fn register(&self, waiter: &Arc<FetchWaiter>) {
        let mut waiters = self.waiters.lock();
        waiters.insert(waiter.id, Arc::clone(waiter));
        self.has_waiters.store(true, Ordering::SeqCst);
    }

    fn unregister(&self, id: u64) {
        let mut waiters = self.waiters.lock();
        waiters.remove(&id);
        self.has_waiters
            .store(!waiters.is_empty(), Ordering::SeqCst);
    }

    #[cfg(test)]
    fn waiting(&self) -> usize {
        self.waiters.lock().len()
    }
}

/// A fetch that waits for bytes.
#[derive(Debug)]
pub(crate) struct FetchWaiter {
    id: u64,
    /// It reads committed records only.
    committed: bool,
    missing: AtomicI64,
    notify: Notify,
}

impl FetchWaiter {
    /// Returns whether the waiter has what it waits for.
    fn arrived(&self, bytes: i64) -> bool {
        let left = self
            .missing
            .fetch_sub(bytes, Ordering::AcqRel)
            .saturating_sub(bytes);
        if left <= 0 {
            self.notify.notify_one();
        }
        left <= 0
    }
}

/// A registration with some partitions; dropping it takes it back.
#[derive(Debug)]
pub(crate) struct Waiting {
    waiter: Arc<FetchWaiter>,
    partitions: Vec<Arc<Partition>>,
}

impl Waiting {
    /// Registers for `missing` more bytes (at least one) over all the partitions.
    pub(crate) fn register(
        partitions: Vec<Arc<Partition>>,
        missing: i64,
        isolation: FetchIsolation,
    ) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let waiter = Arc::new(FetchWaiter {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            committed: isolation == FetchIsolation::TxnCommitted,
            missing: AtomicI64::new(missing.max(1)),
            notify: Notify::new(),
        });
        for partition in &partitions {
            partition.register(&waiter);
        }
        fence(Ordering::SeqCst);
        Self { waiter, partitions }
    }

    /// Returns once the bytes have arrived.
    pub(crate) async fn arrived(&self) {
        self.waiter.notify.notified().await;
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        for partition in &self.partitions {
            partition.unregister(self.waiter.id);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;
    use crate::record::{BatchBuilder, Compression};
    use crate::storage::{
        AppendOrigin, LogConfig, LogManager, LogManagerConfig, Marker, TxnOutcome, Verification,
    };

    fn partition(dir: &std::path::Path, index: i32) -> (LogManager, Arc<Partition>) {
        let logs =
            LogManager::open(LogManagerConfig::new(dir.join(index.to_string()), 1), 0).unwrap();
        let id = uuid::Uuid::from_u128(7);
        let log = logs
            .get_or_create("t", index, id, LogConfig::default(), 0)
            .unwrap();
        let partition = Partition::new(Arc::from("t"), index, log, 3);
        (logs, Arc::new(partition))
    }

    fn waiting(partitions: &[&Arc<Partition>], missing: i64, isolation: FetchIsolation) -> Waiting {
        let partitions = partitions.iter().map(|p| Arc::clone(p)).collect();
        Waiting::register(partitions, missing, isolation)
    }

    #[test]
    fn a_waiter_wakes_when_enough_bytes_came_to_its_own_partitions() {
        let dir = tempfile::tempdir().unwrap();
        let [(_x, a), (_y, b), (_z, c)] = [0, 1, 2].map(|i| partition(dir.path(), i));
        let both = waiting(&[&a, &b], 10, FetchIsolation::HighWatermark);
        let other = waiting(&[&c], 1, FetchIsolation::HighWatermark);
        a.wake(4, 4);
        assert!(both.arrived().now_or_never().is_none());
        b.wake(6, 0);
        assert!(both.arrived().now_or_never().is_some());
        assert!(
            other.arrived().now_or_never().is_none(),
            "nothing came to its partition"
        );
        drop(both);
        assert_eq!((a.waiting(), b.waiting(), c.waiting()), (0, 0, 1));
        c.set_deleted();
        assert!(other.arrived().now_or_never().is_some());
    }

    #[test]
    fn a_reader_of_committed_records_wakes_when_the_transaction_ends() {
        let dir = tempfile::tempdir().unwrap();
        let (_logs, partition) = partition(dir.path(), 0);
        let append = |transactional: bool| {
            let mut builder = BatchBuilder::new(Compression::None);
            if transactional {
                builder.producer(7, 0, 0).transactional(true);
            }
            builder.append(0, None, None, &[]).unwrap();
            let records = builder.build().unwrap();
            let off = Verification::Off;
            let info = partition
                .log
                .append_verified(records, 0, AppendOrigin::Client, 0, off);
            partition.appended(&info.unwrap());
        };
        let end = |producer_id| {
            let marker = Marker {
                producer_id,
                producer_epoch: 0,
                coordinator_epoch: 0,
                outcome: TxnOutcome::Abort,
            };
            let info = partition.log.append_marker(marker, 1, 0, 0).unwrap();
            partition.appended(&info);
        };
        let committed = || waiting(&[&partition], 1, FetchIsolation::TxnCommitted);
        let woken = |waiting: &Waiting| waiting.arrived().now_or_never().is_some();
        let uncommitted = waiting(&[&partition], 1, FetchIsolation::HighWatermark);
        let waits = committed();
        append(false);
        assert!(
            woken(&uncommitted) && woken(&waits),
            "nothing holds it back"
        );
        let (uncommitted, waits) = (
            waiting(&[&partition], 1, FetchIsolation::HighWatermark),
            committed(),
        );
        append(true);
        assert!(woken(&uncommitted) && !woken(&waits));
        end(8);
        let waits = committed();
        append(false);
        assert!(!woken(&waits), "it lies behind the transaction");
        end(8);
        assert!(!woken(&waits), "another's marker, which changes nothing");
        end(7);
        assert!(woken(&waits));
        assert_eq!(partition.waiting(), 0);
    }

    #[test]
    fn leader_epochs_are_fenced() {
        let dir = tempfile::tempdir().unwrap();
        let (_logs, partition) = partition(dir.path(), 0);
        assert_eq!(partition.check_epoch(-1), Ok(()));
        assert_eq!(partition.check_epoch(3), Ok(()));
        assert_eq!(partition.check_epoch(2), Err(ErrorCode::FencedLeaderEpoch));
        assert_eq!(partition.check_epoch(4), Err(ErrorCode::UnknownLeaderEpoch));
        partition.set_leader_epoch(2);
        assert_eq!(partition.leader_epoch(), 3, "epochs only grow");
    }
}
