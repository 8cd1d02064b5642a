//! Our benches and the peers', taken in turn, so that both meet the same clocks and temperatures.

use crate::service::Service;
use crate::{Context, Row, Verdict};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

const PART: &str = "benches";

/// Each case is timed in so many rounds of so many samples.
const ROUNDS: u32 = 3;
const SAMPLES: u32 = 10;

/// No single answer may take longer; a peer's compiler may need a while at its first.
const PATIENCE: Duration = Duration::from_secs(90);

/// The times of one backend in one case.
#[derive(Clone, Debug, Default)]
pub struct Times {
    pub backend: String,
    /// Milliseconds of one call, of every sample.
    pub ms: Vec<f64>,
    pub method: String,
    /// What a peer's own check found, relative to the norm of the result.
    pub worst_error: Option<f64>,
    pub error: Option<String>,
}

impl Times {
    /// The quartiles: 25, 50 and 75 of a hundred.
    pub fn quartiles(&self) -> Option<[f64; 3]> {
        let mut ms = self.ms.clone();
        ms.sort_by(f64::total_cmp);
        let at = |share: f64| {
            let place = share * (ms.len() - 1) as f64;
            let (low, high) = (ms[place.floor() as usize], ms[place.ceil() as usize]);
            low + (high - low) * place.fract()
        };
        (!ms.is_empty()).then(|| [0.25, 0.5, 0.75].map(at))
    }

    pub fn median(&self) -> Option<f64> {
        self.quartiles().map(|[_, median, _]| median)
    }
}

/// One operator at one shape, ours and others'.
#[derive(Clone, Debug)]
pub struct Case {
    pub operator: String,
    pub dtype: String,
    pub shape: String,
    pub bytes: u64,
    pub flops: u64,
    /// The name of the ceiling that bounds it.
    pub bound: String,
    pub times: Vec<Times>,
}

impl Case {
    /// From a service's list.
    fn new(case: &Value, times: Vec<Times>) -> Case {
        let text = |key: &str| case[key].as_str().unwrap_or_default().to_owned();
        Case {
            operator: text("operator"),
            dtype: text("dtype"),
            shape: text("shape"),
            bytes: case["bytes"].as_u64().unwrap_or(0),
            flops: case["flops"].as_u64().unwrap_or(0),
            bound: text("bound"),
            times,
        }
    }
}

/// A rate that the machine reached in this run.
#[derive(Clone, Debug)]
pub struct Ceiling {
    pub name: String,
    /// `B/s` or `FLOP/s`.
    pub unit: String,
    pub rate: f64,
}

#[derive(Clone, Debug, Default)]
pub struct Results {
    pub ceilings: Vec<Ceiling>,
    pub cases: Vec<Case>,
    /// What the peers are: names and versions.
    pub versions: String,
}

impl Results {
    pub fn ceiling(&self, name: &str) -> Option<&Ceiling> {
        self.ceilings.iter().find(|ceiling| ceiling.name == name)
    }
}

/// A service that is dropped at its first failure.
struct Side {
    name: &'static str,
    service: Option<Service>,
}

impl Side {
    fn ask(&mut self, request: &Value, deadline: Instant, rows: &mut Vec<Row>) -> Option<Value> {
        let service = self.service.as_mut()?;
        let patience = deadline.min(Instant::now() + PATIENCE);
        match service.ask(request, patience) {
            Ok(answer) => Some(answer),
            Err(error) => {
                self.service = None;
                // Peers that fail are no failure of the kernels.
                let ours = self.name == "expertile" && error != "interrupted";
                let out_of_time = error == "out of time" && Instant::now() >= deadline;
                let verdict = if ours && !out_of_time { Verdict::Failed } else { Verdict::Skipped };
                rows.push(Row::new(PART, self.name, verdict, error));
                None
            }
        }
    }
}

fn python() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let named = std::env::split_paths(&path).map(|folder| folder.join("python3"));
    named.into_iter().find(|path| path.is_file())
}

fn peers(context: &Context, rows: &mut Vec<Row>) -> Option<Service> {
    let script = context.kit.join("peers/gpu.py");
    let start = || {
        let python = python().ok_or("no python3")?;
        let mut command = Command::new(python);
        command.arg(script).arg("--serve").env("PYTHONUNBUFFERED", "1");
        if context.simulated() {
            command.args(["--device", "cpu"]);
        }
        Service::start(&mut command, &context.log("peers"))
    };
    start().map_err(|error| rows.push(Row::new(PART, "peers", Verdict::Skipped, error))).ok()
}

pub fn run(context: &Context, deadline: Instant) -> (Results, Vec<Row>) {
    let (mut rows, mut results) = (Vec::new(), Results::default());
    let mut command = Command::new(context.binary("operators"));
    let ours = match Service::start(command.arg("--serve"), &context.log("operators")) {
        Ok(service) => Some(service),
        Err(error) => {
            rows.push(Row::new(PART, "expertile", Verdict::Failed, error));
            None
        }
    };
    let theirs = peers(context, &mut rows);
    let mut ours = Side { name: "expertile", service: ours };
    let mut theirs = Side { name: "peers", service: theirs };
    let mut bars = Vec::new();
    let list = ours.ask(&json!({ "do": "list" }), deadline, &mut rows).unwrap_or_default();
    if let Some(answer) = theirs.ask(&json!({ "do": "list" }), deadline, &mut rows) {
        results.versions = answer["versions"].to_string();
        if let Some(error) = answer["error"].as_str() {
            rows.push(Row::new(PART, "peers", Verdict::Skipped, error));
            theirs.service = None;
        }
        // What only peers can do yet is what ours will have to reach.
        bars = answer["cases"].as_array().cloned().unwrap_or_default();
    }
    for side in [&mut ours, &mut theirs] {
        let request = json!({ "do": "ceilings", "samples": SAMPLES });
        let answer = side.ask(&request, deadline, &mut rows).unwrap_or_default();
        for ceiling in answer["ceilings"].as_array().into_iter().flatten() {
            results.ceilings.extend(read_ceiling(ceiling, side.name));
        }
    }
    let cases = list["cases"].as_array().cloned().unwrap_or_default();
    let mut timed = 0;
    for case in &cases {
        if Instant::now() >= deadline || ours.service.is_none() {
            break;
        }
        let times = time(case, &mut [&mut ours, &mut theirs], deadline, &mut rows);
        timed += usize::from(times.iter().any(|times| !times.ms.is_empty()));
        for times in times.iter().filter(|times| times.backend == "expertile") {
            if let Some(error) = &times.error {
                rows.push(Row::new(PART, "expertile", Verdict::Failed, error.clone()));
            }
        }
        results.cases.push(Case::new(case, times));
    }
    bars.retain(|bar| cases.iter().all(|case| case["operator"] != bar["operator"]));
    for case in &bars {
        if Instant::now() >= deadline || theirs.service.is_none() {
            break;
        }
        let times = time(case, &mut [&mut theirs], deadline, &mut rows);
        results.cases.push(Case::new(case, times));
    }
    let note = format!("{timed} of {} cases timed", cases.len());
    let verdict =
        if timed == cases.len() && timed > 0 { Verdict::Passed } else { Verdict::Skipped };
    rows.push(Row::new(PART, "cases", verdict, note));
    (results, rows)
}

/// Peers' ceilings carry their side's name where ours has one of that name.
fn read_ceiling(ceiling: &Value, side: &str) -> Option<Ceiling> {
    let amount = ceiling["amount"].as_f64()?;
    let ms = ceiling["ms"].as_array()?.iter().filter_map(Value::as_f64).collect();
    let median = Times { ms, ..Times::default() }.median()?;
    let name = ceiling["name"].as_str()?;
    let name = if side == "peers" { format!("{name} (peers)") } else { name.to_owned() };
    let unit = ceiling["unit"].as_str()?.to_owned();
    Some(Ceiling { name, unit, rate: amount / (median * 1e-3) })
}

/// Rounds of ours, then theirs.
fn time(
    case: &Value,
    sides: &mut [&mut Side],
    deadline: Instant,
    rows: &mut Vec<Row>,
) -> Vec<Times> {
    let request = json!({
        "do": "run",
        "operator": case["operator"],
        "dtype": case["dtype"],
        "extents": case["extents"],
        "samples": SAMPLES,
    });
    let mut all: Vec<Times> = Vec::new();
    for _ in 0..ROUNDS {
        for side in sides.iter_mut() {
            let Some(answer) = side.ask(&request, deadline, rows) else { continue };
            if let Some(error) = answer["error"].as_str() {
                merge(&mut all, &json!({ "backend": side.name, "error": error }));
            }
            for result in answer["results"].as_array().into_iter().flatten() {
                merge(&mut all, result);
            }
        }
        if Instant::now() >= deadline {
            break;
        }
    }
    all
}

fn merge(all: &mut Vec<Times>, result: &Value) {
    let backend = result["backend"].as_str().unwrap_or("unnamed").to_owned();
    let index = all.iter().position(|times| times.backend == backend).unwrap_or_else(|| {
        all.push(Times { backend, ..Times::default() });
        all.len() - 1
    });
    let times = &mut all[index];
    times.ms.extend(result["ms"].as_array().into_iter().flatten().filter_map(Value::as_f64));
    if let Some(method) = result["method"].as_str() {
        times.method = method.to_owned();
    }
    times.worst_error = result["worst_error"].as_f64().or(times.worst_error);
    times.error = result["error"].as_str().map(str::to_owned).or(times.error.take());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_are_merged_by_backend() {
        let mut all = Vec::new();
        merge(&mut all, &json!({ "backend": "a", "ms": [4.0, 1.0], "method": "graph" }));
        merge(&mut all, &json!({ "backend": "b", "error": "no" }));
        merge(&mut all, &json!({ "backend": "a", "ms": [2.0, 3.0, 9.0], "worst_error": 1e-3 }));
        assert_eq!(all.len(), 2);
        assert_eq!(all[0].quartiles(), Some([2.0, 3.0, 4.0]));
        assert_eq!((all[0].method.as_str(), all[0].worst_error), ("graph", Some(1e-3)));
        assert_eq!((all[1].median(), all[1].error.as_deref()), (None, Some("no")));
    }
}
