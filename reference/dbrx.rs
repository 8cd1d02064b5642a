//! The DBRX model, assembled from the operators of this crate.

use crate::arithmetic::{Arithmetic, Experts};
use crate::attention::KvIndex;
use crate::config::{Config, LAYER_NORM_EPSILON};
use crate::dispatch::dispatch;
use crate::embedding::embedding;
use crate::error::{Error, Result, check_shape};
use crate::kv_cache::{Append, KvCache};
use crate::rope::{append, inv_freq};
use crate::router::Routing;
use crate::tensor::{Elements, Tensor};
use crate::weights::{Block, Weights};

/// A model: its numbers, its weights, and the arithmetic that it runs in.
#[derive(Clone, Debug)]
pub struct Dbrx<A> {
    config: Config,
    weights: Weights,
    arithmetic: A,
    inv_freq: Vec<f32>,
}

/// Which rows of logits [`Dbrx::forward`] computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogitRows {
    /// One for every new token.
    All,
    /// One for the last new token of each sequence. A sequence without new tokens has none.
    Last,
}

/// What [`Dbrx::forward`] returns.
#[derive(Clone, Debug)]
pub struct Output<V> {
    /// `[rows, vocab]`, the rows that were asked for.
    pub logits: Vec<V>,
    /// How many new tokens chose each expert of each block, `[layers][experts]`.
    pub expert_counts: Vec<Vec<u32>>,
}

/// The values between the operators, kept when [`Dbrx::forward`] is given one.
#[derive(Clone, Debug, Default)]
pub struct Trace {
    /// The input of each block and, last, the output of the final norm: `[layers + 1]` arrays of
    /// `[tokens, hidden]`.
    pub hidden_states: Vec<Vec<f64>>,
    /// The router's logits, `[layers]` arrays of `[tokens, experts]`.
    pub router_logits: Vec<Vec<f64>>,
    /// The router's choice, `[layers]`.
    pub routing: Vec<Routing>,
}

impl<A: Arithmetic> Dbrx<A> {
    /// A model of these weights.
    ///
    /// # Errors
    ///
    /// `Value` if the config describes no model or a weight's shape does not match it.
    pub fn new(config: Config, weights: Weights, arithmetic: A) -> Result<Dbrx<A>> {
        config.validate()?;
        let layers = weights.blocks.len();
        if layers != config.layers {
            let expected = format!("n_layers = {}", config.layers);
            return Err(Error::value("dbrx", "weights.blocks.len()", layers, expected));
        }
        check_weights(&config, &weights)?;
        let inv_freq = inv_freq(config.rope_theta, config.head_dim());
        Ok(Dbrx { config, weights, arithmetic, inv_freq })
    }

    /// The numbers of this model.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Runs new tokens of a batch of sequences through the model and appends them to the cache.
    ///
    /// Prefill and decode are the same call: sequence s has `lens[s]` new tokens, which follow the
    /// tokens that the cache holds of it. No sequence sees another.
    ///
    /// | argument | dtype | shape           | note                                           |
    /// |----------|-------|-----------------|------------------------------------------------|
    /// | `ids`    | u32   | `[sum of lens]` | the new tokens, the sequences one after another|
    /// | `lens`   | usize | `[sequences]`   | new tokens of each sequence, 0 is fine         |
    /// | `cache`  |       |                 | made for this model and this many sequences    |
    /// | `rows`   |       |                 | which logits to compute                        |
    /// | `trace`  |       |                 | where to keep the values in between            |
    ///
    /// Every operator's result is rounded by the arithmetic, the points of the published code.
    ///
    /// # Errors
    ///
    /// `Value` if a token id is outside the vocabulary or a sequence outgrows the cache, `Shape` if
    /// `ids`, `lens` or `cache` do not match. The cache keeps its lengths then.
    ///
    /// Source: databricks/dbrx `modeling_dbrx.py`, `DbrxForCausalLM.forward`.
    pub fn forward(
        &self,
        ids: &[u32],
        lens: &[usize],
        cache: &mut KvCache<A::Value>,
        rows: LogitRows,
        trace: Option<&mut Trace>,
    ) -> Result<Output<A::Value>> {
        self.arithmetic.run(|| self.pass(ids, lens, cache, rows, trace))
    }

    fn pass(
        &self,
        ids: &[u32],
        lens: &[usize],
        cache: &mut KvCache<A::Value>,
        rows: LogitRows,
        mut trace: Option<&mut Trace>,
    ) -> Result<Output<A::Value>> {
        let (config, arithmetic) = (&self.config, &self.arithmetic);
        let hidden = config.hidden;
        let tokens = lens.iter().fold(0, |sum: usize, &len| sum.saturating_add(len));
        check_shape("dbrx", "ids", ids.len(), &[tokens])?;
        let new = cache.begin(config, lens)?;

        let mut expert_counts = Vec::with_capacity(config.layers);
        let mut stream = arithmetic.store(embed(&self.weights.wte, hidden, ids)?);
        for (layer, block) in self.weights.blocks.iter().enumerate() {
            if let Some(trace) = trace.as_deref_mut() {
                trace.hidden_states.push(to_f64(&stream));
            }
            let attended = self.attend(layer, block, &stream, cache, &new)?;
            let [residual, h] = arithmetic.layer_norm(
                &attended,
                Some(&stream),
                &block.norm_2,
                LAYER_NORM_EPSILON,
            )?;

            let logits = arithmetic.linear(&h, &block.router, hidden)?;
            let (experts, top_k) = (config.experts, config.top_k);
            let routing = arithmetic.router(&logits, experts, top_k, config.p_norm)?;
            let dispatch = dispatch(&routing.ids, top_k, 0..experts)?;
            stream = arithmetic.experts(&Experts {
                h: &h,
                residual: &residual,
                hidden,
                ffn_hidden: config.ffn_hidden,
                top_k,
                dispatch: &dispatch,
                weights: &routing.weights,
                w1: &block.w1,
                v1: &block.v1,
                w2: &block.w2,
            })?;

            expert_counts.push(routing.counts.clone());
            if let Some(trace) = trace.as_deref_mut() {
                trace.router_logits.push(to_f64(&logits));
                trace.routing.push(routing);
            }
        }

        let [_, normalized] =
            arithmetic.layer_norm(&stream, None, &self.weights.norm_f, LAYER_NORM_EPSILON)?;
        if let Some(trace) = trace {
            trace.hidden_states.push(to_f64(&normalized));
        }
        let normalized = match rows {
            LogitRows::All => normalized,
            LogitRows::Last => last_rows(&normalized, hidden, lens),
        };
        let logits = arithmetic.linear(&normalized, &self.weights.lm_head, hidden)?;
        cache.commit(lens);
        Ok(Output { logits, expert_counts })
    }

    /// The first half of a block, without its residual: norm, projection, RoPE, cache, attention,
    /// projection.
    fn attend(
        &self,
        layer: usize,
        block: &Block,
        stream: &[A::Value],
        cache: &mut KvCache<A::Value>,
        new: &Append,
    ) -> Result<Vec<A::Value>> {
        let (config, arithmetic) = (&self.config, &self.arithmetic);
        let [_, h] = arithmetic.layer_norm(stream, None, &block.norm_1, LAYER_NORM_EPSILON)?;
        let qkv = arithmetic.linear(&h, &block.wqkv, config.hidden)?;
        let heads = (config.q_heads, config.kv_heads);
        let [q, k, v] =
            arithmetic.rope(&qkv, &new.positions, &self.inv_freq, heads, config.clip_qkv)?;

        let layout = cache.layout;
        let arrays = &mut cache.arrays[layer];
        append(&k, &new.slot_mapping, &mut arrays.k, &layout)?;
        append(&v, &new.slot_mapping, &mut arrays.v, &layout)?;
        let kv =
            KvIndex::Paged { layout: &layout, block_table: &cache.block_table, lens: &new.kv_lens };
        let scale = 1.0 / (config.head_dim() as f64).sqrt();
        let attended = arithmetic.attention(
            &q,
            &new.cu_q_lens,
            config.q_heads,
            &arrays.k,
            &arrays.v,
            kv,
            scale,
        )?;
        arithmetic.linear(&attended, &block.out_proj, config.hidden)
    }
}

/// [`embedding`] of a table in its stored type.
fn embed(table: &Tensor, hidden: usize, ids: &[u32]) -> Result<Vec<f64>> {
    match table.elements() {
        Elements::F32(table) => embedding(table, hidden, ids),
        Elements::F16(table) => embedding(table, hidden, ids),
        Elements::Bf16(table) => embedding(table, hidden, ids),
    }
}

/// The last row of each sequence that has one.
fn last_rows<V: Copy>(x: &[V], hidden: usize, lens: &[usize]) -> Vec<V> {
    let mut end = 0;
    let mut out = Vec::with_capacity(lens.len() * hidden);
    for &len in lens.iter().filter(|&&len| len > 0) {
        end += len;
        out.extend_from_slice(&x[(end - 1) * hidden..end * hidden]);
    }
    out
}

fn to_f64<V: Copy + Into<f64>>(x: &[V]) -> Vec<f64> {
    x.iter().map(|&x| x.into()).collect()
}

/// Compares every weight with the shape that the config asks for.
fn check_weights(config: &Config, weights: &Weights) -> Result<()> {
    let mut given = weights.iter();
    Weights::<()>::assemble(config, |name, shape| {
        let found = given.next().map(Tensor::shape).unwrap_or_default();
        if found == shape {
            return Ok(());
        }
        Err(Error::value("dbrx", name, format!("{found:?}"), format!("{shape:?}")))
    })?;
    Ok(())
}
