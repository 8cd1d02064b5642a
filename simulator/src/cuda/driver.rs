//! The state of the simulated driver: one for the process, behind one lock.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

use super::architecture::{ARCHITECTURES, Architecture};
use super::capture::Capture;
use super::context::Context;
use super::error::{Code, Result, refuse};
use super::event::Event;
use super::function::Function;
use super::graph::{ExecutableGraph, Graph};
use super::host_memory::Pinned;
use super::library::Library;
use super::module::Module;
use super::queue::Stream;
use super::record::Record;
use super::table::{Handle, Table};
use crate::memory::Memory;

/// Everything that outlives a call.
pub(super) struct Driver {
    pub(super) initialized: bool,
    pub(super) devices: Vec<Device>,
    pub(super) contexts: Table<Context>,
    pub(super) streams: Table<Stream>,
    pub(super) events: Table<Event>,
    pub(super) modules: Table<Module>,
    pub(super) functions: Table<Function>,
    pub(super) libraries: Table<Library>,
    pub(super) graphs: Table<Graph>,
    pub(super) executable_graphs: Table<ExecutableGraph>,
    pub(super) captures: Table<Capture>,
    /// Host memory that copies may use late, by address.
    pub(super) pinned: BTreeMap<usize, Pinned>,
    /// How often each driver call was made.
    pub(super) calls: BTreeMap<&'static str, u64>,
    /// The number of the last queued piece of work.
    pub(super) ticket: u64,
    pub(super) record: Record,
}

/// One card.
pub(super) struct Device {
    pub(super) architecture: &'static Architecture,
    pub(super) memory: Memory,
    pub(super) allocations: BTreeMap<u64, Allocation>,
    pub(super) primary: Primary,
}

/// The primary context of a device.
#[derive(Default)]
pub(super) struct Primary {
    pub(super) context: Option<Handle>,
    pub(super) retained: u32,
    pub(super) flags: u32,
}

/// A piece of device memory that the caller owns.
#[derive(Clone, Copy)]
pub(super) struct Allocation {
    pub(super) context: Handle,
    pub(super) bytes: u64,
    /// A free of it is queued.
    pub(super) freeing: bool,
}

/// Device `n` has the 4 TiB from `(n + 1) << 42`: below every address of a Linux process.
const WINDOW_BITS: u32 = 42;
const MOST_DEVICES: usize = 16;

/// Where an address points.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Place {
    /// The index of the device, and the address.
    Device(usize, u64),
    /// An address of the process.
    Host(usize),
}

static DRIVER: LazyLock<Mutex<Driver>> = LazyLock::new(|| Mutex::new(Driver::new()));

/// The driver, for this thread alone.
pub(super) fn lock() -> MutexGuard<'static, Driver> {
    DRIVER.lock().unwrap_or_else(PoisonError::into_inner)
}

thread_local! {
    static CONTEXT_STACK: RefCell<Vec<Handle>> = const { RefCell::new(Vec::new()) };
    static THREAD: u64 = {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        NEXT.fetch_add(1, Ordering::Relaxed)
    };
}

/// The number of the calling thread.
pub(super) fn thread() -> u64 {
    THREAD.with(|number| *number)
}

/// The calling thread's contexts, the current one last.
pub(super) fn with_context_stack<R>(body: impl FnOnce(&mut Vec<Handle>) -> R) -> R {
    CONTEXT_STACK.with_borrow_mut(body)
}

impl Driver {
    fn new() -> Driver {
        let seed = number_from_environment("EXPERTILE_SIM_SEED", 0);
        Driver {
            initialized: false,
            devices: devices_from_environment(),
            contexts: Table::new("context", 1),
            streams: Table::new("stream", 2),
            events: Table::new("event", 3),
            modules: Table::new("module", 4),
            functions: Table::new("function or kernel", 5),
            libraries: Table::new("library", 6),
            graphs: Table::new("graph", 7),
            executable_graphs: Table::new("executable graph", 8),
            captures: Table::new("capture", 9),
            pinned: BTreeMap::new(),
            calls: BTreeMap::new(),
            ticket: 0,
            record: Record::new(seed),
        }
    }

    /// The current context of the calling thread.
    pub(super) fn current(&self) -> Result<Handle> {
        let Some(context) = with_context_stack(|stack| stack.last().copied()) else {
            return refuse(Code::INVALID_CONTEXT, "this thread has no current context");
        };
        self.living(context)
    }

    /// The context, if it exists and has no error that stays.
    pub(super) fn living(&self, context: Handle) -> Result<Handle> {
        match self.contexts.get(context) {
            Ok(state) => match state.fatal {
                Some(code) => refuse(code, "the context is lost: a launch failed, errors stay"),
                None => Ok(context),
            },
            Err(_) if self.contexts.was_here(context) => {
                refuse(Code::CONTEXT_IS_DESTROYED, "the current context was destroyed")
            }
            Err(_) => refuse(Code::INVALID_CONTEXT, format!("{context:#x} is no context")),
        }
    }

    /// The device of a context.
    pub(super) fn device_of(&self, context: Handle) -> Result<usize> {
        Ok(self.contexts.get(context)?.device)
    }

    /// The index of a device that the caller names.
    pub(super) fn device(&self, ordinal: i32) -> Result<usize> {
        match usize::try_from(ordinal) {
            Ok(index) if index < self.devices.len() => Ok(index),
            _ => {
                refuse(Code::INVALID_DEVICE, format!("device {ordinal} of {}", self.devices.len()))
            }
        }
    }

    /// Whether an address is of the host or of a device.
    pub(super) fn place(&self, address: u64) -> Place {
        match (address >> WINDOW_BITS) as usize {
            window if (1..=self.devices.len()).contains(&window) => {
                Place::Device(window - 1, address)
            }
            _ => Place::Host(address as usize),
        }
    }
}

fn number_from_environment(variable: &str, default: u64) -> u64 {
    match std::env::var(variable) {
        Ok(text) => text.trim().parse().unwrap_or_else(|_| {
            eprintln!("simulated driver: {variable}={text} is no number, {default} is taken");
            default
        }),
        Err(_) => default,
    }
}

/// `EXPERTILE_SIM_ARCH` lists architectures; `EXPERTILE_SIM_DEVICES` says how many of each.
fn devices_from_environment() -> Vec<Device> {
    let each = number_from_environment("EXPERTILE_SIM_DEVICES", 2) as usize;
    let list = std::env::var("EXPERTILE_SIM_ARCH").unwrap_or_default();
    let mut cards = Vec::new();
    for name in list.split(',').map(str::trim).filter(|name| name.starts_with("sm_")) {
        match ARCHITECTURES.iter().find(|card| card.name == name) {
            Some(card) => cards.extend(std::iter::repeat_n(card, each.min(MOST_DEVICES))),
            None => eprintln!("simulated driver: {name} is not modelled; known: {}", known()),
        }
    }
    cards.truncate(MOST_DEVICES);
    let device = |(index, architecture): (usize, &'static Architecture)| Device {
        architecture,
        memory: Memory::new((index as u64 + 1) << WINDOW_BITS, architecture.memory_bytes),
        allocations: BTreeMap::new(),
        primary: Primary::default(),
    };
    cards.into_iter().enumerate().map(device).collect()
}

fn known() -> String {
    ARCHITECTURES.each_ref().map(|card| card.name).join(", ")
}
