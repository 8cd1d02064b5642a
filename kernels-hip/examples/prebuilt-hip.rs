//! Writes the images and their manifest into a folder, and removes other images:
//! `cargo run --example prebuilt-hip -- FOLDER`.

mod shared;

use expertile_kernels_hip::{IMAGES, MANIFEST};

fn main() -> std::io::Result<()> {
    let name = |stem, architecture| format!("{stem}.{architecture}.zst");
    let images =
        IMAGES.iter().map(|image| (name(image.stem, image.architecture), image.compressed));
    shared::write_prebuilt(MANIFEST, images)
}
