//! Writing safetensors files.

use super::error::{Error, Result, brief};
use safetensors::Dtype;
use std::fs::{self, File};
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// The elements of an array to write, or some of them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Data<'a> {
    /// Written as F32.
    F32(&'a [f32]),
    /// Written as I64.
    I64(&'a [i64]),
}

impl Data<'_> {
    /// The type that they are written as.
    pub fn dtype(&self) -> Dtype {
        match self {
            Data::F32(_) => Dtype::F32,
            Data::I64(_) => Dtype::I64,
        }
    }

    fn len(&self) -> usize {
        match self {
            Data::F32(x) => x.len(),
            Data::I64(x) => x.len(),
        }
    }
}

/// Writes row-major arrays, each a name, a shape and elements, to a safetensors file.
///
/// # Errors
///
/// `Mismatch` when a shape is not that of its elements, before anything is written; else as
/// [`Writer`].
pub fn write(path: &Path, arrays: &[(&str, &[usize], Data<'_>)]) -> Result<()> {
    for &(name, shape, data) in arrays {
        let product = shape.iter().try_fold(1usize, |product, &extent| product.checked_mul(extent));
        if product != Some(data.len()) {
            let (name, elements) = (brief(name), data.len());
            let reason = format!("{name} has {elements} elements, expected shape {shape:?}");
            return Err(Error::mismatch(path, reason));
        }
    }
    let declared: Vec<_> =
        arrays.iter().map(|&(name, shape, data)| (name, shape, data.dtype())).collect();
    let mut writer = Writer::create(path, &declared)?;
    for &(name, _, data) in arrays {
        writer.append(name, data)?;
    }
    writer.finish()
}

/// A safetensors file whose arrays are written piece by piece.
///
/// The file appears under its name when it is finished, and replaces a regular file that was there;
/// until then it is `NAME.partial`, which is removed when the writer is dropped.
#[derive(Debug)]
pub struct Writer {
    path: PathBuf,
    partial: PathBuf,
    file: BufWriter<File>,
    arrays: Vec<Array>,
    finished: bool,
}

#[derive(Debug)]
struct Array {
    name: String,
    dtype: Dtype,
    /// The place in the file of the next element, and of the end.
    next: u64,
    end: u64,
}

impl Writer {
    /// Starts a file of these arrays, each a name, a shape and a type.
    ///
    /// # Errors
    ///
    /// `Mismatch` when a name appears twice, `Unsupported` when a size overflows or `path` is there
    /// and is no regular file, `Io` when the file cannot be written.
    pub fn create(path: &Path, arrays: &[(&str, &[usize], Dtype)]) -> Result<Writer> {
        // Wider elements first, so that each array starts at a multiple of its element's size.
        let mut arrays = arrays.to_vec();
        arrays.sort_by_key(|(.., dtype)| std::cmp::Reverse(dtype.bitsize()));
        let mut header = String::new();
        let mut placed: Vec<Array> = Vec::new();
        let mut start = 0;
        for (name, shape, dtype) in arrays {
            if placed.iter().any(|earlier| earlier.name == name) {
                return Err(Error::mismatch(path, format!("{} appears twice", brief(name))));
            }
            let elements =
                shape.iter().try_fold(1u64, |product, &extent| product.checked_mul(extent as u64));
            let bits = elements.and_then(|elements| elements.checked_mul(dtype.bitsize() as u64));
            let Some(end) = bits.and_then(|bits| bits.div_ceil(8).checked_add(start)) else {
                let reason = format!("{} has shape {shape:?}, whose size overflows", brief(name));
                return Err(Error::unsupported(path, reason));
            };
            let separator = if header.is_empty() { '{' } else { ',' };
            let quoted = serde_json::Value::from(name);
            header += &format!(
                r#"{separator}{quoted}:{{"dtype":"{dtype}","shape":{shape:?},"data_offsets":[{start},{end}]}}"#
            );
            placed.push(Array { name: name.into(), dtype, next: start, end });
            start = end;
        }
        if header.is_empty() {
            header.push('{');
        }
        header.push('}');
        header += &" ".repeat(header.len().next_multiple_of(8) - header.len());
        let data_start = 8 + header.len() as u64;
        for array in &mut placed {
            array.next += data_start;
            array.end += data_start;
        }

        if fs::metadata(path).is_ok_and(|found| !found.is_file()) {
            return Err(Error::unsupported(path, "is not a regular file"));
        }
        let failed = |source| Error::io(path, "written", source);
        let mut partial = path.as_os_str().to_owned();
        partial.push(".partial");
        let partial = PathBuf::from(partial);
        let file = BufWriter::new(File::create(&partial).map_err(failed)?);
        let mut writer =
            Writer { path: path.into(), partial, file, arrays: placed, finished: false };
        let length = (header.len() as u64).to_le_bytes();
        let written = writer.file.write_all(&length);
        written.and_then(|()| writer.file.write_all(header.as_bytes())).map_err(failed)?;
        Ok(writer)
    }

    /// Writes the next elements of one array.
    ///
    /// # Errors
    ///
    /// `Mismatch` when there is no such array, it has another type or less room; `Io` when the file
    /// cannot be written.
    pub fn append(&mut self, name: &str, data: Data<'_>) -> Result<()> {
        let mismatch = |reason| Error::mismatch(&self.path, format!("{} {reason}", brief(name)));
        let Some(array) = self.arrays.iter_mut().find(|array| array.name == name) else {
            return Err(mismatch("is not one of the arrays".into()));
        };
        let (room, bytes) =
            (array.end - array.next, (data.len() * data.dtype().bitsize() / 8) as u64);
        if array.dtype != data.dtype() {
            return Err(mismatch(format!("is {}, expected {}", data.dtype(), array.dtype)));
        }
        if bytes > room {
            return Err(mismatch(format!("has {bytes} more bytes, expected at most {room}")));
        }
        let written = write_at(&mut self.file, array.next, data);
        written.map_err(|source| Error::io(&self.path, "written", source))?;
        array.next += bytes;
        Ok(())
    }

    /// Gives the file its name.
    ///
    /// # Errors
    ///
    /// `Mismatch` when an array is not complete, `Io` when the file cannot be written.
    pub fn finish(mut self) -> Result<()> {
        if let Some(array) = self.arrays.iter().find(|array| array.next < array.end) {
            let (name, missing) = (brief(&array.name), array.end - array.next);
            return Err(Error::mismatch(&self.path, format!("{name} lacks {missing} bytes")));
        }
        let written = self.file.flush().and_then(|()| self.file.get_ref().sync_all());
        let renamed = written.and_then(|()| fs::rename(&self.partial, &self.path));
        renamed.map_err(|source| Error::io(&self.path, "written", source))?;
        self.finished = true;
        Ok(())
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        if !self.finished {
            let _ = fs::remove_file(&self.partial);
        }
    }
}

fn write_at(file: &mut BufWriter<File>, position: u64, data: Data<'_>) -> io::Result<()> {
    file.seek(SeekFrom::Start(position))?;
    match data {
        Data::F32(x) => x.iter().try_for_each(|x| file.write_all(&x.to_le_bytes())),
        Data::I64(x) => x.iter().try_for_each(|x| file.write_all(&x.to_le_bytes())),
    }
}
