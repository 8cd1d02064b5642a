//! Plans of the experts' products, the order of their tiles, and the activations.

use super::linear_plans::{device, devices};
use crate::grouped_gemm_plan::{Extents, Product, plan};
use proptest::prelude::*;

/// Rows to 2^31, weights of more than 2^40 elements.
fn extents() -> impl Strategy<Value = Extents> {
    let rows = prop_oneof![0..70u32, 0..5000u32, 0..(1u32 << 31) - 1];
    let features =
        || prop_oneof![1..20u32, 1..4000u32, 1..(1u32 << 27) - 1].prop_map(|eighths| 8 * eighths);
    let product = prop_oneof![
        Just(Product::Up),
        Just(Product::Down { is_nn: false }),
        Just(Product::Down { is_nn: true })
    ];
    (rows, 1..=256u32, features(), features(), product).prop_map(
        |(rows, experts, in_features, out_features, product)| Extents {
            rows,
            experts,
            in_features,
            out_features,
            product,
        },
    )
}

/// Offsets of experts with so many rows.
#[cfg(feature = "probes")]
fn offsets(counts: &[u32]) -> Vec<i32> {
    let mut offsets = vec![0];
    for &count in counts {
        offsets.push(offsets[offsets.len() - 1] + count as i32);
    }
    offsets
}

proptest! {
    #[test]
    fn plans_fit_their_devices(extents in extents(), device in devices()) {
        let plan = plan(extents, &device).expect("these devices have kernels");
        let [x, y, z] = plan.geometry.grid;
        prop_assert!(x >= 1 && (y, z) == (1, 1) && plan.panel >= 1 && plan.xcds >= 1);
        prop_assert!(u64::from(x) < device.platform.grid_end(plan.geometry.threads));
        // Not more than run at a time.
        prop_assert!(x <= 2 * device.multiprocessors.max(1));
        prop_assert!(plan.geometry.shared_bytes <= plan.source.shared_bytes);
        prop_assert!(plan.source.is_for(device.images));
        let weights = if extents.product == Product::Up { 2 } else { 1 };
        prop_assert!(plan.tile_features.is_multiple_of(8) && plan.tile_features >= 8);
        prop_assert!(weights * plan.tile_features <= 256);
        let is_nn = extents.product == Product::Down { is_nn: true };
        prop_assert!(!is_nn || plan.tile_features.is_power_of_two());
        if let Some(boxes) = plan.boxes {
            // The driver takes no larger boxes, and a tile is whole boxes.
            prop_assert!((1..=256).contains(&boxes.weight) && boxes.x.is_none_or(|x| x <= 256));
            prop_assert_eq!(plan.tile_features % boxes.weight, 0);
        }
        // The last tiles end where 32 bits do not, and no number of a tile of rows passes them.
        let features = u64::from(extents.out_features.div_ceil(plan.tile_features));
        prop_assert!(features * u64::from(plan.tile_features) < 1 << 32);
        prop_assert!(u64::from(extents.rows) + (1 << plan.tile_shift) < 1 << 32);
    }

    /// Whatever the offsets: every row of every expert by every column once, rows of the fullest expert first.
    #[test]
    #[cfg(feature = "probes")]
    fn the_order_has_every_tile_once(
        counts in prop::collection::vec(prop_oneof![Just(0u32), 0..40u32, 0..300u32], 1..40),
        tile_shift in 3..8u32, columns in 1..9u32, panel in 1..5u32,
    ) {
        use expertile_kernels_cuda::host_grouped_tile;
        let (offsets, tile) = (offsets(&counts), 1u32 << tile_shift);
        let rows = counts.iter().sum::<u32>();
        let of = |number| host_grouped_tile(&offsets, rows, tile_shift, [columns, panel], number);
        let (count, _) = of(u64::MAX);
        let expected: u32 = counts.iter().map(|count| count.div_ceil(tile) * columns).sum();
        prop_assert_eq!(count, u64::from(expected));
        let mut seen = vec![0; (rows * columns) as usize];
        let mut before = u32::MAX;
        for number in 0..count {
            let (_, [expert, first, end, column]) = of(number);
            let expert = expert as usize;
            prop_assert_eq!(end as i32, offsets[expert + 1]);
            prop_assert!(first as i32 >= offsets[expert] && first < end && column < columns);
            prop_assert_eq!((first as i32 - offsets[expert]) % tile as i32, 0);
            prop_assert!(counts[expert] <= before, "an expert with fewer rows came before");
            before = counts[expert];
            for row in first..end.min(first + tile) {
                seen[(row * columns + column) as usize] += 1;
            }
        }
        prop_assert!(seen.iter().all(|&times| times == 1));
    }

    /// Offsets that mean nothing give tiles within the rows all the same.
    #[test]
    #[cfg(feature = "probes")]
    fn no_offset_leaves_the_rows(
        offsets in prop::collection::vec(any::<i32>(), 2..30), rows in 0..1u32 << 31,
        tile_shift in 4..9u32, part in 0.0..1.0f64,
    ) {
        use expertile_kernels_cuda::host_grouped_tile;
        let of = |number| host_grouped_tile(&offsets, rows, tile_shift, [7, 3], number);
        let (count, _) = of(u64::MAX);
        for number in [0, (count as f64 * part) as u64, count.saturating_sub(1)] {
            if number < count {
                let (_, [expert, first, end, column]) = of(number);
                prop_assert!((expert as usize) < offsets.len() - 1 && column < 7);
                prop_assert!(first < end && end <= rows);
            }
        }
    }

    /// 2^31 rows by 2^30 features: the tiles' numbers pass 32 bits.
    #[test]
    #[cfg(feature = "probes")]
    fn large_products_have_no_other_order(
        first in 0..(1u32 << 31) - 1, columns in 1..1u32 << 23, panel in 1..20u32, part in 0.0..1.0f64,
    ) {
        use expertile_kernels_cuda::host_grouped_tile;
        let rows = (1u32 << 31) - 1;
        let counts = [first, rows - first];
        let of = |number| host_grouped_tile(&offsets(&counts), rows, 7, [columns, panel], number);
        let (count, _) = of(u64::MAX);
        let tiles = counts.map(|count| u64::from(count.div_ceil(128)) * u64::from(columns));
        prop_assert_eq!(count, tiles[0] + tiles[1]);
        let number = ((count - 1) as f64 * part) as u64;
        for number in [0, number, count - 1] {
            let (_, [expert, row, end, column]) = of(number);
            let larger = usize::from(counts[1] > counts[0]);
            let (expert, row) = (expert as usize, row - if expert == 1 { first } else { 0 });
            prop_assert_eq!(end, if expert == 0 { first } else { rows });
            let before = if expert == larger { 0 } else { tiles[larger] };
            let (row_tiles, row) = (counts[expert].div_ceil(128), row / 128);
            let panel_first = row / panel * panel;
            let height = panel.min(row_tiles - panel_first);
            let own = u64::from(panel_first) * u64::from(columns)
                + u64::from(column) * u64::from(height) + u64::from(row - panel_first);
            prop_assert_eq!(before + own, number);
        }
    }
}

/// The headers' activations are the reference's bits, and those are near the formulas.
#[test]
#[cfg(feature = "probes")]
fn activations_have_the_references_bits() {
    use expertile_kernels_cuda::host_activation;
    use expertile_reference::activation::Activation;
    let mut random = fastrand::Rng::with_seed(1);
    let number = |random: &mut fastrand::Rng| match random.u32(..10) {
        0 => f32::from_bits(random.u32(..)),
        1 => {
            let special =
                [0.0, -0.0, f32::INFINITY, f32::NEG_INFINITY, f32::NAN, 7.0, -104.0, 1e-40];
            special[random.usize(..8)]
        }
        2 => (random.f32() - 0.5) * 250.0,
        _ => (random.f32() - 0.5) * 16.0,
    };
    for _ in 0..300_000 {
        let (gate, up) = (number(&mut random), number(&mut random));
        let (limit, alpha) = [(7.0, 1.702), (f32::INFINITY, 0.0), (1.5, -3.0)][random.usize(..3)];
        for (kind, activation) in [
            (0, Activation::Silu),
            (1, Activation::GeluTanh),
            (2, Activation::ClampedSwiglu { limit, alpha }),
        ] {
            let found = host_activation(kind, gate, up, limit, alpha);
            let wanted = activation.apply_f32(gate, up);
            let same = found.to_bits() == wanted.to_bits() || found.is_nan() && wanted.is_nan();
            assert!(same, "{activation:?} of {gate}, {up}: {found} and {wanted}");
            let exact = activation.apply(gate.into(), up.into());
            if gate.abs() < 1e6 && up.abs() < 1e6 {
                let sum =
                    |value: f32| super::grouped_gemm_check::Sum { value: value.into(), error: 0.0 };
                let bound = super::grouped_gemm_check::activated(sum(gate), sum(up), exact);
                let error = (f64::from(found) - exact).abs();
                assert!(
                    error <= bound,
                    "{activation:?} of {gate}, {up}: {found}, {exact} +- {bound:e}"
                );
            }
        }
    }
}

#[test]
fn dbrx_fills_its_devices() {
    let of = |images: &'static str, multiprocessors, tokens: u32, product| {
        let (hidden, ffn) = (6144, 10752);
        let (in_features, out_features) =
            if product == Product::Up { (hidden, ffn) } else { (ffn, hidden) };
        let extents = Extents { rows: 4 * tokens, experts: 16, in_features, out_features, product };
        let plan = plan(extents, &device(images, multiprocessors)).expect("it has kernels");
        (plan.source.stem, plan.geometry.grid[0], plan.tile_features)
    };
    let (up, down) = (Product::Up, Product::Down { is_nn: true });
    assert_eq!(of("sm_80", 108, 1, up), ("grouped_gemm_rows_sm80", 108, 64));
    assert_eq!(of("sm_80", 108, 4096, down), ("grouped_gemm_sm80", 216, 128));
    assert_eq!(of("sm_90a", 132, 129, up), ("grouped_gemm_sm90", 132, 128));
    assert_eq!(of("sm_90a", 132, 128, down), ("grouped_gemm_rows_sm90", 132, 64));
    assert_eq!(of("gfx942", 304, 1, up), ("grouped_gemm_rows", 608, 32));
    assert_eq!(of("gfx90a", 104, 4096, up), ("grouped_gemm", 104, 128));
    // Of 10752 features for 4 experts on 132 multiprocessors, 24 at a time keep them busy to the end.
    let rounds = |tile: u32| (4 * 10752u32.div_ceil(tile)).div_ceil(132) * tile;
    let (_, _, tile) = of("sm_90a", 132, 1, up);
    assert!([16, 24, 32].iter().all(|&other| rounds(tile) <= rounds(other)), "{tile}");
}
