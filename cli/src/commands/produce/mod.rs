//! `thalweg produce TOPIC`: lines in, records out.

mod input;

use std::fs::File;
use std::io::{self, BufRead, BufReader, IsTerminal as _};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use clap::{Args, ValueEnum};
use thalweg_connectors::{Unit, progress_bar};
use thalweg_log::client::{Client, Delivery, Producer, ProducerConfig, ProducerRecord};

use self::input::{LineFormat, unescape};
use crate::args::pairs;
use crate::encoding::Encoding;
use crate::target::Target;

/// How many deliveries may be open before the oldest is waited for.
const OPEN_DELIVERIES: usize = 10_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
enum InputFormat {
    /// A value a line, or key and value with --key-separator
    #[default]
    Lines,
    /// A JSON object a line: key, value, headers, partition, timestamp
    Json,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  echo 'hello' | thalweg produce greetings
  thalweg produce orders --file orders.txt --key-separator :
  thalweg produce orders --input json <<< '{\"key\": \"k\", \"value\": {\"n\": 1}, \"headers\": {\"h\": \"1\"}}'
  thalweg consume orders --exit -o json | thalweg produce copy --input json
  thalweg produce audit --file a.txt --transactional-id loader --acks all")]
pub struct ProduceArgs {
    /// The topic
    topic: String,
    /// Read lines of these files, one after the other, instead of standard input
    #[arg(long = "file", short, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// What a line is
    #[arg(
        long = "input",
        short = 'I',
        value_enum,
        default_value_t,
        value_name = "FORMAT"
    )]
    format: InputFormat,
    /// What separates key and value in a line (\t is a tab); without it lines have no key
    #[arg(long, short = 'K', value_name = "TEXT")]
    key_separator: Option<String>,
    /// What separates headers, NAME:VALUE,NAME:VALUE at the front of a line, from the rest
    #[arg(long, value_name = "TEXT")]
    header_separator: Option<String>,
    /// The text that stands for null: a record without key or value
    #[arg(long, value_name = "TEXT")]
    null_marker: Option<String>,
    /// What keys and values are in the input
    #[arg(long, value_enum, default_value_t)]
    encoding: Encoding,
    /// The key of every record
    #[arg(long, short = 'k', conflicts_with = "key_separator")]
    key: Option<String>,
    /// The partition [default: by key, or spread]
    #[arg(long, short)]
    partition: Option<i32>,
    /// A header of every record
    #[arg(long = "header", short = 'H', value_name = "NAME=VALUE")]
    headers: Vec<String>,
    /// How batches are compressed: none, gzip, snappy, lz4, zstd
    #[arg(long, short = 'z', default_value = "none")]
    compression: String,
    /// Whose acknowledgement counts: 0, 1 or all
    #[arg(long, default_value = "all")]
    acks: String,
    /// Write in a transaction under this id; nothing is seen by read_committed until all is written
    #[arg(long, value_name = "ID")]
    transactional_id: Option<String>,
    /// Commit a transaction after so many records, and not only at the end
    #[arg(long, value_name = "COUNT", requires = "transactional_id")]
    transaction_records: Option<u64>,
    /// How many bytes of a partition are gathered into a batch
    #[arg(long, value_name = "BYTES")]
    batch_size: Option<usize>,
    /// At most so many records a second
    #[arg(long, value_name = "RECORDS")]
    rate: Option<f64>,
    /// A setting of the producer by Kafka's name
    #[arg(long = "set", short = 'X', value_name = "KEY=VALUE")]
    settings: Vec<String>,
    #[command(flatten)]
    target: Target,
}

pub async fn run(args: ProduceArgs) -> Result<()> {
    if args
        .rate
        .is_some_and(|rate| rate <= 0.0 || !rate.is_finite())
    {
        bail!("--rate takes a number of records a second above 0");
    }
    let config = config(&args)?;
    args.target
        .with(async |client| produce(client, &args, config).await)
        .await
}

fn config(args: &ProduceArgs) -> Result<ProducerConfig> {
    let mut settings = vec![
        ("compression.type".to_owned(), args.compression.clone()),
        ("acks".to_owned(), args.acks.clone()),
    ];
    if let Some(id) = &args.transactional_id {
        settings.push(("transactional.id".to_owned(), id.clone()));
    }
    if let Some(bytes) = args.batch_size {
        settings.push(("batch.size".to_owned(), bytes.to_string()));
    }
    settings.extend(pairs("--set", &args.settings)?);
    let settings = settings.iter().map(|(k, v)| (k.as_str(), v.as_str()));
    Ok(ProducerConfig::from_map(settings)?)
}

async fn produce(client: &Client, args: &ProduceArgs, config: ProducerConfig) -> Result<()> {
    let producer = client.producer(config)?;
    let transactional = args.transactional_id.is_some();
    if transactional {
        producer.init_transactions().await?;
        producer.begin_transaction()?;
    }
    let bar = progress_bar("produced", None, Unit::Records);
    let written = write(&producer, args, &bar).await;
    bar.finish_and_clear();
    match written {
        Ok(count) => {
            if transactional {
                producer.commit_transaction().await?;
            }
            producer.close().await?;
            let records = if count == 1 { "record" } else { "records" };
            eprintln!("{count} {records} written to {}.", args.topic);
            Ok(())
        }
        Err(error) => {
            if transactional {
                let aborted = producer.abort_transaction().await;
                return match aborted {
                    Ok(()) => Err(error.context("the transaction was aborted")),
                    Err(_) => Err(error),
                };
            }
            Err(error)
        }
    }
}

async fn write(
    producer: &Producer,
    args: &ProduceArgs,
    bar: &indicatif::ProgressBar,
) -> Result<u64> {
    let headers = pairs("--header", &args.headers)?;
    let format = LineFormat {
        json: args.format == InputFormat::Json,
        key_separator: args.key_separator.as_deref().map(unescape),
        header_separator: args.header_separator.as_deref().map(unescape),
        null_marker: args.null_marker.as_ref().map(|m| m.clone().into_bytes()),
        encoding: args.encoding,
    };
    let topic: Arc<str> = args.topic.as_str().into();
    let mut lines = read_lines(args)?;
    let started = tokio::time::Instant::now();
    let mut count: u64 = 0;
    let mut open = std::collections::VecDeque::new();
    while let Some(line) = lines.recv().await {
        let line = line?;
        let mut record = ProducerRecord::new(topic.clone());
        record.partition = args.partition;
        if let Some(key) = &args.key {
            record.key = Some(key.clone().into());
        }
        for (name, value) in &headers {
            record = record.header(name.clone(), Some(value.clone()));
        }
        format
            .fill(&mut record, &line.text)
            .with_context(|| line.place.clone())?;
        if let Some(rate) = args.rate {
            let due = Duration::from_secs_f64(count as f64 / rate);
            tokio::time::sleep_until(started + due).await;
        }
        open.push_back(producer.send(record).await?);
        count += 1;
        bar.inc(1);
        settle(&mut open, OPEN_DELIVERIES).await?;
        if args
            .transaction_records
            .is_some_and(|n| n > 0 && count.is_multiple_of(n))
        {
            producer.commit_transaction().await?;
            producer.begin_transaction()?;
        }
        // Someone who types wants each line through.
        if lines.is_empty() && args.files.is_empty() {
            producer.flush().await?;
        }
    }
    producer.flush().await?;
    settle(&mut open, 0).await?;
    Ok(count)
}

/// Hears of what became of records, but for the newest ones.
async fn settle(open: &mut std::collections::VecDeque<Delivery>, but: usize) -> Result<()> {
    while open.len() > but {
        if let Some(delivery) = open.pop_front() {
            delivery.await?;
        }
    }
    Ok(())
}

/// A line, and where it stands for an error to name.
struct Line {
    text: Vec<u8>,
    place: String,
}

type Lines = tokio::sync::mpsc::Receiver<Result<Line>>;

/// Lines of the input, read on a thread of its own: standard input may wait for a person.
fn read_lines(args: &ProduceArgs) -> Result<Lines> {
    let mut inputs: Vec<(String, Box<dyn BufRead + Send>)> = Vec::new();
    for path in &args.files {
        let name = path.display().to_string();
        let file = File::open(path).with_context(|| format!("cannot open {name}"))?;
        inputs.push((name, Box::new(BufReader::new(file))));
    }
    if inputs.is_empty() {
        if io::stdin().is_terminal() {
            eprintln!("Type records, one a line; Ctrl-D ends.");
        }
        inputs.push(("line".to_owned(), Box::new(BufReader::new(io::stdin()))));
    }
    let (sender, lines) = tokio::sync::mpsc::channel(1024);
    std::thread::spawn(move || {
        for (name, input) in inputs {
            for (at, line) in input.split(b'\n').enumerate() {
                let place = match name.as_str() {
                    "line" => format!("line {}", at + 1),
                    name => format!("{name}:{}", at + 1),
                };
                let line = line
                    .with_context(|| format!("cannot read {place}"))
                    .map(|mut text| {
                        if text.last() == Some(&b'\r') {
                            text.pop();
                        }
                        Line { text, place }
                    });
                if sender.blocking_send(line).is_err() {
                    return;
                }
            }
        }
    });
    Ok(lines)
}
