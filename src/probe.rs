//! Kernels that measure or question a machine: for tests and benches, not for engines.
//!
//! Feature `probes`. Each is launched as an operator is, so that what they say of the driver and the
//! machine holds for operators too.

mod product;

pub use product::{Lies, PRODUCTS, Product, multiply};

use crate::Source;
use crate::buffer::Buffer;
use crate::device::Device;
use crate::driver::{Geometry, Platform};
use crate::dtype::Dtype;
use crate::error::{Error, Result};
use crate::kernels::{PROBE_THREADS, ProbeParams};
use crate::stream::Stream;

/// A kernel that computes `outputs` words from `inputs` words of each element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Instruction {
    /// What it is called in tests and records.
    pub name: &'static str,
    entry: &'static str,
    /// Words that it reads for each element.
    pub inputs: usize,
    /// Words that it writes for each element.
    pub outputs: usize,
}

const fn instruction(entry: &'static str, inputs: usize, outputs: usize) -> Instruction {
    let (_, name) = entry.split_at("probe_".len());
    Instruction { name, entry, inputs, outputs }
}

impl Instruction {
    /// Whether the images of a device hold it.
    pub fn available(&self, device: &Device) -> bool {
        device.driver().kernel(self.entry).is_ok()
    }
}

/// Every instruction probe: those of CUDA alone, then those of both platforms, then those of HIP alone.
pub const INSTRUCTIONS: [Instruction; 40] = [
    // Of sm_90a.
    instruction("probe_stmatrix", 4, 4),
    // Of matrices.
    instruction("probe_mma_bf16", 10, 4),
    instruction("probe_mma_f16", 10, 4),
    instruction("probe_ldmatrix", 4, 4),
    instruction("probe_ldmatrix_trans", 4, 4),
    // Of CUDA alone.
    instruction("probe_min_nan_f32", 2, 1),
    instruction("probe_max_nan_f32", 2, 1),
    instruction("probe_cvt_rn_bf16x2_f32", 2, 1),
    instruction("probe_cvt_rn_f16x2_f32", 2, 1),
    instruction("probe_cvt_rn_f32_s64", 2, 1),
    instruction("probe_cvt_rzi_s64_f32", 1, 2),
    instruction("probe_shfl_bfly", 2, 2),
    instruction("probe_shfl_up", 2, 2),
    instruction("probe_shfl_down", 2, 2),
    instruction("probe_shfl_idx", 2, 2),
    instruction("probe_ex2_approx_f32", 1, 1),
    instruction("probe_lg2_approx_f32", 1, 1),
    instruction("probe_rcp_approx_f32", 1, 1),
    instruction("probe_rsqrt_approx_f32", 1, 1),
    // Of both.
    instruction("probe_add_rn_f32", 2, 1),
    instruction("probe_mul_rn_f32", 2, 1),
    instruction("probe_fma_rn_f32", 3, 1),
    instruction("probe_div_rn_f32", 2, 1),
    instruction("probe_rcp_rn_f32", 1, 1),
    instruction("probe_sqrt_rn_f32", 1, 1),
    instruction("probe_cvt_f32_f16", 1, 1),
    instruction("probe_sincos", 1, 2),
    // Of HIP alone.
    instruction("probe_cvt_f32_s32", 1, 1),
    instruction("probe_min_num_f32", 2, 1),
    instruction("probe_max_num_f32", 2, 1),
    instruction("probe_pack_bf16", 4, 2),
    instruction("probe_pack_f16", 4, 2),
    instruction("probe_dpp_quad_perm", 1, 2),
    instruction("probe_dpp_row_mirror", 1, 2),
    instruction("probe_readlane", 1, 2),
    instruction("probe_wave_sum", 1, 1),
    // Of matrices.
    instruction("probe_mfma_16x16x16_bf16", 8, 4),
    instruction("probe_mfma_16x16x16_f16", 8, 4),
    instruction("probe_mfma_32x32x8_bf16", 20, 16),
    instruction("probe_mfma_32x32x8_f16", 20, 16),
];

/// Where the parts of them begin, but for the first.
const OF_CUDA_MATRICES: usize = 1;
const OF_CUDA_ALONE: usize = 5;
const OF_BOTH: usize = 19;
const OF_HIP_ALONE: usize = 27;
const OF_HIP_MATRICES: usize = 36;

/// Elements must be a multiple of this: the threads of a block.
pub const ELEMENTS: u64 = PROBE_THREADS as u64;

const READ_STREAM: &str = "probe_read_stream";

/// The kernels of each source file of a platform.
#[cfg(any(feature = "cuda", feature = "hip"))]
pub(crate) fn kernels(platform: Platform) -> &'static [Source] {
    const fn instructions(stem: &'static str, first: usize, end: usize) -> Source {
        Source::common(stem, ENTRIES.split_at(end).0.split_at(first).1)
    }
    const fn of_sm90(common: Source) -> Source {
        Source { images: &["sm_90a"], ..common }
    }
    const STREAM: Source = Source::common("probe_stream", &[READ_STREAM]);
    const CUDA: &[Source] = &[
        of_sm90(instructions("probe_matrix_sm90", 0, OF_CUDA_MATRICES)),
        instructions("probe_matrix", OF_CUDA_MATRICES, OF_CUDA_ALONE),
        instructions("probe_instructions", OF_CUDA_ALONE, OF_HIP_ALONE),
        of_sm90(Source::common("probe_wgmma", &product::ENTRIES)),
        STREAM,
    ];
    const HIP: &[Source] = &[
        instructions("probe_instructions", OF_BOTH, OF_HIP_MATRICES),
        instructions("probe_matrix", OF_HIP_MATRICES, INSTRUCTIONS.len()),
        STREAM,
    ];
    match platform {
        Platform::Cuda => CUDA,
        Platform::Hip => HIP,
    }
}

const ENTRIES: [&str; INSTRUCTIONS.len()] = {
    let mut entries = [""; INSTRUCTIONS.len()];
    let mut i = 0;
    while i < entries.len() {
        entries[i] = INSTRUCTIONS[i].entry;
        i += 1;
    }
    entries
};

fn check(
    buffer: &Buffer,
    argument: &'static str,
    dtype: Dtype,
    expected: u64,
    stream: &Stream,
) -> Result<()> {
    if buffer.dtype() != dtype {
        return Err(Error::value("probe", argument, buffer.dtype(), dtype.to_string()));
    }
    if buffer.device().identity() != stream.device().identity() {
        let (found, expected) = (buffer.device().to_string(), stream.device().to_string());
        return Err(Error::value("probe", argument, found, expected));
    }
    if buffer.elements() != expected {
        return Err(Error::Shape {
            operator: "probe",
            argument,
            found: vec![buffer.elements()],
            expected: vec![expected],
        });
    }
    Ok(())
}

/// Runs an instruction probe on words: `input` is `[elements, inputs]`, `output`
/// `[elements, outputs]`, both `i32`; elements are a multiple of [`ELEMENTS`].
///
/// # Errors
///
/// `Value` or `Shape` if type, length or device differ, `Driver`.
pub fn run(
    stream: &Stream,
    instruction: &Instruction,
    input: &Buffer,
    output: &mut Buffer,
) -> Result<()> {
    let elements = input.elements() / instruction.inputs as u64;
    if !elements.is_multiple_of(ELEMENTS) || elements / ELEMENTS > i32::MAX as u64 {
        let expected = format!("a multiple of {ELEMENTS}");
        return Err(Error::value("probe", "elements", elements, expected));
    }
    check(input, "input", Dtype::I32, elements * instruction.inputs as u64, stream)?;
    check(output, "output", Dtype::I32, elements * instruction.outputs as u64, stream)?;
    if elements == 0 {
        return Ok(());
    }
    // SAFETY: the kernel reads `inputs` and writes `outputs` words for each of the `elements`, as
    // many as the buffers hold, which are freed after the device is idle.
    unsafe { launch(stream, instruction.entry, elements / ELEMENTS, input, output, elements) }
}

/// Whether the images of a device hold [`read_stream`].
pub fn available(device: &Device) -> bool {
    device.driver().kernel(READ_STREAM).is_ok()
}

/// Words of `output` that [`read_stream`] needs on a device.
pub fn read_stream_outputs(multiprocessors: u32) -> u64 {
    // As many blocks as are resident: 2048 threads of a multiprocessor, 32 waves of 64 of a compute unit.
    u64::from(multiprocessors) * 2048
}

/// Reads all of `input` once, 16 bytes at a time; what is beyond a multiple of 16 bytes is left out.
/// Each word of `output` becomes the XOR of the words that one thread read.
///
/// # Errors
///
/// `Value` or `Shape` if type, length or device differ, `Driver`.
pub fn read_stream(stream: &Stream, input: &Buffer, output: &mut Buffer) -> Result<()> {
    let threads = read_stream_outputs(stream.device().info().multiprocessors);
    check(input, "input", Dtype::I32, input.elements(), stream)?;
    check(output, "output", Dtype::I32, threads, stream)?;
    let vectors = input.elements() / 4;
    // SAFETY: the kernel reads `vectors` vectors of four words, which `input` holds, and writes one
    // word for each thread of the grid, which `output` holds; both are freed after the device is idle.
    unsafe { launch(stream, READ_STREAM, threads / ELEMENTS, input, output, vectors) }
}

/// # Safety
///
/// What `entry` does with `count` stays within the buffers.
unsafe fn launch(
    stream: &Stream,
    entry: &'static str,
    blocks: u64,
    input: &Buffer,
    output: &mut Buffer,
    count: u64,
) -> Result<()> {
    let geometry = Geometry {
        grid: [blocks as u32, 1, 1],
        threads: PROBE_THREADS,
        shared_bytes: 0,
        cluster_blocks: 1,
    };
    let params = ProbeParams {
        input: input.address() as *const u32,
        output: output.address() as *mut u32,
        count,
    };
    // SAFETY: the probes take `ProbeParams`; the caller vouches for the extents.
    unsafe { stream.launch(entry, &geometry, &params) }
}
