//! The weights of a DBRX model, under the names and in the layout of the published checkpoints.

use crate::config::Config;
use crate::tensor::Tensor;

/// All weights of a model. `T` is what stands for a weight: the tensor itself, or what is known of it.
#[derive(Clone, Debug)]
pub struct Weights<T = Tensor> {
    /// `transformer.wte.weight`, `[vocab, hidden]`.
    pub wte: T,
    /// One entry for each block.
    pub blocks: Vec<Block<T>>,
    /// `transformer.norm_f.weight`, `[hidden]`.
    pub norm_f: T,
    /// `lm_head.weight`, `[vocab, hidden]`.
    pub lm_head: T,
}

/// The weights of one block. None of its layers has a bias.
#[derive(Clone, Debug)]
pub struct Block<T = Tensor> {
    /// `norm_attn_norm.norm_1.weight`, `[hidden]`: before attention.
    pub norm_1: T,
    /// `norm_attn_norm.norm_2.weight`, `[hidden]`: before the experts.
    pub norm_2: T,
    /// `norm_attn_norm.attn.Wqkv.weight`, `[(q_heads + 2 kv_heads) * head_dim, hidden]`: the rows
    /// of all query heads, then of all key heads, then of all value heads.
    pub wqkv: T,
    /// `norm_attn_norm.attn.out_proj.weight`, `[hidden, hidden]`.
    pub out_proj: T,
    /// `ffn.router.layer.weight`, `[experts, hidden]`.
    pub router: T,
    /// `ffn.experts.mlp.w1`, `[experts * ffn_hidden, hidden]`: the gate, which SiLU is applied to.
    pub w1: T,
    /// `ffn.experts.mlp.v1`, `[experts * ffn_hidden, hidden]`: the value that the gate scales.
    pub v1: T,
    /// `ffn.experts.mlp.w2`, `[experts * ffn_hidden, hidden]`: each expert's part is
    /// `[ffn_hidden, hidden]`, input by output, the other way round from w1 and v1.
    pub w2: T,
}

impl<T> Weights<T> {
    /// Assembles a model's weights, asking `tensor` for each by name and shape.
    ///
    /// Every tensor of the model is asked for exactly once, in the order of the forward pass. The
    /// first error ends the assembly.
    pub fn assemble<E>(
        config: &Config,
        mut tensor: impl FnMut(&str, &[usize]) -> Result<T, E>,
    ) -> Result<Weights<T>, E> {
        let hidden = config.hidden;
        let expert_rows = config.experts.saturating_mul(config.ffn_hidden);
        let wte = tensor("transformer.wte.weight", &[config.vocab, hidden])?;
        let mut blocks = Vec::new();
        for layer in 0..config.layers {
            let mut tensor = |name: &str, shape: &[usize]| {
                tensor(&format!("transformer.blocks.{layer}.{name}"), shape)
            };
            blocks.push(Block {
                norm_1: tensor("norm_attn_norm.norm_1.weight", &[hidden])?,
                wqkv: tensor("norm_attn_norm.attn.Wqkv.weight", &[config.qkv_features(), hidden])?,
                out_proj: tensor("norm_attn_norm.attn.out_proj.weight", &[hidden, hidden])?,
                norm_2: tensor("norm_attn_norm.norm_2.weight", &[hidden])?,
                router: tensor("ffn.router.layer.weight", &[config.experts, hidden])?,
                w1: tensor("ffn.experts.mlp.w1", &[expert_rows, hidden])?,
                v1: tensor("ffn.experts.mlp.v1", &[expert_rows, hidden])?,
                w2: tensor("ffn.experts.mlp.w2", &[expert_rows, hidden])?,
            });
        }
        let norm_f = tensor("transformer.norm_f.weight", &[hidden])?;
        let lm_head = tensor("lm_head.weight", &[config.vocab, hidden])?;
        Ok(Weights { wte, blocks, norm_f, lm_head })
    }

    /// Every weight, in the order in which [`Weights::assemble`] asks for them.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        let blocks = self.blocks.iter().flat_map(|block| {
            let Block { norm_1, norm_2, wqkv, out_proj, router, w1, v1, w2 } = block;
            [norm_1, wqkv, out_proj, norm_2, router, w1, v1, w2]
        });
        [&self.wte].into_iter().chain(blocks).chain([&self.norm_f, &self.lm_head])
    }
}
