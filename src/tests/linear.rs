//! `linear` against the reference.

use super::harness::{
    Fenced, Float, UNIT_F32, cases, close, count_case, devices, poison, report, values,
};
use expertile::{
    Buffer, Device, DeviceInfo, Dtype, Error, Linear, LinearOut, Platform, Result, Stream,
    WeightLayout, linear,
};
use expertile_reference::linear::linear as reference;
use half::{bf16, f16};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};

/// One call of `linear`.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) tokens: usize,
    /// Features divided by 8.
    pub(crate) in_8: usize,
    pub(crate) out_8: usize,
    /// Elements between rows of x, weight and out, divided by 8.
    pub(crate) gaps_8: [usize; 3],
    pub(crate) dtype: Dtype,
    pub(crate) widens: bool,
    pub(crate) is_nn: bool,
    /// 0: none, 1: added, 2: added in place.
    pub(crate) residual: u8,
    pub(crate) clamp: Option<f32>,
    /// Whole numbers, of which every sum is exact.
    pub(crate) whole: bool,
    /// Puts NaN and infinities into some rows of x.
    pub(crate) special: bool,
    pub(crate) seed: u64,
}

fn case() -> impl Strategy<Value = Case> {
    let tokens = prop_oneof![
        1 => Just(0usize), 2 => Just(1), 3 => 2..20usize, 3 => 20..130usize, 2 => 130..300usize
    ];
    let in_8 = prop_oneof![2 => 1..9usize, 3 => 9..40usize, 1 => Just(32)];
    let out_8 = prop_oneof![2 => 1..9usize, 3 => 9..70usize, 1 => Just(64)];
    let gaps = [0..3usize, 0..3, 0..3];
    let clamp = prop_oneof![3 => Just(None), 1 => Just(Some(8.0f32)), 1 => Just(Some(0.75))];
    let flags = (any::<bool>(), any::<bool>(), any::<bool>(), prop::bool::weighted(0.3));
    let special = prop::bool::weighted(0.2);
    (tokens, in_8, out_8, gaps, flags, 0..3u8, clamp, special, any::<u64>()).prop_map(
        |(tokens, in_8, out_8, gaps_8, flags, residual, clamp, special, seed)| {
            let (is_f16, widens, is_nn, whole) = flags;
            let dtype = if is_f16 { Dtype::F16 } else { Dtype::Bf16 };
            Case {
                tokens,
                in_8,
                out_8,
                gaps_8,
                dtype,
                widens,
                is_nn,
                residual,
                clamp,
                whole,
                special,
                seed,
            }
        },
    )
}

/// The operands of a case, rows with gaps of poison.
pub(crate) struct Operands<T, Out> {
    pub(crate) x: Vec<T>,
    pub(crate) weight: Vec<T>,
    pub(crate) residual: Vec<Out>,
}

impl Case {
    fn features(&self) -> [usize; 2] {
        [8 * self.in_8, 8 * self.out_8]
    }

    /// Elements of a row of x, weight and out, and from one to the next.
    fn rows(&self) -> [(usize, usize); 3] {
        let [k, n] = self.features();
        let row = |features: usize, gap: usize| (features, features + 8 * gap);
        let [x, weight, out] = self.gaps_8;
        [row(k, x), row(if self.is_nn { n } else { k }, weight), row(n, out)]
    }

    pub(crate) fn operands<T: Float, Out: Float>(&self) -> Operands<T, Out> {
        let mut random = fastrand::Rng::with_seed(self.seed);
        let [k, n] = self.features();
        let [x, weight, out] = self.rows();
        let weight_rows = if self.is_nn { k } else { n };
        let mut operands = Operands {
            x: self.matrix(&mut random, self.tokens, x),
            weight: self.matrix(&mut random, weight_rows, weight),
            residual: self.matrix(&mut random, self.tokens, out),
        };
        if self.special {
            for row in operands.x.chunks_mut(x.1).step_by(3) {
                row[random.usize(..k)] =
                    T::new([f32::NAN, f32::INFINITY, f32::NEG_INFINITY][random.usize(..3)]);
            }
        }
        operands
    }

    fn matrix<T: Float>(
        &self,
        random: &mut fastrand::Rng,
        rows: usize,
        (len, stride): (usize, usize),
    ) -> Vec<T> {
        let mut matrix = vec![poison::<T>(); rows * stride];
        for row in matrix.chunks_mut(stride) {
            if self.whole {
                row[..len].fill_with(|| T::new(random.i32(-8..=8) as f32));
            } else {
                row[..len].copy_from_slice(&values(random, len, 1.0));
            }
        }
        matrix
    }
}

/// Runs the case on a device; what is written, with the gaps between its rows.
pub(crate) fn run<T: Float, Out: Float>(
    stream: &Stream,
    case: &Case,
    operands: &Operands<T, Out>,
) -> Result<Vec<Out>, String> {
    let text = |error: expertile::Error| error.to_string();
    let [k, n] = case.features();
    let [(_, x_stride), (_, weight_stride), (_, out_stride)] = case.rows();
    let tokens = (operands.x.len() / x_stride) as u64;
    let weight_shape = if case.is_nn { [k as u64, n as u64] } else { [n as u64, k as u64] };
    let (shape, strides) = ([tokens, n as u64], [out_stride as u64, 1]);
    let x = Fenced::new(stream, &operands.x, poison()).map_err(text)?;
    let weight = Fenced::new(stream, &operands.weight, poison()).map_err(text)?;
    let mut residual = Fenced::new(stream, &operands.residual, poison()).map_err(text)?;
    let blank = vec![poison::<Out>(); operands.residual.len()];
    let mut out = Fenced::new(stream, &blank, poison()).map_err(text)?;
    {
        let arguments = Linear {
            x: x.tensor(&[tokens, k as u64], &[x_stride as u64, 1]).map_err(text)?,
            weight: weight.tensor(&weight_shape, &[weight_stride as u64, 1]).map_err(text)?,
            layout: if case.is_nn { WeightLayout::InOut } else { WeightLayout::OutIn },
            clamp: case.clamp,
            out: match case.residual {
                0 => LinearOut::Product(out.tensor_mut(&shape, &strides).map_err(text)?),
                1 => LinearOut::Add(
                    residual.tensor(&shape, &strides).map_err(text)?,
                    out.tensor_mut(&shape, &strides).map_err(text)?,
                ),
                _ => LinearOut::Update(residual.tensor_mut(&shape, &strides).map_err(text)?),
            },
        };
        linear(stream, &arguments).map_err(text)?;
    }
    x.read(stream)?;
    weight.read(stream)?;
    let (out, residual) = (out.read(stream)?, residual.read(stream)?);
    Ok(if case.residual == 2 { residual } else { out })
}

/// The devices that have kernels for it: one without refuses a call that has no work, too.
pub(crate) fn able() -> impl Iterator<Item = &'static Device> {
    devices().iter().filter(|device| {
        let ask = || -> Result<()> {
            let stream = device.stream()?;
            let weight = Buffer::new(device, Dtype::Bf16, 64)?;
            let (x, mut out) =
                (Buffer::new(device, Dtype::Bf16, 0)?, Buffer::new(device, Dtype::Bf16, 0)?);
            let arguments = Linear {
                x: x.tensor(&[0, 8])?,
                weight: weight.tensor(&[8, 8])?,
                layout: WeightLayout::OutIn,
                clamp: None,
                out: LinearOut::Product(out.tensor_mut(&[0, 8])?),
            };
            linear(&stream, &arguments)
        };
        match ask() {
            Ok(()) => true,
            Err(error @ Error::Unsupported { .. }) => {
                eprintln!("skipped on {device}: {error}");
                false
            }
            Err(error) => panic!("{device}: {error}"),
        }
    })
}

/// The image that runs a case on a device.
fn stem(tokens: usize, device: &Device) -> &'static str {
    let DeviceInfo { platform, images, .. } = device.info();
    match (platform, *images, tokens <= 64) {
        (Platform::Hip, _, false) => "linear",
        (Platform::Hip, _, true) => "linear_rows",
        (_, "sm_90a", false) => "linear_sm90",
        (_, "sm_90a", true) => "linear_rows_sm90",
        (_, _, false) => "linear_sm80",
        (_, _, true) => "linear_rows_sm80",
    }
}

/// Runs the case on every device and compares with the reference.
pub(crate) fn check(case: &Case) -> Result<(), String> {
    match (case.dtype, case.widens) {
        (Dtype::Bf16, false) => check_as::<bf16, bf16>(case),
        (Dtype::Bf16, true) => check_as::<bf16, f32>(case),
        (_, false) => check_as::<f16, f16>(case),
        (_, true) => check_as::<f16, f32>(case),
    }
}

/// What the reference says of a case.
struct Wanted {
    x: Vec<f32>,
    /// `[out_features, in_features]`.
    weight: Vec<f32>,
    products: Vec<f64>,
}

impl Wanted {
    /// The matrix instructions of gfx90a take a subnormal operand as zero.
    fn new<T: Float, Out>(
        case: &Case,
        operands: &Operands<T, Out>,
        flushes: bool,
    ) -> Result<Wanted, String> {
        let least = if flushes { T::TINY / T::UNIT } else { 0.0 };
        let dense = |matrix: &[T], (len, stride): (usize, usize)| -> Vec<f32> {
            let values = matrix.chunks(stride).flat_map(|row| row[..len].iter().map(|x| x.value()));
            values.map(|x| if x.abs() < least { 0.0 } else { x as f32 }).collect()
        };
        let [k, n] = case.features();
        let [x_rows, weight_rows, _] = case.rows();
        let x = dense(&operands.x, x_rows);
        let weight = dense(&operands.weight, weight_rows);
        let by_feature =
            |at: usize| if case.is_nn { weight[at % k * n + at / k] } else { weight[at] };
        let weight: Vec<f32> = (0..k * n).map(by_feature).collect();
        let products = reference(&x, &weight, k).map_err(|error| error.to_string())?;
        Ok(Wanted { x, weight, products })
    }
}

fn check_as<T: Float, Out: Float>(case: &Case) -> Result<(), String> {
    let operands = case.operands::<T, Out>();
    let [k, n] = case.features();
    let stride = case.rows()[2].1;
    let clamp = f64::from(case.clamp.unwrap_or(f32::INFINITY));
    let mut wanted = [None, None];
    for device in able() {
        let stream = device.stream().map_err(|error| error.to_string())?;
        let flushes = device.info().images == "gfx90a";
        let wanted = &mut wanted[usize::from(flushes)];
        if wanted.is_none() {
            *wanted = Some(Wanted::new(case, &operands, flushes)?);
        }
        let Some(Wanted { x, weight, products }) = wanted else { continue };
        let name = format!("linear {} {} {}", T::DTYPE, Out::DTYPE, device.info().images);
        let got = run(&stream, case, &operands)?;
        for (at, out) in got.iter().enumerate() {
            let (token, feature) = (at / stride, at % stride);
            let place = || format!("out[{token}, {feature}]");
            if feature >= n {
                if out.bits() != poison::<Out>().bits() {
                    return Err(format!("{name}: a gap was written: {} is {out:?}", place()));
                }
                continue;
            }
            let residual = if case.residual > 0 { operands.residual[at].value() } else { 0.0 };
            let product = products[token * n + feature];
            let clamped = if product.is_nan() { product } else { product.clamp(-clamp, clamp) };
            let want = clamped + residual;
            if case.whole && want.is_finite() {
                // The sum is exact, and rounded once.
                if out.bits() != Out::new(want as f32).bits() {
                    return Err(format!("{name}: {} is {out:?}, not {want}", place()));
                }
                continue;
            }
            let row = &x[token * k..][..k];
            // An infinity is one however much is added to it.
            let error = match product.is_finite() {
                true => accumulated(row, &weight[feature * k..][..k], device.info().platform),
                false => 0.0,
            };
            close(&name, *out, want, rounded::<Out>(want, residual, error), place)?;
        }
        count_case(&name, stem(case.tokens, device), T::DTYPE, device);
    }
    Ok(())
}

/// What a matrix instruction's sums may leave, k ascending: the models of the simulator, 8 products at a time.
///
/// NVIDIA's (`products.rs`): 8 products and the sum so far are cut to 24 bits below the largest of them, then added
/// exactly, and the new sum is cut to f32. AMD's (`matrix/sum.rs`): every addition rounds to nearest, or 7 products
/// are cut to 24 bits below the largest, the products' sum to 31 and the old sum to 24 bits below the larger of both,
/// and the new sum is rounded; what is subnormal may be lost.
pub(crate) fn accumulated(x: &[f32], weight: &[f32], platform: Platform) -> f64 {
    let (mut sum, mut error) = (0.0f64, 0.0f64);
    for (x, weight) in x.chunks(8).zip(weight.chunks(8)) {
        let product = |(x, weight): (&f32, &f32)| f64::from(*x) * f64::from(*weight);
        let products = x.iter().zip(weight).map(product);
        let before = sum.abs() + error;
        let largest = products.clone().fold(before, |most, product| most.max(product.abs()));
        let magnitude: f64 = before + products.clone().map(f64::abs).sum::<f64>();
        sum += products.sum::<f64>();
        error += match platform {
            Platform::Cuda => 9.0 * UNIT_F32 * largest + 2.0 * UNIT_F32 * (sum.abs() + error),
            _ => 10.0 * UNIT_F32 * magnitude + 16.0 * f64::from(f32::MIN_POSITIVE),
        };
    }
    error
}

/// What is left after the residual and the last rounding.
pub(crate) fn rounded<Out: Float>(want: f64, residual: f64, error: f64) -> f64 {
    let added = if residual == 0.0 { 0.0 } else { UNIT_F32 * (want.abs() + error) };
    let error = error + added;
    // f32 is not rounded again.
    let last = if Out::UNIT == UNIT_F32 { 0.0 } else { Out::UNIT };
    error + last * (want.abs() + error) + Out::TINY
}

#[test]
fn linear_matches_reference() {
    // Whatever is drawn, each image has a case.
    for tokens in [3, 70] {
        check(&plain(tokens, 9, 10)).unwrap_or_else(|error| panic!("{error}"));
    }
    let config = Config { cases: cases(), failure_persistence: None, ..Config::default() };
    let run = |case: Case| check(&case).map_err(TestCaseError::fail);
    if let Err(error) = TestRunner::new(config).run(&case(), run) {
        panic!("{error}");
    }
    report("linear");
}

pub(crate) fn plain(tokens: usize, in_8: usize, out_8: usize) -> Case {
    Case {
        tokens,
        in_8,
        out_8,
        gaps_8: [0; 3],
        dtype: Dtype::Bf16,
        widens: true,
        is_nn: false,
        residual: 0,
        clamp: None,
        whole: false,
        special: false,
        seed: tokens as u64,
    }
}
