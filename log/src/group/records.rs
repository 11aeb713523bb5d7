//! The records of `__consumer_offsets`, in Kafka's own formats.
//!
//! Keys: version 0 and 1 are committed offsets (group, topic, partition), version 2 is a classic
//! group's metadata, 3 to 8 and 16 are groups of the consumer protocol ([`ConsumerRecord`]). A record without a value deletes. Written are the versions that every Kafka tool of
//! the last years reads (offsets 3, group metadata 3); read are all up to the newest.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use uuid::Uuid;

use super::consumer::ConsumerRecord;
use super::types::{CommittedOffset, TopicPartition};
use crate::wire::Str;

const OFFSET_KEY: i16 = 1;
const GROUP_KEY: i16 = 2;
const OFFSET_VALUE: i16 = 3;
const GROUP_VALUE: i16 = 3;

/// A group as it is stored.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StoredGroup {
    /// `consumer`, `connect`, …
    pub protocol_type: Str,
    /// Its generation.
    pub generation: i32,
    /// The protocol chosen.
    pub protocol: Option<Str>,
    /// Who leads.
    pub leader: Option<Str>,
    /// When it came into its state; -1 if unknown.
    pub state_timestamp: i64,
    /// Its members.
    pub members: Vec<StoredMember>,
}

/// A member as it is stored.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StoredMember {
    /// The member's id.
    pub member: Str,
    /// `group.instance.id` of a static member.
    pub instance: Option<Str>,
    /// Client id.
    pub client_id: Str,
    /// Where it comes from.
    pub client_host: Str,
    /// How long it may take to rejoin.
    pub rebalance_timeout_ms: i32,
    /// How long it may be silent.
    pub session_timeout_ms: i32,
    /// Its metadata for the chosen protocol.
    pub subscription: Bytes,
    /// Its assignment.
    pub assignment: Bytes,
}

/// A record of `__consumer_offsets`.
#[derive(Debug, Clone, PartialEq)]
pub enum GroupRecord {
    /// A committed offset; `None` deletes it.
    Offset(Str, TopicPartition, Option<CommittedOffset>),
    /// A classic group's metadata; `None` deletes it.
    Group(Str, Option<StoredGroup>),
    /// A part of a group of the consumer protocol.
    Consumer(Str, ConsumerRecord),
}

/// Why a record of `__consumer_offsets` could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GroupRecordError {
    /// The bytes end inside a field.
    #[error("the record ends inside `{0}`")]
    Short(&'static str),
    /// A string is not UTF-8, or a length is negative.
    #[error("`{0}` is not valid")]
    Invalid(&'static str),
    /// A value of a version that is not known.
    #[error("the value has version {0}, which is not known")]
    Version(i16),
}

impl GroupRecord {
    /// The record's key and value.
    pub fn encode(&self) -> (Bytes, Option<Bytes>) {
        let mut key = BytesMut::new();
        match self {
            Self::Offset(group, (topic, partition), value) => {
                key.put_i16(OFFSET_KEY);
                put_str(&mut key, group);
                put_str(&mut key, topic);
                key.put_i32(*partition);
                (key.freeze(), value.as_ref().map(encode_offset))
            }
            Self::Group(group, value) => {
                key.put_i16(GROUP_KEY);
                put_str(&mut key, group);
                (key.freeze(), value.as_ref().map(encode_group))
            }
            Self::Consumer(group, record) => record.encode(group),
        }
    }

    /// Reads a record back; `None` for kinds of keys that are not ours to know.
    ///
    /// # Errors
    /// [`GroupRecordError`] if a known kind cannot be read.
    pub fn decode(key: Bytes, value: Option<Bytes>) -> Result<Option<Self>, GroupRecordError> {
        let whole = key.clone();
        let mut key = Fields { buf: key };
        match key.i16("key version")? {
            0 | OFFSET_KEY => {
                let group = key.str("group")?;
                let topic = key.str("topic")?;
                let partition = key.i32("partition")?;
                let value = value.map(decode_offset).transpose()?;
                Ok(Some(Self::Offset(group, (topic, partition), value)))
            }
            GROUP_KEY => {
                let group = key.str("group")?;
                let value = value.map(decode_group).transpose()?;
                Ok(Some(Self::Group(group, value)))
            }
            version => Ok(ConsumerRecord::decode(version, whole, value)?
                .map(|(group, record)| Self::Consumer(group, record))),
        }
    }
}

fn encode_offset(at: &CommittedOffset) -> Bytes {
    let mut out = BytesMut::new();
    // Only version 1 can say when an offset expires by itself.
    if let Some(expires) = at.expire_timestamp {
        out.put_i16(1);
        out.put_i64(at.offset);
        put_str(&mut out, &at.metadata);
        out.put_i64(at.commit_timestamp);
        out.put_i64(expires);
    } else {
        out.put_i16(OFFSET_VALUE);
        out.put_i64(at.offset);
        out.put_i32(at.leader_epoch);
        put_str(&mut out, &at.metadata);
        out.put_i64(at.commit_timestamp);
    }
    out.freeze()
}

fn decode_offset(value: Bytes) -> Result<CommittedOffset, GroupRecordError> {
    let mut value = Fields { buf: value };
    let version = value.i16("value version")?;
    if !(0..=4).contains(&version) {
        return Err(GroupRecordError::Version(version));
    }
    let flexible = version >= 4;
    let offset = value.i64("offset")?;
    let leader_epoch = if version >= 3 {
        value.i32("leader epoch")?
    } else {
        -1
    };
    let metadata = if flexible {
        value.compact_str("metadata")?
    } else {
        value.str("metadata")?
    };
    let commit_timestamp = value.i64("commit timestamp")?;
    let expire_timestamp = if version == 1 {
        Some(value.i64("expire timestamp")?).filter(|t| *t >= 0)
    } else {
        None
    };
    let mut topic_id = Uuid::nil();
    if flexible {
        for _ in 0..value.uvarint("tagged fields")? {
            let tag = value.uvarint("tag")?;
            let size = value.uvarint("tag size")?;
            let raw = value.take("tagged field", usize::try_from(size).unwrap_or(usize::MAX))?;
            if tag == 0
                && let Ok(id) = Uuid::from_slice(&raw)
            {
                topic_id = id;
            }
        }
    }
    Ok(CommittedOffset {
        offset,
        leader_epoch,
        metadata,
        commit_timestamp,
        expire_timestamp,
        topic_id,
    })
}

fn encode_group(group: &StoredGroup) -> Bytes {
    let mut out = BytesMut::new();
    out.put_i16(GROUP_VALUE);
    put_str(&mut out, &group.protocol_type);
    out.put_i32(group.generation);
    put_opt_str(&mut out, group.protocol.as_ref());
    put_opt_str(&mut out, group.leader.as_ref());
    out.put_i64(group.state_timestamp);
    out.put_i32(i32::try_from(group.members.len()).unwrap_or(i32::MAX));
    for member in &group.members {
        put_str(&mut out, &member.member);
        put_opt_str(&mut out, member.instance.as_ref());
        put_str(&mut out, &member.client_id);
        put_str(&mut out, &member.client_host);
        out.put_i32(member.rebalance_timeout_ms);
        out.put_i32(member.session_timeout_ms);
        put_bytes(&mut out, &member.subscription);
        put_bytes(&mut out, &member.assignment);
    }
    out.freeze()
}

fn decode_group(value: Bytes) -> Result<StoredGroup, GroupRecordError> {
    let mut value = Fields { buf: value };
    let version = value.i16("value version")?;
    if !(0..=3).contains(&version) {
        return Err(GroupRecordError::Version(version));
    }
    let mut group = StoredGroup {
        protocol_type: value.str("protocol type")?,
        generation: value.i32("generation")?,
        protocol: value.opt_str("protocol")?,
        leader: value.opt_str("leader")?,
        state_timestamp: if version >= 2 {
            value.i64("state timestamp")?
        } else {
            -1
        },
        members: vec![],
    };
    for _ in 0..value.i32("members")?.max(0) {
        let member = value.str("member id")?;
        let instance = if version >= 3 {
            value.opt_str("instance id")?
        } else {
            None
        };
        let client_id = value.str("client id")?;
        let client_host = value.str("client host")?;
        let rebalance = if version >= 1 {
            Some(value.i32("rebalance timeout")?)
        } else {
            None
        };
        let session_timeout_ms = value.i32("session timeout")?;
        group.members.push(StoredMember {
            member,
            instance,
            client_id,
            client_host,
            rebalance_timeout_ms: rebalance.unwrap_or(session_timeout_ms),
            session_timeout_ms,
            subscription: value.bytes("subscription")?,
            assignment: value.bytes("assignment")?,
        });
    }
    Ok(group)
}

fn put_str(out: &mut BytesMut, text: &str) {
    // Longer strings cannot arrive: requests carry them with the same 16-bit length.
    out.put_i16(i16::try_from(text.len()).unwrap_or(i16::MAX));
    out.put_slice(text.as_bytes());
}

fn put_opt_str(out: &mut BytesMut, text: Option<&Str>) {
    match text {
        Some(text) => put_str(out, text),
        None => out.put_i16(-1),
    }
}

fn put_bytes(out: &mut BytesMut, bytes: &[u8]) {
    out.put_i32(i32::try_from(bytes.len()).unwrap_or(i32::MAX));
    out.put_slice(bytes);
}

/// Reads fields, bounded by the bytes at hand.
pub(super) struct Fields {
    pub(super) buf: Bytes,
}

impl Fields {
    fn take(&mut self, what: &'static str, n: usize) -> Result<Bytes, GroupRecordError> {
        if self.buf.len() < n {
            return Err(GroupRecordError::Short(what));
        }
        Ok(self.buf.split_to(n))
    }

    pub(super) fn i16(&mut self, what: &'static str) -> Result<i16, GroupRecordError> {
        self.take(what, 2).map(|mut b| b.get_i16())
    }

    pub(super) fn i32(&mut self, what: &'static str) -> Result<i32, GroupRecordError> {
        self.take(what, 4).map(|mut b| b.get_i32())
    }

    fn i64(&mut self, what: &'static str) -> Result<i64, GroupRecordError> {
        self.take(what, 8).map(|mut b| b.get_i64())
    }

    fn uvarint(&mut self, what: &'static str) -> Result<u32, GroupRecordError> {
        let mut value = 0u32;
        for shift in (0..35).step_by(7) {
            let byte = self.take(what, 1)?.get_u8();
            value |= u32::from(byte & 0x7f).checked_shl(shift).unwrap_or(0);
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(GroupRecordError::Invalid(what))
    }

    fn utf8(&mut self, what: &'static str, n: usize) -> Result<Str, GroupRecordError> {
        let raw = self.take(what, n)?;
        // A copy, so that a group does not hold on to a whole batch.
        std::str::from_utf8(&raw)
            .map(Str::from)
            .map_err(|_| GroupRecordError::Invalid(what))
    }

    pub(super) fn opt_str(&mut self, what: &'static str) -> Result<Option<Str>, GroupRecordError> {
        match self.i16(what)? {
            -1 => Ok(None),
            n => {
                let n = usize::try_from(n).map_err(|_| GroupRecordError::Invalid(what))?;
                self.utf8(what, n).map(Some)
            }
        }
    }

    pub(super) fn str(&mut self, what: &'static str) -> Result<Str, GroupRecordError> {
        self.opt_str(what)?.ok_or(GroupRecordError::Invalid(what))
    }

    fn compact_str(&mut self, what: &'static str) -> Result<Str, GroupRecordError> {
        let n = self
            .uvarint(what)?
            .checked_sub(1)
            .ok_or(GroupRecordError::Invalid(what))?;
        self.utf8(what, usize::try_from(n).unwrap_or(usize::MAX))
    }

    fn bytes(&mut self, what: &'static str) -> Result<Bytes, GroupRecordError> {
        let n = self.i32(what)?;
        let n = usize::try_from(n).map_err(|_| GroupRecordError::Invalid(what))?;
        self.take(what, n).map(|b| Bytes::copy_from_slice(&b))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text() -> impl Strategy<Value = Str> {
        "[a-z0-9.]{0,8}".prop_map(Str::from)
    }

    fn bytes() -> impl Strategy<Value = Bytes> {
        prop::collection::vec(any::<u8>(), 0..20).prop_map(Bytes::from)
    }

    fn any_record() -> impl Strategy<Value = GroupRecord> {
        let offset = (any::<i64>(), any::<i32>(), text(), any::<i64>()).prop_map(
            |(offset, leader_epoch, metadata, commit_timestamp)| CommittedOffset {
                offset,
                leader_epoch,
                metadata,
                commit_timestamp,
                ..CommittedOffset::default()
            },
        );
        let member = (
            text(),
            prop::option::of(text()),
            text(),
            any::<(i32, i32)>(),
            bytes(),
            bytes(),
        )
            .prop_map(
                |(member, instance, client_id, (r, s), subscription, assignment)| StoredMember {
                    member,
                    instance,
                    client_id,
                    client_host: Str::from("/127.0.0.1"),
                    rebalance_timeout_ms: r,
                    session_timeout_ms: s,
                    subscription,
                    assignment,
                },
            );
        let group = (
            text(),
            any::<i32>(),
            prop::option::of(text()),
            prop::option::of(text()),
            any::<i64>(),
            prop::collection::vec(member, 0..4),
        )
            .prop_map(
                |(protocol_type, generation, protocol, leader, state_timestamp, members)| {
                    StoredGroup {
                        protocol_type,
                        generation,
                        protocol,
                        leader,
                        state_timestamp,
                        members,
                    }
                },
            );
        prop_oneof![
            (text(), text(), any::<i32>(), prop::option::of(offset))
                .prop_map(|(g, t, p, v)| GroupRecord::Offset(g, (t, p), v)),
            (text(), prop::option::of(group)).prop_map(|(g, v)| GroupRecord::Group(g, v)),
        ]
    }

    proptest! {
        #[test]
        fn records_survive_the_log(record in any_record()) {
            let (key, value) = record.encode();
            prop_assert_eq!(GroupRecord::decode(key, value).unwrap(), Some(record));
        }

        #[test]
        fn random_bytes_never_panic(
            key in prop::collection::vec(any::<u8>(), 0..40),
            value in prop::option::of(prop::collection::vec(any::<u8>(), 0..80)),
            version in -1i16..6,
        ) {
            let _ = GroupRecord::decode(Bytes::from(key.clone()), value.clone().map(Bytes::from));
            let mut versioned = version.to_be_bytes().to_vec();
            versioned.extend(key);
            let _ = GroupRecord::decode(Bytes::from(versioned), value.map(Bytes::from));
        }
    }

    /// The formats are Kafka's: these bytes are what its own coordinator reads.
    #[test]
    fn golden_offset() {
        let record = GroupRecord::Offset(
            Str::from("g"),
            (Str::from("t"), 2),
            Some(CommittedOffset {
                offset: 7,
                leader_epoch: 3,
                metadata: Str::from("m"),
                commit_timestamp: 9,
                ..CommittedOffset::default()
            }),
        );
        let (key, value) = record.encode();
        assert_eq!(&key[..], [0, 1, 0, 1, b'g', 0, 1, b't', 0, 0, 0, 2]);
        let golden = [
            0, 3, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 3, 0, 1, b'm', 0, 0, 0, 0, 0, 0, 0, 9,
        ];
        assert_eq!(&value.unwrap()[..], golden);
    }

    #[test]
    fn the_newest_offset_value_is_read() {
        let mut value = BytesMut::new();
        value.put_i16(4);
        value.put_i64(7);
        value.put_i32(3);
        value.put_slice(&[2, b'm']);
        value.put_i64(9);
        value.put_slice(&[1, 0, 16]);
        value.put_slice(Uuid::from_u128(5).as_bytes());
        let at = decode_offset(value.freeze()).unwrap();
        assert_eq!(
            (at.offset, at.metadata.as_str(), at.topic_id),
            (7, "m", Uuid::from_u128(5))
        );
    }
}
