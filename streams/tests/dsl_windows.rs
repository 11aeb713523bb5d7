//! Windows: which records fall into which, when they close, what is late, what is told.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;
use thalweg_streams::serdes::{I64Serde, StringSerde, WindowedSerde};
use thalweg_streams::{
    Consumed, EmitStrategy, Grouped, KTable, Materialized, Produced, StreamsBuilder,
    TestDriverOptions, TimeWindowedKStream, TimeWindows, TopologyTestDriver, Windowed,
};

fn s(text: &str) -> String {
    text.to_owned()
}

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// The topology: `in`, windowed, folded into a table in store `rows`, told to `out`.
fn windowed(
    windows: TimeWindows,
    fold: impl FnOnce(TimeWindowedKStream<String, String>) -> KTable<Windowed<String>, i64>,
) -> StreamsBuilder {
    let builder = StreamsBuilder::new();
    let stream = builder.stream::<String, String>("in", Consumed::of_types());
    fold(stream.group_by_key(Grouped::new()).windowed_by(windows))
        .updates()
        .to("out", Produced::new());
    builder
}

fn count(windows: TimeWindows) -> StreamsBuilder {
    windowed(windows, |stream| stream.count(Materialized::as_("rows")))
}

struct Test {
    driver: TopologyTestDriver,
    size: Duration,
}

impl Test {
    fn new(builder: &StreamsBuilder, size: Duration) -> Self {
        Self {
            driver: TopologyTestDriver::new(builder.build().unwrap()).unwrap(),
            size,
        }
    }

    fn send(&self, key: &str, at: i64) {
        let input = self.driver.input_topic("in", StringSerde, StringSerde);
        input.pipe(&s(key), &s(""), at).unwrap();
    }

    /// What was told and not read yet: `key[start,end)=value@timestamp`.
    fn told(&self) -> Vec<String> {
        let key = WindowedSerde::new(std::sync::Arc::new(StringSerde), self.size);
        let out = self.driver.output_topic("out", key, I64Serde);
        let records = out.read().unwrap();
        let show = |r: thalweg_streams::test_driver::TestRecord<Windowed<String>, i64>| {
            let window = r.key.window;
            format!(
                "{}[{},{})={}@{}",
                r.key.key, window.start, window.end, r.value, r.timestamp
            )
        };
        records.into_iter().map(show).collect()
    }

    fn rows(&self) -> Vec<(String, i64, i64)> {
        let rows = self
            .driver
            .window_rows("rows", StringSerde, I64Serde)
            .unwrap();
        rows.into_iter().map(|(k, w, n, _)| (k, w, n)).collect()
    }
}

#[test]
fn tumbling_windows_count_each_record_once() {
    let test = Test::new(&count(TimeWindows::of_size(ms(10)).grace(ms(100))), ms(10));
    for at in [0, 9, 10, 4] {
        test.send("a", at);
    }
    test.send("b", 9);
    assert_eq!(
        test.told(),
        [
            "a[0,10)=1@0",
            "a[0,10)=2@9",
            "a[10,20)=1@10",
            "a[0,10)=3@9",
            "b[0,10)=1@9"
        ]
    );
}

#[test]
fn hopping_windows_count_each_record_in_every_window_it_lies_in() {
    let windows = TimeWindows::of_size(ms(10)).advance_by(ms(5)).grace(ms(50));
    let test = Test::new(&count(windows), ms(10));
    for at in [7, 12] {
        test.send("a", at);
    }
    assert_eq!(
        test.told(),
        [
            "a[0,10)=1@7",
            "a[5,15)=1@7",
            "a[5,15)=2@12",
            "a[10,20)=1@12"
        ]
    );
}

#[test]
fn a_window_takes_records_until_the_watermark_reaches_its_end_plus_grace() {
    let test = Test::new(&count(TimeWindows::of_size(ms(10)).grace(ms(5))), ms(10));
    test.send("a", 1);
    test.send("a", 14); // The window [0, 10) closes at 15, and this is 14.
    test.send("a", 2);
    assert_eq!(test.driver.late_records(), 0);
    test.send("a", 15); // Equality closes it.
    test.send("a", 3);
    assert_eq!(test.driver.late_records(), 1);
    assert_eq!(
        test.rows(),
        [(s("a"), 0, 2), (s("a"), 10, 2)],
        "the late record is in no window"
    );
}

#[test]
fn a_record_can_be_late_for_one_hopping_window_and_in_time_for_another() {
    let windows = TimeWindows::of_size(ms(10)).advance_by(ms(5));
    let test = Test::new(&count(windows), ms(10));
    test.send("a", 12);
    test.told();
    test.send("a", 8); // [0, 10) is closed at 12, [5, 15) is not.
    assert_eq!(test.told(), ["a[5,15)=2@12"]);
    assert_eq!(test.driver.late_records(), 1);
}

#[test]
fn reduce_and_aggregate_fold_within_each_window() {
    let windows = TimeWindows::of_size(ms(10));
    let builder = StreamsBuilder::new();
    let grouped = builder
        .stream::<String, i64>("in", Consumed::of_types())
        .group_by_key(Grouped::new())
        .windowed_by(windows);
    grouped.reduce(|row, value| row.max(*value), Materialized::as_("max"));
    grouped.aggregate(
        || 100,
        |_, value, row| row + value,
        Materialized::of_types().named("sum"),
    );
    let driver = TopologyTestDriver::new(builder.build().unwrap()).unwrap();
    let input = driver.input_topic("in", StringSerde, I64Serde);
    for (value, at) in [(3, 1), (7, 2), (5, 11)] {
        input.pipe(&s("a"), &value, at).unwrap();
    }
    let rows = |store| driver.window_rows(store, StringSerde, I64Serde).unwrap();
    assert_eq!(rows("max"), [(s("a"), 0, 7, 2), (s("a"), 10, 5, 11)]);
    assert_eq!(rows("sum"), [(s("a"), 0, 110, 2), (s("a"), 10, 105, 11)]);
}

#[test]
fn final_results_are_told_once_when_the_window_closes_also_over_a_restart() {
    let windows = TimeWindows::of_size(ms(10)).grace(ms(5));
    let builder = windowed(windows, |stream| {
        stream
            .emit_strategy(EmitStrategy::OnWindowClose)
            .count(Materialized::as_("rows"))
    });
    let test = Test::new(&builder, ms(10));
    for (key, at) in [("b", 1), ("a", 3), ("b", 9), ("a", 14)] {
        test.send(key, at);
    }
    assert_eq!(test.told(), Vec::<String>::new());
    test.driver.restart().unwrap();
    test.send("c", 15);
    assert_eq!(test.told(), ["a[0,10)=1@3", "b[0,10)=2@9"]);
    test.send("a", 4);
    assert_eq!((test.told(), test.driver.late_records()), (vec![], 1));
    test.driver.restart().unwrap();
    test.send("c", 40);
    assert_eq!(test.told(), ["a[10,20)=1@14", "c[10,20)=1@15"]);
}

#[test]
fn a_close_of_very_many_groups_tells_each_exactly_once() {
    let builder = windowed(TimeWindows::of_size(ms(10)), |stream| {
        stream
            .emit_strategy(EmitStrategy::OnWindowClose)
            .count(Materialized::as_("rows"))
    });
    let test = Test::new(&builder, ms(10));
    test.driver.auto_commit(false);
    for i in 0..3_000 {
        test.send(&format!("key{i}"), i % 10);
    }
    test.send("end", 20);
    test.driver.commit().unwrap();
    let mut told = test.told();
    told.sort();
    told.dedup();
    assert_eq!(told.len(), 3_000);
}

#[test]
fn a_restart_neither_reopens_a_window_nor_closes_one() {
    let test = Test::new(&count(TimeWindows::of_size(ms(10)).grace(ms(5))), ms(10));
    test.send("a", 1);
    test.send("a", 20);
    test.driver.restart().unwrap();
    test.send("a", 2); // Closed before the restart, closed behind it.
    test.send("a", 11); // [10, 20) closes at 25.
    assert_eq!(test.driver.late_records(), 1);
    assert_eq!(
        test.rows(),
        [(s("a"), 0, 1), (s("a"), 10, 1), (s("a"), 20, 1)]
    );
}

#[test]
fn windows_behind_the_retention_leave_the_store() {
    let builder = windowed(TimeWindows::of_size(ms(10)), |stream| {
        stream.count(Materialized::as_("rows").retention(ms(100)))
    });
    let test = Test::new(&builder, ms(10));
    for minute in 0..10 {
        test.send("a", minute * 60_000);
    }
    let starts: Vec<i64> = test.rows().iter().map(|(_, start, _)| *start).collect();
    assert!(starts.len() <= 2, "{starts:?}");
    assert!(starts.contains(&540_000), "{starts:?}");
}

#[test]
fn a_retention_that_cannot_hold_a_window_is_refused() {
    let builder = windowed(TimeWindows::of_size(ms(10)).grace(ms(5)), |stream| {
        stream.count(Materialized::as_("rows").retention(ms(14)))
    });
    let message = builder.build().unwrap_err().to_string();
    assert!(message.contains("size plus grace, 15 ms"), "{message}");
    let message = count(TimeWindows::of_size(ms(10)).advance_by(ms(20)))
        .build()
        .unwrap_err()
        .to_string();
    assert!(message.contains("cannot advance by 20 ms"), "{message}");
}

#[test]
fn windowed_counts_told_once_a_commit_have_the_last_state() {
    let builder = windowed(TimeWindows::of_size(ms(10)), |stream| {
        stream.count(Materialized::as_("rows").emit_on_commit())
    });
    let test = Test::new(&builder, ms(10));
    test.driver.auto_commit(false);
    for (key, at) in [("b", 1), ("a", 2), ("b", 3), ("a", 12)] {
        test.send(key, at);
    }
    test.driver.commit().unwrap();
    assert_eq!(test.told(), ["a[0,10)=1@2", "b[0,10)=2@3", "a[10,20)=1@12"]);
}

/// Counts by a new key, so through a repartition topic, over four partitions.
fn regrouped(windows: TimeWindows) -> StreamsBuilder {
    let builder = StreamsBuilder::new();
    builder
        .stream::<String, String>("in", Consumed::of_types())
        .group_by(|_, value| value.clone(), Grouped::of_types())
        .windowed_by(windows)
        .count(Materialized::as_("rows"));
    builder
}

#[test]
fn a_partition_that_runs_ahead_makes_nothing_late_behind_a_repartition_topic() {
    for seed in 0..20 {
        let builder = regrouped(TimeWindows::of_size(ms(100)));
        let options = TestDriverOptions::new().default_partitions(4).seed(seed);
        let driver = TopologyTestDriver::with_options(builder.build().unwrap(), options).unwrap();
        driver.auto_commit(false);
        let input = driver.input_topic("in", StringSerde, StringSerde);
        // Each partition is in order; among each other they progress as the seed has it.
        for i in 0..400 {
            let (key, value) = (s(""), format!("g{}", i % 5));
            input
                .pipe_to(Some((i % 4) as i32), &key, &value, i * 10)
                .unwrap();
        }
        driver.run().unwrap();
        assert_eq!(driver.late_records(), 0, "seed {seed}");
        let rows = driver.window_rows("rows", StringSerde, I64Serde).unwrap();
        let last: i64 = rows.iter().filter(|r| r.1 >= 3_900).map(|r| r.2).sum();
        assert_eq!(last, 10, "seed {seed}");
    }
}

/// What a batch makes of the records, none being late.
fn batch(records: &[(u8, i64)], size: i64, advance: i64) -> BTreeMap<(String, i64), i64> {
    let mut rows = BTreeMap::new();
    for (key, at) in records {
        let mut start = at - at % advance;
        while start > at - size && start >= 0 {
            *rows.entry((format!("k{key}"), start)).or_default() += 1;
            start -= advance;
        }
    }
    rows
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// In one partition, what is late is known: every other record is counted, once in
    /// each of its windows, whatever the disorder.
    #[test]
    fn windowed_counts_equal_a_batch_less_the_late_records(
        records in proptest::collection::vec((0_u8..4, 0_i64..300), 1..120),
        (size, advance) in (1_i64..40).prop_flat_map(|size| (Just(size), 1..=size)),
        grace in 0_i64..60,
        restart_at in 0_usize..120,
    ) {
        let windows = TimeWindows::of_size(ms(size as u64))
            .advance_by(ms(advance as u64))
            .grace(ms(grace as u64));
        let builder = windowed(windows, |stream| {
            stream.count(Materialized::as_("rows").retention(ms(100_000)))
        });
        let test = Test::new(&builder, ms(size as u64));
        let mut expected: BTreeMap<(String, i64), i64> = BTreeMap::new();
        let mut late = 0;
        let mut time = i64::MIN;
        for (i, (key, at)) in records.iter().enumerate() {
            if i == restart_at {
                test.driver.restart().unwrap();
            }
            test.send(&format!("k{key}"), *at);
            time = time.max(*at);
            for (row, n) in batch(&[(*key, *at)], size, advance) {
                if row.1 + size + grace <= time {
                    late += 1;
                } else {
                    *expected.entry(row).or_default() += n;
                }
            }
        }
        let rows: BTreeMap<_, _> = test.rows().into_iter().map(|(k, w, n)| ((k, w), n)).collect();
        prop_assert_eq!(rows, expected);
        prop_assert_eq!(test.driver.late_records(), late);
    }

    /// Final results are told once for each window that has closed, and are what the
    /// batch has, whatever the interleaving and over restarts.
    #[test]
    fn final_results_equal_the_batch_of_the_closed_windows(
        records in proptest::collection::vec((0_u8..3, 0_i64..20), 1..100),
        (size, advance) in prop_oneof![Just((20_i64, 20_i64)), Just((20, 10)), Just((7, 3))],
        restarts in proptest::collection::vec(0_usize..100, 0..3),
    ) {
        let windows = TimeWindows::of_size(ms(size as u64))
            .advance_by(ms(advance as u64))
            .grace(ms(20));
        let builder = windowed(windows, |stream| {
            stream
                .emit_strategy(EmitStrategy::OnWindowClose)
                .count(Materialized::as_("rows"))
        });
        let test = Test::new(&builder, ms(size as u64));
        let records: Vec<_> = (0..)
            .zip(records)
            .map(|(i, (key, jitter))| (key, i * 4 + jitter))
            .collect();
        for (i, (key, at)) in records.iter().enumerate() {
            if restarts.contains(&i) {
                test.driver.restart().unwrap();
            }
            test.send(&format!("k{key}"), *at);
        }
        prop_assert_eq!(test.driver.late_records(), 0);
        let time = records.iter().map(|(_, at)| *at).max().unwrap_or(0);
        let mut expected: Vec<String> = batch(&records, size, advance)
            .into_iter()
            .filter(|((_, start), _)| start + size + 20 <= time)
            .map(|((key, start), n)| format!("{key}[{start},{})={n}", start + size))
            .collect();
        let told = test.told();
        let mut told: Vec<String> = told
            .iter()
            .filter_map(|told| Some(told.split_once('@')?.0.to_owned()))
            .collect();
        told.sort();
        expected.sort();
        prop_assert_eq!(told, expected);
    }

    /// Over several partitions and a repartition topic, whatever the interleaving: what
    /// is in the windows and what was counted late is all there was; and with enough
    /// grace for the disorder within a partition nothing is late.
    #[test]
    fn no_interleaving_loses_or_doubles_a_record(
        records in proptest::collection::vec((0_u8..4, 0_i64..30), 1..150),
        grace in prop_oneof![Just(0_i64), Just(30)],
        seed in any::<u64>(),
    ) {
        let size = 20;
        let windows = TimeWindows::of_size(ms(size as u64)).grace(ms(grace as u64));
        let builder = StreamsBuilder::new();
        builder
            .stream::<String, String>("in", Consumed::of_types())
            .group_by(|_, value| value.clone(), Grouped::of_types())
            .windowed_by(windows)
            .count(Materialized::as_("rows").retention(ms(100_000)));
        let options = TestDriverOptions::new().default_partitions(3).seed(seed);
        let driver = TopologyTestDriver::with_options(builder.build().unwrap(), options).unwrap();
        driver.auto_commit(false);
        let input = driver.input_topic("in", StringSerde, StringSerde);
        // Time moves on with the records; each is up to 30 ms out of order.
        let records: Vec<_> = (0..)
            .zip(records)
            .map(|(i, (key, jitter))| (key, i * 5 + jitter))
            .collect();
        for (i, (key, at)) in (0..).zip(&records) {
            let partition = Some(i % 3);
            input.pipe_to(partition, &s(""), &format!("k{key}"), *at).unwrap();
        }
        driver.run().unwrap();
        let rows = driver.window_rows("rows", StringSerde, I64Serde).unwrap();
        let counted: i64 = rows.iter().map(|(_, _, n, _)| n).sum();
        prop_assert_eq!(counted as u64 + driver.late_records(), records.len() as u64);
        if grace == 30 {
            let rows: BTreeMap<_, _> = rows.into_iter().map(|(k, w, n, _)| ((k, w), n)).collect();
            prop_assert_eq!(rows, batch(&records, size, size));
            prop_assert_eq!(driver.late_records(), 0);
        }
    }
}

#[test]
fn event_time_can_come_out_of_the_payload() {
    let builder = StreamsBuilder::new();
    builder
        .stream::<String, i64>("in", Consumed::of_types().timestamp(|_, at, _| *at))
        .group_by(|_, at| format!("{}", at % 2), Grouped::of_types())
        .windowed_by(TimeWindows::of_size(ms(10)))
        .count(Materialized::as_("rows"));
    let driver = TopologyTestDriver::new(builder.build().unwrap()).unwrap();
    let input = driver.input_topic("in", StringSerde, I64Serde);
    // The records' own timestamps mean nothing here.
    for (at, own) in [(1, 900), (3, 0), (12, 500), (2, 700)] {
        input.pipe(&s("k"), &at, own).unwrap();
    }
    let rows = driver.window_rows("rows", StringSerde, I64Serde).unwrap();
    let rows: Vec<_> = rows
        .iter()
        .map(|(k, w, n, at)| (k.as_str(), *w, *n, *at))
        .collect();
    assert_eq!(rows, [("1", 0, 2, 3), ("0", 10, 1, 12)]);
    assert_eq!(driver.late_records(), 1);
}

#[test]
fn rows_lie_in_their_stores_as_they_always_have() {
    // What a release has written the next one reads: time of the last update (eight
    // bytes) and value; in a window store under the start (sign bit flipped) and key.
    let builder = StreamsBuilder::new();
    let stream = builder.stream::<String, String>("in", Consumed::of_types());
    let grouped = stream.group_by_key(Grouped::new());
    grouped.count(Materialized::as_("plain"));
    grouped
        .windowed_by(TimeWindows::of_size(ms(256)))
        .count(Materialized::as_("windowed"));
    let driver = TopologyTestDriver::new(builder.build().unwrap()).unwrap();
    let input = driver.input_topic("in", StringSerde, StringSerde);
    input.pipe(&s("k"), &s(""), 258).unwrap();
    let row = [0, 0, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 0, 0, 0, 1];
    let plain = driver.store_entries("plain").unwrap();
    assert_eq!(plain, [(b"k"[..].into(), row.to_vec().into())]);
    let windowed = driver.store_entries("windowed").unwrap();
    let key = [0x80, 0, 0, 0, 0, 0, 1, 0, b'k'];
    assert_eq!(windowed, [(key.to_vec().into(), row.to_vec().into())]);
}
