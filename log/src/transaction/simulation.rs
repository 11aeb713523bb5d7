//! A seeded world around the coordinator: producers, the network, crashes, and partitions that keep
//! the rules of the real storage.
//!
//! Producers of transactions v1 and v2 begin, write and end transactions; older instances under the
//! same transactional id go on as zombies. Requests and answers are lost, delayed and sent twice,
//! the coordinator and the partitions' brokers crash between any two steps, markers are lost,
//! repeated, reordered and very late, transactional ids expire. Then the faults stop, and what the partitions hold is compared with what
//! the producers were told.
//!
//! Not modelled, as no coordinator could keep it: before transactions v2 a request to end a
//! transaction, or a marker, that is delivered once more after its transaction is over ends the
//! next one. So those two are not repeated that late for v1 (TCP's order, and coordinator epochs,
//! see to that).

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use rand::rngs::SmallRng;
use rand::seq::IteratorRandom;
use rand::{Rng, SeedableRng};

use super::*;
use crate::record::{BatchBuilder, BatchHeader, Compression};
use crate::storage::simulated::{Producers, Undecided};
use crate::storage::{AppendOrigin, Marker, TxnOutcome, Verification, VerificationGuard};
use crate::wire::{ErrorCode, Str};

const IDS: usize = 3;
const PARTITIONS: usize = 4;
const TIMEOUT_MS: i32 = 2_000;
const ROUNDS: usize = 700;

/// A transaction, as its producer means it.
type Tag = usize;

/// A record in a partition.
#[derive(Debug, Clone, Copy)]
enum Entry {
    Data { header: BatchHeader, tag: Tag },
    Marker(Marker),
}

#[derive(Debug, Default)]
struct Partition {
    producers: Producers,
    undecided: Undecided,
    log: Vec<Entry>,
    /// Transaction to the outcomes of its records here, one for each marker that ended some.
    outcomes: BTreeMap<Tag, Vec<bool>>,
    /// The transactions with records since their producer's last marker.
    open: BTreeMap<i64, BTreeSet<Tag>>,
}

impl Partition {
    fn end(&self) -> i64 {
        self.log.len() as i64
    }

    /// The broker's memory is gone; the log is read again.
    fn crash(&mut self) {
        self.producers = Producers::default();
        self.undecided = Undecided::default();
        for (offset, entry) in self.log.clone().into_iter().enumerate() {
            match entry {
                Entry::Data { header, .. } => {
                    self.producers.update(&header, &mut self.undecided);
                }
                Entry::Marker(marker) => {
                    let at = offset as i64;
                    self.producers
                        .update_marker(&marker, at, 0, &mut self.undecided);
                    self.undecided.replicated(at + 1);
                }
            }
        }
    }

    fn append(&mut self, write: &Write, verification: Verification) -> Result<(), ErrorCode> {
        let mut header = header();
        header.producer_id = write.producer.0;
        header.producer_epoch = write.producer.1;
        header.base_sequence = write.sequence;
        header.base_offset = self.end();
        let client = AppendOrigin::Client;
        match self.producers.check(&header, client, verification) {
            Ok(Some(_)) => return Ok(()),
            Ok(None) => {}
            Err(e) => return Err(crate::broker::append_code(&e)),
        }
        self.producers.update(&header, &mut self.undecided);
        let tag = write.tag;
        self.log.push(Entry::Data { header, tag });
        self.open.entry(write.producer.0).or_default().insert(tag);
        Ok(())
    }

    fn mark(&mut self, marker: Marker, version: i16) -> ErrorCode {
        if let Err(e) = self.producers.check_marker(&marker, version) {
            return crate::broker::append_code(&e);
        }
        let at = self.end();
        self.producers
            .update_marker(&marker, at, 0, &mut self.undecided);
        self.log.push(Entry::Marker(marker));
        self.undecided.replicated(at + 1);
        for tag in self.open.remove(&marker.producer_id).unwrap_or_default() {
            let committed = marker.outcome == TxnOutcome::Commit;
            self.outcomes.entry(tag).or_default().push(committed);
        }
        ErrorCode::None
    }
}

fn header() -> BatchHeader {
    let mut batch = BatchBuilder::new(Compression::None);
    batch.producer(0, 0, 0).transactional(true);
    batch.append(0, None, Some(b"x"), &[]).unwrap();
    BatchHeader::parse(&batch.build().unwrap()).unwrap()
}

/// A batch on its way.
#[derive(Debug, Clone)]
struct Write {
    client: usize,
    request: u64,
    tag: Tag,
    producer: (i64, i16),
    partition: usize,
    sequence: i32,
    v2: bool,
}

#[derive(Debug, Clone)]
enum Message {
    /// From a client to the coordinator.
    Ask(usize, u64, Ask),
    /// To a client.
    Answer(usize, u64, Reply),
    /// A batch arrives at its partition.
    Write(Write),
    /// It goes on to the coordinator with its guard.
    Verify(Write, VerificationGuard),
    /// And comes back.
    Append(Write, Verification, ErrorCode),
    /// A marker arrives; it belongs to a round of this run of the coordinator, or is a repetition.
    Mark(usize, Marker, i16, Option<(u64, MarkersId)>),
    /// A round is over.
    Marked(u64, MarkersId),
}

#[derive(Debug, Clone)]
enum Ask {
    Init(Option<(i64, i16)>),
    Add((i64, i16), usize),
    End((i64, i16), bool),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Starting,
    Ready,
    Working,
    Ending { commit: bool },
    Dead,
}

/// An instance of a producer.
#[derive(Debug)]
struct Client {
    id: usize,
    v2: bool,
    state: State,
    producer: (i64, i16),
    sequences: BTreeMap<usize, i32>,
    tag: Tag,
    /// Partitions that the coordinator knows of, as far as a v1 client can tell.
    added: BTreeSet<usize>,
    left: u32,
    /// Something of this transaction went wrong, or may have: it can only be aborted.
    failed: bool,
    /// A batch may still be on its way: a v1 client takes a new epoch after the abort.
    unsure: bool,
    started: bool,
    waiting: Option<(u64, Message)>,
}

/// What a client was told of its transactions.
#[derive(Debug, Default)]
struct Told {
    /// Transactions to what their end was answered with.
    ended: BTreeMap<Tag, bool>,
    /// Records that were acknowledged: transaction and partition.
    acked: BTreeSet<(Tag, usize)>,
}

#[derive(Debug, Clone)]
enum Asker {
    Client(usize, u64),
    Write(Write, VerificationGuard),
}

struct World {
    rng: SmallRng,
    now: i64,
    faults: bool,
    coordinator: Coordinator,
    /// Which run of the coordinator this is; also its epoch.
    run: u64,
    log: Vec<(Bytes, Option<Bytes>)>,
    /// Writes that are in the log and not yet confirmed.
    unconfirmed: VecDeque<(WriteId, Result<(), ErrorCode>)>,
    /// The log's length at the last confirmation: a crash keeps at least so much.
    confirmed: usize,
    lengths: VecDeque<usize>,
    askers: BTreeMap<Token, Asker>,
    next_token: Token,
    rounds: BTreeMap<MarkersId, (usize, Vec<(TopicPartition, ErrorCode)>)>,
    next_producer_id: i64,
    partitions: Vec<Partition>,
    clients: Vec<Client>,
    network: Vec<Message>,
    /// Batches and markers that come when nobody thinks of them any more.
    late: Vec<Message>,
    next_request: u64,
    next_tag: Tag,
    told: Told,
    /// Producer id and epoch of each transactional id, as last written.
    epochs: BTreeMap<Str, (i64, i16)>,
    used_ids: BTreeSet<i64>,
}

fn config() -> TransactionConfig {
    TransactionConfig {
        max_timeout_ms: TIMEOUT_MS,
        id_expiration_ms: 8_000,
        abort_timed_out_interval_ms: 500,
        remove_expired_interval_ms: 3_000,
        retry_backoff_ms: 50,
    }
}

fn name(id: usize) -> Str {
    Str::from(format!("id-{id}"))
}

fn at(partition: usize) -> TopicPartition {
    (Str::from("t"), partition as i32)
}

impl World {
    fn new(seed: u64) -> Self {
        let mut rng = SmallRng::seed_from_u64(seed);
        let exhausted = rng.random_ratio(1, 4);
        let mut world = Self {
            now: 1_000_000,
            faults: true,
            coordinator: Coordinator::new(config(), 0),
            run: 0,
            log: vec![],
            unconfirmed: VecDeque::new(),
            confirmed: 0,
            lengths: VecDeque::new(),
            askers: BTreeMap::new(),
            next_token: 0,
            rounds: BTreeMap::new(),
            next_producer_id: 100,
            partitions: (0..PARTITIONS).map(|_| Partition::default()).collect(),
            clients: vec![],
            network: vec![],
            late: vec![],
            next_request: 0,
            next_tag: 0,
            told: Told::default(),
            epochs: BTreeMap::new(),
            used_ids: BTreeSet::new(),
            rng,
        };
        if exhausted {
            // The epochs are nearly used up.
            for id in 0..IDS {
                let mut metadata = TransactionMetadata::new(id as i64, TIMEOUT_MS, world.now);
                metadata.producer_epoch = i16::MAX - 2 - world.rng.random_range(0..4);
                let record = TransactionRecord {
                    transactional_id: name(id),
                    metadata: Some(metadata),
                };
                world.written(&record);
                world.coordinator.load(record);
            }
            world.confirmed = world.log.len();
        }
        world
    }

    fn chance(&mut self, one_in: u32) -> bool {
        self.faults && self.rng.random_ratio(1, one_in)
    }

    /// Checks a record that goes into the log, and adds it.
    fn written(&mut self, record: &TransactionRecord) {
        let (key, value) = record.encode().unwrap();
        self.log.push((key, value));
        let Some(metadata) = &record.metadata else {
            self.epochs.remove(&record.transactional_id);
            return;
        };
        let next = (metadata.producer_id, metadata.producer_epoch);
        let before = self.epochs.insert(record.transactional_id.clone(), next);
        match before {
            Some((id, epoch)) if id == next.0 => assert!(epoch <= next.1, "the epoch shrinks"),
            _ => assert!(self.used_ids.insert(next.0), "a producer id is used again"),
        }
    }

    fn step(&mut self, event: Event) {
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            for action in self.coordinator.step(event, self.now) {
                match action {
                    Action::Reply(token, reply) => {
                        let asker = self.askers.remove(&token);
                        match asker.expect("a request is answered once") {
                            Asker::Client(client, request) => {
                                self.send(Message::Answer(client, request, reply));
                            }
                            Asker::Write(write, guard) => {
                                let guard = Verification::Required(Some(guard));
                                self.network
                                    .push(Message::Append(write, guard, reply.error()));
                            }
                        }
                    }
                    Action::Persist(id, records) => {
                        if self.chance(60) {
                            let failed = Err(ErrorCode::CoordinatorNotAvailable);
                            self.unconfirmed.push_back((id, failed));
                        } else {
                            for record in &records {
                                self.written(record);
                            }
                            self.unconfirmed.push_back((id, Ok(())));
                        }
                        self.lengths.push_back(self.log.len());
                    }
                    Action::WriteMarkers(round, markers) => self.write_markers(round, markers),
                    Action::AllocateProducerId(id) => {
                        self.next_producer_id += 1;
                        let failed = self.chance(20);
                        let result = if failed {
                            Err(ErrorCode::UnknownServerError)
                        } else {
                            Ok(self.next_producer_id)
                        };
                        events.push_back(Event::Allocated(id, result));
                    }
                    Action::Settled(_) => {}
                }
            }
        }
    }

    fn write_markers(&mut self, round: MarkersId, markers: Markers) {
        let marker = Marker {
            producer_id: markers.producer_id,
            producer_epoch: markers.producer_epoch,
            coordinator_epoch: markers.coordinator_epoch,
            outcome: if markers.commit {
                TxnOutcome::Commit
            } else {
                TxnOutcome::Abort
            },
        };
        self.rounds
            .insert(round, (markers.partitions.len(), vec![]));
        for (_, partition) in &markers.partitions {
            let partition = *partition as usize;
            let run = Some((self.run, round));
            self.network
                .push(Message::Mark(partition, marker, markers.version, run));
            if markers.version >= 2 && self.chance(4) {
                let again = Message::Mark(partition, marker, markers.version, None);
                if self.chance(3) {
                    self.late.push(again);
                } else {
                    self.network.push(again);
                }
            }
        }
    }

    /// Sends over a network that loses and repeats.
    fn send(&mut self, message: Message) {
        if self.chance(12) {
            return;
        }
        if self.chance(10) {
            self.network.push(message.clone());
        }
        if matches!(message, Message::Write(_)) && self.chance(4) {
            self.late.push(message.clone());
            if self.chance(2) {
                return;
            }
        }
        self.network.push(message);
    }

    fn crash(&mut self) {
        self.run += 1;
        // What was not confirmed may be lost, from some point on.
        let keep = self.rng.random_range(self.confirmed..=self.log.len());
        self.log.truncate(keep);
        self.confirmed = keep;
        self.unconfirmed.clear();
        self.lengths.clear();
        self.askers.clear();
        self.rounds.clear();
        self.coordinator = Coordinator::new(config(), i32::try_from(self.run).unwrap());
        self.epochs.clear();
        // A producer id whose record is lost was told to nobody.
        self.used_ids.clear();
        for (key, value) in self.log.clone() {
            let record = TransactionRecord::decode(key, value).unwrap().unwrap();
            match &record.metadata {
                Some(m) => {
                    let current = (m.producer_id, m.producer_epoch);
                    self.epochs.insert(record.transactional_id.clone(), current);
                    self.used_ids.insert(m.producer_id);
                }
                None => {
                    self.epochs.remove(&record.transactional_id);
                }
            }
            self.coordinator.load(record);
        }
        self.step(Event::Loaded);
    }

    fn ask(&mut self, asker: Asker, event: impl FnOnce(Token) -> Event) {
        self.next_token += 1;
        let token = self.next_token;
        self.askers.insert(token, asker);
        self.step(event(token));
    }

    fn deliver(&mut self, message: Message) {
        match message {
            Message::Ask(client, request, ask) => {
                let Client { id, v2, .. } = self.clients[client];
                let transactional_id = name(id);
                let version = if v2 { 2 } else { 0 };
                self.ask(Asker::Client(client, request), |token| match ask {
                    Ask::Init(expected) => {
                        let timeout_ms = TIMEOUT_MS;
                        let init = Init {
                            transactional_id,
                            timeout_ms,
                            expected,
                        };
                        Event::Init(token, init)
                    }
                    Ask::Add((producer_id, producer_epoch), partition) => {
                        let add = AddPartitions {
                            transactional_id,
                            producer_id,
                            producer_epoch,
                            partitions: [at(partition)].into(),
                            version,
                        };
                        Event::AddPartitions(token, add)
                    }
                    Ask::End((producer_id, producer_epoch), commit) => {
                        let end = End {
                            transactional_id,
                            producer_id,
                            producer_epoch,
                            commit,
                            version,
                        };
                        Event::End(token, end)
                    }
                });
            }
            Message::Answer(client, request, reply) => self.answered(client, request, reply),
            Message::Write(write) => self.begin_write(write),
            Message::Verify(write, guard) => self.verify(write, guard),
            Message::Append(write, verification, code) => {
                let code = if code.is_error() {
                    code
                } else {
                    let partition = &mut self.partitions[write.partition];
                    partition
                        .append(&write, verification)
                        .err()
                        .unwrap_or(ErrorCode::None)
                };
                let reply = Reply::Added(code);
                self.send(Message::Answer(write.client, write.request, reply));
            }
            Message::Mark(partition, marker, version, round) => {
                let lost = self.chance(10);
                let answer_lost = self.chance(10);
                let mut code = None;
                if !lost {
                    code = Some(self.partitions[partition].mark(marker, version));
                }
                let Some((run, round)) = round else { return };
                if run != self.run {
                    return;
                }
                let Some((left, results)) = self.rounds.get_mut(&round) else {
                    return;
                };
                *left -= 1;
                if let (Some(code), false) = (code, answer_lost) {
                    results.push((at(partition), code));
                }
                if *left == 0 {
                    self.network.push(Message::Marked(run, round));
                }
            }
            Message::Marked(run, round) => {
                if run == self.run
                    && let Some((_, results)) = self.rounds.remove(&round)
                {
                    self.step(Event::Marked(round, results));
                }
            }
        }
    }

    fn begin_write(&mut self, write: Write) {
        let partition = &mut self.partitions[write.partition];
        let (id, epoch) = write.producer;
        let guard =
            partition
                .producers
                .start_verification(id, epoch, write.sequence, write.v2, self.now);
        let message = match guard {
            Ok(Some(guard)) => Message::Verify(write, guard),
            Ok(None) => Message::Append(write, Verification::Required(None), ErrorCode::None),
            Err(e) => Message::Append(
                write,
                Verification::Required(None),
                crate::broker::append_code(&e),
            ),
        };
        self.network.push(message);
    }

    fn verify(&mut self, write: Write, guard: VerificationGuard) {
        let asked = AddPartitions {
            transactional_id: name(self.clients[write.client].id),
            producer_id: write.producer.0,
            producer_epoch: write.producer.1,
            partitions: [at(write.partition)].into(),
            version: 2,
        };
        if write.v2 {
            return self.ask(Asker::Write(write, guard), |token| {
                Event::AddPartitions(token, asked)
            });
        }
        let code = match self.coordinator.verify(&asked) {
            Ok(codes) => codes[0].1,
            Err(code) => code,
        };
        let guard = Verification::Required(Some(guard));
        self.network.push(Message::Append(write, guard, code));
    }
}

mod clients;

/// Runs a world to its end and says how many transactions were committed and aborted.
fn run(seed: u64) -> (usize, usize) {
    let mut world = World::new(seed);
    for _ in 0..ROUNDS {
        world.round();
    }
    world.quiesce();
    world.check()
}

impl World {
    fn round(&mut self) {
        match self.rng.random_range(0..100) {
            0..45 => self.deliver_any(),
            45..70 => self.confirm(),
            70..90 => self.client_acts(),
            90..96 => {
                self.now += self.rng.random_range(1..200);
                self.step(Event::Tick);
            }
            96..97 => self.crash(),
            97..99 => self.deliver_late(),
            _ if self.chance(3) => {
                let any = self.rng.random_range(0..PARTITIONS);
                self.partitions[any].crash();
            }
            _ if self.chance(20) => {
                // Transactions time out, and transactional ids expire.
                self.now += 2 * config().id_expiration_ms;
                self.step(Event::Tick);
            }
            _ => {}
        }
    }

    fn deliver_any(&mut self) {
        if self.network.is_empty() {
            return;
        }
        // Mostly in order.
        let some = self
            .network
            .len()
            .min(if self.chance(3) { usize::MAX } else { 2 });
        let next = (0..some).choose(&mut self.rng).unwrap();
        let message = self.network.remove(next);
        self.deliver(message);
    }

    fn deliver_late(&mut self) {
        if !self.late.is_empty() {
            let any = self.rng.random_range(0..self.late.len());
            let message = self.late.swap_remove(any);
            self.network.push(message);
        }
    }

    fn confirm(&mut self) {
        if let (Some((write, result)), Some(length)) =
            (self.unconfirmed.pop_front(), self.lengths.pop_front())
        {
            self.confirmed = length;
            self.step(Event::Persisted(write, result));
        }
    }

    /// No more faults, and no more producers: everything that is open comes to its end.
    fn quiesce(&mut self) {
        self.faults = false;
        for client in &mut self.clients {
            client.state = State::Dead;
        }
        self.network.append(&mut self.late);
        for _ in 0..10_000 {
            if self.network.is_empty() && self.unconfirmed.is_empty() {
                let idle = |(_, m): (&Str, &TransactionMetadata)| m.state.is_idle();
                if self.coordinator.list().all(idle) {
                    return;
                }
                self.now += 100;
                self.step(Event::Tick);
            }
            self.deliver_any();
            self.confirm();
        }
        panic!("the transactions do not come to an end");
    }

    fn check(&self) -> (usize, usize) {
        assert!(self.askers.is_empty(), "a request was not answered");
        let mut outcomes: BTreeMap<Tag, BTreeSet<bool>> = BTreeMap::new();
        for (n, partition) in self.partitions.iter().enumerate() {
            assert!(
                partition.undecided.first().is_none(),
                "a transaction hangs in partition {n}"
            );
            for (tag, ends) in &partition.outcomes {
                assert_eq!(
                    ends.len(),
                    1,
                    "transaction {tag} was ended {ends:?} in partition {n}"
                );
                outcomes.entry(*tag).or_default().extend(ends);
            }
        }
        for (tag, ends) in &outcomes {
            assert_eq!(ends.len(), 1, "transaction {tag} is torn");
        }
        for (tag, committed) in &self.told.ended {
            let acked = self.told.acked.iter().filter(|(t, _)| t == tag);
            for (_, n) in acked {
                let ends = self.partitions[*n].outcomes.get(tag);
                let ends = ends.unwrap_or_else(|| panic!("transaction {tag} is lost in {n}"));
                assert_eq!(ends, &[*committed], "transaction {tag} in partition {n}");
            }
            if let Some(ends) = outcomes.get(tag) {
                assert_eq!(ends, &[*committed].into(), "transaction {tag}");
            }
        }
        // Not more than one transaction may stand between two markers of a producer.
        for partition in &self.partitions {
            let mut open: BTreeMap<i64, Tag> = BTreeMap::new();
            for entry in &partition.log {
                match entry {
                    Entry::Data { header, tag } => {
                        let first = *open.entry(header.producer_id).or_insert(*tag);
                        assert_eq!(first, *tag, "a transaction covers another's record");
                    }
                    Entry::Marker(marker) => {
                        open.remove(&marker.producer_id);
                    }
                }
            }
        }
        let committed = self.told.ended.values().filter(|c| **c).count();
        (committed, self.told.ended.len() - committed)
    }
}

#[test]
fn transactions_are_neither_lost_nor_torn_nor_resurrected() {
    let seeds = std::env::var("THALWEG_SEEDS").ok();
    let seeds: u64 = seeds.and_then(|n| n.parse().ok()).unwrap_or(1_000);
    let from: u64 = std::env::var("THALWEG_SEED")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(0);
    let (mut committed, mut aborted) = (0, 0);
    for seed in from..from + seeds {
        let result = std::panic::catch_unwind(|| run(seed));
        let (c, a) = result.unwrap_or_else(|e| {
            eprintln!("the seed is {seed}: run again with THALWEG_SEED={seed} THALWEG_SEEDS=1");
            std::panic::resume_unwind(e)
        });
        committed += c;
        aborted += a;
    }
    eprintln!("{seeds} seeds from {from}: {committed} committed, {aborted} aborted");
    assert!(
        seeds < 100 || (committed > 100 && aborted > 100),
        "hardly anything happened"
    );
}
