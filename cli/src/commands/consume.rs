//! `thalweg consume TOPIC`: records out, as text or JSON.

use std::io::Write;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use bytes::Bytes;
use clap::{Args, ValueEnum};
use serde_json::{Value, json};
use thalweg_log::client::{
    AutoOffsetReset, Client, Consumer, ConsumerConfig, ConsumerRecord, TopicPartition,
};

use crate::target::Target;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
enum Format {
    /// The value on a line
    #[default]
    Value,
    /// Key, a tab and the value on a line
    KeyValue,
    /// A JSON object with place, time, key, value and headers on a line
    Json,
}

#[derive(Debug, Args)]
pub struct ConsumeArgs {
    /// The topic
    topic: String,
    /// Start at the first record
    #[arg(long, short = 'b', conflicts_with = "offset")]
    from_beginning: bool,
    /// Start at this offset; negative counts from the end
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    offset: Option<i64>,
    /// Only this partition
    #[arg(long, short)]
    partition: Option<i32>,
    /// End after so many records
    #[arg(long, short = 'n', value_name = "COUNT")]
    max_messages: Option<u64>,
    /// End once everything that was there at the start is printed
    #[arg(long, short)]
    exit: bool,
    /// Read as a member of this group and commit what was printed
    #[arg(long, short, conflicts_with_all = ["partition", "offset", "exit"])]
    group: Option<String>,
    /// How to print
    #[arg(long, short, value_enum, default_value_t)]
    output: Format,
    #[command(flatten)]
    target: Target,
}

pub async fn run(args: ConsumeArgs) -> Result<()> {
    let log = args.target.open().await?;
    log.with(async |client| {
        tokio::select! {
            done = consume(client, &args) => done,
            _ = tokio::signal::ctrl_c() => Ok(()),
        }
    })
    .await
}

async fn consume(client: &Client, args: &ConsumeArgs) -> Result<()> {
    let mut consumer = client.consumer(ConsumerConfig {
        group_id: args.group.clone(),
        enable_auto_commit: args.group.is_some(),
        auto_offset_reset: if args.from_beginning {
            AutoOffsetReset::Earliest
        } else {
            AutoOffsetReset::Latest
        },
        ..ConsumerConfig::default()
    })?;
    let ends = if args.group.is_some() {
        consumer.subscribe(&[&args.topic])?;
        None
    } else {
        let ends = assign(client, &mut consumer, args).await?;
        args.exit.then_some(ends)
    };
    let mut left = args.max_messages.unwrap_or(u64::MAX);
    let mut out = std::io::stdout().lock();
    while left > 0 {
        if let Some(ends) = &ends
            && is_past(&mut consumer, ends).await?
        {
            break;
        }
        let fetched = consumer.poll_records(Duration::from_millis(500)).await?;
        'fetched: for records in fetched {
            let place = records.topic_partition.clone();
            for record in records {
                if left == 0 {
                    break 'fetched;
                }
                print(&mut out, args.output, &place, &record?)?;
                left -= 1;
            }
        }
        out.flush()?;
    }
    consumer.close().await?;
    Ok(())
}

/// Assigns the partitions asked for, goes where reading is to start, and gives their ends.
async fn assign(
    client: &Client,
    consumer: &mut Consumer,
    args: &ConsumeArgs,
) -> Result<Vec<(TopicPartition, i64)>> {
    let topic = client.topic(&args.topic).await?;
    let places: Vec<TopicPartition> = topic
        .partitions
        .iter()
        .map(|partition| partition.partition)
        .filter(|partition| args.partition.is_none_or(|only| only == *partition))
        .map(|partition| TopicPartition::new(args.topic.as_str(), partition))
        .collect();
    if places.is_empty() {
        bail!(
            "topic {} has the partitions 0 to {}",
            args.topic,
            topic.partitions.len().saturating_sub(1)
        );
    }
    let begins = consumer.beginning_offsets(&places).await?;
    let ends = consumer.end_offsets(&places).await?;
    consumer.assign(places.clone())?;
    for place in &places {
        let begin = *begins
            .get(place)
            .with_context(|| format!("{place} has no first offset"))?;
        let end = *ends
            .get(place)
            .with_context(|| format!("{place} has no end"))?;
        let start = match args.offset {
            Some(offset) if offset < 0 => (end + offset).max(begin),
            Some(offset) => offset.clamp(begin, end),
            None if args.from_beginning || args.exit => begin,
            None => end,
        };
        consumer.seek(place, start)?;
    }
    Ok(ends.into_iter().collect())
}

async fn is_past(consumer: &mut Consumer, ends: &[(TopicPartition, i64)]) -> Result<bool> {
    for (place, end) in ends {
        if consumer.position(place).await? < *end {
            return Ok(false);
        }
    }
    Ok(true)
}

fn print(
    out: &mut impl Write,
    format: Format,
    place: &TopicPartition,
    record: &ConsumerRecord,
) -> std::io::Result<()> {
    let value = record.value.as_deref().unwrap_or_default();
    match format {
        Format::Value => out.write_all(value)?,
        Format::KeyValue => {
            out.write_all(record.key.as_deref().unwrap_or_default())?;
            out.write_all(b"\t")?;
            out.write_all(value)?;
        }
        Format::Json => {
            let headers: Vec<Value> = record
                .headers
                .iter()
                .map(|header| json!([String::from_utf8_lossy(&header.key), text(&header.value)]))
                .collect();
            let record = json!({
                "topic": place.topic.as_ref(),
                "partition": place.partition,
                "offset": record.offset,
                "timestamp": record.timestamp,
                "key": text(&record.key),
                "value": text(&record.value),
                "headers": headers,
            });
            write!(out, "{record}")?;
        }
    }
    out.write_all(b"\n")
}

fn text(bytes: &Option<Bytes>) -> Value {
    match bytes {
        None => Value::Null,
        Some(bytes) => json!(String::from_utf8_lossy(bytes)),
    }
}
