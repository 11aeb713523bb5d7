import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.*;
import org.apache.kafka.clients.consumer.*;
import org.apache.kafka.clients.producer.*;
import org.apache.kafka.common.KafkaException;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.errors.TimeoutException;
import org.apache.kafka.common.serialization.*;

/** A worker of soak.py: reads, transforms and writes in transactions (v2), its group of the consumer protocol. */
public final class Soak {
    static final Random DICE = new Random();

    public static void main(String[] args) throws Exception {
        while (true) {
            try {
                session(args[0], args[1], args[2], args[3]);
            } catch (KafkaException | IllegalStateException error) {
                System.err.println("starts anew after " + error);
                Thread.sleep(100);
            }
        }
    }

    /** Until something goes wrong: then the transaction is left to the next session, which aborts it by its id. */
    static void session(String bootstrap, String sink, String group, String identity) {
        Map<String, Object> common = Map.of("bootstrap.servers", bootstrap, "reconnect.backoff.max.ms", 300);
        Map<String, Object> writes = new HashMap<>(common);
        writes.putAll(Map.of("transactional.id", identity, "transaction.timeout.ms", 15000, "linger.ms", 2));
        Map<String, Object> reads = new HashMap<>(common);
        reads.putAll(Map.of("group.id", group, "group.protocol", "consumer", "enable.auto.commit", false, "auto.offset.reset", "earliest",
                "isolation.level", "read_committed", "fetch.max.wait.ms", 50, "max.poll.records", 1 + DICE.nextInt(300)));
        KafkaProducer<String, String> producer = new KafkaProducer<>(writes, new StringSerializer(), new StringSerializer());
        KafkaConsumer<String, String> consumer = new KafkaConsumer<>(reads, new StringDeserializer(), new StringDeserializer());
        try {
            producer.initTransactions();
            consumer.subscribe(List.of("soak-input"));
            while (true) {
                ConsumerRecords<String, String> found = consumer.poll(Duration.ofMillis(200));
                if (found.isEmpty()) continue;
                producer.beginTransaction();
                Map<TopicPartition, OffsetAndMetadata> ends = new HashMap<>();
                for (ConsumerRecord<String, String> r : found) {
                    producer.send(new ProducerRecord<>(sink, r.partition(), null, r.partition() + ":" + r.offset()));
                    ends.put(new TopicPartition(r.topic(), r.partition()), new OffsetAndMetadata(r.offset() + 1));
                }
                if (DICE.nextInt(20) == 0) {
                    producer.flush();
                    throw new IllegalStateException("on purpose");
                }
                producer.sendOffsetsToTransaction(ends, consumer.groupMetadata());
                commit(producer);
            }
        } finally {
            consumer.close(CloseOptions.timeout(Duration.ofSeconds(2)));
            producer.close(Duration.ZERO);
        }
    }

    /** A commit that has timed out may be asked for again: its outcome is not known before. */
    static void commit(KafkaProducer<String, String> producer) {
        while (true) {
            try {
                producer.commitTransaction();
                return;
            } catch (TimeoutException again) {
                System.err.println("commits again after " + again);
            }
        }
    }
}
