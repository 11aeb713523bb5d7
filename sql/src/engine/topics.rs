//! Topics as the engine needs them: made once, and with their ends.

use crate::catalog::log_error;
use crate::error::{SqlError, SqlState, suggest};
use std::collections::BTreeMap;
use thalweg_log::client::{
    Client, ClientError, IsolationLevel, NewTopic, OffsetSpec, TopicPartition,
};
use thalweg_log::wire::ErrorCode;

/// Makes a topic; that it is there already is fine.
pub(crate) async fn create(client: &Client, topic: NewTopic) -> Result<(), ClientError> {
    match client.admin().create_topic(topic).await {
        Ok(_) => Ok(()),
        Err(error) if error.code() == Some(ErrorCode::TopicAlreadyExists) => Ok(()),
        Err(error) => Err(error),
    }
}

/// How many partitions a topic has; `None` if there is no such topic.
pub(crate) async fn partitions(client: &Client, topic: &str) -> Result<Option<i32>, SqlError> {
    let listed = client
        .admin()
        .list_topics()
        .await
        .map_err(|error| log_error("list the topics", &error))?;
    Ok(listed
        .iter()
        .find(|listing| listing.name == topic)
        .map(|listing| listing.partitions))
}

/// The error that a topic does not exist, with the nearest that does.
pub(crate) async fn no_such_topic(client: &Client, topic: &str) -> SqlError {
    let error = SqlError::new(
        SqlState::UndefinedTable,
        format!("there is no topic `{topic}`"),
    );
    let listed = client.admin().list_topics().await.unwrap_or_default();
    let names = listed
        .iter()
        .filter(|listing| !listing.internal && !listing.name.starts_with("__"))
        .map(|listing| listing.name.as_str());
    let create = "add WITH (partitions = 3) to create it with so many partitions";
    match suggest(topic, "the topics are", names) {
        Some(hint) => error.hint(format!("{hint}; or {create}")),
        None => error.hint(create),
    }
}

/// The end offsets of all partitions of `topics`, as of now.
pub(crate) async fn ends<T: AsRef<str>>(
    client: &Client,
    topics: &[T],
) -> Result<BTreeMap<TopicPartition, i64>, SqlError> {
    offsets(client, topics, OffsetSpec::Latest).await
}

/// The first offsets of all partitions of `topics`.
pub(crate) async fn starts<T: AsRef<str>>(
    client: &Client,
    topics: &[T],
) -> Result<BTreeMap<TopicPartition, i64>, SqlError> {
    offsets(client, topics, OffsetSpec::Earliest).await
}

async fn offsets<T: AsRef<str>>(
    client: &Client,
    topics: &[T],
    spec: OffsetSpec,
) -> Result<BTreeMap<TopicPartition, i64>, SqlError> {
    let mut wanted = BTreeMap::new();
    for topic in topics {
        let topic = topic.as_ref();
        let info = client
            .topic(topic)
            .await
            .map_err(|error| log_error(&format!("read the topic `{topic}`"), &error))?;
        for partition in 0..info.partition_count() {
            wanted.insert(TopicPartition::new(topic, partition), spec);
        }
    }
    if wanted.is_empty() {
        return Ok(BTreeMap::new());
    }
    let found = client
        .admin()
        .list_offsets(wanted, IsolationLevel::ReadCommitted)
        .await
        .map_err(|error| log_error("look up the ends of topics", &error))?;
    Ok(found
        .into_iter()
        .map(|(partition, found)| (partition, found.map_or(0, |found| found.offset)))
        .collect())
}
