//! The APIs that look at groups and delete them: DescribeGroups, ListGroups, DeleteGroups.

use std::sync::Arc;

use super::Groups;
use crate::broker::core::{Context, Core};
use crate::group::{Coordinator, Event, GroupState, Reply};
use crate::wire::messages::*;
use crate::wire::{ErrorCode, Str};

impl Groups {
    pub(crate) fn describe(
        &self,
        cx: &Context,
        request: &DescribeGroupsRequest,
    ) -> DescribeGroupsResponse {
        let groups = request
            .groups
            .iter()
            .map(|id| {
                let described = self
                    .shard(id)
                    .map(|shard| shard.with(|c| c.describe(id).ok_or_else(|| c.contains(id))));
                let empty = DescribedGroup {
                    group_id: id.clone(),
                    ..DescribedGroup::default()
                };
                match described {
                    Err(code) => DescribedGroup {
                        error_code: code.code(),
                        ..empty
                    },
                    Ok(Err(exists)) => {
                        let what = if exists {
                            "is not a classic group"
                        } else {
                            "not found"
                        };
                        let missing = cx.version >= 6;
                        let code = if missing {
                            ErrorCode::GroupIdNotFound
                        } else {
                            ErrorCode::None
                        };
                        DescribedGroup {
                            error_code: code.code(),
                            error_message: missing
                                .then(|| Str::from(format!("Group {id} {what}."))),
                            group_state: Str::from_static(GroupState::Dead.name()),
                            ..empty
                        }
                    }
                    Ok(Ok(group)) => DescribedGroup {
                        group_state: Str::from_static(group.state.name()),
                        protocol_type: group.protocol_type,
                        protocol_data: group.protocol,
                        members: group
                            .members
                            .into_iter()
                            .map(|m| DescribedGroupMember {
                                member_id: m.member,
                                group_instance_id: m.instance,
                                client_id: m.client_id,
                                client_host: m.client_host,
                                member_metadata: m.metadata,
                                member_assignment: m.assignment,
                                ..DescribedGroupMember::default()
                            })
                            .collect(),
                        ..empty
                    },
                }
            })
            .collect();
        DescribeGroupsResponse {
            groups,
            ..DescribeGroupsResponse::default()
        }
    }

    pub(crate) fn list(&self, request: &ListGroupsRequest) -> ListGroupsResponse {
        let wanted = |filter: &[Str], name: &str| {
            filter.is_empty() || filter.iter().any(|f| f.trim().eq_ignore_ascii_case(name))
        };
        let groups = self
            .all_shards()
            .iter()
            .flat_map(|shard| shard.with(Coordinator::list))
            .filter(|group| {
                wanted(&request.states_filter, group.state)
                    && wanted(&request.types_filter, group.group_type.name())
            })
            .map(|group| ListedGroup {
                group_id: group.group,
                protocol_type: group.protocol_type,
                group_state: Str::from_static(group.state),
                group_type: Str::from_static(group.group_type.name()),
                ..ListedGroup::default()
            })
            .collect();
        ListGroupsResponse {
            groups,
            ..ListGroupsResponse::default()
        }
    }

    pub(crate) async fn delete(
        &self,
        core: &Arc<Core>,
        request: DeleteGroupsRequest,
    ) -> DeleteGroupsResponse {
        let mut results = Vec::with_capacity(request.groups_names.len());
        for group in request.groups_names {
            let id = group.detach();
            let code = match self
                .ask(core, &group, |token| Event::Delete(token, id))
                .await
            {
                Ok(Reply::Code(code)) | Err(code) => code,
                Ok(_) => ErrorCode::UnknownServerError,
            };
            results.push(DeletableGroupResult {
                group_id: group,
                error_code: code.code(),
                ..DeletableGroupResult::default()
            });
        }
        DeleteGroupsResponse {
            results,
            ..DeleteGroupsResponse::default()
        }
    }
}
