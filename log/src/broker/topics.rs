//! Creating topics: what a request may ask for, and the command it becomes.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;

use uuid::Uuid;

use super::core::{Core, ProposeError};
use super::replicas::{METADATA_TOPIC, OFFSETS_TOPIC, TRANSACTIONS_TOPIC};
use crate::config::topic_config;
use crate::controller::{Command, MetadataImage};
use crate::wire::{ErrorCode, Str};

/// The longest topic name.
const MAX_NAME: usize = 249;

/// The most partitions that one request may create.
const MAX_PARTITIONS: i32 = 10_000;

/// What a client is told: a code and a text.
pub(crate) type Refused = (ErrorCode, String);

/// What a client is told of what it asked for: a code, and a text where it is refused.
pub(crate) fn told<T>(result: Result<T, Refused>) -> (i16, Option<Str>) {
    match result {
        Ok(_) => (ErrorCode::None.code(), None),
        Err((code, message)) => (code.code(), Some(Str::from(message))),
    }
}

/// Each thing that a request asks for once, the first of those with the same key, and whether there were more.
pub(crate) fn once<T, K: Hash + Eq>(asked: Vec<T>, key: impl Fn(&T) -> K) -> Vec<(T, bool)> {
    let mut all: Vec<(T, bool)> = Vec::with_capacity(asked.len());
    let mut known: HashMap<K, usize> = HashMap::with_capacity(asked.len());
    for asked in asked {
        match known.entry(key(&asked)) {
            Entry::Vacant(new) => {
                new.insert(all.len());
                all.push((asked, false));
            }
            Entry::Occupied(at) => {
                if let Some((_, twice)) = all.get_mut(*at.get()) {
                    *twice = true;
                }
            }
        }
    }
    all
}

/// What is answered for a topic that a request names more than once.
pub(crate) fn named_twice(name: &str) -> Refused {
    let message = format!("The request names topic '{name}' twice.");
    (ErrorCode::InvalidRequest, message)
}

/// A topic to create.
#[derive(Debug, Clone, Default)]
pub(crate) struct NewTopic {
    pub(crate) name: String,
    /// -1: the broker's default.
    pub(crate) partitions: i32,
    /// -1: the broker's default.
    pub(crate) replication_factor: i16,
    /// Given by hand instead: replicas by partition.
    pub(crate) assignment: Vec<(i32, Vec<i32>)>,
    pub(crate) configs: Vec<(String, Option<String>)>,
}

/// Checks a topic name.
pub(crate) fn check_name(name: &str) -> Result<(), Refused> {
    let refuse = |why: String| Err((ErrorCode::InvalidTopicException, why));
    if name.is_empty() {
        return refuse("Topic name is invalid: the empty string is not allowed".to_owned());
    }
    if name == "." || name == ".." {
        return refuse(format!("Topic name is invalid: '{name}' is not allowed"));
    }
    if name.len() > MAX_NAME {
        return refuse(format!(
            "Topic name is invalid: the length of '{name}' is longer than the max allowed length {MAX_NAME}"
        ));
    }
    if !name
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
    {
        return refuse(format!(
            "Topic name is invalid: '{name}' contains one or more characters other than ASCII alphanumerics, '.', '_' and '-'"
        ));
    }
    Ok(())
}

/// Whether a topic is the broker's own business.
pub(crate) fn is_internal(name: &str) -> bool {
    name == OFFSETS_TOPIC || name == TRANSACTIONS_TOPIC
}

impl NewTopic {
    /// Checks everything and gives the command that creates the topic under a new id.
    pub(crate) fn command(self, core: &Core, image: &MetadataImage) -> Result<Command, Refused> {
        if self.name == METADATA_TOPIC {
            return Err((
                ErrorCode::InvalidRequest,
                format!("The topic '{}' is the controller's own.", self.name),
            ));
        }
        check_name(&self.name)?;
        if image.topic(&self.name).is_some() {
            return Err((
                ErrorCode::TopicAlreadyExists,
                format!("Topic '{}' already exists.", self.name),
            ));
        }
        let flat = self.name.replace('.', "_");
        if let Some(like) = image.topics().find(|t| t.name.replace('.', "_") == flat) {
            return Err((
                ErrorCode::InvalidTopicException,
                format!(
                    "Topic '{}' collides with existing topic: {}",
                    self.name, like.name
                ),
            ));
        }
        let mut configs = BTreeMap::new();
        for (key, value) in &self.configs {
            let Some(value) = value else {
                return Err((
                    ErrorCode::InvalidConfig,
                    format!("Null value not supported for topic configs: {key}"),
                ));
            };
            configs.insert(key.clone(), value.clone());
        }
        topic_config(&core.live(), Some(&configs))
            .map_err(|e| (super::codes::topic_config(&e), e.to_string()))?;
        let brokers: Vec<i32> = image.brokers().map(|b| b.id).collect();
        let assignment = self.assign(core, image, &brokers)?;
        Ok(Command::CreateTopic {
            name: self.name,
            id: Uuid::new_v4(),
            assignment,
            configs: configs.into_iter().collect(),
        })
    }

    fn assign(
        &self,
        core: &Core,
        image: &MetadataImage,
        brokers: &[i32],
    ) -> Result<Vec<Vec<i32>>, Refused> {
        if !self.assignment.is_empty() {
            if self.partitions != -1 || self.replication_factor != -1 {
                return Err((
                    ErrorCode::InvalidRequest,
                    "Both numPartitions or replicationFactor and replicasAssignments were set. Both cannot be used at the same time.".to_owned(),
                ));
            }
            let mut by_partition: Vec<_> = self.assignment.clone();
            by_partition.sort_by_key(|(index, _)| *index);
            if by_partition
                .iter()
                .enumerate()
                .any(|(i, (index, _))| i32::try_from(i) != Ok(*index))
            {
                return Err((
                    ErrorCode::InvalidReplicaAssignment,
                    "Partitions must be numbered from 0 without gaps or duplicates.".to_owned(),
                ));
            }
            let assignment: Vec<_> = by_partition
                .into_iter()
                .map(|(_, replicas)| replicas)
                .collect();
            let factor = assignment.first().map(Vec::len).unwrap_or_default();
            check_assignment(image, &assignment, factor)?;
            return Ok(assignment);
        }
        let factor = match self.replication_factor {
            -1 => core.settings.replication_factor,
            n => n,
        };
        if factor < 1 {
            return Err((
                ErrorCode::InvalidReplicationFactor,
                "Replication factor must be larger than 0, or -1 to use the default value."
                    .to_owned(),
            ));
        }
        let partitions = match self.partitions {
            -1 => core.settings.num_partitions,
            n if n < 1 => {
                return Err((
                    ErrorCode::InvalidPartitions,
                    "Number of partitions was set to an invalid non-positive value.".to_owned(),
                ));
            }
            n if n > MAX_PARTITIONS => {
                return Err((
                    ErrorCode::PolicyViolation,
                    format!(
                        "{n} partitions were asked for; at most {MAX_PARTITIONS} are created at once."
                    ),
                ));
            }
            n => n,
        };
        let known = brokers.len();
        match usize::try_from(factor) {
            Ok(n) if n <= known => Ok(spread(brokers, partitions, n)),
            _ => Err((
                ErrorCode::InvalidReplicationFactor,
                format!(
                    "Unable to replicate the partition {factor} time(s): The target replication factor of {factor} cannot be reached because only {known} broker(s) are registered."
                ),
            )),
        }
    }
}

/// Checks replicas that were given by hand: registered brokers, each once, and as many as in the other partitions.
pub(crate) fn check_assignment(
    image: &MetadataImage,
    assignment: &[Vec<i32>],
    factor: usize,
) -> Result<(), Refused> {
    let refuse = |why: String| Err((ErrorCode::InvalidReplicaAssignment, why));
    for replicas in assignment {
        if replicas.is_empty() {
            return refuse("The assignment of a partition names no replica.".to_owned());
        }
        for (i, id) in replicas.iter().enumerate() {
            if image.broker(*id).is_none() {
                return refuse(format!(
                    "The assignment names broker {id}, which is not registered."
                ));
            }
            if replicas.iter().take(i).any(|other| other == id) {
                return refuse(format!("The assignment names broker {id} more than once."));
            }
        }
        if replicas.len() != factor {
            return refuse(format!(
                "The assignment has a partition with {} replica(s), where others have {factor}.",
                replicas.len()
            ));
        }
    }
    Ok(())
}

/// Replicas round robin over the brokers.
pub(crate) fn spread(brokers: &[i32], partitions: i32, factor: usize) -> Vec<Vec<i32>> {
    (0..usize::try_from(partitions).unwrap_or(0))
        .map(|p| {
            brokers
                .iter()
                .cycle()
                .skip(p % brokers.len().max(1))
                .take(factor)
                .copied()
                .collect()
        })
        .collect()
}

/// Creates a topic; another creation of the same name at the same time is as good.
pub(crate) async fn create_if_missing(core: &Core, topic: NewTopic) -> Result<(), Refused> {
    let image = core.image();
    let command = match topic.command(core, &image) {
        Ok(command) => command,
        Err((ErrorCode::TopicAlreadyExists, _)) => {
            core.replicas
                .wait_applied(crate::controller::Quorum::image(&core.quorum).end)
                .await;
            return Ok(());
        }
        Err(refused) => return Err(refused),
    };
    match core.propose(command).await {
        Ok(_) => Ok(()),
        Err(ProposeError::Refused(crate::controller::Refusal::TopicExists(_))) => {
            core.replicas
                .wait_applied(crate::controller::Quorum::image(&core.quorum).end)
                .await;
            Ok(())
        }
        Err(e) => Err((e.code(), e.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for good in ["a", "A.b_c-9", &"x".repeat(249)] {
            assert!(check_name(good).is_ok(), "{good}");
        }
        for bad in ["", ".", "..", "a b", "ä", "a/b", &"x".repeat(250)] {
            assert_eq!(
                check_name(bad).unwrap_err().0,
                ErrorCode::InvalidTopicException,
                "{bad}"
            );
        }
    }

    #[test]
    fn each_is_asked_once() {
        let asked = vec![("b", 1), ("a", 2), ("b", 3), ("b", 4)];
        let all = once(asked, |(name, _)| *name);
        assert_eq!(all, [(("b", 1), true), (("a", 2), false)]);
    }

    #[test]
    fn replicas_are_spread() {
        assert_eq!(spread(&[1], 2, 1), [[1], [1]]);
        assert_eq!(spread(&[1, 2, 3], 4, 2), [[1, 2], [2, 3], [3, 1], [1, 2]]);
    }
}
