//! The group's epoch and its target assignment.
//!
//! Invariant: the target assignment is computed at most once for an epoch, and its epoch is never
//! above the group's.

use super::assignor::{Assignor, Partitions, Subject, Subjects};
use super::group::{ConsumerGroup, Key};
use crate::group::coordinator::Cx;
use std::collections::BTreeMap;

impl ConsumerGroup {
    /// The assignor that most members would like; of equals, the first by name.
    pub(in crate::group) fn assignor(&self, default: Assignor) -> Assignor {
        let mut votes: BTreeMap<&str, usize> = BTreeMap::new();
        for name in self
            .members
            .values()
            .filter_map(|m| m.profile.assignor.as_deref())
        {
            *votes.entry(name).or_default() += 1;
        }
        let most = votes.values().copied().max();
        votes
            .into_iter()
            .find(|(_, n)| Some(*n) == most)
            .and_then(|(name, _)| Assignor::named(name))
            .unwrap_or(default)
    }

    /// Bumps the epoch if it must be, or if the topics that the group subscribes to have changed.
    pub(in crate::group) fn update_epoch(&mut self, must: bool, cx: &Cx<'_>) {
        if !must && !self.refresh {
            return;
        }
        self.refresh = false;
        let hash = cx.topics.hash(self.subscribed().into_iter());
        if must || hash != self.metadata_hash {
            self.metadata_hash = hash;
            self.epoch = self.epoch.saturating_add(1);
            self.mark(Key::Epoch);
        }
        if self.partition_metadata {
            self.partition_metadata = false;
            self.mark(Key::PartitionMetadata);
        }
    }

    /// When the next target assignment may be computed.
    fn next_target(&self, cx: &Cx<'_>) -> i64 {
        match i64::from(cx.assignment_interval(&self.id)) {
            interval if interval > 0 && self.target_timestamp != 0 => {
                self.target_timestamp.saturating_add(interval)
            }
            _ => i64::MIN,
        }
    }

    /// In how many milliseconds it makes sense to come for a target assignment that is overdue.
    pub(in crate::group) fn target_due(&self, cx: &Cx<'_>) -> i32 {
        if self.target_epoch >= self.epoch {
            return i32::MAX;
        }
        let wait = self.next_target(cx).saturating_sub(cx.now);
        i32::try_from(wait.max(1)).unwrap_or(i32::MAX)
    }

    /// Computes the target assignment anew if it is older than the group's epoch, but not more
    /// often than the group allows.
    pub(in crate::group) fn update_target(&mut self, cx: &Cx<'_>) {
        if self.target_epoch >= self.epoch {
            return;
        }
        if self.next_target(cx) > cx.now {
            return;
        }
        let nothing = Partitions::new();
        let mut subjects = Subjects::default();
        for (id, member) in &self.members {
            let topics = self.topics_of(member, cx.topics);
            for topic in &topics {
                let found = cx.topics.name(topic).and_then(|name| cx.topics.get(name));
                subjects
                    .counts
                    .entry(*topic)
                    .or_insert(found.map_or(0, |(_, count)| count));
            }
            let subject = Subject {
                instance: member.profile.instance.as_ref(),
                topics,
                current: self.targets.get(id).unwrap_or(&nothing),
            };
            subjects.members.insert(id.clone(), subject);
        }
        let assigned = self.assignor(cx.default_assignor()).assign(&subjects);
        for (id, partitions) in assigned {
            if self.targets.get(&id) != Some(&partitions) {
                self.targets.insert(id.clone(), partitions);
                self.mark(Key::Target(id));
            }
        }
        self.target_epoch = self.epoch;
        self.target_timestamp = cx.now;
        self.mark(Key::TargetEpoch);
    }
}
