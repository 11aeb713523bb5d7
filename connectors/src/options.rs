//! The options of a connector, as `WITH (…)` gives them: taken one by one, so that what
//! is left over is an unknown option and an error that names the nearest known one.

use std::collections::BTreeMap;

use crate::ConnectorError;

/// Options on their way into a typed configuration.
#[derive(Debug)]
pub(crate) struct Options {
    connector: &'static str,
    left: BTreeMap<String, String>,
    known: Vec<&'static str>,
}

impl Options {
    pub(crate) fn new(connector: &'static str, options: &BTreeMap<String, String>) -> Self {
        let left = options
            .iter()
            .map(|(key, value)| (key.to_ascii_lowercase(), value.clone()))
            .collect();
        Self {
            connector,
            left,
            known: Vec::new(),
        }
    }

    pub(crate) fn take(&mut self, option: &'static str) -> Option<String> {
        self.known.push(option);
        self.left.remove(option)
    }

    pub(crate) fn require(&mut self, option: &'static str) -> Result<String, ConnectorError> {
        match self.take(option) {
            Some(value) if !value.is_empty() => Ok(value),
            _ => Err(self.bad(option, "is required".to_owned())),
        }
    }

    /// One of `choices`, or the first of them when the option is not given.
    pub(crate) fn choose<T: Copy>(
        &mut self,
        option: &'static str,
        choices: &[(&str, T)],
        default: T,
    ) -> Result<T, ConnectorError> {
        let Some(value) = self.take(option) else {
            return Ok(default);
        };
        match choices
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case(&value))
        {
            Some((_, choice)) => Ok(*choice),
            None => {
                let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
                Err(self.bad(
                    option,
                    format!("must be one of {}, not {value:?}", names.join(", ")),
                ))
            }
        }
    }

    pub(crate) fn bad(&self, option: &'static str, what: String) -> ConnectorError {
        ConnectorError::BadOption {
            connector: self.connector,
            option,
            what,
        }
    }

    /// Ends the taking: whatever is left is unknown.
    pub(crate) fn finish(self) -> Result<(), ConnectorError> {
        match self.left.into_keys().next() {
            None => Ok(()),
            Some(option) => Err(ConnectorError::UnknownOption {
                connector: self.connector,
                hint: did_you_mean(&option, &self.known),
                option,
            }),
        }
    }
}

/// ` (did you mean …?)` when one of `known` is near, else nothing.
pub(crate) fn did_you_mean(word: &str, known: &[&str]) -> String {
    known
        .iter()
        .map(|known| (strsim::damerau_levenshtein(word, known), known))
        .filter(|(distance, known)| *distance <= 1 + known.len() / 4)
        .min()
        .map_or_else(String::new, |(_, known)| {
            format!(" (did you mean {known:?}?)")
        })
}
