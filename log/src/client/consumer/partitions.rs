//! Where a consumer stands in each of its partitions.
//!
//! A plain state machine without I/O. Invariants: a position moves only by what `poll`
//! returned, by a seek, or by a lookup that found the partition still without one; what
//! was fetched for another position is dropped, never returned.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;
use std::time::Instant;

use bytes::{Buf, Bytes};

use super::records::PartitionRecords;
use crate::client::{ClientError, IsolationLevel, OffsetAndMetadata, OffsetSpec, TopicPartition};
use crate::record::{RecordBatch, batches};

/// The next offset to read, and the leader epoch of what was read before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Position {
    pub(super) offset: i64,
    pub(super) epoch: Option<i32>,
}

/// Where reading begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Start {
    /// At the committed offset, or where `auto.offset.reset` says.
    Committed,
    /// Where this says.
    Spec(OffsetSpec),
    /// Here.
    At(Position),
}

/// An answer to a fetch that waits for `poll`.
#[derive(Debug)]
pub(super) struct Fetched {
    /// The position from which it was fetched.
    pub(super) from: i64,
    pub(super) bytes: Bytes,
    /// Producers with the first offsets of their aborted transactions.
    pub(super) aborted: Vec<(i64, i64)>,
}

/// One assigned partition.
#[derive(Debug)]
pub(super) struct Partition {
    pub(super) start: Start,
    pub(super) paused: bool,
    /// Its end is announced: nothing more is fetched or returned.
    pub(super) revoking: bool,
    pub(super) fetched: Option<Fetched>,
    /// Nothing is fetched before.
    pub(super) not_before: Option<Instant>,
    /// The leader epoch in whose log the position is known to lie; -1 if none is.
    pub(super) valid_in: i32,
    /// A follower to read from, as the leader advises, and how long that holds.
    pub(super) preferred: Option<(i32, Instant)>,
    pub(super) high_watermark: i64,
    pub(super) last_stable_offset: i64,
    pub(super) log_start_offset: i64,
}

impl Partition {
    fn new(start: Start) -> Self {
        Self {
            start,
            paused: false,
            revoking: false,
            fetched: None,
            not_before: None,
            valid_in: -1,
            preferred: None,
            high_watermark: -1,
            last_stable_offset: -1,
            log_start_offset: -1,
        }
    }

    pub(super) fn position(&self) -> Option<Position> {
        match self.start {
            Start::At(position) => Some(position),
            Start::Committed | Start::Spec(_) => None,
        }
    }

    /// Goes on elsewhere; what was fetched is dropped.
    pub(super) fn restart(&mut self, start: Start) {
        self.start = start;
        self.fetched = None;
        self.not_before = None;
        self.valid_in = -1;
    }

    /// Whether the position must be looked for in the log of the leader of this epoch
    /// before anything is fetched from there; returns the epoch of the last record read.
    pub(super) fn doubtful(&mut self, leader_epoch: i32) -> Option<i32> {
        if leader_epoch <= self.valid_in {
            return None;
        }
        let read = self.position().and_then(|position| position.epoch);
        match read.filter(|read| *read < leader_epoch) {
            Some(read) => Some(read),
            // Nothing is known of what was read, or it was read from this leader.
            None => {
                self.valid_in = leader_epoch;
                None
            }
        }
    }

    pub(super) fn wants_fetch(&self, now: Instant) -> Option<Position> {
        let waits = self.paused
            || self.revoking
            || self.fetched.is_some()
            || self.not_before.is_some_and(|t| t > now);
        self.position().filter(|_| !waits)
    }
}

/// All assigned partitions.
#[derive(Debug, Default)]
pub(super) struct Partitions {
    map: BTreeMap<TopicPartition, Partition>,
}

impl Partitions {
    pub(super) fn get(&self, partition: &TopicPartition) -> Option<&Partition> {
        self.map.get(partition)
    }

    pub(super) fn get_mut(&mut self, partition: &TopicPartition) -> Option<&mut Partition> {
        self.map.get_mut(partition)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&TopicPartition, &Partition)> {
        self.map.iter()
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (&TopicPartition, &mut Partition)> {
        self.map.iter_mut()
    }

    pub(super) fn names(&self) -> BTreeSet<TopicPartition> {
        self.map.keys().cloned().collect()
    }

    pub(super) fn topics(&self) -> Vec<Arc<str>> {
        let mut topics: Vec<Arc<str>> = self.map.keys().map(|p| p.topic.clone()).collect();
        topics.dedup();
        topics
    }

    pub(super) fn clear(&mut self) {
        self.map.clear();
    }

    /// Adds partitions; those that are here already keep their state.
    pub(super) fn add(&mut self, partitions: &[TopicPartition]) {
        for partition in partitions {
            self.map
                .entry(partition.clone())
                .or_insert_with(|| Partition::new(Start::Committed))
                .revoking = false;
        }
    }

    pub(super) fn remove(&mut self, partitions: &[TopicPartition]) {
        for partition in partitions {
            self.map.remove(partition);
        }
    }

    /// Keeps only those; the others are gone.
    pub(super) fn retain(&mut self, keep: &BTreeSet<TopicPartition>) {
        self.map.retain(|partition, _| keep.contains(partition));
    }

    pub(super) fn announce_end(&mut self, partitions: &[TopicPartition]) {
        for partition in partitions {
            if let Some(state) = self.map.get_mut(partition) {
                state.revoking = true;
            }
        }
    }

    /// The positions, as a commit wants them.
    pub(super) fn positions(&self) -> BTreeMap<TopicPartition, OffsetAndMetadata> {
        self.map
            .iter()
            .filter_map(|(partition, state)| {
                let position = state.position()?;
                let offset = OffsetAndMetadata {
                    offset: position.offset,
                    leader_epoch: position.epoch,
                    metadata: String::new(),
                };
                Some((partition.clone(), offset))
            })
            .collect()
    }

    /// Whether something fetched could be returned.
    pub(super) fn has_records(&self) -> bool {
        self.map
            .values()
            .any(|s| s.fetched.is_some() && !s.paused && !s.revoking)
    }

    /// Takes what was fetched and moves the positions past it. A damaged partition is an
    /// error and stays where it is; the others are returned by the next call.
    pub(super) fn take_records(
        &mut self,
        isolation: IsolationLevel,
        control: bool,
    ) -> Result<Vec<PartitionRecords>, ClientError> {
        let mut all = Vec::new();
        for (partition, state) in &mut self.map {
            if state.paused || state.revoking {
                continue;
            }
            let Some(position) = state.position() else {
                continue;
            };
            let Some(fetched) = state.fetched.take() else {
                continue;
            };
            if fetched.from != position.offset {
                continue;
            }
            let records = match open(partition, position, fetched, isolation, control) {
                Ok(opened) => PartitionRecords {
                    topic_partition: partition.clone(),
                    high_watermark: state.high_watermark,
                    last_stable_offset: state.last_stable_offset,
                    log_start_offset: state.log_start_offset,
                    leader_epoch: opened.epoch,
                    start_offset: position.offset,
                    next_offset: opened.next,
                    batches: opened.batches,
                },
                Err(error) if all.is_empty() => return Err(error),
                // What is good is returned first; the damage is found again.
                Err(_) => continue,
            };
            if records.next_offset == position.offset {
                continue;
            }
            state.start = Start::At(Position {
                offset: records.next_offset,
                epoch: records.leader_epoch.or(position.epoch),
            });
            all.push(records);
        }
        Ok(all)
    }
}

struct Opened {
    batches: Vec<RecordBatch>,
    next: i64,
    epoch: Option<i32>,
}

/// Splits fetched bytes into batches, whose checksums are verified, and leaves out those that hold nothing for the
/// reader: before the position, aborted transactions, and control batches but where they are
/// asked for.
fn open(
    partition: &TopicPartition,
    position: Position,
    fetched: Fetched,
    isolation: IsolationLevel,
    control: bool,
) -> Result<Opened, ClientError> {
    let mut opened = Opened {
        batches: Vec::new(),
        next: position.offset,
        epoch: None,
    };
    let damaged = |offset: i64, source| ClientError::Records {
        partition: partition.clone(),
        offset,
        source: Arc::new(source),
    };
    let filter = isolation == IsolationLevel::ReadCommitted;
    let mut beginning = fetched.aborted;
    beginning.sort_by_key(|(_, first)| std::cmp::Reverse(*first));
    let mut aborted: HashSet<i64> = HashSet::new();
    for batch in batches(fetched.bytes) {
        // Here and not while reading, so that the position stays before the damage.
        let batch = match batch.and_then(|batch| batch.verify().map(|()| batch)) {
            Ok(batch) => batch,
            // What came before the damage is returned first.
            Err(_) if opened.next > position.offset => break,
            Err(error) => return Err(damaged(opened.next, error)),
        };
        let last = batch.last_offset();
        while let Some((producer, _)) = beginning.pop_if(|(_, first)| *first <= last) {
            aborted.insert(producer);
        }
        if last < position.offset {
            continue;
        }
        opened.next = batch.next_offset();
        opened.epoch = Some(batch.partition_leader_epoch).filter(|e| *e >= 0);
        if batch.is_control() {
            if filter && is_abort(&batch) {
                aborted.remove(&batch.producer_id);
            }
            if control {
                opened.batches.push(batch);
            }
            continue;
        }
        if filter && batch.is_transactional() && aborted.contains(&batch.producer_id) {
            continue;
        }
        opened.batches.push(batch);
    }
    Ok(opened)
}

/// Whether a control batch ends a transaction by an abort: its key is a version and a
/// type, and type 0 is the abort.
fn is_abort(batch: &RecordBatch) -> bool {
    let key = batch
        .records()
        .ok()
        .and_then(|mut records| records.next())
        .and_then(Result::ok)
        .and_then(|record| record.key);
    key.is_some_and(|mut key| key.try_get_i16().is_ok() && matches!(key.try_get_i16(), Ok(0)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{BatchBuilder, Compression};

    struct Log {
        bytes: Vec<u8>,
        end: i64,
    }

    impl Log {
        fn batch(&mut self, producer: i64, values: &[&str]) {
            let mut builder = BatchBuilder::new(Compression::None);
            builder
                .base_offset(self.end)
                .partition_leader_epoch(0)
                .producer(producer, 0, 0)
                .transactional(producer >= 0);
            for value in values {
                builder
                    .append(0, None, Some(value.as_bytes()), &[])
                    .unwrap();
                self.end += 1;
            }
            self.bytes.extend_from_slice(&builder.build().unwrap());
        }

        fn marker(&mut self, producer: i64, commit: bool) {
            let mut builder = BatchBuilder::new(Compression::None);
            builder
                .base_offset(self.end)
                .producer(producer, 0, -1)
                .transactional(true)
                .control(true);
            let key = [0, 0, 0, u8::from(commit)];
            builder.append(0, Some(&key), Some(&[0; 6]), &[]).unwrap();
            self.end += 1;
            self.bytes.extend_from_slice(&builder.build().unwrap());
        }
    }

    fn read(
        log: &Log,
        from: i64,
        aborted: &[(i64, i64)],
        isolation: IsolationLevel,
    ) -> (Vec<String>, i64) {
        let name = TopicPartition::new("t", 0);
        let mut partitions = Partitions::default();
        partitions.add(std::slice::from_ref(&name));
        let state = partitions.get_mut(&name).unwrap();
        state.restart(Start::At(Position {
            offset: from,
            epoch: None,
        }));
        state.fetched = Some(Fetched {
            from,
            bytes: Bytes::copy_from_slice(&log.bytes),
            aborted: aborted.to_vec(),
        });
        let records = partitions.take_records(isolation, false).unwrap();
        let values = records
            .into_iter()
            .flatten()
            .map(|r| String::from_utf8(r.unwrap().value.unwrap().to_vec()).unwrap())
            .collect();
        (
            values,
            partitions.get(&name).unwrap().position().unwrap().offset,
        )
    }

    #[test]
    fn aborted_transactions_are_left_out_for_committed_readers_only() {
        let mut log = Log {
            bytes: Vec::new(),
            end: 0,
        };
        log.batch(1, &["a0"]);
        log.batch(2, &["b0"]);
        log.batch(-1, &["plain"]);
        log.marker(1, false);
        log.batch(1, &["a1"]);
        log.marker(2, true);
        log.marker(1, true);
        let (values, end) = read(&log, 0, &[(1, 0)], IsolationLevel::ReadCommitted);
        assert_eq!(values, ["b0", "plain", "a1"]);
        assert_eq!(end, log.end);
        let (values, _) = read(&log, 0, &[], IsolationLevel::ReadUncommitted);
        assert_eq!(values, ["a0", "b0", "plain", "a1"]);
    }

    #[test]
    fn only_control_batches_move_the_position_without_records() {
        let mut log = Log {
            bytes: Vec::new(),
            end: 5,
        };
        log.marker(1, true);
        let (values, end) = read(&log, 5, &[], IsolationLevel::ReadUncommitted);
        assert!(values.is_empty());
        assert_eq!(end, 6);
    }

    #[test]
    fn control_batches_are_handed_out_where_they_are_asked_for() {
        let mut log = Log {
            bytes: Vec::new(),
            end: 0,
        };
        log.batch(1, &["a"]);
        log.marker(1, false);
        let name = TopicPartition::new("t", 0);
        let mut partitions = Partitions::default();
        partitions.add(std::slice::from_ref(&name));
        let state = partitions.get_mut(&name).unwrap();
        state.restart(Start::At(Position {
            offset: 0,
            epoch: None,
        }));
        state.fetched = Some(Fetched {
            from: 0,
            bytes: log.bytes.into(),
            aborted: vec![(1, 0)],
        });
        let isolation = IsolationLevel::ReadCommitted;
        let records = partitions.take_records(isolation, true).unwrap();
        let batches: Vec<bool> = records[0].batches.iter().map(|b| b.is_control()).collect();
        assert_eq!(batches, [true], "the aborted batch stays left out");
    }

    #[test]
    fn a_batch_that_is_cut_short_is_left_for_the_next_fetch() {
        let mut log = Log {
            bytes: Vec::new(),
            end: 0,
        };
        log.batch(-1, &["a", "b"]);
        let whole = log.bytes.len();
        log.batch(-1, &["c"]);
        log.bytes.truncate(whole + 30);
        let (values, end) = read(&log, 1, &[], IsolationLevel::ReadUncommitted);
        assert_eq!(values, ["b"]);
        assert_eq!(end, 2);
    }

    #[test]
    fn damage_is_told_with_its_place_and_never_passed_over() {
        let mut log = Log {
            bytes: Vec::new(),
            end: 0,
        };
        log.batch(-1, &["a"]);
        let good = log.bytes.len();
        log.batch(-1, &["b"]);
        log.batch(-1, &["c"]);
        log.bytes[good + 65] ^= 1;
        // What is good before it comes first.
        let (values, end) = read(&log, 0, &[], IsolationLevel::ReadUncommitted);
        assert_eq!((values, end), (vec!["a".to_owned()], 1));
        let name = TopicPartition::new("t", 0);
        let mut partitions = Partitions::default();
        partitions.add(std::slice::from_ref(&name));
        for _ in 0..2 {
            let state = partitions.get_mut(&name).unwrap();
            state.restart(Start::At(Position {
                offset: 1,
                epoch: None,
            }));
            state.fetched = Some(Fetched {
                from: 1,
                bytes: Bytes::copy_from_slice(&log.bytes[good..]),
                aborted: Vec::new(),
            });
            let error = partitions
                .take_records(IsolationLevel::ReadUncommitted, false)
                .unwrap_err();
            assert!(error.to_string().contains("t-0 at offset 1"), "{error}");
            assert_eq!(partitions.get(&name).unwrap().position().unwrap().offset, 1);
        }
    }

    #[test]
    fn what_was_fetched_for_another_position_is_never_returned() {
        let name = TopicPartition::new("t", 0);
        let mut partitions = Partitions::default();
        partitions.add(std::slice::from_ref(&name));
        let mut log = Log {
            bytes: Vec::new(),
            end: 0,
        };
        log.batch(-1, &["a"]);
        let state = partitions.get_mut(&name).unwrap();
        state.restart(Start::At(Position {
            offset: 7,
            epoch: None,
        }));
        state.fetched = Some(Fetched {
            from: 0,
            bytes: log.bytes.into(),
            aborted: Vec::new(),
        });
        let records = partitions.take_records(IsolationLevel::ReadUncommitted, false);
        assert!(records.unwrap().is_empty());
    }
}
