//! `thalweg topic alter|add-partitions|delete-records`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};
use clap::Args;
use serde::Deserialize;
use serde_json::json;
use thalweg_log::client::{
    AlterConfig, Client, ConfigResource, IsolationLevel, OffsetSpec, TopicPartition,
};

use super::create::assignment;
use crate::args::pairs;
use crate::output::{Output, Rows, all_done, done};
use crate::places::partitions;
use crate::target::Target;

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  thalweg topic alter orders --set retention.ms=3600000 --delete segment.bytes
  thalweg topic alter orders --append cleanup.policy=compact")]
pub struct AlterArgs {
    /// The topic's name
    topic: String,
    #[command(flatten)]
    changes: ConfigChanges,
    #[command(flatten)]
    pub(super) target: Target,
    /// How to print
    #[arg(long, short, value_enum, default_value_t)]
    output: Output,
}

/// Changes of a configuration.
#[derive(Debug, Clone, Args)]
pub struct ConfigChanges {
    /// Set an entry
    #[arg(long, short, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Set the entries of a properties file
    #[arg(long, value_name = "FILE")]
    from_file: Option<PathBuf>,
    /// Go back to the default of an entry
    #[arg(long, short, value_name = "KEY")]
    delete: Vec<String>,
    /// Add to an entry that is a list
    #[arg(long, value_name = "KEY=VALUE")]
    append: Vec<String>,
    /// Take out of an entry that is a list
    #[arg(long, value_name = "KEY=VALUE")]
    subtract: Vec<String>,
}

impl ConfigChanges {
    /// The changes as the client sends them.
    pub fn list(&self) -> Result<Vec<AlterConfig>> {
        let mut all = Vec::new();
        if let Some(path) = &self.from_file {
            let entries = crate::settings::read_properties(path)?;
            all.extend(
                entries
                    .into_iter()
                    .map(|(key, value)| AlterConfig::Set(key, value)),
            );
        }
        for (key, value) in pairs("--set", &self.set)? {
            all.push(AlterConfig::Set(key, value));
        }
        all.extend(self.delete.iter().cloned().map(AlterConfig::Delete));
        for (key, value) in pairs("--append", &self.append)? {
            all.push(AlterConfig::Append(key, value));
        }
        for (key, value) in pairs("--subtract", &self.subtract)? {
            all.push(AlterConfig::Subtract(key, value));
        }
        if all.is_empty() {
            bail!(
                "nothing to change: give --set KEY=VALUE, --from-file, --delete KEY, --append or --subtract"
            );
        }
        Ok(all)
    }
}

pub(super) async fn alter(client: &Client, args: &AlterArgs) -> Result<()> {
    let resource = ConfigResource::Topic(args.topic.clone());
    crate::commands::config::alter(client, &resource, args.changes.list()?, false).await?;
    done(
        args.output,
        json!({"topic": args.topic, "altered": true}),
        format_args!("Altered topic {}.", args.topic),
    );
    Ok(())
}

#[derive(Debug, Args)]
#[command(
    after_help = "Records with a key go to another partition than before once there are more."
)]
pub struct AddPartitionsArgs {
    /// The topic's name
    topic: String,
    /// How many more partitions
    #[arg(long, short, value_name = "COUNT", required_unless_present = "total")]
    add: Option<i32>,
    /// How many partitions in all
    #[arg(long, short = 't', value_name = "COUNT", conflicts_with = "add")]
    total: Option<i32>,
    /// The brokers of each new partition: replicas separated by colons, partitions by commas
    #[arg(long, value_name = "B:B,B:B")]
    replica_assignment: Option<String>,
    /// Only say whether it would be done
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    pub(super) target: Target,
    /// How to print
    #[arg(long, short, value_enum, default_value_t)]
    output: Output,
}

pub(super) async fn add_partitions(client: &Client, args: &AddPartitionsArgs) -> Result<()> {
    let total = match (args.total, args.add) {
        (Some(total), _) => total,
        (None, add) => {
            let topic = client.topic(&args.topic).await?;
            topic.partition_count().saturating_add(add.unwrap_or(0))
        }
    };
    let assignment = args.replica_assignment.as_deref().map(assignment);
    let assignment: Option<Vec<Vec<i32>>> = assignment
        .transpose()?
        .map(|all| all.into_values().collect());
    client
        .admin()
        .create_partitions_with(&args.topic, total, assignment.as_deref(), args.dry_run)
        .await?;
    let verb = if args.dry_run { "would have" } else { "has" };
    let now = if args.dry_run { "" } else { " now" };
    done(
        args.output,
        json!({"topic": args.topic, "partitions": total, "dry_run": args.dry_run}),
        format_args!("Topic {} {verb} {total} partitions{now}.", args.topic),
    );
    Ok(())
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  thalweg topic delete-records orders:0 --before 1000
  thalweg topic delete-records orders --all
  thalweg topic delete-records --from-file offsets.json")]
pub struct DeleteRecordsArgs {
    /// The topic, or some of its partitions
    #[arg(required_unless_present = "from_file", value_name = "TOPIC[:0,1]")]
    topic: Option<String>,
    /// The first offset that stays
    #[arg(long, value_name = "OFFSET", required_unless_present_any = ["all", "from_file"])]
    before: Option<i64>,
    /// Delete every record there is
    #[arg(long, conflicts_with = "before")]
    all: bool,
    /// Only this partition
    #[arg(long, short)]
    partition: Option<i32>,
    /// The offsets, the JSON that kafka-delete-records takes
    #[arg(long, value_name = "FILE", conflicts_with_all = ["topic", "before", "all", "partition"])]
    from_file: Option<PathBuf>,
    #[command(flatten)]
    pub(super) target: Target,
    /// How to print
    #[arg(long, short, value_enum, default_value_t)]
    output: Output,
}

#[derive(Debug, Deserialize)]
struct Offsets {
    partitions: Vec<PartitionOffset>,
}

#[derive(Debug, Deserialize)]
struct PartitionOffset {
    topic: String,
    partition: i32,
    offset: i64,
}

/// What shall be deleted, as the first offset that stays.
async fn before(
    client: &Client,
    args: &DeleteRecordsArgs,
) -> Result<BTreeMap<TopicPartition, i64>> {
    if let Some(path) = &args.from_file {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read {}", path.display()))?;
        let offsets: Offsets = serde_json::from_str(&text).with_context(|| {
            format!(
                "{}: expected {{\"partitions\":[{{\"topic\":…,\"partition\":…,\"offset\":…}}]}}",
                path.display()
            )
        })?;
        let all = offsets.partitions.into_iter();
        return Ok(all
            .map(|p| (TopicPartition::new(p.topic, p.partition), p.offset))
            .collect());
    }
    let named = match (&args.topic, args.partition) {
        (Some(topic), Some(partition)) => vec![format!("{topic}:{partition}")],
        (topic, _) => topic.iter().cloned().collect(),
    };
    let places = partitions(client, &named).await?;
    if let Some(offset) = args.before {
        return Ok(places.into_iter().map(|p| (p, offset)).collect());
    }
    let wanted = places.into_iter().map(|p| (p, OffsetSpec::Latest));
    let ends = client
        .admin()
        .list_offsets(wanted.collect(), IsolationLevel::ReadUncommitted)
        .await?;
    ends.into_iter()
        .map(|(p, end)| {
            let end = end.with_context(|| format!("{p} has no end"))?;
            Ok((p, end.offset))
        })
        .collect()
}

pub(super) async fn delete_records(client: &Client, args: &DeleteRecordsArgs) -> Result<()> {
    let before = before(client, args).await?;
    let admin = client.admin();
    let results = admin.delete_records(before).await?;
    let mut rows = Rows::new(&["TOPIC", "PARTITION", "LOG-START-OFFSET"]);
    let mut failed = Vec::new();
    for (place, result) in results {
        match result {
            Ok(start) => rows.push(vec![
                json!(place.topic.as_ref()),
                json!(place.partition),
                json!(start),
            ]),
            Err(error) => failed.push(error.to_string()),
        }
    }
    if !rows.is_empty() || args.output == Output::Json {
        rows.print(args.output);
    }
    all_done(failed)
}
