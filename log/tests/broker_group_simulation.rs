//! Seeded simulations of consumer groups: members that join, leave, crash, come back as static
//! members and run on as zombies; writes that are late or fail; a coordinator that restarts from
//! what it wrote. The coordinator is the production code; only time and transport are simulated.
//!
//! Held at every step:
//! - a request is answered at most once, and at the end every one is answered;
//! - a group has one generation, which never goes back;
//! - within a generation a partition is assigned to at most one member;
//! - a replaced static member is never told that all is well, and commits only count from current
//!   members of the current generation;
//! - what was acknowledged as committed survives a restart;
//! - at the end, when nobody fails any more, every live member is in the one generation and every
//!   partition is assigned.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};

use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use thalweg_log::group::{
    Action, Commit, CommittedOffset, Coordinator, Event, GroupConfig, GroupRecord, GroupState,
    Heartbeat, Join, Leaver, Reply, Sync, Token, WriteId,
};
use thalweg_log::wire::{ErrorCode, Str};

const GROUP: &str = "g";
const PARTITIONS: i32 = 7;
const SESSION: i32 = 10_000;
const REBALANCE: i32 = 20_000;

/// One run of a consumer. A crashed consumer comes back as a new one.
#[derive(Debug, Clone)]
struct Client {
    instance: Option<Str>,
    member: Str,
    generation: i32,
    phase: Phase,
    heard: i64,
    /// Another run took its `group.instance.id`.
    replaced: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Phase {
    Out,
    Joining(Token),
    MustSync(Vec<(Str, Bytes)>),
    Syncing(Token),
    In,
    Gone,
}

struct World {
    rng: StdRng,
    now: i64,
    coordinator: Coordinator,
    config: GroupConfig,
    clients: Vec<Client>,
    next: u64,
    asked: HashMap<Token, usize>,
    answered: HashSet<Token>,
    lost: HashSet<Token>,
    heartbeats: HashMap<Token, usize>,
    commits: HashMap<Token, (usize, Str, i32, i32, i64)>,
    writes: VecDeque<(WriteId, Vec<GroupRecord>)>,
    log: Vec<GroupRecord>,
    acknowledged: BTreeMap<i32, i64>,
    generation: i32,
    assigned: BTreeMap<i32, BTreeMap<i32, Str>>,
    faults: bool,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let config = GroupConfig {
            initial_rebalance_delay_ms: if rng.random_bool(0.5) { 0 } else { 3_000 },
            ..GroupConfig::default()
        };
        Self {
            rng,
            now: 0,
            coordinator: Coordinator::new(config.clone()),
            config,
            clients: vec![],
            next: 1,
            asked: HashMap::new(),
            answered: HashSet::new(),
            lost: HashSet::new(),
            heartbeats: HashMap::new(),
            commits: HashMap::new(),
            writes: VecDeque::new(),
            log: vec![],
            acknowledged: BTreeMap::new(),
            generation: 0,
            assigned: BTreeMap::new(),
            faults: true,
        }
    }

    fn token(&mut self, client: usize) -> Token {
        self.next += 1;
        self.asked.insert(self.next, client);
        self.next
    }

    fn step(&mut self, event: Event) {
        for action in self.coordinator.step(event, self.now) {
            match action {
                Action::Persist(id, records) | Action::PersistTransactional(id, _, records) => {
                    self.writes.push_back((id, records))
                }
                Action::Reply(token, reply) => self.reply(token, reply),
            }
        }
        if let Some(group) = self.coordinator.describe(GROUP) {
            assert!(
                group.generation >= self.generation,
                "the generation went back"
            );
            self.generation = group.generation;
            let ids: BTreeSet<_> = group.members.iter().map(|m| &m.member).collect();
            assert_eq!(ids.len(), group.members.len());
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
        } else {
            // Empty and without offsets, it was deleted: the next of its name begins anew.
            self.generation = 0;
            self.assigned.clear();
        }
    }

    fn reply(&mut self, token: Token, reply: Reply) {
        assert!(
            self.answered.insert(token),
            "request {token} was answered twice"
        );
        let Some(&at) = self.asked.get(&token) else {
            panic!("nobody asked {token}")
        };
        if self.lost.contains(&token) {
            return;
        }
        if let Some((who, member, generation, partition, offset)) = self.commits.remove(&token) {
            return self.committed(reply, who, &member, generation, partition, offset);
        }
        let replaced = self.clients[at].replaced;
        match reply {
            Reply::Joined(joined) if self.clients[at].phase == Phase::Joining(token) => {
                assert!(!(replaced && joined.error.is_none()), "a zombie joined");
                match joined.error {
                    None => {
                        let assignments =
                            if joined.leader == joined.member && !joined.skip_assignment {
                                assign(joined.members.iter().map(|m| m.0.clone()).collect())
                            } else {
                                vec![]
                            };
                        let client = &mut self.clients[at];
                        client.member = joined.member;
                        client.generation = joined.generation;
                        client.phase = Phase::MustSync(assignments);
                    }
                    Some(code) => self.refused(at, code, joined.member),
                }
            }
            Reply::Synced(synced) if self.clients[at].phase == Phase::Syncing(token) => {
                match synced.error {
                    None => {
                        assert!(!replaced, "a zombie got an assignment");
                        let (member, generation) = {
                            let client = &mut self.clients[at];
                            client.phase = Phase::In;
                            (client.member.clone(), client.generation)
                        };
                        let instance = self.clients[at].instance.clone();
                        self.took(generation, &member, instance.as_ref(), &synced.assignment);
                    }
                    Some(code) => self.refused(at, code, Str::new()),
                }
            }
            Reply::Code(code) if self.heartbeats.remove(&token).is_some() => {
                assert!(
                    !(replaced && code.is_none()),
                    "a zombie was told that all is well"
                );
                if self.clients[at].phase == Phase::In && code.is_error() {
                    self.refused(at, code, Str::new());
                }
            }
            _ => {}
        }
    }

    /// A static member keeps its partitions under a new member id, so they belong to whoever
    /// has the instance id.
    fn took(&mut self, generation: i32, member: &Str, instance: Option<&Str>, assignment: &Bytes) {
        let owner = instance.unwrap_or(member).clone();
        let taken = self.assigned.entry(generation).or_default();
        for byte in assignment {
            let before = taken.insert(i32::from(*byte), owner.clone());
            assert!(
                before.is_none() || before.as_ref() == Some(&owner),
                "partition {byte} belongs to {before:?} and {owner} in generation {generation}"
            );
        }
    }

    fn refused(&mut self, at: usize, code: ErrorCode, member: Str) {
        let client = &mut self.clients[at];
        match code {
            ErrorCode::MemberIdRequired => client.member = member,
            ErrorCode::RebalanceInProgress | ErrorCode::CoordinatorNotAvailable => {}
            ErrorCode::UnknownMemberId | ErrorCode::IllegalGeneration => client.member = Str::new(),
            ErrorCode::FencedInstanceId => {
                client.phase = Phase::Gone;
                return;
            }
            other => panic!("unexpected {other}"),
        }
        client.phase = Phase::Out;
    }

    fn committed(
        &mut self,
        reply: Reply,
        who: usize,
        member: &Str,
        generation: i32,
        p: i32,
        offset: i64,
    ) {
        let Reply::Offsets(Ok(codes)) = reply else {
            panic!("{reply:?}")
        };
        let code = codes[&(Str::from("t"), p)];
        if code.is_none() {
            assert!(
                !self.clients[who].replaced
                    || self.clients[who].member != *member
                    || generation >= 0
            );
            self.acknowledged.insert(p, offset);
        }
    }

    fn deliver_write(&mut self) {
        let Some((id, records)) = self.writes.pop_front() else {
            return;
        };
        if self.faults && self.rng.random_bool(0.05) {
            return self.step(Event::Persisted(
                id,
                Err(ErrorCode::CoordinatorNotAvailable),
            ));
        }
        self.log.extend(records);
        self.step(Event::Persisted(id, Ok(())));
    }

    fn join(&mut self, at: usize) {
        let token = self.token(at);
        let client = &mut self.clients[at];
        client.phase = Phase::Joining(token);
        client.heard = self.now;
        let join = Join {
            group: Str::from(GROUP),
            member: client.member.clone(),
            new_member: Str::from(format!("m{token}")),
            instance: client.instance.clone(),
            session_timeout_ms: SESSION,
            rebalance_timeout_ms: REBALANCE,
            protocol_type: Str::from("consumer"),
            protocols: vec![(
                Str::from("range"),
                Bytes::from_static(&[0, 0, 0, 0, 0, 1, 0, 1, b't']),
            )],
            member_id_required: true,
            can_skip_assignment: self.rng.random_bool(0.5),
            ..Join::default()
        };
        // A run that joins afresh takes the instance id over from whoever had it.
        if join.member.is_empty() && join.instance.is_some() {
            let instance = join.instance.clone();
            self.clients[at].replaced = false;
            for (i, other) in self.clients.iter_mut().enumerate() {
                if i != at && other.instance == instance && other.phase != Phase::Gone {
                    other.replaced = true;
                }
            }
        }
        self.step(Event::Join(token, join));
    }

    fn act(&mut self, at: usize) {
        let client = self.clients[at].clone();
        match client.phase {
            Phase::Out => self.join(at),
            Phase::MustSync(assignments) => {
                let token = self.token(at);
                self.clients[at].phase = Phase::Syncing(token);
                let sync = Sync {
                    group: Str::from(GROUP),
                    generation: client.generation,
                    member: client.member,
                    instance: client.instance,
                    assignments,
                    ..Sync::default()
                };
                self.step(Event::Sync(token, sync));
            }
            Phase::In => {
                let token = self.token(at);
                self.clients[at].heard = self.now;
                if self.rng.random_bool(0.3) {
                    return self.commit(at, token);
                }
                self.heartbeats.insert(token, at);
                let beat = Heartbeat {
                    group: Str::from(GROUP),
                    generation: client.generation,
                    member: client.member,
                    instance: client.instance,
                };
                self.step(Event::Heartbeat(token, beat));
            }
            Phase::Joining(_) | Phase::Syncing(_) | Phase::Gone => {}
        }
    }

    fn commit(&mut self, at: usize, token: Token) {
        let client = self.clients[at].clone();
        let partition = self.rng.random_range(0..PARTITIONS);
        let offset = self.next as i64;
        let commit = Commit {
            group: Str::from(GROUP),
            generation: client.generation,
            member: client.member.clone(),
            instance: client.instance.clone(),
            version: 9,
            offsets: vec![(
                (Str::from("t"), partition),
                CommittedOffset {
                    offset,
                    ..CommittedOffset::default()
                },
            )],
        };
        self.commits.insert(
            token,
            (
                at,
                client.member.clone(),
                client.generation,
                partition,
                offset,
            ),
        );
        let current = self.coordinator.describe(GROUP).is_some_and(|g| {
            g.generation == client.generation && g.members.iter().any(|m| m.member == client.member)
        });
        let writes = self.writes.len();
        self.step(Event::Commit(token, commit));
        if self.writes.len() > writes {
            assert!(
                current,
                "a commit of a member that is not current was taken"
            );
            assert!(!client.replaced, "a zombie committed");
        }
    }

    fn start(&mut self) {
        let instance = self.rng.random_bool(0.5).then(|| {
            let n = self.rng.random_range(0..3);
            Str::from(format!("instance-{n}"))
        });
        self.clients.push(Client {
            instance,
            member: Str::new(),
            generation: -1,
            phase: Phase::Out,
            heard: self.now,
            replaced: false,
        });
    }

    fn forget(&mut self, at: usize) {
        if let Phase::Joining(token) | Phase::Syncing(token) = self.clients[at].phase {
            self.lost.insert(token);
        }
    }

    fn leave(&mut self, at: usize) {
        self.forget(at);
        let client = self.clients[at].clone();
        self.clients[at].phase = Phase::Gone;
        // Static members leave without a word.
        if client.instance.is_none() && !client.member.is_empty() {
            let token = self.token(at);
            let leaver = Leaver {
                member: client.member,
                instance: None,
            };
            self.step(Event::Leave(token, Str::from(GROUP), vec![leaver]));
        }
    }

    fn crash(&mut self, at: usize) {
        self.forget(at);
        let instance = self.clients[at].instance.clone();
        self.clients[at].phase = Phase::Gone;
        if instance.is_some() && self.rng.random_bool(0.7) {
            self.start();
            let back = self.clients.len() - 1;
            self.clients[back].instance = instance;
        }
    }

    /// The coordinator dies with what it had not written, and reads what it had.
    fn restart(&mut self) {
        self.writes.clear();
        self.coordinator = Coordinator::new(self.config.clone());
        for record in self.log.clone() {
            let (key, value) = record.encode();
            let record = GroupRecord::decode(key, value).unwrap().unwrap();
            self.coordinator.load(record, self.now);
        }
        for (p, offset) in &self.acknowledged {
            let found = self.coordinator.offset(GROUP, &(Str::from("t"), *p));
            assert!(
                found.is_some_and(|o| o.offset >= *offset),
                "an acknowledged commit is lost"
            );
        }
        // A takeover that was never written has not happened.
        let group = self.coordinator.describe(GROUP);
        for client in &mut self.clients {
            let known = group
                .as_ref()
                .is_some_and(|g| g.members.iter().any(|m| m.member == client.member));
            client.replaced &= !known;
        }
        // A generation that was never written may be counted again.
        self.generation = self.coordinator.describe(GROUP).map_or(0, |g| g.generation);
        let generation = self.generation;
        self.assigned.retain(|g, _| *g <= generation);
        let open: Vec<Token> = self
            .asked
            .keys()
            .filter(|t| !self.answered.contains(*t))
            .copied()
            .collect();
        for token in open {
            // The connection broke; the client tries again.
            self.answered.insert(token);
            self.commits.remove(&token);
            self.heartbeats.remove(&token);
            for client in &mut self.clients {
                if client.phase == Phase::Joining(token) || client.phase == Phase::Syncing(token) {
                    client.phase = Phase::Out;
                }
            }
        }
    }

    fn live(&self) -> Vec<usize> {
        (0..self.clients.len())
            .filter(|i| self.clients[*i].phase != Phase::Gone)
            .collect()
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

    fn chaos(&mut self) {
        let live = self.live();
        let pick = |rng: &mut StdRng| live[rng.random_range(0..live.len())];
        match self.rng.random_range(0..100) {
            0..4 if live.len() < 6 => self.start(),
            4..55 if !live.is_empty() => {
                let at = pick(&mut self.rng);
                self.act(at);
            }
            55..58 if !live.is_empty() => {
                let at = pick(&mut self.rng);
                self.leave(at);
            }
            58..61 if !live.is_empty() => {
                let at = pick(&mut self.rng);
                self.crash(at);
            }
            61..62 => self.restart(),
            62..85 => self.deliver_write(),
            85..97 => self.pass_time(1_500),
            97..98 => self.pass_time(i64::from(SESSION)),
            _ => {}
        }
    }

    /// Nobody fails any more: everything comes to rest.
    fn settle(&mut self) {
        self.faults = false;
        // Of several runs with one instance id, only the last goes on.
        for at in 0..self.clients.len() {
            let instance = self.clients[at].instance.clone();
            let later = instance.is_some()
                && self.clients[at + 1..]
                    .iter()
                    .any(|c| c.instance == instance && c.phase != Phase::Gone);
            if self.clients[at].replaced || later {
                self.forget(at);
                self.clients[at].phase = Phase::Gone;
            }
        }
        if self.live().is_empty() {
            self.start();
        }
        for _ in 0..400 {
            for at in self.live() {
                self.act(at);
            }
            while !self.writes.is_empty() {
                self.deliver_write();
            }
            self.pass_time(1_000);
        }
    }

    fn check_settled(&mut self) {
        while !self.writes.is_empty() {
            self.deliver_write();
        }
        let group = self.coordinator.describe(GROUP).unwrap();
        assert_eq!(group.state, GroupState::Stable);
        let live = self.live();
        assert_eq!(
            group.members.len(),
            live.len(),
            "members and live clients differ"
        );
        let mut partitions = Vec::new();
        for at in live {
            let client = &self.clients[at];
            assert_eq!(client.phase, Phase::In, "{client:?}");
            assert_eq!(client.generation, group.generation);
            let member = group
                .members
                .iter()
                .find(|m| m.member == client.member)
                .unwrap();
            partitions.extend(member.assignment.iter().map(|b| i32::from(*b)));
        }
        partitions.sort_unstable();
        assert_eq!(partitions, (0..PARTITIONS).collect::<Vec<_>>());
        let open: Vec<_> = self
            .asked
            .keys()
            .filter(|t| !self.answered.contains(*t))
            .collect();
        assert!(open.is_empty(), "never answered: {open:?}");
    }
}

fn assign(members: Vec<Str>) -> Vec<(Str, Bytes)> {
    let mut given: BTreeMap<Str, Vec<u8>> = members.iter().map(|m| (m.clone(), vec![])).collect();
    for p in 0..PARTITIONS {
        let at = usize::try_from(p).unwrap() % members.len();
        given
            .get_mut(&members[at])
            .unwrap()
            .push(u8::try_from(p).unwrap());
    }
    given
        .into_iter()
        .map(|(member, partitions)| (member, Bytes::from(partitions)))
        .collect()
}

#[test]
fn groups_survive_chaos() {
    for seed in 0..150 {
        let run = std::panic::catch_unwind(|| {
            let mut world = World::new(seed);
            for _ in 0..600 {
                world.chaos();
            }
            world.settle();
            world.check_settled();
        });
        assert!(run.is_ok(), "seed {seed} failed");
    }
}
