//! The calls on streams.

use super::error::{Code, Result, refuse};
use super::ffi::{HostFunction, Out, call};
use super::queue::{Kind, Work};
use super::table::Handle;

/// The most urgent priority; 0 is the least.
pub(crate) const GREATEST_PRIORITY: i32 = -5;

fn create(symbol: &'static str, stream: Out<Handle>, flags: u32, priority: i32) -> u32 {
    call(symbol, |driver| {
        let context = driver.current()?;
        let kind = match flags {
            0 => Kind::Blocking,
            1 => Kind::NonBlocking,
            _ => return refuse(Code::INVALID_VALUE, format!("flags {flags}")),
        };
        if stream.is_null() {
            return refuse(Code::INVALID_VALUE, "no place for the stream");
        }
        stream.set(driver.add_stream(context, kind, priority.clamp(GREATEST_PRIORITY, 0)))
    })
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn cuStreamCreate(stream: Out<Handle>, flags: u32) -> u32 {
    create("cuStreamCreate", stream, flags, 0)
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn cuStreamCreateWithPriority(
    stream: Out<Handle>,
    flags: u32,
    priority: i32,
) -> u32 {
    create("cuStreamCreateWithPriority", stream, flags, priority)
}

/// The stream's work is done first: what a caller may do with a destroyed stream's results does not
/// depend on when that happens.
#[unsafe(no_mangle)]
pub(crate) extern "C" fn cuStreamDestroy_v2(stream: Handle) -> u32 {
    call("cuStreamDestroy_v2", |driver| {
        driver.streams.get(stream)?;
        driver.refuse_captured(stream, "the end of the stream")?;
        driver.run_stream(stream)?;
        let stream = driver.streams.remove(stream)?;
        if let Ok(context) = driver.contexts.get_mut(stream.context) {
            context.destroyed_streams.join(&stream.known);
        }
        Ok(())
    })
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn cuStreamSynchronize(stream: Handle) -> u32 {
    call("cuStreamSynchronize", |driver| {
        let stream = driver.stream(stream)?;
        driver.refuse_unsafe_wait(stream)?;
        driver.synchronize(stream)
    })
}

/// Tells the state as it is, and then the device goes on: a second query finds the work done.
#[unsafe(no_mangle)]
pub(crate) extern "C" fn cuStreamQuery(stream: Handle) -> u32 {
    call("cuStreamQuery", |driver| {
        let stream = driver.stream(stream)?;
        driver.refuse_captured(stream, "a query of the stream")?;
        driver.refuse_implicit(stream)?;
        driver.refuse_unsafe()?;
        let mark = driver.mark(stream)?;
        if driver.is_done(mark.point) {
            driver.host_knows(&mark.known);
            let context = driver.streams.get(stream)?.context;
            return driver.take_error(context);
        }
        driver.run_stream(stream)?;
        refuse(Code::NOT_READY, "the stream has work to do")
    })
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn cuStreamWaitEvent(stream: Handle, event: Handle, flags: u32) -> u32 {
    call("cuStreamWaitEvent", |driver| {
        const EXTERNAL: u32 = 1;
        let stream = driver.stream(stream)?;
        match (flags, driver.streams.get(stream)?.capture) {
            (0, _) => {}
            (EXTERNAL, Some(_)) => {
                let reason = "a wait for an external event in a graph is not modelled";
                return refuse(Code::NOT_SUPPORTED, reason);
            }
            _ => return refuse(Code::INVALID_VALUE, format!("flags {flags}")),
        }
        let recorded = driver.events.get(event)?;
        if let Some((capture, nodes)) = recorded.captured.clone() {
            return driver.capture_wait(stream, capture, nodes);
        }
        let Some(mark) = recorded.recorded.clone() else { return Ok(()) };
        if let Some(capture) = driver.streams.get(stream)?.capture {
            driver.captures.get_mut(capture)?.invalid = true;
            let reason = "a captured stream would wait for work outside the capture";
            return refuse(Code::STREAM_CAPTURE_ISOLATION, reason);
        }
        driver.enqueue_after(stream, Work::Wait, vec![mark])
    })
}

fn property<T>(
    symbol: &'static str,
    stream: Handle,
    value: Out<T>,
    read: impl FnOnce(&super::queue::Stream) -> T,
) -> u32 {
    call(symbol, |driver| {
        let stream = driver.stream(stream)?;
        value.set(read(driver.streams.get(stream)?))
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuStreamGetCtx(stream: Handle, context: Out<Handle>) -> u32 {
    property("cuStreamGetCtx", stream, context, |stream| stream.context)
}

#[unsafe(no_mangle)]
extern "C" fn cuStreamGetCtx_v2(
    stream: Handle,
    context: Out<Handle>,
    green_context: Out<Handle>,
) -> u32 {
    green_context.set_if_given(0);
    property("cuStreamGetCtx_v2", stream, context, |stream| stream.context)
}

#[unsafe(no_mangle)]
extern "C" fn cuStreamGetId(stream: Handle, id: Out<u64>) -> u32 {
    property("cuStreamGetId", stream, id, |stream| stream.id)
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn cuStreamGetPriority(stream: Handle, priority: Out<i32>) -> u32 {
    property("cuStreamGetPriority", stream, priority, |stream| stream.priority)
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn cuStreamGetFlags(stream: Handle, flags: Out<u32>) -> u32 {
    property("cuStreamGetFlags", stream, flags, |stream| {
        u32::from(stream.kind == Kind::NonBlocking)
    })
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn cuStreamGetDevice(stream: Handle, device: Out<i32>) -> u32 {
    call("cuStreamGetDevice", |driver| {
        let stream = driver.stream(stream)?;
        device.set(driver.device_of(driver.streams.get(stream)?.context)? as i32)
    })
}

fn host_function(
    symbol: &'static str,
    stream: Handle,
    argument: usize,
    function: impl FnOnce(Handle) -> Result<HostFunction>,
) -> u32 {
    call(symbol, |driver| {
        let queue = driver.stream(stream)?;
        let function = function(stream)?;
        if matches!(function, HostFunction::Callback(..)) {
            driver.refuse_captured(queue, "a callback")?;
        }
        driver.enqueue(queue, Work::Host(function, argument))
    })
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn cuLaunchHostFunc(
    stream: Handle,
    function: Option<unsafe extern "C" fn(usize)>,
    argument: usize,
) -> u32 {
    host_function("cuLaunchHostFunc", stream, argument, |_| match function {
        Some(function) => Ok(HostFunction::Plain(function)),
        None => refuse(Code::INVALID_VALUE, "the function is null"),
    })
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn cuStreamAddCallback(
    stream: Handle,
    function: Option<unsafe extern "C" fn(usize, u32, usize)>,
    argument: usize,
    flags: u32,
) -> u32 {
    host_function("cuStreamAddCallback", stream, argument, |stream| match function {
        Some(function) if flags == 0 => Ok(HostFunction::Callback(function, stream)),
        _ => refuse(Code::INVALID_VALUE, format!("the function is null, or flags {flags} not 0")),
    })
}
