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
