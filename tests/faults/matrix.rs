//! Every operation, once for each way in which one of its driver calls can fail.

use crate::operations::{Made, OPERATORS, Operation, SILENT, Scene, operations};
use crate::simulator::{ALWAYS, Live, Simulator};
use expertile::{Device, Error, Platform};
use std::collections::BTreeMap;
use std::fmt;

/// Codes to fail with, their names, and whether the device is lost with them.
const CODES: [(i32, [&str; 2], bool); 3] = [
    (1, ["CUDA_ERROR_INVALID_VALUE", "hipErrorInvalidValue"], false),
    (2, ["CUDA_ERROR_OUT_OF_MEMORY", "hipErrorOutOfMemory"], false),
    (719, ["CUDA_ERROR_LAUNCH_FAILED", "hipErrorLaunchFailure"], true),
];

/// A way for calls to fail.
struct Failure {
    /// Which calls; all without a name.
    call: Option<String>,
    /// The first that fails.
    first: u64,
    /// How many fail from there on.
    count: u64,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let call = self.call.as_deref().unwrap_or("any call");
        let times = if self.count == ALWAYS { "always" } else { "once" };
        write!(f, "{call} fails {times} from number {}", self.first)
    }
}

/// What comes of a failure.
#[derive(PartialEq)]
enum Outcome {
    /// The error that names the call.
    Error,
    /// `Value`: the call has no code to return.
    NoCode,
    /// Success, since the call comes when the work is done.
    Success,
}

impl Failure {
    /// Each call of a trace at its first, second, ... occurrence and always; then all of them.
    fn each(trace: &[String]) -> Vec<Failure> {
        let mut occurrences = BTreeMap::<&String, u64>::new();
        trace.iter().for_each(|call| *occurrences.entry(call).or_default() += 1);
        let mut failures = Vec::new();
        for (call, &occurrences) in &occurrences {
            let once = (0..occurrences).map(|first| (first, 1));
            for (first, count) in once.chain([(0, ALWAYS)]) {
                failures.push(Failure { call: Some(call.to_string()), first, count });
            }
        }
        if !trace.is_empty() {
            failures.push(Failure { call: None, first: 0, count: ALWAYS });
        }
        failures
    }

    /// The codes to fail with: a loss has no end.
    fn codes(&self) -> impl Iterator<Item = i32> {
        let always = self.count == ALWAYS;
        CODES.into_iter().filter(move |(.., loses)| always || !loses).map(|(code, ..)| code)
    }

    fn is(&self, calls: &[&str]) -> bool {
        self.call.as_deref().is_some_and(|call| calls.contains(&call))
    }

    /// Of the calls that give the thread its own device back. HIP has one call for both ways, which
    /// come in turn.
    fn restores(&self) -> bool {
        self.is(&["cuCtxPopCurrent_v2"]) || self.is(&["hipSetDevice"]) && self.first % 2 == 1
    }

    /// Of the calls that make the device the thread's.
    fn enters(&self) -> bool {
        self.is(&["cuCtxGetCurrent", "cuCtxPushCurrent_v2", "hipGetDevice"])
            || self.is(&["hipSetDevice"]) && !self.restores()
    }

    /// Whether the thread may be left with the device.
    fn keeps_device(&self) -> bool {
        self.count == ALWAYS && (self.call.is_none() || self.restores())
    }

    fn outcome(&self) -> Outcome {
        if self.restores() || self.is(&["cuGraphDestroy", "hipGraphDestroy"]) {
            Outcome::Success
        } else if self.is(&["hipGetStreamDeviceId"]) {
            Outcome::NoCode
        } else {
            Outcome::Error
        }
    }

    /// What the driver keeps when an operation meets the failure.
    fn kept(&self) -> Live {
        let graph = self.is(&["cuGraphDestroy", "hipGraphDestroy"]);
        let key = if self.is(&["cuGraphDestroy"]) { "cuda.graphs" } else { "hip.graphs" };
        if graph { Live::from([(key.to_owned(), 1)]) } else { Live::new() }
    }

    /// What the driver keeps of what was `made` when its drop, of these calls, meets the failure.
    fn kept_of(&self, made: &Live, drop: &[String]) -> Live {
        const RETAINED: &str = "cuda.primary_contexts_retained";
        let waits = ["cuCtxSynchronize", "hipDeviceSynchronize"];
        let unloads = ["cuLibraryUnload", "hipModuleUnload"];
        let unloaded = drop.iter().filter(|call| unloads.contains(&call.as_str())).count() as u64;
        let mut kept = made.clone();
        if self.restores() || self.is(&waits) {
            kept.clear();
        } else if self.is(&["cuDevicePrimaryCtxRelease_v2"]) {
            kept.retain(|key, _| key == RETAINED);
        } else if self.enters() || self.is(&unloads) {
            kept.remove(RETAINED);
        }
        if self.is(&unloads) && self.count == 1 {
            kept.values_mut().for_each(|count| *count /= unloaded);
        }
        kept
    }
}

/// What there is more of.
fn more(after: &Live, before: &Live) -> Live {
    let grown = |(key, &after): (&String, &u64)| {
        let before = before[key];
        assert!(after >= before, "{key}: {before} became {after}");
        (after > before).then(|| (key.clone(), after - before))
    };
    after.iter().filter_map(grown).collect()
}

struct Matrix<'a> {
    simulator: &'a Simulator,
    scene: Scene,
    cases: usize,
}

impl Matrix<'_> {
    /// Does something in a thread that has a device of its own, and so has no failures afterwards.
    fn in_thread<R: Send>(&mut self, body: impl FnOnce(&Simulator, &mut Scene) -> R + Send) -> R {
        let (simulator, scene) = (self.simulator, &mut self.scene);
        let thread = || {
            simulator.set_own(scene.platform);
            body(simulator, scene)
        };
        let joined = std::thread::scope(|scope| scope.spawn(thread).join());
        joined.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    /// The calls of an operation and of the drop of what it returns.
    fn trace(&mut self, operation: &Operation) -> [Vec<String>; 2] {
        self.in_thread(|simulator, scene| {
            let (before, own) = (simulator.live(), simulator.own(scene.platform));
            let (made, calls) = simulator.trace(|| (operation.run)(scene));
            let made = made.unwrap();
            let ((), drop_calls) = simulator.trace(|| drop(made));
            assert_eq!(simulator.live(), before, "{}", operation.name);
            assert_eq!(simulator.own(scene.platform), own, "{}", operation.name);
            [calls, drop_calls]
        })
    }

    fn fail_operation(&mut self, operation: &Operation, trace: &[String], failure: &Failure) {
        for code in failure.codes() {
            let case = format!("{}: {failure}, {code}", operation.name);
            self.in_thread(|simulator, scene| {
                let platform = scene.platform;
                let is_operator = OPERATORS.contains(&operation.name);
                let outputs = |scene: &mut Scene| is_operator.then(|| scene.outputs().unwrap());
                scene.reset().unwrap();
                let poison = outputs(scene);
                let (before, own) = (simulator.live(), simulator.own(platform));

                simulator.fail(failure.call.as_deref(), failure.first, failure.count, code);
                let result = (operation.run)(scene);
                assert!(simulator.clear_failures() > 0, "{case}: was not met");
                let outcome = failure.outcome();
                check_result(&case, result, &outcome, platform, trace, failure, code);

                // Nobody can end a capture whose end always fails.
                let capture = more(&simulator.live(), &before);
                if capture.keys().any(|key| key.ends_with(".captures")) {
                    assert!(failure.count == ALWAYS, "{case}: {capture:?}");
                    simulator.end_capture(platform, scene.stream.raw());
                }
                let kept = simulator.live();
                assert_eq!(more(&kept, &before), failure.kept(), "{case}: leaked");
                if !failure.keeps_device() {
                    assert_eq!(simulator.own(platform), own, "{case}: the thread's device");
                }
                if outcome != Outcome::Success {
                    assert!(outputs(scene) == poison, "{case}: outputs changed");
                }

                let again = (operation.run)(scene);
                drop(again.unwrap_or_else(|error| panic!("{case}: afterwards {error}")));
                assert_eq!(simulator.live(), kept, "{case}: leaked afterwards");
                assert!(!is_operator || outputs(scene) != poison, "{case}: did nothing afterwards");
            });
            self.cases += 1;
        }
    }

    fn fail_drop(&mut self, operation: &Operation, trace: &[String], failure: &Failure) {
        for code in failure.codes() {
            let case = format!("drop after {}: {failure}, {code}", operation.name);
            self.in_thread(|simulator, scene| {
                let (before, own) = (simulator.live(), simulator.own(scene.platform));
                let made = (operation.run)(scene).unwrap();
                let there = more(&simulator.live(), &before);

                simulator.fail(failure.call.as_deref(), failure.first, failure.count, code);
                drop(made);
                assert!(simulator.clear_failures() > 0, "{case}: was not met");

                let kept = simulator.live();
                let expected = failure.kept_of(&there, trace);
                assert_eq!(more(&kept, &before), expected, "{case}: leaked");
                if !failure.keeps_device() {
                    assert_eq!(simulator.own(scene.platform), own, "{case}: the thread's device");
                }
                let again = (operation.run)(scene);
                drop(again.unwrap_or_else(|error| panic!("{case}: afterwards {error}")));
                assert_eq!(simulator.live(), kept, "{case}: leaked afterwards");
            });
            self.cases += 1;
        }
    }
}

fn check_result(
    case: &str,
    result: expertile::Result<Made>,
    outcome: &Outcome,
    platform: Platform,
    trace: &[String],
    failure: &Failure,
    code: i32,
) {
    let error = match (result, outcome) {
        (Ok(made), Outcome::Success) => return drop(made),
        (Ok(_), _) => panic!("{case}: no error"),
        (Err(error), _) => error,
    };
    if matches!((outcome, &error), (Outcome::NoCode, Error::Value { .. })) {
        return;
    }
    assert!(*outcome == Outcome::Error, "{case}: {error}");
    let (lost, found) = match &error {
        Error::Driver { platform, call, code, name } => (false, (platform, call, code, name)),
        Error::DeviceLost { platform, call, code, name } => (true, (platform, call, code, name)),
        _ => panic!("{case}: {error}"),
    };
    let (found_platform, found_call, found_code, found_name) = found;
    assert_eq!((*found_platform, *found_code), (platform, code), "{case}: {error}");
    let call = failure.call.as_ref().unwrap_or(&trace[0]).trim_end_matches("_v2");
    let rest = found_call.strip_prefix(call);
    assert!(rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['(', ' '])), "{error}");
    let (_, names, loses) = CODES.into_iter().find(|(known, ..)| *known == code).unwrap();
    assert_eq!(lost, loses, "{case}: {error}");
    // Where all calls fail, so does that for the name of a code; HIP's cannot.
    let unknown = failure.call.is_none() && platform == Platform::Cuda;
    let [cuda, hip] = names;
    let name = if platform == Platform::Hip { hip } else { cuda };
    assert_eq!(found_name, if unknown { "an unknown code" } else { name }, "{case}: {error}");
}

/// Fewer cases than this on a platform say that operations are missing.
const LEAST_CASES: usize = 600;

#[test]
fn every_failing_call_is_the_documented_error() {
    let Some(simulator) = Simulator::find() else { return };
    for platform in simulator.platforms() {
        let scene = Scene::new(platform).unwrap();
        let mut matrix = Matrix { simulator: &simulator, scene, cases: 0 };
        for operation in operations() {
            let [calls, drop_calls] = matrix.trace(&operation);
            assert_eq!(calls.is_empty(), SILENT.contains(&operation.name), "{calls:?}");
            for failure in Failure::each(&calls) {
                matrix.fail_operation(&operation, &calls, &failure);
            }
            for failure in Failure::each(&drop_calls) {
                matrix.fail_drop(&operation, &drop_calls, &failure);
            }
        }
        println!("{platform}: {} cases", matrix.cases);
        assert!(matrix.cases >= LEAST_CASES, "{platform}: only {} cases", matrix.cases);
    }
}

/// The driver may use the host's memory until a wait for it succeeds.
#[test]
fn a_copy_whose_wait_failed_is_waited_for_again() {
    let Some(simulator) = Simulator::find() else { return };
    for platform in simulator.platforms() {
        let mut scene = Scene::new(platform).unwrap();
        let hip = platform == Platform::Hip;
        let call = if hip { "hipStreamSynchronize" } else { "cuStreamSynchronize" };
        let copies = ["Buffer::write", "Buffer::read"];
        for copy in operations().into_iter().filter(|o| copies.contains(&o.name)) {
            simulator.fail(Some(call), 0, 1, 2);
            let (result, calls) = simulator.trace(|| (copy.run)(&mut scene));
            assert_eq!(simulator.clear_failures(), 1);
            assert!(result.is_err());
            let waits = calls.iter().filter(|name| *name == call).count();
            assert_eq!(waits, 2, "{}: {calls:?}", copy.name);
        }
    }
}

/// No device is what a driver without one says, and no failure.
#[test]
fn a_driver_without_a_device_counts_none() {
    let Some(simulator) = Simulator::find() else { return };
    for platform in simulator.platforms() {
        let call = if platform == Platform::Hip { "hipGetDeviceCount" } else { "cuInit" };
        simulator.fail(Some(call), 0, ALWAYS, 100);
        let (count, opened) = (Device::count(platform), Device::open(platform, 0));
        assert_eq!(simulator.clear_failures(), 2);
        assert_eq!(count, Ok(0));
        assert!(matches!(opened, Err(Error::Unavailable { .. })), "{opened:?}");
    }
}
