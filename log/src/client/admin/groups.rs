//! Groups and their members.
//!
//! A group of either protocol is described by one [`GroupDescription`]: the coordinator is
//! asked for a group of the consumer protocol first, and for a classic one where it is not.

use futures::future::join_all;

use super::topics::check;
use super::{Admin, Each, only};
use crate::client::consumer::{assigned_partitions, subscribed_topics};
use crate::client::transport::{Call, Destination};
use crate::client::{ClientError, TopicPartition};
use crate::wire::messages::{
    ConsumerGroupDescribeAssignment, ConsumerGroupDescribeRequest, ConsumerGroupDescribedGroup,
    DeleteGroupsRequest, DescribeGroupsRequest, DescribedGroup, LeaveGroupRequest,
    ListGroupsRequest, MemberIdentity,
};
use crate::wire::{ErrorCode, Str};

/// Which groups to list; the default lists all.
#[derive(Debug, Clone, Default)]
pub struct ListGroupsOptions {
    /// Only those in one of these states (`Stable`, `Empty`, …).
    pub states: Vec<String>,
    /// Only those of one of these types (`classic`, `consumer`, …).
    pub types: Vec<String>,
    /// Only those whose members speak one of these protocols (`consumer`, `connect`, …; an
    /// empty one means groups that only commit offsets).
    pub protocol_types: Vec<String>,
}

/// A group of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupListing {
    /// `group.id`.
    pub group_id: String,
    /// `consumer` for groups of consumers.
    pub protocol_type: String,
    /// `Stable`, `Empty`, …; empty if the broker does not tell.
    pub state: String,
    /// `classic`, `consumer`, …; empty if the broker does not tell.
    pub group_type: String,
}

/// A group and its members.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupDescription {
    /// `group.id`.
    pub group_id: String,
    /// `classic` or `consumer`.
    pub group_type: String,
    /// `Stable`, `Empty`, `PreparingRebalance`, `CompletingRebalance`, `Assigning`,
    /// `Reconciling` or `Dead`.
    pub state: String,
    /// `consumer` for groups of consumers.
    pub protocol_type: String,
    /// The assignor in use.
    pub assignor: String,
    /// The broker that coordinates the group.
    pub coordinator: i32,
    /// The epoch of the group; `None` for a classic one.
    pub group_epoch: Option<i32>,
    /// The epoch of the assignment that the members move to; `None` for a classic group.
    pub target_assignment_epoch: Option<i32>,
    /// The members.
    pub members: Vec<MemberDescription>,
}

impl GroupDescription {
    /// Whether the group has no protocol: it only commits offsets.
    pub fn is_simple(&self) -> bool {
        self.protocol_type.is_empty()
    }
}

/// One member of a group.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MemberDescription {
    /// The member's id.
    pub member_id: String,
    /// `group.instance.id` of a static member.
    pub group_instance_id: Option<String>,
    /// `client.rack`, if the group's protocol tells.
    pub rack_id: Option<String>,
    /// `client.id`.
    pub client_id: String,
    /// Where it comes from.
    pub host: String,
    /// What it reads.
    pub partitions: Vec<TopicPartition>,
    /// What it shall read once it has caught up with the group; `None` in a classic group.
    pub target_partitions: Option<Vec<TopicPartition>>,
    /// The epoch of the member; `None` in a classic group.
    pub member_epoch: Option<i32>,
    /// Whether it speaks the consumer protocol; `None` if the broker does not tell.
    pub upgraded: Option<bool>,
    /// The topics that it wants.
    pub subscribed_topics: Vec<String>,
    /// The pattern of the topics that it wants.
    pub subscribed_pattern: Option<String>,
}

/// Which members to take out of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MembersToRemove {
    /// All.
    All,
    /// The static ones with these `group.instance.id`s.
    Instances(Vec<String>),
}

impl Admin {
    /// The groups of all brokers.
    pub async fn list_groups(&self) -> Result<Vec<GroupListing>, ClientError> {
        self.list_groups_with(&ListGroupsOptions::default()).await
    }

    /// Some of the groups of all brokers.
    pub async fn list_groups_with(
        &self,
        options: &ListGroupsOptions,
    ) -> Result<Vec<GroupListing>, ClientError> {
        let request = ListGroupsRequest {
            states_filter: options.states.iter().map(Str::from).collect(),
            types_filter: options.types.iter().map(Str::from).collect(),
            ..ListGroupsRequest::default()
        };
        let least = match (options.states.is_empty(), options.types.is_empty()) {
            (_, false) => 5,
            (false, true) => 4,
            (true, true) => 0,
        };
        let listed = self.ask_all_brokers(&request, least, |broker, response| {
            let what = format!("list the groups of broker {broker}");
            check(response.error_code, what, None::<Str>)?;
            Ok(response.groups)
        });
        let mut groups: Vec<GroupListing> = listed
            .await?
            .into_iter()
            .map(|g| GroupListing {
                group_id: g.group_id.to_string(),
                protocol_type: g.protocol_type.to_string(),
                state: g.group_state.to_string(),
                group_type: g.group_type.to_string().to_ascii_lowercase(),
            })
            .collect();
        let protocols = &options.protocol_types;
        groups.retain(|g| protocols.is_empty() || protocols.contains(&g.protocol_type));
        groups.sort_by(|a, b| a.group_id.cmp(&b.group_id));
        Ok(groups)
    }

    /// Groups of either protocol with their members. A group that does not exist has the
    /// state `Dead`.
    pub async fn describe_consumer_groups<T: AsRef<str>>(
        &self,
        groups: &[T],
    ) -> Result<Each<GroupDescription>, ClientError> {
        let described = groups.iter().map(|group| async move {
            let group = group.as_ref();
            let result = self
                .with_coordinator(group, |coordinator| async move {
                    match self.describe_modern(group, coordinator).await {
                        Err(error) if not_modern(&error) => {
                            self.describe_classic(group, coordinator).await
                        }
                        result => result,
                    }
                })
                .await;
            (group.to_owned(), result)
        });
        Ok(join_all(described).await.into_iter().collect())
    }

    /// Groups of the classic protocol with their members, whatever their protocol type. A
    /// group that does not exist, or is not classic, has the state `Dead`.
    pub async fn describe_classic_groups<T: AsRef<str>>(
        &self,
        groups: &[T],
    ) -> Result<Each<GroupDescription>, ClientError> {
        let described = groups.iter().map(|group| async move {
            let group = group.as_ref();
            let result = self
                .with_coordinator(group, |coordinator| {
                    self.describe_classic(group, coordinator)
                })
                .await;
            (group.to_owned(), result)
        });
        Ok(join_all(described).await.into_iter().collect())
    }

    /// [`describe_consumer_groups`](Self::describe_consumer_groups) under its short name.
    pub async fn describe_groups<T: AsRef<str>>(
        &self,
        groups: &[T],
    ) -> Result<Each<GroupDescription>, ClientError> {
        self.describe_consumer_groups(groups).await
    }

    /// One group with its members.
    pub async fn describe_group(&self, group: &str) -> Result<GroupDescription, ClientError> {
        only(
            self.describe_consumer_groups(&[group]).await?,
            "DescribeGroups",
        )
    }

    async fn describe_modern(
        &self,
        group: &str,
        coordinator: i32,
    ) -> Result<GroupDescription, ClientError> {
        let request = ConsumerGroupDescribeRequest {
            group_ids: vec![Str::from(group)],
            ..ConsumerGroupDescribeRequest::default()
        };
        let destination = Destination::Broker(coordinator);
        let response = self.core.ask(destination, request).await?;
        let described = response.groups.into_iter().next();
        modern(
            described.ok_or_else(|| super::empty("ConsumerGroupDescribe"))?,
            coordinator,
        )
    }

    async fn describe_classic(
        &self,
        group: &str,
        coordinator: i32,
    ) -> Result<GroupDescription, ClientError> {
        let request = DescribeGroupsRequest {
            groups: vec![Str::from(group)],
            ..DescribeGroupsRequest::default()
        };
        let destination = Destination::Broker(coordinator);
        let response = self.core.ask(destination, request).await?;
        let described = response.groups.into_iter().next();
        classic(
            described.ok_or_else(|| super::empty("DescribeGroups"))?,
            coordinator,
        )
    }

    /// Deletes groups that have no members, with their committed offsets.
    pub async fn delete_consumer_groups<T: AsRef<str>>(
        &self,
        groups: &[T],
    ) -> Result<Each<()>, ClientError> {
        let deleted = groups.iter().map(|group| async move {
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
                    let deleted = deleted.ok_or_else(|| super::empty("DeleteGroups"))?;
                    let what = format!("delete group {group}");
                    check(deleted.error_code, what, None::<Str>)
                })
                .await;
            (group.to_owned(), result)
        });
        Ok(join_all(deleted).await.into_iter().collect())
    }

    /// [`delete_consumer_groups`](Self::delete_consumer_groups) under its short name.
    pub async fn delete_groups<T: AsRef<str>>(
        &self,
        groups: &[T],
    ) -> Result<Each<()>, ClientError> {
        self.delete_consumer_groups(groups).await
    }

    /// Takes members out of a group: their partitions go to the others at once, and not
    /// only when their sessions end. Answers for each static member by its
    /// `group.instance.id`, for others by their member id.
    pub async fn remove_members_from_consumer_group(
        &self,
        group: &str,
        members: &MembersToRemove,
    ) -> Result<Each<()>, ClientError> {
        let identities: Vec<MemberIdentity> = match members {
            MembersToRemove::Instances(instances) => instances
                .iter()
                .map(|instance| MemberIdentity {
                    group_instance_id: Some(Str::from(instance)),
                    ..MemberIdentity::default()
                })
                .collect(),
            MembersToRemove::All => {
                let described = self.describe_group(group).await?;
                described
                    .members
                    .iter()
                    .map(|member| MemberIdentity {
                        member_id: Str::from(&member.member_id),
                        group_instance_id: member.group_instance_id.as_ref().map(Str::from),
                        ..MemberIdentity::default()
                    })
                    .collect()
            }
        };
        if identities.is_empty() {
            return Ok(Each::new());
        }
        let identities = &identities;
        self.with_coordinator(group, |coordinator| async move {
            let request = LeaveGroupRequest {
                group_id: Str::from(group),
                members: identities.clone(),
                ..LeaveGroupRequest::default()
            };
            let destination = Destination::Broker(coordinator);
            let timeout = self.core.config.request_timeout_ms;
            // Before version 3 there is one member only, and without an instance id.
            let call = Call::new(destination, request, timeout).at_least(3);
            let response = self.core.exchange::<LeaveGroupRequest>(call).await?;
            let what = format!("take members out of group {group}");
            check(response.error_code, what.clone(), None::<Str>)?;
            Ok(response
                .members
                .into_iter()
                .map(|member| {
                    let name = member.group_instance_id.unwrap_or(member.member_id);
                    let result = check(member.error_code, format!("{what}: {name}"), None::<Str>);
                    (name.to_string(), result)
                })
                .collect())
        })
        .await
    }

    /// [`remove_members_from_consumer_group`](Self::remove_members_from_consumer_group) for
    /// static members, with one error for all. Members that are not in the group are none.
    pub async fn remove_members<T: AsRef<str>>(
        &self,
        group: &str,
        instances: &[T],
    ) -> Result<(), ClientError> {
        let instances = instances.iter().map(|i| i.as_ref().to_owned()).collect();
        let members = MembersToRemove::Instances(instances);
        let removed = self
            .remove_members_from_consumer_group(group, &members)
            .await?;
        let refused = removed.into_values().filter_map(Result::err);
        let mut refused = refused.filter(|e| e.code() != Some(ErrorCode::UnknownMemberId));
        refused.next().map_or(Ok(()), Err)
    }
}

/// Whether the group may be one of the classic protocol.
fn not_modern(error: &ClientError) -> bool {
    matches!(error, ClientError::Unsupported { .. })
        || matches!(
            error.code(),
            Some(ErrorCode::GroupIdNotFound | ErrorCode::UnsupportedVersion)
        )
}

fn modern(
    group: ConsumerGroupDescribedGroup,
    coordinator: i32,
) -> Result<GroupDescription, ClientError> {
    let what = format!("describe group {}", group.group_id);
    check(group.error_code, what, group.error_message)?;
    let partitions = |assignment: &ConsumerGroupDescribeAssignment| {
        let topics = assignment.topic_partitions.iter();
        let all = topics.flat_map(|topic| {
            let partitions = topic.partitions.iter();
            partitions.map(|p| TopicPartition::new(&*topic.topic_name, *p))
        });
        let mut all: Vec<TopicPartition> = all.collect();
        all.sort();
        all
    };
    Ok(GroupDescription {
        group_id: group.group_id.to_string(),
        group_type: "consumer".to_owned(),
        state: group.group_state.to_string(),
        protocol_type: "consumer".to_owned(),
        assignor: group.assignor_name.to_string(),
        coordinator,
        group_epoch: Some(group.group_epoch),
        target_assignment_epoch: Some(group.assignment_epoch),
        members: group
            .members
            .into_iter()
            .map(|m| MemberDescription {
                partitions: partitions(&m.assignment),
                target_partitions: Some(partitions(&m.target_assignment)),
                member_id: m.member_id.to_string(),
                group_instance_id: m.instance_id.map(|i| i.to_string()),
                rack_id: m.rack_id.map(|r| r.to_string()),
                client_id: m.client_id.to_string(),
                host: m.client_host.to_string(),
                member_epoch: Some(m.member_epoch),
                upgraded: match m.member_type {
                    0 => Some(false),
                    1 => Some(true),
                    _ => None,
                },
                subscribed_topics: m
                    .subscribed_topic_names
                    .iter()
                    .map(|t| t.to_string())
                    .collect(),
                subscribed_pattern: m
                    .subscribed_topic_regex
                    .filter(|pattern| !pattern.is_empty())
                    .map(|pattern| pattern.to_string()),
            })
            .collect(),
    })
}

fn classic(group: DescribedGroup, coordinator: i32) -> Result<GroupDescription, ClientError> {
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
            subscribed_topics: subscribed_topics(m.member_metadata).unwrap_or_default(),
            ..MemberDescription::default()
        })
        .collect();
    Ok(GroupDescription {
        group_id: group.group_id.to_string(),
        group_type: "classic".to_owned(),
        state: group.group_state.to_string(),
        protocol_type: group.protocol_type.to_string(),
        assignor: group.protocol_data.to_string(),
        coordinator,
        group_epoch: None,
        target_assignment_epoch: None,
        members,
    })
}
