//! `thalweg produce TOPIC`: lines in, records out.

use std::fs::File;
use std::io::{self, BufRead, BufReader, IsTerminal as _};
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use bytes::Bytes;
use clap::Args;
use thalweg_connectors::{Unit, progress_bar};
use thalweg_log::client::{Client, ProducerConfig, ProducerRecord};

use crate::target::Target;

#[derive(Debug, Args)]
pub struct ProduceArgs {
    /// The topic
    topic: String,
    /// Read lines of this file instead of standard input
    #[arg(long, short, value_name = "FILE")]
    file: Option<PathBuf>,
    /// What separates key and value in a line; without it lines have no key
    #[arg(long, short = 'K', value_name = "TEXT")]
    key_separator: Option<String>,
    /// The partition [default: by key, or spread]
    #[arg(long, short)]
    partition: Option<i32>,
    /// A header of every record
    #[arg(long = "header", short = 'H', value_name = "NAME=VALUE")]
    headers: Vec<String>,
    /// How batches are compressed: none, gzip, snappy, lz4, zstd
    #[arg(long, short = 'z', default_value = "none")]
    compression: String,
    #[command(flatten)]
    target: Target,
}

pub async fn run(args: ProduceArgs) -> Result<()> {
    let log = args.target.open().await?;
    log.with(async |client| produce(client, &args).await).await
}

async fn produce(client: &Client, args: &ProduceArgs) -> Result<()> {
    let config = ProducerConfig::from_map([("compression.type", args.compression.as_str())])?;
    let producer = client.producer(config)?;
    let headers = args
        .headers
        .iter()
        .map(|pair| {
            pair.split_once('=')
                .with_context(|| format!("--header takes NAME=VALUE, not {pair:?}"))
        })
        .collect::<Result<Vec<_>>>()?;
    let mut lines = read_lines(args)?;
    let topic: Arc<str> = args.topic.as_str().into();
    let bar = progress_bar("produced", None, Unit::Records);
    let mut count: u64 = 0;
    while let Some(line) = lines.recv().await {
        let mut line = line.context("cannot read the input")?;
        if line.last() == Some(&b'\r') {
            line.pop();
        }
        let mut record = ProducerRecord::new(topic.clone());
        record.partition = args.partition;
        for (name, value) in &headers {
            record = record.header((*name).to_owned(), Some((*value).to_owned()));
        }
        let line = Bytes::from(line);
        match &args.key_separator {
            None => record.value = Some(line),
            Some(separator) => {
                let (key, value) = split_key(&line, separator.as_bytes()).with_context(|| {
                    format!(
                        "line {} has no {separator:?} between key and value",
                        count + 1
                    )
                })?;
                record.key = Some(key);
                record.value = Some(value);
            }
        }
        // Failures come with the flush.
        drop(producer.send(record).await?);
        count += 1;
        bar.inc(1);
        // Someone who types wants each line through.
        if lines.is_empty() && args.file.is_none() {
            producer.flush().await?;
        }
    }
    producer.flush().await?;
    producer.close().await?;
    bar.finish_and_clear();
    let records = if count == 1 { "record" } else { "records" };
    eprintln!("{count} {records} written to {}.", args.topic);
    Ok(())
}

type Lines = tokio::sync::mpsc::Receiver<io::Result<Vec<u8>>>;

/// Lines of the input, read on a thread of its own: standard input may wait for a person.
fn read_lines(args: &ProduceArgs) -> Result<Lines> {
    let input: Box<dyn BufRead + Send> = match &args.file {
        Some(path) => Box::new(BufReader::new(
            File::open(path).with_context(|| format!("cannot open {}", path.display()))?,
        )),
        None => {
            if io::stdin().is_terminal() {
                eprintln!("Type records, one a line; Ctrl-D ends.");
            }
            Box::new(BufReader::new(io::stdin()))
        }
    };
    let (sender, lines) = tokio::sync::mpsc::channel(1024);
    std::thread::spawn(move || {
        for line in input.split(b'\n') {
            if sender.blocking_send(line).is_err() {
                break;
            }
        }
    });
    Ok(lines)
}

fn split_key(line: &Bytes, separator: &[u8]) -> Option<(Bytes, Bytes)> {
    if separator.is_empty() {
        return None;
    }
    let at = line
        .windows(separator.len())
        .position(|window| window == separator)?;
    Some((line.slice(..at), line.slice(at + separator.len()..)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_split_at_the_first_separator() {
        let split = |line: &'static str| split_key(&Bytes::from(line), b"::");
        assert_eq!(
            split("k::a::b"),
            Some((Bytes::from("k"), Bytes::from("a::b")))
        );
        assert_eq!(split("::"), Some((Bytes::new(), Bytes::new())));
        assert_eq!(split("k:b"), None);
    }
}
