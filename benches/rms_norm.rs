//! `rms_norm` with a residual: bound by reading and writing two rows for each token.

use crate::data::uniform;
use crate::device::DeviceBench;
use criterion::{BenchmarkId, Criterion, Throughput};
use expertile_reference::Rounding;
use expertile_reference::rms_norm::rms_norm;

pub(crate) const DEVICE: DeviceBench =
    crate::norm::bench("rms_norm", |stream, extents, dtype, sets| {
        crate::norm::prepare(expertile::rms_norm, stream, extents, dtype, sets)
    });

pub(crate) fn bench(c: &mut Criterion) {
    let (tokens, hidden) = (64, 1024);
    let (x, residual) = (uniform(0, tokens * hidden, 1.0), uniform(1, tokens * hidden, 1.0));
    let weight = uniform(2, hidden, 1.0);
    let mut group = c.benchmark_group("rms_norm");
    group.throughput(Throughput::Bytes((4 * x.len() * 4) as u64));
    group.bench_function(BenchmarkId::new("plain", format!("[{tokens}, {hidden}]")), |b| {
        b.iter(|| rms_norm(&x, Some(&residual), &weight, 1e-5, Rounding::F32));
    });
}
