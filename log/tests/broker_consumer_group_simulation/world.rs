//! The coordinator, its log, its topics, the clients and the network between them: what may fail,
//! and what holds nevertheless.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::Arc;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use thalweg_log::group::{
    Action, Assignor, ConsumerGroupDescription, Coordinator, Event, GroupConfig, GroupOverrides,
    GroupRecord, GroupState, Reply, Token, Topics, WriteId,
};
use thalweg_log::wire::{ErrorCode, Str};
use uuid::Uuid;

use crate::client::{At, Client, Counts, GROUP, Kind, Phase, Request, SESSION, flat};

pub(crate) struct World {
    rng: StdRng,
    now: i64,
    coordinator: Coordinator,
    pub(crate) config: GroupConfig,
    topics: Arc<Topics>,
    counts: Counts,
    pub(crate) clients: Vec<Client>,
    next: u64,
    asked: HashMap<Token, usize>,
    answered: HashSet<Token>,
    commits: HashMap<Token, (At, i64)>,
    acknowledged: BTreeMap<At, i64>,
    writes: VecDeque<(WriteId, Vec<GroupRecord>)>,
    log: Vec<GroupRecord>,
    epoch: i32,
    faults: bool,
    /// Says what happens.
    trace: bool,
    /// Members of both protocols.
    pub(crate) mixed: bool,
    /// Those of the classic protocol are cooperative.
    cooperative: bool,
    /// All subscribe to the same.
    pub(crate) same: bool,
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
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
            trace: std::env::var_os("SIMULATION_TRACE").is_some(),
            mixed,
            cooperative: seed % 2 == 1,
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
            let told = self.trace.then(|| format!("{event:?}"));
            let actions = self.coordinator.step(event, self.now);
            if let Some(event) = told {
                eprintln!("{}: {event}\n    {actions:?}", self.now);
            }
            for action in actions {
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
                client.is_classic() && group.members.iter().any(|m| m.member == client.member)
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
            let live = i != at && other.is_live();
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
        let client = &mut self.clients[at];
        let (beat, live) = (
            matches!(reply, Reply::ConsumerBeat(Ok(_))),
            client.is_live(),
        );
        client.on_reply(reply, &self.topics, &self.counts, self.now);
        if client.is_classic() {
            if let Some(next) = client.next.take() {
                self.takes(at, next);
            }
        } else if beat && live && self.rng.random_bool(0.5) {
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

    fn send(&mut self, at: usize, event: &Request) {
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
        let (answered, client) = (&self.answered, &mut self.clients[at]);
        if !client.is_live() || client.is_waiting(|token| answered.contains(token), self.now) {
            return;
        }
        self.give_up(at);
        let (next, client) = (&mut self.next, &mut self.clients[at]);
        let fresh = || {
            *next += 1;
            Str::from(format!("c{next}"))
        };
        let request = client.request(fresh, &self.topics);
        self.send(at, &request);
    }

    fn commit(&mut self, at: usize) {
        let client = self.clients[at].clone();
        let Some(partition) = client.owned.first().copied() else {
            return;
        };
        let offset = i64::try_from(self.next).unwrap();
        let Some(commit) = client.commit(partition, offset, &self.topics) else {
            return;
        };
        let token = self.token(at);
        self.commits.insert(token, (partition, offset));
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

    pub(crate) fn start(&mut self) {
        let fixed = self.rng.random_bool(0.3);
        let free: Vec<Str> = (0..2)
            .map(|n| Str::from(format!("i{n}")))
            .filter(|i| {
                !self
                    .clients
                    .iter()
                    .any(|c| c.is_live() && c.instance.as_ref() == Some(i))
            })
            .collect();
        let classic = self.mixed && self.rng.random_bool(0.4);
        let topics = if self.same || self.rng.random_bool(0.5) {
            vec![Str::from("t"), Str::from("u")]
        } else {
            vec![Str::from("t")]
        };
        self.next += 1;
        let kind = match (classic, self.cooperative) {
            (false, _) => Kind::Consumer,
            (true, false) => Kind::Eager,
            (true, true) => Kind::Cooperative,
        };
        let instance = free.first().filter(|_| fixed).cloned();
        let member = Str::from(format!("m{}", self.next));
        self.clients
            .push(Client::new(kind, instance, member, topics, self.now));
    }

    fn stop(&mut self, at: usize, says_so: bool) {
        let client = &mut self.clients[at];
        let leaves = client.leave().filter(|_| says_so);
        let leaves = leaves.filter(|_| !client.member.is_empty());
        client.stop();
        if let Some(leaves) = leaves {
            let token = self.token(at);
            self.step(leaves(token));
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
            Some((id, _)) => {
                let gone = [(name.clone(), *id)].into();
                self.counts.remove(&name);
                self.step(Event::TopicsDeleted(gone));
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

    pub(crate) fn live(&self) -> Vec<usize> {
        (0..self.clients.len())
            .filter(|i| self.clients[*i].is_live())
            .collect()
    }

    fn due(&self) -> Vec<usize> {
        let live = self.live();
        live.into_iter()
            .filter(|i| self.clients[*i].due <= self.now)
            .collect()
    }

    pub(crate) fn chaos(&mut self) {
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
    pub(crate) fn settle(&mut self) {
        self.faults = false;
        // In a classic group it is for the members to see that topics have changed.
        if self.group().is_none() {
            for client in self.clients.iter_mut().filter(|c| c.is_live()) {
                client.join_again(self.now);
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

    pub(crate) fn check_settled(&mut self) {
        let live = self.live();
        let all_classic = live.iter().all(|at| self.clients[*at].is_classic());
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
