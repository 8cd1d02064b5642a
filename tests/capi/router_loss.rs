//! `router_loss`: its tensors, its options, and the same call in Rust.

use crate::args::Args;
use crate::call::Call;
use crate::scene::{Scene, Spec, TOKENS, TOP_K};
use expertile::capi::*;
use expertile::{
    Dtype, RouterLoss, Tensor, TensorMut, router_loss, router_loss_workspace_bytes as bytes_of,
};

const EXPERTS: i64 = 64;

/// The tensors in the order of the struct.
pub(crate) fn specs(dtype: i32) -> Vec<Spec> {
    let spec = |name, dtype, shape, written| Spec { name, dtype, shape, written };
    vec![
        spec("logits", dtype, &[TOKENS, EXPERTS], false),
        spec("ids", EXPERTILE_I32, &[TOKENS, TOP_K], false),
        spec("losses", EXPERTILE_F32, &[3], true),
        spec("counts", EXPERTILE_I32, &[EXPERTS], true),
        spec("mean_probabilities", EXPERTILE_F32, &[EXPERTS], true),
    ]
}

pub(crate) fn workspace_bytes() -> usize {
    bytes_of(TOKENS as u64, EXPERTS as u64) as usize
}

pub(crate) fn args(tensor: impl Fn(usize) -> expertile_tensor) -> expertile_router_loss_args {
    expertile_router_loss_args {
        struct_size: size_of::<expertile_router_loss_args>() as u32,
        reserved: 0,
        logits: tensor(0),
        ids: tensor(1),
        losses: tensor(2),
        counts: tensor(3),
        mean_probabilities: tensor(4),
    }
}

pub(crate) fn tensor(args: &mut expertile_router_loss_args, place: usize) -> &mut expertile_tensor {
    match place {
        0 => &mut args.logits,
        1 => &mut args.ids,
        2 => &mut args.losses,
        3 => &mut args.counts,
        _ => &mut args.mean_probabilities,
    }
}

fn of(call: &mut Call) -> &mut expertile_router_loss_args {
    let Args::RouterLoss(args) = &mut call.args else { panic!("not router_loss's") };
    args
}

pub(crate) fn options() -> Vec<fn(&mut Call)> {
    vec![|_| {}, |call| of(call).ids.shape[1] = TOP_K / 2, |call| {
        of(call).logits.strides[..2].copy_from_slice(&[EXPERTS + 5, 1])
    }]
}

pub(crate) fn in_rust(call: &mut Call, dtype: Dtype, scene: &Scene) {
    let device = scene.stream.device();
    let args = of(call);
    let extents = |of: &[i64]| of.iter().map(|&extent| extent as u64).collect::<Vec<u64>>();
    let mut read = |place: usize, dtype: Dtype| {
        let (address, tensor) = (scene.address(place), tensor(args, place));
        let (shape, strides) = (extents(&tensor.shape[..2]), extents(&tensor.strides[..2]));
        let strides = Some(&strides[..]).filter(|strides| strides[1] > 0);
        // SAFETY: the tensors lie apart in the scene's buffer, which outlives the launches.
        unsafe { Tensor::from_raw(device, address, dtype, &shape, strides) }.unwrap()
    };
    // SAFETY: as above.
    let written = |address: u64, dtype: Dtype, extent: u64| unsafe {
        TensorMut::from_raw(device, address, dtype, &[extent], None).unwrap()
    };
    let (experts, words) = (EXPERTS as u64, workspace_bytes() as u64 / 4);
    let arguments = RouterLoss {
        logits: read(0, dtype),
        ids: read(1, Dtype::I32),
        losses: written(scene.address(2), Dtype::F32, 3),
        counts: written(scene.address(3), Dtype::I32, experts),
        mean_probabilities: written(scene.address(4), Dtype::F32, experts),
        workspace: written(scene.workspace(), Dtype::I32, words),
    };
    router_loss(&scene.stream, &arguments).unwrap();
}
