//! Which transactions hold the last stable offset back.
//!
//! Invariant: an offset at or above [`Undecided::first`] may belong to a transaction that has not
//! ended, or whose end is not replicated yet: a marker counts only once it lies below the high
//! watermark, for until then another leader may not know of it.

use std::collections::BTreeMap;

/// The transactions of a partition that readers of committed records may not pass.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Undecided {
    /// First offset to producer id.
    ongoing: BTreeMap<i64, i64>,
    /// Ended above the high watermark: first offset to the marker's.
    unreplicated: BTreeMap<i64, i64>,
}

impl Undecided {
    /// A producer's first record in a transaction.
    pub(crate) fn began(&mut self, first_offset: i64, producer_id: i64) {
        self.ongoing.insert(first_offset, producer_id);
    }

    /// The marker of the transaction that began at `first_offset` is in the log. Returns the last
    /// stable offset as of now, as if the marker were replicated.
    pub(crate) fn ended(&mut self, first_offset: i64, marker: i64) -> i64 {
        self.ongoing.remove(&first_offset);
        self.unreplicated.insert(first_offset, marker);
        let next = self.ongoing.keys().next();
        next.copied().unwrap_or(marker + 1)
    }

    /// The high watermark has come so far.
    pub(crate) fn replicated(&mut self, high_watermark: i64) {
        if !self.unreplicated.is_empty() {
            self.unreplicated
                .retain(|_, marker| *marker >= high_watermark);
        }
    }

    /// The first offset that is not decided.
    pub(crate) fn first(&self) -> Option<i64> {
        let ongoing = self.ongoing.keys().next();
        let unreplicated = self.unreplicated.keys().next();
        match (ongoing, unreplicated) {
            (Some(a), Some(b)) => Some(*a.min(b)),
            (a, b) => a.or(b).copied(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transaction_is_undecided_until_its_marker_is_replicated() {
        let mut undecided = Undecided::default();
        assert_eq!(undecided.first(), None);
        undecided.began(10, 1);
        undecided.began(20, 2);
        assert_eq!(undecided.first(), Some(10));
        // The first still runs when the second ends.
        assert_eq!(undecided.ended(20, 30), 10);
        assert_eq!(undecided.ended(10, 31), 32);
        assert_eq!(undecided.first(), Some(10));
        undecided.replicated(31);
        assert_eq!(undecided.first(), Some(10), "the marker at 31 is not below");
        undecided.replicated(32);
        assert_eq!(undecided.first(), None);
    }
}
