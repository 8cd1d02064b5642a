//! The property suite on the device: batches of cases, each with a seed of its own, until the time is
//! spent.

use crate::{Context, Row, Verdict, child};
use serde_json::Value;
use std::collections::BTreeMap;
use std::process::Command;
use std::time::{Duration, Instant};

/// What was compared for one operator, dtype and architecture.
#[derive(Clone, Debug, Default)]
pub struct Proof {
    pub cases: u64,
    /// The worst error in units of its bound.
    pub worst: f64,
    /// The first and the last seed.
    pub seeds: Option<(u64, u64)>,
    pub platform: String,
    pub device: String,
}

/// By operator, dtype and the images' architecture.
pub type Proofs = BTreeMap<(String, String, String), Proof>;

/// Tests of many rows, of whole models, of blocks with many tiles.
const SLOW: [&str; 6] = [
    "tests::dense",
    "tests::experts",
    "tests::grouped_gemm_tiles",
    "tests::grouped_gemm_turns",
    "tests::moe_far",
    "tests::moe_rows",
];

/// Cases of a batch.
fn cases(context: &Context) -> u32 {
    if context.simulated() { 3 } else { 256 }
}

/// Runs batches from `seed` on. The first is with large shapes, if `large`; there is always one.
pub fn run(
    context: &Context,
    part: &'static str,
    seed: u64,
    large: bool,
    deadline: Instant,
) -> Vec<Row> {
    let mut rows = Vec::new();
    let (mut batches, mut longest) = (0, Duration::ZERO);
    while batches == 0 || Instant::now() + longest < deadline {
        let start = Instant::now();
        let seed = seed + batches;
        let mut command = Command::new(context.binary("suite"));
        command
            .args(["--skip", "tests::probes::"])
            .env("EXPERTILE_REQUIRE", context.device.as_ref().map_or("", |d| &d.platform))
            .env("EXPERTILE_RECORD", &context.out)
            .env("CUDA_DISABLE_PTX_JIT", "1")
            .env("PROPTEST_CASES", cases(context).to_string())
            .env("PROPTEST_RNG_SEED", seed.to_string());
        if context.simulated() {
            // What takes a simulated device longest: it runs there in the tests of the repository.
            command.args(SLOW.iter().flat_map(|test| ["--skip", test]));
        }
        if large && batches == 0 && !context.simulated() {
            command.env("EXPERTILE_LARGE", "1");
        }
        let ended = child::run(&mut command, &context.log(&format!("{part}-{seed}")), deadline);
        batches += 1;
        if !ended.passed() {
            let enough = ended == child::Ended::TimedOut && batches > 1;
            if !enough {
                let note = format!("seed {seed}: {}", ended.text());
                rows.push(Row::new("properties", part, Verdict::of(&ended), note));
            }
            return rows;
        }
        longest = longest.max(start.elapsed());
        if context.simulated() {
            break;
        }
    }
    let note = format!("{batches} batches from seed {seed}");
    rows.push(Row::new("properties", part, Verdict::Passed, note));
    rows
}

/// What the suite recorded.
pub fn read(context: &Context) -> Proofs {
    let text = std::fs::read_to_string(context.out.join("properties.jsonl")).unwrap_or_default();
    let mut proofs = Proofs::new();
    for line in text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()) {
        let field = |key: &str| line[key].as_str().unwrap_or_default().to_owned();
        let proof = proofs.entry((field("operator"), field("dtype"), field("images"))).or_default();
        proof.cases += line["cases"].as_u64().unwrap_or(0);
        proof.worst = proof.worst.max(line["worst"].as_f64().unwrap_or(f64::INFINITY));
        (proof.platform, proof.device) = (field("platform"), field("device"));
        if let Ok(seed) = field("seed").parse::<u64>() {
            let (first, last) = proof.seeds.unwrap_or((seed, seed));
            proof.seeds = Some((first.min(seed), last.max(seed)));
        }
    }
    proofs
}
