//! A kernel written in PTX, with buffers of plain numbers.

use expertile_simulator::engine::{Device, INSTRUCTION_LIMIT, Launch, Outcome, Program};
use expertile_simulator::memory::Memory;
use expertile_simulator::ptx::Module;
use expertile_simulator::report::Kind;
use half::{bf16, f16};

/// Schedules to try; every third has the same model of sums.
pub(crate) const SEEDS: u64 = 24;

const DEVICE: Device =
    Device { compute_capability: 90, multiprocessors: 132, max_shared_bytes: 227 << 10 };

/// A kernel `k` of three pointers, in `%in`, `%out` and `%more`, with these registers: `%r<200>` b32,
/// `%f<300>` f32, `%d<20>` b64, `%p<8>` predicates; `%t` is the thread, `%s` the address of shared memory,
/// `%i` and `%o` those of the thread's part of the first two, 64 and 1024 bytes for each thread.
pub(crate) fn kernel(body: &str) -> String {
    format!(
        ".version 8.6\n.target sm_90a\n.address_size 64\n.extern .shared .align 1024 .b8 sm[];\n\
         .visible .entry k(.param .u64 in, .param .u64 out, .param .u64 more)\n{{\n\
         .reg .b64 %in, %out, %more, %i, %o, %d<20>;\n.reg .b32 %t, %s, %r<200>;\n\
         .reg .f32 %f<300>;\n.reg .pred %p<8>;\n\
         ld.param.u64 %in, [in];\nld.param.u64 %out, [out];\nld.param.u64 %more, [more];\n\
         mov.u32 %t, %tid.x;\nmov.u32 %s, sm;\n\
         mad.wide.u32 %i, %t, 64, %in;\nmad.wide.u32 %o, %t, 1024, %out;\n\
         {body}\nret;\n}}\n"
    )
}

/// What a launch left in the output.
pub(crate) struct Done {
    pub(crate) outcome: Outcome,
    pub(crate) out: Vec<u8>,
}

/// Launches a kernel of `threads` in one block with 64 KiB of shared memory.
pub(crate) fn launch(text: &str, threads: u32, input: &[u8], more: &[u8], seed: u64) -> Done {
    let module = Module::parse(text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    let mut memory = Memory::new(1 << 32, 1 << 26);
    let program = Program::load(module, &mut memory).expect("a program");
    let mut parameters = Vec::new();
    let mut buffer = |memory: &mut Memory, bytes: &[u8], size: usize| {
        let at = memory.allocate(size as u64).expect("memory");
        memory.write(at, bytes).expect("memory");
        parameters.extend(at.to_le_bytes());
        at
    };
    buffer(&mut memory, input, input.len().max(16));
    let size = threads as usize * 1024;
    let out = buffer(&mut memory, &[], size);
    buffer(&mut memory, more, more.len().max(16));
    let launch = Launch {
        kernel: "k",
        grid: [1; 3],
        block: [threads, 1, 1],
        dynamic_shared_bytes: 64 << 10,
        parameters: &parameters,
        seed,
        approximation_seed: seed,
        instruction_limit: INSTRUCTION_LIMIT,
        device: &DEVICE,
    };
    let outcome = program.launch(&mut memory, &launch);
    let mut left = vec![0; size];
    memory.read(out, &mut left).expect("its own allocation");
    Done { outcome, out: left }
}

impl Done {
    #[track_caller]
    pub(crate) fn clean(&self) -> &Done {
        let reports: Vec<String> = self.outcome.reports.iter().map(ToString::to_string).collect();
        assert!(reports.is_empty(), "{}", reports.join("\n"));
        self
    }

    /// There is a report of that kind that says this.
    #[track_caller]
    pub(crate) fn reports(&self, kind: Kind, text: &str) {
        let reports: Vec<String> = self.outcome.reports.iter().map(ToString::to_string).collect();
        let found = self.outcome.reports.iter().zip(&reports);
        let found = found.filter(|(report, line)| report.kind == kind && line.contains(text));
        assert!(found.count() > 0, "no {kind:?} `{text}` in:\n{}", reports.join("\n"));
    }

    /// The word at that place of the thread's part of the output.
    pub(crate) fn word(&self, thread: usize, word: usize) -> u32 {
        let at = 1024 * thread + 4 * word;
        u32::from_le_bytes(self.out[at..at + 4].try_into().expect("4 bytes"))
    }
}

pub(crate) fn bytes(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

/// Halves of a type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Half {
    Bf16,
    F16,
}

impl Half {
    pub(crate) const BOTH: [Half; 2] = [Half::Bf16, Half::F16];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Half::Bf16 => "bf16",
            Half::F16 => "f16",
        }
    }

    pub(crate) fn bits(self, value: f64) -> u16 {
        match self {
            Half::Bf16 => bf16::from_f64(value).to_bits(),
            Half::F16 => f16::from_f64(value).to_bits(),
        }
    }

    pub(crate) fn value(self, bits: u16) -> f64 {
        match self {
            Half::Bf16 => bf16::from_bits(bits).to_f64(),
            Half::F16 => f16::from_bits(bits).to_f64(),
        }
    }
}

/// Numbers that look random.
pub(crate) struct Numbers(pub(crate) u64);

impl Numbers {
    pub(crate) fn next(&mut self) -> u32 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        let mixed = self.0 ^ self.0 >> 29;
        (mixed.wrapping_mul(0xBF58_476D_1CE4_E5B9) >> 32) as u32
    }

    /// A whole number from -8 to 8.
    pub(crate) fn whole(&mut self) -> f64 {
        f64::from(self.next() % 17) - 8.0
    }

    /// From -1 to 1.
    pub(crate) fn fraction(&mut self) -> f64 {
        f64::from(self.next()) / 2f64.powi(31) - 1.0
    }
}

/// How far a step may be off: of the sum of all magnitudes.
pub(crate) const STEP_ERROR: f64 = 20.0 / (1 << 24) as f64;
