//! `thalweg transaction`: what is open, who writes, what hangs, and how to end it.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result, bail};
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use thalweg_log::client::{
    AbortTransaction, Client, ListTransactionsOptions, ProducerState, TopicPartition,
};

use crate::args::{shown_time, span};
use crate::output::{Output, Rows, all_done, done, say};
use crate::places::partitions;
use crate::target::Target;

#[derive(Debug, Subcommand)]
pub enum TransactionCommand {
    /// List transactional ids with their states
    List(ListArgs),
    /// Show transactional ids: state, age, and the partitions of an open transaction
    Describe(DescribeArgs),
    /// Show the producers that partitions remember, and their open transactions
    DescribeProducers(ProducersArgs),
    /// Look for transactions that are open in a partition, and that no coordinator will end
    FindHanging(HangingArgs),
    /// Abort a transaction that hangs in a partition
    Abort(AbortArgs),
    /// End a transactional id's transaction by fencing its producer
    Terminate(TerminateArgs),
}

#[derive(Debug, Args)]
pub struct ListArgs {
    /// Only ids in one of these states, such as Ongoing
    #[arg(long, value_delimiter = ',', value_name = "STATE")]
    state: Vec<String>,
    /// Only ids whose transaction has been open for longer, such as 5m
    #[arg(long, value_name = "SPAN")]
    running_longer_than: Option<String>,
    /// Only ids that match this regular expression
    #[arg(long, value_name = "REGEX")]
    pattern: Option<String>,
    #[command(flatten)]
    target: Target,
    /// How to print
    #[arg(long, short, value_enum, default_value_t)]
    output: Output,
}

#[derive(Debug, Args)]
pub struct DescribeArgs {
    /// The transactional ids
    #[arg(required = true)]
    ids: Vec<String>,
    #[command(flatten)]
    target: Target,
    /// How to print
    #[arg(long, short, value_enum, default_value_t)]
    output: Output,
}

#[derive(Debug, Args)]
pub struct ProducersArgs {
    /// A topic, or some of its partitions
    #[arg(required = true, value_name = "TOPIC[:0,1]")]
    topics: Vec<String>,
    #[command(flatten)]
    target: Target,
    /// How to print
    #[arg(long, short, value_enum, default_value_t)]
    output: Output,
}

#[derive(Debug, Args)]
pub struct HangingArgs {
    /// Topics, or some of their partitions [default: all topics]
    #[arg(value_name = "TOPIC[:0,1]")]
    topics: Vec<String>,
    /// The longest transaction timeout that producers have; what is open for less may still end
    #[arg(long, value_name = "SPAN", default_value = "15m")]
    max_transaction_timeout: String,
    #[command(flatten)]
    target: Target,
    /// How to print
    #[arg(long, short, value_enum, default_value_t)]
    output: Output,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  thalweg transaction find-hanging
  thalweg transaction abort orders --partition 0 --start-offset 1234
  thalweg transaction abort orders --partition 0 --producer-id 7 --producer-epoch 3 --coordinator-epoch 0")]
pub struct AbortArgs {
    /// The topic
    topic: String,
    /// The partition
    #[arg(long, short)]
    partition: i32,
    /// Where the transaction begins in the partition, as find-hanging shows it
    #[arg(long, value_name = "OFFSET", required_unless_present = "producer_id")]
    start_offset: Option<i64>,
    /// Whose transaction, where the start is not known
    #[arg(long, requires = "producer_epoch", conflicts_with = "start_offset")]
    producer_id: Option<i64>,
    /// The producer's epoch
    #[arg(long)]
    producer_epoch: Option<i16>,
    /// The epoch of the producer's coordinator
    #[arg(long, default_value_t = -1, allow_negative_numbers = true)]
    coordinator_epoch: i32,
    #[command(flatten)]
    target: Target,
    /// How to print
    #[arg(long, short, value_enum, default_value_t)]
    output: Output,
}

#[derive(Debug, Args)]
pub struct TerminateArgs {
    /// The transactional id
    id: String,
    #[command(flatten)]
    target: Target,
    /// How to print
    #[arg(long, short, value_enum, default_value_t)]
    output: Output,
}

pub async fn run(command: TransactionCommand) -> Result<()> {
    match command {
        TransactionCommand::List(args) => {
            args.target.with(async |client| list(client, &args).await).await
        }
        TransactionCommand::Describe(args) => {
            args.target.with(async |client| describe(client, &args).await).await
        }
        TransactionCommand::DescribeProducers(args) => {
            args.target.with(async |client| producers(client, &args).await)
                .await
        }
        TransactionCommand::FindHanging(args) => {
            args.target.with(async |client| find_hanging(client, &args).await)
                .await
        }
        TransactionCommand::Abort(args) => {
            args.target.with(async |client| abort(client, &args).await).await
        }
        TransactionCommand::Terminate(args) => {
            args.target.with(async |client| {
                let mut fenced = client.admin().fence_producers(&[&args.id]).await?;
                let fenced = fenced
                    .remove(&args.id)
                    .context("the broker said nothing of it")??;
                done(
                    args.output,
                    json!({"transactional_id": args.id, "producer_id": fenced.producer_id, "producer_epoch": fenced.epoch}),
                    format_args!(
                        "The producer of {} is fenced by epoch {}; its transaction, if one was open, is aborted.",
                        args.id, fenced.epoch
                    ),
                );
                Ok(())
            })
            .await
        }
    }
}

async fn list(client: &Client, args: &ListArgs) -> Result<()> {
    let options = ListTransactionsOptions {
        states: args.state.clone(),
        duration_ms: args.running_longer_than.as_deref().map(span).transpose()?,
        transactional_id_pattern: args.pattern.clone(),
        ..ListTransactionsOptions::default()
    };
    let mut all = client.admin().list_transactions(&options).await?;
    all.sort_by(|a, b| a.transactional_id.cmp(&b.transactional_id));
    let mut rows = Rows::new(&["TRANSACTIONAL-ID", "PRODUCER-ID", "STATE"]);
    for id in all {
        rows.push(vec![
            json!(id.transactional_id),
            json!(id.producer_id),
            json!(id.state),
        ]);
    }
    if rows.is_empty() && args.output == Output::Table {
        say!("No transactional id is like that.");
        return Ok(());
    }
    rows.print(args.output);
    Ok(())
}

async fn describe(client: &Client, args: &DescribeArgs) -> Result<()> {
    let mut rows = Rows::new(&[
        "TRANSACTIONAL-ID",
        "COORDINATOR",
        "PRODUCER-ID",
        "PRODUCER-EPOCH",
        "STATE",
        "TIMEOUT-MS",
        "START-TIME",
        "DURATION-MS",
        "PARTITIONS",
    ]);
    let now = chrono::Utc::now().timestamp_millis();
    let mut failed = Vec::new();
    for (id, described) in client.admin().describe_transactions(&args.ids).await? {
        match described {
            Ok(d) => {
                let partitions: Vec<String> =
                    d.topic_partitions.iter().map(ToString::to_string).collect();
                rows.push(vec![
                    json!(id),
                    json!(d.coordinator),
                    json!(d.producer_id),
                    json!(d.producer_epoch),
                    json!(d.state),
                    json!(d.transaction_timeout_ms),
                    json!(d.transaction_start_time_ms.map(shown_time)),
                    json!(
                        d.transaction_start_time_ms
                            .map(|start| (now - start).max(0))
                    ),
                    json!(partitions),
                ]);
            }
            Err(error) => failed.push(error.to_string()),
        }
    }
    if !rows.is_empty() || args.output == Output::Json {
        rows.print(args.output);
    }
    all_done(failed)
}

/// The partitions that are named; all of every topic where none is.
async fn wanted(client: &Client, named: &[String]) -> Result<Vec<TopicPartition>> {
    if !named.is_empty() {
        return partitions(client, named).await;
    }
    let all = client.admin().list_topics().await?;
    let all: Vec<String> = all.into_iter().map(|topic| topic.name).collect();
    partitions(client, &all).await
}

async fn producers(client: &Client, args: &ProducersArgs) -> Result<()> {
    let places = wanted(client, &args.topics).await?;
    let mut rows = Rows::new(&PRODUCER_COLUMNS);
    let mut failed = Vec::new();
    for (place, producers) in client.admin().describe_producers(&places, None).await? {
        match producers {
            Ok(producers) => {
                for p in producers {
                    rows.push(producer_row(&place, &p));
                }
            }
            Err(error) => failed.push(error.to_string()),
        }
    }
    if rows.is_empty() && failed.is_empty() && args.output == Output::Table {
        say!("No idempotent producer has written there lately.");
        return Ok(());
    }
    rows.print(args.output);
    all_done(failed)
}

/// What [`producer_row`] says.
const PRODUCER_COLUMNS: [&str; 8] = [
    "TOPIC",
    "PARTITION",
    "PRODUCER-ID",
    "PRODUCER-EPOCH",
    "COORDINATOR-EPOCH",
    "LAST-SEQUENCE",
    "LAST-TIME",
    "TXN-START-OFFSET",
];

fn producer_row(place: &TopicPartition, p: &ProducerState) -> Vec<Value> {
    vec![
        json!(place.topic.as_ref()),
        json!(place.partition),
        json!(p.producer_id),
        json!(p.producer_epoch),
        json!(p.coordinator_epoch),
        json!(p.last_sequence),
        json!(Some(p.last_timestamp).filter(|t| *t >= 0).map(shown_time)),
        json!(p.current_transaction_start_offset),
    ]
}

async fn find_hanging(client: &Client, args: &HangingArgs) -> Result<()> {
    let admin = client.admin();
    let places = wanted(client, &args.topics).await?;
    let before = chrono::Utc::now().timestamp_millis() - span(&args.max_transaction_timeout)?;
    let mut open: Vec<(TopicPartition, ProducerState)> = Vec::new();
    for (place, producers) in admin.describe_producers(&places, None).await? {
        let producers = producers.with_context(|| format!("cannot ask for {place}"))?;
        open.extend(
            producers
                .into_iter()
                .filter(|p| p.current_transaction_start_offset.is_some())
                .filter(|p| p.last_timestamp < before)
                .map(|p| (place.clone(), p)),
        );
    }
    let ids: BTreeSet<i64> = open.iter().map(|(_, p)| p.producer_id).collect();
    let covered = match ids.is_empty() {
        true => BTreeMap::new(),
        false => coordinated(client, ids.into_iter().collect()).await?,
    };
    // What its coordinator knows of, the coordinator will end.
    open.retain(|(place, p)| {
        covered
            .get(&p.producer_id)
            .is_none_or(|places| !places.contains(place))
    });
    let mut rows = Rows::new(&PRODUCER_COLUMNS);
    for (place, p) in &open {
        rows.push(producer_row(place, p));
    }
    if rows.is_empty() && args.output == Output::Table {
        say!("No transaction hangs.");
        return Ok(());
    }
    rows.print(args.output);
    if args.output == Output::Table {
        eprintln!(
            "End one with `thalweg transaction abort TOPIC --partition P --start-offset TXN-START-OFFSET`."
        );
    }
    Ok(())
}

/// The partitions of open transactions, by producer, as the coordinators know them.
async fn coordinated(
    client: &Client,
    producer_ids: Vec<i64>,
) -> Result<BTreeMap<i64, BTreeSet<TopicPartition>>> {
    let options = ListTransactionsOptions {
        producer_ids,
        ..ListTransactionsOptions::default()
    };
    let listed = client.admin().list_transactions(&options).await?;
    let ids: Vec<String> = listed.into_iter().map(|l| l.transactional_id).collect();
    let mut all = BTreeMap::new();
    for (_, described) in client.admin().describe_transactions(&ids).await? {
        let described = described?;
        all.insert(
            described.producer_id,
            described.topic_partitions.into_iter().collect(),
        );
    }
    Ok(all)
}

async fn abort(client: &Client, args: &AbortArgs) -> Result<()> {
    let place = TopicPartition::new(args.topic.as_str(), args.partition);
    let hanging = match (args.start_offset, args.producer_id) {
        (Some(start), _) => {
            let mut producers = client
                .admin()
                .describe_producers(std::slice::from_ref(&place), None)
                .await?;
            let producers = producers
                .remove(&place)
                .with_context(|| format!("the broker said nothing of {place}"))??;
            let found = producers
                .into_iter()
                .find(|p| p.current_transaction_start_offset == Some(start));
            let found = found.with_context(|| {
                format!("Could not find any open transactions starting at offset {start} on partition {place}")
            })?;
            AbortTransaction {
                topic_partition: place.clone(),
                producer_id: found.producer_id,
                producer_epoch: i16::try_from(found.producer_epoch)
                    .context("the broker told no epoch")?,
                coordinator_epoch: found.coordinator_epoch.unwrap_or(0),
            }
        }
        (None, Some(producer_id)) => AbortTransaction {
            topic_partition: place.clone(),
            producer_id,
            producer_epoch: args.producer_epoch.unwrap_or(0),
            coordinator_epoch: args.coordinator_epoch,
        },
        (None, None) => bail!("say which transaction: --start-offset or --producer-id"),
    };
    client.admin().abort_transaction(&hanging).await?;
    done(
        args.output,
        json!({"topic": place.topic.as_ref(), "partition": place.partition, "producer_id": hanging.producer_id, "aborted": true}),
        format_args!(
            "Aborted the transaction of producer {} in {place}.",
            hanging.producer_id
        ),
    );
    Ok(())
}
