//! Device operators, timed by the device's own events.

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, BenchmarkId};
use expertile::{Buffer, Device, Dtype, Event, Result, Stream};
use std::time::Duration;

/// The devices there are.
#[cfg(feature = "cuda")]
pub(crate) fn devices() -> Vec<Device> {
    match Device::cuda_count() {
        Ok(count) => (0..count).filter_map(|ordinal| Device::cuda(ordinal).ok()).collect(),
        Err(error) => {
            eprintln!("skipped: {error}");
            Vec::new()
        }
    }
}

/// The devices there are: none, without a platform's feature.
#[cfg(not(feature = "cuda"))]
pub(crate) fn devices() -> Vec<Device> {
    Vec::new()
}

/// Times `launch` on the stream: events around as many launches as criterion asks for.
pub(crate) fn bench(
    group: &mut BenchmarkGroup<'_, WallTime>,
    stream: &Stream,
    shape: &str,
    mut launch: impl FnMut(&Stream) -> Result<()>,
) {
    let device = stream.device();
    let id = BenchmarkId::new(&device.info().name, shape);
    group.bench_function(id, |b| {
        b.iter_custom(|launches| {
            let mut run = || -> Result<f32> {
                let (start, end) = (Event::new(device)?, Event::new(device)?);
                start.record(stream)?;
                for _ in 0..launches {
                    launch(stream)?;
                }
                end.record(stream)?;
                start.elapsed_ms(&end)
            };
            let milliseconds = run().unwrap_or_else(|error| panic!("{error}"));
            // A simulated device's clock may stand still, which criterion does not take.
            Duration::from_secs_f64(f64::from(milliseconds).max(1e-6) / 1e3)
        });
    });
}

/// Bf16 memory of zeros.
pub(crate) fn zeros(stream: &Stream, elements: u64) -> Buffer {
    let mut buffer =
        Buffer::new(stream.device(), Dtype::Bf16, elements).unwrap_or_else(|e| panic!("{e}"));
    buffer.fill_bytes(stream, 0).unwrap_or_else(|e| panic!("{e}"));
    buffer
}
