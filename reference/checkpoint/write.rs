//! Writing safetensors files.

use super::error::{Error, Result, brief};
use safetensors::{Dtype, SafeTensorError, View};
use std::borrow::Cow;
use std::path::Path;

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
/// The file appears under its name when it is complete, and replaces one that was there.
///
/// # Errors
///
/// `Mismatch` when a shape is not that of its elements or a name appears twice, before anything is
/// written. `Io` when the file cannot be written.
pub fn write(path: &Path, arrays: &[(&str, &[usize], Data<'_>)]) -> Result<()> {
    let mut views = Vec::with_capacity(arrays.len());
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
        views.push((name, Array { shape, data }));
    }
    ::safetensors::serialize_to_file(views, None, path).map_err(|error| match error {
        SafeTensorError::IoError(source) => Error::io(path, "written", source),
        other => Error::unsupported(path, brief(&other.to_string())),
    })
}

impl Data<'_> {
    fn len(&self) -> usize {
        match self {
            Data::F32(x) => x.len(),
            Data::I64(x) => x.len(),
        }
    }
}

struct Array<'a> {
    shape: &'a [usize],
    data: Data<'a>,
}

impl View for Array<'_> {
    fn dtype(&self) -> Dtype {
        match self.data {
            Data::F32(_) => Dtype::F32,
            Data::I64(_) => Dtype::I64,
        }
    }

    fn shape(&self) -> &[usize] {
        self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        match self.data {
            Data::F32(x) => x.iter().flat_map(|x| x.to_le_bytes()).collect(),
            Data::I64(x) => x.iter().flat_map(|x| x.to_le_bytes()).collect(),
        }
    }

    fn data_len(&self) -> usize {
        match self.data {
            Data::F32(x) => size_of_val(x),
            Data::I64(x) => size_of_val(x),
        }
    }
}
