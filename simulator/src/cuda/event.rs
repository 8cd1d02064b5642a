//! Events: points in streams, with the time at which they were passed.
//!
//! Times are those of the machine that simulates.

use std::time::Instant;

use super::driver::Driver;
use super::error::{Code, Result, refuse};
use super::ffi::{Out, call};
use super::ordering::Mark;
use super::queue::Work;
use super::table::Handle;

/// An event of a context.
pub(crate) struct Event {
    pub(crate) context: Handle,
    timing: bool,
    /// Where it was recorded last.
    pub(crate) recorded: Option<Mark>,
    /// The capture it was recorded in last, and the nodes before it.
    pub(crate) captured: Option<(Handle, Vec<usize>)>,
    /// When the device last passed it.
    pub(crate) time: Option<Instant>,
}

const BLOCKING_SYNC: u32 = 1;
const DISABLE_TIMING: u32 = 2;

#[unsafe(no_mangle)]
pub(crate) extern "C" fn cuEventCreate(event: Out<Handle>, flags: u32) -> u32 {
    call("cuEventCreate", |driver| {
        let context = driver.current()?;
        if event.is_null() || flags & !(BLOCKING_SYNC | DISABLE_TIMING) != 0 {
            return refuse(
                Code::INVALID_VALUE,
                format!("no place for the event, or flags {flags}"),
            );
        }
        let timing = flags & DISABLE_TIMING == 0;
        let state = Event { context, timing, recorded: None, captured: None, time: None };
        event.set(driver.events.insert(state))
    })
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn cuEventDestroy_v2(event: Handle) -> u32 {
    call("cuEventDestroy_v2", |driver| driver.events.remove(event).map(|_| ()))
}

fn record(driver: &mut Driver, event: Handle, stream: Handle, external: bool) -> Result<()> {
    let stream = driver.stream(stream)?;
    let state = driver.streams.get(stream)?;
    let (context, capture) = (state.context, state.capture);
    if driver.events.get(event)?.context != context {
        return refuse(Code::INVALID_HANDLE, "event and stream belong to different contexts");
    }
    match capture {
        Some(capture) if !external => {
            driver.unspoilt(capture)?;
            let nodes = driver.captures.get(capture)?.ends_of(stream);
            driver.events.get_mut(event)?.captured = Some((capture, nodes));
            Ok(())
        }
        Some(_) => driver.enqueue(stream, Work::Record(event)),
        None if external => refuse(Code::INVALID_VALUE, "external, but the stream is not captured"),
        None => {
            driver.enqueue(stream, Work::Record(event))?;
            let mark = driver.mark(stream)?;
            let state = driver.events.get_mut(event)?;
            state.recorded = Some(mark);
            state.captured = None;
            Ok(())
        }
    }
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn cuEventRecord(event: Handle, stream: Handle) -> u32 {
    call("cuEventRecord", |driver| record(driver, event, stream, false))
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn cuEventRecordWithFlags(event: Handle, stream: Handle, flags: u32) -> u32 {
    call("cuEventRecordWithFlags", |driver| match flags {
        0 | 1 => record(driver, event, stream, flags == 1),
        _ => refuse(Code::INVALID_VALUE, format!("flags {flags}")),
    })
}

/// Where the event was recorded. Asking for an event of a capture spoils the capture.
fn mark(driver: &mut Driver, event: Handle) -> Result<Option<Mark>> {
    let state = driver.events.get(event)?;
    driver.living(state.context)?;
    if let Some(&(capture, _)) = state.captured.as_ref() {
        if let Ok(capture) = driver.captures.get_mut(capture) {
            capture.invalid = true;
        }
        return refuse(Code::CAPTURED_EVENT, "the event was recorded in a capture");
    }
    Ok(state.recorded.clone())
}

/// Tells the state as it is, and then the device goes on: a second query finds the work done.
#[unsafe(no_mangle)]
pub(crate) extern "C" fn cuEventQuery(event: Handle) -> u32 {
    call("cuEventQuery", |driver| {
        let mark = mark(driver, event)?;
        driver.refuse_unsafe()?;
        if let Some(mark) = mark {
            if !driver.is_done(mark.point) {
                driver.run_to(mark.point);
                return refuse(Code::NOT_READY, "the device has not come there");
            }
            driver.host_knows(&mark.known);
        }
        let context = driver.events.get(event)?.context;
        driver.take_error(context)
    })
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn cuEventSynchronize(event: Handle) -> u32 {
    call("cuEventSynchronize", |driver| {
        let mark = mark(driver, event)?;
        driver.refuse_unsafe()?;
        if let Some(mark) = mark {
            driver.wait_for(&mark);
        }
        let context = driver.events.get(event)?.context;
        driver.take_error(context)
    })
}

fn elapsed(symbol: &'static str, milliseconds: Out<f32>, start: Handle, end: Handle) -> u32 {
    call(symbol, |driver| {
        let device = |event| driver.device_of(driver.events.get(event)?.context);
        let devices = [device(start)?, device(end)?];
        if devices[0] != devices[1] {
            return refuse(Code::INVALID_HANDLE, format!("events of devices {devices:?}"));
        }
        let mut times = [None; 2];
        for (time, event) in times.iter_mut().zip([start, end]) {
            let recorded = mark(driver, event)?;
            let state = driver.events.get(event)?;
            match recorded {
                Some(mark) if !driver.is_done(mark.point) => {
                    driver.run_to(mark.point);
                    return refuse(Code::NOT_READY, "the device has not come there");
                }
                _ if !state.timing => {
                    return refuse(Code::INVALID_HANDLE, "the event takes no time");
                }
                // An event node of a graph sets the time without a point.
                _ => *time = state.time,
            }
        }
        let [Some(start), Some(end)] = times else {
            return refuse(Code::INVALID_HANDLE, "an event was never recorded");
        };
        let forward = end.saturating_duration_since(start).as_secs_f32();
        let backward = start.saturating_duration_since(end).as_secs_f32();
        milliseconds.set((forward - backward) * 1e3)
    })
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn cuEventElapsedTime(
    milliseconds: Out<f32>,
    start: Handle,
    end: Handle,
) -> u32 {
    elapsed("cuEventElapsedTime", milliseconds, start, end)
}

#[unsafe(no_mangle)]
extern "C" fn cuEventElapsedTime_v2(milliseconds: Out<f32>, start: Handle, end: Handle) -> u32 {
    elapsed("cuEventElapsedTime_v2", milliseconds, start, end)
}
