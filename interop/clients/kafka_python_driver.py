"""kafka-python."""

import suite
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType
from kafka.structs import OffsetAndMetadata
from suite import Message, skip


class ProducerDriver:
    def __init__(self, bootstrap, compression=None, acks="all", transactional_id=None, max_bytes=None,
                 idempotent=False):
        config = {"bootstrap_servers": bootstrap, "acks": acks, "linger_ms": 5}
        if compression and compression != "none":
            config["compression_type"] = compression
        if acks != "all":
            config["enable_idempotence"] = False
        if idempotent:
            config["enable_idempotence"] = True
        if transactional_id:
            config.update({"transactional_id": transactional_id, "transaction_timeout_ms": 30000})
        if max_bytes:
            config.update({"max_request_size": max_bytes + (1 << 16)})
        self.inner = KafkaProducer(**config)
        self.futures = []

    def send(self, topic, value, key=None, partition=None, headers=None, timestamp=None):
        self.futures.append(self.inner.send(topic, value, key, headers, partition, timestamp))

    def flush(self):
        futures, self.futures = self.futures, []
        self.inner.flush(timeout=40)
        acks = [f.get(timeout=40) for f in futures]
        return [(a.partition, a.offset) for a in acks]

    def init_transactions(self):
        self.inner.init_transactions()

    def begin(self):
        self.inner.begin_transaction()

    def send_offsets(self, offsets, consumer):
        places = {TopicPartition(t, p): OffsetAndMetadata(o, "", -1) for t, p, o in offsets}
        self.inner.send_offsets_to_transaction(places, consumer.inner.group_metadata())

    def commit(self):
        self.inner.commit_transaction()

    def abort(self):
        self.inner.abort_transaction()

    def close(self):
        self.inner.close(timeout=10)

    def abandon(self):
        self.inner.close(timeout=0)


class ConsumerDriver:
    def __init__(self, bootstrap, group, topics, isolation="read_uncommitted", instance=None, assignor=None,
                 protocol=None, max_bytes=None, pattern=None):
        if protocol:
            skip("kafka-python has no group.protocol=consumer")
        if assignor:
            skip("its cooperative rebalance stops reading, with Apache Kafka too")
        config = {"bootstrap_servers": bootstrap, "group_id": group, "enable_auto_commit": False,
                  "auto_offset_reset": "earliest", "isolation_level": isolation, "fetch_max_wait_ms": 100,
                  "session_timeout_ms": 10000, "heartbeat_interval_ms": 300,
                  "metadata_max_age_ms": 500 if pattern else 2000}
        if instance:
            config["group_instance_id"] = instance
        if max_bytes:
            config.update({"max_partition_fetch_bytes": max_bytes, "fetch_max_bytes": max_bytes})
        self.inner = KafkaConsumer(**config)
        if topics or pattern:
            self.inner.subscribe(topics or (), pattern=pattern)

    def assign(self, places):
        self.inner.assign([TopicPartition(t, p) for t, p, _ in places])
        for t, p, offset in places:
            self.inner.seek(TopicPartition(t, p), offset)

    def poll(self, seconds):
        found = []
        for batch in self.inner.poll(timeout_ms=int(seconds * 1000)).values():
            found += [Message(r.topic, r.partition, r.offset, r.key, r.value, list(r.headers), r.timestamp)
                      for r in batch]
        return found

    def assignment(self):
        return [tuple(p) for p in self.inner.assignment()]

    def commit(self, offsets):
        self.inner.commit({TopicPartition(t, p): OffsetAndMetadata(o, note, -1) for t, p, o, note in offsets})

    def committed(self, topic, partition):
        return self.inner.committed(TopicPartition(topic, partition))

    def offset_for_time(self, topic, partition, time):
        place = TopicPartition(topic, partition)
        found = self.inner.offsets_for_times({place: time})[place]
        return found.offset if found else None

    def watermarks(self, topic, partition):
        place = TopicPartition(topic, partition)
        return self.inner.beginning_offsets([place])[place], self.inner.end_offsets([place])[place]

    def close(self):
        self.inner.close(autocommit=False)


class Driver:
    def __init__(self, bootstrap):
        self.bootstrap = bootstrap
        self.admin = KafkaAdminClient(bootstrap_servers=bootstrap)

    def producer(self, **options):
        return ProducerDriver(self.bootstrap, **options)

    def consumer(self, group, topics=None, **options):
        return ConsumerDriver(self.bootstrap, group, topics, **options)

    def create_topic(self, topic, partitions, config=None):
        spec = {"num_partitions": partitions, "replication_factor": 1, "configs": config or {}}
        self.admin.create_topics({topic: spec})

    def create_partitions(self, topic, total):
        self.admin.create_partitions({topic: total})

    def partitions(self, topic):
        return len(self.admin.describe_topics([topic])[0]["partitions"])

    def topics(self):
        return set(self.admin.list_topics())

    def delete_topic(self, topic):
        self.admin.delete_topics([topic])

    def topic_config(self, topic):
        found = self.admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic)], config_filter="all")
        return {key: entry["value"] for key, entry in found["topic"][topic].items()}

    def alter_topic_config(self, topic, changes):
        self.admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, changes)])

    def cluster(self):
        found = self.admin.describe_cluster()
        return found["cluster_id"], len(found["brokers"])

    def groups(self):
        return {g["group_id"] for g in self.admin.list_groups()}

    def describe_group(self, group):
        found = self.admin.describe_groups([group])[group]
        return found["group_state"], len(found["members"])

    def group_offsets(self, group):
        found = self.admin.list_group_offsets(group)[group]
        return {tuple(place): at.offset for place, at in found.items()}

    def delete_group(self, group):
        suite.equal(self.admin.delete_groups([group]), {group: "OK"}, "deleted")

    def delete_records(self, topic, partition, offset):
        place = TopicPartition(topic, partition)
        return self.admin.delete_records({place: offset})[place]["low_watermark"]


if __name__ == "__main__":
    suite.run(Driver)
