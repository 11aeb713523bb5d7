//! Guards against transactions that hang: a transaction begins in a partition only after its
//! coordinator has said that it runs, and nothing ended it in between.
//!
//! Who is about to append the first batch of a transaction asks for a guard, asks the coordinator,
//! and appends with the guard. A marker (or a batch) that reaches the log first makes the guard
//! worthless, so that a late batch cannot open a transaction that nobody will end.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};

use super::super::error::AppendError;

/// The right to begin a producer's transaction in a partition, once the coordinator has agreed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct VerificationGuard(u64);

/// Whether the first batch of a transaction must come with a guard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verification {
    /// It need not: `transaction.partition.verification.enable` is off, or the append is trusted.
    Off,
    /// It must; `None` when there was no need for one, as a transaction was ongoing.
    Required(Option<VerificationGuard>),
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    guard: VerificationGuard,
    started_at: i64,
    epoch: i16,
    /// Batches with a larger sequence must wait for this one.
    lowest_sequence: i32,
    /// The producer bumps its epoch with each transaction, and begins at 0.
    transactions_v2: bool,
}

/// The verifications that are under way.
#[derive(Debug, Default, Clone)]
pub(crate) struct Verifications {
    by_producer: HashMap<i64, Entry>,
}

impl Verifications {
    /// The guard for a producer's next batch: one, until it is used or made worthless.
    pub(crate) fn start(
        &mut self,
        producer_id: i64,
        epoch: i16,
        base_sequence: i32,
        transactions_v2: bool,
        now: i64,
    ) -> VerificationGuard {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let entry = self
            .by_producer
            .entry(producer_id)
            .or_insert_with(|| Entry {
                guard: VerificationGuard(NEXT.fetch_add(1, Ordering::Relaxed)),
                started_at: now,
                epoch,
                lowest_sequence: base_sequence,
                transactions_v2,
            });
        if epoch > entry.epoch {
            entry.epoch = epoch;
            entry.lowest_sequence = base_sequence;
        } else if epoch == entry.epoch {
            entry.lowest_sequence = entry.lowest_sequence.min(base_sequence);
        }
        entry.guard
    }

    /// Whether the guard still holds.
    pub(crate) fn holds(&self, producer_id: i64, guard: VerificationGuard) -> bool {
        let entry = self.by_producer.get(&producer_id);
        entry.is_some_and(|entry| entry.guard == guard)
    }

    /// Whether a client's batch may come now. `known` says whether any batch of the producer's
    /// is remembered.
    pub(crate) fn check_sequence(
        &self,
        producer_id: i64,
        base_sequence: i32,
        known: bool,
    ) -> Result<(), AppendError> {
        let Some(entry) = self.by_producer.get(&producer_id) else {
            return Ok(());
        };
        let expected = if entry.transactions_v2 && base_sequence != 0 && !known {
            0
        } else if base_sequence > entry.lowest_sequence {
            entry.lowest_sequence
        } else {
            return Ok(());
        };
        Err(AppendError::OutOfOrderSequence {
            producer_id,
            sequence: base_sequence,
            expected,
        })
    }

    /// A transactional batch of the producer's, or a marker, is in the log.
    pub(crate) fn end(&mut self, producer_id: i64) {
        if !self.by_producer.is_empty() {
            self.by_producer.remove(&producer_id);
        }
    }

    /// Forgets those that came to nothing.
    pub(crate) fn expire(&mut self, now: i64, expiration_ms: i64) {
        self.by_producer
            .retain(|_, entry| now.saturating_sub(entry.started_at) < expiration_ms);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guard_holds_until_something_is_appended() {
        let mut verifications = Verifications::default();
        let guard = verifications.start(1, 0, 5, false, 0);
        assert_eq!(verifications.start(1, 0, 7, false, 0), guard);
        assert!(verifications.holds(1, guard) && !verifications.holds(2, guard));
        verifications.end(1);
        assert!(!verifications.holds(1, guard));
        assert_ne!(verifications.start(1, 0, 5, false, 0), guard);
    }

    #[test]
    fn the_lowest_sequence_goes_first() {
        let mut verifications = Verifications::default();
        verifications.start(1, 0, 5, false, 0);
        verifications.start(1, 0, 3, false, 0);
        verifications.start(1, 0, 4, false, 0);
        assert!(verifications.check_sequence(1, 3, false).is_ok());
        assert!(verifications.check_sequence(1, 4, false).is_err());
        // A new epoch begins anew.
        verifications.start(1, 1, 9, false, 0);
        assert!(verifications.check_sequence(1, 9, false).is_ok());
    }

    #[test]
    fn with_transactions_v2_an_unknown_producer_begins_at_0() {
        let mut verifications = Verifications::default();
        verifications.start(1, 0, 5, true, 0);
        assert!(verifications.check_sequence(1, 5, false).is_err());
        assert!(verifications.check_sequence(1, 5, true).is_ok());
        assert!(verifications.check_sequence(1, 0, false).is_ok());
        verifications.expire(9, 10);
        assert!(verifications.check_sequence(1, 5, false).is_err());
        verifications.expire(10, 10);
        assert!(verifications.check_sequence(1, 5, false).is_ok());
    }
}
