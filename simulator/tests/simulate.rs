//! The command `simulate`.

use std::path::Path;
use std::process::{Command, Output};

fn simulate(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_simulate")).args(arguments).output().unwrap()
}

#[test]
fn the_status_is_the_commands() {
    assert_eq!(simulate(&["sm_80", "true"]).status.code(), Some(0));
    assert_eq!(simulate(&["sm_80", "sh", "-c", "exit 7"]).status.code(), Some(7));
    assert_eq!(simulate(&["sm_80", "sh", "-c", "kill -9 $$"]).status.code(), Some(137));
    for wrong in [&["sm_80"][..], &[], &["sm_80", "/no/such/program"]] {
        let output = simulate(wrong);
        assert_eq!(output.status.code(), Some(125), "{wrong:?}");
        assert!(output.stderr.starts_with(b"simulate: "), "{wrong:?}");
    }
}

#[test]
fn the_folder_comes_first_and_goes() {
    let script = "echo $EXPERTILE_SIM_ARCH; echo ${LD_LIBRARY_PATH%%:*}; ls ${LD_LIBRARY_PATH%%:*}; \
                  echo ${EXPERTILE_HIP_LIBRARY}";
    let output = simulate(&["sm_80,gfx942", "sh", "-c", script]);
    let text = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[0], "sm_80,gfx942");
    let names = ["", ".5", ".6", ".7"].map(|version| format!("libamdhip64.so{version}"));
    assert_eq!(lines[2..6], names);
    assert_eq!(lines[6..8], ["libcuda.so", "libcuda.so.1"]);
    assert_eq!(lines[8], format!("{}/libamdhip64.so", lines[1]));
    assert!(!Path::new(lines[1]).exists(), "{} is left", lines[1]);
}
