//! A broker as a process of its own, and what the system knows of it.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use thalweg_log::net::{ClientConnection, ConnectionOptions};
use thalweg_log::wire::messages::ApiVersionsRequest;

use crate::cpu::{Children, of_process};

/// How long a broker may take to start.
const PATIENCE: Duration = Duration::from_secs(60);

/// Which broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    /// Apache Kafka.
    Kafka,
    /// Ours.
    Thalweg,
}

impl Peer {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Peer::Kafka => "Apache Kafka",
            Peer::Thalweg => "Thalweg",
        }
    }
}

/// A running broker; it is killed when it is dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
    /// `host:port`.
    pub address: String,
    /// From the start of the process to its first answer.
    pub start_up: Duration,
    folder: PathBuf,
}

impl Process {
    /// Starts a broker with its data in a new folder under `dir`.
    pub async fn start(peer: Peer, dir: &Path, binary: &Path, class_path: &str) -> Result<Self> {
        let folder = dir.join(format!(
            "thalweg-bench-{}-{}",
            peer.name().replace(' ', "-"),
            std::process::id()
        ));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder)?;
        let port = free_port()?;
        let address = format!("127.0.0.1:{port}");
        let mut command = match peer {
            Peer::Kafka => kafka(&folder, port, class_path)?,
            Peer::Thalweg => thalweg(&folder, port, binary),
        };
        let log = fs::File::create(folder.join("output"))?;
        let began = Instant::now();
        let child = command
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("cannot start {}", peer.name()))?;
        let mut process = Self {
            child,
            address,
            start_up: Duration::ZERO,
            folder,
        };
        while !answers(&process.address).await {
            if began.elapsed() > PATIENCE || process.child.try_wait()?.is_some() {
                let output = fs::read_to_string(process.folder.join("output"))?;
                bail!("{} did not come up: {output}", peer.name());
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        process.start_up = began.elapsed();
        Ok(process)
    }

    /// CPU seconds so far, user and system.
    pub fn cpu(&self) -> f64 {
        of_process(&self.child.id().to_string(), Children::Without)
    }

    /// Resident memory in MiB.
    pub fn resident(&self) -> f64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()));
        let status = status.unwrap_or_default();
        let kib = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .and_then(|rest| rest.split_whitespace().next()?.parse::<f64>().ok());
        kib.unwrap_or(f64::NAN) / 1024.0
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn thalweg(folder: &Path, port: u16, binary: &Path) -> Command {
    let mut command = Command::new(binary);
    command
        .args(["server", "--listen", &format!("127.0.0.1:{port}")])
        .args(["--pg-listen", "127.0.0.1:0", "--data-dir"])
        .arg(folder.join("data"))
        .env("RUST_LOG", "warn");
    command
}

/// The heap and the collector are those of Kafka's own start script.
const SERVER: &[&str] = &[
    "-Xms1G",
    "-Xmx1G",
    "-server",
    "-XX:+UseG1GC",
    "-XX:MaxGCPauseMillis=20",
    "-XX:InitiatingHeapOccupancyPercent=35",
    "-XX:+ExplicitGCInvokesConcurrent",
    "-Djava.awt.headless=true",
];

fn kafka(folder: &Path, port: u16, class_path: &str) -> Result<Command> {
    let controller = free_port()?;
    let file = folder.join("server.properties");
    let data = folder.join("data");
    fs::write(
        &file,
        format!(
            "process.roles=broker,controller\nnode.id=1\nlog.dirs={}\n\
             controller.quorum.voters=1@127.0.0.1:{controller}\n\
             listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}\n\
             controller.listener.names=CONTROLLER\n\
             listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT\n\
             offsets.topic.replication.factor=1\ntransaction.state.log.replication.factor=1\n\
             transaction.state.log.min.isr=1\ngroup.initial.rebalance.delay.ms=0\n\
             log.segment.delete.delay.ms=100\n",
            data.display()
        ),
    )?;
    let formatted = Command::new("java")
        .args(["-cp", class_path, "kafka.tools.StorageTool", "format"])
        .args(["-t", "MkU3OEVBNTcwNTJENDM2Qk", "-c"])
        .arg(&file)
        .output()?;
    ensure!(
        formatted.status.success(),
        "the storage could not be formatted: {}",
        String::from_utf8_lossy(&formatted.stderr)
    );
    let mut command = Command::new("java");
    command
        .args(SERVER)
        .args(["-cp", class_path, "kafka.Kafka"])
        .arg(&file);
    Ok(command)
}

/// The class path of Apache Kafka and its tools, from Maven.
pub fn class_path() -> Result<String> {
    let pom = Path::new(env!("CARGO_MANIFEST_DIR")).join("../interop/java/pom.xml");
    let found = tempfile::NamedTempFile::new()?;
    let mut command = Command::new("mvn");
    command
        .args(["-q", "-B", "dependency:build-classpath", "-f"])
        .arg(&pom)
        .arg(format!("-Dmdep.outputFile={}", found.path().display()));
    let asked = command.output().context("no Maven is at hand")?;
    ensure!(
        asked.status.success(),
        "Maven has not found Apache Kafka: {}",
        String::from_utf8_lossy(&asked.stdout)
    );
    let logging = pom.with_file_name("");
    Ok(format!(
        "{}:{}",
        logging.display(),
        fs::read_to_string(found.path())?.trim()
    ))
}

async fn answers(address: &str) -> bool {
    let Ok(connection) = ClientConnection::connect(address, ConnectionOptions::default()).await
    else {
        return false;
    };
    let request = ApiVersionsRequest {
        client_software_name: "thalweg-bench".into(),
        client_software_version: "1".into(),
        ..ApiVersionsRequest::default()
    };
    let answer = connection.api_versions(request, Duration::from_secs(5));
    answer.await.is_ok_and(|answer| answer.error_code == 0)
}

fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}
