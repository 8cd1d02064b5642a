//! Which kernel of a dense layer runs, and in what tiles.

use crate::Source;
use crate::driver::{DeviceInfo, Geometry, Platform};
use crate::kernels::{
    LINEAR_ROWS_MAX_TOKENS, LINEAR_ROWS_SM80_SHARED_BYTES, LINEAR_ROWS_SM80_THREADS,
    LINEAR_ROWS_SM90_SHARED_BYTES, LINEAR_ROWS_SM90_THREADS, LINEAR_ROWS_THREADS,
    LINEAR_ROWS_TILE_FEATURES, LINEAR_SM80_SHARED_BYTES, LINEAR_SM80_THREADS, LINEAR_SM80_TILE,
    LINEAR_SM90_BOX_FEATURES_NN, LINEAR_SM90_BOX_FEATURES_NT, LINEAR_SM90_SHARED_BYTES,
    LINEAR_SM90_THREADS, LINEAR_SM90_TILE_FEATURES, LINEAR_SM90_TILE_TOKENS, LINEAR_THREADS,
    LINEAR_TILE,
};

/// Entries in the order of [`Kernel::entry`]: by dtype, then f32 results, then the layout.
macro_rules! entries {
    ($stem:literal, $end:literal) => {
        &[
            concat!($stem, "_bf16_nt", $end),
            concat!($stem, "_bf16_nn", $end),
            concat!($stem, "_bf16_f32_nt", $end),
            concat!($stem, "_bf16_f32_nn", $end),
            concat!($stem, "_f16_nt", $end),
            concat!($stem, "_f16_nn", $end),
            concat!($stem, "_f16_f32_nt", $end),
            concat!($stem, "_f16_f32_nn", $end),
        ]
    };
}

const AMD_IMAGES: &[&str] = &["gfx90a", "gfx942", "gfx950"];

/// AMD's kernels for many tokens.
pub(crate) const AMD: Source =
    Source { stem: "linear", entries: entries!("linear", ""), images: AMD_IMAGES, shared_bytes: 0 };

/// AMD's for few.
pub(crate) const AMD_ROWS: Source = Source {
    stem: "linear_rows",
    entries: entries!("linear_rows", ""),
    images: AMD_IMAGES,
    shared_bytes: 0,
};

const SM80_IMAGES: &[&str] = &["sm_80", "sm_89", "compute_80"];

/// Those of sm_80 and of later architectures that have none of their own, for many tokens.
pub(crate) const SM80: Source = Source {
    stem: "linear_sm80",
    entries: entries!("linear", "_sm80"),
    images: SM80_IMAGES,
    shared_bytes: LINEAR_SM80_SHARED_BYTES,
};

/// Those for few.
pub(crate) const SM80_ROWS: Source = Source {
    stem: "linear_rows_sm80",
    entries: entries!("linear_rows", "_sm80"),
    images: SM80_IMAGES,
    shared_bytes: LINEAR_ROWS_SM80_SHARED_BYTES,
};

/// Those of sm_90a for many tokens.
pub(crate) const SM90: Source = Source {
    stem: "linear_sm90",
    entries: entries!("linear", "_sm90"),
    images: &["sm_90a"],
    shared_bytes: LINEAR_SM90_SHARED_BYTES,
};

/// Those of sm_90a for few.
pub(crate) const SM90_ROWS: Source = Source {
    stem: "linear_rows_sm90",
    entries: entries!("linear_rows", "_sm90"),
    images: &["sm_90a"],
    shared_bytes: LINEAR_ROWS_SM90_SHARED_BYTES,
};

/// What a product is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Extents {
    pub(crate) tokens: u32,
    pub(crate) in_features: u32,
    pub(crate) out_features: u32,
    /// The weight lies as `[in_features, out_features]`.
    pub(crate) is_nn: bool,
}

/// Rows of the boxes in which a kernel of sm_90a copies its operands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Boxes {
    pub(crate) x: u32,
    pub(crate) weight: u32,
    /// Whether it copies the residual and the result too.
    pub(crate) copies_out: bool,
}

/// A launch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) source: &'static Source,
    pub(crate) geometry: Geometry,
    pub(crate) tile_tokens: u32,
    pub(crate) tile_features: u32,
    /// Rows of tiles that go through all columns together.
    pub(crate) panel: u32,
    /// Dies that blocks go round.
    pub(crate) xcds: u32,
    pub(crate) boxes: Option<Boxes>,
}

impl PartialEq for Source {
    fn eq(&self, other: &Source) -> bool {
        self.stem == other.stem
    }
}

impl Eq for Source {}

impl std::fmt::Debug for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.stem)
    }
}

impl Plan {
    /// The tiles of its grid.
    pub(crate) fn tiles(&self, extents: Extents) -> u64 {
        let rows = u64::from(extents.tokens.div_ceil(self.tile_tokens));
        rows * u64::from(extents.out_features.div_ceil(self.tile_features))
    }
}

/// The launch for a device; none if it has no kernel. Extents are positive multiples of 8 below 2^31, tokens
/// positive and below 2^31.
///
/// Few tokens are bound by reading the weight: all of them are one tile, which reads every weight once. No
/// bit of a result depends on the choice.
pub(crate) fn plan(extents: Extents, device: &DeviceInfo) -> Option<Plan> {
    let few = extents.tokens <= LINEAR_ROWS_MAX_TOKENS;
    match (device.platform, device.images) {
        (Platform::Cuda, "sm_90a") if few => Some(sm90_rows(extents, device)),
        (Platform::Cuda, "sm_90a") => Some(sm90(extents, device)),
        (Platform::Cuda, images) if SM80_IMAGES.contains(&images) => {
            Some(if few { sm80_rows(extents, device) } else { square(extents, &SM80, 1) })
        }
        (Platform::Hip, images) if AMD_IMAGES.contains(&images) => {
            let many = || square(extents, &AMD, dies(device));
            Some(if few { rows(extents, &AMD_ROWS) } else { many() })
        }
        _ => None,
    }
}

/// Tiles of 128 x 256. Where there are two rows of tiles or more, two blocks form a cluster and share the
/// weight's tile; an odd last row leaves a block of it idle, which a taller product hides.
fn sm90(extents: Extents, device: &DeviceInfo) -> Plan {
    let rows = extents.tokens.div_ceil(LINEAR_SM90_TILE_TOKENS);
    let columns = extents.out_features.div_ceil(LINEAR_SM90_TILE_FEATURES);
    let cluster_blocks = if rows.is_multiple_of(2) || rows >= 8 { 2 } else { 1 };
    let clusters = u64::from(rows.div_ceil(cluster_blocks)) * u64::from(columns);
    let resident = (device.multiprocessors / cluster_blocks).max(1);
    let blocks = clusters.min(resident.into()) as u32 * cluster_blocks;
    let geometry = Geometry {
        grid: [blocks, 1, 1],
        threads: LINEAR_SM90_THREADS,
        shared_bytes: LINEAR_SM90_SHARED_BYTES,
        cluster_blocks,
    };
    let box_features =
        if extents.is_nn { LINEAR_SM90_BOX_FEATURES_NN } else { LINEAR_SM90_BOX_FEATURES_NT };
    Plan {
        source: &SM90,
        geometry,
        tile_tokens: LINEAR_SM90_TILE_TOKENS,
        tile_features: LINEAR_SM90_TILE_FEATURES,
        // 2048 tokens: with as many features at a time, all multiprocessors are busy.
        panel: 16 / cluster_blocks,
        xcds: 1,
        boxes: Some(Boxes { x: LINEAR_SM90_TILE_TOKENS, weight: box_features, copies_out: true }),
    }
}

/// Tiles of all tokens by 64 features, or fewer where that keeps more multiprocessors busy to the end.
fn sm90_rows(extents: Extents, device: &DeviceInfo) -> Plan {
    let multiprocessors = device.multiprocessors.max(1);
    // The features of the multiprocessor that has the most, and the tiles to do it in.
    let load = |tile: u32| {
        let tiles = extents.out_features.div_ceil(tile);
        (tiles.div_ceil(multiprocessors) * tile, tiles)
    };
    let widths = (2..=LINEAR_ROWS_TILE_FEATURES / 8).rev().map(|eighths| 8 * eighths);
    let tile_features = if extents.is_nn {
        LINEAR_ROWS_TILE_FEATURES
    } else {
        widths.min_by_key(|&tile| load(tile)).unwrap_or(LINEAR_ROWS_TILE_FEATURES)
    };
    let tile_tokens = extents.tokens.max(8).next_power_of_two();
    let geometry = Geometry {
        grid: [extents.out_features.div_ceil(tile_features).min(multiprocessors), 1, 1],
        threads: LINEAR_ROWS_SM90_THREADS,
        shared_bytes: LINEAR_ROWS_SM90_SHARED_BYTES,
        cluster_blocks: 1,
    };
    let weight = if extents.is_nn { LINEAR_SM90_BOX_FEATURES_NN } else { tile_features };
    Plan {
        source: &SM90_ROWS,
        geometry,
        tile_tokens,
        tile_features,
        panel: 1,
        xcds: 1,
        boxes: Some(Boxes { x: tile_tokens, weight, copies_out: false }),
    }
}

/// Blocks go round the dies in turn, and each has an L2 of its own: a die gets tiles that are neighbours. Compute
/// units of a die: MI300X and MI300A have 38, MI355X 32; MI210 is one.
pub(crate) fn dies(device: &DeviceInfo) -> u32 {
    match device.images {
        "gfx942" => (device.multiprocessors / 38).max(1),
        "gfx950" => (device.multiprocessors / 32).max(1),
        _ => 1,
    }
}

/// A block for each tile of as many tokens as features.
fn square(extents: Extents, source: &'static Source, xcds: u32) -> Plan {
    let (tile, threads) = match source.stem {
        "linear" => (LINEAR_TILE, LINEAR_THREADS),
        _ => (LINEAR_SM80_TILE, LINEAR_SM80_THREADS),
    };
    let tiles =
        u64::from(extents.tokens.div_ceil(tile)) * u64::from(extents.out_features.div_ceil(tile));
    let geometry = Geometry {
        grid: [tiles.min(u32::MAX.into()) as u32, 1, 1],
        threads,
        shared_bytes: source.shared_bytes,
        cluster_blocks: 1,
    };
    // 2048 tokens.
    let panel = 2048 / tile;
    Plan { source, geometry, tile_tokens: tile, tile_features: tile, panel, xcds, boxes: None }
}

/// A warp for 16 features of all tokens, in blocks with which the busiest multiprocessor reads least; x, which comes
/// from the L2, counts half. Copies of a weight that lies as `[in_features, out_features]` want a power of two.
fn sm80_rows(extents: Extents, device: &DeviceInfo) -> Plan {
    const FEATURES: u32 = 16;
    const MOST: u32 = LINEAR_ROWS_SM80_THREADS / 32;
    let tokens = extents.tokens.next_multiple_of(8);
    let warps = extents.out_features.div_ceil(FEATURES);
    let cost = |of_block: u32| {
        let blocks = warps.div_ceil(of_block).div_ceil(device.multiprocessors.max(1));
        u64::from(blocks) * u64::from(2 * FEATURES * of_block + tokens)
    };
    let of_block = (1..=MOST)
        .rev()
        .filter(|of_block| !extents.is_nn || of_block.is_power_of_two())
        .min_by_key(|&of_block| cost(of_block))
        .unwrap_or(MOST);
    // Four stages of 64 k, of x and of half or all of the most features.
    let room = FEATURES * if of_block > MOST / 2 { MOST } else { MOST / 2 };
    let geometry = Geometry {
        grid: [warps.div_ceil(of_block), 1, 1],
        threads: 32 * of_block,
        shared_bytes: 4 * 64 * 2 * (room + tokens),
        cluster_blocks: 1,
    };
    Plan {
        source: &SM80_ROWS,
        geometry,
        tile_tokens: LINEAR_ROWS_MAX_TOKENS,
        tile_features: FEATURES * of_block,
        panel: 1,
        xcds: 1,
        boxes: None,
    }
}

/// A block for 64 features of all tokens.
fn rows(extents: Extents, source: &'static Source) -> Plan {
    let geometry = Geometry {
        grid: [extents.out_features.div_ceil(LINEAR_ROWS_TILE_FEATURES), 1, 1],
        threads: LINEAR_ROWS_THREADS,
        shared_bytes: source.shared_bytes,
        cluster_blocks: 1,
    };
    Plan {
        source,
        geometry,
        tile_tokens: LINEAR_ROWS_MAX_TOKENS,
        tile_features: LINEAR_ROWS_TILE_FEATURES,
        panel: 1,
        xcds: 1,
        boxes: None,
    }
}
