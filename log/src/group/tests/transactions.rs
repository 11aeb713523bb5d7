//! Offsets that are committed with a transaction.

use super::*;

/// Commits offset `offset` of `t`-0 in the transaction of producer 7.
fn in_transaction(bench: &mut Bench, member: &str, generation: i32, offset: i64) -> ErrorCode {
    let at = (Str::from("t"), 0);
    let committed = CommittedOffset {
        offset,
        ..CommittedOffset::default()
    };
    let commit = Commit {
        group: Str::from("g"),
        generation,
        member: Str::from(member),
        offsets: vec![(at.clone(), committed)],
        ..Commit::default()
    };
    let producer = Producer {
        id: 7,
        epoch: 0,
        verification: Verification::Off,
    };
    let token = bench.ask(|t| Event::TransactionalCommit(t, commit, producer));
    match bench.reply(token) {
        Some(Reply::Offsets(Ok(codes))) => codes[&at],
        other => panic!("{other:?}"),
    }
}

fn end_transaction(bench: &mut Bench, committed: bool) {
    bench.step(Event::TransactionEnded {
        producer_id: 7,
        committed,
    });
}

fn committed(bench: &Bench) -> Option<i64> {
    let at = (Str::from("t"), 0);
    bench.coordinator.offset("g", &at).map(|o| o.offset)
}

#[test]
fn offsets_of_a_transaction_count_once_it_commits() {
    let mut bench = Bench::two();
    let t = (Str::from("t"), 0);
    assert_eq!(in_transaction(&mut bench, "a", 2, 5), ErrorCode::None);
    assert!(bench.coordinator.is_unstable("g", &t));
    assert_eq!(committed(&bench), None);
    end_transaction(&mut bench, true);
    assert!(!bench.coordinator.is_unstable("g", &t));
    assert_eq!(committed(&bench), Some(5));
    assert_eq!(in_transaction(&mut bench, "a", 2, 9), ErrorCode::None);
    end_transaction(&mut bench, false);
    assert_eq!(committed(&bench), Some(5));
    // Of a plain commit and one that is decided after it, the later in the log wins.
    assert_eq!(in_transaction(&mut bench, "a", 2, 10), ErrorCode::None);
    assert_eq!(bench.commit("a", 2, 11), ErrorCode::None);
    end_transaction(&mut bench, true);
    assert_eq!(committed(&bench), Some(11));
}

#[test]
fn transactional_commits_are_fenced_by_membership() {
    let mut bench = Bench::two();
    let refused = [
        ("a", 1, ErrorCode::IllegalGeneration),
        ("z", 2, ErrorCode::UnknownMemberId),
        // A client too old to say who it is.
        ("", -1, ErrorCode::None),
    ];
    for (member, generation, code) in refused {
        assert_eq!(in_transaction(&mut bench, member, generation, 1), code);
    }
    let mut empty = Bench::new(GroupConfig::default());
    assert_eq!(
        in_transaction(&mut empty, "a", 3, 1),
        ErrorCode::IllegalGeneration
    );
    assert_eq!(in_transaction(&mut empty, "", -1, 1), ErrorCode::None);
}

#[test]
fn an_undecided_offset_keeps_its_group_from_expiring() {
    let mut bench = Bench::new(GroupConfig {
        offsets_retention_ms: 10_000,
        retention_check_interval_ms: 1_000,
        ..GroupConfig::default()
    });
    bench.commit("", -1, 5);
    in_transaction(&mut bench, "", -1, 6);
    bench.advance(50_000);
    assert_eq!(committed(&bench), Some(5));
    end_transaction(&mut bench, false);
    bench.advance(2_000);
    assert!(bench.coordinator.describe("g").is_none());
}

#[test]
fn deleting_an_offset_deletes_the_undecided_one_too() {
    let mut bench = Bench::new(GroupConfig::default());
    in_transaction(&mut bench, "", -1, 6);
    let at = (Str::from("t"), 0);
    let token = bench.ask(|t| Event::DeleteOffsets(t, Str::from("g"), vec![at]));
    assert!(matches!(bench.reply(token), Some(Reply::Offsets(Ok(_)))));
    end_transaction(&mut bench, true);
    assert_eq!(committed(&bench), None);
    assert_eq!(bench.log.len(), 2, "the deletion is in the log");
}

#[test]
fn a_transaction_survives_a_restart_of_the_coordinator() {
    for outcome in [None, Some(true), Some(false)] {
        let mut after = Coordinator::new(GroupConfig::default());
        let record = |offset| {
            let committed = CommittedOffset {
                offset,
                ..CommittedOffset::default()
            };
            GroupRecord::Offset(Str::from("g"), (Str::from("t"), 0), Some(committed))
        };
        after.load(record(1), 0);
        after.load_transactional(record(2), 7, 0);
        if let Some(committed) = outcome {
            after.load_marker(7, committed);
        }
        let at = (Str::from("t"), 0);
        let expected = if outcome == Some(true) { 2 } else { 1 };
        assert_eq!(after.offset("g", &at).unwrap().offset, expected);
        assert_eq!(after.is_unstable("g", &at), outcome.is_none());
    }
}

#[test]
fn a_transactional_commit_that_was_not_written_is_not_pending() {
    let mut coordinator = Coordinator::new(GroupConfig::default());
    let at = (Str::from("t"), 0);
    let commit = Commit {
        group: Str::from("g"),
        generation: -1,
        offsets: vec![(at.clone(), CommittedOffset::default())],
        ..Commit::default()
    };
    let producer = Producer {
        id: 7,
        epoch: 0,
        verification: Verification::Off,
    };
    let actions = coordinator.step(Event::TransactionalCommit(1, commit, producer), 0);
    let [Action::PersistTransactional(id, by, _)] = &actions[..] else {
        panic!("{actions:?}")
    };
    assert_eq!(*by, producer);
    assert!(coordinator.is_unstable("g", &at));
    let failed = Event::Persisted(*id, Err(ErrorCode::InvalidProducerEpoch));
    let actions = coordinator.step(failed, 0);
    let [Action::Reply(1, Reply::Offsets(Ok(codes)))] = &actions[..] else {
        panic!("{actions:?}")
    };
    assert_eq!(codes[&at], ErrorCode::InvalidProducerEpoch);
    assert!(!coordinator.is_unstable("g", &at));
}
