//! What the benches of device operators share.
//!
//! An operator's file describes its bench ([`DeviceBench`]); everything else is here: rotated cold
//! buffers and graphs (`timing`), what the device can do at best (`ceilings`), criterion
//! (`criterion`), and the service that the GPU kit talks to (`serve`).

mod ceilings;
mod criterion;
mod serve;
mod timing;

use expertile::probe::available;
use expertile::{Buffer, Device, Dtype, Element, Platform, Result, Stream};
use half::{bf16, f16};

pub(crate) use criterion::bench;
pub(crate) use serve::serve;

/// What bounds an operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(dead_code)] // no operator of each kind is there yet
pub(crate) enum Bound {
    /// Memory, mostly read.
    Read,
    /// Memory, read and written.
    Copy,
    /// Matrix products.
    Matrix,
}

impl Bound {
    /// The name of the ceiling.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Bound::Read => "read",
            Bound::Copy => "copy",
            Bound::Matrix => "matrix",
        }
    }
}

/// What one call must do at least.
pub(crate) struct Work {
    /// Moved to and from memory.
    pub(crate) bytes: u64,
    pub(crate) flops: u64,
    pub(crate) bound: Bound,
}

/// Launches the operator on one of the sets of buffers.
pub(crate) type Calls = Box<dyn FnMut(&Stream, u64) -> Result<()>>;

/// The bench of one operator.
pub(crate) struct DeviceBench {
    pub(crate) operator: &'static str,
    /// The names of the extents.
    pub(crate) extents: &'static [&'static str],
    /// What is measured in bf16; the first in every dtype.
    pub(crate) shapes: &'static [&'static [u64]],
    /// What a simulated device does in a moment.
    pub(crate) tiny: &'static [u64],
    pub(crate) work: fn(&[u64], Dtype) -> Work,
    /// Makes `sets` sets of buffers filled with normal random numbers.
    pub(crate) prepare: fn(&Stream, &[u64], Dtype, u64) -> Result<Calls>,
}

/// One operator at one shape.
pub(crate) struct Case<'a> {
    pub(crate) bench: &'a DeviceBench,
    pub(crate) extents: Vec<u64>,
    pub(crate) dtype: Dtype,
}

impl Case<'_> {
    /// For example `tokens 4096, hidden 6144, bf16`.
    pub(crate) fn shape(&self) -> String {
        let named = self.bench.extents.iter().zip(&self.extents);
        let extents: Vec<String> = named.map(|(name, extent)| format!("{name} {extent}")).collect();
        format!("{}, {}", extents.join(", "), self.dtype)
    }

    pub(crate) fn work(&self) -> Work {
        (self.bench.work)(&self.extents, self.dtype)
    }
}

/// What is measured of an operator on a device.
pub(crate) fn cases<'a>(bench: &'a DeviceBench, device: &Device) -> Vec<Case<'a>> {
    let case = |extents: &[u64], dtype| Case { bench, extents: extents.to_vec(), dtype };
    if is_simulated(device) {
        return vec![case(bench.tiny, Dtype::Bf16)];
    }
    let bf16 = bench.shapes.iter().map(|extents| case(extents, Dtype::Bf16));
    let others = [Dtype::F16, Dtype::F32].map(|dtype| case(bench.shapes[0], dtype));
    bf16.chain(others).collect()
}

/// What is "measured" on a simulated device says nothing about any machine.
pub(crate) fn is_simulated(device: &Device) -> bool {
    device.info().name.starts_with("simulated ")
}

/// One device of each architecture that is there.
pub(crate) fn devices() -> Vec<Device> {
    let mut devices: Vec<Device> = Vec::new();
    for platform in Platform::ALL {
        let count = Device::count(platform).unwrap_or_else(|error| {
            eprintln!("skipped: {error}");
            0
        });
        for ordinal in 0..count {
            match Device::open(platform, ordinal) {
                Ok(device) if !available(&device) => {
                    eprintln!("skipped: {device}: no kernel reads its caches empty");
                }
                Ok(device) => {
                    let architecture = &device.info().architecture;
                    if devices.iter().all(|other| other.info().architecture != *architecture) {
                        devices.push(device);
                    }
                }
                Err(error) => eprintln!("skipped: {error}"),
            }
        }
    }
    devices
}

/// Normal random numbers of a floating-point type.
pub(crate) fn normal(stream: &Stream, dtype: Dtype, elements: u64, seed: u64) -> Result<Buffer> {
    match dtype {
        Dtype::Bf16 => normal_as(stream, elements, seed, bf16::from_f32),
        Dtype::F16 => normal_as(stream, elements, seed, f16::from_f32),
        _ => normal_as(stream, elements, seed, |x| x),
    }
}

/// Numbers of a table whose length is a prime, over and over: no two rows are alike.
fn normal_as<T: Element>(
    stream: &Stream,
    elements: u64,
    seed: u64,
    convert: fn(f32) -> T,
) -> Result<Buffer> {
    const TABLE: usize = 1_048_573;
    let mut random = fastrand::Rng::with_seed(seed);
    // Box and Muller's transformation.
    let mut number = || {
        let radius = (-2.0 * (1.0 - random.f32()).ln()).sqrt();
        convert(radius * (std::f32::consts::TAU * random.f32()).cos())
    };
    let table: Vec<T> = (0..TABLE.min(elements as usize)).map(|_| number()).collect();
    let values: Vec<T> = table.iter().copied().cycle().take(elements as usize).collect();
    Buffer::from_slice(stream, &values)
}
