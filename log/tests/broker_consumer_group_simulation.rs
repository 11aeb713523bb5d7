//! Seeded simulations of groups of the consumer protocol (KIP-848): members of it and of the classic
//! protocol in one group, static ones among them, that join, leave, crash and come back; requests
//! that arrive twice and answers that get lost; writes that are late or fail; topics that come, go
//! and grow; a coordinator that restarts from what it wrote. The coordinator is the production code;
//! only time, transport and the clients are simulated.
//!
//! Held at every step:
//! - a partition belongs to one member at most, as the coordinator has it, and as the clients have
//!   it that the coordinator counts as members: it changes hands only after it was given up;
//! - epochs do not go back, neither the group's nor, while it stays in, a member's;
//! - what was acknowledged as committed survives a restart, and so does the group;
//! - a request is answered at most once.
//!
//! Held when nobody fails any more: every live client is in, every partition is owned, everybody has
//! as much as everybody else where all subscribe to the same, and a newcomer takes from the others
//! only what it gets.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use thalweg_log::group::{
    Action, Assignor, Commit, CommittedOffset, ConsumerBeat, ConsumerGroupDescription,
    ConsumerHeartbeat, Coordinator, Event, GroupConfig, GroupOverrides, GroupRecord, GroupState,
    Heartbeat, Join, Joined, Leaver, Partitions, Reply, Sync, Synced, Token, Topics, WriteId,
};
use thalweg_log::wire::messages::{
    ConsumerProtocolAssignment, ConsumerProtocolSubscription, ConsumerProtocolTopicPartition,
};
use thalweg_log::wire::{ErrorCode, Message, Str};
use uuid::Uuid;

const GROUP: &str = "g";
const SESSION: i32 = 10_000;
const REBALANCE: i32 = 8_000;
const REQUEST: i64 = 3_000;

type At = (Uuid, i32);

fn flat(partitions: &Partitions) -> BTreeSet<At> {
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

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Not in the group, or not any more.
    Out,
    /// Classic: to ask for its assignment.
    MustSync,
    In,
    /// It is no more.
    Gone,
}

/// One run of a consumer.
#[derive(Debug, Clone)]
struct Client {
    classic: bool,
    instance: Option<Str>,
    member: Str,
    epoch: i32,
    topics: Vec<Str>,
    phase: Phase,
    owned: BTreeSet<At>,
    /// What it is to have once it has given up what it shall not keep.
    next: Option<BTreeSet<At>>,
    /// The request that it waits for, and since when.
    waits: Option<(Token, i64)>,
    /// It tells everything the next time.
    whole: bool,
    /// What it last told that it has.
    told: BTreeSet<At>,
    /// Classic: what the leader is to give the others.
    roster: Vec<(Str, Bytes)>,
    /// When it says again that it is alive.
    due: i64,
}

struct World {
    rng: StdRng,
    now: i64,
    coordinator: Coordinator,
    config: GroupConfig,
    topics: Arc<Topics>,
    counts: BTreeMap<Str, (Uuid, i32)>,
    clients: Vec<Client>,
    next: u64,
    asked: HashMap<Token, usize>,
    answered: HashSet<Token>,
    commits: HashMap<Token, (At, i64)>,
    acknowledged: BTreeMap<At, i64>,
    writes: VecDeque<(WriteId, Vec<GroupRecord>)>,
    log: Vec<GroupRecord>,
    epoch: i32,
    faults: bool,
    mixed: bool,
    same: bool,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut config = GroupConfig::default();
        config.consumer.session_timeout_ms = SESSION;
        config.consumer.heartbeat_interval_ms = 3_000;
        config.consumer.assignment_interval_ms = if rng.random_bool(0.3) { 1_000 } else { 0 };
        config.consumer.assignors = if rng.random_bool(0.8) {
            vec![Assignor::Uniform]
        } else {
            vec![Assignor::Range]
        };
        let (mixed, same) = (rng.random_bool(0.5), rng.random_bool(0.6));
        let mut world = Self {
            rng,
            now: 1,
            coordinator: Coordinator::new(config.clone()),
            config,
            topics: Arc::default(),
            counts: BTreeMap::new(),
            clients: vec![],
            next: 1,
            asked: HashMap::new(),
            answered: HashSet::new(),
            commits: HashMap::new(),
            acknowledged: BTreeMap::new(),
            writes: VecDeque::new(),
            log: vec![],
            epoch: 0,
            faults: true,
            mixed,
            same,
        };
        world.counts.insert(Str::from("t"), (Uuid::from_u128(1), 7));
        world.counts.insert(Str::from("u"), (Uuid::from_u128(2), 3));
        world.tell_topics();
        world
    }

    fn tell_topics(&mut self) {
        let all = self.counts.iter().map(|(n, (id, p))| (n.clone(), *id, *p));
        self.topics = Arc::new(Topics::new(all));
        self.step(Event::Topics(Arc::clone(&self.topics)));
    }

    fn token(&mut self, client: usize) -> Token {
        self.next += 1;
        self.asked.insert(self.next, client);
        self.next
    }

    fn step(&mut self, event: Event) {
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            for action in self.coordinator.step(event, self.now) {
                match action {
                    Action::Persist(id, records) | Action::PersistTransactional(id, _, records) => {
                        // What is refused is refused before anything later is written.
                        if self.faults && self.rng.random_bool(0.03) {
                            let code = ErrorCode::CoordinatorNotAvailable;
                            events.push_back(Event::Persisted(id, Err(code)));
                        } else {
                            self.writes.push_back((id, records));
                        }
                    }
                    Action::Reply(token, reply) => self.reply(token, reply),
                }
            }
        }
        self.check();
    }

    fn group(&self) -> Option<ConsumerGroupDescription> {
        self.coordinator.describe_consumer(GROUP)
    }

    fn check(&mut self) {
        let Some(group) = self.group() else {
            self.epoch = self.coordinator.describe(GROUP).map_or(0, |g| g.generation);
            return;
        };
        assert!(group.epoch >= self.epoch, "the group's epoch went back");
        self.epoch = group.epoch;
        assert!(group.assignment_epoch <= group.epoch);
        let mut owners: BTreeMap<At, &Str> = BTreeMap::new();
        for member in &group.members {
            for at in flat(&member.assignment) {
                let before = owners.insert(at, &member.member);
                assert!(
                    before.is_none(),
                    "{at:?} belongs to {before:?} and {}",
                    member.member
                );
            }
        }
        let instances: Vec<_> = group
            .members
            .iter()
            .filter_map(|m| m.instance.as_ref())
            .collect();
        let unique: BTreeSet<_> = instances.iter().collect();
        assert_eq!(
            unique.len(),
            instances.len(),
            "an instance id has two members"
        );
    }

    /// Whether the coordinator counts the client as a member.
    fn is_member(&self, client: &Client) -> bool {
        if client.member.is_empty() {
            return false;
        }
        match (self.group(), self.coordinator.describe(GROUP)) {
            (Some(group), _) => group
                .members
                .iter()
                .any(|m| m.member == client.member && m.epoch >= 0),
            (None, Some(group)) => {
                client.classic && group.members.iter().any(|m| m.member == client.member)
            }
            (None, None) => false,
        }
    }

    /// The client takes partitions: nobody else who is a member has them.
    fn takes(&mut self, at: usize, partitions: BTreeSet<At>) {
        let new: BTreeSet<At> = partitions
            .difference(&self.clients[at].owned)
            .copied()
            .collect();
        for (i, other) in self.clients.iter().enumerate() {
            let live = i != at && other.phase != Phase::Gone;
            if live && !other.owned.is_disjoint(&new) {
                // One of the two may have been thrown out without knowing it yet.
                assert!(
                    !self.is_member(other) || !self.is_member(&self.clients[at]),
                    "{new:?} go to {:?} while {other:?} has them",
                    self.clients[at]
                );
            }
        }
        self.clients[at].owned = partitions;
    }

    fn reply(&mut self, token: Token, reply: Reply) {
        assert!(
            self.answered.insert(token),
            "request {token} was answered twice"
        );
        let Some(&at) = self.asked.get(&token) else {
            return;
        };
        if let Some((partition, offset)) = self.commits.remove(&token) {
            let Reply::Offsets(codes) = reply else {
                panic!("{reply:?}")
            };
            if codes.is_ok_and(|codes| codes.values().all(|c| c.is_none())) {
                self.acknowledged.insert(partition, offset);
            }
            return;
        }
        if self.clients[at]
            .waits
            .is_none_or(|(waits, _)| waits != token)
        {
            return;
        }
        if self.faults && self.rng.random_bool(0.08) {
            return;
        }
        self.clients[at].waits = None;
        match reply {
            Reply::ConsumerBeat(Ok(beat)) => self.on_beat(at, beat),
            Reply::ConsumerBeat(Err(refused)) => self.refused(at, refused.code),
            Reply::Joined(joined) => self.on_joined(at, joined),
            Reply::Synced(synced) => self.on_synced(at, synced),
            Reply::Code(ErrorCode::None) => self.clients[at].due = self.now + 3_000,
            Reply::Code(code) => self.refused(at, code),
            other => panic!("{other:?}"),
        }
    }

    fn on_beat(&mut self, at: usize, beat: ConsumerBeat) {
        let client = &mut self.clients[at];
        if client.phase == Phase::Gone {
            return;
        }
        let joined = client.phase == Phase::Out;
        assert!(
            joined || beat.epoch >= client.epoch,
            "a member's epoch went back"
        );
        client.phase = Phase::In;
        client.epoch = beat.epoch;
        client.whole = false;
        client.due = self.now + i64::from(beat.heartbeat_interval_ms);
        if let Some(assignment) = beat.assignment {
            client.next = Some(flat(&assignment));
        }
        if self.rng.random_bool(0.5) {
            self.give_up(at);
        }
    }

    /// The client gives up what it shall not keep, takes what it shall have, and says so at once.
    fn give_up(&mut self, at: usize) {
        if let Some(next) = self.clients[at].next.take() {
            let changed = next != self.clients[at].owned;
            self.takes(at, next);
            if changed {
                self.clients[at].due = self.now;
            }
        }
    }

    fn on_joined(&mut self, at: usize, joined: Joined) {
        match joined.error {
            None => {
                let roster = if joined.leader == joined.member && !joined.skip_assignment {
                    self.assign(&joined.members)
                } else {
                    vec![]
                };
                let client = &mut self.clients[at];
                client.member = joined.member;
                client.epoch = joined.generation;
                client.phase = Phase::MustSync;
                client.roster = roster;
            }
            Some(ErrorCode::MemberIdRequired) => self.clients[at].member = joined.member,
            Some(code) => self.refused(at, code),
        }
    }

    fn on_synced(&mut self, at: usize, synced: Synced) {
        match synced.error {
            None => {
                let mut all = BTreeSet::new();
                if !synced.assignment.is_empty() {
                    let given =
                        ConsumerProtocolAssignment::from_versioned(synced.assignment).unwrap();
                    for topic in given.assigned_partitions {
                        if let Some((id, _)) = self.topics.get(&topic.topic) {
                            all.extend(topic.partitions.into_iter().map(|p| (id, p)));
                        }
                    }
                }
                self.clients[at].phase = Phase::In;
                self.clients[at].due = self.now + 3_000;
                self.takes(at, all);
            }
            Some(code) => self.refused(at, code),
        }
    }

    /// What the leader of a classic group gives its members.
    fn assign(&self, members: &[(Str, Option<Str>, Bytes)]) -> Vec<(Str, Bytes)> {
        let wants = |raw: &Bytes, topic: &Str| {
            let wanted = ConsumerProtocolSubscription::from_versioned(raw.clone()).unwrap();
            wanted.topics.contains(topic)
        };
        let mut given: BTreeMap<&Str, BTreeMap<&Str, Vec<i32>>> = BTreeMap::new();
        for (name, (_, count)) in &self.counts {
            let takers: Vec<_> = members.iter().filter(|m| wants(&m.2, name)).collect();
            for p in 0..*count {
                if let Some(taker) = takers.get(usize::try_from(p).unwrap() % takers.len().max(1)) {
                    given
                        .entry(&taker.0)
                        .or_default()
                        .entry(name)
                        .or_default()
                        .push(p);
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

    fn refused(&mut self, at: usize, code: ErrorCode) {
        let client = &mut self.clients[at];
        client.whole = true;
        client.due = self.now + 500;
        match code {
            ErrorCode::CoordinatorNotAvailable | ErrorCode::UnreleasedInstanceId => {}
            ErrorCode::RebalanceInProgress => {
                // It gives everything up and joins again.
                client.owned.clear();
                client.phase = Phase::Out;
                client.due = self.now;
            }
            ErrorCode::UnknownMemberId
            | ErrorCode::IllegalGeneration
            | ErrorCode::FencedMemberEpoch
            | ErrorCode::GroupIdNotFound
            | ErrorCode::InconsistentGroupProtocol => {
                client.owned.clear();
                client.told.clear();
                client.next = None;
                client.epoch = 0;
                client.phase = Phase::Out;
                if client.classic {
                    client.member = Str::new();
                }
            }
            ErrorCode::FencedInstanceId => {
                client.owned.clear();
                client.phase = Phase::Gone;
            }
            other => panic!("unexpected {other}"),
        }
    }

    fn send(&mut self, at: usize, event: impl Fn(Token) -> Event) {
        let token = self.token(at);
        self.clients[at].waits = Some((token, self.now));
        self.clients[at].due = self.now + 3_000;
        self.step(event(token));
        if self.faults && self.rng.random_bool(0.05) {
            let again = self.token(at);
            self.step(event(again));
        }
    }

    fn act(&mut self, at: usize) {
        let client = self.clients[at].clone();
        if client.phase == Phase::Gone {
            return;
        }
        if let Some((token, since)) = client.waits {
            // A join waits for the others.
            let patience = if client.classic { 30_000 } else { REQUEST };
            if self.now - since < patience && !self.answered.contains(&token) {
                return;
            }
            self.clients[at].waits = None;
            self.clients[at].whole = true;
        }
        self.give_up(at);
        if client.classic {
            self.act_classic(at);
        } else {
            self.heartbeat(at);
        }
    }

    fn heartbeat(&mut self, at: usize) {
        let client = self.clients[at].clone();
        let joins = client.phase == Phase::Out;
        let whole = joins || client.whole;
        let owned = if joins {
            BTreeSet::new()
        } else {
            client.owned.clone()
        };
        let tells = whole || owned != client.told;
        self.clients[at].told = owned.clone();
        if joins {
            self.clients[at].owned.clear();
            self.clients[at].next = None;
        }
        let beat = ConsumerHeartbeat {
            group: Str::from(GROUP),
            member: client.member,
            epoch: if joins { 0 } else { client.epoch },
            instance: client.instance,
            rebalance_timeout_ms: if whole { REBALANCE } else { -1 },
            topics: whole.then_some(client.topics),
            owned: tells.then(|| deep(&owned)),
            ..ConsumerHeartbeat::default()
        };
        self.send(at, |token| Event::ConsumerHeartbeat(token, beat.clone()));
    }

    fn act_classic(&mut self, at: usize) {
        let client = self.clients[at].clone();
        let group = Str::from(GROUP);
        match client.phase {
            Phase::Out => {
                let metadata = ConsumerProtocolSubscription {
                    topics: client.topics,
                    ..Default::default()
                };
                self.clients[at].owned.clear();
                self.next += 1;
                let join = Join {
                    group,
                    member: client.member,
                    new_member: Str::from(format!("c{}", self.next)),
                    instance: client.instance,
                    session_timeout_ms: SESSION,
                    rebalance_timeout_ms: REBALANCE,
                    protocol_type: Str::from("consumer"),
                    protocols: vec![(Str::from("range"), metadata.to_versioned(1).unwrap())],
                    member_id_required: true,
                    can_skip_assignment: true,
                    ..Join::default()
                };
                self.send(at, |token| Event::Join(token, join.clone()));
            }
            Phase::MustSync => {
                let sync = Sync {
                    group,
                    generation: client.epoch,
                    member: client.member,
                    instance: client.instance,
                    assignments: client.roster,
                    ..Sync::default()
                };
                self.send(at, |token| Event::Sync(token, sync.clone()));
            }
            Phase::In => {
                let beat = Heartbeat {
                    group,
                    generation: client.epoch,
                    member: client.member,
                    instance: client.instance,
                };
                self.send(at, |token| Event::Heartbeat(token, beat.clone()));
            }
            Phase::Gone => {}
        }
    }

    fn commit(&mut self, at: usize) {
        let client = self.clients[at].clone();
        let Some((id, partition)) = client.owned.iter().next().copied() else {
            return;
        };
        let Some(name) = self.topics.name(&id).cloned() else {
            return;
        };
        let token = self.token(at);
        let offset = i64::try_from(token).unwrap();
        let committed = CommittedOffset {
            offset,
            topic_id: id,
            ..CommittedOffset::default()
        };
        let commit = Commit {
            group: Str::from(GROUP),
            generation: client.epoch,
            member: client.member.clone(),
            instance: client.instance.clone(),
            version: 9,
            offsets: vec![((name, partition), committed)],
        };
        self.commits.insert(token, ((id, partition), offset));
        let (member, writes) = (self.is_member(&client), self.writes.len());
        self.step(Event::Commit(token, commit));
        assert!(
            member || self.writes.len() == writes,
            "a stranger's commit was taken"
        );
    }

    fn deliver_write(&mut self) {
        if let Some((id, records)) = self.writes.pop_front() {
            self.log.extend(records);
            self.step(Event::Persisted(id, Ok(())));
        }
    }

    fn start(&mut self) {
        let fixed = self.rng.random_bool(0.3);
        let free: Vec<Str> = (0..2)
            .map(|n| Str::from(format!("i{n}")))
            .filter(|i| {
                !self
                    .clients
                    .iter()
                    .any(|c| c.phase != Phase::Gone && c.instance.as_ref() == Some(i))
            })
            .collect();
        let classic = self.mixed && self.rng.random_bool(0.4);
        let topics = if self.same || self.rng.random_bool(0.5) {
            vec![Str::from("t"), Str::from("u")]
        } else {
            vec![Str::from("t")]
        };
        self.next += 1;
        self.clients.push(Client {
            classic,
            instance: free.first().filter(|_| fixed).cloned(),
            member: if classic {
                Str::new()
            } else {
                Str::from(format!("m{}", self.next))
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
            due: self.now,
        });
    }

    fn stop(&mut self, at: usize, says_so: bool) {
        let client = self.clients[at].clone();
        self.clients[at].phase = Phase::Gone;
        self.clients[at].waits = None;
        self.clients[at].owned.clear();
        if !says_so || client.member.is_empty() {
            return;
        }
        let token = self.token(at);
        if client.classic {
            let leaver = Leaver {
                member: client.member,
                instance: None,
            };
            if client.instance.is_none() {
                self.step(Event::Leave(token, Str::from(GROUP), vec![leaver]));
            }
        } else {
            let leaves = ConsumerHeartbeat {
                group: Str::from(GROUP),
                member: client.member,
                epoch: if client.instance.is_some() { -2 } else { -1 },
                instance: client.instance,
                rebalance_timeout_ms: -1,
                ..ConsumerHeartbeat::default()
            };
            self.step(Event::ConsumerHeartbeat(token, leaves));
        }
    }

    fn restart(&mut self) {
        // Of what was on its way to the disk, some may have made it.
        let made = self.rng.random_range(0..=self.writes.len());
        for (_, records) in self.writes.drain(..).take(made) {
            self.log.extend(records);
        }
        self.coordinator = Coordinator::new(self.config.clone());
        for record in self.log.clone() {
            let (key, value) = record.encode();
            let record = GroupRecord::decode(key, value).unwrap().unwrap();
            self.coordinator.load(record, self.now);
        }
        self.coordinator
            .step(Event::Topics(Arc::clone(&self.topics)), self.now);
        let own = BTreeMap::from([(Str::from(GROUP), GroupOverrides::default())]);
        let configure = Event::Configure(Arc::new(self.config.clone()), Arc::new(own));
        self.coordinator.step(configure, self.now);
        for ((id, partition), offset) in &self.acknowledged {
            if let Some(name) = self.topics.name(id) {
                let found = self.coordinator.offset(GROUP, &(name.clone(), *partition));
                assert!(
                    found.is_some_and(|o| o.offset >= *offset),
                    "an acknowledged commit is lost"
                );
            }
        }
        self.epoch = 0;
        let open: Vec<Token> = self.asked.keys().copied().collect();
        for token in open {
            self.answered.insert(token);
        }
        self.commits.clear();
        self.check();
    }

    fn change_topics(&mut self) {
        let name = Str::from(if self.rng.random_bool(0.5) { "t" } else { "u" });
        match self.counts.get_mut(&name) {
            Some((_, count)) if *count < 12 && self.rng.random_bool(0.7) => *count += 1,
            Some(_) => {
                self.counts.remove(&name);
                self.step(Event::TopicsDeleted(vec![name]));
            }
            None => {
                self.next += 1;
                let id = Uuid::from_u128(u128::from(self.next) + 100);
                let count = self.rng.random_range(1..6);
                self.counts.insert(name, (id, count));
            }
        }
        self.tell_topics();
    }

    fn pass_time(&mut self, most: i64) {
        let until = self.now + self.rng.random_range(1..=most);
        while let Some(due) = self.coordinator.next_deadline().filter(|d| *d <= until) {
            self.now = self.now.max(due);
            self.step(Event::Tick);
            while !self.writes.is_empty()
                && self
                    .coordinator
                    .next_deadline()
                    .is_some_and(|d| d <= self.now)
            {
                self.deliver_write();
            }
        }
        self.now = until;
    }

    fn live(&self) -> Vec<usize> {
        (0..self.clients.len())
            .filter(|i| self.clients[*i].phase != Phase::Gone)
            .collect()
    }

    fn due(&self) -> Vec<usize> {
        let live = self.live();
        live.into_iter()
            .filter(|i| self.clients[*i].due <= self.now)
            .collect()
    }

    fn chaos(&mut self) {
        let live = self.live();
        let at = live
            .get(self.rng.random_range(0..live.len().max(1)))
            .copied();
        match (self.rng.random_range(0..100), at) {
            (0..5, _) if live.len() < 6 => self.start(),
            (5..20, Some(at)) => self.act(at),
            (20..48, _) => {
                for at in self.due() {
                    self.act(at);
                }
            }
            (48..53, Some(at)) => self.commit(at),
            (53..56, Some(at)) => self.give_up(at),
            (56..58, Some(at)) => self.stop(at, true),
            (58..59, Some(at)) => self.stop(at, false),
            (59..60, _) => self.restart(),
            (60..62, _) => self.change_topics(),
            (62..84, _) => self.deliver_write(),
            (84..97, _) => self.pass_time(1_500),
            (97..98, _) => self.pass_time(i64::from(SESSION)),
            _ => {}
        }
    }

    /// Nobody fails any more: everything comes to rest.
    fn settle(&mut self) {
        self.faults = false;
        // In a classic group it is for the members to see that topics have changed.
        if self.group().is_none() {
            for client in self.clients.iter_mut().filter(|c| c.phase != Phase::Gone) {
                client.owned.clear();
                client.waits = None;
                client.phase = Phase::Out;
                client.due = self.now;
            }
        }
        for _ in 0..120 {
            while !self.writes.is_empty() {
                self.deliver_write();
            }
            for at in self.due() {
                self.act(at);
                while !self.writes.is_empty() {
                    self.deliver_write();
                }
            }
            self.pass_time(1_000);
        }
    }

    fn check_settled(&mut self) {
        let live = self.live();
        let all_classic = live.iter().all(|at| self.clients[*at].classic);
        match (self.group(), self.coordinator.describe(GROUP)) {
            (Some(group), _) => {
                assert_eq!(group.state.name(), "Stable", "{group:#?}");
                assert_eq!(group.members.len(), live.len());
            }
            (None, Some(group)) => {
                assert!(all_classic);
                assert_eq!(group.state, GroupState::Stable);
                assert_eq!(group.members.len(), live.len());
            }
            (None, None) => panic!("the group is gone"),
        }
        let mut owned = BTreeSet::new();
        for at in &live {
            let client = &self.clients[*at];
            assert_eq!(client.phase, Phase::In, "{client:?}");
            assert!(client.next.is_none());
            owned.extend(client.owned.iter().copied());
        }
        let wanted: BTreeSet<At> = self
            .counts
            .iter()
            .filter(|(name, _)| {
                live.iter()
                    .any(|at| self.clients[*at].topics.contains(name))
            })
            .flat_map(|(_, (id, count))| (0..*count).map(|p| (*id, p)))
            .collect();
        assert_eq!(owned, wanted, "every partition has an owner");
        let sizes: Vec<usize> = live
            .iter()
            .map(|at| self.clients[*at].owned.len())
            .collect();
        let same = live
            .iter()
            .all(|a| self.clients[*a].topics == self.clients[live[0]].topics);
        let uniform = self.config.consumer.assignors == [Assignor::Uniform];
        if same && uniform && self.group().is_some() {
            assert!(
                sizes.iter().max().unwrap() - sizes.iter().min().unwrap() <= 1,
                "{sizes:?}"
            );
        }
    }
}

fn run(seed: u64) {
    let mut world = World::new(seed);
    for _ in 0..500 {
        world.chaos();
    }
    while world.live().is_empty() {
        world.start();
    }
    world.settle();
    world.check_settled();
    // One more: the others give up no more than it gets.
    let before: Vec<_> = world.clients.iter().map(|c| c.owned.clone()).collect();
    world.mixed = false;
    world.start();
    world.settle();
    world.check_settled();
    let sticky = world.same && world.config.consumer.assignors == [Assignor::Uniform];
    if sticky
        && world
            .clients
            .iter()
            .all(|c| !c.classic || c.phase == Phase::Gone)
    {
        for (client, before) in world.clients.iter().zip(before) {
            assert!(client.owned.is_subset(&before), "{client:?} had {before:?}");
        }
    }
}

#[test]
fn consumer_groups_survive_chaos() {
    let seeds = match std::env::var("SIMULATION_SEEDS") {
        Ok(range) => {
            let (from, to) = range.split_once("..").expect("SIMULATION_SEEDS=from..to");
            from.parse().unwrap()..to.parse().unwrap()
        }
        Err(_) => 0..120,
    };
    for seed in seeds {
        assert!(
            std::panic::catch_unwind(|| run(seed)).is_ok(),
            "seed {seed} failed"
        );
    }
}
