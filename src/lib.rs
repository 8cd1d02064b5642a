//! Fused mixture-of-experts, attention and RoPE kernels for CUDA and ROCm.
//!
//! | operator | function |
//! |---|---|
//! | residual addition and layer norm | [`layer_norm()`] |
//! | residual addition and RMS norm | [`rms_norm()`] |
//! | clip, rotate, append to the KV cache | [`rope()`] |
//! | dense layer | [`linear()`] |
//! | top-k router | [`router()`] |
//! | load histogram, load-balancing and z-loss | [`router_loss()`] |
//! | pairs of token and expert sorted by expert | [`dispatch()`] |
//! | products of the experts | [`grouped_gemm_up()`], [`grouped_gemm_down()`] |
//! | sum of expert outputs and residual | [`combine()`] |
//! | a layer of experts: all of these in one call | [`moe()`] |
//! | rows to and from another device | [`packet_pack()`], [`packet_unpack()`] |
//!
//! Operators take a [`Stream`] and borrowed [`Tensor`]s, submit one kernel (`dispatch`,
//! `router` and `router_loss`: up to two; `moe`: five to seven) and return at once: they neither allocate nor wait. Memory and
//! streams may be an engine's own ([`Tensor::from_raw`], [`Stream::borrow`]) or this crate's ([`Buffer`],
//! [`Device::stream`]).
//!
//! Feature `cuda` finds NVIDIA devices, feature `hip` AMD ones; a binary may have both. Nothing is
//! linked: it starts without a driver, and [`Device::open`] then says what is missing. Feature
//! `rocm-rs` borrows streams and memory of the crate of that name, which does link ROCm: a binary that
//! uses it does not start without.
//!
//! Feature `capi` is the C ABI of `include/expertile.h`; `make install` builds its libraries.
//!
//! What the kernels are judged against is the crate `expertile-reference`, a plain CPU model of DBRX
//! and of each operator it is made of.

// Without a platform nothing makes a device, and what only devices need is unused.
#![cfg_attr(
    not(any(feature = "cuda", feature = "hip")),
    allow(dead_code, unused_imports, unused_variables)
)]

extern crate self as expertile;

mod buffer;
#[cfg(feature = "capi")]
pub mod capi;
mod combine;
#[cfg(feature = "cuda")]
mod cuda;
mod device;
mod dispatch;
mod driver;
mod dtype;
mod error;
mod graph;
mod grouped_gemm;
mod grouped_gemm_call;
mod grouped_gemm_plan;
#[cfg(feature = "hip")]
mod hip;
#[allow(dead_code, unreachable_pub)]
mod kernels;
mod layer_norm;
mod linear;
mod linear_plan;
mod moe;
mod norm;
mod packet;
#[cfg(feature = "probes")]
pub mod probe;
mod rms_norm;
mod rope;
mod router;
mod router_loss;
mod stream;
mod tensor;
#[cfg(test)]
mod tests;

pub use buffer::Buffer;
pub use combine::{Combine, CombineOut, combine};
pub use device::Device;
pub use dispatch::{Dispatch, dispatch, dispatch_workspace_bytes, max_tiles};
pub use driver::{DeviceInfo, Geometry, Platform};
pub use dtype::{Dtype, Element};
pub use error::{Error, Result};
pub use graph::Graph;
pub use grouped_gemm::{
    Activation, Gated, GroupedDown, GroupedUp, PairWeights, grouped_gemm_down, grouped_gemm_up,
};
pub use layer_norm::layer_norm;
pub use linear::{Linear, LinearOut, WeightLayout, linear};
pub use moe::{Experts, Moe, MoeExtents, Route, moe, moe_workspace_bytes};
pub use norm::{Norm, Residual};
pub use packet::{PacketPack, PacketUnpack, packet_pack, packet_trailer, packet_unpack};
pub use rms_norm::rms_norm;
pub use rope::{Pairing, Rope, rope};
pub use router::{ExpertGroups, Router, RouterInput, Scoring, router};
pub use router_loss::{RouterLoss, router_loss, router_loss_workspace_bytes};
pub use stream::{Event, Stream};
pub use tensor::{MAX_RANK, Tensor, TensorMut};

/// The kernels of one source file.
pub(crate) struct Source {
    pub(crate) stem: &'static str,
    pub(crate) entries: &'static [&'static str],
    /// The images that there are of it; none named: of every architecture.
    pub(crate) images: &'static [&'static str],
    /// The most dynamic shared memory that a launch asks for.
    pub(crate) shared_bytes: u32,
}

impl Source {
    /// One that every architecture has.
    const fn common(stem: &'static str, entries: &'static [&'static str]) -> Source {
        Source { stem, entries, images: &[], shared_bytes: 0 }
    }

    /// Whether a device of these images has it.
    pub(crate) fn is_for(&self, images: &str) -> bool {
        self.images.is_empty() || self.images.contains(&images)
    }
}

/// Every source file's kernels.
pub(crate) const KERNELS: &[Source] = &[
    Source::common("combine", &combine::ENTRIES),
    Source::common("dispatch", &dispatch::ENTRIES),
    Source::common("layer_norm", &layer_norm::ENTRIES),
    Source::common("packet", &packet::ENTRIES),
    Source::common("rms_norm", &rms_norm::ENTRIES),
    Source::common("rope", &rope::ENTRIES),
    Source::common("router", &router::ENTRIES),
    Source::common("router_loss", &router_loss::ENTRIES),
    Source::common("router_loss_reduce", &router_loss::REDUCE_ENTRIES),
    Source::common("router_select", &router::SELECT_ENTRIES),
    grouped_gemm_plan::AMD,
    grouped_gemm_plan::AMD_ROWS,
    grouped_gemm_plan::SM80,
    grouped_gemm_plan::SM80_ROWS,
    grouped_gemm_plan::SM90,
    grouped_gemm_plan::SM90_ROWS,
    linear_plan::AMD,
    linear_plan::AMD_ROWS,
    linear_plan::SM80,
    linear_plan::SM80_ROWS,
    linear_plan::SM90,
    linear_plan::SM90_ROWS,
];

/// Those of a platform's probes likewise.
#[cfg(any(feature = "cuda", feature = "hip"))]
pub(crate) fn probes(platform: Platform) -> &'static [Source] {
    #[cfg(feature = "probes")]
    return probe::kernels(platform);
    #[cfg(not(feature = "probes"))]
    {
        let _ = platform;
        &[]
    }
}

/// The embedded CUDA images: source stem, architecture, bytes when unpacked.
#[cfg(feature = "cuda")]
pub fn cuda_images() -> impl Iterator<Item = (&'static str, &'static str, usize)> {
    expertile_kernels_cuda::IMAGES
        .iter()
        .map(|image| (image.stem, image.architecture, image.bytes_len))
}

/// The embedded HIP images: source stem, architecture, bytes when unpacked.
#[cfg(feature = "hip")]
pub fn hip_images() -> impl Iterator<Item = (&'static str, &'static str, usize)> {
    expertile_kernels_hip::IMAGES
        .iter()
        .map(|image| (image.stem, image.architecture, image.bytes_len))
}

/// What each operator would launch on such a device for DBRX in bf16, with 1 and with 4096 tokens:
/// the entry and its geometry.
pub fn dbrx_plans(
    device: &DeviceInfo,
) -> impl Iterator<Item = (&'static str, [(&'static str, Geometry); 2])> {
    let (multiprocessors, wave_threads) = (device.multiprocessors, device.wave_threads);
    let norm = |entry: &'static str| {
        [1, 4096].map(|tokens| (entry, norm::plan(tokens, 6144, multiprocessors, wave_threads)))
    };
    let rope = [1, 4096].map(|tokens| {
        (rope::ENTRIES[0], rope::plan(Dtype::Bf16, tokens, 48 + 2 * 8, 128, multiprocessors).0)
    });
    // Dispatch: its last launch.
    let dispatch = [1, 4096].map(|tokens: u32| {
        (dispatch::ENTRIES[1], dispatch::plan(4 * tokens, multiprocessors, wave_threads).geometry())
    });
    let combine = [1, 4096]
        .map(|tokens| (combine::ENTRIES[0], combine::plan(tokens, 768, multiprocessors).0));
    let packet = [1, 4096]
        .map(|tokens: u32| (packet::ENTRIES[0], packet::plan(4 * tokens, 768, multiprocessors).0));
    let router = [1, 4096]
        .map(|tokens| (router::ENTRIES[0], router::plan(tokens, 16, false, multiprocessors).0));
    // The first launch of the losses.
    let router_loss =
        [1, 4096].map(|tokens| (router_loss::ENTRIES[0], router_loss::plan(tokens)[0]));
    // Wqkv, on a device that has kernels for it.
    let linear = [1, 4096].map(|tokens| {
        let extents = linear_plan::Extents {
            tokens,
            in_features: 6144,
            out_features: (48 + 2 * 8) * 128,
            is_nn: false,
        };
        linear_plan::plan(extents, device).map(|plan| (plan.source.entries[0], plan.geometry))
    });
    let linear = if let [Some(few), Some(many)] = linear { Some([few, many]) } else { None };
    // The first product of the experts, likewise.
    let grouped_gemm = [1, 4096].map(|tokens: u32| {
        let extents = grouped_gemm_plan::Extents {
            rows: 4 * tokens,
            experts: 16,
            in_features: 6144,
            out_features: 10_752,
            product: grouped_gemm_plan::Product::Up,
        };
        let plan = grouped_gemm_plan::plan(extents, device);
        plan.map(|plan| (plan.source.entries[0], plan.geometry))
    });
    let grouped_gemm =
        if let [Some(few), Some(many)] = grouped_gemm { Some([few, many]) } else { None };
    [("combine", combine), ("dispatch", dispatch)]
        .into_iter()
        .chain(grouped_gemm.map(|grouped_gemm| ("grouped_gemm", grouped_gemm)))
        .chain([("layer_norm", norm(layer_norm::ENTRIES[0]))])
        .chain(linear.map(|linear| ("linear", linear)))
        .chain([
            ("packet", packet),
            ("rms_norm", norm(rms_norm::ENTRIES[0])),
            ("rope", rope),
            ("router", router),
            ("router_loss", router_loss),
        ])
}

/// The README's examples, as tests: the first needs the feature.
#[cfg(all(doctest, feature = "cuda"))]
#[doc = include_str!("../README.md")]
struct Readme;
