//! The kernels of both vendors are twins: the same files, the same entries. Kernels of matrix products are of
//! an architecture instead.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// The entries of each kernel source of a folder beside this package, by its stem.
fn entries(folder: &str, extension: &str) -> BTreeMap<String, Vec<String>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(folder);
    let mut entries = BTreeMap::new();
    for file in fs::read_dir(folder).unwrap() {
        let path = file.unwrap().path();
        if path.extension().is_some_and(|found| found == extension) {
            let stem = path.file_stem().unwrap().to_string_lossy().into_owned();
            entries.insert(stem, names(&fs::read_to_string(&path).unwrap()));
        }
    }
    entries
}

/// What is defined as `extern "C"`: the name is the last word before the body's parameters.
fn names(source: &str) -> Vec<String> {
    let name = |definition: &str| {
        let (head, _) = definition.split_once(") {")?;
        let (head, _) = head.rsplit_once('(')?;
        head.split_whitespace().next_back().map(str::to_owned)
    };
    let mut names: Vec<String> = source.split("\nextern \"C\"").skip(1).filter_map(name).collect();
    names.sort();
    names
}

/// Operators whose matrix products are written for each architecture.
const PRODUCTS: [&str; 2] = ["grouped_gemm", "linear"];

#[test]
fn both_vendors_have_the_same_kernels() {
    let mut both = [entries("kernels-cuda", "cu"), entries("kernels-hip", "hip")];
    for kernels in &mut both {
        let before = kernels.len();
        kernels.retain(|stem, _| !PRODUCTS.iter().any(|operator| stem.starts_with(operator)));
        assert!(kernels.len() < before, "no products among {before} files");
    }
    let [cuda, hip] = both;
    assert_eq!(cuda, hip);
    assert!(cuda.contains_key("rope") && cuda.values().all(|names| !names.is_empty()), "{cuda:?}");
}

#[test]
fn images_hold_the_entries_of_their_sources() {
    let sources = entries("kernels-hip", "hip");
    for image in expertile_kernels_hip::IMAGES {
        let bytes = image.decompress();
        for entry in &sources[image.stem] {
            let symbol = format!("\0{entry}.kd\0");
            assert!(
                bytes.windows(symbol.len()).any(|window| window == symbol.as_bytes()),
                "{} for {} has no {entry}",
                image.stem,
                image.architecture
            );
        }
    }
}
