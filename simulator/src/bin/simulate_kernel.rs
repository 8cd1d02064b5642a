//! Launches one kernel of a PTX, CUDA or fat binary file on a simulated device.

#[path = "simulate_kernel/argument.rs"]
mod argument;
#[path = "simulate_kernel/options.rs"]
mod options;

use std::process::ExitCode;

use argument::Arguments;
use expertile_simulator::engine::{Device, INSTRUCTION_LIMIT, Launch, Outcome, Program};
use expertile_simulator::memory::Memory;
use expertile_simulator::ptx::Module;
use expertile_simulator::{fatbin, nvcc};
use options::Options;

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

/// The module for the wished architecture, and the number of that architecture.
fn module(options: &Options) -> Result<(Module, u32), String> {
    let wished: u32 = options.number()?;
    let bytes = match options.file.extension().is_some_and(|extension| extension == "cu") {
        true => nvcc::compile(&options.file, &options.architecture, &[])?.into_bytes(),
        false => std::fs::read(&options.file)
            .map_err(|error| format!("{}: {error}", options.file.display()))?,
    };
    let named = |message| format!("{}: {message}", options.file.display());
    let texts = fatbin::ptx_texts(&bytes).map_err(named)?;
    // As the driver does: the newest PTX that the device can run.
    let best = texts.iter().filter(|ptx| ptx.architecture <= wished).max_by_key(|p| p.architecture);
    let Some(best) = best else {
        let found: Vec<u32> = texts.iter().map(|ptx| ptx.architecture).collect();
        return Err(named(format!("PTX for {found:?}, none for {}", options.architecture)));
    };
    Ok((Module::parse(&best.text).map_err(named)?, wished))
}

/// Launches once per seed; gives the number of reports.
fn run(options: &Options) -> Result<usize, String> {
    let (module, architecture) = module(options)?;
    let device = Device {
        compute_capability: architecture,
        multiprocessors: options.multiprocessors,
        max_shared_bytes: if architecture >= 90 { 227 << 10 } else { 163 << 10 },
    };
    let mut reports = 0;
    let mut first: Option<Vec<Vec<u8>>> = None;
    for seed in options.seeds.clone() {
        let mut memory = Memory::new(1 << 33, 1 << 36);
        let program = Program::load(module.clone(), &mut memory)?;
        let arguments = Arguments::build(&options.arguments, &mut memory)?;
        let kernel = program.kernel(&options.kernel).ok_or_else(|| {
            let names: Vec<_> = program.kernels().iter().map(|kernel| &kernel.name).collect();
            format!("no kernel `{}` among {names:?}", options.kernel)
        })?;
        let parameters = arguments.pack(&kernel.parameters)?;
        let launch = Launch {
            kernel: &options.kernel,
            grid: options.grid,
            block: options.block,
            dynamic_shared_bytes: options.shared,
            parameters: &parameters,
            seed,
            approximation_seed: options.approximation_seed,
            instruction_limit: INSTRUCTION_LIMIT,
            device: &device,
        };
        let outcome = program.launch(&mut memory, &launch);
        for report in &outcome.reports {
            println!("seed {seed}: {report}");
        }
        reports += outcome.reports.len();
        let results = arguments.results(&memory)?;
        match &first {
            None => {
                arguments.show(&results)?;
                show(&outcome);
                first = Some(results);
            }
            Some(first) => {
                for (index, _) in results.iter().zip(first).enumerate().filter(|(_, (a, b))| a != b)
                {
                    println!(
                        "seed {seed}: result buffer {index} is not what seed {} gave",
                        options.seeds.start()
                    );
                }
            }
        }
    }
    Ok(reports)
}

fn show(outcome: &Outcome) {
    let counters = &outcome.counters;
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
}
