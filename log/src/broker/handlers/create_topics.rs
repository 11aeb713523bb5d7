//! CreateTopics: each topic with all its partitions and configs, or not at all.

use std::sync::Arc;

use crate::broker::core::{Context, Core};
use crate::broker::quotas::Mutations;
use crate::broker::topics::{self, NewTopic, Refused};
use crate::config::describe_topic;
use crate::controller::Command;
use crate::wire::messages::{
    CreatableTopic, CreatableTopicConfigs, CreatableTopicResult, CreateTopicsRequest,
    CreateTopicsResponse,
};
use crate::wire::{ErrorCode, Str};

/// The first version that knows that a quota may refuse a topic.
const STRICT_SINCE: i16 = 6;

pub(crate) async fn handle(
    core: &Arc<Core>,
    cx: &Context,
    request: CreateTopicsRequest,
) -> CreateTopicsResponse {
    let mut mutations = core.client_quotas.mutations(cx, STRICT_SINCE);
    let asked = topics::once(request.topics, |topic| topic.name.clone());
    let mut answers: Vec<CreatableTopicResult> = Vec::with_capacity(asked.len());
    for (topic, twice) in asked {
        let name = topic.name.clone();
        let result = if twice {
            Err(topics::named_twice(&name))
        } else {
            create(core, topic, request.validate_only, &mut mutations).await
        };
        answers.push(
            result.unwrap_or_else(|(code, message)| CreatableTopicResult {
                name,
                error_code: code.code(),
                error_message: Some(Str::from(message)),
                ..CreatableTopicResult::default()
            }),
        );
    }
    CreateTopicsResponse {
        topics: answers,
        throttle_time_ms: mutations.throttle_time_ms(),
        ..CreateTopicsResponse::default()
    }
}

async fn create(
    core: &Arc<Core>,
    topic: CreatableTopic,
    validate_only: bool,
    mutations: &mut Mutations<'_>,
) -> Result<CreatableTopicResult, Refused> {
    if topics::is_internal(&topic.name) {
        return Err((
            ErrorCode::InvalidTopicException,
            format!("The topic '{}' is made by the broker itself.", topic.name),
        ));
    }
    let new = NewTopic {
        name: topic.name.to_string(),
        partitions: topic.num_partitions,
        replication_factor: topic.replication_factor,
        assignment: topic
            .assignments
            .into_iter()
            .map(|a| (a.partition_index, a.broker_ids))
            .collect(),
        configs: topic
            .configs
            .into_iter()
            .map(|c| (c.name.to_string(), c.value.map(|v| v.to_string())))
            .collect(),
    };
    let command = new.command(core, &core.image())?;
    let Command::CreateTopic {
        id,
        assignment,
        configs,
        ..
    } = &command
    else {
        return Err((ErrorCode::UnknownServerError, "not a creation".to_owned()));
    };
    mutations.take(assignment.len())?;
    let overrides = configs.iter().cloned().collect();
    let result = CreatableTopicResult {
        name: topic.name,
        topic_id: if validate_only {
            uuid::Uuid::nil()
        } else {
            *id
        },
        error_message: None,
        num_partitions: i32::try_from(assignment.len()).unwrap_or(i32::MAX),
        replication_factor: assignment
            .first()
            .and_then(|r| i16::try_from(r.len()).ok())
            .unwrap_or(-1),
        configs: Some(
            describe_topic(&core.live(), Some(&overrides))
                .into_iter()
                .map(|c| CreatableTopicConfigs {
                    name: Str::from(c.name),
                    value: c.value.map(Str::from),
                    read_only: c.read_only,
                    config_source: c.source.code(),
                    ..CreatableTopicConfigs::default()
                })
                .collect(),
        ),
        ..CreatableTopicResult::default()
    };
    if !validate_only {
        core.propose(command)
            .await
            .map_err(|e| (e.code(), e.to_string()))?;
    }
    Ok(result)
}
