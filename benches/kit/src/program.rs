//! The kit's programs: compressed, and the images of kernels that all of them embed are kept once.
//!
//! A packed program is gzip of: how many cuts, as a little-endian u64; for each cut where it is in the
//! program, where in the images, and how long; the program, 0 where it is cut.

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use std::collections::HashMap;
use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// What every zstd frame, so every image, begins with.
const MAGIC: [u8; 4] = [0x28, 0xB5, 0x2F, 0xFD];

/// By this many bytes at their beginning images are looked up.
const HEAD_BYTES: usize = 64;

/// Packs a program that holds some of the images.
pub fn pack(program: &Path, images: &[&[u8]], to: &Path) -> io::Result<()> {
    let mut bytes = fs::read(program)?;
    let mut heads: HashMap<&[u8], Vec<(usize, &[u8])>> = HashMap::new();
    let mut offset = 0;
    for image in images {
        if let Some(head) = image.get(..HEAD_BYTES) {
            heads.entry(head).or_default().push((offset, image));
        }
        offset += image.len();
    }
    let mut cuts = Vec::new();
    let mut at = 0;
    while at + HEAD_BYTES <= bytes.len() {
        let rest = &bytes[at..];
        let candidates = rest.starts_with(&MAGIC).then(|| heads.get(&rest[..HEAD_BYTES])).flatten();
        let found =
            candidates.and_then(|all| all.iter().find(|(_, image)| rest.starts_with(image)));
        let Some(&(offset, image)) = found else {
            at += 1;
            continue;
        };
        cuts.push([at, offset, image.len()]);
        bytes[at..at + image.len()].fill(0);
        at += image.len();
    }
    let mut encoder = GzEncoder::new(fs::File::create(to)?, Compression::best());
    encoder.write_all(&(cuts.len() as u64).to_le_bytes())?;
    for number in cuts.into_iter().flatten() {
        encoder.write_all(&(number as u64).to_le_bytes())?;
    }
    encoder.write_all(&bytes)?;
    encoder.finish()?.flush()
}

/// Writes a program that can be run: a packed one (`.gz`), or any other as it is.
pub fn install(from: &Path, images: &Path, to: &Path) -> io::Result<()> {
    let mut bytes = fs::read(from)?;
    if from.extension().is_some_and(|extension| extension == "gz") {
        let mut unpacked = Vec::new();
        GzDecoder::new(&bytes[..]).read_to_end(&mut unpacked)?;
        bytes = restore(&unpacked, &fs::read(images)?)
            .ok_or_else(|| io::Error::other("a cut is not within the program and the images"))?;
    }
    fs::write(to, bytes)?;
    fs::set_permissions(to, fs::Permissions::from_mode(0o755))
}

fn restore(packed: &[u8], images: &[u8]) -> Option<Vec<u8>> {
    let number = |at: usize| -> Option<usize> {
        let bytes = packed.get(8 * at..8 * at + 8)?.try_into().ok()?;
        usize::try_from(u64::from_le_bytes(bytes)).ok()
    };
    let count = number(0)?;
    let mut program = packed.get(count.checked_mul(24)?.checked_add(8)?..)?.to_vec();
    for cut in 0..count {
        let [at, offset, len] = [1, 2, 3].map(|field| number(3 * cut + field));
        let (at, offset, len) = (at?, offset?, len?);
        let image = images.get(offset..offset.checked_add(len)?)?;
        program.get_mut(at..at.checked_add(len)?)?.copy_from_slice(image);
    }
    Some(program)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_whole_again() {
        let folder =
            std::env::temp_dir().join(format!("expertile-kit-program-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        // Two images begin alike, a third is not there.
        let image = |seed: u32, len: u32| -> Vec<u8> {
            let byte = |i: u32| if i < 80 { i as u8 } else { (i.wrapping_mul(seed) >> 7) as u8 };
            MAGIC.into_iter().chain((0..len).map(byte)).collect()
        };
        let all = [image(0x9E37_79B9, 5000), image(0x85EB_CA6B, 3000), image(0xC2B2_AE35, 4000)];
        let images: Vec<&[u8]> = all.iter().map(Vec::as_slice).collect();
        let code = |len: u32| (0..len).map(|i| (i % 251) as u8);
        let program: Vec<u8> = code(1000)
            .chain(all[1].iter().copied())
            .chain(MAGIC)
            .chain(code(7))
            .chain(all[0].iter().copied())
            .chain(all[1].iter().copied())
            .collect();
        let [from, held, packed, to] = ["a", "images", "a.gz", "b"].map(|name| folder.join(name));
        fs::write(&from, &program).unwrap();
        fs::write(&held, images.concat()).unwrap();
        pack(&from, &images, &packed).unwrap();
        // The images are noise: nothing but cutting makes it small.
        assert!(fs::metadata(&packed).unwrap().len() < 1500);
        install(&packed, &held, &to).unwrap();
        assert_eq!(fs::read(&to).unwrap(), program);
        assert_eq!(fs::metadata(&to).unwrap().permissions().mode() & 0o777, 0o755);
        fs::write(&held, &images.concat()[..6000]).unwrap();
        assert!(install(&packed, &held, &to).is_err());
        fs::remove_dir_all(folder).unwrap();
    }
}
