//! Moves and conversions.

use super::super::instruction::{Map1, Map2, Unary};
use super::super::ops_cluster::IsExplicit;
use super::super::ops_convert::*;
use super::super::ops_half::{Bf16ToF32, F16ToF32};
use super::modifiers::Modifiers;
use super::operand::exactly;
use super::{Decoder, bytes_of, is_wide};
use crate::ptx::{Operand, Type};

impl Decoder<'_> {
    pub(super) fn convert(
        &mut self,
        name: &str,
        m: &mut Modifiers<'_>,
        ops: &[Operand],
    ) -> Result<(), String> {
        match name {
            "mov" => self.mov(m, ops),
            "cvta" => self.convert_address(m, ops),
            "isspacep" => {
                let space = m.next().ok_or("it has no space")?;
                let window = match space {
                    "global" | "const" => 0,
                    "shared" | "shared::cta" => 1,
                    "shared::cluster" => 2,
                    "local" => 3,
                    _ => 4,
                };
                let [to, from] = exactly(ops)?;
                let a = self.source(from, Type::U64)?;
                let d = self.predicate_destination(to)?;
                self.predicate_result::<InWindow>([d, a, window, 0], 0);
                Ok(())
            }
            _ => self.cvt(m, ops),
        }
    }

    pub(super) fn emit1<O: Unary>(&mut self, d: u32, a: u32) {
        self.pure::<Map1<O>>([d, a, 0, 0], 0);
    }

    pub(super) fn copy(&mut self, wide: bool, d: u32, a: u32) {
        if wide {
            self.pure::<Copy64>([d, a, 0, 0], 0);
        } else {
            self.pure::<Copy32>([d, a, 0, 0], 0);
        }
    }

    fn mov(&mut self, m: &mut Modifiers<'_>, ops: &[Operand]) -> Result<(), String> {
        let ty = m.ty()?;
        let [to, from] = exactly(ops)?;
        match (to, from) {
            (Operand::Vector(parts), from) => self.unpack(ty, parts, from),
            (to, Operand::Vector(parts)) => self.pack(ty, to, parts),
            (to, Operand::Special(name)) if name == "is_explicit_cluster" => {
                let d = self.predicate_destination(to)?;
                self.predicate_result::<IsExplicit>([d, 0, 0, 0], 0);
                Ok(())
            }
            _ if ty == Type::Pred => {
                let (a, negated) = self.predicate(from)?;
                let d = self.predicate_destination(to)?;
                let flip = if negated { u32::MAX } else { 0 };
                self.predicate_result::<CopyPredicate>([d, a, flip, 0], 0);
                Ok(())
            }
            (to, Operand::Special(name)) if self.clock(name, to, ty)? => Ok(()),
            _ => {
                let a = self.source(from, ty)?;
                let d = self.destination(to, ty)?;
                self.copy(is_wide(ty), d, a);
                Ok(())
            }
        }
    }

    fn clock(&mut self, name: &str, to: &Operand, ty: Type) -> Result<bool, String> {
        let shift = match name {
            "clock" | "clock64" | "globaltimer" | "globaltimer_lo" => 0,
            "clock_hi" | "globaltimer_hi" => 32,
            _ => return Ok(false),
        };
        let d = self.destination(to, ty)?;
        // Time passes: the instruction is no plain move, but it has no other effect.
        self.pure::<Clock>([d, 0, shift, u32::from(is_wide(ty))], 0);
        Ok(true)
    }

    fn unpack(&mut self, ty: Type, parts: &[Operand], from: &Operand) -> Result<(), String> {
        let a = self.source(from, ty)?;
        let to = |this: &mut Self, part: &Operand, ty| match part {
            Operand::Sink => Ok(None),
            part => this.destination(part, ty).map(Some),
        };
        match (bytes_of(ty), parts) {
            (8, [low, high]) => {
                // The second after the first: neither is part of the source.
                if let Some(d) = to(self, low, Type::B32)? {
                    self.emit1::<LowWord>(d, a);
                }
                if let Some(d) = to(self, high, Type::B32)? {
                    self.emit1::<HighWord>(d, a);
                }
            }
            (4, [low, high]) => {
                if let Some(d) = to(self, low, Type::B16)? {
                    self.emit1::<LowHalf>(d, a);
                }
                if let Some(d) = to(self, high, Type::B16)? {
                    self.emit1::<HighHalf>(d, a);
                }
            }
            (8, [_, _, _, _]) => {
                for (word, parts) in parts.chunks(2).enumerate() {
                    let half = self.scratch(false);
                    if word == 0 {
                        self.emit1::<LowWord>(half, a);
                    } else {
                        self.emit1::<HighWord>(half, a);
                    }
                    if let Some(d) = to(self, &parts[0], Type::B16)? {
                        self.emit1::<LowHalf>(d, half);
                    }
                    if let Some(d) = to(self, &parts[1], Type::B16)? {
                        self.emit1::<HighHalf>(d, half);
                    }
                }
            }
            _ => return Err(String::from("this way to take apart is not modelled")),
        }
        Ok(())
    }

    fn pack(&mut self, ty: Type, to: &Operand, parts: &[Operand]) -> Result<(), String> {
        let join16 = |this: &mut Self, d: u32, low: &Operand, high: &Operand| {
            let (a, b) = (this.source(low, Type::B16)?, this.source(high, Type::B16)?);
            this.pure::<Join16>([d, a, b, 0], 0);
            Ok::<(), String>(())
        };
        match (bytes_of(ty), parts) {
            (8, [low, high]) => {
                let (a, b) = (self.source(low, Type::B32)?, self.source(high, Type::B32)?);
                let d = self.destination(to, ty)?;
                self.pure::<Join32>([d, a, b, 0], 0);
            }
            (4, [low, high]) => {
                let d = self.destination(to, ty)?;
                join16(self, d, low, high)?;
            }
            (8, [a, b, c, e]) => {
                let (low, high) = (self.scratch(false), self.scratch(false));
                join16(self, low, a, b)?;
                join16(self, high, c, e)?;
                let d = self.destination(to, ty)?;
                self.pure::<Join32>([d, low, high, 0], 0);
            }
            (2, [low, high]) => {
                let (a, b) = (self.source(low, Type::B8)?, self.source(high, Type::B8)?);
                let d = self.destination(to, ty)?;
                self.pure::<Map2<JoinBytes>>([d, a, b, 0], 0);
            }
            _ => return Err(String::from("this way to put together is not modelled")),
        }
        Ok(())
    }

    fn convert_address(&mut self, m: &mut Modifiers<'_>, ops: &[Operand]) -> Result<(), String> {
        let ty = m.ty()?;
        let to_space = m.flag("to");
        let space = m.next().ok_or("it has no space")?;
        let [to, from] = exactly(ops)?;
        let a = self.source(from, ty)?;
        let d = self.destination(to, ty)?;
        if !is_wide(ty) {
            return Err(String::from("32-bit generic addresses are not modelled"));
        }
        match (space, to_space) {
            // Parameters have their generic address from the start.
            ("global" | "const" | "param", _) => self.copy(true, d, a),
            ("shared" | "shared::cta" | "shared::cluster", true) => self.emit1::<ToShared>(d, a),
            ("shared" | "shared::cta" | "shared::cluster", false) => self.emit1::<FromShared>(d, a),
            ("local", true) => self.emit1::<ToLocal>(d, a),
            ("local", false) => self.emit1::<FromLocal>(d, a),
            _ => return Err(format!(".{space} is not modelled here")),
        }
        Ok(())
    }

    pub(super) fn half_to_f32(&mut self, slot: u32, ty: Type) -> u32 {
        let wide = self.scratch(false);
        if ty == Type::F16 {
            self.emit1::<F16ToF32>(wide, slot);
        } else {
            self.emit1::<Bf16ToF32>(wide, slot);
        }
        wide
    }
}
