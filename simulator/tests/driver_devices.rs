//! Both stand-in drivers: what belongs to one device, used with another.
//!
//! CUDA's programming guide, "Stream and event behavior", says which calls mind; HIP's says the same.

#[path = "driver/face.rs"]
mod face;
#[path = "driver/hip.rs"]
mod hip;
#[path = "driver/support.rs"]
mod support;

use face::{Face, on_both};
use support::{address, control};

/// What a device has, made while it was current.
struct Card {
    memory: usize,
    stream: usize,
    event: usize,
    kernel: Option<usize>,
}

impl Card {
    fn new(face: &Face, device: usize) -> Card {
        face.enter(device);
        let (memory, stream) = (face.zeros(4), face.non_blocking());
        Card { memory, stream, event: face.made("cuEventCreate", &[0]), kernel: face.kernel() }
    }
}

fn cards(face: &Face) -> [Card; 2] {
    let cards = [0, 1].map(|device| Card::new(face, device));
    face.enter(0);
    cards
}

#[test]
fn functions_and_events_are_not_for_another_devices_stream() {
    on_both("functions_and_events_are_not_for_another_devices_stream", |face| {
        let [first, second] = cards(face);
        for (stream, event) in [(first.stream, second.event), (second.stream, first.event)] {
            assert_eq!(face.code("cuEventRecord", &[event, stream]), 400);
        }
        for card in [&first, &second] {
            face.ok("cuEventRecord", &[card.event, card.stream]);
            face.ok("cuEventSynchronize", &[card.event]);
        }
        let mut time = 0f32;
        let elapsed = [address(&mut time), first.event, second.event];
        assert_eq!(face.code("cuEventElapsedTime", &elapsed), 400);
        let refusal = control::text("expertile_sim_last_refusal");
        assert!(refusal.contains("events of devices [0, 1]"), "{refusal}");
        let (Some(one), Some(two)) = (first.kernel, second.kernel) else { return };
        for (device, kernel, stream) in
            [(0, one, second.stream), (1, one, second.stream), (1, one, 0), (0, two, 0)]
        {
            face.enter(device);
            let code = face.launch(kernel, stream, first.memory);
            assert_eq!(code, 400, "device {device} kernel {kernel:#x} stream {stream:#x}");
        }
        // Function and stream of one device, which is not current: CUDA's driver goes by the stream.
        face.enter(0);
        assert_eq!(
            face.launch(two, second.stream, second.memory),
            if face.is_hip { 400 } else { 0 }
        );
        for (device, card) in [&first, &second].into_iter().enumerate() {
            face.enter(device);
            assert_eq!(face.launch(card.kernel.unwrap(), card.stream, card.memory), 0);
            face.ok("cuStreamSynchronize", &[card.stream]);
            assert_eq!(face.word(card.memory), Face::STORED);
            face.ok("cuMemsetD32_v2", &[card.memory, 0, 1]);
        }
        assert_eq!(control::text("expertile_sim_reports"), "");
    });
}

#[test]
fn a_kernel_reaches_its_own_devices_memory() {
    on_both("a_kernel_reaches_its_own_devices_memory", |face| {
        let [first, second] = cards(face);
        let Some(kernel) = second.kernel else { return };
        face.enter(1);
        assert_eq!(face.launch(kernel, second.stream, first.memory), 0);
        assert_eq!(face.code("cuStreamSynchronize", &[second.stream]), 700);
        let reports = control::text("expertile_sim_reports");
        let platform = if face.is_hip { "HIP" } else { "CUDA" };
        let place = format!("lies in the memory of {platform} device 0");
        assert!(reports.contains("OutOfBounds") && reports.contains(&place), "{reports}");
        assert_eq!(face.word(first.memory), 0);
        face.enter(0);
        face.ok("cuCtxSynchronize", &[]);
    });
}

#[test]
fn copies_go_anywhere_and_fills_do_not() {
    on_both("copies_go_anywhere_and_fills_do_not", |face| {
        let [first, second] = cards(face);
        // In the second device's stream, while the first is current.
        let mut words = [1u32, 2, 3, 4];
        face.ok("cuMemcpyHtoDAsync_v2", &[first.memory, address(&mut words), 16, second.stream]);
        face.ok("cuMemcpyDtoDAsync_v2", &[second.memory, first.memory, 16, second.stream]);
        face.ok("cuStreamSynchronize", &[second.stream]);
        assert_eq!([0, 4, 8, 12].map(|offset| face.word(second.memory + offset)), words);
        for (memory, stream) in [(first.memory, second.stream), (second.memory, first.stream)] {
            assert_eq!(face.code("cuMemsetD32Async", &[memory, 9, 4, stream]), 1);
        }
        assert_eq!(face.code("cuMemsetD32_v2", &[second.memory, 9, 4]), 1);
        let refusal = control::text("expertile_sim_last_refusal");
        assert!(refusal.contains("is of device 1, the stream of 0"), "{refusal}");
        face.ok("cuMemsetD32Async", &[second.memory, 9, 4, second.stream]);
        face.ok("cuStreamSynchronize", &[second.stream]);
        assert_eq!(face.word(second.memory), 9);
        if face.is_hip {
            return;
        }
        let [one, two] = face.contexts;
        face.ok("cuMemcpyPeer", &[first.memory, one, second.memory, two, 4]);
        assert_eq!(face.word(first.memory), 9);
        let (mut named, stream) = ([first.memory, two, second.memory, one, 4, 0], first.stream);
        assert_eq!(face.code("cuMemcpyPeer", &named), 1, "each is of the other's context");
        named[5] = stream;
        assert_eq!(face.code("cuMemcpyPeerAsync", &named), 1);
    });
}

extern "C" fn nothing(_argument: usize) {}

#[test]
fn other_calls_do_not_mind_the_current_device() {
    on_both("other_calls_do_not_mind_the_current_device", |face| {
        let [first, second] = cards(face);
        let function = nothing as extern "C" fn(usize) as usize;
        face.ok("cuLaunchHostFunc", &[second.stream, function, 0]);
        face.ok("cuEventRecord", &[second.event, second.stream]);
        assert_eq!(face.code("cuEventQuery", &[second.event]), 600);
        face.ok("cuEventSynchronize", &[second.event]);
        face.ok("cuStreamQuery", &[second.stream]);
        face.ok("cuMemFreeAsync", &[second.memory, second.stream]);
        face.ok("cuStreamDestroy_v2", &[second.stream]);
        face.enter(1);
        face.ok("cuMemFree_v2", &[first.memory]);
        assert_eq!(face.code("cuMemFree_v2", &[first.memory]), 1, "freed already");
        // A wait is allowed across devices: the second device's work comes after the first's.
        let [first, second] = cards(face);
        face.ok("cuMemsetD32Async", &[first.memory, 5, 4, first.stream]);
        face.ok("cuEventRecord", &[first.event, first.stream]);
        face.ok("cuStreamWaitEvent", &[second.stream, first.event, 0]);
        face.ok("cuMemcpyDtoDAsync_v2", &[second.memory, first.memory, 16, second.stream]);
        face.ok("cuStreamSynchronize", &[second.stream]);
        assert_eq!(face.word(second.memory), 5);
    });
}

#[test]
fn a_graph_of_two_devices_runs_on_both() {
    on_both("a_graph_of_two_devices_runs_on_both", |face| {
        let [first, second] = cards(face);
        let (Some(one), Some(two)) = (first.kernel, second.kernel) else { return };
        assert_eq!(face.begin(first.stream, 1), 0);
        assert_eq!(face.launch(one, first.stream, first.memory), 0);
        face.ok("cuEventRecord", &[first.event, first.stream]);
        face.ok("cuStreamWaitEvent", &[second.stream, first.event, 0]);
        face.enter(1);
        assert_eq!(face.launch(two, second.stream, second.memory), 0);
        face.ok("cuEventRecord", &[second.event, second.stream]);
        face.enter(0);
        face.ok("cuStreamWaitEvent", &[first.stream, second.event, 0]);
        let (code, graph) = face.end(first.stream);
        assert_eq!(code, 0);
        let executable = face.made::<usize>("cuGraphInstantiateWithFlags", &[graph, 0]);
        // Each kernel runs on its device, whichever stream the graph is launched in.
        for stream in [first.stream, second.stream] {
            face.ok("cuGraphLaunch", &[executable, stream]);
            face.ok("cuStreamSynchronize", &[stream]);
            for (device, card) in [&first, &second].into_iter().enumerate() {
                assert_eq!(face.word(card.memory), Face::STORED);
                face.enter(device);
                face.ok("cuMemsetD32_v2", &[card.memory, 0, 1]);
                face.ok("cuCtxSynchronize", &[]);
            }
            face.enter(0);
        }
        assert_eq!(control::text("expertile_sim_reports"), "");
    });
}
