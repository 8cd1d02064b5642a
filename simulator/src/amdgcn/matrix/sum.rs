//! Products and how they are added.
//!
//! No document says it; the seed chooses among what is likely, for all elements alike: as Xie et al.
//! measured it ("MMA-Sim: Bit-Accurate Reference Model of Tensor Cores and Matrix Cores", 2025; gfx950,
//! which they did not, as gfx942), all products of an element at once, four at a time, or one after
//! the other. Whichever it is, an element is off by at most `k * 2^-23` of the sum of the absolute
//! products and accumulator, and `k * 2^-126` of underflow.

use super::super::decode::Architecture;
use super::super::wave::{Lanes, Vector};
use super::{Element, Shape};

/// The factors in A or B: `values[(block * k + at) * m + row]`.
#[repr(C, align(64))]
pub(super) struct Factors {
    pub(super) values: [f32; 512],
}

impl Factors {
    pub(super) fn new() -> Factors {
        Factors { values: [0.0; 512] }
    }
}

/// How the products of an element are added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sum {
    /// So many at a time in f64, rounded once.
    Wide(usize),
    /// One after the other by fused multiply-add.
    Each,
    /// gfx90a: pairs of pairs, each product and sum rounded, subnormal ones flushed.
    Pairs,
    /// gfx942: eight at a time, cut off 24 bits below the largest.
    Eights,
}

impl Sum {
    pub(super) fn choose(seed: u64, architecture: Architecture, element: Element) -> Sum {
        match (seed % 4, architecture, element) {
            (1, ..) => Sum::Wide(64),
            (2, ..) => Sum::Wide(4),
            (3, ..) | (_, _, Element::F32) => Sum::Each,
            (_, Architecture::Gfx90a, _) => Sum::Pairs,
            _ => Sum::Eights,
        }
    }
}

/// The low (0) or high (1) halves of registers, or whole ones, as f32. gfx90a flushes subnormal ones.
#[inline]
pub(super) fn convert(words: &Lanes, half: usize, element: Element, flushes: bool) -> [f32; 64] {
    let mut out = [0.0; 64];
    let shift = 16 * half as u32;
    let smallest = match element {
        _ if !flushes => 0.0,
        Element::F16 => f32::from_bits(0x3880_0000),
        _ => f32::MIN_POSITIVE,
    };
    for lane in 0..64 {
        let value = match element {
            Element::F32 => f32::from_bits(words[lane]),
            Element::Bf16 => f32::from_bits(words[lane] >> shift << 16),
            Element::F16 => from_half(words[lane] >> shift & 0xFFFF),
        };
        out[lane] = if value.abs() < smallest { 0.0 } else { value };
    }
    out
}

/// An f16 without branches, so that the loop over lanes becomes vectors.
#[inline(always)]
fn from_half(bits: u32) -> f32 {
    // Its exponent's bias is 112 less than f32's; the multiplication makes subnormal ones normal.
    let number = f32::from_bits((bits & 0x7FFF) << 13) * f32::from_bits((127 + 112) << 23);
    let special = if bits & 0x7C00 == 0x7C00 { 0x7F80_0000 } else { 0 };
    f32::from_bits(number.to_bits() | special | (bits & 0x8000) << 16)
}

/// Adds the products to C, which becomes D.
pub(super) fn multiply(
    shape: Shape,
    sum: Sum,
    flushes: bool,
    a: &Factors,
    b: &Factors,
    c: &mut [Vector],
) {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
        // SAFETY: the processor has these features.
        return unsafe { multiply_avx2(shape, sum, flushes, a, b, c) };
    }
    blocks(shape, sum, flushes, a, b, c);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn multiply_avx2(
    shape: Shape,
    sum: Sum,
    flushes: bool,
    a: &Factors,
    b: &Factors,
    c: &mut [Vector],
) {
    blocks(shape, sum, flushes, a, b, c);
}

#[inline(always)]
fn blocks(shape: Shape, sum: Sum, flushes: bool, a: &Factors, b: &Factors, c: &mut [Vector]) {
    if shape.m == 4 {
        columns::<4>(shape, sum, flushes, a, b, c);
    } else {
        columns::<16>(shape, sum, flushes, a, b, c);
    }
}

/// Four rows and `W` columns at a time.
#[inline(always)]
fn columns<const W: usize>(
    shape: Shape,
    sum: Sum,
    flushes: bool,
    a: &Factors,
    b: &Factors,
    c: &mut [Vector],
) {
    let Shape { m, k, element, .. } = shape;
    for (four, registers) in c.chunks_exact_mut(4).enumerate() {
        for lane in (0..64).step_by(W) {
            let (block, row) = shape.rows(four, lane / m);
            let a = &a.values[block * k * m + row..];
            let b = &b.values[block * k * m + lane % m..];
            let mut sums = [[0.0f32; W]; 4];
            for (sums, register) in sums.iter_mut().zip(&*registers) {
                for (sum, bits) in sums.iter_mut().zip(&register.0[lane..]) {
                    *sum = f32::from_bits(*bits);
                    *sum = if flushes && sum.is_subnormal() { 0.0 } else { *sum };
                }
            }
            let products = Products { a, b, m, k };
            match sum {
                Sum::Wide(step) => wide(&products, step, &mut sums),
                Sum::Each => each(&products, &mut sums),
                Sum::Pairs => pairs(&products, &mut sums),
                Sum::Eights => eights(&products, element, &mut sums),
            }
            for (sums, register) in sums.iter().zip(&mut *registers) {
                for (sum, bits) in sums.iter().zip(&mut register.0[lane..]) {
                    *bits = if flushes { flushed(*sum) } else { *sum }.to_bits();
                }
            }
        }
    }
}

/// The factors of four rows and some columns: `a[at * m + row]`, `b[at * m + column]`.
struct Products<'a> {
    a: &'a [f32],
    b: &'a [f32],
    m: usize,
    k: usize,
}

impl Products<'_> {
    #[inline(always)]
    fn left(&self, at: usize, row: usize) -> f32 {
        self.a[at * self.m + row]
    }

    #[inline(always)]
    fn right<const W: usize>(&self, at: usize) -> &[f32; W] {
        match self.b[at * self.m..].first_chunk() {
            Some(columns) => columns,
            None => &[0.0; W],
        }
    }
}

#[inline(always)]
fn each<const W: usize>(products: &Products<'_>, sums: &mut [[f32; W]; 4]) {
    for at in 0..products.k {
        let b = products.right::<W>(at);
        for (row, sums) in sums.iter_mut().enumerate() {
            let a = products.left(at, row);
            for column in 0..W {
                sums[column] = a.mul_add(b[column], sums[column]);
            }
        }
    }
}

#[inline(always)]
fn wide<const W: usize>(products: &Products<'_>, step: usize, sums: &mut [[f32; W]; 4]) {
    // Two rows, which fit the processor's registers.
    for (pair, sums) in sums.chunks_exact_mut(2).enumerate() {
        for first in (0..products.k).step_by(step) {
            let mut wide = [[0.0f64; W]; 2];
            for (wide, sums) in wide.iter_mut().zip(&*sums) {
                *wide = sums.map(f64::from);
            }
            for at in first..(first + step).min(products.k) {
                let b = products.right::<W>(at);
                for (row, wide) in wide.iter_mut().enumerate() {
                    let a = f64::from(products.left(at, 2 * pair + row));
                    for column in 0..W {
                        wide[column] = a.mul_add(b[column].into(), wide[column]);
                    }
                }
            }
            for (sums, wide) in sums.iter_mut().zip(&wide) {
                *sums = wide.map(|value| value as f32);
            }
        }
    }
}

/// Zero of the same sign for what is subnormal.
#[inline(always)]
fn flushed(value: f32) -> f32 {
    if value.abs() < f32::MIN_POSITIVE { value * 0.0 } else { value }
}

#[inline(always)]
fn pairs<const W: usize>(products: &Products<'_>, sums: &mut [[f32; W]; 4]) {
    for first in (0..products.k).step_by(4) {
        let b: [&[f32; W]; 4] = std::array::from_fn(|at| products.right(first + at));
        for (row, sums) in sums.iter_mut().enumerate() {
            let a: [f32; 4] = std::array::from_fn(|at| products.left(first + at, row));
            for column in 0..W {
                let product = |at: usize| flushed(a[at] * b[at][column]);
                let low = flushed(product(0) + product(1));
                let high = flushed(product(2) + product(3));
                sums[column] = flushed(sums[column] + flushed(low + high));
            }
        }
    }
}

/// The power of two in a number; of a subnormal one that of the smallest normal one; 0 of 0.
#[inline(always)]
fn power(value: f32, smallest: f32) -> f64 {
    let power = f32::from_bits(value.to_bits() & 0x7F80_0000).max(smallest);
    f64::from(if value == 0.0 { 0.0 } else { power })
}

#[inline(always)]
fn eights<const W: usize>(products: &Products<'_>, element: Element, sums: &mut [[f32; W]; 4]) {
    let smallest =
        if element == Element::F16 { f32::from_bits(0x3880_0000) } else { f32::MIN_POSITIVE };
    let least = f64::from(f32::MIN_POSITIVE);
    let bits = |count: i32| 2f64.powi(count);
    for first in (0..products.k).step_by(8) {
        let last = (first + 8).min(products.k);
        for (row, sums) in sums.iter_mut().enumerate() {
            let (mut largest, mut plain) = ([least; W], [0.0f64; W]);
            for at in first..last {
                let b = products.right::<W>(at);
                let a = products.left(at, row);
                let power_a = power(a, smallest);
                for column in 0..W {
                    largest[column] = largest[column].max(power_a * power(b[column], smallest));
                    plain[column] += f64::from(a) * f64::from(b[column]);
                }
            }
            // In units of 2^-24 of the largest.
            let units = largest.map(|largest| bits(24) / largest);
            let mut cut = [0.0f64; W];
            for at in first..last {
                let b = products.right::<W>(at);
                let a = f64::from(products.left(at, row));
                for column in 0..W {
                    cut[column] += (a * f64::from(b[column]) * units[column]).trunc();
                }
            }
            for column in 0..W {
                let old = f64::from(sums[column]);
                let all = largest[column].max(power(sums[column], f32::MIN_POSITIVE));
                let product = (cut[column] / units[column] * (bits(31) / all)).floor();
                let old_cut = (old * (bits(24) / all)).floor();
                let sum = product * (all / bits(31)) + old_cut * (all / bits(24));
                let plain = plain[column] + old;
                sums[column] = if plain.is_finite() { sum } else { plain } as f32;
            }
        }
    }
}
