//! Tests of the device operators, on whatever devices there are: a real one, or simulated ones
//! (`simulate sm_90a cargo test --features cuda`).
//!
//! `EXPERTILE_REQUIRE=cuda,hip` makes a missing device of a platform a failure. A file here is included by the fuzz
//! targets too where it has a `Case`.

#[cfg(any(feature = "cuda", feature = "hip"))]
mod agree;
mod combine;
mod dense;
mod dispatch;
mod errors;
mod experts;
mod far;
mod graph;
mod grouped_gemm;
mod grouped_gemm_check;
mod grouped_gemm_plans;
mod grouped_gemm_rows;
mod grouped_gemm_tiles;
mod grouped_gemm_turns;
mod harness;
mod large;
mod layer_norm;
mod linear;
mod linear_plans;
mod linear_rows;
mod moe;
mod moe_check;
mod moe_far;
mod moe_halves;
mod moe_rows;
mod norm;
mod packet;
mod plans;
#[cfg(all(feature = "probes", feature = "cuda"))]
mod probes;
mod refusals;
mod rms_norm;
mod rope;
mod router;
mod router_loss;
mod router_loss_refusals;
mod router_plans;
mod router_refusals;
mod router_rows;
mod routings;
