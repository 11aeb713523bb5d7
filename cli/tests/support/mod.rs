//! A real server process for tests: started, killed, started again on the same folder.

#![allow(dead_code, reason = "each test file uses a part of it")]

use std::io::{BufRead as _, BufReader};
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

/// A `thalweg server` on fixed ports, so that clients find it again after a restart.
pub(crate) struct Server {
    data_dir: PathBuf,
    pub(crate) kafka_port: u16,
    pub(crate) pg_port: u16,
    child: Option<Child>,
}

impl Server {
    /// Starts a server on `data_dir` and waits until it is ready.
    pub(crate) fn start(data_dir: &Path) -> Self {
        let mut server = Self {
            data_dir: data_dir.to_owned(),
            kafka_port: free_port(),
            pg_port: free_port(),
            child: None,
        };
        server.restart();
        server
    }

    pub(crate) fn bootstrap(&self) -> String {
        format!("127.0.0.1:{}", self.kafka_port)
    }

    pub(crate) fn pg(&self) -> String {
        format!("127.0.0.1:{}", self.pg_port)
    }

    /// Starts the process again and waits for its word that it is ready.
    pub(crate) fn restart(&mut self) {
        let mut child = Command::new(env!("CARGO_BIN_EXE_thalweg"))
            .arg("server")
            .arg("--data-dir")
            .arg(&self.data_dir)
            .args(["--listen", &self.bootstrap()])
            .args(["--pg-listen", &self.pg()])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        let stdout = child.stdout.take().expect("stdout is piped");
        let mut lines = BufReader::new(stdout).lines();
        let mut seen = Vec::new();
        loop {
            match lines.next() {
                Some(Ok(line)) if line.contains("ready") => break,
                Some(Ok(line)) => seen.push(line),
                _ => panic!("the server ended before it was ready: {seen:?}"),
            }
        }
        // Whatever it says later must not fill the pipe.
        std::thread::spawn(move || lines.for_each(drop));
        self.child = Some(child);
    }

    /// Starts a command against the server.
    pub(crate) fn spawn(&self, args: &[&str]) -> Child {
        Command::new(env!("CARGO_BIN_EXE_thalweg"))
            .args(args)
            .args(["--bootstrap", &self.bootstrap()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary starts")
    }

    /// Runs a command against the server, with standard input.
    pub(crate) fn try_run(&self, args: &[&str], input: &str) -> Output {
        use std::io::Write as _;
        let mut child = self.spawn(args);
        // A command that does not read its input may be gone already.
        let stdin = child.stdin.take().expect("stdin is piped");
        let _ = { stdin }.write_all(input.as_bytes());
        child.wait_with_output().expect("the command ends")
    }

    /// Runs a command that must succeed; what it printed.
    pub(crate) fn run(&self, args: &[&str], input: &str) -> String {
        let output = self.try_run(args, input);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{args:?}: {errors}");
        String::from_utf8(output.stdout).expect("text is printed")
    }

    /// Runs a command that must succeed, with `-o json`.
    pub(crate) fn json(&self, args: &[&str]) -> serde_json::Value {
        let printed = self.run(&[args, &["-o", "json"]].concat(), "");
        serde_json::from_str(&printed).unwrap_or_else(|e| panic!("{e}: {printed}"))
    }

    /// Runs a command that must fail; what it said.
    pub(crate) fn fails(&self, args: &[&str]) -> String {
        let output = self.try_run(args, "");
        assert!(!output.status.success(), "{args:?} succeeds");
        String::from_utf8_lossy(&output.stderr).into_owned()
    }

    /// `kill -9`.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("the process can be killed");
            child.wait().expect("the process ends");
        }
    }

    /// SIGTERM, and the exit status.
    pub(crate) fn terminate(&mut self) -> std::process::ExitStatus {
        let mut child = self.child.take().expect("the server runs");
        let status = Command::new("kill")
            .arg(child.id().to_string())
            .status()
            .expect("kill is there");
        assert!(status.success());
        child.wait().expect("the process ends")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .and_then(|listener| listener.local_addr())
        .expect("a port is free")
        .port()
}

/// A Postgres connection to the server.
pub(crate) async fn postgres(address: &str) -> tokio_postgres::Client {
    let (host, port) = address.split_once(':').expect("HOST:PORT");
    let (client, connection) = tokio_postgres::Config::new()
        .host(host)
        .port(port.parse().expect("a port"))
        .user("test")
        .connect(tokio_postgres::NoTls)
        .await
        .expect("the server takes the connection");
    tokio::spawn(connection);
    client
}

/// The rows of a query, as text.
pub(crate) async fn rows(client: &tokio_postgres::Client, sql: &str) -> Vec<Vec<Option<String>>> {
    client
        .simple_query(sql)
        .await
        .unwrap_or_else(|error| panic!("{sql}: {error:?}"))
        .into_iter()
        .filter_map(|message| match message {
            tokio_postgres::SimpleQueryMessage::Row(row) => Some(
                (0..row.len())
                    .map(|at| row.get(at).map(str::to_owned))
                    .collect(),
            ),
            _ => None,
        })
        .collect()
}
