//! Tokenizers: round trips, streams of whole characters, hostile files.

use crate::forge::{Folder, refusal};
use expertile_reference::checkpoint::{Tokenizer, builtin_model};
use std::path::Path;

const TEXTS: [&str; 5] = [
    "",
    "In the beginning God created the heaven and the earth.",
    "  two  spaces\n\n\tand a tab\r\n",
    "h\u{e9}llo \u{20ac} \u{1f600}\u{1f469}\u{200d}\u{1f4bb} \u{65e5}\u{672c}\u{8a9e} e\u{301}\u{202e}",
    "\u{0}\u{fffd}\u{ffff} end",
];

/// A byte-level BPE tokenizer of a few tokens.
const SMALL: &str = r#"{"version":"1.0","truncation":null,"padding":null,"added_tokens":[{"id":0,
"content":"<|endoftext|>","single_word":false,"lstrip":false,"rstrip":false,"normalized":false,
"special":true}],"normalizer":null,"pre_tokenizer":{"type":"ByteLevel","add_prefix_space":false,
"trim_offsets":true,"use_regex":true},"post_processor":null,"decoder":{"type":"ByteLevel",
"add_prefix_space":true,"trim_offsets":true,"use_regex":true},"model":{"type":"BPE","dropout":null,
"unk_token":null,"continuing_subword_prefix":null,"end_of_word_suffix":null,"fuse_unk":false,
"byte_fallback":false,"ignore_merges":false,"vocab":{"<|endoftext|>":0,"I":1,"n":2,"t":3,"h":4,
"e":5,"th":6,"the":7,"In":8},"merges":[["t","h"],["th","e"],["I","n"]]}}"#;

fn nano() -> Tokenizer {
    Tokenizer::open(builtin_model(), 2048).unwrap()
}

/// The tokenizer of a folder without `tokenizer.json`.
fn cl100k() -> Tokenizer {
    let folder = Folder::new();
    Tokenizer::open(folder.path(), 100_352).unwrap()
}

fn parse(text: impl AsRef<[u8]>) -> Result<Tokenizer, expertile_reference::checkpoint::Error> {
    Tokenizer::parse(Path::new("t"), text.as_ref(), 9)
}

#[test]
fn texts_come_back() {
    for tokenizer in [nano(), cl100k()] {
        for text in TEXTS {
            let ids = tokenizer.encode(text).unwrap();
            assert_eq!(tokenizer.decode(&ids).unwrap(), text);
        }
    }
}

/// Token by token, no piece holds a part of a character, and the pieces make the text.
#[test]
fn streams_give_whole_characters() {
    for tokenizer in [nano(), cl100k()] {
        for text in TEXTS {
            let mut stream = tokenizer.stream();
            let mut pieces = Vec::new();
            for id in tokenizer.encode(text).unwrap() {
                pieces.extend(stream.push(id).unwrap());
            }
            assert!(pieces.iter().all(|piece| !piece.is_empty()));
            pieces.extend(stream.finish().unwrap());
            assert_eq!(pieces.concat(), text);
        }
    }
    let tokenizer = nano();
    let mut stream = tokenizer.stream();
    let ids = tokenizer.encode("a\u{1f600}").unwrap();
    assert!(ids.len() > 2);
    assert_eq!(stream.push(ids[0]).unwrap().as_deref(), Some("a"));
    assert_eq!(stream.push(ids[1]).unwrap(), None);
    assert_eq!(stream.finish().unwrap().as_deref(), Some("\u{fffd}"));
}

/// Bytes that never end a character are given out after a while, so a stream stays small.
#[test]
fn streams_do_not_wait_for_ever() {
    for tokenizer in [nano(), cl100k()] {
        let partial = tokenizer.encode("\u{1f600}").unwrap()[0];
        let mut stream = tokenizer.stream();
        let pieces: Vec<_> = (0..200).filter_map(|_| stream.push(partial).unwrap()).collect();
        assert!(pieces.len() >= 3);
        let text = pieces.concat() + &stream.finish().unwrap().unwrap_or_default();
        assert_eq!(text, "\u{fffd}".repeat(200));
    }
}

#[test]
fn special_tokens() {
    let nano = nano();
    assert_eq!(nano.encode("<|endoftext|>").unwrap(), [0]);
    assert_eq!(nano.decode(&[0]).unwrap(), "");
    assert!(nano.eos().is_empty());

    let cl100k = cl100k();
    let text = "<|im_start|>user\nhello<|im_end|><|pad|><|endoftext|><|fim_prefix|><|fim_middle|>\
        <|fim_suffix|><|endofprompt|>";
    let ids = [100278, 882, 198, 15339, 100279, 100277, 100257, 100258, 100259, 100260, 100276];
    assert_eq!(cl100k.encode(text).unwrap(), ids);
    assert_eq!(cl100k.decode(&ids).unwrap(), "user\nhello");
    assert_eq!(cl100k.eos(), [100257, 100279]);
    let partial = "<|im_start| ><|<|im_end|";
    assert_eq!(cl100k.decode(&cl100k.encode(partial).unwrap()).unwrap(), partial);
    // Ids that the model has rows for and the tokenizer no token.
    assert_eq!(cl100k.decode(&[100256, 100261, 100280, 100351, u32::MAX, 15339]).unwrap(), "hello");
    assert_eq!(nano.decode(&[2048, u32::MAX]).unwrap(), "");
}

#[test]
fn vocabularies_that_are_too_small_are_refused() {
    let folder = Folder::new();
    assert_eq!(
        folder.refusal(Tokenizer::open(folder.path(), 100_279)),
        "DIR: has no tokenizer.json, and a vocabulary of 100279 is too small for cl100k_base, \
         expected at least 100280"
    );
    let result = Tokenizer::parse(Path::new("t"), SMALL.as_bytes(), 8);
    assert_eq!(refusal(result), r#"t: token "In" has id 8, expected less than 8"#);
    let result = parse(SMALL.replace(r#""In":8"#, r#""In":4294967295"#));
    assert_eq!(refusal(result), r#"t: token "In" has id 4294967295, expected less than 9"#);
}

#[test]
fn truncation_and_padding_are_left_out() {
    let truncated = r#""truncation":{"max_length":1,"strategy":"LongestFirst","stride":0,
        "direction":"Right"}"#;
    let padded = r#""padding":{"strategy":{"Fixed":50},"direction":"Right","pad_id":0,
        "pad_type_id":0,"pad_token":"<|endoftext|>","pad_to_multiple_of":null}"#;
    let text = SMALL.replace(r#""truncation":null"#, truncated);
    let tokenizer = parse(text.replace(r#""padding":null"#, padded)).unwrap();
    assert_eq!(tokenizer.encode("Inthe").unwrap(), [8, 7]);
}

#[test]
fn other_kinds_of_tokenizer_are_refused() {
    let null = |field: &str| format!(r#""{field}":null"#);
    for (old, new, expected) in [
        (r#"{"type":"BPE""#, r#"{"type":"Unigram""#, r#"model.type is "Unigram", expected "BPE""#),
        (r#"{"type":"BPE","#, "{", r#"model.type is missing, expected "BPE""#),
        (
            &null("normalizer"),
            r#""normalizer":{"type":"Precompiled","precompiled_charsmap":"/////w=="}"#,
            r#"normalizer.type is "Precompiled", expected one of NFC, NFD, NFKC, NFKD, Sequence"#,
        ),
        (
            &null("normalizer"),
            r#""normalizer":{"type":"Sequence","normalizers":[{"type":"Replace"}]}"#,
            r#"normalizer.type is "Replace", expected one of NFC, NFD, NFKC, NFKD, Sequence"#,
        ),
        (
            r#"{"type":"ByteLevel","add_prefix_space":false"#,
            r#"{"type":"FixedLength","length":0"#,
            r#"pre_tokenizer.type is "FixedLength", expected one of ByteLevel, Digits, Split, Sequence"#,
        ),
        (
            &null("post_processor"),
            r#""post_processor":[]"#,
            "post_processor is a list of 0 values, expected an object",
        ),
        (&null("continuing_subword_prefix"), r#""continuing_subword_prefix":"\#\#""#, ""),
        (&null("dropout"), r#""dropout":0.5"#, "model.dropout is 0.5, expected null"),
    ] {
        let new = new.replace(r"\#", "#");
        assert!(SMALL.contains(old), "{old}");
        let refusal = refusal(parse(SMALL.replacen(old, &new, 1)));
        if expected.is_empty() {
            assert_eq!(refusal, r###"t: model.continuing_subword_prefix is "##", expected null"###);
        } else {
            assert_eq!(refusal, format!("t: {expected}"));
        }
    }
    let unknown = refusal(parse(SMALL.replace(r#"["th","e"]"#, r#"["th","x"]"#)));
    assert_eq!(
        unknown,
        "t: is not a valid tokenizer: Token `x` out of vocabulary at line 8 column 72"
    );
    let regex = r#"{"type":"Split","pattern":{"Regex":"("},"behavior":"Isolated","invert":false"#;
    let refusal =
        refusal(parse(SMALL.replace(r#"{"type":"ByteLevel","add_prefix_space":false"#, regex)));
    assert!(refusal.starts_with("t: is not a valid tokenizer: Parsing error"), "{refusal}");
}

#[test]
fn a_file_cut_short_is_refused() {
    for bytes in 0..SMALL.len() {
        assert!(refusal(parse(&SMALL[..bytes])).starts_with("t: is not valid JSON: "));
    }
    let text = std::fs::read(builtin_model().join("tokenizer.json")).unwrap();
    for bytes in (0..text.len()).step_by(997) {
        refusal(Tokenizer::parse(Path::new("t"), &text[..bytes], 2048));
    }
}

/// Every value of a small file is replaced by each of a list of odd ones, alone and with the next
/// value. The `tokenizers` crate does not get to panic, and neither does what it accepts.
#[test]
fn odd_values_do_not_panic() {
    let odd = [
        "null",
        "0",
        "-1",
        "1e308",
        "0.5",
        "4294967295",
        "18446744073709551615",
        "true",
        "\"\"",
        "\"the\"",
        "\"\\u0000\"",
        "[]",
        "{}",
        "[[]]",
        "\"\u{1f600}\"",
        "\"Sequence\"",
        "\"Split\"",
        "\"Digits\"",
        "\"NFC\"",
        "\"TemplateProcessing\"",
        "{\"type\":\"NFC\"}",
        "{\"type\":\"Sequence\",\"normalizers\":[]}",
        "{\"type\":\"Sequence\",\"decoders\":[]}",
        "{\"type\":\"Sequence\",\"pretokenizers\":[]}",
        "{\"type\":\"Sequence\",\"processors\":[]}",
        "{\"type\":\"TemplateProcessing\",\"single\":[],\"pair\":[],\"special_tokens\":{}}",
        "{\"type\":\"Split\",\"pattern\":{\"String\":\"\"},\"behavior\":\"Isolated\",\"invert\":true}",
        "{\"type\":\"Split\",\"pattern\":{\"Regex\":\"(a*)*$\"},\"behavior\":\"Removed\",\"invert\":false}",
        "{\"max_length\":0,\"strategy\":\"LongestFirst\",\"stride\":5,\"direction\":\"Right\"}",
    ];
    let small = SMALL.as_bytes();
    let values: Vec<_> = spans(small).collect();
    let mut accepted = 0;
    let mut try_parse = |text: &[u8]| {
        let Ok(tokenizer) = parse(text) else { return };
        accepted += 1;
        if let Ok(ids) = tokenizer.encode("In the beginning <|endoftext|> \u{e9}\u{1f600}  was") {
            let _ = tokenizer.decode(&ids);
            let mut stream = tokenizer.stream();
            let _ = ids.iter().try_for_each(|&id| stream.push(id).map(drop));
        }
        let _ = tokenizer.decode(&[0, 1, 5000, u32::MAX]);
    };
    for (i, &(start, end)) in values.iter().enumerate() {
        for value in odd {
            try_parse(&[&small[..start], value.as_bytes(), &small[end..]].concat());
            let Some(&(next_start, next_end)) = values[i + 1..].iter().find(|next| next.0 >= end)
            else {
                continue;
            };
            let between = &small[end..next_start];
            for next in odd {
                let (value, next) = (value.as_bytes(), next.as_bytes());
                try_parse(&[&small[..start], value, between, next, &small[next_end..]].concat());
            }
        }
    }
    assert!(accepted > 100, "{accepted}");
}

/// Where each value of a JSON text starts and ends, apart from the keys of objects.
fn spans(text: &[u8]) -> impl Iterator<Item = (usize, usize)> {
    let mut open = Vec::new();
    let mut spans = Vec::new();
    let mut i = 0;
    while i < text.len() {
        let start = i;
        i += 1;
        match text[start] {
            b'{' | b'[' => open.push(start),
            b'}' | b']' => spans.extend(open.pop().map(|start| (start, i))),
            b'"' => {
                while text[i] != b'"' {
                    i += 1;
                }
                i += 1;
                if text[i] != b':' {
                    spans.push((start, i));
                }
            }
            b',' | b':' | b'\n' => (),
            _ => {
                while !b",]}\n".contains(&text[i]) {
                    i += 1;
                }
                spans.push((start, i));
            }
        }
    }
    spans.sort();
    spans.into_iter()
}
