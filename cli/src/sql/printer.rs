//! Printing results as they come.
//!
//! A result that ends soon is printed as one table with fitting columns. One that goes on
//! (a push query) is printed row by row from then on, so that nobody waits for an end
//! that never comes.

use std::io::{self, Write};
use std::time::Duration;

use anyhow::Result;
use comfy_table::{Cell, CellAlignment};
use futures::StreamExt as _;
use futures::stream::BoxStream;
use serde_json::{Map, Value};

use super::events::{Column, ColumnKind, Event};
use crate::output::{Output, plain_table};

/// How long rows are gathered into a table before they are printed as they come.
const GATHER: Duration = Duration::from_millis(300);
/// How many rows are gathered at most.
const GATHER_ROWS: usize = 10_000;
/// The narrowest column of rows that are printed as they come: wide enough for `update-before`.
const NARROWEST: usize = 13;

/// Prints everything that `events` gives.
pub async fn print(
    mut events: BoxStream<'_, Result<Event>>,
    output: Output,
    out: &mut (impl Write + Send),
) -> Result<()> {
    let mut result = Gathered::default();
    loop {
        let next = if result.is_gathering() {
            match tokio::time::timeout(GATHER, events.next()).await {
                Ok(next) => next,
                Err(_) => {
                    result.start_following(out)?;
                    events.next().await
                }
            }
        } else {
            events.next().await
        };
        match next {
            None => return result.finish(output, None, out),
            Some(Err(error)) => {
                result.finish(output, None, out)?;
                return Err(error);
            }
            Some(Ok(Event::Columns(columns))) => {
                result.finish(output, None, out)?;
                result = Gathered {
                    json: output == Output::Json,
                    columns,
                    ..Gathered::default()
                };
            }
            Some(Ok(Event::Row(row))) => result.row(row, out)?,
            Some(Ok(Event::Done(tag))) => {
                result.finish(output, Some(&tag), out)?;
                result = Gathered::default();
            }
        }
    }
}

/// One result on its way to the screen.
#[derive(Default)]
struct Gathered {
    json: bool,
    columns: Vec<Column>,
    rows: Vec<Vec<Option<String>>>,
    /// Widths of the columns once rows are printed as they come.
    following: Option<Vec<usize>>,
    count: usize,
}

impl Gathered {
    fn is_gathering(&self) -> bool {
        !self.columns.is_empty() && !self.json && self.following.is_none()
    }

    fn row(&mut self, row: Vec<Option<String>>, out: &mut impl Write) -> io::Result<()> {
        self.count += 1;
        if self.json {
            writeln!(out, "{}", to_json(&self.columns, &row))?;
            return out.flush();
        }
        match &self.following {
            Some(widths) => {
                write_line(out, &self.columns, widths, &row)?;
                out.flush()
            }
            None => {
                self.rows.push(row);
                if self.rows.len() >= GATHER_ROWS {
                    self.start_following(out)?;
                }
                Ok(())
            }
        }
    }

    fn start_following(&mut self, out: &mut impl Write) -> io::Result<()> {
        let mut widths: Vec<usize> = self
            .columns
            .iter()
            .map(|column| column.name.chars().count().max(NARROWEST))
            .collect();
        for row in &self.rows {
            for (width, text) in widths.iter_mut().zip(row) {
                let text = text.as_deref().unwrap_or("NULL");
                *width = (*width).max(text.chars().count());
            }
        }
        let header: Vec<Option<String>> = self
            .columns
            .iter()
            .map(|column| Some(column.name.clone()))
            .collect();
        write_line(out, &self.columns, &widths, &header)?;
        for row in std::mem::take(&mut self.rows) {
            write_line(out, &self.columns, &widths, &row)?;
        }
        self.following = Some(widths);
        out.flush()
    }

    fn finish(&mut self, output: Output, tag: Option<&str>, out: &mut impl Write) -> Result<()> {
        if self.columns.is_empty() {
            if let (Output::Table, Some(tag)) = (output, tag) {
                writeln!(out, "{tag}")?;
            }
        } else if !self.json {
            if self.following.is_none() {
                writeln!(out, "{}", self.table())?;
            }
            let rows = if self.count == 1 { "row" } else { "rows" };
            writeln!(out, "({} {rows})", self.count)?;
        }
        self.columns.clear();
        self.rows.clear();
        out.flush()?;
        Ok(())
    }

    fn table(&self) -> comfy_table::Table {
        let mut table = plain_table();
        table.set_content_arrangement(comfy_table::ContentArrangement::Disabled);
        table.set_header(self.columns.iter().map(|column| &column.name));
        for row in &self.rows {
            table.add_row(row.iter().zip(&self.columns).map(|(text, column)| {
                let cell = Cell::new(text.as_deref().unwrap_or("NULL"));
                match column.kind {
                    ColumnKind::Number => cell.set_alignment(CellAlignment::Right),
                    ColumnKind::Boolean | ColumnKind::Text => cell,
                }
            }));
        }
        table
    }
}

fn write_line(
    out: &mut impl Write,
    columns: &[Column],
    widths: &[usize],
    row: &[Option<String>],
) -> io::Result<()> {
    for ((text, column), width) in row.iter().zip(columns).zip(widths) {
        let text = text.as_deref().unwrap_or("NULL");
        match column.kind {
            ColumnKind::Number => write!(out, " {text:>width$} ")?,
            ColumnKind::Boolean | ColumnKind::Text => write!(out, " {text:<width$} ")?,
        }
    }
    writeln!(out)
}

fn to_json(columns: &[Column], row: &[Option<String>]) -> Value {
    let fields = columns.iter().zip(row).map(|(column, text)| {
        let value = match text {
            None => Value::Null,
            Some(text) => match column.kind {
                // A number JSON cannot hold (NaN, infinity) stays text.
                ColumnKind::Number => {
                    serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.clone()))
                }
                ColumnKind::Boolean => Value::Bool(matches!(text.as_str(), "t" | "true")),
                ColumnKind::Text => Value::String(text.clone()),
            },
        };
        (column.name.clone(), value)
    });
    Value::Object(fields.collect::<Map<_, _>>())
}

#[cfg(test)]
mod tests {
    use futures::stream;

    use super::*;

    fn columns() -> Vec<Column> {
        vec![
            Column {
                name: "item".to_owned(),
                kind: ColumnKind::Text,
            },
            Column {
                name: "n".to_owned(),
                kind: ColumnKind::Number,
            },
        ]
    }

    async fn printed(events: Vec<Result<Event>>, output: Output) -> (String, Result<()>) {
        let mut out = Vec::new();
        let done = print(stream::iter(events).boxed(), output, &mut out).await;
        (String::from_utf8(out).unwrap(), done)
    }

    fn row(item: &str, n: Option<&str>) -> Result<Event> {
        Ok(Event::Row(vec![
            Some(item.to_owned()),
            n.map(str::to_owned),
        ]))
    }

    #[tokio::test]
    async fn a_short_result_is_one_table_with_its_count() {
        let (text, _) = printed(
            vec![
                Ok(Event::Done("CREATE SOURCE".to_owned())),
                Ok(Event::Columns(columns())),
                row("hat", Some("12")),
                row("scarf", None),
                Ok(Event::Done("SELECT 2".to_owned())),
            ],
            Output::Table,
        )
        .await;
        assert!(text.starts_with("CREATE SOURCE\n"), "{text}");
        assert!(
            text.contains("NULL") && text.ends_with("(2 rows)\n"),
            "{text}"
        );
    }

    #[tokio::test]
    async fn json_keeps_numbers_and_nulls() {
        let (text, _) = printed(
            vec![
                Ok(Event::Columns(columns())),
                row("hat", Some("12")),
                row("hat", None),
                row("hat", Some("NaN")),
            ],
            Output::Json,
        )
        .await;
        assert_eq!(
            text,
            "{\"item\":\"hat\",\"n\":12}\n{\"item\":\"hat\",\"n\":null}\n{\"item\":\"hat\",\"n\":\"NaN\"}\n"
        );
    }

    #[tokio::test]
    async fn rows_before_an_error_are_shown() {
        let (text, done) = printed(
            vec![
                Ok(Event::Columns(columns())),
                row("hat", Some("1")),
                Err(anyhow::anyhow!("the server went away")),
            ],
            Output::Table,
        )
        .await;
        assert!(text.contains("hat") && done.is_err());
    }
}
