//! Streams: work is queued in order and done late, when the host looks or the queue grows long.
//!
//! Every piece of work has a ticket. It waits for the work before it in its stream, for the points
//! named by events, and, in the legacy stream and the streams that block with it, for each other
//! (CUDA driver documentation, "Stream synchronization behavior"). Tickets only grow, so waiting
//! never goes round in a circle. What may run first among several streams is decided in
//! [`Driver::run_context`] and [`Driver::run_to`] alone.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use super::driver::{Driver, Place, thread};
use super::error::{Result, refuse};
use super::ffi::{HostFunction, call_host_function};
use super::launch::KernelLaunch;
use super::record;
use super::table::Handle;

/// A stream of a context.
pub(crate) struct Stream {
    pub(crate) context: Handle,
    pub(crate) kind: Kind,
    pub(crate) priority: i32,
    /// Shown by `cuStreamGetId`.
    pub(crate) id: u64,
    pub(crate) queue: VecDeque<Item>,
    /// The ticket of the work queued last.
    pub(crate) last: u64,
    /// The capture that the stream is part of.
    pub(crate) capture: Option<Handle>,
}

/// How a stream waits for others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The null stream: waits for all blocking streams, and they for it.
    Legacy,
    /// A created stream, or a thread's default stream, that waits for the null stream.
    Blocking,
    /// A stream that does not.
    NonBlocking,
}

/// The work of a stream up to a ticket.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Point {
    pub(crate) stream: Handle,
    pub(crate) ticket: u64,
}

/// Queued work.
pub(crate) struct Item {
    ticket: u64,
    work: Arc<Work>,
    after: Vec<Point>,
}

/// What a stream does.
pub(crate) enum Work {
    Kernel(KernelLaunch),
    Copy {
        to: Place,
        from: Source,
        bytes: usize,
    },
    Fill {
        device: usize,
        address: u64,
        pattern: Vec<u8>,
        count: u64,
    },
    /// End of a stream-ordered allocation.
    Free {
        device: usize,
        address: u64,
    },
    /// An event's time is taken.
    Record(Handle),
    /// Only waits.
    Wait,
    Host(HostFunction, usize),
    /// The nodes of a graph, each after those it depends on.
    Graph(Vec<Arc<Work>>),
}

/// Where a copy reads.
pub(crate) enum Source {
    Place(Place),
    /// Bytes taken from pageable memory at the call.
    Staged(Vec<u8>),
}

/// Work beyond these numbers in one stream is done at the call that queues it.
const LONG_QUEUE: usize = 1024;
const LARGE_STAGE: usize = 64 << 20;

impl Driver {
    /// The stream that the caller names, of the current context if it is a default stream.
    pub(crate) fn stream(&mut self, handle: usize) -> Result<Handle> {
        let current = self.current()?;
        match handle {
            0 | 1 => self.default_stream(current, None),
            2 => self.default_stream(current, Some(thread())),
            _ => {
                let context = self.streams.get(handle)?.context;
                self.living(context)?;
                Ok(handle)
            }
        }
    }

    fn default_stream(&mut self, context: Handle, thread: Option<u64>) -> Result<Handle> {
        let state = self.contexts.get(context)?;
        if let Some(&stream) = state.default_streams.get(&thread) {
            return Ok(stream);
        }
        let kind = if thread.is_none() { Kind::Legacy } else { Kind::Blocking };
        let stream = self.add_stream(context, kind, 0);
        self.contexts.get_mut(context)?.default_streams.insert(thread, stream);
        Ok(stream)
    }

    pub(crate) fn add_stream(&mut self, context: Handle, kind: Kind, priority: i32) -> Handle {
        self.ticket += 1;
        let stream = Stream {
            context,
            kind,
            priority,
            id: self.ticket,
            queue: VecDeque::new(),
            last: 0,
            capture: None,
        };
        self.streams.insert(stream)
    }

    /// Queues work in a stream, or makes it a node of the graph that the stream is captured into.
    pub(crate) fn enqueue(&mut self, stream: Handle, work: Work) -> Result<()> {
        self.enqueue_after(stream, work, Vec::new())
    }

    /// Queues work that also waits for other points.
    pub(crate) fn enqueue_after(
        &mut self,
        stream: Handle,
        work: Work,
        mut after: Vec<Point>,
    ) -> Result<()> {
        if self.streams.get(stream)?.capture.is_some() {
            return self.capture_node(stream, work);
        }
        self.refuse_implicit(stream)?;
        let Stream { context, kind, .. } = *self.streams.get(stream)?;
        let waits_for = |other: &Stream| match kind {
            Kind::Legacy => other.kind == Kind::Blocking,
            Kind::Blocking => other.kind == Kind::Legacy,
            Kind::NonBlocking => false,
        };
        for (handle, other) in self.streams.iter() {
            if other.context == context && waits_for(other) && !other.queue.is_empty() {
                after.push(Point { stream: handle, ticket: other.last });
            }
        }
        self.ticket += 1;
        let ticket = self.ticket;
        let large = matches!(&work, Work::Copy { from: Source::Staged(bytes), .. } if bytes.len() > LARGE_STAGE);
        let state = self.streams.get_mut(stream)?;
        state.queue.push_back(Item { ticket, work: Arc::new(work), after });
        state.last = ticket;
        if large || state.queue.len() > LONG_QUEUE {
            self.run_stream(stream)?;
        }
        Ok(())
    }

    /// Whether the work up to a point is done.
    pub(crate) fn is_done(&self, point: Point) -> bool {
        match self.streams.get(point.stream) {
            Ok(stream) => stream.queue.front().is_none_or(|item| item.ticket > point.ticket),
            Err(_) => true,
        }
    }

    /// The point that all work queued so far in a stream reaches.
    pub(crate) fn end_of(&self, stream: Handle) -> Result<Point> {
        Ok(Point { stream, ticket: self.streams.get(stream)?.last })
    }

    /// Does the work up to a point, and what it waits for.
    pub(crate) fn run_to(&mut self, point: Point) {
        while !self.is_done(point) {
            let Ok(stream) = self.streams.get_mut(point.stream) else { return };
            let context = stream.context;
            let Some(front) = stream.queue.front_mut() else { return };
            for earlier in std::mem::take(&mut front.after) {
                self.run_to(earlier);
            }
            let item = self.streams.get_mut(point.stream).ok().and_then(|s| s.queue.pop_front());
            if let Some(item) = item {
                self.perform(context, &item.work);
            }
        }
    }

    /// Does all work of a stream.
    pub(crate) fn run_stream(&mut self, stream: Handle) -> Result<()> {
        let end = self.end_of(stream)?;
        self.run_to(end);
        Ok(())
    }

    /// Does all work of a context.
    pub(crate) fn run_context(&mut self, context: Handle) {
        for stream in self.streams.handles(|stream| stream.context == context) {
            let _destroyed_meanwhile = self.run_stream(stream);
        }
    }

    /// Does all work of a device.
    pub(crate) fn run_device(&mut self, device: usize) {
        for context in self.contexts.handles(|context| context.device == device) {
            self.run_context(context);
        }
    }

    /// Waits for a stream, and hands over what went wrong in its context.
    pub(crate) fn synchronize(&mut self, stream: Handle) -> Result<()> {
        self.refuse_captured(stream, "a wait for the stream")?;
        self.refuse_implicit(stream)?;
        self.run_stream(stream)?;
        let context = self.streams.get(stream)?.context;
        self.take_error(context)
    }

    /// What went wrong in a context since this was asked last.
    pub(crate) fn take_error(&mut self, context: Handle) -> Result<()> {
        let sticky = record::lock().sticky;
        let state = self.contexts.get_mut(context)?;
        match state.failure.take() {
            Some(failure) => {
                if sticky {
                    state.fatal = Some(failure.code);
                }
                refuse(failure.code, failure.reason)
            }
            None => Ok(()),
        }
    }

    fn perform(&mut self, context: Handle, work: &Work) {
        let skips = self.contexts.get(context).is_ok_and(|c| c.stops_work());
        let device_work = matches!(
            work,
            Work::Kernel(_) | Work::Copy { .. } | Work::Fill { .. } | Work::Host(..)
        );
        if skips && device_work {
            return;
        }
        match work {
            Work::Kernel(launch) => self.execute(launch.context, launch),
            Work::Copy { to, from, bytes } => {
                let done = self.copy_now(*to, from, *bytes);
                self.note_failure(context, done);
            }
            Work::Fill { device, address, pattern, count } => {
                let done = self.devices[*device].memory.fill(*address, pattern, *count);
                self.note_memory_failure(context, "a fill", done);
            }
            Work::Free { device, address } => {
                self.devices[*device].allocations.remove(address);
                let done = self.devices[*device].memory.free(*address);
                self.note_memory_failure(context, "a free", done);
            }
            Work::Record(event) => {
                if let Ok(event) = self.events.get_mut(*event) {
                    event.time = Some(Instant::now());
                }
            }
            Work::Wait => {}
            Work::Host(function, argument) => call_host_function(*function, *argument),
            Work::Graph(nodes) => nodes.iter().for_each(|node| self.perform(context, node)),
        }
    }
}
