//! Devices, data, fenced buffers and comparisons.

use expertile::{Buffer, Device, DeviceInfo, Element, Platform, Result, Stream, Tensor, TensorMut};
use expertile_reference::Rounding;
use half::{bf16, f16};
use std::collections::BTreeMap;
use std::fmt::Display;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::PathBuf;
use std::sync::{Mutex, OnceLock, PoisonError};

/// One device of each architecture of each platform that is there.
pub(crate) fn devices() -> &'static [Device] {
    static DEVICES: OnceLock<Vec<Device>> = OnceLock::new();
    DEVICES.get_or_init(|| {
        let required = std::env::var("EXPERTILE_REQUIRE").unwrap_or_default();
        let mut devices: Vec<Device> = Vec::new();
        for platform in Platform::ALL {
            let before = devices.len();
            find(platform, &mut devices);
            let (found, named) = (devices.len() > before, platform.to_string());
            let required = required.split(',').any(|required| required == named);
            assert!(found || !required, "EXPERTILE_REQUIRE={platform}, but no device was found");
        }
        if devices.is_empty() {
            eprintln!("skipped: no device (EXPERTILE_REQUIRE=cuda or hip makes this a failure)");
        }
        devices
    })
}

fn find(platform: Platform, devices: &mut Vec<Device>) {
    let count = Device::count(platform).unwrap_or_else(|error| {
        eprintln!("{error}");
        0
    });
    for ordinal in 0..count {
        let device = Device::open(platform, ordinal).unwrap_or_else(|error| panic!("{error}"));
        if devices.iter().all(|other| other.info().architecture != device.info().architecture) {
            devices.push(device);
        }
    }
}

/// How many cases a property draws: `PROPTEST_CASES`, or a number that suits the simulator.
pub(crate) fn cases() -> u32 {
    std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(48)
}

/// A floating-point type of tensors.
pub(crate) trait Float: Element + PartialEq + std::fmt::Debug {
    /// Half the distance from 1 to the next number.
    const UNIT: f64;
    /// Half the distance of the numbers around 0.
    const TINY: f64;
    /// Its rounding in the reference.
    const ROUNDING: Rounding;
    fn new(value: f32) -> Self;
    fn value(self) -> f64;
    fn bits(self) -> u32;
}

impl Float for bf16 {
    const UNIT: f64 = 1.0 / 256.0;
    const TINY: f64 = f32::MIN_POSITIVE as f64 / 256.0;
    const ROUNDING: Rounding = Rounding::Bf16;
    fn new(value: f32) -> bf16 {
        bf16::from_f32(value)
    }
    fn value(self) -> f64 {
        self.to_f64()
    }
    fn bits(self) -> u32 {
        self.to_bits().into()
    }
}

impl Float for f16 {
    const UNIT: f64 = 1.0 / 2048.0;
    const TINY: f64 = 1.0 / 33_554_432.0;
    const ROUNDING: Rounding = Rounding::F16;
    fn new(value: f32) -> f16 {
        f16::from_f32(value)
    }
    fn value(self) -> f64 {
        self.to_f64()
    }
    fn bits(self) -> u32 {
        self.to_bits().into()
    }
}

impl Float for f32 {
    const UNIT: f64 = UNIT_F32;
    const TINY: f64 = f32::MIN_POSITIVE as f64 * UNIT_F32;
    const ROUNDING: Rounding = Rounding::F32;
    fn new(value: f32) -> f32 {
        value
    }
    fn value(self) -> f64 {
        self.into()
    }
    fn bits(self) -> u32 {
        self.to_bits()
    }
}

/// The unit roundoff of f32.
pub(crate) const UNIT_F32: f64 = 1.0 / 16_777_216.0;

/// The spacing of f32 numbers around `x`.
pub(crate) fn ulp_f32(x: f64) -> f64 {
    let x = (x.abs() as f32).max(f32::MIN_POSITIVE);
    f64::from(f32::from_bits(x.to_bits() & 0x7f80_0000)) * f64::from(f32::EPSILON)
}

/// Values of all sizes around `scale`, of both signs, a few of them 0 and a few much larger.
pub(crate) fn values<T: Float>(random: &mut fastrand::Rng, count: usize, scale: f32) -> Vec<T> {
    (0..count)
        .map(|_| {
            let value = (random.f32() * 2.0 - 1.0) * scale;
            T::new(match random.u32(..64) {
                0 => 0.0,
                1 => value * 16.0,
                _ => value,
            })
        })
        .collect()
}

/// Elements on either side of a fenced buffer; a multiple of 16 bytes.
const FENCE: usize = 64;

/// A pattern that no operator produces: a NaN with a payload.
pub(crate) fn poison<T: Float>() -> T {
    T::new(f32::from_bits(0x7fe5_0000))
}

/// A buffer between two fences.
pub(crate) struct Fenced<T> {
    buffer: Buffer,
    fence: T,
    elements: usize,
}

impl<T: Element + PartialEq + std::fmt::Debug> Fenced<T> {
    pub(crate) fn new(stream: &Stream, values: &[T], fence: T) -> Result<Fenced<T>> {
        let whole = [&[fence; FENCE], values, &[fence; FENCE]].concat();
        let buffer = Buffer::from_slice(stream, &whole)?;
        Ok(Fenced { buffer, fence, elements: values.len() })
    }

    pub(crate) fn tensor(&self, shape: &[u64], strides: &[u64]) -> Result<Tensor<'_>> {
        self.buffer.strided(shape, strides, FENCE as u64)
    }

    pub(crate) fn tensor_mut(&mut self, shape: &[u64], strides: &[u64]) -> Result<TensorMut<'_>> {
        self.buffer.strided_mut(shape, strides, FENCE as u64)
    }

    /// The values between the fences, once those are found whole.
    pub(crate) fn read(&self, stream: &Stream) -> Result<Vec<T>, String> {
        let whole: Vec<T> = self.buffer.read(stream).map_err(|error| error.to_string())?;
        let bytes = |value: &T| {
            // SAFETY: an `Element` has no padding; its bytes are borrowed with it.
            unsafe {
                std::slice::from_raw_parts((&raw const *value).cast::<u8>(), size_of::<T>())
                    .to_vec()
            }
        };
        let fence = bytes(&self.fence);
        for (i, value) in whole.iter().enumerate() {
            if !(FENCE..FENCE + self.elements).contains(&i) && bytes(value) != fence {
                let place = i as i64 - FENCE as i64;
                return Err(format!("the fence was overwritten at element {place}: {value:?}"));
            }
        }
        Ok(whole[FENCE..FENCE + self.elements].to_vec())
    }
}

/// What was compared for one operator, dtype and device.
#[derive(Default)]
struct Tally {
    /// The worst error, in units of its bound.
    worst: f64,
    /// The cases of each image, by the fields of a record's line that say what and where.
    cases: BTreeMap<String, u64>,
}

static TALLIES: Mutex<BTreeMap<String, Tally>> = Mutex::new(BTreeMap::new());

/// Compares one element with the reference's; remembers the worst under `name`.
pub(crate) fn close<T: Float>(
    name: &str,
    got: T,
    want: f64,
    bound: f64,
    place: impl FnOnce() -> String,
) -> Result<(), String> {
    let error = (got.value() - want).abs();
    if want.is_nan() && got.value().is_nan() || got.value() == want {
        return Ok(());
    }
    if error.is_nan() || bound.is_nan() || error > bound {
        let (place, got) = (place(), got.value());
        return Err(format!("{name}: {place} is {got}, expected {want} +- {bound:e}"));
    }
    let mut tallies = TALLIES.lock().unwrap_or_else(PoisonError::into_inner);
    if !tallies.contains_key(name) {
        tallies.insert(name.to_owned(), Tally::default());
    }
    if let Some(tally) = tallies.get_mut(name) {
        tally.worst = tally.worst.max(error / bound);
    }
    Ok(())
}

/// Counts a case that was found right on a device, under the `name` of its comparisons. The dtype is that
/// of the kernel.
pub(crate) fn count_case(name: &str, operator: &str, dtype: impl Display, device: &Device) {
    let mut tallies = TALLIES.lock().unwrap_or_else(PoisonError::into_inner);
    let tally = tallies.entry(name.to_owned()).or_default();
    let subject = format!(r#""operator":"{operator}","dtype":"{dtype}",{}"#, describe(device));
    *tally.cases.entry(subject).or_default() += 1;
}

/// A device as the fields of a record's line.
pub(crate) fn describe(device: &Device) -> String {
    let DeviceInfo { platform, name, architecture, images, .. } = device.info();
    format!(
        r#""platform":"{platform}","device":{name:?},"architecture":"{architecture}","images":"{images}""#
    )
}

/// Prints the worst error / bound of an operator, and records it with the number of cases.
pub(crate) fn report(operator: &str) {
    let seed = std::env::var("PROPTEST_RNG_SEED").unwrap_or_default();
    let prefix = format!("{operator} ");
    let mut tallies = TALLIES.lock().unwrap_or_else(PoisonError::into_inner);
    for (name, tally) in tallies.iter_mut().filter(|(name, _)| name.starts_with(&prefix)) {
        let (worst, cases) = (std::mem::take(&mut tally.worst), std::mem::take(&mut tally.cases));
        let count: u64 = cases.values().sum();
        println!("{name}: worst error / bound {worst:.3} in {count} cases");
        for (subject, cases) in cases {
            let line =
                format!(r#"{{{subject},"cases":{cases},"worst":{worst:.6},"seed":{seed:?}}}"#);
            record("properties.jsonl", &line);
        }
    }
}

/// The folder that records go to: `EXPERTILE_RECORD`.
pub(crate) fn record_folder() -> Option<PathBuf> {
    std::env::var_os("EXPERTILE_RECORD").map(PathBuf::from)
}

/// Appends a line to a file of the records, if they are wanted.
pub(crate) fn record(file: &str, line: &str) {
    let Some(folder) = record_folder() else { return };
    let path = folder.join(file);
    let open = OpenOptions::new().create(true).append(true).open(&path);
    // One write, so that lines of several processes do not mix.
    let written = open.and_then(|mut file| file.write_all(format!("{line}\n").as_bytes()));
    written.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}

/// Checks that two runs gave the same bits.
pub(crate) fn same_bits<T: Float>(name: &str, one: &[T], other: &[T]) -> Result<(), String> {
    for (i, (one, other)) in one.iter().zip(other).enumerate() {
        if one.bits() != other.bits() {
            return Err(format!("{name}: element {i} is {one:?} and {other:?}"));
        }
    }
    if one.len() != other.len() {
        return Err(format!("{name}: {} and {} elements", one.len(), other.len()));
    }
    Ok(())
}
