//! An answer as lines that compare equal where the brokers agree.
//!
//! What cannot be the same (times, ports, texts of errors) is left out by the field's name; ids that a broker
//! makes up are marked, for the comparison to pair them; lists without an order are sorted.

use std::fmt::Write as _;

use bytes::Bytes;
use thalweg_log::record::{TimestampType, batches};
use thalweg_log::wire::Response;
use thalweg_log::wire::messages::FetchableTopicResponse;

/// Fields whose values say nothing.
const WITHOUT_MEANING: &[&str] = &[
    "throttle_time_ms",
    "error_message",
    "batch_index_error_message",
    "host",
    "port",
    "cluster_id",
    "log_append_time_ms",
    "documentation",
    "unknown_tagged_fields",
    "client_host",
    "transaction_start_time_ms",
    "last_timestamp",
    "incarnation_id",
    "broker_epoch",
    "log_dir",
    "total_bytes",
    "usable_bytes",
];

/// Fields with ids that a broker makes up.
const IDS: &[&str] = &[
    "producer_id",
    "member_id",
    "leader",
    "topic_id",
    "session_id",
    "directory_id",
    "replica_directory_id",
];

/// From here on until 3_000_000_000_000 no client here stamps a record.
const STAMPED_FROM: i64 = 1_750_000_000_000;

/// How a line says that its value is such an id.
pub(crate) const MADE_UP: &str = "@";

/// The answer's lines; lists of everything are held to the names that begin with `own`.
pub(crate) fn lines(mut response: Response, own: &str) -> Vec<String> {
    tidy(&mut response, own);
    let text = format!("{response:#?}");
    let mut lines = Vec::new();
    let mut skip_to: Option<usize> = None;
    let mut id_follows = false;
    for line in text.lines() {
        if std::mem::take(&mut id_follows) {
            let value = line.trim().trim_end_matches(',').trim_matches('"');
            lines.push(format!("id: {MADE_UP}{value}"));
            continue;
        }
        id_follows = line.trim() == "member_id: Some(";
        let indent = line.len() - line.trim_start().len();
        if let Some(end) = skip_to {
            if indent <= end {
                skip_to = None;
            }
            continue;
        }
        let Some((field, value)) = line.trim().split_once(": ") else {
            lines.push(line.to_owned());
            continue;
        };
        if WITHOUT_MEANING.contains(&field) {
            if value.ends_with(['(', '[', '{']) {
                skip_to = Some(indent);
            }
            continue;
        }
        if IDS.contains(&field) && !value.ends_with(['(', '[', '{']) {
            let value = value.trim_end_matches(',').trim_matches('"');
            if !["", "0", "-1", "00000000-0000-0000-0000-000000000000"].contains(&value) {
                lines.push(format!("{}{field}: {MADE_UP}{value}", " ".repeat(indent)));
                continue;
            }
        }
        lines.push(line.to_owned());
    }
    lines
}

/// Sorts what has no order, and shows records instead of bytes.
fn tidy(response: &mut Response, own: &str) {
    match response {
        Response::Fetch(r) => {
            together(&mut r.responses);
            for partition in r.responses.iter_mut().flat_map(|t| &mut t.partitions) {
                // It looks aborted transactions up by positions of its index, and so tells of some too many.
                let last = partition.records.clone().map(batches);
                let last = last.and_then(|b| b.flatten().map(|b| b.last_offset()).max());
                for aborted in partition.aborted_transactions.iter_mut() {
                    aborted.retain(|a| last.is_some_and(|last| a.first_offset <= last));
                }
                let shown = partition.records.take().map(show);
                partition.records = shown;
            }
        }
        Response::Metadata(r) => r.topics.sort_by(|a, b| a.name.cmp(&b.name)),
        Response::DescribeConfigs(r) => {
            for result in &mut r.results {
                result.configs.sort_by(|a, b| a.name.cmp(&b.name));
            }
        }
        Response::ListGroups(r) => {
            r.groups.retain(|g| g.group_id.starts_with(own));
            r.groups.sort_by(|a, b| a.group_id.cmp(&b.group_id));
        }
        Response::ListTransactions(r) => {
            let all = &mut r.transaction_states;
            all.retain(|t| t.transactional_id.starts_with(own));
            all.sort_by(|a, b| a.transactional_id.cmp(&b.transactional_id));
        }
        Response::DescribeTransactions(r) => {
            for state in &mut r.transaction_states {
                state.topics.sort_by(|a, b| a.topic.cmp(&b.topic));
                for topic in &mut state.topics {
                    topic.partitions.sort_unstable();
                }
            }
        }
        Response::DescribeProducers(r) => {
            for partition in r.topics.iter_mut().flat_map(|t| &mut t.partitions) {
                partition.active_producers.sort_by_key(|p| p.producer_id);
            }
        }
        Response::JoinGroup(r) => r.members.sort_by(|a, b| a.metadata.cmp(&b.metadata)),
        Response::DescribeGroups(r) => {
            r.groups.sort_by(|a, b| a.group_id.cmp(&b.group_id));
            for group in &mut r.groups {
                let members = &mut group.members;
                members.sort_by(|a, b| a.member_metadata.cmp(&b.member_metadata));
            }
        }
        Response::DescribeClientQuotas(r) => {
            for entry in r.entries.iter_mut().flatten() {
                entry.values.sort_by(|a, b| a.key.cmp(&b.key));
                let entity = &mut entry.entity;
                entity.sort_by(|a, b| a.entity_type.cmp(&b.entity_type));
            }
            let entries = r.entries.iter_mut();
            entries.for_each(|e| e.sort_by_key(|e| format!("{:?}", e.entity)));
        }
        Response::OffsetFetch(r) => {
            r.topics.sort_by(|a, b| a.name.cmp(&b.name));
            for group in &mut r.groups {
                group.topics.sort_by(|a, b| a.name.cmp(&b.name));
                for topic in &mut group.topics {
                    topic.partitions.sort_by_key(|p| p.partition_index);
                }
            }
        }
        Response::ConsumerGroupDescribe(r) => {
            r.groups.sort_by(|a, b| a.group_id.cmp(&b.group_id));
        }
        Response::ListOffsets(r) => {
            // Markers are stamped by the broker's clock: records here are of 2023.
            let partitions = r.topics.iter_mut().flat_map(|t| &mut t.partitions);
            for partition in
                partitions.filter(|p| (STAMPED_FROM..3_000_000_000_000).contains(&p.timestamp))
            {
                partition.timestamp = STAMPED_FROM;
            }
        }
        Response::AlterClientQuotas(r) => {
            for entry in &mut r.entries {
                let entity = &mut entry.entity;
                entity.sort_by(|a, b| a.entity_type.cmp(&b.entity_type));
            }
        }
        Response::DeleteGroups(r) => r.results.sort_by(|a, b| a.group_id.cmp(&b.group_id)),
        Response::DeleteTopics(r) => r.responses.sort_by(|a, b| a.name.cmp(&b.name)),
        Response::OffsetDelete(r) => {
            for topic in &mut r.topics {
                topic.partitions.sort_by_key(|p| p.partition_index);
            }
        }
        Response::ApiVersions(r) => r.api_keys.sort_by_key(|key| key.api_key),
        Response::CreateTopics(r) => {
            for topic in &mut r.topics {
                if let Some(configs) = &mut topic.configs {
                    configs.sort_by(|a, b| a.name.cmp(&b.name));
                }
            }
        }
        _ => {}
    }
}

/// Topics once each, in an order that both have: Kafka tells last of what does not exist, and moves what had
/// records to the end of a session.
fn together(topics: &mut Vec<FetchableTopicResponse>) {
    let mut merged: Vec<FetchableTopicResponse> = Vec::new();
    for topic in topics.drain(..) {
        let same = |t: &&mut FetchableTopicResponse| {
            t.topic == topic.topic && t.topic_id == topic.topic_id
        };
        match merged.iter_mut().find(same) {
            Some(known) => known.partitions.extend(topic.partitions),
            None => merged.push(topic),
        }
    }
    for topic in &mut merged {
        topic.partitions.sort_by_key(|p| p.partition_index);
    }
    merged.sort_by_key(|t| {
        let first = t.partitions.first();
        let told = first.map(|p| (p.error_code, p.partition_index, p.high_watermark));
        (t.topic.to_string(), told)
    });
    *topics = merged;
}

/// Batches as text, without what differs by nature.
fn show(records: Bytes) -> Bytes {
    let mut text = String::new();
    for batch in batches(records) {
        let Ok(batch) = batch else {
            text.push_str("| an incomplete batch");
            break;
        };
        let _ = write!(
            text,
            "| {}..{} epoch {} producer epoch {} sequence {} {:?}",
            batch.base_offset,
            batch.last_offset(),
            batch.partition_leader_epoch,
            batch.producer_epoch,
            batch.base_sequence,
            batch.compression(),
        );
        let control = batch.is_control();
        let stamped = batch.timestamp_type() == TimestampType::LogAppendTime;
        let Ok(records) = batch.records() else {
            text.push_str(" unreadable");
            continue;
        };
        for record in records.flatten() {
            // A control record's value holds the coordinator's epoch.
            let value = if control { None } else { record.value };
            let _ = write!(
                text,
                " ({} at {}: {:?} = {:?} {:?})",
                record.offset,
                if control || stamped {
                    0
                } else {
                    record.timestamp
                },
                record.key,
                value,
                record.headers
            );
        }
    }
    Bytes::from(text)
}
