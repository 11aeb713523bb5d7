//! What DataFusion says against a statement, in our words and with a place.

use crate::error::{Place, SqlError, SqlState, suggest};
use crate::parse::Parsed;
use datafusion::common::SchemaError;
use datafusion::error::DataFusionError;

/// Turns an error of planning into one that points into the statement.
pub(crate) fn planning_error(error: DataFusionError, parsed: &Parsed) -> SqlError {
    let span = error
        .diagnostic()
        .and_then(|diagnostic| diagnostic.span)
        .map(|span| Place {
            line: span.start.line,
            column: span.start.column,
            length: if span.end.line == span.start.line {
                span.end.column.saturating_sub(span.start.column).max(1)
            } else {
                1
            },
        });
    translate(innermost(&error), parsed).at(span)
}

/// Turns an error of a running query into ours.
pub(crate) fn running_error(error: &DataFusionError) -> SqlError {
    match innermost(error) {
        DataFusionError::External(inner) => match inner.downcast_ref::<SqlError>() {
            Some(ours) => ours.clone(),
            None => SqlError::internal(inner),
        },
        DataFusionError::ArrowError(inner, _) => {
            SqlError::new(SqlState::DataException, sentence(&inner.to_string()))
        }
        DataFusionError::Execution(text) => SqlError::new(SqlState::DataException, sentence(text)),
        DataFusionError::NotImplemented(text) => SqlError::unsupported(sentence(text)),
        other => SqlError::internal(sentence(&other.strip_backtrace())),
    }
}

fn innermost(error: &DataFusionError) -> &DataFusionError {
    match error {
        DataFusionError::Context(_, inner) | DataFusionError::Diagnostic(_, inner) => {
            innermost(inner)
        }
        DataFusionError::Shared(inner) => innermost(inner),
        DataFusionError::Collection(errors) => errors.first().map_or(error, innermost),
        other => other,
    }
}

fn translate(error: &DataFusionError, parsed: &Parsed) -> SqlError {
    match error {
        DataFusionError::SchemaError(schema, _) => schema_error(schema, parsed),
        DataFusionError::Plan(text) => plan_error(text, parsed),
        DataFusionError::NotImplemented(text) => {
            SqlError::unsupported(sentence(text)).at(parsed.start())
        }
        DataFusionError::External(inner) => match inner.downcast_ref::<SqlError>() {
            Some(ours) => ours.clone(),
            None => SqlError::internal(inner),
        },
        other => {
            let text = other.strip_backtrace();
            let text = text.split("\n\nbacktrace").next().unwrap_or_default();
            SqlError::new(SqlState::DataException, sentence(text)).at(parsed.start())
        }
    }
}

fn schema_error(error: &SchemaError, parsed: &Parsed) -> SqlError {
    match error {
        SchemaError::FieldNotFound {
            field,
            valid_fields,
        } => {
            let mut names: Vec<&str> = Vec::new();
            for column in valid_fields {
                if !names.contains(&column.name()) {
                    names.push(column.name());
                }
            }
            let error = SqlError::new(
                SqlState::UndefinedColumn,
                format!("there is no column `{}`", field.flat_name()),
            )
            .at(parsed.find(field.name()));
            match suggest(field.name(), "the columns here are", names) {
                Some(hint) => error.hint(hint),
                None => error,
            }
        }
        SchemaError::AmbiguousReference { field } => SqlError::new(
            SqlState::AmbiguousColumn,
            format!(
                "the column `{}` is in more than one of the tables",
                field.name()
            ),
        )
        .at(parsed.find(field.name()))
        .hint(format!("write table.{}", field.name())),
        SchemaError::DuplicateQualifiedField { name, .. }
        | SchemaError::DuplicateUnqualifiedField { name } => SqlError::new(
            SqlState::DuplicateColumn,
            format!("the column `{name}` is there twice"),
        )
        .at(parsed.find(name))
        .hint("give one of them another name with AS"),
    }
}

fn plan_error(text: &str, parsed: &Parsed) -> SqlError {
    if let Some(rest) = text.strip_prefix("Invalid function '") {
        let name = rest.split('\'').next().unwrap_or_default();
        let error = SqlError::new(
            SqlState::UndefinedFunction,
            format!("there is no function `{name}`"),
        )
        .at(parsed.find(name));
        let near = rest
            .split("Did you mean '")
            .nth(1)
            .and_then(|near| near.split('\'').next());
        return match near {
            Some(near) => error.hint(format!("did you mean `{near}`?")),
            None => error,
        };
    }
    if text.contains("must be in GROUP BY or an aggregate function")
        || text.contains("must appear in the GROUP BY clause")
    {
        let column = text.split('"').nth(1).map(|name| name.replace('"', ""));
        let column = column.as_deref().map(|c| c.rsplit('.').next().unwrap_or(c));
        let message = match column {
            Some(column) => {
                format!("the column `{column}` is neither grouped by nor inside an aggregate")
            }
            None => "a column is neither grouped by nor inside an aggregate".to_owned(),
        };
        return SqlError::new(SqlState::GroupingError, message)
            .at(column.and_then(|column| parsed.find(column)))
            .at(parsed.start())
            .hint("add it to GROUP BY, or take for example MIN or MAX of it");
    }
    if let Some((_, rest)) = text.split_once("a window is over ") {
        let what = rest.split(". ").next().unwrap_or(rest);
        return SqlError::new(
            SqlState::DatatypeMismatch,
            format!("a window is over {what}"),
        )
        .at(parsed.find("TUMBLE"))
        .at(parsed.find("HOP"))
        .hint("name the column with the time of the row, or cast it to TIMESTAMP in a view");
    }
    let state = if text.contains("coerce") || text.contains("types") || text.contains("type") {
        SqlState::DatatypeMismatch
    } else {
        SqlState::SyntaxError
    };
    let text = text.split("\n\nbacktrace").next().unwrap_or_default();
    let short = text.split(" Candidate functions:").next().unwrap_or(text);
    SqlError::new(state, sentence(short.trim())).at(parsed.start())
}

fn sentence(message: &str) -> String {
    let message = message
        .strip_prefix("Error during planning: ")
        .unwrap_or(message);
    let mut chars = message.chars();
    match (chars.next(), message.chars().nth(1)) {
        // An acronym stays as it is.
        (Some(first), Some(second)) if !second.is_uppercase() => {
            first.to_lowercase().chain(chars).collect()
        }
        _ => message.to_owned(),
    }
}
