//! The header is what cbindgen makes of `src/capi`; `EXPERTILE_BLESS=1` rewrites it.

use cbindgen::{Builder, Config};
use std::path::Path;
use std::{env, fs};

#[test]
fn the_header_is_up_to_date() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = root.join("src/capi");
    let config = Config::from_file(folder.join("cbindgen.toml")).unwrap();
    let mut builder = Builder::new().with_config(config);
    // In the order of reading: what everything needs, then one operator after the other.
    let operators = [
        "rope",
        "norm",
        "layer_norm",
        "rms_norm",
        "linear",
        "dispatch",
        "combine",
        "packet_pack",
        "packet_unpack",
        "router",
        "router_loss",
        "grouped_gemm",
        "moe",
    ];
    for file in ["version", "status", "text", "device", "tensor"].iter().chain(&operators) {
        builder = builder.with_src(folder.join(format!("{file}.rs")));
    }
    let mut generated = Vec::new();
    builder.generate().unwrap().write(&mut generated);
    let generated = String::from_utf8(generated).unwrap();
    let file = root.join("include/expertile.h");
    if env::var_os("EXPERTILE_BLESS").is_some() {
        fs::write(&file, &generated).unwrap();
    }
    let committed = fs::read_to_string(&file).unwrap_or_default();
    assert!(committed == generated, "include/expertile.h is stale: run with EXPERTILE_BLESS=1");
}
