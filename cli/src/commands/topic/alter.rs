//! `thalweg topic alter|add-partitions|delete-records`.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, bail};
use clap::Args;
use serde_json::json;
use thalweg_log::client::{
    AlterConfig, Client, ConfigResource, IsolationLevel, OffsetSpec, TopicPartition,
};

use crate::args::pairs;
use crate::output::{Output, Rows, say};
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
}

/// Changes of a configuration.
#[derive(Debug, Clone, Args)]
pub struct ConfigChanges {
    /// Set an entry
    #[arg(long, short, value_name = "KEY=VALUE")]
    set: Vec<String>,
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
            bail!("nothing to change: give --set KEY=VALUE, --delete KEY, --append or --subtract");
        }
        Ok(all)
    }
}

pub(super) async fn alter(client: &Client, args: &AlterArgs) -> Result<()> {
    let resource = ConfigResource::Topic(args.topic.clone());
    crate::commands::config::alter(client, &resource, args.changes.list()?, false).await?;
    say!("Altered topic {}.", args.topic);
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
    #[command(flatten)]
    pub(super) target: Target,
}

pub(super) async fn add_partitions(client: &Client, args: &AddPartitionsArgs) -> Result<()> {
    let total = match (args.total, args.add) {
        (Some(total), _) => total,
        (None, add) => {
            let topic = client.topic(&args.topic).await?;
            topic.partition_count().saturating_add(add.unwrap_or(0))
        }
    };
    client.admin().create_partitions(&args.topic, total).await?;
    say!("Topic {} has {total} partitions now.", args.topic);
    Ok(())
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  thalweg topic delete-records orders --before 1000 --partition 0
  thalweg topic delete-records orders --all")]
pub struct DeleteRecordsArgs {
    /// The topic's name
    topic: String,
    /// The first offset that stays
    #[arg(long, value_name = "OFFSET", required_unless_present = "all")]
    before: Option<i64>,
    /// Delete every record there is
    #[arg(long, conflicts_with = "before")]
    all: bool,
    /// Only this partition
    #[arg(long, short)]
    partition: Option<i32>,
    #[command(flatten)]
    pub(super) target: Target,
    /// How to print
    #[arg(long, short, value_enum, default_value_t)]
    output: Output,
}

pub(super) async fn delete_records(client: &Client, args: &DeleteRecordsArgs) -> Result<()> {
    let topic = client.topic(&args.topic).await?;
    let places: Vec<TopicPartition> = (0..topic.partition_count())
        .filter(|p| args.partition.is_none_or(|only| only == *p))
        .map(|p| TopicPartition::new(args.topic.as_str(), p))
        .collect();
    if places.is_empty() {
        bail!(
            "topic {} has the partitions 0 to {}",
            args.topic,
            topic.partition_count() - 1
        );
    }
    let admin = client.admin();
    let before: BTreeMap<TopicPartition, i64> = match args.before {
        Some(offset) => places.into_iter().map(|p| (p, offset)).collect(),
        None => {
            let wanted = places.into_iter().map(|p| (p, OffsetSpec::Latest));
            let ends = admin
                .list_offsets(wanted.collect(), IsolationLevel::ReadUncommitted)
                .await?;
            ends.into_iter()
                .map(|(p, end)| {
                    let end = end.with_context(|| format!("{p} has no end"))?;
                    Ok((p, end.offset))
                })
                .collect::<Result<_>>()?
        }
    };
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
    rows.print(args.output);
    if !failed.is_empty() {
        bail!(failed.join("\n"));
    }
    Ok(())
}
