"""Starts the brokers under test, and finds what the clients need."""

import hashlib
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "thalweg" / "interop"
PACKAGES = ("kafka-python==3.0.12", "aiokafka==0.14.0", "confluent-kafka==2.16.1", "lz4==4.4.5",
            "python-snappy==0.7.3", "zstandard==0.25.0", "cramjam==2.14.0")
JVM = ("java", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xmx512m",
       f"-Dlog4j2.configurationFile={HERE / 'java' / 'log4j2.properties'}")
# One broker is all there is: the internal topics of Apache Kafka must not ask for three.
SINGLE = {"offsets.topic.replication.factor": 1, "transaction.state.log.replication.factor": 1,
          "transaction.state.log.min.isr": 1, "group.initial.rebalance.delay.ms": 0}


def fingerprint(*parts):
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:12]


def venv():
    """A Python with the client libraries, or why there is none."""
    folder = CACHE / f"venv-{fingerprint(sys.version, *PACKAGES)}"
    python = folder / "bin" / "python"
    done = folder / "done"
    if not done.exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.parent.mkdir(parents=True, exist_ok=True)
        print("installing the Python clients …", flush=True)
        made = subprocess.run([sys.executable, "-m", "venv", str(folder)], capture_output=True, text=True)
        if made.returncode == 0:
            made = subprocess.run([str(python), "-m", "pip", "install", "-q", *PACKAGES], capture_output=True, text=True)
        if made.returncode != 0:
            return None, f"the Python clients cannot be installed: {made.stderr.strip()[-300:]}"
        done.touch()
    return str(python), None


def java():
    """The class path of Apache Kafka and its tools, or why there is none."""
    for program in ("java", "javac", "mvn"):
        if not shutil.which(program):
            return None, f"{program} is not installed"
    pom = HERE / "java" / "pom.xml"
    path = CACHE / f"classpath-{fingerprint(pom.read_text())}"
    if path.exists():
        jars = path.read_text().strip()
        if all(Path(jar).exists() for jar in jars.split(":")):
            return jars, None
    path.parent.mkdir(parents=True, exist_ok=True)
    print("fetching Apache Kafka's jars …", flush=True)
    made = subprocess.run(["mvn", "-q", "-B", "-f", str(pom), "dependency:build-classpath",
                           f"-Dmdep.outputFile={path}"], capture_output=True, text=True)
    if made.returncode != 0 or not path.exists():
        return None, f"Maven cannot fetch Apache Kafka: {(made.stdout + made.stderr).strip()[-300:]}"
    return path.read_text().strip(), None


def classes(classpath):
    """The folder with what is in `java/`, compiled if it has changed."""
    folder = CACHE / "classes"
    sources = sorted((HERE / "java").glob("*.java"))
    stale = [s for s in sources if not (folder / f"{s.stem}.class").exists()
             or (folder / f"{s.stem}.class").stat().st_mtime < s.stat().st_mtime]
    if stale:
        folder.mkdir(parents=True, exist_ok=True)
        subprocess.run(["javac", "-nowarn", "-d", str(folder), "-cp", classpath, *map(str, sources)], check=True)
    return folder


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Broker:
    """A process that is ready once its port is open, and is stopped with its output kept."""

    def launch(self, command, log, port, seconds):
        self.bootstrap = f"127.0.0.1:{port}"
        self.log = log
        self.how = (command, log, port, seconds)
        with open(log, "a") as out:
            self.process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT)
        end = time.monotonic() + seconds
        while time.monotonic() < end and self.alive():
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                return
            except OSError:
                time.sleep(0.02)
        self.stop()
        raise SystemExit(f"the broker did not come up:\n{Path(log).read_text()[-2000:]}")

    def glob(self, pattern):
        """Files in the log directories."""
        return sorted(path for folder in self.dirs for path in folder.glob(pattern))

    def segments(self, topic):
        return self.glob(f"{topic}-0/*.log")

    def alive(self):
        return self.process.poll() is None

    def kill(self):
        """What a crash does: nothing is written any more."""
        self.process.kill()
        self.process.wait()

    def again(self):
        """Starts it where it was."""
        self.launch(*self.how)

    def stop(self):
        if self.alive():
            self.process.terminate()
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


class Thalweg(Broker):
    def __init__(self, scratch, logs, port=0, binary=None):
        binary = binary or self.build()
        self.data = scratch / "data"
        port = port or free_port()
        # Several log directories, so that partitions can be moved between them.
        self.dirs = [self.data / "one", self.data / "two"]
        settings = {"num.partitions": 1, "log.dirs": ",".join(map(str, self.dirs))}
        overrides = [f"--override={key}={value}" for key, value in settings.items()]
        command = [binary, "server", "--data-dir", str(self.data), "--listen", f"127.0.0.1:{port}",
                   "--pg-listen", "127.0.0.1:0", *overrides]
        self.launch(command, logs / f"{scratch.name}.log", port, 30)

    @staticmethod
    def build():
        root = HERE.parent
        subprocess.run([os.environ.get("CARGO", "cargo"), "build", "-p", "thalweg", "--locked"], cwd=root, check=True)
        target = Path(os.environ.get("CARGO_TARGET_DIR") or root / "target")
        return str(target / "debug" / "thalweg")

class Kafka(Broker):
    def __init__(self, scratch, logs, port=0, _binary=None):
        classpath, why = java()
        if not classpath:
            raise SystemExit(f"Apache Kafka cannot be started: {why}")
        self.data = scratch / "data"
        port = port or free_port()
        controller = free_port()
        self.dirs = [self.data / "one", self.data / "two"]
        config = {"process.roles": "broker,controller", "node.id": 1, "log.dirs": ",".join(map(str, self.dirs)),
                  "controller.quorum.bootstrap.servers": f"127.0.0.1:{controller}",
                  "listeners": f"PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}",
                  "controller.listener.names": "CONTROLLER", **SINGLE}
        scratch.mkdir(exist_ok=True)
        file = scratch / "server.properties"
        file.write_text("".join(f"{key}={value}\n" for key, value in config.items()))
        jvm = [*JVM, "-cp", f"{HERE / 'java'}:{classpath}"]
        cluster = "4L6g3nShT-eMCtK--X86sw"
        subprocess.run([*jvm, "kafka.tools.StorageTool", "format", "--standalone", "-t", cluster, "-c", str(file)],
                       check=True, capture_output=True)
        self.launch([*jvm, "kafka.Kafka", str(file)], logs / f"{scratch.name}.log", port, 90)

