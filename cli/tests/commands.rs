//! The binary as its user sees it: what it prints, and how it ends.

mod support;

use std::path::Path;
use std::process::{Command, Output};

use support::Server;

fn thalweg(args: &[&str], folder: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_thalweg"))
        .args(args)
        .current_dir(folder)
        .stdin(std::process::Stdio::null())
        .output()
        .expect("the binary starts")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn the_demo_reconciles_without_drift_and_runs_again() {
    let folder = tempfile::tempdir().unwrap();
    for _ in 0..2 {
        let output = thalweg(&["demo", "ad-clicks", "--seconds", "0"], folder.path());
        let printed = text(&output.stdout);
        assert!(output.status.success(), "{printed}{}", text(&output.stderr));
        assert!(
            printed.contains("1008 windows compared, drift 0"),
            "{printed}"
        );
    }
    // What it says about looking around is true.
    let query = "SELECT SUM(impressions) AS n FROM campaigns";
    let output = thalweg(
        &[
            "sql",
            "--data-dir",
            "thalweg-demo-data",
            "-o",
            "json",
            "-c",
            query,
        ],
        folder.path(),
    );
    assert_eq!(
        text(&output.stdout),
        "{\"n\":60000}\n",
        "{}",
        text(&output.stderr)
    );
}

#[test]
fn the_demo_does_not_empty_a_folder_that_is_not_its_own() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("precious"), "").unwrap();
    let output = thalweg(&["demo", "ad-clicks", "--data-dir", "."], folder.path());
    assert!(!output.status.success());
    assert!(text(&output.stderr).contains("choose another folder"));
    assert!(folder.path().join("precious").exists());
}

#[test]
fn mistakes_are_told_with_the_way_out() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(&folder.path().join("data"));
    let bootstrap = server.bootstrap();
    let cases: [(&[&str], &str); 6] = [
        (
            &["server", "--data-dir", "data"],
            "is in use by another process",
        ),
        (
            &["server", "--data-dir", "other", "--listen", &bootstrap],
            "the port is taken",
        ),
        (
            &[
                "server",
                "--data-dir",
                "other",
                "--override",
                "log.retention.mss=1",
            ],
            "did you mean `log.retention.ms`?",
        ),
        (
            &[
                "topic",
                "create",
                "t",
                "-c",
                "cleanup.polcy=compact",
                "--bootstrap",
                &bootstrap,
            ],
            "did you mean \"cleanup.policy\"?",
        ),
        (
            &["sql", "--data-dir", "other", "-c", "SELECT * FROM nowhere"],
            "no source or view `nowhere`",
        ),
        (
            &[
                "produce",
                "t",
                "--compression",
                "zip",
                "--bootstrap",
                &bootstrap,
            ],
            "zip",
        ),
    ];
    for (args, expected) in cases {
        let output = thalweg(args, folder.path());
        let printed = text(&output.stderr);
        assert!(!output.status.success(), "{args:?}");
        assert!(printed.starts_with("error: "), "{args:?}: {printed}");
        assert!(printed.contains(expected), "{args:?}: {printed}");
    }
}

#[test]
fn records_go_in_and_come_out_as_json() {
    let folder = tempfile::tempdir().unwrap();
    let on = |args: &[&str]| {
        let mut args = args.to_vec();
        args.extend(["--data-dir", "data"]);
        let output = thalweg(&args, folder.path());
        assert!(output.status.success(), "{}", text(&output.stderr));
        text(&output.stdout)
    };
    std::fs::write(folder.path().join("lines"), "a:1\nb:2\na:3\n").unwrap();
    on(&["topic", "create", "t", "--partitions", "2"]);
    on(&["produce", "t", "--file", "lines", "--key-separator", ":"]);
    let listed = on(&["topic", "list", "--output", "json"]);
    assert_eq!(
        listed,
        "[{\"topic\":\"t\",\"partitions\":2,\"replication_factor\":1}]\n"
    );
    let consumed = on(&["consume", "t", "--exit", "--output", "key-value"]);
    let mut lines: Vec<&str> = consumed.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["a\t1", "a\t3", "b\t2"]);
}

/// Runs a command that must succeed against a server, with standard input.
fn on(server: &Server, folder: &Path, args: &[&str], input: &str) -> String {
    let output = try_on(server, folder, args, input);
    assert!(
        output.status.success(),
        "{args:?}: {}",
        text(&output.stderr)
    );
    text(&output.stdout)
}

fn try_on(server: &Server, folder: &Path, args: &[&str], input: &str) -> Output {
    use std::io::Write as _;
    let mut child = Command::new(env!("CARGO_BIN_EXE_thalweg"))
        .args(args)
        .args(["--bootstrap", &server.bootstrap()])
        .current_dir(folder)
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .expect("the binary starts");
    // A command that does not read its input may be gone already.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().expect("the command ends")
}

fn json(text: &str) -> serde_json::Value {
    serde_json::from_str(text).unwrap_or_else(|e| panic!("{e}: {text}"))
}

#[test]
fn settings_are_shown_changed_and_kept() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = Server::start(&folder.path().join("data"));
    let run = |server: &Server, args: &[&str]| on(server, folder.path(), args, "");
    run(&server, &["topic", "create", "t", "-c", "retention.ms=5"]);
    run(
        &server,
        &[
            "config",
            "alter",
            "broker-defaults",
            "--set",
            "log.segment.bytes=2000000",
        ],
    );
    run(
        &server,
        &[
            "config",
            "alter",
            "group",
            "g",
            "--set",
            "consumer.session.timeout.ms=50000",
        ],
    );
    run(
        &server,
        &[
            "topic",
            "alter",
            "t",
            "--append",
            "cleanup.policy=compact",
            "--delete",
            "retention.ms",
        ],
    );
    server.terminate();
    server.restart();
    let all = json(&run(
        &server,
        &["config", "describe", "topic", "t", "--all", "-o", "json"],
    ));
    let entry = |key: &str| {
        let configs = all[0]["configs"].as_array().unwrap();
        configs.iter().find(|c| c["name"] == key).unwrap().clone()
    };
    assert_eq!(entry("cleanup.policy")["value"], "delete,compact");
    assert_eq!(entry("cleanup.policy")["source"], "DYNAMIC_TOPIC_CONFIG");
    assert_eq!(entry("retention.ms")["source"], "DEFAULT_CONFIG");
    assert_eq!(entry("segment.bytes")["value"], "2000000");
    assert_eq!(
        entry("segment.bytes")["source"],
        "DYNAMIC_DEFAULT_BROKER_CONFIG"
    );
    let group = run(&server, &["config", "describe", "group", "g"]);
    assert!(
        group.contains("50000") && group.contains("GROUP_CONFIG"),
        "{group}"
    );
    run(
        &server,
        &[
            "config",
            "alter",
            "broker-loggers",
            "1",
            "--set",
            "thalweg_log::net=DEBUG",
        ],
    );
    let loggers = run(
        &server,
        &[
            "config",
            "describe",
            "broker-loggers",
            "1",
            "--key",
            "::net",
        ],
    );
    assert!(loggers.contains("DEBUG"), "{loggers}");
    for (args, says) in [
        (
            &["config", "alter", "broker", "1", "--set", "node.id=2"][..],
            "Cannot update these configs dynamically",
        ),
        (
            &["config", "alter", "topic", "t", "--set", "retention.m=2"],
            "retention.ms",
        ),
        (
            &["config", "alter", "topic", "t", "--delete", "retention.mss"],
            "did you mean",
        ),
        (&["config", "alter", "topic", "t"], "nothing to change"),
        (&["config", "describe", "topic", "nowhere"], "nowhere"),
        (
            &[
                "config",
                "alter",
                "broker-loggers",
                "1",
                "--set",
                "java.util=INFO",
            ],
            "does not exist",
        ),
    ] {
        let output = try_on(&server, folder.path(), args, "");
        let printed = text(&output.stderr);
        assert!(
            !output.status.success() && printed.contains(says),
            "{args:?}: {printed}"
        );
    }
    let dry = run(
        &server,
        &[
            "config",
            "alter",
            "topic",
            "t",
            "--set",
            "retention.ms=9",
            "--dry-run",
        ],
    );
    assert!(dry.contains("would be"), "{dry}");
    assert!(run(&server, &["quota", "describe"]).contains("no such quota"));
    run(
        &server,
        &[
            "quota",
            "alter",
            "--client-id",
            "loader",
            "--set",
            "producer_byte_rate=1024",
        ],
    );
    let quotas = json(&run(&server, &["quota", "describe", "-o", "json"]));
    assert_eq!(quotas[0]["entity"], "client-id=loader");
    let cluster = json(&run(&server, &["cluster", "describe", "-o", "json"]));
    assert_eq!(cluster["brokers"][0]["broker"], 1);
    assert!(run(&server, &["cluster", "features"]).contains("transaction.version"));
    assert!(run(&server, &["cluster", "quorum"]).contains("Leader: 1"));
    let elected = run(&server, &["partition", "elect", "t"]);
    assert!(elected.contains("not needed"), "{elected}");
    assert!(run(&server, &["partition", "reassignments"]).contains("No partition"));
}

#[test]
fn records_are_written_and_read_in_every_form() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(&folder.path().join("data"));
    let run = |args: &[&str], input: &str| on(&server, folder.path(), args, input);
    run(&["topic", "create", "t", "copy", "-p", "1"], "");
    run(
        &[
            "produce",
            "t",
            "-K",
            "\\t",
            "--null-marker",
            "NULL",
            "-H",
            "src=cli",
            "-z",
            "lz4",
        ],
        "a\t1\nb\tNULL\n",
    );
    run(
        &["produce", "t", "--header-separator", "|", "-K", ":"],
        "h:1,i:2|c:3\n",
    );
    let line = r#"{"key": null, "value": {"n": 4}, "headers": {"h": "x"}, "timestamp": "2025-01-01T00:00:00Z"}"#;
    run(&["produce", "t", "--input", "json"], line);
    run(
        &[
            "produce",
            "t",
            "--encoding",
            "hex",
            "--transactional-id",
            "loader",
        ],
        "00ff\n",
    );
    let format = "%t-%p@%o %k=%v [%h] %V\\n";
    let printed = run(
        &[
            "consume",
            "t",
            "--exit",
            "--format",
            format,
            "--isolation",
            "read-committed",
            "-p",
            "0",
        ],
        "",
    );
    let lines: Vec<&str> = printed.lines().collect();
    assert_eq!(
        lines[..4],
        [
            "t-0@0 a=1 [src=cli] 1",
            "t-0@1 b= [src=cli] -1",
            "t-0@2 c=3 [h=1,i=2] 1",
            "t-0@3 ={\"n\":4} [h=x] 7"
        ]
    );
    let hex = run(
        &[
            "consume",
            "t",
            "--offset",
            "-2",
            "--exit",
            "--encoding",
            "hex",
            "--count",
            "1",
        ],
        "",
    );
    assert_eq!(hex, "00ff\n");
    let from = run(
        &[
            "consume",
            "t",
            "--offset",
            "@2024-12-31",
            "--exit",
            "-o",
            "json",
            "-n",
            "1",
        ],
        "",
    );
    assert_eq!(json(&from)["offset"], 0);
    let all = run(
        &[
            "consume", "t", "--exit", "-o", "json", "--offset", "earliest",
        ],
        "",
    );
    run(&["produce", "copy", "--input", "json"], &all);
    let copy = run(&["consume", "copy", "--exit", "-o", "json"], "");
    let without_place = |text: &str| -> Vec<_> {
        text.lines()
            .map(|line| {
                let mut record = json(line);
                let map = record.as_object_mut().unwrap();
                map.remove("topic");
                map.remove("offset");
                record
            })
            .collect()
    };
    assert_eq!(without_place(&all), without_place(&copy));
    for (args, input, says) in [
        (
            &["produce", "t", "--input", "json"][..],
            "{\"vale\": 1}",
            "line 1: \"vale\" is unknown",
        ),
        (
            &["produce", "t", "-K", ":"],
            "none",
            "line 1: there is no \":\"",
        ),
        (&["produce", "t", "--rate", "0"], "", "above 0"),
        (&["consume", "t", "--offset", "soon"], "", "--offset takes"),
        (&["consume", "t", "--format", "%z"], "", "%z is unknown"),
        (
            &["consume", "t", "--partition", "7", "--exit"],
            "",
            "has the partitions 0 to 0",
        ),
        (&["consume", "nowhere", "--exit"], "", "nowhere"),
    ] {
        let output = try_on(&server, folder.path(), args, input);
        let printed = text(&output.stderr);
        assert!(
            !output.status.success() && printed.contains(says),
            "{args:?}: {printed}"
        );
    }
    let ids = run(&["transaction", "list", "-o", "json"], "");
    assert_eq!(json(&ids)[0]["transactional_id"], "loader");
    assert!(run(&["transaction", "describe", "loader"], "").contains("CompleteCommit"));
    assert!(run(&["transaction", "describe-producers", "t"], "").contains("PRODUCER-ID"));
    assert!(run(&["transaction", "find-hanging"], "").contains("No transaction hangs"));
}

#[test]
fn groups_are_moved_by_a_plan() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(&folder.path().join("data"));
    let run = |args: &[&str], input: &str| on(&server, folder.path(), args, input);
    run(&["topic", "create", "t", "-p", "2"], "");
    run(&["produce", "t", "-p", "0"], "1\n2\n3\n4\n");
    run(&["produce", "t", "-p", "1"], "5\n6\n");
    run(
        &[
            "consume",
            "t",
            "--group",
            "g",
            "--from-beginning",
            "--count",
            "6",
        ],
        "",
    );
    let committed = |partition: i64| {
        let all = json(&run(&["group", "describe", "g", "-o", "json"], ""));
        let rows = all.as_array().unwrap().clone();
        rows.iter()
            .find(|r| r["partition"] == partition)
            .map(|r| r["current_offset"].as_i64().unwrap())
    };
    assert_eq!((committed(0), committed(1)), (Some(4), Some(2)));
    let plan = |args: &[&str]| {
        let whole = [&["group", "reset-offsets", "g", "-o", "json"][..], args].concat();
        let rows = json(&run(&whole, ""));
        let offsets = rows.as_array().unwrap().iter();
        offsets
            .map(|r| r["new_offset"].as_i64().unwrap())
            .collect::<Vec<_>>()
    };
    assert_eq!(plan(&["--all-topics", "--to-earliest"]), [0, 0]);
    assert_eq!(committed(0), Some(4), "a plan changes nothing");
    assert_eq!(
        plan(&["--topic", "t:0", "--to-offset", "3", "--execute"]),
        [3]
    );
    assert_eq!(committed(0), Some(3));
    assert_eq!(
        plan(&["--topic", "t:0", "--shift-by", "-2", "--execute"]),
        [1]
    );
    assert_eq!(plan(&["--topic", "t", "--shift-by", "100"]), [4, 2]);
    assert_eq!(
        plan(&["--topic", "t", "--to-datetime", "2020-01-01T00:00:00"]),
        [0, 0]
    );
    assert_eq!(plan(&["--topic", "t", "--by-duration", "PT1H"]), [0, 0]);
    assert_eq!(plan(&["--all-topics", "--to-current"]), [1, 2]);
    let exported = run(
        &[
            "group",
            "reset-offsets",
            "g",
            "--all-topics",
            "--to-latest",
            "--export",
        ],
        "",
    );
    assert_eq!(exported, "t,0,4\nt,1,2\n");
    std::fs::write(folder.path().join("plan.csv"), &exported).unwrap();
    assert_eq!(plan(&["--from-file", "plan.csv", "--execute"]), [4, 2]);
    assert_eq!(committed(0), Some(4));
    run(&["group", "delete-offsets", "g", "--topic", "t:1"], "");
    assert_eq!(committed(1), None);
    assert!(run(&["group", "list", "--state", "Empty"], "").contains('g'));
    assert!(run(&["group", "describe", "g", "--state"], "").contains("Empty"));
    for (args, says) in [
        (
            &["group", "reset-offsets", "g", "--to-earliest"][..],
            "--all-topics",
        ),
        (
            &[
                "group",
                "reset-offsets",
                "g",
                "--topic",
                "t:7",
                "--to-earliest",
            ],
            "no 7",
        ),
        (&["group", "reset-offsets", "g", "--all-topics"], "required"),
        (&["group", "describe", "nobody"], "does not exist"),
        (&["group", "delete", "nobody"], "nobody"),
    ] {
        let output = try_on(&server, folder.path(), args, "");
        let printed = text(&output.stderr);
        assert!(
            !output.status.success() && printed.contains(says),
            "{args:?}: {printed}"
        );
    }
    run(&["group", "delete", "g"], "");
    assert!(run(&["group", "list"], "").contains("No groups"));
    let cut = json(&run(
        &[
            "topic",
            "delete-records",
            "t",
            "--before",
            "2",
            "-p",
            "0",
            "-o",
            "json",
        ],
        "",
    ));
    assert_eq!(cut[0]["log_start_offset"], 2);
    run(&["topic", "add-partitions", "t", "--add", "1"], "");
    let topic = json(&run(&["topic", "describe", "t", "-o", "json"], ""));
    assert_eq!(topic["partitions"].as_array().unwrap().len(), 3);
    assert!(run(&["topic", "describe", "--under-replicated"], "").contains("No partition"));
    run(&["topic", "create", "t", "--if-not-exists"], "");
    run(&["topic", "delete", "t", "nowhere", "--if-exists"], "");
}

#[test]
fn files_are_dumped_and_damage_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = Server::start(&folder.path().join("data"));
    let run = |server: &Server, args: &[&str], input: &str| on(server, folder.path(), args, input);
    run(&server, &["topic", "create", "t"], "");
    run(&server, &["produce", "t", "-K", ":"], "a:1\nb:2\n");
    run(
        &server,
        &["consume", "t", "--group", "g", "-b", "-n", "2"],
        "",
    );
    let dirs = json(&run(&server, &["log", "dirs", "t", "-o", "json"], ""));
    assert!(dirs[0]["bytes"].as_i64().unwrap() > 60);
    server.terminate();
    let plain = |args: &[&str]| {
        let output = thalweg(args, folder.path());
        assert!(
            output.status.success(),
            "{args:?}: {}",
            text(&output.stderr)
        );
        text(&output.stdout)
    };
    let log = "data/t-0/00000000000000000000.log";
    let dumped = plain(&["log", "dump", log, "--deep", "--verify"]);
    assert!(
        dumped.contains("baseOffset: 0 lastOffset: 1 count: 2"),
        "{dumped}"
    );
    assert!(
        dumped.contains("key: b payload: 2") && dumped.contains("isvalid: true"),
        "{dumped}"
    );
    let records = plain(&["log", "dump", log, "--deep", "-o", "json"]);
    assert_eq!(json(records.lines().next().unwrap())["value"], "1");
    assert!(plain(&["log", "dump", "data/t-0"]).contains("leader-epoch-checkpoint"));
    assert!(plain(&["log", "dump", "data/__cluster_metadata-0", "--deep"]).contains("CreateTopic"));
    let groups: String = (0..8)
        .map(|n| {
            plain(&[
                "log",
                "dump",
                &format!("data/__consumer_offsets-{n}"),
                "--deep",
            ])
        })
        .collect();
    assert!(groups.contains("Offset("), "{groups}");
    let verified = plain(&["log", "verify", "data"]);
    assert!(
        verified.contains("t-0") && verified.contains("__cluster_metadata-0"),
        "{verified}"
    );
    let path = folder.path().join(log);
    let mut bytes = std::fs::read(&path).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    for args in [
        &["log", "verify", "data"][..],
        &["log", "dump", log, "--verify"],
    ] {
        let output = thalweg(args, folder.path());
        let printed = text(&output.stderr);
        assert!(!output.status.success(), "{args:?}");
        assert!(
            printed.contains("00000000000000000000.log") && printed.contains("position 0"),
            "{printed}"
        );
    }
    let output = thalweg(&["log", "dump", "data/t-0/nothing.txt"], folder.path());
    assert!(!output.status.success());
}

#[test]
fn a_topic_of_apache_kafka_is_taken_over() {
    let folder = tempfile::tempdir().unwrap();
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../log/tests/golden/kafka-4.3");
    let golden = golden.to_str().unwrap();
    let import = |more: &[&str]| {
        let mut args = vec!["log", "import", golden];
        args.extend(more);
        thalweg(&args, folder.path())
    };
    let plain = |args: &[&str]| {
        let output = thalweg(args, folder.path());
        assert!(
            output.status.success(),
            "{args:?}: {}",
            text(&output.stderr)
        );
        text(&output.stdout)
    };
    let planned = import(&["--topic", "kafka-plain", "--dry-run", "-o", "json"]);
    let plan = json(&text(&planned.stdout));
    assert!(planned.status.success() && !folder.path().join("data").exists());
    assert_eq!(plan[0]["topic"], "kafka-plain");
    assert_eq!(plan[0]["partition"], 0);
    assert_eq!(plan[0]["next_offset"], 60);
    assert_eq!(plan[0]["records"], 60);
    assert_eq!(plan[0]["compacted"], false);
    let to = ["--data-dir", "data", "-c", "retention.ms=-1", "-o", "json"];
    let done = import(&[&["--topic", "kafka-plain"], &to[..]].concat());
    assert!(done.status.success(), "{}", text(&done.stderr));
    assert_eq!(json(&text(&done.stdout)), plan);
    let named = ["--topic", "kafka-compacted", "--name", "state"];
    let done = json(&text(&import(&[&named[..], &to].concat()).stdout));
    assert_eq!(done[0]["topic"], "state");
    assert_eq!(done[0]["compacted"], true);
    for (args, says) in [
        (&["--data-dir", "data"][..], "--topic TOPIC"),
        (
            &["--data-dir", "data", "--topic", "kafka-plain"],
            "--name TOPIC",
        ),
        (
            &["--data-dir", "data", "--topic", "nowhere"],
            "no partition folder of nowhere",
        ),
        (
            &[
                "--data-dir",
                "data",
                "--topic",
                "kafka-plain",
                "--name",
                "x",
                "-c",
                "retention.m=1",
            ],
            "retention.ms",
        ),
        (&["--topic", "kafka-plain"], "--data-dir"),
    ] {
        let output = import(args);
        let printed = text(&output.stderr);
        assert!(
            !output.status.success() && printed.contains(says),
            "{args:?}: {printed}"
        );
    }
    // A server of its own serves it as Kafka would have.
    let server = Server::start(&folder.path().join("data"));
    let run = |args: &[&str]| on(&server, folder.path(), args, "");
    let consume = |isolation: &str| {
        run(&[
            "consume",
            "kafka-plain",
            "--exit",
            "--offset",
            "earliest",
            "--isolation",
            isolation,
            "--format",
            "%o %v\\n",
        ])
    };
    let committed = consume("read-committed");
    assert_eq!(committed.lines().count(), 45, "{committed}");
    assert!(committed.starts_with("0 none value 0\n"), "{committed}");
    assert!(committed.contains("zstd value"), "{committed}");
    assert_eq!(consume("read-uncommitted").lines().count(), 50);
    let topic = json(&run(&["topic", "describe", "kafka-plain", "-o", "json"]));
    assert_eq!(topic["topic_id"], plan[0]["topic_id"], "{topic}");
    drop(server);
    let verified = plain(&["log", "verify", "data"]);
    assert!(verified.contains("state-0"), "{verified}");
}

#[test]
fn a_server_takes_kafkas_configuration_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("server.properties");
    std::fs::write(&path, "node.id=1\nnum.partitons=3\n").unwrap();
    let output = thalweg(&["server", "--config", "server.properties"], folder.path());
    let printed = text(&output.stderr);
    assert!(!output.status.success());
    assert!(
        printed.contains("server.properties:2: unknown broker configuration `num.partitons`; did you mean `num.partitions`?"),
        "{printed}"
    );
}
