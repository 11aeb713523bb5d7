//! Compaction against a model that keeps every record, whatever is done in whatever order: who reads
//! the log by key finds what it would find in the log that was never compacted.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;
use thalweg_log::record::{BatchBuilder, Compression, batches};
use thalweg_log::storage::{
    AppendOrigin, FetchIsolation, LogConfig, LogManager, Marker, PartitionLog, TxnOutcome,
    Verification,
};

mod storage_support;
use storage_support::{TOPIC_ID, cut_file, last_segment, open_with, scratch};

const DELETE_RETENTION: i64 = 500;
/// The producer that is idempotent without transactions.
const IDEMPOTENT: i64 = 50;

#[derive(Debug, Clone)]
enum Step {
    Append {
        records: Vec<(u8, bool)>,
        idempotent: bool,
        codec: bool,
    },
    /// The last idempotent batch once more.
    Retry,
    Transactional {
        producer: i64,
        records: Vec<(u8, bool)>,
    },
    End {
        producer: i64,
        commit: bool,
    },
    Wait(i64),
    Compact,
    DeleteRecords(prop::sample::Index),
    Retain,
    Truncate(prop::sample::Index),
    Flush,
    Checkpoint,
    Reopen,
    /// The process is killed; of what is not fsynced the last segment may be torn.
    Crash(Option<prop::sample::Index>),
}

fn records() -> impl Strategy<Value = Vec<(u8, bool)>> {
    prop::collection::vec((0u8..6, prop::bool::weighted(0.75)), 1..4)
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        14 => (records(), any::<bool>(), any::<bool>())
            .prop_map(|(records, idempotent, codec)| Step::Append { records, idempotent, codec }),
        2 => Just(Step::Retry),
        8 => (1i64..4, records())
            .prop_map(|(producer, records)| Step::Transactional { producer, records }),
        6 => (1i64..4, any::<bool>())
            .prop_map(|(producer, commit)| Step::End { producer, commit }),
        3 => (1i64..600).prop_map(Step::Wait),
        8 => Just(Step::Compact),
        1 => any::<prop::sample::Index>().prop_map(Step::DeleteRecords),
        1 => Just(Step::Retain),
        1 => any::<prop::sample::Index>().prop_map(Step::Truncate),
        1 => Just(Step::Flush),
        1 => Just(Step::Checkpoint),
        2 => Just(Step::Reopen),
        2 => prop::option::of(any::<prop::sample::Index>()).prop_map(Step::Crash),
    ]
}

#[derive(Debug, Clone, PartialEq)]
struct ModelRecord {
    key: u8,
    value: Option<Bytes>,
    timestamp: i64,
    /// A tombstone was compacted for the first time then.
    cleaned_at: Option<i64>,
}

#[derive(Debug, Clone)]
struct ModelBatch {
    base: i64,
    producer: Option<i64>,
    sequence: i32,
    size: u64,
    records: Vec<ModelRecord>,
    marker: Option<bool>,
}

impl ModelBatch {
    fn end(&self) -> i64 {
        self.base + (self.records.len() as i64).max(i64::from(self.marker.is_some()))
    }
}

struct World {
    dir: PathBuf,
    config: LogConfig,
    manager: Option<LogManager>,
    log: Option<Arc<PartitionLog>>,
    now: i64,
    start: i64,
    end: i64,
    batches: Vec<ModelBatch>,
    /// Nothing below may be cut off: compaction went by it.
    clean_to: i64,
    made: u64,
    /// Everything below was on disk once, whatever the log knows of it after a restart.
    flushed: i64,
}

impl World {
    fn new(dir: &Path, lag: bool, both: bool) -> Self {
        let config = LogConfig::default()
            .with([
                (
                    "cleanup.policy",
                    if both { "compact,delete" } else { "compact" },
                ),
                ("segment.bytes", "600"),
                ("index.interval.bytes", "150"),
                ("min.cleanable.dirty.ratio", "0"),
                ("min.compaction.lag.ms", if lag { "100" } else { "0" }),
                ("delete.retention.ms", &DELETE_RETENTION.to_string()),
                ("retention.ms", "3000"),
                ("max.message.bytes", "550"),
            ])
            .unwrap();
        let mut world = Self {
            dir: dir.to_path_buf(),
            config,
            manager: None,
            log: None,
            now: 10_000,
            start: 0,
            end: 0,
            batches: Vec::new(),
            clean_to: 0,
            made: 0,
            flushed: 0,
        };
        world.open();
        world
    }

    fn open(&mut self) {
        self.log = None;
        self.manager = None;
        // What a topic's settings are is only known once its log is open.
        let manager = open_with(&self.dir, &LogConfig::default(), |options| {
            options.max_open_files = Some(4);
        });
        let config = self.config.clone();
        let log = manager
            .get_or_create("t", 0, TOPIC_ID, config.clone(), self.now)
            .unwrap();
        log.update_config(config);
        self.log = Some(log);
        self.manager = Some(manager);
    }

    fn log(&self) -> &Arc<PartitionLog> {
        self.log.as_ref().unwrap()
    }

    fn manager(&self) -> &LogManager {
        self.manager.as_ref().unwrap()
    }

    fn next_sequence(&self, producer: i64) -> i32 {
        let last = self
            .batches
            .iter()
            .rev()
            .find(|batch| batch.producer == Some(producer) && batch.marker.is_none());
        last.map_or(0, |batch| batch.sequence + batch.records.len() as i32)
    }

    fn bytes(batch: &ModelBatch, codec: Compression) -> Bytes {
        let mut builder = BatchBuilder::new(codec);
        if let Some(producer) = batch.producer {
            builder
                .producer(producer, 0, batch.sequence)
                .transactional(producer != IDEMPOTENT);
        }
        for record in &batch.records {
            builder
                .append(
                    record.timestamp,
                    Some(&[record.key]),
                    record.value.as_deref(),
                    &[],
                )
                .unwrap();
        }
        builder.build().unwrap()
    }

    fn append(&mut self, records: &[(u8, bool)], producer: Option<i64>, codec: Compression) {
        let records: Vec<_> = records
            .iter()
            .map(|(key, has_value)| {
                self.made += 1;
                ModelRecord {
                    key: *key,
                    value: has_value.then(|| Bytes::from(format!("value {:>24}", self.made))),
                    timestamp: self.now,
                    cleaned_at: None,
                }
            })
            .collect();
        let mut batch = ModelBatch {
            base: self.end,
            producer,
            sequence: producer.map_or(-1, |producer| self.next_sequence(producer)),
            size: 0,
            records,
            marker: None,
        };
        let bytes = Self::bytes(&batch, codec);
        batch.size = bytes.len() as u64;
        let info = self
            .log()
            .append_verified(bytes, 0, AppendOrigin::Client, self.now, Verification::Off)
            .unwrap();
        assert!(!info.duplicate);
        assert_eq!(
            (info.first_offset, info.last_offset + 1),
            (self.end, batch.end()),
            "offsets are given once"
        );
        self.end = batch.end();
        self.batches.push(batch);
    }

    fn retry(&self) {
        let last = self
            .batches
            .iter()
            .rev()
            .find(|batch| batch.producer == Some(IDEMPOTENT));
        let Some(last) = last else { return };
        let bytes = Self::bytes(last, Compression::None);
        let info = self
            .log()
            .append(bytes, 0, AppendOrigin::Client, self.now)
            .unwrap();
        assert!(info.duplicate, "the last batch of a producer is forgotten");
        assert_eq!(info.first_offset, last.base);
    }

    fn end_transaction(&mut self, producer: i64, commit: bool) {
        let outcome = if commit {
            TxnOutcome::Commit
        } else {
            TxnOutcome::Abort
        };
        let marker = Marker {
            producer_id: producer,
            producer_epoch: 0,
            coordinator_epoch: 0,
            outcome,
        };
        let info = self.log().append_marker(marker, 1, 0, self.now).unwrap();
        assert_eq!(info.first_offset, self.end);
        self.batches.push(ModelBatch {
            base: self.end,
            producer: Some(producer),
            sequence: -1,
            size: info.size as u64,
            records: Vec::new(),
            marker: Some(commit),
        });
        self.end += 1;
    }

    /// How the transaction of a batch ended; `None` while it has not. Other batches count at once.
    fn outcome(&self, at: usize) -> Option<bool> {
        let batch = &self.batches[at];
        match batch.producer {
            Some(producer) if producer != IDEMPOTENT => self.batches[at..]
                .iter()
                .filter(|later| later.producer == Some(producer))
                .find_map(|later| later.marker),
            _ => Some(true),
        }
    }

    /// The first offset of a transaction that has not ended.
    fn last_stable(&self) -> i64 {
        (0..self.batches.len())
            .find(|at| self.outcome(*at).is_none())
            .map_or(self.end, |at| self.batches[at].base)
    }

    /// What a reader of the uncompacted log finds of each key.
    fn expected(&self) -> BTreeMap<u8, Bytes> {
        let stable = self.last_stable();
        let mut found = BTreeMap::new();
        for (at, batch) in self.batches.iter().enumerate() {
            if batch.end() <= stable && self.outcome(at) == Some(true) {
                for (offset, record) in (batch.base..).zip(&batch.records) {
                    if offset >= self.start {
                        fold(&mut found, record.key, record.value.clone());
                    }
                }
            }
        }
        found
    }

    /// What a reader of committed records finds of each key, checking every record it is shown.
    fn found(&self) -> BTreeMap<u8, Bytes> {
        let known: BTreeMap<i64, &ModelRecord> = self
            .batches
            .iter()
            .flat_map(|batch| (batch.base..).zip(&batch.records))
            .collect();
        let mut found = BTreeMap::new();
        let mut offset = self.start;
        loop {
            let data = self
                .log()
                .read(offset, 400, true, FetchIsolation::TxnCommitted)
                .unwrap();
            if data.records.is_empty() {
                return found;
            }
            assert!(data.next_offset > offset);
            let mut aborted: BTreeSet<i64> = BTreeSet::new();
            for batch in batches(data.records.clone()) {
                let batch = batch.unwrap();
                batch.verify().unwrap();
                for txn in &data.aborted {
                    if txn.first_offset <= batch.last_offset()
                        && txn.last_offset > batch.last_offset()
                    {
                        aborted.insert(txn.producer_id);
                    }
                }
                if batch.is_control() {
                    aborted.remove(&batch.producer_id);
                    continue;
                }
                if batch.is_transactional() && aborted.contains(&batch.producer_id) {
                    continue;
                }
                for record in batch.records().unwrap() {
                    let record = record.unwrap();
                    let model = known[&record.offset];
                    assert_eq!(
                        (record.key.as_deref(), &record.value, record.timestamp),
                        (Some(&[model.key][..]), &model.value, model.timestamp),
                        "the record at {}",
                        record.offset
                    );
                    if record.offset >= self.start {
                        fold(&mut found, model.key, record.value);
                    }
                }
            }
            offset = data.next_offset;
        }
    }

    /// The offsets of all records that are left.
    fn left(&self) -> BTreeSet<i64> {
        let mut left = BTreeSet::new();
        let mut offset = self.start;
        while offset < self.end {
            let data = self
                .log()
                .read(offset, 400, true, FetchIsolation::LogEnd)
                .unwrap();
            for batch in batches(data.records) {
                let records = batch.unwrap().records().unwrap();
                left.extend(records.map(|record| record.unwrap().offset));
            }
            assert!(data.next_offset > offset || self.end == offset);
            if data.next_offset == offset {
                break;
            }
            offset = data.next_offset;
        }
        left
    }

    fn check(&self) {
        let log = self.log();
        assert_eq!(log.log_start_offset(), self.start, "log start");
        assert_eq!(log.log_end_offset(), self.end, "log end");
        assert_eq!(log.last_stable_offset(), self.last_stable().max(self.start));
        assert_eq!(self.found(), self.expected());
        // A tombstone stays for whoever began to read before it was compacted, and what is not
        // decided yet stays as it is.
        let left = self.left();
        let stable = self.last_stable();
        let mut last = BTreeMap::new();
        for (at, batch) in self.batches.iter().enumerate() {
            for (offset, record) in (batch.base..).zip(&batch.records) {
                if offset < self.start {
                    continue;
                }
                if self.outcome(at) == Some(true) && batch.end() <= stable {
                    last.insert(record.key, (offset, record));
                } else if self.outcome(at).is_none() {
                    assert!(left.contains(&offset), "{offset} is undecided and gone");
                }
            }
        }
        for (offset, record) in last.values() {
            let young = record
                .cleaned_at
                .is_none_or(|at| self.now < at + DELETE_RETENTION);
            assert!(
                left.contains(offset) || (record.value.is_none() && !young),
                "the last record of key {} at {offset} is gone",
                record.key
            );
        }
        assert_eq!(self.manager().uncleanable(), []);
    }

    fn compact(&mut self) {
        let Some(done) = self.manager().compact_dirtiest(self.now) else {
            return;
        };
        assert_eq!((done.topic.as_str(), done.partition), ("t", 0));
        let clean_to = done.stats.clean_to;
        self.flushed = self.flushed.max(self.log().flushed_offset());
        assert!(clean_to <= self.last_stable().max(self.start));
        self.clean_to = self.end;
        for batch in &mut self.batches {
            for (offset, record) in (batch.base..).zip(&mut batch.records) {
                if offset < clean_to && record.cleaned_at.is_none() {
                    record.cleaned_at = Some(self.now);
                }
            }
        }
    }

    /// The log ends at `end` now.
    fn cut(&mut self, end: i64) {
        self.batches.retain(|batch| batch.end() <= end);
        self.end = end;
        self.flushed = self.flushed.min(end);
        self.start = self.start.min(end);
    }

    fn offset(&self, at: prop::sample::Index, from: i64) -> i64 {
        from + at.index((self.end - from + 1) as usize) as i64
    }

    fn run(&mut self, step: &Step) {
        match step {
            Step::Append {
                records,
                idempotent,
                codec,
            } => {
                let codec = if *codec {
                    Compression::Lz4
                } else {
                    Compression::None
                };
                self.append(records, idempotent.then_some(IDEMPOTENT), codec);
            }
            Step::Retry => self.retry(),
            Step::Transactional { producer, records } => {
                self.append(records, Some(*producer), Compression::None);
            }
            Step::End { producer, commit } => {
                let open = (0..self.batches.len()).any(|at| {
                    self.batches[at].producer == Some(*producer) && self.outcome(at).is_none()
                });
                if open {
                    self.end_transaction(*producer, *commit);
                }
            }
            Step::Wait(ms) => self.now += ms,
            Step::Compact => self.compact(),
            Step::DeleteRecords(at) => {
                let to = self.offset(*at, self.start).min(self.last_stable());
                self.log().delete_records(to.max(self.start)).unwrap();
                self.start = to.max(self.start);
            }
            Step::Retain => {
                // What retention takes of an open transaction is not this test's matter.
                if self.last_stable() == self.end {
                    self.log().apply_retention(self.now).unwrap();
                    self.start = self.log().log_start_offset();
                }
            }
            Step::Truncate(at) => {
                // Nothing below the high watermark is ever cut off, and nothing above the last
                // stable offset is compacted.
                let offset = self.offset(*at, self.clean_to.max(self.start));
                let middle = self
                    .batches
                    .iter()
                    .any(|batch| batch.base < self.start && batch.end() > offset);
                if !middle {
                    self.log().truncate_to(offset).unwrap();
                    let end = self.log().log_end_offset();
                    assert!(end <= offset);
                    self.cut(end);
                }
            }
            Step::Flush => self.log().flush().unwrap(),
            Step::Checkpoint => self.manager().checkpoint().unwrap(),
            Step::Reopen => {
                self.manager().close().unwrap();
                self.open();
            }
            Step::Crash(tear) => self.crash(*tear),
        }
        self.flushed = self.flushed.max(self.log().flushed_offset());
    }

    fn crash(&mut self, tear: Option<prop::sample::Index>) {
        let flushed = self.flushed.max(self.log().flushed_offset());
        self.flushed = flushed;
        // The log would begin anew at its start, which is the other model's matter.
        let tear = tear.filter(|_| self.start <= flushed);
        self.log = None;
        self.manager = None;
        if let Some(tear) = tear {
            let (base, last, len) = last_segment(&self.dir);
            let unsafe_bytes: u64 = self
                .batches
                .iter()
                .filter(|batch| batch.base >= base && batch.end() > flushed)
                .map(|batch| batch.size)
                .sum();
            cut_file(
                &last,
                len - tear.index(unsafe_bytes.min(len) as usize + 1) as u64,
            );
        }
        self.open();
        let (start, end) = (self.log().log_start_offset(), self.log().log_end_offset());
        assert!(
            end >= flushed,
            "fsynced records are lost: {end} < {flushed}"
        );
        if tear.is_none() {
            assert_eq!(end, self.end, "acknowledged records are lost");
        }
        self.cut(end);
        // Records that were deleted may be back, until the checkpoint.
        self.log()
            .delete_records(self.start.clamp(start, end))
            .unwrap();
        self.start = self.log().log_start_offset();
    }
}

fn fold(found: &mut BTreeMap<u8, Bytes>, key: u8, value: Option<Bytes>) {
    match value {
        Some(value) => drop(found.insert(key, value)),
        None => drop(found.remove(&key)),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, max_shrink_iters: 3000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn compaction_does_not_change_what_is_read_by_key(
        steps in prop::collection::vec(step(), 1..120),
        lag in any::<bool>(),
        both in any::<bool>(),
    ) {
        let dir = scratch();
        let mut world = World::new(dir.path(), lag, both);
        for step in &steps {
            world.run(step);
            if matches!(step, Step::Compact | Step::Reopen | Step::Crash(_) | Step::Truncate(_)) {
                world.check();
            }
        }
        for step in [Step::Compact, Step::Reopen, Step::Wait(2 * DELETE_RETENTION), Step::Compact,
            Step::Crash(None), Step::Compact]
        {
            world.run(&step);
            world.check();
        }
        world.retry();
    }
}
