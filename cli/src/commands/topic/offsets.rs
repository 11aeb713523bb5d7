//! `thalweg topic offsets`: where logs begin and end, and which offset a time has.

use anyhow::{Context as _, Result};
use clap::Args;
use serde_json::json;
use thalweg_log::client::{Client, IsolationLevel, OffsetSpec};

use crate::args::time;
use crate::output::{Output, Rows};
use crate::places::{matching, partitions, topics};
use crate::target::Target;

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  thalweg topic offsets                             the ends of all topics
  thalweg topic offsets orders:0,1 --at earliest
  thalweg topic offsets 'orders-.*' --regex --at 2025-01-31T12:00:00")]
pub struct OffsetsArgs {
    /// Topics, or some of their partitions [default: all]
    #[arg(value_name = "TOPIC[:0,1]")]
    topics: Vec<String>,
    /// Take TOPIC for a regular expression that the whole name must match
    #[arg(long, requires = "topics")]
    regex: bool,
    /// Which offset: earliest, latest, max-timestamp, or of the first record of a time or later
    #[arg(
        long,
        value_name = "WHERE",
        default_value = "latest",
        visible_alias = "time"
    )]
    at: String,
    /// Only what is committed counts for latest
    #[arg(long)]
    read_committed: bool,
    #[command(flatten)]
    pub(super) target: Target,
    /// How to print
    #[arg(long, short, value_enum, default_value_t)]
    output: Output,
}

impl OffsetsArgs {
    /// Which offset is meant. Kafka's script has numbers for some.
    fn spec(&self) -> Result<OffsetSpec> {
        Ok(match self.at.as_str() {
            "earliest" | "-2" => OffsetSpec::Earliest,
            "latest" | "-1" => OffsetSpec::Latest,
            "max-timestamp" | "-3" => OffsetSpec::MaxTimestamp,
            other => OffsetSpec::Timestamp(
                time(other).context("--at takes earliest, latest, max-timestamp or a time")?,
            ),
        })
    }
}

pub(super) async fn run(client: &Client, args: &OffsetsArgs) -> Result<()> {
    let spec = args.spec()?;
    let named = match (args.topics.is_empty(), args.regex) {
        (true, _) => topics(client).await?,
        (false, true) => matching(client, &args.topics).await?,
        (false, false) => args.topics.clone(),
    };
    let places = partitions(client, &named).await?;
    let isolation = match args.read_committed {
        true => IsolationLevel::ReadCommitted,
        false => IsolationLevel::ReadUncommitted,
    };
    let wanted = places.into_iter().map(|place| (place, spec)).collect();
    let mut rows = Rows::new(&["TOPIC", "PARTITION", "OFFSET", "TIMESTAMP", "LEADER-EPOCH"]);
    for (place, found) in client.admin().list_offsets(wanted, isolation).await? {
        let found = found.filter(|found| found.offset >= 0);
        rows.push(vec![
            json!(place.topic.as_ref()),
            json!(place.partition),
            json!(found.map(|found| found.offset)),
            json!(found.map(|found| found.timestamp).filter(|t| *t >= 0)),
            json!(found.and_then(|found| found.leader_epoch)),
        ]);
    }
    rows.print(args.output);
    Ok(())
}
