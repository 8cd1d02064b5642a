//! Launches one kernel of a file on a simulated device, under one or more schedules.

#[path = "simulate_kernel/argument.rs"]
mod argument;
#[path = "simulate_kernel/buffer.rs"]
mod buffer;
#[path = "simulate_kernel/number.rs"]
mod number;
#[path = "simulate_kernel/options.rs"]
mod options;
#[path = "simulate_kernel/tensor_map.rs"]
mod tensor_map;

use std::process::ExitCode;

use argument::Arguments;
use expertile_simulator::amdgcn;
use expertile_simulator::card::Card;
use expertile_simulator::engine::{Counters, INSTRUCTION_LIMIT, Launch, Outcome};
use expertile_simulator::memory::Memory;
use expertile_simulator::program::{Image, Program};
use expertile_simulator::{clang, nvcc};
use options::Options;

/// Where device memory begins.
const BASE: u64 = 1 << 42;

fn main() -> ExitCode {
    let result = match options::read() {
        Ok(Some(options)) => run(&options),
        Ok(None) => {
            print!("{}", options::HELP);
            return ExitCode::SUCCESS;
        }
        Err(message) => Err(format!("{message}; --help tells the arguments")),
    };
    match result {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::from(2),
        Err(message) => {
            eprintln!("simulate-kernel: {message}");
            ExitCode::FAILURE
        }
    }
}

/// The device, and what it takes of the file. Without `--arch`, a code object is for its own processor.
fn image(options: &Options) -> Result<(Card, Image), String> {
    let file = &options.file;
    let named = |message| format!("{}: {message}", file.display());
    let extension = file.extension().and_then(|extension| extension.to_str());
    let card = |otherwise: &str| Card::named(options.architecture.as_deref().unwrap_or(otherwise));
    let (card, bytes) = match extension {
        Some("cu") => {
            let card = card("sm_90a")?;
            if card.is_amd() {
                return Err(named(format!("CUDA C++, the device is {}", card.name())));
            }
            (card, nvcc::compile(file, card.name(), &[])?.into_bytes())
        }
        Some("hip") => {
            let card = card("gfx942")?;
            if !card.is_amd() {
                return Err(named(format!("HIP C++, the device is {}", card.name())));
            }
            (card, clang::compile(file, card.name(), &[])?)
        }
        _ => {
            let bytes = std::fs::read(file).map_err(|error| named(error.to_string()))?;
            (card(amdgcn::processor(&bytes).unwrap_or("sm_90a"))?, bytes)
        }
    };
    Ok((card, Image::choose(bytes, card).map_err(named)?))
}

/// What one launch did.
struct Run {
    outcome: Outcome,
    findings: Vec<String>,
    addresses: Vec<u64>,
    results: Vec<Vec<u8>>,
}

impl Run {
    fn is_whole(&self) -> bool {
        !self.outcome.reports.iter().any(|report| report.kind.is_fatal())
    }
}

/// Launches once per seed; gives the number of findings.
fn run(options: &Options) -> Result<usize, String> {
    let (card, image) = image(options)?;
    let arguments = Arguments::read(&options.arguments)?;
    let (mut findings, mut runs) = (0, 0);
    let mut first: Option<Run> = None;
    for seed in options.seed..=options.seed + (options.runs - 1) {
        let mut run = launch(options, card, &image, &arguments, seed)?;
        if let Some(first) = first.as_ref().filter(|first| first.is_whole() && run.is_whole()) {
            let buffers = &arguments.buffers;
            run.findings.extend(buffers.differences(&run.results, &first.results, options.seed));
        }
        if first.is_none() {
            arguments.buffers.show(&run.results);
            show(&run.outcome.counters);
        }
        for finding in &run.findings {
            println!("seed {seed}: {finding}");
        }
        findings += run.findings.len();
        runs += usize::from(!run.findings.is_empty());
        first.get_or_insert(run);
    }
    let Some(first) = first else { return Ok(0) };
    if findings > 0 {
        arguments.buffers.show_places(&first.addresses);
        println!("findings: {findings} in {runs} of {} runs; no file is written", options.runs);
    } else {
        arguments.buffers.write(&first.results)?;
    }
    Ok(findings)
}

fn launch(
    options: &Options,
    card: Card,
    image: &Image,
    arguments: &Arguments,
    seed: u64,
) -> Result<Run, String> {
    let mut memory = Memory::new(BASE, card.memory_bytes());
    let program = image.load(&mut memory)?;
    let addresses = arguments.buffers.place(&mut memory)?;
    let parameters = parameters(options, &program, arguments, &addresses)?;
    let mut device = card.device();
    device.multiprocessors = options.multiprocessors.unwrap_or(device.multiprocessors);
    let launch = Launch {
        kernel: &options.kernel,
        grid: options.grid,
        block: options.block.unwrap_or([card.warp_threads(), 1, 1]),
        dynamic_shared_bytes: options.shared,
        parameters: &parameters,
        seed,
        approximation_seed: options.approximation_seed,
        instruction_limit: INSTRUCTION_LIMIT,
        device: &device,
    };
    let outcome = program.launch(&mut memory, &launch);
    let mut findings: Vec<String> = outcome.reports.iter().map(ToString::to_string).collect();
    let traffic = &outcome.counters.traffic_by_allocation;
    let written = arguments.buffers.violations(traffic, &addresses);
    findings.extend(written.iter().map(|message| format!("{}: {message}", options.kernel)));
    let results = arguments.buffers.results(&memory, &addresses)?;
    Ok(Run { outcome, findings, addresses, results })
}

fn parameters(
    options: &Options,
    program: &Program,
    arguments: &Arguments,
    addresses: &[u64],
) -> Result<Vec<u8>, String> {
    let kernel = program.kernel(&options.kernel).ok_or_else(|| {
        let names: Vec<&str> = program.kernels().iter().map(|it| it.name.as_str()).collect();
        format!("no kernel `{}` among {}", options.kernel, names.join(", "))
    })?;
    arguments
        .pack(&kernel.parameters, addresses)
        .map_err(|error| format!("{}: {error}", kernel.name))
}

fn show(counters: &Counters) {
    let (traffic, shared) = (&counters.traffic, &counters.shared);
    println!(
        "{} warp instructions, {} blocks, {} barriers",
        counters.warp_instructions, counters.blocks, counters.barriers
    );
    println!(
        "global: {} bytes read in {} sectors ({} different), {} bytes written in {} sectors ({} different)",
        traffic.bytes_read,
        traffic.sectors_read,
        traffic.unique_sectors_read,
        traffic.bytes_written,
        traffic.sectors_written,
        traffic.unique_sectors_written
    );
    println!(
        "shared: {} instructions, {} passes, {} of them bank conflicts",
        shared.instructions, shared.passes, shared.conflicts
    );
    for (shape, count) in &counters.matrix {
        println!("matrix: {count} instructions {shape}");
    }
}
