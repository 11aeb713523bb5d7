//! Whole-program benchmarks of Thalweg.
//!
//! ```console
//! $ cargo run --release -p thalweg-bench -- log
//! $ cargo run --release -p thalweg-bench -- streaming --records 2000000 --runs 5
//! $ cargo run --release -p thalweg-bench -- kafka --quick
//! ```
//!
//! `kafka` starts servers of their own, Apache Kafka from its jars and the `thalweg` binary. Everything else runs
//! in this process on a folder of its own under `--dir`, several times in turn with the limit it is measured
//! against, and is printed as rates, CPU cost and ratios.

#![allow(unreachable_pub, reason = "a binary has no outside")]

mod cpu;
mod events;
mod kafka;
mod log;
mod report;
mod streaming;

use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(name = "thalweg-bench", version, about = "Benchmarks of Thalweg")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Produce and consume, in process and over TCP
    Log(Options),
    /// Thalweg beside Apache Kafka, with the clients of others
    Kafka(kafka::Options),
    /// Windowed count with the DSL and with SQL
    Streaming(Options),
}

/// How much work, and where.
#[derive(Debug, Clone, Args)]
struct Options {
    /// Records a run
    #[arg(long, default_value_t = 1_000_000)]
    records: u64,
    /// Bytes of a record's value (`log` only)
    #[arg(long, default_value_t = 100)]
    size: usize,
    /// Partitions of the topic
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(i32).range(1..))]
    partitions: i32,
    /// How often everything is run, in turn
    #[arg(long, default_value_t = 3)]
    runs: usize,
    /// Where the data goes; memory by default, to measure CPU and not the disk
    #[arg(long, default_value = "/dev/shm")]
    dir: PathBuf,
}

#[tokio::main]
async fn main() -> Result<()> {
    match Cli::parse().command {
        Command::Log(options) => log::run(&options).await,
        Command::Kafka(options) => kafka::run(&options).await,
        Command::Streaming(options) => streaming::run(&options).await,
    }
}
