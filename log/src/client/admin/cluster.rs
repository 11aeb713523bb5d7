//! The cluster: its brokers, its quorum, its features.

use std::collections::BTreeMap;

use uuid::Uuid;

use super::topics::check;
use super::{Admin, Each};
use crate::client::core::millis;
use crate::client::transport::{Call, Destination};
use crate::client::{ClientError, Node};
use crate::wire::Str;
use crate::wire::messages::{
    AddRaftVoterListener, AddRaftVoterRequest, ApiVersionsRequest, DescribeClusterRequest,
    DescribeQuorumReplicaState, DescribeQuorumRequest, DescribeQuorumRequestPartition,
    DescribeQuorumRequestTopic, FeatureUpdateKey, RemoveRaftVoterRequest, UnregisterBrokerRequest,
    UpdateFeaturesRequest,
};

/// The topic of the cluster's metadata.
const METADATA_TOPIC: &str = "__cluster_metadata";

/// The brokers and who leads them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterDescription {
    /// The cluster's id.
    pub cluster_id: String,
    /// The controller, if there is one.
    pub controller: Option<i32>,
    /// The brokers.
    pub nodes: Vec<Node>,
    /// Those of them that are registered but not alive; empty unless asked for.
    pub fenced: Vec<i32>,
}

/// The quorum of the cluster's metadata.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuorumInfo {
    /// The leader.
    pub leader_id: i32,
    /// Its epoch.
    pub leader_epoch: i32,
    /// The offset up to which metadata are agreed on.
    pub high_watermark: i64,
    /// Who votes.
    pub voters: Vec<QuorumReplica>,
    /// Who only follows.
    pub observers: Vec<QuorumReplica>,
    /// Where the voters listen, by name of the listener, if the brokers tell.
    pub nodes: BTreeMap<i32, Vec<RaftVoterEndpoint>>,
}

/// A member of the quorum.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuorumReplica {
    /// The node's id.
    pub replica_id: i32,
    /// The id of its directory; nil if unknown.
    pub directory_id: Uuid,
    /// The end of its log.
    pub log_end_offset: i64,
    /// When it fetched last, in milliseconds since 1970.
    pub last_fetch_timestamp: Option<i64>,
    /// When it was last caught up, in milliseconds since 1970.
    pub last_caught_up_timestamp: Option<i64>,
}

/// Where a voter listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RaftVoterEndpoint {
    /// The listener's name.
    pub listener: String,
    /// The host.
    pub host: String,
    /// The port.
    pub port: u16,
}

/// The features of a cluster: what its brokers can do, and what is switched on.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FeatureMetadata {
    /// What is switched on: the level of each feature.
    pub finalized: BTreeMap<String, i16>,
    /// Grows with every change of that; `None` if the broker does not know.
    pub finalized_epoch: Option<i64>,
    /// The lowest and highest levels that the asked broker has.
    pub supported: BTreeMap<String, (i16, i16)>,
}

/// How a feature's level may change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UpgradeType {
    /// Up only.
    Upgrade,
    /// Down, where nothing is lost.
    SafeDowngrade,
    /// Down, whatever is lost.
    UnsafeDowngrade,
}

/// A change of a feature's level.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FeatureUpdate {
    /// The new level; 0 switches the feature off.
    pub max_version_level: i16,
    /// How it may change.
    pub upgrade_type: UpgradeType,
}

impl Admin {
    /// The brokers and the controller.
    pub async fn describe_cluster(&self) -> Result<ClusterDescription, ClientError> {
        self.describe_cluster_with(false).await
    }

    /// The brokers and the controller; `include_fenced` also lists brokers that are
    /// registered but not alive.
    pub async fn describe_cluster_with(
        &self,
        include_fenced: bool,
    ) -> Result<ClusterDescription, ClientError> {
        let core = &self.core;
        let request = DescribeClusterRequest {
            include_fenced_brokers: include_fenced,
            ..DescribeClusterRequest::default()
        };
        let timeout = core.config.request_timeout_ms;
        let asked = core
            .retry(core.deadline(), || {
                let call = Call::new(Destination::Any, request.clone(), timeout);
                core.exchange::<DescribeClusterRequest>(call.at_least(if include_fenced {
                    2
                } else {
                    0
                }))
            })
            .await;
        let response = match asked {
            Ok(response) => response,
            // Before Kafka 2.8 only the metadata tell.
            Err(ClientError::Unsupported { .. }) if !include_fenced => {
                self.all_brokers().await?;
                let cluster = core.metadata.snapshot();
                return Ok(ClusterDescription {
                    cluster_id: cluster.cluster_id.clone().unwrap_or_default(),
                    controller: cluster.controller,
                    nodes: cluster.nodes.values().cloned().collect(),
                    fenced: Vec::new(),
                });
            }
            Err(error) => return Err(error),
        };
        let what = "describe the cluster".to_owned();
        check(response.error_code, what, response.error_message)?;
        Ok(ClusterDescription {
            cluster_id: response.cluster_id.to_string(),
            controller: Some(response.controller_id).filter(|id| *id >= 0),
            fenced: response
                .brokers
                .iter()
                .filter(|b| b.is_fenced)
                .map(|b| b.broker_id)
                .collect(),
            nodes: response
                .brokers
                .into_iter()
                .map(|b| Node {
                    id: b.broker_id,
                    host: b.host.to_string(),
                    port: b.port,
                    rack: b.rack.map(|rack| rack.to_string()),
                })
                .collect(),
        })
    }

    /// The quorum of the cluster's metadata.
    pub async fn describe_metadata_quorum(&self) -> Result<QuorumInfo, ClientError> {
        let request = DescribeQuorumRequest {
            topics: vec![DescribeQuorumRequestTopic {
                topic_name: Str::from_static(METADATA_TOPIC),
                partitions: vec![DescribeQuorumRequestPartition::default()],
                ..DescribeQuorumRequestTopic::default()
            }],
            ..DescribeQuorumRequest::default()
        };
        let core = &self.core;
        let response = core
            .retry(core.deadline(), || {
                core.ask(Destination::Any, request.clone())
            })
            .await?;
        let what = || "describe the metadata quorum".to_owned();
        check(response.error_code, what(), response.error_message)?;
        let partition = response
            .topics
            .into_iter()
            .flat_map(|topic| topic.partitions)
            .next()
            .ok_or_else(|| super::empty("DescribeQuorum"))?;
        check(partition.error_code, what(), partition.error_message)?;
        let replicas = |states: &[DescribeQuorumReplicaState]| {
            states
                .iter()
                .map(|state| QuorumReplica {
                    replica_id: state.replica_id,
                    directory_id: state.replica_directory_id,
                    log_end_offset: state.log_end_offset,
                    last_fetch_timestamp: Some(state.last_fetch_timestamp).filter(|t| *t >= 0),
                    last_caught_up_timestamp: Some(state.last_caught_up_timestamp)
                        .filter(|t| *t >= 0),
                })
                .collect()
        };
        Ok(QuorumInfo {
            leader_id: partition.leader_id,
            leader_epoch: partition.leader_epoch,
            high_watermark: partition.high_watermark,
            voters: replicas(&partition.current_voters),
            observers: replicas(&partition.observers),
            nodes: response
                .nodes
                .iter()
                .map(|node| {
                    let listeners = node.listeners.iter().map(|l| RaftVoterEndpoint {
                        listener: l.name.to_string(),
                        host: l.host.to_string(),
                        port: l.port,
                    });
                    (node.node_id, listeners.collect())
                })
                .collect(),
        })
    }

    /// The cluster's features, as one broker tells them.
    pub async fn describe_features(&self) -> Result<FeatureMetadata, ClientError> {
        let core = &self.core;
        let request = ApiVersionsRequest {
            client_software_name: Str::from_static("thalweg"),
            client_software_version: Str::from_static(env!("CARGO_PKG_VERSION")),
            ..ApiVersionsRequest::default()
        };
        let response = core
            .retry(core.deadline(), || {
                core.ask(Destination::Any, request.clone())
            })
            .await?;
        check(
            response.error_code,
            "describe features".to_owned(),
            None::<Str>,
        )?;
        Ok(FeatureMetadata {
            finalized: response
                .finalized_features
                .iter()
                .map(|f| (f.name.to_string(), f.max_version_level))
                .collect(),
            finalized_epoch: Some(response.finalized_features_epoch).filter(|epoch| *epoch >= 0),
            supported: response
                .supported_features
                .iter()
                .map(|f| (f.name.to_string(), (f.min_version, f.max_version)))
                .collect(),
        })
    }

    /// Changes the levels of features, all or none, or only says whether that could be done.
    pub async fn update_features(
        &self,
        updates: &BTreeMap<String, FeatureUpdate>,
        validate_only: bool,
    ) -> Result<Each<()>, ClientError> {
        let request = UpdateFeaturesRequest {
            timeout_ms: millis(self.core.config.request_timeout_ms),
            feature_updates: updates
                .iter()
                .map(|(feature, update)| FeatureUpdateKey {
                    feature: Str::from(feature),
                    max_version_level: update.max_version_level,
                    upgrade_type: match update.upgrade_type {
                        UpgradeType::Upgrade => 1,
                        UpgradeType::SafeDowngrade => 2,
                        UpgradeType::UnsafeDowngrade => 3,
                    },
                    ..FeatureUpdateKey::default()
                })
                .collect(),
            validate_only,
            ..UpdateFeaturesRequest::default()
        };
        let timeout = self.core.config.request_timeout_ms;
        let reply = self
            .controller_call(|destination| {
                Call::new(destination, request.clone(), timeout).at_least(1)
            })
            .await?;
        let response = crate::client::core::response_of::<UpdateFeaturesRequest>(reply)?;
        let mut results: Each<()> = response
            .results
            .into_iter()
            .map(|r| {
                let what = format!("update feature {}", r.feature);
                (
                    r.feature.to_string(),
                    check(r.error_code, what, r.error_message),
                )
            })
            .collect();
        // From version 2 on there is one result for all.
        for feature in updates.keys() {
            let what = format!("update feature {feature}");
            let result = check(response.error_code, what, response.error_message.clone());
            results.entry(feature.clone()).or_insert(result);
        }
        Ok(results)
    }

    /// Forgets a broker that will not come back.
    pub async fn unregister_broker(&self, broker_id: i32) -> Result<(), ClientError> {
        let request = UnregisterBrokerRequest {
            broker_id,
            ..UnregisterBrokerRequest::default()
        };
        let response = self.ask_controller(request).await?;
        let what = format!("unregister broker {broker_id}");
        check(response.error_code, what, response.error_message)
    }

    /// Makes a node that follows the metadata quorum vote in it.
    pub async fn add_raft_voter(
        &self,
        voter_id: i32,
        directory_id: Uuid,
        endpoints: &[RaftVoterEndpoint],
    ) -> Result<(), ClientError> {
        let request = AddRaftVoterRequest {
            cluster_id: None,
            timeout_ms: millis(self.core.config.request_timeout_ms),
            voter_id,
            voter_directory_id: directory_id,
            listeners: endpoints
                .iter()
                .map(|e| AddRaftVoterListener {
                    name: Str::from(&e.listener),
                    host: Str::from(&e.host),
                    port: e.port,
                    ..AddRaftVoterListener::default()
                })
                .collect(),
            ..AddRaftVoterRequest::default()
        };
        let response = self.ask_controller(request).await?;
        let what = format!("add voter {voter_id}");
        check(response.error_code, what, response.error_message)
    }

    /// Takes a node's vote in the metadata quorum away.
    pub async fn remove_raft_voter(
        &self,
        voter_id: i32,
        directory_id: Uuid,
    ) -> Result<(), ClientError> {
        let request = RemoveRaftVoterRequest {
            cluster_id: None,
            voter_id,
            voter_directory_id: directory_id,
            ..RemoveRaftVoterRequest::default()
        };
        let response = self.ask_controller(request).await?;
        let what = format!("remove voter {voter_id}");
        check(response.error_code, what, response.error_message)
    }
}
