//! `thalweg cluster`: the brokers, the features and the metadata quorum.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use clap::{Args, Subcommand};
use serde_json::json;
use thalweg_log::client::{Client, FeatureUpdate, UpgradeType};

use crate::args::{pairs, shown_time};
use crate::output::{Output, Rows, all_done, done, say};
use crate::target::Target;

#[derive(Debug, Subcommand)]
pub enum ClusterCommand {
    /// Show the cluster's id, its controller and its brokers
    Describe(ClusterArgs),
    /// Show the features that are switched on, and those that could be
    Features(ClusterArgs),
    /// Show the quorum of the metadata
    Quorum(ClusterArgs),
    /// Change the levels of features, all or none
    UpdateFeatures(UpdateArgs),
    /// Forget a broker that will not come back
    Unregister(UnregisterArgs),
}

#[derive(Debug, Args)]
pub struct ClusterArgs {
    #[command(flatten)]
    target: Target,
    /// How to print
    #[arg(long, short, value_enum, default_value_t)]
    output: Output,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  thalweg cluster update-features group.version=1
  thalweg cluster update-features transaction.version=1 --downgrade --dry-run")]
pub struct UpdateArgs {
    /// Features with their new levels; 0 switches one off
    #[arg(required = true, value_name = "FEATURE=LEVEL")]
    features: Vec<String>,
    /// Allow a lower level than now
    #[arg(long)]
    downgrade: bool,
    /// Allow a lower level even where metadata may be lost
    #[arg(long = "unsafe", requires = "downgrade")]
    lossy: bool,
    /// Only say whether it would be done
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    target: Target,
    /// How to print
    #[arg(long, short, value_enum, default_value_t)]
    output: Output,
}

#[derive(Debug, Args)]
pub struct UnregisterArgs {
    /// The broker's id
    id: i32,
    #[command(flatten)]
    target: Target,
    /// How to print
    #[arg(long, short, value_enum, default_value_t)]
    output: Output,
}

pub async fn run(command: ClusterCommand) -> Result<()> {
    match command {
        ClusterCommand::Describe(args) => {
            args.target
                .with(async |client| describe(client, args.output).await)
                .await
        }
        ClusterCommand::Features(args) => {
            args.target
                .with(async |client| features(client, args.output).await)
                .await
        }
        ClusterCommand::UpdateFeatures(args) => {
            let updates = updates(&args)?;
            args.target
                .with(async |client| update_features(client, &args, &updates).await)
                .await
        }
        ClusterCommand::Unregister(args) => {
            args.target
                .with(async |client| Ok(client.admin().unregister_broker(args.id).await?))
                .await?;
            done(
                args.output,
                json!({"broker": args.id, "unregistered": true}),
                format_args!("Broker {} is forgotten.", args.id),
            );
            Ok(())
        }
        ClusterCommand::Quorum(args) => {
            args.target
                .with(async |client| quorum(client, args.output).await)
                .await
        }
    }
}

async fn describe(client: &Client, output: Output) -> Result<()> {
    let cluster = client.admin().describe_cluster().await?;
    let mut rows = Rows::new(&["BROKER", "HOST", "PORT", "RACK", "CONTROLLER"]);
    for node in &cluster.nodes {
        rows.push(vec![
            json!(node.id),
            json!(node.host),
            json!(node.port),
            json!(node.rack),
            json!(cluster.controller == Some(node.id)),
        ]);
    }
    match output {
        Output::Table => {
            say!("Cluster ID: {}", cluster.cluster_id);
            rows.print(Output::Table);
        }
        Output::Json => say!(
            "{}",
            json!({
                "cluster_id": cluster.cluster_id,
                "controller": cluster.controller,
                "brokers": rows.to_json(),
            })
        ),
    }
    Ok(())
}

async fn features(client: &Client, output: Output) -> Result<()> {
    let features = client.admin().describe_features().await?;
    let mut rows = Rows::new(&["FEATURE", "MIN-LEVEL", "MAX-LEVEL", "FINALIZED-LEVEL"]);
    for (name, (min, max)) in &features.supported {
        rows.push(vec![
            json!(name),
            json!(min),
            json!(max),
            json!(features.finalized.get(name).copied().unwrap_or(0)),
        ]);
    }
    rows.print(output);
    Ok(())
}

fn updates(args: &UpdateArgs) -> Result<BTreeMap<String, FeatureUpdate>> {
    let upgrade_type = match (args.downgrade, args.lossy) {
        (false, _) => UpgradeType::Upgrade,
        (true, false) => UpgradeType::SafeDowngrade,
        (true, true) => UpgradeType::UnsafeDowngrade,
    };
    pairs("update-features", &args.features)?
        .into_iter()
        .map(|(feature, level)| {
            let update = FeatureUpdate {
                max_version_level: level.parse().with_context(|| {
                    format!("the level of {feature} is a number, not {level:?}")
                })?,
                upgrade_type,
            };
            Ok((feature, update))
        })
        .collect()
}

async fn update_features(
    client: &Client,
    args: &UpdateArgs,
    updates: &BTreeMap<String, FeatureUpdate>,
) -> Result<()> {
    let results = client
        .admin()
        .update_features(updates, args.dry_run)
        .await?;
    let mut rows = Rows::new(&["FEATURE", "LEVEL", "RESULT"]);
    let mut failed = Vec::new();
    for (feature, result) in results {
        match result {
            Ok(()) => rows.push(vec![
                json!(feature),
                json!(updates.get(&feature).map(|u| u.max_version_level)),
                json!(if args.dry_run {
                    "can be updated"
                } else {
                    "updated"
                }),
            ]),
            Err(error) => failed.push(error.to_string()),
        }
    }
    if !rows.is_empty() || args.output == Output::Json {
        rows.print(args.output);
    }
    all_done(failed)
}

async fn quorum(client: &Client, output: Output) -> Result<()> {
    let quorum = client.admin().describe_metadata_quorum().await?;
    let mut rows = Rows::new(&[
        "NODE",
        "ROLE",
        "LOG-END-OFFSET",
        "LAG",
        "LAST-FETCH",
        "LAST-CAUGHT-UP",
    ]);
    let end = quorum.voters.iter().map(|v| v.log_end_offset).max();
    let voters = quorum.voters.iter().map(|v| (v, "Follower"));
    let observers = quorum.observers.iter().map(|o| (o, "Observer"));
    for (replica, role) in voters.chain(observers) {
        let role = match replica.replica_id == quorum.leader_id {
            true => "Leader",
            false => role,
        };
        let lag = end.map(|end| (end - replica.log_end_offset).max(0));
        rows.push(vec![
            json!(replica.replica_id),
            json!(role),
            json!(replica.log_end_offset),
            json!(lag),
            json!(replica.last_fetch_timestamp.map(shown_time)),
            json!(replica.last_caught_up_timestamp.map(shown_time)),
        ]);
    }
    match output {
        Output::Table => {
            say!(
                "Leader: {}   Epoch: {}   High watermark: {}",
                quorum.leader_id,
                quorum.leader_epoch,
                quorum.high_watermark
            );
            rows.print(Output::Table);
        }
        Output::Json => say!(
            "{}",
            json!({
                "leader": quorum.leader_id,
                "leader_epoch": quorum.leader_epoch,
                "high_watermark": quorum.high_watermark,
                "replicas": rows.to_json(),
            })
        ),
    }
    Ok(())
}
