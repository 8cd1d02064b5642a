//! The models against integers of any size, and against their bounds.

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
