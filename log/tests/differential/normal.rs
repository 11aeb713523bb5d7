//! An answer as lines that compare equal where the brokers agree.
//!
//! What cannot be the same (times, ports, texts of errors) is left out by the field's name; ids that a broker
//! makes up are marked, for the comparison to pair them; lists without an order are sorted.

use std::fmt::Write as _;

use bytes::Bytes;
use thalweg_log::record::batches;
use thalweg_log::wire::Response;

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

/// How a line says that its value is such an id.
pub(crate) const MADE_UP: &str = "@";

/// The answer's lines.
pub(crate) fn lines(mut response: Response) -> Vec<String> {
    tidy(&mut response);
    let text = format!("{response:#?}");
    let mut lines = Vec::new();
    let mut skip_to: Option<usize> = None;
    for line in text.lines() {
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
fn tidy(response: &mut Response) {
    match response {
        Response::Fetch(r) => {
            for partition in r.responses.iter_mut().flat_map(|t| &mut t.partitions) {
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
        Response::ListGroups(r) => r.groups.sort_by(|a, b| a.group_id.cmp(&b.group_id)),
        Response::OffsetFetch(r) => {
            r.topics.sort_by(|a, b| a.name.cmp(&b.name));
            for group in &mut r.groups {
                group.topics.sort_by(|a, b| a.name.cmp(&b.name));
                for topic in &mut group.topics {
                    topic.partitions.sort_by_key(|p| p.partition_index);
                }
            }
        }
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
        let Ok(records) = batch.records() else {
            text.push_str(" unreadable");
            continue;
        };
        for record in records.flatten() {
            // A control record's value holds the coordinator's epoch.
            let value = if control { None } else { record.value };
            let _ = write!(
                text,
                " ({} at {}: {:?} = {:?})",
                record.offset,
                if control { 0 } else { record.timestamp },
                record.key,
                value
            );
        }
    }
    Bytes::from(text)
}
