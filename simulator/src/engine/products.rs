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
        for i in 0..WIDTH {
            wide[i] += row.values[k] * columns.values[k][i];
        }
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
        for i in 0..WIDTH {
            wide[i] += (row.values[k] * columns.values[k][i] * up[i]).trunc();
        }
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
mod tests {
    use super::*;

    #[test]
    fn halves_are_widened_right() {
        for bits in 0..=u16::MAX {
            let word = u32::from(bits) << 16 | u32::from(bits ^ 0x5555);
            let halves = [bits ^ 0x5555, bits];
            let f16 = Element::F16.pair(word);
            let bf16 = Element::Bf16.pair(word);
            for at in 0..2 {
                let want = half::f16::from_bits(halves[at]).to_f32();
                assert!(
                    f16[at] == want && f16[at].to_bits() == want.to_bits()
                        || want.is_nan() && f16[at].is_nan()
                );
                assert_eq!(bf16[at].to_bits(), u32::from(halves[at]) << 16);
            }
        }
    }

    /// One step of one element in exact integer arithmetic, written from the table above.
    fn exact(model: Model, a: &[f32; DEPTH], b: &[f32; DEPTH], c: f32) -> f32 {
        let (count, bits) = match model {
            Model::Nearest => unreachable!("not cut"),
            Model::Eights => (8, 24),
            Model::Sixteen => (16, 25),
        };
        // A value as integer times a power of two, with its leading bit's exponent.
        let split = |value: f32| -> (i128, i32, i32) {
            let bits = value.to_bits();
            let field = (bits >> 23 & 255) as i32;
            let fraction = i128::from(bits & 0x7F_FFFF) | if field > 0 { 1 << 23 } else { 0 };
            let low = field.max(1) - 150;
            let top = low + 127 - fraction.leading_zeros() as i32;
            (if value < 0.0 { -fraction } else { fraction }, low, top)
        };
        let mut sum = c;
        for first in (0..DEPTH).step_by(count) {
            let (ci, clow, ctop) = split(sum);
            let mut terms = vec![(ci, clow, ctop)];
            for k in first..first + count {
                let ((x, xlow, xtop), (y, ylow, ytop)) = (split(a[k]), split(b[k]));
                terms.push((x * y, xlow + ylow, xtop + ytop));
            }
            terms.retain(|term| term.0 != 0);
            let Some(top) = terms.iter().map(|term| term.2).max() else {
                sum = 0.0;
                continue;
            };
            let unit = top - bits;
            let total: i128 = terms
                .iter()
                .map(|&(integer, low, _)| {
                    let shift = low - unit;
                    let size = integer.abs();
                    let size = if shift >= 0 {
                        size << shift
                    } else {
                        size.checked_shr(-shift as u32).unwrap_or(0)
                    };
                    size * integer.signum()
                })
                .sum();
            // Toward zero: drop bits beyond 24, or below 2^-149.
            let size = total.unsigned_abs();
            let drop = (104 - size.leading_zeros() as i32).max(-149 - unit).max(0) as u32;
            let kept = size.checked_shr(drop).unwrap_or(0);
            let value = kept as f64 * 2f64.powi(unit + drop as i32);
            let value = if value >= 2f64.powi(128) { f32::INFINITY } else { value as f32 };
            sum = if total < 0 { -value } else { value };
            if sum.is_infinite() {
                return sum;
            }
        }
        sum
    }

    struct Numbers(u64);

    impl Numbers {
        fn next(&mut self) -> u64 {
            self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            self.0 >> 20
        }

        /// With an exponent from a range around `middle`.
        fn value(&mut self, element: Element, middle: i32, spread: u64) -> f32 {
            let exponent = middle + (self.next() % spread) as i32 - (spread / 2) as i32;
            let sign = if self.next().is_multiple_of(2) { 1.0 } else { -1.0 };
            let value = sign * (1.0 + (self.next() % 4096) as f64 / 4096.0) * 2f64.powi(exponent);
            match (self.next() % 16, element) {
                (0, _) => 0.0,
                (_, Element::Bf16) => half::bf16::from_f64(value).to_f32(),
                (_, Element::F16) => half::f16::from_f64(value.clamp(-6e4, 6e4)).to_f32(),
            }
        }
    }

    fn compute(model: Model, a: &[f32; DEPTH], b: &[f32; DEPTH], c: f32) -> f32 {
        let (mut row, mut columns) = (Row::ZERO, Columns::ZERO);
        for k in 0..DEPTH {
            row.set(k, a[k]);
            columns.set(k, 5, b[k]);
        }
        let mut sums = [[0.0; WIDTH]];
        sums[0][5] = c;
        accumulate(model, &[row], &[columns], &mut sums);
        sums[0][5]
    }

    #[test]
    fn cut_sums_are_those_of_integers() {
        let mut numbers = Numbers(1);
        for round in 0..30_000u64 {
            let element = if round % 2 == 0 { Element::Bf16 } else { Element::F16 };
            let spread = [1, 3, 12, 30][(round / 2 % 4) as usize];
            let middle = match (element, round / 8 % 4) {
                (_, 0 | 1) => 0,
                (Element::Bf16, 2) => 62,
                (Element::Bf16, _) => -70,
                (Element::F16, 2) => 6,
                (Element::F16, _) => -16,
            };
            let a: [f32; DEPTH] = std::array::from_fn(|_| numbers.value(element, middle, spread));
            let b: [f32; DEPTH] = std::array::from_fn(|_| numbers.value(element, middle, spread));
            let mut c = numbers.value(Element::F16, 0, spread) * 2f32.powi(2 * middle);
            c = c.clamp(f32::MIN, f32::MAX);
            if round % 3 == 0 && c.is_normal() {
                c = f32::from_bits(c.to_bits() ^ (numbers.next() as u32 & 0xFFFF));
            }
            for model in [Model::Eights, Model::Sixteen] {
                let (want, got) = (exact(model, &a, &b, c), compute(model, &a, &b, c));
                assert!(want == got, "{model:?} {want:e} {got:e} a {a:?} b {b:?} c {c:e}");
                assert_eq!(got.to_bits(), compute(model, &b, &a, c).to_bits());
            }
            let bound = |model| match model {
                Model::Nearest => 1.0 + 2f64.powi(-24),
                Model::Eights => 20.0,
                Model::Sixteen => 10.0,
            };
            let mut sum = f64::from(c);
            let mut size = sum.abs();
            for k in 0..DEPTH {
                sum += f64::from(a[k]) * f64::from(b[k]);
                size += (f64::from(a[k]) * f64::from(b[k])).abs();
            }
            if size < f64::from(f32::MAX) {
                for model in [Model::Nearest, Model::Eights, Model::Sixteen] {
                    let error = (f64::from(compute(model, &a, &b, c)) - sum).abs();
                    let most = bound(model) * 2f64.powi(-24) * size + 2f64.powi(-148);
                    assert!(error <= most, "{model:?}: {error:e} of {size:e}");
                }
            }
        }
    }

    #[test]
    fn specials_are_those_of_ieee() {
        let max = f32::MAX;
        let one = |a: f32, b: f32, c: f32| {
            let (mut left, mut right) = ([0.0; DEPTH], [0.0; DEPTH]);
            (left[9], right[9]) = (a, b);
            [Model::Nearest, Model::Eights, Model::Sixteen]
                .map(|model| compute(model, &left, &right, c).to_bits())
        };
        let all = |value: f32| [value.to_bits(); 3];
        let (inf, nan) = (f32::INFINITY, [0x7FFF_FFFF; 3]);
        assert_eq!(one(f32::NAN, 1.0, 0.0), nan);
        assert_eq!(one(1.0, -f32::NAN, 0.0), nan);
        assert_eq!(one(1.0, 1.0, f32::NAN), nan);
        assert_eq!(one(inf, 0.0, 1.0), nan);
        assert_eq!(one(0.0, -inf, 1.0), nan);
        assert_eq!(one(inf, 1.0, -inf), nan);
        assert_eq!(one(inf, -2.0, 3.0), all(-inf));
        assert_eq!(one(2f32.powi(-133), inf, -1e30), all(inf));
        assert_eq!(one(1.0, 1.0, -inf), all(-inf));
        assert_eq!(one(2f32.powi(127), 2.0, 0.0), all(inf));
        assert_eq!(one(-(2f32.powi(127)), 2f32.powi(127), max), all(-inf));
        // Above the largest number by less than half of its last place.
        assert_eq!(one(2f32.powi(100), 4.0, max), all(max));
        assert_eq!(one(2f32.powi(102), 2.0, max)[0], inf.to_bits());
        assert_eq!(one(2f32.powi(102), 2.0, max)[1..], [max.to_bits(); 2]);
        assert_eq!(one(-0.0, 1.0, -0.0), all(0.0));
        assert_eq!(one(1.0, -1.0, 1.0), all(0.0));
        let least = f32::from_bits(1);
        assert_eq!(one(2f32.powi(-100), 2f32.powi(-49), 0.0), all(least));
        assert_eq!(one(0.0, 1.0, -least), all(-least));
    }
}
