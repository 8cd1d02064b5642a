//! Borrowed tensors: a device address with a type, extents and strides.

use crate::device::Device;
use crate::driver::Platform;
use crate::dtype::Dtype;
use crate::error::{Error, Result};
use std::marker::PhantomData;

/// The most dimensions of a tensor.
pub const MAX_RANK: usize = 4;

/// Extents or strides of up to [`MAX_RANK`] dimensions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Extents {
    values: [u64; MAX_RANK],
    rank: usize,
}

impl Extents {
    fn new(argument: &'static str, values: &[u64]) -> Result<Extents> {
        if values.len() > MAX_RANK {
            let expected = format!("at most {MAX_RANK} dimensions");
            return Err(Error::value("tensor", argument, format!("{values:?}"), expected));
        }
        let mut extents = Extents { values: [0; MAX_RANK], rank: values.len() };
        extents.values[..values.len()].copy_from_slice(values);
        Ok(extents)
    }

    /// The strides of an array without gaps, last dimension fastest.
    fn packed(&self) -> Result<Extents> {
        let mut strides = *self;
        let mut stride = 1u64;
        for dimension in (0..self.rank).rev() {
            strides.values[dimension] = stride;
            let extent = self.values[dimension].max(1);
            stride = stride.checked_mul(extent).ok_or_else(|| {
                Error::value("tensor", "shape", format!("{:?}", &**self), "less than 2^64 elements")
            })?;
        }
        Ok(strides)
    }
}

impl std::ops::Deref for Extents {
    type Target = [u64];

    fn deref(&self) -> &[u64] {
        &self.values[..self.rank]
    }
}

/// Where a tensor is and how it is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    pub(crate) address: u64,
    pub(crate) dtype: Dtype,
    pub(crate) shape: Extents,
    /// In elements.
    pub(crate) strides: Extents,
    pub(crate) device: (Platform, u32),
}

impl Layout {
    pub(crate) fn new(
        device: &Device,
        address: u64,
        dtype: Dtype,
        shape: &[u64],
        strides: Option<&[u64]>,
    ) -> Result<Layout> {
        let shape = Extents::new("shape", shape)?;
        let strides = match strides {
            Some(strides) => Extents::new("strides", strides)?,
            None => shape.packed()?,
        };
        if strides.len() != shape.len() {
            let expected = format!("one for each dimension of shape {:?}", &*shape);
            return Err(Error::value("tensor", "strides", format!("{:?}", &*strides), expected));
        }
        let layout = Layout { address, dtype, shape, strides, device: device.identity() };
        let bytes = layout.bytes()?;
        if address.checked_add(bytes).is_none() {
            let found = format!("{bytes} bytes at {address:#x}");
            return Err(Error::value("tensor", "address", found, "less than 2^64"));
        }
        Ok(layout)
    }

    /// The bytes from the first element to the end of the last; 0 without elements.
    pub(crate) fn bytes(&self) -> Result<u64> {
        if self.shape.contains(&0) {
            return Ok(0);
        }
        let last = self.shape.iter().zip(&*self.strides).try_fold(0u64, |sum, (extent, stride)| {
            sum.checked_add((extent - 1).checked_mul(*stride)?)
        });
        last.and_then(|last| last.checked_add(1)?.checked_mul(self.dtype.bytes())).ok_or_else(
            || {
                let found = format!("{:?} with strides {:?}", &*self.shape, &*self.strides);
                Error::value("tensor", "shape", found, "less than 2^64 bytes")
            },
        )
    }

    /// Whether two different indices may name one element. Strides that nest (each at least as long
    /// as what the shorter ones span) never do.
    fn overlaps(&self) -> bool {
        let mut dimensions: [(u64, u64); MAX_RANK] = [(0, 1); MAX_RANK];
        for (dimension, both) in
            dimensions.iter_mut().zip(self.strides.iter().copied().zip(self.shape.iter().copied()))
        {
            *dimension = both;
        }
        dimensions.sort_unstable();
        let mut span = 1u64;
        for (stride, extent) in dimensions {
            if extent > 1 {
                if stride < span {
                    return true;
                }
                span = span.saturating_add((extent - 1).saturating_mul(stride));
            }
        }
        false
    }

    /// The layout's part that no operator could read wrong: refuses tensors of another device.
    pub(crate) fn check_device(
        &self,
        operator: &'static str,
        argument: &'static str,
        device: (Platform, u32),
    ) -> Result<()> {
        if self.device == device {
            return Ok(());
        }
        let name = |(platform, ordinal): (Platform, u32)| format!("{platform}:{ordinal}");
        let found = format!("on {}", name(self.device));
        Err(Error::value(operator, argument, found, format!("{}, as the stream", name(device))))
    }

    pub(crate) fn check_shape(
        &self,
        operator: &'static str,
        argument: &'static str,
        expected: &[u64],
    ) -> Result<()> {
        if *self.shape == *expected {
            return Ok(());
        }
        let (found, expected) = (self.shape.to_vec(), expected.to_vec());
        Err(Error::Shape { operator, argument, found, expected })
    }

    pub(crate) fn check_dtype(
        &self,
        operator: &'static str,
        argument: &'static str,
        expected: Dtype,
    ) -> Result<()> {
        if self.dtype == expected {
            return Ok(());
        }
        Err(Error::value(operator, argument, self.dtype, expected.name()))
    }

    /// Checks what kernels that move 16 bytes, or 8 elements, at a time rely on: the address is a
    /// multiple of 16, the last dimension is dense, and the other strides are multiples of 8.
    pub(crate) fn check_vectors(
        &self,
        operator: &'static str,
        argument: &'static str,
    ) -> Result<()> {
        if !self.address.is_multiple_of(16) {
            let found = format!("at address {:#x}", self.address);
            return Err(Error::value(operator, argument, found, "a multiple of 16 bytes"));
        }
        let rank = self.shape.len();
        for (dimension, (&extent, &stride)) in self.shape.iter().zip(&*self.strides).enumerate() {
            let last = dimension + 1 == rank;
            if extent > 1 && (last && stride != 1 || !last && !stride.is_multiple_of(8)) {
                let found = format!("of strides {:?}", &*self.strides);
                let expected = "a last stride of 1 and multiples of 8 elements before it";
                return Err(Error::value(operator, argument, found, expected));
            }
        }
        Ok(())
    }

    /// Checks that there are no gaps, and that the last dimension is the fastest.
    pub(crate) fn check_dense(&self, operator: &'static str, argument: &'static str) -> Result<()> {
        self.check_no_gaps(operator, argument, 0, "dense")
    }

    /// Checks that there are no gaps in a row, whatever the distance of rows.
    pub(crate) fn check_rows(&self, operator: &'static str, argument: &'static str) -> Result<()> {
        self.check_no_gaps(operator, argument, 1, "of dense rows")
    }

    /// The address, and the dimensions from `first` on.
    fn check_no_gaps(
        &self,
        operator: &'static str,
        argument: &'static str,
        first: usize,
        expected: &'static str,
    ) -> Result<()> {
        let bytes = self.dtype.bytes();
        if !self.address.is_multiple_of(bytes) {
            let found = format!("at address {:#x}", self.address);
            return Err(Error::value(operator, argument, found, format!("a multiple of {bytes}")));
        }
        let mut span = 1u64;
        for (&extent, &stride) in self.shape.iter().zip(&*self.strides).skip(first).rev() {
            if extent > 1 && stride != span && !self.shape.contains(&0) {
                let found = format!("of strides {:?}", &*self.strides);
                return Err(Error::value(operator, argument, found, expected));
            }
            span = span.saturating_mul(extent);
        }
        Ok(())
    }
}

/// Device memory that an operator reads.
#[derive(Clone, Copy, Debug)]
pub struct Tensor<'a> {
    pub(crate) layout: Layout,
    borrow: PhantomData<&'a [u8]>,
}

/// Device memory that an operator writes; no two of its indices name the same element.
#[derive(Debug)]
pub struct TensorMut<'a> {
    pub(crate) layout: Layout,
    borrow: PhantomData<&'a mut [u8]>,
}

impl<'a> Tensor<'a> {
    /// Borrows memory that someone else owns. Strides count elements; without them the array is
    /// dense.
    ///
    /// # Errors
    ///
    /// `Value` if the extents pass 2^64 or do not fit together.
    ///
    /// # Safety
    ///
    /// The extents must lie within memory of `device` that stays allocated until every operator that
    /// was given this tensor is done on the device: launches are asynchronous, so that may be later
    /// than the end of `'a`. Nothing may write it meanwhile that the stream does not order.
    pub unsafe fn from_raw(
        device: &Device,
        address: u64,
        dtype: Dtype,
        shape: &[u64],
        strides: Option<&[u64]>,
    ) -> Result<Tensor<'a>> {
        Ok(Tensor::new(Layout::new(device, address, dtype, shape, strides)?))
    }

    pub(crate) fn new(layout: Layout) -> Tensor<'a> {
        Tensor { layout, borrow: PhantomData }
    }

    /// Its extents.
    pub fn shape(&self) -> &[u64] {
        &self.layout.shape
    }

    /// The type of its elements.
    pub fn dtype(&self) -> Dtype {
        self.layout.dtype
    }
}

impl<'a> TensorMut<'a> {
    /// Borrows memory that someone else owns. Strides count elements; without them the array is
    /// dense.
    ///
    /// # Errors
    ///
    /// `Value` if the extents pass 2^64, do not fit together, or overlap.
    ///
    /// # Safety
    ///
    /// As [`Tensor::from_raw`]; further, nothing else may read or write the memory until then
    /// unless the stream orders it.
    pub unsafe fn from_raw(
        device: &Device,
        address: u64,
        dtype: Dtype,
        shape: &[u64],
        strides: Option<&[u64]>,
    ) -> Result<TensorMut<'a>> {
        TensorMut::new(Layout::new(device, address, dtype, shape, strides)?)
    }

    pub(crate) fn new(layout: Layout) -> Result<TensorMut<'a>> {
        if layout.overlaps() {
            let found = format!("{:?} with shape {:?}", &*layout.strides, &*layout.shape);
            return Err(Error::value("tensor", "strides", found, "rows that do not overlap"));
        }
        Ok(TensorMut { layout, borrow: PhantomData })
    }

    /// Its extents.
    pub fn shape(&self) -> &[u64] {
        &self.layout.shape
    }

    /// The type of its elements.
    pub fn dtype(&self) -> Dtype {
        self.layout.dtype
    }

    /// The same memory for a shorter time.
    pub fn reborrow(&mut self) -> TensorMut<'_> {
        TensorMut { layout: self.layout, borrow: PhantomData }
    }
}
