//! DeleteTopics: by name or by id.

use std::collections::HashSet;
use std::sync::Arc;

use uuid::Uuid;

use crate::broker::core::{Context, Core};
use crate::broker::quotas::Mutations;
use crate::broker::topics;
use crate::controller::{Command, MetadataImage};
use crate::wire::messages::{
    DeletableTopicResult, DeleteTopicState, DeleteTopicsRequest, DeleteTopicsResponse,
};
use crate::wire::{ErrorCode, Str};

/// The first version that knows that a quota may refuse a deletion.
const STRICT_SINCE: i16 = 5;

pub(crate) async fn handle(
    core: &Arc<Core>,
    cx: &Context,
    request: DeleteTopicsRequest,
) -> DeleteTopicsResponse {
    let by_name = request
        .topic_names
        .into_iter()
        .map(|name| DeleteTopicState {
            name: Some(name),
            ..DeleteTopicState::default()
        });
    let asked: Vec<_> = request.topics.into_iter().chain(by_name).collect();
    let asked = resolved(&core.image(), asked);
    let mut mutations = core.client_quotas.mutations(cx, STRICT_SINCE);
    let mut responses: Vec<DeletableTopicResult> = Vec::with_capacity(asked.len());
    for topic in asked {
        let deleted = if !core.settings.delete_topics {
            Err(disabled(cx.version))
        } else if topic.twice {
            Err((
                ErrorCode::InvalidRequest,
                "The request names the topic twice.".to_owned(),
            ))
        } else {
            delete(core, &topic.state, &mut mutations).await
        };
        let DeleteTopicState { name, topic_id, .. } = topic.state;
        responses.push(
            deleted.unwrap_or_else(|(code, message)| DeletableTopicResult {
                // Who asked by id is not told the name.
                name: match topic_id.is_nil() && cx.version < 6 {
                    true => Some(name.unwrap_or_default()),
                    false => name,
                },
                topic_id: topic.same.unwrap_or(topic_id),
                error_code: code.code(),
                error_message: Some(Str::from(message)),
                ..DeletableTopicResult::default()
            }),
        );
    }
    DeleteTopicsResponse {
        responses,
        throttle_time_ms: mutations.throttle_time_ms(),
        ..DeleteTopicsResponse::default()
    }
}

/// A topic that is to be deleted, once, however often the request names it.
struct Asked {
    state: DeleteTopicState,
    twice: bool,
    /// Its id, where the request names it by that as well.
    same: Option<Uuid>,
}

/// What is asked for, each topic once: what is said of one by its name stands for what is said by its id.
fn resolved(image: &MetadataImage, asked: Vec<DeleteTopicState>) -> Vec<Asked> {
    let is_id = |state: &DeleteTopicState| state.name.is_none() && !state.topic_id.is_nil();
    let id_of = |state: &DeleteTopicState| {
        let name = state.name.as_ref().filter(|_| state.topic_id.is_nil())?;
        image.topic(name).map(|topic| topic.id)
    };
    let named: HashSet<Uuid> = asked.iter().filter_map(id_of).collect();
    let by_id: HashSet<Uuid> = asked
        .iter()
        .filter(|state| is_id(state))
        .map(|state| state.topic_id)
        .collect();
    let asked = asked
        .into_iter()
        .filter(|state| !is_id(state) || !named.contains(&state.topic_id));
    let key = |state: &DeleteTopicState| (state.name.clone(), state.topic_id);
    topics::once(asked.collect(), key)
        .into_iter()
        .map(|(state, twice)| {
            let same = id_of(&state).filter(|id| by_id.contains(id));
            Asked {
                twice: twice || same.is_some(),
                same,
                state,
            }
        })
        .collect()
}

/// Versions before 3 have no error of their own for it.
fn disabled(version: i16) -> topics::Refused {
    let error = match version {
        ..3 => ErrorCode::InvalidRequest,
        _ => ErrorCode::TopicDeletionDisabled,
    };
    (error, "Topic deletion is disabled.".to_owned())
}

async fn delete(
    core: &Arc<Core>,
    asked: &DeleteTopicState,
    mutations: &mut Mutations<'_>,
) -> Result<DeletableTopicResult, topics::Refused> {
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
        None if asked.topic_id.is_nil() => {
            return Err((
                ErrorCode::InvalidRequest,
                "The request names a topic neither by name nor by id.".to_owned(),
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
    mutations.take(topic.partitions.len())?;
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
