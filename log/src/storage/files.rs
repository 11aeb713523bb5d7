//! The names of the files in a data folder, and the ways they are written.
//!
//! A file that is replaced is written beside its name, fsynced and renamed: a reader sees the old
//! one or the new one, never a part.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use uuid::Uuid;

use super::error::{StorageError, StorageResult};
use super::faults::{Point, point};

pub(crate) const LOG_SUFFIX: &str = ".log";
pub(crate) const INDEX_SUFFIX: &str = ".index";
pub(crate) const TIME_INDEX_SUFFIX: &str = ".timeindex";
pub(crate) const GAPS_SUFFIX: &str = ".gaps";
pub(crate) const TXN_INDEX_SUFFIX: &str = ".txnindex";
pub(crate) const CLEANED_SUFFIX: &str = ".cleaned";
pub(crate) const SWAP_SUFFIX: &str = ".swap";
pub(crate) const SNAPSHOT_SUFFIX: &str = ".snapshot";
pub(crate) const DELETED_SUFFIX: &str = ".deleted";
pub(crate) const DELETE_DIR_SUFFIX: &str = "-delete";
pub(crate) const LEADER_EPOCH_CHECKPOINT: &str = "leader-epoch-checkpoint";
pub(crate) const PARTITION_METADATA: &str = "partition.metadata";
pub(crate) const META_PROPERTIES: &str = "meta.properties";
pub(crate) const RECOVERY_POINT_CHECKPOINT: &str = "recovery-point-offset-checkpoint";
pub(crate) const LOG_START_CHECKPOINT: &str = "log-start-offset-checkpoint";
pub(crate) const CLEANER_CHECKPOINT: &str = "cleaner-offset-checkpoint";
pub(crate) const CLEAN_SHUTDOWN: &str = ".kafka_cleanshutdown";
pub(crate) const LOCK: &str = ".lock";

/// The file of a base offset: 20 digits and a suffix.
pub(crate) fn offset_file(dir: &Path, base_offset: i64, suffix: &str) -> PathBuf {
    dir.join(format!("{base_offset:020}{suffix}"))
}

/// The base offset in a file's name, when it has that suffix.
pub(crate) fn offset_of(name: &str, suffix: &str) -> Option<i64> {
    let digits = name.strip_suffix(suffix)?;
    if digits.len() != 20 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    digits.parse().ok()
}

/// The topic and partition that a folder's name says.
pub(crate) fn parse_partition_dir(name: &str) -> Option<(&str, i32)> {
    let (topic, partition) = name.rsplit_once('-')?;
    if partition.is_empty() || !partition.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    Some((topic, partition.parse().ok()?)).filter(|(topic, _)| is_legal_topic(topic))
}

/// Whether a topic may have this name, which becomes a folder's.
pub(crate) fn is_legal_topic(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 249
        && name != "."
        && name != ".."
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
}

/// The name of a file that is to be deleted soon.
pub(crate) fn deleted_name(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(DELETED_SUFFIX);
    PathBuf::from(name)
}

/// fsyncs a folder, so that the names in it are on disk.
pub(crate) fn sync_dir(path: &Path) -> StorageResult<()> {
    File::open(path)
        .and_then(|dir| point(Point::Sync).and_then(|()| dir.sync_all()))
        .map_err(|e| StorageError::io("sync the folder", path, e))
}

/// Replaces a file as a whole. With `durable`, it is on disk when this returns.
pub(crate) fn write_atomically(path: &Path, bytes: &[u8], durable: bool) -> StorageResult<()> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".tmp");
    let temporary = PathBuf::from(temporary);
    let written = (|| {
        point(Point::Create)?;
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .open(&temporary)?;
        #[cfg(test)]
        if super::faults::torn() {
            let _ = file.write_all(bytes.get(..bytes.len() / 2).unwrap_or_default());
            std::process::abort();
        }
        point(Point::Write)?;
        file.write_all(bytes)?;
        if durable {
            point(Point::Sync)?;
            file.sync_all()?;
        }
        point(Point::Rename)?;
        fs::rename(&temporary, path)
    })();
    if let Err(e) = written {
        let _ = fs::remove_file(&temporary);
        return Err(StorageError::io("write", path, e));
    }
    match path.parent() {
        Some(parent) if durable => sync_dir(parent),
        _ => Ok(()),
    }
}

/// fsyncs a file, and the folder that has its name.
pub(crate) fn sync_file(path: &Path) -> StorageResult<()> {
    File::open(path)
        .and_then(|file| point(Point::Sync).and_then(|()| file.sync_all()))
        .map_err(|e| StorageError::io("sync", path, e))?;
    path.parent().map_or(Ok(()), sync_dir)
}

/// Makes a file without content.
pub(crate) fn create_empty(path: &Path) -> StorageResult<()> {
    point(Point::Create)
        .and_then(|()| File::create(path))
        .map(drop)
        .map_err(|e| StorageError::io("create", path, e))
}

/// Renames a file.
pub(crate) fn rename(from: &Path, to: &Path) -> StorageResult<()> {
    point(Point::Rename)
        .and_then(|()| fs::rename(from, to))
        .map_err(|e| StorageError::io("rename", from, e))
}

/// Renames a file when it is there, and says whether it was.
pub(crate) fn rename_if_there(from: &Path, to: &Path) -> StorageResult<bool> {
    match point(Point::Rename).and_then(|()| fs::rename(from, to)) {
        Ok(()) => Ok(true),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(e) => Err(StorageError::io("rename", from, e)),
    }
}

/// Removes a file; one that is not there is fine.
pub(crate) fn remove_if_there(path: &Path) -> StorageResult<()> {
    match point(Point::Unlink).and_then(|()| fs::remove_file(path)) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(StorageError::io("delete", path, e)),
        _ => Ok(()),
    }
}

/// A file's text; `None` when it is not there.
pub(crate) fn read_if_there(path: &Path) -> StorageResult<Option<String>> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) if e.kind() == io::ErrorKind::InvalidData => Err(StorageError::BadFile {
            path: path.to_path_buf(),
            reason: "it is not text".to_owned(),
        }),
        Err(e) => Err(StorageError::io("read", path, e)),
    }
}

const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// An id as Kafka writes it: 22 characters of URL-safe base64.
pub(crate) fn uuid_to_text(id: Uuid) -> String {
    let value = id.as_u128();
    // 128 bits are 21 groups of six and one of two, which is padded with zeros at the end.
    (0..22)
        .map(|n| {
            let six = if n == 21 {
                (value << 4) & 0x3f
            } else {
                (value >> (122 - 6 * n)) & 0x3f
            };
            BASE64.get(six as usize).map_or('A', |b| char::from(*b))
        })
        .collect()
}

/// The id that Kafka wrote.
pub(crate) fn uuid_from_text(text: &str) -> Option<Uuid> {
    let text = text.trim_end_matches('=');
    if text.len() != 22 {
        return None;
    }
    let mut value = 0u128;
    for (n, byte) in text.bytes().enumerate() {
        let six = BASE64.iter().position(|b| *b == byte)? as u128;
        value = if n == 21 {
            value << 2 | six >> 4
        } else {
            value << 6 | six
        };
    }
    Some(Uuid::from_u128(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_kafkas() {
        let path = offset_file(Path::new("/d"), 4711, LOG_SUFFIX);
        assert_eq!(path, Path::new("/d/00000000000000004711.log"));
        assert_eq!(
            offset_of("00000000000000004711.log", LOG_SUFFIX),
            Some(4711)
        );
        assert_eq!(offset_of("4711.log", LOG_SUFFIX), None);
        assert_eq!(
            offset_of("00000000000000004711.log.deleted", LOG_SUFFIX),
            None
        );
        assert_eq!(parse_partition_dir("my-topic-12"), Some(("my-topic", 12)));
        assert_eq!(
            parse_partition_dir("__cluster_metadata-0"),
            Some(("__cluster_metadata", 0))
        );
        for bad in [
            "topic",
            "topic-",
            "-1",
            "topic-x",
            "a/b-1",
            "topic-1.abc-delete",
        ] {
            assert_eq!(parse_partition_dir(bad), None, "{bad}");
        }
    }

    #[test]
    fn ids_are_kafkas_base64() {
        // Kafka's METADATA_TOPIC_ID.
        assert_eq!(uuid_to_text(Uuid::from_u128(1)), "AAAAAAAAAAAAAAAAAAAAAQ");
        for id in [
            Uuid::nil(),
            Uuid::max(),
            Uuid::from_u128(0x0123456789abcdef_fedcba9876543210),
        ] {
            assert_eq!(uuid_from_text(&uuid_to_text(id)), Some(id));
        }
        assert_eq!(uuid_from_text("too short"), None);
        assert_eq!(uuid_from_text("AAAAAAAAAAAAAAAAAAAA!Q"), None);
    }

    #[test]
    fn a_replaced_file_is_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        write_atomically(&path, b"one", true).unwrap();
        write_atomically(&path, b"two", false).unwrap();
        assert_eq!(read_if_there(&path).unwrap().as_deref(), Some("two"));
        assert_eq!(read_if_there(&dir.path().join("g")).unwrap(), None);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
