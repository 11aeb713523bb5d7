//! `thalweg consume TOPIC...`: records out, as text or JSON.

mod format;

use std::collections::BTreeMap;
use std::io::{IsTerminal as _, Write};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use clap::{Args, ValueEnum};
use thalweg_connectors::{Unit, progress_bar};
use thalweg_log::client::{
    AutoOffsetReset, Client, Consumer, ConsumerConfig, IsolationLevel, OffsetSpec,
    PartitionRecords, TopicPartition,
};

use self::format::{Format, Printer};
use crate::args::{numbers, pairs, span, time};
use crate::encoding::Encoding;
use crate::places::{matching, whole_name};
use crate::target::Target;

/// How long one look for records takes.
const POLL: Duration = Duration::from_millis(500);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
enum Output {
    /// The value on a line
    #[default]
    Value,
    /// Key, a tab and the value on a line
    KeyValue,
    /// A JSON object with place, time, key, value and headers on a line
    Json,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
enum Isolation {
    /// All records, of open and aborted transactions too
    #[default]
    #[value(alias = "read_uncommitted")]
    ReadUncommitted,
    /// Only what was committed
    #[value(alias = "read_committed")]
    ReadCommitted,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  thalweg consume orders                        what comes from now on
  thalweg consume orders --exit                 all there is, then end
  thalweg consume orders --offset -10 --exit    the last ten of each partition
  thalweg consume orders --offset @2025-01-31T12:00:00 --format '%d %k: %v\\n'
  thalweg consume orders --partition 0,2 --offset 100 --count 5 -o json
  thalweg consume orders --group billing --from-beginning
  thalweg consume 'orders-.*' --regex --exit --format '%t-%p %o %v\\n'
  thalweg consume orders --exit --print-control   the markers of transactions too")]
pub struct ConsumeArgs {
    /// The topics
    #[arg(required = true, value_name = "TOPIC")]
    topics: Vec<String>,
    /// Take TOPIC for a regular expression that the whole name must match
    #[arg(long, visible_alias = "include")]
    regex: bool,
    /// Start at the first record
    #[arg(long, short = 'b', conflicts_with = "offset")]
    from_beginning: bool,
    /// Start here: an offset, -N for N records before the end, earliest, latest, @TIME for the first
    /// record of that time or later, or @-SPAN for what is no older, such as @-1h
    #[arg(long, value_name = "WHERE", allow_hyphen_values = true)]
    offset: Option<String>,
    /// Only these partitions, such as 0 or 0,2-4
    #[arg(long, short)]
    partition: Option<String>,
    /// End after so many records
    #[arg(
        long,
        short = 'n',
        value_name = "COUNT",
        visible_alias = "max-messages"
    )]
    count: Option<u64>,
    /// End once everything that was there at the start is printed
    #[arg(long, short)]
    exit: bool,
    /// End when no record has come for so long, such as 5s
    #[arg(long, value_name = "SPAN")]
    timeout: Option<String>,
    /// Go on with what comes after, which is the default
    #[arg(long, conflicts_with = "exit")]
    follow: bool,
    /// Read as a member of this group and commit what was printed
    #[arg(long, short, conflicts_with_all = ["partition", "offset", "exit"])]
    group: Option<String>,
    /// Whether records of open and aborted transactions are seen
    #[arg(long, value_enum, default_value_t, visible_alias = "isolation-level")]
    isolation: Isolation,
    /// Show the markers that end transactions as well, between the records
    #[arg(long)]
    print_control: bool,
    /// How to print
    #[arg(long, short, value_enum, default_value_t)]
    output: Output,
    /// How to print, with placeholders
    #[arg(long, value_name = "FORMAT", conflicts_with = "output", long_help = format::HELP)]
    format: Option<String>,
    /// How keys and values are written
    #[arg(long, value_enum, default_value_t)]
    encoding: Encoding,
    /// What is printed for null, but in JSON [default: nothing]
    #[arg(
        long,
        value_name = "TEXT",
        default_value = "",
        hide_default_value = true
    )]
    null_marker: String,
    /// A setting of the consumer by Kafka's name
    #[arg(long = "set", short = 'X', value_name = "KEY=VALUE")]
    settings: Vec<String>,
    #[command(flatten)]
    target: Target,
}

/// Where reading starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Start {
    Offset(i64),
    BeforeEnd(i64),
    Earliest,
    Latest,
    Time(i64),
}

impl ConsumeArgs {
    fn start(&self) -> Result<Start> {
        let Some(text) = &self.offset else {
            return Ok(match self.from_beginning || self.exit {
                true => Start::Earliest,
                false => Start::Latest,
            });
        };
        parse_start(text)
    }

    fn format(&self) -> Result<Format> {
        match (&self.format, self.output) {
            (Some(text), _) => Format::parse(text),
            (None, Output::Json) => Ok(Format::Json),
            (None, Output::KeyValue) => Format::parse("%k\\t%v\\n"),
            (None, Output::Value) => Format::parse("%v\\n"),
        }
    }

    fn printer(&self) -> Result<Printer> {
        Ok(Printer {
            format: self.format()?,
            encoding: self.encoding,
            null: self.null_marker.clone().into_bytes(),
        })
    }

    fn patience(&self) -> Result<Option<Duration>> {
        let millis = self.timeout.as_deref().map(span).transpose()?;
        Ok(millis.map(|millis| Duration::from_millis(millis.unsigned_abs())))
    }

    fn config(&self) -> Result<ConsumerConfig> {
        let settings = pairs("--set", &self.settings)?;
        let settings = settings.iter().map(|(k, v)| (k.as_str(), v.as_str()));
        let mut config = ConsumerConfig::from_map(settings)?;
        config.group_id = self.group.clone();
        config.enable_auto_commit = self.group.is_some();
        config.control_records = self.print_control;
        if self.isolation == Isolation::ReadCommitted {
            config.isolation_level = IsolationLevel::ReadCommitted;
        }
        if self.from_beginning {
            config.auto_offset_reset = AutoOffsetReset::Earliest;
        }
        Ok(config)
    }
}

fn parse_start(text: &str) -> Result<Start> {
    match text {
        "earliest" | "start" | "beginning" => return Ok(Start::Earliest),
        "latest" | "end" => return Ok(Start::Latest),
        _ => {}
    }
    if let Some(at) = text.strip_prefix('@') {
        return match at.strip_prefix('-') {
            Some(back) => Ok(Start::Time(
                chrono::Utc::now().timestamp_millis() - span(back)?,
            )),
            None => Ok(Start::Time(time(at)?)),
        };
    }
    match text.parse::<i64>() {
        Ok(n) if n < 0 => Ok(Start::BeforeEnd(n.saturating_neg())),
        Ok(n) => Ok(Start::Offset(n)),
        Err(_) => {
            bail!("--offset takes an offset, -N, earliest, latest, @TIME or @-SPAN, not {text:?}")
        }
    }
}

pub async fn run(args: ConsumeArgs) -> Result<()> {
    // What is wrong with the arguments is said before anything is opened.
    let (start, printer, config) = (args.start()?, args.printer()?, args.config()?);
    let patience = args.patience()?;
    if args.regex {
        whole_name(&args.topics)?;
    }
    args.target
        .with(async |client| {
            let mut consumer = client.consumer(config)?;
            let done = tokio::select! {
                done = consume(client, &mut consumer, &args, start, patience, &printer) => done,
                _ = tokio::signal::ctrl_c() => Ok(()),
            };
            // What was printed is committed, and the group hears that a member is gone.
            let closed = consumer.close().await;
            done?;
            Ok(closed?)
        })
        .await
}

async fn consume(
    client: &Client,
    consumer: &mut Consumer,
    args: &ConsumeArgs,
    start: Start,
    patience: Option<Duration>,
    printer: &Printer,
) -> Result<()> {
    let ends = if args.group.is_some() {
        match args.regex {
            true => consumer.subscribe_pattern(&args.topics.join("|"))?,
            false => consumer.subscribe(&args.topics)?,
        }
        None
    } else {
        let ends = assign(client, consumer, args, start).await?;
        args.exit.then_some(ends)
    };
    let mut left = args.count.unwrap_or(u64::MAX);
    let mut out = std::io::BufWriter::with_capacity(1 << 16, std::io::stdout().lock());
    // A bar among the records of a terminal would only be in the way.
    let bar = match std::io::stdout().is_terminal() {
        true => indicatif::ProgressBar::hidden(),
        false => progress_bar("consumed", None, Unit::Records),
    };
    let mut last = Instant::now();
    while left > 0 {
        if let Some(ends) = &ends
            && is_past(consumer, ends).await?
        {
            break;
        }
        let waited = last.elapsed();
        if patience.is_some_and(|patience| waited >= patience) {
            break;
        }
        let wait = patience.map_or(POLL, |patience| (patience - waited).min(POLL));
        let fetched = consumer.poll_records(wait).await?;
        if !fetched.is_empty() {
            last = Instant::now();
        }
        // Where each partition's printed records end, for the commit.
        let mut printed: BTreeMap<TopicPartition, i64> = fetched
            .iter()
            .map(|records| (records.topic_partition.clone(), records.start_offset))
            .collect();
        'fetched: for records in fetched.into_iter().flat_map(batch_by_batch) {
            let place = records.topic_partition.clone();
            let end = ends.as_ref().and_then(|ends| ends.get(&place)).copied();
            let marks = records.batches.first().filter(|batch| batch.is_control());
            if let Some(batch) = marks {
                if end.is_none_or(|end| batch.base_offset < end) {
                    printer.print_control(&mut out, &place, batch)?;
                    printed.insert(place, batch.next_offset());
                }
                continue;
            }
            for record in records {
                let record = record?;
                // What came after the start is not asked for.
                if end.is_some_and(|end| record.offset >= end) {
                    break;
                }
                if left == 0 {
                    break 'fetched;
                }
                printer.print(&mut out, &place, &record)?;
                printed.insert(place.clone(), record.offset + 1);
                bar.inc(1);
                left -= 1;
            }
        }
        if left == 0 && args.group.is_some() {
            for (place, offset) in printed {
                // A position that was read to knows its leader epoch, one that was sought not.
                if consumer.position(&place).await? != offset {
                    consumer.seek(&place, offset)?;
                }
            }
        }
        out.flush()?;
    }
    bar.finish_and_clear();
    Ok(())
}

/// The same records, each batch for itself.
fn batch_by_batch(mut records: PartitionRecords) -> impl Iterator<Item = PartitionRecords> {
    let batches = std::mem::take(&mut records.batches);
    batches.into_iter().map(move |batch| PartitionRecords {
        batches: vec![batch],
        ..records.clone()
    })
}

type Ends = BTreeMap<TopicPartition, i64>;

/// Assigns the partitions asked for, goes where reading is to start, and gives their ends.
async fn assign(
    client: &Client,
    consumer: &mut Consumer,
    args: &ConsumeArgs,
    start: Start,
) -> Result<Ends> {
    let named = match &args.partition {
        Some(text) => Some(numbers(text).context("--partition takes numbers such as 0 or 0,2-4")?),
        None => None,
    };
    let mut places = Vec::new();
    let names = match args.regex {
        true => matching(client, &args.topics).await?,
        false => args.topics.clone(),
    };
    for name in names {
        let topic = client.topic(&name).await?;
        let count = topic.partition_count();
        let wanted = named.clone().unwrap_or_else(|| (0..count).collect());
        if wanted.is_empty() || wanted.iter().any(|p| *p >= count) {
            bail!("topic {name} has the partitions 0 to {}", count - 1);
        }
        let place = |p| TopicPartition::new(name.as_str(), p);
        places.extend(wanted.into_iter().map(place));
    }
    let begins = consumer.beginning_offsets(&places).await?;
    let ends = consumer.end_offsets(&places).await?;
    let at_time = match start {
        Start::Time(millis) => {
            let spec = OffsetSpec::Timestamp(millis);
            let wanted = places.iter().map(|p| (p.clone(), spec)).collect();
            client
                .admin()
                .list_offsets(wanted, IsolationLevel::ReadUncommitted)
                .await?
        }
        _ => BTreeMap::new(),
    };
    consumer.assign(places.clone())?;
    for place in &places {
        let begin = *begins
            .get(place)
            .with_context(|| format!("{place} has no first offset"))?;
        let end = *ends
            .get(place)
            .with_context(|| format!("{place} has no end"))?;
        let at = match start {
            Start::Earliest => begin,
            Start::Latest => end,
            Start::BeforeEnd(n) => end.saturating_sub(n).max(begin),
            Start::Offset(offset) => offset.clamp(begin, end.max(begin)),
            Start::Time(_) => at_time
                .get(place)
                .copied()
                .flatten()
                .map(|found| found.offset)
                .filter(|offset| *offset >= 0)
                .unwrap_or(end),
        };
        consumer.seek(place, at)?;
    }
    Ok(ends.into_iter().collect())
}

async fn is_past(consumer: &mut Consumer, ends: &Ends) -> Result<bool> {
    for (place, end) in ends {
        if consumer.position(place).await? < *end {
            return Ok(false);
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_to_start() {
        assert_eq!(parse_start("5").unwrap(), Start::Offset(5));
        assert_eq!(parse_start("-5").unwrap(), Start::BeforeEnd(5));
        assert_eq!(parse_start("earliest").unwrap(), Start::Earliest);
        assert_eq!(parse_start("end").unwrap(), Start::Latest);
        assert_eq!(parse_start("@1000").unwrap(), Start::Time(1000));
        assert_eq!(parse_start("@1970-01-02").unwrap(), Start::Time(86_400_000));
        assert!(matches!(parse_start("@-1h").unwrap(), Start::Time(t) if t > 1_700_000_000_000));
        assert!(parse_start("soon").is_err());
    }
}
