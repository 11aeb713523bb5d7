//! What went wrong with a statement: an SQLSTATE, a message, the place in the statement,
//! and a way out. Rendered for people with the line and a caret.

use std::fmt::{self, Display};

/// A place in the text of a script: 1-based, counted in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The line.
    pub line: u64,
    /// The column of the first character.
    pub column: u64,
    /// How many characters are meant; at least one.
    pub length: u64,
}

/// The classes of error that clients tell apart, as Postgres numbers them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SqlState {
    /// 42601
    SyntaxError,
    /// 42703
    UndefinedColumn,
    /// 42P01
    UndefinedTable,
    /// 42P07
    DuplicateTable,
    /// 42702
    AmbiguousColumn,
    /// 42701
    DuplicateColumn,
    /// 42883
    UndefinedFunction,
    /// 42804
    DatatypeMismatch,
    /// 42803
    GroupingError,
    /// 42809
    WrongObjectType,
    /// 42P16
    InvalidTableDefinition,
    /// 22023
    InvalidParameter,
    /// 22000
    DataException,
    /// 2BP01
    DependentObjects,
    /// 0A000
    FeatureNotSupported,
    /// 55000
    ObjectNotInState,
    /// 57014
    QueryCanceled,
    /// 57P01
    Shutdown,
    /// 58030
    Io,
    /// XX000
    Internal,
}

impl SqlState {
    /// The five characters that go over the wire.
    pub fn code(self) -> &'static str {
        match self {
            Self::SyntaxError => "42601",
            Self::UndefinedColumn => "42703",
            Self::UndefinedTable => "42P01",
            Self::DuplicateTable => "42P07",
            Self::AmbiguousColumn => "42702",
            Self::DuplicateColumn => "42701",
            Self::UndefinedFunction => "42883",
            Self::DatatypeMismatch => "42804",
            Self::GroupingError => "42803",
            Self::WrongObjectType => "42809",
            Self::InvalidTableDefinition => "42P16",
            Self::InvalidParameter => "22023",
            Self::DataException => "22000",
            Self::DependentObjects => "2BP01",
            Self::FeatureNotSupported => "0A000",
            Self::ObjectNotInState => "55000",
            Self::QueryCanceled => "57014",
            Self::Shutdown => "57P01",
            Self::Io => "58030",
            Self::Internal => "XX000",
        }
    }
}

/// An error of a statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SqlError {
    inner: Box<Inner>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Inner {
    state: SqlState,
    message: String,
    place: Option<Place>,
    hint: Option<String>,
}

impl SqlError {
    /// An error without a place yet.
    pub fn new(state: SqlState, message: impl Into<String>) -> Self {
        Self {
            inner: Box::new(Inner {
                state,
                message: message.into(),
                place: None,
                hint: None,
            }),
        }
    }

    /// Something that streams cannot do yet.
    pub fn unsupported(message: impl Into<String>) -> Self {
        Self::new(SqlState::FeatureNotSupported, message)
    }

    /// A fault of ours, or of what is below.
    pub fn internal(error: impl Display) -> Self {
        Self::new(SqlState::Internal, error.to_string())
    }

    /// The same error with the way out.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.inner.hint = Some(hint.into());
        self
    }

    /// The same error at a place, unless it has one.
    #[must_use]
    pub fn at(mut self, place: Option<Place>) -> Self {
        if self.inner.place.is_none() {
            self.inner.place = place;
        }
        self
    }

    /// The class of error.
    pub fn state(&self) -> SqlState {
        self.inner.state
    }

    /// What is wrong.
    pub fn message(&self) -> &str {
        &self.inner.message
    }

    /// Where.
    pub fn place(&self) -> Option<Place> {
        self.inner.place
    }

    /// The way out.
    pub fn way_out(&self) -> Option<&str> {
        self.inner.hint.as_deref()
    }

    /// The place as Postgres counts it: characters from the start of the script, from 1.
    pub fn position(&self, script: &str) -> Option<usize> {
        let place = self.inner.place?;
        let line = usize::try_from(place.line).ok()?.checked_sub(1)?;
        let column = usize::try_from(place.column).ok()?;
        let before: usize = script
            .split('\n')
            .take(line)
            .map(|line| line.chars().count() + 1)
            .sum();
        Some(before + column)
    }

    /// The error for people: the message, the line with a caret under the place, the hint.
    ///
    /// ```
    /// use thalweg_sql::{Place, SqlError, SqlState};
    /// let error = SqlError::new(SqlState::UndefinedColumn, "no column named `clik`")
    ///     .at(Some(Place { line: 1, column: 8, length: 4 }))
    ///     .hint("did you mean `click`?");
    /// let text = error.render("SELECT clik FROM ads");
    /// assert_eq!(text, "error: no column named `clik`\n  |\n1 | SELECT clik FROM ads\n  |        ^^^^\nhint: did you mean `click`?\n");
    /// ```
    pub fn render(&self, script: &str) -> String {
        use fmt::Write as _;
        let mut text = format!("error: {}\n", self.inner.message);
        if let Some(place) = self.inner.place
            && let Some(line) = usize::try_from(place.line)
                .ok()
                .and_then(|line| script.split('\n').nth(line.checked_sub(1)?))
        {
            let number = place.line.to_string();
            let margin = " ".repeat(number.len());
            let column = usize::try_from(place.column).unwrap_or(1).max(1);
            // Tabs stay tabs in the indent, so that the caret stands under its place.
            let indent: String = line
                .chars()
                .take(column - 1)
                .map(|c| if c == '\t' { '\t' } else { ' ' })
                .collect();
            let rest = line.chars().count().saturating_sub(column - 1).max(1);
            let length = usize::try_from(place.length).unwrap_or(1).clamp(1, rest);
            let _ = writeln!(text, "{margin} |");
            let _ = writeln!(text, "{number} | {}", line.trim_end());
            let _ = writeln!(text, "{margin} | {indent}{}", "^".repeat(length));
        }
        if let Some(hint) = &self.inner.hint {
            let _ = writeln!(text, "hint: {hint}");
        }
        text
    }
}

impl Display for SqlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.inner.message)?;
        if let Some(place) = self.inner.place {
            write!(f, " (line {}, column {})", place.line, place.column)?;
        }
        if let Some(hint) = &self.inner.hint {
            write!(f, "; {hint}")?;
        }
        Ok(())
    }
}

impl std::error::Error for SqlError {}

/// The candidate that is most like `name`, if one is near enough to be meant.
pub(crate) fn nearest<'a>(
    name: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let wanted = name.to_lowercase();
    candidates
        .into_iter()
        .map(|candidate| {
            let likeness = strsim::jaro_winkler(&wanted, &candidate.to_lowercase());
            (likeness, candidate)
        })
        .filter(|(likeness, _)| *likeness > 0.78)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}

/// A hint that names the nearest candidate, or else lists them all.
pub(crate) fn suggest<'a>(
    name: &str,
    what: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<String> {
    let candidates: Vec<&str> = candidates.into_iter().collect();
    if let Some(near) = nearest(name, candidates.iter().copied()) {
        return Some(format!("did you mean `{near}`?"));
    }
    if candidates.is_empty() {
        return None;
    }
    let shown: Vec<String> = candidates
        .iter()
        .take(12)
        .map(|c| format!("`{c}`"))
        .collect();
    let more = if candidates.len() > shown.len() {
        ", …"
    } else {
        ""
    };
    Some(format!("{what}: {}{more}", shown.join(", ")))
}
