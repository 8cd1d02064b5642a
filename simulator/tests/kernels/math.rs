//! `math.cu`: CUDA's functions are right to the ulps that the CUDA C++ Programming Guide gives
//! ("Mathematical Functions", maximum ulp error) when every instruction below them is; where one ends
//! in `ex2.approx`, whose documented error the simulator uses up, by that much more.

use super::bench::{Source, random, seeds};

/// 2^-22.5 of a value, in ulps: the spacing is as little as 2^-24 of the value, under a power of two.
const EX2: f64 = 2.0 * std::f64::consts::SQRT_2;

static MATH: Source = Source::new("math.cu");

/// From -20 to 20, dense near 0, and some far out for the slow paths.
fn inputs() -> Vec<f64> {
    let spread = random(5, 384, 1 << 24).into_iter().enumerate().map(|(index, value)| {
        let value = f64::from(value) / f64::from(1 << 23) - 1.0;
        value * [20.0, 1.0, 1e-3, 5.0][index % 4]
    });
    spread.map(|value| f64::from(value as f32)).collect()
}

/// Every result within `ulps` of the format's spacing at the exact value.
fn close(kernel: &str, got: &[f64], want: &[f64], ulps: f64, fraction_bits: i32) {
    for (index, (&got, &want)) in got.iter().zip(want).enumerate() {
        if got == want {
            continue;
        }
        let spacing = 2f64.powi(want.abs().log2().floor() as i32 - fraction_bits);
        let error = (got - want).abs() / spacing;
        // Half an ulp for the rounding of the result itself is within the guide's numbers.
        assert!(error <= ulps, "{kernel} of input {index}: {got:e}, not {want:e}: {error:.2} ulp");
    }
}

fn single(kernel: &str, ulps: f64, exact: impl Fn(f64) -> f64) {
    for seed in 0..seeds().div_ceil(20) {
        let Some(mut bench) = MATH.load() else { return };
        let inputs = inputs();
        let narrow: Vec<f32> = inputs.iter().map(|&value| value as f32).collect();
        bench.buffer(&narrow);
        let out = bench.room::<f32>(inputs.len());
        bench.clean(kernel, 3, 128, 0, seed);
        let got: Vec<f64> =
            bench.read::<f32>(out, inputs.len()).into_iter().map(f64::from).collect();
        let want: Vec<f64> = inputs.iter().map(|&value| exact(value)).collect();
        close(kernel, &got, &want, ulps, 23);
    }
}

fn double(kernel: &str, ulps: f64, exact: impl Fn(f64) -> f64) {
    for seed in 0..seeds().div_ceil(20) {
        let Some(mut bench) = MATH.load() else { return };
        let inputs = inputs();
        bench.buffer(&inputs);
        let out = bench.room::<f64>(inputs.len());
        bench.clean(kernel, 3, 128, 0, seed);
        let want: Vec<f64> = inputs.iter().map(|&value| exact(value)).collect();
        // The host's own functions are within an ulp.
        close(kernel, &bench.read::<f64>(out, inputs.len()), &want, ulps + 1.0, 52);
    }
}

#[test]
fn single_precision_functions() {
    single("f32_exp", 1.0 + EX2, f64::exp);
    single("f32_log", 1.0, |x| x.abs().ln());
    single("f32_sin", 2.0, f64::sin);
    single("f32_cos", 2.0, f64::cos);
    single("f32_tanh", 2.0 + EX2, f64::tanh);
    single("f32_pow", 4.0 + EX2, |x| x.abs().powf(f64::from(1.7f32)));
    single("f32_cbrt", 1.0 + EX2, f64::cbrt);
    single("f32_rsqrt", 2.0, |x| 1.0 / x.abs().sqrt());
    // Two roundings and the exponential, none of which is magnified.
    single("f32_sigmoid", 3.0, |x| 1.0 / (1.0 + (-x).exp()));
    single("f32_remainder", 0.0, |x| x % f64::from(0.7f32));
}

#[test]
fn fast_exponential() {
    // The guide: 2 + floor(abs(1.173 x)) ulp, of at most 20.
    single("f32_fast_exp", 2.0 + 23.0, f64::exp);
}

#[test]
fn roundings() {
    single("f32_floor", 0.0, |x| {
        let x = x as f32;
        // Small multiples of 1/4: exact.
        f64::from(x.floor() + x.ceil() * 0.5 + x.round() * 0.25)
    });
    let down = |value: f64| {
        let nearest = value as f32;
        if f64::from(nearest) > value { nearest.next_down() } else { nearest }
    };
    let up = |value: f64| -down(-value);
    let zero = |value: f64| if value > 0.0 { down(value) } else { up(value) };
    // Sums and products of two f32 of these magnitudes are exact in f64; the quotients are not near
    // an f32 to within the f64's rounding.
    single("f32_down", 0.0, |x| {
        let sum = down(x + f64::from(0.1f32)) + up(x * f64::from(0.3f32));
        f64::from(sum + zero(x / f64::from(0.7f32)))
    });
    single("f32_integers", 0.0, |x| {
        let scaled = (x as f32).abs() * 1e7;
        f64::from((x as i32) as f32 + down(f64::from(scaled as u32)))
    });
}

#[test]
fn double_precision_functions() {
    double("f64_exp", 1.0, f64::exp);
    double("f64_log", 1.0, |x| x.abs().ln());
    double("f64_sin", 2.0, f64::sin);
    double("f64_pow", 2.0, |x| x.abs().powf(1.7));
    double("f64_tanh", 2.0, f64::tanh);
    double("f64_rsqrt", 1.0, |x| 1.0 / x.abs().sqrt());
    double("f64_cbrt", 1.0, f64::cbrt);
}
