//! Dispatch, combine and packets: calls, traffic, devices, schedules, replays, threads.

use crate::calls::{graph_calls, launch_call};
use crate::devices::{pairs, refused};
use crate::simulator::{Simulator, devices};
use crate::traffic::{check_floor, sectors};
use expertile::{
    Buffer, Combine, CombineOut, Dispatch, Dtype, Graph, PacketPack, PacketUnpack, Result, Stream,
    combine, dispatch, dispatch_workspace_bytes, max_tiles, packet_pack, packet_trailer,
    packet_unpack,
};
use half::bf16;
use std::mem::swap;

pub(crate) const EXPERTS: u64 = 16;

/// A token's way to its experts and back, all on one device: rows go through packets, and what comes out
/// of them is what the experts made.
pub(crate) struct Way {
    tokens: u64,
    top_k: u64,
    hidden: u64,
    /// Elements from one packet to the next.
    packet_stride: u64,
    pub(crate) ids: Buffer,
    weights: Buffer,
    x: Buffer,
    pairs: Buffer,
    rows: Buffer,
    offsets: Buffer,
    pub(crate) counts: Buffer,
    tiles: Buffer,
    tile_count: Buffer,
    workspace: Buffer,
    packets: Buffer,
    of_packets: [Buffer; 4],
    out: Buffer,
}

impl Way {
    pub(crate) fn new(stream: &Stream, tokens: u64, top_k: u64, hidden: u64, seed: u64) -> Way {
        let mut random = fastrand::Rng::with_seed(seed);
        let count = tokens * top_k;
        let mut values = |count: u64| -> Buffer {
            let value = |_| bf16::from_f32(random.f32() * 4.0 - 2.0);
            Buffer::from_slice(stream, &(0..count).map(value).collect::<Vec<bf16>>()).unwrap()
        };
        let (x, out) = (values(tokens * hidden), values(tokens * hidden));
        let ids: Vec<i32> = (0..count).map(|_| random.i32(-1..=EXPERTS as i32)).collect();
        let weights: Vec<f32> = (0..count).map(|_| random.f32()).collect();
        let new = |dtype, elements| {
            let mut buffer = Buffer::new(stream.device(), dtype, elements).unwrap();
            buffer.fill_bytes(stream, 0xff).unwrap();
            buffer
        };
        let i32s = |elements| new(Dtype::I32, elements);
        let packet_stride = (hidden + packet_trailer(Dtype::Bf16)).next_multiple_of(16);
        let info = stream.device().info();
        Way {
            tokens,
            top_k,
            hidden,
            packet_stride,
            ids: Buffer::from_slice(stream, &ids).unwrap(),
            weights: Buffer::from_slice(stream, &weights).unwrap(),
            x,
            pairs: i32s(count),
            rows: i32s(count),
            offsets: i32s(EXPERTS + 1),
            counts: i32s(EXPERTS),
            tiles: i32s(2 * max_tiles(count, EXPERTS, 32)),
            tile_count: i32s(1),
            workspace: i32s(dispatch_workspace_bytes(info, tokens, top_k, EXPERTS) / 4),
            packets: new(Dtype::Bf16, count * packet_stride),
            of_packets: [
                new(Dtype::Bf16, count * hidden),
                i32s(count),
                new(Dtype::F32, count),
                i32s(count),
            ],
            out,
        }
    }

    fn shape(&self) -> [u64; 2] {
        [self.tokens, self.top_k]
    }

    pub(crate) fn dispatch(&mut self, stream: &Stream) -> Result<()> {
        let (shape, count) = (self.shape(), self.tokens * self.top_k);
        let workspace = self.workspace.elements();
        let arguments = Dispatch {
            ids: self.ids.tensor(&shape)?,
            experts: 0..EXPERTS as u32,
            tile_rows: 32,
            pairs: self.pairs.tensor_mut(&[count])?,
            rows: self.rows.tensor_mut(&shape)?,
            offsets: self.offsets.tensor_mut(&[EXPERTS + 1])?,
            counts: self.counts.tensor_mut(&[EXPERTS])?,
            tiles: self.tiles.tensor_mut(&[max_tiles(count, EXPERTS, 32), 2])?,
            tile_count: self.tile_count.tensor_mut(&[1])?,
            workspace: self.workspace.tensor_mut(&[workspace])?,
        };
        dispatch(stream, &arguments)
    }

    fn packets_shape(&self) -> ([u64; 2], [u64; 2]) {
        let width = self.hidden + packet_trailer(Dtype::Bf16);
        ([self.tokens * self.top_k, width], [self.packet_stride, 1])
    }

    fn pack(&mut self, stream: &Stream) -> Result<()> {
        let (shape, (packets, strides)) = (self.shape(), self.packets_shape());
        let arguments = PacketPack {
            x: self.x.tensor(&[self.tokens, self.hidden])?,
            ids: self.ids.tensor(&shape)?,
            weights: self.weights.tensor(&shape)?,
            pairs: self.pairs.tensor(&packets[..1])?,
            offsets: self.offsets.tensor(&[EXPERTS + 1])?,
            packets: self.packets.strided_mut(&packets, &strides, 0)?,
        };
        packet_pack(stream, &arguments)
    }

    fn unpack(&mut self, stream: &Stream) -> Result<()> {
        let ([count, width], strides) = self.packets_shape();
        let [x, ids, weights, pairs] = &mut self.of_packets;
        let arguments = PacketUnpack {
            packets: self.packets.strided(&[count, width], &strides, 0)?,
            x: x.tensor_mut(&[count, self.hidden])?,
            ids: ids.tensor_mut(&[count, 1])?,
            weights: weights.tensor_mut(&[count, 1])?,
            pairs: pairs.tensor_mut(&[count])?,
        };
        packet_unpack(stream, &arguments)
    }

    fn combine(&mut self, stream: &Stream) -> Result<()> {
        let count = self.tokens * self.top_k;
        let arguments = Combine {
            expert_out: self.of_packets[0].tensor(&[count, self.hidden])?,
            rows: self.rows.tensor(&self.shape())?,
            out: CombineOut::Update(self.out.tensor_mut(&[self.tokens, self.hidden])?),
        };
        combine(stream, &arguments)
    }

    fn go(&mut self, stream: &Stream) -> Result<()> {
        self.dispatch(stream)?;
        self.pack(stream)?;
        self.unpack(stream)?;
        self.combine(stream)
    }

    /// All that the last call left, but the rows of packets that are none.
    fn results(&self, stream: &Stream) -> Vec<i32> {
        let mut results: Vec<i32> = Vec::new();
        for buffer in [
            &self.pairs,
            &self.rows,
            &self.offsets,
            &self.counts,
            &self.tiles,
            &self.tile_count,
            &self.of_packets[1],
            &self.of_packets[3],
        ] {
            results.extend(buffer.read::<i32>(stream).unwrap());
        }
        let out: Vec<bf16> = self.out.read(stream).unwrap();
        results.extend(out.iter().map(|value| i32::from(value.to_bits())));
        results
    }
}

#[test]
fn routing_makes_the_launches_that_are_planned() {
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
        let mut way = Way::new(&stream, 64, 4, 64, 1);
        assert_eq!(launches(&mut || way.dispatch(&stream).unwrap()), 1, "{device}");
        assert_eq!(launches(&mut || way.pack(&stream).unwrap()), 1, "{device}");
        assert_eq!(launches(&mut || way.unpack(&stream).unwrap()), 1, "{device}");
        assert_eq!(launches(&mut || way.combine(&stream).unwrap()), 1, "{device}");
        let mut long = Way::new(&stream, 1024, 4, 8, 1);
        assert_eq!(launches(&mut || long.dispatch(&stream).unwrap()), 1, "{device}");
        let mut longer = Way::new(&stream, 1025, 4, 8, 1);
        assert_eq!(launches(&mut || longer.dispatch(&stream).unwrap()), 2, "{device}");
        // Without tokens the offsets are written all the same, and nothing else is to be done.
        let mut none = Way::new(&stream, 0, 4, 64, 1);
        assert_eq!(launches(&mut || none.go(&stream).unwrap()), 1, "{device}");
        assert_eq!(none.offsets.read::<i32>(&stream).unwrap(), [0; EXPERTS as usize + 1]);
        stream.synchronize().unwrap();
    }
    assert_eq!(simulator.text("expertile_sim_reports"), "");
}

#[test]
fn routing_moves_no_more_than_it_must() {
    let Some(simulator) = Simulator::find() else { return };
    for device in devices() {
        let stream = device.stream().unwrap();
        let (tokens, top_k, hidden) = (512, 4, 6144);
        let mut way = Way::new(&stream, tokens, top_k, hidden, 2);
        let ids: Vec<i32> = (0..tokens * top_k).map(|i| (i * 7 % EXPERTS) as i32).collect();
        way.ids.write(&stream, &ids).unwrap();
        way.dispatch(&stream).unwrap();
        stream.synchronize().unwrap();
        // Each row of bf16 that moves: read and written.
        let (packets, row) = (tokens * top_k, 2 * hidden);
        let packed = |way: &Way| {
            let of = [&way.x, &way.ids, &way.weights, &way.pairs, &way.offsets, &way.packets];
            sectors(&simulator, &of)
        };
        let before = packed(&way);
        way.pack(&stream).unwrap();
        stream.synchronize().unwrap();
        let after = packed(&way);
        // Pair, id and weight of each packet, and its trailer.
        check_floor("packet_pack", &device, after - before, packets * (2 * row + 12 + 16) + 4);

        let unpacked = |way: &Way| {
            let [x, ids, weights, pairs] = &way.of_packets;
            sectors(&simulator, &[&way.packets, x, ids, weights, pairs])
        };
        let before = unpacked(&way);
        way.unpack(&stream).unwrap();
        stream.synchronize().unwrap();
        let after = unpacked(&way);
        check_floor("packet_unpack", &device, after - before, packets * (2 * row + 16 + 12));

        let combined = |way: &Way| sectors(&simulator, &[&way.of_packets[0], &way.rows, &way.out]);
        let before = combined(&way);
        way.combine(&stream).unwrap();
        stream.synchronize().unwrap();
        let after = combined(&way);
        // The rows of all slots, and the residual that the sum replaces.
        check_floor("combine", &device, after - before, packets * (row + 4) + tokens * 2 * row);
    }
    assert_eq!(simulator.text("expertile_sim_reports"), "");
}

/// An argument, and how two ways exchange it.
type Exchange = (&'static str, fn(&mut Way, &mut Way));

#[test]
fn routing_refuses_what_is_of_another_device() {
    let Some(_simulator) = Simulator::find() else { return };
    for pair in &pairs() {
        let [own, other] = [0, 1].map(|index: usize| pair[index].stream().unwrap());
        type Run = fn(&mut Way, &Stream) -> Result<()>;
        let operators: [(&str, Run, &[Exchange]); 4] = [
            (
                "dispatch",
                Way::dispatch,
                &[
                    ("ids", |a, b| swap(&mut a.ids, &mut b.ids)),
                    ("pairs", |a, b| swap(&mut a.pairs, &mut b.pairs)),
                    ("rows", |a, b| swap(&mut a.rows, &mut b.rows)),
                    ("offsets", |a, b| swap(&mut a.offsets, &mut b.offsets)),
                    ("counts", |a, b| swap(&mut a.counts, &mut b.counts)),
                    ("tiles", |a, b| swap(&mut a.tiles, &mut b.tiles)),
                    ("tile_count", |a, b| swap(&mut a.tile_count, &mut b.tile_count)),
                    ("workspace", |a, b| swap(&mut a.workspace, &mut b.workspace)),
                ],
            ),
            (
                "packet_pack",
                Way::pack,
                &[
                    ("x", |a, b| swap(&mut a.x, &mut b.x)),
                    ("ids", |a, b| swap(&mut a.ids, &mut b.ids)),
                    ("weights", |a, b| swap(&mut a.weights, &mut b.weights)),
                    ("pairs", |a, b| swap(&mut a.pairs, &mut b.pairs)),
                    ("offsets", |a, b| swap(&mut a.offsets, &mut b.offsets)),
                    ("packets", |a, b| swap(&mut a.packets, &mut b.packets)),
                ],
            ),
            (
                "packet_unpack",
                Way::unpack,
                &[
                    ("packets", |a, b| swap(&mut a.packets, &mut b.packets)),
                    ("x", |a, b| swap(&mut a.of_packets[0], &mut b.of_packets[0])),
                    ("ids", |a, b| swap(&mut a.of_packets[1], &mut b.of_packets[1])),
                    ("weights", |a, b| swap(&mut a.of_packets[2], &mut b.of_packets[2])),
                    ("pairs", |a, b| swap(&mut a.of_packets[3], &mut b.of_packets[3])),
                ],
            ),
            (
                "combine",
                Way::combine,
                &[
                    ("expert_out", |a, b| swap(&mut a.of_packets[0], &mut b.of_packets[0])),
                    ("rows", |a, b| swap(&mut a.rows, &mut b.rows)),
                    // In place it is the residual, which is looked at first.
                    ("residual", |a, b| swap(&mut a.out, &mut b.out)),
                ],
            ),
        ];
        for (name, run, exchanges) in operators {
            for (argument, exchange) in exchanges {
                let [mut way, mut another] =
                    [&own, &other].map(|stream| Way::new(stream, 2, 2, 64, 3));
                exchange(&mut way, &mut another);
                refused(run(&mut way, &own), name, argument, pair);
            }
        }
    }
}

#[test]
fn every_schedule_routes_the_same() {
    let Some(simulator) = Simulator::find() else { return };
    for device in devices() {
        let stream = device.stream().unwrap();
        for (tokens, top_k, hidden, seeds) in [(23, 4, 136, 300), (1100, 4, 8, 40)] {
            let mut first: Option<Vec<i32>> = None;
            for seed in 0..seeds {
                simulator.set_seed(seed);
                let mut way = Way::new(&stream, tokens, top_k, hidden, 4);
                way.go(&stream).unwrap();
                let results = way.results(&stream);
                let first = first.get_or_insert_with(|| results.clone());
                assert!(*first == results, "{device}: seed {seed} gives other bits than seed 0");
            }
        }
    }
    assert_eq!(simulator.text("expertile_sim_reports"), "");
}

#[test]
fn a_thousand_replays_of_the_way_are_a_thousand_calls() {
    let Some(simulator) = Simulator::find() else { return };
    for device in devices() {
        let stream = device.stream().unwrap();
        let [mut recorded, mut direct] = [(); 2].map(|()| Way::new(&stream, 9, 4, 64, 5));
        let launch_graph = graph_calls(&device)[4];
        // SAFETY: `recorded` outlives the graph, and is used only when the stream was waited for.
        let graph = unsafe { Graph::capture(&stream, |stream| recorded.go(stream)) }.unwrap();
        let mut random = fastrand::Rng::with_seed(8);
        let mut last = Vec::new();
        for round in 0..1000 {
            let ids: Vec<i32> = (0..36).map(|_| random.i32(-1..=EXPERTS as i32)).collect();
            recorded.ids.write(&stream, &ids).unwrap();
            direct.ids.write(&stream, &ids).unwrap();
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
fn threads_and_streams_route_apart() {
    let Some(simulator) = Simulator::find() else { return };
    let work = |device: &expertile::Device, kind: u64| -> Vec<Vec<i32>> {
        let streams = [(); 4].map(|()| device.stream().unwrap());
        let of = |(at, stream): (usize, &Stream)| {
            // Every other stream has two launches of dispatch, with a workspace between them.
            let tokens = if at % 2 == 0 { 5 } else { 1030 };
            Way::new(stream, tokens, 4, 8, kind + at as u64)
        };
        let mut ways: Vec<Way> = streams.iter().enumerate().map(of).collect();
        for _ in 0..12 {
            for (way, stream) in ways.iter_mut().zip(&streams) {
                way.go(stream).unwrap();
            }
        }
        ways.iter().zip(&streams).map(|(way, stream)| way.results(stream)).collect()
    };
    for device in devices() {
        let alone: Vec<_> = (0..4).map(|kind| work(&device, 10 * kind)).collect();
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
