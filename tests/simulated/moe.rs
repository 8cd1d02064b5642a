//! The layer of experts: launches, schedules, replays.

use crate::calls::{graph_calls, launch_call};
use crate::simulator::{Simulator, devices};
use expertile::{
    Activation, Buffer, CombineOut, Device, Dtype, Error, Experts, Gated, Graph, Moe, MoeExtents,
    Result, Route, Scoring, Stream, WeightLayout, moe, moe_workspace_bytes,
};
use half::bf16;

const HIDDEN: u64 = 64;
const FFN_HIDDEN: u64 = 72;

struct Layer {
    tokens: u64,
    experts: u64,
    top_k: u64,
    x: Buffer,
    router: Buffer,
    gate: Buffer,
    up: Buffer,
    down: Buffer,
    residual: Buffer,
    out: Buffer,
    workspace: Buffer,
}

impl Layer {
    fn new(stream: &Stream, tokens: u64, experts: u64, top_k: u64) -> Layer {
        let mut random = fastrand::Rng::with_seed(tokens + 1);
        let mut values = |count: u64| {
            let value = |_| bf16::from_f32(random.f32() - 0.5);
            Buffer::from_slice(stream, &(0..count).map(value).collect::<Vec<bf16>>()).unwrap()
        };
        let extents = MoeExtents {
            tokens,
            hidden: HIDDEN,
            ffn_hidden: FFN_HIDDEN,
            experts,
            local_experts: experts,
            top_k,
            dtype: Dtype::Bf16,
        };
        let bytes = moe_workspace_bytes(stream.device().info(), &extents);
        Layer {
            tokens,
            experts,
            top_k,
            x: values(tokens * HIDDEN),
            router: values(experts * HIDDEN),
            gate: values(experts * HIDDEN * FFN_HIDDEN),
            up: values(experts * HIDDEN * FFN_HIDDEN),
            down: values(experts * HIDDEN * FFN_HIDDEN),
            residual: values(tokens * HIDDEN),
            out: values(tokens * HIDDEN),
            workspace: Buffer::new(stream.device(), Dtype::I32, bytes / 4).unwrap(),
        }
    }

    fn go(&mut self, stream: &Stream) -> Result<()> {
        let shape = [self.tokens, HIDDEN];
        let weights = [self.experts, FFN_HIDDEN, HIDDEN];
        let arguments = Moe {
            x: self.x.tensor(&shape)?,
            route: Route::Router {
                weight: self.router.tensor(&[self.experts, HIDDEN])?,
                round_logits: true,
                scoring: Scoring::Softmax { p_norm: Some(1.0) },
                groups: None,
                scale: 1.0,
                top_k: self.top_k as u32,
            },
            experts: Experts {
                local: 0..self.experts as u32,
                weights: Gated::Separate {
                    gate: self.gate.tensor(&weights)?,
                    up: self.up.tensor(&weights)?,
                },
                biases: None,
                activation: Activation::Silu,
                down: self.down.tensor(&weights)?,
                down_layout: WeightLayout::InOut,
                down_bias: None,
            },
            out: CombineOut::Add(self.residual.tensor(&shape)?, self.out.tensor_mut(&shape)?),
            workspace: self.workspace.tensor_mut(&[self.workspace.elements()])?,
        };
        moe(stream, &arguments)
    }

    fn results(&self, stream: &Stream) -> Vec<bf16> {
        self.out.read(stream).unwrap()
    }
}

/// One device of each architecture that has kernels for it.
fn able() -> Vec<Device> {
    let mut devices = devices();
    devices.retain(|device| {
        let stream = device.stream().unwrap();
        let asked = Layer::new(&stream, 1, 1, 1).go(&stream);
        stream.synchronize().unwrap();
        !matches!(asked, Err(Error::Unsupported { .. }))
    });
    devices
}

/// Five launches for a token; seven where dispatch and the router are two each.
#[test]
fn a_layer_is_five_launches() {
    let Some(simulator) = Simulator::find() else { return };
    for device in able() {
        let stream = device.stream().unwrap();
        let platform = device.info().platform;
        for (tokens, experts, top_k, launches) in
            [(0, 4, 2, 0), (1, 16, 4, 5), (1, 128, 8, 5), (17, 4, 2, 5), (40, 80, 2, 6)]
        {
            let mut layer = Layer::new(&stream, tokens, experts, top_k);
            let before = simulator.calls(platform);
            layer.go(&stream).unwrap();
            let now = simulator.calls(platform);
            let made = now.since(&before);
            // Maps are made by the host; a context is entered for it.
            let maps = |call: &str| call.starts_with("cuTensorMap") || call.starts_with("cuCtx");
            let made: Vec<_> = made.into_iter().filter(|(call, _)| !maps(call)).collect();
            let wanted: Vec<_> =
                (launches > 0).then_some((launch_call(&device), launches)).into_iter().collect();
            assert_eq!(made, wanted, "{device}: {tokens} tokens, {experts} experts");
        }
        stream.synchronize().unwrap();
    }
    assert_eq!(simulator.text("expertile_sim_reports"), "");
}

/// Seeds that round alike: the models of matrix units follow each other by twelves.
#[test]
fn every_schedule_gives_the_same_layer() {
    let Some(simulator) = Simulator::find() else { return };
    for device in able() {
        let stream = device.stream().unwrap();
        let most = crate::schedules::seeds().max(48);
        for (tokens, seeds) in [(2, most), (37, most / 4)] {
            let mut of_model: Vec<Option<Vec<bf16>>> = vec![None; 12];
            for seed in 0..seeds {
                simulator.set_seed(seed);
                let mut layer = Layer::new(&stream, tokens, 2, 2);
                layer.go(&stream).unwrap();
                let results = layer.results(&stream);
                let first = of_model[seed as usize % 12].get_or_insert_with(|| results.clone());
                assert!(*first == results, "{device}: seed {seed} gives other bits");
            }
        }
    }
    simulator.set_seed(0);
    assert_eq!(simulator.text("expertile_sim_reports"), "");
}

#[test]
fn a_replay_of_a_layer_is_a_call() {
    let Some(simulator) = Simulator::find() else { return };
    for device in able() {
        let stream = device.stream().unwrap();
        let (platform, launch_graph) = (device.info().platform, graph_calls(&device)[4]);
        for tokens in [1, 50] {
            let [mut recorded, mut direct] = [(); 2].map(|()| Layer::new(&stream, tokens, 3, 2));
            // SAFETY: `recorded` outlives the graph, and is used only when the stream was waited for.
            let graph = unsafe { Graph::capture(&stream, |stream| recorded.go(stream)) }.unwrap();
            let mut random = fastrand::Rng::with_seed(8);
            for round in 0..20 {
                let value = |_| bf16::from_f32(random.f32() * 4.0 - 2.0);
                let x: Vec<bf16> = (0..recorded.x.elements()).map(value).collect();
                recorded.x.write(&stream, &x).unwrap();
                direct.x.write(&stream, &x).unwrap();
                let before = simulator.calls(platform);
                graph.launch(&stream).unwrap();
                let now = simulator.calls(platform);
                assert_eq!(now.since(&before), [(launch_graph, 1)], "{device}: {round}");
                direct.go(&stream).unwrap();
                let (found, wanted) = (recorded.results(&stream), direct.results(&stream));
                assert!(found == wanted, "{device}: round {round} differs from a direct call");
            }
        }
    }
    assert_eq!(simulator.text("expertile_sim_reports"), "");
}
