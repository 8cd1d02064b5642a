//! Which driver calls are made.

use crate::buffers::{NormBuffers, RopeBuffers};
use crate::simulator::{Simulator, devices};
use expertile::{
    Device, Dtype, Norm, Platform, Residual, Stream, Tensor, TensorMut, layer_norm, rms_norm,
};
use half::bf16;

/// The platform's launch.
pub(crate) fn launch_call(device: &Device) -> &'static str {
    match device.info().platform {
        Platform::Hip => "hipModuleLaunchKernel",
        _ => "cuLaunchKernel",
    }
}

/// The platform's calls that begin and end a capture, make a graph ready, destroy it, and launch it.
pub(crate) fn graph_calls(device: &Device) -> [&'static str; 5] {
    match device.info().platform {
        Platform::Hip => [
            "hipStreamBeginCapture",
            "hipStreamEndCapture",
            "hipGraphInstantiateWithFlags",
            "hipGraphDestroy",
            "hipGraphLaunch",
        ],
        _ => [
            "cuStreamBeginCapture_v2",
            "cuStreamEndCapture",
            "cuGraphInstantiateWithFlags",
            "cuGraphDestroy",
            "cuGraphLaunch",
        ],
    }
}

#[test]
fn an_operator_is_one_launch_and_nothing_else() {
    let Some(simulator) = Simulator::find() else { return };
    for device in devices() {
        let stream = device.stream().unwrap();
        let counts = || simulator.calls(device.info().platform);
        let mut rope_buffers = RopeBuffers::new(&stream, 3, (6, 1), 16);
        let mut norm_buffers = NormBuffers::new(&stream, 3, 64);
        let mut none = NormBuffers::new(&stream, 0, 64);
        let before = counts();
        rope_buffers.launch(&stream).unwrap();
        norm_buffers.launch(&stream, layer_norm).unwrap();
        norm_buffers.launch(&stream, rms_norm).unwrap();
        let after = counts();
        assert_eq!(after.since(&before), [(launch_call(&device), 3)], "{device}");
        // Without tokens there is nothing to launch.
        none.launch(&stream, layer_norm).unwrap();
        assert_eq!(counts().since(&after), [], "{device}");
        stream.synchronize().unwrap();
    }
}

#[test]
fn an_engine_lends_its_stream_and_memory() {
    let Some(simulator) = Simulator::find() else { return };
    for device in devices() {
        let owner = device.stream().unwrap();
        // SAFETY: the stream outlives the borrow.
        let stream = unsafe { Stream::borrow(&device, owner.raw()) }.unwrap();
        let buffers = NormBuffers::new(&owner, 5, 128);
        let (dtype, shape) = (Dtype::Bf16, buffers.shape);
        // SAFETY: the buffers outlive the launch, which ends before `synchronize` returns.
        let arguments = unsafe {
            Norm {
                x: Tensor::from_raw(&device, buffers.x.address(), dtype, &shape, None).unwrap(),
                residual: Residual::None,
                weight: Tensor::from_raw(
                    &device,
                    buffers.weight.address(),
                    dtype,
                    &shape[1..],
                    None,
                )
                .unwrap(),
                out: TensorMut::from_raw(&device, buffers.out.address(), dtype, &shape, None)
                    .unwrap(),
                epsilon: 1e-5,
            }
        };
        layer_norm(&stream, &arguments).unwrap();
        drop(stream);
        owner.synchronize().unwrap();
        let out: Vec<bf16> = buffers.out.read(&owner).unwrap();
        assert!(out.iter().all(|x| x.is_finite()));

        // SAFETY: the buffer outlives the refused call.
        let odd =
            unsafe { Tensor::from_raw(&device, buffers.x.address() + 2, dtype, &[4, 128], None) };
        let refused = layer_norm(&owner, &Norm { x: odd.unwrap(), ..arguments });
        assert!(refused.is_err());
    }
    assert_eq!(simulator.text("expertile_sim_reports"), "");
}
