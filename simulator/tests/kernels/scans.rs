//! `scan.cu`.

use super::bench::{Source, random, seeds};

static SCAN: Source = Source::new("scan.cu");

fn exclusive(values: &[u32]) -> Vec<u32> {
    let mut sum = 0;
    let next = |value: &u32| {
        sum += value;
        sum - value
    };
    values.iter().map(next).collect()
}

#[test]
fn blelloch_with_padding() {
    for seed in 0..seeds() {
        let Some(mut bench) = SCAN.load() else { return };
        let data = random(seed, 256, 1000);
        let out = bench.room::<u32>(256);
        bench.buffer(&data);
        bench.argument(256i32).clean("blelloch_scan", 1, 128, (256 + 8) * 4, seed);
        assert_eq!(bench.read::<u32>(out, 256), exclusive(&data));
    }
}

#[test]
fn decoupled_look_back() {
    for seed in 0..seeds() {
        let Some(mut bench) = SCAN.load() else { return };
        let data = random(seed, 7 * 128, 1000);
        bench.buffer(&data);
        let out = bench.room::<u32>(data.len());
        bench.buffer(&[0u64; 7]);
        bench.buffer(&[0u32]);
        bench.clean("lookback_scan", 7, 128, 0, seed);
        assert_eq!(bench.read::<u32>(out, data.len()), exclusive(&data));
    }
}

#[test]
fn cub_block_scan() {
    for seed in 0..seeds() {
        for kernel in ["cub_warp_scan", "cub_raking_scan"] {
            let Some(mut bench) = SCAN.load() else { return };
            let data = random(seed, 1024, 1000);
            let at = bench.buffer(&data);
            bench.clean(kernel, 2, 128, 0, seed);
            let want: Vec<u32> = data.chunks(512).flat_map(exclusive).collect();
            assert_eq!(bench.read::<u32>(at, 1024), want, "{kernel}");
        }
    }
}
