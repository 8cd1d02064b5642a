//! What the chip's copies of tiles need to know of a matrix.

use super::check;
use crate::driver::{Matrix, MatrixExperts};
use crate::error::Result;
use crate::kernels::TensorMap;
use cudarc::driver::sys;

/// Bytes of a row of a box in shared memory: those of the swizzle's pattern.
const ROW_BYTES: u32 = 128;

/// The map of a matrix whose boxes are copied to rows of 128 bytes with the 128-byte swizzle.
pub(super) fn encode(matrix: &Matrix) -> Result<TensorMap> {
    let mut map = sys::CUtensorMap { opaque: [0; 16] };
    let bytes = matrix.dtype.bytes();
    // Of two dimensions the third is not looked at.
    let experts = matrix.experts.unwrap_or(MatrixExperts { count: 1, stride: 0 });
    let extents = [matrix.columns, matrix.rows, experts.count];
    // What passes 64 bits passes what the driver takes.
    let strides = [matrix.stride, experts.stride].map(|stride| stride.saturating_mul(bytes));
    let boxes = [ROW_BYTES / bytes as u32, matrix.box_rows, 1];
    let steps = [1, 1, 1];
    let rank = if matrix.experts.is_some() { 3 } else { 2 };
    let data_type = match matrix.dtype {
        crate::Dtype::Bf16 => sys::CUtensorMapDataType::CU_TENSOR_MAP_DATA_TYPE_BFLOAT16,
        crate::Dtype::F16 => sys::CUtensorMapDataType::CU_TENSOR_MAP_DATA_TYPE_FLOAT16,
        _ => sys::CUtensorMapDataType::CU_TENSOR_MAP_DATA_TYPE_FLOAT32,
    };
    // SAFETY: the arrays have as many entries as a tensor of three dimensions needs, strides one less; the
    // driver reads them and writes the map before it returns, and does not look at the matrix.
    let code = unsafe {
        sys::cuTensorMapEncodeTiled(
            &mut map,
            data_type,
            rank,
            matrix.address as usize as *mut _,
            extents.as_ptr(),
            strides.as_ptr(),
            boxes.as_ptr(),
            steps.as_ptr(),
            sys::CUtensorMapInterleave::CU_TENSOR_MAP_INTERLEAVE_NONE,
            sys::CUtensorMapSwizzle::CU_TENSOR_MAP_SWIZZLE_128B,
            sys::CUtensorMapL2promotion::CU_TENSOR_MAP_L2_PROMOTION_L2_256B,
            sys::CUtensorMapFloatOOBfill::CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE,
        )
    };
    check(code, || format!("cuTensorMapEncodeTiled({matrix:?})"))?;
    Ok(TensorMap { words: map.opaque })
}
