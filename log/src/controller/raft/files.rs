//! The two kinds of small files beside the metadata log: the quorum state and the snapshots.
//!
//! Both are written whole to a temporary name, fsynced, renamed, and the folder fsynced, and both
//! carry a version and a CRC-32C: a file that can be read is a file that was finished.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use openraft::{BasicNode, LogId, SnapshotMeta, StoredMembership, Vote};

use super::types::{NodeId, log_id, read_membership, write_membership};
use crate::controller::codec::{DecodeError, Reader, Writer};

const QUORUM_STATE: &str = "quorum-state";
const QUORUM_MAGIC: u64 = u64::from_be_bytes(*b"twquorum");
const SNAPSHOT_MAGIC: u64 = u64::from_be_bytes(*b"twmetasn");
const FILE_VERSION: u8 = 1;
const SNAPSHOT_SUFFIX: &str = ".checkpoint";

/// What must survive a crash besides the log itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct QuorumState {
    /// The vote: whom this node follows, in which term.
    pub(crate) vote: Option<Vote<NodeId>>,
    /// The last entry that was purged into a snapshot.
    pub(crate) purged: Option<LogId<NodeId>>,
}

impl QuorumState {
    /// Reads the state; a folder that never had one gives the default.
    pub(crate) fn load(dir: &Path) -> io::Result<Self> {
        let path = dir.join(QUORUM_STATE);
        let raw = match fs::read(&path) {
            Ok(raw) => raw,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(e) => return Err(at(&path, e)),
        };
        let body = unframe(QUORUM_MAGIC, raw).map_err(|e| at(&path, e))?;
        Self::decode(body).map_err(|e| at(&path, invalid(e)))
    }

    fn decode(body: Bytes) -> Result<Self, DecodeError> {
        let mut r = Reader::new(body);
        let vote = if r.bool("vote")? {
            let term = r.u64("term")?;
            let voted_for = if r.bool("voted for")? {
                Some(r.u64("voted for")?)
            } else {
                None
            };
            let mut vote = Vote::new(term, voted_for.unwrap_or_default());
            vote.leader_id.voted_for = voted_for;
            vote.committed = r.bool("committed")?;
            Some(vote)
        } else {
            None
        };
        let purged = read_log_id(&mut r)?;
        r.end()?;
        Ok(Self { vote, purged })
    }

    /// Makes the state durable.
    pub(crate) fn save(&self, dir: &Path) -> io::Result<()> {
        let mut w = Writer::new();
        w.bool(self.vote.is_some());
        if let Some(vote) = &self.vote {
            w.u64(vote.leader_id.term);
            w.bool(vote.leader_id.voted_for.is_some());
            if let Some(id) = vote.leader_id.voted_for {
                w.u64(id);
            }
            w.bool(vote.committed);
        }
        write_log_id(&mut w, self.purged);
        write_whole(dir, QUORUM_STATE, &frame(QUORUM_MAGIC, &w.finish()))
    }
}

/// A snapshot of the metadata: where in the log it stands, and the image's bytes.
#[derive(Debug, Clone)]
pub(crate) struct StoredSnapshot {
    pub(crate) meta: SnapshotMeta<NodeId, BasicNode>,
    pub(crate) image: Bytes,
}

impl StoredSnapshot {
    /// The file name: end offset and term, like Kafka's `<offset>-<epoch>.checkpoint`.
    fn file_name(&self) -> String {
        let (term, end) = match self.meta.last_log_id {
            Some(id) => (id.leader_id.term, id.index.saturating_add(1)),
            None => (0, 0),
        };
        format!("{end:020}-{term:010}{SNAPSHOT_SUFFIX}")
    }

    /// Makes the snapshot durable, then removes the older ones.
    pub(crate) fn save(&self, dir: &Path) -> io::Result<()> {
        let mut w = Writer::new();
        write_log_id(&mut w, self.meta.last_log_id);
        write_log_id(&mut w, *self.meta.last_membership.log_id());
        write_membership(&mut w, self.meta.last_membership.membership());
        w.str(&self.meta.snapshot_id);
        w.bytes(&self.image);
        let name = self.file_name();
        write_whole(dir, &name, &frame(SNAPSHOT_MAGIC, &w.finish()))?;
        for path in snapshots(dir)? {
            if path
                .file_name()
                .is_some_and(|n| n.to_string_lossy().as_ref() < name.as_str())
            {
                fs::remove_file(&path).map_err(|e| at(&path, e))?;
            }
        }
        Ok(())
    }

    /// The newest snapshot of the folder.
    pub(crate) fn load_newest(dir: &Path) -> io::Result<Option<Self>> {
        let Some(path) = snapshots(dir)?.pop() else {
            return Ok(None);
        };
        let raw = fs::read(&path).map_err(|e| at(&path, e))?;
        let body = unframe(SNAPSHOT_MAGIC, raw).map_err(|e| at(&path, e))?;
        Self::decode(body)
            .map(Some)
            .map_err(|e| at(&path, invalid(e)))
    }

    fn decode(body: Bytes) -> Result<Self, DecodeError> {
        let mut r = Reader::new(body);
        let last_log_id = read_log_id(&mut r)?;
        let membership_log_id = read_log_id(&mut r)?;
        let membership = read_membership(&mut r)?;
        let snapshot_id = r.str("snapshot id")?;
        let image = r.bytes("image")?;
        r.end()?;
        Ok(Self {
            meta: SnapshotMeta {
                last_log_id,
                last_membership: StoredMembership::new(membership_log_id, membership),
                snapshot_id,
            },
            image,
        })
    }
}

/// Snapshot files, oldest first: the names sort by offset.
fn snapshots(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found: Vec<PathBuf> = fs::read_dir(dir)
        .map_err(|e| at(dir, e))?
        .map(|entry| entry.map(|e| e.path()))
        .collect::<io::Result<_>>()?;
    found.retain(|p| p.to_string_lossy().ends_with(SNAPSHOT_SUFFIX));
    found.sort();
    Ok(found)
}

fn write_log_id(w: &mut Writer, id: Option<LogId<NodeId>>) {
    w.bool(id.is_some());
    if let Some(id) = id {
        w.u64(id.leader_id.term);
        w.u64(id.index);
    }
}

fn read_log_id(r: &mut Reader) -> Result<Option<LogId<NodeId>>, DecodeError> {
    if r.bool("log id")? {
        let term = r.u64("term")?;
        Ok(Some(log_id(term, r.u64("index")?)))
    } else {
        Ok(None)
    }
}

fn frame(magic: u64, body: &[u8]) -> Bytes {
    let mut w = Writer::new();
    w.u64(magic);
    w.u8(FILE_VERSION);
    w.i64(i64::from(crc32c::crc32c(body)));
    w.bytes(body);
    w.finish()
}

fn unframe(magic: u64, raw: Vec<u8>) -> io::Result<Bytes> {
    let mut r = Reader::new(Bytes::from(raw));
    if r.u64("magic").map_err(invalid)? != magic {
        return Err(invalid("not a file of this kind"));
    }
    let version = r.u8("version").map_err(invalid)?;
    if version != FILE_VERSION {
        return Err(invalid(DecodeError::Version {
            found: version,
            supported: FILE_VERSION,
        }));
    }
    let crc = r.i64("crc").map_err(invalid)?;
    let body = r.bytes("body").map_err(invalid)?;
    r.end().map_err(invalid)?;
    if i64::from(crc32c::crc32c(&body)) != crc {
        return Err(invalid("the checksum does not match: the file is corrupt"));
    }
    Ok(body)
}

fn write_whole(dir: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    let path = dir.join(name);
    let temporary = dir.join(format!("{name}.tmp"));
    let write = || {
        let mut file = File::create(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&temporary, &path)?;
        File::open(dir)?.sync_all()
    };
    write().map_err(|e| at(&path, e))
}

fn invalid(e: impl std::fmt::Display) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, e.to_string())
}

fn at(path: &Path, e: io::Error) -> io::Error {
    io::Error::new(e.kind(), format!("{}: {e}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use openraft::Membership;
    use std::collections::{BTreeMap, BTreeSet};

    #[test]
    fn the_quorum_state_survives() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(
            QuorumState::load(dir.path()).unwrap(),
            QuorumState::default()
        );
        let state = QuorumState {
            vote: Some(Vote::new_committed(7, 1)),
            purged: Some(log_id(6, 41)),
        };
        state.save(dir.path()).unwrap();
        assert_eq!(QuorumState::load(dir.path()).unwrap(), state);
    }

    #[test]
    fn a_flipped_bit_is_detected() {
        let dir = tempfile::tempdir().unwrap();
        QuorumState {
            vote: Some(Vote::new(7, 1)),
            purged: None,
        }
        .save(dir.path())
        .unwrap();
        let path = dir.path().join(QUORUM_STATE);
        let good = fs::read(&path).unwrap();
        for i in 0..good.len() {
            let mut bad = good.clone();
            bad[i] ^= 0x10;
            fs::write(&path, &bad).unwrap();
            assert!(QuorumState::load(dir.path()).is_err(), "byte {i}");
        }
    }

    #[test]
    fn the_newest_snapshot_is_the_one_that_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        assert!(StoredSnapshot::load_newest(dir.path()).unwrap().is_none());
        for index in [9, 10, 100] {
            let snapshot = StoredSnapshot {
                meta: SnapshotMeta {
                    last_log_id: Some(log_id(2, index)),
                    last_membership: StoredMembership::new(
                        Some(log_id(0, 0)),
                        Membership::new(
                            vec![BTreeSet::from([1])],
                            BTreeMap::from([(1, BasicNode::new("x"))]),
                        ),
                    ),
                    snapshot_id: format!("s{index}"),
                },
                image: Bytes::from(format!("image {index}")),
            };
            snapshot.save(dir.path()).unwrap();
            let read = StoredSnapshot::load_newest(dir.path()).unwrap().unwrap();
            assert_eq!(read.meta, snapshot.meta);
            assert_eq!(read.image, snapshot.image);
        }
        assert_eq!(snapshots(dir.path()).unwrap().len(), 1);
    }
}
