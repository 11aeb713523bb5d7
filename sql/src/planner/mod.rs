//! From statements to plans: DataFusion plans and optimizes over the catalog's
//! relations, and [`stream`] turns the result into the plan that is stored.

mod errors;
mod explain;
pub(crate) mod session;
pub(crate) mod source;
mod stream;

pub(crate) use explain::duration;
pub use explain::explain;
pub use session::{DATABASE, Purpose, RelationReader, RelationTable, SCHEMA};
pub use stream::{OFFSET_COLUMN, PARTITION_COLUMN};

pub(crate) use errors::{planning_error, running_error};

use crate::catalog::Relation;
use crate::error::{SqlError, SqlState, suggest};
use crate::functions::is_volatile;
use crate::parse::{Name, Parsed};
use crate::plan::{
    ChangelogMode, MaterializeOp, OperatorKind, RowFormat, SinkOp, SinkStyle, StoreDesc,
    StoreTopic, StreamPlan,
};
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::{Expr, LogicalPlan};
use datafusion::sql::parser::Statement as DfStatement;
use datafusion::sql::sqlparser::ast;
use std::sync::Arc;

/// Plans statements over one state of the catalog.
#[derive(Debug, Clone, Default)]
pub struct Planner {
    relations: Vec<Arc<Relation>>,
    reader: Option<Arc<dyn RelationReader>>,
}

/// How a sink writes: what `WITH` and `FORMAT` say.
#[derive(Debug, Clone)]
pub struct SinkTarget {
    /// The topic it writes.
    pub topic: String,
    /// How rows become bytes.
    pub format: RowFormat,
    /// How changes are written.
    pub style: SinkStyle,
    /// The columns of the record's key; the stream key when empty and the style upserts.
    pub key: Vec<Name>,
}

impl Planner {
    /// A planner over `relations`.
    pub fn new(relations: impl IntoIterator<Item = Arc<Relation>>) -> Self {
        Self {
            relations: relations.into_iter().collect(),
            reader: None,
        }
    }

    /// The same planner, with a way to read relations.
    #[must_use]
    pub fn with_reader(mut self, reader: Arc<dyn RelationReader>) -> Self {
        self.reader = Some(reader);
        self
    }

    /// The logical plan of a query, with its session; not optimized yet.
    pub async fn logical(
        &self,
        query: &ast::Query,
        parsed: &Parsed,
        purpose: Purpose,
    ) -> Result<(SessionState, LogicalPlan), SqlError> {
        let state = session::session(self.relations.iter().cloned(), self.reader.clone(), purpose)
            .map_err(SqlError::internal)?;
        let statement =
            DfStatement::Statement(Box::new(ast::Statement::Query(Box::new(query.clone()))));
        for reference in state
            .resolve_table_references(&statement)
            .map_err(|error| planning_error(error, parsed))?
        {
            let name = reference.table();
            let known = self.relations.iter().any(|r| r.name == name);
            let ours = reference.schema().is_none_or(|schema| schema == SCHEMA);
            let function = state.table_functions().contains_key(name);
            if ours && !known && !function {
                return Err(self.unknown_table(name, parsed));
            }
        }
        let plan = state
            .statement_to_plan(statement)
            .await
            .map_err(|error| planning_error(error, parsed))?;
        Ok((state, plan))
    }

    fn unknown_table(&self, name: &str, parsed: &Parsed) -> SqlError {
        let error = SqlError::new(
            SqlState::UndefinedTable,
            format!("there is no source or view `{name}`"),
        )
        .at(parsed.find(name));
        let names = self.relations.iter().map(|r| r.name.as_str());
        match suggest(name, "there are", names) {
            Some(hint) => error.hint(hint),
            None => error.hint("create one with CREATE SOURCE"),
        }
    }

    async fn streaming(
        &self,
        query: &ast::Query,
        parsed: &Parsed,
    ) -> Result<stream::Draft, SqlError> {
        let (state, plan) = self.logical(query, parsed, Purpose::Streaming).await?;
        refuse_volatile(&plan, parsed)?;
        let optimized = state
            .optimize(&plan)
            .map_err(|error| planning_error(error, parsed))?;
        stream::stream(&optimized, parsed)
    }

    /// The plan of a materialized view that keeps its rows in `topic`.
    pub async fn view(
        &self,
        name: &str,
        topic: &str,
        columns: &[Name],
        query: &ast::Query,
        parsed: &Parsed,
    ) -> Result<StreamPlan, SqlError> {
        let mut body = self.streaming(query, parsed).await?;
        if !columns.is_empty() {
            let given: Vec<String> = columns.iter().map(|c| c.text.clone()).collect();
            if given.len() != body.visible_columns().len() {
                return Err(SqlError::new(
                    SqlState::InvalidTableDefinition,
                    format!(
                        "{} columns are named, and the query has {}",
                        given.len(),
                        body.visible_columns().len()
                    ),
                )
                .at(columns.first().map(|c| c.place)));
            }
            body.rename(&given);
        }
        unique_names(&body, parsed)?;
        let key = body.stream_key().to_vec();
        let key_names = body.key_names();
        let unbounded = match body.mode() {
            ChangelogMode::AppendOnly => "keeps every row",
            ChangelogMode::Retract => "keeps a row for every key",
        };
        let store = body.add_store(|id| StoreDesc {
            id,
            name: "view".into(),
            scanned: true,
            topic: Some(StoreTopic {
                name: topic.to_owned(),
                written: true,
            }),
            key: key_names,
            unbounded: Some(unbounded.into()),
        });
        Ok(body.finish(OperatorKind::Materialize(MaterializeOp {
            view: name.to_owned(),
            key,
            store,
        })))
    }

    /// The plan of a sink.
    pub async fn sink(
        &self,
        name: &Name,
        target: &SinkTarget,
        query: &ast::Query,
        parsed: &Parsed,
    ) -> Result<StreamPlan, SqlError> {
        let body = self.streaming(query, parsed).await?;
        unique_names(&body, parsed)?;
        if target.style == SinkStyle::Plain && body.mode() == ChangelogMode::Retract {
            return Err(SqlError::unsupported(format!(
                "the rows of `{}` change, which FORMAT PLAIN cannot write",
                name.text
            ))
            .at(Some(name.place))
            .hint(
                "write FORMAT UPSERT: the newest row under its key, and null for a deleted one",
            ));
        }
        let visible: Vec<usize> = (0..body.visible_columns().len()).collect();
        let mut key = Vec::new();
        for column in &target.key {
            let position = body
                .visible_columns()
                .iter()
                .position(|c| c.name == column.text)
                .ok_or_else(|| no_such_column(column, body.visible_columns()))?;
            key.push(position);
        }
        if target.style == SinkStyle::Upsert {
            if key.is_empty() {
                if body.has_hidden_key() {
                    return Err(SqlError::new(
                        SqlState::InvalidTableDefinition,
                        "FORMAT UPSERT needs a key, and the query does not select one",
                    )
                    .at(Some(name.place))
                    .hint("select the columns that identify a row, or add WITH (primary_key = 'a, b')"));
                }
                key = body.stream_key().to_vec();
            }
            if key.is_empty() {
                return Err(SqlError::new(
                    SqlState::InvalidTableDefinition,
                    "FORMAT UPSERT needs a key, and the query has only one row without one",
                )
                .at(Some(name.place))
                .hint("select a constant column and name it in WITH (primary_key = 'a')"));
            }
        }
        Ok(body.finish(OperatorKind::Sink(SinkOp {
            sink: name.text.clone(),
            topic: target.topic.clone(),
            format: target.format.clone(),
            style: target.style,
            key,
            value: visible,
            timestamp: None,
        })))
    }

    /// The plan of a push query.
    pub async fn push(&self, query: &ast::Query, parsed: &Parsed) -> Result<StreamPlan, SqlError> {
        Ok(self
            .streaming(query, parsed)
            .await?
            .finish(OperatorKind::Push))
    }
}

/// The error that a list of columns lacks a name.
pub(crate) fn no_such_column(name: &Name, columns: &[crate::plan::ColumnSpec]) -> SqlError {
    let error = SqlError::new(
        SqlState::UndefinedColumn,
        format!("there is no column `{}`", name.text),
    )
    .at(Some(name.place));
    let names = columns.iter().map(|c| c.name.as_str());
    match suggest(&name.text, "the columns are", names) {
        Some(hint) => error.hint(hint),
        None => error,
    }
}

fn unique_names(body: &stream::Draft, parsed: &Parsed) -> Result<(), SqlError> {
    let columns = body.visible_columns();
    for (index, column) in columns.iter().enumerate() {
        let earlier = columns.get(..index).unwrap_or_default();
        if earlier.iter().any(|c| c.name == column.name) {
            return Err(SqlError::new(
                SqlState::DuplicateColumn,
                format!("two columns of the query are named `{}`", column.name),
            )
            .at(parsed.find(&column.name))
            .hint("give one of them another name with AS"));
        }
    }
    Ok(())
}

/// The optimizer would put the time of planning in the place of `now()`.
fn refuse_volatile(plan: &LogicalPlan, parsed: &Parsed) -> Result<(), SqlError> {
    let mut found: Option<String> = None;
    let walked = plan.apply_with_subqueries(|node| {
        node.apply_expressions(|expr| {
            expr.apply(|expr| {
                if let Expr::ScalarFunction(call) = expr
                    && is_volatile(&call.func)
                {
                    found = Some(call.name().to_owned());
                    return Ok(TreeNodeRecursion::Stop);
                }
                Ok(TreeNodeRecursion::Continue)
            })
        })
    });
    walked.map_err(|error| planning_error(error, parsed))?;
    match found {
        None => Ok(()),
        Some(name) => Err(SqlError::unsupported(format!(
            "a streaming query cannot use `{name}()`, which gives another result at each call"
        ))
        .at(parsed.find(&name))
        .hint("use the time column of the source, or call it in the query that reads the view")),
    }
}

#[cfg(test)]
mod tests;
