//! Scalar expressions as plain data, and their way from and to DataFusion.
//!
//! The planner takes expressions over from DataFusion's *optimized* logical plan, in
//! which every type is explicit: a stored expression contains its casts, so that a later
//! release with other coercion rules computes the same.

use super::types::data_type;
use super::{ColumnSpec, Literal};
use crate::functions;
use arrow::datatypes::{DataType, DecimalType};
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::execution::context::ExecutionProps;
use datafusion::logical_expr::expr::{Between, Case, InList, Like, ScalarFunction};
use datafusion::logical_expr::{BinaryExpr, Cast, Expr, Operator as DfOperator, TryCast, lit};
use datafusion::physical_expr::{PhysicalExpr, create_physical_expr};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// An expression over the columns of one input.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ScalarExpr {
    /// The input column at this position.
    Column(usize),
    /// A constant.
    Literal(Literal),
    /// An operator with two sides, by its SQL spelling.
    Binary {
        /// `=`, `AND`, `+`, `~`, …
        op: String,
        /// The left side.
        left: Box<ScalarExpr>,
        /// The right side.
        right: Box<ScalarExpr>,
    },
    /// `NOT`, `-`, `IS NULL`, `IS TRUE`, …, by its SQL spelling.
    Unary {
        /// The spelling.
        op: String,
        /// The operand.
        arg: Box<ScalarExpr>,
    },
    /// `CAST`, or `TRY_CAST` which gives null where the value does not fit.
    Cast {
        /// The value.
        arg: Box<ScalarExpr>,
        /// The type wanted.
        #[serde(with = "data_type")]
        to: DataType,
        /// Null instead of an error.
        #[serde(default, skip_serializing_if = "is_false")]
        lenient: bool,
    },
    /// `CASE`, with or without an operand.
    Case {
        /// What the branches are compared with; without it they are conditions.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        operand: Option<Box<ScalarExpr>>,
        /// Pairs of WHEN and THEN.
        branches: Vec<(ScalarExpr, ScalarExpr)>,
        /// `ELSE`; null without it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        otherwise: Option<Box<ScalarExpr>>,
    },
    /// `LIKE`, `ILIKE` and `SIMILAR TO`.
    Like {
        /// Which of them.
        kind: LikeKind,
        /// The text.
        arg: Box<ScalarExpr>,
        /// The pattern.
        pattern: Box<ScalarExpr>,
        /// `NOT LIKE`.
        #[serde(default, skip_serializing_if = "is_false")]
        negated: bool,
        /// `ESCAPE`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        escape: Option<char>,
    },
    /// `IN (…)`.
    InList {
        /// The value.
        arg: Box<ScalarExpr>,
        /// What it is compared with.
        list: Vec<ScalarExpr>,
        /// `NOT IN`.
        #[serde(default, skip_serializing_if = "is_false")]
        negated: bool,
    },
    /// A function by its name.
    Call {
        /// The name, as registered.
        function: String,
        /// The arguments.
        args: Vec<ScalarExpr>,
    },
}

/// The pattern languages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LikeKind {
    /// `LIKE`.
    Like,
    /// `ILIKE`, without regard to case.
    Ilike,
    /// `SIMILAR TO`.
    Similar,
}

fn is_false(value: &bool) -> bool {
    !value
}

/// Why an expression cannot be stored or run.
#[derive(Debug, thiserror::Error)]
pub enum ExprError {
    /// Not an expression that streams know.
    #[error("the expression `{0}` is not supported in a streaming query")]
    Unsupported(String),
    /// A column that the input does not have.
    #[error("no column named `{0}` in the input of the operator")]
    NoColumn(String),
    /// A function whose result depends on more than its arguments.
    #[error("the function `{0}` gives another result at each call")]
    Volatile(String),
    /// The stored plan names a function that this release lacks.
    #[error(
        "the plan calls the function `{0}`, which this version does not have; drop the statement and create it anew"
    )]
    NoFunction(String),
    /// The stored plan holds text that is no operator or constant.
    #[error("the plan holds `{0}`, which this version does not understand")]
    Malformed(String),
    /// DataFusion refused it.
    #[error("{0}")]
    DataFusion(#[from] datafusion::error::DataFusionError),
}

const OPERATORS: &[(DfOperator, &str)] = &[
    (DfOperator::Eq, "="),
    (DfOperator::NotEq, "!="),
    (DfOperator::Lt, "<"),
    (DfOperator::LtEq, "<="),
    (DfOperator::Gt, ">"),
    (DfOperator::GtEq, ">="),
    (DfOperator::Plus, "+"),
    (DfOperator::Minus, "-"),
    (DfOperator::Multiply, "*"),
    (DfOperator::Divide, "/"),
    (DfOperator::Modulo, "%"),
    (DfOperator::And, "AND"),
    (DfOperator::Or, "OR"),
    (DfOperator::IsDistinctFrom, "IS DISTINCT FROM"),
    (DfOperator::IsNotDistinctFrom, "IS NOT DISTINCT FROM"),
    (DfOperator::RegexMatch, "~"),
    (DfOperator::RegexIMatch, "~*"),
    (DfOperator::RegexNotMatch, "!~"),
    (DfOperator::RegexNotIMatch, "!~*"),
    (DfOperator::LikeMatch, "~~"),
    (DfOperator::ILikeMatch, "~~*"),
    (DfOperator::NotLikeMatch, "!~~"),
    (DfOperator::NotILikeMatch, "!~~*"),
    (DfOperator::BitwiseAnd, "&"),
    (DfOperator::BitwiseOr, "|"),
    (DfOperator::BitwiseXor, "BIT_XOR"),
    (DfOperator::BitwiseShiftRight, ">>"),
    (DfOperator::BitwiseShiftLeft, "<<"),
    (DfOperator::StringConcat, "||"),
    (DfOperator::IntegerDivide, "DIV"),
];

impl ScalarExpr {
    /// Takes an expression of a logical plan over. `resolve` gives the position of a
    /// column in the operator's input.
    pub fn from_logical(
        expr: &Expr,
        resolve: &dyn Fn(&datafusion::common::Column) -> Option<usize>,
    ) -> Result<Self, ExprError> {
        let go = |e: &Expr| Self::from_logical(e, resolve);
        let boxed = |e: &Expr| Self::from_logical(e, resolve).map(Box::new);
        let unary = |op: &str, e: &Expr| -> Result<Self, ExprError> {
            Ok(Self::Unary {
                op: op.into(),
                arg: Box::new(Self::from_logical(e, resolve)?),
            })
        };
        Ok(match expr {
            Expr::Alias(alias) => go(&alias.expr)?,
            Expr::Column(column) => Self::Column(
                resolve(column).ok_or_else(|| ExprError::NoColumn(column.flat_name()))?,
            ),
            Expr::Literal(value, _) => Self::Literal(
                Literal::from_scalar(value)
                    .ok_or_else(|| ExprError::Unsupported(value.to_string()))?,
            ),
            Expr::BinaryExpr(BinaryExpr { left, op, right }) => Self::Binary {
                op: OPERATORS
                    .iter()
                    .find(|(known, _)| known == op)
                    .map(|(_, text)| (*text).to_owned())
                    .ok_or_else(|| ExprError::Unsupported(expr.to_string()))?,
                left: boxed(left)?,
                right: boxed(right)?,
            },
            Expr::Not(e) => unary("NOT", e)?,
            Expr::Negative(e) => unary("-", e)?,
            Expr::IsNull(e) => unary("IS NULL", e)?,
            Expr::IsNotNull(e) => unary("IS NOT NULL", e)?,
            Expr::IsTrue(e) => unary("IS TRUE", e)?,
            Expr::IsFalse(e) => unary("IS FALSE", e)?,
            Expr::IsUnknown(e) => unary("IS UNKNOWN", e)?,
            Expr::IsNotTrue(e) => unary("IS NOT TRUE", e)?,
            Expr::IsNotFalse(e) => unary("IS NOT FALSE", e)?,
            Expr::IsNotUnknown(e) => unary("IS NOT UNKNOWN", e)?,
            Expr::Between(Between {
                expr,
                negated,
                low,
                high,
            }) => {
                let both = Self::Binary {
                    op: "AND".into(),
                    left: Box::new(Self::Binary {
                        op: ">=".into(),
                        left: boxed(expr)?,
                        right: boxed(low)?,
                    }),
                    right: Box::new(Self::Binary {
                        op: "<=".into(),
                        left: boxed(expr)?,
                        right: boxed(high)?,
                    }),
                };
                if *negated {
                    Self::Unary {
                        op: "NOT".into(),
                        arg: Box::new(both),
                    }
                } else {
                    both
                }
            }
            Expr::Case(case) => Self::Case {
                operand: case.expr.as_deref().map(boxed).transpose()?,
                branches: case
                    .when_then_expr
                    .iter()
                    .map(|(when, then)| Ok((go(when)?, go(then)?)))
                    .collect::<Result<_, ExprError>>()?,
                otherwise: case.else_expr.as_deref().map(boxed).transpose()?,
            },
            Expr::Cast(cast) => Self::Cast {
                arg: boxed(&cast.expr)?,
                to: cast.field.data_type().clone(),
                lenient: false,
            },
            Expr::TryCast(cast) => Self::Cast {
                arg: boxed(&cast.expr)?,
                to: cast.field.data_type().clone(),
                lenient: true,
            },
            Expr::Like(like) => Self::Like {
                kind: if like.case_insensitive {
                    LikeKind::Ilike
                } else {
                    LikeKind::Like
                },
                arg: boxed(&like.expr)?,
                pattern: boxed(&like.pattern)?,
                negated: like.negated,
                escape: like.escape_char,
            },
            Expr::SimilarTo(like) => Self::Like {
                kind: LikeKind::Similar,
                arg: boxed(&like.expr)?,
                pattern: boxed(&like.pattern)?,
                negated: like.negated,
                escape: like.escape_char,
            },
            Expr::InList(InList {
                expr,
                list,
                negated,
            }) => Self::InList {
                arg: boxed(expr)?,
                list: list.iter().map(go).collect::<Result<_, _>>()?,
                negated: *negated,
            },
            Expr::ScalarFunction(ScalarFunction { func, args }) => {
                if functions::is_volatile(func) {
                    return Err(ExprError::Volatile(func.name().to_owned()));
                }
                Self::Call {
                    function: func.name().to_owned(),
                    args: args.iter().map(go).collect::<Result<_, _>>()?,
                }
            }
            other => return Err(ExprError::Unsupported(other.to_string())),
        })
    }

    /// The expression in DataFusion's terms, over columns named by [`input_name`].
    fn to_logical(&self) -> Result<Expr, ExprError> {
        let boxed = |e: &Self| e.to_logical().map(Box::new);
        Ok(match self {
            Self::Column(index) => Expr::Column(datafusion::common::Column::new_unqualified(
                input_name(*index),
            )),
            Self::Literal(literal) => lit(literal.to_scalar().ok_or_else(|| {
                ExprError::Malformed(format!(
                    "{} '{}'",
                    literal.data_type,
                    literal.value.as_deref().unwrap_or("null")
                ))
            })?),
            Self::Binary { op, left, right } => Expr::BinaryExpr(BinaryExpr {
                left: boxed(left)?,
                op: OPERATORS
                    .iter()
                    .find(|(_, text)| text == op)
                    .map(|(op, _)| *op)
                    .ok_or_else(|| ExprError::Malformed(op.clone()))?,
                right: boxed(right)?,
            }),
            Self::Unary { op, arg } => {
                let arg = boxed(arg)?;
                match op.as_str() {
                    "NOT" => Expr::Not(arg),
                    "-" => Expr::Negative(arg),
                    "IS NULL" => Expr::IsNull(arg),
                    "IS NOT NULL" => Expr::IsNotNull(arg),
                    "IS TRUE" => Expr::IsTrue(arg),
                    "IS FALSE" => Expr::IsFalse(arg),
                    "IS UNKNOWN" => Expr::IsUnknown(arg),
                    "IS NOT TRUE" => Expr::IsNotTrue(arg),
                    "IS NOT FALSE" => Expr::IsNotFalse(arg),
                    "IS NOT UNKNOWN" => Expr::IsNotUnknown(arg),
                    _ => return Err(ExprError::Malformed(op.clone())),
                }
            }
            Self::Cast { arg, to, lenient } => {
                let arg = boxed(arg)?;
                if *lenient {
                    Expr::TryCast(TryCast::new(arg, to.clone()))
                } else {
                    Expr::Cast(Cast::new(arg, to.clone()))
                }
            }
            Self::Case {
                operand,
                branches,
                otherwise,
            } => Expr::Case(Case {
                expr: operand.as_deref().map(boxed).transpose()?,
                when_then_expr: branches
                    .iter()
                    .map(|(when, then)| Ok((boxed(when)?, boxed(then)?)))
                    .collect::<Result<_, ExprError>>()?,
                else_expr: otherwise.as_deref().map(boxed).transpose()?,
            }),
            Self::Like {
                kind,
                arg,
                pattern,
                negated,
                escape,
            } => {
                let like = Like {
                    negated: *negated,
                    expr: boxed(arg)?,
                    pattern: boxed(pattern)?,
                    escape_char: *escape,
                    case_insensitive: *kind == LikeKind::Ilike,
                };
                if *kind == LikeKind::Similar {
                    Expr::SimilarTo(like)
                } else {
                    Expr::Like(like)
                }
            }
            Self::InList { arg, list, negated } => Expr::InList(InList {
                expr: boxed(arg)?,
                list: list
                    .iter()
                    .map(Self::to_logical)
                    .collect::<Result<_, _>>()?,
                negated: *negated,
            }),
            Self::Call { function, args } => Expr::ScalarFunction(ScalarFunction {
                func: functions::scalar(function)
                    .ok_or_else(|| ExprError::NoFunction(function.clone()))?,
                args: args
                    .iter()
                    .map(Self::to_logical)
                    .collect::<Result<_, _>>()?,
            }),
        })
    }

    /// Makes the expression executable over rows of `input`.
    pub fn to_physical(&self, input: &[ColumnSpec]) -> Result<Arc<dyn PhysicalExpr>, ExprError> {
        let fields: Vec<_> = input
            .iter()
            .enumerate()
            .map(|(index, column)| column.field().with_name(input_name(index)))
            .collect();
        let schema = DFSchema::try_from(arrow::datatypes::Schema::new(fields))?;
        Ok(create_physical_expr(
            &self.to_logical()?,
            &schema,
            &ExecutionProps::new(),
        )?)
    }

    /// Calls `visit` for every input column that the expression reads.
    pub fn for_each_column(&self, visit: &mut dyn FnMut(usize)) {
        match self {
            Self::Column(index) => visit(*index),
            Self::Literal(_) => {}
            Self::Binary { left, right, .. } => {
                left.for_each_column(visit);
                right.for_each_column(visit);
            }
            Self::Unary { arg, .. } | Self::Cast { arg, .. } => arg.for_each_column(visit),
            Self::Case {
                operand,
                branches,
                otherwise,
            } => {
                if let Some(operand) = operand {
                    operand.for_each_column(visit);
                }
                for (when, then) in branches {
                    when.for_each_column(visit);
                    then.for_each_column(visit);
                }
                if let Some(otherwise) = otherwise {
                    otherwise.for_each_column(visit);
                }
            }
            Self::Like { arg, pattern, .. } => {
                arg.for_each_column(visit);
                pattern.for_each_column(visit);
            }
            Self::InList { arg, list, .. } => {
                arg.for_each_column(visit);
                list.iter().for_each(|e| e.for_each_column(visit));
            }
            Self::Call { args, .. } => args.iter().for_each(|e| e.for_each_column(visit)),
        }
    }

    /// The expression over what `columns` are computed from: every column replaced by its
    /// expression. A column that there is not stays.
    #[must_use]
    pub fn substitute(&self, columns: &[ScalarExpr]) -> Self {
        let go = |e: &Self| e.substitute(columns);
        let boxed = |e: &Self| Box::new(e.substitute(columns));
        match self {
            Self::Column(index) => columns.get(*index).unwrap_or(self).clone(),
            Self::Literal(_) => self.clone(),
            Self::Binary { op, left, right } => Self::Binary {
                op: op.clone(),
                left: boxed(left),
                right: boxed(right),
            },
            Self::Unary { op, arg } => Self::Unary {
                op: op.clone(),
                arg: boxed(arg),
            },
            Self::Cast { arg, to, lenient } => Self::Cast {
                arg: boxed(arg),
                to: to.clone(),
                lenient: *lenient,
            },
            Self::Case {
                operand,
                branches,
                otherwise,
            } => Self::Case {
                operand: operand.as_deref().map(boxed),
                branches: branches
                    .iter()
                    .map(|(when, then)| (go(when), go(then)))
                    .collect(),
                otherwise: otherwise.as_deref().map(boxed),
            },
            Self::Like {
                kind,
                arg,
                pattern,
                negated,
                escape,
            } => Self::Like {
                kind: *kind,
                arg: boxed(arg),
                pattern: boxed(pattern),
                negated: *negated,
                escape: *escape,
            },
            Self::InList { arg, list, negated } => Self::InList {
                arg: boxed(arg),
                list: list.iter().map(go).collect(),
                negated: *negated,
            },
            Self::Call { function, args } => Self::Call {
                function: function.clone(),
                args: args.iter().map(go).collect(),
            },
        }
    }

    /// The expression as SQL, with the names of `input`.
    pub fn display(&self, input: &[ColumnSpec]) -> String {
        let show = |e: &Self| e.display(input);
        match self {
            Self::Column(index) => input
                .get(*index)
                .map_or_else(|| format!("#{index}"), |c| c.name.clone()),
            Self::Literal(literal) => match literal.to_scalar() {
                Some(
                    ScalarValue::Utf8(Some(text))
                    | ScalarValue::Utf8View(Some(text))
                    | ScalarValue::LargeUtf8(Some(text)),
                ) => format!("'{}'", text.replace('\'', "''")),
                Some(scalar) if scalar.is_null() => "NULL".into(),
                Some(ScalarValue::Decimal128(Some(value), precision, scale)) => {
                    arrow::datatypes::Decimal128Type::format_decimal(value, precision, scale)
                }
                Some(scalar) => scalar.to_string(),
                None => "?".into(),
            },
            Self::Binary { op, left, right } => {
                let side = |e: &Self| match e {
                    Self::Binary { .. } => format!("({})", show(e)),
                    _ => show(e),
                };
                format!("{} {op} {}", side(left), side(right))
            }
            Self::Unary { op, arg } if op == "NOT" => format!("NOT ({})", show(arg)),
            Self::Unary { op, arg } if op == "-" => format!("-({})", show(arg)),
            Self::Unary { op, arg } => format!("{} {op}", show(arg)),
            Self::Cast { arg, to, lenient } => format!(
                "{}({} AS {})",
                if *lenient { "TRY_CAST" } else { "CAST" },
                show(arg),
                super::types::type_name(to).unwrap_or_else(|| to.to_string()),
            ),
            Self::Case {
                operand,
                branches,
                otherwise,
            } => {
                let mut text = String::from("CASE");
                if let Some(operand) = operand {
                    text += &format!(" {}", show(operand));
                }
                for (when, then) in branches {
                    text += &format!(" WHEN {} THEN {}", show(when), show(then));
                }
                if let Some(otherwise) = otherwise {
                    text += &format!(" ELSE {}", show(otherwise));
                }
                text + " END"
            }
            Self::Like {
                kind,
                arg,
                pattern,
                negated,
                escape,
            } => {
                let word = match kind {
                    LikeKind::Like => "LIKE",
                    LikeKind::Ilike => "ILIKE",
                    LikeKind::Similar => "SIMILAR TO",
                };
                let not = if *negated { "NOT " } else { "" };
                let escape = escape.map_or_else(String::new, |c| format!(" ESCAPE '{c}'"));
                format!("{} {not}{word} {}{escape}", show(arg), show(pattern))
            }
            Self::InList { arg, list, negated } => format!(
                "{} {}IN ({})",
                show(arg),
                if *negated { "NOT " } else { "" },
                list.iter().map(show).collect::<Vec<_>>().join(", ")
            ),
            Self::Call { function, args } => format!(
                "{function}({})",
                args.iter().map(show).collect::<Vec<_>>().join(", ")
            ),
        }
    }
}

/// The name under which an expression finds the input column at `index`: names of a
/// relation need not be unique on the way, positions are.
fn input_name(index: usize) -> String {
    format!("c{index}")
}
