//! NVIDIA's compute-sanitizer on some of the properties, where it is installed.

use crate::{Context, Row, Verdict, child};
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

const PART: &str = "sanitizer";

/// Each tool with its own options. Padding finds accesses between allocations.
const TOOLS: [(&str, &[&str]); 4] = [
    ("memcheck", &["--padding", "256"]),
    ("racecheck", &[]),
    ("initcheck", &[]),
    ("synccheck", &[]),
];

/// What a finding makes the exit status, unlike a failed test's.
const FOUND: &str = "86";

fn find() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let usual = ["/usr/local/cuda/bin", "/opt/cuda/bin"].map(PathBuf::from);
    let folders = std::env::split_paths(&path).chain(usual);
    folders.map(|folder| folder.join("compute-sanitizer")).find(|path| path.is_file())
}

pub fn run(context: &Context, deadline: Instant) -> Vec<Row> {
    let cuda = context.device.as_ref().is_some_and(|device| device.platform == "cuda");
    let Some(program) = find().filter(|_| cuda) else {
        let note = if cuda { "no compute-sanitizer here" } else { "for NVIDIA devices only" };
        return vec![Row::new(PART, "compute-sanitizer", Verdict::Skipped, note)];
    };
    let mut rows = Vec::new();
    for (index, (tool, options)) in TOOLS.into_iter().enumerate() {
        let left = deadline.saturating_duration_since(Instant::now());
        let own = Instant::now() + left / (TOOLS.len() - index) as u32;
        let mut command = Command::new(&program);
        command
            .args(["--tool", tool, "--error-exitcode", FOUND])
            .args(options)
            .arg(context.binary("suite"))
            // Not the tests that provoke errors of the driver: those would be found too.
            .args(["matches_reference", "rows_are_each", "--test-threads", "1"])
            .env("EXPERTILE_REQUIRE", "cuda")
            .env("PROPTEST_CASES", if context.simulated() { "2" } else { "24" })
            .env("PROPTEST_RNG_SEED", "1");
        let ended = child::run(&mut command, &context.log(tool), own);
        let (verdict, note) = match &ended {
            child::Ended::Exited(0) => (Verdict::Passed, String::new()),
            child::Ended::Exited(86) => (Verdict::Failed, format!("findings: logs/{tool}.log")),
            // Slowness says nothing about the kernels.
            child::Ended::TimedOut => (Verdict::Skipped, "out of time".into()),
            other => (Verdict::Failed, other.text()),
        };
        rows.push(Row::new(PART, tool, verdict, note));
        if Instant::now() + Duration::from_secs(1) > deadline {
            break;
        }
    }
    rows
}
