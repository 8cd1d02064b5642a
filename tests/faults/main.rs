//! What a failing driver does to the crate: every call that an operation makes is failed in turn, on a
//! simulated driver of each platform.
//!
//! On a real driver, and without one, these tests have nothing to do; `EXPERTILE_REQUIRE=simulated`
//! makes that a failure.

mod experts;
mod lost;
mod matrix;
mod operations;
mod router;
mod router_loss;
mod routing;
mod simulator;
