//! `config.json` and `generation_config.json`.

use super::error::{Error, Result};
use super::json::{Json, is_there, parse_object, read_limited};
use crate::config::Config;
use std::collections::BTreeMap;
use std::path::Path;

/// The largest `config.json` or `generation_config.json` that is read, in bytes. Published ones
/// stay below 10 000.
pub const MAX_CONFIG_BYTES: u64 = 1 << 20;

/// What the JSON files of a checkpoint say of its model and of generation.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelConfig {
    /// The model.
    pub config: Config,
    /// `bos_token_id`: the token that starts a text, where the model has one.
    pub bos: Option<u32>,
    /// `eos_token_id`: the tokens that end a text. Empty where the model has none.
    pub eos: Vec<u32>,
}

impl ModelConfig {
    /// Reads `config.json` of `dir`, and `generation_config.json` where there is one: a token id
    /// of the latter replaces that of the former.
    ///
    /// # Errors
    ///
    /// As [`parse`](ModelConfig::parse), and `Io` when a file cannot be read.
    pub fn open(dir: &Path) -> Result<ModelConfig> {
        let path = dir.join("config.json");
        let mut model = ModelConfig::parse(&path, &read_limited(&path, MAX_CONFIG_BYTES)?)?;
        let path = dir.join("generation_config.json");
        if is_there(&path) {
            model.replace_tokens(&path, &read_limited(&path, MAX_CONFIG_BYTES)?)?;
        }
        Ok(model)
    }

    /// Parses the text of a `config.json`. `path` serves the errors.
    ///
    /// Fields that this crate has no use for may be anything, as published files carry a dump of
    /// every option. The fields that the published DBRX leaves out have the defaults of its class:
    /// an absent `moe_normalize_expert_weights` is 1, an absent `clip_qkv` no clamp, an absent
    /// `rope_theta` 10000 and an absent `ffn_act_fn` SiLU. All others must be there.
    ///
    /// # Errors
    ///
    /// `Malformed` for a text that is not a JSON object with each name once, for a missing field
    /// and for one of the wrong type; `Unsupported` for a model that this crate does not run.
    pub fn parse(path: &Path, text: &[u8]) -> Result<ModelConfig> {
        let fields = parse_object(path, text)?;
        let top = Section { path, name: "", fields: &fields };
        let attn = top.section("attn_config")?;
        let ffn = top.section("ffn_config")?;

        top.refuse_unless("model_type", |value| *value == Json::String("dbrx".into()), "\"dbrx\"")?;
        top.refuse_unless("tie_word_embeddings", |value| *value == Json::Bool(false), "false")?;
        for section in [&top, &attn] {
            section.refuse_unless("rope_scaling", |_| false, "null")?;
            section.refuse_unless("rope_parameters", is_plain_rope, "plain RoPE")?;
        }
        ffn.refuse_unless("ffn_act_fn", is_silu, "SiLU")?;

        let config = Config {
            hidden: top.extent("d_model")?,
            layers: top.extent("n_layers")?,
            q_heads: top.extent("n_heads")?,
            kv_heads: attn.extent("kv_n_heads")?,
            ffn_hidden: ffn.extent("ffn_hidden_size")?,
            experts: ffn.extent("moe_num_experts")?,
            top_k: ffn.extent("moe_top_k")?,
            p_norm: match ffn.fields.get("moe_normalize_expert_weights") {
                None => Some(1.0),
                Some(_) => ffn.number("moe_normalize_expert_weights")?.filter(|&p| p != 0.0),
            },
            clip_qkv: attn.number("clip_qkv")?,
            rope_theta: rope_theta(&top, &attn)?,
            max_seq_len: top.extent("max_seq_len")?,
            vocab: top.extent("vocab_size")?,
        };
        config.validate().map_err(|error| match error {
            crate::Error::Value { argument, found, expected, .. } => {
                Error::unsupported(path, format!("{argument} is {found}, expected {expected}"))
            }
            other => other.into(),
        })?;
        let vocab = config.vocab;
        let bos = top.tokens("bos_token_id", vocab)?;
        let eos = top.tokens("eos_token_id", vocab)?.unwrap_or_default();
        Ok(ModelConfig { bos: top.single("bos_token_id", bos)?, eos, config })
    }

    /// Replaces the token ids by those of a `generation_config.json` that has them.
    ///
    /// # Errors
    ///
    /// `Malformed` for a text that is not a JSON object with each name once, and for an id that is
    /// not an integer; `Unsupported` for an id outside the vocabulary. Nothing is replaced then.
    pub fn replace_tokens(&mut self, path: &Path, text: &[u8]) -> Result<()> {
        let fields = parse_object(path, text)?;
        let top = Section { path, name: "", fields: &fields };
        let bos = top.tokens("bos_token_id", self.config.vocab)?;
        let bos = top.single("bos_token_id", bos)?;
        let eos = top.tokens("eos_token_id", self.config.vocab)?;
        self.bos = bos.or(self.bos);
        if let Some(eos) = eos {
            self.eos = eos;
        }
        Ok(())
    }
}

/// Whether `ffn_act_fn` names SiLU. Its further fields are arguments of the activation, and SiLU
/// has none that changes its values.
fn is_silu(value: &Json) -> bool {
    match value {
        Json::Object(fields) => fields.get("name") == Some(&Json::String("silu".into())),
        _ => false,
    }
}

/// Whether newer files' `rope_parameters` say no more than `attn_config.rope_theta` can.
fn is_plain_rope(value: &Json) -> bool {
    match value {
        Json::Object(fields) => fields.iter().all(|(key, value)| match key.as_str() {
            "rope_type" | "type" => *value == Json::String("default".into()),
            _ => key == "rope_theta",
        }),
        _ => false,
    }
}

/// The base of the rotary frequencies, which newer files may give a second time.
fn rope_theta(top: &Section<'_>, attn: &Section<'_>) -> Result<f64> {
    let theta = attn.number("rope_theta")?;
    for section in [top, attn] {
        let Some(Json::Object(fields)) = section.get("rope_parameters") else { continue };
        let newer = Section { path: top.path, name: "rope_parameters.", fields };
        let Some(found) = newer.number("rope_theta")? else { continue };
        if theta != Some(found) {
            let theta = theta.map_or("missing".into(), |theta| format!("{theta:?}"));
            let reason =
                format!("attn_config.rope_theta is {theta}, but rope_parameters say {found:?}");
            return Err(Error::unsupported(top.path, reason));
        }
    }
    Ok(theta.unwrap_or(10_000.0))
}

/// One object of a configuration. Fields that are null count as absent.
struct Section<'a> {
    path: &'a Path,
    /// The name in errors, with a final point, or nothing for the outermost object.
    name: &'static str,
    fields: &'a BTreeMap<String, Json>,
}

impl<'a> Section<'a> {
    fn get(&self, key: &str) -> Option<&'a Json> {
        self.fields.get(key).filter(|value| **value != Json::Null)
    }

    fn missing(&self, key: &str) -> Error {
        Error::malformed(self.path, format!("{}{key} is missing", self.name))
    }

    fn is_not(&self, key: &str, value: &Json, expected: &str) -> String {
        format!("{}{key} is {value}, expected {expected}", self.name)
    }

    fn section(&self, key: &'static str) -> Result<Section<'a>> {
        match self.get(key) {
            None => Err(self.missing(key)),
            Some(Json::Object(fields)) => {
                let name = if key == "attn_config" { "attn_config." } else { "ffn_config." };
                Ok(Section { path: self.path, name, fields })
            }
            Some(other) => Err(Error::malformed(self.path, self.is_not(key, other, "an object"))),
        }
    }

    fn refuse_unless(&self, key: &str, test: impl Fn(&Json) -> bool, expected: &str) -> Result<()> {
        match self.get(key) {
            Some(value) if !test(value) => {
                Err(Error::unsupported(self.path, self.is_not(key, value, expected)))
            }
            _ => Ok(()),
        }
    }

    fn extent(&self, key: &str) -> Result<usize> {
        let value = self.get(key).ok_or_else(|| self.missing(key))?;
        let extent = integer(value).and_then(|value| i32::try_from(value).ok());
        extent.and_then(|value| usize::try_from(value).ok()).ok_or_else(|| {
            let expected = format!("an integer from 1 to {}", i32::MAX);
            Error::malformed(self.path, self.is_not(key, value, &expected))
        })
    }

    fn number(&self, key: &str) -> Result<Option<f64>> {
        match self.get(key) {
            None => Ok(None),
            Some(Json::Integer(value)) => Ok(Some(*value as f64)),
            Some(Json::Float(value)) => Ok(Some(*value)),
            Some(value) => Err(Error::malformed(self.path, self.is_not(key, value, "a number"))),
        }
    }

    /// One token id or a list of them.
    fn tokens(&self, key: &str, vocab: usize) -> Result<Option<Vec<u32>>> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let ids = match value {
            Json::List(ids) => ids.as_slice(),
            one => std::slice::from_ref(one),
        };
        let token = |value: &Json| {
            let id = integer(value).and_then(|id| u32::try_from(id).ok()).ok_or_else(|| {
                Error::malformed(self.path, self.is_not(key, value, "a token id"))
            })?;
            if id as usize >= vocab {
                let expected = format!("below vocab_size = {vocab}");
                return Err(Error::unsupported(self.path, self.is_not(key, value, &expected)));
            }
            Ok(id)
        };
        ids.iter().map(token).collect::<Result<_>>().map(Some)
    }

    fn single(&self, key: &str, ids: Option<Vec<u32>>) -> Result<Option<u32>> {
        match ids.as_deref() {
            None => Ok(None),
            Some(&[id]) => Ok(Some(id)),
            Some(ids) => {
                let reason = format!("{key} has {} ids, expected one", ids.len());
                Err(Error::unsupported(self.path, reason))
            }
        }
    }
}

/// The integer that a number is, also where it is written as 4.0.
fn integer(value: &Json) -> Option<i128> {
    match *value {
        Json::Integer(value) => Some(value),
        Json::Float(value) if value.fract() == 0.0 && value.abs() < 9e15 => Some(value as i128),
        _ => None,
    }
}
