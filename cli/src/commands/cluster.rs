//! `thalweg cluster`: the brokers, the features and the metadata quorum.

use anyhow::Result;
use clap::{Args, Subcommand};
use serde_json::json;
use thalweg_log::client::Client;

use crate::args::shown_time;
use crate::output::{Output, Rows, say};
use crate::target::Target;

#[derive(Debug, Subcommand)]
pub enum ClusterCommand {
    /// Show the cluster's id, its controller and its brokers
    Describe(ClusterArgs),
    /// Show the features that are switched on, and those that could be
    Features(ClusterArgs),
    /// Show the quorum of the metadata
    Quorum(ClusterArgs),
}

#[derive(Debug, Args)]
pub struct ClusterArgs {
    #[command(flatten)]
    target: Target,
    /// How to print
    #[arg(long, short, value_enum, default_value_t)]
    output: Output,
}

pub async fn run(command: ClusterCommand) -> Result<()> {
    match command {
        ClusterCommand::Describe(args) => {
            let log = args.target.open().await?;
            log.with(async |client| describe(client, args.output).await)
                .await
        }
        ClusterCommand::Features(args) => {
            let log = args.target.open().await?;
            log.with(async |client| features(client, args.output).await)
                .await
        }
        ClusterCommand::Quorum(args) => {
            let log = args.target.open().await?;
            log.with(async |client| quorum(client, args.output).await)
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
