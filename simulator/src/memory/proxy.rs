//! Accesses of the asynchronous proxy (PTX ISA, "Async Proxy").

use super::Clocks;
use super::page::{PAGE, PAGE_SHIFT};
use super::region::{Access, AccessFault, Finding, Region};

impl Region {
    /// Reads as [`Region::load`] does, on behalf of an asynchronous instruction of the warp: bounds,
    /// races and what was never written are told alike, bank traffic is not counted. A finding more:
    /// a thread wrote, and passed no `fence.proxy.async` since.
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
        if written.is_ok() && findings.is_empty() {
            findings.extend(self.unproxied(clocks, access));
        }
        written
    }

    /// Writes as [`Region::store`] does, on behalf of an asynchronous instruction.
    ///
    /// # Errors
    ///
    /// A fault; nothing was written.
    pub fn async_proxy_write(
        &mut self,
        clocks: &mut Clocks,
        access: &Access<'_>,
        data: &[u8; 512],
        defined: u32,
        findings: &mut Vec<Finding>,
    ) -> Result<(), AccessFault> {
        self.counts.is_paused = true;
        let written = self.store(clocks, access, data, defined, findings);
        self.counts.is_paused = false;
        written
    }

    /// Makes bytes as good as never written, whoever wrote them.
    pub fn forget(&mut self, start: u64, count: u64) {
        self.host_forget(start, count);
    }

    /// The first byte of the access whose write the asynchronous proxy may not see yet.
    fn unproxied(&mut self, clocks: &mut Clocks, access: &Access<'_>) -> Option<Finding> {
        let shift = access.bytes.trailing_zeros();
        for lane in access.lanes() {
            let offset = access.addresses[lane as usize];
            let (number, start) = ((offset >> PAGE_SHIFT) as usize, offset as usize % PAGE);
            let (bytes, page, ..) = self.page(number);
            let cells = page.cells(bytes, shift, start, access.bytes as usize);
            for (cell, &stamp) in cells.write.stamps.iter().enumerate() {
                if clocks.is_proxied(stamp, access.warp) {
                    continue;
                }
                let (earlier, _) = clocks.describe(stamp, "write", access.warp);
                return Some(Finding {
                    lane,
                    address: offset + ((cell as u64) << cells.shift),
                    earlier,
                    place: Some(cells.write.places[cell]),
                    missing: String::from("no fence.proxy.async by the writing thread between"),
                });
            }
        }
        None
    }
}
