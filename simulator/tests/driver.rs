//! The stand-in `libcuda.so.1` as cudarc sees it: devices, contexts, memory, streams, events.

#[path = "driver/support.rs"]
mod support;

use std::ffi::c_void;
use std::ptr::null_mut;
use std::sync::{Arc, Mutex};

use cudarc::driver::sys::{self, CUdevice_attribute_enum as Attribute, CUevent_flags, CUresult};
use cudarc::driver::{CudaContext, CudaStream, DevicePtr, DriverError, result};

use support::{code, control, ok, simulated, simulated_on};

fn stream() -> (Arc<CudaContext>, Arc<CudaStream>) {
    let context = CudaContext::new(0).unwrap();
    let stream = context.new_stream().unwrap();
    (context, stream)
}

#[test]
fn devices_have_the_numbers_of_real_cards() {
    simulated_on("sm_80,gfx942,sm_90a", "devices_have_the_numbers_of_real_cards", || {
        assert_eq!(CudaContext::device_count().unwrap(), 4);
        let (a100, h100) = (CudaContext::new(1).unwrap(), CudaContext::new(2).unwrap());
        assert_eq!(a100.name().unwrap(), "simulated sm_80");
        assert_eq!(h100.name().unwrap(), "simulated sm_90a");
        assert_eq!(a100.compute_capability().unwrap(), (8, 0));
        assert_eq!(h100.compute_capability().unwrap(), (9, 0));
        let both = |number| (a100.attribute(number).unwrap(), h100.attribute(number).unwrap());
        assert_eq!(both(Attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT), (108, 132));
        let shared = Attribute::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN;
        assert_eq!(both(shared), (166_912, 232_448));
        assert_eq!(both(Attribute::CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE), (41_943_040, 52_428_800));
        assert_eq!(both(Attribute::CU_DEVICE_ATTRIBUTE_CLUSTER_LAUNCH), (0, 1));
        assert_ne!(a100.uuid().unwrap().bytes, h100.uuid().unwrap().bytes);
        assert!(h100.total_mem().unwrap() > 79 << 30);
        assert!(matches!(
            CudaContext::new(4),
            Err(DriverError(CUresult::CUDA_ERROR_INVALID_DEVICE))
        ));
    });
}

#[test]
fn no_nvidia_device_is_an_error() {
    simulated_on("gfx942", "no_nvidia_device_is_an_error", || {
        let error = CudaContext::new(0).unwrap_err();
        assert_eq!(error.0, CUresult::CUDA_ERROR_NO_DEVICE);
        assert_eq!(error.error_name().unwrap().to_str(), Ok("CUDA_ERROR_NO_DEVICE"));
    });
}

#[test]
fn copies_arrive() {
    simulated("copies_arrive", || {
        let (_context, stream) = stream();
        let data: Vec<f32> = (0..1000).map(|i| i as f32).collect();
        let device = stream.clone_htod(&data).unwrap();
        let copy = stream.clone_dtod(&device).unwrap();
        assert_eq!(stream.clone_dtoh(&copy).unwrap(), data);
        let zeros = stream.alloc_zeros::<u16>(77).unwrap();
        assert_eq!(stream.clone_dtoh(&zeros).unwrap(), vec![0; 77]);
        // What was never written is no accidental zero.
        // SAFETY: only its bytes are read.
        let fresh = unsafe { stream.alloc::<u8>(3) }.unwrap();
        assert_eq!(stream.clone_dtoh(&fresh).unwrap(), [0xFF; 3]);
    });
}

#[test]
fn fills_have_their_width() {
    simulated("fills_have_their_width", || {
        let (_context, stream) = stream();
        let buffer = stream.alloc_zeros::<u8>(16).unwrap();
        let (address, _guard) = buffer.device_ptr(&stream);
        let raw = stream.cu_stream();
        // SAFETY: inside the buffer, except where a refusal is expected.
        unsafe {
            ok(sys::cuMemsetD8Async(address, 1, 2, raw));
            ok(sys::cuMemsetD16Async(address + 2, 0x0302, 3, raw));
            ok(sys::cuMemsetD32Async(address + 8, 0x0706_0504, 2, raw));
            assert_eq!(code(sys::cuMemsetD32Async(address + 2, 0, 1, raw)), 1);
            assert_eq!(code(sys::cuMemsetD8Async(address, 0, 17, raw)), 1);
        }
        let want = [1, 1, 2, 3, 2, 3, 2, 3, 4, 5, 6, 7, 4, 5, 6, 7];
        assert_eq!(stream.clone_dtoh(&buffer).unwrap(), want);
    });
}

#[test]
fn pageable_bytes_are_taken_at_the_call() {
    simulated("pageable_bytes_are_taken_at_the_call", || {
        let (_context, stream) = stream();
        let mut buffer = stream.alloc_zeros::<u32>(1).unwrap();
        let mut source = vec![7u32];
        stream.memcpy_htod(&source, &mut buffer).unwrap();
        source[0] = 8;
        assert_eq!(stream.clone_dtoh(&buffer).unwrap(), [7]);
    });
}

#[test]
fn page_locked_bytes_are_taken_late() {
    simulated("page_locked_bytes_are_taken_late", || {
        let (_context, stream) = stream();
        let buffer = stream.alloc_zeros::<u32>(1).unwrap();
        stream.synchronize().unwrap();
        let (address, _guard) = buffer.device_ptr(&stream);
        // SAFETY: the host memory has room for two numbers until it is freed.
        unsafe {
            let host = result::malloc_host(8, 0).unwrap().cast::<u32>();
            host.write(1);
            ok(sys::cuMemcpyHtoDAsync_v2(address, host.cast(), 4, stream.cu_stream()));
            host.write(2);
            ok(sys::cuMemcpyDtoHAsync_v2(host.add(1).cast(), address, 4, stream.cu_stream()));
            assert_eq!(host.add(1).read(), 0, "the copy back comes late");
            stream.synchronize().unwrap();
            assert_eq!(host.add(1).read(), 2);
            result::free_host(host.cast()).unwrap();
        }
    });
}

#[test]
fn wrong_addresses_are_refused() {
    simulated("wrong_addresses_are_refused", || {
        let (_context, _stream) = stream();
        let (mut address, mut byte) = (0, 0u8);
        let byte: *mut c_void = (&raw mut byte).cast();
        // SAFETY: refused calls touch nothing; the others are inside their allocation.
        unsafe {
            assert_eq!(code(sys::cuMemAlloc_v2(&mut address, 0)), 1);
            assert_eq!(code(sys::cuMemAlloc_v2(null_mut(), 16)), 1);
            assert_eq!(code(sys::cuMemAlloc_v2(&mut address, 1 << 40)), 2);
            ok(sys::cuMemAlloc_v2(&mut address, 16));
            assert_eq!(code(sys::cuMemcpyHtoD_v2(address + 16, byte, 1)), 1);
            assert_eq!(code(sys::cuMemcpyHtoD_v2(address, null_mut(), 1)), 1);
            assert_eq!(code(sys::cuMemcpyDtoH_v2(byte, address - 1, 1)), 1);
            assert_eq!(code(sys::cuMemcpyDtoH_v2(byte, byte as u64, 1)), 1);
            assert_eq!(code(sys::cuMemFree_v2(address + 1)), 1);
            ok(sys::cuMemFree_v2(address));
            assert_eq!(code(sys::cuMemFree_v2(address)), 1);
            assert_eq!(code(sys::cuMemcpyDtoH_v2(byte, address, 1)), 1);
            ok(sys::cuMemFree_v2(0));
        }
        let refusal = control::text("expertile_sim_last_refusal");
        assert!(refusal.contains("cuMemcpyDtoH_v2: CUDA_ERROR_INVALID_VALUE"), "{refusal}");
    });
}

#[test]
fn memory_in_use_is_counted() {
    simulated("memory_in_use_is_counted", || {
        let (context, stream) = stream();
        let (free, total) = context.mem_get_info().unwrap();
        // SAFETY: never read.
        let allocate = || unsafe { stream.alloc::<u8>(40 << 30) };
        let buffer = allocate().unwrap();
        assert_eq!(context.mem_get_info().unwrap(), (free - (40 << 30), total));
        assert!(allocate().is_err(), "80 GB are not enough");
        drop(buffer);
        stream.synchronize().unwrap();
        assert_eq!(context.mem_get_info().unwrap(), (free, total));
    });
}

#[test]
fn wrong_handles_are_refused() {
    simulated("wrong_handles_are_refused", || {
        let (context, stream) = stream();
        let event = context.new_event(None).unwrap();
        let wrong = event.cu_event();
        // SAFETY: handles are numbers to the stand-in driver.
        unsafe {
            assert_eq!(code(sys::cuStreamSynchronize(wrong.cast())), 400);
            assert_eq!(code(sys::cuEventSynchronize(stream.cu_stream().cast())), 400);
            assert_eq!(code(sys::cuEventSynchronize(null_mut())), 400);
            assert_eq!(code(sys::cuModuleUnload(0x1234 as _)), 400);
            assert_eq!(code(sys::cuCtxSetCurrent(0x1234 as _)), 201);
            let raw = result::event::create(CUevent_flags::CU_EVENT_DEFAULT).unwrap();
            result::event::destroy(raw).unwrap();
            assert_eq!(code(sys::cuEventDestroy_v2(raw)), 400);
        }
    });
}

#[test]
fn a_call_needs_a_context() {
    simulated("a_call_needs_a_context", || {
        let mut address = 0;
        // SAFETY: the results have room.
        unsafe {
            assert_eq!(code(sys::cuMemAlloc_v2(&mut address, 16)), 3, "cuInit was not called");
            result::init().unwrap();
            assert_eq!(code(sys::cuMemAlloc_v2(&mut address, 16)), 201);
            let mut context = null_mut();
            ok(sys::cuCtxCreate_v2(&mut context, 0, 0));
            ok(sys::cuMemAlloc_v2(&mut address, 16));
            let mut popped = null_mut();
            ok(sys::cuCtxPopCurrent_v2(&mut popped));
            assert_eq!(popped, context);
            assert_eq!(code(sys::cuCtxPopCurrent_v2(&mut popped)), 201);
            ok(sys::cuCtxPushCurrent_v2(context));
            ok(sys::cuCtxDestroy_v2(context));
            assert_eq!(code(sys::cuCtxSetCurrent(context)), 201);
        }
    });
}

#[test]
fn the_primary_context_is_counted() {
    simulated("the_primary_context_is_counted", || {
        let first = CudaContext::new(0).unwrap();
        let second = CudaContext::new(0).unwrap();
        assert_eq!(first.cu_ctx(), second.cu_ctx());
        let (mut flags, mut active) = (0, 0);
        let mut state = || {
            // SAFETY: the results have room.
            unsafe { ok(sys::cuDevicePrimaryCtxGetState(0, &mut flags, &mut active)) };
            active
        };
        drop(first);
        assert_eq!(state(), 1);
        drop(second);
        assert_eq!(state(), 0);
    });
}

#[test]
fn queries_see_work_pending_and_then_done() {
    simulated("queries_see_work_pending_and_then_done", || {
        let (context, stream) = stream();
        let never = context.new_event(None).unwrap();
        assert!(never.try_is_complete().unwrap());
        let buffer = stream.alloc_zeros::<u8>(8).unwrap();
        let event = stream.record_event(None).unwrap();
        assert!(!event.try_is_complete().unwrap());
        assert!(event.try_is_complete().unwrap());
        drop(buffer);
        // SAFETY: the stream lives.
        unsafe {
            assert_eq!(code(sys::cuStreamQuery(stream.cu_stream())), 600);
            assert_eq!(code(sys::cuStreamQuery(stream.cu_stream())), 0);
        }
    });
}

#[test]
fn elapsed_time_needs_times() {
    simulated("elapsed_time_needs_times", || {
        let (context, stream) = stream();
        let timed = || context.new_event(Some(CUevent_flags::CU_EVENT_DEFAULT)).unwrap();
        let (start, end) = (timed(), timed());
        assert_eq!(start.elapsed_ms(&end).unwrap_err().0, CUresult::CUDA_ERROR_INVALID_HANDLE);
        start.record(&stream).unwrap();
        let _buffer = stream.alloc_zeros::<u8>(1 << 20).unwrap();
        end.record(&stream).unwrap();
        let mut time = 0.0;
        // SAFETY: the result has room, the events live.
        let pending =
            unsafe { sys::cuEventElapsedTime(&mut time, start.cu_event(), end.cu_event()) };
        assert_eq!(code(pending), 600);
        let forward = start.elapsed_ms(&end).unwrap();
        assert!(forward > 0.0);
        assert_eq!(end.elapsed_ms(&start).unwrap(), -forward);
        let untimed = stream.record_event(None).unwrap();
        assert_eq!(start.elapsed_ms(&untimed).unwrap_err().0, CUresult::CUDA_ERROR_INVALID_HANDLE);
    });
}

static SEEN: Mutex<Vec<usize>> = Mutex::new(Vec::new());

/// Appends its argument, a number, to the list.
unsafe extern "C" fn note(number: *mut c_void) {
    SEEN.lock().unwrap().push(number.addr());
    // SAFETY: asks about the null stream.
    let forbidden = unsafe { result::stream::is_capturing(null_mut()) };
    assert_eq!(forbidden.unwrap_err().0, CUresult::CUDA_ERROR_NOT_PERMITTED);
}

fn note_in(stream: sys::CUstream, number: usize) {
    let number = std::ptr::without_provenance_mut(number);
    // SAFETY: the function takes any number.
    unsafe { result::stream::launch_host_function(stream, note, number) }.unwrap();
}

fn seen() -> Vec<usize> {
    SEEN.lock().unwrap().clone()
}

#[test]
fn events_order_streams() {
    simulated("events_order_streams", || {
        let (context, first) = stream();
        let second = context.new_stream().unwrap();
        note_in(first.cu_stream(), 0);
        second.join(&first).unwrap();
        note_in(first.cu_stream(), 1);
        note_in(second.cu_stream(), 2);
        note_in(second.cu_stream(), 3);
        assert!(seen().is_empty(), "nothing is done before somebody waits");
        second.synchronize().unwrap();
        assert_eq!(seen(), [0, 2, 3], "what the event does not cover is still to do");
        first.synchronize().unwrap();
        assert_eq!(seen(), [0, 2, 3, 1]);
    });
}

#[test]
fn the_null_stream_orders_blocking_streams() {
    simulated("the_null_stream_orders_blocking_streams", || {
        let context = CudaContext::new(0).unwrap();
        let (mut blocking, mut free) = (null_mut(), null_mut());
        // SAFETY: the results have room.
        unsafe {
            ok(sys::cuStreamCreate(&mut blocking, 0));
            ok(sys::cuStreamCreate(&mut free, 1));
        }
        for (number, stream) in [blocking, free, null_mut(), free, blocking].into_iter().enumerate()
        {
            note_in(stream, number);
        }
        // SAFETY: the stream lives.
        unsafe { ok(sys::cuStreamSynchronize(blocking)) };
        assert_eq!(seen(), [0, 2, 4]);
        context.synchronize().unwrap();
        assert_eq!(seen(), [0, 2, 4, 1, 3]);
    });
}

#[test]
fn memory_freed_in_a_stream_is_gone_when_the_stream_is_there() {
    simulated("memory_freed_in_a_stream_is_gone_when_the_stream_is_there", || {
        let (_context, stream) = stream();
        let mut address = 0;
        let raw = stream.cu_stream();
        // SAFETY: the use after the free is what is tested; the stand-in driver refuses it.
        unsafe {
            ok(sys::cuMemAllocAsync(&mut address, 16, raw));
            ok(sys::cuMemFreeAsync(address, raw));
            assert_eq!(code(sys::cuMemFreeAsync(address, raw)), 1, "freed twice");
            ok(sys::cuMemsetD8Async(address, 0, 16, raw));
            assert_eq!(code(sys::cuStreamSynchronize(raw)), 700);
            ok(sys::cuStreamSynchronize(raw));
            assert_eq!(code(sys::cuMemsetD8Async(address, 0, 16, raw)), 1);
        }
    });
}

#[test]
fn two_devices_have_memories_of_their_own() {
    simulated("two_devices_have_memories_of_their_own", || {
        let contexts = [CudaContext::new(0).unwrap(), CudaContext::new(1).unwrap()];
        let streams = contexts.each_ref().map(|context| context.default_stream());
        let [first, second] = [0, 1].map(|i| streams[i].clone_htod(&[i as u32 + 5]).unwrap());
        contexts[0].synchronize().unwrap();
        let [from, to] = [first.device_ptr(&streams[0]).0, second.device_ptr(&streams[1]).0];
        assert_ne!(from, to);
        let [source, target] = contexts.each_ref().map(|context| context.cu_ctx());
        contexts[1].bind_to_thread().unwrap();
        // SAFETY: both buffers have four bytes.
        unsafe { ok(sys::cuMemcpyPeerAsync(to, target, from, source, 4, null_mut())) };
        assert_eq!(streams[1].clone_dtoh(&second).unwrap(), [5]);
        assert_eq!(streams[0].clone_dtoh(&first).unwrap(), [5]);
    });
}

#[test]
fn threads_work_side_by_side() {
    simulated("threads_work_side_by_side", || {
        let context = CudaContext::new(0).unwrap();
        std::thread::scope(|scope| {
            for thread in 0..8u32 {
                let context = context.clone();
                scope.spawn(move || {
                    context.bind_to_thread().unwrap();
                    let stream = context.per_thread_stream();
                    for round in 0..50 {
                        let data = vec![thread * 100 + round; 33];
                        let device = stream.clone_htod(&data).unwrap();
                        assert_eq!(stream.clone_dtoh(&device).unwrap(), data);
                    }
                });
            }
        });
        assert!(control::calls("cuMemAllocAsync") + control::calls("cuMemAlloc_v2") >= 400);
        assert_eq!(control::calls("cuLaunchKernel"), 0);
    });
}

#[test]
fn an_unmodelled_call_is_refused() {
    simulated("an_unmodelled_call_is_refused", || {
        let _context = CudaContext::new(0).unwrap();
        let mut address = 0;
        // SAFETY: the result has room.
        let refused = unsafe { sys::cuMemAllocManaged(&mut address, 16, 1) };
        assert_eq!(code(refused), 801);
    });
}
