//! Kafka's checkpoint files: a version, a count, and as many lines.
//!
//! The count makes a file that was cut short an error instead of a shorter answer. The format has no
//! checksum, and a flipped digit would delete records, bring deleted ones back, or have a follower cut
//! its log at the wrong place. So the last line ends with a CRC-32C of what comes before it, its bits
//! written as blanks (a space is 0, a tab is 1): whoever splits lines at white space, as Kafka does,
//! passes it over. Invariant: a file that has it is taken only when it holds; one that has none, as
//! those that Kafka writes, has no blanks at the end of a line.

use std::collections::BTreeMap;
use std::path::Path;
use std::str::{FromStr, SplitAsciiWhitespace};

use super::error::{StorageError, StorageResult};
use super::files::{read_if_there, write_atomically};

/// Offsets by topic and partition: `recovery-point-offset-checkpoint` and its like.
pub(crate) type OffsetMap = BTreeMap<(String, i32), i64>;

/// The bits of a checksum.
const MARK: usize = 32;

/// The checksum of a text as blanks.
fn mark(text: &str) -> String {
    let sum = crc32c::crc32c(text.as_bytes());
    (0..MARK)
        .map(|bit| if sum << bit >> 31 == 0 { ' ' } else { '\t' })
        .collect()
}

/// Puts lines under their head, and the checksum behind them.
fn render(count: usize, lines: &str) -> String {
    let mut text = format!("0\n{count}\n{lines}");
    if count > 0 {
        let mark = mark(&text);
        text.push_str(&mark);
        text.push('\n');
    }
    text
}

/// What is wrong with the checksum, or with what should be one.
fn check(text: &str) -> Result<(), String> {
    let Some(body) = text.strip_suffix('\n') else {
        return Err("it does not end with a line's end".to_owned());
    };
    let marked = body.trim_end_matches([' ', '\t']);
    if marked.len() < body.len() {
        return match body.get(marked.len()..) {
            Some(found) if found == mark(marked) => Ok(()),
            _ => Err("its checksum does not match".to_owned()),
        };
    }
    match body.lines().find(|line| line.trim_end() != *line) {
        None => Ok(()),
        Some(line) => Err(format!("blanks at the end of {line:?}")),
    }
}

fn parse<T>(
    path: &Path,
    line: impl Fn(&mut SplitAsciiWhitespace<'_>) -> Option<T>,
) -> StorageResult<Option<Vec<T>>> {
    let bad = |reason: String| StorageError::BadFile {
        path: path.to_path_buf(),
        reason,
    };
    let Some(text) = read_if_there(path)? else {
        return Ok(None);
    };
    check(&text).map_err(bad)?;
    let mut lines = text.lines();
    match lines.next() {
        Some("0") => {}
        other => return Err(bad(format!("its version is {other:?}, not 0"))),
    }
    let count: usize = lines
        .next()
        .and_then(|line| line.parse().ok())
        .ok_or_else(|| bad("its second line is not a count".to_owned()))?;
    let mut entries = Vec::new();
    for (number, text) in lines.enumerate() {
        let mut words = text.split_ascii_whitespace();
        let entry = line(&mut words).filter(|_| words.next().is_none());
        entries.push(entry.ok_or_else(|| bad(format!("line {}: {text:?}", number + 3)))?);
    }
    if entries.len() != count {
        return Err(bad(format!("it has {} entries of {count}", entries.len())));
    }
    Ok(Some(entries))
}

fn word<T: FromStr>(words: &mut SplitAsciiWhitespace<'_>) -> Option<T> {
    words.next()?.parse().ok()
}

/// Reads offsets by partition; a missing file has none.
pub(crate) fn read_offsets(path: &Path) -> StorageResult<OffsetMap> {
    let entries = parse(path, |words| {
        Some(((word::<String>(words)?, word(words)?), word::<i64>(words)?))
    })?;
    Ok(entries.unwrap_or_default().into_iter().collect())
}

/// Writes offsets by partition.
pub(crate) fn write_offsets(path: &Path, offsets: &OffsetMap) -> StorageResult<()> {
    let lines: Vec<_> = offsets
        .iter()
        .map(|((topic, partition), offset)| format!("{topic} {partition} {offset}"))
        .collect();
    let text = render(lines.len(), &lines.join("\n"));
    write_atomically(path, text.as_bytes(), true)
}

/// Reads leader epochs and their start offsets; `None` when the file is missing.
pub(crate) fn read_epochs(path: &Path) -> StorageResult<Option<Vec<(i32, i64)>>> {
    parse(path, |words| Some((word(words)?, word(words)?)))
}

/// Writes leader epochs and their start offsets.
pub(crate) fn write_epochs(path: &Path, epochs: &[(i32, i64)], durable: bool) -> StorageResult<()> {
    let lines: Vec<_> = epochs
        .iter()
        .map(|(epoch, offset)| format!("{epoch} {offset}"))
        .collect();
    let text = render(lines.len(), &lines.join("\n"));
    write_atomically(path, text.as_bytes(), durable)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_survive_and_damage_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("checkpoint");
        assert!(read_offsets(&path).unwrap().is_empty());
        let offsets = OffsetMap::from([(("a".into(), 0), 7), (("b".into(), 3), i64::MAX)]);
        write_offsets(&path, &offsets).unwrap();
        // As Kafka reads it: the words of each line.
        let text = std::fs::read_to_string(&path).unwrap();
        let last = format!("b 3 {}", i64::MAX);
        let lines: Vec<_> = text.lines().map(str::trim_end).collect();
        assert_eq!(lines, ["0", "2", "a 0 7", &last]);
        assert_eq!(read_offsets(&path).unwrap(), offsets);
        for bad in [
            "",
            "1\n0\n",
            "0\n",
            "0\n2\na 0 7\n",
            "0\n1\na 0\n",
            "0\n1\na 0 7 8\n",
            "0\nx\n",
            "0\n1\na 0 7 \n",
            "0\n2\na 0 7\t\nb 0 7\n",
        ] {
            std::fs::write(&path, bad).unwrap();
            let error = read_offsets(&path).unwrap_err();
            assert!(
                matches!(error, StorageError::BadFile { .. }),
                "{bad:?}: {error}"
            );
        }
    }

    #[test]
    fn a_flipped_bit_is_noticed_and_a_file_of_kafkas_is_taken() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("checkpoint");
        let offsets = OffsetMap::from([(("a".into(), 0), 7), (("b".into(), 3), 41)]);
        std::fs::write(&path, "0\n2\na 0 7\nb 3 41\n").unwrap();
        assert_eq!(read_offsets(&path).unwrap(), offsets);
        write_offsets(&path, &offsets).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut damaged = bytes.clone();
                damaged[at] ^= 1 << bit;
                std::fs::write(&path, &damaged).unwrap();
                assert!(read_offsets(&path).is_err(), "byte {at}, bit {bit}");
            }
            std::fs::write(&path, &bytes[..at]).unwrap();
            assert!(read_offsets(&path).is_err(), "cut at {at}");
        }
    }

    #[test]
    fn epochs_survive() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("epochs");
        assert_eq!(read_epochs(&path).unwrap(), None);
        write_epochs(&path, &[(0, 0), (4, 100)], true).unwrap();
        assert_eq!(read_epochs(&path).unwrap(), Some(vec![(0, 0), (4, 100)]));
    }
}
