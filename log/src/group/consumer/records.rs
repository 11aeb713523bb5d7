//! How a group of the consumer protocol is kept in `__consumer_offsets`: in Kafka's own records, keys
//! 3 to 8 and 16.
//!
//! Invariant: a record says all there is of its key, so that the last one of each key makes up the
//! group. Tombstones of a write come first, and of a member what it has before what it is.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use uuid::Uuid;

use super::assignor::Partitions;
use super::group::{ConsumerGroup, Key, Resolved};
use super::member::{Classic, Held, Member, MemberState, Position, Profile};
use crate::group::records::{GroupRecord, GroupRecordError};
use crate::wire::messages::*;
use crate::wire::{Message, Str};

/// A record of a group of the consumer protocol; `None` deletes.
#[derive(Debug, Clone, PartialEq)]
pub enum ConsumerRecord {
    /// The group's epoch.
    Epoch(Option<ConsumerGroupMetadataValue>),
    /// The topics of the group, as brokers before Kafka 4.1 kept them: whether there are any.
    PartitionMetadata(bool),
    /// What a member is and wants.
    Member(Str, Option<ConsumerGroupMemberMetadataValue>),
    /// The epoch of the target assignment.
    TargetEpoch(Option<ConsumerGroupTargetAssignmentMetadataValue>),
    /// What a member shall have.
    Target(Str, Option<ConsumerGroupTargetAssignmentMemberValue>),
    /// What a member has.
    Current(Str, Option<ConsumerGroupCurrentMemberAssignmentValue>),
    /// The topics that a regular expression matched.
    Regex(Str, Option<ConsumerGroupRegularExpressionValue>),
}

fn put<M: Message>(message: &M, version: i16) -> Bytes {
    // What is written was read from a request of the same limits.
    message.to_versioned(version).unwrap_or_default()
}

fn get<M: Message>(bytes: Bytes, what: &'static str) -> Result<M, GroupRecordError> {
    M::from_versioned(bytes).map_err(|_| GroupRecordError::Invalid(what))
}

fn value<M: Message>(
    bytes: Option<Bytes>,
    what: &'static str,
) -> Result<Option<M>, GroupRecordError> {
    bytes.map(|bytes| get(bytes, what)).transpose()
}

impl ConsumerRecord {
    /// The record's key and value, for a group.
    pub(in crate::group) fn encode(&self, group: &Str) -> (Bytes, Option<Bytes>) {
        let group_id = group.clone();
        macro_rules! record {
            ($version:literal, $key:ident { $($field:ident),* }, $value:expr) => {
                (
                    put(&$key { $($field,)* ..$key::default() }, $version),
                    $value.map(|v| put(v, 0)),
                )
            };
        }
        match self {
            Self::Epoch(v) => record!(3, ConsumerGroupMetadataKey { group_id }, v.as_ref()),
            Self::PartitionMetadata(there) => {
                let v = there.then(ConsumerGroupPartitionMetadataValue::default);
                record!(
                    4,
                    ConsumerGroupPartitionMetadataKey { group_id },
                    v.as_ref()
                )
            }
            Self::Member(member, v) => {
                let member_id = member.clone();
                record!(
                    5,
                    ConsumerGroupMemberMetadataKey {
                        group_id,
                        member_id
                    },
                    v.as_ref()
                )
            }
            Self::TargetEpoch(v) => {
                record!(
                    6,
                    ConsumerGroupTargetAssignmentMetadataKey { group_id },
                    v.as_ref()
                )
            }
            Self::Target(member, v) => {
                let member_id = member.clone();
                record!(
                    7,
                    ConsumerGroupTargetAssignmentMemberKey {
                        group_id,
                        member_id
                    },
                    v.as_ref()
                )
            }
            Self::Current(member, v) => {
                let member_id = member.clone();
                record!(
                    8,
                    ConsumerGroupCurrentMemberAssignmentKey {
                        group_id,
                        member_id
                    },
                    v.as_ref()
                )
            }
            Self::Regex(regular_expression, v) => {
                let regular_expression = regular_expression.clone();
                record!(
                    16,
                    ConsumerGroupRegularExpressionKey {
                        group_id,
                        regular_expression
                    },
                    v.as_ref()
                )
            }
        }
    }

    /// Reads a record back, of a key of this version; `None` for kinds that are not ours to know.
    pub(in crate::group) fn decode(
        version: i16,
        key: Bytes,
        raw: Option<Bytes>,
    ) -> Result<Option<(Str, Self)>, GroupRecordError> {
        let found = match version {
            3 => {
                let key: ConsumerGroupMetadataKey = get(key, "group epoch")?;
                (key.group_id, Self::Epoch(value(raw, "group epoch")?))
            }
            4 => {
                let key: ConsumerGroupPartitionMetadataKey = get(key, "group topics")?;
                (key.group_id, Self::PartitionMetadata(raw.is_some()))
            }
            5 => {
                let key: ConsumerGroupMemberMetadataKey = get(key, "member")?;
                (
                    key.group_id,
                    Self::Member(key.member_id.detach(), value(raw, "member")?),
                )
            }
            6 => {
                let key: ConsumerGroupTargetAssignmentMetadataKey = get(key, "target epoch")?;
                (key.group_id, Self::TargetEpoch(value(raw, "target epoch")?))
            }
            7 => {
                let key: ConsumerGroupTargetAssignmentMemberKey = get(key, "target")?;
                (
                    key.group_id,
                    Self::Target(key.member_id.detach(), value(raw, "target")?),
                )
            }
            8 => {
                let key: ConsumerGroupCurrentMemberAssignmentKey = get(key, "assignment")?;
                (
                    key.group_id,
                    Self::Current(key.member_id.detach(), value(raw, "assignment")?),
                )
            }
            16 => {
                let key: ConsumerGroupRegularExpressionKey = get(key, "regular expression")?;
                let regex = key.regular_expression.detach();
                (
                    key.group_id,
                    Self::Regex(regex, value(raw, "regular expression")?),
                )
            }
            _ => return Ok(None),
        };
        Ok(Some((found.0.detach(), found.1)))
    }

    /// Whether it deletes.
    pub(in crate::group) fn is_tombstone(&self) -> bool {
        match self {
            Self::Epoch(v) => v.is_none(),
            Self::PartitionMetadata(there) => !there,
            Self::Member(_, v) => v.is_none(),
            Self::TargetEpoch(v) => v.is_none(),
            Self::Target(_, v) => v.is_none(),
            Self::Current(_, v) => v.is_none(),
            Self::Regex(_, v) => v.is_none(),
        }
    }
}

impl ConsumerGroup {
    /// The records of these keys as things stand, in the order in which they are to be written.
    pub(in crate::group) fn records(&self, keys: &BTreeSet<Key>) -> Vec<GroupRecord> {
        let mut tombstones = Vec::new();
        let mut values = Vec::new();
        for key in keys {
            let record = match key {
                Key::Classic => {
                    tombstones.push(GroupRecord::Group(self.id.clone(), None));
                    continue;
                }
                Key::PartitionMetadata => ConsumerRecord::PartitionMetadata(false),
                Key::Regex(regex) => {
                    let found = self.regexes.get(regex).map(stored_regex);
                    ConsumerRecord::Regex(regex.clone(), found)
                }
                Key::Member(id) => {
                    let found = self.members.get(id).map(|m| stored_profile(&m.profile));
                    ConsumerRecord::Member(id.clone(), found)
                }
                Key::Epoch => ConsumerRecord::Epoch(Some(ConsumerGroupMetadataValue {
                    epoch: self.epoch,
                    metadata_hash: self.metadata_hash,
                    ..ConsumerGroupMetadataValue::default()
                })),
                Key::Target(id) => {
                    let member = self.members.get(id);
                    let found = member.and_then(|_| self.targets.get(id)).map(stored_target);
                    ConsumerRecord::Target(id.clone(), found)
                }
                Key::TargetEpoch => {
                    ConsumerRecord::TargetEpoch(Some(ConsumerGroupTargetAssignmentMetadataValue {
                        assignment_epoch: self.target_epoch,
                        assignment_timestamp: self.target_timestamp,
                        ..ConsumerGroupTargetAssignmentMetadataValue::default()
                    }))
                }
                Key::Current(id) => {
                    let found = self.members.get(id).map(|m| stored_position(&m.position));
                    ConsumerRecord::Current(id.clone(), found)
                }
            };
            if record.is_tombstone() {
                tombstones.push(GroupRecord::Consumer(self.id.clone(), record));
            } else {
                values.push(GroupRecord::Consumer(self.id.clone(), record));
            }
        }
        order_tombstones(&mut tombstones);
        tombstones.extend(values);
        tombstones
    }

    /// What deletes the whole group from the log.
    pub(in crate::group) fn tombstones(&self) -> Vec<GroupRecord> {
        let mut records: Vec<GroupRecord> = self
            .keys()
            .into_iter()
            .filter_map(|key| match key {
                Key::Classic => None,
                Key::Regex(regex) => Some(ConsumerRecord::Regex(regex, None)),
                Key::Member(id) => Some(ConsumerRecord::Member(id, None)),
                Key::PartitionMetadata => Some(ConsumerRecord::PartitionMetadata(false)),
                Key::Epoch => Some(ConsumerRecord::Epoch(None)),
                Key::Target(id) => Some(ConsumerRecord::Target(id, None)),
                Key::TargetEpoch => Some(ConsumerRecord::TargetEpoch(None)),
                Key::Current(id) => Some(ConsumerRecord::Current(id, None)),
            })
            .map(|record| GroupRecord::Consumer(self.id.clone(), record))
            .collect();
        order_tombstones(&mut records);
        records
    }

    /// Takes over a record of the log.
    pub(in crate::group) fn load(
        &mut self,
        record: ConsumerRecord,
        session_timeout_ms: i32,
        now: i64,
    ) {
        match record {
            ConsumerRecord::Epoch(Some(v)) => {
                self.epoch = v.epoch;
                self.metadata_hash = v.metadata_hash;
            }
            ConsumerRecord::Epoch(None) => {}
            ConsumerRecord::PartitionMetadata(there) => self.partition_metadata = there,
            ConsumerRecord::Member(id, Some(v)) => {
                let mut member = self.members.remove(&id).unwrap_or_else(|| Member::new(id));
                member.profile = loaded_profile(v);
                member.deadlines.session = Some(now.saturating_add(i64::from(session_timeout_ms)));
                if let Some(classic) = &member.profile.classic {
                    let session = i64::from(classic.session_timeout_ms);
                    member.deadlines.session = Some(now.saturating_add(session));
                }
                self.add(member);
            }
            ConsumerRecord::Member(id, None) => {
                self.remove(&id);
            }
            ConsumerRecord::TargetEpoch(v) => {
                self.target_epoch = v.as_ref().map_or(-1, |v| v.assignment_epoch);
                self.target_timestamp = v.map_or(0, |v| v.assignment_timestamp);
            }
            ConsumerRecord::Target(id, Some(v)) => {
                self.targets.insert(id, loaded_target(v));
            }
            ConsumerRecord::Target(id, None) => {
                self.targets.remove(&id);
            }
            ConsumerRecord::Current(id, Some(v)) => {
                let position = loaded_position(v);
                if !self.members.contains_key(&id) {
                    // Compaction may have left it behind what it belongs to.
                    let mut member = Member::new(id.clone());
                    let session = i64::from(session_timeout_ms);
                    member.deadlines.session = Some(now.saturating_add(session));
                    self.add(member);
                }
                self.set_position(&id, position);
                if let Some(member) = self.members.get_mut(&id)
                    && member.position.state == MemberState::Unrevoked
                    && !member.is_classic()
                {
                    let timeout = i64::from(member.profile.rebalance_timeout_ms);
                    member.deadlines.rebalance = Some(now.saturating_add(timeout));
                }
            }
            ConsumerRecord::Current(id, None) => self.set_position(&id, Position::default()),
            ConsumerRecord::Regex(regex, Some(v)) => {
                let resolved = Resolved {
                    topics: v.topics.iter().map(Str::detach).collect(),
                    version: v.version,
                    timestamp: v.timestamp,
                };
                self.regexes.insert(regex, resolved);
            }
            ConsumerRecord::Regex(regex, None) => {
                self.regexes.remove(&regex);
            }
        }
        self.all_written();
    }
}

/// As Kafka writes them: what members have, what they shall have, what they are, the group last.
fn order_tombstones(records: &mut [GroupRecord]) {
    records.sort_by_key(|record| match record {
        GroupRecord::Consumer(_, ConsumerRecord::Current(..)) => 1,
        GroupRecord::Consumer(_, ConsumerRecord::Target(..)) => 2,
        GroupRecord::Consumer(_, ConsumerRecord::TargetEpoch(_)) => 3,
        GroupRecord::Consumer(_, ConsumerRecord::Member(..)) => 4,
        GroupRecord::Consumer(_, ConsumerRecord::Regex(..)) => 5,
        GroupRecord::Consumer(_, ConsumerRecord::PartitionMetadata(_)) => 6,
        GroupRecord::Consumer(_, ConsumerRecord::Epoch(_)) => 7,
        GroupRecord::Offset(..) | GroupRecord::Group(..) => 0,
    });
}

fn stored_regex(resolved: &Resolved) -> ConsumerGroupRegularExpressionValue {
    ConsumerGroupRegularExpressionValue {
        topics: resolved.topics.iter().cloned().collect(),
        version: resolved.version,
        timestamp: resolved.timestamp,
        ..ConsumerGroupRegularExpressionValue::default()
    }
}

fn stored_profile(profile: &Profile) -> ConsumerGroupMemberMetadataValue {
    ConsumerGroupMemberMetadataValue {
        instance_id: profile.instance.clone(),
        rack_id: profile.rack.clone(),
        client_id: profile.client_id.clone(),
        client_host: profile.client_host.clone(),
        subscribed_topic_names: profile.topics.iter().cloned().collect(),
        subscribed_topic_regex: profile.regex.clone(),
        rebalance_timeout_ms: profile.rebalance_timeout_ms,
        server_assignor: profile.assignor.clone(),
        classic_member_metadata: profile
            .classic
            .as_ref()
            .map(|classic| ClassicMemberMetadata {
                session_timeout_ms: classic.session_timeout_ms,
                supported_protocols: classic
                    .protocols
                    .iter()
                    .map(|(name, metadata)| ClassicProtocol {
                        name: name.clone(),
                        metadata: metadata.clone(),
                        ..ClassicProtocol::default()
                    })
                    .collect(),
                ..ClassicMemberMetadata::default()
            }),
        ..ConsumerGroupMemberMetadataValue::default()
    }
}

fn detached(text: Option<Str>) -> Option<Str> {
    text.map(|t| t.detach())
}

fn loaded_profile(v: ConsumerGroupMemberMetadataValue) -> Profile {
    Profile {
        instance: detached(v.instance_id),
        rack: detached(v.rack_id),
        client_id: v.client_id.detach(),
        client_host: v.client_host.detach(),
        topics: v.subscribed_topic_names.iter().map(Str::detach).collect(),
        regex: detached(v.subscribed_topic_regex).filter(|r| !r.is_empty()),
        rebalance_timeout_ms: v.rebalance_timeout_ms,
        assignor: detached(v.server_assignor),
        classic: v.classic_member_metadata.map(|classic| Classic {
            session_timeout_ms: classic.session_timeout_ms,
            protocols: classic
                .supported_protocols
                .into_iter()
                .map(|p| (p.name.detach(), Bytes::copy_from_slice(&p.metadata)))
                .collect(),
        }),
    }
}

fn stored_target(target: &Partitions) -> ConsumerGroupTargetAssignmentMemberValue {
    ConsumerGroupTargetAssignmentMemberValue {
        topic_partitions: target
            .iter()
            .map(|(topic, partitions)| TargetAssignmentTopicPartition {
                topic_id: *topic,
                partitions: partitions.iter().copied().collect(),
                ..TargetAssignmentTopicPartition::default()
            })
            .collect(),
        ..ConsumerGroupTargetAssignmentMemberValue::default()
    }
}

fn loaded_target(v: ConsumerGroupTargetAssignmentMemberValue) -> Partitions {
    v.topic_partitions
        .into_iter()
        .map(|t| (t.topic_id, t.partitions.into_iter().collect()))
        .collect()
}

fn stored_held(held: &Held) -> Vec<CurrentAssignmentTopicPartitions> {
    held.iter()
        .map(|(topic, partitions)| CurrentAssignmentTopicPartitions {
            topic_id: *topic,
            partitions: partitions.keys().copied().collect(),
            assignment_epochs: Some(partitions.values().copied().collect()),
            ..CurrentAssignmentTopicPartitions::default()
        })
        .collect()
}

/// Records of brokers before Kafka 4.3 have no epochs: then it is the member's.
fn loaded_held(topics: Vec<CurrentAssignmentTopicPartitions>, epoch: i32) -> Held {
    topics
        .into_iter()
        .map(|t| {
            let epochs = t.assignment_epochs.unwrap_or_default();
            let epochs = epochs.into_iter().chain(std::iter::repeat(epoch));
            let partitions: BTreeMap<i32, i32> = t.partitions.into_iter().zip(epochs).collect();
            (t.topic_id, partitions)
        })
        .collect::<BTreeMap<Uuid, _>>()
}

fn stored_position(position: &Position) -> ConsumerGroupCurrentMemberAssignmentValue {
    ConsumerGroupCurrentMemberAssignmentValue {
        member_epoch: position.epoch,
        previous_member_epoch: position.previous_epoch,
        state: position.state.code(),
        assigned_partitions: stored_held(&position.held),
        partitions_pending_revocation: stored_held(&position.revoking),
        ..ConsumerGroupCurrentMemberAssignmentValue::default()
    }
}

fn loaded_position(v: ConsumerGroupCurrentMemberAssignmentValue) -> Position {
    Position {
        epoch: v.member_epoch,
        previous_epoch: v.previous_member_epoch,
        state: MemberState::of(v.state),
        held: loaded_held(v.assigned_partitions, v.member_epoch),
        revoking: loaded_held(v.partitions_pending_revocation, v.member_epoch),
    }
}
