//! The simulated driver as the tests see it.

use expertile::{Device, Platform};
use libloading::Library;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::CString;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

/// The control functions of the simulated driver (`simulator/README.md`).
pub(crate) struct Simulator {
    library: Library,
    _alone: MutexGuard<'static, ()>,
}

type Text = unsafe extern "C" fn(*mut u8, usize) -> usize;

impl Simulator {
    /// One test at a time, since the driver counts for the whole process.
    pub(crate) fn find() -> Option<Simulator> {
        static ONE: Mutex<()> = Mutex::new(());
        // SAFETY: loading a driver runs its initialisers, which is what every CUDA program does.
        let library = unsafe { Library::new("libcuda.so.1") }.ok();
        let library = library.filter(|library| {
            // SAFETY: the address is not called.
            unsafe { library.get::<unsafe extern "C" fn()>("expertile_sim_version") }.is_ok()
        });
        let Some(library) = library else {
            let required = std::env::var("EXPERTILE_REQUIRE").unwrap_or_default();
            assert!(!required.contains("simulated"), "no simulated driver");
            eprintln!("skipped: no simulated driver");
            return None;
        };
        let alone = ONE.lock().unwrap_or_else(PoisonError::into_inner);
        Some(Simulator { library, _alone: alone })
    }

    pub(crate) fn text(&self, name: &str) -> String {
        // SAFETY: the type is that of the simulator's documentation.
        let function = unsafe { self.library.get::<Text>(name) }.unwrap();
        // SAFETY: without room nothing is written.
        let mut bytes = vec![0; unsafe { function(std::ptr::null_mut(), 0) }];
        // SAFETY: there is as much room as stated.
        let length = unsafe { function(bytes.as_mut_ptr(), bytes.len()) }.min(bytes.len());
        String::from_utf8_lossy(&bytes[..length]).trim_end_matches('\0').to_owned()
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
        // SAFETY: the type is that of the simulator's documentation.
        let calls = unsafe {
            type Count = unsafe extern "C" fn(*const std::ffi::c_char) -> u64;
            self.library.get::<Count>("expertile_sim_calls").unwrap()
        };
        let names = NAMES.get_or_init(exported).iter();
        // SAFETY: the names end with a NUL.
        let counted = |name: &CString| (name.clone(), unsafe { calls(name.as_ptr()) });
        let own = names.filter(|name| name.as_bytes().starts_with(prefix));
        Calls(own.map(counted).filter(|(_, count)| *count > 0).collect())
    }

    pub(crate) fn set_seed(&self, seed: u64) {
        // SAFETY: the type is that of the simulator's documentation.
        unsafe {
            let set = self.library.get::<unsafe extern "C" fn(u64)>("expertile_sim_set_seed");
            set.unwrap()(seed);
        }
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
