//! A broker in twenty lines: `cargo run -p thalweg-log --example broker -- [FOLDER] [HOST:PORT]`.
//!
//! Any Kafka client can talk to it, for instance `kcat -b 127.0.0.1:9092 -L`. Ctrl-C stops it.

use thalweg_log::broker::{Broker, BrokerConfig, BrokerError};

#[tokio::main]
async fn main() -> Result<(), BrokerError> {
    tracing_subscriber::fmt()
        .with_env_filter("info,openraft=warn")
        .init();
    let mut arguments = std::env::args().skip(1);
    let folder = arguments
        .next()
        .unwrap_or_else(|| "thalweg-data".to_owned());
    let address = arguments
        .next()
        .unwrap_or_else(|| "127.0.0.1:9092".to_owned());

    let broker = Broker::start(BrokerConfig::new(folder)).await?;
    let address = broker.listen(&address).await?;
    println!("ready: kcat -b {address} -L");

    let _ = tokio::signal::ctrl_c().await;
    broker.shutdown().await;
    Ok(())
}
