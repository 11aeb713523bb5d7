//! The binary `thalweg`: a server, a SQL shell, and commands for topics and groups.

#![allow(unreachable_pub, reason = "a binary has no outside")]

mod args;
mod commands;
mod demo;
mod encoding;
mod limits;
mod loggers;
mod output;
mod places;
mod settings;
mod sql;
mod target;

use std::io::IsTerminal as _;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};
use tracing_subscriber::EnvFilter;

/// A Kafka-compatible log, stream processing and streaming SQL in one binary.
#[derive(Debug, Parser)]
#[command(name = "thalweg", version, propagate_version = true)]
struct Cli {
    /// What to log, such as `info` or `thalweg_log=debug`; to standard error
    #[arg(
        long,
        global = true,
        env = "THALWEG_LOG",
        default_value = "warn",
        value_name = "FILTER"
    )]
    log: String,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a broker and its SQL jobs
    Server(commands::server::ServerArgs),
    /// Run SQL: a shell, a file or a statement; embedded or against a server
    Sql(commands::sql::SqlArgs),
    /// Create, list, describe, alter and delete topics
    #[command(subcommand)]
    Topic(commands::topic::TopicCommand),
    /// Write lines of standard input (or a file) to a topic
    Produce(commands::produce::ProduceArgs),
    /// Print records of a topic
    Consume(commands::consume::ConsumeArgs),
    /// List, describe and delete consumer groups, and reset their offsets
    #[command(subcommand)]
    Group(commands::group::GroupCommand),
    /// Show and change settings of topics, brokers and groups
    #[command(subcommand)]
    Config(commands::config::ConfigCommand),
    /// Show and end transactions
    #[command(subcommand)]
    Transaction(commands::transaction::TransactionCommand),
    /// Look into segments and data folders
    #[command(subcommand)]
    Log(commands::log::LogCommand),
    /// Show the cluster: brokers, features, quorum
    #[command(subcommand)]
    Cluster(commands::cluster::ClusterCommand),
    /// Elect leaders and move partitions
    #[command(subcommand)]
    Partition(commands::partition::PartitionCommand),
    /// Show and change what clients may take
    #[command(subcommand)]
    Quota(commands::quota::QuotaCommand),
    /// See it work on real data
    #[command(subcommand)]
    Demo(demo::DemoCommand),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    start_logging(&cli.log);
    limits::raise_open_files();
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: cannot start the runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    let done = runtime.block_on(run(cli.command));
    // A blocked reader of standard input must not keep the process.
    runtime.shutdown_background();
    match done {
        Ok(code) => code,
        // Whoever read our output has enough, as in `thalweg consume t | head`.
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Logs to standard error, by a filter that can be changed while the process runs.
fn start_logging(filter: &str) {
    let builder = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(filter))
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_filter_reloading();
    let handle = builder.reload_handle();
    builder.init();
    let apply = move |filter| handle.reload(filter).map_err(|e| e.to_string());
    let levels = loggers::Levels::new(filter, Box::new(apply));
    thalweg_log::broker::install_loggers(std::sync::Arc::new(levels));
}

async fn run(command: Command) -> Result<ExitCode> {
    match command {
        Command::Server(args) => commands::server::run(args).await?,
        Command::Sql(args) => commands::sql::run(args).await?,
        Command::Topic(command) => commands::topic::run(command).await?,
        Command::Produce(args) => commands::produce::run(args).await?,
        Command::Consume(args) => commands::consume::run(args).await?,
        Command::Group(command) => commands::group::run(command).await?,
        Command::Config(command) => commands::config::run(command).await?,
        Command::Transaction(command) => commands::transaction::run(command).await?,
        Command::Log(command) => commands::log::run(command).await?,
        Command::Cluster(command) => commands::cluster::run(command).await?,
        Command::Partition(command) => commands::partition::run(command).await?,
        Command::Quota(command) => commands::quota::run(command).await?,
        Command::Demo(command) => return demo::run(command).await,
    }
    Ok(ExitCode::SUCCESS)
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .downcast_ref::<std::io::Error>()
        .is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn no_command_contradicts_itself() {
        Cli::command().debug_assert();
    }
}
