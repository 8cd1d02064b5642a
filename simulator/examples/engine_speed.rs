//! Warp instructions per second of a kernel in a PTX file or in an AMD code object.
//!
//! `engine_speed FILE KERNEL BLOCKS THREADS [SEEDS]`, for the kernels `rope_bf16` and
//! `layer_norm_bf16` (hidden 6144) and others with the parameters below.

use expertile_simulator::engine::{self, Device, INSTRUCTION_LIMIT, Launch};
use expertile_simulator::memory::Memory;
use expertile_simulator::program::Program;
use expertile_simulator::{amdgcn, ptx::Module};
use std::time::Instant;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let file = std::fs::read(&arguments[0]).expect("the file");
    let kernel = &arguments[1];
    let blocks: u32 = arguments[2].parse().expect("a number of blocks");
    let threads: u32 = arguments[3].parse().expect("a number of threads");
    let seeds: u64 = arguments.get(4).map_or(10, |s| s.parse().expect("a number"));
    let mut memory = Memory::new(1 << 32, 1 << 34);
    let program = if amdgcn::processor(&file).is_some() {
        Program::Amdgcn(amdgcn::Program::load(&file, &mut memory).expect("a program"))
    } else {
        let module = Module::parse(&String::from_utf8_lossy(&file)).expect("PTX");
        Program::Ptx(engine::Program::load(module, &mut memory).expect("a program"))
    };
    let device =
        Device { compute_capability: 90, multiprocessors: 132, max_shared_bytes: 227 << 10 };
    let hidden = 6144u32;
    let mut buffer = |bytes: u64| {
        let at = memory.allocate(bytes).expect("memory");
        let data: Vec<u8> = (0..bytes / 2).flat_map(|i| [i as u8, 0x3F]).collect();
        memory.write(at, &data).expect("memory");
        at
    };
    let rows = u64::from(blocks * hidden * 2);
    let mut parameters = Vec::new();
    match kernel.as_str() {
        "vadd" => {
            let n = blocks * threads;
            for _ in 0..3 {
                parameters.extend(buffer(u64::from(n) * 4).to_le_bytes());
            }
            parameters.extend(n.to_le_bytes());
        }
        // `kernels.h`: RopeParams of DBRX, and NormParams.
        "rope_bf16" => {
            let tokens = u64::from(blocks);
            let data =
                [buffer(tokens * 64 * 256), buffer(tokens * 8 * 256), buffer(tokens * 8 * 256)];
            let positions = buffer(tokens * 4);
            let slots = buffer(tokens * 8);
            for token in 0..tokens {
                memory.write(positions + 4 * token, &(token as u32).to_le_bytes()).expect("memory");
                memory.write(slots + 8 * token, &token.to_le_bytes()).expect("memory");
            }
            let frequencies = memory.allocate(256).expect("memory");
            memory.write(frequencies, &[0x3C; 256]).expect("memory");
            for value in data.into_iter().chain([positions, slots, frequencies]) {
                parameters.extend(value.to_le_bytes());
            }
            for stride in [64 * 128, tokens * 1024, 1024, 128, tokens * 1024, 1024, 128, tokens] {
                parameters.extend(stride.to_le_bytes());
            }
            for extent in [blocks, 48, 8, 128, blocks, 64] {
                parameters.extend(extent.to_le_bytes());
            }
            parameters.extend(8f32.to_le_bytes());
            parameters.extend(0u32.to_le_bytes());
        }
        "layer_norm_bf16" => {
            for bytes in [rows, rows, u64::from(hidden) * 2, rows, rows] {
                parameters.extend(buffer(bytes).to_le_bytes());
            }
            (0..4).for_each(|_| parameters.extend(u64::from(hidden).to_le_bytes()));
            parameters.extend(blocks.to_le_bytes());
            parameters.extend(hidden.to_le_bytes());
            parameters.extend(1e-5f32.to_le_bytes());
            parameters.extend(0u32.to_le_bytes());
        }
        _ => {
            for bytes in [rows, u64::from(hidden) * 2, rows] {
                parameters.extend(buffer(bytes).to_le_bytes());
            }
            parameters.extend(hidden.to_le_bytes());
            parameters.extend(1e-5f32.to_le_bytes());
        }
    }
    let (mut instructions, mut seconds) = (0, 0.0);
    for seed in 0..seeds {
        let launch = Launch {
            kernel,
            grid: [blocks, 1, 1],
            block: [threads, 1, 1],
            dynamic_shared_bytes: 0,
            parameters: &parameters,
            seed,
            approximation_seed: 1,
            instruction_limit: INSTRUCTION_LIMIT,
            device: &device,
        };
        let start = Instant::now();
        let outcome = program.launch(&mut memory, &launch);
        let elapsed = start.elapsed().as_secs_f64();
        for report in &outcome.reports {
            println!("{report}");
        }
        let count = outcome.counters.warp_instructions;
        println!("seed {seed}: {count} in {elapsed:.4} s: {:.2} M/s", count as f64 / elapsed / 1e6);
        instructions += count;
        seconds += elapsed;
    }
    println!("{:.2} M warp instructions per second", instructions as f64 / seconds / 1e6);
}
