//! One scenario a rule. What happens when rules meet is for the simulation.

use super::*;
use crate::wire::{ErrorCode, Str};

const MINUTE: i32 = 60_000;

struct Bench {
    coordinator: Coordinator,
    now: i64,
    token: Token,
    replies: Vec<(Token, Reply)>,
    log: Vec<TransactionRecord>,
    markers: Vec<Markers>,
    next_producer_id: i64,
    /// What markers are answered with; `None` keeps their rounds open.
    marked: Option<ErrorCode>,
    rounds: Vec<(MarkersId, Markers)>,
    /// What writes are answered with.
    persisted: Result<(), ErrorCode>,
}

impl Bench {
    fn new() -> Self {
        Self {
            coordinator: Coordinator::new(TransactionConfig::default(), 9),
            now: 1_000,
            token: 0,
            replies: vec![],
            log: vec![],
            markers: vec![],
            next_producer_id: 6,
            marked: Some(ErrorCode::None),
            rounds: vec![],
            persisted: Ok(()),
        }
    }

    fn step(&mut self, event: Event) {
        let mut events = std::collections::VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            for action in self.coordinator.step(event, self.now) {
                match action {
                    Action::Reply(token, reply) => self.replies.push((token, reply)),
                    Action::Persist(id, records) => {
                        if self.persisted.is_ok() {
                            self.log.extend(records);
                        }
                        events.push_back(Event::Persisted(id, self.persisted));
                    }
                    Action::WriteMarkers(round, markers) => {
                        self.markers.push(markers.clone());
                        self.rounds.push((round, markers));
                        if let Some(code) = self.marked {
                            events.push_back(self.answer_markers(code));
                        }
                    }
                    Action::AllocateProducerId(id) => {
                        self.next_producer_id += 1;
                        events.push_back(Event::Allocated(id, Ok(self.next_producer_id)));
                    }
                    Action::Settled(_) => {}
                }
            }
        }
    }

    fn answer_markers(&mut self, code: ErrorCode) -> Event {
        let (round, markers) = self.rounds.remove(0);
        let partitions = markers.partitions.into_iter();
        Event::Marked(round, partitions.map(|at| (at, code)).collect())
    }

    fn ask(&mut self, event: impl FnOnce(Token) -> Event) -> Reply {
        self.token += 1;
        let token = self.token;
        self.step(event(token));
        let at = self.replies.iter().position(|(t, _)| *t == token);
        self.replies.remove(at.expect("an answer")).1
    }

    fn init_with(
        &mut self,
        expected: Option<(i64, i16)>,
        timeout_ms: i32,
    ) -> Result<(i64, i16), ErrorCode> {
        let init = Init {
            transactional_id: Str::from("tx"),
            timeout_ms,
            expected,
        };
        match self.ask(|token| Event::Init(token, init)) {
            Reply::Initialized(result) => result,
            other => panic!("{other:?}"),
        }
    }

    fn init(&mut self, expected: Option<(i64, i16)>) -> Result<(i64, i16), ErrorCode> {
        self.init_with(expected, MINUTE)
    }

    fn add(&mut self, producer: (i64, i16), partitions: &[i32], version: i16) -> ErrorCode {
        let add = adding(producer, partitions, version);
        self.ask(|token| Event::AddPartitions(token, add)).error()
    }

    fn end(
        &mut self,
        producer: (i64, i16),
        commit: bool,
        version: i16,
    ) -> Result<(i64, i16), ErrorCode> {
        let end = End {
            transactional_id: Str::from("tx"),
            producer_id: producer.0,
            producer_epoch: producer.1,
            commit,
            version,
        };
        match self.ask(|token| Event::End(token, end)) {
            Reply::Ended(result) => result,
            other => panic!("{other:?}"),
        }
    }

    fn state(&self) -> TransactionState {
        self.coordinator.describe("tx").unwrap().state
    }

    /// A coordinator that has read the log.
    fn restarted(&self) -> Self {
        let mut next = Self {
            coordinator: Coordinator::new(TransactionConfig::default(), 10),
            now: self.now,
            log: self.log.clone(),
            next_producer_id: self.next_producer_id + 100,
            ..Self::new()
        };
        for record in &self.log {
            let (key, value) = record.encode().unwrap();
            let record = TransactionRecord::decode(key, value).unwrap().unwrap();
            next.coordinator.load(record);
        }
        next
    }

    /// An id with this epoch, as if it had come so far.
    fn at_epoch(epoch: i16) -> Self {
        let mut bench = Self::new();
        bench.init(None).unwrap();
        let mut record = bench.log.pop().unwrap();
        record.metadata.as_mut().unwrap().producer_epoch = epoch;
        bench.log.push(record);
        bench.restarted()
    }
}

fn adding((producer_id, producer_epoch): (i64, i16), at: &[i32], version: i16) -> AddPartitions {
    AddPartitions {
        transactional_id: Str::from("tx"),
        producer_id,
        producer_epoch,
        partitions: at.iter().map(|p| (Str::from("t"), *p)).collect(),
        version,
    }
}

#[test]
fn v1_keeps_its_epoch_from_transaction_to_transaction() {
    let mut bench = Bench::new();
    let producer = bench.init(None).unwrap();
    assert_eq!(producer, (7, 0));
    for commit in [true, false] {
        assert_eq!(bench.add(producer, &[1, 2], 0), ErrorCode::None);
        assert_eq!(bench.end(producer, commit, 0), Ok((-1, -1)));
        assert_eq!(bench.end(producer, commit, 0), Ok((-1, -1)), "once more");
        assert_eq!(
            bench.end(producer, !commit, 0),
            Err(ErrorCode::InvalidTxnState)
        );
        let marker = bench.markers.pop().unwrap();
        assert_eq!((marker.producer_epoch, marker.coordinator_epoch), (0, 9));
        assert_eq!((marker.commit, marker.partitions.len()), (commit, 2));
    }
    assert_eq!(bench.state(), TransactionState::CompleteAbort);
}

#[test]
fn v2_bumps_the_epoch_with_each_end() {
    let mut bench = Bench::new();
    let mut producer = bench.init(None).unwrap();
    for commit in [true, false, true] {
        assert_eq!(bench.add(producer, &[0], 2), ErrorCode::None);
        let next = bench.end(producer, commit, 2).unwrap();
        assert_eq!(next, (7, producer.1 + 1));
        assert_eq!(bench.end(producer, commit, 2), Ok(next), "sent again");
        assert_eq!(
            bench.end(producer, !commit, 2),
            Err(ErrorCode::InvalidTxnState)
        );
        let marker = bench.markers.pop().unwrap();
        assert_eq!((marker.producer_epoch, marker.version), (next.1, 2));
        assert_eq!(bench.add(producer, &[0], 2), ErrorCode::ProducerFenced);
        producer = next;
    }
}

/// The table in Kafka's coordinator: what a request to end does when nothing is open.
#[test]
fn v2_ends_without_a_transaction() {
    let fenced = Err(ErrorCode::ProducerFenced);
    let invalid = Err(ErrorCode::InvalidTxnState);
    let empty = || {
        let mut bench = Bench::new();
        bench.init(None).unwrap();
        let producer = bench.init(None).unwrap();
        (bench, producer)
    };
    let complete = |commit| {
        let (mut bench, producer) = empty();
        bench.add(producer, &[0], 2);
        let next = bench.end(producer, commit, 2).unwrap();
        (bench, next)
    };
    let before = |(id, epoch): (i64, i16)| (id, epoch - 1);
    let after = |(id, epoch): (i64, i16)| Ok((id, epoch + 1));
    let (mut bench, now) = empty();
    assert_eq!(bench.end(before(now), false, 2), fenced);
    assert_eq!(bench.end(before(now), true, 2), fenced);
    assert_eq!(bench.end(now, true, 2), invalid);
    assert_eq!(bench.end(now, false, 2), after(now));
    let (mut bench, now) = complete(false);
    assert_eq!(bench.end(before(now), false, 2), Ok(now));
    assert_eq!(bench.end(before(now), true, 2), invalid);
    assert_eq!(bench.end(now, true, 2), invalid);
    assert_eq!(bench.end(now, false, 2), after(now));
    let (mut bench, now) = complete(true);
    assert_eq!(bench.end(before(now), false, 2), invalid);
    assert_eq!(bench.end(before(now), true, 2), Ok(now));
    assert_eq!(bench.end(now, true, 2), invalid);
    assert_eq!(bench.end(now, false, 2), after(now));
    assert_eq!(bench.state(), TransactionState::CompleteAbort);
}

#[test]
fn requests_of_strangers_are_refused() {
    let mut bench = Bench::new();
    let unknown = ErrorCode::InvalidProducerIdMapping;
    assert_eq!(bench.add((7, 0), &[0], 0), unknown);
    assert_eq!(bench.end((7, 0), true, 0), Err(unknown));
    assert_eq!(bench.end((7, 0), true, 2), Err(unknown));
    let producer = bench.init(None).unwrap();
    for version in [0, 2] {
        assert_eq!(bench.add((8, 0), &[0], version), unknown);
        assert_eq!(bench.end((8, 0), true, version), Err(unknown));
        let fenced = ErrorCode::ProducerFenced;
        assert_eq!(bench.add((7, 1), &[0], version), fenced);
        assert_eq!(bench.end((7, 1), true, version), Err(fenced));
    }
    assert_eq!(
        bench.end(producer, true, 0),
        Err(ErrorCode::InvalidTxnState)
    );
    for timeout in [0, -1, 900_001] {
        let refused = bench.init_with(None, timeout);
        assert_eq!(refused, Err(ErrorCode::InvalidTransactionTimeout));
    }
}

#[test]
fn a_producer_that_knows_its_epoch_gets_the_next_once() {
    let mut bench = Bench::new();
    let first = bench.init(None).unwrap();
    assert_eq!(bench.init(Some(first)), Ok((7, 1)));
    assert_eq!(bench.init(Some(first)), Ok((7, 1)), "its answer was lost");
    assert_eq!(bench.init(None), Ok((7, 2)), "another one comes");
    let fenced = Err(ErrorCode::ProducerFenced);
    assert_eq!(bench.init(Some((7, 1))), fenced);
    assert_eq!(bench.init(Some((8, 2))), fenced);
}

#[test]
fn the_producer_id_is_exchanged_when_its_epochs_are_used_up() {
    // By a producer that begins anew.
    let mut bench = Bench::at_epoch(i16::MAX - 2);
    let last = bench.init(None).unwrap();
    assert_eq!(last, (7, i16::MAX - 1));
    let next = bench.init(Some(last)).unwrap();
    assert_eq!(next.1, 0);
    assert_ne!(next.0, 7);
    assert_eq!(bench.init(Some(last)), Ok(next), "its answer was lost");
    // By the end of a transaction, also over a restart.
    for commit in [true, false] {
        let mut bench = Bench::at_epoch(i16::MAX - 2);
        let last = bench.init(None).unwrap();
        bench.add(last, &[0], 2);
        let next = bench.end(last, commit, 2).unwrap();
        assert_eq!((next.1, next.0 != 7), (0, true));
        assert_eq!(bench.markers[0].producer_id, 7);
        assert_eq!(bench.markers[0].producer_epoch, i16::MAX);
        assert_eq!(bench.end(last, commit, 2), Ok(next), "sent again");
        let mut bench = bench.restarted();
        assert_eq!(bench.end(last, commit, 2), Ok(next), "after a restart");
        assert_eq!(bench.add(next, &[0], 2), ErrorCode::None);
    }
}

#[test]
fn a_new_producer_fences_and_aborts() {
    for version in [0, 2] {
        let mut bench = Bench::new();
        let old = bench.init(None).unwrap();
        bench.add(old, &[0, 1], version);
        assert_eq!(bench.init(None), Err(ErrorCode::ConcurrentTransactions));
        let marker = bench.markers.pop().unwrap();
        assert!(!marker.commit && marker.producer_epoch > old.1 && marker.version == 2);
        let new = bench.init(None).unwrap();
        assert_eq!(new, (7, 2));
        let fenced = ErrorCode::ProducerFenced;
        assert_eq!(bench.add(old, &[0], version), fenced);
        assert_eq!(bench.end(old, true, version), Err(fenced));
        assert_eq!(bench.add(new, &[0], version), ErrorCode::None);
    }
}

#[test]
fn nothing_begins_before_the_markers_are_written() {
    let mut bench = Bench::new();
    let producer = bench.init(None).unwrap();
    bench.add(producer, &[0, 1], 2);
    bench.marked = None;
    let next = bench.end(producer, true, 2).unwrap();
    let concurrent = ErrorCode::ConcurrentTransactions;
    assert!(!bench.coordinator.is_settled("tx"));
    assert_eq!(bench.add(next, &[2], 2), concurrent);
    assert_eq!(bench.end(producer, true, 2), Err(concurrent));
    assert_eq!(bench.init(None), Err(concurrent));
    let verify = bench.coordinator.verify(&adding(next, &[0], 2));
    assert_eq!(verify, Err(concurrent));
    // One of two is missing: that one is tried again.
    let (round, markers) = bench.rounds.remove(0);
    let [first, second] = &markers.partitions[..] else {
        panic!("{markers:?}")
    };
    let results = vec![
        (first.clone(), ErrorCode::None),
        (second.clone(), ErrorCode::NotLeaderOrFollower),
    ];
    bench.step(Event::Marked(round, results));
    assert_eq!(
        bench.coordinator.describe("tx").unwrap().partitions.len(),
        1
    );
    bench.now = bench
        .coordinator
        .next_deadline()
        .unwrap()
        .max(bench.now + 100);
    bench.step(Event::Tick);
    let again = bench.answer_markers(ErrorCode::None);
    assert_eq!(
        bench.markers.last().unwrap().partitions,
        std::slice::from_ref(second)
    );
    bench.step(again);
    assert_eq!(bench.state(), TransactionState::CompleteCommit);
    assert_eq!(bench.add(next, &[2], 2), ErrorCode::None);
}

#[test]
fn a_restart_carries_out_what_was_decided() {
    for commit in [true, false] {
        let mut bench = Bench::new();
        let producer = bench.init(None).unwrap();
        bench.add(producer, &[0, 1], 2);
        bench.marked = None;
        let next = bench.end(producer, commit, 2).unwrap();
        let mut bench = bench.restarted();
        bench.step(Event::Loaded);
        let markers = bench.markers.pop().unwrap();
        assert_eq!((markers.commit, markers.partitions.len()), (commit, 2));
        assert_eq!(markers.coordinator_epoch, 10);
        assert_eq!(bench.end(producer, commit, 2), Ok(next));
    }
}

#[test]
fn a_write_that_fails_changes_nothing() {
    let mut bench = Bench::new();
    let failed = ErrorCode::NotCoordinator;
    bench.persisted = Err(failed);
    assert_eq!(bench.init(None), Err(failed));
    bench.persisted = Ok(());
    let producer = bench.init(None).unwrap();
    bench.persisted = Err(failed);
    assert_eq!(bench.add(producer, &[0], 2), failed);
    bench.persisted = Ok(());
    assert_eq!(bench.add(producer, &[0], 2), ErrorCode::None);
    bench.persisted = Err(failed);
    assert_eq!(bench.end(producer, true, 2), Err(failed));
    assert!(bench.markers.is_empty());
    assert_eq!(bench.init(None), Err(failed));
    bench.persisted = Ok(());
    assert_eq!(bench.end(producer, true, 2), Ok((7, 1)));
}

#[test]
fn what_takes_too_long_is_aborted() {
    let mut bench = Bench::new();
    let producer = bench.init(None).unwrap();
    bench.add(producer, &[0], 0);
    bench.now += i64::from(MINUTE);
    bench.step(Event::Tick);
    assert_eq!(bench.state(), TransactionState::Ongoing);
    bench.now = bench.coordinator.next_deadline().unwrap();
    bench.step(Event::Tick);
    assert_eq!(bench.state(), TransactionState::CompleteAbort);
    assert_eq!(bench.end(producer, true, 0), Err(ErrorCode::ProducerFenced));
    // Also when there is no epoch left to fence with.
    let mut bench = Bench::at_epoch(i16::MAX - 2);
    let last = bench.init(None).unwrap();
    bench.add(last, &[0], 0);
    bench.now += i64::from(MINUTE) + 1;
    bench.step(Event::Tick);
    let now = bench.coordinator.describe("tx").unwrap();
    assert_eq!(now.state, TransactionState::CompleteAbort);
    assert_eq!((now.producer_id != 7, now.producer_epoch), (true, 0));
}

#[test]
fn ids_that_nobody_uses_are_forgotten() {
    let mut bench = Bench::new();
    bench.init(None).unwrap();
    bench.step(Event::Tick);
    let expiration = TransactionConfig::default().id_expiration_ms;
    bench.now += expiration - 1;
    bench.step(Event::Tick);
    assert!(bench.coordinator.describe("tx").is_some());
    bench.now += TransactionConfig::default().remove_expired_interval_ms;
    bench.step(Event::Tick);
    assert_eq!(bench.coordinator.describe("tx"), None);
    assert_eq!(bench.log.last().unwrap().metadata, None);
    assert_eq!(bench.restarted().coordinator.describe("tx"), None);
    assert_eq!(bench.init(None), Ok((8, 0)));
}

/// Two kinds of clients under one id: the fenced one is not given the other's epoch.
#[test]
fn a_fenced_v2_producer_does_not_get_the_epoch_of_the_v1_producer_that_fenced_it() {
    for commit in [true, false] {
        let mut bench = Bench::new();
        let old = bench.init(None).unwrap();
        let new = bench.init(None).unwrap();
        bench.add(new, &[0], 0);
        bench.end(new, commit, 0).unwrap();
        let refused = Err(ErrorCode::ProducerFenced);
        assert_eq!(bench.end(old, commit, 2), refused);
        assert_eq!(bench.end(old, !commit, 2), refused);
    }
}

#[test]
fn partitions_are_verified() {
    let mut bench = Bench::new();
    let producer = bench.init(None).unwrap();
    bench.add(producer, &[0], 0);
    let verify = |producer, at: &[i32]| bench.coordinator.verify(&adding(producer, at, 0));
    let at = |partition| (Str::from("t"), partition);
    assert_eq!(
        verify(producer, &[0, 1]).unwrap(),
        [
            (at(0), ErrorCode::None),
            (at(1), ErrorCode::TransactionAbortable)
        ]
    );
    let unknown = ErrorCode::InvalidProducerIdMapping;
    assert_eq!(verify((9, 0), &[0]), Err(unknown));
    assert_eq!(verify((7, 4), &[0]), Err(ErrorCode::ProducerFenced));
}
