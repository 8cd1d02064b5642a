//! Dispatch: the rows of the expert products, sorted by expert.

use crate::driver::{DeviceInfo, Geometry};
use crate::dtype::Dtype;
use crate::error::{Error, Result};
use crate::kernels::{
    DISPATCH_MAX_EXPERTS, DISPATCH_MAX_THREADS, DISPATCH_MAX_TOP_K, DispatchParams,
};
use crate::stream::Stream;
use crate::tensor::{Layout, Tensor, TensorMut};
use std::ops::Range;

/// Every entry of the image.
pub(crate) const ENTRIES: [&str; 2] = ["dispatch_i32_count", "dispatch_i32_place"];

/// The arguments of [`dispatch`](crate::dispatch()).
#[derive(Debug)]
pub struct Dispatch<'a> {
    /// `[tokens, top_k]`, i32.
    pub ids: Tensor<'a>,
    /// The local experts, as `ids` number them.
    pub experts: Range<u32>,
    /// The rows of a tile: a power of two from 16 to 256.
    pub tile_rows: u32,
    /// `[tokens * top_k]`, i32.
    pub pairs: TensorMut<'a>,
    /// `[tokens, top_k]`, i32.
    pub rows: TensorMut<'a>,
    /// `[local experts + 1]`, i32.
    pub offsets: TensorMut<'a>,
    /// `[local experts]`, i32.
    pub counts: TensorMut<'a>,
    /// `[max_tiles, 2]`, i32: as many as [`max_tiles`](crate::max_tiles()) says.
    pub tiles: TensorMut<'a>,
    /// `[1]`, i32.
    pub tile_count: TensorMut<'a>,
    /// `[elements]`, i32, of at least [`dispatch_workspace_bytes`](crate::dispatch_workspace_bytes())
    /// together. What is in it does not matter, before or after.
    pub workspace: TensorMut<'a>,
}

/// The most tiles of `tile_rows` rows (a power of two) that any routing of `pairs` pairs to
/// `local_experts` experts has.
///
/// Each expert that has a row ends in one tile that may not be full, and the full ones hold all rows:
/// `pairs / tile_rows + min(local_experts, pairs)`.
pub fn max_tiles(pairs: u64, local_experts: u64, tile_rows: u32) -> u64 {
    pairs / u64::from(tile_rows.max(1)) + local_experts.min(pairs)
}

/// The bytes of workspace that [`dispatch`](crate::dispatch()) asks for on a device: none for few
/// pairs. Extents that `dispatch` refuses give a number without meaning.
pub fn dispatch_workspace_bytes(
    device: &DeviceInfo,
    tokens: u64,
    top_k: u64,
    local_experts: u64,
) -> u64 {
    let pairs = u32::try_from(tokens.saturating_mul(top_k)).unwrap_or(u32::MAX);
    plan(pairs, device.multiprocessors, device.wave_threads)
        .histograms()
        .saturating_mul(local_experts)
        .saturating_mul(4)
}

/// How a number of pairs is shared out. No result depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    /// Of a block.
    pub(crate) threads: u32,
    /// Blocks, and launches: two if there are several.
    pub(crate) chunks: u32,
    /// Pairs of a block: a multiple of `threads`, so that its warps have whole warps of pairs.
    pub(crate) chunk_pairs: u32,
}

impl Plan {
    /// The histograms that are kept between two launches.
    pub(crate) fn histograms(&self) -> u64 {
        if self.chunks > 1 { self.chunks.into() } else { 0 }
    }

    pub(crate) fn geometry(&self) -> Geometry {
        Geometry {
            grid: [self.chunks, 1, 1],
            threads: self.threads,
            shared_bytes: 0,
            cluster_blocks: 1,
        }
    }
}

/// The most pairs of one block that does everything.
const ONE_BLOCK_PAIRS: u32 = 4 * DISPATCH_MAX_THREADS;

/// Few pairs are one block of as many threads, since a second launch would take longer. Many are chunks
/// of at least a block's threads, and two for each multiprocessor at most: each block reads the
/// histograms of all.
pub(crate) fn plan(pairs: u32, multiprocessors: u32, wave_threads: u32) -> Plan {
    let max = DISPATCH_MAX_THREADS;
    if pairs <= ONE_BLOCK_PAIRS {
        let threads = pairs.next_multiple_of(wave_threads).clamp(64, max);
        return Plan { threads, chunks: 1, chunk_pairs: pairs.max(1).next_multiple_of(threads) };
    }
    let most = multiprocessors.saturating_mul(2).clamp(1, pairs.div_ceil(max));
    // Below 2^31 + 1024.
    let chunk_pairs = pairs.div_ceil(most).next_multiple_of(max);
    Plan { threads: max, chunks: pairs.div_ceil(chunk_pairs), chunk_pairs }
}

/// Checks the arguments against each other and the kernels.
fn prepare(
    arguments: &Dispatch<'_>,
    device: &DeviceInfo,
    plan: impl Fn(u32) -> Plan,
) -> Result<(DispatchParams, Plan)> {
    let ids = &arguments.ids.layout;
    let [tokens, top_k] = *ids.shape else {
        let found = format!("{:?}", &*ids.shape);
        return Err(Error::value("dispatch", "ids", found, "of shape [tokens, top_k]"));
    };
    let Range { start, end } = arguments.experts;
    if start > end || i32::try_from(end).is_err() {
        let expected = "an ascending range that ends at 2147483647 or before";
        return Err(Error::value("dispatch", "experts", format!("{start}..{end}"), expected));
    }
    let (experts, tile_rows) = (end - start, arguments.tile_rows);
    if !tile_rows.is_power_of_two() || !(16..=256).contains(&tile_rows) {
        let expected = "a power of two from 16 to 256";
        return Err(Error::value("dispatch", "tile_rows", tile_rows, expected));
    }
    let max_top_k = u64::from(DISPATCH_MAX_TOP_K);
    if !(1..=max_top_k).contains(&top_k) {
        let supported = format!("1 to {max_top_k}");
        return Err(Error::unsupported("dispatch", format!("top_k {top_k}"), supported));
    }
    if !(1..=DISPATCH_MAX_EXPERTS).contains(&experts) {
        let supported = format!("1 to {DISPATCH_MAX_EXPERTS}");
        return Err(Error::unsupported("dispatch", format!("{experts} local experts"), supported));
    }
    let pairs = tokens.saturating_mul(top_k);
    let Ok(pair_count) = i32::try_from(pairs) else {
        let found = format!("{tokens} tokens of {top_k} pairs");
        return Err(Error::unsupported("dispatch", found, "less than 2^31 pairs"));
    };
    let (pair_count, local) = (pair_count as u32, u64::from(experts));
    let tiles = max_tiles(pairs, local, tile_rows);
    let plan = plan(pair_count);

    let identity = (device.platform, device.ordinal);
    let workspace = &arguments.workspace.layout;
    let kept = workspace.shape.first().copied().unwrap_or(0);
    for (argument, layout, shape) in [
        ("ids", ids, &[tokens, top_k][..]),
        ("pairs", &arguments.pairs.layout, &[pairs]),
        ("rows", &arguments.rows.layout, &[tokens, top_k]),
        ("offsets", &arguments.offsets.layout, &[local + 1]),
        ("counts", &arguments.counts.layout, &[local]),
        ("tiles", &arguments.tiles.layout, &[tiles, 2]),
        ("tile_count", &arguments.tile_count.layout, &[1]),
        ("workspace", workspace, &[kept]),
    ] {
        layout.check_device("dispatch", argument, identity)?;
        layout.check_shape("dispatch", argument, shape)?;
        layout.check_dtype("dispatch", argument, Dtype::I32)?;
        layout.check_dense("dispatch", argument)?;
    }
    let tiles_at = arguments.tiles.layout.address;
    if tiles > 0 && !tiles_at.is_multiple_of(8) {
        let found = format!("at address {tiles_at:#x}");
        return Err(Error::value("dispatch", "tiles", found, "a multiple of 8"));
    }
    let needed = plan.histograms() * local;
    if kept < needed {
        let expected = format!("at least {needed}, dispatch_workspace_bytes / 4");
        return Err(Error::value("dispatch", "workspace", format!("of {kept} elements"), expected));
    }

    let address = |layout: &Layout| layout.address as usize as *mut i32;
    let histograms = if needed > 0 { address(workspace) } else { std::ptr::null_mut() };
    let params = DispatchParams {
        ids: address(ids),
        pairs: address(&arguments.pairs.layout),
        rows: address(&arguments.rows.layout),
        offsets: address(&arguments.offsets.layout),
        counts: address(&arguments.counts.layout),
        tiles: address(&arguments.tiles.layout),
        tile_count: address(&arguments.tile_count.layout),
        histograms: histograms.cast(),
        pair_count,
        chunk_pairs: plan.chunk_pairs,
        chunks: plan.chunks,
        first_expert: start,
        experts,
        expert_bits: (experts - 1).checked_ilog2().map_or(0, |log| log + 1),
        tile_shift: tile_rows.trailing_zeros(),
        max_tiles: tiles as u32,
    };
    Ok((params, plan))
}

/// What a call checks, without the call.
pub(crate) fn check(arguments: &Dispatch<'_>, device: &DeviceInfo) -> Result<()> {
    let plan = |pairs| plan(pairs, device.multiprocessors, device.wave_threads);
    prepare(arguments, device, plan).map(drop)
}

/// Sorts the (token, slot) pairs by expert, stably, and says where each expert's rows and tiles are.
///
/// A pair is `token * top_k + slot`; it is local if its id is one of `experts`. Rows are the local
/// pairs, ordered by expert and then by pair. With `e` counted from `experts.start`:
///
/// ```text
/// pairs[row]  = the pair of the row;                          -1 past the last row
/// rows[pair]  = the row of the pair;                          -1 if it is not local
/// counts[e]   = rows of expert e
/// offsets[e]  = first row of expert e;                        offsets[local experts]: all rows
/// tiles[i]    = (e, first row) of the i-th piece of at most tile_rows rows of one expert, in order;
///                                                             (-1, -1) past the last
/// tile_count  = the tiles
/// ```
///
/// | argument     | dtype | shape                 | note                                            |
/// |--------------|-------|-----------------------|-------------------------------------------------|
/// | `ids`        | i32   | `[tokens, top_k]`     | `top_k` from 1 to 16; any value                 |
/// | `experts`    |       |                       | 1 to 256 of them; `0..experts` without sharding |
/// | `tile_rows`  |       |                       | 16, 32, 64, 128 or 256                          |
/// | `pairs`      | i32   | `[tokens * top_k]`    | less than 2^31                                  |
/// | `rows`       | i32   | `[tokens, top_k]`     |                                                 |
/// | `offsets`    | i32   | `[local experts + 1]` |                                                 |
/// | `counts`     | i32   | `[local experts]`     |                                                 |
/// | `tiles`      | i32   | `[max_tiles, 2]`      | [`max_tiles`](crate::max_tiles()); at a multiple of 8 bytes |
/// | `tile_count` | i32   | `[1]`                 |                                                 |
/// | `workspace`  | i32   | `[elements]`          | [`dispatch_workspace_bytes`](crate::dispatch_workspace_bytes()) |
///
/// An id outside `experts`, -1 and any other included, has no row: expert parallelism hands each
/// device all ids and its own range. Of equal ids in a token each has a row. With all experts in
/// `experts`, `counts` and `offsets` are the layout of an all-to-all: of `r` devices with `n` experts
/// each, device `d` gets the rows `offsets[d * n]..offsets[(d + 1) * n]`, and `counts` as `[r, n]` says
/// how many of each of its experts.
///
/// All arrays are dense. Nothing is rounded, and nothing depends on the device or the schedule. Nothing is
/// read back: what follows takes its sizes from device memory. It is one launch up to 4096 pairs, two
/// beyond. Zero tokens launch as well: `offsets`, `counts` and `tile_count` become 0.
///
/// # Errors
///
/// `Shape` or `Value` if the arguments disagree, `Unsupported` if no kernel takes them, `Driver` if a
/// launch fails. The outputs are unchanged in each case, but for a failure of the second launch: it leaves
/// a changed workspace.
///
/// Source: MegaBlocks (arXiv:2211.15841), section 5.1: the permutation is a stable sort by expert.
pub fn dispatch(stream: &Stream, arguments: &Dispatch<'_>) -> Result<()> {
    let device = stream.device().info();
    launch(stream, arguments, |pairs| plan(pairs, device.multiprocessors, device.wave_threads))
}

/// [`dispatch`] by any plan.
pub(crate) fn launch(
    stream: &Stream,
    arguments: &Dispatch<'_>,
    plan: impl Fn(u32) -> Plan,
) -> Result<()> {
    let (params, plan) = prepare(arguments, stream.device().info(), plan)?;
    let geometry = plan.geometry();
    // SAFETY: every array has as many elements as `prepare` checked, and the workspace a histogram for
    // each chunk; the kernels count and store by ids only within `experts`. The outputs are borrowed
    // mutably, so nothing else is given them unless ordered by the stream; all stay allocated until the
    // launch is done: a buffer's free waits for the device, and owners of raw tensors vouch for
    // theirs.
    unsafe {
        if !params.histograms.is_null() {
            stream.launch(ENTRIES[0], &geometry, &params)?;
        }
        stream.launch(ENTRIES[1], &geometry, &params)
    }
}
