//! What the benches of both norms share: DBRX's rows with the residual updated in place.

use crate::device;
use criterion::{Criterion, Throughput};
use expertile::{Norm, Residual, Result, Stream};

/// Four rows of bf16 are moved for each token: x and residual in, sum and result out.
pub(crate) fn bench(c: &mut Criterion, name: &str, operator: fn(&Stream, &Norm<'_>) -> Result<()>) {
    let hidden = 6144;
    for device in device::devices() {
        let stream = device.stream().unwrap_or_else(|error| panic!("{error}"));
        let mut group = c.benchmark_group(name);
        for tokens in [1, 64, 4096] {
            let elements = tokens * hidden;
            let [x, mut residual, mut out] = [(); 3].map(|()| device::zeros(&stream, elements));
            let weight = device::zeros(&stream, hidden);
            group.throughput(Throughput::Bytes(4 * 2 * elements));
            device::bench(&mut group, &stream, &format!("[{tokens}, {hidden}]"), |stream| {
                let shape = [tokens, hidden];
                let arguments = Norm {
                    x: x.tensor(&shape)?,
                    residual: Residual::Update(residual.tensor_mut(&shape)?),
                    weight: weight.tensor(&[hidden])?,
                    out: out.tensor_mut(&shape)?,
                    epsilon: 1e-5,
                };
                operator(stream, &arguments)
            });
        }
    }
}
