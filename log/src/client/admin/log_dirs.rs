//! Log directories: where replicas lie, how large they are, and moving them.

use std::collections::BTreeMap;

use super::by_topic::by_topic;
use super::topics::check;
use super::{Admin, Each};
use crate::client::transport::Destination;
use crate::client::{ClientError, TopicPartition};
use crate::wire::Str;
use crate::wire::messages::{
    AlterReplicaLogDir, AlterReplicaLogDirTopic, AlterReplicaLogDirsRequest,
    DescribableLogDirTopic, DescribeLogDirsRequest,
};

/// One log directory of a broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogDirDescription {
    /// Its size in bytes, if the broker tells.
    pub total_bytes: Option<i64>,
    /// How much of it is free, if the broker tells.
    pub usable_bytes: Option<i64>,
    /// Whether new replicas are kept from it.
    pub is_cordoned: bool,
    /// The replicas in it.
    pub replicas: BTreeMap<TopicPartition, ReplicaInfo>,
}

/// A replica in a log directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReplicaInfo {
    /// The bytes of its segments.
    pub size: i64,
    /// How far it lies behind: the high watermark less its end, or, for one that is being
    /// moved here, the current replica's end less its own.
    pub offset_lag: i64,
    /// Whether it is being moved here from another directory.
    pub is_future: bool,
}

/// A replica: a partition on a broker.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicPartitionReplica {
    /// The partition.
    pub topic_partition: TopicPartition,
    /// The broker.
    pub broker_id: i32,
}

impl Admin {
    /// The log directories of brokers, by broker and path, with the replicas in them; only
    /// `topics`, if given. A directory that is offline is an error of its own.
    pub async fn describe_log_dirs(
        &self,
        brokers: &[i32],
        topics: Option<&[TopicPartition]>,
    ) -> Result<Each<Each<LogDirDescription>, i32>, ClientError> {
        let request = DescribeLogDirsRequest {
            topics: topics.map(|partitions| {
                by_topic(
                    partitions.iter().map(|p| (p, ())),
                    |partition, ()| partition,
                    |topic, partitions| DescribableLogDirTopic {
                        topic,
                        partitions,
                        ..DescribableLogDirTopic::default()
                    },
                )
            }),
            ..DescribeLogDirsRequest::default()
        };
        let core = &self.core;
        let mut results = Each::new();
        for broker in brokers {
            let destination = Destination::Broker(*broker);
            let asked = core
                .retry(core.deadline(), || core.ask(destination, request.clone()))
                .await
                .and_then(|response| {
                    let what = format!("describe the log directories of broker {broker}");
                    check(response.error_code, what, None::<Str>).map(|()| response.results)
                });
            let described = asked.map(|dirs| {
                dirs.into_iter()
                    .map(|dir| {
                        let what = format!("log directory {} of broker {broker}", dir.log_dir);
                        let result = check(dir.error_code, what, None::<Str>);
                        let description = result.map(|()| LogDirDescription {
                            total_bytes: Some(dir.total_bytes).filter(|bytes| *bytes >= 0),
                            usable_bytes: Some(dir.usable_bytes).filter(|bytes| *bytes >= 0),
                            is_cordoned: dir.is_cordoned,
                            replicas: dir
                                .topics
                                .iter()
                                .flat_map(|topic| {
                                    topic.partitions.iter().map(|p| {
                                        let info = ReplicaInfo {
                                            size: p.partition_size,
                                            offset_lag: p.offset_lag,
                                            is_future: p.is_future_key,
                                        };
                                        let name =
                                            TopicPartition::new(&*topic.name, p.partition_index);
                                        (name, info)
                                    })
                                })
                                .collect(),
                        });
                        (dir.log_dir.to_string(), description)
                    })
                    .collect()
            });
            results.insert(*broker, described);
        }
        Ok(results)
    }

    /// Moves replicas to other log directories of their brokers. Answers when the move has
    /// begun; [`describe_log_dirs`](Self::describe_log_dirs) shows how far it is.
    pub async fn alter_replica_log_dirs(
        &self,
        moves: &BTreeMap<TopicPartitionReplica, String>,
    ) -> Result<Each<(), TopicPartitionReplica>, ClientError> {
        let mut by_broker: BTreeMap<i32, BTreeMap<&str, Vec<&TopicPartition>>> = BTreeMap::new();
        for (replica, path) in moves {
            let dirs = by_broker.entry(replica.broker_id).or_default();
            dirs.entry(path).or_default().push(&replica.topic_partition);
        }
        let mut results = Each::new();
        for (broker_id, dirs) in by_broker {
            let request = AlterReplicaLogDirsRequest {
                dirs: dirs
                    .into_iter()
                    .map(|(path, partitions)| AlterReplicaLogDir {
                        path: Str::from(path),
                        topics: by_topic(
                            partitions.into_iter().map(|p| (p, ())),
                            |partition, ()| partition,
                            |name, partitions| AlterReplicaLogDirTopic {
                                name,
                                partitions,
                                ..AlterReplicaLogDirTopic::default()
                            },
                        ),
                        ..AlterReplicaLogDir::default()
                    })
                    .collect(),
                ..AlterReplicaLogDirsRequest::default()
            };
            let core = &self.core;
            let destination = Destination::Broker(broker_id);
            let response = core
                .retry(core.deadline(), || core.ask(destination, request.clone()))
                .await?;
            for topic in response.results {
                for p in topic.partitions {
                    let replica = TopicPartitionReplica {
                        topic_partition: TopicPartition::new(&*topic.topic_name, p.partition_index),
                        broker_id,
                    };
                    let what = format!("move {} on broker {broker_id}", replica.topic_partition);
                    results.insert(replica, check(p.error_code, what, None::<Str>));
                }
            }
        }
        Ok(results)
    }
}
