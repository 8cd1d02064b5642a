//! The benches as a service: a request in JSON on each line of the input, its answer on a line of the
//! output. So the GPU kit can time peers and operators in turn, in processes that stay warm.
//!
//! | request | answer |
//! |---|---|
//! | `{"do":"list"}` | the device, and the cases with extents, bytes and flops |
//! | `{"do":"ceilings","samples":10}` | amounts and milliseconds of reading and copying |
//! | `{"do":"run","operator":..,"dtype":..,"extents":{..},"samples":10}` | milliseconds of one call, for each sample |
//!
//! What cannot be done is answered with `{"error":"..."}`. The end of the input ends the service.

use super::timing::Timed;
use super::{Case, DeviceBench, cases, ceilings, is_simulated};
use expertile::{Device, Dtype, Stream};
use serde_json::{Value, json};
use std::io::{BufRead, Write};

/// Serves until the input ends.
pub(crate) fn serve(
    device: &Device,
    benches: &[&DeviceBench],
    input: impl BufRead,
    mut output: impl Write,
) -> std::io::Result<()> {
    let stream = device.stream().map_err(std::io::Error::other)?;
    for line in input.lines() {
        let answer = answer(&stream, benches, &line?);
        let answer = answer.unwrap_or_else(|error| json!({ "error": error.replace('\n', "; ") }));
        writeln!(output, "{answer}")?;
        output.flush()?;
    }
    Ok(())
}

fn answer(stream: &Stream, benches: &[&DeviceBench], line: &str) -> Result<Value, String> {
    let request: Value = serde_json::from_str(line).map_err(|error| error.to_string())?;
    match request["do"].as_str() {
        Some("list") => Ok(list(stream.device(), benches)),
        Some("ceilings") => {
            let ceilings = ceilings::measure(stream, samples(&request)?);
            let ceilings = ceilings.map_err(|error| error.to_string())?;
            let ceilings = ceilings.map(|ceiling| {
                let ceilings::Ceiling { name, bytes, ms } = ceiling;
                json!({ "name": name, "unit": "B/s", "amount": bytes, "ms": ms })
            });
            Ok(json!({ "ceilings": ceilings }))
        }
        Some("run") => run(stream, benches, &request),
        _ => Err(format!("not understood: {line}")),
    }
}

fn samples(request: &Value) -> Result<usize, String> {
    match request["samples"].as_u64() {
        Some(samples @ 1..=10_000) => Ok(samples as usize),
        _ => Err(format!("samples is {}, expected 1 to 10000", request["samples"])),
    }
}

fn list(device: &Device, benches: &[&DeviceBench]) -> Value {
    let info = device.info();
    let all = benches.iter().flat_map(|bench| cases(bench, device));
    let cases: Vec<Value> = all
        .map(|case| {
            let work = case.work();
            let named = case.bench.extents.iter().zip(&case.extents);
            let extents: serde_json::Map<String, Value> =
                named.map(|(name, &extent)| ((*name).to_owned(), extent.into())).collect();
            json!({
                "operator": case.bench.operator,
                "dtype": case.dtype.name(),
                "shape": case.shape(),
                "extents": extents,
                "bytes": work.bytes,
                "flops": work.flops,
                "bound": work.bound.name(),
            })
        })
        .collect();
    json!({
        "device": {
            "platform": info.platform.to_string(),
            "name": info.name,
            "architecture": info.architecture,
            "images": info.images,
            "driver_version": info.driver_version,
            "multiprocessors": info.multiprocessors,
            "memory_bytes": info.memory_bytes,
            "l2_bytes": info.l2_bytes,
            "simulated": is_simulated(device),
        },
        "cases": cases,
    })
}

fn run(stream: &Stream, benches: &[&DeviceBench], request: &Value) -> Result<Value, String> {
    let operator = request["operator"].as_str().unwrap_or_default();
    let Some(bench) = benches.iter().find(|bench| bench.operator == operator) else {
        return Ok(json!({ "results": [] }));
    };
    let dtypes = [Dtype::Bf16, Dtype::F16, Dtype::F32];
    let dtype = dtypes.into_iter().find(|dtype| request["dtype"] == dtype.name());
    let dtype = dtype.ok_or_else(|| format!("dtype is {}", request["dtype"]))?;
    let extents: Result<Vec<u64>, String> = (bench.extents.iter())
        .map(|name| {
            let extent = &request["extents"][name];
            extent.as_u64().ok_or_else(|| format!("extents.{name} is {extent}"))
        })
        .collect();
    let case = Case { bench, extents: extents?, dtype };
    let samples = samples(request)?;
    let timed = || -> expertile::Result<(Vec<f64>, &'static str)> {
        let mut timed = Timed::new(stream, &case)?;
        let ms = (0..samples).map(|_| timed.sample(stream)).collect::<expertile::Result<_>>()?;
        Ok((ms, timed.method()))
    };
    let (ms, method) = timed().map_err(|error| error.to_string())?;
    Ok(json!({ "results": [{ "backend": "expertile", "ms": ms, "method": method }] }))
}
