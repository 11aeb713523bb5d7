//! `thalweg group describe`.

use std::collections::BTreeMap;

use anyhow::Result;
use clap::Args;
use serde_json::json;
use thalweg_log::client::{
    Client, GroupDescription, IsolationLevel, MemberDescription, OffsetSpec, TopicPartition,
};

use super::text;
use crate::output::{Output, Rows, all_done};
use crate::target::Target;

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  thalweg group describe billing
  thalweg group describe billing --members --verbose
  thalweg group describe --all-groups --state -o json")]
pub struct DescribeArgs {
    /// The groups' ids
    #[arg(required_unless_present = "all_groups")]
    groups: Vec<String>,
    /// Every group
    #[arg(long, conflicts_with = "groups")]
    all_groups: bool,
    /// Show the committed offsets and the lag, which is the default
    #[arg(long, conflicts_with_all = ["members", "state"])]
    offsets: bool,
    /// Show the members
    #[arg(long, conflicts_with = "state")]
    members: bool,
    /// With --members, show what each of them reads, and in a group of the consumer protocol the
    /// epochs and what it shall read; with offsets, the leader epochs and the metadata of commits
    #[arg(long, short, conflicts_with = "state")]
    verbose: bool,
    /// Show the type, the state, the assignor, the coordinator and the epochs
    #[arg(long)]
    state: bool,
    #[command(flatten)]
    pub(super) target: Target,
    /// How to print
    #[arg(long, short, value_enum, default_value_t)]
    output: Output,
}

pub(super) async fn run(client: &Client, args: &DescribeArgs) -> Result<()> {
    let admin = client.admin();
    let groups = if args.all_groups {
        let mut all = admin.list_groups().await?;
        all.retain(|g| matches!(g.protocol_type.as_str(), "consumer" | ""));
        all.into_iter().map(|g| g.group_id).collect()
    } else {
        args.groups.clone()
    };
    let mut rows = Rows::new(match (args.state, args.members, args.verbose) {
        (true, ..) => &[
            "GROUP",
            "TYPE",
            "COORDINATOR",
            "ASSIGNMENT-STRATEGY",
            "STATE",
            "GROUP-EPOCH",
            "TARGET-ASSIGNMENT-EPOCH",
            "MEMBERS",
        ],
        (_, true, false) => &[
            "GROUP",
            "CONSUMER-ID",
            "GROUP-INSTANCE-ID",
            "HOST",
            "CLIENT-ID",
            "PARTITIONS",
        ],
        (_, true, true) => &[
            "GROUP",
            "CONSUMER-ID",
            "GROUP-INSTANCE-ID",
            "HOST",
            "CLIENT-ID",
            "PARTITIONS",
            "MEMBER-EPOCH",
            "PROTOCOL",
            "ASSIGNMENT",
            "TARGET-ASSIGNMENT",
        ],
        (_, false, true) => &[
            "GROUP",
            "TOPIC",
            "PARTITION",
            "LEADER-EPOCH",
            "CURRENT-OFFSET",
            "LOG-END-OFFSET",
            "LAG",
            "CONSUMER-ID",
            "HOST",
            "CLIENT-ID",
            "METADATA",
        ],
        _ => &[
            "GROUP",
            "TOPIC",
            "PARTITION",
            "CURRENT-OFFSET",
            "LOG-END-OFFSET",
            "LAG",
            "CONSUMER-ID",
            "HOST",
            "CLIENT-ID",
        ],
    });
    let mut failed = Vec::new();
    let mut notes = Vec::new();
    for (id, group) in admin.describe_consumer_groups(&groups).await? {
        let group = match group {
            Ok(group) => group,
            Err(error) => {
                failed.push(error.to_string());
                continue;
            }
        };
        if group.state == "Dead" && group.members.is_empty() {
            failed.push(format!("Consumer group '{id}' does not exist."));
            continue;
        }
        if args.state {
            state(&group, &mut rows);
        } else if args.members {
            members(&group, args.verbose, &mut rows);
        } else {
            let before = rows.len();
            offsets(client, &group, args.verbose, &mut rows).await?;
            if rows.len() == before {
                notes.push(format!(
                    "Group {id} ({}) has committed nothing yet.",
                    group.state
                ));
            }
        }
        if group.members.is_empty() && !args.state && group.state != "Dead" {
            notes.push(format!("Consumer group '{id}' has no active members."));
        }
    }
    // Notes are for people, and must not come between the rows that a script reads.
    if args.output == Output::Table {
        notes.iter().for_each(|note| eprintln!("{note}"));
    }
    if !rows.is_empty() || args.output == Output::Json {
        rows.print(args.output);
    }
    all_done(failed)
}

fn state(group: &GroupDescription, rows: &mut Rows) {
    rows.push(vec![
        json!(group.group_id),
        text(&group.group_type),
        json!(group.coordinator),
        text(&group.assignor),
        json!(group.state),
        json!(group.group_epoch),
        json!(group.target_assignment_epoch),
        json!(group.members.len()),
    ]);
}

fn members(group: &GroupDescription, verbose: bool, rows: &mut Rows) {
    for member in &group.members {
        let mut row = vec![
            json!(group.group_id),
            json!(member.member_id),
            json!(member.group_instance_id),
            json!(member.host),
            json!(member.client_id),
            json!(member.partitions.len()),
        ];
        if verbose {
            let target = member.target_partitions.as_deref();
            row.extend([
                json!(member.member_epoch),
                json!(protocol(group, member)),
                json!(assignment(&member.partitions)),
                json!(target.map(assignment)),
            ]);
        }
        rows.push(row);
    }
}

/// Which protocol a member speaks: in a group that changes over, not all speak the same.
fn protocol<'a>(group: &'a GroupDescription, member: &MemberDescription) -> &'a str {
    match member.upgraded {
        Some(true) => "consumer",
        Some(false) => "classic",
        None => &group.group_type,
    }
}

/// Partitions by topic, as Kafka's script writes them: `orders(0,1)`.
fn assignment(partitions: &[TopicPartition]) -> Vec<String> {
    let mut by_topic: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    let mut sorted: Vec<&TopicPartition> = partitions.iter().collect();
    sorted.sort();
    for place in sorted {
        let all = by_topic.entry(&place.topic).or_default();
        all.push(place.partition.to_string());
    }
    by_topic
        .into_iter()
        .map(|(topic, partitions)| format!("{topic}({})", partitions.join(",")))
        .collect()
}

async fn offsets(
    client: &Client,
    group: &GroupDescription,
    verbose: bool,
    rows: &mut Rows,
) -> Result<()> {
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
    for place in places {
        let current = committed.get(place).map(|committed| committed.offset);
        let end = ends.get(place).copied().flatten().map(|end| end.offset);
        let lag = current
            .zip(end)
            .map(|(current, end)| (end - current).max(0));
        let owner = owners.get(place);
        let mut row = vec![
            json!(group.group_id),
            json!(place.topic.as_ref()),
            json!(place.partition),
            json!(current),
            json!(end),
            json!(lag),
            json!(owner.map(|owner| &owner.member_id)),
            json!(owner.map(|owner| &owner.host)),
            json!(owner.map(|owner| &owner.client_id)),
        ];
        if verbose {
            let committed = committed.get(place);
            row.insert(3, json!(committed.and_then(|c| c.leader_epoch)));
            let metadata = committed.map(|c| &c.metadata).filter(|m| !m.is_empty());
            row.push(json!(metadata));
        }
        rows.push(row);
    }
    Ok(())
}
