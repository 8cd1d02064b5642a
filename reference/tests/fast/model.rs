use crate::data::{Random, cases};
use crate::{everywhere, tensor};
use expertile_reference::dbrx::LogitRows;
use expertile_reference::kv_cache::KvCache;
use expertile_reference::{Config, Dbrx, Fast, Tensor, Weights};
use proptest::prelude::*;
use proptest::sample::select;

fn model(seed: u64) -> Dbrx<Fast> {
    let config = Config {
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
    };
    let mut random = Random::new(seed);
    let weights = Weights::assemble(&config, |_, shape| {
        let values: Vec<f32> =
            random.values(shape.iter().product()).into_iter().map(|x| x / 2.0).collect();
        Tensor::new(shape, tensor(&values, random.below(3)).elements().clone()).ok_or(())
    });
    Dbrx::new(config, weights.unwrap(), Fast).unwrap()
}

/// The logits of all tokens, fed in two chunks.
fn logits(model: &Dbrx<Fast>, ids: &[u32], lens: &[usize], page_size: usize) -> Vec<f32> {
    let mut cache = KvCache::paged(model.config(), lens.len(), 40, page_size).unwrap();
    let mut out = Vec::new();
    for (ids, lens) in [(ids, lens), (&vec![3; lens.len()], &vec![1; lens.len()])] {
        out.extend(model.forward(ids, lens, &mut cache, LogitRows::All, None).unwrap().logits);
    }
    out
}

proptest! {
    #![proptest_config(cases())]

    /// The same bits on any number of threads, and finite ones: the cache starts as NaN, so only
    /// what was written was read.
    #[test]
    fn deterministic_and_finite(
        lens in proptest::collection::vec(select(vec![1usize, 2, 17, 33]), 1..4),
        page_size in select(vec![1usize, 3, 16]), seed in any::<u64>(),
    ) {
        let mut random = Random::new(!seed);
        let ids: Vec<u32> = (0..lens.iter().sum()).map(|_| random.below(17) as u32).collect();
        let model = model(seed);
        let found = everywhere(|| logits(&model, &ids, &lens, page_size));
        assert_eq!(found.len(), (ids.len() + lens.len()) * 17);
        assert!(found.iter().all(|x| x.is_finite()));
    }
}
