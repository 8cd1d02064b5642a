//! `cvt`: between integers and floating point of all sizes.

use super::super::instruction::Map2;
use super::super::ops_convert::*;
use super::super::ops_directed::{Direction, Down, ToHalfPair, TowardZero, Up};
use super::super::ops_float::SaturateF32;
use super::super::ops_half::*;
use super::super::ops_round::*;
use super::modifiers::Modifiers;
use super::operand::exactly;
use super::{Decoder, bytes_of, is_signed, is_wide};
use crate::ptx::{Operand, Type};

fn is_float(ty: Type) -> bool {
    matches!(ty, Type::F16 | Type::Bf16 | Type::F32 | Type::F64)
}

impl Decoder<'_> {
    pub(super) fn cvt(&mut self, m: &mut Modifiers<'_>, ops: &[Operand]) -> Result<(), String> {
        let from_type = m.ty()?;
        let to_type = m.ty()?;
        let rounding = m.one_of(&["rni", "rzi", "rmi", "rpi", "rn", "rz", "rm", "rp", "rna"]);
        let relu = m.flag("relu");
        let saturate = m.flag("sat");
        let flush = m.flag("ftz");
        if relu {
            return Err(String::from(".relu is not modelled here"));
        }
        if matches!(to_type, Type::F16x2 | Type::Bf16x2) {
            if !matches!(rounding, Some("rn" | "rz")) || from_type != Type::F32 {
                return Err(String::from("this rounding is not modelled here"));
            }
            let [to, high, low] = exactly(ops)?;
            let (a, b) = (self.source(high, Type::F32)?, self.source(low, Type::F32)?);
            let d = self.destination(to, to_type)?;
            let slots = [d, a, b, 0];
            match (to_type, rounding == Some("rz")) {
                (Type::F16x2, false) => self.pure::<Map2<F32ToF16x2>>(slots, 0),
                (Type::F16x2, true) => self.pure::<Map2<ToHalfPair<F16, TowardZero>>>(slots, 0),
                (_, false) => self.pure::<Map2<F32ToBf16x2>>(slots, 0),
                (_, true) => self.pure::<Map2<ToHalfPair<Bf16, TowardZero>>>(slots, 0),
            }
            return Ok(());
        }
        let [to, from] = exactly(ops)?;
        let mut a = self.source(from, from_type)?;
        match (is_float(from_type), is_float(to_type)) {
            (false, false) => self.integer_to_integer(to, from_type, to_type, a, saturate),
            (false, true) => {
                if let Some(rounding @ ("rz" | "rm" | "rp")) = rounding {
                    a = self.extended(a, from_type);
                    return self.directed_conversion(to, (from_type, to_type), a, rounding);
                }
                self.integer_to_float(to, from_type, to_type, a)
            }
            (true, false) => {
                if matches!(from_type, Type::F16 | Type::Bf16) {
                    a = self.half_to_f32(a, from_type);
                } else if flush && from_type == Type::F32 {
                    a = self.flushed(a);
                }
                self.float_to_integer(to, from_type, to_type, a, rounding)
            }
            (true, true) => {
                if flush && from_type == Type::F32 {
                    a = self.flushed(a);
                }
                if flush && (from_type, to_type) == (Type::F64, Type::F32) {
                    return Err(String::from(".ftz from .f64 is not modelled"));
                }
                self.float_to_float(to, (from_type, to_type), a, rounding, saturate)
            }
        }
    }

    /// A value of a narrow type, extended to 32 bits.
    fn extended(&mut self, a: u32, ty: Type) -> u32 {
        if bytes_of(ty) >= 4 {
            return a;
        }
        let d = self.scratch(false);
        self.extend_into(d, a, ty);
        d
    }

    fn extend_into(&mut self, d: u32, a: u32, ty: Type) {
        match (bytes_of(ty), is_signed(ty)) {
            (1, false) => self.emit1::<FromU8>(d, a),
            (1, true) => self.emit1::<FromS8>(d, a),
            (2, false) => self.emit1::<FromU16>(d, a),
            (2, true) => self.emit1::<FromS16>(d, a),
            _ => self.copy(false, d, a),
        }
    }

    fn integer_to_integer(
        &mut self,
        to: &Operand,
        from_type: Type,
        to_type: Type,
        a: u32,
        saturate: bool,
    ) -> Result<(), String> {
        let a = self.extended(a, from_type);
        let source_wide = is_wide(from_type);
        if saturate {
            if from_type == Type::U64 {
                return Err(String::from(".sat from .u64 is not modelled"));
            }
            let wide = if source_wide { a } else { self.scratch(true) };
            if !source_wide {
                self.widen(a, wide, is_signed(from_type));
            }
            let d = self.destination(to, to_type)?;
            match to_type {
                Type::S8 => self.emit1::<ClampS8>(d, wide),
                Type::U8 => self.emit1::<ClampU8>(d, wide),
                Type::S16 => self.emit1::<ClampS16>(d, wide),
                Type::U16 => self.emit1::<ClampU16>(d, wide),
                Type::S32 => self.emit1::<ClampS32>(d, wide),
                Type::U32 => self.emit1::<ClampU32>(d, wide),
                Type::U64 => self.emit1::<ClampU64>(d, wide),
                _ => self.copy(true, d, wide),
            }
            return Ok(());
        }
        let d = self.destination(to, to_type)?;
        match (source_wide, is_wide(to_type)) {
            (true, true) => self.copy(true, d, a),
            (false, true) => self.widen(a, d, is_signed(from_type)),
            (true, false) => {
                let word = self.scratch(false);
                self.pure::<Narrow>([word, a, 0, 0], 0);
                self.extend_into(d, word, to_type);
            }
            (false, false) => self.extend_into(d, a, to_type),
        }
        Ok(())
    }

    fn integer_to_float(
        &mut self,
        to: &Operand,
        from_type: Type,
        to_type: Type,
        a: u32,
    ) -> Result<(), String> {
        let a = self.extended(a, from_type);
        let (wide, signed) = (is_wide(from_type), is_signed(from_type));
        let half = matches!(to_type, Type::F16 | Type::Bf16);
        let d = self.destination(to, to_type)?;
        // 32 bits are exact in f64, so that rounding to half precision is right.
        let into = if half { self.scratch(true) } else { d };
        match (wide, signed, to_type) {
            (false, true, Type::F32) => self.emit1::<S32ToF32>(into, a),
            (false, false, Type::F32) => self.emit1::<U32ToF32>(into, a),
            (true, true, Type::F32) => self.emit1::<S64ToF32>(into, a),
            (true, false, Type::F32) => self.emit1::<U64ToF32>(into, a),
            (false, true, _) => self.emit1::<S32ToF64>(into, a),
            (false, false, _) => self.emit1::<U32ToF64>(into, a),
            (true, true, Type::F64) => self.emit1::<S64ToF64>(into, a),
            (true, false, Type::F64) => self.emit1::<U64ToF64>(into, a),
            _ => return Err(String::from("64 bits to half precision is not modelled")),
        }
        match to_type {
            Type::F16 => self.emit1::<F64ToF16>(d, into),
            Type::Bf16 => self.emit1::<F64ToBf16>(d, into),
            _ => {}
        }
        Ok(())
    }

    fn integral(&mut self, rounding: &str, a: u32, double: bool) -> u32 {
        let d = self.scratch(double);
        match (rounding, double) {
            ("rni", false) => self.emit1::<NearestF32>(d, a),
            ("rmi", false) => self.emit1::<FloorF32>(d, a),
            ("rpi", false) => self.emit1::<CeilingF32>(d, a),
            (_, false) => self.emit1::<TruncateF32>(d, a),
            ("rni", true) => self.emit1::<NearestF64>(d, a),
            ("rmi", true) => self.emit1::<FloorF64>(d, a),
            ("rpi", true) => self.emit1::<CeilingF64>(d, a),
            (_, true) => self.emit1::<TruncateF64>(d, a),
        }
        d
    }

    fn float_to_integer(
        &mut self,
        to: &Operand,
        from_type: Type,
        to_type: Type,
        a: u32,
        rounding: Option<&str>,
    ) -> Result<(), String> {
        let double = from_type == Type::F64;
        let rounding = rounding.ok_or("it has no rounding")?;
        let a = if rounding == "rzi" { a } else { self.integral(rounding, a, double) };
        let d = self.destination(to, to_type)?;
        match (double, to_type) {
            (false, Type::S8) => self.emit1::<F32ToS8>(d, a),
            (false, Type::U8) => self.emit1::<F32ToU8>(d, a),
            (false, Type::S16) => self.emit1::<F32ToS16>(d, a),
            (false, Type::U16) => self.emit1::<F32ToU16>(d, a),
            (false, Type::S32) => self.emit1::<F32ToS32>(d, a),
            (false, Type::U32) => self.emit1::<F32ToU32>(d, a),
            (false, Type::S64) => self.emit1::<F32ToS64>(d, a),
            (false, Type::U64) => self.emit1::<F32ToU64>(d, a),
            (true, Type::S32) => self.emit1::<F64ToS32>(d, a),
            (true, Type::U32) => self.emit1::<F64ToU32>(d, a),
            (true, Type::S64) => self.emit1::<F64ToS64>(d, a),
            (true, Type::U64) => self.emit1::<F64ToU64>(d, a),
            _ => return Err(String::from("these types are not modelled here")),
        }
        Ok(())
    }

    /// To f32, f16 or bf16, not rounded to nearest.
    fn directed_conversion(
        &mut self,
        to: &Operand,
        types: (Type, Type),
        a: u32,
        rounding: &str,
    ) -> Result<(), String> {
        let d = self.destination(to, types.1)?;
        match rounding {
            "rz" => self.convert_directed::<TowardZero>(d, types, a),
            "rm" => self.convert_directed::<Down>(d, types, a),
            _ => self.convert_directed::<Up>(d, types, a),
        }
    }

    fn convert_directed<R: Direction>(
        &mut self,
        d: u32,
        types: (Type, Type),
        a: u32,
    ) -> Result<(), String> {
        use super::super::ops_directed::{From, ToHalf};
        match types {
            (Type::F64, Type::F32) => self.emit1::<From<f64, R>>(d, a),
            (Type::U64, Type::F32) => self.emit1::<From<u64, R>>(d, a),
            (Type::S64, Type::F32) => self.emit1::<From<i64, R>>(d, a),
            (from, Type::F32) if !is_float(from) && is_signed(from) => {
                self.emit1::<From<i32, R>>(d, a);
            }
            (from, Type::F32) if !is_float(from) => self.emit1::<From<u32, R>>(d, a),
            (Type::F32, Type::F16) => self.emit1::<ToHalf<F16, R>>(d, a),
            (Type::F32, Type::Bf16) => self.emit1::<ToHalf<Bf16, R>>(d, a),
            _ => return Err(String::from("this rounding is not modelled here")),
        }
        Ok(())
    }

    fn float_to_float(
        &mut self,
        to: &Operand,
        types: (Type, Type),
        a: u32,
        rounding: Option<&str>,
        saturate: bool,
    ) -> Result<(), String> {
        let (from_type, to_type) = types;
        if let Some(rounding @ ("rz" | "rm" | "rp")) = rounding {
            if saturate {
                return Err(String::from(".sat is not modelled here"));
            }
            return self.directed_conversion(to, types, a, rounding);
        }
        let d = self.destination(to, to_type)?;
        if let Some(rounding @ ("rni" | "rzi" | "rmi" | "rpi")) = rounding {
            if from_type != to_type || !matches!(to_type, Type::F32 | Type::F64) || saturate {
                return Err(String::from("these types are not modelled here"));
            }
            let double = from_type == Type::F64;
            let rounded = self.integral(rounding, a, double);
            self.copy(double, d, rounded);
            return Ok(());
        }
        let wide = self.scratch(false);
        match types {
            (Type::F32, Type::F32) if saturate => self.emit1::<SaturateF32>(d, a),
            _ if saturate => return Err(String::from(".sat is not modelled here")),
            (Type::F32, Type::F32) => self.copy(false, d, a),
            (Type::F64, Type::F64) => self.copy(true, d, a),
            (Type::F32, Type::F64) => self.emit1::<F32ToF64>(d, a),
            (Type::F64, Type::F32) => self.emit1::<F64ToF32>(d, a),
            (Type::F16, Type::F32) => self.emit1::<F16ToF32>(d, a),
            (Type::Bf16, Type::F32) => self.emit1::<Bf16ToF32>(d, a),
            (Type::F32, Type::F16) => self.emit1::<F32ToF16>(d, a),
            (Type::F32, Type::Bf16) => self.emit1::<F32ToBf16>(d, a),
            (Type::F64, Type::F16) => self.emit1::<F64ToF16>(d, a),
            (Type::F64, Type::Bf16) => self.emit1::<F64ToBf16>(d, a),
            (Type::F16, Type::F64) => {
                self.emit1::<F16ToF32>(wide, a);
                self.emit1::<F32ToF64>(d, wide);
            }
            (Type::Bf16, Type::F64) => {
                self.emit1::<Bf16ToF32>(wide, a);
                self.emit1::<F32ToF64>(d, wide);
            }
            (Type::F16, Type::Bf16) => {
                self.emit1::<F16ToF32>(wide, a);
                self.emit1::<F32ToBf16>(d, wide);
            }
            (Type::Bf16, Type::F16) => {
                self.emit1::<Bf16ToF32>(wide, a);
                self.emit1::<F32ToF16>(d, wide);
            }
            (Type::F16, Type::F16) | (Type::Bf16, Type::Bf16) => self.copy(false, d, a),
            _ => return Err(String::from("these types are not modelled here")),
        }
        Ok(())
    }
}
