//! What a layer of experts works on, whole and in its products.

use expertile::{
    Activation, Buffer, CombineOut, Dtype, Experts, Gated, GroupedDown, GroupedUp, Moe, MoeExtents,
    PairWeights, Result, Route, Scoring, Stream, WeightLayout, grouped_gemm_down, grouped_gemm_up,
    moe, moe_workspace_bytes,
};
use half::bf16;

const TOKENS: u64 = 3;
const TOP_K: u64 = 2;
const ROWS: u64 = TOKENS * TOP_K;
const HIDDEN: u64 = 8;
const FFN: u64 = 16;
const EXPERTS: u64 = 4;

/// A layer, and a routing of its tokens.
pub(crate) struct Layer {
    x: Buffer,
    router: Buffer,
    /// Gate, up and down.
    weights: [Buffer; 3],
    pairs: Buffer,
    offsets: Buffer,
    pair_weights: Buffer,
    /// What the second product reads.
    middle: Buffer,
    workspace: Buffer,
    /// Of the products and of the whole layer.
    outs: [Buffer; 3],
}

impl Layer {
    pub(crate) fn new(stream: &Stream) -> Result<Layer> {
        let device = stream.device();
        let values = |elements: u64| -> Vec<bf16> {
            (0..elements).map(|i| bf16::from_f32((i * 7 % 13) as f32 * 0.25 - 1.25)).collect()
        };
        let some = |elements: u64| Buffer::from_slice(stream, &values(elements));
        let new = |elements| Buffer::new(device, Dtype::Bf16, elements);
        let of_experts = EXPERTS * FFN * HIDDEN;
        let extents = MoeExtents {
            tokens: TOKENS,
            hidden: HIDDEN,
            ffn_hidden: FFN,
            experts: EXPERTS,
            local_experts: EXPERTS,
            top_k: TOP_K,
            dtype: Dtype::Bf16,
        };
        let kept = moe_workspace_bytes(device.info(), &extents) / 4;
        let mut layer = Layer {
            x: some(TOKENS * HIDDEN)?,
            router: some(EXPERTS * HIDDEN)?,
            weights: [some(of_experts)?, some(of_experts)?, some(of_experts)?],
            pairs: Buffer::from_slice(stream, &[0, 3, 4, 1, 2, 5])?,
            offsets: Buffer::from_slice(stream, &[0, 2, 2, 5, 6])?,
            pair_weights: Buffer::from_slice(stream, &[0.5f32; ROWS as usize])?,
            middle: some(ROWS * FFN)?,
            workspace: Buffer::new(device, Dtype::I32, kept)?,
            outs: [new(ROWS * FFN)?, new(ROWS * HIDDEN)?, new(TOKENS * HIDDEN)?],
        };
        layer.reset(stream)?;
        Ok(layer)
    }

    /// Poison for what is written.
    pub(crate) fn reset(&mut self, stream: &Stream) -> Result<()> {
        self.outs.iter_mut().try_for_each(|out| out.fill_bytes(stream, 0x55))
    }

    /// All that is written, in bits, but for the workspace: it changes if a later launch fails.
    pub(crate) fn outputs(&self, stream: &Stream) -> Result<Vec<u32>> {
        let mut outputs = Vec::new();
        for out in &self.outs {
            let values = out.read::<bf16>(stream)?;
            outputs.extend(values.into_iter().map(|value| u32::from(value.to_bits())));
        }
        Ok(outputs)
    }

    pub(crate) fn up(&mut self, stream: &Stream) -> Result<()> {
        let arguments = GroupedUp {
            x: self.x.tensor(&[TOKENS, HIDDEN])?,
            pairs: self.pairs.tensor(&[ROWS])?,
            top_k: TOP_K as u32,
            offsets: self.offsets.tensor(&[EXPERTS + 1])?,
            weights: gated(&self.weights)?,
            biases: None,
            activation: Activation::Silu,
            out: self.outs[0].tensor_mut(&[ROWS, FFN])?,
        };
        grouped_gemm_up(stream, &arguments)
    }

    pub(crate) fn down(&mut self, stream: &Stream) -> Result<()> {
        let weights = self.pair_weights.tensor(&[TOKENS, TOP_K])?;
        let arguments = GroupedDown {
            x: self.middle.tensor(&[ROWS, FFN])?,
            offsets: self.offsets.tensor(&[EXPERTS + 1])?,
            weight: self.weights[2].tensor(&[EXPERTS, FFN, HIDDEN])?,
            layout: WeightLayout::InOut,
            bias: None,
            pair_weights: Some(PairWeights { weights, pairs: self.pairs.tensor(&[ROWS])? }),
            out: self.outs[1].tensor_mut(&[ROWS, HIDDEN])?,
        };
        grouped_gemm_down(stream, &arguments)
    }

    pub(crate) fn whole(&mut self, stream: &Stream) -> Result<()> {
        let kept = self.workspace.elements();
        let arguments = Moe {
            x: self.x.tensor(&[TOKENS, HIDDEN])?,
            route: Route::Router {
                weight: self.router.tensor(&[EXPERTS, HIDDEN])?,
                round_logits: true,
                scoring: Scoring::Softmax { p_norm: Some(1.0) },
                groups: None,
                scale: 1.0,
                top_k: TOP_K as u32,
            },
            experts: Experts {
                local: 0..EXPERTS as u32,
                weights: gated(&self.weights)?,
                biases: None,
                activation: Activation::Silu,
                down: self.weights[2].tensor(&[EXPERTS, FFN, HIDDEN])?,
                down_layout: WeightLayout::InOut,
                down_bias: None,
            },
            out: CombineOut::Sum(self.outs[2].tensor_mut(&[TOKENS, HIDDEN])?),
            workspace: self.workspace.tensor_mut(&[kept])?,
        };
        moe(stream, &arguments)
    }
}

fn gated(weights: &[Buffer; 3]) -> Result<Gated<'_>> {
    let shape = [EXPERTS, FFN, HIDDEN];
    let [gate, up, _] = weights;
    Ok(Gated::Separate { gate: gate.tensor(&shape)?, up: up.tensor(&shape)? })
}
