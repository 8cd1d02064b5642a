//! Matrix instructions of AMD's processors in sequences that are too short, and what is not modelled or
//! not defined.

use expertile_simulator::report::Kind;

use super::common::{PROCESSORS, run};

/// The reports of a kernel of one wave.
fn reports(processor: &str, kernel: &str) -> Option<Vec<(Kind, String)>> {
    let words = [0; 4096];
    let inputs: [&[u32]; 3] = [&words; 3];
    let run = run(("matrix.hip", processor, kernel), (1, 64), &inputs, 4096, 0)?;
    Some(run.outcome.reports.iter().map(|it| (it.kind, it.to_string())).collect())
}

#[test]
fn results_that_are_used_too_soon_are_reported() {
    let kernels = [
        ("m16n16k16_f16", "v35 is read"),
        ("m32n32k8_f16", "v47 is read"),
        ("m4n4k4b16_f16", "v35 is read 4 wait states"),
        ("m16n16k4b4_f16", "v47 is read"),
        ("m32n32k4b2_f16", "v63 is read"),
        ("m16n16k4_f32", "v35 is read"),
        ("m32n32k2_f32", "v47 is read"),
        ("m16n16k32_f16", "v35 is read 7 wait states"),
        ("m32n32k16_f16", "v47 is read 11 wait states"),
        ("factor", "v34 is read"),
        ("other_addend", "v34 is read"),
        ("written", "v33 is written"),
        ("addend_written", "v26 is written"),
        ("stored", "v32 is read"),
        ("vector_before", "v22 is read 1 wait states after the vector instruction"),
    ];
    for processor in PROCESSORS {
        for (kernel, words) in kernels {
            if matches!(kernel, "m16n16k32_f16" | "m32n32k16_f16") && processor != "gfx950" {
                continue;
            }
            let Some(early) = reports(processor, &format!("early_{kernel}")) else { return };
            let hit = early.iter().any(|(kind, text)| {
                *kind == Kind::Hazard && text.contains(words) && text.contains("it needs")
            });
            assert!(hit && early.len() == 1, "{processor} {kernel}: {early:?}");
            let ready = reports(processor, &format!("ready_{kernel}"));
            assert_eq!(ready, Some(Vec::new()), "{processor} {kernel}");
        }
        for kernel in ["ready_same_addend", "ready_scalar"] {
            assert_eq!(reports(processor, kernel), Some(Vec::new()), "{processor} {kernel}");
        }
    }
}

#[test]
fn broadcasts_are_refused_by_name() {
    for processor in PROCESSORS {
        let Some(found) = reports(processor, "broadcast") else { return };
        let name = if processor == "gfx90a" { "16x16x4f16" } else { "16x16x4_4b_f16" };
        let hit = |(kind, text): &(Kind, String)| {
            *kind == Kind::Unsupported && text.contains(&format!("v_mfma_f32_{name} (D3"))
        };
        assert!(found.iter().any(hit), "{processor}: {found:?}");
    }
}

#[test]
fn only_sums_of_what_was_never_written_are_undefined() {
    for processor in PROCESSORS {
        let Some(found) = reports(processor, "unknown_row") else { return };
        let hit = |(kind, text): &(Kind, String)| {
            *kind == Kind::Uninitialized && text.contains("thread 16 ")
        };
        assert!(found.iter().any(hit), "{processor}: {found:?}");
        assert_eq!(reports(processor, "known_rows"), Some(Vec::new()), "{processor}");
    }
}
