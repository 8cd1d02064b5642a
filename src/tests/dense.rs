//! The reference model with its dense layers on a device: Wqkv, out_proj, the router's layer and lm_head of the built-in
//! model, in bf16, each result held to the plain operator's.

use super::harness::{close, report};
use super::linear::{able, accumulated, rounded};
use expertile::{Buffer, Dtype, Linear, LinearOut, Stream, WeightLayout, linear};
use expertile_reference::arithmetic::Experts;
use expertile_reference::checkpoint::{Checkpoint, builtin_model, sampling::greedy};
use expertile_reference::dbrx::LogitRows;
use expertile_reference::error::Result;
use expertile_reference::kv_cache::KvCache;
use expertile_reference::linear::linear as reference;
use expertile_reference::{Arithmetic, Config, Dbrx, Plain, Rounding, Tensor, Weights};
use half::bf16;
use std::sync::atomic::{AtomicUsize, Ordering};

const BF16: Plain = Plain { rounding: Rounding::Bf16 };

/// The plain operators with activations of bf16, but for the dense layers.
struct OnDevice<'a> {
    stream: &'a Stream,
    layers: &'a AtomicUsize,
}

impl Arithmetic for OnDevice<'_> {
    type Value = f64;

    fn store(&self, x: Vec<f64>) -> Vec<f64> {
        BF16.store(x)
    }

    fn rounding(&self) -> Rounding {
        BF16.rounding()
    }

    fn experts(&self, input: &Experts<'_, f64>) -> Result<Vec<f64>> {
        BF16.experts(input)
    }

    fn linear(&self, x: &[f64], weight: &Tensor, in_features: usize) -> Result<Vec<f64>> {
        let got = multiply(self.stream, x, weight, in_features);
        let got = got.unwrap_or_else(|error| panic!("{error}"));
        let weight = weight.to_f32();
        let out_features = weight.len() / in_features;
        let x32: Vec<f32> = x.iter().map(|&x| x as f32).collect();
        let device = self.stream.device().info();
        let name = format!("dense bf16 {}", device.images);
        for (i, (&got, want)) in got.iter().zip(reference(x, &weight, in_features)?).enumerate() {
            let (token, feature) = (i / out_features, i % out_features);
            let row = |of: &[f32], row: usize| of[row * in_features..][..in_features].to_vec();
            let (x, weight) = (row(&x32, token), row(&weight, feature));
            let bound = rounded::<bf16>(want, 0.0, accumulated(&x, &weight, device.platform));
            let place = || format!("out[{token}, {feature}] of [{in_features}, {out_features}]");
            close(&name, got, want, bound, place).unwrap_or_else(|error| panic!("{error}"));
        }
        self.layers.fetch_add(1, Ordering::Relaxed);
        Ok(got.into_iter().map(f64::from).collect())
    }
}

/// A dense layer on the stream's device; activations and weight are exact in bf16.
fn multiply(
    stream: &Stream,
    x: &[f64],
    weight: &Tensor,
    in_features: usize,
) -> expertile::Result<Vec<bf16>> {
    let of_x: Vec<bf16> = x.iter().map(|&x| bf16::from_f64(x)).collect();
    let of_weight: Vec<bf16> = weight.to_f32().iter().map(|&x| bf16::from_f32(x)).collect();
    let [rows, columns] = [of_weight.len() / in_features, in_features].map(|extent| extent as u64);
    let tokens = (x.len() / in_features) as u64;
    let (x, weight) = (Buffer::from_slice(stream, &of_x)?, Buffer::from_slice(stream, &of_weight)?);
    let mut out = Buffer::new(stream.device(), Dtype::Bf16, tokens * rows)?;
    let arguments = Linear {
        x: x.tensor(&[tokens, columns])?,
        weight: weight.tensor(&[rows, columns])?,
        layout: WeightLayout::OutIn,
        clamp: None,
        out: LinearOut::Product(out.tensor_mut(&[tokens, rows])?),
    };
    linear(stream, &arguments)?;
    out.read(stream)
}

/// The most probable token after a prompt, and after it again: many tokens at once, then one.
pub(super) fn continued<A: Arithmetic>(
    config: &Config,
    weights: &Weights,
    arithmetic: A,
    tokens: u32,
) -> [u32; 2] {
    let model = Dbrx::new(config.clone(), weights.clone(), arithmetic).unwrap();
    let ids: Vec<u32> = (0..tokens).map(|i| i * 977 % config.vocab as u32).collect();
    let mut cache = KvCache::contiguous(config, 1, ids.len() + 1).unwrap();
    let mut next = |ids: &[u32]| {
        let output = model.forward(ids, &[ids.len()], &mut cache, LogitRows::Last, None).unwrap();
        greedy(&output.logits).unwrap()
    };
    let first = next(&ids);
    [first, next(&[first])]
}

#[test]
fn the_reference_models_dense_layers_run_on_devices() {
    let checkpoint = Checkpoint::open(builtin_model()).unwrap();
    let (config, weights) = (checkpoint.config(), checkpoint.load(&mut |_, _| {}).unwrap());
    let mut wanted = None;
    for device in able() {
        let stream = device.stream().unwrap();
        let layers = AtomicUsize::new(0);
        let found = continued(config, &weights, OnDevice { stream: &stream, layers: &layers }, 70);
        // Three of each block and lm_head, twice.
        assert_eq!(layers.into_inner(), 2 * (3 * config.layers + 1), "{device}");
        let wanted = wanted.get_or_insert_with(|| continued(config, &weights, BF16, 70));
        assert_eq!(found, *wanted, "{device}");
    }
    report("dense");
}
