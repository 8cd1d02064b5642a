use crate::data::{Random, cases, refusal};
use expertile_reference::dbrx::{LogitRows, Trace};
use expertile_reference::kv_cache::KvCache;
use expertile_reference::{Config, Dbrx, Elements, Plain, Rounding, Tensor, Weights};
use half::{bf16, f16};
use proptest::prelude::*;

/// The smallest model in which no two extents are alike.
pub(crate) fn config() -> Config {
    Config {
        hidden: 24,
        layers: 2,
        q_heads: 6,
        kv_heads: 1,
        ffn_hidden: 10,
        experts: 5,
        top_k: 2,
        p_norm: Some(1.0),
        clip_qkv: Some(0.5),
        rope_theta: 10_000.0,
        max_seq_len: 64,
        vocab: 17,
    }
}

/// Random weights, each in one of the stored types.
fn weights(config: &Config, seed: u64) -> Weights {
    let mut random = Random::new(seed);
    let weights = Weights::assemble(config, |name, shape| {
        let values = random.values(shape.iter().product());
        let norm = name.contains("norm_1") || name.contains("norm_2") || name.contains("norm_f");
        let values = values.into_iter().map(|x| if norm { 1.0 + x / 4.0 } else { x / 2.0 });
        let elements = match random.below(3) {
            0 => Elements::F32(values.collect()),
            1 => Elements::F16(values.map(f16::from_f32).collect()),
            _ => Elements::Bf16(values.map(bf16::from_f32).collect()),
        };
        Tensor::new(shape, elements).ok_or(())
    });
    weights.unwrap()
}

fn model(seed: u64, rounding: Rounding) -> Dbrx<Plain> {
    Dbrx::new(config(), weights(&config(), seed), Plain { rounding }).unwrap()
}

fn tokens(random: &mut Random, count: usize) -> Vec<u32> {
    (0..count).map(|_| random.below(17) as u32).collect()
}

/// The logits of one sequence in one pass, `[tokens, vocab]`.
fn alone(model: &Dbrx<Plain>, ids: &[u32]) -> Vec<f64> {
    let mut cache = KvCache::contiguous(model.config(), 1, ids.len()).unwrap();
    model.forward(ids, &[ids.len()], &mut cache, LogitRows::All, None).unwrap().logits
}

proptest! {
    #![proptest_config(cases())]

    /// A batch in pages, fed in chunks of any length, gives each sequence's logits of one pass
    /// alone, bit for bit. The cache starts as NaN, so none of it was read too early.
    #[test]
    fn batches_and_chunks_change_nothing(
        lens in proptest::collection::vec(0..9usize, 0..4), page_size in 1..12usize,
        most in 1..5usize, seed in any::<u64>(),
    ) {
        for rounding in [Rounding::F64, Rounding::Bf16] {
            let model = model(seed, rounding);
            let mut random = Random::new(!seed);
            let sequences: Vec<Vec<u32>> = lens.iter().map(|&len| tokens(&mut random, len)).collect();
            let want: Vec<Vec<f64>> = sequences.iter().map(|ids| alone(&model, ids)).collect();
            let mut cache = KvCache::paged(model.config(), lens.len(), 9, page_size).unwrap();
            while cache.lens() != lens {
                let held = cache.lens().to_vec();
                let new: Vec<usize> = held
                    .iter()
                    .zip(&lens)
                    .map(|(held, len)| (len - held).min(random.below(most + 1)))
                    .collect();
                let ids: Vec<u32> = (0..lens.len())
                    .flat_map(|s| sequences[s][held[s]..held[s] + new[s]].to_vec())
                    .collect();
                let mut last = cache.clone();
                let mut trace = Trace::default();
                let all = model
                    .forward(&ids, &new, &mut cache, LogitRows::All, Some(&mut trace))
                    .unwrap();
                let last = model.forward(&ids, &new, &mut last, LogitRows::Last, None).unwrap();

                let rows = |x: &[Vec<f64>], s: usize, from, to| x[s][from * 17..to * 17].to_vec();
                let expected: Vec<f64> = (0..lens.len())
                    .flat_map(|s| rows(&want, s, held[s], held[s] + new[s]))
                    .collect();
                assert_eq!(all.logits, expected);
                assert!(all.logits.iter().all(|x| x.is_finite()));
                let expected: Vec<f64> = (0..lens.len())
                    .filter(|&s| new[s] > 0)
                    .flat_map(|s| rows(&want, s, held[s] + new[s] - 1, held[s] + new[s]))
                    .collect();
                assert_eq!(last.logits, expected);

                for counts in &all.expert_counts {
                    assert_eq!(counts.iter().sum::<u32>() as usize, 2 * ids.len());
                }
                assert_eq!((all.expert_counts.len(), trace.hidden_states.len()), (2, 3));
                assert!(trace.hidden_states.iter().all(|x| x.len() == 24 * ids.len()));
                assert!(trace.router_logits.iter().all(|x| x.len() == 5 * ids.len()));
                let counts = trace.routing.iter().map(|routing| routing.counts.clone());
                assert_eq!(counts.collect::<Vec<_>>(), all.expert_counts);
                // A weight near 1 rounds to 1 in bf16.
                let most = if rounding == Rounding::F64 { 1f64.next_down() } else { 1.0 };
                let mut weights = trace.routing.iter().flat_map(|routing| &routing.weights);
                assert!(weights.all(|x| *x <= most));
            }
        }
    }

    /// What a refused call leaves behind does not show: the next call is as if it never was.
    #[test]
    fn refused_calls_leave_the_cache_usable(held in 0..5usize, new in 1..5usize, seed in any::<u64>()) {
        let model = model(seed, Rounding::F64);
        let ids = tokens(&mut Random::new(!seed), held + new);
        let mut cache = KvCache::contiguous(model.config(), 1, 10).unwrap();
        model.forward(&ids[..held], &[held], &mut cache, LogitRows::Last, None).unwrap();
        let mut refused = |ids: &[u32], lens: &[usize]| {
            let mut trace = Trace::default();
            refusal(model.forward(ids, lens, &mut cache, LogitRows::All, Some(&mut trace)))
        };
        assert_eq!(refused(&[16, 17], &[2]), "embedding: ids[1] is 17, expected less than vocab = 17");
        assert_eq!(refused(&[1, 2], &[1]), "dbrx: ids has shape [2], expected [1]");
        assert_eq!(refused(&[1], &[1, 0]), "dbrx: lens has shape [2], expected [1]");
        let long = vec![0; 11 - held];
        assert_eq!(
            refused(&long, &[11 - held]),
            "dbrx: the length of sequence 0 is 11, expected at most the cache's capacity of 10"
        );
        refused(&[], &[usize::MAX]);
        refused(&[], &[usize::MAX, 1]);
        assert_eq!(cache.lens(), [held]);

        let found = model.forward(&ids[held..], &[new], &mut cache, LogitRows::All, None).unwrap();
        assert_eq!(found.logits, alone(&model, &ids)[held * 17..]);
    }

    #[test]
    fn a_truncated_cache_goes_on_from_there(len in 1..9usize, seed in any::<u64>()) {
        let model = model(seed, Rounding::F64);
        let mut random = Random::new(!seed);
        let (ids, other) = (tokens(&mut random, len), tokens(&mut random, 3));
        let kept = random.below(len + 1);
        let mut cache = KvCache::paged(model.config(), 1, 12, 4).unwrap();
        model.forward(&ids, &[len], &mut cache, LogitRows::Last, None).unwrap();
        cache.truncate(kept);
        let found = model.forward(&other, &[3], &mut cache, LogitRows::All, None).unwrap();
        let whole = [&ids[..kept], &other].concat();
        assert_eq!(found.logits, alone(&model, &whole)[kept * 17..]);
    }
}

#[test]
fn refusals_of_new() {
    let plain = Plain { rounding: Rounding::F32 };
    let new = |config: Config, weights: Weights| refusal(Dbrx::new(config, weights, plain));
    let good = weights(&config(), 1);
    let taller = Config { layers: 3, ..config() };
    assert_eq!(
        new(taller.clone(), good.clone()),
        "dbrx: weights.blocks.len() is 2, expected n_layers = 3"
    );
    let mut bad = good.clone();
    bad.blocks[1].w2 = Tensor::new([24, 50], Elements::F32(vec![0.0; 1200])).unwrap();
    assert_eq!(
        new(config(), bad),
        "dbrx: transformer.blocks.1.ffn.experts.mlp.w2 is [24, 50], expected [50, 24]"
    );

    let model = Dbrx::new(config(), good, plain).unwrap();
    let mut cache = KvCache::contiguous(&taller, 1, 4).unwrap();
    assert_eq!(
        refusal(model.forward(&[1], &[1], &mut cache, LogitRows::All, None)),
        "dbrx: cache (layers, kv_heads, head_dim) is (3, 1, 4), expected (2, 1, 4), the model's"
    );
    assert_eq!(cache.lens(), [0]);
    let mut cache = KvCache::contiguous(&config(), 0, 4).unwrap();
    let none = model.forward(&[], &[], &mut cache, LogitRows::All, None).unwrap();
    assert_eq!((none.logits, none.expert_counts), (vec![0f64; 0], vec![vec![0; 5]; 2]));
}

#[test]
fn refusals_of_config() {
    type Change = fn(&mut Config);
    let changes: [(Change, &str); 17] = [
        (|c| c.hidden = 0, "d_model is 0, expected at least 1"),
        (|c| c.layers = 0, "n_layers is 0, expected at least 1"),
        (|c| c.q_heads = 0, "n_heads is 0, expected at least 1"),
        (|c| c.kv_heads = 0, "attn_config.kv_n_heads is 0, expected at least 1"),
        (|c| c.ffn_hidden = 0, "ffn_config.ffn_hidden_size is 0, expected at least 1"),
        (|c| c.experts = 0, "ffn_config.moe_num_experts is 0, expected at least 1"),
        (|c| c.top_k = 0, "ffn_config.moe_top_k is 0, expected at least 1"),
        (|c| c.max_seq_len = 0, "max_seq_len is 0, expected at least 1"),
        (|c| c.vocab = 1 << 31, "vocab_size is 2147483648, expected at most 2147483647"),
        (|c| c.q_heads = 5, "n_heads is 5, expected a divisor of d_model = 24"),
        (
            |c| c.q_heads = 8,
            "d_model / n_heads is 3, expected even, as RoPE pairs halves (n_heads = 8)",
        ),
        (|c| c.kv_heads = 4, "attn_config.kv_n_heads is 4, expected a divisor of n_heads = 6"),
        (|c| c.top_k = 6, "ffn_config.moe_top_k is 6, expected at most moe_num_experts = 5"),
        (
            |c| c.p_norm = Some(0.0),
            "ffn_config.moe_normalize_expert_weights is 0.0, expected above 0, or null",
        ),
        (|c| c.clip_qkv = Some(-1.0), "attn_config.clip_qkv is -1.0, expected at least 0, or null"),
        (|c| c.rope_theta = 0.0, "attn_config.rope_theta is 0.0, expected finite and above 0"),
        (|c| c.rope_theta = f64::NAN, "attn_config.rope_theta is NaN, expected finite and above 0"),
    ];
    config().validate().unwrap();
    for (change, text) in changes {
        let mut bad = config();
        change(&mut bad);
        assert_eq!(refusal(bad.validate()), format!("config: {text}"));
    }
}
