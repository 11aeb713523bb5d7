//! `thalweg partition`: leaders and replicas of partitions.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, bail};
use clap::{Args, Subcommand};
use serde_json::json;
use thalweg_log::client::{Client, ElectionType, TopicPartition};

use crate::args::{numbers, places};
use crate::output::{Output, Rows, say};
use crate::target::Target;

#[derive(Debug, Subcommand)]
pub enum PartitionCommand {
    /// Have partitions led by their preferred replica, or by any where none is left
    Elect(ElectArgs),
    /// Move partitions to other brokers, or take a move back
    Reassign(ReassignArgs),
    /// List the moves that are under way
    Reassignments(ListArgs),
}

#[derive(Debug, Args)]
pub struct ElectArgs {
    /// Topics, or some of their partitions [default: all]
    #[arg(value_name = "TOPIC[:0,1]")]
    topics: Vec<String>,
    /// Take a replica that lacks records where no other is alive: records are lost
    #[arg(long)]
    unclean: bool,
    #[command(flatten)]
    target: Target,
    /// How to print
    #[arg(long, short, value_enum, default_value_t)]
    output: Output,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  thalweg partition reassign orders:0 --replicas 1,2
  thalweg partition reassign orders --cancel")]
pub struct ReassignArgs {
    /// Topics, or some of their partitions
    #[arg(required = true, value_name = "TOPIC[:0,1]")]
    topics: Vec<String>,
    /// The brokers that shall have the partitions, the preferred leader first
    #[arg(long, value_name = "IDS", required_unless_present = "cancel")]
    replicas: Option<String>,
    /// Take a move that is under way back
    #[arg(long, conflicts_with = "replicas")]
    cancel: bool,
    #[command(flatten)]
    target: Target,
}

#[derive(Debug, Args)]
pub struct ListArgs {
    #[command(flatten)]
    target: Target,
    /// How to print
    #[arg(long, short, value_enum, default_value_t)]
    output: Output,
}

pub async fn run(command: PartitionCommand) -> Result<()> {
    match command {
        PartitionCommand::Elect(args) => {
            let log = args.target.open().await?;
            log.with(async |client| elect(client, &args).await).await
        }
        PartitionCommand::Reassign(args) => {
            let log = args.target.open().await?;
            log.with(async |client| reassign(client, &args).await).await
        }
        PartitionCommand::Reassignments(args) => {
            let log = args.target.open().await?;
            log.with(async |client| reassignments(client, &args).await)
                .await
        }
    }
}

async fn wanted(client: &Client, topics: &[String]) -> Result<Vec<TopicPartition>> {
    let mut all = Vec::new();
    for (topic, partitions) in places(topics)? {
        let info = client.topic(&topic).await?;
        let partitions = partitions.unwrap_or_else(|| (0..info.partition_count()).collect());
        let place = |p| TopicPartition::new(info.name.clone(), p);
        all.extend(partitions.into_iter().map(place));
    }
    Ok(all)
}

async fn elect(client: &Client, args: &ElectArgs) -> Result<()> {
    let places = match args.topics.is_empty() {
        true => None,
        false => Some(wanted(client, &args.topics).await?),
    };
    let kind = match args.unclean {
        true => ElectionType::Unclean,
        false => ElectionType::Preferred,
    };
    let results = client
        .admin()
        .elect_leaders(kind, places.as_deref())
        .await?;
    let mut rows = Rows::new(&["TOPIC", "PARTITION", "RESULT"]);
    let mut failed = Vec::new();
    for (place, result) in results {
        let result = match result {
            Ok(()) => "elected".to_owned(),
            Err(e) if e.code() == Some(thalweg_log::wire::ErrorCode::ElectionNotNeeded) => {
                "not needed".to_owned()
            }
            Err(e) => {
                failed.push(format!("{place}: {e}"));
                continue;
            }
        };
        rows.push(vec![
            json!(place.topic.as_ref()),
            json!(place.partition),
            json!(result),
        ]);
    }
    if rows.is_empty() && failed.is_empty() && args.output == Output::Table {
        say!("Every partition is led by its preferred replica already.");
        return Ok(());
    }
    rows.print(args.output);
    if !failed.is_empty() {
        bail!(failed.join("\n"));
    }
    Ok(())
}

async fn reassign(client: &Client, args: &ReassignArgs) -> Result<()> {
    let replicas = match &args.replicas {
        // The order counts, so that they are not read as a set.
        Some(text) => {
            numbers(text).context("--replicas takes broker ids such as 1,2")?;
            let ids = text.split(',').map(|id| id.trim().parse::<i32>());
            Some(ids.collect::<Result<Vec<_>, _>>()?)
        }
        None => None,
    };
    let places = wanted(client, &args.topics).await?;
    let moves: BTreeMap<TopicPartition, Option<Vec<i32>>> = places
        .into_iter()
        .map(|place| (place, replicas.clone()))
        .collect();
    let mut failed = Vec::new();
    for (place, result) in client.admin().alter_partition_reassignments(&moves).await? {
        match (result, &replicas) {
            (Ok(()), Some(to)) => say!("{place} moves to {to:?}."),
            (Ok(()), None) => say!("{place} stays where it was."),
            (Err(e), _) => failed.push(format!("{place}: {e}")),
        }
    }
    if !failed.is_empty() {
        bail!(failed.join("\n"));
    }
    Ok(())
}

async fn reassignments(client: &Client, args: &ListArgs) -> Result<()> {
    let moves = client.admin().list_partition_reassignments(None).await?;
    let mut rows = Rows::new(&["TOPIC", "PARTITION", "REPLICAS", "ADDING", "REMOVING"]);
    for (place, step) in moves {
        rows.push(vec![
            json!(place.topic.as_ref()),
            json!(place.partition),
            json!(step.replicas),
            json!(step.adding_replicas),
            json!(step.removing_replicas),
        ]);
    }
    if rows.is_empty() && args.output == Output::Table {
        say!("No partition is being moved.");
        return Ok(());
    }
    rows.print(args.output);
    Ok(())
}
