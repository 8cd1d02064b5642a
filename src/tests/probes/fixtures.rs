//! What machines answered, kept in `simulator/tests/fixtures/probes/DEVICE/NAME.bin`, against what the
//! device of this run answers: bit for bit, or both within the bound where the instruction
//! approximates.

use super::formulas::{Judge, judge_of};
use super::{Answers, INSTRUCTIONS, Instruction, devices, instructions};
use expertile::Device;
use std::path::Path;

/// Reads a fixture.
fn read(instruction: Instruction, bytes: &[u8]) -> Result<Answers, String> {
    let words: Vec<u32> = bytes
        .chunks_exact(4)
        .map(|word| u32::from_le_bytes([word[0], word[1], word[2], word[3]]))
        .collect();
    let Instruction { name, inputs, outputs, .. } = instruction;
    let [elements, found_inputs, found_outputs, rest @ ..] = &words[..] else {
        return Err(format!("{name}: {} bytes are no fixture", bytes.len()));
    };
    let input_words = *elements as usize * inputs;
    let expected = input_words + *elements as usize * outputs;
    if [*found_inputs as usize, *found_outputs as usize, rest.len()] != [inputs, outputs, expected]
    {
        return Err(format!("{name}: a fixture of another shape"));
    }
    let (input, output) = rest.split_at(input_words);
    Ok(Answers { instruction, input: input.to_vec(), output: output.to_vec() })
}

/// Compares a machine's answers with those of this run.
fn compare(fixture: &Answers, answers: &Answers) -> Result<(), String> {
    let name = answers.instruction.name;
    if fixture.input != answers.input {
        return Err(format!("{name}: the fixture was made from other inputs"));
    }
    fixture.judge().map_err(|error| format!("the fixture: {error}"))?;
    let approximate = matches!(judge_of(name), Some(Judge::Close { .. }));
    let differ = fixture.output.iter().zip(&answers.output).position(|(kept, now)| {
        let nan = |bits: u32| f32::from_bits(bits).is_nan();
        kept != now && !(nan(*kept) && nan(*now))
    });
    match differ {
        Some(word) if !approximate => {
            let (kept, now) = (fixture.output[word], answers.output[word]);
            Err(format!("{name}: word {word} was {kept:#010x} on the machine and is {now:#010x}"))
        }
        _ => Ok(()),
    }
}

#[test]
fn machines_answered_the_same() -> Result<(), String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("simulator/tests/fixtures/probes");
    // No folder: no machine has answered yet.
    let machines = std::fs::read_dir(&root).into_iter().flatten().flatten();
    for machine in machines {
        for instruction in INSTRUCTIONS {
            let path = machine.path().join(format!("{}.bin", instruction.name));
            let Ok(bytes) = std::fs::read(&path) else { continue };
            let fixture = read(instruction, &bytes)?;
            for device in devices().filter(|device| instruction.available(device)) {
                let answers =
                    Answers::ask(device, instruction).map_err(|error| error.to_string())?;
                compare(&fixture, &answers)
                    .map_err(|error| format!("{}: {error}", path.display()))?;
            }
        }
    }
    Ok(())
}

#[test]
fn an_altered_fixture_is_noticed() -> Result<(), String> {
    for device in devices() {
        for instruction in instructions(device) {
            an_altered_answer_is_noticed(device, instruction)?;
        }
    }
    Ok(())
}

fn an_altered_answer_is_noticed(device: &Device, instruction: Instruction) -> Result<(), String> {
    let answers = Answers::ask(device, instruction).map_err(|error| error.to_string())?;
    let bytes = answers.bytes();
    compare(&read(instruction, &bytes)?, &answers)?;
    let name = instruction.name;
    // A word amid the output: a number's sign, or another lane's value.
    let mut altered = bytes.clone();
    let middle = 12 + 4 * answers.input.len() + 4 * (answers.output.len() / 2);
    altered[middle + 3] ^= 0x80;
    assert!(compare(&read(instruction, &altered)?, &answers).is_err(), "{name}: output");
    let mut altered = bytes.clone();
    altered[12] ^= 1;
    assert!(compare(&read(instruction, &altered)?, &answers).is_err(), "{name}: input");
    assert!(read(instruction, &bytes[..bytes.len() - 4]).is_err(), "{name}: cut off");
    assert!(read(instruction, &[]).is_err());
    Ok(())
}
