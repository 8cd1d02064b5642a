//! Matrix instructions of a warpgroup.

use super::super::ops_warpgroup::*;
use super::super::{MatrixElement, MatrixShape};
use super::Decoder;
use super::modifiers::Modifiers;
use super::operand::exactly;
use crate::ptx::{Instruction, Operand, Type};

impl Decoder<'_> {
    pub(super) fn warpgroup(
        &mut self,
        name: &str,
        m: &mut Modifiers<'_>,
        ops: &[Operand],
    ) -> Result<(), String> {
        let what = m.next().ok_or("it has no operation")?;
        if !m.flag("sync") || !m.flag("aligned") {
            return Err(String::from("the form without .sync.aligned is not modelled"));
        }
        match (name, what) {
            ("setmaxnreg", "inc" | "dec") => {
                m.ty()?;
                let [Operand::Integer(count)] = ops else {
                    return Err(String::from("its number of registers is no constant"));
                };
                if !(24..=256).contains(count) || count % 8 != 0 {
                    return Err(format!("{count} is no multiple of 8 from 24 to 256"));
                }
                self.effect::<SetRegisters>([0; 4], *count as u64);
            }
            ("wgmma", "fence") => self.effect::<FenceRegisters>([0; 4], 0),
            ("wgmma", "commit_group") => self.effect::<CommitMultiplications>([0; 4], 0),
            ("wgmma", "wait_group") => {
                let [Operand::Integer(left)] = ops else {
                    return Err(String::from("its number of groups is no constant"));
                };
                let left =
                    u64::try_from(*left).map_err(|_| format!("{left} is no number of groups"))?;
                self.effect::<WaitMultiplications>([0; 4], left);
            }
            ("wgmma", "mma_async") => self.multiply_async(m, ops)?,
            _ => return Err(format!(".{what} is not modelled")),
        }
        Ok(())
    }

    fn multiply_async(&mut self, m: &mut Modifiers<'_>, ops: &[Operand]) -> Result<(), String> {
        let name = m.next().unwrap_or_default();
        let shape = name.strip_prefix("m64n").and_then(|rest| rest.strip_suffix("k16"));
        let columns = shape.and_then(|columns| columns.parse::<u32>().ok());
        let columns = columns.filter(|columns| (8..=256).contains(columns) && columns % 8 == 0);
        let columns = columns.ok_or_else(|| format!("the shape {name} is not modelled"))?;
        let types = [m.next(), m.next(), m.next()];
        let element = match types {
            [Some("f32"), Some("bf16"), Some("bf16")] => MatrixElement::Bf16,
            [Some("f32"), Some("f16"), Some("f16")] => MatrixElement::F16,
            _ => {
                let names = types.map(|part| part.unwrap_or("?")).join(".");
                return Err(format!(
                    ".{names} is not modelled, only .f32.bf16.bf16 and .f32.f16.f16"
                ));
            }
        };
        let [d, a, b, rest @ ..] = ops else {
            return Err(String::from("it has too few operands"));
        };
        let in_registers = matches!(a, Operand::Vector(_));
        let expected = if in_registers { 4 } else { 5 };
        if rest.len() != expected {
            let count = ops.len();
            return Err(format!("it has {count} operands where {} are expected", expected + 3));
        }
        let constant = |operand: &Operand, allowed: [i64; 2]| match operand {
            Operand::Integer(value) if allowed.contains(value) => Ok(*value == allowed[1]),
            _ => Err(format!("{operand:?} is neither {} nor {}", allowed[0], allowed[1])),
        };
        let (a_negates, b_negates) = (constant(&rest[1], [1, -1])?, constant(&rest[2], [1, -1])?);
        let a_transposed = !in_registers && constant(&rest[3], [0, 1])?;
        let b_transposed = constant(&rest[expected - 1], [0, 1])?;
        let adds = self.predicate(&rest[0])?;
        let (a, a_descriptor) = match in_registers {
            true => (self.fragment(a, 4, Type::B32)?, 0),
            false => (Vec::new(), self.source(a, Type::B64)?),
        };
        let b_descriptor = self.source(b, Type::B64)?;
        let d = self.fragment(d, columns as usize / 2, Type::F32)?;
        self.function.multiplications.push(Multiplication {
            shape: MatrixShape { rows: 64, columns, depth: 16, element },
            d,
            a,
            a_descriptor,
            b_descriptor,
            a_transposed,
            b_transposed,
            adds,
            negates: a_negates != b_negates,
        });
        let at = self.function.multiplications.len() as u64 - 1;
        self.effect::<MultiplyAsync>([0; 4], at);
        Ok(())
    }

    /// The `mov` instructions between 32-bit registers, or from constants: slots of destination and source.
    pub(super) fn copies(&mut self) -> Vec<(u32, u32)> {
        let code: &[Instruction] = &self.source.code;
        let mut copies = Vec::new();
        for instruction in code.iter().filter(|it| it.opcode[0] == "mov") {
            let Ok([Operand::Register(to), from]) = exactly(&instruction.operands) else {
                continue;
            };
            let ty = self.register_type(*to);
            if !matches!(ty, Type::B32 | Type::U32 | Type::S32 | Type::F32) {
                continue;
            }
            let is_value = matches!(
                from,
                Operand::Register(_)
                    | Operand::Integer(_)
                    | Operand::Float32(_)
                    | Operand::Float64(_)
            );
            if let Some(from) = is_value.then(|| self.source(from, ty)).and_then(Result::ok) {
                copies.push((self.slots[*to as usize], from));
            }
        }
        copies
    }
}
