//! `docs/configuration.md` says what the catalogue of settings says.
//!
//! After a change of the catalogue, `THALWEG_UPDATE_DOCS=1 cargo test -p thalweg-log --test
//! config_docs` writes it anew.

use std::fmt::Write as _;
use std::path::Path;

use thalweg_log::config::{BrokerKey, GROUP_KEYS, broker_keys};
use thalweg_log::storage::LogConfig;

const HEAD: &str = "# Configuration

Every setting, by Kafka's name. This page is written by `log/tests/config_docs.rs` from the one
catalogue that the broker itself reads (`log/src/config/catalogue/`, `log/src/storage/topic_keys.rs`):
change it there.

A server reads its settings from `thalweg server --config FILE` (TOML, or Java properties such as
Kafka's own `server.properties`), from its flags, and from `--override KEY=VALUE`, which wins. What can
change at run time is changed with `thalweg config alter` or Kafka's `kafka-configs`, is kept in the
cluster's metadata, and lies over what was given at the start. `thalweg config describe` shows what
holds, and where it comes from. See [operating](kafka-operators.md) for how.

An unknown key is an error that names the nearest known one. Keys of what is not there yet (TLS, SASL
and ACLs; tiered storage; share groups) and keys that name Java classes are refused with a reason; a few
of them that stand in Kafka's own files are accepted and listed [below](#accepted-without-effect).

";

fn cell(text: &str) -> String {
    match text {
        "" => "–".to_owned(),
        text => text.replace('|', "\\|").replace('<', "&lt;"),
    }
}

fn code(text: &str) -> String {
    match text {
        "" => "(empty)".to_owned(),
        text => format!("`{text}`"),
    }
}

fn broker_table<'a>(out: &mut String, keys: impl Iterator<Item = &'a BrokerKey>) {
    out.push_str("| key | type | default | values | changes | what it does |\n");
    out.push_str("|---|---|---|---|---|---|\n");
    let mut keys: Vec<_> = keys.collect();
    keys.sort_by_key(|k| k.name);
    for key in keys {
        let default = key.default.map_or("null".to_owned(), code);
        let _ = writeln!(
            out,
            "| `{}` | {} | {default} | {} | {} | {} |",
            key.name,
            key.kind.name(),
            cell(&key.valid.to_string()),
            key.mode.name(),
            cell(key.doc),
        );
    }
}

fn page() -> String {
    let mut out = HEAD.to_owned();
    out.push_str("## Topics\n\nA topic that sets nothing takes the broker's default, which is set by the broker key beside it\nand can change at run time for one broker or for all.\n\n");
    out.push_str("| key | broker key | type | default | values | what it does |\n");
    out.push_str("|---|---|---|---|---|---|\n");
    let defaults = LogConfig::default();
    for key in LogConfig::keys() {
        let inert = match key.inert {
            true => " **No effect here.**",
            false => "",
        };
        let _ = writeln!(
            out,
            "| `{}` | {} | {} | {} | {} | {}{inert} |",
            key.name,
            key.broker_name.map_or("–".to_owned(), code),
            key.kind.name(),
            code(&defaults.get(key.name).unwrap_or_default()),
            cell(&key.valid.to_string()),
            cell(key.doc),
        );
    }
    out.push_str("\n## Brokers\n\n*read-only*: at the start only; *per-broker*: at run time, for one broker; *cluster-wide*: at run\ntime, for one broker or for all.\n\n");
    broker_table(&mut out, broker_keys().filter(|k| !k.inert));
    out.push_str("\n## Groups\n\nSettings of a single group of the consumer protocol, changed at run time within the broker's bounds.\n\n");
    out.push_str("| key | broker key | values | what it does |\n|---|---|---|---|\n");
    for key in GROUP_KEYS {
        let _ = writeln!(
            out,
            "| `{}` | `{}` | {} | {} |",
            key.name,
            key.broker_name,
            cell(&key.valid.to_string()),
            cell(key.doc),
        );
    }
    out.push_str("\n## Accepted without effect\n\nBroker keys that are taken so that Kafka's files and tools work. They are checked, kept and described,\nand change nothing.\n\n");
    broker_table(&mut out, broker_keys().filter(|k| k.inert));
    out
}

#[test]
fn the_page_is_what_the_catalogue_says() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/configuration.md");
    let page = page();
    if std::env::var_os("THALWEG_UPDATE_DOCS").is_some() {
        std::fs::write(&path, &page).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        written == page,
        "docs/configuration.md is not what the catalogue says: run this test with THALWEG_UPDATE_DOCS=1"
    );
}
