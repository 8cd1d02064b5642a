//! One `wgmma`, with its matrices in shared memory.

use super::bench::{Done, Half, STEP_ERROR, bytes, kernel, launch};

/// How a matrix lies in shared memory.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Layout {
    pub(crate) start: u64,
    pub(crate) leading: u64,
    pub(crate) stride: u64,
    /// Bytes of the swizzle; 0 without.
    pub(crate) swizzle: u64,
    /// MN-major.
    pub(crate) transposed: bool,
}

impl Layout {
    /// With gaps between the parts, where there may be some.
    pub(crate) fn new(start: u64, swizzle: u64, transposed: bool) -> Layout {
        let (leading, stride) = match (swizzle, transposed) {
            (0, _) => (8192, 144),
            // Not used: anything.
            (_, false) => (0x1230, 8 * swizzle),
            (_, true) => (16 * swizzle, 16384),
        };
        Layout { start, leading, stride, swizzle, transposed }
    }

    pub(crate) fn descriptor(&self) -> u64 {
        let mode = match self.swizzle {
            0 => 0,
            32 => 3,
            64 => 2,
            _ => 1u64,
        };
        self.start >> 4 | self.leading >> 4 << 16 | self.stride >> 4 << 32 | mode << 62
    }

    /// The address of an element of row (M or N) and place along K.
    pub(crate) fn address(&self, row: u64, k: u64) -> u64 {
        let Layout { start, leading, stride, swizzle, transposed } = *self;
        let plain = match (transposed, swizzle) {
            (false, 0) => row / 8 * stride + row % 8 * 16 + k / 8 * leading + k % 8 * 2,
            (false, _) => row / 8 * stride + row % 8 * swizzle + k * 2,
            (true, 0) => row / 8 * stride + row % 8 * 2 + k % 8 * 16 + k / 8 * leading,
            (true, _) => {
                let across = swizzle / 2;
                row / across * leading + row % across * 2 + k % 8 * swizzle + k / 8 * stride
            }
        };
        let address = start + plain;
        let bits = match swizzle {
            0 => 0,
            32 => 0x10,
            64 => 0x30,
            _ => 0x70,
        };
        address ^ (address >> 3 & bits)
    }
}

/// One instruction.
pub(crate) struct Case {
    pub(crate) half: Half,
    pub(crate) columns: usize,
    /// None: from registers.
    pub(crate) a_layout: Option<Layout>,
    pub(crate) b_layout: Layout,
    pub(crate) adds: bool,
    pub(crate) signs: (i32, i32),
    /// `a[row][k]`, `b[column][k]`, `c[row][column]`.
    pub(crate) a: Vec<Vec<f64>>,
    pub(crate) b: Vec<Vec<f64>>,
    pub(crate) c: Vec<Vec<f32>>,
}

/// Words of the input before the accumulators, and of these for each thread.
const HEAD: usize = 1024;
const EACH: usize = 128;

/// Thread and register of an accumulator.
pub(crate) fn place(row: usize, column: usize) -> (usize, usize) {
    let thread = 32 * (row / 16) + 4 * (row % 8) + column % 8 / 2;
    (thread, 4 * (column / 8) + 2 * (row % 16 / 8) + column % 2)
}

impl Case {
    pub(crate) fn new(
        half: Half,
        columns: usize,
        a_layout: Option<Layout>,
        b_layout: Layout,
        mut next: impl FnMut() -> f64,
    ) -> Case {
        let mut matrix = |rows: usize, columns: usize| -> Vec<Vec<f64>> {
            let row = |_| (0..columns).map(|_| half.value(half.bits(next()))).collect();
            (0..rows).map(row).collect()
        };
        let (a, b, c) = (matrix(64, 16), matrix(columns, 16), matrix(64, columns));
        let c = c.iter().map(|row| row.iter().map(|&value| value as f32).collect()).collect();
        Case { half, columns, a_layout, b_layout, adds: true, signs: (1, 1), a, b, c }
    }

    /// The chunks of 16 bytes of shared memory that hold the matrices.
    pub(crate) fn chunks(&self) -> Vec<(u64, [u8; 16])> {
        let mut chunks = std::collections::BTreeMap::<u64, [u8; 16]>::new();
        let matrices = [(self.a_layout, &self.a), (Some(self.b_layout), &self.b)];
        for (layout, matrix) in matrices {
            let Some(layout) = layout else { continue };
            for (row, of_row) in matrix.iter().enumerate() {
                for (k, &value) in of_row.iter().enumerate() {
                    let address = layout.address(row as u64, k as u64);
                    let at = (address % 16) as usize;
                    let chunk = chunks.entry(address - address % 16).or_default();
                    chunk[at..at + 2].copy_from_slice(&self.half.bits(value).to_le_bytes());
                }
            }
        }
        chunks.into_iter().collect()
    }

    pub(crate) fn input(&self, chunks: usize) -> Vec<u8> {
        let mut words = vec![0; HEAD + 128 * EACH];
        let a = self.a_layout.map_or(0, |layout| layout.descriptor());
        let b = self.b_layout.descriptor();
        (words[0], words[1]) = (chunks as u32, self.adds.into());
        for (at, word) in [a, b].into_iter().flat_map(|d| [d as u32, (d >> 32) as u32]).enumerate()
        {
            words[4 + at] = word;
        }
        for (row, of_row) in self.a.iter().enumerate() {
            for (k, &value) in of_row.iter().enumerate() {
                let thread = 32 * (row / 16) + 4 * (row % 8) + k % 8 / 2;
                let register = row % 16 / 8 + 2 * (k / 8);
                words[256 + 4 * thread + register] |=
                    u32::from(self.half.bits(value)) << (16 * (k % 2));
            }
        }
        for (row, of_row) in self.c.iter().enumerate() {
            for (column, value) in of_row.iter().enumerate() {
                let (thread, register) = place(row, column);
                words[HEAD + EACH * thread + register] = value.to_bits();
            }
        }
        bytes(&words)
    }

    /// The instruction alone, its accumulators `%f0` and so on.
    pub(crate) fn instruction(&self) -> String {
        let (name, d) = (self.half.name(), list("f", self.columns / 2));
        let (a, transposed_a) = match self.a_layout {
            Some(layout) => (String::from("%d0"), format!("{}, ", u32::from(layout.transposed))),
            None => (String::from("{%r0, %r1, %r2, %r3}"), String::new()),
        };
        let (a_sign, b_sign) = self.signs;
        format!(
            "wgmma.mma_async.sync.aligned.m64n{}k16.f32.{name}.{name} {{{d}}}, {a}, %d1, %p0, \
             {a_sign}, {b_sign}, {transposed_a}{};\n",
            self.columns,
            u32::from(self.b_layout.transposed)
        )
    }

    /// Everything before the first fence.
    pub(crate) fn load(&self) -> String {
        let mut text = String::from(FILL);
        for at in 0..self.columns / 2 {
            text += &format!("ld.global.f32 %f{at}, [%d3+{}];\n", 4 * at);
        }
        text
    }

    pub(crate) fn store(&self) -> String {
        let store = |at: usize| format!("st.global.f32 [%o+{}], %f{at};\n", 4 * at);
        (0..self.columns / 2).map(store).collect()
    }

    pub(crate) fn text(&self) -> String {
        format!("{}{FENCE}{}{COMMIT}{WAIT}{}", self.load(), self.instruction(), self.store())
    }

    pub(crate) fn run_text(&self, body: &str, threads: u32, seed: u64) -> Done {
        let chunks = self.chunks();
        self.run_chunks(body, threads, &chunks, seed)
    }

    pub(crate) fn run_chunks(
        &self,
        body: &str,
        threads: u32,
        chunks: &[(u64, [u8; 16])],
        seed: u64,
    ) -> Done {
        let mut more = Vec::new();
        for (address, data) in chunks {
            more.extend(data);
            more.extend(u128::from(*address).to_le_bytes());
        }
        launch(&kernel(body), threads, &self.input(chunks.len()), &more, seed)
    }

    /// What an element should be, and the sum of the magnitudes.
    pub(crate) fn want(&self, row: usize, column: usize) -> (f64, f64) {
        let sign = f64::from(self.signs.0 * self.signs.1);
        let mut sum = if self.adds { f64::from(self.c[row][column]) } else { 0.0 };
        let mut size = sum.abs();
        for k in 0..16 {
            let product = self.a[row][k] * self.b[column][k];
            sum += sign * product;
            size += product.abs();
        }
        (sum, size)
    }

    #[track_caller]
    pub(crate) fn check(&self, done: &Done, exact: bool) {
        done.clean();
        for row in 0..64 {
            for column in 0..self.columns {
                let (thread, register) = place(row, column);
                let got = f64::from(f32::from_bits(done.word(thread, register)));
                let (want, size) = self.want(row, column);
                let bound = if exact { 0.0 } else { STEP_ERROR * size };
                assert!(
                    (got - want).abs() <= bound,
                    "n{} a {:?} b {:?} [{row}, {column}]: {got}, not {want}",
                    self.columns,
                    self.a_layout,
                    self.b_layout
                );
            }
        }
    }
}

fn list(stem: &str, count: usize) -> String {
    (0..count).map(|at| format!("%{stem}{at}")).collect::<Vec<_>>().join(", ")
}

/// Chunks to shared memory; descriptors to `%d0` and `%d1`, scale-d to `%p0`, matrix a to `%r0..4`, the
/// address of the thread's accumulators to `%d3`.
const FILL: &str = "ld.global.b32 %r100, [%in];\nmov.u32 %r101, %t;\n\
                    fill:\nsetp.ge.u32 %p7, %r101, %r100;\n@%p7 bra filled;\n\
                    mad.wide.u32 %d10, %r101, 32, %more;\n\
                    ld.global.v4.b32 {%r102, %r103, %r104, %r105}, [%d10];\n\
                    ld.global.b32 %r106, [%d10+16];\nadd.u32 %r106, %r106, %s;\n\
                    st.shared.v4.b32 [%r106], {%r102, %r103, %r104, %r105};\n\
                    add.u32 %r101, %r101, 128;\nbra fill;\nfilled:\n\
                    fence.proxy.async.shared::cta;\nbar.sync 0;\n\
                    ld.global.v2.b64 {%d0, %d1}, [%in+16];\nld.global.b32 %r107, [%in+4];\n\
                    setp.ne.u32 %p0, %r107, 0;\nmad.wide.u32 %d2, %t, 16, %in;\n\
                    ld.global.v4.b32 {%r0, %r1, %r2, %r3}, [%d2+1024];\n\
                    mad.wide.u32 %d3, %t, 512, %in;\nadd.u64 %d3, %d3, 4096;\n";
pub(crate) const FENCE: &str = "wgmma.fence.sync.aligned;\n";
pub(crate) const COMMIT: &str = "wgmma.commit_group.sync.aligned;\n";
pub(crate) const WAIT: &str = "wgmma.wait_group.sync.aligned 0;\n";

/// Where the second matrix begins.
pub(crate) const SECOND: u64 = 24 << 10;
const SWIZZLES: [u64; 4] = [0, 32, 64, 128];

pub(crate) fn layouts(start: u64) -> impl Iterator<Item = Layout> {
    let each = move |swizzle| [false, true].map(move |major| Layout::new(start, swizzle, major));
    SWIZZLES.into_iter().flat_map(each)
}
