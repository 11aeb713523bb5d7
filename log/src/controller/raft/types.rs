//! The types that openraft is instantiated with, and the encoding of its entries.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Cursor;

use bytes::Bytes;
use openraft::{BasicNode, CommittedLeaderId, Entry, EntryPayload, LogId, Membership};

use crate::controller::codec::{DecodeError, Reader, Writer};
use crate::controller::command::Command;
use crate::controller::image::Outcome;

/// Raft node id: the broker id.
pub(crate) type NodeId = u64;

/// What an applied entry answers; entries without a command answer `None`.
pub(crate) type Response = Option<Outcome>;

openraft::declare_raft_types!(
    /// openraft's parameters for the metadata quorum.
    pub(crate) TypeConfig:
        D = Command,
        R = Response,
        NodeId = NodeId,
        Node = BasicNode,
        Entry = Entry<TypeConfig>,
        SnapshotData = Cursor<Vec<u8>>,
);

impl std::fmt::Display for Command {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{self:?}")
    }
}

/// Version of the entry encoding.
const ENTRY_VERSION: u8 = 1;
const BLANK: u8 = 0;
const COMMAND: u8 = 1;
const MEMBERSHIP: u8 = 2;

/// A log id from its parts.
pub(crate) fn log_id(term: u64, index: u64) -> LogId<NodeId> {
    LogId::new(CommittedLeaderId::new(term, NodeId::default()), index)
}

/// The record value of an entry. Index and term are the record's offset and leader epoch.
pub(crate) fn encode_entry(entry: &Entry<TypeConfig>) -> Bytes {
    let mut w = Writer::new();
    w.u8(ENTRY_VERSION);
    match &entry.payload {
        EntryPayload::Blank => w.u8(BLANK),
        EntryPayload::Normal(command) => {
            w.u8(COMMAND);
            w.bytes(&command.encode());
        }
        EntryPayload::Membership(membership) => {
            w.u8(MEMBERSHIP);
            write_membership(&mut w, membership);
        }
    }
    w.finish()
}

/// Reads an entry back from its record.
pub(crate) fn decode_entry(
    term: u64,
    index: u64,
    value: Bytes,
) -> Result<Entry<TypeConfig>, DecodeError> {
    let mut r = Reader::new(value);
    let version = r.u8("entry version")?;
    if version == 0 || version > ENTRY_VERSION {
        return Err(DecodeError::Version {
            found: version,
            supported: ENTRY_VERSION,
        });
    }
    let payload = match r.u8("entry kind")? {
        BLANK => EntryPayload::Blank,
        COMMAND => EntryPayload::Normal(Command::decode(r.bytes("command")?)?),
        MEMBERSHIP => EntryPayload::Membership(read_membership(&mut r)?),
        other => {
            return Err(DecodeError::Invalid {
                what: "entry kind",
                value: other.to_string(),
            });
        }
    };
    r.end()?;
    Ok(Entry {
        log_id: log_id(term, index),
        payload,
    })
}

/// What a record of the metadata log says, for people: a command, a change of the quorum, or
/// nothing.
///
/// # Errors
/// [`DecodeError`] if the value is not exactly one entry of a known version.
pub fn describe_metadata_record(value: Bytes) -> Result<String, DecodeError> {
    let entry = decode_entry(0, 0, value)?;
    Ok(match entry.payload {
        EntryPayload::Blank => "a leader begins".to_owned(),
        EntryPayload::Normal(command) => format!("{command:?}"),
        EntryPayload::Membership(membership) => {
            let voters: Vec<NodeId> = membership.voter_ids().collect();
            format!("the voters are {voters:?}")
        }
    })
}

pub(crate) fn write_membership(w: &mut Writer, membership: &Membership<NodeId, BasicNode>) {
    let configs = membership.get_joint_config();
    w.count(configs.len());
    for config in configs {
        w.count(config.len());
        for id in config {
            w.u64(*id);
        }
    }
    let nodes: Vec<_> = membership.nodes().collect();
    w.count(nodes.len());
    for (id, node) in nodes {
        w.u64(*id);
        w.str(&node.addr);
    }
}

pub(crate) fn read_membership(
    r: &mut Reader,
) -> Result<Membership<NodeId, BasicNode>, DecodeError> {
    let n = r.count("voter sets", 4)?;
    let configs = (0..n)
        .map(|_| {
            let n = r.count("voters", 8)?;
            (0..n)
                .map(|_| r.u64("voter"))
                .collect::<Result<BTreeSet<_>, _>>()
        })
        .collect::<Result<Vec<_>, _>>()?;
    let n = r.count("nodes", 12)?;
    let nodes = (0..n)
        .map(|_| Ok((r.u64("node id")?, BasicNode::new(r.str("node address")?))))
        .collect::<Result<BTreeMap<_, _>, DecodeError>>()?;
    Ok(Membership::new(configs, nodes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controller::command::tests::any_command;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn command_entries_survive_the_log(command in any_command(), term in 0u64..9, index in 0u64..9) {
            let entry = Entry { log_id: log_id(term, index), payload: EntryPayload::Normal(command) };
            prop_assert_eq!(decode_entry(term, index, encode_entry(&entry)).unwrap(), entry);
        }

        #[test]
        fn random_entries_never_panic(raw in prop::collection::vec(any::<u8>(), 0..100)) {
            let _ = decode_entry(1, 1, Bytes::from(raw));
        }
    }

    #[test]
    fn membership_entries_survive_the_log() {
        let membership = Membership::new(
            vec![BTreeSet::from([1, 2])],
            BTreeMap::from([
                (1, BasicNode::new("a:1")),
                (2, BasicNode::new("b:2")),
                (3, BasicNode::new("learner:3")),
            ]),
        );
        let entry = Entry {
            log_id: log_id(3, 7),
            payload: EntryPayload::Membership(membership),
        };
        assert_eq!(decode_entry(3, 7, encode_entry(&entry)).unwrap(), entry);
    }
}
