//! `thalweg log import`: a topic that Apache Kafka wrote, taken over into a data folder.
//!
//! Invariant: the source is only read, and read to its end before anything is written. Where the
//! command fails, the data folder has no part of the topic.

use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};
use clap::Args;
use serde_json::{Value, json};
use thalweg_log::broker::{Broker, BrokerConfig, ImportTopicError};
use thalweg_log::storage::{ImportError, ImportPlan};

use crate::args::{pairs, shown_time};
use crate::output::{Output, Rows};

#[derive(Debug, Args)]
#[command(
    after_help = "Both servers, Kafka's and the data folder's, must be stopped. Settings of the topic do not stand in
its files: give them with --config. Without, the server's retention is in force, and records that
are older than it (see NEWEST) are deleted soon after the next start. Examples:
  thalweg log import /var/kafka-logs --topic orders --dry-run
  thalweg log import /var/kafka-logs --topic orders --data-dir thalweg-data -c retention.ms=-1
  thalweg log import /backup/orders-3 --data-dir thalweg-data --name orders-of-3"
)]
pub struct ImportArgs {
    /// A log directory of Kafka, or the folder of one partition, which becomes a topic of its own
    source: PathBuf,
    /// Which of the directory's topics [default: the only one]
    #[arg(long, value_name = "TOPIC")]
    topic: Option<String>,
    /// Its name here [default: the name it has there]
    #[arg(long, value_name = "TOPIC")]
    name: Option<String>,
    /// A setting of the topic here, such as retention.ms=-1
    #[arg(long = "config", short, value_name = "KEY=VALUE")]
    configs: Vec<String>,
    /// The data folder that takes it over; no server may hold it
    #[arg(long, value_name = "DIR", required_unless_present = "dry_run")]
    data_dir: Option<PathBuf>,
    /// A setting of the folder's server where it matters, such as node.id=3
    #[arg(long = "override", value_name = "KEY=VALUE")]
    overrides: Vec<String>,
    /// Read and check all of it, show what would be imported, and write nothing
    #[arg(long)]
    dry_run: bool,
    /// How to print
    #[arg(long, short, value_enum, default_value_t)]
    output: Output,
}

pub(super) async fn run(args: ImportArgs) -> Result<()> {
    let configs = pairs("--config", &args.configs)?;
    let overrides = pairs("--override", &args.overrides)?;
    if args.dry_run {
        let (source, topic) = (args.source.clone(), args.topic.clone());
        let read = move || ImportPlan::read(&source, topic.as_deref());
        let read = tokio::task::spawn_blocking(read).await?;
        let plan = read.map_err(|error| explained(error.into()))?;
        let name = args.name.as_deref().unwrap_or(&plan.topic);
        let id = plan.topic_id.map(|id| json!(id.to_string()));
        rows(&plan, name, &id.unwrap_or(Value::Null)).print(args.output);
        if args.output == Output::Table {
            eprintln!("Nothing was written: this is a dry run.");
        }
        return Ok(());
    }
    let data_dir = args.data_dir.as_ref().context("--data-dir is missing")?;
    // A mistyped source must not leave a new data folder behind.
    if let Err(error) = std::fs::read_dir(&args.source) {
        bail!("cannot list {}: {error}", args.source.display());
    }
    let mut config = BrokerConfig::new(data_dir);
    for (key, value) in overrides {
        config = config.set(key, value);
    }
    let broker = Broker::start(config).await?;
    let (topic, name) = (args.topic.as_deref(), args.name.as_deref());
    let done = broker
        .import_topic(&args.source, topic, name, configs)
        .await;
    broker.shutdown().await;
    let done = done.map_err(explained)?;
    let id = json!(done.topic_id.to_string());
    rows(&done.plan, &done.topic, &id).print(args.output);
    if args.output == Output::Table {
        eprintln!("Imported into {}.", data_dir.display());
    }
    Ok(())
}

/// The error, with the flag that helps.
fn explained(error: ImportTopicError) -> anyhow::Error {
    let flag = match &error {
        ImportTopicError::Source(ImportError::SeveralTopics { .. }) => Some("--topic TOPIC"),
        ImportTopicError::Source(ImportError::Exists { .. })
        | ImportTopicError::Exists(_)
        | ImportTopicError::Internal(_) => Some("--name TOPIC"),
        _ => None,
    };
    match flag {
        Some(flag) => anyhow::anyhow!("{error} ({flag})"),
        None => error.into(),
    }
}

/// A row a partition.
fn rows(plan: &ImportPlan, name: &str, id: &Value) -> Rows {
    let mut rows = Rows::new(&[
        "TOPIC",
        "TOPIC-ID",
        "PARTITION",
        "FIRST-OFFSET",
        "NEXT-OFFSET",
        "SEGMENTS",
        "BATCHES",
        "RECORDS",
        "BYTES",
        "NEWEST",
        "COMPACTED",
        "FOLDER",
    ]);
    for partition in &plan.partitions {
        rows.push(vec![
            json!(name),
            id.clone(),
            json!(partition.partition),
            json!(partition.log_start_offset),
            json!(partition.log_end_offset),
            json!(partition.segment_count()),
            json!(partition.batches),
            json!(partition.records),
            json!(partition.bytes),
            json!(partition.max_timestamp.map(shown_time)),
            json!(partition.compacted),
            json!(partition.folder.display().to_string()),
        ]);
    }
    rows
}
