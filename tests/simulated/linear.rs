//! Dense layers: calls, traffic, matrix instructions, devices, schedules, replays.

use crate::calls::{graph_calls, launch_call};
use crate::devices::{pairs, refused};
use crate::simulator::{Simulator, devices};
use expertile::{
    Buffer, Device, Graph, Linear, LinearOut, Platform, Result, Stream, WeightLayout, linear,
};
use half::bf16;
use std::collections::HashMap;
use std::mem::swap;

/// What a call works on.
pub(crate) struct Dense {
    tokens: u64,
    in_features: u64,
    out_features: u64,
    in_out: bool,
    pub(crate) x: Buffer,
    pub(crate) weight: Buffer,
    pub(crate) residual: Buffer,
    pub(crate) out: Buffer,
}

impl Dense {
    pub(crate) fn new(
        stream: &Stream,
        [tokens, in_features, out_features]: [u64; 3],
        in_out: bool,
        seed: u64,
    ) -> Dense {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut values = |count: u64| {
            let value = |_| bf16::from_f32(random.f32() * 4.0 - 2.0);
            Buffer::from_slice(stream, &(0..count).map(value).collect::<Vec<bf16>>()).unwrap()
        };
        Dense {
            tokens,
            in_features,
            out_features,
            in_out,
            x: values(tokens * in_features),
            weight: values(in_features * out_features),
            residual: values(tokens * out_features),
            out: values(tokens * out_features),
        }
    }

    pub(crate) fn go(&mut self, stream: &Stream) -> Result<()> {
        let shape = [self.tokens, self.out_features];
        let (weight, layout) = if self.in_out {
            ([self.in_features, self.out_features], WeightLayout::InOut)
        } else {
            ([self.out_features, self.in_features], WeightLayout::OutIn)
        };
        let arguments = Linear {
            x: self.x.tensor(&[self.tokens, self.in_features])?,
            weight: self.weight.tensor(&weight)?,
            layout,
            clamp: Some(8.0),
            out: LinearOut::Add(self.residual.tensor(&shape)?, self.out.tensor_mut(&shape)?),
        };
        linear(stream, &arguments)
    }

    pub(crate) fn results(&self, stream: &Stream) -> Vec<bf16> {
        self.out.read(stream).unwrap()
    }
}

/// The counters of a call.
pub(crate) fn counted(
    simulator: &Simulator,
    stream: &Stream,
    dense: &mut Dense,
) -> HashMap<String, u64> {
    stream.synchronize().unwrap();
    let before = simulator.counters();
    dense.go(stream).unwrap();
    stream.synchronize().unwrap();
    let more = |(key, value): (String, u64)| {
        let more = value - before.get(&key).unwrap_or(&0);
        (key, more)
    };
    simulator.counters().into_iter().map(more).collect()
}

/// One device of each architecture that runs the kernels of sm_80.
fn sm80_devices() -> Vec<Device> {
    let mut devices = devices();
    devices.retain(|device| ["sm_80", "sm_89"].contains(&device.info().images));
    devices
}

#[test]
fn a_dense_layer_is_one_launch() {
    let Some(simulator) = Simulator::find() else { return };
    for device in sm80_devices() {
        let stream = device.stream().unwrap();
        for (tokens, planned) in [(0, None), (1, Some(1)), (64, Some(1)), (65, Some(1))] {
            let mut dense = Dense::new(&stream, [tokens, 64, 136], false, 1);
            let before = simulator.calls(Platform::Cuda);
            dense.go(&stream).unwrap();
            let after = simulator.calls(Platform::Cuda);
            let planned: Vec<_> =
                planned.map(|count| (launch_call(&device), count)).into_iter().collect();
            assert_eq!(after.since(&before), planned, "{device}: {tokens} tokens");
        }
        stream.synchronize().unwrap();
    }
    assert_eq!(simulator.text("expertile_sim_reports"), "");
}

/// The path for few tokens, and that for many.
#[test]
fn dense_layers_do_what_their_tiles_ask_for() {
    let Some(simulator) = Simulator::find() else { return };
    for device in sm80_devices() {
        let stream = device.stream().unwrap();
        let multiprocessors = u64::from(device.info().multiprocessors);
        for (in_out, warps) in [(false, [1, 3, 5, 8]), (true, [1, 2, 4, 8])] {
            // From one to eight warps a block for few tokens; tails of tokens, features and k for many.
            let few = [1, 8, 9, 64].into_iter().zip(warps);
            let few = few.map(|(tokens, warps)| [tokens, 208, 16 * (warps * multiprocessors - 1)]);
            let many = [[65, 64, 128], [129, 208, 272], [300, 400, 144]];
            for extents in few.chain(many) {
                check_tiles(&simulator, &device, &stream, extents, in_out);
            }
        }
    }
    assert_eq!(simulator.text("expertile_sim_reports"), "");
}

/// Extents are multiples of 16, so that no row begins within a sector.
fn check_tiles(
    simulator: &Simulator,
    device: &Device,
    stream: &Stream,
    extents: [u64; 3],
    in_out: bool,
) {
    let [tokens, in_features, out_features] = extents;
    let mut dense = Dense::new(stream, extents, in_out, 2);
    stream.synchronize().unwrap();
    let before = simulator.counters();
    dense.go(stream).unwrap();
    stream.synchronize().unwrap();
    let after = simulator.counters();
    let more = |key: &str| after.get(key).unwrap_or(&0) - before.get(key).unwrap_or(&0);
    let of = |buffer: &Buffer, key: &str| more(&format!("{:#x}.{key}", buffer.address()));

    // Matrix instructions, and how often x and the weight are read.
    let (matrix, x_reads, weight_reads) = if tokens <= 64 {
        let warps = out_features.div_ceil(16).div_ceil(device.info().multiprocessors.into());
        let blocks = out_features.div_ceil(16 * warps);
        let columns = tokens.div_ceil(8);
        (blocks * warps * columns * 4 * in_features.div_ceil(64), blocks, 1)
    } else {
        let (token_tiles, feature_tiles) = (tokens.div_ceil(128), out_features.div_ceil(128));
        let each = 4 * 4 * 8 * 2 * in_features.div_ceil(32);
        (token_tiles * feature_tiles * each, feature_tiles, token_tiles)
    };
    let name = format!("{extents:?}, in_out {in_out}, on {}", device.info().images);
    assert_eq!(more("matrix.m16n8k16.bf16"), matrix, "{name}: matrix instructions");
    assert_eq!(more("shared.conflicts"), 0, "{name}: conflicts");
    let sectors = |rows: u64, columns: u64| rows * columns * 2 / 32;
    let [x, weight, out] = [
        sectors(tokens, in_features),
        sectors(in_features, out_features),
        sectors(tokens, out_features),
    ];
    assert_eq!(of(&dense.x, "sectors_read"), x * x_reads, "{name}: x");
    assert_eq!(of(&dense.weight, "sectors_read"), weight * weight_reads, "{name}: weight");
    assert_eq!(of(&dense.weight, "unique_sectors_read"), weight, "{name}: weight");
    assert_eq!(of(&dense.residual, "sectors_read"), out, "{name}: residual");
    assert_eq!(of(&dense.out, "sectors_written"), out, "{name}: out");
    assert_eq!(of(&dense.out, "sectors_read"), 0, "{name}: out");
}

/// What the loop over k takes: the instructions of PTX that 128 more of k cost, for each product among them. For few
/// tokens the products are few, and what counts is the weight.
#[test]
fn the_loop_of_a_dense_layer_is_short() {
    let Some(simulator) = Simulator::find() else { return };
    for device in sm80_devices() {
        let stream = device.stream().unwrap();
        let multiprocessors = u64::from(device.info().multiprocessors);
        for (tokens, out_features, in_out, most) in [
            (128, 128, false, 4.0),
            (128, 128, true, 3.0),
            (64, 80 * multiprocessors, false, 10.0),
            (64, 64 * multiprocessors, true, 11.0),
        ] {
            let cost = |in_features: u64| {
                let mut dense = Dense::new(&stream, [tokens, in_features, out_features], in_out, 6);
                stream.synchronize().unwrap();
                let before = simulator.counters();
                dense.go(&stream).unwrap();
                stream.synchronize().unwrap();
                let after = simulator.counters();
                ["warp_instructions", "matrix.m16n8k16.bf16"]
                    .map(|key| after[key] - before.get(key).unwrap_or(&0))
            };
            let ([few, few_products], [many, many_products]) = (cost(128), cost(256));
            let each = (many - few) as f64 / (many_products - few_products) as f64;
            let name = format!("{tokens} tokens, in_out {in_out}, on {}", device.info().images);
            println!("{name}: {each:.2} instructions a product");
            assert!(each <= most, "{name}: {each:.2} instructions a product");
        }
    }
    assert_eq!(simulator.text("expertile_sim_reports"), "");
}

/// An argument, and how two calls exchange it.
type Exchange = (&'static str, fn(&mut Dense, &mut Dense));

#[test]
fn dense_layers_refuse_what_is_of_another_device() {
    let Some(simulator) = Simulator::find() else { return };
    for pair in &pairs() {
        let [own, other] = [0, 1].map(|index: usize| pair[index].stream().unwrap());
        let before = simulator.calls(pair[0].info().platform);
        let exchanges: [Exchange; 4] = [
            ("x", |a, b| swap(&mut a.x, &mut b.x)),
            ("weight", |a, b| swap(&mut a.weight, &mut b.weight)),
            ("residual", |a, b| swap(&mut a.residual, &mut b.residual)),
            ("out", |a, b| swap(&mut a.out, &mut b.out)),
        ];
        let new = || [&own, &other].map(|stream| Dense::new(stream, [2, 16, 8], false, 3));
        for (argument, exchange) in exchanges {
            let [mut dense, mut another] = new();
            exchange(&mut dense, &mut another);
            refused(dense.go(&own), "linear", argument, pair);
        }
        let [mut dense, _] = new();
        refused(dense.go(&other), "linear", "x", pair);
        let after = simulator.calls(pair[0].info().platform);
        let made = after.since(&before);
        assert!(made.iter().all(|(name, _)| !name.contains("Launch")), "{made:?}");
    }
}

/// Extents, whether the weight lies as `[in_features, out_features]`, and how many schedules.
pub(crate) type Scheduled = ([u64; 3], bool, u64);

/// Whatever the schedule, of seeds that round alike: the models of matrix units follow each other by so many.
pub(crate) fn schedules_multiply_alike(
    devices: fn() -> Vec<Device>,
    models: usize,
    cases: &[Scheduled],
) {
    let Some(simulator) = Simulator::find() else { return };
    for device in devices() {
        let stream = device.stream().unwrap();
        for &(extents, in_out, seeds) in cases {
            let mut of_model: Vec<Option<Vec<bf16>>> = vec![None; models];
            for seed in 0..seeds {
                simulator.set_seed(seed);
                let mut dense = Dense::new(&stream, extents, in_out, 4);
                dense.go(&stream).unwrap();
                let results = dense.results(&stream);
                let first = of_model[seed as usize % models].get_or_insert_with(|| results.clone());
                assert!(*first == results, "{device}: seed {seed} gives other bits: {extents:?}");
            }
        }
    }
    simulator.set_seed(0);
    assert_eq!(simulator.text("expertile_sim_reports"), "");
}

/// With 104 of k the last stage is the one in which sums are turned.
#[test]
fn every_schedule_multiplies_alike() {
    let cases = [([70, 104, 200], false, 30), ([130, 72, 72], true, 30), ([19, 200, 88], true, 30)];
    schedules_multiply_alike(sm80_devices, 3, &cases);
}

/// A replay with new data is one call, and gives the bits of a direct call.
pub(crate) fn replays_are_calls(devices: fn() -> Vec<Device>, tokens: &[u64]) {
    let Some(simulator) = Simulator::find() else { return };
    for device in devices() {
        let stream = device.stream().unwrap();
        let (platform, launch_graph) = (device.info().platform, graph_calls(&device)[4]);
        for &tokens in tokens {
            let [mut recorded, mut direct] =
                [(); 2].map(|()| Dense::new(&stream, [tokens, 64, 24], false, 5));
            // SAFETY: `recorded` outlives the graph, and is used only when the stream was waited for.
            let graph = unsafe { Graph::capture(&stream, |stream| recorded.go(stream)) }.unwrap();
            let mut random = fastrand::Rng::with_seed(8);
            for round in 0..20 {
                let value = |_| bf16::from_f32(random.f32() * 8.0 - 4.0);
                let x: Vec<bf16> = (0..recorded.x.elements()).map(value).collect();
                recorded.x.write(&stream, &x).unwrap();
                direct.x.write(&stream, &x).unwrap();
                let before = simulator.calls(platform);
                graph.launch(&stream).unwrap();
                let after = simulator.calls(platform);
                assert_eq!(after.since(&before), [(launch_graph, 1)], "{device}: {round}");
                direct.go(&stream).unwrap();
                let (found, wanted) = (recorded.results(&stream), direct.results(&stream));
                assert!(found == wanted, "{device}: round {round} differs from a direct call");
            }
        }
    }
    assert_eq!(simulator.text("expertile_sim_reports"), "");
}

#[test]
fn a_replay_of_a_dense_layer_is_a_call() {
    replays_are_calls(sm80_devices, &[3, 70]);
}
