//! First: the device, its driver, and whether the images' machine code is what runs.

use crate::service::Service;
use crate::{Context, Row, Verdict, child, device};
use serde_json::json;
use std::process::Command;
use std::time::Instant;

const PART: &str = "check";

/// Finds the device.
pub fn find(context: &Context, deadline: Instant) -> Result<device::Device, String> {
    let mut command = Command::new(context.binary("operators"));
    let mut service = Service::start(command.arg("--serve"), &context.log("device"))?;
    let answer = service.ask(&json!({ "do": "list" }), deadline);
    let reason = || {
        let log = std::fs::read_to_string(context.log("device")).unwrap_or_default();
        // A line for each platform.
        let lines: Vec<&str> = log.lines().take(4).collect();
        if lines.is_empty() { "it says nothing".to_owned() } else { lines.join("; ") }
    };
    let answer = answer.map_err(|error| format!("{error}: {}", reason()))?;
    device::Device::read(&answer).ok_or_else(|| format!("not understood: {answer}"))
}

pub fn run(context: &Context, deadline: Instant) -> Vec<Row> {
    let info =
        child::run(&mut Command::new(context.binary("info")), &context.log("info"), deadline);
    let mut rows = vec![row("info starts", &info, "")];
    let Some(device) = &context.device else { return rows };
    let note = format!("{}, {}, {}", device.name, device.architecture, device.driver());
    rows.push(Row::new(PART, "device", Verdict::Passed, note));
    let (test, control) = match device.platform.as_str() {
        "cuda" => ("the_machine_code_runs", "with CUDA_DISABLE_PTX_JIT=1; PTX alone is refused"),
        _ => ("another_architecture_is_refused", "an image of another architecture is refused"),
    };
    let mut command = Command::new(context.binary("suite"));
    command.args(["--exact", &format!("tests::probes::machine_code::{test}"), "--nocapture"]);
    let log = context.log("machine-code");
    let ended = child::run(command.env("CUDA_DISABLE_PTX_JIT", "1"), &log, deadline);
    let printed = std::fs::read_to_string(log).unwrap_or_default();
    let name = "the images' machine code runs";
    if ended.passed() && !printed.contains("machine code runs: ") {
        // Passing without having asked proves nothing.
        rows.push(Row::new(PART, name, Verdict::Failed, "the control did not run"));
    } else {
        rows.push(row(name, &ended, control));
    }
    rows
}

fn row(name: &str, ended: &child::Ended, note: &str) -> Row {
    match Verdict::of(ended) {
        Verdict::Passed => Row::new(PART, name, Verdict::Passed, note),
        verdict => Row::new(PART, name, verdict, ended.text()),
    }
}
