//! `thalweg.toml`: Kafka's keys, quoted, dotted or in tables.

use anyhow::{Result, bail};
use toml::de::{DeTable, DeValue};

use super::Entry;

/// Reads all entries, each with its line. `[log.segment] bytes = 1` and `"log.segment.bytes" = 1`
/// are the same key.
pub fn parse(text: &str) -> Result<Vec<Entry>> {
    let table = DeTable::parse(text)?;
    let mut entries = Vec::new();
    flatten(text, "", table.get_ref(), &mut entries)?;
    entries.sort_by_key(|e| e.line);
    Ok(entries)
}

fn flatten(text: &str, prefix: &str, table: &DeTable<'_>, entries: &mut Vec<Entry>) -> Result<()> {
    for (name, value) in table {
        let line = text
            .get(..name.span().start)
            .map_or(1, |before| before.matches('\n').count() + 1);
        let name = name.get_ref();
        let key = if prefix.is_empty() {
            name.to_string()
        } else {
            format!("{prefix}.{name}")
        };
        let value = match value.get_ref() {
            DeValue::Table(inner) => {
                flatten(text, &key, inner, entries)?;
                continue;
            }
            DeValue::Array(items) => {
                let mut words = Vec::with_capacity(items.len());
                for item in items {
                    match scalar(item.get_ref()) {
                        Some(word) => words.push(word),
                        None => bail!("line {line}: {key} must be a list of plain values"),
                    }
                }
                words.join(",")
            }
            plain => match scalar(plain) {
                Some(value) => value,
                None => bail!("line {line}: {key} cannot be a date"),
            },
        };
        entries.push(Entry { line, key, value });
    }
    Ok(())
}

fn scalar(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Integer(number) => {
            let plain = number.as_str();
            match i64::from_str_radix(plain, number.radix()) {
                Ok(number) => Some(number.to_string()),
                Err(_) => Some(plain.to_owned()),
            }
        }
        DeValue::Float(number) => Some(number.as_str().to_owned()),
        DeValue::Boolean(flag) => Some(flag.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_nest_or_are_quoted() {
        let text = "\"num.partitions\" = 3\nlog.retention.ms = 0x10\n\n[listener]\nflag = true\nlist = [\"a\", 1]\n";
        let entries = parse(text).unwrap();
        let all: Vec<(usize, &str, &str)> = entries
            .iter()
            .map(|e| (e.line, e.key.as_str(), e.value.as_str()))
            .collect();
        assert_eq!(
            all,
            [
                (1, "num.partitions", "3"),
                (2, "log.retention.ms", "16"),
                (5, "listener.flag", "true"),
                (6, "listener.list", "a,1"),
            ]
        );
        assert!(parse("a = ").is_err());
        assert!(
            parse("x = [[1]]")
                .unwrap_err()
                .to_string()
                .contains("line 1")
        );
    }
}
