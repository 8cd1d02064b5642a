//! The bf16 mode against Hugging Face transformers in bfloat16: the rounding points of one block.
//!
//! Sums are f64 here and f32 there, in another order, so that now and then a sum on the boundary of
//! two bf16 values falls to the other side. A missing rounding point changes far more: leaving out
//! any of those inside the operators, where the model does not round the same value again anyway,
//! changes 14 % of the values or more, and so does adding in slot order.

use expertile_reference::arithmetic::{Arithmetic, Experts};
use expertile_reference::checkpoint::TensorFile;
use expertile_reference::checkpoint::{Checkpoint, builtin_model};
use expertile_reference::dbrx::{LogitRows, Trace};
use expertile_reference::dispatch::dispatch;
use expertile_reference::kv_cache::KvCache;
use expertile_reference::{Config, Dbrx, Plain, Rounding, Weights};
use std::path::Path;

const BF16: Plain = Plain { rounding: Rounding::Bf16 };

fn model() -> (Config, Weights) {
    let checkpoint = Checkpoint::open(builtin_model()).unwrap();
    (checkpoint.config().clone(), checkpoint.load(&mut |_, _| {}).unwrap())
}

fn golden() -> TensorFile {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden-bf16");
    TensorFile::open(&folder.join("nano-layer-0.safetensors")).unwrap()
}

fn values(golden: &TensorFile, name: &str) -> Vec<f64> {
    let tensor = golden.tensor(name, &mut |_| {}).unwrap();
    tensor.to_f32().iter().map(|&x| f64::from(x)).collect()
}

fn integers(golden: &TensorFile, name: &str) -> Vec<i64> {
    golden.tensor_i64(name).unwrap().1
}

/// At least 99.8 % of the values equal, and none further off than two bf16 steps.
#[track_caller]
fn assert_same_rounding(found: &[f64], expected: &[f64]) {
    assert_eq!(found.len(), expected.len());
    let differing = found.iter().zip(expected).filter(|(a, b)| a != b).count();
    let share = differing as f64 / found.len() as f64;
    assert!(share <= 0.002, "{differing} of {} values differ", found.len());
    for (a, b) in found.iter().zip(expected) {
        assert!((a - b).abs() <= 2f64.powi(-6) * b.abs().max(1.0 / 64.0), "{a}, not {b}");
    }
}

#[test]
fn attention_and_router_logits_round_as_the_published_code() {
    let golden = golden();
    let ids: Vec<u32> =
        integers(&golden, "input_ids").iter().map(|&id| u32::try_from(id).unwrap()).collect();
    let (config, weights) = model();
    let mut cache = KvCache::contiguous(&config, 1, ids.len()).unwrap();
    let mut trace = Trace::default();
    let model = Dbrx::new(config, weights, BF16).unwrap();
    model.forward(&ids, &[ids.len()], &mut cache, LogitRows::Last, Some(&mut trace)).unwrap();
    assert_same_rounding(&trace.router_logits[0], &values(&golden, "router_logits.0"));
}

#[test]
fn experts_round_as_the_published_code() {
    let golden = golden();
    let (config, weights) = model();
    let ids: Vec<i32> =
        integers(&golden, "router_index.0").iter().map(|&id| i32::try_from(id).unwrap()).collect();
    let [h, residual, routing, expected] =
        ["norm_2.0", "residual.0", "router_weights.0", "block_output.0"]
            .map(|name| values(&golden, name));
    let block = &weights.blocks[0];
    let found = BF16
        .experts(&Experts {
            h: &h,
            residual: &residual,
            hidden: config.hidden,
            ffn_hidden: config.ffn_hidden,
            top_k: config.top_k,
            dispatch: &dispatch(&ids, config.top_k, 0..config.experts).unwrap(),
            weights: &routing,
            w1: &block.w1,
            v1: &block.v1,
            w2: &block.w2,
        })
        .unwrap();
    assert_same_rounding(&found, &expected);
}
