//! `thalweg topic create|list|describe|delete`.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, bail};
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use thalweg_log::client::{
    Client, ConfigResource, IsolationLevel, NewTopic, OffsetSpec, TopicPartition,
};

use crate::output::{Output, Rows};
use crate::target::Target;

#[derive(Debug, Subcommand)]
pub enum TopicCommand {
    /// Create a topic
    Create(CreateArgs),
    /// List topics
    List(ListArgs),
    /// Show a topic's partitions, offsets and configuration
    Describe(DescribeArgs),
    /// Delete topics with all their records
    Delete(DeleteArgs),
}

#[derive(Debug, Args)]
pub struct CreateArgs {
    /// The topic's name
    topic: String,
    /// How many partitions [default: the broker's num.partitions]
    #[arg(long, short)]
    partitions: Option<i32>,
    /// How many replicas [default: the broker's default.replication.factor]
    #[arg(long, short)]
    replication_factor: Option<i16>,
    /// A configuration entry, such as cleanup.policy=compact
    #[arg(long = "config", short, value_name = "KEY=VALUE")]
    configs: Vec<String>,
    #[command(flatten)]
    target: Target,
    /// How to print
    #[arg(long, short, value_enum, default_value_t)]
    output: Output,
}

#[derive(Debug, Args)]
pub struct ListArgs {
    /// Show internal topics too
    #[arg(long, short)]
    all: bool,
    #[command(flatten)]
    target: Target,
    /// How to print
    #[arg(long, short, value_enum, default_value_t)]
    output: Output,
}

#[derive(Debug, Args)]
pub struct DescribeArgs {
    /// The topic's name
    topic: String,
    /// Show every configuration entry, not only those that were set
    #[arg(long)]
    all_configs: bool,
    #[command(flatten)]
    target: Target,
    /// How to print
    #[arg(long, short, value_enum, default_value_t)]
    output: Output,
}

#[derive(Debug, Args)]
pub struct DeleteArgs {
    /// The topics' names
    #[arg(required = true)]
    topics: Vec<String>,
    #[command(flatten)]
    target: Target,
}

pub async fn run(command: TopicCommand) -> Result<()> {
    match command {
        TopicCommand::Create(args) => {
            let log = args.target.open().await?;
            log.with(async |client| create(client, &args).await).await
        }
        TopicCommand::List(args) => {
            let log = args.target.open().await?;
            log.with(async |client| list(client, &args).await).await
        }
        TopicCommand::Describe(args) => {
            let log = args.target.open().await?;
            log.with(async |client| describe(client, &args).await).await
        }
        TopicCommand::Delete(args) => {
            let log = args.target.open().await?;
            log.with(async |client| delete(client, &args.topics).await)
                .await
        }
    }
}

async fn create(client: &Client, args: &CreateArgs) -> Result<()> {
    let mut topic = NewTopic::new(&args.topic);
    topic.partitions = args.partitions;
    topic.replication_factor = args.replication_factor;
    for pair in &args.configs {
        let Some((key, value)) = pair.split_once('=') else {
            bail!("--config takes KEY=VALUE, such as cleanup.policy=compact, not {pair:?}");
        };
        topic = topic.config(key, value);
    }
    let created = client.admin().create_topic(topic).await?;
    let mut rows = Rows::new(&["TOPIC", "TOPIC-ID", "PARTITIONS", "REPLICATION-FACTOR"]);
    rows.push(vec![
        json!(created.name),
        json!(created.id.to_string()),
        json!(created.partitions),
        json!(created.replication_factor),
    ]);
    rows.print(args.output);
    Ok(())
}

async fn list(client: &Client, args: &ListArgs) -> Result<()> {
    let mut topics = client.admin().list_topics().await?;
    topics.retain(|topic| args.all || !topic.internal && !topic.name.starts_with("__"));
    topics.sort_by(|a, b| a.name.cmp(&b.name));
    let mut rows = Rows::new(&["TOPIC", "PARTITIONS", "REPLICATION-FACTOR"]);
    for topic in topics {
        rows.push(vec![
            json!(topic.name),
            json!(topic.partitions),
            json!(topic.replication_factor),
        ]);
    }
    if rows.is_empty() && args.output == Output::Table {
        println!("No topics yet. Create one with `thalweg topic create NAME`.");
        return Ok(());
    }
    rows.print(args.output);
    Ok(())
}

async fn describe(client: &Client, args: &DescribeArgs) -> Result<()> {
    let admin = client.admin();
    let mut described = admin.describe_topics(&[&args.topic]).await?;
    let topic = described
        .remove(&args.topic)
        .with_context(|| format!("the broker said nothing of topic {}", args.topic))??;
    let places: Vec<TopicPartition> = topic
        .partitions
        .iter()
        .map(|partition| TopicPartition::new(args.topic.as_str(), partition.partition))
        .collect();
    let offsets = async |spec: OffsetSpec| {
        let wanted: BTreeMap<_, _> = places.iter().map(|place| (place.clone(), spec)).collect();
        admin
            .list_offsets(wanted, IsolationLevel::ReadUncommitted)
            .await
    };
    let starts = offsets(OffsetSpec::Earliest).await?;
    let ends = offsets(OffsetSpec::Latest).await?;
    let resource = ConfigResource::Topic(args.topic.clone());
    let mut configs = admin
        .describe_configs(std::slice::from_ref(&resource))
        .await?;
    let mut configs = configs
        .remove(&resource)
        .with_context(|| format!("the broker said nothing of {resource}"))??;
    configs.retain(|entry| args.all_configs || !entry.is_default);

    let mut rows = Rows::new(&[
        "PARTITION",
        "LEADER",
        "EPOCH",
        "REPLICAS",
        "ISR",
        "LOG-START-OFFSET",
        "LOG-END-OFFSET",
        "RECORDS",
    ]);
    for (place, partition) in places.iter().zip(&topic.partitions) {
        let start = starts.get(place).copied().flatten().map(|at| at.offset);
        let end = ends.get(place).copied().flatten().map(|at| at.offset);
        rows.push(vec![
            json!(partition.partition),
            json!(partition.leader),
            json!(partition.leader_epoch),
            json!(partition.replicas),
            json!(partition.isr),
            json!(start),
            json!(end),
            json!(start.zip(end).map(|(start, end)| end - start)),
        ]);
    }
    match args.output {
        Output::Table => {
            println!(
                "Topic: {}   TopicId: {}   PartitionCount: {}",
                args.topic,
                topic.id,
                places.len()
            );
            if !configs.is_empty() {
                let entries: Vec<String> = configs
                    .iter()
                    .map(|entry| {
                        format!("{}={}", entry.name, entry.value.as_deref().unwrap_or("-"))
                    })
                    .collect();
                println!("Configs: {}", entries.join(" "));
            }
            rows.print(Output::Table);
        }
        Output::Json => {
            let configs: serde_json::Map<String, Value> = configs
                .into_iter()
                .map(|entry| (entry.name, json!(entry.value)))
                .collect();
            let topic = json!({
                "topic": args.topic,
                "topic_id": topic.id.to_string(),
                "configs": configs,
                "partitions": rows.to_json(),
            });
            println!("{topic}");
        }
    }
    Ok(())
}

async fn delete(client: &Client, topics: &[String]) -> Result<()> {
    let results = client.admin().delete_topics(topics).await?;
    let mut failed = Vec::new();
    for (topic, result) in results {
        match result {
            Ok(()) => println!("Deleted {topic}."),
            Err(error) => failed.push(error.to_string()),
        }
    }
    if !failed.is_empty() {
        bail!(failed.join("\n"));
    }
    Ok(())
}
