//! The DataFusion session that plans a statement: our types, our functions, and the
//! relations of one state of the catalog as its tables.

use crate::catalog::Relation;
use crate::functions::window_functions;
use crate::operators::nullable_schema;
use arrow::datatypes::{DataType, SchemaRef, TimeUnit};
use async_trait::async_trait;
use datafusion::catalog::{
    CatalogProvider, MemoryCatalogProvider, MemorySchemaProvider, SchemaProvider, Session,
    TableProvider,
};
use datafusion::common::Result;
use datafusion::config::ConfigOptions;
use datafusion::execution::session_state::{SessionState, SessionStateBuilder};
use datafusion::logical_expr::planner::TypePlanner;
use datafusion::logical_expr::{Expr, TableType};
use datafusion::optimizer::{Optimizer, OptimizerRule};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::prelude::SessionConfig;
use datafusion::sql::sqlparser::ast;
use std::sync::Arc;

/// The name of the one catalog, which clients see as the database.
pub const DATABASE: &str = "thalweg";
/// The name of the one schema.
pub const SCHEMA: &str = "public";

/// Reads a relation for a pull query. The engine implements it; without one, queries can
/// be planned and not run.
#[async_trait]
pub trait RelationReader: Send + Sync + std::fmt::Debug {
    /// A plan that reads the visible columns of `projection`.
    async fn scan(
        &self,
        relation: &Arc<Relation>,
        projection: Option<&Vec<usize>>,
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>>;
}

/// A relation of the catalog as a table of DataFusion.
#[derive(Debug)]
pub struct RelationTable {
    /// The relation.
    pub relation: Arc<Relation>,
    schema: SchemaRef,
    reader: Option<Arc<dyn RelationReader>>,
}

impl RelationTable {
    /// A table over a relation.
    pub fn new(relation: Arc<Relation>, reader: Option<Arc<dyn RelationReader>>) -> Self {
        Self {
            // What a topic or a store gives may hold nulls whatever was derived of it, and
            // DataFusion wants plan and batches to agree.
            schema: nullable_schema(relation.visible_columns()),
            relation,
            reader,
        }
    }
}

#[async_trait]
impl TableProvider for RelationTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        _state: &dyn Session,
        projection: Option<&Vec<usize>>,
        _filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        match &self.reader {
            Some(reader) => reader.scan(&self.relation, projection, limit).await,
            None => datafusion::common::exec_err!(
                "the relation `{}` can only be planned here",
                self.relation.name
            ),
        }
    }
}

/// SQL types as Postgres means them: times count microseconds, text is plain UTF-8.
#[derive(Debug)]
struct Types;

impl TypePlanner for Types {
    fn plan_type(&self, sql_type: &ast::DataType) -> Result<Option<DataType>> {
        Ok(sql_type_of(sql_type))
    }
}

/// The Arrow type of the SQL types that we read in our own way; `None` leaves a type to
/// DataFusion.
pub(crate) fn sql_type_of(sql_type: &ast::DataType) -> Option<DataType> {
    let unit = |precision: &Option<u64>| match precision {
        Some(0) => TimeUnit::Second,
        Some(1..=3) => TimeUnit::Millisecond,
        Some(7..) => TimeUnit::Nanosecond,
        _ => TimeUnit::Microsecond,
    };
    Some(match sql_type {
        ast::DataType::Timestamp(
            precision,
            ast::TimezoneInfo::None | ast::TimezoneInfo::WithoutTimeZone,
        ) => DataType::Timestamp(unit(precision), None),
        ast::DataType::Timestamp(precision, _) => {
            DataType::Timestamp(unit(precision), Some("+00:00".into()))
        }
        ast::DataType::Datetime(precision) => DataType::Timestamp(unit(precision), None),
        ast::DataType::Custom(name, arguments) if arguments.is_empty() => {
            match name.to_string().to_lowercase().as_str() {
                "timestamptz" => DataType::Timestamp(TimeUnit::Microsecond, Some("+00:00".into())),
                "string" => DataType::Utf8,
                _ => return None,
            }
        }
        ast::DataType::Varchar(_)
        | ast::DataType::CharVarying(_)
        | ast::DataType::CharacterVarying(_)
        | ast::DataType::Text
        | ast::DataType::String(_)
        | ast::DataType::Char(_)
        | ast::DataType::Character(_)
        | ast::DataType::Uuid
        | ast::DataType::JSON
        | ast::DataType::JSONB => DataType::Utf8,
        ast::DataType::Numeric(ast::ExactNumberInfo::None)
        | ast::DataType::Decimal(ast::ExactNumberInfo::None) => DataType::Decimal128(38, 10),
        _ => return None,
    })
}

/// The rules under which a streaming plan keeps its shape: none of them adds an operator
/// that streams lack, or reads the clock.
const STREAMING_RULES: [&str; 10] = [
    "simplify_expressions",
    "replace_distinct_aggregate",
    "eliminate_duplicated_expr",
    "eliminate_filter",
    "propagate_empty_relation",
    "push_down_filter",
    "eliminate_group_by_constant",
    "common_sub_expression_eliminate",
    "optimize_projections",
    "eliminate_cross_join",
];

/// For which kind of query a session plans.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// A query that ends: all of DataFusion.
    Batch,
    /// A query that goes on.
    Streaming,
}

/// A session that knows `relations`.
pub(crate) fn session(
    relations: impl IntoIterator<Item = Arc<Relation>>,
    reader: Option<Arc<dyn RelationReader>>,
    purpose: Purpose,
) -> Result<SessionState> {
    let schema = Arc::new(MemorySchemaProvider::new());
    for relation in relations {
        let table = RelationTable::new(Arc::clone(&relation), reader.clone());
        schema.register_table(relation.name.clone(), Arc::new(table))?;
    }
    let catalog = Arc::new(MemoryCatalogProvider::new());
    catalog.register_schema(SCHEMA, schema)?;

    let mut options = ConfigOptions::new();
    options.catalog.create_default_catalog_and_schema = false;
    options.catalog.default_catalog = DATABASE.into();
    options.catalog.default_schema = SCHEMA.into();
    options.catalog.information_schema = purpose == Purpose::Batch;
    options.sql_parser.collect_spans = true;
    options.sql_parser.map_string_types_to_utf8view = false;
    options.execution.target_partitions = std::thread::available_parallelism()
        .map_or(2, std::num::NonZero::get)
        .min(8);
    let mut builder = SessionStateBuilder::new()
        .with_config(SessionConfig::from(options))
        .with_default_features()
        .with_type_planner(Arc::new(Types));
    builder
        .scalar_functions()
        .get_or_insert_with(Vec::new)
        .extend(window_functions());
    if purpose == Purpose::Streaming {
        let rules: Vec<Arc<dyn OptimizerRule + Send + Sync>> = Optimizer::new()
            .rules
            .into_iter()
            .filter(|rule| STREAMING_RULES.contains(&rule.name()))
            .collect();
        builder = builder.with_optimizer_rules(rules);
    }
    let state = builder.build();
    state
        .catalog_list()
        .register_catalog(DATABASE.into(), catalog);
    Ok(state)
}
