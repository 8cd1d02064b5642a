//! Text to token ids and back.

use super::error::{Error, Result, brief};
use super::json::{is_there, read_limited};
use super::outline::check_outline;
use std::path::{Path, PathBuf};
use tiktoken_rs::CoreBPE;

/// The largest `tokenizer.json` that is read, in bytes.
pub const MAX_TOKENIZER_BYTES: u64 = 64 << 20;

/// The tokenizer of a checkpoint: its `tokenizer.json`, or, where there is none, `cl100k_base` with
/// the special tokens of the published DBRX.
pub struct Tokenizer {
    path: PathBuf,
    scheme: Scheme,
}

enum Scheme {
    Json(Box<tokenizers::Tokenizer>),
    Cl100k(&'static CoreBPE),
}

/// The special tokens that DBRX adds to those of `cl100k_base`.
const DBRX_TOKENS: [(&str, u32); 3] =
    [("<|pad|>", 100_277), ("<|im_start|>", 100_278), ("<|im_end|>", 100_279)];

/// The first id above the ordinary tokens of `cl100k_base`.
const CL100K_ORDINARY: u32 = 100_256;

/// The smallest vocabulary that holds every token of DBRX.
const CL100K_VOCAB: usize = 100_280;

/// `<|endoftext|>` and `<|im_end|>` of DBRX.
const CL100K_EOS: [u32; 2] = [100_257, 100_279];

impl Tokenizer {
    /// Opens the tokenizer of the checkpoint in `dir`, for a model with `vocab` token ids.
    ///
    /// A truncation or padding that the file asks for is left out: a text has the tokens it has.
    ///
    /// # Errors
    ///
    /// `Malformed` for a `tokenizer.json` that the `tokenizers` crate refuses, `Unsupported` when
    /// an id is not below `vocab`, `Io` when the file cannot be read.
    pub fn open(dir: impl AsRef<Path>, vocab: usize) -> Result<Tokenizer> {
        let path = dir.as_ref().join("tokenizer.json");
        if is_there(&path) {
            let text = read_limited(&path, MAX_TOKENIZER_BYTES)?;
            return Tokenizer::parse(&path, &text, vocab);
        }
        if vocab < CL100K_VOCAB {
            let reason = format!(
                "has no tokenizer.json, and a vocabulary of {vocab} is too small for cl100k_base, \
                 expected at least {CL100K_VOCAB}"
            );
            return Err(Error::unsupported(dir.as_ref(), reason));
        }
        let scheme = Scheme::Cl100k(tiktoken_rs::cl100k_base_singleton());
        Ok(Tokenizer { path: dir.as_ref().into(), scheme })
    }

    /// Parses the text of a `tokenizer.json`. `path` serves the errors.
    ///
    /// # Errors
    ///
    /// As [`open`](Tokenizer::open).
    pub fn parse(path: &Path, text: &[u8], vocab: usize) -> Result<Tokenizer> {
        check_outline(path, text)?;
        let mut tokenizer = tokenizers::Tokenizer::from_bytes(text).map_err(|error| {
            let error = brief(&error.to_string());
            Error::malformed(path, format!("is not a valid tokenizer: {error}"))
        })?;
        let no_truncation = tokenizer.with_truncation(None);
        no_truncation.map_err(|error| Error::malformed(path, brief(&error.to_string())))?;
        tokenizer.with_padding(None);
        let largest = tokenizer.get_vocab(true).into_iter().max_by_key(|&(_, id)| id);
        if let Some((token, id)) = largest.filter(|&(_, id)| id as usize >= vocab) {
            let token = brief(&token);
            let reason = format!("token \"{token}\" has id {id}, expected less than {vocab}");
            return Err(Error::unsupported(path, reason));
        }
        Ok(Tokenizer { path: path.into(), scheme: Scheme::Json(Box::new(tokenizer)) })
    }

    /// The tokens that end a text, where the tokenizer itself knows: those of DBRX for
    /// `cl100k_base`. A `tokenizer.json` does not tell; its checkpoint's configuration does.
    pub fn eos(&self) -> &[u32] {
        match self.scheme {
            Scheme::Json(_) => &[],
            Scheme::Cl100k(_) => &CL100K_EOS,
        }
    }

    /// The token ids of a text. None is added; special tokens written in the text are recognised.
    ///
    /// # Errors
    ///
    /// `Unsupported` for a text that the tokenizer has no tokens for.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>> {
        let refuse = |error: String| {
            let reason = format!("cannot encode a text of {} bytes: {}", text.len(), brief(&error));
            Error::unsupported(&self.path, reason)
        };
        match &self.scheme {
            Scheme::Json(tokenizer) => {
                let encoding = tokenizer.encode_fast(text, false);
                Ok(encoding.map_err(|error| refuse(error.to_string()))?.get_ids().to_vec())
            }
            Scheme::Cl100k(bpe) => {
                let mut ids = Vec::new();
                let mut rest = text;
                let allowed = bpe.special_tokens();
                let encode = |text: &str| bpe.encode(text, &allowed).map_err(|e| refuse(e.message));
                while let Some((before, id, after)) = split_dbrx_token(rest) {
                    ids.extend(encode(before)?.0);
                    ids.push(id);
                    rest = after;
                }
                ids.extend(encode(rest)?.0);
                Ok(ids)
            }
        }
    }

    /// The text of token ids. Special tokens and ids without a token are left out; bytes that are
    /// not UTF-8 become U+FFFD.
    ///
    /// # Errors
    ///
    /// `Unsupported` when the decoder of a `tokenizer.json` refuses.
    pub fn decode(&self, ids: &[u32]) -> Result<String> {
        match &self.scheme {
            Scheme::Json(tokenizer) => tokenizer.decode(ids, true).map_err(|error| {
                let error = brief(&error.to_string());
                let reason = format!("cannot decode {} tokens: {error}", ids.len());
                Error::unsupported(&self.path, reason)
            }),
            Scheme::Cl100k(bpe) => {
                let ordinary: Vec<_> =
                    ids.iter().copied().filter(|&id| id < CL100K_ORDINARY).collect();
                let bytes = bpe.decode_bytes(&ordinary).unwrap_or_default();
                Ok(String::from_utf8_lossy(&bytes).into_owned())
            }
        }
    }

    /// A decoder for ids that come one by one.
    pub fn stream(&self) -> TextStream<'_> {
        TextStream { tokenizer: self, ids: Vec::new(), context: 0, given: 0 }
    }
}

/// The text before the first token of [`DBRX_TOKENS`], its id, and the text after.
fn split_dbrx_token(text: &str) -> Option<(&str, u32, &str)> {
    text.match_indices("<|").find_map(|(at, _)| {
        let (before, here) = text.split_at(at);
        DBRX_TOKENS.iter().find_map(|&(token, id)| Some((before, id, here.strip_prefix(token)?)))
    })
}

impl std::fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let scheme = match self.scheme {
            Scheme::Json(_) => "tokenizer.json",
            Scheme::Cl100k(_) => "cl100k_base",
        };
        write!(f, "Tokenizer({scheme} of {:?})", self.path)
    }
}

/// The most tokens that wait. A character has at most four bytes, but each token may end one and
/// start the next; text that is still open after this many is given out as it is.
const MAX_WAITING: usize = 64;

/// Turns token ids into text as they come, in whole characters. From [`Tokenizer::stream`].
///
/// Tokens of byte-level vocabularies may end inside a character; its bytes wait for the rest.
#[derive(Debug)]
pub struct TextStream<'a> {
    tokenizer: &'a Tokenizer,
    /// Tokens whose text was given out, then tokens that wait. The former are the context that a
    /// decoder may need: some drop a space at the very start.
    ids: Vec<u32>,
    context: usize,
    /// The bytes already given out of the text of the tokens that wait.
    given: usize,
}

impl TextStream<'_> {
    /// Takes one token. Returns the text that it completes, or `None` while a character is open or
    /// where the token has no text.
    ///
    /// # Errors
    ///
    /// As [`Tokenizer::decode`].
    pub fn push(&mut self, id: u32) -> Result<Option<String>> {
        self.ids.push(id);
        let text = self.waiting()?;
        let whole = text.trim_end_matches(char::REPLACEMENT_CHARACTER).len();
        let full = self.ids.len() - self.context >= MAX_WAITING;
        let ready = if full { text.len() } else { whole };
        let new = text.get(self.given..ready).unwrap_or_default().to_owned();
        self.given = self.given.max(ready);
        if full || (ready > 0 && ready == text.len()) {
            self.ids.drain(..self.context);
            self.context = self.ids.len();
            self.given = 0;
        }
        Ok(Some(new).filter(|new| !new.is_empty()))
    }

    /// Returns what still waits, as U+FFFD for each character that never ended.
    ///
    /// # Errors
    ///
    /// As [`Tokenizer::decode`].
    pub fn finish(self) -> Result<Option<String>> {
        let text = self.waiting()?;
        Ok(text.get(self.given..).filter(|text| !text.is_empty()).map(str::to_owned))
    }

    /// The text of the tokens that wait.
    fn waiting(&self) -> Result<String> {
        let before = self.tokenizer.decode(&self.ids[..self.context])?;
        let mut all = self.tokenizer.decode(&self.ids)?;
        let common = before.chars().zip(all.chars()).take_while(|(x, y)| x == y);
        let given: usize = common.map(|(x, _)| x.len_utf8()).sum();
        Ok(all.split_off(given))
    }
}
