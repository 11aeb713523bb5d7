//! Waiting until a job reflects given offsets of its inputs, all the way through.
//!
//! A job has caught up when the sub-topologies that read the topics have committed the
//! offsets, and then, along the repartition topics, every later sub-topology has
//! committed what its inputs held once everything before it had committed: a commit
//! sends its outputs before its offsets, so what a repartition topic holds by then includes
//! all that follows from the given offsets.

use super::job::{Job, JobState};
use crate::StreamsError;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use thalweg_log::client::{IsolationLevel, OffsetSpec, TopicPartition};

/// How often partitions that other processes read are looked at.
const LOOK: Duration = Duration::from_millis(50);

/// Waits until the job reflects `targets`. Topics that the job does not read are ignored.
pub(crate) async fn wait(
    job: &Job,
    targets: &BTreeMap<TopicPartition, i64>,
) -> Result<(), StreamsError> {
    let read = |partition: &TopicPartition| job.sources.contains_key(&partition.topic);
    let targets = targets.iter().filter(|(p, _)| read(p));
    let mut wanted: BTreeMap<TopicPartition, i64> = targets.map(|(p, o)| (p.clone(), *o)).collect();
    let mut done: BTreeSet<u32> = BTreeSet::new();
    loop {
        // The sub-topologies all of whose upstream ones are done.
        let ready: Vec<_> = job
            .plan
            .sub_topologies
            .iter()
            .filter(|sub| !done.contains(&sub.id))
            .filter(|sub| {
                let mut writers = sub.sources.iter().filter_map(|s| s.writers.as_ref());
                writers.all(|w| w.iter().all(|id| *id == sub.id || done.contains(id)))
            })
            .collect();
        if ready.is_empty() {
            break;
        }
        let mut repartition = BTreeMap::new();
        for source in ready.iter().flat_map(|sub| &sub.sources) {
            if source.writers.is_some() {
                for partition in 0..source.partitions {
                    let partition = TopicPartition::new(source.topic.clone(), partition);
                    repartition.insert(partition, OffsetSpec::Latest);
                }
            }
        }
        if !repartition.is_empty() {
            let ends = job
                .client
                .admin()
                .list_offsets(repartition, IsolationLevel::ReadUncommitted)
                .await
                .map_err(|e| StreamsError::log("looking up repartition topics", e))?;
            wanted.extend(ends.into_iter().filter_map(|(p, o)| Some((p, o?.offset))));
        }
        let topics: BTreeSet<_> = ready
            .iter()
            .flat_map(|sub| sub.sources.iter().map(|s| s.topic.clone()))
            .collect();
        let now: BTreeMap<_, _> = wanted
            .iter()
            .filter(|(p, offset)| topics.contains(&p.topic) && **offset > 0)
            .map(|(p, offset)| (p.clone(), *offset))
            .collect();
        wait_committed(job, now).await?;
        done.extend(ready.iter().map(|sub| sub.id));
    }
    // Where tasks are just moving, their stores are visible again when all run.
    let mut status = job.watch();
    let state = status.wait_for(|state| *state == JobState::Running || state.has_ended());
    match state.await {
        Ok(state) if *state == JobState::Running => Ok(()),
        _ => Err(job.not_running()),
    }
}

/// Waits until these offsets are committed and, where this process reads them, applied.
async fn wait_committed(
    job: &Job,
    mut wanted: BTreeMap<TopicPartition, i64>,
) -> Result<(), StreamsError> {
    let mut progress = job.watch_progress();
    let mut status = job.watch();
    loop {
        if job.state().has_ended() {
            return Err(job.not_running());
        }
        progress.borrow_and_update();
        wanted.retain(|partition, offset| job.position(partition).is_none_or(|at| at < *offset));
        let elsewhere: Vec<_> = wanted
            .keys()
            .filter(|partition| job.position(partition).is_none())
            .cloned()
            .collect();
        if !elsewhere.is_empty() {
            let committed = job
                .client
                .admin()
                .group_offsets(&job.config.application_id, Some(&elsewhere))
                .await
                .map_err(|e| StreamsError::log("looking up committed offsets", e))?;
            wanted.retain(|partition, offset| {
                // What has come here in the meantime counts when it is applied.
                let there = committed
                    .get(partition)
                    .is_some_and(|at| at.offset >= *offset);
                !there || job.position(partition).is_some()
            });
        }
        if wanted.is_empty() {
            return Ok(());
        }
        let look = match elsewhere.is_empty() {
            true => Duration::from_secs(3600),
            false => LOOK,
        };
        tokio::select! {
            _ = progress.changed() => {}
            _ = status.changed() => {}
            () = tokio::time::sleep(look) => {}
        }
    }
}
