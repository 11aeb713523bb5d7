use std::collections::{BTreeMap, BTreeSet, HashMap};

use proptest::prelude::*;

use super::*;

fn counts(list: &[(&str, i32)]) -> PartitionCounts {
    list.iter().map(|(t, n)| (Arc::from(*t), *n)).collect()
}

fn member(id: &str, topics: &[&str]) -> GroupMember {
    GroupMember {
        member_id: id.to_owned(),
        topics: topics.iter().map(|t| (*t).to_owned()).collect(),
        generation_id: -1,
        ..GroupMember::default()
    }
}

fn names(result: &BTreeMap<String, Assignment>, member: &str) -> Vec<String> {
    let mut list: Vec<String> = result[member]
        .partitions
        .iter()
        .map(ToString::to_string)
        .collect();
    list.sort();
    list
}

#[test]
fn range_keeps_equal_partitions_of_two_topics_together() {
    let result = RangeAssignor
        .assign(
            &counts(&[("t0", 3), ("t1", 3)]),
            &[member("a", &["t0", "t1"]), member("b", &["t0", "t1"])],
        )
        .unwrap();
    assert_eq!(names(&result, "a"), ["t0-0", "t0-1", "t1-0", "t1-1"]);
    assert_eq!(names(&result, "b"), ["t0-2", "t1-2"]);
}

#[test]
fn round_robin_deals_across_topics() {
    let result = RoundRobinAssignor
        .assign(
            &counts(&[("t0", 3), ("t1", 3)]),
            &[member("a", &["t0", "t1"]), member("b", &["t0", "t1"])],
        )
        .unwrap();
    assert_eq!(names(&result, "a"), ["t0-0", "t0-2", "t1-1"]);
    assert_eq!(names(&result, "b"), ["t0-1", "t1-0", "t1-2"]);
}

#[test]
fn static_members_keep_their_place_under_a_new_member_id() {
    let mut a = member("zzz", &["t"]);
    a.group_instance_id = Some("1".into());
    let mut b = member("bbb", &["t"]);
    b.group_instance_id = Some("2".into());
    let first = RangeAssignor
        .assign(&counts(&[("t", 2)]), &[a.clone(), b.clone()])
        .unwrap();
    assert_eq!(names(&first, "zzz"), ["t-0"]);
    a.member_id = "aaa".into();
    b.member_id = "000".into();
    let second = RangeAssignor.assign(&counts(&[("t", 2)]), &[a, b]).unwrap();
    assert_eq!(names(&second, "aaa"), ["t-0"]);
}

#[test]
fn two_claims_of_one_generation_void_each_other() {
    let p = TopicPartition::new("t", 0);
    let mut a = member("a", &["t"]);
    a.owned_partitions = vec![p.clone()];
    a.generation_id = 3;
    let mut b = a.clone();
    b.member_id = "b".into();
    let result = CooperativeStickyAssignor
        .assign(&counts(&[("t", 1)]), &[a.clone(), b.clone()])
        .unwrap();
    assert_eq!(names(&result, "a"), ["t-0"]);
    b.generation_id = 4;
    let result = CooperativeStickyAssignor
        .assign(&counts(&[("t", 1)]), &[a, b])
        .unwrap();
    assert_eq!(names(&result, "b"), ["t-0"]);
}

/// Members after they took an assignment: they own it, and gave up the rest.
fn settle(members: &mut [GroupMember], partitions: &PartitionCounts, generation: &mut i32) -> u32 {
    let mut moved = 0;
    for round in 0.. {
        assert!(
            round < 3,
            "cooperative rebalances must settle in two rounds"
        );
        let result = CooperativeStickyAssignor
            .assign(partitions, members)
            .unwrap();
        *generation += 1;
        let owner: HashMap<TopicPartition, String> = members
            .iter()
            .flat_map(|m| {
                m.owned_partitions
                    .iter()
                    .map(|p| (p.clone(), m.member_id.clone()))
            })
            .collect();
        let mut again = false;
        for member in members.iter_mut() {
            let new = &result[&member.member_id].partitions;
            for p in new {
                let held = owner.get(p);
                assert!(
                    held.is_none_or(|o| *o == member.member_id),
                    "{p} was given away while {held:?} had it"
                );
            }
            let lost = member
                .owned_partitions
                .iter()
                .filter(|p| !new.contains(p))
                .count();
            again |= lost > 0;
            moved += u32::try_from(lost).unwrap();
            member.owned_partitions = new.clone();
            member.generation_id = *generation;
        }
        if !again {
            break;
        }
    }
    moved
}

fn loads(members: &[GroupMember]) -> Vec<usize> {
    members.iter().map(|m| m.owned_partitions.len()).collect()
}

proptest! {
    #[test]
    fn every_assignor_gives_each_wanted_partition_to_exactly_one_who_wants_it(
        topics in prop::collection::vec(0i32..9, 1..4),
        wants in prop::collection::vec(prop::collection::btree_set(0usize..4, 0..4), 1..6),
    ) {
        let partitions: PartitionCounts = topics
            .iter()
            .enumerate()
            .map(|(i, n)| (Arc::from(format!("t{i}")), *n))
            .collect();
        let members: Vec<GroupMember> = wants
            .iter()
            .enumerate()
            .map(|(i, wants)| {
                let topics: Vec<String> = wants.iter().map(|t| format!("t{t}")).collect();
                let topics: Vec<&str> = topics.iter().map(String::as_str).collect();
                member(&format!("m{i}"), &topics)
            })
            .collect();
        let assignors: [&dyn PartitionAssignor; 3] =
            [&RangeAssignor, &RoundRobinAssignor, &CooperativeStickyAssignor];
        for assignor in assignors {
            let result = assignor.assign(&partitions, &members).unwrap();
            prop_assert_eq!(result.len(), members.len());
            let mut seen = BTreeSet::new();
            for m in &members {
                for p in &result[&m.member_id].partitions {
                    prop_assert!(m.topics.iter().any(|t| **t == *p.topic));
                    prop_assert!(p.partition < partitions[&p.topic]);
                    prop_assert!(seen.insert(p.clone()), "{} twice", p);
                }
            }
            let wanted: usize = partitions
                .iter()
                .filter(|(t, _)| members.iter().any(|m| m.topics.iter().any(|w| **w == ***t)))
                .map(|(_, n)| usize::try_from(*n).unwrap())
                .sum();
            prop_assert_eq!(seen.len(), wanted, "{}", assignor.name());
        }
    }

    #[test]
    fn sticky_stays_balanced_and_moves_no_more_than_it_must(
        counts in prop::collection::vec(1i32..12, 1..4),
        start in 1usize..6,
        steps in prop::collection::vec((any::<bool>(), 0usize..6), 1..8),
    ) {
        let partitions: PartitionCounts = counts
            .iter()
            .enumerate()
            .map(|(i, n)| (Arc::from(format!("t{i}")), *n))
            .collect();
        let topics: Vec<String> = partitions.keys().map(|t| t.to_string()).collect();
        let topics: Vec<&str> = topics.iter().map(String::as_str).collect();
        let total: usize = counts.iter().map(|n| usize::try_from(*n).unwrap()).sum();
        let mut generation = 0;
        let mut next = start;
        let mut members: Vec<GroupMember> =
            (0..start).map(|i| member(&format!("m{i}"), &topics)).collect();
        prop_assert_eq!(settle(&mut members, &partitions, &mut generation), 0);
        for (join, who) in steps {
            let before = loads(&members);
            if join {
                members.push(member(&format!("m{next}"), &topics));
                next += 1;
                let moved = settle(&mut members, &partitions, &mut generation);
                // Who joins gets its share and nothing else moves.
                let floor = total / members.len();
                let must: usize = before
                    .iter()
                    .map(|b| b.saturating_sub(total.div_ceil(members.len())))
                    .sum();
                prop_assert!(usize::try_from(moved).unwrap() <= floor.max(must), "{moved}");
            } else if members.len() > 1 {
                members.remove(who % members.len());
                prop_assert_eq!(settle(&mut members, &partitions, &mut generation), 0);
            }
            let after = loads(&members);
            prop_assert_eq!(after.iter().sum::<usize>(), total);
            let (least, most) = (after.iter().min().unwrap(), after.iter().max().unwrap());
            prop_assert!(most - least <= 1, "{after:?}");
            // Nothing moves when nothing changes.
            prop_assert_eq!(settle(&mut members, &partitions, &mut generation), 0);
        }
    }
}
