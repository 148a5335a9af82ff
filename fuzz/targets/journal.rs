#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| store::journal::fuzz::journal(data));
