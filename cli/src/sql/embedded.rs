//! Broker and SQL engine in this very process, over a data folder.

use std::path::Path;

use anyhow::{Result, anyhow};
use arrow::array::{Array as _, RecordBatch};
use arrow::datatypes::{DataType, SchemaRef};
use arrow::error::ArrowError;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use futures::future::BoxFuture;
use futures::stream::{self, BoxStream};
use futures::{FutureExt as _, StreamExt as _};
use thalweg_log::broker::{Broker, BrokerConfig};
use thalweg_log::client::{Client, ClientConfig};
use thalweg_sql::parse::parse;
use thalweg_sql::{Engine, EngineConfig, RowStream, Session, SqlError, StatementResult};

use super::events::{Backend, Column, ColumnKind, Event};

/// An open data folder with its jobs running. Close it, so that the folder is left clean.
pub struct Embedded {
    engine: Engine,
    broker: Broker,
}

impl Embedded {
    pub async fn open(data_dir: &Path) -> Result<Self> {
        let broker = Broker::start(BrokerConfig::new(data_dir)).await?;
        let client = Client::with_transport(broker.transport(), ClientConfig::default());
        let engine = Engine::start(EngineConfig::new(data_dir), client).await?;
        Ok(Self { engine, broker })
    }

    pub fn client(&self) -> &Client {
        self.engine.client()
    }

    /// Runs statements that give no rows, and gives their tags.
    pub async fn execute(&self, sql: &str) -> Result<Vec<String>> {
        let results = self
            .engine
            .session()
            .execute(sql)
            .await
            .map_err(|error| explain(sql, &error))?;
        Ok(results
            .into_iter()
            .filter_map(|result| match result {
                StatementResult::Done(command) => Some(command.tag),
                StatementResult::Rows(_) => None,
            })
            .collect())
    }

    /// The rows of a query.
    pub async fn query(&self, sql: &str) -> Result<Vec<RecordBatch>> {
        self.engine
            .session()
            .query(sql)
            .await
            .map_err(|error| explain(sql, &error))
    }

    /// Something to ask queries of while this is busy.
    pub fn queries(&self) -> Session {
        self.engine.session()
    }

    pub fn backend(&self) -> EmbeddedBackend {
        EmbeddedBackend {
            session: self.engine.session(),
        }
    }

    pub async fn close(self) -> Result<()> {
        self.engine.close().await;
        self.broker.shutdown().await;
        Ok(())
    }
}

/// The engine's own words, with line, caret and hint.
fn explain(sql: &str, error: &SqlError) -> anyhow::Error {
    // Whoever prints it says that it is an error.
    let text = error.render(sql);
    anyhow!(text.trim_start_matches("error: ").trim_end().to_owned())
}

/// Runs statements on the engine of this process.
pub struct EmbeddedBackend {
    session: Session,
}

impl Backend for EmbeddedBackend {
    fn run<'a>(&'a mut self, sql: &'a str) -> BoxFuture<'a, Result<BoxStream<'a, Result<Event>>>> {
        async move {
            let statements = parse(sql).map_err(|error| explain(sql, &error))?;
            let session = self.session.clone();
            let events = stream::iter(statements)
                .then(move |statement| {
                    let session = session.clone();
                    async move { session.run(&statement).await }
                })
                .flat_map(move |result| match result {
                    Err(error) => stream::iter([Err(explain(sql, &error))]).boxed(),
                    Ok(StatementResult::Done(command)) => {
                        for notice in &command.notices {
                            eprintln!("notice: {notice}");
                        }
                        stream::iter([Ok(Event::Done(command.tag))]).boxed()
                    }
                    Ok(StatementResult::Rows(rows)) => row_events(sql, rows),
                });
            Ok(until_error(events.boxed()))
        }
        .boxed()
    }

    fn names(&mut self) -> BoxFuture<'_, Vec<String>> {
        let names = self.session.relation_names();
        async move { names }.boxed()
    }
}

/// A script stops at its first error.
fn until_error(events: BoxStream<'_, Result<Event>>) -> BoxStream<'_, Result<Event>> {
    events
        .scan(false, |failed, event| {
            let next = (!*failed).then(|| {
                *failed = event.is_err();
                event
            });
            async move { next }
        })
        .boxed()
}

fn row_events(sql: &str, rows: RowStream) -> BoxStream<'_, Result<Event>> {
    let columns = stream::iter([Ok(Event::Columns(columns(&rows.schema)))]);
    let events = rows.batches.flat_map(move |batch| {
        let events = match batch {
            Ok(batch) => match texts(&batch) {
                Ok(rows) => rows.into_iter().map(|row| Ok(Event::Row(row))).collect(),
                Err(error) => vec![Err(error.into())],
            },
            Err(error) => vec![Err(explain(sql, &error))],
        };
        stream::iter(events)
    });
    columns.chain(events).boxed()
}

fn columns(schema: &SchemaRef) -> Vec<Column> {
    schema
        .fields()
        .iter()
        .map(|field| Column {
            name: field.name().clone(),
            kind: match field.data_type() {
                DataType::Boolean => ColumnKind::Boolean,
                number if number.is_numeric() => ColumnKind::Number,
                _ => ColumnKind::Text,
            },
        })
        .collect()
}

/// The rows of a batch as text, timestamps as Postgres writes them.
fn texts(batch: &RecordBatch) -> Result<Vec<Vec<Option<String>>>, ArrowError> {
    let options = FormatOptions::default()
        .with_timestamp_format(Some("%Y-%m-%d %H:%M:%S%.f"))
        .with_timestamp_tz_format(Some("%Y-%m-%d %H:%M:%S%.f%:z"));
    let columns = batch
        .columns()
        .iter()
        .map(|column| Ok((column, ArrayFormatter::try_new(column.as_ref(), &options)?)))
        .collect::<Result<Vec<_>, ArrowError>>()?;
    Ok((0..batch.num_rows())
        .map(|row| {
            columns
                .iter()
                .map(|(column, text)| column.is_valid(row).then(|| text.value(row).to_string()))
                .collect()
        })
        .collect())
}
