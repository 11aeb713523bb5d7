//! Transactions in the partition log against a model: a list of batches and markers, from which
//! everything that readers and producers may be told follows.
//!
//! Producers with and without transactions append, retry, leave gaps, bump epochs, commit and
//! abort; the log rolls, is retained, truncated, closed, killed and torn. After each step the last
//! stable offset, what a reader of committed records sees and the state of every producer are
//! those of the model.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;
use proptest::sample::Index;
use thalweg_log::record::{BatchBuilder, Compression, batches};
use thalweg_log::storage::{
    AbortedTxn, AppendError, AppendOrigin, FetchData, FetchIsolation, LogConfig, LogManager,
    Marker, PartitionLog, ProducerSnapshot, TxnOutcome, Verification,
};

mod storage_support;
use storage_support::{cut_file, last_segment, log_of, open_with, scratch};

const PRODUCERS: i64 = 4;
/// Where a producer that is not known begins: close to the wrap.
const FIRST_SEQUENCE: i32 = i32::MAX - 20;

#[derive(Debug, Clone)]
enum Step {
    Plain {
        records: i32,
    },
    Produce {
        producer: i64,
        records: i32,
        transactional: bool,
        bump: bool,
        gap: i32,
        verified: bool,
    },
    /// A batch of the producer's once more, so many back.
    Retry {
        producer: i64,
        back: usize,
    },
    End {
        producer: i64,
        commit: bool,
        /// What is added to the producer's epoch.
        bump: i16,
        version: i16,
        /// What is added to the coordinator's epoch.
        coordinator: i32,
    },
    ReadCommitted {
        at: Index,
        max_bytes: usize,
    },
    DeleteRecords {
        at: Index,
    },
    Retain {
        now: i64,
    },
    Truncate {
        at: Index,
    },
    StartAgain,
    Flush,
    Checkpoint,
    Reopen,
    Crash {
        tear: Option<Index>,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let producer = 0..PRODUCERS;
    prop_oneof![
        2 => (1i32..4).prop_map(|records| Step::Plain { records }),
        12 => (
            producer.clone(),
            1i32..4,
            prop::bool::weighted(0.7),
            prop::bool::weighted(0.1),
            prop_oneof![9 => Just(0), 1 => -2i32..3],
            prop::bool::weighted(0.9),
        )
            .prop_map(|(producer, records, transactional, bump, gap, verified)| Step::Produce {
                producer, records, transactional, bump, gap, verified
            }),
        3 => (producer.clone(), 0usize..7).prop_map(|(producer, back)| Step::Retry { producer, back }),
        6 => (
            producer,
            any::<bool>(),
            prop_oneof![1 => -1i16..0, 6 => Just(0i16), 6 => Just(1i16)],
            1i16..3,
            prop_oneof![8 => Just(0), 1 => Just(1), 1 => Just(-1)],
        )
            .prop_map(|(producer, commit, bump, version, coordinator)| Step::End {
                producer, commit, bump, version, coordinator
            }),
        4 => (any::<Index>(), 1usize..2000)
            .prop_map(|(at, max_bytes)| Step::ReadCommitted { at, max_bytes }),
        1 => any::<Index>().prop_map(|at| Step::DeleteRecords { at }),
        1 => (0i64..3000).prop_map(|now| Step::Retain { now }),
        2 => any::<Index>().prop_map(|at| Step::Truncate { at }),
        1 => Just(Step::StartAgain),
        1 => Just(Step::Flush),
        1 => Just(Step::Checkpoint),
        2 => Just(Step::Reopen),
        3 => prop::option::of(any::<Index>()).prop_map(|tear| Step::Crash { tear }),
    ]
}

#[derive(Debug, Clone, PartialEq)]
enum Kind {
    Plain,
    Data {
        producer: i64,
        epoch: i16,
        sequence: i32,
        transactional: bool,
    },
    End(Marker),
}

#[derive(Debug, Clone, PartialEq)]
struct Entry {
    base: i64,
    records: i32,
    timestamp: i64,
    kind: Kind,
    size: u64,
}

impl Entry {
    fn end(&self) -> i64 {
        self.base + i64::from(self.records)
    }

    fn last_sequence(&self) -> i32 {
        match self.kind {
            Kind::Data { sequence, .. } => add(sequence, self.records - 1),
            _ => -1,
        }
    }
}

fn add(sequence: i32, more: i32) -> i32 {
    (i64::from(sequence) + i64::from(more)).rem_euclid(i64::from(i32::MAX) + 1) as i32
}

#[derive(Debug, Clone, Default, PartialEq)]
struct ModelProducer {
    epoch: i16,
    coordinator_epoch: i32,
    last_timestamp: i64,
    transaction: Option<i64>,
    /// The batches of the epoch, oldest first.
    batches: Vec<Entry>,
}

/// What follows from the entries.
#[derive(Debug, Default)]
struct State {
    producers: BTreeMap<i64, ModelProducer>,
    aborted: Vec<AbortedTxn>,
}

fn replay(entries: &[Entry]) -> State {
    let mut state = State::default();
    let fresh = || ModelProducer {
        coordinator_epoch: -1,
        ..ModelProducer::default()
    };
    for entry in entries {
        let (id, epoch) = match &entry.kind {
            Kind::Plain => continue,
            Kind::Data {
                producer, epoch, ..
            } => (*producer, *epoch),
            Kind::End(marker) => (marker.producer_id, marker.producer_epoch),
        };
        let producer = state.producers.entry(id).or_insert_with(fresh);
        if producer.epoch != epoch {
            producer.epoch = epoch;
            producer.batches.clear();
        }
        producer.last_timestamp = entry.timestamp;
        match &entry.kind {
            Kind::Plain => {}
            Kind::Data { transactional, .. } => {
                if *transactional && producer.transaction.is_none() {
                    producer.transaction = Some(entry.base);
                }
                producer.batches.push(entry.clone());
            }
            Kind::End(marker) => {
                producer.coordinator_epoch = marker.coordinator_epoch;
                let Some(first_offset) = producer.transaction.take() else {
                    continue;
                };
                if marker.outcome == TxnOutcome::Abort {
                    let ongoing = state.producers.values().filter_map(|p| p.transaction).min();
                    state.aborted.push(AbortedTxn {
                        producer_id: id,
                        first_offset,
                        last_offset: entry.base,
                        last_stable_offset: ongoing.unwrap_or(entry.base + 1),
                    });
                }
            }
        }
    }
    state
}

impl State {
    fn snapshots(&self) -> Vec<ProducerSnapshot> {
        self.producers
            .iter()
            .map(|(id, producer)| {
                let last = producer.batches.last();
                ProducerSnapshot {
                    producer_id: *id,
                    producer_epoch: producer.epoch,
                    last_sequence: last.map_or(-1, Entry::last_sequence),
                    last_offset: last.map_or(-1, |last| last.end() - 1),
                    last_timestamp: producer.last_timestamp,
                    coordinator_epoch: producer.coordinator_epoch,
                    current_txn_first_offset: producer.transaction,
                }
            })
            .collect()
    }
}

struct World {
    dir: PathBuf,
    manager: Option<LogManager>,
    log: Option<Arc<PartitionLog>>,
    start: i64,
    end: i64,
    entries: Vec<Entry>,
    /// Verifications under way: the epoch, and the lowest sequence.
    guards: BTreeMap<i64, (i16, i32)>,
    clock: i64,
}

fn config() -> LogConfig {
    storage_support::config(&[
        ("segment.bytes", "700"),
        ("index.interval.bytes", "150"),
        ("retention.ms", "100"),
    ])
}

impl World {
    fn new(dir: &Path) -> Self {
        let mut world = Self {
            dir: dir.to_path_buf(),
            manager: None,
            log: None,
            start: 0,
            end: 0,
            entries: Vec::new(),
            guards: BTreeMap::new(),
            clock: 1,
        };
        world.open();
        world
    }

    fn open(&mut self) {
        self.guards.clear();
        self.log = None;
        self.manager = None;
        let manager = open_with(&self.dir, &config(), |options| {
            options.max_open_files = Some(4);
        });
        self.log = Some(log_of(&manager, &config()));
        self.manager = Some(manager);
    }

    fn log(&self) -> &Arc<PartitionLog> {
        self.log.as_ref().unwrap()
    }

    fn batch(&self, entry: &Entry) -> Bytes {
        let mut builder = BatchBuilder::new(Compression::None);
        if let Kind::Data {
            producer,
            epoch,
            sequence,
            transactional,
        } = entry.kind
        {
            builder
                .producer(producer, epoch, sequence)
                .transactional(transactional);
        }
        for n in 0..entry.records {
            let value = format!("{}", entry.timestamp + i64::from(n));
            builder
                .append(entry.timestamp, None, Some(value.as_bytes()), &[])
                .unwrap();
        }
        builder.build().unwrap()
    }

    fn add(&mut self, records: i32, kind: Kind, size: usize) {
        let entry = Entry {
            base: self.end,
            records,
            timestamp: self.clock,
            kind,
            size: size as u64,
        };
        self.end = entry.end();
        self.entries.push(entry);
    }

    fn next(&self, kind: Kind, records: i32) -> Entry {
        Entry {
            base: self.end,
            records,
            timestamp: self.clock,
            kind,
            size: 0,
        }
    }

    fn plain(&mut self, records: i32) {
        let bytes = self.batch(&self.next(Kind::Plain, records));
        let info = self
            .log()
            .append(bytes, 0, AppendOrigin::Client, self.clock)
            .unwrap();
        assert_eq!(info.first_offset, self.end);
        self.add(records, Kind::Plain, info.size);
    }

    fn produce(
        &mut self,
        id: i64,
        records: i32,
        transactional: bool,
        bump: bool,
        gap: i32,
        verified: bool,
    ) {
        let state = replay(&self.entries);
        let known = state.producers.get(&id);
        let epoch = known.map_or(0, |known| known.epoch) + i16::from(bump);
        let expected = match known {
            None => None,
            Some(known) if known.epoch != epoch => Some(0),
            Some(known) => Some(
                known
                    .batches
                    .last()
                    .map_or(0, |last| add(last.last_sequence(), 1)),
            ),
        };
        let sequence = add(expected.unwrap_or(FIRST_SEQUENCE), gap);
        let entry = self.next(
            Kind::Data {
                producer: id,
                epoch,
                sequence,
                transactional,
            },
            records,
        );
        let ongoing = known.and_then(|known| known.transaction);
        let goes_on = ongoing.is_some() && known.is_some_and(|known| known.epoch == epoch);
        let verification = if transactional && verified {
            let guard = self
                .log()
                .start_verification(id, epoch, sequence, false, self.clock)
                .unwrap();
            assert_eq!(guard.is_none(), goes_on);
            if guard.is_some() {
                let (newest, lowest) = self.guards.entry(id).or_insert((epoch, sequence));
                if epoch > *newest {
                    (*newest, *lowest) = (epoch, sequence);
                } else if epoch == *newest {
                    *lowest = sequence.min(*lowest);
                }
            }
            Verification::Required(guard)
        } else {
            Verification::Required(None)
        };
        let waits = self.guards.get(&id).is_some_and(|g| sequence > g.1);
        let bytes = self.batch(&entry);
        let result =
            self.log()
                .append_verified(bytes, 0, AppendOrigin::Client, self.clock, verification);
        let duplicate = known
            .filter(|known| known.epoch == epoch)
            .and_then(|known| {
                let remembered = known.batches.iter().rev().take(5);
                remembered.into_iter().find(|batch| {
                    matches!(batch.kind, Kind::Data { sequence: s, .. } if s == sequence)
                        && batch.records == records
                })
            });
        if let Some(duplicate) = duplicate {
            let info = result.unwrap();
            assert!(info.duplicate);
            assert_eq!(info.first_offset, duplicate.base);
        } else if transactional && !verified && !goes_on {
            assert!(matches!(
                result,
                Err(AppendError::TransactionNotVerified { .. })
            ));
        } else if !transactional && ongoing.is_some() {
            assert!(matches!(
                result,
                Err(AppendError::TransactionOngoing { .. })
            ));
        } else if waits || expected.is_some_and(|expected| expected != sequence) {
            assert!(
                matches!(result, Err(AppendError::OutOfOrderSequence { .. })),
                "{result:?}"
            );
        } else {
            let info = result.unwrap();
            assert!(!info.duplicate);
            assert_eq!(info.first_offset, self.end);
            if transactional {
                self.guards.remove(&id);
            }
            self.add(records, entry.kind, info.size);
        }
    }

    fn retry(&mut self, id: i64, back: usize) {
        let state = replay(&self.entries);
        let Some(known) = state.producers.get(&id) else {
            return;
        };
        let Some(entry) = known.batches.iter().rev().nth(back) else {
            return;
        };
        let bytes = self.batch(entry);
        let result = self
            .log()
            .append(bytes, 0, AppendOrigin::Client, self.clock);
        if back < 5 {
            let info = result.unwrap();
            assert!(info.duplicate && info.size == 0);
            assert_eq!(
                (info.first_offset, info.last_offset + 1),
                (entry.base, entry.end())
            );
        } else {
            result.unwrap_err();
        }
    }

    fn end_transaction(
        &mut self,
        id: i64,
        commit: bool,
        bump: i16,
        version: i16,
        coordinator: i32,
    ) {
        let state = replay(&self.entries);
        let known = state.producers.get(&id);
        let epoch = known.map_or(0, |known| known.epoch);
        let newest = known.map_or(-1, |known| known.coordinator_epoch);
        let marker = Marker {
            producer_id: id,
            producer_epoch: epoch + bump,
            coordinator_epoch: newest.max(0) + coordinator,
            outcome: if commit {
                TxnOutcome::Commit
            } else {
                TxnOutcome::Abort
            },
        };
        let result = self.log().append_marker(marker, version, 0, self.clock);
        if marker.producer_epoch < 0 {
            result.unwrap_err();
            return;
        }
        let ongoing = known.is_some_and(|known| known.transaction.is_some());
        let fenced = known.is_some() && (bump < 0 || (version >= 2 && bump == 0 && ongoing));
        if fenced {
            assert!(matches!(
                result,
                Err(AppendError::InvalidProducerEpoch { .. })
            ));
        } else if known.is_some() && marker.coordinator_epoch < newest {
            assert!(matches!(result, Err(AppendError::CoordinatorFenced { .. })));
        } else {
            let info = result.unwrap();
            assert!(info.marker);
            self.guards.remove(&id);
            assert_eq!(info.first_offset, self.end);
            self.add(1, Kind::End(marker), info.size);
        }
    }

    fn stable(&self, state: &State) -> i64 {
        let ongoing = state.producers.values().filter_map(|p| p.transaction).min();
        ongoing.map_or(self.end, |first| first.clamp(self.start, self.end))
    }

    /// A read of committed records, held against the model; the offsets that a consumer keeps.
    fn read_committed(
        &self,
        state: &State,
        offset: i64,
        max_bytes: usize,
    ) -> (FetchData, Vec<i64>) {
        let data = self
            .log()
            .read(offset, max_bytes, true, FetchIsolation::TxnCommitted)
            .unwrap();
        assert!(data.next_offset <= self.stable(state).max(offset));
        let expected: Vec<_> = state
            .aborted
            .iter()
            .filter(|a| a.last_offset >= offset && a.first_offset < data.next_offset)
            .copied()
            .collect();
        if data.next_offset > offset {
            assert_eq!(data.aborted, expected);
        } else {
            assert!(data.aborted.is_empty());
        }
        // As a consumer does it.
        let mut waiting: Vec<_> = data.aborted.clone();
        waiting.sort_by_key(|aborted| std::cmp::Reverse(aborted.first_offset));
        let mut aborted = BTreeSet::new();
        let mut kept = Vec::new();
        for batch in batches(data.records.clone()) {
            let batch = batch.unwrap();
            while let Some(next) = waiting.last()
                && next.first_offset <= batch.last_offset()
            {
                aborted.insert(next.producer_id);
                waiting.pop();
            }
            if batch.is_control() {
                aborted.remove(&batch.producer_id);
            } else if !(batch.is_transactional() && aborted.contains(&batch.producer_id)) {
                let records = batch
                    .records()
                    .unwrap()
                    .map(|record| record.unwrap().offset);
                kept.extend(records.filter(|at| *at >= offset));
            }
        }
        (data, kept)
    }

    /// The offsets of the records that a consumer of committed records is shown.
    fn committed(&self, state: &State) -> Vec<i64> {
        let stable = self.stable(state);
        let aborted = |entry: &Entry| match entry.kind {
            Kind::Data {
                producer,
                transactional: true,
                ..
            } => state.aborted.iter().any(|a| {
                a.producer_id == producer
                    && a.first_offset <= entry.base
                    && entry.base < a.last_offset
            }),
            _ => false,
        };
        self.entries
            .iter()
            .filter(|entry| !matches!(entry.kind, Kind::End(_)) && !aborted(entry))
            // Whole batches only.
            .filter(|entry| entry.end() <= stable)
            .flat_map(|entry| entry.base..entry.end())
            .filter(|offset| *offset >= self.start)
            .collect()
    }

    fn check(&self) {
        let state = replay(&self.entries);
        let position = self.log().position();
        assert_eq!(position.log_start_offset, self.start, "log start");
        assert_eq!(position.log_end_offset, self.end, "log end");
        assert_eq!(position.last_stable_offset, self.stable(&state), "stable");
        assert_eq!(self.log().producers(), state.snapshots());
        for (id, producer) in &state.producers {
            let found = self.log().transaction_state(*id, producer.epoch);
            assert_eq!(found.map(|t| t.first_offset), producer.transaction);
        }
    }

    fn check_reads(&self) {
        let state = replay(&self.entries);
        let mut offset = self.start;
        let mut kept = Vec::new();
        loop {
            let (data, more) = self.read_committed(&state, offset, 250);
            kept.extend(more);
            if data.next_offset == offset {
                break;
            }
            offset = data.next_offset;
        }
        assert_eq!(kept, self.committed(&state));
    }

    fn offset(&self, at: Index) -> i64 {
        self.start + at.index((self.end - self.start + 1) as usize) as i64
    }

    fn truncated(&mut self, end: i64) {
        let straddles = |entry: &Entry| entry.base < end && entry.end() > end;
        if self.entries.iter().any(straddles) {
            self.restarted(end);
        } else {
            self.entries.retain(|entry| entry.end() <= end);
            self.end = end;
            self.start = self.start.min(end);
        }
    }

    fn restarted(&mut self, offset: i64) {
        self.entries.clear();
        self.guards.clear();
        (self.start, self.end) = (offset, offset);
    }

    fn run(&mut self, step: &Step) {
        self.clock += 1;
        match step.clone() {
            Step::Plain { records } => self.plain(records),
            Step::Produce {
                producer,
                records,
                transactional,
                bump,
                gap,
                verified,
            } => self.produce(producer, records, transactional, bump, gap, verified),
            Step::Retry { producer, back } => self.retry(producer, back),
            Step::End {
                producer,
                commit,
                bump,
                version,
                coordinator,
            } => self.end_transaction(producer, commit, bump, version, coordinator),
            Step::ReadCommitted { at, max_bytes } => {
                let state = replay(&self.entries);
                self.read_committed(&state, self.offset(at), max_bytes);
            }
            Step::DeleteRecords { at } => {
                let offset = self.offset(at);
                self.log().delete_records(offset).unwrap();
                self.start = self.start.max(offset);
            }
            Step::Retain { now } => {
                self.log().apply_retention(now).unwrap();
                let start = self.log().log_start_offset();
                assert!(start >= self.start && start <= self.end);
                self.start = start;
            }
            Step::Truncate { at } => {
                let offset = self.offset(at);
                if offset < self.end {
                    self.guards.clear();
                }
                self.log().truncate_to(offset).unwrap();
                let end = self.log().log_end_offset();
                self.truncated(end);
            }
            Step::StartAgain => {
                let offset = self.end + 3;
                self.log().truncate_fully_and_start_at(offset).unwrap();
                self.restarted(offset);
            }
            Step::Flush => self.log().flush().unwrap(),
            Step::Checkpoint => {
                self.log().flush().unwrap();
                self.manager.as_ref().unwrap().checkpoint().unwrap();
            }
            Step::Reopen => {
                self.manager.as_ref().unwrap().close().unwrap();
                self.open();
            }
            Step::Crash { tear } => self.crash(tear),
        }
    }

    fn crash(&mut self, tear: Option<Index>) {
        let flushed = self.log().flushed_offset();
        self.log = None;
        self.manager = None;
        if let Some(tear) = tear {
            let (base, last, len) = last_segment(&self.dir);
            let safe: u64 = self
                .entries
                .iter()
                .filter(|entry| entry.base >= base && entry.end() <= flushed)
                .map(|entry| entry.size)
                .sum();
            cut_file(&last, safe + tear.index((len - safe + 1) as usize) as u64);
        }
        self.open();
        let (start, end) = (self.log().log_start_offset(), self.log().log_end_offset());
        assert!(end >= flushed);
        self.truncated(end);
        if self.end == self.start && start == end {
            return;
        }
        // Records that were deleted may be back, until the checkpoint.
        self.log()
            .delete_records(self.start.clamp(start, end))
            .unwrap();
        self.start = self.log().log_start_offset();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { max_shrink_iters: 3000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn transactions_are_what_the_model_says(steps in prop::collection::vec(step(), 1..80)) {
        let dir = scratch();
        let mut world = World::new(dir.path());
        for step in &steps {
            world.run(step);
            world.check();
        }
        world.check_reads();
        world.run(&Step::Reopen);
        world.check();
        world.check_reads();
        world.run(&Step::Crash { tear: None });
        world.check();
        world.check_reads();
    }
}
