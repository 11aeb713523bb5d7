//! Which batches belong to aborted transactions, and which markers have outlived their data.
//!
//! The walk goes through the log from its beginning, so that every transaction is seen from its
//! first batch that is left. A marker may go once no batch of its transaction is left below it.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet};

use super::super::txn_index::AbortedTxn;
use crate::record::RecordBatch;

/// The outcome in a marker's key: version, then type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Marker {
    Abort,
    Commit,
    Other,
}

/// An aborted transaction under way.
#[derive(Debug)]
struct Aborted {
    entry: AbortedTxn,
    /// A batch of it is still in the log.
    has_batches: bool,
}

/// The state of the walk.
#[derive(Debug, Default)]
pub(crate) struct CleanedTransactions {
    /// By their first offset.
    coming: BinaryHeap<Reverse<(i64, i64, i64, i64)>>,
    known: HashSet<(i64, i64)>,
    aborted: HashMap<i64, Aborted>,
    committed: HashSet<i64>,
}

impl CleanedTransactions {
    /// The aborted transactions of the segment that comes next.
    pub(crate) fn add(&mut self, found: impl IntoIterator<Item = AbortedTxn>) {
        for txn in found {
            // One that reaches over several segments is found in each.
            if self.known.insert((txn.producer_id, txn.last_offset)) {
                self.coming.push(Reverse((
                    txn.first_offset,
                    txn.producer_id,
                    txn.last_offset,
                    txn.last_stable_offset,
                )));
            }
        }
    }

    fn begin_up_to(&mut self, offset: i64) {
        while let Some(Reverse((first_offset, producer_id, last_offset, last_stable_offset))) =
            self.coming.peek().copied()
            && first_offset <= offset
        {
            self.coming.pop();
            self.aborted.entry(producer_id).or_insert(Aborted {
                entry: AbortedTxn {
                    producer_id,
                    first_offset,
                    last_offset,
                    last_stable_offset,
                },
                has_batches: false,
            });
        }
    }

    /// A batch of data. `true` when its transaction was aborted: its records go.
    pub(crate) fn on_data(&mut self, batch: &RecordBatch) -> bool {
        self.begin_up_to(batch.last_offset());
        if !batch.is_transactional() {
            return false;
        }
        if let Some(aborted) = self.aborted.get_mut(&batch.producer_id) {
            aborted.has_batches = true;
            return true;
        }
        self.committed.insert(batch.producer_id);
        false
    }

    /// A control batch. Says whether its transaction has no batch left, so that it may go in its
    /// time, and, of an abort that has, the entry that readers need.
    pub(crate) fn on_control(&mut self, batch: &RecordBatch) -> (bool, Option<AbortedTxn>) {
        self.begin_up_to(batch.last_offset());
        match marker(batch) {
            // An empty one was cleaned before.
            None => (true, None),
            Some(Marker::Abort) => match self.aborted.remove(&batch.producer_id) {
                Some(aborted) if aborted.has_batches => (false, Some(aborted.entry)),
                _ => (true, None),
            },
            Some(Marker::Commit) => (!self.committed.remove(&batch.producer_id), None),
            Some(Marker::Other) => (false, None),
        }
    }
}

fn marker(batch: &RecordBatch) -> Option<Marker> {
    let record = batch.records().ok()?.next()?.ok()?;
    let key = record.key?;
    let kind = key.get(2..4).and_then(|bytes| bytes.first_chunk::<2>());
    Some(match kind.map(|bytes| i16::from_be_bytes(*bytes)) {
        Some(0) => Marker::Abort,
        Some(1) => Marker::Commit,
        _ => Marker::Other,
    })
}
