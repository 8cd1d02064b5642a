//! A plain CPU reference of DBRX and of each operator it is made of.

pub mod config;
pub mod error;
pub mod rounding;
pub mod tensor;
pub mod weights;
pub use error::{Error, Result};
#[cfg(feature = "checkpoint")]
pub mod checkpoint;
