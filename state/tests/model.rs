//! Stores on RocksDB and in memory, against ordered maps, under random writes, scans,
//! expiry, commits, aborts, closes and crashes.

use bytes::Bytes;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::time::Duration;
use thalweg_state::{
    Cursor, KeyRange, StateRuntime, StoreId, StoreKind, StorePosition, StoreSpec, TaskState, window,
};
use uuid::Uuid;

const POINT: StoreId = StoreId(0);
const SCANNED: StoreId = StoreId(1);
const WINDOW: StoreId = StoreId(2);

fn specs() -> Vec<StoreSpec> {
    vec![
        StoreSpec::key_value("point"),
        StoreSpec {
            kind: StoreKind::KeyValue { scanned: true },
            ..StoreSpec::key_value("scanned")
        },
        StoreSpec::window("window", Duration::from_secs(1)),
    ]
}

#[derive(Debug, Clone)]
enum Op {
    Put(usize, u8, u8),
    Delete(usize, u8),
    Scan(usize, u8, u8),
    /// Opens a cursor and reads so many entries of it; the rest is read at the end.
    Open(usize, u8, u8, usize),
    Expire(u8),
    Commit,
    Discard,
    Close,
    Crash,
}

fn op() -> impl Strategy<Value = Op> {
    let key = 0u8..24;
    prop_oneof![
        8 => (0usize..3, key.clone(), any::<u8>()).prop_map(|(s, k, v)| Op::Put(s, k, v)),
        3 => (0usize..3, key.clone()).prop_map(|(s, k)| Op::Delete(s, k)),
        2 => (0usize..3, key.clone(), key.clone()).prop_map(|(s, a, b)| Op::Scan(s, a, b)),
        2 => (0usize..3, key.clone(), key.clone(), 0usize..6)
            .prop_map(|(s, a, b, n)| Op::Open(s, a, b, n)),
        1 => key.prop_map(Op::Expire),
        3 => Just(Op::Commit),
        1 => Just(Op::Discard),
        1 => Just(Op::Close),
        1 => Just(Op::Crash),
    ]
}

type Map = BTreeMap<Bytes, Bytes>;

/// The stored key: in the window store, 4 keys in each window.
fn key(store: usize, key: u8) -> Bytes {
    match store {
        2 => window::window_key(&[key % 4], i64::from(key / 4)),
        _ => Bytes::copy_from_slice(&[key]),
    }
}

fn position(offset: i64) -> StorePosition {
    StorePosition {
        topic_id: Uuid::from_u128(1),
        leader_epoch: 0,
        offset,
        wall_time: 0,
    }
}

fn rest(cursor: &mut Cursor, state: &mut TaskState) -> Vec<(Bytes, Bytes)> {
    std::iter::from_fn(|| cursor.next(state).unwrap()).collect()
}

fn in_range(map: &Map, range: &KeyRange) -> Vec<(Bytes, Bytes)> {
    map.iter()
        .filter(|(k, _)| range.contains(k))
        .map(|(k, v)| (k.clone(), v.clone()))
        .collect()
}

struct Open {
    cursor: Cursor,
    expected: Vec<(Bytes, Bytes)>,
    store: usize,
}

fn check(ops: Vec<Op>, on_disk: bool) {
    let dir = tempfile::tempdir().unwrap();
    let runtime = StateRuntime::default();
    let open = || match on_disk {
        true => TaskState::open(dir.path(), &runtime, &specs()).unwrap(),
        false => TaskState::in_memory(&specs()),
    };
    let mut state = open();
    // Every commit so far, the empty beginning included; a position is an index here.
    let mut commits: Vec<[Map; 3]> = vec![Default::default()];
    let mut working: [Map; 3] = Default::default();
    let mut cursors: Vec<Open> = Vec::new();
    let finish = |cursors: &mut Vec<Open>, state: &mut TaskState| {
        for mut open in cursors.drain(..) {
            let got = rest(&mut open.cursor, state);
            assert_eq!(got, open.expected, "a cursor on store {}", open.store);
        }
    };

    for op in ops {
        match op {
            Op::Put(store, k, value) => {
                let k = key(store, k);
                state.put(StoreId(store), &k, &[value]).unwrap();
                working[store].insert(k, Bytes::copy_from_slice(&[value]));
            }
            Op::Delete(store, k) => {
                let k = key(store, k);
                state.delete(StoreId(store), &k).unwrap();
                working[store].remove(&k);
            }
            Op::Scan(store, from, to) => {
                let range = KeyRange::inclusive(key(store, from), key(store, to));
                let mut cursor = state.scan(StoreId(store), range.clone()).unwrap();
                let got = rest(&mut cursor, &mut state);
                assert_eq!(got, in_range(&working[store], &range));
            }
            Op::Open(store, from, to, read) => {
                let range = KeyRange::half_open(key(store, from), key(store, to));
                let mut cursor = state.scan(StoreId(store), range.clone()).unwrap();
                let mut expected = in_range(&working[store], &range).into_iter();
                for _ in 0..read {
                    assert_eq!(cursor.next(&mut state).unwrap(), expected.next());
                }
                cursors.push(Open {
                    cursor,
                    expected: expected.collect(),
                    store,
                });
            }
            Op::Expire(k) => {
                let start = i64::from(k / 4);
                state.window(WINDOW).expire_before(start).unwrap();
                working[2]
                    .retain(|k, _| window::split_window_key(k).is_some_and(|(at, _)| at >= start));
            }
            Op::Commit => {
                let at = position(commits.len() as i64);
                let positions = [POINT, SCANNED, WINDOW].map(|store| (store, at));
                state.apply(&positions).unwrap();
                commits.push(working.clone());
            }
            Op::Discard => {
                finish(&mut cursors, &mut state);
                state.discard();
                working = commits.last().unwrap().clone();
            }
            Op::Close if on_disk => {
                finish(&mut cursors, &mut state);
                state.close().unwrap();
                state = open();
                working = commits.last().unwrap().clone();
                let at = state.position(POINT).unwrap().map_or(0, |p| p.offset);
                assert_eq!(at as usize, commits.len() - 1, "a close keeps everything");
            }
            Op::Crash if on_disk => {
                finish(&mut cursors, &mut state);
                drop(state);
                state = open();
                // All stores fall back to one and the same commit.
                let at: Vec<_> = [POINT, SCANNED, WINDOW]
                    .map(|store| state.position(store).unwrap().map_or(0, |p| p.offset))
                    .to_vec();
                assert!(at.windows(2).all(|pair| pair[0] == pair[1]), "{at:?}");
                commits.truncate(at[0] as usize + 1);
                working = commits.last().unwrap().clone();
            }
            Op::Close | Op::Crash => {}
        }
        for (store, map) in working.iter().enumerate() {
            for k in 0..24 {
                let k = key(store, k);
                assert_eq!(state.get(StoreId(store), &k).unwrap(), map.get(&k).cloned());
            }
        }
        let committed = commits.last().unwrap();
        for (store, map) in committed.iter().enumerate() {
            let reader = state.reader(StoreId(store)).unwrap();
            let seen: Map = reader
                .scan(KeyRange::all())
                .unwrap()
                .collect::<Result<_, _>>()
                .unwrap();
            assert_eq!(seen, *map, "readers see the last commit");
        }
    }
    finish(&mut cursors, &mut state);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn stores_on_disk_are_as_ordered_maps(ops in prop::collection::vec(op(), 1..60)) {
        check(ops, true);
    }

    #[test]
    fn stores_in_memory_are_as_ordered_maps(ops in prop::collection::vec(op(), 1..80)) {
        check(ops, false);
    }
}
