//! Put, get and the sorted flush of a commit: 16-byte keys, 32-byte values.

#![allow(missing_docs, reason = "the macros of criterion define functions")]

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use thalweg_state::{StateRuntime, StoreId, StoreKind, StoreSpec, TaskState};

const STORE: StoreId = StoreId(0);
const KEYS: u64 = 200_000;
const PIECE: u64 = 10_000;

/// Keys in an order that is not theirs.
fn key(n: u64) -> [u8; 16] {
    let mixed = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut key = [0; 16];
    key[..8].copy_from_slice(&mixed.to_be_bytes());
    key[8..].copy_from_slice(&n.to_be_bytes());
    key
}

fn open(scanned: bool) -> (TempDir, TaskState) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let specs = [StoreSpec {
        kind: StoreKind::KeyValue { scanned },
        ..StoreSpec::key_value("bench")
    }];
    let state = TaskState::open(dir.path(), &StateRuntime::default(), &specs);
    (dir, state.expect("an empty directory opens"))
}

fn put(state: &mut TaskState, key: &[u8], value: u8) {
    state
        .put(STORE, key, &[value; 32])
        .expect("the store is there");
}

fn commit(state: &mut TaskState) {
    state.apply(&[]).expect("the disk takes it");
}

fn fill(state: &mut TaskState) {
    for n in 0..KEYS {
        put(state, &key(n), 7);
        if n % 50_000 == 49_999 {
            commit(state);
        }
    }
    commit(state);
    // Reads shall find RocksDB and not the cache.
    state.discard();
}

fn benches(c: &mut Criterion) {
    let mut group = c.benchmark_group("store");
    group.throughput(Throughput::Elements(PIECE));
    group.sample_size(20);

    for (name, scanned) in [("point-read", false), ("scanned", true)] {
        let (_dir, mut state) = open(scanned);
        group.bench_function(format!("put/{name}"), |b| {
            b.iter(|| (0..PIECE).for_each(|n| put(&mut state, &key(n), 1)));
        });
    }

    let (_dir, mut state) = open(false);
    fill(&mut state);
    let mut at = 0;
    let mut next = move || {
        at = (at + 7_919) % KEYS;
        key(at)
    };
    group.bench_function("get/committed", |b| {
        b.iter(|| {
            for _ in 0..PIECE {
                black_box(state.get(STORE, &next()).expect("the store reads"));
            }
        });
    });
    group.bench_function("get/missing", |b| {
        b.iter(|| {
            for n in 0..PIECE {
                black_box(state.get(STORE, &key(KEYS + n)).expect("the store reads"));
            }
        });
    });
    group.bench_function("get-put-commit", |b| {
        b.iter(|| {
            for _ in 0..PIECE {
                let key = next();
                black_box(state.get(STORE, &key).expect("the store reads"));
                put(&mut state, &key, 2);
            }
            commit(&mut state);
            state.discard();
        });
    });

    // What a commit does with dirty entries: sort, one write batch, settle.
    let (_dir, mut state) = open(false);
    let mut round = 0;
    group.bench_function("sorted flush", |b| {
        b.iter_custom(|iterations| {
            let mut spent = Duration::ZERO;
            for _ in 0..iterations {
                round = (round + 1) % (KEYS / PIECE);
                for n in 0..PIECE {
                    put(&mut state, &key(round * PIECE + n), 3);
                }
                let began = Instant::now();
                commit(&mut state);
                spent += began.elapsed();
            }
            spent
        });
    });
    group.finish();
}

criterion_group!(store, benches);
criterion_main!(store);
