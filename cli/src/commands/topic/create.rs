//! `thalweg topic create`.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use clap::Args;
use serde_json::json;
use thalweg_log::client::{Client, NewTopic};
use thalweg_log::wire::ErrorCode;

use crate::args::pairs;
use crate::output::{Output, Rows, all_done};
use crate::target::Target;

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  thalweg topic create orders -p 6 -c retention.ms=86400000
  thalweg topic create customers -c cleanup.policy=compact
  thalweg topic create pinned --replica-assignment 1,1,1")]
pub struct CreateArgs {
    /// The topics' names
    #[arg(required = true)]
    topics: Vec<String>,
    /// How many partitions [default: the broker's num.partitions]
    #[arg(long, short)]
    partitions: Option<i32>,
    /// How many replicas [default: the broker's default.replication.factor]
    #[arg(long, short)]
    replication_factor: Option<i16>,
    /// The brokers of each partition: replicas separated by colons, partitions by commas
    #[arg(long, value_name = "B:B,B:B", conflicts_with_all = ["partitions", "replication_factor"])]
    replica_assignment: Option<String>,
    /// A configuration entry, such as cleanup.policy=compact
    #[arg(long = "config", short, value_name = "KEY=VALUE")]
    configs: Vec<String>,
    /// Topics that exist already are no error
    #[arg(long)]
    if_not_exists: bool,
    #[command(flatten)]
    pub(super) target: Target,
    /// How to print
    #[arg(long, short, value_enum, default_value_t)]
    output: Output,
}

pub(super) async fn run(client: &Client, args: &CreateArgs) -> Result<()> {
    let configs = pairs("--config", &args.configs)?;
    let assignment = match &args.replica_assignment {
        Some(text) => assignment(text)?,
        None => BTreeMap::new(),
    };
    let topics = args.topics.iter().map(|name| {
        let mut topic = NewTopic::new(name);
        topic.partitions = args.partitions;
        topic.replication_factor = args.replication_factor;
        topic.replica_assignments = assignment.clone();
        topic.configs = configs.iter().cloned().collect();
        topic
    });
    let mut rows = Rows::new(&["TOPIC", "TOPIC-ID", "PARTITIONS", "REPLICATION-FACTOR"]);
    let mut failed = Vec::new();
    for topic in topics {
        match client.admin().create_topic(topic).await {
            Ok(created) => rows.push(vec![
                json!(created.name),
                json!(created.id.to_string()),
                json!(created.partitions),
                json!(created.replication_factor),
            ]),
            Err(e) if args.if_not_exists && e.code() == Some(ErrorCode::TopicAlreadyExists) => {}
            Err(e) => failed.push(e.to_string()),
        }
    }
    if !rows.is_empty() || args.output == Output::Json {
        rows.print(args.output);
    }
    all_done(failed)
}

/// Replicas by partition, as `1:2,2:1` says them.
pub(super) fn assignment(text: &str) -> Result<BTreeMap<i32, Vec<i32>>> {
    (0..)
        .zip(text.split(','))
        .map(|(partition, brokers)| {
            let brokers = brokers
                .split(':')
                .map(|id| id.trim().parse::<i32>())
                .collect::<Result<Vec<i32>, _>>()
                .with_context(|| {
                    format!("--replica-assignment takes broker ids such as 1:2,2:1, not {text:?}")
                })?;
            Ok((partition, brokers))
        })
        .collect()
}
