//! See `targets::metadata`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| thalweg_log_fuzz::targets::metadata(data));
