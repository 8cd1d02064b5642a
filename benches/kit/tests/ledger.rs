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
