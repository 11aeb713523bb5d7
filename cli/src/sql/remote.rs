//! A server behind the Postgres wire.

use anyhow::{Context as _, Result, anyhow};
use futures::future::BoxFuture;
use futures::stream::{self, BoxStream};
use futures::{FutureExt as _, StreamExt as _};
use tokio_postgres::types::Type;
use tokio_postgres::{Client, NoTls, SimpleQueryMessage};

use super::events::{Backend, Column, ColumnKind, Event};

/// A connection to a server.
pub struct Remote {
    client: Client,
}

impl Remote {
    /// Connects to `HOST:PORT`.
    pub async fn connect(server: &str) -> Result<Self> {
        let (host, port) = server
            .rsplit_once(':')
            .with_context(|| format!("{server:?} is not HOST:PORT, such as 127.0.0.1:5433"))?;
        let port: u16 = port
            .parse()
            .with_context(|| format!("{port:?} is not a port"))?;
        let (client, connection) = tokio_postgres::Config::new()
            .host(host)
            .port(port)
            .user("thalweg")
            .application_name("thalweg sql")
            .connect(NoTls)
            .await
            .with_context(|| {
                format!("cannot reach a server at {server}; is `thalweg server --pg-listen {server}` running?")
            })?;
        tokio::spawn(async move {
            // The client's own calls report a broken connection.
            if let Err(error) = connection.await {
                tracing::debug!("the connection ended: {error}");
            }
        });
        Ok(Self { client })
    }

    /// Types of the columns where `sql` is one statement that can be prepared.
    async fn kinds(&self, sql: &str) -> Vec<ColumnKind> {
        match self
            .client
            .prepare(sql.trim_end_matches([';', '\n', ' ']))
            .await
        {
            Ok(statement) => statement
                .columns()
                .iter()
                .map(|column| kind(column.type_()))
                .collect(),
            Err(_) => Vec::new(),
        }
    }
}

fn kind(data_type: &Type) -> ColumnKind {
    match *data_type {
        Type::INT2 | Type::INT4 | Type::INT8 | Type::FLOAT4 | Type::FLOAT8 | Type::NUMERIC => {
            ColumnKind::Number
        }
        Type::BOOL => ColumnKind::Boolean,
        _ => ColumnKind::Text,
    }
}

/// The server's own words, with the place in the statement where it names one.
fn explain(sql: &str, error: &tokio_postgres::Error) -> anyhow::Error {
    let Some(db) = error.as_db_error() else {
        return anyhow!("{error}");
    };
    let mut text = db.message().to_owned();
    if let Some(tokio_postgres::error::ErrorPosition::Original(position)) = db.position() {
        text.push_str(&caret(sql, *position as usize));
    }
    if let Some(hint) = db.hint() {
        text.push_str("\nhint: ");
        text.push_str(hint);
    }
    anyhow!(text)
}

/// The line of the 1-based character `position` and a caret under it.
fn caret(sql: &str, position: usize) -> String {
    let mut left = position.saturating_sub(1);
    for (number, line) in sql.lines().enumerate() {
        let length = line.chars().count();
        if left <= length {
            let label = format!("LINE {}: ", number + 1);
            let space = " ".repeat(label.len() + left);
            return format!("\n{label}{line}\n{space}^");
        }
        left -= length + 1;
    }
    String::new()
}

impl Backend for Remote {
    fn run<'a>(&'a mut self, sql: &'a str) -> BoxFuture<'a, Result<BoxStream<'a, Result<Event>>>> {
        async move {
            let kinds = self.kinds(sql).await;
            let messages = self
                .client
                .simple_query_raw(sql)
                .await
                .map_err(|error| explain(sql, &error))?;
            let events = messages.flat_map(move |message| {
                let events = match message {
                    Err(error) => vec![Err(explain(sql, &error))],
                    Ok(SimpleQueryMessage::RowDescription(columns)) => {
                        let kinds = kinds
                            .iter()
                            .copied()
                            .filter(|_| kinds.len() == columns.len())
                            .chain(std::iter::repeat(ColumnKind::Text));
                        let columns = columns
                            .iter()
                            .zip(kinds)
                            .map(|(column, kind)| Column {
                                name: column.name().to_owned(),
                                kind,
                            })
                            .collect();
                        vec![Ok(Event::Columns(columns))]
                    }
                    Ok(SimpleQueryMessage::Row(row)) => {
                        let fields = (0..row.len())
                            .map(|at| row.try_get(at).ok().flatten().map(str::to_owned))
                            .collect();
                        vec![Ok(Event::Row(fields))]
                    }
                    // The client library keeps the tag to itself.
                    Ok(SimpleQueryMessage::CommandComplete(_)) => {
                        vec![Ok(Event::Done("OK".to_owned()))]
                    }
                    Ok(_) => Vec::new(),
                };
                stream::iter(events)
            });
            Ok(events.boxed())
        }
        .boxed()
    }

    fn names(&mut self) -> BoxFuture<'_, Vec<String>> {
        async move {
            let query = "SELECT table_name, column_name FROM information_schema.columns";
            let Ok(messages) = self.client.simple_query(query).await else {
                return Vec::new();
            };
            messages
                .into_iter()
                .filter_map(|message| match message {
                    SimpleQueryMessage::Row(row) => Some(row),
                    _ => None,
                })
                .flat_map(|row| {
                    (0..row.len())
                        .filter_map(|at| row.try_get(at).ok().flatten().map(str::to_owned))
                        .collect::<Vec<_>>()
                })
                .collect()
        }
        .boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::caret;

    #[test]
    fn the_caret_stands_under_the_position() {
        assert_eq!(
            caret("SELECT a\nFROM tt", 15),
            "\nLINE 2: FROM tt\n             ^"
        );
        assert_eq!(caret("SELECT", 100), "");
    }
}
