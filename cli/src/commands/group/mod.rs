//! `thalweg group`: consumer groups, their members and their offsets.

mod describe;
mod reset;

use anyhow::{Result, bail};
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use thalweg_log::client::{Client, ListGroupsOptions, TopicPartition};

use crate::args::places;
use crate::output::{Output, Rows, all_done, done, say};
use crate::target::Target;

#[derive(Debug, Subcommand)]
pub enum GroupCommand {
    /// List groups and their states
    List(ListArgs),
    /// Show groups' offsets and lag, their members, or their state
    Describe(describe::DescribeArgs),
    /// Delete groups without members, with their offsets
    Delete(DeleteArgs),
    /// Move the committed offsets of groups without members
    ResetOffsets(reset::ResetArgs),
    /// Forget committed offsets of a group
    DeleteOffsets(DeleteOffsetsArgs),
    /// Take static members out of a group
    RemoveMembers(RemoveMembersArgs),
}

#[derive(Debug, Args)]
pub struct ListArgs {
    /// Only groups in this state, such as Stable or Empty
    #[arg(long, value_name = "STATE", value_delimiter = ',')]
    state: Vec<String>,
    /// Only groups of this protocol type, such as consumer
    #[arg(long, value_name = "TYPE", value_delimiter = ',')]
    protocol_type: Vec<String>,
    /// Only groups of this type: classic or consumer
    #[arg(long = "type", value_name = "TYPE", value_delimiter = ',')]
    types: Vec<String>,
    #[command(flatten)]
    target: Target,
    /// How to print
    #[arg(long, short, value_enum, default_value_t)]
    output: Output,
}

#[derive(Debug, Args)]
pub struct DeleteArgs {
    /// The groups' ids
    #[arg(required_unless_present = "all_groups")]
    groups: Vec<String>,
    /// Every group that has no members
    #[arg(long, conflicts_with = "groups")]
    all_groups: bool,
    #[command(flatten)]
    target: Target,
    /// How to print
    #[arg(long, short, value_enum, default_value_t)]
    output: Output,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  thalweg group delete-offsets billing --topic orders
  thalweg group delete-offsets billing --topic orders:0,1")]
pub struct DeleteOffsetsArgs {
    /// The group's id
    group: String,
    /// A topic that the group does not read, or some of its partitions
    #[arg(long = "topic", required = true, value_name = "TOPIC[:0,1]")]
    topics: Vec<String>,
    #[command(flatten)]
    target: Target,
    /// How to print
    #[arg(long, short, value_enum, default_value_t)]
    output: Output,
}

#[derive(Debug, Args)]
pub struct RemoveMembersArgs {
    /// The group's id
    group: String,
    /// The members' group.instance.id
    #[arg(required = true)]
    instances: Vec<String>,
    #[command(flatten)]
    target: Target,
    /// How to print
    #[arg(long, short, value_enum, default_value_t)]
    output: Output,
}

pub async fn run(command: GroupCommand) -> Result<()> {
    match command {
        GroupCommand::List(args) => {
            args.target
                .with(async |client| list(client, &args).await)
                .await
        }
        GroupCommand::Describe(args) => {
            args.target
                .with(async |client| describe::run(client, &args).await)
                .await
        }
        GroupCommand::Delete(args) => {
            args.target
                .with(async |client| delete(client, &args).await)
                .await
        }
        GroupCommand::ResetOffsets(args) => {
            args.check()?;
            args.target
                .with(async |client| reset::run(client, &args).await)
                .await
        }
        GroupCommand::DeleteOffsets(args) => {
            args.target
                .with(async |client| delete_offsets(client, &args).await)
                .await
        }
        GroupCommand::RemoveMembers(args) => {
            args.target
                .with(async |client| {
                    let admin = client.admin();
                    admin.remove_members(&args.group, &args.instances).await?;
                    Ok(())
                })
                .await?;
            done(
                args.output,
                json!({"group": args.group, "removed": args.instances}),
                format_args!("Group {} goes on without them.", args.group),
            );
            Ok(())
        }
    }
}

/// Kafka's names of the states of groups.
const STATES: [&str; 7] = [
    "Empty",
    "Stable",
    "PreparingRebalance",
    "CompletingRebalance",
    "Assigning",
    "Reconciling",
    "Dead",
];

/// A text, or nothing where it is empty.
fn text(text: &str) -> Value {
    match text {
        "" => Value::Null,
        _ => json!(text),
    }
}

async fn list(client: &Client, args: &ListArgs) -> Result<()> {
    let options = ListGroupsOptions {
        types: args.types.iter().map(|t| t.to_lowercase()).collect(),
        ..ListGroupsOptions::default()
    };
    let mut groups = client.admin().list_groups_with(&options).await?;
    let wanted = |filter: &[String], value: &str| {
        filter.is_empty() || filter.iter().any(|f| f.eq_ignore_ascii_case(value))
    };
    if let Some(unknown) = (args.state.iter()).find(|s| !wanted(&STATES.map(String::from), s)) {
        bail!("there is no state {unknown:?}; use {}", STATES.join(", "));
    }
    let filters = [&args.state, &args.protocol_type, &args.types];
    let filtered = filters.iter().any(|filter| !filter.is_empty());
    groups
        .retain(|g| wanted(&args.state, &g.state) && wanted(&args.protocol_type, &g.protocol_type));
    groups.sort_by(|a, b| a.group_id.cmp(&b.group_id));
    let mut rows = Rows::new(&["GROUP", "TYPE", "PROTOCOL-TYPE", "STATE"]);
    for group in groups {
        rows.push(vec![
            json!(group.group_id),
            text(&group.group_type),
            text(&group.protocol_type),
            text(&group.state),
        ]);
    }
    if rows.is_empty() && args.output == Output::Table {
        match filtered {
            true => say!("No group is like that."),
            false => say!("No groups. A consumer with a group.id makes one."),
        }
        return Ok(());
    }
    rows.print(args.output);
    Ok(())
}

async fn delete(client: &Client, args: &DeleteArgs) -> Result<()> {
    let admin = client.admin();
    let groups = if args.all_groups {
        let all = admin.list_groups().await?;
        let empty = all
            .into_iter()
            .filter(|g| matches!(g.state.as_str(), "Empty" | "Dead"));
        empty.map(|g| g.group_id).collect()
    } else {
        args.groups.clone()
    };
    let mut rows = Rows::new(&["GROUP", "DELETED"]);
    let mut failed = Vec::new();
    for (group, result) in admin.delete_groups(&groups).await? {
        match result {
            Ok(()) => rows.push(vec![json!(group), json!(true)]),
            Err(error) => failed.push(error.to_string()),
        }
    }
    if !rows.is_empty() || args.output == Output::Json {
        rows.print(args.output);
    } else if failed.is_empty() {
        say!("No group is without members.");
    }
    all_done(failed)
}

async fn delete_offsets(client: &Client, args: &DeleteOffsetsArgs) -> Result<()> {
    let admin = client.admin();
    let committed = admin.group_offsets(&args.group, None).await?;
    let mut wanted = Vec::new();
    for (topic, partitions) in places(&args.topics)? {
        match partitions {
            Some(some) => {
                let topic: std::sync::Arc<str> = topic.into();
                wanted.extend(some.iter().map(|p| TopicPartition::new(topic.clone(), *p)));
            }
            None => wanted.extend(committed.keys().filter(|p| *p.topic == *topic).cloned()),
        }
    }
    if wanted.is_empty() {
        bail!("group {} has committed nothing there", args.group);
    }
    admin.delete_group_offsets(&args.group, &wanted).await?;
    let mut rows = Rows::new(&["GROUP", "TOPIC", "PARTITION", "DELETED"]);
    for place in wanted {
        rows.push(vec![
            json!(args.group),
            json!(place.topic.as_ref()),
            json!(place.partition),
            json!(true),
        ]);
    }
    rows.print(args.output);
    Ok(())
}
