//! Transactions and producers: who writes where, what is open, and how to end it.

use std::collections::BTreeMap;

use futures::future::join_all;

use super::by_topic::by_topic;
use super::topics::check;
use super::{Admin, Each};
use crate::client::coordinator::{Coordinated, Coordinator};
use crate::client::transport::Destination;
use crate::client::{ClientError, TopicPartition};
use crate::wire::Str;
use crate::wire::messages::{
    DescribeProducersRequest, DescribeProducersRequestTopic, DescribeTransactionsRequest,
    InitProducerIdRequest, ListTransactionsRequest, WritableTxnMarker, WritableTxnMarkerTopic,
    WriteTxnMarkersRequest,
};

/// A producer that a partition remembers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProducerState {
    /// Its id.
    pub producer_id: i64,
    /// Its epoch.
    pub producer_epoch: i32,
    /// The sequence of its last record.
    pub last_sequence: i32,
    /// When it wrote last, in milliseconds since 1970; -1 if unknown.
    pub last_timestamp: i64,
    /// The epoch of the coordinator that ended its last transaction; `None` if none did.
    pub coordinator_epoch: Option<i32>,
    /// Where its open transaction begins in the partition, if one is open.
    pub current_transaction_start_offset: Option<i64>,
}

/// A transactional id as its coordinator knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransactionDescription {
    /// The broker that coordinates it.
    pub coordinator: i32,
    /// `Empty`, `Ongoing`, `PrepareCommit`, …
    pub state: String,
    /// The producer's id.
    pub producer_id: i64,
    /// The producer's epoch.
    pub producer_epoch: i16,
    /// `transaction.timeout.ms`.
    pub transaction_timeout_ms: i32,
    /// When the open transaction began, in milliseconds since 1970, if one is open.
    pub transaction_start_time_ms: Option<i64>,
    /// The partitions in the transaction.
    pub topic_partitions: Vec<TopicPartition>,
}

/// A transactional id of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransactionListing {
    /// The id.
    pub transactional_id: String,
    /// The producer's id.
    pub producer_id: i64,
    /// `Empty`, `Ongoing`, `PrepareCommit`, …
    pub state: String,
}

/// Which transactional ids to list; the default lists all.
#[derive(Debug, Clone, Default)]
pub struct ListTransactionsOptions {
    /// Only those in one of these states.
    pub states: Vec<String>,
    /// Only those of these producers.
    pub producer_ids: Vec<i64>,
    /// Only those whose transaction has been open for longer than this many milliseconds.
    pub duration_ms: Option<i64>,
    /// Only those whose id matches this regular expression (RE2).
    pub transactional_id_pattern: Option<String>,
}

/// A hanging transaction to abort, as [`Admin::describe_producers`] shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AbortTransaction {
    /// The partition in which it hangs.
    pub topic_partition: TopicPartition,
    /// The producer's id.
    pub producer_id: i64,
    /// The producer's epoch.
    pub producer_epoch: i16,
    /// The coordinator's epoch; -1 if the partition knows none.
    pub coordinator_epoch: i32,
}

/// The identity of a producer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProducerIdAndEpoch {
    /// The id.
    pub producer_id: i64,
    /// The epoch.
    pub epoch: i16,
}

impl Admin {
    /// The producers that partitions remember. Asks each partition's leader, or the replica
    /// on `broker`.
    pub async fn describe_producers(
        &self,
        partitions: &[TopicPartition],
        broker: Option<i32>,
    ) -> Result<Each<Vec<ProducerState>, TopicPartition>, ClientError> {
        let wanted: BTreeMap<TopicPartition, ()> =
            partitions.iter().map(|p| (p.clone(), ())).collect();
        let ask = |broker: i32, share: BTreeMap<TopicPartition, ()>| async move {
            let request = DescribeProducersRequest {
                topics: by_topic(
                    share.keys().map(|p| (p, ())),
                    |partition, ()| partition,
                    |name, partition_indexes| DescribeProducersRequestTopic {
                        name,
                        partition_indexes,
                        ..DescribeProducersRequestTopic::default()
                    },
                ),
                ..DescribeProducersRequest::default()
            };
            let response = self.core.ask(Destination::Broker(broker), request).await?;
            let mut answers = Each::new();
            for topic in response.topics {
                for p in topic.partitions {
                    let partition = TopicPartition::new(&*topic.name, p.partition_index);
                    let what = format!("describe the producers of {partition}");
                    let answer = check(p.error_code, what, p.error_message).map(|()| {
                        p.active_producers
                            .iter()
                            .map(|state| ProducerState {
                                producer_id: state.producer_id,
                                producer_epoch: state.producer_epoch,
                                last_sequence: state.last_sequence,
                                last_timestamp: state.last_timestamp,
                                coordinator_epoch: Some(state.coordinator_epoch)
                                    .filter(|epoch| *epoch >= 0),
                                current_transaction_start_offset: Some(
                                    state.current_txn_start_offset,
                                )
                                .filter(|offset| *offset >= 0),
                            })
                            .collect()
                    });
                    answers.insert(partition, answer);
                }
            }
            Ok(answers)
        };
        match broker {
            Some(broker) => ask(broker, wanted).await,
            None => Ok(self
                .ask_leaders("describe the producers of", wanted, ask)
                .await),
        }
    }

    /// What the coordinators know of transactional ids.
    pub async fn describe_transactions<T: AsRef<str>>(
        &self,
        transactional_ids: &[T],
    ) -> Result<Each<TransactionDescription>, ClientError> {
        let described = transactional_ids.iter().map(|id| async move {
            let id = id.as_ref();
            let result = self
                .with_transaction_coordinator(id, |coordinator| async move {
                    let request = DescribeTransactionsRequest {
                        transactional_ids: vec![Str::from(id)],
                        ..DescribeTransactionsRequest::default()
                    };
                    let destination = Destination::Broker(coordinator);
                    let response = self.core.ask(destination, request).await?;
                    let Some(state) = response.transaction_states.into_iter().next() else {
                        return Err(super::empty("DescribeTransactions"));
                    };
                    check(
                        state.error_code,
                        format!("describe transactional id {id}"),
                        None::<Str>,
                    )?;
                    Ok(TransactionDescription {
                        coordinator,
                        state: state.transaction_state.to_string(),
                        producer_id: state.producer_id,
                        producer_epoch: state.producer_epoch,
                        transaction_timeout_ms: state.transaction_timeout_ms,
                        transaction_start_time_ms: Some(state.transaction_start_time_ms)
                            .filter(|time| *time >= 0),
                        topic_partitions: state
                            .topics
                            .iter()
                            .flat_map(|topic| {
                                let partitions = topic.partitions.iter();
                                partitions.map(|p| TopicPartition::new(&*topic.topic, *p))
                            })
                            .collect(),
                    })
                })
                .await;
            (id.to_owned(), result)
        });
        Ok(join_all(described).await.into_iter().collect())
    }

    /// The transactional ids of all brokers.
    pub async fn list_transactions(
        &self,
        options: &ListTransactionsOptions,
    ) -> Result<Vec<TransactionListing>, ClientError> {
        let request = ListTransactionsRequest {
            state_filters: options.states.iter().map(Str::from).collect(),
            producer_id_filters: options.producer_ids.clone(),
            duration_filter: options.duration_ms.unwrap_or(-1),
            transactional_id_pattern: options.transactional_id_pattern.as_ref().map(Str::from),
            ..ListTransactionsRequest::default()
        };
        let least = match options {
            ListTransactionsOptions {
                transactional_id_pattern: Some(_),
                ..
            } => 2,
            ListTransactionsOptions {
                duration_ms: Some(_),
                ..
            } => 1,
            _ => 0,
        };
        let listed = self.ask_all_brokers(&request, least, |broker, response| {
            let what = format!("list the transactions of broker {broker}");
            check(response.error_code, what, None::<Str>)?;
            if let Some(unknown) = response.unknown_state_filters.first() {
                return Err(ClientError::IllegalState(format!(
                    "there is no transaction state `{unknown}`; use Empty, Ongoing, \
                     PrepareCommit, PrepareAbort, CompleteCommit, CompleteAbort, Dead or \
                     PrepareEpochFence"
                )));
            }
            Ok(response.transaction_states)
        });
        let mut listed: Vec<TransactionListing> = listed
            .await?
            .into_iter()
            .map(|t| TransactionListing {
                transactional_id: t.transactional_id.to_string(),
                producer_id: t.producer_id,
                state: t.transaction_state.to_string(),
            })
            .collect();
        listed.sort_by(|a, b| a.transactional_id.cmp(&b.transactional_id));
        Ok(listed)
    }

    /// Aborts a transaction that hangs in a partition, because its coordinator knows
    /// nothing of it: writes the marker that is missing. Never needed for one that the
    /// coordinator knows; that one times out.
    pub async fn abort_transaction(&self, hanging: &AbortTransaction) -> Result<(), ClientError> {
        let partition = &hanging.topic_partition;
        let wanted = BTreeMap::from([(partition.clone(), ())]);
        let what = || format!("abort the transaction in {partition}");
        let answers = self
            .ask_leaders("abort the transaction in", wanted, |leader, _| async move {
                let request = WriteTxnMarkersRequest {
                    markers: vec![WritableTxnMarker {
                        producer_id: hanging.producer_id,
                        producer_epoch: hanging.producer_epoch,
                        transaction_result: false,
                        coordinator_epoch: hanging.coordinator_epoch,
                        topics: vec![WritableTxnMarkerTopic {
                            name: Str::from(&*partition.topic),
                            partition_indexes: vec![partition.partition],
                            ..WritableTxnMarkerTopic::default()
                        }],
                        ..WritableTxnMarker::default()
                    }],
                    ..WriteTxnMarkersRequest::default()
                };
                let response = self.core.ask(Destination::Broker(leader), request).await?;
                let answer = response
                    .markers
                    .iter()
                    .flat_map(|marker| &marker.topics)
                    .flat_map(|topic| &topic.partitions)
                    .next()
                    .ok_or_else(|| super::empty("WriteTxnMarkers"))?;
                let answer = check(answer.error_code, what(), None::<Str>);
                Ok(Each::from([(partition.clone(), answer)]))
            })
            .await;
        super::only(answers, "WriteTxnMarkers")
    }

    /// Fences the producers with these transactional ids and ends their open transactions,
    /// as another producer under the same id would.
    pub async fn fence_producers<T: AsRef<str>>(
        &self,
        transactional_ids: &[T],
    ) -> Result<Each<ProducerIdAndEpoch>, ClientError> {
        let fenced = transactional_ids.iter().map(|id| async move {
            let id = id.as_ref();
            let result = self
                .with_transaction_coordinator(id, |coordinator| async move {
                    let request = InitProducerIdRequest {
                        transactional_id: Some(Str::from(id)),
                        // Nothing begins under it, so that any will do.
                        transaction_timeout_ms: 1,
                        ..InitProducerIdRequest::default()
                    };
                    let destination = Destination::Broker(coordinator);
                    let response = self.core.ask(destination, request).await?;
                    let what = format!("fence the producer with transactional id {id}");
                    check(response.error_code, what, None::<Str>)?;
                    Ok(ProducerIdAndEpoch {
                        producer_id: response.producer_id,
                        epoch: response.producer_epoch,
                    })
                })
                .await;
            (id.to_owned(), result)
        });
        Ok(join_all(fenced).await.into_iter().collect())
    }

    /// Asks the id's coordinator, and its next one if it has moved.
    async fn with_transaction_coordinator<T, F>(
        &self,
        transactional_id: &str,
        ask: impl Fn(i32) -> F,
    ) -> Result<T, ClientError>
    where
        F: Future<Output = Result<T, ClientError>>,
    {
        let key = transactional_id.to_owned();
        let coordinator = Coordinator::new(self.core.clone(), Coordinated::Transactions, key);
        let (coordinator, ask) = (&coordinator, &ask);
        self.core
            .retry(self.core.deadline(), || async move {
                let broker = coordinator.find().await?;
                ask(broker)
                    .await
                    .inspect_err(|error| coordinator.forget_if(error))
            })
            .await
    }
}
