//! Vector instructions.

use super::super::instruction::{Dpp, Float, Form, Format, Instruction, LITERAL, NONE, Sdwa, Type};
use super::super::opcodes::Opcode;
use super::line;
use super::operand::{Kind, register, source};

/// The conditions of comparisons of floats, and of integers.
const FLOATS: [&str; 16] = [
    "f", "lt", "eq", "le", "gt", "lg", "ge", "o", "u", "nge", "nlg", "ngt", "nle", "neq", "nlt",
    "tru",
];
const INTEGERS: [&str; 8] = ["f", "lt", "eq", "le", "gt", "ne", "ge", "t"];

/// The name with the suffix of its encoding, which those with one encoding lack.
fn name(i: &Instruction) -> String {
    let base = match i.comparison() {
        Some(comparison) => {
            let (ty, conditions): (_, &[&str]) = match comparison.ty {
                Type::ClassF32 => ("f32", &["class"]),
                Type::ClassF16 => ("f16", &["class"]),
                Type::F16 => ("f16", &FLOATS),
                Type::F32 => ("f32", &FLOATS),
                Type::I16 => ("i16", &INTEGERS),
                Type::U16 => ("u16", &INTEGERS),
                Type::I32 => ("i32", &INTEGERS),
                Type::U32 => ("u32", &INTEGERS),
                Type::I64 => ("i64", &INTEGERS),
                Type::U64 => ("u64", &INTEGERS),
            };
            let exec = if comparison.exec { "x" } else { "" };
            format!("v_cmp{exec}_{}_{ty}", conditions[usize::from(comparison.condition)])
        }
        None => format!("{:?}", i.opcode),
    };
    let single = matches!(
        i.opcode,
        Opcode::v_readfirstlane_b32 | Opcode::v_swap_b32 | Opcode::v_accvgpr_mov_b32
    ) || has_constant(i);
    let suffix = match i.form {
        Form::Sdwa(_) => "_sdwa",
        Form::Dpp(_) => "_dpp",
        Form::Plain if single => "",
        Form::Plain if i.format != Format::Vop3 => "_e32",
        Form::Plain if i.code < 0x1C0 => "_e64",
        Form::Plain => "",
    };
    base + suffix
}

pub(super) fn text(i: &Instruction) -> String {
    let mut operands = Vec::new();
    if i.dst != NONE {
        operands.push(register(i.dst, i.dst_dwords));
    }
    if i.sdst != NONE {
        operands.push(register(i.sdst, 2));
    }
    for index in 0..i.sources as usize {
        operands.push(modified(i, index));
    }
    let mut modifiers = String::new();
    if i.format == Format::Vop3 && i.op_sel != 0 && selects(i.opcode) {
        let count = i.sources as usize;
        let bit = |at: usize| (i.op_sel >> at & 1).to_string();
        let mut bits: Vec<String> = (0..count).map(bit).collect();
        bits.push(bit(3));
        modifiers += &format!(" op_sel:[{}]", bits.join(","));
    }
    if i.opcode == Opcode::v_bitop3_b32 {
        modifiers += &match i.offset {
            0 => String::new(),
            table @ 1..10 => format!(" bitop3:{table}"),
            table => format!(" bitop3:{table:#x}"),
        };
    }
    if i.clamp {
        modifiers += " clamp";
    }
    modifiers += ["", " mul:2", " mul:4", " div:2"][usize::from(i.omod)];
    match i.form {
        Form::Plain => {}
        Form::Sdwa(sdwa) => modifiers += &sub_dword(i, &sdwa),
        Form::Dpp(dpp) => modifiers += &data_parallel(&dpp),
    }
    line(&name(i), &operands, &modifiers)
}

/// A source with its signs.
fn modified(i: &Instruction, index: usize) -> String {
    let float = is_float(i, index);
    let kind = match i.src_dwords[index] {
        2 => Kind::Double,
        _ if has_constant(i) && i.src[index] == LITERAL && index > 0 => Kind::Constant,
        _ if i.opcode == Opcode::v_cvt_f32_bf16 => Kind::Brain,
        _ if is_short(i) && !float => Kind::Short,
        _ if i.float == Float::F16 => Kind::Half,
        _ => Kind::Word,
    };
    let text = source(i, index, kind);
    match i.form {
        Form::Sdwa(sdwa) if !float && sdwa.sext.get(index) == Some(&true) => {
            return format!("sext({text})");
        }
        _ if !float => return text,
        _ => {}
    }
    let constant = matches!(i.src[index], 128..=208 | 240..=248);
    match (i.neg >> index & 1 == 1, i.abs >> index & 1 == 1) {
        (false, false) => text,
        (false, true) => format!("|{text}|"),
        (true, true) => format!("-|{text}|"),
        (true, false) if constant => format!("neg({text})"),
        (true, false) => format!("-{text}"),
    }
}

/// Whether a source has a sign that can be changed.
fn is_float(i: &Instruction, index: usize) -> bool {
    let class = matches!(
        i.comparison().map(|comparison| comparison.ty),
        Some(Type::ClassF32 | Type::ClassF16)
    );
    let integer = class || i.opcode == Opcode::v_ldexp_f32;
    i.float != Float::No && !(integer && index == 1)
}

/// Whether a literal is one of its factors or terms.
fn has_constant(i: &Instruction) -> bool {
    matches!(
        i.opcode,
        Opcode::v_madmk_f32 | Opcode::v_madak_f32 | Opcode::v_fmamk_f32 | Opcode::v_fmaak_f32
    )
}

/// Whether the sources are integers of 16 bits.
fn is_short(i: &Instruction) -> bool {
    let name = format!("{:?}", i.opcode);
    let compared = i.comparison().map(|comparison| comparison.ty);
    matches!(compared, Some(Type::I16 | Type::U16))
        || ["_u16", "_i16", "_b16"].iter().any(|end| name.ends_with(end))
}

/// Whether the long form chooses halves of its sources and result.
fn selects(opcode: Opcode) -> bool {
    matches!(
        opcode,
        Opcode::v_alignbit_b32
            | Opcode::v_alignbyte_b32
            | Opcode::v_fma_f16
            | Opcode::v_pack_b32_f16
    )
}

fn sub_dword(i: &Instruction, sdwa: &Sdwa) -> String {
    let select = |value: u8| {
        ["BYTE_0", "BYTE_1", "BYTE_2", "BYTE_3", "WORD_0", "WORD_1", "DWORD", "7"]
            [usize::from(value)]
    };
    let mut text = String::new();
    if i.format != Format::Vopc {
        let unused = ["PAD", "SEXT", "PRESERVE", "3"][usize::from(sdwa.unused)];
        text += &format!(" dst_sel:{} dst_unused:UNUSED_{unused}", select(sdwa.dst));
    }
    text += &format!(" src0_sel:{}", select(sdwa.src[0]));
    if i.format != Format::Vop1 {
        text += &format!(" src1_sel:{}", select(sdwa.src[1]));
    }
    text
}

fn data_parallel(dpp: &Dpp) -> String {
    let lane = dpp.control & 15;
    let control = match dpp.control {
        0..=0xFF => {
            let lane = |at: u16| (dpp.control >> (2 * at) & 3).to_string();
            format!("quad_perm:[{}]", [0, 1, 2, 3].map(lane).join(","))
        }
        0x101..=0x10F => format!("row_shl:{lane}"),
        0x111..=0x11F => format!("row_shr:{lane}"),
        0x121..=0x12F => format!("row_ror:{lane}"),
        0x130 => "wave_shl:1".into(),
        0x134 => "wave_rol:1".into(),
        0x138 => "wave_shr:1".into(),
        0x13C => "wave_ror:1".into(),
        0x140 => "row_mirror".into(),
        0x141 => "row_half_mirror".into(),
        0x142 => "row_bcast:15".into(),
        0x143 => "row_bcast:31".into(),
        0x150..=0x15F => format!("row_newbcast:{lane}"),
        other => format!("<control {other:#x}>"),
    };
    let bound = if dpp.bound { " bound_ctrl:1" } else { "" };
    format!(" {control} row_mask:{:#x} bank_mask:{:#x}{bound}", dpp.rows, dpp.banks)
}

/// Packed instructions, and those of accumulation registers.
pub(super) fn packed(i: &Instruction) -> String {
    let name = format!("{:?}", i.opcode);
    let count = i.sources as usize;
    let mix = i.opcode == Opcode::v_fma_mix_f32;
    let mut operands = vec![register(i.dst, i.dst_dwords)];
    for index in 0..count {
        operands.push(if mix { modified(i, index) } else { source(i, index, Kind::Word) });
    }
    if matches!(i.opcode, Opcode::v_accvgpr_read_b32 | Opcode::v_accvgpr_write_b32) {
        return line(&name, &operands, "");
    }
    let list = |name: &str, bits: u8, default: u8| {
        let all = u8::MAX >> (8 - count);
        if bits & all == default & all {
            return String::new();
        }
        let bits: Vec<String> = (0..count).map(|at| (bits >> at & 1).to_string()).collect();
        format!(" {name}:[{}]", bits.join(","))
    };
    let mut modifiers = list("op_sel", i.op_sel, 0);
    modifiers += &list("op_sel_hi", i.op_sel_hi, if mix { 0 } else { 7 });
    if !mix {
        modifiers += &list("neg_lo", i.neg, 0);
        modifiers += &list("neg_hi", i.abs, 0);
    }
    if i.clamp {
        modifiers += " clamp";
    }
    line(&name, &operands, &modifiers)
}

/// Matrix instructions.
pub(super) fn matrix(i: &Instruction) -> String {
    let mut operands = vec![register(i.dst, i.dst_dwords)];
    operands.extend((0..usize::from(i.sources)).map(|index| source(i, index, Kind::Word)));
    let fields = [("cbsz", i.abs), ("abid", i.op_sel), ("blgp", i.neg)];
    let used = fields.iter().filter(|(_, value)| *value != 0);
    let modifiers: String = used.map(|(name, value)| format!(" {name}:{value}")).collect();
    line(&format!("{:?}", i.opcode), &operands, &modifiers)
}
