//! The coordinator of the groups of one partition of `__consumer_offsets`.
//!
//! Invariants: every request is answered exactly once; what an answer promises is in the log
//! first ([`Action::Persist`] before [`Action::Reply`], with the [`Event::Persisted`] in between);
//! the same events at the same times give the same actions.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use uuid::Uuid;

use super::classic::ClassicGroup;
use super::consumer::{self, Assignor, ConsumerGroup, ConsumerRecord, Key};
use super::groups::Group;
pub(super) use super::groups::Groups;
use super::offsets::{self, Offsets, Order, Written};
use super::records::GroupRecord;
use super::topics::Topics;
use super::types::{
    Action, CommittedOffset, ConsumerGroupDescription, Event, GroupConfig, GroupDescription,
    GroupListing, GroupOverrides, GroupState, GroupType, Heartbeat, Join, Joined, Leaver, Producer,
    Refused, Reply, Sync, Synced, Token, TopicPartition, WriteId,
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
    /// Parts of a group of the consumer protocol, and who is answered then.
    Consumer {
        group: Str,
        keys: BTreeSet<Key>,
        replies: Vec<(Token, Reply)>,
    },
    /// A group that is of the classic protocol from now on, and what it was.
    Converted {
        before: Box<ConsumerGroup>,
        replies: Vec<(Token, Reply)>,
    },
    Commit(Written),
    Delete {
        group: Str,
        token: Token,
        partitions: BTreeSet<TopicPartition>,
        order: Order,
    },
    DeleteOffsets {
        group: Str,
        token: Option<Token>,
        codes: BTreeMap<TopicPartition, ErrorCode>,
        order: Order,
    },
    Expire {
        group: Str,
        partitions: BTreeSet<TopicPartition>,
        whole: bool,
        order: Order,
    },
}

/// What a group needs besides itself while it handles an event.
pub(super) struct Cx<'a> {
    pub(super) config: &'a GroupConfig,
    pub(super) topics: &'a Topics,
    overrides: &'a BTreeMap<Str, GroupOverrides>,
    pub(super) now: i64,
    pub(super) actions: &'a mut Vec<Action>,
    writes: &'a mut BTreeMap<WriteId, Write>,
    next_write: &'a mut WriteId,
}

impl Cx<'_> {
    pub(super) fn reply(&mut self, token: Token, reply: Reply) {
        self.actions.push(Action::Reply(token, reply));
    }

    fn write(&mut self, then: Write) -> WriteId {
        let id = *self.next_write;
        *self.next_write = id.wrapping_add(1);
        self.writes.insert(id, then);
        id
    }

    pub(super) fn persist(&mut self, records: Vec<GroupRecord>, then: Write) {
        self.persist_tracked(records, then);
    }

    pub(super) fn persist_tracked(&mut self, records: Vec<GroupRecord>, then: Write) -> WriteId {
        let id = self.write(then);
        self.actions.push(Action::Persist(id, records));
        id
    }

    /// A write under way.
    pub(super) fn write_mut(&mut self, id: WriteId) -> Option<&mut Write> {
        self.writes.get_mut(&id)
    }

    fn overrides(&self, group: &str) -> GroupOverrides {
        self.overrides.get(group).copied().unwrap_or_default()
    }

    /// How long a member of the consumer protocol may be silent.
    pub(super) fn session_timeout(&self, group: &str) -> i32 {
        let own = self.overrides(group).session_timeout_ms;
        own.unwrap_or(self.config.consumer.session_timeout_ms)
    }

    /// When a member of the consumer protocol shall come again.
    pub(super) fn heartbeat_interval(&self, group: &str) -> i32 {
        let own = self.overrides(group).heartbeat_interval_ms;
        own.unwrap_or(self.config.consumer.heartbeat_interval_ms)
    }

    /// How long a target assignment stands at least.
    pub(super) fn assignment_interval(&self, group: &str) -> i32 {
        let own = self.overrides(group).assignment_interval_ms;
        own.unwrap_or(self.config.consumer.assignment_interval_ms)
    }

    /// The assignor where no member asks for one.
    pub(super) fn default_assignor(&self) -> Assignor {
        let first = self.config.consumer.assignors.first();
        first.copied().unwrap_or(Assignor::Uniform)
    }

    /// Writes the records as part of a producer's transaction.
    pub(super) fn persist_for(
        &mut self,
        producer: Producer,
        records: Vec<GroupRecord>,
        then: Write,
    ) {
        let id = self.write(then);
        let action = Action::PersistTransactional(id, producer, records);
        self.actions.push(action);
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
    config: Arc<GroupConfig>,
    topics: Arc<Topics>,
    overrides: Arc<BTreeMap<Str, GroupOverrides>>,
    groups: Groups,
    offsets: Offsets,
    writes: BTreeMap<WriteId, Write>,
    next_write: WriteId,
    next_retention: Option<i64>,
}

impl Coordinator {
    /// A coordinator without groups.
    pub fn new(config: GroupConfig) -> Self {
        Self {
            config: Arc::new(config),
            topics: Arc::default(),
            overrides: Arc::default(),
            groups: Groups::default(),
            offsets: Offsets::default(),
            writes: BTreeMap::new(),
            next_write: 0,
            next_retention: None,
        }
    }

    /// Takes over a record of the log, in its order, before any event but [`Event::Configure`], which
    /// says how long members have to show themselves; another one ends the loading.
    pub fn load(&mut self, record: GroupRecord, now: i64) {
        self.load_of(record, None, now);
    }

    /// Takes over a record of a batch that belongs to a producer's transaction.
    pub fn load_transactional(&mut self, record: GroupRecord, producer_id: i64, now: i64) {
        self.load_of(record, Some(producer_id), now);
    }

    /// Takes over the marker that ends a producer's transaction.
    pub fn load_marker(&mut self, producer_id: i64, committed: bool) {
        self.offsets.end_transaction(producer_id, committed);
    }

    fn load_of(&mut self, record: GroupRecord, producer: Option<i64>, now: i64) {
        match record {
            GroupRecord::Offset(group, at, value) => {
                let order = self.offsets.next_order();
                match (value, producer) {
                    (None, _) => self.offsets.delete(&group, &at, order),
                    (Some(offset), producer) => {
                        self.groups.get_or_simple(&group, now);
                        match producer {
                            None => self.offsets.commit(&group, at, offset, order),
                            Some(id) => self.offsets.commit_pending(id, &group, at, offset, order),
                        }
                    }
                }
            }
            GroupRecord::Group(id, Some(stored)) => match self.groups.get_or_simple(&id, now) {
                Group::Classic(group) => group.load(stored, now),
                other @ Group::Consumer(_) => {
                    let mut group = ClassicGroup::new(id, now);
                    group.load(stored, now);
                    *other = Group::Classic(group);
                }
            },
            // Whatever was before: nothing of it is left.
            GroupRecord::Group(id, None) => {
                self.groups.remove(&id);
            }
            GroupRecord::Consumer(id, record) => self.load_consumer(id, record, now),
        }
    }

    fn load_consumer(&mut self, id: Str, record: ConsumerRecord, now: i64) {
        let own = self.overrides.get(&id).and_then(|o| o.session_timeout_ms);
        let session = own.unwrap_or(self.config.consumer.session_timeout_ms);
        if record == ConsumerRecord::Epoch(None) {
            if self.groups.consumer_mut(&id).is_some() {
                self.groups.remove(&id);
            }
        } else if let Some(group) = self.groups.consumer_mut(&id) {
            group.load(record, session, now);
        } else if !record.is_tombstone() {
            // At most a classic group that only stores offsets was there.
            let mut group = ConsumerGroup::new(id);
            group.load(record, session, now);
            self.groups.insert(Group::Consumer(group));
        }
    }

    /// Handles an event and says what is to be done, in order.
    pub fn step(&mut self, event: Event, now: i64) -> Vec<Action> {
        let mut actions = Vec::new();
        let event = match event {
            Event::Topics(topics) => {
                self.topics_changed(topics);
                return actions;
            }
            Event::Configure(config, overrides) => {
                self.config = config;
                self.overrides = overrides;
                Event::Configure(Arc::clone(&self.config), Arc::clone(&self.overrides))
            }
            event => event,
        };
        let mut cx = Cx {
            config: &self.config,
            topics: &self.topics,
            overrides: &self.overrides,
            now,
            actions: &mut actions,
            writes: &mut self.writes,
            next_write: &mut self.next_write,
        };
        let (groups, offsets) = (&mut self.groups, &mut self.offsets);
        match event {
            Event::Join(token, join) => on_join(groups, token, join, &mut cx),
            Event::Sync(token, sync) => on_sync(groups, token, sync, &mut cx),
            Event::Heartbeat(token, beat) => on_heartbeat(groups, token, &beat, &mut cx),
            Event::ConsumerHeartbeat(token, beat) => {
                consumer::on_heartbeat(groups, token, beat, &mut cx);
            }
            Event::Leave(token, group, leavers) => {
                on_leave(groups, token, &group, leavers, &mut cx);
            }
            Event::Topics(_) => {}
            Event::Configure(..) => {
                for id in groups.ids() {
                    if let Some(group) = groups.classic_mut(&id) {
                        group.shrink(&mut cx);
                    }
                }
            }
            Event::Commit(token, commit) => {
                offsets::on_commit(groups, offsets, token, commit, &mut cx);
            }
            Event::TransactionalCommit(token, commit, producer) => {
                offsets::on_transactional_commit(groups, offsets, token, commit, producer, &mut cx);
            }
            Event::TransactionEnded {
                producer_id,
                committed,
            } => offsets.end_transaction(producer_id, committed),
            Event::Delete(token, group) => {
                offsets::delete_group(groups, offsets, token, group, &mut cx);
            }
            Event::DeleteOffsets(token, group, at) => {
                offsets::delete_offsets(groups, offsets, token, group, at, &mut cx);
            }
            Event::TopicsDeleted(topics) => offsets::topics_deleted(offsets, &topics, &mut cx),
            Event::Persisted(write, result) => {
                if let Some(write) = cx.writes.remove(&write) {
                    on_persisted(groups, offsets, write, result, &mut cx);
                }
            }
            Event::Tick => {
                for id in groups.ids() {
                    match groups.get_mut(&id) {
                        Some(Group::Classic(group)) => group.tick(&mut cx),
                        Some(Group::Consumer(_)) => consumer::tick(groups, &id, &mut cx),
                        None => {}
                    }
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
                    if !busy {
                        offsets::expire(groups, offsets, &mut cx);
                    }
                }
            }
        }
        actions
    }

    fn topics_changed(&mut self, topics: Arc<Topics>) {
        let more = topics.has_more_than(&self.topics);
        for (_, group) in self.groups.iter_mut() {
            if let Group::Consumer(group) = group {
                group.refresh = true;
                group.new_topics |= more;
            }
        }
        self.topics = topics;
    }

    /// When the next [`Event::Tick`] is due.
    pub fn next_deadline(&self) -> Option<i64> {
        let retention = if self.groups.is_empty() {
            None
        } else {
            self.next_retention.or(Some(0))
        };
        self.groups
            .iter()
            .filter_map(|(_, group)| group.next_deadline())
            .chain(retention)
            .min()
    }

    /// A group as DescribeGroups shows it.
    pub fn describe(&self, group: &str) -> Option<GroupDescription> {
        match self.groups.get(group)? {
            Group::Classic(group) => Some(group.describe()),
            Group::Consumer(_) => None,
        }
    }

    /// A group as ConsumerGroupDescribe shows it.
    pub fn describe_consumer(&self, group: &str) -> Option<ConsumerGroupDescription> {
        let default = self.config.consumer.assignors.first();
        match self.groups.get(group)? {
            Group::Classic(_) => None,
            Group::Consumer(group) => {
                Some(group.describe(default.copied().unwrap_or(Assignor::Uniform)))
            }
        }
    }

    /// Whether there is such a group, of whichever protocol.
    pub fn contains(&self, group: &str) -> bool {
        self.groups.contains(group)
    }

    /// Every group.
    pub fn list(&self) -> Vec<GroupListing> {
        self.groups
            .iter()
            .map(|(id, group)| match group {
                Group::Classic(g) => GroupListing {
                    group: id.clone(),
                    protocol_type: g.protocol_type.clone().unwrap_or_default(),
                    state: g.state.name(),
                    group_type: GroupType::Classic,
                },
                Group::Consumer(g) => GroupListing {
                    group: id.clone(),
                    protocol_type: Str::from_static("consumer"),
                    state: g.state().name(),
                    group_type: GroupType::Consumer,
                },
            })
            .collect()
    }

    /// Checks that a member may read the group's offsets; without a member anybody may.
    ///
    /// # Errors
    /// The code that the member is told.
    pub fn check_fetch(
        &self,
        group: &str,
        member: Option<&str>,
        epoch: i32,
    ) -> Result<(), ErrorCode> {
        match self.groups.get(group) {
            Some(Group::Consumer(group)) => group.check_fetch(member, epoch),
            Some(Group::Classic(_)) | None => Ok(()),
        }
    }

    /// The offset that a group committed for a partition.
    pub fn offset(&self, group: &str, at: &TopicPartition) -> Option<&CommittedOffset> {
        self.offsets.get(group, at)
    }

    /// Whether a transaction that is not decided yet commits an offset for the partition.
    pub fn is_unstable(&self, group: &str, at: &TopicPartition) -> bool {
        self.offsets.is_unstable(group, at)
    }

    /// The topics of which there are offsets, by name and by the id under which they were committed,
    /// as in [`Event::TopicsDeleted`].
    pub fn topics(&self) -> BTreeSet<(Str, Uuid)> {
        self.offsets.topics()
    }

    /// Every offset that a group committed.
    pub fn offsets(
        &self,
        group: &str,
    ) -> impl Iterator<Item = (&TopicPartition, &CommittedOffset)> {
        self.offsets.of(group)
    }
}

fn on_join(groups: &mut Groups, token: Token, join: Join, cx: &mut Cx<'_>) {
    let session = cx.config.min_session_timeout_ms..=cx.config.max_session_timeout_ms;
    let known = groups.contains(&join.group);
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
    consumer::take_back_empty(groups, &join.group, cx);
    match groups.get_or_simple(&join.group, now) {
        Group::Classic(group) => group.join(token, join, cx),
        Group::Consumer(_) => consumer::join(groups, token, join, cx),
    }
}

fn on_sync(groups: &mut Groups, token: Token, sync: Sync, cx: &mut Cx<'_>) {
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
        Some(Group::Classic(group)) => group.sync(token, sync, cx),
        Some(Group::Consumer(group)) => consumer::sync(group, token, &sync, cx),
        None => cx.reply(token, refused(ErrorCode::UnknownMemberId)),
    }
}

fn on_heartbeat(groups: &mut Groups, token: Token, beat: &Heartbeat, cx: &mut Cx<'_>) {
    let code = match groups.get_mut(&beat.group) {
        _ if beat.group.is_empty() => ErrorCode::InvalidGroupId,
        None => ErrorCode::UnknownMemberId,
        Some(Group::Classic(group)) => group.heartbeat(beat, cx.now),
        Some(Group::Consumer(group)) => return consumer::heartbeat(group, token, beat, cx),
    };
    cx.reply(token, Reply::Code(code));
}

fn on_leave(groups: &mut Groups, token: Token, id: &Str, leavers: Vec<Leaver>, cx: &mut Cx<'_>) {
    let left = match groups.get_mut(id) {
        _ if id.is_empty() => Err(ErrorCode::InvalidGroupId),
        None => Err(ErrorCode::UnknownMemberId),
        Some(Group::Consumer(_)) => return consumer::leave(groups, id, token, leavers, cx),
        Some(Group::Classic(group)) if group.state == GroupState::Dead => {
            Err(ErrorCode::CoordinatorNotAvailable)
        }
        Some(Group::Classic(group)) => {
            let one = |leaver| {
                let code = group.leave(&leaver, cx);
                (leaver, code)
            };
            Ok(leavers.into_iter().map(one).collect())
        }
    };
    cx.reply(token, Reply::Left(left));
}

/// What is answered instead, where the write that it promises could not be made.
fn failed(reply: Reply, code: ErrorCode) -> Reply {
    match reply {
        Reply::Joined(joined) => Reply::Joined(Joined {
            error: Some(code),
            generation: -1,
            member: joined.member,
            ..Joined::default()
        }),
        Reply::Synced(_) => Reply::Synced(Synced {
            error: Some(code),
            ..Synced::default()
        }),
        Reply::ConsumerBeat(_) => Reply::ConsumerBeat(Err(Refused {
            code,
            message: "The change of the group could not be written.".to_owned(),
        })),
        Reply::Code(_) => Reply::Code(code),
        Reply::Left(_) => Reply::Left(Err(code)),
        Reply::Offsets(_) => Reply::Offsets(Err(code)),
    }
}

fn answer(replies: Vec<(Token, Reply)>, result: Result<(), ErrorCode>, cx: &mut Cx<'_>) {
    for (token, reply) in replies {
        let reply = match result {
            Ok(()) => reply,
            Err(code) => failed(reply, code),
        };
        cx.reply(token, reply);
    }
}

fn on_persisted(
    groups: &mut Groups,
    offsets: &mut Offsets,
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
            if let Some(group) = groups.classic_mut(&group) {
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
            let (current, joins_again) = match groups.get(&group) {
                Some(Group::Classic(g)) => (g.members.contains_key(&joined.member), false),
                Some(Group::Consumer(g)) => (g.members.contains_key(&joined.member), true),
                None => (false, false),
            };
            let error = match result {
                Err(code) => Some(code),
                Ok(()) if current && joins_again => Some(ErrorCode::RebalanceInProgress),
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
        Write::Consumer {
            group,
            keys,
            replies,
        } => {
            if let (Err(_), Some(group)) = (result, groups.consumer_mut(&group)) {
                group.not_written(keys);
            }
            answer(replies, result, cx);
        }
        Write::Converted { before, replies } => {
            if result.is_err() {
                consumer::not_converted(groups, *before, cx);
            }
            answer(replies, result, cx);
        }
        Write::Emptied { group } => {
            if let Err(code) = result {
                tracing::warn!(%group, %code, "the empty group could not be stored");
            }
        }
        Write::Commit(written) => written.done(result, offsets, cx),
        Write::Delete {
            group,
            token,
            partitions,
            order,
        } => match result {
            Ok(()) => {
                for at in &partitions {
                    offsets.delete(&group, at, order);
                }
                groups.remove(&group);
                cx.reply(token, Reply::Code(ErrorCode::None));
            }
            Err(code) => {
                if let Some(group) = groups.get_mut(&group) {
                    group.set_deleting(false, cx.now);
                }
                cx.reply(token, Reply::Code(code));
            }
        },
        Write::DeleteOffsets {
            group,
            token,
            mut codes,
            order,
        } => {
            for (at, code) in codes.iter_mut().filter(|(_, code)| code.is_none()) {
                match result {
                    Ok(()) => offsets.delete(&group, at, order),
                    Err(failed) => *code = failed,
                }
            }
            if let Some(token) = token {
                cx.reply(token, Reply::Offsets(Ok(codes)));
            }
        }
        Write::Expire {
            group,
            partitions,
            whole,
            order,
        } => {
            if result.is_ok() {
                for at in &partitions {
                    offsets.delete(&group, at, order);
                }
                let unused = offsets.partitions(&group).is_empty()
                    && groups.get(&group).is_some_and(Group::is_unused);
                if whole && unused {
                    groups.remove(&group);
                }
            }
        }
    }
}
