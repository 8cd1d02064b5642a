//! Conversions between integers and floating point (PTX ISA, "cvt").

use super::instruction::operations;
use super::ops_float::{canonical, canonical64};

operations! {
    Unary S32ToF32 [A: i32] -> f32 { |a| a as f32 }
    Unary U32ToF32 [A: u32] -> f32 { |a| a as f32 }
    Unary S64ToF32 [A: i64] -> f32 { |a| a as f32 }
    Unary U64ToF32 [A: u64] -> f32 { |a| a as f32 }
    Unary S32ToF64 [A: i32] -> f64 { |a| a.into() }
    Unary U32ToF64 [A: u32] -> f64 { |a| a.into() }
    Unary S64ToF64 [A: i64] -> f64 { |a| a as f64 }
    Unary U64ToF64 [A: u64] -> f64 { |a| a as f64 }
    Unary F32ToF64 [A: f32] -> f64 { |a| canonical64(a.into()) }
    Unary F64ToF32 [A: f64] -> f32 { |a| canonical(a as f32) }
    Unary NearestF32 [A: f32] -> f32 { |a| a.round_ties_even() }
    Unary TruncateF32 [A: f32] -> f32 { |a| a.trunc() }
    Unary FloorF32 [A: f32] -> f32 { |a| a.floor() }
    Unary CeilingF32 [A: f32] -> f32 { |a| a.ceil() }
    Unary NearestF64 [A: f64] -> f64 { |a| a.round_ties_even() }
    Unary TruncateF64 [A: f64] -> f64 { |a| a.trunc() }
    Unary FloorF64 [A: f64] -> f64 { |a| a.floor() }
    Unary CeilingF64 [A: f64] -> f64 { |a| a.ceil() }
    // Out of range clamps. NaN is 0 between 32 bits, else the integer with only the top bit.
    Unary F32ToS8 [A: f32] -> i8 { |a| a as i8 }
    Unary F32ToU8 [A: f32] -> u8 { |a| a as u8 }
    Unary F32ToS16 [A: f32] -> i16 { |a| a as i16 }
    Unary F32ToU16 [A: f32] -> u16 { |a| a as u16 }
    Unary F32ToS32 [A: f32] -> i32 { |a| a as i32 }
    Unary F32ToU32 [A: f32] -> u32 { |a| a as u32 }
    Unary F32ToS64 [A: f32] -> i64 { |a| if a.is_nan() { i64::MIN } else { a as i64 } }
    Unary F32ToU64 [A: f32] -> u64 { |a| if a.is_nan() { 1 << 63 } else { a as u64 } }
    Unary F64ToS32 [A: f64] -> i32 { |a| if a.is_nan() { i32::MIN } else { a as i32 } }
    Unary F64ToU32 [A: f64] -> u32 { |a| if a.is_nan() { 1 << 31 } else { a as u32 } }
    Unary F64ToS64 [A: f64] -> i64 { |a| if a.is_nan() { i64::MIN } else { a as i64 } }
    Unary F64ToU64 [A: f64] -> u64 { |a| if a.is_nan() { 1 << 63 } else { a as u64 } }
    // Integers that saturate: from 64 bits, where every source fits.
    Unary ClampS8 [A: i64] -> i8 { |a| a.clamp(-128, 127) as i8 }
    Unary ClampU8 [A: i64] -> u8 { |a| a.clamp(0, 255) as u8 }
    Unary ClampS16 [A: i64] -> i16 { |a| a.clamp(-0x8000, 0x7FFF) as i16 }
    Unary ClampU16 [A: i64] -> u16 { |a| a.clamp(0, 0xFFFF) as u16 }
    Unary ClampS32 [A: i64] -> i32 { |a| a.clamp(i32::MIN.into(), i32::MAX.into()) as i32 }
    Unary ClampU32 [A: i64] -> u32 { |a| a.clamp(0, u32::MAX.into()) as u32 }
    Unary ClampU64 [A: i64] -> u64 { |a| a.max(0) as u64 }
}
