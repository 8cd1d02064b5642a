//! The operators on a GPU of candle's: what is refused there, and what stays as it was.

#![cfg(feature = "cuda")]

#[allow(dead_code)]
mod common;

use candle_core::{DType, Device, Result, Tensor};
use common::*;
use expertile_candle::{Pairing, Residual, layer_norm, rms_norm};

fn gpu() -> Device {
    Device::new_cuda_with_stream(0).unwrap()
}

/// The case with every tensor on a device.
fn moved(case: &RopeCase, device: &Device) -> RopeCase {
    let there = |tensor: &Tensor| tensor.to_device(device).unwrap();
    RopeCase {
        qkv: there(&case.qkv),
        positions: there(&case.positions),
        inv_freq: there(&case.inv_freq),
        k_cache: there(&case.k_cache),
        v_cache: there(&case.v_cache),
        slot_mapping: there(&case.slot_mapping),
        ..*case
    }
}

/// The elements of a GPU's tensors that are written, as the reference knows them.
fn results(case: &RopeCase) -> [Vec<f64>; 3] {
    moved(case, &Device::Cpu).results()
}

fn assert_refused<T>(result: Result<T>, expected: &str) {
    let error = result.err().unwrap_or_else(|| panic!("no error: {expected}")).to_string();
    assert!(error.contains(expected), "{error}\nexpected: {expected}");
}

#[test]
fn ropes_are_refused_before_they_write() {
    let gpu = gpu();
    type Change = fn(&mut RopeCase);
    let changes: [(Change, &str); 7] = [
        (
            |case| case.positions = case.positions.to_device(&Device::Cpu).unwrap(),
            "rope: positions is on Cpu",
        ),
        (
            |case| case.v_cache = case.v_cache.to_device(&Device::Cpu).unwrap(),
            "rope: qkv, k_cache and v_cache are not on one device",
        ),
        (
            |case| {
                let values = Tensor::new(vec![0u8; TOKENS], &Device::Cpu).unwrap();
                case.slot_mapping = values.to_device(case.qkv.device()).unwrap();
            },
            "rope: slot_mapping is neither bf16, f16, f32, i32 nor i64",
        ),
        (
            |case| case.inv_freq = case.inv_freq.narrow(0, 0, 8).unwrap(),
            "rope: inv_freq has shape [8], expected [16]",
        ),
        (
            |case| case.k_cache = case.k_cache.narrow(3, 0, 16).unwrap(),
            "rope: k_cache has shape [3, 4, 2, 16], expected [3, 4, 2, 32]",
        ),
        (|case| case.qkv = case.qkv.narrow(2, 1, 31).unwrap(), "rope: inv_freq has shape [16]"),
        (|case| case.v_cache = case.k_cache.clone(), "shares its memory with v_cache"),
    ];
    for (change, expected) in changes {
        let mut case = moved(&RopeCase::new(DType::F32, Some(CLIP), Pairing::Halves), &gpu);
        change(&mut case);
        let before = results(&case);
        assert_refused(case.run(), expected);
        assert_eq!(results(&case), before, "{expected}");
    }
}

#[test]
fn norms_are_refused_with_what_no_kernel_takes() {
    let gpu = gpu();
    let there = |shape: &[usize]| values(shape, DType::BF16, 1).to_device(&gpu).unwrap();
    let (x, weight) = (there(&[TOKENS, 72]), there(&[64]));
    // No multiple of 16 bytes; columns for rows; too short.
    let shifted = x.narrow(1, 1, 64).unwrap();
    assert_refused(rms_norm(&shifted, Residual::None, &weight, 0.0), "rms_norm: x is at address");
    let columns = there(&[64, TOKENS]).t().unwrap();
    assert_refused(
        layer_norm(&columns, Residual::None, &weight, 0.0),
        "layer_norm: x is of strides [1, 5]",
    );
    let short = there(&[4]);
    assert_refused(
        layer_norm(&there(&[TOKENS, 4]), Residual::None, &short, 0.0),
        "layer_norm: no kernel for hidden 4",
    );
    let on_cpu = values(&[TOKENS, 72], DType::BF16, 2);
    assert_refused(
        layer_norm(&x, Residual::Update(&on_cpu), &there(&[72]), 0.0),
        "layer_norm: residual is not on the GPU, where x is",
    );
}

#[test]
fn nothing_is_an_empty_result() {
    let gpu = gpu();
    let rows = values(&[TOKENS, 64], DType::F32, 1).to_device(&gpu).unwrap();
    let (x, weight) = (rows.narrow(0, 0, 0).unwrap(), rows.get(0).unwrap());
    assert_eq!(rms_norm(&x, Residual::None, &weight, 0.0).unwrap().dims(), [0, 64]);
    let mut case = moved(&RopeCase::new(DType::F32, None, Pairing::Halves), &gpu);
    let before = results(&case);
    let whole = case.qkv.clone();
    case.qkv = case.qkv.narrow(0, 0, 0).unwrap();
    case.positions = case.positions.narrow(0, 0, 0).unwrap();
    case.slot_mapping = case.slot_mapping.narrow(0, 0, 0).unwrap();
    case.run().unwrap();
    case.qkv = whole;
    assert_eq!(numbers(&case.qkv.to_device(&Device::Cpu).unwrap()), before[0]);
    assert_eq!(numbers(&case.k_cache.to_device(&Device::Cpu).unwrap()), before[1]);
}
