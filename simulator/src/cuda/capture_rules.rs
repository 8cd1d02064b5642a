//! What a capture that is going on forbids, to whom, and that it is lost by what was forbidden.
//!
//! CUDA: driver documentation, `cuThreadExchangeStreamCaptureMode` and `cuStreamBeginCapture`; programming
//! guide, "Prohibited and unhandled operations". HIP: ROCm's CLR, `CHECK_STREAM_CAPTURE_SUPPORTED`,
//! `CHECK_STREAM_CAPTURING`, `CHECK_SUPPORTED_DURING_CAPTURE`, `StreamCaptureOngoing`; where it forbids less
//! than CUDA, CUDA's rule holds. A capture that was lost already forbids nothing to others.

use std::cell::Cell;

use super::capture::Capture;
use super::driver::{Driver, Platform, thread};
use super::error::{Code, Result, refuse};
use super::ffi::{InOut, call, platform};
use super::queue::{Kind, Stream};
use super::table::Handle;

/// `CUstreamCaptureMode`.
pub(crate) const GLOBAL: u32 = 0;
pub(crate) const THREAD_LOCAL: u32 = 1;
pub(crate) const RELAXED: u32 = 2;

thread_local! {
    static CUDA_MODE: Cell<u32> = const { Cell::new(GLOBAL) };
    static HIP_MODE: Cell<u32> = const { Cell::new(GLOBAL) };
}

/// Sets the calling thread's mode, and returns the one before.
fn exchange(mode: u32) -> u32 {
    match platform() {
        Platform::Cuda => CUDA_MODE.replace(mode),
        Platform::Hip => HIP_MODE.replace(mode),
    }
}

/// The calling thread's mode.
fn mode() -> u32 {
    match platform() {
        Platform::Cuda => CUDA_MODE.get(),
        Platform::Hip => HIP_MODE.get(),
    }
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn cuThreadExchangeStreamCaptureMode(mode: InOut<u32>) -> u32 {
    call("cuThreadExchangeStreamCaptureMode", |_| match mode.get()? {
        new @ GLOBAL..=RELAXED => mode.set(exchange(new)),
        new => refuse(Code::INVALID_VALUE, format!("mode {new}")),
    })
}

/// Whether a capture forbids potentially unsafe calls to the calling thread.
fn forbids(capture: &Capture) -> bool {
    match (mode(), capture.thread == thread()) {
        (GLOBAL | THREAD_LOCAL, true) => capture.mode != RELAXED,
        (GLOBAL, false) => capture.mode == GLOBAL,
        _ => false,
    }
}

impl Driver {
    /// Refuses if a capture that is not lost is picked; all those are lost then.
    fn refuse_if(
        &mut self,
        pick: impl Fn(&Driver, Handle, &Capture) -> bool,
        code: Code,
        reason: &str,
    ) -> Result<()> {
        let active = self.captures.iter().filter(|(_, capture)| !capture.invalid);
        let picked: Vec<Handle> =
            active.filter(|&(handle, c)| pick(self, handle, c)).map(|(handle, _)| handle).collect();
        for &capture in &picked {
            self.captures.get_mut(capture)?.invalid = true;
        }
        if picked.is_empty() { Ok(()) } else { refuse(code, reason) }
    }

    /// Whether a stream that is picked takes part in a capture.
    fn takes_part(&self, capture: Handle, pick: impl Fn(&Stream) -> bool) -> bool {
        self.streams.iter().any(|(_, stream)| stream.capture == Some(capture) && pick(stream))
    }

    /// Refuses a call that is potentially unsafe, unless the thread's mode allows it.
    pub(crate) fn refuse_unsafe(&mut self) -> Result<()> {
        let reason = "potentially unsafe while a stream is captured";
        self.refuse_if(|_, _, c| forbids(c), Code::STREAM_CAPTURE_UNSUPPORTED, reason)
    }

    /// Refuses to use the null stream while a stream that blocks with it is captured.
    pub(crate) fn refuse_implicit(&mut self, stream: Handle) -> Result<()> {
        let &Stream { context, kind, .. } = self.streams.get(stream)?;
        if kind != Kind::Legacy {
            return Ok(());
        }
        let blocks = |other: &Stream| other.context == context && other.kind == Kind::Blocking;
        let reason = "the null stream would wait for a blocking stream that is captured";
        let pick = |driver: &Driver, handle: Handle, _: &Capture| driver.takes_part(handle, blocks);
        self.refuse_if(pick, Code::STREAM_CAPTURE_IMPLICIT, reason)
    }

    /// Refuses a copy or fill that is synchronous. In CUDA it works in the null stream and waits for
    /// its context alone; HIP refuses it during any capture.
    pub(crate) fn refuse_synchronous(&mut self, stream: Handle) -> Result<()> {
        let reason = "a synchronous copy or fill while a stream is captured";
        if self.platform == Platform::Hip {
            return self.refuse_if(|_, _, _| true, Code::STREAM_CAPTURE_IMPLICIT, reason);
        }
        self.refuse_implicit(stream)?;
        let context = self.streams.get(stream)?.context;
        let pick = |driver: &Driver, handle: Handle, capture: &Capture| {
            forbids(capture) && driver.takes_part(handle, |other| other.context == context)
        };
        self.refuse_if(pick, Code::STREAM_CAPTURE_UNSUPPORTED, reason)
    }

    /// Refuses to wait for a stream that is not captured where HIP finds that potentially unsafe.
    pub(crate) fn refuse_unsafe_wait(&mut self, stream: Handle) -> Result<()> {
        let state = self.streams.get(stream)?;
        match self.platform {
            Platform::Hip if state.capture.is_none() && state.kind != Kind::Legacy => {
                self.refuse_unsafe()
            }
            _ => Ok(()),
        }
    }

    /// Refuses to do something to a stream that is captured; the capture is lost.
    pub(crate) fn refuse_captured(&mut self, stream: Handle, what: &str) -> Result<()> {
        match self.streams.get(stream)?.capture {
            Some(capture) => {
                self.captures.get_mut(capture)?.invalid = true;
                let reason = format!("the stream is captured into a graph: no {what}");
                refuse(Code::STREAM_CAPTURE_UNSUPPORTED, reason)
            }
            None => Ok(()),
        }
    }

    /// Refuses to wait for a context with a captured stream; HIP, for any device during any capture.
    pub(crate) fn refuse_captured_context(&mut self, context: Handle) -> Result<()> {
        let any = self.platform == Platform::Hip;
        let pick = |driver: &Driver, handle: Handle, _: &Capture| {
            any || driver.takes_part(handle, |stream| stream.context == context)
        };
        let reason = "a stream of what is waited for is captured";
        self.refuse_if(pick, Code::STREAM_CAPTURE_UNSUPPORTED, reason)
    }

    /// Refuses to add to a capture that is lost.
    pub(crate) fn unspoilt(&self, capture: Handle) -> Result<()> {
        if self.captures.get(capture)?.invalid {
            return refuse(Code::STREAM_CAPTURE_INVALIDATED, "an earlier call spoilt the capture");
        }
        Ok(())
    }

    /// Forgets the captures that began in streams of a context, whose end nobody can ask for.
    pub(crate) fn drop_captures(&mut self, context: Handle) {
        let of_context =
            |origin| self.streams.get(origin).is_ok_and(|origin| origin.context == context);
        for capture in self.captures.handles(|capture| of_context(capture.origin)) {
            for member in self.streams.handles(|stream| stream.capture == Some(capture)) {
                if let Ok(stream) = self.streams.get_mut(member) {
                    stream.capture = None;
                }
            }
            let _known_to_exist = self.captures.remove(capture);
        }
    }
}
