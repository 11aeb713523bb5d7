//! A client's text as steps of a session: what the engine runs, and what concerns the
//! session alone.

use super::cursor::CursorStatement;
use super::error::WireError;
use super::system::Question;
use super::types::pg_type;
use crate::engine::Session;
use crate::parse::{Parsed, Statement, parse};
use arrow::datatypes::{Schema, SchemaRef};
use pgwire::api::Type;

/// One statement.
#[derive(Debug)]
pub(super) enum Step {
    /// For the engine.
    Engine(Box<Parsed>),
    Begin,
    End {
        commit: bool,
    },
    Set {
        name: String,
        value: String,
    },
    /// A variable, or all.
    Reset(Option<String>),
    Show {
        name: String,
        parsed: Box<Parsed>,
    },
    Discard,
    /// A prepared statement, or all.
    Deallocate(Option<String>),
    /// What psql or a driver asks Postgres' own catalog.
    System(Question),
    Cursor(CursorStatement),
}

impl Step {
    /// Whether a transaction block ends with it, a failed one too.
    pub(super) fn ends_block(&self) -> bool {
        matches!(self, Self::End { .. })
    }
}

/// The steps of a script.
pub(super) fn steps(script: &str) -> Result<Vec<Step>, WireError> {
    // Such questions have expressions that only Postgres can parse, so that they are
    // looked for first; a script of several statements is never one.
    let asked = script.trim_end().trim_end_matches(';');
    if !asked.contains(';')
        && let Some(question) = Question::recognize(asked)?
    {
        return Ok(vec![Step::System(question)]);
    }
    if let Some(statement) = CursorStatement::recognize(script)? {
        return Ok(vec![Step::Cursor(statement)]);
    }
    let parsed = parse(script).map_err(|error| WireError::of(&error, script))?;
    parsed.into_iter().map(step).collect()
}

fn step(parsed: Parsed) -> Result<Step, WireError> {
    Ok(match &parsed.statement {
        Statement::Accepted("BEGIN") => Step::Begin,
        Statement::Accepted("COMMIT") => Step::End { commit: true },
        Statement::Accepted("ROLLBACK") => Step::End { commit: false },
        Statement::Accepted("DISCARD ALL") => Step::Discard,
        Statement::Accepted("SET") => match assignment(&parsed.text) {
            Some((name, value)) => Step::Set { name, value },
            // SET TRANSACTION, SET ROLE and the like have nothing to set here.
            None => Step::Engine(Box::new(parsed)),
        },
        Statement::Accepted("RESET") => Step::Reset(argument(&parsed.text)),
        Statement::Accepted("DEALLOCATE") => Step::Deallocate(argument(&parsed.text)),
        Statement::ShowVariable(name) => Step::Show {
            name: name.clone(),
            parsed: Box::new(parsed),
        },
        Statement::Query(_) => match Question::recognize(&parsed.text)? {
            Some(question) => Step::System(question),
            None => Step::Engine(Box::new(parsed)),
        },
        _ => Step::Engine(Box::new(parsed)),
    })
}

/// The name and the value of `SET [SESSION | LOCAL] name { TO | = } value`.
fn assignment(text: &str) -> Option<(String, String)> {
    let rest = skip_word(text, "SET")?;
    let rest = skip_word(rest, "SESSION")
        .or_else(|| skip_word(rest, "LOCAL"))
        .unwrap_or(rest);
    if let Some(zone) = skip_word(rest, "TIME").and_then(|rest| skip_word(rest, "ZONE")) {
        return Some(("timezone".into(), unquoted(zone)));
    }
    let end = rest.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == '.'))?;
    let (name, rest) = rest.split_at(end);
    let rest = rest.trim_start();
    let value = match rest.strip_prefix('=') {
        Some(value) => value,
        None => skip_word(rest, "TO")?,
    };
    (!name.is_empty()).then(|| (name.to_lowercase(), unquoted(value)))
}

/// What follows the first word, `None` for `ALL`.
fn argument(text: &str) -> Option<String> {
    let (_, rest) = text.trim().split_once(char::is_whitespace)?;
    let rest = skip_word(rest, "PREPARE").unwrap_or(rest).trim();
    if rest.eq_ignore_ascii_case("all") || rest.is_empty() {
        return None;
    }
    Some(match rest.strip_prefix('"') {
        Some(quoted) => quoted.trim_end_matches('"').to_owned(),
        None => rest.to_lowercase(),
    })
}

pub(super) fn skip_word<'a>(text: &'a str, word: &str) -> Option<&'a str> {
    let text = text.trim_start();
    let head = text.get(..word.len())?;
    let rest = text.get(word.len()..)?;
    let whole = !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_');
    (head.eq_ignore_ascii_case(word) && whole).then(|| rest.trim_start())
}

fn unquoted(value: &str) -> String {
    let value = value.trim();
    match value.strip_prefix('\'').and_then(|v| v.strip_suffix('\'')) {
        Some(inner) => inner.replace("''", "'"),
        None => value.to_owned(),
    }
}

/// Of what kind rows are, for the tag behind them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verb {
    Select,
    Show,
    Explain,
    Describe,
}

impl Verb {
    pub(super) fn of(statement: &Statement) -> Self {
        match statement {
            Statement::Show(_) | Statement::ShowCreate(_) | Statement::ShowVariable(_) => {
                Self::Show
            }
            Statement::Explain(_) => Self::Explain,
            Statement::Describe(_) => Self::Describe,
            _ => Self::Select,
        }
    }

    /// What is said behind so many rows.
    pub(super) fn tag(self, rows: u64) -> String {
        match self {
            Self::Select => format!("SELECT {rows}"),
            Self::Show => "SHOW".into(),
            Self::Explain => "EXPLAIN".into(),
            Self::Describe => "DESCRIBE".into(),
        }
    }
}

/// A statement that a client prepared.
#[derive(Debug)]
pub(super) struct Prepared {
    /// Its text.
    pub(super) script: String,
    /// What it does; nothing when it is empty.
    pub(super) step: Option<Step>,
    /// The types of its parameters.
    pub(super) parameters: Vec<Type>,
    /// Its columns, if it gives rows.
    pub(super) columns: Option<SchemaRef>,
}

impl Prepared {
    /// Prepares a statement; an oid of 0 leaves the type of that parameter to us.
    pub(super) async fn new(
        session: &Session,
        script: String,
        oids: &[u32],
    ) -> Result<Self, WireError> {
        let mut steps = steps(&script)?;
        let step = steps.pop();
        if !steps.is_empty() {
            return Err(WireError::new(
                "42601",
                "cannot insert multiple commands into a prepared statement",
            ));
        }
        let mut parameters = Vec::new();
        let mut columns = None;
        match &step {
            Some(Step::Engine(parsed)) => {
                let failed = |error| WireError::of(&error, &script);
                for found in session.parameters(parsed).await.map_err(failed)? {
                    parameters.push(found.as_ref().map_or(Type::TEXT, pg_type));
                }
                columns = session.columns(parsed).await.map_err(failed)?;
            }
            Some(Step::Show { parsed, .. }) => {
                let failed = |error| WireError::of(&error, &script);
                columns = session.columns(parsed).await.map_err(failed)?;
            }
            Some(Step::System(question)) => columns = Some(question.columns()),
            _ => {}
        }
        for (index, oid) in oids.iter().enumerate() {
            let given = Type::from_oid(*oid).filter(|given| *given != Type::UNKNOWN);
            match (parameters.get_mut(index), given) {
                (Some(slot), Some(given)) => *slot = given,
                (Some(_), None) => {}
                (None, given) => parameters.push(given.unwrap_or(Type::TEXT)),
            }
        }
        Ok(Self {
            script,
            step,
            parameters,
            columns,
        })
    }

    /// Whether a transaction block ends with it.
    pub(super) fn ends_block(&self) -> bool {
        self.step.as_ref().is_some_and(Step::ends_block)
    }

    /// That the rows are still those that the client was told of.
    pub(super) fn check(&self, schema: &Schema) -> Result<(), WireError> {
        let types = |schema: &Schema| -> Vec<Type> {
            let fields = schema.fields().iter();
            fields.map(|field| pg_type(field.data_type())).collect()
        };
        match &self.columns {
            Some(columns) if types(columns) == types(schema) => Ok(()),
            _ => Err(WireError::new(
                "0A000",
                "the columns of the prepared statement have changed",
            )
            .hint("prepare it again")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_read_as_they_are_written() {
        let read = |text: &str| assignment(text).map(|(name, value)| format!("{name}={value}"));
        assert_eq!(
            read("SET DateStyle TO 'ISO'").as_deref(),
            Some("datestyle=ISO")
        );
        assert_eq!(read("set session a.b = 3").as_deref(), Some("a.b=3"));
        assert_eq!(read("SET TIME ZONE 'UTC'").as_deref(), Some("timezone=UTC"));
        assert_eq!(read("SET total=1").as_deref(), Some("total=1"));
        assert_eq!(read("SET TRANSACTION READ ONLY"), None);
    }

    #[test]
    fn a_script_is_cut_into_steps() {
        let steps =
            steps("BEGIN; SELECT 1; ROLLBACK; DEALLOCATE ALL; DEALLOCATE x").expect("steps");
        assert!(matches!(
            steps.as_slice(),
            [
                Step::Begin,
                Step::Engine(_),
                Step::End { commit: false },
                Step::Deallocate(None),
                Step::Deallocate(Some(name)),
            ] if name == "x"
        ));
    }
}
