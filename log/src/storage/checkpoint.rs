//! Kafka's checkpoint files: a version, a count, and as many lines.
//!
//! The count makes a file that was cut short an error instead of a shorter answer.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::str::{FromStr, SplitAsciiWhitespace};

use super::error::{StorageError, StorageResult};
use super::files::{read_if_there, write_atomically};

/// Offsets by topic and partition: `recovery-point-offset-checkpoint` and its like.
pub(crate) type OffsetMap = BTreeMap<(String, i32), i64>;

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
    let mut lines = text.lines();
    match lines.next().map(str::trim) {
        Some("0") => {}
        other => return Err(bad(format!("its version is {other:?}, not 0"))),
    }
    let count: usize = lines
        .next()
        .and_then(|line| line.trim().parse().ok())
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
    let mut text = format!("0\n{}\n", offsets.len());
    for ((topic, partition), offset) in offsets {
        let _ = writeln!(text, "{topic} {partition} {offset}");
    }
    write_atomically(path, text.as_bytes(), true)
}

/// Reads leader epochs and their start offsets; `None` when the file is missing.
pub(crate) fn read_epochs(path: &Path) -> StorageResult<Option<Vec<(i32, i64)>>> {
    parse(path, |words| Some((word(words)?, word(words)?)))
}

/// Writes leader epochs and their start offsets.
pub(crate) fn write_epochs(path: &Path, epochs: &[(i32, i64)], durable: bool) -> StorageResult<()> {
    let mut text = format!("0\n{}\n", epochs.len());
    for (epoch, offset) in epochs {
        let _ = writeln!(text, "{epoch} {offset}");
    }
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
        assert_eq!(
            std::fs::read_to_string(&path).unwrap(),
            format!("0\n2\na 0 7\nb 3 {}\n", i64::MAX)
        );
        assert_eq!(read_offsets(&path).unwrap(), offsets);
        for bad in [
            "",
            "1\n0\n",
            "0\n",
            "0\n2\na 0 7\n",
            "0\n1\na 0\n",
            "0\n1\na 0 7 8\n",
            "0\nx\n",
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
    fn epochs_survive() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("epochs");
        assert_eq!(read_epochs(&path).unwrap(), None);
        write_epochs(&path, &[(0, 0), (4, 100)], true).unwrap();
        assert_eq!(read_epochs(&path).unwrap(), Some(vec![(0, 0), (4, 100)]));
    }
}
