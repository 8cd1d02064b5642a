//! The whole model on this machine's CPU, beside the ceilings measured in the same run.

mod data;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use data::{uniform, weight};
use expertile_reference::checkpoint::{Checkpoint, Tokenizer, builtin_model};
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

fn bench(c: &mut Criterion) {
    let folder = builtin_model();
    let checkpoint = Checkpoint::open(&folder).expect("the built-in model opens");
    let weights = checkpoint.load(&mut |_, _| {}).expect("the built-in model loads");
    let config = checkpoint.config().clone();
    let tokenizer = Tokenizer::open(&folder, config.vocab).expect("its tokenizer opens");
    let text = std::fs::read_to_string(folder.join("valid.txt")).expect("its text is there");
    let text = tokenizer.encode(&text).expect("its text has tokens");
    let nano = Dbrx::new(config, weights, Fast).expect("its weights match");
    // The prompt of peers/transformers_cpu.py.
    throughput(c, "nano", &nano, &[&[0], &text[..254]].concat());

    // Criterion measures when it is given `--bench`; else it runs everything once, as a test.
    if std::env::args().any(|argument| argument == "--bench") {
        let config = synthetic();
        let synthetic = model(&config);
        let ids = prompt(&config, 512);
        throughput(c, "synthetic-500m", &synthetic, &ids);
        shares(&config, &synthetic, &ids);
    }
}

/// Token ids that are all over the vocabulary.
fn prompt(config: &Config, tokens: usize) -> Vec<u32> {
    (0..tokens).map(|token| (token * 37 % config.vocab) as u32).collect()
}

/// Tokens per second of a prompt, and of one token at a time after it.
fn throughput<A: Arithmetic>(c: &mut Criterion, name: &str, model: &Dbrx<A>, ids: &[u32]) {
    let (config, tokens) = (model.config(), ids.len());
    let mut group = c.benchmark_group("dbrx");
    group.sample_size(10);
    group.throughput(Throughput::Elements(tokens as u64));
    let mut cache = KvCache::contiguous(config, 1, tokens + 1).expect("it fits");
    group.bench_function(BenchmarkId::new("prefill", format!("{name}, {tokens} tokens")), |b| {
        b.iter(|| {
            cache.truncate(0);
            model.forward(ids, &[tokens], &mut cache, LogitRows::Last, None)
        });
    });
    cache.truncate(0);
    model.forward(ids, &[tokens], &mut cache, LogitRows::Last, None).expect("the cache has room");
    group.throughput(Throughput::Elements(1));
    group.bench_function(BenchmarkId::new("decode", format!("{name}, after {tokens}")), |b| {
        b.iter(|| {
            cache.truncate(tokens);
            model.forward(&ids[..1], &[1], &mut cache, LogitRows::Last, None)
        });
    });
}

/// Prints which share of the machine the model reaches: of the `gemm` crate's rate on a large
/// product in prefill, of the rate of reading memory in decode. The four are timed in turn, so that
/// all meet the same neighbours, and the best of each counts.
fn shares(config: &Config, model: &Dbrx<Fast>, ids: &[u32]) {
    let tokens = ids.len();
    let mut cache = KvCache::contiguous(config, 1, tokens + 1).expect("it fits");
    let size = 1536;
    let (a, b) = (uniform(0, size * size, 1.0), uniform(1, size * size, 1.0));
    let mut product = vec![0.0f32; size * size];
    let words: Vec<u64> = (0..1u64 << 27).collect();

    let [mut prefill, mut decode, mut gemm, mut read] = [f64::INFINITY; 4];
    for _ in 0..10 {
        prefill = prefill.min(seconds(|| {
            cache.truncate(0);
            let output = model.forward(ids, &[tokens], &mut cache, LogitRows::Last, None);
            black_box(output).expect("the cache has room");
        }));
        for _ in 0..5 {
            decode = decode.min(seconds(|| {
                cache.truncate(tokens);
                let output = model.forward(&ids[..1], &[1], &mut cache, LogitRows::Last, None);
                black_box(output).expect("the cache has room");
            }));
        }
        gemm = gemm.min(seconds(|| multiply(&a, &b, &mut product, size)));
        read = read.min(seconds(|| read_all(&words)));
    }

    let lm_head = config.vocab * config.hidden;
    let attention = 4 * tokens * (tokens + 1) / 2 * config.hidden * config.layers;
    let flops = 2 * (tokens * active_weights(config) + lm_head) + attention;
    let (rate, peak) = (flops as f64 / prefill / 1e9, 2e-9 * (size as f64).powi(3) / gemm);
    let share = 100.0 * rate / peak;
    println!("dbrx prefill: {rate:.1} GFLOP/s, {share:.0} % of gemm's {peak:.1} GFLOP/s");

    let bytes = 2 * (active_weights(config) + lm_head)
        + 8 * tokens * config.layers * config.kv_heads * config.head_dim();
    let (rate, peak) = (bytes as f64 / decode / 1e9, 8e-9 * words.len() as f64 / read);
    let share = 100.0 * rate / peak;
    println!("dbrx decode: {rate:.1} GB/s, {share:.0} % of the {peak:.1} GB/s that can be read");
}

fn seconds(run: impl FnOnce()) -> f64 {
    let start = Instant::now();
    run();
    start.elapsed().as_secs_f64()
}

/// `out = a b` by the `gemm` crate on all threads, all of them `size` x `size`.
fn multiply(a: &[f32], b: &[f32], out: &mut [f32], size: usize) {
    assert!([a.len(), b.len(), out.len()] == [size * size; 3], "not {size} x {size}");
    let step = size as isize;
    // SAFETY: all three are size x size and row-major; `out` is borrowed exclusively; the call is
    // synchronous.
    unsafe {
        gemm::gemm(
            size,
            size,
            size,
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
}

/// Reads every word once, on all threads.
fn read_all(words: &[u64]) {
    let xor = words.par_chunks(1 << 16).map(|words| pulp::Arch::new().dispatch(Xor(words)));
    black_box(xor.reduce(|| 0, |a, b| a ^ b));
}

struct Xor<'a>(&'a [u64]);

impl pulp::WithSimd for Xor<'_> {
    type Output = u64;

    #[inline(always)]
    fn with_simd<S: pulp::Simd>(self, _: S) -> u64 {
        let mut lanes = [0; 16];
        for words in self.0.chunks_exact(16) {
            lanes.iter_mut().zip(words).for_each(|(lane, word)| *lane ^= word);
        }
        lanes.iter().fold(0, |a, b| a ^ b)
    }
}

criterion_group!(dbrx, bench);
criterion_main!(dbrx);
