//! The parser: sqlparser for queries and expressions, our own for the statements that
//! streams add. Every statement keeps its text and the places of its words, so that an
//! error of any later stage can point at the script.

mod statement;
mod tokens;
mod windows;

pub use statement::*;

use crate::error::{Place, SqlError, SqlState, suggest};
use datafusion::sql::sqlparser::ast::{self, Expr, Spanned};
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::parser::{Parser, ParserError};
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan, Word};
use tokens::{DIALECT, bare, find_name, is_word, place_of, syntax_error};

/// A statement, its text, and its words.
#[derive(Debug, Clone)]
pub struct Parsed {
    /// What it says.
    pub statement: Statement,
    /// Its text, without the semicolon.
    pub text: String,
    tokens: Vec<TokenWithSpan>,
}

impl Parsed {
    /// Where the statement first mentions `name`.
    pub fn find(&self, name: &str) -> Option<Place> {
        find_name(&self.tokens, name)
    }

    /// Where the statement begins.
    pub fn start(&self) -> Option<Place> {
        self.tokens.first().and_then(|token| place_of(token.span))
    }
}

/// Parses a script of any number of statements.
///
/// ```
/// let parsed = thalweg_sql::parse::parse("FLUSH; SELECT 1 EMIT CHANGES").unwrap();
/// assert_eq!(parsed.len(), 2);
/// assert_eq!(parsed[1].text, "SELECT 1 EMIT CHANGES");
/// ```
pub fn parse(script: &str) -> Result<Vec<Parsed>, SqlError> {
    tokens::split(script)?
        .into_iter()
        .map(|piece| {
            let statement = Reader::new(piece.tokens.clone()).statement()?;
            Ok(Parsed {
                statement,
                text: piece.text,
                tokens: piece.tokens,
            })
        })
        .collect()
}

/// Parses the text of one stored statement.
pub fn parse_one(text: &str) -> Result<Parsed, SqlError> {
    let mut statements = parse(text)?;
    match (statements.pop(), statements.is_empty()) {
        (Some(statement), true) => Ok(statement),
        _ => Err(SqlError::new(
            SqlState::SyntaxError,
            "expected one statement",
        )),
    }
}

struct Reader {
    parser: Parser<'static>,
    tokens: Vec<TokenWithSpan>,
    /// What comes behind the query of a `CREATE SINK`.
    options_of_sink: Vec<TokenWithSpan>,
    emit_changes: bool,
}

type Read<T> = Result<T, SqlError>;

impl Reader {
    fn new(tokens: Vec<TokenWithSpan>) -> Self {
        let mut tokens = windows::normalize(tokens);
        let emit_changes = match tokens.as_slice() {
            [.., emit, changes] => {
                is_word(&emit.token, "EMIT") && is_word(&changes.token, "CHANGES")
            }
            _ => false,
        };
        if emit_changes {
            tokens.truncate(tokens.len() - 2);
        }
        // `FROM t WITH (…)` would be taken for hints on the table.
        let mut head = tokens.clone();
        let options_of_sink = match sink_options(&tokens) {
            Some(at) => head.split_off(at),
            None => Vec::new(),
        };
        Self {
            parser: Parser::new(&DIALECT).with_tokens_with_locations(head),
            tokens,
            options_of_sink,
            emit_changes,
        }
    }

    // ---- words -------------------------------------------------------------------------

    fn peek_is(&self, words: &[&str]) -> bool {
        words
            .iter()
            .enumerate()
            .all(|(n, word)| is_word(&self.parser.peek_nth_token_ref(n).token, word))
    }

    /// Takes the words if all of them come next.
    fn take(&mut self, words: &[&str]) -> bool {
        let found = self.peek_is(words);
        if found {
            for _ in words {
                self.parser.advance_token();
            }
        }
        found
    }

    fn want(&mut self, words: &[&str]) -> Read<()> {
        for word in words {
            if !self.take(&[word]) {
                return Err(self.expected(word));
            }
        }
        Ok(())
    }

    fn take_token(&mut self, token: &Token) -> bool {
        self.parser.consume_token(token)
    }

    fn want_token(&mut self, token: &Token) -> Read<()> {
        if self.take_token(token) {
            Ok(())
        } else {
            Err(self.expected(&format!("`{token}`")))
        }
    }

    fn place(&self) -> Option<Place> {
        place_of(self.parser.peek_token_ref().span).or_else(|| {
            let last = self.tokens.last()?;
            Some(Place {
                line: last.span.end.line,
                column: last.span.end.column,
                length: 1,
            })
        })
    }

    fn expected(&self, what: &str) -> SqlError {
        let found = match &self.parser.peek_token_ref().token {
            Token::EOF => "the end of the statement".to_owned(),
            token => format!("`{token}`"),
        };
        SqlError::new(
            SqlState::SyntaxError,
            format!("expected {what}, found {found}"),
        )
        .at(self.place())
    }

    fn sql<T>(
        &mut self,
        parse: impl FnOnce(&mut Parser<'static>) -> Result<T, ParserError>,
    ) -> Read<T> {
        parse(&mut self.parser).map_err(|error| syntax_error(&error, &self.tokens))
    }

    fn name(&mut self, what: &str) -> Read<Name> {
        let token = self.parser.peek_token_ref().clone();
        match &token.token {
            Token::Word(word) => {
                self.parser.advance_token();
                Ok(Name {
                    text: normalized(word),
                    place: place_of(token.span).unwrap_or(Place {
                        line: 1,
                        column: 1,
                        length: 1,
                    }),
                })
            }
            _ => Err(self.expected(what)),
        }
    }

    /// A relation's name; a schema in front of it may only be `public`.
    fn relation(&mut self, what: &str) -> Read<Name> {
        let mut name = self.name(what)?;
        while self.take_token(&Token::Period) {
            if name.text != "public" && name.text != "thalweg" {
                return Err(
                    SqlError::unsupported(format!("there is no schema `{}`", name.text))
                        .at(Some(name.place))
                        .hint("leave the schema out, or write `public`"),
                );
            }
            name = self.name(what)?;
        }
        Ok(name)
    }

    fn if_not_exists(&mut self) -> Read<bool> {
        if self.take(&["IF"]) {
            self.want(&["NOT", "EXISTS"])?;
            return Ok(true);
        }
        Ok(false)
    }

    fn end(&mut self) -> Read<()> {
        if self.emit_changes {
            return Err(
                SqlError::new(SqlState::SyntaxError, "EMIT CHANGES belongs to a SELECT")
                    .at(self.place())
                    .hint("a materialized view or a sink emits its changes anyway; leave it out"),
            );
        }
        match self.parser.peek_token_ref().token {
            Token::EOF => Ok(()),
            _ => Err(self.expected("the end of the statement")),
        }
    }

    // ---- statements --------------------------------------------------------------------

    fn statement(&mut self) -> Read<Statement> {
        let first = self.parser.peek_token_ref().token.clone();
        let word = bare(&first).unwrap_or_default().to_uppercase();
        let statement = match word.as_str() {
            "SELECT" | "WITH" | "VALUES" | "TABLE" => return self.select(),
            "" if first == Token::LParen => return self.select(),
            "CREATE" => self.create()?,
            "DROP" => self.drop()?,
            "SHOW" => self.show()?,
            "DESCRIBE" | "DESC" => {
                self.parser.advance_token();
                Statement::Describe(self.relation("the name of a relation")?)
            }
            "EXPLAIN" => {
                self.parser.advance_token();
                return Ok(Statement::Explain(Box::new(self.statement()?)));
            }
            "FLUSH" => {
                self.parser.advance_token();
                Statement::Flush
            }
            "INSERT" => self.insert()?,
            "BEGIN" => return Ok(Statement::Accepted("BEGIN")),
            "START" if self.peek_is(&["START", "TRANSACTION"]) => {
                return Ok(Statement::Accepted("BEGIN"));
            }
            "COMMIT" | "END" => return Ok(Statement::Accepted("COMMIT")),
            "ROLLBACK" | "ABORT" => return Ok(Statement::Accepted("ROLLBACK")),
            "SET" => return Ok(Statement::Accepted("SET")),
            "RESET" => return Ok(Statement::Accepted("RESET")),
            "DISCARD" => return Ok(Statement::Accepted("DISCARD ALL")),
            "DEALLOCATE" => return Ok(Statement::Accepted("DEALLOCATE")),
            "UPDATE" | "DELETE" | "ALTER" => {
                return Err(
                    SqlError::unsupported(format!("{word} is not supported yet"))
                        .at(self.place())
                        .hint("a source is a log: write a newer record of the same key, or drop and create anew"),
                );
            }
            _ => {
                const STATEMENTS: [&str; 9] = [
                    "SELECT", "CREATE", "DROP", "SHOW", "DESCRIBE", "EXPLAIN", "FLUSH", "INSERT",
                    "WITH",
                ];
                let error = SqlError::new(
                    SqlState::SyntaxError,
                    format!("`{first}` begins no statement"),
                )
                .at(self.place());
                return Err(
                    match suggest(&word, "a statement begins with", STATEMENTS) {
                        Some(hint) => error.hint(hint),
                        None => error,
                    },
                );
            }
        };
        self.end()?;
        Ok(statement)
    }

    fn query(&mut self) -> Read<Box<ast::Query>> {
        let mut query = self.sql(Parser::parse_query)?;
        windows::rewrite(&mut query)?;
        Ok(query)
    }

    fn select(&mut self) -> Read<Statement> {
        let query = self.query()?;
        let emit_changes = std::mem::take(&mut self.emit_changes);
        self.end()?;
        Ok(Statement::Query(Select {
            query,
            emit_changes,
        }))
    }

    fn create(&mut self) -> Read<Statement> {
        self.want(&["CREATE"])?;
        if self.take(&["SOURCE"]) {
            self.create_source()
        } else if self.take(&["MATERIALIZED", "VIEW"]) {
            self.create_view()
        } else if self.take(&["SINK"]) {
            self.create_sink()
        } else if self.peek_is(&["VIEW"]) {
            Err(
                SqlError::unsupported("a view that is not materialized is not supported yet")
                    .at(self.place())
                    .hint("write CREATE MATERIALIZED VIEW"),
            )
        } else if self.peek_is(&["TABLE"]) {
            Err(SqlError::unsupported("CREATE TABLE is not supported yet")
                .at(self.place())
                .hint(
                    "write CREATE SOURCE … FORMAT UPSERT, which keeps the newest row of each key",
                ))
        } else {
            Err(self
                .expected("SOURCE, MATERIALIZED VIEW or SINK")
                .hint("what can be created is a SOURCE, a MATERIALIZED VIEW or a SINK"))
        }
    }

    fn create_source(&mut self) -> Read<Statement> {
        let if_not_exists = self.if_not_exists()?;
        let name = self.relation("the name of the source")?;
        let mut source = CreateSource {
            name,
            if_not_exists,
            columns: Vec::new(),
            primary_key: Vec::new(),
            watermark: None,
            options: Options::new(),
            format: None,
        };
        self.want_token(&Token::LParen).map_err(|e| {
            e.hint("a source lists its columns: CREATE SOURCE s (id BIGINT, ts TIMESTAMP) WITH (…)")
        })?;
        loop {
            self.source_item(&mut source)?;
            if !self.take_token(&Token::Comma) {
                break;
            }
            if self.parser.peek_token_ref().token == Token::RParen {
                break; // a comma behind the last item
            }
        }
        self.want_token(&Token::RParen)?;
        source.options = self.with_options()?;
        source.format = self.format()?;
        if source.options.is_empty() {
            source.options = self.with_options()?;
        }
        Ok(Statement::CreateSource(source))
    }

    fn source_item(&mut self, source: &mut CreateSource) -> Read<()> {
        if self.take(&["WATERMARK", "FOR"]) {
            let place = self.place();
            if source.watermark.is_some() {
                return Err(
                    SqlError::new(SqlState::InvalidTableDefinition, "a second WATERMARK")
                        .at(place)
                        .hint("a source has one event time"),
                );
            }
            source.watermark = Some(self.watermark()?);
            return Ok(());
        }
        if self.take(&["PRIMARY", "KEY"]) {
            self.want_token(&Token::LParen)?;
            loop {
                let column = self.name("the name of a column")?;
                source.primary_key.push(column);
                if !self.take_token(&Token::Comma) {
                    break;
                }
            }
            return self.want_token(&Token::RParen);
        }
        let name = self.name("the name of a column")?;
        let data_type = self.sql(Parser::parse_data_type)?;
        let mut not_null = false;
        loop {
            if self.take(&["NOT", "NULL"]) {
                not_null = true;
            } else if self.take(&["PRIMARY", "KEY"]) {
                not_null = true;
                source.primary_key.push(name.clone());
            } else if !self.take(&["NULL"]) {
                break;
            }
        }
        source.columns.push(SourceColumn {
            name,
            data_type,
            not_null,
        });
        Ok(())
    }

    fn watermark(&mut self) -> Read<WatermarkClause> {
        let column = self.name("the name of the time column")?;
        self.want(&["AS"])?;
        let place = self.place();
        let expr = self.sql(Parser::parse_expr)?;
        let same = |e: &Expr| match e {
            Expr::Identifier(ident) => fold_case(ident) == column.text,
            _ => false,
        };
        let delay_ms = match &expr {
            e if same(e) => 0,
            Expr::BinaryOp {
                left,
                op: ast::BinaryOperator::Minus,
                right,
            } if same(left) => {
                let delay = windows::interval_ms(right)?;
                if delay < 0 {
                    return Err(SqlError::new(
                        SqlState::InvalidParameter,
                        "a watermark lies behind its column, so that its interval is not negative",
                    )
                    .at(place_of(right.span())));
                }
                delay
            }
            _ => {
                return Err(SqlError::new(
                    SqlState::SyntaxError,
                    "a watermark is its column less an interval",
                )
                .at(place)
                .hint(format!(
                    "write WATERMARK FOR {0} AS {0} - INTERVAL '5' SECOND",
                    column.text
                )));
            }
        };
        Ok(WatermarkClause { column, delay_ms })
    }

    fn create_view(&mut self) -> Read<Statement> {
        let if_not_exists = self.if_not_exists()?;
        let name = self.relation("the name of the view")?;
        let mut columns = Vec::new();
        if self.take_token(&Token::LParen) {
            loop {
                columns.push(self.name("the name of a column")?);
                if !self.take_token(&Token::Comma) {
                    break;
                }
            }
            self.want_token(&Token::RParen)?;
        }
        let options = self.with_options()?;
        self.want(&["AS"])?;
        let query = self.query()?;
        Ok(Statement::CreateView(CreateView {
            name,
            if_not_exists,
            columns,
            options,
            query,
        }))
    }

    fn create_sink(&mut self) -> Read<Statement> {
        let if_not_exists = self.if_not_exists()?;
        let name = self.relation("the name of the sink")?;
        let query = if self.take(&["FROM"]) {
            // The relation's own tokens stay in the query, so that errors point at them.
            let relation = self.relation("the name of a view or source")?;
            let mut ident = ast::Ident::with_quote('"', relation.text.clone());
            ident.span = self.span_of(relation.place);
            let mut query = Parser::new(&DIALECT)
                .try_with_sql("SELECT * FROM __relation")
                .and_then(|mut parser| parser.parse_query())
                .map_err(SqlError::internal)?;
            let _ = ast::visit_relations_mut(&mut query, |name| {
                *name = ast::ObjectName::from(vec![ident.clone()]);
                std::ops::ControlFlow::<()>::Continue(())
            });
            query
        } else if self.take(&["AS"]) {
            self.query()?
        } else {
            return Err(self
                .expected("FROM or AS")
                .hint("write CREATE SINK s FROM view … or CREATE SINK s AS SELECT …"));
        };
        if !self.options_of_sink.is_empty() {
            if self.parser.peek_token_ref().token != Token::EOF {
                return Err(self.expected("WITH"));
            }
            let options = std::mem::take(&mut self.options_of_sink);
            self.parser = Parser::new(&DIALECT).with_tokens_with_locations(options);
        }
        let options = self.with_options()?;
        let format = self.format()?;
        Ok(Statement::CreateSink(CreateSink {
            name,
            if_not_exists,
            query,
            options,
            format,
        }))
    }

    fn span_of(&self, place: Place) -> datafusion::sql::sqlparser::tokenizer::Span {
        self.tokens
            .iter()
            .find(|t| t.span.start.line == place.line && t.span.start.column == place.column)
            .map_or_else(datafusion::sql::sqlparser::tokenizer::Span::empty, |t| {
                t.span
            })
    }

    fn with_options(&mut self) -> Read<Options> {
        if !self.take(&["WITH"]) {
            return Ok(Options::new());
        }
        self.options()
    }

    /// `(key = value, …)`; keys with dots or in quotes, values of any plain kind.
    fn options(&mut self) -> Read<Options> {
        let mut options = Options::new();
        self.want_token(&Token::LParen)?;
        while self.parser.peek_token_ref().token != Token::RParen {
            let place = self.place().unwrap_or(Place {
                line: 1,
                column: 1,
                length: 1,
            });
            let mut key = self.option_word("the name of an option")?;
            while self.take_token(&Token::Period) {
                key.push('.');
                key.push_str(&self.option_word("the rest of the option's name")?);
            }
            self.want_token(&Token::Eq)?;
            let negative = self.take_token(&Token::Minus);
            let mut value = self.option_word("the value of the option")?;
            if negative {
                value.insert(0, '-');
            }
            if options.insert(key.to_lowercase(), (value, place)).is_some() {
                return Err(SqlError::new(
                    SqlState::SyntaxError,
                    format!("the option `{key}` is given twice"),
                )
                .at(Some(place)));
            }
            if !self.take_token(&Token::Comma) {
                break;
            }
        }
        self.want_token(&Token::RParen)?;
        Ok(options)
    }

    fn option_word(&mut self, what: &str) -> Read<String> {
        let text = match &self.parser.peek_token_ref().token {
            Token::Word(word) => word.value.clone(),
            Token::SingleQuotedString(text) | Token::DoubleQuotedString(text) => text.clone(),
            Token::EscapedStringLiteral(text) => text.clone(),
            Token::Number(text, _) => text.clone(),
            _ => return Err(self.expected(what)),
        };
        self.parser.advance_token();
        Ok(text)
    }

    fn format(&mut self) -> Read<Option<FormatClause>> {
        if !self.take(&["FORMAT"]) {
            return Ok(None);
        }
        let mut style = self.name("PLAIN or UPSERT")?;
        style.text = style.text.to_uppercase();
        self.want(&["ENCODE"])?;
        let mut encode = self.name("JSON or CSV")?;
        encode.text = encode.text.to_uppercase();
        let options = if self.parser.peek_token_ref().token == Token::LParen {
            self.options()?
        } else {
            Options::new()
        };
        Ok(Some(FormatClause {
            style,
            encode,
            options,
        }))
    }

    fn drop(&mut self) -> Read<Statement> {
        self.want(&["DROP"])?;
        let kind = if self.take(&["SOURCE"]) {
            RelationKind::Source
        } else if self.take(&["MATERIALIZED", "VIEW"]) {
            RelationKind::View
        } else if self.take(&["SINK"]) {
            RelationKind::Sink
        } else {
            return Err(self.expected("SOURCE, MATERIALIZED VIEW or SINK"));
        };
        let if_exists = self.take(&["IF", "EXISTS"]);
        let mut names = vec![self.relation(&format!("the name of a {}", kind.words()))?];
        while self.take_token(&Token::Comma) {
            names.push(self.relation(&format!("the name of a {}", kind.words()))?);
        }
        let cascade = self.take(&["CASCADE"]);
        if !cascade {
            self.take(&["RESTRICT"]);
        }
        Ok(Statement::Drop(Drop {
            kind,
            names,
            if_exists,
            cascade,
        }))
    }

    fn show(&mut self) -> Read<Statement> {
        self.want(&["SHOW"])?;
        if self.take(&["CREATE"]) {
            let _ = self.take(&["SOURCE"])
                || self.take(&["MATERIALIZED", "VIEW"])
                || self.take(&["SINK"]);
            return Ok(Statement::ShowCreate(
                self.relation("the name of a relation")?,
            ));
        }
        let kinds: [(&[&str], ShowKind); 7] = [
            (&["SOURCES"], ShowKind::Sources),
            (&["MATERIALIZED", "VIEWS"], ShowKind::Views),
            (&["VIEWS"], ShowKind::Views),
            (&["SINKS"], ShowKind::Sinks),
            (&["TABLES"], ShowKind::Tables),
            (&["JOBS"], ShowKind::Jobs),
            (&["TOPICS"], ShowKind::Topics),
        ];
        for (words, kind) in kinds {
            if self.take(words) {
                return Ok(Statement::Show(kind));
            }
        }
        let mut variable = self.name("what to show")?.text;
        loop {
            if self.take_token(&Token::Period) {
                variable.push('.');
            } else if matches!(self.parser.peek_token_ref().token, Token::Word(_)) {
                variable.push(' ');
            } else {
                break;
            }
            variable.push_str(&self.name("the rest of the name")?.text);
        }
        Ok(Statement::ShowVariable(variable))
    }

    fn insert(&mut self) -> Read<Statement> {
        self.want(&["INSERT", "INTO"])?;
        let target = self.relation("the name of a source")?;
        let mut columns = Vec::new();
        if self.parser.peek_token_ref().token == Token::LParen
            && !matches!(
                self.parser.peek_nth_token_ref(1).token,
                Token::Word(Word {
                    keyword: Keyword::SELECT | Keyword::VALUES | Keyword::WITH,
                    ..
                })
            )
        {
            self.parser.advance_token();
            loop {
                columns.push(self.name("the name of a column")?);
                if !self.take_token(&Token::Comma) {
                    break;
                }
            }
            self.want_token(&Token::RParen)?;
        }
        Ok(Statement::Insert(Insert {
            target,
            columns,
            query: self.query()?,
        }))
    }
}

/// Where the `WITH (…)` of a `CREATE SINK` begins: outside of parentheses, and not
/// followed by the name of a common table expression.
fn sink_options(tokens: &[TokenWithSpan]) -> Option<usize> {
    let [create, sink, ..] = tokens else {
        return None;
    };
    if !is_word(&create.token, "CREATE") || !is_word(&sink.token, "SINK") {
        return None;
    }
    let mut depth = 0_usize;
    for (at, pair) in tokens.windows(2).enumerate() {
        let [token, next] = pair else { continue };
        match token.token {
            Token::LParen => depth += 1,
            Token::RParen => depth = depth.saturating_sub(1),
            _ if depth == 0 && is_word(&token.token, "WITH") && next.token == Token::LParen => {
                return Some(at);
            }
            _ => {}
        }
    }
    None
}

fn normalized(word: &Word) -> String {
    if word.quote_style.is_some() {
        word.value.clone()
    } else {
        word.value.to_lowercase()
    }
}

fn fold_case(ident: &ast::Ident) -> String {
    if ident.quote_style.is_some() {
        ident.value.clone()
    } else {
        ident.value.to_lowercase()
    }
}

#[cfg(test)]
mod tests;
