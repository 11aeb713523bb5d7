//! The batch side of the demo: the same questions asked of the file, and the comparison.
//!
//! A stream is right when, once its input is through, it says what a batch over the same
//! input says. The drift is the number of windows, items and campaigns in which they
//! differ.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use arrow::array::RecordBatch;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion::prelude::SessionContext;

/// A question: what the view is called, how many of its columns are its key, and the batch
/// query over the table `impressions` that must give the same rows.
pub struct Question {
    pub view: &'static str,
    pub key_columns: usize,
    /// Selects the columns of the view in the order of `batch`.
    pub stream: &'static str,
    pub batch: &'static str,
}

pub const QUESTIONS: [Question; 3] = [
    Question {
        view: "hourly",
        key_columns: 3,
        stream: "SELECT campaign, policy, window_start, impressions, clicks, click_through_rate, items FROM hourly",
        batch: "SELECT campaign, policy, date_trunc('hour', shown_at), COUNT(*), SUM(clicked), AVG(CAST(clicked AS DOUBLE)), COUNT(DISTINCT item_id) FROM impressions GROUP BY 1, 2, 3",
    },
    Question {
        view: "items",
        key_columns: 2,
        stream: "SELECT campaign, item_id, impressions, clicks, first_shown, last_shown FROM items",
        batch: "SELECT campaign, item_id, COUNT(*), SUM(clicked), MIN(shown_at), MAX(shown_at) FROM impressions GROUP BY 1, 2",
    },
    Question {
        view: "campaigns",
        key_columns: 1,
        stream: "SELECT campaign, hours, impressions, clicks FROM campaigns",
        batch: "SELECT campaign, COUNT(*), SUM(n), SUM(c) FROM (SELECT campaign, policy, date_trunc('hour', shown_at) AS h, COUNT(*) AS n, SUM(clicked) AS c FROM impressions GROUP BY 1, 2, 3) GROUP BY 1",
    },
];

/// Rows by key, all as text.
pub type Table = BTreeMap<Vec<String>, Vec<String>>;

/// What a comparison came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Comparison {
    pub compared: usize,
    pub differences: Vec<String>,
}

/// Asks the batch question of the impressions.
pub async fn batch(question: &Question, impressions: RecordBatch) -> Result<Table> {
    let context = SessionContext::new();
    context.register_batch("impressions", impressions)?;
    let rows = context
        .sql(question.batch)
        .await?
        .collect()
        .await
        .with_context(|| format!("the batch question for {}", question.view))?;
    table(&rows, question.key_columns)
}

/// Rows of batches by their first `key_columns` columns.
pub fn table(batches: &[RecordBatch], key_columns: usize) -> Result<Table> {
    let options = FormatOptions::default();
    let mut table = Table::new();
    for batch in batches {
        let columns = batch
            .columns()
            .iter()
            .map(|column| ArrayFormatter::try_new(column.as_ref(), &options))
            .collect::<Result<Vec<_>, _>>()?;
        for row in 0..batch.num_rows() {
            let mut key: Vec<String> = columns
                .iter()
                .map(|column| column.value(row).to_string())
                .collect();
            let values = key.split_off(key_columns);
            let shown = key.join(" ");
            anyhow::ensure!(
                table.insert(key, values).is_none(),
                "{shown} is there twice"
            );
        }
    }
    Ok(table)
}

/// Compares what the stream says with what the batch says.
pub fn compare(stream: &Table, batch: &Table) -> Comparison {
    let mut differences = Vec::new();
    for (key, expected) in batch {
        match stream.get(key) {
            None => differences.push(format!("{}: missing", key.join(" "))),
            Some(found) if !same(found, expected) => differences.push(format!(
                "{}: stream {}, batch {}",
                key.join(" "),
                found.join(" "),
                expected.join(" ")
            )),
            Some(_) => {}
        }
    }
    for key in stream.keys().filter(|key| !batch.contains_key(*key)) {
        differences.push(format!("{}: only in the stream", key.join(" ")));
    }
    Comparison {
        compared: batch.len(),
        differences,
    }
}

/// Equal as text or, for fractions whose sums depend on their order, to one part in 10⁹.
fn same(found: &[String], expected: &[String]) -> bool {
    found.len() == expected.len()
        && found.iter().zip(expected).all(|(found, expected)| {
            found == expected
                || match (found.parse::<f64>(), expected.parse::<f64>()) {
                    (Ok(a), Ok(b)) if found.contains('.') || expected.contains('.') => {
                        (a - b).abs() <= 1e-9 * a.abs().max(b.abs())
                    }
                    _ => false,
                }
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(rows: &[(&str, &str)]) -> Table {
        rows.iter()
            .map(|(key, value)| (vec![(*key).to_owned()], vec![(*value).to_owned()]))
            .collect()
    }

    #[test]
    fn every_kind_of_drift_is_counted() {
        let batch = rows(&[("a", "1"), ("b", "2"), ("c", "0.1")]);
        let stream = rows(&[("a", "1"), ("b", "3"), ("d", "4"), ("c", "0.10000000001")]);
        let comparison = compare(&stream, &batch);
        assert_eq!(comparison.compared, 3);
        assert_eq!(
            comparison.differences,
            ["b: stream 3, batch 2", "d: only in the stream"]
        );
        assert_eq!(compare(&batch, &batch).differences, Vec::<String>::new());
        assert_eq!(compare(&rows(&[]), &batch).differences.len(), 3);
    }

    #[tokio::test]
    async fn the_batch_answers_every_question() {
        let impressions = crate::demo::impressions::read().unwrap();
        let hours = batch(&QUESTIONS[0], impressions.clone()).await.unwrap();
        let total: u64 = hours
            .values()
            .map(|row| row[0].parse::<u64>().unwrap())
            .sum();
        assert_eq!(total, 60_000);
        let campaigns = batch(&QUESTIONS[2], impressions).await.unwrap();
        assert_eq!(campaigns.len(), 3);
    }
}
