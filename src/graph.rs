//! Work that is recorded once and submitted many times.

use crate::device::Device;
use crate::driver::RawGraph;
use crate::error::{Error, Result};
use crate::stream::Stream;

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
        // SAFETY: the stream lives as long as the borrow; `Capturing` ends what begins here.
        unsafe { stream.device().driver().begin_capture(stream.raw())? };
        let capturing = Capturing { stream };
        submit(stream)?;
        std::mem::forget(capturing);
        // SAFETY: the capture began above and has not been ended.
        let raw = unsafe { stream.device().driver().end_capture(stream.raw())? };
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

/// Ends a capture that did not come to its end.
struct Capturing<'a> {
    stream: &'a Stream,
}

impl Drop for Capturing<'_> {
    fn drop(&mut self) {
        let driver = self.stream.device().driver();
        // SAFETY: the capture was begun on this live stream, and nobody else ends it; a graph that
        // still came out is used by nobody.
        unsafe {
            if let Ok(graph) = driver.end_capture(self.stream.raw()) {
                drop(driver.destroy_graph(graph));
            }
        }
    }
}
