//! `packet`: rows and trailers for another device; packing is measured.

use crate::device::{Bound, Calls, DeviceBench, Work, normal};
use expertile::{Buffer, Dtype, PacketPack, Result, Stream, packet_trailer};

/// Each row of a packet is read and written, beside its trailer.
pub(crate) const DEVICE: DeviceBench = DeviceBench {
    operator: "packet",
    extents: &["tokens", "top_k", "hidden"],
    shapes: &[&[4096, 4, 6144], &[1, 4, 6144], &[8, 4, 6144], &[64, 4, 6144], &[512, 4, 6144]],
    tiny: &[3, 4, 64],
    work: |extents, dtype| {
        let &[tokens, top_k, hidden] = extents else { unreachable!("three extents") };
        let bytes = tokens * top_k * (2 * hidden * dtype.bytes() + 12 + 16);
        Work { bytes, flops: 0, bound: Bound::Copy }
    },
    prepare,
};

fn prepare(stream: &Stream, extents: &[u64], dtype: Dtype, sets: u64) -> Result<Calls> {
    let &[tokens, top_k, hidden] = extents else { unreachable!("three extents") };
    let (count, elements) = (tokens * top_k, tokens * hidden);
    let width = hidden + packet_trailer(dtype);
    // A row of whole sectors of 32 bytes.
    let stride = width.next_multiple_of(32 / dtype.bytes());
    let x = normal(stream, dtype, sets * elements, 1)?;
    let mut packets = Buffer::new(stream.device(), dtype, sets * count * stride)?;
    let mut of_rows: Vec<i32> = (0..count as i32).collect();
    fastrand::Rng::with_seed(3).shuffle(&mut of_rows);
    let pairs = Buffer::from_slice(stream, &of_rows)?;
    let ids = Buffer::from_slice(stream, &vec![0i32; count as usize])?;
    let weights = Buffer::from_slice(stream, &vec![0.25f32; count as usize])?;
    let offsets = Buffer::from_slice(stream, &[0, count as i32])?;
    Ok(Box::new(move |stream, set| {
        let shape = [tokens, top_k];
        let arguments = PacketPack {
            x: x.strided(&[tokens, hidden], &[hidden, 1], set * elements)?,
            ids: ids.tensor(&shape)?,
            weights: weights.tensor(&shape)?,
            pairs: pairs.tensor(&[count])?,
            offsets: offsets.tensor(&[2])?,
            packets: packets.strided_mut(&[count, width], &[stride, 1], set * count * stride)?,
        };
        expertile::packet_pack(stream, &arguments)
    }))
}
