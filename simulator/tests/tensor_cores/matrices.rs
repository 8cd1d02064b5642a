//! `ldmatrix`, `stmatrix`, `movmatrix`.

use super::bench::{Done, Numbers, SEEDS, bytes, kernel, launch};
use expertile_simulator::report::Kind;

/// The first 4 KiB of shared memory filled from the input, by all threads of a warp.
const FILL: &str = "mov.u32 %r100, 0;\nfill:\nmad.lo.u32 %r101, %r100, 32, %t;\n\
                    shl.b32 %r101, %r101, 2;\ncvt.u64.u32 %d10, %r101;\nadd.u64 %d10, %d10, %in;\n\
                    ld.global.b32 %r102, [%d10];\nadd.u32 %r101, %r101, %s;\n\
                    st.shared.b32 [%r101], %r102;\nadd.u32 %r100, %r100, 1;\n\
                    setp.lt.u32 %p7, %r100, 32;\n@%p7 bra fill;\n";
/// The lane's address from the third buffer.
const ADDRESS: &str = "mad.wide.u32 %d11, %t, 4, %more;\nld.global.b32 %r90, [%d11];\n\
                       add.u32 %r90, %r90, %s;\n";

fn registers(count: usize) -> String {
    (0..count).map(|i| format!("%r{i}")).collect::<Vec<_>>().join(", ")
}

fn name(what: &str, count: usize, transposed: bool) -> String {
    let trans = if transposed { ".trans" } else { "" };
    format!("{what}.sync.aligned.m8n8.x{count}{trans}.shared.b16")
}

/// Lane and half of a register in which an element of an 8x8 matrix lies (PTX ISA, "ldmatrix").
fn place(row: usize, column: usize, transposed: bool) -> (usize, usize) {
    match transposed {
        false => (row * 4 + column / 2, column % 2),
        true => (column * 4 + row / 2, row % 2),
    }
}

/// 32 different rows of 16 bytes in 4 KiB, in no order.
fn rows(numbers: &mut Numbers) -> Vec<u32> {
    let mut all: Vec<u32> = (0..256).map(|row| 16 * row).collect();
    for at in 0..32 {
        let other = at + numbers.next() as usize % (256 - at);
        all.swap(at, other);
    }
    all.truncate(32);
    all
}

fn load(count: usize, transposed: bool, data: &[u32], at: &[u32], seed: u64) -> Done {
    let mut store = String::new();
    for i in 0..count {
        store += &format!("st.global.b32 [%o+{}], %r{i};\n", 4 * i);
    }
    let what = name("ldmatrix", count, transposed);
    let text = kernel(&format!(
        "{FILL}bar.sync 0;\n{ADDRESS}{what} {{{}}}, [%r90];\n{store}",
        registers(count)
    ));
    launch(&text, 32, &bytes(data), &bytes(at), seed)
}

#[test]
fn loads_give_each_lane_its_elements() {
    for seed in 0..SEEDS {
        let mut numbers = Numbers(seed);
        let data: Vec<u32> = (0..1024).map(|_| numbers.next()).collect();
        let half = |at: u32| (data[at as usize / 4] >> (8 * (at % 4))) as u16;
        for (count, transposed) in
            [(1, false), (2, false), (4, false), (1, true), (2, true), (4, true)]
        {
            let mut at = rows(&mut numbers);
            // The other lanes' addresses do not count.
            at[8 * count..].fill(1 << 20 | 1);
            let done = load(count, transposed, &data, &at, seed);
            done.clean();
            for matrix in 0..count {
                for row in 0..8 {
                    for column in 0..8 {
                        let (lane, high) = place(row, column, transposed);
                        let got = (done.word(lane, matrix) >> (16 * high)) as u16;
                        let want = half(at[8 * matrix + row] + 2 * column as u32);
                        assert_eq!(got, want, "x{count} {transposed} {matrix} {row} {column}");
                    }
                }
            }
        }
    }
}

#[test]
fn stores_put_each_element_in_its_row() {
    for seed in 0..SEEDS {
        let mut numbers = Numbers(seed);
        let data: Vec<u32> = (0..1024).map(|_| numbers.next()).collect();
        for (count, transposed) in
            [(1, false), (2, false), (4, false), (1, true), (2, true), (4, true)]
        {
            let at = rows(&mut numbers);
            let what = name("stmatrix", count, transposed);
            // Registers from the input; then each lane reads the row that it addressed.
            let mut body = String::from(ADDRESS);
            for i in 0..count {
                body += &format!("ld.global.b32 %r{i}, [%i+{}];\n", 4 * i);
            }
            body += &format!(
                "{what} [%r90], {{{}}};\nbar.warp.sync -1;\nsetp.lt.u32 %p0, %t, {};\n\
                 @%p0 ld.shared.v4.b32 {{%r10, %r11, %r12, %r13}}, [%r90];\n\
                 @%p0 st.global.v4.b32 [%o], {{%r10, %r11, %r12, %r13}};\n",
                registers(count),
                8 * count
            );
            let done = launch(&kernel(&body), 32, &bytes(&data), &bytes(&at), seed);
            done.clean();
            for matrix in 0..count {
                for row in 0..8 {
                    for column in 0..8 {
                        let (lane, high) = place(row, column, transposed);
                        let want = (data[16 * lane + matrix] >> (16 * high)) as u16;
                        let word = done.word(8 * matrix + row, column / 2);
                        let got = (word >> (16 * (column % 2))) as u16;
                        assert_eq!(got, want, "x{count} {transposed} {matrix} {row} {column}");
                    }
                }
            }
        }
    }
}

#[test]
fn a_matrix_moves_to_its_transpose() {
    let mut numbers = Numbers(11);
    let data: Vec<u32> = (0..512).map(|_| numbers.next()).collect();
    let text = kernel(
        "ld.global.b32 %r0, [%i];\nmovmatrix.sync.aligned.m8n8.trans.b16 %r1, %r0;\n\
         st.global.b32 [%o], %r1;\n",
    );
    let done = launch(&text, 32, &bytes(&data), &[], 0);
    done.clean();
    for row in 0..8 {
        for column in 0..8 {
            let ((from, half), (to, high)) = (place(row, column, false), place(row, column, true));
            let want = (data[16 * from] >> (16 * half)) as u16;
            assert_eq!((done.word(to, 0) >> (16 * high)) as u16, want);
        }
    }
}

/// Eight rows are one pass, if they lie in different banks.
#[test]
fn bank_conflicts_are_counted_by_eight_rows() {
    let data = vec![7; 1024];
    let counted = |count: usize, at: &[u32]| {
        let shared = load(count, false, &data, at, 0).outcome.counters.shared;
        // Without those that fill.
        (shared.instructions - 32, shared.passes - 32, shared.conflicts)
    };
    let side_by_side: Vec<u32> = (0..32).map(|row| 16 * row).collect();
    assert_eq!(counted(4, &side_by_side), (1, 4, 0));
    assert_eq!(counted(2, &side_by_side), (1, 2, 0));
    assert_eq!(counted(1, &side_by_side), (1, 1, 0));
    let columns: Vec<u32> = (0..32).map(|row| 128 * row).collect();
    assert_eq!(counted(4, &columns), (1, 32, 28));
    let swizzled: Vec<u32> = (0..32).map(|row| 128 * row + 16 * (row % 8)).collect();
    assert_eq!(counted(4, &swizzled), (1, 4, 0));
    let padded: Vec<u32> = (0..16).map(|row| 80 * row).chain([0; 16]).collect();
    assert_eq!(counted(2, &padded), (1, 2, 0));
}

/// Elements that were never written stay so on their way, and no others become so.
#[test]
fn undefined_elements_stay_undefined() {
    for (seed, transposed) in [(0, false), (1, true), (2, false), (3, true)] {
        // Row 9 (matrix 1, row 1): its columns 4 and 5 are not written.
        let hole = "setp.eq.u32 %p1, %r101, 152;\n@!%p1 st.shared.b32 [%r103], %r102;\n";
        let fill = FILL
            .replace("add.u32 %r101, %r101, %s;\n", "add.u32 %r103, %r101, %s;\n")
            .replace("st.shared.b32 [%r101], %r102;\n", hole);
        let at: Vec<u32> = (0..32).map(|row| 16 * row).collect();
        let lanes: Vec<usize> = match transposed {
            false => vec![6],
            true => vec![16, 20],
        };
        let mask = lanes.iter().fold(0u32, |mask, &lane| mask | 1 << lane);
        let what = name("ldmatrix", 4, transposed);
        let body = |register: usize, mask: u32| {
            kernel(&format!(
                "{fill}bar.sync 0;\n{ADDRESS}{what} {{%r0, %r1, %r2, %r3}}, [%r90];\n\
                 shr.u32 %r8, {mask:#x}, %t;\nand.b32 %r8, %r8, 1;\nsetp.ne.u32 %p1, %r8, 0;\n\
                 @%p1 st.global.b32 [%o], %r{register};\n"
            ))
        };
        let run = |text: &str| launch(text, 32, &bytes(&[9; 1024]), &bytes(&at), seed);
        for register in [0, 2, 3] {
            run(&body(register, u32::MAX)).clean();
        }
        run(&body(1, !mask)).clean();
        let all = format!("never written in {} lane(s)", lanes.len());
        run(&body(1, u32::MAX)).reports(Kind::Uninitialized, &all);
        // Stored to other rows and loaded again.
        let (there, back) = (name("stmatrix", 4, transposed), name("ldmatrix", 4, transposed));
        let store_and_load = |mask: u32| {
            let load = format!("{back} {{%r4, %r5, %r6, %r7}}, [%r91];\n");
            let store = format!(
                "add.u32 %r91, %r90, 8192;\n{there} [%r91], {{%r0, %r1, %r2, %r3}};\n\
                 bar.warp.sync -1;\n{load}shr.u32 %r8"
            );
            body(5, mask).replace("shr.u32 %r8", &store)
        };
        run(&store_and_load(!mask)).clean();
        run(&store_and_load(u32::MAX)).reports(Kind::Uninitialized, &all);
    }
}

#[test]
fn planted_faults_are_reported() {
    let data = bytes(&[5; 1024]);
    let at: Vec<u32> = (0..32).map(|row| 16 * row).collect();
    let instruction = format!("{} {{%r0, %r1, %r2, %r3}}, [%r90];\n", name("ldmatrix", 4, false));
    let store = "st.global.b32 [%o], %r0;\n";
    for seed in 0..SEEDS {
        let run = |body: &str, threads: u32, at: &[u32]| {
            launch(&kernel(body), threads, &data, &bytes(at), seed)
        };
        let whole = format!("{FILL}bar.sync 0;\n{ADDRESS}{instruction}{store}");
        run(&whole, 32, &at).clean();
        let part = whole.replace(&instruction, &format!("@%p0 {instruction}"));
        let part = part.replace(ADDRESS, &format!("{ADDRESS}setp.ne.u32 %p0, %t, 5;\n"));
        run(&part, 32, &at).reports(Kind::Divergence, "ldmatrix");
        // The second warp loads what the first is writing.
        let unordered = format!(
            "setp.gt.u32 %p0, %t, 31;\nand.b32 %t, %t, 31;\n@%p0 bra load;\n{FILL}bra end;\nload:\n\
             {ADDRESS}{instruction}end:\n"
        );
        run(&unordered, 64, &at).reports(Kind::Race, "ldmatrix");
        let mut wrong = at.clone();
        wrong[17] = 24;
        run(&whole, 32, &wrong).reports(Kind::Misaligned, "lane 17");
        wrong[17] = 64 << 10;
        run(&whole, 32, &wrong).reports(Kind::OutOfBounds, "lane 17");
    }
}
