//! What the run says at its end.

use crate::benches::{Case, Results};
use crate::properties::Proofs;
use crate::{Context, Row, Verdict, record};
use std::fmt::Write;

fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Passed => "passed",
        Verdict::Failed => "FAILED",
        Verdict::Skipped => "skipped",
    }
}

/// The whole table, within 120 columns but for what others say.
pub fn table(context: &Context, rows: &[Row], proofs: &Proofs, results: &Results) -> String {
    let mut text = String::new();
    let dirty = if context.manifest.dirty { ", with changes" } else { "" };
    let device = context.device.as_ref().map_or("no device".into(), |device| device.name.clone());
    let commit = &context.manifest.commit[..context.manifest.commit.len().min(12)];
    let _ = writeln!(text, "expertile {commit}{dirty}, {device}, {}\n", context.date);
    for Row { part, name, verdict, note } in rows {
        let _ = writeln!(text, "{part:<12}{name:<34}{:<9}{note}", word(*verdict));
    }
    if !proofs.is_empty() {
        let state = if context.simulated() { "simulated" } else { "proven" };
        let _ = writeln!(
            text,
            "\n{:<16}{:<7}{:<12}{:>9}  worst error / bound",
            "operator", "dtype", "images", "cases"
        );
        for ((operator, dtype, images), proof) in proofs {
            let (cases, worst) = (proof.cases, proof.worst);
            let _ = writeln!(
                text,
                "{operator:<16}{dtype:<7}{images:<12}{cases:>9}  {worst:<8.3}{state}"
            );
        }
    }
    if !results.ceilings.is_empty() {
        text.push('\n');
    }
    for ceiling in &results.ceilings {
        let rate = match ceiling.unit.as_str() {
            _ if context.simulated() => record::SIMULATED.to_owned(),
            "B/s" => format!("{:.0} GB/s", ceiling.rate * 1e-9),
            _ => format!("{:.0} TFLOP/s", ceiling.rate * 1e-12),
        };
        let _ = writeln!(text, "ceiling  {:<40}{rate}", ceiling.name);
    }
    for case in &results.cases {
        text += &lines(context, results, case);
    }
    text
}

fn lines(context: &Context, results: &Results, case: &Case) -> String {
    let mut text = format!("\n{} {}\n", case.operator, case.shape);
    for times in &case.times {
        let backend = &times.backend;
        let Some(median) = times.median() else {
            let error = times.error.as_deref().unwrap_or("no samples");
            let _ = writeln!(text, "    {backend:<28}{error}");
            continue;
        };
        if context.simulated() {
            let _ = writeln!(text, "    {backend:<28}{}", record::SIMULATED);
            continue;
        }
        let rate = case.bytes as f64 / (median * 1e-3);
        let share = results.ceiling(&case.bound).map(|ceiling| 100.0 * rate / ceiling.rate);
        let share =
            share.map_or(String::new(), |share| format!("{share:>6.1} % of {}", case.bound));
        let ratio = record::ratio(case, times);
        let ratio = ratio.map_or(String::new(), |ratio| format!("{ratio:>7.2} x expertile"));
        let flops = case.flops as f64 / (median * 1e-3) * 1e-12;
        let _ = writeln!(
            text,
            "    {backend:<28}{median:>10.5} ms{:>8.0} GB/s{flops:>8.1} TFLOP/s{share:<18}{ratio}",
            rate * 1e-9
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::tests::{context, results};

    #[test]
    fn figures_are_of_machines_alone() {
        let rows = [Row::new("check", "a thing", Verdict::Failed, "why")];
        let text = table(&context(false), &rows, &Proofs::new(), &results());
        assert!(text.contains("check       a thing                           FAILED   why"));
        assert!(text.contains("2.00000 ms    1500 GB/s     3.0 TFLOP/s  50.0 % of copy"), "{text}");
        assert!(text.contains("2.50 x expertile") && text.contains("3000 GB/s"));
        let text = table(&context(true), &rows, &Proofs::new(), &results());
        assert!(!text.contains("GB/s") && !text.contains(" ms "), "{text}");
    }
}
