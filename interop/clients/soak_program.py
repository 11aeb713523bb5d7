"""The programs of `soak.py`: what makes its topics, feeds the input, works with librdkafka, and checks the sinks."""

import argparse
import faulthandler
import json
import os
import random
import signal
import sys
import threading
import time
import uuid

import confluent_kafka as ck
from confluent_kafka import Consumer, ConsumerGroupTopicPartitions, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

INPUT, PARTITIONS = "soak-input", 4


def log(*words):
    print(time.strftime("%H:%M:%S"), *words, file=sys.stderr, flush=True)


def create(bootstrap, sinks):
    admin = AdminClient({"bootstrap.servers": bootstrap})
    for future in admin.create_topics([NewTopic(t, PARTITIONS, 1) for t in (INPUT, *sinks)]).values():
        future.result(30)


def feed(bootstrap):
    """Numbers the records of each partition; ends when its standard input does and all are acknowledged."""
    producer = Producer({"bootstrap.servers": bootstrap, "enable.idempotence": True, "linger.ms": 5,
                         "message.timeout.ms": 120_000, "reconnect.backoff.max.ms": 300})
    failures, ended = [], threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
    count = 0
    while not ended.is_set():
        for partition in range(PARTITIONS):
            producer.produce(INPUT, str(count), partition=partition,
                             on_delivery=lambda error, _: failures.append(error) if error else None)
        count += 1
        producer.poll(0.005)
    left = producer.flush(100)
    log("fed", count, "left", left, "failures", failures[:3])
    return 1 if left or failures else 0


def ready(bootstrap, sinks):
    """Waits until every pipeline has written something."""
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "none"})
    for sink in sinks:
        while not any(consumer.get_watermark_offsets(TopicPartition(sink, p), 30)[1] for p in range(PARTITIONS)):
            time.sleep(0.1)


class Watchdog:
    """Starts the process anew when it stands still, as its operator would: librdkafka's send_offsets may wait for
    ever when its coordinator goes away at the wrong moment, with no request under way and beyond its own timeout."""

    def __init__(self, seconds):
        self.seconds = seconds
        self.moved()
        threading.Thread(target=self.watch, daemon=True).start()

    def moved(self):
        self.last = time.monotonic()

    def watch(self):
        while time.monotonic() - self.last < self.seconds:
            time.sleep(0.5)
        log("stands still")
        faulthandler.dump_traceback(all_threads=True)
        os.execv(sys.executable, [sys.executable, *sys.argv])


def work(bootstrap, sink, group, identity):
    faulthandler.register(signal.SIGUSR1)
    watchdog = Watchdog(30)
    while True:
        try:
            session(bootstrap, sink, group, identity, watchdog)
        except (ck.KafkaException, BufferError, RuntimeError) as error:
            log("starts anew after", error)
            time.sleep(0.1)


def session(bootstrap, sink, group, identity, watchdog):
    """Until something goes wrong: then the transaction is left to the next session, which aborts it by its id."""
    common = {"bootstrap.servers": bootstrap, "reconnect.backoff.max.ms": 300}
    producer = Producer({**common, "transactional.id": identity, "transaction.timeout.ms": 15_000, "linger.ms": 2})
    consumer = Consumer({**common, "group.id": group, "enable.auto.commit": False, "auto.offset.reset": "earliest",
                         "isolation.level": "read_committed", "session.timeout.ms": 6_000, "heartbeat.interval.ms": 500,
                         "fetch.wait.max.ms": 50, "client.id": identity})
    try:
        producer.init_transactions(60)
        consumer.subscribe([INPUT])
        while True:
            watchdog.moved()
            found = [m for m in consumer.consume(random.randrange(1, 200), 0.2) if not m.error()]
            if found:
                transform(producer, consumer, sink, found)
    finally:
        consumer.close()
        producer.purge()


def transform(producer, consumer, sink, found):
    producer.begin_transaction()
    ends = {}
    for m in found:
        producer.produce(sink, f"{m.partition()}:{m.offset()}", partition=m.partition())
        ends[m.partition()] = m.offset() + 1
    if random.random() < 0.05:
        producer.flush(10)
        raise RuntimeError("on purpose")
    offsets = [TopicPartition(INPUT, p, end) for p, end in ends.items()]
    retried(lambda: producer.send_offsets_to_transaction(offsets, consumer.consumer_group_metadata(), 30))
    retried(lambda: producer.commit_transaction(30))


def retried(step):
    """A step may be asked for again as long as its error says so: its outcome is not known before."""
    end = time.monotonic() + 60
    while True:
        try:
            return step()
        except ck.KafkaException as error:
            log("again after", error)
            if not error.args[0].retriable() or time.monotonic() > end:
                raise


def everything(bootstrap, topic, ends, isolation):
    """All values of a topic by partition, up to those ends."""
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": f"reader-{uuid.uuid4().hex}", "isolation.level": isolation,
                         "enable.auto.commit": False, "enable.partition.eof": True, "fetch.wait.max.ms": 50})
    consumer.assign([TopicPartition(topic, p, 0) for p in range(PARTITIONS)])
    values, open_, end = {p: [] for p in range(PARTITIONS)}, set(range(PARTITIONS)), time.monotonic() + 60
    while open_ and time.monotonic() < end:
        for m in consumer.consume(1000, 0.5):
            if m.error():
                if m.error().code() == ck.KafkaError._PARTITION_EOF and m.offset() >= ends[m.partition()]:
                    open_.discard(m.partition())
            else:
                values[m.partition()].append(m.value().decode())
    consumer.close()
    if open_:
        raise AssertionError(f"the end of {topic} is not reached in partitions {sorted(open_)}")
    return values


def check(bootstrap, sink, group):
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "none"})

    def ends(topic):
        return {p: consumer.get_watermark_offsets(TopicPartition(topic, p), 30)[1] for p in range(PARTITIONS)}
    wanted = ends(INPUT)
    admin = AdminClient({"bootstrap.servers": bootstrap})
    end = time.monotonic() + 90
    while True:
        asked = [ConsumerGroupTopicPartitions(group)]
        found = next(iter(admin.list_consumer_group_offsets(asked).values())).result(30).topic_partitions
        committed = {p.partition: p.offset for p in found}
        if committed == wanted:
            break
        if time.monotonic() > end:
            described = next(iter(admin.describe_consumer_groups([group]).values())).result(30)
            members = {m.client_id: [p.partition for p in m.assignment.topic_partitions] for m in described.members}
            raise AssertionError(f"the group is at {committed}, the input ends at {wanted}; it is {described.state.name}: {members}")
        time.sleep(0.2)
    fed = everything(bootstrap, INPUT, wanted, "read_uncommitted")
    for partition, values in fed.items():
        if values != [str(n) for n in range(len(values))]:
            raise AssertionError(f"the idempotent producer's records of partition {partition} are not each there once, in order")
    written = ends(sink)
    committed = everything(bootstrap, sink, written, "read_committed")
    for partition, values in committed.items():
        expected = [f"{partition}:{offset}" for offset in range(wanted[partition])]
        if values != expected:
            missing, twice = set(expected) - set(values), len(values) - len(set(values))
            raise AssertionError(f"partition {partition} of {sink}: {len(values)} records of {len(expected)}, "
                                 f"{len(missing)} missing {sorted(missing)[:3]}, {twice} doubled, or out of order")
    attempts = sum(len(v) for v in everything(bootstrap, sink, written, "read_uncommitted").values())
    count = sum(wanted.values())
    return f"{count} records, {attempts - count} of aborted transactions"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--bootstrap", required=True)
    parser.add_argument("role", choices=("create", "feed", "ready", "work", "check"))
    parser.add_argument("words", nargs="*")
    args = parser.parse_args()
    if args.role == "create":
        create(args.bootstrap, args.words)
    elif args.role == "feed":
        sys.exit(feed(args.bootstrap))
    elif args.role == "ready":
        ready(args.bootstrap, args.words)
    elif args.role == "work":
        work(args.bootstrap, *args.words)
    else:
        try:
            print(json.dumps({"result": "ok", "detail": check(args.bootstrap, *args.words)}))
        except Exception as error:
            print(json.dumps({"result": "FAIL", "detail": f"{type(error).__name__}: {error}"}))


if __name__ == "__main__":
    main()
