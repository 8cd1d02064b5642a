//! Stream capture: calls on a stream become nodes of a graph.
//!
//! Nodes are stored in the order of the calls, so that each comes after all it depends on.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::capture_rules::RELAXED;
use super::driver::{Driver, thread};
use super::error::{Code, Result, refuse};
use super::ffi::{Out, call};
use super::graph::{Graph, Node};
use super::queue::{Kind, Work};
use super::table::Handle;

/// A capture that is going on.
pub(crate) struct Capture {
    pub(crate) origin: Handle,
    /// The thread that began it, and how it forbids calls: a `CUstreamCaptureMode`.
    pub(crate) thread: u64,
    pub(crate) mode: u32,
    id: u64,
    nodes: Vec<Node>,
    /// What the next node of each stream depends on.
    ends: BTreeMap<Handle, Vec<usize>>,
    /// A forbidden call was made.
    pub(crate) invalid: bool,
}

impl Capture {
    /// The last nodes of a stream.
    pub(crate) fn ends_of(&self, stream: Handle) -> Vec<usize> {
        self.ends.get(&stream).cloned().unwrap_or_default()
    }

    /// The node, and all that come before it on some path.
    fn ancestors(&self, ends: &[usize]) -> Vec<bool> {
        let mut reached = vec![false; self.nodes.len()];
        let mut open = ends.to_vec();
        while let Some(node) = open.pop() {
            if !std::mem::replace(&mut reached[node], true) {
                open.extend(&self.nodes[node].after);
            }
        }
        reached
    }
}

impl Driver {
    /// Adds a node to the graph that the stream is captured into.
    pub(crate) fn capture_node(&mut self, stream: Handle, work: Work) -> Result<()> {
        let Some(handle) = self.streams.get(stream)?.capture else { return Ok(()) };
        self.unspoilt(handle)?;
        let capture = self.captures.get_mut(handle)?;
        let after = capture.ends_of(stream);
        capture.nodes.push(Node { work: Arc::new(work), after });
        capture.ends.insert(stream, vec![capture.nodes.len() - 1]);
        Ok(())
    }

    /// Makes a stream wait for captured nodes; it joins the capture.
    pub(crate) fn capture_wait(
        &mut self,
        stream: Handle,
        capture: Handle,
        nodes: Vec<usize>,
    ) -> Result<()> {
        if let Some(own) = self.streams.get(stream)?.capture {
            self.unspoilt(own)?;
        }
        if !self.captures.get(capture).is_ok_and(|capture| !capture.invalid) {
            return refuse(Code::INVALID_VALUE, "the event's capture has ended or is spoilt");
        }
        let state = self.streams.get_mut(stream)?;
        match state.capture {
            Some(own) if own != capture => {
                self.captures.get_mut(own)?.invalid = true;
                self.captures.get_mut(capture)?.invalid = true;
                return refuse(Code::STREAM_CAPTURE_MERGE, "the event is of another capture");
            }
            None if state.kind == Kind::Legacy => {
                self.captures.get_mut(capture)?.invalid = true;
                return refuse(Code::STREAM_CAPTURE_IMPLICIT, "the null stream is not captured");
            }
            _ => state.capture = Some(capture),
        }
        let ends = self.captures.get_mut(capture)?.ends.entry(stream).or_default();
        ends.extend(nodes);
        ends.sort_unstable();
        ends.dedup();
        Ok(())
    }
}

fn begin(symbol: &'static str, stream: Handle, mode: u32) -> u32 {
    call(symbol, |driver| {
        let stream = driver.stream(stream)?;
        let state = driver.streams.get(stream)?;
        if mode > RELAXED {
            return refuse(Code::INVALID_VALUE, format!("mode {mode}"));
        }
        if state.kind == Kind::Legacy {
            let reason = "the null stream cannot be captured";
            return refuse(Code::STREAM_CAPTURE_UNSUPPORTED, reason);
        }
        if state.capture.is_some() {
            return refuse(Code::ILLEGAL_STATE, "the stream is captured already");
        }
        driver.ticket += 1;
        let capture = driver.captures.insert(Capture {
            origin: stream,
            thread: thread(),
            mode,
            id: driver.ticket,
            nodes: Vec::new(),
            ends: BTreeMap::from([(stream, Vec::new())]),
            invalid: false,
        });
        driver.streams.get_mut(stream)?.capture = Some(capture);
        Ok(())
    })
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn cuStreamBeginCapture_v2(stream: Handle, mode: u32) -> u32 {
    begin("cuStreamBeginCapture_v2", stream, mode)
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn cuStreamEndCapture(stream: Handle, graph: Out<Handle>) -> u32 {
    call("cuStreamEndCapture", |driver| {
        let stream = driver.stream(stream)?;
        graph.set(0)?;
        let Some(handle) = driver.streams.get(stream)?.capture else {
            return refuse(Code::ILLEGAL_STATE, "the stream is not captured");
        };
        let capture = driver.captures.get(handle)?;
        if capture.origin != stream {
            return refuse(Code::STREAM_CAPTURE_UNMATCHED, "capture began in another stream");
        }
        if capture.mode != RELAXED && capture.thread != thread() {
            return refuse(Code::STREAM_CAPTURE_WRONG_THREAD, "capture began in another thread");
        }
        let capture = driver.captures.remove(handle)?;
        for member in driver.streams.handles(|stream| stream.capture == Some(handle)) {
            driver.streams.get_mut(member)?.capture = None;
        }
        if capture.invalid {
            return refuse(Code::STREAM_CAPTURE_INVALIDATED, "a call spoilt the capture");
        }
        let joined = capture.ancestors(&capture.ends_of(stream));
        if let Some(loose) = joined.iter().position(|&joined| !joined) {
            let reason = format!("node {loose} of {} never joins the first stream", joined.len());
            return refuse(Code::STREAM_CAPTURE_UNJOINED, reason);
        }
        graph.set(driver.graphs.insert(Graph { nodes: capture.nodes }))
    })
}

/// `CUstreamCaptureStatus`, and the capture's number.
fn status(driver: &mut Driver, stream: Handle) -> Result<(u32, u64)> {
    const NONE: u32 = 0;
    const ACTIVE: u32 = 1;
    const INVALIDATED: u32 = 2;
    let stream = driver.stream(stream)?;
    match driver.streams.get(stream)?.capture {
        Some(capture) => {
            let capture = driver.captures.get(capture)?;
            Ok((if capture.invalid { INVALIDATED } else { ACTIVE }, capture.id))
        }
        None => Ok((NONE, 0)),
    }
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn cuStreamIsCapturing(stream: Handle, found: Out<u32>) -> u32 {
    call("cuStreamIsCapturing", |driver| found.set(status(driver, stream)?.0))
}

fn information(
    symbol: &'static str,
    stream: Handle,
    found: Out<u32>,
    id: Out<u64>,
    graph_wanted: bool,
) -> u32 {
    call(symbol, |driver| {
        let (status, number) = status(driver, stream)?;
        if status != 0 && graph_wanted {
            let reason = "the graph of a capture that is going on is not modelled";
            return refuse(Code::NOT_SUPPORTED, reason);
        }
        id.set_if_given(number);
        found.set(status)
    })
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn cuStreamGetCaptureInfo(
    stream: Handle,
    found: Out<u32>,
    id: Out<u64>,
) -> u32 {
    information("cuStreamGetCaptureInfo", stream, found, id, false)
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn cuStreamGetCaptureInfo_v2(
    stream: Handle,
    found: Out<u32>,
    id: Out<u64>,
    graph: usize,
    nodes: usize,
    count: usize,
) -> u32 {
    let wanted = graph != 0 || nodes != 0 || count != 0;
    information("cuStreamGetCaptureInfo_v2", stream, found, id, wanted)
}

#[unsafe(no_mangle)]
extern "C" fn cuStreamGetCaptureInfo_v3(
    stream: Handle,
    found: Out<u32>,
    id: Out<u64>,
    graph: usize,
    nodes: usize,
    edges: usize,
    count: usize,
) -> u32 {
    let wanted = graph != 0 || nodes != 0 || edges != 0 || count != 0;
    information("cuStreamGetCaptureInfo_v3", stream, found, id, wanted)
}
