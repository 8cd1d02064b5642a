//! `expertile-candle [cuda|cpu]`: the operators on a device of candle's against those on the CPU, at DBRX's extents.

use candle_core::{DType, Device, Error, Result, Tensor};
use expertile_candle::{Pairing, Residual, Rope, layer_norm, rms_norm, rope};
use std::process::ExitCode;

const TOKENS: usize = 7;
const HIDDEN: usize = 6144;
const Q_HEADS: usize = 48;
const KV_HEADS: usize = 8;
const HEAD_DIM: usize = 128;
const PAGES: usize = 4;
const PAGE_SIZE: usize = 16;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let device = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] | ["cuda"] => Device::new_cuda_with_stream(0),
        ["cpu"] => Ok(Device::Cpu),
        _ => {
            eprintln!("usage: expertile-candle [cuda|cpu]");
            return ExitCode::from(2);
        }
    };
    match device.and_then(|device| compare_all(&device)) {
        Ok(calls) => {
            println!("{calls} calls: as on the CPU");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// The number of calls compared.
fn compare_all(device: &Device) -> Result<usize> {
    let mut calls = 0;
    for dtype in [DType::BF16, DType::F16, DType::F32] {
        for layer in [true, false] {
            for residual in 0..3 {
                let what = format!(
                    "{} {dtype:?} {residual}",
                    if layer { "layer_norm" } else { "rms_norm" }
                );
                let expected = norm(&Device::Cpu, dtype, layer, residual)?;
                compare(&what, dtype, &norm(device, dtype, layer, residual)?, &expected)?;
                calls += 1;
            }
        }
        for pairing in [Pairing::Halves, Pairing::Interleaved] {
            for clip in [Some(2.5), None] {
                let what = format!("rope {dtype:?} {pairing:?} {clip:?}");
                let expected = rotate(&Device::Cpu, dtype, clip, pairing)?;
                compare(&what, dtype, &rotate(device, dtype, clip, pairing)?, &expected)?;
                calls += 1;
            }
        }
    }
    Ok(calls)
}

/// Each element, rounded once on both sides from numbers that differ by what f32 loses.
fn compare(what: &str, dtype: DType, found: &[Tensor], expected: &[Tensor]) -> Result<()> {
    let unit = 2f64.powi(match dtype {
        DType::BF16 => -8,
        DType::F16 => -11,
        _ => -24,
    });
    for (index, (found, expected)) in found.iter().zip(expected).enumerate() {
        let numbers = |tensor: &Tensor| -> Result<Vec<f64>> {
            tensor.to_device(&Device::Cpu)?.to_dtype(DType::F64)?.flatten_all()?.to_vec1()
        };
        for (i, (found, expected)) in numbers(found)?.iter().zip(numbers(expected)?).enumerate() {
            let bound = 2.0 * unit * expected.abs() + 2f64.powi(-20) * expected.abs().max(8.0);
            // Written so that a NaN is worse than anything.
            if (found - expected).abs() <= bound {
                continue;
            }
            let message = format!("{what}: result {index}[{i}] is {found}, expected {expected}");
            return Err(Error::msg(message));
        }
    }
    Ok(())
}

/// Random multiples of 1/16 between -8 and 8, of which every type holds each.
fn values(device: &Device, shape: &[usize], dtype: DType, seed: u64) -> Result<Tensor> {
    // SplitMix64.
    let number = |i: u64| {
        let mut z = (seed << 32 | i).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z >> 56) as f32 - 128.0) / 16.0
    };
    let elements = shape.iter().product::<usize>() as u64;
    Tensor::from_iter((0..elements).map(number), &Device::Cpu)?
        .reshape(shape)?
        .to_dtype(dtype)?
        .to_device(device)
}

/// The normalised rows and the residual, of rows that lie within longer ones.
fn norm(device: &Device, dtype: DType, layer: bool, residual: usize) -> Result<Vec<Tensor>> {
    let rows = |seed| values(device, &[TOKENS + 1, HIDDEN + 16], dtype, seed);
    let within = |rows: &Tensor| rows.narrow(0, 1, TOKENS)?.narrow(1, 8, HIDDEN);
    let (x, added, weight) = (within(&rows(1)?)?, rows(2)?, values(device, &[HIDDEN], dtype, 3)?);
    let view = within(&added)?;
    let mode = [Residual::None, Residual::Add(&view), Residual::Update(&view)][residual];
    let operator = if layer { layer_norm } else { rms_norm };
    Ok(vec![operator(&x, mode, &weight, 1e-5)?, added])
}

/// The rows and both caches.
fn rotate(
    device: &Device,
    dtype: DType,
    clip: Option<f32>,
    pairing: Pairing,
) -> Result<Vec<Tensor>> {
    let qkv = values(device, &[TOKENS + 1, Q_HEADS + 2 * KV_HEADS, HEAD_DIM], dtype, 4)?;
    let cache = |seed| values(device, &[PAGES, PAGE_SIZE, KV_HEADS, HEAD_DIM], dtype, seed);
    let (k_cache, v_cache) = (cache(5)?, cache(6)?);
    let inv_freq = expertile_reference::rope::inv_freq(5e5, HEAD_DIM);
    rope(
        &qkv.narrow(0, 1, TOKENS)?,
        &Rope {
            positions: &Tensor::new(&[0i32, 1, 2, 63, 2047, 32767, 131071], device)?,
            inv_freq: &Tensor::new(inv_freq, device)?,
            k_cache: &k_cache,
            v_cache: &v_cache,
            slot_mapping: &Tensor::new(&[5i64, 0, -1, 63, 17, 64, 40], device)?,
            clip,
            pairing,
        },
    )?;
    Ok(vec![qkv, k_cache, v_cache])
}
