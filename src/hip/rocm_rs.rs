//! Streams and memory of the crate rocm-rs.
//!
//! That crate links ROCm's libraries: a binary which uses it does not start where they are missing.
//! Handles are passed on as numbers and nothing of it is called here.

use crate::buffer;
use crate::device::Device;
use crate::driver::Platform;
use crate::dtype::Element;
use crate::error::{Error, Result};
use crate::stream::Stream;
use crate::tensor::{Layout, Tensor, TensorMut};
use ::rocm_rs::hip::{self, DeviceMemory};

fn check_platform(argument: &'static str, device: &Device) -> Result<()> {
    if device.info().platform != Platform::Hip {
        return Err(Error::value("rocm_rs", argument, device, "a HIP device"));
    }
    Ok(())
}

/// A view of all of the memory's elements or the first of them.
fn layout<T: Element>(
    device: &Device,
    memory: &DeviceMemory<T>,
    shape: &[u64],
    strides: Option<&[u64]>,
) -> Result<Layout> {
    check_platform("memory", device)?;
    let address = memory.as_ptr() as u64;
    buffer::view(device, address, T::DTYPE, memory.count() as u64, shape, strides, 0)
}

impl Stream {
    /// Borrows a stream of the crate rocm-rs, which keeps it. Feature `rocm-rs`.
    ///
    /// # Errors
    ///
    /// `Value` if the stream belongs to another device, or the device is not a HIP one; `Driver`.
    ///
    /// # Safety
    ///
    /// `stream` and the clones of it, of which the first that is dropped destroys them all, must
    /// outlive the `Stream`.
    pub unsafe fn from_rocm_rs(device: &Device, stream: &hip::Stream) -> Result<Stream> {
        check_platform("stream", device)?;
        // SAFETY: a stream of the HIP runtime that, as the caller vouches, outlives the `Stream`.
        unsafe { Stream::borrow(device, stream.as_raw() as u64) }
    }
}

impl<'a> Tensor<'a> {
    /// Borrows memory of the crate rocm-rs, of which it may take fewer elements than there are.
    /// Strides count elements; without them the array is dense. Feature `rocm-rs`.
    ///
    /// # Errors
    ///
    /// `Value` if the extents do not fit into the memory, or the device is not a HIP one.
    ///
    /// # Safety
    ///
    /// `memory` must be memory of `device` that stays allocated until every operator that was given
    /// this tensor is done on the device: launches are asynchronous, so that may be later than the
    /// end of `'a`. Nothing may write it meanwhile that the stream does not order.
    pub unsafe fn from_rocm_rs<T: Element>(
        device: &Device,
        memory: &'a DeviceMemory<T>,
        shape: &[u64],
        strides: Option<&[u64]>,
    ) -> Result<Tensor<'a>> {
        Ok(Tensor::new(layout(device, memory, shape, strides)?))
    }
}

impl<'a> TensorMut<'a> {
    /// Borrows memory of the crate rocm-rs, of which it may take fewer elements than there are.
    /// Strides count elements; without them the array is dense. Feature `rocm-rs`.
    ///
    /// # Errors
    ///
    /// `Value` if the extents do not fit into the memory or overlap, or the device is not a HIP one.
    ///
    /// # Safety
    ///
    /// As [`Tensor::from_rocm_rs`]; further, nothing else may read or write the memory until then
    /// unless the stream orders it.
    pub unsafe fn from_rocm_rs<T: Element>(
        device: &Device,
        memory: &'a mut DeviceMemory<T>,
        shape: &[u64],
        strides: Option<&[u64]>,
    ) -> Result<TensorMut<'a>> {
        TensorMut::new(layout(device, memory, shape, strides)?)
    }
}
