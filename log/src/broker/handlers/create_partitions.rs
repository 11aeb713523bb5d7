//! CreatePartitions: raises a topic's partition count; partitions are never taken away.

use std::sync::Arc;

use crate::broker::core::{Context, Core};
use crate::broker::quotas::Mutations;
use crate::broker::topics::{self, Refused, told};
use crate::controller::Command;
use crate::wire::ErrorCode;
use crate::wire::messages::{
    CreatePartitionsRequest, CreatePartitionsResponse, CreatePartitionsTopic,
    CreatePartitionsTopicResult,
};

/// The most partitions that one request may add to a topic.
const MAX_NEW: i32 = 10_000;

/// The first version that knows that a quota may refuse partitions.
const STRICT_SINCE: i16 = 3;

pub(crate) async fn handle(
    core: &Arc<Core>,
    cx: &Context,
    request: CreatePartitionsRequest,
) -> CreatePartitionsResponse {
    let mut mutations = core.client_quotas.mutations(cx, STRICT_SINCE);
    let asked = topics::once(request.topics, |topic| topic.name.clone());
    let mut results: Vec<CreatePartitionsTopicResult> = Vec::with_capacity(asked.len());
    for (topic, twice) in asked {
        let name = topic.name.clone();
        let created = if twice {
            Err(topics::named_twice(&name))
        } else {
            create(core, topic, request.validate_only, &mut mutations).await
        };
        let (error_code, error_message) = told(created);
        results.push(CreatePartitionsTopicResult {
            name,
            error_code,
            error_message,
            ..CreatePartitionsTopicResult::default()
        });
    }
    CreatePartitionsResponse {
        results,
        throttle_time_ms: mutations.throttle_time_ms(),
        ..CreatePartitionsResponse::default()
    }
}

async fn create(
    core: &Arc<Core>,
    asked: CreatePartitionsTopic,
    validate_only: bool,
    mutations: &mut Mutations<'_>,
) -> Result<(), Refused> {
    let image = core.image();
    let topic = image.topic(&asked.name).ok_or_else(|| {
        (
            ErrorCode::UnknownTopicOrPartition,
            format!("The topic '{}' does not exist.", asked.name),
        )
    })?;
    if topics::is_internal(&topic.name) {
        return Err((
            ErrorCode::InvalidTopicException,
            format!(
                "The partitions of '{}' are fixed: groups are placed by their number.",
                topic.name
            ),
        ));
    }
    let current = i32::try_from(topic.partitions.len()).unwrap_or(i32::MAX);
    let more = asked.count.saturating_sub(current);
    if more <= 0 {
        let message = if more == 0 {
            format!("Topic already has {current} partition(s).")
        } else {
            format!(
                "The topic '{}' currently has {current} partition(s); {} would not be an increase.",
                asked.name, asked.count
            )
        };
        return Err((ErrorCode::InvalidPartitions, message));
    }
    if more > MAX_NEW {
        return Err((
            ErrorCode::PolicyViolation,
            format!("{more} new partitions were asked for; at most {MAX_NEW} are created at once."),
        ));
    }
    let assignment = match asked.assignments {
        Some(given) => {
            if i32::try_from(given.len()) != Ok(more) {
                return Err((
                    ErrorCode::InvalidReplicaAssignment,
                    format!(
                        "Attempted to add {more} additional partition(s), but only {} assignment(s) were specified.",
                        given.len()
                    ),
                ));
            }
            let given: Vec<_> = given.into_iter().map(|a| a.broker_ids).collect();
            let factor = topic.partitions.first().map_or(1, |p| p.replicas.len());
            topics::check_assignment(&image, &given, factor)?;
            given
        }
        None => {
            let brokers: Vec<i32> = image.brokers().map(|b| b.id).collect();
            let factor = topic.partitions.first().map_or(1, |p| p.replicas.len());
            topics::spread(&brokers, more, factor)
        }
    };
    mutations.take(assignment.len())?;
    if !validate_only {
        let command = Command::CreatePartitions {
            id: topic.id,
            expected: current,
            assignment,
        };
        core.propose(command)
            .await
            .map_err(|e| (e.code(), e.to_string()))?;
    }
    Ok(())
}
