//! Readers beside a writer that appends, cuts off, deletes and rolls: what they are given is right,
//! and nothing is taken for damage that is only being changed.

use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use thalweg_log::record::{BatchBuilder, Compression, batches};
use thalweg_log::storage::{
    AppendOrigin, FetchIsolation, LogConfig, LogManager, LogManagerConfig, PartitionLog,
    StorageError,
};

fn value(offset: i64) -> Bytes {
    Bytes::from(format!("{offset:050}"))
}

fn append(log: &PartitionLog, records: i64) {
    let end = log.log_end_offset();
    let mut builder = BatchBuilder::new(Compression::None);
    for offset in end..end + records {
        builder
            .append(offset, None, Some(&value(offset)), &[])
            .unwrap();
    }
    let info = log
        .append(builder.build().unwrap(), 0, AppendOrigin::Client, end)
        .unwrap();
    assert_eq!(info.first_offset, end);
}

struct Random(u64);

impl Random {
    fn below(&mut self, limit: i64) -> i64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as i64 % limit.max(1)
    }
}

/// Reads until told to stop; returns how many records it saw.
fn read(log: &PartitionLog, seed: u64, stop: &AtomicBool) -> usize {
    let mut random = Random(seed);
    let mut seen = 0;
    while !stop.load(Ordering::Relaxed) || seen == 0 {
        let position = log.position();
        assert!(position.log_start_offset <= position.high_watermark);
        assert!(position.high_watermark <= position.log_end_offset);
        let span = position.log_end_offset - position.log_start_offset;
        let offset = position.log_start_offset + random.below(span + 1);
        match log.read(offset, 300, true, FetchIsolation::HighWatermark) {
            Ok(data) => {
                for batch in batches(data.records) {
                    for record in batch.unwrap().records().unwrap() {
                        let record = record.unwrap();
                        assert_eq!(record.value, Some(value(record.offset)));
                        seen += 1;
                    }
                }
            }
            Err(StorageError::OffsetOutOfRange { .. }) => {}
            Err(error) => panic!("{error}"),
        }
        if seed.is_multiple_of(2)
            && let Some(found) = log.offset_for_timestamp(offset).unwrap()
        {
            assert!(found.timestamp >= offset);
        }
    }
    seen
}

#[test]
fn readers_see_whole_and_right_records_whatever_the_writer_does() {
    let memory = std::path::Path::new("/dev/shm");
    let dir = if memory.is_dir() {
        tempfile::tempdir_in(memory)
    } else {
        tempfile::tempdir()
    };
    let dir = dir.unwrap();
    let manager = LogManager::open(LogManagerConfig::new(dir.path(), 1), 0).unwrap();
    let config = LogConfig::default()
        .with([
            ("segment.bytes", "2000"),
            ("index.interval.bytes", "200"),
            ("retention.bytes", "9000"),
        ])
        .unwrap();
    let log = manager
        .get_or_create("t", 0, uuid::Uuid::nil(), config, 0)
        .unwrap();
    append(&log, 3);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let readers: Vec<_> = (0..3)
            .map(|seed| {
                let (log, stop) = (&log, &stop);
                scope.spawn(move || read(log, seed, stop))
            })
            .collect();
        let flusher = scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                log.flush().unwrap();
                manager.tick(0).unwrap();
                manager.checkpoint().unwrap();
            }
        });
        let mut random = Random(99);
        for _ in 0..1500 {
            match random.below(20) {
                0 => {
                    let back = random.below(30);
                    log.truncate_to((log.log_end_offset() - back).max(log.log_start_offset()))
                        .unwrap();
                }
                1 => drop(log.apply_retention(0).unwrap()),
                2 => {
                    let position = log.position();
                    let span = position.high_watermark - position.log_start_offset;
                    log.delete_records(position.log_start_offset + random.below(span.min(20) + 1))
                        .unwrap();
                }
                _ => append(&log, 1 + random.below(4)),
            }
        }
        append(&log, 3);
        stop.store(true, Ordering::Relaxed);
        for reader in readers {
            assert!(reader.join().unwrap() > 0);
        }
        flusher.join().unwrap();
    });
}

#[test]
fn a_log_may_be_deleted_while_it_is_used() {
    let dir = tempfile::tempdir().unwrap();
    let manager = LogManager::open(LogManagerConfig::new(dir.path(), 1), 0).unwrap();
    let config = LogConfig::default()
        .with([("segment.bytes", "500"), ("flush.messages", "1")])
        .unwrap();
    for _ in 0..20 {
        let log = manager
            .get_or_create("t", 0, uuid::Uuid::nil(), config.clone(), 0)
            .unwrap();
        append(&log, 2);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                loop {
                    let mut builder = BatchBuilder::new(Compression::None);
                    builder.append(0, None, Some(b"v"), &[]).unwrap();
                    let batch = builder.build().unwrap();
                    if log.append(batch, 0, AppendOrigin::Client, 0).is_err()
                        || log.flush().is_err()
                    {
                        break;
                    }
                }
            });
            manager.delete("t", 0).unwrap();
        });
        assert!(matches!(
            log.flush_through(i64::MAX - 1),
            Err(StorageError::Closed { .. })
        ));
    }
    // The folder is in good health.
    let log = manager
        .get_or_create("u", 0, uuid::Uuid::nil(), config, 0)
        .unwrap();
    append(&log, 1);
    log.flush().unwrap();
    assert_eq!(log.high_watermark(), 1);
}
