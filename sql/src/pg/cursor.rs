//! `DECLARE`, `FETCH` and `CLOSE`: how psql reads a result in parts when its variable
//! `FETCH_COUNT` is set. With `\set FETCH_COUNT 1` it shows every row of a push query as
//! it comes.

use super::error::WireError;
use super::statement::skip_word;
use crate::parse::{Parsed, Statement, parse};

/// A statement about a cursor.
#[derive(Debug)]
pub(super) enum CursorStatement {
    /// Opens one over a query.
    Declare { name: String, query: Box<Parsed> },
    /// Takes so many rows, all when 0.
    Fetch { name: String, count: u64 },
    /// Closes one, or all.
    Close(Option<String>),
}

impl CursorStatement {
    /// The statement, if it is about a cursor.
    pub(super) fn recognize(script: &str) -> Result<Option<Self>, WireError> {
        let text = script.trim_end().trim_end_matches(';').trim_end();
        if let Some(rest) = skip_word(text, "DECLARE") {
            return declare(text, rest).map(Some);
        }
        if let Some(rest) = skip_word(text, "FETCH") {
            return fetch(rest).map(Some);
        }
        Ok(skip_word(text, "CLOSE").map(|rest| {
            let (name, _) = word(rest);
            Self::Close((!name.eq_ignore_ascii_case("all")).then_some(name))
        }))
    }
}

/// The first word, in lower case unless it is quoted, and what follows.
fn word(text: &str) -> (String, &str) {
    let text = text.trim_start();
    if let Some((quoted, rest)) = text.strip_prefix('"').and_then(|t| t.split_once('"')) {
        return (quoted.to_owned(), rest.trim_start());
    }
    let end = text
        .find(|c: char| !(c.is_alphanumeric() || c == '_'))
        .unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    (name.to_lowercase(), rest.trim_start())
}

fn declare(text: &str, rest: &str) -> Result<CursorStatement, WireError> {
    let (name, mut rest) = word(rest);
    let wrong = || {
        WireError::new("42601", "this is no declaration of a cursor")
            .hint("write DECLARE name CURSOR FOR SELECT …")
    };
    while let Some(after) = ["BINARY", "INSENSITIVE", "ASENSITIVE", "NO", "SCROLL"]
        .iter()
        .find_map(|option| skip_word(rest, option))
    {
        rest = after;
    }
    rest = skip_word(rest, "CURSOR").ok_or_else(wrong)?;
    for hold in ["WITH", "WITHOUT"] {
        if let Some(after) = skip_word(rest, hold) {
            rest = skip_word(after, "HOLD").ok_or_else(wrong)?;
        }
    }
    let query = skip_word(rest, "FOR").ok_or_else(wrong)?;
    // Blanks instead of what stands in front, so that errors point at their places.
    let head = text.get(..text.len() - query.len()).unwrap_or_default();
    let blank = |c: char| if c == '\n' { '\n' } else { ' ' };
    let placed: String = head.chars().map(blank).chain(query.chars()).collect();
    let mut parsed = parse(&placed).map_err(|error| WireError::of(&error, text))?;
    match (parsed.pop(), parsed.is_empty()) {
        (Some(query), true) if matches!(query.statement, Statement::Query(_)) => {
            Ok(CursorStatement::Declare {
                name,
                query: Box::new(query),
            })
        }
        _ => Err(wrong()),
    }
}

fn fetch(rest: &str) -> Result<CursorStatement, WireError> {
    let rest = ["FORWARD", "NEXT"]
        .iter()
        .find_map(|way| skip_word(rest, way))
        .unwrap_or(rest);
    let (first, after) = word(rest);
    let (count, rest) = match first.parse() {
        Ok(0) => {
            return Err(WireError::new(
                "0A000",
                "a FETCH of no rows is not supported",
            ));
        }
        Ok(count) => (count, after),
        Err(_) if first == "all" => (0, after),
        Err(_) => (1, rest),
    };
    let rest = ["FROM", "IN"]
        .iter()
        .find_map(|from| skip_word(rest, from))
        .unwrap_or(rest);
    let (name, rest) = word(rest);
    if name.is_empty() || !rest.is_empty() {
        return Err(WireError::new("0A000", "a cursor can only be read forward")
            .hint("write FETCH FORWARD count FROM name"));
    }
    Ok(CursorStatement::Fetch { name, count })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recognize(script: &str) -> String {
        match CursorStatement::recognize(script) {
            Ok(Some(CursorStatement::Declare { name, query })) => {
                let place = query.start().expect("a place");
                format!("{name} {}:{} {}", place.line, place.column, query.text)
            }
            Ok(other) => format!("{other:?}"),
            Err(_) => "error".into(),
        }
    }

    #[test]
    fn a_declared_query_keeps_its_place() {
        assert_eq!(
            recognize("DECLARE _psql_cursor NO SCROLL CURSOR FOR\nSELECT a FROM t;"),
            "_psql_cursor 2:1 SELECT a FROM t"
        );
        assert_eq!(
            recognize("declare C cursor with hold for select 1"),
            "c 1:32 select 1"
        );
        assert_eq!(recognize("DECLARE c CURSOR FOR FLUSH"), "error");
    }

    #[test]
    fn a_fetch_says_how_many() {
        let wanted = |count: u64| format!("Some(Fetch {{ name: \"c\", count: {count} }})");
        assert_eq!(recognize("FETCH FORWARD 10 FROM c"), wanted(10));
        assert_eq!(recognize("fetch next in c"), wanted(1));
        assert_eq!(recognize("FETCH ALL c"), wanted(0));
        assert_eq!(recognize("FETCH c;"), wanted(1));
        assert_eq!(recognize("FETCH BACKWARD 1 FROM c"), "error");
        assert_eq!(recognize("CLOSE ALL"), "Some(Close(None))");
        assert_eq!(recognize("SELECT 1"), "None");
    }
}
