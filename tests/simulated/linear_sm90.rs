//! Dense layers on sm_90a: calls, blocks, matrix instructions, traffic, schedules, replays.

use crate::calls::launch_call;
use crate::linear::{Dense, counted, replays_are_calls, schedules_multiply_alike};
use crate::simulator::{Simulator, devices};
use expertile::{Buffer, Device, Platform, Stream};
use half::bf16;

/// What the extents below are chosen for: an H200's.
const MULTIPROCESSORS: u64 = 132;

fn sm90_devices() -> Vec<Device> {
    let mut devices = devices();
    devices.retain(|device| device.info().images == "sm_90a");
    for device in &devices {
        assert_eq!(u64::from(device.info().multiprocessors), MULTIPROCESSORS, "{device}");
    }
    devices
}

/// What a call costs.
#[derive(Debug, PartialEq, Eq)]
struct Cost {
    blocks: u64,
    /// The shape of the matrix instructions, and how many the warps issue.
    shape: String,
    products: u64,
    /// How often each is read.
    x: u64,
    weight: u64,
}

/// More than 64 tokens: tiles of 128 by 256, each of two warp groups, 64 of k at a time.
fn cost_of_many([tokens, in_features, out_features]: [u64; 3]) -> Cost {
    let (rows, columns) = (tokens.div_ceil(128), out_features.div_ceil(256));
    let cluster = if rows % 2 == 0 || rows >= 8 { 2 } else { 1 };
    let clusters = rows.div_ceil(cluster) * columns;
    Cost {
        blocks: clusters.min(MULTIPROCESSORS / cluster) * cluster,
        shape: "m64n256k16".into(),
        // A block of a cluster beyond the last row multiplies zeros.
        products: clusters * cluster * 8 * 4 * in_features.div_ceil(64),
        x: columns,
        weight: rows.div_ceil(cluster),
    }
}

/// Few: tiles of all of them by `features`, of one warp group, 128 of k at a time.
fn cost_of_few([tokens, in_features, out_features]: [u64; 3], features: u64) -> Cost {
    let tiles = out_features.div_ceil(features);
    Cost {
        blocks: tiles.min(MULTIPROCESSORS),
        shape: format!("m64n{}k16", tokens.next_power_of_two().max(8)),
        products: tiles * 4 * 8 * in_features.div_ceil(128),
        x: tiles,
        weight: 1,
    }
}

#[test]
fn tiles_cost_what_the_plan_says() {
    let Some(simulator) = Simulator::find() else { return };
    for device in sm90_devices() {
        let stream = device.stream().unwrap();
        for in_out in [false, true] {
            // Features by which a multiprocessor has one narrow tile, one full, two; and tiles that end early.
            for (tokens, in_features, out_features, features) in [
                (1, 208, 16 * MULTIPROCESSORS, 16),
                (8, 128, 48 * MULTIPROCESSORS - 16, 48),
                (9, 64, 64 * MULTIPROCESSORS, 64),
                (17, 144, 96 * MULTIPROCESSORS - 32, 48),
                (64, 400, 32 * MULTIPROCESSORS, 32),
            ] {
                let extents = [tokens, in_features, out_features];
                let features = if in_out { 64 } else { features };
                check(&simulator, &stream, extents, in_out, &cost_of_few(extents, features));
            }
            // One row, two, three; tails of tokens, features and k; more of k than stages are there.
            for extents in
                [[65, 64, 256], [129, 208, 272], [300, 400, 144], [512, 80, 528], [1100, 16, 64]]
            {
                check(&simulator, &stream, extents, in_out, &cost_of_many(extents));
            }
        }
    }
    assert_eq!(simulator.text("expertile_sim_reports"), "");
}

/// Extents are multiples of 16, so that no row begins within a sector.
fn check(simulator: &Simulator, stream: &Stream, extents: [u64; 3], in_out: bool, wanted: &Cost) {
    let [tokens, in_features, out_features] = extents;
    let mut dense = Dense::new(stream, extents, in_out, 2);
    let counters = counted(simulator, stream, &mut dense);
    let more = |key: &str| counters.get(key).copied().unwrap_or(0);
    let of = |buffer: &Buffer, key: &str| more(&format!("{:#x}.{key}", buffer.address()));
    let name = format!("{extents:?}, in_out {in_out}");
    let sectors = |rows: u64, columns: u64| rows * columns * 2 / 32;
    let [x, weight, out] = [
        sectors(tokens, in_features),
        sectors(in_features, out_features),
        sectors(tokens, out_features),
    ];
    let found = Cost {
        blocks: more("blocks"),
        shape: wanted.shape.clone(),
        products: more(&format!("matrix.{}.bf16", wanted.shape)),
        x: of(&dense.x, "sectors_read") / x,
        weight: of(&dense.weight, "sectors_read") / weight,
    };
    assert_eq!(found, *wanted, "{name}: cost");
    let all: u64 =
        counters.iter().filter(|(key, _)| key.starts_with("matrix.")).map(|(_, n)| n).sum();
    assert_eq!(all, wanted.products, "{name}: matrix instructions of other shapes");
    // For few tokens a warp reads a turned tile by 8 floats a lane: in twice the passes at most.
    let conflicts = if tokens > 64 { 0 } else { 2 * tokens * wanted.x };
    let found = more("shared.conflicts");
    assert!(found <= conflicts, "{name}: {found} conflicts, {conflicts} allowed");
    for (what, buffer, key, count) in [
        ("x", &dense.x, "sectors_read", x * wanted.x),
        ("x", &dense.x, "bytes_read", 32 * x * wanted.x),
        ("weight", &dense.weight, "sectors_read", weight * wanted.weight),
        ("weight", &dense.weight, "bytes_read", 32 * weight * wanted.weight),
        ("weight", &dense.weight, "unique_sectors_read", weight),
        ("residual", &dense.residual, "sectors_read", out),
        ("out", &dense.out, "sectors_written", out),
        ("out", &dense.out, "bytes_written", 32 * out),
        ("out", &dense.out, "sectors_read", 0),
    ] {
        assert_eq!(of(buffer, key), count, "{name}: {what}: {key}");
    }
    let buffers = [&dense.x, &dense.weight, &dense.residual, &dense.out];
    let [read, written] = ["bytes_read", "bytes_written"]
        .map(|key| buffers.iter().map(|buffer| of(buffer, key)).sum::<u64>());
    let global = [more("global.bytes_read"), more("global.bytes_written")];
    assert_eq!(global, [read, written], "{name}: what is read and written elsewhere");
}

/// What 128 more of k cost in instructions of PTX, for each product that a warp issues.
#[test]
fn the_loop_of_sm90_is_short() {
    let Some(simulator) = Simulator::find() else { return };
    for device in sm90_devices() {
        let stream = device.stream().unwrap();
        for (tokens, out_features, in_out, most) in [
            (128, 256, false, 20.0),
            (128, 256, true, 20.0),
            (256, 256, false, 20.0),
            (64, 64 * MULTIPROCESSORS, false, 12.0),
            (64, 64 * MULTIPROCESSORS, true, 12.0),
        ] {
            let cost = |in_features: u64| {
                let mut dense = Dense::new(&stream, [tokens, in_features, out_features], in_out, 6);
                let counters = counted(&simulator, &stream, &mut dense);
                let products = counters.iter().filter(|(key, _)| key.starts_with("matrix."));
                (counters["warp_instructions"], products.map(|(_, count)| count).sum::<u64>())
            };
            let ((few, few_products), (many, many_products)) = (cost(512), cost(1024));
            let each = (many - few) as f64 / (many_products - few_products) as f64;
            let name = format!("{tokens} tokens, in_out {in_out}");
            println!("{name}: {each:.2} instructions a product");
            assert!(each <= most, "{name}: {each:.2} instructions a product");
        }
    }
    assert_eq!(simulator.text("expertile_sim_reports"), "");
}

#[test]
fn a_dense_layer_is_one_launch() {
    let Some(simulator) = Simulator::find() else { return };
    for device in sm90_devices() {
        let stream = device.stream().unwrap();
        let alone = launch_call(&device);
        // Maps of x and the weight; where tiles are copied out, of the residual and the result too.
        for (tokens, planned) in [
            (0, None),
            (1, Some((alone, 2))),
            (64, Some((alone, 2))),
            (65, Some((alone, 4))),
            (129, Some(("cuLaunchKernelEx", 4))),
            (257, Some((alone, 4))),
        ] {
            let mut dense = Dense::new(&stream, [tokens, 64, 136], false, 1);
            let before = simulator.calls(Platform::Cuda);
            dense.go(&stream).unwrap();
            let after = simulator.calls(Platform::Cuda);
            let planned =
                planned.map(|(launch, maps)| [(launch, 1), ("cuTensorMapEncodeTiled", maps)]);
            let planned: Vec<_> = planned.into_iter().flatten().collect();
            assert_eq!(after.since(&before), planned, "{device}: {tokens} tokens");
        }
        stream.synchronize().unwrap();
    }
    assert_eq!(simulator.text("expertile_sim_reports"), "");
}

/// More tiles than blocks that run together, in several panels: each tile once, whatever is left over of the one
/// before. Small whole numbers, whose sums are exact.
#[test]
fn blocks_go_round() {
    let Some(simulator) = Simulator::find() else { return };
    for device in sm90_devices() {
        let stream = device.stream().unwrap();
        for (extents, in_out) in [
            ([2433, 72, 1800], false),
            ([2300, 72, 2056], true),
            ([16, 392, 72 * MULTIPROCESSORS + 8], false),
            ([3, 392, 72 * MULTIPROCESSORS + 8], true),
        ] {
            let [tokens, k, features] = extents.map(|extent| extent as usize);
            let mut dense = Dense::new(&stream, extents, in_out, 7);
            let mut random = fastrand::Rng::with_seed(9);
            let mut fill = |buffer: &mut Buffer| -> Vec<f32> {
                let values: Vec<f32> =
                    (0..buffer.elements()).map(|_| f32::from(random.i8(-1..=1))).collect();
                let rounded: Vec<bf16> = values.iter().map(|&x| bf16::from_f32(x)).collect();
                buffer.write(&stream, &rounded).unwrap();
                values
            };
            let [x, weight, residual] =
                [&mut dense.x, &mut dense.weight, &mut dense.residual].map(&mut fill);
            dense.go(&stream).unwrap();
            let results = dense.results(&stream);
            let (feature_step, k_step) = if in_out { (1, features) } else { (k, 1) };
            // By k, then by feature.
            let place = |at: usize| at / features * k_step + at % features * feature_step;
            let weight: Vec<f32> = (0..k * features).map(|at| weight[place(at)]).collect();
            let mut sums = vec![0.0f32; features];
            for token in 0..tokens {
                sums.fill(0.0);
                for (at, &x) in x[token * k..][..k].iter().enumerate() {
                    let row = &weight[at * features..][..features];
                    sums.iter_mut().zip(row).for_each(|(sum, weight)| *sum += x * weight);
                }
                for (feature, sum) in sums.iter().enumerate() {
                    let at = token * features + feature;
                    let want = sum.clamp(-8.0, 8.0) + residual[at];
                    let found = results[at].to_f32();
                    assert!(
                        found == want,
                        "{extents:?}: out[{token}, {feature}] is {found}, not {want}"
                    );
                }
            }
        }
    }
    assert_eq!(simulator.text("expertile_sim_reports"), "");
}

/// More of k than the ring has stages, tiles of one block and of clusters, more tiles than blocks.
#[test]
fn every_schedule_multiplies_alike() {
    let cases = [
        ([70, 392, 200], false, 30),
        ([200, 584, 72], true, 60),
        ([19, 968, 88], true, 30),
        ([7, 264, 72 * MULTIPROCESSORS], false, 6),
    ];
    schedules_multiply_alike(sm90_devices, 3, &cases);
}

/// A graph keeps the maps of its call.
#[test]
fn a_replay_of_a_dense_layer_is_a_call() {
    replays_are_calls(sm90_devices, &[3, 70, 130]);
}
