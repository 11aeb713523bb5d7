//! The `range` assignor: of each topic, every subscriber gets a row of partitions, the first ones one
//! more if they do not divide evenly. Static members come first, by instance id, so that they get
//! the same rows whatever their member ids are.

use std::collections::BTreeMap;

use super::{Partitions, Subject, Subjects};
use crate::wire::Str;

pub(super) fn assign(subjects: &Subjects<'_>) -> BTreeMap<Str, Partitions> {
    let mut members: Vec<(&Str, &Subject<'_>)> = subjects.members.iter().collect();
    members.sort_by_key(|(id, m)| (m.instance.is_none(), m.instance.cloned(), (*id).clone()));
    let mut assigned: BTreeMap<Str, Partitions> = members
        .iter()
        .map(|(id, _)| ((*id).clone(), Partitions::new()))
        .collect();
    for (topic, count) in &subjects.counts {
        let subscribers: Vec<&Str> = members
            .iter()
            .filter(|(_, m)| m.topics.contains(topic))
            .map(|(id, _)| *id)
            .collect();
        let total = i32::try_from(subscribers.len()).unwrap_or(i32::MAX);
        let (Some(quota), Some(extra)) = (count.checked_div(total), count.checked_rem(total))
        else {
            continue;
        };
        let mut start = 0;
        for (at, id) in (0i32..).zip(subscribers) {
            let end = start + quota + i32::from(at < extra);
            if start < end
                && let Some(partitions) = assigned.get_mut(id)
            {
                partitions.insert(*topic, (start..end).collect());
            }
            start = end;
        }
    }
    assigned
}
