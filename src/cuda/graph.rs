//! Stream capture and graphs.

use super::{Cuda, Current, check, stream_of};
use crate::driver::{RawGraph, RawStream};
use crate::error::Result;
use cudarc::driver::sys;
use std::ptr::null_mut;

impl Cuda {
    /// # Safety
    ///
    /// As for `Driver::begin_capture`.
    pub(super) unsafe fn begin(&self, stream: RawStream) -> Result<()> {
        let _current = Current::enter(self.context)?;
        // Other threads may go on with calls that a capture forbids.
        let mode = sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
        // SAFETY: the caller's stream is live.
        let code = unsafe { sys::cuStreamBeginCapture_v2(stream_of(stream), mode) };
        check(code, || format!("cuStreamBeginCapture on stream {stream:#x}"))
    }

    /// # Safety
    ///
    /// As for `Driver::end_capture`.
    pub(super) unsafe fn end(&self, stream: RawStream) -> Result<RawGraph> {
        let _current = Current::enter(self.context)?;
        let mut graph = null_mut();
        // SAFETY: the caller's stream is live; `graph` is a place for a handle.
        let code = unsafe { sys::cuStreamEndCapture(stream_of(stream), &mut graph) };
        check(code, || format!("cuStreamEndCapture on stream {stream:#x}"))?;
        let mut executable = null_mut();
        // SAFETY: the capture gave `graph`, which is destroyed here and nowhere else; `executable` is
        // a place for a handle and keeps what it needs of the graph.
        let code = unsafe {
            let code = sys::cuGraphInstantiateWithFlags(&mut executable, graph, 0);
            let _ = sys::cuGraphDestroy(graph);
            code
        };
        check(code, || "cuGraphInstantiateWithFlags".into())?;
        Ok(executable as RawGraph)
    }

    /// # Safety
    ///
    /// As for `Driver::launch_graph`.
    pub(super) unsafe fn replay(&self, graph: RawGraph, stream: RawStream) -> Result<()> {
        let _current = Current::enter(self.context)?;
        // SAFETY: the caller vouches for both, and for the memory that the graph uses.
        let code = unsafe { sys::cuGraphLaunch(graph as sys::CUgraphExec, stream_of(stream)) };
        check(code, || format!("cuGraphLaunch on stream {stream:#x}"))
    }

    /// # Safety
    ///
    /// As for `Driver::destroy_graph`.
    pub(super) unsafe fn discard(&self, graph: RawGraph) -> Result<()> {
        let _current = Current::enter(self.context)?;
        // SAFETY: the caller gives the graph up; launches that run keep what they need.
        check(unsafe { sys::cuGraphExecDestroy(graph as sys::CUgraphExec) }, || {
            "cuGraphExecDestroy".into()
        })
    }
}
