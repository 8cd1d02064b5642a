//! Accesses of the asynchronous proxy (PTX ISA, "Async Proxy").

use super::Clocks;
use super::region::{Access, AccessFault, Finding, Region};

impl Region {
    /// Reads as [`Region::load`] does, on behalf of an asynchronous instruction of the warp: bounds,
    /// races and what was never written are told alike, bank traffic is not counted.
    ///
    /// # Errors
    ///
    /// A fault; nothing was read.
    pub fn async_proxy_read(
        &mut self,
        clocks: &mut Clocks,
        access: &Access<'_>,
        out: &mut [u8; 512],
        findings: &mut Vec<Finding>,
    ) -> Result<u32, AccessFault> {
        self.counts.is_paused = true;
        let written = self.load(clocks, access, out, findings);
        self.counts.is_paused = false;
        written
    }
}
