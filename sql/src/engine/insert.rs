//! `INSERT INTO` a source over a topic: rows are encoded as the source reads them and
//! produced. It returns when the log has them.

use super::session::{Command, bind, planner};
use super::{Inner, formats, show};
use crate::catalog::{Body, SourceDef, log_error};
use crate::error::{SqlError, SqlState};
use crate::parse::{Insert, Parsed};
use crate::plan::ColumnSpec;
use crate::planner::{Purpose, no_such_column, planning_error, running_error};
use arrow::array::{Array, ArrayRef, RecordBatch, new_null_array};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::DataType;
use arrow::util::display::FormatOptions;
use datafusion::common::ParamValues;
use datafusion::physical_plan::execute_stream;
use datafusion::sql::sqlparser::ast;
use futures::StreamExt;
use std::sync::Arc;
use std::time::Duration;
use thalweg_log::client::{Producer, ProducerConfig, ProducerRecord};

/// Runs the query and writes its rows.
pub(super) async fn insert(
    inner: &Arc<Inner>,
    insert: &Insert,
    parsed: &Parsed,
    parameters: Option<ParamValues>,
) -> Result<Command, SqlError> {
    let catalog = inner.catalog();
    let relation = show::find(&catalog, &insert.target)?;
    let Body::Source(source) = &relation.body else {
        return Err(SqlError::new(
            SqlState::WrongObjectType,
            format!(
                "`{}` is a {}, which nobody can insert into",
                relation.name,
                relation.kind().words()
            ),
        )
        .at(Some(insert.target.place))
        .hint("insert into the sources that it reads"));
    };
    if source.connector != "kafka" {
        return Err(SqlError::new(
            SqlState::WrongObjectType,
            format!(
                "the source `{}` is filled by its connector `{}`",
                relation.name, source.connector
            ),
        )
        .at(Some(insert.target.place))
        .hint("insert into a source with connector = 'kafka'"));
    }
    let targets = targets(insert, source)?;

    let (state, plan) = planner(inner)
        .logical(&insert.query, parsed, Purpose::Batch)
        .await?;
    let plan = bind(plan, parameters, parsed)?;
    if plan.schema().fields().len() != targets.len() {
        return Err(SqlError::new(
            SqlState::SyntaxError,
            format!(
                "{} values are given for {} columns",
                plan.schema().fields().len(),
                targets.len()
            ),
        )
        .at(Some(insert.target.place))
        .hint("name the columns: INSERT INTO s (a, b) VALUES (1, 2)"));
    }
    let optimized = state
        .optimize(&plan)
        .map_err(|error| planning_error(error, parsed))?;
    let physical = state
        .query_planner()
        .create_physical_plan(&optimized, &state)
        .await
        .map_err(|error| planning_error(error, parsed))?;
    let mut rows =
        execute_stream(physical, state.task_ctx()).map_err(|error| running_error(&error))?;

    let producer = inner
        .client
        .producer(ProducerConfig {
            linger_ms: Duration::ZERO,
            ..ProducerConfig::default()
        })
        .map_err(|error| log_error("write the topic", &error))?;
    let mut count = 0;
    while let Some(batch) = rows.next().await {
        let batch = batch.map_err(|error| running_error(&error))?;
        let batch = shape(&batch, &targets, source, insert)?;
        count += batch.num_rows();
        write(&producer, source, &batch).await?;
    }
    let written = producer.flush().await;
    // Everything has been flushed, or has failed and is told below.
    let _ = producer.close().await;
    written.map_err(|error| log_error(&format!("write the topic `{}`", source.topic), &error))?;
    Ok(Command::new(format!("INSERT 0 {count}")))
}

/// The source's columns that values are given for, in the order of the values.
fn targets(insert: &Insert, source: &SourceDef) -> Result<Vec<usize>, SqlError> {
    if insert.columns.is_empty() {
        return Ok((0..source.columns.len()).collect());
    }
    let mut targets = Vec::new();
    for name in &insert.columns {
        let column = source
            .columns
            .iter()
            .position(|column| column.name == name.text)
            .ok_or_else(|| no_such_column(name, &source.columns))?;
        if targets.contains(&column) {
            return Err(SqlError::new(
                SqlState::DuplicateColumn,
                format!("the column `{}` is given twice", name.text),
            )
            .at(Some(name.place)));
        }
        targets.push(column);
    }
    Ok(targets)
}

/// The parameters that stand alone in `VALUES`, by number: each has the type of the
/// column that it is for.
pub(super) fn parameter_types(inner: &Inner, insert: &Insert) -> Vec<(usize, DataType)> {
    let catalog = inner.catalog();
    let Some(Body::Source(source)) = catalog.get(&insert.target.text).map(|r| &r.body) else {
        return Vec::new();
    };
    let (Ok(targets), ast::SetExpr::Values(values)) =
        (targets(insert, source), &*insert.query.body)
    else {
        return Vec::new();
    };
    let mut types = Vec::new();
    for (value, target) in values.rows.iter().flat_map(|row| row.iter().zip(&targets)) {
        if let ast::Expr::Value(value) = value
            && let ast::Value::Placeholder(name) = &value.value
            && let Some(number) = super::parameters::number(name)
            && let Some(column) = source.columns.get(*target)
        {
            types.push((number, column.data_type.clone()));
        }
    }
    types
}

/// Rows of the source: values cast to its types, null where none is given.
fn shape(
    batch: &RecordBatch,
    targets: &[usize],
    source: &SourceDef,
    insert: &Insert,
) -> Result<RecordBatch, SqlError> {
    let options = CastOptions {
        safe: false,
        format_options: FormatOptions::default(),
    };
    let mut columns: Vec<ArrayRef> = Vec::with_capacity(source.columns.len());
    for (index, column) in source.columns.iter().enumerate() {
        let given = targets
            .iter()
            .position(|target| *target == index)
            .and_then(|position| batch.columns().get(position));
        let values = match given {
            Some(values) => {
                cast_with_options(values, &column.data_type, &options).map_err(|error| {
                    SqlError::new(
                        SqlState::DataException,
                        format!(
                            "a value for the column `{}` is no {}: {error}",
                            column.name,
                            super::sql_type_name(&column.data_type)
                        ),
                    )
                    .at(Some(insert.target.place))
                })?
            }
            None => new_null_array(&column.data_type, batch.num_rows()),
        };
        if !column.nullable && values.null_count() > 0 {
            return Err(SqlError::new(
                SqlState::DataException,
                format!("the column `{}` must not be null", column.name),
            )
            .at(Some(insert.target.place)));
        }
        columns.push(values);
    }
    RecordBatch::try_new(super::ddl::source_schema(source), columns).map_err(SqlError::internal)
}

async fn write(
    producer: &Producer,
    source: &SourceDef,
    batch: &RecordBatch,
) -> Result<(), SqlError> {
    let bad = |error: thalweg_schema::EncodeError| {
        SqlError::new(SqlState::DataException, error.to_string())
    };
    let values = formats::encoder(&source.format, &source.columns)?
        .encode(batch)
        .map_err(bad)?;
    let keys = if source.is_upsert() {
        let columns: Vec<ColumnSpec> = source
            .primary_key
            .iter()
            .filter_map(|index| source.columns.get(*index).cloned())
            .collect();
        let key = batch
            .project(&source.primary_key)
            .map_err(SqlError::internal)?;
        Some(
            formats::encoder(&source.format, &columns)?
                .encode(&key)
                .map_err(bad)?,
        )
    } else {
        None
    };
    let failed = |error: thalweg_log::client::ClientError| {
        log_error(&format!("write the topic `{}`", source.topic), &error)
    };
    let topic = producer.topic(&source.topic).await.map_err(failed)?;
    for (row, value) in values.into_iter().enumerate() {
        let mut record = ProducerRecord::new(source.topic.as_str()).value(value.clone());
        if let Some(key) = keys.as_ref().and_then(|keys| keys.get(row)) {
            record = record.key(key.clone());
        }
        producer.room(value.len() + 1024).await.map_err(failed)?;
        producer.enqueue(&topic, record.as_ref()).map_err(failed)?;
    }
    Ok(())
}
