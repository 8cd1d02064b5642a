//! What is ordered before what: by streams, events, and the host's waits.
//!
//! Every piece of work knows what is ordered before it, as a vector clock ([`Known`]): the work before
//! it in its stream, what the events it waits for know, and what the host had waited for when it was
//! queued. All threads of the host count as one: how they synchronise cannot be seen, so an order
//! between them is taken for granted.

use super::driver::Driver;
use super::error::Result;
use super::queue::{Kind, Point};
use super::table::Handle;
use crate::memory::Known;

/// A point in a stream, with what is ordered before it.
#[derive(Clone, Debug)]
pub(crate) struct Mark {
    pub(crate) point: Point,
    pub(crate) known: Known,
}

impl Driver {
    /// Behind all work queued so far in a stream.
    pub(crate) fn mark(&self, stream: Handle) -> Result<Mark> {
        let state = self.streams.get(stream)?;
        let point = Point { stream, ticket: state.last };
        Ok(Mark { point, known: state.known.clone() })
    }

    /// What is ordered before work that is queued now behind these marks. The points it has to wait
    /// for because of its stream's kind are added to `after`.
    pub(crate) fn known_before(
        &mut self,
        stream: Handle,
        marks: &[Mark],
        after: &mut Vec<Point>,
    ) -> Result<Known> {
        let state = self.streams.get(stream)?;
        let (context, kind) = (state.context, state.kind);
        let mut known = state.known.clone();
        known.join(&self.host);
        marks.iter().for_each(|mark| known.join(&mark.known));
        let waits_for = match kind {
            Kind::Legacy => Some(Kind::Blocking),
            Kind::Blocking => Some(Kind::Legacy),
            Kind::NonBlocking => None,
        };
        if let Some(kind) = waits_for {
            for (handle, other) in self.streams.iter() {
                if other.context != context || other.kind != kind {
                    continue;
                }
                known.join(&other.known);
                if !other.queue.is_empty() {
                    after.push(Point { stream: handle, ticket: other.last });
                }
            }
        }
        known.forget(&self.settled);
        Ok(known)
    }

    /// The host waits for a point.
    pub(crate) fn wait_for(&mut self, mark: &Mark) {
        self.run_to(mark.point);
        self.host_knows(&mark.known);
    }

    /// The host waits for all work of a context.
    pub(crate) fn wait_for_context(&mut self, context: Handle) {
        self.run_context(context);
        let streams = self.streams.iter().filter(|(_, stream)| stream.context == context);
        let mut known = Known::default();
        streams.for_each(|(_, stream)| known.join(&stream.known));
        if let Ok(state) = self.contexts.get(context) {
            known.join(&state.destroyed_streams);
        }
        self.host_knows(&known);
    }

    /// The host waits for all work of a device.
    pub(crate) fn wait_for_device(&mut self, device: usize) {
        for context in self.contexts.handles(|context| context.device == device) {
            self.wait_for_context(context);
        }
    }

    /// The host knows that this was done; what all to come is ordered behind is settled.
    pub(crate) fn host_knows(&mut self, known: &Known) {
        self.host.join(known);
        let mut settled = self.host.clone();
        for (_, stream) in self.streams.iter() {
            if let Some(front) = stream.queue.front() {
                settled.meet(&front.known);
            }
        }
        for device in &mut self.devices {
            device.memory.settle(&settled);
        }
        self.settled.join(&settled);
        self.host.forget(&settled);
    }

    /// Whether the device has more than one stream.
    pub(crate) fn has_several_streams(&self, device: usize) -> bool {
        let of_device = |context| self.device_of(context).is_ok_and(|found| found == device);
        self.streams.iter().filter(|(_, stream)| of_device(stream.context)).nth(1).is_some()
    }
}
