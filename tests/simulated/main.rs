//! What only a simulated driver can tell: how much memory traffic a kernel causes, which driver calls
//! an operator makes, and that no schedule brings out a fault.
//!
//! On a real driver, and without one, these tests have nothing to ask; `EXPERTILE_REQUIRE=simulated`
//! makes that a failure.

mod buffers;
mod calls;
mod devices;
mod grouped;
mod linear;
mod linear_amd;
mod linear_sm90;
mod moe;
mod replays;
mod router;
mod router_loss;
mod routing;
mod schedules;
mod simulator;
mod threads;
mod traffic;
