//! The planners, which are plain functions: every row and head once, and every extent within what a
//! launch may have.

use crate::dtype::Dtype;
use crate::{Platform, norm, rope};
use proptest::prelude::*;

proptest! {
    #[test]
    fn every_head_belongs_to_one_block(
        tokens in prop_oneof![1u32..64, 1u32..1 << 31],
        heads in prop_oneof![1u32..200, 1u32..1 << 24], eighths in 2u32..33,
        multiprocessors in 1u32..200, wide in any::<bool>(),
    ) {
        let dtype = if wide { Dtype::F32 } else { Dtype::Bf16 };
        let (geometry, heads_per_block) = rope::plan(dtype, tokens, heads, 8 * eighths, multiprocessors);
        let [x, y, z] = geometry.grid;
        prop_assert_eq!((x, z), (tokens, 1));
        prop_assert!(y <= 65_535);
        prop_assert!(u64::from(y) * u64::from(heads_per_block) >= u64::from(heads));
        prop_assert!(u64::from(y - 1) * u64::from(heads_per_block) < u64::from(heads));
        prop_assert_eq!(geometry.threads, 256);
    }

    #[test]
    fn every_row_has_a_thread_for_each_element(
        tokens in 1u32.., eighths in 1u32..2049, multiprocessors in 1u32..400,
        (platform, wave_threads) in
            prop_oneof![Just((Platform::Cuda, 32u32)), Just((Platform::Hip, 64))],
    ) {
        let hidden = 8 * eighths;
        let geometry = norm::plan(tokens, hidden, multiprocessors, wave_threads);
        let [x, y, z] = geometry.grid;
        prop_assert!((1..=tokens).contains(&x) && (y, z) == (1, 1));
        prop_assert!(u64::from(x) < platform.grid_end(geometry.threads));
        prop_assert!(geometry.threads.is_multiple_of(wave_threads) && geometry.threads <= 1024);
        prop_assert!(16 * geometry.threads >= hidden);
        prop_assert!(16 * (geometry.threads - wave_threads) < hidden, "a wave has nothing to do");
        // The order of the sums, which the threads decide, is that of any other batch.
        prop_assert_eq!(geometry.threads, norm::plan(1, hidden, 1, wave_threads).threads);
    }
}

#[test]
fn dbrx_fills_the_machine() {
    // 48 + 2 * 8 heads of 128 on 132 multiprocessors: a whole token is one block's work.
    assert_eq!(rope::plan(Dtype::Bf16, 4096, 64, 128, 132).0.grid, [4096, 1, 1]);
    // One token is spread as far as one pass of a block's threads goes.
    assert_eq!(rope::plan(Dtype::Bf16, 1, 64, 128, 132).0.grid, [1, 2, 1]);
    assert_eq!(norm::plan(4096, 6144, 132, 32).grid, [264, 1, 1]);
    assert_eq!(norm::plan(3, 6144, 132, 32).grid, [3, 1, 1]);
    // 304 compute units with waves of 64 threads.
    assert_eq!(rope::plan(Dtype::Bf16, 1, 64, 128, 304).0.grid, [1, 2, 1]);
    assert_eq!(norm::plan(4096, 6144, 304, 64).grid, [608, 1, 1]);
    assert_eq!(norm::plan(4096, 8, 304, 64).threads, 64);
}

#[test]
fn grids_end_where_a_launch_would_not_take_them() {
    assert_eq!(Platform::Cuda.grid_end(256), 1 << 31);
    for threads in [1u32, 64, 192, 256, 1024] {
        let end = Platform::Hip.grid_end(threads);
        let threads = u64::from(threads);
        assert!((end - 1) * threads < 1 << 32 && end * threads >= 1 << 32, "{threads}");
    }
}
