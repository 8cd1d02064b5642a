//! The header of a safetensors file: eight bytes of length, then JSON.

use super::error::{Error, Result, brief};
use super::json::not_json;
use safetensors::Dtype;
use serde::de::{Deserialize, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use std::collections::BTreeMap;
use std::fmt;
use std::io::Read;
use std::path::Path;

/// The largest header, in bytes: the format's own limit.
pub const MAX_HEADER_BYTES: u64 = 100_000_000;

/// The most dimensions of a tensor.
pub const MAX_DIMENSIONS: usize = 8;

/// The bytes of the length that a file starts with.
const LENGTH_BYTES: u64 = 8;

/// The tensors of one safetensors file, none of which was read.
#[derive(Clone, Debug, PartialEq)]
pub struct Header {
    tensors: BTreeMap<String, Entry>,
    data_start: u64,
}

/// One tensor of a [`Header`].
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    dtype: Dtype,
    shape: Vec<usize>,
    /// The first byte of the elements and the one after the last, from the start of the data.
    start: u64,
    end: u64,
}

impl Entry {
    /// The type of the elements.
    pub fn dtype(&self) -> Dtype {
        self.dtype
    }

    /// The extents, outermost first. Their product is the number of elements.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The size of the elements in the file.
    pub fn bytes(&self) -> u64 {
        self.end - self.start
    }
}

impl Header {
    /// Reads the header of a file of `file_bytes` bytes. `path` serves the errors.
    ///
    /// At most [`MAX_HEADER_BYTES`] are read. The tensors that come back have distinct names, at
    /// most [`MAX_DIMENSIONS`], sizes that match their shapes and types, and cover the rest of the
    /// file without gap or overlap.
    ///
    /// # Errors
    ///
    /// `Malformed` when one of these is not so, or the header is not the JSON of the format; `Io`
    /// when `reader` fails or ends early.
    pub fn read(path: &Path, reader: &mut impl Read, file_bytes: u64) -> Result<Header> {
        let malformed = |reason: String| Err(Error::malformed(path, reason));
        let failed = |source| Error::io(path, "read", source);
        let Some(after_length) = file_bytes.checked_sub(LENGTH_BYTES) else {
            return malformed(format!("has {file_bytes} bytes, expected at least {LENGTH_BYTES}"));
        };
        let mut length = [0; LENGTH_BYTES as usize];
        reader.read_exact(&mut length).map_err(failed)?;
        let length = u64::from_le_bytes(length);
        let limit = after_length.min(MAX_HEADER_BYTES);
        if length > limit {
            return malformed(format!("has a header of {length} bytes, expected at most {limit}"));
        }
        let mut text = vec![0; length as usize];
        reader.read_exact(&mut text).map_err(failed)?;
        let Ok(text) = str::from_utf8(&text) else {
            return malformed("has a header that is not UTF-8".into());
        };
        let HeaderJson(mut fields) =
            serde_json::from_str(text).map_err(|error| not_json(path, &error))?;
        fields.sort_by(|(x, _), (y, _)| x.cmp(y));
        if let Some(twice) = fields.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            return malformed(format!("has {} twice", brief(&twice[0].0)));
        }
        let mut tensors = Vec::with_capacity(fields.len());
        for (name, entry) in fields {
            let Field::Tensor(entry) = entry else { continue };
            match entry.check() {
                Ok(entry) => tensors.push((name, entry)),
                Err(reason) => return malformed(format!("{} {reason}", brief(&name))),
            };
        }
        let tensors = tensors.into_iter().collect();
        let data_bytes = after_length - length;
        let header = Header { tensors, data_start: LENGTH_BYTES + length };
        header.check_coverage(data_bytes).map_err(|reason| Error::malformed(path, reason))?;
        Ok(header)
    }

    /// Checks that the tensors lie one after the other and end with the file.
    fn check_coverage(&self, data_bytes: u64) -> Result<(), String> {
        let mut tensors: Vec<_> = self.tensors.iter().collect();
        tensors.sort_by_key(|(_, entry)| (entry.start, entry.end));
        let mut covered = 0;
        for (name, entry) in tensors {
            if entry.start != covered {
                let (name, start) = (brief(name), entry.start);
                return Err(format!(
                    "{name} starts at byte {start} of the data, expected {covered}"
                ));
            }
            covered = entry.end;
        }
        if covered != data_bytes {
            return Err(format!("has {data_bytes} bytes of data, but tensors of {covered} bytes"));
        }
        Ok(())
    }

    /// The names of the tensors and what the header says of each, in the order of the names.
    pub fn tensors(&self) -> impl Iterator<Item = (&str, &Entry)> {
        self.tensors.iter().map(|(name, entry)| (name.as_str(), entry))
    }

    /// The tensor of this name.
    pub fn get(&self, name: &str) -> Option<&Entry> {
        self.tensors.get(name)
    }

    /// The number of tensors.
    pub fn len(&self) -> usize {
        self.tensors.len()
    }

    /// Whether there is no tensor.
    pub fn is_empty(&self) -> bool {
        self.tensors.is_empty()
    }

    /// The place of a tensor's first byte in the file.
    pub(super) fn position(&self, entry: &Entry) -> u64 {
        self.data_start + entry.start
    }
}

/// The header as it is written.
struct HeaderJson(Vec<(String, Field)>);

enum Field {
    /// `__metadata__`, which is skipped: nothing in it concerns the tensors.
    Metadata,
    Tensor(EntryJson),
}

#[derive(serde::Deserialize)]
#[serde(expecting = "a tensor with dtype, shape and data_offsets")]
struct EntryJson {
    dtype: Dtype,
    shape: Extents,
    data_offsets: (u64, u64),
}

/// A list whose length is limited while it is read: a header of zeros and commas alone would
/// otherwise take four times its size.
struct Extents(Vec<usize>);

impl EntryJson {
    fn check(self) -> Result<Entry, String> {
        let EntryJson { dtype, shape: Extents(shape), data_offsets: (start, end) } = self;
        let product = shape.iter().try_fold(1usize, |product, &extent| product.checked_mul(extent));
        let Some(bits) = product.and_then(|elements| elements.checked_mul(dtype.bitsize())) else {
            return Err(format!("has shape {shape:?}, whose size overflows"));
        };
        if !bits.is_multiple_of(8) {
            return Err(format!("has shape {shape:?} of {dtype}, which is not a number of bytes"));
        }
        match end.checked_sub(start) {
            None => Err(format!("ends at byte {end} of the data, before its start at {start}")),
            Some(bytes) if bytes != (bits / 8) as u64 => {
                let expected = bits / 8;
                Err(format!(
                    "has {bytes} bytes, expected {expected} for shape {shape:?} of {dtype}"
                ))
            }
            Some(_) => Ok(Entry { dtype, shape, start, end }),
        }
    }
}

impl<'de> Deserialize<'de> for HeaderJson {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<HeaderJson, D::Error> {
        struct Fields;

        impl<'de> Visitor<'de> for Fields {
            type Value = HeaderJson;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of tensors")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<HeaderJson, A::Error> {
                let mut fields = Vec::new();
                while let Some(name) = map.next_key::<String>()? {
                    let field = match name.as_str() {
                        "__metadata__" => {
                            map.next_value::<IgnoredAny>()?;
                            Field::Metadata
                        }
                        _ => Field::Tensor(map.next_value()?),
                    };
                    fields.push((name, field));
                }
                Ok(HeaderJson(fields))
            }
        }

        deserializer.deserialize_map(Fields)
    }
}

impl<'de> Deserialize<'de> for Extents {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Extents, D::Error> {
        struct List;

        impl<'de> Visitor<'de> for List {
            type Value = Extents;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of extents")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Extents, A::Error> {
                let mut extents = Vec::new();
                while let Some(extent) = items.next_element()? {
                    if extents.len() == MAX_DIMENSIONS {
                        let reason = format_args!("more than {MAX_DIMENSIONS} dimensions");
                        return Err(A::Error::custom(reason));
                    }
                    extents.push(extent);
                }
                Ok(Extents(extents))
            }
        }

        deserializer.deserialize_seq(List)
    }
}
