//! Forms of the instructions that compiled code seldom has, in PTX written by hand.

use super::bench::{Bench, Geometry, SEEDS};
use expertile_simulator::ptx::Module;
use expertile_simulator::report::Kind;

/// A kernel of one warp: `%out` has room for a word of each lane, `%bar` is an mbarrier's address, `%t` the
/// lane. `%x0..9` b32, `%s0..9` b64, `%p0..9` predicates.
fn bench(body: &str) -> (Bench, u64) {
    let text = format!(
        ".version 8.6\n.target sm_90a\n.address_size 64\n.visible .entry k(.param .u64 p)\n{{\n\
         .shared .align 128 .b8 memory[1024];\n.shared .align 8 .b64 bar;\n\
         .reg .b64 %out, %s<10>;\n.reg .b32 %t, %bar, %mem, %x<10>;\n.reg .pred %p<10>;\n\
         ld.param.u64 %out, [p];\nmov.u32 %t, %tid.x;\nmov.u32 %bar, bar;\nmov.u32 %mem, memory;\n\
         mad.wide.u32 %out, %t, 4, %out;\nsetp.eq.u32 %p0, %t, 0;\nmov.u32 %x0, 0;\n{body}\n\
         st.global.u32 [%out], %x0;\nret;\n}}\n"
    );
    let module = Module::parse(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    let mut bench = Bench::new(module);
    let out = bench.room(4 * 64);
    bench.address(out);
    (bench, out)
}

fn result(body: &str, expected: impl Fn(u32) -> u32) {
    for seed in 0..SEEDS {
        let (mut bench, out) = bench(body);
        bench.clean("k", Geometry::new(1, 32, 0), seed);
        let words = bench.read(out, 4 * 32);
        for (lane, word) in (0..).zip(words.chunks(4)) {
            assert_eq!(word, expected(lane).to_le_bytes(), "seed {seed} lane {lane}: {body}");
        }
    }
}

fn fault(body: &str, kind: Kind, text: &str) {
    for seed in 0..SEEDS {
        bench(body).0.finds("k", Geometry::new(1, 32, 0), seed, &[(kind, text)]);
    }
}

const INIT: &str = "@%p0 mbarrier.init.shared.b64 [%bar], 32;\nbar.sync 0;\n";

#[test]
fn states_and_their_counts() {
    // The lanes arrive in any order; each state tells how many were pending before.
    let body = format!(
        "{INIT}mbarrier.arrive.release.cta.shared::cta.b64 %s0, [%bar];\n\
         mbarrier.pending_count.b64 %x1, %s0;\nredux.sync.add.u32 %x0, %x1, 0xffffffff;\n\
         again: mbarrier.test_wait.acquire.cta.shared::cta.b64 %p1, [%bar], %s0;\n@!%p1 bra again;"
    );
    result(&body, |_| (1..=32).sum());
    // Several arrivals of one lane, none of which completes the phase, then the rest of it.
    let body = format!(
        "{INIT}@!%p0 bra wait;\nmbarrier.arrive.noComplete.release.cta.shared.b64 %s0, [%bar], 20;\n\
         mbarrier.arrive.shared.b64 %s1, [%bar], 12;\nmbarrier.pending_count.b64 %x0, %s1;\n\
         wait: mbarrier.try_wait.parity.shared::cta.b64 %p1, [%bar], 0, 1000;\n@!%p1 bra wait;"
    );
    result(&body, |lane| if lane == 0 { 12 } else { 0 });
    // Those who drop out are missing in the next phase.
    let body = format!(
        "{INIT}setp.lt.u32 %p2, %t, 30;\n@%p2 mbarrier.arrive_drop.shared.b64 _, [%bar];\n\
         @!%p2 mbarrier.arrive.shared.b64 _, [%bar];\nbar.sync 0;\n\
         @!%p2 mbarrier.arrive.shared.b64 %s1, [%bar];\n\
         @!%p2 mbarrier.pending_count.b64 %x1, %s1;\nsetp.eq.u32 %p3, %t, 31;\n\
         wait: mbarrier.try_wait.parity.shared.b64 %p1, [%bar], 1;\n@!%p1 bra wait;\n\
         @!%p2 mov.u32 %x0, %x1;\nredux.sync.add.u32 %x0, %x0, 0xffffffff;"
    );
    result(&body, |_| 3);
    // Initialised again after it was given up, elsewhere in memory read and written.
    let body = format!(
        "{INIT}@%p0 mbarrier.inval.shared.b64 [%bar];\nbar.sync 0;\n\
         @%p0 mbarrier.init.shared.b64 [%bar], 1;\nbar.sync 0;\n\
         @%p0 mbarrier.arrive.shared.b64 _, [%bar];\n\
         wait: mbarrier.try_wait.parity.shared.b64 %p1, [%bar], 0;\n@!%p1 bra wait;\n\
         @%p0 mbarrier.inval.shared.b64 [%bar];\n@%p0 st.shared.u32 [%bar], 5;\nbar.sync 0;\n\
         ld.shared.u32 %x0, [%bar];"
    );
    result(&body, |_| 5);
}

#[test]
fn bytes_are_expected_and_completed() {
    let body = format!(
        "{INIT}@%p0 mbarrier.expect_tx.relaxed.cta.shared::cta.b64 [%bar], 100;\n\
         mbarrier.arrive.shared.b64 _, [%bar];\nbar.sync 0;\n\
         mbarrier.test_wait.parity.shared.b64 %p1, [%bar], 0;\n@%p1 mov.u32 %x0, 1;\nbar.sync 0;\n\
         @%p0 mbarrier.complete_tx.relaxed.cta.shared::cta.b64 [%bar], 60;\n\
         @%p0 mbarrier.complete_tx.relaxed.cta.shared::cta.b64 [%bar], 40;\nbar.sync 0;\n\
         mbarrier.test_wait.parity.shared.b64 %p1, [%bar], 0;\n@%p1 add.u32 %x0, %x0, 2;"
    );
    result(&body, |_| 2);
}

#[test]
fn rules_of_mbarriers() {
    let barrier = Kind::Barrier;
    fault("mbarrier.arrive.shared.b64 _, [%bar];", barrier, "no mbarrier was initialised at 0x400");
    fault("@%p0 mbarrier.init.shared.b64 [%bar], 0;", barrier, "an mbarrier for 0 arrivals");
    fault("@%p0 mbarrier.init.shared.b64 [%bar+4], 1;", Kind::Misaligned, "no multiple of 8");
    fault("@%p0 mbarrier.init.shared.b64 [%bar+16], 1;", Kind::OutOfBounds, "has 1040 bytes");
    let twice = format!("{INIT}@%p0 mbarrier.init.shared.b64 [%bar], 1;");
    fault(&twice, barrier, "initialised again, without mbarrier.inval (phase 0: 32 of 32");
    let over = format!("{INIT}@%p0 mbarrier.arrive.shared.b64 _, [%bar], 33;");
    fault(&over, barrier, "33 arrive where 32 of 32 arrivals are pending in phase 0");
    let waits = "@%p0 mbarrier.expect_tx.relaxed.cta.shared.b64 [%bar], 8;\n\
                 mbarrier.arrive.shared.b64 _, [%bar];\n\
                 @%p0 mbarrier.arrive.shared.b64 _, [%bar];";
    fault(&format!("{INIT}{waits}"), barrier, "1 arrive where 0 of 32 arrivals are pending");
    let bytes = "@%p0 mbarrier.expect_tx.relaxed.cta.shared.b64 [%bar], 1048576;";
    fault(&format!("{INIT}{bytes}"), barrier, "1048576 bytes are outstanding, at most 1048575");
    let complete = "@%p0 mbarrier.arrive.noComplete.release.cta.shared.b64 %s0, [%bar], 32;";
    fault(&format!("{INIT}{complete}"), barrier, "the phase completes by .noComplete");
    let parity = "mbarrier.test_wait.parity.shared.b64 %p1, [%bar], 2;";
    fault(&format!("{INIT}{parity}"), barrier, "parity 2, 0 or 1");
    let old = "mbarrier.arrive.shared.b64 %s0, [%bar];\nbar.sync 0;\n\
               mbarrier.arrive.shared.b64 _, [%bar];\nbar.sync 0;\n\
               mbarrier.test_wait.shared.b64 %p1, [%bar], %s0;";
    fault(&format!("{INIT}{old}"), barrier, "a state of phase 0, the mbarrier is in phase 2");
    let store = "@%p0 st.shared.u32 [%bar+4], 0xB5B5B5B5;";
    fault(&format!("{INIT}{store}"), Kind::Race, "only mbarrier instructions may touch its bytes");
    let atomic = "@%p0 red.shared.add.u32 [%bar], 1;";
    fault(&format!("{INIT}{atomic}"), Kind::Race, "only mbarrier instructions may touch its bytes");
    // What was done before a relaxed arrival is not known behind it.
    let relaxed = |semantics: &str| {
        format!(
            "@%p0 mbarrier.init.shared.b64 [%bar], 1;\nbar.sync 0;\nsetp.ge.u32 %p2, %t, 32;\n\
             setp.eq.u32 %p0, %t, 32;\n@!%p2 bra wait;\n@%p0 st.shared.u32 [%mem], 7;\n\
             @%p0 mbarrier.arrive.{semantics}.cta.shared.b64 _, [%bar];\nbra done;\n\
             wait: mbarrier.try_wait.parity.shared.b64 %p1, [%bar], 0;\n@!%p1 bra wait;\n\
             ld.shared.u32 %x0, [%mem];\ndone:"
        )
    };
    for seed in 0..SEEDS {
        let two = Geometry::new(1, 64, 0);
        bench(&relaxed("release")).0.clean("k", two, seed);
        let race = (Kind::Race, "another warp of the block, no barrier between");
        bench(&relaxed("relaxed")).0.finds("k", two, seed, &[race]);
    }
}

#[test]
fn what_is_not_modelled_is_named() {
    for body in [
        "cp.reduce.async.bulk.global.shared::cta.bulk_group.add.u32 [%out], [%mem], 16;",
        "st.async.weak.shared::cluster.mbarrier::complete_tx::bytes.u32 [%mem], %t, [%bar];",
        "cp.async.bulk.tensor.3d.shared::cluster.global.im2col.mbarrier::complete_tx::bytes \
         [%mem], [%out, {%t, %t, %t}], [%bar], {1, 1};",
    ] {
        fault(body, Kind::Unsupported, "modelled");
    }
    // Prefetches only look where they go.
    result("@%p0 cp.async.bulk.prefetch.L2.global [%out], 128;", |_| 0);
    let beyond = "@%p0 cp.async.bulk.prefetch.L2.global [%out], 512;";
    fault(beyond, Kind::OutOfBounds, "512 bytes at 0x200000000: 256 are there");
    fault("@%p0 prefetch.tensormap [%out+4];", Kind::Misaligned, "the tensor map at");
    fault("@%p0 prefetch.tensormap [%out];", Kind::Copy, "no tensor map: it begins with");
}

#[test]
fn fences_and_launch_control_are_known() {
    let body = "fence.proxy.async;\nfence.proxy.async.global;\nfence.proxy.async.shared::cluster;\n\
                fence.proxy.alias;\nfence.mbarrier_init.release.cluster;\n\
                fence.acq_rel.cluster;\ngriddepcontrol.wait;\ngriddepcontrol.launch_dependents;\n\
                barrier.cta.sync.aligned 1, 32;\nbarrier.cluster.arrive.relaxed;\n\
                barrier.cluster.wait;\nbarrier.cluster.arrive.release.aligned;\n\
                barrier.cluster.wait.acquire.aligned;";
    result(body, |_| 0);
    fault("barrier.cluster.wait;", Kind::Barrier, "waits without having arrived");
    let twice = "barrier.cluster.arrive;\nbarrier.cluster.arrive;";
    fault(twice, Kind::Barrier, "arrives again without having waited");
    fault(
        "@%p0 barrier.cluster.arrive.aligned;\nbar.sync 0;",
        Kind::Divergence,
        "nothing can go on",
    );
}
