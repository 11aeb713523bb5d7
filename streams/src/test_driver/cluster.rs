//! The tasks of a topology over the test's log, and the order in which they are driven.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use thalweg_state::{KeyRange, StoreId, StorePosition, TaskState};
use uuid::Uuid;

use super::TestDriverOptions;
use super::log::{Log, RawRecord};
use super::random::Random;
use crate::StreamsError;
use crate::task::{Progress, Task, TaskId, TaskOptions};
use crate::topology::{Plan, Topology};

/// A source of a task, as the driver feeds it.
#[derive(Debug)]
struct Feed {
    topic: String,
    /// The offset of the next record to hand over.
    next: i64,
}

/// A task and what of its input it has been handed.
#[derive(Debug)]
struct Driven {
    task: Task,
    feeds: Vec<Feed>,
}

#[derive(Debug)]
pub(super) struct Cluster {
    plan: Plan,
    log: Log,
    tasks: BTreeMap<TaskId, Driven>,
    /// Offset and metadata that each source of each task has committed.
    committed: BTreeMap<(TaskId, usize), (i64, String)>,
    wall_clock: i64,
    random: Option<Random>,
    pub(super) auto_commit: bool,
    ephemeral: bool,
    /// What tasks that are gone had counted.
    late_before: u64,
    skipped_before: u64,
}

/// Enough for any budget.
const ALL: usize = usize::MAX;

impl Cluster {
    pub(super) fn start(
        topology: &Topology,
        options: TestDriverOptions,
    ) -> Result<Self, StreamsError> {
        let own = format!("{}-", options.application_id);
        let partitions = |topic: &str| {
            let internal = topic.starts_with(&own)
                && (topic.ends_with("-repartition") || topic.ends_with("-changelog"));
            let known = options.partitions.get(topic).copied();
            (!internal).then(|| known.unwrap_or(options.default_partitions))
        };
        let plan = Plan::resolve(topology, &options.application_id, partitions)?;
        let mut log = Log::default();
        for topic in &plan.internal_topics {
            log.create(&topic.name, topic.partitions);
        }
        for sub in &plan.sub_topologies {
            for source in &sub.sources {
                log.create(&source.topic, source.partitions);
            }
            for sink in &sub.sinks {
                log.create(&sink.topic, sink.partitions);
            }
        }
        // Changelogs of a name of their own that nothing else in the topology reads.
        for sub in &plan.sub_topologies {
            for changelog in sub.changelogs.iter().flatten() {
                log.create(&changelog.topic, sub.tasks);
            }
        }
        let mut cluster = Self {
            plan,
            log,
            tasks: BTreeMap::new(),
            committed: BTreeMap::new(),
            wall_clock: options.wall_clock,
            random: options.seed.map(Random::new),
            auto_commit: true,
            ephemeral: options.ephemeral,
            late_before: 0,
            skipped_before: 0,
        };
        cluster.rebuild()?;
        Ok(cluster)
    }

    /// Builds every task from what is committed.
    pub(super) fn rebuild(&mut self) -> Result<(), StreamsError> {
        if self.ephemeral && !self.tasks.is_empty() {
            return Err(StreamsError::Config(
                "a driver that keeps nothing of what it has processed cannot restart: leave TestDriverOptions::ephemeral out".to_owned(),
            ));
        }
        self.late_before = self.late_records();
        self.skipped_before = self.skipped_records();
        self.tasks.clear();
        let ids: Vec<TaskId> = self.plan.tasks().collect();
        for id in ids {
            let driven = self.build(id)?;
            self.tasks.insert(id, driven);
        }
        Ok(())
    }

    fn build(&self, id: TaskId) -> Result<Driven, StreamsError> {
        let sub = self.plan.sub_topology(id.sub_topology)?;
        let mut state = TaskState::in_memory(&sub.stores);
        for (index, changelog) in sub.changelogs.iter().enumerate() {
            if let Some(changelog) = changelog {
                // Of a source only what has been taken belongs in the store.
                let source = sub.sources.iter().position(|s| s.topic == changelog.topic);
                let taken = source.filter(|_| !changelog.written).map_or(ALL, |source| {
                    let committed = self.committed.get(&(id, source));
                    committed.map_or(0, |(offset, _)| usize::try_from(*offset).unwrap_or(0))
                });
                let records = self.log.from(&changelog.topic, id.partition, 0, taken);
                let position = self.position(self.log.end(&changelog.topic, id.partition));
                let entries = records.into_iter().filter_map(|r| Some((r.key?, r.value)));
                state.restore(StoreId(index), entries.collect::<Vec<_>>(), position)?;
            }
        }
        let mut task = Task::new(id, &self.plan, state, &TaskOptions::default())?;
        let mut feeds = Vec::new();
        for (index, source) in sub.sources.iter().enumerate() {
            let mut next = 0;
            if let Some((offset, metadata)) = self.committed.get(&(id, index)) {
                next = *offset;
                task.seek(index, next);
                task.restore_time(index, metadata)?;
            }
            feeds.push(Feed {
                topic: source.topic.to_string(),
                next,
            });
        }
        task.init(self.wall_clock)?;
        Ok(Driven { task, feeds })
    }

    fn position(&self, offset: i64) -> StorePosition {
        StorePosition {
            topic_id: Uuid::nil(),
            leader_epoch: 0,
            offset,
            wall_time: self.wall_clock,
        }
    }

    pub(super) fn append_input(
        &mut self,
        topic: &str,
        partition: Option<i32>,
        record: RawRecord,
    ) -> Result<(), StreamsError> {
        match self.log.append(topic, partition, record) {
            Some(_) => Ok(()),
            None => Err(StreamsError::Topology(match self.log.partitions(topic) {
                None => format!("the topology reads no topic `{topic}`"),
                Some(count) => format!("topic `{topic}` has partitions 0 to {}", count - 1),
            })),
        }
    }

    pub(super) fn after_input(&mut self) -> Result<(), StreamsError> {
        if self.auto_commit {
            self.settle()
        } else {
            Ok(())
        }
    }

    pub(super) fn read(&mut self, topic: &str) -> Vec<RawRecord> {
        self.log.read(topic)
    }

    /// Hands up to `limit` records of one source over. Returns how many there were.
    fn feed(&mut self, id: TaskId, source: usize, limit: usize) -> usize {
        let Some(driven) = self.tasks.get_mut(&id) else {
            return 0;
        };
        let Some(feed) = driven.feeds.get_mut(source) else {
            return 0;
        };
        let taken = self.log.from(&feed.topic, id.partition, feed.next, limit);
        let count = taken.len();
        feed.next += i64::try_from(count).unwrap_or(0);
        if self.ephemeral {
            self.log.forget(&feed.topic, id.partition, feed.next);
        }
        let caught_up = feed.next >= self.log.end(&feed.topic, id.partition);
        driven.task.set_caught_up(source, caught_up);
        driven.task.add_records(source, taken);
        count
    }

    fn feed_all(&mut self) -> usize {
        let ids: Vec<TaskId> = self.tasks.keys().copied().collect();
        let mut fed = 0;
        for id in ids {
            for source in 0..self.sources(id) {
                fed += self.feed(id, source, ALL);
            }
        }
        fed
    }

    fn sources(&self, id: TaskId) -> usize {
        self.tasks.get(&id).map_or(0, |driven| driven.feeds.len())
    }

    /// Lets one task work and appends what it sends. Returns how many records it took.
    fn process(&mut self, id: TaskId, budget: usize) -> Result<usize, StreamsError> {
        let Some(driven) = self.tasks.get_mut(&id) else {
            return Ok(0);
        };
        let mut total = 0;
        while total < budget {
            let taken = driven.task.process(budget - total, self.wall_clock)?;
            while driven.task.advance(self.wall_clock)? == Progress::More {
                send(&mut self.log, &mut driven.task);
            }
            send(&mut self.log, &mut driven.task);
            if taken == 0 {
                break;
            }
            total += taken;
        }
        Ok(total)
    }

    /// Commits one task: flush, outputs, changelogs, offsets. Returns whether that made
    /// any record.
    fn commit(&mut self, id: TaskId) -> Result<bool, StreamsError> {
        let sub = self.plan.sub_topology(id.sub_topology)?;
        let Some(driven) = self.tasks.get_mut(&id) else {
            return Ok(false);
        };
        let mut sent = 0;
        while driven.task.flush(self.wall_clock)? == Progress::More {
            sent += send(&mut self.log, &mut driven.task);
        }
        sent += send(&mut self.log, &mut driven.task);
        let mut positions = Vec::new();
        for (index, changelog) in sub.changelogs.iter().enumerate() {
            let Some(changelog) = changelog else {
                continue;
            };
            let store = StoreId(index);
            if changelog.written && !self.ephemeral {
                for (key, value) in driven.task.state_mut().dirty_entries(store)? {
                    let record = RawRecord {
                        key: Some(key),
                        value,
                        timestamp: self.wall_clock,
                        ..RawRecord::default()
                    };
                    self.log
                        .append(&changelog.topic, Some(id.partition), record);
                }
            }
            positions.push((
                store,
                StorePosition {
                    topic_id: Uuid::nil(),
                    leader_epoch: 0,
                    offset: self.log.end(&changelog.topic, id.partition),
                    wall_time: self.wall_clock,
                },
            ));
        }
        for position in driven.task.positions() {
            self.committed
                .insert((id, position.source), (position.offset, position.metadata));
        }
        driven.task.state_mut().apply(&positions)?;
        driven.task.committed();
        Ok(sent > 0)
    }

    /// Processes what is there: in the order of the tasks, or as the seed has it.
    pub(super) fn run(&mut self) -> Result<(), StreamsError> {
        if let Some(mut random) = self.random.take() {
            let result = self.run_randomly(&mut random);
            self.random = Some(random);
            return result;
        }
        let ids: Vec<TaskId> = self.tasks.keys().copied().collect();
        loop {
            let mut work = self.feed_all();
            for id in &ids {
                work += self.process(*id, ALL)?;
            }
            if work == 0 {
                return Ok(());
            }
        }
    }

    /// Draws one step after the other until nothing is left to hand over, then settles.
    fn run_randomly(&mut self, random: &mut Random) -> Result<(), StreamsError> {
        let ids: Vec<TaskId> = self.tasks.keys().copied().collect();
        loop {
            let waiting: Vec<(TaskId, usize)> = ids
                .iter()
                .flat_map(|id| (0..self.sources(*id)).map(|source| (*id, source)))
                .filter(|(id, source)| self.waits(*id, *source))
                .collect();
            if waiting.is_empty() {
                return self.settle();
            }
            match random.below(8) {
                0..=3 => {
                    if let Some((id, source)) = waiting.get(random.below(waiting.len())) {
                        let limit = 1 + random.below(16);
                        self.feed(*id, *source, limit);
                    }
                }
                4..=6 => {
                    if let Some(id) = ids.get(random.below(ids.len())) {
                        let budget = 1 + random.below(16);
                        self.process(*id, budget)?;
                    }
                }
                _ => {
                    if let Some(id) = ids.get(random.below(ids.len())) {
                        self.commit(*id)?;
                    }
                }
            }
        }
    }

    fn waits(&self, id: TaskId, source: usize) -> bool {
        let feed = self.tasks.get(&id).and_then(|d| d.feeds.get(source));
        feed.is_some_and(|feed| feed.next < self.log.end(&feed.topic, id.partition))
    }

    /// Processes and commits until nothing moves any more. Watermarks travel with
    /// commits, so that one round can be the cause of the next.
    pub(super) fn settle(&mut self) -> Result<(), StreamsError> {
        let ids: Vec<TaskId> = self.tasks.keys().copied().collect();
        loop {
            let mut moved = self.feed_all() > 0;
            for id in &ids {
                moved |= self.process(*id, ALL)? > 0;
            }
            for id in &ids {
                moved |= self.commit(*id)?;
            }
            if !moved {
                return Ok(());
            }
        }
    }

    pub(super) fn advance_wall_clock(&mut self, by: Duration) -> Result<(), StreamsError> {
        let by = i64::try_from(by.as_millis()).unwrap_or(i64::MAX);
        self.wall_clock = self.wall_clock.saturating_add(by);
        self.settle()
    }

    pub(super) fn late_records(&self) -> u64 {
        let now: u64 = self.tasks.values().map(|d| d.task.late_records()).sum();
        self.late_before + now
    }

    pub(super) fn skipped_records(&self) -> u64 {
        let now: u64 = self.tasks.values().map(|d| d.task.skipped_records()).sum();
        self.skipped_before + now
    }

    pub(super) fn watermark(&self, task: TaskId) -> Option<i64> {
        Some(self.tasks.get(&task)?.task.time().watermark())
    }

    pub(super) fn store_entries(
        &mut self,
        store: &str,
    ) -> Result<Vec<(Bytes, Bytes)>, StreamsError> {
        let mut entries = Vec::new();
        let mut found = false;
        for driven in self.tasks.values_mut() {
            let state = driven.task.state_mut();
            let Some(id) = state.store_id(store) else {
                continue;
            };
            found = true;
            let mut cursor = state.scan(id, KeyRange::all())?;
            while let Some(entry) = cursor.next(state)? {
                entries.push(entry);
            }
        }
        if !found {
            let stores = self.plan.sub_topologies.iter().flat_map(|sub| &sub.stores);
            let known: Vec<&str> = stores.map(|spec| spec.name.as_str()).collect();
            return Err(StreamsError::UnknownStore {
                name: store.to_owned(),
                known: known.join(", "),
            });
        }
        entries.sort();
        Ok(entries)
    }
}

/// Appends what a task sends. Returns how many records that was.
fn send(log: &mut Log, task: &mut Task) -> usize {
    let outputs = task.take_outputs();
    let count = outputs.len();
    for output in outputs {
        let record = RawRecord {
            partition: -1,
            key: output.key,
            value: output.value,
            headers: output.headers,
            timestamp: output.timestamp,
        };
        log.append(&output.topic, output.partition, record);
    }
    count
}
