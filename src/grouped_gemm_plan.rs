//! Which kernel of the experts' products runs, and in what tiles.

use crate::Source;
use crate::dispatch::max_tiles;
use crate::driver::{DeviceInfo, Geometry, Platform};
use crate::kernels::{
    GROUPED_ROWS_SM80_SHARED_BYTES, GROUPED_ROWS_SM80_THREADS, GROUPED_ROWS_SM90_SHARED_BYTES,
    GROUPED_ROWS_SM90_THREADS, GROUPED_ROWS_THREADS, GROUPED_ROWS_TILE_FEATURES,
    GROUPED_ROWS_TILE_ROWS, GROUPED_SM80_SHARED_BYTES, GROUPED_SM80_THREADS,
    GROUPED_SM80_TILE_FEATURES, GROUPED_SM80_TILE_ROWS, GROUPED_SM90_BOX_FEATURES_NN,
    GROUPED_SM90_BOX_FEATURES_NT, GROUPED_SM90_SHARED_BYTES, GROUPED_SM90_THREADS,
    GROUPED_SM90_TILE_FEATURES, GROUPED_SM90_TILE_ROWS, GROUPED_THREADS, GROUPED_TILE_FEATURES,
    GROUPED_TILE_ROWS,
};

/// Entries in the order of [`Product::entry`].
macro_rules! entries {
    ($stem:literal, $end:literal) => {
        &[
            concat!($stem, "_up_bf16", $end),
            concat!($stem, "_up_f16", $end),
            concat!($stem, "_down_bf16_nt", $end),
            concat!($stem, "_down_f16_nt", $end),
            concat!($stem, "_down_bf16_nn", $end),
            concat!($stem, "_down_f16_nn", $end),
        ]
    };
}

const AMD_IMAGES: &[&str] = &["gfx90a", "gfx942", "gfx950"];

/// AMD's kernels for many rows.
pub(crate) const AMD: Source = Source {
    stem: "grouped_gemm",
    entries: entries!("grouped_gemm", ""),
    images: AMD_IMAGES,
    shared_bytes: 0,
};

/// AMD's for few.
pub(crate) const AMD_ROWS: Source = Source {
    stem: "grouped_gemm_rows",
    entries: entries!("grouped_gemm_rows", ""),
    images: AMD_IMAGES,
    shared_bytes: 0,
};

const SM80_IMAGES: &[&str] = &["sm_80", "sm_89", "compute_80"];

/// Those of sm_80 and of later architectures that have none of their own, for many rows.
pub(crate) const SM80: Source = Source {
    stem: "grouped_gemm_sm80",
    entries: entries!("grouped_gemm", "_sm80"),
    images: SM80_IMAGES,
    shared_bytes: GROUPED_SM80_SHARED_BYTES,
};

/// Those for few.
pub(crate) const SM80_ROWS: Source = Source {
    stem: "grouped_gemm_rows_sm80",
    entries: entries!("grouped_gemm_rows", "_sm80"),
    images: SM80_IMAGES,
    shared_bytes: GROUPED_ROWS_SM80_SHARED_BYTES,
};

/// Those of sm_90a for many rows.
pub(crate) const SM90: Source = Source {
    stem: "grouped_gemm_sm90",
    entries: entries!("grouped_gemm", "_sm90"),
    images: &["sm_90a"],
    shared_bytes: GROUPED_SM90_SHARED_BYTES,
};

/// Those of sm_90a for few.
pub(crate) const SM90_ROWS: Source = Source {
    stem: "grouped_gemm_rows_sm90",
    entries: entries!("grouped_gemm_rows", "_sm90"),
    images: &["sm_90a"],
    shared_bytes: GROUPED_ROWS_SM90_SHARED_BYTES,
};

/// One of the two products of an expert.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Product {
    /// With two weights, joined by the activation.
    Up,
    /// With one; whether it lies as `[in_features, out_features]`.
    Down { is_nn: bool },
}

impl Product {
    /// The place among a source's entries.
    pub(crate) fn entry(self, is_f16: bool) -> usize {
        let first = match self {
            Product::Up => 0,
            Product::Down { is_nn: false } => 2,
            Product::Down { is_nn: true } => 4,
        };
        first + usize::from(is_f16)
    }

    /// The rows of weights that a feature of the result takes.
    fn weights(self) -> u32 {
        if self == Product::Up { 2 } else { 1 }
    }
}

/// What a product is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Extents {
    /// All experts' together, at most.
    pub(crate) rows: u32,
    pub(crate) experts: u32,
    pub(crate) in_features: u32,
    pub(crate) out_features: u32,
    pub(crate) product: Product,
}

/// Rows of the boxes in which a kernel of sm_90a copies its operands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Boxes {
    /// Of x; none if it copies x otherwise.
    pub(crate) x: Option<u32>,
    pub(crate) weight: u32,
}

/// A launch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) source: &'static Source,
    pub(crate) geometry: Geometry,
    /// A tile has `1 << tile_shift` rows.
    pub(crate) tile_shift: u32,
    /// Of the result.
    pub(crate) tile_features: u32,
    /// Tiles of rows that go through all features together.
    pub(crate) panel: u32,
    /// Dies that blocks go round.
    pub(crate) xcds: u32,
    pub(crate) boxes: Option<Boxes>,
}

/// What kernels of one architecture ask for.
struct Kernel {
    source: &'static Source,
    threads: u32,
    /// Blocks that a multiprocessor has at a time.
    resident: u32,
    tile_rows: u32,
    /// Of weights.
    tile_features: u32,
}

/// Rows of an expert, on average, up to which the weight's bytes are what takes time.
const FEW_ROWS: u64 = 32;

/// The launch for a device; none if it has no kernel. Features are positive multiples of 8 below 2^31, rows
/// below 2^31, experts from 1 to `GROUPED_MAX_EXPERTS`.
///
/// It depends on how many rows there may be, not on which expert has them: that is known on the device alone. No
/// bit of a result depends on it.
pub(crate) fn plan(extents: Extents, device: &DeviceInfo) -> Option<Plan> {
    let few = u64::from(extents.rows) <= FEW_ROWS * u64::from(extents.experts);
    let kernel = match (device.platform, device.images, few) {
        (Platform::Cuda, "sm_90a", false) => Kernel {
            source: &SM90,
            threads: GROUPED_SM90_THREADS,
            resident: 1,
            tile_rows: GROUPED_SM90_TILE_ROWS,
            tile_features: GROUPED_SM90_TILE_FEATURES,
        },
        (Platform::Cuda, "sm_90a", true) => Kernel {
            source: &SM90_ROWS,
            threads: GROUPED_ROWS_SM90_THREADS,
            resident: 1,
            tile_rows: GROUPED_ROWS_TILE_ROWS,
            tile_features: GROUPED_ROWS_TILE_FEATURES,
        },
        (Platform::Cuda, images, false) if SM80_IMAGES.contains(&images) => Kernel {
            source: &SM80,
            threads: GROUPED_SM80_THREADS,
            resident: 2,
            tile_rows: GROUPED_SM80_TILE_ROWS,
            tile_features: GROUPED_SM80_TILE_FEATURES,
        },
        (Platform::Cuda, images, true) if SM80_IMAGES.contains(&images) => Kernel {
            source: &SM80_ROWS,
            threads: GROUPED_ROWS_SM80_THREADS,
            resident: 1,
            tile_rows: GROUPED_ROWS_TILE_ROWS,
            // A warp has 16.
            tile_features: GROUPED_ROWS_SM80_THREADS / 2,
        },
        (Platform::Hip, images, false) if AMD_IMAGES.contains(&images) => Kernel {
            source: &AMD,
            threads: GROUPED_THREADS,
            resident: 1,
            tile_rows: GROUPED_TILE_ROWS,
            tile_features: GROUPED_TILE_FEATURES,
        },
        (Platform::Hip, images, true) if AMD_IMAGES.contains(&images) => Kernel {
            source: &AMD_ROWS,
            threads: GROUPED_ROWS_THREADS,
            resident: 2,
            tile_rows: GROUPED_ROWS_TILE_ROWS,
            tile_features: GROUPED_ROWS_TILE_FEATURES,
        },
        _ => return None,
    };
    Some(kernel.plan(extents, device))
}

impl Kernel {
    fn plan(&self, extents: Extents, device: &DeviceInfo) -> Plan {
        let Extents { rows, experts, out_features, product, .. } = extents;
        let resident = device.multiprocessors.saturating_mul(self.resident).max(1);
        let mut tile_features = self.tile_features / product.weights();
        if self.source == &SM90_ROWS && product != (Product::Down { is_nn: true }) {
            tile_features = even(extents, tile_features, resident);
        }
        let row_tiles = max_tiles(rows.into(), experts.into(), self.tile_rows);
        let tiles = row_tiles.saturating_mul(out_features.div_ceil(tile_features).into());
        Plan {
            source: self.source,
            geometry: Geometry {
                grid: [tiles.clamp(1, resident.into()) as u32, 1, 1],
                threads: self.threads,
                shared_bytes: self.source.shared_bytes,
                cluster_blocks: 1,
            },
            tile_shift: self.tile_rows.trailing_zeros(),
            tile_features,
            // 2048 rows: with as many features at a time, all multiprocessors are busy, and what they read fits
            // the L2.
            panel: 2048 / self.tile_rows,
            xcds: crate::linear_plan::dies(device),
            boxes: self.boxes(product, tile_features),
        }
    }

    fn boxes(&self, product: Product, tile_features: u32) -> Option<Boxes> {
        let is_nn = product == Product::Down { is_nn: true };
        let x = if product == Product::Up { None } else { Some(GROUPED_SM90_TILE_ROWS) };
        match self.source.stem {
            "grouped_gemm_sm90" if is_nn => Some(Boxes { x, weight: GROUPED_SM90_BOX_FEATURES_NN }),
            "grouped_gemm_sm90" => Some(Boxes { x, weight: GROUPED_SM90_BOX_FEATURES_NT }),
            "grouped_gemm_rows_sm90" if is_nn => {
                Some(Boxes { x: None, weight: GROUPED_SM90_BOX_FEATURES_NN })
            }
            "grouped_gemm_rows_sm90" => Some(Boxes { x: None, weight: tile_features }),
            _ => None,
        }
    }
}

/// As many features a tile as keep the multiprocessors busy to the end, if each expert that may have a row has one.
fn even(extents: Extents, most: u32, blocks: u32) -> u32 {
    let active = extents.experts.min(extents.rows.max(1));
    let load = |tile: u32| {
        let tiles = u64::from(extents.out_features.div_ceil(tile)) * u64::from(active);
        (tiles.div_ceil(blocks.into()) * u64::from(tile), tiles)
    };
    (2..=most / 8).rev().map(|eighths| 8 * eighths).min_by_key(|&tile| load(tile)).unwrap_or(most)
}
