//! The common headers as the host compiles them, for tests that compare the two.

use std::path::Path;

/// `sincos.h`, with every rounding as written.
pub(crate) fn sincos(package: &Path) {
    let source = package.join("probes/sincos.c");
    println!("cargo::rerun-if-changed={}", source.display());
    cc::Build::new()
        .file(source)
        .flag("-std=c11")
        .flag("-ffp-contract=off")
        .opt_level(2)
        .warnings_into_errors(true)
        .cargo_metadata(true)
        .compile("expertile_host_sincos");
}
