//! Doing queued work: each piece tells the memories it touches who it is.

use std::sync::Arc;
use std::time::Instant;

use super::driver::{Driver, Place};
use super::error::{Code, Result, refuse};
use super::ffi::call_host_function;
use super::graph::Plan;
use super::queue::{Item, Source, Work};
use super::record;
use super::table::Handle;
use crate::memory::{self, Finding, Known, MemoryError, Places};
use crate::report::{Kind, Report};

/// A piece of work among others: its place in a stream, and what is ordered before it.
struct Identity<'a> {
    context: Handle,
    /// The stream, as its work is labelled, and as its clock is named: a lane of a graph has one of
    /// its own.
    stream: Handle,
    clock: u64,
    ticket: u64,
    known: &'a Known,
}

impl Work {
    /// Whether it calls a function of the host.
    pub(crate) fn calls_host(&self) -> bool {
        match self {
            Work::Host(..) => true,
            Work::Graph(plan) => plan.works().any(Work::calls_host),
            _ => false,
        }
    }
}

impl Driver {
    pub(crate) fn perform_item(&mut self, context: Handle, stream: Handle, item: Item) {
        let Item { ticket, work, known, .. } = item;
        if let Work::Graph(plan) = &*work {
            return self.perform_graph(context, stream, ticket, plan, &known);
        }
        let clock = stream as u64;
        self.perform(&Identity { context, stream, clock, ticket, known: &known }, &work);
    }

    /// The nodes in an order that their dependencies allow. A node knows what was before the graph, and
    /// the nodes it comes after.
    fn perform_graph(
        &mut self,
        context: Handle,
        stream: Handle,
        last: u64,
        plan: &Plan,
        before: &Known,
    ) {
        let first = last - plan.nodes() as u64;
        let known = plan.known(stream, first, before);
        for node in self.order_of_nodes(&plan.after) {
            let identity = Identity {
                context,
                stream,
                clock: plan.clock(stream, node),
                ticket: first + node as u64,
                known: &known[node],
            };
            self.perform(&identity, &plan.work[node]);
        }
    }

    fn perform(&mut self, identity: &Identity<'_>, work: &Work) {
        let context = identity.context;
        let skips = self.contexts.get(context).is_ok_and(|c| c.stops_work());
        let device_work = matches!(
            work,
            Work::Kernel(_) | Work::Copy { .. } | Work::Fill { .. } | Work::Host(..)
        );
        if skips && device_work {
            return;
        }
        match work {
            Work::Kernel(launch) => {
                let context = launch.context;
                let Ok(device) = self.device_of(context) else { return };
                let (program, kernel) = (launch.program.clone(), launch.kernel.clone());
                let label = format!("kernel `{kernel}`");
                let places: Places = Arc::new(move |place| program.name_place(&kernel, place));
                self.begin(identity, device, label, Some(places));
                self.execute(context, launch);
            }
            Work::Copy { to, from, bytes } => {
                let done = self.copy_in_order(identity, *to, from, *bytes);
                self.note_failure(context, done);
            }
            Work::Fill { device, address, pattern, count } => {
                self.begin(identity, *device, String::from("a fill"), None);
                let bytes = count.saturating_mul(pattern.len() as u64);
                self.touch(identity, *device, "fill", *address, bytes, true);
                let done = self.devices[*device].memory.fill(*address, pattern, *count);
                self.note_memory_failure(context, "a fill", done);
            }
            Work::Free { device, address } => {
                self.begin(identity, *device, String::from("a free"), None);
                let bytes = self.devices[*device].memory.find(*address).map_or(0, |found| found.1);
                self.touch(identity, *device, "free", *address, bytes, true);
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
            // A graph within a graph: one node of it, so its own nodes are in order.
            Work::Graph(plan) => plan.works().for_each(|work| self.perform(identity, work)),
        }
    }

    fn copy_in_order(
        &mut self,
        identity: &Identity<'_>,
        to: Place,
        from: &Source,
        bytes: usize,
    ) -> Result<()> {
        let mut begun = None;
        let source = match from {
            Source::Place(place) => Some(*place),
            Source::Staged(_) => None,
        };
        for (place, write) in [(source, false), (Some(to), true)] {
            let Some(Place::Device(device, address)) = place else { continue };
            if begun != Some(device) {
                self.begin(identity, device, String::from("a copy"), None);
                begun = Some(device);
            }
            self.touch(identity, device, "copy", address, bytes as u64, write);
        }
        self.copy_now(to, from, bytes)
    }

    /// Tells a device's memory whose accesses come next.
    fn begin(
        &mut self,
        identity: &Identity<'_>,
        device: usize,
        label: String,
        places: Option<Places>,
    ) {
        let several = self.has_several_streams(device);
        let mut known = identity.known.clone();
        known.raise(identity.clock, identity.ticket);
        let work = memory::Work {
            stream: identity.clock,
            ticket: identity.ticket,
            known,
            label: format!("{label} in stream {:#x}", identity.stream),
            places,
        };
        self.devices[device].memory.begin_work(work, several);
    }

    /// A range is read or written as a whole by the work that was begun; memory that is not there is
    /// found by the access itself.
    fn touch(
        &mut self,
        identity: &Identity<'_>,
        device: usize,
        what: &str,
        address: u64,
        bytes: u64,
        write: bool,
    ) {
        let found: std::result::Result<Option<Finding>, MemoryError> =
            self.devices[device].memory.touch(address, bytes, write);
        let Ok(Some(finding)) = found else { return };
        let report = Report {
            kind: Kind::Race,
            kernel: format!("{what} in stream {:#x}", identity.stream),
            block: None,
            thread: None,
            lanes: 32,
            instruction: String::new(),
            line: 0,
            source: None,
            message: finding.text(|_| String::new()),
        };
        record::lock().keep(&report);
        let failed = refuse(Code::LAUNCH_FAILED, report.to_string());
        if let (Err(failure), Ok(state)) =
            (failed as Result<()>, self.contexts.get_mut(identity.context))
        {
            state.failure.get_or_insert(failure);
        }
    }
}
