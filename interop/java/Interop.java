import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.*;
import java.util.concurrent.*;
import java.util.function.BooleanSupplier;

import org.apache.kafka.clients.admin.*;
import org.apache.kafka.clients.consumer.*;
import org.apache.kafka.clients.producer.*;
import org.apache.kafka.common.*;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.errors.*;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.header.internals.RecordHeader;
import org.apache.kafka.common.serialization.*;

/** The checks of clients/suite.py with the Java client, and those only it can do. One JSON line a check. */
public final class Interop {
    interface Check { void run() throws Exception; }

    static String bootstrap;
    static Admin admin;
    static final byte[] NONE = null;

    public static void main(String[] args) throws Exception {
        bootstrap = args[0];
        String only = args.length > 1 ? args[1] : "";
        admin = Admin.create(Map.of("bootstrap.servers", bootstrap));
        Map<String, Check> checks = new LinkedHashMap<>();
        checks.put("produce and consume", Interop::produceConsume);
        checks.put("acks 0, 1, all", Interop::acks);
        checks.put("null and empty", Interop::nulls);
        checks.put("codecs", Interop::codecs);
        checks.put("topic's codec", Interop::recompress);
        checks.put("headers", Interop::headers);
        checks.put("timestamps", Interop::timestamps);
        checks.put("group commits", Interop::groupCommits);
        checks.put("rebalance", () -> rebalance(Map.of()));
        checks.put("cooperative rebalance", () -> rebalance(
                Map.of("partition.assignment.strategy", CooperativeStickyAssignor.class.getName())));
        checks.put("static member", Interop::staticMember);
        checks.put("consumer protocol", () -> {
            rebalance(Map.of("group.protocol", "consumer"));
            rebalance(Map.of("group.protocol", "consumer", "group.remote.assignor", "range"));
        });
        checks.put("consumer protocol: pattern", Interop::pattern);
        checks.put("transactions", Interop::transactions);
        checks.put("open transaction", Interop::openTransaction);
        checks.put("offsets in transactions", Interop::transactionalOffsets);
        checks.put("zombie fencing", Interop::fencing);
        checks.put("fenced members' offsets", Interop::fencedOffsets);
        checks.put("admin: topics", Interop::adminTopics);
        checks.put("admin: configs", Interop::adminConfigs);
        checks.put("admin: groups", Interop::adminGroups);
        checks.put("admin: transactions", Interop::adminTransactions);
        checks.put("admin: the cluster", Interop::adminCluster);
        checks.put("delete records", Interop::deleteRecords);
        checks.put("big messages", Interop::big);
        checks.put("keyless on compacted", Interop::compacted);
        checks.put("many partitions, many polls", Interop::sessions);
        int failed = 0;
        ExecutorService threads = Executors.newCachedThreadPool(work -> {
            Thread thread = new Thread(work);
            thread.setDaemon(true);
            return thread;
        });
        for (Map.Entry<String, Check> entry : checks.entrySet()) {
            if (!entry.getKey().contains(only)) continue;
            System.err.println("--- " + entry.getKey());
            long began = System.nanoTime();
            String result = "ok";
            String detail = "";
            Future<?> run = threads.submit(() -> {
                entry.getValue().run();
                return null;
            });
            try {
                run.get(90, TimeUnit.SECONDS);
            } catch (java.util.concurrent.TimeoutException e) {
                result = "FAIL";
                detail = "hangs: not done in 90 s";
                run.cancel(true);
            } catch (ExecutionException e) {
                result = "FAIL";
                detail = String.valueOf(e.getCause());
                e.getCause().printStackTrace();
            }
            failed += result.equals("ok") ? 0 : 1;
            double seconds = (System.nanoTime() - began) / 1e9;
            System.out.printf(Locale.ROOT, "{\"check\": \"%s\", \"result\": \"%s\", \"seconds\": %.2f, \"detail\": \"%s\"}%n",
                    entry.getKey(), result, seconds, detail.replace("\\", "\\\\").replace("\"", "\\\"").replace("\n", " ").replace("\t", " "));
            System.out.flush();
        }
        Runtime.getRuntime().halt(failed == 0 ? 0 : 1);
    }

    static void equal(Object found, Object expected, String what) {
        if (!Objects.equals(found, expected)) {
            throw new AssertionError(what + ": found " + found + ", expected " + expected);
        }
    }

    static void until(String what, BooleanSupplier condition) throws Exception {
        long end = System.nanoTime() + 40_000_000_000L;
        while (!condition.getAsBoolean()) {
            if (System.nanoTime() > end) throw new AssertionError("not within 40 s: " + what);
            Thread.sleep(20);
        }
    }

    static <T extends Throwable> T fails(Class<T> expected, Check check) throws Exception {
        try {
            check.run();
        } catch (Throwable thrown) {
            for (Throwable cause = thrown; cause != null; cause = cause.getCause()) {
                if (expected.isInstance(cause)) return expected.cast(cause);
            }
            throw new AssertionError("expected " + expected.getSimpleName() + ", got " + thrown, thrown);
        }
        throw new AssertionError("expected " + expected.getSimpleName() + ", nothing failed");
    }

    static String name(String what) {
        return "interop-" + what + "-" + UUID.randomUUID().toString().substring(0, 8);
    }

    static byte[] bytes(String text) {
        return text.getBytes(StandardCharsets.UTF_8);
    }

    static String topic(String what, int partitions, Map<String, String> configs) throws Exception {
        String topic = name(what);
        admin.createTopics(List.of(new NewTopic(topic, partitions, (short) 1).configs(configs))).all().get();
        return topic;
    }

    static String topic(String what, int partitions) throws Exception {
        return topic(what, partitions, Map.of());
    }

    static KafkaProducer<byte[], byte[]> producer(Map<String, ?> more) {
        Map<String, Object> config = new HashMap<>(Map.of("bootstrap.servers", bootstrap, "linger.ms", 5));
        config.putAll(more);
        return new KafkaProducer<>(config, new ByteArraySerializer(), new ByteArraySerializer());
    }

    static KafkaConsumer<byte[], byte[]> consumer(String group, Map<String, ?> more) {
        Map<String, Object> config = new HashMap<>(Map.of("bootstrap.servers", bootstrap,
                "enable.auto.commit", false, "auto.offset.reset", "earliest", "fetch.max.wait.ms", 100));
        if (group != null) config.put("group.id", group);
        if (!"consumer".equals(more.get("group.protocol"))) {
            config.put("heartbeat.interval.ms", 300);
            config.put("session.timeout.ms", 10000);
        }
        config.putAll(more);
        return new KafkaConsumer<>(config, new ByteArrayDeserializer(), new ByteArrayDeserializer());
    }

    static List<ConsumerRecord<byte[], byte[]>> poll(KafkaConsumer<byte[], byte[]> consumer, int millis) {
        List<ConsumerRecord<byte[], byte[]>> found = new ArrayList<>();
        consumer.poll(Duration.ofMillis(millis)).forEach(found::add);
        return found;
    }

    static List<ConsumerRecord<byte[], byte[]>> collect(KafkaConsumer<byte[], byte[]> consumer, int count) {
        List<ConsumerRecord<byte[], byte[]>> found = new ArrayList<>();
        long end = System.nanoTime() + 40_000_000_000L;
        while (found.size() < count) {
            if (System.nanoTime() > end) throw new AssertionError(found.size() + " of " + count + " records came");
            found.addAll(poll(consumer, 200));
        }
        equal(found.size(), count, "records");
        return found;
    }

    static void nothingMore(KafkaConsumer<byte[], byte[]> consumer, int millis) {
        long end = System.nanoTime() + millis * 1_000_000L;
        while (System.nanoTime() < end) equal(poll(consumer, 100).size(), 0, "records that should not be there");
    }

    static List<String> values(List<ConsumerRecord<byte[], byte[]>> records) {
        return records.stream().map(r -> r.value() == null ? null : new String(r.value(), StandardCharsets.UTF_8)).toList();
    }

    static List<ConsumerRecord<byte[], byte[]>> readAll(String topic, int partition, int count, Map<String, ?> more) {
        try (KafkaConsumer<byte[], byte[]> consumer = consumer(null, more)) {
            TopicPartition place = new TopicPartition(topic, partition);
            consumer.assign(List.of(place));
            consumer.seekToBeginning(List.of(place));
            List<ConsumerRecord<byte[], byte[]>> found = collect(consumer, count);
            nothingMore(consumer, 400);
            return found;
        }
    }

    static final Map<String, ?> COMMITTED = Map.of("isolation.level", "read_committed");

    static void fill(String topic, int count, int partitions, Map<String, ?> more) throws Exception {
        try (KafkaProducer<byte[], byte[]> producer = producer(more)) {
            List<Future<RecordMetadata>> sent = new ArrayList<>();
            for (int n = 0; n < count; n++) {
                sent.add(producer.send(new ProducerRecord<>(topic, n % partitions, bytes("k" + n), bytes("v" + n))));
            }
            producer.flush();
            for (Future<RecordMetadata> one : sent) one.get();
        }
    }

    static List<String> numbered(String prefix, int from, int to, int step) {
        List<String> list = new ArrayList<>();
        for (int n = from; n < to; n += step) list.add(prefix + n);
        return list;
    }

    static void produceConsume() throws Exception {
        String topic = topic("plain", 3);
        fill(topic, 300, 3, Map.of());
        for (int p = 0; p < 3; p++) {
            List<ConsumerRecord<byte[], byte[]>> found = readAll(topic, p, 100, Map.of());
            equal(values(found), numbered("v", p, 300, 3), "values");
            equal(found.get(99).offset(), 99L, "offset");
        }
    }

    static void acks() throws Exception {
        String topic = topic("acks", 1);
        for (String acks : List.of("0", "1", "all")) {
            fill(topic, 10, 1, Map.of("acks", acks, "enable.idempotence", acks.equals("all")));
        }
        readAll(topic, 0, 30, Map.of());
    }

    static void nulls() throws Exception {
        String topic = topic("nulls", 1);
        try (KafkaProducer<byte[], byte[]> producer = producer(Map.of())) {
            producer.send(new ProducerRecord<>(topic, 0, bytes("tombstone"), NONE)).get();
            producer.send(new ProducerRecord<>(topic, 0, NONE, bytes(""))).get();
        }
        List<ConsumerRecord<byte[], byte[]>> found = readAll(topic, 0, 2, Map.of());
        equal(found.get(0).value(), null, "tombstone");
        equal(found.get(1).key(), null, "key");
        equal(found.get(1).value().length, 0, "empty value");
    }

    static void codecs() throws Exception {
        for (String codec : List.of("none", "gzip", "snappy", "lz4", "zstd")) {
            String topic = topic(codec, 1);
            fill(topic, 2000, 1, Map.of("compression.type", codec));
            equal(values(readAll(topic, 0, 2000, Map.of())), numbered("v", 0, 2000, 1), codec);
        }
    }

    static void recompress() throws Exception {
        for (String codec : List.of("gzip", "snappy", "lz4", "zstd", "uncompressed")) {
            String topic = topic("re" + codec, 1, Map.of("compression.type", codec));
            fill(topic, 200, 1, Map.of("compression.type", "lz4"));
            equal(values(readAll(topic, 0, 200, Map.of())), numbered("v", 0, 200, 1), codec);
        }
    }

    static void headers() throws Exception {
        String topic = topic("headers", 1);
        List<Header> sent = List.of(new RecordHeader("a", bytes("1")), new RecordHeader("b", null),
                new RecordHeader("a", bytes("2")), new RecordHeader("ключ", new byte[256]));
        try (KafkaProducer<byte[], byte[]> producer = producer(Map.of())) {
            producer.send(new ProducerRecord<>(topic, 0, NONE, bytes("x"), sent)).get();
        }
        equal(List.of(readAll(topic, 0, 1, Map.of()).get(0).headers().toArray()), sent, "headers");
    }

    static void timestamps() throws Exception {
        String topic = topic("times", 1);
        long base = 1_600_000_000_000L;
        try (KafkaProducer<byte[], byte[]> producer = producer(Map.of())) {
            for (int n = 0; n < 50; n++) producer.send(new ProducerRecord<>(topic, 0, base + n * 1000L, NONE, bytes("" + n)));
        }
        TopicPartition place = new TopicPartition(topic, 0);
        try (KafkaConsumer<byte[], byte[]> consumer = consumer(null, Map.of())) {
            equal(consumer.offsetsForTimes(Map.of(place, base + 30_500)).get(place).offset(), 31L, "offset for a time");
            equal(consumer.offsetsForTimes(Map.of(place, base + 30_500)).get(place).timestamp(), base + 31_000, "its time");
            equal(consumer.offsetsForTimes(Map.of(place, base + 49_001)).get(place), null, "beyond the last");
            equal(consumer.beginningOffsets(List.of(place)).get(place), 0L, "begin");
            equal(consumer.endOffsets(List.of(place)).get(place), 50L, "end");
        }
        var max = admin.listOffsets(Map.of(place, OffsetSpec.maxTimestamp())).all().get().get(place);
        equal(max.offset(), 49L, "offset of the largest timestamp");
        equal(max.timestamp(), base + 49_000, "the largest timestamp");
        String appended = topic("appendtime", 1, Map.of("message.timestamp.type", "LogAppendTime"));
        try (KafkaProducer<byte[], byte[]> producer = producer(Map.of())) {
            long stamp = producer.send(new ProducerRecord<>(appended, 0, base, NONE, bytes("x"))).get().timestamp();
            if (Math.abs(stamp - System.currentTimeMillis()) > 60_000) throw new AssertionError("LogAppendTime " + stamp);
        }
    }

    static void groupCommits() throws Exception {
        String topic = topic("commit", 2), group = name("g");
        fill(topic, 40, 2, Map.of());
        TopicPartition place = new TopicPartition(topic, 0);
        try (KafkaConsumer<byte[], byte[]> consumer = consumer(group, Map.of())) {
            consumer.subscribe(List.of(topic));
            collect(consumer, 40);
            consumer.commitSync(Map.of(place, new OffsetAndMetadata(7, Optional.of(0), "a note"),
                    new TopicPartition(topic, 1), new OffsetAndMetadata(20)));
            OffsetAndMetadata found = consumer.committed(Set.of(place)).get(place);
            equal(found.offset(), 7L, "offset");
            equal(found.metadata(), "a note", "metadata");
        }
        try (KafkaConsumer<byte[], byte[]> consumer = consumer(group, Map.of())) {
            consumer.subscribe(List.of(topic));
            equal(values(collect(consumer, 13)).get(0), "v14", "the first after the restart");
        }
    }

    static void rebalance(Map<String, ?> more) throws Exception {
        String topic = topic("rebalance", 4), group = name("g");
        KafkaConsumer<byte[], byte[]> first = consumer(group, more), second = consumer(group, more);
        try {
            first.subscribe(List.of(topic));
            until("the first has all", () -> poll(first, 50) != null && first.assignment().size() == 4);
            second.subscribe(List.of(topic));
            until("both have two", () -> {
                poll(first, 50);
                poll(second, 50);
                return first.assignment().size() == 2 && second.assignment().size() == 2;
            });
            fill(topic, 40, 4, Map.of());
            List<ConsumerRecord<byte[], byte[]>> got = new ArrayList<>();
            until("all records came", () -> {
                got.addAll(poll(first, 50));
                got.addAll(poll(second, 50));
                return got.size() >= 40;
            });
            equal(new HashSet<>(values(got)).size(), 40, "distinct records");
            equal(got.size(), 40, "records");
            first.close();
            until("the second has all", () -> poll(second, 50) != null && second.assignment().size() == 4);
        } finally {
            first.close();
            second.close();
        }
    }

    static void staticMember() throws Exception {
        String topic = topic("static", 2), group = name("g");
        for (int round = 0; round < 2; round++) {
            try (KafkaConsumer<byte[], byte[]> consumer = consumer(group, Map.of("group.instance.id", "one"))) {
                consumer.subscribe(List.of(topic));
                until("it has all", () -> poll(consumer, 50) != null && consumer.assignment().size() == 2);
            }
        }
        try (KafkaConsumer<byte[], byte[]> old = consumer(group, Map.of("group.instance.id", "one"));
             KafkaConsumer<byte[], byte[]> young = consumer(group, Map.of("group.instance.id", "one"))) {
            old.subscribe(List.of(topic));
            until("the old has all", () -> poll(old, 50) != null && old.assignment().size() == 2);
            young.subscribe(List.of(topic));
            until("the young has all", () -> poll(young, 50) != null && young.assignment().size() == 2);
            fails(FencedInstanceIdException.class, () -> until("the old is fenced", () -> {
                poll(young, 50);
                poll(old, 50);
                return false;
            }));
        }
    }

    static void pattern() throws Exception {
        String prefix = name("pattern"), group = name("g");
        admin.createTopics(List.of(new NewTopic(prefix + "-a", 1, (short) 1), new NewTopic(prefix + "-b", 1, (short) 1))).all().get();
        try (KafkaConsumer<byte[], byte[]> consumer = consumer(group, Map.of("group.protocol", "consumer"))) {
            consumer.subscribe(new SubscriptionPattern(prefix + "-[ab]"));
            until("both topics", () -> poll(consumer, 50) != null && consumer.assignment().size() == 2);
        }
    }

    static Map<String, Object> txn(String id) {
        return Map.of("transactional.id", id, "transaction.timeout.ms", 30000);
    }

    static void transactions() throws Exception {
        String topic = topic("txn", 2);
        try (KafkaProducer<byte[], byte[]> producer = producer(txn(name("t")))) {
            producer.initTransactions();
            for (int round = 0; round < 3; round++) {
                producer.beginTransaction();
                for (int n = 0; n < 20; n++) producer.send(new ProducerRecord<>(topic, n % 2, NONE, bytes(round + "-" + n)));
                if (round == 1) {
                    producer.flush();
                    producer.abortTransaction();
                } else {
                    producer.commitTransaction();
                }
            }
        }
        for (int p = 0; p < 2; p++) {
            List<String> expected = new ArrayList<>(numbered("0-", p, 20, 2));
            expected.addAll(numbered("2-", p, 20, 2));
            equal(values(readAll(topic, p, 20, COMMITTED)), expected, "read_committed");
            readAll(topic, p, 30, Map.of());
        }
    }

    static void openTransaction() throws Exception {
        String topic = topic("open", 1);
        TopicPartition place = new TopicPartition(topic, 0);
        try (KafkaProducer<byte[], byte[]> producer = producer(txn(name("t")));
             KafkaConsumer<byte[], byte[]> consumer = consumer(null, COMMITTED)) {
            producer.initTransactions();
            producer.beginTransaction();
            producer.send(new ProducerRecord<>(topic, 0, NONE, bytes("undecided"))).get();
            fill(topic, 3, 1, Map.of());
            consumer.assign(List.of(place));
            consumer.seekToBeginning(List.of(place));
            nothingMore(consumer, 1000);
            equal(consumer.endOffsets(List.of(place)).get(place), 0L, "last stable offset");
            producer.commitTransaction();
            equal(values(collect(consumer, 4)), List.of("undecided", "v0", "v1", "v2"), "after the commit");
        }
    }

    static void transactionalOffsets() throws Exception {
        String source = topic("source", 1), sink = topic("sink", 1), group = name("g");
        TopicPartition place = new TopicPartition(source, 0);
        fill(source, 20, 1, Map.of());
        try (KafkaProducer<byte[], byte[]> producer = producer(txn(name("t")));
             KafkaConsumer<byte[], byte[]> consumer = consumer(group, COMMITTED)) {
            producer.initTransactions();
            consumer.subscribe(List.of(source));
            List<ConsumerRecord<byte[], byte[]>> found = collect(consumer, 20);
            for (int upto : new int[] {10, 20}) {
                producer.beginTransaction();
                for (ConsumerRecord<byte[], byte[]> r : found.subList(upto - 10, upto)) {
                    producer.send(new ProducerRecord<>(sink, 0, NONE, r.value()));
                }
                producer.sendOffsetsToTransaction(Map.of(place, new OffsetAndMetadata(upto)), consumer.groupMetadata());
                if (upto == 10) producer.commitTransaction(); else producer.abortTransaction();
            }
            equal(consumer.committed(Set.of(place)).get(place).offset(), 10L, "committed offset");
        }
        readAll(sink, 0, 10, COMMITTED);
    }

    static void fencing() throws Exception {
        String topic = topic("fence", 1), id = name("t");
        try (KafkaProducer<byte[], byte[]> old = producer(txn(id)); KafkaProducer<byte[], byte[]> young = producer(txn(id))) {
            old.initTransactions();
            old.beginTransaction();
            old.send(new ProducerRecord<>(topic, 0, NONE, bytes("zombie"))).get();
            young.initTransactions();
            fails(ApiException.class, () -> {
                old.send(new ProducerRecord<>(topic, 0, NONE, bytes("more")));
                try {
                    old.commitTransaction();
                } catch (ProducerFencedException | InvalidProducerEpochException e) {
                    throw e;
                }
            });
            young.beginTransaction();
            young.send(new ProducerRecord<>(topic, 0, NONE, bytes("new")));
            young.commitTransaction();
        }
        equal(values(readAll(topic, 0, 1, COMMITTED)), List.of("new"), "read_committed");
    }

    static void fencedOffsets() throws Exception {
        String source = topic("source", 1), group = name("g");
        fill(source, 5, 1, Map.of());
        TopicPartition place = new TopicPartition(source, 0);
        try (KafkaProducer<byte[], byte[]> producer = producer(txn(name("t")));
             KafkaConsumer<byte[], byte[]> consumer = consumer(group, Map.of())) {
            consumer.subscribe(List.of(source));
            collect(consumer, 5);
            ConsumerGroupMetadata is = consumer.groupMetadata();
            ConsumerGroupMetadata was = new ConsumerGroupMetadata(is.groupId(), is.generationId() - 1, is.memberId(), is.groupInstanceId());
            producer.initTransactions();
            producer.beginTransaction();
            fails(CommitFailedException.class, () -> {
                producer.sendOffsetsToTransaction(Map.of(place, new OffsetAndMetadata(5)), was);
                producer.commitTransaction();
            });
            producer.abortTransaction();
            producer.beginTransaction();
            producer.sendOffsetsToTransaction(Map.of(place, new OffsetAndMetadata(5)), is);
            producer.commitTransaction();
            equal(consumer.committed(Set.of(place)).get(place).offset(), 5L, "committed");
        }
    }

    static void adminTopics() throws Exception {
        String topic = topic("admin", 2, Map.of("retention.ms", "123456"));
        fails(TopicExistsException.class, () -> admin.createTopics(List.of(new NewTopic(topic, 1, (short) 1))).all().get());
        fails(InvalidTopicException.class, () -> admin.createTopics(List.of(new NewTopic("bad/name", 1, (short) 1))).all().get());
        fails(InvalidReplicationFactorException.class, () -> admin.createTopics(List.of(new NewTopic(name("r"), 1, (short) 3))).all().get());
        fails(InvalidConfigurationException.class, () -> admin.createTopics(List.of(
                new NewTopic(name("c"), 1, (short) 1).configs(Map.of("no.such.key", "1")))).all().get());
        String dry = name("dry");
        var created = admin.createTopics(List.of(new NewTopic(dry, 3, (short) 1)), new CreateTopicsOptions().validateOnly(true));
        equal(created.numPartitions(dry).get(), 3, "partitions of a validated topic");
        fails(UnknownTopicOrPartitionException.class, () -> admin.describeTopics(List.of(dry)).allTopicNames().get());
        admin.createPartitions(Map.of(topic, NewPartitions.increaseTo(5))).all().get();
        fails(InvalidPartitionsException.class, () -> admin.createPartitions(Map.of(topic, NewPartitions.increaseTo(3))).all().get());
        TopicDescription found = admin.describeTopics(List.of(topic)).allTopicNames().get().get(topic);
        equal(found.partitions().size(), 5, "partitions");
        TopicDescription byId = admin.describeTopics(TopicCollection.ofTopicIds(List.of(found.topicId()))).allTopicIds().get().get(found.topicId());
        equal(byId.name(), topic, "by its id");
        if (!admin.listTopics().names().get().contains(topic)) throw new AssertionError("not listed");
        admin.deleteTopics(List.of(topic)).all().get();
        fails(UnknownTopicOrPartitionException.class, () -> admin.deleteTopics(List.of(topic)).all().get());
    }

    static void adminConfigs() throws Exception {
        String topic = topic("configs", 1, Map.of("retention.ms", "123456"));
        ConfigResource resource = new ConfigResource(ConfigResource.Type.TOPIC, topic);
        Config found = admin.describeConfigs(List.of(resource), new DescribeConfigsOptions().includeSynonyms(true)
                .includeDocumentation(true)).all().get().get(resource);
        ConfigEntry entry = found.get("retention.ms");
        equal(entry.value(), "123456", "retention.ms");
        equal(entry.source(), ConfigEntry.ConfigSource.DYNAMIC_TOPIC_CONFIG, "source");
        equal(found.get("cleanup.policy").source(), ConfigEntry.ConfigSource.DEFAULT_CONFIG, "source of a default");
        if (entry.documentation() == null || entry.documentation().isEmpty()) throw new AssertionError("no documentation");
        admin.incrementalAlterConfigs(Map.of(resource, List.of(
                new AlterConfigOp(new ConfigEntry("max.message.bytes", "2000"), AlterConfigOp.OpType.SET),
                new AlterConfigOp(new ConfigEntry("cleanup.policy", "compact"), AlterConfigOp.OpType.APPEND),
                new AlterConfigOp(new ConfigEntry("retention.ms", ""), AlterConfigOp.OpType.DELETE)))).all().get();
        found = admin.describeConfigs(List.of(resource)).all().get().get(resource);
        equal(found.get("max.message.bytes").value(), "2000", "set");
        equal(found.get("cleanup.policy").value(), "delete,compact", "appended");
        equal(found.get("retention.ms").value(), "604800000", "back to the default");
        fails(InvalidConfigurationException.class, () -> admin.incrementalAlterConfigs(Map.of(resource, List.of(
                new AlterConfigOp(new ConfigEntry("retention.ms", "soon"), AlterConfigOp.OpType.SET)))).all().get());
        int node = admin.describeCluster().nodes().get().iterator().next().id();
        ConfigResource broker = new ConfigResource(ConfigResource.Type.BROKER, "" + node);
        Config brokers = admin.describeConfigs(List.of(broker)).all().get().get(broker);
        if (brokers.entries().size() < 30) throw new AssertionError("only " + brokers.entries().size() + " broker configs");
        ConfigResource everywhere = new ConfigResource(ConfigResource.Type.BROKER, "");
        admin.incrementalAlterConfigs(Map.of(everywhere, List.of(
                new AlterConfigOp(new ConfigEntry("message.max.bytes", "1234567"), AlterConfigOp.OpType.SET)))).all().get();
        until("the cluster's default changes the topic's", () -> {
            try {
                ConfigResource other = new ConfigResource(ConfigResource.Type.BROKER, "" + node);
                return "1234567".equals(admin.describeConfigs(List.of(other)).all().get().get(other).get("message.max.bytes").value());
            } catch (Exception e) {
                throw new AssertionError(e);
            }
        });
        admin.incrementalAlterConfigs(Map.of(everywhere, List.of(
                new AlterConfigOp(new ConfigEntry("message.max.bytes", ""), AlterConfigOp.OpType.DELETE)))).all().get();
    }

    static void adminGroups() throws Exception {
        String topic = topic("groups", 1), group = name("g");
        fill(topic, 10, 1, Map.of());
        TopicPartition place = new TopicPartition(topic, 0);
        try (KafkaConsumer<byte[], byte[]> consumer = consumer(group, Map.of("client.id", "the-client"))) {
            consumer.subscribe(List.of(topic));
            collect(consumer, 10);
            consumer.commitSync(Map.of(place, new OffsetAndMetadata(6)));
            ConsumerGroupDescription found = admin.describeConsumerGroups(List.of(group)).all().get().get(group);
            equal(found.groupState(), GroupState.STABLE, "state");
            MemberDescription member = found.members().iterator().next();
            equal(member.clientId(), "the-client", "client id");
            equal(member.assignment().topicPartitions(), Set.of(place), "assignment");
            fails(GroupNotEmptyException.class, () -> admin.deleteConsumerGroups(List.of(group)).all().get());
            fails(GroupSubscribedToTopicException.class, () -> admin.deleteConsumerGroupOffsets(group, Set.of(place)).all().get());
            admin.removeMembersFromConsumerGroup(group, new RemoveMembersFromConsumerGroupOptions()).all().get();
        }
        until("it is empty", () -> {
            try {
                return admin.describeConsumerGroups(List.of(group)).all().get().get(group).groupState() == GroupState.EMPTY;
            } catch (Exception e) {
                throw new AssertionError(e);
            }
        });
        equal(admin.listConsumerGroupOffsets(group).partitionsToOffsetAndMetadata().get().get(place).offset(), 6L, "offset");
        admin.alterConsumerGroupOffsets(group, Map.of(place, new OffsetAndMetadata(3))).all().get();
        equal(admin.listConsumerGroupOffsets(group).partitionsToOffsetAndMetadata().get().get(place).offset(), 3L, "altered");
        admin.deleteConsumerGroupOffsets(group, Set.of(place)).all().get();
        equal(admin.listConsumerGroupOffsets(group).partitionsToOffsetAndMetadata().get().get(place), null, "deleted");
        admin.deleteConsumerGroups(List.of(group)).all().get();
        fails(GroupIdNotFoundException.class, () -> admin.deleteConsumerGroups(List.of(group)).all().get());
    }

    static void adminTransactions() throws Exception {
        String topic = topic("txnadmin", 1), id = name("t");
        TopicPartition place = new TopicPartition(topic, 0);
        try (KafkaProducer<byte[], byte[]> producer = producer(txn(id))) {
            producer.initTransactions();
            producer.beginTransaction();
            producer.send(new ProducerRecord<>(topic, 0, NONE, bytes("x"))).get();
            TransactionDescription found = admin.describeTransactions(List.of(id)).all().get().get(id);
            equal(found.state(), TransactionState.ONGOING, "state");
            equal(found.topicPartitions(), Set.of(place), "partitions");
            if (admin.listTransactions().all().get().stream().noneMatch(t -> t.transactionalId().equals(id))) throw new AssertionError("not listed");
            ProducerState state = admin.describeProducers(List.of(place)).all().get().get(place).activeProducers().get(0);
            equal(state.currentTransactionStartOffset(), OptionalLong.of(0), "start of the transaction");
            equal(state.producerId(), found.producerId(), "producer id");
            admin.abortTransaction(new AbortTransactionSpec(place, state.producerId(), (short) state.producerEpoch(),
                    state.coordinatorEpoch().orElse(0))).all().get();
            equal(admin.describeProducers(List.of(place)).all().get().get(place).activeProducers().get(0)
                    .currentTransactionStartOffset(), OptionalLong.empty(), "after the abort");
            admin.fenceProducers(List.of(id)).all().get();
            fails(ApiException.class, producer::commitTransaction);
        }
        fails(TransactionalIdNotFoundException.class, () -> admin.describeTransactions(List.of(name("none"))).all().get());
    }

    static void adminCluster() throws Exception {
        equal(admin.describeCluster().nodes().get().size(), 1, "nodes");
        if (admin.describeCluster().clusterId().get().isEmpty()) throw new AssertionError("no cluster id");
        FeatureMetadata features = admin.describeFeatures().featureMetadata().get();
        equal(features.finalizedFeatures().get("transaction.version").maxVersionLevel(), (short) 2, "transaction.version");
        equal(features.finalizedFeatures().get("group.version").maxVersionLevel(), (short) 1, "group.version");
        if (!features.finalizedFeatures().containsKey("metadata.version")) throw new AssertionError("no metadata.version");
        int node = admin.describeCluster().nodes().get().iterator().next().id();
        String topic = topic("dirs", 1);
        fill(topic, 100, 1, Map.of());
        var dirs = admin.describeLogDirs(List.of(node)).allDescriptions().get().get(node);
        long size = dirs.values().stream().flatMap(d -> d.replicaInfos().entrySet().stream())
                .filter(e -> e.getKey().topic().equals(topic)).mapToLong(e -> e.getValue().size()).sum();
        if (size <= 0) throw new AssertionError("the topic has no size");
        QuorumInfo quorum = admin.describeMetadataQuorum().quorumInfo().get();
        equal(quorum.leaderId(), node, "leader of the quorum");
        admin.listPartitionReassignments().reassignments().get();
        fails(ElectionNotNeededException.class, () -> {
            TopicPartition place = new TopicPartition(topic, 0);
            admin.electLeaders(ElectionType.PREFERRED, Set.of(place)).partitions().get().get(place).ifPresent(e -> {
                throw new RuntimeException(e);
            });
        });
        admin.describeClientQuotas(org.apache.kafka.common.quota.ClientQuotaFilter.all()).entities().get();
    }

    static void deleteRecords() throws Exception {
        String topic = topic("delete", 1);
        fill(topic, 20, 1, Map.of());
        TopicPartition place = new TopicPartition(topic, 0);
        equal(admin.deleteRecords(Map.of(place, RecordsToDelete.beforeOffset(12))).lowWatermarks().get(place).get().lowWatermark(), 12L, "low watermark");
        equal(readAll(topic, 0, 8, Map.of()).get(0).offset(), 12L, "the first left");
        fails(org.apache.kafka.common.errors.OffsetOutOfRangeException.class, () -> admin.deleteRecords(Map.of(place, RecordsToDelete.beforeOffset(99))).all().get());
        equal(admin.deleteRecords(Map.of(place, RecordsToDelete.beforeOffset(-1))).lowWatermarks().get(place).get().lowWatermark(), 20L, "all of them");
    }

    static void big() throws Exception {
        String topic = topic("big", 1, Map.of("max.message.bytes", "11534336")), small = topic("small", 1);
        Map<String, ?> config = Map.of("max.request.size", 11 << 20, "buffer.memory", 64L << 20);
        try (KafkaProducer<byte[], byte[]> producer = producer(config)) {
            for (int size : new int[] {1 << 20, 3 << 20, 10 << 20}) {
                byte[] value = new byte[size];
                new Random(size).nextBytes(value);
                producer.send(new ProducerRecord<>(topic, 0, NONE, value)).get();
            }
            fails(RecordTooLargeException.class, () -> producer.send(new ProducerRecord<>(small, 0, NONE, new byte[2 << 20])).get());
            producer.send(new ProducerRecord<>(small, 0, NONE, bytes("fits"))).get();
        }
        List<ConsumerRecord<byte[], byte[]>> found = readAll(topic, 0, 3, Map.of());
        for (ConsumerRecord<byte[], byte[]> r : found) {
            byte[] expected = new byte[r.value().length];
            new Random(expected.length).nextBytes(expected);
            if (!Arrays.equals(expected, r.value())) throw new AssertionError("the value is another one");
        }
        equal(values(readAll(small, 0, 1, Map.of())), List.of("fits"), "what was taken");
    }

    static void compacted() throws Exception {
        String topic = topic("compact", 1, Map.of("cleanup.policy", "compact"));
        try (KafkaProducer<byte[], byte[]> producer = producer(Map.of())) {
            fails(InvalidRecordException.class, () -> producer.send(new ProducerRecord<>(topic, 0, NONE, bytes("no key"))).get());
            producer.send(new ProducerRecord<>(topic, 0, bytes("k"), bytes("v"))).get();
        }
        readAll(topic, 0, 1, Map.of());
    }

    /** Fetch sessions: partitions come and go, and most of them have nothing new. */
    static void sessions() throws Exception {
        String topic = topic("sessions", 30);
        try (KafkaConsumer<byte[], byte[]> consumer = consumer(null, Map.of("fetch.max.wait.ms", 20));
             KafkaProducer<byte[], byte[]> producer = producer(Map.of("linger.ms", 0))) {
            List<TopicPartition> places = new ArrayList<>();
            for (int p = 0; p < 30; p++) places.add(new TopicPartition(topic, p));
            consumer.assign(places);
            consumer.seekToBeginning(places);
            for (int round = 0; round < 30; round++) {
                producer.send(new ProducerRecord<>(topic, round, NONE, bytes("a" + round))).get();
                equal(values(collect(consumer, 1)), List.of("a" + round), "round " + round);
            }
            consumer.assign(places.subList(10, 20));
            consumer.seekToEnd(places.subList(10, 20));
            for (TopicPartition place : places.subList(10, 20)) consumer.position(place);
            producer.send(new ProducerRecord<>(topic, 5, NONE, bytes("not asked for"))).get();
            producer.send(new ProducerRecord<>(topic, 15, NONE, bytes("asked for"))).get();
            equal(values(collect(consumer, 1)), List.of("asked for"), "after the change");
            nothingMore(consumer, 300);
        }
    }
}
