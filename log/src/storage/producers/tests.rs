use super::*;
use crate::record::{BatchBuilder, Compression, RecordBatch};

fn batch(epoch: i16, sequence: i32, count: usize, offset: i64) -> BatchHeader {
    let mut builder = BatchBuilder::new(Compression::None);
    builder.producer(9, epoch, sequence).base_offset(offset);
    for _ in 0..count {
        builder.append(5, None, None, &[]).unwrap();
    }
    *RecordBatch::new(builder.build().unwrap()).unwrap().header()
}

fn check(producers: &Producers, batch: &BatchHeader) -> Result<Option<BatchMeta>, AppendError> {
    producers.check(batch, AppendOrigin::Client, Verification::Required(None))
}

fn update(producers: &mut Producers, batch: &BatchHeader) {
    producers.update(batch, &mut Undecided::default());
}

#[test]
fn retries_get_their_first_offset() {
    let mut producers = Producers::default();
    for n in 0..7 {
        let next = batch(0, n * 2, 2, i64::from(n) * 10);
        assert_eq!(check(&producers, &next).unwrap(), None);
        update(&mut producers, &next);
    }
    for n in 2..7 {
        let seen = check(&producers, &batch(0, n * 2, 2, 999))
            .unwrap()
            .unwrap();
        assert_eq!(
            (seen.first_offset(), seen.last_offset),
            (i64::from(n) * 10, i64::from(n) * 10 + 1)
        );
    }
    // Older than the five that are remembered, a gap, and a batch cut otherwise.
    for (sequence, count) in [(2, 2), (15, 1), (12, 1), (13, 1)] {
        assert!(matches!(
            check(&producers, &batch(0, sequence, count, 0)),
            Err(AppendError::OutOfOrderSequence { expected: 14, .. })
        ));
    }
}

#[test]
fn epochs_fence() {
    let mut producers = Producers::default();
    update(&mut producers, &batch(3, 0, 1, 0));
    assert!(matches!(
        check(&producers, &batch(2, 1, 1, 0)),
        Err(AppendError::InvalidProducerEpoch { current: 3, .. })
    ));
    assert!(check(&producers, &batch(4, 1, 1, 0)).is_err());
    assert_eq!(check(&producers, &batch(4, 0, 1, 0)).unwrap(), None);
    update(&mut producers, &batch(4, 0, 1, 1));
    assert!(check(&producers, &batch(4, 0, 1, 1)).unwrap().is_some());
}

#[test]
fn sequences_wrap() {
    let mut producers = Producers::default();
    let last = batch(0, i32::MAX - 1, 4, 100);
    assert_eq!(last.last_sequence(), 1);
    update(&mut producers, &last);
    assert_eq!(
        check(&producers, &last).unwrap().unwrap().first_offset(),
        100
    );
    assert_eq!(check(&producers, &batch(0, 2, 1, 0)).unwrap(), None);
}

#[test]
fn snapshots_survive_and_damage_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("00000000000000000010.snapshot");
    let mut producers = Producers::default();
    for n in 0..3 {
        update(&mut producers, &batch(1, n, 1, i64::from(n)));
    }
    producers.write_snapshot(&path).unwrap();
    assert_eq!(
        Producers::read_snapshot(&path).unwrap().by_id,
        producers.by_id
    );
    let bytes = std::fs::read(&path).unwrap();
    for at in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[at] ^= 4;
        std::fs::write(&path, &damaged).unwrap();
        assert!(Producers::read_snapshot(&path).is_err(), "byte {at}");
        std::fs::write(&path, &bytes[..at]).unwrap();
        assert!(Producers::read_snapshot(&path).is_err(), "cut at {at}");
    }
}

#[test]
fn idle_producers_are_forgotten() {
    let mut producers = Producers::default();
    update(&mut producers, &batch(0, 0, 1, 0));
    producers.expire(1004, 1000);
    assert!(check(&producers, &batch(0, 5, 1, 0)).is_err());
    producers.expire(1005, 1000);
    assert_eq!(check(&producers, &batch(0, 5, 1, 0)).unwrap(), None);
}
