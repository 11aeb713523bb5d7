//! Groups of the consumer protocol (KIP-848) as `thalweg group` shows them.

mod support;

use std::io::{BufRead as _, BufReader};

use support::Server;

#[test]
fn types_and_epochs_are_shown() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(&folder.path().join("data"));
    server.run(&["topic", "create", "t", "-p", "1"], "");
    server.run(&["produce", "t"], "1\n2\n");
    let classic = ["consume", "t", "--group", "old", "-b", "-n", "2"];
    server.run(&classic, "");
    let modern = [
        "consume",
        "t",
        "--group",
        "new",
        "-b",
        "-X",
        "group.protocol=consumer",
    ];
    let mut reader = server.spawn(&modern);
    let mut line = String::new();
    // Whoever has read a record has been assigned its partition.
    let mut printed = BufReader::new(reader.stdout.take().unwrap());
    printed.read_line(&mut line).unwrap();
    assert_eq!(line, "1\n");
    let show = |args: &[&str]| server.json(&[&["group"][..], args].concat());
    let all = show(&["list"]);
    let types: Vec<_> = all.as_array().unwrap().iter().collect();
    assert_eq!(types.len(), 2, "{all}");
    assert_eq!(
        (&types[0]["group"], &types[0]["type"]),
        (&"new".into(), &"consumer".into())
    );
    assert_eq!(
        (&types[1]["group"], &types[1]["type"]),
        (&"old".into(), &"classic".into())
    );
    let some = show(&["list", "--type", "Consumer"]);
    assert_eq!(some, serde_json::json!([all[0]]));
    let state = show(&["describe", "new", "old", "--state"]);
    assert_eq!(state[0]["type"], "consumer", "{state}");
    assert!(state[0]["group_epoch"].as_i64() > Some(0), "{state}");
    assert_eq!(state[0]["group_epoch"], state[0]["target_assignment_epoch"]);
    assert_eq!(state[1]["type"], "classic");
    assert!(state[1]["group_epoch"].is_null(), "{state}");
    let members = show(&["describe", "new", "--members", "--verbose"]);
    assert_eq!(
        members[0]["member_epoch"], state[0]["group_epoch"],
        "{members}"
    );
    assert_eq!(members[0]["protocol"], "consumer");
    assert_eq!(members[0]["assignment"], serde_json::json!(["t(0)"]));
    assert_eq!(members[0]["target_assignment"], members[0]["assignment"]);
    reader.kill().unwrap();
    reader.wait().unwrap();
}
