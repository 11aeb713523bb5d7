//! A partition as the broker leads it: its log, its leader epoch, and who waits for its records.
//!
//! Invariant: a fetch that registers and then finds nothing new is woken by every append that
//! becomes visible after its registration, once enough bytes for it have come together. Waiters of
//! other partitions sleep on.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicI64, AtomicU64, Ordering, fence};

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::storage::PartitionLog;
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
    has_waiters: AtomicBool,
    waiters: Mutex<HashMap<u64, Arc<FetchWaiter>>>,
    deleted: AtomicBool,
}

impl Partition {
    pub(crate) fn new(
        topic: Arc<str>,
        index: i32,
        log: Arc<PartitionLog>,
        leader_epoch: i32,
    ) -> Self {
        Self {
            topic,
            index,
            log,
            leader_epoch: AtomicI32::new(leader_epoch),
            has_waiters: AtomicBool::new(false),
            waiters: Mutex::default(),
            deleted: AtomicBool::new(false),
        }
    }

    /// The epoch under which this broker leads.
    pub(crate) fn leader_epoch(&self) -> i32 {
        self.leader_epoch.load(Ordering::Acquire)
    }

    /// A new leadership; epochs only grow.
    pub(crate) fn set_leader_epoch(&self, epoch: i32) {
        self.leader_epoch.fetch_max(epoch, Ordering::AcqRel);
    }

    /// Checks the leader epoch that a client knows against ours; -1 knows none.
    pub(crate) fn check_epoch(&self, known: i32) -> Result<(), ErrorCode> {
        let ours = self.leader_epoch();
        if known == -1 || known == ours {
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
        self.wake(i64::MAX);
    }

    /// Whether the topic was deleted.
    pub(crate) fn is_deleted(&self) -> bool {
        self.deleted.load(Ordering::Acquire)
    }

    /// `bytes` more became visible to readers.
    pub(crate) fn wake(&self, bytes: i64) {
        // With the fence in `Waiting::register`: either the waiter is seen here, or what was
        // appended is seen there.
        fence(Ordering::SeqCst);
        if !self.has_waiters.load(Ordering::SeqCst) {
            return;
        }
        let mut waiters = self.waiters.lock();
        waiters.retain(|_, waiter| !waiter.arrived(bytes));
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
    pub(crate) fn register(partitions: Vec<Arc<Partition>>, missing: i64) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let waiter = Arc::new(FetchWaiter {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
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
    use crate::storage::{LogConfig, LogManager, LogManagerConfig};

    fn partition(dir: &std::path::Path, index: i32) -> Arc<Partition> {
        let logs =
            LogManager::open(LogManagerConfig::new(dir.join(index.to_string()), 1), 0).unwrap();
        let id = uuid::Uuid::from_u128(7);
        let log = logs
            .get_or_create("t", index, id, LogConfig::default(), 0)
            .unwrap();
        Arc::new(Partition::new(Arc::from("t"), index, log, 3))
    }

    #[test]
    fn a_waiter_wakes_when_enough_bytes_came_to_its_own_partitions() {
        let dir = tempfile::tempdir().unwrap();
        let [a, b, c] = [0, 1, 2].map(|i| partition(dir.path(), i));
        let both = Waiting::register(vec![Arc::clone(&a), Arc::clone(&b)], 10);
        let other = Waiting::register(vec![Arc::clone(&c)], 1);
        a.wake(4);
        assert!(both.arrived().now_or_never().is_none());
        b.wake(6);
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
    fn leader_epochs_are_fenced() {
        let dir = tempfile::tempdir().unwrap();
        let partition = partition(dir.path(), 0);
        assert_eq!(partition.check_epoch(-1), Ok(()));
        assert_eq!(partition.check_epoch(3), Ok(()));
        assert_eq!(partition.check_epoch(2), Err(ErrorCode::FencedLeaderEpoch));
        assert_eq!(partition.check_epoch(4), Err(ErrorCode::UnknownLeaderEpoch));
        partition.set_leader_epoch(2);
        assert_eq!(partition.leader_epoch(), 3, "epochs only grow");
    }
}
