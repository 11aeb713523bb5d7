"""aiokafka, on an event loop in a thread of its own."""

import asyncio
import threading

import suite
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic, RecordsToDelete
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import for_code
from aiokafka.structs import OffsetAndMetadata
from suite import Message, skip

LOOP = asyncio.new_event_loop()
threading.Thread(target=LOOP.run_forever, daemon=True).start()


def wait(coroutine, seconds=60):
    return asyncio.run_coroutine_threadsafe(coroutine, LOOP).result(seconds)


async def call(function, *args, **named):
    """For what wants to be made on the loop."""
    return function(*args, **named)


class ProducerDriver:
    def __init__(self, bootstrap, compression=None, acks=None, transactional_id=None, max_bytes=None,
                 idempotent=False):
        config = {"bootstrap_servers": bootstrap, "linger_ms": 5,
                  "enable_idempotence": idempotent or acks in (None, "all")}
        if acks is not None:
            config["acks"] = acks
        if compression and compression != "none":
            config["compression_type"] = compression
        if transactional_id:
            config.update({"transactional_id": transactional_id, "transaction_timeout_ms": 30000})
            del config["enable_idempotence"]
        if max_bytes:
            config.update({"max_request_size": max_bytes + (1 << 16), "max_batch_size": max_bytes + (1 << 16)})
        self.inner = wait(call(AIOKafkaProducer, **config))
        self.started, self.futures = False, []
        if not transactional_id:
            self.init_transactions()

    def init_transactions(self):
        wait(self.inner.start())
        self.started = True

    def send(self, topic, value, key=None, partition=None, headers=None, timestamp=None):
        sent = self.inner.send(topic, value, key, partition, timestamp, headers)
        self.futures.append(wait(sent))

    def flush(self):
        futures, self.futures = self.futures, []

        async def all_of_them():
            return await asyncio.gather(*futures)
        return [(a.partition, a.offset) for a in wait(all_of_them()) if a is not None]

    def begin(self):
        wait(self.inner.begin_transaction())

    def send_offsets(self, offsets, consumer):
        places = {TopicPartition(t, p): o for t, p, o in offsets}
        wait(self.inner.send_offsets_to_transaction(places, consumer.group))

    def commit(self):
        wait(self.inner.commit_transaction())

    def abort(self):
        wait(self.inner.abort_transaction())

    def close(self):
        wait(self.inner.stop())

    def abandon(self):
        try:
            wait(self.inner.stop(), 5)
        except Exception:
            pass


class ConsumerDriver:
    def __init__(self, bootstrap, group, topics, isolation="read_uncommitted", instance=None, assignor=None,
                 protocol=None, max_bytes=None, pattern=None):
        if protocol or assignor:
            skip("aiokafka has neither group.protocol=consumer nor cooperative rebalances")
        config = {"bootstrap_servers": bootstrap, "group_id": group, "enable_auto_commit": False,
                  "auto_offset_reset": "earliest", "isolation_level": isolation, "fetch_max_wait_ms": 100,
                  "session_timeout_ms": 10000, "heartbeat_interval_ms": 300,
                  "metadata_max_age_ms": 500 if pattern else 2000}
        if instance:
            config["group_instance_id"] = instance
        if max_bytes:
            config.update({"max_partition_fetch_bytes": max_bytes, "fetch_max_bytes": max_bytes})
        self.group = group
        self.inner = wait(call(AIOKafkaConsumer, *(topics or []), **config))
        if pattern:
            wait(call(self.inner.subscribe, pattern=pattern))
        wait(self.inner.start())

    def assign(self, places):
        async def work():
            self.inner.assign([TopicPartition(t, p) for t, p, _ in places])
            for t, p, offset in places:
                self.inner.seek(TopicPartition(t, p), offset)
        wait(work())

    def poll(self, seconds):
        found = []
        for batch in wait(self.inner.getmany(timeout_ms=int(seconds * 1000))).values():
            found += [Message(r.topic, r.partition, r.offset, r.key, r.value, list(r.headers), r.timestamp)
                      for r in batch]
        return found

    def assignment(self):
        return [tuple(p) for p in self.inner.assignment()]

    def commit(self, offsets):
        wait(self.inner.commit({TopicPartition(t, p): OffsetAndMetadata(o, note) for t, p, o, note in offsets}))

    def committed(self, topic, partition):
        return wait(self.inner.committed(TopicPartition(topic, partition)))

    def offset_for_time(self, topic, partition, time):
        place = TopicPartition(topic, partition)
        found = wait(self.inner.offsets_for_times({place: time}))[place]
        return found.offset if found else None

    def watermarks(self, topic, partition):
        place = TopicPartition(topic, partition)
        return (wait(self.inner.beginning_offsets([place]))[place], wait(self.inner.end_offsets([place]))[place])

    def close(self):
        wait(self.inner.stop())


class Driver:
    def __init__(self, bootstrap):
        self.bootstrap = bootstrap
        self.admin = wait(call(AIOKafkaAdminClient, bootstrap_servers=bootstrap))
        wait(self.admin.start())

    def producer(self, **options):
        return ProducerDriver(self.bootstrap, **options)

    def consumer(self, group, topics=None, **options):
        return ConsumerDriver(self.bootstrap, group, topics, **options)

    @staticmethod
    def checked(response, field):
        for entry in getattr(response, field):
            if entry[1]:
                raise for_code(entry[1])(str(entry))

    def create_topic(self, topic, partitions, config=None):
        new = NewTopic(topic, partitions, 1, topic_configs=config or {})
        self.checked(wait(self.admin.create_topics([new])), "topic_errors")

    def create_partitions(self, topic, total):
        wait(self.admin.create_partitions({topic: NewPartitions(total)}))

    def partitions(self, topic):
        return len(wait(self.admin.describe_topics([topic]))[0]["partitions"])

    def topics(self):
        return set(wait(self.admin.list_topics()))

    def delete_topic(self, topic):
        wait(self.admin.delete_topics([topic]))

    def topic_config(self, topic):
        found = wait(self.admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic)]))[0]
        return {entry[0]: entry[1] for entry in found.resources[0][4]}

    def alter_topic_config(self, topic, changes):
        # It only knows AlterConfigs, which replaces all of a topic's settings.
        wait(self.admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, changes)]))

    def cluster(self):
        found = wait(self.admin.describe_cluster())
        return found["cluster_id"], len(found["brokers"])

    def groups(self):
        return {g[0] for g in wait(self.admin.list_consumer_groups())}

    def describe_group(self, group):
        found = wait(self.admin.describe_consumer_groups([group]))[0].groups[0]
        return found[2], len(found[5])

    def group_offsets(self, group):
        found = wait(self.admin.list_consumer_group_offsets(group))
        return {tuple(place): at.offset for place, at in found.items()}

    def delete_group(self, group):
        skip("aiokafka's admin client cannot delete groups; the rest of the check passed")

    def delete_records(self, topic, partition, offset):
        place = TopicPartition(topic, partition)
        return wait(self.admin.delete_records({place: RecordsToDelete(offset)}))[place]


if __name__ == "__main__":
    suite.run(Driver)
