//! Registers and constants.

use super::super::instruction::{ACCUMULATION, Instruction, LITERAL, Operand, VECTOR};

/// The constants from 240 on, as 32-bit numbers.
const FRACTIONS: [&str; 9] =
    ["0.5", "-0.5", "1.0", "-1.0", "2.0", "-2.0", "4.0", "-4.0", "0.15915494"];

/// The same in 16 bits.
const HALVES: [u16; 9] = [0x3800, 0xB800, 0x3C00, 0xBC00, 0x4000, 0xC000, 0x4400, 0xC400, 0x3118];

/// The type that a constant is printed in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Word,
    /// 16 bits: a float, an integer.
    Half,
    Short,
    /// A float of the upper 16 bits.
    Brain,
    /// A literal that is part of the instruction.
    Constant,
    /// 64 bits.
    Double,
}

/// A source of an instruction, by its index.
pub(super) fn source(i: &Instruction, index: usize, kind: Kind) -> String {
    operand(i, i.src[index], i.src_dwords[index], kind)
}

/// A register or constant.
pub(super) fn operand(i: &Instruction, operand: Operand, dwords: u8, kind: Kind) -> String {
    match operand {
        LITERAL => literal(i.literal, kind),
        128..=192 => (operand - 128).to_string(),
        193..=208 => format!("-{}", operand - 192),
        240..=248 => match (operand, kind) {
            (_, Kind::Short) => format!("{:#x}", HALVES[usize::from(operand - 240)]),
            (248, Kind::Double) => "0.15915494309189532".into(),
            _ => FRACTIONS[usize::from(operand - 240)].into(),
        },
        _ => register(operand, dwords),
    }
}

/// A literal that has the bits of a constant is marked as a literal.
fn literal(value: u32, kind: Kind) -> String {
    let integer = |value: i32| (-16..=64).contains(&value);
    let low = value as u16;
    match kind {
        Kind::Constant => format!("{value:#x}"),
        Kind::Brain if integer(i32::from(low as i16)) || is_fraction(u32::from(low) << 16) => {
            format!("lit({value:#x})")
        }
        Kind::Half if integer(i32::from(low as i16)) || HALVES.contains(&low) => {
            format!("lit({value:#x})")
        }
        Kind::Double if value <= 64 => format!("lit({value:#x})"),
        Kind::Word | Kind::Short if integer(value as i32) || is_fraction(value) => {
            format!("lit({value:#x})")
        }
        Kind::Word | Kind::Double | Kind::Brain => format!("{value:#x}"),
        Kind::Half | Kind::Short => format!("{low:#x}"),
    }
}

fn is_fraction(value: u32) -> bool {
    let power = [0.5, 1.0, 2.0, 4.0].contains(&f32::from_bits(value).abs());
    power || matches!(value, 0x3E22_F983 | 0x3E22_0000)
}

/// A register or the first of several.
pub(super) fn register(operand: Operand, dwords: u8) -> String {
    let special = |low: &str, index: Operand| match (dwords, index) {
        (2.., _) => low.to_string(),
        (_, 0) => format!("{low}_lo"),
        _ => format!("{low}_hi"),
    };
    match operand {
        0..=101 => range("s", operand, dwords),
        102..=103 => special("flat_scratch", operand - 102),
        104..=105 => special("xnack_mask", operand - 104),
        106..=107 => special("vcc", operand - 106),
        108..=123 => range("ttmp", operand - 108, dwords),
        124 => "m0".into(),
        126..=127 => special("exec", operand - 126),
        235 => "src_shared_base".into(),
        236 => "src_shared_limit".into(),
        237 => "src_private_base".into(),
        238 => "src_private_limit".into(),
        239 => "src_pops_exiting_wave_id".into(),
        251 => "src_vccz".into(),
        252 => "src_execz".into(),
        253 => "src_scc".into(),
        VECTOR..ACCUMULATION => range("v", operand - VECTOR, dwords),
        ACCUMULATION..768 => range("a", operand - ACCUMULATION, dwords),
        _ => format!("<operand {operand}>"),
    }
}

fn range(class: &str, first: Operand, dwords: u8) -> String {
    match dwords {
        0..=1 => format!("{class}{first}"),
        _ => format!("{class}[{first}:{}]", first + Operand::from(dwords) - 1),
    }
}
