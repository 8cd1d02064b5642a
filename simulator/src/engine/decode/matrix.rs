//! Matrix instructions of a warp.

use super::super::function::Element;
use super::super::ops_matrix::*;
use super::super::{MatrixElement, MatrixShape};
use super::modifiers::Modifiers;
use super::operand::exactly;
use super::{Decoder, Window};
use crate::memory::Order;
use crate::ptx::{Operand, Type};

impl Decoder<'_> {
    pub(super) fn matrix(
        &mut self,
        name: &str,
        m: &mut Modifiers<'_>,
        ops: &[Operand],
    ) -> Result<(), String> {
        if !m.flag("sync") || !m.flag("aligned") {
            return Err(String::from("the form without .sync.aligned is not modelled"));
        }
        match name {
            "mma" => self.multiply(m, ops),
            "movmatrix" => {
                m.ty()?;
                if !m.flag("m8n8") || !m.flag("trans") {
                    return Err(String::from("it has not the shape .m8n8 and .trans"));
                }
                let [to, from] = exactly(ops)?;
                let (d, a) = (self.destination(to, Type::B32)?, self.source(from, Type::B32)?);
                self.effect::<TransposeMatrix>([d, a, 0, 0], 0);
                Ok(())
            }
            _ => self.move_matrices(name == "ldmatrix", m, ops),
        }
    }

    fn move_matrices(
        &mut self,
        load: bool,
        m: &mut Modifiers<'_>,
        ops: &[Operand],
    ) -> Result<(), String> {
        if m.ty()? != Type::B16 || !m.flag("m8n8") {
            return Err(String::from("only .m8n8 of .b16 is modelled"));
        }
        let count = match m.one_of(&["x1", "x2", "x4"]) {
            Some("x1") => 1,
            Some("x2") => 2,
            Some(_) => 4,
            None => return Err(String::from("it has no number of matrices")),
        };
        let transposed = m.flag("trans");
        let window = match m.one_of(&["shared", "shared::cta"]) {
            Some(_) => Window::Shared,
            None => Window::Generic,
        };
        let [first, second] = exactly(ops)?;
        let (value, address) = if load { (first, second) } else { (second, first) };
        let mut access = self.address(address, window, Order::Weak, 16)?;
        let values = self.elements(value);
        if values.len() != count {
            return Err(format!("it has {} registers where {count} are expected", values.len()));
        }
        for value in values {
            let slot = match load {
                true => self.destination(value, Type::B32)?,
                false => self.source(value, Type::B32)?,
            };
            access.elements.push(Element { slot: Some(slot), wide: false });
        }
        let at = self.push_access(access);
        match (load, transposed) {
            (true, false) => self.effect::<LoadMatrices<false>>([0; 4], at),
            (true, true) => self.effect::<LoadMatrices<true>>([0; 4], at),
            (false, false) => self.effect::<StoreMatrices<false>>([0; 4], at),
            (false, true) => self.effect::<StoreMatrices<true>>([0; 4], at),
        }
        Ok(())
    }

    fn multiply(&mut self, m: &mut Modifiers<'_>, ops: &[Operand]) -> Result<(), String> {
        let depth = match m.one_of(&["m16n8k8", "m16n8k16"]) {
            Some("m16n8k8") => 8,
            Some(_) => 16,
            None => return Err(String::from("only the shapes m16n8k8 and m16n8k16 are modelled")),
        };
        if !m.flag("row") || !m.flag("col") {
            return Err(String::from("it is not .row.col"));
        }
        let types = [m.next(), m.next(), m.next(), m.next()];
        let element = match types {
            [Some("f32"), Some("bf16"), Some("bf16"), Some("f32")] => MatrixElement::Bf16,
            [Some("f32"), Some("f16"), Some("f16"), Some("f32")] => MatrixElement::F16,
            _ => {
                let names = types.map(|part| part.unwrap_or("?")).join(".");
                return Err(format!(
                    ".{names} is not modelled, only .f32.bf16.bf16.f32 and .f32.f16.f16.f32"
                ));
            }
        };
        let shape = MatrixShape { rows: 16, columns: 8, depth, element };
        let depth = depth as usize;
        let [d, a, b, c] = exactly(ops)?;
        let a = self.fragment(a, depth / 4, Type::B32)?;
        let b = self.fragment(b, depth / 8, Type::B32)?;
        let c = self.fragment(c, 4, Type::F32)?;
        let to = self.elements(d);
        if to.len() != 4 {
            return Err(format!("it has {} results where 4 are expected", to.len()));
        }
        let d: Result<Vec<u32>, String> =
            to.into_iter().map(|to| self.destination(to, Type::F32)).collect();
        self.function.fragments.push(Fragments { shape, d: d?, a, b, c });
        let at = self.function.fragments.len() as u64 - 1;
        self.effect::<Multiply>([0; 4], at);
        Ok(())
    }

    /// The slots of the registers in `{...}`.
    pub(super) fn fragment(
        &mut self,
        operand: &Operand,
        count: usize,
        ty: Type,
    ) -> Result<Vec<u32>, String> {
        let elements = self.elements(operand);
        if elements.len() != count {
            return Err(format!("it has {} registers where {count} are expected", elements.len()));
        }
        elements.into_iter().map(|element| self.source(element, ty)).collect()
    }
}
