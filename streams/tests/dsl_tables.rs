//! Tables: rows and tombstones, joins and their order, diamonds, regrouping.

use std::collections::BTreeMap;

use proptest::prelude::*;
use thalweg_streams::serdes::{I64Serde, Nullable, StringSerde};
use thalweg_streams::{
    Consumed, Grouped, Joined, KStream, KTable, Materialized, Produced, StreamsBuilder,
    TestDriverOptions, TopologyTestDriver,
};

fn s(text: &str) -> String {
    text.to_owned()
}

fn stream(builder: &StreamsBuilder, topic: &str) -> KStream<String, String> {
    builder.stream(topic, Consumed::of_types())
}

fn table(builder: &StreamsBuilder, topic: &str) -> KTable<String, String> {
    builder.table(
        topic,
        Consumed::of_types(),
        Materialized::as_(format!("{topic}-rows")),
    )
}

fn driver(builder: &StreamsBuilder) -> TopologyTestDriver {
    TopologyTestDriver::new(builder.build().unwrap()).unwrap()
}

/// What was written to `out` and not read yet: `key=value` or `key!` for a tombstone,
/// with the timestamp.
fn out(driver: &TopologyTestDriver) -> Vec<String> {
    let topic = driver.output_topic("out", StringSerde, Nullable(StringSerde));
    let show =
        |record: thalweg_streams::test_driver::TestRecord<String, Option<String>>| match record
            .value
        {
            Some(value) => format!("{}={value}@{}", record.key, record.timestamp),
            None => format!("{}!@{}", record.key, record.timestamp),
        };
    topic.read().unwrap().into_iter().map(show).collect()
}

#[test]
fn the_newest_record_is_the_row_and_a_tombstone_deletes_it() {
    let builder = StreamsBuilder::new();
    table(&builder, "t").to_stream().to("out", Produced::new());
    let driver = driver(&builder);
    let t = driver.input_topic("t", Nullable(StringSerde), StringSerde);
    t.pipe(&Some(s("a")), &s("1"), 1).unwrap();
    t.pipe(&Some(s("a")), &s("2"), 2).unwrap();
    t.pipe(&Some(s("b")), &s("3"), 3).unwrap();
    t.pipe_tombstone(&Some(s("a")), 4).unwrap();
    t.pipe(&None, &s("no key"), 5).unwrap();
    assert_eq!(out(&driver), ["a=1@1", "a=2@2", "b=3@3", "a!@4"]);
    let rows = driver
        .table_rows("t-rows", StringSerde, StringSerde)
        .unwrap();
    assert_eq!(rows, [(s("b"), s("3"), 3)]);
    assert_eq!(driver.skipped_records(), 1);
}

#[test]
fn an_inner_join_sees_the_row_of_the_moment_and_nothing_without_one() {
    let builder = StreamsBuilder::new();
    let t = table(&builder, "t");
    builder
        .stream::<Option<String>, Option<String>>("s", Consumed::of_types())
        .join(
            &t,
            |v, row| format!("{}+{row}", v.as_deref().unwrap_or("?")),
            Joined::new(),
        )
        .to("out", Produced::of_types());
    let driver = driver(&builder);
    let t = driver.input_topic("t", StringSerde, StringSerde);
    let s_in = driver.input_topic("s", Nullable(StringSerde), Nullable(StringSerde));
    let send = |key: Option<&str>, value: Option<&str>, at| {
        s_in.pipe(&key.map(s), &value.map(s), at).unwrap();
    };
    send(Some("a"), Some("early"), 1);
    t.pipe(&s("a"), &s("A"), 2).unwrap();
    send(Some("a"), Some("x"), 3);
    send(Some("b"), Some("other"), 4);
    t.pipe(&s("a"), &s("B"), 5).unwrap();
    send(Some("a"), Some("y"), 6);
    t.pipe_tombstone(&s("a"), 7).unwrap();
    send(Some("a"), Some("late"), 8);
    assert_eq!(out(&driver), ["a=x+A@3", "a=y+B@6"]);
    // Without key or value there is nothing to join.
    send(None, Some("z"), 9);
    send(Some("a"), None, 10);
    assert_eq!(out(&driver), Vec::<String>::new());
    assert_eq!(driver.skipped_records(), 2);
}

#[test]
fn a_left_join_keeps_records_without_row_or_key_and_skips_null_values() {
    let builder = StreamsBuilder::new();
    let t = table(&builder, "t");
    builder
        .stream::<Option<String>, Option<String>>("s", Consumed::of_types())
        .left_join(
            &t,
            |v, row| {
                let value = v.as_deref().unwrap_or("?");
                format!("{value}+{}", row.map_or("-", |row| row.as_str()))
            },
            Joined::new(),
        )
        .map(|k, v| (k.clone().unwrap_or(s("null")), v.clone()))
        .to("out", Produced::of_types());
    let driver = driver(&builder);
    let t = driver.input_topic("t", StringSerde, StringSerde);
    let s_in = driver.input_topic("s", Nullable(StringSerde), Nullable(StringSerde));
    s_in.pipe(&Some(s("a")), &Some(s("x")), 1).unwrap();
    t.pipe(&s("a"), &s("A"), 2).unwrap();
    s_in.pipe(&Some(s("a")), &Some(s("y")), 3).unwrap();
    s_in.pipe(&None, &Some(s("z")), 4).unwrap();
    s_in.pipe(&Some(s("a")), &None, 5).unwrap();
    t.pipe_tombstone(&s("a"), 6).unwrap();
    s_in.pipe(&Some(s("a")), &Some(s("w")), 7).unwrap();
    assert_eq!(
        out(&driver),
        ["a=x+-@1", "a=y+A@3", "null=z+-@4", "a=w+-@7"]
    );
    assert_eq!(driver.skipped_records(), 1);
}

#[test]
fn stream_and_table_meet_in_the_order_of_time_and_not_of_arrival() {
    // Everything lies in the log before the task begins: only timestamps order it.
    let builder = StreamsBuilder::new();
    let t = table(&builder, "t");
    stream(&builder, "s")
        .join(&t, |v, row| format!("{v}+{row}"), Joined::new())
        .to("out", Produced::of_types());
    let driver = driver(&builder);
    driver.auto_commit(false);
    let s_in = driver.input_topic("s", StringSerde, StringSerde);
    let t_in = driver.input_topic("t", StringSerde, StringSerde);
    for at in [5, 15, 25] {
        s_in.pipe(&s("a"), &at.to_string(), at).unwrap();
    }
    for at in [10, 20] {
        t_in.pipe(&s("a"), &format!("row{at}"), at).unwrap();
    }
    driver.commit().unwrap();
    assert_eq!(out(&driver), ["a=15+row10@15", "a=25+row20@25"]);
}

#[test]
fn in_a_diamond_the_operator_declared_first_goes_first() {
    // One stream feeds a table and is joined with it. Declared before the join, the table
    // has the record's own row when it is joined; declared after it, the row before.
    for table_first in [true, false] {
        let builder = StreamsBuilder::new();
        let source = stream(&builder, "s");
        let joined = |stream: &KStream<String, String>, table: &KTable<String, String>| {
            stream
                .left_join(
                    table,
                    |v, row| format!("{v}/{}", row.map_or("-", |row| row.as_str())),
                    Joined::new(),
                )
                .to("out", Produced::of_types());
        };
        if table_first {
            let table = source.to_table(Materialized::as_("rows"));
            joined(&source, &table);
        } else {
            // The way to the join is declared first, the table's second.
            let way = source.map_values(|v| v.clone());
            let table = source.to_table(Materialized::as_("rows"));
            joined(&way, &table);
        }
        let driver = driver(&builder);
        let s_in = driver.input_topic("s", StringSerde, StringSerde);
        for (at, value) in [(1, "1"), (2, "2"), (3, "3")] {
            s_in.pipe(&s("a"), &s(value), at).unwrap();
        }
        let expected = if table_first {
            ["a=1/1@1", "a=2/2@2", "a=3/3@3"]
        } else {
            ["a=1/-@1", "a=2/1@2", "a=3/2@3"]
        };
        assert_eq!(out(&driver), expected, "table first: {table_first}");
    }
}

#[test]
fn one_topic_can_be_read_as_a_stream_and_as_a_table_record_by_record() {
    let builder = StreamsBuilder::new();
    let rows = table(&builder, "t");
    let events = stream(&builder, "t");
    events
        .join(&rows, |v, row| format!("{v}/{row}"), Joined::new())
        .to("out", Produced::of_types());
    let topology = builder.build().unwrap();
    assert_eq!(topology.sub_topologies[0].sources.len(), 1);
    let driver = TopologyTestDriver::new(topology).unwrap();
    driver.auto_commit(false);
    let t = driver.input_topic("t", StringSerde, StringSerde);
    for (at, value) in [(1, "1"), (2, "2")] {
        t.pipe(&s("a"), &s(value), at).unwrap();
    }
    driver.commit().unwrap();
    assert_eq!(out(&driver), ["a=1/1@1", "a=2/2@2"]);
}

#[test]
fn a_join_after_a_new_key_repartitions_the_stream_to_the_tables_partitions() {
    for seed in 0..4 {
        let builder = StreamsBuilder::new();
        let users = table(&builder, "users");
        stream(&builder, "clicks")
            .select_key(|_, user| user.clone())
            .join(
                &users,
                |user, name| format!("{user} is {name}"),
                Joined::of_types(),
            )
            .to("out", Produced::of_types());
        let options = TestDriverOptions::new()
            .partitions("users", 3)
            .partitions("clicks", 5)
            .seed(seed);
        let driver = TopologyTestDriver::with_options(builder.build().unwrap(), options).unwrap();
        let users = driver.input_topic("users", StringSerde, StringSerde);
        for i in 0..20 {
            users
                .pipe(&format!("u{i}"), &format!("name{i}"), 0)
                .unwrap();
        }
        driver.auto_commit(false);
        let clicks = driver.input_topic("clicks", StringSerde, StringSerde);
        for i in 0..60 {
            clicks
                .pipe(&format!("c{i}"), &format!("u{}", i % 20), 10 + i)
                .unwrap();
        }
        driver.run().unwrap();
        let joined = out(&driver);
        assert_eq!(joined.len(), 60, "seed {seed}");
        assert!(joined.iter().any(|j| j.starts_with("u7=u7 is name7@")));
    }
}

#[test]
fn topics_that_are_joined_but_partitioned_differently_are_refused_with_the_way_out() {
    let builder = StreamsBuilder::new();
    let t = table(&builder, "t");
    stream(&builder, "s")
        .join(&t, |v, _| v.clone(), Joined::new())
        .to("out", Produced::of_types());
    let options = TestDriverOptions::new()
        .partitions("t", 2)
        .partitions("s", 3);
    let error = TopologyTestDriver::with_options(builder.build().unwrap(), options).unwrap_err();
    let message = error.to_string();
    assert!(message.contains('2') && message.contains('3'), "{message}");
    assert!(
        message.contains("`s`") || message.contains("s ("),
        "{message}"
    );
}

#[test]
fn a_filtered_table_deletes_only_what_it_had() {
    let builder = StreamsBuilder::new();
    table(&builder, "t")
        .filter(|_, v| v.len() > 1)
        .map_values(|v| v.to_uppercase())
        .to_stream()
        .to("out", Produced::of_types());
    let driver = driver(&builder);
    let t = driver.input_topic("t", StringSerde, StringSerde);
    t.pipe(&s("a"), &s("x"), 1).unwrap(); // Never there: no delete.
    t.pipe(&s("a"), &s("xx"), 2).unwrap();
    t.pipe(&s("a"), &s("x"), 3).unwrap(); // Was there: a delete.
    t.pipe(&s("a"), &s("y"), 4).unwrap();
    t.pipe_tombstone(&s("a"), 5).unwrap();
    assert_eq!(out(&driver), ["a=XX@2", "a!@3"]);
}

#[test]
fn a_join_reads_through_the_operators_of_a_table() {
    let builder = StreamsBuilder::new();
    let t = table(&builder, "t")
        .filter(|_, v| v != "hidden")
        .map_values(|v| v.len() as i64);
    stream(&builder, "s")
        .left_join(
            &t,
            |v, row| format!("{v}:{}", row.copied().unwrap_or(-1)),
            Joined::new(),
        )
        .to("out", Produced::of_types());
    let driver = driver(&builder);
    let t = driver.input_topic("t", StringSerde, StringSerde);
    let s_in = driver.input_topic("s", StringSerde, StringSerde);
    t.pipe(&s("a"), &s("four"), 1).unwrap();
    t.pipe(&s("b"), &s("hidden"), 1).unwrap();
    s_in.pipe(&s("a"), &s("x"), 2).unwrap();
    s_in.pipe(&s("b"), &s("x"), 3).unwrap();
    assert_eq!(out(&driver), ["a=x:4@2", "b=x:-1@3"]);
}

fn joined_tables(
    join: impl Fn(&KTable<String, String>, &KTable<String, String>) -> KTable<String, String>,
) -> Vec<String> {
    let builder = StreamsBuilder::new();
    let (left, right) = (table(&builder, "l"), table(&builder, "r"));
    join(&left, &right)
        .to_stream()
        .to("out", Produced::of_types());
    let driver = driver(&builder);
    let l = driver.input_topic("l", StringSerde, StringSerde);
    let r = driver.input_topic("r", StringSerde, StringSerde);
    l.pipe(&s("a"), &s("1"), 1).unwrap();
    r.pipe(&s("a"), &s("x"), 5).unwrap();
    l.pipe(&s("a"), &s("2"), 3).unwrap();
    r.pipe_tombstone(&s("a"), 6).unwrap();
    r.pipe(&s("b"), &s("y"), 7).unwrap();
    l.pipe_tombstone(&s("a"), 8).unwrap();
    out(&driver)
}

#[test]
fn table_joins_are_inner_left_and_outer_and_take_the_later_time() {
    let show = |row: Option<&String>| row.map_or("-", |row| row.as_str()).to_owned();
    let inner = joined_tables(|l, r| l.join(r, |l, r| format!("{l}{r}")));
    assert_eq!(inner, ["a=1x@5", "a=2x@5", "a!@6"]);
    let left = joined_tables(|l, r| l.left_join(r, move |l, r| format!("{l}{}", show(r))));
    assert_eq!(left, ["a=1-@1", "a=1x@5", "a=2x@5", "a=2-@6", "a!@8"]);
    let outer =
        joined_tables(|l, r| l.outer_join(r, move |l, r| format!("{}{}", show(l), show(r))));
    assert_eq!(
        outer,
        ["a=1-@1", "a=1x@5", "a=2x@5", "a=2-@6", "b=-y@7", "a!@8"]
    );
}

#[test]
fn a_regrouped_table_moves_rows_between_groups() {
    let builder = StreamsBuilder::new();
    let grouped = builder
        .table::<String, String>("t", Consumed::of_types(), Materialized::new())
        .group_by(|k, region| (region.clone(), k.clone()), Grouped::of_types());
    grouped.count(Materialized::as_("counts"));
    grouped.aggregate(
        String::new,
        |_, user, row| row + user,
        |_, user, row| row.replacen(user.as_str(), "", 1),
        Materialized::of_types().named("members"),
    );
    let driver = driver(&builder);
    let t = driver.input_topic("t", StringSerde, StringSerde);
    for (at, (user, region)) in (1..).zip([("a", "eu"), ("b", "eu"), ("c", "us"), ("a", "us")]) {
        t.pipe(&s(user), &s(region), at).unwrap();
    }
    t.pipe_tombstone(&s("b"), 9).unwrap();
    let counts = driver.table_rows("counts", StringSerde, I64Serde).unwrap();
    let counts: Vec<_> = counts.iter().map(|(k, n, _)| (k.as_str(), *n)).collect();
    assert_eq!(counts, [("eu", 0), ("us", 2)]);
    let members = driver
        .table_rows("members", StringSerde, StringSerde)
        .unwrap();
    let members: Vec<_> = members
        .iter()
        .map(|(k, m, _)| (k.as_str(), m.as_str()))
        .collect();
    assert_eq!(members, [("eu", ""), ("us", "ca")]);
}

#[test]
fn aggregations_skip_nulls_and_take_the_latest_time_of_a_row() {
    let builder = StreamsBuilder::new();
    let source = builder.stream::<String, Option<i64>>("in", Consumed::of_types());
    let grouped = source.group_by_key(Grouped::new());
    grouped.count(Materialized::as_("count"));
    grouped.aggregate(
        || 0_i64,
        |_, value, sum| sum + value.unwrap_or(0),
        Materialized::of_types().named("sum"),
    );
    grouped.reduce(|row, value| row.max(*value), Materialized::as_("max"));
    let driver = driver(&builder);
    let input = driver.input_topic("in", StringSerde, Nullable(I64Serde));
    for (value, at) in [(Some(5), 10), (None, 30), (Some(2), 5)] {
        input.pipe(&s("a"), &value, at).unwrap();
    }
    for (store, expected) in [("count", 2), ("sum", 7), ("max", 5)] {
        let rows = driver.table_rows(store, StringSerde, I64Serde).unwrap();
        assert_eq!(rows, [(s("a"), expected, 10)], "{store}");
    }
    assert_eq!(driver.skipped_records(), 3);
}

#[test]
fn emit_on_commit_tells_the_last_state_once_a_commit() {
    let builder = StreamsBuilder::new();
    builder
        .stream::<String, String>("in", Consumed::of_types())
        .group_by_key(Grouped::new())
        .count(Materialized::as_("counts").emit_on_commit())
        .filter(|_, n| *n != 3)
        .to_stream()
        .map_values(|n| n.map(|n| n.to_string()))
        .to("out", Produced::of_types());
    let driver = driver(&builder);
    driver.auto_commit(false);
    let input = driver.input_topic("in", StringSerde, StringSerde);
    let send = |keys: &[&str]| {
        for key in keys {
            input.pipe(&s(key), &s(""), 7).unwrap();
        }
        driver.commit().unwrap();
        out(&driver)
    };
    assert_eq!(send(&["b", "a", "b"]), ["a=1@7", "b=2@7"]);
    // From 2 to 3: the filter takes the row away, as it was told of before.
    assert_eq!(send(&["b"]), ["b!@7"]);
    // From 3 to 5: the row that was not there is there again.
    assert_eq!(send(&["b", "b"]), ["b=5@7"]);
    assert_eq!(send(&[]), Vec::<String>::new());
}

#[test]
fn a_stream_with_tombstones_becomes_a_table() {
    let builder = StreamsBuilder::new();
    builder
        .stream::<String, Option<String>>("in", Consumed::of_types())
        .to_table_with_tombstones(Materialized::of_types().named("rows"));
    let driver = driver(&builder);
    let input = driver.input_topic("in", StringSerde, Nullable(StringSerde));
    for value in [Some(s("1")), None, Some(s("2"))] {
        input.pipe(&s("a"), &value, 0).unwrap();
    }
    input.pipe(&s("b"), &Some(s("3")), 0).unwrap();
    input.pipe(&s("b"), &None, 0).unwrap();
    let rows = driver.table_rows("rows", StringSerde, StringSerde).unwrap();
    assert_eq!(rows, [(s("a"), s("2"), 0)]);
}

#[test]
fn tables_and_counts_survive_a_restart() {
    let builder = StreamsBuilder::new();
    let t = table(&builder, "t");
    let source = stream(&builder, "s");
    source
        .group_by_key(Grouped::new())
        .count(Materialized::as_("counts"));
    source
        .join(&t, |v, row| format!("{v}+{row}"), Joined::new())
        .to("out", Produced::of_types());
    let driver = driver(&builder);
    let t = driver.input_topic("t", StringSerde, StringSerde);
    let input = driver.input_topic("s", StringSerde, StringSerde);
    t.pipe(&s("a"), &s("row"), 1).unwrap();
    input.pipe(&s("a"), &s("1"), 2).unwrap();
    driver.restart().unwrap();
    input.pipe(&s("a"), &s("2"), 3).unwrap();
    assert_eq!(out(&driver), ["a=1+row@2", "a=2+row@3"]);
    let counts = driver.table_rows("counts", StringSerde, I64Serde).unwrap();
    assert_eq!(counts, [(s("a"), 2, 3)]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// A regrouped table's counts and sums are those of the rows there are in the end,
    /// whatever way the updates took.
    #[test]
    fn a_regrouped_table_equals_its_rows_for_any_interleaving(
        updates in proptest::collection::vec((0_u8..6, proptest::option::of(0_u8..4)), 1..80),
        seed in any::<u64>(),
        deduplicated in any::<bool>(),
    ) {
        let builder = StreamsBuilder::new();
        let grouped = builder
            .table::<String, i64>("t", Consumed::of_types(), Materialized::new())
            .group_by(|_, group| (group.to_string(), *group + 1), Grouped::of_types());
        let materialized = |name: &str| {
            let materialized = Materialized::of_types().named(name);
            if deduplicated { materialized.emit_on_commit() } else { materialized }
        };
        grouped.count(materialized("counts"));
        grouped.reduce(|sum, v| sum + v, |sum, v| sum - v, materialized("sums"));
        let options = TestDriverOptions::new().default_partitions(3).seed(seed);
        let driver = TopologyTestDriver::with_options(builder.build().unwrap(), options).unwrap();
        driver.auto_commit(false);
        let input = driver.input_topic("t", StringSerde, Nullable(I64Serde));
        let mut held: BTreeMap<u8, u8> = BTreeMap::new();
        for (at, (key, group)) in (0..).zip(updates) {
            input.pipe(&key.to_string(), &group.map(i64::from), at).unwrap();
            match group {
                Some(group) => held.insert(key, group),
                None => held.remove(&key),
            };
        }
        driver.run().unwrap();
        let mut counts: BTreeMap<String, i64> = BTreeMap::new();
        let mut sums: BTreeMap<String, i64> = BTreeMap::new();
        for group in held.values() {
            *counts.entry(group.to_string()).or_default() += 1;
            *sums.entry(group.to_string()).or_default() += i64::from(*group) + 1;
        }
        for (store, expected) in [("counts", counts), ("sums", sums)] {
            let rows = driver.table_rows(store, StringSerde, I64Serde).unwrap();
            // A group that has lost all its rows stays at zero.
            let rows = rows.into_iter().filter(|(_, value, _)| *value != 0);
            let found: BTreeMap<_, _> = rows.map(|(group, value, _)| (group, value)).collect();
            prop_assert_eq!(found, expected, "{}", store);
        }
    }

    /// Whatever is fetched, run and committed when: a stream-table join gives what a walk
    /// through both topics in the order of time gives, tables first at equal times.
    #[test]
    fn a_join_equals_a_walk_through_time_for_any_interleaving(
        // Key, value or tombstone, and the distance in time from the record before.
        rows in proptest::collection::vec((0_u8..4, proptest::option::of(0_u8..9), 0_i64..8), 0..40),
        records in proptest::collection::vec((0_u8..4, 0_i64..8), 1..60),
        seed in any::<u64>(),
        left in any::<bool>(),
    ) {
        let builder = StreamsBuilder::new();
        let t = table(&builder, "t");
        let s_in = stream(&builder, "s");
        let show = |v: &String, row: Option<&String>| {
            format!("{v}+{}", row.map_or("-", |row| row.as_str()))
        };
        let joined = if left {
            s_in.left_join(&t, show, Joined::new())
        } else {
            s_in.join(&t, move |v, row| show(v, Some(row)), Joined::new())
        };
        joined.to("out", Produced::of_types());
        let options = TestDriverOptions::new().default_partitions(2).seed(seed);
        let driver = TopologyTestDriver::with_options(builder.build().unwrap(), options).unwrap();
        driver.auto_commit(false);

        let mut walk: Vec<(i64, u8, u8, Option<String>)> = Vec::new();
        let mut at = 0;
        for (key, value, wait) in rows {
            at += wait;
            walk.push((at, 0, key, value.map(|value| value.to_string())));
        }
        at = 0;
        for (i, (key, wait)) in records.into_iter().enumerate() {
            at += wait;
            walk.push((at, 1, key, Some(i.to_string())));
        }
        let t_in = driver.input_topic("t", StringSerde, Nullable(StringSerde));
        let s_in = driver.input_topic("s", StringSerde, Nullable(StringSerde));
        for (at, kind, key, value) in &walk {
            let topic = if *kind == 0 { &t_in } else { &s_in };
            topic.pipe(&format!("k{key}"), value, *at).unwrap();
        }
        driver.run().unwrap();

        walk.sort_by_key(|(at, kind, _, _)| (*at, *kind));
        let mut held: BTreeMap<u8, Option<String>> = BTreeMap::new();
        let mut expected: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (at, kind, key, value) in walk {
            if kind == 0 {
                held.insert(key, value);
                continue;
            }
            let row = held.get(&key).cloned().flatten();
            if row.is_some() || left {
                let joined = show(&value.unwrap_or_default(), row.as_ref());
                expected.entry(format!("k{key}")).or_default().push(format!("{joined}@{at}"));
            }
        }
        // Of different keys the order is each partition's own.
        let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for record in out(&driver) {
            let (key, joined) = record.split_once('=').unwrap();
            found.entry(key.to_owned()).or_default().push(joined.to_owned());
        }
        prop_assert_eq!(found, expected);
    }
}

#[test]
fn a_stream_goes_through_a_repartition_topic_once_however_many_read_it_back() {
    let builder = StreamsBuilder::new();
    let source = stream(&builder, "s");
    // Two aggregations of one named grouping.
    let grouped = source.group_by(|_, v| v.clone(), Grouped::of_types().name("by-value"));
    grouped.count(Materialized::as_("count"));
    grouped.reduce(|row, value| row + value, Materialized::as_("all"));
    // Two joins of one rekeyed stream.
    let rekeyed = source.select_key(|_, v| v.clone());
    let (t, u) = (table(&builder, "t"), table(&builder, "u"));
    rekeyed
        .join(&t, |v, row| format!("{v}+{row}"), Joined::of_types())
        .left_join(&u, |v, _| v.clone(), Joined::new())
        .to("out", Produced::of_types());
    rekeyed
        .left_join(&u, |v, _| format!("{v}-"), Joined::of_types())
        .to("out", Produced::of_types());
    let topology = builder.build().unwrap();
    let sinks: usize = topology
        .sub_topologies
        .iter()
        .map(|sub| sub.sinks.len())
        .sum();
    assert_eq!(
        sinks, 4,
        "two repartition topics and two ways to `out`:\n{topology}"
    );
    let driver = TopologyTestDriver::new(topology).unwrap();
    let t_in = driver.input_topic("t", StringSerde, StringSerde);
    t_in.pipe(&s("x"), &s("X"), 0).unwrap();
    let input = driver.input_topic("s", StringSerde, StringSerde);
    input.pipe(&s("k"), &s("x"), 1).unwrap();
    input.pipe(&s("k"), &s("x"), 2).unwrap();
    let count = driver.table_rows("count", StringSerde, I64Serde).unwrap();
    assert_eq!(count, [(s("x"), 2, 2)]);
    let all = driver.table_rows("all", StringSerde, StringSerde).unwrap();
    assert_eq!(all, [(s("x"), s("xx"), 2)]);
    assert_eq!(out(&driver), ["x=x+X@1", "x=x-@1", "x=x+X@2", "x=x-@2"]);
}

#[test]
fn two_repartition_topics_of_one_name_are_refused() {
    let builder = StreamsBuilder::new();
    let source = stream(&builder, "s");
    for store in ["a", "b"] {
        source
            .group_by(|_, v| v.clone(), Grouped::of_types().name("same"))
            .count(Materialized::as_(store));
    }
    let message = builder.build().unwrap_err().to_string();
    assert!(
        message.contains("`same` is used for two repartition topics"),
        "{message}"
    );
}

#[test]
fn merged_topics_that_are_partitioned_differently_cannot_be_grouped_as_they_are() {
    for regrouped in [false, true] {
        let builder = StreamsBuilder::new();
        let merged = stream(&builder, "a").merge(&stream(&builder, "b"));
        if regrouped {
            merged
                .group_by(|key, _| key.clone(), Grouped::of_types())
                .count(Materialized::as_("counts"));
        } else {
            merged
                .group_by_key(Grouped::new())
                .count(Materialized::as_("counts"));
        }
        let options = TestDriverOptions::new()
            .partitions("a", 2)
            .partitions("b", 3);
        let driver = TopologyTestDriver::with_options(builder.build().unwrap(), options);
        assert_eq!(driver.is_ok(), regrouped);
    }
}
