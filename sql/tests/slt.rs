//! The SQL specification: every `.slt` file, run once against an embedded engine and once
//! over the Postgres wire, each on a node of its own.

mod common;

use async_trait::async_trait;
use common::{Node, values};
use sqllogictest::{AsyncDB, DBOutput, DefaultColumnType, Runner};
use std::path::{Path, PathBuf};
use thalweg_sql::{PgServer, Session, SqlError, StatementResult};
use tokio_postgres::{NoTls, SimpleQueryMessage};

/// A database under test, in this process or behind the wire.
enum Database {
    Embedded(Session),
    Wire(tokio_postgres::Client),
}

#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("{0}")]
    Sql(SqlError),
    #[error("{message}{hint}")]
    Wire {
        code: String,
        message: String,
        hint: String,
    },
}

#[async_trait]
impl AsyncDB for Database {
    type Error = Failure;
    type ColumnType = DefaultColumnType;

    async fn run(&mut self, sql: &str) -> Result<DBOutput<DefaultColumnType>, Failure> {
        match self {
            Self::Embedded(session) => embedded(session, sql).await.map_err(Failure::Sql),
            Self::Wire(client) => wire(client, sql).await,
        }
    }

    async fn shutdown(&mut self) {}

    fn engine_name(&self) -> &str {
        match self {
            Self::Embedded(_) => "embedded",
            Self::Wire(_) => "wire",
        }
    }

    fn error_sql_state(error: &Failure) -> Option<String> {
        Some(match error {
            Failure::Sql(error) => error.state().code().to_owned(),
            Failure::Wire { code, .. } => code.clone(),
        })
    }
}

fn of_rows(columns: usize, mut rows: Vec<Vec<String>>) -> DBOutput<DefaultColumnType> {
    for value in rows.iter_mut().flatten().filter(|value| value.is_empty()) {
        "(empty)".clone_into(value);
    }
    DBOutput::Rows {
        types: vec![DefaultColumnType::Text; columns],
        rows,
    }
}

async fn embedded(session: &Session, sql: &str) -> Result<DBOutput<DefaultColumnType>, SqlError> {
    let mut output = DBOutput::StatementComplete(0);
    for result in session.execute(sql).await? {
        output = match result {
            StatementResult::Done(_) => DBOutput::StatementComplete(0),
            StatementResult::Rows(stream) => {
                let columns = stream.schema.fields().len();
                let batches = stream.collect().await?;
                of_rows(columns, batches.iter().flat_map(values).collect())
            }
        };
    }
    Ok(output)
}

async fn wire(
    client: &tokio_postgres::Client,
    sql: &str,
) -> Result<DBOutput<DefaultColumnType>, Failure> {
    let messages = client.simple_query(sql).await.map_err(|error| {
        let error = error.as_db_error().expect("an error of the server");
        Failure::Wire {
            code: error.code().code().to_owned(),
            message: error.message().to_owned(),
            hint: error
                .hint()
                .map_or_else(String::new, |hint| format!("; {hint}")),
        }
    })?;
    let mut columns = None;
    let mut rows = Vec::new();
    for message in messages {
        match message {
            SimpleQueryMessage::RowDescription(description) => {
                columns = Some(description.len());
                rows.clear();
            }
            SimpleQueryMessage::Row(row) => rows.push(
                (0..row.len())
                    .map(|column| row.get(column).unwrap_or("NULL").to_owned())
                    .collect(),
            ),
            _ => {}
        }
    }
    Ok(match columns {
        Some(columns) => of_rows(columns, rows),
        None => DBOutput::StatementComplete(0),
    })
}

fn files() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/slt");
    let wanted = std::env::var("SLT").ok();
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)
        .expect("the folder of specifications")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|e| e == "slt"))
        .filter(|path| {
            wanted
                .as_ref()
                .is_none_or(|wanted| path.to_string_lossy().contains(wanted))
        })
        .collect();
    files.sort();
    assert!(!files.is_empty(), "no specification was found");
    files
}

async fn run_all(over_the_wire: bool) {
    let mut failed = Vec::new();
    for file in files() {
        let dir = tempfile::tempdir().expect("a folder");
        let node = Node::start(dir.path()).await;
        let server = PgServer::start(node.engine.clone(), "127.0.0.1:0")
            .await
            .expect("a server");
        let address = server.address();
        let engine = node.engine.clone();
        let mut runner = Runner::new(|| {
            let engine = engine.clone();
            async move {
                if !over_the_wire {
                    return Ok(Database::Embedded(engine.session()));
                }
                let config = format!("host={} port={} user=test", address.ip(), address.port());
                let (client, connection) = tokio_postgres::connect(&config, NoTls)
                    .await
                    .expect("a connection");
                tokio::spawn(connection);
                Ok(Database::Wire(client))
            }
        });
        runner.add_label(if over_the_wire { "wire" } else { "embedded" });
        if let Err(error) = runner.run_file_async(&file).await {
            failed.push(format!("{}: {}", file.display(), error.display(false)));
        }
        runner.shutdown_async().await;
        server.shutdown().await;
        node.stop().await;
    }
    assert!(failed.is_empty(), "{}", failed.join("\n\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn specifications_hold_embedded() {
    run_all(false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn specifications_hold_over_the_wire() {
    run_all(true).await;
}
