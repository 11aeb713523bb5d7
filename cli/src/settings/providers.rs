//! Values that stand elsewhere: `${env:NAME}`, `${file:PATH:KEY}`, `${directory:PATH:NAME}` (KIP-297, KIP-421).
//!
//! As in Kafka, a value is only looked up where `config.providers` names its provider and
//! `config.providers.NAME.class` says which of Kafka's own it is; anything else stays as it is
//! written. Invariant: what a provider does not find is an error, and never an empty value.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};

use super::{Entry, properties};

const KEY: &str = "config.providers";
const PREFIX: &str = "config.providers.";
const CLASSES: &str = "org.apache.kafka.common.config.provider.";

/// Looks up a variable of the environment.
pub type Environment = fn(&str) -> Option<String>;

/// The providers that a file names.
#[derive(Debug)]
pub struct Providers {
    by_name: BTreeMap<String, Provider>,
    environment: Environment,
}

#[derive(Debug)]
struct Provider {
    kind: Kind,
    /// `param.allowed.paths`; without, every path.
    allowed: Option<Vec<PathBuf>>,
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Environment,
    File,
    Directory,
}

impl Providers {
    /// Those of a file, whose entries lose what speaks of providers.
    pub fn take(entries: &mut Vec<Entry>, environment: Environment) -> Result<Self> {
        let mut names = Vec::new();
        let mut settings = BTreeMap::new();
        entries.retain(|entry| {
            if entry.key == KEY {
                let words = entry.value.split(',').map(str::trim);
                names = words.filter(|w| !w.is_empty()).map(str::to_owned).collect();
                return false;
            }
            let Some(rest) = entry.key.strip_prefix(PREFIX) else {
                return true;
            };
            settings.insert(rest.to_owned(), entry.value.trim().to_owned());
            false
        });
        let mut by_name = BTreeMap::new();
        for name in names {
            let class = settings.remove(&format!("{name}.class"));
            let class = class.with_context(|| {
                format!("the provider {name} of {KEY} has no {PREFIX}{name}.class")
            })?;
            let kind = match class.strip_prefix(CLASSES) {
                Some("EnvVarConfigProvider") => Kind::Environment,
                Some("FileConfigProvider") => Kind::File,
                Some("DirectoryConfigProvider") => Kind::Directory,
                _ => bail!(
                    "{PREFIX}{name}.class is {class}: there is no Java here, and only Kafka's EnvVarConfigProvider, FileConfigProvider and DirectoryConfigProvider ({CLASSES}*) are known"
                ),
            };
            let allowed = settings.remove(&format!("{name}.param.allowed.paths"));
            let allowed = allowed.map(|paths| paths.split(',').map(|p| p.trim().into()).collect());
            by_name.insert(name, Provider { kind, allowed });
        }
        if let Some(other) = settings.keys().next() {
            bail!(
                "{PREFIX}{other} is not understood: NAME.class is, and NAME.param.allowed.paths, of the names that {KEY} lists"
            );
        }
        Ok(Self {
            by_name,
            environment,
        })
    }

    /// A value with what stands elsewhere in its place.
    pub fn resolve(&self, value: &str) -> Result<String> {
        let mut out = String::with_capacity(value.len());
        let mut rest = value;
        while let Some((before, after)) = rest.split_once("${") {
            out.push_str(before);
            let found = after.split_once('}').and_then(|(variable, behind)| {
                let (name, of) = variable.split_once(':')?;
                Some((variable, self.by_name.get(name)?, of, behind))
            });
            match found {
                Some((variable, provider, of, behind)) => {
                    let (path, key) = of.split_once(':').unwrap_or(("", of));
                    let value = self
                        .look_up(provider, path, key)
                        .with_context(|| format!("cannot look up ${{{variable}}}"))?;
                    out.push_str(&value);
                    rest = behind;
                }
                None => {
                    out.push_str("${");
                    rest = after;
                }
            }
        }
        out.push_str(rest);
        Ok(out)
    }

    fn look_up(&self, provider: &Provider, path: &str, key: &str) -> Result<String> {
        if let Kind::Environment = provider.kind {
            ensure!(path.is_empty(), "variables of the environment have no path");
            let value = (self.environment)(key);
            return value.with_context(|| format!("{key} is not set in the environment"));
        }
        ensure!(
            !path.is_empty(),
            "the path is missing: PATH:KEY is expected"
        );
        let path = Path::new(path);
        // A path that goes up might leave what is allowed.
        let up = path.components().any(|c| c == Component::ParentDir);
        let allowed = provider.allowed.as_ref();
        if allowed.is_some_and(|allowed| up || !allowed.iter().any(|a| path.starts_with(a))) {
            bail!("{} is not among the allowed paths", path.display());
        }
        let read = |path: &Path| {
            std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
        };
        if let Kind::Directory = provider.kind {
            let name = Path::new(key).components().collect::<Vec<_>>();
            ensure!(
                matches!(name.as_slice(), [Component::Normal(_)]),
                "{key:?} is not the name of a file"
            );
            return read(&path.join(key));
        }
        let entries = properties::parse(&read(path)?)
            .with_context(|| format!("cannot understand {}", path.display()))?;
        let last = entries.into_iter().rfind(|entry| entry.key == key);
        let value = last.map(|entry| entry.value);
        value.with_context(|| format!("{} does not set {key}", path.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(name: &str) -> Option<String> {
        (name == "BROKER_ID").then(|| "7".to_owned())
    }

    fn providers(text: &str) -> Result<(Providers, Vec<Entry>)> {
        let mut entries = properties::parse(text)?;
        let providers = Providers::take(&mut entries, environment)?;
        Ok((providers, entries))
    }

    fn all(extra: &str) -> Providers {
        let mut text = "config.providers = env, file, dir\nnum.partitions=2\n".to_owned();
        for (name, class) in [("env", "EnvVar"), ("file", "File"), ("dir", "Directory")] {
            text += &format!("config.providers.{name}.class={CLASSES}{class}ConfigProvider\n");
        }
        let (providers, entries) = providers(&(text + extra)).unwrap();
        assert_eq!(entries.len(), 1);
        providers
    }

    #[test]
    fn values_come_from_the_environment_and_from_files() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().display();
        std::fs::write(folder.path().join("s.properties"), "a=1\nb = x y\na=2\n").unwrap();
        std::fs::write(folder.path().join("name"), "in a file").unwrap();
        let providers = all("");
        for (value, expected) in [
            ("plain".to_owned(), "plain".to_owned()),
            ("${env:BROKER_ID}".to_owned(), "7".to_owned()),
            (
                "a${env:BROKER_ID}b${env:BROKER_ID}".to_owned(),
                "a7b7".to_owned(),
            ),
            (format!("${{file:{path}/s.properties:a}}"), "2".to_owned()),
            (format!("${{file:{path}/s.properties:b}}"), "x y".to_owned()),
            (format!("${{dir:{path}:name}}"), "in a file".to_owned()),
            // What no provider is named for stays.
            (
                "${other:x} ${x} ${env:BROKER_ID".to_owned(),
                "${other:x} ${x} ${env:BROKER_ID".to_owned(),
            ),
        ] {
            assert_eq!(providers.resolve(&value).unwrap(), expected);
        }
    }

    #[test]
    fn what_is_not_found_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().display();
        std::fs::write(folder.path().join("s.properties"), "a=1\n").unwrap();
        let fenced = all("config.providers.file.param.allowed.paths=/etc/thalweg, /run\n");
        let open = all("");
        for (providers, value, says) in [
            (&open, "${env:NO_SUCH}".to_owned(), "NO_SUCH is not set"),
            (&open, "${env:a:b}".to_owned(), "no path"),
            (&open, "${file:a}".to_owned(), "PATH:KEY"),
            (
                &open,
                format!("${{file:{path}/s.properties:b}}"),
                "does not set b",
            ),
            (&open, format!("${{file:{path}/none:b}}"), "cannot read"),
            (
                &open,
                format!("${{dir:{path}:../x}}"),
                "not the name of a file",
            ),
            (
                &fenced,
                format!("${{file:{path}/s.properties:a}}"),
                "allowed",
            ),
            (
                &fenced,
                "${file:/run/../etc/passwd:a}".to_owned(),
                "allowed",
            ),
        ] {
            let error = format!("{:#}", providers.resolve(&value).unwrap_err());
            assert!(error.contains(says), "{value}: {error}");
        }
    }

    #[test]
    fn providers_are_kafkas_own() {
        for (text, says) in [
            ("config.providers=env\n", "config.providers.env.class"),
            (
                "config.providers=v\nconfig.providers.v.class=org.example.Vault\n",
                "org.example.Vault",
            ),
            ("config.providers.env.class=x\n", "not understood"),
        ] {
            let error = providers(text).unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        }
    }
}
