//! From DataFusion's optimized logical plan to ours: stream keys, changelog modes,
//! watermarks, exchanges and stores.
//!
//! Invariant of every node built here: its first columns are the logical node's output
//! columns in order, and what follows are hidden columns that only complete the stream
//! key. Ids of operators, stores and exchanges are given out in the order in which they
//! are built, from the sources on.

mod aggregate;
mod rows;
mod source;

use crate::error::{SqlError, SqlState};
use crate::parse::Parsed;
use crate::plan::types::type_name;
use crate::plan::{
    ChangelogMode, ColumnSpec, ExprError, Fragment, Operator, OperatorKind, PLAN_VERSION,
    ScalarExpr, StoreDesc, StreamPlan,
};
use arrow::datatypes::DataType;
use datafusion::common::{Column, DFSchema};
use datafusion::logical_expr::{Expr, LogicalPlan};

/// The hidden column with the partition that a row came from.
pub const PARTITION_COLUMN: &str = "_partition";
/// The hidden column with the offset that a row came from.
pub const OFFSET_COLUMN: &str = "_offset";

/// A column that is the start or end of a window of event time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Window {
    column: usize,
    until_end_ms: i64,
    size_ms: i64,
}

/// What is known of the relation that an operator puts out.
#[derive(Debug, Clone)]
struct Node {
    operator: u32,
    columns: Vec<ColumnSpec>,
    /// How many of the columns are those of the logical node.
    visible: usize,
    key: Vec<usize>,
    mode: ChangelogMode,
    watermark: Option<usize>,
    windows: Vec<Window>,
}

/// A plan without its end yet.
#[derive(Debug)]
pub(crate) struct Draft {
    builder: Builder,
    node: Node,
}

#[derive(Debug, Default)]
struct Builder {
    done: Vec<Fragment>,
    current: Vec<Operator>,
    stores: Vec<StoreDesc>,
    next_operator: u32,
    next_store: u32,
    next_exchange: u32,
}

/// Plans the optimized `logical` plan as a stream.
pub(crate) fn stream(logical: &LogicalPlan, parsed: &Parsed) -> Result<Draft, SqlError> {
    let mut builder = Builder::default();
    let logical = without_sort(logical);
    let node = builder
        .node(logical)
        .map_err(|error| error.at(parsed.start()))?;
    let mut body = Draft { builder, node };
    body.normalize_types()?;
    Ok(body)
}

/// The order of a relation is that of who reads it: a sort at the top changes nothing.
fn without_sort(plan: &LogicalPlan) -> &LogicalPlan {
    match plan {
        LogicalPlan::Sort(sort) if sort.fetch.is_none() => without_sort(&sort.input),
        LogicalPlan::SubqueryAlias(alias) => without_sort(&alias.input),
        other => other,
    }
}

impl Draft {
    /// The visible columns.
    pub(crate) fn visible_columns(&self) -> &[ColumnSpec] {
        self.node
            .columns
            .get(..self.node.visible)
            .unwrap_or_default()
    }

    /// Whether rows change.
    pub(crate) fn mode(&self) -> ChangelogMode {
        self.node.mode
    }

    /// The positions that identify a row.
    pub(crate) fn stream_key(&self) -> &[usize] {
        &self.node.key
    }

    /// Whether the key contains columns that nobody asked for.
    pub(crate) fn has_hidden_key(&self) -> bool {
        self.node.key.iter().any(|key| *key >= self.node.visible)
    }

    /// Gives the visible columns other names.
    pub(crate) fn rename(&mut self, names: &[String]) {
        for (column, name) in self.node.columns.iter_mut().zip(names) {
            column.name.clone_from(name);
        }
        if let Some(last) = self.builder.current.last_mut() {
            last.columns.clone_from(&self.node.columns);
        }
    }

    /// A store of the last fragment.
    pub(crate) fn add_store(&mut self, store: impl FnOnce(u32) -> StoreDesc) -> u32 {
        self.builder.add_store(store)
    }

    /// The names of the columns of the stream key.
    pub(crate) fn key_names(&self) -> Vec<String> {
        names(&self.node.columns, &self.node.key)
    }

    /// Ends the plan.
    pub(crate) fn finish(mut self, end: OperatorKind) -> StreamPlan {
        let node = self.node;
        self.builder.push(
            end,
            vec![node.operator],
            &Node {
                operator: 0,
                ..node.clone()
            },
        );
        self.builder.end_fragment();
        StreamPlan {
            version: PLAN_VERSION,
            fragments: self.builder.done,
            visible: node.visible,
            stream_key: node.key,
            mode: node.mode,
            columns: node.columns,
        }
    }

    /// Brings the output to types that views and formats hold.
    fn normalize_types(&mut self) -> Result<(), SqlError> {
        let mut exprs = Vec::new();
        let mut columns = self.node.columns.clone();
        let mut changed = false;
        for (index, column) in columns.iter_mut().enumerate() {
            let expr = ScalarExpr::Column(index);
            let to = match &column.data_type {
                DataType::Utf8View | DataType::LargeUtf8 => DataType::Utf8,
                DataType::Null => {
                    return Err(SqlError::new(
                        SqlState::DatatypeMismatch,
                        format!("the column `{}` is NULL and has no type", column.name),
                    )
                    .hint("say which: CAST(NULL AS BIGINT)"));
                }
                other => {
                    if type_name(other).is_none() {
                        return Err(SqlError::unsupported(format!(
                            "the column `{}` has the type {other}, which a view cannot hold",
                            column.name
                        ))
                        .hint("cast it, or take its parts as columns"));
                    }
                    exprs.push(expr);
                    continue;
                }
            };
            changed = true;
            column.data_type = to.clone();
            exprs.push(ScalarExpr::Cast {
                arg: Box::new(expr),
                to,
                lenient: false,
            });
        }
        if changed {
            let node = Node {
                columns,
                ..self.node.clone()
            };
            self.node = self.builder.add(
                OperatorKind::Project { exprs },
                vec![self.node.operator],
                node,
            );
        }
        Ok(())
    }
}

impl Builder {
    fn push(&mut self, kind: OperatorKind, inputs: Vec<u32>, node: &Node) -> u32 {
        let id = self.next_operator;
        self.next_operator += 1;
        self.current.push(Operator {
            id,
            kind,
            inputs,
            columns: node.columns.clone(),
            stream_key: node.key.clone(),
            mode: node.mode,
            watermark: node.watermark,
        });
        id
    }

    /// Adds an operator that puts out `node`.
    fn add(&mut self, kind: OperatorKind, inputs: Vec<u32>, mut node: Node) -> Node {
        node.operator = self.push(kind, inputs, &node);
        node
    }

    fn add_store(&mut self, store: impl FnOnce(u32) -> StoreDesc) -> u32 {
        let id = self.next_store;
        self.next_store += 1;
        self.stores.push(store(id));
        id
    }

    fn end_fragment(&mut self) {
        let id = u32::try_from(self.done.len()).unwrap_or(u32::MAX);
        self.done.push(Fragment {
            id,
            operators: std::mem::take(&mut self.current),
            stores: std::mem::take(&mut self.stores),
        });
    }

    fn node(&mut self, plan: &LogicalPlan) -> Result<Node, SqlError> {
        match plan {
            LogicalPlan::TableScan(scan) => self.scan(scan),
            LogicalPlan::SubqueryAlias(alias) => self.node(&alias.input),
            LogicalPlan::Projection(projection) => self.projection(projection),
            LogicalPlan::Filter(filter) => {
                let input = self.node(&filter.input)?;
                self.filter(input, &filter.predicate, filter.input.schema())
            }
            LogicalPlan::Aggregate(aggregate) => self.aggregate(aggregate),
            LogicalPlan::Unnest(unnest) => self.hop(unnest),
            LogicalPlan::Join(_) => Err(SqlError::unsupported("a streaming query cannot join yet")
                .hint(
                    "create a view for each side, and join the views in the query that reads them",
                )),
            LogicalPlan::Window(_) => Err(SqlError::unsupported(
                "a streaming query cannot use OVER windows yet",
            )
            .hint("aggregate over TUMBLE or HOP, or use OVER in the query that reads the view")),
            LogicalPlan::Sort(_) | LogicalPlan::Limit(_) => Err(SqlError::unsupported(
                "a streaming query cannot keep the first rows of an order yet",
            )
            .hint("put ORDER BY and LIMIT in the query that reads the view")),
            LogicalPlan::Union(_) => Err(SqlError::unsupported(
                "a streaming query cannot use UNION yet",
            )
            .hint(
                "create a view for each branch, and unite the views in the query that reads them",
            )),
            LogicalPlan::EmptyRelation(_) | LogicalPlan::Values(_) => Err(SqlError::new(
                SqlState::InvalidTableDefinition,
                "the query reads no source, or its condition is never true",
            )
            .hint(
                "a materialized view, a sink and EMIT CHANGES need FROM with a source or a view",
            )),
            LogicalPlan::Subquery(_) => Err(SqlError::unsupported(
                "a streaming query cannot use subqueries in expressions yet",
            )
            .hint("create a view for the subquery, and use it in the query that reads both")),
            other => Err(SqlError::unsupported(format!(
                "a streaming query cannot use {} yet",
                other
                    .display()
                    .to_string()
                    .split(':')
                    .next()
                    .unwrap_or("this")
            ))),
        }
    }
}

fn scalar(expr: &Expr, schema: &DFSchema) -> Result<ScalarExpr, SqlError> {
    let resolve = |column: &Column| schema.maybe_index_of_column(column);
    ScalarExpr::from_logical(expr, &resolve).map_err(|error| match error {
        ExprError::Volatile(name) => SqlError::unsupported(format!(
            "a streaming query cannot use `{name}()`, which gives another result at each call"
        ))
        .hint("use the time column of the source, or call it in the query that reads the view"),
        other => SqlError::unsupported(other.to_string()),
    })
}

fn pick(columns: &[ColumnSpec], wanted: &[usize]) -> Vec<ColumnSpec> {
    wanted
        .iter()
        .filter_map(|index| columns.get(*index).cloned())
        .collect()
}

fn names(columns: &[ColumnSpec], wanted: &[usize]) -> Vec<String> {
    wanted
        .iter()
        .filter_map(|index| columns.get(*index).map(|c| c.name.clone()))
        .collect()
}

/// `name`, or with a number behind it if that is taken.
fn free_name(columns: &[ColumnSpec], name: &str) -> String {
    let taken = |name: &str| columns.iter().any(|column| column.name == name);
    if !taken(name) {
        return name.to_owned();
    }
    (2..)
        .map(|n| format!("{name}_{n}"))
        .find(|name| !taken(name))
        .unwrap_or_else(|| name.to_owned())
}
