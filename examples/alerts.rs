//! A processor of one's own: tells of a sensor that has been silent for a minute of event
//! time. It keeps the last time of each sensor in a store and looks at all of them
//! whenever stream time has moved on by ten seconds.
//!
//! It runs on the test driver, where the test decides what time it is.
//!
//! ```text
//! cargo run -p thalweg-examples --example alerts
//! ```

use std::time::Duration;

use thalweg_streams::serdes::{F64Serde, I64Serde, StringSerde};
use thalweg_streams::{
    Consumed, KeyValueStore, Meta, Processor, ProcessorContext, Produced, PunctuationType,
    StreamsBuilder, StreamsError, TimerId, TopologyTestDriver,
};

const SILENCE_MS: i64 = 60_000;

struct SilentSensors {
    last_seen: KeyValueStore<String, i64>,
}

impl Processor<String, f64, String, String> for SilentSensors {
    fn init(
        &mut self,
        cx: &mut ProcessorContext<'_, '_, '_, String, String>,
    ) -> Result<(), StreamsError> {
        cx.schedule(Duration::from_secs(10), PunctuationType::StreamTime);
        Ok(())
    }

    fn process(
        &mut self,
        sensor: &String,
        _reading: &f64,
        meta: &Meta<'_>,
        cx: &mut ProcessorContext<'_, '_, '_, String, String>,
    ) -> Result<(), StreamsError> {
        self.last_seen.put(sensor, &meta.timestamp, cx)
    }

    fn punctuate(
        &mut self,
        _timer: TimerId,
        now: i64,
        cx: &mut ProcessorContext<'_, '_, '_, String, String>,
    ) -> Result<(), StreamsError> {
        for (sensor, last) in self.last_seen.all(cx)? {
            if now - last >= SILENCE_MS {
                self.last_seen.delete(&sensor, cx)?;
                let alert = format!("silent for {} s", (now - last) / 1000);
                cx.forward(&sensor, &alert, &Meta::at(now))?;
            }
        }
        Ok(())
    }
}

fn main() -> anyhow::Result<()> {
    let builder = StreamsBuilder::new();
    let store = builder.key_value_store("last-seen", StringSerde, I64Serde);
    let opened = store.clone();
    builder
        .stream::<String, f64>("readings", Consumed::of_types())
        .process(
            move || SilentSensors {
                last_seen: opened.open(),
            },
            &[store.name()],
        )
        .to("alerts", Produced::of_types());

    let driver = TopologyTestDriver::new(builder.build()?)?;
    let readings = driver.input_topic("readings", StringSerde, F64Serde);
    for second in 0..120 {
        readings.pipe(&"north".to_owned(), &21.5, second * 1000)?;
        if second < 30 {
            readings.pipe(&"south".to_owned(), &19.0, second * 1000)?;
        }
    }
    let alerts = driver.output_topic("alerts", StringSerde, StringSerde);
    for (sensor, alert) in alerts.read_key_values()? {
        println!("{sensor}: {alert}");
    }
    Ok(())
}
