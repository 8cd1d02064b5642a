//! Device memory that this crate allocates.

use crate::device::Device;
use crate::dtype::{Dtype, Element};
use crate::error::{Error, Result};
use crate::stream::Stream;
use crate::tensor::{Layout, Tensor, TensorMut};

/// A view of `elements` elements at `address`, into which it must fit; strides and offset count
/// elements.
pub(crate) fn view(
    device: &Device,
    address: u64,
    dtype: Dtype,
    elements: u64,
    shape: &[u64],
    strides: Option<&[u64]>,
    offset: u64,
) -> Result<Layout> {
    let first = offset
        .checked_mul(dtype.bytes())
        .and_then(|offset| offset.checked_add(address))
        .ok_or_else(|| Error::value("buffer", "offset", offset, "less than 2^64 bytes"))?;
    let layout = Layout::new(device, first, dtype, shape, strides)?;
    let (bytes, skipped) = (elements * dtype.bytes(), first - address);
    if skipped > bytes || layout.bytes()? > bytes - skipped {
        let found = format!("{shape:?} with strides {strides:?} at offset {offset}");
        return Err(Error::value("buffer", "shape", found, format!("within {elements} elements")));
    }
    Ok(layout)
}

/// Waits for a copy to or from the host; an error comes with whether the copy is over all the same.
fn settle(stream: &Stream) -> Result<(), (Error, bool)> {
    // A wait that failed may not have waited: the memory is the host's after one that did.
    stream.synchronize().map_err(|error| (error, stream.synchronize().is_ok()))
}

/// Owned device memory of one element type.
///
/// For tests, tools and engines without an allocator of their own: operators never allocate.
/// Dropping it waits for the device, so that no kernel is left that uses it.
#[derive(Debug)]
pub struct Buffer {
    device: Device,
    address: u64,
    dtype: Dtype,
    elements: u64,
}

impl Buffer {
    /// Allocates; the contents are undefined.
    ///
    /// # Errors
    ///
    /// `Value` if the size passes 2^64 bytes, `Driver` if the device has no room.
    pub fn new(device: &Device, dtype: Dtype, elements: u64) -> Result<Buffer> {
        let bytes = elements
            .checked_mul(dtype.bytes())
            .ok_or_else(|| Error::value("buffer", "elements", elements, "less than 2^64 bytes"))?;
        // Drivers refuse a size of 0.
        let address = device.driver().allocate(bytes.max(1))?;
        Ok(Buffer { device: device.clone(), address, dtype, elements })
    }

    /// Allocates and copies; returns when the copy is done.
    ///
    /// # Errors
    ///
    /// `Driver` if the device has no room.
    pub fn from_slice<T: Element>(stream: &Stream, values: &[T]) -> Result<Buffer> {
        let mut buffer = Buffer::new(stream.device(), T::DTYPE, values.len() as u64)?;
        buffer.write(stream, values)?;
        Ok(buffer)
    }

    /// Its device.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// The type of its elements.
    pub fn dtype(&self) -> Dtype {
        self.dtype
    }

    /// Its elements.
    pub fn elements(&self) -> u64 {
        self.elements
    }

    /// The device address of its first element.
    pub fn address(&self) -> u64 {
        self.address
    }

    fn check_stream(&self, stream: &Stream) -> Result<()> {
        if stream.device().identity() != self.device.identity() {
            let (found, expected) = (stream.device().to_string(), self.device.to_string());
            return Err(Error::value("buffer", "stream", found, expected));
        }
        Ok(())
    }

    fn check<T: Element>(&self, stream: &Stream, elements: usize) -> Result<()> {
        self.check_stream(stream)?;
        if T::DTYPE != self.dtype {
            return Err(Error::value("buffer", "dtype", T::DTYPE, self.dtype.name()));
        }
        if elements as u64 != self.elements {
            return Err(Error::Shape {
                operator: "buffer",
                argument: "values",
                found: vec![elements as u64],
                expected: vec![self.elements],
            });
        }
        Ok(())
    }

    /// Replaces the contents after what `stream` does now; returns when it is done.
    ///
    /// # Errors
    ///
    /// `Value` or `Shape` if type, length or device differ, `Driver`.
    pub fn write<T: Element>(&mut self, stream: &Stream, values: &[T]) -> Result<()> {
        self.check::<T>(stream, values.len())?;
        if values.is_empty() {
            return Ok(());
        }
        let bytes = self.elements * self.dtype.bytes();
        // SAFETY: the buffer holds `bytes` bytes, as many as `values`, both borrowed until the call
        // returns, which is when the copy is done.
        unsafe {
            let from = values.as_ptr().cast();
            self.device.driver().copy_to_device(self.address, from, bytes, stream.raw())?;
        }
        settle(stream).map_err(|(error, _)| error)
    }

    /// Sets each byte, in stream order.
    ///
    /// # Errors
    ///
    /// `Value` if the stream is another device's, `Driver`.
    pub fn fill_bytes(&mut self, stream: &Stream, value: u8) -> Result<()> {
        self.check_stream(stream)?;
        let bytes = self.elements * self.dtype.bytes();
        if bytes == 0 {
            return Ok(());
        }
        // SAFETY: the buffer holds `bytes` bytes and is borrowed mutably; it is freed after the
        // device is idle.
        unsafe { self.device.driver().fill(self.address, value, bytes, stream.raw()) }
    }

    /// Copies another buffer's contents, in stream order.
    ///
    /// # Errors
    ///
    /// `Value` or `Shape` if type, length or device differ, `Driver`.
    pub fn copy_from(&mut self, stream: &Stream, from: &Buffer) -> Result<()> {
        let places = [&*self, from].map(|buffer| buffer.device.identity());
        if places != [stream.device().identity(); 2] {
            let found = format!("{} and {}", self.device, from.device);
            return Err(Error::value("buffer", "device", found, stream.device().to_string()));
        }
        if from.dtype != self.dtype {
            return Err(Error::value("buffer", "dtype", from.dtype, self.dtype.name()));
        }
        if from.elements != self.elements {
            return Err(Error::Shape {
                operator: "buffer",
                argument: "from",
                found: vec![from.elements],
                expected: vec![self.elements],
            });
        }
        let bytes = self.elements * self.dtype.bytes();
        if bytes == 0 {
            return Ok(());
        }
        // SAFETY: both hold `bytes` bytes and are two allocations; both are freed after the device is
        // idle.
        unsafe { self.device.driver().copy(self.address, from.address, bytes, stream.raw()) }
    }

    /// The contents after what `stream` does now.
    ///
    /// # Errors
    ///
    /// `Value` if the type or device differs, `Driver`; `DeviceLost` also for an earlier kernel's fault.
    pub fn read<T: Element>(&self, stream: &Stream) -> Result<Vec<T>> {
        self.check::<T>(stream, self.elements as usize)?;
        let mut values = Vec::<T>::with_capacity(self.elements as usize);
        if self.elements > 0 {
            let bytes = self.elements * self.dtype.bytes();
            // SAFETY: the vector has room for `bytes` bytes and the buffer holds as many; both live
            // until the copy is done.
            unsafe {
                let to = values.as_mut_ptr().cast();
                self.device.driver().copy_from_device(to, self.address, bytes, stream.raw())?;
            }
            if let Err((error, settled)) = settle(stream) {
                if !settled {
                    std::mem::forget(values);
                }
                return Err(error);
            }
            // SAFETY: as many elements were copied, and every bit pattern is a `T`.
            unsafe { values.set_len(self.elements as usize) };
        }
        Ok(values)
    }

    fn layout(&self, shape: &[u64], strides: Option<&[u64]>, offset: u64) -> Result<Layout> {
        let Buffer { device, address, dtype, elements } = self;
        view(device, *address, *dtype, *elements, shape, strides, offset)
    }

    /// A dense view from the first element.
    ///
    /// # Errors
    ///
    /// `Value` if it does not fit.
    pub fn tensor(&self, shape: &[u64]) -> Result<Tensor<'_>> {
        Ok(Tensor::new(self.layout(shape, None, 0)?))
    }

    /// A view; strides and offset count elements.
    ///
    /// # Errors
    ///
    /// `Value` if it does not fit.
    pub fn strided(&self, shape: &[u64], strides: &[u64], offset: u64) -> Result<Tensor<'_>> {
        Ok(Tensor::new(self.layout(shape, Some(strides), offset)?))
    }

    /// A dense view from the first element, to be written.
    ///
    /// # Errors
    ///
    /// `Value` if it does not fit.
    pub fn tensor_mut(&mut self, shape: &[u64]) -> Result<TensorMut<'_>> {
        TensorMut::new(self.layout(shape, None, 0)?)
    }

    /// A view to be written; strides and offset count elements.
    ///
    /// # Errors
    ///
    /// `Value` if it does not fit or its rows overlap.
    pub fn strided_mut(
        &mut self,
        shape: &[u64],
        strides: &[u64],
        offset: u64,
    ) -> Result<TensorMut<'_>> {
        TensorMut::new(self.layout(shape, Some(strides), offset)?)
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        // SAFETY: the address came from `allocate`, and no tensor outlives the buffer. Launches that
        // were given it are done when the driver frees it, since its free waits for the device.
        let freed = unsafe { crate::graph::free(&self.device, self.address) };
        // A fault of an earlier kernel may come back here; the calls that read results return it.
        drop(freed);
    }
}
