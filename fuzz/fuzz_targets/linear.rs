//! Runs [`expertile_fuzz::linear`] under libFuzzer.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| expertile_fuzz::linear(data));
