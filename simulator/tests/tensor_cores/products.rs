//! `mma.sync`.

use super::bench::{Done, Half, Numbers, SEEDS, STEP_ERROR, bytes, kernel, launch};
use expertile_simulator::report::Kind;

/// The matrices of one instruction: `a[row][k]`, `b[k][column]`, `c[row][column]`.
struct Case {
    half: Half,
    depth: usize,
    a: Vec<Vec<f64>>,
    b: Vec<Vec<f64>>,
    c: Vec<Vec<f32>>,
}

impl Case {
    fn new(half: Half, depth: usize, mut next: impl FnMut() -> f64) -> Case {
        let mut matrix = |rows: usize, columns: usize| -> Vec<Vec<f64>> {
            let row = |_| (0..columns).map(|_| half.value(half.bits(next()))).collect();
            (0..rows).map(row).collect()
        };
        let (a, b, c) = (matrix(16, depth), matrix(depth, 8), matrix(16, 8));
        let c = c.iter().map(|row| row.iter().map(|&value| value as f32).collect()).collect();
        Case { half, depth, a, b, c }
    }

    /// Sixteen words for each lane: a, b, c.
    fn words(&self) -> Vec<u32> {
        let mut words = vec![0; 16 * 32];
        let mut put = |lane: usize, register: usize, high: usize, value: f64| {
            words[16 * lane + register] |= u32::from(self.half.bits(value)) << (16 * high);
        };
        for k in 0..self.depth {
            for row in 0..16 {
                put(4 * (row % 8) + k % 8 / 2, row / 8 + 2 * (k / 8), k % 2, self.a[row][k]);
            }
            for column in 0..8 {
                put(4 * column + k % 8 / 2, 4 + k / 8, k % 2, self.b[k][column]);
            }
        }
        for row in 0..16 {
            for column in 0..8 {
                let (lane, register) = place(row, column);
                words[16 * lane + 6 + register] = self.c[row][column].to_bits();
            }
        }
        words
    }

    fn instruction(&self) -> String {
        let name = self.half.name();
        let (a, b) = match self.depth {
            8 => ("%r0, %r1", "%r4"),
            _ => ("%r0, %r1, %r2, %r3", "%r4, %r5"),
        };
        format!(
            "mma.sync.aligned.m16n8k{}.row.col.f32.{name}.{name}.f32 {{%f0, %f1, %f2, %f3}}, {{{a}}}, \
             {{{b}}}, {{%f6, %f7, %f8, %f9}};\n",
            self.depth
        )
    }

    fn run(&self, seed: u64) -> Done {
        let text = kernel(&format!("{LOAD}{}{STORE}", self.instruction()));
        launch(&text, 32, &bytes(&self.words()), &[], seed)
    }
}

/// Register and lane of an accumulator.
fn place(row: usize, column: usize) -> (usize, usize) {
    (4 * (row % 8) + column / 2, 2 * (row / 8) + column % 2)
}

const LOAD: &str = "ld.global.v4.b32 {%r0, %r1, %r2, %r3}, [%i];\n\
                    ld.global.v2.b32 {%r4, %r5}, [%i+16];\n\
                    ld.global.v2.f32 {%f6, %f7}, [%i+24];\nld.global.v2.f32 {%f8, %f9}, [%i+32];\n";
const STORE: &str = "st.global.v4.f32 [%o], {%f0, %f1, %f2, %f3};\n";

#[test]
fn whole_numbers_are_exact() {
    for seed in 0..SEEDS {
        for (half, depth) in [(Half::Bf16, 16), (Half::F16, 16), (Half::Bf16, 8), (Half::F16, 8)] {
            let mut numbers = Numbers(seed);
            let case = Case::new(half, depth, || numbers.whole());
            let done = case.run(seed);
            done.clean();
            for row in 0..16 {
                for column in 0..8 {
                    let products = (0..depth).map(|k| case.a[row][k] * case.b[k][column]);
                    let want = f64::from(case.c[row][column]) + products.sum::<f64>();
                    let (lane, register) = place(row, column);
                    let got = f32::from_bits(done.word(lane, register));
                    assert_eq!(f64::from(got), want, "{half:?} k{depth} [{row}, {column}]");
                }
            }
            let counted: Vec<String> = done
                .outcome
                .counters
                .matrix
                .iter()
                .map(|(shape, count)| format!("{shape} {count}"))
                .collect();
            assert_eq!(counted, [format!("m16n8k{depth}.{} 1", half.name())]);
        }
    }
}

#[test]
fn fractions_are_within_the_bound() {
    let mut different = std::collections::BTreeSet::new();
    for seed in 0..SEEDS {
        for half in Half::BOTH {
            let mut numbers = Numbers(7);
            let case = Case::new(half, 16, || numbers.fraction());
            let done = case.run(seed);
            done.clean();
            different.insert((half.name(), seed % 3, done.out.clone()));
            for row in 0..16 {
                for column in 0..8 {
                    let mut want = f64::from(case.c[row][column]);
                    let mut size = want.abs();
                    for k in 0..16 {
                        want += case.a[row][k] * case.b[k][column];
                        size += (case.a[row][k] * case.b[k][column]).abs();
                    }
                    let (lane, register) = place(row, column);
                    let got = f64::from(f32::from_bits(done.word(lane, register)));
                    let off = (got - want).abs();
                    assert!(off <= STEP_ERROR * size, "{half:?} {got} {want} of {size}");
                }
            }
        }
    }
    // The seed of approximations chooses among three, and nothing else does.
    let outputs: std::collections::BTreeSet<_> = different.iter().map(|of| (of.0, &of.2)).collect();
    assert_eq!((different.len(), outputs.len()), (6, 6));
}

/// What is undefined in a row of A, a column of B or an element of C is undefined there in D, and
/// nowhere else.
#[test]
fn undefined_values_stay_in_their_row_and_column() {
    let mut numbers = Numbers(3);
    let case = Case::new(Half::Bf16, 16, || numbers.whole());
    let (words, mma) = (bytes(&case.words()), case.instruction());
    // Register, the lane in which it is not written, and the places (lane, register) of D.
    let row = |row: usize| (0..8).map(move |column| place(row, column)).collect::<Vec<_>>();
    let column = |column: usize| (0..16).map(move |row| place(row, column)).collect::<Vec<_>>();
    let cases = [
        ("%r0", 13, row(3)),
        ("%r1", 13, row(11)),
        ("%r2", 30, row(7)),
        ("%r3", 2, row(8)),
        ("%r4", 13, column(3)),
        ("%r5", 31, column(7)),
        ("%f6", 9, vec![(9, 0)]),
        ("%f9", 27, vec![(27, 3)]),
    ];
    for (seed, (register, lane, places)) in cases.iter().enumerate() {
        let ty = if register.starts_with("%r") { "b32 %x" } else { "f32 %x" };
        let load = LOAD.replace(register, "%x");
        let copy = format!("setp.ne.u32 %p0, %t, {lane};\n@%p0 mov.b32 {register}, %x;\n");
        let store = |wanted: bool| {
            let mut text = String::new();
            for d in 0..4 {
                let lanes = (0..32).filter(|&lane| places.contains(&(lane, d)) == wanted);
                let mask = lanes.fold(0u32, |mask, lane| mask | 1 << lane);
                text += &format!(
                    "shr.u32 %r8, {mask:#x}, %t;\nand.b32 %r8, %r8, 1;\nsetp.ne.u32 %p1, %r8, 0;\n\
                     @%p1 st.global.f32 [%o+{}], %f{d};\n",
                    4 * d
                );
            }
            text
        };
        let text = |wanted| kernel(&format!(".reg .{ty};\n{load}{copy}{mma}{}", store(wanted)));
        launch(&text(false), 32, &words, &[], seed as u64).clean();
        let done = launch(&text(true), 32, &words, &[], seed as u64);
        let told: usize = done
            .outcome
            .reports
            .iter()
            .map(|report| {
                assert_eq!(report.kind, Kind::Uninitialized);
                let count = report.message.split(" in ").nth(1).expect("a count");
                count.split(' ').next().and_then(|n| n.parse::<usize>().ok()).expect("a count")
            })
            .sum();
        assert_eq!(told, places.len(), "{register}");
    }
}

#[test]
fn parts_of_a_warp_are_reported() {
    let mut numbers = Numbers(3);
    let case = Case::new(Half::F16, 16, || numbers.whole());
    let words = bytes(&case.words());
    for seed in 0..SEEDS {
        let guard = "setp.lt.u32 %p0, %t, 16;\n@%p0 ";
        let text = kernel(&format!("{LOAD}{guard}{}{STORE}", case.instruction()));
        launch(&text, 32, &words, &[], seed).reports(Kind::Divergence, "mma.sync");
        // Both halves come, but not together.
        let (one, other) = (case.instruction(), case.instruction());
        let branch = "setp.lt.u32 %p0, %t, 16;\n@%p0 bra over;\n";
        let text = kernel(&format!("{LOAD}{branch}{one}bra end;\nover:\n{other}end:\n{STORE}"));
        launch(&text, 32, &words, &[], seed).reports(Kind::Divergence, "mma.sync");
        let text = kernel(&format!("{LOAD}{}{STORE}", case.instruction()));
        launch(&text, 16, &words, &[], seed).reports(Kind::Divergence, "0xffff0000 have exited");
    }
}

#[test]
fn what_is_not_modelled_is_named() {
    for (mma, text) in [
        (
            "mma.sync.aligned.m16n8k16.row.col.f16.f16.f16.f16 {%r0, %r1}, {%r0, %r1, %r2, %r3}, \
             {%r4, %r5}, {%r0, %r1};",
            ".f16.f16.f16.f16 is not modelled",
        ),
        (
            "mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%r0, %r1, %r2, %r3}, \
             {%r0, %r1, %r2, %r3}, {%r4, %r5}, {%r0, %r1, %r2, %r3};",
            "only the shapes m16n8k8 and m16n8k16",
        ),
        (
            "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%f0, %f1, %f2, %f3}, \
             {%r0, %r1}, {%r4, %r5}, {%f0, %f1, %f2, %f3};",
            "2 registers where 4 are expected",
        ),
    ] {
        launch(&kernel(mma), 32, &[], &[], 0).reports(Kind::Unsupported, text);
    }
}
