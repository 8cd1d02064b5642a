//! Operands become slots.

use super::super::context::{FUNCTION_BASE, PARAMETER_WINDOW};
use super::super::ops_convert::{Narrow, WidenSigned, WidenUnsigned};
use super::super::special::{self, Special};
use super::{Decoder, Home, is_signed, is_wide};
use crate::ptx::{Operand, Type};

impl Decoder<'_> {
    pub(super) fn register_type(&self, register: u32) -> Type {
        self.source.registers[register as usize].ty
    }

    /// The slot of a source of that type.
    pub(super) fn source(&mut self, operand: &Operand, ty: Type) -> Result<u32, String> {
        let wide = is_wide(ty);
        match operand {
            Operand::Register(register) => {
                let slot = self.slots[*register as usize];
                let kept = self.register_type(*register);
                if kept == Type::Pred || kept == Type::B128 || ty == Type::B128 {
                    return Err(String::from("a register of this type is not modelled here"));
                }
                match (is_wide(kept), wide) {
                    (true, false) => {
                        let narrow = self.scratch(false);
                        self.pure::<Narrow>([narrow, slot, 0, 0], 0);
                        Ok(narrow)
                    }
                    (false, true) => Err(format!(
                        "the register {} is too narrow",
                        self.source.registers[*register as usize].name
                    )),
                    _ => Ok(slot),
                }
            }
            Operand::Integer(value) => Ok(self.constant(*value as u64, wide)),
            Operand::Float32(bits) => Ok(self.constant((*bits).into(), wide)),
            Operand::Float64(bits) => match ty {
                Type::F32 => {
                    let value = f64::from_bits(*bits) as f32;
                    Ok(self.constant(value.to_bits().into(), false))
                }
                _ => Ok(self.constant(*bits, wide)),
            },
            Operand::Special(name) => match special::named(name) {
                Some(Ok(special)) => Ok(self.special(special, wide)),
                Some(Err(value)) => Ok(self.constant(value, wide)),
                None => Err(format!("%{name} is not modelled here")),
            },
            Operand::Symbol(name, offset) => self.symbol(name, *offset, wide),
            _ => Err(String::from("an operand of this kind is not modelled here")),
        }
    }

    /// The slot of a name's address in its own space.
    pub(super) fn symbol(&mut self, name: &str, offset: i64, wide: bool) -> Result<u32, String> {
        if let Some(home) = self.homes.get(name) {
            return Ok(match *home {
                Home::Parameter(at) => {
                    let address = PARAMETER_WINDOW.wrapping_add(u64::from(at));
                    self.constant(address.wrapping_add(offset as u64), wide)
                }
                Home::Local(at, _) => {
                    self.special(Special::FrameLocal(at.wrapping_add(offset as u32)), wide)
                }
            });
        }
        if let Some(&address) = self.symbols.shared.get(name) {
            return Ok(self.constant(u64::from(address).wrapping_add(offset as u64), wide));
        }
        if self.symbols.dynamic_shared.iter().any(|known| known == name) {
            return Ok(self.special(Special::DynamicSharedStart(offset as u32), wide));
        }
        if let Some(&(address, _)) = self.symbols.variables.get(name) {
            return Ok(self.constant(address.wrapping_add(offset as u64), wide));
        }
        if let Some(&index) = self.symbols.functions.get(name) {
            return Ok(self.constant(FUNCTION_BASE + 16 * u64::from(index), wide));
        }
        Err(format!("{name} is not defined in this module"))
    }

    /// The slot of a destination of that type. A wider register gets the value extended, after the
    /// instruction.
    pub(super) fn destination(&mut self, operand: &Operand, ty: Type) -> Result<u32, String> {
        match operand {
            Operand::Register(register) => {
                let slot = self.slots[*register as usize];
                let kept = self.register_type(*register);
                if kept == Type::Pred || kept == Type::B128 || ty == Type::B128 {
                    return Err(String::from("a register of this type is not modelled here"));
                }
                match (is_wide(kept), is_wide(ty)) {
                    (true, false) => {
                        let narrow = self.scratch(false);
                        self.widenings.push((narrow, slot, is_signed(ty)));
                        Ok(narrow)
                    }
                    (false, true) => Err(format!(
                        "the register {} is too narrow",
                        self.source.registers[*register as usize].name
                    )),
                    _ => Ok(slot),
                }
            }
            Operand::Sink => Ok(self.scratch(is_wide(ty))),
            _ => Err(String::from("the destination is no register")),
        }
    }

    pub(super) fn widen(&mut self, from: u32, to: u32, signed: bool) {
        if signed {
            self.pure::<WidenSigned>([to, from, 0, 0], 0);
        } else {
            self.pure::<WidenUnsigned>([to, from, 0, 0], 0);
        }
    }

    /// The index of a predicate, and whether it is negated.
    pub(super) fn predicate(&mut self, operand: &Operand) -> Result<(u32, bool), String> {
        match operand {
            Operand::Register(register) | Operand::Not(register)
                if self.register_type(*register) == Type::Pred =>
            {
                let negated = matches!(operand, Operand::Not(_));
                Ok((self.slots[*register as usize], negated))
            }
            Operand::Integer(value) => Ok((0, *value == 0)),
            _ => Err(String::from("this operand must be a predicate")),
        }
    }

    pub(super) fn predicate_destination(&mut self, operand: &Operand) -> Result<u32, String> {
        match operand {
            Operand::Sink => {
                let template = &mut self.function.template.predicates;
                template.push(super::Predicate { value: 0, valid: 0 });
                Ok(template.len() as u32 - 1)
            }
            _ => Ok(self.predicate(operand)?.0),
        }
    }

    /// `d` or `d|p`.
    pub(super) fn pair<'o>(&self, operand: &'o Operand) -> (&'o Operand, Option<&'o Operand>) {
        match operand {
            Operand::Pair(first, second) => (first, Some(second)),
            other => (other, None),
        }
    }

    /// The elements of `{...}`, or the operand alone.
    pub(super) fn elements<'o>(&self, operand: &'o Operand) -> Vec<&'o Operand> {
        match operand {
            Operand::Vector(elements) => elements.iter().collect(),
            other => vec![other],
        }
    }
}

/// The operands, as many as there must be.
pub(super) fn exactly<const N: usize>(operands: &[Operand]) -> Result<[&Operand; N], String> {
    let all: Vec<&Operand> = operands.iter().collect();
    let count = all.len();
    all.try_into().map_err(|_| format!("it has {count} operands where {N} are expected"))
}
