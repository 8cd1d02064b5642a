//! All backends give the same bits where the arithmetic is fixed: rope for any input, since every
//! operation and its order is written down, and so is combine's; the norms where no sum rounds.

use super::harness::devices;
use expertile::{
    Buffer, Combine, CombineOut, Device, Dtype, Element, Norm, Pairing, Residual, Result, Rope,
    Stream, combine, layer_norm, rms_norm, rope,
};
use half::{bf16, f16};

const TOKENS: u64 = 37;
const HEADS: [u64; 2] = [6, 1];

/// Bytes of the results, with a NaN of any kind as one.
fn canonical<T: Element + Copy + Into<f64>>(values: &[T]) -> Vec<u64> {
    let bits = |&value: &T| {
        let value: f64 = value.into();
        if value.is_nan() { f64::NAN.to_bits() } else { value.to_bits() }
    };
    values.iter().map(bits).collect()
}

/// The results of rope on a device: rotated rows, and both caches.
fn rotate<T: Element + Copy + Into<f64>>(
    device: &Device,
    pairing: Pairing,
    head_dim: u64,
    of: impl Fn(f32) -> T,
) -> Result<[Vec<u64>; 3]> {
    let stream = device.stream()?;
    let heads = HEADS[0] + 2 * HEADS[1];
    let mut random = fastrand::Rng::with_seed(head_dim);
    let mut value = || match random.u32(0..40) {
        0 => f32::NAN,
        1 => -f32::INFINITY,
        2 => f32::from_bits(random.u32(0..0x80_0000)),
        _ => (random.f32() - 0.5) * 40.0,
    };
    let qkv: Vec<T> = (0..TOKENS * heads * head_dim).map(|_| of(value())).collect();
    // Up to the last position of the published models, and beyond it.
    let positions: Vec<i32> = (0..TOKENS as i32).map(|t| t * 3641 + t % 3 * (1 << 26)).collect();
    let slots: Vec<i64> = (0..TOKENS as i64).rev().collect();
    let inv_freq = expertile_reference::rope::inv_freq(5e5, head_dim as usize);
    let cache_shape = [1, TOKENS, HEADS[1], head_dim];
    let cache_elements = TOKENS * HEADS[1] * head_dim;
    let mut qkv = Buffer::from_slice(&stream, &qkv)?;
    let mut k_cache = Buffer::new(device, qkv.dtype(), cache_elements)?;
    let mut v_cache = Buffer::new(device, qkv.dtype(), cache_elements)?;
    let positions = Buffer::from_slice(&stream, &positions)?;
    let slots = Buffer::from_slice(&stream, &slots)?;
    let inv_freq = Buffer::from_slice(&stream, &inv_freq)?;
    let arguments = Rope {
        qkv: qkv.tensor_mut(&[TOKENS, heads, head_dim])?,
        positions: positions.tensor(&[TOKENS])?,
        inv_freq: inv_freq.tensor(&[head_dim / 2])?,
        k_cache: k_cache.tensor_mut(&cache_shape)?,
        v_cache: v_cache.tensor_mut(&cache_shape)?,
        slot_mapping: slots.tensor(&[TOKENS])?,
        clip: Some(8.0),
        pairing,
    };
    rope(&stream, &arguments)?;
    let read = |buffer: &Buffer| buffer.read::<T>(&stream).map(|values| canonical(&values));
    Ok([read(&qkv)?, read(&k_cache)?, read(&v_cache)?])
}

/// Fails where two of the results differ.
fn agree<R: PartialEq>(what: &str, results: &[(String, R)]) {
    for (name, result) in results {
        assert!(*result == results[0].1, "{what}: {name} and {} give other bits", results[0].0);
    }
}

#[test]
fn rope_has_the_same_bits_on_every_backend() -> Result<()> {
    for pairing in [Pairing::Halves, Pairing::Interleaved] {
        for head_dim in [16, 24, 128, 256] {
            let all = |run: &dyn Fn(&Device) -> Result<[Vec<u64>; 3]>| -> Result<()> {
                let results = devices().iter().map(|d| Ok((d.to_string(), run(d)?)));
                let results: Vec<_> = results.collect::<Result<_>>()?;
                agree(&format!("rope, {pairing:?}, head_dim {head_dim}"), &results);
                Ok(())
            };
            all(&|device| rotate(device, pairing, head_dim, |x| x))?;
            all(&|device| rotate(device, pairing, head_dim, bf16::from_f32))?;
            all(&|device| rotate(device, pairing, head_dim, f16::from_f32))?;
        }
    }
    Ok(())
}

/// Sums of rows of any values, some of no row and some of one.
fn sum<T: Element + Copy + Into<f64>>(device: &Device, of: impl Fn(f32) -> T) -> Result<Vec<u64>> {
    let stream = device.stream()?;
    let (hidden, top_k, rows) = (104u64, 6u64, 50u64);
    let mut random = fastrand::Rng::with_seed(6);
    let mut values = |count: u64| -> Vec<T> {
        let mut value = || match random.u32(0..40) {
            0 => f32::NAN,
            1 => -f32::INFINITY,
            2 => f32::from_bits(random.u32(0..0x80_0000)),
            _ => (random.f32() - 0.5) * 1e4,
        };
        (0..count).map(|_| of(value())).collect()
    };
    let of_experts = Buffer::from_slice(&stream, &values(rows * hidden))?;
    let mut residual = Buffer::from_slice(&stream, &values(TOKENS * hidden))?;
    let named: Vec<i32> = (0..TOKENS * top_k).map(|_| random.i32(-20..rows as i32 + 2)).collect();
    let named = Buffer::from_slice(&stream, &named)?;
    let arguments = Combine {
        expert_out: of_experts.tensor(&[rows, hidden])?,
        rows: named.tensor(&[TOKENS, top_k])?,
        out: CombineOut::Update(residual.tensor_mut(&[TOKENS, hidden])?),
    };
    combine(&stream, &arguments)?;
    residual.read::<T>(&stream).map(|values| canonical(&values))
}

#[test]
fn combine_has_the_same_bits_on_every_backend() -> Result<()> {
    let all = |run: &dyn Fn(&Device) -> Result<Vec<u64>>| -> Result<()> {
        let results = devices().iter().map(|d| Ok((d.to_string(), run(d)?)));
        agree("combine", &results.collect::<Result<Vec<_>>>()?);
        Ok(())
    };
    all(&|device| sum(device, |x| x))?;
    all(&|device| sum(device, bf16::from_f32))?;
    all(&|device| sum(device, f16::from_f32))
}

/// A row of each device whose sums are exact: small whole numbers, and a mean that is whole too.
fn normalize(device: &Device, stream: &Stream, hidden: u64) -> Result<[Vec<u32>; 2]> {
    let cycle = [3.0f32, -1.0, 4.0, -2.0, 5.0, 0.0, 7.0, 0.0];
    let x: Vec<f32> = (0..TOKENS * hidden)
        .map(|i| cycle[(i % 8) as usize] * (1 + i / hidden % 5) as f32)
        .collect();
    let weight: Vec<f32> = (0..hidden).map(|i| (i % 11) as f32 / 8.0 - 0.5).collect();
    let (x, weight) = (Buffer::from_slice(stream, &x)?, Buffer::from_slice(stream, &weight)?);
    let mut results = [Vec::new(), Vec::new()];
    for (result, operator) in results.iter_mut().zip([layer_norm, rms_norm]) {
        let mut out = Buffer::new(device, Dtype::F32, TOKENS * hidden)?;
        let arguments = Norm {
            x: x.tensor(&[TOKENS, hidden])?,
            residual: Residual::None,
            weight: weight.tensor(&[hidden])?,
            out: out.tensor_mut(&[TOKENS, hidden])?,
            epsilon: 1e-5,
        };
        operator(stream, &arguments)?;
        *result = out.read::<f32>(stream)?.into_iter().map(f32::to_bits).collect();
    }
    Ok(results)
}

#[test]
fn norms_of_exact_sums_have_the_same_bits_on_every_backend() -> Result<()> {
    for hidden in [8, 64, 1000, 6144] {
        let run = |device: &Device| normalize(device, &device.stream()?, hidden);
        let results =
            devices().iter().map(|d| Ok((d.to_string(), run(d)?))).collect::<Result<Vec<_>>>()?;
        agree(&format!("norms, hidden {hidden}"), &results);
    }
    Ok(())
}

/// A pair (1, 0) is rotated into the sine and cosine themselves.
#[test]
#[cfg(all(feature = "cuda", feature = "probes"))]
fn sine_and_cosine_are_those_of_the_host() -> Result<()> {
    let (tokens, head_dim) = (4096u64, 16u64);
    for device in devices() {
        let stream = device.stream()?;
        let half = head_dim as usize / 2;
        let row: Vec<f32> =
            (0..head_dim as usize).map(|i| if i < half { 1.0 } else { 0.0 }).collect();
        let mut qkv = Buffer::from_slice(&stream, &row.repeat(tokens as usize))?;
        let positions: Vec<i32> = (0..tokens as i32).map(|t| t * 32 + t % 31).collect();
        let inv_freq: Vec<f32> = (0..half).map(|i| 500_000f32.powf(-(i as f32) / 8.0)).collect();
        let place = Buffer::from_slice(&stream, &positions)?;
        let slots = Buffer::from_slice(&stream, &vec![-1i64; tokens as usize])?;
        let frequencies = Buffer::from_slice(&stream, &inv_freq)?;
        let mut caches = [(); 2].map(|()| Buffer::new(device, Dtype::F32, 0));
        let [k_cache, v_cache] = &mut caches;
        let (Ok(k_cache), Ok(v_cache)) = (k_cache, v_cache) else { panic!("no empty buffers") };
        let arguments = Rope {
            qkv: qkv.tensor_mut(&[tokens, 1, head_dim])?,
            positions: place.tensor(&[tokens])?,
            inv_freq: frequencies.tensor(&[head_dim / 2])?,
            k_cache: k_cache.tensor_mut(&[1, 1, 0, head_dim])?,
            v_cache: v_cache.tensor_mut(&[1, 1, 0, head_dim])?,
            slot_mapping: slots.tensor(&[tokens])?,
            clip: None,
            pairing: Pairing::Halves,
        };
        rope(&stream, &arguments)?;
        let rotated: Vec<f32> = qkv.read(&stream)?;
        for (t, row) in rotated.chunks(head_dim as usize).enumerate() {
            for (i, frequency) in inv_freq.iter().enumerate() {
                let angle = positions[t] as f32 * frequency;
                let (sine, cosine) = expertile_kernels_cuda::host_sincos(angle);
                let bits = [row[i], row[half + i]].map(f32::to_bits);
                let host = [cosine, sine].map(f32::to_bits);
                assert_eq!(bits, host, "{device}: cosine and sine of {angle}");
            }
        }
    }
    Ok(())
}
