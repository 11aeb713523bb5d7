//! The topics and partitions that a command names, as the cluster has them.

use anyhow::{Context as _, Result, bail};
use regex::Regex;
use thalweg_log::client::{Client, TopicListing, TopicPartition};

use crate::args;

/// Partitions that are named as `orders` (all of them) or `orders:0,1`; each must exist.
pub async fn partitions(client: &Client, named: &[String]) -> Result<Vec<TopicPartition>> {
    let mut all = Vec::new();
    for (name, wanted) in args::places(named)? {
        let topic = client.topic(&name).await?;
        let count = topic.partition_count();
        let wanted = wanted.unwrap_or_else(|| (0..count).collect());
        if let Some(partition) = wanted.iter().find(|p| **p >= count) {
            bail!(
                "topic {name} has the partitions 0 to {}, and no {partition}",
                count - 1
            );
        }
        let place = |p| TopicPartition::new(topic.name.clone(), p);
        all.extend(wanted.into_iter().map(place));
    }
    Ok(all)
}

/// The names of all topics but internal ones, and those that are meant as such by their names.
pub async fn topics(client: &Client) -> Result<Vec<String>> {
    let all = client.admin().list_topics().await?;
    let internal = |topic: &TopicListing| topic.internal || topic.name.starts_with("__");
    let own = all.into_iter().filter(|topic| !internal(topic));
    Ok(own.map(|topic| topic.name).collect())
}

/// The topics whose whole name matches one of `patterns`; that there is none is an error.
pub async fn matching(client: &Client, patterns: &[String]) -> Result<Vec<String>> {
    let pattern = whole_name(patterns)?;
    let mut names = topics(client).await?;
    names.retain(|name| pattern.is_match(name));
    if names.is_empty() {
        bail!("no topic's name matches {:?}", patterns.join("|"));
    }
    Ok(names)
}

/// A regular expression for whole names, one of several.
pub fn whole_name(patterns: &[String]) -> Result<Regex> {
    let either = patterns.join("|");
    Regex::new(&format!("^(?:{either})$"))
        .with_context(|| format!("{either:?} is no regular expression"))
}
