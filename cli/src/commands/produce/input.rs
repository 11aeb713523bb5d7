//! What a line of input says: a value, a key and a value, headers before them, or a JSON object.

use anyhow::{Context as _, Result, bail};
use bytes::Bytes;
use serde_json::Value;
use thalweg_log::client::ProducerRecord;

use crate::args::time;
use crate::encoding::Encoding;

/// How lines are read.
#[derive(Debug, Clone)]
pub struct LineFormat {
    /// Whether a line is a JSON object with key, value, headers, partition and timestamp.
    pub json: bool,
    /// What separates key and value.
    pub key_separator: Option<Vec<u8>>,
    /// What ends the headers (`name:value,name:value`) that stand first.
    pub header_separator: Option<Vec<u8>>,
    /// The text that stands for null.
    pub null_marker: Option<Vec<u8>>,
    /// What texts of keys and values are.
    pub encoding: Encoding,
}

impl LineFormat {
    /// Fills a record from a line.
    pub fn fill(&self, record: &mut ProducerRecord, line: &[u8]) -> Result<()> {
        if self.json {
            return self.fill_json(record, line);
        }
        let mut rest = line;
        if let Some(separator) = &self.header_separator {
            let (headers, after) = split(rest, separator).with_context(|| {
                format!(
                    "there is no {:?} after the headers",
                    String::from_utf8_lossy(separator)
                )
            })?;
            rest = after;
            for pair in headers.split(|b| *b == b',').filter(|p| !p.is_empty()) {
                let (name, value) = split(pair, b":").with_context(|| {
                    format!(
                        "the header {:?} is not NAME:VALUE",
                        String::from_utf8_lossy(pair)
                    )
                })?;
                *record = take(record).header(name.to_vec(), self.bytes(value)?);
            }
        }
        if let Some(separator) = &self.key_separator {
            let (key, value) = split(rest, separator).with_context(|| {
                format!(
                    "there is no {:?} between key and value",
                    String::from_utf8_lossy(separator)
                )
            })?;
            record.key = self.bytes(key)?;
            rest = value;
        }
        record.value = self.bytes(rest)?;
        Ok(())
    }

    fn bytes(&self, text: &[u8]) -> Result<Option<Bytes>> {
        if self.null_marker.as_deref() == Some(text) {
            return Ok(None);
        }
        Ok(Some(Bytes::from(self.encoding.decode(text)?)))
    }

    fn fill_json(&self, record: &mut ProducerRecord, line: &[u8]) -> Result<()> {
        let object: Value = serde_json::from_slice(line).context("the line is not JSON")?;
        let Value::Object(object) = object else {
            bail!("a JSON object is expected, such as {{\"key\": \"k\", \"value\": \"v\"}}");
        };
        for (name, value) in object {
            match name.as_str() {
                "key" => record.key = self.json_bytes(&value)?,
                "value" => record.value = self.json_bytes(&value)?,
                "headers" => self.json_headers(record, &value)?,
                "partition" => {
                    let number = value.as_i64().and_then(|n| i32::try_from(n).ok());
                    if !value.is_null() && record.partition.is_none() {
                        record.partition = Some(number.context("\"partition\" is no number")?);
                    }
                }
                "timestamp" => match &value {
                    Value::Null => {}
                    Value::Number(number) => {
                        record.timestamp = Some(number.as_i64().context("no timestamp")?);
                    }
                    Value::String(text) => record.timestamp = Some(time(text)?),
                    _ => bail!("\"timestamp\" is milliseconds since 1970, or a time as text"),
                },
                // What `thalweg consume -o json` prints can be produced again.
                "topic" | "offset" => {}
                other => bail!(
                    "{other:?} is unknown: key, value, headers, partition and timestamp are read"
                ),
            }
        }
        Ok(())
    }

    fn json_bytes(&self, value: &Value) -> Result<Option<Bytes>> {
        match value {
            Value::Null => Ok(None),
            Value::String(text) => Ok(Some(Bytes::from(self.encoding.decode(text.as_bytes())?))),
            // A nested document is meant as that document.
            other => Ok(Some(Bytes::from(other.to_string()))),
        }
    }

    fn json_headers(&self, record: &mut ProducerRecord, headers: &Value) -> Result<()> {
        let mut add = |name: &str, value: &Value| -> Result<()> {
            *record = take(record).header(name.to_owned(), self.json_bytes(value)?);
            Ok(())
        };
        match headers {
            Value::Null => Ok(()),
            Value::Object(map) => map.iter().try_for_each(|(name, value)| add(name, value)),
            Value::Array(pairs) => pairs.iter().try_for_each(|pair| match pair.as_array() {
                Some(pair) => match pair.as_slice() {
                    [Value::String(name), value] => add(name, value),
                    _ => bail!("a header is [\"name\", \"value\"], not {pair:?}"),
                },
                None => bail!("a header is [\"name\", \"value\"], not {pair}"),
            }),
            _ => bail!("\"headers\" is an object, or a list of [\"name\", \"value\"]"),
        }
    }
}

fn take(record: &mut ProducerRecord) -> ProducerRecord {
    let topic = record.topic.clone();
    std::mem::replace(record, ProducerRecord::new(topic))
}

/// Splits at the first separator.
fn split<'a>(line: &'a [u8], separator: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    if separator.is_empty() {
        return None;
    }
    let at = line
        .windows(separator.len())
        .position(|window| window == separator)?;
    Some((&line[..at], &line[at + separator.len()..]))
}

/// What a separator of the command line stands for: `\t`, `\n` and `\0` are what they are in C.
pub fn unescape(text: &str) -> Vec<u8> {
    text.replace("\\t", "\t")
        .replace("\\n", "\n")
        .replace("\\0", "\0")
        .into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn format() -> LineFormat {
        LineFormat {
            json: false,
            key_separator: Some(b"::".to_vec()),
            header_separator: None,
            null_marker: Some(b"NULL".to_vec()),
            encoding: Encoding::Text,
        }
    }

    fn fill(format: &LineFormat, line: &str) -> Result<ProducerRecord> {
        let mut record = ProducerRecord::new("t");
        format.fill(&mut record, line.as_bytes())?;
        Ok(record)
    }

    #[test]
    fn a_line_is_split_at_the_first_separator() {
        let record = fill(&format(), "k::a::b").unwrap();
        assert_eq!(
            (record.key.as_deref(), record.value.as_deref()),
            (Some(&b"k"[..]), Some(&b"a::b"[..]))
        );
        let empty = fill(&format(), "::").unwrap();
        assert_eq!(
            (empty.key.as_deref(), empty.value.as_deref()),
            (Some(&b""[..]), Some(&b""[..]))
        );
        assert_eq!(fill(&format(), "k::NULL").unwrap().value, None);
        assert!(
            fill(&format(), "k:b")
                .unwrap_err()
                .to_string()
                .contains("no \"::\"")
        );
    }

    #[test]
    fn headers_stand_before_the_key() {
        let with = LineFormat {
            header_separator: Some(unescape("\\t")),
            ..format()
        };
        let record = fill(&with, "a:1,b:NULL\tk::v").unwrap();
        let headers: Vec<_> = record
            .headers
            .iter()
            .map(|h| (h.key.as_ref(), h.value.as_deref()))
            .collect();
        assert_eq!(headers, [(&b"a"[..], Some(&b"1"[..])), (b"b", None)]);
        assert!(fill(&with, "k::v").is_err());
    }

    #[test]
    fn a_json_line_says_everything() {
        let json = LineFormat {
            json: true,
            ..format()
        };
        let record = fill(
            &json,
            r#"{"key": null, "value": {"n": 1}, "headers": [["h", "1"]], "partition": 2, "timestamp": 5, "offset": 9}"#,
        )
        .unwrap();
        assert_eq!(record.key, None);
        assert_eq!(record.value.as_deref(), Some(&br#"{"n":1}"#[..]));
        assert_eq!(
            (record.partition, record.timestamp, record.headers.len()),
            (Some(2), Some(5), 1)
        );
        for (line, says) in [
            ("[1]", "object"),
            ("{", "not JSON"),
            (r#"{"values": 1}"#, "unknown"),
            (r#"{"headers": [1]}"#, "header"),
        ] {
            let error = fill(&json, line).unwrap_err().to_string();
            assert!(error.contains(says), "{line}: {error}");
        }
        let hex = LineFormat {
            json: true,
            encoding: Encoding::Hex,
            ..format()
        };
        assert_eq!(
            fill(&hex, r#"{"value": "00ff"}"#).unwrap().value.as_deref(),
            Some(&[0, 255][..])
        );
    }
}
