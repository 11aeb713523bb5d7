"""kafka-consumer-groups and kafka-groups, every verb."""

import re
import tempfile
import time

from toolkit import Failed, TemporaryFile, equal, has, has_not

MAIN = "consumer.group.ConsumerGroupCommand"


def filled(sh, partitions=2, records=30):
    """A group that has read a topic and is gone."""
    topic, group = sh.topic("groups", partitions), sh.name("g")
    sh.produce(topic, [f"{n}:v{n}" for n in range(records)], "--reader-property", "parse.key=true",
               "--reader-property", "key.separator=:")
    sh.run("consumer.ConsoleConsumer", "--topic", topic, "--group", group, "--from-beginning", "--max-messages", records,
           "--timeout-ms", 20000)
    return topic, group


def offsets(sh, group, topic):
    """Partition -> committed offset, as the tool describes it."""
    found = sh.run(MAIN, "--describe", "--group", group)
    return {int(p): int(o) for p, o in re.findall(rf"{group}\s+{topic}\s+(\d+)\s+(\d+)\s", found)}


def describe(sh):
    topic, group = filled(sh)
    found = sh.run(MAIN, "--describe", "--group", group)
    has(found, r"GROUP\s+TOPIC\s+PARTITION\s+CURRENT-OFFSET\s+LOG-END-OFFSET\s+LAG\s+CONSUMER-ID\s+HOST\s+CLIENT-ID",
        rf"{group}\s+{topic}\s+[01]\s+\d+\s+\d+\s+0\s+-\s+-\s+-")
    has(sh.run(MAIN, "--describe", "--group", group, "--offsets", "--verbose"), rf"{group}\s+{topic}\s+[01]\s")
    has(sh.run(MAIN, "--describe", "--group", group, "--state"), rf"{group}\s.*Empty\s+0")
    has(sh.run(MAIN, "--describe", "--group", group, "--state", "--verbose"), rf"{group}\s.*Empty\s")
    has(sh.run(MAIN, "--describe", "--group", group, "--members"), "has no active members")
    has(sh.run(MAIN, "--describe", "--all-groups", "--state"), rf"{group}\s.*Empty")
    has(sh.run(MAIN, "--describe", "--all-groups"), rf"{group}\s+{topic}\s")
    has(sh.run(MAIN, "--describe", "--group", "interop-no-such-group", expect=None), "GroupIdNotFoundException|does not exist|not found")
    has(sh.run(MAIN, "--list"), rf"^{group}$")
    has(sh.run(MAIN, "--list", "--state"), rf"{group}\s+Empty")
    has(sh.run(MAIN, "--list", "--state", "Empty"), rf"{group}\s+Empty")
    has_not(sh.run(MAIN, "--list", "--state", "Stable"), group)
    has(sh.run(MAIN, "--list", "--type"), rf"{group}\s+Classic")
    has_not(sh.run(MAIN, "--list", "--type", "consumer"), group)
    has(sh.run("GroupsCommand", "--list", "--consumer"), rf"{group}\s+Classic")
    has(sh.run("GroupsCommand", "--list", "--group-type", "classic"), rf"{group}\s+Classic")
    has(sh.run("GroupsCommand", "--list", "--protocol", "consumer"), group)
    has_not(sh.run("GroupsCommand", "--list", "--share"), group)


def reset(sh):
    topic, group = filled(sh, 2, 30)
    ends = offsets(sh, group, topic)
    equal(sum(ends.values()), 30, "committed")
    whole = ["--reset-offsets", "--group", group, "--topic", topic]
    has(sh.run(MAIN, *whole, "--to-earliest"), rf"{group}\s+{topic}\s+0\s+0")
    sh.run(MAIN, *whole, "--to-earliest", "--dry-run")
    equal(offsets(sh, group, topic), ends, "after a dry run")

    def execute(*how):
        sh.run(MAIN, "--reset-offsets", "--group", group, *how, "--execute")
        return offsets(sh, group, topic)
    equal(execute("--topic", topic, "--to-earliest"), {0: 0, 1: 0}, "to-earliest")
    equal(execute("--all-topics", "--shift-by", 3), {0: 3, 1: 3}, "shift-by")
    equal(execute("--all-topics", "--shift-by", -1), {0: 2, 1: 2}, "shift-by back")
    equal(execute("--all-topics", "--shift-by", -100), {0: 0, 1: 0}, "shift-by too far back")
    equal(execute("--topic", f"{topic}:1", "--to-offset", 5), {0: 0, 1: 5}, "to-offset of one partition")
    equal(execute("--topic", f"{topic}:0,1", "--to-offset", 1000), ends, "to-offset too far")
    equal(execute("--topic", topic, "--to-current"), ends, "to-current")
    equal(execute("--all-topics", "--to-datetime", "2020-01-01T00:00:00.000"), {0: 0, 1: 0}, "to-datetime")
    equal(execute("--all-topics", "--to-datetime", "2199-01-01T00:00:00.000"), ends, "to-datetime to come")
    equal(execute("--all-topics", "--by-duration", "PT1H"), {0: 0, 1: 0}, "by-duration")
    equal(execute("--all-topics", "--to-latest"), ends, "to-latest")
    exported = sh.run(MAIN, *whole, "--to-offset", 2, "--dry-run", "--export")
    lines = [line for line in exported.splitlines() if re.match(rf"{topic},\d+,\d+$|\"{topic}\",\d+,\d+$", line)]
    equal(len(lines), 2, "exported lines")
    with tempfile.TemporaryDirectory() as folder:
        plan = TemporaryFile(folder, "plan.csv", "\n".join(lines) + "\n")
        equal(execute("--from-file", plan), {0: 2, 1: 2}, "from-file")
        sh.run(MAIN, "--reset-offsets", "--all-groups", "--topic", topic, "--to-earliest", "--dry-run")
    has(sh.run(MAIN, "--reset-offsets", "--group", sh.name("fresh"), "--topic", topic, "--to-latest", "--dry-run"), rf"{topic}\s+0\s")


def delete(sh):
    topic, group = filled(sh, 2, 10)
    has(sh.run(MAIN, "--delete-offsets", "--group", group, "--topic", f"{topic}:0"), r"Successful|deletion of offsets")
    equal(list(offsets(sh, group, topic)), [1], "partitions left")
    sh.run(MAIN, "--delete-offsets", "--group", group, "--topic", topic, expect=None)
    has(sh.run(MAIN, "--delete", "--group", group, expect=None), "successful|Deletion|not exist|not found|NotFound")
    has_not(sh.run(MAIN, "--list"), group)
    one, other = filled(sh, 1, 2)[1], filled(sh, 1, 2)[1]
    has(sh.run(MAIN, "--delete", "--group", one, "--group", other), "successful")
    has_not(sh.run(MAIN, "--list"), f"{one}|{other}")
    has(sh.run(MAIN, "--delete", "--group", one, expect=None), "not found|NotFound|not exist")


def live(sh):
    """A group with a member, seen from outside; both protocols."""
    for protocol in ("classic", "consumer"):
        topic, group = sh.topic("live", 1), sh.name("g")
        sh.produce(topic, ["a", "b"])
        consumer = sh.start("consumer.ConsoleConsumer", "--topic", topic, "--group", group, "--from-beginning",
                            "--command-property", f"group.protocol={protocol}",
                            "--command-property", "auto.commit.interval.ms=200")
        try:
            until(lambda: sh.run(MAIN, "--describe", "--group", group, "--members", "--verbose", expect=None),
                  rf"{group}\s+\S+\s+/\S+\s+\S+.*{topic}")
            has(sh.run(MAIN, "--describe", "--group", group, "--members"), rf"{group}\s+\S+\s+/\S+\s+\S+\s+1")
            has(sh.run(MAIN, "--describe", "--group", group, "--state"), r"Stable\s+1")
            until(lambda: sh.run(MAIN, "--describe", "--group", group), rf"{group}\s+{topic}\s+0\s+2\s+2\s+0\s+\S+\s+/")
            has(sh.run("GroupsCommand", "--list"), rf"{group}\s+{protocol.capitalize()}")
            has(sh.run(MAIN, "--list", "--state", "stable"), group)
            sh.run(MAIN, "--reset-offsets", "--group", group, "--topic", topic, "--to-earliest", "--execute", expect=None)
            equal(offsets(sh, group, topic), {0: 2}, "offsets of a group that is read by are not reset")
            has(sh.run(MAIN, "--delete", "--group", group, expect=None), "GroupNotEmpty|not empty")
            has(sh.run(MAIN, "--delete-offsets", "--group", group, "--topic", topic, expect=None),
                "GroupSubscribedToTopic|subscribed")
        finally:
            consumer.terminate()
            consumer.wait(20)


def until(ask, pattern, seconds=40):
    end = time.monotonic() + seconds
    while True:
        found = ask()
        if re.search(pattern, found):
            return found
        if time.monotonic() > end:
            raise Failed(f"{pattern!r} did not come: {found.strip()[-400:]}")


CHECKS = [
    ("ConsumerGroupCommand: describe, list; GroupsCommand", describe),
    ("ConsumerGroupCommand: reset offsets", reset),
    ("ConsumerGroupCommand: delete", delete),
    ("ConsumerGroupCommand on a live group", live),
]
