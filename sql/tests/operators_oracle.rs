//! The oracle: folding what streaming operators put out equals DataFusion's batch result
//! over the same input less the late rows, for any interleaving of partitions, any chunk
//! boundaries and any restart.

mod support;

use proptest::prelude::*;
use support::{Action, Event, Pipeline, Query, Window};

const FIRST: &[(&str, &str)] = &[
    ("n", "COUNT(*)"),
    ("ni", "COUNT(i)"),
    ("sum_i", "SUM(i)"),
    ("avg_f", "AVG(f)"),
    ("sum_f", "SUM(f)"),
    ("min_i", "MIN(i)"),
    ("max_i", "MAX(i)"),
    ("max_s", "MAX(s)"),
    ("min_f", "MIN(f)"),
    ("min_ts", "MIN(ts)"),
    ("sum_d", "SUM(d)"),
    ("avg_d", "AVG(d)"),
    ("max_d", "MAX(d)"),
    ("n_b", "COUNT(*) FILTER (WHERE b)"),
    ("sum_i_b", "SUM(i) FILTER (WHERE b)"),
];

const DISTINCT: &[(&str, &str)] = &[
    ("n", "COUNT(*)"),
    ("d_s", "COUNT(DISTINCT s)"),
    ("d_i", "COUNT(DISTINCT i) FILTER (WHERE b)"),
    ("sd_i", "SUM(DISTINCT i)"),
    ("max_i", "MAX(i)"),
];

/// Over the results of another aggregate, so that rows are taken back.
const SECOND: &[(&str, &str)] = &[
    ("groups", "COUNT(*)"),
    ("total", "SUM(n)"),
    ("least", "MIN(n)"),
    ("most", "MAX(n)"),
    ("last", "MAX(max_s)"),
    ("kinds", "COUNT(DISTINCT n)"),
    ("mean", "AVG(sum_f)"),
    ("lowest", "MIN(sum_d)"),
];

fn event() -> impl Strategy<Value = Event> {
    use proptest::option::weighted;
    (
        0..3i32,
        0..40_000i64,
        (
            weighted(0.9, "[abc]"),
            weighted(0.8, -5..5i64),
            weighted(0.8, -40..40i32),
            weighted(0.8, -900..900i32),
            weighted(0.8, "[xyz]{1,2}"),
            weighted(0.8, any::<bool>()),
        ),
    )
        .prop_map(|(partition, ts, (k, i, f, d, s, b))| Event {
            partition,
            ts: Some(ts),
            k,
            i,
            f: f.map(|f| f64::from(f) / 10.0),
            d: d.map(i128::from),
            s,
            b,
        })
}

fn actions() -> impl Strategy<Value = Vec<Action>> {
    let action = prop_oneof![
        12 => event().prop_map(Action::Event),
        1 => Just(Action::Run),
        1 => Just(Action::Restart),
    ];
    proptest::collection::vec(action, 1..80)
}

/// Mostly in order, as real events are: some late, most not.
fn roughly_ordered(actions: Vec<Action>) -> Vec<Action> {
    let total = actions.len() as i64;
    (0i64..)
        .zip(actions)
        .map(|(at, action)| match action {
            Action::Event(event) => Action::Event(Event {
                ts: event.ts.map(|ts| at * 40_000 / total + ts / 4),
                ..event
            }),
            action => action,
        })
        .collect()
}

fn check(pipeline: &Pipeline, actions: &[Action], seed: u64) {
    let outcome = pipeline.stream(actions, seed);
    pipeline.assert_batch_equal(&outcome);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn aggregates_without_a_window(actions in actions(), seed in any::<u64>()) {
        let query = Query::new(&["k"], FIRST);
        check(&Pipeline::new(query.clone()), &actions, seed);
        check(&Pipeline::new(query).partial(), &actions, seed);
    }

    #[test]
    fn distinct_values(actions in actions(), seed in any::<u64>()) {
        check(&Pipeline::new(Query::new(&["k"], DISTINCT)), &actions, seed);
        check(&Pipeline::new(Query::new(&["s", "k"], DISTINCT)), &actions, seed);
    }

    #[test]
    fn windows_less_late_rows(actions in actions(), seed in any::<u64>(), grace in 0..4000i64) {
        let actions = roughly_ordered(actions);
        let tumble = Window { size_ms: 5_000, slide_ms: 5_000, delay_ms: 1_000, grace_ms: grace };
        let hop = Window { size_ms: 6_000, slide_ms: 2_000, delay_ms: 500, grace_ms: grace };
        for window in [tumble, hop] {
            check(&Pipeline::new(Query::new(&["w", "k"], FIRST)).window(window), &actions, seed);
            check(&Pipeline::new(Query::new(&["w"], DISTINCT)).window(window), &actions, seed);
        }
    }

    #[test]
    fn aggregates_over_aggregates(actions in actions(), seed in any::<u64>()) {
        let first = Query::new(&["k", "s"], FIRST);
        let pipeline = Pipeline::new(first).then(Query::new(&["k"], SECOND));
        check(&pipeline, &actions, seed);
        // HAVING keeps one half of some updates.
        check(&pipeline.having("n % 2 = 1"), &actions, seed);
    }

    #[test]
    fn a_view_over_a_view(actions in actions(), seed in any::<u64>()) {
        let first = Query::new(&["k", "s"], FIRST);
        let pipeline = Pipeline::new(first).then(Query::new(&["k"], SECOND)).through_view();
        check(&pipeline, &actions, seed);
    }

    #[test]
    fn one_group_for_all(actions in actions(), seed in any::<u64>()) {
        check(&Pipeline::new(Query::new(&[], FIRST)), &actions, seed);
        check(&Pipeline::new(Query::new(&[], FIRST)).partial(), &actions, seed);
    }

    #[test]
    fn a_crash_loses_nothing_and_doubles_nothing(actions in actions(), seed in any::<u64>()) {
        // One fragment: what it sends before its commit is nothing.
        let crashes: Vec<_> = actions
            .into_iter()
            .map(|a| if matches!(a, Action::Restart) { Action::Crash } else { a })
            .collect();
        check(&Pipeline::new(Query::new(&["k"], FIRST)).alone(), &crashes, seed);
        check(&Pipeline::new(Query::new(&["k", "s"], DISTINCT)).alone(), &crashes, seed);
    }
}

#[test]
fn a_row_is_late_once_its_window_is_closed_also_after_a_restart() {
    let window = Window {
        size_ms: 5_000,
        slide_ms: 5_000,
        delay_ms: 1_000,
        grace_ms: 500,
    };
    let pipeline = Pipeline::new(Query::new(&["w", "k"], FIRST))
        .window(window)
        .alone();
    let at = |ts| {
        Action::Event(Event {
            partition: 0,
            ts: Some(ts),
            k: Some("a".to_owned()),
            i: Some(1),
            f: None,
            d: None,
            s: None,
            b: None,
        })
    };
    // The window of 0 to 5 s closes when the watermark, 1 s behind, reaches 5.5 s.
    let in_time = [
        at(0),
        Action::Restart,
        at(6_499),
        Action::Restart,
        at(4_999),
    ];
    let outcome = pipeline.stream(&in_time, 1);
    assert_eq!((outcome.late, outcome.rows.num_rows()), (0, 2));
    pipeline.assert_batch_equal(&outcome);
    let late = [at(0), at(6_500), Action::Restart, at(4_999), at(5_000)];
    let outcome = pipeline.stream(&late, 1);
    assert_eq!((outcome.late, outcome.rows.num_rows()), (1, 2));
    pipeline.assert_batch_equal(&outcome);
}

#[test]
fn no_input_gives_no_groups_but_the_one_without_keys() {
    check(&Pipeline::new(Query::new(&["k"], FIRST)), &[], 1);
    check(
        &Pipeline::new(Query::new(&[], FIRST)),
        &[Action::Restart],
        1,
    );
}
