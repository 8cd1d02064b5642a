//! Fused mixture-of-experts, attention and RoPE kernels for CUDA and ROCm.
//!
//! This version holds what the kernels are judged against: the crate `expertile-reference`, a plain
//! CPU model of DBRX and of each operator it is made of. The device operators of this crate will
//! carry the same names; none is here yet. The examples `generate`, `logits` and `perplexity` run
//! the reference.

/// The README's library example, as a test.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
