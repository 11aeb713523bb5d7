//! DeleteTopics: by name or by id.

use std::sync::Arc;

use crate::broker::core::Core;
use crate::broker::topics;
use crate::controller::Command;
use crate::wire::messages::{
    DeletableTopicResult, DeleteTopicState, DeleteTopicsRequest, DeleteTopicsResponse,
};
use crate::wire::{ErrorCode, Str};

pub(crate) async fn handle(core: &Arc<Core>, request: DeleteTopicsRequest) -> DeleteTopicsResponse {
    let by_name = request
        .topic_names
        .into_iter()
        .map(|name| DeleteTopicState {
            name: Some(name),
            ..DeleteTopicState::default()
        });
    let mut responses = Vec::new();
    for topic in request.topics.into_iter().chain(by_name) {
        let (name, topic_id) = (topic.name.clone(), topic.topic_id);
        let answer = match delete(core, topic).await {
            Ok(done) => done,
            Err((code, message)) => DeletableTopicResult {
                name: Some(name.unwrap_or_default()),
                topic_id,
                error_code: code.code(),
                error_message: Some(Str::from(message)),
                ..DeletableTopicResult::default()
            },
        };
        responses.push(answer);
    }
    DeleteTopicsResponse {
        responses,
        ..DeleteTopicsResponse::default()
    }
}

async fn delete(
    core: &Arc<Core>,
    asked: DeleteTopicState,
) -> Result<DeletableTopicResult, topics::Refused> {
    if !core.settings.delete_topics {
        return Err((
            ErrorCode::TopicDeletionDisabled,
            "Topic deletion is disabled.".to_owned(),
        ));
    }
    let image = core.image();
    let topic = match &asked.name {
        Some(name) if asked.topic_id.is_nil() => image.topic(name).ok_or_else(|| {
            (
                ErrorCode::UnknownTopicOrPartition,
                format!("This server does not host the topic '{name}'."),
            )
        })?,
        Some(_) => {
            return Err((
                ErrorCode::InvalidRequest,
                "You may not specify both topic name and topic id.".to_owned(),
            ));
        }
        None => image.topic_by_id(asked.topic_id).ok_or_else(|| {
            (
                ErrorCode::UnknownTopicId,
                format!("This server does not host topic ID {}.", asked.topic_id),
            )
        })?,
    };
    if topics::is_internal(&topic.name) {
        return Err((
            ErrorCode::InvalidTopicException,
            format!(
                "The topic '{}' is the broker's own and cannot be deleted.",
                topic.name
            ),
        ));
    }
    core.propose(Command::DeleteTopic { id: topic.id })
        .await
        .map_err(|e| (e.code(), e.to_string()))?;
    Ok(DeletableTopicResult {
        name: Some(Str::from(&topic.name)),
        topic_id: topic.id,
        error_message: None,
        ..DeletableTopicResult::default()
    })
}
