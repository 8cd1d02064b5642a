//! Compiled CUDA kernels, embedded as device images.
//!
//! Each image is a fatbin for one architecture: machine code, and the PTX it was assembled from.
//! That of `compute_80` holds PTX alone, for architectures that have no image of their own.
//! The images need a driver of release 580 or later.

use std::io::Read;

/// The compiled kernels of one source file for one architecture.
#[derive(Clone, Copy, Debug)]
pub struct Image {
    /// The source file's name without `.cu`, which is the operator's: `"rope"`.
    pub stem: &'static str,
    /// `"sm_80"`, `"sm_89"`, `"sm_90a"` or `"compute_80"`.
    pub architecture: &'static str,
    /// Bytes of the decompressed image.
    pub bytes_len: usize,
    /// The image, compressed as a zstd frame.
    pub compressed: &'static [u8],
    /// Of the decompressed image, in hexadecimal.
    pub sha256: &'static str,
}

impl Image {
    /// The image as the driver takes it: a fatbin.
    pub fn decompress(&self) -> Vec<u8> {
        let mut image = Vec::with_capacity(self.bytes_len);
        let mut decoder = ruzstd::decoding::StreamingDecoder::new(self.compressed)
            .expect("an embedded image is a zstd frame");
        decoder.read_to_end(&mut image).expect("an embedded image decompresses");
        image
    }
}

// `IMAGES`, `PROBES` and `MANIFEST`.
include!(concat!(env!("OUT_DIR"), "/images.rs"));

/// Sine and cosine of an angle as `sincos.h` gives them on the host.
#[cfg(feature = "probes")]
pub fn host_sincos(angle: f32) -> (f32, f32) {
    unsafe extern "C" {
        fn expertile_host_sincos(angle: f32, sine: *mut f32, cosine: *mut f32);
    }
    let (mut sine, mut cosine) = (0.0, 0.0);
    // SAFETY: the function of probes/sincos.c, which writes the two floats.
    unsafe { expertile_host_sincos(angle, &mut sine, &mut cosine) };
    (sine, cosine)
}
