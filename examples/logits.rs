//! Writes a model's logits for token ids from a file, in a choice of arithmetics.

mod shared;

use expertile_reference::checkpoint::sampling::greedy;
use expertile_reference::checkpoint::{Checkpoint, Data, Writer, read_i64};
use expertile_reference::dbrx::LogitRows;
use expertile_reference::kv_cache::KvCache;
use expertile_reference::{Arithmetic, Config, Dbrx, Fast, Plain, Rounding};
use lexopt::prelude::*;
use safetensors::Dtype;
use shared::{Result, fail, number, print};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

const HELP: &str = "\
Computes the logits of a DBRX model for token ids.

Usage: logits MODEL_DIR --input FILE --output FILE [OPTIONS]

Reads input_ids, I64 [batch, tokens], from one safetensors file and writes another, with
  logits  F32 [batch, tokens, vocab]
  greedy  I64 [batch, N], with --greedy: the most probable tokens that follow each prompt

MODEL_DIR is a folder with config.json and safetensors, or nano, the built-in model.

Options:
  --input FILE    the safetensors file to read
  --output FILE   the safetensors file to write
  --greedy N      how many tokens to add to each prompt
  --device cpu    where to compute [default: cpu]
  --arithmetic A  f64: the plain operators in double precision [default]
                  f32, f16, bf16: the same, each result rounded to this type
                  fast: f32 on all cores
  -h, --help      print this
";

/// The logits computed in one forward pass, at most, unless one sequence has more.
const MOST_LOGITS: usize = 1 << 22;

fn main() -> ExitCode {
    shared::main(run)
}

struct Options {
    model: OsString,
    input: PathBuf,
    output: PathBuf,
    greedy: Option<usize>,
    arithmetic: String,
}

/// The options, or `None` where help is asked for.
fn parse(parser: &mut lexopt::Parser) -> Result<Option<Options>> {
    let (mut model, mut input, mut output, mut greedy) = (None, None, None, None);
    let mut arithmetic = "f64".to_owned();
    while let Some(argument) = parser.next()? {
        match argument {
            Short('h') | Long("help") => return Ok(None),
            Long("input") => input = Some(parser.value()?.into()),
            Long("output") => output = Some(parser.value()?.into()),
            Long("greedy") => greedy = Some(number(parser, "--greedy", "a whole number")?),
            Long("device") => shared::device(parser)?,
            Long("arithmetic") => arithmetic = parser.value()?.string()?,
            Value(value) if model.is_none() => model = Some(value),
            other => return Err(other.unexpected().into()),
        }
    }
    let Some(model) = model else { return fail("MODEL_DIR is missing, see --help") };
    let Some(input) = input else { return fail("--input is missing, see --help") };
    let Some(output) = output else { return fail("--output is missing, see --help") };
    Ok(Some(Options { model, input, output, greedy, arithmetic }))
}

fn run(mut parser: lexopt::Parser) -> Result {
    let Some(options) = parse(&mut parser)? else { return print(HELP) };
    match options.arithmetic.as_str() {
        "f64" => logits(&options, Plain { rounding: Rounding::F64 }),
        "f32" => logits(&options, Plain { rounding: Rounding::F32 }),
        "f16" => logits(&options, Plain { rounding: Rounding::F16 }),
        "bf16" => logits(&options, Plain { rounding: Rounding::Bf16 }),
        "fast" => logits(&options, Fast),
        other => fail(format!("--arithmetic is \"{other}\", expected f64, f32, f16, bf16 or fast")),
    }
}

fn logits<A: Arithmetic>(options: &Options, arithmetic: A) -> Result {
    let dir = shared::model_dir(&options.model);
    let checkpoint = Checkpoint::open(&dir)?;
    let config = checkpoint.config();
    let Prompts { batch, tokens, ids } = read_prompts(&options.input, config, options.greedy)?;
    let new = options.greedy.unwrap_or_default();
    let (logits_shape, greedy_shape) = ([batch, tokens, config.vocab], [batch, new]);
    let mut arrays = vec![("logits", &logits_shape[..], Dtype::F32)];
    if options.greedy.is_some() {
        arrays.push(("greedy", &greedy_shape, Dtype::I64));
    }
    let mut writer = Writer::create(&options.output, &arrays)?;
    let model = shared::load(&checkpoint, arithmetic)?;

    let group = MOST_LOGITS.checked_div(tokens * config.vocab).unwrap_or_default().max(1);
    let bar = shared::progress(ids.len() as u64, "{bar:40} {pos} of {len} tokens");
    for ids in ids.chunks((group * tokens).max(1)) {
        let (logits, greedy) = run_group(&model, ids, tokens, new)?;
        writer.append("logits", Data::F32(&logits))?;
        if options.greedy.is_some() {
            writer.append("greedy", Data::I64(&greedy))?;
        }
        bar.inc(ids.len() as u64);
    }
    Ok(writer.finish()?)
}

/// `input_ids`, checked against the model.
struct Prompts {
    batch: usize,
    tokens: usize,
    /// `[batch, tokens]`.
    ids: Vec<u32>,
}

fn read_prompts(path: &Path, config: &Config, greedy: Option<usize>) -> Result<Prompts> {
    let (shape, ids) = read_i64(path, "input_ids")?;
    let refuse = |reason: String| fail(format!("{}: {reason}", path.display()));
    let [batch, tokens] = shape[..] else {
        return refuse(format!("input_ids has shape {shape:?}, expected [batch, tokens]"));
    };
    let (new, most) = (greedy.unwrap_or_default(), config.max_seq_len);
    if tokens == 0 && new > 0 {
        return refuse(format!(
            "input_ids has shape {shape:?}, nothing for --greedy {new} to follow"
        ));
    }
    if tokens.saturating_add(new) > most {
        let found = format!("input_ids has {tokens} tokens and --greedy adds {new}");
        return refuse(format!("{found}, expected at most max_seq_len = {most} together"));
    }
    let mut checked = Vec::with_capacity(ids.len());
    for (i, &id) in ids.iter().enumerate() {
        match u32::try_from(id) {
            Ok(small) if (small as usize) < config.vocab => checked.push(small),
            _ => {
                let (row, column, vocab) = (i / tokens, i % tokens, config.vocab);
                let found = format!("input_ids[{row}, {column}] is {id}");
                return refuse(format!("{found}, expected at least 0 and less than {vocab}"));
            }
        }
    }
    Ok(Prompts { batch, tokens, ids: checked })
}

/// The logits of some sequences of `tokens` tokens, and `new` tokens that follow each.
fn run_group<A: Arithmetic>(
    model: &Dbrx<A>,
    ids: &[u32],
    tokens: usize,
    new: usize,
) -> Result<(Vec<f32>, Vec<i64>)> {
    let (sequences, vocab) = (ids.len() / tokens, model.config().vocab);
    let mut cache = KvCache::contiguous(model.config(), sequences, tokens + new)?;
    let lens = vec![tokens; sequences];
    let prompt = model.forward(ids, &lens, &mut cache, LogitRows::All, None)?.logits;
    let logits = prompt.iter().map(|&logit| logit.into() as f32).collect();
    if new == 0 {
        return Ok((logits, Vec::new()));
    }

    let last = prompt.chunks(tokens * vocab).map(|logits| greedy(&logits[(tokens - 1) * vocab..]));
    // The new tokens, [new][sequences].
    let mut steps = vec![last.collect::<Result<Vec<_>, _>>()?];
    while steps.len() < new {
        let lens = vec![1; sequences];
        let ids = &steps[steps.len() - 1];
        let logits = model.forward(ids, &lens, &mut cache, LogitRows::Last, None)?.logits;
        steps.push(logits.chunks(vocab).map(greedy).collect::<Result<Vec<_>, _>>()?);
    }
    let rows = (0..sequences).flat_map(|row| steps.iter().map(move |ids| i64::from(ids[row])));
    Ok((logits, rows.collect()))
}
