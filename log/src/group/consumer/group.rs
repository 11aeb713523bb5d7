//! A group of the consumer protocol: its data, and which of it the log does not have yet.
//!
//! Invariants: a partition belongs to at most one member, be it that the member holds it or has yet
//! to give it up; an instance id belongs to one member; whatever was changed since the last write is
//! marked, and a write that fails marks it again, so that the next one brings the log up to date.

use std::collections::{BTreeMap, BTreeSet};

use uuid::Uuid;

use super::assignor::{Assignor, Partitions};
use super::member::{Held, Member, Position, partitions};
use crate::group::coordinator::{Cx, Write};
use crate::group::types::{
    Commit, ConsumerGroupDescription, ConsumerGroupState, ConsumerMemberDescription, Reply, Token,
    WriteId,
};
use crate::wire::{ErrorCode, Str};

/// What is kept in one record. The order is the one in which the records of one write are written.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::group) enum Key {
    /// The classic group that was before: it is deleted.
    Classic,
    Regex(Str),
    Member(Str),
    /// What brokers before Kafka 4.1 wrote: it is deleted.
    PartitionMetadata,
    Epoch,
    Target(Str),
    TargetEpoch,
    Current(Str),
}

/// The topics that a regular expression matched.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::group) struct Resolved {
    pub(in crate::group) topics: BTreeSet<Str>,
    pub(in crate::group) version: i64,
    pub(in crate::group) timestamp: i64,
}

/// A group of the consumer protocol.
#[derive(Debug, Clone)]
pub(in crate::group) struct ConsumerGroup {
    pub(in crate::group) id: Str,
    pub(in crate::group) epoch: i32,
    pub(in crate::group) metadata_hash: i64,
    pub(in crate::group) members: BTreeMap<Str, Member>,
    pub(in crate::group) instances: BTreeMap<Str, Str>,
    /// -1 if there is none.
    pub(in crate::group) target_epoch: i32,
    pub(in crate::group) target_timestamp: i64,
    pub(in crate::group) targets: BTreeMap<Str, Partitions>,
    /// Who holds a partition, or has yet to give it up.
    owners: BTreeMap<(Uuid, i32), Str>,
    pub(in crate::group) regexes: BTreeMap<Str, Resolved>,
    /// The topics may have changed since the epoch was last bumped.
    pub(in crate::group) refresh: bool,
    /// There are topics that the regular expressions have not seen.
    pub(in crate::group) new_topics: bool,
    pub(in crate::group) partition_metadata: bool,
    /// The deletion of the group is being written.
    pub(in crate::group) deleting: bool,
    dirty: BTreeSet<Key>,
    last_write: Option<WriteId>,
}

impl ConsumerGroup {
    pub(in crate::group) fn new(id: Str) -> Self {
        Self {
            id,
            epoch: 0,
            metadata_hash: 0,
            members: BTreeMap::new(),
            instances: BTreeMap::new(),
            target_epoch: -1,
            target_timestamp: 0,
            targets: BTreeMap::new(),
            owners: BTreeMap::new(),
            regexes: BTreeMap::new(),
            refresh: true,
            new_topics: true,
            partition_metadata: false,
            deleting: false,
            dirty: BTreeSet::new(),
            last_write: None,
        }
    }

    /// Marks what has changed.
    pub(in crate::group) fn mark(&mut self, key: Key) {
        self.dirty.insert(key);
    }

    /// Marks everything there is.
    pub(in crate::group) fn mark_all(&mut self) {
        let keys = self.keys();
        self.dirty.extend(keys);
    }

    /// What was loaded is in the log.
    pub(in crate::group) fn all_written(&mut self) {
        self.dirty.clear();
    }

    /// Everything there is, and everything that was and may still be in the log.
    pub(in crate::group) fn keys(&self) -> BTreeSet<Key> {
        let members = self.members.keys().flat_map(|id| {
            [
                Key::Member(id.clone()),
                Key::Target(id.clone()),
                Key::Current(id.clone()),
            ]
        });
        let regexes = self.regexes.keys().cloned().map(Key::Regex);
        let metadata = self.partition_metadata.then_some(Key::PartitionMetadata);
        members
            .chain(regexes)
            .chain(metadata)
            .chain([Key::Epoch, Key::TargetEpoch])
            .chain(self.dirty.iter().cloned())
            .collect()
    }

    /// Writes what has changed and then answers. What changes nothing is answered once that which
    /// it was answered from is written.
    pub(in crate::group) fn finish(&mut self, replies: Vec<(Token, Reply)>, cx: &mut Cx<'_>) {
        let keys = std::mem::take(&mut self.dirty);
        if keys.is_empty() {
            match self.last_write.and_then(|id| cx.write_mut(id)) {
                Some(Write::Consumer { replies: later, .. }) => later.extend(replies),
                _ => {
                    for (token, reply) in replies {
                        cx.reply(token, reply);
                    }
                }
            }
            return;
        }
        let records = self.records(&keys);
        let write = Write::Consumer {
            group: self.id.clone(),
            keys,
            replies,
        };
        self.last_write = Some(cx.persist_tracked(records, write));
    }

    /// A write could not be made.
    pub(in crate::group) fn not_written(&mut self, keys: BTreeSet<Key>) {
        self.dirty.extend(keys);
    }

    /// Who holds a partition, or has yet to give it up.
    pub(in crate::group) fn owner(&self, topic: &Uuid, partition: i32) -> Option<&Str> {
        self.owners.get(&(*topic, partition))
    }

    /// Those of the partitions that nobody has, as held since an epoch.
    pub(in crate::group) fn unowned(&self, of: &Partitions, since: i32) -> Held {
        let free = of.iter().map(|(topic, partitions)| {
            let free = partitions
                .iter()
                .filter(|p| self.owner(topic, **p).is_none());
            (*topic, free.map(|p| (*p, since)).collect())
        });
        free.filter(|(_, partitions): &(_, BTreeMap<_, _>)| !partitions.is_empty())
            .collect()
    }

    /// Moves a member.
    pub(in crate::group) fn set_position(&mut self, id: &Str, position: Position) {
        let Some(member) = self.members.get_mut(id) else {
            return;
        };
        let before = std::mem::replace(&mut member.position, position.clone());
        for (topic, partition) in each(&before) {
            if self.owners.get(&(topic, partition)) == Some(id) {
                self.owners.remove(&(topic, partition));
            }
        }
        for at in each(&position) {
            self.owners.insert(at, id.clone());
        }
        self.mark(Key::Current(id.clone()));
    }

    /// Takes a member in.
    pub(in crate::group) fn add(&mut self, member: Member) {
        let id = member.id.clone();
        let position = member.position.clone();
        if let Some(instance) = &member.profile.instance {
            self.instances.insert(instance.clone(), id.clone());
        }
        self.members.insert(id.clone(), member);
        self.set_position(&id, position);
        self.mark(Key::Member(id));
    }

    /// Takes a member out.
    pub(in crate::group) fn remove(&mut self, id: &Str) -> Option<Member> {
        self.set_position(id, Position::default());
        let member = self.members.remove(id)?;
        if let Some(instance) = &member.profile.instance
            && self.instances.get(instance) == Some(id)
        {
            self.instances.remove(instance);
        }
        self.targets.remove(id);
        for key in [Key::Member, Key::Target, Key::Current] {
            self.mark(key(id.clone()));
        }
        Some(member)
    }

    /// A static member comes back under a new id: what the old one had and shall have is its.
    pub(in crate::group) fn replace(&mut self, old: &Str, new: &Str) {
        let target = self.targets.get(old).cloned();
        let held = self.members.get(old).map(|m| m.position.clone());
        let Some(mut member) = self.remove(old) else {
            return;
        };
        member.id = new.clone();
        member.position = Position {
            epoch: 0,
            previous_epoch: 0,
            ..held.unwrap_or_default()
        };
        self.add(member);
        if let Some(target) = target {
            self.targets.insert(new.clone(), target);
        }
        self.mark(Key::Target(new.clone()));
    }

    pub(in crate::group) fn state(&self) -> ConsumerGroupState {
        if self.deleting {
            ConsumerGroupState::Dead
        } else if self.members.is_empty() {
            ConsumerGroupState::Empty
        } else if self.epoch > self.target_epoch {
            ConsumerGroupState::Assigning
        } else if self
            .members
            .values()
            .all(|m| m.is_reconciled_to(self.target_epoch))
        {
            ConsumerGroupState::Stable
        } else {
            ConsumerGroupState::Reconciling
        }
    }

    /// How many members speak the classic protocol.
    pub(in crate::group) fn classic_members(&self) -> usize {
        self.members.values().filter(|m| m.is_classic()).count()
    }

    /// Checks that a member epoch may be used to read offsets.
    pub(in crate::group) fn check_fetch(
        &self,
        member: Option<&str>,
        epoch: i32,
    ) -> Result<(), ErrorCode> {
        let Some(member) = member.or((epoch >= 0).then_some("")) else {
            return Ok(());
        };
        let member = self.members.get(member);
        let member = member.ok_or(ErrorCode::UnknownMemberId)?;
        if member.epoch() == epoch {
            Ok(())
        } else {
            Err(stale(member))
        }
    }

    /// Whether this commit may be made: by a member in its epoch, or in one since which it has had
    /// the partitions without interruption.
    pub(in crate::group) fn check_commit(
        &self,
        commit: &Commit,
        transactional: bool,
        topic_id: impl Fn(&str) -> Option<Uuid>,
    ) -> Result<(), ErrorCode> {
        if self.deleting {
            return Err(ErrorCode::CoordinatorNotAvailable);
        }
        let epoch = commit.generation;
        if epoch < 0 && self.members.is_empty() {
            return Ok(());
        }
        let nameless = epoch == -1 && commit.member.is_empty() && commit.instance.is_none();
        if transactional && nameless {
            return Ok(());
        }
        let member = self.members.get(&commit.member);
        let member = member.ok_or(ErrorCode::UnknownMemberId)?;
        if !transactional && !member.is_classic() && commit.version < 9 {
            return Err(ErrorCode::UnsupportedVersion);
        }
        if epoch == member.epoch() {
            return Ok(());
        }
        let had = |(topic, partition): &(Str, i32), id: Uuid| {
            let id = if id.is_nil() {
                topic_id(topic)
            } else {
                Some(id)
            };
            let since = id.and_then(|id| member.assigned_in(&id, *partition));
            since.is_some_and(|since| epoch >= since)
        };
        let all = || commit.offsets.iter().all(|(at, o)| had(at, o.topic_id));
        if epoch < member.epoch() && all() {
            Ok(())
        } else {
            Err(stale(member))
        }
    }

    /// The next time at which something happens by itself.
    pub(in crate::group) fn next_deadline(&self) -> Option<i64> {
        self.members
            .values()
            .filter_map(|m| m.deadlines.next())
            .min()
    }

    pub(in crate::group) fn describe(&self, default: Assignor) -> ConsumerGroupDescription {
        ConsumerGroupDescription {
            group: self.id.clone(),
            state: self.state(),
            epoch: self.epoch,
            assignment_epoch: self.target_epoch,
            assignor: self.assignor(default),
            members: self
                .members
                .values()
                .map(|m| ConsumerMemberDescription {
                    member: m.id.clone(),
                    instance: m.profile.instance.clone(),
                    rack: m.profile.rack.clone(),
                    epoch: m.epoch(),
                    client_id: m.profile.client_id.clone(),
                    client_host: m.profile.client_host.clone(),
                    topics: m.profile.topics.iter().cloned().collect(),
                    regex: m.profile.regex.clone(),
                    assignment: partitions(&m.position.held),
                    target: self.targets.get(&m.id).cloned().unwrap_or_default(),
                    classic: m.is_classic(),
                })
                .collect(),
        }
    }
}

fn stale(member: &Member) -> ErrorCode {
    if member.is_classic() {
        ErrorCode::IllegalGeneration
    } else {
        ErrorCode::StaleMemberEpoch
    }
}

/// What a member holds or has yet to give up.
fn each(position: &Position) -> impl Iterator<Item = (Uuid, i32)> {
    let held = position.held.iter().chain(&position.revoking);
    held.flat_map(|(topic, partitions)| partitions.keys().map(move |p| (*topic, *p)))
}
