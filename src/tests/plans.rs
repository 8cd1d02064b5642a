//! The planners, which are plain functions: every row, head and pair once, and every extent within what a
//! launch may have.

use crate::dtype::Dtype;
use crate::kernels::ROUTER_LOSS_CHUNK;
use crate::{Platform, combine, dispatch, max_tiles, norm, packet, rope, router, router_loss};
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

    #[test]
    fn every_pair_has_a_lane(
        pairs in prop_oneof![0u32..6000, 0u32..1 << 31], multiprocessors in 0u32..400,
        (platform, wave_threads) in
            prop_oneof![Just((Platform::Cuda, 32u32)), Just((Platform::Hip, 64))],
    ) {
        let plan = dispatch::plan(pairs, multiprocessors, wave_threads);
        prop_assert!(plan.threads.is_multiple_of(wave_threads));
        prop_assert!((64..=1024).contains(&plan.threads));
        // Warps have whole warps of pairs, and their ends fit 32 bits.
        prop_assert!(plan.chunk_pairs.is_multiple_of(plan.threads));
        let end = u64::from(plan.chunks) * u64::from(plan.chunk_pairs);
        prop_assert!(plan.chunks >= 1 && end < 1 << 32);
        prop_assert!(end >= u64::from(pairs));
        prop_assert!(plan.chunks == 1 || end - u64::from(plan.chunk_pairs) < u64::from(pairs));
        prop_assert!(plan.chunks <= (2 * multiprocessors).max(1));
        prop_assert!(u64::from(plan.chunks) < platform.grid_end(plan.threads));
        // Each expert of a block that adds up histograms has a thread.
        prop_assert!(plan.chunks == 1 || plan.threads == 1024);
        prop_assert_eq!(plan.histograms() > 0, plan.chunks > 1);
        prop_assert!(pairs > 4096 || plan.chunks == 1);
    }

    #[test]
    fn no_routing_has_more_tiles(
        counts in prop::collection::vec(0u64..200, 1..20), shift in 4u32..9,
    ) {
        let tile_rows = 1u64 << shift;
        let tiles: u64 = counts.iter().map(|count| count.div_ceil(tile_rows)).sum();
        let most = max_tiles(counts.iter().sum(), counts.len() as u64, tile_rows as u32);
        prop_assert!(tiles <= most, "{} of {}", tiles, most);
    }

    #[test]
    fn every_vector_of_a_row_has_a_thread(
        rows in 1u32.., eighths in 1u32..8193, multiprocessors in 1u32..400, wide in any::<bool>(),
        (platform, packets) in
            (prop_oneof![Just(Platform::Cuda), Just(Platform::Hip)], any::<bool>()),
    ) {
        let vectors = eighths * if wide { 2 } else { 1 };
        let planned = if packets { packet::plan } else { combine::plan };
        let (geometry, lane_bits) = planned(rows, vectors, multiprocessors);
        let ([x, y, z], lanes) = (geometry.grid, 1u32 << lane_bits);
        prop_assert_eq!((geometry.threads, z), (256, 1));
        prop_assert!(y <= 65_535 && (1..=16 * multiprocessors).contains(&x));
        prop_assert!(u64::from(x) < platform.grid_end(geometry.threads));
        // 16 lanes have the slots of a token between them.
        prop_assert!((16..=256).contains(&lanes));
        prop_assert!(u64::from(x - 1) * u64::from(256 / lanes) < u64::from(rows), "an idle block");
        prop_assert!(packets || y * lanes >= vectors && (y - 1) * lanes < vectors);
        prop_assert!(!packets || y == 1);
    }

    #[test]
    fn every_token_and_expert_has_a_block(
        tokens in prop_oneof![1u32..5000, 1u32..1 << 31], experts in 1u32..=256,
        multiprocessors in 0u32..400, store in any::<bool>(),
        platform in prop_oneof![Just(Platform::Cuda), Just(Platform::Hip)],
    ) {
        let (products, select) = router::plan(tokens, experts, store, multiprocessors);
        prop_assert_eq!(select.is_some(), store && experts > 64);
        let at_once = router::tokens_per_block(tokens, multiprocessors);
        // The last of the tiles begins before the others end, and not before the first token.
        prop_assert!(at_once == 1 || at_once == 4 && tokens >= 4);
        let ([x, y, z], threads) = (products.grid, products.threads);
        prop_assert_eq!((threads, z), (256, 1));
        prop_assert!(y <= 65_535 && u64::from(x) < platform.grid_end(threads));
        prop_assert!((1..=tokens.div_ceil(at_once)).contains(&x), "an idle block, or none");
        // A block of one launch goes through all experts, of two through 16.
        prop_assert_eq!(y, if select.is_some() { experts.div_ceil(16) } else { 1 });
        prop_assert!(u64::from(tokens) + u64::from(x * at_once) < 1 << 32);
        let given = router::plan_select(tokens, multiprocessors);
        prop_assert!(select.is_none_or(|select| select == given));
        let ([x, y, z], threads) = (given.grid, given.threads);
        prop_assert_eq!((threads, y, z), (256, 1, 1));
        prop_assert!((1..=tokens.div_ceil(8)).contains(&x), "an idle block, or none");
        prop_assert!(u64::from(x) < platform.grid_end(threads));
        prop_assert!(u64::from(tokens) + u64::from(8 * x) < 1 << 32);
    }

    #[test]
    fn every_token_is_of_one_chunk(
        tokens in prop_oneof![0u32..1000, 0u32..1 << 31],
        platform in prop_oneof![Just(Platform::Cuda), Just(Platform::Hip)],
    ) {
        let [chunks, reduce] = router_loss::plan(tokens);
        let ([blocks, y, z], threads) = (chunks.grid, chunks.threads);
        prop_assert_eq!((threads, y, z), (256, 1, 1));
        let end = u64::from(blocks) * u64::from(ROUTER_LOSS_CHUNK);
        prop_assert!(end >= u64::from(tokens) && end - u64::from(tokens) < ROUTER_LOSS_CHUNK.into());
        prop_assert!(u64::from(blocks) < platform.grid_end(threads));
        prop_assert_eq!((reduce.grid, reduce.threads), ([1, 1, 1], 256));
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
    // 4 pairs a token: up to 1024 tokens are one block; 8 KiB of ids are not.
    let of = |tokens: u32| {
        let plan = dispatch::plan(4 * tokens, 132, 32);
        (plan.threads, plan.chunks, plan.chunk_pairs)
    };
    assert_eq!((of(1), of(64), of(1024)), ((64, 1, 64), (256, 1, 256), (1024, 1, 4096)));
    assert_eq!((of(1025), of(32_768)), ((1024, 5, 1024), (1024, 128, 1024)));
    assert_eq!(of(1 << 20), (1024, 256, 16_384));
    // A row of 768 vectors is three blocks, or six rounds of 128 threads.
    assert_eq!(combine::plan(64, 768, 132).0.grid, [64, 3, 1]);
    assert_eq!(combine::plan(4096, 768, 132).0.grid, [2112, 3, 1]);
    assert_eq!(packet::plan(256, 768, 132).0.grid, [128, 1, 1]);
    // Few tokens have a block each; many share the weight by fours, and two blocks a multiprocessor.
    assert_eq!(router::plan(64, 16, true, 132).0.grid, [64, 1, 1]);
    assert_eq!(router::plan(4096, 16, true, 132).0.grid, [264, 1, 1]);
    assert_eq!(router::plan(1, 256, true, 132).0.grid, [1, 16, 1]);
    assert_eq!(router::plan(1, 256, false, 132).0.grid, [1, 1, 1]);
    assert_eq!(router_loss::plan(4096)[0].grid, [16, 1, 1]);
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
