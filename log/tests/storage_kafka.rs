//! Apache Kafka's own code on files that we wrote: `DumpLogSegments` on segments with transactions and
//! on compacted ones, on every index and snapshot; and the classes with which a Kafka broker reads its
//! checkpoints.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use thalweg_log::record::batches;
use thalweg_log::storage::{FetchIsolation, PartitionLog};

mod kafka_support;
mod storage_support;
use storage_support::{TOPIC_ID, config, history, open, scratch};

/// Prints what Kafka reads from checkpoints and `meta.properties`.
const READER: &str = r#"
import java.io.File;

public class Reader {
    public static void main(String[] args) throws Exception {
        var log = new File(args[0]);
        var epochs = new org.apache.kafka.storage.internals.checkpoint.LeaderEpochCheckpointFile(
            new File(log, "leader-epoch-checkpoint"), null);
        epochs.read().forEach(entry -> System.out.println("epoch " + entry.epoch() + " at " + entry.startOffset()));
        for (String name : new String[] {"recovery-point-offset-checkpoint", "log-start-offset-checkpoint"}) {
            var file = new org.apache.kafka.storage.internals.checkpoint.OffsetCheckpointFile(
                new File(log.getParentFile(), name), null);
            file.read().forEach((partition, offset) -> System.out.println(name + " " + partition + " " + offset));
        }
        var meta = new org.apache.kafka.metadata.properties.MetaPropertiesEnsemble.Loader()
            .addLogDirs(java.util.List.of(log.getParent())).load().logDirProps().get(log.getParent());
        System.out.println("cluster " + meta.clusterId().get() + " node " + meta.nodeId().getAsInt());
        var id = new org.apache.kafka.storage.internals.checkpoint.PartitionMetadataFile(
            new File(log, "partition.metadata"), null).read().topicId();
        System.out.println("topic id " + id);
    }
}
"#;

struct Java {
    class_path: String,
    folder: tempfile::TempDir,
}

impl Java {
    fn run(&self, arguments: &[&str]) -> String {
        let done = Command::new("java")
            .args([
                "-Xmx256m",
                "-XX:TieredStopAtLevel=1",
                "-cp",
                &self.class_path,
            ])
            .args(arguments)
            .output()
            .unwrap();
        let (out, err) = (done.stdout, done.stderr);
        let text = format!(
            "{}{}",
            String::from_utf8_lossy(&out),
            String::from_utf8_lossy(&err)
        );
        assert!(done.status.success(), "{arguments:?}: {text}");
        text
    }

    fn dump(&self, files: &BTreeSet<PathBuf>, options: &[&str]) -> String {
        assert!(!files.is_empty());
        let names: Vec<_> = files.iter().map(|f| f.to_str().unwrap()).collect();
        let names = names.join(",");
        let mut arguments = vec!["org.apache.kafka.tools.DumpLogSegments", "--files", &names];
        arguments.extend(options);
        let found = self.run(&arguments);
        for bad in [
            "isvalid: false",
            "ismatch",
            "Exception",
            "not found",
            "Ignoring",
        ] {
            assert!(!found.contains(bad), "{bad} in {found}");
        }
        found
    }
}

fn files(folder: &Path, suffix: &str) -> BTreeSet<PathBuf> {
    fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.to_str().unwrap().ends_with(suffix))
        .collect()
}

/// The offsets of all records and markers, as Kafka's tool prints them.
fn dumped_offsets(text: &str) -> Vec<i64> {
    text.lines()
        .filter_map(|line| line.strip_prefix("| offset: "))
        .map(|rest| rest.split(' ').next().unwrap().parse().unwrap())
        .collect()
}

fn offsets(log: &PartitionLog) -> Vec<i64> {
    let (mut found, mut offset) = (Vec::new(), log.log_start_offset());
    while offset < log.log_end_offset() {
        let data = log
            .read(offset, 1 << 20, true, FetchIsolation::LogEnd)
            .unwrap();
        for batch in batches(data.records) {
            found.extend(batch.unwrap().records().unwrap().map(|r| r.unwrap().offset));
        }
        offset = data.next_offset;
    }
    found
}

#[test]
#[ignore = "needs Apache Kafka: `make interop` runs it"]
fn kafkas_own_code_reads_what_we_write() {
    let class_path = match kafka_support::class_path() {
        Ok(found) => found,
        Err(reason) => {
            println!("skipped: {reason}");
            return;
        }
    };
    let java = Java {
        class_path,
        folder: scratch(),
    };
    let dir = scratch();
    let settings = |topic: &str| {
        let policy = ["delete", "compact"][usize::from(topic == "compacted")];
        config(&[
            ("cleanup.policy", policy),
            ("segment.bytes", "900"),
            ("index.interval.bytes", "200"),
            ("min.cleanable.dirty.ratio", "0"),
            ("file.delete.delay.ms", "0"),
        ])
    };
    let topics = ["plain", "compacted"];
    let manager = open(dir.path(), &config(&[]));
    let mut expected = Vec::new();
    for topic in topics {
        let log = manager
            .get_or_create(topic, 0, TOPIC_ID, settings(topic), 0)
            .unwrap();
        history(&log);
    }
    manager.compact_dirtiest(5000).unwrap();
    manager.get("plain", 0).unwrap().delete_records(2).unwrap();
    let producers = manager.get("plain", 0).unwrap().producers();
    let mut aborted = 0;
    for topic in topics {
        let log = manager.get(topic, 0).unwrap();
        let all = log.aborted_transactions(0, log.last_stable_offset());
        aborted += all.unwrap().len();
        expected.push(offsets(&log));
    }
    assert!(expected[1].len() < expected[0].len(), "it was compacted");
    let cluster = manager.cluster_id().to_owned();
    manager.close().unwrap();

    let mut dumped = 0;
    for (topic, expected) in topics.iter().zip(&expected) {
        let folder = dir.path().join(format!("{topic}-0"));
        let logs = files(&folder, ".log");
        let found = java.dump(&logs, &["--print-data-log", "--deep-iteration"]);
        let start = if *topic == "plain" { 2 } else { 0 };
        let offsets: Vec<_> = dumped_offsets(&found)
            .into_iter()
            .filter(|offset| *offset >= start)
            .collect();
        assert_eq!(&offsets, expected, "{topic}");
        assert!(found.contains("endTxnMarker: COMMIT"));
        assert!(found.contains("partitionLeaderEpoch: 5"));
        if *topic == "plain" {
            assert!(found.contains("endTxnMarker: ABORT"));
        }
        for suffix in [".index", ".timeindex"] {
            let indexes = files(&folder, suffix);
            let some: BTreeSet<_> = indexes
                .into_iter()
                .filter(|path| fs::metadata(path).unwrap().len() > 0)
                .collect();
            let sane = java.dump(&some, &["--index-sanity-check"]);
            assert_eq!(sane.matches("passed sanity check").count(), some.len());
            java.dump(&some, &["--verify-index-only"]);
            java.dump(&some, &[]);
        }
        let transactions = files(&folder, ".txnindex");
        if !transactions.is_empty() {
            dumped += java
                .dump(&transactions, &[])
                .matches("lastStableOffset:")
                .count();
        }
        let snapshots = files(&folder, ".snapshot");
        let found = java.dump(&snapshots, &[]);
        if *topic == "plain" {
            let last = found.rsplit("Dumping").next().unwrap();
            for producer in &producers {
                let of = format!("producerId: {} ", producer.producer_id);
                let line = last.lines().rfind(|line| line.contains(&of)).unwrap();
                let says = |what: String| assert!(line.contains(&what), "{what} in {line}");
                says(format!("lastSequence: {}", producer.last_sequence));
                says(format!("lastOffset: {} ", producer.last_offset));
                let first = producer.current_txn_first_offset;
                says(match first {
                    Some(offset) => format!("currentTxnFirstOffset: OptionalLong[{offset}]"),
                    None => "currentTxnFirstOffset: OptionalLong.empty".to_owned(),
                });
            }
        }
    }
    assert_eq!(dumped, aborted);

    let source = java.folder.path().join("Reader.java");
    fs::write(&source, READER).unwrap();
    let folder = dir.path().join("plain-0");
    let found = java.run(&[source.to_str().unwrap(), folder.to_str().unwrap()]);
    let end = expected[0].last().unwrap() + 1;
    for line in [
        "epoch 0 at".to_owned(),
        "epoch 5 at".to_owned(),
        format!("recovery-point-offset-checkpoint plain-0 {end}"),
        "log-start-offset-checkpoint plain-0 2".to_owned(),
        format!("cluster {cluster} node 1"),
        "topic id AAAAAAAAAAAAAAAAAAAABw".to_owned(),
    ] {
        assert!(found.contains(&line), "{line} in {found}");
    }
}
