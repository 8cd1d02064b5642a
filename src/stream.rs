//! Queues of device work, owned or borrowed from an engine.

use crate::device::Device;
use crate::driver::{Geometry, RawEvent, RawStream};
use crate::error::{Error, Result};

/// A queue of work of one device; operators submit to it and return at once.
#[derive(Debug)]
pub struct Stream {
    device: Device,
    raw: RawStream,
    owned: bool,
}

impl Stream {
    pub(crate) fn create(device: &Device) -> Result<Stream> {
        let raw = device.driver().create_stream()?;
        Ok(Stream { device: device.clone(), raw, owned: true })
    }

    /// Borrows an engine's stream: a `CUstream` (or `cudaStream_t`) or a `hipStream_t` as a number; 0
    /// is the legacy default stream. It is never destroyed here.
    ///
    /// # Errors
    ///
    /// `Value` if the stream belongs to another device, or in CUDA to another context than the device's
    /// primary one, or is none that HIP knows; `Driver`.
    ///
    /// # Safety
    ///
    /// `raw` must be a stream of this device's driver that outlives the `Stream`.
    pub unsafe fn borrow(device: &Device, raw: u64) -> Result<Stream> {
        // SAFETY: the caller vouches for the stream.
        unsafe { device.driver().check_stream(raw)? };
        Ok(Stream { device: device.clone(), raw, owned: false })
    }

    /// Its device.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// The driver's handle, as a number.
    pub fn raw(&self) -> u64 {
        self.raw
    }

    /// Waits until all of its work is done.
    ///
    /// # Errors
    ///
    /// `Driver`; `DeviceLost` also for a fault of a kernel.
    pub fn synchronize(&self) -> Result<()> {
        // SAFETY: the stream lives as long as `self`.
        unsafe { self.device.driver().synchronize(self.raw) }
    }

    /// Makes later work here wait for what was recorded in `event`.
    ///
    /// # Errors
    ///
    /// `Driver`.
    pub fn wait(&self, event: &Event) -> Result<()> {
        // SAFETY: both live for the call; the driver keeps what a submitted wait needs.
        unsafe { self.device.driver().wait(self.raw, event.raw) }
    }

    /// Launches a kernel by its entry name.
    ///
    /// # Safety
    ///
    /// `params` is the params struct of `entry`; what it points to is valid for what the kernel does
    /// with it, for as long as the stream may run it.
    pub(crate) unsafe fn launch<P: Copy>(
        &self,
        entry: &'static str,
        geometry: &Geometry,
        params: &P,
    ) -> Result<()> {
        let driver = self.device.driver();
        let kernel = driver.kernel(entry)?;
        // SAFETY: passed on to the caller; the driver copies `params` before it returns.
        unsafe { driver.launch(kernel, geometry, (&raw const *params).cast(), self.raw) }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        if self.owned {
            // SAFETY: it came from `create_stream` and ends here; work already submitted goes on.
            let destroyed = unsafe { self.device.driver().destroy_stream(self.raw) };
            drop(destroyed);
        }
    }
}

/// A point in a stream's work.
#[derive(Debug)]
pub struct Event {
    device: Device,
    raw: RawEvent,
}

impl Event {
    /// A new event, not yet recorded.
    ///
    /// # Errors
    ///
    /// `Driver`.
    pub fn new(device: &Device) -> Result<Event> {
        Ok(Event { device: device.clone(), raw: device.driver().create_event()? })
    }

    /// Marks the point behind all work that `stream` has now.
    ///
    /// # Errors
    ///
    /// `Value` if the stream is another device's, `Driver`.
    pub fn record(&self, stream: &Stream) -> Result<()> {
        if stream.device().identity() != self.device.identity() {
            let (found, expected) = (stream.device().to_string(), self.device.to_string());
            return Err(Error::value("event", "stream", found, expected));
        }
        // SAFETY: both live for the call.
        unsafe { self.device.driver().record(self.raw, stream.raw()) }
    }

    /// Waits for `end` and returns the milliseconds between the two.
    ///
    /// # Errors
    ///
    /// `Driver`, also if one of the two was not recorded.
    pub fn elapsed_ms(&self, end: &Event) -> Result<f32> {
        // SAFETY: both live for the call; the driver reports those not recorded.
        unsafe { self.device.driver().elapsed_ms(self.raw, end.raw) }
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        // SAFETY: it came from `create_event` and ends here.
        let destroyed = unsafe { self.device.driver().destroy_event(self.raw) };
        drop(destroyed);
    }
}
