//! The one file that a run leaves.

use flate2::Compression;
use flate2::write::GzEncoder;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// No archive is larger.
pub const LIMIT_BYTES: u64 = 16 << 20;

/// What is kept of a log: its beginning and its end.
const LOG_BYTES: usize = 64 << 10;

/// Packs `folder` as `name/...` into a tar file compressed by gzip. Logs are cut; if the archive is
/// still too large, it is packed again without them.
pub fn pack(folder: &Path, name: &str, to: &Path) -> io::Result<()> {
    write(folder, name, to, true)?;
    if fs::metadata(to)?.len() >= LIMIT_BYTES {
        write(folder, name, to, false)?;
    }
    Ok(())
}

fn write(folder: &Path, name: &str, to: &Path, logs: bool) -> io::Result<()> {
    let file = File::create(to)?;
    let mut tar = tar::Builder::new(GzEncoder::new(file, Compression::default()));
    let mut files = Vec::new();
    collect(folder, &mut files)?;
    files.sort();
    for path in files {
        let relative = path.strip_prefix(folder).map_err(io::Error::other)?;
        let is_log = relative.starts_with("logs");
        if is_log && !logs {
            continue;
        }
        let mut bytes = fs::read(&path)?;
        if is_log && bytes.len() > 2 * LOG_BYTES {
            let end = bytes.split_off(bytes.len() - LOG_BYTES);
            bytes.truncate(LOG_BYTES);
            bytes.extend_from_slice(b"\n... cut ...\n");
            bytes.extend(end);
        }
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, Path::new(name).join(relative), &bytes[..])?;
    }
    tar.into_inner()?.finish()?.flush()
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() {
            collect(&entry.path(), files)?;
        } else if kind.is_file() {
            files.push(entry.path());
        }
    }
    Ok(())
}

/// The files of an archive: their path without the archive's own folder, and their content.
pub fn read(path: &Path) -> io::Result<Vec<(PathBuf, Vec<u8>)>> {
    let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(File::open(path)?));
    let mut files = Vec::new();
    for entry in archive.entries()? {
        let mut entry = entry?;
        let path: PathBuf = entry.path()?.components().skip(1).collect();
        let mut bytes = Vec::new();
        io::copy(&mut entry, &mut bytes)?;
        files.push((path, bytes));
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logs_are_cut_and_the_rest_is_whole() {
        let folder =
            std::env::temp_dir().join(format!("expertile-kit-pack-{}", std::process::id()));
        fs::create_dir_all(folder.join("in/logs")).unwrap();
        let long: Vec<u8> = (0..300_000u32).map(|i| (i % 251) as u8).collect();
        fs::write(folder.join("in/logs/a.log"), &long).unwrap();
        fs::write(folder.join("in/b.bin"), &long).unwrap();
        let to = folder.join("x.tar.gz");
        pack(&folder.join("in"), "x", &to).unwrap();
        let files = read(&to).unwrap();
        assert_eq!(files[0], (PathBuf::from("b.bin"), long.clone()));
        assert_eq!(files[1].0, PathBuf::from("logs/a.log"));
        assert_eq!(&files[1].1[..LOG_BYTES], &long[..LOG_BYTES]);
        assert!(files[1].1.ends_with(&long[long.len() - LOG_BYTES..]));
        assert_eq!(files[1].1.len(), 2 * LOG_BYTES + 13);
        fs::remove_dir_all(folder).unwrap();
    }
}
