//! The whole model on this machine's CPU, beside the ceilings measured in the same run.

use crate::data::{uniform, weight};
use criterion::{BatchSize, BenchmarkId, Criterion, Throughput};
use expertile_reference::dbrx::LogitRows;
use expertile_reference::kv_cache::KvCache;
use expertile_reference::{Arithmetic, Config, Dbrx, Elements, Fast, Tensor, Weights};
use rayon::prelude::*;
use std::convert::Infallible;
use std::hint::black_box;
use std::time::Instant;

/// A DBRX of 502 M parameters, 16 experts choose 4, GQA ratio 6.
fn synthetic() -> Config {
    Config {
        hidden: 1536,
        layers: 5,
        q_heads: 12,
        kv_heads: 2,
        ffn_hidden: 1152,
        experts: 16,
        top_k: 4,
        p_norm: Some(1.0),
        clip_qkv: Some(8.0),
        rope_theta: 5e5,
        max_seq_len: 2048,
        vocab: 16_384,
    }
}

fn model(config: &Config) -> Dbrx<Fast> {
    let mut seed = 0;
    let weights = Weights::assemble(config, |_, shape| {
        seed += 1;
        Ok::<_, Infallible>(match *shape {
            [rows, columns] => weight(seed, [rows, columns]),
            _ => {
                let ones = vec![1.0; shape.iter().product()];
                Tensor::new(shape, Elements::F32(ones)).expect("extents match the elements")
            }
        })
    });
    let Ok(weights) = weights;
    Dbrx::new(config.clone(), weights, Fast).expect("the weights match the config")
}

/// The weights that one token's matrix products read, without `lm_head`.
fn active_weights(config: &Config) -> usize {
    let attention = (config.qkv_features() + config.hidden) * config.hidden;
    let experts = 3 * config.top_k * config.ffn_hidden * config.hidden;
    config.layers * (attention + experts + config.experts * config.hidden)
}

pub fn bench(c: &mut Criterion) {
    let config = synthetic();
    let synthetic = model(&config);
    throughput(c, "synthetic-500m", &synthetic, 512);
    if !std::env::args().any(|argument| argument == "--test") {
        shares(&config, &synthetic);
    }
}

/// Tokens per second of a prompt, and of one token at a time after it.
fn throughput<A: Arithmetic>(c: &mut Criterion, name: &str, model: &Dbrx<A>, tokens: usize) {
    let config = model.config();
    let ids: Vec<u32> = (0..tokens).map(|token| (token * 37 % config.vocab) as u32).collect();
    let empty = KvCache::<A::Value>::contiguous(config, 1, tokens + 1).expect("it fits");
    let mut group = c.benchmark_group("dbrx");
    group.sample_size(10);
    group.throughput(Throughput::Elements(tokens as u64));
    group.bench_function(BenchmarkId::new("prefill", format!("{name}, {tokens} tokens")), |b| {
        b.iter_batched_ref(
            || empty.clone(),
            |cache| model.forward(&ids, &[tokens], cache, LogitRows::Last, None),
            BatchSize::LargeInput,
        );
    });
    let mut cache = empty.clone();
    model.forward(&ids, &[tokens], &mut cache, LogitRows::Last, None).expect("the cache has room");
    group.throughput(Throughput::Elements(1));
    group.bench_function(BenchmarkId::new("decode", format!("{name}, after {tokens}")), |b| {
        b.iter(|| {
            cache.truncate(tokens);
            model.forward(&ids[..1], &[1], &mut cache, LogitRows::Last, None)
        });
    });
}

/// Prints which share of the machine the model reaches: of the `gemm` crate's rate on a large
/// product in prefill, of the rate of reading memory in decode.
fn shares(config: &Config, model: &Dbrx<Fast>) {
    let tokens = 512;
    let ids: Vec<u32> = (0..tokens).map(|token| (token * 37 % config.vocab) as u32).collect();
    let mut cache = KvCache::contiguous(config, 1, tokens + 1).expect("it fits");
    let prefill = seconds(|| {
        cache.truncate(0);
        black_box(model.forward(&ids, &[tokens], &mut cache, LogitRows::Last, None)).is_ok()
    });
    let decode = seconds(|| {
        cache.truncate(tokens);
        black_box(model.forward(&ids[..1], &[1], &mut cache, LogitRows::Last, None)).is_ok()
    });

    let lm_head = config.vocab * config.hidden;
    let attention = 4 * tokens * (tokens + 1) / 2 * config.hidden * config.layers;
    let flops = 2 * (tokens * active_weights(config) + lm_head) + attention;
    let bytes = 2 * (active_weights(config) + lm_head)
        + 8 * tokens * config.layers * config.kv_heads * config.head_dim();
    let (rate, peak) = (flops as f64 / prefill / 1e9, gemm_gflops());
    let share = 100.0 * rate / peak;
    println!("dbrx prefill: {rate:.1} GFLOP/s, {share:.0} % of gemm's {peak:.1} GFLOP/s");
    let (rate, peak) = (bytes as f64 / decode / 1e9, read_gb_per_s());
    let share = 100.0 * rate / peak;
    println!("dbrx decode: {rate:.1} GB/s, {share:.0} % of the {peak:.1} GB/s that can be read");
}

/// The median time of 9 runs after a first one.
fn seconds(mut run: impl FnMut() -> bool) -> f64 {
    assert!(run(), "the timed call succeeds");
    let mut times: Vec<f64> = (0..9)
        .map(|_| {
            let start = Instant::now();
            run();
            start.elapsed().as_secs_f64()
        })
        .collect();
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

/// The rate of the `gemm` crate on all threads, the best of three sizes.
fn gemm_gflops() -> f64 {
    let rate = |n: usize| {
        let (a, b) = (uniform(0, n * n, 1.0), uniform(1, n * n, 1.0));
        let mut out = vec![0.0f32; n * n];
        let time = seconds(|| {
            let step = n as isize;
            // SAFETY: all three are n x n and row-major; `out` is borrowed exclusively; the call
            // is synchronous.
            unsafe {
                gemm::gemm(
                    n,
                    n,
                    n,
                    out.as_mut_ptr(),
                    1,
                    step,
                    false,
                    a.as_ptr(),
                    1,
                    step,
                    b.as_ptr(),
                    1,
                    step,
                    1.0f32,
                    1.0,
                    false,
                    false,
                    false,
                    gemm::Parallelism::Rayon(0),
                );
            }
            black_box(&out);
            true
        });
        2.0 * (n as f64).powi(3) / time / 1e9
    };
    [512, 1024, 2048].map(rate).into_iter().fold(0.0, f64::max)
}

/// The rate at which all threads together read 1 GB.
fn read_gb_per_s() -> f64 {
    let words: Vec<u64> = (0..1u64 << 27).collect();
    let time = seconds(|| {
        let sum: u64 = words
            .par_chunks(1 << 16)
            .map(|words| {
                pulp::Arch::new().dispatch(
                    #[inline(always)]
                    || words.iter().fold(0u64, |sum, &word| sum ^ word),
                )
            })
            .reduce(|| 0, |a, b| a ^ b);
        black_box(sum);
        true
    });
    (words.len() * 8) as f64 / time / 1e9
}
