//! The fuzz targets of `log/fuzz`, run over their corpus and over seeded mutations of it: a few seconds of what
//! libFuzzer does for as long as it is let.

#[path = "../fuzz/src/targets.rs"]
#[allow(
    unreachable_pub,
    missing_docs,
    reason = "it is a crate of its own, too"
)]
mod targets;
mod wire_support;

use std::fs;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, RngCore, SeedableRng};
use thalweg_log::controller::{Command, Endpoint, MetadataImage, QuotaChange, initial_features};
use thalweg_log::wire::messages::*;
use thalweg_log::wire::{ApiKey, Message, Request, Response};
use uuid::Uuid;
use wire_support::Writer;

type Target = fn(&[u8]);

fn corpus(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fuzz/corpus")
        .join(target)
}

/// Runs a target over its corpus and `mutations` mutations of each input; says which input it failed on.
fn run(name: &str, target: Target, mutations: usize) {
    let mut inputs: Vec<(PathBuf, Vec<u8>)> = fs::read_dir(corpus(name))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.clone(), fs::read(path).unwrap()))
        .collect();
    inputs.sort();
    assert!(!inputs.is_empty(), "{name} has no corpus");
    let all: Vec<&[u8]> = inputs.iter().map(|(_, input)| input.as_slice()).collect();
    for (path, input) in &inputs {
        attempt(path, 0, target, input);
        for round in 1..=mutations {
            let mut rng = StdRng::seed_from_u64(round as u64);
            let mut mutated = input.clone();
            for _ in 0..rng.random_range(1..4) {
                mutate(&mut mutated, &all, &mut rng);
            }
            attempt(path, round, target, &mutated);
        }
    }
}

fn attempt(path: &Path, round: usize, target: Target, input: &[u8]) {
    if let Err(panic) = std::panic::catch_unwind(|| target(input)) {
        eprintln!("{} in mutation {round}: {input:?}", path.display());
        std::panic::resume_unwind(panic);
    }
}

/// What libFuzzer does to an input, in short.
fn mutate(input: &mut Vec<u8>, all: &[&[u8]], rng: &mut StdRng) {
    let at = rng.random_range(0..=input.len());
    let end = rng.random_range(at..=input.len().min(at + 8));
    match rng.random_range(0..8) {
        0 => input.truncate(at),
        1 if at < input.len() => input[at] ^= 1 << rng.random_range(0..8),
        2 => {
            input.drain(at..end);
        }
        3 => {
            let mut fresh = vec![0; rng.random_range(1..9)];
            rng.fill_bytes(&mut fresh);
            input.splice(at..at, fresh);
        }
        4 => {
            let extreme: &[&[u8]] = &[
                &[0x7f, 0xff, 0xff, 0xff],
                &[0x80, 0, 0, 0],
                &[0xff, 0xff, 0xff, 0xff],
                &[0xff, 0xff, 0xff, 0xff, 0x0f],
                &[0, 0, 0, 0],
                &[0x7f, 0xff],
            ];
            let value = extreme.choose(rng).copied().unwrap_or_default();
            let end = (at + value.len()).min(input.len());
            input.splice(at..end, value.iter().copied());
        }
        5 => {
            let piece = input[at..end].to_vec();
            input.splice(at..at, piece);
        }
        6 => {
            // The end of another input.
            let other = all.choose(rng).copied().unwrap_or_default();
            let from = rng.random_range(0..=other.len());
            input.truncate(at);
            input.extend_from_slice(&other[from..]);
        }
        _ => {
            if let Some(byte) = input.get_mut(at) {
                *byte = rng.random();
            }
        }
    }
}

#[test]
fn requests() {
    run("request", targets::request, 200);
}

#[test]
fn responses() {
    run("response", targets::response, 200);
}

#[test]
fn frames() {
    run("frame", targets::frame, 2_000);
}

#[test]
fn versioned() {
    run("versioned", targets::versioned, 1_000);
}

#[test]
fn records() {
    run("records", targets::records, 2_000);
}

#[test]
fn metadata() {
    run("metadata", targets::metadata, 2_000);
}

#[test]
fn folders() {
    run("folder", targets::folder, 60);
}

/// The corpus is made of valid messages: they reach what lies behind the first checks.
#[test]
#[ignore = "writes the corpus anew"]
fn write_the_corpus() {
    for (target, inputs) in [
        ("request", bodies(Request::schema)),
        ("response", bodies(Response::schema)),
        ("frame", frames_of()),
        ("versioned", versioned_messages()),
        ("records", batches_of()),
        ("metadata", metadata_of()),
        ("folder", files_of()),
    ] {
        let dir = corpus(target);
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir_all(&dir).unwrap();
        for (name, input) in inputs {
            fs::write(dir.join(name), input).unwrap();
        }
    }
}

type Inputs = Vec<(String, Vec<u8>)>;

/// Each API in its newest version and, where that is written otherwise, in its oldest.
fn bodies(schema: fn(ApiKey) -> thalweg_log::wire::schema::Kind) -> Inputs {
    let mut inputs = Vec::new();
    for api in ApiKey::ALL {
        let versions = api.versions();
        let mut wanted = vec![versions.max];
        if versions.is_flexible(versions.max) != versions.is_flexible(versions.min) {
            wanted.push(versions.min);
        }
        for version in wanted {
            let mut writer = Writer::new(versions, version, 1);
            writer.longest_array = 1;
            let mut input = targets::selector(*api, version).to_vec();
            input.extend(writer.message(schema(*api)));
            inputs.push((format!("{}-{version}", api.name()), input));
        }
    }
    inputs
}

fn frames_of() -> Inputs {
    [
        (ApiKey::Metadata, 1),
        (ApiKey::Metadata, 12),
        (ApiKey::ApiVersions, 4),
    ]
    .into_iter()
    .map(|(api, version): (ApiKey, i16)| {
        let mut frame = api.key().to_be_bytes().to_vec();
        frame.extend(version.to_be_bytes());
        frame.extend(7i32.to_be_bytes());
        frame.extend(b"\0\x02me");
        if api.request_header_version(version) >= 2 {
            frame.push(0);
        }
        frame.extend(Writer::new(api.versions(), version, 2).message(Request::schema(api)));
        (format!("{}-{version}", api.name()), frame)
    })
    .collect()
}

fn versioned_messages() -> Inputs {
    fn one<M: Message>() -> (String, Vec<u8>) {
        let version = M::VERSIONS.max;
        let mut input = version.to_be_bytes().to_vec();
        let mut writer = Writer::new(M::VERSIONS, version, 3);
        writer.longest_array = 2;
        input.extend(writer.message(M::KIND));
        (M::NAME.to_owned(), input)
    }
    vec![
        one::<ConsumerProtocolSubscription>(),
        one::<ConsumerProtocolAssignment>(),
        one::<OffsetCommitKey>(),
        one::<OffsetCommitValue>(),
        one::<GroupMetadataValue>(),
        one::<ConsumerGroupMetadataValue>(),
        one::<ConsumerGroupMemberMetadataKey>(),
        one::<ConsumerGroupMemberMetadataValue>(),
        one::<ConsumerGroupTargetAssignmentMemberValue>(),
        one::<ConsumerGroupCurrentMemberAssignmentValue>(),
        one::<ConsumerGroupRegularExpressionValue>(),
        one::<TransactionLogKey>(),
        one::<TransactionLogValue>(),
        one::<EndTxnMarker>(),
    ]
}

fn batches_of() -> Inputs {
    let mut inputs: Inputs = targets::sample_batches()
        .into_iter()
        .map(|(name, bytes)| (name, bytes.to_vec()))
        .collect();
    let both: Vec<u8> = inputs.iter().take(2).flat_map(|(_, b)| b.clone()).collect();
    inputs.push(("two".to_owned(), both));
    inputs
}

fn metadata_of() -> Inputs {
    let commands = [
        Command::RegisterBroker {
            id: 1,
            incarnation: Uuid::from_u128(1),
            endpoints: vec![Endpoint {
                name: "PLAINTEXT".to_owned(),
                host: "h".to_owned(),
                port: 9092,
            }],
            rack: Some("r".to_owned()),
        },
        Command::CreateTopic {
            name: "t".to_owned(),
            id: Uuid::from_u128(2),
            assignment: vec![vec![1]],
            configs: vec![("retention.ms".to_owned(), "1".to_owned())],
        },
        Command::UpdateFeatures {
            updates: initial_features(),
        },
        Command::AlterClientQuotas {
            changes: vec![QuotaChange {
                entity: [("user".to_owned(), None)].into(),
                key: "producer_byte_rate".to_owned(),
                value: Some(5.0.into()),
            }],
        },
    ];
    let mut image = MetadataImage::default();
    let mut inputs = Vec::new();
    for (index, command) in (0..).zip(&commands) {
        image.apply(index, command);
        inputs.push((format!("command-{index}"), command.encode().to_vec()));
    }
    let snapshot: Bytes = image.encode();
    inputs.push(("snapshot".to_owned(), snapshot.to_vec()));
    inputs
}

fn files_of() -> Inputs {
    let mut inputs = Vec::new();
    for (which, ending) in (0u8..).zip(targets::FILES) {
        let path = targets::find(targets::template().path(), ending);
        let path = path.unwrap_or_else(|| panic!("the template has no {ending}"));
        let content = fs::read(path).unwrap();
        for (name, clean) in [("clean", 0x80), ("unclean", 0)] {
            let mut input = vec![which | clean];
            input.extend(&content);
            let ending = ending.trim_start_matches('.');
            inputs.push((format!("{ending}-{name}"), input));
        }
    }
    inputs
}
