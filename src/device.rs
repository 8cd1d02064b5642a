//! Devices, found at run time.

use crate::driver::{DeviceInfo, Driver, Platform};
#[cfg(not(all(feature = "cuda", feature = "hip")))]
use crate::error::Error;
use crate::error::Result;
use crate::stream::Stream;
use std::fmt;
use std::sync::Arc;

/// One device, opened: its kernels are loaded. Clones are the same device.
#[derive(Clone)]
pub struct Device {
    driver: Arc<dyn Driver>,
}

impl Device {
    /// Opens an NVIDIA device in its primary context, which the CUDA runtime and PyTorch use too,
    /// and loads the embedded kernels.
    ///
    /// # Errors
    ///
    /// `Unavailable` if there is no driver, no such device, or no image for it; `Driver`.
    #[cfg(feature = "cuda")]
    pub fn cuda(ordinal: u32) -> Result<Device> {
        Ok(Device { driver: Arc::new(crate::cuda::Cuda::open(ordinal)?) })
    }

    /// The NVIDIA devices of this machine.
    ///
    /// # Errors
    ///
    /// `Unavailable` if there is no driver, with what is missing; `Driver`.
    #[cfg(feature = "cuda")]
    pub fn cuda_count() -> Result<u32> {
        crate::cuda::Cuda::count()
    }

    /// Opens an AMD device and loads the embedded kernels.
    ///
    /// # Errors
    ///
    /// `Unavailable` if there is no runtime, no such device, or no image for it; `Driver`.
    #[cfg(feature = "hip")]
    pub fn hip(ordinal: u32) -> Result<Device> {
        Ok(Device { driver: Arc::new(crate::hip::Hip::open(ordinal)?) })
    }

    /// The AMD devices of this machine.
    ///
    /// # Errors
    ///
    /// `Unavailable` if there is no runtime, with every library that was tried; `Driver`.
    #[cfg(feature = "hip")]
    pub fn hip_count() -> Result<u32> {
        crate::hip::Hip::count()
    }

    /// Opens a device of a platform.
    ///
    /// # Errors
    ///
    /// `Unavailable` if this build lacks the platform's feature, and as the platform's own call.
    pub fn open(platform: Platform, ordinal: u32) -> Result<Device> {
        match platform {
            #[cfg(feature = "cuda")]
            Platform::Cuda => Device::cuda(ordinal),
            #[cfg(feature = "hip")]
            Platform::Hip => Device::hip(ordinal),
            #[cfg(not(all(feature = "cuda", feature = "hip")))]
            _ => Err(not_built(platform)),
        }
    }

    /// The devices of a platform on this machine.
    ///
    /// # Errors
    ///
    /// `Unavailable` if this build lacks the platform's feature, and as the platform's own call.
    pub fn count(platform: Platform) -> Result<u32> {
        match platform {
            #[cfg(feature = "cuda")]
            Platform::Cuda => Device::cuda_count(),
            #[cfg(feature = "hip")]
            Platform::Hip => Device::hip_count(),
            #[cfg(not(all(feature = "cuda", feature = "hip")))]
            _ => Err(not_built(platform)),
        }
    }

    /// What it is.
    pub fn info(&self) -> &DeviceInfo {
        self.driver.info()
    }

    /// A new stream that does not wait for the default stream.
    ///
    /// # Errors
    ///
    /// `Driver`.
    pub fn stream(&self) -> Result<Stream> {
        Stream::create(self)
    }

    pub(crate) fn driver(&self) -> &dyn Driver {
        &*self.driver
    }

    pub(crate) fn identity(&self) -> (Platform, u32) {
        (self.info().platform, self.info().ordinal)
    }
}

#[cfg(not(all(feature = "cuda", feature = "hip")))]
fn not_built(platform: Platform) -> Error {
    Error::Unavailable { platform, reason: format!("built without feature `{platform}`") }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let info = self.info();
        write!(f, "{}:{} ({}, {})", info.platform, info.ordinal, info.name, info.architecture)
    }
}

impl fmt::Debug for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
