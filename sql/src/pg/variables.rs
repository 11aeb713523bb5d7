//! A session's settings: what `SET` sets and `SHOW` shows. Those that would change how
//! values are written may only be set to what they are.

use super::error::WireError;
use crate::engine::RowStream;
use crate::error::SqlError;
use arrow::array::{ArrayRef, RecordBatch, StringArray};
use pgwire::messages::PgWireBackendMessage;
use pgwire::messages::startup::ParameterStatus;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The settings of one session.
pub(super) struct Variables {
    /// The session's process id, as clients see it.
    pub(super) process: i32,
    /// As the client came with them.
    given: BTreeMap<String, String>,
    set: BTreeMap<String, String>,
}

/// Settings that values are written by, and what they may be.
const FIXED: [(&str, &[&str]); 5] = [
    ("client_encoding", &["utf8", "utf-8", "unicode"]),
    ("standard_conforming_strings", &["on", "true", "1"]),
    ("intervalstyle", &["postgres"]),
    ("bytea_output", &["hex"]),
    (
        "timezone",
        &["utc", "gmt", "default", "local", "0", "etc/utc", "z"],
    ),
];

impl Variables {
    pub(super) fn new(process: i32, given: BTreeMap<String, String>) -> Self {
        let given = given
            .into_iter()
            .map(|(name, value)| (name.to_lowercase(), value))
            .collect();
        Self {
            process,
            given,
            set: BTreeMap::new(),
        }
    }

    /// The user that the client came as.
    pub(super) fn user(&self) -> &str {
        self.given.get("user").map_or("thalweg", String::as_str)
    }

    /// Sets one; gives back what the client is told of it.
    pub(super) fn set(
        &mut self,
        name: &str,
        value: &str,
    ) -> Result<Option<PgWireBackendMessage>, WireError> {
        let fixed = FIXED.iter().find(|(fixed, _)| *fixed == name);
        if let Some((_, allowed)) = fixed {
            if !allowed.contains(&value.to_lowercase().as_str()) {
                return Err(
                    WireError::new("22023", format!("{name} cannot be set to {value}"))
                        .hint(format!("it is always {}", allowed.first().unwrap_or(&""))),
                );
            }
            return Ok(None);
        }
        if name == "datestyle" {
            if !value.to_lowercase().contains("iso") {
                return Err(
                    WireError::new("22023", format!("datestyle cannot be set to {value}"))
                        .hint("it is always ISO"),
                );
            }
            return Ok(None);
        }
        self.set.insert(name.to_owned(), value.to_owned());
        Ok((name == "application_name").then(|| {
            PgWireBackendMessage::ParameterStatus(ParameterStatus::new(
                name.to_owned(),
                value.to_owned(),
            ))
        }))
    }

    /// Forgets one, or all.
    pub(super) fn reset(&mut self, name: Option<&str>) {
        match name {
            Some(name) => {
                self.set.remove(name);
            }
            None => self.set.clear(),
        }
    }

    /// The value of one that was set, as a row.
    pub(super) fn show(&self, name: &str) -> Result<Option<RowStream>, WireError> {
        let value = match (self.set.get(name), name) {
            (Some(value), _) => value.clone(),
            (None, "application_name") => self.given.get(name).cloned().unwrap_or_default(),
            (None, "session_authorization") => self.user().to_owned(),
            (None, _) => return Ok(None),
        };
        let column: ArrayRef = Arc::new(StringArray::from(vec![value]));
        let batch = RecordBatch::try_from_iter([(name, column)])
            .map_err(|error| WireError::of(&SqlError::internal(error), ""))?;
        Ok(Some(RowStream::of(batch)))
    }
}
