//! The README's support table, from the images that are embedded and the ledger.

use crate::ledger::Line;
use expertile_kernels_cuda::{IMAGES, Image};

pub const BEGIN: &str = "<!-- support table: EXPERTILE_BLESS=1 make ledger rewrites it -->";
pub const END: &str = "<!-- end of the support table -->";

/// What `make test` executes on simulated devices.
const SIMULATED: [&str; 3] = ["sm_80", "sm_89", "sm_90a"];

/// The dtypes of an image's entries, `rope_bf16_interleaved` is one of bf16; from the PTX in it.
fn dtypes(image: &Image) -> Vec<String> {
    let bytes = image.decompress();
    let text = String::from_utf8_lossy(&bytes);
    let mut dtypes = Vec::new();
    for part in text.split(".entry ").skip(1) {
        let Some(entry) = part.split('(').next().map(str::trim) else { continue };
        let Some(rest) = entry.strip_prefix(image.stem).and_then(|r| r.strip_prefix('_')) else {
            continue;
        };
        let dtype = rest.split('_').next().unwrap_or_default().to_owned();
        if !dtypes.contains(&dtype) {
            dtypes.push(dtype);
        }
    }
    dtypes
}

/// How an image is known to be right for a dtype.
fn state(image: &Image, dtype: &str, ledger: &[Line]) -> String {
    let proofs = ledger.iter().filter(|line| {
        line.sha256 == image.sha256 && line.dtype == dtype && line.operator == image.stem
    });
    match proofs.max_by(|a, b| a.date.cmp(&b.date)) {
        Some(line) => format!("proven on {}, {}", line.device, line.date),
        None if SIMULATED.contains(&image.architecture) => "simulated".into(),
        None => "compiled".into(),
    }
}

/// The images in which some dtype has no proof: stem, architecture, dtypes.
pub fn without_proof(ledger: &[Line]) -> Vec<(&'static str, &'static str, Vec<String>)> {
    let open = |image: &'static Image| {
        let unproven = |dtype: &String| !state(image, dtype, ledger).starts_with("proven");
        let dtypes: Vec<String> = dtypes(image).into_iter().filter(unproven).collect();
        (!dtypes.is_empty()).then_some((image.stem, image.architecture, dtypes))
    };
    IMAGES.iter().filter_map(open).collect()
}

/// The table, markers included.
pub fn table(ledger: &[Line]) -> String {
    let mut architectures: Vec<&str> = Vec::new();
    let mut rows: Vec<(&str, String)> = Vec::new();
    for image in IMAGES {
        if !architectures.contains(&image.architecture) {
            architectures.push(image.architecture);
        }
        for dtype in dtypes(image) {
            if !rows.contains(&(image.stem, dtype.clone())) {
                rows.push((image.stem, dtype));
            }
        }
    }
    let mut text = format!("{BEGIN}\n| operator | dtype |");
    for architecture in &architectures {
        text += &format!(" {architecture} |");
    }
    text += "\n|---|---|";
    text += &"---|".repeat(architectures.len());
    text.push('\n');
    for (stem, dtype) in &rows {
        text += &format!("| `{stem}` | {dtype} |");
        for architecture in &architectures {
            let image = IMAGES.iter().find(|i| i.stem == *stem && i.architecture == *architecture);
            let state = image.map_or("none".into(), |image| state(image, dtype, ledger));
            text += &format!(" {state} |");
        }
        text.push('\n');
    }
    text + END
}

/// The README with the table in it; `None` if it has no place for one.
pub fn insert(readme: &str, table: &str) -> Option<String> {
    let (before, rest) = readme.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{table}{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::tests::line;
    use std::slice::from_ref;

    #[test]
    fn proof_belongs_to_the_hash() {
        let image = IMAGES.iter().find(|i| (i.stem, i.architecture) == ("rope", "sm_90a")).unwrap();
        assert_eq!(dtypes(image), ["bf16", "f16", "f32"]);
        assert_eq!(state(image, "bf16", &[]), "simulated");
        let proof = line("rope", "bf16", image.sha256);
        assert_eq!(state(image, "bf16", from_ref(&proof)), "proven on A card, 2026-01-02");
        assert_eq!(state(image, "f16", from_ref(&proof)), "simulated");
        assert_eq!(state(image, "bf16", &[line("rope", "bf16", "00")]), "simulated");
        let ptx = IMAGES.iter().find(|i| (i.stem, i.architecture) == ("rope", "compute_80"));
        assert_eq!(state(ptx.unwrap(), "bf16", &[]), "compiled");

        let open = |ledger: &[Line]| without_proof(ledger).len();
        assert_eq!(open(&[]), IMAGES.len());
        let all = ["bf16", "f16", "f32"].map(|dtype| line("rope", dtype, image.sha256));
        assert_eq!(open(&all), IMAGES.len() - 1);
        assert!(table(&all).contains("| `rope` | f16 | simulated | simulated | proven on A card"));
    }

    #[test]
    fn the_table_has_its_place() {
        let readme = format!("a\n{BEGIN}\nold\n{END}\nb\n");
        assert_eq!(insert(&readme, "new").unwrap(), "a\nnew\nb\n");
        assert_eq!(insert("a\n", "new"), None);
    }
}
