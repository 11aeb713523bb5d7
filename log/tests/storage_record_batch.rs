//! Record batches against another implementation of the format, and against damage.

use bytes::{Bytes, BytesMut};
use kafka_protocol::protocol::StrBytes;
use kafka_protocol::records as other;
use proptest::prelude::*;
use thalweg_log::record::{
    BatchBuilder, Compression, Header, Record, RecordBatch, RecordError, TimestampType, batches,
};

#[derive(Debug, Clone)]
struct Input {
    timestamp: i64,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    headers: Vec<(String, Option<Vec<u8>>)>,
}

fn nullable() -> impl Strategy<Value = Option<Vec<u8>>> {
    prop::option::of(prop::collection::vec(any::<u8>(), 0..200))
}

fn inputs() -> impl Strategy<Value = Vec<Input>> {
    let header = ("[a-z]{0,3}", nullable());
    let input = (
        1_600_000_000_000i64..1_600_000_100_000,
        nullable(),
        nullable(),
        prop::collection::vec(header, 0..4),
    )
        .prop_map(|(timestamp, key, value, headers)| Input {
            timestamp,
            key,
            value,
            headers,
        });
    prop::collection::vec(input, 1..40)
}

fn headers(input: &Input) -> Vec<Header> {
    input
        .headers
        .iter()
        .map(|(k, v)| Header::new(k.clone(), v.clone()))
        .collect()
}

fn build(inputs: &[Input], compression: Compression) -> Bytes {
    let mut builder = BatchBuilder::new(compression);
    builder
        .base_offset(1000)
        .partition_leader_epoch(7)
        .producer(42, 3, 17);
    for input in inputs {
        builder
            .append(
                input.timestamp,
                input.key.as_deref(),
                input.value.as_deref(),
                &headers(input),
            )
            .unwrap();
    }
    builder.build().unwrap()
}

fn expected(inputs: &[Input]) -> Vec<Record> {
    inputs
        .iter()
        .zip(1000..)
        .map(|(input, offset)| Record {
            offset,
            timestamp: input.timestamp,
            key: input.key.clone().map(Bytes::from),
            value: input.value.clone().map(Bytes::from),
            headers: headers(input),
        })
        .collect()
}

fn records(batch: &RecordBatch) -> Vec<Record> {
    batch.records().unwrap().collect::<Result<_, _>>().unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_is_built_is_read(inputs in inputs()) {
        for compression in Compression::ALL {
            let batch = RecordBatch::checked(build(&inputs, compression)).unwrap();
            prop_assert_eq!(batch.compression(), compression);
            prop_assert_eq!(batch.records_count as usize, inputs.len());
            prop_assert_eq!(batch.last_sequence(), 16 + inputs.len() as i32);
            prop_assert_eq!(batch.max_timestamp, inputs.iter().map(|i| i.timestamp).max().unwrap());
            prop_assert_eq!(records(&batch), expected(&inputs));
        }
    }

    #[test]
    fn the_other_implementation_reads_ours(inputs in inputs()) {
        let mut bytes = build(&inputs, Compression::None);
        let set = other::RecordBatchDecoder::decode(&mut bytes).unwrap();
        prop_assert_eq!(set.records.len(), inputs.len());
        for (theirs, ours) in set.records.iter().zip(expected(&inputs)) {
            prop_assert_eq!(theirs.offset, ours.offset);
            prop_assert_eq!(theirs.timestamp, ours.timestamp);
            prop_assert_eq!(&theirs.key, &ours.key);
            prop_assert_eq!(&theirs.value, &ours.value);
            prop_assert_eq!(theirs.partition_leader_epoch, 7);
            prop_assert_eq!((theirs.producer_id, theirs.producer_epoch), (42, 3));
            // It keeps one header a name: the last.
            for (name, value) in &theirs.headers {
                prop_assert_eq!(&ours.header(name).unwrap().value, value);
            }
        }
    }

    #[test]
    fn ours_reads_the_other_implementation(mut inputs in inputs()) {
        for input in &mut inputs {
            let mut seen = std::collections::HashSet::new();
            input.headers.retain(|(name, _)| seen.insert(name.clone()));
        }
        let theirs: Vec<_> = inputs.iter().zip(0i32..).map(|(input, n)| other::Record {
            transactional: false,
            control: false,
            delete_horizon: false,
            partition_leader_epoch: 7,
            producer_id: 42,
            producer_epoch: 3,
            timestamp_type: other::TimestampType::Creation,
            offset: 1000 + i64::from(n),
            sequence: 17 + n,
            timestamp: input.timestamp,
            key: input.key.clone().map(Bytes::from),
            value: input.value.clone().map(Bytes::from),
            headers: input.headers.iter()
                .map(|(k, v)| (StrBytes::from_string(k.clone()), v.clone().map(Bytes::from)))
                .collect(),
        }).collect();
        let mut bytes = BytesMut::new();
        let options = other::RecordEncodeOptions { version: 2, compression: other::Compression::None };
        other::RecordBatchEncoder::encode(&mut bytes, &theirs, &options).unwrap();
        let mut got = Vec::new();
        for batch in batches(bytes.freeze()) {
            let batch = batch.unwrap();
            batch.verify().unwrap();
            prop_assert_eq!((batch.producer_id, batch.producer_epoch), (42, 3));
            got.extend(records(&batch));
        }
        prop_assert_eq!(got, expected(&inputs));
    }

    #[test]
    fn any_flipped_bit_is_noticed(inputs in inputs(), at: prop::sample::Index, bit in 0u8..8) {
        let bytes = build(&inputs, Compression::Lz4);
        let mut damaged = bytes.to_vec();
        // Base offset, length's effect aside, and leader epoch lie outside of the CRC; storage
        // checks those against its own books.
        let at = 16 + at.index(damaged.len() - 16);
        damaged[at] ^= 1 << bit;
        prop_assert!(RecordBatch::checked(damaged.into()).is_err());
    }

    #[test]
    fn hostile_bytes_are_errors(mut bytes in prop::collection::vec(any::<u8>(), 0..400), shape: bool) {
        if shape && bytes.len() > 61 {
            // Past the header's own checks, to the records.
            let length = bytes.len() as i32 - 12;
            bytes[..8].copy_from_slice(&5i64.to_be_bytes());
            bytes[8..12].copy_from_slice(&length.to_be_bytes());
            bytes[16] = 2;
            bytes[22] &= 0xf8;
            bytes[23] &= 0x7f;
            bytes[57..61].copy_from_slice(&3i32.to_be_bytes());
        }
        let bytes = Bytes::from(bytes);
        for batch in batches(bytes).flatten() {
            if let Ok(records) = batch.records_within(1 << 20) {
                prop_assert!(records.take(10).count() <= 10);
            }
        }
    }
}

#[test]
fn several_batches_and_a_short_tail() {
    let mut bytes = BytesMut::new();
    for n in 0..3 {
        let mut builder = BatchBuilder::new(Compression::None);
        builder.base_offset(n * 2);
        builder.append(n, None, Some(b"a"), &[]).unwrap();
        builder.append(n, None, Some(b"b"), &[]).unwrap();
        bytes.extend_from_slice(&builder.build().unwrap());
    }
    let bytes = bytes.freeze();
    let one = bytes.len() / 3;
    for cut in 0..bytes.len() {
        let mut walk = batches(bytes.slice(..cut));
        let whole = walk.by_ref().map(Result::unwrap).count();
        assert_eq!(whole, cut / one);
        assert_eq!(walk.rest().len(), cut % one);
    }
}

#[test]
fn old_formats_are_named() {
    for magic in [0u8, 1] {
        let mut bytes = vec![0u8; 40];
        bytes[11] = 28;
        bytes[16] = magic;
        let error = batches(bytes.into()).next().unwrap().unwrap_err();
        assert_eq!(error, RecordError::OldMagic { magic: magic as i8 });
        assert!(error.to_string().contains("not supported"));
    }
}

#[test]
fn null_and_empty_are_different() {
    let mut builder = BatchBuilder::new(Compression::Zstd);
    let headers = [
        Header::new("h", Some("1")),
        Header::new("h", None::<Bytes>),
        Header::new("", Some("")),
    ];
    builder.append(0, None, Some(b""), &headers).unwrap();
    builder.append(0, Some(b""), None, &[]).unwrap();
    let batch = RecordBatch::checked(builder.build().unwrap()).unwrap();
    let records = records(&batch);
    assert_eq!(
        (&records[0].key, &records[0].value),
        (&None, &Some(Bytes::new()))
    );
    assert_eq!(
        (&records[1].key, &records[1].value),
        (&Some(Bytes::new()), &None)
    );
    assert_eq!(records[0].headers, headers);
    assert_eq!(records[0].header("h").unwrap().value, None);
}

#[test]
fn plain_records_are_slices_of_the_batch() {
    let mut builder = BatchBuilder::new(Compression::None);
    builder
        .append(0, Some(b"key"), Some(b"value"), &[])
        .unwrap();
    let bytes = builder.build().unwrap();
    let range = bytes.as_ptr_range();
    let record = records(&RecordBatch::new(bytes.clone()).unwrap()).remove(0);
    assert!(range.contains(&record.key.unwrap().as_ptr()));
    assert!(range.contains(&record.value.unwrap().as_ptr()));
}

#[test]
fn log_append_time_holds_for_every_record() {
    let mut builder = BatchBuilder::new(Compression::None);
    builder.timestamp_type(TimestampType::LogAppendTime);
    builder.append(5, None, None, &[]).unwrap();
    builder.append(9, None, None, &[]).unwrap();
    let batch = RecordBatch::checked(builder.build().unwrap()).unwrap();
    assert_eq!(
        records(&batch)
            .iter()
            .map(|r| r.timestamp)
            .collect::<Vec<_>>(),
        [9, 9]
    );
}

#[test]
fn offsets_may_have_gaps_but_not_go_back() {
    let mut builder = BatchBuilder::new(Compression::None);
    builder.base_offset(10);
    builder.append_at(12, 0, None, None, &[]).unwrap();
    builder.append_at(20, 0, None, None, &[]).unwrap();
    assert!(builder.append_at(20, 0, None, None, &[]).is_err());
    let batch = RecordBatch::checked(builder.build().unwrap()).unwrap();
    assert_eq!((batch.base_offset, batch.last_offset()), (10, 20));
    assert_eq!(
        records(&batch).iter().map(|r| r.offset).collect::<Vec<_>>(),
        [12, 20]
    );
}

#[test]
fn a_producer_may_resend_under_a_new_epoch() {
    let mut builder = BatchBuilder::new(Compression::Gzip);
    builder.producer(1, 0, 50);
    builder.append(0, None, Some(b"v"), &[]).unwrap();
    let batch = RecordBatch::checked(builder.build().unwrap()).unwrap();
    let again = RecordBatch::checked(batch.with_producer(1, 1, 0).bytes().clone()).unwrap();
    assert_eq!((again.producer_epoch, again.base_sequence), (1, 0));
    assert_eq!(records(&again), records(&batch));
}

#[test]
fn the_estimate_bounds_the_size() {
    assert_eq!(
        BatchBuilder::new(Compression::None).build(),
        Err(RecordError::Empty)
    );
    let mut builder = BatchBuilder::new(Compression::None);
    let headers = [Header::new("name", Some("value"))];
    let before = builder.estimated_size();
    builder
        .append(i64::MAX, Some(b"key"), Some(b"value"), &headers)
        .unwrap();
    let bound = BatchBuilder::record_size_upper_bound(Some(b"key"), Some(b"value"), &headers);
    assert!(builder.estimated_size() - before <= bound);
    let estimated = builder.estimated_size();
    assert_eq!(builder.build().unwrap().len(), estimated);
}
