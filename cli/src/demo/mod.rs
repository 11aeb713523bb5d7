//! `thalweg demo ad-clicks`: real impressions through the log, SQL over them as they come,
//! and a batch over the same data to compare with.

mod impressions;
mod live;
mod reconcile;

use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use arrow::array::RecordBatch;
use clap::{Args, Subcommand};
use thalweg_log::client::{
    AutoOffsetReset, Client, ConsumerConfig, NewTopic, ProducerConfig, ProducerRecord,
    TopicPartition,
};

use self::live::Live;
use self::reconcile::{QUESTIONS, Table, compare};
use crate::sql::embedded::Embedded;

const SQL: &str = include_str!("../../../examples/ad_clicks.sql");
const TOPIC: &str = "ad_impressions";
const SINK_TOPIC: &str = "hourly_results";
const PARTITIONS: i32 = 6;
/// A folder with this file in it may be emptied for the next run.
const MARKER: &str = ".thalweg-demo";

#[derive(Debug, Subcommand)]
pub enum DemoCommand {
    /// Count 60,000 real ad impressions and clicks in event time, and reconcile with a batch
    AdClicks(AdClicksArgs),
}

#[derive(Debug, Args)]
pub struct AdClicksArgs {
    /// Where the demo keeps its data; emptied at each run
    #[arg(long, value_name = "DIR", default_value = "thalweg-demo-data")]
    data_dir: PathBuf,
    /// How long the replay of the week takes; 0 is as fast as it goes
    /// [default: 6 on a terminal, else 0]
    #[arg(long, value_name = "SECONDS")]
    seconds: Option<f64>,
}

pub async fn run(command: DemoCommand) -> Result<ExitCode> {
    match command {
        DemoCommand::AdClicks(args) => ad_clicks(args).await,
    }
}

async fn ad_clicks(args: AdClicksArgs) -> Result<ExitCode> {
    let replay = match args.seconds {
        Some(seconds) => Duration::try_from_secs_f64(seconds)
            .context("--seconds takes a number that is not negative")?,
        None if std::io::stderr().is_terminal() => Duration::from_secs(6),
        None => Duration::ZERO,
    };
    prepare_folder(&args.data_dir)?;
    let impressions = impressions::read()?;
    println!(
        "{} ad impressions of a fashion shop, 24 to 30 November 2019 (Open Bandit Dataset, ZOZO, CC BY 4.0)\n",
        impressions.num_rows()
    );

    let started = Instant::now();
    let embedded = Embedded::open(&args.data_dir).await?;
    println!(
        "Broker and SQL engine are ready after {} ms, in this process, data in {}",
        started.elapsed().as_millis(),
        args.data_dir.display()
    );
    let reconciled = run_embedded(&embedded, &impressions, replay).await;
    embedded.close().await?;
    let drift = reconciled?;
    print_how_to_look_around(&args.data_dir);
    Ok(if drift == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Everything between start and stop; gives the drift.
async fn run_embedded(
    embedded: &Embedded,
    impressions: &RecordBatch,
    replay: Duration,
) -> Result<usize> {
    let client = embedded.client();
    client
        .admin()
        .create_topic(NewTopic::new(TOPIC).partitions(PARTITIONS))
        .await?;
    for tag in embedded.execute(SQL).await? {
        println!("  {tag}");
    }
    println!("(the SQL is examples/ad_clicks.sql)\n");

    let started = Instant::now();
    let live = Live::start(embedded, impressions.num_rows() as u64);
    let produced = produce(client, impressions, replay, &live).await;
    let flushed = match produced {
        Ok(()) => embedded.execute("FLUSH").await.map(drop),
        Err(error) => Err(error),
    };
    live.finish().await;
    flushed?;
    println!(
        "{} impressions produced and every view up to date after {:.2} s\n",
        impressions.num_rows(),
        started.elapsed().as_secs_f64()
    );
    for (title, query) in live::TABLES {
        println!("{title}\n{}\n", live::table(&embedded.query(query).await?)?);
    }
    reconcile(embedded, impressions).await
}

/// Writes the impressions in event-time order, spread over `replay`.
async fn produce(
    client: &Client,
    impressions: &RecordBatch,
    replay: Duration,
    live: &Live,
) -> Result<()> {
    let producer = client.producer(ProducerConfig::default())?;
    let messages = impressions::messages(impressions)?;
    let topic: Arc<str> = TOPIC.into();
    let started = Instant::now();
    let count = messages.len().max(1) as f64;
    for (at, message) in messages.into_iter().enumerate() {
        let due = replay.mul_f64(at as f64 / count);
        if due > started.elapsed() + Duration::from_millis(20) {
            tokio::time::sleep(due.saturating_sub(started.elapsed())).await;
        }
        let record = ProducerRecord::new(topic.clone())
            .key(message.key)
            .value(message.value)
            .timestamp(message.timestamp_ms);
        // Failures come with the flush.
        drop(producer.send(record).await?);
        live.produced(at as u64 + 1);
    }
    producer.flush().await?;
    producer.close().await?;
    Ok(())
}

/// Compares views and sink with the batch, says how it went, and gives the drift.
async fn reconcile(embedded: &Embedded, impressions: &RecordBatch) -> Result<usize> {
    println!("Reconciliation with a batch of DataFusion over the same file:");
    let mut drift = 0;
    let mut report = |name: &str, stream: &Table, batch: &Table| {
        let comparison = compare(stream, batch);
        println!(
            "  {name:<24} {:>5} compared, drift {}",
            comparison.compared,
            comparison.differences.len()
        );
        for difference in comparison.differences.iter().take(5) {
            println!("    {difference}");
        }
        drift += comparison.differences.len();
    };
    let mut hours = 0;
    for question in &QUESTIONS {
        let rows = embedded.query(question.stream).await?;
        let stream = reconcile::table(&rows, question.key_columns)?;
        let batch = reconcile::batch(question, impressions.clone()).await?;
        if question.view == "hourly" {
            hours = batch.len();
            let sunk = sink_hours(embedded.client()).await?;
            let batch_hours: Table = batch
                .iter()
                .map(|(key, row)| (key.clone(), row.iter().take(2).cloned().collect()))
                .collect();
            report("topic hourly_results", &sunk, &batch_hours);
        }
        report(&format!("view {}", question.view), &stream, &batch);
    }
    println!("{hours} windows compared, drift {drift}\n");
    std::io::stdout().flush()?;
    Ok(drift)
}

/// The newest record of each key of the sink's topic: hour to impressions and clicks.
async fn sink_hours(client: &Client) -> Result<Table> {
    let mut consumer = client.consumer(ConsumerConfig {
        auto_offset_reset: AutoOffsetReset::Earliest,
        ..ConsumerConfig::default()
    })?;
    let topic = client.topic(SINK_TOPIC).await?;
    let places: Vec<TopicPartition> = topic
        .partitions
        .iter()
        .map(|partition| TopicPartition::new(SINK_TOPIC, partition.partition))
        .collect();
    let ends = consumer.end_offsets(&places).await?;
    consumer.assign(places.clone())?;
    consumer.seek_to_beginning(&places)?;
    let mut newest = std::collections::BTreeMap::new();
    loop {
        let mut done = true;
        for place in &places {
            let end = ends.get(place).copied().unwrap_or(0);
            done &= consumer.position(place).await? >= end;
        }
        if done {
            break;
        }
        for fetched in consumer.poll_records(Duration::from_secs(1)).await? {
            for record in fetched {
                let record = record?;
                match record.value {
                    Some(value) => newest.insert(record.key, value),
                    None => newest.remove(&record.key),
                };
            }
        }
    }
    consumer.close().await?;
    let mut hours = Table::new();
    for value in newest.values() {
        let row: serde_json::Value = serde_json::from_slice(value)
            .with_context(|| format!("a record of {SINK_TOPIC} is not JSON"))?;
        let text = |name: &str| match &row[name] {
            serde_json::Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        let start = text("window_start");
        let start = start
            .split_once('.')
            .map_or(start.as_str(), |(whole, _)| whole);
        hours.insert(
            vec![text("campaign"), text("policy"), start.to_owned()],
            vec![text("impressions"), text("clicks")],
        );
    }
    Ok(hours)
}

/// Empties the folder of an earlier run; anything else is not ours to empty.
fn prepare_folder(dir: &Path) -> Result<()> {
    let failed = || format!("cannot prepare {}", dir.display());
    if dir.exists() {
        if dir.join(MARKER).exists() {
            std::fs::remove_dir_all(dir).with_context(failed)?;
        } else if std::fs::read_dir(dir)
            .with_context(failed)?
            .next()
            .is_some()
        {
            bail!(
                "{} holds something else: choose another folder with --data-dir",
                dir.display()
            );
        }
    }
    std::fs::create_dir_all(dir).with_context(failed)?;
    std::fs::write(dir.join(MARKER), "").with_context(failed)
}

fn print_how_to_look_around(dir: &Path) {
    let dir = dir.display();
    println!(
        "Look around:
  thalweg sql --data-dir {dir} -c \"SELECT * FROM items ORDER BY clicks DESC LIMIT 10\"
  thalweg sql --data-dir {dir}                    # a shell: SHOW MATERIALIZED VIEWS; DESCRIBE hourly;
  thalweg topic list --data-dir {dir}
  thalweg consume {SINK_TOPIC} --data-dir {dir} --exit --max-messages 5
  thalweg server --data-dir {dir} &               # then any Kafka or Postgres client:
  kcat -b 127.0.0.1:9092 -C -t {TOPIC} -c 3
  psql -h 127.0.0.1 -p 5433 -c \"SELECT * FROM campaigns\"
(`thalweg` is target/release/thalweg, or run `cargo install --path cli --locked`)"
    );
}
