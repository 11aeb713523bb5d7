//! `thalweg group reset-offsets`: a plan of new offsets, shown, exported or carried out.
//!
//! Invariant: without `--execute` nothing changes, and a plan only has offsets that the log has.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};
use clap::Args;
use serde_json::json;
use thalweg_log::client::{Client, IsolationLevel, OffsetAndMetadata, OffsetSpec, TopicPartition};

use crate::args::{span, time};
use crate::output::{Output, Rows, all_done, say};
use crate::places::partitions;
use crate::target::Target;

#[derive(Debug, Args)]
#[command(after_help = "Without --execute the plan is only shown. Examples:
  thalweg group reset-offsets billing --all-topics --to-earliest
  thalweg group reset-offsets billing --topic orders:0,1 --shift-by -100 --execute
  thalweg group reset-offsets billing --topic orders --to-datetime 2025-01-31T12:00:00 --execute
  thalweg group reset-offsets billing --all-topics --to-current --export > plan.csv
  thalweg group reset-offsets billing --from-file plan.csv --execute")]
pub struct ResetArgs {
    /// The groups' ids; they must have no members
    #[arg(required_unless_present = "all_groups")]
    groups: Vec<String>,
    /// Every group
    #[arg(long, conflicts_with = "groups")]
    all_groups: bool,
    /// A topic, or some of its partitions
    #[arg(
        long = "topic",
        value_name = "TOPIC[:0,1]",
        conflicts_with = "all_topics"
    )]
    topics: Vec<String>,
    /// Every topic of which the group has committed offsets
    #[arg(long)]
    all_topics: bool,
    #[command(flatten)]
    scenario: Scenario,
    /// Only show the plan, which is the default
    #[arg(long, conflicts_with = "execute")]
    dry_run: bool,
    /// Carry the plan out
    #[arg(long)]
    execute: bool,
    /// Print the plan as CSV for --from-file: topic, partition, offset; with several groups the
    /// group first
    #[arg(long, conflicts_with = "output")]
    export: bool,
    #[command(flatten)]
    pub(super) target: Target,
    /// How to print
    #[arg(long, short, value_enum, default_value_t)]
    output: Output,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct Scenario {
    /// To the first record there is
    #[arg(long)]
    to_earliest: bool,
    /// Past the last record
    #[arg(long)]
    to_latest: bool,
    /// To what is committed, which is of use with --export; past the last record without
    #[arg(long)]
    to_current: bool,
    /// To this offset
    #[arg(long, value_name = "OFFSET")]
    to_offset: Option<i64>,
    /// To the first record of this time or later, such as 2025-01-31T12:00:00 (UTC)
    #[arg(long, value_name = "TIME")]
    to_datetime: Option<String>,
    /// To the first record that is no older than this, such as 2h or P1D
    #[arg(long, value_name = "SPAN")]
    by_duration: Option<String>,
    /// So many records on, or back where it is negative
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    shift_by: Option<i64>,
    /// To the offsets of a file, as --export writes it
    #[arg(long, value_name = "FILE")]
    from_file: Option<PathBuf>,
}

impl ResetArgs {
    /// Checks what clap cannot.
    pub(super) fn check(&self) -> Result<()> {
        if self.topics.is_empty() && !self.all_topics && self.scenario.from_file.is_none() {
            bail!("say which topics: --topic TOPIC[:0,1], or --all-topics");
        }
        Ok(())
    }
}

type Plan = BTreeMap<TopicPartition, i64>;

pub(super) async fn run(client: &Client, args: &ResetArgs) -> Result<()> {
    let admin = client.admin();
    let groups: Vec<String> = if args.all_groups {
        let all = admin.list_groups().await?;
        all.into_iter().map(|g| g.group_id).collect()
    } else {
        args.groups.clone()
    };
    let from_file = match &args.scenario.from_file {
        Some(path) => Some(
            std::fs::read_to_string(path)
                .with_context(|| format!("cannot read {}", path.display()))?,
        ),
        None => None,
    };
    let several = args.all_groups || groups.len() > 1;
    let mut rows = Rows::new(&["GROUP", "TOPIC", "PARTITION", "NEW-OFFSET"]);
    let mut failed = Vec::new();
    for group in &groups {
        let described = admin.describe_group(group).await?;
        if !matches!(described.state.as_str(), "Empty" | "Dead") {
            failed.push(format!(
                "Assignments can only be reset if the group '{group}' is inactive, but the current state is {}: stop its consumers first.",
                described.state
            ));
            continue;
        }
        let plan = match &from_file {
            Some(text) => {
                let wanted = read_plan(text, group)?;
                within(client, group, wanted).await?
            }
            None => plan(client, args, group).await?,
        };
        for (place, offset) in &plan {
            if args.export {
                let prefix = if several {
                    format!("{group},")
                } else {
                    String::new()
                };
                say!("{prefix}{},{},{offset}", place.topic, place.partition);
            }
            rows.push(vec![
                json!(group),
                json!(place.topic.as_ref()),
                json!(place.partition),
                json!(offset),
            ]);
        }
        if args.execute && !plan.is_empty() {
            let offsets = plan
                .into_iter()
                .map(|(place, offset)| (place, OffsetAndMetadata::new(offset)))
                .collect();
            admin.alter_group_offsets(group, &offsets).await?;
        }
    }
    if !args.export {
        if !rows.is_empty() || args.output == Output::Json {
            rows.print(args.output);
        }
        if args.output == Output::Table && !rows.is_empty() && !args.execute {
            eprintln!("This is a plan: nothing was changed. Add --execute to carry it out.");
        }
        if rows.is_empty() && failed.is_empty() && args.output == Output::Table {
            say!("There is nothing to reset: no offset is committed there.");
        }
    }
    all_done(failed)
}

/// The partitions that are meant.
async fn wanted(
    client: &Client,
    args: &ResetArgs,
    committed: &Plan,
) -> Result<Vec<TopicPartition>> {
    if args.all_topics {
        return Ok(committed.keys().cloned().collect());
    }
    partitions(client, &args.topics).await
}

async fn plan(client: &Client, args: &ResetArgs, group: &str) -> Result<Plan> {
    let committed = client.admin().group_offsets(group, None).await?;
    let committed: Plan = committed
        .into_iter()
        .map(|(place, committed)| (place, committed.offset))
        .collect();
    let places = wanted(client, args, &committed).await?;
    let scenario = &args.scenario;
    let spec = if scenario.to_earliest {
        OffsetSpec::Earliest
    } else if let Some(text) = &scenario.to_datetime {
        OffsetSpec::Timestamp(time(text)?)
    } else if let Some(text) = &scenario.by_duration {
        let now = chrono::Utc::now().timestamp_millis();
        OffsetSpec::Timestamp(now - span(text)?)
    } else {
        OffsetSpec::Latest
    };
    let found = look_up(client, &places, spec).await?;
    let missing: Vec<TopicPartition> = places
        .iter()
        .filter(|p| !found.contains_key(*p))
        .cloned()
        .collect();
    // No record is so late: the end.
    let mut plan = look_up(client, &missing, OffsetSpec::Latest).await?;
    plan.extend(found);
    if let Some(offset) = scenario.to_offset {
        plan.values_mut().for_each(|at| *at = offset);
    }
    if scenario.to_current || scenario.shift_by.is_some() {
        for (place, at) in &mut plan {
            match (committed.get(place), scenario.shift_by) {
                (Some(current), shift) => *at = current.saturating_add(shift.unwrap_or(0)),
                (None, Some(_)) => bail!(
                    "Cannot shift offset for partition {place} since there is no current committed offset"
                ),
                (None, None) => {}
            }
        }
    }
    within(client, group, plan).await
}

async fn look_up(client: &Client, places: &[TopicPartition], spec: OffsetSpec) -> Result<Plan> {
    if places.is_empty() {
        return Ok(Plan::new());
    }
    let wanted = places.iter().map(|place| (place.clone(), spec)).collect();
    let found = client
        .admin()
        .list_offsets(wanted, IsolationLevel::ReadUncommitted)
        .await?;
    Ok(found
        .into_iter()
        .filter_map(|(place, at)| Some((place, at?.offset)))
        .filter(|(_, offset)| *offset >= 0)
        .collect())
}

/// Brings offsets to where the log is, and says where they were not.
async fn within(client: &Client, group: &str, plan: Plan) -> Result<Plan> {
    let places: Vec<TopicPartition> = plan.keys().cloned().collect();
    let begins = look_up(client, &places, OffsetSpec::Earliest).await?;
    let ends = look_up(client, &places, OffsetSpec::Latest).await?;
    plan.into_iter()
        .map(|(place, offset)| {
            let begin = begins.get(&place).copied().unwrap_or(0);
            let end = ends
                .get(&place)
                .copied()
                .with_context(|| format!("{place} has no end"))?;
            let at = offset.clamp(begin, end.max(begin));
            if at != offset {
                eprintln!(
                    "warning: group {group}: {place} has the offsets {begin} to {end}, not {offset}: {at} is taken"
                );
            }
            Ok((place, at))
        })
        .collect()
}

/// Reads what `--export` writes, for one group: lines without a group are for every group.
fn read_plan(text: &str, group: &str) -> Result<Plan> {
    let mut plan = Plan::new();
    for (at, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let words: Vec<&str> = line
            .split(',')
            .map(|w| w.trim().trim_matches('"'))
            .collect();
        let (of, topic, partition, offset) = match words.as_slice() {
            [topic, partition, offset] => (group, topic, partition, offset),
            [of, topic, partition, offset] => (*of, topic, partition, offset),
            _ => bail!(
                "line {}: [group,]topic,partition,offset is expected, not {line:?}",
                at + 1
            ),
        };
        let number = |text: &str| {
            text.parse::<i64>()
                .with_context(|| format!("line {}: {text:?} is no number", at + 1))
        };
        let partition = i32::try_from(number(partition)?)
            .with_context(|| format!("line {}: {partition:?} is no partition", at + 1))?;
        let offset = number(offset)?;
        if of == group {
            plan.insert(TopicPartition::new(*topic, partition), offset);
        }
    }
    Ok(plan)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exported_plan_is_read_back() {
        let plan = read_plan(
            "# kept\ng,orders,0,5\nother,orders,0,9\norders, 1, 7\n",
            "g",
        )
        .unwrap();
        let offsets: Vec<(String, i64)> = plan.iter().map(|(p, o)| (p.to_string(), *o)).collect();
        assert_eq!(
            offsets,
            [("orders-0".to_owned(), 5), ("orders-1".to_owned(), 7)]
        );
        let error = read_plan("orders,0\n", "g").unwrap_err().to_string();
        assert!(error.starts_with("line 1:"), "{error}");
        assert!(read_plan("orders,x,0", "g").is_err());
    }
}
