//! The `uniform` assignor: balanced over all topics together, and sticky.
//!
//! Invariants: where all subscribe to the same, nobody has two partitions more than another, and a
//! member loses a partition only if it has more than its share. Where subscriptions differ, no
//! single move of a partition would bring two members closer together, unless that takes more than
//! [`ROUNDS`] rounds; a member loses a partition only to one that has at least two less.

use std::collections::{BTreeMap, BTreeSet};

use uuid::Uuid;

use super::{Partitions, Subjects};
use crate::wire::Str;

/// After so many rounds over all topics an assignment counts as balanced. Each about halves what is
/// out of balance.
const ROUNDS: usize = 16;

/// What members may keep: what they have, as far as they still subscribe to it and it exists.
fn kept(subjects: &Subjects<'_>) -> (Vec<Partitions>, BTreeSet<(Uuid, i32)>) {
    let mut owned = BTreeSet::new();
    let kept = subjects
        .members
        .values()
        .map(|member| {
            let mut kept = Partitions::new();
            for (topic, partitions) in member.current {
                for partition in partitions {
                    if subjects.may_have(member, topic, *partition)
                        && owned.insert((*topic, *partition))
                    {
                        kept.entry(*topic).or_default().insert(*partition);
                    }
                }
            }
            kept
        })
        .collect();
    (kept, owned)
}

fn size(partitions: &Partitions) -> usize {
    partitions.values().map(BTreeSet::len).sum()
}

fn named(subjects: &Subjects<'_>, assigned: Vec<Partitions>) -> BTreeMap<Str, Partitions> {
    subjects.members.keys().cloned().zip(assigned).collect()
}

/// Everybody subscribed to the same topics.
pub(super) fn homogeneous(subjects: &Subjects<'_>) -> BTreeMap<Str, Partitions> {
    let Some(first) = subjects.members.values().next() else {
        return BTreeMap::new();
    };
    let (mut assigned, owned) = kept(subjects);
    let mut free: Vec<(Uuid, i32)> = Vec::new();
    let mut total = 0usize;
    for topic in &first.topics {
        for partition in 0..subjects.count(topic) {
            total = total.saturating_add(1);
            if !owned.contains(&(*topic, partition)) {
                free.push((*topic, partition));
            }
        }
    }
    let members = assigned.len();
    let quota = total.checked_div(members).unwrap_or(0);
    let mut extras = total.checked_rem(members).unwrap_or(0);
    // Whoever has more than its share gives up the rest; who has the share and one more keeps it
    // while there are such to be had.
    for partitions in &mut assigned {
        let mut share = quota;
        if size(partitions) > quota && extras > 0 {
            share = share.saturating_add(1);
            extras = extras.saturating_sub(1);
        }
        let mut over = size(partitions).saturating_sub(share);
        while over > 0 {
            let Some(mut last) = partitions.last_entry() else {
                break;
            };
            if let Some(partition) = last.get_mut().pop_last() {
                free.push((*last.key(), partition));
                over = over.saturating_sub(1);
            }
            if last.get().is_empty() {
                last.remove();
            }
        }
    }
    let mut free = free.into_iter();
    for partitions in &mut assigned {
        let mut share = quota;
        if size(partitions) <= quota && extras > 0 {
            share = share.saturating_add(1);
            extras = extras.saturating_sub(1);
        }
        for (topic, partition) in free.by_ref().take(share.saturating_sub(size(partitions))) {
            partitions.entry(topic).or_default().insert(partition);
        }
    }
    named(subjects, assigned)
}

/// The balance under work: members by their place in the order of their ids.
struct Balance {
    assigned: Vec<Partitions>,
    sizes: Vec<usize>,
}

impl Balance {
    fn size(&self, member: usize) -> usize {
        self.sizes.get(member).copied().unwrap_or(0)
    }

    fn give(&mut self, member: usize, topic: Uuid, partition: i32) {
        if let (Some(assigned), Some(size)) =
            (self.assigned.get_mut(member), self.sizes.get_mut(member))
        {
            assigned.entry(topic).or_default().insert(partition);
            *size = size.saturating_add(1);
        }
    }

    /// Takes the member's last partition of a topic.
    fn take(&mut self, member: usize, topic: &Uuid) -> Option<i32> {
        let assigned = self.assigned.get_mut(member)?;
        let partitions = assigned.get_mut(topic)?;
        let partition = partitions.pop_last()?;
        if partitions.is_empty() {
            assigned.remove(topic);
        }
        if let Some(size) = self.sizes.get_mut(member) {
            *size = size.saturating_sub(1);
        }
        Some(partition)
    }

    fn owns(&self, member: usize, topic: &Uuid) -> bool {
        self.assigned
            .get(member)
            .is_some_and(|a| a.contains_key(topic))
    }

    /// The subscribers by how much they have.
    fn by_size(&self, subscribers: &[usize]) -> BTreeSet<(usize, usize)> {
        subscribers.iter().map(|m| (self.size(*m), *m)).collect()
    }

    /// Deals out a topic's partitions, each to whoever has least.
    fn deal(&mut self, topic: Uuid, free: impl Iterator<Item = i32>, subscribers: &[usize]) {
        let mut order = self.by_size(subscribers);
        for partition in free {
            let Some((size, member)) = order.pop_first() else {
                return;
            };
            self.give(member, topic, partition);
            order.insert((size.saturating_add(1), member));
        }
    }

    /// Moves partitions of a topic from those who have most to those who have least, while that
    /// brings them closer together. Says whether any was moved.
    fn even_out(&mut self, topic: Uuid, subscribers: &[usize]) -> bool {
        let mut least = self.by_size(subscribers);
        let mut most: BTreeSet<(usize, usize)> = least
            .iter()
            .filter(|(_, member)| self.owns(*member, &topic))
            .copied()
            .collect();
        let mut moved = false;
        while let (Some(&(many, from)), Some(&(few, to))) = (most.last(), least.first()) {
            if many <= few.saturating_add(1) {
                break;
            }
            let Some(partition) = self.take(from, &topic) else {
                break;
            };
            self.give(to, topic, partition);
            moved = true;
            for (old, member) in [(many, from), (few, to)] {
                least.remove(&(old, member));
                most.remove(&(old, member));
                let now = (self.size(member), member);
                least.insert(now);
                if self.owns(member, &topic) {
                    most.insert(now);
                }
            }
        }
        moved
    }
}

/// Subscriptions differ.
pub(super) fn heterogeneous(subjects: &Subjects<'_>) -> BTreeMap<Str, Partitions> {
    let (assigned, owned) = kept(subjects);
    let mut balance = Balance {
        sizes: assigned.iter().map(size).collect(),
        assigned,
    };
    let mut topics: Vec<(Uuid, i32, Vec<usize>)> = subjects
        .counts
        .iter()
        .map(|(topic, count)| {
            let members = subjects.members.values().enumerate();
            let subscribers = members.filter(|(_, m)| m.topics.contains(topic));
            (*topic, *count, subscribers.map(|(at, _)| at).collect())
        })
        .filter(|(_, _, subscribers): &(Uuid, i32, Vec<usize>)| !subscribers.is_empty())
        .collect();
    // Those with most partitions a subscriber first: the later ones even out what they left.
    topics.sort_by(|(a, n, x), (b, m, y)| {
        let (x, y) = (x.len(), y.len());
        let weight = |count: i32, others: usize| i64::from(count).saturating_mul(signed(others));
        (weight(*m, x).cmp(&weight(*n, y)))
            .then(x.cmp(&y))
            .then(a.cmp(b))
    });
    for (topic, count, subscribers) in &topics {
        let free = (0..*count).filter(|partition| !owned.contains(&(*topic, *partition)));
        balance.deal(*topic, free, subscribers);
    }
    for _ in 0..ROUNDS {
        let mut moved = false;
        for (topic, _, subscribers) in &topics {
            moved |= balance.even_out(*topic, subscribers);
        }
        if !moved {
            break;
        }
    }
    named(subjects, balance.assigned)
}

fn signed(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
