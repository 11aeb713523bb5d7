"""What every client must be able to do, in terms of a small driver that each library implements.

A check is a function of a `Driver`; it raises on a wrong result and calls `skip` where the library lacks
the feature. One JSON line a check goes to standard output, which `interop/run` puts into its table.
"""

import argparse
import json
import os
import sys
import threading
import time
import traceback
import uuid
from dataclasses import dataclass, field

DEADLINE = 90.0
CODECS = ("none", "gzip", "snappy", "lz4", "zstd")


class Skipped(Exception):
    pass


def skip(reason):
    raise Skipped(reason)


@dataclass
class Message:
    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: list = field(default_factory=list)
    timestamp: int = -1


def name(what):
    return f"interop-{what}-{uuid.uuid4().hex[:8]}"


def equal(found, expected, what):
    if found != expected:
        raise AssertionError(f"{what}: found {found!r:.300}, expected {expected!r:.300}")


def until(what, condition, seconds=40.0):
    """Polls until the condition gives something true, and returns it."""
    end = time.monotonic() + seconds
    while True:
        result = condition()
        if result:
            return result
        if time.monotonic() > end:
            raise AssertionError(f"not within {seconds:.0f} s: {what}")
        time.sleep(0.05)


def collect(consumer, count, seconds=40.0):
    """Polls until so many messages have come; more of them is an error."""
    found = []
    end = time.monotonic() + seconds
    while len(found) < count:
        if time.monotonic() > end:
            raise AssertionError(f"{len(found)} of {count} messages came within {seconds:.0f} s")
        found += consumer.poll(0.2)
    equal(len(found), count, "messages")
    return found


def nothing_more(consumer, seconds=0.6):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        equal([m.value for m in consumer.poll(0.1)], [], "messages that should not be there")


def fill(driver, topic, count, partitions=1, **options):
    producer = driver.producer(**options)
    for n in range(count):
        producer.send(topic, b"v%d" % n, key=b"k%d" % n, partition=n % partitions)
    acks = producer.flush()
    producer.close()
    return acks


def read_all(driver, topic, partition, count, **options):
    consumer = driver.consumer(None, **options)
    consumer.assign([(topic, partition, 0)])
    try:
        found = collect(consumer, count)
        nothing_more(consumer)
        return found
    finally:
        consumer.close()


def produce_consume(d):
    topic = name("plain")
    d.create_topic(topic, 3)
    acks = fill(d, topic, 300, 3)
    equal(sorted(acks), sorted((p, o) for p in range(3) for o in range(100)), "acknowledged")
    for p in range(3):
        found = read_all(d, topic, p, 100)
        equal([m.offset for m in found], list(range(100)), "offsets")
        equal([m.value for m in found], [b"v%d" % n for n in range(p, 300, 3)], "values")
        equal(found[0].key, b"k%d" % p, "key")


def acks_levels(d):
    topic = name("acks")
    d.create_topic(topic, 1)
    for acks in (0, 1, "all"):
        fill(d, topic, 10, acks=acks)
    equal(len(read_all(d, topic, 0, 30)), 30, "messages")


def nulls_and_empties(d):
    topic = name("nulls")
    d.create_topic(topic, 1)
    producer = d.producer()
    producer.send(topic, None, key=b"tombstone", partition=0)
    producer.send(topic, b"", key=b"", partition=0)
    producer.flush()
    producer.close()
    found = read_all(d, topic, 0, 2)
    equal([(m.key, m.value) for m in found], [(b"tombstone", None), (b"", b"")], "null and empty")


def codecs(d):
    for codec in CODECS:
        topic = name(codec)
        d.create_topic(topic, 1)
        producer = d.producer(compression=codec)
        values = [bytes([65 + n % 26]) * (n * 7 % 900) + b"%d" % n for n in range(400)]
        for value in values:
            producer.send(topic, value, partition=0)
        producer.flush()
        producer.close()
        equal([m.value for m in read_all(d, topic, 0, 400)], values, codec)


def recompress(d):
    """The topic's own codec wins over the producer's."""
    for codec in ("gzip", "zstd", "uncompressed"):
        topic = name("re" + codec)
        d.create_topic(topic, 1, {"compression.type": codec})
        fill(d, topic, 100, compression="lz4")
        found = read_all(d, topic, 0, 100)
        equal([m.value for m in found], [b"v%d" % n for n in range(100)], codec)


def headers(d):
    topic = name("headers")
    d.create_topic(topic, 1)
    sent = [("a", b"1"), ("b", b""), ("a", b"2"), ("ключ", "значение".encode()), ("bin", bytes(range(256)))]
    producer = d.producer()
    producer.send(topic, b"x", partition=0, headers=sent)
    producer.send(topic, b"y", partition=0)
    producer.flush()
    producer.close()
    found = read_all(d, topic, 0, 2)
    equal(found[0].headers, sent, "headers")
    equal(found[1].headers, [], "no headers")


def timestamps(d):
    topic = name("times")
    d.create_topic(topic, 1)
    base = 1_600_000_000_000
    producer = d.producer()
    for n in range(50):
        producer.send(topic, b"%d" % n, partition=0, timestamp=base + n * 1000)
    producer.flush()
    equal([m.timestamp for m in read_all(d, topic, 0, 50)], [base + n * 1000 for n in range(50)], "times")
    consumer = d.consumer(None)
    for asked, expected in ((base - 5, 0), (base, 0), (base + 1, 1), (base + 30_500, 31), (base + 49_000, 49), (base + 49_001, None)):
        equal(consumer.offset_for_time(topic, 0, asked), expected, f"offset for {asked - base}")
    equal(consumer.watermarks(topic, 0), (0, 50), "begin and end")
    consumer.close()
    appended = name("appendtime")
    d.create_topic(appended, 1, {"message.timestamp.type": "LogAppendTime"})
    before = int(time.time() * 1000)
    producer.send(appended, b"x", partition=0, timestamp=base)
    producer.flush()
    producer.close()
    stamp = read_all(d, appended, 0, 1)[0].timestamp
    assert before - 2000 <= stamp <= before + 60_000, f"LogAppendTime gave {stamp}, it was {before}"


def group_commit(d):
    topic, group = name("commit"), name("g")
    d.create_topic(topic, 2)
    fill(d, topic, 40, 2)
    consumer = d.consumer(group, [topic])
    found = collect(consumer, 40)
    equal(len({(m.partition, m.offset) for m in found}), 40, "distinct messages")
    consumer.commit([(topic, 0, 7, "a note"), (topic, 1, 20, "")])
    equal(consumer.committed(topic, 0), 7, "committed")
    consumer.close()
    again = d.consumer(group, [topic])
    found = collect(again, 13)
    equal(sorted((m.partition, m.offset) for m in found), [(0, n) for n in range(7, 20)], "after the restart")
    again.close()


def rebalance(d, **options):
    topic, group = name("rebalance"), name("g")
    d.create_topic(topic, 4)
    first = d.consumer(group, [topic], **options)
    until("the first has all", lambda: first.poll(0.1) is not None and len(first.assignment()) == 4)
    second = d.consumer(group, [topic], **options)

    def shared():
        first.poll(0.1)
        second.poll(0.1)
        return len(first.assignment()) == 2 and len(second.assignment()) == 2
    until("both have two", shared)
    equal(set(first.assignment()) & set(second.assignment()), set(), "partitions that both have")
    fill(d, topic, 40, 4)
    got = []

    def all_came():
        got.extend(first.poll(0.1) + second.poll(0.1))
        return len(got) >= 40
    until("all messages came", all_came)
    equal(len({(m.partition, m.offset) for m in got}), 40, "distinct messages")
    first.close()
    until("the second has all", lambda: second.poll(0.1) is not None and len(second.assignment()) == 4)
    second.close()


def cooperative(d):
    rebalance(d, assignor="cooperative-sticky")


def static_member(d):
    topic, group = name("static"), name("g")
    d.create_topic(topic, 2)
    first = d.consumer(group, [topic], instance="one")
    until("it has all", lambda: first.poll(0.1) is not None and len(first.assignment()) == 2)
    first.close()
    again = d.consumer(group, [topic], instance="one")
    until("it has all again", lambda: again.poll(0.1) is not None and len(again.assignment()) == 2)
    again.close()


def consumer_protocol(d):
    rebalance(d, protocol="consumer")


def pattern(d):
    """A subscription by pattern takes a topic that is made later, too."""
    prefix, group = name("pattern"), name("g")
    d.create_topic(f"{prefix}-a", 1)
    d.create_topic(name("other"), 1)
    consumer = d.consumer(group, pattern=f"^{prefix}-.*")
    until("the first topic", lambda: consumer.poll(0.1) is not None and consumer.assignment() == [(f"{prefix}-a", 0)])
    d.create_topic(f"{prefix}-b", 1)
    until("both topics", lambda: consumer.poll(0.1) is not None and len(consumer.assignment()) == 2)
    consumer.close()


def idempotent(d):
    topic = name("idempotent")
    d.create_topic(topic, 1)
    producer = d.producer(idempotent=True)
    for n in range(500):
        producer.send(topic, b"%d" % n, partition=0)
    acks = producer.flush()
    producer.close()
    equal(sorted(acks), [(0, n) for n in range(500)], "acknowledged")
    equal([m.value for m in read_all(d, topic, 0, 500)], [b"%d" % n for n in range(500)], "in order")


def made_by_producing(d):
    topic = name("auto")
    fill(d, topic, 5)
    equal(len(read_all(d, topic, 0, 5)), 5, "messages")


def admin_cluster(d):
    cluster, nodes = d.cluster()
    assert cluster, "no cluster id"
    equal(nodes, 1, "brokers")


def transactions(d):
    topic = name("txn")
    d.create_topic(topic, 2)
    producer = d.producer(transactional_id=name("t"))
    producer.init_transactions()
    for round_, commit in ((0, True), (1, False), (2, True)):
        producer.begin()
        for n in range(20):
            producer.send(topic, b"%d-%d" % (round_, n), partition=n % 2)
        producer.flush()
        producer.commit() if commit else producer.abort()
    producer.close()
    for p in range(2):
        committed = read_all(d, topic, p, 20, isolation="read_committed")
        expected = [b"%d-%d" % (r, n) for r in (0, 2) for n in range(p, 20, 2)]
        equal([m.value for m in committed], expected, "read_committed")
        equal(len(read_all(d, topic, p, 30, isolation="read_uncommitted")), 30, "read_uncommitted")


def open_transaction(d):
    """What is undecided is not seen by read_committed, nor is what comes after it."""
    topic = name("open")
    d.create_topic(topic, 1)
    producer = d.producer(transactional_id=name("t"))
    producer.init_transactions()
    producer.begin()
    producer.send(topic, b"undecided", partition=0)
    producer.flush()
    fill(d, topic, 3)
    consumer = d.consumer(None, isolation="read_committed")
    consumer.assign([(topic, 0, 0)])
    nothing_more(consumer, 1.5)
    producer.commit()
    equal([m.value for m in collect(consumer, 4)], [b"undecided", b"v0", b"v1", b"v2"], "after the commit")
    consumer.close()
    producer.close()


def transactional_offsets(d):
    source, sink, group = name("source"), name("sink"), name("g")
    d.create_topic(source, 1)
    d.create_topic(sink, 1)
    fill(d, source, 20)
    producer = d.producer(transactional_id=name("t"))
    producer.init_transactions()
    consumer = d.consumer(group, [source])
    found = collect(consumer, 20)
    for upto, commit in ((10, True), (20, False)):
        producer.begin()
        for m in found[upto - 10:upto]:
            producer.send(sink, m.value, partition=0)
        producer.send_offsets([(source, 0, upto)], consumer)
        producer.commit() if commit else producer.abort()
    equal(consumer.committed(source, 0), 10, "committed offset")
    consumer.close()
    equal(len(read_all(d, sink, 0, 10, isolation="read_committed")), 10, "committed records")
    again = d.consumer(group, [source])
    equal([m.offset for m in collect(again, 10)], list(range(10, 20)), "what is read again")
    again.close()
    producer.close()


def fencing(d):
    topic, ident = name("fence"), name("t")
    d.create_topic(topic, 1)
    old = d.producer(transactional_id=ident)
    old.init_transactions()
    old.begin()
    old.send(topic, b"zombie", partition=0)
    old.flush()
    new = d.producer(transactional_id=ident)
    new.init_transactions()
    try:
        old.send(topic, b"more", partition=0)
        old.flush()
        old.commit()
    except Exception as error:
        text = f"{type(error).__name__} {error}".lower()
        assert "fenc" in text or "epoch" in text, f"fenced with another error: {error!r}"
    else:
        raise AssertionError("the fenced producer committed")
    new.begin()
    new.send(topic, b"new", partition=0)
    new.flush()
    new.commit()
    new.close()
    old.abandon()
    equal([m.value for m in read_all(d, topic, 0, 1, isolation="read_committed")], [b"new"], "committed")


def admin_topics(d):
    topic = name("admin")
    d.create_topic(topic, 2, {"retention.ms": "123456"})
    equal(d.partitions(topic), 2, "partitions")
    try:
        d.create_topic(topic, 1)
    except Exception as error:
        assert "exist" in f"{type(error).__name__} {error}".lower(), f"{error!r}"
    else:
        raise AssertionError("the topic was created twice")
    d.create_partitions(topic, 5)
    until("five partitions", lambda: d.partitions(topic) == 5)
    assert topic in d.topics(), "not listed"
    d.delete_topic(topic)
    until("the topic is gone", lambda: topic not in d.topics())


def admin_configs(d):
    topic = name("configs")
    d.create_topic(topic, 1, {"retention.ms": "123456"})
    found = d.topic_config(topic)
    equal(found.get("retention.ms"), "123456", "retention.ms")
    equal(found.get("cleanup.policy"), "delete", "cleanup.policy")
    assert len(found) > 20, f"only {len(found)} configs are described"
    d.alter_topic_config(topic, {"max.message.bytes": "2000", "retention.ms": "99000"})
    until("the change is there", lambda: d.topic_config(topic).get("max.message.bytes") == "2000")
    equal(d.topic_config(topic).get("retention.ms"), "99000", "retention.ms")


def admin_groups(d):
    topic, group = name("groups"), name("g")
    d.create_topic(topic, 1)
    fill(d, topic, 10)
    consumer = d.consumer(group, [topic])
    collect(consumer, 10)
    consumer.commit([(topic, 0, 6, "")])
    assert group in d.groups(), "the group is not listed"
    state, members = d.describe_group(group)
    equal((state.lower(), members), ("stable", 1), "group")
    equal(d.group_offsets(group).get((topic, 0)), 6, "offset")
    consumer.close()
    until("it is empty", lambda: d.describe_group(group)[0].lower() == "empty")
    d.delete_group(group)
    until("it is gone", lambda: group not in d.groups())


def delete_records(d):
    topic = name("delete")
    d.create_topic(topic, 1)
    fill(d, topic, 20)
    equal(d.delete_records(topic, 0, 12), 12, "low watermark")
    consumer = d.consumer(None)
    equal(consumer.watermarks(topic, 0), (12, 20), "begin and end")
    consumer.assign([(topic, 0, 12)])
    equal([m.offset for m in collect(consumer, 8)], list(range(12, 20)), "what is left")
    consumer.close()


def big_messages(d):
    topic = name("big")
    d.create_topic(topic, 1, {"max.message.bytes": str(11 << 20)})
    sizes = (1 << 20, 3 << 20, 10 << 20)
    producer = d.producer(max_bytes=11 << 20)
    for size in sizes:
        producer.send(topic, os.urandom(1024) * (size // 1024), partition=0)
        producer.flush()
    producer.close()
    equal([len(m.value) for m in read_all(d, topic, 0, 3, max_bytes=13 << 20)], list(sizes), "sizes")
    small = name("small")
    d.create_topic(small, 1)
    producer = d.producer(max_bytes=9 << 20)
    try:
        producer.send(small, bytes(2 << 20), partition=0)
        producer.flush()
    except Exception as error:
        text = f"{type(error).__name__} {error}".lower().replace(" ", "").replace("_", "")
        assert "large" in text or "size" in text, f"refused with another error: {error!r}"
    else:
        raise AssertionError("a record beyond max.message.bytes was taken")
    producer.abandon()
    producer = d.producer()
    producer.send(small, b"fits", partition=0)
    producer.flush()
    producer.close()
    equal([m.value for m in read_all(d, small, 0, 1)], [b"fits"], "what was taken")


def compacted(d):
    """A topic that is compacted takes no record without a key."""
    topic = name("compact")
    d.create_topic(topic, 1, {"cleanup.policy": "compact"})
    producer = d.producer()
    try:
        producer.send(topic, b"no key", partition=0)
        producer.flush()
    except Exception:
        pass
    else:
        raise AssertionError("a record without a key was taken")
    producer.abandon()
    producer = d.producer()
    producer.send(topic, b"v", key=b"k", partition=0)
    producer.flush()
    producer.close()
    equal([m.value for m in read_all(d, topic, 0, 1)], [b"v"], "what was taken")


CHECKS = [
    ("produce and consume", produce_consume),
    ("acks 0, 1, all", acks_levels),
    ("null and empty", nulls_and_empties),
    ("codecs", codecs),
    ("topic's codec", recompress),
    ("headers", headers),
    ("timestamps", timestamps),
    ("group commits", group_commit),
    ("rebalance", rebalance),
    ("cooperative rebalance", cooperative),
    ("static member", static_member),
    ("consumer protocol", consumer_protocol),
    ("pattern", pattern),
    ("idempotence", idempotent),
    ("topics made by producing", made_by_producing),
    ("transactions", transactions),
    ("open transaction", open_transaction),
    ("offsets in transactions", transactional_offsets),
    ("zombie fencing", fencing),
    ("admin: topics", admin_topics),
    ("admin: configs", admin_configs),
    ("admin: groups", admin_groups),
    ("admin: the cluster", admin_cluster),
    ("delete records", delete_records),
    ("big messages", big_messages),
    ("keyless on compacted", compacted),
]


def run(make_driver):
    parser = argparse.ArgumentParser()
    parser.add_argument("--bootstrap", required=True)
    parser.add_argument("--only", default="")
    args = parser.parse_args()
    driver = make_driver(args.bootstrap)
    failed = 0
    for title, function in CHECKS:
        if args.only and args.only not in title:
            continue
        outcome = {"check": title}
        began = time.monotonic()

        def work():
            try:
                function(driver)
                outcome["result"] = "ok"
            except Skipped as reason:
                outcome.update(result="skip", detail=str(reason))
            except BaseException as error:
                traceback.print_exc()
                outcome.update(result="FAIL", detail=f"{type(error).__name__}: {error}")

        thread = threading.Thread(target=work, daemon=True)
        print(f"--- {title}", file=sys.stderr, flush=True)
        thread.start()
        thread.join(DEADLINE)
        if "result" not in outcome:
            outcome.update(result="FAIL", detail=f"hangs: not done in {DEADLINE:.0f} s")
            frame = sys._current_frames().get(thread.ident)
            if frame:
                traceback.print_stack(frame)
        outcome["seconds"] = round(time.monotonic() - began, 2)
        failed += outcome["result"] == "FAIL"
        print(json.dumps(outcome), flush=True)
    sys.stdout.flush()
    # Threads that hang must not keep the program.
    os._exit(1 if failed else 0)
