//! Producer, consumer and admin over a transport.
//!
//! A [`Client`] stands for one cluster. It is reached in process
//! ([`Client::with_transport`]) or over TCP ([`Client::connect`]); nothing above the
//! [`Transport`] can tell which. From it come the [`Producer`], the [`Consumer`] and the
//! [`Admin`], which share its metadata.
//!
//! ```no_run
//! use std::time::Duration;
//! use thalweg_log::client::*;
//!
//! # async fn run() -> Result<(), ClientError> {
//! let client = Client::connect("localhost:9092", ClientConfig::default()).await?;
//!
//! let producer = client.producer(ProducerConfig::default())?;
//! let delivery = producer.send(ProducerRecord::new("clicks").key("user-7").value("42")).await?;
//! println!("written at offset {}", delivery.await?.offset);
//!
//! let mut consumer = client.consumer(ConsumerConfig {
//!     group_id: Some("counts".into()),
//!     auto_offset_reset: AutoOffsetReset::Earliest,
//!     ..ConsumerConfig::default()
//! })?;
//! consumer.subscribe(&["clicks"])?;
//! for records in consumer.poll_records(Duration::from_secs(1)).await? {
//!     for record in records {
//!         println!("{:?}", record?.value);
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! Futures of this module need a tokio runtime with time (and, over TCP, I/O) around
//! them. A thread of one's own drives them with `Handle::block_on`. Background work runs
//! on the runtime in [`ClientConfig::runtime`], or the one in which the producer or consumer
//! was made.

mod admin;
mod config;
mod consumer;
mod coordinator;
mod core;
mod error;
#[cfg(test)]
mod fake;
mod metadata;
mod offsets;
mod producer;
mod tcp;
mod transport;
mod types;

use std::sync::Arc;

pub use admin::*;
pub use config::{ClientConfig, split_config};
pub use consumer::*;
pub use error::ClientError;
pub use metadata::{PartitionInfo, TopicInfo};
pub use producer::{
    Acks, Delivery, Producer, ProducerConfig, ProducerRecord, ProducerTopic, RecordMetadata,
    RecordRef, murmur2, partition_for_key,
};
pub use tcp::TcpTransport;
pub use transport::{Call, Destination, Lane, Reply, Transport};
pub use types::{
    EpochEndOffset, GroupMetadata, Node, OffsetAndMetadata, OffsetAndTimestamp, OffsetSpec,
    TopicPartition,
};

use self::core::Core;
use metadata::Metadata;

/// One cluster, as a client sees it. Cheap to clone; clones share metadata and
/// connections.
#[derive(Debug, Clone)]
pub struct Client {
    core: Arc<Core>,
}

impl Client {
    /// Reaches a cluster over TCP. `bootstrap` is a list of `host:port`, separated by
    /// commas, of which one must answer.
    pub async fn connect(bootstrap: &str, config: ClientConfig) -> Result<Self, ClientError> {
        let transport = TcpTransport::new(bootstrap, &config)?;
        let client = Self::with_transport(Arc::new(transport), config);
        // A wrong address is told here and not by whatever comes first.
        client
            .core
            .metadata
            .fetch(
                &*client.core.transport,
                Some(&[]),
                false,
                client.core.config.request_timeout_ms,
            )
            .await?;
        Ok(client)
    }

    /// Reaches a cluster over `transport`, as a broker in this process gives it.
    pub fn with_transport(transport: Arc<dyn Transport>, config: ClientConfig) -> Self {
        Self {
            core: Arc::new(Core {
                transport,
                metadata: Metadata::new(config.metadata_max_age_ms),
                config,
            }),
        }
    }

    /// Administration: topics, groups, offsets, configurations.
    pub fn admin(&self) -> Admin {
        Admin::new(self.core.clone())
    }

    /// A producer. Its sender starts at once.
    pub fn producer(&self, config: ProducerConfig) -> Result<Producer, ClientError> {
        Producer::start(self.core.clone(), config)
    }

    /// A consumer; it reads nothing before [`Consumer::subscribe`] or [`Consumer::assign`].
    pub fn consumer(&self, config: ConsumerConfig) -> Result<Consumer, ClientError> {
        Consumer::new(self.core.clone(), config)
    }

    /// What is known of a topic; asks a broker if nothing is known yet. A topic that does
    /// not exist is an error.
    pub async fn topic(&self, name: &str) -> Result<Arc<TopicInfo>, ClientError> {
        self.core
            .topic(&Arc::from(name), false, self.core.deadline())
            .await
    }
}
