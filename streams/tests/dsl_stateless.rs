//! Streams without state: what each operator promises, merge order, repartitioning, names.

use std::sync::{Arc, Mutex};

use thalweg_streams::serdes::{I64Serde, Nullable, StringSerde};
use thalweg_streams::{
    Branched, Consumed, Grouped, KStream, Materialized, OnBadRecord, Produced, Repartitioned,
    StreamsBuilder, TestDriverOptions, TopologyTestDriver,
};

fn s(text: &str) -> String {
    text.to_owned()
}

fn words(builder: &StreamsBuilder, topic: &str) -> KStream<String, String> {
    builder.stream(topic, Consumed::of_types())
}

/// Pipes `(key, value)` pairs through what `declare` makes of a stream of `in`, and
/// returns what arrives in `out`.
fn through(
    input: &[(&str, &str)],
    declare: impl FnOnce(KStream<String, String>) -> KStream<String, String>,
) -> Vec<(String, String)> {
    let builder = StreamsBuilder::new();
    declare(words(&builder, "in")).to("out", Produced::of_types());
    let driver = TopologyTestDriver::new(builder.build().unwrap()).unwrap();
    let topic = driver.input_topic("in", StringSerde, StringSerde);
    for (key, value) in input {
        topic.pipe(&s(key), &s(value), 0).unwrap();
    }
    driver
        .output_topic("out", StringSerde, StringSerde)
        .read_key_values()
        .unwrap()
}

#[test]
fn filters_keep_what_they_say() {
    let input = [("a", "1"), ("b", "2"), ("c", "1")];
    let kept = through(&input, |stream| stream.filter(|_, v| v == "1"));
    assert_eq!(kept, [(s("a"), s("1")), (s("c"), s("1"))]);
    let kept = through(&input, |stream| stream.filter_not(|_, v| v == "1"));
    assert_eq!(kept, [(s("b"), s("2"))]);
}

#[test]
fn maps_change_values_keys_or_both_and_the_number_of_records() {
    let input = [("a", "x y"), ("b", "z")];
    let mapped = through(&input, |stream| stream.map_values(|v| v.to_uppercase()));
    assert_eq!(mapped, [(s("a"), s("X Y")), (s("b"), s("Z"))]);
    let mapped = through(&input, |stream| stream.map(|k, v| (v.clone(), k.clone())));
    assert_eq!(mapped, [(s("x y"), s("a")), (s("z"), s("b"))]);
    let mapped = through(&input, |stream| {
        stream.flat_map_values(|v| v.split(' ').map(str::to_owned).collect::<Vec<_>>())
    });
    assert_eq!(
        mapped,
        [(s("a"), s("x")), (s("a"), s("y")), (s("b"), s("z"))]
    );
    let mapped = through(&input, |stream| {
        stream.flat_map(|k, v| vec![(k.clone(), v.clone()); v.len() % 3])
    });
    assert_eq!(mapped, [(s("b"), s("z"))]);
    let mapped = through(&input, |stream| stream.select_key(|_, v| v.clone()));
    assert_eq!(mapped, [(s("x y"), s("x y")), (s("z"), s("z"))]);
}

#[test]
fn peek_sees_each_record_once_and_passes_it_on() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let sink = seen.clone();
    let out = through(&[("a", "1"), ("b", "2")], |stream| {
        stream.peek(move |k, _| sink.lock().unwrap().push(k.clone()))
    });
    assert_eq!(out.len(), 2);
    assert_eq!(*seen.lock().unwrap(), [s("a"), s("b")]);
}

#[test]
fn a_record_goes_down_the_first_branch_that_wants_it() {
    let builder = StreamsBuilder::new();
    let branches = words(&builder, "in").split(vec![
        Branched::when(|_, v: &String| v.starts_with('a')).named("a"),
        Branched::when(|_, v: &String| v.len() > 1).named("long"),
        Branched::otherwise(),
    ]);
    for (branch, topic) in branches.iter().zip(["a", "long", "rest"]) {
        branch.to(topic, Produced::new());
    }
    let driver = TopologyTestDriver::new(builder.build().unwrap()).unwrap();
    let topic = driver.input_topic("in", StringSerde, StringSerde);
    for value in ["ab", "cd", "e"] {
        topic.pipe(&s("k"), &s(value), 0).unwrap();
    }
    for (topic, expected) in [("a", "ab"), ("long", "cd"), ("rest", "e")] {
        let out = driver.output_topic(topic, StringSerde, StringSerde);
        assert_eq!(out.read_key_values().unwrap(), [(s("k"), s(expected))]);
    }
}

#[test]
fn merged_topics_are_taken_by_time_whatever_came_first() {
    let builder = StreamsBuilder::new();
    words(&builder, "left")
        .merge(&words(&builder, "right"))
        .map_values(|v| format!("{v}!"))
        .to("out", Produced::of_types());
    let driver = TopologyTestDriver::new(builder.build().unwrap()).unwrap();
    driver.auto_commit(false);
    let left = driver.input_topic("left", StringSerde, StringSerde);
    let right = driver.input_topic("right", StringSerde, StringSerde);
    for at in [10, 30, 50] {
        left.pipe(&s("l"), &at.to_string(), at).unwrap();
    }
    for at in [20, 30, 40, 60] {
        right.pipe(&s("r"), &at.to_string(), at).unwrap();
    }
    driver.commit().unwrap();
    let out = driver.output_topic("out", StringSerde, StringSerde);
    let values: Vec<_> = out.read_key_values().unwrap();
    let values: Vec<_> = values.iter().map(|(k, v)| format!("{k}{v}")).collect();
    assert_eq!(
        values,
        ["l10!", "r20!", "l30!", "r30!", "r40!", "l50!", "r60!"]
    );
}

#[test]
fn branches_of_one_stream_merge_record_by_record_in_the_order_of_the_operators() {
    // A diamond: both ways of a record are done before the next record begins.
    let out = through(&[("a", "1"), ("b", "2")], |stream| {
        let left = stream.map_values(|v| format!("left {v}"));
        let right = stream.map_values(|v| format!("right {v}"));
        left.merge(&right)
    });
    let values: Vec<_> = out.iter().map(|(_, v)| v.as_str()).collect();
    assert_eq!(values, ["left 1", "right 1", "left 2", "right 2"]);
}

#[test]
fn a_stream_may_be_merged_with_itself_and_merges_may_nest() {
    let out = through(&[("a", "1")], |stream| {
        let twice = stream.merge(&stream);
        let marked = twice.map_values(|v| format!("{v}'"));
        marked.merge(&twice)
    });
    let values: Vec<_> = out.iter().map(|(_, v)| v.as_str()).collect();
    assert_eq!(values, ["1'", "1", "1'", "1"]);
}

#[test]
fn a_new_key_repartitions_before_it_groups_and_nothing_is_lost_or_doubled() {
    for seed in 0..8 {
        let builder = StreamsBuilder::new();
        words(&builder, "in")
            .select_key(|_, v| v.clone())
            .group_by_key(Grouped::of_types())
            .count(Materialized::as_("counts"));
        let options = TestDriverOptions::new().default_partitions(4).seed(seed);
        let driver = TopologyTestDriver::with_options(builder.build().unwrap(), options).unwrap();
        driver.auto_commit(false);
        let topic = driver.input_topic("in", StringSerde, StringSerde);
        for i in 0..200 {
            topic
                .pipe(&i.to_string(), &format!("word{}", i % 7), i)
                .unwrap();
        }
        driver.run().unwrap();
        let rows = driver.table_rows("counts", StringSerde, I64Serde).unwrap();
        let total: i64 = rows.iter().map(|(_, count, _)| count).sum();
        assert_eq!((rows.len(), total), (7, 200), "seed {seed}");
    }
}

#[test]
fn grouping_by_the_key_a_stream_already_has_needs_no_topic() {
    let builder = StreamsBuilder::new();
    words(&builder, "in")
        .filter(|_, _| true)
        .map_values(|v| v.len() as i64)
        .group_by_key(Grouped::new())
        .count(Materialized::new());
    assert_eq!(builder.build().unwrap().sub_topologies.len(), 1);
}

#[test]
fn records_without_a_key_are_skipped_by_a_grouping_and_counted() {
    let builder = StreamsBuilder::new();
    builder
        .stream::<Option<String>, String>("in", Consumed::of_types())
        .group_by_key(Grouped::new())
        .count(Materialized::as_("by-key"));
    builder
        .stream::<Option<String>, String>("in", Consumed::of_types())
        .group_by(
            |_, v| Some(v.clone()).filter(|v| !v.is_empty()),
            Grouped::of_types(),
        )
        .count(Materialized::as_("by-value"));
    let driver = TopologyTestDriver::new(builder.build().unwrap()).unwrap();
    let topic = driver.input_topic("in", Nullable(StringSerde), StringSerde);
    topic.pipe(&None, &s("x"), 0).unwrap();
    topic.pipe(&Some(s("a")), &s(""), 0).unwrap();
    topic.pipe(&Some(s("a")), &s("x"), 0).unwrap();
    assert_eq!(
        driver.table_rows("by-key", StringSerde, I64Serde).unwrap(),
        [(s("a"), 2, 0)]
    );
    assert_eq!(
        driver
            .table_rows("by-value", StringSerde, I64Serde)
            .unwrap(),
        [(s("x"), 2, 0)]
    );
    assert_eq!(driver.skipped_records(), 2);
}

#[test]
fn an_explicit_repartition_goes_through_a_topic_of_its_name() {
    let builder = StreamsBuilder::new();
    words(&builder, "in")
        .repartition(Repartitioned::new().name("spread").partitions(3))
        .to("out", Produced::new());
    let topology = builder.build().unwrap();
    let driver = TopologyTestDriver::new(topology).unwrap();
    let topic = driver.input_topic("in", StringSerde, StringSerde);
    for i in 0..20 {
        topic.pipe(&i.to_string(), &s("x"), i).unwrap();
    }
    let between = driver.read_raw("test-spread-repartition");
    let data = between.iter().filter(|r| r.key.is_some());
    let partitions: std::collections::BTreeSet<_> = data.map(|r| r.partition).collect();
    assert_eq!(partitions.into_iter().collect::<Vec<_>>(), [0, 1, 2]);
    let out = driver.output_topic("out", StringSerde, StringSerde);
    assert_eq!(out.read().unwrap().len(), 20);
}

#[test]
fn a_record_that_cannot_be_read_fails_the_job_with_its_place_or_is_skipped() {
    for policy in [OnBadRecord::Fail, OnBadRecord::Skip] {
        let builder = StreamsBuilder::new();
        builder
            .stream::<String, i64>("in", Consumed::of_types().on_bad_record(policy))
            .to("out", Produced::new());
        let driver = TopologyTestDriver::new(builder.build().unwrap()).unwrap();
        let good = driver.input_topic("in", StringSerde, I64Serde);
        let bad = driver.input_topic("in", StringSerde, StringSerde);
        good.pipe(&s("a"), &1, 0).unwrap();
        let result = bad.pipe(&s("a"), &s("no number"), 0);
        match policy {
            OnBadRecord::Fail => {
                let message = result.unwrap_err().to_string();
                assert!(message.contains("value of in-0 at offset 1"), "{message}");
            }
            OnBadRecord::Skip => {
                result.unwrap();
                good.pipe(&s("a"), &2, 0).unwrap();
                assert_eq!(driver.skipped_records(), 1);
                let out = driver.output_topic("out", StringSerde, I64Serde);
                assert_eq!(out.read().unwrap().len(), 2);
            }
        }
    }
}

#[test]
fn a_topology_says_everything_that_is_wrong_with_it_when_it_is_built() {
    let builder = StreamsBuilder::new();
    let mapped = words(&builder, "in").map(|k, v| (v.clone(), k.len() as i64));
    mapped.to("out", Produced::new());
    mapped
        .group_by_key(Grouped::of_types())
        .count(Materialized::as_("twice"));
    words(&builder, "in")
        .group_by_key(Grouped::new())
        .count(Materialized::as_("twice"));
    let message = builder.build().unwrap_err().to_string();
    assert!(message.contains("to(\"out\") does not know how to write its keys"));
    assert!(message.contains("name a serde with Produced::with"));
    assert!(message.contains("the store name `twice` is used twice"));
    assert!(StreamsBuilder::new().build().is_err());
}

#[test]
fn a_topology_is_described_with_the_names_and_numbers_of_kafka_streams() {
    let builder = StreamsBuilder::new();
    words(&builder, "streams-plaintext-input")
        .flat_map_values(|v| v.split(' ').map(str::to_owned).collect::<Vec<_>>())
        .group_by(|_, word| word.clone(), Grouped::of_types())
        .count(Materialized::as_("counts-store"))
        .updates()
        .to("streams-wordcount-output", Produced::new());
    let expected = "\
Topologies:
   Sub-topology: 0
    Source: KSTREAM-SOURCE-0000000000 (topics: [streams-plaintext-input])
      --> KSTREAM-FLATMAPVALUES-0000000001
    Processor: KSTREAM-FLATMAPVALUES-0000000001 (stores: [])
      --> KSTREAM-KEY-SELECT-0000000002
      <-- KSTREAM-SOURCE-0000000000
    Processor: KSTREAM-KEY-SELECT-0000000002 (stores: [])
      --> KSTREAM-FILTER-0000000005
      <-- KSTREAM-FLATMAPVALUES-0000000001
    Processor: KSTREAM-FILTER-0000000005 (stores: [])
      --> KSTREAM-SINK-0000000004
      <-- KSTREAM-KEY-SELECT-0000000002
    Sink: KSTREAM-SINK-0000000004 (topic: counts-store-repartition)
      <-- KSTREAM-FILTER-0000000005
   Sub-topology: 1
    Source: KSTREAM-SOURCE-0000000006 (topics: [counts-store-repartition])
      --> KSTREAM-AGGREGATE-0000000003
    Processor: KSTREAM-AGGREGATE-0000000003 (stores: [counts-store])
      --> KTABLE-TOSTREAM-0000000007
      <-- KSTREAM-SOURCE-0000000006
    Processor: KTABLE-TOSTREAM-0000000007 (stores: [])
      --> KSTREAM-SINK-0000000008
      <-- KSTREAM-AGGREGATE-0000000003
    Sink: KSTREAM-SINK-0000000008 (topic: streams-wordcount-output)
      <-- KTABLE-TOSTREAM-0000000007
";
    assert_eq!(builder.build().unwrap().to_string(), expected);
}

#[test]
fn generated_store_names_are_those_of_kafka_streams() {
    let builder = StreamsBuilder::new();
    let counts = words(&builder, "in")
        .group_by_key(Grouped::new())
        .count(Materialized::new());
    assert_eq!(
        counts.queryable_store_name(),
        Some("KSTREAM-AGGREGATE-STATE-STORE-0000000001")
    );
    let table = builder.table::<String, String>("t", Consumed::of_types(), Materialized::new());
    assert_eq!(
        table.queryable_store_name(),
        Some("t-STATE-STORE-0000000003")
    );
}

#[test]
fn an_ephemeral_driver_processes_the_same_and_refuses_to_restart() {
    let builder = StreamsBuilder::new();
    words(&builder, "in")
        .group_by(|_, v| v.clone(), Grouped::of_types())
        .count(Materialized::as_("counts"));
    let options = TestDriverOptions::new().default_partitions(2).ephemeral();
    let driver = TopologyTestDriver::with_options(builder.build().unwrap(), options).unwrap();
    let topic = driver.input_topic("in", StringSerde, StringSerde);
    for i in 0..50 {
        topic.pipe(&i.to_string(), &s("x"), i).unwrap();
    }
    assert_eq!(
        driver.table_rows("counts", StringSerde, I64Serde).unwrap(),
        [(s("x"), 50, 49)]
    );
    let message = driver.restart().unwrap_err().to_string();
    assert!(message.contains("cannot restart"), "{message}");
}
