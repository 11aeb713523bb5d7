//! A segment file, batch by batch, without a broker.
//!
//! Invariant: a batch that is handed out is whole; where the file ends within one, or holds what is
//! no batch, that is an error that says where.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use bytes::Bytes;
use thalweg_log::record::{BATCH_HEADER_SIZE, BatchHeader, RecordBatch};

/// Reads a `.log` file from its beginning.
pub struct Segment {
    reader: BufReader<File>,
    name: String,
    position: u64,
    size: u64,
}

impl Segment {
    pub fn open(path: &Path) -> Result<Self> {
        let name = path.display().to_string();
        let file = File::open(path).with_context(|| format!("cannot open {name}"))?;
        let size = file
            .metadata()
            .with_context(|| format!("cannot look at {name}"))?
            .len();
        Ok(Self {
            reader: BufReader::with_capacity(1 << 20, file),
            name,
            position: 0,
            size,
        })
    }

    /// The next batch with its place in the file. Its CRC is not checked.
    pub fn next_batch(&mut self) -> Result<Option<(u64, RecordBatch)>> {
        let (at, left) = (self.position, self.size - self.position);
        if left == 0 {
            return Ok(None);
        }
        let mut header = [0u8; BATCH_HEADER_SIZE];
        let whole = usize::try_from(left)
            .unwrap_or(usize::MAX)
            .min(BATCH_HEADER_SIZE);
        self.fill(&mut header[..whole])?;
        // Kafka gives files their size ahead: the rest is zeros.
        if header.iter().all(|b| *b == 0) {
            self.position = self.size;
            return Ok(None);
        }
        if whole < BATCH_HEADER_SIZE {
            bail!(
                "{}: it ends within the header of the batch at position {at}",
                self.name
            );
        }
        let parsed = BatchHeader::parse(&header)
            .with_context(|| format!("{}: no batch at position {at}", self.name))?;
        let size = parsed.size();
        if size as u64 > left {
            bail!(
                "{}: the batch at position {at} has {size} bytes, and only {left} are left",
                self.name
            );
        }
        let mut bytes = vec![0u8; size];
        bytes[..BATCH_HEADER_SIZE].copy_from_slice(&header);
        self.fill(&mut bytes[BATCH_HEADER_SIZE..])?;
        self.position = at + size as u64;
        let batch = RecordBatch::new(Bytes::from(bytes))
            .with_context(|| format!("{}: no batch at position {at}", self.name))?;
        Ok(Some((at, batch)))
    }

    fn fill(&mut self, bytes: &mut [u8]) -> Result<()> {
        self.reader
            .read_exact(bytes)
            .with_context(|| format!("cannot read {}", self.name))
    }
}

/// The offset that a file is named after: `00000000000000004711.log` is 4711.
pub fn base_offset(path: &Path) -> Result<i64> {
    let stem = path
        .file_stem()
        .and_then(|s| s.to_str())
        .unwrap_or_default();
    stem.split('.')
        .next()
        .and_then(|digits| digits.parse().ok())
        .with_context(|| {
            format!(
                "{} is not named after an offset, as files of a partition are",
                path.display()
            )
        })
}
