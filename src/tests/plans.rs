//! The planners, which are plain functions: every row and head once, and every extent within what a
//! launch may have.

use crate::dtype::Dtype;
use crate::{norm, rope};
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
        tokens in 1u32.., eighths in 1u32..2049, multiprocessors in 1u32..200,
    ) {
        let hidden = 8 * eighths;
        let geometry = norm::plan(tokens, hidden, multiprocessors);
        let [x, y, z] = geometry.grid;
        prop_assert!((1..=tokens).contains(&x) && (y, z) == (1, 1));
        prop_assert!(geometry.threads.is_multiple_of(32) && geometry.threads <= 1024);
        prop_assert!(16 * geometry.threads >= hidden);
        // The order of the sums, which the threads decide, is that of any other batch.
        prop_assert_eq!(geometry.threads, norm::plan(1, hidden, 1).threads);
    }
}

#[test]
fn dbrx_fills_the_machine() {
    // 48 + 2 * 8 heads of 128 on 132 multiprocessors: a whole token is one block's work.
    assert_eq!(rope::plan(Dtype::Bf16, 4096, 64, 128, 132).0.grid, [4096, 1, 1]);
    // One token is spread as far as one pass of a block's threads goes.
    assert_eq!(rope::plan(Dtype::Bf16, 1, 64, 128, 132).0.grid, [1, 2, 1]);
    assert_eq!(norm::plan(4096, 6144, 132).grid, [264, 1, 1]);
    assert_eq!(norm::plan(3, 6144, 132).grid, [3, 1, 1]);
}
