//! `thalweg partition`: leaders and replicas of partitions.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};
use clap::{Args, Subcommand};
use serde::Deserialize;
use serde_json::{Value, json};
use thalweg_log::client::{Client, ElectionType, TopicPartition};

use crate::output::{Output, Rows, all_done, say};
use crate::places::partitions;
use crate::target::Target;

#[derive(Debug, Subcommand)]
pub enum PartitionCommand {
    /// Have partitions led by their preferred replica, or by any where none is left
    Elect(ElectArgs),
    /// Show how partitions would be spread over brokers
    Plan(PlanArgs),
    /// Move partitions to other brokers, take moves back, or see how far they are
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
  thalweg partition reassign --from-file plan.json
  thalweg partition reassign --from-file plan.json --verify
  thalweg partition reassign orders --cancel")]
pub struct ReassignArgs {
    /// Topics, or some of their partitions
    #[arg(required_unless_present = "from_file", value_name = "TOPIC[:0,1]")]
    topics: Vec<String>,
    /// The brokers that shall have the partitions, the preferred leader first
    #[arg(long, value_name = "IDS", required_unless_present_any = ["cancel", "from_file"])]
    replicas: Option<String>,
    /// A plan, the JSON that `partition plan` and kafka-reassign-partitions write
    #[arg(long, value_name = "FILE", conflicts_with_all = ["topics", "replicas"])]
    from_file: Option<PathBuf>,
    /// Take moves that are under way back
    #[arg(long, conflicts_with = "replicas")]
    cancel: bool,
    /// Only say which moves are complete; one that is neither complete nor under way is an error
    #[arg(long, conflicts_with = "cancel")]
    verify: bool,
    #[command(flatten)]
    target: Target,
    /// How to print
    #[arg(long, short, value_enum, default_value_t)]
    output: Output,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:
  thalweg partition plan orders customers --brokers 1,2,3 -o json > plan.json")]
pub struct PlanArgs {
    /// Topics, or some of their partitions
    #[arg(required = true, value_name = "TOPIC[:0,1]")]
    topics: Vec<String>,
    /// The brokers that shall have them
    #[arg(long, value_name = "IDS")]
    brokers: String,
    #[command(flatten)]
    target: Target,
    /// How to print; JSON is what `partition reassign --from-file` takes
    #[arg(long, short, value_enum, default_value_t)]
    output: Output,
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
            args.target
                .with(async |client| elect(client, &args).await)
                .await
        }
        PartitionCommand::Plan(args) => {
            args.target
                .with(async |client| plan(client, &args).await)
                .await
        }
        PartitionCommand::Reassign(args) => {
            args.target
                .with(async |client| reassign(client, &args).await)
                .await
        }
        PartitionCommand::Reassignments(args) => {
            args.target
                .with(async |client| reassignments(client, &args).await)
                .await
        }
    }
}

async fn elect(client: &Client, args: &ElectArgs) -> Result<()> {
    let places = match args.topics.is_empty() {
        true => None,
        false => Some(partitions(client, &args.topics).await?),
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
                failed.push(e.to_string());
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
    all_done(failed)
}

async fn reassign(client: &Client, args: &ReassignArgs) -> Result<()> {
    let moves = match &args.from_file {
        Some(path) => {
            let text = std::fs::read_to_string(path)
                .with_context(|| format!("cannot read {}", path.display()))?;
            read_plan(&text).with_context(|| format!("in {}", path.display()))?
        }
        None => {
            let replicas = args.replicas.as_deref().map(brokers).transpose()?;
            let places = partitions(client, &args.topics).await?;
            let replicas = replicas.unwrap_or_default();
            let to = |place| (place, replicas.clone());
            places.into_iter().map(to).collect()
        }
    };
    if args.verify {
        return verify(client, args, &moves).await;
    }
    let asked: BTreeMap<TopicPartition, Option<Vec<i32>>> = moves
        .into_iter()
        .map(|(place, to)| (place, Some(to).filter(|_| !args.cancel)))
        .collect();
    let results = client.admin().alter_partition_reassignments(&asked).await?;
    let mut rows = Rows::new(&["TOPIC", "PARTITION", "REPLICAS", "RESULT"]);
    let mut failed = Vec::new();
    for (place, result) in results {
        match result {
            Ok(()) => rows.push(vec![
                json!(place.topic.as_ref()),
                json!(place.partition),
                json!(asked.get(&place).cloned().flatten()),
                json!(if args.cancel { "cancelled" } else { "begun" }),
            ]),
            Err(e) => failed.push(e.to_string()),
        }
    }
    if !rows.is_empty() || args.output == Output::Json {
        rows.print(args.output);
    }
    all_done(failed)
}

type Moves = BTreeMap<TopicPartition, Vec<i32>>;

/// Broker ids in their order, which counts.
fn brokers(text: &str) -> Result<Vec<i32>> {
    let ids = text.split(',').map(|id| id.trim().parse::<i32>());
    let ids: Vec<i32> = ids
        .collect::<Result<_, _>>()
        .with_context(|| format!("broker ids are such as 1,2, not {text:?}"))?;
    Ok(ids)
}

/// Where the moves of a plan stand.
async fn verify(client: &Client, args: &ReassignArgs, moves: &Moves) -> Result<()> {
    let under_way = client.admin().list_partition_reassignments(None).await?;
    let mut rows = Rows::new(&["TOPIC", "PARTITION", "REPLICAS", "RESULT"]);
    let mut failed = Vec::new();
    for (place, to) in moves {
        let topic = client.topic(&place.topic).await?;
        let now = topic.partition(place.partition);
        let now = now.map(|p| p.replicas.clone()).unwrap_or_default();
        let result = match under_way.contains_key(place) {
            true => "under way",
            false if now == *to => "complete",
            false => {
                failed.push(format!("{place} has the replicas {now:?}, not {to:?}"));
                "not done"
            }
        };
        rows.push(vec![
            json!(place.topic.as_ref()),
            json!(place.partition),
            json!(now),
            json!(result),
        ]);
    }
    rows.print(args.output);
    all_done(failed)
}

/// Partitions dealt to brokers in turn, the plan in the form of `kafka-reassign-partitions`.
async fn plan(client: &Client, args: &PlanArgs) -> Result<()> {
    let ids = brokers(&args.brokers)?;
    let cluster = client.admin().describe_cluster().await?;
    if let Some(id) = ids
        .iter()
        .find(|id| cluster.nodes.iter().all(|n| n.id != **id))
    {
        bail!("there is no broker {id} in the cluster");
    }
    let mut moves = Moves::new();
    for (at, place) in (0..).zip(partitions(client, &args.topics).await?) {
        let topic = client.topic(&place.topic).await?;
        let now = topic.partition(place.partition);
        let count = now.map_or(1, |p| p.replicas.len());
        if count > ids.len() {
            bail!(
                "{place} has {count} replicas, and there are {} brokers",
                ids.len()
            );
        }
        let from = at % ids.len();
        let turn = ids.iter().cycle().skip(from).take(count);
        moves.insert(place, turn.copied().collect());
    }
    let partitions: Vec<Value> = moves
        .iter()
        .map(|(place, to)| {
            json!({"topic": place.topic.as_ref(), "partition": place.partition, "replicas": to})
        })
        .collect();
    match args.output {
        Output::Json => say!("{}", json!({"version": 1, "partitions": partitions})),
        Output::Table => {
            let mut rows = Rows::new(&["TOPIC", "PARTITION", "REPLICAS"]);
            for (place, to) in moves {
                rows.push(vec![
                    json!(place.topic.as_ref()),
                    json!(place.partition),
                    json!(to),
                ]);
            }
            rows.print(args.output);
            eprintln!(
                "This is a plan: nothing was changed. Save it with -o json, and carry it out with `thalweg partition reassign --from-file`."
            );
        }
    }
    Ok(())
}

/// Reads a plan as `kafka-reassign-partitions` takes it.
fn read_plan(text: &str) -> Result<Moves> {
    let plan: Plan = serde_json::from_str(text).context(
        "expected {\"version\":1,\"partitions\":[{\"topic\":…,\"partition\":…,\"replicas\":[…]}]}",
    )?;
    if plan.partitions.is_empty() {
        bail!("the plan has no partitions");
    }
    let places = plan.partitions.into_iter();
    Ok(places
        .map(|p| (TopicPartition::new(p.topic, p.partition), p.replicas))
        .collect())
}

#[derive(Debug, Deserialize)]
struct Plan {
    partitions: Vec<PlannedMove>,
}

#[derive(Debug, Deserialize)]
struct PlannedMove {
    topic: String,
    partition: i32,
    replicas: Vec<i32>,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plans_of_kafkas_script_are_read() {
        let text = r#"{"version":1,"partitions":[{"topic":"t","partition":1,"replicas":[2,1],"log_dirs":["any","any"]}]}"#;
        let moves = read_plan(text).unwrap();
        assert_eq!(moves[&TopicPartition::new("t", 1)], [2, 1]);
        for bad in [
            "",
            "{}",
            r#"{"partitions":[]}"#,
            r#"{"partitions":[{"topic":"t"}]}"#,
        ] {
            assert!(read_plan(bad).is_err(), "{bad}");
        }
        assert_eq!(brokers("3, 1").unwrap(), [3, 1], "the order counts");
        assert!(brokers("1-3").is_err());
    }
}
