//! Writes the images and their manifest into a folder: `cargo run --example prebuilt -- FOLDER`.

use std::path::PathBuf;
use std::{env, fs, io};

use expertile_kernels_hip::{IMAGES, MANIFEST};

fn main() -> io::Result<()> {
    let Some(folder) = env::args_os().nth(1).map(PathBuf::from) else {
        return Err(io::Error::other("usage: prebuilt FOLDER"));
    };
    fs::create_dir_all(&folder)?;
    for image in IMAGES {
        let name = format!("{}.{}.zst", image.stem, image.architecture);
        fs::write(folder.join(name), image.compressed)?;
    }
    fs::write(folder.join("manifest"), MANIFEST)
}
