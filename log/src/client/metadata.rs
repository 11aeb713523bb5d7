//! What the client knows of the cluster: brokers, topics, leaders.
//!
//! Invariants: readers see a consistent snapshot without waiting; a partition's leader
//! epoch never goes back while the topic keeps its id; concurrent refreshes of one topic
//! share one request.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::RwLock;
use uuid::Uuid;

use super::core::response_of;
use super::transport::{Call, Destination, Transport};
use super::{ClientError, Node};
use crate::wire::messages::{
    MetadataRequest, MetadataRequestTopic, MetadataResponse, MetadataResponseTopic,
};
use crate::wire::{ErrorCode, Str};

/// One partition as the metadata tell it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionInfo {
    /// The partition's number.
    pub partition: i32,
    /// The leader; `None` while there is none.
    pub leader: Option<i32>,
    /// The leader's epoch; -1 if the broker does not tell.
    pub leader_epoch: i32,
    /// The brokers with a replica.
    pub replicas: Vec<i32>,
    /// The replicas in sync.
    pub isr: Vec<i32>,
    /// The replicas whose broker is down.
    pub offline_replicas: Vec<i32>,
}

/// One topic as the metadata tell it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicInfo {
    /// The topic's name.
    pub name: Arc<str>,
    /// Its id; nil if the broker does not tell.
    pub id: Uuid,
    /// Whether it is one of the brokers' own.
    pub internal: bool,
    /// Its partitions, in order.
    pub partitions: Vec<PartitionInfo>,
    fetched: Instant,
}

impl TopicInfo {
    /// How many partitions the topic has.
    pub fn partition_count(&self) -> i32 {
        i32::try_from(self.partitions.len()).unwrap_or(i32::MAX)
    }

    /// The partition of that number.
    pub fn partition(&self, partition: i32) -> Option<&PartitionInfo> {
        self.partitions.get(usize::try_from(partition).ok()?)
    }

    fn from_response(topic: &MetadataResponseTopic, name: Arc<str>) -> Self {
        let mut partitions: Vec<PartitionInfo> = topic
            .partitions
            .iter()
            .map(|p| PartitionInfo {
                partition: p.partition_index,
                leader: Some(p.leader_id).filter(|id| *id >= 0),
                leader_epoch: p.leader_epoch,
                replicas: p.replica_nodes.clone(),
                isr: p.isr_nodes.clone(),
                offline_replicas: p.offline_replicas.clone(),
            })
            .collect();
        partitions.sort_by_key(|p| p.partition);
        Self {
            name,
            id: topic.topic_id,
            internal: topic.is_internal,
            partitions,
            fetched: Instant::now(),
        }
    }
}

/// A snapshot of what is known.
#[derive(Debug, Clone, Default)]
pub(crate) struct Cluster {
    pub(crate) cluster_id: Option<String>,
    pub(crate) controller: Option<i32>,
    pub(crate) nodes: BTreeMap<i32, Node>,
    topics: HashMap<Arc<str>, Arc<TopicInfo>>,
    names: HashMap<Uuid, Arc<str>>,
    /// Grows with every answer taken in.
    generation: u64,
}

impl Cluster {
    pub(crate) fn topic(&self, name: &str) -> Option<&Arc<TopicInfo>> {
        self.topics.get(name)
    }

    pub(crate) fn topics(&self) -> impl Iterator<Item = &Arc<TopicInfo>> {
        self.topics.values()
    }

    pub(crate) fn name_of(&self, id: &Uuid) -> Option<&Arc<str>> {
        self.names.get(id)
    }

    /// The leader of a partition and its epoch.
    pub(crate) fn leader(&self, topic: &str, partition: i32) -> Option<(i32, i32)> {
        let info = self.topics.get(topic)?.partition(partition)?;
        Some((info.leader?, info.leader_epoch))
    }

    fn take_in(&mut self, response: &MetadataResponse) {
        self.generation += 1;
        self.cluster_id = response.cluster_id.as_ref().map(ToString::to_string);
        self.controller = Some(response.controller_id).filter(|id| *id >= 0);
        self.nodes = response
            .brokers
            .iter()
            .map(|b| {
                let node = Node {
                    id: b.node_id,
                    host: b.host.to_string(),
                    port: b.port,
                    rack: b.rack.as_ref().map(ToString::to_string),
                };
                (b.node_id, node)
            })
            .collect();
        for topic in &response.topics {
            let Some(name) = topic.name.as_ref() else {
                continue;
            };
            let known = self.topics.get_key_value(&**name);
            let name = known.map_or_else(|| Arc::from(&**name), |(k, _)| k.clone());
            if topic.error_code != ErrorCode::None.code() {
                if topic.error_code == ErrorCode::UnknownTopicOrPartition.code() {
                    self.forget(&name);
                }
                continue;
            }
            let mut info = TopicInfo::from_response(topic, name.clone());
            match self.topics.get(&name) {
                Some(old) if old.id == info.id => keep_newer_leaders(&mut info, old),
                Some(_) => self.forget(&name),
                None => {}
            }
            if !info.id.is_nil() {
                self.names.insert(info.id, name.clone());
            }
            self.topics.insert(name, Arc::new(info));
        }
    }

    fn forget(&mut self, name: &str) {
        if let Some(old) = self.topics.remove(name) {
            self.names.remove(&old.id);
        }
    }
}

/// A broker that lags behind must not take us back to a leader that is gone.
fn keep_newer_leaders(info: &mut TopicInfo, old: &TopicInfo) {
    for (new, old) in info.partitions.iter_mut().zip(&old.partitions) {
        if new.leader_epoch >= 0 && new.leader_epoch < old.leader_epoch {
            *new = old.clone();
        }
    }
}

/// The cache over [`Cluster`] snapshots.
#[derive(Debug)]
pub(crate) struct Metadata {
    cluster: RwLock<Arc<Cluster>>,
    refreshing: tokio::sync::Mutex<()>,
    max_age: Duration,
}

impl Metadata {
    pub(crate) fn new(max_age: Duration) -> Self {
        Self {
            cluster: RwLock::default(),
            refreshing: tokio::sync::Mutex::new(()),
            max_age,
        }
    }

    /// What is known now.
    pub(crate) fn snapshot(&self) -> Arc<Cluster> {
        self.cluster.read().clone()
    }

    /// A topic, if it is known; a stale entry counts too.
    pub(crate) fn topic(&self, name: &str) -> Option<Arc<TopicInfo>> {
        self.cluster.read().topic(name).cloned()
    }

    /// Whether one of the topics is unknown or has not been looked at for too long.
    pub(crate) fn is_stale<'a>(&self, topics: impl IntoIterator<Item = &'a str>) -> bool {
        let cluster = self.cluster.read();
        topics.into_iter().any(|t| {
            cluster
                .topic(t)
                .is_none_or(|info| info.fetched.elapsed() >= self.max_age)
        })
    }

    /// Asks a broker about `topics` (or all topics) and takes the answer in. The answer
    /// carries the error codes of single topics.
    pub(crate) async fn fetch(
        &self,
        transport: &dyn Transport,
        topics: Option<&[Arc<str>]>,
        allow_auto_create: bool,
        timeout: Duration,
    ) -> Result<MetadataResponse, ClientError> {
        let wanted = topics.map(|names| {
            names
                .iter()
                .map(|name| MetadataRequestTopic {
                    name: Some(Str::from(&**name)),
                    ..MetadataRequestTopic::default()
                })
                .collect()
        });
        // Version 4 is the first in which auto-creation can be refused.
        self.ask(transport, wanted, allow_auto_create, timeout, 4)
            .await
    }

    /// Asks a broker about topics by their ids and takes the answer in.
    pub(crate) async fn fetch_ids(
        &self,
        transport: &dyn Transport,
        ids: &[Uuid],
        timeout: Duration,
    ) -> Result<MetadataResponse, ClientError> {
        let wanted = ids
            .iter()
            .map(|id| MetadataRequestTopic {
                topic_id: *id,
                name: None,
                ..MetadataRequestTopic::default()
            })
            .collect();
        // Versions 10 and 11 have ids too, but brokers do not look at them.
        self.ask(transport, Some(wanted), false, timeout, 12).await
    }

    async fn ask(
        &self,
        transport: &dyn Transport,
        topics: Option<Vec<MetadataRequestTopic>>,
        allow_auto_create: bool,
        timeout: Duration,
        min_version: i16,
    ) -> Result<MetadataResponse, ClientError> {
        let all = topics.is_none();
        let request = MetadataRequest {
            topics,
            allow_auto_topic_creation: allow_auto_create,
            ..MetadataRequest::default()
        };
        let call = Call::new(Destination::Any, request, timeout).at_least(min_version);
        let reply = transport.call(call).await?;
        let response = response_of::<MetadataRequest>(reply)?;
        if response.brokers.is_empty() {
            // It has only just started and has heard of nothing: what is known is better.
            return Err(ClientError::broker_said(
                ErrorCode::LeaderNotAvailable,
                "metadata",
                Some("the broker knows of no brokers yet"),
            ));
        }
        let nodes: Vec<Node> = {
            let mut cluster = self.cluster.write();
            let mut next = (**cluster).clone();
            next.take_in(&response);
            if all {
                // The answer is complete, so what is not in it is gone.
                let gone: Vec<Arc<str>> = next
                    .topics
                    .keys()
                    .filter(|t| {
                        !response
                            .topics
                            .iter()
                            .any(|r| r.name.as_deref() == Some(&***t))
                    })
                    .cloned()
                    .collect();
                for topic in gone {
                    next.forget(&topic);
                }
            }
            let nodes = next.nodes.values().cloned().collect();
            *cluster = Arc::new(next);
            nodes
        };
        transport.update_brokers(&nodes);
        Ok(response)
    }

    /// Like [`fetch`](Self::fetch) for some topics, but shares the answer with whoever
    /// asks at the same time. Returns the topics that could not be had, with their codes.
    pub(crate) async fn refresh(
        &self,
        transport: &dyn Transport,
        topics: &[Arc<str>],
        allow_auto_create: bool,
        timeout: Duration,
    ) -> Result<Vec<(Arc<str>, ErrorCode)>, ClientError> {
        let asked = Instant::now();
        let _turn = self.refreshing.lock().await;
        {
            let cluster = self.cluster.read();
            let fresh = |t: &Arc<str>| cluster.topic(t).is_some_and(|i| i.fetched >= asked);
            if !topics.is_empty() && topics.iter().all(fresh) {
                return Ok(Vec::new());
            }
        }
        let response = self
            .fetch(transport, Some(topics), allow_auto_create, timeout)
            .await?;
        Ok(topics
            .iter()
            .filter_map(|name| {
                let found = response
                    .topics
                    .iter()
                    .find(|t| t.name.as_deref() == Some(&**name));
                let code = found.map_or(ErrorCode::UnknownTopicOrPartition, |t| {
                    ErrorCode::from(t.error_code)
                });
                (code != ErrorCode::None).then(|| (name.clone(), code))
            })
            .collect())
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use futures::future::BoxFuture;

    use super::*;
    use crate::client::transport::Reply;
    use crate::wire::Response;

    /// A broker that knows nothing.
    struct Fresh;

    impl Transport for Fresh {
        fn call(&self, _call: Call) -> BoxFuture<'static, Result<Reply, ClientError>> {
            let response = Response::Metadata(MetadataResponse::default());
            let version = 12;
            async move { Ok(Reply { response, version }) }.boxed()
        }

        fn update_brokers(&self, _brokers: &[Node]) {
            panic!("what is known was thrown away");
        }

        fn describe(&self) -> String {
            "fresh".to_owned()
        }
    }

    #[tokio::test]
    async fn an_answer_without_brokers_is_none() {
        let metadata = Metadata::new(Duration::from_secs(300));
        let asked = metadata.fetch(&Fresh, None, false, Duration::from_secs(1));
        assert!(asked.await.unwrap_err().is_retriable());
        assert_eq!(metadata.snapshot().generation, 0);
    }
}
