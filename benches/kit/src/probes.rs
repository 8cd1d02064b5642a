//! Instruction probes; their raw answers are kept and become fixtures.

use crate::{Context, Row, Verdict, child};
use serde_json::Value;
use std::process::Command;
use std::time::Instant;

const PART: &str = "probes";

pub fn run(context: &Context, deadline: Instant) -> Vec<Row> {
    let mut command = Command::new(context.binary("suite"));
    command
        .arg("tests::probes::")
        .env("EXPERTILE_REQUIRE", context.device.as_ref().map_or("", |d| &d.platform))
        .env("EXPERTILE_RECORD", &context.out)
        .env("CUDA_DISABLE_PTX_JIT", "1");
    let ended = child::run(&mut command, &context.log(PART), deadline);
    let text = std::fs::read_to_string(context.out.join("probes.jsonl")).unwrap_or_default();
    let probes: Vec<Value> =
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let passed = probes.iter().filter(|probe| probe["passed"] == true).count();
    let failed: Vec<&str> = (probes.iter())
        .filter(|probe| probe["passed"] != true)
        .filter_map(|probe| probe["probe"].as_str())
        .collect();
    let mut note = format!("{passed} passed, {} failed", failed.len());
    if !failed.is_empty() {
        note += &format!(": {}", failed.join(", "));
    }
    if !ended.passed() {
        note += &format!("; {}", ended.text());
    }
    let fine = failed.is_empty() && passed > 0;
    let verdict = match Verdict::of(&ended) {
        Verdict::Passed if !fine => Verdict::Failed,
        verdict => verdict,
    };
    vec![Row::new(PART, "instructions", verdict, note)]
}
