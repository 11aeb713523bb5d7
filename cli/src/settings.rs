//! Where a server's settings come from: a TOML file, then flags, then `--override`.
//!
//! All end up as one map of Kafka's keys, which the broker checks as a whole; ours
//! (`data.dir`, `listen`, `pg.listen`) are taken out first.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

pub const DEFAULT_DATA_DIR: &str = "thalweg-data";
pub const DEFAULT_LISTEN: &str = "127.0.0.1:9092";
pub const DEFAULT_PG_LISTEN: &str = "127.0.0.1:5433";

/// A server's settings, merged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    pub data_dir: PathBuf,
    pub listen: String,
    pub pg_listen: String,
    /// Everything else: the broker's configuration by Kafka's keys.
    pub broker: BTreeMap<String, String>,
}

/// The flags of `thalweg server`.
#[derive(Debug, Clone, Default)]
pub struct Flags<'a> {
    pub config: Option<&'a Path>,
    pub data_dir: Option<&'a Path>,
    pub listen: Option<&'a str>,
    pub pg_listen: Option<&'a str>,
    pub overrides: &'a [String],
}

impl Settings {
    pub fn merge(flags: &Flags<'_>) -> Result<Self> {
        let mut keys = match flags.config {
            Some(path) => read_file(path)?,
            None => BTreeMap::new(),
        };
        let mut flag = |key: &str, value: Option<String>| {
            if let Some(value) = value {
                keys.insert(key.to_owned(), value);
            }
        };
        flag(
            "data.dir",
            flags.data_dir.map(|dir| dir.display().to_string()),
        );
        flag("listen", flags.listen.map(str::to_owned));
        flag("pg.listen", flags.pg_listen.map(str::to_owned));
        for pair in flags.overrides {
            let Some((key, value)) = pair.split_once('=') else {
                bail!(
                    "--override takes KEY=VALUE, such as log.segment.bytes=1048576, not {pair:?}"
                );
            };
            keys.insert(key.trim().to_owned(), value.trim().to_owned());
        }
        let mut take =
            |key: &str, default: &str| keys.remove(key).unwrap_or_else(|| default.to_owned());
        Ok(Self {
            data_dir: take("data.dir", DEFAULT_DATA_DIR).into(),
            listen: take("listen", DEFAULT_LISTEN),
            pg_listen: take("pg.listen", DEFAULT_PG_LISTEN),
            broker: keys,
        })
    }
}

fn read_file(path: &Path) -> Result<BTreeMap<String, String>> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("cannot read the configuration {}", path.display()))?;
    let table: toml::Table = text
        .parse()
        .with_context(|| format!("{} is not TOML", path.display()))?;
    let mut keys = BTreeMap::new();
    flatten("", &table, &mut keys)
        .with_context(|| format!("in the configuration {}", path.display()))?;
    Ok(keys)
}

/// `[log.segment] bytes = 1` and `"log.segment.bytes" = 1` are the same key.
fn flatten(prefix: &str, table: &toml::Table, keys: &mut BTreeMap<String, String>) -> Result<()> {
    for (name, value) in table {
        let key = if prefix.is_empty() {
            name.clone()
        } else {
            format!("{prefix}.{name}")
        };
        let text = match value {
            toml::Value::Table(inner) => {
                flatten(&key, inner, keys)?;
                continue;
            }
            toml::Value::String(text) => text.clone(),
            toml::Value::Integer(number) => number.to_string(),
            toml::Value::Float(number) => number.to_string(),
            toml::Value::Boolean(flag) => flag.to_string(),
            toml::Value::Array(items) => {
                let items: Option<Vec<&str>> = items.iter().map(toml::Value::as_str).collect();
                items
                    .with_context(|| format!("{key} must be a list of strings"))?
                    .join(",")
            }
            toml::Value::Datetime(_) => bail!("{key} cannot be a date"),
        };
        if keys.insert(key.clone(), text).is_some() {
            bail!("{key} is set twice");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overrides_win_over_flags_and_flags_over_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("thalweg.toml");
        let text = "listen = \"127.0.0.1:1\"\n\"num.partitions\" = 3\n[data]\ndir = \"here\"\n[log]\nretention.ms = 5\n";
        std::fs::write(&path, text).unwrap();
        let overrides = ["log.retention.ms=7".to_owned()];
        let settings = Settings::merge(&Flags {
            config: Some(&path),
            listen: Some("127.0.0.1:2"),
            overrides: &overrides,
            ..Flags::default()
        })
        .unwrap();
        assert_eq!(settings.listen, "127.0.0.1:2");
        assert_eq!(settings.pg_listen, DEFAULT_PG_LISTEN);
        assert_eq!(settings.data_dir, Path::new("here"));
        let broker: Vec<_> = settings
            .broker
            .iter()
            .map(|(k, v)| (k.as_str(), v.as_str()))
            .collect();
        assert_eq!(broker, [("log.retention.ms", "7"), ("num.partitions", "3")]);
    }

    #[test]
    fn a_missing_file_and_a_bad_override_are_named() {
        let missing = Settings::merge(&Flags {
            config: Some(Path::new("/no/such/file.toml")),
            ..Flags::default()
        });
        assert!(format!("{:#}", missing.unwrap_err()).contains("/no/such/file.toml"));
        let overrides = ["retention".to_owned()];
        let bad = Settings::merge(&Flags {
            overrides: &overrides,
            ..Flags::default()
        });
        assert!(bad.unwrap_err().to_string().contains("KEY=VALUE"));
    }
}
