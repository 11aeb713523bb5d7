//! What the assignors promise, over random groups.

use proptest::prelude::*;

use super::*;

type Group = (Vec<i32>, Vec<(BTreeSet<usize>, Option<u8>)>);

fn topic(at: usize) -> Uuid {
    Uuid::from_u128(u128::try_from(at).unwrap() + 1)
}

fn group(same: bool) -> impl Strategy<Value = Group> {
    prop::collection::vec(0i32..9, 1..6).prop_flat_map(move |counts| {
        let n = counts.len();
        let subscription = prop::collection::btree_set(0..n, 0..=n);
        let members = prop::collection::vec((subscription, prop::option::of(0u8..20)), 1..8)
            .prop_map(move |mut members| {
                let first = members[0].0.clone();
                for (at, member) in members.iter_mut().enumerate() {
                    if same {
                        member.0 = first.clone();
                    }
                    // Instance ids are unique.
                    member.1 = member
                        .1
                        .filter(|_| at % 2 == 0)
                        .map(|_| u8::try_from(at).unwrap());
                }
                members
            });
        (Just(counts), members)
    })
}

fn assign(
    assignor: Assignor,
    group: &Group,
    current: &BTreeMap<Str, Partitions>,
) -> BTreeMap<Str, Partitions> {
    let nothing = Partitions::new();
    let instances: Vec<Option<Str>> = group
        .1
        .iter()
        .map(|(_, i)| i.map(|i| Str::from(format!("i{i}"))))
        .collect();
    let mut subjects = Subjects::default();
    for (at, (topics, _)) in group.1.iter().enumerate() {
        let id = Str::from(format!("m{at}"));
        let subject = Subject {
            instance: instances[at].as_ref(),
            topics: topics.iter().map(|t| topic(*t)).collect(),
            current: current.get(&id).unwrap_or(&nothing),
        };
        for t in topics {
            subjects.counts.insert(topic(*t), group.0[*t]);
        }
        subjects.members.insert(id, subject);
    }
    let assigned = assignor.assign(&subjects);
    assert_eq!(assigned, assignor.assign(&subjects));
    let mut owners = BTreeMap::new();
    for (member, partitions) in &assigned {
        for (topic, partitions) in partitions {
            assert!(!partitions.is_empty());
            for partition in partitions {
                assert!(subjects.may_have(&subjects.members[member], topic, *partition));
                assert!(
                    owners
                        .insert((*topic, *partition), member.clone())
                        .is_none()
                );
            }
        }
    }
    let all: i32 = subjects.counts.values().sum();
    assert_eq!(
        owners.len(),
        usize::try_from(all).unwrap(),
        "all are assigned"
    );
    assert_eq!(assigned.len(), subjects.members.len());
    assigned
}

fn sizes(assigned: &BTreeMap<Str, Partitions>) -> Vec<usize> {
    assigned
        .values()
        .map(|p| p.values().map(BTreeSet::len).sum())
        .collect()
}

fn moved(before: &BTreeMap<Str, Partitions>, after: &BTreeMap<Str, Partitions>) -> usize {
    let lost = |(member, old): (&Str, &Partitions)| -> usize {
        old.iter()
            .flat_map(|(t, partitions)| partitions.iter().map(move |p| (t, p)))
            .filter(|(t, p)| {
                !after
                    .get(member)
                    .is_some_and(|new| new.get(*t).is_some_and(|n| n.contains(p)))
            })
            .count()
    };
    before.iter().map(lost).sum()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn uniform_is_balanced_and_moves_no_more_than_it_must(
        group in group(true),
        newcomers in 0usize..3,
    ) {
        let first = assign(Assignor::Uniform, &group, &BTreeMap::new());
        let spread = |a: &BTreeMap<Str, Partitions>| {
            let sizes = sizes(a);
            sizes.iter().max().unwrap() - sizes.iter().min().unwrap()
        };
        prop_assert!(spread(&first) <= 1);
        prop_assert_eq!(&assign(Assignor::Uniform, &group, &first), &first);
        let mut more = group;
        for _ in 0..newcomers {
            more.1.push((more.1[0].0.clone(), None));
        }
        let second = assign(Assignor::Uniform, &more, &first);
        prop_assert!(spread(&second) <= 1);
        // What moved is what the newcomers got.
        let got: usize = sizes(&second.clone().into_iter().filter(|(m, _)| !first.contains_key(m)).collect())
            .iter()
            .sum();
        prop_assert_eq!(moved(&first, &second), got);
    }

    #[test]
    fn uniform_evens_out_different_subscriptions(group in group(false), gone in any::<prop::sample::Index>()) {
        let first = assign(Assignor::Uniform, &group, &BTreeMap::new());
        prop_assert_eq!(&assign(Assignor::Uniform, &group, &first), &first);
        let total = |m: &Str, a: &BTreeMap<Str, Partitions>| -> usize {
            a[m].values().map(BTreeSet::len).sum()
        };
        for (owner, partitions) in &first {
            for t in partitions.keys() {
                for (at, (topics, _)) in group.1.iter().enumerate() {
                    let other = Str::from(format!("m{at}"));
                    if topics.iter().any(|i| topic(*i) == *t) {
                        prop_assert!(total(owner, &first) <= total(&other, &first) + 1);
                    }
                }
            }
        }
        // Whoever is left keeps what it had.
        let mut less = group;
        let at = gone.index(less.1.len());
        less.1[at].0.clear();
        let second = assign(Assignor::Uniform, &less, &first);
        let leaver = Str::from(format!("m{at}"));
        let lost = total(&leaver, &first);
        let all: usize = sizes(&first).iter().sum();
        prop_assert!(moved(&first, &second) <= all.max(lost));
    }

    #[test]
    fn range_deals_out_rows(group in prop_oneof![group(true), group(false)]) {
        let assigned = assign(Assignor::Range, &group, &BTreeMap::new());
        for partitions in assigned.values().flat_map(BTreeMap::values) {
            let row: Vec<i32> = partitions.iter().copied().collect();
            let (first, last) = (row[0], row[row.len() - 1]);
            prop_assert_eq!(row, (first..=last).collect::<Vec<_>>());
        }
        for (at, count) in group.0.iter().enumerate() {
            let subscribers = group.1.iter().filter(|(topics, _)| topics.contains(&at)).count();
            for partitions in assigned.values().filter_map(|a| a.get(&topic(at))) {
                let fair = usize::try_from(*count).unwrap().div_ceil(subscribers.max(1));
                prop_assert!(partitions.len() <= fair);
            }
        }
    }
}

fn held(of: &[(usize, &[i32])]) -> Partitions {
    of.iter()
        .map(|(t, p)| (topic(*t), p.iter().copied().collect()))
        .collect()
}

/// The example of the documentation of Kafka's range assignor.
#[test]
fn range_as_in_kafka() {
    let both = BTreeSet::from([0, 1]);
    let group = (vec![3, 3], vec![(both.clone(), None), (both, None)]);
    let assigned = assign(Assignor::Range, &group, &BTreeMap::new());
    assert_eq!(assigned["m0"], held(&[(0, &[0, 1]), (1, &[0, 1])]));
    assert_eq!(assigned["m1"], held(&[(0, &[2]), (1, &[2])]));
}

#[test]
fn static_members_come_first() {
    let one = BTreeSet::from([0]);
    let group = (
        vec![3],
        vec![(one.clone(), None), (one.clone(), Some(9)), (one, Some(1))],
    );
    let assigned = assign(Assignor::Range, &group, &BTreeMap::new());
    assert_eq!(assigned["m2"], held(&[(0, &[0])]));
    assert_eq!(assigned["m1"], held(&[(0, &[1])]));
    assert_eq!(assigned["m0"], held(&[(0, &[2])]));
}

#[test]
fn names_are_kafkas() {
    assert_eq!(Assignor::named("uniform"), Some(Assignor::Uniform));
    assert_eq!(Assignor::named("range"), Some(Assignor::Range));
    assert_eq!(Assignor::named("sticky"), None);
    assert_eq!(Assignor::Range.name(), "range");
}
