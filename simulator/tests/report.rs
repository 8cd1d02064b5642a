//! How a report reads.

use expertile_simulator::report::{Kind, Report};

fn report() -> Report {
    Report {
        kind: Kind::Hazard,
        kernel: "scale".to_owned(),
        block: Some([1, 2, 3]),
        thread: Some(232),
        lanes: 64,
        instruction: "v_add_f32 v0, v1, v2".to_owned(),
        line: 0,
        source: None,
        message: "v1 is on its way".to_owned(),
    }
}

#[test]
fn the_warp_is_as_wide_as_the_machines() {
    let want = "scale: Hazard: v1 is on its way; block (1, 2, 3) thread 232 (warp 3 lane 40) \
                at `v_add_f32 v0, v1, v2`";
    assert_eq!(report().to_string(), want);
    let narrow = Report { lanes: 32, line: 17, instruction: "add.f32".to_owned(), ..report() };
    let want = "scale: Hazard: v1 is on its way; block (1, 2, 3) thread 232 (warp 7 lane 8) \
                at `add.f32` (PTX line 17)";
    assert_eq!(narrow.to_string(), want);
    assert!(!Kind::Hazard.is_fatal());
}
