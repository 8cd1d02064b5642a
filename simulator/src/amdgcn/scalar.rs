//! Scalar instructions (CDNA3 ISA, 12.1 to 12.4).
//!
//! Which bits of a register are defined is kept bit by bit through logic, since masks of lanes are
//! made so; of other results all bits are or none.

use super::execute::{Execution, Flow};
use super::instruction::{EXEC, Format, Instruction};
use super::opcodes::Opcode;
use crate::report::Kind;

/// A result: the value, its undefined bits, and what SCC becomes.
struct Outcome {
    value: u64,
    undefined: u64,
    scc: Option<bool>,
}

/// A source: its value and its undefined bits.
type Source = (u64, u64);

pub(super) fn execute(x: &mut Execution<'_>, i: &Instruction) -> Flow {
    match i.format {
        Format::Sopk => immediate(x, i),
        Format::Sopc => compare(x, i),
        Format::Sop1 if matches!(i.code, 0x20..=0x27 | 0x33..=0x36) => save_exec(x, i),
        _ => arithmetic(x, i),
    }
}

fn source(x: &Execution<'_>, i: &Instruction, at: usize) -> Source {
    if i.src_dwords[at] == 2 {
        return x.wave.scalar64(i, i.src[at]);
    }
    let (value, undefined) = x.wave.scalar(i, i.src[at]);
    (value.into(), undefined.into())
}

fn all_if(any: bool) -> u64 {
    if any { u64::MAX } else { 0 }
}

fn bit_sign(value: u64, width: u32) -> u64 {
    if width == 0 {
        return 0;
    }
    let shift = 64 - width.min(64);
    ((value << shift) as i64 >> shift) as u64
}

/// Writes the result and SCC. A scalar that decides which lanes go on must be defined.
fn finish(x: &mut Execution<'_>, i: &Instruction, outcome: Outcome) -> Flow {
    let Outcome { value, undefined, scc } = outcome;
    let wide = i.dst_dwords == 2;
    if i.dst_dwords > 0 {
        if (EXEC..EXEC + 2).contains(&i.dst) && undefined & x.wave.exec() != 0 {
            x.note(Kind::Uninitialized, None, "EXEC gets bits that were never written".into());
        }
        if wide {
            x.wave.set_scalar64(i.dst, value, undefined);
        } else {
            x.wave.set_scalar(i.dst, value as u32, undefined as u32);
        }
    }
    if let Some(scc) = scc {
        let mask = if wide { u64::MAX } else { u32::MAX.into() };
        x.wave.scc = scc;
        x.wave.scc_defined = undefined & mask == 0;
    }
    Flow::Next
}

/// `a op b` by bits.
#[derive(Clone, Copy)]
enum Logic {
    And,
    Or,
    Xor,
    Andn2,
    Orn2,
    Nand,
    Nor,
    Xnor,
    Andn1,
    Orn1,
}

/// The logic of an instruction, if it is that.
fn logic_of(opcode: Opcode) -> Option<Logic> {
    use Opcode::*;
    Some(match opcode {
        s_and_b32 | s_and_b64 | s_and_saveexec_b64 => Logic::And,
        s_or_b32 | s_or_b64 | s_or_saveexec_b64 => Logic::Or,
        s_xor_b32 | s_xor_b64 | s_xor_saveexec_b64 => Logic::Xor,
        s_andn2_b32 | s_andn2_b64 | s_andn2_saveexec_b64 | s_andn2_wrexec_b64 => Logic::Andn2,
        s_orn2_b32 | s_orn2_b64 | s_orn2_saveexec_b64 => Logic::Orn2,
        s_nand_b32 | s_nand_b64 | s_nand_saveexec_b64 => Logic::Nand,
        s_nor_b32 | s_nor_b64 | s_nor_saveexec_b64 => Logic::Nor,
        s_xnor_b32 | s_xnor_b64 | s_xnor_saveexec_b64 => Logic::Xnor,
        s_andn1_saveexec_b64 | s_andn1_wrexec_b64 => Logic::Andn1,
        s_orn1_saveexec_b64 => Logic::Orn1,
        _ => return None,
    })
}

/// A bit is undefined where neither source decides it.
fn logic(operation: Logic, a: Source, b: Source) -> Source {
    let not = |(value, undefined): Source| (!value, undefined);
    let and = |(a, ua): Source, (b, ub): Source| {
        let decided = !a & !ua | !b & !ub;
        (a & b, (ua | ub) & !decided)
    };
    let or = |a: Source, b: Source| not(and(not(a), not(b)));
    match operation {
        Logic::And => and(a, b),
        Logic::Or => or(a, b),
        Logic::Xor => (a.0 ^ b.0, a.1 | b.1),
        Logic::Andn2 => and(a, not(b)),
        Logic::Orn2 => or(a, not(b)),
        Logic::Nand => not(and(a, b)),
        Logic::Nor => not(or(a, b)),
        Logic::Xnor => (!(a.0 ^ b.0), a.1 | b.1),
        Logic::Andn1 => and(not(a), b),
        Logic::Orn1 => or(not(a), b),
    }
}

fn save_exec(x: &mut Execution<'_>, i: &Instruction) -> Flow {
    let source = source(x, i, 0);
    let exec = (x.wave.exec(), 0);
    let Some(operation) = logic_of(i.opcode) else { return x.unsupported(i) };
    let (value, undefined) = logic(operation, source, exec);
    if undefined & exec.0 != 0 {
        x.note(Kind::Uninitialized, None, "EXEC gets bits that were never written".into());
    }
    x.wave.set_scalar64(EXEC, value, 0);
    let writes_exec = matches!(i.opcode, Opcode::s_andn1_wrexec_b64 | Opcode::s_andn2_wrexec_b64);
    x.wave.set_scalar64(i.dst, if writes_exec { value } else { exec.0 }, 0);
    (x.wave.scc, x.wave.scc_defined) = (value != 0, true);
    Flow::Next
}

fn arithmetic(x: &mut Execution<'_>, i: &Instruction) -> Flow {
    use Opcode::*;
    let a = source(x, i, 0);
    let b = if i.sources > 1 { source(x, i, 1) } else { (0, 0) };
    let wide = i.dst_dwords == 2;
    let carry = u64::from(x.wave.scc);
    let scc_undefined = all_if(!x.wave.scc_defined);
    if let Some(operation) = logic_of(i.opcode) {
        let (value, undefined) = logic(operation, a, b);
        let mask = if wide { u64::MAX } else { u32::MAX.into() };
        let scc = Some(value & mask != 0);
        return finish(x, i, Outcome { value, undefined, scc });
    }
    let (va, vb) = (a.0, b.0);
    let (la, lb) = (va as u32, vb as u32);
    let (ia, ib) = (la as i32, lb as i32);
    let undefined = all_if(a.1 | b.1 != 0);
    let outcome = |value: u64, scc: Option<bool>| Outcome { value, undefined, scc };
    let nonzero = |value: u64| Some(if wide { value != 0 } else { value as u32 != 0 });
    let count = |bits: u32| u64::from(bits);
    let found = |at: Option<u32>| u64::from(at.unwrap_or(u32::MAX));
    let outcome = match i.opcode {
        s_add_u32 => outcome(va + vb, Some((va + vb) >> 32 != 0)),
        s_sub_u32 => outcome(va.wrapping_sub(vb), Some(vb > va)),
        s_add_i32 => outcome(va + vb, Some(ia.checked_add(ib).is_none())),
        s_sub_i32 => outcome(va.wrapping_sub(vb), Some(ia.checked_sub(ib).is_none())),
        s_addc_u32 => {
            let sum = va + vb + carry;
            Outcome { value: sum, undefined: undefined | scc_undefined, scc: Some(sum >> 32 != 0) }
        }
        s_subb_u32 => Outcome {
            value: va.wrapping_sub(vb).wrapping_sub(carry),
            undefined: undefined | scc_undefined,
            scc: Some(vb + carry > va),
        },
        s_min_i32 => outcome(ia.min(ib) as u64, Some(ia < ib)),
        s_min_u32 => outcome(va.min(vb), Some(va < vb)),
        s_max_i32 => outcome(ia.max(ib) as u64, Some(ia > ib)),
        s_max_u32 => outcome(va.max(vb), Some(va > vb)),
        s_cselect_b32 | s_cselect_b64 => {
            let (value, undefined) = if x.wave.scc { a } else { b };
            Outcome { value, undefined: undefined | scc_undefined, scc: None }
        }
        s_lshl_b32 => outcome((la << (lb & 31)).into(), nonzero((la << (lb & 31)).into())),
        s_lshl_b64 => outcome(va << (lb & 63), nonzero(va << (lb & 63))),
        s_lshr_b32 => outcome((la >> (lb & 31)).into(), nonzero((la >> (lb & 31)).into())),
        s_lshr_b64 => outcome(va >> (lb & 63), nonzero(va >> (lb & 63))),
        s_ashr_i32 => outcome((ia >> (lb & 31)) as u64, nonzero((ia >> (lb & 31)) as u64)),
        s_ashr_i64 => {
            let value = (va as i64 >> (lb & 63)) as u64;
            outcome(value, nonzero(value))
        }
        s_bfm_b32 => outcome(u64::from(((1u32 << (la & 31)) - 1) << (lb & 31)), None),
        s_bfm_b64 => outcome(((1u64 << (la & 63)) - 1) << (lb & 63), None),
        s_mul_i32 => outcome(la.wrapping_mul(lb).into(), None),
        s_mul_hi_u32 => outcome((va * vb) >> 32, None),
        s_mul_hi_i32 => outcome(((i64::from(ia) * i64::from(ib)) >> 32) as u64, None),
        s_bfe_u32 | s_bfe_i32 | s_bfe_u64 | s_bfe_i64 => {
            let (offset, width) = (lb & if wide { 63 } else { 31 }, (lb >> 16) & 0x7F);
            let bits = if wide { 64 } else { 32 };
            let width = width.min(bits - offset);
            let shifted = va >> offset;
            let field = if width == 64 { shifted } else { shifted & ((1 << width) - 1) };
            let signed = matches!(i.opcode, s_bfe_i32 | s_bfe_i64);
            let value = if signed { bit_sign(field, width) } else { field };
            outcome(value, nonzero(value))
        }
        s_absdiff_i32 => {
            let value = ia.wrapping_sub(ib).unsigned_abs().into();
            outcome(value, nonzero(value))
        }
        s_lshl1_add_u32 | s_lshl2_add_u32 | s_lshl3_add_u32 | s_lshl4_add_u32 => {
            let shift = i.code - 0x2E + 1;
            let sum = (va << shift) + vb;
            outcome(sum, Some(sum >> 32 != 0))
        }
        s_pack_ll_b32_b16 => outcome(va & 0xFFFF | (vb & 0xFFFF) << 16, None),
        s_pack_lh_b32_b16 => outcome(va & 0xFFFF | vb & 0xFFFF_0000, None),
        s_pack_hh_b32_b16 => outcome((va >> 16) & 0xFFFF | vb & 0xFFFF_0000, None),
        s_mov_b32 | s_mov_b64 => Outcome { value: va, undefined: a.1, scc: None },
        s_cmov_b32 | s_cmov_b64 => {
            if !x.wave.scc {
                return Flow::Next;
            }
            Outcome { value: va, undefined: a.1 | scc_undefined, scc: None }
        }
        s_not_b32 | s_not_b64 => Outcome { value: !va, undefined: a.1, scc: nonzero(!va) },
        s_brev_b32 => outcome(la.reverse_bits().into(), None),
        s_brev_b64 => outcome(va.reverse_bits(), None),
        s_bcnt0_i32_b32 => outcome(count(la.count_zeros()), nonzero(count(la.count_zeros()))),
        s_bcnt0_i32_b64 => outcome(count(va.count_zeros()), nonzero(count(va.count_zeros()))),
        s_bcnt1_i32_b32 => outcome(count(la.count_ones()), nonzero(count(la.count_ones()))),
        s_bcnt1_i32_b64 => outcome(count(va.count_ones()), nonzero(count(va.count_ones()))),
        s_ff0_i32_b32 => outcome(found((la != u32::MAX).then(|| la.trailing_ones())), None),
        s_ff0_i32_b64 => outcome(found((va != u64::MAX).then(|| va.trailing_ones())), None),
        s_ff1_i32_b32 => outcome(found((la != 0).then(|| la.trailing_zeros())), None),
        s_ff1_i32_b64 => outcome(found((va != 0).then(|| va.trailing_zeros())), None),
        s_flbit_i32_b32 => outcome(found((la != 0).then(|| la.leading_zeros())), None),
        s_flbit_i32_b64 => outcome(found((va != 0).then(|| va.leading_zeros())), None),
        s_flbit_i32 => {
            let varied = la ^ (ia >> 31) as u32;
            outcome(found((varied != 0).then(|| varied.leading_zeros())), None)
        }
        s_flbit_i32_i64 => {
            let varied = va ^ (va as i64 >> 63) as u64;
            outcome(found((varied != 0).then(|| varied.leading_zeros())), None)
        }
        s_sext_i32_i8 => outcome(la as i8 as u64, None),
        s_sext_i32_i16 => outcome(la as i16 as u64, None),
        s_bitset0_b32 | s_bitset1_b32 | s_bitset0_b64 | s_bitset1_b64 => {
            let (old, old_undefined) = if wide {
                x.wave.scalar64(i, i.dst)
            } else {
                let (value, undefined) = x.wave.scalar(i, i.dst);
                (value.into(), undefined.into())
            };
            let bit = 1u64 << (la & if wide { 63 } else { 31 });
            let sets = matches!(i.opcode, s_bitset1_b32 | s_bitset1_b64);
            let value = if sets { old | bit } else { old & !bit };
            Outcome { value, undefined: undefined | old_undefined & !bit, scc: None }
        }
        s_abs_i32 => outcome(ia.unsigned_abs().into(), nonzero(ia.unsigned_abs().into())),
        s_bitreplicate_b64_b32 => {
            let twice = (0..32).map(|at| (u64::from(la >> at & 1) * 3) << (2 * at));
            outcome(twice.sum(), None)
        }
        _ => return x.unsupported(i),
    };
    finish(x, i, outcome)
}

fn immediate(x: &mut Execution<'_>, i: &Instruction) -> Flow {
    use Opcode::*;
    let (old, undefined) = x.wave.scalar(i, i.dst);
    let (signed, unsigned) = (old as i32, u32::from(i.offset as u16));
    let test = |scc: bool| Outcome { value: 0, undefined: undefined.into(), scc: Some(scc) };
    let outcome = match i.opcode {
        s_movk_i32 => Outcome { value: i.offset as u64, undefined: 0, scc: None },
        s_cmovk_i32 if !x.wave.scc => return Flow::Next,
        s_cmovk_i32 => {
            Outcome { value: i.offset as u64, undefined: all_if(!x.wave.scc_defined), scc: None }
        }
        s_addk_i32 => Outcome {
            value: signed.wrapping_add(i.offset) as u64,
            undefined: all_if(undefined != 0),
            scc: Some(signed.checked_add(i.offset).is_none()),
        },
        s_mulk_i32 => Outcome {
            value: signed.wrapping_mul(i.offset) as u64,
            undefined: all_if(undefined != 0),
            scc: None,
        },
        s_cmpk_eq_i32 => test(signed == i.offset),
        s_cmpk_lg_i32 => test(signed != i.offset),
        s_cmpk_gt_i32 => test(signed > i.offset),
        s_cmpk_ge_i32 => test(signed >= i.offset),
        s_cmpk_lt_i32 => test(signed < i.offset),
        s_cmpk_le_i32 => test(signed <= i.offset),
        s_cmpk_eq_u32 => test(old == unsigned),
        s_cmpk_lg_u32 => test(old != unsigned),
        s_cmpk_gt_u32 => test(old > unsigned),
        s_cmpk_ge_u32 => test(old >= unsigned),
        s_cmpk_lt_u32 => test(old < unsigned),
        s_cmpk_le_u32 => test(old <= unsigned),
        _ => return x.unsupported(i),
    };
    if matches!(i.code, 2..=13) {
        (x.wave.scc, x.wave.scc_defined) = (outcome.scc == Some(true), undefined == 0);
        return Flow::Next;
    }
    finish(x, i, outcome)
}

fn compare(x: &mut Execution<'_>, i: &Instruction) -> Flow {
    use Opcode::*;
    let ((a, ua), (b, ub)) = (source(x, i, 0), source(x, i, 1));
    let (ia, ib) = (a as u32 as i32, b as u32 as i32);
    let scc = match i.opcode {
        s_cmp_eq_i32 | s_cmp_eq_u32 | s_cmp_eq_u64 => a == b,
        s_cmp_lg_i32 | s_cmp_lg_u32 | s_cmp_lg_u64 => a != b,
        s_cmp_gt_i32 => ia > ib,
        s_cmp_ge_i32 => ia >= ib,
        s_cmp_lt_i32 => ia < ib,
        s_cmp_le_i32 => ia <= ib,
        s_cmp_gt_u32 => a > b,
        s_cmp_ge_u32 => a >= b,
        s_cmp_lt_u32 => a < b,
        s_cmp_le_u32 => a <= b,
        s_bitcmp0_b32 => a >> (b & 31) & 1 == 0,
        s_bitcmp1_b32 => a >> (b & 31) & 1 == 1,
        s_bitcmp0_b64 => a >> (b & 63) & 1 == 0,
        s_bitcmp1_b64 => a >> (b & 63) & 1 == 1,
        _ => return x.unsupported(i),
    };
    (x.wave.scc, x.wave.scc_defined) = (scc, ua | ub == 0);
    Flow::Next
}
