//! The engine of a task, driven by hand: order, runs, time, watermarks between tasks.

use bytes::Bytes;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use thalweg_state::{StoreId, StoreSpec, TaskState};
use thalweg_streams::StreamsError;
use thalweg_streams::task::{
    Header, InputRecord, NO_WATERMARK, Output, OutputRecord, ProgramFactory, Progress, Run,
    TIME_HEADER, Task, TaskContext, TaskId, TaskOptions, TaskProgram,
};
use thalweg_streams::topology::{
    InputOrder, Plan, SinkSpec, SourceSpec, SubTopology, TopicRef, Topology,
};

/// What a test program saw: source, timestamp, and the watermark at that moment.
type Seen = Arc<Mutex<Vec<(usize, i64, i64)>>>;

type Step = Arc<dyn Fn(&InputRecord, &mut TaskContext<'_>) + Send + Sync>;

/// Notes what it sees, and does `step` for each record.
struct Probe {
    seen: Seen,
    step: Step,
    advanced: Arc<Mutex<Vec<i64>>>,
    /// Records a run may take at most, on the program's own account.
    bite: usize,
}

impl TaskProgram for Probe {
    fn init(&mut self, _cx: &mut TaskContext<'_>) -> Result<(), StreamsError> {
        Ok(())
    }

    fn run(
        &mut self,
        source: usize,
        run: &mut Run<'_>,
        cx: &mut TaskContext<'_>,
    ) -> Result<(), StreamsError> {
        for _ in 0..self.bite {
            let Some(record) = run.next(cx) else {
                break;
            };
            let mut seen = self.seen.lock().unwrap();
            seen.push((source, record.timestamp, cx.watermark()));
            drop(seen);
            (self.step)(&record, cx);
        }
        Ok(())
    }

    fn advance(&mut self, cx: &mut TaskContext<'_>) -> Result<Progress, StreamsError> {
        self.advanced.lock().unwrap().push(cx.watermark());
        Ok(Progress::Done)
    }

    fn flush(&mut self, _cx: &mut TaskContext<'_>) -> Result<Progress, StreamsError> {
        Ok(Progress::Done)
    }

    fn close(&mut self, _cx: &mut TaskContext<'_>) -> Result<(), StreamsError> {
        Ok(())
    }
}

struct ProbeFactory {
    seen: Seen,
    step: Step,
    advanced: Arc<Mutex<Vec<i64>>>,
    bite: usize,
}

impl ProgramFactory for ProbeFactory {
    fn create(&self, _task: TaskId) -> Result<Box<dyn TaskProgram>, StreamsError> {
        Ok(Box::new(Probe {
            seen: Arc::clone(&self.seen),
            step: Arc::clone(&self.step),
            advanced: Arc::clone(&self.advanced),
            bite: self.bite,
        }))
    }
}

struct Part {
    seen: Seen,
    advanced: Arc<Mutex<Vec<i64>>>,
    sub: SubTopology,
}

fn part(
    id: u32,
    sources: Vec<TopicRef>,
    sinks: Vec<TopicRef>,
    bite: usize,
    step: impl Fn(&InputRecord, &mut TaskContext<'_>) + Send + Sync + 'static,
) -> Part {
    let seen = Seen::default();
    let advanced = Arc::default();
    let sub = SubTopology {
        id,
        sources: sources
            .into_iter()
            .map(|topic| SourceSpec::new(topic.to_string(), topic))
            .collect(),
        sinks: sinks
            .into_iter()
            .map(|topic| SinkSpec {
                name: topic.to_string(),
                topic,
            })
            .collect(),
        stores: Vec::new(),
        copartitioned: Vec::new(),
        factory: Arc::new(ProbeFactory {
            seen: Arc::clone(&seen),
            step: Arc::new(step),
            advanced: Arc::clone(&advanced),
            bite,
        }),
        description: Vec::new(),
    };
    Part {
        seen,
        advanced,
        sub,
    }
}

fn topic(name: &str) -> TopicRef {
    TopicRef::External(name.to_owned())
}

fn again() -> TopicRef {
    TopicRef::Repartition {
        name: "again".to_owned(),
        partitions: None,
    }
}

fn plan(subs: Vec<SubTopology>, partitions: i32) -> Plan {
    let topology = Topology {
        sub_topologies: subs,
    };
    let there = |name: &str| (!name.contains("repartition")).then_some(partitions);
    Plan::resolve(&topology, "app", there).unwrap()
}

fn task(plan: &Plan, sub_topology: u32, partition: i32) -> Task {
    let id = TaskId {
        sub_topology,
        partition,
    };
    let state = TaskState::in_memory(&plan.sub_topology(sub_topology).unwrap().stores);
    let mut task = Task::new(id, plan, state, &TaskOptions::default()).unwrap();
    task.init(0).unwrap();
    task
}

fn records(times: &[i64]) -> Vec<InputRecord> {
    (0..)
        .zip(times)
        .map(|(offset, timestamp)| InputRecord {
            topic: "t".into(),
            partition: 0,
            offset,
            timestamp: *timestamp,
            key: Some(Bytes::from(timestamp.to_string())),
            value: None,
            headers: Vec::new(),
        })
        .collect()
}

fn taken(part: &Part) -> Vec<(usize, i64)> {
    let seen = part.seen.lock().unwrap();
    seen.iter()
        .map(|(source, time, _)| (*source, *time))
        .collect()
}

#[test]
fn the_input_with_the_earliest_head_goes_first_however_runs_are_cut() {
    for (budget, bite) in [(1, 1), (2, 100), (100, 1), (100, 100)] {
        let part = part(0, vec![topic("a"), topic("b")], vec![], bite, |_, _| {});
        let plan = plan(vec![part.sub.clone()], 1);
        let mut task = task(&plan, 0, 0);
        task.add_records(0, records(&[3, 5, 5, 9]));
        task.add_records(1, records(&[1, 5, 4, 6]));
        task.set_caught_up(0, true);
        task.set_caught_up(1, true);
        while task.process(budget, 0).unwrap() > 0 {}
        assert_eq!(
            taken(&part),
            [
                (1, 1),
                (0, 3),
                (0, 5),
                (0, 5),
                (1, 5),
                (1, 4),
                (1, 6),
                (0, 9)
            ]
        );
    }
}

#[test]
fn an_input_that_still_has_records_in_the_log_is_waited_for() {
    let part = part(0, vec![topic("a"), topic("b")], vec![], 100, |_, _| {});
    let plan = plan(vec![part.sub.clone()], 1);
    let mut task = task(&plan, 0, 0);
    task.add_records(0, records(&[3]));
    task.set_caught_up(0, true);
    assert_eq!(task.process(10, 0).unwrap(), 0);
    task.set_caught_up(1, true);
    assert_eq!(task.process(10, 0).unwrap(), 1);
}

#[test]
fn an_idle_wait_begins_when_the_lag_is_known_to_be_zero() {
    let part = part(0, vec![topic("a"), topic("b")], vec![], 100, |_, _| {});
    let plan = plan(vec![part.sub.clone()], 1);
    let options = TaskOptions {
        max_task_idle: Duration::from_millis(50),
        ..TaskOptions::default()
    };
    let id = TaskId {
        sub_topology: 0,
        partition: 0,
    };
    let mut task = Task::new(id, &plan, TaskState::in_memory(&[]), &options).unwrap();
    task.init(0).unwrap();
    task.add_records(0, records(&[3]));
    task.set_caught_up(0, true);
    task.set_caught_up(1, true);
    assert_eq!(task.process(10, 0).unwrap(), 0);
    assert_eq!(task.process(10, 49).unwrap(), 0);
    assert_eq!(task.process(10, 50).unwrap(), 1);
}

#[test]
fn a_run_ends_where_a_timer_is_due() {
    let part = part(0, vec![topic("a")], vec![], 100, |record, cx| {
        if record.timestamp == 1 {
            cx.advance_at(3);
        }
    });
    let plan = plan(vec![part.sub.clone()], 1);
    let mut task = task(&plan, 0, 0);
    task.add_records(0, records(&[1, 2, 3, 4, 5]));
    task.process(100, 0).unwrap();
    // Once behind the record that brought the watermark to 3, and once at the end.
    while task.process(100, 0).unwrap() > 0 {}
    let _ = task.advance(0).unwrap();
    assert_eq!(*part.advanced.lock().unwrap(), [3, 5]);
}

#[test]
fn the_watermark_is_the_least_of_the_inputs_and_late_is_judged_by_it() {
    let part = part(0, vec![topic("a"), topic("b")], vec![], 100, |_, _| {});
    let plan = plan(vec![part.sub.clone()], 1);
    let mut task = task(&plan, 0, 0);
    task.add_records(0, records(&[10, 20]));
    task.add_records(1, records(&[15]));
    task.set_caught_up(0, true);
    task.set_caught_up(1, true);
    while task.process(100, 0).unwrap() > 0 {}
    let seen = part.seen.lock().unwrap().clone();
    assert_eq!(seen, [(0, 10, NO_WATERMARK), (1, 15, 10), (0, 20, 15)]);
    assert_eq!(task.time().stream_time(), 20);
}

fn forward(record: &InputRecord, cx: &mut TaskContext<'_>) {
    cx.send(
        0,
        OutputRecord {
            key: record.key.clone(),
            timestamp: record.timestamp,
            headers: record.headers.clone(),
            ..OutputRecord::default()
        },
    );
}

/// Appends outputs to the logs of a repartition topic.
#[derive(Default)]
struct Logs(BTreeMap<i32, Vec<InputRecord>>);

impl Logs {
    fn take(&mut self, outputs: Vec<Output>) {
        for output in outputs {
            let partition = output.partition.unwrap();
            let log = self.0.entry(partition).or_default();
            log.push(InputRecord {
                topic: output.topic,
                partition,
                offset: log.len() as i64,
                timestamp: output.timestamp,
                key: output.key,
                value: output.value,
                headers: output.headers,
            });
        }
    }
}

fn commit(task: &mut Task) -> Vec<Output> {
    while task.flush(0).unwrap() == Progress::More {}
    let outputs = task.take_outputs();
    task.state_mut().apply(&[]).unwrap();
    task.committed();
    outputs
}

#[test]
fn watermarks_travel_through_a_repartition_topic_and_are_never_shown() {
    let up = part(0, vec![topic("in")], vec![again()], 100, forward);
    let down = part(1, vec![again()], vec![], 100, |record, _| {
        assert!(record.headers.iter().all(|h| h.key == "user"));
        assert!(record.key.is_some(), "a marker is not shown");
    });
    let plan = plan(vec![up.sub.clone(), down.sub.clone()], 2);
    let mut ups = [task(&plan, 0, 0), task(&plan, 0, 1)];
    let mut logs = Logs::default();

    let mut input = records(&[100, 200]);
    input[0].headers = vec![Header::new("user", Some("x"))];
    ups[0].add_records(0, input);
    ups[0].process(10, 0).unwrap();
    logs.take(commit(&mut ups[0]));

    let mut downs = [task(&plan, 1, 0), task(&plan, 1, 1)];
    let mut read = [0, 0];
    let mut feed = |downs: &mut [Task; 2], logs: &Logs| {
        for (partition, task) in downs.iter_mut().enumerate() {
            let log = &logs.0[&(partition as i32)];
            task.add_records(0, log[read[partition]..].to_vec());
            read[partition] = log.len();
            task.process(100, 0).unwrap();
            let _ = task.advance(0).unwrap();
        }
    };
    feed(&mut downs, &logs);
    assert_eq!(
        downs[0].time().watermark(),
        NO_WATERMARK,
        "task 0_1 is silent"
    );

    ups[1].add_records(0, records(&[150]));
    ups[1].process(10, 0).unwrap();
    logs.take(commit(&mut ups[1]));
    feed(&mut downs, &logs);
    for down in &mut downs {
        assert_eq!(down.time().watermark(), 150);
        let positions = down.positions();
        assert_eq!(
            positions[0].offset as usize,
            logs.0[&down.id().partition].len()
        );
    }
    assert_eq!(down.seen.lock().unwrap().len(), 3);
    assert!(!ups[1].needs_commit());
    assert!(commit(&mut ups[1]).is_empty(), "nothing is told twice");
}

#[test]
fn a_restored_task_knows_its_time_before_the_first_record() {
    let up = part(0, vec![topic("in")], vec![again()], 100, forward);
    let down = part(1, vec![again()], vec![], 100, |_, _| {});
    let plan = plan(vec![up.sub.clone(), down.sub.clone()], 1);
    let mut first = task(&plan, 0, 0);
    first.add_records(0, records(&[100]));
    first.process(10, 0).unwrap();
    let mut logs = Logs::default();
    logs.take(commit(&mut first));
    let mut reader = task(&plan, 1, 0);
    reader.add_records(0, logs.0[&0].clone());
    reader.process(10, 0).unwrap();
    let _ = reader.advance(0).unwrap();

    for (sub_topology, before) in [(0, &first), (1, &reader)] {
        assert_eq!(before.time().watermark(), 100);
        let id = TaskId {
            sub_topology,
            partition: 0,
        };
        let options = TaskOptions::default();
        let mut after = Task::new(id, &plan, TaskState::in_memory(&[]), &options).unwrap();
        for position in before.positions() {
            after
                .restore_time(position.source, &position.metadata)
                .unwrap();
            after.seek(position.source, position.offset);
        }
        after.init(0).unwrap();
        assert_eq!(after.time().watermark(), 100);
        assert_eq!(after.positions()[0].offset, before.positions()[0].offset);
        if sub_topology == 0 {
            assert!(after.needs_commit(), "a restarted task tells its time anew");
            let told = commit(&mut after);
            assert_eq!(told.len(), 1);
            assert_eq!(told[0].headers[0].key, TIME_HEADER.as_bytes());
        }
    }
}

#[test]
fn a_full_cache_ends_the_run() {
    let mut part = part(0, vec![topic("in")], vec![], 100, |record, cx| {
        let key = record.key.clone().unwrap();
        cx.state().put(StoreId(0), &key, &[0; 1000]).unwrap();
    });
    part.sub.stores = vec![StoreSpec::key_value("s")];
    let plan = plan(vec![part.sub.clone()], 1);
    let options = TaskOptions {
        max_cached_bytes: 2500,
        ..TaskOptions::default()
    };
    let id = TaskId {
        sub_topology: 0,
        partition: 0,
    };
    let state = TaskState::in_memory(&part.sub.stores);
    let mut task = Task::new(id, &plan, state, &options).unwrap();
    task.init(0).unwrap();
    task.add_records(0, records(&[1, 2, 3, 4, 5]));
    assert_eq!(task.process(100, 0).unwrap(), 3);
    assert!(task.cache_full());
    assert_eq!(task.process(100, 0).unwrap(), 0);
    commit(&mut task);
    assert_eq!(task.process(100, 0).unwrap(), 2);
}

#[test]
fn a_send_to_a_sink_that_is_not_there_fails_the_task() {
    let part = part(0, vec![topic("in")], vec![], 100, forward);
    let plan = plan(vec![part.sub.clone()], 1);
    let mut task = task(&plan, 0, 0);
    task.add_records(0, records(&[1]));
    let error = task.process(10, 0).unwrap_err();
    assert!(error.to_string().contains("no sink number 0"), "{error}");
}

#[test]
fn free_inputs_are_taken_furthest_behind_first_and_none_starves() {
    let mut part = part(0, vec![topic("a"), topic("b")], vec![], 1, |record, cx| {
        // Source 0 never says a time, and so is behind for ever.
        if record.timestamp >= 100 {
            cx.observe_event_time(1, record.timestamp);
        }
    });
    for source in &mut part.sub.sources {
        source.order = InputOrder::Free;
    }
    let plan = plan(vec![part.sub.clone()], 1);
    let mut task = task(&plan, 0, 0);
    task.add_records(0, records(&(0..20).collect::<Vec<_>>()));
    task.add_records(1, records(&[100, 101, 102]));
    while task.process(1, 0).unwrap() > 0 {}
    let sources: Vec<_> = taken(&part).iter().map(|(source, _)| *source).collect();
    assert_eq!(sources.len(), 23);
    let last = sources.iter().rposition(|source| *source == 1).unwrap();
    assert!(last < 20, "{sources:?}");
    assert_eq!(task.time().watermark(), NO_WATERMARK);
}
