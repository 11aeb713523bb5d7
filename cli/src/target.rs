//! Which log a command speaks to: a server's, or a data folder that no server holds.

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use clap::Args;
use thalweg_log::broker::{Broker, BrokerConfig};
use thalweg_log::client::{Client, ClientConfig};

use crate::settings::DEFAULT_LISTEN;

/// Where the log is.
#[derive(Debug, Clone, Args)]
pub struct Target {
    /// A broker to connect to, Thalweg or Apache Kafka [default: 127.0.0.1:9092]
    #[arg(
        long,
        value_name = "HOST:PORT",
        conflicts_with = "data_dir",
        visible_alias = "bootstrap-server"
    )]
    bootstrap: Option<String>,
    /// Settings of the connection by Kafka's names, a properties file
    #[arg(long, value_name = "FILE", conflicts_with = "data_dir")]
    command_config: Option<PathBuf>,
    /// A data folder to open in this process; no server may hold it
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
}

/// An open log. Close it, so that a data folder is left clean.
pub struct Log {
    pub client: Client,
    broker: Option<Broker>,
}

impl Target {
    fn config(&self) -> Result<ClientConfig> {
        let Some(path) = &self.command_config else {
            return Ok(ClientConfig::default());
        };
        let entries = crate::settings::read_properties(path)?;
        ClientConfig::from_map(entries).with_context(|| format!("in {}", path.display()))
    }

    pub async fn open(&self) -> Result<Log> {
        match &self.data_dir {
            Some(dir) => {
                let config = BrokerConfig::new(dir);
                let broker = Broker::start(config).await?;
                let client = Client::with_transport(broker.transport(), ClientConfig::default());
                Ok(Log {
                    client,
                    broker: Some(broker),
                })
            }
            None => {
                let bootstrap = self.bootstrap.as_deref().unwrap_or(DEFAULT_LISTEN);
                let client = Client::connect(bootstrap, self.config()?)
                    .await
                    .with_context(|| format!("cannot reach a broker at {bootstrap}; start one with `thalweg server`, or open a data folder with --data-dir"))?;
                Ok(Log {
                    client,
                    broker: None,
                })
            }
        }
    }
}

impl Target {
    /// Opens the log, runs `work` and closes the log whatever comes of it.
    pub async fn with<T>(&self, work: impl AsyncFnOnce(&Client) -> Result<T>) -> Result<T> {
        self.open().await?.with(work).await
    }
}

impl Log {
    pub async fn close(self) -> Result<()> {
        if let Some(broker) = self.broker {
            broker.shutdown().await;
        }
        Ok(())
    }

    /// Runs `work` and closes the log whatever comes of it.
    pub async fn with<T>(self, work: impl AsyncFnOnce(&Client) -> Result<T>) -> Result<T> {
        let done = work(&self.client).await;
        let closed = self.close().await;
        let value = done?;
        closed?;
        Ok(value)
    }
}
