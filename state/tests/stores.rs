//! Promises of the stores that a random walk does not reach.

use bytes::Bytes;
use std::time::Duration;
use thalweg_state::{
    Backend, KeyRange, StateError, StateRuntime, StoreId, StorePosition, StoreSpec, TaskState,
};
use uuid::Uuid;

const STORE: StoreId = StoreId(0);

fn position(offset: i64) -> StorePosition {
    StorePosition {
        topic_id: Uuid::from_u128(9),
        leader_epoch: 2,
        offset,
        wall_time: 5,
    }
}

fn entry(key: &'static str, value: Option<&'static str>) -> (Bytes, Option<Bytes>) {
    (Bytes::from(key), value.map(Bytes::from))
}

#[test]
fn a_directory_in_use_is_refused_with_the_way_out() {
    let dir = tempfile::tempdir().unwrap();
    let runtime = StateRuntime::default();
    let specs = [StoreSpec::key_value("s")];
    let _first = TaskState::open(dir.path(), &runtime, &specs).unwrap();
    let error = TaskState::open(dir.path(), &runtime, &specs).unwrap_err();
    assert!(matches!(error, StateError::Locked { .. }), "{error}");
    assert!(error.to_string().contains("state.dir"));
}

#[test]
fn damaged_files_are_told_apart_from_everything_else() {
    let dir = tempfile::tempdir().unwrap();
    let runtime = StateRuntime::default();
    let specs = [StoreSpec::key_value("s")];
    let mut state = TaskState::open(dir.path(), &runtime, &specs).unwrap();
    state.put(STORE, b"k", b"v").unwrap();
    state.apply(&[]).unwrap();
    state.close().unwrap();
    std::fs::write(dir.path().join("CURRENT"), b"MANIFEST-999999\n").unwrap();
    let error = TaskState::open(dir.path(), &runtime, &specs).unwrap_err();
    assert!(matches!(error, StateError::Corrupted { .. }), "{error}");

    let file = dir.path().join("file");
    std::fs::write(&file, b"").unwrap();
    let error = TaskState::open(&file, &runtime, &specs).unwrap_err();
    assert!(matches!(error, StateError::Open { .. }), "{error}");
}

#[test]
fn restore_takes_the_newest_of_each_key_and_its_position() {
    let dir = tempfile::tempdir().unwrap();
    for backend in [Backend::RocksDb, Backend::InMemory] {
        let specs = [StoreSpec {
            backend,
            ..StoreSpec::key_value("s")
        }];
        let mut state = TaskState::open(dir.path(), &StateRuntime::default(), &specs).unwrap();
        let records = [
            entry("b", Some("1")),
            entry("a", Some("1")),
            entry("b", Some("2")),
            entry("c", Some("1")),
            entry("c", None),
        ];
        state.restore(STORE, records, position(5)).unwrap();
        state
            .restore(
                STORE,
                [entry("a", None), entry("d", Some("4"))],
                position(7),
            )
            .unwrap();
        assert_eq!(state.position(STORE).unwrap(), Some(position(7)));
        assert!(!state.is_dirty());
        let all: Vec<_> = state
            .reader(STORE)
            .unwrap()
            .scan(KeyRange::all())
            .unwrap()
            .map(Result::unwrap)
            .collect();
        assert_eq!(
            all,
            [("b", "2"), ("d", "4")].map(|(k, v)| (Bytes::from(k), Bytes::from(v)))
        );
        state.wipe(STORE).unwrap();
        assert_eq!(state.position(STORE).unwrap(), None);
        assert_eq!(state.get(STORE, b"d").unwrap(), None);
    }
}

#[test]
fn expired_windows_do_not_come_back_with_a_restore() {
    let dir = tempfile::tempdir().unwrap();
    let specs = [StoreSpec::window("w", Duration::from_secs(1))];
    let mut state = TaskState::open(dir.path(), &StateRuntime::default(), &specs).unwrap();
    for start in 0..4 {
        state.window(STORE).put(b"k", start, b"v").unwrap();
    }
    state.window(STORE).expire_before(2).unwrap();
    let changelog = state.dirty_entries(STORE).unwrap();
    assert_eq!(
        changelog.len(),
        2,
        "what expired before its commit is not sent"
    );
    state.apply(&[(STORE, position(4))]).unwrap();
    let old = (
        thalweg_state::window::window_key(b"k", 1),
        Some(Bytes::from("v")),
    );
    state.restore(STORE, [old], position(5)).unwrap();
    let mut cursor = state.window(STORE).all(0, 10).unwrap();
    let mut starts = Vec::new();
    while let Some(entry) = cursor.next(&mut state).unwrap() {
        starts.push(entry.start);
    }
    assert_eq!(starts, [2, 3]);
}

#[test]
fn a_reader_of_a_closed_task_says_so_and_does_not_keep_it_open() {
    let dir = tempfile::tempdir().unwrap();
    let runtime = StateRuntime::default();
    let specs = [StoreSpec::key_value("s")];
    let state = TaskState::open(dir.path(), &runtime, &specs).unwrap();
    let reader = state.reader(STORE).unwrap();
    state.close().unwrap();
    assert!(matches!(reader.get(b"k"), Err(StateError::Closed { .. })));
    TaskState::open(dir.path(), &runtime, &specs).unwrap();
}

#[test]
fn a_store_that_left_the_topology_is_no_obstacle() {
    let dir = tempfile::tempdir().unwrap();
    let runtime = StateRuntime::default();
    let both = [StoreSpec::key_value("a"), StoreSpec::key_value("b")];
    let state = TaskState::open(dir.path(), &runtime, &both).unwrap();
    state.close().unwrap();
    TaskState::open(dir.path(), &runtime, &both[..1]).unwrap();
}

#[test]
fn an_unknown_store_is_an_error() {
    let mut state = TaskState::in_memory(&[StoreSpec::key_value("s")]);
    let error = state.get(StoreId(3), b"k").unwrap_err();
    assert!(error.to_string().contains("no store number 3 (it has 1)"));
}
