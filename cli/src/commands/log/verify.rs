//! `thalweg log verify`: a data folder, read through without a broker.
//!
//! Invariant: nothing is written. What is wrong is reported with its file and place, and everything
//! is looked at before the command ends.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use bytes::Buf;
use clap::Args;
use serde_json::json;
use thalweg_connectors::{Unit, progress_bar};

use super::dump::{Kind, files_of, kind};
use super::segment::{Segment, base_offset};
use crate::output::{Output, Rows};

#[derive(Debug, Args)]
#[command(
    after_help = "The folder's server should be stopped: what is being written may look torn. Examples:
  thalweg log verify thalweg-data
  thalweg log verify thalweg-data/orders-0"
)]
pub struct VerifyArgs {
    /// A data folder, or the folder of one partition
    folder: PathBuf,
    /// How to print
    #[arg(long, short, value_enum, default_value_t)]
    output: Output,
}

/// What was read of a partition.
#[derive(Debug, Default)]
struct Seen {
    segments: u64,
    batches: u64,
    records: u64,
    bytes: u64,
    first: Option<i64>,
    next: Option<i64>,
    problems: Vec<String>,
}

pub fn run(args: &VerifyArgs) -> Result<()> {
    let partitions = partitions(&args.folder)?;
    if partitions.is_empty() {
        bail!("{} has no folders of partitions", args.folder.display());
    }
    let bar = progress_bar("verified", None, Unit::Bytes);
    let mut rows = Rows::new(&[
        "PARTITION",
        "SEGMENTS",
        "BATCHES",
        "RECORDS",
        "BYTES",
        "FIRST-OFFSET",
        "NEXT-OFFSET",
        "PROBLEMS",
    ]);
    let mut problems = Vec::new();
    for folder in partitions {
        let seen = verify(&folder, &bar)?;
        let name = folder.file_name().unwrap_or_default().to_string_lossy();
        rows.push(vec![
            json!(name),
            json!(seen.segments),
            json!(seen.batches),
            json!(seen.records),
            json!(seen.bytes),
            json!(seen.first),
            json!(seen.next),
            json!(seen.problems.len()),
        ]);
        problems.extend(seen.problems);
    }
    bar.finish_and_clear();
    rows.print(args.output);
    if !problems.is_empty() {
        bail!(problems.join("\n"));
    }
    Ok(())
}

/// The folders of partitions: this one, or those in it.
fn partitions(folder: &Path) -> Result<Vec<PathBuf>> {
    let is_partition = |path: &Path| -> bool {
        let name = path.file_name().and_then(|n| n.to_str());
        let numbered = name
            .and_then(|n| n.rsplit_once('-'))
            .is_some_and(|(_, number)| number.parse::<u32>().is_ok());
        numbered && path.is_dir()
    };
    let whole =
        fs::canonicalize(folder).with_context(|| format!("cannot open {}", folder.display()))?;
    if is_partition(&whole) {
        return Ok(vec![whole]);
    }
    let mut all = Vec::new();
    for entry in fs::read_dir(&whole).with_context(|| format!("cannot read {}", whole.display()))? {
        let path = entry?.path();
        if is_partition(&path) {
            all.push(path);
        }
    }
    all.sort();
    Ok(all)
}

fn verify(folder: &Path, bar: &indicatif::ProgressBar) -> Result<Seen> {
    let mut seen = Seen::default();
    for path in files_of(folder)? {
        let checked = match kind(&path) {
            Some(Kind::Log) => log(&path, &mut seen, bar),
            Some(Kind::Index) => index(&path),
            Some(Kind::Snapshot) => snapshot(&path),
            _ => Ok(()),
        };
        if let Err(problem) = checked {
            seen.problems.push(format!("{problem:#}"));
        }
    }
    Ok(seen)
}

fn log(path: &Path, seen: &mut Seen, bar: &indicatif::ProgressBar) -> Result<()> {
    let base = base_offset(path)?;
    let shown = path.display();
    if seen.next.is_some_and(|next| base < next) {
        bail!(
            "{shown}: it begins at offset {base}, and the segment before reaches up to {}",
            seen.next.unwrap_or(base)
        );
    }
    seen.segments += 1;
    seen.first.get_or_insert(base);
    let mut next = base;
    let mut segment = Segment::open(path)?;
    while let Some((position, batch)) = segment.next_batch()? {
        batch
            .verify()
            .with_context(|| format!("{shown}: the batch at position {position}"))?;
        if batch.base_offset < next {
            bail!(
                "{shown}: the batch at position {position} begins at offset {}, where {next} or more is expected",
                batch.base_offset
            );
        }
        for record in batch
            .records()
            .with_context(|| format!("{shown}: the batch at position {position}"))?
        {
            record.with_context(|| format!("{shown}: the batch at position {position}"))?;
            seen.records += 1;
        }
        next = batch.next_offset();
        seen.batches += 1;
        seen.bytes += batch.size() as u64;
        bar.inc(batch.size() as u64);
    }
    seen.next = Some(next);
    Ok(())
}

/// Each entry of an offset index points to a batch that holds its offset.
fn index(path: &Path) -> Result<()> {
    let base = base_offset(path)?;
    let log = path.with_extension("log");
    let bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut wanted: Vec<(i64, u64)> = bytes
        .chunks_exact(8)
        .map(|mut entry| {
            (
                base + i64::from(entry.get_u32()),
                u64::from(entry.get_u32()),
            )
        })
        .collect();
    wanted.retain(|(offset, position)| *position != 0 || *offset != base);
    if wanted.is_empty() || !log.exists() {
        return Ok(());
    }
    let mut wanted = wanted.into_iter().peekable();
    let mut segment = Segment::open(&log)?;
    while let Some((position, batch)) = segment.next_batch()? {
        while let Some((offset, at)) = wanted.peek().copied() {
            if at > position {
                break;
            }
            if at < position || offset < batch.base_offset || offset > batch.last_offset() {
                bail!(
                    "{}: offset {offset} is said to be at position {at}, where it is not",
                    path.display()
                );
            }
            wanted.next();
        }
    }
    match wanted.next() {
        None => Ok(()),
        Some((offset, at)) => bail!(
            "{}: offset {offset} is said to be at position {at}, where the segment has ended",
            path.display()
        ),
    }
}

fn snapshot(path: &Path) -> Result<()> {
    let bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut rest = bytes.as_slice();
    if rest.len() < 10 || rest.get_i16() != 1 {
        bail!("{}: it is no snapshot of version 1", path.display());
    }
    if rest.get_u32() != thalweg_log::record::crc32c(rest) {
        bail!("{}: its CRC-32C does not match", path.display());
    }
    Ok(())
}
