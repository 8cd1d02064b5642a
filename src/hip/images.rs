//! Which embedded image a device runs.

use crate::driver::Platform;
use crate::error::{Error, Result};
use expertile_kernels_hip::{IMAGES, PROBES};

/// The architecture in the runtime's name of it: `gfx90a` of `gfx90a:sramecc+:xnack-`.
///
/// The features behind the colon do not matter: images are built for any setting of both.
pub(super) fn architecture(name: &str) -> &str {
    name.split(':').next().unwrap_or(name)
}

/// The architecture of the images for a device, and the bytes of its last level of cache where that
/// is not the L2 that the runtime states: AMD CDNA 3 and CDNA 4 have 256 MiB of Infinity Cache
/// (AMD, "CDNA 3 Architecture", "CDNA 4 Architecture").
///
/// Machine code runs on its own architecture alone.
pub(super) fn for_architecture(architecture: &str) -> Option<(&'static str, u64)> {
    match architecture {
        "gfx90a" => Some(("gfx90a", 0)),
        "gfx942" => Some(("gfx942", 256 << 20)),
        "gfx950" => Some(("gfx950", 256 << 20)),
        _ => None,
    }
}

/// One source's image for an architecture.
pub(super) fn decompress(stem: &str, architecture: &str) -> Result<Vec<u8>> {
    let image = IMAGES
        .iter()
        .chain(PROBES)
        .find(|image| image.stem == stem && image.architecture == architecture);
    let image = image.ok_or_else(|| Error::Unavailable {
        platform: Platform::Hip,
        reason: format!("no image of {stem} for {architecture}: built without kernels"),
    })?;
    Ok(image.decompress())
}

#[cfg(test)]
mod tests {
    use super::{architecture, for_architecture};

    #[test]
    fn every_architecture_has_its_images() {
        for (name, images) in [
            ("gfx90a", Some("gfx90a")),
            ("gfx90a:sramecc+:xnack-", Some("gfx90a")),
            ("gfx90a:sramecc+:xnack+", Some("gfx90a")),
            ("gfx942:sramecc+:xnack-", Some("gfx942")),
            ("gfx950:sramecc+:xnack-", Some("gfx950")),
            ("gfx908:sramecc+:xnack-", None),
            ("gfx90c:xnack-", None),
            ("gfx1100", None),
            ("", None),
        ] {
            let found = for_architecture(architecture(name)).map(|(images, _)| images);
            assert_eq!(found, images, "{name}");
        }
    }
}
