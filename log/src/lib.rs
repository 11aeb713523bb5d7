//! The log of Thalweg: a partitioned commit log that speaks the Kafka protocol.
//!
//! The modules are layers; each may use those above it in this list:
//!
//! - [`wire`]: the messages of the Kafka protocol and the one catalogue of API versions;
//! - [`record`]: record batches, the one format on disk, on the wire and in memory;
//! - [`storage`]: segments, indexes, partition logs, recovery and retention;
//! - [`client`]: producer, consumer and admin over a transport;
//! - [`net`]: frames, their limits, and one connection;
//! - [`config`]: the configuration of brokers and topics, by Kafka's names;
//! - [`controller`]: the metadata state machine and its quorum;
//! - [`group`]: consumer groups and their offsets;
//! - [`transaction`]: the transaction coordinator;
//! - [`broker`]: requests to answers.
#![cfg_attr(
    not(test),
    warn(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)
)]

pub mod broker;
pub mod client;
pub mod config;
pub mod controller;
pub mod group;
pub mod net;
pub mod record;
pub mod storage;
pub mod transaction;
pub mod wire;
