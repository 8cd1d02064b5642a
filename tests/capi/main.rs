//! The C ABI. Header and installation need no device; without a simulated one the rest has nothing to
//! ask, and `EXPERTILE_REQUIRE=simulated` makes that a failure.

mod allocations;
mod args;
mod bad;
mod call;
mod calls;
mod grouped_gemm;
mod header;
mod install;
mod linear;
#[path = "../shared/linked.rs"]
mod linked;
mod moe;
mod python;
mod router;
mod router_loss;
mod scene;
#[allow(dead_code)]
#[path = "../simulated/simulator.rs"]
mod simulator;
mod workspace;

#[global_allocator]
static ALLOCATOR: allocations::Counting = allocations::Counting;
