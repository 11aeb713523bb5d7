//! Features: what this program supports, and what the cluster has switched on (KIP-584).
//!
//! Invariant: a finalized level lies in the supported range of its feature, or is 0, which is the same as none.

/// A feature and the levels of it that this program supports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SupportedFeature {
    /// Kafka's name of the feature.
    pub name: &'static str,
    /// The lowest level.
    pub min: i16,
    /// The highest, which a new cluster starts with.
    pub max: i16,
}

/// The format of the metadata and of what brokers say to each other.
pub const METADATA_VERSION: &str = "metadata.version";
/// Which protocol transactions follow; 2 is KIP-890.
pub const TRANSACTION_VERSION: &str = "transaction.version";
/// Which group protocols there are; 1 has the consumer protocol of KIP-848.
pub const GROUP_VERSION: &str = "group.version";

/// All features. The levels are Kafka 4.3's: `metadata.version` from 3.3-IV3 to 4.3-IV0.
pub const SUPPORTED_FEATURES: &[SupportedFeature] = &[
    SupportedFeature {
        name: GROUP_VERSION,
        min: 0,
        max: 1,
    },
    SupportedFeature {
        name: METADATA_VERSION,
        min: 7,
        max: 30,
    },
    SupportedFeature {
        name: TRANSACTION_VERSION,
        min: 0,
        max: 2,
    },
];

/// The feature of a name.
pub fn supported_feature(name: &str) -> Option<SupportedFeature> {
    SUPPORTED_FEATURES
        .iter()
        .find(|feature| feature.name == name)
        .copied()
}

/// What a new cluster starts with: the highest level of each feature.
pub fn initial_features() -> Vec<(String, i16)> {
    SUPPORTED_FEATURES
        .iter()
        .map(|feature| (feature.name.to_owned(), feature.max))
        .collect()
}
