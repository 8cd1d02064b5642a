//! The state of a simulated driver: one of each platform for the process, each behind one lock.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError, TryLockError};

use super::architecture::{self, Architecture};
use super::capture::Capture;
use super::context::Context;
use super::error::{Code, Result, refuse};
use super::event::Event;
use super::ffi;
use super::function::Function;
use super::graph::{ExecutableGraph, Graph};
use super::host_memory::Pinned;
use super::injection::LOST;
use super::library::Library;
use super::module::Module;
use super::queue::Stream;
use super::schedule::Schedule;
use super::table::{Handle, Table};
use crate::hip;
use crate::memory::window::{self, MOST_DEVICES};
use crate::memory::{Known, Memory};

/// Which interface a driver has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Platform {
    Cuda,
    Hip,
}

/// Everything that outlives a call.
pub(crate) struct Driver {
    pub(crate) platform: Platform,
    pub(crate) initialized: bool,
    pub(crate) devices: Vec<Device>,
    pub(crate) contexts: Table<Context>,
    pub(crate) streams: Table<Stream>,
    pub(crate) events: Table<Event>,
    pub(crate) modules: Table<Module>,
    pub(crate) functions: Table<Function>,
    pub(crate) libraries: Table<Library>,
    pub(crate) graphs: Table<Graph>,
    pub(crate) executable_graphs: Table<ExecutableGraph>,
    pub(crate) captures: Table<Capture>,
    /// Host memory that copies may use late, by address.
    pub(crate) pinned: BTreeMap<usize, Pinned>,
    /// The number of the last queued piece of work.
    pub(crate) ticket: u64,
    pub(crate) schedule: Schedule,
    /// What the host has waited for.
    pub(crate) host: Known,
    /// What everything to come is ordered behind.
    pub(crate) settled: Known,
}

/// One card.
pub(crate) struct Device {
    pub(crate) architecture: &'static Architecture,
    pub(crate) memory: Memory,
    pub(crate) allocations: BTreeMap<u64, Allocation>,
    pub(crate) primary: Primary,
    /// The error of a context that is gone, once errors stay: later ones begin with it.
    pub(crate) lost: Option<Code>,
}

/// The primary context of a device.
#[derive(Default)]
pub(crate) struct Primary {
    pub(crate) context: Option<Handle>,
    pub(crate) retained: u32,
    pub(crate) flags: u32,
}

/// A piece of device memory that the caller owns.
#[derive(Clone, Copy)]
pub(crate) struct Allocation {
    pub(crate) context: Handle,
    pub(crate) bytes: u64,
    /// A free of it is queued.
    pub(crate) freeing: bool,
}

impl Platform {
    /// The window of the platform's first device.
    fn first_window(self) -> usize {
        match self {
            Platform::Cuda => 1,
            Platform::Hip => 1 + MOST_DEVICES,
        }
    }

    /// The cards of the platform, and how their names begin.
    fn cards(self) -> (&'static [Architecture], &'static str) {
        match self {
            Platform::Cuda => (&architecture::ARCHITECTURES, "sm_"),
            Platform::Hip => (&hip::architecture::ARCHITECTURES, "gfx"),
        }
    }
}

/// Where an address points.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Place {
    /// The index of the device, and the address.
    Device(usize, u64),
    /// An address of the process.
    Host(usize),
}

static CUDA: LazyLock<Mutex<Driver>> = LazyLock::new(|| Mutex::new(Driver::new(Platform::Cuda)));
static HIP: LazyLock<Mutex<Driver>> = LazyLock::new(|| Mutex::new(Driver::new(Platform::Hip)));

/// The driver of the call that this thread is in, for this thread alone.
pub(crate) fn lock() -> MutexGuard<'static, Driver> {
    lock_of(ffi::platform())
}

/// The driver of a platform, for this thread alone.
pub(crate) fn lock_of(platform: Platform) -> MutexGuard<'static, Driver> {
    of(platform).lock().unwrap_or_else(PoisonError::into_inner)
}

/// As [`lock_of`], unless another thread has it.
pub(crate) fn try_lock_of(platform: Platform) -> Option<MutexGuard<'static, Driver>> {
    match of(platform).try_lock() {
        Ok(driver) => Some(driver),
        Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
        Err(TryLockError::WouldBlock) => None,
    }
}

fn of(platform: Platform) -> &'static Mutex<Driver> {
    match platform {
        Platform::Cuda => &CUDA,
        Platform::Hip => &HIP,
    }
}

thread_local! {
    static CUDA_CONTEXTS: RefCell<Vec<Handle>> = const { RefCell::new(Vec::new()) };
    static HIP_CONTEXTS: RefCell<Vec<Handle>> = const { RefCell::new(Vec::new()) };
    static THREAD: u64 = {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        NEXT.fetch_add(1, Ordering::Relaxed)
    };
}

/// The number of the calling thread.
pub(crate) fn thread() -> u64 {
    THREAD.with(|number| *number)
}

/// The calling thread's contexts of a platform, the current one last.
pub(crate) fn with_context_stack<R>(body: impl FnOnce(&mut Vec<Handle>) -> R) -> R {
    match ffi::platform() {
        Platform::Cuda => CUDA_CONTEXTS.with_borrow_mut(body),
        Platform::Hip => HIP_CONTEXTS.with_borrow_mut(body),
    }
}

impl Driver {
    fn new(platform: Platform) -> Driver {
        // Handles of one platform are none of the other's.
        let first = match platform {
            Platform::Cuda => 0,
            Platform::Hip => 0x80,
        };
        Driver {
            platform,
            initialized: false,
            devices: devices_from_environment(platform),
            contexts: Table::new("context", first + 1),
            streams: Table::new("stream", first + 2),
            events: Table::new("event", first + 3),
            modules: Table::new("module", first + 4),
            functions: Table::new("function or kernel", first + 5),
            libraries: Table::new("library", first + 6),
            graphs: Table::new("graph", first + 7),
            executable_graphs: Table::new("executable graph", first + 8),
            captures: Table::new("capture", first + 9),
            pinned: BTreeMap::new(),
            ticket: 0,
            schedule: Schedule::new(u64::MAX, 0),
            host: Known::default(),
            settled: Known::default(),
        }
    }

    /// Finds out whether there are devices.
    pub(crate) fn initialize(&mut self) -> Result<()> {
        if self.devices.is_empty() {
            let (_, prefix) = self.platform.cards();
            let reason = format!("EXPERTILE_SIM_ARCH names no modelled {prefix}*");
            return refuse(Code::NO_DEVICE, reason);
        }
        self.initialized = true;
        Ok(())
    }

    /// What a call begins with: CUDA wants `cuInit` first; any call of HIP initialises, and works in
    /// the primary context of the thread's device.
    pub(crate) fn enter(&mut self) -> Result<()> {
        match self.platform {
            Platform::Cuda if self.initialized => Ok(()),
            Platform::Cuda => refuse(Code::NOT_INITIALIZED, "cuInit was not called"),
            Platform::Hip => {
                self.initialize()?;
                let context = self.primary_context(hip::device::of_thread());
                with_context_stack(|stack| *stack = vec![context]);
                Ok(())
            }
        }
    }

    /// The current context of the calling thread.
    pub(crate) fn current(&self) -> Result<Handle> {
        let Some(context) = with_context_stack(|stack| stack.last().copied()) else {
            return refuse(Code::INVALID_CONTEXT, "this thread has no current context");
        };
        self.living(context)
    }

    /// The context, if it exists and has no error that stays.
    pub(crate) fn living(&self, context: Handle) -> Result<Handle> {
        match self.contexts.get(context) {
            Ok(state) => match state.fatal {
                Some(code) => refuse(code, LOST),
                None => Ok(context),
            },
            Err(_) if self.contexts.was_here(context) => {
                refuse(Code::CONTEXT_IS_DESTROYED, "the current context was destroyed")
            }
            Err(_) => refuse(Code::INVALID_CONTEXT, format!("{context:#x} is no context")),
        }
    }

    /// The device of a context.
    pub(crate) fn device_of(&self, context: Handle) -> Result<usize> {
        Ok(self.contexts.get(context)?.device)
    }

    /// The index of a device that the caller names.
    pub(crate) fn device(&self, ordinal: i32) -> Result<usize> {
        match usize::try_from(ordinal) {
            Ok(index) if index < self.devices.len() => Ok(index),
            _ => {
                refuse(Code::INVALID_DEVICE, format!("device {ordinal} of {}", self.devices.len()))
            }
        }
    }

    /// Whether an address is of the host or of a device.
    pub(crate) fn place(&self, address: u64) -> Place {
        let number = (address >> window::BITS) as usize;
        match number.checked_sub(self.platform.first_window()) {
            Some(index) if index < self.devices.len() => Place::Device(index, address),
            _ => Place::Host(address as usize),
        }
    }
}

/// Whether an address of the host lies in the window of a device that the platform does not have.
pub(crate) fn is_foreign(address: usize) -> bool {
    (1..=2 * MOST_DEVICES).contains(&(address >> window::BITS))
}

pub(crate) fn number_from_environment(variable: &str, default: u64) -> u64 {
    match std::env::var(variable) {
        Ok(text) => text.trim().parse().unwrap_or_else(|_| {
            eprintln!("simulated driver: {variable}={text} is no number, {default} is taken");
            default
        }),
        Err(_) => default,
    }
}

/// `EXPERTILE_SIM_ARCH` lists architectures; `EXPERTILE_SIM_DEVICES` says how many of each.
fn devices_from_environment(platform: Platform) -> Vec<Device> {
    let (known, prefix) = platform.cards();
    let each = number_from_environment("EXPERTILE_SIM_DEVICES", 2) as usize;
    let list = std::env::var("EXPERTILE_SIM_ARCH").unwrap_or_default();
    let mut cards = Vec::new();
    for name in list.split(',').map(str::trim).filter(|name| name.starts_with(prefix)) {
        match known.iter().find(|card| card.name == name) {
            Some(card) => cards.extend(std::iter::repeat_n(card, each.min(MOST_DEVICES))),
            None => {
                let known: Vec<&str> = known.iter().map(|card| card.name).collect();
                let known = known.join(", ");
                eprintln!("simulated driver: {name} is not modelled; known: {known}");
            }
        }
    }
    cards.truncate(MOST_DEVICES);
    let device = |(index, architecture): (usize, &'static Architecture)| Device {
        architecture,
        memory: Memory::new(
            ((platform.first_window() + index) as u64) << window::BITS,
            architecture.memory_bytes,
        ),
        allocations: BTreeMap::new(),
        primary: Primary::default(),
        lost: None,
    };
    cards.into_iter().enumerate().map(device).collect()
}
