//! Compiled HIP kernels, embedded as device images.
//!
//! Each image is an AMDGPU code object of version 5 for one architecture, an ELF file of machine
//! code alone: a device of another architecture has no image.

use std::io::Read;

/// The compiled kernels of one source file for one architecture.
#[derive(Clone, Copy, Debug)]
pub struct Image {
    /// The source file's name without `.hip`, which is the operator's: `"rope"`.
    pub stem: &'static str,
    /// `"gfx90a"`, `"gfx942"` or `"gfx950"`.
    pub architecture: &'static str,
    /// Bytes of the decompressed image.
    pub bytes_len: usize,
    /// The image, compressed as a zstd frame.
    pub compressed: &'static [u8],
    /// Of the decompressed image, in hexadecimal.
    pub sha256: &'static str,
}

impl Image {
    /// The image as the driver takes it: a code object.
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
