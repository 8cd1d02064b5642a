//! `sort.cu`.

use super::bench::{Source, random, seeds};

static SORT: Source = Source::new("sort.cu");

#[test]
fn bitonic() {
    for seed in 0..seeds() {
        let Some(mut bench) = SORT.load() else { return };
        let mut data: Vec<i32> = random(seed, 512, 300).iter().map(|&v| v as i32 - 150).collect();
        let at = bench.buffer(&data);
        bench.clean("bitonic_sort", 1, 256, 0, seed);
        data.sort_unstable();
        assert_eq!(bench.read::<i32>(at, 512), data);
    }
}

#[test]
fn cub_block_radix_sort() {
    // A launch is long: a tenth of the schedules.
    for seed in 0..seeds().div_ceil(10) {
        let Some(mut bench) = SORT.load() else { return };
        let keys = random(seed, 512, 1 << 31);
        let keys: Vec<u32> = keys.iter().map(|&key| key & 0x8FFF_00FF).collect();
        let values: Vec<i32> = (0..512).collect();
        let (keys_at, values_at) = (bench.buffer(&keys), bench.buffer(&values));
        bench.clean("cub_sort", 1, 128, 0, seed);
        let mut order: Vec<usize> = (0..512).collect();
        order.sort_by_key(|&index| keys[index]);
        let want: Vec<u32> = order.iter().map(|&index| keys[index]).collect();
        assert_eq!(bench.read::<u32>(keys_at, 512), want);
        let want: Vec<i32> = order.iter().map(|&index| index as i32).collect();
        assert_eq!(bench.read::<i32>(values_at, 512), want);
    }
}

#[test]
fn histogram_with_shared_atomics() {
    for seed in 0..seeds() {
        let Some(mut bench) = SORT.load() else { return };
        let data: Vec<u8> = random(seed, 3000, 17).iter().map(|&v| (v * v) as u8).collect();
        bench.buffer(&data);
        let bins = bench.buffer(&[0u32; 256]);
        bench.argument(3000i32).clean("histogram", 2, 128, 0, seed);
        let mut want = [0; 256];
        data.iter().for_each(|&value| want[usize::from(value)] += 1);
        assert_eq!(bench.read::<u32>(bins, 256), want);
    }
}

#[test]
fn lanes_with_equal_keys_elect_one() {
    for seed in 0..seeds() {
        let Some(mut bench) = SORT.load() else { return };
        let keys = random(seed, 300, 5);
        bench.buffer(&keys);
        let bins = bench.buffer(&[0u32; 5]);
        let ranks = bench.room::<u32>(300);
        bench.argument(300i32).clean("match_histogram", 3, 128, 0, seed);
        let ranks = bench.read::<u32>(ranks, 300);
        for (key, count) in bench.read::<u32>(bins, 5).into_iter().enumerate() {
            // The ranks of a key are 0, 1, 2, ... in some order.
            let mut of_key: Vec<u32> =
                (0..300).filter(|&i| keys[i] as usize == key).map(|i| ranks[i]).collect();
            of_key.sort_unstable();
            assert_eq!(of_key, (0..count).collect::<Vec<_>>(), "key {key}");
        }
    }
}
