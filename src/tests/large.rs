//! DBRX's extents with many tokens, and rows so far apart that 32-bit offsets would wrap.
//!
//! What is too much for the reference is compared with rows of it alone, bit for bit: results do not
//! depend on the batch, and the other tests hold single rows to the reference. `EXPERTILE_LARGE=1`
//! asks for what takes a device; else extents are those that a simulated one does in seconds.

use super::harness::{Float, devices, poison, same_bits, values};
use super::layer_norm::LAYER_NORM;
use super::norm::{self, Operator};
use super::rms_norm::RMS_NORM;
use super::rope;
use crate::device::Device;
use crate::driver::{DeviceInfo, RawStream};
use crate::norm::plan;
use expertile::{
    Buffer, Dtype, Norm, Pairing, Residual, Result, Rope, Stream, Tensor, TensorMut, rope as launch,
};
use half::bf16;

fn large() -> bool {
    std::env::var("EXPERTILE_LARGE").is_ok_and(|value| value == "1")
}

/// Token counts that are compared with the reference in whole, and such as are not.
fn tokens() -> (Vec<usize>, Vec<usize>) {
    let mut random = fastrand::Rng::with_seed(512);
    if large() {
        let drawn = (0..12).map(|_| random.usize(1..513));
        ([1, 2, 63, 511, 512].into_iter().chain(drawn).collect(), vec![4096, 32_768])
    } else {
        (vec![1, 3], vec![9])
    }
}

fn norm_case(tokens: usize, seed: u64) -> norm::Case {
    norm::Case {
        tokens,
        hidden_8: 6144 / 8,
        gap_8: 0,
        dtype: Dtype::Bf16,
        residual: 3,
        epsilon: 1e-5,
        scale: 1.0,
        offset: 0.0,
        special: false,
        seed,
    }
}

fn rope_case(tokens: usize, seed: u64) -> rope::Case {
    rope::Case {
        tokens,
        q_heads: 48,
        kv_heads: 8,
        head_dim_8: 16,
        page_size: 16,
        pages: tokens.div_ceil(16),
        cache: 0,
        gap_8: 0,
        dtype: Dtype::Bf16,
        pairing: Pairing::Halves,
        clip: Some(8.0),
        first_position: 0,
        special: false,
        seed,
    }
}

#[test]
fn dbrx_rows_match_the_reference() -> Result<(), String> {
    for (seed, &tokens) in tokens().0.iter().enumerate() {
        for operator in [&LAYER_NORM, &RMS_NORM] {
            norm::check(operator, &norm_case(tokens, seed as u64))?;
        }
        rope::check(&rope_case(tokens, seed as u64))?;
    }
    Ok(())
}

/// Some rows of many: the first, the last, and six between.
fn chosen(tokens: usize) -> Vec<usize> {
    let mut random = fastrand::Rng::with_seed(tokens as u64);
    let between = (0..6).map(|_| random.usize(..tokens));
    [0, tokens - 1].into_iter().chain(between).collect()
}

fn many_norm_rows(operator: &Operator, stream: &Stream, tokens: usize) -> Result<(), String> {
    let case = norm_case(tokens, 7);
    let hidden = 8 * case.hidden_8;
    let mut random = fastrand::Rng::with_seed(case.seed);
    let [x, residual] = [(); 2].map(|()| values::<bf16>(&mut random, tokens * hidden, case.scale));
    let weight = values::<bf16>(&mut random, hidden, 2.0);
    let all = norm::run(operator, stream, &case, [&x, &residual, &weight])?;
    for token in chosen(tokens) {
        let row = token * hidden..(token + 1) * hidden;
        let inputs = [&x[row.clone()], &residual[row.clone()], &weight];
        let alone = norm::run(operator, stream, &case, inputs)?;
        let name = format!("{}: row {token} of {tokens}", operator.name);
        same_bits(&name, &all.out[row.clone()], &alone.out)?;
        same_bits(&name, &all.sum[row], &alone.sum)?;
    }
    Ok(())
}

fn many_rope_rows(stream: &Stream, tokens: usize) -> Result<(), String> {
    let case = rope_case(tokens, 7);
    let (row, kv_row) = (64 * 128, 8 * 128);
    let mut random = fastrand::Rng::with_seed(case.seed);
    let qkv = values::<bf16>(&mut random, tokens * row, 3.0);
    let cache = vec![poison::<bf16>(); case.pages * case.page_size * kv_row];
    let positions: Vec<i32> = (0..tokens as i32).collect();
    let slots: Vec<i64> = (0..tokens as i64).rev().collect();
    let inv_freq = expertile_reference::rope::inv_freq(500_000.0, 128);
    let inputs = rope::Inputs { positions: &positions, slots: &slots, inv_freq: &inv_freq };
    let arrays = rope::Arrays { qkv, k_cache: cache.clone(), v_cache: cache };
    let all = rope::run(stream, &case, &inputs, &arrays)?;
    for token in chosen(tokens) {
        let one = rope::Inputs {
            positions: &positions[token..=token],
            slots: &slots[token..=token],
            inv_freq: &inv_freq,
        };
        let own = token * row..(token + 1) * row;
        let alone = rope::Arrays { qkv: arrays.qkv[own.clone()].to_vec(), ..arrays.clone() };
        let alone = rope::run(stream, &case, &one, &alone)?;
        let name = format!("rope: token {token} of {tokens}");
        same_bits(&name, &all.qkv[own], &alone.qkv)?;
        // What the token alone wrote to the caches is there among what all wrote.
        for (all, alone) in [(&all.k_cache, &alone.k_cache), (&all.v_cache, &alone.v_cache)] {
            let written = alone.iter().map(|value| value.bits() != poison::<bf16>().bits());
            let pick = |cache: &[bf16]| -> Vec<bf16> {
                cache.iter().zip(written.clone()).filter(|(_, own)| *own).map(|(x, _)| *x).collect()
            };
            let (all, alone) = (pick(all), pick(alone));
            assert_eq!(alone.len(), kv_row, "{name}");
            same_bits(&name, &all, &alone)?;
        }
    }
    Ok(())
}

/// More rows than a norm has blocks, so that some blocks go through two, in two waves at least: what a
/// block keeps from one row to the next is right and is not overtaken.
#[test]
fn a_block_normalizes_several_rows() -> Result<(), String> {
    let hidden_8 = 1032 / 8;
    let blocks = devices().iter().map(|device| {
        let DeviceInfo { multiprocessors, wave_threads, .. } = *device.info();
        plan(u32::MAX, 8 * hidden_8 as u32, multiprocessors, wave_threads).grid[0] as usize
    });
    let Some(blocks) = blocks.max() else { return Ok(()) };
    for (operator, dtype) in [(&LAYER_NORM, Dtype::Bf16), (&RMS_NORM, Dtype::F32)] {
        for residual in [0, 3] {
            let case = norm_case(blocks + 5, residual.into());
            norm::check(operator, &norm::Case { hidden_8, dtype, residual, ..case })?;
        }
    }
    Ok(())
}

#[test]
fn many_rows_are_each_what_they_are_alone() -> Result<(), String> {
    for device in devices() {
        let stream = device.stream().map_err(|error| error.to_string())?;
        for tokens in tokens().1 {
            for operator in [&LAYER_NORM, &RMS_NORM] {
                many_norm_rows(operator, &stream, tokens)?;
            }
            many_rope_rows(&stream, tokens)?;
        }
    }
    Ok(())
}

/// Elements between rows: two rows on, an offset in elements passes 2^32, and one row on an offset in
/// bytes does.
pub(super) const FAR: u64 = (1 << 31) + 64;

/// Rows of bf16 that lie far apart, [`FAR`] unless said otherwise, in one allocation of 8 GiB and more.
pub(super) struct FarRows {
    buffer: Buffer,
    rows: u64,
    width: u64,
    apart: u64,
}

impl FarRows {
    pub(super) fn new(device: &Device, rows: u64, width: u64) -> Result<FarRows> {
        FarRows::apart(device, rows, width, FAR)
    }

    pub(super) fn apart(device: &Device, rows: u64, width: u64, apart: u64) -> Result<FarRows> {
        let buffer = Buffer::new(device, Dtype::Bf16, (rows - 1) * apart + width)?;
        Ok(FarRows { buffer, rows, width, apart })
    }

    fn address(&self, row: u64) -> u64 {
        self.buffer.address() + row * self.apart * 2
    }

    pub(super) fn write(&mut self, stream: RawStream, values: &[bf16]) -> Result<()> {
        let driver = self.buffer.device().driver();
        for (row, values) in (0..self.rows).zip(values.chunks(self.width as usize)) {
            let bytes = size_of_val(values) as u64;
            // SAFETY: a row holds `width` elements, as many as `values`, and lies within the buffer;
            // the copy is done when the call returns.
            unsafe {
                driver.copy_to_device(self.address(row), values.as_ptr().cast(), bytes, stream)?;
            }
        }
        Ok(())
    }

    pub(super) fn read(&self, stream: RawStream) -> Result<Vec<bf16>> {
        let mut values = vec![bf16::ZERO; (self.rows * self.width) as usize];
        for (row, values) in (0..self.rows).zip(values.chunks_mut(self.width as usize)) {
            let bytes = size_of_val(values) as u64;
            let driver = self.buffer.device().driver();
            // SAFETY: as in `write`.
            unsafe {
                let to = values.as_mut_ptr().cast();
                driver.copy_from_device(to, self.address(row), bytes, stream)?;
            }
        }
        Ok(values)
    }

    pub(super) fn tensor(&self, shape: &[u64]) -> Result<Tensor<'_>> {
        self.buffer.strided(shape, &strides(shape, self.apart), 0)
    }

    pub(super) fn tensor_mut(&mut self, shape: &[u64]) -> Result<TensorMut<'_>> {
        self.buffer.strided_mut(shape, &strides(shape, self.apart), 0)
    }
}

/// Dense but for the first extent.
fn strides(shape: &[u64], apart: u64) -> Vec<u64> {
    let mut strides = vec![1; shape.len()];
    for i in (1..shape.len() - 1).rev() {
        strides[i] = strides[i + 1] * shape[i + 1];
    }
    strides[0] = apart;
    strides
}

pub(super) const ROWS: u64 = 3;

#[test]
fn norm_rows_may_be_gibibytes_apart() -> Result<()> {
    let hidden = 264;
    let mut random = fastrand::Rng::with_seed(3);
    let [x, sum] = [(); 2].map(|()| values::<bf16>(&mut random, (ROWS * hidden) as usize, 1.0));
    let weight = values::<bf16>(&mut random, hidden as usize, 1.0);
    for device in devices() {
        let stream = device.stream()?;
        let shape = [ROWS, hidden];
        let weight = Buffer::from_slice(&stream, &weight)?;
        let mut dense = [&x, &sum, &x].map(|values| Buffer::from_slice(&stream, values));
        let mut far = [(); 3].map(|()| FarRows::new(device, ROWS, hidden));
        let ([Ok(near_x), Ok(near_sum), Ok(near_out)], [Ok(far_x), Ok(far_sum), Ok(far_out)]) =
            (&mut dense, &mut far)
        else {
            println!("skipped on {device}: no room for three buffers of 8 GiB");
            continue;
        };
        far_x.write(stream.raw(), &x)?;
        far_sum.write(stream.raw(), &sum)?;
        for operator in [&LAYER_NORM, &RMS_NORM] {
            let weight = || weight.tensor(&[hidden]);
            let near = Norm {
                x: near_x.tensor(&shape)?,
                residual: Residual::Update(near_sum.tensor_mut(&shape)?),
                weight: weight()?,
                out: near_out.tensor_mut(&shape)?,
                epsilon: 1e-5,
            };
            (operator.launch)(&stream, &near)?;
            let far = Norm {
                x: far_x.tensor(&shape)?,
                residual: Residual::Update(far_sum.tensor_mut(&shape)?),
                weight: weight()?,
                out: far_out.tensor_mut(&shape)?,
                epsilon: 1e-5,
            };
            (operator.launch)(&stream, &far)?;
            let name = operator.name;
            let near: Vec<bf16> = near_out.read(&stream)?;
            same_bits(name, &far_out.read(stream.raw())?, &near).unwrap_or_else(|e| panic!("{e}"));
            let near: Vec<bf16> = near_sum.read(&stream)?;
            same_bits(name, &far_sum.read(stream.raw())?, &near).unwrap_or_else(|e| panic!("{e}"));
        }
    }
    Ok(())
}

#[test]
fn rope_rows_and_pages_may_be_gibibytes_apart() -> Result<()> {
    let (q_heads, kv_heads, head_dim) = (6, 1, 16);
    let heads = q_heads + 2 * kv_heads;
    let mut random = fastrand::Rng::with_seed(5);
    let qkv = values::<bf16>(&mut random, (ROWS * heads * head_dim) as usize, 3.0);
    let empty = vec![poison::<bf16>(); (ROWS * kv_heads * head_dim) as usize];
    let inv_freq = expertile_reference::rope::inv_freq(500_000.0, head_dim as usize);
    for device in devices() {
        let stream = device.stream()?;
        let positions = Buffer::from_slice(&stream, &[5i32, 70_000, 131_071])?;
        let slots = Buffer::from_slice(&stream, &[2i64, 0, 1])?;
        let inv_freq = Buffer::from_slice(&stream, &inv_freq)?;
        let mut dense = [&qkv, &empty, &empty].map(|values| Buffer::from_slice(&stream, values));
        let widths = [heads, kv_heads, kv_heads].map(|heads| heads * head_dim);
        let mut far = widths.map(|width| FarRows::new(device, ROWS, width));
        let ([Ok(qkv_near), Ok(k_near), Ok(v_near)], [Ok(qkv_far), Ok(k_far), Ok(v_far)]) =
            (&mut dense, &mut far)
        else {
            println!("skipped on {device}: no room for three buffers of 8 GiB");
            continue;
        };
        qkv_far.write(stream.raw(), &qkv)?;
        k_far.write(stream.raw(), &empty)?;
        v_far.write(stream.raw(), &empty)?;
        let (rows, cache) = ([ROWS, heads, head_dim], [ROWS, 1, kv_heads, head_dim]);
        let arguments = |qkv, k_cache, v_cache| -> Result<Rope<'_>> {
            Ok(Rope {
                qkv,
                positions: positions.tensor(&[ROWS])?,
                inv_freq: inv_freq.tensor(&[head_dim / 2])?,
                k_cache,
                v_cache,
                slot_mapping: slots.tensor(&[ROWS])?,
                clip: Some(8.0),
                pairing: Pairing::Halves,
            })
        };
        let (k, v) = (k_near.tensor_mut(&cache)?, v_near.tensor_mut(&cache)?);
        launch(&stream, &arguments(qkv_near.tensor_mut(&rows)?, k, v)?)?;
        let (k, v) = (k_far.tensor_mut(&cache)?, v_far.tensor_mut(&cache)?);
        launch(&stream, &arguments(qkv_far.tensor_mut(&rows)?, k, v)?)?;
        for (near, far) in [(qkv_near, qkv_far), (k_near, k_far), (v_near, v_far)] {
            let (near, far) = (near.read::<bf16>(&stream)?, far.read(stream.raw())?);
            same_bits("rope", &far, &near).unwrap_or_else(|error| panic!("{error}"));
            assert!(near.iter().all(|value| value.bits() != poison::<bf16>().bits()));
        }
    }
    Ok(())
}
