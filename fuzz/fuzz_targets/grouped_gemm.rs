//! Runs [`expertile_fuzz::grouped_gemm`] under libFuzzer.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| expertile_fuzz::grouped_gemm(data));
