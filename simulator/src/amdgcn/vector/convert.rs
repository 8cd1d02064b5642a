//! Conversions (CDNA3 ISA, 12.7 and 12.10). To integers: towards zero, clamped, NaN to 0.

use half::{bf16, f16};

use super::super::instruction::Instruction;
use super::super::opcodes::Opcode::*;
use super::super::wave::Wave;
use super::float::clamped;
use super::{binary, unary};

#[inline(always)]
pub(super) fn execute(wave: &mut Wave, i: &Instruction) -> bool {
    let clamp = i.clamp;
    let f = f32::from_bits;
    let out = |value: f32| if clamp { clamped(value) } else { value }.to_bits();
    let byte = |a: u32, at: u32| out(f32::from((a >> (8 * at)) as u8));
    match i.opcode {
        v_cvt_f32_i32 => unary(wave, i, |a| out(a as i32 as f32)),
        v_cvt_f32_u32 => unary(wave, i, |a| out(a as f32)),
        v_cvt_u32_f32 => unary(wave, i, |a| f(a) as u32),
        v_cvt_i32_f32 => unary(wave, i, |a| f(a) as i32 as u32),
        v_cvt_rpi_i32_f32 => unary(wave, i, |a| (f64::from(f(a)) + 0.5).floor() as i32 as u32),
        v_cvt_flr_i32_f32 => unary(wave, i, |a| f(a).floor() as i32 as u32),
        v_cvt_f32_ubyte0 => unary(wave, i, |a| byte(a, 0)),
        v_cvt_f32_ubyte1 => unary(wave, i, |a| byte(a, 1)),
        v_cvt_f32_ubyte2 => unary(wave, i, |a| byte(a, 2)),
        v_cvt_f32_ubyte3 => unary(wave, i, |a| byte(a, 3)),
        v_cvt_f16_f32 => unary(wave, i, |a| {
            let value = if clamp { clamped(f(a)) } else { f(a) };
            f16::from_f32(value).to_bits().into()
        }),
        v_cvt_f32_f16 => unary(wave, i, |a| out(f16::from_bits(a as u16).to_f32())),
        v_cvt_f32_bf16 => unary(wave, i, |a| out(f(a << 16))),
        v_cvt_pkrtz_f16_f32 => {
            binary(wave, i, |a, b| towards_zero(f(a)) | towards_zero(f(b)) << 16)
        }
        v_cvt_pk_f16_f32 => binary(wave, i, |a, b| {
            let round = |value: u32| u32::from(f16::from_f32(f(value)).to_bits());
            round(a) | round(b) << 16
        }),
        v_cvt_pk_bf16_f32 => binary(wave, i, |a, b| {
            let round = |value: u32| u32::from(bf16::from_f32(f(value)).to_bits());
            round(a) | round(b) << 16
        }),
        v_cvt_f16_u16 => unary(wave, i, |a| f16::from_f32((a as u16).into()).to_bits().into()),
        v_cvt_f16_i16 => {
            unary(wave, i, |a| f16::from_f32((a as u16 as i16).into()).to_bits().into())
        }
        v_cvt_u16_f16 => unary(wave, i, |a| (f16::from_bits(a as u16).to_f32() as u16).into()),
        v_cvt_i16_f16 => {
            unary(wave, i, |a| u32::from(f16::from_bits(a as u16).to_f32() as i16 as u16))
        }
        _ => false,
    }
}

/// The bits of the f16 next to a number on the side of zero.
fn towards_zero(value: f32) -> u32 {
    let near = f16::from_f32(value);
    let bits = near.to_bits();
    let away = near.to_f32().abs() > value.abs();
    (if away { bits - 1 } else { bits }).into()
}
