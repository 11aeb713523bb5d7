//! All coordinators of a kind: one for each partition of their topic.
//!
//! Invariants: what a coordinator keeps is where Kafka would look for it; a coordinator whose
//! partition cannot be read is not there, and whoever wants it is told so, rather than what it may
//! have forgotten; the others serve.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use parking_lot::RwLock;
use tokio::sync::{Notify, watch};

use super::core::{Core, now};
use super::partition::Partition;
use super::shard::{Hosted, Shard};
use crate::wire::ErrorCode;

/// The coordinators of one kind.
#[derive(Debug)]
pub(crate) struct Shards<C: Hosted> {
    table: RwLock<Table<C>>,
    /// The time the timer task sleeps until.
    wakes_at: AtomicI64,
    earlier: Notify,
}

/// The coordinators by partition; `None` where the partition cannot be read.
#[derive(Debug)]
pub(crate) struct Table<C: Hosted>(Arc<[Option<Arc<Shard<C>>>]>);

// Not derived: it would ask for coordinators that can be cloned.
impl<C: Hosted> Clone for Table<C> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<C: Hosted> Table<C> {
    /// Those that serve.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<Shard<C>>> {
        self.0.iter().flatten()
    }

    /// Whether every one serves.
    pub(crate) fn is_whole(&self) -> bool {
        self.0.iter().all(Option::is_some)
    }
}

impl<C: Hosted> Shards<C> {
    pub(crate) fn new() -> Self {
        Self {
            table: RwLock::new(Table(Arc::default())),
            wakes_at: AtomicI64::new(i64::MAX),
            earlier: Notify::new(),
        }
    }

    /// Whether they are there.
    pub(crate) fn is_loaded(&self) -> bool {
        !self.table.read().0.is_empty()
    }

    /// The coordinators that there are.
    pub(crate) fn table(&self) -> Table<C> {
        self.table.read().clone()
    }

    /// The coordinators, if they are not there yet and their topic is. Blocks on the disk.
    pub(crate) fn load(&self, core: &Core, new: impl Fn(&Partition) -> C) -> Option<Table<C>> {
        if self.is_loaded() {
            return None;
        }
        let registry = core.replicas.registry();
        let topic = registry.topic(C::TOPIC)?;
        let slots = topic.partitions.iter().enumerate().map(|(index, p)| {
            let Some(partition) = p else {
                not_served::<C>(index, "the partition is offline");
                return None;
            };
            match Shard::load(Arc::clone(partition), new(partition), now()) {
                Ok(shard) => Some(Arc::new(shard)),
                Err(error) => {
                    not_served::<C>(index, &error.to_string());
                    None
                }
            }
        });
        Some(Table(slots.collect()))
    }

    /// From now on these serve.
    pub(crate) fn publish(&self, table: Table<C>) {
        *self.table.write() = table;
        self.earlier.notify_one();
    }

    /// The partition in which something is kept.
    ///
    /// # Errors
    /// `NOT_COORDINATOR` if the topic is not there.
    pub(crate) fn partition_of(&self, key: &str) -> Result<i32, ErrorCode> {
        let partitions = i32::try_from(self.table.read().0.len()).unwrap_or(i32::MAX);
        (java_hash(key) & i32::MAX)
            .checked_rem(partitions)
            .ok_or(ErrorCode::NotCoordinator)
    }

    /// The coordinator of something.
    ///
    /// # Errors
    /// `NOT_COORDINATOR` if its partition is not there, or cannot be read.
    pub(crate) fn of(&self, key: &str) -> Result<Arc<Shard<C>>, ErrorCode> {
        let partition = self.partition_of(key)?;
        self.at(partition).ok_or(ErrorCode::NotCoordinator)
    }

    /// The coordinator of a partition.
    pub(crate) fn at(&self, partition: i32) -> Option<Arc<Shard<C>>> {
        let table = self.table();
        table.0.get(usize::try_from(partition).ok()?)?.clone()
    }

    /// A coordinator wants to be woken at `deadline`.
    pub(crate) fn schedule(&self, deadline: Option<i64>) {
        if deadline.is_some_and(|at| at < self.wakes_at.load(Ordering::Acquire)) {
            self.earlier.notify_one();
        }
    }
}

fn not_served<C: Hosted>(partition: usize, why: &str) {
    let (topic, keeps) = (C::TOPIC, C::KEEPS);
    tracing::error!(
        "{topic}-{partition} cannot be read, and {keeps} that it keeps are not served: {why}. \
         Stop the broker and bring the folder {topic}-{partition} back from a backup, or, to give \
         up what it keeps, delete the folder; then start the broker again."
    );
}

/// Wakes the coordinators when something is due.
pub(crate) async fn run_timers<C: Hosted>(core: Arc<Core>, mut stop: watch::Receiver<bool>) {
    let all = C::shards(&core);
    loop {
        let table = all.table();
        let deadlines = table.iter().filter_map(|s| s.next_deadline());
        let next = deadlines.min().unwrap_or(i64::MAX);
        all.wakes_at.store(next, Ordering::Release);
        // At least once a minute, should the wall clock jump.
        let sleep = next.saturating_sub(now()).clamp(0, 60_000);
        let sleep = Duration::from_millis(u64::try_from(sleep).unwrap_or(0));
        tokio::select! {
            _ = stop.wait_for(|s| *s) => return,
            () = all.earlier.notified() => {}
            () = tokio::time::sleep(sleep) => {
                for shard in table.iter() {
                    if shard.next_deadline().is_some_and(|at| at <= now()) {
                        shard.step(&core, C::tick());
                    }
                }
            }
        }
    }
}

/// Java's `String.hashCode`, by which Kafka finds the partition.
fn java_hash(text: &str) -> i32 {
    text.encode_utf16().fold(0i32, |hash, unit| {
        hash.wrapping_mul(31).wrapping_add(i32::from(unit))
    })
}

#[cfg(test)]
mod tests {
    use super::java_hash;

    #[test]
    fn keys_are_placed_as_kafka_places_them() {
        assert_eq!(java_hash(""), 0);
        assert_eq!(java_hash("a"), 97);
        assert_eq!(java_hash("console-consumer-1"), {
            let mut hash = 0i32;
            for b in b"console-consumer-1" {
                hash = hash.wrapping_mul(31).wrapping_add(i32::from(*b));
            }
            hash
        });
        // "polygenelubricants" is the classic whose hash is i32::MIN.
        assert_eq!(java_hash("polygenelubricants"), i32::MIN);
    }
}
