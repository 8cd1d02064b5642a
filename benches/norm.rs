//! What the benches of both norms share: DBRX's rows, with a residual added and the sum kept.

use crate::device::{Bound, Calls, DeviceBench, Work, normal};
use expertile::{Buffer, Dtype, Norm, Residual, Result, Stream};

const DBRX: u64 = 6144;

/// x and residual in, sum and result out.
pub(crate) const fn bench(
    operator: &'static str,
    prepare: fn(&Stream, &[u64], Dtype, u64) -> Result<Calls>,
) -> DeviceBench {
    DeviceBench {
        operator,
        extents: &["tokens", "hidden"],
        shapes: &[&[4096, DBRX], &[1, DBRX], &[8, DBRX], &[64, DBRX], &[512, DBRX]],
        tiny: &[3, 64],
        work: |extents, dtype| {
            let [tokens, hidden] = extents else { unreachable!("two extents") };
            let bytes = (4 * tokens * hidden + hidden) * dtype.bytes();
            // The sum, two reductions, and what scales each element.
            Work { bytes, flops: 7 * tokens * hidden, bound: Bound::Copy }
        },
        prepare,
    }
}

pub(crate) fn prepare(
    operator: fn(&Stream, &Norm<'_>) -> Result<()>,
    stream: &Stream,
    extents: &[u64],
    dtype: Dtype,
    sets: u64,
) -> Result<Calls> {
    let &[tokens, hidden] = extents else { unreachable!("two extents") };
    let elements = tokens * hidden;
    let x = normal(stream, dtype, sets * elements, 1)?;
    let residual = normal(stream, dtype, sets * elements, 2)?;
    let weight = normal(stream, dtype, hidden, 3)?;
    let [mut sum, mut out] = [
        Buffer::new(stream.device(), dtype, sets * elements)?,
        Buffer::new(stream.device(), dtype, sets * elements)?,
    ];
    Ok(Box::new(move |stream, set| {
        let (shape, strides, first) = ([tokens, hidden], [hidden, 1], set * elements);
        let arguments = Norm {
            x: x.strided(&shape, &strides, first)?,
            residual: Residual::AddTo(
                residual.strided(&shape, &strides, first)?,
                sum.strided_mut(&shape, &strides, first)?,
            ),
            weight: weight.tensor(&[hidden])?,
            out: out.strided_mut(&shape, &strides, first)?,
            epsilon: 1e-5,
        };
        operator(stream, &arguments)
    }))
}
