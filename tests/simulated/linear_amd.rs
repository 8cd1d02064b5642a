//! Dense layers on AMD's devices: calls, traffic, matrix instructions, schedules, replays.

use crate::calls::launch_call;
use crate::linear::{Dense, counted, replays_are_calls, schedules_multiply_alike};
use crate::simulator::{Simulator, devices};
use expertile::{Buffer, Device, Platform, Stream};

/// Bytes and bf16 elements of a sector.
const SECTOR: u64 = 32;
const SECTOR_ELEMENTS: u64 = 16;

/// One device of each of AMD's architectures.
fn amd_devices() -> Vec<Device> {
    let mut devices = devices();
    devices.retain(|device| device.info().platform == Platform::Hip);
    devices
}

#[test]
fn a_dense_layer_is_one_launch() {
    let Some(simulator) = Simulator::find() else { return };
    for device in amd_devices() {
        let stream = device.stream().unwrap();
        for (tokens, planned) in [(0, None), (1, Some(1)), (64, Some(1)), (65, Some(1))] {
            let mut dense = Dense::new(&stream, [tokens, 64, 136], false, 1);
            let before = simulator.calls(Platform::Hip);
            dense.go(&stream).unwrap();
            let after = simulator.calls(Platform::Hip);
            let planned: Vec<_> =
                planned.map(|count| (launch_call(&device), count)).into_iter().collect();
            assert_eq!(after.since(&before), planned, "{device}: {tokens} tokens");
        }
        stream.synchronize().unwrap();
    }
    assert_eq!(simulator.text("expertile_sim_reports"), "");
}

/// The tiles of a path.
struct Tiles {
    tokens: u64,
    features: u64,
    k: u64,
    waves: u64,
    /// Rows that half a wave, whose sectors are counted at a time, reads of a matrix of rows of k; and sectors
    /// of one k that it reads of a weight that lies the other way.
    half_rows: u64,
    half_sectors: u64,
}

impl Tiles {
    fn of(tokens: u64) -> Tiles {
        if tokens <= 64 {
            Tiles { tokens: 64, features: 64, k: 128, waves: 4, half_rows: 2, half_sectors: 4 }
        } else {
            Tiles { tokens: 256, features: 256, k: 64, waves: 8, half_rows: 4, half_sectors: 8 }
        }
    }
}

/// How many of `extent` are read in tiles of so many by halves of waves of so many: what is beyond the last is
/// the last again, which a half that has it already reads once.
fn read(extent: u64, tile: u64, half: u64) -> u64 {
    let halves = (0..extent.next_multiple_of(tile)).step_by(half as usize);
    halves.map(|first| extent.saturating_sub(first).clamp(1, half)).sum()
}

#[test]
fn dense_layers_do_what_their_tiles_ask_for() {
    let Some(simulator) = Simulator::find() else { return };
    for device in amd_devices() {
        let stream = device.stream().unwrap();
        for in_out in [false, true] {
            for extents in [
                // Every number of products of 16 tokens, whole tiles and tails of k and features.
                [1, 128, 64],
                [16, 208, 128],
                [17, 16, 208],
                [33, 256, 192],
                [49, 272, 80],
                [64, 400, 320],
                // Tails of tokens, features and k for many.
                [65, 64, 256],
                [256, 128, 256],
                [257, 208, 272],
                [300, 80, 528],
            ] {
                check_tiles(&simulator, &device, &stream, extents, in_out);
            }
        }
    }
    assert_eq!(simulator.text("expertile_sim_reports"), "");
}

/// Extents of features are multiples of 16, so that no row begins within a sector.
fn check_tiles(
    simulator: &Simulator,
    device: &Device,
    stream: &Stream,
    extents: [u64; 3],
    in_out: bool,
) {
    let [tokens, in_features, out_features] = extents;
    let mut dense = Dense::new(stream, extents, in_out, 2);
    let counters = counted(simulator, stream, &mut dense);
    let count = |key: &str| counters.get(key).copied().unwrap_or(0);
    let of = |buffer: &Buffer, key: &str| count(&format!("{:#x}.{key}", buffer.address()));
    let name = format!("{extents:?}, in_out {in_out}, on {}", device.info().images);

    let tiles = Tiles::of(tokens);
    let rows = tokens.div_ceil(tiles.tokens);
    let columns = out_features.div_ceil(tiles.features);
    // For few tokens a wave has 16 features of all tokens, 16 at a time; for many 128 tokens by 64 features.
    let products = if tokens <= 64 { tokens.div_ceil(16) } else { 8 * 4 };
    let steps = in_features.div_ceil(tiles.k) * tiles.k / 16;
    assert_eq!(
        count("matrix.m16n16k16.bf16"),
        rows * columns * tiles.waves * products * steps,
        "{name}: matrix instructions"
    );
    assert_eq!(count("blocks"), rows * columns, "{name}: workgroups");
    assert_eq!(count("shared.conflicts"), 0, "{name}: conflicts");
    // Two for each stage.
    let stages = in_features.div_ceil(tiles.k);
    assert_eq!(count("barriers"), rows * columns * stages * 2, "{name}: barriers");

    let sectors = |rows: u64, columns: u64| rows * columns / SECTOR_ELEMENTS;
    let x = columns * sectors(read(tokens, tiles.tokens, tiles.half_rows), in_features);
    let weight = if in_out {
        let columns = out_features / SECTOR_ELEMENTS;
        in_features * read(columns, tiles.features / SECTOR_ELEMENTS, tiles.half_sectors)
    } else {
        sectors(read(out_features, tiles.features, tiles.half_rows), in_features)
    };
    assert_eq!(of(&dense.x, "sectors_read"), x, "{name}: x");
    assert_eq!(of(&dense.weight, "sectors_read"), rows * weight, "{name}: weight");
    let whole = sectors(in_features, out_features);
    assert_eq!(of(&dense.weight, "unique_sectors_read"), whole, "{name}: all of the weight");
    if tokens <= 64 && (in_out || out_features.is_multiple_of(tiles.features)) {
        let bytes = of(&dense.weight, "sectors_read") * SECTOR;
        assert_eq!(bytes, 2 * in_features * out_features, "{name}: bytes of the weight");
    }
    // Of 16 features of a token each half of a wave has 8, half a sector.
    let out = sectors(tokens, out_features);
    assert_eq!(of(&dense.residual, "sectors_read"), 2 * out, "{name}: residual");
    assert_eq!(of(&dense.out, "sectors_written"), 2 * out, "{name}: out");
    assert_eq!(of(&dense.out, "unique_sectors_written"), out, "{name}: all of out");
    assert_eq!(of(&dense.out, "bytes_written"), 2 * tokens * out_features, "{name}: once");
    assert_eq!(of(&dense.out, "sectors_read"), 0, "{name}: out");
}

/// What the loop over k takes: the instructions that 128 more of k cost, for each product among them. For few
/// tokens the products are few, and what counts is the weight.
#[test]
fn the_loop_of_a_dense_layer_is_short() {
    let Some(simulator) = Simulator::find() else { return };
    for device in amd_devices() {
        let stream = device.stream().unwrap();
        for (tokens, out_features, in_out, most) in [
            (256, 256, false, 2.1),
            (256, 256, true, 2.5),
            (64, 64, false, 4.8),
            (64, 64, true, 6.5),
            (16, 64, false, 14.5),
        ] {
            let cost = |in_features: u64| {
                let extents = [tokens, in_features, out_features];
                let mut dense = Dense::new(&stream, extents, in_out, 6);
                let counters = counted(&simulator, &stream, &mut dense);
                ["warp_instructions", "matrix.m16n16k16.bf16"].map(|key| counters[key])
            };
            let ([few, few_products], [many, many_products]) = (cost(256), cost(384));
            let each = (many - few) as f64 / (many_products - few_products) as f64;
            let name = format!("{tokens} tokens, in_out {in_out}, on {}", device.info().images);
            println!("{name}: {each:.2} instructions a product");
            assert!(each <= most, "{name}: {each:.2} instructions a product");
        }
    }
    assert_eq!(simulator.text("expertile_sim_reports"), "");
}

#[test]
fn every_schedule_multiplies_alike() {
    let cases =
        [([70, 136, 264], false, 24), ([260, 136, 72], true, 24), ([19, 264, 88], true, 24)];
    schedules_multiply_alike(amd_devices, 4, &cases);
}

#[test]
fn a_replay_of_a_dense_layer_is_a_call() {
    replays_are_calls(amd_devices, &[3, 70]);
}
