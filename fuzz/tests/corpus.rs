//! Replays every file of the corpus.

use expertile_fuzz as fuzz;
use std::fs;
use std::path::Path;

fn replay(target: &str, body: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
    let mut files: Vec<_> =
        fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty(), "{} is empty", folder.display());
    for file in files {
        // Shown with a failure, to name the input.
        println!("{}", file.display());
        body(&fs::read(&file).unwrap());
    }
}

#[test]
fn config() {
    replay("config", fuzz::config);
}

#[test]
fn safetensors() {
    replay("safetensors", fuzz::safetensors);
}

#[test]
fn index() {
    replay("index", fuzz::index);
}

#[test]
fn tokenizer() {
    replay("tokenizer", fuzz::tokenizer);
}

#[test]
fn input_ids() {
    replay("input_ids", fuzz::input_ids);
}

#[test]
fn operators() {
    replay("operators", fuzz::operators);
}

#[test]
fn rope() {
    replay("rope", fuzz::rope);
}

#[test]
fn layer_norm() {
    replay("layer_norm", fuzz::layer_norm);
}

#[test]
fn rms_norm() {
    replay("rms_norm", fuzz::rms_norm);
}

#[test]
fn linear() {
    replay("linear", fuzz::linear);
}

#[test]
fn grouped_gemm() {
    replay("grouped_gemm", fuzz::grouped_gemm);
}

#[test]
fn dispatch() {
    replay("dispatch", fuzz::dispatch);
}

#[test]
fn combine() {
    replay("combine", fuzz::combine);
}

#[test]
fn packet() {
    replay("packet", fuzz::packet);
}

#[test]
fn router() {
    replay("router", fuzz::router);
}

#[test]
fn router_loss() {
    replay("router_loss", fuzz::router_loss);
}
