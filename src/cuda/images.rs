//! Which embedded image a device runs.

use crate::driver::Platform;
use crate::error::{Error, Result};
use expertile_kernels_cuda::{IMAGES, PROBES};

/// The architecture of the images for a device of compute capability `major.minor`.
///
/// Machine code runs on later minor versions of its major version; `sm_90a` runs on 9.0 alone.
/// Everything later takes the PTX.
pub(super) fn for_capability(major: u32, minor: u32) -> Option<&'static str> {
    match (major, minor) {
        (..8, _) => None,
        (8, 9) => Some("sm_89"),
        (8, _) => Some("sm_80"),
        (9, 0) => Some("sm_90a"),
        _ => Some("compute_80"),
    }
}

/// One source's image for an architecture.
pub(super) fn decompress(stem: &str, architecture: &str) -> Result<Vec<u8>> {
    let unavailable = |reason| Error::Unavailable { platform: Platform::Cuda, reason };
    let image = IMAGES
        .iter()
        .chain(PROBES)
        .find(|image| image.stem == stem && image.architecture == architecture);
    let image = image.ok_or_else(|| {
        unavailable(format!("no image of {stem} for {architecture}: built without kernels"))
    })?;
    Ok(image.decompress())
}

#[cfg(test)]
mod tests {
    use super::for_capability;

    #[test]
    fn every_capability_has_its_images() {
        assert_eq!(for_capability(7, 5), None);
        assert_eq!(for_capability(8, 0), Some("sm_80"));
        assert_eq!(for_capability(8, 6), Some("sm_80"));
        assert_eq!(for_capability(8, 9), Some("sm_89"));
        assert_eq!(for_capability(9, 0), Some("sm_90a"));
        assert_eq!(for_capability(9, 1), Some("compute_80"));
        assert_eq!(for_capability(10, 0), Some("compute_80"));
        assert_eq!(for_capability(12, 0), Some("compute_80"));
    }
}
