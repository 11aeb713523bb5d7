//! Standard output as a sink, for looking at a stream.

use std::io::{self, Write as _};

use async_trait::async_trait;
use thalweg_log::client::TopicPartition;

use crate::{ConnectorError, SinkConnector, SinkRecord};

/// Prints the value of each record on a line of standard output.
#[derive(Debug, Default)]
pub struct StdoutSink {}

impl StdoutSink {
    /// A sink on this process's standard output.
    pub fn new() -> Self {
        Self::default()
    }
}

#[async_trait]
impl SinkConnector for StdoutSink {
    async fn open(&mut self) -> Result<Vec<(TopicPartition, i64)>, ConnectorError> {
        Ok(Vec::new())
    }

    async fn put(&mut self, records: &[SinkRecord]) -> Result<(), ConnectorError> {
        let mut out = io::stdout().lock();
        records
            .iter()
            .filter_map(|record| record.value.as_ref())
            .try_for_each(|value| {
                out.write_all(value)?;
                out.write_all(b"\n")
            })
            .and_then(|()| out.flush())
            .map_err(failed)
    }

    async fn flush(&mut self) -> Result<(), ConnectorError> {
        io::stdout().lock().flush().map_err(failed)
    }
}

fn failed(source: io::Error) -> ConnectorError {
    ConnectorError::Io {
        what: "write",
        path: "<standard output>".into(),
        source,
    }
}
