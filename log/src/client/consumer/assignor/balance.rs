//! A balanced assignment that keeps what members have.

use std::collections::{BTreeMap, HashMap};

use super::{GroupMember, PartitionCounts};
use crate::client::TopicPartition;

/// Who owns what, as indexes into `members`. Of two claims the younger generation wins;
/// two claims of one generation void each other.
pub(super) fn owners(
    members: &[&GroupMember],
    partitions: &PartitionCounts,
) -> HashMap<TopicPartition, usize> {
    let mut claims: HashMap<&TopicPartition, (i32, Option<usize>)> = HashMap::new();
    for (index, member) in members.iter().enumerate() {
        for partition in &member.owned_partitions {
            let exists = partitions
                .get(&partition.topic)
                .is_some_and(|count| (0..*count).contains(&partition.partition));
            if !exists || !member.topics.iter().any(|t| **t == *partition.topic) {
                continue;
            }
            let claim = claims
                .entry(partition)
                .or_insert((member.generation_id, Some(index)));
            if claim.1 == Some(index) {
                continue;
            }
            match member.generation_id.cmp(&claim.0) {
                std::cmp::Ordering::Greater => *claim = (member.generation_id, Some(index)),
                std::cmp::Ordering::Equal => claim.1 = None,
                std::cmp::Ordering::Less => {}
            }
        }
    }
    claims
        .into_iter()
        .filter_map(|(partition, (_, owner))| owner.map(|o| (partition.clone(), o)))
        .collect()
}

/// A balanced assignment near `owners`: free partitions go to the least loaded member
/// that wants them; then single partitions move from a member to one that has at least
/// two fewer, until there is no such pair. Every move lowers the sum of squared loads, so
/// this ends.
pub(super) fn sticky(
    partitions: &PartitionCounts,
    members: &[&GroupMember],
    owners: &HashMap<TopicPartition, usize>,
) -> BTreeMap<TopicPartition, usize> {
    let mut wanting: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (index, member) in members.iter().enumerate() {
        for topic in &member.topics {
            let list = wanting.entry(topic).or_default();
            if list.last() != Some(&index) {
                list.push(index);
            }
        }
    }
    let mut load = Load(vec![0; members.len()]);
    let mut result = BTreeMap::new();
    let mut free = Vec::new();
    for (topic, count) in partitions {
        let Some(list) = wanting.get(&**topic) else {
            continue;
        };
        for partition in 0..*count {
            let partition = TopicPartition::new(topic.clone(), partition);
            match owners.get(&partition) {
                Some(owner) => {
                    load.add(*owner);
                    result.insert(partition, *owner);
                }
                None => free.push((list.len(), partition)),
            }
        }
    }
    // The pickiest first: they have the fewest members to go to.
    free.sort();
    for (_, partition) in free {
        let list = wanting.get(&*partition.topic);
        if let Some(member) = list.and_then(|list| load.least(list)) {
            load.add(member);
            result.insert(partition, member);
        }
    }
    // First only the heaviest gives, so that nothing travels through a third member.
    for only_heaviest in [true, false] {
        let mut moved = true;
        while std::mem::take(&mut moved) {
            for (partition, owner) in &mut result {
                let Some(list) = wanting.get(&*partition.topic) else {
                    continue;
                };
                let Some(least) = load.least(list) else {
                    continue;
                };
                let gives = !only_heaviest || load.of(*owner) >= load.most(list);
                if gives && load.of(*owner) >= load.of(least) + 2 {
                    load.remove(*owner);
                    load.add(least);
                    *owner = least;
                    moved = true;
                }
            }
        }
    }
    result
}

/// How many partitions each member has.
struct Load(Vec<usize>);

impl Load {
    fn of(&self, member: usize) -> usize {
        self.0.get(member).copied().unwrap_or(usize::MAX)
    }

    fn add(&mut self, member: usize) {
        if let Some(load) = self.0.get_mut(member) {
            *load += 1;
        }
    }

    fn remove(&mut self, member: usize) {
        if let Some(load) = self.0.get_mut(member) {
            *load = load.saturating_sub(1);
        }
    }

    fn least(&self, among: &[usize]) -> Option<usize> {
        among.iter().copied().min_by_key(|m| self.of(*m))
    }

    fn most(&self, among: &[usize]) -> usize {
        among.iter().map(|m| self.of(*m)).max().unwrap_or(0)
    }
}
