//! The coordinator of the groups of one partition of `__consumer_offsets`.
//!
//! Invariants: every request is answered exactly once; what an answer promises is in the log
//! first ([`Action::Persist`] before [`Action::Reply`], with the [`Event::Persisted`] in between);
//! the same events at the same times give the same actions.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use super::member::Group;
use super::records::GroupRecord;
use super::types::{
    Action, Commit, CommittedOffset, Event, GroupConfig, GroupDescription, GroupState, Heartbeat,
    Join, Joined, Leaver, Reply, Sync, Synced, Token, TopicPartition, WriteId,
};
use crate::wire::{ErrorCode, Str};

/// When to look again for expired offsets if a write is under way.
const RETRY_MS: i64 = 1_000;

/// What is done when a write is made, or could not be.
#[derive(Debug, Clone)]
pub(super) enum Write {
    Assignment {
        group: Str,
        generation: i32,
        assignments: BTreeMap<Str, Bytes>,
    },
    StaticMember {
        group: Str,
        token: Token,
        joined: Joined,
    },
    Emptied {
        group: Str,
    },
    Commit {
        group: Str,
        token: Token,
        offsets: Vec<(TopicPartition, CommittedOffset)>,
        codes: BTreeMap<TopicPartition, ErrorCode>,
    },
    Delete {
        group: Str,
        token: Token,
    },
    DeleteOffsets {
        group: Str,
        token: Option<Token>,
        codes: BTreeMap<TopicPartition, ErrorCode>,
    },
    Expire {
        group: Str,
        offsets: Vec<TopicPartition>,
        whole: bool,
    },
}

/// What a group needs besides itself while it handles an event.
pub(super) struct Cx<'a> {
    pub(super) config: &'a GroupConfig,
    pub(super) now: i64,
    pub(super) actions: &'a mut Vec<Action>,
    writes: &'a mut BTreeMap<WriteId, Write>,
    next_write: &'a mut WriteId,
}

impl Cx<'_> {
    pub(super) fn reply(&mut self, token: Token, reply: Reply) {
        self.actions.push(Action::Reply(token, reply));
    }

    pub(super) fn persist(&mut self, records: Vec<GroupRecord>, then: Write) {
        let id = *self.next_write;
        *self.next_write = id.wrapping_add(1);
        self.writes.insert(id, then);
        self.actions.push(Action::Persist(id, records));
    }
}

/// The coordinator of the groups of one partition of `__consumer_offsets`, sans-IO.
///
/// The caller hands in [`Event`]s with the time and carries out the [`Action`]s in their order.
/// Between events it calls [`next_deadline`](Self::next_deadline) and steps an [`Event::Tick`]
/// when that time has come.
///
/// ```
/// use thalweg_log::group::{Action, Coordinator, Event, GroupConfig, Join, Reply};
///
/// let mut coordinator = Coordinator::new(GroupConfig::default());
/// let join = Join {
///     group: "g".into(),
///     new_member: "member-1".into(),
///     session_timeout_ms: 10_000,
///     rebalance_timeout_ms: 60_000,
///     protocol_type: "consumer".into(),
///     protocols: vec![("range".into(), bytes::Bytes::new())],
///     ..Join::default()
/// };
/// let actions = coordinator.step(Event::Join(1, join), 0);
/// let [Action::Reply(1, Reply::Joined(joined))] = &actions[..] else { panic!("{actions:?}") };
/// assert_eq!((joined.generation, joined.leader.as_str()), (1, "member-1"));
/// ```
#[derive(Debug, Clone)]
pub struct Coordinator {
    config: GroupConfig,
    groups: BTreeMap<Str, Group>,
    writes: BTreeMap<WriteId, Write>,
    next_write: WriteId,
    next_retention: Option<i64>,
}

impl Coordinator {
    /// A coordinator without groups.
    pub fn new(config: GroupConfig) -> Self {
        Self {
            config,
            groups: BTreeMap::new(),
            writes: BTreeMap::new(),
            next_write: 0,
            next_retention: None,
        }
    }

    /// Takes over a record of the log, in its order, before any event.
    pub fn load(&mut self, record: GroupRecord, now: i64) {
        match record {
            GroupRecord::Offset(group, at, Some(offset)) => {
                self.group(&group, now).offsets.insert(at, offset);
            }
            GroupRecord::Offset(group, at, None) => {
                if let Some(group) = self.groups.get_mut(&group) {
                    group.offsets.remove(&at);
                }
            }
            GroupRecord::Group(group, Some(stored)) => self.group(&group, now).load(stored, now),
            GroupRecord::Group(group, None) => {
                self.groups.remove(&group);
            }
        }
    }

    fn group(&mut self, id: &Str, now: i64) -> &mut Group {
        self.groups
            .entry(id.clone())
            .or_insert_with(|| Group::new(id.clone(), now))
    }

    /// Handles an event and says what is to be done, in order.
    pub fn step(&mut self, event: Event, now: i64) -> Vec<Action> {
        let mut actions = Vec::new();
        let mut groups = std::mem::take(&mut self.groups);
        let mut cx = Cx {
            config: &self.config,
            now,
            actions: &mut actions,
            writes: &mut self.writes,
            next_write: &mut self.next_write,
        };
        match event {
            Event::Join(token, join) => on_join(&mut groups, token, join, &mut cx),
            Event::Sync(token, sync) => on_sync(&mut groups, token, sync, &mut cx),
            Event::Heartbeat(token, beat) => {
                let code = on_heartbeat(&mut groups, &beat, now);
                cx.reply(token, Reply::Code(code));
            }
            Event::Leave(token, group, leavers) => {
                let left = on_leave(&mut groups, &group, leavers, &mut cx);
                cx.reply(token, Reply::Left(left));
            }
            Event::Commit(token, commit) => on_commit(&mut groups, token, commit, &mut cx),
            Event::Delete(token, group) => match groups.get_mut(&group) {
                Some(group) => group.delete(token, &mut cx),
                None => cx.reply(token, Reply::Code(missing(&group))),
            },
            Event::DeleteOffsets(token, group, at) => match groups.get_mut(&group) {
                Some(group) => group.delete_offsets(token, at, &mut cx),
                None => cx.reply(token, Reply::Offsets(Err(missing(&group)))),
            },
            Event::TopicsDeleted(topics) => {
                for group in groups.values_mut() {
                    group.topics_deleted(&topics, &mut cx);
                }
            }
            Event::Persisted(write, result) => {
                if let Some(write) = cx.writes.remove(&write) {
                    on_persisted(&mut groups, write, result, &mut cx);
                }
            }
            Event::Tick => {
                for group in groups.values_mut() {
                    group.tick(&mut cx);
                }
                if self.next_retention.is_none_or(|at| at <= now) {
                    // A commit under way is newer than what would be looked at.
                    let busy = !cx.writes.is_empty();
                    let next = if busy {
                        RETRY_MS
                    } else {
                        self.config.retention_check_interval_ms
                    };
                    self.next_retention = Some(now.saturating_add(next));
                    for group in groups.values_mut().filter(|_| !busy) {
                        group.expire_offsets(&mut cx);
                    }
                }
            }
        }
        self.groups = groups;
        actions
    }

    /// When the next [`Event::Tick`] is due.
    pub fn next_deadline(&self) -> Option<i64> {
        let retention = if self.groups.is_empty() {
            None
        } else {
            self.next_retention.or(Some(0))
        };
        self.groups
            .values()
            .filter_map(Group::next_deadline)
            .chain(retention)
            .min()
    }

    /// Everything there is, as records: what a shorter log would begin with. `None` while a
    /// rebalance or a write is under way, when the log says more than the state.
    pub fn snapshot(&self) -> Option<Vec<GroupRecord>> {
        let settled = |g: &Group| matches!(g.state, GroupState::Empty | GroupState::Stable);
        if !self.writes.is_empty() || !self.groups.values().all(settled) {
            return None;
        }
        let mut records = Vec::new();
        for group in self.groups.values() {
            for (at, offset) in &group.offsets {
                let offset = Some(offset.clone());
                records.push(GroupRecord::Offset(group.id.clone(), at.clone(), offset));
            }
            if group.generation > 0 {
                let stored = group.stored(&BTreeMap::new());
                records.push(GroupRecord::Group(group.id.clone(), Some(stored)));
            }
        }
        Some(records)
    }

    /// A group as DescribeGroups shows it.
    pub fn describe(&self, group: &str) -> Option<GroupDescription> {
        self.groups.get(group).map(Group::describe)
    }

    /// Every group: id, protocol type, state.
    pub fn list(&self) -> Vec<(Str, Str, GroupState)> {
        self.groups
            .values()
            .map(|g| {
                (
                    g.id.clone(),
                    g.protocol_type.clone().unwrap_or_default(),
                    g.state,
                )
            })
            .collect()
    }

    /// The offset that a group committed for a partition.
    pub fn offset(&self, group: &str, at: &TopicPartition) -> Option<&CommittedOffset> {
        self.groups.get(group)?.offsets.get(at)
    }

    /// The topics of which there are offsets.
    pub fn topics(&self) -> BTreeSet<Str> {
        let offsets = self.groups.values().flat_map(|g| g.offsets.keys());
        offsets.map(|(topic, _)| topic.clone()).collect()
    }

    /// Every offset that a group committed.
    pub fn offsets(
        &self,
        group: &str,
    ) -> impl Iterator<Item = (&TopicPartition, &CommittedOffset)> {
        self.groups.get(group).into_iter().flat_map(|g| &g.offsets)
    }
}

fn missing(group: &Str) -> ErrorCode {
    if group.is_empty() {
        ErrorCode::InvalidGroupId
    } else {
        ErrorCode::GroupIdNotFound
    }
}

fn on_join(groups: &mut BTreeMap<Str, Group>, token: Token, join: Join, cx: &mut Cx<'_>) {
    let session = cx.config.min_session_timeout_ms..=cx.config.max_session_timeout_ms;
    let known = groups.contains_key(&join.group);
    let error = if join.group.is_empty() {
        Some(ErrorCode::InvalidGroupId)
    } else if !session.contains(&join.session_timeout_ms) {
        Some(ErrorCode::InvalidSessionTimeout)
    } else if !known && !join.member.is_empty() {
        Some(ErrorCode::UnknownMemberId)
    } else {
        None
    };
    if let Some(code) = error {
        let refused = Joined {
            error: Some(code),
            generation: -1,
            member: join.member,
            ..Joined::default()
        };
        return cx.reply(token, Reply::Joined(refused));
    }
    let now = cx.now;
    let group = groups
        .entry(join.group.clone())
        .or_insert_with(|| Group::new(join.group.clone(), now));
    group.join(token, join, cx);
}

fn on_sync(groups: &mut BTreeMap<Str, Group>, token: Token, sync: Sync, cx: &mut Cx<'_>) {
    let refused = |code| {
        Reply::Synced(Synced {
            error: Some(code),
            ..Synced::default()
        })
    };
    if sync.group.is_empty() {
        return cx.reply(token, refused(ErrorCode::InvalidGroupId));
    }
    match groups.get_mut(&sync.group) {
        Some(group) => group.sync(token, sync, cx),
        None => cx.reply(token, refused(ErrorCode::UnknownMemberId)),
    }
}

fn on_heartbeat(groups: &mut BTreeMap<Str, Group>, beat: &Heartbeat, now: i64) -> ErrorCode {
    if beat.group.is_empty() {
        return ErrorCode::InvalidGroupId;
    }
    match groups.get_mut(&beat.group) {
        Some(group) => group.heartbeat(beat, now),
        None => ErrorCode::UnknownMemberId,
    }
}

fn on_leave(
    groups: &mut BTreeMap<Str, Group>,
    group: &Str,
    leavers: Vec<Leaver>,
    cx: &mut Cx<'_>,
) -> Result<Vec<(Leaver, ErrorCode)>, ErrorCode> {
    if group.is_empty() {
        return Err(ErrorCode::InvalidGroupId);
    }
    let mut group = groups.get_mut(group);
    Ok(leavers
        .into_iter()
        .map(|leaver| {
            let code = match &mut group {
                Some(group) => group.leave(&leaver, cx),
                None => ErrorCode::UnknownMemberId,
            };
            (leaver, code)
        })
        .collect())
}

fn on_commit(groups: &mut BTreeMap<Str, Group>, token: Token, commit: Commit, cx: &mut Cx<'_>) {
    let all = |code| {
        Reply::Offsets(Ok(commit
            .offsets
            .iter()
            .map(|(at, _)| (at.clone(), code))
            .collect()))
    };
    if commit.group.is_empty() && commit.generation >= 0 {
        let reply = all(ErrorCode::InvalidGroupId);
        return cx.reply(token, reply);
    }
    let known = groups.contains_key(&commit.group);
    if !known && (commit.generation >= 0 || commit.instance.is_some()) {
        let reply = all(ErrorCode::IllegalGeneration);
        return cx.reply(token, reply);
    }
    let now = cx.now;
    let group = groups
        .entry(commit.group.clone())
        .or_insert_with(|| Group::new(commit.group.clone(), now));
    group.commit(token, commit, cx);
}

fn on_persisted(
    groups: &mut BTreeMap<Str, Group>,
    write: Write,
    result: Result<(), ErrorCode>,
    cx: &mut Cx<'_>,
) {
    match write {
        Write::Assignment {
            group,
            generation,
            assignments,
        } => {
            if let Some(group) = groups.get_mut(&group) {
                group.assigned(generation, &assignments, result, cx);
            }
        }
        Write::StaticMember {
            group,
            token,
            joined,
        } => {
            // Another run may have taken the instance id over meanwhile. If another rebalance has
            // begun, the member's heartbeat will tell it.
            let current = groups
                .get(&group)
                .is_some_and(|g| g.members.contains_key(&joined.member));
            let error = match result {
                Err(code) => Some(code),
                Ok(()) if !current => Some(ErrorCode::FencedInstanceId),
                Ok(()) => None,
            };
            let answer = match error {
                None => joined,
                Some(_) => Joined {
                    error,
                    generation: -1,
                    member: joined.member,
                    ..Joined::default()
                },
            };
            cx.reply(token, Reply::Joined(answer));
        }
        Write::Emptied { group } => {
            if let Err(code) = result {
                tracing::warn!(%group, %code, "the empty group could not be stored");
            }
        }
        Write::Commit {
            group,
            token,
            offsets,
            codes,
        } => {
            let group = groups.get_mut(&group);
            super::offsets::committed(group, token, offsets, codes, result, cx);
        }
        Write::Delete { group, token } => match result {
            Ok(()) => {
                groups.remove(&group);
                cx.reply(token, Reply::Code(ErrorCode::None));
            }
            Err(code) => {
                let now = cx.now;
                if let Some(group) = groups.get_mut(&group) {
                    group.become_state(GroupState::Empty, now);
                }
                cx.reply(token, Reply::Code(code));
            }
        },
        Write::DeleteOffsets {
            group,
            token,
            mut codes,
        } => {
            if let Some(group) = groups.get_mut(&group) {
                for (at, code) in &mut codes {
                    match (result, code.is_none()) {
                        (Ok(()), true) => {
                            group.offsets.remove(at);
                        }
                        (Err(failed), true) => *code = failed,
                        (_, false) => {}
                    }
                }
            }
            if let Some(token) = token {
                cx.reply(token, Reply::Offsets(Ok(codes)));
            }
        }
        Write::Expire {
            group,
            offsets,
            whole,
        } => {
            if result.is_ok() {
                let emptied = groups.get_mut(&group).is_some_and(|g| {
                    for at in &offsets {
                        g.offsets.remove(at);
                    }
                    whole && g.members.is_empty() && g.pending.is_empty() && g.offsets.is_empty()
                });
                if emptied {
                    groups.remove(&group);
                }
            }
        }
    }
}
