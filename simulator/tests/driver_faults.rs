//! What tests plan and ask of the stand-in drivers: failures, losses, lists of calls, live objects.

#[path = "driver/hip.rs"]
mod hip;
#[path = "driver/support.rs"]
mod support;

use std::ptr::null_mut;

use cudarc::driver::sys::{self, CUresult};

use hip::{address, hip as hip_code, made, ok as hip_ok};
use support::{code, control, kernel, launch, ok, simulated, simulated_on};

/// Makes the primary context of a device current in another thread.
fn elsewhere() {
    let thread = || {
        context(0);
    };
    std::thread::spawn(thread).join().unwrap();
}

/// Makes the primary context of a device current.
fn context(device: i32) -> sys::CUcontext {
    let mut context = null_mut();
    // SAFETY: `context` is a place for a handle.
    unsafe {
        ok(sys::cuInit(0));
        ok(sys::cuDevicePrimaryCtxRetain(&mut context, device));
        ok(sys::cuCtxSetCurrent(context));
    }
    context
}

fn allocate() -> Result<u64, u32> {
    let mut address = 7;
    // SAFETY: `address` is a place for an address.
    match unsafe { sys::cuMemAlloc_v2(&mut address, 256) } {
        CUresult::CUDA_SUCCESS => Ok(address),
        refusal => {
            assert_eq!(address, 7, "a refused call wrote its result");
            Err(code(refusal))
        }
    }
}

/// A number of the list of live objects.
fn live(key: &str) -> u64 {
    control::find(&control::text("expertile_sim_live"), key)
}

#[test]
fn planned_calls_fail_and_do_nothing() {
    simulated_on("sm_90a,gfx942", "planned_calls_fail_and_do_nothing", || {
        context(0);
        control::fail("cuMemAlloc_v2", 1, 2, 2);
        let outcomes = [(); 4].map(|()| allocate().map(drop));
        assert_eq!(outcomes, [Ok(()), Err(2), Err(2), Ok(())]);
        assert_eq!(control::number("expertile_sim_failed"), 2);
        assert_eq!(live("cuda.allocations"), 2);
        assert_eq!(live("cuda.allocated_bytes"), 512);
        assert_eq!(control::calls("cuMemAlloc_v2"), 4, "a call that fails is a call");

        // Any call, for ever, with a code that HIP does not have; one thread's plan is its own.
        control::fail("", 0, u64::MAX, 716);
        assert_eq!(allocate(), Err(716));
        let refusal = control::text("expertile_sim_last_refusal");
        assert!(refusal.starts_with("cuMemAlloc_v2: CUDA_ERROR_MISALIGNED_ADDRESS: "), "{refusal}");
        let mut device = 9i32;
        assert_eq!(hip_code("hipGetDevice", &[address(&mut device)]), 716);
        assert_eq!((device, hip_code("hipGetLastError", &[])), (9, 716));
        elsewhere();
        control::set("expertile_sim_clear_failures", 0);
        assert_eq!(control::number("expertile_sim_failed"), 0);
        hip_ok("hipGetDevice", &[address(&mut device)]);
        assert_eq!(device, 0);
        assert!(allocate().is_ok());

        // Of two plans for a call the first decides; both count it.
        control::fail("hipMalloc", 1, 1, 2);
        control::fail("", 0, 2, 1);
        let mut place = 0u64;
        let outcomes = [(); 3].map(|()| hip_code("hipMalloc", &[address(&mut place), 16]));
        assert_eq!(outcomes, [1, 2, 0]);
    });
}

#[test]
fn a_trace_lists_the_calls_of_a_thread() {
    simulated_on("sm_90a,gfx942", "a_trace_lists_the_calls_of_a_thread", || {
        context(0);
        control::set("expertile_sim_trace", 1);
        allocate().unwrap();
        made::<i32>("hipGetDevice", &[]);
        elsewhere();
        // SAFETY: no arguments.
        unsafe { ok(sys::cuCtxSynchronize()) };
        control::set("expertile_sim_trace", 0);
        allocate().unwrap();
        let traced = || control::text("expertile_sim_traced");
        assert_eq!(traced(), "cuMemAlloc_v2\nhipGetDevice\ncuCtxSynchronize\n");
        control::set("expertile_sim_trace", 1);
        assert_eq!(traced(), "");
    });
}

#[test]
fn live_objects_are_counted() {
    simulated_on("sm_90a,gfx942", "live_objects_are_counted", || {
        let nothing = control::text("expertile_sim_live");
        assert!(nothing.lines().count() == 24 && nothing.lines().all(|line| line.ends_with(" 0")));
        context(0);
        let (mut stream, mut event, mut pinned) = (null_mut(), null_mut(), null_mut());
        let (mut graph, mut executable) = (null_mut(), null_mut());
        let mode = sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
        // SAFETY: all are places for handles, and each handle is given back once.
        unsafe {
            ok(sys::cuStreamCreate(&mut stream, 1));
            ok(sys::cuEventCreate(&mut event, 0));
            ok(sys::cuEventRecord(event, null_mut()));
            ok(sys::cuMemHostAlloc(&mut pinned, 64, 0));
            ok(sys::cuStreamBeginCapture_v2(stream, mode));
            assert_eq!([live("cuda.captures"), live("cuda.graphs")], [1, 0]);
            ok(sys::cuStreamEndCapture(stream, &mut graph));
            ok(sys::cuGraphInstantiateWithFlags(&mut executable, graph, 0));
        }
        let device_memory = allocate().unwrap();
        kernel("fail");
        let hip_memory = made::<u64>("hipMalloc", &[100]);
        for (key, number) in [
            ("cuda.allocations", 1),
            ("cuda.allocated_bytes", 256),
            ("cuda.pinned_blocks", 1),
            ("cuda.streams", 1),
            ("cuda.events", 1),
            ("cuda.modules", 1),
            ("cuda.graphs", 1),
            ("cuda.executable_graphs", 1),
            ("cuda.captures", 0),
            ("cuda.contexts", 0),
            ("cuda.primary_contexts_retained", 1),
            ("hip.allocations", 1),
            ("hip.allocated_bytes", 100),
            ("hip.streams", 0),
        ] {
            assert_eq!(live(key), number, "{key}");
        }
        hip_ok("hipFree", &[hip_memory as usize]);
        // SAFETY: as above.
        unsafe {
            ok(sys::cuGraphExecDestroy(executable));
            ok(sys::cuGraphDestroy(graph));
            ok(sys::cuMemFreeHost(pinned));
            ok(sys::cuEventDestroy_v2(event));
            ok(sys::cuStreamDestroy_v2(stream));
            // The free is queued, and given back.
            ok(sys::cuMemFreeAsync(device_memory, null_mut()));
            assert_eq!(live("cuda.allocations"), 0);
            ok(sys::cuDevicePrimaryCtxRelease_v2(0));
        }
        assert_eq!(
            control::text("expertile_sim_live"),
            nothing,
            "the module goes with its context"
        );
    });
}

#[test]
fn a_lost_device_stays_lost() {
    simulated_on("sm_90a,gfx942", "a_lost_device_stays_lost", || {
        let first = context(0);
        let (mut stream, mut event, mut current) = (null_mut(), null_mut(), null_mut());
        // SAFETY: all are places for handles.
        unsafe {
            ok(sys::cuStreamCreate(&mut stream, 1));
            ok(sys::cuEventCreate(&mut event, 0));
        }
        control::lose_device("cuMemAlloc_v2", 1, 214);
        assert!(allocate().is_ok());
        assert_eq!(allocate(), Err(214));
        control::set("expertile_sim_clear_failures", 0);
        assert_eq!(allocate(), Err(214), "not only the planned call");
        // SAFETY: the handles live until they are given back; `current` is a place for one.
        unsafe {
            assert_eq!(code(sys::cuStreamSynchronize(stream)), 214);
            assert_eq!(code(sys::cuEventDestroy_v2(event)), 214);
            assert_eq!(code(sys::cuCtxSynchronize()), 214);
            ok(sys::cuCtxGetCurrent(&mut current));
            assert_eq!(current, first);
            ok(sys::cuDevicePrimaryCtxRelease_v2(0));
        }
        assert_eq!(live("cuda.primary_contexts_retained"), 0);
        context(0);
        assert_eq!(allocate(), Err(214), "a new context of the device");
        context(1);
        assert!(allocate().is_ok(), "another device");

        let mut place = 0u64;
        let stream = made::<usize>("hipStreamCreate", &[]);
        control::lose_device("hipStreamSynchronize", 0, 719);
        assert_eq!(hip_code("hipStreamSynchronize", &[stream]), 719);
        for (name, argument) in [("hipMalloc", 16), ("hipEventCreate", 0)] {
            assert_eq!(hip_code(name, &[address(&mut place), argument]), 719, "{name}");
        }
        assert_eq!(hip_code("hipDeviceSynchronize", &[]), 719);
        assert_eq!(made::<i32>("hipGetDevice", &[]), 0);
        assert_eq!(hip::result("hipGetStreamDeviceId", &[stream]), 0);
        hip_ok("hipSetDevice", &[1]);
        hip_ok("hipMalloc", &[address(&mut place), 16]);
    });
}

/// As after a planned loss, once errors stay.
#[test]
fn a_fault_that_stays_outlives_its_context() {
    simulated("a_fault_that_stays_outlives_its_context", || {
        context(0);
        control::set("expertile_sim_set_sticky", 1);
        ok(launch(kernel("fail"), 1, 1, 0, null_mut(), &mut []));
        // SAFETY: no pointers.
        unsafe {
            assert_eq!(code(sys::cuCtxSynchronize()), 710);
            assert_eq!(code(sys::cuCtxSynchronize()), 710);
            ok(sys::cuDevicePrimaryCtxRelease_v2(0));
        }
        context(0);
        assert_eq!(allocate(), Err(710));
    });
}
