//! An open file on its way into records: decompression, framing, header, check, key.
//!
//! Every record is checked against the declared columns before it goes to the topic, where
//! its line in the file is still known. A malformed record that is to stop the source
//! does so only after the records before it were handed out, so that none is lost and the
//! place is met again after a restart.

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::os::unix::fs::MetadataExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow::util::display::{ArrayFormatter, FormatOptions};
use bytes::Bytes;
use flate2::read::MultiGzDecoder;
use serde::{Deserialize, Serialize};
use thalweg_schema::{CsvOptions, Format, RowDecoder};

use super::columns::Columns;
use super::framing::{Frame, Framing, RecordReader};
use super::{FileSourceConfig, OnError};
use crate::{ConnectorError, Position, SourcePoll, SourceProgress, SourceRecord};

/// At most this many records a poll.
const BATCH_RECORDS: usize = 4096;
/// At most about this many bytes a poll.
const BATCH_BYTES: usize = 1024 * 1024;

/// The cursor of a file source, as it stands in [`Position::cursor`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Cursor {
    /// Bytes read, after decompression.
    byte: u64,
    /// Line ends read.
    line: u64,
    /// Which file it was, for files that are followed.
    #[serde(default)]
    inode: u64,
}

/// A record as it stands in the file.
struct Line {
    /// The line it starts on, from 1.
    number: u64,
    /// Where its first byte is.
    start: u64,
    /// Its number among the records, from 1.
    sequence: u64,
    bytes: Vec<u8>,
}

type Input = BufReader<Box<dyn Read + Send>>;

/// An open file.
pub(super) struct FileReader {
    config: Arc<FileSourceConfig>,
    records: RecordReader<Input>,
    decoder: Box<dyn RowDecoder>,
    columns: Columns,
    sequence: u64,
    inode: u64,
    /// A record whose line end has not been written yet.
    partial: Option<Line>,
    /// A malformed record that stops the source at the next poll.
    fault: Option<ConnectorError>,
    read: Arc<AtomicU64>,
    total: u64,
}

/// Counts what is read of the file itself, which for gzip is not what comes out.
struct Counted {
    file: File,
    read: Arc<AtomicU64>,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read(buffer)?;
        self.read.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}

impl FileReader {
    pub(super) fn open(
        config: Arc<FileSourceConfig>,
        position: Option<&Position>,
    ) -> Result<Self, ConnectorError> {
        let cursor = match position {
            None => Cursor::default(),
            Some(position) => {
                serde_json::from_value(position.cursor.clone()).map_err(|error| {
                    ConnectorError::File {
                        path: config.path.clone(),
                        what: format!("its stored position cannot be read ({error}): drop the source and create it again"),
                    }
                })?
            }
        };
        let decoder = config.format.decoder(&config.schema, None)?;
        let (records, inode, read, total) = open_records(&config)?;
        let mut reader = Self {
            records,
            decoder,
            columns: Columns::Same,
            sequence: position.map_or(0, |position| position.sequence),
            inode,
            partial: None,
            fault: None,
            read,
            total,
            config,
        };
        // A file that was rotated away while nobody looked starts anew; its records go on.
        let replaced = reader.config.follow && cursor.inode != 0 && cursor.inode != inode;
        reader.read_header()?;
        if !replaced {
            reader.skip_to(cursor)?;
        }
        Ok(reader)
    }

    fn csv(&self) -> CsvOptions {
        match &self.config.format {
            Format::Csv(csv) => csv.clone(),
            _ => CsvOptions::default(),
        }
    }

    fn read_header(&mut self) -> Result<(), ConnectorError> {
        if !self.config.header {
            return Ok(());
        }
        let mut header = Vec::new();
        match self.read_frame(&mut header)? {
            Frame::Record | Frame::Partial => {}
            Frame::End => return Ok(()),
            Frame::TooLong => return Err(self.too_long(1)),
        }
        self.columns =
            Columns::from_header(&header, &self.config.schema, &self.csv()).map_err(|what| {
                ConnectorError::File {
                    path: self.config.path.clone(),
                    what,
                }
            })?;
        Ok(())
    }

    /// Goes on behind `cursor`, reading and dropping what lies before: gzip has no other way.
    fn skip_to(&mut self, cursor: Cursor) -> Result<(), ConnectorError> {
        let Some(ahead) = cursor.byte.checked_sub(self.records.bytes()) else {
            return Ok(());
        };
        let skipped = io::copy(&mut self.records.input_mut().take(ahead), &mut io::sink())
            .map_err(|source| self.io("read", source))?;
        if skipped < ahead {
            return Err(ConnectorError::File {
                path: self.config.path.clone(),
                what: format!(
                    "it has {} bytes, but {} were read before; was it replaced? Drop the source and create it again to read the new file",
                    self.records.bytes() + skipped,
                    cursor.byte
                ),
            });
        }
        self.records.start_at(cursor.byte, cursor.line);
        Ok(())
    }

    fn io(&self, what: &'static str, source: io::Error) -> ConnectorError {
        ConnectorError::Io {
            what,
            path: self.config.path.clone(),
            source,
        }
    }

    fn read_frame(&mut self, record: &mut Vec<u8>) -> Result<Frame, ConnectorError> {
        self.records
            .read(record)
            .map_err(|source| self.io("read", source))
    }

    fn malformed(&self, line: u64, what: String) -> ConnectorError {
        ConnectorError::Malformed {
            place: format!("{}, line {line}", self.config.path.display()),
            what,
        }
    }

    fn too_long(&self, line: u64) -> ConnectorError {
        self.malformed(
            line,
            format!(
                "the record is longer than max_record_bytes = {}; is a quote left open?",
                self.config.max_record_bytes
            ),
        )
    }

    pub(super) fn progress(&self) -> SourceProgress {
        SourceProgress {
            done: self.read.load(Ordering::Relaxed),
            total: (!self.config.follow).then_some(self.total),
        }
    }

    pub(super) fn poll(&mut self) -> Result<SourcePoll, ConnectorError> {
        if let Some(fault) = self.fault.take() {
            return Err(fault);
        }
        let mut lines: Vec<Line> = Vec::new();
        let mut bytes = 0;
        let mut ended = false;
        while lines.len() < BATCH_RECORDS && bytes < BATCH_BYTES {
            let mut line = self.partial.take().unwrap_or_else(|| Line {
                number: self.records.line(),
                start: self.records.bytes(),
                sequence: 0,
                bytes: Vec::new(),
            });
            match self.read_frame(&mut line.bytes)? {
                Frame::Record => {}
                Frame::TooLong => {
                    self.fault = Some(self.too_long(line.number));
                    // Nothing behind its start counts as read.
                    self.partial = Some(line);
                    break;
                }
                Frame::End => {
                    ended = true;
                    break;
                }
                Frame::Partial if self.config.follow && !self.was_replaced() => {
                    self.partial = Some(line);
                    ended = true;
                    break;
                }
                // The end of the file ends its last record.
                Frame::Partial => {}
            }
            if !line.bytes.iter().all(u8::is_ascii_whitespace) {
                self.sequence += 1;
                line.sequence = self.sequence;
                bytes += line.bytes.len();
                lines.push(line);
            }
        }
        if lines.is_empty() {
            if let Some(fault) = self.fault.take() {
                return Err(fault);
            }
            if ended {
                return self.at_end();
            }
        }
        self.finish_batch(lines)
    }

    /// Nothing more for now: the end, a wait, or the next file after a rotation.
    fn at_end(&mut self) -> Result<SourcePoll, ConnectorError> {
        if !self.config.follow {
            return Ok(SourcePoll::End);
        }
        if self.was_replaced() {
            tracing::info!(path = %self.config.path.display(), "the file was replaced; reading the new one from its start");
            let (records, inode, read, total) = open_records(&self.config)?;
            self.records = records;
            self.inode = inode;
            self.read = read;
            self.total = total;
            self.partial = None;
            self.read_header()?;
        }
        Ok(SourcePoll::Idle)
    }

    /// Whether the path now names another file, or the file was cut.
    fn was_replaced(&self) -> bool {
        match std::fs::metadata(&self.config.path) {
            Ok(now) => now.ino() != self.inode || now.len() < self.records.bytes(),
            // Rotated away, and the next file is not there yet.
            Err(_) => false,
        }
    }

    /// Checks the lines and makes records of the good ones.
    fn finish_batch(&mut self, mut lines: Vec<Line>) -> Result<SourcePoll, ConnectorError> {
        let end = self.position_behind_all();
        let csv = self.csv();
        let mut faults: Vec<(usize, String)> = Vec::new();
        for (at, line) in lines.iter_mut().enumerate() {
            match self.columns.pick(&line.bytes, &csv) {
                Ok(Cow::Borrowed(_)) => {}
                Ok(Cow::Owned(picked)) => line.bytes = picked,
                // Left as it is, it fails the check below too; this text says more.
                Err(what) => faults.push((at, what)),
            }
        }
        let slices: Vec<&[u8]> = lines.iter().map(|line| line.bytes.as_slice()).collect();
        let decoded = self.decoder.decode(&slices);
        for error in decoded.errors.iter().rev() {
            if !faults.iter().any(|(at, _)| *at == error.message) {
                faults.push((error.message, error.error.to_string()));
            }
        }
        faults.sort_unstable();
        let keys = self.keys(&decoded.batch)?;
        let mut keys = keys.into_iter().flatten();
        let mut rows = decoded.row_messages(lines.len()).peekable();

        // What stops the source cuts the batch: behind it nothing was read.
        let stop = match self.config.on_error {
            OnError::Fail => faults.first().map(|(at, _)| *at),
            OnError::Skip => None,
        };
        let mut position = end;
        let mut skipped = 0;
        let mut records = Vec::with_capacity(lines.len());
        for (at, line) in lines.into_iter().enumerate() {
            let key = if rows.next_if_eq(&at).is_some() {
                keys.next().flatten()
            } else {
                None
            };
            if stop == Some(at) {
                position = (line.sequence - 1, line.start, line.number - 1);
                if let Some((_, what)) = faults.into_iter().next() {
                    self.fault = Some(self.malformed(line.number, what));
                }
                break;
            }
            if let Ok(fault) = faults.binary_search_by_key(&at, |(at, _)| *at) {
                let what = faults.get(fault).map_or("", |(_, what)| what);
                tracing::warn!(path = %self.config.path.display(), line = line.number, "skipped a malformed record: {what}");
                skipped += 1;
                continue;
            }
            records.push(SourceRecord {
                sequence: line.sequence,
                key,
                value: Some(Bytes::from(line.bytes)),
                timestamp: None,
            });
        }
        if records.is_empty()
            && let Some(fault) = self.fault.take_if(|_| stop.is_some())
        {
            return Err(fault);
        }
        Ok(SourcePoll::Records {
            records,
            position: self.position(position)?,
            skipped,
        })
    }

    /// Sequence, byte and line behind all that was read whole.
    fn position_behind_all(&self) -> (u64, u64, u64) {
        match &self.partial {
            Some(partial) => (self.sequence, partial.start, partial.number - 1),
            None => (self.sequence, self.records.bytes(), self.records.line() - 1),
        }
    }

    fn position(
        &self,
        (sequence, byte, line): (u64, u64, u64),
    ) -> Result<Position, ConnectorError> {
        let cursor = Cursor {
            byte,
            line,
            inode: self.inode,
        };
        let cursor = serde_json::to_value(cursor).map_err(|error| ConnectorError::File {
            path: self.config.path.clone(),
            what: format!("its position cannot be written: {error}"),
        })?;
        Ok(Position { sequence, cursor })
    }

    /// The text of the key column, a row each.
    fn keys(
        &self,
        batch: &arrow::array::RecordBatch,
    ) -> Result<Option<Vec<Option<Bytes>>>, ConnectorError> {
        let Some(column) = self.config.key.and_then(|key| batch.columns().get(key)) else {
            return Ok(None);
        };
        let options = FormatOptions::default();
        let formatter = ArrayFormatter::try_new(column.as_ref(), &options).map_err(|error| {
            ConnectorError::File {
                path: self.config.path.clone(),
                what: format!("its key column cannot be read: {error}"),
            }
        })?;
        let keys = (0..batch.num_rows())
            .map(|row| {
                column
                    .is_valid(row)
                    .then(|| Bytes::from(formatter.value(row).to_string()))
            })
            .collect();
        Ok(Some(keys))
    }
}

/// Opens the file: records, inode, the count of bytes read, and the file's size.
fn open_records(
    config: &FileSourceConfig,
) -> Result<(RecordReader<Input>, u64, Arc<AtomicU64>, u64), ConnectorError> {
    let failed = |source| ConnectorError::Io {
        what: "open",
        path: config.path.clone(),
        source,
    };
    let file = File::open(&config.path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    if metadata.is_dir() {
        return Err(ConnectorError::File {
            path: config.path.clone(),
            what: "is a folder; name a file in it".to_owned(),
        });
    }
    let read = Arc::new(AtomicU64::new(0));
    let counted = Counted {
        file,
        read: read.clone(),
    };
    let input: Box<dyn Read + Send> = if config.is_gzip() {
        Box::new(MultiGzDecoder::new(BufReader::new(counted)))
    } else {
        Box::new(counted)
    };
    let framing = match &config.format {
        Format::Csv(csv) => Framing::Csv { quote: csv.quote },
        Format::Json | Format::Raw => Framing::Lines,
    };
    let records = RecordReader::new(
        BufReader::with_capacity(256 * 1024, input),
        framing,
        config.max_record_bytes,
    );
    Ok((records, metadata.ino(), read, metadata.len()))
}
