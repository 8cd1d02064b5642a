//! The embedded images of both platforms.

/// One of them, wherever it runs.
#[derive(Clone, Copy)]
pub struct Embedded {
    /// The operator.
    pub stem: &'static str,
    pub architecture: &'static str,
    pub sha256: &'static str,
    image: Image,
}

#[derive(Clone, Copy)]
enum Image {
    Cuda(&'static expertile_kernels_cuda::Image),
    Hip(&'static expertile_kernels_hip::Image),
}

/// Every image, CUDA's first.
pub fn embedded() -> Vec<Embedded> {
    let cuda = expertile_kernels_cuda::IMAGES.iter().map(|image| {
        let &expertile_kernels_cuda::Image { stem, architecture, sha256, .. } = image;
        Embedded { stem, architecture, sha256, image: Image::Cuda(image) }
    });
    let hip = expertile_kernels_hip::IMAGES.iter().map(|image| {
        let &expertile_kernels_hip::Image { stem, architecture, sha256, .. } = image;
        Embedded { stem, architecture, sha256, image: Image::Hip(image) }
    });
    cuda.chain(hip).collect()
}

impl Embedded {
    /// As it is embedded.
    pub fn compressed(&self) -> &'static [u8] {
        match self.image {
            Image::Cuda(image) => image.compressed,
            Image::Hip(image) => image.compressed,
        }
    }

    /// The dtypes of its entries; `rope_bf16_interleaved` is one of bf16.
    pub fn dtypes(&self) -> Vec<String> {
        // Entries are named in the PTX, and by the symbols of kernel descriptors.
        let (bytes, before, behind) = match self.image {
            Image::Cuda(image) => (image.decompress(), ".entry ", "("),
            Image::Hip(image) => (image.decompress(), "\0", ".kd\0"),
        };
        let text = String::from_utf8_lossy(&bytes);
        // `linear_bf16_nt_sm80` is of `linear_sm80`.
        let operator = self.stem.split("_sm").next().unwrap_or(self.stem);
        let before = format!("{before}{operator}_");
        let mut dtypes = Vec::new();
        for (at, _) in text.match_indices(&before) {
            let rest = &text[at + before.len()..];
            let name = rest.find(behind).map_or("", |end| &rest[..end]);
            // Other symbols begin so too: from one of those the text runs on past a name.
            let is_name = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
            let dtype = name.split('_').next().unwrap_or_default().to_owned();
            if is_name && !dtype.is_empty() && !dtypes.contains(&dtype) {
                dtypes.push(dtype);
            }
        }
        dtypes
    }
}
