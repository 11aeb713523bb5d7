//! Groups whose members change from one protocol to the other.

use std::sync::Arc;

use bytes::Bytes;

use super::{Bench, REBALANCE, at, fixed, held, joins, topic, topics};
use crate::group::*;
use crate::wire::messages::{
    ConsumerProtocolAssignment, ConsumerProtocolSubscription, ConsumerProtocolTopicPartition,
};
use crate::wire::{ErrorCode, Message, Str};

fn subscription(owned: &[i32]) -> Bytes {
    let owned_partitions = if owned.is_empty() {
        vec![]
    } else {
        vec![ConsumerProtocolTopicPartition {
            topic: Str::from("t"),
            partitions: owned.to_vec(),
            ..Default::default()
        }]
    };
    ConsumerProtocolSubscription {
        topics: vec![Str::from("t")],
        owned_partitions,
        ..ConsumerProtocolSubscription::default()
    }
    .to_versioned(1)
    .unwrap()
}

fn classic_join(member: &str, owned: &[i32]) -> Join {
    Join {
        group: Str::from("g"),
        member: Str::from(member),
        session_timeout_ms: 10_000,
        rebalance_timeout_ms: i32::try_from(REBALANCE).unwrap(),
        protocol_type: Str::from("consumer"),
        protocols: vec![(Str::from("range"), subscription(owned))],
        ..Join::default()
    }
}

/// What a leader gives a member of `t`.
fn assignment(partitions: std::ops::Range<i32>) -> Bytes {
    ConsumerProtocolAssignment {
        assigned_partitions: vec![ConsumerProtocolTopicPartition {
            topic: Str::from("t"),
            partitions: partitions.collect(),
            ..Default::default()
        }],
        ..Default::default()
    }
    .to_versioned(1)
    .unwrap()
}

fn given(raw: &Bytes) -> Vec<i32> {
    let found = ConsumerProtocolAssignment::from_versioned(raw.clone()).unwrap();
    found
        .assigned_partitions
        .into_iter()
        .flat_map(|t| t.partitions)
        .collect()
}

impl Bench {
    fn join(&mut self, join: Join) -> Option<Joined> {
        match self.ask(|t| Event::Join(t, join)) {
            Some(Reply::Joined(joined)) => Some(joined),
            None => None,
            other => panic!("{other:?}"),
        }
    }

    fn sync(&mut self, member: &str, generation: i32, assign: &[(&str, Bytes)]) -> Synced {
        let sync = Sync {
            group: Str::from("g"),
            generation,
            member: Str::from(member),
            assignments: assign
                .iter()
                .map(|(m, a)| (Str::from(*m), a.clone()))
                .collect(),
            ..Sync::default()
        };
        match self.ask(|t| Event::Sync(t, sync)) {
            Some(Reply::Synced(synced)) => synced,
            other => panic!("{other:?}"),
        }
    }

    fn heartbeat(&mut self, member: &str, generation: i32) -> ErrorCode {
        let beat = Heartbeat {
            group: Str::from("g"),
            generation,
            member: Str::from(member),
            instance: None,
        };
        match self.ask(|t| Event::Heartbeat(t, beat)) {
            Some(Reply::Code(code)) => code,
            other => panic!("{other:?}"),
        }
    }

    /// A classic group whose one member `c` has everything of `t`.
    fn classic() -> Self {
        let mut bench = Self::new();
        let joined = bench
            .join(Join {
                new_member: Str::from("c"),
                ..classic_join("", &[])
            })
            .unwrap();
        assert_eq!(joined.generation, 1);
        let synced = bench.sync("c", 1, &[("c", assignment(0..6))]);
        assert_eq!(synced.error, None);
        bench
    }
}

#[test]
fn a_classic_group_becomes_one_of_the_consumer_protocol_and_back() {
    let mut bench = Bench::classic();
    let a = bench.beat(joins("a")).unwrap();
    assert_eq!((a.epoch, a.assignment), (2, Some(Partitions::new())));
    assert_eq!(bench.group().members.len(), 2);
    assert_eq!(bench.reloaded().group(), bench.group());
    // The classic member is told to join, gives up, joins again.
    assert_eq!(bench.heartbeat("c", 1), ErrorCode::RebalanceInProgress);
    let joined = bench.join(classic_join("c", &[0, 1, 2, 3, 4, 5])).unwrap();
    assert_eq!((joined.error, joined.generation), (None, 1));
    let synced = bench.sync("c", 1, &[]);
    let kept = given(&synced.assignment);
    assert_eq!(kept.len(), 3);
    assert_eq!(bench.heartbeat("c", 1), ErrorCode::RebalanceInProgress);
    let joined = bench.join(classic_join("c", &kept)).unwrap();
    assert_eq!((joined.error, joined.generation), (None, 2));
    assert_eq!(given(&bench.sync("c", 2, &[]).assignment), kept);
    assert_eq!(bench.heartbeat("c", 2), ErrorCode::None);
    let a = bench.alive("a", 2).unwrap();
    assert_eq!(a.assignment.unwrap()[&topic(1)].len(), 3);
    assert_eq!(bench.group().state, ConsumerGroupState::Stable);
    assert_eq!(bench.commit("c", 2, kept[0], 8), ErrorCode::None);
    assert_eq!(bench.commit("c", 1, 5, 8), ErrorCode::IllegalGeneration);
    // The last member of the consumer protocol leaves.
    bench.beat(at("a", -1)).unwrap();
    assert!(bench.coordinator.describe_consumer("g").is_none());
    assert_eq!(bench.heartbeat("c", 2), ErrorCode::RebalanceInProgress);
    let group = bench.coordinator.describe("g").unwrap();
    assert_eq!(group.members.len(), 1);
    let after = bench.reloaded();
    assert_eq!(after.coordinator.describe("g").unwrap().members.len(), 1);
    let joined = bench.join(classic_join("c", &kept)).unwrap();
    assert_eq!((joined.error, joined.leader.as_str()), (None, "c"));
}

#[test]
fn migration_is_a_matter_of_policy() {
    for (upgrade, kind) in [(false, "connect"), (true, "connect"), (false, "consumer")] {
        let mut config = GroupConfig::default();
        config.consumer.upgrade = upgrade;
        let mut bench = Bench::with(config);
        bench
            .join(Join {
                new_member: Str::from("c"),
                protocol_type: Str::from(kind),
                ..classic_join("", &[])
            })
            .unwrap();
        assert_eq!(bench.beat(joins("a")), Err(ErrorCode::GroupIdNotFound));
    }
    let mut config = GroupConfig::default();
    config.consumer.downgrade = false;
    let mut bench = Bench::classic();
    bench.step(Event::Configure(Arc::new(config), Arc::default()));
    bench.beat(joins("a")).unwrap();
    bench.beat(at("a", -1)).unwrap();
    assert_eq!(bench.group().members.len(), 1, "it stays what it is");
}

#[test]
fn empty_groups_change_their_protocol_freely() {
    let mut bench = Bench::new();
    bench.beat(joins("a")).unwrap();
    bench.commit("a", 1, 0, 9);
    bench.beat(at("a", -1)).unwrap();
    let joined = bench.join(Join {
        new_member: Str::from("c"),
        ..classic_join("", &[])
    });
    // Generations go on from epochs, and epochs from generations.
    assert_eq!(joined.unwrap().generation, 3);
    bench.sync("c", 3, &[]);
    assert!(bench.coordinator.describe("g").is_some());
    let after = bench.reloaded();
    assert!(after.coordinator.describe("g").is_some());
    assert!(
        after
            .coordinator
            .offset("g", &(Str::from("t"), 0))
            .is_some()
    );
    let leaver = Leaver {
        member: Str::from("c"),
        instance: None,
    };
    bench.ask(|t| Event::Leave(t, Str::from("g"), vec![leaver]));
    assert_eq!(bench.beat(joins("a")).unwrap().epoch, 5);
    let after = bench.reloaded();
    assert_eq!(after.group(), bench.group());
    assert!(
        after
            .coordinator
            .offset("g", &(Str::from("t"), 0))
            .is_some()
    );
}

#[test]
fn a_classic_member_that_does_not_join_again_is_thrown_out() {
    let mut bench = Bench::classic();
    bench.beat(joins("a")).unwrap();
    for _ in 0..REBALANCE / 5_000 {
        assert_eq!(bench.heartbeat("c", 1), ErrorCode::RebalanceInProgress);
        bench.advance(5_000);
        bench.alive("a", 2).unwrap();
    }
    assert_eq!(bench.heartbeat("c", 1), ErrorCode::UnknownMemberId);
    let left = &bench.group().members[0];
    assert_eq!(
        (left.epoch, &left.assignment),
        (3, &held(1, &[0, 1, 2, 3, 4, 5]))
    );
}

#[test]
fn static_members_change_their_protocol() {
    let mut bench = Bench::new();
    bench.beat(fixed("a", 0)).unwrap();
    let joined = bench.join(Join {
        new_member: Str::from("c"),
        instance: Some(Str::from("i")),
        ..classic_join("", &[])
    });
    let joined = joined.unwrap();
    assert_eq!((joined.error, joined.member.as_str()), (None, "c"));
    // It was the only one: the group is classic now, and the member has what it had.
    let synced = bench.sync("c", joined.generation, &[]);
    assert_eq!(synced.error, None);
    assert_eq!(given(&synced.assignment).len(), 6);
    assert!(bench.reloaded().coordinator.describe("g").is_some());
    let back = bench.beat(fixed("a2", 0)).unwrap();
    assert_eq!(back.assignment, Some(held(1, &[0, 1, 2, 3, 4, 5])));
    assert_eq!(bench.group().members.len(), 1);
    assert_eq!(bench.reloaded().group(), bench.group());
}

#[test]
fn a_static_member_that_changes_its_protocol_has_everything_assigned_anew() {
    let mut bench = Bench::new();
    let instance = Some(Str::from("i"));
    bench.join(Join {
        new_member: Str::from("c"),
        instance: instance.clone(),
        ..classic_join("", &[])
    });
    let part = assignment(0..3);
    assert_eq!(bench.sync("c", 1, &[("c", part)]).error, None);
    // The leader has yet to assign the rest, some of which is new, and to the other member.
    bench.step(Event::Topics(topics(&[("t", 1, 8)])));
    let waits = bench.join(Join {
        new_member: Str::from("d"),
        ..classic_join("", &[])
    });
    assert_eq!(waits, None);
    // It comes back with the same subscription, as a member of the consumer protocol.
    let a = bench.beat(fixed("a", 0)).unwrap();
    assert_eq!(a.epoch, 2);
    let group = bench.group();
    let targets = group.members.iter().map(|m| m.target[&topic(1)].len());
    assert_eq!(targets.collect::<Vec<_>>(), [4, 4]);
    assert_eq!((group.epoch, group.assignment_epoch), (2, 2));
    assert_eq!(bench.reloaded().group(), group);
    assert_eq!(bench.heartbeat("d", 1), ErrorCode::RebalanceInProgress);
    let joined = bench.join(classic_join("d", &[])).unwrap();
    assert_eq!((joined.error, joined.generation), (None, 2));
    assert_eq!(given(&bench.sync("d", 2, &[]).assignment).len(), 4);
    assert_eq!(bench.group().state, ConsumerGroupState::Stable);
}

/// A group that was of the consumer protocol for a moment: its one member `c` has not heard of it,
/// and still has everything.
fn unheard() -> Bench {
    let mut bench = Bench::classic();
    assert_eq!(bench.beat(joins("a")).unwrap().epoch, 2);
    bench.beat(at("a", -1)).unwrap();
    assert!(bench.coordinator.describe("g").is_some());
    bench
}

#[test]
fn a_member_keeps_what_it_has_however_quickly_the_protocol_changes() {
    for restart in [false, true] {
        let mut bench = unheard();
        if restart {
            bench = bench.reloaded();
        }
        let b = bench.beat(joins("b")).unwrap();
        assert_eq!(b.assignment, Some(Partitions::new()), "c has them");
        let c = &bench.group().members[1];
        assert_eq!(
            (c.member.as_str(), &c.assignment),
            ("c", &held(1, &[0, 1, 2, 3, 4, 5]))
        );
        // It gives up what it shall not keep.
        let joined = bench.join(classic_join("c", &[])).unwrap();
        assert_eq!(joined.error, None);
        let b = bench.alive("b", b.epoch).unwrap();
        assert_eq!(b.assignment.unwrap()[&topic(1)].len(), 3);
    }
}

#[test]
fn a_group_that_restarts_before_its_rebalance_rebalances() {
    let mut bench = unheard().reloaded();
    // The generation in which nothing was left over is gone.
    assert_eq!(bench.heartbeat("c", 2), ErrorCode::IllegalGeneration);
    let joined = bench.join(classic_join("c", &[])).unwrap();
    assert_eq!((joined.error, joined.leader.as_str()), (None, "c"));
    assert_eq!(joined.members.len(), 1, "it assigns");
}

#[test]
fn a_cooperative_member_has_what_it_had_until_it_sees_its_assignment() {
    let mut bench = Bench::classic();
    let d = Join {
        new_member: Str::from("d"),
        ..classic_join("", &[])
    };
    assert_eq!(bench.join(d), None);
    let c = bench.join(classic_join("c", &[0, 1, 2, 3, 4, 5])).unwrap();
    assert_eq!((c.error, c.generation), (None, 2));
    // Both are to sync: c is to give up three partitions, which nobody gets in this generation.
    let sync = Sync {
        group: Str::from("g"),
        generation: 2,
        member: Str::from("d"),
        ..Sync::default()
    };
    assert_eq!(bench.ask(|t| Event::Sync(t, sync)), None);
    let lost = bench.sync("c", 2, &[("c", assignment(0..3)), ("d", Bytes::new())]);
    assert_eq!(lost.error, None);
    // The answer got lost: it still has all of them.
    let a = bench.beat(joins("a")).unwrap();
    assert_eq!(a.assignment, Some(Partitions::new()));
    let c = &bench.group().members[1];
    assert_eq!(c.assignment, held(1, &[0, 1, 2, 3, 4, 5]));
}

#[test]
fn whoever_was_thrown_out_gives_up_what_it_had_before_it_joins_again() {
    let mut bench = Bench::classic();
    bench.beat(joins("a")).unwrap();
    bench.advance(10_001);
    assert_eq!(bench.group().members.len(), 1, "c was not heard of");
    let a = bench.alive("a", 2).unwrap();
    assert_eq!(a.assignment, Some(held(1, &[0, 1, 2, 3, 4, 5])));
    let joined = bench.join(classic_join("c", &[0, 1, 2, 3, 4, 5])).unwrap();
    assert_eq!(joined.error, Some(ErrorCode::UnknownMemberId));
    let joined = bench.join(classic_join("c", &[])).unwrap();
    assert_eq!(joined.error, None);
}
