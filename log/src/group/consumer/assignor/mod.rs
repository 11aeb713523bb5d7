//! Who shall have which partitions: the assignors that a group of the consumer protocol chooses from.
//!
//! Invariant: whatever an assignor gives, a partition of a subscribed topic belongs to exactly one of
//! the members that subscribed to the topic, and no other partition belongs to anybody. The same
//! input gives the same assignment.

mod range;
mod uniform;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use uuid::Uuid;

use crate::wire::Str;

/// Topic id to partitions.
pub type Partitions = BTreeMap<Uuid, BTreeSet<i32>>;

/// An assignor, by Kafka's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Assignor {
    /// `uniform`: everybody has as much as everybody else, and keeps what it has.
    Uniform,
    /// `range`: the partitions of each topic are dealt out in a row, so that members have the same
    /// numbers of several topics.
    Range,
}

/// What an assignor knows of a member.
#[derive(Debug, Clone)]
pub(super) struct Subject<'a> {
    pub(super) instance: Option<&'a Str>,
    /// The topics it subscribed to, as far as they exist.
    pub(super) topics: BTreeSet<Uuid>,
    /// What it had so far.
    pub(super) current: &'a Partitions,
}

/// The members to assign to, and how many partitions each of the topics has.
#[derive(Debug, Clone, Default)]
pub(super) struct Subjects<'a> {
    pub(super) members: BTreeMap<Str, Subject<'a>>,
    pub(super) counts: BTreeMap<Uuid, i32>,
}

impl Subjects<'_> {
    /// The number of partitions of a topic.
    fn count(&self, topic: &Uuid) -> i32 {
        self.counts.get(topic).copied().unwrap_or(0)
    }

    /// Whether a member may have the partition.
    fn may_have(&self, subject: &Subject<'_>, topic: &Uuid, partition: i32) -> bool {
        subject.topics.contains(topic) && (0..self.count(topic)).contains(&partition)
    }

    /// Whether all subscribed to the same topics.
    fn is_homogeneous(&self) -> bool {
        let mut members = self.members.values();
        let first = members.next();
        members.all(|m| first.is_some_and(|f| f.topics == m.topics))
    }
}

impl Assignor {
    /// All there are.
    pub const ALL: [Self; 2] = [Self::Uniform, Self::Range];

    /// Kafka's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Uniform => "uniform",
            Self::Range => "range",
        }
    }

    /// The assignor of a name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|a| a.name() == name)
    }

    /// Assigns; every member is in the answer.
    pub(super) fn assign(self, subjects: &Subjects<'_>) -> BTreeMap<Str, Partitions> {
        match self {
            Self::Uniform if subjects.is_homogeneous() => uniform::homogeneous(subjects),
            Self::Uniform => uniform::heterogeneous(subjects),
            Self::Range => range::assign(subjects),
        }
    }
}
