"""Apache Kafka's own command-line tools, each in a JVM of its own, as an operator runs them."""

import json
import re
import subprocess
import tempfile
import time
import uuid
from pathlib import Path

from brokers import HERE, JVM

TOOL = "org.apache.kafka.tools."


class Failed(Exception):
    pass


class Shell:
    def __init__(self, classpath, bootstrap, log, broker):
        self.java = [*JVM, "-cp", f"{HERE / 'java'}:{classpath}"]
        self.bootstrap, self.log, self.broker = bootstrap, log, broker

    def run(self, main, *arguments, text="", expect=0, bootstrap=True, seconds=90):
        """Runs a tool and returns what it printed; an exit code that was not expected is a failure."""
        command = [*self.java, main if main.startswith("kafka.") else TOOL + main]
        if bootstrap:
            command += ["--bootstrap-server", self.bootstrap]
        command += [str(a) for a in arguments]
        shown = f"{main} {' '.join(str(a) for a in arguments)}"
        try:
            done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=seconds)
        except subprocess.TimeoutExpired as hung:
            raise Failed(f"{shown}: hangs; {(hung.stdout or b'').decode()[-300:]}") from hung
        output = done.stdout + done.stderr
        self.log.write(f"$ {shown}\n{output}[{done.returncode}]\n\n")
        self.log.flush()
        if expect is not None and done.returncode != expect:
            raise Failed(f"{shown} ended with {done.returncode}: {output.strip()[-300:]}")
        return output

    def topic(self, what, partitions=1, *configs):
        topic = f"interop-{what}-{uuid.uuid4().hex[:8]}"
        more = [word for config in configs for word in ("--config", config)]
        self.run("TopicCommand", "--create", "--topic", topic, "--partitions", partitions, *more)
        return topic

    def produce(self, topic, lines):
        self.run("ConsoleProducer", "--topic", topic, text="\n".join(lines) + "\n")


def has(output, *patterns):
    for pattern in patterns:
        if not re.search(pattern, output, re.MULTILINE):
            raise Failed(f"{pattern!r} is not in: {output.strip()[-600:]}")


def has_not(output, pattern):
    if re.search(pattern, output, re.MULTILINE):
        raise Failed(f"{pattern!r} should not be in: {output.strip()[-600:]}")


def topics(sh):
    topic = sh.topic("tools", 3, "retention.ms=123456")
    found = sh.run("TopicCommand", "--describe", "--topic", topic)
    has(found, rf"Topic: {topic}\s+TopicId: \S{{22}}\s+PartitionCount: 3\s+ReplicationFactor: 1\s+Configs:.*retention.ms=123456",
        r"Partition: 2\s+Leader: \d+\s+Replicas: \d+\s+Isr: \d+")
    sh.run("TopicCommand", "--alter", "--topic", topic, "--partitions", 4)
    has(sh.run("TopicCommand", "--describe", "--topic", topic), "PartitionCount: 4")
    has(sh.run("TopicCommand", "--list"), rf"^{topic}$")
    has_not(sh.run("TopicCommand", "--describe", "--under-replicated-partitions"), topic)
    has(sh.run("TopicCommand", "--create", "--topic", topic, expect=1), "already exists")
    sh.run("TopicCommand", "--delete", "--topic", topic)
    has_not(sh.run("TopicCommand", "--list"), rf"^{topic}$")


def console(sh):
    topic = sh.topic("console")
    sh.run("ConsoleProducer", "--topic", topic, "--reader-property", "parse.key=true", "--reader-property", "key.separator=:",
           "--reader-property", "parse.headers=true", "--compression-codec", "lz4", text="".join(f"h:{n}\tk{n}:v{n}\n" for n in range(50)))
    found = sh.run("consumer.ConsoleConsumer", "--topic", topic, "--from-beginning", "--max-messages", 50, "--formatter-property", "print.key=true",
                   "--formatter-property", "print.headers=true", "--formatter-property", "print.offset=true",
                   "--formatter-property", "print.partition=true", "--formatter-property", "print.timestamp=true", "--timeout-ms", 20000)
    has(found, r"CreateTime:\d+\tPartition:0\tOffset:49\th:49\tk49\tv49", "Processed a total of 50 messages")
    found = sh.run("consumer.ConsoleConsumer", "--topic", topic, "--partition", 0, "--offset", 48, "--max-messages", 2, "--timeout-ms", 20000)
    has(found, "^v48$", "^v49$")


def groups(sh):
    topic, group = sh.topic("groups", 2), f"interop-g-{uuid.uuid4().hex[:8]}"
    sh.produce(topic, [f"v{n}" for n in range(30)])
    main = "consumer.group.ConsumerGroupCommand"
    sh.run("consumer.ConsoleConsumer", "--topic", topic, "--group", group, "--from-beginning", "--max-messages", 30, "--timeout-ms", 20000)
    found = sh.run(main, "--describe", "--group", group)
    has(found, r"GROUP\s+TOPIC\s+PARTITION\s+CURRENT-OFFSET\s+LOG-END-OFFSET\s+LAG\s+CONSUMER-ID\s+HOST\s+CLIENT-ID",
        rf"{group}\s+{topic}\s+[01]\s+\d+\s+\d+\s+0\s+-\s+-\s+-")
    has(sh.run(main, "--describe", "--group", group, "--state"), rf"{group}\s.*Empty\s+0")
    has(sh.run(main, "--describe", "--group", group, "--members"), "has no active members")
    has(sh.run(main, "--list", "--state"), rf"{group}\s+Empty")
    has(sh.run(main, "--list", "--type"), rf"{group}\s+Classic")
    sh.run(main, "--reset-offsets", "--group", group, "--topic", topic, "--to-earliest", "--dry-run")
    found = sh.run(main, "--reset-offsets", "--group", group, "--topic", topic, "--to-earliest", "--execute")
    has(found, rf"{group}\s+{topic}\s+0\s+0")
    has(sh.run(main, "--describe", "--group", group), rf"{group}\s+{topic}\s+[01]\s+0\s+")
    for how in (["--shift-by", "3"], ["--to-offset", "5"], ["--to-latest"], ["--to-datetime", "2020-01-01T00:00:00.000"],
                ["--by-duration", "PT1H"]):
        sh.run(main, "--reset-offsets", "--group", group, "--all-topics", *how, "--execute")
    sh.run(main, "--delete-offsets", "--group", group, "--topic", topic)
    has(sh.run(main, "--delete", "--group", group), "successful|Deletion")
    has_not(sh.run(main, "--list"), group)


def live_group(sh):
    """A group with a member, seen from outside; both protocols."""
    for protocol in ("classic", "consumer"):
        topic, group = sh.topic("live", 1), f"interop-g-{uuid.uuid4().hex[:8]}"
        consumer = subprocess.Popen([*sh.java, TOOL + "consumer.ConsoleConsumer", "--bootstrap-server", sh.bootstrap, "--topic", topic,
                                     "--group", group, "--command-property", f"group.protocol={protocol}"],
                                    stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            end = time.monotonic() + 40
            while True:
                found = sh.run("consumer.group.ConsumerGroupCommand", "--describe", "--group", group, "--members", "--verbose", expect=None)
                if re.search(rf"{group}\s+\S+\s+/\S+\s+\S+.*{topic}", found):
                    break
                if time.monotonic() > end:
                    raise Failed(f"{protocol}: no member with its assignment: {found[-400:]}")
            has(sh.run("consumer.group.ConsumerGroupCommand", "--describe", "--group", group, "--state"), r"Stable\s+1")
            has(sh.run("GroupsCommand", "--list"), rf"{group}\s+{protocol.capitalize()}")
        finally:
            consumer.terminate()
            consumer.wait(20)


def configs(sh):
    topic = sh.topic("configs")
    main = "kafka.admin.ConfigCommand"
    sh.run(main, "--alter", "--entity-type", "topics", "--entity-name", topic, "--add-config", "retention.ms=1000,cleanup.policy=[compact,delete]")
    found = sh.run(main, "--describe", "--entity-type", "topics", "--entity-name", topic)
    has(found, "retention.ms=1000 .*DYNAMIC_TOPIC_CONFIG:retention.ms=1000", "cleanup.policy=compact,delete")
    sh.run(main, "--alter", "--entity-type", "topics", "--entity-name", topic, "--delete-config", "retention.ms")
    has_not(sh.run(main, "--describe", "--entity-type", "topics", "--entity-name", topic), "retention.ms=")
    found = sh.run(main, "--describe", "--entity-type", "topics", "--entity-name", topic, "--all")
    has(found, "max.message.bytes=", "segment.bytes=", "min.insync.replicas=")
    node = re.search(r"Leader: (\d+)", sh.run("TopicCommand", "--describe", "--topic", topic)).group(1)
    found = sh.run(main, "--describe", "--entity-type", "brokers", "--entity-name", node, "--all")
    has(found, "num.partitions=", "log.retention.hours=|log.retention.ms=")
    sh.run(main, "--alter", "--entity-type", "brokers", "--entity-default", "--add-config", "log.retention.ms=86400001")
    has(sh.run(main, "--describe", "--entity-type", "brokers", "--entity-default"), "log.retention.ms=86400001")
    sh.run(main, "--alter", "--entity-type", "brokers", "--entity-default", "--delete-config", "log.retention.ms")
    found = sh.run(main, "--alter", "--entity-type", "topics", "--entity-name", topic, "--add-config", "no.such.key=1", expect=1)
    has(found, "InvalidConfigurationException|Unknown topic config|no.such.key")


def quotas(sh):
    main = "kafka.admin.ConfigCommand"
    sh.run(main, "--alter", "--entity-type", "clients", "--entity-name", "quota-client", "--add-config", "producer_byte_rate=1048576")
    has(sh.run(main, "--describe", "--entity-type", "clients", "--entity-name", "quota-client"), "producer_byte_rate=1048576")
    sh.run(main, "--alter", "--entity-type", "clients", "--entity-name", "quota-client", "--delete-config", "producer_byte_rate")


def transactions(sh):
    topic, ident = sh.topic("txn"), f"interop-t-{uuid.uuid4().hex[:8]}"
    sh.run("ProducerPerformance", "--topic", topic, "--num-records", 2000, "--record-size", 100, "--throughput", -1,
           "--transactional-id", ident, "--transaction-duration-ms", 50)
    has(sh.run("TransactionsCommand", "list"), rf"{ident}\s+\d+\s+\d+\s+(CompleteCommit|Empty)")
    found = sh.run("TransactionsCommand", "describe", "--transactional-id", ident)
    has(found, r"CoordinatorId\s+TransactionalId\s+ProducerId\s+ProducerEpoch\s+TransactionState", rf"{ident}\s+\d+\s+\d+\s+(CompleteCommit|Empty)")
    has(sh.run("TransactionsCommand", "describe-producers", "--topic", topic, "--partition", 0), r"ProducerId\s+ProducerEpoch", r"^\d+\s+\d+\s+")
    sh.run("TransactionsCommand", "find-hanging", "--topic", topic, "--partition", 0)
    found = sh.run("consumer.ConsoleConsumer", "--topic", topic, "--from-beginning", "--max-messages", 2000, "--isolation-level", "read_committed",
                   "--timeout-ms", 20000)
    has(found, "Processed a total of 2000 messages")


def log_dirs(sh):
    topic = sh.topic("dirs", 2)
    sh.produce(topic, ["a", "b"])
    found = sh.run("LogDirsCommand", "--describe", "--topic-list", topic)
    text = next(line for line in found.splitlines() if line.startswith("{"))
    partitions = [p for b in json.loads(text)["brokers"] for d in b["logDirs"] for p in d["partitions"]]
    if sorted(p["partition"] for p in partitions) != [f"{topic}-0", f"{topic}-1"] or not any(p["size"] for p in partitions):
        raise Failed(text)


def offsets(sh):
    topic = sh.topic("offsets", 2)
    sh.produce(topic, [f"v{n}" for n in range(10)])
    found = sh.run("GetOffsetShell", "--topic", topic)
    if sum(int(n) for n in re.findall(rf"^{topic}:\d:(\d+)$", found, re.MULTILINE)) != 10:
        raise Failed(found)
    has(sh.run("GetOffsetShell", "--topic", topic, "--time", "earliest"), rf"^{topic}:0:0$", rf"^{topic}:1:0$")
    sh.run("GetOffsetShell", "--topic", topic, "--time", "max-timestamp")
    sh.run("GetOffsetShell", "--topic", topic, "--time", "1600000000000")


def delete_records(sh):
    topic = sh.topic("delete")
    sh.produce(topic, [f"v{n}" for n in range(10)])
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump({"version": 1, "partitions": [{"topic": topic, "partition": 0, "offset": 4}]}, file)
        file.flush()
        has(sh.run("DeleteRecordsCommand", "--offset-json-file", file.name), r"low_watermark: 4")
    has(sh.run("GetOffsetShell", "--topic", topic, "--time", "earliest"), rf"^{topic}:0:4$")


def performance(sh):
    topic = sh.topic("perf", 4)
    found = sh.run("ProducerPerformance", "--topic", topic, "--num-records", 50000, "--record-size", 200, "--throughput", -1,
                   "--command-property", "acks=all", "compression.type=lz4")
    has(found, "50000 records sent")
    found = sh.run("ConsumerPerformance", "--topic", topic, "--num-records", 50000, "--timeout", 20000)
    has(found, r"^\d{4}-\d\d-\d\d .*, 50\d{3},")


def end_to_end(sh):
    topic = sh.topic("latency")
    found = sh.run("EndToEndLatency", sh.bootstrap, topic, 500, "all", 100, bootstrap=False)
    has(found, "Avg latency", "99")


def api_versions(sh):
    found = sh.run("BrokerApiVersionsCommand")
    has(found, r"Produce\(0\): 0 to 13 \[usable: 13\]", r"ConsumerGroupHeartbeat\(68\): 0 to 1", r"Fetch\(1\): 4 to \d+")


def features(sh):
    found = sh.run("FeatureCommand", "describe")
    has(found, r"Feature: transaction.version\s.*FinalizedVersionLevel: 2", r"Feature: group.version\s.*FinalizedVersionLevel: 1",
        r"Feature: metadata.version\s.*FinalizedVersionLevel: \S+")


def quorum(sh):
    has(sh.run("MetadataQuorumCommand", "describe", "--status"), r"ClusterId:\s+\S+", r"LeaderId:\s+\d+", r"HighWatermark:\s+\d+")
    has(sh.run("MetadataQuorumCommand", "describe", "--replication"), r"NodeId\s+DirectoryId\s+LogEndOffset", r"Leader")


def elections(sh):
    topic = sh.topic("elect")
    sh.run("LeaderElectionCommand", "--election-type", "preferred", "--topic", topic, "--partition", 0)
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump({"topics": [{"topic": topic}], "version": 1}, file)
        file.flush()
        node = re.search(r"Leader: (\d+)", sh.run("TopicCommand", "--describe", "--topic", topic)).group(1)
        found = sh.run("reassign.ReassignPartitionsCommand", "--generate", "--topics-to-move-json-file", file.name, "--broker-list", node)
        has(found, "Proposed partition reassignment")
    sh.run("reassign.ReassignPartitionsCommand", "--list")


def dump_segments(sh):
    if not sh.broker:
        return "the broker's data folder is not known"
    topic = sh.topic("dump")
    sh.run("ConsoleProducer", "--topic", topic, "--compression-codec", "zstd", text="".join(f"line {n}\n" for n in range(100)))
    ident = f"interop-t-{uuid.uuid4().hex[:8]}"
    sh.run("ProducerPerformance", "--topic", topic, "--num-records", 100, "--record-size", 100, "--throughput", -1, "--transactional-id", ident)
    segments = sh.broker.segments(topic)
    if not segments:
        raise Failed(f"{topic} has no segments in {sh.broker.data}")
    files = ",".join(str(s) for s in segments)
    found = sh.run("DumpLogSegments", "--files", files, "--print-data-log", "--deep-iteration", bootstrap=False)
    has(found, "payload: line 99", "compresscodec: zstd", "endTxnMarker: COMMIT")
    has_not(found, "isvalid: false|Mismatch|mismatch")
    # The index of a segment that is still written to has no proper end, Apache Kafka's neither.
    for suffix in (".index", ".timeindex", ".snapshot"):
        names = [str(s.with_suffix(suffix)) for s in segments if s.with_suffix(suffix).exists()]
        if names:
            sh.run("DumpLogSegments", "--files", ",".join(names), "--verify-index-only", bootstrap=False)
    offsets = next((s for p in range(50) for s in sh.broker.data.glob(f"__consumer_offsets-{p}/*.log") if s.stat().st_size), None)
    if offsets:
        sh.run("DumpLogSegments", "--files", offsets, "--offsets-decoder", bootstrap=False)
    state = next((s for p in range(50) for s in sh.broker.data.glob(f"__transaction_state-{p}/*.log") if s.stat().st_size), None)
    if state:
        has(sh.run("DumpLogSegments", "--files", state, "--transaction-log-decoder", bootstrap=False), "transactionalId|transactional_id")


TOOLS = [
    ("TopicCommand", topics),
    ("ConsoleProducer, ConsoleConsumer", console),
    ("ConsumerGroupCommand", groups),
    ("ConsumerGroupCommand on a live group", live_group),
    ("ConfigCommand", configs),
    ("ConfigCommand: quotas", quotas),
    ("TransactionsCommand", transactions),
    ("LogDirsCommand", log_dirs),
    ("GetOffsetShell", offsets),
    ("DeleteRecordsCommand", delete_records),
    ("ProducerPerformance, ConsumerPerformance", performance),
    ("EndToEndLatency", end_to_end),
    ("BrokerApiVersionsCommand", api_versions),
    ("FeatureCommand", features),
    ("MetadataQuorumCommand", quorum),
    ("LeaderElectionCommand, ReassignPartitionsCommand", elections),
    ("DumpLogSegments", dump_segments),
]


def run(classpath, bootstrap, check, logs, broker, report):
    results = []
    with open(Path(logs) / "tools.log", "w") as log:
        sh = Shell(classpath, bootstrap, log, broker)
        for title, function in TOOLS:
            if check not in title:
                continue
            result = {"check": f"tool {title}"}
            began = time.monotonic()
            try:
                skipped = function(sh)
                result.update(result="skip" if skipped else "ok", detail=skipped or "")
            except Exception as error:
                result.update(result="FAIL", detail=f"{error}" if isinstance(error, Failed) else f"{type(error).__name__}: {error}")
                log.write(f"FAIL {title}: {error}\n")
            result["seconds"] = round(time.monotonic() - began, 1)
            report(result)
            results.append(result)
    return results
