//! What a hostile or broken peer can send: whatever the bytes, decoding gives a message or a typed error, never
//! a panic, and takes no more memory than a small multiple of the frame.

#![allow(
    unsafe_code,
    reason = "a global allocator, which counts what each thread holds, cannot be written without"
)]

mod wire_support;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use bytes::{Bytes, BytesMut};
use rand::rngs::StdRng;
use rand::{Rng, RngCore, SeedableRng};
use thalweg_log::wire::messages::MetadataRequest;
use thalweg_log::wire::{ApiKey, Message, Problem, Request, RequestHeader, Response, WireError};
use wire_support::Writer;

struct Counting;

thread_local! {
    static LIVE: Cell<usize> = const { Cell::new(0) };
    static PEAK: Cell<usize> = const { Cell::new(0) };
}

fn grown(by: usize) {
    let _ = LIVE.try_with(|live| {
        let now = live.get().wrapping_add(by);
        live.set(now);
        let _ = PEAK.try_with(|peak| peak.set(peak.get().max(now)));
    });
}

fn shrunk(by: usize) {
    let _ = LIVE.try_with(|live| live.set(live.get().saturating_sub(by)));
}

// SAFETY: every call is passed on to the system's allocator as it is; counting only touches thread-local cells
// that need neither initialization nor destruction.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        grown(layout.size());
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        shrunk(layout.size());
        unsafe { System.dealloc(pointer, layout) }
    }
    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        grown(size);
        shrunk(layout.size());
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Runs and gives the most memory that was held meanwhile, over what was held before.
fn peak<T>(run: impl FnOnce() -> T) -> (T, usize) {
    let before = LIVE.get();
    PEAK.set(before);
    let result = run();
    (result, PEAK.get().saturating_sub(before))
}

#[derive(Debug, Clone, PartialEq)]
enum Either {
    Request(Request),
    Response(Response),
}

#[derive(Debug, Clone, Copy)]
struct Subject {
    api: ApiKey,
    version: i16,
    response: bool,
}

impl Subject {
    fn all() -> impl Iterator<Item = Subject> {
        ApiKey::ALL.iter().flat_map(|api| {
            let versions = api.versions();
            (versions.min..=versions.max).flat_map(move |version| {
                [false, true].map(|response| Subject {
                    api: *api,
                    version,
                    response,
                })
            })
        })
    }

    fn valid(self, seed: u64, longest_array: usize) -> Vec<u8> {
        let mut writer = Writer::new(self.api.versions(), self.version, seed);
        writer.longest_array = longest_array;
        writer.message(if self.response {
            Response::schema(self.api)
        } else {
            Request::schema(self.api)
        })
    }

    fn decode(self, bytes: Bytes) -> Result<Either, WireError> {
        if self.response {
            Response::decode(self.api, self.version, bytes).map(Either::Response)
        } else {
            Request::decode(self.api, self.version, bytes).map(Either::Request)
        }
    }

    fn encode(self, message: &Either) -> Bytes {
        let mut bytes = BytesMut::new();
        match message {
            Either::Request(request) => request.encode(&mut bytes, self.version),
            Either::Response(response) => response.encode(&mut bytes, self.version),
        }
        .unwrap_or_else(|error| panic!("{self:?}: decoded but cannot be encoded: {error}"));
        bytes.freeze()
    }

    /// Decodes what may be anything. What passes as a message must survive a round trip.
    fn attack(self, bytes: &[u8]) -> Result<Either, WireError> {
        let frame = Bytes::copy_from_slice(bytes);
        let (result, held) = peak(|| self.decode(frame));
        let allowed = 25 * bytes.len() + 70_000;
        assert!(
            held <= allowed,
            "{self:?}: {held} bytes held for a frame of {}: {:?}",
            bytes.len(),
            &bytes[..bytes.len().min(64)]
        );
        match &result {
            // Compared as bytes: a quota that is not a number does not equal itself.
            Ok(message) => {
                let bytes = self.encode(message);
                let again = self.decode(bytes.clone());
                assert_eq!(
                    again.map(|again| self.encode(&again)),
                    Ok(bytes),
                    "{self:?}"
                );
            }
            Err(error) => assert!(!error.message.is_empty(), "{self:?}: {error} has no place"),
        }
        result
    }
}

#[test]
fn truncated_at_every_byte() {
    for subject in Subject::all() {
        let bytes = subject.valid(1, 2);
        assert!(subject.attack(&bytes).is_ok(), "{subject:?}");
        for end in 0..bytes.len() {
            let result = subject.attack(&bytes[..end]);
            assert!(result.is_err(), "{subject:?}: {end} of {}", bytes.len());
        }
    }
}

/// librdkafka leaves three bytes after a metadata request for all topics, and Kafka does not mind.
#[test]
fn trailing_bytes_are_ignored() {
    for subject in Subject::all() {
        let mut bytes = subject.valid(2, 1);
        let message = subject.attack(&bytes);
        bytes.extend([0, 0, 0]);
        assert_eq!(subject.attack(&bytes), message, "{subject:?}");
    }
    let bytes = Bytes::from_static(b"\0\0\0\0\0\0\0");
    let request = MetadataRequest {
        topics: None,
        allow_auto_topic_creation: false,
        ..Default::default()
    };
    let decoded = Request::decode(ApiKey::Metadata, 13, bytes.clone());
    assert_eq!(decoded, Ok(Request::Metadata(request)));
    let error = MetadataRequest::decode_all(bytes, 13).unwrap_err();
    assert_eq!(error.problem, Problem::Trailing(3));
}

#[test]
fn flipped_bits() {
    let mut rng = StdRng::seed_from_u64(3);
    for subject in Subject::all() {
        let bytes = subject.valid(3, 1);
        for place in 0..bytes.len() {
            let mut bytes = bytes.clone();
            bytes[place] ^= 1 << rng.random_range(0..8);
            let _ = subject.attack(&bytes);
        }
    }
}

/// Wherever a length or a count may stand: the largest, negative ones, and endless variable-length integers.
#[test]
fn huge_and_negative_lengths_everywhere() {
    let patterns: [&[u8]; 8] = [
        &[0x7f, 0xff, 0xff, 0xff],
        &[0x80, 0, 0, 0],
        &[0xff, 0xff, 0xff, 0xfe],
        &[0x00, 0xff, 0xff, 0xff],
        &[0x7f, 0xff],
        &[0xff, 0xfe],
        &[0xff, 0xff, 0xff, 0xff, 0x0f],
        &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
    ];
    for subject in Subject::all() {
        let bytes = subject.valid(4, 1);
        for place in 0..bytes.len() {
            for pattern in patterns {
                let mut bytes = bytes.clone();
                let end = (place + pattern.len()).min(bytes.len());
                bytes.splice(place..end, pattern.iter().copied());
                let _ = subject.attack(&bytes);
            }
        }
    }
}

#[test]
fn random_bytes() {
    let mut rng = StdRng::seed_from_u64(5);
    for subject in Subject::all() {
        for _ in 0..100 {
            let mut bytes = vec![0; rng.random_range(0..200)];
            rng.fill_bytes(&mut bytes);
            let _ = subject.attack(&bytes);
        }
    }
}

/// Frames that are as many elements as possible of as few bytes as possible each.
#[test]
fn many_tiny_elements() {
    let mut rng = StdRng::seed_from_u64(6);
    for subject in Subject::all() {
        for size in [1_000, 30_000] {
            for filler in [0, 1, 2, 3] {
                // A count that fits in the frame, at each of the first places, then tiny elements.
                for lead in 0..8usize {
                    let mut bytes = vec![filler; size];
                    let count = size as u32 - 20;
                    if subject.api.versions().is_flexible(subject.version) {
                        let varint = [
                            (count & 0x7f) as u8 | 0x80,
                            (count >> 7 & 0x7f) as u8 | 0x80,
                            (count >> 14) as u8,
                        ];
                        bytes[lead..lead + 3].copy_from_slice(&varint);
                    } else {
                        bytes[lead..lead + 4].copy_from_slice(&count.to_be_bytes());
                    }
                    let _ = subject.attack(&bytes);
                }
            }
            let mut bytes = vec![0; size];
            bytes.fill_with(|| rng.random_range(0..4));
            let _ = subject.attack(&bytes);
        }
    }
}

/// The example that makes another implementation allocate 155 GB and abort.
#[test]
fn a_count_of_two_to_the_31_in_20_bytes() {
    let mut bytes = vec![0; 20];
    bytes[..4].copy_from_slice(&i32::MAX.to_be_bytes());
    let subject = Subject {
        api: ApiKey::Metadata,
        version: 1,
        response: false,
    };
    let (error, held) = peak(|| subject.attack(&bytes).unwrap_err());
    let problem = Problem::CountBeyondInput {
        count: i32::MAX as u64,
        remaining: 16,
    };
    assert_eq!(error.problem, problem);
    assert_eq!((error.message, error.field), ("MetadataRequest", "topics"));
    assert!(held < 1_000, "{held}");
}

#[test]
fn headers() {
    let mut rng = StdRng::seed_from_u64(7);
    for round in 0..20_000 {
        let mut bytes = vec![0; rng.random_range(0..60)];
        rng.fill_bytes(&mut bytes);
        if round % 2 == 0 && bytes.len() > 2 {
            // A key that exists leads further in.
            let key = ApiKey::ALL[rng.random_range(0..ApiKey::ALL.len())].key();
            bytes[..2].copy_from_slice(&key.to_be_bytes());
        }
        let frame = Bytes::from(bytes);
        let _ = RequestHeader::decode(frame.clone());
        let _ = Request::decode_frame(frame.clone());
        for api in [ApiKey::Produce, ApiKey::ApiVersions] {
            let _ = Response::decode_frame(frame.clone(), api, api.versions().max);
        }
    }
}
