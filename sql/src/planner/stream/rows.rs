//! Operators that take one row at a time: filters, projections and windows.

use super::aggregate::expr_type;
use super::{Builder, Node, Window, free_name, scalar};
use crate::error::SqlError;
use crate::functions::{HOP, SHIFT, TUMBLE};
use crate::plan::{ColumnSpec, HopOp, Literal, OperatorKind, ScalarExpr};
use arrow::datatypes::DataType;
use datafusion::common::DFSchema;
use datafusion::logical_expr::{Expr, LogicalPlan, Projection, Unnest};

impl Builder {
    pub(super) fn filter(
        &mut self,
        input: Node,
        predicate: &Expr,
        schema: &DFSchema,
    ) -> Result<Node, SqlError> {
        let predicate = scalar(predicate, schema)?;
        let inputs = vec![input.operator];
        Ok(self.add(OperatorKind::Filter { predicate }, inputs, input))
    }

    pub(super) fn projection(&mut self, projection: &Projection) -> Result<Node, SqlError> {
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
    pub(super) fn project(
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
    pub(super) fn hop(&mut self, unnest: &Unnest) -> Result<Node, SqlError> {
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
}

/// Whether a projection on another can be made one without computing anything twice.
pub(super) fn merges(lower: &[ScalarExpr], upper: &[ScalarExpr]) -> bool {
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

pub(super) fn time_spec(time: &ScalarExpr, source: &Node) -> ColumnSpec {
    let fallback = DataType::Null;
    ColumnSpec::new("_time", expr_type(time, source, &fallback))
}

/// Whether the expression is the start or end of a window of the input's event time.
pub(super) fn window_of(column: usize, expr: &ScalarExpr, input: &Node) -> Option<Window> {
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

pub(super) fn constant_ms(expr: &ScalarExpr) -> Option<i64> {
    match expr {
        ScalarExpr::Literal(Literal {
            data_type: DataType::Int64,
            value: Some(value),
        }) => value.parse().ok(),
        _ => None,
    }
}
