//! What probes are given: the same words on every machine.

use expertile::probe::Instruction;
use half::{bf16, f16};

/// Numbers at which conversions and arithmetic have their edges.
const EDGES: [u32; 28] = [
    0x0000_0000, // 0
    0x8000_0000,
    0x0000_0001, // the least subnormal
    0x8000_0001,
    0x007f_ffff, // the largest subnormal
    0x0080_0000, // the least normal
    0x3f80_0000, // 1
    0xbf80_0000,
    0x3f80_0001,
    0x3f80_8000, // a tie of bf16, to even downwards
    0x3f81_8000, // upwards
    0x3f80_8001,
    0x3f80_1000, // a tie of f16
    0x3f80_3000,
    0x3f80_1001,
    0x3300_0000, // half of f16's least subnormal
    0x3300_0001,
    0x387f_e000, // f16's largest subnormal is near
    0x477f_efff, // below where f16 overflows
    0x477f_f000, // where it does
    0x7f7f_7fff, // below where bf16 overflows
    0x7f7f_8000, // where it does
    0x7f7f_ffff, // the largest f32
    0x7f80_0000, // infinity
    0xff80_0000,
    0x7f80_0001, // a signalling NaN
    0x7fff_ffff,
    0xffc0_0123,
];

/// Words for `elements` elements: edges with edges first, then the kind that suits the instruction.
pub(super) fn of(instruction: &Instruction, elements: usize) -> Vec<u32> {
    let (name, inputs) = (instruction.name, instruction.inputs);
    let mut random = fastrand::Rng::with_seed(0x9e37);
    let mut words = Vec::with_capacity(elements * inputs);
    for element in 0..elements {
        for input in 0..inputs {
            words.push(match name {
                // A value that says where it came from, and a distance.
                "shfl_bfly" | "shfl_up" | "shfl_down" | "shfl_idx" => match input {
                    0 => random.u32(..),
                    // One distance for a warp, so that all of them are met; then one for each lane.
                    _ if element / 32 < 32 => (element / 32) as u32,
                    _ => random.u32(..32),
                },
                // Numbers of like size in every other wave.
                "wave_sum" if element / 64 % 2 == 1 => (2.0 * random.f32() - 1.0).to_bits(),
                "ldmatrix" | "ldmatrix_trans" | "stmatrix" => random.u32(..),
                "mma_bf16" => product(input, 4, 6, element / 32, &mut random, of_bf16),
                "mma_f16" => product(input, 4, 6, element / 32, &mut random, of_f16),
                "mfma_16x16x16_bf16" | "mfma_32x32x8_bf16" => {
                    product(input, 2, 4, element / 64, &mut random, of_bf16)
                }
                "mfma_16x16x16_f16" | "mfma_32x32x8_f16" => {
                    product(input, 2, 4, element / 64, &mut random, of_f16)
                }
                "cvt_f32_f16" => 16 * element as u32 + random.u32(..16),
                "sincos" => angle(element, &mut random),
                "cvt_rn_f32_s64" => integer_half(element, input, &mut random),
                "ex2_approx_f32" if element >= EDGES.len() => {
                    ((random.f32() - 0.5) * 260.0).to_bits()
                }
                "lg2_approx_f32" if element >= 2048 => (0.5 + 1.5 * random.f32()).to_bits(),
                _ => edge_or_random(element, input, &mut random),
            });
        }
    }
    words
}

fn edge_or_random(element: usize, input: usize, random: &mut fastrand::Rng) -> u32 {
    let edges = EDGES.len();
    match input {
        0 if element < edges * edges => EDGES[element % edges],
        1 if element < edges * edges => EDGES[element / edges],
        _ if element.is_multiple_of(2) => random.u32(..),
        // Numbers of like size, whose sums and products round.
        _ => (random.u32(..) & 0x80ff_ffff) + 0x3e80_0000,
    }
}

/// A word of A, of B from word `b` on, or of C from word `c` on: whole numbers whose sums are exact. In every
/// other product A is mostly zeros, so that few elements of B reach the sums.
fn product(
    word: usize,
    b: usize,
    c: usize,
    number: usize,
    random: &mut fastrand::Rng,
    bits: fn(f32) -> u16,
) -> u32 {
    if word >= c {
        return (random.i32(-10_000..10_000) as f32).to_bits();
    }
    let [low, high] = [0, 1].map(|_| {
        let zero = word < b && number.is_multiple_of(2) && random.u32(..16) != 0;
        let whole = if zero { 0 } else { random.i32(-127..128) };
        u32::from(bits(whole as f32))
    });
    high << 16 | low
}

fn of_bf16(number: f32) -> u16 {
    bf16::from_f32(number).to_bits()
}

fn of_f16(number: f32) -> u16 {
    f16::from_f32(number).to_bits()
}

/// Angles as rope makes them, and any f32.
fn angle(element: usize, random: &mut fastrand::Rng) -> u32 {
    match element % 4 {
        0 => edge_or_random(element / 4, 0, random),
        1 => random.u32(..),
        _ => {
            let exponent = random.u32(..64) as f32 / 64.0;
            let inv_freq = 1.0 / 500_000f32.powf(exponent);
            (random.u32(..131_072) as f32 * inv_freq).to_bits()
        }
    }
}

/// The halves of integers of every size, and of those that lie between two f32.
fn integer_half(element: usize, input: usize, random: &mut fastrand::Rng) -> u32 {
    let bits = element % 64;
    let tie = (1u64 << bits) | (1u64 << bits >> 24);
    let integer = match element / 64 % 4 {
        0 => tie,
        1 => tie.wrapping_neg(),
        2 => tie | 1,
        _ => return random.u32(..),
    };
    (integer >> (32 * input)) as u32
}
