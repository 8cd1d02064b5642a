//! `config.json`: what is tolerated, what has a default, and what is refused.

use crate::forge::{CONFIG, refusal};
use expertile_reference::checkpoint::ModelConfig;
use std::path::Path;

fn parse(text: impl AsRef<[u8]>) -> Result<ModelConfig, expertile_reference::checkpoint::Error> {
    ModelConfig::parse(Path::new("c"), text.as_ref())
}

/// [`CONFIG`] with one part of the text replaced.
fn with(old: &str, new: &str) -> String {
    assert!(CONFIG.contains(old), "{old}");
    CONFIG.replacen(old, new, 1)
}

/// [`CONFIG`] with fields put before the others.
fn plus(fields: &str) -> String {
    with("{", &format!("{{{fields},"))
}

#[test]
fn defaults_are_those_of_the_published_class() {
    let config = parse(CONFIG).unwrap().config;
    assert_eq!(config.p_norm, Some(1.0));
    assert_eq!(config.rope_theta, 10_000.0);
    assert_eq!(config.clip_qkv, Some(8.0));
    let attn = |fields: &str| {
        let text = with(r#""clip_qkv": 8"#, fields);
        parse(text).unwrap().config
    };
    assert_eq!(attn(r#""other": 1"#).clip_qkv, None);
    assert_eq!(attn(r#""clip_qkv": null"#).clip_qkv, None);
    assert_eq!(attn(r#""clip_qkv": 0"#).clip_qkv, Some(0.0));
    assert_eq!(attn(r#""rope_theta": 500000"#).rope_theta, 500_000.0);
    let ffn = |fields: &str| {
        let text = with(r#""moe_top_k": 1"#, &format!(r#""moe_top_k": 1.0, {fields}"#));
        parse(text).unwrap().config
    };
    assert_eq!(ffn(r#""moe_normalize_expert_weights": null"#).p_norm, None);
    assert_eq!(ffn(r#""moe_normalize_expert_weights": 0"#).p_norm, None);
    assert_eq!(ffn(r#""moe_normalize_expert_weights": 2.5"#).p_norm, Some(2.5));
    assert_eq!(ffn(r#""ffn_act_fn": null"#), config);
    assert_eq!(ffn(r#""ffn_act_fn": {"name": "silu", "inplace": true}"#), config);
}

#[test]
fn fields_of_no_use_may_be_anything() {
    let dump = r#""id2label": {"0": "A"}, "top_k": 50, "temperature": 1e300, "model_type": "",
        "torch_dtype": null, "pruned_heads": {}, "bad_words_ids": [[1], [-2]]"#;
    let text = with(r#""kv_n_heads""#, &format!(r#"{dump}, "kv_n_heads""#));
    let text = text.replacen(r#""moe_top_k""#, &format!(r#"{dump}, "moe_top_k""#), 1);
    let text = text.replacen(r#""d_model""#, r#""top_p": true, "moe": {"x": []}, "d_model""#, 1);
    assert_eq!(parse(text).unwrap(), parse(CONFIG).unwrap());
    assert!(parse(plus(r#""tie_word_embeddings": false, "rope_scaling": null"#)).is_ok());
    let plain = r#""rope_parameters": {"rope_type": "default"}"#;
    assert!(parse(plus(plain)).is_ok());
}

#[test]
fn missing_fields_are_named() {
    for (old, missing) in [
        (r#""d_model": 4,"#, "d_model"),
        (r#""n_heads": 2,"#, "n_heads"),
        (r#""n_layers": 1,"#, "n_layers"),
        (r#""max_seq_len": 16,"#, "max_seq_len"),
        (r#""vocab_size": 5,"#, "vocab_size"),
        (r#""kv_n_heads": 1,"#, "attn_config.kv_n_heads"),
        (r#""ffn_hidden_size": 3,"#, "ffn_config.ffn_hidden_size"),
        (r#""moe_num_experts": 2,"#, "ffn_config.moe_num_experts"),
        (r#", "moe_top_k": 1"#, "ffn_config.moe_top_k"),
    ] {
        assert_eq!(refusal(parse(with(old, ""))), format!("c: {missing} is missing"));
    }
    assert_eq!(refusal(parse(with("attn_config", "attn"))), "c: attn_config is missing");
    assert_eq!(refusal(parse(with("ffn_config", "ffn"))), "c: ffn_config is missing");
    assert_eq!(
        refusal(parse(with(r#""d_model": 4"#, r#""d_model": null"#))),
        "c: d_model is missing"
    );
}

#[test]
fn wrong_values_are_refused() {
    for (value, printed) in [
        ("-4", "-4"),
        ("4.5", "4.5"),
        ("1e300", "1e300"),
        ("2147483648", "2147483648"),
        ("18446744073709551616", "1.8446744073709552e19"),
        ("\"4\"", "\"4\""),
        ("true", "true"),
        ("[4]", "a list of 1 values"),
        ("{}", "an object of 0 fields"),
    ] {
        assert_eq!(
            refusal(parse(with(r#""d_model": 4"#, &format!(r#""d_model": {value}"#)))),
            format!("c: d_model is {printed}, expected an integer from 1 to 2147483647")
        );
    }
    for (old, new, expected) in [
        (
            "\"clip_qkv\": 8",
            "\"clip_qkv\": \"8\"",
            "attn_config.clip_qkv is \"8\", expected a number",
        ),
        (
            "\"clip_qkv\": 8",
            "\"clip_qkv\": -1",
            "attn_config.clip_qkv is -1.0, expected at least 0, or null",
        ),
        (
            "\"clip_qkv\": 8",
            "\"rope_theta\": 0",
            "attn_config.rope_theta is 0.0, expected finite and above 0",
        ),
        (
            "\"moe_top_k\": 1",
            "\"moe_top_k\": 1, \"moe_normalize_expert_weights\": true",
            "ffn_config.moe_normalize_expert_weights is true, expected a number",
        ),
        (
            "\"moe_top_k\": 1",
            "\"moe_top_k\": 1, \"moe_normalize_expert_weights\": -1",
            "ffn_config.moe_normalize_expert_weights is -1.0, expected above 0, or null",
        ),
        (
            "{\"kv_n_heads\": 1, \"clip_qkv\": 8}",
            "[8]",
            "attn_config is a list of 1 values, expected an object",
        ),
    ] {
        assert_eq!(refusal(parse(with(old, new))), format!("c: {expected}"));
    }
}

#[test]
fn contradictions_are_refused() {
    for (old, new, expected) in [
        (
            "\"moe_num_experts\": 2",
            "\"moe_num_experts\": 0",
            "ffn_config.moe_num_experts is 0, expected at least 1",
        ),
        (
            "\"moe_top_k\": 1",
            "\"moe_top_k\": 3",
            "ffn_config.moe_top_k is 3, expected at most moe_num_experts = 2",
        ),
        ("\"n_heads\": 2", "\"n_heads\": 3", "n_heads is 3, expected a divisor of d_model = 4"),
        ("\"n_heads\": 2", "\"n_heads\": 0", "n_heads is 0, expected at least 1"),
        (
            "\"n_heads\": 2",
            "\"n_heads\": 4",
            "d_model / n_heads is 1, expected even, as RoPE pairs halves (n_heads = 4)",
        ),
        (
            "\"kv_n_heads\": 1",
            "\"kv_n_heads\": 3",
            "attn_config.kv_n_heads is 3, expected a divisor of n_heads = 2",
        ),
        ("\"vocab_size\": 5", "\"vocab_size\": 0", "vocab_size is 0, expected at least 1"),
    ] {
        assert_eq!(refusal(parse(with(old, new))), format!("c: {expected}"));
    }
}

#[test]
fn other_models_are_refused() {
    for (fields, expected) in [
        (r#""tie_word_embeddings": true"#, "tie_word_embeddings is true, expected false"),
        (
            r#""rope_scaling": {"factor": 2}"#,
            "rope_scaling is an object of 1 fields, expected null",
        ),
        (
            r#""rope_parameters": {"rope_type": "yarn", "factor": 4.0}"#,
            "rope_parameters is an object of 2 fields, expected plain RoPE",
        ),
        (
            r#""rope_parameters": {"rope_theta": 500000.0}"#,
            "attn_config.rope_theta is missing, but rope_parameters say 500000.0",
        ),
    ] {
        assert_eq!(refusal(parse(plus(fields))), format!("c: {expected}"));
    }
    let other = with(r#""dbrx""#, r#""mixtral""#);
    assert_eq!(refusal(parse(other)), r#"c: model_type is "mixtral", expected "dbrx""#);
    let scaled = with(r#""clip_qkv": 8"#, r#""rope_scaling": {"type": "linear"}"#);
    assert_eq!(
        refusal(parse(scaled)),
        "c: attn_config.rope_scaling is an object of 1 fields, expected null"
    );
    for activation in [r#"{"name": "gelu"}"#, "{}"] {
        let fields = format!(r#""moe_top_k": 1, "ffn_act_fn": {activation}"#);
        let refusal = refusal(parse(with(r#""moe_top_k": 1"#, &fields)));
        assert!(refusal.starts_with("c: ffn_config.ffn_act_fn is an object of "), "{refusal}");
        assert!(refusal.ends_with(", expected SiLU"), "{refusal}");
    }
}

#[test]
fn broken_json_is_refused() {
    for bytes in 0..CONFIG.len() {
        refusal(parse(&CONFIG[..bytes]));
    }
    for (text, expected) in [
        (&b"[]"[..], "c: is a list of 0 values, expected a JSON object"),
        (b"5", "c: is 5, expected a JSON object"),
        (b"", "c: is not valid JSON: EOF while parsing a value at line 1 column 0"),
        (b"{\"\xff\": 1}", "c: is not valid JSON: invalid unicode code point at line 1 column 3"),
    ] {
        assert_eq!(refusal(parse(text)), expected);
    }
    for open in ["[", r#"{"a":"#, r#"{"attn_config":["#] {
        let refusal = refusal(parse(open.repeat(100_000)));
        assert!(refusal.contains("recursion limit exceeded"), "{refusal}");
    }
    let twice = refusal(parse(plus(r#""d_model": 4"#)));
    assert!(twice.starts_with("c: is not valid JSON: d_model appears twice at line"), "{twice}");
    let inner = refusal(parse(with("\"clip_qkv\": 8", "\"clip_qkv\": 8, \"clip_qkv\": 9")));
    assert!(inner.starts_with("c: is not valid JSON: clip_qkv appears twice at line"), "{inner}");
}

#[test]
fn token_ids() {
    let tokens = |fields: &str| {
        let model = parse(plus(fields)).unwrap();
        (model.bos, model.eos)
    };
    assert_eq!(tokens(r#""bos_token_id": null"#), (None, vec![]));
    assert_eq!(tokens(r#""bos_token_id": 1, "eos_token_id": 2"#), (Some(1), vec![2]));
    assert_eq!(tokens(r#""eos_token_id": [3, 4]"#), (None, vec![3, 4]));
    for (fields, expected) in [
        (r#""eos_token_id": 5"#, "eos_token_id is 5, expected below vocab_size = 5"),
        (r#""eos_token_id": [1, -1]"#, "eos_token_id is -1, expected a token id"),
        (r#""eos_token_id": "</s>""#, r#"eos_token_id is "</s>", expected a token id"#),
        (r#""bos_token_id": [1, 2]"#, "bos_token_id has 2 ids, expected one"),
    ] {
        assert_eq!(refusal(parse(plus(fields))), format!("c: {expected}"));
    }

    let mut model = parse(plus(r#""bos_token_id": 1, "eos_token_id": 2"#)).unwrap();
    let path = Path::new("g");
    model.replace_tokens(path, br#"{"temperature": 0.6}"#).unwrap();
    assert_eq!((model.bos, &model.eos[..]), (Some(1), &[2][..]));
    model.replace_tokens(path, br#"{"eos_token_id": [3, 4]}"#).unwrap();
    assert_eq!((model.bos, &model.eos[..]), (Some(1), &[3, 4][..]));
    let result = model.replace_tokens(path, br#"{"bos_token_id": 0, "eos_token_id": 9}"#);
    assert_eq!(refusal(result), "g: eos_token_id is 9, expected below vocab_size = 5");
    assert_eq!(model.bos, Some(1));
}
