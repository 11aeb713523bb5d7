//! `thalweg topic describe`.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use clap::Args;
use serde_json::{Value, json};
use thalweg_log::client::{
    Client, ConfigEntry, ConfigResource, IsolationLevel, OffsetSpec, PartitionInfo, TopicInfo,
    TopicPartition,
};

use crate::output::{Output, Rows, all_done, say};
use crate::target::Target;

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  thalweg topic describe orders
  thalweg topic describe --all-topics --under-replicated
  thalweg topic describe orders --all-configs -o json")]
pub struct DescribeArgs {
    /// The topics' names
    #[arg(required_unless_present_any = ["all_topics", "under_replicated", "under_min_isr", "at_min_isr", "unavailable", "overridden"])]
    topics: Vec<String>,
    /// Take the names for regular expressions that a whole name must match
    #[arg(long, requires = "topics")]
    regex: bool,
    /// Every topic; what the filters below take where no topic is named
    #[arg(long, conflicts_with = "topics")]
    all_topics: bool,
    /// Only partitions with replicas that are not in sync
    #[arg(long)]
    under_replicated: bool,
    /// Only partitions with fewer replicas in sync than min.insync.replicas
    #[arg(long)]
    under_min_isr: bool,
    /// Only partitions with just as many replicas in sync as min.insync.replicas
    #[arg(long)]
    at_min_isr: bool,
    /// Only partitions without a leader
    #[arg(long)]
    unavailable: bool,
    /// Only topics with a configuration of their own, without their partitions
    #[arg(long)]
    overridden: bool,
    /// Show every configuration entry, not only those that were set
    #[arg(long)]
    all_configs: bool,
    #[command(flatten)]
    pub(super) target: Target,
    /// How to print
    #[arg(long, short, value_enum, default_value_t)]
    output: Output,
}

impl DescribeArgs {
    fn filters(&self) -> bool {
        self.under_replicated || self.under_min_isr || self.at_min_isr || self.unavailable
    }

    fn wants(&self, partition: &PartitionInfo, min_isr: usize) -> bool {
        let (replicas, isr) = (partition.replicas.len(), partition.isr.len());
        let min = min_isr.min(replicas);
        !self.filters()
            || self.under_replicated && isr < replicas
            || self.under_min_isr && isr < min
            || self.at_min_isr && isr == min
            || self.unavailable && partition.leader.is_none()
    }
}

pub(super) async fn run(client: &Client, args: &DescribeArgs) -> Result<()> {
    let admin = client.admin();
    let names: Vec<String> = if args.topics.is_empty() {
        let all = admin.list_topics().await?;
        all.into_iter().map(|t| t.name).collect()
    } else if args.regex {
        crate::places::matching(client, &args.topics).await?
    } else {
        args.topics.clone()
    };
    let mut described = admin.describe_topics(&names).await?;
    let resources: Vec<ConfigResource> = names.iter().cloned().map(ConfigResource::Topic).collect();
    let mut configs = admin.describe_configs(&resources).await?;
    let mut failed = Vec::new();
    let mut shown = Vec::new();
    for (name, resource) in names.iter().zip(&resources) {
        let topic = described
            .remove(name)
            .with_context(|| format!("the broker said nothing of topic {name}"))?;
        let entries = configs
            .remove(resource)
            .with_context(|| format!("the broker said nothing of {resource}"))?;
        match (topic, entries) {
            (Ok(topic), Ok(entries)) => {
                if let Some(topic) = show(client, args, topic, entries).await? {
                    shown.push(topic);
                }
            }
            (Err(error), _) | (_, Err(error)) => failed.push(error.to_string()),
        }
    }
    print(args, &shown);
    all_done(failed)
}

/// A topic as it is printed.
struct Shown {
    topic: Arc<TopicInfo>,
    configs: Vec<ConfigEntry>,
    partitions: Rows,
}

async fn show(
    client: &Client,
    args: &DescribeArgs,
    topic: Arc<TopicInfo>,
    mut configs: Vec<ConfigEntry>,
) -> Result<Option<Shown>> {
    let min_isr = configs
        .iter()
        .find(|entry| entry.name == "min.insync.replicas")
        .and_then(|entry| entry.value.as_deref()?.parse().ok())
        .unwrap_or(1);
    configs.retain(|entry| args.all_configs || is_own(entry));
    if args.overridden && configs.iter().all(|entry| !is_own(entry)) {
        return Ok(None);
    }
    let wanted: Vec<&PartitionInfo> = topic
        .partitions
        .iter()
        .filter(|p| args.wants(p, min_isr))
        .collect();
    if wanted.is_empty() && args.filters() {
        return Ok(None);
    }
    let place = |p: &PartitionInfo| TopicPartition::new(Arc::clone(&topic.name), p.partition);
    // Who leads nowhere cannot be asked.
    let led = wanted.iter().filter(|p| p.leader.is_some());
    let places: Vec<TopicPartition> = led.map(|p| place(p)).collect();
    let offsets = async |spec: OffsetSpec| {
        let wanted: BTreeMap<_, _> = places.iter().map(|place| (place.clone(), spec)).collect();
        client
            .admin()
            .list_offsets(wanted, IsolationLevel::ReadUncommitted)
            .await
    };
    let starts = offsets(OffsetSpec::Earliest).await?;
    let ends = offsets(OffsetSpec::Latest).await?;
    let mut partitions = Rows::new(&[
        "PARTITION",
        "LEADER",
        "EPOCH",
        "REPLICAS",
        "ISR",
        "LOG-START-OFFSET",
        "LOG-END-OFFSET",
        "RECORDS",
    ]);
    for partition in wanted {
        let place = place(partition);
        let start = starts.get(&place).copied().flatten().map(|at| at.offset);
        let end = ends.get(&place).copied().flatten().map(|at| at.offset);
        partitions.push(vec![
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
    Ok(Some(Shown {
        topic,
        configs,
        partitions,
    }))
}

/// Whether the topic sets it itself.
fn is_own(entry: &ConfigEntry) -> bool {
    entry.source == 1
}

fn print(args: &DescribeArgs, shown: &[Shown]) {
    if args.output == Output::Json {
        let all: Vec<Value> = shown.iter().map(to_json).collect();
        // One topic that was asked for is one object; of several there is a list.
        match all.as_slice() {
            [only] if args.topics.len() == 1 && !args.regex => say!("{only}"),
            all => say!("{}", json!(all)),
        }
        return;
    }
    if shown.is_empty() && args.topics.is_empty() {
        say!("No partition or topic is like that.");
    }
    for (at, shown) in shown.iter().enumerate() {
        if at > 0 {
            say!("");
        }
        let replicas = shown.topic.partitions.iter().map(|p| p.replicas.len());
        say!(
            "Topic: {}   TopicId: {}   PartitionCount: {}   ReplicationFactor: {}",
            shown.topic.name,
            shown.topic.id,
            shown.topic.partitions.len(),
            replicas.max().unwrap_or(0)
        );
        let entries: Vec<String> = shown
            .configs
            .iter()
            .map(|entry| format!("{}={}", entry.name, entry.value.as_deref().unwrap_or("-")))
            .collect();
        match args.all_configs {
            true => entries.iter().for_each(|entry| say!("  {entry}")),
            false if entries.is_empty() => {}
            false => say!("Configs: {}", entries.join(" ")),
        }
        if !args.overridden {
            shown.partitions.print(Output::Table);
        }
    }
}

fn to_json(shown: &Shown) -> Value {
    let configs: serde_json::Map<String, Value> = shown
        .configs
        .iter()
        .map(|entry| (entry.name.clone(), json!(entry.value)))
        .collect();
    json!({
        "topic": shown.topic.name.as_ref(),
        "topic_id": shown.topic.id.to_string(),
        "configs": configs,
        "partitions": shown.partitions.to_json(),
    })
}
