//! Folders whose files disagree or are missing.

use crate::forge::{Array, CONFIG, Folder, arrays, file_of, folder_of, ones, refusal};
use expertile_reference::checkpoint::{Checkpoint, Index, MAX_CONFIG_BYTES, Tokenizer};
use std::path::Path;
use std::time::{Duration, Instant};

/// The refusal of a folder with [`CONFIG`] and these tensors.
fn refused(arrays: &[Array]) -> String {
    let folder = folder_of(CONFIG, arrays);
    folder.refusal(Checkpoint::open(folder.path()))
}

/// A folder with [`CONFIG`], this index, and each of `files` holding these of [`arrays`].
fn sharded(weight_map: &str, files: &[(&str, std::ops::Range<usize>)]) -> Folder {
    let folder = Folder::new();
    folder.write("config.json", CONFIG);
    for (name, range) in files {
        folder.write(name, file_of(&arrays()[range.clone()]));
    }
    folder.write(
        "model.safetensors.index.json",
        format!(r#"{{"metadata": {{"total_size": 1}}, "weight_map": {{{weight_map}}}}}"#),
    );
    folder
}

/// The entries of an index that puts these of [`arrays`] in a file.
fn entries(file: &str, range: std::ops::Range<usize>) -> String {
    let entry = |array: &Array| format!(r#""{}": "{file}""#, array.name);
    arrays()[range].iter().map(entry).collect::<Vec<_>>().join(", ")
}

#[test]
fn the_forged_model_loads() {
    let folder = folder_of(CONFIG, &arrays());
    let weights = Checkpoint::open(folder.path()).unwrap().load(&mut |_, _| ()).unwrap();
    assert!(weights.blocks[0].w1.to_f32().iter().all(|&x| x == 1.0));
    let map = format!("{}, {}", entries("a", 0..4), entries("b", 4..11));
    let folder = sharded(&map, &[("a", 0..4), ("b", 4..11)]);
    let weights = Checkpoint::open(folder.path()).unwrap().load(&mut |_, _| ()).unwrap();
    assert_eq!(weights.lm_head.shape(), [5, 4]);
}

#[test]
fn missing_files_are_named() {
    let folder = Folder::new();
    let open = |path: &Path| folder.refusal(Checkpoint::open(path));
    let nowhere = open(&folder.path().join("nowhere"));
    assert!(nowhere.starts_with("DIR/nowhere cannot be opened: "), "{nowhere}");
    let missing = open(folder.path());
    assert!(missing.starts_with("DIR/config.json cannot be opened: "), "{missing}");
    folder.write("config.json", CONFIG);
    assert_eq!(open(&folder.path().join("config.json")), "DIR/config.json: is not a folder");
    assert_eq!(
        open(folder.path()),
        "DIR: has neither model.safetensors nor model.safetensors.index.json"
    );
    std::fs::create_dir(folder.path().join("model.safetensors")).unwrap();
    assert_eq!(open(folder.path()), "DIR/model.safetensors: is not a regular file");
    folder.write("config.json", " ".repeat(MAX_CONFIG_BYTES as usize + 1));
    let expected = "DIR/config.json: has 1048577 bytes, expected at most 1048576";
    assert_eq!(open(folder.path()), expected);
}

/// A link that leads nowhere, as a cache with a lost file has, is not taken for an absent file.
#[cfg(unix)]
#[test]
fn links() {
    use std::os::unix::fs::symlink;
    let whole = folder_of(CONFIG, &arrays());
    let folder = Folder::new();
    for name in ["config.json", "model.safetensors"] {
        symlink(whole.path().join(name), folder.path().join(name)).unwrap();
    }
    assert!(Checkpoint::open(folder.path()).is_ok());
    for name in ["generation_config.json", "tokenizer.json"] {
        symlink("nowhere", folder.path().join(name)).unwrap();
    }
    let refusal = folder.refusal(Checkpoint::open(folder.path()));
    assert!(refusal.starts_with("DIR/generation_config.json cannot be opened: "), "{refusal}");
    let refusal = folder.refusal(Tokenizer::open(folder.path(), 100_352));
    assert!(refusal.starts_with("DIR/tokenizer.json cannot be opened: "), "{refusal}");
}

#[test]
fn missing_and_extra_tensors_are_listed() {
    let mut some = arrays();
    some.remove(10);
    assert_eq!(refused(&some), "DIR: 1 of 11 tensors missing: lm_head.weight");
    some.push(ones("lm_head.bias", &[5]));
    some.push(ones("transformer.blocks.1.ffn.experts.mlp.w1", &[6, 4]));
    some.push(ones("transformer.blocks.00.ffn.experts.mlp.w1", &[6, 4]));
    assert_eq!(
        refused(&some),
        "DIR: 1 of 11 tensors missing: lm_head.weight; 3 not expected: lm_head.bias, \
         transformer.blocks.00.ffn.experts.mlp.w1, transformer.blocks.1.ffn.experts.mlp.w1"
    );
    assert_eq!(
        refused(&arrays()[..1]),
        "DIR: 10 of 11 tensors missing: transformer.blocks.0.norm_attn_norm.norm_1.weight, \
         transformer.blocks.0.norm_attn_norm.attn.Wqkv.weight, \
         transformer.blocks.0.norm_attn_norm.attn.out_proj.weight, \
         transformer.blocks.0.norm_attn_norm.norm_2.weight, \
         transformer.blocks.0.ffn.router.layer.weight, transformer.blocks.0.ffn.experts.mlp.w1, \
         transformer.blocks.0.ffn.experts.mlp.v1, transformer.blocks.0.ffn.experts.mlp.w2 \
         and 2 more"
    );
    let many: Vec<_> = (0..30).map(|i| ones(&format!("x{i:02}"), &[1])).collect();
    let refusal = refused(&[arrays(), many].concat());
    assert_eq!(refusal, "DIR: 30 not expected: x00, x01, x02, x03, x04, x05, x06, x07 and 22 more");
}

#[test]
fn shapes_and_types_are_compared() {
    let mut wrong = arrays();
    wrong[2] = ones(&wrong[2].name, &[4, 8]);
    assert_eq!(
        refused(&wrong),
        "DIR/model.safetensors: transformer.blocks.0.norm_attn_norm.attn.Wqkv.weight has shape \
         [4, 8], expected [8, 4]"
    );
    let mut flat = arrays();
    flat[1] = ones(&flat[1].name, &[4, 1]);
    assert!(refused(&flat).ends_with("norm_1.weight has shape [4, 1], expected [4]"));
    let mut empty = arrays();
    empty[10] = ones("lm_head.weight", &[0, 4]);
    assert!(refused(&empty).ends_with("lm_head.weight has shape [0, 4], expected [5, 4]"));
    for (dtype, bytes) in [("F64", 8), ("I64", 8), ("F8_E4M3", 1), ("BOOL", 1), ("U16", 2)] {
        let mut other = arrays();
        other[10] = Array { dtype, data: vec![0; 20 * bytes], ..other[10].clone() };
        assert_eq!(
            refused(&other),
            format!(
                "DIR/model.safetensors: lm_head.weight has dtype {dtype}, expected F32, F16 or BF16"
            )
        );
    }
}

/// Numbers that no file could back are refused at once, without memory for them.
#[test]
fn absurd_numbers_take_no_time() {
    let start = Instant::now();
    for (old, new, expected) in [
        (
            "\"n_layers\": 1",
            "\"n_layers\": 2147483647",
            "17179869168 of 17179869179 tensors missing: ",
        ),
        (
            "\"vocab_size\": 5",
            "\"vocab_size\": 2147483647",
            "has shape [5, 4], expected [2147483647, 4]",
        ),
        ("\"d_model\": 4", "\"d_model\": 2147483644", "expected [5, 2147483644]"),
        ("\"ffn_hidden_size\": 3", "\"ffn_hidden_size\": 2147483647", "expected [4294967294, 4]"),
        ("\"moe_num_experts\": 2", "\"moe_num_experts\": 2147483647", "expected [6442450941, 4]"),
    ] {
        let folder = folder_of(&CONFIG.replacen(old, new, 1), &arrays());
        let refusal = folder.refusal(Checkpoint::open(folder.path()));
        assert!(refusal.contains(expected), "{refusal}");
    }
    assert!(start.elapsed() < Duration::from_secs(5));
}

#[test]
fn index_text() {
    let parse = |text: &str| refusal(Index::parse(Path::new("i"), text.as_bytes()));
    assert_eq!(parse("{}"), "i: weight_map is missing");
    assert_eq!(parse(r#"{"weight_map": 3}"#), "i: weight_map is 3, expected an object");
    assert_eq!(parse(r#"{"weight_map": {"a": 3}}"#), "i: a is in 3, expected a file name");
    assert_eq!(
        parse(r#"{"weight_map": {"a": "x", "a": "y"}}"#),
        "i: is not valid JSON: a appears twice at line 1 column 29"
    );
    for name in ["../x", "/etc/passwd", "a/b", r"a\\b", "..", ".", "", "c:x", r"a\u0000"] {
        let refusal = parse(&format!(r#"{{"weight_map": {{"a": "{name}"}}}}"#));
        assert!(refusal.starts_with("i: a is in \""), "{refusal}");
        assert!(refusal.ends_with("\", expected a plain file name"), "{refusal}");
    }
    let whole = r#"{"weight_map": {"a": "x", "b": "y"}}"#;
    assert!(Index::parse(Path::new("i"), whole.as_bytes()).is_ok());
    for bytes in 0..whole.len() {
        parse(&whole[..bytes]);
    }
}

#[test]
fn an_index_and_its_files_agree() {
    let index = "DIR/model.safetensors.index.json";
    let refused = |map: &str, files: &[(&str, std::ops::Range<usize>)]| {
        let folder = sharded(map, files);
        folder.refusal(Checkpoint::open(folder.path()))
    };
    let split = format!("{}, {}", entries("a", 0..4), entries("b", 4..11));
    assert_eq!(refused(&split, &[("a", 0..4)]), format!("{index}: names b, which does not exist"));
    assert_eq!(
        refused(&split, &[("a", 0..5), ("b", 4..11)]),
        format!("{index}: {} is in a, but the index says b", arrays()[4].name)
    );
    assert_eq!(
        refused(&split, &[("a", 0..3), ("b", 4..11)]),
        format!("{index}: {} is not in a", arrays()[3].name)
    );
    assert_eq!(
        refused(&entries("a", 0..10), &[("a", 0..11)]),
        format!("{index}: lm_head.weight is in a, but not in the index")
    );
    assert_eq!(
        refused(&entries("a", 0..10), &[("a", 0..10)]),
        "DIR: 1 of 11 tensors missing: lm_head.weight"
    );
    assert_eq!(refused("", &[]), refused("", &[("a", 0..11)]),);
    let not_tensors = entries("config.json", 0..11);
    let refusal = refused(&not_tensors, &[]);
    assert!(refusal.starts_with("DIR/config.json: has a header of "), "{refusal}");
}

#[test]
fn a_file_that_changes_after_it_was_opened_is_refused() {
    let folder = folder_of(CONFIG, &arrays());
    let checkpoint = Checkpoint::open(folder.path()).unwrap();
    folder.write("model.safetensors", file_of(&arrays()[1..]));
    assert_eq!(
        folder.refusal(checkpoint.load(&mut |_, _| ())),
        "DIR/model.safetensors: changed since it was opened"
    );
    std::fs::remove_file(folder.path().join("model.safetensors")).unwrap();
    let refusal = folder.refusal(checkpoint.load(&mut |_, _| ()));
    assert!(refusal.starts_with("DIR/model.safetensors cannot be opened: "), "{refusal}");
}
