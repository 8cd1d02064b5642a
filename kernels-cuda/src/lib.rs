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

// `IMAGES` and `MANIFEST`.
include!(concat!(env!("OUT_DIR"), "/images.rs"));
