//! Fuzz target bodies: what each does with a slice of arbitrary bytes.
//!
//! A body returns for every input. It panics where the code under test panics or breaks a promise
//! of its page. `fuzz_targets` hands the bodies to libFuzzer, `tests/corpus.rs` replays the corpus
//! on a stable toolchain.

mod device;
mod operators;
mod tests;

pub use device::{
    combine, dispatch, grouped_gemm, layer_norm, linear, packet, rms_norm, rope, router,
    router_loss,
};
pub use operators::operators;

use expertile_reference::Elements;
use expertile_reference::checkpoint::{
    Error, Header, Index, ModelConfig, TensorFile, Tokenizer, read_i64,
};
use std::path::{Path, PathBuf};

/// `config.json`, then the byte 255, then `generation_config.json`.
pub fn config(data: &[u8]) {
    let (config, generation) = split(data);
    let Some(mut model) = accept(ModelConfig::parse(input(), config)) else { return };
    accept(model.config.validate().map_err(Error::Model)).expect("a config that validates");
    let before = model.clone();
    if accept(model.replace_tokens(input(), generation)).is_none() {
        assert_eq!(model, before, "a refused file replaced tokens");
    }
    let vocab = model.config.vocab;
    assert!(model.bos.iter().chain(&model.eos).all(|&id| (id as usize) < vocab));
}

/// A safetensors file: the header from memory, then every tensor from a file.
pub fn safetensors(data: &[u8]) {
    let header = Header::read(input(), &mut &data[..], data.len() as u64);
    let Some(header) = accept(header) else { return };
    let bytes: u64 = header.tensors().map(|(_, entry)| entry.bytes()).sum();
    assert!(bytes + 8 <= data.len() as u64, "tensors of {bytes} bytes in {}", data.len());

    let file = OnDisk::new("safetensors", data);
    let file = accept(TensorFile::open(&file.0)).expect("a header that was read before");
    assert_eq!(file.header(), &header);
    for (name, entry) in header.tensors() {
        let mut read = 0;
        if let Some(tensor) = accept(file.tensor(name, &mut |bytes| read += bytes)) {
            assert_eq!(tensor.shape(), entry.shape());
            assert_eq!(read, entry.bytes());
            let finite = match tensor.elements() {
                Elements::F32(x) => x.iter().all(|x| x.is_finite()),
                Elements::F16(x) => x.iter().all(|x| x.is_finite()),
                Elements::Bf16(x) => x.iter().all(|x| x.is_finite()),
            };
            assert!(finite, "{name} holds what is not finite");
        }
        if let Some((shape, elements)) = accept(file.tensor_i64(name)) {
            assert_eq!(shape, entry.shape());
            assert_eq!(8 * elements.len() as u64, entry.bytes());
        }
    }
}

/// `model.safetensors.index.json`.
pub fn index(data: &[u8]) {
    let Some(index) = accept(Index::parse(input(), data)) else { return };
    for file in index.files() {
        let path = Path::new("folder").join(file);
        assert_eq!(path.parent(), Some(Path::new("folder")), "{file:?} leaves its folder");
        assert_eq!(path.file_name().and_then(|name| name.to_str()), Some(file));
    }
}

/// `tokenizer.json`, then the byte 255, then a text.
pub fn tokenizer(data: &[u8]) {
    const VOCAB: u32 = 2048;
    let (json, text) = split(data);
    let parsed = Tokenizer::parse(input(), json, VOCAB as usize);
    let Some(tokenizer) = accept(parsed) else { return };
    let text = String::from_utf8_lossy(text);
    let ids = accept(tokenizer.encode(&text)).unwrap_or_default();
    assert!(ids.iter().all(|&id| id < VOCAB));
    accept(tokenizer.decode(&ids));

    let bytes = data.iter().rev().take(64).map(|&byte| u32::from(byte) * 9);
    let mut stream = tokenizer.stream();
    for id in ids.into_iter().take(256).chain(bytes).chain([u32::MAX]) {
        if let Some(Some(piece)) = accept(stream.push(id)) {
            assert!(!piece.is_empty());
        }
    }
    accept(stream.finish());
}

/// A file of token ids: the I64 tensor `input_ids`.
pub fn input_ids(data: &[u8]) {
    let file = OnDisk::new("input_ids", data);
    if let Some((shape, ids)) = accept(read_i64(&file.0, "input_ids")) {
        assert_eq!(shape.iter().product::<usize>(), ids.len());
        assert!(8 * ids.len() <= data.len());
    }
}

/// The value, or `None` for an error, which has to be one line of bounded length.
fn accept<T>(result: Result<T, Error>) -> Option<T> {
    let error = match result {
        Ok(value) => return Some(value),
        Err(error) => error.to_string(),
    };
    assert!(!error.contains(char::is_control), "{error:?}");
    assert!(error.len() < 4000, "an error of {} bytes", error.len());
    None
}

/// What comes before the first byte 255, which no UTF-8 has, and what comes after.
fn split(data: &[u8]) -> (&[u8], &[u8]) {
    let at = data.iter().position(|&byte| byte == 255).unwrap_or(data.len());
    (&data[..at], data.get(at + 1..).unwrap_or_default())
}

/// The path in errors.
fn input() -> &'static Path {
    Path::new("input")
}

/// A file that is removed in the end.
struct OnDisk(PathBuf);

impl OnDisk {
    fn new(target: &str, data: &[u8]) -> OnDisk {
        let name = format!("expertile-fuzz-{target}-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::write(&path, data).expect("a writable temporary folder");
        OnDisk(path)
    }
}

impl Drop for OnDisk {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}
