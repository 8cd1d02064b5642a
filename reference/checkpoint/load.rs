//! A checkpoint folder: checked as a whole before any weight is read.

use super::config::ModelConfig;
use super::error::{Error, LISTED, Result, brief, list};
use super::header::{Entry, Header};
use super::index::read_headers;
use super::safetensors::{TensorFile, wrong_dtype};
use crate::config::Config;
use crate::tensor::{Elements, Tensor};
use crate::weights::Weights;
use safetensors::Dtype;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The folder of the model that the repository carries: `dbrx-nano`, of 8.1 million parameters. A
/// package of the registry does not: there the folder is missing.
pub fn builtin_model() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/models/dbrx-nano"))
}

/// The folder that a user means: `nano` is the [`builtin_model`], anything else a path. A folder of
/// that name is reached as `./nano`.
pub fn resolve(model: &str) -> PathBuf {
    if model == "nano" { builtin_model() } else { PathBuf::from(model) }
}

/// A DBRX checkpoint in the published layout, whose files agree, and whose weights were not read.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    dir: PathBuf,
    model: ModelConfig,
    files: Vec<(PathBuf, Header)>,
}

impl Checkpoint {
    /// Opens a folder with `config.json` and `model.safetensors`, or, instead of the latter,
    /// `model.safetensors.index.json` and the files it names.
    ///
    /// The tensors are exactly those that [`Weights::assemble`] asks for, of the shapes that it
    /// asks for, each F32, F16 or BF16.
    ///
    /// # Errors
    ///
    /// `Mismatch` names what is missing, extra or of the wrong shape, and `Unsupported` another
    /// type or a `dir` that is not a folder; else as [`ModelConfig::open`] and [`read_headers`].
    pub fn open(dir: impl AsRef<Path>) -> Result<Checkpoint> {
        let dir = dir.as_ref();
        let found = dir.metadata().map_err(|source| Error::io(dir, "opened", source))?;
        if !found.is_dir() {
            return Err(Error::unsupported(dir, "is not a folder"));
        }
        let model = ModelConfig::open(dir)?;
        let files = read_headers(dir)?;
        let checkpoint = Checkpoint { dir: dir.into(), model, files };
        check_tensors(&checkpoint, &tensors_of(&checkpoint.files))?;
        Ok(checkpoint)
    }

    /// The model.
    pub fn config(&self) -> &Config {
        &self.model.config
    }

    /// The token that starts a text, where the model has one.
    pub fn bos(&self) -> Option<u32> {
        self.model.bos
    }

    /// The tokens that end a text. Empty where the model has none.
    pub fn eos(&self) -> &[u32] {
        &self.model.eos
    }

    /// The size of all weights in the files.
    pub fn bytes(&self) -> u64 {
        tensors_of(&self.files).values().map(|(_, entry)| entry.bytes()).sum()
    }

    /// Reads the weights, in the order of the forward pass. Memory stays within
    /// [`bytes`](Checkpoint::bytes) and a constant. `progress` gets the bytes read so far and all
    /// bytes, about once per MiB.
    ///
    /// # Errors
    ///
    /// `NotFinite` for the first weight that is NaN or infinite; `Mismatch` for a file that changed
    /// since [`open`](Checkpoint::open); else as [`TensorFile::open`] and [`TensorFile::tensor`].
    pub fn load(&self, progress: &mut dyn FnMut(u64, u64)) -> Result<Weights> {
        let tensors = tensors_of(&self.files);
        let total = self.bytes();
        let mut done = 0;
        let mut open: Option<(&Path, TensorFile)> = None;
        Weights::assemble(&self.model.config, |name, _| {
            let Some(&(file, _)) = tensors.get(name) else {
                return Err(Error::mismatch(&self.dir, format!("{} is missing", brief(name))));
            };
            let (path, header) = &self.files[file];
            let file = match open.take() {
                Some((opened, file)) if opened == path => file,
                _ => {
                    let file = TensorFile::open(path)?;
                    if file.header() != header {
                        return Err(Error::mismatch(path, "changed since it was opened"));
                    }
                    file
                }
            };
            let tensor = file.tensor(name, &mut |bytes| {
                done += bytes;
                progress(done, total);
            });
            open = Some((path, file));
            tensor
        })
    }
}

/// The tensors of all files by name: the position of the file, and what its header says.
type Tensors<'a> = BTreeMap<&'a str, (usize, &'a Entry)>;

fn tensors_of(files: &[(PathBuf, Header)]) -> Tensors<'_> {
    let mut tensors = BTreeMap::new();
    for (i, (_, header)) in files.iter().enumerate() {
        tensors.extend(header.tensors().map(|(name, entry)| (name, (i, entry))));
    }
    tensors
}

/// Checks names, shapes and types of all tensors, in time and memory that the number of tensors
/// found bounds, whatever number of layers the configuration claims.
fn check_tensors(checkpoint: &Checkpoint, tensors: &Tensors<'_>) -> Result<()> {
    let config = &checkpoint.model.config;
    let one_layer = expected_of(&Config { layers: 1, ..config.clone() });
    let of_layer = one_layer.keys().filter(|name| name.starts_with(LAYER_0)).count() as u64;
    let expected = config.layers as u64 * of_layer + one_layer.len() as u64 - of_layer;

    let is_extra = |name: &&str| {
        !in_layer_0(name, config.layers).is_some_and(|name| one_layer.contains_key(&name))
    };
    let extra: Vec<_> = tensors.keys().copied().filter(is_extra).collect();
    let missing = expected - (tensors.len() - extra.len()) as u64;
    let mut sentences = Vec::new();
    if missing > 0 {
        let names = first_missing(config, tensors);
        let names = list(missing, names.iter().map(String::as_str));
        sentences.push(format!("{missing} of {expected} tensors missing: {names}"));
    }
    if !extra.is_empty() {
        let count = extra.len();
        let names = list(count as u64, extra.into_iter());
        sentences.push(format!("{count} not expected: {names}"));
    }
    if !sentences.is_empty() {
        return Err(Error::mismatch(&checkpoint.dir, sentences.join("; ")));
    }

    for (name, expected) in expected_of(config) {
        let Some(&(file, entry)) = tensors.get(name.as_str()) else { continue };
        let (path, _) = &checkpoint.files[file];
        if entry.shape() != expected {
            let reason = format!("{name} has shape {:?}, expected {expected:?}", entry.shape());
            return Err(Error::mismatch(path, reason));
        }
        if !matches!(entry.dtype(), Dtype::F32 | Dtype::F16 | Dtype::BF16) {
            return Err(wrong_dtype(path, &name, entry, "F32, F16 or BF16"));
        }
    }
    Ok(())
}

/// How the names of the tensors of the first layer start.
const LAYER_0: &str = "transformer.blocks.0.";

/// The name with the number of its layer replaced by 0. `None` when that is not below `layers`.
fn in_layer_0(name: &str, layers: usize) -> Option<String> {
    let Some((layer, rest)) =
        name.strip_prefix("transformer.blocks.").and_then(|rest| rest.split_once('.'))
    else {
        return Some(name.to_owned());
    };
    let number: usize = layer.parse().ok()?;
    (number < layers && number.to_string() == layer).then(|| format!("{LAYER_0}{rest}"))
}

/// The names and shapes of all tensors of a model.
fn expected_of(config: &Config) -> BTreeMap<String, Vec<usize>> {
    let mut expected = BTreeMap::new();
    visit(config, |name, shape| {
        expected.insert(name.to_owned(), shape.to_vec());
        true
    });
    expected
}

/// The first tensors of the forward pass that were not found, as many as an error lists.
fn first_missing(config: &Config, tensors: &Tensors<'_>) -> Vec<String> {
    let mut missing = Vec::new();
    visit(config, |name, _| {
        if !tensors.contains_key(name) {
            missing.push(name.to_owned());
        }
        missing.len() < LISTED
    });
    missing
}

/// Calls `visitor` with the name and the shape of each tensor, until it returns false.
fn visit(config: &Config, mut visitor: impl FnMut(&str, &[usize]) -> bool) {
    // An error is how `assemble` is stopped; the empty tensors are dropped with its result.
    let _ = Weights::assemble(config, |name, shape| {
        let empty = Tensor::new([0], Elements::F32(Vec::new()));
        empty.filter(|_| visitor(name, shape)).ok_or(())
    });
}
