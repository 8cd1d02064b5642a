//! The README's support table, from the images that are embedded and the ledger.

use crate::images::{Embedded, embedded};
use crate::ledger::Line;

pub const BEGIN: &str = "<!-- support table: EXPERTILE_BLESS=1 make ledger rewrites it -->";
pub const END: &str = "<!-- end of the support table -->";

/// What `make test` executes on simulated devices.
const SIMULATED: [&str; 6] = ["sm_80", "sm_89", "sm_90a", "gfx90a", "gfx942", "gfx950"];

/// How an image is known to be right for a dtype.
fn state(image: &Embedded, dtype: &str, ledger: &[Line]) -> String {
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
    let open = |image: Embedded| {
        let unproven = |dtype: &String| !state(&image, dtype, ledger).starts_with("proven");
        let dtypes: Vec<String> = image.dtypes().into_iter().filter(unproven).collect();
        (!dtypes.is_empty()).then_some((image.stem, image.architecture, dtypes))
    };
    embedded().into_iter().filter_map(open).collect()
}

/// The table, markers included.
pub fn table(ledger: &[Line]) -> String {
    let mut architectures: Vec<&str> = Vec::new();
    let mut rows: Vec<(&str, String)> = Vec::new();
    let images = embedded();
    for image in &images {
        if !architectures.contains(&image.architecture) {
            architectures.push(image.architecture);
        }
        for dtype in image.dtypes() {
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
            let image = images.iter().find(|i| i.stem == *stem && i.architecture == *architecture);
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

    fn image_of(stem: &str, architecture: &str) -> Embedded {
        let mut images = embedded().into_iter();
        images.find(|i| (i.stem, i.architecture) == (stem, architecture)).unwrap()
    }

    #[test]
    fn proof_belongs_to_the_hash() {
        for (architecture, row) in [
            ("sm_90a", "simulated | simulated | proven on A card"),
            (
                "gfx942",
                "simulated | simulated | simulated | compiled | simulated | proven on A card",
            ),
        ] {
            let image = image_of("rope", architecture);
            assert_eq!(image.dtypes(), ["bf16", "f16", "f32"]);
            assert_eq!(state(&image, "bf16", &[]), "simulated");
            let proof = line("rope", "bf16", image.sha256);
            assert_eq!(state(&image, "bf16", from_ref(&proof)), "proven on A card, 2026-01-02");
            assert_eq!(state(&image, "f16", from_ref(&proof)), "simulated");
            assert_eq!(state(&image, "bf16", &[line("rope", "bf16", "00")]), "simulated");

            let open = |ledger: &[Line]| without_proof(ledger).len();
            assert_eq!(open(&[]), embedded().len());
            let all = ["bf16", "f16", "f32"].map(|dtype| line("rope", dtype, image.sha256));
            assert_eq!(open(&all), embedded().len() - 1);
            assert!(table(&all).contains(&format!("| `rope` | f16 | {row}")), "{}", table(&all));
        }
        assert_eq!(state(&image_of("rope", "compute_80"), "bf16", &[]), "compiled");
    }

    #[test]
    fn the_table_has_its_place() {
        let readme = format!("a\n{BEGIN}\nold\n{END}\nb\n");
        assert_eq!(insert(&readme, "new").unwrap(), "a\nnew\nb\n");
        assert_eq!(insert("a\n", "new"), None);
    }
}
