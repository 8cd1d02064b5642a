//! Writes the images and their manifest into a folder, and removes other images:
//! `cargo run --example prebuilt -- FOLDER`.

use std::path::PathBuf;
use std::{env, fs, io};

use expertile_kernels_cuda::{IMAGES, MANIFEST};

fn main() -> io::Result<()> {
    let Some(folder) = env::args_os().nth(1).map(PathBuf::from) else {
        return Err(io::Error::other("usage: prebuilt FOLDER"));
    };
    fs::create_dir_all(&folder)?;
    let mut files = vec![(folder.join("manifest"), MANIFEST.as_bytes())];
    for image in IMAGES {
        let name = format!("{}.{}.zst", image.stem, image.architecture);
        files.push((folder.join(name), image.compressed));
    }
    for entry in fs::read_dir(&folder)? {
        let path = entry?.path();
        let is_image = path.extension().is_some_and(|extension| extension == "zst");
        if is_image && !files.iter().any(|(file, _)| *file == path) {
            fs::remove_file(path)?;
        }
    }
    for (path, contents) in files {
        // A file that is right keeps its time, by which cargo knows whether to build again.
        if fs::read(&path).ok().as_deref() != Some(contents) {
            fs::write(path, contents)?;
        }
    }
    Ok(())
}
