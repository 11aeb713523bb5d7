//! `TUMBLE` and `HOP` in FROM, turned into subqueries over the window functions.
//!
//! `TUMBLE(t, ts, INTERVAL '1 minute')` becomes a projection of all columns of `t` with
//! `window_start` and `window_end`, under the name `t` or its alias. Flink's spelling
//! `TABLE(TUMBLE(TABLE t, DESCRIPTOR(ts), …))` is brought to the same form on the tokens,
//! since it is no expression.

use super::tokens::{DIALECT, is_word, place_of};
use crate::error::{Place, SqlError, SqlState};
use crate::functions::{HOP, SHIFT, TUMBLE};
use datafusion::sql::sqlparser::ast::{
    self, DateTimeField, Expr, FunctionArg, FunctionArgExpr, Ident, Query, Spanned, TableAlias,
    TableFactor, VisitMut, VisitorMut,
};
use datafusion::sql::sqlparser::parser::Parser;
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};
use std::ops::ControlFlow;

/// Flink's form of a window in FROM brought to the short form.
pub(crate) fn normalize(tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    let mut out: Vec<TokenWithSpan> = Vec::with_capacity(tokens.len());
    let mut at = 0;
    while let Some(token) = tokens.get(at) {
        let wrapped = is_word(&token.token, "TABLE")
            && next_is(&tokens, at + 1, &Token::LParen)
            && is_window(&tokens, at + 2);
        if wrapped && let Some(close) = closing(&tokens, at + 1) {
            let inside = tokens.get(at + 2..close).unwrap_or_default().to_vec();
            out.extend(arguments(inside));
            at = close + 1;
        } else if is_window(&tokens, at)
            && let Some(close) = closing(&tokens, at + 1)
        {
            let inside = tokens.get(at..=close).unwrap_or_default().to_vec();
            out.extend(arguments(inside));
            at = close + 1;
        } else {
            out.push(token.clone());
            at += 1;
        }
    }
    out
}

fn is_window(tokens: &[TokenWithSpan], at: usize) -> bool {
    tokens
        .get(at)
        .is_some_and(|t| is_word(&t.token, "TUMBLE") || is_word(&t.token, "HOP"))
        && next_is(tokens, at + 1, &Token::LParen)
}

fn next_is(tokens: &[TokenWithSpan], at: usize, wanted: &Token) -> bool {
    tokens.get(at).is_some_and(|t| t.token == *wanted)
}

/// The index of the parenthesis that closes the one at `open`.
fn closing(tokens: &[TokenWithSpan], open: usize) -> Option<usize> {
    let mut depth = 0_usize;
    for (index, token) in tokens.iter().enumerate().skip(open) {
        match token.token {
            Token::LParen => depth += 1,
            Token::RParen => {
                depth = depth.checked_sub(1)?;
                if depth == 0 {
                    return Some(index);
                }
            }
            _ => {}
        }
    }
    None
}

/// `TUMBLE(TABLE t, DESCRIPTOR(ts), …)` without the words around names.
fn arguments(tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    let mut out = Vec::with_capacity(tokens.len());
    let mut at = 0;
    while let Some(token) = tokens.get(at) {
        let first = at == 2;
        let descriptor = is_word(&token.token, "DESCRIPTOR")
            && next_is(&tokens, at + 1, &Token::LParen)
            && next_is(&tokens, at + 3, &Token::RParen);
        if first && is_word(&token.token, "TABLE") {
            at += 1;
        } else if descriptor && let Some(column) = tokens.get(at + 2) {
            out.push(column.clone());
            at += 4;
        } else {
            out.push(token.clone());
            at += 1;
        }
    }
    out
}

/// Replaces every window in FROM, at any depth.
pub(crate) fn rewrite(query: &mut Query) -> Result<(), SqlError> {
    match query.visit(&mut Rewriter) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(error) => Err(error),
    }
}

struct Rewriter;

impl VisitorMut for Rewriter {
    type Break = SqlError;

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<SqlError> {
        match window_of(factor) {
            Ok(Some(replacement)) => {
                *factor = replacement;
                ControlFlow::Continue(())
            }
            Ok(None) => ControlFlow::Continue(()),
            Err(error) => ControlFlow::Break(error),
        }
    }
}

fn window_of(factor: &TableFactor) -> Result<Option<TableFactor>, SqlError> {
    let TableFactor::Table {
        name,
        alias,
        args: Some(args),
        ..
    } = factor
    else {
        return Ok(None);
    };
    let function = name.to_string().to_uppercase();
    let place = place_of(name.span());
    let wanted = match function.as_str() {
        "TUMBLE" => 3,
        "HOP" => 4,
        "CUMULATE" | "SESSION" => {
            return Err(
                SqlError::unsupported(format!("{function} windows are not supported yet"))
                    .at(place)
                    .hint("TUMBLE and HOP are"),
            );
        }
        _ => return Ok(None),
    };
    let usage = if wanted == 3 {
        "write TUMBLE(table, time_column, INTERVAL '1 minute')"
    } else {
        "write HOP(table, time_column, INTERVAL '1 minute', INTERVAL '5 minutes'): first the slide, then the size"
    };
    let wrong = |message: String| {
        SqlError::new(SqlState::SyntaxError, message)
            .at(place)
            .hint(usage)
    };
    let exprs: Vec<&Expr> = args
        .args
        .iter()
        .map(|arg| match arg {
            FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Ok(expr),
            FunctionArg::Named {
                arg: FunctionArgExpr::Expr(expr),
                ..
            } => Ok(expr),
            other => Err(wrong(format!("{function} cannot take `{other}`"))),
        })
        .collect::<Result<_, _>>()?;
    if exprs.len() != wanted {
        return Err(wrong(format!(
            "{function} takes {wanted} arguments, and has {}",
            exprs.len()
        )));
    }
    let (Some(table), Some(time), Some(first)) = (exprs.first(), exprs.get(1), exprs.get(2)) else {
        return Ok(None);
    };
    let (source, default_alias) = relation(table).ok_or_else(|| {
        wrong(format!(
            "the first argument of {function} is a table, not `{table}`"
        ))
    })?;
    let first_ms = positive_interval(first, &function)?;
    let template = match exprs.get(3) {
        None => format!(
            "SELECT *, {TUMBLE}(__time, {first_ms}) AS window_start, \
             {SHIFT}({TUMBLE}(__time, {first_ms}), {first_ms}) AS window_end \
             FROM __table WHERE __time IS NOT NULL"
        ),
        Some(size) => {
            let size_ms = positive_interval(size, &function)?;
            format!(
                "SELECT *, {SHIFT}(window_start, {size_ms}) AS window_end FROM \
                 (SELECT *, unnest({HOP}(__time, {first_ms}, {size_ms})) AS window_start \
                 FROM __table)"
            )
        }
    };
    let mut subquery = Parser::new(&DIALECT)
        .try_with_sql(&template)
        .and_then(|mut parser| parser.parse_query())
        .map_err(SqlError::internal)?;
    let mut fill = Fill {
        time: (*time).clone(),
        source: Some(source),
    };
    let _ = subquery.visit(&mut fill);
    // A window over a window: the inner one is in the source just filled in.
    rewrite(&mut subquery)?;
    let alias = alias.clone().or(default_alias.map(|name| TableAlias {
        explicit: true,
        name,
        columns: Vec::new(),
        at: None,
    }));
    Ok(Some(TableFactor::Derived {
        lateral: false,
        subquery,
        alias,
        sample: None,
    }))
}

/// The relation that an argument names, and the name it goes by.
fn relation(argument: &Expr) -> Option<(TableFactor, Option<Ident>)> {
    let named = |parts: Vec<Ident>| {
        let alias = parts.last().cloned();
        let factor = TableFactor::Table {
            name: ast::ObjectName::from(parts),
            alias: None,
            args: None,
            with_hints: Vec::new(),
            version: None,
            with_ordinality: false,
            partitions: Vec::new(),
            json_path: None,
            sample: None,
            index_hints: Vec::new(),
        };
        (factor, alias)
    };
    match argument {
        Expr::Identifier(ident) => Some(named(vec![ident.clone()])),
        Expr::CompoundIdentifier(parts) => Some(named(parts.clone())),
        Expr::Subquery(query) => Some((
            TableFactor::Derived {
                lateral: false,
                subquery: query.clone(),
                alias: None,
                sample: None,
            },
            None,
        )),
        _ => None,
    }
}

struct Fill {
    time: Expr,
    source: Option<TableFactor>,
}

impl VisitorMut for Fill {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if matches!(expr, Expr::Identifier(ident) if ident.value == "__time") {
            *expr = self.time.clone();
        }
        ControlFlow::Continue(())
    }

    fn post_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<()> {
        let placeholder =
            matches!(&*factor, TableFactor::Table { name, .. } if name.to_string() == "__table");
        if placeholder && let Some(source) = self.source.take() {
            *factor = source;
        }
        ControlFlow::Continue(())
    }
}

fn positive_interval(expr: &Expr, what: &str) -> Result<i64, SqlError> {
    let ms = interval_ms(expr)?;
    if ms <= 0 {
        return Err(SqlError::new(
            SqlState::InvalidParameter,
            format!("the interval of {what} must be greater than zero"),
        )
        .at(place_of(expr.span())));
    }
    Ok(ms)
}

/// The length of an `INTERVAL` in milliseconds.
pub(crate) fn interval_ms(expr: &Expr) -> Result<i64, SqlError> {
    let place: Option<Place> = place_of(expr.span());
    let bad = |message: String| {
        SqlError::new(SqlState::InvalidParameter, message)
            .at(place)
            .hint("write an interval as INTERVAL '5' SECOND or INTERVAL '1 hour 30 minutes'")
    };
    let Expr::Interval(interval) = expr else {
        return Err(bad(format!("expected an INTERVAL, found `{expr}`")));
    };
    let text = match interval.value.as_ref() {
        Expr::Value(value) => match &value.value {
            ast::Value::SingleQuotedString(text) => text.clone(),
            ast::Value::Number(number, _) => number.clone(),
            other => return Err(bad(format!("an INTERVAL is not written `{other}`"))),
        },
        other => return Err(bad(format!("an INTERVAL is a constant, not `{other}`"))),
    };
    let unit = match &interval.leading_field {
        None => String::new(),
        Some(
            DateTimeField::Year
            | DateTimeField::Years
            | DateTimeField::Month
            | DateTimeField::Months,
        ) => {
            return Err(bad(
                "months and years have no fixed length, so that they cannot measure time here"
                    .into(),
            ));
        }
        Some(field) => format!(" {field}"),
    };
    let parsed = arrow::compute::kernels::cast_utils::parse_interval_month_day_nano(&format!(
        "{}{unit}",
        text.trim()
    ))
    .map_err(|_| bad(format!("`{expr}` is not an interval")))?;
    if parsed.months != 0 {
        return Err(bad(
            "months and years have no fixed length, so that they cannot measure time here".into(),
        ));
    }
    if parsed.nanoseconds % 1_000_000 != 0 {
        return Err(bad("intervals here are whole milliseconds".into()));
    }
    Ok(i64::from(parsed.days) * 86_400_000 + parsed.nanoseconds / 1_000_000)
}
