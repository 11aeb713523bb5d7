//! Encoding and decoding of record batches, codec by codec: 1,000 records of 100 bytes.

use std::hint::black_box;

use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use thalweg_log::record::{BatchBuilder, Compression, RecordBatch};

const RECORDS: usize = 1000;

/// Values that compress about as well as JSON does.
fn values() -> Vec<Vec<u8>> {
    (0..RECORDS)
        .map(|n| {
            let mix = (n as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let text = format!(
                r#"{{"item":{},"user":"{mix:016x}","campaign":{},"clicked":{},"cost":"0.{:05}"}}"#,
                n % 80,
                n % 7,
                n % 11 == 0,
                mix % 100_000
            );
            format!("{text:<100}").into_bytes()
        })
        .collect()
}

fn encode(values: &[Vec<u8>], compression: Compression) -> Bytes {
    let mut builder = BatchBuilder::with_capacity(compression, RECORDS * 110);
    for (n, value) in values.iter().enumerate() {
        builder
            .append(1_700_000_000_000 + n as i64, None, Some(value), &[])
            .expect("fits");
    }
    builder.build().expect("is not empty")
}

fn benches(c: &mut Criterion) {
    let values = values();
    let size = values.iter().map(Vec::len).sum::<usize>() as u64;
    let mut group = c.benchmark_group("batch_encode");
    group.throughput(Throughput::Bytes(size));
    for codec in Compression::ALL {
        group.bench_function(BenchmarkId::from_parameter(codec), |b| {
            b.iter(|| encode(black_box(&values), codec));
        });
    }
    group.finish();

    let mut group = c.benchmark_group("batch_decode");
    group.throughput(Throughput::Bytes(size));
    for codec in Compression::ALL {
        let bytes = encode(&values, codec);
        group.bench_function(BenchmarkId::from_parameter(codec), |b| {
            b.iter(|| {
                let batch = RecordBatch::checked(bytes.clone()).expect("is a batch");
                let records = batch.records().expect("decompresses");
                records
                    .map(|record| record.expect("is a record").value.map_or(0, |v| v.len()))
                    .sum::<usize>()
            });
        });
    }
    group.finish();

    let mut group = c.benchmark_group("batch_header");
    let bytes = encode(&values, Compression::None);
    group.throughput(Throughput::Bytes(bytes.len() as u64));
    group.bench_function("check", |b| {
        b.iter(|| {
            RecordBatch::checked(black_box(bytes.clone()))
                .expect("is a batch")
                .last_offset()
        });
    });
    group.finish();
}

criterion_group!(all, benches);
criterion_main!(all);
