//! Multiply-adds per second of matrix instructions, in each model of their sums.
//!
//! `matrix_speed [INSTRUCTIONS]`: a warp's `mma.sync`, a warpgroup's `wgmma` of 256 columns.

use expertile_simulator::engine::{Device, INSTRUCTION_LIMIT, Launch, Program};
use expertile_simulator::memory::Memory;
use expertile_simulator::ptx::Module;
use std::time::Instant;

fn main() {
    let count: u64 = std::env::args().nth(1).map_or(2000, |s| s.parse().expect("a number"));
    let registers = |count: usize| -> String {
        (0..count).map(|at| format!("%f{at}")).collect::<Vec<_>>().join(", ")
    };
    let zero: String = (0..128).map(|at| format!("mov.f32 %f{at}, 0f3F800000;\n")).collect();
    let words = "mov.b32 %r0, 0x3F813F91;\nmov.b32 %r1, 0x3E453F12;\n";
    let mma = "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%f0, %f1, %f2, %f3}, \
               {%r0, %r1, %r0, %r1}, {%r1, %r0}, {%f0, %f1, %f2, %f3};\n";
    // Both matrices with a swizzle of 128 bytes, K-major.
    let descriptor = |start: u64| 1u64 << 62 | (1024 >> 4) << 32 | 1 << 16 | start >> 4;
    let fill = "mov.u32 %r3, %tid.x;\nfill:\nshl.b32 %r4, %r3, 2;\n\
                mad.lo.u32 %r5, %r3, 0x00010003, 0x3F013E81;\nand.b32 %r5, %r5, 0x3FFF3FFF;\n\
                st.shared.b32 [%r4], %r5;\nadd.u32 %r3, %r3, 128;\nsetp.lt.u32 %p0, %r3, 10240;\n\
                @%p0 bra fill;\nfence.proxy.async;\nbar.sync 0;\n";
    let wgmma = format!(
        "wgmma.fence.sync.aligned;\n{}wgmma.commit_group.sync.aligned;\n\
         wgmma.wait_group.sync.aligned 0;\n",
        (0..4)
            .map(|step| format!(
                "wgmma.mma_async.sync.aligned.m64n256k16.f32.bf16.bf16 {{{}}}, {}, {}, 1, 1, 1, 0, 0;\n",
                registers(128),
                descriptor(32 * step),
                descriptor(8192 + 32 * step),
            ))
            .collect::<String>()
    );
    let cases = [
        ("mma.sync m16n8k16", zero.clone() + words, mma.to_owned(), 32, count, 16 * 8 * 16),
        ("wgmma m64n256k16", zero + fill, wgmma, 128, count / 40, 4 * 64 * 256 * 16),
    ];
    for (name, before, body, threads, rounds, products) in cases {
        let text = format!(
            ".version 8.6\n.target sm_90a\n.address_size 64\n.extern .shared .align 1024 .b8 sm[];\n\
             .visible .entry k()\n{{\n.reg .f32 %f<128>;\n.reg .b32 %r<10>;\n.reg .pred %p<2>;\n\
             {before}mov.u32 %r9, 0;\nloop:\n{body}add.u32 %r9, %r9, 1;\n\
             setp.lt.u32 %p1, %r9, {rounds};\n@%p1 bra loop;\nret;\n}}\n"
        );
        let module = Module::parse(&text).expect("PTX");
        let mut memory = Memory::new(1 << 32, 1 << 20);
        let program = Program::load(module, &mut memory).expect("a program");
        let device =
            Device { compute_capability: 90, multiprocessors: 132, max_shared_bytes: 227 << 10 };
        for (model, of) in ["nearest", "eights", "sixteen"].into_iter().enumerate() {
            let launch = Launch {
                kernel: "k",
                grid: [1; 3],
                block: [threads, 1, 1],
                dynamic_shared_bytes: 64 << 10,
                parameters: &[],
                seed: 1,
                approximation_seed: model as u64,
                instruction_limit: INSTRUCTION_LIMIT,
                device: &device,
            };
            let start = Instant::now();
            let outcome = program.launch(&mut memory, &launch);
            let seconds = start.elapsed().as_secs_f64();
            outcome.reports.iter().for_each(|report| println!("{report}"));
            let rate = (rounds * products) as f64 / seconds / 1e6;
            println!("{name}, {of}: {rate:.0} M multiply-adds per second");
        }
    }
}
