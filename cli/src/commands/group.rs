//! `thalweg group list|describe`.

use std::collections::BTreeMap;

use anyhow::Result;
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use thalweg_log::client::{Client, GroupDescription, IsolationLevel, OffsetSpec, TopicPartition};

use crate::output::{Output, Rows};
use crate::target::Target;

#[derive(Debug, Subcommand)]
pub enum GroupCommand {
    /// List groups and their states
    List(ListArgs),
    /// Show a group's offsets and lag, its members, or its state
    Describe(DescribeArgs),
}

#[derive(Debug, Args)]
pub struct ListArgs {
    #[command(flatten)]
    target: Target,
    /// How to print
    #[arg(long, short, value_enum, default_value_t)]
    output: Output,
}

#[derive(Debug, Args)]
pub struct DescribeArgs {
    /// The group's id
    group: String,
    /// Show the members
    #[arg(long, conflicts_with = "state")]
    members: bool,
    /// Show the state, the assignor and the coordinator
    #[arg(long)]
    state: bool,
    #[command(flatten)]
    target: Target,
    /// How to print
    #[arg(long, short, value_enum, default_value_t)]
    output: Output,
}

pub async fn run(command: GroupCommand) -> Result<()> {
    match command {
        GroupCommand::List(args) => {
            let log = args.target.open().await?;
            log.with(async |client| list(client, args.output).await)
                .await
        }
        GroupCommand::Describe(args) => {
            let log = args.target.open().await?;
            log.with(async |client| describe(client, &args).await).await
        }
    }
}

async fn list(client: &Client, output: Output) -> Result<()> {
    let mut groups = client.admin().list_groups().await?;
    groups.sort_by(|a, b| a.group_id.cmp(&b.group_id));
    let text = |text: String| match text.as_str() {
        "" => Value::Null,
        _ => json!(text),
    };
    let mut rows = Rows::new(&["GROUP", "PROTOCOL-TYPE", "STATE"]);
    for group in groups {
        rows.push(vec![
            json!(group.group_id),
            text(group.protocol_type),
            text(group.state),
        ]);
    }
    if rows.is_empty() && output == Output::Table {
        println!("No groups. A consumer with a group.id makes one.");
        return Ok(());
    }
    rows.print(output);
    Ok(())
}

async fn describe(client: &Client, args: &DescribeArgs) -> Result<()> {
    let group = client.admin().describe_group(&args.group).await?;
    let rows = if args.state {
        state(&group)
    } else if args.members {
        members(&group)
    } else {
        let rows = offsets(client, &group).await?;
        if args.output == Output::Table && rows.is_empty() {
            println!(
                "Group {} ({}) has committed nothing yet.",
                group.group_id, group.state
            );
            return Ok(());
        }
        if args.output == Output::Table && group.members.is_empty() {
            println!("Group {} has no active members.", group.group_id);
        }
        rows
    };
    rows.print(args.output);
    Ok(())
}

fn state(group: &GroupDescription) -> Rows {
    let mut rows = Rows::new(&[
        "GROUP",
        "COORDINATOR",
        "ASSIGNMENT-STRATEGY",
        "STATE",
        "MEMBERS",
    ]);
    rows.push(vec![
        json!(group.group_id),
        json!(group.coordinator),
        json!(group.assignor),
        json!(group.state),
        json!(group.members.len()),
    ]);
    rows
}

fn members(group: &GroupDescription) -> Rows {
    let mut rows = Rows::new(&[
        "GROUP",
        "CONSUMER-ID",
        "GROUP-INSTANCE-ID",
        "HOST",
        "CLIENT-ID",
        "PARTITIONS",
        "ASSIGNMENT",
    ]);
    for member in &group.members {
        let assignment: Vec<String> = member.partitions.iter().map(ToString::to_string).collect();
        rows.push(vec![
            json!(group.group_id),
            json!(member.member_id),
            json!(member.group_instance_id),
            json!(member.host),
            json!(member.client_id),
            json!(member.partitions.len()),
            json!(assignment),
        ]);
    }
    rows
}

async fn offsets(client: &Client, group: &GroupDescription) -> Result<Rows> {
    let admin = client.admin();
    let committed = admin.group_offsets(&group.group_id, None).await?;
    let owners: BTreeMap<&TopicPartition, _> = group
        .members
        .iter()
        .flat_map(|member| member.partitions.iter().map(move |place| (place, member)))
        .collect();
    let mut places: Vec<&TopicPartition> = committed.keys().chain(owners.keys().copied()).collect();
    places.sort();
    places.dedup();
    let wanted = places
        .iter()
        .map(|&place| (place.clone(), OffsetSpec::Latest))
        .collect();
    let ends = admin
        .list_offsets(wanted, IsolationLevel::ReadUncommitted)
        .await?;
    let mut rows = Rows::new(&[
        "GROUP",
        "TOPIC",
        "PARTITION",
        "CURRENT-OFFSET",
        "LOG-END-OFFSET",
        "LAG",
        "CONSUMER-ID",
        "HOST",
        "CLIENT-ID",
    ]);
    for place in places {
        let current = committed.get(place).map(|committed| committed.offset);
        let end = ends.get(place).copied().flatten().map(|end| end.offset);
        let lag = current
            .zip(end)
            .map(|(current, end)| (end - current).max(0));
        let owner = owners.get(place);
        rows.push(vec![
            json!(group.group_id),
            json!(place.topic.as_ref()),
            json!(place.partition),
            json!(current),
            json!(end),
            json!(lag),
            json!(owner.map(|owner| &owner.member_id)),
            json!(owner.map(|owner| &owner.host)),
            json!(owner.map(|owner| &owner.client_id)),
        ]);
    }
    Ok(rows)
}
