//! A lost device, each time in a process of its own: that process loses it for ever.

use crate::operations::{OPERATORS, Operation, SILENT, Scene, operations};
use crate::simulator::Simulator;
use expertile::{Buffer, Device, Dtype, Error, Norm, Platform, Residual, Tensor, layer_norm};
use std::process::Command;

/// What a child is to do: a platform and a code.
const CHILD: &str = "EXPERTILE_LOST_DEVICE";

/// Runs a test again in a child for each of the codes; there, its body.
fn in_children(test: &str, codes: &[i32], body: impl FnOnce(&Simulator, Platform, i32)) {
    let Some(simulator) = Simulator::find() else { return };
    for platform in simulator.platforms() {
        for &code in codes {
            let plan = format!("{platform} {code}");
            if std::env::var(CHILD).is_ok_and(|wanted| wanted == plan) {
                return body(&simulator, platform, code);
            }
            if std::env::var_os(CHILD).is_some() {
                continue;
            }
            let output = Command::new(std::env::current_exe().unwrap())
                .args(["--exact", test, "--nocapture"])
                .env(CHILD, &plan)
                .output()
                .unwrap();
            let text = String::from_utf8_lossy(&output.stdout);
            let errors = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{plan}: {}\n{text}\n{errors}", output.status);
            assert!(text.contains(SURVIVED), "{plan}: the child did nothing\n{text}");
        }
    }
}

const SURVIVED: &str = "the device is lost and the process is not";

/// Operations that use no device: they count, or name the device of a stream of HIP.
fn works_still(operation: &Operation, platform: Platform) -> bool {
    SILENT.contains(&operation.name)
        || operation.name == "Device::count"
        || operation.name == "Stream::borrow" && platform == Platform::Hip
}

fn assert_lost<T>(name: &str, result: expertile::Result<T>, platform: Platform, code: i32) {
    match result {
        Ok(_) => panic!("{name}: no error"),
        Err(Error::DeviceLost { platform: found, code: found_code, .. }) => {
            assert_eq!((found, found_code), (platform, code), "{name}");
        }
        Err(error) => panic!("{name}: {error:?}"),
    }
}

/// Every operation says that the device is lost, from any thread; then all is dropped, and the device
/// cannot be opened again.
fn everything_is_lost(mut scene: Scene, code: i32) {
    let platform = scene.platform;
    for _ in 0..2 {
        for operation in operations() {
            let result = (operation.run)(&mut scene);
            if works_still(&operation, platform) {
                drop(result.unwrap());
            } else {
                assert_lost(operation.name, result, platform, code);
            }
        }
    }
    let scene = std::thread::spawn(move || {
        assert_lost("another thread", scene.stream.synchronize(), platform, code);
        scene
    });
    drop(scene.join().unwrap());
    for _ in 0..2 {
        assert_lost("opened anew", Device::open(platform, 0), platform, code);
    }
    println!("{SURVIVED}");
}

#[test]
fn a_device_that_is_lost_among_launches_stays_lost() {
    let name = "lost::a_device_that_is_lost_among_launches_stays_lost";
    in_children(name, &[214, 700, 719], |simulator, platform, code| {
        simulator.keep_errors();
        let mut scene = Scene::new(platform).unwrap();
        let launch =
            if platform == Platform::Hip { "hipModuleLaunchKernel" } else { "cuLaunchKernel" };
        simulator.lose_device(launch, 4, code);
        let operators = operations();
        let operators = operators.iter().filter(|o| OPERATORS.contains(&o.name));
        for (number, operator) in operators.cycle().take(7).enumerate() {
            let result = (operator.run)(&mut scene).map(drop);
            if number < 4 {
                result.unwrap();
            } else {
                assert_lost(operator.name, result, platform, code);
            }
        }
        everything_is_lost(scene, code);
    });
}

#[test]
fn a_kernel_that_uses_freed_memory_loses_the_device() {
    let name = "lost::a_kernel_that_uses_freed_memory_loses_the_device";
    in_children(name, &[700], |simulator, platform, code| {
        simulator.keep_errors();
        let scene = Scene::new(platform).unwrap();
        let (device, shape) = (&scene.device, [4, 64]);
        let freed = Buffer::new(device, Dtype::F32, 256).unwrap().address();
        let weight = Buffer::from_slice(&scene.stream, &[1.0f32; 64]).unwrap();
        let mut out = Buffer::new(device, Dtype::F32, 256).unwrap();
        // SAFETY: none: this is the mistake that the driver is to notice.
        let x = unsafe { Tensor::from_raw(device, freed, Dtype::F32, &shape, None) }.unwrap();
        let arguments = Norm {
            x,
            residual: Residual::None,
            weight: weight.tensor(&shape[1..]).unwrap(),
            out: out.tensor_mut(&shape).unwrap(),
            epsilon: 1e-5,
        };
        // A launch does not wait for its fault.
        layer_norm(&scene.stream, &arguments).unwrap();
        assert_lost("synchronize", scene.stream.synchronize(), platform, code);
        assert_lost("read", out.read::<f32>(&scene.stream), platform, code);
        drop((weight, out));
        everything_is_lost(scene, code);
    });
}
