//! What a command prints: a table for people, JSON for machines.

use std::io::Write as _;

use anyhow::{Result, bail};
use clap::ValueEnum;
use comfy_table::{Cell, CellAlignment, ContentArrangement, Table};
use serde_json::{Map, Value};

/// Prints a line. Where the reader has gone away, as in `thalweg log dump FILE | head`, the program
/// ends, and well: it has nobody left to work for.
pub fn print_line(line: std::fmt::Arguments<'_>) {
    let printed = std::io::stdout().lock().write_fmt(format_args!("{line}\n"));
    if let Err(error) = printed {
        let gone = error.kind() == std::io::ErrorKind::BrokenPipe;
        if !gone {
            eprintln!("error: cannot print: {error}");
        }
        std::process::exit(i32::from(!gone));
    }
}

/// As `println!`, through [`print_line`].
macro_rules! say {
    ($($text:tt)*) => { $crate::output::print_line(format_args!($($text)*)) };
}
pub(crate) use say;

/// How a command prints what it found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Output {
    /// A table for people.
    #[default]
    Table,
    /// One JSON array for machines.
    Json,
}

/// The end of a command that went on after something failed: what did, if anything.
pub fn all_done(failed: Vec<String>) -> Result<()> {
    if !failed.is_empty() {
        bail!(failed.join("\n"));
    }
    Ok(())
}

/// Says that something was done: a sentence for people, for machines a list with one object.
pub fn done(output: Output, row: Value, sentence: std::fmt::Arguments<'_>) {
    match output {
        Output::Table => print_line(sentence),
        Output::Json => say!("{}", Value::Array(vec![row])),
    }
}

/// Rows under named columns. Numbers stand right, `-` stands for what is missing.
pub struct Rows {
    columns: Vec<String>,
    rows: Vec<Vec<Value>>,
}

impl Rows {
    pub fn new(columns: &[&str]) -> Self {
        Self {
            columns: columns.iter().map(|&column| column.to_owned()).collect(),
            rows: Vec::new(),
        }
    }

    pub fn push(&mut self, row: Vec<Value>) {
        self.rows.push(row);
    }

    pub fn len(&self) -> usize {
        self.rows.len()
    }

    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    pub fn print(&self, output: Output) {
        match output {
            Output::Json => say!("{}", self.to_json()),
            Output::Table => say!("{}", self.to_table()),
        }
    }

    /// An array with an object a row; columns are named in lower case with underscores.
    pub fn to_json(&self) -> Value {
        let names: Vec<String> = self
            .columns
            .iter()
            .map(|column| column.to_lowercase().replace(['-', ' '], "_"))
            .collect();
        self.rows
            .iter()
            .map(|row| {
                Value::Object(
                    names
                        .iter()
                        .cloned()
                        .zip(row.iter().cloned())
                        .collect::<Map<_, _>>(),
                )
            })
            .collect()
    }

    fn to_table(&self) -> Table {
        let mut table = plain_table();
        table.set_header(self.columns.iter().map(|column| column.to_uppercase()));
        for row in &self.rows {
            table.add_row(row.iter().map(cell));
        }
        table
    }
}

/// An empty table in the one style of all our tables.
pub fn plain_table() -> Table {
    let mut table = Table::new();
    // A line under the header and none elsewhere: rows stay together, and can be cut.
    table
        .load_preset(comfy_table::presets::NOTHING)
        .set_style(comfy_table::TableComponent::HeaderLines, '─')
        .set_style(comfy_table::TableComponent::MiddleHeaderIntersections, ' ')
        .set_content_arrangement(ContentArrangement::Dynamic);
    table
}

fn cell(value: &Value) -> Cell {
    match value {
        Value::Null => Cell::new("-"),
        Value::String(text) => Cell::new(text),
        Value::Number(number) => Cell::new(number).set_alignment(CellAlignment::Right),
        Value::Array(items) if items.is_empty() => Cell::new("-"),
        Value::Array(items) => {
            let items: Vec<String> = items
                .iter()
                .map(|item| match item {
                    Value::String(text) => text.clone(),
                    other => other.to_string(),
                })
                .collect();
            Cell::new(items.join(","))
        }
        other => Cell::new(other),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn json_has_an_object_a_row_and_tables_a_dash_for_nothing() {
        let mut rows = Rows::new(&["GROUP", "CURRENT-OFFSET"]);
        rows.push(vec![json!("g"), Value::Null]);
        assert_eq!(
            rows.to_json(),
            json!([{"group": "g", "current_offset": null}])
        );
        let table = rows.to_table().to_string();
        assert!(
            table.contains("CURRENT-OFFSET") && table.contains(" - "),
            "{table}"
        );
    }
}
