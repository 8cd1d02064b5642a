//! `router.h` on the host gives the bits of `reference/router_f32.rs`, which shares no code with it: on
//! 80,000 rows of logits, a million if `PROPTEST_CASES` asks for thousands of cases.

use expertile_reference::router::{Groups, Rule, Scoring};
use expertile_reference::router_f32::router_f32;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::{env, fs};

/// Of `RouterParams::scoring` and `norm`.
const SOFTMAX: u32 = 0;
const SIGMOID: u32 = 1;
const NONE: u32 = 0;
const SUM: u32 = 1;
const LARGEST: u32 = 2;
const POWER: u32 = 3;

/// A row and how it is routed.
struct Case {
    logits: Vec<f32>,
    bias: Vec<f32>,
    forced: Vec<i32>,
    has_bias: bool,
    has_forced: bool,
    scoring: u32,
    norm: u32,
    p_norm: f32,
    groups: [u32; 2],
    scale: f32,
}

impl Case {
    fn draw(random: &mut fastrand::Rng) -> Case {
        let groups = if random.u32(..4) == 0 { random.u32(2..33) } else { 1 };
        let experts = groups * random.u32(1..=256 / groups);
        let top_groups = random.u32(1..=groups);
        let top_k = random.u32(1..=16.min(top_groups * (experts / groups))) as usize;
        // As far apart as an exponential is not 0, near each other, ties, and whatever bits there are.
        let width = [120.0, 8.0, 1.0, 1e-3, 300.0][random.usize(..5)];
        let offset = [0.0, 0.0, 1e4, -90.0][random.usize(..4)];
        let kind = random.u32(..8);
        let mut logit = || match kind {
            0 => random.i32(-4..5) as f32 / 4.0,
            1 if random.u32(..4) == 0 => {
                [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -0.0, 0.0, 1e-40][random.usize(..6)]
            }
            2 => f32::from_bits(random.u32(..)),
            _ => (random.f32() - 0.5) * width + offset,
        };
        let logits = (0..experts).map(|_| logit()).collect();
        let (scoring, norm) = [
            (SOFTMAX, NONE),
            (SOFTMAX, SUM),
            (SOFTMAX, LARGEST),
            (SOFTMAX, POWER),
            (SOFTMAX, POWER),
            (SIGMOID, NONE),
            (SIGMOID, SUM),
        ][random.usize(..7)];
        let p_norms = [2.0, 0.75, 3.5, 1.0 / 1024.0, 1000.0, 1.0 + random.f32()];
        Case {
            logits,
            bias: (0..experts).map(|_| random.f32() - 0.5).collect(),
            forced: (0..top_k).map(|_| random.i32(-1..=experts as i32)).collect(),
            has_bias: scoring == SIGMOID && random.bool(),
            has_forced: random.u32(..8) == 0,
            scoring,
            norm,
            p_norm: if norm == POWER { p_norms[random.usize(..6)] } else { 1.0 },
            groups: [groups, top_groups],
            scale: [1.0, 2.5][random.usize(..2)],
        }
    }

    fn write(&self, to: &mut Vec<u8>) {
        let inverse = 1.0 / f64::from(self.p_norm);
        let (high, [groups, top_groups]) = (inverse as f32, self.groups);
        for number in [
            self.logits.len() as u32,
            self.forced.len() as u32,
            groups,
            top_groups,
            self.scoring,
            self.norm,
            self.has_bias.into(),
            self.has_forced.into(),
        ] {
            to.extend(number.to_le_bytes());
        }
        let numbers = [self.p_norm, high, (inverse - f64::from(high)) as f32, self.scale];
        numbers.iter().chain(&self.bias).for_each(|x| to.extend(x.to_le_bytes()));
        self.forced.iter().for_each(|x| to.extend(x.to_le_bytes()));
        self.logits.iter().for_each(|x| to.extend(x.to_le_bytes()));
    }

    /// Ids, weights and scores in bits, as the program writes them.
    fn expected(&self) -> Vec<u32> {
        let p_norm = match self.norm {
            NONE => None,
            LARGEST => Some(f64::INFINITY),
            _ => Some(self.p_norm.into()),
        };
        let bias = self.has_bias.then_some(&self.bias[..]);
        let scoring = match self.scoring {
            SOFTMAX => Scoring::Softmax { p_norm },
            _ => Scoring::Sigmoid { bias, normalize: self.norm == SUM },
        };
        let [count, chosen] = self.groups.map(|groups| groups as usize);
        let rule = Rule {
            top_k: self.forced.len(),
            scoring,
            groups: (count > 1).then_some(Groups { count, chosen }),
            scale: self.scale.into(),
            forced: self.has_forced.then_some(&self.forced),
        };
        let routed = router_f32(&self.logits, self.logits.len(), &rule).unwrap();
        let floats = routed.weights.iter().chain(&routed.probabilities).map(|x| x.to_bits());
        routed.ids.iter().map(|&id| id as u32).chain(floats).collect()
    }
}

fn program() -> std::path::PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("router");
    fs::create_dir_all(&folder).unwrap();
    let program = folder.join("router");
    let compiler = env::var("CC").unwrap_or_else(|_| "cc".to_owned());
    let status = Command::new(&compiler)
        .args(["-std=c11", "-O2", "-ffp-contract=off", "-Wall", "-Wextra", "-Werror", "-o"])
        .args([&program, &package.join("tests/router.c")])
        .arg("-lm")
        .status()
        .unwrap_or_else(|error| panic!("{compiler}: {error}"));
    assert!(status.success(), "{compiler} failed");
    program
}

#[test]
fn header_and_reference_give_the_same_bits() {
    let deep = env::var("PROPTEST_CASES")
        .is_ok_and(|cases| cases.parse().is_ok_and(|cases: u32| cases >= 1000));
    let program = program();
    let mut random = fastrand::Rng::with_seed(9);
    for batch in 0..if deep { 500 } else { 40 } {
        let cases: Vec<Case> = (0..2000).map(|_| Case::draw(&mut random)).collect();
        let mut input = Vec::new();
        cases.iter().for_each(|case| case.write(&mut input));
        let mut child =
            Command::new(&program).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut to = child.stdin.take().unwrap();
        let writer = std::thread::spawn(move || to.write_all(&input));
        let output = child.wait_with_output().unwrap();
        writer.join().unwrap().unwrap();
        assert!(output.status.success(), "{}", output.status);
        let words = output.stdout.chunks_exact(4);
        let mut found = words.map(|word| u32::from_le_bytes(word.try_into().unwrap()));
        for (number, case) in cases.iter().enumerate() {
            for (place, want) in case.expected().into_iter().enumerate() {
                let got = found.next().unwrap();
                let both_nan = f32::from_bits(got).is_nan() && f32::from_bits(want).is_nan();
                assert!(
                    got == want || place >= case.forced.len() && both_nan,
                    "batch {batch}, case {number}, word {place}: {got:#x}, not {want:#x}; scoring {}, \
                     norm {}, p {}, {} slots of {:?}",
                    case.scoring,
                    case.norm,
                    case.p_norm,
                    case.forced.len(),
                    case.logits
                );
            }
        }
        assert_eq!(found.next(), None);
    }
}
