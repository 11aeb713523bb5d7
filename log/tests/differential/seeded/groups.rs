//! Groups of both protocols, and their offsets.

use bytes::Bytes;
use thalweg_log::wire::messages::*;

use super::world::World;
use crate::pair::Pair;

const SLOTS: usize = 3;

fn kept(group: &str, slot: usize) -> String {
    format!("{group}/{slot}")
}

pub(super) async fn classic(pair: &mut Pair, world: &mut World) {
    let number = world.draw.below(2);
    let group = world.name(&format!("g{number}"));
    match world.draw.below(16) {
        0..=3 => join(pair, world, number, &group).await,
        4..=5 => sync(pair, world, number, &group).await,
        6 => heartbeat(pair, world, number, &group).await,
        7 => leave(pair, world, number, &group).await,
        8..=9 => commit(pair, world, number, &group).await,
        10..=11 => offsets(pair, world, &group).await,
        12 => {
            let version = world.draw.version::<DescribeGroupsRequest>();
            let nobody = world.name("nobody");
            pair.read("seeded", version, |_| DescribeGroupsRequest {
                groups: vec![group.as_str().into(), nobody.as_str().into()],
                ..Default::default()
            })
            .await;
        }
        13 => list(pair, world).await,
        14 => delete_offsets(pair, world, &group).await,
        _ => {
            let version = world.draw.version::<DeleteGroupsRequest>();
            let nobody = world.name("nobody");
            pair.ask("seeded", version, |_| DeleteGroupsRequest {
                groups_names: vec![group.as_str().into(), nobody.as_str().into()],
                ..Default::default()
            })
            .await;
        }
    }
}

async fn join(pair: &mut Pair, world: &mut World, number: usize, group: &str) {
    let version = world.draw.version::<JoinGroupRequest>();
    let known = world.classic.entry(number).or_default().clone();
    // A second member would wait for the first one to come again: there is one at a time, the last slot's static.
    let slot = match known.members.first() {
        Some(slot) => *slot,
        None => world.draw.below(SLOTS),
    };
    if slot + 1 == SLOTS && version < 5 {
        return;
    }
    let place = kept(group, slot);
    let stranger = world.draw.chance(4);
    let session = world.draw.mostly(600_000, &[1, -1, i32::MAX]);
    let kind = world.draw.mostly("consumer", &["connect", ""]);
    let protocols = world.draw.mostly(
        vec!["range"],
        &[
            vec!["range", "roundrobin"],
            vec!["roundrobin"],
            vec![],
            vec!["other"],
        ],
    );
    let instance = (slot + 1 == SLOTS).then(|| format!("i{slot}"));
    let metadata = subscription(&world.name("a"), slot);
    let answers = pair
        .patient("seeded", version, |side| JoinGroupRequest {
            group_id: group.into(),
            session_timeout_ms: session,
            rebalance_timeout_ms: if version >= 1 { 600_000 } else { -1 },
            member_id: if stranger {
                "stranger".into()
            } else {
                side.member(&place).as_str().into()
            },
            group_instance_id: instance.as_deref().map(Into::into),
            protocol_type: kind.into(),
            protocols: protocols
                .iter()
                .map(|name| JoinGroupRequestProtocol {
                    name: (*name).into(),
                    metadata: metadata.clone(),
                    ..Default::default()
                })
                .collect(),
            ..Default::default()
        })
        .await;
    let Some((kafka, ours)) = answers else { return };
    let state = world.classic.entry(number).or_default();
    if !kafka.member_id.is_empty() && !stranger {
        pair.kafka.keep_member(&place, &kafka.member_id);
        pair.ours.keep_member(&place, &ours.member_id);
    }
    match kafka.error_code {
        0 => {
            state.generation = kafka.generation_id;
            state.members = vec![slot];
        }
        // The id is not known (any more): come back as a new member.
        25 if !stranger && state.members.is_empty() => {
            pair.kafka.keep_member(&place, "");
            pair.ours.keep_member(&place, "");
        }
        _ => {}
    }
}

/// A subscription as consumers write it; the slot is the member's own data, to tell members apart by.
fn subscription(topic: &str, slot: usize) -> Bytes {
    let mut bytes = vec![0, 0, 0, 0, 0, 1];
    bytes.extend((topic.len() as u16).to_be_bytes());
    bytes.extend(topic.as_bytes());
    bytes.extend([0, 0, 0, 1, slot as u8]);
    bytes.into()
}

async fn sync(pair: &mut Pair, world: &mut World, number: usize, group: &str) {
    let version = world.draw.version::<SyncGroupRequest>();
    let known = world.classic.entry(number).or_default().clone();
    let slot = known.members.first().copied().unwrap_or(0);
    let place = kept(group, slot);
    let generation = world
        .draw
        .mostly(known.generation, &[known.generation + 1, -1, 0]);
    let kind = world.draw.mostly("consumer", &["connect"]);
    let name = world.draw.mostly("range", &["roundrobin"]);
    pair.ask("seeded", version, |side| SyncGroupRequest {
        group_id: group.into(),
        generation_id: generation,
        member_id: side.member(&place).as_str().into(),
        protocol_type: (version >= 5).then(|| kind.into()),
        protocol_name: (version >= 5).then(|| name.into()),
        assignments: vec![SyncGroupRequestAssignment {
            member_id: side.member(&place).as_str().into(),
            assignment: Bytes::from_static(b"\0\0\0\0\0\0\0\0\0\0"),
            ..Default::default()
        }],
        ..Default::default()
    })
    .await;
}

async fn heartbeat(pair: &mut Pair, world: &mut World, number: usize, group: &str) {
    let version = world.draw.version::<HeartbeatRequest>();
    let known = world.classic.entry(number).or_default().clone();
    let place = kept(group, known.members.first().copied().unwrap_or(0));
    let generation = world
        .draw
        .mostly(known.generation, &[known.generation - 1, -1]);
    let instance = (version >= 3 && world.draw.chance(8)).then_some("i0");
    pair.ask("seeded", version, |side| HeartbeatRequest {
        group_id: group.into(),
        generation_id: generation,
        member_id: side.member(&place).as_str().into(),
        group_instance_id: instance.map(Into::into),
        ..Default::default()
    })
    .await;
}

async fn leave(pair: &mut Pair, world: &mut World, number: usize, group: &str) {
    let version = world.draw.version::<LeaveGroupRequest>();
    let known = world.classic.entry(number).or_default().clone();
    let slot = known.members.first().copied().unwrap_or(0);
    let place = kept(group, slot);
    let instance = (version >= 3 && world.draw.chance(20)).then(|| format!("i{slot}"));
    let answers = pair
        .ask("seeded", version, |side| {
            let member = side.member(&place);
            let mut request = LeaveGroupRequest {
                group_id: group.into(),
                ..Default::default()
            };
            if version < 3 {
                request.member_id = member.as_str().into();
            } else {
                request.members = vec![MemberIdentity {
                    member_id: member.as_str().into(),
                    group_instance_id: instance.as_deref().map(Into::into),
                    ..Default::default()
                }];
            }
            request
        })
        .await;
    let left = answers.is_some_and(|(kafka, _)| {
        kafka.error_code == 0 && kafka.members.iter().all(|m| m.error_code == 0)
    });
    if left {
        world.classic.entry(number).or_default().members.clear();
        pair.kafka.keep_member(&place, "");
        pair.ours.keep_member(&place, "");
    }
}

async fn commit(pair: &mut Pair, world: &mut World, number: usize, group: &str) {
    let version = world.draw.version::<OffsetCommitRequest>();
    let known = world.classic.entry(number).or_default().clone();
    let place = kept(group, known.members.first().copied().unwrap_or(0));
    let topic = world.topic();
    let partition = world.partition(&topic);
    let outside = world.draw.chance(40);
    let generation = if outside {
        -1
    } else {
        world
            .draw
            .mostly(known.generation, &[known.generation + 3, -1])
    };
    let offset = world.draw.below(40) as i64;
    let offset = world.draw.mostly(offset, &[-1, -9, i64::MAX]);
    let note = world
        .draw
        .mostly("n".to_owned(), &[String::new(), "long".repeat(1_200)]);
    let group = world
        .draw
        .mostly(group.to_owned(), &[String::new(), world.name("fresh")]);
    let epoch = world.draw.mostly(-1, &[0, 3]);
    pair.ask("seeded", version, |side| OffsetCommitRequest {
        group_id: group.as_str().into(),
        generation_id_or_member_epoch: generation,
        member_id: if outside {
            Default::default()
        } else {
            side.member(&place).as_str().into()
        },
        topics: vec![OffsetCommitRequestTopic {
            name: topic.as_str().into(),
            topic_id: side.topic(&topic),
            partitions: vec![OffsetCommitRequestPartition {
                partition_index: partition,
                committed_offset: offset,
                committed_leader_epoch: epoch,
                committed_metadata: Some(note.as_str().into()),
                ..Default::default()
            }],
            ..Default::default()
        }],
        ..Default::default()
    })
    .await;
}

async fn offsets(pair: &mut Pair, world: &mut World, group: &str) {
    let version = world.draw.version::<OffsetFetchRequest>();
    let (all, stable) = (world.draw.chance(40), world.draw.chance(30));
    let topic = world.topic();
    let partition = world.partition(&topic);
    let group = world.draw.mostly(
        group.to_owned(),
        &[String::new(), world.name("nobody"), world.name("fresh")],
    );
    let member = world.draw.mostly(None, &[Some("stranger")]);
    let epoch = if member.is_some() { 4 } else { -1 };
    pair.read("seeded", version, |side| {
        let mut request = OffsetFetchRequest {
            require_stable: stable && version >= 7,
            ..Default::default()
        };
        if version < 8 {
            request.group_id = group.as_str().into();
            request.topics = (!all || version < 2).then(|| {
                vec![OffsetFetchRequestTopic {
                    name: topic.as_str().into(),
                    partition_indexes: vec![partition, 0],
                    ..Default::default()
                }]
            });
        } else {
            request.topics = Some(vec![]);
            request.groups = vec![OffsetFetchRequestGroup {
                group_id: group.as_str().into(),
                member_id: member.map(Into::into),
                member_epoch: epoch,
                topics: (!all).then(|| {
                    vec![OffsetFetchRequestTopics {
                        name: topic.as_str().into(),
                        topic_id: side.topic(&topic),
                        partition_indexes: vec![partition, 0],
                        ..Default::default()
                    }]
                }),
                ..Default::default()
            }];
        }
        request
    })
    .await;
}

async fn list(pair: &mut Pair, world: &mut World) {
    let version = world.draw.version::<ListGroupsRequest>();
    let state = world
        .draw
        .pick(&["", "", "Stable", "Empty", "empty", "Nonsense"]);
    let kind = world
        .draw
        .pick(&["", "", "classic", "consumer", "Consumer", "nonsense"]);
    pair.read("seeded", version, |_| ListGroupsRequest {
        states_filter: if version >= 4 && !state.is_empty() {
            vec![state.into()]
        } else {
            vec![]
        },
        types_filter: if version >= 5 && !kind.is_empty() {
            vec![kind.into()]
        } else {
            vec![]
        },
        ..Default::default()
    })
    .await;
}

async fn delete_offsets(pair: &mut Pair, world: &mut World, group: &str) {
    let topic = world.topic();
    let partition = world.partition(&topic);
    let nobody = world.name("nobody");
    let group = world.draw.mostly(group.to_owned(), &[nobody]);
    pair.ask("seeded", 0, |_| OffsetDeleteRequest {
        group_id: group.as_str().into(),
        topics: vec![OffsetDeleteRequestTopic {
            name: topic.as_str().into(),
            partitions: vec![OffsetDeleteRequestPartition {
                partition_index: partition,
                ..Default::default()
            }],
            ..Default::default()
        }],
        ..Default::default()
    })
    .await;
}

/// The consumer protocol: a member at a time in a group, for who gets what is each broker's own to say.
pub(super) async fn consumer(pair: &mut Pair, world: &mut World) {
    let number = world.draw.below(2);
    let group = world.name(&format!("k{number}"));
    match world.draw.below(12) {
        0..=6 => beat(pair, world, number, &group).await,
        7..=8 => {
            let version = world.draw.version::<ConsumerGroupDescribeRequest>();
            let classic = world.name("g0");
            pair.read("seeded", version, |_| ConsumerGroupDescribeRequest {
                group_ids: vec![group.as_str().into(), classic.as_str().into()],
                ..Default::default()
            })
            .await;
        }
        9..=10 => {
            let version = world.draw.version::<OffsetCommitRequest>();
            let topic = world.topic();
            let partition = world.partition(&topic);
            let delta = world.draw.mostly(0, &[1, 7]);
            let member = world.draw.mostly("member-0", &["", "stranger"]);
            let place = kept(&group, 0);
            pair.ask("seeded", version, |side| OffsetCommitRequest {
                group_id: group.as_str().into(),
                generation_id_or_member_epoch: side.producer(&place).0 as i32 + delta,
                member_id: member.into(),
                topics: vec![OffsetCommitRequestTopic {
                    name: topic.as_str().into(),
                    topic_id: side.topic(&topic),
                    partitions: vec![OffsetCommitRequestPartition {
                        partition_index: partition,
                        committed_offset: 3,
                        committed_metadata: Some("".into()),
                        ..Default::default()
                    }],
                    ..Default::default()
                }],
                ..Default::default()
            })
            .await;
        }
        _ => offsets(pair, world, &group).await,
    }
}

async fn beat(pair: &mut Pair, world: &mut World, number: usize, group: &str) {
    let version = world.draw.version::<ConsumerGroupHeartbeatRequest>();
    let slot = 0;
    let place = kept(group, slot);
    let joined = world.consumers.entry((number, slot)).or_default().joined;
    let join = !joined || world.draw.chance(15);
    let leave = joined && !join && world.draw.chance(12);
    let delta = world.draw.mostly(0, &[1, 7]);
    let member = world.draw.mostly("member-0", &["stranger", ""]);
    // One that exists: with several, the order in which they are named is each broker's own.
    let mut topics = vec![world.topic()];
    if world.draw.chance(20) {
        topics.push(world.name("not-there"));
    }
    let subscribe = join || world.draw.chance(15);
    let assignor = world
        .draw
        .mostly(None, &[Some("uniform"), Some("range"), Some("nonsense")]);
    let rebalance = world.draw.mostly(60_000, &[-1, 0]);
    let instance = if version >= 1 {
        world.draw.mostly(None, &[Some("i")])
    } else {
        None
    };
    let answers = pair
        .patient("seeded", version, |side| ConsumerGroupHeartbeatRequest {
            group_id: group.into(),
            member_id: member.into(),
            member_epoch: match (join, leave) {
                (true, _) => 0,
                (_, true) => -1,
                _ => side.producer(&place).0 as i32 + delta,
            },
            instance_id: if leave {
                None
            } else {
                instance.map(Into::into)
            },
            rebalance_timeout_ms: if join { rebalance } else { -1 },
            subscribed_topic_names: subscribe.then(|| {
                let mut names: Vec<_> = topics.iter().map(|t| t.as_str().into()).collect();
                names.dedup();
                names
            }),
            server_assignor: assignor.map(Into::into),
            topic_partitions: join.then(Vec::new),
            ..Default::default()
        })
        .await;
    let Some((kafka, ours)) = answers else { return };
    let known = world.consumers.entry((number, slot)).or_default();
    if kafka.error_code == 0 && ours.error_code == 0 && member == "member-0" {
        known.joined = kafka.member_epoch >= 0;
        pair.kafka
            .keep_producer(&place, kafka.member_epoch.into(), 0);
        pair.ours.keep_producer(&place, ours.member_epoch.into(), 0);
    }
}
