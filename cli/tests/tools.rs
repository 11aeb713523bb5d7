//! What operators know from Kafka's scripts, under the names of ours.

mod support;

use std::io::Write as _;

use serde_json::json;
use support::Server;

fn start() -> (tempfile::TempDir, Server) {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(&folder.path().join("data"));
    (folder, server)
}

#[test]
fn markers_of_transactions_are_shown_between_the_records() {
    let (_folder, server) = start();
    server.run(&["topic", "create", "t", "-p", "1"], "");
    let produce = ["produce", "t", "--transactional-id", "x"];
    server.run(&produce, "a\nb\n");
    // One that is left open, and ended by another hand.
    let mut open = server.spawn(&produce);
    let mut input = open.stdin.take().unwrap();
    input.write_all(b"lost\n").unwrap();
    let ongoing = ["transaction", "list", "--state", "Ongoing"];
    while server.json(&ongoing).as_array().unwrap().is_empty() {
        assert!(open.try_wait().unwrap().is_none(), "it ended early");
    }
    server.run(&["transaction", "terminate", "x"], "");
    open.kill().unwrap();
    open.wait().unwrap();
    server.run(&["produce", "t"], "plain\n");
    let all = ["consume", "t", "--exit", "--print-control"];
    let printed = server.run(&all, "");
    let lines: Vec<&str> = printed.lines().collect();
    let [a, b, commit, .., plain] = lines.as_slice() else {
        panic!("{printed}")
    };
    assert_eq!([a, b, plain], [&"a", &"b", &"plain"]);
    assert!(commit.starts_with("t-0 offset: 2 CreateTime: "), "{commit}");
    assert!(
        commit.contains(" producerId: ") && commit.contains(" producerEpoch: "),
        "{commit}"
    );
    assert!(
        commit.contains(" endTxnMarker: COMMIT coordinatorEpoch: "),
        "{commit}"
    );
    assert_eq!(
        printed.matches("endTxnMarker: ABORT").count(),
        1,
        "{printed}"
    );
    let committed = [&all[..], &["--isolation-level", "read_committed"]].concat();
    let printed = server.run(&[&committed[..], &["-o", "json"]].concat(), "");
    let values: Vec<serde_json::Value> = printed
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let controls: Vec<&serde_json::Value> =
        values.iter().filter_map(|v| v.get("control")).collect();
    assert_eq!(controls, [&json!("COMMIT"), &json!("ABORT")]);
    assert!(!printed.contains("lost"), "{printed}");
    assert!(values[2]["producer_id"].as_i64() >= Some(0), "{printed}");
}

#[test]
fn topics_are_taken_by_pattern_and_records_with_a_limit_of_time() {
    let (folder, server) = start();
    server.run(&["topic", "create", "a-1", "a-2", "b", "-p", "2"], "");
    for topic in ["a-1", "a-2", "b"] {
        let produce = ["produce", topic, "-p", "1", "-K", ":", "--null-marker", "-"];
        server.run(&produce, &format!("k:{topic}\nk:-\n"));
    }
    let format = "%t %p %k=%v\\n";
    let consume = [
        "consume",
        "a-.*",
        "--regex",
        "-b",
        "--timeout",
        "300ms",
        "--format",
        format,
    ];
    let printed = server.run(&[&consume[..], &["--null-marker", "NULL"]].concat(), "");
    let mut lines: Vec<&str> = printed.lines().collect();
    lines.sort_unstable();
    assert_eq!(
        lines,
        ["a-1 1 k=NULL", "a-1 1 k=a-1", "a-2 1 k=NULL", "a-2 1 k=a-2"]
    );
    let several = server.run(&["consume", "b", "a-1", "--exit", "-n", "4"], "");
    assert_eq!(several.lines().count(), 4);
    assert!(
        server
            .fails(&["consume", "z.*", "--regex"])
            .contains("no topic's name")
    );

    let offsets = server.json(&["topic", "offsets", "a-1", "b:1"]);
    let ends: Vec<_> = offsets
        .as_array()
        .unwrap()
        .iter()
        .map(|o| &o["offset"])
        .collect();
    assert_eq!(ends, [&json!(0), &json!(2), &json!(2)]);
    let none = server.json(&["topic", "offsets", "b:1", "--at", "2100-01-01"]);
    assert_eq!(none[0]["offset"], json!(null));
    assert!(server.fails(&["topic", "offsets", "b:7"]).contains("no 7"));

    let plan = folder.path().join("offsets.json");
    let text = r#"{"partitions":[{"topic":"b","partition":1,"offset":1}],"version":1}"#;
    std::fs::write(&plan, text).unwrap();
    let plan = plan.to_str().unwrap();
    let cut = server.json(&["topic", "delete-records", "--from-file", plan]);
    assert_eq!(cut[0]["log_start_offset"], 1);
    let described = server.json(&["topic", "describe", "a-.*", "--regex"]);
    assert_eq!(described.as_array().unwrap().len(), 2);
    let deleted = server.json(&["topic", "delete", "a-.*", "--regex"]);
    assert_eq!(deleted.as_array().unwrap().len(), 2);
    assert_eq!(server.json(&["topic", "list"])[0]["topic"], "b");
}

#[test]
fn what_changes_something_says_so_to_machines_too() {
    let (folder, server) = start();
    server.run(&["topic", "create", "t", "-p", "1"], "");
    let file = folder.path().join("t.properties");
    std::fs::write(
        &file,
        "# kept\nretention.ms = 3600000\ncleanup.policy=compact\n",
    )
    .unwrap();
    let file = file.to_str().unwrap();
    let altered = server.json(&["topic", "alter", "t", "--from-file", file]);
    assert_eq!(altered, json!([{"topic": "t", "altered": true}]));
    let configs = server.run(&["config", "describe", "topic", "t"], "");
    assert!(
        configs.contains("3600000") && configs.contains("compact"),
        "{configs}"
    );
    let checked = ["topic", "add-partitions", "t", "--total", "2", "--dry-run"];
    assert_eq!(server.json(&checked)[0]["partitions"], 2);
    assert_eq!(server.json(&["topic", "list"])[0]["partitions"], 1);
    let added = [
        "topic",
        "add-partitions",
        "t",
        "-a",
        "1",
        "--replica-assignment",
        "1",
    ];
    assert_eq!(server.json(&added)[0]["partitions"], 2);
    let altered = server.json(&["config", "alter", "topic", "t", "--delete", "retention.ms"]);
    assert_eq!(altered[0]["altered"], true);
    let quota = [
        "quota",
        "alter",
        "--client-id",
        "c",
        "--set",
        "producer_byte_rate=1e6",
    ];
    assert_eq!(server.json(&quota)[0]["entity"], "client-id=c");
    for (wrong, says) in [
        (
            &["log", "dirs", "nope"][..],
            "no folder has a partition of topic nope",
        ),
        (
            &["group", "list", "--state", "Foo"],
            "there is no state \"Foo\"",
        ),
        (
            &["partition", "plan", "t", "--brokers", "7"],
            "there is no broker 7",
        ),
    ] {
        let error = server.fails(wrong);
        assert!(error.contains(says), "{error}");
    }
    let fenced = server.json(&["transaction", "terminate", "x"]);
    assert_eq!(fenced[0]["transactional_id"], "x");
    let features = ["cluster", "update-features", "group.version=1", "--dry-run"];
    assert_eq!(server.json(&features)[0]["level"], 1);

    let plan = server.json(&["partition", "plan", "t", "--brokers", "1"]);
    assert_eq!(plan["partitions"][1]["replicas"], json!([1]));
    let file = folder.path().join("plan.json");
    std::fs::write(&file, plan.to_string()).unwrap();
    let file = file.to_str().unwrap();
    let verify = ["partition", "reassign", "--from-file", file, "--verify"];
    assert_eq!(server.json(&verify)[1]["result"], "complete");

    server.run(&["produce", "t", "-k", "k"], "1\n");
    server.run(&["consume", "t", "-g", "g", "-b", "-n", "1"], "");
    let offsets = server.json(&["group", "describe", "g", "--verbose"]);
    assert!(offsets[0]["leader_epoch"].is_i64(), "{offsets}");
    let forgotten = server.json(&["group", "delete-offsets", "g", "--topic", "t"]);
    assert_eq!(forgotten[0]["deleted"], true);

    // Settings of the connection come from a file, and what is wrong in it is told.
    let client = folder.path().join("client.properties");
    std::fs::write(&client, "client.id=ops\n").unwrap();
    let path = client.to_str().unwrap();
    server.run(&["topic", "list", "--command-config", path], "");
    std::fs::write(&client, "client.idd=ops\n").unwrap();
    let error = server.fails(&["topic", "list", "--command-config", path]);
    assert!(error.contains("did you mean `client.id`"), "{error}");
}
