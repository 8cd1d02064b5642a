//! Every row of every table, in random encodings, as LLVM disassembles it.

use super::super::decode::{Architecture, decode};
use super::super::instruction::{Format, Instruction};
use super::super::opcodes::{Opcode, Row, Where};
use super::super::text::text;
use super::encodings::{self, Encoding, Random};
use super::llvm;

pub(super) const ARCHITECTURES: [(Architecture, &str); 3] = [
    (Architecture::Gfx90a, "gfx90a"),
    (Architecture::Gfx942, "gfx942"),
    (Architecture::Gfx950, "gfx950"),
];

/// Encodings drawn of a row, and how many of them LLVM has to accept.
const DRAWN: usize = 250;
const COMPARED: usize = 20;

/// Encodings drawn to see where a row exists: some texts are not assembled again.
const PLACED: usize = 60;

/// The comparisons that are modelled, as rows.
fn comparisons() -> Vec<Row> {
    let row = |code: u16| {
        let mut instruction = Instruction::blank(Format::Vopc, [0; 3], 1);
        (instruction.opcode, instruction.code) = (Opcode::v_cmp, code);
        instruction.comparison()?;
        let shape = if code >= 0xE0 { "022" } else { "011" };
        Some(Row { code, opcode: Opcode::v_cmp, shape, place: Where::All })
    };
    (0..0x100).filter_map(row).collect()
}

fn rows_of(encoding: Encoding, table: &[Row]) -> Vec<Row> {
    match encoding {
        Encoding::Vopc | Encoding::VopcSdwa | Encoding::VopcLong => comparisons(),
        _ => table.to_vec(),
    }
}

/// Whether the ISA has this encoding of a row (CDNA3 ISA, 13.3.7 to 13.3.9).
fn exists(encoding: Encoding, row: &Row) -> bool {
    use Encoding::{Vop1Dpp, Vop1Long, Vop1Sdwa, Vop2Dpp, Vop2Long, Vop2Sdwa, VopcSdwa};
    match row.opcode {
        Opcode::v_readfirstlane_b32 | Opcode::v_swap_b32 | Opcode::v_accvgpr_mov_b32 => {
            !matches!(encoding, Vop1Sdwa | Vop1Dpp | Vop1Long)
        }
        Opcode::v_madmk_f32 | Opcode::v_madak_f32 | Opcode::v_fmamk_f32 | Opcode::v_fmaak_f32 => {
            !matches!(encoding, Vop2Sdwa | Vop2Dpp | Vop2Long)
        }
        Opcode::global_load_lds_dword | Opcode::global_load_lds_dwordx4 => {
            encoding != Encoding::Flat
        }
        Opcode::v_mov_b64 => encoding != Vop1Sdwa,
        Opcode::v_mac_f32 | Opcode::v_fmac_f32 => encoding != Vop2Sdwa,
        Opcode::v_cmp => !(encoding == VopcSdwa && row.code >= 0xE0),
        _ => true,
    }
}

/// Random words of rows, as many of each.
fn draw(encoding: Encoding, rows: &[Row], count: usize) -> Vec<[u32; 3]> {
    let mut random = Random(encoding as u64);
    let mut words = |row: &Row| -> Vec<[u32; 3]> {
        (0..count).map(|_| encodings::words(encoding, row, &mut random)).collect()
    };
    rows.iter().flat_map(&mut words).collect()
}

/// What differs between LLVM's answer and ours; `compared` counts what LLVM accepts.
fn differences(
    (architecture, cpu): (Architecture, &str),
    row: &Row,
    drawn: &[([u32; 3], llvm::Answer)],
) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut compared = 0;
    for (words, answer) in drawn {
        let Some((expected, encoded)) = answer else { continue };
        compared += 1;
        let instruction = decode(words, architecture);
        let got = text(&instruction);
        // Some constants are printed as numbers, and those are encoded as literals.
        let is_same = encoded[0] == words[0];
        let dwords = usize::from(instruction.dwords);
        if got != *expected || is_same && dwords != encoded.len() {
            wrong.push(format!(
                "{cpu} {words:08x?}: {got} ({dwords} words), LLVM has {expected} ({})",
                encoded.len()
            ));
        }
    }
    if compared < COMPARED {
        wrong.push(format!("{cpu} {:?} {:#x}: {compared} compared", row.opcode, row.code));
    }
    wrong
}

#[test]
fn decodes_as_llvm() {
    let Some(tool) = llvm::find("llvm-mc") else { return };
    let mut wrong = Vec::new();
    for (architecture, cpu) in ARCHITECTURES {
        for &(encoding, table) in encodings::ALL {
            let mut rows = rows_of(encoding, table);
            rows.retain(|row| architecture.has(row.place));
            let words = draw(encoding, &rows, DRAWN);
            let answers = llvm::disassemble(&tool, cpu, &words);
            let drawn: Vec<_> = words.into_iter().zip(answers).collect();
            for (row, drawn) in rows.iter().zip(drawn.chunks(DRAWN)) {
                if exists(encoding, row) {
                    wrong.extend(differences((architecture, cpu), row, drawn));
                    continue;
                }
                let accepted = drawn.iter().find(|(words, answer)| {
                    answer.is_some() || decode(words, architecture).opcode != Opcode::unknown
                });
                wrong.extend(accepted.map(|drawn| format!("{cpu} {encoding:?}: {drawn:x?}")));
            }
        }
    }
    assert!(wrong.is_empty(), "{} differ\n{}", wrong.len(), wrong.join("\n"));
}

/// A row's instruction exists where the row says, and nowhere else: not under its number, and not
/// for the assembler.
#[test]
fn places_as_llvm() {
    let Some(tool) = llvm::find("llvm-mc") else { return };
    let mut wrong = Vec::new();
    for &(encoding, table) in encodings::ALL {
        let mut rows = rows_of(encoding, table);
        rows.retain(|row| exists(encoding, row));
        let words = draw(encoding, &rows, PLACED);
        let by_cpu = ARCHITECTURES.map(|(_, cpu)| llvm::disassemble(&tool, cpu, &words));
        let own = |row: &Row| ARCHITECTURES.iter().position(|(a, _)| a.has(row.place));
        let range = |at: usize| at * PLACED..(at + 1) * PLACED;
        // What LLVM says of a row's words, on an architecture that the row is for.
        let of_row = |(at, row): (usize, &Row)| -> Vec<String> {
            let answers = own(row).map_or(&[][..], |own| &by_cpu[own][range(at)]);
            let text = |answer: &llvm::Answer| answer.clone().map_or("".into(), |(text, _)| text);
            answers.iter().map(text).collect()
        };
        let lines: Vec<String> = rows.iter().enumerate().flat_map(of_row).collect();
        for ((architecture, cpu), answers) in ARCHITECTURES.iter().zip(&by_cpu) {
            let assembled = llvm::assemble(&tool, cpu, &lines);
            for (at, row) in rows.iter().enumerate() {
                let mnemonic = |text: &str| text.split(' ').next().map(str::to_string);
                let named = lines[range(at)].iter().find(|line| !line.is_empty());
                let named = named.and_then(|line| mnemonic(line));
                let is_named = |answer: &llvm::Answer| {
                    answer.as_ref().is_some_and(|(text, _)| mnemonic(text) == named)
                };
                let decodes = answers[range(at)].iter().any(is_named);
                let assembles = assembled[range(at)].iter().any(is_named);
                if [decodes, assembles] != [architecture.has(row.place); 2] {
                    wrong.push(format!("{cpu} {encoding:?} {row:?}: {decodes}, {assembles}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{} differ\n{}", wrong.len(), wrong.join("\n"));
}

/// Words that are no code are not modelled, or are an instruction; nothing panics.
#[test]
fn decodes_anything() {
    let mut random = Random(0);
    for _ in 0..1_000_000 {
        let words = [random.next(), random.next(), random.next()];
        for (architecture, _) in ARCHITECTURES {
            let instruction = decode(&words, architecture);
            let text = text(&instruction);
            let says_words = text.starts_with(".long");
            assert_eq!(says_words, instruction.opcode == Opcode::unknown, "{words:08x?}: {text}");
        }
    }
}
