//! Contexts: a thread works in its current one; errors of launches belong to one.

use std::collections::BTreeMap;

use super::driver::{Driver, Primary, with_context_stack};
use super::error::{Code, Error, Result, refuse};
use super::ffi::{Out, call};
use super::table::Handle;
use crate::memory::{Known, MemoryError};

/// A context of a device.
pub(crate) struct Context {
    pub(crate) device: usize,
    pub(crate) flags: u32,
    pub(crate) primary: bool,
    /// Of the null stream (no thread) and of each thread's default stream.
    pub(crate) default_streams: BTreeMap<Option<u64>, Handle>,
    /// The first thing that went wrong in a stream, until a synchronising call hands it over.
    pub(crate) failure: Option<Error>,
    /// Whether work of the context's streams is dropped until then.
    pub(crate) stopped: bool,
    /// The error that every call gets, once errors stay.
    pub(crate) fatal: Option<Code>,
    limits: BTreeMap<u32, usize>,
    /// What the context's destroyed streams did.
    pub(crate) destroyed_streams: Known,
    cache_config: u32,
    peers: Vec<Handle>,
}

impl Context {
    /// Whether work is dropped, as a device drops what follows a fault.
    pub(crate) fn stops_work(&self) -> bool {
        self.fatal.is_some() || (self.stopped && self.failure.is_some())
    }
}

impl Driver {
    pub(crate) fn add_context(&mut self, device: usize, flags: u32, primary: bool) -> Handle {
        let fatal = self.lost(device);
        self.contexts.insert(Context {
            device,
            flags,
            primary,
            default_streams: BTreeMap::new(),
            failure: None,
            stopped: false,
            fatal,
            limits: BTreeMap::from([
                (0, 1024),    // stack
                (1, 1 << 20), // printf
                (2, 8 << 20), // heap
                (3, 2),       // depth of device-side synchronisation
                (4, 2048),    // pending device-side launches
                (5, 64),      // L2 fetch granularity
                (6, 0),       // persisting L2
            ]),
            destroyed_streams: Known::default(),
            cache_config: 0,
            peers: Vec::new(),
        })
    }

    /// The primary context of a device; made if the device has none.
    pub(crate) fn primary_context(&mut self, device: usize) -> Handle {
        let Primary { context, flags, .. } = self.devices[device].primary;
        context.unwrap_or_else(|| {
            let handle = self.add_context(device, flags, true);
            self.devices[device].primary.context = Some(handle);
            handle
        })
    }

    /// Finishes a context's work and drops all it owns.
    pub(crate) fn remove_context(&mut self, context: Handle) -> Result<()> {
        self.wait_for_context(context);
        self.drop_captures(context);
        let Context { device, fatal, .. } = self.contexts.remove(context)?;
        self.devices[device].lost = self.devices[device].lost.or(fatal);
        for stream in self.streams.handles(|stream| stream.context == context) {
            self.streams.remove(stream)?;
        }
        for event in self.events.handles(|event| event.context == context) {
            self.events.remove(event)?;
        }
        for module in self.modules.handles(|module| module.context == context) {
            self.remove_module(module)?;
        }
        let card = &mut self.devices[device];
        let owned = |(&address, allocation): (&u64, &super::driver::Allocation)| {
            (allocation.context == context && !allocation.freeing).then_some(address)
        };
        for address in card.allocations.iter().filter_map(owned).collect::<Vec<_>>() {
            card.allocations.remove(&address);
            let _known_to_exist = card.memory.free(address);
        }
        self.pinned.retain(|_, pinned| pinned.context != context);
        Ok(())
    }

    /// Keeps the first failure of a context for its next synchronising call.
    pub(crate) fn note_failure(&mut self, context: Handle, outcome: Result<()>) {
        if let (Err(error), Ok(state)) = (outcome, self.contexts.get_mut(context)) {
            state.stopped = true;
            state.failure.get_or_insert(error);
        }
    }

    pub(crate) fn note_memory_failure(
        &mut self,
        context: Handle,
        what: &str,
        outcome: std::result::Result<(), MemoryError>,
    ) {
        let reason = match outcome {
            Ok(()) => return,
            Err(MemoryError::Address(text)) => format!("{what} in a stream: {text}"),
            Err(MemoryError::OutOfMemory) => format!("{what} in a stream: out of memory"),
        };
        eprintln!("simulated driver: {reason}");
        self.note_failure(context, refuse(Code::ILLEGAL_ADDRESS, reason));
    }
}

fn create(symbol: &'static str, context: Out<Handle>, flags: u32, device: i32) -> u32 {
    call(symbol, |driver| {
        let device = driver.device(device)?;
        if context.is_null() {
            return refuse(Code::INVALID_VALUE, "no place for the context");
        }
        let handle = driver.add_context(device, flags, false);
        with_context_stack(|stack| stack.push(handle));
        context.set(handle)
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuCtxCreate_v2(context: Out<Handle>, flags: u32, device: i32) -> u32 {
    create("cuCtxCreate_v2", context, flags, device)
}

/// Execution affinity is ignored: it limits nothing that is modelled.
#[unsafe(no_mangle)]
extern "C" fn cuCtxCreate_v3(
    context: Out<Handle>,
    _affinity: usize,
    _count: i32,
    flags: u32,
    device: i32,
) -> u32 {
    create("cuCtxCreate_v3", context, flags, device)
}

/// Creation parameters are ignored, as in `cuCtxCreate_v3`.
#[unsafe(no_mangle)]
extern "C" fn cuCtxCreate_v4(
    context: Out<Handle>,
    _parameters: usize,
    flags: u32,
    device: i32,
) -> u32 {
    create("cuCtxCreate_v4", context, flags, device)
}

#[unsafe(no_mangle)]
extern "C" fn cuCtxDestroy_v2(context: Handle) -> u32 {
    call("cuCtxDestroy_v2", |driver| {
        match driver.contexts.get(context) {
            Ok(state) if state.primary => {
                return refuse(
                    Code::INVALID_CONTEXT,
                    "a primary context is released, not destroyed",
                );
            }
            Ok(_) => {}
            Err(_) => return refuse(Code::INVALID_CONTEXT, format!("{context:#x} is no context")),
        }
        with_context_stack(|stack| {
            if stack.last() == Some(&context) {
                stack.pop();
            }
        });
        driver.remove_context(context)
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuCtxSetCurrent(context: Handle) -> u32 {
    call("cuCtxSetCurrent", |driver| {
        if context != 0 && !driver.contexts.contains(context) {
            return refuse(Code::INVALID_CONTEXT, format!("{context:#x} is no context"));
        }
        with_context_stack(|stack| {
            stack.pop();
            if context != 0 {
                stack.push(context);
            }
        });
        Ok(())
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuCtxGetCurrent(context: Out<Handle>) -> u32 {
    call("cuCtxGetCurrent", |_| {
        context.set(with_context_stack(|stack| stack.last().copied().unwrap_or(0)))
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuCtxPushCurrent_v2(context: Handle) -> u32 {
    call("cuCtxPushCurrent_v2", |driver| {
        if !driver.contexts.contains(context) {
            return refuse(Code::INVALID_CONTEXT, format!("{context:#x} is no context"));
        }
        with_context_stack(|stack| stack.push(context));
        Ok(())
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuCtxPopCurrent_v2(context: Out<Handle>) -> u32 {
    call("cuCtxPopCurrent_v2", |_| match with_context_stack(Vec::pop) {
        Some(popped) => {
            context.set_if_given(popped);
            Ok(())
        }
        None => refuse(Code::INVALID_CONTEXT, "this thread has no current context"),
    })
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn cuCtxSynchronize() -> u32 {
    call("cuCtxSynchronize", |driver| {
        let context = driver.current()?;
        synchronize(driver, context)
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuCtxSynchronize_v2(context: Handle) -> u32 {
    call("cuCtxSynchronize_v2", |driver| {
        let context = named(driver, context)?;
        synchronize(driver, context)
    })
}

fn synchronize(driver: &mut Driver, context: Handle) -> Result<()> {
    driver.refuse_captured_context(context)?;
    driver.wait_for_context(context);
    driver.take_error(context)
}

/// The context that a call names, or the current one.
fn named(driver: &Driver, context: Handle) -> Result<Handle> {
    if context == 0 { driver.current() } else { driver.living(context) }
}

#[unsafe(no_mangle)]
extern "C" fn cuCtxGetDevice(device: Out<i32>) -> u32 {
    call("cuCtxGetDevice", |driver| {
        let context = driver.current()?;
        device.set(driver.device_of(context)? as i32)
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuCtxGetDevice_v2(device: Out<i32>, context: Handle) -> u32 {
    call("cuCtxGetDevice_v2", |driver| {
        let context = named(driver, context)?;
        device.set(driver.device_of(context)? as i32)
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuCtxGetId(context: Handle, id: Out<u64>) -> u32 {
    call("cuCtxGetId", |driver| id.set(named(driver, context)? as u64))
}

#[unsafe(no_mangle)]
extern "C" fn cuCtxGetApiVersion(context: Handle, version: Out<u32>) -> u32 {
    call("cuCtxGetApiVersion", |driver| {
        named(driver, context)?;
        version.set(3020)
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuCtxGetFlags(flags: Out<u32>) -> u32 {
    call("cuCtxGetFlags", |driver| {
        let context = driver.current()?;
        flags.set(driver.contexts.get(context)?.flags)
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuCtxSetFlags(flags: u32) -> u32 {
    call("cuCtxSetFlags", |driver| {
        let context = driver.current()?;
        driver.contexts.get_mut(context)?.flags = flags;
        Ok(())
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuCtxGetLimit(value: Out<usize>, limit: u32) -> u32 {
    call("cuCtxGetLimit", |driver| {
        let context = driver.current()?;
        match driver.contexts.get(context)?.limits.get(&limit) {
            Some(&found) => value.set(found),
            None => refuse(Code::INVALID_VALUE, format!("no limit {limit}")),
        }
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuCtxSetLimit(limit: u32, value: usize) -> u32 {
    call("cuCtxSetLimit", |driver| {
        let context = driver.current()?;
        match driver.contexts.get_mut(context)?.limits.get_mut(&limit) {
            Some(found) => *found = value,
            None => return refuse(Code::INVALID_VALUE, format!("no limit {limit}")),
        }
        Ok(())
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuCtxGetCacheConfig(config: Out<u32>) -> u32 {
    call("cuCtxGetCacheConfig", |driver| {
        let context = driver.current()?;
        config.set(driver.contexts.get(context)?.cache_config)
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuCtxSetCacheConfig(config: u32) -> u32 {
    call("cuCtxSetCacheConfig", |driver| {
        let context = driver.current()?;
        driver.contexts.get_mut(context)?.cache_config = config;
        Ok(())
    })
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn cuCtxGetStreamPriorityRange(least: Out<i32>, greatest: Out<i32>) -> u32 {
    call("cuCtxGetStreamPriorityRange", |driver| {
        driver.current()?;
        least.set_if_given(0);
        greatest.set_if_given(super::stream::GREATEST_PRIORITY);
        Ok(())
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuCtxResetPersistingL2Cache() -> u32 {
    call("cuCtxResetPersistingL2Cache", |driver| driver.current().map(|_| ()))
}

/// Allows copies; kernels do not reach another device's memory here.
#[unsafe(no_mangle)]
extern "C" fn cuCtxEnablePeerAccess(peer: Handle, _flags: u32) -> u32 {
    call("cuCtxEnablePeerAccess", |driver| {
        let context = driver.current()?;
        driver.living(peer)?;
        let peers = &mut driver.contexts.get_mut(context)?.peers;
        if peers.contains(&peer) {
            return refuse(Code::PEER_ACCESS_ALREADY_ENABLED, "already enabled");
        }
        peers.push(peer);
        Ok(())
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuCtxDisablePeerAccess(peer: Handle) -> u32 {
    call("cuCtxDisablePeerAccess", |driver| {
        let context = driver.current()?;
        let peers = &mut driver.contexts.get_mut(context)?.peers;
        match peers.iter().position(|&known| known == peer) {
            Some(index) => peers.swap_remove(index),
            None => return refuse(Code::PEER_ACCESS_NOT_ENABLED, "was not enabled"),
        };
        Ok(())
    })
}
