//! From DataFusion's optimized logical plan to ours: stream keys, changelog modes,
//! watermarks, exchanges and stores.
//!
//! Invariant of every node built here: its first columns are the logical node's output
//! columns in order, and what follows are hidden columns that only complete the stream
//! key. Ids of operators, stores and exchanges are given out in the order in which they
//! are built, from the sources on.

use super::session::RelationTable;
use crate::catalog::{Body, Relation};
use crate::error::{SqlError, SqlState};
use crate::functions::{HOP, SHIFT, TUMBLE};
use crate::operators::split_aggregate;
use crate::parse::Parsed;
use crate::plan::types::type_name;
use crate::plan::{
    AggregateCall, AggregateFunction, ChangelogMode, ColumnSpec, ExchangeDesc, ExprError, Fragment,
    GroupAggregateOp, HopOp, Literal, Operator, OperatorKind, PLAN_VERSION, RowFormat, ScalarExpr,
    SourceOp, StoreDesc, StoreTopic, StreamPlan, TableSourceOp, WindowKey,
};
use arrow::datatypes::DataType;
use datafusion::common::{Column, DFSchema};
use datafusion::datasource::source_as_provider;
use datafusion::logical_expr::expr::AggregateFunction as DfAggregate;
use datafusion::logical_expr::{Aggregate, Expr, LogicalPlan, Projection, TableScan, Unnest};
use std::sync::Arc;

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

    // ---- sources -----------------------------------------------------------------------

    fn scan(&mut self, scan: &TableScan) -> Result<Node, SqlError> {
        let provider = source_as_provider(&scan.source).map_err(SqlError::internal)?;
        let table = provider.downcast_ref::<RelationTable>().ok_or_else(|| {
            SqlError::unsupported(format!(
                "`{}` is a system table, which a streaming query cannot read",
                scan.table_name.table()
            ))
        })?;
        let relation = &table.relation;
        let wanted: Vec<usize> = match &scan.projection {
            Some(projection) => projection.clone(),
            None => (0..relation.visible_columns().len()).collect(),
        };
        let mut node = match &relation.body {
            Body::Source(source) if !source.is_upsert() => {
                let mut columns = pick(&source.columns, &wanted);
                let visible = columns.len();
                columns.push(ColumnSpec::required(
                    free_name(&columns, PARTITION_COLUMN),
                    DataType::Int32,
                ));
                columns.push(ColumnSpec::required(
                    free_name(&columns, OFFSET_COLUMN),
                    DataType::Int64,
                ));
                let watermark = source
                    .watermark
                    .as_ref()
                    .and_then(|w| wanted.iter().position(|index| *index == w.column));
                let kind = OperatorKind::Source(SourceOp {
                    relation: relation.name.clone(),
                    topic: source.topic.clone(),
                    format: source.format.clone(),
                    columns: source.columns.clone(),
                    projection: wanted,
                    watermark: source.watermark.clone(),
                    on_error: source.on_error,
                });
                let node = Node {
                    operator: 0,
                    columns,
                    visible,
                    key: vec![visible, visible + 1],
                    mode: ChangelogMode::AppendOnly,
                    watermark,
                    windows: Vec::new(),
                };
                self.add(kind, Vec::new(), node)
            }
            Body::Source(source) => self.table_source(
                relation,
                &wanted,
                &source.primary_key,
                source.format.clone(),
                source.watermark.clone(),
                source.on_error,
            ),
            Body::View(view) => self.table_source(
                relation,
                &wanted,
                &view.plan.stream_key,
                RowFormat::View,
                None,
                Default::default(),
            ),
            Body::Sink(_) => {
                return Err(SqlError::new(
                    SqlState::WrongObjectType,
                    format!("`{}` is a sink, which nothing can read", relation.name),
                )
                .hint("create a source over its topic"));
            }
        };
        for filter in &scan.filters {
            node = self.filter(node, filter, &scan.projected_schema)?;
        }
        Ok(node)
    }

    fn table_source(
        &mut self,
        relation: &Arc<Relation>,
        wanted: &[usize],
        key: &[usize],
        format: RowFormat,
        watermark: Option<crate::plan::WatermarkDesc>,
        on_error: crate::plan::OnBadRecord,
    ) -> Node {
        let mut projection = wanted.to_vec();
        for column in key {
            if !projection.contains(column) {
                projection.push(*column);
            }
        }
        let positions: Vec<usize> = key
            .iter()
            .filter_map(|column| projection.iter().position(|p| p == column))
            .collect();
        let columns = pick(relation.columns(), &projection);
        let time = watermark
            .as_ref()
            .and_then(|w| projection.iter().position(|index| *index == w.column));
        let topic = relation.topic().to_owned();
        let key_names = names(relation.columns(), key);
        let store = self.add_store(|id| StoreDesc {
            id,
            name: format!("source-{id}"),
            scanned: false,
            topic: Some(StoreTopic {
                name: topic.clone(),
                written: false,
            }),
            key: key_names,
            unbounded: Some(format!("keeps every row of `{}`", relation.name)),
        });
        let kind = OperatorKind::TableSource(TableSourceOp {
            relation: relation.name.clone(),
            topic,
            format,
            columns: relation.columns().to_vec(),
            projection,
            key: key.to_vec(),
            store,
            watermark,
            on_error,
        });
        let node = Node {
            operator: 0,
            columns,
            visible: wanted.len(),
            key: positions,
            mode: ChangelogMode::Retract,
            watermark: time,
            windows: Vec::new(),
        };
        self.add(kind, Vec::new(), node)
    }

    // ---- rows --------------------------------------------------------------------------

    fn filter(
        &mut self,
        input: Node,
        predicate: &Expr,
        schema: &DFSchema,
    ) -> Result<Node, SqlError> {
        let predicate = scalar(predicate, schema)?;
        let inputs = vec![input.operator];
        Ok(self.add(OperatorKind::Filter { predicate }, inputs, input))
    }

    fn projection(&mut self, projection: &Projection) -> Result<Node, SqlError> {
        let input = self.node(&projection.input)?;
        let exprs = projection
            .expr
            .iter()
            .map(|expr| scalar(expr, projection.input.schema()))
            .collect::<Result<Vec<_>, _>>()?;
        let columns = exprs
            .iter()
            .zip(projection.schema.fields())
            .map(|(_, field)| ColumnSpec {
                name: field.name().clone(),
                data_type: field.data_type().clone(),
                nullable: field.is_nullable(),
            })
            .collect();
        Ok(self.project(input, exprs, columns))
    }

    /// Computes `exprs` and carries the stream key along.
    fn project(
        &mut self,
        input: Node,
        mut exprs: Vec<ScalarExpr>,
        mut columns: Vec<ColumnSpec>,
    ) -> Node {
        let visible = exprs.len();
        let mut key = Vec::with_capacity(input.key.len());
        for column in &input.key {
            let carried = exprs
                .iter()
                .position(|expr| *expr == ScalarExpr::Column(*column));
            key.push(carried.unwrap_or(exprs.len()));
            if carried.is_none()
                && let Some(spec) = input.columns.get(*column)
            {
                exprs.push(ScalarExpr::Column(*column));
                columns.push(ColumnSpec {
                    name: free_name(&columns, &spec.name),
                    ..spec.clone()
                });
            }
        }
        let watermark = input.watermark.and_then(|time| {
            exprs
                .iter()
                .position(|expr| *expr == ScalarExpr::Column(time))
        });
        let windows = exprs
            .iter()
            .enumerate()
            .filter_map(|(column, expr)| window_of(column, expr, &input))
            .collect();
        let same = exprs.len() == input.columns.len()
            && exprs
                .iter()
                .enumerate()
                .all(|(index, expr)| *expr == ScalarExpr::Column(index))
            && columns == input.columns;
        let node = Node {
            operator: input.operator,
            columns,
            visible,
            key,
            mode: input.mode,
            watermark,
            windows,
        };
        if same {
            return node;
        }
        if let Some(last) = self.current.last_mut()
            && last.id == input.operator
            && let OperatorKind::Project { exprs: lower } = &mut last.kind
            && merges(lower, &exprs)
        {
            *lower = exprs.iter().map(|expr| expr.substitute(lower)).collect();
            last.columns.clone_from(&node.columns);
            last.stream_key.clone_from(&node.key);
            last.watermark = node.watermark;
            return node;
        }
        self.add(OperatorKind::Project { exprs }, vec![input.operator], node)
    }

    /// `HOP`, which the parser made an unnested list of window starts.
    fn hop(&mut self, unnest: &Unnest) -> Result<Node, SqlError> {
        let unsupported = || {
            SqlError::unsupported("a streaming query cannot use UNNEST yet")
                .hint("UNNEST in the query that reads the view")
        };
        let input_schema = unnest.input.schema();
        let (LogicalPlan::Projection(projection), [(list, _)], true) = (
            unnest.input.as_ref(),
            unnest.list_type_columns.as_slice(),
            unnest.struct_type_columns.is_empty(),
        ) else {
            return Err(unsupported());
        };
        let Some(call) = projection.expr.get(*list) else {
            return Err(unsupported());
        };
        let source = self.node(&projection.input)?;
        let ScalarExpr::Call { function, args } = scalar(call, projection.input.schema())? else {
            return Err(unsupported());
        };
        let (true, [time, slide, size]) = (function == HOP, args.as_slice()) else {
            return Err(unsupported());
        };
        let (Some(slide_ms), Some(size_ms)) = (constant_ms(slide), constant_ms(size)) else {
            return Err(unsupported());
        };

        // Everything but the list, then the time of the windows last.
        let mut exprs = Vec::new();
        let mut columns = Vec::new();
        let mut moved = vec![None; projection.expr.len()];
        for (index, expr) in projection.expr.iter().enumerate() {
            if index == *list {
                continue;
            }
            let field = input_schema.field(index);
            if let Some(slot) = moved.get_mut(index) {
                *slot = Some(exprs.len());
            }
            exprs.push(scalar(expr, projection.input.schema())?);
            columns.push(ColumnSpec {
                name: field.name().clone(),
                data_type: field.data_type().clone(),
                nullable: field.is_nullable(),
            });
        }
        let on_event_time = match time {
            ScalarExpr::Column(column) => source.watermark == Some(*column),
            _ => false,
        };
        let time_column = match exprs.iter().position(|expr| expr == time) {
            Some(position) => position,
            None => {
                let spec = time_spec(time, &source);
                exprs.push(time.clone());
                columns.push(ColumnSpec {
                    name: free_name(&columns, "_time"),
                    ..spec
                });
                exprs.len() - 1
            }
        };
        let data_type = match columns.get(time_column).map(|c| &c.data_type) {
            Some(data_type @ DataType::Timestamp(..)) => data_type.clone(),
            _ => return Err(unsupported()),
        };
        let input = self.project(source, exprs, columns);

        // The operator appends `window_start`; then the columns go where they are wanted.
        let start = input.columns.len();
        let mut hopped = input.columns.clone();
        hopped.push(ColumnSpec::new(
            free_name(&hopped, "window_start"),
            data_type,
        ));
        let mut key = input.key.clone();
        key.push(start);
        let windows = if on_event_time {
            vec![Window {
                column: start,
                until_end_ms: size_ms,
                size_ms,
            }]
        } else {
            Vec::new()
        };
        let node = Node {
            operator: 0,
            visible: hopped.len(),
            columns: hopped,
            key,
            mode: input.mode,
            watermark: input.watermark,
            windows,
        };
        let node = self.add(
            OperatorKind::Hop(HopOp {
                time: time_column,
                slide_ms,
                size_ms,
            }),
            vec![input.operator],
            node,
        );
        let exprs: Vec<ScalarExpr> = unnest
            .dependency_indices
            .iter()
            .map(|index| {
                if index == list {
                    ScalarExpr::Column(start)
                } else {
                    ScalarExpr::Column(moved.get(*index).copied().flatten().unwrap_or(start))
                }
            })
            .collect();
        let columns = unnest
            .schema
            .fields()
            .iter()
            .map(|field| ColumnSpec {
                name: field.name().clone(),
                data_type: field.data_type().clone(),
                nullable: field.is_nullable(),
            })
            .collect();
        Ok(self.project(node, exprs, columns))
    }

    // ---- aggregates --------------------------------------------------------------------

    fn aggregate(&mut self, aggregate: &Aggregate) -> Result<Node, SqlError> {
        let input = self.node(&aggregate.input)?;
        let schema = aggregate.input.schema();
        if aggregate
            .group_expr
            .iter()
            .any(|expr| matches!(expr, Expr::GroupingSet(_)))
        {
            return Err(SqlError::unsupported(
                "GROUPING SETS, ROLLUP and CUBE are not supported yet",
            )
            .hint("create a view for each grouping"));
        }
        let out = aggregate.schema.fields();

        // What the aggregate needs, once each: the groups first.
        let mut exprs = Vec::new();
        let mut columns: Vec<ColumnSpec> = Vec::new();
        for (expr, field) in aggregate.group_expr.iter().zip(out.iter()) {
            exprs.push(scalar(expr, schema)?);
            columns.push(ColumnSpec {
                name: field.name().clone(),
                data_type: plain_type(field.data_type()),
                nullable: field.is_nullable(),
            });
        }
        let keys: Vec<usize> = (0..exprs.len()).collect();
        let mut calls = Vec::new();
        for (expr, field) in aggregate.aggr_expr.iter().zip(out.iter().skip(keys.len())) {
            let output = ColumnSpec {
                name: field.name().clone(),
                data_type: plain_type(field.data_type()),
                nullable: field.is_nullable(),
            };
            calls.push(call(expr, schema, output, &mut exprs, &mut columns)?);
        }
        for (expr, column) in exprs.iter_mut().zip(&columns) {
            // The group's and argument's types are those that keys and states hold.
            let given = expr_type(expr, &input, &column.data_type);
            if given != column.data_type {
                *expr = ScalarExpr::Cast {
                    arg: Box::new(expr.clone()),
                    to: column.data_type.clone(),
                    lenient: false,
                };
            }
        }
        if exprs.is_empty() {
            // COUNT(*) of all rows: a chunk has at least one column.
            exprs.push(ScalarExpr::Literal(Literal {
                data_type: DataType::Boolean,
                value: Some("true".into()),
            }));
            columns.push(ColumnSpec::required("_row", DataType::Boolean));
        }
        let needed = exprs.len();
        let projected = self.project(input, exprs, columns);
        let window = projected
            .windows
            .iter()
            .filter(|window| window.column < keys.len())
            .min_by_key(|window| window.until_end_ms)
            .map(|window| WindowKey {
                key: window.column,
                until_end_ms: window.until_end_ms,
                size_ms: window.size_ms,
                grace_ms: 0,
            });
        let windows: Vec<Window> = projected
            .windows
            .iter()
            .filter(|window| window.column < keys.len())
            .copied()
            .collect();

        let append_only_input = projected.mode == ChangelogMode::AppendOnly;
        let partial = append_only_input
            .then(|| split_aggregate(&keys, &mut calls, &projected.columns))
            .flatten();
        let partial_input = partial.is_some();
        let input = match partial {
            Some((partial, columns)) => {
                let projected = self.cut(projected, needed);
                let node = Node {
                    visible: columns.len(),
                    columns,
                    key: Vec::new(),
                    watermark: projected.watermark.filter(|column| *column < keys.len()),
                    windows: windows.clone(),
                    ..projected
                };
                let (kind, from) = (OperatorKind::PartialAggregate(partial), node.operator);
                let node = self.add(kind, vec![from], node);
                let needed = node.columns.len();
                self.exchange(node, needed, &keys)
            }
            None => self.exchange(projected, needed, &keys),
        };
        let key_names = names(&input.columns, &keys);
        let unbounded = match (&window, keys.is_empty()) {
            (Some(_), _) | (None, true) => None,
            (None, false) => Some("keeps every group that ever was".to_owned()),
        };
        for call in &mut calls {
            let ordered = matches!(
                call.function,
                AggregateFunction::Min | AggregateFunction::Max
            );
            if call.distinct && ordered {
                call.distinct = false; // the same result
            }
            if !(call.distinct || ordered && !append_only_input) {
                continue;
            }
            let mut key = key_names.clone();
            if let Some(argument) = call.argument {
                key.extend(names(&input.columns, &[argument]));
            }
            let unbounded = match &window {
                Some(_) => None,
                None => Some("keeps every value of every group".to_owned()),
            };
            call.store = Some(self.add_store(|id| StoreDesc {
                id,
                name: format!("values-{id}"),
                scanned: true,
                topic: None,
                key,
                unbounded,
            }));
        }
        let store = self.add_store(|id| StoreDesc {
            id,
            name: format!("groups-{id}"),
            scanned: window.is_some(),
            topic: None,
            key: key_names,
            unbounded,
        });
        let mut columns = pick(&input.columns, &keys);
        columns.extend(calls.iter().map(|call| call.output.clone()));
        let node = Node {
            operator: 0,
            visible: columns.len(),
            columns,
            key: keys.clone(),
            mode: ChangelogMode::Retract,
            watermark: None,
            windows,
        };
        Ok(self.add(
            OperatorKind::GroupAggregate(GroupAggregateOp {
                keys,
                calls,
                store,
                window,
                partial_input,
                append_only_input,
            }),
            vec![input.operator],
            node,
        ))
    }

    /// Sends the first `needed` columns of every row to the task of its group. The
    /// identity of rows ends here: an aggregate tells rows apart by value.
    fn exchange(&mut self, input: Node, needed: usize, keys: &[usize]) -> Node {
        let input = self.cut(input, needed);
        let id = self.next_exchange;
        self.next_exchange += 1;
        let exchange = ExchangeDesc {
            id,
            name: format!("exchange-{id}"),
            keys: keys.to_vec(),
            partitions: keys.is_empty().then_some(1),
        };
        self.push(
            OperatorKind::ExchangeSink {
                exchange: exchange.clone(),
            },
            vec![input.operator],
            &input,
        );
        self.end_fragment();
        self.add(
            OperatorKind::ExchangeSource { exchange },
            Vec::new(),
            Node {
                watermark: input.watermark.filter(|column| *column < needed),
                ..input
            },
        )
    }

    /// Leaves the first `needed` columns.
    fn cut(&mut self, input: Node, needed: usize) -> Node {
        if input.columns.len() <= needed {
            return input;
        }
        let exprs = (0..needed).map(ScalarExpr::Column).collect();
        let columns = pick(&input.columns, &(0..needed).collect::<Vec<_>>());
        // A projection on a projection: make it one.
        self.narrow(input, exprs, columns)
    }

    /// Cuts columns off the end, in the last operator if that is a projection.
    fn narrow(&mut self, input: Node, exprs: Vec<ScalarExpr>, columns: Vec<ColumnSpec>) -> Node {
        let needed = exprs.len();
        let node = Node {
            operator: input.operator,
            visible: needed,
            columns,
            key: Vec::new(),
            mode: input.mode,
            watermark: input.watermark.filter(|column| *column < needed),
            windows: input.windows.clone(),
        };
        if let Some(Operator {
            id,
            kind: OperatorKind::Project { exprs },
            columns,
            stream_key,
            watermark,
            ..
        }) = self.current.last_mut()
            && *id == input.operator
        {
            exprs.truncate(needed);
            columns.truncate(needed);
            stream_key.clear();
            *watermark = node.watermark;
            return node;
        }
        self.add(OperatorKind::Project { exprs }, vec![input.operator], node)
    }
}

/// Whether a projection on another can be made one without computing anything twice.
fn merges(lower: &[ScalarExpr], upper: &[ScalarExpr]) -> bool {
    let mut uses = vec![0_usize; lower.len()];
    for expr in upper {
        expr.for_each_column(&mut |column| {
            if let Some(count) = uses.get_mut(column) {
                *count += 1;
            }
        });
    }
    lower
        .iter()
        .zip(uses)
        .all(|(expr, uses)| uses <= 1 || matches!(expr, ScalarExpr::Column(_)))
}

/// One aggregate function; its argument and filter are added to what is computed ahead.
fn call(
    expr: &Expr,
    schema: &DFSchema,
    output: ColumnSpec,
    exprs: &mut Vec<ScalarExpr>,
    columns: &mut Vec<ColumnSpec>,
) -> Result<AggregateCall, SqlError> {
    let mut inner = expr;
    while let Expr::Alias(alias) = inner {
        inner = &alias.expr;
    }
    let Expr::AggregateFunction(DfAggregate { func, params }) = inner else {
        return Err(SqlError::unsupported(format!(
            "`{expr}` is no aggregate that streams know"
        )));
    };
    let function = match func.name().to_lowercase().as_str() {
        "count" => AggregateFunction::Count,
        "sum" => AggregateFunction::Sum,
        "avg" | "mean" => AggregateFunction::Avg,
        "min" => AggregateFunction::Min,
        "max" => AggregateFunction::Max,
        other => {
            return Err(SqlError::unsupported(format!(
                "the aggregate `{other}` is not supported in a streaming query yet"
            ))
            .hint("COUNT, SUM, AVG, MIN, MAX and COUNT(DISTINCT …) are"));
        }
    };
    if !params.order_by.is_empty() {
        return Err(SqlError::unsupported(
            "an aggregate with ORDER BY is not supported in a streaming query yet",
        ));
    }
    let mut need = |expr: ScalarExpr, spec: ColumnSpec| {
        if let Some(found) = exprs.iter().position(|known| *known == expr) {
            return found;
        }
        let name = free_name(columns, &spec.name);
        exprs.push(expr);
        columns.push(ColumnSpec { name, ..spec });
        exprs.len() - 1
    };
    let argument = match params.args.as_slice() {
        [] => None,
        // COUNT(*) is COUNT of a constant here.
        [Expr::Literal(value, _)] if function == AggregateFunction::Count && !value.is_null() => {
            None
        }
        [argument] => {
            let (data_type, nullable) = type_of(argument, schema)?;
            let name = match argument {
                Expr::Column(column) => column.name().to_owned(),
                other => other.schema_name().to_string(),
            };
            let spec = ColumnSpec {
                name,
                data_type: plain_type(&data_type),
                nullable,
            };
            Some(need(scalar(argument, schema)?, spec))
        }
        _ => {
            return Err(SqlError::unsupported(format!(
                "`{expr}` takes more than one argument, which streams do not know yet"
            ))
            .hint("COUNT(DISTINCT a || '/' || b) counts pairs"));
        }
    };
    let filter = match &params.filter {
        None => None,
        Some(filter) => Some(need(
            scalar(filter, schema)?,
            ColumnSpec::new("_filter", DataType::Boolean),
        )),
    };
    let distinct = params.distinct && argument.is_some();
    Ok(AggregateCall {
        function,
        argument,
        distinct,
        filter,
        output,
        store: None,
    })
}

fn type_of(expr: &Expr, schema: &DFSchema) -> Result<(DataType, bool), SqlError> {
    use datafusion::logical_expr::ExprSchemable;
    let (_, field) = expr.to_field(schema).map_err(SqlError::internal)?;
    Ok((field.data_type().clone(), field.is_nullable()))
}

/// The type that keys and states hold for a type that expressions give.
fn plain_type(data_type: &DataType) -> DataType {
    match data_type {
        DataType::Utf8View | DataType::LargeUtf8 => DataType::Utf8,
        other => other.clone(),
    }
}

/// The type that an expression has, as far as a cast to `wanted` might be needed.
fn expr_type(expr: &ScalarExpr, input: &Node, wanted: &DataType) -> DataType {
    match expr {
        ScalarExpr::Column(column) => input
            .columns
            .get(*column)
            .map_or_else(|| wanted.clone(), |c| c.data_type.clone()),
        other => other
            .to_physical(&input.columns)
            .ok()
            .and_then(|physical| {
                physical
                    .data_type(&crate::plan::arrow_schema(&positional(&input.columns)))
                    .ok()
            })
            .unwrap_or_else(|| wanted.clone()),
    }
}

fn positional(columns: &[ColumnSpec]) -> Vec<ColumnSpec> {
    columns
        .iter()
        .enumerate()
        .map(|(index, column)| ColumnSpec {
            name: format!("c{index}"),
            ..column.clone()
        })
        .collect()
}

fn time_spec(time: &ScalarExpr, source: &Node) -> ColumnSpec {
    let fallback = DataType::Null;
    ColumnSpec::new("_time", expr_type(time, source, &fallback))
}

/// Whether the expression is the start or end of a window of the input's event time.
fn window_of(column: usize, expr: &ScalarExpr, input: &Node) -> Option<Window> {
    match expr {
        ScalarExpr::Column(source) => input
            .windows
            .iter()
            .find(|window| window.column == *source)
            .map(|window| Window { column, ..*window }),
        ScalarExpr::Call { function, args } => match (function.as_str(), args.as_slice()) {
            (TUMBLE, [ScalarExpr::Column(time), size]) if input.watermark == Some(*time) => {
                let size_ms = constant_ms(size)?;
                Some(Window {
                    column,
                    until_end_ms: size_ms,
                    size_ms,
                })
            }
            (SHIFT, [inner, by]) => {
                let window = window_of(column, inner, input)?;
                Some(Window {
                    until_end_ms: window.until_end_ms.checked_sub(constant_ms(by)?)?,
                    ..window
                })
            }
            _ => None,
        },
        _ => None,
    }
}

fn constant_ms(expr: &ScalarExpr) -> Option<i64> {
    match expr {
        ScalarExpr::Literal(Literal {
            data_type: DataType::Int64,
            value: Some(value),
        }) => value.parse().ok(),
        _ => None,
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
