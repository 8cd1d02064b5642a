//! Criterion by device time.

use super::ceilings;
use super::timing::{Timed, elapsed_ms};
use super::{Bound, DeviceBench, cases, is_simulated};
use criterion::measurement::{Measurement, ValueFormatter};
use criterion::{BenchmarkId, Criterion, Throughput};
use expertile::{Device, Event, Result, Stream};
use std::sync::{Arc, Mutex, PoisonError};

/// What throughputs are compared with: the ceiling of the case at hand, by name and bytes per second.
type Current = Arc<Mutex<Option<(&'static str, f64)>>>;

/// Time by the device's events, in nanoseconds.
struct DeviceTime {
    stream: Stream,
    format: Format,
}

impl Measurement for DeviceTime {
    type Intermediate = Result<Event>;
    type Value = f64;

    fn start(&self) -> Result<Event> {
        let event = Event::new(self.stream.device())?;
        event.record(&self.stream)?;
        Ok(event)
    }

    fn end(&self, start: Result<Event>) -> f64 {
        let elapsed = || -> Result<f32> {
            let end = Event::new(self.stream.device())?;
            end.record(&self.stream)?;
            start?.elapsed_ms(&end)
        };
        f64::from(elapsed().unwrap_or_else(|error| panic!("{error}"))) * 1e6
    }

    fn add(&self, a: &f64, b: &f64) -> f64 {
        a + b
    }

    fn zero(&self) -> f64 {
        0.0
    }

    fn to_f64(&self, nanoseconds: &f64) -> f64 {
        *nanoseconds
    }

    fn formatter(&self) -> &dyn ValueFormatter {
        &self.format
    }
}

/// Prints rates with their share of the ceiling; of a simulated device, that it is one.
struct Format {
    simulated: bool,
    current: Current,
}

/// The unit that suits a time in nanoseconds, and what to multiply it by.
fn unit(nanoseconds: f64) -> (&'static str, f64) {
    match nanoseconds {
        ..1e3 => ("ns", 1.0),
        ..1e6 => ("us", 1e-3),
        _ => ("ms", 1e-6),
    }
}

/// The amount of a call and its unit per nanosecond: bytes make GB/s, operations (given to criterion as
/// elements) TFLOP/s.
fn amount(throughput: &Throughput) -> (f64, &'static str) {
    match *throughput {
        Throughput::Bytes(bytes) | Throughput::BytesDecimal(bytes) => (bytes as f64, "GB/s"),
        Throughput::Elements(flops) => (flops as f64 * 1e-3, "TFLOP/s"),
        _ => (f64::NAN, "per ns"),
    }
}

impl ValueFormatter for Format {
    fn format_value(&self, value: f64) -> String {
        if self.simulated {
            return "simulated".into();
        }
        let (unit, factor) = unit(value);
        format!("{:.4} {unit}", value * factor)
    }

    fn format_throughput(&self, throughput: &Throughput, value: f64) -> String {
        if self.simulated {
            return "simulated".into();
        }
        let (amount, unit) = amount(throughput);
        let rate = amount / value;
        let current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        match *current {
            Some((name, ceiling)) if unit == "GB/s" => {
                let share = 100.0 * rate * 1e9 / ceiling;
                format!("{rate:.1} GB/s ({share:.1} % of {name})")
            }
            _ => format!("{rate:.1} {unit}"),
        }
    }

    fn scale_values(&self, typical: f64, values: &mut [f64]) -> &'static str {
        let (unit, factor) = unit(typical);
        values.iter_mut().for_each(|value| *value *= factor);
        unit
    }

    fn scale_throughputs(
        &self,
        _: f64,
        throughput: &Throughput,
        values: &mut [f64],
    ) -> &'static str {
        let (amount, unit) = amount(throughput);
        values.iter_mut().for_each(|value| *value = amount / *value);
        unit
    }

    fn scale_for_machines(&self, _: &mut [f64]) -> &'static str {
        "ns"
    }
}

/// Benches every operator on a device.
pub(crate) fn bench(device: &Device, benches: &[&DeviceBench]) -> Result<()> {
    let stream = device.stream()?;
    let simulated = is_simulated(device);
    let ceilings = ceilings::measure(&stream, if simulated { 1 } else { 20 })?;
    if !simulated {
        for ceiling in &ceilings {
            println!("{device}: {} {:.0} GB/s", ceiling.name, ceiling.rate() * 1e-9);
        }
    }
    let current = Current::default();
    let format = Format { simulated, current: current.clone() };
    let measurement = DeviceTime { stream: device.stream()?, format };
    let mut criterion = Criterion::default().with_measurement(measurement).configure_from_args();
    // The events' own first use is not timed.
    elapsed_ms(&stream, |_| Ok(()))?;
    for bench in benches {
        let mut group = criterion.benchmark_group(bench.operator);
        for case in cases(bench, device) {
            let work = case.work();
            *current.lock().unwrap_or_else(PoisonError::into_inner) =
                ceilings::of(&ceilings, work.bound).map(|ceiling| (ceiling.name, ceiling.rate()));
            group.throughput(match work.bound {
                Bound::Read | Bound::Copy => Throughput::Bytes(work.bytes),
                Bound::Matrix => Throughput::Elements(work.flops),
            });
            let backend = format!("{} {}", device.info().platform, device.info().architecture);
            let mut timed: Option<Timed> = None;
            group.bench_function(BenchmarkId::new(backend, case.shape()), |b| {
                // Made only if the filter lets the bench run, and once.
                let make = || Timed::new(&stream, &case).unwrap_or_else(|error| panic!("{error}"));
                let timed = timed.get_or_insert_with(make);
                b.iter_custom(|calls| {
                    let samples = calls.div_ceil(timed.calls());
                    let total: f64 = (0..samples)
                        .map(|_| timed.sample(&stream).unwrap_or_else(|error| panic!("{error}")))
                        .sum();
                    // Criterion divides by nothing less; a simulated clock may stand still.
                    (total / samples as f64 * calls as f64 * 1e6).max(1.0)
                });
            });
        }
        group.finish();
    }
    criterion.final_summary();
    Ok(())
}
