//! The program as a user starts it.

#[allow(dead_code)]
#[path = "../../../tests/shared/linked.rs"]
mod linked;

use std::process::{Command, Output};

fn run(arguments: &[&str]) -> (Option<i32>, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_expertile-candle"));
    let Output { status, stdout, stderr } =
        command.args(arguments).env("RUST_BACKTRACE", "0").output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code(), text(stdout), text(stderr))
}

#[test]
fn the_cpu_is_as_the_cpu() {
    assert_eq!(run(&["cpu"]), (Some(0), "30 calls: as on the CPU\n".into(), String::new()));
}

#[test]
#[cfg(feature = "cuda")]
fn the_gpu_is_as_the_cpu() {
    assert_eq!(run(&[]), (Some(0), "30 calls: as on the CPU\n".into(), String::new()));
}

#[test]
fn what_is_missing_is_said() {
    let (status, text, errors) = run(&["gpu"]);
    assert_eq!((status, text.as_str()), (Some(2), ""));
    assert!(errors.starts_with("usage: "), "{errors}");
    if cfg!(not(feature = "cuda")) {
        let (status, text, errors) = run(&[]);
        assert_eq!((status, text.as_str()), (Some(1), ""));
        assert!(errors.contains("not been built with cuda support"), "{errors}");
    }
}

/// Without feature `cuda`.
#[test]
#[cfg(not(feature = "cuda"))]
fn nothing_of_a_device_is_linked() {
    linked::check(env!("CARGO_BIN_EXE_expertile-candle").as_ref(), &[]);
}
