//! expertile's operators as custom operators of candle.
//!
//! | operator | in place | new |
//! |---|---|---|
//! | [`rope()`] | queries, key cache, value cache | |
//! | [`layer_norm`], [`rms_norm`] | the residual, if asked for | the normalised rows |
//!
//! On [`Device::Cpu`](candle_core::Device::Cpu) they are the plain reference: f64 within, rounded once. With feature
//! `cuda` they are one launch on the tensor's own stream. Nothing is copied or made contiguous: what a
//! kernel cannot take as it lies is an error. None of them is differentiable.
//!
//! [`device`] is all that touches a GPU's memory, and names no type of candle's: another engine's
//! operators would call the same.

#[cfg(feature = "cuda")]
mod cuda;
pub mod device;
mod elements;
mod norm;
mod rope;
mod storage;

pub use expertile::Pairing;
pub use norm::{Residual, layer_norm, rms_norm};
pub use rope::{Rope, rope};
