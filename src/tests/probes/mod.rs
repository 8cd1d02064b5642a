//! Instruction probes: what one instruction gives on the device, against an independent formula.
//!
//! The same tests judge the simulator's model of an instruction and the machine. With
//! `EXPERTILE_RECORD` the words that went in and came out are kept: `probes/NAME.bin` holds `u32`
//! elements, inputs, outputs, then all inputs, then all outputs, little-endian.

mod fixtures;
mod formulas;
mod inputs;
mod machine_code;
mod matrices;
mod products;
mod stream;

use super::harness::{self, describe, record, record_folder};
use expertile::probe::{ELEMENTS, INSTRUCTIONS, Instruction, available, run};
use expertile::{Buffer, Device, Dtype, Result};
use formulas::{Judge, judge_of};

/// Blocks of elements that each probe is given.
const BLOCKS: u64 = 16;

/// The devices whose images hold the probes.
fn devices() -> impl Iterator<Item = &'static Device> {
    harness::devices().iter().filter(|device| available(device))
}

/// The instructions that a device has a probe of.
fn instructions(device: &Device) -> impl Iterator<Item = Instruction> {
    INSTRUCTIONS.into_iter().filter(|instruction| instruction.available(device))
}

/// What an instruction was given and gave.
struct Answers {
    instruction: Instruction,
    input: Vec<u32>,
    output: Vec<u32>,
}

impl Answers {
    /// Asks a device.
    fn ask(device: &Device, instruction: Instruction) -> Result<Answers> {
        let stream = device.stream()?;
        let elements = (BLOCKS * ELEMENTS) as usize;
        let input = inputs::of(&instruction, elements);
        let words: Vec<i32> = input.iter().map(|&word| word as i32).collect();
        let from = Buffer::from_slice(&stream, &words)?;
        let outputs = elements * instruction.outputs;
        let mut to = Buffer::new(device, Dtype::I32, outputs as u64)?;
        to.fill_bytes(&stream, 0xa5)?;
        run(&stream, &instruction, &from, &mut to)?;
        let output = to.read::<i32>(&stream)?.into_iter().map(|word| word as u32).collect();
        Ok(Answers { instruction, input, output })
    }

    /// The worst error in units of its bound (0 where bits are compared), or what was wrong.
    fn judge(&self) -> Result<f64, String> {
        let Instruction { name, inputs, outputs, .. } = self.instruction;
        let judge = judge_of(name).ok_or_else(|| format!("{name}: no formula"))?;
        let mut worst = 0.0f64;
        for element in 0..self.input.len() / inputs {
            let given = &self.input[element * inputs..][..inputs];
            let got = &self.output[element * outputs..][..outputs];
            let wrong = |want: &dyn std::fmt::Debug| {
                Err(format!(
                    "{name}: element {element}: {given:08x?} gave {got:08x?}, not {want:08x?}"
                ))
            };
            let wave = element / 64 * 64;
            let lanes = &self.input[wave * inputs..][..64 * inputs];
            match judge {
                Judge::Bits(formula) => {
                    let want = formula(lanes, element % 64);
                    if got != &want[..outputs] {
                        return wrong(&&want[..outputs]);
                    }
                }
                Judge::Words(formula) => {
                    let want = formula(lanes, element % 64);
                    if got != want {
                        return wrong(&want);
                    }
                }
                Judge::Number(formula) | Judge::OfWave(formula) => {
                    let of_wave = matches!(judge, Judge::OfWave(_));
                    let want = formula(if of_wave { lanes } else { given });
                    let [got, want_number] = [got[0], want].map(f32::from_bits);
                    if got.to_bits() != want && !(got.is_nan() && want_number.is_nan()) {
                        return wrong(&want);
                    }
                }
                Judge::Halves { want, is_nan } => {
                    let want = want(given);
                    let same = |got: u32, want: u32| {
                        [0, 16].into_iter().all(|first| {
                            let [got, want] = [got, want].map(|word| (word >> first) as u16);
                            got == want || is_nan(got) && is_nan(want)
                        })
                    };
                    if !got.iter().zip(want).all(|(&got, want)| same(got, want)) {
                        return wrong(&want);
                    }
                }
                Judge::Close { exact, bound } => {
                    let x = f32::from_bits(given[0]);
                    let (want, got) = (exact(f64::from(x)), f32::from_bits(got[0]));
                    let error = formulas::error_in_bounds(got, want, bound(want));
                    if error > 1.0 || error.is_nan() {
                        return wrong(&(want, error));
                    }
                    worst = worst.max(error);
                }
            }
        }
        Ok(worst)
    }

    /// As a fixture's file holds it.
    fn bytes(&self) -> Vec<u8> {
        let Instruction { inputs, outputs, .. } = self.instruction;
        let elements = self.input.len() / inputs;
        let head = [elements, inputs, outputs].map(|count| count as u32);
        let words = head.iter().chain(&self.input).chain(&self.output);
        words.flat_map(|word| word.to_le_bytes()).collect()
    }

    fn keep(&self, device: &Device, judged: &Result<f64, String>) {
        let Some(folder) = record_folder() else { return };
        let name = self.instruction.name;
        let file = format!("probes/{name}.bin");
        let path = folder.join(&file);
        let written = std::fs::create_dir_all(folder.join("probes"))
            .and_then(|()| std::fs::write(&path, self.bytes()));
        written.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        keep_verdict(device, name, BLOCKS * ELEMENTS, judged, Some(&file));
    }
}

/// Records what was found of a probe, and the file of its answers if they are kept.
fn keep_verdict(
    device: &Device,
    name: &str,
    checked: u64,
    judged: &Result<f64, String>,
    file: Option<&str>,
) {
    let subject = describe(device);
    let (passed, worst) = (judged.is_ok(), judged.as_ref().copied().unwrap_or(0.0));
    let file = file.map_or("null".to_owned(), |file| format!("{file:?}"));
    record(
        "probes.jsonl",
        &format!(
            r#"{{"probe":"{name}",{subject},"checked":{checked},"worst":{worst:.4},"passed":{passed},"file":{file}}}"#
        ),
    );
}

#[test]
fn every_instruction_does_what_its_manual_says() -> Result<(), String> {
    let mut wrong = Vec::new();
    for device in devices() {
        for instruction in instructions(device) {
            let answers = Answers::ask(device, instruction).map_err(|error| error.to_string())?;
            let judged = answers.judge();
            answers.keep(device, &judged);
            match judged {
                Ok(worst) if worst > 0.0 => {
                    println!(
                        "{} on {device}: worst error {worst:.3} of its bound",
                        instruction.name
                    );
                }
                Ok(_) => {}
                Err(error) => wrong.push(format!("{device}: {error}")),
            }
        }
    }
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n")) }
}

#[test]
fn every_instruction_has_a_formula_that_can_fail() {
    for instruction in INSTRUCTIONS {
        let elements = (BLOCKS * ELEMENTS) as usize;
        let input = inputs::of(&instruction, elements);
        // What no instruction gives for all of its inputs.
        let output = vec![0x3fc0_0001; elements * instruction.outputs];
        let answers = Answers { instruction, input, output };
        assert!(answers.judge().is_err(), "{}", instruction.name);
    }
}
