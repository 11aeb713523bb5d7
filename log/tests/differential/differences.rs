//! The known differences: a table in `kafka_differences.md`, beside this test.
//!
//! A row explains a line that differs if its step and its field match and both sides say what the row says; `*`
//! in a cell stands for anything. A row that explained nothing is reported too: it has become wrong.

use std::collections::HashMap;

use crate::normal::MADE_UP;

const FILE: &str = include_str!("../kafka_differences.md");

struct Row {
    step: String,
    field: String,
    kafka: String,
    ours: String,
    used: bool,
}

impl Row {
    /// Whether the two sides say what the row does. `n+1` and `n` stand for numbers one apart.
    fn says(&self, kafka: &str, ours: &str) -> bool {
        if (self.kafka.as_str(), self.ours.as_str()) == ("n+1", "n") {
            return match (kafka.parse::<i64>(), ours.parse::<i64>()) {
                (Ok(kafka), Ok(ours)) => kafka == ours + 1,
                _ => kafka == "*" && ours == "*",
            };
        }
        (kafka == "*" || matches(&self.kafka, kafka)) && (ours == "*" || matches(&self.ours, ours))
    }
}

/// The table.
pub(crate) struct Differences {
    rows: Vec<Row>,
    /// Which made-up id of ours stands for which of Kafka's, and the other way round.
    pairs: (HashMap<String, String>, HashMap<String, String>),
}

impl Differences {
    pub(crate) fn read() -> Self {
        let rows = FILE.lines().filter_map(|line| {
            let cells: Vec<&str> = line.strip_prefix("| `")?.split(" | ").collect();
            let cell = |at: usize| -> Option<String> {
                let cell: &&str = cells.get(at)?;
                Some(cell.trim().trim_matches('`').to_owned())
            };
            Some(Row {
                step: cell(0)?,
                field: cell(1)?,
                kafka: cell(2)?,
                ours: cell(3)?,
                used: false,
            })
        });
        Self {
            rows: rows.collect(),
            pairs: Default::default(),
        }
    }

    /// What no row explains of the difference between two answers.
    pub(crate) fn unexplained(
        &mut self,
        step: &str,
        kafka: &[String],
        ours: &[String],
    ) -> Option<String> {
        if kafka == ours {
            return None;
        }
        if kafka.len() != ours.len() {
            if self.explains(step, "shape", "*", "*") {
                return None;
            }
            return Some(sides(kafka, ours));
        }
        let mut left = Vec::new();
        let mut fresh = Vec::new();
        for (kafka, ours) in kafka.iter().zip(ours) {
            if kafka == ours || self.same_id(kafka, ours, &mut fresh) {
                continue;
            }
            let (field, theirs) = split(kafka);
            let (other, own) = split(ours);
            if field != other || !self.explains(step, field, theirs, own) {
                left.push(format!(
                    "  Kafka: {}\n  ours:  {}",
                    kafka.trim(),
                    ours.trim()
                ));
            }
        }
        // Ids of answers that differ are no pairs: one of the two may be late.
        if !left.is_empty() {
            return Some(left.join("\n"));
        }
        for (kafka, ours) in fresh {
            self.pairs.1.insert(ours.clone(), kafka.clone());
            self.pairs.0.insert(kafka, ours);
        }
        None
    }

    /// Whether both lines have an id that a broker made up, and the same one: a pair once is a pair for ever.
    fn same_id(&self, kafka: &str, ours: &str, fresh: &mut Vec<(String, String)>) -> bool {
        let (Some((field, kafka)), Some((other, ours))) =
            (kafka.split_once(MADE_UP), ours.split_once(MADE_UP))
        else {
            return false;
        };
        if field != other {
            return false;
        }
        // Sessions are counted apart from producers.
        let kind = if field.contains("session") {
            "session "
        } else {
            ""
        };
        let (kafka, ours) = (format!("{kind}{kafka}"), format!("{kind}{ours}"));
        let known = fresh.iter().find(|(k, o)| *k == kafka || *o == ours);
        if let Some((k, o)) = known {
            return *k == kafka && *o == ours;
        }
        match (self.pairs.0.get(&kafka), self.pairs.1.get(&ours)) {
            (None, None) => {
                fresh.push((kafka, ours));
                true
            }
            (bound, back) => bound == Some(&ours) && back == Some(&kafka),
        }
    }

    fn explains(&mut self, step: &str, field: &str, kafka: &str, ours: &str) -> bool {
        let row = self
            .rows
            .iter_mut()
            .find(|row| matches(&row.step, step) && row.field == field && row.says(kafka, ours));
        if let Some(row) = row {
            row.used = true;
            return true;
        }
        false
    }

    /// The rows that explained nothing.
    pub(crate) fn unused(&self) -> Vec<String> {
        // What is drawn meets its rows by chance.
        let unused = self.rows.iter();
        let unused = unused.filter(|row| !row.used && !row.step.ends_with("seeded"));
        unused
            .map(|row| format!("{} | {}", row.step, row.field))
            .collect()
    }
}

fn split(line: &str) -> (&str, &str) {
    let line = line.trim().trim_end_matches(',');
    line.split_once(": ").unwrap_or(("", line))
}

/// Only the lines around where the two are not the same.
fn sides(kafka: &[String], ours: &[String]) -> String {
    let same = kafka.iter().zip(ours).take_while(|(a, b)| a == b).count();
    let rest = |lines: &[String]| -> String {
        let from = same.saturating_sub(4).min(lines.len());
        let to = (same + 14).min(lines.len());
        lines[from..to].join("\n")
    };
    format!(
        "  from line {same} on; Kafka:\n{}\n  ours:\n{}",
        rest(kafka),
        rest(ours)
    )
}

/// Whether a pattern with `*` matches.
fn matches(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((before, after)) => text.strip_prefix(before).is_some_and(|rest| {
            (0..=rest.len())
                .filter(|at| rest.is_char_boundary(*at))
                .any(|at| matches(after, &rest[at..]))
        }),
    }
}
