//! The objects that exist, in numbers: two texts that are equal say that nothing leaked.

use std::fmt::Write;

use super::driver::{Driver, Platform, lock_of};

/// Lines of a key and a number, those of each platform together.
pub(crate) fn text() -> String {
    let mut text = String::new();
    for (name, platform) in [("cuda", Platform::Cuda), ("hip", Platform::Hip)] {
        for (key, number) in lock_of(platform).live() {
            let _infallible = writeln!(text, "{name}.{key} {number}");
        }
    }
    text
}

impl Driver {
    /// What the program made and has not given back. Default streams come with their context, and
    /// memory whose free is queued is given back.
    fn live(&self) -> [(&'static str, u64); 12] {
        let allocations = || {
            let all = self.devices.iter().flat_map(|device| device.allocations.values());
            all.filter(|allocation| !allocation.freeing)
        };
        let default_streams = self.contexts.iter().map(|(_, c)| c.default_streams.len());
        let streams = self.streams.iter().count() - default_streams.sum::<usize>();
        let own_contexts = self.contexts.iter().filter(|(_, context)| !context.primary);
        let retained = self.devices.iter().map(|device| u64::from(device.primary.retained));
        [
            ("allocations", allocations().count() as u64),
            ("allocated_bytes", allocations().map(|allocation| allocation.bytes).sum()),
            ("pinned_blocks", self.pinned.len() as u64),
            ("streams", streams as u64),
            ("events", self.events.iter().count() as u64),
            ("modules", self.modules.iter().count() as u64),
            ("libraries", self.libraries.iter().count() as u64),
            ("graphs", self.graphs.iter().count() as u64),
            ("executable_graphs", self.executable_graphs.iter().count() as u64),
            ("captures", self.captures.iter().count() as u64),
            ("contexts", own_contexts.count() as u64),
            ("primary_contexts_retained", retained.sum()),
        ]
    }
}
