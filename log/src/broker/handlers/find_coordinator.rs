//! FindCoordinator: who coordinates a group or a transactional id. One node coordinates all of them.

use std::sync::Arc;

use crate::broker::core::{Context, Core};
use crate::wire::messages::{Coordinator, FindCoordinatorRequest, FindCoordinatorResponse};
use crate::wire::{ErrorCode, Str};

const GROUP: i8 = 0;
const TRANSACTION: i8 = 1;

pub(crate) async fn handle(
    core: &Arc<Core>,
    cx: &Context,
    request: FindCoordinatorRequest,
) -> FindCoordinatorResponse {
    let batch = !request.coordinator_keys.is_empty();
    let keys = if batch {
        request.coordinator_keys
    } else {
        vec![request.key]
    };
    let found = find(core, cx, request.key_type).await;
    let coordinators: Vec<Coordinator> = keys
        .into_iter()
        .map(|key| match &found {
            Ok((node_id, host, port)) => Coordinator {
                key,
                node_id: *node_id,
                host: host.clone(),
                port: *port,
                error_message: None,
                ..Coordinator::default()
            },
            Err((code, message)) => Coordinator {
                key,
                node_id: -1,
                port: -1,
                error_code: code.code(),
                error_message: Some(Str::from(message.as_str())),
                ..Coordinator::default()
            },
        })
        .collect();
    // Version 4 and later read the list, older ones the fields; what a version lacks is left out.
    let mut response = FindCoordinatorResponse::default();
    if batch {
        response.coordinators = coordinators;
        response.error_message = None;
    } else if let Some(only) = coordinators.into_iter().next() {
        response.error_code = only.error_code;
        response.error_message = only.error_message;
        response.node_id = only.node_id;
        response.host = only.host;
        response.port = only.port;
    }
    response
}

async fn find(
    core: &Arc<Core>,
    cx: &Context,
    key_type: i8,
) -> Result<(i32, Str, i32), (ErrorCode, String)> {
    match key_type {
        GROUP => {
            core.groups.ensure_topic(core).await?;
            let (host, port) = Core::endpoint_on(&core.image(), core.node_id(), &cx.listener);
            Ok((core.node_id(), host, port))
        }
        TRANSACTION => {
            core.transactions.ensure_topic(core).await?;
            let (host, port) = Core::endpoint_on(&core.image(), core.node_id(), &cx.listener);
            Ok((core.node_id(), host, port))
        }
        other => Err((
            ErrorCode::InvalidRequest,
            format!("coordinator key type {other} is not known"),
        )),
    }
}
