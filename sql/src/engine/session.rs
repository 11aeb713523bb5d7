//! A client's session: statements in, results out.

use super::{Inner, ddl, insert, parameters, pull, push, show};
use crate::error::{SqlError, SqlState};
use crate::parse::{Parsed, Select, Statement, parse};
use crate::planner::{Planner, Purpose, explain, planning_error, running_error};
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::common::ParamValues;
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::{displayable, execute_stream};
use futures::StreamExt;
use futures::stream::BoxStream;
use std::sync::Arc;

/// Rows on their way.
pub struct RowStream {
    /// Their columns.
    pub schema: SchemaRef,
    /// They.
    pub batches: BoxStream<'static, Result<RecordBatch, SqlError>>,
    /// Whether they go on until the client goes: a push query. Its first column, `op`,
    /// is what happened to the row.
    pub endless: bool,
}

impl std::fmt::Debug for RowStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RowStream")
            .field("schema", &self.schema)
            .field("endless", &self.endless)
            .finish_non_exhaustive()
    }
}

impl RowStream {
    /// Rows that are there already.
    pub fn of(batch: RecordBatch) -> Self {
        Self {
            schema: batch.schema(),
            batches: futures::stream::iter([Ok(batch)]).boxed(),
            endless: false,
        }
    }

    /// All rows; of an endless stream it never returns.
    pub async fn collect(mut self) -> Result<Vec<RecordBatch>, SqlError> {
        let mut batches = Vec::new();
        while let Some(batch) = self.batches.next().await {
            batches.push(batch?);
        }
        Ok(batches)
    }
}

/// A statement without rows that was done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// What was done, as Postgres tags it: `CREATE SOURCE`, `INSERT 0 3`.
    pub tag: String,
    /// What the client should know.
    pub notices: Vec<String>,
}

impl Command {
    /// Done, and nothing to add.
    pub fn new(tag: impl Into<String>) -> Self {
        Self {
            tag: tag.into(),
            notices: Vec::new(),
        }
    }
}

/// What became of a statement.
#[derive(Debug)]
pub enum StatementResult {
    /// It gives rows.
    Rows(RowStream),
    /// It was done.
    Done(Command),
}

/// A client's session.
///
/// ```no_run
/// # async fn example(engine: thalweg_sql::Engine) -> Result<(), thalweg_sql::SqlError> {
/// let session = engine.session();
/// session.execute("CREATE MATERIALIZED VIEW clicks AS SELECT item, count(*) AS n FROM ads GROUP BY item").await?;
/// for batch in session.query("SELECT * FROM clicks ORDER BY n DESC LIMIT 10").await? {
///     println!("{batch:?}");
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Session {
    inner: Arc<Inner>,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").finish_non_exhaustive()
    }
}

impl Session {
    pub(super) fn new(inner: Arc<Inner>) -> Self {
        Self { inner }
    }

    /// Runs a script of statements, one after the other, and gives back a result for
    /// each. It stops at the first error.
    pub async fn execute(&self, script: &str) -> Result<Vec<StatementResult>, SqlError> {
        let mut results = Vec::new();
        for parsed in parse(script)? {
            results.push(self.run(&parsed).await?);
        }
        Ok(results)
    }

    /// Runs one query and gives back all its rows.
    pub async fn query(&self, sql: &str) -> Result<Vec<RecordBatch>, SqlError> {
        match self.execute(sql).await?.pop() {
            Some(StatementResult::Rows(rows)) => rows.collect().await,
            _ => Ok(Vec::new()),
        }
    }

    /// Runs one parsed statement.
    pub async fn run(&self, parsed: &Parsed) -> Result<StatementResult, SqlError> {
        self.run_with(parsed, None).await
    }

    /// Runs one parsed statement with values for its parameters `$1`, `$2`, ….
    pub async fn run_with(
        &self,
        parsed: &Parsed,
        parameters: Option<ParamValues>,
    ) -> Result<StatementResult, SqlError> {
        let inner = &self.inner;
        let done = |command| Ok(StatementResult::Done(command));
        match &parsed.statement {
            Statement::Query(select) if select.emit_changes => Ok(StatementResult::Rows(
                push::push(inner, select, parsed).await?,
            )),
            Statement::Query(select) => Ok(StatementResult::Rows(
                self.pull(select, parsed, parameters).await?,
            )),
            Statement::CreateSource(create) => {
                done(ddl::create_source(inner, create, parsed).await?)
            }
            Statement::CreateView(create) => done(ddl::create_view(inner, create, parsed).await?),
            Statement::CreateSink(create) => done(ddl::create_sink(inner, create, parsed).await?),
            Statement::Drop(drop) => done(ddl::drop(inner, drop).await?),
            Statement::Insert(statement) => {
                done(insert::insert(inner, statement, parsed, parameters).await?)
            }
            Statement::Flush => {
                inner.jobs.flush(&inner.catalog()).await?;
                done(Command::new("FLUSH"))
            }
            Statement::Show(kind) => Ok(StatementResult::Rows(show::list(inner, *kind).await?)),
            Statement::ShowCreate(name) => {
                Ok(StatementResult::Rows(show::create(&inner.catalog(), name)?))
            }
            Statement::Describe(name) => Ok(StatementResult::Rows(show::describe(
                &inner.catalog(),
                name,
            )?)),
            Statement::Explain(statement) => Ok(StatementResult::Rows(
                self.explain(statement, parsed).await?,
            )),
            Statement::ShowVariable(name) => Ok(StatementResult::Rows(show::variable(name)?)),
            Statement::Accepted(tag) => done(Command::new(*tag)),
        }
    }

    /// The columns that a statement will give; `None` if it gives no rows.
    pub async fn columns(&self, parsed: &Parsed) -> Result<Option<SchemaRef>, SqlError> {
        Ok(match &parsed.statement {
            Statement::Query(select) if select.emit_changes => {
                let plan = self.planner().push(&select.query, parsed).await?;
                Some(push::push_schema(&plan))
            }
            Statement::Query(select) => {
                let (_, plan) = self
                    .planner()
                    .logical(&select.query, parsed, Purpose::Batch)
                    .await?;
                Some(Arc::new(plan.schema().as_arrow().clone()))
            }
            Statement::Show(kind) => Some(show::list_schema(*kind)),
            Statement::ShowCreate(_) => Some(show::create_schema()),
            Statement::Describe(_) => Some(show::describe_schema()),
            Statement::Explain(_) => Some(show::explain_schema()),
            Statement::ShowVariable(name) => Some(show::variable_schema(name)),
            _ => None,
        })
    }

    /// The types of a statement's parameters, as far as they are known, by number.
    pub async fn parameters(
        &self,
        parsed: &Parsed,
    ) -> Result<Vec<Option<arrow::datatypes::DataType>>, SqlError> {
        let query = match &parsed.statement {
            Statement::Query(select) => &select.query,
            Statement::Insert(insert) => &insert.query,
            _ => return Ok(Vec::new()),
        };
        let (_, plan) = self
            .planner()
            .logical(query, parsed, Purpose::Batch)
            .await?;
        let mut numbered =
            parameters::types(&plan).map_err(|error| planning_error(error, parsed))?;
        if let Statement::Insert(statement) = &parsed.statement {
            for (number, data_type) in insert::parameter_types(&self.inner, statement) {
                if let Some(slot) = numbered.get_mut(number - 1) {
                    *slot = Some(data_type);
                }
            }
        }
        Ok(numbered)
    }

    /// The names of all relations, for completion.
    pub fn relation_names(&self) -> Vec<String> {
        self.inner
            .catalog()
            .relations()
            .map(|relation| relation.name.clone())
            .collect()
    }

    fn planner(&self) -> Planner {
        planner(&self.inner)
    }

    async fn pull(
        &self,
        select: &Select,
        parsed: &Parsed,
        parameters: Option<ParamValues>,
    ) -> Result<RowStream, SqlError> {
        let (state, plan) = self
            .planner()
            .logical(&select.query, parsed, Purpose::Batch)
            .await?;
        let plan = bind(plan, parameters, parsed)?;
        let schema: SchemaRef = Arc::new(plan.schema().as_arrow().clone());
        let optimized = state
            .optimize(&plan)
            .map_err(|error| planning_error(error, parsed))?;
        let physical = state
            .query_planner()
            .create_physical_plan(&optimized, &state)
            .await
            .map_err(|error| planning_error(error, parsed))?;
        let rows =
            execute_stream(physical, state.task_ctx()).map_err(|error| running_error(&error))?;
        Ok(RowStream {
            schema,
            batches: rows
                .map(|batch| batch.map_err(|error| running_error(&error)))
                .boxed(),
            endless: false,
        })
    }

    async fn explain(&self, statement: &Statement, parsed: &Parsed) -> Result<RowStream, SqlError> {
        let planner = self.planner();
        let text = match statement {
            Statement::Query(select) if select.emit_changes => {
                explain(&planner.push(&select.query, parsed).await?)
            }
            Statement::Query(select) => {
                let (state, plan) = planner
                    .logical(&select.query, parsed, Purpose::Batch)
                    .await?;
                let optimized = state
                    .optimize(&plan)
                    .map_err(|error| planning_error(error, parsed))?;
                let physical = state
                    .query_planner()
                    .create_physical_plan(&optimized, &state)
                    .await
                    .map_err(|error| planning_error(error, parsed))?;
                displayable(physical.as_ref()).indent(false).to_string()
            }
            Statement::CreateView(create) => explain(
                &planner
                    .view(
                        &create.name.text,
                        &create.name.text,
                        &create.columns,
                        &create.query,
                        parsed,
                    )
                    .await?,
            ),
            Statement::CreateSink(create) => {
                explain(&ddl::plan_sink(&self.inner, create, parsed).await?.1)
            }
            _ => {
                return Err(
                    SqlError::new(SqlState::SyntaxError, "this statement has no plan")
                        .at(parsed.start())
                        .hint("EXPLAIN takes SELECT, CREATE MATERIALIZED VIEW and CREATE SINK"),
                );
            }
        };
        show::explained(&text)
    }
}

/// A planner over the catalog as it is now, that can read.
pub(super) fn planner(inner: &Arc<Inner>) -> Planner {
    let catalog = inner.catalog();
    Planner::new(catalog.relations().cloned())
        .with_reader(Arc::new(pull::Reader::new(Arc::clone(inner))))
}

/// Puts values into the parameters of a plan.
pub(super) fn bind(
    plan: LogicalPlan,
    parameters: Option<ParamValues>,
    parsed: &Parsed,
) -> Result<LogicalPlan, SqlError> {
    match parameters {
        None => Ok(plan),
        Some(values) => plan
            .with_param_values(values)
            .map_err(|error| planning_error(error, parsed)),
    }
}
