//! Topics, their partitions and records.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Admin, ClusterDescription, CreatedTopic, Each, NewTopic, TopicListing, only};
use crate::client::core::{millis, response_of};
use crate::client::transport::{Call, Destination};
use crate::client::{ClientError, TopicInfo, TopicPartition};
use crate::wire::messages::{
    CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig, CreatePartitionsRequest,
    CreatePartitionsTopic, CreateTopicsRequest, DeleteRecordsPartition, DeleteRecordsRequest,
    DeleteRecordsTopic, DeleteTopicsRequest,
};
use crate::wire::{ErrorCode, Str};

impl Admin {
    /// Creates topics. One that exists is `TopicAlreadyExists`.
    pub async fn create_topics(
        &self,
        topics: Vec<NewTopic>,
    ) -> Result<Each<CreatedTopic>, ClientError> {
        let request = CreateTopicsRequest {
            topics: topics.iter().map(creatable).collect(),
            timeout_ms: millis(self.core.config.request_timeout_ms),
            ..CreateTopicsRequest::default()
        };
        let response = self.ask_controller(request).await?;
        let created = response
            .topics
            .into_iter()
            .map(|t| {
                let what = format!("create topic {}", t.name);
                let result = check(t.error_code, what, t.error_message).map(|()| CreatedTopic {
                    name: t.name.to_string(),
                    id: t.topic_id,
                    partitions: t.num_partitions,
                    replication_factor: t.replication_factor,
                });
                (t.name.to_string(), result)
            })
            .collect();
        Ok(created)
    }

    /// Creates one topic.
    pub async fn create_topic(&self, topic: NewTopic) -> Result<CreatedTopic, ClientError> {
        only(self.create_topics(vec![topic]).await?, "CreateTopics")
    }

    /// Deletes topics and all their records.
    pub async fn delete_topics<T: AsRef<str>>(
        &self,
        topics: &[T],
    ) -> Result<Each<()>, ClientError> {
        let names: Vec<Str> = topics.iter().map(|t| Str::from(t.as_ref())).collect();
        // Up to version 5 topics have names only, from 6 on also ids; the codec refuses
        // what does not fit, so ask in the form that all brokers know.
        let request = DeleteTopicsRequest {
            topic_names: names,
            timeout_ms: millis(self.core.config.request_timeout_ms),
            ..DeleteTopicsRequest::default()
        };
        let response = self
            .controller_call(|destination| {
                Call::new(
                    destination,
                    request.clone(),
                    self.core.config.request_timeout_ms,
                )
                .at_most(5)
            })
            .await
            .and_then(response_of::<DeleteTopicsRequest>)?;
        Ok(response
            .responses
            .into_iter()
            .map(|t| {
                let name = t.name.map(|n| n.to_string()).unwrap_or_default();
                let what = format!("delete topic {name}");
                (name, check(t.error_code, what, t.error_message))
            })
            .collect())
    }

    /// Deletes one topic.
    pub async fn delete_topic(&self, topic: &str) -> Result<(), ClientError> {
        only(self.delete_topics(&[topic]).await?, "DeleteTopics")
    }

    /// All topics, by name.
    pub async fn list_topics(&self) -> Result<Vec<TopicListing>, ClientError> {
        let response = self.all_metadata().await?;
        let mut topics: Vec<TopicListing> = response
            .topics
            .iter()
            .filter(|t| t.error_code == 0)
            .map(|t| TopicListing {
                name: t.name.as_ref().map(ToString::to_string).unwrap_or_default(),
                id: t.topic_id,
                internal: t.is_internal,
                partitions: i32::try_from(t.partitions.len()).unwrap_or(i32::MAX),
                replication_factor: t.partitions.first().map_or(0, |p| {
                    i32::try_from(p.replica_nodes.len()).unwrap_or(i32::MAX)
                }),
            })
            .collect();
        topics.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(topics)
    }

    /// Topics with their partitions, leaders and replicas, asked for anew.
    pub async fn describe_topics<T: AsRef<str>>(
        &self,
        topics: &[T],
    ) -> Result<Each<Arc<TopicInfo>>, ClientError> {
        let names: Vec<Arc<str>> = topics.iter().map(|t| Arc::from(t.as_ref())).collect();
        let core = &self.core;
        let missing = core
            .retry(core.deadline(), || core.refresh(&names, false))
            .await?;
        Ok(names
            .into_iter()
            .map(|name| {
                let code = missing.iter().find(|(t, _)| *t == name).map(|(_, c)| *c);
                let result = match (code, core.metadata.topic(&name)) {
                    (None, Some(info)) => Ok(info),
                    (code, _) => Err(ClientError::broker(
                        code.unwrap_or(ErrorCode::UnknownTopicOrPartition),
                        format!("topic {name}"),
                    )),
                };
                (name.to_string(), result)
            })
            .collect())
    }

    /// Makes the topic have so many partitions in all. It cannot have fewer than before.
    /// Keys may then go to other partitions than before.
    pub async fn create_partitions(&self, topic: &str, total: i32) -> Result<(), ClientError> {
        let request = CreatePartitionsRequest {
            topics: vec![CreatePartitionsTopic {
                name: Str::from(topic),
                count: total,
                assignments: None,
                ..CreatePartitionsTopic::default()
            }],
            timeout_ms: millis(self.core.config.request_timeout_ms),
            ..CreatePartitionsRequest::default()
        };
        let response = self.ask_controller(request).await?;
        let answers = response
            .results
            .into_iter()
            .map(|t| {
                let what = format!("create partitions of topic {}", t.name);
                (
                    t.name.to_string(),
                    check(t.error_code, what, t.error_message),
                )
            })
            .collect();
        only(answers, "CreatePartitions")
    }

    /// Deletes the records below the given offsets (-1: below the high watermark). Returns
    /// the partitions' new log start offsets.
    pub async fn delete_records(
        &self,
        before: BTreeMap<TopicPartition, i64>,
    ) -> Result<Each<i64, TopicPartition>, ClientError> {
        let core = &self.core;
        let deadline = core.deadline();
        let mut by_leader: BTreeMap<i32, Vec<(TopicPartition, i64)>> = BTreeMap::new();
        let mut results = BTreeMap::new();
        for (partition, offset) in before {
            let info = core.topic(&partition.topic, false, deadline).await?;
            let leader = info.partition(partition.partition).map(|p| p.leader);
            match leader {
                Some(Some(leader)) => by_leader
                    .entry(leader)
                    .or_default()
                    .push((partition, offset)),
                Some(None) => {
                    let what = format!("delete records of {partition}");
                    let error = ClientError::broker(ErrorCode::LeaderNotAvailable, what);
                    results.insert(partition, Err(error));
                }
                None => {
                    let error = ClientError::NoSuchPartition {
                        partition: partition.clone(),
                        partitions: info.partition_count(),
                    };
                    results.insert(partition, Err(error));
                }
            }
        }
        for (leader, partitions) in by_leader {
            let request = DeleteRecordsRequest {
                topics: partitions
                    .chunk_by(|a, b| a.0.topic == b.0.topic)
                    .filter_map(|chunk| {
                        Some(DeleteRecordsTopic {
                            name: Str::from(&*chunk.first()?.0.topic),
                            partitions: chunk
                                .iter()
                                .map(|(p, offset)| DeleteRecordsPartition {
                                    partition_index: p.partition,
                                    offset: *offset,
                                    ..DeleteRecordsPartition::default()
                                })
                                .collect(),
                            ..DeleteRecordsTopic::default()
                        })
                    })
                    .collect(),
                timeout_ms: millis(core.config.request_timeout_ms),
                ..DeleteRecordsRequest::default()
            };
            let response = core
                .retry(deadline, || {
                    core.ask(Destination::Broker(leader), request.clone())
                })
                .await?;
            for topic in response.topics {
                for p in topic.partitions {
                    let partition = TopicPartition::new(&*topic.name, p.partition_index);
                    let what = format!("delete records of {partition}");
                    let result = check(p.error_code, what, None::<Str>).map(|()| p.low_watermark);
                    results.insert(partition, result);
                }
            }
        }
        Ok(results)
    }

    /// The brokers and the controller.
    pub async fn describe_cluster(&self) -> Result<ClusterDescription, ClientError> {
        self.all_brokers().await?;
        let cluster = self.core.metadata.snapshot();
        Ok(ClusterDescription {
            cluster_id: cluster.cluster_id.clone().unwrap_or_default(),
            controller: cluster.controller,
            nodes: cluster.nodes.values().cloned().collect(),
        })
    }
}

fn creatable(topic: &NewTopic) -> CreatableTopic {
    let assigned = !topic.replica_assignments.is_empty();
    CreatableTopic {
        name: Str::from(&topic.name),
        // With an explicit assignment, counts must be left open.
        num_partitions: topic.partitions.filter(|_| !assigned).unwrap_or(-1),
        replication_factor: topic.replication_factor.filter(|_| !assigned).unwrap_or(-1),
        assignments: topic
            .replica_assignments
            .iter()
            .map(|(partition, brokers)| CreatableReplicaAssignment {
                partition_index: *partition,
                broker_ids: brokers.clone(),
                ..CreatableReplicaAssignment::default()
            })
            .collect(),
        configs: topic
            .configs
            .iter()
            .map(|(key, value)| CreatableTopicConfig {
                name: Str::from(key),
                value: Some(Str::from(value)),
                ..CreatableTopicConfig::default()
            })
            .collect(),
        ..CreatableTopic::default()
    }
}

/// An error code as a result.
pub(super) fn check(
    code: i16,
    what: String,
    message: Option<impl AsRef<str>>,
) -> Result<(), ClientError> {
    match ErrorCode::from(code) {
        ErrorCode::None => Ok(()),
        code => Err(ClientError::broker_said(code, what, message)),
    }
}
