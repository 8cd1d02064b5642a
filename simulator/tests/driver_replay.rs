//! Both stand-in drivers: graphs in graphs, and replays of what is gone.

#[path = "driver/face.rs"]
mod face;
#[path = "driver/hip.rs"]
mod hip;
#[path = "driver/support.rs"]
mod support;

use face::{Face, on_both};
use support::{address, control};

/// The executable graph of what the body puts into the stream.
fn captured(face: &Face, stream: usize, body: impl FnOnce()) -> (usize, usize) {
    assert_eq!(face.begin(stream, 1), 0);
    body();
    let (code, graph) = face.end(stream);
    assert_eq!(code, 0);
    (graph, face.made("cuGraphInstantiateWithFlags", &[graph, 0]))
}

#[test]
fn a_graph_in_a_captured_stream_is_a_child() {
    on_both("a_graph_in_a_captured_stream_is_a_child", |face| {
        let (stream, memory) = (face.non_blocking(), face.zeros(2));
        let fill = |word: usize, value: usize| {
            face.ok("cuMemsetD32Async", &[memory + 4 * word, value, 1, stream]);
        };
        let (_, child) = captured(face, stream, || fill(0, 3));
        let (graph, parent) = captured(face, stream, || {
            face.ok("cuGraphLaunch", &[child, stream]);
            face.ok("cuMemcpyDtoDAsync_v2", &[memory + 4, memory, 4, stream]);
        });
        assert_eq!(face.word(memory), 0, "a capture does nothing");
        let (mut nodes, mut count, mut kind) = ([0usize; 2], 2usize, 0u32);
        face.ok("cuGraphGetNodes", &[graph, address(&mut nodes), address(&mut count)]);
        face.ok("cuGraphNodeGetType", &[nodes[0], address(&mut kind)]);
        assert_eq!((count, kind), (2, 4), "a child graph and a copy");
        face.ok("cuGraphLaunch", &[parent, stream]);
        face.ok("cuStreamSynchronize", &[stream]);
        assert_eq!([face.word(memory), face.word(memory + 4)], [3; 2]);
    });
}

/// What a wait says after a replay of the graph whose memory was freed.
fn replay_after_free(face: &Face, body: impl FnOnce(usize, usize)) -> u32 {
    let (stream, memory) = (face.non_blocking(), face.zeros(4));
    let (_, graph) = captured(face, stream, || body(stream, memory));
    face.ok("cuGraphLaunch", &[graph, stream]);
    face.ok("cuStreamSynchronize", &[stream]);
    face.ok("cuMemFree_v2", &[memory]);
    // Memory that comes later does not lie where the old one was.
    face.zeros(4);
    face.ok("cuGraphLaunch", &[graph, stream]);
    face.code("cuStreamSynchronize", &[stream])
}

#[test]
fn a_replay_uses_no_freed_memory() {
    on_both("a_replay_uses_no_freed_memory", |face| {
        let other = face.zeros(4);
        let fill = |stream, memory| face.ok("cuMemsetD32Async", &[memory, 1, 4, stream]);
        assert_eq!(replay_after_free(face, fill), 700);
        let freed = || {
            let refusal = control::text("expertile_sim_last_refusal");
            assert!(refusal.contains("which was freed"), "{refusal}");
        };
        freed();
        let from = |stream, m| face.ok("cuMemcpyDtoDAsync_v2", &[other, m, 16, stream]);
        assert_eq!(replay_after_free(face, from), 700);
        freed();
        let to = |stream, m| face.ok("cuMemcpyDtoDAsync_v2", &[m, other, 16, stream]);
        assert_eq!(replay_after_free(face, to), 700);
        freed();
        let Some(kernel) = face.kernel() else { return };
        let launch = |stream, memory| assert_eq!(face.launch(kernel, stream, memory), 0);
        assert_eq!(control::text("expertile_sim_reports"), "");
        assert_eq!(replay_after_free(face, launch), 700);
        let reports = control::text("expertile_sim_reports");
        assert!(
            reports.contains("OutOfBounds") && reports.contains("which was freed"),
            "{reports}"
        );
    });
}

#[test]
fn a_graph_outlives_what_it_was_made_of() {
    on_both("a_graph_outlives_what_it_was_made_of", |face| {
        let Some(kernel) = face.kernel() else { return };
        let (stream, memory) = (face.non_blocking(), face.zeros(1));
        let (graph, executable) = captured(face, stream, || {
            assert_eq!(face.launch(kernel, stream, memory), 0);
        });
        face.ok(if face.is_hip { "hipGraphDestroy" } else { "cuGraphDestroy" }, &[graph]);
        face.ok("cuStreamDestroy_v2", &[stream]);
        let another = face.blocking();
        face.ok("cuGraphLaunch", &[executable, another]);
        face.ok("cuStreamSynchronize", &[another]);
        assert_eq!(face.word(memory), Face::STORED);
        assert_eq!(control::text("expertile_sim_reports"), "");
    });
}
