//! The memory of one simulated device, and what each byte's history says about races.
//!
//! Global memory is an address space of fenced allocations; a block's shared memory is one more
//! [`Region`]. Both keep, beside the bytes, when and by whom each was written and read.

mod access;
mod clocks;
mod global;
mod knowledge;
mod page;
mod past;
mod places;
mod proxy;
mod region;
mod shape;
mod stamp;
mod streams;
mod traffic;
pub(crate) mod window;

pub use clocks::{Clocks, ENGINES, Fence, Mark};
pub use global::{Memory, MemoryError};
pub use region::{Access, AccessFault, Finding, Order, Region};
pub use streams::{Known, Now, Places, Work};
pub use traffic::{SharedTraffic, Traffic};

#[cfg(test)]
mod tests;
