//! The router: calls, traffic, devices, schedules, replays, threads.

use crate::calls::{graph_calls, launch_call};
use crate::devices::{pairs, refused};
use crate::routing::{EXPERTS, Way};
use crate::simulator::{Simulator, devices};
use crate::traffic::{check_floor, sectors};
use expertile::{Buffer, Dtype, Graph, Result, Router, RouterInput, Scoring, Stream, router};
use half::bf16;
use std::mem::swap;

/// What a call works on.
struct Route {
    tokens: u64,
    /// 0: logits are given.
    hidden: u64,
    experts: u64,
    top_k: u64,
    /// Whether logits, counts and scores are asked for.
    keeps: bool,
    /// Whether ids are forced; scores are sigmoids with a bias then, and a softmax else.
    forces: bool,
    /// Hidden states or logits.
    rows: Buffer,
    weight: Buffer,
    bias: Buffer,
    forced: Buffer,
    ids: Buffer,
    weights: Buffer,
    logits: Buffer,
    counts: Buffer,
    probabilities: Buffer,
}

impl Route {
    fn new(stream: &Stream, [tokens, hidden, experts, top_k]: [u64; 4], seed: u64) -> Route {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut values = |count: u64| -> Buffer {
            let value = |_| bf16::from_f32(random.f32() * 2.0 - 1.0);
            Buffer::from_slice(stream, &(0..count).map(value).collect::<Vec<bf16>>()).unwrap()
        };
        let rows = values(tokens * if hidden == 0 { experts } else { hidden });
        let weight = values(experts * hidden);
        let new = |dtype, elements, byte| {
            let mut buffer = Buffer::new(stream.device(), dtype, elements).unwrap();
            buffer.fill_bytes(stream, byte).unwrap();
            buffer
        };
        let forced: Vec<i32> = (0..tokens * top_k).map(|i| (i % experts) as i32).collect();
        let bias: Vec<f32> = (0..experts).map(|expert| (expert % 3) as f32 * 0.25).collect();
        Route {
            tokens,
            hidden,
            experts,
            top_k,
            keeps: false,
            forces: false,
            rows,
            weight,
            bias: Buffer::from_slice(stream, &bias).unwrap(),
            forced: Buffer::from_slice(stream, &forced).unwrap(),
            ids: new(Dtype::I32, tokens * top_k, 0xff),
            weights: new(Dtype::F32, tokens * top_k, 0xff),
            logits: new(Dtype::F32, tokens * experts, 0xff),
            counts: new(Dtype::I32, experts, 0),
            probabilities: new(Dtype::F32, tokens * experts, 0xff),
        }
    }

    /// One that asks for all there is.
    fn keeping(mut self) -> Route {
        self.keeps = true;
        self
    }

    fn go(&mut self, stream: &Stream) -> Result<()> {
        let (slots, scores) = ([self.tokens, self.top_k], [self.tokens, self.experts]);
        let input = if self.hidden == 0 {
            RouterInput::Logits(self.rows.tensor(&scores)?)
        } else {
            RouterInput::Hidden {
                h: self.rows.tensor(&[self.tokens, self.hidden])?,
                weight: self.weight.tensor(&[self.experts, self.hidden])?,
                round_logits: true,
            }
        };
        let keeps_logits = self.keeps && self.hidden > 0;
        let scoring = if self.forces {
            Scoring::Sigmoid { bias: Some(self.bias.tensor(&[self.experts])?), normalize: true }
        } else {
            Scoring::Softmax { p_norm: Some(1.0) }
        };
        let arguments = Router {
            input,
            scoring,
            groups: None,
            scale: 1.0,
            forced: if self.forces { Some(self.forced.tensor(&slots)?) } else { None },
            ids: self.ids.tensor_mut(&slots)?,
            weights: self.weights.tensor_mut(&slots)?,
            logits: if keeps_logits { Some(self.logits.tensor_mut(&scores)?) } else { None },
            counts: if self.keeps { Some(self.counts.tensor_mut(&[self.experts])?) } else { None },
            probabilities: match self.keeps {
                true => Some(self.probabilities.tensor_mut(&scores)?),
                false => None,
            },
        };
        router(stream, &arguments)
    }

    /// Counts from 0, since they are added to.
    fn go_anew(&mut self, stream: &Stream) -> Result<()> {
        self.counts.fill_bytes(stream, 0)?;
        self.go(stream)
    }

    /// All that is left, in bits.
    fn results(&self, stream: &Stream) -> Vec<u32> {
        let mut results: Vec<u32> = Vec::new();
        for buffer in [&self.ids, &self.counts] {
            results.extend(buffer.read::<i32>(stream).unwrap().into_iter().map(|x| x as u32));
        }
        for buffer in [&self.weights, &self.logits, &self.probabilities] {
            results.extend(buffer.read::<f32>(stream).unwrap().into_iter().map(f32::to_bits));
        }
        results
    }
}

#[test]
fn the_router_makes_the_launches_that_are_planned() {
    let Some(simulator) = Simulator::find() else { return };
    for device in devices() {
        let stream = device.stream().unwrap();
        let (launch, platform) = (launch_call(&device), device.info().platform);
        let launches = |run: &mut dyn FnMut()| {
            let before = simulator.calls(platform);
            run();
            let after = simulator.calls(platform);
            let made = after.since(&before);
            assert!(made.iter().all(|(name, _)| *name == launch), "{made:?}");
            made.iter().map(|(_, count)| count).sum::<u64>()
        };
        for (extents, keeps, planned) in [
            ([3, 64, 16, 4], false, 1),
            ([3, 64, 64, 4], true, 1),
            ([3, 64, 65, 4], false, 1),
            ([3, 64, 65, 4], true, 2),
            ([3, 0, 256, 4], true, 1),
            ([0, 64, 256, 4], true, 0),
            ([0, 0, 16, 4], true, 0),
        ] {
            let mut route = Route::new(&stream, extents, 1);
            route.keeps = keeps;
            let made = launches(&mut || route.go(&stream).unwrap());
            assert_eq!(made, planned, "{device}: {extents:?}, {keeps}");
        }
        // From 64 tokens of DBRX to their rows sorted by expert.
        let mut route = Route::new(&stream, [64, 6144, EXPERTS, 4], 1).keeping();
        let mut way = Way::new(&stream, 64, 4, 64, 1);
        let made = launches(&mut || {
            route.go(&stream).unwrap();
            swap(&mut route.ids, &mut way.ids);
            way.dispatch(&stream).unwrap();
        });
        assert_eq!(made, 2, "{device}");
        let counts: Vec<i32> = way.counts.read(&stream).unwrap();
        assert_eq!(counts, route.counts.read::<i32>(&stream).unwrap(), "{device}");
        assert_eq!(counts.iter().sum::<i32>(), 64 * 4, "{device}");
    }
    assert_eq!(simulator.text("expertile_sim_reports"), "");
}

/// A counter of a buffer since it was allocated.
fn counter(simulator: &Simulator, buffer: &Buffer, key: &str) -> u64 {
    simulator.counters().get(&format!("{:#x}.{key}", buffer.address())).copied().unwrap_or(0)
}

#[test]
fn the_router_moves_no_more_than_it_must() {
    let Some(simulator) = Simulator::find() else { return };
    for device in devices() {
        let stream = device.stream().unwrap();
        // The ids and the weights of a token fill a sector.
        let (tokens, experts, top_k) = (4096, 256, 8);
        let mut route = Route::new(&stream, [tokens, 0, experts, top_k], 2);
        route.go(&stream).unwrap();
        stream.synchronize().unwrap();
        let moved = sectors(&simulator, &[&route.rows, &route.ids, &route.weights]);
        check_floor("router of logits", &device, moved, tokens * (2 * experts + 8 * top_k));

        // From hidden states memory is asked once for each sector of them; the cache, once for 8 experts.
        let (tokens, hidden, experts) = (512, 6144, 16);
        let mut route = Route::new(&stream, [tokens, hidden, experts, 8], 2);
        route.go(&stream).unwrap();
        stream.synchronize().unwrap();
        let floor = |rows: u64| rows * 2 * hidden / 32;
        let read = |buffer: &Buffer| {
            ["sectors_read", "unique_sectors_read"].map(|key| counter(&simulator, buffer, key))
        };
        let [of_h, unique] = read(&route.rows);
        println!("router on {device}: {of_h} sectors of h, {unique} different ones");
        assert_eq!((of_h, unique), (experts / 8 * floor(tokens), floor(tokens)), "{device}");
        // Tokens share each vector of the weight by fours where there are more than blocks.
        let shared = if tokens > 2 * u64::from(device.info().multiprocessors) { 4 } else { 1 };
        let [of_weight, unique] = read(&route.weight);
        let expected = (tokens / shared * floor(experts), floor(experts));
        assert_eq!((of_weight, unique), expected, "{device}");
        let written = sectors(&simulator, &[&route.ids, &route.weights]);
        assert_eq!(written, tokens * 2 * 8 * 4 / 32, "{device}");
    }
    assert_eq!(simulator.text("expertile_sim_reports"), "");
}

/// An argument, and how two calls exchange it.
type Exchange = (&'static str, fn(&mut Route, &mut Route));

#[test]
fn the_router_refuses_what_is_of_another_device() {
    let Some(simulator) = Simulator::find() else { return };
    for pair in &pairs() {
        let [own, other] = [0, 1].map(|index: usize| pair[index].stream().unwrap());
        let before = simulator.calls(pair[0].info().platform);
        let of_hidden: &[Exchange] = &[
            ("h", |a, b| swap(&mut a.rows, &mut b.rows)),
            ("weight", |a, b| swap(&mut a.weight, &mut b.weight)),
            ("bias", |a, b| swap(&mut a.bias, &mut b.bias)),
            ("forced", |a, b| swap(&mut a.forced, &mut b.forced)),
            ("ids", |a, b| swap(&mut a.ids, &mut b.ids)),
            ("weights", |a, b| swap(&mut a.weights, &mut b.weights)),
            ("logits", |a, b| swap(&mut a.logits, &mut b.logits)),
            ("counts", |a, b| swap(&mut a.counts, &mut b.counts)),
            ("probabilities", |a, b| swap(&mut a.probabilities, &mut b.probabilities)),
        ];
        let of_logits: &[Exchange] = &[("logits", |a, b| swap(&mut a.rows, &mut b.rows))];
        for (hidden, exchanges) in [(64, of_hidden), (0, of_logits)] {
            let new = || {
                [&own, &other].map(|stream| {
                    let mut route = Route::new(stream, [2, hidden, 16, 4], 3).keeping();
                    route.forces = true;
                    route
                })
            };
            for (argument, exchange) in exchanges {
                let [mut route, mut another] = new();
                exchange(&mut route, &mut another);
                refused(route.go(&own), "router", argument, pair);
            }
            let [mut route, _] = new();
            refused(route.go(&other), "router", exchanges[0].0, pair);
        }
        let after = simulator.calls(pair[0].info().platform);
        let made = after.since(&before);
        assert!(made.iter().all(|(name, _)| !name.contains("Launch")), "{made:?}");
    }
}

/// A block of one token, tiles of four, two launches, given logits, forced ids.
fn several(stream: &Stream, seed: u64) -> Vec<Route> {
    let most = 2 * u64::from(stream.device().info().multiprocessors);
    let shapes = [[3, 1040, 16, 4], [most + 3, 8, 5, 2], [5, 40, 70, 8], [11, 0, 90, 16]];
    let mut routes: Vec<Route> =
        shapes.into_iter().map(|extents| Route::new(stream, extents, seed).keeping()).collect();
    routes.push(Route::new(stream, [9, 16, 16, 4], seed).keeping());
    routes[4].forces = true;
    routes
}

#[test]
fn every_schedule_chooses_the_same_experts() {
    let Some(simulator) = Simulator::find() else { return };
    for device in devices() {
        let stream = device.stream().unwrap();
        let mut first: Option<Vec<Vec<u32>>> = None;
        for seed in 0..100 {
            simulator.set_seed(seed);
            let mut routes = several(&stream, 4);
            let results = routes.iter_mut().map(|route| {
                route.go(&stream).unwrap();
                route.results(&stream)
            });
            let results: Vec<Vec<u32>> = results.collect();
            let first = first.get_or_insert_with(|| results.clone());
            assert!(*first == results, "{device}: seed {seed} gives other bits than seed 0");
        }
    }
    assert_eq!(simulator.text("expertile_sim_reports"), "");
}

#[test]
fn a_thousand_replays_of_the_router_are_a_thousand_calls() {
    let Some(simulator) = Simulator::find() else { return };
    for device in devices() {
        let stream = device.stream().unwrap();
        let launch_graph = graph_calls(&device)[4];
        // One launch, and two.
        for extents in [[3, 64, 16, 4], [2, 16, 66, 4]] {
            let [mut recorded, mut direct] =
                [(); 2].map(|()| Route::new(&stream, extents, 5).keeping());
            // SAFETY: `recorded` outlives the graph, and is used only when the stream was waited for.
            let graph = unsafe { Graph::capture(&stream, |stream| recorded.go_anew(stream)) };
            let graph = graph.unwrap();
            let mut random = fastrand::Rng::with_seed(8);
            let mut last = Vec::new();
            for round in 0..500 {
                let value = |_| bf16::from_f32(random.f32() * 8.0 - 4.0);
                let rows: Vec<bf16> = (0..recorded.rows.elements()).map(value).collect();
                recorded.rows.write(&stream, &rows).unwrap();
                direct.rows.write(&stream, &rows).unwrap();
                let before = simulator.calls(device.info().platform);
                graph.launch(&stream).unwrap();
                let after = simulator.calls(device.info().platform);
                assert_eq!(after.since(&before), [(launch_graph, 1)], "{device}: {round}");
                direct.go_anew(&stream).unwrap();
                let (found, wanted) = (recorded.results(&stream), direct.results(&stream));
                assert!(found == wanted, "{device}: round {round} differs from a direct call");
                assert!(found != last, "{device}: round {round} changed nothing");
                last = found;
            }
        }
    }
    assert_eq!(simulator.text("expertile_sim_reports"), "");
}

#[test]
fn threads_and_streams_choose_apart() {
    let Some(simulator) = Simulator::find() else { return };
    let work = |device: &expertile::Device, kind: u64| -> Vec<Vec<u32>> {
        let streams = [(); 4].map(|()| device.stream().unwrap());
        let mut lanes: Vec<(Vec<Route>, &Stream)> =
            (kind..).zip(&streams).map(|(seed, stream)| (several(stream, seed), stream)).collect();
        for _ in 0..2 {
            for (routes, stream) in &mut lanes {
                routes.iter_mut().for_each(|route| route.go_anew(stream).unwrap());
            }
        }
        let results = |(routes, stream): &(Vec<Route>, &Stream)| {
            routes.iter().flat_map(|route| route.results(stream)).collect()
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
