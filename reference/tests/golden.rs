//! The whole model against the published implementation, and against itself.

use expertile_reference::checkpoint::sampling::{greedy, log_probability};
use expertile_reference::checkpoint::{Checkpoint, TensorFile, Tokenizer, builtin_model};
use expertile_reference::dbrx::{LogitRows, Trace};
use expertile_reference::kv_cache::KvCache;
use expertile_reference::{Arithmetic, Dbrx, Fast, Plain, Rounding};
use std::path::Path;

const F64: Plain = Plain { rounding: Rounding::F64 };
const F32: Plain = Plain { rounding: Rounding::F32 };

/// The largest absolute difference from the expected values, which are f32 of order 1 and were
/// computed in f32: an ulp of 1e-7, grown by sums of up to 768 terms through up to 3 blocks.
const BOUND: f64 = 1e-4;

/// A golden checkpoint and its input.
struct Golden {
    name: &'static str,
    checkpoint: Checkpoint,
    expected: TensorFile,
    batch: usize,
    tokens: usize,
    /// `[batch, tokens]`.
    ids: Vec<u32>,
}

impl Golden {
    fn open(name: &'static str) -> Golden {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
        let checkpoint = Checkpoint::open(&dir).unwrap();
        let expected = TensorFile::open(&dir.join("expected.safetensors")).unwrap();
        let (shape, ids) = expected.tensor_i64("input_ids").unwrap();
        let ids = ids.into_iter().map(|id| id.try_into().unwrap()).collect();
        Golden { name, checkpoint, expected, batch: shape[0], tokens: shape[1], ids }
    }

    fn model<A: Arithmetic>(&self, arithmetic: A) -> Dbrx<A> {
        model(&self.checkpoint, arithmetic)
    }

    /// Compares every expected value with what an arithmetic computes, and prints how far they are.
    fn compare<A: Arithmetic>(&self, arithmetic: A, arithmetic_name: &str) {
        let model = self.model(arithmetic);
        let lens = vec![self.tokens; self.batch];
        let mut cache = KvCache::contiguous(model.config(), self.batch, self.tokens).unwrap();
        let mut trace = Trace::default();
        let output =
            model.forward(&self.ids, &lens, &mut cache, LogitRows::All, Some(&mut trace)).unwrap();

        let layers = model.config().layers;
        let mut found =
            vec![("logits".to_owned(), output.logits.iter().map(|&x| x.into()).collect())];
        assert_eq!(trace.hidden_states.len(), layers + 1);
        assert_eq!(trace.router_logits.len(), layers);
        for (name, values) in
            [("hidden_states", trace.hidden_states), ("router_logits", trace.router_logits)]
        {
            let named = |(layer, values)| (format!("{name}.{layer}"), values);
            found.extend(values.into_iter().enumerate().map(named));
        }
        // The ids and the greedy tokens are compared elsewhere.
        assert_eq!(found.len() + 2, self.expected.header().len());

        let mut worst = (0.0, String::new());
        for (name, found) in found {
            let difference = self.difference(&name, &found);
            if difference.0 >= worst.0 {
                worst = difference;
            }
        }
        let (difference, place) = worst;
        let summary = format!("{}, {arithmetic_name}: {difference:.1e} in {place}", self.name);
        println!("{summary}");
        assert!(difference <= BOUND, "{summary}, expected at most {BOUND:.0e}");
        assert_eq!(self.greedy(&model), self.expected.tensor_i64("greedy").unwrap().1, "{summary}");
    }

    /// The largest difference from one expected array, and where it is. Infinite for a NaN.
    fn difference(&self, name: &str, found: &[f64]) -> (f64, String) {
        let expected = self.expected.tensor(name, &mut |_| ()).unwrap();
        assert_eq!(found.len(), expected.elements().len(), "{name}");
        let mut worst = (0.0, String::new());
        for (i, (&found, &expected)) in found.iter().zip(&*expected.to_f32()).enumerate() {
            let difference = (found - f64::from(expected)).abs();
            let difference = if difference.is_nan() { f64::INFINITY } else { difference };
            if difference >= worst.0 {
                worst =
                    (difference, format!("element {i} of {name}: {found}, expected {expected}"));
            }
        }
        worst
    }

    /// `[batch, new]` tokens after the prompts, through the cache.
    fn greedy<A: Arithmetic>(&self, model: &Dbrx<A>) -> Vec<i64> {
        let new = self.expected.header().get("greedy").unwrap().shape()[1];
        let mut cache = KvCache::contiguous(model.config(), self.batch, self.tokens + new).unwrap();
        let steps = continue_greedily(model, &self.ids, self.batch, new, &mut cache);
        let rows = (0..self.batch).flat_map(|row| steps.iter().map(move |ids| ids[row].into()));
        rows.collect()
    }
}

fn goldens() -> [Golden; 4] {
    ["tiny-top2", "dbrx-shape", "no-renorm", "pnorm2"].map(Golden::open)
}

fn model<A: Arithmetic>(checkpoint: &Checkpoint, arithmetic: A) -> Dbrx<A> {
    let weights = checkpoint.load(&mut |_, _| ()).unwrap();
    Dbrx::new(checkpoint.config().clone(), weights, arithmetic).unwrap()
}

/// The `new` tokens that follow equally long prompts, `[new][batch]`.
fn continue_greedily<A: Arithmetic>(
    model: &Dbrx<A>,
    prompts: &[u32],
    batch: usize,
    new: usize,
    cache: &mut KvCache<A::Value>,
) -> Vec<Vec<u32>> {
    let mut steps: Vec<Vec<u32>> = Vec::new();
    while steps.len() < new {
        let ids = steps.last().map_or(prompts, Vec::as_slice);
        let lens = vec![ids.len() / batch; batch];
        let logits = model.forward(ids, &lens, cache, LogitRows::Last, None).unwrap().logits;
        let rows = logits.chunks(model.config().vocab);
        steps.push(rows.map(|logits| greedy(logits).unwrap()).collect());
    }
    steps
}

#[test]
fn plain_f64_matches_the_published_model() {
    goldens().iter().for_each(|golden| golden.compare(F64, "plain f64"));
}

#[test]
fn plain_f32_matches_the_published_model() {
    goldens().iter().for_each(|golden| golden.compare(F32, "plain f32"));
}

#[test]
fn fast_matches_the_published_model() {
    goldens().iter().for_each(|golden| golden.compare(Fast, "fast"));
}

/// Prompts of different lengths in two pieces, then three more tokens each: the bits of all logits.
fn logits_in_pieces<A: Arithmetic>(
    golden: &Golden,
    model: &Dbrx<A>,
    mut cache: KvCache<A::Value>,
) -> Vec<u64> {
    let Golden { batch, tokens, ids, .. } = golden;
    let pieces = [tokens / 2, tokens / 4, 1, 1, 1];
    let mut starts: Vec<usize> = (0..*batch).map(|row| row * tokens).collect();
    let mut bits = Vec::new();
    for (i, piece) in pieces.into_iter().enumerate() {
        // The first piece is longer by one for each sequence.
        let lens: Vec<_> =
            (0..*batch).map(|row| if i == 0 { piece + row } else { piece }).collect();
        let mut new = Vec::new();
        for (start, len) in starts.iter_mut().zip(&lens) {
            new.extend(&ids[*start..*start + len]);
            *start += len;
        }
        let output = model.forward(&new, &lens, &mut cache, LogitRows::All, None).unwrap();
        bits.extend(output.logits.iter().map(|&logit| -> u64 { logit.into().to_bits() }));
    }
    bits
}

fn pages_change_nothing<A: Arithmetic>(arithmetic: impl Fn() -> A) {
    for golden in goldens() {
        let model = golden.model(arithmetic());
        let (config, batch, tokens) = (model.config(), golden.batch, golden.tokens);
        let contiguous = KvCache::contiguous(config, batch, tokens).unwrap();
        let expected = logits_in_pieces(&golden, &model, contiguous);
        for page_size in [1, 3, 16] {
            let paged = KvCache::paged(config, batch, tokens, page_size).unwrap();
            let found = logits_in_pieces(&golden, &model, paged);
            let place = found.iter().zip(&expected).position(|(found, expected)| found != expected);
            assert_eq!(found.len(), expected.len());
            assert_eq!(place, None, "{}: the first logit in pages of {page_size}", golden.name);
        }
    }
}

#[test]
fn pages_change_no_bit_of_plain() {
    pages_change_nothing(|| F64);
}

#[test]
fn pages_change_no_bit_of_fast() {
    pages_change_nothing(|| Fast);
}

/// `expected.json` of the built-in model.
fn nano_expected() -> serde_json::Value {
    serde_json::from_slice(&std::fs::read(builtin_model().join("expected.json")).unwrap()).unwrap()
}

fn nano_tokenizer() -> Tokenizer {
    Tokenizer::open(builtin_model(), 2048).unwrap()
}

#[test]
fn nano_continues_as_expected() {
    let checkpoint = Checkpoint::open(builtin_model()).unwrap();
    let (model, tokenizer) = (model(&checkpoint, Fast), nano_tokenizer());
    let expected = nano_expected();
    let cases = expected["greedy"].as_array().unwrap();
    assert_eq!(cases.len(), 5);
    for case in cases {
        let prompt = case["prompt"].as_str().unwrap();
        let mut ids: Vec<_> = checkpoint.bos().into_iter().collect();
        ids.extend(tokenizer.encode(prompt).unwrap());
        assert_eq!(serde_json::json!(ids), case["prompt_ids"], "{prompt}");
        let new = case["greedy_ids"].as_array().unwrap().len();
        let mut cache = KvCache::contiguous(model.config(), 1, ids.len() + new).unwrap();
        let found = continue_greedily(&model, &ids, 1, new, &mut cache).concat();
        assert_eq!(serde_json::json!(found), case["greedy_ids"], "{prompt}");
        assert_eq!(tokenizer.decode(&found).unwrap(), case["text"].as_str().unwrap(), "{prompt}");
    }
}

/// The windows of nano's held-out text, as `expected.json` describes them.
fn nano_windows() -> Vec<Vec<u32>> {
    let text = std::fs::read_to_string(builtin_model().join("valid.txt")).unwrap();
    let ids = nano_tokenizer().encode(&text).unwrap();
    ids.chunks(255).map(|window| [&[0], window].concat()).collect()
}

/// The perplexity of windows, four of them in a forward pass, and the number of tokens.
fn perplexity<A: Arithmetic>(model: &Dbrx<A>, windows: &[Vec<u32>]) -> (f64, usize) {
    let (mut sum, mut tokens) = (0.0, 0);
    for windows in windows.chunks(4) {
        let lens: Vec<_> = windows.iter().map(Vec::len).collect();
        let ids = windows.concat();
        let mut cache = KvCache::contiguous(model.config(), lens.len(), 256).unwrap();
        let logits = model.forward(&ids, &lens, &mut cache, LogitRows::All, None).unwrap().logits;
        let mut rows = logits.chunks(model.config().vocab);
        for window in windows {
            for &id in &window[1..] {
                sum += log_probability(rows.next().unwrap(), id).unwrap();
                tokens += 1;
            }
            rows.next();
        }
    }
    ((-sum / tokens as f64).exp(), tokens)
}

#[test]
fn nano_has_the_expected_perplexity() {
    let model = model(&Checkpoint::open(builtin_model()).unwrap(), Fast);
    let (found, tokens) = perplexity(&model, &nano_windows());
    let expected = nano_expected();
    assert_eq!(Some(tokens as u64), expected["tokens"].as_u64());
    let difference = found / expected["perplexity"].as_f64().unwrap() - 1.0;
    println!("nano, fast: perplexity {found}, off by {difference:.1e}");
    assert!(difference.abs() <= 1e-4, "{found} is off by {difference:.1e}");
}

#[test]
fn nano_has_the_same_perplexity_in_both_arithmetics() {
    let checkpoint = Checkpoint::open(builtin_model()).unwrap();
    let windows = &nano_windows()[..4];
    let (plain, _) = perplexity(&model(&checkpoint, F64), windows);
    let (fast, _) = perplexity(&model(&checkpoint, Fast), windows);
    let difference = fast / plain - 1.0;
    println!("nano, 4 windows: plain {plain}, fast {fast}, off by {difference:.1e}");
    assert!(difference.abs() <= 1e-5, "plain {plain}, fast {fast}, off by {difference:.1e}");
}
