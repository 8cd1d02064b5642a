//! Measures how well a model predicts a text.

mod shared;

use expertile_reference::checkpoint::sampling::log_probability;
use expertile_reference::checkpoint::{Checkpoint, Tokenizer};
use expertile_reference::dbrx::LogitRows;
use expertile_reference::kv_cache::KvCache;
use expertile_reference::{Dbrx, Fast};
use lexopt::prelude::*;
use shared::{Result, fail, print};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

const HELP: &str = "\
Measures the perplexity of a DBRX model on a text.

Usage: perplexity [OPTIONS] FILE

The text is cut into windows of 255 tokens, the last of which may be shorter. Each is predicted by
itself, after the model's end-of-text token. The perplexity is the exponential of the mean negative
log-likelihood of all tokens.

Options:
  --model DIR   a folder with config.json, safetensors and tokenizer.json [default: nano, the
                built-in model]
  --device cpu  where to compute [default: cpu]
  -h, --help    print this
";

/// The tokens of a window.
const WINDOW: usize = 255;

/// The windows in one forward pass, at most.
const MOST_WINDOWS: usize = 8;

/// The logits in one forward pass, at most, unless one window has more.
const MOST_LOGITS: usize = 1 << 24;

fn main() -> ExitCode {
    shared::main(run)
}

fn run(mut parser: lexopt::Parser) -> Result {
    let (mut model, mut file) = (OsString::from("nano"), None);
    while let Some(argument) = parser.next()? {
        match argument {
            Short('h') | Long("help") => return print(HELP),
            Long("model") => model = parser.value()?,
            Long("device") => shared::device(&mut parser)?,
            Value(value) if file.is_none() => file = Some(PathBuf::from(value)),
            other => return Err(other.unexpected().into()),
        }
    }
    let Some(file) = file else { return fail("FILE is missing, see --help") };
    perplexity(&model, &file)
}

fn perplexity(model: &OsString, file: &Path) -> Result {
    let dir = shared::model_dir(model);
    let checkpoint = Checkpoint::open(&dir)?;
    let config = checkpoint.config();
    let tokenizer = Tokenizer::open(&dir, config.vocab)?;
    let Some(&start) = checkpoint.eos().iter().chain(tokenizer.eos()).next() else {
        return fail(format!("{}: has no end-of-text token", dir.display()));
    };
    let text = read(file)?;
    let ids = tokenizer.encode(&text)?;
    if ids.is_empty() {
        return fail(format!("{}: has no tokens", file.display()));
    }
    let (needed, most) = (1 + ids.len().min(WINDOW), config.max_seq_len);
    if needed > most {
        let path = dir.display();
        return fail(format!("{path}: max_seq_len is {most}, expected at least {needed}"));
    }

    let model = shared::load(&checkpoint, Fast)?;
    let windows: Vec<&[u32]> = ids.chunks(WINDOW).collect();
    let at_once = (MOST_LOGITS / (WINDOW * config.vocab)).clamp(1, MOST_WINDOWS);
    let bar = shared::progress(windows.len() as u64, "{bar:40} {pos} of {len} windows");
    let mut sum = 0.0;
    for windows in windows.chunks(at_once) {
        sum += log_likelihood(&model, start, windows)?;
        bar.inc(windows.len() as u64);
    }
    drop(bar);
    let perplexity = (-sum / ids.len() as f64).exp();
    print(&format!("perplexity {perplexity:.4} over {} tokens\n", ids.len()))
}

fn read(path: &Path) -> Result<String> {
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) => return fail(format!("{} cannot be read: {error}", path.display())),
    };
    match String::from_utf8(bytes) {
        Ok(text) => Ok(text),
        Err(error) => {
            let at = error.utf8_error().valid_up_to();
            fail(format!("{}: is not UTF-8 at byte {at}", path.display()))
        }
    }
}

/// The sum of the log probabilities of all tokens of some windows, each after `start`.
fn log_likelihood(model: &Dbrx<Fast>, start: u32, windows: &[&[u32]]) -> Result<f64> {
    let config = model.config();
    let lens: Vec<_> = windows.iter().map(|window| window.len()).collect();
    // The last token of a window is predicted, and predicts nothing.
    let inputs = windows
        .iter()
        .flat_map(|window| [start].into_iter().chain(window[..window.len() - 1].iter().copied()));
    let inputs: Vec<_> = inputs.collect();
    let capacity = lens.iter().copied().max().unwrap_or_default();
    let mut cache = KvCache::contiguous(config, windows.len(), capacity)?;
    let logits = model.forward(&inputs, &lens, &mut cache, LogitRows::All, None)?.logits;
    let mut sum = 0.0;
    for (logits, &id) in logits.chunks(config.vocab).zip(windows.iter().copied().flatten()) {
        sum += log_probability(logits, id)?;
    }
    Ok(sum)
}
