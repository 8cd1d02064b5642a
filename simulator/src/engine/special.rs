//! Special registers whose value is settled when a frame starts.

use super::registers::{Cell, Registers};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Special {
    Thread(usize),
    Threads(usize),
    Block(usize),
    Blocks(usize),
    Cluster(usize),
    Clusters(usize),
    BlockOfCluster(usize),
    BlocksOfCluster(usize),
    Rank,
    Ranks,
    Lane,
    Warp,
    Warps,
    LaneMask(LaneMask),
    Multiprocessor,
    Multiprocessors,
    DynamicShared,
    TotalShared,
    /// An address in the frame's part of local memory.
    FrameLocal(u32),
    /// Where dynamic shared memory starts, plus an offset.
    DynamicSharedStart(u32),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LaneMask {
    Equal,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
}

/// What special registers tell.
#[derive(Clone, Copy, Debug)]
pub(super) struct Identity {
    pub(super) block: [u32; 3],
    pub(super) grid: [u32; 3],
    pub(super) cluster: [u32; 3],
    pub(super) rank: u32,
    pub(super) threads: [u32; 3],
    pub(super) warp: u32,
    pub(super) multiprocessor: u32,
    pub(super) multiprocessors: u32,
    pub(super) static_shared: u32,
    pub(super) dynamic_shared: u32,
}

/// What the text after the percent sign names; none if its value changes as time goes, or if it is
/// not modelled.
pub(super) fn named(name: &str) -> Option<Result<Special, u64>> {
    let axis = |name: &str, stem: &str| {
        let rest = name.strip_prefix(stem)?.strip_prefix('.')?;
        ["x", "y", "z"].iter().position(|axis| *axis == rest)
    };
    if let Some(axis) = axis(name, "tid") {
        return Some(Ok(Special::Thread(axis)));
    }
    if let Some(axis) = axis(name, "ntid") {
        return Some(Ok(Special::Threads(axis)));
    }
    type Axis = fn(usize) -> Special;
    let by_axis: [(&str, Axis); 6] = [
        ("ctaid", Special::Block),
        ("nctaid", Special::Blocks),
        ("clusterid", Special::Cluster),
        ("nclusterid", Special::Clusters),
        ("cluster_ctaid", Special::BlockOfCluster),
        ("cluster_nctaid", Special::BlocksOfCluster),
    ];
    for (stem, special) in by_axis {
        if let Some(axis) = axis(name, stem) {
            return Some(Ok(special(axis)));
        }
    }
    Some(Ok(match name {
        "laneid" => Special::Lane,
        "warpid" => Special::Warp,
        "nwarpid" => Special::Warps,
        "lanemask_eq" => Special::LaneMask(LaneMask::Equal),
        "lanemask_lt" => Special::LaneMask(LaneMask::Less),
        "lanemask_le" => Special::LaneMask(LaneMask::LessEqual),
        "lanemask_gt" => Special::LaneMask(LaneMask::Greater),
        "lanemask_ge" => Special::LaneMask(LaneMask::GreaterEqual),
        "smid" => Special::Multiprocessor,
        "nsmid" => Special::Multiprocessors,
        "dynamic_smem_size" => Special::DynamicShared,
        "total_smem_size" => Special::TotalShared,
        "cluster_ctarank" => Special::Rank,
        "cluster_nctarank" => Special::Ranks,
        "gridid" => return Some(Err(0)),
        _ => return None,
    }))
}

/// Fills one slot of a new frame.
pub(super) fn fill(
    registers: &mut Registers,
    (slot, wide, special): (u32, bool, Special),
    identity: &Identity,
    local_base: u32,
) {
    let threads = identity.threads.iter().product::<u32>();
    let value = |lane: u32| -> u64 {
        let thread = identity.warp * 32 + lane;
        u64::from(match special {
            Special::Thread(0) => thread % identity.threads[0],
            Special::Thread(1) => thread / identity.threads[0] % identity.threads[1],
            Special::Thread(_) => thread / identity.threads[0] / identity.threads[1],
            Special::Threads(axis) => identity.threads[axis],
            Special::Block(axis) => identity.block[axis],
            Special::Blocks(axis) => identity.grid[axis],
            Special::Cluster(axis) => identity.block[axis] / identity.cluster[axis],
            Special::Clusters(axis) => identity.grid[axis] / identity.cluster[axis],
            Special::BlockOfCluster(axis) => identity.block[axis] % identity.cluster[axis],
            Special::BlocksOfCluster(axis) => identity.cluster[axis],
            Special::Rank => identity.rank,
            Special::Ranks => identity.cluster.iter().product(),
            Special::Lane => lane,
            Special::Warp => identity.warp,
            Special::Warps => threads.div_ceil(32),
            Special::LaneMask(LaneMask::Equal) => 1 << lane,
            Special::LaneMask(LaneMask::Less) => (1 << lane) - 1,
            Special::LaneMask(LaneMask::LessEqual) => u32::MAX >> (31 - lane),
            Special::LaneMask(LaneMask::Greater) => !(u32::MAX >> (31 - lane)),
            Special::LaneMask(LaneMask::GreaterEqual) => u32::MAX << lane,
            Special::Multiprocessor => identity.multiprocessor,
            Special::Multiprocessors => identity.multiprocessors,
            Special::DynamicShared => identity.dynamic_shared,
            Special::TotalShared => identity.static_shared + identity.dynamic_shared,
            Special::FrameLocal(offset) => local_base + offset,
            Special::DynamicSharedStart(offset) => identity.static_shared + offset,
        })
    };
    let values = std::array::from_fn(|lane| value(lane as u32));
    if wide {
        *u64::lanes_mut(registers, slot) = values;
    } else {
        *u32::lanes_mut(registers, slot) = values.map(|value| value as u32);
    }
    registers.valid[slot as usize] = u32::MAX;
}
