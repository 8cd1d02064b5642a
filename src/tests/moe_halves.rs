//! A layer in halves: route and pack beside attention; unpack and the experts on other devices; the sum beside attention.

use super::grouped_gemm::able;
use super::harness::{poison, same_bits};
use super::moe::{Case, Operands, plain, run};
use expertile::{
    Buffer, Combine, CombineOut, Device, Dispatch, Dtype, PacketPack, PacketUnpack, Result, Stream,
    combine, dispatch, dispatch_workspace_bytes, max_tiles, packet_pack, packet_trailer,
    packet_unpack,
};
use half::bf16;

/// Pairs by expert, and each pair's row.
struct Routing {
    pairs: Buffer,
    rows: Buffer,
    offsets: Buffer,
}

fn sorted(
    stream: &Stream,
    ids: &Buffer,
    [tokens, top_k]: [u64; 2],
    experts: u64,
) -> Result<Routing> {
    let device = stream.device();
    let (pairs, tiles) = (tokens * top_k, max_tiles(tokens * top_k, experts, 256));
    let workspace = dispatch_workspace_bytes(device.info(), tokens, top_k, experts) / 4;
    let new = |elements: u64| Buffer::new(device, Dtype::I32, elements);
    let mut routing = Routing { pairs: new(pairs)?, rows: new(pairs)?, offsets: new(experts + 1)? };
    let [mut counts, mut tile, mut tile_count, mut workspace] =
        [new(experts)?, new(2 * tiles)?, new(1)?, new(workspace)?];
    let kept = workspace.elements();
    let arguments = Dispatch {
        ids: ids.tensor(&[tokens, top_k])?,
        experts: 0..experts as u32,
        tile_rows: 256,
        pairs: routing.pairs.tensor_mut(&[pairs])?,
        rows: routing.rows.tensor_mut(&[tokens, top_k])?,
        offsets: routing.offsets.tensor_mut(&[experts + 1])?,
        counts: counts.tensor_mut(&[experts])?,
        tiles: tile.tensor_mut(&[tiles, 2])?,
        tile_count: tile_count.tensor_mut(&[1])?,
        workspace: workspace.tensor_mut(&[kept])?,
    };
    dispatch(stream, &arguments)?;
    Ok(routing)
}

/// The packets of a device's experts, and what these make of them, a row for each packet.
fn expert_side(
    device: &Device,
    case: &Case,
    operands: &Operands<bf16>,
    packets: &[bf16],
) -> Result<Vec<bf16>, String> {
    let text = |error: expertile::Error| error.to_string();
    let hidden = case.features()[0] as u64;
    let width = hidden + packet_trailer(Dtype::Bf16);
    let count = packets.len() as u64 / width;
    let unpack = || -> Result<(Vec<bf16>, Vec<i32>, Vec<f32>)> {
        let stream = device.stream()?;
        let packets = Buffer::from_slice(&stream, packets)?;
        let mut x = Buffer::new(device, Dtype::Bf16, count * hidden)?;
        let [mut ids, mut pairs] =
            [Buffer::new(device, Dtype::I32, count)?, Buffer::new(device, Dtype::I32, count)?];
        let mut weights = Buffer::new(device, Dtype::F32, count)?;
        let arguments = PacketUnpack {
            packets: packets.tensor(&[count, width])?,
            x: x.tensor_mut(&[count, hidden])?,
            ids: ids.tensor_mut(&[count, 1])?,
            weights: weights.tensor_mut(&[count, 1])?,
            pairs: pairs.tensor_mut(&[count])?,
        };
        packet_unpack(&stream, &arguments)?;
        Ok((x.read(&stream)?, ids.read(&stream)?, weights.read(&stream)?))
    };
    let (x, ids, weights) = unpack().map_err(text)?;
    let case = Case { tokens: count as usize, top_k: 1, residual: 0, given: true, ..case.clone() };
    // Nothing is added, and every place is written.
    let residual = vec![poison(); (count * hidden) as usize];
    let operands = Operands { x, ids, weights, residual, ..operands.clone() };
    run(&device.stream().map_err(text)?, &case, &operands)
}

/// Tokens on one device, each half of the experts on another: the bits are those of one device of the experts' kind.
#[test]
fn halves_give_the_bits_of_the_whole() -> Result<(), String> {
    let text = |error: expertile::Error| error.to_string();
    for device in able() {
        for tokens in [1usize, 20, 75] {
            let case = Case { given: true, ..plain(tokens, 6, 2) };
            let operands = case.operands::<bf16>();
            let stream = device.stream().map_err(text)?;
            let whole = run(&stream, &case, &operands)?;
            let (hidden, shape) = (case.features()[0] as u64, [tokens as u64, 2]);
            let width = hidden + packet_trailer(Dtype::Bf16);
            let attention_side = || -> Result<(Routing, Vec<bf16>, Vec<i32>)> {
                let [x, ids, weights] = [
                    Buffer::from_slice(&stream, &operands.x)?,
                    Buffer::from_slice(&stream, &operands.ids)?,
                    Buffer::from_slice(&stream, &operands.weights)?,
                ];
                let routing = sorted(&stream, &ids, shape, 6)?;
                let mut packets = Buffer::new(device, Dtype::Bf16, shape[0] * 2 * width)?;
                let arguments = PacketPack {
                    x: x.tensor(&[shape[0], hidden])?,
                    ids: ids.tensor(&shape)?,
                    weights: weights.tensor(&shape)?,
                    pairs: routing.pairs.tensor(&[shape[0] * 2])?,
                    offsets: routing.offsets.tensor(&[7])?,
                    packets: packets.tensor_mut(&[shape[0] * 2, width])?,
                };
                packet_pack(&stream, &arguments)?;
                let offsets = routing.offsets.read(&stream)?;
                let sent = offsets[6] as u64 * width;
                // What is behind the last packet was never written.
                let mut all = vec![bf16::ZERO; sent as usize];
                // SAFETY: so many elements of the buffer; the copy is done when the call returns.
                unsafe {
                    let to = all.as_mut_ptr().cast();
                    let driver = device.driver();
                    driver.copy_from_device(to, packets.address(), 2 * sent, stream.raw())?;
                }
                Ok((routing, all, offsets))
            };
            let (routing, packets, offsets) = attention_side().map_err(text)?;
            let mut results = Vec::new();
            for others in [[0, 3], [3, 0]] {
                let local = Case { others, ..case.clone() };
                let ends = [local.local().start, local.local().end];
                let [begin, end] = ends.map(|expert| offsets[expert] as usize * width as usize);
                results.extend(expert_side(device, &local, &operands, &packets[begin..end])?);
            }
            let sum = || -> Result<Vec<bf16>> {
                let rows = results.len() as u64 / hidden;
                let results = Buffer::from_slice(&stream, &results)?;
                let mut out = Buffer::new(device, Dtype::Bf16, shape[0] * hidden)?;
                let arguments = Combine {
                    expert_out: results.tensor(&[rows, hidden])?,
                    rows: routing.rows.tensor(&shape)?,
                    out: CombineOut::Sum(out.tensor_mut(&[shape[0], hidden])?),
                };
                combine(&stream, &arguments)?;
                out.read(&stream)
            };
            let found = sum().map_err(text)?;
            same_bits(&format!("moe {device}: {tokens} tokens in halves"), &found, &whole)?;
        }
    }
    Ok(())
}
