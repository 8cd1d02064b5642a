//! Packets, against a plain copy, and the way of a token to experts on another device and back.

use super::harness::{Fenced, Float, cases, count_case, devices, poison, report, values};
use expertile::{
    Buffer, Combine, CombineOut, Dispatch, Dtype, Element, PacketPack, PacketUnpack, Result,
    Stream, combine, dispatch, dispatch_workspace_bytes, max_tiles, packet_pack, packet_trailer,
    packet_unpack,
};
use expertile_reference::dispatch::dispatch as reference;
use half::{bf16, f16};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};

/// One call of `packet_pack` and of `packet_unpack`.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) tokens: usize,
    pub(crate) top_k: usize,
    pub(crate) experts: usize,
    /// Local experts, the first ones.
    pub(crate) local: usize,
    /// `hidden / 8`.
    pub(crate) hidden_8: usize,
    /// Vectors of 16 bytes between rows, of x and of packets.
    pub(crate) gaps: [usize; 2],
    /// Packets that there is room for, less the rows.
    pub(crate) room: i32,
    pub(crate) dtype: Dtype,
    pub(crate) seed: u64,
}

fn case() -> impl Strategy<Value = Case> {
    let tokens = prop_oneof![1 => Just(0usize), 1 => Just(1), 4 => 2..30usize, 1 => Just(90)];
    let hidden_8 = prop_oneof![4 => 1..20usize, 2 => 20..140usize, 1 => Just(768)];
    let dtype = prop_oneof![Just(Dtype::Bf16), Just(Dtype::F16), Just(Dtype::F32)];
    let room = prop_oneof![Just(0), Just(3), -3..40i32];
    let extents = (tokens, 1..7usize, 1..20usize, hidden_8, (0..3usize, 0..3usize));
    (extents, 0.0..1.0f64, room, dtype, any::<u64>()).prop_map(
        |((tokens, top_k, experts, hidden_8, (of_x, of_packets)), share, room, dtype, seed)| {
            let tokens = if hidden_8 > 64 { tokens.min(9) } else { tokens };
            let local = ((experts as f64 * share).ceil() as usize).max(1);
            let gaps = [of_x, of_packets];
            Case { tokens, top_k, experts, local, hidden_8, gaps, room, dtype, seed }
        },
    )
}

/// Runs the case on every device and compares with a copy by the host.
pub(crate) fn check(case: &Case) -> Result<(), String> {
    match case.dtype {
        Dtype::Bf16 => check_as::<bf16>(case),
        Dtype::F16 => check_as::<f16>(case),
        _ => check_as::<f32>(case),
    }
}

/// An element of these bytes.
fn element<T: Float>(bytes: &[u8]) -> T {
    assert_eq!(bytes.len(), size_of::<T>());
    // SAFETY: as many bytes as the type has, every pattern of which is a value.
    unsafe { bytes.as_ptr().cast::<T>().read_unaligned() }
}

/// The trailer as elements.
fn trailer<T: Float>(pair: i32, id: i32, weight: f32) -> Vec<T> {
    let words = [pair as u32, id as u32, weight.to_bits(), 0];
    let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    bytes.chunks(size_of::<T>()).map(element).collect()
}

fn bits<T: Float>(values: &[T]) -> Vec<u32> {
    values.iter().map(|value| value.bits()).collect()
}

fn check_as<T: Float>(case: &Case) -> Result<(), String> {
    let text = |error: expertile::Error| error.to_string();
    let hidden = 8 * case.hidden_8;
    let unit = 16 / size_of::<T>();
    let width = hidden + packet_trailer(T::DTYPE) as usize;
    let [x_stride, packet_stride] = [hidden + case.gaps[0] * unit, width + case.gaps[1] * unit];
    let mut random = fastrand::Rng::with_seed(case.seed);
    let pair_count = case.tokens * case.top_k;
    let x: Vec<T> = values(&mut random, case.tokens * x_stride, 1.0);
    let ids: Vec<i32> = (0..pair_count).map(|_| random.i32(-1..case.experts as i32)).collect();
    let weights: Vec<f32> = (0..pair_count).map(|_| random.f32()).collect();
    let found = reference(&ids, case.top_k, 0..case.local).map_err(|error| error.to_string())?;
    let mut pairs: Vec<i32> = found.pairs.iter().map(|&pair| pair as i32).collect();
    let rows = pairs.len();
    pairs.resize(pair_count, -1);
    let offsets: Vec<i32> = found.offsets.iter().map(|&offset| offset as i32).collect();
    let packets = (rows as i32 + case.room).max(0) as usize;
    // A pair that is none: its packet stays as it was.
    let stray = random.bool().then(|| random.usize(0..rows.max(1))).filter(|&row| row < rows);
    if let Some(row) = stray {
        pairs[row] = [-1, pair_count as i32, i32::MIN, i32::MAX][random.usize(0..4)];
    }

    let mut want = vec![poison::<T>(); packets * packet_stride];
    for row in (0..rows.min(packets)).filter(|&row| Some(row) != stray) {
        let pair = pairs[row] as usize;
        let packet = &mut want[row * packet_stride..];
        packet[..hidden].copy_from_slice(&x[pair / case.top_k * x_stride..][..hidden]);
        packet[hidden..width].copy_from_slice(&trailer(pairs[row], ids[pair], weights[pair]));
    }

    for device in devices() {
        let stream = device.stream().map_err(text)?;
        let name = format!("packet any {}", device.info().images);
        let fence = poison::<T>();
        let given = Fenced::new(&stream, &x, fence).map_err(text)?;
        let given_ids = Fenced::new(&stream, &ids, 0).map_err(text)?;
        let given_weights = Fenced::new(&stream, &weights, f32::NAN).map_err(text)?;
        let given_pairs = Fenced::new(&stream, &pairs, 0).map_err(text)?;
        let given_offsets = Fenced::new(&stream, &offsets, i32::MAX).map_err(text)?;
        let blank = vec![fence; packets * packet_stride];
        let mut packed = Fenced::new(&stream, &blank, fence).map_err(text)?;
        let extents = |rows: usize, width: usize| [rows as u64, width as u64];
        let of_ids = extents(case.tokens, case.top_k);
        let ids_stride = [case.top_k as u64, 1];
        let (of_x, of_packets) = (extents(case.tokens, hidden), extents(packets, width));
        let (x_strides, packet_strides) = ([x_stride as u64, 1], [packet_stride as u64, 1]);
        {
            let arguments = PacketPack {
                x: given.tensor(&of_x, &x_strides).map_err(text)?,
                ids: given_ids.tensor(&of_ids, &ids_stride).map_err(text)?,
                weights: given_weights.tensor(&of_ids, &ids_stride).map_err(text)?,
                pairs: given_pairs.tensor(&[pair_count as u64], &[1]).map_err(text)?,
                offsets: given_offsets.tensor(&[case.local as u64 + 1], &[1]).map_err(text)?,
                packets: packed.tensor_mut(&of_packets, &packet_strides).map_err(text)?,
            };
            packet_pack(&stream, &arguments).map_err(text)?;
        }
        given.read(&stream)?;
        let got = packed.read(&stream)?;
        if let Some(i) = (0..got.len()).find(|&i| got[i].bits() != want[i].bits()) {
            let (row, i) = (i / packet_stride, i % packet_stride);
            return Err(format!("{name}: element {i} of packet {row} of {rows} is wrong"));
        }

        // Taken apart, all of them: those that were not written are poison.
        let whole: Vec<T> = values(&mut random, packets * packet_stride, 1.0);
        let packed = Fenced::new(&stream, &whole, fence).map_err(text)?;
        let blank = vec![fence; packets * x_stride];
        let mut x = Fenced::new(&stream, &blank, fence).map_err(text)?;
        let integers = vec![i32::MIN; packets];
        let mut ids = Fenced::new(&stream, &integers, i32::MIN).map_err(text)?;
        let mut pairs = Fenced::new(&stream, &integers, i32::MIN).map_err(text)?;
        let mut weights = Fenced::new(&stream, &vec![f32::NAN; packets], f32::NAN).map_err(text)?;
        {
            let column = extents(packets, 1);
            let arguments = PacketUnpack {
                packets: packed.tensor(&of_packets, &packet_strides).map_err(text)?,
                x: x.tensor_mut(&extents(packets, hidden), &x_strides).map_err(text)?,
                ids: ids.tensor_mut(&column, &[1, 1]).map_err(text)?,
                weights: weights.tensor_mut(&column, &[1, 1]).map_err(text)?,
                pairs: pairs.tensor_mut(&[packets as u64], &[1]).map_err(text)?,
            };
            packet_unpack(&stream, &arguments).map_err(text)?;
        }
        packed.read(&stream)?;
        let (x, ids) = (x.read(&stream)?, ids.read(&stream)?);
        let (pairs, weights) = (pairs.read(&stream)?, weights.read(&stream)?);
        for row in 0..packets {
            let packet = &whole[row * packet_stride..][..width];
            let mut want = vec![fence; x_stride];
            want[..hidden].copy_from_slice(&packet[..hidden]);
            let own = &x[row * x_stride..][..x_stride];
            let parts = trailer::<T>(pairs[row], ids[row], weights[row]);
            let read = 12 / size_of::<T>();
            if bits(own) != bits(&want) || bits(&parts[..read]) != bits(&packet[hidden..][..read]) {
                return Err(format!("{name}: packet {row} of {packets} was taken apart wrong"));
            }
        }
        count_case(&name, "packet", "any", device);
    }
    Ok(())
}

#[test]
fn packets_are_copies() {
    let config = Config { cases: cases(), failure_persistence: None, ..Config::default() };
    let run = |case: Case| check(&case).map_err(TestCaseError::fail);
    if let Err(error) = TestRunner::new(config).run(&case(), run) {
        panic!("{error}");
    }
    report("packet");
}

#[test]
fn every_number_of_tokens_is_packed() -> Result<(), String> {
    (0..=200usize).try_for_each(|tokens| {
        let dtype = [Dtype::Bf16, Dtype::F16, Dtype::F32][tokens % 3];
        check(&Case {
            tokens,
            top_k: 2,
            experts: 8,
            local: 4,
            hidden_8: 1 + tokens % 7,
            gaps: [0, tokens % 2],
            room: 1,
            dtype,
            seed: tokens as u64,
        })
    })
}

/// The results of `dispatch` on a device.
struct Routing {
    pairs: Buffer,
    rows: Buffer,
    offsets: Buffer,
}

fn route(
    stream: &Stream,
    ids: &Buffer,
    shape: [u64; 2],
    experts: std::ops::Range<u32>,
) -> Result<Routing> {
    let device = stream.device();
    let [tokens, top_k] = shape;
    let local = u64::from(experts.end - experts.start);
    let tiles = max_tiles(tokens * top_k, local, 16);
    let workspace = dispatch_workspace_bytes(device.info(), tokens, top_k, local) / 4;
    let sizes = [tokens * top_k, tokens * top_k, local + 1, local, 2 * tiles, 1, workspace];
    let buffers: Result<Vec<Buffer>> =
        sizes.iter().map(|&elements| Buffer::new(device, Dtype::I32, elements)).collect();
    let [mut pairs, mut rows, mut offsets, mut counts, mut tile, mut tile_count, mut workspace]: [Buffer; 7] =
        buffers?.try_into().expect("as many as sizes");
    let arguments = Dispatch {
        ids: ids.tensor(&shape)?,
        experts,
        tile_rows: 16,
        pairs: pairs.tensor_mut(&sizes[..1])?,
        rows: rows.tensor_mut(&shape)?,
        offsets: offsets.tensor_mut(&sizes[2..3])?,
        counts: counts.tensor_mut(&sizes[3..4])?,
        tiles: tile.tensor_mut(&[tiles, 2])?,
        tile_count: tile_count.tensor_mut(&[1])?,
        workspace: workspace.tensor_mut(&sizes[6..])?,
    };
    dispatch(stream, &arguments)?;
    Ok(Routing { pairs, rows, offsets })
}

/// What stands for an expert: the row times its weight and a number of the expert's, in f32.
fn apply(row: &[f32], id: i32, weight: f32) -> impl Iterator<Item = f32> + '_ {
    let of_expert = 1.0 + id as f32 / 16.0;
    row.iter().map(move |&x| x * of_expert * weight)
}

const TOP_K: u64 = 4;
const EXPERTS: u32 = 16;
const HIDDEN: u64 = 72;

/// All experts beside the tokens.
fn unsharded(
    stream: &Stream,
    tokens: u64,
    x: &[f32],
    ids: &[i32],
    weights: &[f32],
) -> Result<Vec<f32>> {
    let given_ids = Buffer::from_slice(stream, ids)?;
    let routing = route(stream, &given_ids, [tokens, TOP_K], 0..EXPERTS)?;
    let pairs: Vec<i32> = routing.pairs.read(stream)?;
    let mut rows = Vec::new();
    for &pair in pairs.iter().filter(|&&pair| pair >= 0) {
        let pair = pair as usize;
        let row = &x[pair / TOP_K as usize * HIDDEN as usize..][..HIDDEN as usize];
        rows.extend(apply(row, ids[pair], weights[pair]));
    }
    sum(stream, &routing.rows, [tokens, TOP_K], &rows)
}

/// Sums rows of experts, which the host has, for a device.
fn sum(stream: &Stream, rows: &Buffer, shape: [u64; 2], of_experts: &[f32]) -> Result<Vec<f32>> {
    let expert_rows = of_experts.len() as u64 / HIDDEN;
    let of_experts = Buffer::from_slice(stream, of_experts)?;
    let mut out = Buffer::new(stream.device(), Dtype::F32, shape[0] * HIDDEN)?;
    let arguments = Combine {
        expert_out: of_experts.tensor(&[expert_rows, HIDDEN])?,
        rows: rows.tensor(&shape)?,
        out: CombineOut::Sum(out.tensor_mut(&[shape[0], HIDDEN])?),
    };
    combine(stream, &arguments)?;
    out.read(stream)
}

fn upload<T: Element>(stream: &Stream, values: &[T]) -> Result<Buffer> {
    Buffer::from_slice(stream, values)
}

/// The experts of a shard: packets come in, results leave in the order of the packets.
fn expert_side(
    stream: &Stream,
    packets: &[f32],
    experts: std::ops::Range<u32>,
) -> Result<Vec<f32>> {
    let width = HIDDEN + packet_trailer(Dtype::F32);
    let count = packets.len() as u64 / width;
    let packets = upload(stream, packets)?;
    let mut x = Buffer::new(stream.device(), Dtype::F32, count * HIDDEN)?;
    let [mut ids, mut pairs] =
        [(); 2].map(|()| Buffer::new(stream.device(), Dtype::I32, count).unwrap());
    let mut weights = Buffer::new(stream.device(), Dtype::F32, count)?;
    packet_unpack(
        stream,
        &PacketUnpack {
            packets: packets.tensor(&[count, width])?,
            x: x.tensor_mut(&[count, HIDDEN])?,
            ids: ids.tensor_mut(&[count, 1])?,
            weights: weights.tensor_mut(&[count, 1])?,
            pairs: pairs.tensor_mut(&[count])?,
        },
    )?;
    let routing = route(stream, &ids, [count, 1], experts)?;
    let order: Vec<i32> = routing.pairs.read(stream)?;
    let (x, ids): (Vec<f32>, Vec<i32>) = (x.read(stream)?, ids.read(stream)?);
    let weights: Vec<f32> = weights.read(stream)?;
    let mut rows = Vec::new();
    for packet in order.into_iter().map(|packet| packet as usize) {
        let row = &x[packet * HIDDEN as usize..][..HIDDEN as usize];
        rows.extend(apply(row, ids[packet], weights[packet]));
    }
    sum(stream, &routing.rows, [count, 1], &rows)
}

/// Tokens on one device, experts on others: the bits are those of one device.
#[test]
fn experts_on_other_devices_give_the_same_bits() -> Result<()> {
    let (all, width) = (devices(), HIDDEN + packet_trailer(Dtype::F32));
    for (tokens, shards) in [(1u64, 2u32), (37, 2), (37, 4), (130, 4), (0, 2)] {
        let mut random = fastrand::Rng::with_seed(tokens + u64::from(shards));
        let x: Vec<f32> = values(&mut random, (tokens * HIDDEN) as usize, 1.0);
        let pairs = (tokens * TOP_K) as usize;
        let ids: Vec<i32> = (0..pairs).map(|_| random.i32(0..EXPERTS as i32)).collect();
        let weights: Vec<f32> = (0..pairs).map(|_| random.f32()).collect();
        for (at, device) in all.iter().enumerate() {
            let stream = device.stream()?;
            let want = unsharded(&stream, tokens, &x, &ids, &weights)?;
            let (given_x, given_ids) = (upload(&stream, &x)?, upload(&stream, &ids)?);
            let given_weights = upload(&stream, &weights)?;
            let shape = [tokens, TOP_K];
            let routing = route(&stream, &given_ids, shape, 0..EXPERTS)?;
            let mut packets = Buffer::new(device, Dtype::F32, tokens * TOP_K * width)?;
            packet_pack(
                &stream,
                &PacketPack {
                    x: given_x.tensor(&[tokens, HIDDEN])?,
                    ids: given_ids.tensor(&shape)?,
                    weights: given_weights.tensor(&shape)?,
                    pairs: routing.pairs.tensor(&[tokens * TOP_K])?,
                    offsets: routing.offsets.tensor(&[u64::from(EXPERTS) + 1])?,
                    packets: packets.tensor_mut(&[tokens * TOP_K, width])?,
                },
            )?;
            let packets: Vec<f32> = packets.read(&stream)?;
            let offsets: Vec<i32> = routing.offsets.read(&stream)?;
            // Each shard gets the packets of its experts, which are adjacent.
            let (mut results, own) = (Vec::new(), EXPERTS / shards);
            for shard in 0..shards {
                let experts = shard * own..(shard + 1) * own;
                let ends = [experts.start, experts.end].map(|expert| offsets[expert as usize]);
                let [begin, end] = ends.map(|row| row as usize * width as usize);
                let other = all[(at + 1 + shard as usize) % all.len()].stream()?;
                results.extend(expert_side(&other, &packets[begin..end], experts)?);
            }
            let got = sum(&stream, &routing.rows, shape, &results)?;
            assert_eq!(bits(&got), bits(&want), "{device}: {tokens} tokens, {shards} shards");
        }
    }
    Ok(())
}
