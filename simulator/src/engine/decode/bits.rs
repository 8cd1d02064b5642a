//! Logic, shifts, bit fields; comparison and selection.

use super::super::instruction::{Binary, Map1, Map2, Map3, Ternary, Unary};
use super::super::ops_bits::*;
use super::super::ops_compare::*;
use super::super::registers::Lane;
use super::modifiers::Modifiers;
use super::operand::exactly;
use super::{Decoder, bytes_of, is_signed, is_wide};
use crate::ptx::{Operand, Type};

impl Decoder<'_> {
    pub(super) fn one<O: Unary>(
        &mut self,
        ops: &[Operand],
        d: Type,
        a: Type,
    ) -> Result<(), String> {
        let [to, from] = exactly(ops)?;
        let a = self.source(from, a)?;
        let d = self.destination(to, d)?;
        self.pure::<Map1<O>>([d, a, 0, 0], 0);
        Ok(())
    }

    pub(super) fn two<O: Binary>(
        &mut self,
        ops: &[Operand],
        d: Type,
        [a, b]: [Type; 2],
    ) -> Result<(), String> {
        let [to, left, right] = exactly(ops)?;
        let (a, b) = (self.source(left, a)?, self.source(right, b)?);
        let d = self.destination(to, d)?;
        self.pure::<Map2<O>>([d, a, b, 0], 0);
        Ok(())
    }

    pub(super) fn three<O: Ternary>(
        &mut self,
        ops: &[Operand],
        d: Type,
        [a, b, c]: [Type; 3],
    ) -> Result<(), String> {
        let [to, left, right, third] = exactly(ops)?;
        let (a, b, c) = (self.source(left, a)?, self.source(right, b)?, self.source(third, c)?);
        let d = self.destination(to, d)?;
        self.pure::<Map3<O>>([d, a, b, c], 0);
        Ok(())
    }

    pub(super) fn bits(
        &mut self,
        name: &str,
        m: &mut Modifiers<'_>,
        ops: &[Operand],
    ) -> Result<(), String> {
        let mode = if name == "prmt" { m.one_of(&PERMUTE_MODES) } else { None };
        let (permute, ty) = match mode {
            Some(mode) => {
                let at = PERMUTE_MODES.iter().position(|known| *known == mode);
                (1 + at.unwrap_or(0) as u64, m.ty()?)
            }
            None => (0, m.ty()?),
        };
        let size = bytes_of(ty);
        let (t, w) = (ty, Type::U32);
        match (name, size) {
            ("and" | "or" | "xor" | "not", 0) => self.predicate_logic(name, ops),
            ("and", 2 | 4) => self.two::<And32>(ops, t, [t, t]),
            ("and", 8) => self.two::<And64>(ops, t, [t, t]),
            ("or", 2 | 4) => self.two::<Or32>(ops, t, [t, t]),
            ("or", 8) => self.two::<Or64>(ops, t, [t, t]),
            ("xor", 2 | 4) => self.two::<Xor32>(ops, t, [t, t]),
            ("xor", 8) => self.two::<Xor64>(ops, t, [t, t]),
            ("not", 2 | 4) => self.one::<Not32>(ops, t, t),
            ("not", 8) => self.one::<Not64>(ops, t, t),
            ("cnot", 2) => self.one::<IsZero16>(ops, t, t),
            ("cnot", 4) => self.one::<IsZero32>(ops, t, t),
            ("cnot", 8) => self.one::<IsZero64>(ops, t, t),
            ("shl", 2) => self.two::<ShiftLeft16>(ops, t, [t, w]),
            ("shl", 4) => self.two::<ShiftLeft32>(ops, t, [t, w]),
            ("shl", 8) => self.two::<ShiftLeft64>(ops, t, [t, w]),
            ("shr", 2) if is_signed(ty) => self.two::<ShiftRightS16>(ops, t, [t, w]),
            ("shr", 4) if is_signed(ty) => self.two::<ShiftRightS32>(ops, t, [t, w]),
            ("shr", 8) if is_signed(ty) => self.two::<ShiftRightS64>(ops, t, [t, w]),
            ("shr", 2) => self.two::<ShiftRightU16>(ops, t, [t, w]),
            ("shr", 4) => self.two::<ShiftRightU32>(ops, t, [t, w]),
            ("shr", 8) => self.two::<ShiftRightU64>(ops, t, [t, w]),
            ("shf", 4) => match (m.one_of(&["l", "r"]), m.one_of(&["wrap", "clamp"])) {
                (Some("l"), Some("wrap")) => self.three::<FunnelLeftWrap>(ops, t, [t, t, w]),
                (Some("l"), _) => self.three::<FunnelLeftClamp>(ops, t, [t, t, w]),
                (_, Some("wrap")) => self.three::<FunnelRightWrap>(ops, t, [t, t, w]),
                _ => self.three::<FunnelRightClamp>(ops, t, [t, t, w]),
            },
            ("popc", 4) => self.one::<Ones32>(ops, w, t),
            ("popc", 8) => self.one::<Ones64>(ops, w, t),
            ("clz", 4) => self.one::<LeadingZeros32>(ops, w, t),
            ("clz", 8) => self.one::<LeadingZeros64>(ops, w, t),
            ("bfind", 4 | 8) => match (m.flag("shiftamt"), is_signed(ty), size) {
                (false, false, 4) => self.one::<HighestU32>(ops, w, t),
                (false, false, _) => self.one::<HighestU64>(ops, w, t),
                (false, true, 4) => self.one::<HighestS32>(ops, w, t),
                (false, true, _) => self.one::<HighestS64>(ops, w, t),
                (true, false, 4) => self.one::<ShiftForU32>(ops, w, t),
                (true, false, _) => self.one::<ShiftForU64>(ops, w, t),
                (true, true, 4) => self.one::<ShiftForS32>(ops, w, t),
                (true, true, _) => self.one::<ShiftForS64>(ops, w, t),
            },
            ("brev", 4) => self.one::<Reverse32>(ops, t, t),
            ("brev", 8) => self.one::<Reverse64>(ops, t, t),
            ("bfe", 4) if is_signed(ty) => self.three::<ExtractS32>(ops, t, [t, w, w]),
            ("bfe", 8) if is_signed(ty) => self.three::<ExtractS64>(ops, t, [t, w, w]),
            ("bfe", 4) => self.three::<ExtractU32>(ops, t, [t, w, w]),
            ("bfe", 8) => self.three::<ExtractU64>(ops, t, [t, w, w]),
            ("bmsk", 4) => match m.one_of(&["clamp", "wrap"]) {
                Some("wrap") => self.two::<MaskWrap>(ops, t, [w, w]),
                _ => self.two::<MaskClamp>(ops, t, [w, w]),
            },
            ("bfi", 4 | 8) => {
                let [to, a, b, position, length] = exactly(ops)?;
                let (a, b) = (self.source(a, ty)?, self.source(b, ty)?);
                let (c, length) = (self.source(position, w)?, self.source(length, w)?);
                let d = self.destination(to, ty)?;
                if size == 4 {
                    self.pure::<Insert<u32>>([d, a, b, c], length.into());
                } else {
                    self.pure::<Insert<u64>>([d, a, b, c], length.into());
                }
                Ok(())
            }
            ("szext", 4) => {
                let clamp = m.one_of(&["clamp", "wrap"]) == Some("clamp");
                match (clamp, is_signed(ty)) {
                    (false, true) => self.two::<ExtendSignedWrap>(ops, t, [t, w]),
                    (true, true) => self.two::<ExtendSignedClamp>(ops, t, [t, w]),
                    (false, false) => self.two::<ExtendUnsignedWrap>(ops, t, [t, w]),
                    (true, false) => self.two::<ExtendUnsignedClamp>(ops, t, [t, w]),
                }
            }
            ("prmt", 4) => {
                let [to, a, b, c] = exactly(ops)?;
                let (a, b, c) = (self.source(a, ty)?, self.source(b, ty)?, self.source(c, ty)?);
                let d = self.destination(to, ty)?;
                self.pure::<Permute>([d, a, b, c], permute);
                Ok(())
            }
            ("lop3", 4) => {
                let [to, a, b, c, table] = exactly(ops)?;
                let Operand::Integer(table) = table else {
                    return Err(String::from("the table is no constant"));
                };
                let (a, b, c) = (self.source(a, ty)?, self.source(b, ty)?, self.source(c, ty)?);
                let d = self.destination(to, ty)?;
                self.pure::<Logic3>([d, a, b, c], *table as u64 & 255);
                Ok(())
            }
            _ => Err(String::from("this type is not modelled here")),
        }
    }

    fn predicate_logic(&mut self, name: &str, ops: &[Operand]) -> Result<(), String> {
        if name == "not" {
            let [to, from] = exactly(ops)?;
            let (a, negated) = self.predicate(from)?;
            let d = self.predicate_destination(to)?;
            let flip = if negated { 0 } else { u32::MAX };
            self.predicate_result::<super::super::ops_convert::CopyPredicate>([d, a, flip, 0], 0);
            return Ok(());
        }
        let [to, left, right] = exactly(ops)?;
        let ((a, not_a), (b, not_b)) = (self.predicate(left)?, self.predicate(right)?);
        let d = self.predicate_destination(to)?;
        let how = match name {
            "and" => 0,
            "or" => 1,
            _ => 2,
        };
        let how = how | u32::from(not_a) << 8 | u32::from(not_b) << 9;
        self.predicate_result::<PredicateLogic>([d, a, b, how], 0);
        Ok(())
    }

    pub(super) fn compare(
        &mut self,
        name: &str,
        m: &mut Modifiers<'_>,
        ops: &[Operand],
    ) -> Result<(), String> {
        let ty = m.ty()?;
        match name {
            "selp" => {
                let [to, a, b, truth] = exactly(ops)?;
                let (a, b) = (self.source(a, ty)?, self.source(b, ty)?);
                let (c, negated) = self.predicate(truth)?;
                let d = self.destination(to, ty)?;
                let flip = if negated { u64::from(u32::MAX) } else { 0 };
                if is_wide(ty) {
                    self.pure::<Select<u64>>([d, a, b, c], flip);
                } else {
                    self.pure::<Select<u32>>([d, a, b, c], flip);
                }
                Ok(())
            }
            "slct" => {
                m.flag("ftz");
                let into = m.ty()?;
                let [to, a, b, sign] = exactly(ops)?;
                let (a, b) = (self.source(a, into)?, self.source(b, into)?);
                let sign = self.source(sign, ty)?;
                let zero = self.constant(0, false);
                let truth = self.predicate_destination(&Operand::Sink)?;
                self.relation("ge", ty, [truth, sign, zero, 0], 0)?;
                let d = self.destination(to, into)?;
                if is_wide(into) {
                    self.pure::<Select<u64>>([d, a, b, truth], 0);
                } else {
                    self.pure::<Select<u32>>([d, a, b, truth], 0);
                }
                Ok(())
            }
            _ => self.set(name, m, ops, ty),
        }
    }

    /// `setp` and `set`.
    fn set(
        &mut self,
        name: &str,
        m: &mut Modifiers<'_>,
        ops: &[Operand],
        ty: Type,
    ) -> Result<(), String> {
        let into = if name == "set" { Some(m.ty()?) } else { None };
        let operator = m.next().ok_or("it has no comparison")?;
        let how = match m.one_of(&["and", "or", "xor"]) {
            None | Some("and") => 0,
            Some("or") => 1,
            Some(_) => 2,
        };
        let flush = m.flag("ftz");
        let (to, second) = self.pair(ops.first().ok_or("it has no operands")?);
        let [_, left, right, combined @ ..] = ops else {
            return Err(String::from("it has too few operands"));
        };
        let mut a = self.source(left, ty)?;
        let mut b = self.source(right, ty)?;
        if flush && ty == Type::F32 {
            (a, b) = (self.flushed(a), self.flushed(b));
        }
        let mut c = how << COMBINE_SHIFT;
        match combined {
            [] => {}
            [other] => {
                let (other, negated) = self.predicate(other)?;
                c |= other | if negated { COMBINE_NEGATED } else { 0 };
            }
            _ => return Err(String::from("it has too many operands")),
        }
        match into {
            None => {
                let d = self.predicate_destination(to)?;
                let second = second.map_or(Ok(0), |p| self.predicate_destination(p))?;
                self.relation(operator, ty, [d, a, b, c], second.into())
            }
            Some(into) => {
                let truth = self.predicate_destination(&Operand::Sink)?;
                self.relation(operator, ty, [truth, a, b, c], 0)?;
                let d = self.destination(to, into)?;
                let yes = if into == Type::F32 { 1f32.to_bits() } else { u32::MAX };
                self.pure::<FromPredicate>([d, truth, 0, 0], yes.into());
                Ok(())
            }
        }
    }

    fn relation(
        &mut self,
        operator: &str,
        ty: Type,
        slots: [u32; 4],
        second: u64,
    ) -> Result<(), String> {
        match ty {
            Type::U16 | Type::B16 => self.ordered::<u16>(operator, slots, second),
            Type::S16 => self.ordered::<i16>(operator, slots, second),
            Type::U32 | Type::B32 => self.ordered::<u32>(operator, slots, second),
            Type::S32 => self.ordered::<i32>(operator, slots, second),
            Type::U64 | Type::B64 => self.ordered::<u64>(operator, slots, second),
            Type::S64 => self.ordered::<i64>(operator, slots, second),
            Type::F32 => self.floating::<f32>(operator, slots, second),
            Type::F64 => self.floating::<f64>(operator, slots, second),
            Type::F16 | Type::Bf16 => {
                let [d, a, b, c] = slots;
                let (a, b) = (self.half_to_f32(a, ty), self.half_to_f32(b, ty));
                self.floating::<f32>(operator, [d, a, b, c], second)
            }
            _ => Err(String::from("this type is not modelled here")),
        }
    }

    fn ordered<T: Lane + PartialOrd + 'static>(
        &mut self,
        operator: &str,
        s: [u32; 4],
        p: u64,
    ) -> Result<(), String> {
        match operator {
            "eq" => self.predicate_result::<SetPredicate<Compare<Equal, T>>>(s, p),
            "ne" => self.predicate_result::<SetPredicate<Compare<NotEqualOrNan, T>>>(s, p),
            "lt" | "lo" => self.predicate_result::<SetPredicate<Compare<Less, T>>>(s, p),
            "le" | "ls" => self.predicate_result::<SetPredicate<Compare<LessEqual, T>>>(s, p),
            "gt" | "hi" => self.predicate_result::<SetPredicate<Compare<Greater, T>>>(s, p),
            "ge" | "hs" => self.predicate_result::<SetPredicate<Compare<GreaterEqual, T>>>(s, p),
            _ => return Err(format!(".{operator} is no comparison of integers")),
        }
        Ok(())
    }

    fn floating<T: Lane + PartialOrd + 'static>(
        &mut self,
        operator: &str,
        s: [u32; 4],
        p: u64,
    ) -> Result<(), String> {
        match operator {
            "eq" => self.predicate_result::<SetPredicate<Compare<Equal, T>>>(s, p),
            "ne" => self.predicate_result::<SetPredicate<Compare<NotEqual, T>>>(s, p),
            "lt" => self.predicate_result::<SetPredicate<Compare<Less, T>>>(s, p),
            "le" => self.predicate_result::<SetPredicate<Compare<LessEqual, T>>>(s, p),
            "gt" => self.predicate_result::<SetPredicate<Compare<Greater, T>>>(s, p),
            "ge" => self.predicate_result::<SetPredicate<Compare<GreaterEqual, T>>>(s, p),
            "equ" => self.predicate_result::<SetPredicate<Compare<EqualOrNan, T>>>(s, p),
            "neu" => self.predicate_result::<SetPredicate<Compare<NotEqualOrNan, T>>>(s, p),
            "ltu" => self.predicate_result::<SetPredicate<Compare<LessOrNan, T>>>(s, p),
            "leu" => self.predicate_result::<SetPredicate<Compare<LessEqualOrNan, T>>>(s, p),
            "gtu" => self.predicate_result::<SetPredicate<Compare<GreaterOrNan, T>>>(s, p),
            "geu" => self.predicate_result::<SetPredicate<Compare<GreaterEqualOrNan, T>>>(s, p),
            "num" => self.predicate_result::<SetPredicate<Compare<Numbers, T>>>(s, p),
            "nan" => self.predicate_result::<SetPredicate<Compare<SomeNan, T>>>(s, p),
            _ => return Err(format!(".{operator} is no comparison")),
        }
        Ok(())
    }
}
