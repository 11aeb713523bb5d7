//! `thalweg sql`: a shell, a file or a statement; embedded or against a server.

use std::io::{IsTerminal as _, Read as _};
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use clap::Args;

use crate::output::Output;
use crate::settings::{DEFAULT_DATA_DIR, DEFAULT_PG_LISTEN};
use crate::sql::embedded::Embedded;
use crate::sql::events::Backend;
use crate::sql::remote::Remote;
use crate::sql::shell;

#[derive(Debug, Args)]
pub struct SqlArgs {
    /// Run the statements of this file and exit
    #[arg(long, short, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Run these statements and exit
    #[arg(long, short, value_name = "STATEMENT", conflicts_with = "file")]
    command: Option<String>,
    /// Run everything in this process, on this data folder [default: thalweg-data]
    #[arg(long, value_name = "DIR", conflicts_with = "server")]
    data_dir: Option<PathBuf>,
    /// Connect to a server's Postgres port [default, when nothing else is said and one
    /// listens there: 127.0.0.1:5433]
    #[arg(long, value_name = "HOST:PORT")]
    server: Option<String>,
    /// How to print results
    #[arg(long, short, value_enum, default_value_t)]
    output: Output,
}

pub async fn run(args: SqlArgs) -> Result<()> {
    let script = script(&args)?;
    if let Some(backend) = remote(&args).await? {
        return run_on(Box::new(backend), script, args.output).await;
    }
    let dir = args
        .data_dir
        .unwrap_or_else(|| PathBuf::from(DEFAULT_DATA_DIR));
    let embedded = Embedded::open(&dir).await?;
    let done = run_on(Box::new(embedded.backend()), script, args.output).await;
    let closed = embedded.close().await;
    done.and(closed)
}

/// The statements to run, if they do not come from a person.
fn script(args: &SqlArgs) -> Result<Option<String>> {
    if let Some(command) = &args.command {
        return Ok(Some(command.clone()));
    }
    if let Some(path) = &args.file {
        return std::fs::read_to_string(path)
            .with_context(|| format!("cannot read {}", path.display()))
            .map(Some);
    }
    if std::io::stdin().is_terminal() {
        return Ok(None);
    }
    let mut sql = String::new();
    std::io::stdin()
        .read_to_string(&mut sql)
        .context("cannot read standard input")?;
    Ok(Some(sql))
}

/// A connection, if one is asked for, or a server listens where one would be by default.
async fn remote(args: &SqlArgs) -> Result<Option<Remote>> {
    match (&args.server, &args.data_dir) {
        (Some(server), _) => Remote::connect(server).await.map(Some),
        (None, Some(_)) => Ok(None),
        (None, None) => Ok(Remote::connect(DEFAULT_PG_LISTEN).await.ok()),
    }
}

async fn run_on(
    mut backend: Box<dyn Backend>,
    script: Option<String>,
    output: Output,
) -> Result<()> {
    match script {
        Some(sql) => {
            tokio::select! {
                done = shell::run_one(backend.as_mut(), &sql, output) => done,
                _ = tokio::signal::ctrl_c() => Ok(()),
            }
        }
        None => shell::run(backend, output).await,
    }
}
