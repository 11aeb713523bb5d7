//! `SHOW`, `DESCRIBE` and the text of `EXPLAIN` as rows of text.

use super::{Inner, RowStream};
use crate::catalog::{Body, CatalogState, Relation, log_error};
use crate::error::{SqlError, SqlState, suggest};
use crate::parse::{Name, RelationKind, ShowKind};
use crate::plan::{ChangelogMode, RowFormat};
use arrow::array::{ArrayRef, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use std::sync::Arc;

fn schema(names: &[&str]) -> SchemaRef {
    Arc::new(Schema::new(
        names
            .iter()
            .map(|name| Field::new(*name, DataType::Utf8, true))
            .collect::<Vec<_>>(),
    ))
}

fn rows(schema: SchemaRef, rows: &[Vec<String>]) -> Result<RowStream, SqlError> {
    let columns: Vec<ArrayRef> = (0..schema.fields().len())
        .map(|column| {
            let values = rows.iter().map(|row| row.get(column).map(String::as_str));
            Arc::new(values.collect::<StringArray>()) as ArrayRef
        })
        .collect();
    let batch = RecordBatch::try_new(schema, columns).map_err(SqlError::internal)?;
    Ok(RowStream::of(batch))
}

/// The columns of a list.
pub(super) fn list_schema(kind: ShowKind) -> SchemaRef {
    match kind {
        ShowKind::Sources => schema(&["name", "connector", "topic", "format", "watermark"]),
        ShowKind::Views => schema(&["name", "topic", "key", "mode"]),
        ShowKind::Sinks => schema(&["name", "connector", "topic"]),
        ShowKind::Tables => schema(&["name", "kind"]),
        ShowKind::Jobs => schema(&["name", "kind", "state", "lag", "late", "error"]),
        ShowKind::Topics => schema(&["name", "partitions", "replication_factor"]),
    }
}

/// A list.
pub(super) async fn list(inner: &Arc<Inner>, kind: ShowKind) -> Result<RowStream, SqlError> {
    let catalog = inner.catalog();
    let mut lines: Vec<Vec<String>> = Vec::new();
    match kind {
        ShowKind::Topics => {
            let listed = inner
                .client
                .admin()
                .list_topics()
                .await
                .map_err(|error| log_error("list the topics", &error))?;
            for topic in listed.iter().filter(|t| !t.internal) {
                lines.push(vec![
                    topic.name.clone(),
                    topic.partitions.to_string(),
                    topic.replication_factor.to_string(),
                ]);
            }
        }
        ShowKind::Jobs => {
            for job in inner.jobs.infos_with_lag().await {
                lines.push(vec![
                    job.name,
                    job.kind,
                    job.status.to_string(),
                    job.lag.map_or_else(String::new, |lag| lag.to_string()),
                    job.late_records.to_string(),
                    job.error.unwrap_or_default(),
                ]);
            }
        }
        _ => {
            for relation in catalog.relations() {
                lines.extend(line(kind, relation));
            }
        }
    }
    lines.sort();
    rows(list_schema(kind), &lines)
}

fn line(kind: ShowKind, relation: &Relation) -> Option<Vec<String>> {
    match (kind, &relation.body) {
        (ShowKind::Sources, Body::Source(source)) => {
            let style = if source.is_upsert() {
                "UPSERT"
            } else {
                "PLAIN"
            };
            let watermark = source.watermark.as_ref().and_then(|w| {
                let column = source.columns.get(w.column)?;
                Some(format!(
                    "{} - {}",
                    column.name,
                    crate::planner::duration(w.delay_ms)
                ))
            });
            Some(vec![
                relation.name.clone(),
                source.connector.clone(),
                source.topic.clone(),
                format!("{style} {}", format_name(&source.format)),
                watermark.unwrap_or_default(),
            ])
        }
        (ShowKind::Views, Body::View(view)) => Some(vec![
            relation.name.clone(),
            view.topic.clone(),
            relation.key_columns().join(", "),
            mode_name(view.plan.mode).into(),
        ]),
        (ShowKind::Sinks, Body::Sink(sink)) => Some(vec![
            relation.name.clone(),
            sink.connector.clone(),
            sink.topic.clone(),
        ]),
        (ShowKind::Tables, Body::Source(_) | Body::View(_)) => Some(vec![
            relation.name.clone(),
            relation.kind().words().to_owned(),
        ]),
        _ => None,
    }
}

fn format_name(format: &RowFormat) -> &'static str {
    match format {
        RowFormat::Json => "JSON",
        RowFormat::Csv { .. } => "CSV",
        RowFormat::View => "VIEW",
    }
}

fn mode_name(mode: ChangelogMode) -> &'static str {
    match mode {
        ChangelogMode::AppendOnly => "append-only",
        ChangelogMode::Retract => "retract",
    }
}

/// The relation of a name, or an error that names the nearest.
pub(super) fn find<'a>(
    catalog: &'a CatalogState,
    name: &Name,
) -> Result<&'a Arc<Relation>, SqlError> {
    catalog.get(&name.text).ok_or_else(|| {
        let error = SqlError::new(
            SqlState::UndefinedTable,
            format!("there is no relation `{}`", name.text),
        )
        .at(Some(name.place));
        let names = catalog.relations().map(|relation| relation.name.as_str());
        match suggest(&name.text, "there are", names) {
            Some(hint) => error.hint(hint),
            None => error,
        }
    })
}

/// The columns of `SHOW CREATE`.
pub(super) fn create_schema() -> SchemaRef {
    schema(&["name", "statement"])
}

/// The statement that made a relation.
pub(super) fn create(catalog: &CatalogState, name: &Name) -> Result<RowStream, SqlError> {
    let relation = find(catalog, name)?;
    rows(
        create_schema(),
        &[vec![relation.name.clone(), relation.sql.clone()]],
    )
}

/// The columns of `DESCRIBE`.
pub(super) fn describe_schema() -> SchemaRef {
    schema(&["column", "type", "nullable", "key", "description"])
}

/// The columns of a relation, hidden ones too.
pub(super) fn describe(catalog: &CatalogState, name: &Name) -> Result<RowStream, SqlError> {
    let relation = find(catalog, name)?;
    let key = relation.key_columns();
    let visible = relation.visible_columns().len();
    let watermark = match &relation.body {
        Body::Source(source) => source.watermark.as_ref().map(|w| (w.column, w.delay_ms)),
        _ => None,
    };
    let lines: Vec<Vec<String>> = relation
        .columns()
        .iter()
        .enumerate()
        .map(|(index, column)| {
            let note = match watermark {
                Some((time, delay)) if time == index => {
                    format!(
                        "event time, watermark - {}",
                        crate::planner::duration(delay)
                    )
                }
                _ if index >= visible => "hidden".to_owned(),
                _ => String::new(),
            };
            vec![
                column.name.clone(),
                sql_type_name(&column.data_type),
                if column.nullable { "yes" } else { "no" }.to_owned(),
                if key.contains(&column.name.as_str()) {
                    "yes"
                } else {
                    ""
                }
                .to_owned(),
                note,
            ]
        })
        .collect();
    rows(describe_schema(), &lines)
}

/// The column of `EXPLAIN`.
pub(super) fn explain_schema() -> SchemaRef {
    schema(&["plan"])
}

/// A plan, one row a line.
pub(super) fn explained(text: &str) -> Result<RowStream, SqlError> {
    let lines: Vec<Vec<String>> = text.lines().map(|line| vec![line.to_owned()]).collect();
    rows(explain_schema(), &lines)
}

/// The column of `SHOW variable`.
pub(super) fn variable_schema(name: &str) -> SchemaRef {
    schema(&[&name.replace(' ', "_")])
}

/// The server's version, as Postgres clients read it.
pub(crate) const SERVER_VERSION: &str = concat!("15.0 (thalweg ", env!("CARGO_PKG_VERSION"), ")");

const VARIABLES: [(&str, &str); 12] = [
    ("server_version", SERVER_VERSION),
    ("server_encoding", "UTF8"),
    ("client_encoding", "UTF8"),
    ("datestyle", "ISO, MDY"),
    ("intervalstyle", "postgres"),
    ("timezone", "UTC"),
    ("time zone", "UTC"),
    ("standard_conforming_strings", "on"),
    ("integer_datetimes", "on"),
    ("search_path", "public"),
    ("transaction_isolation", "read committed"),
    ("transaction isolation level", "read committed"),
];

/// A variable that drivers ask for.
pub(super) fn variable(name: &str) -> Result<RowStream, SqlError> {
    let value = VARIABLES.iter().find(|(known, _)| *known == name);
    match value {
        Some((_, value)) => rows(variable_schema(name), &[vec![(*value).to_owned()]]),
        None => {
            const LISTS: [&str; 7] = [
                "sources",
                "materialized views",
                "views",
                "sinks",
                "tables",
                "jobs",
                "topics",
            ];
            let error = SqlError::new(
                SqlState::SyntaxError,
                format!("there is nothing to show as `{name}`"),
            );
            Err(match suggest(name, "SHOW knows", LISTS) {
                Some(hint) => error.hint(hint),
                None => error,
            })
        }
    }
}

/// A type as SQL writes it.
pub fn sql_type_name(data_type: &DataType) -> String {
    match data_type {
        DataType::Boolean => "boolean".into(),
        DataType::Int8 => "tinyint".into(),
        DataType::Int16 | DataType::UInt8 => "smallint".into(),
        DataType::Int32 | DataType::UInt16 => "integer".into(),
        DataType::Int64 | DataType::UInt32 => "bigint".into(),
        DataType::UInt64 => "numeric(20,0)".into(),
        DataType::Float32 => "real".into(),
        DataType::Float64 => "double precision".into(),
        DataType::Decimal128(precision, scale) => format!("numeric({precision},{scale})"),
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => "varchar".into(),
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => "bytea".into(),
        DataType::Date32 => "date".into(),
        DataType::Time64(_) | DataType::Time32(_) => "time".into(),
        DataType::Timestamp(_, None) => "timestamp".into(),
        DataType::Timestamp(_, Some(_)) => "timestamptz".into(),
        DataType::Interval(_) | DataType::Duration(_) => "interval".into(),
        DataType::List(item) => format!("{}[]", sql_type_name(item.data_type())),
        other => other.to_string(),
    }
}

/// The word for a kind that is wanted but not given.
pub(super) fn wrong_kind(relation: &Relation, wanted: RelationKind) -> SqlError {
    let is = relation.kind();
    SqlError::new(
        SqlState::WrongObjectType,
        format!(
            "`{}` is a {}, not a {}",
            relation.name,
            is.words(),
            wanted.words()
        ),
    )
    .hint(format!(
        "write DROP {} {}",
        is.words().to_uppercase(),
        relation.name
    ))
}
