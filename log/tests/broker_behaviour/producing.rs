//! What Produce takes, what it refuses, and what it says then.

use bytes::Bytes;
use thalweg_log::record::{BatchBuilder, Compression, RecordBatch, TimestampType, batches};
use thalweg_log::wire::ErrorCode;
use thalweg_log::wire::messages::*;

use crate::bench::*;

const HOUR: i64 = 3_600_000;

fn now() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    i64::try_from(since.unwrap().as_millis()).unwrap()
}

/// A batch of records: key and timestamp.
fn records(compression: Compression, records: &[(Option<&str>, i64)]) -> Bytes {
    let mut batch = BatchBuilder::new(compression);
    for (key, timestamp) in records {
        let key = key.map(str::as_bytes);
        batch.append(*timestamp, key, Some(b"v"), &[]).unwrap();
    }
    batch.build().unwrap()
}

fn errors(answer: &PartitionProduceResponse) -> Vec<i32> {
    let errors = answer.record_errors.iter();
    errors
        .map(|error| {
            assert!(error.batch_index_error_message.is_some());
            error.batch_index
        })
        .collect()
}

fn stored(data: &PartitionData) -> Vec<RecordBatch> {
    batches(data.records.clone().unwrap())
        .map(|batch| {
            let batch = batch.unwrap();
            batch.verify().unwrap();
            batch
        })
        .collect()
}

#[tokio::test]
async fn a_compacted_topic_says_which_records_have_no_key() {
    let bench = Bench::start(&[]).await;
    bench
        .create("t", 1, &[("cleanup.policy", "compact,delete")])
        .await;
    for compression in [Compression::None, Compression::Lz4] {
        let batch = records(compression, &[(Some("a"), 0), (None, 0), (None, 0)]);
        let answer = bench.produce("t", -1, batch.clone()).await;
        assert_eq!(code(answer.error_code), ErrorCode::InvalidRecord);
        assert_eq!(errors(&answer), [1, 2]);
        assert!(answer.error_message.unwrap().contains("key"));
        // Before version 8 there is only the code.
        let old = bench.ask_at(produce("t", -1, batch), 7).await;
        let old = &old.responses[0].partition_responses[0];
        assert_eq!(code(old.error_code), ErrorCode::InvalidRecord);
    }
    let keyed = records(Compression::None, &[(Some("a"), 0), (Some(""), 0)]);
    assert_eq!(bench.produce("t", -1, keyed).await.error_code, 0);
    assert_eq!(bench.fetch("t", 0, 1, 0).await.high_watermark, 2);
}

#[tokio::test]
async fn timestamps_too_far_from_the_brokers_clock_are_named() {
    let bench = Bench::start(&[]).await;
    bench
        .create(
            "t",
            1,
            &[
                ("message.timestamp.before.max.ms", "7200000"),
                ("message.timestamp.after.max.ms", "3600000"),
            ],
        )
        .await;
    let now = now();
    let batch = records(
        Compression::Zstd,
        &[
            (None, now),
            (None, now - 3 * HOUR),
            (None, now + 2 * HOUR),
            (None, -1),
        ],
    );
    let answer = bench.produce("t", -1, batch).await;
    assert_eq!(code(answer.error_code), ErrorCode::InvalidTimestamp);
    assert_eq!(errors(&answer), [1, 2]);
    let near = records(Compression::None, &[(None, now - HOUR), (None, now)]);
    let answer = bench.produce("t", -1, near).await;
    assert_eq!((answer.error_code, answer.log_append_time_ms), (0, -1));
    // By default only the future is limited.
    bench.create("u", 1, &[]).await;
    let old = records(Compression::None, &[(None, 1)]);
    assert_eq!(bench.produce("u", -1, old).await.error_code, 0);
    let future = records(Compression::None, &[(None, now), (None, now + 2 * HOUR)]);
    assert_eq!(errors(&bench.produce("u", -1, future).await), [1]);
}

#[tokio::test]
async fn the_brokers_clock_stamps_where_the_topic_says_so() {
    let bench = Bench::start(&[]).await;
    bench
        .create("t", 1, &[("message.timestamp.type", "LogAppendTime")])
        .await;
    let before = now();
    for compression in [Compression::None, Compression::Gzip] {
        // However wrong the producer's clock is.
        let batch = records(compression, &[(None, i64::MAX), (None, 5)]);
        let answer = bench.produce("t", -1, batch).await;
        assert_eq!(answer.error_code, 0);
        assert!(answer.log_append_time_ms >= before);
        let data = bench.fetch("t", answer.base_offset, 1, 0).await;
        let [batch] = &stored(&data)[..] else {
            panic!("one batch")
        };
        assert_eq!(batch.timestamp_type(), TimestampType::LogAppendTime);
        for record in batch.records().unwrap() {
            assert_eq!(record.unwrap().timestamp, answer.log_append_time_ms);
        }
    }
    // Only the broker may say so.
    let mut lie = BatchBuilder::new(Compression::None);
    lie.timestamp_type(TimestampType::LogAppendTime);
    lie.append(5, None, None, &[]).unwrap();
    let answer = bench.produce("t", -1, lie.build().unwrap()).await;
    assert_eq!(code(answer.error_code), ErrorCode::InvalidTimestamp);
}

#[tokio::test]
async fn batches_are_stored_with_the_topics_codec() {
    let bench = Bench::start(&[]).await;
    let codecs = [
        ("producer", None),
        ("uncompressed", Some(Compression::None)),
        ("gzip", Some(Compression::Gzip)),
        ("snappy", Some(Compression::Snappy)),
        ("lz4", Some(Compression::Lz4)),
        ("zstd", Some(Compression::Zstd)),
    ];
    for (name, codec) in codecs {
        bench.create(name, 1, &[("compression.type", name)]).await;
        for source in [Compression::None, Compression::Snappy, Compression::Zstd] {
            let batch = records(source, &[(Some("k"), 1), (None, 2)]);
            let answer = bench.produce(name, -1, batch).await;
            assert_eq!(answer.error_code, 0);
            let data = bench.fetch(name, answer.base_offset, 1, 0).await;
            let stored = stored(&data);
            assert_eq!(stored[0].compression(), codec.unwrap_or(source));
            let records = stored[0].records().unwrap().map(Result::unwrap);
            let records: Vec<_> = records.map(|r| (r.offset, r.timestamp, r.key)).collect();
            let key = Some(Bytes::from("k"));
            let first = answer.base_offset;
            assert_eq!(records, [(first, 1, key), (first + 1, 2, None)]);
        }
    }
}

#[tokio::test]
async fn what_is_too_large_is_refused_before_and_after_compression() {
    let bench = Bench::start(&[]).await;
    let limit = ("max.message.bytes", "1000");
    bench.create("t", 1, &[limit]).await;
    bench
        .create("plain", 1, &[limit, ("compression.type", "uncompressed")])
        .await;
    let big = |compression| {
        let mut batch = BatchBuilder::new(compression);
        batch.append(0, None, Some(&[7; 2000]), &[]).unwrap();
        batch.build().unwrap()
    };
    let answer = bench.produce("t", -1, big(Compression::None)).await;
    assert_eq!(code(answer.error_code), ErrorCode::MessageTooLarge);
    assert_eq!(answer.base_offset, -1);
    assert!(answer.error_message.unwrap().contains("max.message.bytes"));
    // It is the stored size that counts.
    let packed = big(Compression::Lz4);
    assert!(packed.len() < 1000);
    assert_eq!(bench.produce("t", -1, packed.clone()).await.error_code, 0);
    let answer = bench.produce("plain", -1, packed).await;
    assert_eq!(code(answer.error_code), ErrorCode::MessageTooLarge);
    assert_eq!(bench.fetch("plain", 0, 1, 0).await.high_watermark, 0);
}

#[tokio::test]
async fn bytes_that_are_no_batch_get_the_code_that_fits() {
    let bench = Bench::start(&[]).await;
    bench.create("t", 1, &[]).await;
    let good = records(Compression::None, &[(None, 1)]);
    let changed = |at: usize, to: u8| {
        let mut bytes = good.to_vec();
        bytes[at] = to;
        Bytes::from(bytes)
    };
    let control = {
        let mut batch = BatchBuilder::new(Compression::None);
        batch.control(true);
        batch.append(0, Some(b"k"), None, &[]).unwrap();
        batch.build().unwrap()
    };
    let without_sequence = {
        let mut batch = BatchBuilder::new(Compression::None);
        batch.producer(5, 0, -1);
        batch.append(0, None, None, &[]).unwrap();
        batch.build().unwrap()
    };
    let two = Bytes::from([&good[..], &good[..]].concat());
    let last = good.len() - 1;
    for (what, bytes, expected) in [
        ("nothing", Bytes::new(), ErrorCode::InvalidRecord),
        ("another CRC", changed(last, 9), ErrorCode::CorruptMessage),
        ("cut", good.slice(..last), ErrorCode::InvalidRecord),
        ("an old magic", changed(16, 1), ErrorCode::InvalidRecord),
        ("two batches", two, ErrorCode::InvalidRecord),
        ("a control batch", control, ErrorCode::InvalidRecord),
        ("no sequence", without_sequence, ErrorCode::InvalidRecord),
    ] {
        let answer = bench.produce("t", -1, bytes).await;
        assert_eq!(code(answer.error_code), expected, "{what}");
        assert!(answer.error_message.is_some(), "{what}");
    }
    // Its name is not known before version 7.
    let zstd = records(Compression::Zstd, &[(None, 1)]);
    let old = bench.ask_at(produce("t", -1, zstd), 6).await;
    assert_eq!(
        code(old.responses[0].partition_responses[0].error_code),
        ErrorCode::UnsupportedCompressionType
    );
    assert_eq!(bench.fetch("t", 0, 1, 0).await.high_watermark, 0);
}

#[tokio::test]
async fn sequences_are_kept_through_the_handler() {
    let mut bench = Bench::start(&[]).await;
    bench.create("t", 1, &[]).await;
    let batch = |epoch: i16, sequence: i32| {
        let mut batch = BatchBuilder::new(Compression::None);
        batch.producer(5, epoch, sequence);
        batch.append(0, None, Some(b"v"), &[]).unwrap();
        batch.build().unwrap()
    };
    // Unknown, it may start anywhere; here close to the wrap.
    let first = i32::MAX - 1;
    for (n, sequence) in [first, i32::MAX, 0, 1, 2].into_iter().enumerate() {
        let answer = bench.produce("t", -1, batch(1, sequence)).await;
        assert_eq!((answer.error_code, answer.base_offset), (0, n as i64));
    }
    for restart in [false, true] {
        if restart {
            bench.restart(&[]).await;
        }
        // The last five are known, and each gets the offset that it got.
        for (n, sequence) in [first, i32::MAX, 0, 1, 2].into_iter().enumerate() {
            let answer = bench.produce("t", -1, batch(1, sequence)).await;
            assert_eq!((answer.error_code, answer.base_offset), (0, n as i64));
        }
        for (epoch, sequence, expected) in [
            (1, 4, ErrorCode::OutOfOrderSequenceNumber),
            (0, 3, ErrorCode::InvalidProducerEpoch),
            (2, 3, ErrorCode::OutOfOrderSequenceNumber),
        ] {
            let answer = bench.produce("t", -1, batch(epoch, sequence)).await;
            assert_eq!(code(answer.error_code), expected);
        }
    }
    let answer = bench.produce("t", -1, batch(1, 3)).await;
    assert_eq!((answer.error_code, answer.base_offset), (0, 5));
    let old = bench.produce("t", -1, batch(1, first)).await;
    let expected = ErrorCode::OutOfOrderSequenceNumber;
    assert_eq!(code(old.error_code), expected, "it is the sixth back");
    assert_eq!(bench.produce("t", -1, batch(2, 0)).await.base_offset, 6);
}

/// `compression.*.level` holds for what the broker compresses anew.
#[tokio::test]
async fn codecs_try_as_hard_as_the_topic_says() {
    let bench = Bench::start(&[]).await;
    // Words that repeat at a distance, so that trying harder pays.
    let mut seed = 1u32;
    let words: Vec<String> = (0..20_000)
        .map(|_| {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (seed >> 21).to_string()
        })
        .collect();
    let plain = batch(&[&words.join(" ")]);
    for (codec, easy, hard) in [("gzip", "1", "9"), ("zstd", "-1000", "19")] {
        let mut sizes = Vec::new();
        for level in [easy, hard] {
            let name = format!("{codec}.{level}");
            let key = format!("compression.{codec}.level");
            let configs = [("compression.type", codec), (key.as_str(), level)];
            bench.create(&name, 1, &configs).await;
            let answer = bench.produce(&name, -1, plain.clone()).await;
            assert_eq!(answer.error_code, 0);
            let read = bench.fetch(&name, 0, 1, 0).await;
            sizes.push(read.records.unwrap().len());
        }
        assert!(sizes[1] * 20 < sizes[0] * 19, "{codec}: {sizes:?}");
    }
}

/// Clients know zstd since version 10 of the fetch.
#[tokio::test]
async fn older_clients_are_not_given_what_is_stored_by_zstd() {
    let bench = Bench::start(&[]).await;
    bench.create("z", 1, &[("compression.type", "zstd")]).await;
    bench.create("p", 1, &[]).await;
    for name in ["z", "p"] {
        bench.produce(name, -1, batch(&["a"])).await;
    }
    for version in 4..=12 {
        let read = async |name: &str| {
            let answer = bench.ask_at(fetch(name, 0, 1, 60_000), version).await;
            answer.responses[0].partitions[0].clone()
        };
        let data = read("z").await;
        if version < 10 {
            assert_eq!(code(data.error_code), ErrorCode::UnsupportedCompressionType);
            assert_eq!(data.records.map(|r| r.len()), Some(0));
        } else {
            assert_eq!(values(&data), ["a"]);
        }
        assert_eq!(values(&read("p").await), ["a"]);
    }
}
