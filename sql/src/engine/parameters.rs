//! The types of a statement's parameters `$1`, `$2`, …, as far as its plan tells them.

use arrow::datatypes::DataType;
use datafusion::common::Result;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::expr::Placeholder;
use datafusion::logical_expr::{Expr, LogicalPlan};
use std::collections::HashMap;

/// The most parameters that a statement has.
const MOST: usize = 1000;

/// The number of a parameter's name.
pub(super) fn number(name: &str) -> Option<usize> {
    let number = name.strip_prefix('$')?.parse().ok()?;
    (1..=MOST).contains(&number).then_some(number)
}

/// The types of all parameters, by number. A parameter takes the type of what it is
/// compared with, of its cast, or a number where rows are limited.
pub(super) fn types(plan: &LogicalPlan) -> Result<Vec<Option<DataType>>> {
    let mut types = plan.get_parameter_types()?;
    plan.apply_with_subqueries(|plan| {
        let limits = matches!(plan, LogicalPlan::Limit(_));
        plan.apply_expressions(|expr| {
            if limits {
                fill(&mut types, expr, &DataType::Int64);
            }
            expr.apply(|expr| {
                if let Expr::Cast(cast) = expr {
                    fill(&mut types, &cast.expr, cast.field.data_type());
                }
                Ok(TreeNodeRecursion::Continue)
            })
        })
    })?;
    let mut numbered = Vec::new();
    for (name, data_type) in types {
        let Some(number) = number(&name) else {
            continue;
        };
        if numbered.len() < number {
            numbered.resize(number, None);
        }
        if let Some(slot) = numbered.get_mut(number - 1) {
            *slot = data_type;
        }
    }
    Ok(numbered)
}

fn fill(types: &mut HashMap<String, Option<DataType>>, expr: &Expr, data_type: &DataType) {
    if let Expr::Placeholder(Placeholder { id, .. }) = expr
        && let Some(unknown @ None) = types.get_mut(id)
    {
        *unknown = Some(data_type.clone());
    }
}
