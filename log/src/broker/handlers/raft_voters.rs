//! AddRaftVoter and RemoveRaftVoter: the quorum has this node as its one voter, and that is fixed.

use crate::broker::core::Core;
use crate::wire::messages::{
    AddRaftVoterRequest, AddRaftVoterResponse, RemoveRaftVoterRequest, RemoveRaftVoterResponse,
};
use crate::wire::{ErrorCode, Str};

/// What stands for the version of a quorum whose voters are fixed.
const FIXED: &str = "because the voters of this quorum are fixed (kraft.version is 0)";

pub(crate) fn add(core: &Core, request: &AddRaftVoterRequest) -> AddRaftVoterResponse {
    let refused = check(
        core,
        request.cluster_id.as_ref(),
        request.voter_id,
        request.voter_directory_id.is_nil(),
    );
    let (error, message) = refused.unwrap_or_else(|| {
        if request.listeners.is_empty() {
            let message = "The request names no listener of the new voter".to_owned();
            return (ErrorCode::InvalidRequest, message);
        }
        let message = format!("A voter cannot be added {FIXED}");
        (ErrorCode::UnsupportedVersion, message)
    });
    AddRaftVoterResponse {
        error_code: error.code(),
        error_message: Some(message.into()),
        ..AddRaftVoterResponse::default()
    }
}

pub(crate) fn remove(core: &Core, request: &RemoveRaftVoterRequest) -> RemoveRaftVoterResponse {
    let refused = check(
        core,
        request.cluster_id.as_ref(),
        request.voter_id,
        request.voter_directory_id.is_nil(),
    );
    let (error, message) = refused.unwrap_or_else(|| {
        let message = format!("A voter cannot be removed {FIXED}");
        (ErrorCode::UnsupportedVersion, message)
    });
    RemoveRaftVoterResponse {
        error_code: error.code(),
        error_message: Some(message.into()),
        ..RemoveRaftVoterResponse::default()
    }
}

fn check(
    core: &Core,
    cluster_id: Option<&Str>,
    voter: i32,
    without_directory: bool,
) -> Option<(ErrorCode, String)> {
    if let Some(id) = cluster_id
        && *id != *core.cluster_id
    {
        let message = format!(
            "The request is for cluster {id}, but this is {}",
            core.cluster_id
        );
        return Some((ErrorCode::InconsistentClusterId, message));
    }
    if voter < 0 || without_directory {
        let message = "The request names no valid voter".to_owned();
        return Some((ErrorCode::InvalidRequest, message));
    }
    None
}
