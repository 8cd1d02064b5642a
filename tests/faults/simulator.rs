//! The control functions of the simulated driver (`simulator/README.md`).

#[path = "../simulated/control.rs"]
mod control;

use control::Control;
use expertile::{Device, Platform};
use std::collections::BTreeMap;
use std::ffi::{CString, c_char};
use std::sync::Mutex;

/// A simulated driver, for one test at a time: what exists is counted for the whole process.
pub(crate) struct Simulator(Control);

/// How many of which objects exist: `cuda.streams`, `hip.allocations`, ...
pub(crate) type Live = BTreeMap<String, u64>;

/// A count of failures that no test reaches the end of.
pub(crate) const ALWAYS: u64 = u64::MAX;

impl Simulator {
    pub(crate) fn find() -> Option<Simulator> {
        Control::find("expertile_sim_fail").map(Simulator)
    }

    /// The platforms that have a device here.
    pub(crate) fn platforms(&self) -> Vec<Platform> {
        let there = |platform: &Platform| Device::count(*platform).is_ok_and(|count| count > 0);
        let platforms: Vec<Platform> = Platform::ALL.into_iter().filter(there).collect();
        assert!(!platforms.is_empty(), "a simulated driver without a device");
        platforms
    }

    /// From now on `count` calls of this thread fail, after `skip` that do not; of all names without
    /// one.
    pub(crate) fn fail(&self, name: Option<&str>, skip: u64, count: u64, code: i32) {
        type Fail = unsafe extern "C" fn(*const c_char, u64, u64, u32);
        let name = CString::new(name.unwrap_or_default()).unwrap();
        // SAFETY: the type is that of the documentation; the name ends with a zero.
        unsafe {
            self.0.call("expertile_sim_fail", |fail: Fail| {
                fail(name.as_ptr(), skip, count, code as u32)
            })
        }
    }

    /// The device is lost at such a call of this thread.
    pub(crate) fn lose_device(&self, name: &str, skip: u64, code: i32) {
        type Lose = unsafe extern "C" fn(*const c_char, u64, u32);
        let name = CString::new(name).unwrap();
        // SAFETY: the type is that of the documentation; the name ends with a zero.
        unsafe {
            self.0.call("expertile_sim_lose_device", |lose: Lose| {
                lose(name.as_ptr(), skip, code as u32)
            })
        }
    }

    /// Ends the failures of this thread; how many there were.
    pub(crate) fn clear_failures(&self) -> u64 {
        // SAFETY: the types are those of the documentation.
        unsafe {
            let failed =
                self.0.call("expertile_sim_failed", |f: unsafe extern "C" fn() -> u64| f());
            self.0.call("expertile_sim_clear_failures", |clear: unsafe extern "C" fn()| clear());
            failed
        }
    }

    fn set(&self, name: &str, value: bool) {
        // SAFETY: the type is that of the documentation.
        unsafe { self.0.call(name, |set: unsafe extern "C" fn(u32)| set(value.into())) }
    }

    pub(crate) fn keep_errors(&self) {
        self.set("expertile_sim_set_sticky", true);
    }

    /// What `body` returns, and the driver calls that it makes in this thread.
    pub(crate) fn trace<R>(&self, body: impl FnOnce() -> R) -> (R, Vec<String>) {
        self.set("expertile_sim_trace", true);
        let result = body();
        self.set("expertile_sim_trace", false);
        (result, self.0.text("expertile_sim_traced").lines().map(str::to_owned).collect())
    }

    pub(crate) fn live(&self) -> Live {
        let text = self.0.text("expertile_sim_live");
        let line = |line: &str| {
            let (key, number) = line.split_once(' ').unwrap();
            (key.to_owned(), number.parse().unwrap())
        };
        text.lines().map(line).collect()
    }

    /// Gives this thread a device of its own, as an engine has one: the second of the platform.
    pub(crate) fn set_own(&self, platform: Platform) {
        // SAFETY: the types are those of the drivers' documentation; `context` is a place for a handle.
        unsafe {
            type SetDevice = unsafe extern "C" fn(i32) -> u32;
            type SetContext = unsafe extern "C" fn(usize) -> u32;
            let code = match platform {
                Platform::Hip => self.0.call("hipSetDevice", |set: SetDevice| set(1)),
                _ => {
                    let own = own_context(self);
                    self.0.call("cuCtxSetCurrent", |set: SetContext| set(own))
                }
            };
            assert_eq!(code, 0);
        }
    }

    /// The thread's current device or context.
    pub(crate) fn own(&self, platform: Platform) -> usize {
        let (mut device, mut context) = (-1, 0);
        // SAFETY: the types are those of the drivers' documentation; both are places for a result.
        unsafe {
            type Device = unsafe extern "C" fn(*mut i32) -> u32;
            type Context = unsafe extern "C" fn(*mut usize) -> u32;
            match platform {
                Platform::Hip => {
                    assert_eq!(self.0.call("hipGetDevice", |get: Device| get(&mut device)), 0);
                    device as usize
                }
                _ => {
                    let code = self.0.call("cuCtxGetCurrent", |get: Context| get(&mut context));
                    assert_eq!(code, 0);
                    context
                }
            }
        }
    }

    /// Ends a capture that the crate could not end, and drops what it recorded.
    pub(crate) fn end_capture(&self, platform: Platform, stream: u64) {
        let mut graph = 0;
        let names = match platform {
            Platform::Hip => ["hipStreamEndCapture", "hipGraphDestroy"],
            _ => ["cuStreamEndCapture", "cuGraphDestroy"],
        };
        // SAFETY: the types are those of the drivers' documentation; `graph` is a place for a handle.
        unsafe {
            type End = unsafe extern "C" fn(usize, *mut usize) -> u32;
            type Destroy = unsafe extern "C" fn(usize) -> u32;
            let code = self.0.call(names[0], |end: End| end(stream as usize, &mut graph));
            assert_eq!(code, 0);
            assert_eq!(self.0.call(names[1], |destroy: Destroy| destroy(graph)), 0);
        }
    }
}

/// The primary context of the second device, which the process keeps.
fn own_context(simulator: &Simulator) -> usize {
    static OWN: Mutex<Option<usize>> = Mutex::new(None);
    *OWN.lock().unwrap().get_or_insert_with(|| {
        let mut context = 0;
        type Retain = unsafe extern "C" fn(*mut usize, i32) -> u32;
        // SAFETY: the type is that of the driver's documentation; `context` is a place for a handle.
        let code = unsafe {
            simulator.0.call("cuDevicePrimaryCtxRetain", |retain: Retain| retain(&mut context, 1))
        };
        assert_eq!(code, 0);
        context
    })
}
