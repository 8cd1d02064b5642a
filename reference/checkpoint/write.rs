//! Writing safetensors files.

use super::error::{Error, Result, brief};
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

/// The elements of an array to write.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Data<'a> {
    /// Written as F32.
    F32(&'a [f32]),
    /// Written as I64.
    I64(&'a [i64]),
}

/// Writes row-major arrays, each a name, a shape and elements, to a safetensors file.
///
/// The file appears under its name when it is complete, and replaces a regular file that was there;
/// until then it is `NAME.partial`.
///
/// # Errors
///
/// `Mismatch` when a shape is not that of its elements or a name appears twice, before anything is
/// written. `Unsupported` when there is something at `path` that is not a regular file. `Io` when
/// the file cannot be written. No partial file is left.
pub fn write(path: &Path, arrays: &[(&str, &[usize], Data<'_>)]) -> Result<()> {
    for (i, &(name, shape, data)) in arrays.iter().enumerate() {
        let product = shape.iter().try_fold(1usize, |product, &extent| product.checked_mul(extent));
        if product != Some(data.len()) {
            let (name, elements) = (brief(name), data.len());
            let reason = format!("{name} has {elements} elements, expected shape {shape:?}");
            return Err(Error::mismatch(path, reason));
        }
        if arrays[..i].iter().any(|&(earlier, ..)| earlier == name) {
            return Err(Error::mismatch(path, format!("{} appears twice", brief(name))));
        }
    }
    if fs::metadata(path).is_ok_and(|found| !found.is_file()) {
        return Err(Error::unsupported(path, "is not a regular file"));
    }
    let mut partial = path.as_os_str().to_owned();
    partial.push(".partial");
    let partial = PathBuf::from(partial);
    let written = write_all(&partial, arrays).and_then(|()| fs::rename(&partial, path));
    written.map_err(|source| {
        let _ = fs::remove_file(&partial);
        Error::io(path, "written", source)
    })
}

fn write_all(path: &Path, arrays: &[(&str, &[usize], Data<'_>)]) -> io::Result<()> {
    // Wider elements first, so that each array starts at a multiple of its element's size.
    let mut arrays = arrays.to_vec();
    arrays.sort_by_key(|(.., data)| matches!(data, Data::F32(_)));
    let mut header = String::new();
    let mut start = 0;
    for &(name, shape, data) in &arrays {
        let separator = if header.is_empty() { '{' } else { ',' };
        let name = serde_json::Value::from(name);
        let (dtype, end) = (data.dtype(), start + data.bytes());
        header += &format!(
            r#"{separator}{name}:{{"dtype":"{dtype}","shape":{shape:?},"data_offsets":[{start},{end}]}}"#
        );
        start = end;
    }
    if header.is_empty() {
        header.push('{');
    }
    header.push('}');
    header += &" ".repeat(header.len().next_multiple_of(8) - header.len());

    let mut file = BufWriter::new(File::create(path)?);
    file.write_all(&(header.len() as u64).to_le_bytes())?;
    file.write_all(header.as_bytes())?;
    for (.., data) in arrays {
        match data {
            Data::F32(x) => x.iter().try_for_each(|x| file.write_all(&x.to_le_bytes()))?,
            Data::I64(x) => x.iter().try_for_each(|x| file.write_all(&x.to_le_bytes()))?,
        }
    }
    file.into_inner()?.sync_all()
}

impl Data<'_> {
    fn len(&self) -> usize {
        match self {
            Data::F32(x) => x.len(),
            Data::I64(x) => x.len(),
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Data::F32(x) => size_of_val(*x),
            Data::I64(x) => size_of_val(*x),
        }
    }

    fn dtype(&self) -> &'static str {
        match self {
            Data::F32(_) => "F32",
            Data::I64(_) => "I64",
        }
    }
}
