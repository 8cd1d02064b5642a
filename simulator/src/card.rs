//! The simulated cards, by name.

use crate::cuda::architecture::{ARCHITECTURES as NVIDIA, Architecture};
use crate::engine::Device;
use crate::hip::architecture::ARCHITECTURES as AMD;

/// A card of either vendor.
#[derive(Clone, Copy, Debug)]
pub struct Card(pub(crate) &'static Architecture);

impl Card {
    /// `sm_90a` or `gfx942`.
    ///
    /// # Errors
    ///
    /// A line with all names.
    pub fn named(name: &str) -> Result<Card, String> {
        let mut all = NVIDIA.iter().chain(&AMD);
        all.find(|card| card.name == name).map(Card).ok_or_else(|| {
            let names: Vec<&str> = NVIDIA.iter().chain(&AMD).map(|card| card.name).collect();
            format!("no device `{name}` among {}", names.join(", "))
        })
    }

    /// As in `EXPERTILE_SIM_ARCH`.
    pub fn name(self) -> &'static str {
        self.0.name
    }

    /// Whether it takes code objects, not PTX.
    pub fn is_amd(self) -> bool {
        self.0.name.starts_with("gfx")
    }

    /// Lanes of a warp or wave.
    pub fn warp_threads(self) -> u32 {
        self.0.limits.warp_threads
    }

    /// Bytes of device memory.
    pub fn memory_bytes(self) -> u64 {
        self.0.memory_bytes
    }

    /// What a kernel can see of it.
    pub fn device(self) -> Device {
        Device {
            compute_capability: self.0.compute_capability(),
            multiprocessors: self.0.multiprocessors as u32,
            max_shared_bytes: self.0.shared_bytes_per_block() as u32,
        }
    }
}
