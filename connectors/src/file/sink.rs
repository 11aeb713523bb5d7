//! The file sink: one line a record, each record once.
//!
//! Beside the file stands `<path>.position`, replaced whole at each flush after the file
//! itself is on disk: how many bytes are committed, and the next offset of each partition.
//! At a start the file is cut back to that length, so that what a crash left behind it is
//! written again and not twice.

use std::collections::BTreeMap;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use thalweg_log::client::TopicPartition;

use super::FileSinkConfig;
use crate::{ConnectorError, SinkConnector, SinkRecord};

/// The version of the position file.
const VERSION: u32 = 1;

#[derive(Debug, Serialize, Deserialize)]
struct Committed {
    version: u32,
    bytes: u64,
    /// Topic, partition, next offset.
    next: Vec<(String, i32, i64)>,
}

/// Writes the values of records to a file, a line each. A record without a value (the
/// deletion of its key) has no line to write and is passed over.
pub struct FileSink {
    config: FileSinkConfig,
    open: Option<Open>,
}

struct Open {
    file: io::BufWriter<std::fs::File>,
    bytes: u64,
    next: BTreeMap<(String, i32), i64>,
}

impl FileSink {
    /// A sink that opens its file at [`SinkConnector::open`].
    pub fn new(config: FileSinkConfig) -> Self {
        Self { config, open: None }
    }

    fn position_path(&self) -> PathBuf {
        let mut path = self.config.path.clone().into_os_string();
        path.push(".position");
        path.into()
    }

    fn open_blocking(&mut self) -> Result<Vec<(TopicPartition, i64)>, ConnectorError> {
        let path = &self.config.path;
        let position_path = self.position_path();
        let committed = read_position(&position_path)?;
        let file = std::fs::OpenOptions::new()
            .create(true)
            .read(true)
            .append(true)
            .open(path)
            .map_err(io_error("open", path))?;
        let length = file.metadata().map_err(io_error("read", path))?.len();
        let (bytes, next) = match committed {
            Some(committed) => (committed.bytes, committed.next),
            None if length == 0 => {
                // From here on what the file holds is ours, whatever becomes of us.
                let nothing = Committed {
                    version: VERSION,
                    bytes: 0,
                    next: Vec::new(),
                };
                write_position(&position_path, &nothing)?;
                (0, Vec::new())
            }
            None => {
                return Err(ConnectorError::File {
                    path: path.clone(),
                    what: "it holds data that this sink did not write: remove it, or choose another path".to_owned(),
                });
            }
        };
        if length < bytes {
            return Err(ConnectorError::File {
                path: path.clone(),
                what: format!(
                    "it has {length} bytes, but {bytes} were written: it was cut by someone else. Remove it and {} to write it anew",
                    position_path.display()
                ),
            });
        }
        file.set_len(bytes).map_err(io_error("cut", path))?;
        let wanted = next
            .iter()
            .map(|(topic, partition, next)| {
                (TopicPartition::new(topic.as_str(), *partition), *next)
            })
            .collect();
        self.open = Some(Open {
            file: io::BufWriter::with_capacity(256 * 1024, file),
            bytes,
            next: next
                .into_iter()
                .map(|(topic, partition, next)| ((topic, partition), next))
                .collect(),
        });
        Ok(wanted)
    }

    fn opened(&mut self) -> Result<&mut Open, ConnectorError> {
        self.open.as_mut().ok_or_else(|| ConnectorError::Task {
            name: self.config.path.display().to_string(),
            what: "it was written before it was opened".to_owned(),
        })
    }

    fn flush_blocking(&mut self) -> Result<(), ConnectorError> {
        let path = self.config.path.clone();
        let position_path = self.position_path();
        let open = self.opened()?;
        open.file.flush().map_err(io_error("write", &path))?;
        open.file
            .get_ref()
            .sync_data()
            .map_err(io_error("sync", &path))?;
        let committed = Committed {
            version: VERSION,
            bytes: open.bytes,
            next: open
                .next
                .iter()
                .map(|((topic, partition), next)| (topic.clone(), *partition, *next))
                .collect(),
        };
        write_position(&position_path, &committed)
    }
}

fn io_error<'p>(
    what: &'static str,
    path: &'p Path,
) -> impl FnOnce(io::Error) -> ConnectorError + 'p {
    move |source| ConnectorError::Io {
        what,
        path: path.to_owned(),
        source,
    }
}

fn read_position(path: &Path) -> Result<Option<Committed>, ConnectorError> {
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io_error("read", path)(error)),
    };
    let unreadable = |what: String| ConnectorError::File {
        path: path.to_owned(),
        what,
    };
    let committed: Committed = serde_json::from_slice(&bytes)
        .map_err(|error| unreadable(format!("it is not a position file: {error}")))?;
    if committed.version != VERSION {
        return Err(unreadable(format!(
            "it is of version {}, this program reads version {VERSION}",
            committed.version
        )));
    }
    Ok(Some(committed))
}

/// Replaces the position file whole: a reader sees the old one or the new one.
fn write_position(path: &Path, committed: &Committed) -> Result<(), ConnectorError> {
    let bytes = serde_json::to_vec(committed).map_err(|error| ConnectorError::File {
        path: path.to_owned(),
        what: format!("the position cannot be written: {error}"),
    })?;
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let replace = || -> io::Result<()> {
        let mut staged = path.as_os_str().to_owned();
        staged.push(".tmp");
        let mut file = std::fs::File::create(&staged)?;
        file.write_all(&bytes)?;
        file.sync_data()?;
        std::fs::rename(&staged, path)?;
        std::fs::File::open(folder)?.sync_all()
    };
    replace().map_err(io_error("replace", path))
}

#[async_trait]
impl SinkConnector for FileSink {
    async fn open(&mut self) -> Result<Vec<(TopicPartition, i64)>, ConnectorError> {
        self.open_blocking()
    }

    async fn put(&mut self, records: &[SinkRecord]) -> Result<(), ConnectorError> {
        let path = self.config.path.clone();
        let open = self.opened()?;
        for record in records {
            let partition = (
                record.partition.topic.to_string(),
                record.partition.partition,
            );
            let next = open.next.entry(partition).or_insert(0);
            // The log may hand out again what a crash kept from being acknowledged to it.
            if record.offset < *next {
                continue;
            }
            if let Some(value) = &record.value {
                open.file
                    .write_all(value)
                    .and_then(|()| open.file.write_all(b"\n"))
                    .map_err(io_error("write", &path))?;
                open.bytes += value.len() as u64 + 1;
            }
            *next = record.offset + 1;
        }
        Ok(())
    }

    async fn flush(&mut self) -> Result<(), ConnectorError> {
        tokio::task::block_in_place(|| self.flush_blocking())
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn record(offset: i64, value: &'static str) -> SinkRecord {
        SinkRecord {
            partition: TopicPartition::new("t", 0),
            offset,
            timestamp: 0,
            key: None,
            value: Some(Bytes::from(value)),
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_was_not_flushed_is_cut_and_written_again_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out.jsonl");
        let config = FileSinkConfig { path: path.clone() };
        let mut sink = FileSink::new(config.clone());
        assert_eq!(sink.open().await.unwrap(), vec![]);
        sink.put(&[record(0, "a"), record(1, "b")]).await.unwrap();
        sink.flush().await.unwrap();
        sink.put(&[record(2, "c")]).await.unwrap();
        drop(sink); // The writer's buffer reaches the file, the position does not.
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "a\nb\nc\n");

        let mut sink = FileSink::new(config);
        let wanted = sink.open().await.unwrap();
        assert_eq!(wanted, vec![(TopicPartition::new("t", 0), 2)]);
        sink.put(&[record(1, "b"), record(2, "c"), record(3, "d")])
            .await
            .unwrap();
        sink.flush().await.unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "a\nb\nc\nd\n");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_file_of_someone_else_is_not_written_over() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out.txt");
        std::fs::write(&path, "precious").unwrap();
        let error = FileSink::new(FileSinkConfig { path: path.clone() })
            .open()
            .await
            .unwrap_err();
        assert!(error.to_string().contains("did not write"), "{error}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
    }
}
