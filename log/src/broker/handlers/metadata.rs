//! Metadata: brokers, topics and partition leaders; creates missing topics where that is allowed.

use std::sync::Arc;

use crate::broker::core::{Context, Core};
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
    let create = request.allow_auto_topic_creation && core.settings.auto_create_topics;
    let mut answered = Vec::new();
    match asked {
        None => {
            let image = core.image();
            answered.extend(image.topics().map(|t| describe(&image, t)));
        }
        Some(topics) => {
            for topic in topics {
                answered.push(one(core, cx, topic, create).await);
            }
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
    if !create {
        return missing(ErrorCode::UnknownTopicOrPartition);
    }
    let created = if topics::is_internal(&name) {
        core.groups.ensure_topic(core).await
    } else {
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
            let led = p.leader >= 0 && image.broker(p.leader).is_some();
            MetadataResponsePartition {
                error_code: if led {
                    ErrorCode::None
                } else {
                    ErrorCode::LeaderNotAvailable
                }
                .code(),
                partition_index: index,
                leader_id: if led { p.leader } else { -1 },
                leader_epoch: p.leader_epoch,
                replica_nodes: p.replicas.clone(),
                isr_nodes: p.isr.clone(),
                offline_replicas: p
                    .replicas
                    .iter()
                    .copied()
                    .filter(|id| image.broker(*id).is_none())
                    .collect(),
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
