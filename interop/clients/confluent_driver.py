"""librdkafka through confluent-kafka, whose wheel brings the library along."""

import confluent_kafka as ck
from confluent_kafka import Consumer, ConsumerGroupTopicPartitions, Producer, TopicPartition
from confluent_kafka.admin import (AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, NewPartitions,
                                   NewTopic, ResourceType)

import suite
from suite import Message


class ProducerDriver:
    def __init__(self, bootstrap, compression=None, acks=None, transactional_id=None, max_bytes=None,
                 idempotent=False):
        config = {"bootstrap.servers": bootstrap, "linger.ms": 5}
        if idempotent:
            config["enable.idempotence"] = True
        if compression:
            config["compression.type"] = compression
        if acks is not None:
            config["acks"] = acks
        if transactional_id:
            config.update({"transactional.id": transactional_id, "transaction.timeout.ms": 30000})
        if max_bytes:
            config.update({"message.max.bytes": max_bytes + 1024 * 64})
        self.inner = Producer(config)
        self.acks, self.errors = [], []

    def delivered(self, error, message):
        if error:
            self.errors.append(ck.KafkaException(error))
        else:
            self.acks.append((message.partition(), message.offset()))

    def send(self, topic, value, key=None, partition=-1, headers=None, timestamp=0):
        more = {"headers": headers} if headers else {}
        while True:
            try:
                return self.inner.produce(topic, value, key, partition, on_delivery=self.delivered,
                                          timestamp=timestamp, **more)
            except BufferError:
                self.inner.poll(0.1)

    def flush(self):
        try:
            if self.inner.flush(40):
                raise TimeoutError("messages are left after flush")
        except SystemError:
            # confluent-kafka's way to tell of a fatal error; which one, the next call says.
            pass
        acks, errors, self.acks, self.errors = self.acks, self.errors, [], []
        if errors:
            raise errors[0]
        return acks

    def init_transactions(self):
        self.inner.init_transactions(40)

    def begin(self):
        self.inner.begin_transaction()

    def send_offsets(self, offsets, consumer):
        places = [TopicPartition(t, p, o) for t, p, o in offsets]
        self.inner.send_offsets_to_transaction(places, consumer.inner.consumer_group_metadata(), 40)

    def commit(self):
        self.inner.commit_transaction(40)

    def abort(self):
        self.inner.abort_transaction(40)

    def close(self):
        self.inner.flush(10)

    def abandon(self):
        self.inner.purge()


class ConsumerDriver:
    def __init__(self, bootstrap, group, topics, isolation="read_uncommitted", instance=None, assignor=None,
                 protocol=None, max_bytes=None, pattern=None):
        config = {"bootstrap.servers": bootstrap, "group.id": group or "none", "enable.auto.commit": False,
                  "auto.offset.reset": "earliest", "isolation.level": isolation, "fetch.wait.max.ms": 100}
        if protocol:
            config["group.protocol"] = protocol
        else:
            config.update({"session.timeout.ms": 10000, "heartbeat.interval.ms": 300})
        if instance:
            config["group.instance.id"] = instance
        if assignor:
            config["partition.assignment.strategy"] = assignor
        if max_bytes:
            config.update({"fetch.message.max.bytes": max_bytes, "fetch.max.bytes": max_bytes,
                           "receive.message.max.bytes": max_bytes * 2})
        if pattern:
            config["topic.metadata.refresh.interval.ms"] = 500
        self.inner = Consumer(config)
        if topics or pattern:
            self.inner.subscribe(topics or [pattern])

    def assign(self, places):
        self.inner.assign([TopicPartition(t, p, o) for t, p, o in places])

    def poll(self, seconds):
        found = []
        for m in self.inner.consume(500, seconds):
            if m.error():
                raise ck.KafkaException(m.error())
            found.append(Message(m.topic(), m.partition(), m.offset(), m.key(), m.value(), m.headers() or [],
                                 m.timestamp()[1]))
        return found

    def assignment(self):
        return [(p.topic, p.partition) for p in self.inner.assignment()]

    def commit(self, offsets):
        self.inner.commit(offsets=[TopicPartition(t, p, o, note) for t, p, o, note in offsets],
                          asynchronous=False)

    def committed(self, topic, partition):
        return self.inner.committed([TopicPartition(topic, partition)], 30)[0].offset

    def offset_for_time(self, topic, partition, time):
        found = self.inner.offsets_for_times([TopicPartition(topic, partition, time)], 30)[0].offset
        return None if found == ck.OFFSET_END else found

    def watermarks(self, topic, partition):
        return self.inner.get_watermark_offsets(TopicPartition(topic, partition), 30)

    def close(self):
        self.inner.close()


class Driver:
    def __init__(self, bootstrap):
        self.bootstrap = bootstrap
        self.admin = AdminClient({"bootstrap.servers": bootstrap})

    def producer(self, **options):
        return ProducerDriver(self.bootstrap, **options)

    def consumer(self, group, topics=None, **options):
        return ConsumerDriver(self.bootstrap, group, topics, **options)

    @staticmethod
    def done(futures):
        return [future.result(40) for future in futures.values()]

    def create_topic(self, topic, partitions, config=None):
        self.done(self.admin.create_topics([NewTopic(topic, partitions, 1, config=config or {})]))

    def create_partitions(self, topic, total):
        self.done(self.admin.create_partitions([NewPartitions(topic, total)]))

    def partitions(self, topic):
        return len(self.admin.list_topics(topic, 30).topics[topic].partitions)

    def topics(self):
        return set(self.admin.list_topics(timeout=30).topics)

    def delete_topic(self, topic):
        self.done(self.admin.delete_topics([topic]))

    def topic_config(self, topic):
        found = self.done(self.admin.describe_configs([ConfigResource(ResourceType.TOPIC, topic)]))[0]
        return {key: entry.value for key, entry in found.items()}

    def alter_topic_config(self, topic, changes):
        entries = [ConfigEntry(key, value, incremental_operation=AlterConfigOpType.SET)
                   for key, value in changes.items()]
        resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=entries)
        self.done(self.admin.incremental_alter_configs([resource]))

    def cluster(self):
        found = self.admin.describe_cluster().result(40)
        return found.cluster_id, len(found.nodes)

    def groups(self):
        return {g.group_id for g in self.admin.list_consumer_groups().result(40).valid}

    def describe_group(self, group):
        found = self.done(self.admin.describe_consumer_groups([group]))[0]
        return found.state.name, len(found.members)

    def group_offsets(self, group):
        found = self.done(self.admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(group)]))[0]
        return {(p.topic, p.partition): p.offset for p in found.topic_partitions}

    def delete_group(self, group):
        self.done(self.admin.delete_consumer_groups([group]))

    def delete_records(self, topic, partition, offset):
        return self.done(self.admin.delete_records([TopicPartition(topic, partition, offset)]))[0].low_watermark


if __name__ == "__main__":
    suite.run(Driver)
