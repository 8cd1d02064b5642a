//! `model.safetensors.index.json`: which file of a checkpoint holds which tensor.

use super::error::{Error, Result, brief};
use super::header::Header;
use super::json::{Json, is_there, parse_object, read_limited};
use super::safetensors::TensorFile;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// The largest index that is read, in bytes. That of the published DBRX has 30 000.
pub const MAX_INDEX_BYTES: u64 = 16 << 20;

/// The file of a checkpoint that has one.
const SINGLE: &str = "model.safetensors";

/// The index of a checkpoint in several files.
const INDEX: &str = "model.safetensors.index.json";

/// The file names of a checkpoint, by the names of the tensors that they hold.
#[derive(Clone, Debug, PartialEq)]
pub struct Index {
    files: BTreeMap<String, String>,
}

impl Index {
    /// Parses the text of an index. `path` serves the errors.
    ///
    /// # Errors
    ///
    /// `Malformed` for a text that is not a JSON object with each name once, without a `weight_map`
    /// of strings, and for a file name that is not the plain name of a file in the same folder.
    pub fn parse(path: &Path, text: &[u8]) -> Result<Index> {
        let malformed = |reason: String| Err(Error::malformed(path, reason));
        let weight_map = match parse_object(path, text)?.remove("weight_map") {
            Some(Json::Object(weight_map)) => weight_map,
            Some(other) => return malformed(format!("weight_map is {other}, expected an object")),
            None => return malformed("weight_map is missing".into()),
        };
        let mut files = BTreeMap::new();
        for (tensor, file) in weight_map {
            match file {
                Json::String(file) if is_plain(&file) => files.insert(tensor, file),
                Json::String(_) => {
                    let reason = "expected a plain file name";
                    return malformed(format!("{} is in {file}, {reason}", brief(&tensor)));
                }
                _ => {
                    let reason = "expected a file name";
                    return malformed(format!("{} is in {file}, {reason}", brief(&tensor)));
                }
            };
        }
        Ok(Index { files })
    }

    /// The names of the files, each once, in alphabetical order.
    pub fn files(&self) -> BTreeSet<&str> {
        self.files.values().map(String::as_str).collect()
    }

    /// The file that holds a tensor.
    pub fn file(&self, tensor: &str) -> Option<&str> {
        self.files.get(tensor).map(String::as_str)
    }

    /// Checks one file's header against the index: that each tensor there is where the index says.
    fn check_file(&self, path: &Path, file: &str, header: &Header) -> Result<(), Error> {
        for (tensor, _) in header.tensors() {
            let name = brief(tensor);
            let reason = match self.file(tensor) {
                Some(listed) if listed == file => continue,
                Some(listed) => {
                    format!("{name} is in {file}, but the index says {}", brief(listed))
                }
                None => format!("{name} is in {file}, but not in the index"),
            };
            return Err(Error::mismatch(path, reason));
        }
        let expected = self.files.iter().filter(|&(_, listed)| listed == file);
        for (tensor, _) in expected {
            if header.get(tensor).is_none() {
                let (tensor, file) = (brief(tensor), brief(file));
                return Err(Error::mismatch(path, format!("{tensor} is not in {file}")));
            }
        }
        Ok(())
    }
}

/// Whether a name stays inside its folder on every platform.
fn is_plain(name: &str) -> bool {
    !matches!(name, "" | "." | "..") && !name.contains(['/', '\\', ':', '\0'])
}

/// Reads the headers of a checkpoint's files: of `model.safetensors` where it exists, else of every
/// file that `model.safetensors.index.json` names.
///
/// # Errors
///
/// `Mismatch` when there is neither file, when the index names a file that does not exist, and when
/// the index and a header disagree on where a tensor is; else as [`Index::parse`] and
/// [`TensorFile::open`].
pub fn read_headers(dir: &Path) -> Result<Vec<(PathBuf, Header)>> {
    let single = dir.join(SINGLE);
    if is_there(&single) {
        let header = TensorFile::open(&single)?.into_header();
        return Ok(vec![(single, header)]);
    }
    let path = dir.join(INDEX);
    if !is_there(&path) {
        return Err(Error::mismatch(dir, format!("has neither {SINGLE} nor {INDEX}")));
    }
    let index = Index::parse(&path, &read_limited(&path, MAX_INDEX_BYTES)?)?;
    let mut headers = Vec::new();
    for file in index.files() {
        let file_path = dir.join(file);
        if !is_there(&file_path) {
            let reason = format!("names {}, which does not exist", brief(file));
            return Err(Error::mismatch(&path, reason));
        }
        let header = TensorFile::open(&file_path)?.into_header();
        index.check_file(&path, file, &header)?;
        headers.push((file_path, header));
    }
    Ok(headers)
}
