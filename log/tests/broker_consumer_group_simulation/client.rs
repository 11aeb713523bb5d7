//! A consumer: what it asks the coordinator, and what it makes of the answers.
//!
//! Invariant: it uses a partition only from when it took it until it gave it up. It gives up what it
//! shall not keep before it says so: everything before it joins again if it is eager, and at once if
//! it is told that it is no member any more.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use thalweg_log::group::{
    Commit, CommittedOffset, ConsumerBeat, ConsumerHeartbeat, Event, Heartbeat, Join, Joined,
    Leaver, Partitions, Reply, Sync, Synced, Token, Topics,
};
use thalweg_log::wire::messages::{
    ConsumerProtocolAssignment, ConsumerProtocolSubscription, ConsumerProtocolTopicPartition,
};
use thalweg_log::wire::{ErrorCode, Message, Str};
use uuid::Uuid;

pub(crate) const GROUP: &str = "g";
pub(crate) const SESSION: i32 = 10_000;
const REBALANCE: i32 = 8_000;
const REQUEST: i64 = 3_000;

/// How long a join may take: it waits for the others.
const JOIN: i64 = 30_000;

pub(crate) type At = (Uuid, i32);

/// What the topics are: their ids, and how many partitions they have.
pub(crate) type Counts = BTreeMap<Str, (Uuid, i32)>;

/// A request, but for its token.
pub(crate) type Request = Box<dyn Fn(Token) -> Event>;

pub(crate) fn flat(partitions: &Partitions) -> BTreeSet<At> {
    let each = |(topic, all): (&Uuid, &BTreeSet<i32>)| {
        let topic = *topic;
        all.iter().map(move |p| (topic, *p)).collect::<Vec<_>>()
    };
    partitions.iter().flat_map(each).collect()
}

fn deep(all: &BTreeSet<At>) -> Partitions {
    let mut partitions = Partitions::new();
    for (topic, partition) in all {
        partitions.entry(*topic).or_default().insert(*partition);
    }
    partitions
}

/// Partitions by topic name, as far as the topics are there.
fn named(all: &BTreeSet<At>, topics: &Topics) -> Vec<ConsumerProtocolTopicPartition> {
    deep(all)
        .into_iter()
        .filter_map(|(id, partitions)| {
            Some(ConsumerProtocolTopicPartition {
                topic: topics.name(&id)?.clone(),
                partitions: partitions.into_iter().collect(),
                ..Default::default()
            })
        })
        .collect()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Not in the group, or not any more.
    Out,
    /// Classic: to ask for its assignment.
    MustSync,
    In,
    /// It is no more.
    Gone,
}

/// The protocol that a consumer speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Consumer,
    /// Classic: it gives everything up before it joins.
    Eager,
    /// Classic: it keeps what it has while it joins.
    Cooperative,
}

/// One run of a consumer.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    pub(crate) kind: Kind,
    pub(crate) instance: Option<Str>,
    pub(crate) member: Str,
    pub(crate) epoch: i32,
    pub(crate) topics: Vec<Str>,
    pub(crate) phase: Phase,
    pub(crate) owned: BTreeSet<At>,
    /// What it is to have once it has given up what it shall not keep.
    pub(crate) next: Option<BTreeSet<At>>,
    /// The request that it waits for, and since when.
    pub(crate) waits: Option<(Token, i64)>,
    /// It tells everything the next time.
    whole: bool,
    /// What it last told that it has.
    told: BTreeSet<At>,
    /// Classic: what the leader is to give the others.
    roster: Vec<(Str, Bytes)>,
    /// When it says again that it is alive.
    pub(crate) due: i64,
}

impl Client {
    pub(crate) fn new(
        kind: Kind,
        instance: Option<Str>,
        member: Str,
        topics: Vec<Str>,
        now: i64,
    ) -> Self {
        Self {
            kind,
            instance,
            member: if kind == Kind::Consumer {
                member
            } else {
                Str::new()
            },
            epoch: 0,
            topics,
            phase: Phase::Out,
            owned: BTreeSet::new(),
            next: None,
            waits: None,
            whole: true,
            told: BTreeSet::new(),
            roster: vec![],
            due: now,
        }
    }

    pub(crate) fn is_classic(&self) -> bool {
        self.kind != Kind::Consumer
    }

    pub(crate) fn is_live(&self) -> bool {
        self.phase != Phase::Gone
    }

    /// Whether it still waits for an answer; if it has waited for too long, or the answer got lost,
    /// it asks again.
    pub(crate) fn is_waiting(&mut self, answered: impl Fn(&Token) -> bool, now: i64) -> bool {
        let Some((token, since)) = self.waits else {
            return false;
        };
        let patience = if self.is_classic() { JOIN } else { REQUEST };
        if now - since < patience && !answered(&token) {
            return true;
        }
        self.waits = None;
        self.whole = true;
        false
    }

    /// What it asks next. `fresh` is its member id if it gets one.
    pub(crate) fn request(&mut self, fresh: impl FnOnce() -> Str, topics: &Topics) -> Request {
        match (self.kind, self.phase) {
            (Kind::Consumer, _) => self.beat(),
            (_, Phase::Out) => self.join(fresh(), topics),
            (_, Phase::MustSync) => {
                let sync = Sync {
                    group: Str::from(GROUP),
                    generation: self.epoch,
                    member: self.member.clone(),
                    instance: self.instance.clone(),
                    assignments: self.roster.clone(),
                    ..Sync::default()
                };
                Box::new(move |token| Event::Sync(token, sync.clone()))
            }
            (_, Phase::In | Phase::Gone) => {
                let beat = Heartbeat {
                    group: Str::from(GROUP),
                    generation: self.epoch,
                    member: self.member.clone(),
                    instance: self.instance.clone(),
                };
                Box::new(move |token| Event::Heartbeat(token, beat.clone()))
            }
        }
    }

    fn beat(&mut self) -> Request {
        let joins = self.phase == Phase::Out;
        let whole = joins || self.whole;
        if joins {
            self.owned.clear();
            self.next = None;
        }
        let tells = whole || self.owned != self.told;
        self.told = self.owned.clone();
        let beat = ConsumerHeartbeat {
            group: Str::from(GROUP),
            member: self.member.clone(),
            epoch: if joins { 0 } else { self.epoch },
            instance: self.instance.clone(),
            rebalance_timeout_ms: if whole { REBALANCE } else { -1 },
            topics: whole.then(|| self.topics.clone()),
            owned: tells.then(|| deep(&self.owned)),
            ..ConsumerHeartbeat::default()
        };
        Box::new(move |token| Event::ConsumerHeartbeat(token, beat.clone()))
    }

    fn join(&mut self, fresh: Str, topics: &Topics) -> Request {
        if self.kind == Kind::Eager {
            self.owned.clear();
        }
        // Of topics that are gone there is nothing to keep.
        self.owned.retain(|at| topics.name(&at.0).is_some());
        let metadata = ConsumerProtocolSubscription {
            topics: self.topics.clone(),
            owned_partitions: named(&self.owned, topics),
            ..Default::default()
        };
        let join = Join {
            group: Str::from(GROUP),
            member: self.member.clone(),
            new_member: fresh,
            instance: self.instance.clone(),
            session_timeout_ms: SESSION,
            rebalance_timeout_ms: REBALANCE,
            protocol_type: Str::from("consumer"),
            protocols: vec![(Str::from("range"), metadata.to_versioned(1).unwrap())],
            member_id_required: true,
            can_skip_assignment: true,
            ..Join::default()
        };
        Box::new(move |token| Event::Join(token, join.clone()))
    }

    /// Says that it leaves, if it does.
    pub(crate) fn leave(&self) -> Option<Request> {
        let (group, member) = (Str::from(GROUP), self.member.clone());
        if self.is_classic() {
            let leaver = Leaver {
                member,
                instance: None,
            };
            let leaves = move |token| Event::Leave(token, group.clone(), vec![leaver.clone()]);
            return self.instance.is_none().then(|| Box::new(leaves) as Request);
        }
        let leaves = ConsumerHeartbeat {
            group,
            member,
            epoch: if self.instance.is_some() { -2 } else { -1 },
            instance: self.instance.clone(),
            rebalance_timeout_ms: -1,
            ..ConsumerHeartbeat::default()
        };
        Some(Box::new(move |token| {
            Event::ConsumerHeartbeat(token, leaves.clone())
        }))
    }

    /// A commit for a partition that it has.
    pub(crate) fn commit(&self, at: At, offset: i64, topics: &Topics) -> Option<Commit> {
        let name = topics.name(&at.0)?.clone();
        let committed = CommittedOffset {
            offset,
            topic_id: at.0,
            ..CommittedOffset::default()
        };
        Some(Commit {
            group: Str::from(GROUP),
            generation: self.epoch,
            member: self.member.clone(),
            instance: self.instance.clone(),
            version: 9,
            offsets: vec![((name, at.1), committed)],
        })
    }

    /// An answer to what it asked. What it may take at once, if anything, is in [`next`](Self::next).
    pub(crate) fn on_reply(&mut self, reply: Reply, topics: &Topics, counts: &Counts, now: i64) {
        match reply {
            Reply::ConsumerBeat(Ok(beat)) => self.on_beat(beat, now),
            Reply::ConsumerBeat(Err(refused)) => self.refused(refused.code, now),
            Reply::Joined(joined) => self.on_joined(joined, counts, now),
            Reply::Synced(synced) => self.on_synced(synced, topics, now),
            Reply::Code(ErrorCode::None) => self.due = now + 3_000,
            Reply::Code(code) => self.refused(code, now),
            other => panic!("{other:?}"),
        }
    }

    fn on_beat(&mut self, beat: ConsumerBeat, now: i64) {
        if !self.is_live() {
            return;
        }
        let joined = self.phase == Phase::Out;
        assert!(
            joined || beat.epoch >= self.epoch,
            "a member's epoch went back"
        );
        self.phase = Phase::In;
        self.epoch = beat.epoch;
        self.whole = false;
        self.due = now + i64::from(beat.heartbeat_interval_ms);
        if let Some(assignment) = beat.assignment {
            self.next = Some(flat(&assignment));
        }
    }

    fn on_joined(&mut self, joined: Joined, counts: &Counts, now: i64) {
        match joined.error {
            None => {
                self.roster = if joined.leader == joined.member && !joined.skip_assignment {
                    self.assign(&joined.members, counts)
                } else {
                    vec![]
                };
                self.member = joined.member;
                self.epoch = joined.generation;
                self.phase = Phase::MustSync;
            }
            Some(ErrorCode::MemberIdRequired) => self.member = joined.member,
            Some(code) => self.refused(code, now),
        }
    }

    fn on_synced(&mut self, synced: Synced, topics: &Topics, now: i64) {
        if let Some(code) = synced.error {
            return self.refused(code, now);
        }
        let mut all = BTreeSet::new();
        if !synced.assignment.is_empty() {
            let given = ConsumerProtocolAssignment::from_versioned(synced.assignment).unwrap();
            for topic in given.assigned_partitions {
                if let Some((id, _)) = topics.get(&topic.topic) {
                    all.extend(topic.partitions.into_iter().map(|p| (id, p)));
                }
            }
        }
        let gives_up = !self.owned.is_subset(&all);
        if self.kind == Kind::Cooperative && gives_up {
            // Whoever is to have it gets it when this one has joined again.
            self.phase = Phase::Out;
            self.due = now;
        } else {
            self.phase = Phase::In;
            self.due = now + 3_000;
        }
        self.next = Some(all);
    }

    /// What the leader of a classic group gives its members: if they are cooperative, nothing that
    /// another one still has.
    fn assign(&self, members: &[(Str, Option<Str>, Bytes)], counts: &Counts) -> Vec<(Str, Bytes)> {
        let told: Vec<_> = members
            .iter()
            .map(|m| ConsumerProtocolSubscription::from_versioned(m.2.clone()).unwrap())
            .collect();
        let mut given: BTreeMap<&Str, BTreeMap<&Str, Vec<i32>>> = BTreeMap::new();
        for (name, (_, count)) in counts {
            let takers: Vec<_> = members
                .iter()
                .zip(&told)
                .filter(|(_, told)| told.topics.contains(name))
                .collect();
            let has = |told: &ConsumerProtocolSubscription, p: i32| {
                told.owned_partitions
                    .iter()
                    .any(|of| of.topic == *name && of.partitions.contains(&p))
            };
            for p in 0..*count {
                let turn = usize::try_from(p).unwrap() % takers.len().max(1);
                let Some((taker, its)) = takers.get(turn) else {
                    continue;
                };
                if has(its, p) || !told.iter().any(|told| has(told, p)) {
                    let of = given.entry(&taker.0).or_default();
                    of.entry(name).or_default().push(p);
                }
            }
        }
        let encode = |topics: BTreeMap<&Str, Vec<i32>>| {
            let assigned_partitions = topics
                .into_iter()
                .map(|(topic, partitions)| ConsumerProtocolTopicPartition {
                    topic: topic.clone(),
                    partitions,
                    ..Default::default()
                })
                .collect();
            ConsumerProtocolAssignment {
                assigned_partitions,
                ..Default::default()
            }
            .to_versioned(1)
            .unwrap()
        };
        members
            .iter()
            .map(|m| (m.0.clone(), encode(given.remove(&m.0).unwrap_or_default())))
            .collect()
    }

    fn refused(&mut self, code: ErrorCode, now: i64) {
        self.whole = true;
        self.due = now + 500;
        match code {
            ErrorCode::CoordinatorNotAvailable | ErrorCode::UnreleasedInstanceId => {}
            ErrorCode::RebalanceInProgress => self.join_again(now),
            ErrorCode::UnknownMemberId
            | ErrorCode::IllegalGeneration
            | ErrorCode::FencedMemberEpoch
            | ErrorCode::GroupIdNotFound
            | ErrorCode::InconsistentGroupProtocol => {
                self.owned.clear();
                self.told.clear();
                self.next = None;
                self.epoch = 0;
                self.phase = Phase::Out;
                if self.is_classic() {
                    self.member = Str::new();
                }
            }
            ErrorCode::FencedInstanceId => {
                self.owned.clear();
                self.phase = Phase::Gone;
            }
            other => panic!("unexpected {other}"),
        }
    }

    /// Classic: it joins once more.
    pub(crate) fn join_again(&mut self, now: i64) {
        if self.kind != Kind::Cooperative {
            self.owned.clear();
        }
        self.phase = Phase::Out;
        self.waits = None;
        self.due = now;
    }

    /// It is no more.
    pub(crate) fn stop(&mut self) {
        self.phase = Phase::Gone;
        self.waits = None;
        self.owned.clear();
    }
}
