//! Groups of the classic protocol, their offsets, and what describes them.

use bytes::Bytes;
use thalweg_log::wire::messages::*;

use crate::pair::{Pair, Side};

fn join(group: &str, member: &str) -> JoinGroupRequest {
    JoinGroupRequest {
        group_id: group.into(),
        session_timeout_ms: 30_000,
        rebalance_timeout_ms: 10_000,
        member_id: member.into(),
        protocol_type: "consumer".into(),
        protocols: vec![JoinGroupRequestProtocol {
            name: "range".into(),
            metadata: Bytes::from_static(b"\0\0\0\0\0\x01\0\x07grouped\xff\xff\xff\xff"),
            ..Default::default()
        }],
        ..Default::default()
    }
}

fn sync(group: &str, generation: i32, member: &str) -> SyncGroupRequest {
    SyncGroupRequest {
        group_id: group.into(),
        generation_id: generation,
        member_id: member.into(),
        protocol_type: Some("consumer".into()),
        protocol_name: Some("range".into()),
        assignments: vec![SyncGroupRequestAssignment {
            member_id: member.into(),
            assignment: Bytes::from_static(b"\0\0\0\0\0\0\0\0\0\0"),
            ..Default::default()
        }],
        ..Default::default()
    }
}

fn heartbeat(group: &str, generation: i32, member: &str) -> HeartbeatRequest {
    HeartbeatRequest {
        group_id: group.into(),
        generation_id: generation,
        member_id: member.into(),
        ..Default::default()
    }
}

fn commit(
    side: &Side,
    version: i16,
    group: &str,
    generation: i32,
    member: &str,
    offset: i64,
) -> OffsetCommitRequest {
    let place = |partition_index: i32| OffsetCommitRequestPartition {
        partition_index,
        committed_offset: offset,
        committed_metadata: Some("a note".into()),
        ..Default::default()
    };
    OffsetCommitRequest {
        group_id: group.into(),
        generation_id_or_member_epoch: generation,
        member_id: member.into(),
        topics: vec![OffsetCommitRequestTopic {
            name: if version <= 9 {
                "grouped".into()
            } else {
                Default::default()
            },
            topic_id: if version > 9 {
                side.topic("grouped")
            } else {
                Default::default()
            },
            partitions: vec![place(0), place(1)],
            ..Default::default()
        }],
        ..Default::default()
    }
}

fn offsets(side: &Side, version: i16, group: &str, all: bool) -> OffsetFetchRequest {
    let mut request = OffsetFetchRequest::default();
    if version < 8 {
        request.group_id = group.into();
        request.topics = (!all || version < 2).then(|| {
            vec![OffsetFetchRequestTopic {
                name: "grouped".into(),
                partition_indexes: vec![0, 1, 5],
                ..Default::default()
            }]
        });
    } else {
        request.topics = Some(vec![]);
        request.groups = vec![OffsetFetchRequestGroup {
            group_id: group.into(),
            topics: (!all).then(|| {
                vec![OffsetFetchRequestTopics {
                    name: if version <= 9 {
                        "grouped".into()
                    } else {
                        Default::default()
                    },
                    topic_id: if version > 9 {
                        side.topic("grouped")
                    } else {
                        Default::default()
                    },
                    partition_indexes: vec![0, 1, 5],
                    ..Default::default()
                }]
            }),
            ..Default::default()
        }];
    }
    request
}

pub(crate) async fn coordinators(pair: &mut Pair) {
    pair.all("of a group", |_, version| FindCoordinatorRequest {
        key: if version <= 3 {
            "g".into()
        } else {
            Default::default()
        },
        coordinator_keys: if version >= 4 {
            vec!["g".into()]
        } else {
            vec![]
        },
        ..Default::default()
    })
    .await;
    pair.all("of nothing", |_, version| FindCoordinatorRequest {
        key: if version <= 3 {
            "g".into()
        } else {
            Default::default()
        },
        key_type: if version >= 1 { 9 } else { 0 },
        coordinator_keys: if version >= 4 {
            vec!["g".into()]
        } else {
            vec![]
        },
        ..Default::default()
    })
    .await;
}

pub(crate) async fn classic(pair: &mut Pair) {
    pair.create("grouped", 2, &[]).await;
    for version in 0..=9 {
        let group = format!("classic-{version}");
        let unknown = format!("unknown-{version}");
        // From version 4 on the first join is told its id and comes again.
        for round in 0..2 {
            let answers = pair
                .patient("join", version, |side| {
                    join(&group, &side.member(&format!("{group}/{round}")))
                })
                .await;
            if let Some((kafka, ours)) = answers {
                for next in [round + 1, 9] {
                    let name = format!("{group}/{next}");
                    pair.kafka.keep_member(&name, &kafka.member_id);
                    pair.ours.keep_member(&name, &ours.member_id);
                }
            }
        }
        let me = format!("{group}/9");
        let generation = 1;
        pair.ask("an unknown member", version, |_| join(&group, "nobody"))
            .await;
        pair.ask("another protocol", version, |_| {
            let mut request = join(&group, "");
            request.protocols[0].name = "other".into();
            request
        })
        .await;
        pair.ask("another type", version, |_| {
            let mut request = join(&group, "");
            request.protocol_type = "connect".into();
            request
        })
        .await;
        pair.ask("an empty group id", version, |_| join("", ""))
            .await;
        pair.ask("a short session", version, |_| {
            let mut request = join(&unknown, "");
            request.session_timeout_ms = 1;
            request
        })
        .await;
        pair.ask("no protocols", version, |_| {
            let mut request = join(&unknown, "");
            request.protocols.clear();
            request
        })
        .await;
        let v = version.min(5);
        pair.ask("sync", v, |side| {
            sync(&group, generation, &side.member(&me))
        })
        .await;
        pair.ask("a wrong generation", v, |side| {
            sync(&group, 7, &side.member(&me))
        })
        .await;
        pair.ask("an unknown member", v, |_| {
            sync(&group, generation, "nobody")
        })
        .await;
        pair.ask("an unknown group", v, |_| {
            sync(&unknown, generation, "nobody")
        })
        .await;
        let v = version.min(4);
        pair.ask("heartbeat", v, |side| {
            heartbeat(&group, generation, &side.member(&me))
        })
        .await;
        pair.ask("a wrong generation", v, |side| {
            heartbeat(&group, 8, &side.member(&me))
        })
        .await;
        pair.ask("an unknown member", v, |_| {
            heartbeat(&group, generation, "nobody")
        })
        .await;
        pair.ask("an unknown group", v, |_| heartbeat(&unknown, 1, "nobody"))
            .await;
        let v = (version + 2).min(9);
        pair.ask("commit", v, |side| {
            commit(side, v, &group, generation, &side.member(&me), 11)
        })
        .await;
        pair.ask("a wrong generation", v, |side| {
            commit(side, v, &group, 5, &side.member(&me), 12)
        })
        .await;
        pair.ask("an unknown member", v, |side| {
            commit(side, v, &group, 1, "nobody", 12)
        })
        .await;
        pair.ask("no generation", v, |side| {
            commit(side, v, &group, -1, "", 12)
        })
        .await;
        let v = version.min(6);
        pair.ask("described", v, |_| DescribeGroupsRequest {
            groups: vec![group.as_str().into(), unknown.as_str().into()],
            ..Default::default()
        })
        .await;
        let v = version.min(2);
        pair.ask("not empty", v, |_| DeleteGroupsRequest {
            groups_names: vec![group.as_str().into()],
            ..Default::default()
        })
        .await;
        pair.ask("subscribed", 0, |_| offset_delete(&group)).await;
        let v = version.min(5);
        for what in ["leave", "gone already"] {
            pair.ask(what, v, |side| {
                let mut request = LeaveGroupRequest {
                    group_id: group.as_str().into(),
                    ..Default::default()
                };
                if v < 3 {
                    request.member_id = side.member(&me).as_str().into();
                } else {
                    request.members = vec![MemberIdentity {
                        member_id: side.member(&me).as_str().into(),
                        ..Default::default()
                    }];
                }
                request
            })
            .await;
        }
    }
    pair.all("of a group", |side, version| {
        offsets(side, version, "classic-3", false)
    })
    .await;
    pair.all("all of a group", |side, version| {
        offsets(side, version, "classic-3", true)
    })
    .await;
    pair.all("of nobody", |side, version| {
        offsets(side, version, "nobody", false)
    })
    .await;
    pair.all("from outside", |side, version| {
        commit(side, version, "outside", -1, "", 5)
    })
    .await;
    pair.all("an empty group id", |side, version| {
        commit(side, version, "", -1, "", 5)
    })
    .await;
    pair.all("list", |_, _| ListGroupsRequest::default()).await;
    pair.ask("by state", 4, |_| ListGroupsRequest {
        states_filter: vec!["Empty".into()],
        ..Default::default()
    })
    .await;
    pair.ask("by type", 5, |_| ListGroupsRequest {
        types_filter: vec!["classic".into()],
        ..Default::default()
    })
    .await;
    pair.ask("offsets", 0, |_| offset_delete("classic-3")).await;
    pair.ask("offsets of nobody", 0, |_| offset_delete("nobody"))
        .await;
    for version in 0..=2 {
        pair.ask("groups", version, |_| DeleteGroupsRequest {
            groups_names: vec![
                format!("classic-{version}").as_str().into(),
                "nobody".into(),
            ],
            ..Default::default()
        })
        .await;
    }
    pair.all("of a deleted group", |side, version| {
        offsets(side, version, "classic-0", true)
    })
    .await;
}

fn offset_delete(group: &str) -> OffsetDeleteRequest {
    OffsetDeleteRequest {
        group_id: group.into(),
        topics: vec![OffsetDeleteRequestTopic {
            name: "grouped".into(),
            partitions: [0, 7]
                .map(|partition_index| OffsetDeleteRequestPartition {
                    partition_index,
                    ..Default::default()
                })
                .to_vec(),
            ..Default::default()
        }],
        ..Default::default()
    }
}

pub(crate) async fn consumer(pair: &mut Pair) {
    let beat = |group: &str, member: &str, epoch: i32| ConsumerGroupHeartbeatRequest {
        group_id: group.into(),
        member_id: member.into(),
        member_epoch: epoch,
        rebalance_timeout_ms: if epoch == 0 { 10_000 } else { -1 },
        subscribed_topic_names: (epoch == 0).then(|| vec!["grouped".into()]),
        topic_partitions: (epoch == 0).then(Vec::new),
        ..Default::default()
    };
    for version in 0..=1 {
        let group = format!("consumer-{version}");
        let member = format!("member-{version}");
        let joined = pair
            .patient("join", version, |_| beat(&group, &member, 0))
            .await;
        if let Some((kafka, ours)) = joined {
            pair.kafka
                .keep_producer(&group, kafka.member_epoch.into(), 0);
            pair.ours.keep_producer(&group, ours.member_epoch.into(), 0);
        }
        let epoch = |side: &Side| side.producer(&group).0 as i32;
        pair.ask("stay", version, |side| beat(&group, &member, epoch(side)))
            .await;
        pair.ask("a wrong epoch", version, |_| beat(&group, &member, 9))
            .await;
        pair.ask("an unknown member", version, |_| beat(&group, "nobody", 3))
            .await;
        pair.ask("an unknown group", version, |_| {
            beat("no such group", "nobody", 3)
        })
        .await;
        pair.ask("an empty group id", version, |_| beat("", "x", 0))
            .await;
        pair.ask("no such assignor", version, |_| {
            let mut request = beat(&group, "other", 0);
            request.server_assignor = Some("random".into());
            request
        })
        .await;
        pair.ask("described", version, |_| ConsumerGroupDescribeRequest {
            group_ids: vec![group.as_str().into(), "nobody".into(), "classic-4".into()],
            ..Default::default()
        })
        .await;
        pair.ask("a classic member's commit", 8, |side| {
            commit(side, 8, &group, -1, "", 3)
        })
        .await;
        pair.ask("a stale epoch's commit", 9, |side| {
            commit(side, 9, &group, 0, &member, 3)
        })
        .await;
        pair.ask("commit", 9, |side| {
            commit(side, 9, &group, epoch(side), &member, 3)
        })
        .await;
        pair.ask("leave", version, |_| beat(&group, &member, -1))
            .await;
        pair.ask("described when empty", version, |_| {
            ConsumerGroupDescribeRequest {
                group_ids: vec![group.as_str().into()],
                ..Default::default()
            }
        })
        .await;
    }
}
