//! Partitions as requests name them, by topic, and where their leaders are.

use std::collections::BTreeMap;
use std::time::Instant;

use futures::future::join_all;

use super::{Admin, Each};
use crate::client::{ClientError, TopicPartition};
use crate::wire::{ErrorCode, Str};

/// What belongs to partitions, in lists by topic.
pub(super) fn by_topic<'a, T, P, R>(
    items: impl IntoIterator<Item = (&'a TopicPartition, T)>,
    partition: impl Fn(i32, T) -> P,
    topic: impl Fn(Str, Vec<P>) -> R,
) -> Vec<R> {
    let mut topics: BTreeMap<&str, Vec<P>> = BTreeMap::new();
    for (name, item) in items {
        topics
            .entry(&name.topic)
            .or_default()
            .push(partition(name.partition, item));
    }
    topics
        .into_iter()
        .map(|(name, partitions)| topic(Str::from(name), partitions))
        .collect()
}

impl Admin {
    /// Asks the leader of each partition about its share of `items`, several leaders at
    /// once, and again where a leader has moved. Every partition gets an answer of its own.
    pub(super) async fn ask_leaders<T, R, F>(
        &self,
        what: &str,
        items: BTreeMap<TopicPartition, T>,
        ask: impl Fn(i32, BTreeMap<TopicPartition, T>) -> F,
    ) -> Each<R, TopicPartition>
    where
        T: Clone,
        F: Future<Output = Result<Each<R, TopicPartition>, ClientError>>,
    {
        let core = &self.core;
        let deadline = core.deadline();
        let mut results = Each::new();
        let mut left = items;
        let mut attempt = 0;
        loop {
            let mut by_leader: BTreeMap<i32, BTreeMap<TopicPartition, T>> = BTreeMap::new();
            let mut answers = Each::new();
            for (partition, item) in &left {
                match self.leader_of(what, partition, deadline).await {
                    Ok(leader) => {
                        let share = by_leader.entry(leader).or_default();
                        share.insert(partition.clone(), item.clone());
                    }
                    Err(error) => {
                        answers.insert(partition.clone(), Err(error));
                    }
                }
            }
            let ask = &ask;
            let asked = by_leader.into_iter().map(|(leader, share)| async move {
                let names: Vec<TopicPartition> = share.keys().cloned().collect();
                match ask(leader, share).await {
                    Ok(answers) => answers,
                    Err(error) => names
                        .into_iter()
                        .map(|partition| (partition, Err(error.clone())))
                        .collect(),
                }
            });
            answers.extend(join_all(asked).await.into_iter().flatten());
            let wait = core.backoff(attempt);
            let last = Instant::now() + wait >= deadline;
            let mut stale = Vec::new();
            for (partition, answer) in answers {
                let again = matches!(&answer, Err(error) if error.is_retriable()
                    && error.code() != Some(ErrorCode::UnknownTopicOrPartition));
                if again && !last {
                    stale.push(partition.topic.clone());
                } else {
                    left.remove(&partition);
                    results.insert(partition, answer);
                }
            }
            if stale.is_empty() {
                for partition in left.into_keys() {
                    let error = ClientError::Protocol {
                        what: what.to_owned(),
                        reason: format!("it says nothing of {partition}"),
                    };
                    results.insert(partition, Err(error));
                }
                return results;
            }
            tokio::time::sleep(wait).await;
            stale.dedup();
            if let Err(error) = core.refresh(&stale, false).await {
                tracing::debug!(%error, "metadata could not be refreshed");
            }
            attempt += 1;
        }
    }

    async fn leader_of(
        &self,
        what: &str,
        partition: &TopicPartition,
        deadline: Instant,
    ) -> Result<i32, ClientError> {
        let info = self.core.topic(&partition.topic, false, deadline).await?;
        let found = info.partition(partition.partition);
        let found = found.ok_or_else(|| ClientError::NoSuchPartition {
            partition: partition.clone(),
            partitions: info.partition_count(),
        })?;
        found.leader.ok_or_else(|| {
            ClientError::broker(ErrorCode::LeaderNotAvailable, format!("{what} {partition}"))
        })
    }
}
