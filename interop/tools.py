"""Apache Kafka's own command-line tools, as an operator runs them: topics, records, transactions, speed, files.

Groups are in `tools_groups.py`, configuration and the cluster in `tools_admin.py`.
"""

import json
import re
import tempfile
import time
import uuid
from pathlib import Path

import tools_admin
import tools_groups
import wire
from toolkit import Failed, Shell, TemporaryFile, equal, has, has_not
from tools_groups import until


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


def transactions(sh):
    topic, ident = sh.topic("txn"), sh.name("t")
    sh.run("ProducerPerformance", "--topic", topic, "--num-records", 2000, "--record-size", 100, "--throughput", -1,
           "--transactional-id", ident, "--transaction-duration-ms", 50)
    main = "TransactionsCommand"
    has(sh.run(main, "list"), rf"{ident}\s+\d+\s+\d+\s+(CompleteCommit|Empty)")
    has(sh.run(main, "list", "--duration-filter", 1), "TransactionalId")
    has(sh.run(main, "list", "--transactional-id-pattern", f"{ident}.*"), ident)
    has_not(sh.run(main, "list", "--transactional-id-pattern", "no-such-.*"), ident)
    found = sh.run(main, "describe", "--transactional-id", ident)
    has(found, r"CoordinatorId\s+TransactionalId\s+ProducerId\s+ProducerEpoch\s+TransactionState", rf"{ident}\s+\d+\s+\d+\s+(CompleteCommit|Empty)")
    has(sh.run(main, "describe", "--transactional-id", "interop-nobody", expect=1), "TransactionalIdNotFound|not found|could not be found")
    has(sh.run(main, "describe-producers", "--topic", topic, "--partition", 0), r"ProducerId\s+ProducerEpoch", r"^\d+\s+\d+\s+")
    found = sh.run("consumer.ConsoleConsumer", "--topic", topic, "--from-beginning", "--max-messages", 2000, "--isolation-level", "read_committed",
                   "--timeout-ms", 20000)
    has(found, "Processed a total of 2000 messages")


def hanging(sh):
    """A transaction that its coordinator knows nothing of: found, and aborted by hand. Brokers verify what is written
    in a transaction, so one can only come about with that verification off."""
    topic, ident = sh.topic("hang"), sh.name("t")
    main, every = "TransactionsCommand", ["--entity-type", "brokers", "--entity-default"]
    verify = "transaction.partition.verification.enable"
    sh.run("ProducerPerformance", "--topic", topic, "--num-records", 10, "--record-size", 100, "--throughput", -1,
           "--transactional-id", ident, "--transaction-duration-ms", 1000)
    described = until(lambda: sh.run(main, "describe", "--transactional-id", ident), "CompleteCommit")
    producer, epoch = map(int, re.search(rf"{ident}\s+(\d+)\s+(\d+)", described).groups())
    start = int(re.search(rf"^{topic}:0:(\d+)$", sh.run("GetOffsetShell", "--topic", topic), re.MULTILINE).group(1))
    sh.run(tools_admin.CONFIGS, "--alter", *every, "--add-config", f"{verify}=false")
    try:
        hour_ago = int(time.time() * 1000) - 3_600_000
        batch = wire.batch(b"lost", hour_ago, producer, epoch + 1, 0)
        code = until_taken(sh, topic, ident, batch)
        equal(code, 0, "error code of the late batch")
    finally:
        sh.run(tools_admin.CONFIGS, "--alter", *every, "--delete-config", verify)
    sh.produce(topic, ["after"])
    committed = ["consumer.ConsoleConsumer", "--topic", topic, "--from-beginning", "--isolation-level", "read_committed"]
    has_not(sh.run(*committed, "--timeout-ms", 1500, expect=None), "after")
    search = [main, "find-hanging", "--topic", topic, "--partition", 0, "--max-transaction-timeout", 10]
    has(sh.run(*search), rf"^{topic}\s+0\s+{producer}\s+{epoch + 1}\s+-?\d+\s+{start}\s")
    has(sh.run(main, "find-hanging", "--broker-id", sh.node(), "--max-transaction-timeout", 10), rf"^{topic}\s+0\s+{producer}\s")
    sh.run(main, "abort", "--topic", topic, "--partition", 0, "--start-offset", start)
    has_not(sh.run(*search), rf"^{topic}\s+0\s")
    found = sh.run(*committed, "--max-messages", 11, "--timeout-ms", 20000)
    has(found, "^after$")
    has_not(found, "lost")
    # And one that its coordinator does know, ended by its name.
    code = wire.begin(sh.bootstrap, topic, sh.name("open"))
    has(sh.run(main, "list"), rf"{code}\s+\d+\s+\d+\s+Ongoing")
    sh.run(main, "forceTerminateTransaction", "--transactionalId", code)
    until(lambda: sh.run(main, "describe", "--transactional-id", code), "CompleteAbort|Empty")


def until_taken(sh, topic, ident, batch):
    """The change of the setting takes a moment in Kafka."""
    end = time.monotonic() + 10
    while True:
        code = wire.produce(sh.bootstrap, topic, ident, batch)
        if code == 0 or time.monotonic() > end:
            return code
        time.sleep(0.05)


def offsets(sh):
    topic = sh.topic("offsets", 2)
    sh.produce(topic, [f"v{n}" for n in range(10)])
    main = "GetOffsetShell"
    found = sh.run(main, "--topic", topic)
    equal(sum(int(n) for n in re.findall(rf"^{topic}:\d:(\d+)$", found, re.MULTILINE)), 10, "records")
    for time_ in ("earliest", -2, "earliest-local"):
        has(sh.run(main, "--topic", topic, "--time", time_), rf"^{topic}:0:0$", rf"^{topic}:1:0$")
    equal(sh.run(main, "--topic", topic, "--time", "latest"), found, "latest")
    has(sh.run(main, "--topic", topic, "--time", "max-timestamp"), rf"^{topic}:[01]:\d+$")
    has(sh.run(main, "--topic", topic, "--time", 1600000000000), rf"^{topic}:[01]:0$")
    has_not(sh.run(main, "--topic", topic, "--time", 4600000000000), rf"^{topic}:[01]:\d")
    has_not(sh.run(main, "--topic", topic, "--partitions", 1), rf"^{topic}:0:")
    has(sh.run(main, "--topic-partitions", f"{topic}:1-"), rf"^{topic}:1:")
    has_not(sh.run(main, "--exclude-internal-topics"), "__consumer_offsets")
    has(sh.run(main, "--topic", f"{topic[:-3]}.*"), rf"^{topic}:0:")


def delete_records(sh):
    topic = sh.topic("delete", 2)
    sh.produce(topic, [f"v{n}" for n in range(10)], "--command-property", "partitioner.class=org.apache.kafka.clients.producer.RoundRobinPartitioner",
               "--command-property", "batch.size=1")
    found = sh.run("GetOffsetShell", "--topic", topic)
    place, end = max(((int(p), int(n)) for p, n in re.findall(rf"^{topic}:(\d):(\d+)$", found, re.MULTILINE)), key=lambda x: x[1])

    def delete(offset, expect=0):
        with tempfile.TemporaryDirectory() as folder:
            plan = {"version": 1, "partitions": [{"topic": topic, "partition": place, "offset": offset}]}
            return sh.run("DeleteRecordsCommand", "--offset-json-file", TemporaryFile(folder, "plan.json", plan), expect=expect)
    has(delete(2), r"low_watermark: 2")
    has(sh.run("GetOffsetShell", "--topic", topic, "--time", "earliest"), rf"^{topic}:{place}:2$")
    has(delete(1000, None), "OffsetOutOfRange|out of range|outside")
    has(delete(-1), rf"low_watermark: {end}")
    has(sh.run("GetOffsetShell", "--topic", topic, "--time", "earliest"), rf"^{topic}:{place}:{end}$")


def performance(sh):
    topic = sh.topic("perf", 4)
    main = "ProducerPerformance"
    found = sh.alone(main, "--topic", topic, "--num-records", 50000, "--record-size", 200, "--throughput", -1,
                   "--command-property", "acks=all", "compression.type=lz4")
    has(found, "50000 records sent")
    found = sh.alone("ConsumerPerformance", "--topic", topic, "--num-records", 50000, "--timeout", 20000)
    has(found, r"^\d{4}-\d\d-\d\d .*, 50\d{3},")
    group = sh.name("g")
    found = sh.alone("ConsumerPerformance", "--topic", topic, "--num-records", 50000, "--group", group, "--timeout", 20000,
                   "--show-detailed-stats", "--reporting-interval", 100, "--print-metrics")
    has(found, "consumer-fetch-manager-metrics")
    with tempfile.TemporaryDirectory() as folder:
        payloads = TemporaryFile(folder, "payloads", "".join(f"payload {n}\n" for n in range(20)))
        found = sh.alone(main, "--topic", topic, "--num-records", 500, "--payload-file", payloads, "--throughput", -1,
                       "--transactional-id", sh.name("t"), "--transaction-duration-ms", 20, "--print-metrics")
        has(found, "500 records sent", "producer-metrics")
    other = sh.topic("paced")
    has(sh.alone(main, "--topic", other, "--num-records", 300, "--payload-monotonic", "--throughput", 1000, "--command-property", "acks=1"),
        "300 records sent")


def end_to_end(sh):
    topic = sh.topic("latency")
    found = sh.run("EndToEndLatency", sh.bootstrap, topic, 500, "all", 100, bootstrap=False)
    has(found, "Avg latency", "99")
    found = sh.run("EndToEndLatency", sh.bootstrap, topic, 100, "1", 1000, bootstrap=False)
    has(found, "Avg latency")


def verifiable(sh):
    topic = sh.topic("verifiable", 2)
    found = sh.alone("VerifiableProducer", "--topic", topic, "--max-messages", 500, "--throughput", -1, "--acks", -1,
                   "--repeating-keys", 7, "--value-prefix", 3)
    lines = [json.loads(line) for line in found.splitlines() if line.startswith("{")]
    equal(sum(line["name"] == "producer_send_success" for line in lines), 500, "messages sent")
    equal([line["acked"] for line in lines if line["name"] == "tool_data"], [500], "acknowledged")
    for protocol in ("classic", "consumer"):
        found = sh.alone("VerifiableConsumer", "--topic", topic, "--group-id", sh.name("g"), "--max-messages", 500,
                       "--group-protocol", protocol)
        lines = [json.loads(line) for line in found.splitlines() if line.startswith("{")]
        equal(sum(line["count"] for line in lines if line["name"] == "records_consumed"), 500, "messages read")
        commits = [line for line in lines if line["name"] == "offsets_committed"]
        if not commits or not all(line["success"] for line in commits):
            raise Failed(f"commits: {commits}")


def dump_segments(sh):
    if not sh.broker:
        return "the broker's data folder is not known"
    topic = sh.topic("dump")
    sh.run("ConsoleProducer", "--topic", topic, "--compression-codec", "zstd", text="".join(f"line {n}\n" for n in range(100)))
    ident = f"interop-t-{uuid.uuid4().hex[:8]}"
    sh.run("ProducerPerformance", "--topic", topic, "--num-records", 100, "--record-size", 100, "--throughput", -1, "--transactional-id", ident)
    segments = sh.broker.segments(topic)
    if not segments:
        raise Failed(f"{topic} has no segments in {sh.broker.dirs}")
    files = ",".join(str(s) for s in segments)
    found = sh.run("DumpLogSegments", "--files", files, "--print-data-log", "--deep-iteration", bootstrap=False)
    has(found, "payload: line 99", "compresscodec: zstd", "endTxnMarker: COMMIT")
    has_not(found, "isvalid: false|Mismatch|mismatch")
    # The index of a segment that is still written to has no proper end, Apache Kafka's neither.
    for suffix in (".index", ".timeindex", ".snapshot"):
        names = [str(s.with_suffix(suffix)) for s in segments if s.with_suffix(suffix).exists()]
        if names:
            sh.run("DumpLogSegments", "--files", ",".join(names), "--verify-index-only", bootstrap=False)
    offsets = next((s for p in range(50) for s in sh.broker.glob(f"__consumer_offsets-{p}/*.log") if s.stat().st_size), None)
    if offsets:
        sh.run("DumpLogSegments", "--files", offsets, "--offsets-decoder", bootstrap=False)
    state = next((s for p in range(50) for s in sh.broker.glob(f"__transaction_state-{p}/*.log") if s.stat().st_size), None)
    if state:
        has(sh.run("DumpLogSegments", "--files", state, "--transaction-log-decoder", bootstrap=False), "transactionalId|transactional_id")


CHECKS = [
    ("TopicCommand", topics),
    ("ConsoleProducer, ConsoleConsumer", console),
    *tools_groups.CHECKS,
    *tools_admin.CHECKS,
    ("TransactionsCommand", transactions),
    ("TransactionsCommand: hanging transactions", hanging),
    ("GetOffsetShell", offsets),
    ("DeleteRecordsCommand", delete_records),
    ("ProducerPerformance, ConsumerPerformance", performance),
    ("EndToEndLatency", end_to_end),
    ("VerifiableProducer, VerifiableConsumer", verifiable),
    ("DumpLogSegments", dump_segments),
]


def run(classpath, classes, bootstrap, check, logs, broker, report):
    results = []
    with open(Path(logs) / "tools.log", "w") as log:
        sh = Shell(classpath, classes, bootstrap, log, broker)
        for title, function in CHECKS:
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
        sh.close()
    return results
