//! Random encodings of an instruction.

use super::super::opcodes::{self, Opcode, Row};

/// A way to encode the rows of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Encoding {
    Sop2,
    Sopk,
    Sop1,
    Sopc,
    Sopp,
    Smem,
    Vop1,
    Vop1Sdwa,
    Vop1Dpp,
    Vop1Long,
    Vop2,
    Vop2Sdwa,
    Vop2Dpp,
    Vop2Long,
    Vop3,
    Vop3p,
    Ds,
    Flat,
    Global,
    Buffer,
    Vopc,
    VopcSdwa,
    VopcLong,
}

/// Every way, with its table; comparisons have none.
pub(super) static ALL: &[(Encoding, &[Row])] = &[
    (Encoding::Sop2, opcodes::SOP2),
    (Encoding::Sopk, opcodes::SOPK),
    (Encoding::Sop1, opcodes::SOP1),
    (Encoding::Sopc, opcodes::SOPC),
    (Encoding::Sopp, opcodes::SOPP),
    (Encoding::Smem, opcodes::SMEM),
    (Encoding::Vop1, opcodes::VOP1),
    (Encoding::Vop1Sdwa, opcodes::VOP1),
    (Encoding::Vop1Dpp, opcodes::VOP1),
    (Encoding::Vop1Long, opcodes::VOP1),
    (Encoding::Vop2, opcodes::VOP2),
    (Encoding::Vop2Sdwa, opcodes::VOP2),
    (Encoding::Vop2Dpp, opcodes::VOP2),
    (Encoding::Vop2Long, opcodes::VOP2),
    (Encoding::Vop3, opcodes::VOP3),
    (Encoding::Vop3p, opcodes::VOP3P),
    (Encoding::Ds, opcodes::DS),
    (Encoding::Flat, opcodes::GLOBAL),
    (Encoding::Global, opcodes::GLOBAL),
    (Encoding::Buffer, opcodes::BUFFER),
    (Encoding::Vopc, &[]),
    (Encoding::VopcSdwa, &[]),
    (Encoding::VopcLong, &[]),
];

/// Fills words that an instruction does not need: LLVM reads on, and crashes on some.
const S_NOP: u32 = 0xBF80_0000;

/// Numbers from a seed (SplitMix64).
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn next(&mut self) -> u32 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ mixed >> 31) as u32
    }

    fn below(&mut self, end: u32) -> u32 {
        self.next() % end
    }

    /// As many random bits, or none in every second case.
    fn field(&mut self, bits: u32) -> u32 {
        if self.below(2) == 0 { 0 } else { self.next() & ((1 << bits) - 1) }
    }

    fn pick(&mut self, from: &[u32]) -> u32 {
        from[self.below(from.len() as u32) as usize]
    }

    /// The first of that many scalar registers.
    fn scalar(&mut self, dwords: u32) -> u32 {
        let aligned = dwords.min(4);
        match self.below(4) {
            0 if dwords <= 2 => {
                self.pick(&[102, 104, 106, 126]) + if dwords == 1 { self.below(2) } else { 0 }
            }
            0 if dwords == 1 => 124,
            1 => 108 + self.below((16 - dwords) / aligned + 1) * aligned,
            _ => self.below((102 - dwords) / aligned + 1) * aligned,
        }
    }

    /// A scalar source: register, constant or literal.
    fn scalar_source(&mut self, dwords: u32, literal: bool) -> u32 {
        match self.below(6) {
            0 => 128 + self.below(81),
            1 => 240 + self.below(9),
            2 if literal => 255,
            3 if dwords == 1 => self.pick(&[124, 251, 252, 253]),
            4 if dwords == 2 => self.pick(&[235, 236, 237, 238]),
            _ => self.scalar(dwords),
        }
    }

    /// The first of that many vector registers, which begin at an even one.
    fn vector(&mut self, dwords: u32) -> u32 {
        if dwords == 1 { self.below(256) } else { self.below((256 - dwords) / 2 + 1) * 2 }
    }

    fn source(&mut self, dwords: u32, literal: bool) -> u32 {
        if self.below(2) == 0 {
            256 + self.vector(dwords)
        } else {
            self.scalar_source(dwords, literal)
        }
    }

    /// A literal, often one with the bits of a constant.
    fn literal(&mut self) -> u32 {
        match self.below(4) {
            0 => self.pick(&[0x3F00_0000, 0xBF00_0000, 0x3F80_0000, 0x4080_0000, 0x3E22_F983]),
            1 => self.pick(&[0x3800, 0xB800, 0x3C00, 0xC400, 0x3118, 0xFFFF, 0xFFF0, 0xFFEF]),
            2 => self.below(140).wrapping_sub(40),
            _ => self.next(),
        }
    }

    /// The second word of data-parallel primitives.
    fn data_parallel(&mut self, dwords: u32) -> u32 {
        let lane = self.below(15) + 1;
        // Pairs of registers go with the last alone.
        let kind = if dwords == 1 { self.below(8) } else { 7 };
        let control = match kind {
            0 | 1 => self.below(256),
            2 => 0x100 + lane,
            3 => 0x110 + lane,
            4 => 0x120 + lane,
            5 => self.pick(&[0x130, 0x134, 0x138, 0x13C, 0x140, 0x141, 0x142, 0x143]),
            _ => 0x150 + self.below(16),
        };
        let modifiers = self.field(5) << 19;
        self.next() & 0xFF00_00FE | control << 8 | modifiers
    }

    /// The second word of sub-dword addressing.
    fn sub_dword(&mut self, vop1: bool, compares: bool) -> u32 {
        let mut word =
            self.below(7) << 16 | self.below(7) << 24 | self.field(3) << 19 | self.field(3) << 27;
        let mut source = |shift: u32, flag: u32| {
            let scalar = self.below(2) == 1;
            let register = if scalar { self.scalar_source(1, false) } else { self.vector(1) };
            register << shift | u32::from(scalar) << flag
        };
        word |= source(0, 23);
        word |= source(0, 31) & 1 << 31;
        if compares {
            word |= self.field(1) * (1 << 15 | self.scalar(2) << 8);
        } else {
            word |= self.below(7) << 8
                | self.below(3) << 11
                | self.field(1) << 13
                | self.field(2) << 14;
        }
        if vop1 { word & 0x00FF_FFFF } else { word }
    }
}

/// Words of an instruction of a row: random in every field, without those values that are reserved.
pub(super) fn words(encoding: Encoding, row: &Row, random: &mut Random) -> [u32; 3] {
    let code = u32::from(row.code);
    let r = random;
    let mut sizes = row.shape.chars().map(|c| c.to_digit(33).unwrap_or(0)).chain([1; 4]);
    let [dst, a, b, c] = [0; 4].map(|_| sizes.next().unwrap_or(1).max(1));
    let name = format!("{:?}", row.opcode);
    let literal = r.literal();
    let third = S_NOP;
    let two = |first: u32| {
        let source = first & 0x1FF;
        let scalar = |source: u32| source & 0xFF == 255;
        let takes = match encoding {
            Encoding::Sop2 | Encoding::Sopc => scalar(first) || scalar(first >> 8),
            Encoding::Sop1 => scalar(first),
            Encoding::Vop2 => {
                source == 255 || ["mk_f32", "ak_f32"].iter().any(|end| name.ends_with(end))
            }
            Encoding::Vop1 | Encoding::Vopc => source == 255,
            _ => false,
        };
        [first, if takes { literal } else { S_NOP }, S_NOP]
    };
    match encoding {
        Encoding::Sop2 => two(2 << 30
            | code << 23
            | r.scalar(dst) << 16
            | r.scalar_source(b, true) << 8
            | r.scalar_source(a, true)),
        Encoding::Sopk => two(0xB << 28 | code << 23 | r.scalar(dst) << 16 | r.next() & 0xFFFF),
        Encoding::Sop1 => {
            two(0x17D << 23 | r.scalar(dst) << 16 | code << 8 | r.scalar_source(a, true))
        }
        Encoding::Sopc => {
            two(0x17E << 23 | code << 16 | r.scalar_source(b, true) << 8 | r.scalar_source(a, true))
        }
        Encoding::Sopp => two(0x17F << 23 | code << 16 | r.field(16)),
        Encoding::Smem => {
            let flags = r.pick(&[0, 1 << 17, 1 << 17, 1 << 17 | 1 << 14]);
            let first = 0x30 << 26 | code << 18 | r.field(1) << 16 | flags | r.scalar(dst) << 6;
            let second = match flags {
                0 => r.scalar(1),
                0x20000 => r.field(21),
                _ => r.field(21) | r.scalar(1) << 25,
            };
            [first | (r.scalar(2) / 2), second, third]
        }
        Encoding::Vop1 => {
            let dst = if name.starts_with("v_readfirst") { r.scalar(1) } else { r.vector(dst) };
            // Another source crashes LLVM.
            let registers = matches!(row.opcode, Opcode::v_accvgpr_mov_b32 | Opcode::v_swap_b32);
            let source = if registers { 256 + r.vector(a) } else { r.source(a, true) };
            two(0x3F << 25 | dst << 17 | code << 9 | source)
        }
        Encoding::Vop1Sdwa | Encoding::Vop1Dpp => {
            let sdwa = encoding == Encoding::Vop1Sdwa;
            let second = if sdwa { r.sub_dword(true, false) } else { r.data_parallel(dst) };
            let form = if sdwa { 249 } else { 250 };
            [0x3F << 25 | r.vector(dst) << 17 | code << 9 | form, second, third]
        }
        Encoding::Vop2 => {
            two(code << 25 | r.vector(dst) << 17 | r.vector(b) << 9 | r.source(a, true))
        }
        Encoding::Vop2Sdwa | Encoding::Vop2Dpp => {
            let sdwa = encoding == Encoding::Vop2Sdwa;
            let second = if sdwa { r.sub_dword(false, false) } else { r.data_parallel(dst) };
            let form = if sdwa { 249 } else { 250 };
            let b = if sdwa && second >> 31 == 1 { r.scalar_source(1, false) } else { r.vector(b) };
            [code << 25 | r.vector(dst) << 17 | b << 9 | form, second, third]
        }
        Encoding::Vopc => two(0x3E << 25 | code << 17 | r.vector(b) << 9 | r.source(a, true)),
        Encoding::VopcSdwa => {
            let second = r.sub_dword(false, true);
            let b = if second >> 31 == 1 { r.scalar_source(1, false) } else { r.vector(b) };
            [0x3E << 25 | code << 17 | b << 9 | 249, second, third]
        }
        Encoding::Vop1Long | Encoding::Vop2Long | Encoding::Vop3 | Encoding::VopcLong => {
            let base = match encoding {
                Encoding::Vop1Long => 0x140,
                Encoding::Vop2Long => 0x100,
                _ => 0,
            };
            let lanes = matches!(row.opcode, Opcode::v_readlane_b32 | Opcode::v_readfirstlane_b32);
            let masks = ["_co_", "div_scale", "v_mad_u64", "v_mad_i64"];
            let has_mask = masks.iter().any(|part| name.contains(part));
            let dst = match encoding {
                Encoding::VopcLong => r.scalar(2),
                _ if lanes => r.scalar(1),
                _ => r.vector(dst),
            };
            let middle = if has_mask { r.scalar(2) << 8 } else { r.field(7) << 8 };
            let carries = name.starts_with("v_cndmask")
                || name.contains("addc_co")
                || name.contains("subb_co")
                || name.contains("v_subbrev");
            let mut sources = [r.source(a, false), r.source(b, false), r.source(c, false)];
            if carries {
                sources[2] = r.scalar(2);
            } else if row.opcode == Opcode::v_readlane_b32 {
                sources[1] = r.scalar_source(1, false);
            } else if row.opcode == Opcode::v_writelane_b32 {
                sources = [0; 3].map(|_| r.scalar_source(1, false));
            }
            let modifiers = r.field(5) << 27;
            let second = sources[0] | sources[1] << 9 | sources[2] << 18 | modifiers;
            [0x34 << 26 | (base + code) << 16 | r.field(1) << 15 | middle | dst, second, third]
        }
        Encoding::Vop3p if name.starts_with("v_mfma") => {
            let first = 0x1A7 << 23 | code << 16 | r.field(8) << 8 | r.vector(dst);
            let constant = [128 + r.below(81), 240 + r.below(9)][r.below(2) as usize];
            let addend = if r.below(3) == 0 { constant } else { 256 + r.vector(c) };
            let factors = (256 + r.vector(a)) | ((256 + r.vector(b)) << 9);
            [first, factors | addend << 18 | r.field(5) << 27, third]
        }
        Encoding::Vop3p => {
            let first = 0x1A7 << 23 | code << 16 | r.field(8) << 8 | r.vector(dst);
            let mut sources = [r.source(a, false), r.source(b, false), r.source(c, false)];
            if row.opcode == Opcode::v_accvgpr_read_b32 {
                // Another source crashes LLVM.
                sources[0] = 256 + r.vector(1);
            }
            let second = sources[0] | sources[1] << 9 | sources[2] << 18 | r.field(5) << 27;
            [first, second, third]
        }
        Encoding::Ds => {
            let first = 0x36 << 26 | r.field(1) << 25 | code << 17 | r.field(16);
            let wide = if name.contains("read2") { 2 * dst } else { dst };
            let mut second = r.below(256);
            if !["read", "swizzle"].iter().any(|part| name.contains(part)) {
                second |= r.vector(dst) << 8;
            }
            if ["write2", "cmpst"].iter().any(|part| name.contains(part)) {
                second |= r.vector(dst) << 16;
            }
            if ["read", "rtn", "permute", "swizzle"].iter().any(|part| name.contains(part)) {
                second |= r.vector(wide) << 24;
            }
            [first, second, third]
        }
        Encoding::Buffer => {
            let fields = r.field(4) << 12 | r.field(2) << 16;
            let first = 0x38 << 26 | code << 18 | fields | r.field(12);
            let scalar = [r.scalar(1), 128 + r.below(81)][r.below(2) as usize];
            let places = r.vector(if first >> 12 & 3 == 3 { 2 } else { 1 });
            let data = r.vector(dst) << 8 | r.field(1) << 23;
            [first, places | data | r.below(25) << 16 | scalar << 24, third]
        }
        Encoding::Flat | Encoding::Global => {
            let global = encoding == Encoding::Global;
            let segment = if global { 2 << 14 } else { 0 };
            let offset = if global { r.field(13) } else { r.field(12) };
            let cache = r.field(2) << 16 | r.field(1) << 25;
            let first = 0x37 << 26 | cache | code << 18 | segment | offset;
            let base = if global && r.below(2) == 0 {
                r.scalar(2)
            } else if global {
                0x7F
            } else {
                0
            };
            let address = if base == 0x7F || !global { r.vector(2) } else { r.vector(1) };
            let data = r.vector(dst) << 8 | r.field(1) << 23 | r.vector(dst) << 24;
            [first, address | data | base << 16, third]
        }
    }
}
