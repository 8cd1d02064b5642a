//! Stream capture and graphs.

use super::{Hip, stream_of, sys};
use crate::driver::{RawGraph, RawStream};
use crate::error::Result;
use std::ffi::c_int;
use std::ptr::null_mut;

impl Hip {
    /// # Safety
    ///
    /// As for `Driver::begin_capture`.
    pub(super) unsafe fn begin(&self, stream: RawStream) -> Result<()> {
        let _current = self.enter()?;
        // Other threads may go on with calls that a capture forbids.
        let mode = sys::HIP_STREAM_CAPTURE_MODE_THREAD_LOCAL as c_int;
        // SAFETY: the caller's stream is live.
        let code = unsafe { self.runtime.hipStreamBeginCapture(stream_of(stream), mode) };
        self.check(code, || format!("hipStreamBeginCapture on stream {stream:#x}"))
    }

    /// # Safety
    ///
    /// As for `Driver::end_capture`.
    pub(super) unsafe fn end(&self, stream: RawStream) -> Result<RawGraph> {
        let _current = self.enter()?;
        let mut graph = null_mut();
        // SAFETY: the caller's stream is live; `graph` is a place for a handle.
        let code = unsafe { self.runtime.hipStreamEndCapture(stream_of(stream), &mut graph) };
        self.check(code, || format!("hipStreamEndCapture on stream {stream:#x}"))?;
        let mut executable = null_mut();
        // SAFETY: the capture gave `graph`, which is destroyed here and nowhere else; `executable` is
        // a place for a handle and keeps what it needs of the graph.
        let code = unsafe {
            let code = self.runtime.hipGraphInstantiateWithFlags(&mut executable, graph, 0);
            let _ = self.runtime.hipGraphDestroy(graph);
            code
        };
        self.check(code, || "hipGraphInstantiateWithFlags".into())?;
        Ok(executable as RawGraph)
    }

    /// # Safety
    ///
    /// As for `Driver::launch_graph`.
    pub(super) unsafe fn replay(&self, graph: RawGraph, stream: RawStream) -> Result<()> {
        let _current = self.enter()?;
        let executable = graph as sys::hipGraphExec_t;
        // SAFETY: the caller vouches for both, and for the memory that the graph uses.
        let code = unsafe { self.runtime.hipGraphLaunch(executable, stream_of(stream)) };
        self.check(code, || format!("hipGraphLaunch on stream {stream:#x}"))
    }

    /// # Safety
    ///
    /// As for `Driver::destroy_graph`.
    pub(super) unsafe fn discard(&self, graph: RawGraph) -> Result<()> {
        let _current = self.enter()?;
        // SAFETY: the caller gives the graph up; launches that run keep what they need.
        let code = unsafe { self.runtime.hipGraphExecDestroy(graph as sys::hipGraphExec_t) };
        self.check(code, || "hipGraphExecDestroy".into())
    }
}
