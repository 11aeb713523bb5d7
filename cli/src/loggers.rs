//! The levels of this process's loggers, which can be changed while it runs.

use std::collections::BTreeMap;
use std::sync::Mutex;

use thalweg_log::broker::{Loggers, ROOT_LOGGER};
use tracing_subscriber::EnvFilter;

/// What a user may want to look into; any module below these can be named too.
const KNOWN: &[&str] = &[
    "thalweg_connectors",
    "thalweg_log",
    "thalweg_log::broker",
    "thalweg_log::client",
    "thalweg_log::controller",
    "thalweg_log::group",
    "thalweg_log::net",
    "thalweg_log::storage",
    "thalweg_log::transaction",
    "thalweg_schema",
    "thalweg_sql",
    "thalweg_state",
    "thalweg_streams",
];

type Apply = Box<dyn Fn(EnvFilter) -> Result<(), String> + Send + Sync>;

/// The levels that were set, by logger, and how they take effect.
pub struct Levels {
    set: Mutex<BTreeMap<String, String>>,
    apply: Apply,
}

impl std::fmt::Debug for Levels {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Levels").finish_non_exhaustive()
    }
}

impl Levels {
    /// The levels of a filter such as `warn,thalweg_log=debug`.
    pub fn new(filter: &str, apply: Apply) -> Self {
        let set = filter
            .split(',')
            .map(str::trim)
            .filter(|word| !word.is_empty())
            .map(|word| word.split_once('=').unwrap_or((ROOT_LOGGER, word)))
            .map(|(logger, level)| (logger.to_owned(), level.to_ascii_uppercase()))
            .collect();
        Self {
            set: Mutex::new(set),
            apply,
        }
    }

    fn locked(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, String>> {
        self.set.lock().unwrap_or_else(|e| e.into_inner())
    }
}

/// The level of a logger: its own, or that of the nearest above it.
fn level(set: &BTreeMap<String, String>, logger: &str) -> String {
    let mut at = Some(logger);
    while let Some(name) = at {
        if let Some(level) = set.get(name) {
            return level.clone();
        }
        at = name.rsplit_once("::").map(|(above, _)| above);
    }
    set.get(ROOT_LOGGER)
        .cloned()
        .unwrap_or_else(|| "ERROR".to_owned())
}

fn filter(set: &BTreeMap<String, String>) -> String {
    let words: Vec<String> = set
        .iter()
        .map(|(logger, level)| {
            let level = match level.as_str() {
                "FATAL" => "error".to_owned(),
                level => level.to_ascii_lowercase(),
            };
            match logger.as_str() {
                ROOT_LOGGER => level,
                logger => format!("{logger}={level}"),
            }
        })
        .collect();
    words.join(",")
}

impl Loggers for Levels {
    fn levels(&self) -> BTreeMap<String, String> {
        let set = self.locked();
        let known = KNOWN.iter().map(|name| (*name).to_owned());
        known
            .chain([ROOT_LOGGER.to_owned()])
            .chain(set.keys().cloned())
            .map(|name| {
                let level = level(&set, &name);
                (name, level)
            })
            .collect()
    }

    fn set(&self, logger: &str, level: Option<&str>) -> Result<(), String> {
        let known = |name: &str| {
            let below = logger.strip_prefix(name);
            below.is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
        };
        if logger != ROOT_LOGGER && !KNOWN.iter().any(|name| known(name)) {
            return Err(format!("Logger {logger} does not exist!"));
        }
        let mut set = self.locked();
        let mut new = set.clone();
        match level {
            Some(level) => new.insert(logger.to_owned(), level.to_owned()),
            None => new.remove(logger),
        };
        let parsed = EnvFilter::try_new(filter(&new)).map_err(|e| e.to_string())?;
        (self.apply)(parsed)?;
        *set = new;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_inherited_and_changed() {
        let levels = Levels::new("warn,thalweg_log=debug", Box::new(|_| Ok(())));
        let of = |name: &str| levels.levels().get(name).cloned();
        assert_eq!(of("root").as_deref(), Some("WARN"));
        assert_eq!(of("thalweg_log::broker").as_deref(), Some("DEBUG"));
        assert_eq!(of("thalweg_sql").as_deref(), Some("WARN"));
        levels.set("thalweg_log::broker", Some("TRACE")).unwrap();
        assert_eq!(of("thalweg_log::broker").as_deref(), Some("TRACE"));
        levels.set("thalweg_log::broker", None).unwrap();
        assert_eq!(of("thalweg_log::broker").as_deref(), Some("DEBUG"));
        assert!(
            levels
                .set("java.util", Some("INFO"))
                .unwrap_err()
                .contains("does not exist")
        );
        assert_eq!(filter(&levels.locked()), "warn,thalweg_log=debug");
    }
}
