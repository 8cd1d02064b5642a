//! The operators as candle's, on its GPU against its CPU, where CUDA's libraries are.

use crate::{Context, Row, Verdict, child};
use std::env;
use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

const PART: &str = "candle";
const NAME: &str = "operators";

/// The loader's status for a library that is not there.
const NOT_LOADED: i32 = 127;

/// Where CUDA's libraries are beside the loader's own places: the toolkit's, and those that Python's
/// packages bring.
fn folders(context: &Context, deadline: Instant) -> Vec<PathBuf> {
    let log = context.log("candle-libraries");
    let script = "import nvidia; print(*nvidia.__path__, sep='\\n')";
    let found = child::run(Command::new("python3").args(["-c", script]), &log, deadline).passed();
    let printed = std::fs::read_to_string(log).unwrap_or_default();
    let packages =
        printed.lines().filter(|_| found).map(|line| PathBuf::from(line).join("cu13/lib"));
    let own = env::var_os("LD_LIBRARY_PATH").unwrap_or_default();
    let own = env::split_paths(&own).filter(|folder| !folder.as_os_str().is_empty());
    own.chain(["/usr/local/cuda/lib64".into()]).chain(packages).collect()
}

pub fn run(context: &Context, deadline: Instant) -> Vec<Row> {
    if context.device.as_ref().is_none_or(|device| device.platform != "cuda") {
        return vec![Row::new(PART, NAME, Verdict::Skipped, "for NVIDIA devices only")];
    }
    let patience = Instant::now() + deadline.saturating_duration_since(Instant::now()) / 4;
    let folders = env::join_paths(folders(context, patience)).unwrap_or_default();
    let mut command = Command::new(context.binary("expertile-candle"));
    command.env("LD_LIBRARY_PATH", folders).env("RUST_BACKTRACE", "0");
    let ended = child::run(&mut command, &context.log(PART), deadline);
    let printed = std::fs::read_to_string(context.log(PART)).unwrap_or_default();
    let line = printed.lines().find(|line| !line.is_empty()).unwrap_or_default();
    let (verdict, note) = match &ended {
        child::Ended::Exited(0) if line.ends_with("as on the CPU") => {
            (Verdict::Passed, line.into())
        }
        // Passing without having compared proves nothing.
        child::Ended::Exited(0) => (Verdict::Failed, "nothing was compared".into()),
        child::Ended::Exited(NOT_LOADED) => {
            let reason = line.split("shared libraries: ").last().unwrap_or_default();
            (Verdict::Skipped, reason.into())
        }
        other => (Verdict::of(other), format!("{}: {line}", other.text())),
    };
    vec![Row::new(PART, NAME, verdict, note)]
}
