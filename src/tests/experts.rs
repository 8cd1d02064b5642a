//! The reference model with its experts on a device: every layer of the golden checkpoints and of the built-in model, in
//! bf16, each result held to the derived bound.

use super::dense::continued;
use super::grouped_gemm::able;
use super::moe::{Case, Operands, plain};
use super::moe_check::check_on;
use expertile::Stream;
use expertile_reference::arithmetic::Experts;
use expertile_reference::checkpoint::{Checkpoint, builtin_model};
use expertile_reference::error::Result;
use expertile_reference::{Arithmetic, Plain, Rounding, Tensor};
use half::bf16;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

const BF16: Plain = Plain { rounding: Rounding::Bf16 };

/// The plain operators with activations of bf16, but for the experts.
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

    fn linear(&self, x: &[f64], weight: &Tensor, in_features: usize) -> Result<Vec<f64>> {
        BF16.linear(x, weight, in_features)
    }

    fn experts(&self, input: &Experts<'_, f64>) -> Result<Vec<f64>> {
        let (case, operands) = operands(input);
        let got = check_on(self.stream, &case, &operands, &mut BTreeMap::new());
        let got = got.unwrap_or_else(|error| panic!("{error}"));
        self.layers.fetch_add(1, Ordering::Relaxed);
        Ok(got.into_iter().map(f64::from).collect())
    }
}

/// What a layer works on, rounded to bf16.
fn operands(input: &Experts<'_, f64>) -> (Case, Operands<bf16>) {
    let Experts { hidden, ffn_hidden, top_k, dispatch, .. } = *input;
    let experts = dispatch.offsets.len() - 1;
    let expert_of = |row: &Option<usize>| {
        let of_row = |row| dispatch.offsets[1..].partition_point(|&end| end <= row) as i32;
        row.map_or(-1, of_row)
    };
    let rounded = |of: &[f64]| -> Vec<bf16> { of.iter().map(|&x| bf16::from_f64(x)).collect() };
    let weight =
        |of: &Tensor| -> Vec<bf16> { of.to_f32().iter().map(|&x| bf16::from_f32(x)).collect() };
    let down = weight(input.w2);
    // As [experts, hidden, ffn_hidden].
    let turned = |at: usize| {
        let (expert, rest) = (at / (hidden * ffn_hidden), at % (hidden * ffn_hidden));
        down[(expert * ffn_hidden + rest % ffn_hidden) * hidden + rest / ffn_hidden]
    };
    let tokens = input.h.len() / hidden;
    let case = Case {
        hidden_8: hidden / 8,
        ffn_8: ffn_hidden / 8,
        given: true,
        residual: 1,
        ..plain(tokens, experts, top_k)
    };
    let operands = Operands {
        x: rounded(input.h),
        router: vec![bf16::ZERO; experts * hidden],
        ids: dispatch.rows.iter().map(expert_of).collect(),
        weights: input.weights.iter().map(|&weight| weight as f32).collect(),
        gate: weight(input.w1),
        up: weight(input.v1),
        down: (0..down.len()).map(turned).collect(),
        biases: [ffn_hidden, ffn_hidden, hidden].map(|len| vec![bf16::ZERO; experts * len]),
        residual: rounded(input.residual),
    };
    (case, operands)
}

#[test]
fn the_reference_models_experts_run_on_devices() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("reference/tests/golden");
    let folders = ["dbrx-shape", "tiny-top2", "pnorm2", "no-renorm"].map(|name| golden.join(name));
    for folder in folders.into_iter().chain([builtin_model()]) {
        let checkpoint = Checkpoint::open(&folder).unwrap();
        let (config, weights) = (checkpoint.config(), checkpoint.load(&mut |_, _| {}).unwrap());
        let wanted = continued(config, &weights, BF16, 40);
        for device in able() {
            let stream = device.stream().unwrap();
            let layers = AtomicUsize::new(0);
            let found =
                continued(config, &weights, OnDevice { stream: &stream, layers: &layers }, 40);
            assert_eq!(layers.into_inner(), 2 * config.layers, "{device}: {}", folder.display());
            // Of the built-in model, which was trained, the choice is clear.
            assert!(
                folder != builtin_model() || found == wanted,
                "{device}: {found:?}, {wanted:?}"
            );
        }
    }
}
