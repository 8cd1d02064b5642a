//! Packets: rows on their way between the device of the tokens and that of the experts.

use crate::driver::{DeviceInfo, Geometry};
use crate::dtype::Dtype;
use crate::error::{Error, Result};
use crate::kernels::{
    PACKET_MAX_LANES, PACKET_THREADS, PACKET_TRAILER_BYTES, PacketPackParams, PacketUnpackParams,
};
use crate::stream::Stream;
use crate::tensor::{Layout, Tensor, TensorMut};

/// Every entry of the image.
pub(crate) const ENTRIES: [&str; 2] = ["packet_any_pack", "packet_any_unpack"];

/// The arguments of [`packet_pack`](crate::packet_pack()).
#[derive(Debug)]
pub struct PacketPack<'a> {
    /// `[tokens, hidden]`.
    pub x: Tensor<'a>,
    /// `[tokens, top_k]`, i32.
    pub ids: Tensor<'a>,
    /// `[tokens, top_k]`, f32.
    pub weights: Tensor<'a>,
    /// `[tokens * top_k]`, i32.
    pub pairs: Tensor<'a>,
    /// `[local experts + 1]`, i32.
    pub offsets: Tensor<'a>,
    /// `[packets, hidden + packet_trailer]`.
    pub packets: TensorMut<'a>,
}

/// The arguments of [`packet_unpack`](crate::packet_unpack()).
#[derive(Debug)]
pub struct PacketUnpack<'a> {
    /// `[packets, hidden + packet_trailer]`.
    pub packets: Tensor<'a>,
    /// `[packets, hidden]`.
    pub x: TensorMut<'a>,
    /// `[packets, 1]`, i32.
    pub ids: TensorMut<'a>,
    /// `[packets, 1]`, f32.
    pub weights: TensorMut<'a>,
    /// `[packets]`, i32.
    pub pairs: TensorMut<'a>,
}

/// The elements of a packet behind its row: 16 bytes of them.
pub fn packet_trailer(dtype: Dtype) -> u64 {
    u64::from(PACKET_TRAILER_BYTES) / dtype.bytes()
}

/// The geometry for `packets` packets of rows of `vectors` vectors of 16 bytes, and the logarithm of
/// a packet's threads.
///
/// Sixteen blocks for each multiprocessor fill the machine twice; with more packets the blocks go on to
/// others.
pub(crate) fn plan(packets: u32, vectors: u32, multiprocessors: u32) -> (Geometry, u32) {
    let lanes = vectors.clamp(16, PACKET_MAX_LANES).next_power_of_two();
    let blocks = packets.div_ceil(PACKET_THREADS / lanes);
    let grid = [blocks.min(multiprocessors.saturating_mul(16)), 1, 1];
    (Geometry { grid, threads: PACKET_THREADS, shared_bytes: 0, cluster_blocks: 1 }, lanes.ilog2())
}

/// The number of packets and the vectors of a row.
fn extents(operator: &'static str, packets: u64, hidden: u64, dtype: Dtype) -> Result<(u32, u32)> {
    crate::norm::entry(operator, &[""; 3], dtype)?;
    let max = u64::from(u32::MAX - 7);
    if !(8..=max).contains(&hidden) || !hidden.is_multiple_of(8) {
        let supported = format!("multiples of 8 from 8 to {max}");
        return Err(Error::unsupported(operator, format!("hidden {hidden}"), supported));
    }
    let vectors = (hidden * dtype.bytes() / 16) as u32;
    let Ok(packets) = i32::try_from(packets) else {
        return Err(Error::unsupported(operator, format!("{packets} packets"), "less than 2^31"));
    };
    Ok((packets as u32, vectors))
}

/// The vectors of 16 bytes between rows. The address is a multiple of 16 bytes, and the last dimension
/// is dense.
fn row_stride(operator: &'static str, argument: &'static str, layout: &Layout) -> Result<u64> {
    if !layout.address.is_multiple_of(16) {
        let found = format!("at address {:#x}", layout.address);
        return Err(Error::value(operator, argument, found, "a multiple of 16 bytes"));
    }
    let unit = 16 / layout.dtype.bytes();
    let [stride, last] = [layout.strides[0], layout.strides[1]];
    let rows = layout.shape[0] > 1;
    if last != 1 || rows && !stride.is_multiple_of(unit) {
        let found = format!("of strides {:?}", &*layout.strides);
        let expected = format!("a last stride of 1 and a multiple of {unit} elements before it");
        return Err(Error::value(operator, argument, found, expected));
    }
    Ok(if rows { stride / unit } else { 0 })
}

type Checked<'t> = (&'static str, &'t Layout, Dtype, &'t [u64]);

/// Device, dtype and shape of each argument.
fn check_all(operator: &'static str, device: &DeviceInfo, all: &[Checked<'_>]) -> Result<()> {
    for &(argument, layout, dtype, shape) in all {
        layout.check_device(operator, argument, (device.platform, device.ordinal))?;
        // The type first: the width of a packet follows from it.
        layout.check_dtype(operator, argument, dtype)?;
        layout.check_shape(operator, argument, shape)?;
    }
    Ok(())
}

fn address<T>(layout: &Layout) -> *mut T {
    layout.address as usize as *mut T
}

/// Checks the arguments against each other and the kernels; `None` if there is nothing to do.
fn prepare_pack(
    arguments: &PacketPack<'_>,
    device: &DeviceInfo,
) -> Result<Option<(PacketPackParams, Geometry)>> {
    let operator = "packet_pack";
    let (x, ids, offsets) = (&arguments.x.layout, &arguments.ids.layout, &arguments.offsets.layout);
    let (weights, pairs, packets) =
        (&arguments.weights.layout, &arguments.pairs.layout, &arguments.packets.layout);
    let [tokens, hidden] = *x.shape else {
        let found = format!("{:?}", &*x.shape);
        return Err(Error::value(operator, "x", found, "of shape [tokens, hidden]"));
    };
    let &[_, top_k] = &*ids.shape else {
        let found = format!("{:?}", &*ids.shape);
        return Err(Error::value(operator, "ids", found, "of shape [tokens, top_k]"));
    };
    let count = packets.shape.first().copied().unwrap_or(0);
    let (packet_count, vectors) = extents(operator, count, hidden, x.dtype)?;
    let width = hidden + packet_trailer(x.dtype);
    let pair_count = tokens.saturating_mul(top_k);
    let experts = offsets.shape.first().map_or(0, |&ends| ends.saturating_sub(1));
    let all: [Checked<'_>; 6] = [
        ("x", x, x.dtype, &[tokens, hidden]),
        ("ids", ids, Dtype::I32, &[tokens, top_k]),
        ("weights", weights, Dtype::F32, &[tokens, top_k]),
        ("pairs", pairs, Dtype::I32, &[pair_count]),
        ("offsets", offsets, Dtype::I32, &[experts + 1]),
        ("packets", packets, x.dtype, &[count, width]),
    ];
    check_all(operator, device, &all)?;
    let Ok(pairs_i32) = i32::try_from(pair_count) else {
        let found = format!("{tokens} tokens of {top_k} pairs");
        return Err(Error::unsupported(operator, found, "less than 2^31 pairs"));
    };
    if pairs_i32 == 0 || packet_count == 0 {
        return Ok(None);
    }
    let x_stride = row_stride(operator, "x", x)?;
    let packet_stride = row_stride(operator, "packets", packets)?;
    for (argument, layout) in
        [("ids", ids), ("weights", weights), ("pairs", pairs), ("offsets", offsets)]
    {
        layout.check_dense(operator, argument)?;
    }
    let (geometry, lane_bits) = plan(packet_count, vectors, device.multiprocessors);
    let params = PacketPackParams {
        x: address::<std::ffi::c_void>(x),
        ids: address::<i32>(ids),
        weights: address::<f32>(weights),
        pairs: address::<i32>(pairs),
        // Checked by the tensor: it lies within the address space.
        row_count: (offsets.address + 4 * experts) as usize as *const i32,
        packets: address(packets),
        x_stride,
        packet_stride,
        pair_count: pairs_i32 as u32,
        packet_count,
        vectors,
        top_k: top_k as u32,
        lane_bits,
        reserved: 0,
    };
    Ok(Some((params, geometry)))
}

/// Checks the arguments against each other and the kernels; `None` if there is nothing to do.
fn prepare_unpack(
    arguments: &PacketUnpack<'_>,
    device: &DeviceInfo,
) -> Result<Option<(PacketUnpackParams, Geometry)>> {
    let operator = "packet_unpack";
    let (x, packets) = (&arguments.x.layout, &arguments.packets.layout);
    let (ids, weights, pairs) =
        (&arguments.ids.layout, &arguments.weights.layout, &arguments.pairs.layout);
    let [count, hidden] = *x.shape else {
        let found = format!("{:?}", &*x.shape);
        return Err(Error::value(operator, "x", found, "of shape [packets, hidden]"));
    };
    let (packet_count, vectors) = extents(operator, count, hidden, x.dtype)?;
    let width = hidden + packet_trailer(x.dtype);
    let all: [Checked<'_>; 5] = [
        ("x", x, x.dtype, &[count, hidden]),
        ("packets", packets, x.dtype, &[count, width]),
        ("ids", ids, Dtype::I32, &[count, 1]),
        ("weights", weights, Dtype::F32, &[count, 1]),
        ("pairs", pairs, Dtype::I32, &[count]),
    ];
    check_all(operator, device, &all)?;
    if packet_count == 0 {
        return Ok(None);
    }
    let x_stride = row_stride(operator, "x", x)?;
    let packet_stride = row_stride(operator, "packets", packets)?;
    for (argument, layout) in [("ids", ids), ("weights", weights), ("pairs", pairs)] {
        layout.check_dense(operator, argument)?;
    }
    let (geometry, lane_bits) = plan(packet_count, vectors, device.multiprocessors);
    let params = PacketUnpackParams {
        packets: address::<std::ffi::c_void>(packets),
        x: address(x),
        ids: address(ids),
        weights: address(weights),
        pairs: address(pairs),
        x_stride,
        packet_stride,
        packet_count,
        vectors,
        lane_bits,
        reserved: 0,
    };
    Ok(Some((params, geometry)))
}

/// What a call checks, without the call.
#[cfg(feature = "capi")]
pub(crate) fn check_pack(arguments: &PacketPack<'_>, device: &DeviceInfo) -> Result<()> {
    prepare_pack(arguments, device).map(drop)
}

/// What a call checks, without the call.
#[cfg(feature = "capi")]
pub(crate) fn check_unpack(arguments: &PacketUnpack<'_>, device: &DeviceInfo) -> Result<()> {
    prepare_unpack(arguments, device).map(drop)
}

/// Writes a packet for each row that [`dispatch`](crate::dispatch()) found: what another device needs to
/// apply an expert to it.
///
/// A packet is a row of `x` and 16 bytes: the pair (i32), its id (i32), its weight (f32), and 0.
///
/// ```text
/// packets[row] = x[pairs[row] / top_k], pairs[row], ids[pairs[row]], weights[pairs[row]], 0
///     for row < offsets[local experts]
/// ```
///
/// | argument  | dtype          | shape                                   | note                              |
/// |-----------|----------------|-----------------------------------------|-----------------------------------|
/// | `x`       | bf16, f16, f32 | `[tokens, hidden]`                      | `hidden` a multiple of 8          |
/// | `ids`     | i32            | `[tokens, top_k]`                       | as given to `dispatch`            |
/// | `weights` | f32            | `[tokens, top_k]`                       |                                   |
/// | `pairs`   | i32            | `[tokens * top_k]`                      | of `dispatch`                     |
/// | `offsets` | i32            | `[local experts + 1]`                   | of `dispatch`; the last is read   |
/// | `packets` | as `x`         | `[packets, hidden + packet_trailer]`    | [`packet_trailer`](crate::packet_trailer()); at most so many are written |
///
/// Bits are copied. Rows past the last, and those whose pair is none, are untouched. Addresses and strides
/// of rows are multiples of 16 bytes; a stride of whole 32 bytes saves a sixteenth of the writes of every
/// second row. All other arrays are dense. No pairs or no packets launch nothing.
///
/// The receiver takes its packets apart with [`packet_unpack`](crate::packet_unpack()), calls `dispatch`
/// with `top_k` 1 and its own experts, applies them, and [`combine`](crate::combine()) with `top_k` 1
/// and no residual puts the results in the order of the packets. Sent back, they are the `expert_out` of the
/// sender, whose `rows` name them.
///
/// # Errors
///
/// `Shape` or `Value` if the arguments disagree, `Unsupported` if no kernel takes them, `Driver` if
/// the launch fails. The packets are unchanged in each case.
///
/// Source: the dispatch of DeepEP and of MegaBlocks' expert parallelism, reduced to a layout.
pub fn packet_pack(stream: &Stream, arguments: &PacketPack<'_>) -> Result<()> {
    let Some((params, geometry)) = prepare_pack(arguments, stream.device().info())? else {
        return Ok(());
    };
    // SAFETY: `prepare_pack` checked every extent against its tensor; the kernel skips pairs beyond
    // them and takes no more rows than there are packets. `packets` is borrowed mutably, so nothing
    // else is given it unless ordered by the stream; all stay allocated until the launch is done: a
    // buffer's free waits for the device, and owners of raw tensors vouch for theirs.
    unsafe { stream.launch(ENTRIES[0], &geometry, &params) }
}

/// Takes packets of [`packet_pack`](crate::packet_pack()) apart.
///
/// ```text
/// x[i], pairs[i], ids[i, 0], weights[i, 0] = packets[i]
/// ```
///
/// | argument  | dtype          | shape                                | note                                 |
/// |-----------|----------------|--------------------------------------|--------------------------------------|
/// | `packets` | bf16, f16, f32 | `[packets, hidden + packet_trailer]` | `hidden` a multiple of 8             |
/// | `x`       | as `packets`   | `[packets, hidden]`                  |                                      |
/// | `ids`     | i32            | `[packets, 1]`                       | for `dispatch` with `top_k` 1        |
/// | `weights` | f32            | `[packets, 1]`                       |                                      |
/// | `pairs`   | i32            | `[packets]`                          | of the sender                        |
///
/// Bits are copied. Addresses and strides of rows are multiples of 16 bytes; all other arrays are dense.
/// Zero packets launch nothing.
///
/// # Errors
///
/// `Shape` or `Value` if the arguments disagree, `Unsupported` if no kernel takes them, `Driver` if
/// the launch fails. The outputs are unchanged in each case.
///
/// Source: as [`packet_pack`](crate::packet_pack()).
pub fn packet_unpack(stream: &Stream, arguments: &PacketUnpack<'_>) -> Result<()> {
    let Some((params, geometry)) = prepare_unpack(arguments, stream.device().info())? else {
        return Ok(());
    };
    // SAFETY: `prepare_unpack` checked every extent against its tensor. The outputs are borrowed
    // mutably, so nothing else is given them unless ordered by the stream; all stay allocated until the
    // launch is done: a buffer's free waits for the device, and owners of raw tensors vouch for
    // theirs.
    unsafe { stream.launch(ENTRIES[1], &geometry, &params) }
}
