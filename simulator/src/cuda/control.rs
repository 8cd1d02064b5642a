//! What tests ask and tell the simulated driver: `expertile_sim_*`, described in the README.

use super::ffi::{Out, Text, last_refusal, put_text};
use super::record::lock;

/// The version of these functions.
const VERSION: u32 = 1;

#[unsafe(no_mangle)]
extern "C" fn expertile_sim_version() -> u32 {
    VERSION
}

#[unsafe(no_mangle)]
extern "C" fn expertile_sim_reports(buffer: Out<u8>, capacity: usize) -> usize {
    put_text(&lock().report_text(), buffer, capacity)
}

#[unsafe(no_mangle)]
extern "C" fn expertile_sim_clear_reports() {
    lock().clear_reports();
}

#[unsafe(no_mangle)]
extern "C" fn expertile_sim_counters(buffer: Out<u8>, capacity: usize) -> usize {
    put_text(&lock().last.text(), buffer, capacity)
}

#[unsafe(no_mangle)]
extern "C" fn expertile_sim_total_counters(buffer: Out<u8>, capacity: usize) -> usize {
    put_text(&lock().total.text(), buffer, capacity)
}

#[unsafe(no_mangle)]
extern "C" fn expertile_sim_calls(name: Text) -> u64 {
    let Ok(name) = name.text() else { return 0 };
    lock().calls(&name)
}

#[unsafe(no_mangle)]
extern "C" fn expertile_sim_last_refusal(buffer: Out<u8>, capacity: usize) -> usize {
    put_text(&last_refusal(), buffer, capacity)
}

#[unsafe(no_mangle)]
extern "C" fn expertile_sim_set_seed(seed: u64) {
    lock().set_seed(seed);
}

#[unsafe(no_mangle)]
extern "C" fn expertile_sim_set_sticky(sticky: u32) {
    lock().sticky = sticky != 0;
}
