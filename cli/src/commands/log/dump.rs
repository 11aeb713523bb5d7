//! `thalweg log dump`: what stands in the files of a partition.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use bytes::Buf;
use clap::{Args, ValueEnum};
use serde_json::{Value, json};
use thalweg_log::controller::describe_metadata_record;
use thalweg_log::group::GroupRecord;
use thalweg_log::record::{Record, RecordBatch};
use thalweg_log::transaction::TransactionRecord;

use super::marker::Marker;
use super::segment::{Segment, base_offset};
use crate::encoding::Encoding;
use crate::output::{Output, Rows, all_done, say};

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Decoder {
    /// Committed offsets and groups, as in __consumer_offsets
    Offsets,
    /// Transactions, as in __transaction_state
    Transactions,
    /// The cluster's metadata, as in __cluster_metadata
    Metadata,
    /// Keys and values as they are
    None,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Reads .log, .index, .timeindex, .txnindex, .snapshot, and checkpoint files, of Thalweg and of
Apache Kafka, or all of them of a folder. Examples:
  thalweg log dump data/orders-0
  thalweg log dump data/orders-0/00000000000000000000.log --deep
  thalweg log dump data/__consumer_offsets-3 --deep -o json"
)]
pub struct DumpArgs {
    /// Files, or folders of partitions
    #[arg(required = true)]
    paths: Vec<PathBuf>,
    /// Show each record, and not only each batch
    #[arg(long, short)]
    deep: bool,
    /// Check each batch's CRC and decode its records; the first that does not hold is an error
    #[arg(long)]
    verify: bool,
    /// What records are [default: by the name of the folder]
    #[arg(long, value_enum)]
    decoder: Option<Decoder>,
    /// How keys and values are written
    #[arg(long, value_enum, default_value_t)]
    encoding: Encoding,
    /// How to print; JSON is an object a line
    #[arg(long, short, value_enum, default_value_t)]
    output: Output,
}

pub fn run(args: &DumpArgs) -> Result<()> {
    let mut failed = Vec::new();
    for path in &args.paths {
        if !path.exists() {
            failed.push(format!("there is no {}", path.display()));
            continue;
        }
        let files = match path.is_dir() {
            true => files_of(path)?,
            false => vec![path.clone()],
        };
        if files.is_empty() {
            failed.push(format!("{} has no files of a partition", path.display()));
        }
        for file in files {
            if let Err(error) = dump(args, &file) {
                failed.push(format!("{error:#}"));
            }
        }
    }
    all_done(failed)
}

/// The files of a partition's folder, by name.
pub(super) fn files_of(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder)
        .with_context(|| format!("cannot read the folder {}", folder.display()))?;
    let mut files = Vec::new();
    for entry in entries {
        let path = entry?.path();
        if path.is_file() && kind(&path).is_some() {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// What a file is, by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Log,
    Index,
    TimeIndex,
    TxnIndex,
    Snapshot,
    Checkpoint,
}

pub(super) fn kind(path: &Path) -> Option<Kind> {
    let name = path.file_name()?.to_str()?;
    match name {
        "leader-epoch-checkpoint" | "partition.metadata" | "meta.properties" => {
            return Some(Kind::Checkpoint);
        }
        _ if name.ends_with("-checkpoint") => return Some(Kind::Checkpoint),
        _ => {}
    }
    match path.extension()?.to_str()? {
        "log" => Some(Kind::Log),
        "index" => Some(Kind::Index),
        "timeindex" => Some(Kind::TimeIndex),
        "txnindex" => Some(Kind::TxnIndex),
        "snapshot" => Some(Kind::Snapshot),
        _ => None,
    }
}

fn dump(args: &DumpArgs, path: &Path) -> Result<()> {
    if args.output == Output::Table {
        say!("{}:", path.display());
    }
    let rows = match kind(path) {
        Some(Kind::Log) => return dump_log(args, path),
        Some(Kind::Index) => index(path)?,
        Some(Kind::TimeIndex) => time_index(path)?,
        Some(Kind::TxnIndex) => txn_index(path)?,
        Some(Kind::Snapshot) => snapshot(path)?,
        Some(Kind::Checkpoint) => checkpoint(path)?,
        None => bail!(
            "{}: by its name it is no .log, .index, .timeindex, .txnindex, .snapshot or checkpoint",
            path.display()
        ),
    };
    match args.output {
        Output::Table if rows.is_empty() => say!("(empty)"),
        Output::Table => rows.print(Output::Table),
        Output::Json => {
            say!(
                "{}",
                json!({"file": path.display().to_string(), "entries": rows.to_json()})
            );
        }
    }
    Ok(())
}

fn decoder(args: &DumpArgs, path: &Path) -> Decoder {
    if let Some(decoder) = args.decoder {
        return decoder;
    }
    let folder = fs::canonicalize(path)
        .ok()
        .and_then(|p| Some(p.parent()?.file_name()?.to_str()?.to_owned()))
        .unwrap_or_default();
    match folder.rsplit_once('-').map(|(topic, _)| topic) {
        Some("__consumer_offsets") => Decoder::Offsets,
        Some("__transaction_state") => Decoder::Transactions,
        Some("__cluster_metadata") => Decoder::Metadata,
        _ => Decoder::None,
    }
}

fn dump_log(args: &DumpArgs, path: &Path) -> Result<()> {
    let decoder = decoder(args, path);
    let mut segment = Segment::open(path)?;
    while let Some((position, batch)) = segment.next_batch()? {
        let valid = batch.verify();
        match args.output {
            Output::Table => print_batch(position, &batch, valid.is_ok()),
            Output::Json if !args.deep => {
                say!("{}", batch_json(path, position, &batch, valid.is_ok()));
            }
            Output::Json => {}
        }
        let place = || format!("{}: the batch at position {position}", path.display());
        if args.verify {
            valid.with_context(place)?;
        }
        if !args.deep && !args.verify {
            continue;
        }
        for record in batch.records().with_context(place)? {
            let record = record.with_context(place)?;
            match args.output {
                _ if !args.deep => {}
                Output::Table => print_record(args, decoder, &batch, &record),
                Output::Json => say!("{}", record_json(args, decoder, path, &batch, &record)),
            }
        }
    }
    Ok(())
}

fn print_batch(position: u64, batch: &RecordBatch, valid: bool) {
    let horizon = batch.delete_horizon();
    say!(
        "baseOffset: {} lastOffset: {} count: {} baseSequence: {} lastSequence: {} producerId: {} producerEpoch: {} partitionLeaderEpoch: {} isTransactional: {} isControl: {} deleteHorizonMs: {} position: {position} {}: {} size: {} magic: 2 compresscodec: {} crc: {} isvalid: {valid}",
        batch.base_offset,
        batch.last_offset(),
        batch.records_count,
        batch.base_sequence,
        batch.last_sequence(),
        batch.producer_id,
        batch.producer_epoch,
        batch.partition_leader_epoch,
        batch.is_transactional(),
        batch.is_control(),
        horizon.map_or("-".to_owned(), |h| h.to_string()),
        batch.timestamp_type(),
        batch.max_timestamp,
        batch.size(),
        batch.compression(),
        batch.crc,
    );
}

fn batch_json(path: &Path, position: u64, batch: &RecordBatch, valid: bool) -> Value {
    json!({
        "file": path.display().to_string(),
        "base_offset": batch.base_offset,
        "last_offset": batch.last_offset(),
        "count": batch.records_count,
        "base_sequence": batch.base_sequence,
        "last_sequence": batch.last_sequence(),
        "producer_id": batch.producer_id,
        "producer_epoch": batch.producer_epoch,
        "partition_leader_epoch": batch.partition_leader_epoch,
        "transactional": batch.is_transactional(),
        "control": batch.is_control(),
        "delete_horizon_ms": batch.delete_horizon(),
        "position": position,
        "timestamp_type": batch.timestamp_type().to_string(),
        "max_timestamp": batch.max_timestamp,
        "size": batch.size(),
        "compression": batch.compression().to_string(),
        "crc": batch.crc,
        "valid": valid,
    })
}

fn print_record(args: &DumpArgs, decoder: Decoder, batch: &RecordBatch, record: &Record) {
    let length = |bytes: &Option<bytes::Bytes>| match bytes {
        Some(bytes) => bytes.len().to_string(),
        None => "-1".to_owned(),
    };
    let names: Vec<_> = record.headers.iter().map(|h| h.name()).collect();
    let head = format!(
        "| offset: {} {}: {} keySize: {} valueSize: {} headerKeys: [{}]",
        record.offset,
        batch.timestamp_type(),
        record.timestamp,
        length(&record.key),
        length(&record.value),
        names.join(",")
    );
    match decoded(decoder, batch, record) {
        Some(text) => say!("{head} {text}"),
        None => say!(
            "{head} key: {} payload: {}",
            shown(args.encoding, &record.key),
            shown(args.encoding, &record.value)
        ),
    }
}

fn shown(encoding: Encoding, bytes: &Option<bytes::Bytes>) -> String {
    match bytes {
        None => "-".to_owned(),
        Some(bytes) => String::from_utf8_lossy(&encoding.encode(bytes)).into_owned(),
    }
}

fn record_json(
    args: &DumpArgs,
    decoder: Decoder,
    path: &Path,
    batch: &RecordBatch,
    record: &Record,
) -> Value {
    let text = |bytes: &Option<bytes::Bytes>| bytes.as_ref().map(|_| shown(args.encoding, bytes));
    let headers: Vec<Value> = record
        .headers
        .iter()
        .map(|h| json!([h.name(), text(&h.value)]))
        .collect();
    json!({
        "file": path.display().to_string(),
        "offset": record.offset,
        "timestamp": record.timestamp,
        "producer_id": batch.producer_id,
        "control": batch.is_control(),
        "key": text(&record.key),
        "value": text(&record.value),
        "headers": headers,
        "decoded": decoded(decoder, batch, record),
    })
}

/// What a record of the broker's own says; what cannot be decoded is said to be so.
fn decoded(decoder: Decoder, batch: &RecordBatch, record: &Record) -> Option<String> {
    if batch.is_control() {
        return Some(Marker::of(record).to_string());
    }
    let key = record.key.clone().unwrap_or_default();
    let wrong = |error: &dyn std::fmt::Display| format!("(cannot be decoded: {error})");
    match decoder {
        Decoder::None => None,
        Decoder::Offsets => match GroupRecord::decode(key, record.value.clone()) {
            Ok(record) => record.map(|r| format!("{r:?}")),
            Err(error) => Some(wrong(&error)),
        },
        Decoder::Transactions => match TransactionRecord::decode(key, record.value.clone()) {
            Ok(record) => record.map(|r| format!("{r:?}")),
            Err(error) => Some(wrong(&error)),
        },
        Decoder::Metadata => {
            let value = record.value.clone().unwrap_or_default();
            Some(describe_metadata_record(value).unwrap_or_else(|error| wrong(&error)))
        }
    }
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

/// The whole entries of an index; Kafka's indexes end in zeros while their segment is written.
fn entries(bytes: &[u8], size: usize) -> impl Iterator<Item = &[u8]> {
    let mut first = true;
    bytes.chunks_exact(size).take_while(move |entry| {
        let keep = first || entry.iter().any(|b| *b != 0);
        first = false;
        keep
    })
}

fn index(path: &Path) -> Result<Rows> {
    let base = base_offset(path)?;
    let mut rows = Rows::new(&["OFFSET", "POSITION"]);
    let bytes = read(path)?;
    if bytes.iter().all(|b| *b == 0) {
        return Ok(rows);
    }
    for mut entry in entries(&bytes, 8) {
        let (relative, position) = (entry.get_u32(), entry.get_u32());
        rows.push(vec![json!(base + i64::from(relative)), json!(position)]);
    }
    Ok(rows)
}

fn time_index(path: &Path) -> Result<Rows> {
    let base = base_offset(path)?;
    let mut rows = Rows::new(&["TIMESTAMP", "OFFSET"]);
    let bytes = read(path)?;
    if bytes.iter().all(|b| *b == 0) {
        return Ok(rows);
    }
    for mut entry in entries(&bytes, 12) {
        let (timestamp, relative) = (entry.get_i64(), entry.get_u32());
        rows.push(vec![json!(timestamp), json!(base + i64::from(relative))]);
    }
    Ok(rows)
}

fn txn_index(path: &Path) -> Result<Rows> {
    let mut rows = Rows::new(&[
        "VERSION",
        "PRODUCER-ID",
        "FIRST-OFFSET",
        "LAST-OFFSET",
        "LAST-STABLE-OFFSET",
    ]);
    for mut entry in read(path)?.chunks_exact(34) {
        rows.push(vec![
            json!(entry.get_i16()),
            json!(entry.get_i64()),
            json!(entry.get_i64()),
            json!(entry.get_i64()),
            json!(entry.get_i64()),
        ]);
    }
    Ok(rows)
}

fn snapshot(path: &Path) -> Result<Rows> {
    let bytes = read(path)?;
    let mut rest = bytes.as_slice();
    if rest.len() < 10 {
        bail!("{}: it is too short for a snapshot", path.display());
    }
    let version = rest.get_i16();
    if version != 1 {
        bail!(
            "{}: snapshots of version {version} are unknown",
            path.display()
        );
    }
    let crc = rest.get_u32();
    if crc != thalweg_log::record::crc32c(rest) {
        bail!("{}: its CRC-32C does not match", path.display());
    }
    let count = rest.get_i32();
    let mut rows = Rows::new(&[
        "PRODUCER-ID",
        "PRODUCER-EPOCH",
        "LAST-SEQUENCE",
        "LAST-OFFSET",
        "OFFSET-DELTA",
        "LAST-TIMESTAMP",
        "COORDINATOR-EPOCH",
        "TXN-START-OFFSET",
    ]);
    for mut entry in rest.chunks_exact(46) {
        rows.push(vec![
            json!(entry.get_i64()),
            json!(entry.get_i16()),
            json!(entry.get_i32()),
            json!(entry.get_i64()),
            json!(entry.get_i32()),
            json!(entry.get_i64()),
            json!(entry.get_i32()),
            json!(Some(entry.get_i64()).filter(|o| *o >= 0)),
        ]);
    }
    if i32::try_from(rows.len()) != Ok(count) {
        bail!(
            "{}: it has {} producers and says that it has {count}",
            path.display(),
            rows.len()
        );
    }
    Ok(rows)
}

/// Checkpoints are lines of text: a version, a count, and the entries.
fn checkpoint(path: &Path) -> Result<Rows> {
    let text =
        fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut rows = Rows::new(&["ENTRY"]);
    let name = path
        .file_name()
        .and_then(|n| n.to_str())
        .unwrap_or_default();
    let plain = !name.ends_with("-checkpoint");
    let skip = if plain { 0 } else { 2 };
    for line in text.lines().skip(skip).filter(|l| !l.trim().is_empty()) {
        // Ours end with a checksum of blanks.
        rows.push(vec![json!(line.trim_end())]);
    }
    Ok(rows)
}
