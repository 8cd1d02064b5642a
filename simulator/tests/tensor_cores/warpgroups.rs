//! `wgmma`: layouts and values.

use super::bench::{Half, Numbers, SEEDS};
use super::warpgroup::{COMMIT, Case, FENCE, Layout, SECOND, WAIT, layouts, place};

#[test]
fn whole_numbers_are_exact_in_every_shape_and_layout() {
    let mut seed = 0;
    for columns in (8..=256).step_by(8) {
        // All layouts of b; those of a in turn, the last one registers.
        for b_layout in layouts(SECOND) {
            let mut numbers = Numbers(seed);
            let half = Half::BOTH[(seed % 2) as usize];
            let a_layout = layouts(0).nth((seed / 2 % 9) as usize);
            let mut case = Case::new(half, columns, a_layout, b_layout, || numbers.whole());
            case.adds = seed % 5 != 0;
            case.signs = [(1, 1), (1, -1), (-1, 1), (-1, -1)][(seed / 3 % 4) as usize];
            let done = case.run_text(&case.text(), 128, seed);
            case.check(&done, true);
            let counted: Vec<(String, u64)> = done
                .outcome
                .counters
                .matrix
                .iter()
                .map(|(shape, &count)| (shape.to_string(), count))
                .collect();
            assert_eq!(counted, [(format!("m64n{columns}k16.{}", half.name()), 4)]);
            seed += 1;
        }
    }
}

#[test]
fn every_layout_of_a_with_every_layout_of_b() {
    let mut seed = 0;
    for a_layout in layouts(0).map(Some).chain([None]) {
        for b_layout in layouts(SECOND) {
            for half in Half::BOTH {
                let mut numbers = Numbers(seed);
                let case = Case::new(half, 72, a_layout, b_layout, || numbers.fraction());
                case.check(&case.run_text(&case.text(), 128, seed), false);
                seed += 1;
            }
        }
    }
}

/// A tile as a kernel's author sees it: rows of 128 bytes whose chunks are exchanged by the row, and 16
/// columns further on 32 bytes further on.
#[test]
fn a_start_within_the_swizzle_advances_along_k() {
    for step in 0..4u64 {
        for seed in 0..SEEDS / 4 {
            let mut numbers = Numbers(seed);
            let layout = |start| Layout::new(start + 32 * step, 128, false);
            let (a, b) = (layout(0), layout(SECOND));
            let case = Case::new(Half::Bf16, 40, Some(a), b, || numbers.whole());
            let mut chunks = Vec::new();
            for (start, matrix) in [(0, &case.a), (SECOND, &case.b)] {
                for (row, of_row) in matrix.iter().enumerate() {
                    for part in 0..2 {
                        let chunk = 2 * step + part;
                        let at = start + 128 * row as u64 + 16 * (chunk ^ (row as u64 % 8));
                        let bytes = of_row[8 * part as usize..][..8].iter();
                        let bytes = bytes.flat_map(|&value| case.half.bits(value).to_le_bytes());
                        let bytes: Vec<u8> = bytes.collect();
                        chunks.push((at, bytes.try_into().expect("16 bytes")));
                    }
                }
            }
            case.check(&case.run_chunks(&case.text(), 128, &chunks, seed), true);
        }
    }
}

/// Several instructions on the same accumulators, in one group and in several.
#[test]
fn accumulators_go_from_one_instruction_to_the_next() {
    for seed in 0..SEEDS {
        let mut numbers = Numbers(seed);
        let (a, b) = (Layout::new(0, 64, false), Layout::new(SECOND, 128, true));
        let case = Case::new(Half::F16, 24, Some(a), b, || numbers.whole());
        let (one, load, store) = (case.instruction(), case.load(), case.store());
        let again = format!("wgmma.wait_group.sync.aligned 1;\n{one}{COMMIT}");
        let body = format!(
            "{load}{FENCE}{one}{one}{COMMIT}{one}{COMMIT}{again}{WAIT}{one}{COMMIT}{WAIT}{store}"
        );
        let done = case.run_text(&body, 128, seed);
        done.clean();
        for row in 0..64 {
            for column in 0..24 {
                let (thread, register) = place(row, column);
                let got = f64::from(f32::from_bits(done.word(thread, register)));
                let c = f64::from(case.c[row][column]);
                assert_eq!(got, c + 5.0 * (case.want(row, column).0 - c));
            }
        }
    }
}

/// Undefined elements of a matrix make its row or column undefined, and no more.
#[test]
fn what_was_never_written_stays_in_its_row_and_column() {
    let mut seed = 0;
    for a_layout in layouts(0) {
        for b_layout in layouts(SECOND) {
            let mut numbers = Numbers(seed);
            let case = Case::new(Half::Bf16, 24, Some(a_layout), b_layout, || numbers.whole());
            let chunks = case.chunks();
            let of_a = seed % 2 == 0;
            let (layout, row, k) = if of_a { (a_layout, 37, 3) } else { (b_layout, 19, 13) };
            let gone = layout.address(row, k) & !15;
            let kept: Vec<_> = chunks.iter().copied().filter(|chunk| chunk.0 != gone).collect();
            assert_eq!(kept.len() + 1, chunks.len());
            // With K-major the chunk is of one row, with MN-major of the eight around it.
            let rows = if layout.transposed { row & !7..(row & !7) + 8 } else { row..row + 1 };
            let is_gone = |row: usize, column: usize| {
                rows.contains(&(if of_a { row as u64 } else { column as u64 }))
            };
            // Thread and register of what is undefined.
            let mut masks = [0u128; 12];
            for row in 0..64 {
                for column in 0..24 {
                    let (thread, register) = place(row, column);
                    masks[register] |= u128::from(is_gone(row, column)) << thread;
                }
            }
            let body = |gone: bool| {
                let mut text = case.text().replace(&case.store(), "");
                for (register, &mask) in masks.iter().enumerate() {
                    for warp in 0..4 {
                        let of_warp = (mask >> (32 * warp)) as u32;
                        let of_warp = if gone { of_warp } else { !of_warp };
                        text += &format!(
                            "sub.u32 %r8, %t, {};\nand.b32 %r9, %r8, 31;\nshr.u32 %r10, {of_warp:#x}, %r9;\n\
                             and.b32 %r10, %r10, 1;\nsetp.eq.u32 %p1, %r10, 1;\n\
                             setp.lt.and.u32 %p1, %r8, 32, %p1;\n\
                             @%p1 st.global.f32 [%o+{}], %f{register};\n",
                            32 * warp,
                            4 * register
                        );
                    }
                }
                text
            };
            case.run_chunks(&body(false), 128, &kept, seed).clean();
            let done = case.run_chunks(&body(true), 128, &kept, seed);
            let kind = expertile_simulator::report::Kind::Uninitialized;
            done.reports(kind, "stored to global memory");
            assert!(done.outcome.reports.iter().all(|report| report.kind == kind));
            seed += 1;
        }
    }
}
