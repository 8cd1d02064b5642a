//! The numbers that define one DBRX model.

use crate::error::{Error, Result};

/// The shape of a model and the constants of its operators.
///
/// Field by field this is `DbrxConfig` of the published model (databricks/dbrx,
/// `configuration_dbrx.py`), under this project's names; each page gives the published one.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// `d_model`: the width of the residual stream.
    pub hidden: usize,
    /// `n_layers`: the number of blocks.
    pub layers: usize,
    /// `n_heads`: the query heads; `head_dim` is `hidden / q_heads`.
    pub q_heads: usize,
    /// `attn_config.kv_n_heads`: the key and value heads, a divisor of `q_heads`.
    pub kv_heads: usize,
    /// `ffn_config.ffn_hidden_size`: the inner width of one expert.
    pub ffn_hidden: usize,
    /// `ffn_config.moe_num_experts`.
    pub experts: usize,
    /// `ffn_config.moe_top_k`: the experts that each token visits.
    pub top_k: usize,
    /// `ffn_config.moe_normalize_expert_weights`: the p of the norm that the chosen weights are
    /// divided by. `None` leaves them as the softmax gave them.
    pub p_norm: Option<f64>,
    /// `attn_config.clip_qkv`: queries, keys and values are clamped to plus or minus this.
    pub clip_qkv: Option<f64>,
    /// `attn_config.rope_theta`: the base of the rotary frequencies.
    pub rope_theta: f64,
    /// `max_seq_len`: the longest sequence.
    pub max_seq_len: usize,
    /// `vocab_size`.
    pub vocab: usize,
}

/// The epsilon of every layer norm: PyTorch's default, which the published model leaves alone.
pub const LAYER_NORM_EPSILON: f64 = 1e-5;

impl Config {
    /// The elements of one head.
    pub fn head_dim(&self) -> usize {
        self.hidden / self.q_heads
    }

    /// The rows of the fused query, key and value projection: `(q_heads + 2 kv_heads) * head_dim`.
    pub fn qkv_features(&self) -> usize {
        (self.q_heads + 2 * self.kv_heads) * self.head_dim()
    }

    /// Checks that the numbers describe a model.
    ///
    /// # Errors
    ///
    /// `Value` names the first field that is zero, not finite, or at odds with another.
    pub fn validate(&self) -> Result<()> {
        let refuse = |field: &str, found: String, expected: &str| {
            Err(Error::value("config", field, found, expected))
        };
        for (field, extent) in [
            ("d_model", self.hidden),
            ("n_layers", self.layers),
            ("n_heads", self.q_heads),
            ("attn_config.kv_n_heads", self.kv_heads),
            ("ffn_config.ffn_hidden_size", self.ffn_hidden),
            ("ffn_config.moe_num_experts", self.experts),
            ("ffn_config.moe_top_k", self.top_k),
            ("max_seq_len", self.max_seq_len),
            ("vocab_size", self.vocab),
        ] {
            if extent == 0 {
                return refuse(field, "0".into(), "at least 1");
            }
            if i32::try_from(extent).is_err() {
                return refuse(field, extent.to_string(), "at most 2147483647");
            }
        }
        if !self.hidden.is_multiple_of(self.q_heads) {
            let expected = format!("a divisor of d_model = {}", self.hidden);
            return refuse("n_heads", self.q_heads.to_string(), &expected);
        }
        if !self.head_dim().is_multiple_of(2) {
            let expected = format!("even, as RoPE pairs halves (n_heads = {})", self.q_heads);
            return refuse("d_model / n_heads", self.head_dim().to_string(), &expected);
        }
        if !self.q_heads.is_multiple_of(self.kv_heads) {
            let expected = format!("a divisor of n_heads = {}", self.q_heads);
            return refuse("attn_config.kv_n_heads", self.kv_heads.to_string(), &expected);
        }
        if self.top_k > self.experts {
            let expected = format!("at most moe_num_experts = {}", self.experts);
            return refuse("ffn_config.moe_top_k", self.top_k.to_string(), &expected);
        }
        if self.p_norm.is_some_and(|p| p.is_nan() || p <= 0.0) {
            let found = format!("{:?}", self.p_norm.unwrap_or_default());
            return refuse("ffn_config.moe_normalize_expert_weights", found, "above 0, or null");
        }
        if self.clip_qkv.is_some_and(|clip| clip.is_nan() || clip < 0.0) {
            let found = format!("{:?}", self.clip_qkv.unwrap_or_default());
            return refuse("attn_config.clip_qkv", found, "at least 0, or null");
        }
        if !self.rope_theta.is_finite() || self.rope_theta <= 0.0 {
            let found = format!("{:?}", self.rope_theta);
            return refuse("attn_config.rope_theta", found, "finite and above 0");
        }
        Ok(())
    }
}
