//! Arithmetic: integers and floating point.

use super::super::instruction::Map1;
use super::super::ops_approximate::*;
use super::super::ops_directed::{Direction, Down, TowardZero, Up};
use super::super::ops_float::*;
use super::super::ops_half::*;
use super::super::ops_integer::*;
use super::modifiers::Modifiers;
use super::operand::exactly;
use super::{Decoder, bytes_of, is_signed, is_wide};
use crate::ptx::{Operand, Type};

fn wider(ty: Type) -> Type {
    match ty {
        Type::U16 => Type::U32,
        Type::S16 => Type::S32,
        Type::U32 => Type::U64,
        _ => Type::S64,
    }
}

const NOT_HERE: &str = "this form is not modelled";

impl Decoder<'_> {
    pub(super) fn arithmetic(
        &mut self,
        name: &str,
        m: &mut Modifiers<'_>,
        ops: &[Operand],
    ) -> Result<(), String> {
        let ty = m.ty()?;
        match ty {
            Type::F32 => self.single(name, m, ops),
            Type::F64 => self.double(name, m, ops),
            Type::F16 | Type::Bf16 | Type::F16x2 | Type::Bf16x2 => self.half(name, m, ops, ty),
            _ => self.integer(name, m, ops, ty),
        }
    }

    fn integer(
        &mut self,
        name: &str,
        m: &mut Modifiers<'_>,
        ops: &[Operand],
        t: Type,
    ) -> Result<(), String> {
        let (size, signed) = (bytes_of(t), is_signed(t));
        let part = m.one_of(&["lo", "hi", "wide"]).unwrap_or("lo");
        match (name, part, size, signed) {
            ("add" | "sub" | "addc" | "subc", ..) => return self.sum(name, m, ops, t),
            ("mad" | "madc", "lo" | "hi", ..) => return self.multiply_add(name, part, m, ops, t),
            ("mul", "lo", 2, _) => self.two::<Mul16>(ops, t, [t, t]),
            ("mul", "lo", 4, _) => self.two::<Mul32>(ops, t, [t, t]),
            ("mul", "lo", 8, _) => self.two::<Mul64>(ops, t, [t, t]),
            ("mul", "hi", 2, false) => self.two::<MulHighU16>(ops, t, [t, t]),
            ("mul", "hi", 2, true) => self.two::<MulHighS16>(ops, t, [t, t]),
            ("mul", "hi", 4, false) => self.two::<MulHighU32>(ops, t, [t, t]),
            ("mul", "hi", 4, true) => self.two::<MulHighS32>(ops, t, [t, t]),
            ("mul", "hi", 8, false) => self.two::<MulHighU64>(ops, t, [t, t]),
            ("mul", "hi", 8, true) => self.two::<MulHighS64>(ops, t, [t, t]),
            ("mul", "wide", 2, false) => self.two::<MulWideU16>(ops, wider(t), [t, t]),
            ("mul", "wide", 2, true) => self.two::<MulWideS16>(ops, wider(t), [t, t]),
            ("mul", "wide", 4, false) => self.two::<MulWideU32>(ops, wider(t), [t, t]),
            ("mul", "wide", 4, true) => self.two::<MulWideS32>(ops, wider(t), [t, t]),
            ("mad", "wide", 2, false) => {
                self.three::<MulAddWideU16>(ops, wider(t), [t, t, wider(t)])
            }
            ("mad", "wide", 2, true) => {
                self.three::<MulAddWideS16>(ops, wider(t), [t, t, wider(t)])
            }
            ("mad", "wide", 4, false) => {
                self.three::<MulAddWideU32>(ops, wider(t), [t, t, wider(t)])
            }
            ("mad", "wide", 4, true) => {
                self.three::<MulAddWideS32>(ops, wider(t), [t, t, wider(t)])
            }
            ("mul24", "lo", 4, false) => self.two::<Mul24LowU>(ops, t, [t, t]),
            ("mul24", "lo", 4, true) => self.two::<Mul24LowS>(ops, t, [t, t]),
            ("mul24", "hi", 4, false) => self.two::<Mul24HighU>(ops, t, [t, t]),
            ("mul24", "hi", 4, true) => self.two::<Mul24HighS>(ops, t, [t, t]),
            ("div", _, 2, false) => self.two::<DivU16>(ops, t, [t, t]),
            ("div", _, 2, true) => self.two::<DivS16>(ops, t, [t, t]),
            ("div", _, 4, false) => self.two::<DivU32>(ops, t, [t, t]),
            ("div", _, 4, true) => self.two::<DivS32>(ops, t, [t, t]),
            ("div", _, 8, false) => self.two::<DivU64>(ops, t, [t, t]),
            ("div", _, 8, true) => self.two::<DivS64>(ops, t, [t, t]),
            ("rem", _, 2, false) => self.two::<RemU16>(ops, t, [t, t]),
            ("rem", _, 2, true) => self.two::<RemS16>(ops, t, [t, t]),
            ("rem", _, 4, false) => self.two::<RemU32>(ops, t, [t, t]),
            ("rem", _, 4, true) => self.two::<RemS32>(ops, t, [t, t]),
            ("rem", _, 8, false) => self.two::<RemU64>(ops, t, [t, t]),
            ("rem", _, 8, true) => self.two::<RemS64>(ops, t, [t, t]),
            ("min", _, 2, false) => self.two::<MinU16>(ops, t, [t, t]),
            ("min", _, 2, true) => self.two::<MinS16>(ops, t, [t, t]),
            ("min", _, 4, false) => self.two::<MinU32>(ops, t, [t, t]),
            ("min", _, 4, true) => self.two::<MinS32>(ops, t, [t, t]),
            ("min", _, 8, false) => self.two::<MinU64>(ops, t, [t, t]),
            ("min", _, 8, true) => self.two::<MinS64>(ops, t, [t, t]),
            ("max", _, 2, false) => self.two::<MaxU16>(ops, t, [t, t]),
            ("max", _, 2, true) => self.two::<MaxS16>(ops, t, [t, t]),
            ("max", _, 4, false) => self.two::<MaxU32>(ops, t, [t, t]),
            ("max", _, 4, true) => self.two::<MaxS32>(ops, t, [t, t]),
            ("max", _, 8, false) => self.two::<MaxU64>(ops, t, [t, t]),
            ("max", _, 8, true) => self.two::<MaxS64>(ops, t, [t, t]),
            ("abs", _, 2, true) => self.one::<Abs16>(ops, t, t),
            ("abs", _, 4, true) => self.one::<Abs32>(ops, t, t),
            ("abs", _, 8, true) => self.one::<Abs64>(ops, t, t),
            ("neg", _, 2, true) => self.one::<Neg16>(ops, t, t),
            ("neg", _, 4, true) => self.one::<Neg32>(ops, t, t),
            ("neg", _, 8, true) => self.one::<Neg64>(ops, t, t),
            ("sad", _, 2, false) => self.three::<SadU16>(ops, t, [t, t, t]),
            ("sad", _, 2, true) => self.three::<SadS16>(ops, t, [t, t, t]),
            ("sad", _, 4, false) => self.three::<SadU32>(ops, t, [t, t, t]),
            ("sad", _, 4, true) => self.three::<SadS32>(ops, t, [t, t, t]),
            ("sad", _, 8, false) => self.three::<SadU64>(ops, t, [t, t, t]),
            ("sad", _, 8, true) => self.three::<SadS64>(ops, t, [t, t, t]),
            ("dp4a" | "dp2a", ..) => return self.dot(name, part, m, ops, t),
            _ => Err(String::from(NOT_HERE)),
        }?;
        if (name, part) == ("max", "lo") && m.flag("relu") {
            return Err(String::from(".relu is not modelled for integers"));
        }
        Ok(())
    }

    fn sum(
        &mut self,
        name: &str,
        m: &mut Modifiers<'_>,
        ops: &[Operand],
        t: Type,
    ) -> Result<(), String> {
        let reads = name.ends_with('c');
        let writes = m.flag("cc");
        let subtracts = name.starts_with("sub");
        if reads || writes {
            let [to, a, b] = exactly(ops)?;
            let (a, b) = (self.source(a, t)?, self.source(b, t)?);
            let d = self.destination(to, t)?;
            self.carry(t, [d, a, b, 0], reads, writes, subtracts);
            return Ok(());
        }
        let saturates = m.flag("sat");
        match (subtracts, bytes_of(t)) {
            (false, 4) if saturates => self.two::<AddSaturated>(ops, t, [t, t]),
            (true, 4) if saturates => self.two::<SubSaturated>(ops, t, [t, t]),
            (false, 2) => self.two::<Add16>(ops, t, [t, t]),
            (false, 4) => self.two::<Add32>(ops, t, [t, t]),
            (false, 8) => self.two::<Add64>(ops, t, [t, t]),
            (true, 2) => self.two::<Sub16>(ops, t, [t, t]),
            (true, 4) => self.two::<Sub32>(ops, t, [t, t]),
            (true, 8) => self.two::<Sub64>(ops, t, [t, t]),
            _ => Err(String::from(NOT_HERE)),
        }
    }

    fn carry(&mut self, t: Type, slots: [u32; 4], reads: bool, writes: bool, subtracts: bool) {
        let flag = self.carry_flag();
        let mut extra = u64::from(flag);
        extra |= if reads { CARRY_IN } else { 0 };
        extra |= if writes { CARRY_OUT } else { 0 };
        extra |= if subtracts { CARRY_SUBTRACTS } else { 0 };
        if is_wide(t) {
            self.pure::<Carry<u64>>(slots, extra);
        } else {
            self.pure::<Carry<u32>>(slots, extra);
        }
    }

    fn multiply_add(
        &mut self,
        name: &str,
        part: &str,
        m: &mut Modifiers<'_>,
        ops: &[Operand],
        t: Type,
    ) -> Result<(), String> {
        let reads = name == "madc";
        let writes = m.flag("cc");
        if m.flag("sat") {
            return Err(String::from(".sat is not modelled here"));
        }
        let [to, left, right, third] = exactly(ops)?;
        if !reads && !writes && part == "lo" {
            return match bytes_of(t) {
                2 => self.three::<MulAdd16>(ops, t, [t, t, t]),
                4 => self.three::<MulAdd32>(ops, t, [t, t, t]),
                8 => self.three::<MulAdd64>(ops, t, [t, t, t]),
                _ => Err(String::from(NOT_HERE)),
            };
        }
        let (a, b, c) = (self.source(left, t)?, self.source(right, t)?, self.source(third, t)?);
        let product = self.scratch(is_wide(t));
        let slots = [product, a, b, 0];
        use super::super::instruction::Map2;
        match (part, bytes_of(t), is_signed(t)) {
            ("lo", 4, _) => self.pure::<Map2<Mul32>>(slots, 0),
            ("lo", 8, _) => self.pure::<Map2<Mul64>>(slots, 0),
            ("hi", 4, false) => self.pure::<Map2<MulHighU32>>(slots, 0),
            ("hi", 4, true) => self.pure::<Map2<MulHighS32>>(slots, 0),
            ("hi", 8, false) => self.pure::<Map2<MulHighU64>>(slots, 0),
            ("hi", 8, true) => self.pure::<Map2<MulHighS64>>(slots, 0),
            _ => return Err(String::from(NOT_HERE)),
        }
        let d = self.destination(to, t)?;
        self.carry(t, [d, product, c, 0], reads, writes, false);
        Ok(())
    }

    fn dot(
        &mut self,
        name: &str,
        part: &str,
        m: &mut Modifiers<'_>,
        ops: &[Operand],
        second: Type,
    ) -> Result<(), String> {
        let first = m.ty()?;
        let (a, b) = (is_signed(first), is_signed(second));
        let (t, c) = (Type::B32, if a || b { Type::S32 } else { Type::U32 });
        match (name, a, b) {
            ("dp4a", false, false) => self.three::<Dot4UU>(ops, c, [t, t, c]),
            ("dp4a", false, true) => self.three::<Dot4US>(ops, c, [t, t, c]),
            ("dp4a", true, false) => self.three::<Dot4SU>(ops, c, [t, t, c]),
            ("dp4a", true, true) => self.three::<Dot4SS>(ops, c, [t, t, c]),
            _ => {
                let [to, left, right, third] = exactly(ops)?;
                let (x, y) = (self.source(left, t)?, self.source(right, t)?);
                let z = self.source(third, c)?;
                let d = self.destination(to, c)?;
                let how = u64::from(a) | u64::from(b) << 1 | u64::from(part == "hi") << 2;
                self.pure::<Dot2>([d, x, y, z], how);
                Ok(())
            }
        }
    }

    /// Saturates and flushes around an operation of f32: `.sat`, `.ftz`.
    pub(super) fn flushed(&mut self, slot: u32) -> u32 {
        let flushed = self.scratch(false);
        self.pure::<Map1<FlushF32>>([flushed, slot, 0, 0], 0);
        flushed
    }

    fn single(&mut self, name: &str, m: &mut Modifiers<'_>, ops: &[Operand]) -> Result<(), String> {
        use super::super::instruction::{Map2, Map3};
        let flush = m.flag("ftz");
        let saturate = m.flag("sat");
        let form = m.one_of(&["approx", "full"]);
        let approximate = form.is_some();
        let rounding = m.one_of(&["rn", "rz", "rm", "rp"]);
        let nan = m.flag("NaN");
        let t = Type::F32;
        let [to, sources @ ..] = ops else { return Err(String::from("it has no operands")) };
        let mut s = Vec::new();
        for source in sources {
            let slot = self.source(source, t)?;
            s.push(if flush && !approximate { self.flushed(slot) } else { slot });
        }
        let d = self.destination(to, t)?;
        let raw = if flush || saturate { self.scratch(false) } else { d };
        let extra = u64::from(flush);
        match (name, &s[..], approximate) {
            _ if matches!(rounding, Some("rz" | "rm" | "rp")) => match rounding {
                Some("rz") => self.directed::<TowardZero>(name, raw, &s)?,
                Some("rm") => self.directed::<Down>(name, raw, &s)?,
                _ => self.directed::<Up>(name, raw, &s)?,
            },
            ("add", &[a, b], _) => self.pure::<Map2<AddF32>>([raw, a, b, 0], 0),
            ("sub", &[a, b], _) => self.pure::<Map2<SubF32>>([raw, a, b, 0], 0),
            ("mul", &[a, b], _) => self.pure::<Map2<MulF32>>([raw, a, b, 0], 0),
            ("fma" | "mad", &[a, b, c], _) => self.pure::<Map3<FmaF32>>([raw, a, b, c], 0),
            ("div", &[a, b], false) => self.pure::<Map2<DivF32>>([raw, a, b, 0], 0),
            ("div", &[a, b], true) if form == Some("approx") => {
                self.pure::<Approximation<FastQuotient>>([raw, a, b, 0], extra);
            }
            ("div", &[a, b], true) => self.pure::<Approximation<Quotient>>([raw, a, b, 0], extra),
            ("rcp", &[a], false) => self.pure::<Map1<RcpF32>>([raw, a, 0, 0], 0),
            ("rcp", &[a], true) => self.pure::<Approximation<Reciprocal>>([raw, a, a, 0], extra),
            ("sqrt", &[a], false) => self.pure::<Map1<SqrtF32>>([raw, a, 0, 0], 0),
            ("sqrt", &[a], true) => self.pure::<Approximation<SquareRoot>>([raw, a, a, 0], extra),
            ("rsqrt", &[a], true) => {
                self.pure::<Approximation<ReciprocalRoot>>([raw, a, a, 0], extra)
            }
            ("sin", &[a], true) => self.pure::<Approximation<Sine>>([raw, a, a, 0], extra),
            ("cos", &[a], true) => self.pure::<Approximation<Cosine>>([raw, a, a, 0], extra),
            ("lg2", &[a], true) => self.pure::<Approximation<Logarithm>>([raw, a, a, 0], extra),
            ("ex2", &[a], true) => self.pure::<Approximation<Exponential>>([raw, a, a, 0], extra),
            ("tanh", &[a], true) => self.pure::<Approximation<Tangent>>([raw, a, a, 0], extra),
            ("min", &[a, b], _) if nan => self.pure::<Map2<MinNanF32>>([raw, a, b, 0], 0),
            ("max", &[a, b], _) if nan => self.pure::<Map2<MaxNanF32>>([raw, a, b, 0], 0),
            ("min", &[a, b], _) => self.pure::<Map2<MinF32>>([raw, a, b, 0], 0),
            ("max", &[a, b], _) => self.pure::<Map2<MaxF32>>([raw, a, b, 0], 0),
            ("abs", &[a], _) => self.pure::<Map1<AbsF32>>([raw, a, 0, 0], 0),
            ("neg", &[a], _) => self.pure::<Map1<NegF32>>([raw, a, 0, 0], 0),
            ("copysign", &[a, b], _) => self.pure::<Map2<CopySignF32>>([raw, a, b, 0], 0),
            _ => return Err(String::from(NOT_HERE)),
        }
        if flush {
            let into = if saturate { raw } else { d };
            self.pure::<Map1<FlushF32>>([into, raw, 0, 0], 0);
        }
        if saturate {
            self.pure::<Map1<SaturateF32>>([d, raw, 0, 0], 0);
        }
        Ok(())
    }

    /// An operation of f32 that does not round to nearest.
    fn directed<R: Direction>(&mut self, name: &str, to: u32, s: &[u32]) -> Result<(), String> {
        use super::super::instruction::{Map2, Map3};
        use super::super::ops_directed::*;
        match (name, s) {
            ("add", &[a, b]) => self.pure::<Map2<Add<R>>>([to, a, b, 0], 0),
            ("sub", &[a, b]) => self.pure::<Map2<Sub<R>>>([to, a, b, 0], 0),
            ("mul", &[a, b]) => self.pure::<Map2<Mul<R>>>([to, a, b, 0], 0),
            ("fma" | "mad", &[a, b, c]) => self.pure::<Map3<Fma<R>>>([to, a, b, c], 0),
            ("div", &[a, b]) => self.pure::<Map2<Div<R>>>([to, a, b, 0], 0),
            ("rcp", &[a]) => self.pure::<Map1<Rcp<R>>>([to, a, 0, 0], 0),
            ("sqrt", &[a]) => self.pure::<Map1<Sqrt<R>>>([to, a, 0, 0], 0),
            _ => return Err(String::from(NOT_HERE)),
        }
        Ok(())
    }

    fn double(&mut self, name: &str, m: &mut Modifiers<'_>, ops: &[Operand]) -> Result<(), String> {
        m.flag("rn");
        let t = Type::F64;
        if m.flag("approx") {
            let gross = m.flag("ftz");
            if name == "rsqrt" && !gross {
                return self.one::<RsqrtF64>(ops, t, t);
            }
            let [to, from] = ops else { return Err(String::from(NOT_HERE)) };
            let a = self.source(from, t)?;
            let d = self.destination(to, t)?;
            match name {
                "rcp" => self.pure::<Gross<Reciprocal>>([d, a, 0, 0], 0),
                "rsqrt" => self.pure::<Gross<ReciprocalRoot>>([d, a, 0, 0], 0),
                _ => return Err(String::from(NOT_HERE)),
            }
            return Ok(());
        }
        match name {
            "add" => self.two::<AddF64>(ops, t, [t, t]),
            "sub" => self.two::<SubF64>(ops, t, [t, t]),
            "mul" => self.two::<MulF64>(ops, t, [t, t]),
            "div" => self.two::<DivF64>(ops, t, [t, t]),
            "fma" | "mad" => self.three::<FmaF64>(ops, t, [t, t, t]),
            "sqrt" => self.one::<SqrtF64>(ops, t, t),
            "rcp" => self.one::<RcpF64>(ops, t, t),
            "min" => self.two::<MinF64>(ops, t, [t, t]),
            "max" => self.two::<MaxF64>(ops, t, [t, t]),
            "abs" => self.one::<AbsF64>(ops, t, t),
            "neg" => self.one::<NegF64>(ops, t, t),
            "copysign" => self.two::<CopySignF64>(ops, t, [t, t]),
            _ => Err(String::from(NOT_HERE)),
        }
    }

    fn half(
        &mut self,
        name: &str,
        m: &mut Modifiers<'_>,
        ops: &[Operand],
        t: Type,
    ) -> Result<(), String> {
        m.flag("rn");
        let nan = m.flag("NaN");
        if name == "fma" && m.flag("relu") {
            let to = ops.first().ok_or("it has no operands")?;
            self.half(name, m, ops, t)?;
            let again = [to.clone(), to.clone()];
            return match t {
                Type::F16 => self.one::<ReluF16>(&again, t, t),
                Type::F16x2 => self.one::<ReluF16x2>(&again, t, t),
                Type::Bf16 => self.one::<ReluBf16>(&again, t, t),
                _ => self.one::<ReluBf16x2>(&again, t, t),
            };
        }
        let (u, v) = ([t, t], [t, t, t]);
        match (name, t, nan) {
            ("add", Type::F16, _) => self.two::<AddF16>(ops, t, u),
            ("add", Type::F16x2, _) => self.two::<AddF16x2>(ops, t, u),
            ("add", Type::Bf16, _) => self.two::<AddBf16>(ops, t, u),
            ("add", Type::Bf16x2, _) => self.two::<AddBf16x2>(ops, t, u),
            ("sub", Type::F16, _) => self.two::<SubF16>(ops, t, u),
            ("sub", Type::F16x2, _) => self.two::<SubF16x2>(ops, t, u),
            ("sub", Type::Bf16, _) => self.two::<SubBf16>(ops, t, u),
            ("sub", Type::Bf16x2, _) => self.two::<SubBf16x2>(ops, t, u),
            ("mul", Type::F16, _) => self.two::<MulF16>(ops, t, u),
            ("mul", Type::F16x2, _) => self.two::<MulF16x2>(ops, t, u),
            ("mul", Type::Bf16, _) => self.two::<MulBf16>(ops, t, u),
            ("mul", Type::Bf16x2, _) => self.two::<MulBf16x2>(ops, t, u),
            ("fma", Type::F16, _) => self.three::<FmaF16>(ops, t, v),
            ("fma", Type::F16x2, _) => self.three::<FmaF16x2>(ops, t, v),
            ("fma", Type::Bf16, _) => self.three::<FmaBf16>(ops, t, v),
            ("fma", Type::Bf16x2, _) => self.three::<FmaBf16x2>(ops, t, v),
            ("min", Type::F16, false) => self.two::<MinF16>(ops, t, u),
            ("min", Type::F16x2, false) => self.two::<MinF16x2>(ops, t, u),
            ("min", Type::Bf16, false) => self.two::<MinBf16>(ops, t, u),
            ("min", Type::Bf16x2, false) => self.two::<MinBf16x2>(ops, t, u),
            ("max", Type::F16, false) => self.two::<MaxF16>(ops, t, u),
            ("max", Type::F16x2, false) => self.two::<MaxF16x2>(ops, t, u),
            ("max", Type::Bf16, false) => self.two::<MaxBf16>(ops, t, u),
            ("max", Type::Bf16x2, false) => self.two::<MaxBf16x2>(ops, t, u),
            ("min", Type::F16, true) => self.two::<MinNanF16>(ops, t, u),
            ("min", Type::F16x2, true) => self.two::<MinNanF16x2>(ops, t, u),
            ("min", Type::Bf16, true) => self.two::<MinNanBf16>(ops, t, u),
            ("min", Type::Bf16x2, true) => self.two::<MinNanBf16x2>(ops, t, u),
            ("max", Type::F16, true) => self.two::<MaxNanF16>(ops, t, u),
            ("max", Type::F16x2, true) => self.two::<MaxNanF16x2>(ops, t, u),
            ("max", Type::Bf16, true) => self.two::<MaxNanBf16>(ops, t, u),
            ("max", Type::Bf16x2, true) => self.two::<MaxNanBf16x2>(ops, t, u),
            ("abs", Type::F16 | Type::Bf16, _) => self.one::<AbsHalf>(ops, t, t),
            ("abs", ..) => self.one::<AbsHalves>(ops, t, t),
            ("neg", Type::F16 | Type::Bf16, _) => self.one::<NegHalf>(ops, t, t),
            ("neg", ..) => self.one::<NegHalves>(ops, t, t),
            _ => Err(String::from(NOT_HERE)),
        }
    }
}
