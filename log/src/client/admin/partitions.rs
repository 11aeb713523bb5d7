//! Leaders and replicas of partitions: elections and reassignments.

use std::collections::BTreeMap;

use super::by_topic::by_topic;
use super::topics::check;
use super::{Admin, Each};
use crate::client::core::millis;
use crate::client::{ClientError, TopicPartition};
use crate::wire::ErrorCode;
use crate::wire::messages::{
    AlterPartitionReassignmentsRequest, ElectLeadersRequest, ElectLeadersTopicPartitions,
    ListPartitionReassignmentsRequest, ListPartitionReassignmentsTopics, ReassignablePartition,
    ReassignableTopic,
};

/// How a leader is elected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ElectionType {
    /// The first replica of the list, if it is in sync.
    Preferred,
    /// Any replica that is alive, even one that lacks records, where there is no leader.
    Unclean,
}

/// A reassignment that is under way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionReassignment {
    /// All replicas: those that stay, come and go.
    pub replicas: Vec<i32>,
    /// Those that come.
    pub adding_replicas: Vec<i32>,
    /// Those that go.
    pub removing_replicas: Vec<i32>,
}

impl Admin {
    /// Elects leaders of these partitions, or of all. A partition whose leader is already
    /// the wanted one is an `ElectionNotNeeded` if it was named, and absent if all were
    /// meant.
    pub async fn elect_leaders(
        &self,
        election: ElectionType,
        partitions: Option<&[TopicPartition]>,
    ) -> Result<Each<(), TopicPartition>, ClientError> {
        let request = ElectLeadersRequest {
            election_type: match election {
                ElectionType::Preferred => 0,
                ElectionType::Unclean => 1,
            },
            topic_partitions: partitions.map(|partitions| {
                by_topic(
                    partitions.iter().map(|p| (p, ())),
                    |partition, ()| partition,
                    |topic, partitions| ElectLeadersTopicPartitions {
                        topic,
                        partitions,
                        ..ElectLeadersTopicPartitions::default()
                    },
                )
            }),
            timeout_ms: millis(self.core.config.request_timeout_ms),
            ..ElectLeadersRequest::default()
        };
        let response = self.ask_controller(request).await?;
        check(
            response.error_code,
            "elect leaders".to_owned(),
            None::<&str>,
        )?;
        let mut results = Each::new();
        for topic in response.replica_election_results {
            for p in topic.partition_result {
                let partition = TopicPartition::new(&*topic.topic, p.partition_id);
                let needless = p.error_code == ErrorCode::ElectionNotNeeded.code();
                if partitions.is_none() && needless {
                    continue;
                }
                let what = format!("elect the leader of {partition}");
                results.insert(partition, check(p.error_code, what, p.error_message));
            }
        }
        Ok(results)
    }

    /// Gives partitions other replicas, or (`None`) calls a reassignment off. Answers when
    /// the reassignment has begun.
    pub async fn alter_partition_reassignments(
        &self,
        reassignments: &BTreeMap<TopicPartition, Option<Vec<i32>>>,
    ) -> Result<Each<(), TopicPartition>, ClientError> {
        let request = AlterPartitionReassignmentsRequest {
            timeout_ms: millis(self.core.config.request_timeout_ms),
            topics: by_topic(
                reassignments,
                |partition_index, replicas| ReassignablePartition {
                    partition_index,
                    replicas: replicas.clone(),
                    ..ReassignablePartition::default()
                },
                |name, partitions| ReassignableTopic {
                    name,
                    partitions,
                    ..ReassignableTopic::default()
                },
            ),
            ..AlterPartitionReassignmentsRequest::default()
        };
        let response = self.ask_controller(request).await?;
        let what = "reassign partitions".to_owned();
        check(response.error_code, what, response.error_message)?;
        let mut results = Each::new();
        for topic in response.responses {
            for p in topic.partitions {
                let partition = TopicPartition::new(&*topic.name, p.partition_index);
                let what = format!("reassign {partition}");
                results.insert(partition, check(p.error_code, what, p.error_message));
            }
        }
        Ok(results)
    }

    /// The reassignments that are under way, of these partitions or of all.
    pub async fn list_partition_reassignments(
        &self,
        partitions: Option<&[TopicPartition]>,
    ) -> Result<BTreeMap<TopicPartition, PartitionReassignment>, ClientError> {
        let request = ListPartitionReassignmentsRequest {
            timeout_ms: millis(self.core.config.request_timeout_ms),
            topics: partitions.map(|partitions| {
                by_topic(
                    partitions.iter().map(|p| (p, ())),
                    |partition, ()| partition,
                    |name, partition_indexes| ListPartitionReassignmentsTopics {
                        name,
                        partition_indexes,
                        ..ListPartitionReassignmentsTopics::default()
                    },
                )
            }),
            ..ListPartitionReassignmentsRequest::default()
        };
        let response = self.ask_controller(request).await?;
        let what = "list reassignments".to_owned();
        check(response.error_code, what, response.error_message)?;
        Ok(response
            .topics
            .iter()
            .flat_map(|topic| {
                topic.partitions.iter().map(|p| {
                    let reassignment = PartitionReassignment {
                        replicas: p.replicas.clone(),
                        adding_replicas: p.adding_replicas.clone(),
                        removing_replicas: p.removing_replicas.clone(),
                    };
                    let name = TopicPartition::new(&*topic.name, p.partition_index);
                    (name, reassignment)
                })
            })
            .collect())
    }
}
