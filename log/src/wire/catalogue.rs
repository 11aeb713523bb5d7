//! The one table of APIs and their versions.
//!
//! It says what is *declared*, and so can be encoded and decoded; a broker advertises those of them that it
//! handles ([`advertised`]). Every other place that needs a version range, a flexible version or a header
//! version asks here.

use super::messages::ApiVersion;

/// The versions of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Versions {
    /// The lowest version that can be encoded and decoded.
    pub min: i16,
    /// The highest.
    pub max: i16,
    /// The first version with compact lengths and tagged fields, if any has them.
    pub flexible_from: Option<i16>,
}

impl Versions {
    /// Whether a version is in the range.
    pub const fn contains(&self, version: i16) -> bool {
        version >= self.min && version <= self.max
    }

    /// Whether a version is a flexible one.
    pub const fn is_flexible(&self, version: i16) -> bool {
        match self.flexible_from {
            Some(from) => version >= from,
            None => false,
        }
    }
}

macro_rules! catalogue {
    ($($(#[$meta:meta])* $name:ident = $key:literal: $min:literal ..= $max:literal $(, flexible $flexible:literal)?;)*) => {
        /// An API of the Kafka protocol.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(i16)]
        #[non_exhaustive]
        pub enum ApiKey {
            $($(#[$meta])* $name = $key,)*
        }

        impl ApiKey {
            /// All APIs, by ascending key.
            pub const ALL: &[ApiKey] = &[$(ApiKey::$name),*];

            /// The API of a key.
            pub const fn from_key(key: i16) -> Option<ApiKey> {
                match key {
                    $($key => Some(ApiKey::$name),)*
                    _ => None,
                }
            }

            /// Kafka's name of the API.
            pub const fn name(self) -> &'static str {
                match self {
                    $(ApiKey::$name => stringify!($name),)*
                }
            }

            /// The versions of its messages.
            pub const fn versions(self) -> Versions {
                match self {
                    $(ApiKey::$name => Versions {
                        min: $min,
                        max: $max,
                        flexible_from: catalogue!(@flexible $($flexible)?),
                    },)*
                }
            }
        }
    };
    (@flexible) => { None };
    (@flexible $flexible:literal) => { Some($flexible) };
}

catalogue! {
    /// Append record batches.
    Produce = 0: 3..=13, flexible 9;
    /// Read record batches.
    Fetch = 1: 4..=18, flexible 12;
    /// Look offsets up by timestamp.
    ListOffsets = 2: 1..=11, flexible 6;
    /// Brokers, topics, partitions and their leaders.
    Metadata = 3: 0..=13, flexible 9;
    /// Commit a group's offsets.
    OffsetCommit = 8: 2..=10, flexible 8;
    /// Read a group's committed offsets.
    OffsetFetch = 9: 1..=10, flexible 6;
    /// Find the coordinator of a group or a transaction.
    FindCoordinator = 10: 0..=6, flexible 3;
    /// Join a group and wait for its rebalance.
    JoinGroup = 11: 0..=9, flexible 6;
    /// Stay in a group.
    Heartbeat = 12: 0..=4, flexible 4;
    /// Leave a group.
    LeaveGroup = 13: 0..=5, flexible 4;
    /// Hand out or receive a group's assignment.
    SyncGroup = 14: 0..=5, flexible 4;
    /// Describe groups and their members.
    DescribeGroups = 15: 0..=6, flexible 5;
    /// List groups.
    ListGroups = 16: 0..=5, flexible 3;
    /// Choose a SASL mechanism.
    SaslHandshake = 17: 0..=1;
    /// Ask what a broker can do.
    ApiVersions = 18: 0..=4, flexible 3;
    /// Create topics.
    CreateTopics = 19: 2..=7, flexible 5;
    /// Delete topics.
    DeleteTopics = 20: 1..=6, flexible 4;
    /// Move partitions' log start offsets forward.
    DeleteRecords = 21: 0..=2, flexible 2;
    /// Obtain a producer id.
    InitProducerId = 22: 0..=5, flexible 2;
    /// Find where leader epochs end.
    OffsetForLeaderEpoch = 23: 2..=4, flexible 4;
    /// Add partitions to a transaction.
    AddPartitionsToTxn = 24: 0..=5, flexible 3;
    /// Add a group's offsets to a transaction.
    AddOffsetsToTxn = 25: 0..=4, flexible 3;
    /// Commit or abort a transaction.
    EndTxn = 26: 0..=5, flexible 3;
    /// Write the markers that end transactions.
    WriteTxnMarkers = 27: 1..=2, flexible 1;
    /// Commit a group's offsets within a transaction.
    TxnOffsetCommit = 28: 0..=5, flexible 3;
    /// Describe the configuration of topics and brokers.
    DescribeConfigs = 32: 1..=4, flexible 4;
    /// Replace whole configurations.
    AlterConfigs = 33: 0..=2, flexible 2;
    /// Move replicas between log directories.
    AlterReplicaLogDirs = 34: 1..=2, flexible 2;
    /// Describe a broker's log directories.
    DescribeLogDirs = 35: 1..=5, flexible 2;
    /// Carry what a SASL mechanism says.
    SaslAuthenticate = 36: 0..=2, flexible 2;
    /// Add partitions to topics.
    CreatePartitions = 37: 0..=3, flexible 2;
    /// Delete groups.
    DeleteGroups = 42: 0..=2, flexible 2;
    /// Elect leaders of partitions.
    ElectLeaders = 43: 0..=2, flexible 2;
    /// Change single configuration entries.
    IncrementalAlterConfigs = 44: 0..=1, flexible 1;
    /// Move partitions to other replicas.
    AlterPartitionReassignments = 45: 0..=1, flexible 0;
    /// List the moves under way.
    ListPartitionReassignments = 46: 0..=0, flexible 0;
    /// Delete a group's offsets of some partitions.
    OffsetDelete = 47: 0..=0;
    /// Describe quotas.
    DescribeClientQuotas = 48: 0..=1, flexible 1;
    /// Set and remove quotas.
    AlterClientQuotas = 49: 0..=1, flexible 1;
    /// Describe SCRAM credentials.
    DescribeUserScramCredentials = 50: 0..=0, flexible 0;
    /// Describe the controllers' quorum.
    DescribeQuorum = 55: 0..=2, flexible 0;
    /// Change the finalized versions of features.
    UpdateFeatures = 57: 0..=2, flexible 0;
    /// Describe the brokers and the controller.
    DescribeCluster = 60: 0..=2, flexible 0;
    /// Describe the producers that partitions remember.
    DescribeProducers = 61: 0..=0, flexible 0;
    /// Forget a broker.
    UnregisterBroker = 64: 0..=0, flexible 0;
    /// Describe transactions.
    DescribeTransactions = 65: 0..=0, flexible 0;
    /// List transactions.
    ListTransactions = 66: 0..=2, flexible 0;
    /// Join, stay in or leave a group of the consumer protocol.
    ConsumerGroupHeartbeat = 68: 0..=1, flexible 0;
    /// Describe groups of the consumer protocol.
    ConsumerGroupDescribe = 69: 0..=1, flexible 0;
    /// List the resources that have a configuration.
    ListConfigResources = 74: 0..=1, flexible 0;
    /// Describe topics page by page.
    DescribeTopicPartitions = 75: 0..=0, flexible 0;
    /// Add a voter to the controllers' quorum.
    AddRaftVoter = 80: 0..=1, flexible 0;
    /// Remove a voter from the controllers' quorum.
    RemoveRaftVoter = 81: 0..=0, flexible 0;
}

impl ApiKey {
    /// The key on the wire.
    pub const fn key(self) -> i16 {
        self as i16
    }

    /// The version of the request header that goes with a version of this API.
    pub const fn request_header_version(self, version: i16) -> i16 {
        if self.versions().is_flexible(version) {
            2
        } else {
            1
        }
    }

    /// The version of the response header that goes with a version of this API.
    ///
    /// A client must be able to read the answer to ApiVersions before it knows anything of the broker, so that
    /// one has always the oldest header.
    pub const fn response_header_version(self, version: i16) -> i16 {
        if matches!(self, ApiKey::ApiVersions) {
            return 0;
        }
        if self.versions().is_flexible(version) {
            1
        } else {
            0
        }
    }

    /// The lowest version to advertise.
    ///
    /// Produce is advertised from 0 on, though only 3 and later can be decoded: librdkafka does not compress
    /// otherwise (KAFKA-18659).
    pub const fn advertised_min(self) -> i16 {
        match self {
            ApiKey::Produce => 0,
            _ => self.versions().min,
        }
    }
}

/// The entries of an ApiVersions response for the APIs that a broker handles, by ascending key.
pub fn advertised(handled: impl Fn(ApiKey) -> bool) -> Vec<ApiVersion> {
    ApiKey::ALL
        .iter()
        .filter(|api| handled(**api))
        .map(|api| ApiVersion {
            api_key: api.key(),
            min_version: api.advertised_min(),
            max_version: api.versions().max,
            ..ApiVersion::default()
        })
        .collect()
}

/// The highest version that both sides have, given the other side's range.
///
/// ```
/// use thalweg_log::wire::{ApiKey, catalogue};
///
/// assert_eq!(catalogue::common_version(ApiKey::Fetch, 0, 12), Some(12));
/// assert_eq!(catalogue::common_version(ApiKey::Fetch, 19, 30), None);
/// ```
pub fn common_version(api: ApiKey, min: i16, max: i16) -> Option<i16> {
    let ours = api.versions();
    let version = ours.max.min(max);
    (version >= ours.min && version >= min).then_some(version)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Kafka 4.3 advertises exactly these for the APIs declared here.
    #[test]
    fn advertises_what_kafka_advertises() {
        let table: Vec<String> = advertised(|_| true)
            .iter()
            .map(|v| format!("{}:{}-{}", v.api_key, v.min_version, v.max_version))
            .collect();
        assert_eq!(
            table.join(" "),
            "0:0-13 1:4-18 2:1-11 3:0-13 8:2-10 9:1-10 10:0-6 11:0-9 12:0-4 13:0-5 14:0-5 15:0-6 16:0-5 \
             17:0-1 18:0-4 19:2-7 20:1-6 21:0-2 22:0-5 23:2-4 24:0-5 25:0-4 26:0-5 27:1-2 28:0-5 32:1-4 \
             33:0-2 34:1-2 35:1-5 36:0-2 37:0-3 42:0-2 43:0-2 44:0-1 45:0-1 46:0-0 47:0-0 48:0-1 49:0-1 \
             50:0-0 55:0-2 57:0-2 60:0-2 61:0-0 64:0-0 65:0-0 66:0-2 68:0-1 69:0-1 74:0-1 75:0-0 80:0-1 81:0-0"
        );
    }

    #[test]
    fn header_versions() {
        assert_eq!(ApiKey::Produce.request_header_version(8), 1);
        assert_eq!(ApiKey::Produce.request_header_version(9), 2);
        assert_eq!(ApiKey::Produce.response_header_version(9), 1);
        assert_eq!(ApiKey::ApiVersions.request_header_version(3), 2);
        assert_eq!(ApiKey::ApiVersions.response_header_version(4), 0);
        assert_eq!(ApiKey::OffsetDelete.request_header_version(0), 1);
    }

    #[test]
    fn keys_are_ascending_and_found() {
        assert!(ApiKey::ALL.is_sorted());
        for api in ApiKey::ALL {
            assert_eq!(ApiKey::from_key(api.key()), Some(*api));
        }
        assert_eq!(ApiKey::from_key(4), None);
    }
}
