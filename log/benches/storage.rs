//! Appending to a partition log and reading from it, in memory (`/dev/shm`) where there is some, so
//! that it is the code that is measured and not the disk.

use std::hint::black_box;

use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use tempfile::TempDir;
use thalweg_log::record::{BatchBuilder, Compression};
use thalweg_log::storage::{AppendOrigin, FetchIsolation, LogConfig, LogManager, LogManagerConfig};
use uuid::Uuid;

fn scratch() -> TempDir {
    let memory = std::path::Path::new("/dev/shm");
    let dir = if memory.is_dir() {
        tempfile::tempdir_in(memory)
    } else {
        tempfile::tempdir()
    };
    dir.expect("a folder")
}

fn batch(records: usize) -> Bytes {
    let mut builder = BatchBuilder::with_capacity(Compression::None, records * 110);
    for n in 0..records {
        builder
            .append(n as i64, None, Some(&[7; 100]), &[])
            .expect("fits");
    }
    builder.build().expect("is not empty")
}

fn benches(c: &mut Criterion) {
    // Old segments go, or a long run fills the memory.
    let config = LogConfig::default()
        .with([
            ("segment.bytes", "67108864"),
            ("retention.bytes", "134217728"),
            ("file.delete.delay.ms", "0"),
        ])
        .expect("is a configuration");

    let mut group = c.benchmark_group("append");
    for records in [1, 10, 100, 1000] {
        let dir = scratch();
        let manager = LogManager::open(LogManagerConfig::new(dir.path(), 1), 0).expect("opens");
        let log = manager
            .get_or_create("t", 0, Uuid::nil(), config.clone(), 0)
            .expect("opens");
        let bytes = batch(records);
        let mut appends = 0u64;
        group.throughput(Throughput::Bytes(bytes.len() as u64));
        group.bench_function(BenchmarkId::new("records", records), |b| {
            b.iter(|| {
                appends += 1;
                if appends.is_multiple_of(4096) {
                    log.apply_retention(0).expect("deletes");
                }
                log.append(black_box(bytes.clone()), 0, AppendOrigin::Client, 0)
                    .expect("appends")
            });
        });
    }
    group.finish();

    let dir = scratch();
    let manager = LogManager::open(LogManagerConfig::new(dir.path(), 1), 0).expect("opens");
    let log = manager
        .get_or_create("t", 0, Uuid::nil(), config, 0)
        .expect("opens");
    let bytes = batch(100);
    while log.size() < 100 << 20 {
        log.append(bytes.clone(), 0, AppendOrigin::Client, 0)
            .expect("appends");
    }
    let mut group = c.benchmark_group("read");
    for (name, max_bytes) in [("one_batch", 1), ("64KiB", 64 << 10), ("1MiB", 1 << 20)] {
        let first = log
            .read(0, max_bytes, true, FetchIsolation::HighWatermark)
            .expect("reads");
        group.throughput(Throughput::Bytes(first.records.len() as u64));
        let mut offset = 0;
        group.bench_function(BenchmarkId::new("sequential", name), |b| {
            b.iter(|| {
                let read = log.read(offset, max_bytes, true, FetchIsolation::HighWatermark);
                let data = read.expect("reads");
                offset = if data.next_offset >= log.log_end_offset() - 20_000 {
                    0
                } else {
                    data.next_offset
                };
                data.records.len()
            });
        });
    }
    let mut state = 1u64;
    group.throughput(Throughput::Elements(1));
    group.bench_function("random_offset", |b| {
        b.iter(|| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            let offset = ((state >> 33) % log.log_end_offset() as u64) as i64;
            log.read(offset, 1, true, FetchIsolation::HighWatermark)
                .expect("reads")
                .next_offset
        });
    });
    group.bench_function("offset_for_timestamp", |b| {
        b.iter(|| log.offset_for_timestamp(black_box(50)).expect("reads"));
    });
    group.finish();
}

/// A log of so many segments, read with few open files; opened after a clean stop and after a crash.
fn segments(c: &mut Criterion) {
    const SEGMENTS: usize = 2000;
    let config = LogConfig::default()
        .with([("segment.bytes", "16384"), ("index.interval.bytes", "4096")])
        .expect("is a configuration");
    let dir = scratch();
    let open = || {
        let mut options = LogManagerConfig::new(dir.path(), 1);
        options.max_open_files = Some(64);
        options.defaults = config.clone();
        LogManager::open(options, 0).expect("opens")
    };
    let manager = open();
    let log = manager
        .get_or_create("t", 0, Uuid::nil(), config.clone(), 0)
        .expect("opens");
    let bytes = batch(40);
    while log.segment_count() < SEGMENTS {
        for _ in 0..64 {
            log.append(bytes.clone(), 0, AppendOrigin::Client, 0)
                .expect("appends");
        }
        log.flush().expect("flushes");
    }
    let mut group = c.benchmark_group("segments");
    group.sample_size(10);
    let mut state = 1u64;
    group.bench_function("random_read_of_2000_with_64_files", |b| {
        b.iter(|| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            let offset = ((state >> 33) % log.log_end_offset() as u64) as i64;
            log.read(offset, 1, true, FetchIsolation::HighWatermark)
                .expect("reads")
                .next_offset
        });
    });
    manager.close().expect("closes");
    drop((manager, log));
    group.bench_function("open_2000_after_a_clean_stop", |b| {
        b.iter(|| open().close().expect("closes"));
    });
    let manager = open();
    manager.checkpoint().expect("writes");
    drop(manager);
    group.bench_function("open_2000_after_a_crash", |b| b.iter(|| drop(open())));
    let point = dir.path().join("recovery-point-offset-checkpoint");
    std::fs::remove_file(point).expect("is there");
    group.bench_function("recover_2000_without_a_checkpoint", |b| {
        b.iter(|| drop(open()));
    });
    group.finish();
}

criterion_group!(all, benches, segments);
criterion_main!(all);
