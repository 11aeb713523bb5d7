//! The Processor API: forwarding, stores, and timers on both clocks.

use std::time::Duration;

use thalweg_streams::serdes::{I64Serde, StringSerde};
use thalweg_streams::{
    Consumed, KeyValueStore, Meta, Processor, ProcessorContext, Produced, PunctuationType,
    StreamsBuilder, StreamsError, TimerId, TopologyTestDriver,
};

fn s(text: &str) -> String {
    text.to_owned()
}

type Context<'c, 'a, 't> = ProcessorContext<'c, 'a, 't, String, i64>;

/// Counts by key in a store and tells all counts when its timer fires.
struct Counter {
    counts: KeyValueStore<String, i64>,
    clock: PunctuationType,
}

impl Processor<String, String, String, i64> for Counter {
    fn init(&mut self, cx: &mut Context<'_, '_, '_>) -> Result<(), StreamsError> {
        cx.schedule(Duration::from_millis(10), self.clock);
        Ok(())
    }

    fn process(
        &mut self,
        key: &String,
        value: &String,
        _meta: &Meta<'_>,
        cx: &mut Context<'_, '_, '_>,
    ) -> Result<(), StreamsError> {
        if value == "forget" {
            return self.counts.delete(key, cx);
        }
        let count = self.counts.get(key, cx)?.unwrap_or(0) + 1;
        self.counts.put(key, &count, cx)
    }

    fn punctuate(
        &mut self,
        _timer: TimerId,
        timestamp: i64,
        cx: &mut Context<'_, '_, '_>,
    ) -> Result<(), StreamsError> {
        for (key, count) in self.counts.all(cx)? {
            cx.forward(&key, &count, &Meta::at(timestamp))?;
        }
        Ok(())
    }
}

fn counting(clock: PunctuationType) -> TopologyTestDriver {
    let builder = StreamsBuilder::new();
    let store = builder.key_value_store("counts", StringSerde, I64Serde);
    let supplier = {
        let store = store.clone();
        move || Counter {
            counts: store.open(),
            clock,
        }
    };
    builder
        .stream::<String, String>("in", Consumed::of_types())
        .process(supplier, &[store.name()])
        .to("out", Produced::of_types());
    TopologyTestDriver::new(builder.build().unwrap()).unwrap()
}

fn told(driver: &TopologyTestDriver) -> Vec<String> {
    let out = driver.output_topic("out", StringSerde, I64Serde);
    let records = out.read().unwrap();
    let show = |r: thalweg_streams::test_driver::TestRecord<String, i64>| {
        format!("{}={}@{}", r.key, r.value, r.timestamp)
    };
    records.into_iter().map(show).collect()
}

#[test]
fn stream_time_timers_fire_by_data_alone_and_before_the_next_record() {
    let driver = counting(PunctuationType::StreamTime);
    driver.auto_commit(false);
    let input = driver.input_topic("in", StringSerde, StringSerde);
    driver.advance_wall_clock(Duration::from_secs(60)).unwrap();
    for at in [3, 5, 9, 10, 12, 47, 48] {
        input.pipe(&s("a"), &s(""), at).unwrap();
    }
    driver.commit().unwrap();
    // With the first record, at 10, and once for the gap up to 47.
    assert_eq!(told(&driver), ["a=1@3", "a=4@10", "a=6@47"]);
}

#[test]
fn wall_clock_timers_fire_by_the_clock_alone() {
    let driver = counting(PunctuationType::WallClockTime);
    let input = driver.input_topic("in", StringSerde, StringSerde);
    input.pipe(&s("a"), &s(""), 1_000_000).unwrap();
    assert_eq!(told(&driver), Vec::<String>::new());
    driver.advance_wall_clock(Duration::from_millis(9)).unwrap();
    assert_eq!(told(&driver), Vec::<String>::new());
    driver.advance_wall_clock(Duration::from_millis(1)).unwrap();
    assert_eq!(told(&driver), ["a=1@10"]);
    driver
        .advance_wall_clock(Duration::from_millis(35))
        .unwrap();
    assert_eq!(told(&driver), ["a=1@45"]);
}

#[test]
fn a_processors_store_survives_a_restart_and_forgets_what_a_crash_took() {
    let driver = counting(PunctuationType::WallClockTime);
    let input = driver.input_topic("in", StringSerde, StringSerde);
    input.pipe(&s("a"), &s(""), 0).unwrap();
    input.pipe(&s("b"), &s(""), 0).unwrap();
    input.pipe(&s("b"), &s("forget"), 0).unwrap();
    driver.restart().unwrap();
    driver.auto_commit(false);
    input.pipe(&s("a"), &s(""), 0).unwrap();
    driver.run().unwrap();
    // The record was processed but not committed: it is taken again, and counts once.
    driver.crash().unwrap();
    driver.commit().unwrap();
    let entries = driver.store_entries("counts").unwrap();
    assert_eq!(entries.len(), 1);
    assert_eq!(entries[0].1.as_ref(), 2_i64.to_be_bytes());
}

#[test]
fn a_store_that_was_not_declared_is_refused_when_the_topology_is_built() {
    struct Drop;
    impl Processor<String, String, String, String> for Drop {
        fn process(
            &mut self,
            _key: &String,
            _value: &String,
            _meta: &Meta<'_>,
            _cx: &mut ProcessorContext<'_, '_, '_, String, String>,
        ) -> Result<(), StreamsError> {
            Ok(())
        }
    }
    let builder = StreamsBuilder::new();
    builder
        .stream::<String, String>("in", Consumed::of_types())
        .process::<String, String, _, _>(|| Drop, &["nowhere"]);
    let message = builder.build().unwrap_err().to_string();
    assert!(
        message.contains("`nowhere` that does not exist"),
        "{message}"
    );
}
