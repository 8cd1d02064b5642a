//! Continues a text, token by token.

mod shared;

use expertile_reference::checkpoint::sampling::Sampler;
use expertile_reference::checkpoint::{Checkpoint, Tokenizer};
use expertile_reference::dbrx::LogitRows;
use expertile_reference::kv_cache::KvCache;
use expertile_reference::{Config, Fast};
use lexopt::prelude::*;
use shared::{Result, fail, number, print, warn};
use std::ffi::OsString;
use std::process::ExitCode;
use std::time::{Duration, Instant};

const HELP: &str = "\
Continues a text with a DBRX model.

Usage: generate [OPTIONS] PROMPT

The prompt and its continuation go to standard output. A prompt that starts with - follows --.

Options:
  --model DIR      a folder with config.json, safetensors and tokenizer.json [default: nano, the
                   built-in model]
  --device cpu     where to compute [default: cpu]
  --max-tokens N   the most tokens to add [default: 64]
  --temperature T  0 always takes the most probable token [default: 0.8]
  --top-p P        draw from the most probable tokens of this total probability [default: 0.95]
  --seed S         the same seed draws the same tokens [default: 0]
  --stats          print speed and the load of each expert to standard error
  -h, --help       print this
";

fn main() -> ExitCode {
    shared::main(run)
}

struct Options {
    model: OsString,
    max_tokens: usize,
    temperature: f64,
    top_p: f64,
    seed: u64,
    stats: bool,
    prompt: String,
}

fn run(mut parser: lexopt::Parser) -> Result {
    match parse(&mut parser)? {
        Some(options) => generate(&options),
        None => print(HELP),
    }
}

/// The options, or `None` where help is asked for.
fn parse(parser: &mut lexopt::Parser) -> Result<Option<Options>> {
    let mut options = Options {
        model: "nano".into(),
        max_tokens: 64,
        temperature: 0.8,
        top_p: 0.95,
        seed: 0,
        stats: false,
        prompt: String::new(),
    };
    let mut prompt = None;
    while let Some(argument) = parser.next()? {
        match argument {
            Short('h') | Long("help") => return Ok(None),
            Long("model") => options.model = parser.value()?,
            Long("device") => shared::device(parser)?,
            Long("max-tokens") => {
                options.max_tokens = number(parser, "--max-tokens", "a whole number")?;
            }
            Long("temperature") => {
                options.temperature = number(parser, "--temperature", "a number")?;
            }
            Long("top-p") => options.top_p = number(parser, "--top-p", "a number")?,
            Long("seed") => {
                options.seed = number(parser, "--seed", "a whole number below 2^64")?;
            }
            Long("stats") => options.stats = true,
            Value(value) if prompt.is_none() => prompt = Some(value.string()?),
            other => return Err(other.unexpected().into()),
        }
    }
    let Some(prompt) = prompt else { return fail("PROMPT is missing, see --help") };
    Ok(Some(Options { prompt, ..options }))
}

fn generate(options: &Options) -> Result {
    let mut sampler = Sampler::new(options.temperature, options.top_p, options.seed)?;
    let dir = shared::model_dir(&options.model);
    let checkpoint = Checkpoint::open(&dir)?;
    let config = checkpoint.config();
    let tokenizer = Tokenizer::open(&dir, config.vocab)?;
    let mut ids: Vec<u32> = checkpoint.bos().into_iter().collect();
    ids.extend(tokenizer.encode(&options.prompt)?);
    if ids.is_empty() {
        return fail("the prompt has no tokens, and the model has none that starts a text");
    }
    let (prompt_tokens, most) = (ids.len(), config.max_seq_len);
    let Some(room) = most.checked_sub(prompt_tokens) else {
        let found = format!("the prompt has {prompt_tokens} tokens");
        return fail(format!("{found}, expected at most max_seq_len = {most}"));
    };
    let limit = options.max_tokens.min(room);
    let mut cache = KvCache::contiguous(config, 1, prompt_tokens + limit)?;
    let model = shared::load(&checkpoint, Fast)?;

    print(&options.prompt)?;
    // A decoder may treat the start of a text differently, which the continuation is not.
    let mut text = tokenizer.stream();
    for &id in &ids {
        text.push(id)?;
    }
    let mut stats = Stats::new(config);
    let mut ended = false;
    for _ in 0..limit {
        let start = Instant::now();
        let output = model.forward(&ids, &[ids.len()], &mut cache, LogitRows::Last, None)?;
        let id = sampler.sample(&output.logits)?;
        stats.add(ids.len(), start.elapsed(), &output.expert_counts);
        if checkpoint.eos().contains(&id) || tokenizer.eos().contains(&id) {
            ended = true;
            break;
        }
        if let Some(piece) = text.push(id)? {
            print(&piece)?;
        }
        ids = vec![id];
    }
    print(&(text.finish()?.unwrap_or_default() + "\n"))?;
    if !ended && limit < options.max_tokens {
        warn(&format!("stopped after {limit} tokens: the context of max_seq_len = {most} is full"));
    }
    if options.stats {
        stats.print();
    }
    Ok(())
}

/// Speed, and how often each expert was chosen.
struct Stats {
    /// The tokens and the time of the prompt's forward pass, and of all that follow it.
    passes: [(usize, Duration); 2],
    /// Over all layers, `[experts]`.
    counts: Vec<u64>,
    first: bool,
}

impl Stats {
    fn new(config: &Config) -> Stats {
        Stats { passes: Default::default(), counts: vec![0; config.experts], first: true }
    }

    fn add(&mut self, tokens: usize, elapsed: Duration, expert_counts: &[Vec<u32>]) {
        let (all_tokens, all_elapsed) = &mut self.passes[usize::from(!self.first)];
        self.first = false;
        *all_tokens += tokens;
        *all_elapsed += elapsed;
        for layer in expert_counts {
            self.counts.iter_mut().zip(layer).for_each(|(sum, &count)| *sum += u64::from(count));
        }
    }

    /// Bars are relative to the expert of the largest share, 40 characters.
    fn print(&self) {
        for (name, (tokens, elapsed)) in ["prompt", "decode"].into_iter().zip(self.passes) {
            let rate = tokens as f64 / elapsed.as_secs_f64().max(1e-9);
            warn(&format!("{name}: {tokens} tokens, {rate:.1} tokens/s"));
        }
        let total: u64 = self.counts.iter().sum();
        let largest = self.counts.iter().copied().max().unwrap_or_default().max(1);
        for (expert, &count) in self.counts.iter().enumerate() {
            let share = 100.0 * count as f64 / total.max(1) as f64;
            let bar = "#".repeat((40 * count / largest) as usize);
            warn(format!("expert {expert:>3} {share:>5.1} % {bar}").trim_end());
        }
    }
}
