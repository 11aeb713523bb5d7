//! The 60,000 real impressions, spread over 6 partitions by item and regrouped by hour
//! through a repartition topic, while partitions progress as unevenly as a seed likes.
//!
//! The engine of each task is driven by hand. A downstream task that believed the
//! greatest timestamp it has seen would call thousands of records late; the watermark that
//! travels with the records calls none so, and without any grace.

use bytes::Bytes;
use flate2::read::GzDecoder;
use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;
use std::sync::{Arc, Mutex};
use thalweg_state::TaskState;
use thalweg_streams::StreamsError;
use thalweg_streams::task::{
    InputRecord, Output, OutputRecord, ProgramFactory, Progress, Run, Task, TaskContext, TaskId,
    TaskOptions, TaskProgram,
};
use thalweg_streams::topology::{Plan, SinkSpec, SourceSpec, SubTopology, TopicRef, Topology};

const PARTITIONS: i32 = 6;
const HOUR: i64 = 3_600_000;

/// Timestamp (milliseconds, UTC) and item of each impression, in the order of the file.
fn impressions() -> Vec<(i64, String)> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/data/ad_impressions.csv.gz");
    let mut text = String::new();
    GzDecoder::new(std::fs::File::open(path).unwrap())
        .read_to_string(&mut text)
        .unwrap();
    let mut lines = text.lines();
    let header: Vec<&str> = lines.next().unwrap().split(',').collect();
    let column = |name: &str| header.iter().position(|h| *h == name).unwrap();
    let (time, campaign, item) = (column("timestamp"), column("campaign"), column("item_id"));
    lines
        .map(|line| {
            let fields: Vec<&str> = line.split(',').collect();
            (
                millis(fields[time]),
                format!("{}/{}", fields[campaign], fields[item]),
            )
        })
        .collect()
}

/// Milliseconds of a time like `2019-11-24T00:00:00.123456Z`, counted from some day.
fn millis(text: &str) -> i64 {
    let number = |range: std::ops::Range<usize>| text[range].parse::<i64>().unwrap();
    let month = number(5..7);
    let days = 31 * month + number(8..10);
    let seconds = ((days * 24 + number(11..13)) * 60 + number(14..16)) * 60 + number(17..19);
    let fraction = text.get(20..23).and_then(|f| f.parse::<i64>().ok());
    seconds * 1000 + fraction.unwrap_or(0)
}

/// What the hourly counts came to, over all downstream tasks.
#[derive(Default)]
struct Counted {
    hours: BTreeMap<i64, u64>,
    late: u64,
    /// Records that a task would have called late by its own stream time.
    late_by_stream_time: u64,
}

struct Regroup;
struct CountHours(Arc<Mutex<Counted>>);

impl TaskProgram for Regroup {
    fn init(&mut self, _cx: &mut TaskContext<'_>) -> Result<(), StreamsError> {
        Ok(())
    }

    fn run(
        &mut self,
        _source: usize,
        run: &mut Run<'_>,
        cx: &mut TaskContext<'_>,
    ) -> Result<(), StreamsError> {
        while let Some(record) = run.next(cx) {
            let hour = record.timestamp.div_euclid(HOUR);
            let record = OutputRecord {
                // By hour of the day, so that every partition gets its share.
                key: Some(Bytes::from((hour % 24).to_string())),
                timestamp: record.timestamp,
                ..OutputRecord::default()
            };
            cx.send(0, record);
        }
        Ok(())
    }

    fn advance(&mut self, _cx: &mut TaskContext<'_>) -> Result<Progress, StreamsError> {
        Ok(Progress::Done)
    }

    fn flush(&mut self, _cx: &mut TaskContext<'_>) -> Result<Progress, StreamsError> {
        Ok(Progress::Done)
    }

    fn close(&mut self, _cx: &mut TaskContext<'_>) -> Result<(), StreamsError> {
        Ok(())
    }
}

impl TaskProgram for CountHours {
    fn init(&mut self, _cx: &mut TaskContext<'_>) -> Result<(), StreamsError> {
        Ok(())
    }

    fn run(
        &mut self,
        _source: usize,
        run: &mut Run<'_>,
        cx: &mut TaskContext<'_>,
    ) -> Result<(), StreamsError> {
        let mut counted = self.0.lock().unwrap();
        while let Some(record) = run.next(cx) {
            let end = (record.timestamp.div_euclid(HOUR) + 1) * HOUR;
            counted.late_by_stream_time += u64::from(end <= cx.stream_time());
            if end <= cx.watermark() {
                counted.late += 1;
                cx.late_record(1);
            } else {
                *counted.hours.entry(end - HOUR).or_default() += 1;
            }
        }
        Ok(())
    }

    fn advance(&mut self, _cx: &mut TaskContext<'_>) -> Result<Progress, StreamsError> {
        Ok(Progress::Done)
    }

    fn flush(&mut self, _cx: &mut TaskContext<'_>) -> Result<Progress, StreamsError> {
        Ok(Progress::Done)
    }

    fn close(&mut self, _cx: &mut TaskContext<'_>) -> Result<(), StreamsError> {
        Ok(())
    }
}

struct Factory<F>(F);

impl<F: Fn() -> Box<dyn TaskProgram> + Send + Sync> ProgramFactory for Factory<F> {
    fn create(&self, _task: TaskId) -> Result<Box<dyn TaskProgram>, StreamsError> {
        Ok((self.0)())
    }
}

fn sub(
    id: u32,
    source: TopicRef,
    sink: Option<TopicRef>,
    create: impl Fn() -> Box<dyn TaskProgram> + Send + Sync + 'static,
) -> SubTopology {
    SubTopology {
        id,
        sources: vec![SourceSpec::new("source", source)],
        sinks: sink
            .into_iter()
            .map(|topic| SinkSpec {
                name: "sink".to_owned(),
                topic,
            })
            .collect(),
        stores: Vec::new(),
        copartitioned: Vec::new(),
        factory: Arc::new(Factory(create)),
        description: Vec::new(),
    }
}

fn plan(counted: &Arc<Mutex<Counted>>) -> Plan {
    let by_hour = || TopicRef::Repartition {
        name: "by-hour".to_owned(),
        partitions: None,
    };
    let impressions = TopicRef::External("impressions".to_owned());
    let counted = Arc::clone(counted);
    let topology = Topology {
        sub_topologies: vec![
            sub(0, impressions, Some(by_hour()), || Box::new(Regroup)),
            sub(1, by_hour(), None, move || {
                Box::new(CountHours(Arc::clone(&counted)))
            }),
        ],
    };
    let there = |topic: &str| (topic == "impressions").then_some(PARTITIONS);
    Plan::resolve(&topology, "test", there).unwrap()
}

/// What is fed to one task and not taken yet.
struct Feed {
    task: Task,
    log: Vec<InputRecord>,
    fed: usize,
}

impl Feed {
    fn new(plan: &Plan, sub_topology: u32, partition: i32) -> Self {
        let id = TaskId {
            sub_topology,
            partition,
        };
        let options = TaskOptions::default();
        let mut task = Task::new(id, plan, TaskState::in_memory(&[]), &options).unwrap();
        task.init(0).unwrap();
        Self {
            task,
            log: Vec::new(),
            fed: 0,
        }
    }

    fn append(&mut self, mut record: InputRecord) {
        record.offset = self.log.len() as i64;
        self.log.push(record);
    }

    /// Feeds and processes up to `count` records; what comes out.
    fn step(&mut self, count: usize, commit: bool) -> Vec<Output> {
        let end = self.log.len().min(self.fed + count);
        self.task.add_records(0, self.log[self.fed..end].to_vec());
        self.fed = end;
        self.task.set_caught_up(0, end == self.log.len());
        while self.task.process(count, 0).unwrap() > 0 {}
        while self.task.advance(0).unwrap() == Progress::More {}
        if commit {
            while self.task.flush(0).unwrap() == Progress::More {}
            self.task.committed();
        }
        self.task.take_outputs()
    }

    fn is_done(&self) -> bool {
        self.fed == self.log.len() && !self.task.needs_commit()
    }
}

#[test]
fn no_real_impression_is_late_however_unevenly_partitions_progress() {
    let impressions = impressions();
    assert_eq!(impressions.len(), 60_000);
    let mut expected: BTreeMap<i64, u64> = BTreeMap::new();
    for (timestamp, _) in &impressions {
        *expected
            .entry(timestamp.div_euclid(HOUR) * HOUR)
            .or_default() += 1;
    }
    for seed in 0..4u8 {
        let counted = Arc::new(Mutex::new(Counted::default()));
        let plan = plan(&counted);
        let mut ups: Vec<Feed> = (0..PARTITIONS).map(|p| Feed::new(&plan, 0, p)).collect();
        let mut downs: Vec<Feed> = (0..PARTITIONS).map(|p| Feed::new(&plan, 1, p)).collect();
        for (timestamp, item) in &impressions {
            let partition = thalweg_streams::task::partition_for_key(item.as_bytes(), PARTITIONS);
            ups[partition as usize].append(InputRecord {
                topic: "impressions".into(),
                partition,
                offset: 0,
                timestamp: *timestamp,
                key: Some(Bytes::from(item.clone())),
                value: None,
                headers: Vec::new(),
            });
        }
        let mut state = u64::from(seed + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut random = |below: usize| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 33) as usize % below
        };
        while !ups.iter().chain(&downs).all(Feed::is_done) {
            // The first partitions are far slower than the last.
            let which = random(21);
            let up = (0..6).find(|p| which < (p + 1) * (p + 2) / 2).unwrap();
            let outputs = ups[up].step(1 + random(900), random(3) == 0);
            for output in outputs {
                let partition = output.partition.unwrap();
                downs[partition as usize].append(InputRecord {
                    topic: output.topic,
                    partition,
                    offset: 0,
                    timestamp: output.timestamp,
                    key: output.key,
                    value: output.value,
                    headers: output.headers,
                });
            }
            let down = random(6);
            downs[down].step(1 + random(2_000), random(3) == 0);
        }
        let counted = counted.lock().unwrap();
        assert_eq!(counted.late, 0, "seed {seed}");
        assert_eq!(counted.hours, expected, "seed {seed}");
        assert!(
            counted.late_by_stream_time > 5_000,
            "the partitions progressed evenly, and the test shows nothing: {}",
            counted.late_by_stream_time
        );
        // The last hour stays open; everything before it is closed in every partition.
        let last = impressions.iter().map(|(t, _)| *t).max().unwrap();
        for down in &downs {
            assert!(down.task.time().watermark() > last - 2 * HOUR);
        }
    }
}
