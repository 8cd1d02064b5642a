//! The experts' products: calls, traffic, matrix instructions, schedules.

use crate::calls::launch_call;
use crate::simulator::{Simulator, devices};
use expertile::{
    Activation, Buffer, Device, Error, Gated, GroupedDown, GroupedUp, PairWeights, Platform,
    Result, Stream, WeightLayout, grouped_gemm_down, grouped_gemm_up,
};
use half::bf16;

/// Experts with so many rows, of which each token has one.
struct Products {
    hidden: u64,
    ffn_hidden: u64,
    counts: Vec<u64>,
    x: Buffer,
    gate: Buffer,
    up: Buffer,
    down: Buffer,
    pairs: Buffer,
    offsets: Buffer,
    weights: Buffer,
    middle: Buffer,
    out: Buffer,
}

impl Products {
    fn new(stream: &Stream, [hidden, ffn_hidden]: [u64; 2], counts: &[u64], seed: u64) -> Products {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut values = |count: u64| {
            let value = |_| bf16::from_f32(random.f32() * 2.0 - 1.0);
            Buffer::from_slice(stream, &(0..count).map(value).collect::<Vec<bf16>>()).unwrap()
        };
        let (rows, experts) = (counts.iter().sum::<u64>(), counts.len() as u64);
        let mut offsets = vec![0i32];
        counts.iter().for_each(|count| offsets.push(offsets[offsets.len() - 1] + *count as i32));
        let mut pairs: Vec<i32> = (0..rows as i32).collect();
        fastrand::Rng::with_seed(seed).shuffle(&mut pairs);
        Products {
            hidden,
            ffn_hidden,
            counts: counts.to_vec(),
            x: values(rows * hidden),
            gate: values(experts * hidden * ffn_hidden),
            up: values(experts * hidden * ffn_hidden),
            down: values(experts * hidden * ffn_hidden),
            pairs: Buffer::from_slice(stream, &pairs).unwrap(),
            offsets: Buffer::from_slice(stream, &offsets).unwrap(),
            weights: Buffer::from_slice(stream, &vec![0.5f32; rows as usize]).unwrap(),
            middle: values(rows * ffn_hidden),
            out: values(rows * hidden),
        }
    }

    fn rows(&self) -> u64 {
        self.counts.iter().sum()
    }

    fn go_up(&mut self, stream: &Stream) -> Result<()> {
        let (rows, experts) = (self.rows(), self.counts.len() as u64);
        let shape = [experts, self.ffn_hidden, self.hidden];
        let arguments = GroupedUp {
            x: self.x.tensor(&[rows, self.hidden])?,
            pairs: self.pairs.tensor(&[rows])?,
            top_k: 1,
            offsets: self.offsets.tensor(&[experts + 1])?,
            weights: Gated::Separate {
                gate: self.gate.tensor(&shape)?,
                up: self.up.tensor(&shape)?,
            },
            biases: None,
            activation: Activation::Silu,
            out: self.middle.tensor_mut(&[rows, self.ffn_hidden])?,
        };
        grouped_gemm_up(stream, &arguments)
    }

    fn go_down(&mut self, stream: &Stream, in_out: bool) -> Result<()> {
        let (rows, experts) = (self.rows(), self.counts.len() as u64);
        let (shape, layout) = if in_out {
            ([experts, self.ffn_hidden, self.hidden], WeightLayout::InOut)
        } else {
            ([experts, self.hidden, self.ffn_hidden], WeightLayout::OutIn)
        };
        let arguments = GroupedDown {
            x: self.middle.tensor(&[rows, self.ffn_hidden])?,
            offsets: self.offsets.tensor(&[experts + 1])?,
            weight: self.down.tensor(&shape)?,
            layout,
            bias: None,
            pair_weights: Some(PairWeights {
                weights: self.weights.tensor(&[rows, 1])?,
                pairs: self.pairs.tensor(&[rows])?,
            }),
            out: self.out.tensor_mut(&[rows, self.hidden])?,
        };
        grouped_gemm_down(stream, &arguments)
    }
}

/// One device of each architecture that has kernels for it.
fn able() -> Vec<Device> {
    let mut devices = devices();
    devices.retain(|device| {
        let stream = device.stream().unwrap();
        let mut none = Products::new(&stream, [8, 8], &[0], 0);
        !matches!(none.go_up(&stream), Err(Error::Unsupported { .. }))
    });
    devices
}

/// The tiles of a path.
struct Path {
    rows: u64,
    /// Of weights.
    features: u64,
    /// Matrix instructions of a tile of so many rows, for so many k.
    products: fn(u64, u64) -> u64,
}

fn path(device: &Device, few: bool) -> Path {
    match (device.info().images, few) {
        ("sm_80" | "sm_89", true) => Path {
            rows: 64,
            features: 128,
            products: |rows, k| 8 * rows.div_ceil(8) * 4 * k.div_ceil(64),
        },
        ("sm_80" | "sm_89", false) => {
            Path { rows: 128, features: 128, products: |_, k| 4 * 4 * 8 * 2 * k.div_ceil(32) }
        }
        // A product of any number of columns is one instruction of each of four warps.
        ("sm_90a", true) => {
            Path { rows: 64, features: 64, products: |_, k| 4 * 8 * k.div_ceil(128) }
        }
        ("sm_90a", false) => {
            Path { rows: 128, features: 256, products: |_, k| 2 * 4 * 4 * k.div_ceil(64) }
        }
        (_, true) => Path {
            rows: 64,
            features: 64,
            products: |rows, k| 4 * rows.div_ceil(16) * 8 * k.div_ceil(128),
        },
        // Waves with no row multiply nothing.
        (_, false) => Path {
            rows: 256,
            features: 256,
            products: |rows, k| 4 * rows.div_ceil(128) * 8 * 4 * 4 * k.div_ceil(64),
        },
    }
}

/// What a tile of sm_90a for few rows has of the features of a result: as few as keep its multiprocessors busy.
fn even(device: &Device, features: u64, active: u64, most: u64) -> u64 {
    let load = |tile: &u64| {
        let tiles = features.div_ceil(*tile) * active;
        (tiles.div_ceil(device.info().multiprocessors.into()) * tile, tiles)
    };
    (2..=most / 8).rev().map(|eighths| 8 * eighths).min_by_key(load).unwrap()
}

/// Both paths: matrix instructions are those of the tiles, padding included; each expert's weights are read once for
/// each tile of its rows, so once if they are few, and those of empty experts are not read; results are written once.
#[test]
fn products_cost_what_their_tiles_ask_for() {
    let Some(simulator) = Simulator::find() else { return };
    for device in able() {
        let stream = device.stream().unwrap();
        for counts in
            [&[1u64, 0, 8, 3][..], &[64, 0, 0, 17], &[9, 33, 2], &[65, 129, 0], &[300, 1, 2], &[1]]
        {
            let mut products = Products::new(&stream, [256, 512], counts, 1);
            for (up, in_out) in [(true, false), (false, false), (false, true)] {
                check(&simulator, &device, &stream, &mut products, up, in_out);
            }
        }
    }
    assert_eq!(simulator.text("expertile_sim_reports"), "");
}

fn check(
    simulator: &Simulator,
    device: &Device,
    stream: &Stream,
    products: &mut Products,
    up: bool,
    in_out: bool,
) {
    let counts = products.counts.clone();
    let (rows, experts) = (products.rows(), counts.len() as u64);
    let few = rows <= 32 * experts;
    let name = format!("{counts:?}, up {up}, in_out {in_out}, on {}", device.info().images);
    stream.synchronize().unwrap();
    let before = simulator.counters();
    let made = simulator.calls(device.info().platform);
    if up { products.go_up(stream) } else { products.go_down(stream, in_out) }.unwrap();
    // Maps are made by the host; a context is entered for it.
    let maps = |call: &str| call.starts_with("cuTensorMap") || call.starts_with("cuCtx");
    let now = simulator.calls(device.info().platform);
    let calls: Vec<_> = now.since(&made).into_iter().filter(|(call, _)| !maps(call)).collect();
    assert_eq!(calls, [(launch_call(device), 1)], "{name}");
    stream.synchronize().unwrap();
    let after = simulator.counters();
    let more = |key: &str| after.get(key).unwrap_or(&0) - before.get(key).unwrap_or(&0);
    let of = |buffer: &Buffer, key: &str| more(&format!("{:#x}.{key}", buffer.address()));

    let (k, features) = if up {
        (products.hidden, products.ffn_hidden)
    } else {
        (products.ffn_hidden, products.hidden)
    };
    let path = path(device, few);
    let own = if up { path.features / 2 } else { path.features };
    let own = if device.info().images == "sm_90a" && few && !in_out {
        even(device, features, experts.min(rows), own)
    } else {
        own
    };
    let columns = features.div_ceil(own);
    let mut matrix = 0;
    for &count in &counts {
        for first in (0..count).step_by(path.rows as usize) {
            matrix += columns * (path.products)((count - first).min(path.rows), k);
        }
    }
    let found: u64 =
        after.keys().filter(|key| key.starts_with("matrix.")).map(|key| more(key)).sum();
    assert_eq!(found, matrix, "{name}: matrix instructions");
    // Where f32 sums are turned, a warp may read twice.
    let turned = if few { 4 * rows * columns } else { 0 };
    let conflicts = more("shared.conflicts");
    println!("{name}: {conflicts} conflicts, {turned} allowed");
    assert!(conflicts <= turned, "{name}: {conflicts} conflicts, {turned} allowed");

    let sectors = |rows: u64, columns: u64| rows * columns * 2 / 32;
    let tiles: u64 = counts.iter().map(|count| count.div_ceil(path.rows)).sum();
    let active = counts.iter().filter(|&&count| count > 0).count() as u64;
    let weights = if up { vec![&products.gate, &products.up] } else { vec![&products.down] };
    for weight in weights {
        let once = sectors(features, k);
        assert_eq!(of(weight, "unique_sectors_read"), active * once, "{name}: weights");
        assert_eq!(of(weight, "sectors_read"), tiles * once, "{name}: weights");
    }
    let (x, out) =
        if up { (&products.x, &products.middle) } else { (&products.middle, &products.out) };
    assert_eq!(of(x, "unique_sectors_read"), sectors(rows, k), "{name}: x");
    // Gathered rows are read once for each column of tiles; a box of sm_90a reads on past an expert's last.
    let boxes = device.info().images == "sm_90a" && !few && !up;
    if device.info().platform == Platform::Cuda && !boxes {
        assert_eq!(of(x, "sectors_read"), columns * sectors(rows, k), "{name}: x");
    }
    assert_eq!(of(out, "unique_sectors_written"), sectors(rows, features), "{name}: out");
    assert_eq!(of(out, "bytes_written"), rows * features * 2, "{name}: out");
    assert_eq!(of(out, "sectors_read"), 0, "{name}: out");
}

/// Seeds that round alike: the models of matrix units follow each other by twelves.
#[test]
fn every_schedule_multiplies_alike() {
    let Some(simulator) = Simulator::find() else { return };
    for device in able() {
        let stream = device.stream().unwrap();
        for counts in [&[3u64, 0, 20][..], &[70, 5]] {
            let mut of_model: Vec<Option<[Vec<bf16>; 2]>> = vec![None; 12];
            for seed in 0..48 {
                simulator.set_seed(seed);
                let mut products = Products::new(&stream, [72, 104], counts, 4);
                products.go_up(&stream).unwrap();
                products.go_down(&stream, true).unwrap();
                let results = [&products.middle, &products.out].map(|of| of.read(&stream).unwrap());
                let first = of_model[seed as usize % 12].get_or_insert_with(|| results.clone());
                assert!(*first == results, "{device}: seed {seed} gives other bits: {counts:?}");
            }
        }
    }
    simulator.set_seed(0);
    assert_eq!(simulator.text("expertile_sim_reports"), "");
}
