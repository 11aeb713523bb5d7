//! The topics of a job: found, counted, and the internal ones made.

use super::config::StreamsConfig;
use crate::StreamsError;
use crate::topology::{InternalTopic, Plan, Topology};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;
use thalweg_log::client::{Admin, NewTopic, TopicInfo};
use thalweg_log::wire::ErrorCode;
use thalweg_state::Changelog;
use uuid::Uuid;

/// How often, and how far apart, new topics are looked for.
const LOOKS: u32 = 100;
const LOOK_PAUSE: Duration = Duration::from_millis(50);

/// Resolves the topology against the topics there are, and makes the internal topics
/// that are missing. Returns the plan and the ids of all its topics.
pub(crate) async fn prepare(
    admin: &Admin,
    topology: &Topology,
    config: &StreamsConfig,
) -> Result<(Plan, HashMap<Arc<str>, Uuid>), StreamsError> {
    let id = &config.application_id;
    let mut names = BTreeSet::new();
    for sub in &topology.sub_topologies {
        let sources = sub.sources.iter().map(|s| s.topic.resolve(id));
        names.extend(sources.chain(sub.sinks.iter().map(|s| s.topic.resolve(id))));
        for store in &sub.stores {
            match &store.changelog {
                Changelog::None => {}
                Changelog::Internal => {
                    names.insert(format!("{id}-{}-changelog", store.name));
                }
                Changelog::Topic { name, .. } => {
                    names.insert(name.clone());
                }
            }
        }
    }
    let there = look(admin, &names).await?;
    let plan = Plan::resolve(topology, id, |name| {
        there.get(name).map(|topic| topic.partition_count())
    })?;
    let mut missing = Vec::new();
    for topic in &plan.internal_topics {
        match there.get(&topic.name) {
            None => missing.push(topic),
            Some(found) if found.partition_count() == topic.partitions => {}
            Some(found) => {
                return Err(StreamsError::Topology(format!(
                    "the internal topic `{}` has {} partitions and {} are needed, as the job's inputs have changed: reset the job and delete its internal topics",
                    topic.name,
                    found.partition_count(),
                    topic.partitions
                )));
            }
        }
    }
    if !missing.is_empty() {
        create(admin, &missing, config).await?;
    }
    let mut wanted = names;
    wanted.extend(plan.internal_topics.iter().map(|t| t.name.clone()));
    for look_number in 0..LOOKS {
        let there = look(admin, &wanted).await?;
        let led = |topic: &Arc<TopicInfo>| topic.partitions.iter().all(|p| p.leader.is_some());
        if wanted.iter().all(|name| there.get(name).is_some_and(led)) {
            let ids = there.into_values().map(|t| (Arc::clone(&t.name), t.id));
            return Ok((plan, ids.collect()));
        }
        tracing::debug!(look_number, "internal topics are not ready yet");
        tokio::time::sleep(LOOK_PAUSE).await;
    }
    Err(StreamsError::Topology(
        "the job's internal topics have been made and have no leader yet: are all brokers up?"
            .to_owned(),
    ))
}

async fn look(
    admin: &Admin,
    names: &BTreeSet<String>,
) -> Result<BTreeMap<String, Arc<TopicInfo>>, StreamsError> {
    let list: Vec<&String> = names.iter().collect();
    let answers = admin
        .describe_topics(&list)
        .await
        .map_err(|e| StreamsError::log("looking up the job's topics", e))?;
    let mut there = BTreeMap::new();
    for (name, answer) in answers {
        match answer {
            Ok(topic) => {
                there.insert(name, topic);
            }
            Err(error) if error.code() == Some(ErrorCode::UnknownTopicOrPartition) => {}
            Err(error) => {
                return Err(StreamsError::log(
                    format!("looking up the topic `{name}`"),
                    error,
                ));
            }
        }
    }
    Ok(there)
}

async fn create(
    admin: &Admin,
    topics: &[&InternalTopic],
    config: &StreamsConfig,
) -> Result<(), StreamsError> {
    let new = topics.iter().map(|topic| {
        let mut new = NewTopic::new(&topic.name).partitions(topic.partitions);
        if config.replication_factor > 0 {
            new = new.replication_factor(config.replication_factor);
        }
        for (key, value) in topic.config() {
            new = new.config(key, value);
        }
        new
    });
    let answers = admin
        .create_topics(new.collect())
        .await
        .map_err(|e| StreamsError::log("making the job's internal topics", e))?;
    for (name, answer) in answers {
        match answer {
            Ok(_) => tracing::info!(topic = name, "internal topic made"),
            // Another member of the job was faster.
            Err(error) if error.code() == Some(ErrorCode::TopicAlreadyExists) => {}
            Err(error) => {
                return Err(StreamsError::log(
                    format!("making the topic `{name}`"),
                    error,
                ));
            }
        }
    }
    Ok(())
}
