//! Aggregates, and the exchange that brings the rows of a group together.

use super::{Builder, Node, Window, free_name, names, pick, scalar};
use crate::error::SqlError;
use crate::operators::split_aggregate;
use crate::plan::{
    AggregateCall, AggregateFunction, ChangelogMode, ColumnSpec, ExchangeDesc, GroupAggregateOp,
    Literal, Operator, OperatorKind, ScalarExpr, StoreDesc, WindowKey,
};
use arrow::datatypes::DataType;
use datafusion::common::DFSchema;
use datafusion::logical_expr::expr::AggregateFunction as DfAggregate;
use datafusion::logical_expr::{Aggregate, Expr};

impl Builder {
    pub(super) fn aggregate(&mut self, aggregate: &Aggregate) -> Result<Node, SqlError> {
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
    pub(super) fn exchange(&mut self, input: Node, needed: usize, keys: &[usize]) -> Node {
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
    pub(super) fn cut(&mut self, input: Node, needed: usize) -> Node {
        if input.columns.len() <= needed {
            return input;
        }
        let exprs = (0..needed).map(ScalarExpr::Column).collect();
        let columns = pick(&input.columns, &(0..needed).collect::<Vec<_>>());
        // A projection on a projection: make it one.
        self.narrow(input, exprs, columns)
    }

    /// Cuts columns off the end, in the last operator if that is a projection.
    pub(super) fn narrow(
        &mut self,
        input: Node,
        exprs: Vec<ScalarExpr>,
        columns: Vec<ColumnSpec>,
    ) -> Node {
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

/// One aggregate function; its argument and filter are added to what is computed ahead.
pub(super) fn call(
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

pub(super) fn type_of(expr: &Expr, schema: &DFSchema) -> Result<(DataType, bool), SqlError> {
    use datafusion::logical_expr::ExprSchemable;
    let (_, field) = expr.to_field(schema).map_err(SqlError::internal)?;
    Ok((field.data_type().clone(), field.is_nullable()))
}

/// The type that keys and states hold for a type that expressions give.
pub(super) fn plain_type(data_type: &DataType) -> DataType {
    match data_type {
        DataType::Utf8View | DataType::LargeUtf8 => DataType::Utf8,
        other => other.clone(),
    }
}

/// The type that an expression has, as far as a cast to `wanted` might be needed.
pub(super) fn expr_type(expr: &ScalarExpr, input: &Node, wanted: &DataType) -> DataType {
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

pub(super) fn positional(columns: &[ColumnSpec]) -> Vec<ColumnSpec> {
    columns
        .iter()
        .enumerate()
        .map(|(index, column)| ColumnSpec {
            name: format!("c{index}"),
            ..column.clone()
        })
        .collect()
}
