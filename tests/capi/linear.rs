//! `linear`: its tensors, its options, and the same call in Rust.

use crate::args::Args;
use crate::bad::ABSENT;
use crate::call::Call;
use crate::scene::{HIDDEN, Scene, Spec, TOKENS};
use expertile::capi::*;
use expertile::{Dtype, Linear, LinearOut, Tensor, TensorMut, WeightLayout, linear};

const OUT_FEATURES: i64 = 16;

/// The tensors in the order of the struct. There is no x of f32: its call is one of bf16 with results of f32.
pub(crate) fn specs(dtype: i32) -> Vec<Spec> {
    let of_x = if dtype == EXPERTILE_F32 { EXPERTILE_BF16 } else { dtype };
    let spec = |name, dtype, shape, written| Spec { name, dtype, shape, written };
    vec![
        spec("x", of_x, &[TOKENS, HIDDEN], false),
        spec("weight", of_x, &[OUT_FEATURES, HIDDEN], false),
        spec("residual", dtype, &[TOKENS, OUT_FEATURES], false),
        spec("out", dtype, &[TOKENS, OUT_FEATURES], true),
    ]
}

pub(crate) fn args(tensor: impl Fn(usize) -> expertile_tensor) -> expertile_linear_args {
    expertile_linear_args {
        struct_size: size_of::<expertile_linear_args>() as u32,
        mode: EXPERTILE_LINEAR_ADD,
        layout: EXPERTILE_WEIGHT_OUT_IN,
        has_clamp: 1,
        clamp: 40.0,
        reserved: 0,
        x: tensor(0),
        weight: tensor(1),
        residual: tensor(2),
        out: tensor(3),
    }
}

pub(crate) fn tensor(args: &mut expertile_linear_args, place: usize) -> &mut expertile_tensor {
    match place {
        0 => &mut args.x,
        1 => &mut args.weight,
        2 => &mut args.residual,
        _ => &mut args.out,
    }
}

pub(crate) fn of(call: &mut Call) -> &mut expertile_linear_args {
    let Args::Linear(args) = &mut call.args else { panic!("not linear's") };
    args
}

pub(crate) fn options() -> Vec<fn(&mut Call)> {
    vec![
        |_| {},
        |call| of(call).has_clamp = 0,
        |call| of(call).clamp = 2.5,
        |call| (of(call).mode, of(call).residual) = (EXPERTILE_LINEAR_PRODUCT, ABSENT),
        |call| (of(call).mode, of(call).residual) = (EXPERTILE_LINEAR_UPDATE, ABSENT),
        |call| {
            of(call).layout = EXPERTILE_WEIGHT_IN_OUT;
            of(call).weight.shape[..2].copy_from_slice(&[HIDDEN, OUT_FEATURES]);
        },
    ]
}

/// An enumeration, and its last value.
pub(crate) type Enumeration = (&'static str, fn(&mut Call, i32), i32);

pub(crate) const ENUMERATIONS: [Enumeration; 3] = [
    ("mode", |call, value| of(call).mode = value, EXPERTILE_LINEAR_UPDATE),
    ("layout", |call, value| of(call).layout = value, EXPERTILE_WEIGHT_IN_OUT),
    ("has_clamp", |call, value| of(call).has_clamp = value, 1),
];

pub(crate) fn in_rust(call: &mut Call, dtype: Dtype, scene: &Scene) {
    let device = scene.stream.device();
    let args = of(call);
    let of_x = if dtype == Dtype::F32 { Dtype::Bf16 } else { dtype };
    let extents = |shape: &[i64]| [shape[0] as u64, shape[1] as u64];
    let shape = [TOKENS as u64, OUT_FEATURES as u64];
    let read = |place: usize, dtype, shape: [u64; 2]| {
        // SAFETY: the tensors lie apart in the scene's buffer, which outlives the launch.
        unsafe { Tensor::from_raw(device, scene.address(place), dtype, &shape, None) }.unwrap()
    };
    // SAFETY: as above.
    let out = unsafe { TensorMut::from_raw(device, scene.address(3), dtype, &shape, None) };
    let out = out.unwrap();
    let arguments = Linear {
        x: read(0, of_x, extents(&args.x.shape)),
        weight: read(1, of_x, extents(&args.weight.shape)),
        layout: match args.layout {
            EXPERTILE_WEIGHT_IN_OUT => WeightLayout::InOut,
            _ => WeightLayout::OutIn,
        },
        clamp: (args.has_clamp == 1).then_some(args.clamp),
        out: match args.mode {
            EXPERTILE_LINEAR_ADD => LinearOut::Add(read(2, dtype, shape), out),
            EXPERTILE_LINEAR_UPDATE => LinearOut::Update(out),
            _ => LinearOut::Product(out),
        },
    };
    linear(&scene.stream, &arguments).unwrap();
}
