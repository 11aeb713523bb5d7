//! The replicated state machine: applies committed entries to the image and publishes it.
//!
//! Invariant: a published image is the fold of exactly the entries below its `end`; snapshots are
//! on disk before openraft hears of them.

use std::io::Cursor;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use openraft::storage::RaftStateMachine;
use openraft::{
    AnyError, BasicNode, Entry, EntryPayload, LogId, OptionalSend, RaftSnapshotBuilder, Snapshot,
    SnapshotMeta, StorageError, StorageIOError, StoredMembership,
};
use tokio::sync::watch;

use super::files::StoredSnapshot;
use super::types::{NodeId, Response, TypeConfig};
use crate::controller::image::MetadataImage;
use crate::controller::quorum::AppliedImage;

/// The state machine that openraft drives.
#[derive(Debug)]
pub(crate) struct MetadataStateMachine {
    dir: PathBuf,
    applied: Option<LogId<NodeId>>,
    membership: StoredMembership<NodeId, BasicNode>,
    image: Arc<MetadataImage>,
    publish: watch::Sender<AppliedImage>,
}

impl MetadataStateMachine {
    /// Starts from the newest snapshot in `dir`, if any.
    pub(crate) fn open(
        dir: PathBuf,
        publish: watch::Sender<AppliedImage>,
    ) -> std::io::Result<Self> {
        let mut machine = Self {
            dir,
            applied: None,
            membership: StoredMembership::default(),
            image: Arc::default(),
            publish,
        };
        if let Some(snapshot) = StoredSnapshot::load_newest(&machine.dir)? {
            machine.restore(&snapshot)?;
        }
        Ok(machine)
    }

    fn restore(&mut self, snapshot: &StoredSnapshot) -> std::io::Result<()> {
        let image = MetadataImage::decode(snapshot.image.clone())
            .map_err(|e| std::io::Error::new(std::io::ErrorKind::InvalidData, e.to_string()))?;
        self.image = Arc::new(image);
        self.applied = snapshot.meta.last_log_id;
        self.membership = snapshot.meta.last_membership.clone();
        self.publish();
        Ok(())
    }

    fn publish(&self) {
        let end = self.applied.map_or(0, |id| id.index.saturating_add(1));
        self.publish.send_replace(AppliedImage {
            end,
            image: Arc::clone(&self.image),
        });
    }

    fn snapshot(&self) -> StoredSnapshot {
        let snapshot_id = match self.applied {
            Some(id) => format!("{}-{}", id.leader_id.term, id.index),
            None => "empty".to_owned(),
        };
        StoredSnapshot {
            meta: SnapshotMeta {
                last_log_id: self.applied,
                last_membership: self.membership.clone(),
                snapshot_id,
            },
            image: self.image.encode(),
        }
    }
}

fn to_raft(snapshot: StoredSnapshot) -> Snapshot<TypeConfig> {
    Snapshot {
        meta: snapshot.meta,
        snapshot: Box::new(Cursor::new(snapshot.image.to_vec())),
    }
}

fn write_error(e: &std::io::Error) -> StorageError<NodeId> {
    StorageIOError::write_snapshot(None, AnyError::new(e)).into()
}

fn read_error(e: &std::io::Error) -> StorageError<NodeId> {
    StorageIOError::read_snapshot(None, AnyError::new(e)).into()
}

/// Builds a snapshot of the image as it was when the builder was made.
#[derive(Debug)]
pub(crate) struct SnapshotWriter {
    dir: PathBuf,
    snapshot: StoredSnapshot,
}

impl RaftSnapshotBuilder<TypeConfig> for SnapshotWriter {
    async fn build_snapshot(&mut self) -> Result<Snapshot<TypeConfig>, StorageError<NodeId>> {
        let (dir, snapshot) = (self.dir.clone(), self.snapshot.clone());
        let saved = tokio::task::spawn_blocking(move || snapshot.save(&dir).map(|()| snapshot))
            .await
            .unwrap_or_else(|e| Err(std::io::Error::other(e)));
        saved.map(to_raft).map_err(|e| write_error(&e))
    }
}

impl RaftStateMachine<TypeConfig> for MetadataStateMachine {
    type SnapshotBuilder = SnapshotWriter;

    async fn applied_state(
        &mut self,
    ) -> Result<(Option<LogId<NodeId>>, StoredMembership<NodeId, BasicNode>), StorageError<NodeId>>
    {
        Ok((self.applied, self.membership.clone()))
    }

    async fn apply<I>(&mut self, entries: I) -> Result<Vec<Response>, StorageError<NodeId>>
    where
        I: IntoIterator<Item = Entry<TypeConfig>> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let mut responses = Vec::new();
        for entry in entries {
            self.applied = Some(entry.log_id);
            responses.push(match entry.payload {
                EntryPayload::Blank => None,
                EntryPayload::Normal(command) => {
                    Some(Arc::make_mut(&mut self.image).apply(entry.log_id.index, &command))
                }
                EntryPayload::Membership(membership) => {
                    self.membership = StoredMembership::new(Some(entry.log_id), membership);
                    None
                }
            });
        }
        self.publish();
        Ok(responses)
    }

    async fn get_snapshot_builder(&mut self) -> SnapshotWriter {
        SnapshotWriter {
            dir: self.dir.clone(),
            snapshot: self.snapshot(),
        }
    }

    async fn begin_receiving_snapshot(
        &mut self,
    ) -> Result<Box<Cursor<Vec<u8>>>, StorageError<NodeId>> {
        Ok(Box::default())
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta<NodeId, BasicNode>,
        snapshot: Box<Cursor<Vec<u8>>>,
    ) -> Result<(), StorageError<NodeId>> {
        let stored = StoredSnapshot {
            meta: meta.clone(),
            image: Bytes::from(snapshot.into_inner()),
        };
        stored.save(&self.dir).map_err(|e| write_error(&e))?;
        self.restore(&stored).map_err(|e| read_error(&e))
    }

    async fn get_current_snapshot(
        &mut self,
    ) -> Result<Option<Snapshot<TypeConfig>>, StorageError<NodeId>> {
        let newest = StoredSnapshot::load_newest(&self.dir).map_err(|e| read_error(&e))?;
        Ok(newest.map(to_raft))
    }
}
