//! The experts' products: their tensors, their options, the same calls in Rust, and their wrong numbers.

use crate::args::Args;
use crate::bad::ABSENT;
use crate::call::Call;
use crate::linear::Enumeration;
use crate::router::Wrong;
use crate::scene::{Scene, Spec, TOKENS};
use expertile::capi::*;
use expertile::{
    Activation, Device, Dtype, Gated, GroupedDown, GroupedUp, PairWeights, Tensor, TensorMut,
    WeightLayout, grouped_gemm_down, grouped_gemm_up,
};

/// The scene's pairs and offsets are multiples of 7: each expert has 7 rows, and no expert the last ones.
pub(crate) const ROWS: i64 = 24;
const EXPERTS: i64 = 3;
const TOP_K: i64 = 56;
const HIDDEN: i64 = 16;
const FFN: i64 = 32;

/// The tensors in the order of the struct.
pub(crate) fn up_specs(dtype: i32) -> Vec<Spec> {
    let spec = |name, dtype, shape, written| Spec { name, dtype, shape, written };
    vec![
        spec("x", dtype, &[TOKENS, HIDDEN], false),
        spec("pairs", EXPERTILE_I32, &[ROWS], false),
        spec("offsets", EXPERTILE_I32, &[EXPERTS + 1], false),
        spec("gate", dtype, &[EXPERTS, FFN, HIDDEN], false),
        spec("up", dtype, &[EXPERTS, FFN, HIDDEN], false),
        spec("gate_bias", dtype, &[EXPERTS, FFN], false),
        spec("up_bias", dtype, &[EXPERTS, FFN], false),
        spec("out", dtype, &[ROWS, FFN], true),
    ]
}

/// As [`up_specs`].
pub(crate) fn down_specs(dtype: i32) -> Vec<Spec> {
    let spec = |name, dtype, shape, written| Spec { name, dtype, shape, written };
    vec![
        spec("x", dtype, &[ROWS, FFN], false),
        spec("offsets", EXPERTILE_I32, &[EXPERTS + 1], false),
        spec("weight", dtype, &[EXPERTS, HIDDEN, FFN], false),
        spec("bias", dtype, &[EXPERTS, HIDDEN], false),
        spec("weights", EXPERTILE_F32, &[TOKENS, TOP_K], false),
        spec("pairs", EXPERTILE_I32, &[ROWS], false),
        spec("out", dtype, &[ROWS, HIDDEN], true),
    ]
}

pub(crate) fn up_args(
    tensor: impl Fn(usize) -> expertile_tensor,
) -> expertile_grouped_gemm_up_args {
    expertile_grouped_gemm_up_args {
        struct_size: size_of::<expertile_grouped_gemm_up_args>() as u32,
        activation: EXPERTILE_ACTIVATION_CLAMPED_SWIGLU,
        limit: 7.0,
        alpha: 1.702,
        top_k: TOP_K as u32,
        reserved: 0,
        x: tensor(0),
        pairs: tensor(1),
        offsets: tensor(2),
        gate: tensor(3),
        up: tensor(4),
        gate_bias: tensor(5),
        up_bias: tensor(6),
        out: tensor(7),
    }
}

pub(crate) fn down_args(
    tensor: impl Fn(usize) -> expertile_tensor,
) -> expertile_grouped_gemm_down_args {
    expertile_grouped_gemm_down_args {
        struct_size: size_of::<expertile_grouped_gemm_down_args>() as u32,
        layout: EXPERTILE_WEIGHT_OUT_IN,
        x: tensor(0),
        offsets: tensor(1),
        weight: tensor(2),
        bias: tensor(3),
        weights: tensor(4),
        pairs: tensor(5),
        out: tensor(6),
    }
}

pub(crate) fn up_tensor(
    args: &mut expertile_grouped_gemm_up_args,
    place: usize,
) -> &mut expertile_tensor {
    match place {
        0 => &mut args.x,
        1 => &mut args.pairs,
        2 => &mut args.offsets,
        3 => &mut args.gate,
        4 => &mut args.up,
        5 => &mut args.gate_bias,
        6 => &mut args.up_bias,
        _ => &mut args.out,
    }
}

pub(crate) fn down_tensor(
    args: &mut expertile_grouped_gemm_down_args,
    place: usize,
) -> &mut expertile_tensor {
    match place {
        0 => &mut args.x,
        1 => &mut args.offsets,
        2 => &mut args.weight,
        3 => &mut args.bias,
        4 => &mut args.weights,
        5 => &mut args.pairs,
        _ => &mut args.out,
    }
}

fn up(call: &mut Call) -> &mut expertile_grouped_gemm_up_args {
    let Args::Up(args) = &mut call.args else { panic!("not the first product's") };
    args
}

fn down(call: &mut Call) -> &mut expertile_grouped_gemm_down_args {
    let Args::Down(args) = &mut call.args else { panic!("not the second product's") };
    args
}

/// Both weights in the first tensor, each of half the features; biases are two of as many.
fn pack(call: &mut Call) {
    let args = up(call);
    args.up = ABSENT;
    for tensor in [&mut args.gate_bias, &mut args.up_bias, &mut args.out] {
        tensor.shape[1] = FFN / 2;
    }
}

pub(crate) fn up_options() -> Vec<fn(&mut Call)> {
    vec![
        |_| {},
        |call| up(call).activation = EXPERTILE_ACTIVATION_SILU,
        |call| up(call).activation = EXPERTILE_ACTIVATION_GELU_TANH,
        |call| up(call).limit = f32::INFINITY,
        |call| up(call).alpha = -0.25,
        |call| up(call).top_k = 28,
        |call| (up(call).gate_bias, up(call).up_bias) = (ABSENT, ABSENT),
        pack,
        |call| {
            pack(call);
            (up(call).up_bias, up(call).gate_bias.shape[1]) = (ABSENT, FFN);
        },
    ]
}

pub(crate) fn down_options() -> Vec<fn(&mut Call)> {
    vec![
        |_| {},
        |call| {
            down(call).layout = EXPERTILE_WEIGHT_IN_OUT;
            down(call).weight.shape[1..3].copy_from_slice(&[FFN, HIDDEN]);
        },
        |call| down(call).bias = ABSENT,
        |call| (down(call).weights, down(call).pairs) = (ABSENT, ABSENT),
    ]
}

pub(crate) const UP_ENUMERATIONS: &[Enumeration] = &[(
    "activation",
    |call, value| up(call).activation = value,
    EXPERTILE_ACTIVATION_CLAMPED_SWIGLU,
)];

pub(crate) const DOWN_ENUMERATIONS: &[Enumeration] =
    &[("layout", |call, value| down(call).layout = value, EXPERTILE_WEIGHT_IN_OUT)];

pub(crate) const UP_WRONG: &[Wrong] = {
    const VALUE: i32 = EXPERTILE_INVALID_VALUE;
    &[
        ("limit", "NaN", |c| up(c).limit = f32::NAN, VALUE),
        ("limit", "0", |c| up(c).limit = 0.0, VALUE),
        ("limit", "-0", |c| up(c).limit = -0.0, VALUE),
        ("limit", "-1", |c| up(c).limit = -1.0, VALUE),
        ("limit", "-inf", |c| up(c).limit = f32::NEG_INFINITY, VALUE),
        ("alpha", "NaN", |c| up(c).alpha = f32::NAN, VALUE),
        ("alpha", "inf", |c| up(c).alpha = f32::INFINITY, VALUE),
        ("alpha", "-inf", |c| up(c).alpha = f32::NEG_INFINITY, VALUE),
        ("top_k", "0", |c| up(c).top_k = 0, VALUE),
        ("gate", "absent", |c| up(c).gate = ABSENT, VALUE),
        ("up", "absent", |c| up(c).up = ABSENT, EXPERTILE_SHAPE),
        ("gate_bias", "absent", |c| up(c).gate_bias = ABSENT, VALUE),
        ("up_bias", "absent", |c| up(c).up_bias = ABSENT, EXPERTILE_SHAPE),
        ("pairs", "absent", |c| up(c).pairs = ABSENT, VALUE),
        ("out", "absent", |c| up(c).out = ABSENT, VALUE),
    ]
};

pub(crate) const DOWN_WRONG: &[Wrong] = {
    const VALUE: i32 = EXPERTILE_INVALID_VALUE;
    &[
        ("layout", "other", |c| down(c).layout = EXPERTILE_WEIGHT_IN_OUT, EXPERTILE_SHAPE),
        ("weights", "absent", |c| down(c).weights = ABSENT, VALUE),
        ("pairs", "absent", |c| down(c).pairs = ABSENT, VALUE),
        ("weight", "absent", |c| down(c).weight = ABSENT, VALUE),
        ("out", "absent", |c| down(c).out = ABSENT, VALUE),
    ]
};

fn parts(tensor: &expertile_tensor) -> (u64, Dtype, Vec<u64>) {
    let dtype = match tensor.dtype {
        EXPERTILE_BF16 => Dtype::Bf16,
        EXPERTILE_F16 => Dtype::F16,
        EXPERTILE_I32 => Dtype::I32,
        _ => Dtype::F32,
    };
    let extents = &tensor.shape[..tensor.rank as usize];
    (tensor.data.addr() as u64, dtype, extents.iter().map(|&extent| extent as u64).collect())
}

/// The tensor, dense, if it is there.
pub(crate) fn read<'t>(device: &Device, tensor: &expertile_tensor) -> Option<Tensor<'t>> {
    let (address, dtype, shape) = parts(tensor);
    // SAFETY: the tensors lie apart in the scene's buffer, which outlives the launch.
    let read = unsafe { Tensor::from_raw(device, address, dtype, &shape, None) }.unwrap();
    (tensor.rank > 0).then_some(read)
}

pub(crate) fn written<'t>(device: &Device, tensor: &expertile_tensor) -> TensorMut<'t> {
    let (address, dtype, shape) = parts(tensor);
    // SAFETY: as above.
    unsafe { TensorMut::from_raw(device, address, dtype, &shape, None) }.unwrap()
}

/// Both tensors, or the first for both.
pub(crate) fn gated<'t>(
    device: &Device,
    gate: &expertile_tensor,
    up: &expertile_tensor,
) -> Option<Gated<'t>> {
    let gate = read(device, gate)?;
    Some(read(device, up).map_or(Gated::Packed(gate), |up| Gated::Separate { gate, up }))
}

pub(crate) fn activation(activation: i32, limit: f32, alpha: f32) -> Activation {
    match activation {
        EXPERTILE_ACTIVATION_SILU => Activation::Silu,
        EXPERTILE_ACTIVATION_GELU_TANH => Activation::GeluTanh,
        _ => Activation::ClampedSwiglu { limit, alpha },
    }
}

pub(crate) fn layout(layout: i32) -> WeightLayout {
    if layout == EXPERTILE_WEIGHT_IN_OUT { WeightLayout::InOut } else { WeightLayout::OutIn }
}

pub(crate) fn up_in_rust(call: &mut Call, scene: &Scene) {
    let (device, args) = (scene.stream.device(), up(call));
    let arguments = GroupedUp {
        x: read(device, &args.x).unwrap(),
        pairs: read(device, &args.pairs).unwrap(),
        top_k: args.top_k,
        offsets: read(device, &args.offsets).unwrap(),
        weights: gated(device, &args.gate, &args.up).unwrap(),
        biases: gated(device, &args.gate_bias, &args.up_bias),
        activation: activation(args.activation, args.limit, args.alpha),
        out: written(device, &args.out),
    };
    grouped_gemm_up(&scene.stream, &arguments).unwrap();
}

pub(crate) fn down_in_rust(call: &mut Call, scene: &Scene) {
    let (device, args) = (scene.stream.device(), down(call));
    let weights = read(device, &args.weights);
    let arguments = GroupedDown {
        x: read(device, &args.x).unwrap(),
        offsets: read(device, &args.offsets).unwrap(),
        weight: read(device, &args.weight).unwrap(),
        layout: layout(args.layout),
        bias: read(device, &args.bias),
        pair_weights: weights.map(|weights| {
            let pairs = read(device, &args.pairs).unwrap();
            PairWeights { weights, pairs }
        }),
        out: written(device, &args.out),
    };
    grouped_gemm_down(&scene.stream, &arguments).unwrap();
}
