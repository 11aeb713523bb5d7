//! The offsets that groups have committed.

use std::collections::BTreeMap;

use super::by_topic::by_topic;
use super::topics::check;
use super::{Admin, Each};
use crate::client::consumer::GroupCoordinator;
use crate::client::transport::Destination;
use crate::client::{ClientError, GroupMetadata, OffsetAndMetadata, TopicPartition};
use crate::wire::Str;
use crate::wire::messages::{
    OffsetDeleteRequest, OffsetDeleteRequestPartition, OffsetDeleteRequestTopic,
};

impl Admin {
    /// A group's committed offsets; `None` asks for all partitions that have one. With
    /// `require_stable`, offsets that an open transaction holds are waited for.
    pub async fn list_consumer_group_offsets(
        &self,
        group: &str,
        partitions: Option<&[TopicPartition]>,
        require_stable: bool,
    ) -> Result<BTreeMap<TopicPartition, OffsetAndMetadata>, ClientError> {
        let coordinator = GroupCoordinator::new(self.core.clone(), group.to_owned());
        coordinator
            .committed(partitions, require_stable, self.core.deadline())
            .await
    }

    /// [`list_consumer_group_offsets`](Self::list_consumer_group_offsets) as they are now.
    pub async fn group_offsets(
        &self,
        group: &str,
        partitions: Option<&[TopicPartition]>,
    ) -> Result<BTreeMap<TopicPartition, OffsetAndMetadata>, ClientError> {
        self.list_consumer_group_offsets(group, partitions, false)
            .await
    }

    /// Sets a group's committed offsets. The group must have no members.
    pub async fn alter_consumer_group_offsets(
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

    /// [`alter_consumer_group_offsets`](Self::alter_consumer_group_offsets) under its short
    /// name.
    pub async fn alter_group_offsets(
        &self,
        group: &str,
        offsets: &BTreeMap<TopicPartition, OffsetAndMetadata>,
    ) -> Result<(), ClientError> {
        self.alter_consumer_group_offsets(group, offsets).await
    }

    /// Forgets a group's committed offsets of some partitions. A partition whose topic the
    /// group is subscribed to is refused.
    pub async fn delete_consumer_group_offsets(
        &self,
        group: &str,
        partitions: &[TopicPartition],
    ) -> Result<Each<(), TopicPartition>, ClientError> {
        let request = OffsetDeleteRequest {
            group_id: Str::from(group),
            topics: by_topic(
                partitions.iter().map(|p| (p, ())),
                |partition_index, ()| OffsetDeleteRequestPartition {
                    partition_index,
                    ..OffsetDeleteRequestPartition::default()
                },
                |name, partitions| OffsetDeleteRequestTopic {
                    name,
                    partitions,
                    ..OffsetDeleteRequestTopic::default()
                },
            ),
            ..OffsetDeleteRequest::default()
        };
        let request = &request;
        self.with_coordinator(group, |coordinator| async move {
            let destination = Destination::Broker(coordinator);
            let response = self.core.ask(destination, request.clone()).await?;
            let what = format!("delete offsets of group {group}");
            check(response.error_code, what, None::<Str>)?;
            let mut results = Each::new();
            for topic in response.topics {
                for p in topic.partitions {
                    let partition = TopicPartition::new(&*topic.name, p.partition_index);
                    let what = format!("delete the offset of {partition} of group {group}");
                    results.insert(partition, check(p.error_code, what, None::<Str>));
                }
            }
            Ok(results)
        })
        .await
    }

    /// [`delete_consumer_group_offsets`](Self::delete_consumer_group_offsets) with one error
    /// for all.
    pub async fn delete_group_offsets(
        &self,
        group: &str,
        partitions: &[TopicPartition],
    ) -> Result<(), ClientError> {
        self.delete_consumer_group_offsets(group, partitions)
            .await?
            .into_values()
            .collect()
    }
}
