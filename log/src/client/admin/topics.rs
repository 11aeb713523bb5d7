//! Topics, their partitions and records.

use std::collections::BTreeMap;
use std::sync::Arc;

use uuid::Uuid;

use super::by_topic::by_topic;
use super::{Admin, CreatedTopic, Each, NewTopic, TopicListing, only};
use crate::client::core::{millis, response_of};
use crate::client::transport::{Call, Destination};
use crate::client::{ClientError, TopicInfo, TopicPartition};
use crate::wire::messages::{
    CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig, CreatePartitionsAssignment,
    CreatePartitionsRequest, CreatePartitionsTopic, CreateTopicsRequest, DeleteRecordsPartition,
    DeleteRecordsRequest, DeleteRecordsTopic, DeleteTopicState, DeleteTopicsRequest,
    DescribeTopicPartitionsRequest, RequestCursor, TopicRequest,
};
use crate::wire::{ErrorCode, Str};

/// A topic with its partitions, as [`Admin::describe_topics_paged`] tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicDescription {
    /// Its name.
    pub name: String,
    /// Its id.
    pub id: Uuid,
    /// Whether it is one of the brokers' own.
    pub internal: bool,
    /// Its partitions, in order.
    pub partitions: Vec<PartitionDescription>,
}

/// A partition with its replicas.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionDescription {
    /// The partition's number.
    pub partition: i32,
    /// The leader; `None` while there is none.
    pub leader: Option<i32>,
    /// The leader's epoch.
    pub leader_epoch: i32,
    /// The brokers with a replica.
    pub replicas: Vec<i32>,
    /// The replicas in sync.
    pub isr: Vec<i32>,
    /// The replicas whose broker is down.
    pub offline_replicas: Vec<i32>,
    /// Replicas that are not in sync but have everything, so that they may lead; `None` if
    /// the brokers do not keep them.
    pub elr: Option<Vec<i32>>,
    /// Replicas that had everything when they were last seen.
    pub last_known_elr: Option<Vec<i32>>,
}

impl Admin {
    /// Creates topics. One that exists is `TopicAlreadyExists`.
    pub async fn create_topics(
        &self,
        topics: Vec<NewTopic>,
    ) -> Result<Each<CreatedTopic>, ClientError> {
        self.send_topics(topics, false).await
    }

    /// Says what [`create_topics`](Self::create_topics) would do, without doing it.
    pub async fn validate_topics(
        &self,
        topics: Vec<NewTopic>,
    ) -> Result<Each<CreatedTopic>, ClientError> {
        self.send_topics(topics, true).await
    }

    async fn send_topics(
        &self,
        topics: Vec<NewTopic>,
        validate_only: bool,
    ) -> Result<Each<CreatedTopic>, ClientError> {
        let request = CreateTopicsRequest {
            topics: topics.iter().map(creatable).collect(),
            validate_only,
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

    /// Deletes topics by their ids, so that a new topic of the same name is not meant.
    pub async fn delete_topics_by_id(&self, ids: &[Uuid]) -> Result<Each<(), Uuid>, ClientError> {
        let request = DeleteTopicsRequest {
            topics: ids
                .iter()
                .map(|id| DeleteTopicState {
                    name: None,
                    topic_id: *id,
                    ..DeleteTopicState::default()
                })
                .collect(),
            timeout_ms: millis(self.core.config.request_timeout_ms),
            ..DeleteTopicsRequest::default()
        };
        let timeout = self.core.config.request_timeout_ms;
        let response = self
            .controller_call(|destination| {
                Call::new(destination, request.clone(), timeout).at_least(6)
            })
            .await
            .and_then(response_of::<DeleteTopicsRequest>)?;
        Ok(response
            .responses
            .into_iter()
            .map(|t| {
                let what = format!("delete the topic with id {}", t.topic_id);
                (t.topic_id, check(t.error_code, what, t.error_message))
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

    /// Topics with their partitions, asked for page by page (`partitions` in each), so that
    /// a large one is no large answer; with the eligible leader replicas. Needs Kafka 3.8 or
    /// newer. Unlike [`describe_topics`](Self::describe_topics) it leaves what the client
    /// knows as it is.
    pub async fn describe_topics_paged<T: AsRef<str>>(
        &self,
        topics: &[T],
        partitions: i32,
    ) -> Result<Each<TopicDescription>, ClientError> {
        let mut names: Vec<Str> = topics.iter().map(|t| Str::from(t.as_ref())).collect();
        names.sort();
        names.dedup();
        let core = &self.core;
        let mut results: Each<TopicDescription> = Each::new();
        let mut cursor: Option<RequestCursor> = None;
        loop {
            let from = cursor.as_ref().map(|c| c.topic_name.clone());
            let request = DescribeTopicPartitionsRequest {
                topics: names
                    .iter()
                    .filter(|name| from.as_ref().is_none_or(|from| *name >= from))
                    .map(|name| TopicRequest {
                        name: name.clone(),
                        ..TopicRequest::default()
                    })
                    .collect(),
                response_partition_limit: partitions,
                cursor: cursor.take(),
                ..DescribeTopicPartitionsRequest::default()
            };
            let response = core
                .retry(core.deadline(), || {
                    core.ask(Destination::Any, request.clone())
                })
                .await?;
            for topic in response.topics {
                let name = topic.name.as_deref().unwrap_or_default().to_owned();
                let what = format!("describe topic {name}");
                if let Err(error) = check(topic.error_code, what, None::<Str>) {
                    results.insert(name, Err(error));
                    continue;
                }
                let described = results.entry(name.clone()).or_insert_with(|| {
                    Ok(TopicDescription {
                        name,
                        id: topic.topic_id,
                        internal: topic.is_internal,
                        partitions: Vec::new(),
                    })
                });
                if let Ok(described) = described {
                    described
                        .partitions
                        .extend(topic.partitions.into_iter().map(|p| PartitionDescription {
                            partition: p.partition_index,
                            leader: Some(p.leader_id).filter(|id| *id >= 0),
                            leader_epoch: p.leader_epoch,
                            replicas: p.replica_nodes,
                            isr: p.isr_nodes,
                            offline_replicas: p.offline_replicas,
                            elr: p.eligible_leader_replicas,
                            last_known_elr: p.last_known_elr,
                        }));
                }
            }
            match response.next_cursor {
                Some(next) => {
                    cursor = Some(RequestCursor {
                        topic_name: next.topic_name,
                        partition_index: next.partition_index,
                        ..RequestCursor::default()
                    });
                }
                None => return Ok(results),
            }
        }
    }

    /// Makes the topic have so many partitions in all. It cannot have fewer than before.
    /// Keys may then go to other partitions than before.
    pub async fn create_partitions(&self, topic: &str, total: i32) -> Result<(), ClientError> {
        self.create_partitions_with(topic, total, None, false).await
    }

    /// As [`create_partitions`](Self::create_partitions), with the brokers of each new
    /// partition's replicas, or only to see whether it could be done.
    pub async fn create_partitions_with(
        &self,
        topic: &str,
        total: i32,
        assignments: Option<&[Vec<i32>]>,
        validate_only: bool,
    ) -> Result<(), ClientError> {
        let request = CreatePartitionsRequest {
            topics: vec![CreatePartitionsTopic {
                name: Str::from(topic),
                count: total,
                assignments: assignments.map(|brokers| {
                    brokers
                        .iter()
                        .map(|brokers| CreatePartitionsAssignment {
                            broker_ids: brokers.clone(),
                            ..CreatePartitionsAssignment::default()
                        })
                        .collect()
                }),
                ..CreatePartitionsTopic::default()
            }],
            timeout_ms: millis(self.core.config.request_timeout_ms),
            validate_only,
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
        let ask = |leader: i32, share: BTreeMap<TopicPartition, i64>| async move {
            let request = DeleteRecordsRequest {
                topics: by_topic(
                    &share,
                    |partition_index, offset| DeleteRecordsPartition {
                        partition_index,
                        offset: *offset,
                        ..DeleteRecordsPartition::default()
                    },
                    |name, partitions| DeleteRecordsTopic {
                        name,
                        partitions,
                        ..DeleteRecordsTopic::default()
                    },
                ),
                timeout_ms: millis(self.core.config.request_timeout_ms),
                ..DeleteRecordsRequest::default()
            };
            let response = self.core.ask(Destination::Broker(leader), request).await?;
            let mut answers = Each::new();
            for topic in response.topics {
                for p in topic.partitions {
                    let partition = TopicPartition::new(&*topic.name, p.partition_index);
                    let what = format!("delete records of {partition}");
                    let answer = check(p.error_code, what, None::<Str>);
                    answers.insert(partition, answer.map(|()| p.low_watermark));
                }
            }
            Ok(answers)
        };
        Ok(self.ask_leaders("delete records of", before, ask).await)
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
