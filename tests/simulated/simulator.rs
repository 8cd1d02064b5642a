//! The simulated driver as the tests see it.

#[path = "control.rs"]
mod control;

use control::Control;
use expertile::{Device, Platform};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::{CString, c_char};
use std::sync::OnceLock;

/// The control functions of the simulated driver (`simulator/README.md`).
pub(crate) struct Simulator(Control);

impl Simulator {
    pub(crate) fn find() -> Option<Simulator> {
        Control::find("expertile_sim_version").map(Simulator)
    }

    pub(crate) fn text(&self, name: &str) -> String {
        self.0.text(name)
    }

    /// All counters since the library was loaded.
    pub(crate) fn counters(&self) -> HashMap<String, u64> {
        let text = self.text("expertile_sim_total_counters");
        text.lines()
            .filter_map(|line| line.split_once(' '))
            .filter_map(|(key, value)| Some((key.to_owned(), value.parse().ok()?)))
            .collect()
    }

    /// How often each call of a platform's driver was made since the library was loaded, by its name.
    pub(crate) fn calls(&self, platform: Platform) -> Calls {
        static NAMES: OnceLock<Vec<CString>> = OnceLock::new();
        let prefix: &[u8] = if platform == Platform::Hip { b"hip" } else { b"cu" };
        let names = NAMES.get_or_init(exported).iter();
        let own = names.filter(|name| name.as_bytes().starts_with(prefix));
        type Count = unsafe extern "C" fn(*const c_char) -> u64;
        // SAFETY: the type is that of the simulator's documentation; the names end with a NUL.
        unsafe {
            self.0.call("expertile_sim_calls", |count: Count| {
                let counted = own.map(|name| (name.clone(), count(name.as_ptr())));
                Calls(counted.filter(|(_, count)| *count > 0).collect())
            })
        }
    }

    pub(crate) fn set_seed(&self, seed: u64) {
        type Set = unsafe extern "C" fn(u64);
        // SAFETY: the type is that of the simulator's documentation.
        unsafe { self.0.call("expertile_sim_set_seed", |set: Set| set(seed)) }
    }
}

/// The names of the calls that the library has, from the strings of its file.
fn exported() -> Vec<CString> {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let line = maps.lines().find(|line| line.ends_with("/libcuda.so.1")).unwrap();
    let file = std::fs::read(&line[line.find('/').unwrap()..]).unwrap();
    let words = file.split(|byte| *byte == 0).filter(|word| {
        let name = word.strip_prefix(b"cu").or(word.strip_prefix(b"hip"));
        name.is_some_and(|name| name.first().is_some_and(u8::is_ascii_uppercase))
            && word.iter().all(|&byte| byte.is_ascii_alphanumeric() || byte == b'_')
    });
    let names: BTreeSet<CString> = words.map(|word| CString::new(word).unwrap()).collect();
    assert!(names.len() > 500, "{} names of calls", names.len());
    names.into_iter().collect()
}

/// Counts of driver calls.
#[derive(Clone, Default)]
pub(crate) struct Calls(BTreeMap<CString, u64>);

/// What every call of this crate makes so that it works on its own device: neither allocates nor waits.
const HOUSEKEEPING: [&str; 5] = [
    "cuCtxGetCurrent",
    "cuCtxPopCurrent_v2",
    "cuCtxPushCurrent_v2",
    "hipGetDevice",
    "hipSetDevice",
];

impl Calls {
    /// The calls made after `before`, other than those that set the device, by name.
    pub(crate) fn since(&self, before: &Calls) -> Vec<(&str, u64)> {
        let more = |(name, count): (&CString, &u64)| count - before.0.get(name).unwrap_or(&0);
        let calls = self.0.iter().map(|call| (call.0.to_str().unwrap(), more(call)));
        calls.filter(|(name, count)| *count > 0 && !HOUSEKEEPING.contains(name)).collect()
    }
}

/// Every device of every platform that this build has.
pub(crate) fn all_devices() -> Vec<Device> {
    let mut devices = Vec::new();
    for platform in Platform::ALL {
        let count = Device::count(platform).unwrap_or(0);
        devices.extend((0..count).map(|ordinal| Device::open(platform, ordinal).unwrap()));
    }
    assert!(!devices.is_empty(), "a simulated driver without a device");
    devices
}

/// One device of each architecture, of every platform that this build has.
pub(crate) fn devices() -> Vec<Device> {
    let mut devices = all_devices();
    devices.dedup_by_key(|device| device.info().images);
    devices
}
