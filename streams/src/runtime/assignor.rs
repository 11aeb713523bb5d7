//! Who runs which task.
//!
//! All members agree on the topology, so a task's partitions follow from its id: the
//! assignor hands out tasks, evenly, to the member that had them, or else to one
//! whose process has their state on disk. It is a pure function of what members say.

use crate::task::TaskId;
use crate::topology::Plan;
use bytes::Bytes;
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use thalweg_log::client::{
    Assignment, ClientError, GroupMember, GroupMetadata, PartitionAssignor, PartitionCounts,
    TopicPartition,
};
use uuid::Uuid;

/// The name members agree on.
pub(crate) const NAME: &str = "thalweg-streams";

const VERSION: u8 = 1;

/// Hands tasks to the members of a job's group.
#[derive(Debug)]
pub(crate) struct TaskAssignor {
    process: Uuid,
    /// The topics of each sub-topology with their partition counts.
    sources: BTreeMap<u32, Vec<(Arc<str>, i32)>>,
    /// The tasks this member had last.
    previous: Mutex<BTreeSet<TaskId>>,
    /// The tasks whose state is on this process's disk.
    on_disk: BTreeSet<TaskId>,
}

/// What a member tells the leader.
#[derive(Debug, Default, PartialEq, Eq)]
struct MemberInfo {
    process: Uuid,
    previous: BTreeSet<TaskId>,
    on_disk: BTreeSet<TaskId>,
}

impl MemberInfo {
    fn encode(&self) -> Bytes {
        let mut out = vec![VERSION];
        out.extend_from_slice(self.process.as_bytes());
        for tasks in [&self.previous, &self.on_disk] {
            out.extend_from_slice(&(tasks.len() as u32).to_be_bytes());
            for task in tasks {
                out.extend_from_slice(&task.sub_topology.to_be_bytes());
                out.extend_from_slice(&task.partition.to_be_bytes());
            }
        }
        out.into()
    }

    /// What of it can be read: a member that says less still gets tasks.
    fn decode(mut input: &[u8]) -> Self {
        let mut info = Self::default();
        let mut read = || {
            let (version, rest) = input.split_first()?;
            if *version != VERSION {
                return None;
            }
            let (process, rest) = rest.split_first_chunk::<16>()?;
            info.process = Uuid::from_bytes(*process);
            input = rest;
            for tasks in [&mut info.previous, &mut info.on_disk] {
                let (count, mut rest) = input.split_first_chunk::<4>()?;
                for _ in 0..u32::from_be_bytes(*count) {
                    let (sub_topology, more) = rest.split_first_chunk::<4>()?;
                    let (partition, more) = more.split_first_chunk::<4>()?;
                    rest = more;
                    tasks.insert(TaskId {
                        sub_topology: u32::from_be_bytes(*sub_topology),
                        partition: i32::from_be_bytes(*partition),
                    });
                }
                input = rest;
            }
            Some(())
        };
        let _ = read();
        info
    }
}

impl TaskAssignor {
    pub(crate) fn new(plan: &Plan, process: Uuid, on_disk: Vec<TaskId>) -> Self {
        let sources = plan.sub_topologies.iter().map(|sub| {
            let topics = sub.sources.iter();
            let topics = topics.map(|s| (Arc::clone(&s.topic), s.partitions));
            (sub.id, topics.collect())
        });
        Self {
            process,
            sources: sources.collect(),
            previous: Mutex::default(),
            on_disk: on_disk.into_iter().collect(),
        }
    }

    /// The partitions that a task reads.
    pub(crate) fn partitions(&self, task: TaskId) -> Vec<TopicPartition> {
        let topics = self.sources.get(&task.sub_topology);
        topics
            .into_iter()
            .flatten()
            .filter(|(_, partitions)| task.partition < *partitions)
            .map(|(topic, _)| TopicPartition::new(Arc::clone(topic), task.partition))
            .collect()
    }

    /// The tasks that read these partitions.
    pub(crate) fn tasks<'a>(
        &self,
        partitions: impl IntoIterator<Item = &'a TopicPartition>,
    ) -> BTreeSet<TaskId> {
        let mut tasks = BTreeSet::new();
        for partition in partitions {
            for (sub_topology, topics) in &self.sources {
                if topics.iter().any(|(topic, _)| *topic == partition.topic) {
                    tasks.insert(TaskId {
                        sub_topology: *sub_topology,
                        partition: partition.partition,
                    });
                }
            }
        }
        tasks
    }

    fn all_tasks(&self) -> BTreeSet<TaskId> {
        let mut tasks = BTreeSet::new();
        for (sub_topology, topics) in &self.sources {
            let count = topics.iter().map(|(_, n)| *n).max().unwrap_or(0);
            tasks.extend((0..count).map(|partition| TaskId {
                sub_topology: *sub_topology,
                partition,
            }));
        }
        tasks
    }
}

/// Gives each task to one of the members: those that had it, then those that have its
/// state, then whoever has least; nobody gets more than one task more than another.
fn distribute(tasks: &BTreeSet<TaskId>, members: &[MemberInfo]) -> Vec<BTreeSet<TaskId>> {
    let mut given: Vec<BTreeSet<TaskId>> = members.iter().map(|_| BTreeSet::new()).collect();
    if members.is_empty() {
        return given;
    }
    let floor = tasks.len() / members.len();
    let mut extra = tasks.len() % members.len();
    let mut open: BTreeSet<TaskId> = tasks.clone();
    let wants: [fn(&MemberInfo, &TaskId) -> bool; 2] = [
        |member, task| member.previous.contains(task),
        |member, task| member.on_disk.contains(task),
    ];
    for wants in wants {
        for task in open.clone() {
            // Of several that may have it, the one with least.
            let taker = members
                .iter()
                .zip(&mut given)
                .filter(|(member, _)| wants(member, &task))
                .map(|(_, has)| has)
                .min_by_key(|has| has.len());
            if let Some(has) = taker {
                let full = has.len() >= floor;
                if full && (extra == 0 || has.len() > floor) {
                    continue;
                }
                extra -= usize::from(full);
                has.insert(task);
                open.remove(&task);
            }
        }
    }
    for task in open {
        if let Some(has) = given.iter_mut().min_by_key(|has| has.len()) {
            has.insert(task);
        }
    }
    given
}

impl PartitionAssignor for TaskAssignor {
    fn name(&self) -> &str {
        NAME
    }

    fn user_data(&self, _topics: &[String]) -> Option<Bytes> {
        let info = MemberInfo {
            process: self.process,
            previous: self.previous.lock().clone(),
            on_disk: self.on_disk.clone(),
        };
        Some(info.encode())
    }

    fn assign(
        &self,
        _partitions: &PartitionCounts,
        members: &[GroupMember],
    ) -> Result<BTreeMap<String, Assignment>, ClientError> {
        let mut members: Vec<&GroupMember> = members.iter().collect();
        members.sort_by(|a, b| a.sort_key().cmp(&b.sort_key()));
        let infos: Vec<_> = members
            .iter()
            .map(|member| MemberInfo::decode(member.user_data.as_deref().unwrap_or_default()))
            .collect();
        let given = distribute(&self.all_tasks(), &infos);
        let assignments = members.iter().zip(given).map(|(member, tasks)| {
            let partitions = tasks.into_iter().flat_map(|task| self.partitions(task));
            let assignment = Assignment {
                partitions: partitions.collect(),
                user_data: None,
            };
            (member.member_id.clone(), assignment)
        });
        Ok(assignments.collect())
    }

    fn on_assignment(&self, assignment: &Assignment, _group: &GroupMetadata) {
        *self.previous.lock() = self.tasks(&assignment.partitions);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn task(partition: i32) -> TaskId {
        TaskId {
            sub_topology: 0,
            partition,
        }
    }

    fn member(previous: &[i32], on_disk: &[i32]) -> MemberInfo {
        MemberInfo {
            process: Uuid::nil(),
            previous: previous.iter().copied().map(task).collect(),
            on_disk: on_disk.iter().copied().map(task).collect(),
        }
    }

    #[test]
    fn what_members_say_survives_and_garbage_says_nothing() {
        let info = member(&[1, 2], &[0]);
        let bytes = info.encode();
        assert_eq!(MemberInfo::decode(&bytes), info);
        assert_eq!(MemberInfo::decode(b"\x09x"), MemberInfo::default());
        let _ = MemberInfo::decode(&bytes[..bytes.len() - 3]);
    }

    #[test]
    fn state_on_disk_attracts_tasks() {
        let tasks = (0..4).map(task).collect();
        let given = distribute(&tasks, &[member(&[], &[]), member(&[], &[0, 1])]);
        assert_eq!(given[1], [task(0), task(1)].into());
    }

    proptest! {
        #[test]
        fn tasks_are_spread_evenly_and_stay_where_they_are(
            count in 0i32..30,
            first in 1usize..6,
            second in 1usize..6,
        ) {
            let tasks: BTreeSet<TaskId> = (0..count).map(task).collect();
            let nobody = |n: usize| (0..n).map(|_| member(&[], &[])).collect::<Vec<_>>();
            let before = distribute(&tasks, &nobody(first));
            let mut members = nobody(second);
            for (member, had) in members.iter_mut().zip(&before) {
                member.previous = had.clone();
            }
            let after = distribute(&tasks, &members);
            for given in [&before, &after] {
                let sizes: Vec<_> = given.iter().map(BTreeSet::len).collect();
                let most = sizes.iter().max().copied().unwrap_or(0);
                let least = sizes.iter().min().copied().unwrap_or(0);
                prop_assert!(most - least <= 1, "{sizes:?}");
                let all: BTreeSet<TaskId> = given.iter().flatten().copied().collect();
                prop_assert_eq!(&all, &tasks);
                prop_assert_eq!(sizes.iter().sum::<usize>(), tasks.len());
            }
            if first == second {
                prop_assert_eq!(before, after);
            }
        }
    }
}
