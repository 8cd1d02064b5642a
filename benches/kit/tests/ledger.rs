//! The README's support table is what images and ledger give, and the ledger holds machines alone.

use expertile_kit::{ledger, support};
use std::fs;
use std::path::Path;

#[test]
fn the_support_table_is_up_to_date() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let text = fs::read_to_string(root.join("benches/record/ledger.csv")).unwrap();
    let lines = ledger::read(&text).unwrap();
    assert!(lines.iter().all(ledger::Line::is_of_a_machine));
    let readme = fs::read_to_string(root.join("README.md")).unwrap();
    let wanted = support::insert(&readme, &support::table(&lines)).expect("it has its place");
    assert!(readme == wanted, "stale: run EXPERTILE_BLESS=1 make ledger");
}

#[test]
fn images_of_both_platforms_wait_for_proof() {
    let open = support::without_proof(&[]);
    for stem in ["combine", "layer_norm", "rms_norm", "rope", "router", "router_select"] {
        for architecture in ["sm_80", "sm_89", "sm_90a", "compute_80", "gfx90a", "gfx942", "gfx950"]
        {
            let found = open.iter().find(|(s, a, _)| (*s, *a) == (stem, architecture));
            let (_, _, dtypes) = found.unwrap_or_else(|| panic!("no {stem} for {architecture}"));
            assert_eq!(dtypes[..], ["bf16", "f16", "f32"], "{stem} for {architecture}");
        }
    }
}
