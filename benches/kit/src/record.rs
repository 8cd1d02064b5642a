//! The CSV of a run: a row for each case and backend.

use crate::Context;
use crate::benches::{Case, Results, Times};

pub const HEAD: &str = "date,commit,device,operator,backend,dtype,shape,bytes,flops,median_ms,\
first_quartile_ms,third_quartile_ms,samples,method,gb_per_s,tflop_per_s,ceiling,share_of_ceiling,\
times_expertile,worst_error,error";

/// What stands where a figure would, if no machine was measured.
pub const SIMULATED: &str = "simulated";

/// A field, in quotes where it needs them.
fn field(text: &str) -> String {
    if text.contains([',', '"', '\n']) {
        format!("\"{}\"", text.replace('"', "\"\"").replace('\n', " "))
    } else {
        text.to_owned()
    }
}

pub fn csv(context: &Context, results: &Results) -> String {
    let mut text = format!("{HEAD}\n");
    for case in &results.cases {
        for times in &case.times {
            text += &row(context, results, case, times);
            text.push('\n');
        }
    }
    text
}

fn row(context: &Context, results: &Results, case: &Case, times: &Times) -> String {
    let device = context.device.as_ref().map_or("none", |device| device.name.as_str());
    // Nothing that came from a simulated device passes this line as a number.
    let figure = |value: Option<f64>, digits: usize| match (context.simulated(), value) {
        (_, None) => String::new(),
        (true, _) => SIMULATED.to_owned(),
        (false, Some(value)) => format!("{value:.digits$}"),
    };
    let quartiles = times.quartiles();
    let [first, median, third] = [0, 1, 2].map(|i| quartiles.map(|quartiles| quartiles[i]));
    let per_second = |amount: u64| median.map(|ms| amount as f64 / (ms * 1e-3));
    let ceiling = results.ceiling(&case.bound);
    let share = ceiling.zip(per_second(case.bytes)).map(|(ceiling, rate)| rate / ceiling.rate);
    let flops = (case.flops > 0).then(|| per_second(case.flops)).flatten();
    let fields = [
        context.date.clone(),
        context.manifest.commit.clone(),
        field(device),
        case.operator.clone(),
        field(&times.backend),
        case.dtype.clone(),
        field(&case.shape),
        case.bytes.to_string(),
        case.flops.to_string(),
        figure(median, 6),
        figure(first, 6),
        figure(third, 6),
        times.ms.len().to_string(),
        times.method.clone(),
        figure(per_second(case.bytes).map(|rate| rate * 1e-9), 1),
        figure(flops.map(|rate| rate * 1e-12), 3),
        case.bound.clone(),
        figure(share, 4),
        figure(ratio(case, times), 3),
        times.worst_error.map_or(String::new(), |error| format!("{error:.2e}")),
        field(times.error.as_deref().unwrap_or_default()),
    ];
    fields.join(",")
}

/// How many times as long as ours a backend takes.
pub fn ratio(case: &Case, times: &Times) -> Option<f64> {
    let ours = case.times.iter().find(|times| times.backend == "expertile")?;
    Some(times.median()? / ours.median()?)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::benches::Ceiling;
    use crate::device::Device;
    use crate::manifest::Manifest;

    pub(crate) fn context(simulated: bool) -> Context {
        let device = Device {
            platform: "cuda".into(),
            name: "A, \"card\"".into(),
            architecture: "sm_90".into(),
            driver_version: 13000,
            simulated,
        };
        Context {
            kit: "kit".into(),
            out: "out".into(),
            bin: "bin".into(),
            manifest: Manifest { commit: "abc".into(), ..Manifest::default() },
            device: Some(device),
            date: "2026-01-02".into(),
        }
    }

    pub(crate) fn results() -> Results {
        let times = |backend: &str, ms: &[f64]| Times {
            backend: backend.into(),
            ms: ms.to_vec(),
            method: "graph".into(),
            ..Times::default()
        };
        let case = Case {
            operator: "rope".into(),
            dtype: "bf16".into(),
            shape: "tokens 1, bf16".into(),
            bytes: 3_000_000_000,
            flops: 6_000_000_000,
            bound: "copy".into(),
            times: vec![times("expertile", &[2.0, 1.0, 3.0]), times("torch eager", &[5.0])],
        };
        Results {
            ceilings: vec![Ceiling { name: "copy".into(), unit: "B/s".into(), rate: 3e12 }],
            cases: vec![case],
            versions: String::new(),
        }
    }

    #[test]
    fn a_row_for_each_backend() {
        let text = csv(&context(false), &results());
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0].split(',').count(), 21);
        assert_eq!(
            lines[1],
            "2026-01-02,abc,\"A, \"\"card\"\"\",rope,expertile,bf16,\"tokens 1, bf16\",3000000000,\
             6000000000,2.000000,1.500000,2.500000,3,graph,1500.0,3.000,copy,0.5000,1.000,,"
        );
        assert!(lines[2].ends_with(",600.0,1.200,copy,0.2000,2.500,,"), "{}", lines[2]);
        assert_eq!(lines.len(), 3);
    }

    #[test]
    fn nothing_simulated_is_a_figure() {
        let text = csv(&context(true), &results());
        for figure in ["2.000", "1500", "0.5", "2.500", "3.000"] {
            assert!(!text.contains(figure), "{figure} in {text}");
        }
        assert_eq!(text.matches(SIMULATED).count(), 2 * 7);
    }
}
