//! The code of the GPU path on a context, a stream and memory of cudarc's, against the CPU path.

#[allow(dead_code)]
mod common;

use candle_core::{DType, Tensor};
use common::*;
use cudarc::driver::{CudaContext, CudaSlice, CudaStream, DevicePtr, DeviceRepr};
use expertile::Dtype;
use expertile_candle::device::{self, NormKind, NormPlaces, Place, ResidualPlace, RopePlaces};
use expertile_candle::{Pairing, Residual, layer_norm, rms_norm};
use half::{bf16, f16};
use std::sync::Arc;

/// An engine's stream, which is not the default one; none without a driver.
fn stream() -> Option<Arc<CudaStream>> {
    match expertile::Device::cuda_count() {
        Ok(1..) => {}
        other => {
            let required = std::env::var("EXPERTILE_REQUIRE").unwrap_or_default();
            assert!(!required.contains("cuda"), "no CUDA device: {other:?}");
            eprintln!("skipped: no CUDA device: {other:?}");
            return None;
        }
    }
    let context = CudaContext::new(0).unwrap();
    Some(context.new_stream().unwrap())
}

fn raw(stream: &CudaStream) -> u64 {
    stream.cu_stream().addr() as u64
}

/// Memory of any type.
enum Memory {
    Bf16(CudaSlice<bf16>),
    F16(CudaSlice<f16>),
    F32(CudaSlice<f32>),
    I32(CudaSlice<i32>),
    I64(CudaSlice<i64>),
}

/// A tensor as the engine of this test has it: all of its memory, and where in it the elements are.
struct OnDevice {
    memory: Memory,
    place: Place,
}

impl OnDevice {
    /// A copy with the same strides within memory of the same length.
    fn new(stream: &Arc<CudaStream>, view: &Tensor, memory: &Tensor) -> OnDevice {
        fn upload<T: candle_core::WithDType + DeviceRepr>(
            stream: &Arc<CudaStream>,
            memory: &Tensor,
        ) -> CudaSlice<T> {
            stream.clone_htod(&elements::<T>(memory)).unwrap()
        }
        let (memory, dtype) = match memory.dtype() {
            DType::BF16 => (Memory::Bf16(upload(stream, memory)), Dtype::Bf16),
            DType::F16 => (Memory::F16(upload(stream, memory)), Dtype::F16),
            DType::F32 => (Memory::F32(upload(stream, memory)), Dtype::F32),
            DType::I32 => (Memory::I32(upload(stream, memory)), Dtype::I32),
            DType::I64 => (Memory::I64(upload(stream, memory)), Dtype::I64),
            other => panic!("{other:?}"),
        };
        let address = match &memory {
            Memory::Bf16(slice) => slice.device_ptr(stream).0,
            Memory::F16(slice) => slice.device_ptr(stream).0,
            Memory::F32(slice) => slice.device_ptr(stream).0,
            Memory::I32(slice) => slice.device_ptr(stream).0,
            Memory::I64(slice) => slice.device_ptr(stream).0,
        };
        let numbers = |values: &[usize]| values.iter().map(|&value| value as u64).collect();
        let offset = view.layout().start_offset() as u64 * dtype.bytes();
        let (shape, strides) = (numbers(view.dims()), numbers(view.stride()));
        OnDevice { memory, place: Place { address: address + offset, dtype, shape, strides } }
    }

    /// Without gaps.
    fn dense(stream: &Arc<CudaStream>, tensor: &Tensor) -> OnDevice {
        OnDevice::new(stream, tensor, tensor)
    }

    /// Within larger memory.
    fn within(stream: &Arc<CudaStream>, tensor: &Tensor) -> OnDevice {
        let (view, memory) = within(tensor);
        OnDevice::new(stream, &view, &memory)
    }

    /// All of the memory.
    fn numbers(&self, stream: &Arc<CudaStream>) -> Vec<f64> {
        match &self.memory {
            Memory::Bf16(slice) => {
                stream.clone_dtoh(slice).unwrap().into_iter().map(f64::from).collect()
            }
            Memory::F16(slice) => {
                stream.clone_dtoh(slice).unwrap().into_iter().map(f64::from).collect()
            }
            Memory::F32(slice) => {
                stream.clone_dtoh(slice).unwrap().into_iter().map(f64::from).collect()
            }
            _ => panic!("not read back"),
        }
    }
}

/// Both are rounded once from numbers that differ by what f32 loses.
fn assert_close(found: &[f64], expected: &[f64], dtype: DType, what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (i, (found, expected)) in found.iter().zip(expected).enumerate() {
        // Numbers are at most 2^9 here, and f32 loses at most 2^-20 of them.
        let bound = 2.0 * unit(dtype) * expected.abs() + 2f64.powi(-20) * expected.abs().max(8.0);
        assert!((found - expected).abs() <= bound, "{what}[{i}] is {found}, expected {expected}");
    }
}

#[test]
fn norms_are_those_of_the_cpu() {
    let Some(stream) = stream() else { return };
    let hidden = 64;
    for (dtype, kind) in
        DTYPES.into_iter().flat_map(|dtype| [(dtype, NormKind::Layer), (dtype, NormKind::Rms)])
    {
        let rows = [TOKENS, hidden];
        let (x, weight) = (values(&rows, dtype, 4), values(&[hidden], dtype, 6));
        let residual = values(&rows, dtype, 5);
        let places: [fn(&Arc<CudaStream>, &Tensor) -> OnDevice; 2] =
            [OnDevice::dense, OnDevice::within];
        for (lying, place) in ["dense", "within"].into_iter().zip(places) {
            for (name, added) in residuals(&residual.force_contiguous().unwrap()) {
                let what = format!("{kind:?} {dtype:?} {lying} {name}");
                let x_there = place(&stream, &x);
                let added_there = place(&stream, &residual);
                let weight_there = OnDevice::dense(&stream, &weight);
                let out = place(&stream, &x.zeros_like().unwrap());
                let places = NormPlaces {
                    x: x_there.place.clone(),
                    residual: match added {
                        Residual::None => ResidualPlace::None,
                        Residual::Add(_) => ResidualPlace::Add(added_there.place.clone()),
                        Residual::Update(_) => ResidualPlace::Update(added_there.place.clone()),
                    },
                    weight: weight_there.place.clone(),
                    out: out.place.clone(),
                };
                // SAFETY: the places are those of memory that lives until it was read back.
                unsafe { device::norm(kind, 0, raw(&stream), &places, 1e-5) }.unwrap();

                let norm = if kind == NormKind::Layer { layer_norm } else { rms_norm };
                let expected = norm(&x, added, &weight, 1e-5).unwrap();
                let sum = match added {
                    Residual::None | Residual::Add(_) => &residual,
                    Residual::Update(sum) => sum,
                };
                let memory = |tensor: &Tensor| match lying {
                    "dense" => numbers(tensor),
                    _ => numbers(&within(tensor).1),
                };
                assert_close(&out.numbers(&stream), &memory(&expected), dtype, &what);
                assert_eq!(added_there.numbers(&stream), memory(sum), "{what}");
                assert_eq!(x_there.numbers(&stream), memory(&x), "{what}");
            }
        }
    }
}

#[test]
fn rope_is_that_of_the_cpu() {
    let Some(stream) = stream() else { return };
    for case in RopeCase::all() {
        for lying in ["dense", "within"] {
            let case = case.copied();
            let dtype = case.qkv.dtype();
            let what = |argument| format!("{argument} {dtype:?} {lying} {:?}", case.pairing);
            let place = if lying == "dense" { OnDevice::dense } else { OnDevice::within };
            let written =
                [&case.qkv, &case.k_cache, &case.v_cache].map(|tensor| place(&stream, tensor));
            let read = [&case.positions, &case.inv_freq, &case.slot_mapping]
                .map(|tensor| OnDevice::within(&stream, tensor));
            let [qkv, k_cache, v_cache] = [0, 1, 2].map(|i| written[i].place.clone());
            let [positions, inv_freq, slot_mapping] = [0, 1, 2].map(|i| read[i].place.clone());
            let places = RopePlaces { qkv, positions, inv_freq, k_cache, v_cache, slot_mapping };
            // SAFETY: the places are those of memory that lives until it was read back.
            unsafe { device::rope(0, raw(&stream), &places, case.clip, case.pairing) }.unwrap();

            case.run().unwrap();
            for ((argument, found), expected) in ["qkv", "k_cache", "v_cache"]
                .into_iter()
                .zip(&written)
                .zip([&case.qkv, &case.k_cache, &case.v_cache])
            {
                let expected =
                    if lying == "dense" { numbers(expected) } else { numbers(&within(expected).1) };
                assert_close(&found.numbers(&stream), &expected, dtype, &what(argument));
            }
        }
    }
}

#[test]
fn what_no_kernel_takes_is_refused() {
    let Some(stream) = stream() else { return };
    let case = RopeCase::new(DType::F32, None, Pairing::Halves);
    let dense = |tensor| OnDevice::dense(&stream, tensor);
    let written = [&case.qkv, &case.k_cache, &case.v_cache].map(dense);
    let read = [&case.positions, &case.inv_freq, &case.slot_mapping].map(dense);
    let [qkv, k_cache, v_cache] = [0, 1, 2].map(|i| written[i].place.clone());
    let [positions, inv_freq, slot_mapping] = [0, 1, 2].map(|i| read[i].place.clone());
    let places = RopePlaces { qkv, positions, inv_freq, k_cache, v_cache, slot_mapping };
    let refused = |places: &RopePlaces, ordinal| {
        // SAFETY: as above.
        let result = unsafe { device::rope(ordinal, raw(&stream), places, None, case.pairing) };
        result.unwrap_err().to_string()
    };
    let mut odd = places.clone();
    odd.qkv.address += 4;
    assert!(refused(&odd, 0).starts_with("rope: qkv is at address "), "{}", refused(&odd, 0));
    let mut short = places.clone();
    short.positions.shape = vec![4];
    assert_eq!(refused(&short, 0), "rope: positions has shape [4], expected [5]");
    let mut folded = places.clone();
    folded.k_cache.strides[0] = 0;
    assert!(refused(&folded, 0).contains("rows that do not overlap"), "{}", refused(&folded, 0));
    assert!(refused(&places, 99).starts_with("cuda: device 99 "), "{}", refused(&places, 99));
    for (memory, tensor) in written.iter().zip([&case.qkv, &case.k_cache, &case.v_cache]) {
        assert_eq!(memory.numbers(&stream), numbers(tensor));
    }
}
