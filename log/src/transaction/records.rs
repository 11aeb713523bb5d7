//! The records of `__transaction_state`: byte for byte what Kafka's coordinator writes and reads.

use bytes::Bytes;

use super::metadata::TransactionMetadata;
use super::types::TransactionState;
use crate::wire::messages::{TransactionLogKey, TransactionLogPartitions, TransactionLogValue};
use crate::wire::{Message, Str, WireError, peek_version};

/// The version of keys, and the only one there is.
const KEY_VERSION: i16 = 0;

/// The version of values that is written: with tagged fields, as from transactions v1 on.
const VALUE_VERSION: i16 = 1;

/// A record of `__transaction_state`: the state of a transactional id, or that it is forgotten.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransactionRecord {
    /// The transactional id.
    pub transactional_id: Str,
    /// Its state; `None` forgets it.
    pub metadata: Option<TransactionMetadata>,
}

/// Why a record of `__transaction_state` could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TransactionRecordError {
    /// The bytes are not what they should be.
    #[error("a record of the transaction log cannot be read: {0}")]
    Wire(#[from] WireError),
    /// A state that is not known.
    #[error("the transaction of `{transactional_id}` has the state {state}, which is not known")]
    State {
        /// The transactional id.
        transactional_id: Str,
        /// The number in the record.
        state: i8,
    },
}

impl TransactionRecord {
    /// The record's key and value.
    ///
    /// # Errors
    /// A [`WireError`] if a text is longer than the format can hold.
    pub fn encode(&self) -> Result<(Bytes, Option<Bytes>), WireError> {
        let key = TransactionLogKey {
            transactional_id: self.transactional_id.clone(),
            ..TransactionLogKey::default()
        };
        let value = match &self.metadata {
            Some(metadata) => Some(value(metadata).to_versioned(VALUE_VERSION)?),
            None => None,
        };
        Ok((key.to_versioned(KEY_VERSION)?, value))
    }

    /// Reads a record back; `None` for kinds and versions that are not ours to know.
    ///
    /// # Errors
    /// [`TransactionRecordError`] if a known kind cannot be read.
    pub fn decode(
        key: Bytes,
        value: Option<Bytes>,
    ) -> Result<Option<Self>, TransactionRecordError> {
        if peek_version(&key)? != KEY_VERSION {
            return Ok(None);
        }
        // A copy, so that a transaction does not hold on to a whole batch.
        let transactional_id = TransactionLogKey::from_versioned(key)?
            .transactional_id
            .detach();
        let metadata = match value {
            None => None,
            Some(value) if !TransactionLogValue::VERSIONS.contains(peek_version(&value)?) => {
                return Ok(None);
            }
            Some(value) => {
                let value = TransactionLogValue::from_versioned(value)?;
                let state =
                    TransactionState::from_id(value.transaction_status).ok_or_else(|| {
                        TransactionRecordError::State {
                            transactional_id: transactional_id.clone(),
                            state: value.transaction_status,
                        }
                    })?;
                Some(metadata(value, state))
            }
        };
        Ok(Some(Self {
            transactional_id,
            metadata,
        }))
    }
}

fn value(from: &TransactionMetadata) -> TransactionLogValue {
    let mut topics: Vec<TransactionLogPartitions> = Vec::new();
    // Ordered by topic: one run each.
    for (topic, partition) in &from.partitions {
        match topics.last_mut() {
            Some(last) if last.topic == *topic => last.partition_ids.push(*partition),
            _ => topics.push(TransactionLogPartitions {
                topic: topic.clone(),
                partition_ids: vec![*partition],
                ..TransactionLogPartitions::default()
            }),
        }
    }
    TransactionLogValue {
        producer_id: from.producer_id,
        previous_producer_id: from.previous_producer_id,
        next_producer_id: from.next_producer_id,
        producer_epoch: from.producer_epoch,
        transaction_timeout_ms: from.timeout_ms,
        transaction_status: from.state.id(),
        transaction_partitions: (from.state != TransactionState::Empty).then_some(topics),
        transaction_last_update_timestamp_ms: from.last_update_ms,
        transaction_start_timestamp_ms: from.start_ms,
        client_transaction_version: from.client_version,
        ..TransactionLogValue::default()
    }
}

fn metadata(from: TransactionLogValue, state: TransactionState) -> TransactionMetadata {
    let topics = from.transaction_partitions.unwrap_or_default();
    let partitions = topics.iter().flat_map(|topic| {
        let name = topic.topic.detach();
        let with_name = move |partition: &i32| (name.clone(), *partition);
        topic.partition_ids.iter().map(with_name)
    });
    TransactionMetadata {
        producer_id: from.producer_id,
        previous_producer_id: from.previous_producer_id,
        next_producer_id: from.next_producer_id,
        producer_epoch: from.producer_epoch,
        last_producer_epoch: -1,
        timeout_ms: from.transaction_timeout_ms,
        state,
        partitions: partitions.collect(),
        start_ms: from.transaction_start_timestamp_ms,
        last_update_ms: from.transaction_last_update_timestamp_ms,
        client_version: from.client_transaction_version,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_metadata() -> impl Strategy<Value = TransactionMetadata> {
        let partitions = prop::collection::btree_set(("[a-c]{1,3}", 0..4i32), 0..6);
        (
            any::<(i64, i64, i64, i16)>(),
            any::<(i32, i64, i64)>(),
            0..8i8,
            0..3i16,
            partitions,
        )
            .prop_map(|(ids, times, state, client_version, partitions)| {
                let state = TransactionState::from_id(state).unwrap();
                let empty = state == TransactionState::Empty;
                TransactionMetadata {
                    producer_id: ids.0,
                    previous_producer_id: ids.1,
                    next_producer_id: ids.2,
                    producer_epoch: ids.3,
                    last_producer_epoch: -1,
                    timeout_ms: times.0,
                    state,
                    partitions: partitions
                        .into_iter()
                        .filter(|_| !empty)
                        .map(|(topic, partition)| (Str::from(topic), partition))
                        .collect(),
                    start_ms: times.1,
                    last_update_ms: times.2,
                    client_version,
                }
            })
    }

    proptest! {
        #[test]
        fn records_survive_the_log(
            id in "[a-z]{0,8}",
            metadata in prop::option::of(any_metadata()),
        ) {
            let record = TransactionRecord { transactional_id: Str::from(id), metadata };
            let (key, value) = record.encode().unwrap();
            prop_assert_eq!(TransactionRecord::decode(key, value).unwrap(), Some(record));
        }

        #[test]
        fn random_bytes_never_panic(
            key in prop::collection::vec(any::<u8>(), 0..40),
            value in prop::option::of(prop::collection::vec(any::<u8>(), 0..80)),
        ) {
            let _ = TransactionRecord::decode(Bytes::from(key.clone()), value.clone().map(Bytes::from));
            let key = [&[0, 0, 0, 1, b'a'][..], &key].concat();
            let _ = TransactionRecord::decode(Bytes::from(key), value.map(Bytes::from));
        }
    }

    /// The format is Kafka's: these bytes are what its own coordinator reads.
    #[test]
    fn golden() {
        let record = TransactionRecord {
            transactional_id: Str::from("tx"),
            metadata: Some(TransactionMetadata {
                producer_id: 5,
                previous_producer_id: 4,
                next_producer_id: -1,
                producer_epoch: 2,
                last_producer_epoch: 1,
                timeout_ms: 60_000,
                state: TransactionState::PrepareCommit,
                partitions: [(Str::from("t"), 1), (Str::from("t"), 3)].into(),
                start_ms: 7,
                last_update_ms: 9,
                client_version: 2,
            }),
        };
        let (key, value) = record.encode().unwrap();
        assert_eq!(&key[..], b"\0\0\0\x02tx");
        let value = value.unwrap();
        #[rustfmt::skip]
        let golden: &[u8] = &[
            0, 1, // version
            0, 0, 0, 0, 0, 0, 0, 5, // producer id
            0, 2, // epoch
            0, 0, 0xea, 0x60, // timeout
            2, // PrepareCommit
            2, 2, b't', 3, 0, 0, 0, 1, 0, 0, 0, 3, 0, // one topic, two partitions, no tags
            0, 0, 0, 0, 0, 0, 0, 9, // last update
            0, 0, 0, 0, 0, 0, 0, 7, // start
            2, 0, 8, 0, 0, 0, 0, 0, 0, 0, 4, 2, 2, 0, 2, // tags: previous id, client's version
        ];
        assert_eq!(&value[..], golden);
        let read = TransactionRecord::decode(key, Some(value))
            .unwrap()
            .unwrap();
        assert_eq!(
            read.metadata.unwrap().last_producer_epoch,
            -1,
            "Kafka's format does not hold it"
        );
    }

    #[test]
    fn unknown_kinds_are_passed_over() {
        let later = Bytes::from_static(b"\0\x01\0\x02tx");
        assert_eq!(TransactionRecord::decode(later, None), Ok(None));
        let (key, _) = TransactionRecord {
            transactional_id: Str::from("tx"),
            metadata: None,
        }
        .encode()
        .unwrap();
        let value = Some(Bytes::from_static(b"\0\x02...."));
        assert_eq!(TransactionRecord::decode(key.clone(), value), Ok(None));
        assert!(TransactionRecord::decode(key, Some(Bytes::from_static(b"\0\x01"))).is_err());
    }
}
