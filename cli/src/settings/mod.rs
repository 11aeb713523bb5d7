//! Where a server's settings come from: a file, then flags, then `--override`.
//!
//! A file is TOML, or Java properties as Kafka's `server.properties`. All end up as one map of
//! Kafka's keys, which the broker checks as a whole; ours (`data.dir`, `listen`, `pg.listen`) stand
//! for Kafka's `log.dirs` and `listeners`, or are for us.

mod properties;
mod providers;
mod toml_file;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use thalweg_log::config::{all_names, check_value, nearest_key};

use self::providers::Providers;

pub const DEFAULT_DATA_DIR: &str = "thalweg-data";
pub const DEFAULT_LISTEN: &str = "127.0.0.1:9092";
pub const DEFAULT_PG_LISTEN: &str = "127.0.0.1:5433";

/// Our own keys.
const OWN: [&str; 3] = ["data.dir", "listen", "pg.listen"];

/// One entry of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The line it begins on, from 1.
    pub line: usize,
    /// Its key.
    pub key: String,
    /// Its value.
    pub value: String,
}

/// A server's settings, merged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Where SQL keeps its own; the first of the log's folders.
    pub data_dir: PathBuf,
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
        let (mut keys, providers) = match flags.config {
            Some(path) => {
                let (keys, providers) = read_file(path)?;
                (keys, Some(providers))
            }
            None => (BTreeMap::new(), None),
        };
        own_keys(&mut keys, None, None);
        let data_dir = flags.data_dir.map(|dir| dir.display().to_string());
        own_keys(&mut keys, data_dir, flags.listen.map(str::to_owned));
        if let Some(address) = flags.pg_listen {
            keys.insert("pg.listen".to_owned(), address.to_owned());
        }
        for pair in flags.overrides {
            let Some((key, value)) = pair.split_once('=') else {
                bail!(
                    "--override takes KEY=VALUE, such as log.segment.bytes=1048576, not {pair:?}"
                );
            };
            let (key, value) = (key.trim(), value.trim());
            let value = match &providers {
                Some(providers) => providers
                    .resolve(value)
                    .with_context(|| format!("--override {key}"))?,
                None => value.to_owned(),
            };
            match key {
                "data.dir" => own_keys(&mut keys, Some(value), None),
                "listen" => own_keys(&mut keys, None, Some(value)),
                _ => {
                    keys.insert(key.to_owned(), value);
                }
            }
        }
        if !keys.contains_key("log.dirs") && !keys.contains_key("log.dir") {
            keys.insert("log.dirs".to_owned(), DEFAULT_DATA_DIR.to_owned());
        }
        keys.entry("listeners".to_owned())
            .or_insert_with(|| format!("PLAINTEXT://{DEFAULT_LISTEN}"));
        let dirs = keys.get("log.dirs").or_else(|| keys.get("log.dir"));
        let first = dirs.and_then(|dirs| dirs.split(',').next());
        Ok(Self {
            data_dir: first.unwrap_or(DEFAULT_DATA_DIR).trim().into(),
            pg_listen: keys
                .remove("pg.listen")
                .unwrap_or_else(|| DEFAULT_PG_LISTEN.to_owned()),
            broker: keys,
        })
    }
}

/// Turns our keys into Kafka's: those in the map, or those given, which win over all before them.
fn own_keys(keys: &mut BTreeMap<String, String>, dir: Option<String>, listen: Option<String>) {
    if let Some(dir) = dir.or_else(|| keys.remove("data.dir")) {
        keys.remove("log.dir");
        keys.insert("log.dirs".to_owned(), dir);
    }
    if let Some(address) = listen.or_else(|| keys.remove("listen")) {
        // They speak of the listeners that this one replaces.
        keys.remove("advertised.listeners");
        keys.remove("inter.broker.listener.name");
        let named = if address.contains("://") {
            address
        } else {
            format!("PLAINTEXT://{address}")
        };
        keys.insert("listeners".to_owned(), named);
    }
}

/// The entries of a properties file, in order and unchecked.
pub fn read_properties(path: &Path) -> Result<Vec<(String, String)>> {
    let shown = path.display();
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {shown}"))?;
    let entries = properties::parse(&text).with_context(|| format!("cannot understand {shown}"))?;
    Ok(entries.into_iter().map(|e| (e.key, e.value)).collect())
}

/// Reads a file and checks each of its entries, so that an error names its line.
fn read_file(path: &Path) -> Result<(BTreeMap<String, String>, Providers)> {
    let shown = path.display();
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("cannot read the configuration {shown}"))?;
    let mut entries = match path.extension().and_then(|e| e.to_str()) {
        Some("toml") => toml_file::parse(&text),
        Some("properties" | "conf") => properties::parse(&text),
        // Without a telling name: what parses as TOML is TOML.
        _ => toml_file::parse(&text).or_else(|_| properties::parse(&text)),
    }
    .with_context(|| format!("cannot understand the configuration {shown}"))?;
    let environment = |name: &str| std::env::var(name).ok();
    let providers = Providers::take(&mut entries, environment)
        .with_context(|| format!("cannot understand the configuration {shown}"))?;
    let java = path.extension().is_none_or(|e| e != "toml");
    let mut keys = BTreeMap::new();
    for Entry { line, key, value } in entries {
        let value = providers
            .resolve(&value)
            .with_context(|| format!("{shown}:{line}: {key}"))?;
        if !OWN.contains(&key.as_str())
            && let Err(error) = check_value(&key, value.trim())
        {
            let ours = nearest_key(&key, all_names().chain(OWN)).filter(|k| OWN.contains(k));
            match ours {
                Some(ours) => bail!("{shown}:{line}: {error} (or `{ours}`)"),
                None => bail!("{shown}:{line}: {error}"),
            }
        }
        // In Java's files the last of several wins.
        if keys.insert(key.clone(), value).is_some() && !java {
            bail!("{shown}:{line}: {key} is set twice");
        }
    }
    Ok((keys, providers))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(folder: &Path, name: &str, text: &str) -> PathBuf {
        let path = folder.join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    fn merge(path: &Path) -> Result<Settings> {
        Settings::merge(&Flags {
            config: Some(path),
            ..Flags::default()
        })
    }

    #[test]
    fn overrides_win_over_flags_and_flags_over_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let text = "listen = \"127.0.0.1:1\"\n\"num.partitions\" = 3\n[data]\ndir = \"here\"\n[log]\nretention.ms = 5\n";
        let path = write(folder.path(), "thalweg.toml", text);
        let overrides = ["log.retention.ms=7".to_owned()];
        let settings = Settings::merge(&Flags {
            config: Some(&path),
            listen: Some("127.0.0.1:2"),
            overrides: &overrides,
            ..Flags::default()
        })
        .unwrap();
        assert_eq!(settings.pg_listen, DEFAULT_PG_LISTEN);
        assert_eq!(settings.data_dir, Path::new("here"));
        let broker: Vec<_> = settings
            .broker
            .iter()
            .map(|(k, v)| (k.as_str(), v.as_str()))
            .collect();
        assert_eq!(
            broker,
            [
                ("listeners", "PLAINTEXT://127.0.0.1:2"),
                ("log.dirs", "here"),
                ("log.retention.ms", "7"),
                ("num.partitions", "3")
            ]
        );
    }

    #[test]
    fn without_a_file_there_are_defaults() {
        let settings = Settings::merge(&Flags::default()).unwrap();
        assert_eq!(settings.data_dir, Path::new(DEFAULT_DATA_DIR));
        assert_eq!(settings.broker["listeners"], "PLAINTEXT://127.0.0.1:9092");
    }

    #[test]
    fn kafkas_own_file_is_taken() {
        let folder = tempfile::tempdir().unwrap();
        let text = "process.roles=broker,controller\n\
            node.id=1\n\
            controller.quorum.bootstrap.servers=localhost:9093\n\
            listeners=PLAINTEXT://:9092,CONTROLLER://:9093\n\
            inter.broker.listener.name=PLAINTEXT\n\
            advertised.listeners=PLAINTEXT://localhost:9092,CONTROLLER://localhost:9093\n\
            controller.listener.names=CONTROLLER\n\
            listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SSL:SSL,SASL_PLAINTEXT:SASL_PLAINTEXT,SASL_SSL:SASL_SSL\n\
            num.network.threads=3\n\
            num.io.threads=8\n\
            socket.send.buffer.bytes=102400\n\
            socket.receive.buffer.bytes=102400\n\
            socket.request.max.bytes=104857600\n\
            log.dirs=/tmp/kraft-combined-logs\n\
            num.partitions=1\n\
            num.recovery.threads.per.data.dir=1\n\
            offsets.topic.replication.factor=1\n\
            share.coordinator.state.topic.replication.factor=1\n\
            share.coordinator.state.topic.min.isr=1\n\
            transaction.state.log.replication.factor=1\n\
            transaction.state.log.min.isr=1\n\
            log.retention.hours=168\n\
            log.segment.bytes=1073741824\n\
            log.retention.check.interval.ms=300000\n";
        let path = write(folder.path(), "server.properties", text);
        let settings = merge(&path).unwrap();
        assert_eq!(settings.data_dir, Path::new("/tmp/kraft-combined-logs"));
        let mut config = thalweg_log::broker::BrokerConfig::new(&settings.data_dir);
        for (key, value) in &settings.broker {
            config = config.set(key, value);
        }
        let resolved = config.resolve().unwrap();
        assert_eq!(resolved.listeners.len(), 1);
        assert_eq!(resolved.advertised[0].host, "localhost");
    }

    #[test]
    fn a_mistake_is_named_with_its_line() {
        let folder = tempfile::tempdir().unwrap();
        let says = |name: &str, text: &str| {
            let path = write(folder.path(), name, text);
            merge(&path).unwrap_err().to_string()
        };
        let error = says("a.properties", "num.partitions=1\nlog.dir.s=x\n");
        assert!(error.contains("a.properties:2: "), "{error}");
        assert!(error.contains("did you mean `log.dirs`?"), "{error}");
        let error = says("b.toml", "[log]\nretention.ms = \"x\"\n");
        assert!(
            error.contains("b.toml:2: invalid value `x` for `log.retention.ms`"),
            "{error}"
        );
        let error = says("c.properties", "ssl.keystore.location=x\n");
        assert!(error.contains("not there yet"), "{error}");
    }

    #[test]
    fn values_may_stand_in_other_files() {
        let folder = tempfile::tempdir().unwrap();
        let secrets = write(folder.path(), "secrets", "parts = 5\nrack=r1\n");
        let class = "org.apache.kafka.common.config.provider.FileConfigProvider";
        let text = |key: &str| {
            format!(
                "config.providers=file\nconfig.providers.file.class={class}\nnum.partitions=${{file:{}:{key}}}\n",
                secrets.display()
            )
        };
        let path = write(folder.path(), "server.properties", &text("parts"));
        let overrides = [format!("broker.rack=${{file:{}:rack}}", secrets.display())];
        let settings = Settings::merge(&Flags {
            config: Some(&path),
            overrides: &overrides,
            ..Flags::default()
        })
        .unwrap();
        assert_eq!(settings.broker["num.partitions"], "5");
        assert_eq!(settings.broker["broker.rack"], "r1");
        assert!(!settings.broker.contains_key("config.providers"));
        let path = write(folder.path(), "server.properties", &text("none"));
        let error = format!("{:#}", merge(&path).unwrap_err());
        assert!(
            error.contains("server.properties:3: num.partitions"),
            "{error}"
        );
        assert!(error.contains("does not set none"), "{error}");
    }

    #[test]
    fn a_missing_file_and_a_bad_override_are_named() {
        let missing = merge(Path::new("/no/such/file.toml"));
        assert!(format!("{:#}", missing.unwrap_err()).contains("/no/such/file.toml"));
        let overrides = ["retention".to_owned()];
        let bad = Settings::merge(&Flags {
            overrides: &overrides,
            ..Flags::default()
        });
        assert!(bad.unwrap_err().to_string().contains("KEY=VALUE"));
    }
}
