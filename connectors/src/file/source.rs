//! The file source: CSV records or JSON lines, whole or followed, plain or gzip.

use std::sync::Arc;

use async_trait::async_trait;

use super::FileSourceConfig;
use super::reader::FileReader;
use crate::{ConnectorError, Position, SourceConnector, SourcePoll, SourceProgress};

/// Reads a file into a topic. See [`FileSourceConfig`] for what it can be told.
pub struct FileSource {
    config: Arc<FileSourceConfig>,
    /// Taken away while a blocking thread reads.
    reader: Option<FileReader>,
    progress: SourceProgress,
}

impl FileSource {
    /// A source that opens its file when it is told its position.
    pub fn new(config: FileSourceConfig) -> Self {
        Self {
            config: Arc::new(config),
            reader: None,
            progress: SourceProgress::default(),
        }
    }

    fn ended(&self, what: impl ToString) -> ConnectorError {
        ConnectorError::Task {
            name: self.config.path.display().to_string(),
            what: what.to_string(),
        }
    }
}

#[async_trait]
impl SourceConnector for FileSource {
    async fn open(&mut self, position: Option<&Position>) -> Result<(), ConnectorError> {
        let config = self.config.clone();
        let position = position.cloned();
        let reader =
            tokio::task::spawn_blocking(move || FileReader::open(config, position.as_ref()))
                .await
                .map_err(|error| self.ended(error))??;
        self.progress = reader.progress();
        self.reader = Some(reader);
        Ok(())
    }

    async fn poll(&mut self) -> Result<SourcePoll, ConnectorError> {
        let Some(mut reader) = self.reader.take() else {
            return Err(self.ended("it was polled before it was opened"));
        };
        let (reader, polled) = tokio::task::spawn_blocking(move || {
            let polled = reader.poll();
            (reader, polled)
        })
        .await
        .map_err(|error| self.ended(error))?;
        self.progress = reader.progress();
        self.reader = Some(reader);
        polled
    }

    fn progress(&self) -> SourceProgress {
        self.progress
    }

    fn is_bounded(&self) -> bool {
        !self.config.follow
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::path::Path;

    use arrow::datatypes::{DataType, Field, Schema};
    use flate2::Compression;
    use flate2::write::GzEncoder;
    use thalweg_schema::{CsvOptions, Format};

    use super::*;
    use crate::OnError;

    fn config(path: &Path) -> FileSourceConfig {
        let schema = Arc::new(Schema::new(vec![
            Field::new("item", DataType::Utf8, true),
            Field::new("clicks", DataType::Int64, true),
        ]));
        let mut config = FileSourceConfig::new(path, Format::Csv(CsvOptions::default()), schema);
        config.key = Some(0);
        config
    }

    /// Polls to the end, an idle source, or an error.
    async fn drain(source: &mut FileSource) -> (Vec<String>, Option<Position>, Option<String>) {
        let mut values = Vec::new();
        let mut last = None;
        loop {
            match source.poll().await {
                Ok(SourcePoll::Records {
                    records, position, ..
                }) => {
                    values.extend(records.iter().map(|record| {
                        String::from_utf8(record.value.clone().unwrap().to_vec()).unwrap()
                    }));
                    last = Some(position);
                }
                Ok(SourcePoll::Idle | SourcePoll::End) => return (values, last, None),
                Err(error) => return (values, last, Some(error.to_string())),
            }
        }
    }

    #[tokio::test]
    async fn a_gzip_file_is_read_whole_and_resumed_behind_any_record() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("clicks.csv.gz");
        let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
        writeln!(gzip, "clicks,item").unwrap();
        for record in 0..10_000 {
            writeln!(gzip, "{record},hat").unwrap();
        }
        std::fs::write(&path, gzip.finish().unwrap()).unwrap();

        let mut source = FileSource::new(config(&path));
        source.open(None).await.unwrap();
        let SourcePoll::Records {
            records, position, ..
        } = source.poll().await.unwrap()
        else {
            panic!("records come first");
        };
        assert_eq!(records[0].key.as_deref(), Some(&b"hat"[..]));
        assert_eq!(records[0].value.as_deref(), Some(&b"hat,0"[..]));
        let (rest, _, error) = drain(&mut source).await;
        assert_eq!(error, None);
        assert_eq!(records.len() + rest.len(), 10_000);

        let mut again = FileSource::new(config(&path));
        again.open(Some(&position)).await.unwrap();
        assert_eq!(drain(&mut again).await.0, rest);
    }

    #[tokio::test]
    async fn a_malformed_record_stops_the_source_behind_the_good_ones() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("clicks.csv");
        std::fs::write(&path, "item,clicks\na,1\n\nb,2\nc,many\nd,4\n").unwrap();
        let mut source = FileSource::new(config(&path));
        source.open(None).await.unwrap();
        let (values, position, error) = drain(&mut source).await;
        assert_eq!(values, ["a,1", "b,2"]);
        let error = error.unwrap();
        assert!(
            error.contains("clicks.csv, line 5: field \"clicks\": expected Int64, found \"many\""),
            "{error}"
        );

        // The same place is met again after a restart, and passed over when so told.
        source.open(position.as_ref()).await.unwrap();
        assert!(drain(&mut source).await.2.unwrap().contains("line 5"));
        let mut skipping = config(&path);
        skipping.on_error = OnError::Skip;
        let mut source = FileSource::new(skipping);
        source.open(position.as_ref()).await.unwrap();
        let (values, _, error) = drain(&mut source).await;
        assert_eq!((values, error), (vec!["d,4".to_owned()], None));
    }

    #[tokio::test]
    async fn a_followed_file_waits_for_the_line_end_and_survives_rotation() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("clicks.csv");
        std::fs::write(&path, "item,clicks\na,1\nb,").unwrap();
        let mut following = config(&path);
        following.follow = true;
        let mut source = FileSource::new(following);
        source.open(None).await.unwrap();
        assert_eq!(drain(&mut source).await.0, ["a,1"]);

        let mut file = std::fs::OpenOptions::new()
            .append(true)
            .open(&path)
            .unwrap();
        write!(file, "2\nc,3").unwrap();
        assert_eq!(drain(&mut source).await.0, ["b,2"]);

        std::fs::rename(&path, folder.path().join("clicks.csv.1")).unwrap();
        std::fs::write(&path, "item,clicks\nd,4\n").unwrap();
        let mut values = drain(&mut source).await.0;
        values.extend(drain(&mut source).await.0);
        values.extend(drain(&mut source).await.0);
        assert_eq!(values, ["c,3", "d,4"]);
    }

    #[tokio::test]
    async fn a_replaced_file_that_is_shorter_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("clicks.csv");
        std::fs::write(&path, "item,clicks\na,1\nb,2\n").unwrap();
        let mut source = FileSource::new(config(&path));
        source.open(None).await.unwrap();
        let (_, position, _) = drain(&mut source).await;
        std::fs::write(&path, "item,clicks\n").unwrap();
        let error = source.open(position.as_ref()).await.unwrap_err();
        assert!(error.to_string().contains("was it replaced?"), "{error}");
    }
}
