//! Counting per key and minute: with the DSL, with SQL, and beside them the limits on the
//! same bytes in the same run: a hash map fed by a consumer, and a batch of DataFusion over
//! messages that lie in memory. All give the same number of windows.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use datafusion::prelude::SessionContext;
use thalweg_log::broker::{Broker, BrokerConfig};
use thalweg_log::client::{Client, ClientConfig};
use thalweg_schema::Format;
use thalweg_sql::{Engine, EngineConfig};
use thalweg_streams::{
    Consumed, Grouped, Materialized, ProcessingGuarantee, Streams, StreamsBuilder, StreamsConfig,
    TimeWindows,
};

use crate::Options;
use crate::cpu::{Stopwatch, Took};
use crate::events::{self, WINDOW_MS};
use crate::report::Runs;

const TOPIC: &str = "events";

/// Runs all of it and prints the lines.
pub async fn run(options: &Options) -> Result<()> {
    let mut bytes = 0;
    let mut took: [Vec<Took>; 5] = Default::default();
    for _ in 0..options.runs {
        let folder = tempfile::tempdir_in(&options.dir)?;
        let broker = Broker::start(BrokerConfig::new(folder.path().join("log"))).await?;
        let client = Client::with_transport(broker.transport(), ClientConfig::default());
        bytes = events::write(&client, TOPIC, options).await?;

        let [hash_map, dsl, at_least_once, batch, sql] = &mut took;
        let (time, expected) = count_in_hash_map(&client, options).await?;
        hash_map.push(time);
        for (guarantee, took) in [
            (ProcessingGuarantee::ExactlyOnce, dsl),
            (ProcessingGuarantee::AtLeastOnce, at_least_once),
        ] {
            let (time, windows) = count_with_dsl(&client, folder.path(), guarantee).await?;
            took.push(time);
            ensure!(
                windows == expected,
                "DSL, {guarantee:?}: {windows} windows, not {expected}"
            );
        }
        let (time, windows) = count_in_batch(&client, options).await?;
        batch.push(time);
        ensure!(
            windows == expected,
            "batch: {windows} windows, not {expected}"
        );
        let (time, windows) = count_with_sql(&client, &folder.path().join("sql")).await?;
        sql.push(time);
        ensure!(
            windows == expected,
            "SQL: {windows} windows, not {expected}"
        );
        broker.shutdown().await;
    }
    let runs = |name: &str, took: &[Took]| {
        let mut runs = Runs::new(name, options.records, bytes);
        took.iter().for_each(|took| runs.push(*took));
        runs
    };
    let [hash_map, dsl, at_least_once, batch, sql] = &took;
    let hash_map = runs("limit: consumer and hash map", hash_map);
    let batch = runs("limit: DataFusion batch", batch);
    println!(
        "\n{} JSON events, {} keys, windows of {} s, {} partitions, median of {} runs",
        options.records,
        events::KEYS,
        WINDOW_MS / 1000,
        options.partitions,
        options.runs
    );
    println!("{}", hash_map.line(None));
    println!("{}", runs("DSL windowed count", dsl).line(Some(&hash_map)));
    let at_least_once = runs("the same, at least once", at_least_once);
    println!("{}", at_least_once.line(Some(&hash_map)));
    println!("{}", batch.line(None));
    println!("{}", runs("SQL windowed count", sql).line(Some(&batch)));
    Ok(())
}

async fn count_in_hash_map(client: &Client, options: &Options) -> Result<(Took, usize)> {
    #[derive(serde::Deserialize)]
    struct Key<'a> {
        k: &'a str,
    }
    let watch = Stopwatch::start();
    let mut counts: HashMap<(String, i64), i64> = HashMap::new();
    for (time, value) in events::read(client, TOPIC, options).await? {
        let key: Key<'_> = serde_json::from_slice(&value)?;
        let window = time - time % WINDOW_MS;
        *counts.entry((key.k.to_owned(), window)).or_default() += 1;
    }
    Ok((watch.took(), counts.len()))
}

async fn count_with_dsl(
    client: &Client,
    folder: &std::path::Path,
    guarantee: ProcessingGuarantee,
) -> Result<(Took, usize)> {
    let builder = StreamsBuilder::new();
    builder
        .stream::<String, String>(TOPIC, Consumed::of_types())
        .group_by_key(Grouped::of_types())
        .windowed_by(TimeWindows::of_size(Duration::from_millis(
            WINDOW_MS as u64,
        )))
        .count(
            // Long enough to count the windows at the end.
            Materialized::as_("counts")
                .retention(Duration::from_secs(7 * 86_400))
                .emit_on_commit(),
        );
    let mut config = StreamsConfig::new(format!("bench-{guarantee:?}"));
    config.state_dir = folder.join("dsl");
    config.processing_guarantee = guarantee;
    let watch = Stopwatch::start();
    let streams = Streams::start(config, builder.build()?, client.clone()).await?;
    let ends = streams.input_end_offsets().await?;
    streams.wait_caught_up(&ends).await?;
    let took = watch.took();
    let mut windows = 0;
    for row in streams.store("counts")?.windows(i64::MIN, i64::MAX) {
        row?;
        windows += 1;
    }
    streams.close().await?;
    Ok((took, windows))
}

async fn count_in_batch(client: &Client, options: &Options) -> Result<(Took, usize)> {
    let messages = events::read(client, TOPIC, options).await?;
    let slices: Vec<&[u8]> = messages.iter().map(|(_, value)| value.as_ref()).collect();
    let schema = Arc::new(Schema::new(vec![
        Field::new("k", DataType::Utf8, true),
        Field::new("at", DataType::Timestamp(TimeUnit::Microsecond, None), true),
    ]));
    let watch = Stopwatch::start();
    let mut decoder = Format::Json.decoder(&schema, None)?;
    let batches: Vec<_> = slices
        .chunks(8192)
        .map(|chunk| decoder.decode(chunk).batch)
        .collect();
    let context = SessionContext::new();
    let table = datafusion::datasource::MemTable::try_new(schema, vec![batches])?;
    context.register_table("events", Arc::new(table))?;
    let windows = context
        .sql("SELECT k, date_trunc('minute', at) AS w, COUNT(*) FROM events GROUP BY 1, 2")
        .await?
        .collect()
        .await?;
    let took = watch.took();
    Ok((took, windows.iter().map(|batch| batch.num_rows()).sum()))
}

async fn count_with_sql(client: &Client, state: &std::path::Path) -> Result<(Took, usize)> {
    let engine = Engine::start(EngineConfig::new(state), client.clone()).await?;
    let session = engine.session();
    session
        .execute(&format!(
            "CREATE SOURCE events (k TEXT, at TIMESTAMP, v BIGINT,
               WATERMARK FOR at AS at - INTERVAL '5' SECOND)
             WITH (connector = 'kafka', topic = '{TOPIC}') FORMAT PLAIN ENCODE JSON"
        ))
        .await?;
    let watch = Stopwatch::start();
    session
        .execute(
            "CREATE MATERIALIZED VIEW counts AS
             SELECT k, window_start, COUNT(*) AS n
             FROM TUMBLE(events, at, INTERVAL '1 minute') GROUP BY k, window_start, window_end",
        )
        .await?;
    let took = watch.took();
    let rows = session.query("SELECT COUNT(*) AS n FROM counts").await?;
    let windows = rows
        .iter()
        .find_map(|batch| {
            use arrow::array::AsArray as _;
            let column = batch
                .columns()
                .first()?
                .as_primitive_opt::<arrow::datatypes::Int64Type>()?;
            column.values().first().copied()
        })
        .context("the view has no count")?;
    engine.close().await;
    Ok((took, usize::try_from(windows)?))
}
