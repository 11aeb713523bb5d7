//! A script cut into statements, with the places of all words.

use crate::error::{Place, SqlError, SqlState};
use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::parser::ParserError;
use datafusion::sql::sqlparser::tokenizer::{
    Location, Span, Token, TokenWithSpan, Tokenizer, Word,
};

pub(crate) static DIALECT: PostgreSqlDialect = PostgreSqlDialect {};

/// The significant tokens of one statement, and its text.
#[derive(Debug, Clone)]
pub(crate) struct Piece {
    pub(crate) tokens: Vec<TokenWithSpan>,
    pub(crate) text: String,
}

/// Cuts a script at its semicolons; empty statements are left out.
pub(crate) fn split(script: &str) -> Result<Vec<Piece>, SqlError> {
    let tokens = Tokenizer::new(&DIALECT, script)
        .tokenize_with_location()
        .map_err(|error| {
            SqlError::new(SqlState::SyntaxError, sentence(&error.message))
                .at(place_of_location(error.location))
                .hint("check that every quote and comment is closed")
        })?;
    let mut pieces = Vec::new();
    let mut current: Vec<TokenWithSpan> = Vec::new();
    for token in tokens {
        match token.token {
            Token::SemiColon | Token::EOF => finish(script, &mut current, &mut pieces),
            Token::Whitespace(_) => {}
            _ => current.push(token),
        }
    }
    finish(script, &mut current, &mut pieces);
    Ok(pieces)
}

fn finish(script: &str, current: &mut Vec<TokenWithSpan>, pieces: &mut Vec<Piece>) {
    let tokens = std::mem::take(current);
    if let (Some(first), Some(last)) = (tokens.first(), tokens.last()) {
        let text = text_between(script, first.span.start, last.span.end);
        pieces.push(Piece { tokens, text });
    }
}

/// The text from `start` up to `end`, the location behind the last character.
fn text_between(script: &str, start: Location, end: Location) -> String {
    let mut line = 1;
    let mut column = 1;
    let mut text = String::new();
    for c in script.chars() {
        if (line, column) >= (end.line, end.column) {
            break;
        }
        if (line, column) >= (start.line, start.column) {
            text.push(c);
        }
        if c == '\n' {
            line += 1;
            column = 1;
        } else {
            column += 1;
        }
    }
    text
}

fn place_of_location(location: Location) -> Option<Place> {
    (location.line > 0).then_some(Place {
        line: location.line,
        column: location.column,
        length: 1,
    })
}

/// The place of a span; `None` for a span that stands for nothing in the script.
pub(crate) fn place_of(span: Span) -> Option<Place> {
    if span.start.line == 0 {
        return None;
    }
    let length = if span.end.line == span.start.line {
        span.end.column.saturating_sub(span.start.column).max(1)
    } else {
        1
    };
    Some(Place {
        line: span.start.line,
        column: span.start.column,
        length,
    })
}

/// A parser's error as ours: it carries its place in its text.
pub(crate) fn syntax_error(error: &ParserError, tokens: &[TokenWithSpan]) -> SqlError {
    let text = match error {
        ParserError::TokenizerError(text) | ParserError::ParserError(text) => text.as_str(),
        ParserError::RecursionLimitExceeded => {
            return SqlError::new(
                SqlState::SyntaxError,
                "the statement is nested too deeply to parse",
            )
            .hint("split it with WITH, or into several views");
        }
    };
    let (message, place) = match text.rsplit_once(" at Line: ") {
        Some((message, rest)) => (message, parse_place(rest)),
        None => (text, None),
    };
    let place = place.map(|place| widen(place, tokens)).or_else(|| {
        let last = tokens.last()?;
        Some(Place {
            line: last.span.end.line,
            column: last.span.end.column,
            length: 1,
        })
    });
    let message = message
        .strip_prefix("sql parser error: ")
        .unwrap_or(message)
        .replace("found: EOF", "the statement ends here")
        .replace("Expected: ", "expected ")
        .replace("found: ", "found ");
    SqlError::new(SqlState::SyntaxError, sentence(&message)).at(place)
}

fn parse_place(text: &str) -> Option<Place> {
    let (line, column) = text.split_once(", Column: ")?;
    Some(Place {
        line: line.trim().parse().ok()?,
        column: column.trim().parse().ok()?,
        length: 1,
    })
}

/// The place of the whole token that stands there.
fn widen(place: Place, tokens: &[TokenWithSpan]) -> Place {
    tokens
        .iter()
        .filter_map(|token| place_of(token.span))
        .find(|token| token.line == place.line && token.column == place.column)
        .unwrap_or(place)
}

fn sentence(message: &str) -> String {
    let mut chars = message.chars();
    match chars.next() {
        Some(first) => first.to_lowercase().chain(chars).collect(),
        None => String::new(),
    }
}

/// The word of a token that is not quoted.
pub(crate) fn bare(token: &Token) -> Option<&str> {
    match token {
        Token::Word(Word {
            value,
            quote_style: None,
            ..
        }) => Some(value),
        _ => None,
    }
}

/// Whether the token is this unquoted word, in any case.
pub(crate) fn is_word(token: &Token, word: &str) -> bool {
    bare(token).is_some_and(|text| text.eq_ignore_ascii_case(word))
}

/// The place of the first identifier in a statement that is spelled `name`.
pub(crate) fn find_name(tokens: &[TokenWithSpan], name: &str) -> Option<Place> {
    tokens
        .iter()
        .find(|token| match &token.token {
            Token::Word(word) if word.quote_style.is_some() => word.value == name,
            Token::Word(word) => word.value.eq_ignore_ascii_case(name),
            _ => false,
        })
        .and_then(|token| place_of(token.span))
}
