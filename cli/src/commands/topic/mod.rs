//! `thalweg topic`: create, list, describe, alter and delete topics, and cut their records.

mod alter;
mod create;
mod describe;
mod offsets;

pub use alter::ConfigChanges;

use anyhow::Result;
use clap::{Args, Subcommand};
use serde_json::json;
use thalweg_log::client::{Client, ClientError};
use thalweg_log::wire::ErrorCode;

use crate::output::{Output, Rows, all_done, say};
use crate::target::Target;

#[derive(Debug, Subcommand)]
pub enum TopicCommand {
    /// Create topics
    Create(create::CreateArgs),
    /// List topics
    List(ListArgs),
    /// Show topics' partitions, offsets and configuration
    Describe(describe::DescribeArgs),
    /// Show where the logs of topics begin and end, or which offset a time has
    Offsets(offsets::OffsetsArgs),
    /// Change a topic's configuration
    Alter(alter::AlterArgs),
    /// Give a topic more partitions
    AddPartitions(alter::AddPartitionsArgs),
    /// Delete the records before an offset
    DeleteRecords(alter::DeleteRecordsArgs),
    /// Delete topics with all their records
    Delete(DeleteArgs),
}

#[derive(Debug, Args)]
pub struct ListArgs {
    /// Only topics whose name contains this
    pattern: Option<String>,
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
pub struct DeleteArgs {
    /// The topics' names
    #[arg(required = true)]
    topics: Vec<String>,
    /// Take the names for regular expressions that a whole name must match
    #[arg(long)]
    regex: bool,
    /// Topics that do not exist are no error
    #[arg(long)]
    if_exists: bool,
    #[command(flatten)]
    target: Target,
    /// How to print
    #[arg(long, short, value_enum, default_value_t)]
    output: Output,
}

pub async fn run(command: TopicCommand) -> Result<()> {
    match command {
        TopicCommand::Create(args) => {
            args.target
                .with(async |client| create::run(client, &args).await)
                .await
        }
        TopicCommand::List(args) => {
            args.target
                .with(async |client| list(client, &args).await)
                .await
        }
        TopicCommand::Describe(args) => {
            args.target
                .with(async |client| describe::run(client, &args).await)
                .await
        }
        TopicCommand::Offsets(args) => {
            args.target
                .with(async |client| offsets::run(client, &args).await)
                .await
        }
        TopicCommand::Alter(args) => {
            args.target
                .with(async |client| alter::alter(client, &args).await)
                .await
        }
        TopicCommand::AddPartitions(args) => {
            args.target
                .with(async |client| alter::add_partitions(client, &args).await)
                .await
        }
        TopicCommand::DeleteRecords(args) => {
            args.target
                .with(async |client| alter::delete_records(client, &args).await)
                .await
        }
        TopicCommand::Delete(args) => {
            args.target
                .with(async |client| delete(client, &args).await)
                .await
        }
    }
}

async fn list(client: &Client, args: &ListArgs) -> Result<()> {
    let mut topics = client.admin().list_topics().await?;
    topics.retain(|topic| {
        let internal = topic.internal || topic.name.starts_with("__");
        let matches = args.pattern.as_ref().is_none_or(|p| topic.name.contains(p));
        matches && (args.all || !internal)
    });
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
        match &args.pattern {
            Some(pattern) => say!("No topic's name contains {pattern:?}."),
            None => say!("No topics yet. Create one with `thalweg topic create NAME`."),
        }
        return Ok(());
    }
    rows.print(args.output);
    Ok(())
}

async fn delete(client: &Client, args: &DeleteArgs) -> Result<()> {
    let names = match args.regex {
        true => crate::places::matching(client, &args.topics).await?,
        false => args.topics.clone(),
    };
    let results = client.admin().delete_topics(&names).await?;
    let mut rows = Rows::new(&["TOPIC", "DELETED"]);
    let mut failed = Vec::new();
    for (topic, result) in results {
        match result {
            Ok(()) => {
                rows.push(vec![json!(topic), json!(true)]);
                if args.output == Output::Table {
                    say!("Deleted {topic}.");
                }
            }
            Err(error) if args.if_exists && is_unknown(&error) => {
                rows.push(vec![json!(topic), json!(false)]);
            }
            Err(error) => failed.push(error.to_string()),
        }
    }
    if args.output == Output::Json {
        rows.print(Output::Json);
    }
    all_done(failed)
}

/// Whether an error says that a topic does not exist.
fn is_unknown(error: &ClientError) -> bool {
    error.code() == Some(ErrorCode::UnknownTopicOrPartition)
}
