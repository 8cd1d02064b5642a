//! Hashes of the sources and images, and the images that a published package carries.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::Path;

use sha2::{Digest, Sha256};

use crate::jobs::Built;

/// A kernel source or header of this package.
pub(crate) struct Source {
    pub(crate) name: String,
    pub(crate) sha256: String,
}

/// In hexadecimal.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Every kernel and header of the package, sorted by name.
pub(crate) fn sources(package: &Path) -> Result<Vec<Source>, String> {
    let mut sources = BTreeMap::new();
    for entry in fs::read_dir(package).map_err(|e| e.to_string())? {
        let path = entry.map_err(|e| e.to_string())?.path();
        let extension = path.extension().and_then(|e| e.to_str()).unwrap_or_default();
        if ["cu", "cuh", "hip", "h"].contains(&extension) {
            let contents = fs::read(&path).map_err(|e| format!("{}: {e}", path.display()))?;
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            sources.insert(name, sha256(&contents));
        }
    }
    Ok(sources.into_iter().map(|(name, sha256)| Source { name, sha256 }).collect())
}

/// The manifest's text: a line for each source and each image.
pub(crate) fn write(sources: &[Source], built: &[Built]) -> String {
    let mut text = String::new();
    for source in sources {
        text += &format!("source {} {}\n", source.sha256, source.name);
    }
    for image in built {
        let Built { stem, architecture, bytes_len, sha256, .. } = image;
        text += &format!("image {sha256} {bytes_len} {stem} {architecture}\n");
    }
    text
}

/// The Rust that holds the manifest.
pub(crate) fn rust(manifest: &str) -> String {
    let doc = "The hashes of the sources and of the images, as `prebuilt/manifest` holds them.";
    format!("/// {doc}\npub static MANIFEST: &str = {manifest:?};\n")
}

/// The images of `folder`, if they were made from these sources. `missing` is the compiler that is
/// not there, `remedy` what gets it.
pub(crate) fn prebuilt(
    folder: &Path,
    sources: &[Source],
    missing: &str,
    remedy: &str,
) -> Result<Vec<Built>, String> {
    let Ok(manifest) = fs::read_to_string(folder.join("manifest")) else {
        return Err(format!("no {missing} and no prebuilt kernels: {remedy}"));
    };
    let (source_lines, image_lines): (Vec<&str>, Vec<&str>) =
        manifest.lines().partition(|line| line.starts_with("source "));
    let expected = write(sources, &[]);
    let changed = expected.lines().find(|line| !source_lines.contains(line));
    let gone = || source_lines.into_iter().find(|line| !expected.lines().any(|own| own == *line));
    if let Some(line) = changed.or_else(gone) {
        let name = line.rsplit(' ').next().unwrap_or_default();
        return Err(format!(
            "no {missing}, and the prebuilt kernels were made from another {name}: {remedy}"
        ));
    }
    image_lines.into_iter().map(|line| read_image(folder, line)).collect()
}

fn read_image(folder: &Path, line: &str) -> Result<Built, String> {
    let fields: Vec<&str> = line.split(' ').collect();
    let ["image", hash, bytes_len, stem, architecture] = fields[..] else {
        return Err(format!("prebuilt/manifest: not understood: {line}"));
    };
    let mut image = Built {
        stem: stem.to_owned(),
        architecture: architecture.to_owned(),
        bytes_len: bytes_len.parse().map_err(|_| format!("prebuilt/manifest: {bytes_len}"))?,
        sha256: hash.to_owned(),
        compressed: Vec::new(),
    };
    let path = folder.join(image.file_name());
    image.compressed = fs::read(&path).map_err(|e| format!("{}: {e}", path.display()))?;
    let mut bytes = Vec::new();
    let whole = ruzstd::decoding::StreamingDecoder::new(image.compressed.as_slice())
        .is_ok_and(|mut decoder| decoder.read_to_end(&mut bytes).is_ok());
    if !whole || sha256(&bytes) != image.sha256 {
        return Err(format!("{} is not the image of its manifest", path.display()));
    }
    Ok(image)
}
