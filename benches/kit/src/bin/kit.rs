//! `kit`: runs all parts on this machine's device, prints the table, leaves the archive.

use expertile_kit::benches::Results;
use expertile_kit::clock::{Clock, PARTS};
use expertile_kit::manifest::Manifest;
use expertile_kit::{Context, Row, Verdict};
use expertile_kit::{
    archive, benches, candle, check, child, ledger, plot, probes, program, properties, record,
    sanitizer, table,
};
use lexopt::prelude::*;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};
use std::{env, fs};
use time::OffsetDateTime;

const USAGE: &str = "usage: run.sh [--minutes N] [--only PART]... [--out DIR]
parts: check, properties, probes, candle, benches, sanitizer";

struct Options {
    minutes: f64,
    only: Vec<String>,
    out: PathBuf,
}

fn options() -> Result<Option<Options>, String> {
    let mut options = Options { minutes: 25.0, only: Vec::new(), out: PathBuf::from(".") };
    let mut arguments = lexopt::Parser::from_env();
    let text = |error: lexopt::Error| format!("{error}\n{USAGE}");
    while let Some(argument) = arguments.next().map_err(text)? {
        match argument {
            Long("minutes") => {
                let value = arguments.value().map_err(text)?;
                let minutes = value.to_string_lossy().parse().ok();
                options.minutes = minutes
                    .filter(|minutes| (0.05..=1440.0).contains(minutes))
                    .ok_or_else(|| format!("--minutes is {value:?}, expected 0.05 to 1440"))?;
            }
            Long("only") => {
                let part = arguments.value().map_err(text)?.to_string_lossy().into_owned();
                if part.starts_with("more-") || PARTS.iter().all(|(name, _)| *name != part) {
                    return Err(format!("no part {part}\n{USAGE}"));
                }
                options.only.push(part);
            }
            Long("out") => options.out = arguments.value().map_err(text)?.into(),
            Long("help") | Short('h') => {
                println!("{USAGE}");
                return Ok(None);
            }
            other => return Err(text(other.unexpected())),
        }
    }
    Ok(Some(options))
}

fn main() -> ExitCode {
    let start = Instant::now();
    let result = options().and_then(|options| match options {
        Some(options) => run(&options, start),
        None => Ok(true),
    });
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("kit: {error}");
            ExitCode::from(2)
        }
    }
}

fn run(options: &Options, start: Instant) -> Result<bool, String> {
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&child::INTERRUPTED))
            .map_err(|error| error.to_string())?;
    }
    let binary = env::current_exe().map_err(|error| error.to_string())?;
    let kit = binary.parent().and_then(Path::parent).ok_or("the kit is not in its folder")?;
    let text = |error: std::io::Error| format!("{}: {error}", options.out.display());
    fs::create_dir_all(&options.out).map_err(text)?;
    let results = options.out.canonicalize().map_err(text)?;
    let work = Work(results.join(format!("expertile-run-{}", std::process::id())));
    let (out, bin) = (work.0.join("results"), work.0.join("bin"));
    fs::create_dir_all(out.join("logs")).map_err(text)?;
    fs::create_dir_all(&bin).map_err(text)?;
    for entry in fs::read_dir(kit.join("bin")).map_err(text)?.flatten() {
        let from = entry.path();
        let Some(name) = from.file_stem() else { continue };
        program::install(&from, &kit.join("images"), &bin.join(name))
            .map_err(|error| format!("{}: {error}", from.display()))?;
    }
    let now = OffsetDateTime::now_utc();
    let mut context = Context {
        kit: kit.to_owned(),
        out,
        bin,
        manifest: Manifest::read(&kit.join("kit.json"))?,
        device: None,
        date: now.date().to_string(),
    };

    let mut rows = Vec::new();
    let patience = start + Duration::from_secs_f64((60.0 * options.minutes / 4.0).min(60.0));
    match check::find(&context, patience) {
        Ok(device) => context.device = Some(device),
        Err(error) => rows.push(Row::new("check", "device", Verdict::Skipped, error)),
    }
    let clock = Clock::new(start, options.minutes);
    let wanted = |name: &str| {
        let name = name.strip_prefix("more-").unwrap_or(name);
        options.only.is_empty() || options.only.iter().any(|only| only == name)
    };
    let parts: Vec<(&'static str, u32)> =
        PARTS.into_iter().filter(|(name, _)| wanted(name)).collect();
    let seed = now.unix_timestamp().unsigned_abs();
    let mut times = Results::default();
    for (index, &(part, _)) in parts.iter().enumerate() {
        let began = Instant::now();
        let deadline = clock.deadline(&parts, index, began);
        let simulated = context.simulated();
        let new = match part {
            "check" => check::run(&context, deadline),
            // Nothing else can be done without a device.
            _ if context.device.is_none() => Vec::new(),
            "properties" => properties::run(&context, part, seed, true, deadline),
            "probes" => probes::run(&context, deadline),
            "candle" => candle::run(&context, deadline),
            "benches" => {
                let (results, new) = benches::run(&context, deadline);
                times = results;
                new
            }
            "sanitizer" => sanitizer::run(&context, deadline),
            // One batch is enough to see that it works.
            "more-properties" if simulated => Vec::new(),
            // Seeds that the first batches cannot have come to.
            _ => properties::run(&context, part, seed + 1_000_000, false, deadline),
        };
        eprintln!("{part}: {:.0} s", began.elapsed().as_secs_f64());
        rows.extend(new);
    }
    finish(&context, &results, &rows, &times)
}

/// Writes everything into the run's folder, packs it, prints the table.
fn finish(
    context: &Context,
    results: &Path,
    rows: &[Row],
    times: &Results,
) -> Result<bool, String> {
    let passed = rows.iter().all(|row| row.verdict != Verdict::Failed);
    let proofs = properties::read(context);
    let table = table::table(context, rows, &proofs, times);
    let slug = context.device.as_ref().map_or("no-device".into(), |device| device.slug());
    let folder = context.out.join("record").join(&slug);
    let write = |path: PathBuf, text: &str| {
        fs::write(&path, text).map_err(|error| format!("{}: {error}", path.display()))
    };
    fs::create_dir_all(&folder).map_err(|error| error.to_string())?;
    if !times.cases.is_empty() {
        write(folder.join(format!("{}.csv", context.date)), &record::csv(context, times))?;
        plot::roofline(context, times, &folder.join(format!("{}.svg", context.date)))?;
        write(context.out.join("versions.json"), &times.versions)?;
    }
    // A property that failed anywhere leaves no proof of anything.
    let proven = rows.iter().filter(|row| row.part != "sanitizer" && row.part != "benches");
    let proven = proven.into_iter().all(|row| row.verdict != Verdict::Failed);
    let lines = ledger::of_run(context, &proofs, proven);
    write(context.out.join("ledger.csv"), &ledger::write(&lines))?;
    write(context.out.join("gpu"), &slug)?;
    write(context.out.join("table.txt"), &table)?;
    write(context.out.join("kit.json"), &context.manifest.json().to_string())?;
    let name = format!("expertile-{slug}-{}", context.date);
    let archive = results.join(format!("{name}.tar.gz"));
    archive::pack(&context.out, &name, &archive)
        .map_err(|error| format!("{}: {error}", archive.display()))?;
    print!("\n{table}\n{}\n", archive.display());
    Ok(passed)
}

/// The folder of the run, removed at its end: what it holds has been packed by then.
struct Work(PathBuf);

impl Drop for Work {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            eprintln!("kit: {}: {error}", self.0.display());
        }
    }
}
