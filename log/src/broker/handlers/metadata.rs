//! Metadata: brokers, topics and partition leaders; creates missing topics where that is allowed.

use std::collections::HashSet;
use std::sync::Arc;

use uuid::Uuid;

use crate::broker::authorized;
use crate::broker::core::{Context, Core};
use crate::broker::replicas::METADATA_TOPIC;
use crate::broker::topics::{self, NewTopic};
use crate::controller::{MetadataImage, Quorum, TopicImage};
use crate::wire::messages::{
    MetadataRequest, MetadataRequestTopic, MetadataResponse, MetadataResponseBroker,
    MetadataResponsePartition, MetadataResponseTopic,
};
use crate::wire::{ErrorCode, Str};

pub(crate) async fn handle(
    core: &Arc<Core>,
    cx: &Context,
    request: MetadataRequest,
) -> MetadataResponse {
    let asked = match request.topics {
        Some(topics) if topics.is_empty() && cx.version == 0 => None,
        asked => asked,
    };
    if let Some(topics) = &asked
        && cx.version < 12
        && topics
            .iter()
            .any(|topic| topic.name.is_none() || !topic.topic_id.is_nil())
    {
        return refused(topics);
    }
    let create = request.allow_auto_topic_creation && core.settings.auto_create_topics;
    let mut answered = Vec::new();
    match asked {
        None => {
            let image = core.image();
            answered.extend(image.topics().map(|t| describe(&image, t)));
        }
        Some(topics) => {
            // One topic id makes it a request by id, in which names do not count.
            let by_id = topics.iter().any(|topic| !topic.topic_id.is_nil());
            let mut seen = HashSet::new();
            for topic in topics {
                let is_new = match by_id {
                    true => !topic.topic_id.is_nil() && seen.insert((topic.topic_id, None)),
                    false => seen.insert((Uuid::nil(), topic.name.clone())),
                };
                if is_new {
                    answered.push(one(core, cx, topic, create).await);
                }
            }
        }
    }
    if request.include_topic_authorized_operations {
        for topic in answered.iter_mut().filter(|topic| topic.name.is_some()) {
            topic.topic_authorized_operations = authorized::TOPIC;
        }
    }
    let image = core.image();
    let brokers = image
        .brokers()
        .map(|b| {
            let (host, port) = Core::endpoint_on(&image, b.id, &cx.listener);
            MetadataResponseBroker {
                node_id: b.id,
                host,
                port,
                rack: b.rack.as_deref().map(Str::from),
                ..MetadataResponseBroker::default()
            }
        })
        .collect();
    MetadataResponse {
        brokers,
        cluster_id: Some(Str::from(&core.cluster_id)),
        controller_id: core.quorum.leader().unwrap_or(-1),
        topics: answered,
        cluster_authorized_operations: if request.include_cluster_authorized_operations {
            authorized::CLUSTER
        } else {
            authorized::NOT_ASKED
        },
        ..MetadataResponse::default()
    }
}

/// Versions before 12 know no topics without a name, and no request by id.
fn refused(topics: &[MetadataRequestTopic]) -> MetadataResponse {
    let topics = topics.iter().map(|topic| MetadataResponseTopic {
        error_code: ErrorCode::InvalidRequest.code(),
        name: Some(topic.name.clone().unwrap_or_default()),
        topic_id: topic.topic_id,
        ..MetadataResponseTopic::default()
    });
    MetadataResponse {
        topics: topics.collect(),
        ..MetadataResponse::default()
    }
}

async fn one(
    core: &Arc<Core>,
    cx: &Context,
    asked: MetadataRequestTopic,
    create: bool,
) -> MetadataResponseTopic {
    let image = core.image();
    if !asked.topic_id.is_nil() {
        return match image.topic_by_id(asked.topic_id) {
            Some(topic) => describe(&image, topic),
            None => MetadataResponseTopic {
                error_code: ErrorCode::UnknownTopicId.code(),
                topic_id: asked.topic_id,
                // Null where the version has it.
                name: (cx.version < 12).then(Str::new),
                ..MetadataResponseTopic::default()
            },
        };
    }
    let name = asked.name.unwrap_or_default();
    if let Some(topic) = image.topic(&name) {
        return describe(&image, topic);
    }
    let missing = |code: ErrorCode| MetadataResponseTopic {
        error_code: code.code(),
        name: Some(name.clone()),
        is_internal: topics::is_internal(&name),
        ..MetadataResponseTopic::default()
    };
    if let Err((code, _)) = topics::check_name(&name) {
        return missing(code);
    }
    if !create || *name == *METADATA_TOPIC {
        return missing(ErrorCode::UnknownTopicOrPartition);
    }
    let created = if topics::is_internal(&name) {
        core.groups.ensure_topic(core).await
    } else {
        // What a quota refuses is asked for again.
        let partitions = usize::try_from(core.settings.num_partitions).unwrap_or(0);
        let mut mutations = core.client_quotas.mutations(cx, 0);
        if mutations.take(partitions).is_err() {
            return missing(ErrorCode::UnknownTopicOrPartition);
        }
        let topic = NewTopic {
            name: name.to_string(),
            partitions: -1,
            replication_factor: -1,
            ..NewTopic::default()
        };
        topics::create_if_missing(core, topic).await
    };
    if let Err((code, reason)) = created {
        tracing::warn!(topic = %name, %reason, "the topic could not be created");
        return missing(code);
    }
    let image = core.image();
    match image.topic(&name) {
        Some(topic) => describe(&image, topic),
        None => missing(ErrorCode::UnknownTopicOrPartition),
    }
}

fn describe(image: &MetadataImage, topic: &TopicImage) -> MetadataResponseTopic {
    let partitions = (0i32..)
        .zip(&topic.partitions)
        .map(|(index, p)| {
            let leader = p.alive_leader(image);
            MetadataResponsePartition {
                error_code: match leader {
                    -1 => ErrorCode::LeaderNotAvailable,
                    _ => ErrorCode::None,
                }
                .code(),
                partition_index: index,
                leader_id: leader,
                leader_epoch: p.leader_epoch,
                replica_nodes: p.replicas.clone(),
                isr_nodes: p.isr.clone(),
                offline_replicas: p.offline_replicas(image),
                ..MetadataResponsePartition::default()
            }
        })
        .collect();
    MetadataResponseTopic {
        name: Some(Str::from(&topic.name)),
        topic_id: topic.id,
        is_internal: topics::is_internal(&topic.name),
        partitions,
        ..MetadataResponseTopic::default()
    }
}
