//! A member and a group: the data, and what follows from the data alone.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use super::subscription;
use crate::group::records::{StoredGroup, StoredMember};
use crate::group::types::{
    Commit, GroupDescription, GroupState, Join, Joined, MemberDescription, Token,
};
use crate::wire::{ErrorCode, Str};

/// A member of a group.
#[derive(Debug, Clone)]
pub(in crate::group) struct Member {
    pub(in crate::group) id: Str,
    pub(in crate::group) instance: Option<Str>,
    pub(in crate::group) client_id: Str,
    pub(in crate::group) client_host: Str,
    pub(in crate::group) session_timeout_ms: i32,
    pub(in crate::group) rebalance_timeout_ms: i32,
    pub(in crate::group) protocols: Vec<(Str, Bytes)>,
    pub(in crate::group) assignment: Bytes,
    /// The join that waits for the others.
    pub(in crate::group) joining: Option<Token>,
    /// The sync that waits for the leader.
    pub(in crate::group) syncing: Option<Token>,
    /// It never got through a join yet.
    pub(in crate::group) is_new: bool,
    /// When it counts as dead; `None` while it waits for an answer of ours.
    pub(in crate::group) deadline: Option<i64>,
}

impl Member {
    /// A member that has been in the group before.
    pub(in crate::group) fn returning(
        id: Str,
        protocols: Vec<(Str, Bytes)>,
        session_timeout_ms: i32,
        rebalance_timeout_ms: i32,
    ) -> Self {
        Self {
            id,
            instance: None,
            client_id: Str::new(),
            client_host: Str::new(),
            session_timeout_ms,
            rebalance_timeout_ms,
            protocols,
            assignment: Bytes::new(),
            joining: None,
            syncing: None,
            is_new: false,
            deadline: None,
        }
    }

    pub(in crate::group) fn metadata(&self, protocol: Option<&Str>) -> Bytes {
        self.protocols
            .iter()
            .find(|(name, _)| Some(name) == protocol)
            .map(|(_, metadata)| metadata.clone())
            .unwrap_or_default()
    }

    /// Starts the session anew.
    pub(in crate::group) fn touch(&mut self, now: i64) {
        self.deadline = Some(now.saturating_add(i64::from(self.session_timeout_ms)));
    }
}

/// A group: its members, its generation, its offsets.
///
/// Invariants: the leader is a member, if there are members and the group is past joining; a
/// static instance id belongs to one member; nobody waits for a sync outside of
/// `CompletingRebalance`, nor for a join outside of `PreparingRebalance` (but for the one answer
/// that waits for a write).
#[derive(Debug, Clone)]
pub(in crate::group) struct ClassicGroup {
    pub(in crate::group) id: Str,
    pub(in crate::group) state: GroupState,
    pub(in crate::group) state_since: i64,
    pub(in crate::group) generation: i32,
    pub(in crate::group) protocol_type: Option<Str>,
    pub(in crate::group) protocol: Option<Str>,
    pub(in crate::group) leader: Option<Str>,
    pub(in crate::group) members: BTreeMap<Str, Member>,
    pub(in crate::group) instances: BTreeMap<Str, Str>,
    /// Ids given out with MEMBER_ID_REQUIRED, and when they lapse.
    pub(in crate::group) pending: BTreeMap<Str, i64>,
    /// When joining ends, whoever has joined by then.
    pub(in crate::group) join_deadline: Option<i64>,
    /// The initial delay: it is put off while new members come, but not beyond this time.
    pub(in crate::group) initial: Option<Initial>,
    /// Members that have to sync, and until when.
    pub(in crate::group) unsynced: BTreeSet<Str>,
    pub(in crate::group) sync_deadline: Option<i64>,
    /// A write of the leader's assignment is under way.
    pub(in crate::group) assigning: bool,
}

/// `group.initial.rebalance.delay.ms` at work.
#[derive(Debug, Clone, Copy)]
pub(in crate::group) struct Initial {
    pub(in crate::group) until: i64,
    pub(in crate::group) newcomer: bool,
}

impl ClassicGroup {
    pub(in crate::group) fn new(id: Str, now: i64) -> Self {
        Self {
            id,
            state: GroupState::Empty,
            state_since: now,
            generation: 0,
            protocol_type: None,
            protocol: None,
            leader: None,
            members: BTreeMap::new(),
            instances: BTreeMap::new(),
            pending: BTreeMap::new(),
            join_deadline: None,
            initial: None,
            unsynced: BTreeSet::new(),
            sync_deadline: None,
            assigning: false,
        }
    }

    pub(in crate::group) fn become_state(&mut self, state: GroupState, now: i64) {
        self.state = state;
        self.state_since = now;
    }

    pub(in crate::group) fn is_leader(&self, member: &Str) -> bool {
        self.leader.as_ref() == Some(member)
    }

    /// How long members may take to rejoin: as long as the slowest asks for.
    pub(in crate::group) fn rebalance_timeout(&self) -> i64 {
        self.members
            .values()
            .map(|m| i64::from(m.rebalance_timeout_ms))
            .max()
            .unwrap_or(0)
    }

    pub(in crate::group) fn all_joined(&self) -> bool {
        self.pending.is_empty() && self.members.values().all(|m| m.joining.is_some())
    }

    /// Whether a member with these protocols can be in the group. A member that comes again with other protocols is
    /// judged as a new one is: what it has now counts, its own included.
    pub(in crate::group) fn supports(
        &self,
        protocol_type: &Str,
        protocols: &[(Str, Bytes)],
    ) -> bool {
        if protocol_type.is_empty() || protocols.is_empty() {
            return false;
        }
        if self.members.is_empty() {
            return true;
        }
        self.protocol_type.as_ref() == Some(protocol_type)
            && protocols.iter().any(|(name, _)| self.all_support(name))
    }

    fn all_support(&self, name: &Str) -> bool {
        self.members
            .values()
            .all(|m| m.protocols.iter().any(|(n, _)| n == name))
    }

    /// The protocol of the next generation: each member votes for the first it has of those that
    /// all have; of equals, the first by name.
    pub(in crate::group) fn elect_protocol(&self) -> Option<Str> {
        let mut votes: BTreeMap<&Str, usize> = BTreeMap::new();
        for member in self.members.values() {
            if let Some((name, _)) = member.protocols.iter().find(|(n, _)| self.all_support(n)) {
                *votes.entry(name).or_default() += 1;
            }
        }
        let most = votes.values().copied().max()?;
        votes
            .into_iter()
            .find(|(_, n)| *n == most)
            .map(|(name, _)| name.clone())
    }

    /// Checks that a request comes from the member it says, and not from one that was replaced.
    pub(in crate::group) fn check_member(
        &self,
        member: &Str,
        instance: Option<&Str>,
    ) -> Result<(), ErrorCode> {
        if let Some(instance) = instance {
            return match self.instances.get(instance) {
                None => Err(ErrorCode::UnknownMemberId),
                Some(owner) if owner != member => Err(ErrorCode::FencedInstanceId),
                Some(_) => Ok(()),
            };
        }
        if self.members.contains_key(member) {
            Ok(())
        } else {
            Err(ErrorCode::UnknownMemberId)
        }
    }

    pub(in crate::group) fn add(&mut self, id: Str, join: &Join, token: Token, deadline: i64) {
        if self.members.is_empty() {
            self.protocol_type = Some(join.protocol_type.clone());
        }
        if self.leader.is_none() {
            self.leader = Some(id.clone());
        }
        if let Some(instance) = &join.instance {
            self.instances.insert(instance.clone(), id.clone());
        }
        self.pending.remove(&id);
        self.members.insert(
            id.clone(),
            Member {
                id,
                instance: join.instance.clone(),
                client_id: join.client_id.clone(),
                client_host: join.client_host.clone(),
                session_timeout_ms: join.session_timeout_ms,
                rebalance_timeout_ms: join.rebalance_timeout_ms,
                protocols: join.protocols.clone(),
                assignment: Bytes::new(),
                joining: Some(token),
                syncing: None,
                is_new: true,
                deadline: Some(deadline),
            },
        );
    }

    /// Takes a member out; the caller answers what it waited for.
    pub(in crate::group) fn remove(&mut self, id: &Str) -> Option<Member> {
        let member = self.members.remove(id)?;
        if let Some(instance) = &member.instance {
            self.instances.remove(instance);
        }
        self.unsynced.remove(id);
        if self.is_leader(id) {
            self.leader = self.members.keys().next().cloned();
        }
        Some(member)
    }

    /// The answer to a join that succeeded.
    pub(in crate::group) fn joined(&self, member: &Str) -> Joined {
        let leads = self.is_leader(member);
        Joined {
            error: None,
            generation: self.generation,
            protocol_type: self.protocol_type.clone(),
            protocol: self.protocol.clone(),
            leader: self.leader.clone().unwrap_or_default(),
            member: member.clone(),
            skip_assignment: false,
            members: if leads { self.roster() } else { vec![] },
        }
    }

    /// Every member with its instance and metadata.
    pub(in crate::group) fn roster(&self) -> Vec<(Str, Option<Str>, Bytes)> {
        self.members
            .values()
            .map(|m| {
                (
                    m.id.clone(),
                    m.instance.clone(),
                    m.metadata(self.protocol.as_ref()),
                )
            })
            .collect()
    }

    /// Whether the members are consumers.
    pub(in crate::group) fn is_consumer(&self) -> bool {
        self.protocol_type.as_deref() == Some("consumer")
    }

    /// The topics that the members subscribed to; `None` if that cannot be known.
    fn subscribed(&self) -> Option<BTreeSet<Str>> {
        if !self.is_consumer() {
            return None;
        }
        let mut all = BTreeSet::new();
        for member in self.members.values() {
            let chosen = self.protocol.as_ref();
            let mut protocols = member.protocols.iter();
            let (_, metadata) = protocols
                .clone()
                .find(|(name, _)| Some(name) == chosen)
                .or_else(|| protocols.next())?;
            all.extend(subscription::topics(metadata)?);
        }
        Some(all)
    }

    /// Whether a member subscribed to the topic; of consumers of whom it is not known, they all
    /// count as subscribed to everything.
    pub(in crate::group) fn is_subscribed_to(&self, topic: &Str) -> bool {
        match self.subscribed() {
            Some(topics) => topics.contains(topic),
            None => self.is_consumer(),
        }
    }

    /// Whether this commit may be made.
    pub(in crate::group) fn check_commit(
        &self,
        commit: &Commit,
        transactional: bool,
    ) -> Result<(), ErrorCode> {
        if self.state == GroupState::Dead {
            return Err(ErrorCode::CoordinatorNotAvailable);
        }
        if commit.generation < 0 && self.state == GroupState::Empty {
            // An administrator, or a consumer that assigns itself its partitions.
            return Ok(());
        }
        if commit.generation >= 0 || !commit.member.is_empty() || commit.instance.is_some() {
            self.check_member(&commit.member, commit.instance.as_ref())?;
            if commit.generation != self.generation {
                return Err(ErrorCode::IllegalGeneration);
            }
        } else if !transactional && self.state != GroupState::Empty {
            return Err(ErrorCode::UnknownMemberId);
        }
        if !transactional && self.state == GroupState::CompletingRebalance {
            return Err(ErrorCode::RebalanceInProgress);
        }
        Ok(())
    }

    /// A commit of a member shows that it is alive.
    pub(in crate::group) fn committing(&mut self, member: &Str, now: i64) {
        if matches!(
            self.state,
            GroupState::Stable | GroupState::PreparingRebalance
        ) && let Some(member) = self.members.get_mut(member)
            && member.deadline.is_some()
        {
            member.touch(now);
        }
    }

    /// From when on the group's offsets count as unused; `None` while they do not expire.
    pub(in crate::group) fn offsets_unused_since(&self) -> Option<i64> {
        match (&self.protocol_type, self.state) {
            // It only stores offsets: each counts from its own commit.
            (None, _) => Some(i64::MIN),
            (Some(_), GroupState::Empty) => Some(self.state_since),
            (Some(_), GroupState::Stable) => self.subscribed().map(|_| i64::MIN),
            _ => None,
        }
    }

    /// The group as it is stored, with these assignments.
    pub(in crate::group) fn stored(&self, assignments: &BTreeMap<Str, Bytes>) -> StoredGroup {
        StoredGroup {
            protocol_type: self.protocol_type.clone().unwrap_or_default(),
            generation: self.generation,
            protocol: self.protocol.clone(),
            leader: self.leader.clone(),
            state_timestamp: self.state_since,
            members: self
                .members
                .values()
                .map(|m| StoredMember {
                    member: m.id.clone(),
                    instance: m.instance.clone(),
                    client_id: m.client_id.clone(),
                    client_host: m.client_host.clone(),
                    rebalance_timeout_ms: m.rebalance_timeout_ms,
                    session_timeout_ms: m.session_timeout_ms,
                    subscription: m.metadata(self.protocol.as_ref()),
                    assignment: assignments.get(&m.id).unwrap_or(&m.assignment).clone(),
                })
                .collect(),
        }
    }

    /// The group as it was stored. Members get a whole session to show themselves.
    pub(in crate::group) fn load(&mut self, stored: StoredGroup, now: i64) {
        self.generation = stored.generation;
        self.protocol_type = Some(stored.protocol_type).filter(|t| !t.is_empty());
        self.protocol = stored.protocol.clone();
        self.leader = stored.leader;
        self.members.clear();
        self.instances.clear();
        for m in stored.members {
            if let Some(instance) = &m.instance {
                self.instances.insert(instance.clone(), m.member.clone());
            }
            let mut member = Member {
                id: m.member.clone(),
                instance: m.instance,
                client_id: m.client_id,
                client_host: m.client_host,
                session_timeout_ms: m.session_timeout_ms,
                rebalance_timeout_ms: m.rebalance_timeout_ms,
                protocols: vec![(stored.protocol.clone().unwrap_or_default(), m.subscription)],
                assignment: m.assignment,
                joining: None,
                syncing: None,
                is_new: false,
                deadline: None,
            };
            member.touch(now);
            self.members.insert(m.member, member);
        }
        let empty = self.members.is_empty();
        if empty {
            self.leader = None;
        }
        self.state = if empty {
            GroupState::Empty
        } else {
            GroupState::Stable
        };
        self.state_since = if stored.state_timestamp >= 0 {
            stored.state_timestamp
        } else {
            now
        };
    }

    pub(in crate::group) fn describe(&self) -> GroupDescription {
        let settled = self.state == GroupState::Stable;
        GroupDescription {
            group: self.id.clone(),
            state: self.state,
            generation: self.generation,
            protocol_type: self.protocol_type.clone().unwrap_or_default(),
            protocol: self
                .protocol
                .clone()
                .filter(|_| settled)
                .unwrap_or_default(),
            members: self
                .members
                .values()
                .map(|m| MemberDescription {
                    member: m.id.clone(),
                    instance: m.instance.clone(),
                    client_id: m.client_id.clone(),
                    client_host: m.client_host.clone(),
                    metadata: if settled {
                        m.metadata(self.protocol.as_ref())
                    } else {
                        Bytes::new()
                    },
                    assignment: if settled {
                        m.assignment.clone()
                    } else {
                        Bytes::new()
                    },
                })
                .collect(),
        }
    }

    /// The next time at which something happens by itself.
    pub(in crate::group) fn next_deadline(&self) -> Option<i64> {
        self.members
            .values()
            .filter_map(|m| m.deadline)
            .chain(self.pending.values().copied())
            .chain(self.join_deadline)
            .chain(self.sync_deadline)
            .min()
    }
}
