//! The experts' products and their layer: rows and experts so far apart that 32-bit offsets would wrap, DBRX's extents
//! at which they would, more tokens than a grid's smaller sides have blocks.

use super::grouped_gemm::able;
use super::harness::{same_bits, values};
use super::large::{FAR, FarRows};
use super::moe::{Case, Operands, plain, run};
use expertile::{
    Activation, Buffer, Device, Dtype, Gated, GroupedDown, GroupedUp, PairWeights, Result, Stream,
    Tensor, TensorMut, WeightLayout, grouped_gemm_down, grouped_gemm_up,
};
use half::bf16;

/// What both products share.
struct Rows {
    pairs: Buffer,
    offsets: Buffer,
    weights: Buffer,
    count: u64,
    experts: u64,
}

impl Rows {
    /// So many rows, of which the last are the experts', as many as `counts` say; a row's pair is its number.
    fn new(stream: &Stream, count: u64, counts: &[u64]) -> Result<Rows> {
        let mut end = count - counts.iter().sum::<u64>();
        let mut offsets = vec![end as i32];
        for rows in counts {
            end += rows;
            offsets.push(end as i32);
        }
        Ok(Rows {
            pairs: Buffer::from_slice(stream, &(0..count as i32).collect::<Vec<_>>())?,
            offsets: Buffer::from_slice(stream, &offsets)?,
            weights: Buffer::from_slice(stream, &vec![0.75f32; count as usize])?,
            count,
            experts: counts.len() as u64,
        })
    }

    fn up(
        &self,
        stream: &Stream,
        x: Tensor<'_>,
        [gate, up]: [Tensor<'_>; 2],
        out: TensorMut<'_>,
    ) -> Result<()> {
        let arguments = GroupedUp {
            x,
            pairs: self.pairs.tensor(&[self.count])?,
            top_k: 1,
            offsets: self.offsets.tensor(&[self.experts + 1])?,
            weights: Gated::Separate { gate, up },
            biases: None,
            activation: Activation::Silu,
            out,
        };
        grouped_gemm_up(stream, &arguments)
    }

    fn down(
        &self,
        stream: &Stream,
        x: Tensor<'_>,
        weight: Tensor<'_>,
        layout: WeightLayout,
        out: TensorMut<'_>,
    ) -> Result<()> {
        let arguments = GroupedDown {
            x,
            offsets: self.offsets.tensor(&[self.experts + 1])?,
            weight,
            layout,
            bias: None,
            pair_weights: Some(PairWeights {
                weights: self.weights.tensor(&[self.count, 1])?,
                pairs: self.pairs.tensor(&[self.count])?,
            }),
            out,
        };
        grouped_gemm_down(stream, &arguments)
    }
}

/// Few rows and many, of three experts, every tensor spread over gibibytes.
#[test]
fn products_may_be_gibibytes_apart() -> Result<()> {
    let (k, n) = (72, 40);
    for device in able() {
        let stream = device.stream()?;
        for (counts, apart) in [([2u64, 0, 1], FAR), ([70, 0, 60], (1 << 31) / 800 * 8)] {
            let count = counts.iter().sum();
            let rows = Rows::new(&stream, count, &counts)?;
            let mut random = fastrand::Rng::with_seed(31);
            let widths = [(count, k, apart), (count, n, apart), (3, n * k, FAR), (3, n * k, FAR)];
            let near = widths
                .map(|(rows, width, _)| values::<bf16>(&mut random, (rows * width) as usize, 1.0));
            let mut far =
                widths.map(|(rows, width, apart)| FarRows::apart(device, rows, width, apart));
            if far.iter().any(|far| far.is_err()) {
                println!("skipped on {device}: no room for four buffers of 8 GiB");
                continue;
            }
            for (far, near) in far.iter_mut().flatten().zip(&near) {
                far.write(stream.raw(), near)?;
            }
            let [Ok(far_x), Ok(far_out), Ok(far_gate), Ok(far_up)] = &mut far else {
                unreachable!("there was room")
            };
            let near = near.map(|values| Buffer::from_slice(&stream, &values));
            let [Ok(x), Ok(mut out), Ok(gate), Ok(up)] = near else {
                panic!("no room for small buffers")
            };
            let ([of_x, of_out], nt, nn) = ([[count, k], [count, n]], [3, n, k], [3, k, n]);
            let compare = |name: &str, near: &Buffer, far: &FarRows| -> Result<()> {
                let (near, far) = (near.read::<bf16>(&stream)?, far.read(stream.raw())?);
                same_bits(&format!("{name} {device}"), &far, &near)
                    .unwrap_or_else(|error| panic!("{error}"));
                Ok(())
            };
            let both = [gate.tensor(&nt)?, up.tensor(&nt)?];
            rows.up(&stream, x.tensor(&of_x)?, both, out.tensor_mut(&of_out)?)?;
            let both = [far_gate.tensor(&nt)?, far_up.tensor(&nt)?];
            rows.up(&stream, far_x.tensor(&of_x)?, both, far_out.tensor_mut(&of_out)?)?;
            compare("up", &out, far_out)?;
            for (layout, shape) in [(WeightLayout::OutIn, nt), (WeightLayout::InOut, nn)] {
                let weight = gate.tensor(&shape)?;
                rows.down(&stream, x.tensor(&of_x)?, weight, layout, out.tensor_mut(&of_out)?)?;
                let weight = far_gate.tensor(&shape)?;
                let out_far = far_out.tensor_mut(&of_out)?;
                rows.down(&stream, far_x.tensor(&of_x)?, weight, layout, out_far)?;
                compare("down", &out, far_out)?;
            }
        }
    }
    Ok(())
}

/// The last elements of a tensor.
fn tail(device: &Device, stream: &Stream, of: &Buffer, count: u64) -> Result<Vec<bf16>> {
    let mut values = vec![bf16::ZERO; count as usize];
    let address = of.address() + (of.elements() - count) * 2;
    // SAFETY: so many elements at the buffer's end; the copy is done when the call returns.
    unsafe {
        device.driver().copy_from_device(
            values.as_mut_ptr().cast(),
            address,
            2 * count,
            stream.raw(),
        )?;
    }
    Ok(values)
}

fn write_tail(device: &Device, stream: &Stream, to: &Buffer, values: &[bf16]) -> Result<()> {
    let count = values.len() as u64;
    let address = to.address() + (to.elements() - count) * 2;
    // SAFETY: as in `tail`.
    unsafe {
        device.driver().copy_to_device(address, values.as_ptr().cast(), 2 * count, stream.raw())
    }
}

/// DBRX with 24,967 tokens (an expert's rows pass 2^31 bytes), 49,933 (2^31 elements of `ffn_hidden`) and 87,382 (of
/// `hidden`): the last rows have the bits that they have alone.
#[test]
fn the_last_rows_of_many_are_as_alone() -> Result<()> {
    const LAST: u64 = 3;
    for device in able() {
        let stream = device.stream()?;
        for (tokens, features) in [(24_967, 10_752), (49_933, 10_752), (87_382, 6_144)] {
            let (count, narrow) = (4 * tokens, 64);
            let mut random = fastrand::Rng::with_seed(tokens);
            let mut new = |elements: u64| values::<bf16>(&mut random, elements as usize, 0.5);
            let (x, wide) = (new(LAST * narrow), new(LAST * features));
            let [gate, up] = [(); 2].map(|()| new(2 * features * narrow));
            let [gate, up] = [&gate, &up].map(|values| Buffer::from_slice(&stream, values));
            let (gate, up) = (gate?, up?);
            let many = Rows::new(&stream, count, &[1, 2])?;
            let alone = Rows::new(&stream, LAST, &[1, 2])?;
            let sizes = [(narrow, count), (features, count), (features, LAST), (narrow, LAST)];
            let buffers = sizes.map(|(width, rows)| Buffer::new(device, Dtype::Bf16, width * rows));
            let [Ok(mut slim), Ok(mut large), Ok(mut few), Ok(mut few_slim)] = buffers else {
                println!("skipped on {device}: no room for {count} rows of {features}");
                continue;
            };
            let name = format!("{device}: {tokens} tokens");
            let same = |far: &Buffer, near: &Buffer| -> Result<()> {
                let far = tail(device, &stream, far, near.elements())?;
                same_bits(&name, &far, &near.read::<bf16>(&stream)?)
                    .unwrap_or_else(|error| panic!("{error}"));
                Ok(())
            };
            // The products of few features with many, and the other way round.
            let shape = [2, features, narrow];
            write_tail(device, &stream, &slim, &x)?;
            let both = || -> Result<_> { Ok([gate.tensor(&shape)?, up.tensor(&shape)?]) };
            let out = large.tensor_mut(&[count, features])?;
            many.up(&stream, slim.tensor(&[count, narrow])?, both()?, out)?;
            let x = Buffer::from_slice(&stream, &x)?;
            let out = few.tensor_mut(&[LAST, features])?;
            alone.up(&stream, x.tensor(&[LAST, narrow])?, both()?, out)?;
            same(&large, &few)?;
            write_tail(device, &stream, &large, &wide)?;
            let layout = WeightLayout::InOut;
            let out = slim.tensor_mut(&[count, narrow])?;
            let weight = gate.tensor(&shape)?;
            many.down(&stream, large.tensor(&[count, features])?, weight, layout, out)?;
            let wide = Buffer::from_slice(&stream, &wide)?;
            let out = few_slim.tensor_mut(&[LAST, narrow])?;
            let weight = gate.tensor(&shape)?;
            alone.down(&stream, wide.tensor(&[LAST, features])?, weight, layout, out)?;
            same(&slim, &few_slim)?;
        }
    }
    Ok(())
}

/// 16,384 tokens of two experts each: dispatch is two launches, and tiles are many more than blocks.
#[test]
fn many_tokens_are_as_few() -> Result<(), String> {
    let most = Case { hidden_8: 1, ffn_8: 1, residual: 1, given: true, ..plain(16_384, 5, 2) };
    let operands = most.operands::<bf16>();
    let (hidden, k) = (most.features()[0], most.top_k);
    for device in able() {
        let stream = device.stream().map_err(|error| error.to_string())?;
        let all = run(&stream, &most, &operands)?;
        let mut random = fastrand::Rng::with_seed(3);
        let chosen: Vec<usize> =
            [0, 16_383].into_iter().chain((0..20).map(|_| random.usize(..16_384))).collect();
        let rows = |of: &[bf16]| -> Vec<bf16> {
            chosen.iter().flat_map(|token| of[token * hidden..][..hidden].to_vec()).collect()
        };
        let some = Operands {
            x: rows(&operands.x),
            residual: rows(&operands.residual),
            ids: chosen.iter().flat_map(|t| operands.ids[t * k..][..k].to_vec()).collect(),
            weights: chosen.iter().flat_map(|t| operands.weights[t * k..][..k].to_vec()).collect(),
            ..operands.clone()
        };
        let alone = run(&stream, &Case { tokens: chosen.len(), ..most.clone() }, &some)?;
        same_bits(&format!("moe {device}: tokens of 16384"), &rows(&all), &alone)?;
    }
    Ok(())
}
