//! The partition log against a model that is a list of records, whatever is done in whatever order.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;
use thalweg_log::record::{BatchBuilder, Compression, Record, batches};
use thalweg_log::storage::{AppendOrigin, FetchIsolation, LogConfig, LogManager, PartitionLog};

mod storage_support;
use storage_support::{cut_file, last_segment, log_of, open_with, scratch};

#[derive(Debug, Clone)]
enum Step {
    Append {
        records: usize,
        size: usize,
        timestamp: i64,
        idempotent: bool,
    },
    /// The last idempotent batch once more.
    Retry,
    NextEpoch,
    Read {
        at: prop::sample::Index,
        max_bytes: usize,
    },
    ForTimestamp {
        timestamp: i64,
    },
    DeleteRecords {
        at: prop::sample::Index,
    },
    Retain {
        now: i64,
    },
    Truncate {
        at: prop::sample::Index,
    },
    StartAgain {
        skip: i64,
    },
    Flush,
    Tick {
        now: i64,
    },
    Reopen,
    /// The process is killed; of what is not fsynced the last segment may be torn.
    Crash {
        tear: Option<prop::sample::Index>,
    },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => (1usize..6, 0usize..120, 0i64..2000, any::<bool>()).prop_map(
            |(records, size, timestamp, idempotent)| Step::Append { records, size, timestamp, idempotent }),
        2 => Just(Step::Retry),
        1 => Just(Step::NextEpoch),
        6 => (any::<prop::sample::Index>(), 1usize..2000)
            .prop_map(|(at, max_bytes)| Step::Read { at, max_bytes }),
        3 => (0i64..2100).prop_map(|timestamp| Step::ForTimestamp { timestamp }),
        1 => any::<prop::sample::Index>().prop_map(|at| Step::DeleteRecords { at }),
        1 => (0i64..3000).prop_map(|now| Step::Retain { now }),
        1 => any::<prop::sample::Index>().prop_map(|at| Step::Truncate { at }),
        1 => (0i64..50).prop_map(|skip| Step::StartAgain { skip }),
        1 => Just(Step::Flush),
        1 => (0i64..3000).prop_map(|now| Step::Tick { now }),
        2 => Just(Step::Reopen),
        2 => prop::option::of(any::<prop::sample::Index>()).prop_map(|tear| Step::Crash { tear }),
    ]
}

#[derive(Debug, Clone, PartialEq)]
struct ModelBatch {
    base: i64,
    epoch: i32,
    sequence: i32,
    records: Vec<(i64, Bytes)>,
}

impl ModelBatch {
    fn end(&self) -> i64 {
        self.base + self.records.len() as i64
    }
}

struct World {
    dir: PathBuf,
    manager: Option<LogManager>,
    log: Option<Arc<PartitionLog>>,
    start: i64,
    end: i64,
    batches: Vec<ModelBatch>,
    epoch: i32,
    sequence: i32,
    made: u64,
}

fn config() -> LogConfig {
    LogConfig::default()
        .with([
            ("segment.bytes", "1000"),
            ("index.interval.bytes", "200"),
            ("segment.ms", "1500"),
            ("retention.ms", "1000"),
            ("retention.bytes", "4000"),
            ("preallocate", "true"),
        ])
        .unwrap()
}

impl World {
    fn new(dir: &Path) -> Self {
        let mut world = Self {
            dir: dir.to_path_buf(),
            manager: None,
            log: None,
            start: 0,
            end: 0,
            batches: Vec::new(),
            epoch: 0,
            sequence: 0,
            made: 0,
        };
        world.open();
        world
    }

    fn open(&mut self) {
        let manager = open_with(&self.dir, &config(), |options| {
            options.max_open_files = Some(4);
        });
        self.log = Some(log_of(&manager, &config()));
        self.manager = Some(manager);
    }

    fn log(&self) -> &Arc<PartitionLog> {
        self.log.as_ref().unwrap()
    }

    fn batch(&self, batch: &ModelBatch) -> Bytes {
        let mut builder = BatchBuilder::new(Compression::None);
        if batch.sequence >= 0 {
            builder.producer(5, 0, batch.sequence);
        }
        for (timestamp, value) in &batch.records {
            builder.append(*timestamp, None, Some(value), &[]).unwrap();
        }
        builder.build().unwrap()
    }

    fn append(&mut self, records: usize, size: usize, timestamp: i64, idempotent: bool) {
        let records: Vec<_> = (0..records as u64)
            .map(|n| {
                (
                    timestamp + n as i64,
                    Bytes::from(format!("{:0>1$}", self.made + n, size)),
                )
            })
            .collect();
        self.made += records.len() as u64;
        let sequence = if idempotent { self.sequence } else { -1 };
        let batch = ModelBatch {
            base: self.end,
            epoch: self.epoch,
            sequence,
            records,
        };
        let bytes = self.batch(&batch);
        let result = self
            .log()
            .append(bytes, self.epoch, AppendOrigin::Client, timestamp);
        let info = result.unwrap();
        assert!(!info.duplicate);
        assert_eq!(
            (info.first_offset, info.last_offset + 1),
            (batch.base, batch.end())
        );
        if idempotent {
            self.sequence += batch.records.len() as i32;
        }
        self.end = batch.end();
        self.batches.push(batch);
    }

    fn retry(&mut self) {
        let last = self
            .batches
            .iter()
            .rev()
            .find(|batch| batch.sequence >= 0)
            .cloned();
        let Some(last) = last else { return };
        let bytes = self.batch(&last);
        let info = self
            .log()
            .append(bytes, self.epoch, AppendOrigin::Client, 0)
            .unwrap();
        assert!(info.duplicate);
        assert_eq!(info.first_offset, last.base);
    }

    fn offset(&self, at: prop::sample::Index) -> i64 {
        self.start + at.index((self.end - self.start + 1) as usize) as i64
    }

    fn read(&self, offset: i64, max_bytes: usize) {
        let data = self
            .log()
            .read(offset, max_bytes, true, FetchIsolation::HighWatermark)
            .unwrap();
        let got: Vec<Record> = batches(data.records.clone())
            .flat_map(|batch| {
                let batch = batch.unwrap();
                batch.verify().unwrap();
                batch
                    .records()
                    .unwrap()
                    .map(Result::unwrap)
                    .collect::<Vec<_>>()
            })
            .collect();
        let containing = self.batches.iter().find(|batch| batch.end() > offset);
        match containing {
            None => assert!(got.is_empty()),
            Some(first) => {
                assert_eq!(got.first().map(|record| record.offset), Some(first.base));
                assert!(data.records.len() <= max_bytes || data.next_offset == first.end());
            }
        }
        for record in &got {
            let batch = self
                .batches
                .iter()
                .find(|batch| batch.end() > record.offset)
                .unwrap();
            let (timestamp, value) = &batch.records[(record.offset - batch.base) as usize];
            assert_eq!(
                (record.timestamp, record.value.as_ref()),
                (*timestamp, Some(value))
            );
        }
        assert_eq!(
            data.next_offset,
            got.last().map_or(offset, |record| record.offset + 1)
        );
    }

    fn check(&self) {
        let log = self.log();
        assert_eq!(log.log_start_offset(), self.start, "log start");
        assert_eq!(log.log_end_offset(), self.end, "log end");
        assert_eq!(log.high_watermark(), self.end);
        // Everything, read through in pieces.
        let mut offset = self.start;
        while offset < self.end {
            self.read(offset, 300);
            let data = log.read(offset, 300, true, FetchIsolation::LogEnd).unwrap();
            assert!(data.next_offset > offset);
            offset = data.next_offset;
        }
        for outside in [self.start - 1, self.end + 1] {
            log.read(outside, 1, true, FetchIsolation::LogEnd)
                .unwrap_err();
        }
        for batch in self.batches.iter().filter(|batch| batch.base >= self.start) {
            assert_eq!(log.epoch_for_offset(batch.base), Some(batch.epoch));
        }
    }

    fn for_timestamp(&self, timestamp: i64) {
        let found = self.log().offset_for_timestamp(timestamp).unwrap();
        let expected = self.records().find(|(_, t)| *t >= timestamp);
        assert_eq!(found.map(|found| (found.offset, found.timestamp)), expected);
        let max = self.log().max_timestamp().unwrap();
        let expected = self.records().map(|(_, t)| t).max();
        // The model's largest may lie in a batch of which only the end is left.
        assert_eq!(
            max.map(|found| found.timestamp).max(expected),
            expected.max(None)
        );
    }

    fn records(&self) -> impl Iterator<Item = (i64, i64)> {
        let start = self.start;
        self.batches
            .iter()
            .flat_map(|batch| (batch.base..).zip(batch.records.iter().map(|(t, _)| *t)))
            .filter(move |(offset, _)| *offset >= start)
    }

    /// Takes over from the log what retention and a crash are free to do, and checks that they
    /// kept within it.
    fn truncated(&mut self, end: i64) {
        assert!(end <= self.end);
        self.batches.retain(|batch| batch.end() <= end);
        assert_eq!(end, self.batches.last().map_or(end, |batch| batch.end()));
        self.end = end;
        self.start = self.start.min(end);
        self.sequence = self.next_sequence();
    }

    fn next_sequence(&self) -> i32 {
        let last = self.batches.iter().rev().find(|batch| batch.sequence >= 0);
        last.map_or(0, |batch| batch.sequence + batch.records.len() as i32)
    }

    fn restart_offsets(&mut self, offset: i64) {
        self.batches.clear();
        (self.start, self.end) = (offset, offset);
        self.sequence = 0;
    }

    fn drop_below(&mut self, start: i64) {
        self.start = start;
    }

    fn run(&mut self, step: &Step) {
        match step.clone() {
            Step::Append {
                records,
                size,
                timestamp,
                idempotent,
            } => {
                self.append(records, size, timestamp, idempotent);
            }
            Step::Retry => self.retry(),
            Step::NextEpoch => self.epoch += 1,
            Step::Read { at, max_bytes } => self.read(self.offset(at), max_bytes),
            Step::ForTimestamp { timestamp } => self.for_timestamp(timestamp),
            Step::DeleteRecords { at } => {
                let offset = self.offset(at);
                assert_eq!(
                    self.log().delete_records(offset).unwrap(),
                    offset.max(self.start)
                );
                self.drop_below(offset);
            }
            Step::Retain { now } => {
                let too_large = self.log().size() > 4000;
                self.log().apply_retention(now).unwrap();
                let start = self.log().log_start_offset();
                assert!(start >= self.start && start <= self.end);

                // Nothing goes before its time, unless there is too much.
                let young = self.records().find(|(_, t)| now - t <= 1000);
                if let Some((offset, _)) = young {
                    assert!(start <= offset || too_large);
                }
                self.drop_below(start);
            }
            Step::Truncate { at } => {
                let offset = self.offset(at);
                self.log().truncate_to(offset).unwrap();
                let end = self.log().log_end_offset();
                assert!(end <= offset);
                let cut = self.batches.iter().find(|batch| batch.end() > offset);
                let expected = cut
                    .map_or(offset, |batch| batch.base.min(offset))
                    .max(self.start);
                assert_eq!(end, expected);
                if self
                    .batches
                    .iter()
                    .any(|batch| batch.base < end && batch.end() > end)
                {
                    self.restart_offsets(end);
                } else {
                    self.truncated(end);
                }
            }
            Step::StartAgain { skip } => {
                let offset = self.end + skip;
                self.log().truncate_fully_and_start_at(offset).unwrap();
                self.restart_offsets(offset);
            }
            Step::Flush => self.log().flush().unwrap(),
            Step::Tick { now } => self.manager.as_ref().unwrap().tick(now).unwrap(),
            Step::Reopen => {
                self.manager.as_ref().unwrap().close().unwrap();
                self.reopen();
                assert_eq!(self.log().log_end_offset(), self.end);
                assert_eq!(self.log().log_start_offset(), self.start);
            }
            Step::Crash { tear } => self.crash(tear),
        }
    }

    fn reopen(&mut self) {
        self.log = None;
        self.manager = None;
        self.open();
    }

    fn crash(&mut self, tear: Option<prop::sample::Index>) {
        let flushed = self.log().flushed_offset();
        self.log = None;
        self.manager = None;
        // What the checkpoint says may lag, but then the log start may go back.
        if let Some(tear) = tear {
            let (base, last, len) = last_segment(&self.dir);
            // Only what was not fsynced can be torn: the batches at and above `flushed`.
            let safe: u64 = self
                .batches
                .iter()
                .filter(|batch| batch.base >= base && batch.end() <= flushed)
                .map(|batch| self.batch(batch).len() as u64)
                .sum();
            cut_file(&last, safe + tear.index((len - safe + 1) as usize) as u64);
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
        assert!(start <= self.start || start == end);
        if start == end
            && self
                .batches
                .iter()
                .any(|batch| batch.base < end && batch.end() > end)
        {
            // Torn before the log start, which lies in the middle of a batch.
            self.restart_offsets(end);
            return;
        }
        self.truncated(end);
        // Records that were deleted may be back, until the checkpoint.
        self.log()
            .delete_records(self.start.clamp(start, end))
            .unwrap();
        self.start = self.log().log_start_offset();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { max_shrink_iters: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_log_does_what_the_model_does(steps in prop::collection::vec(step(), 1..60)) {
        let dir = scratch();
        let mut world = World::new(dir.path());
        for step in &steps {
            world.run(step);
        }
        world.check();
        world.run(&Step::Reopen);
        world.check();
        world.run(&Step::Crash { tear: None });
        world.check();
    }
}
