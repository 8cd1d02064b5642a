//! `moe`: its tensors, its options, the same call in Rust, and its wrong numbers.

use crate::args::Args;
use crate::bad::ABSENT;
use crate::call::Call;
use crate::grouped_gemm::{activation, gated, layout, read, written};
use crate::linear::Enumeration;
use crate::router::Wrong;
use crate::scene::{Scene, Spec, TOKENS};
use expertile::capi::*;
use expertile::{
    CombineOut, Dtype, ExpertGroups, Experts, Moe, MoeExtents, Route, Scoring, TensorMut, moe,
    moe_workspace_bytes,
};

const EXPERTS: i64 = 4;
const LOCAL: i64 = 2;
const TOP_K: i64 = 2;
const HIDDEN: i64 = 16;
const FFN: i64 = 32;
/// The first local one, of those that are chosen and of those that are given: the scene's are multiples of 7.
const FIRST: [u32; 2] = [1, 14];

/// The tensors of one kind of route, in the order of the struct.
pub(crate) fn specs(dtype: i32, given: bool) -> Vec<Spec> {
    let spec = |name, dtype, shape, written| Spec { name, dtype, shape, written };
    let slots: &[i64] = &[TOKENS, TOP_K];
    let [first, second] = if given {
        [spec("ids", EXPERTILE_I32, slots, false), spec("weights", EXPERTILE_F32, slots, false)]
    } else {
        [
            spec("router_weight", dtype, &[EXPERTS, HIDDEN], false),
            spec("router_bias", EXPERTILE_F32, &[EXPERTS], false),
        ]
    };
    vec![
        spec("x", dtype, &[TOKENS, HIDDEN], false),
        first,
        second,
        spec("gate", dtype, &[LOCAL, FFN, HIDDEN], false),
        spec("up", dtype, &[LOCAL, FFN, HIDDEN], false),
        spec("gate_bias", dtype, &[LOCAL, FFN], false),
        spec("up_bias", dtype, &[LOCAL, FFN], false),
        spec("down", dtype, &[LOCAL, HIDDEN, FFN], false),
        spec("down_bias", dtype, &[LOCAL, HIDDEN], false),
        spec("residual", dtype, &[TOKENS, HIDDEN], false),
        spec("out", dtype, &[TOKENS, HIDDEN], true),
    ]
}

pub(crate) fn workspace_bytes(scene: &Scene, given: bool) -> usize {
    let extents = MoeExtents {
        tokens: TOKENS as u64,
        hidden: HIDDEN as u64,
        ffn_hidden: FFN as u64,
        experts: if given { LOCAL } else { EXPERTS } as u64,
        local_experts: LOCAL as u64,
        top_k: TOP_K as u64,
        dtype: Dtype::Bf16,
    };
    moe_workspace_bytes(scene.stream.device().info(), &extents) as usize
}

/// All tensors of the route; the router's choice is by sigmoids with a bias.
pub(crate) fn args(tensor: impl Fn(usize) -> expertile_tensor, given: bool) -> expertile_moe_args {
    let of = |place: usize, is_its: bool| if is_its { tensor(place) } else { ABSENT };
    let first_expert = FIRST[usize::from(given)];
    expertile_moe_args {
        struct_size: size_of::<expertile_moe_args>() as u32,
        route: if given { EXPERTILE_ROUTE_GIVEN } else { EXPERTILE_ROUTE_ROUTER },
        scoring: if given { 0 } else { EXPERTILE_SCORING_SIGMOID },
        normalize: (!given).into(),
        p_norm: f32::NAN,
        scale: 0.0,
        round_logits: 0,
        groups: 0,
        top_groups: 0,
        top_k: if given { 0 } else { TOP_K as u32 },
        first_expert,
        end_expert: first_expert + LOCAL as u32,
        activation: EXPERTILE_ACTIVATION_CLAMPED_SWIGLU,
        limit: 7.0,
        alpha: 1.702,
        down_layout: EXPERTILE_WEIGHT_OUT_IN,
        mode: EXPERTILE_COMBINE_ADD,
        reserved: 0,
        x: tensor(0),
        router_weight: of(1, !given),
        router_bias: of(2, !given),
        ids: of(1, given),
        weights: of(2, given),
        gate: tensor(3),
        up: tensor(4),
        gate_bias: tensor(5),
        up_bias: tensor(6),
        down: tensor(7),
        down_bias: tensor(8),
        residual: tensor(9),
        out: tensor(10),
    }
}

pub(crate) fn tensor(args: &mut expertile_moe_args, place: usize) -> &mut expertile_tensor {
    match (place, args.route) {
        (0, _) => &mut args.x,
        (1, EXPERTILE_ROUTE_GIVEN) => &mut args.ids,
        (1, _) => &mut args.router_weight,
        (2, EXPERTILE_ROUTE_GIVEN) => &mut args.weights,
        (2, _) => &mut args.router_bias,
        (3, _) => &mut args.gate,
        (4, _) => &mut args.up,
        (5, _) => &mut args.gate_bias,
        (6, _) => &mut args.up_bias,
        (7, _) => &mut args.down,
        (8, _) => &mut args.down_bias,
        (9, _) => &mut args.residual,
        _ => &mut args.out,
    }
}

fn of(call: &mut Call) -> &mut expertile_moe_args {
    let Args::Moe(args) = &mut call.args else { panic!("not moe's") };
    args
}

fn softmax(call: &mut Call, normalize: i32, p_norm: f32) {
    let args = of(call);
    (args.scoring, args.normalize, args.p_norm) = (EXPERTILE_SCORING_SOFTMAX, normalize, p_norm);
    args.router_bias = ABSENT;
}

/// Both weights in one tensor, and so both biases.
fn pack(call: &mut Call) {
    let args = of(call);
    (args.up, args.up_bias) = (ABSENT, ABSENT);
    args.down.shape[2] = FFN / 2;
}

fn local(call: &mut Call, first: u32) {
    (of(call).first_expert, of(call).end_expert) = (first, first + LOCAL as u32);
}

fn transpose(call: &mut Call) {
    of(call).down_layout = EXPERTILE_WEIGHT_IN_OUT;
    of(call).down.shape[1..3].copy_from_slice(&[FFN, HIDDEN]);
}

pub(crate) fn options() -> Vec<fn(&mut Call)> {
    vec![
        |_| {},
        |call| softmax(call, 0, f32::NAN),
        |call| softmax(call, 1, 0.125),
        // Of logits far apart both softmaxes are the same.
        |call| {
            softmax(call, 0, 0.0);
            (of(call).scoring, of(call).scale) = (EXPERTILE_SCORING_TOP_K_SOFTMAX, -1.0);
        },
        // Of one sigmoid that is 1 and others that are 0 the sum is 1.
        |call| (of(call).normalize, of(call).scale) = (0, 0.5),
        |call| of(call).router_bias = ABSENT,
        |call| (of(call).groups, of(call).top_groups) = (2, 1),
        |call| of(call).scale = 2.5,
        |call| (of(call).round_logits, of(call).scale) = (1, 3.0),
        |call| of(call).top_k = 1,
        |call| local(call, 0),
        |call| of(call).activation = EXPERTILE_ACTIVATION_SILU,
        |call| of(call).activation = EXPERTILE_ACTIVATION_GELU_TANH,
        |call| of(call).limit = 2.0,
        |call| of(call).alpha = 0.25,
        |call| (of(call).gate_bias, of(call).up_bias) = (ABSENT, ABSENT),
        pack,
        |call| of(call).down_bias = ABSENT,
        transpose,
        |call| (of(call).mode, of(call).residual) = (EXPERTILE_COMBINE_SUM, ABSENT),
        |call| (of(call).mode, of(call).residual) = (EXPERTILE_COMBINE_UPDATE, ABSENT),
    ]
}

pub(crate) fn given_options() -> Vec<fn(&mut Call)> {
    vec![
        |_| {},
        |call| local(call, 6),
        |call| local(call, 35),
        |call| of(call).activation = EXPERTILE_ACTIVATION_SILU,
        pack,
        transpose,
        |call| (of(call).mode, of(call).residual) = (EXPERTILE_COMBINE_SUM, ABSENT),
        |call| (of(call).mode, of(call).residual) = (EXPERTILE_COMBINE_UPDATE, ABSENT),
    ]
}

pub(crate) fn in_rust(call: &mut Call, scene: &Scene) {
    let (device, elements) = (scene.stream.device(), call.workspace_bytes as u64 / 4);
    let address = scene.workspace();
    let args = of(call);
    // SAFETY: the workspace lies behind the tensors in the scene's buffer, which outlives the launches.
    let workspace = unsafe { TensorMut::from_raw(device, address, Dtype::I32, &[elements], None) };
    let normalize = args.normalize == 1;
    let route = match args.route {
        EXPERTILE_ROUTE_GIVEN => Route::Given {
            ids: read(device, &args.ids).unwrap(),
            weights: read(device, &args.weights).unwrap(),
        },
        _ => Route::Router {
            weight: read(device, &args.router_weight).unwrap(),
            round_logits: args.round_logits == 1,
            scoring: match args.scoring {
                EXPERTILE_SCORING_SOFTMAX => {
                    Scoring::Softmax { p_norm: normalize.then_some(args.p_norm) }
                }
                EXPERTILE_SCORING_TOP_K_SOFTMAX => Scoring::TopKSoftmax,
                _ => Scoring::Sigmoid { bias: read(device, &args.router_bias), normalize },
            },
            groups: (args.groups > 0)
                .then_some(ExpertGroups { count: args.groups, chosen: args.top_groups }),
            scale: if args.scale == 0.0 { 1.0 } else { args.scale },
            top_k: args.top_k,
        },
    };
    let out = written(device, &args.out);
    let arguments = Moe {
        x: read(device, &args.x).unwrap(),
        route,
        experts: Experts {
            local: args.first_expert..args.end_expert,
            weights: gated(device, &args.gate, &args.up).unwrap(),
            biases: gated(device, &args.gate_bias, &args.up_bias),
            activation: activation(args.activation, args.limit, args.alpha),
            down: read(device, &args.down).unwrap(),
            down_layout: layout(args.down_layout),
            down_bias: read(device, &args.down_bias),
        },
        out: match args.mode {
            EXPERTILE_COMBINE_ADD => CombineOut::Add(read(device, &args.residual).unwrap(), out),
            EXPERTILE_COMBINE_UPDATE => CombineOut::Update(out),
            _ => CombineOut::Sum(out),
        },
        workspace: workspace.unwrap(),
    };
    moe(&scene.stream, &arguments).unwrap();
}

/// Those of both kinds of route.
pub(crate) const ENUMERATIONS: &[Enumeration] = &[
    ("route", |call, value| of(call).route = value, EXPERTILE_ROUTE_GIVEN),
    ("scoring", |call, value| of(call).scoring = value, EXPERTILE_SCORING_SIGMOID),
    ("normalize", |call, value| of(call).normalize = value, 1),
    ("round_logits", |call, value| of(call).round_logits = value, 1),
    ("activation", |call, value| of(call).activation = value, 2),
    ("down_layout", |call, value| of(call).down_layout = value, EXPERTILE_WEIGHT_IN_OUT),
    ("mode", |call, value| of(call).mode = value, EXPERTILE_COMBINE_UPDATE),
];

const VALUE: i32 = EXPERTILE_INVALID_VALUE;

/// As [`ENUMERATIONS`].
pub(crate) const WRONG: &[Wrong] = &[
    ("limit", "NaN", |c| of(c).limit = f32::NAN, VALUE),
    ("limit", "0", |c| of(c).limit = 0.0, VALUE),
    ("limit", "-1", |c| of(c).limit = -1.0, VALUE),
    ("alpha", "NaN", |c| of(c).alpha = f32::NAN, VALUE),
    ("alpha", "inf", |c| of(c).alpha = f32::INFINITY, VALUE),
    ("first_expert", "behind", |c| of(c).first_expert = of(c).end_expert + 1, VALUE),
    ("first_expert", "the most", |c| of(c).first_expert = u32::MAX, VALUE),
    ("first_expert", "none", |c| of(c).first_expert = of(c).end_expert, EXPERTILE_UNSUPPORTED),
    ("first_expert", "fewer", |c| of(c).first_expert += 1, EXPERTILE_SHAPE),
    ("first_expert", "more", |c| of(c).first_expert -= 1, EXPERTILE_SHAPE),
    ("end_expert", "2^31", |c| of(c).end_expert = 1 << 31, VALUE),
    ("end_expert", "the most", |c| of(c).end_expert = u32::MAX, VALUE),
    ("end_expert", "more", |c| of(c).end_expert += 1, EXPERTILE_SHAPE),
    ("down_layout", "other", |c| of(c).down_layout = EXPERTILE_WEIGHT_IN_OUT, EXPERTILE_SHAPE),
    ("mode", "sum, residual", |c| of(c).mode = EXPERTILE_COMBINE_SUM, VALUE),
    ("mode", "update, residual", |c| of(c).mode = EXPERTILE_COMBINE_UPDATE, VALUE),
    ("residual", "absent", |c| of(c).residual = ABSENT, VALUE),
    ("gate", "absent", |c| of(c).gate = ABSENT, VALUE),
    ("up", "absent", |c| of(c).up = ABSENT, EXPERTILE_SHAPE),
    ("gate_bias", "absent", |c| of(c).gate_bias = ABSENT, VALUE),
    ("up_bias", "absent", |c| of(c).up_bias = ABSENT, EXPERTILE_SHAPE),
    ("down", "absent", |c| of(c).down = ABSENT, VALUE),
    ("out", "absent", |c| of(c).out = ABSENT, VALUE),
    ("groups", "3", |c| (of(c).groups, of(c).top_groups) = (3, 1), VALUE),
    ("top_groups", "without groups", |c| of(c).top_groups = 1, VALUE),
];

pub(crate) const ROUTER_WRONG: &[Wrong] = &[
    ("route", "given", |c| of(c).route = EXPERTILE_ROUTE_GIVEN, VALUE),
    ("router_weight", "absent", |c| of(c).router_weight = ABSENT, VALUE),
    ("scoring", "with bias", |c| of(c).scoring = EXPERTILE_SCORING_SOFTMAX, VALUE),
    ("p_norm", "NaN", |c| softmax(c, 1, f32::NAN), VALUE),
    ("p_norm", "2^-11", |c| softmax(c, 1, 2f32.powi(-11)), EXPERTILE_UNSUPPORTED),
    ("end_expert", "beyond all", |c| local(c, 3), VALUE),
    ("top_k", "0", |c| of(c).top_k = 0, VALUE),
    ("top_k", "beyond all", |c| of(c).top_k = 5, VALUE),
    ("top_k", "the most", |c| of(c).top_k = u32::MAX, VALUE),
    ("ids", "with data", |c| of(c).ids.data = of(c).x.data, VALUE),
    ("ids", "with a rank", |c| of(c).ids.rank = 2, VALUE),
    ("ids", "with a type", |c| of(c).ids.dtype = EXPERTILE_I32, VALUE),
    ("weights", "with data", |c| of(c).weights.data = of(c).x.data, VALUE),
    ("weights", "with a rank", |c| of(c).weights.rank = 2, VALUE),
    ("weights", "with a type", |c| of(c).weights.dtype = EXPERTILE_F32, VALUE),
];

pub(crate) const GIVEN_WRONG: &[Wrong] = &[
    ("route", "router", |c| of(c).route = EXPERTILE_ROUTE_ROUTER, VALUE),
    ("scoring", "1", |c| of(c).scoring = 1, VALUE),
    ("normalize", "1", |c| of(c).normalize = 1, VALUE),
    ("scale", "1", |c| of(c).scale = 1.0, VALUE),
    ("scale", "NaN", |c| of(c).scale = f32::NAN, VALUE),
    ("round_logits", "1", |c| of(c).round_logits = 1, VALUE),
    ("groups", "1", |c| of(c).groups = 1, VALUE),
    ("top_k", "2", |c| of(c).top_k = TOP_K as u32, VALUE),
    ("end_expert", "257 more", |c| of(c).end_expert = 14 + 257, EXPERTILE_UNSUPPORTED),
    ("ids", "absent", |c| of(c).ids = ABSENT, VALUE),
    ("weights", "absent", |c| of(c).weights = ABSENT, VALUE),
    ("router_weight", "with data", |c| of(c).router_weight.data = of(c).x.data, VALUE),
    ("router_weight", "with a rank", |c| of(c).router_weight.rank = 2, VALUE),
    ("router_bias", "with a rank", |c| of(c).router_bias.rank = 1, VALUE),
    ("router_bias", "with a type", |c| of(c).router_bias.dtype = EXPERTILE_F32, VALUE),
];
