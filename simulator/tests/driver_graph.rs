//! The stand-in `libcuda.so.1`: stream capture and graphs.

#[path = "driver/support.rs"]
mod support;

use std::ptr::null_mut;
use std::sync::Arc;

use cudarc::driver::sys::CUstreamCaptureMode as Mode;
use cudarc::driver::sys::{self, CUgraphInstantiate_flags as InstantiateFlags, CUresult};
use cudarc::driver::{CudaContext, CudaSlice, CudaStream, DevicePtr};

use support::{code, control, kernel, launch, ok, simulated, value};

const FLAGS: InstantiateFlags = InstantiateFlags::CUDA_GRAPH_INSTANTIATE_FLAG_AUTO_FREE_ON_LAUNCH;

/// A context whose streams and slices leave no events of their own in a capture.
fn plain_context() -> Arc<CudaContext> {
    let context = CudaContext::new(0).unwrap();
    // SAFETY: the tests order their streams themselves.
    unsafe { context.disable_event_tracking() };
    context
}

fn address<T>(buffer: &CudaSlice<T>, stream: &Arc<CudaStream>) -> u64 {
    buffer.device_ptr(stream).0
}

/// `c = a + b` over 64 numbers.
fn add(function: sys::CUfunction, stream: &CudaStream, mut a: u64, mut b: u64, mut c: u64) {
    let mut n = 64u32;
    let mut values = [value(&mut a), value(&mut b), value(&mut c), value(&mut n)];
    ok(launch(function, 1, 64, 0, stream.cu_stream(), &mut values));
}

#[test]
fn a_captured_graph_replays() {
    simulated("a_captured_graph_replays", || {
        let context = plain_context();
        let stream = context.new_stream().unwrap();
        let function = kernel("add");
        let one = stream.clone_htod(&[1f32; 64]).unwrap();
        let sum = stream.alloc_zeros::<f32>(64).unwrap();
        let copy = stream.alloc_zeros::<f32>(64).unwrap();
        let [pone, psum, pcopy] = [&one, &sum, &copy].map(|buffer| address(buffer, &stream));
        stream.synchronize().unwrap();
        let launches = control::text("expertile_sim_total_counters");
        stream.begin_capture(Mode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL).unwrap();
        let raw = stream.cu_stream();
        // SAFETY: inside the buffers.
        unsafe {
            ok(sys::cuMemsetD32Async(pcopy, 0, 64, raw));
            add(function, &stream, pone, psum, psum);
            ok(sys::cuMemcpyDtoDAsync_v2(pcopy, psum, 256, raw));
        }
        let graph = stream.end_capture(FLAGS).unwrap().unwrap();
        graph.upload().unwrap();
        assert_eq!(stream.clone_dtoh(&sum).unwrap(), [0.0; 64], "a capture does nothing");
        assert_eq!(control::text("expertile_sim_total_counters"), launches);
        for round in 1..=3 {
            graph.launch().unwrap();
            assert_eq!(stream.clone_dtoh(&copy).unwrap(), [round as f32; 64]);
        }
        let total = control::text("expertile_sim_total_counters");
        assert_eq!(control::find(&total, "launches"), 3);
        assert_eq!(control::calls("cuLaunchKernel"), 1);
        assert_eq!(control::calls("cuGraphLaunch"), 3);
    });
}

#[test]
fn a_capture_forks_and_joins() {
    simulated("a_capture_forks_and_joins", || {
        let context = plain_context();
        let first = context.new_stream().unwrap();
        let second = context.new_stream().unwrap();
        let function = kernel("add");
        let one = first.clone_htod(&[1f32; 64]).unwrap();
        let [left, right] = [(); 2].map(|()| first.alloc_zeros::<f32>(64).unwrap());
        let [pone, pleft, pright] = [&one, &left, &right].map(|buffer| address(buffer, &first));
        first.synchronize().unwrap();
        first.begin_capture(Mode::CU_STREAM_CAPTURE_MODE_GLOBAL).unwrap();
        add(function, &first, pone, pone, pleft);
        second.join(&first).unwrap();
        add(function, &second, pone, pleft, pright);
        first.join(&second).unwrap();
        add(function, &first, pleft, pright, pleft);
        let graph = first.end_capture(FLAGS).unwrap().unwrap();
        graph.launch().unwrap();
        assert_eq!(first.clone_dtoh(&left).unwrap(), [5.0; 64]);
        let (mut nodes, mut count) = ([null_mut(); 4], 4);
        // SAFETY: there is room for four nodes.
        unsafe { ok(sys::cuGraphGetNodes(graph.cu_graph(), nodes.as_mut_ptr(), &mut count)) };
        assert_eq!(count, 3);
        assert!(nodes[3].is_null());
        // The second stream works on its own again.
        add(function, &second, pone, pone, pright);
        assert_eq!(second.clone_dtoh(&right).unwrap(), [2.0; 64]);
    });
}

#[test]
fn spoilt_captures_make_no_graph() {
    simulated("spoilt_captures_make_no_graph", || {
        let context = plain_context();
        let stream = context.new_stream().unwrap();
        let other = context.new_stream().unwrap();
        let raw = stream.cu_stream();
        let begin = || stream.begin_capture(Mode::CU_STREAM_CAPTURE_MODE_RELAXED).unwrap();
        let end = || {
            let mut graph = null_mut();
            // SAFETY: the result has room.
            let result = unsafe { sys::cuStreamEndCapture(raw, &mut graph) };
            assert_eq!(graph.is_null(), result != CUresult::CUDA_SUCCESS);
            code(result)
        };
        assert_eq!(end(), 401, "no capture");
        begin();
        assert_eq!(end(), 0);
        begin();
        // SAFETY: the stream lives.
        assert_eq!(code(unsafe { sys::cuStreamSynchronize(raw) }), 900);
        assert_eq!(end(), 901, "a synchronisation");
        begin();
        let mut address = 0;
        // SAFETY: the result has room.
        assert_eq!(code(unsafe { sys::cuMemAllocAsync(&mut address, 16, raw) }), 900);
        assert_eq!(end(), 901, "an allocation");
        begin();
        other.join(&stream).unwrap();
        let function = kernel("fail");
        ok(launch(function, 1, 1, 0, other.cu_stream(), &mut []));
        assert_eq!(end(), 904, "work that never joins");
        let outside = other.record_event(None).unwrap();
        begin();
        // SAFETY: stream and event live.
        assert_eq!(code(unsafe { sys::cuStreamWaitEvent(raw, outside.cu_event(), 0) }), 905);
        assert_eq!(end(), 901, "a dependency from outside");
        begin();
        let inside = stream.record_event(None).unwrap();
        assert_eq!(code(inside.synchronize().unwrap_err().0), 907);
        assert_eq!(end(), 901, "an event of the capture was asked for");
        let mode = Mode::CU_STREAM_CAPTURE_MODE_GLOBAL;
        // SAFETY: the null stream always exists.
        assert_eq!(code(unsafe { sys::cuStreamBeginCapture_v2(null_mut(), mode) }), 900);
        context.synchronize().unwrap();
    });
}
