//! Both stand-in drivers: what a capture forbids, to whom, and that it is lost by it.

#[path = "driver/face.rs"]
mod face;
#[path = "driver/hip.rs"]
mod hip;
#[path = "driver/support.rs"]
mod support;

use face::{Face, on_both};
use support::{address, control};

/// `CUstreamCaptureMode`.
const GLOBAL: u32 = 0;
const THREAD_LOCAL: u32 = 1;
const RELAXED: u32 = 2;
const MODES: [u32; 3] = [GLOBAL, THREAD_LOCAL, RELAXED];

/// Codes that both drivers have.
const UNSUPPORTED: u32 = 900;
const INVALIDATED: u32 = 901;
const IMPLICIT: u32 = 906;

const NO_FILE: &std::ffi::CStr = c"no such file";

/// What the calls are made with.
struct Things {
    image: Option<Vec<u8>>,
    memory: usize,
    bytes: [u8; 64],
    event: usize,
    stream: usize,
}

impl Things {
    fn new(face: &Face) -> Things {
        let event = face.made("cuEventCreate", &[0]);
        let stream = face.non_blocking();
        face.ok("cuEventRecord", &[event, stream]);
        face.ok("cuEventSynchronize", &[event]);
        let (image, memory) = (face.image(), face.zeros(16));
        Things { image, memory, bytes: [0; 64], event, stream }
    }

    /// Calls that are potentially unsafe, with arguments that they could be made with; the last may be
    /// an address where something is made.
    fn unsafe_calls(&mut self, face: &Face, loaded: [usize; 2], made: usize) -> Vec<Call> {
        let &mut Things { memory, event, stream, ref mut bytes, ref mut image } = self;
        let host = address(bytes);
        let mut calls: Vec<Call> = vec![
            ("cuMemAlloc_v2", vec![made, 64]),
            ("cuMemFree_v2", vec![0]),
            ("cuMemHostAlloc", vec![made, 64, 0]),
            ("cuMemFreeHost", vec![host]),
            ("cuMemHostRegister_v2", vec![host, 64, 0]),
            ("cuMemHostUnregister", vec![host]),
            ("cuEventQuery", vec![event]),
            ("cuEventSynchronize", vec![event]),
            ("cuStreamQuery", vec![stream]),
            ("cuModuleLoad", vec![made, NO_FILE.as_ptr().expose_provenance()]),
        ];
        if let Some(image) = image {
            let image = address(&mut image[..]);
            calls.push(("cuModuleLoadData", vec![made, image]));
            calls.push(("cuModuleUnload", vec![loaded[0]]));
            if !face.is_hip {
                calls.push(("cuLibraryLoadData", vec![made, image]));
                calls.push(("cuLibraryUnload", vec![loaded[1]]));
            }
        }
        if face.is_hip {
            calls.push(("hipStreamSynchronize", vec![stream]));
        } else {
            calls.push(("cuMemAllocPitch_v2", vec![made, made + 8, 8, 8, 4]));
            calls.push(("cuMemcpyHtoD_v2", vec![memory, host, 64]));
            calls.push(("cuMemcpyDtoH_v2", vec![host, memory, 64]));
            calls.push(("cuMemcpyDtoD_v2", vec![memory, memory, 64]));
            calls.push(("cuMemsetD8_v2", vec![memory, 1, 64]));
        }
        calls
    }

    /// A module and a library, as far as there are some.
    fn load(&mut self, face: &Face) -> [usize; 2] {
        let Some(image) = &mut self.image else { return [0; 2] };
        let image = address(&mut image[..]);
        let library = if face.is_hip { 0 } else { face.made("cuLibraryLoadData", &[image]) };
        [face.made("cuModuleLoadData", &[image]), library]
    }
}

type Call = (&'static str, Vec<usize>);

/// Whether a thread in a mode may make an unsafe call during a capture of a mode, its own or not.
fn allowed(thread: u32, capture: u32, own: bool) -> bool {
    match thread {
        GLOBAL => capture == RELAXED || (!own && capture == THREAD_LOCAL),
        THREAD_LOCAL => capture == RELAXED || !own,
        _ => true,
    }
}

#[test]
fn unsafe_calls_obey_the_modes() {
    on_both("unsafe_calls_obey_the_modes", |face| {
        let mut things = Things::new(face);
        let captured = face.non_blocking();
        let count = things.unsafe_calls(face, [0; 2], 0).len();
        assert!(count >= 10, "{count} calls");
        for index in 0..count {
            for (thread, capture, own) in combinations() {
                let loaded = things.load(face);
                let mut made = [0usize; 2];
                let calls = things.unsafe_calls(face, loaded, address(&mut made));
                let (name, arguments) = &calls[index];
                assert_eq!(face.begin(captured, capture), 0);
                let call = || {
                    let before = face.exchange(thread);
                    let code = face.code(name, arguments);
                    assert_eq!(face.exchange(before), thread);
                    code
                };
                let code = if own { call() } else { face.on_another_thread(call) };
                let expected = allowed(thread, capture, own);
                let case = format!("{name} in mode {thread}, capture {capture}, own {own}: {code}");
                assert_eq!(code != UNSUPPORTED, expected, "{case}");
                assert_eq!(face.end(captured).0, if expected { 0 } else { INVALIDATED }, "{case}");
            }
        }
    });
}

fn combinations() -> impl Iterator<Item = (u32, u32, bool)> {
    let captures = MODES.iter().flat_map(|&mode| [(mode, true), (mode, false)]);
    captures.flat_map(|(capture, own)| MODES.map(|thread| (thread, capture, own)))
}

#[test]
fn every_thread_has_a_mode() {
    on_both("every_thread_has_a_mode", |face| {
        assert_eq!(face.exchange(RELAXED), GLOBAL);
        face.on_another_thread(|| assert_eq!(face.exchange(THREAD_LOCAL), GLOBAL));
        assert_eq!(face.exchange(THREAD_LOCAL), RELAXED);
        let mut unknown = 3u32;
        let exchange = "cuThreadExchangeStreamCaptureMode";
        assert_eq!(face.code(exchange, &[address(&mut unknown)]), 1);
        assert_eq!(face.code(exchange, &[0]), 1);
        assert_eq!((unknown, face.exchange(GLOBAL)), (3, THREAD_LOCAL));
    });
}

extern "C" fn nothing(_argument: usize) {}

/// Uses of the null stream.
fn legacy_calls(things: &mut Things, graph: usize) -> Vec<Call> {
    let &mut Things { memory, event, ref mut bytes, .. } = things;
    let (host, function) = (address(bytes), nothing as extern "C" fn(usize) as usize);
    vec![
        ("cuMemsetD32Async", vec![memory, 1, 4, 0]),
        ("cuMemcpyDtoDAsync_v2", vec![memory, memory + 32, 16, 0]),
        ("cuMemcpyHtoDAsync_v2", vec![memory, host, 16, 0]),
        ("cuMemcpyHtoD_v2", vec![memory, host, 16]),
        ("cuMemcpyDtoH_v2", vec![host, memory, 16]),
        ("cuMemcpyDtoD_v2", vec![memory, memory + 32, 16]),
        ("cuMemsetD8_v2", vec![memory, 1, 16]),
        ("cuLaunchHostFunc", vec![0, function, 0]),
        ("cuStreamWaitEvent", vec![0, event, 0]),
        ("cuGraphLaunch", vec![graph, 0]),
        ("cuStreamSynchronize", vec![0]),
        ("cuStreamQuery", vec![0]),
        ("cuEventRecord", vec![event, 0]),
    ]
}

/// A graph that fills memory.
fn fill_graph(face: &Face, memory: usize) -> usize {
    let stream = face.non_blocking();
    assert_eq!(face.begin(stream, THREAD_LOCAL), 0);
    face.ok("cuMemsetD32Async", &[memory, 7, 1, stream]);
    let (code, graph) = face.end(stream);
    assert_eq!(code, 0);
    face.made("cuGraphInstantiateWithFlags", &[graph, 0])
}

#[test]
fn the_null_stream_waits_for_no_captured_stream() {
    on_both("the_null_stream_waits_for_no_captured_stream", |face| {
        let mut things = Things::new(face);
        let graph = fill_graph(face, things.memory);
        let kernel = face.kernel();
        let [blocking, free] = [face.blocking(), face.non_blocking()];
        let fork = face.made::<usize>("cuEventCreate", &[2]);
        for index in 0..legacy_calls(&mut things, graph).len() {
            let (name, arguments) = legacy_calls(&mut things, graph).swap_remove(index);
            for (origin, joins) in [(blocking, false), (free, true), (free, false)] {
                assert_eq!(face.begin(origin, RELAXED), 0);
                if joins {
                    face.ok("cuEventRecord", &[fork, origin]);
                    face.ok("cuStreamWaitEvent", &[blocking, fork, 0]);
                }
                let synchronous = name.ends_with("_v2") && !name.contains("Async");
                let mind = origin == blocking || joins || (face.is_hip && synchronous);
                let expected = if mind { [IMPLICIT, INVALIDATED] } else { [0, 0] };
                let found = [face.code(name, &arguments), face.end(origin).0];
                assert_eq!(
                    found,
                    expected,
                    "{name}, joined {joins}, blocking {}",
                    origin == blocking
                );
                face.ok("cuCtxSynchronize", &[]);
            }
        }
        let Some(kernel) = kernel else { return };
        assert_eq!(face.begin(blocking, RELAXED), 0);
        assert_eq!(face.launch(kernel, 0, things.memory), IMPLICIT);
        assert_eq!(face.end(blocking).0, INVALIDATED);
        // Another device's null stream has nothing to do with it.
        assert_eq!(face.begin(blocking, RELAXED), 0);
        face.enter(1);
        face.ok("cuEventRecord", &[face.made("cuEventCreate", &[0]), 0]);
        face.ok("cuStreamSynchronize", &[0]);
        face.enter(0);
        assert_eq!(face.end(blocking).0, 0);
    });
}

#[test]
fn a_wait_for_the_context_spoils_its_captures() {
    on_both("a_wait_for_the_context_spoils_its_captures", |face| {
        let streams = [face.blocking(), face.non_blocking()];
        let begin = || streams.map(|stream| assert_eq!(face.begin(stream, RELAXED), 0));
        begin();
        let wait = || face.code("cuCtxSynchronize", &[]);
        assert_eq!(face.on_another_thread(wait), UNSUPPORTED);
        assert_eq!(streams.map(|stream| face.end(stream).0), [INVALIDATED; 2]);
        begin();
        face.enter(1);
        // HIP's runtime refuses it whatever is captured where.
        let (code, end) = if face.is_hip { (UNSUPPORTED, INVALIDATED) } else { (0, 0) };
        assert_eq!(face.code("cuCtxSynchronize", &[]), code);
        assert_eq!(streams.map(|stream| face.end(stream).0), [end; 2]);
        face.enter(0);
        face.ok("cuCtxSynchronize", &[]);
    });
}

#[test]
fn a_synchronous_copy_spoils_captures_of_its_context() {
    on_both("a_synchronous_copy_spoils_captures_of_its_context", |face| {
        let captured = face.non_blocking();
        face.enter(1);
        let memory = face.zeros(4);
        for mode in MODES {
            face.enter(0);
            assert_eq!(face.begin(captured, mode), 0);
            face.enter(1);
            let code = face.code("cuMemsetD8_v2", &[memory, 1, 16]);
            let expected = if face.is_hip { [IMPLICIT, INVALIDATED] } else { [0, 0] };
            assert_eq!([code, face.end(captured).0], expected, "mode {mode}");
        }
    });
}

#[test]
fn a_captured_stream_is_not_waited_for_nor_destroyed() {
    on_both("a_captured_stream_is_not_waited_for_nor_destroyed", |face| {
        let (stream, memory) = (face.non_blocking(), face.zeros(1));
        let mut host = 0u32;
        let mut made = 0usize;
        let function = nothing as extern "C" fn(usize) as usize;
        let calls: [Call; 6] = [
            ("cuStreamSynchronize", vec![stream]),
            ("cuStreamQuery", vec![stream]),
            ("cuStreamDestroy_v2", vec![stream]),
            ("cuStreamAddCallback", vec![stream, function, 0, 0]),
            ("cuMemAllocAsync", vec![address(&mut made), 64, stream]),
            ("cuMemFreeAsync", vec![memory, stream]),
        ];
        for (name, arguments) in calls {
            assert_eq!(face.begin(stream, RELAXED), 0);
            assert_eq!(face.code(name, &arguments), UNSUPPORTED, "{name}");
            let refusal = control::text("expertile_sim_last_refusal");
            assert!(refusal.contains("captured"), "{refusal}");
            let mut status = 0u32;
            face.ok("cuStreamIsCapturing", &[stream, address(&mut status)]);
            assert_eq!(status, 2, "{name}: invalidated");
            let more = face.code("cuMemsetD32Async", &[memory, 1, 1, stream]);
            assert_eq!([more, face.end(stream).0], [INVALIDATED; 2], "{name}");
        }
        // An asynchronous copy to the host is a node.
        assert_eq!(face.begin(stream, RELAXED), 0);
        face.ok("cuMemcpyDtoHAsync_v2", &[address(&mut host), memory, 4, stream]);
        assert_eq!(face.end(stream).0, 0);
        face.ok("cuStreamDestroy_v2", &[stream]);
    });
}

#[test]
fn captures_begin_and_end_where_they_may() {
    on_both("captures_begin_and_end_where_they_may", |face| {
        let [stream, other] = [(); 2].map(|()| face.non_blocking());
        assert_eq!(face.end(stream).0, 401, "no capture");
        assert_eq!(face.begin(stream, 3), 1);
        assert_eq!(face.begin(0, RELAXED), UNSUPPORTED);
        assert_eq!(face.begin(stream, THREAD_LOCAL), 0);
        assert_eq!(face.begin(stream, THREAD_LOCAL), 401, "twice");
        assert_eq!(face.on_another_thread(|| face.end(stream).0), 908);
        let event = face.made::<usize>("cuEventCreate", &[0]);
        face.ok("cuEventRecord", &[event, stream]);
        face.ok("cuStreamWaitEvent", &[other, event, 0]);
        assert_eq!(face.end(other).0, 903, "began elsewhere");
        assert_eq!(face.end(stream).0, 0);
        assert_eq!(face.begin(stream, RELAXED), 0);
        assert_eq!(face.on_another_thread(|| face.end(stream).0), 0, "relaxed");
        // A thread's default stream is a stream like another.
        let (per_thread, memory) = (2, face.zeros(1));
        assert_eq!(face.begin(per_thread, GLOBAL), 0);
        face.ok("cuMemsetD32Async", &[memory, 9, 1, per_thread]);
        let (code, graph) = face.end(per_thread);
        assert_eq!(code, 0);
        let executable = face.made::<usize>("cuGraphInstantiateWithFlags", &[graph, 0]);
        face.ok("cuGraphLaunch", &[executable, per_thread]);
        assert_eq!(face.word(memory), 9);
    });
}

#[test]
fn events_keep_to_their_capture() {
    on_both("events_keep_to_their_capture", |face| {
        let [first, second, idle] = [(); 3].map(|()| face.non_blocking());
        let [inside, outside] = [(); 2].map(|()| face.made::<usize>("cuEventCreate", &[0]));
        face.ok("cuEventRecord", &[outside, idle]);
        let begin = || {
            assert_eq!(face.begin(first, RELAXED), 0);
            face.ok("cuEventRecord", &[inside, first]);
        };
        let wait =
            |stream: usize, event: usize| face.code("cuStreamWaitEvent", &[stream, event, 0]);
        let mut time = 0f32;
        let elapsed = [address(&mut time), inside, outside];
        for (name, arguments) in [
            ("cuEventQuery", &[inside][..]),
            ("cuEventSynchronize", &[inside]),
            ("cuEventElapsedTime", &elapsed),
        ] {
            begin();
            assert_eq!(face.code(name, arguments), 907, "{name}");
            assert_eq!(face.code("cuEventRecord", &[inside, first]), INVALIDATED);
            assert_eq!(wait(first, inside), INVALIDATED);
            assert_eq!(wait(idle, inside), 1, "an idle stream joins no lost capture");
            assert_eq!(face.end(first).0, INVALIDATED, "{name}");
        }
        begin();
        assert_eq!(wait(first, outside), 905, "work outside");
        assert_eq!(face.end(first).0, INVALIDATED);
        begin();
        assert_eq!(face.begin(second, RELAXED), 0);
        assert_eq!(wait(second, inside), 902, "two captures");
        assert_eq!([face.end(first).0, face.end(second).0], [INVALIDATED; 2]);
        begin();
        assert_eq!(face.code("cuStreamWaitEvent", &[first, inside, 1]), 801, "not modelled");
        assert_eq!(face.code("cuStreamWaitEvent", &[idle, outside, 1]), 1, "nothing is captured");
        assert_eq!(face.end(first).0, 0);
        assert_eq!(face.code("cuEventQuery", &[inside]), 907, "after the capture too");
        // Recorded anew, it is an event like another.
        face.ok("cuEventRecord", &[inside, idle]);
        face.ok("cuEventSynchronize", &[inside]);
    });
}
