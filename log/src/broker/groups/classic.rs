//! The APIs of the classic group protocol: JoinGroup, SyncGroup, Heartbeat, LeaveGroup.

use std::sync::Arc;

use uuid::Uuid;

use super::{Groups, own, own_opt};
use crate::broker::core::{Context, Core};
use crate::group::{Event, Heartbeat, Join, Joined, Leaver, Reply, Sync, Synced};
use crate::wire::messages::*;
use crate::wire::{ErrorCode, Str};

impl Groups {
    pub(crate) async fn join(
        &self,
        core: &Arc<Core>,
        cx: &Context,
        request: JoinGroupRequest,
    ) -> JoinGroupResponse {
        let prefix = request.group_instance_id.as_ref().unwrap_or(&cx.client_id);
        let join = Join {
            group: request.group_id.detach(),
            member: request.member_id.detach(),
            new_member: Str::from(format!("{prefix}-{}", Uuid::new_v4())),
            instance: own_opt(request.group_instance_id),
            client_id: cx.client_id.detach(),
            client_host: cx.client_host.detach(),
            session_timeout_ms: request.session_timeout_ms,
            rebalance_timeout_ms: if cx.version == 0 || request.rebalance_timeout_ms < 0 {
                request.session_timeout_ms
            } else {
                request.rebalance_timeout_ms
            },
            protocol_type: request.protocol_type.detach(),
            protocols: request
                .protocols
                .iter()
                .map(|p| (p.name.detach(), own(&p.metadata)))
                .collect(),
            member_id_required: cx.version >= 4,
            can_skip_assignment: cx.version >= 9,
        };
        let group = join.group.clone();
        let refused = |code| Joined {
            error: Some(code),
            generation: -1,
            ..Joined::default()
        };
        let joined = match self
            .ask(core, &group, |token| Event::Join(token, join))
            .await
        {
            Ok(Reply::Joined(joined)) => joined,
            Ok(_) => refused(ErrorCode::UnknownServerError),
            Err(code) => refused(code),
        };
        // Null where the version has it: older clients expect an empty string.
        let protocol_name = match joined.protocol {
            None if cx.version < 7 => Some(Str::new()),
            protocol => protocol,
        };
        JoinGroupResponse {
            error_code: joined.error.unwrap_or(ErrorCode::None).code(),
            generation_id: joined.generation,
            protocol_type: joined.protocol_type,
            protocol_name,
            leader: joined.leader,
            skip_assignment: joined.skip_assignment,
            member_id: joined.member,
            members: joined
                .members
                .into_iter()
                .map(
                    |(member_id, group_instance_id, metadata)| JoinGroupResponseMember {
                        member_id,
                        group_instance_id,
                        metadata,
                        ..JoinGroupResponseMember::default()
                    },
                )
                .collect(),
            ..JoinGroupResponse::default()
        }
    }

    pub(crate) async fn sync(
        &self,
        core: &Arc<Core>,
        request: SyncGroupRequest,
    ) -> SyncGroupResponse {
        let sync = Sync {
            group: request.group_id.detach(),
            generation: request.generation_id,
            member: request.member_id.detach(),
            instance: own_opt(request.group_instance_id),
            protocol_type: own_opt(request.protocol_type),
            protocol: own_opt(request.protocol_name),
            assignments: request
                .assignments
                .iter()
                .map(|a| (a.member_id.detach(), own(&a.assignment)))
                .collect(),
        };
        let group = sync.group.clone();
        let refused = |code| Synced {
            error: Some(code),
            ..Synced::default()
        };
        let synced = match self
            .ask(core, &group, |token| Event::Sync(token, sync))
            .await
        {
            Ok(Reply::Synced(synced)) => synced,
            Ok(_) => refused(ErrorCode::UnknownServerError),
            Err(code) => refused(code),
        };
        SyncGroupResponse {
            error_code: synced.error.unwrap_or(ErrorCode::None).code(),
            protocol_type: synced.protocol_type,
            protocol_name: synced.protocol,
            assignment: synced.assignment,
            ..SyncGroupResponse::default()
        }
    }

    pub(crate) async fn heartbeat(
        &self,
        core: &Arc<Core>,
        request: HeartbeatRequest,
    ) -> HeartbeatResponse {
        let beat = Heartbeat {
            group: request.group_id,
            generation: request.generation_id,
            member: request.member_id,
            instance: request.group_instance_id,
        };
        let group = beat.group.clone();
        let code = match self
            .ask(core, &group, |token| Event::Heartbeat(token, beat))
            .await
        {
            Ok(Reply::Code(code)) | Err(code) => code,
            Ok(_) => ErrorCode::UnknownServerError,
        };
        HeartbeatResponse {
            error_code: code.code(),
            ..HeartbeatResponse::default()
        }
    }

    pub(crate) async fn leave(
        &self,
        core: &Arc<Core>,
        cx: &Context,
        request: LeaveGroupRequest,
    ) -> LeaveGroupResponse {
        let single = cx.version < 3;
        let leavers = if single {
            vec![Leaver {
                member: request.member_id,
                instance: None,
            }]
        } else {
            request
                .members
                .into_iter()
                .map(|m| Leaver {
                    member: m.member_id,
                    instance: m.group_instance_id,
                })
                .collect()
        };
        let group = request.group_id.detach();
        let asked = leavers.clone();
        let left = self
            .ask(core, &group.clone(), |token| {
                Event::Leave(token, group, leavers)
            })
            .await;
        let members = match left {
            Ok(Reply::Left(Ok(members))) => members,
            // Nobody is a member of a group that is not there.
            Ok(Reply::Left(Err(code))) if code == ErrorCode::UnknownMemberId => {
                asked.into_iter().map(|leaver| (leaver, code)).collect()
            }
            Ok(Reply::Left(Err(code))) | Err(code) => {
                return LeaveGroupResponse {
                    error_code: code.code(),
                    ..LeaveGroupResponse::default()
                };
            }
            Ok(_) => {
                return LeaveGroupResponse {
                    error_code: ErrorCode::UnknownServerError.code(),
                    ..LeaveGroupResponse::default()
                };
            }
        };
        if single {
            let code = members.first().map_or(ErrorCode::None, |(_, code)| *code);
            return LeaveGroupResponse {
                error_code: code.code(),
                ..LeaveGroupResponse::default()
            };
        }
        LeaveGroupResponse {
            members: members
                .into_iter()
                .map(|(leaver, code)| MemberResponse {
                    member_id: leaver.member,
                    group_instance_id: leaver.instance,
                    error_code: code.code(),
                    ..MemberResponse::default()
                })
                .collect(),
            ..LeaveGroupResponse::default()
        }
    }
}
