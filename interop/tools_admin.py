"""kafka-configs, kafka-log-dirs, kafka-reassign-partitions, kafka-leader-election, and what tells of the cluster."""

import json
import re
import tempfile
import time

import brokers
from toolkit import Failed, TemporaryFile, equal, has, has_not

CONFIGS = "kafka.admin.ConfigCommand"


def altered(sh, entity, change):
    return sh.run(CONFIGS, "--alter", *entity, *change)


def topic_configs(sh):
    topic = sh.topic("configs")
    entity = ["--entity-type", "topics", "--entity-name", topic]
    altered(sh, entity, ["--add-config", "retention.ms=1000,cleanup.policy=[compact,delete]"])
    found = sh.run(CONFIGS, "--describe", *entity)
    has(found, "retention.ms=1000 .*DYNAMIC_TOPIC_CONFIG:retention.ms=1000", "cleanup.policy=compact,delete")
    altered(sh, entity, ["--delete-config", "retention.ms"])
    has_not(sh.run(CONFIGS, "--describe", *entity), "retention.ms=")
    has(sh.run(CONFIGS, "--describe", *entity, "--all"), "max.message.bytes=", "segment.bytes=", "min.insync.replicas=")
    has(sh.run(CONFIGS, "--describe", "--topic", topic), "cleanup.policy=compact,delete")
    with tempfile.TemporaryDirectory() as folder:
        file = TemporaryFile(folder, "add.properties", "retention.ms=77000\nmax.message.bytes=3000\n")
        altered(sh, entity, ["--add-config-file", file])
    has(sh.run(CONFIGS, "--describe", *entity), "retention.ms=77000", "max.message.bytes=3000")
    has(sh.run(CONFIGS, "--describe", "--entity-type", "topics"), topic)
    found = sh.run(CONFIGS, "--alter", *entity, "--add-config", "no.such.key=1", expect=1)
    has(found, "InvalidConfigurationException|Unknown topic config|no.such.key")
    found = sh.run(CONFIGS, "--alter", *entity, "--add-config", "retention.ms=soon", expect=1)
    has(found, "InvalidConfigurationException|soon")


def broker_configs(sh):
    node = sh.node()
    one = ["--entity-type", "brokers", "--entity-name", node]
    every = ["--entity-type", "brokers", "--entity-default"]
    has(sh.run(CONFIGS, "--describe", *one, "--all"), "num.partitions=", "log.retention.hours=|log.retention.ms=")
    altered(sh, every, ["--add-config", "log.retention.ms=86400001"])
    has(sh.run(CONFIGS, "--describe", *every), "log.retention.ms=86400001")
    altered(sh, one, ["--add-config", "log.retention.ms=86400002"])
    has(sh.run(CONFIGS, "--describe", *one), "log.retention.ms=86400002 .*DYNAMIC_BROKER_CONFIG")
    altered(sh, one, ["--delete-config", "log.retention.ms"])
    altered(sh, every, ["--delete-config", "log.retention.ms"])
    has_not(sh.run(CONFIGS, "--describe", *every), "log.retention.ms=")
    has(sh.run(CONFIGS, "--alter", *one, "--add-config", "node.id=9", expect=1), "node.id|Cannot update")
    loggers = ["--entity-type", "broker-loggers", "--entity-name", node]
    found = sh.run(CONFIGS, "--describe", *loggers)
    logger = re.search(r"^\s*(?!root=)(\S+)=(?:INFO|WARN|DEBUG|ERROR)\b", found, re.MULTILINE)
    if not logger:
        raise Failed(f"no loggers: {found[:300]}")
    altered(sh, loggers, ["--add-config", f"{logger.group(1)}=DEBUG"])
    has(sh.run(CONFIGS, "--describe", *loggers), f"{re.escape(logger.group(1))}=DEBUG")
    altered(sh, loggers, ["--delete-config", logger.group(1)])


def group_configs(sh):
    entity = ["--entity-type", "groups", "--entity-name", sh.name("g")]
    altered(sh, entity, ["--add-config", "consumer.session.timeout.ms=50000,consumer.heartbeat.interval.ms=6000"])
    has(sh.run(CONFIGS, "--describe", *entity), "consumer.session.timeout.ms=50000", "consumer.heartbeat.interval.ms=6000")
    altered(sh, entity, ["--delete-config", "consumer.session.timeout.ms,consumer.heartbeat.interval.ms"])
    has_not(sh.run(CONFIGS, "--describe", *entity), "consumer.session.timeout.ms=50000")
    has(sh.run(CONFIGS, "--alter", *entity, "--add-config", "consumer.session.timeout.ms=1", expect=1), "InvalidConfig|session.timeout")


def quotas(sh):
    user, client = sh.name("user"), sh.name("client")
    rate = "producer_byte_rate=1048576"
    for entity in (["--entity-type", "clients", "--entity-name", client],
                   ["--entity-type", "clients", "--entity-default"],
                   ["--entity-type", "users", "--entity-name", user],
                   ["--entity-type", "users", "--entity-default"],
                   ["--entity-type", "users", "--entity-name", user, "--entity-type", "clients", "--entity-name", client],
                   ["--entity-type", "users", "--entity-name", user, "--entity-type", "clients", "--entity-default"]):
        altered(sh, entity, ["--add-config", f"{rate},consumer_byte_rate=2097152,request_percentage=200"])
        has(sh.run(CONFIGS, "--describe", *entity), "producer_byte_rate=1048576", "consumer_byte_rate=2097152", "request_percentage=200")
        altered(sh, entity, ["--delete-config", "producer_byte_rate,consumer_byte_rate,request_percentage"])
        has_not(sh.run(CONFIGS, "--describe", *entity), "producer_byte_rate")
    address = ["--entity-type", "ips", "--entity-name", "10.1.2.3"]
    altered(sh, address, ["--add-config", "connection_creation_rate=100"])
    has(sh.run(CONFIGS, "--describe", *address), "connection_creation_rate=100")
    altered(sh, address, ["--delete-config", "connection_creation_rate"])
    has(sh.run(CONFIGS, "--alter", "--entity-type", "clients", "--entity-name", client, "--add-config", "no_such_rate=1", expect=1),
        "no_such_rate|Unknown")


def described_dirs(sh, topic):
    """Log directory -> partition -> what is said of it."""
    found = sh.run("LogDirsCommand", "--describe", "--topic-list", topic)
    text = next(line for line in found.splitlines() if line.startswith("{"))
    dirs = [d for broker in json.loads(text)["brokers"] for d in broker["logDirs"]]
    return {d["logDir"]: {p["partition"]: p for p in d["partitions"]} for d in dirs}


def log_dirs(sh):
    topic = sh.topic("dirs", 2)
    sh.produce(topic, ["a", "b"])
    dirs = described_dirs(sh, topic)
    partitions = {name: p for found in dirs.values() for name, p in found.items()}
    equal(sorted(partitions), [f"{topic}-0", f"{topic}-1"], "partitions")
    if not any(p["size"] for p in partitions.values()):
        raise Failed(f"nothing has a size: {partitions}")
    node = sh.node()
    has(sh.run("LogDirsCommand", "--describe", "--broker-list", node), topic)
    has(sh.run("LogDirsCommand", "--describe", "--broker-list", 77, expect=None), "do(es)? not exist|77")


def move_between_dirs(sh):
    if not sh.broker:
        return "the broker's log directories are not known"
    topic = sh.topic("move", 1)
    sh.produce(topic, [f"v{n}" for n in range(50)])
    name = f"{topic}-0"
    dirs = described_dirs(sh, topic)
    if len(dirs) < 2:
        raise Failed(f"the broker has not several log directories: {list(dirs)}")
    here = next(d for d, found in dirs.items() if name in found)
    there = next(d for d in dirs if d != here)
    plan = {"version": 1, "partitions": [{"topic": topic, "partition": 0, "replicas": [int(sh.node())], "log_dirs": [there]}]}
    main = "reassign.ReassignPartitionsCommand"
    with tempfile.TemporaryDirectory() as folder:
        file = TemporaryFile(folder, "move.json", plan)
        has(sh.run(main, "--execute", "--reassignment-json-file", file), "Successfully started")
        end = time.monotonic() + 40
        while True:
            found = sh.run(main, "--verify", "--reassignment-json-file", file)
            if re.search(r"Reassignment of replica .* completed successfully", found):
                break
            if time.monotonic() > end:
                raise Failed(f"the move does not end: {found[-300:]}")
    if name not in described_dirs(sh, topic)[there]:
        raise Failed("the partition is not where it was moved to")
    sh.produce(topic, ["after"])
    found = sh.run("consumer.ConsoleConsumer", "--topic", topic, "--from-beginning", "--max-messages", 51, "--timeout-ms", 20000)
    has(found, "^v0$", "^v49$", "^after$")


def elections(sh):
    topic = sh.topic("elect", 2)
    main, node = "LeaderElectionCommand", sh.node()
    has(sh.run(main, "--election-type", "preferred", "--topic", topic, "--partition", 0), "[Vv]alid replica already elected|not needed|Successfully")
    sh.run(main, "--election-type", "preferred", "--all-topic-partitions")
    sh.run(main, "--election-type", "unclean", "--topic", topic, "--partition", 1)
    has(sh.run(main, "--election-type", "preferred", "--topic", topic, "--partition", 9, expect=1), "could not be elected|does not exist|UnknownTopic")
    with tempfile.TemporaryDirectory() as folder:
        places = TemporaryFile(folder, "places.json", {"partitions": [{"topic": topic, "partition": p} for p in (0, 1)]})
        sh.run(main, "--election-type", "preferred", "--path-to-json-file", places)
        main = "reassign.ReassignPartitionsCommand"
        topics = TemporaryFile(folder, "topics.json", {"topics": [{"topic": topic}], "version": 1})
        found = sh.run(main, "--generate", "--topics-to-move-json-file", topics, "--broker-list", node)
        has(found, "Current partition replica assignment", "Proposed partition reassignment")
        plan = TemporaryFile(folder, "plan.json", found.splitlines()[-1])
        has(sh.run(main, "--execute", "--reassignment-json-file", plan), "Successfully started")
        has(sh.run(main, "--verify", "--reassignment-json-file", plan), "is completed")
        nowhere = TemporaryFile(folder, "nowhere.json", {"version": 1, "partitions": [{"topic": topic, "partition": 0, "replicas": [77]}]})
        has(sh.run(main, "--execute", "--reassignment-json-file", nowhere, expect=1), "77|Unknown broker")
        has(sh.run(main, "--cancel", "--reassignment-json-file", plan), "None of the specified partition moves are active|cancelled")
    has(sh.run(main, "--list"), "No partition reassignments found")


def api_versions(sh):
    found = sh.run("BrokerApiVersionsCommand")
    has(found, r"Produce\(0\): 0 to 13 \[usable: 13\]", r"ConsumerGroupHeartbeat\(68\): 0 to 1", r"Fetch\(1\): 4 to \d+")


def features(sh):
    main = "FeatureCommand"
    has(sh.run(main, "describe"), r"Feature: transaction.version\s.*FinalizedVersionLevel: 2",
        r"Feature: group.version\s.*FinalizedVersionLevel: 1", r"Feature: metadata.version\s.*FinalizedVersionLevel: \S+")
    has(sh.run(main, "version-mapping"), "metadata.version=")
    has(sh.run(main, "upgrade", "--feature", "no.such.feature=1", expect=1), "no.such.feature")
    has(sh.run(main, "upgrade", "--feature", "transaction.version=99", expect=1), "transaction.version")
    sh.run(main, "upgrade", "--feature", "transaction.version=2", "--dry-run", expect=None)
    has(sh.run(main, "describe"), r"Feature: transaction.version\s.*FinalizedVersionLevel: 2")


def cluster(sh):
    main = "ClusterTool"
    found = sh.run(main, "cluster-id", "--bootstrap-server", sh.bootstrap, bootstrap=False)
    has(found, r"Cluster ID: \S+")
    found = sh.run(main, "list-endpoints", "--bootstrap-server", sh.bootstrap, bootstrap=False)
    has(found, r"ID\s+HOST\s+PORT", rf"\d+\s+\S+\s+{sh.bootstrap.rpartition(':')[2]}\s")
    found = sh.run(main, "unregister", "--id", 77, "--bootstrap-server", sh.bootstrap, bootstrap=False, expect=None)
    has(found, "77|not.*registered|does not exist|BrokerIdNotRegistered")


def quorum(sh):
    main = "MetadataQuorumCommand"
    has(sh.run(main, "describe", "--status"), r"ClusterId:\s+\S+", r"LeaderId:\s+\d+", r"HighWatermark:\s+\d+", r"CurrentVoters:\s+\[")
    has(sh.run(main, "describe", "--replication"), r"NodeId\s+DirectoryId\s+LogEndOffset", r"Leader")
    has(sh.run(main, "describe", "--replication", "--human-readable"), r"NodeId\s+DirectoryId\s+LogEndOffset", r"ms ago|Leader")


def not_there(sh):
    """What is not served is refused in plain words, and harms nothing."""
    if isinstance(sh.broker, brokers.Kafka):
        return "Apache Kafka has all of it"
    topic = sh.topic("share")
    unsupported = "UnsupportedVersion|not support|does not support|SecurityDisabled|NoAuthorizer|No Authorizer|not enabled|disabled"
    found = sh.run("consumer.ConsoleShareConsumer", "--topic", topic, "--timeout-ms", 3000, expect=None)
    has(found, unsupported)
    has(sh.run("consumer.group.ShareGroupCommand", "--describe", "--group", "nobody", expect=None), unsupported)
    has(sh.run("streams.StreamsGroupCommand", "--describe", "--group", "nobody", expect=None), unsupported)
    has(sh.run("AclCommand", "--list", expect=None), unsupported)
    has(sh.run("DelegationTokenCommand", "--describe", "--command-config", "/dev/null", expect=None), unsupported)
    found = sh.run("ClientMetricsCommand", "--alter", "--name", "m", "--metrics", "org.apache.", "--interval", 1000, expect=None)
    has(found, f"{unsupported}|Invalid|client.metrics")
    sh.produce(topic, ["x"])
    has(sh.run("GetOffsetShell", "--topic", topic), rf"^{topic}:0:1$")


CHECKS = [
    ("ConfigCommand: topics", topic_configs),
    ("ConfigCommand: brokers, broker-loggers", broker_configs),
    ("ConfigCommand: groups", group_configs),
    ("ConfigCommand: quotas of users, clients, ips", quotas),
    ("LogDirsCommand", log_dirs),
    ("ReassignPartitionsCommand between log directories", move_between_dirs),
    ("LeaderElectionCommand, ReassignPartitionsCommand", elections),
    ("BrokerApiVersionsCommand", api_versions),
    ("FeatureCommand", features),
    ("ClusterTool", cluster),
    ("MetadataQuorumCommand", quorum),
    ("what is not there", not_there),
]
