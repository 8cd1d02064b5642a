//! Calls that differ from one that succeeds in exactly one argument: each is refused with its documented
//! status and a text, launches nothing and writes nothing.

mod devices;
mod operators;
mod tensors;

use crate::call::{Call, EXPORTS, Export, OPERATORS, specs};
use crate::calls::launches;
use crate::scene::{Handle, Scene, last_error};
use crate::simulator::{Simulator, all_devices};
use expertile::capi::EXPERTILE_OK;
use expertile::{Device, Platform};
pub(crate) use tensors::ABSENT;

use std::collections::{BTreeMap, BTreeSet};

/// One wrong argument of an operator's call.
pub(crate) struct Case {
    pub(crate) argument: String,
    pub(crate) class: &'static str,
    pub(crate) value: String,
    pub(crate) status: i32,
    pub(crate) call: Call,
}

/// What was refused: platform, export, argument, class, value.
#[derive(Default)]
pub(crate) struct Seen(BTreeSet<[String; 5]>);

impl Seen {
    pub(crate) fn add(
        &mut self,
        platform: Platform,
        export: &str,
        argument: &str,
        class: &str,
        value: &str,
    ) {
        let key = [&platform.to_string(), export, argument, class, value];
        self.0.insert(key.map(str::to_owned));
    }

    /// Counts by export, argument and class, with at least `least` in all.
    fn report(&self, least: usize) {
        let mut classes: BTreeMap<[&str; 3], usize> = BTreeMap::new();
        for [_, export, argument, class, _] in &self.0 {
            *classes.entry([export, argument, class]).or_default() += 1;
        }
        for ([export, argument, class], count) in &classes {
            println!("{export:<26} {argument:<20} {class:<12} {count:>4}");
        }
        println!("{} calls in {} classes", self.0.len(), classes.len());
        assert!(self.0.len() >= least, "{} distinct calls", self.0.len());
    }
}

/// Refuses nothing that it should not, before and after.
fn succeed(call: &Call, scene: &Scene) {
    assert_eq!(call.make(), EXPERTILE_OK, "{}", last_error());
    scene.stream.synchronize().unwrap();
}

fn refuse(simulator: &Simulator, device: &Device, others: &[&Device], seen: &mut Seen) {
    let platform = device.info().platform;
    let other = others.first().map(|other| {
        let handle = Handle::open(platform, other.info().ordinal);
        (handle, other.stream().unwrap())
    });
    for operator in OPERATORS {
        for &dtype in operator.dtypes() {
            let scene = Scene::new(device, &specs(operator, dtype));
            for export in EXPORTS {
                let base = |stated| Call::new(operator, export, dtype, stated, &scene);
                succeed(&base(false), &scene);
                succeed(&base(true), &scene);
                let expected = scene.contents();
                assert_eq!(export == Export::Run, expected != scene.image, "{operator:?}");
                let launched = launches(simulator, platform);
                let mut cases = operators::cases(&base(true), other.as_ref());
                cases.extend(tensors::cases(base(false), base(true), dtype));
                for case in cases {
                    let Case { argument, class, value, status, call } = &case;
                    let name = format!("{operator:?} {export:?}");
                    let text = format!("{device}: {name}: {argument}, {class}: {value}");
                    assert_eq!(call.make(), *status, "{text}: {}", last_error());
                    assert!(last_error().contains(": "), "{text}: {}", last_error());
                    // Taken for a huge number, it would be refused for that.
                    let named = *class != "negative" || last_error().contains("no negative ");
                    assert!(named, "{text}: {}", last_error());
                    assert!(scene.contents() == expected, "{text}: written");
                    seen.add(platform, &name, argument, class, value);
                }
                assert_eq!(launches(simulator, platform), launched, "{operator:?} {export:?}");
                if export != Export::Run {
                    assert!(scene.contents() == scene.image);
                }
                succeed(&base(true), &scene);
            }
        }
    }
}

#[test]
fn bad_calls_are_refused() {
    let Some(simulator) = Simulator::find() else { return };
    let devices = all_devices();
    let mut seen = Seen::default();
    for platform in Platform::ALL {
        let of_platform: Vec<&Device> =
            devices.iter().filter(|device| device.info().platform == platform).collect();
        let Some((device, others)) = of_platform.split_first() else { continue };
        devices::refuse(device, &mut seen);
        refuse(&simulator, device, others, &mut seen);
    }
    assert_eq!(simulator.text("expertile_sim_reports"), "");
    let platforms = devices.iter().map(|device| device.info().platform.to_string());
    seen.report(1000 * platforms.collect::<BTreeSet<_>>().len());
}
