use std::path::PathBuf;
use std::{env, fs, io};

/// Writes images by their names, and their manifest, into the folder that the command line names, and
/// removes other images there.
pub(crate) fn write_prebuilt(
    manifest: &str,
    images: impl Iterator<Item = (String, &'static [u8])>,
) -> io::Result<()> {
    let Some(folder) = env::args_os().nth(1).map(PathBuf::from) else {
        return Err(io::Error::other("no FOLDER is named"));
    };
    fs::create_dir_all(&folder)?;
    let mut files = vec![(folder.join("manifest"), manifest.as_bytes())];
    files.extend(images.map(|(name, image)| (folder.join(name), image)));
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
