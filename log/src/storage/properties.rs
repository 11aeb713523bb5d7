//! `meta.properties` of a data folder and `partition.metadata` of a partition.

use std::path::Path;

use uuid::Uuid;

use super::error::{StorageError, StorageResult};
use super::files::{
    META_PROPERTIES, PARTITION_METADATA, read_if_there, uuid_from_text, uuid_to_text,
    write_atomically,
};

/// Begins the comment that has the checksum of the lines after it. Files that Kafka writes, or people,
/// have none.
const SUM: &str = "#crc32c=";

fn sum(body: &str) -> String {
    format!("{SUM}{:08x}", crc32c::crc32c(body.as_bytes()))
}

/// Whom a data folder belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MetaProperties {
    pub(crate) cluster_id: String,
    pub(crate) node_id: i32,
    pub(crate) directory_id: Uuid,
}

impl MetaProperties {
    pub(crate) fn read(dir: &Path) -> StorageResult<Option<Self>> {
        let path = dir.join(META_PROPERTIES);
        let Some(text) = read_if_there(&path)? else {
            return Ok(None);
        };
        let get = |key: &str| {
            text.lines()
                .filter(|line| !line.trim_start().starts_with('#'))
                .filter_map(|line| line.split_once('='))
                .find(|(name, _)| name.trim() == key)
                .map(|(_, value)| value.trim())
        };
        let bad = |reason: &str| StorageError::BadFile {
            path: path.clone(),
            reason: reason.to_owned(),
        };
        if let Some((head, body)) = text.split_once('\n')
            && head.starts_with(SUM)
            && *head != sum(body)
        {
            return Err(bad(
                "its checksum does not match: put back what it said, or remove its first line if you \
                 have changed it",
            ));
        }
        match get("version") {
            Some("1") => {}
            other => return Err(bad(&format!("its version is {other:?}, not 1"))),
        }
        let node_id = get("node.id").or_else(|| get("broker.id"));
        Ok(Some(Self {
            cluster_id: get("cluster.id")
                .ok_or_else(|| bad("cluster.id is missing"))?
                .to_owned(),
            node_id: node_id
                .and_then(|id| id.parse().ok())
                .ok_or_else(|| bad("node.id is missing or not a number"))?,
            directory_id: get("directory.id")
                .and_then(uuid_from_text)
                .unwrap_or_else(Uuid::new_v4),
        }))
    }

    pub(crate) fn write(&self, dir: &Path) -> StorageResult<()> {
        let body = format!(
            "cluster.id={}\ndirectory.id={}\nnode.id={}\nversion=1\n",
            self.cluster_id,
            uuid_to_text(self.directory_id),
            self.node_id
        );
        let text = format!("{}\n{body}", sum(&body));
        write_atomically(&dir.join(META_PROPERTIES), text.as_bytes(), true)
    }
}

/// The topic id of a partition's folder; `None` when it has none yet.
pub(crate) fn read_topic_id(dir: &Path) -> StorageResult<Option<Uuid>> {
    let path = dir.join(PARTITION_METADATA);
    let Some(text) = read_if_there(&path)? else {
        return Ok(None);
    };
    if text.is_empty() {
        // A power cut came before the text was on disk.
        return Ok(None);
    }
    let get = |key: &str| {
        text.lines()
            .filter_map(|line| line.split_once(':'))
            .find(|(name, _)| name.trim() == key)
            .map(|(_, value)| value.trim())
    };
    match (get("version"), get("topic_id").and_then(uuid_from_text)) {
        (Some("0"), Some(id)) => Ok(Some(id)),
        _ => Err(StorageError::BadFile {
            path,
            reason: "a version of 0 and a topic_id are expected".to_owned(),
        }),
    }
}

/// Not durable: after a power cut the metadata say the id again.
pub(crate) fn write_topic_id(dir: &Path, id: Uuid) -> StorageResult<()> {
    let text = format!("version: 0\ntopic_id: {}\n", uuid_to_text(id));
    write_atomically(&dir.join(PARTITION_METADATA), text.as_bytes(), false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_files_survive() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(MetaProperties::read(dir.path()).unwrap(), None);
        let meta = MetaProperties {
            cluster_id: "c".into(),
            node_id: 3,
            directory_id: Uuid::from_u128(9),
        };
        meta.write(dir.path()).unwrap();
        assert_eq!(
            MetaProperties::read(dir.path()).unwrap().as_ref(),
            Some(&meta)
        );
        let path = dir.path().join(META_PROPERTIES);
        let bytes = std::fs::read(&path).unwrap();
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut damaged = bytes.clone();
                damaged[at] ^= 1 << bit;
                std::fs::write(&path, damaged).unwrap();
                match MetaProperties::read(dir.path()) {
                    Ok(read) => assert_eq!(read.as_ref(), Some(&meta), "byte {at}, bit {bit}"),
                    Err(error) => assert!(matches!(error, StorageError::BadFile { .. })),
                }
            }
        }

        assert_eq!(read_topic_id(dir.path()).unwrap(), None);
        write_topic_id(dir.path(), Uuid::from_u128(7)).unwrap();
        assert_eq!(read_topic_id(dir.path()).unwrap(), Some(Uuid::from_u128(7)));
        std::fs::write(dir.path().join(PARTITION_METADATA), "version: 0\n").unwrap();
        assert!(read_topic_id(dir.path()).is_err());
    }
}
