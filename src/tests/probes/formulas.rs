//! What each probed instruction must give, by formulas that share nothing with kernels or simulator.

use super::matrices;
use half::{bf16, f16};

/// How answers are judged.
#[derive(Clone, Copy)]
pub(super) enum Judge {
    /// Bit for bit, from the inputs of 64 lanes, which are a wave or two warps, and the lane's number.
    Bits(fn(&[u32], usize) -> [u32; 2]),
    /// The same of more words than two.
    Words(fn(&[u32], usize) -> Vec<u32>),
    /// An f32, bit for bit unless it is NaN.
    Number(fn(&[u32]) -> u32),
    /// The same from the inputs of 64 lanes, which are a wave.
    OfWave(fn(&[u32]) -> u32),
    /// Pairs of 16 bits each, bit for bit unless the number is NaN.
    Halves { want: fn(&[u32]) -> [u32; 2], is_nan: fn(u16) -> bool },
    /// Off by at most the bound for the exact result.
    Close { exact: fn(f64) -> f64, bound: fn(f64) -> f64 },
}

pub(super) fn judge_of(name: &str) -> Option<Judge> {
    Some(match name {
        "add_rn_f32" => Judge::Number(|x| (f(x[0]) + f(x[1])).to_bits()),
        "mul_rn_f32" => Judge::Number(|x| (f(x[0]) * f(x[1])).to_bits()),
        "fma_rn_f32" => Judge::Number(|x| f(x[0]).mul_add(f(x[1]), f(x[2])).to_bits()),
        "div_rn_f32" => Judge::Number(|x| (f(x[0]) / f(x[1])).to_bits()),
        "rcp_rn_f32" => Judge::Number(|x| (1.0 / f(x[0])).to_bits()),
        "sqrt_rn_f32" => Judge::Number(|x| f(x[0]).sqrt().to_bits()),
        "min_nan_f32" => Judge::Number(|x| extreme(x, |a, b| a < b, 1)),
        "max_nan_f32" => Judge::Number(|x| extreme(x, |a, b| a > b, 0)),
        // CDNA3 ISA, "V_MIN_F32" and "V_MAX_F32": a number if either is one.
        "min_num_f32" => {
            Judge::Number(|x| number_of(x).unwrap_or_else(|| extreme(x, |a, b| a < b, 1)))
        }
        "max_num_f32" => {
            Judge::Number(|x| number_of(x).unwrap_or_else(|| extreme(x, |a, b| a > b, 0)))
        }
        "cvt_f32_s32" => Judge::Number(|x| (x[0] as i32 as f32).to_bits()),
        "cvt_f32_f16" => Judge::Number(|x| f16::from_bits(x[0] as u16).to_f32().to_bits()),
        "cvt_rn_bf16x2_f32" => Judge::Bits(|x, lane| [halves(x, lane, to_bf16), 0]),
        "cvt_rn_f16x2_f32" => Judge::Bits(|x, lane| [halves(x, lane, to_f16), 0]),
        "pack_bf16" => Judge::Halves {
            want: |x| [0, 2].map(|first| halves(&x[first..], 0, to_bf16)),
            is_nan: |half| bf16::from_bits(half).is_nan(),
        },
        "pack_f16" => Judge::Halves {
            want: |x| [0, 2].map(|first| halves(&x[first..], 0, to_f16)),
            is_nan: |half| f16::from_bits(half).is_nan(),
        },
        "cvt_rn_f32_s64" => Judge::Bits(|x, lane| {
            let integer = u64::from(x[2 * lane + 1]) << 32 | u64::from(x[2 * lane]);
            [(integer as i64 as f32).to_bits(), 0]
        }),
        "cvt_rzi_s64_f32" => Judge::Bits(|x, lane| {
            // NaN becomes 2^63 (PTX ISA, "cvt"); what is out of range becomes the nearest that is in.
            let number = f(x[lane]);
            let integer = if number.is_nan() { i64::MIN } else { number as i64 } as u64;
            [integer as u32, (integer >> 32) as u32]
        }),
        "shfl_bfly" => Judge::Bits(|x, lane| shuffle(x, lane, |lane, by, _| Some(lane ^ by))),
        "shfl_up" => Judge::Bits(|x, lane| {
            shuffle(x, lane, |lane, by, first| lane.checked_sub(by).filter(|&from| from >= first))
        }),
        "shfl_down" => Judge::Bits(|x, lane| shuffle(x, lane, |lane, by, _| Some(lane + by))),
        "shfl_idx" => Judge::Bits(|x, lane| {
            [32, 8].map(|width| {
                let by = x[2 * lane + 1] as usize;
                x[2 * (lane / width * width + by % width)]
            })
        }),
        // CDNA3 ISA, 13.3.9 DPP: a row has sixteen lanes.
        "dpp_quad_perm" => Judge::Bits(|x, lane| [x[lane ^ 1], x[lane ^ 2]]),
        "dpp_row_mirror" => Judge::Bits(|x, lane| [x[lane ^ 7], x[lane ^ 15]]),
        "readlane" => Judge::Bits(|x, _| [x[16], x[48]]),
        // Pairs, pairs of pairs, and so on within rows of sixteen, then the four rows.
        "wave_sum" => Judge::OfWave(|x| {
            let own: Vec<f32> = x.iter().map(|&bits| f(bits)).collect();
            let rows = [1, 2, 7, 15].into_iter().fold(own, |sums, other| {
                (0..64).map(|lane| sums[lane] + sums[lane ^ other]).collect()
            });
            ((rows[0] + rows[16]) + (rows[32] + rows[48])).to_bits()
        }),
        "ldmatrix" => Judge::Words(matrices::load),
        "ldmatrix_trans" => Judge::Words(matrices::load_transposed),
        "stmatrix" => Judge::Words(matrices::store),
        "mma_bf16" => Judge::Words(|x, lane| matrices::of_warp(x, lane, of_bf16)),
        "mma_f16" => Judge::Words(|x, lane| matrices::of_warp(x, lane, of_f16)),
        "mfma_16x16x16_bf16" => Judge::Words(|x, lane| matrices::of_wave::<16>(x, lane, of_bf16)),
        "mfma_16x16x16_f16" => Judge::Words(|x, lane| matrices::of_wave::<16>(x, lane, of_f16)),
        "mfma_32x32x8_bf16" => Judge::Words(|x, lane| matrices::of_wave::<32>(x, lane, of_bf16)),
        "mfma_32x32x8_f16" => Judge::Words(|x, lane| matrices::of_wave::<32>(x, lane, of_f16)),
        "sincos" => Judge::Bits(|x, lane| {
            let (sine, cosine) = expertile_kernels_cuda::host_sincos(f(x[lane]));
            [sine.to_bits(), cosine.to_bits()]
        }),
        // The errors that the PTX ISA states: 2^-22.5 of the result;
        "ex2_approx_f32" => {
            Judge::Close { exact: f64::exp2, bound: |want| want * 2f64.powf(-22.5) }
        }
        // 2^-22, of the result where the argument is outside of 0.5 to 2;
        "lg2_approx_f32" => {
            Judge::Close { exact: f64::log2, bound: |want| want.abs().max(1.0) * 2f64.powi(-22) }
        }
        // 1 ulp;
        "rcp_approx_f32" => Judge::Close { exact: |x| 1.0 / x, bound: ulp },
        // 2^-22.9 of the result.
        "rsqrt_approx_f32" => {
            Judge::Close { exact: |x| 1.0 / x.sqrt(), bound: |want| want * 2f64.powf(-22.9) }
        }
        _ => return None,
    })
}

/// The spacing of f32 numbers around `x`.
fn ulp(x: f64) -> f64 {
    super::super::harness::ulp_f32(x)
}

fn f(bits: u32) -> f32 {
    f32::from_bits(bits)
}

/// min or max: NaN if either is; of two zeros the one whose sign bit is `zero_sign`, if there is one.
fn extreme(x: &[u32], better: fn(f32, f32) -> bool, zero_sign: u32) -> u32 {
    let (a, b) = (f(x[0]), f(x[1]));
    if a.is_nan() || b.is_nan() {
        return 0x7fff_ffff;
    }
    if a == 0.0 && b == 0.0 {
        return if x[0] >> 31 == zero_sign { x[0] } else { x[1] };
    }
    if better(b, a) { x[1] } else { x[0] }
}

/// The one that is a number, or the first NaN; none if both are numbers.
fn number_of(x: &[u32]) -> Option<u32> {
    match (f(x[0]).is_nan(), f(x[1]).is_nan()) {
        (true, false) => Some(x[1]),
        (false, false) => None,
        _ => Some(x[0]),
    }
}

fn halves(x: &[u32], lane: usize, convert: fn(f32) -> u16) -> u32 {
    let [low, high] = [0, 1].map(|i| u32::from(convert(f(x[2 * lane + i]))));
    high << 16 | low
}

/// NaN is 0x7fff whatever it was (PTX ISA, "cvt": canonical NaN).
fn to_bf16(x: f32) -> u16 {
    if x.is_nan() { 0x7fff } else { bf16::from_f32(x).to_bits() }
}

fn to_f16(x: f32) -> u16 {
    if x.is_nan() { 0x7fff } else { f16::from_f32(x).to_bits() }
}

fn of_bf16(bits: u16) -> f32 {
    bf16::from_bits(bits).to_f32()
}

fn of_f16(bits: u16) -> f32 {
    f16::from_bits(bits).to_f32()
}

/// For segments of 32 and of 8 lanes: the value of the lane that `from` names, given the lane, the
/// distance and the segment's first lane; the own value if that is not in the segment.
fn shuffle(x: &[u32], lane: usize, from: fn(usize, usize, usize) -> Option<usize>) -> [u32; 2] {
    [32, 8].map(|width| {
        let first = lane / width * width;
        let by = x[2 * lane + 1] as usize;
        // Lanes before the segment may be read by bfly, lanes behind it never (PTX ISA, "shfl").
        let lane = from(lane, by, first).filter(|&from| from < first + width).unwrap_or(lane);
        x[2 * lane]
    })
}

/// Half of the distance between the least f32 numbers: what rounding to a subnormal may add.
const TINY: f64 = f32::MIN_POSITIVE as f64 / (1 << 24) as f64;

/// The distance from the exact result in units of the bound: 0 where both are NaN, or equal, or `want`
/// may be rounded to infinity and is.
pub(super) fn error_in_bounds(got: f32, want: f64, bound: f64) -> f64 {
    let (got, bound) = (f64::from(got), bound + TINY);
    if got == want || got.is_nan() && want.is_nan() {
        return 0.0;
    }
    if got.is_nan() || want.is_nan() || want.is_infinite() {
        return f64::INFINITY;
    }
    if got.is_infinite() {
        let overflows = want.abs() + bound >= f64::from(f32::MAX) && (got > 0.0) == (want > 0.0);
        return if overflows { 0.0 } else { f64::INFINITY };
    }
    (got - want).abs() / bound
}
