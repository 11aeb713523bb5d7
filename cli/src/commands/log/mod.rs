//! `thalweg log`: segments and data folders, with a broker and without.

mod dirs;
mod dump;
mod import;
mod marker;
mod segment;
mod verify;

pub use marker::Marker;

use anyhow::Result;
use clap::Subcommand;

#[derive(Debug, Subcommand)]
pub enum LogCommand {
    /// Show what stands in segments, indexes, snapshots and checkpoints
    Dump(dump::DumpArgs),
    /// Read a data folder through and report what is damaged; writes nothing
    Verify(verify::VerifyArgs),
    /// Take over a topic from the files that Apache Kafka wrote
    Import(import::ImportArgs),
    /// Show the log folders of brokers, and how large the partitions in them are
    Dirs(dirs::DirsArgs),
}

pub async fn run(command: LogCommand) -> Result<()> {
    match command {
        LogCommand::Dump(args) => tokio::task::spawn_blocking(move || dump::run(&args)).await?,
        LogCommand::Verify(args) => tokio::task::spawn_blocking(move || verify::run(&args)).await?,
        LogCommand::Import(args) => import::run(args).await,
        LogCommand::Dirs(args) => dirs::run(args).await,
    }
}
