//! What a matrix instruction adds up, and how it rounds.
//!
//! No document says it: the PTX ISA leaves precision and order of the sums open ("mma", "wgmma.mma_async").
//! So there are three [`Model`]s, and the seed of approximations alone decides which a launch has. One
//! step is `d = c + a[0] b[0] + ... + a[15] b[15]`, for every element of `d` alike; products are exact in all
//! models, and swapped operands give the same bits.
//!
//! | model | the sum | rounding of the result |
//! |---|---|---|
//! | `Nearest` | in f64 | to nearest even, overflow as IEEE says |
//! | `Eights` | twice eight products, each with what is accumulated so far | toward zero, twice |
//! | `Sixteen` | all at once | toward zero |
//!
//! In the last two, all terms of a sum are first cut, toward zero, to multiples of the largest one's
//! power of two times 2^-24 (`Eights`, as measured on A100) or 2^-25 (`Sixteen`, as measured on H100); a
//! product's power is that of its factors together. What then has a magnitude of 2^128 or more is
//! infinite. (Fasi, Higham, Mikaitis, Pranesh, "Numerical behavior of NVIDIA tensor cores", 2021, for A100;
//! later publications for H100.)
//!
//! Of S = sum of |products| + |c|, the error of a step is at most 2^-24 S, 20 * 2^-24 S and 10 * 2^-24 S,
//! plus 2^-148 where results are subnormal. `Nearest` adds 2^-48 S for its f64. A sum of `Eights` loses
//! less than 2^-24 of its largest term from each of eight terms (the largest is never cut), and less than
//! 2^-23 of its result when that is cut; so do both. `Sixteen` loses 2^-25 from each of sixteen, once.
//!
//! Subnormal operands and results are kept; a NaN is 0x7FFFFFFF; a sum of zeros is +0.

/// Products of one step.
pub(super) const DEPTH: usize = 16;
/// Columns that are computed side by side.
pub(super) const WIDTH: usize = 8;

/// The exponent of zero: below all others, also with another added.
const NONE: i32 = -1000;
/// Between these are all exponents of finite terms: 2^-266 and 2^256 are the extremes.
const LEAST: i32 = -300;
const MOST: i32 = 900;
/// The NaN of matrix instructions.
const NAN: f32 = f32::from_bits(0x7FFF_FFFF);

/// How a step adds and rounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Model {
    Nearest,
    Eights,
    Sixteen,
}

impl Model {
    /// The model that a seed of approximations chooses.
    pub(super) fn of(approximation_seed: u64) -> Model {
        [Model::Nearest, Model::Eights, Model::Sixteen][(approximation_seed % 3) as usize]
    }
}

/// A row of the left matrix.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row {
    values: [f64; DEPTH],
    exponents: [i32; DEPTH],
}

/// Eight columns of the right matrix.
#[derive(Clone, Copy, Debug)]
pub(super) struct Columns {
    values: [[f64; WIDTH]; DEPTH],
    exponents: [[i32; WIDTH]; DEPTH],
}

/// What is accumulated: a row of eight columns.
pub(super) type Sums = [f32; WIDTH];

impl Row {
    pub(super) const ZERO: Row = Row { values: [0.0; DEPTH], exponents: [NONE; DEPTH] };

    #[inline(always)]
    pub(super) fn set(&mut self, k: usize, value: f32) {
        self.values[k] = value.into();
        self.exponents[k] = exponent(value.into());
    }
}

impl Row {
    /// The row with the other sign.
    pub(super) fn negate(&mut self) {
        self.values.iter_mut().for_each(|value| *value = -*value);
    }
}

impl Columns {
    pub(super) const ZERO: Columns =
        Columns { values: [[0.0; WIDTH]; DEPTH], exponents: [[NONE; WIDTH]; DEPTH] };

    #[inline(always)]
    pub(super) fn set(&mut self, k: usize, column: usize, value: f32) {
        self.values[k][column] = value.into();
        self.exponents[k][column] = exponent(value.into());
    }
}

/// That of the leading bit; of infinities and NaN, more than any other.
#[inline(always)]
fn exponent(value: f64) -> i32 {
    let biased = (value.to_bits() >> 52 & 0x7FF) as i32;
    if value == 0.0 { NONE } else { biased.wrapping_sub(1023) }
}

#[inline(always)]
fn power_of_two(exponent: i32) -> f64 {
    f64::from_bits((exponent.wrapping_add(1023) as u64) << 52)
}

/// Rounded toward zero; from 2^128 on infinite.
#[inline(always)]
fn toward_zero(value: f64) -> f32 {
    let near = value as f32;
    let beyond = u32::from(f64::from(near).abs() > value.abs());
    let cut = f32::from_bits(near.to_bits().wrapping_sub(beyond));
    let infinite = f32::INFINITY.copysign(cut);
    if value.abs() >= 340_282_366_920_938_463_463_374_607_431_768_211_456.0 {
        infinite
    } else {
        cut
    }
}

#[inline(always)]
fn nearest(row: &Row, columns: &Columns, sums: &Sums) -> Sums {
    // Of -0 too the sum is +0.
    let mut wide = sums.map(|sum| f64::from(sum) + 0.0);
    for k in 0..DEPTH {
        wide = std::array::from_fn(|i| wide[i] + row.values[k] * columns.values[k][i]);
    }
    wide.map(|wide| wide as f32)
}

/// The sum of terms `FROM..FROM + COUNT` and what is accumulated, cut at `2^-BITS` of the largest.
#[inline(always)]
fn cut<const FROM: usize, const COUNT: usize, const BITS: i32>(
    row: &Row,
    columns: &Columns,
    sums: &Sums,
) -> Sums {
    let sums = sums.map(f64::from);
    let mut top = sums.map(|sum| exponent(sum).max(LEAST));
    for k in FROM..FROM + COUNT {
        let exponents = columns.exponents[k].map(|it| row.exponents[k].wrapping_add(it));
        top = std::array::from_fn(|i| top[i].max(exponents[i]));
    }
    let top = top.map(|top| top.min(MOST));
    let up = top.map(|top| power_of_two(BITS.wrapping_sub(top)));
    let mut wide: [f64; WIDTH] = std::array::from_fn(|i| (sums[i] * up[i]).trunc() + 0.0);
    for k in FROM..FROM + COUNT {
        let products = columns.values[k].map(|it| row.values[k] * it);
        wide = std::array::from_fn(|i| wide[i] + (products[i] * up[i]).trunc());
    }
    std::array::from_fn(|i| toward_zero(wide[i] * power_of_two(top[i].wrapping_sub(BITS))))
}

#[inline(always)]
fn step(model: Model, row: &Row, columns: &Columns, sums: &Sums) -> Sums {
    let out = match model {
        Model::Nearest => nearest(row, columns, sums),
        Model::Eights => {
            let first = cut::<0, 8, 24>(row, columns, sums);
            cut::<8, 8, 24>(row, columns, &first)
        }
        Model::Sixteen => cut::<0, 16, 25>(row, columns, sums),
    };
    out.map(|sum| if sum.is_nan() { NAN } else { sum })
}

#[inline(always)]
fn body(model: Model, rows: &[Row], columns: &[Columns], sums: &mut [Sums]) {
    for (at, columns) in columns.iter().enumerate() {
        let of_columns = &mut sums[at * rows.len()..][..rows.len()];
        for (row, sums) in rows.iter().zip(of_columns) {
            *sums = step(model, row, columns, sums);
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn avx2(model: Model, rows: &[Row], columns: &[Columns], sums: &mut [Sums]) {
    match model {
        Model::Nearest => body(Model::Nearest, rows, columns, sums),
        Model::Eights => body(Model::Eights, rows, columns, sums),
        Model::Sixteen => body(Model::Sixteen, rows, columns, sums),
    }
}

/// Adds the product to `sums`: those of all rows for the first eight columns, then for the next.
pub(super) fn accumulate(model: Model, rows: &[Row], columns: &[Columns], sums: &mut [Sums]) {
    debug_assert_eq!(rows.len() * columns.len(), sums.len());
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx2") {
        // SAFETY: the processor has AVX2.
        return unsafe { avx2(model, rows, columns, sums) };
    }
    body(model, rows, columns, sums);
}

/// The type of a matrix element.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Element {
    Bf16,
    F16,
}

impl Element {
    /// The low and the high half of a word.
    #[inline(always)]
    pub(super) fn pair(self, word: u32) -> [f32; 2] {
        match self {
            Element::Bf16 => [f32::from_bits(word << 16), f32::from_bits(word & 0xFFFF_0000)],
            Element::F16 => [widen(word), widen(word >> 16)],
        }
    }
}

/// The f16 in the low half.
#[inline(always)]
fn widen(half: u32) -> f32 {
    // 2^112: the difference of the exponents' biases. A product, so that subnormals come out right.
    let magnitude = f32::from_bits((half & 0x7FFF) << 13) * f32::from_bits((112 + 127) << 23);
    let special = if half & 0x7C00 == 0x7C00 { 0x7F80_0000 } else { 0 };
    f32::from_bits(magnitude.to_bits() | special | (half & 0x8000) << 16)
}

#[cfg(test)]
mod tests;
