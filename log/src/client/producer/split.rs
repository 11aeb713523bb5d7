//! A batch that a broker takes for too large becomes several.
//!
//! Invariant: the pieces hold the batch's records in order and have its sequences among
//! them, so that whatever was numbered after the batch stays in its place. There are two or
//! more, each of about half the batch's size (before compression): one that is still too
//! large is split again.

use bytes::Bytes;

use crate::record::{BatchBuilder, Record, RecordBatch, RecordError, add_sequence};

/// A part of a batch, a batch itself.
#[derive(Debug)]
pub(super) struct Piece {
    pub(super) bytes: Bytes,
    pub(super) records: i32,
}

/// Splits a batch of two records or more.
pub(super) fn split(bytes: &Bytes) -> Result<Vec<Piece>, RecordError> {
    let batch = RecordBatch::new(bytes.clone())?;
    let records = batch.records()?.collect::<Result<Vec<Record>, _>>()?;
    let sizes: Vec<usize> = records.iter().map(size_of).collect();
    let target = sizes.iter().sum::<usize>() / 2;
    let mut pieces = Vec::new();
    let mut sequence = batch.base_sequence;
    let mut rest = records.as_slice();
    let mut sizes = sizes.as_slice();
    while !rest.is_empty() {
        let mut size = 0;
        let fitting = sizes.iter().take_while(|more| {
            size += **more;
            size <= target
        });
        // A record that is larger than all others together goes alone.
        let count = fitting.count().max(1);
        let (taken, left) = rest.split_at(count);
        let piece = build(&batch, taken, sequence)?;
        if batch.has_producer_id() {
            sequence = add_sequence(sequence, piece.records);
        }
        pieces.push(piece);
        rest = left;
        sizes = sizes.get(count..).unwrap_or_default();
    }
    Ok(pieces)
}

fn build(batch: &RecordBatch, records: &[Record], sequence: i32) -> Result<Piece, RecordError> {
    let mut builder = BatchBuilder::new(batch.compression());
    if batch.has_producer_id() {
        builder
            .producer(batch.producer_id, batch.producer_epoch, sequence)
            .transactional(batch.is_transactional());
    }
    for record in records {
        let (key, value) = (record.key.as_deref(), record.value.as_deref());
        builder.append(record.timestamp, key, value, &record.headers)?;
    }
    Ok(Piece {
        records: i32::try_from(records.len()).map_err(|_| RecordError::TooLarge)?,
        bytes: builder.build()?,
    })
}

fn size_of(record: &Record) -> usize {
    let (key, value) = (record.key.as_deref(), record.value.as_deref());
    BatchBuilder::record_size_upper_bound(key, value, &record.headers)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Compression, Header};

    fn batch(sizes: &[usize], sequence: i32) -> Bytes {
        let mut builder = BatchBuilder::new(Compression::Lz4);
        builder.producer(7, 3, sequence).transactional(true);
        let headers = [Header::new("h", Some("x"))];
        for (n, size) in (0..).zip(sizes) {
            let value = vec![b'v'; *size];
            builder
                .append(1000 - n, None, Some(&value), &headers)
                .unwrap();
        }
        builder.build().unwrap()
    }

    #[test]
    fn pieces_hold_all_records_in_order_and_go_on_with_the_sequences() {
        for sizes in [
            vec![1, 1],
            vec![1, 1000],
            vec![1000, 1, 1],
            vec![50; 101],
            vec![300, 300, 300],
        ] {
            let pieces = split(&batch(&sizes, i32::MAX - 1)).unwrap();
            assert!((2..=3).contains(&pieces.len()), "{sizes:?}");
            let mut next = i32::MAX - 1;
            let mut seen = Vec::new();
            for piece in pieces {
                let batch = RecordBatch::checked(piece.bytes).unwrap();
                assert_eq!((batch.producer_id, batch.producer_epoch), (7, 3));
                assert_eq!(batch.base_sequence, next);
                assert_eq!(batch.compression(), Compression::Lz4);
                assert!(batch.is_transactional());
                next = add_sequence(next, piece.records);
                seen.extend(batch.records().unwrap().map(Result::unwrap));
            }
            let lengths: Vec<usize> = seen
                .iter()
                .map(|r| r.value.as_ref().unwrap().len())
                .collect();
            assert_eq!(lengths, sizes);
            let times = seen.iter().map(|r| r.timestamp);
            assert!(times.eq((0..).take(sizes.len()).map(|n| 1000 - n)));
            assert!(seen.iter().all(|r| r.headers.len() == 1));
        }
    }

    #[test]
    fn a_batch_without_a_producer_stays_without() {
        let mut builder = BatchBuilder::new(Compression::None);
        for _ in 0..4 {
            builder.append(0, None, Some(b"x"), &[]).unwrap();
        }
        for piece in split(&builder.build().unwrap()).unwrap() {
            let batch = RecordBatch::checked(piece.bytes).unwrap();
            assert!(!batch.has_producer_id());
            assert_eq!(batch.base_sequence, -1);
        }
    }
}
