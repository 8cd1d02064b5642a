//! `moe`: a layer of experts, from the router to the sum; reading weights bounds few tokens, arithmetic many.

use crate::device::{Calls, DeviceBench, Work, normal};
use crate::grouped_gemm::{active, bound, ids};
use expertile::{
    Activation, Buffer, CombineOut, Dtype, Experts, Gated, Moe, MoeExtents, Result, Route, Stream,
    WeightLayout, moe, moe_workspace_bytes,
};

/// Routings are given, so that each is measured alike: 0 balanced, 1 by Zipf's law, 2 all to as many experts as a token
/// has. DBRX's layer, Mixtral's, and one of 128 small experts. Results of f32 are of bf16.
pub(crate) const DEVICE: DeviceBench = DeviceBench {
    operator: "moe",
    extents: &["tokens", "hidden", "ffn_hidden", "experts", "top_k", "routing"],
    shapes: &[
        &[4096, 6144, 10752, 16, 4, 0],
        &[1, 6144, 10752, 16, 4, 0],
        &[8, 6144, 10752, 16, 4, 0],
        &[64, 6144, 10752, 16, 4, 0],
        &[512, 6144, 10752, 16, 4, 0],
        &[32768, 6144, 10752, 16, 4, 0],
        &[4096, 6144, 10752, 16, 4, 1],
        &[4096, 6144, 10752, 16, 4, 2],
        &[64, 6144, 10752, 16, 4, 1],
        &[4096, 4096, 14336, 8, 2, 0],
        &[1, 4096, 14336, 8, 2, 0],
        &[4096, 2048, 768, 128, 8, 0],
        &[1, 2048, 768, 128, 8, 0],
    ],
    tiny: &[5, 64, 72, 4, 2, 1],
    work: |extents, _| {
        let &[tokens, hidden, ffn_hidden, experts, top_k, routing] = extents else {
            unreachable!("six extents")
        };
        let (rows, active) = (tokens * top_k, active(tokens, experts, top_k, routing));
        Work {
            bytes: 2 * (3 * active * ffn_hidden * hidden + 3 * tokens * hidden),
            flops: 6 * rows * hidden * ffn_hidden,
            bound: bound(rows, active),
        }
    },
    prepare,
};

fn prepare(stream: &Stream, extents: &[u64], dtype: Dtype, sets: u64) -> Result<Calls> {
    let &[tokens, hidden, ffn_hidden, experts, top_k, routing] = extents else {
        unreachable!("six extents")
    };
    let dtype = if dtype == Dtype::F32 { Dtype::Bf16 } else { dtype };
    let of_weight = experts * ffn_hidden * hidden;
    let x = normal(stream, dtype, sets * tokens * hidden, 1)?;
    let [gate, up, down] = [
        normal(stream, dtype, sets * of_weight, 2)?,
        normal(stream, dtype, sets * of_weight, 3)?,
        normal(stream, dtype, sets * of_weight, 4)?,
    ];
    let mut residual = normal(stream, dtype, sets * tokens * hidden, 5)?;
    let ids = Buffer::from_slice(stream, &ids(tokens, experts, top_k, routing))?;
    let weights = normal(stream, Dtype::F32, tokens * top_k, 6)?;
    let sizes =
        MoeExtents { tokens, hidden, ffn_hidden, experts, local_experts: experts, top_k, dtype };
    let elements = moe_workspace_bytes(stream.device().info(), &sizes) / 4;
    let mut workspace = Buffer::new(stream.device(), Dtype::I32, elements)?;
    Ok(Box::new(move |stream, set| {
        let (shape, strides) = ([tokens, hidden], [hidden, 1]);
        let experts_shape = [experts, ffn_hidden, hidden];
        let by_expert = [ffn_hidden * hidden, hidden, 1];
        let arguments = Moe {
            x: x.strided(&shape, &strides, set * tokens * hidden)?,
            route: Route::Given {
                ids: ids.tensor(&[tokens, top_k])?,
                weights: weights.tensor(&[tokens, top_k])?,
            },
            experts: Experts {
                local: 0..experts as u32,
                weights: Gated::Separate {
                    gate: gate.strided(&experts_shape, &by_expert, set * of_weight)?,
                    up: up.strided(&experts_shape, &by_expert, set * of_weight)?,
                },
                biases: None,
                activation: Activation::Silu,
                down: down.strided(&experts_shape, &by_expert, set * of_weight)?,
                down_layout: WeightLayout::InOut,
                down_bias: None,
            },
            out: CombineOut::Update(residual.strided_mut(
                &shape,
                &strides,
                set * tokens * hidden,
            )?),
            workspace: workspace.tensor_mut(&[elements])?,
        };
        moe(stream, &arguments)
    }))
}
