//! The committed offsets of all groups, and those of transactions that are not decided yet.
//!
//! Invariant: of two commits for one partition, the one later in the log wins, in whatever order
//! their writes are confirmed and their transactions end. Each therefore carries its place in the
//! log's order; a deletion has one too, and takes away only what is older.

use std::collections::{BTreeMap, BTreeSet};

use uuid::Uuid;

use crate::group::types::{CommittedOffset, TopicPartition};
use crate::wire::Str;

/// A place in the log's order; it counts anew whenever the log is loaded.
pub(in crate::group) type Order = u64;

#[derive(Debug, Clone)]
struct Stored {
    offset: CommittedOffset,
    order: Order,
}

type ByPartition<T> = BTreeMap<Str, BTreeMap<TopicPartition, T>>;

/// The offsets of the groups of one coordinator.
#[derive(Debug, Clone, Default)]
pub(in crate::group) struct Offsets {
    committed: ByPartition<Stored>,
    /// Producer id to what its transaction commits.
    pending: BTreeMap<i64, ByPartition<Stored>>,
    /// The same by partition: the producers whose transactions commit it.
    open: ByPartition<BTreeSet<i64>>,
    order: Order,
}

impl Offsets {
    /// The next place in the log's order.
    pub(in crate::group) fn next_order(&mut self) -> Order {
        self.order = self.order.wrapping_add(1);
        self.order
    }

    pub(in crate::group) fn get(
        &self,
        group: &str,
        at: &TopicPartition,
    ) -> Option<&CommittedOffset> {
        self.committed.get(group)?.get(at).map(|s| &s.offset)
    }

    pub(in crate::group) fn of(
        &self,
        group: &str,
    ) -> impl Iterator<Item = (&TopicPartition, &CommittedOffset)> {
        let stored = self.committed.get(group).into_iter().flatten();
        stored.map(|(at, s)| (at, &s.offset))
    }

    /// Whether an undecided transaction commits an offset for the partition.
    pub(in crate::group) fn is_unstable(&self, group: &str, at: &TopicPartition) -> bool {
        self.open
            .get(group)
            .is_some_and(|open| open.contains_key(at))
    }

    /// Whether an undecided transaction commits anything for the group.
    pub(in crate::group) fn has_pending(&self, group: &str) -> bool {
        self.open.contains_key(group)
    }

    /// Every partition of the group that has an offset, decided or not.
    pub(in crate::group) fn partitions(&self, group: &str) -> BTreeSet<TopicPartition> {
        let open = self.open.get(group).into_iter().flat_map(BTreeMap::keys);
        self.of(group)
            .map(|(at, _)| at)
            .chain(open)
            .cloned()
            .collect()
    }

    /// Whether the partition has an offset, decided or not.
    pub(in crate::group) fn has(&self, group: &str, at: &TopicPartition) -> bool {
        self.get(group, at).is_some() || self.is_unstable(group, at)
    }

    /// The groups that have offsets, decided or not.
    pub(in crate::group) fn groups(&self) -> BTreeSet<Str> {
        self.committed
            .keys()
            .chain(self.open.keys())
            .cloned()
            .collect()
    }

    /// The topics of which there are offsets, decided or not, and the ids under which they were
    /// committed; nil where that is not known, as it is not before they are decided.
    pub(in crate::group) fn topics(&self) -> BTreeSet<(Str, Uuid)> {
        let committed = self.committed.values().flatten();
        let committed = committed.map(|((topic, _), s)| (topic.clone(), s.offset.topic_id));
        let open = self.open.values().flat_map(BTreeMap::keys);
        let open = open.map(|(topic, _)| (topic.clone(), Uuid::nil()));
        committed.chain(open).collect()
    }

    pub(in crate::group) fn commit(
        &mut self,
        group: &Str,
        at: TopicPartition,
        offset: CommittedOffset,
        order: Order,
    ) {
        let stored = self.committed.entry(group.clone()).or_default();
        if stored.get(&at).is_none_or(|s| s.order < order) {
            stored.insert(at, Stored { offset, order });
        }
    }

    /// Deletes what the log has before `order`, decided or not.
    pub(in crate::group) fn delete(&mut self, group: &str, at: &TopicPartition, order: Order) {
        if let Some(stored) = self.committed.get_mut(group) {
            if stored.get(at).is_some_and(|s| s.order < order) {
                stored.remove(at);
            }
            if stored.is_empty() {
                self.committed.remove(group);
            }
        }
        let open = self.open.get(group).and_then(|open| open.get(at));
        for producer in open.cloned().unwrap_or_default() {
            let older = self
                .pending
                .get(&producer)
                .and_then(|p| p.get(group)?.get(at))
                .is_none_or(|s| s.order < order);
            if older {
                self.forget_pending(producer, group, at);
            }
        }
    }

    /// An offset that counts once the producer's transaction commits.
    pub(in crate::group) fn commit_pending(
        &mut self,
        producer: i64,
        group: &Str,
        at: TopicPartition,
        offset: CommittedOffset,
        order: Order,
    ) {
        let open = self.open.entry(group.clone()).or_default();
        open.entry(at.clone()).or_default().insert(producer);
        let pending = self.pending.entry(producer).or_default();
        let stored = Stored { offset, order };
        pending.entry(group.clone()).or_default().insert(at, stored);
    }

    /// Takes back what was never written: the pending offset of exactly this place.
    pub(in crate::group) fn undo_pending(
        &mut self,
        producer: i64,
        group: &str,
        at: &TopicPartition,
        order: Order,
    ) {
        let stored = self
            .pending
            .get(&producer)
            .and_then(|p| p.get(group)?.get(at));
        if stored.is_some_and(|s| s.order == order) {
            self.forget_pending(producer, group, at);
        }
    }

    fn forget_pending(&mut self, producer: i64, group: &str, at: &TopicPartition) {
        if let Some(pending) = self.pending.get_mut(&producer) {
            if let Some(offsets) = pending.get_mut(group) {
                offsets.remove(at);
                if offsets.is_empty() {
                    pending.remove(group);
                }
            }
            if pending.is_empty() {
                self.pending.remove(&producer);
            }
        }
        self.close(producer, group, at);
    }

    fn close(&mut self, producer: i64, group: &str, at: &TopicPartition) {
        if let Some(open) = self.open.get_mut(group) {
            if let Some(producers) = open.get_mut(at) {
                producers.remove(&producer);
                if producers.is_empty() {
                    open.remove(at);
                }
            }
            if open.is_empty() {
                self.open.remove(group);
            }
        }
    }

    /// The producer's transaction is decided: its offsets count from now on, or never did.
    pub(in crate::group) fn end_transaction(&mut self, producer: i64, committed: bool) {
        for (group, offsets) in self.pending.remove(&producer).unwrap_or_default() {
            for (at, stored) in offsets {
                self.close(producer, &group, &at);
                if committed {
                    self.commit(&group, at, stored.offset, stored.order);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(offset: i64) -> CommittedOffset {
        CommittedOffset {
            offset,
            ..CommittedOffset::default()
        }
    }

    fn found(offsets: &Offsets) -> Option<i64> {
        offsets.get("g", &(Str::from("t"), 0)).map(|o| o.offset)
    }

    #[test]
    fn the_later_in_the_log_wins_whenever_it_is_decided() {
        let (group, t) = (Str::from("g"), (Str::from("t"), 0));
        let mut offsets = Offsets::default();
        let [first, second, third] = [(); 3].map(|()| offsets.next_order());
        offsets.commit_pending(7, &group, t.clone(), at(10), first);
        offsets.commit(&group, t.clone(), at(20), second);
        assert!(offsets.is_unstable("g", &t));
        offsets.end_transaction(7, true);
        assert_eq!(found(&offsets), Some(20));
        assert!(!offsets.has_pending("g"));

        offsets.commit_pending(7, &group, t.clone(), at(30), third);
        offsets.end_transaction(7, false);
        assert_eq!(found(&offsets), Some(20));
        offsets.commit_pending(7, &group, t.clone(), at(30), third);
        offsets.end_transaction(7, true);
        offsets.commit(&group, t, at(20), second);
        assert_eq!(found(&offsets), Some(30));
    }

    #[test]
    fn a_deletion_takes_what_is_older_only() {
        let (group, t) = (Str::from("g"), (Str::from("t"), 0));
        let mut offsets = Offsets::default();
        let [first, second, third] = [(); 3].map(|()| offsets.next_order());
        offsets.commit(&group, t.clone(), at(1), first);
        offsets.commit_pending(7, &group, t.clone(), at(2), first);
        offsets.commit_pending(8, &group, t.clone(), at(3), third);
        offsets.delete("g", &t, second);
        assert_eq!(found(&offsets), None);
        offsets.end_transaction(7, true);
        assert_eq!(found(&offsets), None);
        offsets.end_transaction(8, true);
        assert_eq!(found(&offsets), Some(3));
        assert!(offsets.groups().len() == 1 && offsets.topics().len() == 1);
    }
}
