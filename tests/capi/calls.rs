//! Calls that succeed, and those whose driver fails.

use crate::allocations;
use crate::bad::ABSENT;
use crate::call::{Call, Export, OPERATORS, Operator, specs};
use crate::scene::{END_EXPERT, FIRST_EXPERT, Scene, Spec, last_error};
use crate::simulator::{Calls, Simulator, devices};
use crate::{grouped_gemm, linear, moe, router, router_loss};
use expertile::capi::*;
use expertile::{
    Combine, CombineOut, Device, Dispatch, Dtype, Graph, Norm, PacketPack, PacketUnpack, Pairing,
    Platform, Residual, Rope, Tensor, TensorMut, combine, dispatch, layer_norm, packet_pack,
    packet_unpack, rms_norm, rope,
};
use libloading::Library;
use std::ffi::c_char;

fn launch_call(platform: Platform) -> &'static str {
    if platform == Platform::Hip { "hipModuleLaunchKernel" } else { "cuLaunchKernel" }
}

/// The launches that were made so far.
pub(crate) fn launches(simulator: &Simulator, platform: Platform) -> u64 {
    let start = Calls::default();
    let made = simulator.calls(platform);
    made.since(&start)
        .into_iter()
        .find(|(name, _)| *name == launch_call(platform))
        .map_or(0, |c| c.1)
}

const DTYPES: [(i32, Dtype); 3] =
    [(EXPERTILE_BF16, Dtype::Bf16), (EXPERTILE_F16, Dtype::F16), (EXPERTILE_F32, Dtype::F32)];

/// The options of each operator, as a change of the call that `Call::new` makes.
fn options(operator: Operator) -> Vec<fn(&mut Call)> {
    if operator == Operator::Rope {
        return vec![
            |_| {},
            |call| call.args.rope().pairing = EXPERTILE_PAIRING_INTERLEAVED,
            |call| call.args.rope().has_clip = 0,
            |call| call.args.rope().clip = 0.0,
        ];
    }
    match operator {
        Operator::Dispatch => {
            return vec![|_| {}, |call| {
                let args = call.args.dispatch();
                (args.first_expert, args.end_expert) = (FIRST_EXPERT + 4, END_EXPERT + 4);
            }];
        }
        Operator::Combine => {
            return vec![
                |_| {},
                |call| {
                    let args = call.args.combine();
                    (args.mode, args.residual) = (EXPERTILE_COMBINE_SUM, ABSENT);
                },
                |call| {
                    let args = call.args.combine();
                    (args.mode, args.residual) = (EXPERTILE_COMBINE_UPDATE, ABSENT);
                },
            ];
        }
        Operator::PacketPack | Operator::PacketUnpack => return vec![|_| {}],
        Operator::Linear => return linear::options(),
        Operator::Router => return router::options(),
        Operator::RouterLoss => return router_loss::options(),
        Operator::Up => return grouped_gemm::up_options(),
        Operator::Down => return grouped_gemm::down_options(),
        Operator::Moe => return moe::options(),
        Operator::MoeGiven => return moe::given_options(),
        _ => {}
    }
    vec![
        |_| {},
        |call| call.args.norm().epsilon = 0.5,
        |call| {
            let args = call.args.norm();
            (args.residual_mode, args.sum) = (EXPERTILE_RESIDUAL_UPDATE, ABSENT);
        },
        |call| {
            let args = call.args.norm();
            (args.residual_mode, args.sum) = (EXPERTILE_RESIDUAL_ADD, ABSENT);
        },
        |call| {
            let args = call.args.norm();
            args.residual_mode = EXPERTILE_RESIDUAL_NONE;
            (args.residual, args.sum) = (ABSENT, ABSENT);
        },
    ]
}

/// The same call in Rust.
fn in_rust(call: &mut Call, dtype: Dtype, scene: &Scene) {
    let (device, stream, operator) = (scene.stream.device(), &scene.stream, call.operator);
    match operator {
        Operator::Router => return router::in_rust(call, scene),
        Operator::Linear => return linear::in_rust(call, dtype, scene),
        Operator::RouterLoss => return router_loss::in_rust(call, dtype, scene),
        Operator::Up => return grouped_gemm::up_in_rust(call, scene),
        Operator::Down => return grouped_gemm::down_in_rust(call, scene),
        Operator::Moe | Operator::MoeGiven => return moe::in_rust(call, scene),
        _ => {}
    }
    let specs = specs(operator, if dtype == Dtype::F32 { EXPERTILE_F32 } else { EXPERTILE_BF16 });
    let extents =
        |spec: &Spec| spec.shape.iter().map(|&extent| extent as u64).collect::<Vec<u64>>();
    let of = |place: usize| match specs[place].name {
        "positions" | "ids" | "pairs" | "rows" | "offsets" | "counts" | "tiles" | "tile_count" => {
            Dtype::I32
        }
        "slot_mapping" => Dtype::I64,
        "inv_freq" | "weights" => Dtype::F32,
        _ => dtype,
    };
    // SAFETY: the tensors lie apart in the scene's buffer, which outlives the launch.
    let read = |place: usize| unsafe {
        let (address, shape) = (scene.address(place), extents(&specs[place]));
        Tensor::from_raw(device, address, of(place), &shape, None).unwrap()
    };
    // SAFETY: as above.
    let written = |place: usize| unsafe {
        let (address, shape) = (scene.address(place), extents(&specs[place]));
        TensorMut::from_raw(device, address, of(place), &shape, None).unwrap()
    };
    if operator == Operator::Rope {
        let args = call.args.rope();
        let interleaved = args.pairing == EXPERTILE_PAIRING_INTERLEAVED;
        let arguments = Rope {
            qkv: written(0),
            positions: read(1),
            inv_freq: read(2),
            k_cache: written(3),
            v_cache: written(4),
            slot_mapping: read(5),
            clip: (args.has_clip == 1).then_some(args.clip),
            pairing: if interleaved { Pairing::Interleaved } else { Pairing::Halves },
        };
        return rope(stream, &arguments).unwrap();
    }
    match operator {
        Operator::Dispatch => {
            let args = call.args.dispatch();
            let (start, end) = (args.first_expert, args.end_expert);
            // SAFETY: without elements there is nothing to use.
            let none = unsafe { TensorMut::from_raw(device, 0, Dtype::I32, &[0], None) };
            let arguments = Dispatch {
                ids: read(0),
                experts: start..end,
                tile_rows: args.tile_rows,
                pairs: written(1),
                rows: written(2),
                offsets: written(3),
                counts: written(4),
                tiles: written(5),
                tile_count: written(6),
                workspace: none.unwrap(),
            };
            return dispatch(stream, &arguments).unwrap();
        }
        Operator::Combine => {
            let out = match call.args.combine().mode {
                EXPERTILE_COMBINE_ADD => CombineOut::Add(read(2), written(3)),
                EXPERTILE_COMBINE_UPDATE => CombineOut::Update(written(3)),
                _ => CombineOut::Sum(written(3)),
            };
            let arguments = Combine { expert_out: read(0), rows: read(1), out };
            return combine(stream, &arguments).unwrap();
        }
        Operator::PacketPack => {
            let arguments = PacketPack {
                x: read(0),
                ids: read(1),
                weights: read(2),
                pairs: read(3),
                offsets: read(4),
                packets: written(5),
            };
            return packet_pack(stream, &arguments).unwrap();
        }
        Operator::PacketUnpack => {
            let arguments = PacketUnpack {
                packets: read(0),
                x: written(1),
                ids: written(2),
                weights: written(3),
                pairs: written(4),
            };
            return packet_unpack(stream, &arguments).unwrap();
        }
        _ => {}
    }
    let args = call.args.norm();
    let arguments = Norm {
        x: read(0),
        residual: match args.residual_mode {
            EXPERTILE_RESIDUAL_ADD => Residual::Add(read(1)),
            EXPERTILE_RESIDUAL_ADD_TO => Residual::AddTo(read(1), written(2)),
            EXPERTILE_RESIDUAL_UPDATE => Residual::Update(written(1)),
            _ => Residual::None,
        },
        weight: read(3),
        out: written(4),
        epsilon: args.epsilon,
    };
    let run = if operator == Operator::LayerNorm { layer_norm } else { rms_norm };
    run(stream, &arguments).unwrap();
}

#[test]
fn c_and_rust_give_the_same_bits() {
    let Some(simulator) = Simulator::find() else { return };
    for device in devices() {
        for operator in OPERATORS {
            let mut seen = Vec::new();
            for &(dtype, rust_dtype) in &DTYPES[..operator.dtypes().len()] {
                let mut scene = Scene::new(&device, &specs(operator, dtype));
                for (option, change) in options(operator).into_iter().enumerate() {
                    let name = format!("{device}: {operator:?}, dtype {dtype}, option {option}");
                    let mut call = Call::new(operator, Export::Run, dtype, false, &scene);
                    change(&mut call);
                    assert_eq!(call.make(), EXPERTILE_OK, "{name}: {}", last_error());
                    let from_c = scene.contents();
                    scene.restore();
                    in_rust(&mut call, rust_dtype, &scene);
                    assert!(from_c == scene.contents(), "{name}");
                    scene.restore();
                    let same = seen.iter().position(|other| *other == from_c);
                    assert_eq!(same, None, "{name}: the option changes nothing of this one");
                    seen.push(from_c);
                }
            }
        }
    }
    assert_eq!(simulator.text("expertile_sim_reports"), "");
}

/// The driver is asked whose stream it is, and given the launch; the default stream of HIP is nobody's.
#[test]
fn a_run_is_its_launches_and_allocates_nothing() {
    let Some(simulator) = Simulator::find() else { return };
    for device in devices() {
        let platform = device.info().platform;
        for operator in OPERATORS {
            let scene = Scene::new(&device, &specs(operator, EXPERTILE_BF16));
            let mut call = Call::new(operator, Export::Run, EXPERTILE_BF16, true, &scene);
            call.make();
            for stream in [call.stream, std::ptr::null_mut()] {
                call.stream = stream;
                scene.stream.synchronize().unwrap();
                let before = (simulator.calls(platform), allocations::count());
                let status = call.make_in_place();
                let allocated = allocations::count() - before.1;
                assert_eq!((status, allocated), (EXPERTILE_OK, 0), "{device}: {operator:?}");
                let after = simulator.calls(platform);
                let asks = match platform {
                    Platform::Hip if stream.is_null() => None,
                    Platform::Hip => Some("hipGetStreamDeviceId"),
                    _ => Some("cuStreamGetCtx"),
                };
                let mut expected = vec![(launch_call(platform), operator.launches())];
                expected.extend(asks.map(|name| (name, 1)));
                expected.sort_unstable();
                let mut made = after.since(&before.0);
                // Maps of tiles are made by the host, for each call.
                made.retain(|(name, _)| *name != "cuTensorMapEncodeTiled");
                made.sort_unstable();
                assert_eq!(made, expected, "{device}: {operator:?}");
            }
        }
    }
}

#[test]
fn a_run_may_be_captured() {
    let Some(_simulator) = Simulator::find() else { return };
    for device in devices() {
        for operator in OPERATORS {
            let mut scene = Scene::new(&device, &specs(operator, EXPERTILE_F16));
            let call = Call::new(operator, Export::Run, EXPERTILE_F16, true, &scene);
            assert_eq!(call.make(), EXPERTILE_OK);
            let expected = scene.contents();
            scene.restore();
            // SAFETY: the scene outlives the graph's launch, and nothing else uses it meanwhile.
            let graph = unsafe {
                Graph::capture(&scene.stream, |_| {
                    assert_eq!(call.make(), EXPERTILE_OK, "{}", last_error());
                    Ok(())
                })
            };
            assert!(scene.contents() == scene.image, "{device}: {operator:?} ran");
            graph.unwrap().launch(&scene.stream).unwrap();
            assert!(scene.contents() == expected, "{device}: {operator:?}");
        }
    }
}

#[test]
fn without_tokens_nothing_is_launched() {
    let Some(simulator) = Simulator::find() else { return };
    for device in devices() {
        let platform = device.info().platform;
        // Other extents follow from the tokens of the others, or it launches all the same.
        let few = [
            Operator::Dispatch,
            Operator::PacketPack,
            Operator::PacketUnpack,
            Operator::RouterLoss,
        ];
        for operator in OPERATORS.into_iter().filter(|operator| !few.contains(operator)) {
            let dtype = *operator.dtypes().last().unwrap();
            let scene = Scene::new(&device, &specs(operator, dtype));
            let mut call = Call::new(operator, Export::Run, dtype, false, &scene);
            let is_product = matches!(operator, Operator::Up | Operator::Down);
            let rows = if is_product { grouped_gemm::ROWS } else { crate::scene::TOKENS };
            for place in 0..specs(operator, dtype).len() {
                let tensor = call.args.tensor(place);
                if tensor.shape[0] == rows && tensor.rank != 4 {
                    (tensor.shape[0], tensor.data) = (0, std::ptr::null_mut());
                }
            }
            let before = launches(&simulator, platform);
            assert_eq!(call.make(), EXPERTILE_OK, "{device}: {operator:?}: {}", last_error());
            assert_eq!(launches(&simulator, platform), before);
            assert!(scene.contents() == scene.image);
        }
    }
}

/// From now on the next call of this name fails in this thread.
fn fail(name: &str, code: u32) {
    type Fail = unsafe extern "C" fn(*const c_char, u64, u64, u32);
    let name = std::ffi::CString::new(name).unwrap();
    // SAFETY: the library is loaded already; the type is that of the simulator's documentation.
    unsafe {
        let library = Library::new("libcuda.so.1").unwrap();
        library.get::<Fail>("expertile_sim_fail").unwrap()(name.as_ptr(), 0, 1, code);
    }
}

#[test]
fn failures_of_the_driver_have_statuses_of_their_own() {
    let Some(_simulator) = Simulator::find() else { return };
    let failures = |device: &Device| {
        let scene = Scene::new(device, &specs(Operator::RmsNorm, EXPERTILE_BF16));
        let call = Call::new(Operator::RmsNorm, Export::Run, EXPERTILE_BF16, true, &scene);
        let name = launch_call(device.info().platform);
        for (code, status, text) in
            [(2, EXPERTILE_DRIVER, " returned "), (700, EXPERTILE_DEVICE_LOST, "the device lost")]
        {
            fail(name, code);
            assert_eq!(call.make(), status, "{device}");
            assert!(last_error().contains(text), "{}", last_error());
            assert!(scene.contents() == scene.image, "{device}");
        }
        assert_eq!(call.make(), EXPERTILE_OK, "{}", last_error());
    };
    devices().iter().for_each(failures);
}
