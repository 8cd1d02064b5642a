//! `router`: its tensors, its options, the same call in Rust, and its wrong numbers.

use crate::args::Args;
use crate::bad::ABSENT;
use crate::call::Call;
use crate::scene::{Scene, Spec, TOKENS};
use expertile::capi::*;
use expertile::{Dtype, ExpertGroups, Router, RouterInput, Scoring, Tensor, TensorMut, router};

const HIDDEN: i64 = 32;
const EXPERTS: i64 = 16;
const TOP_K: i64 = 2;

/// The tensors in the order of the struct.
pub(crate) fn specs(dtype: i32) -> Vec<Spec> {
    let spec = |name, dtype, shape, written| Spec { name, dtype, shape, written };
    let (slots, scores): (&[i64], &[i64]) = (&[TOKENS, TOP_K], &[TOKENS, EXPERTS]);
    vec![
        spec("h", dtype, &[TOKENS, HIDDEN], false),
        spec("weight", dtype, &[EXPERTS, HIDDEN], false),
        spec("logits", EXPERTILE_F32, scores, true),
        spec("bias", EXPERTILE_F32, &[EXPERTS], false),
        spec("forced", EXPERTILE_I32, slots, false),
        spec("ids", EXPERTILE_I32, slots, true),
        spec("weights", EXPERTILE_F32, slots, true),
        spec("counts", EXPERTILE_I32, &[EXPERTS], true),
        spec("probabilities", EXPERTILE_F32, scores, true),
    ]
}

/// All tensors: hidden states, sigmoids with a bias, forced ids.
pub(crate) fn args(tensor: impl Fn(usize) -> expertile_tensor) -> expertile_router_args {
    expertile_router_args {
        struct_size: size_of::<expertile_router_args>() as u32,
        input: EXPERTILE_ROUTER_HIDDEN,
        scoring: EXPERTILE_SCORING_SIGMOID,
        normalize: 1,
        p_norm: f32::NAN,
        scale: 0.0,
        round_logits: 0,
        groups: 0,
        top_groups: 0,
        reserved: 0,
        h: tensor(0),
        weight: tensor(1),
        logits: tensor(2),
        bias: tensor(3),
        forced: tensor(4),
        ids: tensor(5),
        weights: tensor(6),
        counts: tensor(7),
        probabilities: tensor(8),
    }
}

pub(crate) fn tensor(args: &mut expertile_router_args, place: usize) -> &mut expertile_tensor {
    match place {
        0 => &mut args.h,
        1 => &mut args.weight,
        2 => &mut args.logits,
        3 => &mut args.bias,
        4 => &mut args.forced,
        5 => &mut args.ids,
        6 => &mut args.weights,
        7 => &mut args.counts,
        _ => &mut args.probabilities,
    }
}

fn of(call: &mut Call) -> &mut expertile_router_args {
    let Args::Router(args) = &mut call.args else { panic!("not router's") };
    args
}

fn softmax(call: &mut Call, normalize: i32, p_norm: f32) {
    let args = of(call);
    (args.scoring, args.normalize, args.p_norm) = (EXPERTILE_SCORING_SOFTMAX, normalize, p_norm);
    args.bias = ABSENT;
}

pub(crate) fn options() -> Vec<fn(&mut Call)> {
    vec![
        |_| {},
        |call| softmax(call, 0, f32::NAN),
        |call| softmax(call, 1, 1.0),
        |call| softmax(call, 1, 0.125),
        |call| {
            // Of logits far apart, the largest is as good as the sum.
            softmax(call, 1, f32::INFINITY);
            of(call).scale = 0.5;
        },
        |call| {
            softmax(call, 0, 0.0);
            of(call).scoring = EXPERTILE_SCORING_TOP_K_SOFTMAX;
            of(call).forced = ABSENT;
        },
        |call| of(call).forced = ABSENT,
        |call| (of(call).forced, of(call).normalize) = (ABSENT, 0),
        |call| (of(call).forced, of(call).bias) = (ABSENT, ABSENT),
        |call| {
            of(call).forced = ABSENT;
            (of(call).groups, of(call).top_groups) = (8, 1);
        },
        |call| of(call).scale = 2.5,
        // Nothing is rounded in f32.
        |call| (of(call).round_logits, of(call).scale) = (1, -1.0),
        |call| {
            let args = of(call);
            (args.input, args.logits.dtype) = (EXPERTILE_ROUTER_LOGITS, args.h.dtype);
            (args.h, args.weight) = (ABSENT, ABSENT);
        },
        |call| of(call).logits = ABSENT,
        |call| of(call).counts = ABSENT,
        |call| of(call).probabilities = ABSENT,
    ]
}

fn dtype_of(tensor: &expertile_tensor) -> Dtype {
    match tensor.dtype {
        EXPERTILE_BF16 => Dtype::Bf16,
        EXPERTILE_F16 => Dtype::F16,
        EXPERTILE_I32 => Dtype::I32,
        _ => Dtype::F32,
    }
}

pub(crate) fn in_rust(call: &mut Call, scene: &Scene) {
    let specs = specs(EXPERTILE_BF16);
    let mut args = *of(call);
    let mut parts = |place: usize| {
        let shape: Vec<u64> = specs[place].shape.iter().map(|&extent| extent as u64).collect();
        let tensor = tensor(&mut args, place);
        (tensor.rank > 0).then(|| (scene.address(place), dtype_of(tensor), shape))
    };
    let device = scene.stream.device();
    let read = |parts: Option<(u64, Dtype, Vec<u64>)>| {
        parts.map(|(address, dtype, shape)| {
            // SAFETY: the tensors lie apart in the scene's buffer, which outlives the launch.
            unsafe { Tensor::from_raw(device, address, dtype, &shape, None) }.unwrap()
        })
    };
    let written = |parts: Option<(u64, Dtype, Vec<u64>)>| {
        parts.map(|(address, dtype, shape)| {
            // SAFETY: as above.
            unsafe { TensorMut::from_raw(device, address, dtype, &shape, None) }.unwrap()
        })
    };
    let given = of(call).input == EXPERTILE_ROUTER_LOGITS;
    let input = if given {
        RouterInput::Logits(read(parts(2)).unwrap())
    } else {
        RouterInput::Hidden {
            h: read(parts(0)).unwrap(),
            weight: read(parts(1)).unwrap(),
            round_logits: of(call).round_logits == 1,
        }
    };
    let args = of(call);
    let normalize = args.normalize == 1;
    let scoring = match args.scoring {
        EXPERTILE_SCORING_SOFTMAX => Scoring::Softmax { p_norm: normalize.then_some(args.p_norm) },
        EXPERTILE_SCORING_TOP_K_SOFTMAX => Scoring::TopKSoftmax,
        _ => Scoring::Sigmoid { bias: read(parts(3)), normalize },
    };
    let (count, chosen) = (args.groups, args.top_groups);
    let arguments = Router {
        input,
        scoring,
        groups: (count > 0).then_some(ExpertGroups { count, chosen }),
        scale: if args.scale == 0.0 { 1.0 } else { args.scale },
        forced: read(parts(4)),
        ids: written(parts(5)).unwrap(),
        weights: written(parts(6)).unwrap(),
        logits: if given { None } else { written(parts(2)) },
        counts: written(parts(7)),
        probabilities: written(parts(8)),
    };
    router(&scene.stream, &arguments).unwrap();
}

/// An argument, what is wrong with it, the change, and the status.
pub(crate) type Wrong = (&'static str, &'static str, fn(&mut Call), i32);

/// Numbers that do not fit each other or no kernel.
pub(crate) const WRONG: &[Wrong] = {
    const VALUE: i32 = EXPERTILE_INVALID_VALUE;
    &[
        ("p_norm", "NaN", |c| softmax(c, 1, f32::NAN), VALUE),
        ("p_norm", "0", |c| softmax(c, 1, 0.0), VALUE),
        ("p_norm", "-1", |c| softmax(c, 1, -1.0), VALUE),
        ("p_norm", "-inf", |c| softmax(c, 1, f32::NEG_INFINITY), VALUE),
        ("p_norm", "2^-11", |c| softmax(c, 1, 2f32.powi(-11)), EXPERTILE_UNSUPPORTED),
        ("p_norm", "2^-149", |c| softmax(c, 1, f32::from_bits(1)), EXPERTILE_UNSUPPORTED),
        (
            "normalize",
            "twice",
            |c| {
                softmax(c, 1, 1.0);
                of(c).scoring = EXPERTILE_SCORING_TOP_K_SOFTMAX;
            },
            VALUE,
        ),
        (
            "round_logits",
            "of given",
            |c| {
                let args = of(c);
                (args.input, args.round_logits) = (EXPERTILE_ROUTER_LOGITS, 1);
                (args.h, args.weight) = (ABSENT, ABSENT);
            },
            VALUE,
        ),
        ("input", "with h", |c| of(c).input = EXPERTILE_ROUTER_LOGITS, VALUE),
        ("scoring", "with bias", |c| of(c).scoring = EXPERTILE_SCORING_SOFTMAX, VALUE),
        ("groups", "no divisor", |c| (of(c).groups, of(c).top_groups) = (3, 1), VALUE),
        ("groups", "too many", |c| (of(c).groups, of(c).top_groups) = (32, 32), VALUE),
        ("groups", "the most", |c| (of(c).groups, of(c).top_groups) = (u32::MAX, 1), VALUE),
        ("top_groups", "none", |c| (of(c).groups, of(c).top_groups) = (4, 0), VALUE),
        ("top_groups", "too few", |c| (of(c).groups, of(c).top_groups) = (16, 1), VALUE),
        ("top_groups", "too many", |c| (of(c).groups, of(c).top_groups) = (4, 5), VALUE),
        ("top_groups", "without groups", |c| of(c).top_groups = 1, VALUE),
        ("reserved", "1", |c| of(c).reserved = 1, VALUE),
        ("reserved", "2^31", |c| of(c).reserved = 1 << 31, VALUE),
        ("h", "absent", |c| of(c).h = ABSENT, VALUE),
        ("weight", "absent", |c| of(c).weight = ABSENT, VALUE),
        ("ids", "absent", |c| of(c).ids = ABSENT, VALUE),
        ("weights", "absent", |c| of(c).weights = ABSENT, VALUE),
    ]
};

/// An enumeration, from 0 to a last member.
pub(crate) type Enumeration = (&'static str, fn(&mut Call, i32), i32);

pub(crate) const ENUMERATIONS: [Enumeration; 4] = [
    ("input", |call, value| of(call).input = value, 1),
    ("scoring", |call, value| of(call).scoring = value, 2),
    ("normalize", |call, value| of(call).normalize = value, 1),
    ("round_logits", |call, value| of(call).round_logits = value, 1),
];

/// A tensor that an option does not use, with what makes it the option.
pub(crate) type Unused = (&'static str, usize, fn(&mut Call));

pub(crate) const UNUSED: [Unused; 3] = {
    const GIVEN: fn(&mut Call) = |call| {
        let args = of(call);
        (args.input, args.h, args.weight) = (EXPERTILE_ROUTER_LOGITS, ABSENT, ABSENT);
    };
    [("h", 0, GIVEN), ("weight", 1, GIVEN), ("bias", 3, |call| softmax(call, 0, 0.0))]
};
