//! Every row of every table, in random encodings, as LLVM disassembles it.

use std::collections::BTreeMap;

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
const DRAWN: usize = 150;
const COMPARED: usize = 20;

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

#[test]
fn decodes_as_llvm() {
    let Some(tool) = llvm::find("llvm-mc") else { return };
    let mut wrong: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (architecture, cpu) in ARCHITECTURES {
        for &(encoding, table) in encodings::ALL {
            let rows: Vec<Row> = rows_of(encoding, table);
            let rows: Vec<Row> =
                rows.into_iter().filter(|row| architecture.has(row.place)).collect();
            let mut random = Random(encoding as u64);
            let draw =
                |row: &Row| [(); DRAWN].map(|()| encodings::words(encoding, row, &mut random));
            let words: Vec<[u32; 3]> = rows.iter().flat_map(draw).collect();
            let answers = llvm::disassemble(&tool, cpu, &words);
            for (at, row) in rows.iter().enumerate() {
                let range = at * DRAWN..(at + 1) * DRAWN;
                let mut compared = 0;
                for (words, answer) in words[range.clone()].iter().zip(&answers[range]) {
                    let Some((expected, dwords)) = answer else { continue };
                    compared += 1;
                    let instruction = decode(words, architecture);
                    let got = text(&instruction);
                    if got != *expected || usize::from(instruction.dwords) != *dwords {
                        let key = format!("{encoding:?} {:?} {:#x}", row.opcode, row.code);
                        wrong.entry(key).or_default().push(format!(
                            "{cpu} {words:08x?}\n  llvm {expected} ({dwords})\n  ours {got} ({})",
                            instruction.dwords
                        ));
                    }
                }
                let key = format!("{encoding:?} {:?} {:#x}", row.opcode, row.code);
                let optional = !matches!(encoding, Encoding::Sop2);
                if compared < COMPARED && !(optional && compared == 0) {
                    wrong.entry(key).or_default().push(format!("{cpu}: only {compared} compared"));
                } else if compared == 0 {
                    println!("none {cpu} {key}");
                }
            }
        }
    }
    for (key, lines) in &wrong {
        println!("{key}: {} wrong\n{}\n{}", lines.len(), lines[0], lines[lines.len() / 2]);
    }
    assert!(wrong.is_empty(), "{} rows", wrong.len());
}
