//! `thalweg server`: a broker and its SQL jobs in one process.

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use clap::Args;
use thalweg_log::broker::{Broker, BrokerConfig};
use thalweg_log::client::{Client, ClientConfig};
use thalweg_sql::{Engine, EngineConfig, PgServer};
use tokio::signal::unix::{SignalKind, signal};

use crate::settings::{Flags, Settings};

#[derive(Debug, Args)]
pub struct ServerArgs {
    /// A file of settings by Kafka's keys: TOML, or properties such as Kafka's server.properties
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where everything is kept [default: thalweg-data]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Where Kafka clients connect [default: 127.0.0.1:9092]
    #[arg(long, value_name = "HOST:PORT")]
    listen: Option<String>,
    /// Where Postgres clients connect [default: 127.0.0.1:5433]
    #[arg(long, value_name = "HOST:PORT")]
    pg_listen: Option<String>,
    /// A setting that wins over the file and the flags
    #[arg(long = "override", value_name = "KEY=VALUE")]
    overrides: Vec<String>,
}

pub async fn run(args: ServerArgs) -> Result<()> {
    let settings = Settings::merge(&Flags {
        config: args.config.as_deref(),
        data_dir: args.data_dir.as_deref(),
        listen: args.listen.as_deref(),
        pg_listen: args.pg_listen.as_deref(),
        overrides: &args.overrides,
    })?;
    let mut terminated = signal(SignalKind::terminate()).context("cannot wait for SIGTERM")?;
    let running = Running::start(&settings).await?;
    println!(
        "Thalweg {} is ready: Kafka on {}, Postgres on {}, data in {}",
        env!("CARGO_PKG_VERSION"),
        running.kafka.join(", "),
        running.postgres,
        settings.data_dir.display()
    );
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = terminated.recv() => {}
    }
    println!("Stopping …");
    running.stop().await?;
    println!("Stopped.");
    Ok(())
}

/// A broker, an engine and their listeners.
struct Running {
    kafka: Vec<String>,
    postgres: std::net::SocketAddr,
    broker: Broker,
    engine: Engine,
    pg: PgServer,
}

impl Running {
    async fn start(settings: &Settings) -> Result<Self> {
        let mut config = BrokerConfig::new(&settings.data_dir);
        for (key, value) in &settings.broker {
            config = config.set(key, value);
        }
        let broker = Broker::start(config).await?;
        let kafka = match broker.addresses().as_slice() {
            [(_, only)] => vec![only.to_string()],
            several => several
                .iter()
                .map(|(name, address)| format!("{address} ({name})"))
                .collect(),
        };
        let client = Client::with_transport(broker.transport(), ClientConfig::default());
        let engine = Engine::start(EngineConfig::new(&settings.data_dir), client).await?;
        let pg = PgServer::start(engine.clone(), &settings.pg_listen).await?;
        Ok(Self {
            kafka,
            postgres: pg.address(),
            broker,
            engine,
            pg,
        })
    }

    /// From the outside in: no new statements, no new jobs, then the log.
    async fn stop(self) -> Result<()> {
        self.pg.shutdown().await;
        self.engine.close().await;
        self.broker.shutdown().await;
        Ok(())
    }
}
