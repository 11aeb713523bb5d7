//! Groups, their members and their committed offsets.

use std::collections::BTreeMap;
use std::future::Future;

use futures::future::join_all;

use super::topics::check;
use super::{Admin, Each, GroupDescription, GroupListing, MemberDescription, only};
use crate::client::consumer::{GroupCoordinator, assigned_partitions};
use crate::client::core::response_of;
use crate::client::transport::{Call, Destination, Reply};
use crate::client::{ClientError, GroupMetadata, OffsetAndMetadata, TopicPartition};
use crate::wire::messages::{
    DeleteGroupsRequest, DescribeGroupsRequest, DescribedGroup, LeaveGroupRequest,
    ListGroupsRequest, MemberIdentity, MetadataRequest, MetadataResponse, OffsetDeleteRequest,
    OffsetDeleteRequestPartition, OffsetDeleteRequestTopic,
};
use crate::wire::{ApiRequest, ErrorCode, Str};

impl Admin {
    /// The groups of all brokers.
    pub async fn list_groups(&self) -> Result<Vec<GroupListing>, ClientError> {
        let brokers = self.all_brokers().await?;
        let core = &self.core;
        let answers = join_all(brokers.into_iter().map(|broker| async move {
            core.retry(core.deadline(), || async move {
                let request = ListGroupsRequest::default();
                let response = core.ask(Destination::Broker(broker), request).await?;
                check(
                    response.error_code,
                    format!("list the groups of broker {broker}"),
                    None::<Str>,
                )?;
                Ok(response.groups)
            })
            .await
        }))
        .await;
        let mut groups = Vec::new();
        for answer in answers {
            groups.extend(answer?.into_iter().map(|g| GroupListing {
                group_id: g.group_id.to_string(),
                protocol_type: g.protocol_type.to_string(),
                state: g.group_state.to_string(),
            }));
        }
        groups.sort_by(|a, b| a.group_id.cmp(&b.group_id));
        Ok(groups)
    }

    /// Groups with their members. A group that does not exist has the state `Dead`.
    pub async fn describe_groups<T: AsRef<str>>(
        &self,
        groups: &[T],
    ) -> Result<Each<GroupDescription>, ClientError> {
        let mut results = BTreeMap::new();
        for group in groups {
            let group = group.as_ref();
            let result = self
                .with_coordinator(group, |coordinator| async move {
                    let request = DescribeGroupsRequest {
                        groups: vec![Str::from(group)],
                        ..DescribeGroupsRequest::default()
                    };
                    let destination = Destination::Broker(coordinator);
                    let response = self.core.ask(destination, request).await?;
                    let described = response.groups.into_iter().next();
                    let described = described.ok_or_else(|| empty("DescribeGroups"))?;
                    describe(described, coordinator)
                })
                .await;
            results.insert(group.to_owned(), result);
        }
        Ok(results)
    }

    /// One group with its members.
    pub async fn describe_group(&self, group: &str) -> Result<GroupDescription, ClientError> {
        only(self.describe_groups(&[group]).await?, "DescribeGroups")
    }

    /// Deletes groups that have no members, with their committed offsets.
    pub async fn delete_groups<T: AsRef<str>>(
        &self,
        groups: &[T],
    ) -> Result<Each<()>, ClientError> {
        let mut results = BTreeMap::new();
        for group in groups {
            let group = group.as_ref();
            let result = self
                .with_coordinator(group, |coordinator| async move {
                    let request = DeleteGroupsRequest {
                        groups_names: vec![Str::from(group)],
                        ..DeleteGroupsRequest::default()
                    };
                    let destination = Destination::Broker(coordinator);
                    let response = self.core.ask(destination, request).await?;
                    let deleted = response.results.into_iter().next();
                    let deleted = deleted.ok_or_else(|| empty("DeleteGroups"))?;
                    let what = format!("delete group {group}");
                    check(deleted.error_code, what, None::<Str>)
                })
                .await;
            results.insert(group.to_owned(), result);
        }
        Ok(results)
    }

    /// Takes static members out of a group, by their `group.instance.id`: their partitions
    /// go to the others at once, and not only when their sessions end. Members that are
    /// not in the group are no error.
    pub async fn remove_members<T: AsRef<str>>(
        &self,
        group: &str,
        instances: &[T],
    ) -> Result<(), ClientError> {
        let members: Vec<MemberIdentity> = instances
            .iter()
            .map(|instance| MemberIdentity {
                group_instance_id: Some(Str::from(instance.as_ref())),
                ..MemberIdentity::default()
            })
            .collect();
        let members = &members;
        self.with_coordinator(group, |coordinator| async move {
            let request = LeaveGroupRequest {
                group_id: Str::from(group),
                members: members.clone(),
                ..LeaveGroupRequest::default()
            };
            let destination = Destination::Broker(coordinator);
            let response = self.core.ask(destination, request).await?;
            let what = format!("take members out of group {group}");
            check(response.error_code, what.clone(), None::<Str>)?;
            for member in response.members {
                if ErrorCode::from(member.error_code) != ErrorCode::UnknownMemberId {
                    check(member.error_code, what.clone(), None::<Str>)?;
                }
            }
            Ok(())
        })
        .await
    }

    /// A group's committed offsets; `None` asks for all partitions that have one.
    pub async fn group_offsets(
        &self,
        group: &str,
        partitions: Option<&[TopicPartition]>,
    ) -> Result<BTreeMap<TopicPartition, OffsetAndMetadata>, ClientError> {
        let coordinator = GroupCoordinator::new(self.core.clone(), group.to_owned());
        coordinator
            .committed(partitions, false, self.core.deadline())
            .await
    }

    /// Sets a group's committed offsets. The group must have no members.
    pub async fn alter_group_offsets(
        &self,
        group: &str,
        offsets: &BTreeMap<TopicPartition, OffsetAndMetadata>,
    ) -> Result<(), ClientError> {
        let coordinator = GroupCoordinator::new(self.core.clone(), group.to_owned());
        let nobody = GroupMetadata {
            group_id: group.to_owned(),
            generation_id: -1,
            member_id: String::new(),
            group_instance_id: None,
        };
        coordinator
            .commit(&nobody, offsets, self.core.deadline())
            .await
    }

    /// Forgets a group's committed offsets of some partitions.
    pub async fn delete_group_offsets(
        &self,
        group: &str,
        partitions: &[TopicPartition],
    ) -> Result<(), ClientError> {
        let mut sorted = partitions.to_vec();
        sorted.sort();
        let request = OffsetDeleteRequest {
            group_id: Str::from(group),
            topics: sorted
                .chunk_by(|a, b| a.topic == b.topic)
                .filter_map(|chunk| {
                    Some(OffsetDeleteRequestTopic {
                        name: Str::from(&*chunk.first()?.topic),
                        partitions: chunk
                            .iter()
                            .map(|p| OffsetDeleteRequestPartition {
                                partition_index: p.partition,
                                ..OffsetDeleteRequestPartition::default()
                            })
                            .collect(),
                        ..OffsetDeleteRequestTopic::default()
                    })
                })
                .collect(),
            ..OffsetDeleteRequest::default()
        };
        let request = &request;
        self.with_coordinator(group, |coordinator| async move {
            let destination = Destination::Broker(coordinator);
            let response = self.core.ask(destination, request.clone()).await?;
            let what = || format!("delete offsets of group {group}");
            check(response.error_code, what(), None::<Str>)?;
            for partition in response.topics.iter().flat_map(|t| &t.partitions) {
                check(partition.error_code, what(), None::<Str>)?;
            }
            Ok(())
        })
        .await
    }

    /// Asks the group's coordinator, and its next one if it has moved.
    async fn with_coordinator<T, F, Fut>(&self, group: &str, ask: F) -> Result<T, ClientError>
    where
        F: Fn(i32) -> Fut,
        Fut: Future<Output = Result<T, ClientError>>,
    {
        let coordinator = GroupCoordinator::new(self.core.clone(), group.to_owned());
        let (coordinator, ask) = (&coordinator, &ask);
        self.core
            .retry(self.core.deadline(), || async move {
                let broker = coordinator.find().await?;
                let result = ask(broker).await;
                if let Err(error) = &result {
                    coordinator.forget_if(error);
                }
                result
            })
            .await
    }

    /// Sends to the controller, which it looks up, and again where that has moved.
    pub(super) async fn controller_call(
        &self,
        call: impl Fn(Destination) -> Call,
    ) -> Result<Reply, ClientError> {
        let (core, call) = (&self.core, &call);
        core.retry(core.deadline(), || async move {
            let mut controller = core.metadata.snapshot().controller;
            if controller.is_none() {
                self.all_brokers().await?;
                controller = core.metadata.snapshot().controller;
            }
            let destination = controller.map_or(Destination::Any, Destination::Broker);
            core.transport.call(call(destination)).await
        })
        .await
    }

    pub(super) async fn ask_controller<R: ApiRequest + Clone>(
        &self,
        request: R,
    ) -> Result<R::Response, ClientError> {
        let timeout = self.core.config.request_timeout_ms;
        let reply = self
            .controller_call(|destination| {
                Call::new(destination, request.clone().into_request(), timeout)
            })
            .await?;
        response_of::<R>(reply)
    }

    /// The ids of all brokers, asked for anew.
    pub(super) async fn all_brokers(&self) -> Result<Vec<i32>, ClientError> {
        self.metadata(Some(&[])).await?;
        Ok(self
            .core
            .metadata
            .snapshot()
            .nodes
            .keys()
            .copied()
            .collect())
    }

    /// The metadata of all topics.
    pub(super) async fn all_metadata(&self) -> Result<MetadataResponse, ClientError> {
        self.metadata(None).await
    }

    async fn metadata(
        &self,
        topics: Option<&[std::sync::Arc<str>]>,
    ) -> Result<<MetadataRequest as ApiRequest>::Response, ClientError> {
        let core = &self.core;
        core.retry(core.deadline(), || {
            core.metadata.fetch(
                &*core.transport,
                topics,
                false,
                core.config.request_timeout_ms,
            )
        })
        .await
    }
}

fn describe(group: DescribedGroup, coordinator: i32) -> Result<GroupDescription, ClientError> {
    let what = format!("describe group {}", group.group_id);
    // From version 6 on, a group that does not exist is an error and Dead at once.
    if ErrorCode::from(group.error_code) != ErrorCode::GroupIdNotFound {
        check(group.error_code, what, group.error_message)?;
    }
    let members = group
        .members
        .into_iter()
        .map(|m| MemberDescription {
            member_id: m.member_id.to_string(),
            group_instance_id: m.group_instance_id.map(|i| i.to_string()),
            client_id: m.client_id.to_string(),
            host: m.client_host.to_string(),
            // Other protocols than that of consumers have bytes of their own.
            partitions: assigned_partitions(m.member_assignment).unwrap_or_default(),
        })
        .collect();
    Ok(GroupDescription {
        group_id: group.group_id.to_string(),
        state: group.group_state.to_string(),
        protocol_type: group.protocol_type.to_string(),
        assignor: group.protocol_data.to_string(),
        coordinator,
        members,
    })
}

fn empty(what: &str) -> ClientError {
    ClientError::Protocol {
        what: what.to_owned(),
        reason: "it is empty".to_owned(),
    }
}
