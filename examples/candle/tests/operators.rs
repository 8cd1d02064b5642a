//! The operators on the CPU: the reference's bits, candle's own arithmetic, tensors that lie anywhere, bad calls.

#[allow(dead_code)]
mod common;

use candle_core::{DType, Device, IndexOp, Result, Tensor};
use common::*;
use expertile_candle::{Pairing, Residual, layer_norm, rms_norm};

const EPSILON: f32 = 1e-5;
const HIDDEN: usize = 24;

fn norm_inputs(dtype: DType) -> [Tensor; 3] {
    let rows = [TOKENS, HIDDEN];
    [values(&rows, dtype, 4), values(&rows, dtype, 5), values(&[HIDDEN], dtype, 6)]
}

fn norm(layer: bool, x: &Tensor, residual: Residual<'_>, weight: &Tensor) -> Result<Tensor> {
    if layer {
        layer_norm(x, residual, weight, EPSILON)
    } else {
        rms_norm(x, residual, weight, EPSILON)
    }
}

#[test]
fn norms_are_the_references() {
    for (dtype, layer) in DTYPES.into_iter().flat_map(|dtype| [(dtype, true), (dtype, false)]) {
        let [x, residual, weight] = norm_inputs(dtype);
        let kept = numbers(&residual);
        for (name, added) in residuals(&residual) {
            let read = (name != "none").then_some(&residual);
            let (sum, rows) = reference_norm(layer, &x, read, &weight, EPSILON);
            let out = norm(layer, &x, added, &weight).unwrap();
            assert_eq!((out.dtype(), out.dims()), (dtype, &[TOKENS, HIDDEN][..]));
            assert_eq!(numbers(&out), rows, "{dtype:?} {name}");
            let expected = if name == "updated" { &sum } else { &kept };
            assert_eq!(&numbers(&residual), expected, "{dtype:?} {name}");
        }
    }
}

/// The same by candle's own operators in f64.
fn formula(layer: bool, x: &Tensor, residual: &Tensor, weight: &Tensor) -> Result<Tensor> {
    let wide = |tensor: &Tensor| tensor.to_dtype(DType::F64);
    let mut sum = wide(&(wide(x)? + wide(residual)?)?.to_dtype(x.dtype())?)?;
    if layer {
        sum = sum.broadcast_sub(&sum.mean_keepdim(1)?)?;
    }
    let variance = sum.sqr()?.mean_keepdim(1)?;
    let scale = (variance + f64::from(EPSILON))?.sqrt()?;
    sum.broadcast_div(&scale)?.broadcast_mul(&wide(weight)?)
}

/// Each number is rounded once to the type.
fn assert_rounded(found: &[f64], exact: &[f64], dtype: DType, what: &str) {
    assert_eq!(found.len(), exact.len());
    for (i, (found, exact)) in found.iter().zip(exact).enumerate() {
        // Beside it what two ways of f64 differ in, and the smallest numbers of f16.
        let bound =
            unit(dtype) * exact.abs() + 1e-12 + if dtype == DType::F16 { 3e-8 } else { 0.0 };
        assert!((found - exact).abs() <= bound, "{what}[{i}] is {found}, expected {exact}");
    }
}

#[test]
fn norms_are_the_formula() {
    for (dtype, layer) in DTYPES.into_iter().flat_map(|dtype| [(dtype, true), (dtype, false)]) {
        let [x, residual, weight] = norm_inputs(dtype);
        let exact = numbers(&formula(layer, &x, &residual, &weight).unwrap());
        let out = norm(layer, &x, Residual::Add(&residual), &weight).unwrap();
        assert_rounded(&numbers(&out), &exact, dtype, "out");
    }
}

#[test]
fn norms_take_tensors_as_they_lie() {
    for layer in [true, false] {
        let [x, residual, weight] = norm_inputs(DType::BF16);
        let (sum, rows) = reference_norm(layer, &x, Some(&residual), &weight, EPSILON);
        let (x, x_memory) = within(&x);
        let (weight, _) = within(&weight);
        let (residual, memory) = within(&residual);
        assert!(!x.is_contiguous() && residual.layout().start_offset() > 0);
        let before = numbers(&x_memory);
        let out = norm(layer, &x, Residual::Update(&residual), &weight).unwrap();
        assert!(out.is_contiguous());
        assert_eq!(numbers(&out), rows);
        let sum = Tensor::from_vec(sum, (TOKENS, HIDDEN), &Device::Cpu).unwrap();
        assert_eq!(numbers(&memory), numbers(&within(&sum).1));
        assert_eq!(numbers(&x_memory), before);

        // Columns for rows: no stride is 1.
        let turned = x.t().unwrap().force_contiguous().unwrap();
        let out = norm(layer, &turned.t().unwrap(), Residual::None, &weight).unwrap();
        let straight = norm(layer, &x, Residual::None, &weight).unwrap();
        assert_eq!(numbers(&out), numbers(&straight));
    }
}

#[test]
fn rope_is_the_references() {
    for case in RopeCase::all() {
        let expected = case.reference();
        case.run().unwrap();
        assert_eq!(case.results(), expected, "{:?} {:?}", case.qkv.dtype(), case.pairing);
    }
}

/// The rotated heads by candle's own operators in f64.
fn rotated(case: &RopeCase) -> Result<Tensor> {
    let positions = case.positions.to_dtype(DType::F32)?.reshape((TOKENS, 1))?;
    let angles = positions.broadcast_mul(&case.inv_freq.reshape((1, HEAD_DIM / 2))?)?;
    let angles = angles.to_dtype(DType::F64)?.reshape((TOKENS, 1, HEAD_DIM / 2))?;
    let (cos, sin) = (angles.cos()?, angles.sin()?);
    let mut x = case.qkv.to_dtype(DType::F64)?;
    if let Some(clip) = case.clip {
        x = x.clamp(-f64::from(clip), f64::from(clip))?;
    }
    let half = HEAD_DIM / 2;
    let (low, high) = match case.pairing {
        Pairing::Halves => (x.narrow(2, 0, half)?, x.narrow(2, half, half)?),
        Pairing::Interleaved => {
            let pairs = x.reshape((TOKENS, HEADS, half, 2))?;
            (pairs.i((.., .., .., 0))?, pairs.i((.., .., .., 1))?)
        }
    };
    let turned = [
        (low.broadcast_mul(&cos)? - high.broadcast_mul(&sin)?)?,
        (high.broadcast_mul(&cos)? + low.broadcast_mul(&sin)?)?,
    ];
    match case.pairing {
        Pairing::Halves => Tensor::cat(&turned, 2),
        Pairing::Interleaved => Tensor::stack(&turned, 3)?.reshape((TOKENS, HEADS, HEAD_DIM)),
    }
}

#[test]
fn rope_is_the_formula() {
    for case in RopeCase::all() {
        let exact = rotated(&case).unwrap();
        let clip = f64::from(case.clip.unwrap_or(f32::INFINITY));
        let values = case.qkv.narrow(1, Q_HEADS + KV_HEADS, KV_HEADS).unwrap();
        let values = values.to_dtype(DType::F64).unwrap().clamp(-clip, clip).unwrap();
        let (before, dtype) = (case.copied(), case.qkv.dtype());
        case.run().unwrap();

        let heads =
            |tensor: &Tensor, first, heads| numbers(&tensor.narrow(1, first, heads).unwrap());
        let queries = heads(&exact, 0, Q_HEADS);
        assert_rounded(&heads(&case.qkv, 0, Q_HEADS), &queries, dtype, "q");
        let kept = |qkv| heads(qkv, Q_HEADS, 2 * KV_HEADS);
        assert_eq!(kept(&case.qkv), kept(&before.qkv));
        for (slot, token) in [(7, 0), (0, 1), (11, 4)] {
            let at =
                |cache: &Tensor| numbers(&cache.i((slot / PAGE_SIZE, slot % PAGE_SIZE)).unwrap());
            let keys = exact.i(token).unwrap().narrow(0, Q_HEADS, KV_HEADS).unwrap();
            assert_rounded(&at(&case.k_cache), &numbers(&keys), dtype, "k");
            assert_rounded(&at(&case.v_cache), &numbers(&values.i(token).unwrap()), dtype, "v");
        }
        for slot in (1..11).filter(|slot| *slot != 7) {
            let at =
                |cache: &Tensor| numbers(&cache.i((slot / PAGE_SIZE, slot % PAGE_SIZE)).unwrap());
            assert_eq!(at(&case.k_cache), at(&before.k_cache), "slot {slot}");
            assert_eq!(at(&case.v_cache), at(&before.v_cache), "slot {slot}");
        }
    }
}

#[test]
fn rope_takes_tensors_as_they_lie() {
    let case = RopeCase::new(DType::F16, Some(CLIP), Pairing::Halves);
    let expected = case.reference();
    let (qkv, qkv_memory) = within(&case.qkv);
    let (k_cache, k_memory) = within(&case.k_cache);
    // Pages of heads of positions.
    let v_memory = case.v_cache.transpose(1, 2).unwrap().force_contiguous().unwrap();
    let v_cache = v_memory.transpose(1, 2).unwrap();
    let (positions, inv_freq) = (within(&case.positions).0, within(&case.inv_freq).0);
    let slot_mapping = within(&case.slot_mapping).0;
    let lying = RopeCase { qkv, positions, inv_freq, k_cache, v_cache, slot_mapping, ..case };
    lying.run().unwrap();
    assert_eq!(lying.results(), expected);
    for (memory, view) in [(qkv_memory, &lying.qkv), (k_memory, &lying.k_cache)] {
        assert_eq!(numbers(&memory), numbers(&within(view).1));
    }
}

#[test]
fn nothing_is_an_empty_result() {
    for dtype in DTYPES {
        let (x, weight) = (values(&[0, HIDDEN], dtype, 1), values(&[HIDDEN], dtype, 2));
        assert_eq!(
            layer_norm(&x, Residual::Update(&x.copy().unwrap()), &weight, 0.0).unwrap().dims(),
            [0, HIDDEN]
        );
        let mut case = RopeCase::new(dtype, None, Pairing::Halves);
        let kept = numbers(&case.k_cache);
        case.qkv = values(&[0, HEADS, HEAD_DIM], dtype, 3);
        case.positions = case.positions.narrow(0, 0, 0).unwrap();
        case.slot_mapping = case.slot_mapping.narrow(0, 0, 0).unwrap();
        case.run().unwrap();
        assert_eq!(numbers(&case.k_cache), kept);
    }
}

fn assert_refused<T>(result: Result<T>, expected: &str) {
    let error = result.err().unwrap_or_else(|| panic!("no error: {expected}")).to_string();
    assert!(error.contains(expected), "{error}\nexpected: {expected}");
}

#[test]
fn bad_norms_are_refused_with_their_numbers() {
    let [x, residual, weight] = norm_inputs(DType::F32);
    let short = weight.narrow(0, 0, 16).unwrap();
    let few = residual.narrow(0, 0, 3).unwrap();
    let half = weight.to_dtype(DType::F16).unwrap();
    let one = values(&[HIDDEN], DType::F32, 7);
    let none = Residual::None;
    for (result, expected) in [
        (rms_norm(&x, none, &short, EPSILON), "rms_norm: weight has shape [16], expected [24]"),
        (
            rms_norm(&weight, none, &weight, EPSILON),
            "rms_norm: x is [24], expected of shape [tokens, hidden]",
        ),
        (layer_norm(&x, none, &half, EPSILON), "layer_norm: weight is f16, expected f32"),
        (layer_norm(&x, none, &weight, -1.0), "layer_norm: epsilon is -1, expected at least 0"),
        (
            layer_norm(&x, none, &weight, f32::NAN),
            "layer_norm: epsilon is NaN, expected at least 0",
        ),
        (
            layer_norm(&x, Residual::Add(&few), &weight, EPSILON),
            "layer_norm: residual has shape [3, 24], expected [5, 24]",
        ),
        (
            layer_norm(&x, Residual::Update(&few), &weight, EPSILON),
            "layer_norm: residual has shape [3, 24], expected [5, 24]",
        ),
        (
            layer_norm(
                &x,
                Residual::Update(&residual.to_dtype(DType::BF16).unwrap()),
                &weight,
                EPSILON,
            ),
            "layer_norm: residual is bf16, expected f32",
        ),
        (
            layer_norm(&x, Residual::Update(&x.narrow(0, 0, 5).unwrap()), &weight, EPSILON),
            "layer_norm: residual is written and shares its memory with x",
        ),
        (
            rms_norm(
                &x,
                Residual::Update(&one.broadcast_as((TOKENS, HIDDEN)).unwrap()),
                &short,
                EPSILON,
            ),
            "rms_norm: residual: dst has repeated elements",
        ),
        (
            rms_norm(&x.to_dtype(DType::F64).unwrap(), none, &weight, EPSILON),
            "rms_norm: no kernel for dtype f64, only for bf16, f16 and f32",
        ),
    ] {
        assert_refused(result, expected);
    }
}

#[test]
fn bad_ropes_are_refused_with_their_numbers() {
    type Change = fn(&mut RopeCase);
    let changes: [(Change, &str); 14] = [
        (
            |case| case.qkv = case.qkv.i(0).unwrap(),
            "rope: qkv is [10, 32], expected of shape [tokens, q_heads + 2 kv_heads, head_dim]",
        ),
        (
            |case| case.qkv = case.qkv.narrow(1, 0, 3).unwrap(),
            "rope: qkv is of 3 heads, expected at least 2 * 2 heads",
        ),
        (|case| case.qkv = case.qkv.to_dtype(DType::I64).unwrap(), "rope: no kernel for dtype i64"),
        (
            |case| case.positions = case.positions.narrow(0, 0, 4).unwrap(),
            "rope: positions has shape [4], expected [5]",
        ),
        (
            |case| case.positions = case.positions.to_dtype(DType::U32).unwrap(),
            "rope: positions is u32, expected i32",
        ),
        (
            |case| case.inv_freq = case.inv_freq.narrow(0, 0, 8).unwrap(),
            "rope: inv_freq has shape [8], expected [16]",
        ),
        (
            |case| case.slot_mapping = case.slot_mapping.to_dtype(DType::I32).unwrap(),
            "rope: slot_mapping is i32, expected i64",
        ),
        (
            |case| case.k_cache = case.k_cache.flatten(0, 1).unwrap(),
            "rope: k_cache is [12, 2, 32], expected of shape [pages, page_size, kv_heads, head_dim]",
        ),
        (
            |case| case.k_cache = case.k_cache.narrow(3, 0, 16).unwrap(),
            "rope: k_cache has shape [3, 4, 2, 16], expected [3, 4, 2, 32]",
        ),
        (
            |case| case.v_cache = case.v_cache.narrow(0, 0, 2).unwrap(),
            "rope: v_cache has shape [2, 4, 2, 32], expected [3, 4, 2, 32]",
        ),
        (
            |case| case.v_cache = case.v_cache.to_dtype(DType::BF16).unwrap(),
            "rope: v_cache is bf16, expected f32",
        ),
        (
            |case| {
                let turned = case.v_cache.transpose(0, 3).unwrap().force_contiguous().unwrap();
                case.v_cache = turned.transpose(0, 3).unwrap();
            },
            "rope: v_cache is of strides [1, 6, 3, 24], expected a last one of 1",
        ),
        (
            |case| case.v_cache = case.k_cache.clone(),
            "rope: k_cache is written and shares its memory with v_cache",
        ),
        (|case| case.clip = Some(-1.0), "rope: clip is -1, expected at least 0"),
    ];
    for (change, expected) in changes {
        let mut case = RopeCase::new(DType::F32, Some(CLIP), Pairing::Halves);
        change(&mut case);
        let before = case.copied().results();
        assert_refused(case.run(), expected);
        assert_eq!(case.results(), before, "{expected}");
    }
}
