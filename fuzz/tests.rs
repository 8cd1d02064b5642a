//! The checks of the operator tests, on the same devices.

// Only what draws cases from a strategy is left over.
#![allow(dead_code, unused_imports)]

#[path = "../src/tests/combine.rs"]
pub(crate) mod combine;
#[path = "../src/tests/dispatch.rs"]
pub(crate) mod dispatch;
#[path = "../src/tests/grouped_gemm.rs"]
pub(crate) mod grouped_gemm;
#[path = "../src/tests/grouped_gemm_check.rs"]
pub(crate) mod grouped_gemm_check;
#[path = "../src/tests/harness.rs"]
pub(crate) mod harness;
#[path = "../src/tests/layer_norm.rs"]
pub(crate) mod layer_norm;
#[path = "../src/tests/linear.rs"]
pub(crate) mod linear;
#[path = "../src/tests/norm.rs"]
pub(crate) mod norm;
#[path = "../src/tests/packet.rs"]
pub(crate) mod packet;
#[path = "../src/tests/rms_norm.rs"]
pub(crate) mod rms_norm;
#[path = "../src/tests/rope.rs"]
pub(crate) mod rope;
#[path = "../src/tests/router.rs"]
pub(crate) mod router;
#[path = "../src/tests/router_loss.rs"]
pub(crate) mod router_loss;
