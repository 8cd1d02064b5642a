//! What dispatch, combine and packets work on.

use expertile::{
    Buffer, Combine, CombineOut, Dispatch, Dtype, PacketPack, PacketUnpack, Result, Stream,
    combine, dispatch, dispatch_workspace_bytes, max_tiles, packet_pack, packet_trailer,
    packet_unpack,
};

const TOP_K: u64 = 4;
const EXPERTS: u64 = 8;
const HIDDEN: u64 = 8;
/// Fewer than there are rows.
const PACKETS: u64 = 5;
const TILE_ROWS: u32 = 16;

fn packets() -> [u64; 2] {
    [PACKETS, HIDDEN + packet_trailer(Dtype::F32)]
}

/// Tokens that go to their experts and come back.
pub(crate) struct Routing {
    tokens: u64,
    ids: Buffer,
    weights: Buffer,
    x: Buffer,
    workspace: Buffer,
    /// Of dispatch: pairs, rows, offsets, counts, tiles, their number.
    routing: [Buffer; 6],
    packets: Buffer,
    /// Of the packets: ids and pairs.
    unpacked: [Buffer; 2],
    unpacked_weights: Buffer,
    unpacked_x: Buffer,
    out: Buffer,
}

impl Routing {
    pub(crate) fn new(stream: &Stream, tokens: u64) -> Result<Routing> {
        let device = stream.device();
        let count = tokens * TOP_K;
        let new = |dtype, elements| Buffer::new(device, dtype, elements);
        let i32s = |elements| new(Dtype::I32, elements);
        let ids: Vec<i32> = (0..count as i32).map(|i| i * 5 % EXPERTS as i32).collect();
        let x: Vec<f32> = (0..tokens * HIDDEN).map(|i| (i % 17) as f32 - 3.5).collect();
        let tiles = max_tiles(count, EXPERTS, TILE_ROWS);
        let workspace = dispatch_workspace_bytes(device.info(), tokens, TOP_K, EXPERTS) / 4;
        let mut routing = Routing {
            tokens,
            ids: Buffer::from_slice(stream, &ids)?,
            weights: Buffer::from_slice(stream, &vec![0.5f32; count as usize])?,
            x: Buffer::from_slice(stream, &x)?,
            workspace: i32s(workspace)?,
            routing: [
                i32s(count)?,
                i32s(count)?,
                i32s(EXPERTS + 1)?,
                i32s(EXPERTS)?,
                i32s(2 * tiles)?,
                i32s(1)?,
            ],
            packets: new(Dtype::F32, PACKETS * (HIDDEN + packet_trailer(Dtype::F32)))?,
            unpacked: [i32s(PACKETS)?, i32s(PACKETS)?],
            unpacked_weights: new(Dtype::F32, PACKETS)?,
            unpacked_x: new(Dtype::F32, PACKETS * HIDDEN)?,
            out: new(Dtype::F32, tokens * HIDDEN)?,
        };
        routing.dispatch(stream)?;
        routing.reset(stream)?;
        Ok(routing)
    }

    /// Poison for what operators write and no other reads.
    pub(crate) fn reset(&mut self, stream: &Stream) -> Result<()> {
        // What dispatch writes and others read is written by `new` alone.
        let counts_and_tiles = self.routing[3..].iter_mut();
        let written = counts_and_tiles.chain(&mut self.unpacked).chain([
            &mut self.unpacked_weights,
            &mut self.unpacked_x,
            &mut self.out,
        ]);
        for buffer in written {
            buffer.fill_bytes(stream, 0x55)?;
        }
        // Other than what it is unpacked to.
        self.packets.fill_bytes(stream, 0x33)
    }

    /// All that operators write, in bits.
    pub(crate) fn outputs(&self, stream: &Stream) -> Result<Vec<u32>> {
        let mut outputs = Vec::new();
        for buffer in self.routing.iter().chain(&self.unpacked) {
            outputs.extend(buffer.read::<i32>(stream)?.into_iter().map(|value| value as u32));
        }
        for buffer in [&self.packets, &self.unpacked_weights, &self.unpacked_x, &self.out] {
            outputs.extend(buffer.read::<f32>(stream)?.into_iter().map(f32::to_bits));
        }
        Ok(outputs)
    }

    pub(crate) fn dispatch(&mut self, stream: &Stream) -> Result<()> {
        let (shape, count) = ([self.tokens, TOP_K], self.tokens * TOP_K);
        let workspace = self.workspace.elements();
        let [pairs, rows, offsets, counts, tiles, tile_count] = &mut self.routing;
        let arguments = Dispatch {
            ids: self.ids.tensor(&shape)?,
            experts: 0..EXPERTS as u32,
            tile_rows: TILE_ROWS,
            pairs: pairs.tensor_mut(&[count])?,
            rows: rows.tensor_mut(&shape)?,
            offsets: offsets.tensor_mut(&[EXPERTS + 1])?,
            counts: counts.tensor_mut(&[EXPERTS])?,
            tiles: tiles.tensor_mut(&[max_tiles(count, EXPERTS, TILE_ROWS), 2])?,
            tile_count: tile_count.tensor_mut(&[1])?,
            workspace: self.workspace.tensor_mut(&[workspace])?,
        };
        dispatch(stream, &arguments)
    }

    pub(crate) fn pack(&mut self, stream: &Stream) -> Result<()> {
        let (shape, packets) = ([self.tokens, TOP_K], packets());
        let [pairs, _, offsets, ..] = &self.routing;
        let arguments = PacketPack {
            x: self.x.tensor(&[self.tokens, HIDDEN])?,
            ids: self.ids.tensor(&shape)?,
            weights: self.weights.tensor(&shape)?,
            pairs: pairs.tensor(&[self.tokens * TOP_K])?,
            offsets: offsets.tensor(&[EXPERTS + 1])?,
            packets: self.packets.tensor_mut(&packets)?,
        };
        packet_pack(stream, &arguments)
    }

    pub(crate) fn unpack(&mut self, stream: &Stream) -> Result<()> {
        let packets = packets();
        let [ids, pairs] = &mut self.unpacked;
        let arguments = PacketUnpack {
            packets: self.packets.tensor(&packets)?,
            x: self.unpacked_x.tensor_mut(&[packets[0], HIDDEN])?,
            ids: ids.tensor_mut(&[packets[0], 1])?,
            weights: self.unpacked_weights.tensor_mut(&[packets[0], 1])?,
            pairs: pairs.tensor_mut(&packets[..1])?,
        };
        packet_unpack(stream, &arguments)
    }

    pub(crate) fn combine(&mut self, stream: &Stream) -> Result<()> {
        let [_, rows, ..] = &self.routing;
        let arguments = Combine {
            expert_out: self.x.tensor(&[self.tokens, HIDDEN])?,
            rows: rows.tensor(&[self.tokens, TOP_K])?,
            out: CombineOut::Sum(self.out.tensor_mut(&[self.tokens, HIDDEN])?),
        };
        combine(stream, &arguments)
    }
}
