//! Work that is recorded once and submitted many times.

use crate::device::Device;
use crate::driver::RawGraph;
use crate::error::{Error, Result};
use crate::stream::Stream;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Launches recorded from a stream, which one call submits again: no operator is planned or checked
/// anew, and the driver's cost of each launch is paid once.
#[derive(Debug)]
pub struct Graph {
    device: Device,
    raw: RawGraph,
}

impl Graph {
    /// Records what `submit` launches on `stream` instead of running it.
    ///
    /// Operators may be recorded; whatever waits, allocates or copies to or from the host may not,
    /// and is the driver's error. An error or a panic of `submit` ends the recording and leaves the
    /// stream as it was.
    ///
    /// # Errors
    ///
    /// What `submit` returns; `Driver`, for example on the default stream, which cannot be recorded.
    ///
    /// # Safety
    ///
    /// A launch uses the memory that `submit` gave to operators as they used it then: whenever the
    /// graph runs, that memory must still be valid, and nothing else may use it meanwhile.
    pub unsafe fn capture(
        stream: &Stream,
        submit: impl FnOnce(&Stream) -> Result<()>,
    ) -> Result<Graph> {
        let capturing = Capturing::begin(stream)?;
        submit(stream)?;
        let raw = capturing.end()?;
        Ok(Graph { device: stream.device().clone(), raw })
    }

    /// Submits all of it to `stream`, in the recorded order; returns at once.
    ///
    /// # Errors
    ///
    /// `Value` if the stream is another device's, `Driver`.
    pub fn launch(&self, stream: &Stream) -> Result<()> {
        if stream.device().identity() != self.device.identity() {
            let (found, expected) = (stream.device().to_string(), self.device.to_string());
            return Err(Error::value("graph", "stream", found, expected));
        }
        // SAFETY: both live for the call; whoever captured vouched for the memory.
        unsafe { self.device.driver().launch_graph(self.raw, stream.raw()) }
    }
}

impl Drop for Graph {
    fn drop(&mut self) {
        // SAFETY: it came from `end_capture` and ends here.
        let destroyed = unsafe { self.device.driver().destroy_graph(self.raw) };
        drop(destroyed);
    }
}

/// The captures of this process that are under way, and the memory whose free waits for their end.
///
/// A free waits for its device, and that breaks every capture on the device, whichever thread began
/// it and whatever its mode (CUDA driver documentation, `cuCtxSynchronize`).
#[derive(Default)]
pub(crate) struct Captures {
    active: u32,
    waiting: Vec<(Device, u64)>,
}

static CAPTURES: Mutex<Captures> = Mutex::new(Captures { active: 0, waiting: Vec::new() });

/// While this is held no capture begins.
pub(crate) fn captures() -> MutexGuard<'static, Captures> {
    CAPTURES.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Captures {
    /// Whether a device may be waited for.
    pub(crate) fn allow_waiting(&self) -> bool {
        self.active == 0
    }
}

/// Frees memory as soon as nothing is captured.
///
/// # Safety
///
/// As [`Driver::free`](crate::driver::Driver::free).
pub(crate) unsafe fn free(device: &Device, address: u64) -> Result<()> {
    let mut captures = captures();
    if !captures.allow_waiting() {
        captures.waiting.push((device.clone(), address));
        return Ok(());
    }
    // SAFETY: the caller's contract is the same.
    unsafe { device.driver().free(address) }
}

/// A capture under way; dropped, it is given up.
struct Capturing<'a> {
    stream: &'a Stream,
    ended: bool,
}

impl<'a> Capturing<'a> {
    fn begin(stream: &'a Stream) -> Result<Capturing<'a>> {
        let mut captures = captures();
        // SAFETY: the stream lives as long as the borrow, and `finish` ends what begins here.
        unsafe { stream.device().driver().begin_capture(stream.raw())? };
        captures.active += 1;
        Ok(Capturing { stream, ended: false })
    }

    fn end(mut self) -> Result<RawGraph> {
        self.finish()
    }

    fn finish(&mut self) -> Result<RawGraph> {
        self.ended = true;
        let (driver, stream) = (self.stream.device().driver(), self.stream.raw());
        // SAFETY: this thread began the capture on this live stream, and it has not been ended.
        let graph = unsafe { driver.end_capture(stream) };
        if graph.is_err() {
            // A refusal may have left the stream in the capture; where it did not, this is refused.
            // SAFETY: as above; nobody uses the graph of a capture that failed.
            let _ = unsafe { driver.end_capture(stream).map(|graph| driver.destroy_graph(graph)) };
        }
        let mut captures = captures();
        captures.active -= 1;
        if !captures.allow_waiting() {
            return graph;
        }
        let waiting = std::mem::take(&mut captures.waiting);
        for (device, address) in &waiting {
            // SAFETY: whoever asked for the free vouched that nothing uses the memory any more. A
            // failure has nobody left who could be told.
            let _ = unsafe { device.driver().free(*address) };
        }
        // The last handle of a device asks for the captures when it is dropped.
        drop(captures);
        drop(waiting);
        graph
    }
}

impl Drop for Capturing<'_> {
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        if let Ok(graph) = self.finish() {
            // SAFETY: nobody uses a graph that came out of a capture that was given up.
            drop(unsafe { self.stream.device().driver().destroy_graph(graph) });
        }
    }
}
