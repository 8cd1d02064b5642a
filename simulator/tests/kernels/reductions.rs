//! `reduce.cu`. Floating-point inputs are small integers, so that sums are exact in any order.

use super::bench::{Source, random, seeds};

static REDUCE: Source = Source::new("reduce.cu");

#[test]
fn tree_in_shared_memory() {
    for seed in 0..seeds() {
        let Some(mut bench) = REDUCE.load() else { return };
        let data: Vec<i32> = random(seed, 700, 2000).iter().map(|&v| v as i32 - 1000).collect();
        bench.buffer(&data);
        let out = bench.room::<i32>(3);
        bench.argument(700i32).clean("tree_sum", 3, 256, 0, seed);
        let want: Vec<i32> = data.chunks(256).map(|part| part.iter().sum()).collect();
        assert_eq!(bench.read::<i32>(out, 3), want);
    }
}

#[test]
fn shuffles_and_an_atomic() {
    for seed in 0..seeds() {
        let Some(mut bench) = REDUCE.load() else { return };
        let data: Vec<f32> = random(seed, 1000, 64).iter().map(|&v| v as f32).collect();
        bench.buffer(&data);
        let out = bench.buffer(&[0f32]);
        bench.argument(1000i32).clean("shuffle_sum", 3, 128, 0, seed);
        assert_eq!(bench.read::<f32>(out, 1), [data.iter().sum::<f32>()]);
    }
}

#[test]
fn the_last_block_adds_up() {
    for seed in 0..seeds() {
        let Some(mut bench) = REDUCE.load() else { return };
        let data: Vec<f32> = random(seed, 1500, 64).iter().map(|&v| v as f32).collect();
        bench.buffer(&data);
        bench.argument(1500u32);
        let out = bench.room::<f32>(4);
        // Twice: the kernel leaves its counter as it found it.
        for round in 0..2 {
            bench.clean("last_block_sum", 4, 128, 0, seed + round);
            assert_eq!(bench.read::<f32>(out, 1), [data.iter().sum::<f32>()]);
        }
    }
}

#[test]
fn cooperative_groups() {
    for seed in 0..seeds() {
        let Some(mut bench) = REDUCE.load() else { return };
        let data: Vec<i32> = random(seed, 900, 2000).iter().map(|&v| v as i32 - 1000).collect();
        bench.buffer(&data);
        let sum = bench.buffer(&[0i32]);
        let most = bench.buffer(&[i32::MIN]);
        bench.argument(900i32).clean("group_sum", 2, 96, 0, seed);
        assert_eq!(bench.read::<i32>(sum, 1), [data.iter().sum::<i32>()]);
        assert_eq!(bench.read::<i32>(most, 1), [*data.iter().max().unwrap()]);
    }
}

#[test]
fn double_precision_dot() {
    for seed in 0..seeds() {
        let Some(mut bench) = REDUCE.load() else { return };
        let [a, b] = [0, 1].map(|half| {
            random(seed + half, 777, 1000).iter().map(|&v| f64::from(v) / 8.0).collect::<Vec<_>>()
        });
        bench.buffer(&a);
        bench.buffer(&b);
        let out = bench.buffer(&[0f64]);
        bench.argument(777i32).clean("double_dot", 3, 128, 0, seed);
        let want: f64 = a.iter().zip(&b).map(|(a, b)| a * b).sum();
        assert_eq!(bench.read::<f64>(out, 1), [want]);
    }
}
