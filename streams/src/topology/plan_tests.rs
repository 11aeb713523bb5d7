use super::*;
use crate::task::TaskProgram;
use crate::topology::{SinkSpec, SourceSpec};

struct Never;

impl ProgramFactory for Never {
    fn create(&self, _task: TaskId) -> Result<Box<dyn TaskProgram>, StreamsError> {
        Err(StreamsError::Topology("not to be run".to_owned()))
    }
}

fn external(name: &str) -> TopicRef {
    TopicRef::External(name.to_owned())
}

fn repartition(name: &str, partitions: Option<i32>) -> TopicRef {
    TopicRef::Repartition {
        name: name.to_owned(),
        partitions,
    }
}

fn sub(id: u32, sources: &[TopicRef], sinks: &[TopicRef]) -> SubTopology {
    SubTopology {
        id,
        sources: sources
            .iter()
            .map(|t| SourceSpec::new(format!("source-{t}"), t.clone()))
            .collect(),
        sinks: sinks
            .iter()
            .map(|t| SinkSpec {
                name: format!("sink-{t}"),
                topic: t.clone(),
            })
            .collect(),
        stores: Vec::new(),
        copartitioned: Vec::new(),
        factory: Arc::new(Never),
        description: Vec::new(),
    }
}

fn there(topic: &str) -> Option<i32> {
    match topic {
        "a" => Some(4),
        "b" => Some(6),
        "out" => Some(1),
        _ => None,
    }
}

fn resolve(sub_topologies: Vec<SubTopology>) -> Result<Plan, StreamsError> {
    Plan::resolve(&Topology { sub_topologies }, "app", there)
}

fn message(sub_topologies: Vec<SubTopology>) -> String {
    resolve(sub_topologies).map(|_| ()).unwrap_err().to_string()
}

#[test]
fn a_repartition_topic_takes_the_count_of_its_inputs_and_its_name_from_the_job() {
    let plan = resolve(vec![
        sub(1, &[repartition("again", None)], &[external("out")]),
        sub(
            0,
            &[external("a"), external("b")],
            &[repartition("again", None)],
        ),
    ])
    .unwrap();
    assert_eq!(plan.tasks().count(), 12);
    assert_eq!(plan.internal_topics[0].name, "app-again-repartition");
    assert_eq!(plan.internal_topics[0].partitions, 6);
    let source = &plan.sub_topology(1).unwrap().sources[0];
    assert_eq!(source.writers.as_deref(), Some(&[0][..]));
}

#[test]
fn a_repartition_topic_takes_the_count_of_what_it_is_joined_with() {
    let mut join = sub(1, &[repartition("again", None), external("a")], &[]);
    join.copartitioned = vec![vec![0, 1]];
    let plan = resolve(vec![
        sub(0, &[external("b")], &[repartition("again", None)]),
        join,
    ]);
    assert_eq!(plan.unwrap().sub_topology(1).unwrap().tasks, 4);
}

#[test]
fn joined_topics_of_different_counts_are_refused_with_the_way_out() {
    let mut join = sub(0, &[external("a"), external("b")], &[]);
    join.copartitioned = vec![vec![0, 1]];
    let message = message(vec![join]);
    assert!(
        message.contains("`a` has 4 and `b` has 6: repartition one"),
        "{message}"
    );
}

#[test]
fn what_cannot_run_is_refused() {
    assert!(message(vec![]).contains("no source"));
    assert!(message(vec![sub(0, &[external("c")], &[])]).contains("`c` does not exist"));
    assert!(message(vec![sub(0, &[external("a"), external("a")], &[])]).contains("read it once"));
    assert!(
        message(vec![sub(0, &[external("a")], &[repartition("x", None)])]).contains("never read")
    );
    assert!(message(vec![sub(0, &[repartition("x", None)], &[])]).contains("nothing writes"));
    assert!(
        message(vec![sub(
            0,
            &[repartition("x", None)],
            &[repartition("x", None)]
        )])
        .contains("does not follow")
    );
}

#[test]
fn changelogs_are_named_and_configured_as_kafka_streams_does() {
    let mut counting = sub(0, &[external("a")], &[]);
    counting.stores = vec![
        StoreSpec::key_value("counts"),
        StoreSpec::window("hourly", Duration::from_secs(3600)),
    ];
    let plan = resolve(vec![counting]).unwrap();
    let names: Vec<_> = plan
        .internal_topics
        .iter()
        .map(|t| t.name.as_str())
        .collect();
    assert_eq!(names, ["app-counts-changelog", "app-hourly-changelog"]);
    let config = plan.internal_topics[1].config();
    assert_eq!(config[0], ("cleanup.policy", "compact,delete".to_owned()));
    assert_eq!(config[1], ("retention.ms", "90000000".to_owned()));
}

#[test]
fn a_repartition_topic_that_is_there_keeps_its_count() {
    let topology = Topology {
        sub_topologies: vec![
            sub(0, &[external("a")], &[repartition("x", None)]),
            sub(1, &[repartition("x", None)], &[]),
        ],
    };
    let there = |topic: &str| match topic {
        "app-x-repartition" => Some(9),
        other => there(other),
    };
    let plan = Plan::resolve(&topology, "app", there).unwrap();
    assert_eq!(plan.sub_topology(1).unwrap().tasks, 9);
}
