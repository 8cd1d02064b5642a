//! The examples as a user meets them: built programs, their output, and how they refuse.
//!
//! `cargo test` builds them; `cargo test --test examples` alone takes what was built last.

#[path = "../reference/tests/checkpoint/forge.rs"]
#[allow(dead_code, reason = "the tests of the checkpoint reader use the rest")]
mod forge;

use expertile_reference::checkpoint::{Data, TensorFile, builtin_model, write};
use forge::{Array, CONFIG, Folder, arrays, file, file_of, ones};
use std::ffi::OsStr;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// A built example.
fn program(name: &str) -> PathBuf {
    // This test is target/PROFILE/deps/examples-HASH.
    let test = std::env::current_exe().unwrap();
    let path = test.ancestors().nth(2).unwrap().join("examples").join(name);
    let path = path.with_extension(std::env::consts::EXE_EXTENSION);
    assert!(path.is_file(), "{} is missing: build the examples first", path.display());
    path
}

fn run<S: AsRef<OsStr>>(name: &str, arguments: impl IntoIterator<Item = S>) -> Output {
    Command::new(program(name)).args(arguments).output().unwrap()
}

/// The output of a run that succeeds without a word on standard error.
fn stdout<S: AsRef<OsStr>>(name: &str, arguments: impl IntoIterator<Item = S>) -> String {
    let output = run(name, arguments);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && stderr.is_empty(), "{:?}: {stderr}", output.status);
    String::from_utf8(output.stdout).unwrap()
}

/// Checks that a run ended with one line that holds `part`, and nothing else.
fn assert_refused(output: &Output, part: &str) {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(output.stdout.is_empty(), "{stderr}");
    assert!(stderr.starts_with("error: ") && stderr.ends_with('\n'), "{stderr:?}");
    assert_eq!(stderr.matches(char::is_control).count(), 1, "{stderr:?}");
    assert!(stderr.contains(part), "{stderr:?} does not say {part:?}");
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Tokens a to d, and one that ends a text.
const TOKENIZER: &str = r#"{"version":"1.0","added_tokens":[{"id":4,"content":"<end>",
"single_word":false,"lstrip":false,"rstrip":false,"normalized":false,"special":true}],
"pre_tokenizer":{"type":"ByteLevel","add_prefix_space":false,"trim_offsets":true,"use_regex":true},
"decoder":{"type":"ByteLevel","add_prefix_space":true,"trim_offsets":true,"use_regex":true},
"model":{"type":"BPE","vocab":{"a":0,"b":1,"c":2,"d":3,"<end>":4},"merges":[]}}"#;

/// A folder with a model, the tokenizer above, and input for each example.
fn folder(config: &str, model: impl AsRef<[u8]>) -> Folder {
    let folder = Folder::new();
    let config = config.trim_end().strip_suffix('}').unwrap().to_owned();
    folder.write("config.json", config + r#", "eos_token_id": 4}"#);
    folder.write("model.safetensors", model);
    folder.write("tokenizer.json", TOKENIZER);
    folder.write("text.txt", "abcdabc");
    write_ids(&folder, &[1, 4], &[0, 1, 2, 3]);
    folder
}

fn write_ids(folder: &Folder, shape: &[usize], ids: &[i64]) {
    let path = folder.path().join("ids.safetensors");
    write(&path, &[("input_ids", shape, Data::I64(ids))]).unwrap();
}

/// A run of `logits` on the ids of a folder, into `out.safetensors` there.
fn logits(model: &str, folder: &Folder, more: &[&str]) -> Output {
    let [ids, out] = ["ids.safetensors", "out.safetensors"].map(|name| folder.path().join(name));
    run("logits", [&[model, "--input", text(&ids), "--output", text(&out)], more].concat())
}

/// Runs every example on the model of a folder, which all refuse for the same reason.
fn assert_model_refused(folder: &Folder, part: &str) {
    let model = text(folder.path());
    assert_refused(&run("generate", ["--model", model, "abc"]), part);
    let file = folder.path().join("text.txt");
    assert_refused(&run("perplexity", ["--model", model, text(&file)]), part);
    assert_refused(&logits(model, folder, &[]), part);
    assert!(!folder.path().join("out.safetensors").exists());
}

/// Ones for every weight, which gives every token the same logit.
#[test]
fn the_forged_model_runs() {
    let folder = folder(CONFIG, file_of(&arrays()));
    let model = text(folder.path());
    assert_eq!(
        stdout("generate", ["--model", model, "--max-tokens=5", "--temperature=0", "abc"]),
        "abcaaaaa\n"
    );
    // 3 tokens of prompt, and 13 more are the 16 of max_seq_len.
    let full = run("generate", ["--model", model, "--temperature", "0", "abc"]);
    assert!(full.status.success());
    assert_eq!(full.stdout, b"abcaaaaaaaaaaaaa\n");
    let stderr = String::from_utf8(full.stderr).unwrap();
    assert_eq!(stderr, "stopped after 13 tokens: the context of max_seq_len = 16 is full\n");
    // The token that ends a text has a fifth of the probability.
    let ended = stdout("generate", ["--model", model, "--top-p", "1", "--seed", "3", "abc"]);
    assert!(ended.len() < "abcaaaaaaaaaaaaa\n".len(), "{ended}");

    let file = folder.path().join("text.txt");
    let perplexity = stdout("perplexity", ["--model", model, text(&file)]);
    assert_eq!(perplexity, "perplexity 5.0000 over 7 tokens\n");
    for arithmetic in ["f64", "f32", "f16", "bf16", "fast"] {
        let output = logits(model, &folder, &["--arithmetic", arithmetic, "--greedy", "12"]);
        assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
        let out = TensorFile::open(&folder.path().join("out.safetensors")).unwrap();
        assert_eq!(out.tensor_i64("greedy").unwrap(), (vec![1, 12], vec![0; 12]));
        let logits = out.tensor("logits", &mut |_| ()).unwrap();
        assert_eq!((logits.shape(), &*logits.to_f32()), (&[1, 4, 5][..], &[0.0; 20][..]));
    }
}

#[test]
fn broken_models_are_refused() {
    let whole = file_of(&arrays());
    let edited = |edit: &dyn Fn(&mut Vec<Array>)| {
        let mut arrays = arrays();
        edit(&mut arrays);
        file_of(&arrays)
    };
    let overlap = r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},
        "b":{"dtype":"F32","shape":[1],"data_offsets":[2,6]}}"#;
    let mut hostile = (1u64 << 63).to_le_bytes().to_vec();
    hostile.extend(b"{}      ");
    for (model, part) in [
        (whole[..whole.len() - 1].to_vec(), "bytes of data, but tensors of"),
        (whole[..20].to_vec(), "has a header of"),
        (Vec::new(), "has 0 bytes, expected at least 8"),
        (hostile, "has a header of 9223372036854775808 bytes, expected at most 8"),
        (file(overlap, &[0; 6]), "b starts at byte 2 of the data, expected 4"),
        (
            edited(&|arrays| arrays[3].dtype = "I32"),
            "out_proj.weight has dtype I32, expected F32, F16 or BF16",
        ),
        (
            edited(&|arrays| arrays[9] = ones("transformer.norm_f.weight", &[5])),
            "transformer.norm_f.weight has shape [5], expected [4]",
        ),
        (
            edited(&|arrays| drop(arrays.drain(..2))),
            "2 of 11 tensors missing: transformer.wte.weight, ",
        ),
        (edited(&|arrays| arrays.push(ones("lm_head.bias", &[5]))), "1 not expected: lm_head.bias"),
        (
            edited(&|arrays| arrays[10].data[40..44].copy_from_slice(&f32::NAN.to_le_bytes())),
            "model.safetensors: lm_head.weight[2, 2] is NaN, expected a finite number",
        ),
    ] {
        assert_model_refused(&folder(CONFIG, model), part);
    }

    for (from, to, part) in [
        ("\"moe_num_experts\": 2", "\"moe_num_experts\": 0", "moe_num_experts is 0, expected"),
        (
            "\"moe_top_k\": 1",
            "\"moe_top_k\": 3",
            "top_k is 3, expected at most moe_num_experts = 2",
        ),
        ("\"n_heads\": 2", "\"n_heads\": 3", "n_heads is 3, expected a divisor of d_model = 4"),
        (
            "\"kv_n_heads\": 1",
            "\"kv_n_heads\": 3",
            "kv_n_heads is 3, expected a divisor of n_heads",
        ),
        ("\"d_model\": 4,", "", "d_model is missing"),
        ("\"d_model\": 4,", "\"d_model\": 4", "config.json: is not valid JSON"),
        ("\"vocab_size\": 5", "\"vocab_size\": -1", "vocab_size is -1, expected"),
    ] {
        assert!(CONFIG.contains(from));
        assert_model_refused(&folder(&CONFIG.replace(from, to), &whole), part);
    }

    let folder = folder(CONFIG, &whole);
    for (name, part) in [("nowhere", "cannot be opened"), ("config.json", "is not a folder")] {
        let path = folder.path().join(name);
        assert_refused(&run("generate", ["--model", text(&path), "abc"]), part);
        assert_refused(&run("perplexity", ["--model", text(&path), "text.txt"]), part);
        assert_refused(&logits(text(&path), &folder, &[]), part);
    }
    folder.write("tokenizer.json", "{}");
    let output = run("generate", ["--model", text(folder.path()), "abc"]);
    assert_refused(&output, "tokenizer.json: is not valid JSON");
}

/// 2 GB of address space hold the programs, and no allocation that a file or an option asks for.
#[cfg(target_os = "linux")]
#[test]
fn memory_is_limited() {
    let limited = |folder: &Folder, options: &[&str]| {
        let limited = Command::new("sh")
            .args(["-c", "ulimit -v 2000000 && exec \"$0\" \"$@\""])
            .args([text(&program("generate")), "--model", text(folder.path()), "abc"])
            .args(options)
            .output();
        limited.unwrap()
    };
    let mut arrays = arrays();
    arrays[0].shape = vec![1 << 28, 1 << 29];
    for (model, part) in [
        ([&(1u64 << 63).to_le_bytes()[..], b"{}"].concat(), "has a header of 9223372036854775808"),
        ([&99_999_999u64.to_le_bytes()[..], b"{}"].concat(), "has a header of 99999999 bytes"),
        (file_of(&arrays), "bytes, expected 576460752303423488 for shape [268435456, 536870912]"),
    ] {
        let folder = folder(CONFIG, model);
        assert_refused(&limited(&folder, &[]), part);
    }
    let config = CONFIG.replace("\"max_seq_len\": 16", "\"max_seq_len\": 2147483647");
    let folder = folder(&config, file_of(&forge::arrays()));
    let part = "capacity is 2000000003, expected less, as memory is short of 2 arrays of 4000000006 values";
    assert_refused(&limited(&folder, &["--max-tokens", "2000000000"]), part);
    assert!(limited(&folder, &["--max-tokens", "20"]).status.success());
}

#[test]
fn broken_ids_are_refused() {
    let folder = folder(CONFIG, file_of(&arrays()));
    let model = text(folder.path());
    type Case<'a> = (&'a [usize], &'a [i64], &'a [&'a str], &'a str);
    let cases: [Case<'_>; 10] = [
        (
            &[2, 2],
            &[0, 1, -1, 2],
            &[],
            "input_ids[1, 0] is -1, expected at least 0 and less than 5",
        ),
        (&[1, 2], &[0, 5], &[], "input_ids[0, 1] is 5, expected at least 0 and less than 5"),
        (&[1, 1], &[i64::MAX], &[], "is 9223372036854775807, expected"),
        (&[1, 1], &[1 << 32], &[], "is 4294967296, expected"),
        (&[3], &[0; 3], &[], "input_ids has shape [3], expected [batch, tokens]"),
        (&[1, 1, 1], &[0], &[], "input_ids has shape [1, 1, 1], expected [batch, tokens]"),
        (&[1, 17], &[0; 17], &[], "input_ids has 17 tokens and --greedy adds 0, expected at most"),
        (&[1, 4], &[0; 4], &["--greedy", "13"], "max_seq_len = 16 together"),
        (&[1, 4], &[0; 4], &["--greedy", "18446744073709551615"], "max_seq_len = 16 together"),
        (&[2, 0], &[], &["--greedy", "1"], "shape [2, 0], nothing for --greedy 1 to follow"),
    ];
    for (shape, ids, more, part) in cases {
        write_ids(&folder, shape, ids);
        assert_refused(&logits(model, &folder, more), part);
    }
    let path = folder.path().join("ids.safetensors");
    write(&path, &[("input_ids", &[1, 1], Data::F32(&[1.0]))]).unwrap();
    assert_refused(&logits(model, &folder, &[]), "input_ids has dtype F32, expected I64");
    write(&path, &[("ids", &[1, 1], Data::I64(&[1]))]).unwrap();
    assert_refused(&logits(model, &folder, &[]), "ids.safetensors: input_ids is missing");
    folder.write("ids.safetensors", "1 2 3");
    assert_refused(&logits(model, &folder, &[]), "ids.safetensors: has 5 bytes, expected at least");
    std::fs::remove_file(path).unwrap();
    assert_refused(&logits(model, &folder, &[]), "ids.safetensors cannot be opened");
    assert!(!folder.path().join("out.safetensors").exists());

    write_ids(&folder, &[1, 1], &[0]);
    let ids = folder.path().join("ids.safetensors");
    let nowhere = folder.path().join("nowhere/out.safetensors");
    for (out, part) in [
        (text(&nowhere), "nowhere/out.safetensors cannot be written"),
        (model, "is not a regular file"),
        ("", " cannot be written"),
    ] {
        assert_refused(&run("logits", [model, "--input", text(&ids), "--output", out]), part);
    }
    assert_eq!(std::fs::read_dir(model).unwrap().count(), 5);
}

#[test]
fn broken_texts_are_refused() {
    let folder = folder(CONFIG, file_of(&arrays()));
    let model = text(folder.path());
    let file = folder.path().join("text.txt");
    let perplexity = |part: &str| {
        assert_refused(&run("perplexity", ["--model", model, text(&file)]), part);
    };
    folder.write("text.txt", "");
    perplexity("text.txt: has no tokens");
    folder.write("text.txt", b"abc\xff");
    perplexity("text.txt: is not UTF-8 at byte 3");
    folder.write("text.txt", "a".repeat(16));
    perplexity("max_seq_len is 16, expected at least 17");
    folder.write("text.txt", "a".repeat(1000));
    perplexity("max_seq_len is 16, expected at least 256");
    std::fs::remove_file(&file).unwrap();
    perplexity("text.txt cannot be read");
    folder.write("text.txt", "abc");
    folder.write("config.json", CONFIG);
    perplexity("has no end-of-text token");

    let prompt = run("generate", ["--model", model, &"a".repeat(17)]);
    assert_refused(&prompt, "the prompt has 17 tokens, expected at most max_seq_len = 16");
    let prompt = run("generate", ["--model", model, ""]);
    assert_refused(&prompt, "the prompt has no tokens");
    let prompt = run("generate", [" a b c d".repeat(1000)]);
    assert_refused(&prompt, "expected at most max_seq_len = 2048");
}

#[test]
fn broken_command_lines_are_refused() {
    let both: [(&[&str], &str); 5] = [
        (&["--frobnicate"], "invalid option '--frobnicate', see --help"),
        (&["-x"], "invalid option '-x'"),
        (&["--device"], "missing argument for option '--device'"),
        (&["--device", "cuda", "x"], "device cuda is not part of this build, expected cpu"),
        (&["--two\nlines"], r"'--two\nlines'"),
    ];
    for (arguments, part) in both {
        for name in ["generate", "logits", "perplexity"] {
            assert_refused(&run(name, arguments), part);
        }
    }
    let generate: [(&[&str], &str); 13] = [
        (&[], "PROMPT is missing"),
        (&["a", "b"], "unexpected argument \"b\""),
        (&["a", "--seed"], "missing argument for option '--seed'"),
        (&["a", "--stats=yes"], "unexpected argument for option '--stats'"),
        (&["a", "--seed", "-1"], "--seed is \"-1\", expected a whole number below 2^64"),
        (&["a", "--max-tokens", "1e3"], "--max-tokens is \"1e3\", expected a whole number"),
        (
            &["a", "--max-tokens", "99999999999999999999"],
            "--max-tokens is \"99999999999999999999\"",
        ),
        (&["a", "--temperature", "warm"], "--temperature is \"warm\", expected a number"),
        (&["a", "--temperature", "-0.1"], "temperature is -0.1, expected finite and at least 0"),
        (&["a", "--temperature", "nan"], "temperature is NaN"),
        (&["a", "--temperature", "inf"], "temperature is inf"),
        (&["a", "--top-p", "0"], "top_p is 0, expected above 0 and at most 1"),
        (&["a", "--top-p", "1.01"], "top_p is 1.01, expected above 0 and at most 1"),
    ];
    for (arguments, part) in generate {
        assert_refused(&run("generate", arguments), part);
    }
    let logits: [(&[&str], &str); 6] = [
        (&[], "MODEL_DIR is missing"),
        (&["nano"], "--input is missing"),
        (&["nano", "--input", "x"], "--output is missing"),
        (&["nano", "nano"], "unexpected argument \"nano\""),
        (&["nano", "--greedy", "-1"], "--greedy is \"-1\", expected a whole number"),
        (
            &["nano", "--input", "x", "--output", "y", "--arithmetic", "f8"],
            "--arithmetic is \"f8\", expected f64, f32, f16, bf16 or fast",
        ),
    ];
    for (arguments, part) in logits {
        assert_refused(&run("logits", arguments), part);
    }
    assert_refused(&run("perplexity", [""; 0]), "FILE is missing");
    assert_refused(&run("perplexity", ["a", "b"]), "unexpected argument \"b\"");
    #[cfg(unix)]
    {
        use std::os::unix::ffi::OsStrExt;
        let bytes = OsStr::from_bytes(b"\xff");
        assert_refused(&run("generate", [bytes]), "argument is invalid unicode");
        assert_refused(&run("generate", [OsStr::new("--model"), bytes, bytes]), "invalid unicode");
        assert_refused(&run("perplexity", [bytes]), "cannot be read");
    }
}

#[test]
fn help_goes_to_standard_output() {
    for name in ["generate", "logits", "perplexity"] {
        let help = stdout(name, ["--help"]);
        assert!(help.contains(&format!("Usage: {name} ")), "{help}");
        assert!(help.lines().all(|line| line.len() <= 100), "{help}");
        assert_eq!(help, stdout(name, ["-h"]));
    }
}

/// `expected.json` of the built-in model.
fn nano_expected() -> serde_json::Value {
    serde_json::from_slice(&std::fs::read(builtin_model().join("expected.json")).unwrap()).unwrap()
}

#[test]
fn greedy_text_of_nano() {
    for case in nano_expected()["greedy"].as_array().unwrap() {
        let [prompt, text] = ["prompt", "text"].map(|field| case[field].as_str().unwrap());
        let found = stdout("generate", ["--temperature", "0", "--max-tokens", "40", prompt]);
        assert_eq!(found, format!("{prompt}{text}\n"));
    }
}

#[test]
fn seeds_decide_the_text() {
    let text = |seed: &str| stdout("generate", ["--seed", seed, "--max-tokens", "30", "A program"]);
    assert_eq!(text("1"), text("1"));
    assert_ne!(text("1"), text("2"));
    assert_eq!(text("0"), stdout("generate", ["--max-tokens", "30", "A program"]));
    assert_eq!(stdout("generate", ["--max-tokens", "0", "--", "--seed"]), "--seed\n");
    // Characters of several tokens arrive whole, and the prompt as it was written.
    let hot = ["--temperature", "50", "--top-p", "1", "\u{20ac} <|endoftext|>"];
    assert!(stdout("generate", hot).starts_with("\u{20ac} <|endoftext|>"));
}

#[test]
fn stats_go_to_standard_error() {
    let arguments = ["--max-tokens", "20", "--temperature", "0", "In the beginning"];
    let output = run("generate", [&["--stats"], &arguments[..]].concat());
    assert!(output.status.success());
    assert_eq!(String::from_utf8(output.stdout).unwrap(), stdout("generate", arguments));
    let stderr = String::from_utf8(output.stderr).unwrap();
    let lines: Vec<_> = stderr.lines().collect();
    assert_eq!(lines.len(), 2 + 16);
    assert!(lines[0].starts_with("prompt: 5 tokens, ") && lines[0].ends_with(" tokens/s"));
    assert!(lines[1].starts_with("decode: 19 tokens, ") && lines[1].ends_with(" tokens/s"));
    let words = lines[2..].iter().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let shares: f64 = words.clone().map(|words| words[2].parse::<f64>().unwrap()).sum();
    assert!((shares - 100.0).abs() < 16.0 * 0.05 + 1e-9, "{stderr}");
    assert_eq!(words.filter_map(|words| Some(words.get(4)?.len())).max(), Some(40), "{stderr}");
}

/// `generate | head -c 1`.
#[test]
fn closed_pipes_are_no_failure() {
    let arguments = ["--temperature", "0", "--max-tokens", "300", "In the beginning"];
    let mut child = Command::new(program("generate"))
        .args(arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut pipe = child.stdout.take().unwrap();
    pipe.read_exact(&mut [0]).unwrap();
    drop(pipe);
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_one_line() {
    for arguments in [["--help", ""], ["In the", "--stats"]] {
        let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
        let output = Command::new(program("generate")).args(arguments).stdout(full).output();
        assert_refused(&output.unwrap(), "standard output cannot be written");
    }
}

#[test]
fn perplexity_of_nano() {
    let expected = nano_expected();
    let [perplexity, tokens] = ["perplexity", "tokens"].map(|field| expected[field].as_f64());
    let line = format!("perplexity {:.4} over {} tokens\n", perplexity.unwrap(), tokens.unwrap());
    assert_eq!(stdout("perplexity", [builtin_model().join("valid.txt")]), line);
}

#[test]
fn logits_of_nano() {
    let folder = Folder::new();
    let case = &nano_expected()["greedy"][1];
    let [prompt, greedy] = ["prompt_ids", "greedy_ids"].map(|field| {
        let ids = case[field].as_array().unwrap().iter();
        ids.map(|id| id.as_i64().unwrap()).collect::<Vec<_>>()
    });
    write_ids(&folder, &[1, prompt.len()], &prompt);
    let out = folder.path().join("out.safetensors");
    let mut results = Vec::new();
    for arithmetic in ["f64", "fast", "bf16"] {
        let output = logits("nano", &folder, &["--arithmetic", arithmetic, "--greedy", "10"]);
        assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
        let out = TensorFile::open(&out).unwrap();
        if arithmetic != "bf16" {
            assert_eq!(out.tensor_i64("greedy").unwrap(), (vec![1, 10], greedy[..10].to_vec()));
        }
        let logits = out.tensor("logits", &mut |_| ()).unwrap();
        assert_eq!(logits.shape(), [1, prompt.len(), 2048]);
        results.push(logits.to_f32().into_owned());
    }
    assert!(largest_difference(&results[0], &results[1]) < 1e-4);
    let rounded = largest_difference(&results[0], &results[2]);
    assert!((1e-3..2.0).contains(&rounded), "{rounded}");

    // More than one group of sequences; the same sequence has the same logits in each.
    write_ids(&folder, &[9, 250], &(0..9 * 250).map(|i| i % 250).collect::<Vec<_>>());
    let output = logits("nano", &folder, &["--arithmetic", "fast", "--greedy", "0"]);
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    let out = TensorFile::open(&out).unwrap();
    assert_eq!(out.tensor_i64("greedy").unwrap(), (vec![9, 0], vec![]));
    let logits = out.tensor("logits", &mut |_| ()).unwrap();
    assert_eq!(logits.shape(), [9, 250, 2048]);
    let logits = logits.to_f32();
    let mut sequences = logits.chunks(250 * 2048);
    let first = sequences.next().unwrap();
    assert!(sequences.all(|other| largest_difference(first, other) < 1e-3));
}

fn largest_difference(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

#[test]
fn no_ids_have_no_logits() {
    let folder = folder(CONFIG, file_of(&arrays()));
    let out = folder.path().join("out.safetensors");
    for (shape, more) in [([0, 3], "2"), ([3, 0], "0"), ([0, 0], "0"), ([usize::MAX, 0], "0")] {
        write_ids(&folder, &shape, &[]);
        let output = logits(text(folder.path()), &folder, &["--greedy", more]);
        assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
        let out = TensorFile::open(&out).unwrap();
        assert_eq!(out.tensor("logits", &mut |_| ()).unwrap().shape(), [shape[0], shape[1], 5]);
        let greedy = out.tensor_i64("greedy").unwrap();
        assert_eq!(greedy, (vec![shape[0], more.parse().unwrap()], vec![]));
    }
}

#[cfg(unix)]
#[test]
fn files_have_the_ordinary_mode() {
    use std::os::unix::fs::PermissionsExt;
    let folder = folder(CONFIG, file_of(&arrays()));
    let [ids, out] = ["ids.safetensors", "out.safetensors"].map(|name| folder.path().join(name));
    let status = Command::new("sh")
        .args(["-c", "umask 027 && exec \"$0\" \"$@\"", text(&program("logits"))])
        .args([text(folder.path()), "--input", text(&ids), "--output", text(&out)])
        .status();
    assert!(status.unwrap().success());
    assert_eq!(out.metadata().unwrap().permissions().mode() & 0o777, 0o640);
}
