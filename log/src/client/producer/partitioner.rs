//! Which partition a record goes to.
//!
//! Invariant: a record with a key goes to the partition to which Kafka's Java client
//! would send it, for the same number of partitions: murmur2 of the key with its seed,
//! the sign bit cleared, modulo the count. Co-partitioning with other programs rests on it.

/// murmur2 as Kafka's clients compute it (32 bits, little-endian, their seed).
///
/// ```
/// use thalweg_log::client::murmur2;
/// assert_eq!(murmur2(b"21"), -973_932_308);
/// ```
pub fn murmur2(data: &[u8]) -> i32 {
    const SEED: u32 = 0x9747_b28c;
    const M: u32 = 0x5bd1_e995;
    const R: u32 = 24;

    // Kafka mixes in the length as a 32-bit integer, like the original.
    #[allow(clippy::cast_possible_truncation, reason = "the algorithm wraps here")]
    let mut h = SEED ^ (data.len() as u32);
    let mut chunks = data.chunks_exact(4);
    for chunk in &mut chunks {
        let mut word = [0; 4];
        word.copy_from_slice(chunk);
        let mut k = u32::from_le_bytes(word).wrapping_mul(M);
        k ^= k >> R;
        h = h.wrapping_mul(M) ^ k.wrapping_mul(M);
    }
    let rest = chunks.remainder();
    if !rest.is_empty() {
        for (place, byte) in rest.iter().enumerate() {
            h ^= u32::from(*byte) << (8 * place);
        }
        h = h.wrapping_mul(M);
    }
    h ^= h >> 13;
    h = h.wrapping_mul(M);
    h ^= h >> 15;
    h.cast_signed()
}

/// The partition of `key` among `partitions`, as Kafka's default partitioner chooses it.
///
/// `partitions` below 1 count as 1.
pub fn partition_for_key(key: &[u8], partitions: i32) -> i32 {
    (murmur2(key) & 0x7fff_ffff) % partitions.max(1)
}

/// Where records without a key go: to one partition until about a batch is full, then to
/// another, so that batches are large and partitions even.
#[derive(Debug)]
pub(crate) struct Sticky {
    partition: i32,
    bytes: usize,
    random: u64,
}

impl Sticky {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            partition: -1,
            bytes: 0,
            random: seed | 1,
        }
    }

    /// The partition of the next record of `size` bytes, among `partitions`.
    pub(crate) fn next(&mut self, size: usize, batch_size: usize, partitions: i32) -> i32 {
        let partitions = partitions.max(1);
        if self.partition < 0 || self.partition >= partitions || self.bytes >= batch_size {
            self.switch(partitions);
        }
        self.bytes += size;
        self.partition
    }

    fn switch(&mut self, partitions: i32) {
        self.bytes = 0;
        if partitions == 1 {
            self.partition = 0;
            return;
        }
        // xorshift64: even enough, and seeded.
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        #[allow(clippy::cast_possible_truncation, reason = "31 bits are left")]
        let draw = (self.random >> 33) as i32;
        if self.partition < 0 || self.partition >= partitions {
            self.partition = draw % partitions;
        } else {
            // Any but the present one.
            let other = draw % (partitions - 1);
            self.partition = if other >= self.partition {
                other + 1
            } else {
                other
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn murmur2_matches_kafka() {
        // The vectors of Kafka's own UtilsTest.
        let vectors: [(&[u8], i32); 7] = [
            (b"21", -973_932_308),
            (b"foobar", -790_332_482),
            (b"a-little-bit-long-string", -985_981_536),
            (b"a-little-bit-longer-string", -1_486_304_829),
            (
                b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8",
                -58_897_971,
            ),
            (b"abc", 479_470_107),
            (b"", 275_646_681),
        ];
        for (data, hash) in vectors {
            assert_eq!(murmur2(data), hash, "{}", String::from_utf8_lossy(data));
        }
    }

    #[test]
    fn sticky_stays_for_a_batch_and_is_even() {
        let mut sticky = Sticky::new(7);
        let mut bytes = [0usize; 5];
        let mut last = -1;
        let mut run = 0;
        for _ in 0..50_000 {
            let p = sticky.next(100, 1000, 5);
            bytes[usize::try_from(p).unwrap()] += 100;
            if p == last {
                run += 1;
                assert!(run <= 10);
            } else {
                assert!(last == -1 || run == 10, "left after {run} records");
                (last, run) = (p, 1);
            }
        }
        let mean = 50_000 * 100 / 5;
        for b in bytes {
            assert!(b.abs_diff(mean) < mean / 5, "{bytes:?}");
        }
    }

    #[test]
    fn sticky_follows_a_growing_topic() {
        let mut sticky = Sticky::new(1);
        assert_eq!(sticky.next(10, 10, 1), 0);
        let seen: std::collections::BTreeSet<i32> =
            (0..100).map(|_| sticky.next(10, 10, 3)).collect();
        assert_eq!(seen.len(), 3);
    }
}
