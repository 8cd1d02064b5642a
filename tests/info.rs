//! `info` starts with and without a driver, and says what is missing.
#![cfg(feature = "cuda")]

use expertile::Device;
use std::process::Command;

#[test]
fn info_says_what_there_is_or_what_is_missing() {
    // This test is target/PROFILE/deps/info-HASH.
    let test = std::env::current_exe().unwrap();
    let program = test.ancestors().nth(2).unwrap().join("examples/info");
    let output = Command::new(&program).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{text}");
    for image in ["rope         sm_80 ", "layer_norm   sm_90a", "rms_norm     compute_80"] {
        assert!(text.contains(image), "{text}");
    }
    match Device::cuda_count() {
        Err(error) => {
            assert!(error.to_string().contains("libcuda.so"), "{error}");
            assert!(text.lines().any(|line| line == error.to_string()), "{text}");
        }
        Ok(count) => assert!(text.contains(&format!("cuda: {count} devices")), "{text}"),
    }
}
