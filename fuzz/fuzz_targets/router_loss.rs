//! Runs [`expertile_fuzz::router_loss`] under libFuzzer.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| expertile_fuzz::router_loss(data));
