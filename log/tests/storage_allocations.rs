//! What an append or a read allocates does not grow with the records in a batch.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use bytes::Bytes;
use thalweg_log::record::{BatchBuilder, Compression};
use thalweg_log::storage::{AppendOrigin, FetchIsolation, PartitionLog, Verification};

mod storage_support;
use storage_support::{config, log_of, open, scratch};

/// The system's allocator, which counts what each thread asks it for.
struct Counting;

thread_local! {
    static COUNT: Cell<u64> = const { Cell::new(0) };
}

fn count() {
    // A thread that ends allocates after its locals are gone.
    let _ = COUNT.try_with(|count| count.set(count.get() + 1));
}

// SAFETY: everything is the system allocator's own doing.
#[allow(unsafe_code, reason = "an allocator is unsafe to write")]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn allocations<T>(work: impl FnOnce() -> T) -> (u64, T) {
    let before = COUNT.get();
    let done = work();
    (COUNT.get() - before, done)
}

/// Sequences go on where the last batch of the producer ended.
fn batch(records: i32, sequence: i32, transactional: bool) -> Bytes {
    let mut builder = BatchBuilder::new(Compression::None);
    if sequence >= 0 {
        builder
            .producer(9, 0, sequence)
            .transactional(transactional);
    }
    for n in 0..records {
        builder
            .append(1000 + i64::from(n), Some(b"key"), Some(&[7; 40]), &[])
            .unwrap();
    }
    builder.build().unwrap()
}

fn append(log: &PartitionLog, bytes: Bytes) -> u64 {
    let (count, info) = allocations(|| {
        log.append_verified(bytes, 0, AppendOrigin::Client, 1000, Verification::Off)
    });
    info.unwrap();
    count
}

#[test]
fn ten_records_and_a_thousand_cost_the_same() {
    let dir = scratch();
    let settings = config(&[]);
    let manager = open(dir.path(), &settings);
    for (kind, transactional) in [
        ("plain", None),
        ("idempotent", Some(false)),
        ("transactional", Some(true)),
    ] {
        let log = manager
            .get_or_create(kind, 0, uuid::Uuid::from_u128(9), settings.clone(), 0)
            .unwrap();
        let mut sequence = if transactional.is_some() { 0 } else { -1 };
        let mut next = |records: i32| {
            let bytes = batch(records, sequence, transactional.unwrap_or_default());
            if sequence >= 0 {
                sequence += records;
            }
            bytes
        };
        // The first batches make what stays: the epoch, the producer, the index.
        for records in [10, 1000, 10, 1000, 10, 1000] {
            append(&log, next(records));
        }
        let (few, many) = (next(10), next(1000));
        let from = log.log_end_offset();
        let few = append(&log, few);
        let many = append(&log, many);
        assert_eq!(few, many, "{kind}: an append");
        assert!(few < 20, "{kind}: {few} allocations");

        for isolation in [FetchIsolation::HighWatermark, FetchIsolation::LogEnd] {
            let read = |offset| {
                let (count, data) = allocations(|| log.read(offset, 1, true, isolation));
                assert!(data.unwrap().next_offset > offset);
                count
            };
            let (few, many) = (read(from), read(from + 10));
            // What does not fit into the first read of the file is read again, as one piece.
            assert!(many <= few + 2, "{kind}: a read, {few} and {many}");
            let locate = |offset, bytes| {
                let found = allocations(|| log.locate(offset, bytes, true, 1, isolation));
                assert!(found.1.is_some());
                found.0
            };
            assert!(locate(from, 1) < 8, "{kind}: a range");
            assert!(locate(from + 10, 1) < 8, "{kind}: a range");
        }
    }
    // All of a log in one read.
    let log = manager
        .get_or_create("many", 0, uuid::Uuid::from_u128(9), settings.clone(), 0)
        .unwrap();
    for _ in 0..64 {
        append(&log, batch(1000, -1, false));
    }
    let (count, data) = allocations(|| log.read(0, 16 << 20, true, FetchIsolation::LogEnd));
    assert_eq!(data.unwrap().next_offset, 64_000);
    assert!(count < 10, "{count} allocations for 64,000 records");
    log_of(&manager, &settings);
}
