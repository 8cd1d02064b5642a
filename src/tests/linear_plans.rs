//! Plans of `linear`: every tile once, everything within the driver's limits.

use crate::driver::{DeviceInfo, Platform};
use crate::kernels::LINEAR_ROWS_MAX_TOKENS;
use crate::linear_plan::{Extents, plan};
use proptest::prelude::*;

pub(crate) fn device(images: &'static str, multiprocessors: u32) -> DeviceInfo {
    let platform = if images.starts_with("gfx") { Platform::Hip } else { Platform::Cuda };
    DeviceInfo {
        platform,
        ordinal: 0,
        name: images.into(),
        architecture: images.into(),
        images,
        multiprocessors,
        wave_threads: if platform == Platform::Cuda { 32 } else { 64 },
        memory_bytes: 1 << 36,
        l2_bytes: 1 << 25,
        driver_version: 0,
    }
}

pub(crate) fn devices() -> impl Strategy<Value = DeviceInfo> {
    let images = prop_oneof![
        Just("sm_80"),
        Just("compute_80"),
        Just("sm_90a"),
        Just("gfx90a"),
        Just("gfx942"),
        Just("gfx950")
    ];
    (images, prop_oneof![Just(132u32), Just(104), Just(304), Just(256), 1..400u32])
        .prop_map(|(images, multiprocessors)| device(images, multiprocessors))
}

/// Up to 2^31 in each extent, so that tokens by features pass 2^40, and sums of an extent and a tile 2^31.
fn extents() -> impl Strategy<Value = Extents> {
    let tokens = prop_oneof![1..70u32, 1..5000u32, 1..1u32 << 31];
    let features = || {
        prop_oneof![1..20u32, 1..4000u32, 1..1u32 << 28]
            .prop_map(|eighths| (8 * u64::from(eighths)).min((1 << 31) - 8) as u32)
    };
    (tokens, features(), features(), any::<bool>()).prop_map(
        |(tokens, in_features, out_features, is_nn)| Extents {
            tokens,
            in_features,
            out_features,
            is_nn,
        },
    )
}

proptest! {
    #[test]
    fn every_tile_belongs_to_one_block(extents in extents(), device in devices()) {
        let plan = plan(extents, &device).expect("these devices have kernels");
        let [x, y, z] = plan.geometry.grid;
        let tiles = plan.tiles(extents);
        prop_assert!(x >= 1 && (y, z) == (1, 1));
        prop_assert!(x.is_multiple_of(plan.geometry.cluster_blocks));
        prop_assert!(plan.panel >= 1 && plan.xcds >= 1);
        match plan.boxes {
            // A block has one tile; what passes the grid's end is refused before.
            None => prop_assert_eq!(u64::from(x), tiles.min(u32::MAX.into())),
            Some(boxes) => {
                let clusters = x / plan.geometry.cluster_blocks;
                prop_assert!(u64::from(x) < device.platform.grid_end(plan.geometry.threads));
                prop_assert!(u64::from(clusters) <= tiles);
                prop_assert!(x <= device.multiprocessors.max(plan.geometry.cluster_blocks));
                // The driver takes no larger boxes, and a tile is whole boxes.
                prop_assert!(boxes.x <= 256 && (1..=256).contains(&boxes.weight));
                prop_assert_eq!(plan.tile_tokens % boxes.x, 0);
                prop_assert!(extents.is_nn || plan.tile_features.is_multiple_of(boxes.weight));
                prop_assert!(plan.geometry.shared_bytes <= 227 << 10);
            }
        }
        if extents.tokens <= LINEAR_ROWS_MAX_TOKENS {
            prop_assert!(plan.tile_tokens >= extents.tokens, "all tokens are one tile");
            prop_assert_eq!(u64::from(extents.out_features.div_ceil(plan.tile_features)), tiles);
        }
        // The last row and column of tiles begin within the matrix, and end where 32 bits do not.
        let end = |extent: u32, tile: u32| u64::from(extent.div_ceil(tile)) * u64::from(tile);
        let cluster_tokens = plan.tile_tokens * plan.geometry.cluster_blocks;
        prop_assert!(end(extents.tokens, cluster_tokens) < 1 << 32);
        prop_assert!(end(extents.out_features, plan.tile_features) < 1 << 32);
    }

    /// Few tokens keep the multiprocessors busy: the busiest has little more than its share.
    #[test]
    fn the_weight_is_shared_evenly(
        tokens in 1..=64u32, eighths in 16..20_000u32, multiprocessors in 1..200u32,
    ) {
        let out_features = 8 * eighths;
        let extents = Extents { tokens, in_features: 4096, out_features, is_nn: false };
        let device = device("sm_90a", multiprocessors);
        let plan = plan(extents, &device).expect("this device has kernels");
        let rounds = out_features.div_ceil(plan.tile_features).div_ceil(multiprocessors);
        let share = out_features.div_ceil(multiprocessors);
        prop_assert!(rounds * plan.tile_features <= share + share / 2 + 16);
    }

    /// Blocks of sm_80 for few tokens: whole warps of 16 features, no more shared memory than was reserved, and no
    /// other size with which the busiest multiprocessor has fewer.
    #[test]
    fn blocks_for_few_tokens_fit_the_multiprocessors(
        tokens in 1..=64u32, eighths in 1..20_000u32, is_nn in any::<bool>(),
        multiprocessors in 0..200u32,
    ) {
        let extents = Extents { tokens, in_features: 4096, out_features: 8 * eighths, is_nn };
        let plan = plan(extents, &device("sm_80", multiprocessors)).expect("it has kernels");
        let (warps, tokens) = (plan.geometry.threads / 32, tokens.next_multiple_of(8));
        prop_assert!((1..=8).contains(&warps) && (!is_nn || warps.is_power_of_two()));
        prop_assert_eq!((plan.geometry.threads % 32, plan.tile_features), (0, 16 * warps));
        prop_assert!(plan.geometry.shared_bytes <= plan.source.shared_bytes);
        // Four stages of 64 k; then 20 floats for each token and warp.
        let features = if warps > 4 { 128 } else { 64 };
        prop_assert_eq!(plan.geometry.shared_bytes, 4 * 128 * (features + tokens));
        prop_assert!(plan.geometry.shared_bytes >= 80 * tokens * warps);
        let rounds = |warps: u32| {
            extents.out_features.div_ceil(16 * warps).div_ceil(multiprocessors.max(1))
        };
        let read = |warps: u32| u64::from(rounds(warps)) * u64::from(32 * warps + tokens);
        let others = (1..=8u32).filter(|warps| !is_nn || warps.is_power_of_two());
        prop_assert!(others.map(read).all(|other| read(warps) <= other));
    }

    #[test]
    #[cfg(feature = "probes")]
    fn the_order_has_every_tile_once(
        rows in 1..60u32, columns in 1..60u32, panel in 1..20u32, tile in 1..300u32,
    ) {
        use expertile_kernels_cuda::host_linear_tile;
        let extents = [rows * tile, columns * tile];
        let (count, _) = host_linear_tile(extents, [tile; 2], panel, 0);
        prop_assert_eq!(count, u64::from(rows * columns));
        let mut seen = vec![false; (rows * columns) as usize];
        for number in 0..count {
            let (_, [row, column]) = host_linear_tile(extents, [tile; 2], panel, number);
            prop_assert!(row < rows && column < columns);
            let place = &mut seen[(row * columns + column) as usize];
            prop_assert!(!std::mem::replace(place, true), "tile {row}, {column} twice");
        }
        // A panel is done before the next begins.
        let first_of = |number| host_linear_tile(extents, [tile; 2], panel, number).1[0] / panel;
        prop_assert!((1..count).all(|number| first_of(number - 1) <= first_of(number)));
    }

    /// 2^40 elements and more: the tiles of the largest matrices, by numbers anywhere.
    #[test]
    #[cfg(feature = "probes")]
    fn large_matrices_have_no_other_order(
        extents in extents(), device in devices(), part in 0.0..1.0f64,
    ) {
        use expertile_kernels_cuda::host_linear_tile;
        let plan = plan(extents, &device).expect("these devices have kernels");
        let matrix = [extents.tokens, extents.out_features];
        let tile = [plan.tile_tokens, plan.tile_features];
        let (count, _) = host_linear_tile(matrix, tile, plan.panel, 0);
        prop_assert_eq!(count, plan.tiles(extents));
        let number = ((count - 1) as f64 * part) as u64;
        for number in [0, number, count - 1] {
            let (_, [row, column]) = host_linear_tile(matrix, tile, plan.panel, number);
            prop_assert!(u64::from(row) * u64::from(tile[0]) < extents.tokens.into());
            prop_assert!(u64::from(column) * u64::from(tile[1]) < extents.out_features.into());
            // The number that this tile has, in 128 bits.
            let rows = extents.tokens.div_ceil(tile[0]);
            let first = row / plan.panel * plan.panel;
            let panel_rows = plan.panel.min(rows - first);
            let columns = u128::from(extents.out_features.div_ceil(tile[1]));
            let before = u128::from(first) * columns;
            let own = u128::from(column) * u128::from(panel_rows) + u128::from(row - first);
            prop_assert_eq!(before + own, u128::from(number));
        }
    }
}

#[test]
fn dbrx_fills_an_a100() {
    let of = |tokens, out_features, is_nn| {
        let extents = Extents { tokens, in_features: 6144, out_features, is_nn };
        let plan = plan(extents, &device("sm_80", 108)).expect("it has kernels");
        (plan.geometry.grid[0], plan.geometry.threads)
    };
    // Wqkv, out_proj, lm_head.
    assert_eq!([of(1, 8192, false), of(1, 6144, false)], [(103, 160), (96, 128)]);
    assert_eq!([of(1, 8192, true), of(64, 100_352, false)], [(512, 32), (784, 256)]);
    assert_eq!([of(65, 8192, false), of(4096, 8192, false)], [(64, 128), (2048, 128)]);
}

/// Every die of an AMD device gets neighbours, whatever part of it is used as a device.
#[test]
fn amds_workgroups_go_round_the_dies() {
    let of = |images, multiprocessors, tokens| {
        let extents = Extents { tokens, in_features: 6144, out_features: 8192, is_nn: false };
        plan(extents, &device(images, multiprocessors)).expect("it has kernels")
    };
    let dies = |images, multiprocessors| of(images, multiprocessors, 4096).xcds;
    // MI300X, MI300A, a die; MI355X, half of it; MI210, MI250X's die.
    assert_eq!([dies("gfx942", 304), dies("gfx942", 228), dies("gfx942", 38)], [8, 6, 1]);
    assert_eq!([dies("gfx950", 256), dies("gfx950", 128), dies("gfx950", 16)], [8, 4, 1]);
    assert_eq!([dies("gfx90a", 104), dies("gfx90a", 110)], [1, 1]);
    for (images, multiprocessors) in [("gfx90a", 104), ("gfx942", 304), ("gfx950", 256)] {
        let plan_of = |tokens| {
            let plan = of(images, multiprocessors, tokens);
            let tile = [plan.tile_tokens, plan.tile_features, plan.panel];
            (plan.source.stem, plan.geometry.grid[0], plan.geometry.threads, tile)
        };
        // All tokens by 64 features; tiles of 256 by 256, 2048 tokens of them after each other.
        for tokens in [1, 64] {
            assert_eq!(plan_of(tokens), ("linear_rows", 128, 256, [64, 64, 1]), "{images}");
        }
        assert_eq!(plan_of(65), ("linear", 32, 512, [256, 256, 8]), "{images}");
        assert_eq!(plan_of(4097), ("linear", 17 * 32, 512, [256, 256, 8]), "{images}");
    }
}
