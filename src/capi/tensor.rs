use super::status::Failure;
use crate::device::Device;
use crate::dtype::Dtype;
use crate::tensor::{Tensor, TensorMut};
use std::ffi::c_void;

/// 8 bits of exponent, 7 of fraction.
pub const EXPERTILE_BF16: i32 = 1;
/// IEEE binary16.
pub const EXPERTILE_F16: i32 = 2;
/// IEEE binary32.
pub const EXPERTILE_F32: i32 = 3;
/// Signed 32-bit integer.
pub const EXPERTILE_I32: i32 = 4;
/// Signed 64-bit integer.
pub const EXPERTILE_I64: i32 = 5;

/// The dimensions that a tensor has room for. Operators take up to 4 today.
pub const EXPERTILE_MAX_RANK: usize = 6;

/// Device memory that an operator reads or writes. It belongs to the caller.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct expertile_tensor {
    /// the address of the first element; may be null if there are no elements
    pub data: *mut c_void,
    /// EXPERTILE_BF16, ...
    pub dtype: i32,
    /// the dimensions; what follows in `shape` and `strides` is not looked at
    pub rank: u32,
    /// the extents
    pub shape: [i64; EXPERTILE_MAX_RANK],
    /// elements from one index to the next; all 0: dense, the last dimension fastest
    pub strides: [i64; EXPERTILE_MAX_RANK],
}

/// Whether the memory will be used, or only its extents are asked about.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Data {
    Used,
    Ignored,
}

/// Where a tensor belongs.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) call: &'static str,
    pub(super) device: &'a Device,
    pub(super) data: Data,
}

/// A tensor's parts, in the crate's types.
struct Parts {
    address: u64,
    dtype: Dtype,
    shape: [u64; EXPERTILE_MAX_RANK],
    strides: Option<[u64; EXPERTILE_MAX_RANK]>,
    rank: usize,
}

impl Parts {
    fn shape(&self) -> &[u64] {
        &self.shape[..self.rank]
    }

    fn strides(&self) -> Option<&[u64]> {
        self.strides.as_ref().map(|strides| &strides[..self.rank])
    }
}

impl Place<'_> {
    fn parts(self, argument: &'static str, tensor: &expertile_tensor) -> Result<Parts, Failure> {
        let value = |found: String, expected: &str| {
            Err(Failure::value(self.call, argument, found, expected))
        };
        let dtype = match tensor.dtype {
            EXPERTILE_BF16 => Dtype::Bf16,
            EXPERTILE_F16 => Dtype::F16,
            EXPERTILE_F32 => Dtype::F32,
            EXPERTILE_I32 => Dtype::I32,
            EXPERTILE_I64 => Dtype::I64,
            other => return value(format!("of dtype {other}"), "1 to 5"),
        };
        let rank = tensor.rank as usize;
        if rank > EXPERTILE_MAX_RANK {
            return value(format!("of rank {rank}"), "at most 6");
        }
        let unsigned = |values: &[i64; EXPERTILE_MAX_RANK]| {
            let mut converted = [0; EXPERTILE_MAX_RANK];
            for (to, from) in converted.iter_mut().zip(&values[..rank]) {
                *to = u64::try_from(*from).ok()?;
            }
            Some(converted)
        };
        let Some(shape) = unsigned(&tensor.shape) else {
            return value(format!("of shape {:?}", &tensor.shape[..rank]), "no negative extent");
        };
        let Some(strides) = unsigned(&tensor.strides) else {
            let found = format!("of strides {:?}", &tensor.strides[..rank]);
            return value(found, "no negative stride");
        };
        let address = match self.data {
            Data::Used => tensor.data.addr() as u64,
            Data::Ignored => 0,
        };
        let empty = shape[..rank].contains(&0);
        if self.data == Data::Used && address == 0 && !empty {
            return Err(Failure::Null { call: self.call, argument });
        }
        let strides = Some(strides).filter(|strides| strides[..rank].iter().any(|&one| one != 0));
        Ok(Parts { address, dtype, shape, strides, rank })
    }

    /// # Safety
    ///
    /// As [`Tensor::from_raw`], unless the data is ignored and the result given to no operator.
    pub(super) unsafe fn tensor<'t>(
        self,
        argument: &'static str,
        tensor: &expertile_tensor,
    ) -> Result<Tensor<'t>, Failure> {
        let parts = self.parts(argument, tensor)?;
        let (shape, strides) = (parts.shape(), parts.strides());
        // SAFETY: the caller's contract is the same.
        unsafe { Tensor::from_raw(self.device, parts.address, parts.dtype, shape, strides) }
            .map_err(|error| Failure::Tensor { call: self.call, argument, error })
    }

    /// # Safety
    ///
    /// As [`TensorMut::from_raw`], unless the data is ignored and the result given to no operator.
    pub(super) unsafe fn tensor_mut<'t>(
        self,
        argument: &'static str,
        tensor: &expertile_tensor,
    ) -> Result<TensorMut<'t>, Failure> {
        let parts = self.parts(argument, tensor)?;
        let (shape, strides) = (parts.shape(), parts.strides());
        // SAFETY: the caller's contract is the same.
        unsafe { TensorMut::from_raw(self.device, parts.address, parts.dtype, shape, strides) }
            .map_err(|error| Failure::Tensor { call: self.call, argument, error })
    }

    /// A tensor that may be absent: all zero.
    ///
    /// # Safety
    ///
    /// As [`Place::tensor`].
    pub(super) unsafe fn optional<'t>(
        self,
        argument: &'static str,
        tensor: &expertile_tensor,
    ) -> Result<Option<Tensor<'t>>, Failure> {
        if is_absent(tensor) {
            return Ok(None);
        }
        // SAFETY: the caller's contract is the same.
        unsafe { self.tensor(argument, tensor) }.map(Some)
    }

    /// # Safety
    ///
    /// As [`Place::tensor_mut`].
    pub(super) unsafe fn optional_mut<'t>(
        self,
        argument: &'static str,
        tensor: &expertile_tensor,
    ) -> Result<Option<TensorMut<'t>>, Failure> {
        if is_absent(tensor) {
            return Ok(None);
        }
        // SAFETY: the caller's contract is the same.
        unsafe { self.tensor_mut(argument, tensor) }.map(Some)
    }

    /// Refuses a tensor that the chosen mode does not use.
    pub(super) fn absent(
        self,
        argument: &'static str,
        tensor: &expertile_tensor,
    ) -> Result<(), Failure> {
        if is_absent(tensor) {
            return Ok(());
        }
        let found = format!("{:?} of rank {}", tensor.data, tensor.rank);
        Err(Failure::value(self.call, argument, found, "all zero, since nothing uses it"))
    }
}

pub(super) fn is_absent(tensor: &expertile_tensor) -> bool {
    tensor.data.is_null() && tensor.rank == 0 && tensor.dtype == 0
}
