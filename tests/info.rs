//! `info` starts with and without a driver, and says what is missing.

#[allow(dead_code)]
#[path = "shared/linked.rs"]
mod linked;

use expertile::{Device, Platform};
use std::path::PathBuf;
use std::process::Command;

/// A built example.
fn example(name: &str) -> PathBuf {
    // This test is target/PROFILE/deps/info-HASH.
    let test = std::env::current_exe().unwrap();
    test.ancestors().nth(2).unwrap().join("examples").join(name)
}

/// What `info` prints, with one variable set.
fn info(variable: Option<(&str, &str)>) -> String {
    let output = Command::new(example("info")).envs(variable).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{text}");
    text
}

fn has_line(text: &str, line: &str) -> bool {
    text.lines().any(|other| other == line)
}

#[test]
fn info_says_what_there_is_or_what_is_missing() {
    let text = info(None);
    for platform in Platform::ALL {
        match Device::count(platform) {
            Err(error) => assert!(has_line(&text, &error.to_string()), "{error}: {text}"),
            Ok(count) => {
                assert!(has_line(&text, &format!("{platform}: {count} devices")), "{text}")
            }
        }
    }
}

/// With every feature that this test is built with.
#[test]
fn programs_are_linked_to_nothing_of_a_device() {
    for name in ["info", "generate", "logits", "perplexity"] {
        linked::check(&example(name), &[]);
    }
    linked::check(&std::env::current_exe().unwrap(), &[]);
}

#[test]
fn a_platform_that_was_not_built_says_so() {
    let text = info(None);
    let without = |platform: &str| format!("{platform}: built without feature `{platform}`");
    assert_eq!(has_line(&text, &without("cuda")), cfg!(not(feature = "cuda")), "{text}");
    assert_eq!(has_line(&text, &without("hip")), cfg!(not(feature = "hip")), "{text}");
}

#[test]
#[cfg(feature = "cuda")]
fn cuda_images_are_listed_and_a_missing_driver_is_named() {
    let text = info(None);
    for image in ["rope           sm_80 ", "layer_norm     sm_90a", "rms_norm       compute_80"] {
        assert!(text.contains(image), "{text}");
    }
    if let Err(error) = Device::cuda_count() {
        assert!(error.to_string().contains("libcuda.so"), "{error}");
    }
}

#[test]
#[cfg(feature = "hip")]
fn hip_images_are_listed_and_a_missing_runtime_is_named() {
    let text = info(None);
    for (stem, architecture, bytes) in expertile::hip_images() {
        let image = format!("  {stem:<14} {architecture:<12} {bytes:>8} bytes");
        assert!(has_line(&text, &image), "{text}");
    }
    if let Err(error) = Device::hip_count() {
        assert!(error.to_string().contains("libamdhip64.so.6: "), "{error}");
    }

    let text = info(Some(("EXPERTILE_HIP_LIBRARY", "/nonexistent")));
    let reason = text.lines().find(|line| line.starts_with("hip: EXPERTILE_HIP_LIBRARY: "));
    assert!(reason.is_some_and(|line| line.contains("/nonexistent: ")), "{text}");
}

/// The runtime that Debian packages, where it is installed: a real one of an old release, which has
/// every function. Without a device it finds none.
#[test]
#[cfg(feature = "hip")]
fn the_runtime_of_debian_is_found_whole() {
    let library = "/usr/lib/x86_64-linux-gnu/libamdhip64.so.5";
    if !std::path::Path::new(library).exists() {
        return eprintln!("skipped: no {library}");
    }
    let text = info(Some(("EXPERTILE_HIP_LIBRARY", library)));
    let device = std::path::Path::new("/dev/kfd").exists();
    assert!(device || has_line(&text, "hip: 0 devices"), "{text}");
}
