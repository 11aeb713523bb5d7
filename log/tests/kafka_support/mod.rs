//! Apache Kafka, started from its published jars, for the tests of any crate part.
//!
//! [`Kafka::start`] runs one node (broker and controller) on free ports with its data in
//! memory, and gives the reason where it cannot: no Java, no Maven, no way to the jars.
//! Invariant: the server ends with its [`Kafka`], and at the latest with this process,
//! however that ends: a watcher holds a pipe to us and kills the server when it breaks.

#![allow(dead_code)]

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use thalweg_log::net::{ClientConnection, ConnectionOptions};
use thalweg_log::wire::messages::ApiVersionsRequest;

/// The version of Apache Kafka that tests compare with.
pub(crate) const VERSION: &str = "4.3.0";

/// How long the server may take to start on a machine that does other things too.
const PATIENCE: Duration = Duration::from_secs(90);

/// A running Apache Kafka.
#[derive(Debug)]
pub(crate) struct Kafka {
    address: String,
    folder: TempDir,
    watcher: Child,
}

impl Kafka {
    /// Starts a node with Kafka's defaults, small internal topics and no rebalance delay,
    /// changed by `settings`. The error is a reason to skip, or the server's last words.
    pub(crate) async fn start(settings: &[(&str, &str)]) -> Result<Kafka, String> {
        let class_path = class_path()?;
        let folder = folder()?;
        let (broker, controller) = (free_port()?, free_port()?);
        let file = folder.path().join("server.properties");
        let mut properties = vec![
            ("process.roles", "broker,controller".to_owned()),
            ("node.id", "1".to_owned()),
            (
                "controller.quorum.voters",
                format!("1@127.0.0.1:{controller}"),
            ),
            (
                "listeners",
                format!("PLAINTEXT://127.0.0.1:{broker},CONTROLLER://127.0.0.1:{controller}"),
            ),
            ("controller.listener.names", "CONTROLLER".to_owned()),
            (
                "listener.security.protocol.map",
                "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT".to_owned(),
            ),
            ("log.dirs", folder.path().join("data").display().to_string()),
            ("offsets.topic.replication.factor", "1".to_owned()),
            ("offsets.topic.num.partitions", "2".to_owned()),
            ("transaction.state.log.replication.factor", "1".to_owned()),
            ("transaction.state.log.min.isr", "1".to_owned()),
            ("transaction.state.log.num.partitions", "2".to_owned()),
            ("group.initial.rebalance.delay.ms", "0".to_owned()),
            ("group.min.session.timeout.ms", "100".to_owned()),
        ];
        for (key, value) in settings {
            properties.retain(|(known, _)| known != key);
            properties.push((key, (*value).to_owned()));
        }
        let text: String = properties
            .iter()
            .map(|(k, v)| format!("{k}={v}\n"))
            .collect();
        fs::write(&file, text).map_err(|e| format!("cannot write {}: {e}", file.display()))?;
        let logging = folder.path().join("log4j2.properties");
        fs::write(&logging, LOGGING).map_err(|e| e.to_string())?;
        let logging = format!("-Dlog4j2.configurationFile=file:{}", logging.display());
        let formatted = Command::new("java")
            .args([
                &logging,
                "-cp",
                &class_path,
                "kafka.tools.StorageTool",
                "format",
            ])
            .args(["-t", "MkU3OEVBNTcwNTJENDM2Qk", "-c"])
            .arg(&file)
            .output()
            .map_err(|e| format!("java cannot be run: {e}"))?;
        if !formatted.status.success() {
            let said = String::from_utf8_lossy(&formatted.stderr).into_owned();
            return Err(format!("the storage could not be formatted: {said}"));
        }
        let output = folder.path().join("server.log");
        let log = fs::File::create(&output).map_err(|e| e.to_string())?;
        let errors = log.try_clone().map_err(|e| e.to_string())?;
        let watcher = Command::new("sh")
            .args(["-c", WATCH, "sh"])
            .arg(folder.path())
            .args([
                "-Xmx512m",
                "-XX:+UseSerialGC",
                "-XX:TieredStopAtLevel=1",
                &logging,
            ])
            .args(["-cp", &class_path, "kafka.Kafka"])
            .arg(&file)
            .stdin(Stdio::piped())
            .stdout(log)
            .stderr(errors)
            .spawn()
            .map_err(|e| format!("java cannot be run: {e}"))?;
        let kafka = Kafka {
            address: format!("127.0.0.1:{broker}"),
            folder,
            watcher,
        };
        let end = Instant::now() + PATIENCE;
        while !kafka.answers().await {
            if Instant::now() > end {
                let log = fs::read_to_string(&output).unwrap_or_default();
                return Err(format!("Apache Kafka does not answer: {log}"));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(kafka)
    }

    /// `host:port` of the broker.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// The folder that has `data/`, the server's log directory.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    async fn answers(&self) -> bool {
        let options = ConnectionOptions::default();
        let Ok(connection) = ClientConnection::connect(&self.address, options).await else {
            return false;
        };
        let request = ApiVersionsRequest {
            client_software_name: "thalweg".into(),
            client_software_version: "test".into(),
            ..ApiVersionsRequest::default()
        };
        let answer = connection
            .api_versions(request, Duration::from_secs(5))
            .await;
        answer.is_ok_and(|answer| answer.error_code == 0)
    }
}

impl Drop for Kafka {
    fn drop(&mut self) {
        drop(self.watcher.stdin.take());
        let _ = self.watcher.wait();
    }
}

/// Runs the server; at the end of its input ends it and clears its folder, which is its
/// first argument.
const WATCH: &str = "folder=$1; shift; java \"$@\" & server=$!; cat >/dev/null; \
    kill -9 $server; wait $server 2>/dev/null; rm -rf \"$folder\"";

const LOGGING: &str = "rootLogger.level=warn
rootLogger.appenderRef.c.ref=c
appender.c.type=Console
appender.c.name=c
appender.c.layout.type=PatternLayout
appender.c.layout.pattern=[%d] %p %c %m%n
";

const POM: &str = r#"<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>thalweg.tests</groupId>
  <artifactId>kafka</artifactId>
  <version>1</version>
  <dependencies>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>VERSION</version></dependency>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka-tools</artifactId><version>VERSION</version></dependency>
    <dependency><groupId>org.apache.logging.log4j</groupId><artifactId>log4j-core</artifactId><version>2.25.1</version></dependency>
    <dependency><groupId>org.apache.logging.log4j</groupId><artifactId>log4j-slf4j-impl</artifactId><version>2.25.1</version></dependency>
  </dependencies>
</project>
"#;

/// The class path of Apache Kafka and its tools; Maven is asked once and the answer kept.
pub(crate) fn class_path() -> Result<String, String> {
    let cache = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("apache-kafka-{VERSION}"));
    let file = cache.join("class-path.txt");
    if let Ok(known) = fs::read_to_string(&file)
        && known.split(':').all(|jar| Path::new(jar).exists())
    {
        return Ok(known);
    }
    let version = Command::new("java").arg("-version").output();
    if !version.is_ok_and(|answer| answer.status.success()) {
        return Err("no Java runtime is at hand".to_owned());
    }
    // Several test programs may come here at once: each works on its own.
    let own = cache.join(std::process::id().to_string());
    fs::create_dir_all(&own).map_err(|e| e.to_string())?;
    fs::write(own.join("pom.xml"), POM.replace("VERSION", VERSION)).map_err(|e| e.to_string())?;
    let found = own.join("class-path.txt");
    let asked = Command::new("mvn")
        .args(["-q", "-B", "dependency:build-classpath"])
        .arg(format!("-Dmdep.outputFile={}", found.display()))
        .current_dir(&own)
        .output();
    let result = match asked {
        Ok(answer) if answer.status.success() => fs::read_to_string(&found)
            .and_then(|text| fs::rename(&found, &file).map(|()| text))
            .map_err(|e| e.to_string()),
        Ok(answer) => Err(format!(
            "Maven has not found the jars of Apache Kafka {VERSION}: {}",
            String::from_utf8_lossy(&answer.stdout)
        )),
        Err(error) => Err(format!("no Maven is at hand: {error}")),
    };
    let _ = fs::remove_dir_all(&own);
    result
}

/// A folder in memory, if the system has one.
fn folder() -> Result<TempDir, String> {
    let memory = PathBuf::from("/dev/shm");
    let parent = if memory.is_dir() {
        memory
    } else {
        std::env::temp_dir()
    };
    tempfile::Builder::new()
        .prefix("thalweg-apache-kafka-")
        .tempdir_in(parent)
        .map_err(|e| e.to_string())
}

fn free_port() -> Result<u16, String> {
    TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .map(|address| address.port())
        .map_err(|e| e.to_string())
}
