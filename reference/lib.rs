//! A plain CPU reference of the DBRX model and of each operator it is made of.
//!
//! One file per operator, in plain Rust without dependencies: f32 or f64 in, f64 out, written to be
//! read against the formula on each function's page. [`dbrx`] assembles the model from exactly
//! these functions and rounds between them at named points ([`rounding::Rounding`]).
//!
//! | operator | function |
//! |---|---|
//! | token embedding | [`embedding::embedding`] |
//! | residual addition and layer norm | [`layer_norm::layer_norm`] |
//! | residual addition and RMS norm | [`rms_norm::rms_norm`] |
//! | dense layer | [`linear::linear`] |
//! | clip, split, rotate | [`rope::rope`], [`rope::rope_interleaved`], [`rope::append`] |
//! | top-k router | [`router::router`], [`router::route`]; [`router_f32::router_f32`]: the bits of the kernels |
//! | load histogram, load-balancing and z-loss | [`router_loss::router_loss`] |
//! | sort by expert | [`dispatch::dispatch`] |
//! | expert products | [`grouped_gemm::up`], [`grouped_gemm::down`]; [`activation::Activation`] |
//! | sum of expert outputs | [`combine::combine`] |
//! | grouped-query attention | [`attention::attention`] |
//!
//! Feature `checkpoint` loads published checkpoints and their tokenizers; feature `fast` adds a
//! second arithmetic for the same model, f32 on all cores.

pub mod activation;
pub mod arithmetic;
pub mod attention;
#[cfg(feature = "checkpoint")]
pub mod checkpoint;
pub mod combine;
pub mod config;
pub mod dbrx;
pub mod dispatch;
pub mod embedding;
pub mod error;
#[cfg(feature = "fast")]
pub mod fast;
pub mod grouped_gemm;
pub mod kv_cache;
pub mod layer_norm;
pub mod linear;
pub mod rms_norm;
pub mod rope;
pub mod rounding;
pub mod router;
pub mod router_f32;
pub mod router_loss;
pub mod tensor;
pub mod weights;

pub use arithmetic::{Arithmetic, Plain};
pub use config::Config;
pub use dbrx::Dbrx;
pub use error::{Error, Result};
#[cfg(feature = "fast")]
pub use fast::Fast;
pub use rounding::Rounding;
pub use tensor::{Elements, Tensor};
pub use weights::Weights;

/// The examples of the README, as tests.
#[cfg(doctest)]
#[doc = include_str!("README.md")]
struct Readme;
