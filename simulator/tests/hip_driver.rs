//! The stand-in `libamdhip64.so`: devices, memory, streams, events, graphs.

#[path = "driver/hip.rs"]
mod hip;
#[path = "driver/support.rs"]
mod support;

use std::sync::Mutex;

use hip::{address, hip as code, made, ok, result, returned_text};
use support::{control, simulated_on};

fn attribute(number: usize, device: usize) -> i32 {
    made("hipDeviceGetAttribute", &[number, device])
}

/// Bytes up to a NUL.
fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes.split(|&byte| byte == 0).next().unwrap()).unwrap()
}

#[test]
fn devices_have_the_numbers_of_real_cards() {
    simulated_on("gfx90a,sm_80,gfx942,gfx950", "devices_have_the_numbers_of_real_cards", || {
        assert_eq!(made::<i32>("hipGetDeviceCount", &[]), 6);
        let each = |number| [0, 2, 4].map(|device| attribute(number, device));
        assert_eq!(each(63), [104, 304, 256], "compute units");
        assert_eq!(each(87), [64; 3], "wave");
        assert_eq!(each(74), [65_536, 65_536, 163_840], "LDS of a workgroup");
        assert_eq!(each(19), [8 << 20, 4 << 20, 4 << 20], "L2");
        assert_eq!(each(5), [1_700_000, 2_100_000, 2_400_000], "clock");
        assert_eq!(each(59), [4096, 8192, 8192], "memory bus");
        assert_eq!(each(56), [1024; 3], "threads of a workgroup");
        assert_eq!((each(23), each(61)), ([9; 3], [0, 4, 5]));
        assert_eq!(made::<usize>("hipDeviceTotalMem", &[2]) >> 20, (192 << 10) - 16);
        let mut name = [0u8; 64];
        ok("hipDeviceGetName", &[address(&mut name), name.len(), 2]);
        assert_eq!(text(&name), "simulated gfx942");
        let mut value = 0i32;
        assert_eq!(code("hipDeviceGetAttribute", &[address(&mut value), 63, 6]), 101);
        assert_eq!(code("hipDeviceGetAttribute", &[address(&mut value), 9999, 0]), 1);
        assert_eq!(code("hipSetDevice", &[6]), 101);
    });
}

#[test]
fn properties_have_both_layouts() {
    simulated_on("gfx90a,gfx942", "properties_have_both_layouts", || {
        let mut before_6 = [0xAAu8; 800];
        ok("hipGetDeviceProperties", &[address(&mut before_6), 0]);
        assert_eq!(text(&before_6), "simulated gfx90a");
        assert_eq!(text(&before_6[396..]), "gfx90a:sramecc+:xnack-");
        assert_eq!(before_6[336..340], 104i32.to_le_bytes());
        assert_eq!(before_6[792..], [0xAA; 8], "nothing behind the structure");
        let mut since_6 = [0xAAu8; 1480];
        ok("hipGetDevicePropertiesR0600", &[address(&mut since_6), 2]);
        assert_eq!(text(&since_6), "simulated gfx942");
        assert_eq!(text(&since_6[1160..]), "gfx942:sramecc+:xnack-");
        assert_eq!(since_6[388..392], 304i32.to_le_bytes());
        assert_eq!(since_6[308..312], 64i32.to_le_bytes());
        assert_eq!(since_6[1472..], [0xAA; 8], "nothing behind the structure");
    });
}

#[test]
fn no_amd_device_is_an_error() {
    simulated_on("sm_90a", "no_amd_device_is_an_error", || {
        let mut value = 7i32;
        let there = address(&mut value);
        assert_eq!(code("hipInit", &[0]), 100);
        assert_eq!(code("hipGetDeviceCount", &[there]), 100);
        assert_eq!(value, 0);
        assert_eq!(code("hipSetDevice", &[0]), 100);
        assert_eq!(code("hipGetDevice", &[there]), 100);
        assert_eq!(code("hipDeviceSynchronize", &[]), 100);
        let refusal = control::text("expertile_sim_last_refusal");
        assert!(refusal.starts_with("hipDeviceSynchronize: hipErrorNoDevice: "), "{refusal}");
        assert!(made::<i32>("hipRuntimeGetVersion", &[]) >= 60_000_000);
        assert_eq!(returned_text("hipGetErrorName", 100), "hipErrorNoDevice");
        assert_eq!(returned_text("hipGetErrorName", 12_345), "hipErrorUnknown");
        assert!(returned_text("hipGetErrorString", 700).contains("illegal memory access"));
    });
}

#[test]
fn memory_goes_round() {
    simulated_on("gfx942", "memory_goes_round", || {
        let stream = made::<usize>("hipStreamCreateWithFlags", &[1]);
        let [a, b] = [4000, 4000].map(|bytes| made::<usize>("hipMalloc", &[bytes]));
        let mut data: Vec<u32> = (0..1000).collect();
        let mut back = vec![0u32; 1000];
        ok("hipMemcpyHtoDAsync", &[a, address(&mut data[..]), 4000, stream]);
        ok("hipMemcpyDtoDAsync", &[b, a, 4000, stream]);
        ok("hipMemsetD8Async", &[b, 1, 4, stream]);
        ok("hipMemsetD32Async", &[b + 4, 9, 1, stream]);
        ok("hipMemcpyDtoHAsync", &[address(&mut back[..]), b, 4000, stream]);
        ok("hipStreamSynchronize", &[stream]);
        assert_eq!(back[..3], [0x0101_0101, 9, 2]);
        assert_eq!(back[3..], data[3..]);
        ok("hipMemset", &[a, 0x107, 4000]);
        ok("hipMemcpy", &[address(&mut back[..]), a, 4000, 2]);
        assert_eq!(back, [0x0707_0707; 1000]);
        let [mut free, mut total] = [0usize; 2];
        ok("hipMemGetInfo", &[address(&mut free), address(&mut total)]);
        ok("hipFree", &[a]);
        assert_eq!(control::calls("hipMalloc"), 2);
        assert_eq!(control::calls("cuMemAlloc_v2"), 0);
        assert_eq!(free, total - 8000);
    });
}

#[test]
fn wrong_memory_is_refused() {
    simulated_on("gfx942", "wrong_memory_is_refused", || {
        let device = made::<usize>("hipMalloc", &[16]);
        let mut bytes = [0u8; 32];
        let host = address(&mut bytes);
        assert_eq!(code("hipMemcpyHtoDAsync", &[device, host, 17, 0]), 1);
        assert_eq!(code("hipMemcpyHtoDAsync", &[device, 0, 16, 0]), 1);
        assert_eq!(code("hipMemcpyDtoHAsync", &[host, host, 16, 0]), 1);
        assert_eq!(code("hipMemcpy", &[device, host, 16, 2]), 21);
        assert_eq!(code("hipMemcpy", &[device, host, 16, 9]), 21);
        ok("hipMemcpy", &[device, host, 16, 4]);
        assert_eq!(code("hipFree", &[device + 1]), 1);
        ok("hipFree", &[device]);
        assert_eq!(code("hipFree", &[device]), 1);
        ok("hipFree", &[0]);
        assert_eq!(made::<usize>("hipMalloc", &[0]), 0);
        assert_eq!(code("hipMalloc", &[0, 16]), 1);
        let mut nothing = 0usize;
        assert_eq!(code("hipMalloc", &[address(&mut nothing), 1 << 40]), 2);
        assert_eq!(code("hipPeekAtLastError", &[]), 2);
        assert_eq!(code("hipGetLastError", &[]), 2);
        assert_eq!(code("hipGetLastError", &[]), 0);
    });
}

#[test]
fn page_locked_bytes_are_taken_late() {
    simulated_on("gfx942", "page_locked_bytes_are_taken_late", || {
        let device = made::<usize>("hipMalloc", &[4]);
        let stream = made::<usize>("hipStreamCreate", &[]);
        let host = made::<usize>("hipHostMalloc", &[8, 0x4000_0000]);
        let words = std::ptr::with_exposed_provenance_mut::<u32>(host);
        // SAFETY: the library gave eight bytes, which it frees at the end.
        unsafe {
            words.write(1);
            ok("hipMemcpyHtoDAsync", &[device, host, 4, stream]);
            words.write(2);
            ok("hipMemcpyDtoHAsync", &[host + 4, device, 4, stream]);
            assert_eq!(words.add(1).read(), 0, "the copy back comes late");
            ok("hipStreamSynchronize", &[stream]);
            assert_eq!(words.add(1).read(), 2);
        }
        ok("hipHostFree", &[host]);
        assert_eq!(code("hipHostFree", &[host]), 1);
    });
}

#[test]
fn every_thread_has_a_device() {
    simulated_on("gfx942", "every_thread_has_a_device", || {
        ok("hipSetDevice", &[1]);
        let stream = made::<usize>("hipStreamCreate", &[]);
        let second = made::<usize>("hipMalloc", &[16]);
        std::thread::spawn(|| assert_eq!(made::<i32>("hipGetDevice", &[]), 0)).join().unwrap();
        ok("hipSetDevice", &[0]);
        assert_eq!(made::<i32>("hipGetDevice", &[]), 0);
        let first = made::<usize>("hipMalloc", &[16]);
        assert_ne!(first >> 42, second >> 42, "each device has its window");
        assert_eq!(result("hipGetStreamDeviceId", &[stream]) as i32, 1);
        assert_eq!(result("hipGetStreamDeviceId", &[0]) as i32, 0);
        assert_eq!(result("hipGetStreamDeviceId", &[0x1234]) as i32, -1);
        let event = made::<usize>("hipEventCreate", &[]);
        assert_eq!(
            code("hipEventRecord", &[event, stream]),
            400,
            "stream and event of two devices"
        );
        // A copy between them.
        ok("hipMemset", &[first, 5, 16]);
        ok("hipMemcpy", &[second, first, 16, 3]);
        let mut bytes = [0u8; 16];
        ok("hipMemcpy", &[address(&mut bytes), second, 16, 2]);
        assert_eq!(bytes, [5; 16]);
    });
}

#[test]
fn the_platforms_are_apart() {
    simulated_on("gfx942,sm_90a", "the_platforms_are_apart", || {
        use cudarc::driver::{CudaContext, DevicePtr};
        let cuda = CudaContext::new(0).unwrap();
        let stream = cuda.new_stream().unwrap();
        let of_cuda = stream.clone_htod(&[3u8; 16]).unwrap();
        let cuda_address = of_cuda.device_ptr(&stream).0 as usize;
        let of_hip = made::<usize>("hipMalloc", &[16]);
        let hip_stream = made::<usize>("hipStreamCreate", &[]);
        assert_eq!(code("hipMemcpy", &[of_hip, cuda_address, 16, 4]), 1);
        assert_eq!(code("hipFree", &[cuda_address]), 1);
        assert_eq!(code("hipStreamSynchronize", &[stream.cu_stream().addr()]), 400);
        let foreign = std::ptr::without_provenance_mut(hip_stream);
        // SAFETY: handles are numbers to the stand-in driver.
        let refused = unsafe { cudarc::driver::sys::cuStreamSynchronize(foreign) };
        assert_eq!(support::code(refused), 400);
        assert_eq!(stream.clone_dtoh(&of_cuda).unwrap(), [3; 16], "CUDA's context is as before");
        assert_eq!(code("expertile_sim_version", &[]), 2, "through either name");
    });
}

static SEEN: Mutex<Vec<usize>> = Mutex::new(Vec::new());

/// Appends its argument to the list.
extern "C" fn note(number: usize) {
    SEEN.lock().unwrap().push(number);
    let mut capturing = 0u32;
    assert_eq!(code("hipStreamIsCapturing", &[0, address(&mut capturing)]), 801);
}

fn note_in(stream: usize, number: usize) {
    ok("hipLaunchHostFunc", &[stream, note as extern "C" fn(usize) as usize, number]);
}

fn seen() -> Vec<usize> {
    SEEN.lock().unwrap().clone()
}

#[test]
fn events_order_streams() {
    simulated_on("gfx942", "events_order_streams", || {
        let [first, second] =
            [1, 1].map(|flags| made::<usize>("hipStreamCreateWithFlags", &[flags]));
        let event = made::<usize>("hipEventCreateWithFlags", &[0x8000_0002]);
        note_in(first, 0);
        ok("hipEventRecord", &[event, first]);
        ok("hipStreamWaitEvent", &[second, event, 0]);
        note_in(first, 1);
        note_in(second, 2);
        assert!(seen().is_empty(), "nothing is done before somebody waits");
        ok("hipStreamSynchronize", &[second]);
        assert_eq!(seen(), [0, 2], "what the event does not cover is still to do");
        assert_eq!(code("hipStreamQuery", &[first]), 600);
        ok("hipStreamQuery", &[first]);
        assert_eq!(seen(), [0, 2, 1]);
        ok("hipEventDestroy", &[event]);
        assert_eq!(code("hipEventSynchronize", &[event]), 400);
        ok("hipStreamDestroy", &[first]);
        assert_eq!(code("hipStreamSynchronize", &[first]), 400);
    });
}

#[test]
fn events_take_the_time() {
    simulated_on("gfx942", "events_take_the_time", || {
        let [start, end] = [0, 0].map(|flags| made::<usize>("hipEventCreateWithFlags", &[flags]));
        let buffer = made::<usize>("hipMalloc", &[1 << 20]);
        let mut unknown = 0f32;
        let there = address(&mut unknown);
        assert_eq!(code("hipEventElapsedTime", &[there, start, end]), 400, "never recorded");
        ok("hipEventRecord", &[start, 0]);
        ok("hipMemsetAsync", &[buffer, 0, 1 << 20, 0]);
        ok("hipEventRecord", &[end, 0]);
        ok("hipEventSynchronize", &[end]);
        assert!(made::<f32>("hipEventElapsedTime", &[start, end]) > 0.0);
    });
}

#[test]
fn a_captured_graph_replays() {
    simulated_on("gfx942", "a_captured_graph_replays", || {
        let stream = made::<usize>("hipStreamCreateWithFlags", &[1]);
        let buffer = made::<usize>("hipMalloc", &[8]);
        ok("hipMemset", &[buffer, 0, 8]);
        assert_eq!(code("hipStreamBeginCapture", &[0, 1]), 900, "the null stream");
        ok("hipStreamBeginCapture", &[stream, 1]);
        ok("hipMemsetD8Async", &[buffer, 1, 4, stream]);
        ok("hipMemcpyDtoDAsync", &[buffer + 4, buffer, 4, stream]);
        let mut graph = 0usize;
        ok("hipStreamEndCapture", &[stream, address(&mut graph)]);
        let executable = made::<usize>("hipGraphInstantiateWithFlags", &[graph, 0]);
        ok("hipGraphDestroy", &[graph]);
        let read = || {
            let mut bytes = [0u8; 8];
            ok("hipMemcpy", &[address(&mut bytes), buffer, 8, 2]);
            bytes
        };
        assert_eq!(read(), [0; 8], "a capture does nothing");
        for _ in 0..2 {
            ok("hipGraphLaunch", &[executable, stream]);
            ok("hipStreamSynchronize", &[stream]);
            assert_eq!(read(), [1; 8]);
            ok("hipMemset", &[buffer, 0, 8]);
            ok("hipDeviceSynchronize", &[]);
        }
        ok("hipGraphExecDestroy", &[executable]);
        assert_eq!(code("hipGraphLaunch", &[executable, stream]), 400);
        ok("hipStreamBeginCapture", &[stream, 1]);
        assert_eq!(code("hipStreamSynchronize", &[stream]), 900);
        assert_eq!(code("hipStreamEndCapture", &[stream, address(&mut graph)]), 901);
        assert_eq!(graph, 0);
    });
}

#[test]
fn an_unmodelled_call_is_refused() {
    simulated_on("gfx942", "an_unmodelled_call_is_refused", || {
        let mut pointer = 0usize;
        assert_eq!(code("hipMallocManaged", &[address(&mut pointer), 16, 1]), 801);
        assert_eq!(code("hipDeviceReset", &[]), 801);
        assert_eq!(control::calls("hipMallocManaged"), 1);
        assert_eq!(returned_text("hipKernelNameRef", 0), "not modelled");
    });
}
