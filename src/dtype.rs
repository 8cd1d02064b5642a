//! The types of tensor elements.

use half::{bf16, f16};
use std::fmt;

/// The type of a tensor's elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Dtype {
    /// 8 bits: 1 sign, 8 exponent, 7 fraction, stored in 2 bytes.
    Bf16,
    /// IEEE binary16.
    F16,
    /// IEEE binary32.
    F32,
    /// Signed 32-bit integer.
    I32,
    /// Signed 64-bit integer.
    I64,
}

impl Dtype {
    /// The size of an element in bytes.
    pub const fn bytes(self) -> u64 {
        match self {
            Dtype::Bf16 | Dtype::F16 => 2,
            Dtype::F32 | Dtype::I32 => 4,
            Dtype::I64 => 8,
        }
    }

    /// As it stands in the names of kernels.
    pub const fn name(self) -> &'static str {
        match self {
            Dtype::Bf16 => "bf16",
            Dtype::F16 => "f16",
            Dtype::F32 => "f32",
            Dtype::I32 => "i32",
            Dtype::I64 => "i64",
        }
    }
}

impl fmt::Display for Dtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A Rust type that is stored as the elements of a tensor.
///
/// # Safety
///
/// Every bit pattern must be a value of the type, it must have no padding, and its size must be
/// `DTYPE.bytes()`.
pub unsafe trait Element: Copy + Send + Sync + 'static {
    /// The type of tensors that hold it.
    const DTYPE: Dtype;
}

// SAFETY: two bytes, every pattern is a number or a NaN.
unsafe impl Element for bf16 {
    const DTYPE: Dtype = Dtype::Bf16;
}

// SAFETY: two bytes, every pattern is a number or a NaN.
unsafe impl Element for f16 {
    const DTYPE: Dtype = Dtype::F16;
}

// SAFETY: four bytes, every pattern is a number or a NaN.
unsafe impl Element for f32 {
    const DTYPE: Dtype = Dtype::F32;
}

// SAFETY: four bytes, every pattern is a number.
unsafe impl Element for i32 {
    const DTYPE: Dtype = Dtype::I32;
}

// SAFETY: eight bytes, every pattern is a number.
unsafe impl Element for i64 {
    const DTYPE: Dtype = Dtype::I64;
}
