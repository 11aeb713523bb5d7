//! The producer's configuration.

use std::time::Duration;

use crate::client::ClientError;
use crate::client::config::{ConfigValue, config};
use crate::record::Compression;

/// Which acknowledgement a producer waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Acks {
    /// None: a record counts as delivered when it was handed to the transport.
    None,
    /// The leader has written it.
    Leader,
    /// All in-sync replicas have written it.
    All,
}

impl Acks {
    pub(crate) fn code(self) -> i16 {
        match self {
            Acks::None => 0,
            Acks::Leader => 1,
            Acks::All => -1,
        }
    }
}

impl ConfigValue for Acks {
    fn parse(text: &str) -> Result<Self, String> {
        match text.trim() {
            "0" => Ok(Acks::None),
            "1" => Ok(Acks::Leader),
            "all" | "-1" => Ok(Acks::All),
            _ => Err("expected 0, 1 or all".to_owned()),
        }
    }
}

config! {
    /// How a [`Producer`](super::Producer) gathers and sends records.
    ///
    /// ```
    /// use thalweg_log::client::ProducerConfig;
    /// let config = ProducerConfig::from_map([("linger.ms", "5"), ("acks", "all")])?;
    /// assert!(ProducerConfig::from_map([("linger", "5")]).is_err());
    /// # Ok::<(), thalweg_log::client::ClientError>(())
    /// ```
    pub struct ProducerConfig ("producer") {
        /// Which acknowledgement counts as delivered.
        "acks" => acks: Acks = Acks::All,
        /// The size up to which records of a partition are gathered into one batch.
        "batch.size" => batch_size: usize = 16_384,
        /// How long a batch may wait for more records before it is sent.
        "linger.ms" => linger_ms: Duration = Duration::from_millis(5),
        /// How many bytes of records may wait for delivery. Beyond it `send` waits and
        /// `try_send` returns an error.
        "buffer.memory" => buffer_memory: usize = 32 * 1024 * 1024,
        /// How long `send` may wait for metadata and for room in the buffer.
        "max.block.ms" => max_block_ms: Duration = Duration::from_secs(60),
        /// The largest request, and so the largest record.
        "max.request.size" => max_request_size: usize = 1_048_576,
        /// How batches are compressed.
        "compression.type" => compression_type: Compression = Compression::None,
        /// Whether retries can neither double nor reorder records. `None` means yes, unless
        /// `acks` or `max.in.flight.requests.per.connection` forbid it.
        "enable.idempotence" => enable_idempotence: Option<bool> = None,
        /// How many requests may be on their way to one broker. At most 5 when
        /// idempotent, as brokers remember the last 5 batches of a producer.
        "max.in.flight.requests.per.connection" => max_in_flight_requests_per_connection: usize = 5,
        /// The longest time from `send` to the result.
        "delivery.timeout.ms" => delivery_timeout_ms: Duration = Duration::from_secs(120),
        /// How often a batch is sent again within `delivery.timeout.ms`.
        "retries" => retries: u32 = 2_147_483_647,
        /// Makes this a transactional producer. The id stands for the place that the
        /// producer has in the application and survives it: a second producer under the
        /// same id fences the first and ends its open transaction.
        "transactional.id" => transactional_id: Option<String> = None,
        /// How long a transaction may stay open until the coordinator aborts it.
        "transaction.timeout.ms" => transaction_timeout_ms: Duration = Duration::from_secs(60),
    }
    extra {
        /// `Some(1)` holds back to the transactions of before KIP-890, whatever the brokers
        /// can do. Not a key of Kafka's; for tests and comparisons.
        transaction_version: Option<i16>,
    }
}

impl ProducerConfig {
    /// Whether batches carry a producer id and sequences.
    pub fn is_idempotent(&self) -> bool {
        self.transactional_id.is_some()
            || self.enable_idempotence.unwrap_or(
                self.acks == Acks::All && self.max_in_flight_requests_per_connection <= 5,
            )
    }

    /// Refuses values that do not go together.
    pub(super) fn validate(&self) -> Result<(), ClientError> {
        let invalid = |key: &str, value: String, reason: &str| ClientError::InvalidConfig {
            key: key.to_owned(),
            value,
            reason: reason.to_owned(),
        };
        let in_flight = self.max_in_flight_requests_per_connection;
        if in_flight == 0 {
            return Err(invalid(
                "max.in.flight.requests.per.connection",
                "0".to_owned(),
                "it must be 1 or more",
            ));
        }
        if self.transactional_id.is_some() && self.enable_idempotence == Some(false) {
            return Err(invalid(
                "enable.idempotence",
                "false".to_owned(),
                "a transactional producer is idempotent; leave it out",
            ));
        }
        if self.enable_idempotence == Some(true) || self.transactional_id.is_some() {
            if self.acks != Acks::All {
                return Err(invalid(
                    "acks",
                    format!("{:?}", self.acks),
                    "an idempotent producer needs acks=all; or set enable.idempotence=false",
                ));
            }
            if in_flight > 5 {
                return Err(invalid(
                    "max.in.flight.requests.per.connection",
                    in_flight.to_string(),
                    "an idempotent producer may have 5 at most; or set enable.idempotence=false",
                ));
            }
        }
        Ok(())
    }
}
