//! Matrix instructions: which element lies where, against formulas written out here; how sums are
//! rounded, against f64 and integers; and faults planted in their use.
//!
//! The fragments are those of the PTX ISA, "Warp Level Matrix Multiply-Accumulate Instructions", written
//! from the element to its place; the simulator goes from the place to the element.

#[path = "tensor_cores/bench.rs"]
mod bench;
#[path = "tensor_cores/compiled.rs"]
mod compiled;
#[path = "tensor_cores/faults.rs"]
mod faults;
#[path = "tensor_cores/matrices.rs"]
mod matrices;
#[path = "tensor_cores/products.rs"]
mod products;
#[path = "tensor_cores/warpgroup.rs"]
mod warpgroup;
#[path = "tensor_cores/warpgroups.rs"]
mod warpgroups;
