//! `thalweg log dirs`.

use std::collections::BTreeSet;

use anyhow::Result;
use clap::Args;
use serde_json::json;
use thalweg_log::client::Client;

use crate::args::numbers;
use crate::output::{Output, Rows, all_done};
use crate::target::Target;

#[derive(Debug, Args)]
pub struct DirsArgs {
    /// Only partitions of these topics
    topics: Vec<String>,
    /// Only these brokers [default: all]
    #[arg(long, value_name = "IDS")]
    brokers: Option<String>,
    /// Show folders only, and not the partitions in them
    #[arg(long, conflicts_with = "topics")]
    summary: bool,
    #[command(flatten)]
    target: Target,
    /// How to print
    #[arg(long, short, value_enum, default_value_t)]
    output: Output,
}

pub(super) async fn run(args: DirsArgs) -> Result<()> {
    args.target
        .with(async |client| show(client, &args).await)
        .await
}

async fn show(client: &Client, args: &DirsArgs) -> Result<()> {
    let admin = client.admin();
    let brokers = match &args.brokers {
        Some(text) => numbers(text)?,
        None => {
            let cluster = admin.describe_cluster().await?;
            cluster.nodes.iter().map(|n| n.id).collect()
        }
    };
    let mut rows = match args.summary {
        true => Rows::new(&[
            "BROKER",
            "FOLDER",
            "PARTITIONS",
            "BYTES",
            "TOTAL-BYTES",
            "USABLE-BYTES",
        ]),
        false => Rows::new(&[
            "BROKER",
            "FOLDER",
            "TOPIC",
            "PARTITION",
            "BYTES",
            "OFFSET-LAG",
            "FUTURE",
        ]),
    };
    let mut failed = Vec::new();
    let mut seen = BTreeSet::new();
    for (broker, folders) in admin.describe_log_dirs(&brokers, None).await? {
        let folders = match folders {
            Ok(folders) => folders,
            Err(error) => {
                failed.push(error.to_string());
                continue;
            }
        };
        for (folder, described) in folders {
            let described = match described {
                Ok(described) => described,
                Err(error) => {
                    failed.push(format!("{folder}: {error}"));
                    continue;
                }
            };
            if args.summary {
                let bytes: i64 = described.replicas.values().map(|r| r.size).sum();
                rows.push(vec![
                    json!(broker),
                    json!(folder),
                    json!(described.replicas.len()),
                    json!(bytes),
                    json!(described.total_bytes),
                    json!(described.usable_bytes),
                ]);
                continue;
            }
            for (place, replica) in &described.replicas {
                if !args.topics.is_empty() && !args.topics.iter().any(|t| *t == *place.topic) {
                    continue;
                }
                seen.insert(place.topic.to_string());
                rows.push(vec![
                    json!(broker),
                    json!(folder),
                    json!(place.topic.as_ref()),
                    json!(place.partition),
                    json!(replica.size),
                    json!(replica.offset_lag),
                    json!(replica.is_future),
                ]);
            }
        }
    }
    let missing = args.topics.iter().filter(|topic| !seen.contains(*topic));
    failed.extend(missing.map(|topic| format!("no folder has a partition of topic {topic}")));
    if !rows.is_empty() || args.output == Output::Json {
        rows.print(args.output);
    }
    all_done(failed)
}
