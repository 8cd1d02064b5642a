//! The common headers as the host compiles them, for tests that compare the two.

use std::path::Path;

/// `sincos.h` and `activation.h`, with every rounding as written, `routing.h`, `linear_tiles.h` and `grouped_tiles.h`.
pub(crate) fn headers(package: &Path) {
    let sources = ["sincos", "dispatch", "linear_tiles", "grouped_tiles"]
        .map(|name| package.join(format!("probes/{name}.c")));
    for source in &sources {
        println!("cargo::rerun-if-changed={}", source.display());
    }
    cc::Build::new()
        .files(sources)
        .flag("-std=c11")
        .flag("-ffp-contract=off")
        .opt_level(2)
        .warnings_into_errors(true)
        .cargo_metadata(true)
        .compile("expertile_host");
}
