//! Faults planted in the use of `wgmma` and `setmaxnreg`.

use super::bench::{Done, Half, Numbers, SEEDS, kernel, launch};
use super::warpgroup::{COMMIT, Case, FENCE, Layout, SECOND, WAIT};
use expertile_simulator::report::Kind;

fn case(registers: bool) -> Case {
    let mut numbers = Numbers(1);
    let a = (!registers).then(|| Layout::new(0, 128, false));
    let b = Layout::new(SECOND, 128, false);
    Case::new(Half::Bf16, 16, a, b, || numbers.whole())
}

/// Runs a variation of the right kernel under every seed.
#[track_caller]
fn vary(registers: bool, change: impl Fn(&Case, &str) -> String, see: impl Fn(&Case, Done)) {
    let case = case(registers);
    let right = case.text();
    let text = change(&case, &right);
    for seed in 0..SEEDS {
        see(&case, case.run_text(&text, 128, seed));
    }
}

#[track_caller]
fn reported(registers: bool, from: &str, to: &str, kind: Kind, text: &str) {
    let change = |_: &Case, right: &str| {
        assert!(right.contains(from), "{from} in {right}");
        right.replacen(from, to, 1)
    };
    vary(registers, change, |_, done| done.reports(kind, text));
}

#[test]
fn the_right_kernels_are_clean() {
    for registers in [false, true] {
        vary(registers, |_, right| right.to_owned(), |case, done| case.check(&done, true));
    }
}

#[test]
fn results_without_a_wait() {
    let text = "on its way: there is a wgmma.mma_async that was not waited for";
    reported(false, WAIT, "", Kind::Uninitialized, text);
    let one = "wgmma.wait_group.sync.aligned 1;\n";
    reported(false, WAIT, one, Kind::Uninitialized, text);
    // Not committed is not waited for.
    reported(false, COMMIT, "", Kind::Uninitialized, text);
}

#[test]
fn registers_without_a_fence() {
    let text = "no wgmma.fence before the first";
    reported(false, FENCE, "", Kind::Hazard, text);
    let late = |register: &str| format!("{FENCE}{register}");
    let text = "accumulator 3 was written after the last wgmma.fence";
    reported(false, FENCE, &late("add.f32 %f3, %f3, 0f3F800000;\n"), Kind::Hazard, text);
    let text = "register 2 of matrix a was written after the last wgmma.fence";
    reported(true, FENCE, &late("add.u32 %r2, %r2, 1;\n"), Kind::Hazard, text);
}

/// A second round on accumulators that were scaled in between.
#[test]
fn a_second_round_needs_its_own_fence() {
    let round = |case: &Case, between: &str| {
        let again = format!("{WAIT}{between}{}{COMMIT}{WAIT}", case.instruction());
        case.text().replacen(WAIT, &again, 1)
    };
    let scale = "mul.f32 %f5, %f5, 0f40000000;\n";
    let without = |case: &Case, _: &str| round(case, scale);
    vary(false, without, |_, done| done.reports(Kind::Hazard, "accumulator 5 was written"));
    let with = |case: &Case, _: &str| round(case, &format!("{scale}{FENCE}"));
    vary(false, with, |_, done| {
        done.clean();
    });
    // What was not touched needs none.
    let untouched = |case: &Case, _: &str| round(case, "");
    vary(false, untouched, |_, done| {
        done.clean();
    });
}

/// Compilers put copies behind the fence.
#[test]
fn copies_of_what_the_fence_saw_are_fine() {
    let copied = |case: &Case, right: &str| {
        let mut before = String::from("mov.f32 %f200, 0f3F800000;\n");
        let mut after = String::from("mov.f32 %f201, %f200;\n");
        for at in 0..8 {
            before += &format!("add.f32 %f{}, %f{at}, %f{at};\n", 100 + at);
            after += &format!("mov.f32 %f{at}, %f{};\n", 100 + at);
        }
        after = after.replace("mov.f32 %f7, %f107;\n", "mov.f32 %f7, %f201;\n");
        assert_eq!(case.columns, 16);
        right.replacen(FENCE, &format!("{before}{FENCE}{after}"), 1)
    };
    vary(false, copied, |_, done| {
        done.clean();
    });
}

#[test]
fn registers_written_on_the_way() {
    let write = |text: &str| format!("{text}{WAIT}");
    let text = "accumulator 2 was written before wgmma.wait_group";
    reported(false, WAIT, &write("mov.f32 %f2, 0f00000000;\n"), Kind::Hazard, text);
    let text = "register 1 of matrix a was written before wgmma.wait_group";
    reported(true, WAIT, &write("add.u32 %r1, %r1, 1;\n"), Kind::Hazard, text);
    // The operation has the registers as they were, so the result is right all the same.
    let change = |_: &Case, right: &str| right.replacen(WAIT, &write("add.u32 %r1, %r1, 1;\n"), 1);
    vary(true, change, |case, mut done| {
        done.outcome.reports.clear();
        case.check(&done, true);
    });
}

#[test]
fn accumulators_in_two_shapes() {
    let change = |case: &Case, right: &str| {
        let mut other = case_of_columns(8);
        other.half = case.half;
        right.replacen(COMMIT, &format!("{}{COMMIT}", other.instruction()), 1)
    };
    vary(false, change, |_, done| {
        done.reports(Kind::Hazard, "an accumulator is on its way in another wgmma.mma_async");
    });
}

fn case_of_columns(columns: usize) -> Case {
    let mut numbers = Numbers(1);
    let (a, b) = (Layout::new(0, 128, false), Layout::new(SECOND, 128, false));
    Case::new(Half::Bf16, columns, Some(a), b, || numbers.whole())
}

#[test]
fn warps_that_disagree() {
    let warp = "shr.u32 %r20, %t, 5;\nsetp.eq.u32 %p1, %r20, 2;\n";
    let change = format!("{warp}@%p1 add.u64 %d1, %d1, 2;\n{FENCE}");
    reported(false, FENCE, &change, Kind::Divergence, "matrix b is 0x4");
    let change = format!("{warp}@%p1 add.u64 %d0, %d0, 2;\n{FENCE}");
    reported(false, FENCE, &change, Kind::Divergence, "matrix a is 0x4");
    let change = format!("{warp}@%p1 setp.eq.u32 %p0, %r20, 0;\n{FENCE}");
    reported(false, FENCE, &change, Kind::Divergence, "scale-d is 0x");
    let change = format!("setp.eq.u32 %p1, %t, 70;\n@%p1 add.u64 %d1, %d1, 2;\n{FENCE}");
    reported(false, FENCE, &change, Kind::Divergence, "the descriptor of matrix b is");
    let change = format!("setp.eq.u32 %p1, %t, 70;\n@%p1 setp.ne.u32 %p0, %t, 70;\n{FENCE}");
    reported(
        false,
        FENCE,
        &change,
        Kind::Divergence,
        "scale-d is true in the lanes 0xffffffbf alone",
    );
    // Two instructions that look alike are not one.
    let two = |case: &Case, right: &str| {
        let one = case.instruction();
        let both = format!("{warp}@%p1 bra other;\n{one}bra end;\nother:\n{one}end:\n");
        right.replacen(&one, &both, 1)
    };
    vary(false, two, |_, done| {
        done.reports(Kind::Divergence, "issues another wgmma.mma_async here than warp");
    });
}

#[test]
fn a_part_of_a_warp() {
    let guard = "setp.ne.u32 %p1, %t, 45;\n@%p1 wgmma.mma_async";
    reported(false, "wgmma.mma_async", guard, Kind::Divergence, "wgmma.mma_async");
    let guard = "setp.ne.u32 %p1, %t, 45;\n@%p1 wgmma.wait_group";
    reported(false, "wgmma.wait_group", guard, Kind::Divergence, "wgmma.wait_group");
}

#[test]
fn a_warp_that_never_comes() {
    let change = |case: &Case, right: &str| {
        let one = case.instruction();
        let skip = format!("setp.gt.u32 %p1, %t, 95;\n@%p1 bra stay;\n{one}");
        right.replacen(&one, &skip, 1).replacen(WAIT, &format!("{WAIT}stay:\n"), 1)
    };
    vary(false, change, |_, done| {
        done.reports(Kind::Deadlock, "warp(s) 3 of warpgroup 0 to issue wgmma.mma_async");
    });
    for seed in 0..SEEDS {
        let case = case(true);
        let done = case.run_text(&case.text(), 96, seed);
        done.reports(Kind::Divergence, "warpgroup 0 has 3 of 4 warps");
    }
}

/// Shared memory that is written while the operation may read it.
#[test]
fn operands_overwritten_on_the_way() {
    let store = "setp.eq.u32 %p1, %t, 33;\n@%p1 st.shared.b32 [%s+24576], %t;\n";
    let early = format!("{store}{WAIT}");
    reported(false, WAIT, &early, Kind::Race, "wgmma.mma_async");
    // Barriers order it, but not behind the operation.
    let between = format!("bar.sync 0;\n{store}fence.proxy.async;\nbar.sync 0;\n{WAIT}");
    reported(false, WAIT, &between, Kind::Race, "written before wgmma.wait_group");
    // Whoever has waited knows that all of it was read.
    let late = |_: &Case, right: &str| right.replacen(WAIT, &format!("{WAIT}{store}"), 1);
    vary(false, late, |case, done| case.check(&done, true));
    // Written without a barrier before.
    let unordered = |_: &Case, right: &str| right.replacen("bar.sync 0;\n", "", 1);
    vary(false, unordered, |_, done| {
        let kinds = [Kind::Race, Kind::Uninitialized];
        assert!(done.outcome.reports.iter().any(|report| kinds.contains(&report.kind)));
    });
}

#[test]
fn two_groups_and_a_wait_for_the_first() {
    let groups = |case: &Case, right: &str| {
        let (one, store) = (case.instruction(), case.store());
        let mut second = one.clone();
        let mut zero = String::new();
        for at in (0..8).rev() {
            second = second.replace(&format!("%f{at},"), &format!("%f{},", 20 + at));
            second = second.replace(&format!("%f{at}}}"), &format!("%f{}}}", 20 + at));
            zero += &format!("mov.f32 %f{}, 0f00000000;\n", 20 + at);
        }
        let both = format!("{zero}{FENCE}{one}{COMMIT}{second}{COMMIT}");
        let wait = "wgmma.wait_group.sync.aligned 1;\n";
        let end = format!("{store}{WAIT}{}", store.replace("], %f", "], %f2"));
        let load = right.split(FENCE).next().unwrap_or_default();
        format!("{load}{both}{wait}{end}")
    };
    vary(false, groups, |_, done| {
        done.clean();
    });
    let hasty = |case: &Case, right: &str| groups(case, right).replacen(WAIT, "", 1);
    vary(false, hasty, |_, done| {
        done.reports(Kind::Uninitialized, "stored to global memory");
    });
}

#[test]
fn bounds_and_what_is_not_modelled() {
    for seed in 0..SEEDS {
        let mut case = case(false);
        let right = case.chunks();
        case.b_layout.start = 65 << 10;
        let done = case.run_chunks(&case.text(), 128, &right, seed);
        done.reports(Kind::OutOfBounds, "the block's 65536 bytes of shared memory");
    }
    let text = "has the base offset 2";
    let change = format!("or.b64 %d1, %d1, {:#x};\n{FENCE}", 2u64 << 49);
    reported(false, FENCE, &change, Kind::Unsupported, text);
    let change = format!("or.b64 %d1, %d1, {:#x};\n{FENCE}", 1u64 << 46);
    reported(false, FENCE, &change, Kind::Unsupported, "has the reserved bits 0x400000000000");
    for (instruction, text) in [
        (
            "wgmma.mma_async.sync.aligned.m64n8k16.f16.f16.f16 {%r0, %r1}, %d0, %d1, %p0, 1, 1, 0, 0;",
            ".f16.f16.f16 is not modelled",
        ),
        (
            "wgmma.mma_async.sync.aligned.m64n8k32.f32.e4m3.e4m3 {%f0, %f1, %f2, %f3}, %d0, %d1, %p0, 1, 1;",
            "the shape m64n8k32 is not modelled",
        ),
        (
            "wgmma.mma_async.sync.aligned.m64n12k16.f32.f16.f16 {%f0, %f1, %f2, %f3}, %d0, %d1, %p0, 1, 1, 0, 0;",
            "the shape m64n12k16 is not modelled",
        ),
        (
            "wgmma.mma_async.sync.aligned.m64n8k16.f32.f16.f16 {%f0, %f1, %f2, %f3}, %d0, %d1, %p0, 1, 2, 0, 0;",
            "neither 1 nor -1",
        ),
    ] {
        launch(&kernel(instruction), 128, &[], &[], 0).reports(Kind::Unsupported, text);
    }
}

#[test]
fn registers_of_a_warpgroup() {
    let run = |body: &str, seed| launch(&kernel(body), 256, &[], &[], seed);
    for seed in 0..SEEDS {
        let split = "setp.gt.u32 %p0, %t, 127;\n@%p0 bra consumer;\n\
                     setmaxnreg.dec.sync.aligned.u32 40;\nbra end;\nconsumer:\n\
                     setmaxnreg.inc.sync.aligned.u32 232;\nend:\n";
        run(split, seed).clean();
        let inside = split.replace("127", "95");
        run(&inside, seed).reports(Kind::Divergence, "where its warpgroup sets");
        let part = split.replace("127", "130");
        run(&part, seed).reports(Kind::Divergence, "setmaxnreg");
    }
    for count in ["20", "264", "33"] {
        let text = format!("setmaxnreg.inc.sync.aligned.u32 {count};\n");
        run(&text, 0).reports(Kind::Unsupported, "no multiple of 8 from 24 to 256");
    }
}
