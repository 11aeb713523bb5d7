//! Administration: topics, configurations, groups, offsets, records, transactions, quotas,
//! log directories, the cluster. Names are those of Kafka's `Admin`.
//!
//! Calls that name several things answer for each of them: the outer error means that
//! nothing is known, the inner one that this thing was refused. Calls for one thing
//! (`create_topic`, `delete_topic`, …) have one error.

mod ask;
mod by_topic;
mod cluster;
mod configs;
mod group_offsets;
mod groups;
mod log_dirs;
mod partitions;
mod quotas;
mod topics;
mod transactions;
mod types;

use std::collections::BTreeMap;
use std::sync::Arc;

pub use cluster::{
    ClusterDescription, FeatureMetadata, FeatureUpdate, QuorumInfo, QuorumReplica,
    RaftVoterEndpoint, UpgradeType,
};
pub use configs::DescribeConfigsOptions;
pub use groups::{
    GroupDescription, GroupListing, ListGroupsOptions, MemberDescription, MembersToRemove,
};
pub use log_dirs::{LogDirDescription, ReplicaInfo, TopicPartitionReplica};
pub use partitions::{ElectionType, PartitionReassignment};
pub use quotas::{ClientQuotaAlteration, ClientQuotaEntity, ClientQuotaFilter, ClientQuotaMatch};
pub use topics::{PartitionDescription, TopicDescription};
pub use transactions::{
    AbortTransaction, ListTransactionsOptions, ProducerIdAndEpoch, ProducerState,
    TransactionDescription, TransactionListing,
};
pub use types::{
    AlterConfig, ConfigEntry, ConfigResource, ConfigSynonym, CreatedTopic, NewTopic, TopicListing,
};

use super::core::Core;
use super::offsets::list_offsets;
use super::{ClientError, IsolationLevel, OffsetAndTimestamp, OffsetSpec, TopicPartition};

/// An answer for each of several things, by name.
pub type Each<T, K = String> = BTreeMap<K, Result<T, ClientError>>;

/// Administration of a cluster. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Admin {
    core: Arc<Core>,
}

impl Admin {
    pub(crate) fn new(core: Arc<Core>) -> Self {
        Self { core }
    }

    /// Looks offsets up. `None` where no record has so late a timestamp.
    pub async fn list_offsets(
        &self,
        wanted: BTreeMap<TopicPartition, OffsetSpec>,
        isolation: IsolationLevel,
    ) -> Result<BTreeMap<TopicPartition, Option<OffsetAndTimestamp>>, ClientError> {
        list_offsets(&self.core, wanted, isolation, self.core.deadline())
            .await
            .into_iter()
            .map(|(partition, found)| found.map(|found| (partition, found)))
            .collect()
    }
}

/// The error of an answer that lacks what was asked for.
fn empty(what: &str) -> ClientError {
    ClientError::Protocol {
        what: what.to_owned(),
        reason: "it is empty".to_owned(),
    }
}

/// The one answer out of many.
fn only<T, K>(answers: Each<T, K>, what: &str) -> Result<T, ClientError> {
    match answers.into_values().next() {
        Some(answer) => answer,
        None => Err(empty(what)),
    }
}
