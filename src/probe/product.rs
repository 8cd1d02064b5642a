//! Products of matrices by a warp group of sm_90a, whose tiles come as boxes.

use super::check;
use crate::buffer::Buffer;
use crate::device::Device;
use crate::driver::{Geometry, Matrix};
use crate::dtype::Dtype;
use crate::error::Result;
use crate::kernels::{
    PROBE_PRODUCT_K, PROBE_PRODUCT_ROWS, PROBE_PRODUCT_THREADS, ProbeProductParams,
};
use crate::stream::Stream;

/// How the kernel takes a matrix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lies {
    /// From shared memory, and it lies as `[rows, K]`.
    K,
    /// From shared memory, and it lies as `[K, rows]`.
    Mn,
    /// From registers, and it lies as `[rows, K]`.
    Registers,
}

/// A kernel that multiplies `A[64, 64]` by `B[64, n]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Product {
    /// What it is called in tests and records.
    pub name: &'static str,
    entry: &'static str,
    /// The type of both matrices; sums are f32.
    pub dtype: Dtype,
    /// Columns of B.
    pub n: u32,
    /// How A lies.
    pub a: Lies,
    /// How B lies.
    pub b: Lies,
}

impl Product {
    /// Rows of A.
    pub const ROWS: u32 = PROBE_PRODUCT_ROWS;
    /// Columns of A, and rows of B.
    pub const K: u32 = PROBE_PRODUCT_K;

    /// Whether the images of a device hold it.
    pub fn available(&self, device: &Device) -> bool {
        device.driver().kernel(self.entry).is_ok()
    }
}

const fn product(entry: &'static str, dtype: Dtype, n: u32, a: Lies, b: Lies) -> Product {
    let (_, name) = entry.split_at("probe_".len());
    Product { name, entry, dtype, n, a, b }
}

/// Every product.
pub const PRODUCTS: [Product; 11] = [
    product("probe_wgmma_bf16_n8_k_k", Dtype::Bf16, 8, Lies::K, Lies::K),
    product("probe_wgmma_bf16_n64_k_k", Dtype::Bf16, 64, Lies::K, Lies::K),
    product("probe_wgmma_bf16_n256_k_k", Dtype::Bf16, 256, Lies::K, Lies::K),
    product("probe_wgmma_bf16_n256_k_mn", Dtype::Bf16, 256, Lies::K, Lies::Mn),
    product("probe_wgmma_bf16_n128_mn_mn", Dtype::Bf16, 128, Lies::Mn, Lies::Mn),
    product("probe_wgmma_bf16_n64_mn_k", Dtype::Bf16, 64, Lies::Mn, Lies::K),
    product("probe_wgmma_bf16_n64_r_k", Dtype::Bf16, 64, Lies::Registers, Lies::K),
    product("probe_wgmma_bf16_n128_r_mn", Dtype::Bf16, 128, Lies::Registers, Lies::Mn),
    product("probe_wgmma_f16_n64_k_k", Dtype::F16, 64, Lies::K, Lies::K),
    product("probe_wgmma_f16_n128_mn_mn", Dtype::F16, 128, Lies::Mn, Lies::Mn),
    product("probe_wgmma_f16_n64_r_mn", Dtype::F16, 64, Lies::Registers, Lies::Mn),
];

pub(super) const ENTRIES: [&str; PRODUCTS.len()] = {
    let mut entries = [""; PRODUCTS.len()];
    let mut i = 0;
    while i < entries.len() {
        entries[i] = PRODUCTS[i].entry;
        i += 1;
    }
    entries
};

/// Multiplies: `a` and `b` are of the product's type and lie as it says, `out` is `[ROWS, n]` in f32.
///
/// # Errors
///
/// `Value` or `Shape` if type, length or device differ, `Driver`.
pub fn multiply(
    stream: &Stream,
    product: &Product,
    a: &Buffer,
    b: &Buffer,
    out: &mut Buffer,
) -> Result<()> {
    let (k, rows, n) = (u64::from(Product::K), u64::from(Product::ROWS), u64::from(product.n));
    check(a, "a", product.dtype, rows * k, stream)?;
    check(b, "b", product.dtype, k * n, stream)?;
    check(out, "out", Dtype::F32, rows * n, stream)?;
    let driver = stream.device().driver();
    let map = |buffer: &Buffer, lies, rows: u64| {
        let (rows, columns) = if lies == Lies::Mn { (k, rows) } else { (rows, k) };
        let (address, dtype, box_rows) = (buffer.address(), product.dtype, rows as u32);
        driver.tensor_map(&Matrix {
            address,
            dtype,
            rows,
            columns,
            stride: columns,
            box_rows,
            experts: None,
        })
    };
    let params = ProbeProductParams {
        a_map: map(a, product.a, rows)?,
        b_map: map(b, product.b, n)?,
        out: out.address() as *mut f32,
        reserved: [0; 7],
    };
    let geometry = Geometry {
        grid: [1, 1, 1],
        threads: PROBE_PRODUCT_THREADS,
        shared_bytes: 0,
        cluster_blocks: 1,
    };
    // SAFETY: the products take `ProbeProductParams`; the kernel reads boxes of `a` and `b`, which do not
    // leave them, and writes all of `out`; all are freed after the device is idle.
    unsafe { stream.launch(product.entry, &geometry, &params) }
}
