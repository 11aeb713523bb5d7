//! The interactive shell: history, completion, statements over several lines.

use std::collections::BTreeSet;
use std::io;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use rustyline::completion::Completer;
use rustyline::error::ReadlineError;
use rustyline::history::FileHistory;
use rustyline::validate::{ValidationContext, ValidationResult, Validator};
use rustyline::{Config, Editor, Helper, Highlighter, Hinter};

use super::events::Backend;
use super::printer;
use crate::output::Output;

const KEYWORDS: &[&str] = &[
    "AND",
    "AS",
    "ASC",
    "AVG",
    "BETWEEN",
    "BIGINT",
    "BOOLEAN",
    "BY",
    "CASCADE",
    "CASE",
    "CAST",
    "CHANGES",
    "COUNT",
    "CREATE",
    "CSV",
    "DESC",
    "DESCRIBE",
    "DISTINCT",
    "DOUBLE",
    "DROP",
    "ELSE",
    "EMIT",
    "ENCODE",
    "END",
    "EXISTS",
    "EXPLAIN",
    "FLUSH",
    "FORMAT",
    "FROM",
    "GROUP BY",
    "HAVING",
    "HOP",
    "IF",
    "IN",
    "INSERT INTO",
    "INT",
    "INTERVAL",
    "IS",
    "JOBS",
    "JSON",
    "KEY",
    "LIKE",
    "LIMIT",
    "MATERIALIZED VIEW",
    "MAX",
    "MIN",
    "NOT",
    "NULL",
    "OR",
    "ORDER BY",
    "PLAIN",
    "PRIMARY",
    "SELECT",
    "SHOW",
    "SINK",
    "SINKS",
    "SOURCE",
    "SOURCES",
    "SUM",
    "TABLES",
    "TEXT",
    "THEN",
    "TIMESTAMP",
    "TUMBLE",
    "UPSERT",
    "VALUES",
    "VIEWS",
    "WATERMARK FOR",
    "WHEN",
    "WHERE",
    "WITH",
];

const HELP: &str = "\
Statements end with a semicolon and may span lines.
  SHOW SOURCES; SHOW MATERIALIZED VIEWS; SHOW SINKS; SHOW JOBS;
  DESCRIBE name;  EXPLAIN statement;  FLUSH;
  SELECT … EMIT CHANGES;   watches a result change, Ctrl-C ends it
  \\q  quit    \\?  this help";

/// Reads and runs statements until the end of input.
pub async fn run(mut backend: Box<dyn Backend>, output: Output) -> Result<()> {
    let mut editor: Editor<SqlHelper, FileHistory> =
        Editor::with_config(Config::builder().auto_add_history(true).build())
            .context("cannot read from the terminal")?;
    editor.set_helper(Some(SqlHelper {
        words: KEYWORDS.iter().map(|&word| word.to_owned()).collect(),
    }));
    let history = history_path();
    if let Some(path) = &history {
        // A first start has no history yet.
        let _ = editor.load_history(path);
    }
    println!(
        "Thalweg {}. \\? for help, \\q to quit.",
        env!("CARGO_PKG_VERSION")
    );
    loop {
        if let Some(helper) = editor.helper_mut() {
            helper.words.extend(backend.names().await);
        }
        // The editor blocks, and jobs may run in this very process.
        let (back, line) = tokio::task::spawn_blocking(move || {
            let line = editor.readline("thalweg> ");
            (editor, line)
        })
        .await?;
        editor = back;
        let line = match line {
            Ok(line) => line,
            Err(ReadlineError::Interrupted) => continue,
            Err(ReadlineError::Eof) => break,
            Err(error) => return Err(error).context("cannot read from the terminal"),
        };
        match line.trim().trim_end_matches(';').trim() {
            "" => continue,
            "\\q" | "quit" | "exit" => break,
            "\\?" | "help" => {
                println!("{HELP}");
                continue;
            }
            _ => {}
        }
        tokio::select! {
            done = run_one(backend.as_mut(), &line, output) => {
                if let Err(error) = done {
                    eprintln!("error: {error:#}");
                }
            }
            _ = tokio::signal::ctrl_c() => eprintln!("cancelled"),
        }
        if let Some(path) = &history
            && let Err(error) = editor.append_history(path)
        {
            tracing::debug!("the history is not kept: {error}");
        }
    }
    Ok(())
}

/// Runs statements and prints what they give.
pub async fn run_one(backend: &mut dyn Backend, sql: &str, output: Output) -> Result<()> {
    let events = backend.run(sql).await?;
    printer::print(events, output, &mut io::stdout()).await
}

fn history_path() -> Option<PathBuf> {
    let home = std::env::var_os("HOME")?;
    Some(PathBuf::from(home).join(".thalweg_history"))
}

/// Whether `sql` holds whole statements: its last `;` is outside quotes and comments, and
/// nothing but space follows.
fn is_complete(sql: &str) -> bool {
    let mut chars = sql.chars().peekable();
    let mut complete = true;
    while let Some(char) = chars.next() {
        match char {
            '\'' | '"' => {
                complete = false;
                if !chars.by_ref().any(|next| next == char) {
                    return false;
                }
            }
            '-' if chars.peek() == Some(&'-') => {
                chars.by_ref().find(|next| *next == '\n');
            }
            '/' if chars.peek() == Some(&'*') => {
                chars.next();
                let mut last = ' ';
                if !chars
                    .by_ref()
                    .any(|next| std::mem::replace(&mut last, next) == '*' && next == '/')
                {
                    return false;
                }
            }
            ';' => complete = true,
            space if space.is_whitespace() => {}
            _ => complete = false,
        }
    }
    complete
}

#[derive(Helper, Hinter, Highlighter)]
struct SqlHelper {
    words: BTreeSet<String>,
}

impl Validator for SqlHelper {
    fn validate(&self, input: &mut ValidationContext<'_>) -> rustyline::Result<ValidationResult> {
        let sql = input.input().trim();
        let command = sql.starts_with('\\') || matches!(sql, "quit" | "exit" | "help");
        Ok(if command || is_complete(sql) {
            ValidationResult::Valid(None)
        } else {
            ValidationResult::Incomplete
        })
    }
}

impl Completer for SqlHelper {
    type Candidate = String;

    fn complete(
        &self,
        line: &str,
        position: usize,
        _: &rustyline::Context<'_>,
    ) -> rustyline::Result<(usize, Vec<String>)> {
        let before = line.get(..position).unwrap_or(line);
        let start = before
            .rfind(|char: char| !char.is_alphanumeric() && char != '_')
            .map_or(0, |at| at + 1);
        let word = before.get(start..).unwrap_or_default();
        if word.is_empty() {
            return Ok((start, Vec::new()));
        }
        let lower = word.to_lowercase();
        let candidates = self
            .words
            .iter()
            .filter(|candidate| candidate.to_lowercase().starts_with(&lower))
            .cloned()
            .collect();
        Ok((start, candidates))
    }
}

#[cfg(test)]
mod tests {
    use super::is_complete;

    #[test]
    fn statements_end_outside_quotes_and_comments() {
        assert!(is_complete("SELECT 1;"));
        assert!(is_complete("SELECT ';' ; -- done"));
        assert!(is_complete("SELECT 1; /* ; */  "));
        assert!(!is_complete("SELECT 1"));
        assert!(!is_complete("SELECT ';"));
        assert!(!is_complete("SELECT 1; SELECT 2"));
        assert!(!is_complete("SELECT 'it''s;"));
        assert!(!is_complete("SELECT 1 -- ;"));
        assert!(!is_complete("SELECT 1 /* ;"));
    }
}
