//! Which `tokenizer.json` files the `tokenizers` crate is given.
//!
//! That crate panics on some malformed files: on a decoder cut short, on a `Precompiled` normalizer
//! that is not one, on a `Replace` of nothing, on a `FixedLength` of zero. Byte-level BPE, which
//! every published DBRX tokenizer is, needs none of these, so only its parts pass.

use super::error::{Error, Result};
use super::json::{Json, not_json};
use serde::Deserialize;
use std::path::Path;

/// What is looked at of a `tokenizer.json`. The vocabulary is skipped without being stored.
#[derive(Deserialize)]
#[serde(expecting = "the object of a tokenizer")]
struct Outline {
    normalizer: Option<Json>,
    pre_tokenizer: Option<Json>,
    post_processor: Option<Json>,
    decoder: Option<Json>,
    model: Model,
}

#[derive(Deserialize)]
#[serde(expecting = "the object of a model")]
struct Model {
    r#type: Option<Json>,
    dropout: Option<Json>,
    continuing_subword_prefix: Option<Json>,
    end_of_word_suffix: Option<Json>,
}

/// One kind of part: its field, the types that pass, and the field of a `Sequence` of such parts.
struct Kind {
    field: &'static str,
    types: &'static [&'static str],
    sequence: &'static str,
}

const NORMALIZER: Kind = Kind {
    field: "normalizer",
    types: &["NFC", "NFD", "NFKC", "NFKD", "Sequence"],
    sequence: "normalizers",
};

const PRE_TOKENIZER: Kind = Kind {
    field: "pre_tokenizer",
    types: &["ByteLevel", "Digits", "Split", "Sequence"],
    sequence: "pretokenizers",
};

const POST_PROCESSOR: Kind = Kind {
    field: "post_processor",
    types: &["ByteLevel", "TemplateProcessing", "Sequence"],
    sequence: "processors",
};

const DECODER: Kind =
    Kind { field: "decoder", types: &["ByteLevel", "Sequence"], sequence: "decoders" };

/// Checks that a text is JSON, and that it describes a byte-level BPE tokenizer.
pub(super) fn check_outline(path: &Path, text: &[u8]) -> Result<()> {
    let outline: Outline = serde_json::from_slice(text).map_err(|error| not_json(path, &error))?;
    let model = &outline.model;
    match &model.r#type {
        Some(Json::String(name)) if name == "BPE" => (),
        found => return Err(refused(path, "model.type", found.as_ref(), "\"BPE\"")),
    }
    for (field, value) in [
        ("model.dropout", &model.dropout),
        ("model.continuing_subword_prefix", &model.continuing_subword_prefix),
        ("model.end_of_word_suffix", &model.end_of_word_suffix),
    ] {
        match value {
            None | Some(Json::Null) => (),
            Some(Json::String(affix)) if affix.is_empty() => (),
            found => return Err(refused(path, field, found.as_ref(), "null")),
        }
    }
    for (kind, part) in [
        (NORMALIZER, outline.normalizer),
        (PRE_TOKENIZER, outline.pre_tokenizer),
        (POST_PROCESSOR, outline.post_processor),
        (DECODER, outline.decoder),
    ] {
        if let Some(part) = part.filter(|part| *part != Json::Null) {
            check_part(path, &kind, &part)?;
        }
    }
    Ok(())
}

fn check_part(path: &Path, kind: &Kind, part: &Json) -> Result<()> {
    let Json::Object(fields) = part else {
        return Err(refused(path, kind.field, Some(part), "an object"));
    };
    let found = fields.get("type");
    let name = kind.types.iter().find(|&&name| found == Some(&Json::String(name.into())));
    let Some(name) = name else {
        let expected = format!("one of {}", kind.types.join(", "));
        return Err(refused(path, &format!("{}.type", kind.field), found, &expected));
    };
    if *name != "Sequence" {
        return Ok(());
    }
    match fields.get(kind.sequence) {
        Some(Json::List(parts)) => parts.iter().try_for_each(|part| check_part(path, kind, part)),
        found => {
            let field = format!("{}.{}", kind.field, kind.sequence);
            Err(refused(path, &field, found, "a list"))
        }
    }
}

fn refused(path: &Path, field: &str, found: Option<&Json>, expected: &str) -> Error {
    let found = found.map_or("missing".into(), Json::to_string);
    Error::unsupported(path, format!("{field} is {found}, expected {expected}"))
}
