//! `rope` against the reference.

use super::harness::{
    Fenced, Float, UNIT_F32, cases, close, count_case, devices, poison, report, same_bits, ulp_f32,
    values,
};
use expertile::{Dtype, Pairing, Result, Rope, Stream, rope};
use expertile_reference::Rounding;
use expertile_reference::kv_cache::CacheLayout;
use expertile_reference::rope as reference;
use half::{bf16, f16};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};

/// One call of `rope`.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) tokens: usize,
    pub(crate) q_heads: usize,
    pub(crate) kv_heads: usize,
    /// `head_dim / 8`, from 2 to 32.
    pub(crate) head_dim_8: usize,
    pub(crate) page_size: usize,
    pub(crate) pages: usize,
    /// Of the keys, 0: dense; 1: heads before positions; 2: padded. The values' is the next of them.
    pub(crate) cache: u8,
    /// Elements between token rows, divided by 8.
    pub(crate) gap_8: usize,
    pub(crate) dtype: Dtype,
    pub(crate) pairing: Pairing,
    pub(crate) clip: Option<f32>,
    pub(crate) first_position: i32,
    /// Puts NaN and infinities among the values.
    pub(crate) special: bool,
    pub(crate) seed: u64,
}

fn case() -> impl Strategy<Value = Case> {
    let tokens = prop_oneof![Just(0), Just(1), 2..12usize, Just(70)];
    // Groups of 1, 6 (DBRX) and 8; no query heads; no cache at all.
    let heads = prop_oneof![
        3 => (1..4usize).prop_map(|kv| (6 * kv, kv)),
        2 => (1..3usize).prop_map(|kv| (8 * kv, kv)),
        1 => (1..9usize).prop_map(|kv| (kv, kv)),
        1 => Just((48, 8)),
        1 => Just((0, 3)),
        1 => Just((5, 0)),
    ];
    let head_dim_8 = prop_oneof![2 => Just(16), 3 => 2..33usize];
    let cache = (prop_oneof![Just(1), Just(16), 2..40usize], 1..6usize, 0..3u8);
    let dtype = prop_oneof![Just(Dtype::Bf16), Just(Dtype::F16), Just(Dtype::F32)];
    let pairing = prop_oneof![3 => Just(Pairing::Halves), 2 => Just(Pairing::Interleaved)];
    let clip = prop_oneof![Just(None), Just(Some(8.0)), Just(Some(0.3)), Just(Some(0.0))];
    let first_position =
        prop_oneof![Just(0), Just(32_767), 0..32_768, Just(131_071 - 70), -40..0, Just(65_535)];
    let layout = (heads, head_dim_8, cache, 0..3usize);
    let numbers = (dtype, pairing, clip, first_position);
    (tokens, layout, numbers, prop::bool::weighted(0.2), any::<u64>()).prop_map(
        |(tokens, layout, (dtype, pairing, clip, first_position), special, seed)| {
            let ((q_heads, kv_heads), head_dim_8, (page_size, pages, cache), gap_8) = layout;
            Case {
                tokens,
                q_heads,
                kv_heads,
                head_dim_8,
                page_size,
                pages,
                cache,
                gap_8,
                dtype,
                pairing,
                clip,
                first_position,
                special,
                seed,
            }
        },
    )
}

impl Case {
    fn head_dim(&self) -> usize {
        8 * self.head_dim_8
    }

    fn heads(&self) -> usize {
        self.q_heads + 2 * self.kv_heads
    }

    fn stride(&self) -> usize {
        self.heads() * self.head_dim() + 8 * self.gap_8
    }

    /// Strides of pages, positions and heads, of keys or values.
    fn cache_strides(&self, values: bool) -> [usize; 3] {
        let (positions, heads, head_dim) = (self.page_size, self.kv_heads.max(1), self.head_dim());
        match (self.cache + u8::from(values)) % 3 {
            0 => [positions * heads * head_dim, heads * head_dim, head_dim],
            1 => [positions * heads * head_dim, head_dim, positions * head_dim],
            _ => {
                let head = head_dim + 8;
                let position = heads * head + 16;
                [positions * position + 24, position, head]
            }
        }
    }
}

/// What the operator writes: whole arrays, with everything that it must not touch.
#[derive(Clone, Debug)]
pub(crate) struct Arrays<T> {
    pub(crate) qkv: Vec<T>,
    pub(crate) k_cache: Vec<T>,
    pub(crate) v_cache: Vec<T>,
}

/// What it only reads.
pub(crate) struct Inputs<'a> {
    pub(crate) positions: &'a [i32],
    pub(crate) slots: &'a [i64],
    pub(crate) inv_freq: &'a [f32],
}

pub(crate) fn run<T: Float>(
    stream: &Stream,
    case: &Case,
    inputs: &Inputs<'_>,
    arrays: &Arrays<T>,
) -> Result<Arrays<T>, String> {
    let text = |error: expertile::Error| error.to_string();
    let fence = poison::<T>();
    let (tokens, head_dim) = (inputs.positions.len() as u64, case.head_dim() as u64);
    let mut qkv = Fenced::new(stream, &arrays.qkv, fence).map_err(text)?;
    let mut k_cache = Fenced::new(stream, &arrays.k_cache, fence).map_err(text)?;
    let mut v_cache = Fenced::new(stream, &arrays.v_cache, fence).map_err(text)?;
    let positions = Fenced::new(stream, inputs.positions, i32::MIN).map_err(text)?;
    let slots = Fenced::new(stream, inputs.slots, i64::MIN).map_err(text)?;
    let inv_freq = Fenced::new(stream, inputs.inv_freq, f32::NAN).map_err(text)?;
    let shape = [case.pages, case.page_size, case.kv_heads, case.head_dim()].map(|n| n as u64);
    let strides = [false, true].map(|values| {
        let [page, position, head] = case.cache_strides(values).map(|stride| stride as u64);
        [page, position, head, 1]
    });
    {
        let heads = case.heads() as u64;
        let row = [case.stride() as u64, head_dim, 1];
        let arguments = Rope {
            qkv: qkv.tensor_mut(&[tokens, heads, head_dim], &row).map_err(text)?,
            positions: positions.tensor(&[tokens], &[1]).map_err(text)?,
            inv_freq: inv_freq.tensor(&[head_dim / 2], &[1]).map_err(text)?,
            k_cache: k_cache.tensor_mut(&shape, &strides[0]).map_err(text)?,
            v_cache: v_cache.tensor_mut(&shape, &strides[1]).map_err(text)?,
            slot_mapping: slots.tensor(&[tokens], &[1]).map_err(text)?,
            clip: case.clip,
            pairing: case.pairing,
        };
        rope(stream, &arguments).map_err(text)?;
    }
    positions.read(stream)?;
    slots.read(stream)?;
    inv_freq.read(stream)?;
    Ok(Arrays {
        qkv: qkv.read(stream)?,
        k_cache: k_cache.read(stream)?,
        v_cache: v_cache.read(stream)?,
    })
}

/// Runs the case on every device and compares with the reference.
pub(crate) fn check(case: &Case) -> Result<(), String> {
    match case.dtype {
        Dtype::Bf16 => check_as::<bf16>(case),
        Dtype::F16 => check_as::<f16>(case),
        _ => check_as::<f32>(case),
    }
}

/// Distinct slots in random order; some tokens have none: -1, past the end, far below 0.
fn slots(case: &Case, random: &mut fastrand::Rng) -> Vec<i64> {
    let capacity = case.pages * case.page_size;
    let mut slots: Vec<i64> = (0..capacity as i64).collect();
    random.shuffle(&mut slots);
    slots.resize(case.tokens, -1);
    for slot in &mut slots {
        match random.u32(..12) {
            0 => *slot = -1,
            1 => *slot = capacity as i64,
            2 => *slot = i64::MIN,
            3 => *slot += 1 << 32,
            _ => {}
        }
    }
    slots
}

fn check_as<T: Float>(case: &Case) -> Result<(), String> {
    let (head_dim, heads, stride) = (case.head_dim(), case.heads(), case.stride());
    let mut random = fastrand::Rng::with_seed(case.seed);
    let mut qkv = vec![poison::<T>(); case.tokens * stride];
    for row in qkv.chunks_mut(stride.max(1)) {
        row[..heads * head_dim].copy_from_slice(&values(&mut random, heads * head_dim, 3.0));
        if case.special && heads > 0 {
            for special in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                row[random.usize(..heads * head_dim)] = T::new(special);
            }
        }
    }
    let [k_cache, v_cache] = [false, true].map(|values| {
        let [page_stride, position_stride, head_stride] =
            case.cache_strides(values).map(|stride| stride as u64);
        let (pages, page_size, kv_heads) = (case.pages, case.page_size, case.kv_heads);
        let layout = CacheLayout {
            pages,
            page_size,
            kv_heads,
            head_dim,
            page_stride,
            position_stride,
            head_stride,
        };
        layout.elements("test").map(|elements| vec![poison::<T>(); elements])
    });
    let text = |error: expertile_reference::Error| error.to_string();
    let (k_cache, v_cache) = (k_cache.map_err(text)?, v_cache.map_err(text)?);
    let positions: Vec<i32> = (0..case.tokens as i32).map(|t| case.first_position + t).collect();
    let slots = slots(case, &mut random);
    let inv_freq = reference::inv_freq(500_000.0, head_dim);
    let inputs = Inputs { positions: &positions, slots: &slots, inv_freq: &inv_freq };
    let arrays = Arrays { qkv, k_cache, v_cache };

    for device in devices() {
        let stream = device.stream().map_err(|error| error.to_string())?;
        let name = format!("rope {} {}", T::DTYPE, device.info().images);
        let got = run(&stream, case, &inputs, &arrays)?;
        compare(&name, case, &inputs, &arrays, &got)?;
        // A token alone gives the same bits: nothing depends on the batch.
        if case.tokens > 1 {
            let token = case.seed as usize % case.tokens;
            let row = token * stride..(token + 1) * stride;
            let one = Inputs {
                positions: &positions[token..=token],
                slots: &slots[token..=token],
                inv_freq: &inv_freq,
            };
            let alone = Arrays { qkv: arrays.qkv[row.clone()].to_vec(), ..arrays.clone() };
            let alone = run(&stream, case, &one, &alone)?;
            same_bits(&format!("{name}: token {token} alone"), &alone.qkv, &got.qkv[row])?;
        }
        count_case(&name, "rope", T::DTYPE, device);
    }
    Ok(())
}

/// Compares with the reference; whatever the operator has no business with keeps its bits.
fn compare<T: Float>(
    name: &str,
    case: &Case,
    inputs: &Inputs<'_>,
    before: &Arrays<T>,
    got: &Arrays<T>,
) -> Result<(), String> {
    let (head_dim, heads, stride) = (case.head_dim(), case.heads(), case.stride());
    let dense: Vec<f64> = (before.qkv.chunks(stride.max(1)))
        .flat_map(|row| row[..heads * head_dim].iter().map(|x| x.value()))
        .collect();
    let clip = case.clip.map(f64::from);
    let rotate = match case.pairing {
        Pairing::Halves => reference::rope,
        Pairing::Interleaved => reference::rope_interleaved,
    };
    let (q_heads, kv_heads) = (case.q_heads, case.kv_heads);
    let (positions, inv_freq) = (inputs.positions, inputs.inv_freq);
    let want = rotate(&dense, positions, inv_freq, q_heads, kv_heads, clip, Rounding::F64)
        .map_err(|error| error.to_string())?;

    // Every place that is written is marked; the rest must be as it was.
    let mut written = [&got.qkv, &got.k_cache, &got.v_cache].map(|array| vec![false; array.len()]);
    for token in 0..case.tokens {
        let slot = usize::try_from(inputs.slots[token]).ok();
        let slot = slot.filter(|&slot| slot < case.pages * case.page_size);
        for head_index in 0..heads {
            let (array, start, want) = if head_index < q_heads {
                let place = (token * q_heads + head_index) * head_dim;
                (0, token * stride + head_index * head_dim, &want.q[place..])
            } else {
                let Some(slot) = slot else { continue };
                let kv = (head_index - q_heads) % kv_heads;
                let place = (token * kv_heads + kv) * head_dim;
                let values = head_index - q_heads >= kv_heads;
                let [page, position, head] = case.cache_strides(values);
                let start =
                    slot / case.page_size * page + slot % case.page_size * position + kv * head;
                let want = if values { &want.v } else { &want.k };
                (1 + usize::from(values), start, &want[place..])
            };
            let x = &dense[(token * heads + head_index) * head_dim..][..head_dim];
            let out = [&got.qkv, &got.k_cache, &got.v_cache][array];
            for i in 0..head_dim {
                written[array][start + i] = true;
                let bound = bound::<T>(case, inputs, x, (token, i), array == 2, want[i]);
                let place = || format!("token {token} head {head_index} element {i}");
                close(name, out[start + i], want[i], bound, place)?;
            }
        }
    }
    let [qkv, k_cache, v_cache] = &written;
    untouched(name, "qkv", qkv, &before.qkv, &got.qkv)?;
    untouched(name, "k_cache", k_cache, &before.k_cache, &got.k_cache)?;
    untouched(name, "v_cache", v_cache, &before.v_cache, &got.v_cache)
}

/// Checks that elements not marked as written kept their bits.
fn untouched<T: Float>(
    name: &str,
    array: &str,
    written: &[bool],
    before: &[T],
    got: &[T],
) -> Result<(), String> {
    for (i, (before, got)) in before.iter().zip(got).enumerate() {
        if !written[i] && before.bits() != got.bits() {
            return Err(format!("{name}: {array}[{i}] was written: {got:?}"));
        }
    }
    Ok(())
}

/// What f32 arithmetic and the last rounding may leave.
///
/// Sine and cosine are off by 1 ulp each (`src/sincos.h`), the product that is rounded by half an
/// ulp, the fused sum by half an ulp, then the result is rounded to the dtype.
fn bound<T: Float>(
    case: &Case,
    inputs: &Inputs<'_>,
    x: &[f64],
    (token, i): (usize, usize),
    value: bool,
    want: f64,
) -> f64 {
    let last = if T::UNIT == UNIT_F32 { 0.0 } else { T::UNIT };
    if value {
        return last * want.abs() + T::TINY;
    }
    let half = x.len() / 2;
    let (pair, other) = match case.pairing {
        Pairing::Halves => (i % half, (i + half) % x.len()),
        Pairing::Interleaved => (i / 2, i ^ 1),
    };
    let clip = case.clip.map_or(f64::INFINITY, f64::from);
    let (own, other) = (x[i].abs().min(clip), x[other].abs().min(clip));
    let angle = f64::from(inputs.positions[token] as f32 * inputs.inv_freq[pair]);
    let (sine, cosine) = angle.sin_cos();
    let product = UNIT_F32 * (other * sine).abs();
    let before = own * ulp_f32(cosine) + other * ulp_f32(sine) + product + UNIT_F32 * want.abs();
    before + last * (want.abs() + before) + T::TINY
}

#[test]
fn rope_matches_reference() {
    let config = Config { cases: cases(), failure_persistence: None, ..Config::default() };
    let run = |case: Case| check(&case).map_err(TestCaseError::fail);
    if let Err(error) = TestRunner::new(config).run(&case(), run) {
        panic!("{error}");
    }
    report("rope");
}
