//! A whole node for tests: broker, engine, and rows as text.
#![allow(dead_code, reason = "each test takes what it needs")]

use arrow::array::Array;
use arrow::datatypes::DataType;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use std::path::Path;
use thalweg_log::broker::{Broker, BrokerConfig};
use thalweg_log::client::{Client, ClientConfig};
use thalweg_sql::{Engine, EngineConfig, SqlError, StatementResult};

/// A broker and an engine over one data folder.
pub(crate) struct Node {
    pub(crate) broker: Broker,
    pub(crate) engine: Engine,
    pub(crate) client: Client,
}

impl Node {
    pub(crate) async fn start(dir: &Path) -> Self {
        let broker = Broker::start(BrokerConfig::new(dir.join("log")))
            .await
            .expect("a broker");
        let client = Client::with_transport(broker.transport(), ClientConfig::default());
        let engine = Engine::start(EngineConfig::new(dir), client.clone())
            .await
            .expect("an engine");
        Self {
            broker,
            engine,
            client,
        }
    }

    pub(crate) async fn stop(self) {
        self.engine.close().await;
        self.broker.shutdown().await;
    }

    /// Runs a script and gives back the rows of its last statement, sorted, as text.
    pub(crate) async fn rows(&self, script: &str) -> Vec<String> {
        match self.try_rows(script).await {
            Ok(rows) => rows,
            Err(error) => panic!("{}", error.render(script)),
        }
    }

    pub(crate) async fn try_rows(&self, script: &str) -> Result<Vec<String>, SqlError> {
        let mut rows = Vec::new();
        for result in self.engine.session().execute(script).await? {
            rows.clear();
            let StatementResult::Rows(stream) = result else {
                continue;
            };
            for batch in stream.collect().await? {
                rows.extend(text(&batch));
            }
        }
        rows.sort();
        Ok(rows)
    }

    /// The error of a script, as people see it.
    pub(crate) async fn error(&self, script: &str) -> String {
        match self.try_rows(script).await {
            Ok(rows) => panic!("{script} gave {rows:?}"),
            Err(error) => error.render(script),
        }
    }
}

/// The rows of a batch, columns separated by `|`.
pub(crate) fn text(batch: &arrow::array::RecordBatch) -> Vec<String> {
    values(batch).into_iter().map(|row| row.join("|")).collect()
}

/// The values of a batch as text, as Postgres writes them.
pub(crate) fn values(batch: &arrow::array::RecordBatch) -> Vec<Vec<String>> {
    let options = FormatOptions::default();
    let columns: Vec<_> = batch
        .columns()
        .iter()
        .map(|column| {
            let formatter = ArrayFormatter::try_new(column, &options).expect("a formatter");
            (column, formatter)
        })
        .collect();
    (0..batch.num_rows())
        .map(|row| {
            columns
                .iter()
                .map(|(column, formatter)| {
                    if column.is_null(row) {
                        return "NULL".to_owned();
                    }
                    let text = formatter.value(row).to_string();
                    match column.data_type() {
                        DataType::Boolean => text[..1].to_owned(),
                        DataType::Float32 | DataType::Float64 => {
                            text.strip_suffix(".0").unwrap_or(&text).to_owned()
                        }
                        DataType::Timestamp(..) => text.replace('T', " ").replace('Z', "+00"),
                        _ => text,
                    }
                })
                .collect()
        })
        .collect()
}
