//! Devices go on while the host does not call: a program may wait for a word in page-locked memory, or
//! for a function of its own in a stream, without asking the driver.
//!
//! One thread of the process looks every 20 ms whether work is queued and no call has come since. It
//! counts its own looks, so that a process that is stopped does not seem to wait.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::Thread;
use std::time::Duration;

use super::driver::{Driver, Platform, try_lock_of};
use super::ffi::as_platform;
use super::process::keep_loaded;

/// Driver calls of the process so far.
static CALLS: AtomicU64 = AtomicU64::new(0);
static WATCHER: OnceLock<Thread> = OnceLock::new();

const LOOK: Duration = Duration::from_millis(20);
/// Looks without a call until the host counts as waiting: a second. Once it was found so, 60 ms.
const PATIENCE: u32 = 50;
const PATIENCE_LATER: u32 = 3;

/// A driver call is made.
pub(crate) fn note_call() {
    CALLS.fetch_add(1, Ordering::Relaxed);
}

/// Work was queued.
pub(crate) fn watch() {
    WATCHER.get_or_init(|| {
        keep_loaded();
        let watcher = std::thread::Builder::new().name(String::from("simulated devices"));
        let handle = watcher.spawn(look_after).map(|handle| handle.thread().clone());
        handle.unwrap_or_else(|error| {
            eprintln!("simulated driver: no thread for work that nobody waits for: {error}");
            std::thread::current()
        })
    });
    if let Some(watcher) = WATCHER.get() {
        watcher.unpark();
    }
}

fn look_after() {
    let mut patience = PATIENCE;
    let (mut calls, mut looks) = (0, 0);
    loop {
        if !work_waits() {
            std::thread::park();
            looks = 0;
        }
        std::thread::sleep(LOOK);
        let now = CALLS.load(Ordering::Relaxed);
        looks = if now == calls { looks + 1 } else { 0 };
        calls = now;
        if looks >= patience && go_on(calls) {
            patience = PATIENCE_LATER;
            looks = 0;
        }
    }
}

fn on_each<R>(mut body: impl FnMut(&mut Driver) -> R) -> [Option<R>; 2] {
    [Platform::Cuda, Platform::Hip].map(|platform| {
        // A driver that is in a call is not waited for.
        as_platform(platform, || try_lock_of(platform).map(|mut driver| body(&mut driver)))
    })
}

/// Whether a stream has work; a driver in a call may have.
fn work_waits() -> bool {
    on_each(|driver| driver.ready().next().is_some()).into_iter().any(|found| found.unwrap_or(true))
}

/// Does work until there is none or a call comes; whether there was any.
fn go_on(calls: u64) -> bool {
    let step = |driver: &mut Driver| {
        let next = driver.ready().next().map(|(stream, _)| stream);
        next.map(|stream| driver.step(stream)).is_some()
    };
    let mut any = false;
    while CALLS.load(Ordering::Relaxed) == calls
        && on_each(step).into_iter().any(|done| done == Some(true))
    {
        any = true;
    }
    any
}
