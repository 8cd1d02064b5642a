//! `various.cu`.

use super::bench::{Source, random, seeds};
use half::{bf16, f16};

static VARIOUS: Source = Source::new("various.cu");

#[test]
fn transpose_through_a_padded_tile() {
    let (width, height) = (50, 70);
    for seed in 0..seeds() {
        let Some(mut bench) = VARIOUS.load() else { return };
        let data: Vec<f32> = (0..width * height).map(|index| index as f32).collect();
        let out = bench.room::<f32>(data.len());
        bench.buffer(&data);
        bench.argument(width as i32).argument(height as i32);
        bench.clean_in("transpose", [2, 3, 1], [32, 8, 1], 0, seed);
        let want: Vec<f32> =
            (0..data.len()).map(|at| data[at % height * width + at / height]).collect();
        assert_eq!(bench.read::<f32>(out, data.len()), want);
    }
}

#[test]
fn padding_avoids_bank_conflicts() {
    let Some(mut bench) = VARIOUS.load() else { return };
    bench.room::<f32>(4096);
    bench.buffer(&[1f32; 4096]);
    bench.argument(64i32).argument(64i32);
    let outcome = bench.launch("transpose", [2, 2, 1], [32, 8, 1], 0, 0);
    assert_eq!(outcome.counters.shared.conflicts, 0);
    assert_eq!(outcome.counters.shared.instructions, 4 * 8 * 4 * 2);
    assert_eq!(outcome.counters.traffic.bytes_read, 4 * 4096);
    assert_eq!(outcome.counters.traffic.sectors_written, 4 * 4096 / 32);
}

#[test]
fn half_precision_pairs() {
    for seed in 0..seeds() {
        let Some(mut bench) = VARIOUS.load() else { return };
        let values = random(seed, 400, 4096);
        let half = |value: u32| f16::from_f32(value as f32 / 64.0 - 32.0).to_bits();
        let (x, y): (Vec<u16>, Vec<u16>) =
            values.chunks(2).map(|pair| (half(pair[0]), half(pair[1]))).unzip();
        let a = [1.5f32, -0.1875].map(f16::from_f32);
        bench.argument(u32::from(a[0].to_bits()) | u32::from(a[1].to_bits()) << 16);
        bench.buffer(&x);
        let out = bench.buffer(&y);
        bench.argument(100i32).clean("half_axpy", 2, 64, 0, seed);
        let want: Vec<u16> = (0..200)
            .map(|i| {
                let [x, y] = [x[i], y[i]].map(|bits| f16::from_bits(bits).to_f64());
                // Multiples of 2^-10 below 128: exact in f32, but more than f16 holds.
                let sum = a[i % 2].to_f64() * x + y;
                assert_eq!(f64::from(sum as f32), sum);
                f16::from_f32(sum as f32).to_bits()
            })
            .collect();
        assert_eq!(bench.read::<u16>(out, 200), want);
    }
}

#[test]
fn bf16_pairs() {
    for seed in 0..seeds() {
        let Some(mut bench) = VARIOUS.load() else { return };
        let x: Vec<u16> = random(seed, 200, 4096)
            .iter()
            .map(|&value| bf16::from_f32(value as f32 / 64.0 - 32.0).to_bits())
            .collect();
        bench.buffer(&x);
        let out = bench.room::<u16>(200);
        bench.argument(100i32).clean("bf16_gate", 2, 64, 0, seed);
        let want: Vec<u16> = x
            .iter()
            .map(|&bits| {
                let x = bf16::from_bits(bits).to_f32();
                let gated = bf16::from_f32(if x > 0.0 { x * 1.5 } else { 0.0 }).to_f32();
                bf16::from_f32(gated.max(x)).to_bits()
            })
            .collect();
        assert_eq!(bench.read::<u16>(out, 200), want);
    }
}

#[test]
fn recursion() {
    for seed in 0..seeds().div_ceil(10) {
        let Some(mut bench) = VARIOUS.load() else { return };
        let out = bench.room::<i32>(64);
        bench.clean("recursion", 1, 64, 0, seed);
        // ackermann(2, n) = 2 n + 3
        let want: Vec<i32> = (0..64).map(|thread| 2 * (thread % 5) + 3).collect();
        assert_eq!(bench.read::<i32>(out, 64), want);
    }
}

fn chosen(window: &[i32]) -> i32 {
    let mut sorted = window.to_vec();
    sorted.sort_unstable();
    let picked = sorted[window[0] as usize & 7];
    match picked & 7 {
        0 => picked.wrapping_mul(picked),
        1 => picked.count_ones() as i32,
        2 => picked.leading_zeros() as i32,
        3 => picked ^ 0x5555,
        4 => picked / 7,
        5 => picked % 9,
        6 => picked.reverse_bits(),
        _ => picked.trailing_zeros() as i32 + 1,
    }
}

#[test]
fn private_arrays_and_a_switch() {
    for seed in 0..seeds() {
        let Some(mut bench) = VARIOUS.load() else { return };
        let data: Vec<i32> =
            random(seed, 512, 200_000).iter().map(|&value| value as i32 - 100_000).collect();
        bench.buffer(&data);
        let out = bench.room::<i32>(64);
        bench.clean("local_switch", 1, 64, 0, seed);
        let want: Vec<i32> = data.chunks(8).map(chosen).collect();
        assert_eq!(bench.read::<i32>(out, 64), want);
    }
}

#[test]
fn lanes_leave_a_loop_one_by_one() {
    for seed in 0..seeds() {
        let Some(mut bench) = VARIOUS.load() else { return };
        let data: Vec<u32> = random(seed, 64, 200).iter().map(|&value| value + 1).collect();
        bench.buffer(&data);
        let (steps, votes) = (bench.room::<u32>(64), bench.room::<u32>(64));
        bench.clean("collatz", 1, 64, 0, seed);
        let want: Vec<u32> = data
            .iter()
            .map(|&start| {
                let step = |n: &u32| Some(if n % 2 == 1 { 3 * n + 1 } else { n / 2 });
                std::iter::successors(Some(start), step).take_while(|&n| n != 1).count() as u32
            })
            .collect();
        assert_eq!(bench.read::<u32>(steps, 64), want);
        let sums: Vec<u32> = want.chunks(32).flat_map(|w| vec![w.iter().sum(); 32]).collect();
        assert_eq!(bench.read::<u32>(votes, 64), sums);
    }
}

#[test]
fn exact_roots_and_quotients() {
    for seed in 0..seeds() {
        let Some(mut bench) = VARIOUS.load() else { return };
        let data: Vec<f64> =
            random(seed, 100, 1 << 30).iter().map(|&value| f64::from(value) / 12345.0).collect();
        bench.buffer(&data);
        let (doubles, singles) = (bench.room::<f64>(100), bench.room::<f32>(100));
        bench.argument(100i32).clean("arithmetic", 2, 64, 0, seed);
        let want: Vec<f64> =
            data.iter().map(|&v| v.sqrt() / (v + 3.0) + v.mul_add(v, -1.0)).collect();
        assert_eq!(bench.read::<f64>(doubles, 100), want);
        let want: Vec<f32> = data.iter().map(|&v| (v as f32).sqrt() / (v as f32 + 3.0)).collect();
        assert_eq!(bench.read::<f32>(singles, 100), want);
    }
}
