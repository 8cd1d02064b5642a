//! What programs and libraries are linked to.

use std::path::Path;
use std::process::Command;

/// The C library and its parts, the loader, the unwinder.
const LIBRARIES: [&str; 6] =
    ["libc.so", "libm.so", "libdl.so", "libpthread.so", "libgcc_s.so", "ld-linux"];

/// The names in brackets of a file's dynamic section under a tag, such as `(NEEDED)`.
pub(crate) fn tagged(file: &Path, tag: &str) -> Vec<String> {
    let mut command = Command::new("readelf");
    let output = command.args(["-d", "-W"]).arg(file).output();
    let output = output.unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("(NEEDED)"), "{command:?}: {text}");
    let bracketed = |line: &str| line.split(['[', ']']).nth(1).unwrap_or_default().to_owned();
    text.lines().filter(|line| line.contains(tag)).map(bracketed).collect()
}

/// Refuses a file that is linked to anything else than those and `also`.
pub(crate) fn check(file: &Path, also: &[&str]) {
    for library in tagged(file, "(NEEDED)") {
        let known = LIBRARIES.iter().chain(also).any(|name| library.starts_with(name));
        assert!(known, "{} is linked to {library}", file.display());
    }
}
