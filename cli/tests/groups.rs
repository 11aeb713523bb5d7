//! Groups of the consumer protocol (KIP-848) as `thalweg group` shows them.

mod support;

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Command, Output, Stdio};

use support::Server;

fn start(server: &Server, args: &[&str]) -> std::process::Child {
    Command::new(env!("CARGO_BIN_EXE_thalweg"))
        .args(args)
        .args(["--bootstrap", &server.bootstrap()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts")
}

fn run(server: &Server, args: &[&str], input: &str) -> String {
    let mut child = start(server, args);
    // A command that does not read its input may be gone already.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let Output {
        status,
        stdout,
        stderr,
    } = child.wait_with_output().expect("the command ends");
    let stderr = String::from_utf8_lossy(&stderr);
    assert!(status.success(), "{args:?}: {stderr}");
    String::from_utf8(stdout).unwrap()
}

fn json(text: &str) -> serde_json::Value {
    serde_json::from_str(text).unwrap_or_else(|e| panic!("{e}: {text}"))
}

#[test]
fn types_and_epochs_are_shown() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(&folder.path().join("data"));
    run(&server, &["topic", "create", "t", "-p", "1"], "");
    run(&server, &["produce", "t"], "1\n2\n");
    let classic = ["consume", "t", "--group", "old", "-b", "-n", "2"];
    run(&server, &classic, "");
    let modern = [
        "consume",
        "t",
        "--group",
        "new",
        "-b",
        "-X",
        "group.protocol=consumer",
    ];
    let mut reader = start(&server, &modern);
    let mut line = String::new();
    // Whoever has read a record has been assigned its partition.
    let mut printed = BufReader::new(reader.stdout.take().unwrap());
    printed.read_line(&mut line).unwrap();
    assert_eq!(line, "1\n");
    let show = |args: &[&str]| {
        let all = [&["group"][..], args, &["-o", "json"]].concat();
        json(&run(&server, &all, ""))
    };
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
