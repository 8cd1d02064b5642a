//! What tests ask and tell the simulated driver: `expertile_sim_*`, described in the README.

use super::error::Code;
use super::ffi::{Out, Text, last_refusal, put_text};
use super::injection::{self, Rule};
use super::live;
use super::record::lock;

/// The version of these functions.
const VERSION: u32 = 2;

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

/// The rule of `expertile_sim_fail` and `expertile_sim_lose_device`.
fn plan(name: Text, skip: u64, count: u64, code: u32, loses: bool) {
    let name = name.text().ok().filter(|name| !name.is_empty());
    injection::plan(Rule { name, skip, count, code: Code(code), loses });
}

#[unsafe(no_mangle)]
extern "C" fn expertile_sim_fail(name: Text, skip: u64, count: u64, code: u32) {
    plan(name, skip, count, code, false);
}

#[unsafe(no_mangle)]
extern "C" fn expertile_sim_lose_device(name: Text, skip: u64, code: u32) {
    plan(name, skip, 1, code, true);
}

#[unsafe(no_mangle)]
extern "C" fn expertile_sim_clear_failures() {
    injection::clear();
}

#[unsafe(no_mangle)]
extern "C" fn expertile_sim_failed() -> u64 {
    injection::failed()
}

#[unsafe(no_mangle)]
extern "C" fn expertile_sim_trace(on: u32) {
    injection::trace(on != 0);
}

#[unsafe(no_mangle)]
extern "C" fn expertile_sim_traced(buffer: Out<u8>, capacity: usize) -> usize {
    put_text(&injection::traced(), buffer, capacity)
}

#[unsafe(no_mangle)]
extern "C" fn expertile_sim_live(buffer: Out<u8>, capacity: usize) -> usize {
    put_text(&live::text(), buffer, capacity)
}
