//! `sincos.h` on the host: within 1 ulp at every angle that rope meets, and at a sample of all
//! others (every f32 if `PROPTEST_CASES` asks for thousands of cases).

use std::path::Path;
use std::process::Command;
use std::{env, fs};

#[test]
fn sine_and_cosine_are_within_one_ulp() {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("sincos");
    fs::create_dir_all(&folder).unwrap();
    let program = folder.join("sincos");
    let compiler = env::var("CC").unwrap_or_else(|_| "cc".to_owned());
    let status = Command::new(&compiler)
        .args(["-std=c11", "-O2", "-ffp-contract=off", "-Wall", "-Wextra", "-Werror", "-o"])
        .args([&program, &package.join("tests/sincos.c")])
        .arg("-lm")
        .status()
        .unwrap_or_else(|error| panic!("{compiler}: {error}"));
    assert!(status.success(), "{compiler} failed");

    let deep = env::var("PROPTEST_CASES")
        .is_ok_and(|cases| cases.parse().is_ok_and(|cases: u32| cases >= 1000));
    let output = Command::new(program).arg(if deep { "1" } else { "499" }).output().unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    println!("largest error in ulp: {printed}");
    assert!(output.status.success(), "{printed}");
    let words: Vec<&str> = printed.split_whitespace().collect();
    let ["sine", sine, "cosine", cosine] = words[..] else { panic!("not understood: {printed}") };
    for error in [sine, cosine] {
        assert!(error.parse::<f64>().unwrap() < 1.0, "{printed}");
    }
}
