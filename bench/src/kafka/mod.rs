//! Thalweg beside Apache Kafka: the same clients, machine and disk, in turn, several rounds; every figure
//! with its ratio to Kafka's.

mod figures;
mod fill;
mod process;
mod work;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use clap::{Args, ValueEnum};
use thalweg_log::broker::{Broker, BrokerConfig};
use thalweg_log::client::{Client, ClientConfig, NewTopic};

use figures::{Better, Figures, Run};
use process::{Peer, Process};
use work::Load;

use crate::cpu::{Children, of_process};

/// What is measured, and where.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// Where the brokers keep their data
    #[arg(long, default_value = "/dev/shm")]
    dir: PathBuf,
    /// How often both brokers are run, in turn
    #[arg(long)]
    rounds: Option<usize>,
    /// MB that a load produces and consumes
    #[arg(long)]
    megabytes: Option<u64>,
    /// Four loads instead of sixteen, one round, fewer bytes: about four minutes
    #[arg(long)]
    quick: bool,
    /// The server's binary; by default the one beside this program
    #[arg(long)]
    binary: Option<PathBuf>,
    /// How the result is printed
    #[arg(short, long, value_enum, default_value = "table")]
    output: Output,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    Table,
    Json,
}

fn loads(options: &Options) -> Vec<Load> {
    let bytes = options
        .megabytes
        .unwrap_or(if options.quick { 200 } else { 400 })
        * 1_000_000;
    let mut loads = Vec::new();
    for size in [100, 1024] {
        for acks in ["1", "all"] {
            for partitions in [1, 16] {
                for codec in ["none", "lz4"] {
                    loads.push(Load {
                        records: bytes / size as u64,
                        size,
                        partitions,
                        acks,
                        codec,
                    });
                }
            }
        }
    }
    if options.quick {
        let keep = |load: &Load| {
            load.acks == "all"
                && matches!(
                    (load.size, load.partitions, load.codec),
                    (100, 1, "none") | (1024, 1, "none") | (1024, 16, "none") | (1024, 16, "lz4")
                )
        };
        loads.retain(keep);
    }
    loads
}

/// Runs all of it.
pub async fn run(options: &Options) -> Result<()> {
    let class_path = process::class_path()?;
    let binary = match &options.binary {
        Some(binary) => binary.clone(),
        None => std::env::current_exe()?.with_file_name("thalweg"),
    };
    anyhow::ensure!(
        binary.exists(),
        "{} is not there: build it with `cargo build --release -p thalweg`, or say --binary",
        binary.display()
    );
    let rounds = options.rounds.unwrap_or(if options.quick { 1 } else { 3 });
    let loads = loads(options);
    let mut figures = Figures::default();
    for round in 0..rounds {
        // Who goes first changes, so that neither always finds the warmer machine.
        let turn = match round % 2 {
            0 => [Peer::Kafka, Peer::Thalweg],
            _ => [Peer::Thalweg, Peer::Kafka],
        };
        for peer in turn {
            eprintln!("round {} of {rounds}: {}", round + 1, peer.name());
            measure(peer, options, &binary, &class_path, &loads, &mut figures)
                .await
                .with_context(|| peer.name())?;
        }
        in_process(options, &loads, &mut figures).await?;
    }
    eprintln!(
        "median of {rounds} rounds, data in {}",
        options.dir.display()
    );
    match options.output {
        Output::Table => figures.print_tables(),
        Output::Json => figures.print_json()?,
    }
    Ok(())
}

async fn measure(
    peer: Peer,
    options: &Options,
    binary: &std::path::Path,
    class_path: &str,
    loads: &[Load],
    figures: &mut Figures,
) -> Result<()> {
    let broker = Process::start(peer, &options.dir, binary, class_path).await?;
    let address = broker.address.as_str();
    let start_up = broker.start_up.as_secs_f64() * 1e3;
    figures.add(peer, "start to ready", "ms", Better::Less, start_up);
    tokio::time::sleep(Duration::from_secs(2)).await;
    figures.add(
        peer,
        "resident, idle",
        "MiB",
        Better::Less,
        broker.resident(),
    );
    let warm = Load {
        records: 300_000,
        size: 200,
        partitions: 4,
        acks: "all",
        codec: "none",
    };
    work::create(address, "warm", 4).await?;
    work::produce(address, "warm", &warm)?;
    work::consume(address, "warm", &warm)?;
    work::java_produce(class_path, address, "warm", &warm)?;

    for (n, load) in loads.iter().enumerate() {
        let producers = ["Java", "librdkafka"].map(|client| (client, format!("{client}-{n}")));
        for (client, topic) in &producers {
            work::create(address, topic, load.partitions).await?;
            let name = format!("{client} produce, {}", load.name());
            let run = timed(&broker, &name, load, || match *client {
                "Java" => work::java_produce(class_path, address, topic, load),
                _ => work::produce(address, topic, load),
            })?;
            figures.add_load(peer, &name, run);
        }
        work::delete(
            address,
            &producers.each_ref().map(|(_, topic)| topic.as_str()),
        )
        .await?;
        // Who reads does not see with what acks it was written.
        if load.acks != "all" {
            continue;
        }
        let topic = format!("filled-{n}");
        work::create(address, &topic, load.partitions).await?;
        let records = fill::fill(address, &topic, load).await?;
        let load = Load { records, ..*load };
        for client in ["Java", "librdkafka"] {
            let name = format!("{client} consume, {}", load.data());
            let run = timed(&broker, &name, &load, || match client {
                "Java" => work::java_consume(class_path, address, &topic, &load),
                _ => work::consume(address, &topic, &load),
            })?;
            figures.add_load(peer, &name, run);
        }
        work::delete(address, &[&topic]).await?;
    }
    let small = Load {
        records: if options.quick { 20_000 } else { 40_000 },
        size: 100,
        partitions: 1,
        acks: "all",
        codec: "none",
    };
    work::create(address, "transactions", 1).await?;
    work::transactions(address, "transactions", &small, 200)?;
    let count = if options.quick { 1000 } else { 3000 };
    let rate = work::transactions(address, "transactions", &small, count)?;
    eprintln!("  transactions: {rate:.0}/s");
    figures.add(
        peer,
        "transactions of 10 records",
        "1/s",
        Better::More,
        rate,
    );
    let rate = 2000;
    work::create(address, "latency", 1).await?;
    let found = work::latencies(address, "latency", &small, rate)?;
    for (name, share) in [("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999)] {
        let at = (found.len() as f64 * share) as usize;
        let value = found.get(at).copied().unwrap_or(f64::NAN);
        eprintln!("  latency {name}: {value:.2} ms");
        let name = format!("end to end at {rate}/s, {name}");
        figures.add(peer, &name, "ms", Better::Less, value);
    }
    figures.add(
        peer,
        "resident, after",
        "MiB",
        Better::Less,
        broker.resident(),
    );
    Ok(())
}

/// Runs a load and sees what it took of the broker and of its client, which is this process or a child of it.
fn timed(
    broker: &Process,
    name: &str,
    load: &Load,
    work: impl FnOnce() -> Result<f64>,
) -> Result<Run> {
    let client = of_process("self", Children::With);
    let (cpu, began) = (broker.cpu(), Instant::now());
    let rate = work()?;
    let run = Run {
        rate: rate * load.size as f64 / 1e6,
        broker: (broker.cpu() - cpu).max(0.01) / (load.bytes() / 1e9),
        client: (of_process("self", Children::With) - client) / began.elapsed().as_secs_f64(),
    };
    eprintln!(
        "  {name}: {:.0} MB/s, broker {:.2} CPU-s/GB, client {:.2} cores",
        run.rate, run.broker, run.client
    );
    Ok(run)
}

/// Our client and broker in this process; beside it stands what Kafka does with librdkafka.
async fn in_process(options: &Options, loads: &[Load], figures: &mut Figures) -> Result<()> {
    let Some(load) = loads.iter().find(|l| l.acks == "all" && l.codec == "none") else {
        return Ok(());
    };
    let folder = tempfile::tempdir_in(&options.dir)?;
    let broker = Broker::start(BrokerConfig::new(folder.path())).await?;
    let client = Client::with_transport(broker.transport(), ClientConfig::default());
    let topic = NewTopic::new("in-process").partitions(load.partitions);
    client.admin().create_topic(topic).await?;
    let work = crate::Options {
        records: load.records,
        size: load.size,
        partitions: load.partitions,
        runs: 1,
        dir: options.dir.clone(),
    };
    let produced = crate::log::produce_all(&client, "in-process", &work).await?;
    let consumed = crate::log::consume_all(&client, "in-process", &work).await?;
    broker.shutdown().await;
    for (doing, took) in [("produce", produced), ("consume", consumed)] {
        let name = format!("in process {doing} (Kafka: librdkafka), {}", load.name());
        figures.add(
            Peer::Thalweg,
            &name,
            "MB/s",
            Better::More,
            load.bytes() / 1e6 / took.wall,
        );
        let peer = match doing {
            "produce" => format!("librdkafka {doing}, {}", load.name()),
            _ => format!("librdkafka {doing}, {}", load.data()),
        };
        let value = figures.rate(&peer, Peer::Kafka);
        figures.add(Peer::Kafka, &name, "MB/s", Better::More, value);
    }
    Ok(())
}
