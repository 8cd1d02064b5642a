//! Streams: work is queued in order and done later, in any order that the streams allow.
//!
//! Every piece of work has a ticket. It waits for the work before it in its stream, for the points
//! named by events, and, in the legacy stream and the streams that block with it, for each other
//! (CUDA driver documentation, "Stream synchronization behavior"). Tickets only grow, so waiting
//! never goes round in a circle. Which of several streams goes on first is decided by `schedule.rs`,
//! what is ordered before what is kept by `ordering.rs`, and work is done in `perform.rs`.

use std::collections::VecDeque;
use std::sync::Arc;

use super::driver::{Driver, Place, thread};
use super::error::{Result, refuse};
use super::ffi::HostFunction;
use super::graph::Plan;
use super::launch::KernelLaunch;
use super::ordering::Mark;
use super::table::Handle;
use super::{progress, record};
use crate::memory::Known;

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
    /// What is ordered before work queued next, as far as the stream goes.
    pub(crate) known: Known,
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
    /// Of a graph: of its last node.
    pub(crate) ticket: u64,
    pub(crate) work: Arc<Work>,
    /// What is to be done first in other streams.
    pub(crate) after: Vec<Point>,
    /// What is ordered before it; itself not included.
    pub(crate) known: Known,
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
    Graph(Arc<Plan>),
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

impl Work {
    /// Tickets that it takes.
    fn tickets(&self) -> u64 {
        match self {
            Work::Graph(plan) => plan.nodes() as u64 + 1,
            _ => 1,
        }
    }
}

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
            known: Known::default(),
            capture: None,
        };
        self.streams.insert(stream)
    }

    /// Queues work in a stream, or makes it a node of the graph that the stream is captured into.
    pub(crate) fn enqueue(&mut self, stream: Handle, work: Work) -> Result<()> {
        self.enqueue_after(stream, work, Vec::new())
    }

    /// Queues work that also waits for what was recorded elsewhere.
    pub(crate) fn enqueue_after(
        &mut self,
        stream: Handle,
        work: Work,
        marks: Vec<Mark>,
    ) -> Result<()> {
        if self.streams.get(stream)?.capture.is_some() {
            return self.capture_node(stream, work);
        }
        self.refuse_implicit(stream)?;
        let large = matches!(&work, Work::Copy { from: Source::Staged(bytes), .. } if bytes.len() > LARGE_STAGE);
        let mut after: Vec<Point> = marks.iter().map(|mark| mark.point).collect();
        let known = self.known_before(stream, &marks, &mut after)?;
        let tickets = work.tickets();
        self.ticket += tickets;
        let ticket = self.ticket;
        let state = self.streams.get_mut(stream)?;
        state.known.clone_from(&known);
        if let Work::Graph(plan) = &work {
            plan.raise_lanes(&mut state.known, stream, ticket - tickets);
        }
        state.known.raise(stream as u64, ticket);
        state.queue.push_back(Item { ticket, work: Arc::new(work), after, known });
        state.last = ticket;
        if large || state.queue.len() > LONG_QUEUE {
            self.run_stream(stream)?;
        }
        self.go_on_after_call();
        if !self.streams.get(stream)?.queue.is_empty() {
            progress::watch();
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

    /// Does the work up to a point and what it waits for, and perhaps other work.
    pub(crate) fn run_to(&mut self, point: Point) {
        while let Some(needed) = self.next_needed(point) {
            let chosen = self.choose(needed);
            self.step(chosen);
        }
    }

    /// The stream whose next work brings the point nearer and waits for nothing.
    fn next_needed(&self, mut point: Point) -> Option<Handle> {
        if self.is_done(point) {
            return None;
        }
        loop {
            let front = self.streams.get(point.stream).ok()?.queue.front()?;
            match front.after.iter().find(|&&earlier| !self.is_done(earlier)) {
                Some(&earlier) => point = earlier,
                None => return Some(point.stream),
            }
        }
    }

    /// The streams whose next work waits for nothing, and that work.
    pub(crate) fn ready(&self) -> impl Iterator<Item = (Handle, &Work)> {
        self.streams.iter().filter_map(|(handle, stream)| {
            let front = stream.queue.front()?;
            let ready = front.after.iter().all(|&earlier| self.is_done(earlier));
            ready.then_some((handle, &*front.work))
        })
    }

    /// Does the next work of a stream.
    pub(crate) fn step(&mut self, stream: Handle) {
        let Ok(state) = self.streams.get_mut(stream) else { return };
        let context = state.context;
        if let Some(item) = state.queue.pop_front() {
            self.perform_item(context, stream, item);
        }
    }

    /// Does all work of a stream.
    pub(crate) fn run_stream(&mut self, stream: Handle) -> Result<()> {
        let end = Point { stream, ticket: self.streams.get(stream)?.last };
        self.run_to(end);
        Ok(())
    }

    /// Does all work of a context.
    pub(crate) fn run_context(&mut self, context: Handle) {
        for stream in self.streams.handles(|stream| stream.context == context) {
            let _destroyed_meanwhile = self.run_stream(stream);
        }
    }

    /// Waits for a stream, and hands over what went wrong in its context.
    pub(crate) fn synchronize(&mut self, stream: Handle) -> Result<()> {
        self.refuse_captured(stream, "a wait for the stream")?;
        self.refuse_implicit(stream)?;
        let mark = self.mark(stream)?;
        self.wait_for(&mark);
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
}
