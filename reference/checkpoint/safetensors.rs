//! Safetensors files, read tensor by tensor.

use super::error::{Error, Result, brief};
use super::header::{Entry, Header};
use super::json::open_regular;
use crate::tensor::{Elements, Tensor};
use half::{bf16, f16};
use safetensors::Dtype;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

/// An open safetensors file whose header was read and checked.
///
/// Elements are read with plain reads rather than mapped: a mapped file that another process cuts
/// short kills this one.
#[derive(Debug)]
pub struct TensorFile {
    path: PathBuf,
    file: File,
    header: Header,
}

impl TensorFile {
    /// Opens a file and reads its header.
    ///
    /// # Errors
    ///
    /// As [`Header::read`], `Io` when the file cannot be opened, and `Unsupported` when it is not a
    /// regular file.
    pub fn open(path: &Path) -> Result<TensorFile> {
        let (file, bytes) = open_regular(path)?;
        let header = Header::read(path, &mut &file, bytes)?;
        Ok(TensorFile { path: path.into(), file, header })
    }

    /// What the file says of its tensors.
    pub fn header(&self) -> &Header {
        &self.header
    }

    pub(super) fn into_header(self) -> Header {
        self.header
    }

    /// Reads one F32, F16 or BF16 tensor. `progress` gets the number of bytes of each step.
    ///
    /// # Errors
    ///
    /// `Mismatch` when there is no tensor of this name; else as [`read_tensor`].
    pub fn tensor(&self, name: &str, progress: &mut dyn FnMut(u64)) -> Result<Tensor> {
        let entry = self.seek(name)?;
        read_tensor(&self.path, name, entry, &mut &self.file, progress)
    }

    /// The shape and the elements of one I64 tensor.
    ///
    /// # Errors
    ///
    /// `Mismatch` when there is no tensor of this name, `Unsupported` when it has another type,
    /// `Io` when the file cannot be read.
    pub fn tensor_i64(&self, name: &str) -> Result<(Vec<usize>, Vec<i64>)> {
        let entry = self.seek(name)?;
        if entry.dtype() != Dtype::I64 {
            return Err(wrong_dtype(&self.path, name, entry, "I64"));
        }
        let elements = read_elements(&self.path, name, entry, &mut &self.file, &mut |_| ())?;
        Ok((entry.shape().to_vec(), elements))
    }

    /// Moves to the first byte of a tensor.
    fn seek(&self, name: &str) -> Result<&Entry> {
        let Some(entry) = self.header.get(name) else {
            return Err(Error::mismatch(&self.path, format!("{} is missing", brief(name))));
        };
        let moved = (&self.file).seek(SeekFrom::Start(self.header.position(entry)));
        moved.map_err(|source| Error::io(&self.path, "read", source))?;
        Ok(entry)
    }
}

/// The shape and the elements of one I64 tensor of a file, as [`TensorFile::tensor_i64`].
///
/// # Errors
///
/// As [`TensorFile::open`] and [`TensorFile::tensor_i64`].
pub fn read_i64(path: &Path, name: &str) -> Result<(Vec<usize>, Vec<i64>)> {
    TensorFile::open(path)?.tensor_i64(name)
}

/// Reads the elements of the F32, F16 or BF16 tensor that `entry` describes, which `reader` is at.
/// `path` and `name` serve the errors. `progress` gets the number of bytes of each step.
///
/// # Errors
///
/// `Unsupported` for another type and when memory is short, `NotFinite` for the first element that
/// is NaN or infinite, `Io` when `reader` fails or ends early.
pub fn read_tensor(
    path: &Path,
    name: &str,
    entry: &Entry,
    reader: &mut impl Read,
    progress: &mut dyn FnMut(u64),
) -> Result<Tensor> {
    let elements = match entry.dtype() {
        Dtype::F32 => Elements::F32(read_elements(path, name, entry, reader, progress)?),
        Dtype::F16 => Elements::F16(read_elements(path, name, entry, reader, progress)?),
        Dtype::BF16 => Elements::Bf16(read_elements(path, name, entry, reader, progress)?),
        _ => return Err(wrong_dtype(path, name, entry, "F32, F16 or BF16")),
    };
    Tensor::new(entry.shape(), elements).ok_or_else(|| {
        Error::malformed(path, format!("{} has a size that differs from its shape", brief(name)))
    })
}

/// The sentence for a tensor whose type is not one of `expected`.
pub(super) fn wrong_dtype(path: &Path, name: &str, entry: &Entry, expected: &str) -> Error {
    let (name, dtype) = (brief(name), entry.dtype());
    Error::unsupported(path, format!("{name} has dtype {dtype}, expected {expected}"))
}

/// A number as safetensors stores it: little endian.
trait Element: Copy {
    const BYTES: usize;

    /// The number in exactly `BYTES` bytes.
    fn from_bytes(bytes: &[u8]) -> Self;

    /// The number, when it is a NaN or an infinity.
    fn not_finite(self) -> Option<f64>;
}

macro_rules! element {
    ($type:ty, $not_finite:expr) => {
        impl Element for $type {
            const BYTES: usize = size_of::<$type>();

            fn from_bytes(bytes: &[u8]) -> Self {
                let mut number = [0; size_of::<$type>()];
                number.copy_from_slice(bytes);
                <$type>::from_le_bytes(number)
            }

            fn not_finite(self) -> Option<f64> {
                let not_finite: fn($type) -> Option<f64> = $not_finite;
                not_finite(self)
            }
        }
    };
}

element!(f32, |x| (!x.is_finite()).then(|| x.into()));
element!(f16, |x| (!x.is_finite()).then(|| x.into()));
element!(bf16, |x| (!x.is_finite()).then(|| x.into()));
element!(i64, |_| None);

/// The bytes of one step, a multiple of every element's size.
const STEP_BYTES: usize = 1 << 20;

fn read_elements<T: Element>(
    path: &Path,
    name: &str,
    entry: &Entry,
    reader: &mut impl Read,
    progress: &mut dyn FnMut(u64),
) -> Result<Vec<T>> {
    let count = entry.shape().iter().product();
    let mut elements = Vec::new();
    if elements.try_reserve_exact(count).is_err() {
        let (name, bytes) = (brief(name), entry.bytes());
        let reason = format!("{name} has {bytes} bytes, which could not be allocated");
        return Err(Error::unsupported(path, reason));
    }
    let mut step = vec![0; (count * T::BYTES).min(STEP_BYTES)];
    while elements.len() < count {
        let bytes = step.len().min((count - elements.len()) * T::BYTES);
        let step = &mut step[..bytes];
        reader.read_exact(step).map_err(|source| Error::io(path, "read", source))?;
        let first = elements.len();
        elements.extend(step.chunks_exact(T::BYTES).map(T::from_bytes));
        let new = elements[first..].iter().enumerate();
        if let Some((i, value)) = { new }.find_map(|(i, x)| Some((i, x.not_finite()?))) {
            let index = multi_index(first + i, entry.shape());
            return Err(Error::NotFinite { path: path.into(), tensor: name.into(), index, value });
        }
        progress(bytes as u64);
    }
    Ok(elements)
}

/// The index in each dimension of the element at `flat` in a row-major array.
fn multi_index(mut flat: usize, shape: &[usize]) -> Vec<usize> {
    let mut index: Vec<_> = shape
        .iter()
        .rev()
        .map(|&extent| {
            let i = flat % extent;
            flat /= extent;
            i
        })
        .collect();
    index.reverse();
    index
}
