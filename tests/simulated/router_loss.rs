//! The router's losses: calls, traffic, devices, schedules, replays, threads.

use crate::calls::{graph_calls, launch_call};
use crate::devices::{pairs, refused};
use crate::simulator::{Simulator, devices};
use crate::traffic::{check_floor, sectors};
use expertile::{
    Buffer, Device, Dtype, Graph, Result, RouterLoss, Stream, router_loss,
    router_loss_workspace_bytes,
};
use half::bf16;
use std::mem::swap;

/// What a call works on.
struct Loss {
    shape: [u64; 2],
    top_k: u64,
    logits: Buffer,
    ids: Buffer,
    losses: Buffer,
    counts: Buffer,
    mean_probabilities: Buffer,
    workspace: Buffer,
}

impl Loss {
    fn new(stream: &Stream, [tokens, experts, top_k]: [u64; 3], seed: u64) -> Loss {
        let mut random = fastrand::Rng::with_seed(seed);
        let logits: Vec<bf16> =
            (0..tokens * experts).map(|_| bf16::from_f32(random.f32() * 8.0 - 4.0)).collect();
        // -1 and the number of experts are none.
        let ids: Vec<i32> = (0..tokens * top_k).map(|_| random.i32(-1..=experts as i32)).collect();
        let new = |dtype, elements| {
            let mut buffer = Buffer::new(stream.device(), dtype, elements).unwrap();
            buffer.fill_bytes(stream, 0xff).unwrap();
            buffer
        };
        Loss {
            shape: [tokens, experts],
            top_k,
            logits: Buffer::from_slice(stream, &logits).unwrap(),
            ids: Buffer::from_slice(stream, &ids).unwrap(),
            losses: new(Dtype::F32, 3),
            counts: new(Dtype::I32, experts),
            mean_probabilities: new(Dtype::F32, experts),
            workspace: new(Dtype::I32, router_loss_workspace_bytes(tokens, experts) / 4),
        }
    }

    fn go(&mut self, stream: &Stream) -> Result<()> {
        let ([tokens, experts], kept) = (self.shape, self.workspace.elements());
        let arguments = RouterLoss {
            logits: self.logits.tensor(&self.shape)?,
            ids: self.ids.tensor(&[tokens, self.top_k])?,
            losses: self.losses.tensor_mut(&[3])?,
            counts: self.counts.tensor_mut(&[experts])?,
            mean_probabilities: self.mean_probabilities.tensor_mut(&[experts])?,
            workspace: self.workspace.tensor_mut(&[kept])?,
        };
        router_loss(stream, &arguments)
    }

    /// All that is left, in bits.
    fn results(&self, stream: &Stream) -> Vec<u32> {
        let counts: Vec<i32> = self.counts.read(stream).unwrap();
        let mut results: Vec<u32> = counts.into_iter().map(|count| count as u32).collect();
        for buffer in [&self.losses, &self.mean_probabilities] {
            results.extend(buffer.read::<f32>(stream).unwrap().into_iter().map(f32::to_bits));
        }
        results
    }
}

#[test]
fn the_losses_make_the_launches_that_are_planned() {
    let Some(simulator) = Simulator::find() else { return };
    for device in devices() {
        let stream = device.stream().unwrap();
        let (launch, platform) = (launch_call(&device), device.info().platform);
        for (tokens, planned) in [(0, 1), (1, 2), (256, 2), (257, 2), (1300, 2)] {
            let mut loss = Loss::new(&stream, [tokens, 16, 4], 1);
            let before = simulator.calls(platform);
            loss.go(&stream).unwrap();
            let after = simulator.calls(platform);
            assert_eq!(after.since(&before), [(launch, planned)], "{device}: {tokens}");
            let empty = loss.results(&stream).iter().all(|&bits| bits == 0);
            assert_eq!(empty, tokens == 0, "{device}: {tokens}");
        }
    }
    assert_eq!(simulator.text("expertile_sim_reports"), "");
}

#[test]
fn the_losses_move_no_more_than_they_must() {
    let Some(simulator) = Simulator::find() else { return };
    for device in devices() {
        let stream = device.stream().unwrap();
        let (tokens, experts, top_k) = (4096, 256, 8);
        let mut loss = Loss::new(&stream, [tokens, experts, top_k], 2);
        let ids: Vec<i32> = (0..tokens * top_k).map(|i| (i * 7 % experts) as i32).collect();
        loss.ids.write(&stream, &ids).unwrap();
        let all = |loss: &Loss| {
            let Loss { logits, ids, losses, counts, mean_probabilities, workspace, .. } = loss;
            sectors(&simulator, &[logits, ids, losses, counts, mean_probabilities, workspace])
        };
        let before = all(&loss);
        loss.go(&stream).unwrap();
        stream.synchronize().unwrap();
        let moved = all(&loss) - before;
        // The sums of each chunk are written and read.
        let kept = 2 * router_loss_workspace_bytes(tokens, experts);
        let floor = tokens * (2 * experts + 4 * top_k) + kept + 8 * experts + 12;
        check_floor("router_loss", &device, moved, floor);
    }
    assert_eq!(simulator.text("expertile_sim_reports"), "");
}

/// An argument, and how two calls exchange it.
type Exchange = (&'static str, fn(&mut Loss, &mut Loss));

#[test]
fn the_losses_refuse_what_is_of_another_device() {
    let Some(simulator) = Simulator::find() else { return };
    for pair in &pairs() {
        let [own, other] = [0, 1].map(|index: usize| pair[index].stream().unwrap());
        let before = simulator.calls(pair[0].info().platform);
        let exchanges: [Exchange; 6] = [
            ("logits", |a, b| swap(&mut a.logits, &mut b.logits)),
            ("ids", |a, b| swap(&mut a.ids, &mut b.ids)),
            ("losses", |a, b| swap(&mut a.losses, &mut b.losses)),
            ("counts", |a, b| swap(&mut a.counts, &mut b.counts)),
            ("mean_probabilities", |a, b| {
                swap(&mut a.mean_probabilities, &mut b.mean_probabilities);
            }),
            ("workspace", |a, b| swap(&mut a.workspace, &mut b.workspace)),
        ];
        let new = || [&own, &other].map(|stream| Loss::new(stream, [2, 16, 4], 3));
        for (argument, exchange) in exchanges {
            let [mut loss, mut another] = new();
            exchange(&mut loss, &mut another);
            refused(loss.go(&own), "router_loss", argument, pair);
        }
        let [mut loss, _] = new();
        refused(loss.go(&other), "router_loss", "logits", pair);
        let after = simulator.calls(pair[0].info().platform);
        let made = after.since(&before);
        assert!(made.iter().all(|(name, _)| !name.contains("Launch")), "{made:?}");
    }
}

/// One chunk with idle warps, a full one, and several of which the last is short.
fn several(stream: &Stream, seed: u64) -> Vec<Loss> {
    let shapes = [[3, 70, 16], [256, 5, 2], [530, 16, 4]];
    shapes.into_iter().map(|extents| Loss::new(stream, extents, seed)).collect()
}

#[test]
fn every_schedule_loses_the_same() {
    let Some(simulator) = Simulator::find() else { return };
    for device in devices() {
        let stream = device.stream().unwrap();
        let mut first: Option<Vec<Vec<u32>>> = None;
        for seed in 0..40 {
            simulator.set_seed(seed);
            let mut losses = several(&stream, 4);
            let results = losses.iter_mut().map(|loss| {
                loss.go(&stream).unwrap();
                loss.results(&stream)
            });
            let results: Vec<Vec<u32>> = results.collect();
            let first = first.get_or_insert_with(|| results.clone());
            assert!(*first == results, "{device}: seed {seed} gives other bits than seed 0");
        }
    }
    assert_eq!(simulator.text("expertile_sim_reports"), "");
}

#[test]
fn a_thousand_replays_of_the_losses_are_a_thousand_calls() {
    let Some(simulator) = Simulator::find() else { return };
    for device in devices() {
        let stream = device.stream().unwrap();
        let launch_graph = graph_calls(&device)[4];
        let [mut recorded, mut direct] = [(); 2].map(|()| Loss::new(&stream, [3, 16, 4], 5));
        // SAFETY: `recorded` outlives the graph, and is used only when the stream was waited for.
        let graph = unsafe { Graph::capture(&stream, |stream| recorded.go(stream)) }.unwrap();
        let mut random = fastrand::Rng::with_seed(8);
        let mut last = Vec::new();
        for round in 0..1000 {
            let value = |_| bf16::from_f32(random.f32() * 8.0 - 4.0);
            let logits: Vec<bf16> = (0..recorded.logits.elements()).map(value).collect();
            recorded.logits.write(&stream, &logits).unwrap();
            direct.logits.write(&stream, &logits).unwrap();
            let before = simulator.calls(device.info().platform);
            graph.launch(&stream).unwrap();
            let after = simulator.calls(device.info().platform);
            assert_eq!(after.since(&before), [(launch_graph, 1)], "{device}: {round}");
            direct.go(&stream).unwrap();
            let (found, wanted) = (recorded.results(&stream), direct.results(&stream));
            assert!(found == wanted, "{device}: round {round} differs from a direct call");
            assert!(found != last, "{device}: round {round} changed nothing");
            last = found;
        }
    }
    assert_eq!(simulator.text("expertile_sim_reports"), "");
}

#[test]
fn threads_and_streams_lose_apart() {
    let Some(simulator) = Simulator::find() else { return };
    let work = |device: &Device, kind: u64| -> Vec<Vec<u32>> {
        let streams = [(); 4].map(|()| device.stream().unwrap());
        let mut lanes: Vec<(Vec<Loss>, &Stream)> =
            (kind..).zip(&streams).map(|(seed, stream)| (several(stream, seed), stream)).collect();
        for _ in 0..2 {
            for (losses, stream) in &mut lanes {
                losses.iter_mut().for_each(|loss| loss.go(stream).unwrap());
            }
        }
        let results = |(losses, stream): &(Vec<Loss>, &Stream)| {
            losses.iter().flat_map(|loss| loss.results(stream)).collect()
        };
        lanes.iter().map(results).collect()
    };
    for device in devices() {
        let alone: Vec<_> = (0..4).map(|kind| work(&device, 10 * kind)).collect();
        assert!((1..4).all(|kind| alone[kind] != alone[0]), "{device}: data of another");
        let together: Vec<_> = std::thread::scope(|scope| {
            let device = &device;
            let start = |thread: u64| scope.spawn(move || work(device, 10 * (thread % 4)));
            let threads: Vec<_> = (0..8).map(start).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        for (thread, found) in together.iter().enumerate() {
            assert!(*found == alone[thread % 4], "{device}: thread {thread}");
        }
    }
    assert_eq!(simulator.text("expertile_sim_reports"), "");
}
